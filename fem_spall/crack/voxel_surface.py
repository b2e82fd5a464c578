"""From labelled voxels to closed surfaces: the faces of the voxels, smoothed.

The surface of a body runs along the faces between its voxels and others, so it encloses exactly the
volume of its voxels, and two bodies that touch share their faces to the last bit.  That the surfaces
are manifold takes voxels that never touch at an edge or a corner alone: :func:`resolve_contacts`
parts or joins those that do.  :func:`smooth` then takes the stairs off with Taubin's filter
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
    "resolve_contacts",
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

#: Corners of a 2 x 2 x 2 cube as bits x + 2 y + 4 z: the diagonals of its faces, and of the cube.
_SQUARES = tuple(
    (low, low | u, low | v, low | u | v)
    for u, v, w in ((1, 2, 4), (2, 4, 1), (4, 1, 2))
    for low in (0, w)
)  # fmt: skip
_DIAGONALS = ((0, 7), (1, 6), (2, 5), (3, 4))


def _critical_codes() -> NDArray[np.bool_]:
    """Which of the 256 fillings of a cube touch at an edge or a corner alone, seen from within or from outside."""
    code = np.arange(256)
    bit = (code[:, None] >> np.arange(8)) & 1 == 1
    found = np.zeros(256, dtype=bool)
    for a, b, c, d in _SQUARES:
        found |= (bit[:, a] & bit[:, d] & ~bit[:, b] & ~bit[:, c]) | (bit[:, b] & bit[:, c] & ~bit[:, a] & ~bit[:, d])
    for a, b in _DIAGONALS:
        pair = (1 << a) | (1 << b)
        found |= (code == pair) | (code == 255 - pair)
    return found


CRITICAL = _critical_codes()


def _cubes(inside: NDArray[np.bool_]) -> Ints:
    """Positions of the first corner of the cubes that touch at an edge or corner alone, (n, 3)."""
    code = np.zeros([n - 1 for n in inside.shape], dtype=np.uint8)
    for corner in range(8):
        x, y, z = corner & 1, corner >> 1 & 1, corner >> 2
        part = inside[x : x + code.shape[0], y : y + code.shape[1], z : z + code.shape[2]]
        code |= part.astype(np.uint8) << np.uint8(corner)
    return np.argwhere(CRITICAL[code])


def resolve_contacts(phases: NDArray[np.uint8], join: bool) -> int:
    """Change voxels, in place, until none touches its like at an edge or a corner alone; return how many changed.

    Of such a pair one voxel goes over to the next lower phase beside it, which parts the pair; with
    ``join`` a voxel between them goes over to the next higher phase.  The sum of all phases only falls
    (or rises), so this ends; the border of the array must be all of phase 0.
    """
    changed = 0
    levels = np.unique(phases)
    levels = levels[1:] if len(levels) <= 2 else levels  # a set of voxels touches where its complement does
    while True:
        before = changed
        for level in levels:
            cubes = _cubes(phases == level)
            for part in _SQUARES:
                changed += _resolve(phases, cubes, part, int(level), join)
            for a, b in _DIAGONALS:
                changed += _resolve_corners(phases, cubes, (a, b), int(level), join)
        if changed == before:
            return changed


def _gather(phases: NDArray[np.uint8], cubes: Ints, corners: tuple[int, ...]) -> tuple[Ints, Ints]:
    """Flat position and phase of some corners of cubes, (n, k) each."""
    steps = np.array([[c & 1, c >> 1 & 1, c >> 2] for c in corners])
    flat = np.ravel_multi_index(tuple(np.moveaxis(cubes[:, None] + steps, 2, 0)), phases.shape)
    return flat, phases.ravel()[flat].astype(np.int64)


def _resolve(phases: NDArray[np.uint8], cubes: Ints, square: tuple[int, ...], level: int, join: bool) -> int:
    """Resolve the squares whose diagonal is of one phase and whose other corners are not."""
    if len(cubes) == 0:
        return 0
    flat, values = _gather(phases, cubes, square)
    own = values == level
    wrong = (own == [True, False, False, True]).all(axis=1) | (own == [False, True, True, False]).all(axis=1)
    return _change(phases, flat[wrong], values[wrong], join)


def _resolve_corners(phases: NDArray[np.uint8], cubes: Ints, pair: tuple[int, int], level: int, join: bool) -> int:
    """Resolve the cubes in which two opposite corners are of one phase and none of the other six is, or the reverse."""
    if len(cubes) == 0:
        return 0
    flat, values = _gather(phases, cubes, tuple(range(8)))
    own = values == level
    opposite = np.isin(np.arange(8), pair)
    wrong = (own == opposite).all(axis=1) | (own != opposite).all(axis=1)
    return _change(phases, flat[wrong], values[wrong], join)


def _change(phases: NDArray[np.uint8], flat: Ints, values: Ints, join: bool) -> int:
    """Lower the highest voxel of each group to the next phase in it, or raise the lowest, the most loosely held one."""
    if len(flat) == 0:
        return 0
    held = _like_neighbours(phases, flat)
    sign = -1 if join else 1
    which = (sign * values * 8 - held).argmax(axis=1)
    rows = np.arange(len(flat))
    own = values[rows, which][:, None]
    target = np.where(values > own, values, 255).min(axis=1) if join else np.where(values < own, values, -1).max(axis=1)
    place, first = np.unique(flat[rows, which], return_index=True)
    phases.ravel()[place] = target[first].astype(np.uint8)
    return len(place)


def _like_neighbours(phases: NDArray[np.uint8], flat: Ints) -> Ints:
    """How many of the six neighbours of voxels are of their phase; beyond the border none."""
    position = np.stack(np.unravel_index(flat, phases.shape))
    count = np.zeros(flat.shape, dtype=np.int64)
    for axis in range(3):
        for step in (-1, 1):
            beside = position.copy()
            beside[axis] += step
            within = (beside[axis] >= 0) & (beside[axis] < phases.shape[axis])
            beside[axis] = np.clip(beside[axis], 0, phases.shape[axis] - 1)
            count += within & (phases[tuple(beside)] == phases[tuple(position)])
    return count


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
