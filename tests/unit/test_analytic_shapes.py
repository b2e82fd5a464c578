"""Cracks of closed form: areas and volumes of their meshes against the closed forms, flat and curved."""

from __future__ import annotations

from dataclasses import replace
from math import acos, asin, atanh, pi, sqrt
from typing import Any

import numpy as np
import pytest

from fem_spall.crack import cross_section
from fem_spall.errors import GeometryError, MeshingError
from fem_spall.fenics import MPI, dolfinx, integrate, ufl
from fem_spall.mesh.analytic_shapes import mesh_shapes, triangulate_shape
from fem_spall.mesh.arrays import MeshArrays, length_unit, triangle_areas
from fem_spall.mesh.checks import check_mesh, check_surfaces
from fem_spall.mesh.curved import jacobian_ratio, untangled
from fem_spall.mesh.focus import Focus
from fem_spall.mesh.tagged import distribute
from fem_spall.mesh.worker import mesh_case
from fem_spall.surface_flux import LithiumFlux
from tests.solids import UM, Floats, block_mesh, case_of, cuboid

FACES = {"-x": 1500.0, "+x": 1500.0, "-y": 1000.0, "+y": 1000.0, "-z": 600.0, "+z": 600.0}
_OBLATE = sqrt(1 - (2 / 8) ** 2)  # eccentricity of the ellipsoid with the semi-axes 8, 2, 8

#: By name: keys of the crack, smallest size in um, volume in um^3 it removes, areas in um^2.
SHAPES: dict[str, tuple[dict[str, Any], float, float, dict[str, float]]] = {
    "hemisphere": (
        {"kind": "spheroid", "centre": ["10 um", "15 um"], "depth": "5 um", "radius": "5 um"},
        1.5, 2 / 3 * pi * 125, {"a": 2 * pi * 25, "+z": 600 - pi * 25},
    ),
    "hemisphere in a corner": (
        {"kind": "spheroid", "centre": ["0 um", "0 um"], "depth": "5 um", "radius": "5 um"},
        1.5, pi * 125 / 6,
        {"a": pi * 25 / 2, "+z": 600 - pi * 25 / 4, "-x": 1500 - pi * 25 / 4, "-y": 1000 - pi * 25 / 4},
    ),
    "penny": ({"kind": "penny", "centre": ["10 um", "15 um"], "radius": "8 um"}, 1.5, 0.0, {"a": pi * 64 / 2}),
    "turned penny": (
        {"kind": "penny", "centre": ["10 um", "15 um"], "radius": "8 um", "azimuth": "90 deg"},
        1.5, 0.0, {"a": pi * 64 / 2},
    ),
    "penny in a mirror wall": (
        {"kind": "penny", "centre": ["10 um", "0 um"], "radius": "8 um"},
        1.5, 0.0, {"a": pi * 64 / 2, "-y": 1000 - pi * 64 / 2},
    ),
    "open penny": (
        {"kind": "penny", "centre": ["10 um", "15 um"], "radius": "8 um", "opening": "4 um"},
        0.25, 2 / 3 * pi * 8 * 2 * 8,
        {"a": pi * 64 * (1 + (1 - _OBLATE**2) / _OBLATE * atanh(_OBLATE)), "+z": 600 - pi * 16},
    ),
    "blade along y": ({"kind": "blade", "position": "10 um", "depth": "10 um"}, 1.5, 0.0, {"a": 300.0}),
    "ridge along x": (
        {"kind": "blade", "position": "15 um", "depth": "3 um", "opening": "6 um", "along": "x"},
        1.5, pi * 9 / 2 * 20,
        {"a": pi * 3 * 20, "+z": 600 - 6 * 20, "-x": 1500 - pi * 9 / 2, "+x": 1500 - pi * 9 / 2},
    ),
    "wedge": (
        {"kind": "blade", "position": "10 um", "depth": "10 um", "opening": "4 um", "profile": "wedge"},
        0.5, 20.0 * 30, {"a": 2 * sqrt(104) * 30, "+z": 600 - 4 * 30, "-y": 1000 - 20, "+y": 1000 - 20},
    ),
    "half a wedge in a mirror wall": (
        {"kind": "blade", "position": "0 um", "depth": "10 um", "opening": "4 um", "profile": "wedge"},
        0.5, 10.0 * 30,
        {"a": sqrt(104) * 30, "+z": 600 - 2 * 30, "-y": 1000 - 10, "+y": 1000 - 10, "-x": 1500 - 300},
    ),
    "slot along x": (
        {"kind": "blade", "position": "15 um", "depth": "10 um", "opening": "4 um", "along": "x",
         "profile": "rectangle"},
        0.5, 40.0 * 20, {"a": 24.0 * 20, "+z": 600 - 4 * 20, "-x": 1500 - 40, "+x": 1500 - 40},
    ),
    "slot from the counter face": (
        {"kind": "blade", "position": "0 um", "depth": "10 um", "opening": "4 um", "profile": "rectangle",
         "stands_on": "counter", "contents": "void"},
        0.5, 20.0 * 30, {"a": 12.0 * 30, "-z": 600 - 2 * 30, "-y": 1000 - 20, "+y": 1000 - 20, "-x": 1500 - 300},
    ),
    "patch": (
        {"kind": "patch", "centre": ["10 um", "15 um"], "radius": "5 um"}, 1.0, 0.0,
        {"a": pi * 25, "+z": 600 - pi * 25},
    ),
    "patch of dirt in a corner": (
        {"kind": "patch", "centre": ["20 um", "0 um"], "radius": "5 um", "contents": "void"}, 1.0, 0.0,
        {"a": pi * 25 / 4, "+z": 600 - pi * 25 / 4},
    ),
    "quarter of a pellet": (
        {"kind": "round_wall", "centre": ["0 um", "0 um"], "radius": "18 um"}, 1.5, (600 - pi * 81) * 50,
        {"a": pi * 9 * 50, "+z": pi * 81, "-z": pi * 81, "-x": 900.0, "-y": 900.0, "+x": 0.0, "+y": 0.0},
    ),
    "pore": (
        {"kind": "pore", "centre": ["10 um", "15 um", "25 um"], "radius": "4 um"},
        1.5, 4 / 3 * pi * 64, {"a": 4 * pi * 16},
    ),
    "pore cut by a wall": (
        {"kind": "pore", "centre": ["20 um", "15 um", "25 um"], "radius": "4 um"},
        1.5, 2 / 3 * pi * 64, {"a": 2 * pi * 16, "+x": 1500 - pi * 16},
    ),
}  # fmt: skip
SHEETS = {"penny", "turned penny", "blade along y"}


