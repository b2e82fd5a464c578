"""Image stacks as cracks: geometry of a tilted cross-section, phases, connectivity, bodies, and what is refused."""

from __future__ import annotations

import json
import math
import runpy
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from pydantic import ValidationError
from scipy.ndimage import gaussian_filter

from fem_spall.case import Case
from fem_spall.case_file import case_hash
from fem_spall.crack import Block, CrackSurface
from fem_spall.crack.image_stack import ImageStack
from fem_spall.crack.inspect_stack import inspect_stack, stack_lines
from fem_spall.errors import CaseError, GeometryError, InputFileError, LimitError
from fem_spall.mesh.embed import embed

MESHES = Path(__file__).parents[2] / "meshes"
BLOCK = Block((2e-6, 3e-6, 4e-6))
VOXEL = ["100 nm", "100 nm", "100 nm"]
UM3 = 1e-18

type Voxels = NDArray[np.uint8]


def image(*boxes: tuple[int, tuple[int, ...]], shape: tuple[int, int, int] = (20, 30, 40)) -> Voxels:
    """Labels in boxes x0, x1, y0, y1, z0, z1 of an image as large as the block, x, y, z."""
    voxels = np.zeros(shape, np.uint8)
    for value, (x0, x1, y0, y1, z0, z1) in boxes:
        voxels[x0:x1, y0:y1, z0:z1] = value
    return voxels


def stack(folder: Path, voxels: NDArray[Any], axes: str = "zyx", **keys: Any) -> ImageStack:
    """The crack of voxels [x, y, z], saved with these axes."""
    np.save(folder / "a.npy", np.ascontiguousarray(voxels.transpose(["xyz".index(axis) for axis in axes])))
    labels = {"labels": {"lithium": [1]}} if "threshold" not in keys and "labels" not in keys else {}
    given = {"name": "c", "kind": "image_stack", "file": folder / "a.npy", "axes": axes, "voxel": VOXEL, **labels}
    return ImageStack.model_validate(given | keys)


def surfaces(crack: ImageStack, block: Block = BLOCK) -> dict[str, CrackSurface]:
    return {part.name: part.surface(block) for part in crack.parts(block)}  # type: ignore[attr-defined]


def repairs(surface: CrackSurface) -> dict[str, int]:
    return {one.kind: one.count for one in surface.repairs}


# Case 42 of the reference: a sphere imaged at 52 degrees without beam shift.
ROW, DRIFT = 1.26901822, 0.61566148  # y x 1/sin 52; drift of a slice over dz
RADIUS = 0.8  # um
STEP = (0.05, 0.04, 0.06)  # um, voxel in the image


def imaged_sphere(mirrored: bool) -> Voxels:
    """A ball in the middle of a block of 2 x 2 x 2 um, slices along z."""
    i, j, k = np.indices((40, 60, 34))
    x, z = (i + 0.5) * STEP[0], (k + 0.5) * STEP[2]
    y = ((j + 0.5) * STEP[1] - DRIFT * STEP[2] * k) * ROW
    x = 2 - x if mirrored else x
    inside = (x - 0.85) ** 2 + (y - 1) ** 2 + (z - 1) ** 2 < RADIUS**2
    return inside.astype(np.uint8)


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_sphere_imaged_at_52_degrees_is_restored(mirrored: bool, tmp_path: Path) -> None:
    """Bug: tilt multiplied instead of divided, drift undone the wrong way or after the tilt, a mirror image left."""
    mirror = {"mirror": "x"} if mirrored else {}
    size = [f"{length} um" for length in STEP]
    crack = stack(tmp_path, imaged_sphere(mirrored), voxel=size, drift="untracked", place={"tilt": "52 deg", **mirror},
                  labels={"void": [1]})  # fmt: skip
    (ball,) = surfaces(crack, Block((2e-6, 2e-6, 2e-6))).values()
    exact = 4 / 3 * math.pi * RADIUS**3 * UM3
    voxel = STEP[0] * STEP[1] * ROW * STEP[2] * UM3
    wall = 4 * math.pi * RADIUS**2 * UM3 ** (2 / 3) / voxel ** (2 / 3)  # voxels on the wall
    assert ball.volume == pytest.approx(exact, abs=4 * math.sqrt(wall / 12) * voxel)
    assert ball.provenance["voxel_volume_m3"] == pytest.approx(voxel, rel=1e-7)
    assert ball.provenance["voxel_m"] == pytest.approx([STEP[0] * 1e-6, STEP[1] * ROW * 1e-6, STEP[2] * 1e-6], rel=1e-8)
    assert ball.provenance["drift_m"] == pytest.approx(DRIFT * STEP[2] * 1e-6, rel=1e-7)
    # A mirrored image 2 um wide comes back about its own middle.
    distance = np.linalg.norm(ball.vertices * 1e6 - [0.85, 1, 1], axis=1) - RADIUS
    assert np.abs(distance).max() < 0.75 * max(STEP)
    assert abs(distance.mean()) < 0.1 * max(STEP)


