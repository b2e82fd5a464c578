"""Smoothing and simplifying: what is damped and what stays, within the stated distance."""

from __future__ import annotations

import math
import subprocess
from typing import Any

import numpy as np
import pytest

from fem_spall.crack.repair import Repairs, repair
from fem_spall.crack.repaired import RepairedSurface
from fem_spall.crack.smooth import smooth, stairs_length
from fem_spall.errors import GeometryError
from tests.solids import sphere
from tests.unit.test_repair import grid, voxel_surface

UM = 1e-6
TETRAHEDRON = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]])


def quartered(points: np.ndarray, faces: np.ndarray, times: int) -> tuple[np.ndarray, np.ndarray]:
    """Each triangle divided into four, several times."""
    for _ in range(times):
        a, b, c = np.moveaxis(points[faces], 1, 0)
        ab, bc, ca = (a + b) / 2, (b + c) / 2, (c + a) / 2
        corners = np.concatenate([np.stack(t, 1) for t in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))])
        points, index = np.unique(corners.reshape(-1, 3), axis=0, return_inverse=True)
        faces = index.reshape(-1, 3)
    return points, faces


def hexagons(columns: int, rows: int, side: float) -> tuple[np.ndarray, np.ndarray]:
    """A sheet of equilateral triangles."""
    i, j = np.meshgrid(np.arange(columns + 1), np.arange(rows + 1), indexing="ij")
    points = np.column_stack([(i + j / 2 - j // 2).ravel(), (j * math.sqrt(0.75)).ravel(), np.zeros(i.size)]) * side
    faces = []
    for row in range(rows):
        for column in range(columns):
            a, b = column * (rows + 1) + row, (column + 1) * (rows + 1) + row
            faces += [[a, b, b + 1], [a, b + 1, a + 1]] if row % 2 else [[a, b, a + 1], [b, b + 1, a + 1]]
    return points, np.array(faces)


@pytest.mark.parametrize(("waves", "kept"), [(1.0, 0.5), (4.0, 0.97), (0.6, 0.05)])
def test_a_wave_of_the_filter_length_is_halved(waves: float, kept: float) -> None:
    """Bug: the filter length means something else than it says, or long waves shrink too."""
    length, side = 2.0 * UM, 0.2 * UM
    points, faces = hexagons(200, 41, side)
    points[:, 2] = 1e-3 * UM * np.sin(2 * np.pi * points[:, 0] / (waves * length))
    sheet = RepairedSurface("sheet", points, faces)
    smooth(sheet, length, np.zeros(len(points), dtype=bool))
    x, z = sheet.vertices[:, 0], sheet.vertices[:, 2]
    middle = (np.abs(x - 100 * side) < 60 * side) & (np.abs(sheet.vertices[:, 1] - 18 * side) < 4 * side)
    left = np.abs(z[middle]).max() / (1e-3 * UM)
    assert left == pytest.approx(kept, abs=0.05)
    assert left <= 1.03


def test_stairs_of_a_ball_go_and_its_volume_stays() -> None:
    """Bug: smoothing shrinks the body, or the stated displacement is not what moved."""
    n, radius = 24, 9.0
    middle = (np.indices((n, n, n)) - (n - 1) / 2).transpose(1, 2, 3, 0)
    points, faces = voxel_surface((middle**2).sum(axis=3) < radius**2, 1.0)
    rough = repair(points, faces, "ball", Repairs(smooth="0 um"))
    good = repair(points, faces, "ball", Repairs(smooth="5 um"))
    assert good.measure()[0] == pytest.approx(rough.measure()[0], rel=1e-9)
    true = 4 * math.pi * (3 * rough.measure()[0] / (4 * math.pi)) ** (2 / 3)
    assert rough.measure()[1] > 1.4 * true  # stairs have half as much area again
    assert good.measure()[1] == pytest.approx(true, rel=0.04)
    step = good.repairs[-1]
    assert step.volume_change == pytest.approx(0, abs=1e-9 * rough.measure()[0])
    assert 0.2 * UM < step.displacement < 1.0 * UM


def test_a_cap_on_the_block_stays_plane() -> None:
    """Bug: smoothing draws the cap of a crack into the electrolyte and leaves films of it there."""
    n = 16
    body = np.zeros((n, n, n), dtype=bool)
    body[4:12, 4:12, 2:12] = True
    body[5:9, 4, 2:12] = False
    points, faces = voxel_surface(body, 1.0)
    good = repair(points, faces, "cap", Repairs(smooth="4 um"), planes=((2, 12 * UM),))
    top = good.vertices[:, 2] > 11.5 * UM
    assert top.sum() > 60
    assert (good.vertices[top, 2] == 12 * UM).all()
    assert (good.vertices[:, 2] <= 12 * UM).all()


def test_an_impossible_filter_is_refused() -> None:
    """Bug: a filter shorter than a triangle does nothing and says nothing; one far longer never ends."""
    points, faces = sphere(4)
    for text in ("10 nm", "1 mm"):
        with pytest.raises(
            GeometryError, match=r"smoothing acts between [\d.e+]+ and [\d.e+]+ nm on them; change repair.smooth"
        ):
            repair(points * UM, faces, "ball", Repairs(smooth=text))


def test_a_dying_remesher_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bug: MMG takes the whole run along when it dies of a surface, or leaves one without faces."""
    start = subprocess.run  # which the module has as well

    def dies(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        return start([command[0], "-c", "import os; os.kill(os.getpid(), 11)"], **options)

    monkeypatch.setattr("fem_spall.crack.smooth.subprocess.run", dies)
    points, faces = sphere(4)
    with pytest.raises(GeometryError, match="cannot be simplified within 60 nm: MMG finds no fewer triangles"):
        repair(points * 10 * UM, faces, "ball", Repairs(simplify="60 nm"))


def test_simplifying_keeps_its_distance() -> None:
    """Bug: MMG's bound is a target; or only one side is measured."""
    points, faces = sphere(5)
    good = repair(points * 10 * UM, faces, "ball", Repairs(simplify="60 nm"))
    assert len(good.faces) < 0.7 * len(faces)
    radius = np.linalg.norm(good.vertices[good.faces].mean(axis=1), axis=1)
    assert abs(radius - 10 * UM).max() < 75e-9  # 60 nm, and 5 nm that the facets of the fine ball lie inside it
    assert good.repairs[-1].displacement <= 60e-9
    with pytest.raises(
        GeometryError, match=r"cannot be simplified within 0.01 nm: (the nearest attempt was|MMG finds)"
    ):
        repair(*_cube(), "cube", Repairs(simplify="0.01 nm"))


def _cube() -> tuple[np.ndarray, np.ndarray]:
    points, faces = sphere(3)
    return points * UM, faces


def test_a_sheet_keeps_its_rim() -> None:
    """Bug: smoothing draws the rim of an interface sheet back into the block."""
    points, faces = grid(20)
    points = points * 20 * UM
    points[:, 2] += np.random.default_rng(0).uniform(-0.1, 0.1, len(points)) * UM
    rim = (points[:, :2] % (20 * UM) == 0).any(axis=1)
    sheet = repair(points, faces, "sheet", Repairs(smooth="5 um"), open_sheet=True)
    assert {tuple(p) for p in points[rim]} <= {tuple(p) for p in sheet.vertices}
    assert np.abs(sheet.vertices[:, 2]).mean() < 0.8 * np.abs(points[:, 2]).mean()


def ball_of_voxels() -> tuple[np.ndarray, np.ndarray]:
    middle = (np.indices((24, 24, 24)) - 11.5).transpose(1, 2, 3, 0)
    return voxel_surface((middle**2).sum(axis=3) < 81, 1.0)


def test_stairs_are_recognised_however_they_are_turned_and_stretched() -> None:
    """Bug: stairs are meshed as they are, with five times the cells; or a box loses its edges."""
    whole = repair(*ball_of_voxels(), "ball", Repairs(smooth="0 um"))
    points, faces = whole.vertices, whole.faces
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0]
    side = 1.14  # two sides of a voxel and a diagonal, in the mean
    for stretched, longer in (((1, 1, 1), 1.0), ((1, 1 / math.sin(math.radians(52)), 1), 1.12)):
        found = stairs_length(points * np.array(stretched) @ turn, faces)
        assert found == pytest.approx(4 * side * longer * UM, rel=0.05)
    boxes = [quartered(np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]), TETRAHEDRON, 5), sphere(4)]
    for corners, triangles in boxes:
        assert len(triangles) > 1000
        assert stairs_length(corners, triangles) == 0


def test_stairs_are_smoothed_without_being_asked_and_said_so() -> None:
    """Bug: a surface is changed without a word, or the user cannot have the stairs."""
    points, faces = ball_of_voxels()
    kept = repair(points, faces, "ball", Repairs(smooth="0 um"))
    assert not [one for one in kept.repairs if "smoothed" in one.kind]
    good = repair(points, faces, "ball")
    step = good.repairs[-1]
    assert "stairs smoothed over" in step.kind
    assert step.volume_change == pytest.approx(0, abs=1e-9 * kept.measure()[0])
    assert step.area_change == pytest.approx(good.measure()[1] - kept.measure()[1])
    assert 0.2 * UM < step.displacement < 1.0 * UM
