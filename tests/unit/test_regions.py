"""Regions: parts of a face or a wall with a law of their own."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from numpy.typing import NDArray
from pydantic import ValidationError

from fem_spall.case import Case
from fem_spall.conduction import formulate
from fem_spall.crack.base import Block, CrackSurface
from fem_spall.errors import GeometryError, InputFileError
from fem_spall.estimate import measure
from fem_spall.fenics import MPI
from fem_spall.mesh.arrays import MeshArrays, triangle_areas
from fem_spall.mesh.embed import embed
from fem_spall.mesh.regions import with_regions
from fem_spall.mesh.tagged import distribute
from fem_spall.mesh.worker import mesh_case
from fem_spall.metrics import Evaluation
from fem_spall.progress import Silent
from fem_spall.region import Mask, covers
from fem_spall.solve import solve
from fem_spall.stage import solve_stage
from tests.solids import UM, case_of

BLOCK = Block((20e-6, 30e-6, 50e-6))
FIXED = {"kind": "fixed_potential"}
BLOCKED = {"kind": "no_flux"}
#: One that ends beyond the block, one beside its edge, one on the other face.
DISC = {"name": "disc", "kind": "disc", "centre": ["6 um", "8 um"], "radius": "3 um", "interface": FIXED}
CORNER = {"name": "corner", "kind": "polygon", "corners": [["15 um", "20 um"], ["25 um", "20 um"], ["15 um", "36 um"]],
          "interface": FIXED}  # fmt: skip
OTHER = {"name": "other", "kind": "polygon", "on": "counter", "interface": BLOCKED,
         "corners": [["0 um", "0 um"], ["10 um", "0 um"], ["10 um", "5 um"], ["0 um", "5 um"]]}  # fmt: skip
BALL = {"name": "ball", "kind": "pore", "centre": ["10 um", "15 um", "40 um"], "radius": "6 um"}
BAND = {"name": "band", "kind": "band", "on": "ball", "depth": ["7 um", "10 um"], "interface": BLOCKED}
MESH = {"size_min": "1.5 um", "size_max": "8 um", "refine_tips": False, "order": 1}


def law(value: str) -> dict[str, str]:
    return {"kind": "resistance", "value": value}


def case(*regions: dict[str, Any], **parts: Any) -> Case:
    return case_of(**{"regions": list(regions), "mesh": MESH} | parts)


def ball_surface(subdivisions: int = 4) -> CrackSurface:
    sphere = trimesh.creation.icosphere(subdivisions, radius=6.0)
    return CrackSurface.canonical((sphere.vertices + np.array([10, 15, 40])) * UM, sphere.faces)


def area(mesh: MeshArrays, name: str) -> float:
    """Area of a surface, um^2."""
    facets = mesh.facets[mesh.tags == mesh.names[name], :3]
    return float(triangle_areas(mesh.points[facets]).sum()) * (mesh.unit / UM) ** 2


#: What the corner has inside the block: a triangle of 10 x 16 um cut off at x = 20 um and y = 30 um.
CUT = 0.5 * 10 * 16 - 0.5 * 5 * 8 - 0.5 * (10 * 6 / 16) * 6


def test_the_mesh_of_closed_forms_follows_regions() -> None:
    """Bug: the outline cuts through facets, what is outside the block counts, or a band takes the wrong slice."""
    chosen = case(DISC, CORNER, OTHER, BAND, cracks=[BALL])
    mesh = mesh_case(chosen, {})
    assert area(mesh, "corner") == pytest.approx(CUT, rel=1e-9)
    assert area(mesh, "other") == pytest.approx(50, rel=1e-9)
    assert mesh.info["region_areas_m2"]["disc"] == pytest.approx(math.pi * 9 * UM**2, rel=1e-9)
    assert mesh.info["region_areas_m2"]["band"] == pytest.approx(2 * math.pi * 6 * 3 * UM**2, rel=1e-6)
    assert area(mesh, "+z") + area(mesh, "disc") + area(mesh, "corner") == pytest.approx(600, rel=1e-9)
    assert area(mesh, "band") == pytest.approx(2 * math.pi * 6 * 3, rel=0.03)


def test_the_mesh_of_surfaces_follows_regions() -> None:
    """Bug: the remesher rounds corners off or cuts across a disc; triangles on the other side of an outline change."""
    ball = {"name": "ball", "kind": "surface_file", "file": "none.stl", "unit": "um"}
    mesh = mesh_case(case(DISC, CORNER, OTHER, BAND, cracks=[ball]), {"ball": ball_surface()})
    assert area(mesh, "disc") == pytest.approx(math.pi * 9, rel=1e-6)
    assert area(mesh, "corner") == pytest.approx(CUT, rel=1e-6)
    assert area(mesh, "other") == pytest.approx(50, rel=1e-6)
    assert area(mesh, "band") == pytest.approx(2 * math.pi * 6 * 3, rel=0.04)
    assert mesh.info["region_areas_m2"]["band"] == pytest.approx(2 * math.pi * 6 * 3 * UM**2, rel=5e-3)
    assert mesh.info["apart_from_plating"] == ["ball"]


def test_dividing_triangles_keeps_the_surface() -> None:
    """Bug: a vertex on an edge that only one of its two triangles knows, or a region that takes its neighbour's."""
    ball = {"name": "ball", "kind": "surface_file", "file": "none.stl", "unit": "um"}
    second = DISC | {"name": "second", "radius": "5 um"}
    chosen = case(DISC, second, CORNER, BAND, cracks=[ball])
    given = embed(BLOCK, {"ball": ball_surface(2)}, frozenset(), 1e-5)
    made = with_regions(given, chosen)
    assert made.volume == pytest.approx(given.volume, rel=1e-13)
    sides = np.sort(made.faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    assert (np.unique(sides, axis=0, return_counts=True)[1] == 2).all(), "closed"
    first, ring = (made.area(made.names[name]) * 100 for name in ("disc", "second"))
    assert (first, ring) == pytest.approx((9 * math.pi, 16 * math.pi), rel=1e-9), "the first comes first"
    assert made.planes()[made.names["disc"]] == made.planes()[made.names["+z"]]
    assert made.tags_of("ball") == [made.names["ball"], made.names["band"]]
    with pytest.raises(GeometryError, match="region third: meets nothing of plating"):
        with_regions(given, case(second, DISC | {"name": "third", "radius": "4 um"}, cracks=[ball]))


def test_limits_of_a_resistance() -> None:
    """Bug: a region keeps the law of the face round it, or its resistance is per whole face."""
    currents = {}
    mesh = distribute(mesh_case(case(DISC, OTHER), {}), MPI.COMM_SELF)
    laws = {"clean": FIXED, "least": law("1e-7 ohm cm^2"), "most": law("1e9 ohm cm^2"), "blocked": BLOCKED}
    plating = {"plating": {"face": "+z", "interface": law("1 ohm cm^2")}, "counter": {"face": "-z", "potential": "1 V"}}
    for name, chosen in laws.items():
        made = case(DISC | {"interface": chosen}, OTHER, electrodes=plating)
        solution = solve(formulate(made, mesh, 1), 1e-12)
        evaluation = Evaluation.of(made, solution, (0.0, np.zeros(3), 0.0))
        currents[name] = evaluation.total_current
        through = sum(evaluation.currents[part][0] for part in evaluation.counter_names)
        assert through == pytest.approx(-evaluation.total_current, rel=1e-9)
    assert currents["least"] == pytest.approx(currents["clean"], rel=1e-6)
    assert currents["most"] == pytest.approx(currents["blocked"], rel=1e-6)
    assert currents["clean"] > 1.02 * currents["blocked"]


def test_a_run_reports_its_regions(tmp_path: Path) -> None:
    """Bug: energy or charge of a region is lost, its figures have no error, or the wall of a crack loses its band."""
    plating = {"face": "+z", "interface": law("5 ohm cm^2")}
    electrodes = {"plating": plating, "counter": {"face": "-z", "drive": {"current_density": "1 mA/cm^2"}}}
    ball = BALL | {"interface": law("20 ohm cm^2")}
    band = BAND | {"interface": law("0.5 ohm cm^2")}
    other = OTHER | {"interface": law("50 ohm cm^2")}
    chosen = case(DISC, band, other, cracks=[ball], electrodes=electrodes, solver={"degree": 2, "tolerance": 1e-11})
    record = solve_stage(chosen, mesh_case(chosen, {}), MPI.COMM_SELF, tmp_path, Silent())
    assert record is not None
    assert set(record["identity"]) == {"charge", "energy", "advance", "power_by_part"}
    assert max(abs(value) for value in record["identity"].values()) < 1e-9
    for name in ("disc", "band"):
        metric = record["metrics"][f"region_{name}_current"]
        assert 0 < metric["error"] < 0.4 * metric["value"], "the bare disc on a mesh of half its radius"
        assert metric["value"] == pytest.approx(record["regions"][name]["current"])
    assert record["regions"]["other"]["current"] < 0
    assert record["cracks"]["ball"]["area"] == pytest.approx(4 * math.pi * 36 * UM**2, rel=0.02)
    assert record["cracks"]["ball"]["volume"] == pytest.approx(4 / 3 * math.pi * 216 * UM**3, rel=0.03)
    assert record["cracks"]["ball"]["current"] > record["regions"]["band"]["current"]
    assert record["currents"]["plating"] == pytest.approx(10 * 600e-12, rel=1e-9)


def mask(tmp_path: Path, values: NDArray[Any], **keys: Any) -> Mask:
    np.save(tmp_path / "mask.npy", values)
    extent = [["0 um", "0 um"], ["20 um", "30 um"]]
    plain = {"name": "mask", "kind": "mask", "file": tmp_path / "mask.npy", "extent": extent, "interface": FIXED}
    return Mask.model_validate(plain | ({} if "below" in keys else {"above": 128}) | keys)


def ring(rows: int = 150, columns: int = 100) -> NDArray[np.uint8]:
    """A ring of radii 3 and 6 um about (8, 20) um, and a speck, the last row the lowest."""
    y, x = np.mgrid[rows - 0.5 : 0 : -1, 0.5:columns] * 0.2
    radius = np.hypot(x - 8, y - 20)
    image = np.where((radius > 3) & (radius < 6), 200, 20)
    image[-12:-10, 80:82] = 200
    return image.astype(np.uint8)


def test_a_mask_is_traced(tmp_path: Path) -> None:
    """Bug: holes filled, the picture upside down, or outlines that run through the middle of pixels."""
    made = mask(tmp_path, ring())
    pieces = made.outlines(BLOCK, 0.6 * UM)
    assert [len(piece) for piece in pieces] == [2], "a ring with its hole; the speck is dropped"
    places = np.array([[8, 24.5], [8, 20], [8, 10], [3.5, 20]]) * UM
    assert covers(pieces, places).tolist() == [True, False, False, True]
    x, y = (np.arange(800) + 0.5) / 40 * UM, (np.arange(1200) + 0.5) / 40 * UM
    share = covers(pieces, np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)).mean()
    assert share * 600 == pytest.approx(27 * math.pi, rel=0.02)
    assert made.pixel_area() == pytest.approx((27 * math.pi + 0.16) * UM**2, rel=0.01)
    upside = mask(tmp_path, ring()[::-1], rows="up").outlines(BLOCK, 0.6 * UM)
    assert covers(upside, places).tolist() == [True, False, False, True]
    assert len(mask(tmp_path, ring(), islands="0 um").outlines(BLOCK, 0.6 * UM)) == 2
    rest = mask(tmp_path, ring(), below=128).outlines(BLOCK, 0.6 * UM)
    assert covers(rest, places).tolist() == [False, True, True, False]
    assert covers(rest, np.array([[0.01, 0.01], [19.99, 29.99]]) * UM).all(), "up to the edge of the image"


