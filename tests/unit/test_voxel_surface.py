"""Voxels to surfaces: manifold whatever the voxels, of their volume, without stairs, shared where bodies touch."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, generate_binary_structure, label

from fem_spall.crack.crossings import crossing_faces
from fem_spall.crack.triangles import edge_numbers, volume
from fem_spall.crack.voxel_contacts import resolve_contacts, restore_counts
from fem_spall.crack.voxel_surface import (
    VoxelFaces,
    body_faces,
    filter_steps,
    restore_volumes,
    set_back_crossings,
    smooth,
    voxel_faces,
)

type Floats = NDArray[np.float64]


def noise(seed: int, phases: int) -> NDArray[np.uint8]:
    """Random phases with an empty border: as many bad contacts as can be."""
    result = np.zeros((9, 8, 7), np.uint8)
    result[1:-1, 1:-1, 1:-1] = np.random.default_rng(seed).integers(0, phases, (7, 6, 5))
    return result


def ball(radius: float, centre: Floats, size: int) -> NDArray[np.uint8]:
    places = np.indices((size, size, size)) + 0.5
    return (np.linalg.norm(places - centre[:, None, None, None], axis=0) < radius).astype(np.uint8)


@given(st.integers(0, 10**6), st.sampled_from([2, 3]), st.booleans())
def test_no_voxel_touches_its_like_at_an_edge_or_corner_alone(seed: int, phases: int, join: bool) -> None:
    """Bug: edges where four faces meet; a mesher makes a film there or dies."""
    before = noise(seed, phases)
    after = before.copy()
    changed = resolve_contacts(after, join)
    assert (changed > 0) == (before != after).any()
    assert (after >= before).all() if join else (after <= before).all()
    for phase in range(phases):
        pieces = {label(after == phase, generate_binary_structure(3, reach))[1] for reach in (1, 3)}
        assert len(pieces) == 1, "pieces that touch at corners are one piece or far apart"
        if phase and (after == phase).any():
            faces = voxel_faces((after == phase).astype(np.int32))
            triangles = body_faces(faces, faces.corners, 1)
            assert (edge_numbers(triangles)[1] == 2).all()
            assert volume(faces.corners[triangles]) == pytest.approx(np.count_nonzero(after == phase), rel=1e-12)


def test_joining_keeps_a_bridge_and_parting_cuts_it() -> None:
    """Bug: connectivity 6 and 26 mean the same, or each other's opposite."""
    voxels = np.zeros((6, 6, 6), np.uint8)
    voxels[1:3, 1:3, 1:3] = voxels[3:5, 3:5, 1:3] = 1  # two cubes that share one edge, two voxels long
    counts = []
    for join in (False, True):
        after = voxels.copy()
        resolve_contacts(after, join)
        counts.append(label(after)[1])
    assert counts == [2, 1]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([(2, False), (2, True), (3, False)]))
def test_phases_get_their_volume_back_and_stay_as_connected(seed: int, kind: tuple[int, bool]) -> None:
    """Bug: parting takes a tenth of a noisy phase; giving it back joins pieces, cuts them, or makes new contacts."""
    phases, join = kind
    grain = gaussian_filter(np.random.default_rng(seed).random((26, 24, 22)), 0.8)
    before = np.zeros(grain.shape, np.uint8)
    before[1:-1, 1:-1, 1:-1] = np.digitize(grain, np.quantile(grain, [0.5, 0.75][: phases - 1]))[1:-1, 1:-1, 1:-1]
    counted = np.zeros(before.shape, dtype=bool)
    counted[1:-1, 1:-1, 1:-1] = True
    wanted = {phase: int(np.count_nonzero(before == phase)) for phase in range(1, phases)}
    parted = before.copy()
    resolve_contacts(parted, join)
    lost = [abs(np.count_nonzero(parted == phase) / number - 1) for phase, number in wanted.items()]
    assert max(lost) > 0.01, "the noise must be a test"
    after = parted.copy()
    changed = restore_counts(after, wanted, counted, before)
    assert changed >= np.count_nonzero(after != parted) > 0
    assert {phase: int(np.count_nonzero(after == phase)) for phase in wanted} == wanted
    assert resolve_contacts(after.copy(), join) == 0
    for phase in range(phases):
        numbers, count = label(after == phase)
        earlier, known = label(parted == phase)
        kept = (after == phase) & (parted == phase)
        pairs = np.unique(np.stack([numbers[kept], earlier[kept]]), axis=1)
        assert count == known == pairs.shape[1], "each piece is still one piece, and no other"