def test_the_wrong_drift_shears_the_sphere(tmp_path: Path) -> None:
    """Bug: the test above would pass without any drift, so small is it."""
    size = [f"{length} um" for length in STEP]
    keys: dict[str, Any] = {"voxel": size, "place": {"tilt": "52 deg"}, "labels": {"void": [1]}}
    block = Block((2e-6, 3e-6, 2e-6))
    (ball,) = surfaces(stack(tmp_path, imaged_sphere(False), drift="36.9396888 nm", **keys), block).values()
    assert np.ptp(ball.vertices[:, 1]) * 1e6 == pytest.approx(2 * RADIUS, abs=STEP[1] * ROW)
    (sheared,) = surfaces(stack(tmp_path, imaged_sphere(False), **keys), block).values()
    assert np.ptp(sheared.vertices[:, 1]) * 1e6 > 2 * RADIUS + 0.3
    assert sheared.volume == pytest.approx(ball.volume, rel=0.01)


def test_the_shipped_stack_is_half_a_ball(tmp_path: Path) -> None:
    """Bug: the config and the script disagree, or the specks are kept."""
    from fem_spall.case_file import load_case

    case = load_case(MESHES.parent / "configs" / "image_stack.yaml").expanded()
    (crack,) = case.cracks
    body = crack.surface(case.block)  # type: ignore[union-attr]
    voids: frozenset[str] = frozenset()
    taken = embed(case.block, {"fib": body}, voids, 1e-6).lithium_volume
    voxel, wall = 0.125 * 0.1 * ROW * 0.15, 2 * math.pi * 25
    assert taken == pytest.approx(2 / 3 * math.pi * 125, abs=4 * math.sqrt(wall / voxel ** (2 / 3) / 12) * voxel)
    x, y, depth = runpy.run_path(str(MESHES / "make_fib_stack.py"))["places"]()
    lithium = tifffile.imread(MESHES / "fib_stack.tif").transpose(2, 1, 0) == 1
    specks = np.count_nonzero(lithium & (depth > 0.3) & (np.sqrt((x - 10) ** 2 + (y - 10) ** 2 + depth**2) > 5.3))
    dropped = next(one for one in body.repairs if one.kind == "islands of lithium dropped")
    assert dropped.volume_change == pytest.approx(-specks * voxel * 1e-18, rel=1e-9)
    assert 24 <= dropped.count <= 48, "drift cuts specks of two slices in two"
    assert 12 <= repairs(body)["specks of electrolyte within lithium or voids filled"] <= 24
    below = body.vertices[body.vertices[:, 2] < 40e-6 - 0.3e-6] * 1e6
    distance = np.linalg.norm(below - [10, 10, 40], axis=1) - 5
    assert np.abs(distance).max() < 0.75 * 0.15
    assert body.bounds[1, 2] > 40.3e-6, "it must run through the plating face"
    assert body.provenance["cut_voxels"] == 0


@pytest.mark.parametrize("axes", ["".join(p) for p in permutations("xyz")])
def test_any_order_of_axes_gives_the_same_bytes(axes: str, tmp_path: Path) -> None:
    """Bug: an order of axes read backwards."""
    voxels = image((1, (3, 9, 4, 20, 30, 40)))
    (tmp_path / "other").mkdir()
    ((_, one),) = surfaces(stack(tmp_path, voxels)).items()
    ((_, other),) = surfaces(stack(tmp_path / "other", voxels, axes)).items()
    assert one.sha256 == other.sha256
    assert np.allclose(one.bounds[0] * 1e6, [0.3, 0.4, 3.0], atol=0.05)


