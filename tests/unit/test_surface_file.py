"""Surface files: units, placement and refusals; and what inspection says of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from fem_spall.crack import Block, CrackSurface
from fem_spall.crack.inspect_surface import inspect_surface
from fem_spall.crack.mesh_readers import read_mesh
from fem_spall.crack.surface_file import Placement, SurfaceFile, in_metres
from fem_spall.errors import GeometryError, InputFileError
from tests.amira_writer import surface_file

BLOCK = Block((20e-6, 30e-6, 50e-6))
MESHES = Path(__file__).parents[2] / "meshes"
WEDGE = np.array([[4.1, 10.2, 40.3], [8.4, 10.2, 40.3], [4.1, 15.3, 40.3], [4.1, 10.2, 47.123456789]])  # um
SIDES = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]])
WEDGE_VOLUME = 4.3 * 5.1 * 6.823456789 / 6 * 1e-18


def save(path: Path, points: NDArray[np.float64], faces: NDArray[np.int64] = SIDES) -> Path:
    rows = [f"v {' '.join(f'{value:.15g}' for value in point)}" for point in points]
    path.write_text("\n".join(rows + [f"f {a} {b} {c}" for a, b, c in faces + 1]) + "\n")
    return path


def crack(file: Path, unit: str = "um", **place: Any) -> CrackSurface:
    data = {"name": "c", "kind": "surface_file", "file": file, "unit": unit, "place": place}
    return SurfaceFile.model_validate(data).surface(BLOCK)


@pytest.mark.parametrize(
    ("unit", "factor"), [("nm", 1e3), ("mm", 1e-3), ("cm", 1e-4), ("m", 1e-6), ("inch", 1 / 25400)]
)
def test_every_unit_gives_the_same_bytes(tmp_path: Path, unit: str, factor: float) -> None:
    """Bug: the last bits depend on the unit, and with them the mesh and every figure."""
    reference = crack(save(tmp_path / "um.obj", WEDGE))
    assert reference.volume == pytest.approx(WEDGE_VOLUME, rel=1e-12)
    assert crack(save(tmp_path / "other.obj", WEDGE * factor), unit).sha256 == reference.sha256


def test_the_decimal_grid_is_finer_than_single_precision() -> None:
    """Bug: rounding moves vertices visibly, or loses a small surface far from the origin."""
    rng = np.random.default_rng(0)
    points = rng.random((1000, 3)) * 12 + [4e4, 0, 0]
    assert np.abs(in_metres(points, "um") - points * 1e-6).max() < 12e-6 * 1e-9
    tiny = rng.random((1000, 3)) * 1e-7
    assert np.abs(in_metres(tiny, "nm") - tiny * 1e-9).max() < 1e-16 * 1e-9


def test_single_precision_nanometres_give_the_same_numbers() -> None:
    """Bug: an STL in nm is 1000 times too large, or its rounding changes the figures."""
    raw = read_mesh(MESHES / "fault_crack_lens.stl")
    one, other = in_metres(raw.vertices, "um"), in_metres((raw.vertices * 1e3).astype(np.float32).astype(float), "nm")
    assert np.abs(one - other).max() < 4e-12  # half a last bit of 50 000 nm in single precision is 2e-12 m


def test_mirrored_file_keeps_volume_and_sense(tmp_path: Path) -> None:
    """Bug: mirroring turns the surface inside out."""
    mirrored = crack(save(tmp_path / "a.obj", WEDGE), mirror="x")
    assert mirrored.volume == pytest.approx(WEDGE_VOLUME, rel=1e-12)
    assert mirrored.repairs == ()
    assert np.allclose(mirrored.bounds, [WEDGE.min(axis=0) * 1e-6, WEDGE.max(axis=0) * 1e-6], rtol=0, atol=1e-16)
    in_file = crack(save(tmp_path / "b.obj", WEDGE * [-1, 1, 1]), shift=["12.5 um", "0 um", "0 um"])
    assert [one.kind for one in in_file.repairs] == ["inside-out parts turned"]
    assert in_file.volume == pytest.approx(WEDGE_VOLUME, rel=1e-12)


def test_shuffled_file_gives_the_same_bytes(tmp_path: Path) -> None:
    """Bug: the order of the triangles in the file shows in the result."""
    raw = read_mesh(MESHES / "pores.stl")
    rng = np.random.default_rng(0)
    order = rng.permutation(len(raw.faces))
    path = save(tmp_path / "shuffled.obj", raw.vertices, np.roll(raw.faces, 1, axis=1)[order])
    shift = ["10 um", "15 um", "0 um"]
    assert crack(path, shift=shift).sha256 == crack(MESHES / "pores.stl", shift=shift).sha256


def place(**keys: Any) -> NDArray[np.float64]:
    return Placement.model_validate(keys).apply(WEDGE * 1e-6, SIDES)[0] * 1e6


def test_each_key_of_the_placement() -> None:
    """Bug: a key has another meaning than the reference says."""
    assert np.allclose(place(tilt="52 deg")[:, 1], WEDGE[:, 1] * 1.2690182150725)  # 1/sin(52 degrees)
    assert np.allclose(place(mirror="z")[:, 2], 40.3 + 47.123456789 - WEDGE[:, 2])
    assert np.allclose(place(scale=2), 2 * WEDGE)
    longest = place(longest="3 um")
    assert np.ptp(longest, axis=0).max() == pytest.approx(3)
    assert np.allclose((longest.min(axis=0) + longest.max(axis=0)) / 2, (WEDGE.min(axis=0) + WEDGE.max(axis=0)) / 2)
    centred = place(centre=["1 um", "2 um", "3 um"])
    assert np.allclose((centred.min(axis=0) + centred.max(axis=0)) / 2, [1, 2, 3])
    assert np.allclose(place(shift=["1 um", "-2 um", "0.5 um"]), WEDGE + np.array([1, -2, 0.5]))


def test_rotation_about_x_then_y_then_z() -> None:
    """Bug: the order or the sense of the turns is another one."""
    turned = place(rotate=["90 deg", "0 deg", "90 deg"], centre=["0 um", "0 um", "0 um"])
    x, y, z = (WEDGE - (WEDGE.min(axis=0) + WEDGE.max(axis=0)) / 2).T
    # About x: (x, y, z) -> (x, -z, y); then about z: (x, y, z) -> (-y, x, z).
    assert np.allclose(turned, np.column_stack([z, x, y]), atol=1e-9)


def test_keys_apply_in_the_stated_order() -> None:
    """Bug: the shift is scaled too, or the centre is set before the scaling."""
    given = place(shift=["1 um", "0 um", "0 um"], centre=["5 um", "5 um", "5 um"], longest="2 um", scale=7, mirror="y")
    assert given.min() >= 4 - 1e-9
    assert (given[:, 0].min() + given[:, 0].max()) / 2 == pytest.approx(6)
    assert np.ptp(given, axis=0).max() == pytest.approx(2)


@pytest.mark.parametrize(
    ("keys", "message"), [({"tilt": "0 deg"}, "tilt must be above 0"), ({"scale": -1}, "scale must be above zero")]
)
def test_impossible_placements(keys: dict[str, Any], message: str) -> None:
    """Bug: a division by sin(0), or a mirrored surface by a negative scale."""
    with pytest.raises(ValidationError, match=message):
        Placement.model_validate(keys)


def test_wrong_unit_or_place_is_named(tmp_path: Path) -> None:
    """Bug: a crack a thousand times too large or beside the block runs without any effect."""
    path = save(tmp_path / "a.obj", WEDGE)
    with pytest.raises(GeometryError, match=r"6823 um long, 136 times .* is unit: mm wrong\? with unit um .* 6\.82 um"):
        crack(path, "mm")
    with pytest.raises(GeometryError, match=r"7\.33e\+03 times smaller than it; is unit: nm wrong\? with unit um"):
        crack(path, "nm")
    with pytest.raises(GeometryError, match=r"must touch the block .*; it lies beside it, \(14\.1, .*set place"):
        crack(path, shift=["10 um", "25 um", "0 um"])
    with pytest.raises(InputFileError, match="no such file"):
        crack(tmp_path / "b.obj")


def test_unit_and_material_of_a_hypersurface(tmp_path: Path) -> None:
    """Bug: of a file with several materials all are taken, or the unit that the file itself states is overruled."""
    path = tmp_path / "a.surf"
    above = WEDGE * [1, 1, -1] + [0, 0, 2 * 40.3]  # on the same base
    points = np.concatenate([WEDGE, above[3:]])
    lower = np.array([[1, 0, 4], [2, 1, 4], [0, 2, 4]])
    patches = [("Li", "Exterior", SIDES[1:]), ("Pore", "Exterior", lower), ("Li", "Pore", SIDES[:1])]
    path.write_bytes(surface_file(points, patches, binary=True))
    data = {"name": "c", "kind": "surface_file", "file": path, "unit": "um", "material": "Li"}
    made = SurfaceFile.model_validate(data).surface(BLOCK)
    assert made.volume == pytest.approx(WEDGE_VOLUME, rel=1e-5)  # the file has single precision
    assert made.provenance["material"] == "Li"
    with pytest.raises(InputFileError, match=r"got 'Li' \(4 triangles\), 'Pore' \(4 triangles\); name one in the case"):
        crack(path)
    unit = '    Units {\n        Coordinates "mm"\n    }\n'
    path.write_bytes(surface_file(points, patches, binary=True, parameters=unit))
    with pytest.raises(
        InputFileError, match="states itself that its coordinates are in mm; got unit: um; write unit: mm"
    ):
        SurfaceFile.model_validate(data).surface(BLOCK)


def test_path_is_relative_to_the_case(tmp_path: Path) -> None:
    """Bug: the file is looked for where the program was started."""
    save(tmp_path / "a.obj", WEDGE)
    data = {"name": "c", "kind": "surface_file", "file": "a.obj", "unit": "um"}
    found = SurfaceFile.model_validate(data, context={"folder": tmp_path})
    assert found.file == tmp_path / "a.obj"
    assert found.surface(BLOCK).provenance["file"] == "a.obj"


def test_what_may_be_repaired_is_in_the_case(tmp_path: Path) -> None:
    """Bug: the keys of repair are read and then not handed on."""
    data = {"name": "c", "kind": "surface_file", "file": "a.obj", "unit": "um"}
    with pytest.raises(ValidationError, match="a length needs a unit; got 5"):
        SurfaceFile.model_validate(data | {"repair": {"merge": 5}})
    speck = WEDGE.mean(axis=0) + (WEDGE - WEDGE.mean(axis=0)) / 100 + [0, 0, 8]
    save(tmp_path / "a.obj", np.concatenate([WEDGE, speck]), np.concatenate([SIDES, SIDES + 4]))
    asked = {"islands": f"{WEDGE_VOLUME * 1e18 / 1e5} um^3"}
    kept, dropped = (
        SurfaceFile.model_validate(data | {"repair": keys}, context={"folder": tmp_path}).surface(BLOCK)
        for keys in ({}, asked)
    )
    assert (len(kept.faces), len(dropped.faces)) == (8, 4)
    assert [one.kind for one in dropped.repairs] == ["islands dropped"]
    assert dropped.repairs[0].words.startswith("1 x islands dropped (volume -")


def test_shipped_crack() -> None:
    """Bug: a good surface is changed; the volume was measured when the file was made."""
    surface = crack(MESHES / "crack.stl", shift=["10 um", "15 um", "0 um"])
    assert surface.repairs == ()
    assert surface.volume * 1e18 == pytest.approx(142.45, abs=0.005)
    assert len(surface.faces) == surface.provenance["triangles"] == 42884


def test_inspection_counts_what_was_broken(tmp_path: Path) -> None:
    """Bug: a defect is not found, or counted as another one."""
    raw = read_mesh(MESHES / "fault_crack_lens.stl")
    faces = raw.faces.copy()
    faces[[10, 2000]] = faces[[10, 2000], ::-1]
    faces = np.concatenate([np.delete(faces, 4000, axis=0), faces[:3], [[5, 5, 6]]])
    found = inspect_surface(save(tmp_path / "a.obj", raw.vertices, faces), "um", BLOCK)
    report = found.report
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    counts = {
        key: report[key]["count"] for key in report if "count" in (report[key] if isinstance(report[key], dict) else {})
    }
    assert counts == {
        "open_edges": 3,
        "non_manifold_edges": 9,
        "flipped_faces": 2,
        "duplicate_faces": 3,
        "degenerate_faces": 1,
        "self_intersecting_faces": 0,
        "duplicate_bodies": 0,
        "thin_gaps": 0,
        "thin_walls": 0,
    }
    marked = {name: int(mark.sum()) for name, mark in found.marks.items()}
    assert marked == counts | {"open_edges": 3, "non_manifold_edges": marked["non_manifold_edges"]}
    assert all(len(mark) == len(faces) for mark in found.marks.values())
    assert (report["watertight"], report["components"], report["genus"]) == (False, 1, None)
    done = {one["kind"]: one["count"] for one in report["repairs"]}
    assert done == {
        "degenerate faces dropped": 1,
        "duplicate faces dropped": 3,
        "faces turned to their neighbours' sense": 2,
        "holes filled": 1,
    }
    assert report["refusal"] is None
    assert report["placement"] == "touches the block"


def test_inspection_of_good_and_of_refused_surfaces(tmp_path: Path) -> None:
    """Bug: the report of a good surface shows faults, or a fatal fault shows none."""
    good = inspect_surface(save(tmp_path / "a.obj", WEDGE), "um").report
    assert (good["watertight"], good["genus"], good["euler_characteristic"], good["refusal"]) == (True, 0, 2, None)
    assert good["volume_um3"] == pytest.approx(WEDGE_VOLUME * 1e18)
    assert good["size_um"] == pytest.approx([4.3, 5.1, 6.823456789])
    assert good["smallest_edge_um"] == pytest.approx(4.3)
    assert good["smallest_edge_at_um"] == pytest.approx([6.25, 10.2, 40.3])
    other = WEDGE[:, [1, 0, 2]] - [6.05, -6, 1]
    both = save(tmp_path / "b.obj", np.concatenate([WEDGE, other]), np.concatenate([SIDES, SIDES[:, ::-1] + 4]))
    report = inspect_surface(both, "um").report
    assert report["self_intersecting_faces"]["count"] > 0
    assert report["refusal"] is None
    assert report["repairs"][-1]["kind"] == "overlapping parts united"
    assert report["repairs"][-1]["displacement_um"] == 0
