"""Interface sheets: closed above the block, the right way round, and refused where they fall short."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from fem_spall.crack import Block, CrackSurface
from fem_spall.crack.interface_file import InterfaceFile
from fem_spall.crack.triangles import contains
from fem_spall.errors import GeometryError

SIZE = (20e-6, 30e-6, 50e-6)
MESHES = Path(__file__).parents[2] / "meshes"
OVERSHOOT = 0.5
AREA = (20 + 2 * OVERSHOOT) * (30 + 2 * OVERSHOOT)  # um^2, of the sheet seen from above
PYRAMID = 8 * 12 * 10 / 3  # um^3, volume of the pit


def sheet(lift: float = 0.0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """A flat sheet at z = 48 um with a pyramid 10 um deep and 8 x 12 um wide in it; faces up."""
    x = np.array([-OVERSHOOT, 6, 10, 14, 20 + OVERSHOOT])
    y = np.array([-OVERSHOOT, 9, 15, 21, 30 + OVERSHOOT])
    i, j = np.meshgrid(np.arange(5), np.arange(5), indexing="ij")
    z = np.where((i == 2) & (j == 2), 38.0, 48.0) + lift
    points = np.stack([x[i], y[j], z], axis=-1).reshape(-1, 3)
    faces = []
    for a in range(4):
        for b in range(4):
            p, q, r, s = 5 * a + b, 5 * (a + 1) + b, 5 * (a + 1) + b + 1, 5 * a + b + 1
            # Diagonals run to the middle, so that the pit is a pyramid.
            faces += [(p, q, r), (p, r, s)] if (a < 2) == (b < 2) else [(p, q, s), (q, r, s)]
    return points, np.array(faces)


def save(path: Path, points: NDArray[np.float64], faces: NDArray[np.int64]) -> Path:
    rows = [f"v {x!r} {y!r} {z!r}" for x, y, z in points.tolist()]
    path.write_text("\n".join(rows + [f"f {a} {b} {c}" for a, b, c in faces + 1]) + "\n")
    return path


def body(file: Path, face: Literal["+z", "-z"] = "+z", **place: Any) -> CrackSurface:
    data = {"name": "sheet", "kind": "interface_file", "file": file, "unit": "um", "place": place}
    return InterfaceFile.model_validate(data).surface(Block(SIZE, face))


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("face", ["+z", "-z"])
def test_the_lithium_is_on_the_plating_side(tmp_path: Path, face: Literal["+z", "-z"], turned: bool) -> None:
    """Bug: the sheet is closed on the electrolyte's side, or the winding of the file decides."""
    points, faces = sheet()
    if face == "-z":
        points[:, 2] = 50 - points[:, 2]
    surface = body(save(tmp_path / "a.obj", points, faces[:, ::-1] if turned else faces), face)
    assert surface.sheet
    # The lid lies 5 % of the height above the block.
    assert surface.volume * 1e18 == pytest.approx(AREA * (52.5 - 48) + PYRAMID, rel=1e-12)
    lid = 52.5 if face == "+z" else -2.5
    assert surface.bounds[1 if face == "+z" else 0, 2] * 1e6 == pytest.approx(lid)
    for point, lithium in (((10, 15, 40), True), ((1, 1, 51), True), ((1, 1, 47), False), ((10, 15, 37), False)):
        x, y, z = point
        place = np.array([x, y, z if face == "+z" else 50 - z]) * 1e-6
        assert contains(surface.corners, place) == lithium


def test_the_lid_clears_a_sheet_above_the_block(tmp_path: Path) -> None:
    """Bug: a sheet that rises above the plating face pierces the lid."""
    surface = body(save(tmp_path / "a.obj", *sheet(lift=5)))
    assert surface.bounds[1, 2] * 1e6 == pytest.approx(53 + 2.5)


def test_manifold_takes_the_shipped_interface() -> None:
    """Bug: the closed body is no manifold, or the boolean loses the pits."""
    from manifold3d import Error, Manifold, Mesh64

    surface = body(MESHES / "interface.stl", shift=["10 um", "15 um", "0 um"])
    solid = Manifold(Mesh64(surface.vertices * 1e6, surface.faces.astype(np.uint64)))
    assert solid.status() == Error.NoError
    assert solid.volume() == pytest.approx(surface.volume * 1e18, rel=1e-9)
    low, high = surface.bounds * 1e6
    assert (low[:2] < -0.3).all()
    assert (high[:2] > np.array([20.3, 30.3])).all()
    assert [one.kind for one in surface.repairs] == ["faces at pinched edges cut out", "holes filled"]
    assert abs(sum(one.volume_change for one in surface.repairs)) < 1e-3 * 1e-18


@pytest.mark.parametrize(
    ("shift", "message"),
    [
        (["0.75 um", "0 um", "0 um"], r"it falls short at -x by 0\.25 um;"),
        (["-1.5 um", "2 um", "0 um"], r"it falls short at \+x by 1 um, -y by 1\.5 um;"),
        (["0.5 um", "0 um", "0 um"], r"it falls short at -x by 0 um;"),
        (["0 um", "0 um", "-30 um"], r"must lie near the plating face \+z; on average it is 3\d\.?\d* um away"),
        (["0 um", "0 um", "30 um"], r"must touch the block"),
    ],
)
def test_a_sheet_that_falls_short_is_named_with_side_and_gap(tmp_path: Path, shift: list[str], message: str) -> None:
    """Bug: electrolyte beside the sheet reaches the plating face, and no one says so."""
    with pytest.raises(GeometryError, match=message):
        body(save(tmp_path / "a.obj", *sheet()), shift=shift)


def test_a_bay_in_the_rim_is_found(tmp_path: Path) -> None:
    """Bug: only the bounding box of the sheet is compared with the block."""
    points, faces = sheet()
    points[2, 0] = 3.0  # the middle of the -x side drawn in
    with pytest.raises(GeometryError, match=r"it falls short at -x by 3 um;"):
        body(save(tmp_path / "a.obj", points, faces))


def test_a_rim_that_covers_itself_is_refused(tmp_path: Path) -> None:
    """Bug: a skirt is hung on a rim that folds under itself, and crosses itself."""
    points, faces = sheet()
    points[[14, 19, 24]] = [[14, 31, 48], [9, 29, 48], [9, 33, 48]]  # a loop in the rim at +y
    with pytest.raises(GeometryError, match="must have a rim that seen from above is a simple closed line"):
        body(save(tmp_path / "a.obj", points, faces))


def test_closed_surfaces_and_holes_are_refused(tmp_path: Path) -> None:
    """Bug: a closed body is taken for a sheet; or a hole in the sheet short-circuits the block."""
    with pytest.raises(GeometryError, match="must be one sheet with one rim; it has 0 rims; use kind: surface_file"):
        body(MESHES / "fault_crack_lens.stl")
    points, faces = sheet()
    with pytest.raises(GeometryError, match=r"it has 2 rims, the inner ones at \("):
        body(save(tmp_path / "a.obj", points, np.delete(faces, [10, 11], axis=0)))
