"""Sheets without thickness: cut at the block, the faces divided along them, cells on either side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fem_spall.crack import Block, CrackSurface
from fem_spall.crack.sheet import Sheet
from fem_spall.errors import GeometryError
from fem_spall.mesh.arrays import MeshArrays
from fem_spall.mesh.checks import cell_volumes, check_surfaces
from fem_spall.mesh.embed import embed
from fem_spall.mesh.sides import closed_again, conducting_part, inner_facets, opened
from fem_spall.mesh.tagged_surface import TaggedSurface, facet_edges
from fem_spall.mesh.thin import rim_of
from fem_spall.mesh.worker import mesh_case
from tests.solids import UM, block_mesh, case_of, cuboid

BLOCK = Block((20 * UM, 30 * UM, 50 * UM))
type Floats = NDArray[np.float64]


def sheet(corners: list[tuple[float, float, float]], faces: list[tuple[int, ...]] | None = None) -> CrackSurface:
    """A fan of triangles, or given ones, um."""
    made = [(0, k, k + 1) for k in range(1, len(corners) - 1)] if faces is None else faces
    return CrackSurface.canonical(np.array(corners) * UM, np.array(made), thin=True)


def blade(low: float = 45, top: float = 51, ends: tuple[float, float] = (-1, 31)) -> CrackSurface:
    return sheet([(10, ends[0], low), (10, ends[1], low), (10, ends[1], top), (10, ends[0], top)])


def embedded(voids: tuple[str, ...] = (), snap: float = 0.0, **cracks: CrackSurface) -> TaggedSurface:
    return embed(BLOCK, cracks, frozenset(voids), UM, snap)


def area(surface: TaggedSurface, name: str) -> float:
    return surface.area(surface.names[name])


def check_conforming(surface: TaggedSurface) -> None:
    """Every edge of the closed part has two triangles, and the faces keep their areas."""
    _, index = facet_edges(surface.faces[surface.closed])
    assert (np.bincount(index.ravel()) == 2).all()
    assert surface.volume == pytest.approx(30000, rel=1e-12)
    for name, size in {"-x": 1500, "+x": 1500, "-y": 1000, "+y": 1000, "-z": 600, "+z": 600}.items():
        assert area(surface, name) == pytest.approx(size, rel=1e-12), name


def trace_length(surface: TaggedSurface) -> float:
    """Length of the edges where a sheet meets a face of the block, every one with three triangles."""
    edges, index = facet_edges(surface.faces)
    count = np.bincount(index.ravel())
    assert set(count.tolist()) <= {1, 2, 3}
    ends = surface.vertices[edges[count == 3]]
    return float(np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1).sum())


def rim_length(surface: TaggedSurface) -> float:
    ends = rim_of(surface)
    return float(np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1).sum())


def test_a_sheet_through_three_faces_is_cut_at_them() -> None:
    """Bug: what stands out of the block stays, or a face has no edge where the sheet meets it."""
    surface = embedded(a=blade())
    check_conforming(surface)
    assert area(surface, "a") == pytest.approx(2 * 30 * 5, rel=1e-12), "both faces count"
    assert trace_length(surface) == pytest.approx(30 + 5 + 5, rel=1e-12)
    assert rim_length(surface) == pytest.approx(30, rel=1e-12)


@pytest.mark.parametrize(
    ("corners", "inside", "trace"),
    [
        ([(10, 10, 45), (10, 20, 45), (10, 20, 55), (10, 10, 55)], 50, 10),
        ([(10, 10, 45), (10, 20, 45), (10, 20, 50), (10, 10, 50)], 50, 10),
        ([(10, 10, 30), (10, 20, 30), (10, 20, 40), (10, 10, 40)], 100, 0),
        ([(-5, 15, 30), (5, 15, 30), (5, 15, 60), (-5, 15, 60)], 100, 25),
        ([(5, 10, 45), (15, 20, 45), (15, 20, 55), (5, 10, 55)], 50 * 2**0.5, 10 * 2**0.5),
    ],
)
def test_positions_of_a_rectangle(corners: list[tuple[float, float, float]], inside: float, trace: float) -> None:
    """Bug: a position that is crossing, coplanar with an end, inside or over a corner is cut in another way."""
    surface = embedded(a=sheet(corners))
    check_conforming(surface)
    assert area(surface, "a") == pytest.approx(2 * inside, rel=1e-12)
    assert trace_length(surface) == pytest.approx(trace, rel=1e-12)


def test_a_tube_leaves_a_ring_on_the_face() -> None:
    """Bug: a closed trace is taken for a hole, and the face inside it is lost."""
    n = 24
    turn = 2 * np.pi * np.arange(n) / n
    ring = np.stack([10 + 4 * np.cos(turn), 15 + 4 * np.sin(turn)], axis=1)
    corners = [(x, y, z) for z in (44, 52) for x, y in ring.tolist()]
    faces = [f for k in range(n) for f in ((k, (k + 1) % n, n + k), ((k + 1) % n, n + (k + 1) % n, n + k))]
    surface = embedded(a=sheet(corners, faces))
    check_conforming(surface)
    girth = 2 * n * 4 * np.sin(np.pi / n)
    assert trace_length(surface) == pytest.approx(girth, rel=1e-9)
    assert rim_length(surface) == pytest.approx(girth, rel=1e-9)


def test_an_end_just_off_the_face_is_put_onto_it_and_reported() -> None:
    """Bug: a film of 1 nm stays between the sheet and the plating face."""
    for top in (49.999, 50.001):
        surface = embedded(snap=5e-9, a=blade(top=top))
        check_conforming(surface)
        assert area(surface, "a") == pytest.approx(2 * 30 * 5, rel=1e-9)
        assert any(repair.kind == "sheet vertices moved onto the face +z" for repair in surface.repairs)


@pytest.mark.parametrize(
    ("cracks", "voids", "said"),
    [
        ({"a": blade(), "b": sheet([(5, 15, 46), (15, 15, 46), (15, 15, 48)])}, (), "runs through crack"),
        ({"a": blade(), "b": cuboid((8, 10, 46), (12, 14, 48))}, (), "crack a: runs through crack b"),
        ({"a": blade(low=-1)}, (), "crack a: reaches the counter electrode"),
        ({"a": sheet([(10, 10, 60), (10, 20, 60), (10, 20, 70)])}, (), "crack a: has no face inside the block"),
        ({"a": sheet([(5, 5, 50), (9, 5, 50), (9, 9, 50), (9, 9, 45)])}, ("a",), "use kind: patch"),
        ({"a": sheet([(0, 5, 30), (0, 9, 30), (0, 9, 40), (5, 9, 40)])}, (), "an insulating wall"),
        ({"b": cuboid((5, 5, 30), (15, 15, 40)), "a": sheet([(8, 8, 33), (9, 8, 33), (9, 9, 34)])}, (), "borders no"),
        ({"a": sheet([(10, 10, 40), (12, 10, 40), (11, 10, 50)])}, (), "in single points"),
    ],
)  # fmt: skip
def test_what_is_no_sheet_in_the_electrolyte_is_refused(
    cracks: dict[str, CrackSurface], voids: tuple[str, ...], said: str
) -> None:
    """Bug: the mesher dies of it minutes later, or the sheet is silently lost."""
    with pytest.raises(GeometryError, match=said):
        embedded(voids, **cracks)


def test_an_insulating_sheet_is_opened_and_closed_again() -> None:
    """Bug: vertices on the rim come apart, so that current cannot go round; or cells of one side keep the other's."""
    mesh = block_mesh((4, 4, 5), sheet=(10.0, 30.0))
    sheets = mesh.tags == mesh.names["sheet"]
    assert inner_facets(mesh).tolist() == sheets.tolist()
    apart = opened(mesh, ["sheet"])
    rim = np.unique(mesh.facets[sheets])
    on_rim = np.abs(mesh.points[rim, 2] * mesh.unit / UM - 30) < 1e-6
    assert len(apart.points) == len(mesh.points) + int((~on_rim).sum())
    assert not inner_facets(apart).any()
    assert (apart.tags == mesh.names["sheet"]).sum() == 2 * sheets.sum()
    check_surfaces(apart, np.array(mesh.info["box"]))
    np.testing.assert_array_equal(cell_volumes(apart), cell_volumes(mesh))
    again = closed_again(apart, ["sheet"])
    assert len(again.points) == len(mesh.points)
    assert len(again.facets) == len(mesh.facets)