def mesh_of(*cracks: dict[str, Any], order: int, size_min: float = 1.5, face: str = "+z", **other: Any) -> MeshArrays:
    counter = {"face": "-z" if face == "+z" else "+z", "potential": "50 mV"}
    case = case_of(cracks=list(cracks), electrodes={"plating": {"face": face}, "counter": counter})
    sizes = {"size_min": size_min, "size_max": 8.0, "grading": 1.6, "algorithm": "delaunay", "foci": []} | other
    return mesh_shapes(case, case.cracks, length_unit(case.block.size), order=order, **sizes)  # type: ignore[arg-type]


def measures(mesh: MeshArrays) -> tuple[float, dict[str, float]]:
    """Volume removed, um^3, and area by name, um^2, with the curvature of the cells."""
    tagged = distribute(mesh, MPI.COMM_SELF)
    one = dolfinx.fem.Constant(tagged.mesh, 1.0)
    volume = integrate(one * ufl.dx(domain=tagged.mesh), MPI.COMM_SELF) * (mesh.unit / UM) ** 3
    areas = {}
    for name, tag in mesh.names.items():
        facets = mesh.facets[mesh.tags == tag]
        flux = LithiumFlux(mesh.points, facets, facets[:, 0], (name,), facets[:, :3] * 0.0, np.ones(len(facets)))
        areas[name] = flux.area * (mesh.unit / UM) ** 2
    return 30000 - volume, areas


