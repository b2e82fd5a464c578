"""Where a triangle surface runs through itself.

A surface may be closed and consistently oriented and still cross itself; a boolean
accepts it and the volume mesher then fails with a message about a segment and a facet.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fem_spall.errors import GeometryError

__all__ = ["ENOUGH", "close_pairs", "crossing_faces"]

type Floats = NDArray[np.float64]
type Ints = NDArray[np.int64]

CHUNK = (
    50_000  # pairs of boxes looked at together: what they need stays in the cache (a million took 1.4 times as long)
)
FLAT = 1e-12  # distances below this part of the bounding box are rounding: the point lies in the plane
OVERLAP = 1e-9  # coplanar triangles must overlap by this much of the bounding box
ROUNDING = 4e-16  # of a coordinate in the cube of the bounding box
ENOUGH = 100_000  # crossing pairs, after which no more are looked for
PAIRS_A_FACE = 200  # close pairs a face; compact triangles have about 10
MORE_PAIRS = 20_000_000  # close pairs of small surfaces; about 20 s


def crossing_faces(vertices: Floats, faces: Ints) -> Ints:
    """Return the pairs of faces that cross or overlap, (k, 2) int, each pair and the list sorted.

    Two faces cross if an edge of one runs through the other, its sides and corners included;
    faces of one plane overlap if their common area is not zero.  Touching does not count,
    neither along shared edges and corners nor where an edge ends on a face.  After :data:`ENOUGH` pairs no more are
    looked for.

    Raises
    ------
    GeometryError
        If so many faces lie close to so many others that the search would take minutes.
    """
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    corners = ((vertices - (low + high) / 2) / max(float((high - low).max()), 1e-300))[faces]
    order = np.argsort(_z_order(corners.mean(axis=1)), kind="stable")  # what is close in space is close in memory
    corners, faces = corners[order], faces[order]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1), 1e-300)[:, None]
    found = [np.empty((0, 2), dtype=np.int64)]
    count = 0
    for pairs in close_pairs(corners):
        crossing = _crossing(corners, normals, faces, pairs)
        found.append(np.sort(order[pairs[crossing]], axis=1))
        count += len(found[-1])
        if count >= ENOUGH:
            break
    pairs = np.concatenate(found)
    return pairs[np.lexsort(pairs.T[::-1])]


def close_pairs(corners: Floats, margin: float = 0.0) -> Iterator[Ints]:
    """Yield pairs of faces whose boxes come closer than ``margin``, (k, 2) int at a time, by a binary tree of boxes.

    The corners (m, 3, 3) must lie in a cube of side one about the origin.  The faces are put
    in Z-order, so that every aligned run of 2^k of them is a compact patch; pairs of patches
    are split until they are pairs of faces.

    Raises
    ------
    GeometryError
        If there are too many.
    """
    lows, highs = corners.min(axis=1) - margin / 2, corners.max(axis=1) + margin / 2
    order = np.argsort(_z_order((lows + highs) / 2), kind="stable")
    depth = max(int(len(order) - 1).bit_length(), 1)
    low = np.full((2**depth, 3), np.inf)
    high = np.full((2**depth, 3), -np.inf)
    low[: len(order)], high[: len(order)] = lows[order], highs[order]
    levels = [(low, high)]
    for _ in range(depth):
        low, high = np.minimum(low[::2], low[1::2]), np.maximum(high[::2], high[1::2])
        levels.append((low, high))
    stack = [(depth, np.zeros((1, 2), dtype=np.int64))]
    left = PAIRS_A_FACE * len(corners) + MORE_PAIRS
    while stack:
        level, pairs = stack.pop()
        if level == 0:
            left -= len(pairs)
            if left < 0:
                reason = "must have triangles that lie close to few others; too many lie close to each other"
                raise GeometryError(39, "surface", reason, "remesh it to compact triangles, or repair it in an editor")
            yield order[pairs[pairs[:, 0] != pairs[:, 1]]]
            continue
        if len(pairs) > CHUNK:
            stack += [(level, part) for part in np.array_split(pairs, len(pairs) // CHUNK + 1)]
            continue
        a, b = (2 * pairs[:, None, :] + np.array([[0, 0], [0, 1], [1, 0], [1, 1]])).reshape(-1, 2).T
        low, high = levels[level - 1]
        keep = np.flatnonzero(a <= b)
        for axis in range(3):
            i, j = a[keep], b[keep]
            keep = keep[(low[i, axis] <= high[j, axis]) & (low[j, axis] <= high[i, axis])]
        stack.append((level - 1, np.column_stack([a[keep], b[keep]])))


def _z_order(points: Floats) -> NDArray[np.uint64]:
    """Morton code of points in a cube of side one about the origin, 20 bits an axis."""
    grid = np.clip((points + 0.5) * 2**20, 0, 2**20 - 1).astype(np.uint64)
    code = np.zeros(len(points), dtype=np.uint64)
    for bit in range(20):
        for axis in range(3):
            code |= ((grid[:, axis] >> np.uint64(bit)) & np.uint64(1)) << np.uint64(3 * bit + axis)
    return code


def _crossing(corners: Floats, normals: Floats, faces: Ints, pairs: Ints) -> NDArray[np.bool_]:
    """Which pairs of faces cross or overlap, (k,) bool; what cannot is dropped as early as possible.

    Most pairs are neighbours.  Every edge of a face has a corner in common with a neighbour along an edge, so that such
    two can only overlap; a face all on one side of the other's plane neither crosses nor overlaps it.
    """
    one, other = pairs.T
    common = np.zeros(len(pairs), dtype=np.int8)
    for i in range(3):
        mine = faces[one, i]
        for j in range(3):
            common += mine == faces[other, j]
    result = np.zeros(len(pairs), dtype=bool)
    near = np.flatnonzero(common >= 2)
    flat = near[(_heights(corners, normals, one[near], other[near]) == 0).all(axis=1)]
    rest = np.flatnonzero(common < 2)
    first = _heights(corners, normals, one[rest], other[rest])
    kept = ~_one_sided(first)
    rest, first = rest[kept], first[kept]
    second = _heights(corners, normals, other[rest], one[rest])
    kept = ~_one_sided(second)
    rest, first, second = rest[kept], first[kept], second[kept]
    flat = np.concatenate([flat, rest[(first == 0).all(axis=1)]])
    result[flat] = _overlap_in_plane(corners, normals, pairs[flat])
    result[rest] |= _pierce(corners, faces, one[rest], other[rest], first)
    result[rest] |= _pierce(corners, faces, other[rest], one[rest], second)
    return result


def _heights(corners: Floats, normals: Floats, one: Ints, other: Ints) -> Floats:
    """Distances of the corners of faces ``one`` from the planes of faces ``other``, (k, 3) float, rounding removed."""
    height: Floats = np.einsum("kij,kj->ki", corners[one] - corners[other, :1], normals[other])
    height[np.abs(height) < FLAT] = 0
    return height


def _one_sided(heights: Floats) -> NDArray[np.bool_]:
    """Whether all three corners are off a plane to the same side."""
    side: NDArray[np.bool_] = (heights.min(axis=1) > 0) | (heights.max(axis=1) < 0)
    return side


def _pierce(corners: Floats, faces: Ints, one: Ints, other: Ints, height: Floats) -> NDArray[np.bool_]:
    """Whether an edge of face ``one`` runs through face ``other``; edges with a common corner cannot.

    ``height`` (k, 3) is that of the corners of ``one`` above the planes of ``other``.
    """
    crossing = np.zeros(len(one), dtype=bool)
    for i, j in ((0, 1), (1, 2), (2, 0)):
        k = np.flatnonzero(height[:, i] * height[:, j] < 0)
        ends = faces[one[k]][:, [i, j]]
        k = k[~(ends[:, :, None] == faces[other[k]][:, None, :]).any(axis=(1, 2))]
        p, q = corners[one[k], i], corners[one[k], j]
        a, b, c = np.moveaxis(corners[other[k]] - p[:, None], 1, 0)
        spins = np.array([np.einsum("ij,ij->i", q - p, np.cross(u, v)) for u, v in ((a, b), (b, c), (c, a))])
        # An edge through the side of two triangles, as the diagonal of a rectangle, runs through the surface.
        zero = ROUNDING * np.max([np.einsum("ij,ij->i", u, u) for u in (q - p, a, b, c)], axis=0)
        crossing[k[(spins >= -zero).all(axis=0) | (spins <= zero).all(axis=0)]] = True
    return crossing


def _overlap_in_plane(corners: Floats, normals: Floats, pairs: Ints) -> NDArray[np.bool_]:
    """Whether two triangles of one plane share an area there."""
    one, other = pairs.T
    result = np.ones(len(pairs), dtype=bool)
    # Convex shapes of one plane are apart if and only if the normal of one of their sides separates them.
    for face in (one, other):
        for i in range(3):
            axis = np.cross(normals[one], corners[face, (i + 1) % 3] - corners[face, i])
            axis /= np.maximum(np.linalg.norm(axis, axis=1), 1e-300)[:, None]
            s, t = (np.einsum("kij,kj->ki", corners[which], axis) for which in (one, other))
            depth = np.minimum(s.max(axis=1), t.max(axis=1)) - np.maximum(s.min(axis=1), t.min(axis=1))
            result[depth < OVERLAP] = False
    return result