def test_what_a_sheet_cuts_off_is_dropped_and_reported() -> None:
    """Bug: electrolyte behind a sheet right across the block is solved as if current could reach it."""
    across = slab_mesh()
    kept, repair = conducting_part(across, "-z", frozenset({"sheet", "+z"}))
    assert repair is not None
    assert repair.volume_change == pytest.approx(-0.5 * 20 * 30 * 50 * UM**3, rel=1e-9, abs=0)
    assert cell_volumes(kept).sum() * (kept.unit / UM) ** 3 == pytest.approx(15000, rel=1e-9)
    assert set(kept.tags.tolist()) == {kept.names[n] for n in ("-x", "+x", "-y", "+y", "-z", "sheet")}
    with pytest.raises(GeometryError, match="cut the counter electrode off from all plating lithium"):
        conducting_part(across, "-z", frozenset({"+z"}))


def slab_mesh() -> MeshArrays:
    """Two blocks of 25 um, one on the other, with a sheet between them."""
    one = block_mesh((2, 2, 2), (20.0, 30.0, 25.0))
    up = np.array([0, 0, 25 * UM / one.unit])
    top = one.names["+z"]
    flipped = one.points * [1, 1, -1] + 2 * up  # mirrored, so that the interface conforms
    cells = one.cells[:, [1, 0, 2, 3]] + len(one.points)
    points = np.concatenate([one.points, flipped])
    place = np.unique(points.round(9), axis=0, return_inverse=True, return_index=True)
    merged = place[2].ravel()
    facets, tags = merged[one.facets], np.where(one.tags == top, 10, one.tags)
    other = merged[one.facets + len(one.points)]
    swap = {one.names["-z"]: top}
    keep = one.tags != top
    other_tags = np.array([swap.get(int(tag), int(tag)) for tag in one.tags[keep]])
    return MeshArrays(
        points[place[1]], merged[np.concatenate([one.cells, cells])], np.concatenate([facets, other[keep]]),
        np.concatenate([tags, other_tags]).astype(np.int32), {**one.names, "sheet": 10}, one.unit,
    )  # fmt: skip