def test_bodies_are_named_by_what_they_hang_on(tmp_path: Path) -> None:
    """Bug: lithium that hangs on nothing is at the electrode's potential, or a void conducts."""
    voxels = image((1, (5, 15, 5, 25, 30, 40)), (1, (4, 9, 4, 9, 10, 15)), (1, (10, 18, 12, 20, 10, 18)),
                   (2, (4, 9, 20, 26, 10, 16)))  # fmt: skip
    crack = stack(tmp_path, voxels, labels={"lithium": [1], "void": [2]})
    parts = {part.name: part for part in crack.parts(BLOCK)}
    assert list(parts) == ["c", "c_void", "c_isolated_1", "c_isolated_2"]
    assert [(p.contents, p.contact) for p in parts.values()] == [
        ("lithium", "plating"), ("void", "plating"), ("lithium", "isolated"), ("lithium", "isolated"),
    ]  # fmt: skip
    found = surfaces(crack)
    voxels_of = {"c_void": 5 * 6 * 6, "c_isolated_1": 8**3, "c_isolated_2": 5**3}
    for name, count in voxels_of.items():
        assert found[name].volume == pytest.approx(count * 1e-21, rel=1e-3), name
        assert found[name].provenance["voxels"] == count
    assert found["c"].provenance["volume_of_voxels_m3"] == pytest.approx(10 * 20 * 10 * 1e-21)
    report = found["c"].provenance["connectivity"]
    assert report["6"] == report["26"]
    assert report["6"]["isolated_pieces"] == 2
    assert report["6"]["isolated_m3"] == pytest.approx((8**3 + 5**3) * 1e-21)


def test_the_electrolyte_loses_the_volume_of_the_voxels(tmp_path: Path) -> None:
    """Bug: a film at the plating face, at a wall, or between lithium and the void it touches; a body left out."""
    voxels = image((1, (0, 12, 5, 25, 30, 40)), (2, (12, 20, 8, 22, 30, 36)), (1, (4, 12, 10, 18, 8, 16)))
    crack = stack(tmp_path, voxels, labels={"lithium": [1], "void": [2]})
    found = surfaces(crack)
    tagged = embed(BLOCK, found, frozenset({"c_void"}), 1e-6)
    lithium, void = 12 * 20 * 10 + 8**3, 8 * 14 * 6
    assert tagged.lithium_volume == pytest.approx(lithium * 1e-3, rel=0.005)
    assert tagged.void_volume == pytest.approx(void * 1e-3, rel=0.02)
    assert tagged.area(tagged.names["+z"]) == pytest.approx(2 * 3 - 1.2 * 2.0, rel=0.01)
    assert tagged.area(tagged.names["-x"]) == pytest.approx(3 * 4 - 2.0 * 1.0, rel=0.01)
    assert tagged.area(tagged.names["+x"]) == pytest.approx(3 * 4 - 1.4 * 0.6, rel=0.01)


def bridge(corners: bool) -> Voxels:
    """A post on the plating face and a cube that it touches at an edge, or by faces too."""
    side = 9 if corners else 8
    return image((1, (4, 10, 4, 10, 20, 40)), (1, (side + 1, 16, 10 if corners else 6, 16, 12, 24)))


def test_contacts_at_edges_are_reported_and_follow_connectivity(tmp_path: Path) -> None:
    """Bug: a contact at an edge is silently a contact, or silently none."""
    voxels = bridge(corners=True)
    found = surfaces(stack(tmp_path, voxels))
    assert list(found) == ["c", "c_isolated_1"]
    report = found["c"].provenance["connectivity"]
    assert (report["6"]["isolated_pieces"], report["26"]["isolated_pieces"]) == (1, 0)
    cube = 6 * 6 * 12 * 1e-21
    assert report["26"]["connected_m3"] - report["6"]["connected_m3"] == pytest.approx(cube)
    assert any("parted" in kind for kind in repairs(found["c"]))
    joined = surfaces(stack(tmp_path, voxels, connectivity=26))
    assert list(joined) == ["c"]
    assert any("joined" in kind for kind in repairs(joined["c"]))
    assert list(surfaces(stack(tmp_path, bridge(corners=False)))) == ["c"]


@pytest.mark.parametrize("connectivity", [6, 26])
def test_a_noisy_phase_keeps_its_volume(connectivity: int, tmp_path: Path) -> None:
    """Bug: parting voxels that touch at edges takes a tenth of the volume, and nothing says so."""
    grain = gaussian_filter(np.random.default_rng(4).random((20, 30, 40)), 0.8)
    voxels = (grain > np.quantile(grain, 0.6)).astype(np.uint8)
    found = surfaces(stack(tmp_path, voxels, connectivity=connectivity, max_isolated=1000, islands="0 um^3"))
    (first,) = (body for body in found.values() if body.provenance["first_of_stack"])
    volumes = first.provenance["phase_volumes_m3"]["lithium"]
    assert volumes["image"] == pytest.approx(np.count_nonzero(voxels) * 1e-21, rel=1e-9)
    changed = {one.kind.split(" ")[1]: one.volume_change / volumes["image"] for one in first.repairs}
    assert abs(changed["changed"]) > 0.02, "the noise must be a test"
    assert changed["changed"] + changed["given"] == pytest.approx(0, abs=1e-9)
    filled = sum(one.volume_change for one in first.repairs if "filled" in one.kind)
    assert volumes["bodies"] - filled == pytest.approx(volumes["image"], rel=1e-9)


