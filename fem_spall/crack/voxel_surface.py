"""From labelled voxels to closed surfaces: the faces of the voxels, smoothed.

The surface of a body runs along the faces between its voxels and others, so it encloses exactly the
volume of its voxels, and two bodies that touch share their faces to the last bit.  That the surfaces
are manifold takes voxels that never touch at an edge or a corner alone, as
:mod:`~fem_spall.crack.voxel_contacts` makes them.  :func:`smooth` then takes the stairs off with Taubin's filter
(Computer Graphics Proceedings, SIGGRAPH 1995, 351-358): two steps of the umbrella Laplacian, one
forward by λ and one back by μ, damp a wave on a plane grid of unit spacing with wavelength w by

    (1 − λ k) (1 − μ k),   k = (1 − cos(2π/w))/2,   1/λ + 1/μ = k_pass,

so that w = the filter length is halved, and much longer waves stay as they are.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "VoxelFaces",
    "body_faces",
    "filter_steps",
    "restore_volumes",
    "set_back_crossings",
    "smooth",
    "voxel_faces",
]

type Floats = NDArray[np.float64]
type Ints = NDArray[np.int64]
type Voxels = NDArray[np.integer]

FORWARD = 0.5  # λ of Taubin's filter
PASS = 0.25  # k_pass as a part of the k at the filter length
REACH = 0.5  # voxels that a corner may be moved along each axis


class VoxelFaces(NamedTuple):
    """Faces between voxels of different bodies.

    ``corners`` (n, 3) float in voxels, the low corner of the first voxel at 0; ``quads`` (q, 4) int,
    whose normal goes from the body ``below`` (q,) to the body ``above`` (q,).
    """

    corners: Floats
    quads: Ints
    below: Ints
    above: Ints


def voxel_faces(bodies: Voxels) -> VoxelFaces:
    """Return the faces of all bodies of an array (nx, ny, nz) whose border is 0, the number of no body."""
    shape = np.array(bodies.shape) + 1
    strides = np.array([shape[1] * shape[2], shape[2], 1])
    quads, below, above = [], [], []
    for axis in range(3):
        low, high = (np.take(bodies, range(a, bodies.shape[axis] - 1 + a), axis=axis) for a in (0, 1))
        place = np.nonzero(low != high)
        first = np.stack(place, axis=1) @ strides + strides[axis]
        u, v = strides[(axis + 1) % 3], strides[(axis + 2) % 3]
        quads.append(np.stack([first, first + u, first + u + v, first + v], axis=1))
        below.append(low[place].astype(np.int64))
        above.append(high[place].astype(np.int64))
    used, index = np.unique(np.concatenate(quads), return_inverse=True)
    corners = np.stack(np.unravel_index(used, tuple(shape)), axis=1).astype(float)
    return VoxelFaces(corners, index.reshape(-1, 4).astype(np.int64), np.concatenate(below), np.concatenate(above))


def filter_steps(length: float) -> tuple[int, float]:
    """Return how many double steps damp waves of this length, in voxels, by half, and the backward weight μ."""
    k = (1 - math.cos(2 * math.pi / length)) / 2
    backward = 1 / (PASS * k - 1 / FORWARD)
    return max(1, round(math.log(0.5) / math.log((1 - FORWARD * k) * (1 - backward * k)))), backward


def smooth(faces: VoxelFaces, positions: Floats, length: float) -> Floats:
    """Return positions (n, 3) of the corners without the stairs, none moved by more than half a voxel along an axis.

    Parameters
    ----------
    faces : VoxelFaces
    positions : (n, 3) float
        Where the corners are, in voxels.
    length : float
        Filter length in voxels; 0 leaves everything as it is.
    """
    from scipy.sparse import coo_matrix, diags_array

    if length == 0:
        return positions.copy()
    sides = np.sort(faces.quads[:, [0, 1, 1, 2, 2, 3, 3, 0]].reshape(-1, 2), axis=1)
    sides = np.unique(sides[:, 0] * len(positions) + sides[:, 1])
    a, b = sides // len(positions), sides % len(positions)
    ones = np.ones(2 * len(a))
    graph = coo_matrix((ones, (np.concatenate([a, b]), np.concatenate([b, a]))), shape=(len(positions),) * 2).tocsr()
    mean = diags_array(1 / np.asarray(graph.sum(axis=1)).ravel()) @ graph
    steps, backward = filter_steps(length)
    result = positions.copy()
    for _ in range(steps):
        for weight in (FORWARD, backward):
            result += weight * (mean @ result - result)
    return np.clip(result, positions - REACH, positions + REACH)


def body_faces(faces: VoxelFaces, positions: Floats, body: int) -> Ints:
    """Return the triangles (m, 3) of one body, oriented outwards; each face is cut along its shorter diagonal."""
    halves = _halves(faces.quads, positions)
    out = halves[faces.below == body].reshape(-1, 3)
    back = halves[faces.above == body].reshape(-1, 3)[:, ::-1]
    return np.concatenate([out, back])


def _halves(quads: Ints, positions: Floats) -> Ints:
    """Both triangles of each face, (q, 6), cut along its shorter diagonal."""
    a, b, c, d = quads.T
    across = [np.linalg.norm(positions[p] - positions[q], axis=1) for p, q in ((a, c), (b, d))]
    first = across[0] <= across[1] * (1 + 1e-9)
    return np.where(first[:, None], np.stack([a, b, c, a, c, d], 1), np.stack([a, b, d, b, c, d], 1))


def restore_volumes(
    faces: VoxelFaces, positions: Floats, volumes: dict[int, float], most: float, rounds: int = 10
) -> tuple[Floats, dict[int, float]]:
    """Return positions at which every body has its volume again, and what is left of the relative difference.

    The corners that a body shares with no other body move along their normals, all of a body
    by the same length and in one round at most by ``most``.
    """
    result = positions.copy()
    own = {body: (faces.below == body) | (faces.above == body) for body in volumes}
    shared = np.zeros(len(positions), dtype=np.int64)
    for mine in own.values():
        shared[np.unique(faces.quads[mine])] += 1
    left: dict[int, float] = {}
    for body, wanted in volumes.items():
        corners, quads = np.unique(faces.quads[own[body]], return_inverse=True)
        alone = VoxelFaces(faces.corners, quads.reshape(-1, 4), faces.below[own[body]], faces.above[own[body]])
        here, free = result[corners], shared[corners] == 1
        for _ in range(rounds):
            triangles = body_faces(alone, here, body)
            a, b, c = np.moveaxis(here[triangles] - here[0], 1, 0)
            normal = np.cross(b - a, c - a) / 2
            left[body] = float((a * normal).sum() / 3) / wanted - 1
            outward = np.stack(
                [np.bincount(triangles.ravel(), np.repeat(normal[:, axis], 3), len(here)) for axis in range(3)], 1
            )
            size = np.linalg.norm(outward, axis=1)
            area = float(size[free].sum()) / 3
            if abs(left[body]) < 1e-6 or area == 0:
                break
            step = float(np.clip(-left[body] * wanted / area, -most, most))
            move = free & (size > 0)
            here[move] += step * outward[move] / size[move, None]
        result[corners] = here
    return result, left


def set_back_crossings(faces: VoxelFaces, positions: Floats, stairs: Floats) -> Ints:
    """Move corners half-way back to the stairs, in place, until no wall crosses another; return which moved, sorted.

    Stairs never cross, so this ends well, as a rule after a round or two; after ten rounds the corners go all the way.
    After the first round only what lies near the corners that have just moved is looked at.
    """
    from scipy.spatial import cKDTree

    from fem_spall.crack.crossings import ENOUGH, crossing_faces

    moved = np.zeros(len(positions), dtype=bool)
    looked = np.arange(len(faces.quads))
    for attempt in range(40):
        triangles = _halves(faces.quads[looked], positions).reshape(-1, 3)
        pairs = crossing_faces(positions, triangles)
        if len(pairs) == 0:
            break
        back = np.isin(np.arange(len(positions)), triangles[pairs])
        back[triangles[back[triangles].any(axis=1)]] = True  # and the corners round them
        positions[back] = (positions[back] + stairs[back]) / 2 if attempt < 10 else stairs[back]
        moved |= back
        corners = positions[faces.quads]
        widths = [np.linalg.norm(corners - np.roll(corners, by, axis=1), axis=2).max() for by in (1, 2)]
        longest = float(max(widths))
        # Whatever now crosses has a moved corner on one of its two faces.
        far = cKDTree(positions[back]).query(corners.mean(axis=1), distance_upper_bound=2 * longest)[0]
        looked = np.flatnonzero(np.isfinite(far)) if len(pairs) < ENOUGH else np.arange(len(faces.quads))
    return np.flatnonzero(moved)