def test_the_mesh_holds_every_triangle_of_the_sheet() -> None:
    """Bug: the tetrahedra run through the sheet, and it carries no condition there."""
    case = case_of(
        cracks=[{"name": "a", "kind": "sheet", "file": "x.stl", "unit": "um"}],
        mesh={"size_min": "1 um", "size_max": "8 um", "refine_tips": False},
    )
    mesh = mesh_case(case, {"a": blade(ends=(10, 20))})
    own = mesh.tags == mesh.names["a"]
    assert inner_facets(mesh).tolist() == own.tolist()
    corners = mesh.points[mesh.facets[own]] * mesh.unit / UM
    assert np.abs(corners[:, :, 0] - 10).max() < 1e-9
    sides = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert np.linalg.norm(sides, axis=1).sum() / 2 == pytest.approx(50, rel=1e-9)
    assert mesh.info["min_quality"] > 0.05


def written(folder: Path, vertices: list[tuple[float, float, float]], faces: list[tuple[int, int, int]]) -> Sheet:
    text = "".join(f"v {x} {y} {z}\n" for x, y, z in vertices)
    text += "".join("f " + " ".join(str(k + 1) for k in face) + "\n" for face in faces)
    (folder / "sheet.obj").write_text(text)
    return Sheet(name="a", kind="sheet", file=folder / "sheet.obj", unit="um")