def test_a_post_that_ends_below_the_plating_face_is_isolated(tmp_path: Path) -> None:
    """Bug: lithium near the electrode is taken for connected, or lithium at it for isolated."""
    for top, contact in ((40, "plating"), (39, "isolated")):
        (part,) = stack(tmp_path, image((1, (4, 10, 4, 10, 20, top)))).parts(BLOCK)
        assert part.contact == contact


def test_plating_at_the_other_end(tmp_path: Path) -> None:
    """Bug: connectivity knows only the face +z."""
    block = Block(BLOCK.size, "-z")
    crack = stack(tmp_path, image((1, (4, 10, 4, 10, 0, 12)), (1, (4, 10, 14, 20, 34, 40))))
    parts = {part.contact: part for part in crack.parts(block)}
    assert parts["plating"].surface(block).bounds[0, 2] < 0  # type: ignore[attr-defined]


def test_a_body_at_the_edge_of_the_image_is_closed_or_goes_on(tmp_path: Path) -> None:
    """Bug: the surface is open where the image ends, or ends a film's width before the wall of the block."""
    voxels = image((1, (0, 20, 5, 12, 30, 40)))
    through = surfaces(stack(tmp_path, voxels))["c"]
    assert through.provenance["cut_voxels"] == 0
    assert through.bounds[0, 0] < -0.2e-6
    assert through.bounds[1, 0] > 2.2e-6
    half = surfaces(stack(tmp_path, voxels[:12], place={"shift": ["400 nm", "0 nm", "0 nm"]}))["c"]
    assert half.provenance["cut_voxels"] == 2 * 7 * 10
    assert half.bounds[0, 0] == pytest.approx(0.4e-6, abs=0.05e-6)
    assert embed(BLOCK, {"c": half}, frozenset(), 1e-6).lithium_volume == pytest.approx(1.2 * 0.7 * 1.0, rel=0.01)


def test_a_small_gap_to_the_face_is_bridged_and_a_large_one_is_not(tmp_path: Path) -> None:
    """Bug: an image placed a third of a voxel off leaves a film on the electrode."""
    voxels = image((1, (4, 14, 4, 14, 20, 40)))
    for shift, contact in (("-30 nm", "plating"), ("-160 nm", "isolated")):
        crack = stack(tmp_path, voxels, place={"shift": ["0 nm", "0 nm", shift]})
        (part,) = crack.parts(BLOCK)
        assert part.contact == contact


def test_what_lies_beyond_the_plating_face_does_not_matter(tmp_path: Path) -> None:
    """Bug: the lithium electrode in the image becomes a slab that takes the place of the plating face."""
    post = image((1, (4, 14, 4, 14, 20, 40)))
    tall = np.concatenate([post, np.ones((20, 30, 8), np.uint8)], axis=2)
    one, other = (embed(BLOCK, surfaces(stack(tmp_path, voxels)), frozenset(), 1e-6) for voxels in (post, tall))
    assert other.lithium_volume == pytest.approx(one.lithium_volume, rel=1e-3)
    for face in ("+z", "c"):
        assert other.area(other.names[face]) == pytest.approx(one.area(one.names[face]), rel=1e-3)


def test_thresholds_and_labels_agree(tmp_path: Path) -> None:
    """Bug: above and below exchanged, or the limit itself counted in."""
    voxels = image((1, (4, 14, 4, 14, 20, 40)))
    grey = np.where(voxels == 1, np.float32(0.75), np.float32(0.25)).astype(np.float32)
    reference = surfaces(stack(tmp_path, voxels))["c"].sha256
    for given, picture in (({"above": 0.5}, grey), ({"below": 0.5}, 1 - grey), ({"above": 0.25, "below": 1.0}, grey)):
        assert surfaces(stack(tmp_path, picture, threshold=given))["c"].sha256 == reference