@pytest.mark.parametrize("name", SHAPES)
def test_areas_and_volume(name: str) -> None:
    """Bug: a shape is misplaced, halved, doubled, or its opening belongs to the wrong face; nodes lie off it."""
    crack, size, removed, expected = SHAPES[name]
    expected = FACES | expected
    errors: dict[int, list[float]] = {}
    for order in (1, 2):
        mesh = mesh_of(crack | {"name": "a"}, order=order, size_min=size)
        check_surfaces(mesh, np.array([[0.0] * 3, [20.0, 30.0, 50.0]]))
        check_mesh(mesh, None, 0.01)
        volume, areas = measures(mesh)
        assert areas.keys() == expected.keys()
        errors[order] = [abs(areas[n] / (expected[n] or 1e3) - bool(expected[n])) for n in expected] + [
            abs(volume - removed) / (removed or 3e4)
        ]
        assert mesh.order == order
        assert mesh.info.get("straightened_cells", 0) == 0
        inner = distribute(mesh, MPI.COMM_SELF).sheets
        assert inner == ({"a"} if name in SHEETS else set())
    assert max(errors[1]) < 0.07
    assert max(errors[2]) < 1e-3
    for flat, curved in zip(errors[1], errors[2], strict=True):
        assert curved < max(flat / 5, 1e-9), "curved cells are closer wherever flat ones are off"


@pytest.mark.parametrize("name", ["hemisphere", "penny", "ridge along x", "wedge", "patch"])
def test_the_other_plating_face(name: str) -> None:
    """Bug: shapes stand on +z wherever the plating face is."""
    crack, size, removed, expected = SHAPES[name]
    mesh = mesh_of(crack | {"name": "a"}, order=2, size_min=size, face="-z")
    swapped = {{"+z": "-z", "-z": "+z"}.get(n, n): a for n, a in (FACES | expected).items()}
    volume, areas = measures(mesh)
    assert volume == pytest.approx(removed, rel=1e-3, abs=1e-6)
    assert areas == pytest.approx(swapped, rel=1e-3)
    assert mesh.points[mesh.facets[mesh.tags == mesh.names["a"]]][:, :, 2].max() < 10 + 1e-9


def test_where_the_shapes_are() -> None:
    """Bug: a depth is a height, an azimuth turns the wrong way, along is across."""

    def box(name: str) -> Floats:
        mesh = mesh_of(SHAPES[name][0] | {"name": "a"}, order=1, size_min=SHAPES[name][1])
        points = mesh.points[mesh.facets[mesh.tags == mesh.names["a"]]].reshape(-1, 3)
        return np.array([points.min(axis=0), points.max(axis=0)])

    for name, low, high in (
        ("penny", (2, 15, 42), (18, 15, 50)), ("turned penny", (10, 7, 42), (10, 23, 50)),
        ("blade along y", (10, 0, 40), (10, 30, 50)), ("slot along x", (0, 13, 40), (20, 17, 50)),
        ("slot from the counter face", (0, 0, 0), (2, 30, 10)), ("patch", (5, 10, 50), (15, 20, 50)),
        ("pore cut by a wall", (16, 11, 21), (20, 19, 29)),
    ):  # fmt: skip
        np.testing.assert_allclose(box(name), [low, high], atol=0.3, err_msg=name)


def test_two_cracks_that_overlap() -> None:
    """Bug: the common part is meshed, removed twice, or named after both."""
    balls = [{"name": n, "kind": "pore", "centre": [f"{x} um", "15 um", "25 um"], "radius": "4 um"}
             for n, x in (("a", 8), ("b", 12))]  # fmt: skip
    volume, areas = measures(mesh_of(*balls, order=2))
    cap = 4 - 2  # height of the part of each ball beyond the plane midway
    lens = 2 * pi * cap**2 * (3 * 4 - cap) / 3
    assert volume == pytest.approx(2 * 4 / 3 * pi * 64 - lens, rel=1e-3)
    for name in "ab":
        assert areas[name] == pytest.approx(4 * pi * 16 - 2 * pi * 4 * cap, rel=1e-3)