SQUARE = [(10.0, 10.0, 45.0), (10.0, 20.0, 45.0), (10.0, 20.0, 55.0), (10.0, 10.0, 55.0)]


def test_a_file_is_cleaned_and_says_so(tmp_path: Path) -> None:
    """Bug: a flipped or doubled triangle is taken for a branch, or turns up twice in the area."""
    surface = written(tmp_path, [*SQUARE, SQUARE[0]], [(4, 1, 2), (0, 3, 2), (2, 3, 0), (1, 1, 2)]).surface(BLOCK)
    assert surface.thin
    assert surface.area == pytest.approx(100 * UM**2, rel=1e-12, abs=0)
    kinds = {repair.kind: repair.count for repair in surface.repairs}
    assert kinds == {
        "identical corners merged": 1, "degenerate faces dropped": 1, "duplicate faces dropped": 1,
        "faces turned to their neighbours' sense": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("vertices", "faces", "said"),
    [
        ([*SQUARE, (15, 10, 45)], [(0, 1, 2), (0, 2, 3), (0, 2, 4)], "1 edges where more than two"),
        ([*SQUARE[:3], (15.0, 15.0, 50.0)], [(0, 2, 1), (0, 1, 3), (1, 2, 3), (2, 0, 3)], "it has 1 closed parts"),
        ([*SQUARE[:3], (5, 14, 48), (15, 14, 48), (15, 18, 47)], [(0, 1, 2), (3, 4, 5)], "runs through itself"),
        ([*SQUARE[:2], (10.0, 15.0, 45.0)], [(0, 1, 2)], "must have at least one face with an area"),
    ],
)  # fmt: skip
def test_files_that_hold_no_sheet_are_refused(
    tmp_path: Path, vertices: list[tuple[float, float, float]], faces: list[tuple[int, int, int]], said: str
) -> None:
    """Bug: a closed body, a branch or a crossing reaches the mesher."""
    with pytest.raises(GeometryError, match=said):
        written(tmp_path, vertices, faces).surface(BLOCK)


@pytest.mark.slow
def test_a_triangulated_blade_carries_the_exact_current(tmp_path: Path) -> None:
    """Bug: only one face of the sheet draws current, or its rim is too coarse for the singular field."""
    from fem_spall.analytic import cracks as exact
    from fem_spall.run import run_case

    corners = [(10.0, -1.0, 10.0), (10.0, 2.0, 10.0), (10.0, 2.0, 21.0), (10.0, -1.0, 21.0)]
    written(tmp_path, corners, [(0, 1, 2), (0, 2, 3)])
    case = case_of(
        name="blade",
        electrolyte={"size": ["20 um", "1 um", "20 um"], "conductivity": "0.1 S/m"},
        cracks=[{"name": "a", "kind": "sheet", "file": str(tmp_path / "sheet.obj"), "unit": "um"}],
        mesh={"size_min": "100 nm", "size_max": "2 um", "refine_tips": False},
        metrics={"averaging_lengths": ["1 um"]},
    )
    source = tmp_path / "case.yaml"
    source.write_text("version: 1\n")
    metrics = run_case(case, source, tmp_path / "out")["metrics"]
    cell = {"half_width": 10e-6, "height": 20e-6, "depth": 10e-6}
    current = exact.blade_cell_current(0.1, 0.05, **cell, length=1e-6)
    assert metrics["total_current"]["value"] == pytest.approx(2 * current, rel=5e-3)
    assert metrics["crack_current_share"]["value"] == pytest.approx(exact.blade_cell_share(**cell), rel=5e-3)
    intensity = exact.blade_cell_intensity(0.05 / 20e-6 * 2**0.5, **cell)
    assert metrics["edge_field_intensity"]["value"] == pytest.approx(intensity, rel=2e-2)