def test_crop_keeps_the_place(tmp_path: Path) -> None:
    """Bug: cropping moves the crack, or the drift starts anew at the first slice that is left."""
    voxels = image((1, (4, 14, 4, 14, 20, 40)))
    whole = surfaces(stack(tmp_path, voxels, drift="10 nm"))["c"]
    part = surfaces(stack(tmp_path, voxels, drift="10 nm", crop={"x": [2, 18], "z": [10, 40]}))["c"]
    assert part.sha256 == whole.sha256


def test_a_spacing_in_the_file_is_honoured_and_checked(tmp_path: Path) -> None:
    """Bug: the case's voxel overrides what the microscope wrote."""
    voxels = image((1, (4, 14, 4, 14, 20, 40)))

    def saved(**keys: Any) -> ImageStack:
        np.savez(tmp_path / "a.npz", im=voxels, spacing=np.array([0.1, 0.1, 0.1]), origin=np.array([0.05, 0.05, 0.05]))
        given = {"name": "c", "kind": "image_stack", "file": tmp_path / "a.npz", "axes": "xyz",
                 "labels": {"lithium": [1]}}  # fmt: skip
        return ImageStack.model_validate(given | keys)

    stated = surfaces(saved(unit="um"))["c"]
    assert stated.provenance["voxel_from"] == "file"
    assert np.abs(stated.bounds - surfaces(stack(tmp_path, voxels))["c"].bounds).max() < 1e-15
    with pytest.raises(InputFileError, match="without a unit; add for instance 'unit: um'"):
        saved().parts(BLOCK)
    with pytest.raises(InputFileError, match="states voxels of 100 nm along y; the case says 120 nm"):
        saved(unit="um", voxel=["100 nm", "120 nm", "100 nm"]).parts(BLOCK)
    with pytest.raises(InputFileError, match="the file states none along x, y, z; add for instance 'voxel:"):
        stack(tmp_path, voxels, voxel=None).parts(BLOCK)


SOME = image((1, (4, 14, 4, 14, 20, 40)))
REFUSED: dict[str, tuple[NDArray[Any], dict[str, Any], type[Exception], str]] = {
    "float labels": (SOME.astype(np.float32), {}, InputFileError, "must be whole numbers; got float32"),
    "absent label": (SOME, {"labels": {"lithium": [7]}}, InputFileError, "label 7, lithium in the case; it holds 0"),
    "useless threshold": (SOME, {"threshold": {"above": 9}}, InputFileError, "0 of 24000 voxels meet it"),
    "nan": (np.where(SOME == 1, np.nan, 0.0), {"threshold": {"above": 0.5}}, InputFileError, "got NaN or infinity"),
    "crop": (SOME, {"crop": {"y": [0, 31]}}, InputFileError, "crop.y must be two numbers from 0 to 30"),
    "beside": (SOME, {"place": {"shift": ["9 um", "0 um", "0 um"]}}, GeometryError, "must touch the block"),
    "too small": (SOME, {"voxel": ["100 pm"] * 3}, GeometryError, "is 0.004 um long"),
    "nothing left": (SOME, {"islands": "100 um^3"}, GeometryError, "no lithium and no void within the block"),
    "no such part": (SOME, {"part": "isolated_1"}, InputFileError, "has no part isolated_1; got lithium"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_meant_is_refused(name: str, tmp_path: Path) -> None:
    """Bug: an empty or misplaced crack runs, and the flat electrode's figures come out."""
    voxels, keys, kind, said = REFUSED[name]
    with pytest.raises(kind, match=said) as caught:
        stack(tmp_path, voxels, **keys).parts(BLOCK)
    assert "\n" not in str(caught.value)
    assert "a.npy" in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"labels": None}, "either labels or threshold"),
        ({"labels": {"lithium": [1], "void": [1]}}, "label 1 is lithium and void"),
        ({"labels": {}}, "must name the labels"),
        ({"drift": "untracked"}, r"needs place\.tilt"),
        ({"drift": 5}, "needs a unit; got 5.*or 'untracked'"),
        ({"smooth": 1.0}, "0 or at least 3"),
        ({"coarsen": [2, 2]}, r"auto, or voxels along x, y, z from 1 to 64; got \[2, 2\]"),
        ({"coarsen": [2, 2, 0]}, r"from 1 to 64; got \[2, 2, 0\]"),
        ({"coarsen": 2.5}, "from 1 to 64; got 2.5"),
        ({"contents": "void"}, "follow from labels"),
        ({"contact": "isolated"}, "follow from labels"),
        ({"name": "a" * 30}, "at most 24 letters"),
        ({"threshold": {"above": 2, "below": 1}, "labels": None}, "above must be less than below"),
    ],
)
def test_keys_that_contradict_each_other(keys: dict[str, Any], said: str, tmp_path: Path) -> None:
    """Bug: a key is silently without effect."""
    with pytest.raises(ValidationError, match=said):
        stack(tmp_path, SOME, **({"labels": {"lithium": [1]}} | keys))