@pytest.mark.parametrize("length", [4.0, 6.0])
def test_waves_of_the_filter_length_are_halved(length: float) -> None:
    """Bug: the filter length in the record is not that of the filter: wrong wave number, weights or steps."""
    n = 96
    x, y = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
    index = (x * n + y)[:-1, :-1].ravel()
    quads = np.stack([index, index + n, index + n + 1, index + 1], axis=1)
    plane = VoxelFaces(np.zeros((n * n, 3)), quads, np.ones(len(quads), int), np.zeros(len(quads), int))

    def left(wave: float) -> float:
        height = 0.1 * np.cos(2 * math.pi * (x - n // 2) / wave)
        points = np.stack([x, y, height], axis=2).reshape(-1, 3).astype(float)
        return float(smooth(plane, points, length).reshape(n, n, 3)[n // 2, n // 2, 2]) / 0.1

    steps, _ = filter_steps(length)
    assert left(length) == pytest.approx(0.5, abs=0.25 / steps + 0.01)  # whole steps: one more or less is that much
    assert left(4 * length) == pytest.approx(1, abs=0.05)
    assert abs(left(length / 1.8)) < 0.1


def test_a_ball_is_restored_within_the_error_of_its_voxels() -> None:
    """Bug: smoothing shrinks bodies, leaves the stairs, or pulls corners away."""
    radius, centre = 15.0, np.array([20.3, 19.8, 20.1])
    voxels = ball(radius, centre, 40)
    assert resolve_contacts(voxels, False) == 0
    faces = voxel_faces(voxels)
    smoothed = smooth(faces, faces.corners, 4)
    assert np.abs(smoothed - faces.corners).max() <= 0.5
    count = float(np.count_nonzero(voxels))
    placed, left = restore_volumes(faces, smoothed, {1: count}, 0.25)
    triangles = body_faces(faces, placed, 1)
    assert volume(placed[triangles]) == pytest.approx(count, rel=1e-4)
    assert abs(left[1]) < 1e-6
    # Each voxel of the wall is in or out by chance: the volume is known to the root of their number over 12.
    exact = 4 / 3 * math.pi * radius**3
    assert volume(placed[triangles]) == pytest.approx(exact, abs=4 * math.sqrt(4 * math.pi * radius**2 / 12))
    distance = np.linalg.norm(placed - centre, axis=1) - radius
    stairs = np.linalg.norm(faces.corners - centre, axis=1) - radius
    assert np.std(distance) < np.std(stairs) / 2
    assert np.abs(distance).max() < 0.75
    assert np.abs(placed.mean(axis=0) - centre).max() < 0.1


def test_bodies_that_touch_share_their_faces_to_the_last_bit() -> None:
    """Bug: a film of electrolyte, thinner than any cell, between lithium and the void it touches."""
    bodies = np.zeros((16, 16, 16), np.int32)
    bodies[2:8, 2:14, 2:14], bodies[8:14, 4:12, 4:12] = 1, 2
    faces = voxel_faces(bodies)
    counts = {body: float(np.count_nonzero(bodies == body)) for body in (1, 2)}
    placed, left = restore_volumes(faces, smooth(faces, faces.corners, 4), counts, 0.25)
    sets = [{tuple(sorted(t)) for t in body_faces(faces, placed, body).tolist()} for body in (1, 2)]
    assert len(sets[0] & sets[1]) == 2 * 8 * 8
    total = sum(volume(placed[body_faces(faces, placed, body)]) for body in (1, 2))
    assert total == pytest.approx(sum(counts.values()), rel=1e-3)
    assert max(map(abs, left.values())) < 1e-3


def test_without_a_filter_the_stairs_stay() -> None:
    """Bug: smooth: 0 still moves corners."""
    faces = voxel_faces(ball(4.0, np.array([6.0, 6.0, 6.0]), 12))
    assert np.array_equal(smooth(faces, faces.corners, 0), faces.corners)


def test_walls_that_cross_themselves_are_set_back() -> None:
    """Bug: a strong filter pushes thin walls through each other, and the run ends with a refusal."""
    field = gaussian_filter(np.random.default_rng(0).normal(size=(12, 12, 12)), 0.8)
    voxels = np.pad((field > np.quantile(field, 0.7)).astype(np.uint8), 1)
    resolve_contacts(voxels, False)
    faces = voxel_faces(voxels)
    placed, _ = restore_volumes(faces, smooth(faces, faces.corners, 8), {1: float(voxels.sum())}, 0.25)
    assert len(crossing_faces(placed, body_faces(faces, placed, 1))), "nothing crosses: the test shows nothing"
    before = placed.copy()
    moved = set_back_crossings(faces, placed, faces.corners)
    assert len(crossing_faces(placed, body_faces(faces, placed, 1))) == 0
    assert 0 < len(moved) < len(placed)
    assert np.array_equal(np.flatnonzero((before != placed).any(axis=1)), moved)