def test_two_sheets_in_one_plane() -> None:
    """Bug: what two sheets have in common is counted as part of both, and its current twice."""
    blade = {"name": "a", "kind": "blade", "position": "10 um", "depth": "5 um"}
    penny = {"name": "b", "kind": "penny", "centre": ["10 um", "15 um"], "radius": "8 um", "azimuth": "90 deg"}
    _, areas = measures(mesh_of(blade, penny, order=2))
    common = 5 * sqrt(64 - 25) + 64 * asin(5 / 8)  # of the half-disc, above the depth of the blade
    assert areas["a"] == pytest.approx(30 * 5, rel=1e-9)
    assert areas["b"] == pytest.approx(pi * 64 / 2 - common, rel=1e-3)


@pytest.mark.parametrize(
    "crack",
    [{"kind": "pore", "centre": ["40 um", "15 um", "25 um"], "radius": "4 um"},
     {"kind": "penny", "centre": ["60 um", "15 um"], "radius": "8 um"},
     {"kind": "spheroid", "centre": ["10 um", "15 mm"], "depth": "5 um", "radius": "5 um"}],
)  # fmt: skip
def test_a_crack_outside_is_refused(crack: dict[str, Any]) -> None:
    """Bug: a centre in the wrong unit leaves a plain block that is solved without a word."""
    with pytest.raises(GeometryError, match="crack a: does not meet the block; check its centre") as refusal:
        mesh_of(crack | {"name": "a"}, order=1)
    assert refusal.value.detail == 11


def test_short_circuits_and_cut_blocks_are_refused() -> None:
    """Bug: a crack deeper than the block joins the electrodes, or cuts the block in two."""
    pore = {"name": "a", "kind": "pore", "centre": ["10 um", "15 um", "2 um"], "radius": "4 um"}
    with pytest.raises(GeometryError, match="crack a: reaches the counter electrode: a short circuit"):
        mesh_of(pore, order=1)
    mesh = mesh_of(pore | {"contents": "void"}, order=1)
    assert measures(mesh)[1]["-z"] == pytest.approx(600 - pi * 12, rel=1e-2)
    blade = {"name": "a", "kind": "blade", "position": "10 um", "depth": "60 um"}
    with pytest.raises(GeometryError, match="leave 2 electrolyte bodies instead of one"):
        mesh_of(blade, order=1)


def test_an_opening_finer_than_the_mesh_is_refused() -> None:
    """Bug: gmsh works for minutes on a rim it cannot resolve."""
    crack = {"name": "a", "kind": "penny", "centre": ["10 um", "15 um"], "radius": "8 um", "opening": "1 um"}
    with pytest.raises(MeshingError, match=r"its opening must be at least mesh\.size_min; got 1e\+03 nm"):
        mesh_case(case_of(cracks=[crack]), {})


def test_the_mesh_is_finest_at_the_sharpest_place() -> None:
    """Bug: the size follows the distance from the crack's middle, or the rim is left out."""
    crack, _, _, _ = SHAPES["open penny"]
    mesh = mesh_of(crack | {"name": "a"}, order=1, size_min=0.4)
    facets = mesh.facets[mesh.tags == mesh.names["a"]]
    size = np.sqrt(triangle_areas(mesh.points[facets]))
    centre = mesh.points[facets].mean(axis=1) - [10, 15, 50]
    rim = np.hypot(centre[:, 0], centre[:, 2]) > 7.5
    middle = np.hypot(centre[:, 0], centre[:, 2]) < 4
    assert np.median(size[rim]) < 0.4
    assert np.median(size[middle]) > 2 * np.median(size[rim])