def test_what_regions_refuse(tmp_path: Path) -> None:
    with pytest.raises(GeometryError, match="must have outlines with 3 to 5000 corners at its level; got nothing"):
        mask(tmp_path, ring(), above=250).outlines(BLOCK, UM)
    with pytest.raises(InputFileError, match="must have two axes of plain numbers"):
        mask(tmp_path, np.zeros((3, 4, 4))).outlines(BLOCK, UM)
    with pytest.raises(InputFileError, match="must hold finite numbers"):
        mask(tmp_path, np.full((4, 4), np.nan)).outlines(BLOCK, UM)
    with pytest.raises(ValidationError, match="give either above or below"):
        mask(tmp_path, ring(), above=1, below=2)
    for region, said in (
        (DISC | {"on": "ball"}, "must be on plating or counter"),
        (BAND | {"on": "plating"}, "a band is on a crack"),
        (BAND | {"on": "bell"}, "which is none of plating, counter, ball. Correct 'on'"),
        (DISC | {"name": "ball"}, "two surfaces are named 'ball'"),
    ):
        with pytest.raises(ValidationError, match=said):
            case(region, cracks=[BALL])
    for lost, said in (
        (BAND | {"depth": ["1 um", "2 um"]}, "region band: meets nothing of ball"),
        (DISC | {"centre": ["90 um", "8 um"]}, "region disc: meets nothing of plating"),
    ):
        with pytest.raises(GeometryError, match=said):
            mesh_case(case(lost, cracks=[BALL]), {})
    for lost in (DISC | {"centre": ["90 um", "8 um"]}, BAND | {"depth": ["50 um", "60 um"]}):
        with pytest.raises(GeometryError, match=f"region {lost['name']}: meets nothing of"):
            measure(case(lost, cracks=[BALL]))  # `check` says so as well
    with pytest.raises(ValidationError, match="must be lithium in contact with the plating electrode"):
        case(BAND, cracks=[BALL | {"contact": "isolated"}])


def test_facets_near_a_file_are_a_region(tmp_path: Path) -> None:
    """Bug: the file's unit is forgotten, or facets of another surface nearby belong to the region too."""
    cap = trimesh.creation.icosphere(4, radius=6.0)
    cap.update_faces(cap.triangles_center[:, 2] > 3)
    cap.apply_translation([10, 15, 40])
    cap.export(tmp_path / "cap.stl")
    region = {"name": "cap", "kind": "facets", "on": "ball", "file": tmp_path / "cap.stl", "unit": "um",
              "interface": FIXED, "within": "100 nm"}  # fmt: skip
    ball = {"name": "ball", "kind": "surface_file", "file": "none.stl", "unit": "um"}
    made = with_regions(embed(BLOCK, {"ball": ball_surface()}, frozenset(), 1e-5), case(region, cracks=[ball]))
    assert made.area(made.names["cap"]) * 100 == pytest.approx(cap.area, rel=1e-3)
    mesh = mesh_case(case(region | {"within": "300 nm"}, cracks=[BALL]), {})
    assert area(mesh, "cap") == pytest.approx(cap.area, rel=0.2), "along the facets of the mesh only"