def test_too_many_isolated_bodies_say_what_to_drop(tmp_path: Path) -> None:
    """Bug: thousands of specks of noise become thousands of unknowns."""
    voxels = SOME.copy()
    for k in range(4):
        voxels[2 : 6 + k, 18:24, 4 * k : 4 * k + 3] = 1
    with pytest.raises(GeometryError, match=r"has 4 pieces of lithium apart.*islands: 0\.099 um"):
        stack(tmp_path, voxels, max_isolated=2).parts(BLOCK)
    crack = stack(tmp_path, voxels, max_isolated=2, islands="0.1 um^3")
    assert [part.name for part in crack.parts(BLOCK)] == ["c", "c_isolated_1", "c_isolated_2"]
    assert repairs(surfaces(crack)["c"])["islands of lithium dropped"] == 2


def case_of(crack: ImageStack, *others: Any) -> Case:
    return Case.model_validate({
        "version": 1, "name": "c", "electrolyte": {"size": ["2 um", "3 um", "4 um"], "conductivity": "1 mS/cm"},
        "electrodes": {"counter": {"potential": "50 mV"}}, "cracks": [crack, *others],
        "mesh": {"size_min": "100 nm", "size_max": "500 nm", "memory_limit": "1 MB"},
    })  # fmt: skip


def test_the_expanded_case_is_a_case_of_its_own(tmp_path: Path) -> None:
    """Bug: the child that meshes, or a rank of the solve, gets other cracks than the run has."""
    voxels = image((1, (5, 15, 5, 25, 30, 40)), (1, (4, 9, 4, 9, 10, 15)))
    case = case_of(stack(tmp_path, voxels))
    many = case.expanded()
    again = Case.model_validate(json.loads(many.model_dump_json()))
    assert again == many
    assert again.expanded() == many
    assert [crack.name for crack in many.cracks] == ["c", "c_isolated_1"]
    ball = {"kind": "pore", "name": "c_isolated_1", "centre": ["1 um"] * 3, "radius": "100 nm", "contents": "void"}
    with pytest.raises(CaseError, match="two bodies are named 'c_isolated_1'"):
        case_of(stack(tmp_path, voxels), ball).expanded()


def test_the_case_limits_the_memory(tmp_path: Path) -> None:
    """Bug: mesh.memory_limit does not hold for images."""
    voxels = np.pad(SOME, ((0, 0), (0, 0), (0, 60)))
    with pytest.raises(LimitError, match=r"voxels take 0\.00174 GB; allowed are 0\.001 GB"):
        case_of(stack(tmp_path, voxels)).expanded()


def test_the_hash_of_a_case_covers_every_slice(tmp_path: Path) -> None:
    """Bug: a slice is exchanged and the case counts as the same."""
    folder = tmp_path / "slices"
    folder.mkdir()
    for k in range(3):
        (folder / f"s{k}.png").write_bytes(bytes([k]))
    given = {"name": "c", "kind": "image_stack", "file": folder, "voxel": VOXEL, "labels": {"lithium": [1]}}
    case = case_of(ImageStack.model_validate(given))
    before = case_hash(case)
    (folder / "s1.png").write_bytes(b"other")
    assert case_hash(case) != before


def test_inspection_of_a_stack(tmp_path: Path) -> None:
    """Bug: labels or pieces counted wrongly; 6 and 26 alike."""
    np.savez(tmp_path / "a.npz", im=bridge(corners=True), spacing=0.1)
    found = inspect_stack(tmp_path / "a.npz", "um")
    empty, lithium = found["labels"]
    assert (empty["label"], lithium["label"]) == (0, 1)
    assert lithium["voxels"] == 6 * 6 * 20 + 6 * 6 * 12
    assert lithium["volume_um3"] == pytest.approx(lithium["voxels"] * 1e-3)
    assert (lithium["pieces_6"], lithium["pieces_26"]) == (2, 1)
    assert found["size_um"] == pytest.approx([4.0, 3.0, 2.0])  # the format's default is z, y, x
    text = "\n".join(stack_lines(found))
    assert "label 1: 1,152 voxels" in text
    assert json.loads(json.dumps(found)) == found