@pytest.mark.parametrize("position", ["10 um", "0 um"])
@pytest.mark.parametrize(("profile", "sharp"), [("wedge", [0.0]), ("rectangle", [-2.0, 2.0])])
def test_sharp_edges_are_fine_and_the_flat_sides_are_not(profile: str, sharp: list[float], position: str) -> None:
    """Bug: flat sides have no curvature, so that an edge gets no size at all, or in a mirror plane none; or all do."""
    crack = {"name": "a", "kind": "blade", "position": position, "depth": "10 um", "opening": "4 um"}
    mesh = mesh_of(crack | {"profile": profile}, order=1, size_min=0.3, grading=1.3)
    facets = mesh.facets[mesh.tags == mesh.names["a"]]
    size = np.sqrt(triangle_areas(mesh.points[facets]) * 4 / sqrt(3))
    centre = mesh.points[facets].mean(axis=1) - [float(position[:-3]), 0, 40]
    for x in (value for value in sharp if position == "10 um" or value >= 0):
        near = np.hypot(centre[:, 0] - x, centre[:, 2]) < 0.6
        assert 0.2 < np.median(size[near]) < 0.45
    assert np.median(size[abs(centre[:, 2] - 5) < 1]) > 1.2
    top = size[centre[:, 2] > 8.5]
    assert np.median(top) > 1, "the mouth is no edge: the electrolyte spans no more than a half-plane there"


def test_corners_of_the_block_are_no_sources_of_fine_cells() -> None:
    """Bug: points that carry sizes are numbered like the corners of the block, which are meshed as finely as a tip."""
    mesh = mesh_of(SHAPES["hemisphere"][0] | {"name": "a"}, order=1, size_min=0.4, grading=1.3)
    corner = np.linalg.norm(mesh.points, axis=1).argmin()
    cells = mesh.points[mesh.cells[(mesh.cells == corner).any(axis=1)]]
    assert np.ptp(cells, axis=1).max(axis=1).min() > 3


def test_where_the_mouth_of_a_void_is_sharp() -> None:
    """Bug: electrode and void meet at more than a right angle, where the current is singular, and nothing refines."""
    crack = {"name": "a", "kind": "blade", "position": "10 um", "depth": "5 um", "opening": "6 um", "profile": "wedge"}

    def mouth(contents: str) -> float:
        mesh = mesh_of(crack | {"contents": contents}, order=1, size_min=0.3, grading=1.3)
        facets = mesh.facets[mesh.tags == mesh.names["a"]]
        centre = mesh.points[facets].mean(axis=1)
        return float(np.median(np.sqrt(triangle_areas(mesh.points[facets[centre[:, 2] > 49.7]]))))

    assert mouth("void") < 0.35
    assert mouth("lithium") > 0.7


def test_the_rim_of_a_patch_is_fine() -> None:
    """Bug: a disc in the face is taken for a part of the face, and its singular rim is not resolved."""
    mesh = mesh_of(SHAPES["patch"][0] | {"name": "a"}, order=2, size_min=0.3, grading=1.3)
    facets = mesh.facets[mesh.tags == mesh.names["a"]][:, :3]
    size = np.sqrt(triangle_areas(mesh.points[facets]) * 4 / sqrt(3))
    radius = np.linalg.norm(mesh.points[facets].mean(axis=1)[:, :2] - [10, 15], axis=1)
    assert np.median(size[radius > 4.6]) < 0.45
    assert np.median(size[radius < 2.5]) > 0.8


def test_a_wall_of_the_pellet_is_no_focus() -> None:
    """Bug: the round wall is meshed as finely as a tip."""
    mesh = mesh_of(SHAPES["quarter of a pellet"][0] | {"name": "a"}, order=2, size_min=0.1)
    assert len(mesh.cells) < 3000


def segment(radius: float, distance: float) -> float:
    """Area of a disc beyond a line at some distance from its centre."""
    return radius**2 * acos(distance / radius) - distance * sqrt(radius**2 - distance**2)


@pytest.mark.parametrize(
    ("x", "y", "radius", "area"),
    [(0, 0, 18, pi * 81), (10, 15, 9, pi * 81), (10, 15, 30, 600), (0, 15, 10, pi * 50),
     (10, 15, 12, pi * 144 - 2 * segment(12, 10)), (-6, 15, 10, segment(10, 6)),
     (0, 30, 22, pi * 121 - segment(22, 20) / 2)],
)  # fmt: skip
def test_cross_section_of_a_pellet(x: float, y: float, radius: float, area: float) -> None:
    """Bug: current densities and the electrode advance are per area of the block, of which the pellet fills a part."""
    wall = {"name": "w", "kind": "round_wall", "centre": [f"{x} um", f"{y} um"], "radius": f"{radius} um"}
    case = case_of(cracks=[wall])
    assert cross_section(case.block, case.cracks) == pytest.approx(area * UM**2, rel=1e-6)
    assert cross_section(case.block, ()) == pytest.approx(600 * UM**2)


def test_what_lies_in_another_body_is_no_sheet() -> None:
    """Bug: the part of a sheet outside the pellet, or in a pore, is meshed as lithium."""
    wall = {"name": "w", "kind": "round_wall", "centre": ["0 um", "0 um"], "radius": "18 um"}
    penny = {"name": "p", "kind": "penny", "centre": ["12 um", "0 um"], "radius": "8 um"}
    mesh = mesh_of(wall, penny, order=2, size_min=0.5, grading=1.3)
    beyond = 64 * np.arccos(6 / 8) - 6 * sqrt(28)  # segment of the disc cut off at x = 18
    assert measures(mesh)[1]["p"] == pytest.approx((pi * 64 - beyond) / 2, rel=1e-3)


@pytest.mark.parametrize(
    ("crack", "message"),
    [({"kind": "blade", "position": "10 um", "depth": "5 um", "profile": "wedge"}, "a wedge needs an opening"),
     ({"kind": "blade", "position": "10 um", "depth": "5 um", "stands_on": "counter"},
      "lithium belongs to the plating electrode"),
     ({"kind": "round_wall", "centre": ["0 um", "0 um"], "radius": "5 um", "contents": "lithium"}, "'void'")],
)  # fmt: skip
def test_cracks_that_cannot_be(crack: dict[str, Any], message: str) -> None:
    """Bug: a profile without a width, or lithium without an electrode, reaches the mesher."""
    with pytest.raises(ValueError, match=message):
        case_of(cracks=[crack | {"name": "a"}])


def test_foci_refine_where_they_are() -> None:
    """Bug: places to resolve are taken in mesh units, or ignored for closed forms."""
    crack, _, _, _ = SHAPES["hemisphere"]
    focus = Focus(np.array([[10.0, 15.0, 45.0]]) * UM, 1 * UM, 0.25 * UM)
    coarse, fine = (mesh_of(crack | {"name": "a"}, order=1, foci=foci) for foci in ([], [focus]))
    for mesh, low, high in ((coarse, 0.6, 3.0), (fine, 0.1, 0.35)):
        facets = mesh.facets[mesh.tags == mesh.names["a"]]
        near = np.linalg.norm(mesh.points[facets].mean(axis=1) - [10, 15, 45], axis=1) < 1
        assert low < np.sqrt(triangle_areas(mesh.points[facets[near]])).mean() < high
    assert measures(fine)[1]["a"] == pytest.approx(2 * pi * 25, rel=0.03)


def test_a_triangulated_shape_is_closed_and_outward() -> None:
    """Bug: shapes mixed with reconstructed surfaces are turned inside out or open at a seam."""
    case = case_of(cracks=[SHAPES["pore"][0] | {"name": "a"}])
    points, faces = triangulate_shape(case.block, case.cracks[0], UM, 0.7, 2.0)  # type: ignore[arg-type]
    sides = {tuple(s) for s in faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2).tolist()}
    assert len(sides) == 3 * len(faces)
    assert sides == {(b, a) for a, b in sides}
    a, b, c = np.moveaxis(points[faces] - [10, 15, 25], 1, 0)
    assert np.einsum("ij,ij->", a, np.cross(b, c)) / 6 == pytest.approx(4 / 3 * pi * 64, rel=0.05)
    np.testing.assert_allclose(np.linalg.norm(points - [10, 15, 25], axis=1), 4, rtol=1e-9)
    patch = case_of(cracks=[SHAPES["patch"][0] | {"name": "a"}])
    with pytest.raises(GeometryError, match=r"crack a: is a piece of the plating face.*surfaces; leave it"):
        triangulate_shape(patch.block, patch.cracks[0], UM, 0.7, 2.0)  # type: ignore[arg-type]
    wedge = case_of(cracks=[SHAPES["wedge"][0] | {"name": "a"}])
    points, faces = triangulate_shape(wedge.block, wedge.cracks[0], UM, 0.7, 2.0)  # type: ignore[arg-type]
    a, b, c = np.moveaxis(points[faces] - [10, 15, 50], 1, 0)
    assert np.einsum("ij,ij->", a, np.cross(b, c)) / 6 == pytest.approx(40 * (30 + 2 * 10), rel=1e-9)


def test_a_crack_without_thickness_beside_a_reconstructed_one() -> None:
    """Bug: closed forms without thickness are refused where another crack comes from a file."""
    blade = {"name": "b", "kind": "blade", "position": "5 um", "depth": "8 um"}
    file = {"name": "a", "kind": "surface_file", "file": "nowhere.stl", "unit": "um"}
    case = case_of(cracks=[file, blade], mesh={"size_min": "1 um", "size_max": "6 um"})
    mesh = mesh_case(case, {"a": cuboid((10, 5, 20), (14, 11, 27))})
    area = {n: triangle_areas(mesh.points[mesh.facets[mesh.tags == mesh.names[n]]]).sum() for n in ("a", "b")}
    scale = (mesh.unit / UM) ** 2
    assert area["a"] * scale == pytest.approx(2 * (24 + 28 + 42), rel=1e-9)
    assert area["b"] * scale == pytest.approx(8 * 30, rel=2e-3)  # its rim is remeshed within the tolerance
    assert mesh.info["min_quality"] > 0.05


def test_the_same_shapes_give_the_same_mesh() -> None:
    """Bug: sets in random order, or threads, make figures irreproducible."""
    crack = SHAPES["hemisphere"][0] | {"name": "a"}
    pore = {"name": "b", "kind": "pore", "centre": ["10 um", "15 um", "20 um"], "radius": "4 um"}
    assert len({mesh_of(crack, pore, order=2).sha256 for _ in range(2)}) == 1


# --- curved cells -----------------------------------------------------------------------------------------------------


def test_jacobian_ratio_of_known_cells() -> None:
    """Bug: a fold between the sampled places, or the wrong order of nodes, goes unseen."""
    mesh = block_mesh((1, 1, 1), order=2)
    np.testing.assert_allclose(jacobian_ratio(mesh.points, mesh.cells), 1, rtol=1e-12)
    edge = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    pairs = ((0, 1), (1, 2), (2, 0), (3, 0), (3, 2), (3, 1))
    cell = np.arange(10)[None]
    for shift, ratio in ((0.1, 0.6 / 1.4), (0.25, 0.0), (0.3, -0.2 / 2.2)):
        # The middle of edge 01 moves along it by s: x = xi + 4 s xi (1 - xi) there, dx/dxi from 1 + 4 s to 1 - 4 s.
        points = np.concatenate([edge, [(edge[i] + edge[j]) / 2 for i, j in pairs]])
        points[4, 0] += shift
        assert jacobian_ratio(points, cell)[0] == pytest.approx(ratio, abs=1e-12)


def test_folded_cells_are_straightened_and_counted() -> None:
    """Bug: a folded cell stays, all cells are straightened, or the neighbours of one get folded by it."""
    mesh = block_mesh(order=2, bend=0.02)
    points = mesh.points.copy()
    assert untangled(mesh).info["straightened_cells"] == 0
    assert np.array_equal(untangled(mesh).points, points)
    cell = mesh.cells[100]
    inner = next(n for n in cell[4:] if n not in mesh.facets)
    points[inner] += 0.8 * (points[cell[0]] - points[inner]) + 0.8 * (points[cell[1]] - points[inner])
    folded = replace(mesh, points=points)
    assert jacobian_ratio(folded.points, folded.cells).min() < 0
    mended = untangled(folded)
    assert jacobian_ratio(mended.points, mended.cells).min() >= 0.1
    assert 1 <= mended.info["straightened_cells"] < 20
    assert (mended.points != points).any(axis=1).sum() < 60
