"""Pure functions on triangle arrays: which sides belong together, which faces, what encloses what."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "areas",
    "common_sense",
    "components",
    "contains",
    "directed_edges",
    "edge_numbers",
    "in_order",
    "numbered",
    "smallest_patch",
    "unique_corners",
    "unique_rows",
    "volume",
    "weld",
]

type Floats = NDArray[np.float64]
type Ints = NDArray[np.int64]


def unique_rows(rows: NDArray[np.generic]) -> tuple[Ints, Ints]:
    """Return where each different row first stands, in lexicographic order, and the number of each row among them."""
    if len(rows) == 0:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    whole = rows.astype(np.int64, copy=False) if np.issubdtype(rows.dtype, np.integer) else None
    scale = int(whole.max()) + 1 if whole is not None and whole.min() >= 0 else 0
    if whole is not None and 0 < scale ** rows.shape[1] < 2**63:  # one number a row, whose order is that of the rows
        keys = np.zeros(len(rows), dtype=np.int64)
        for column in whole.T:
            keys *= scale
            keys += column
        order = np.argsort(keys)
        new = np.diff(keys[order], prepend=-1) != 0
    else:
        order = np.lexsort(rows.T[::-1])
        new = np.ones(len(rows), dtype=bool)
        new[1:] = (rows[order[1:]] != rows[order[:-1]]).any(axis=1)
    index = np.empty(len(order), dtype=np.int64)
    index[order] = np.cumsum(new) - 1
    return np.minimum.reduceat(order, np.flatnonzero(new)), index


def unique_corners(rows: Ints) -> tuple[Ints, Ints]:
    """Return what :func:`unique_rows` does for triangles (m, 3) whose corners come in any order."""
    a, b, c = rows.T
    low, high = np.minimum(np.minimum(a, b), c), np.maximum(np.maximum(a, b), c)
    return unique_rows(np.stack([low, a + b + c - low - high, high]).T)


def numbered(index: Ints) -> tuple[Ints, Ints]:
    """Return which numbers, none negative, occur in an array, ascending, and the array with their places among them."""
    occurs = np.zeros(int(index.max(initial=-1)) + 1, dtype=bool)
    occurs[index] = True
    return np.flatnonzero(occurs), (np.cumsum(occurs) - 1)[index]


def weld(vertices: Floats) -> tuple[Floats, Ints]:
    """Return the different vertices in lexicographic order, (k, 3), and the place of each given one there, (n,)."""
    vertices = vertices + 0.0  # -0.0 and 0.0 are one place
    first, index = unique_rows(vertices)
    return vertices[first], index


def in_order(faces: Ints) -> Ints:
    """Return the faces rotated to their smallest vertex and sorted, so that their order carries no information."""
    first = faces.argmin(axis=1)
    faces = np.take_along_axis(faces, (first[:, None] + np.arange(3)) % 3, axis=1)
    return faces[np.lexsort(faces.T[::-1])]


def areas(corners: Floats) -> Floats:
    """Return the area of each triangle, (m,) float, of corners (m, 3, 3)."""
    sides = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    result: Floats = np.linalg.norm(sides, axis=1) / 2
    return result


def volume(corners: Floats) -> float:
    """Return the signed volume inside triangles (m, 3, 3), by the divergence theorem about the middle of their box."""
    middle = (corners.min(axis=(0, 1)) + corners.max(axis=(0, 1))) / 2
    a, b, c = np.moveaxis(corners - middle, 1, 0)
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)


def directed_edges(faces: Ints) -> Ints:
    """Return start and end of the three sides of every face, (3 m, 2) int; sides of face k are rows 3 k to 3 k + 2."""
    return faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)


def edge_numbers(faces: Ints) -> tuple[Ints, Ints, Ints]:
    """Return the edge of each side of each face (3 m,), and for each edge its uses (e,) and its ends (e, 2)."""
    sides = np.sort(directed_edges(faces), axis=1)
    scale = int(sides.max(initial=0)) + 1
    keys, index, count = np.unique(sides[:, 0] * scale + sides[:, 1], return_inverse=True, return_counts=True)
    return index.astype(np.int64), count.astype(np.int64), np.column_stack([keys // scale, keys % scale])


def components(faces: Ints) -> Ints:
    """Return the number of the edge-connected part of each face, (m,) int, counted in order of the faces."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    index, uses, _ = edge_numbers(faces)
    m, size = len(faces), len(faces) + len(uses)
    rows = np.repeat(np.arange(m), 3)
    graph = coo_matrix((np.ones(3 * m), (rows, m + index)), shape=(size, size))
    _, label = connected_components(graph, directed=False)
    _, first, part = np.unique(label[:m], return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[part].astype(np.int64)


def common_sense(vertices: Floats, faces: Ints) -> tuple[NDArray[np.bool_], Ints]:
    """Return which faces differ from the sense of most of the area of their part, (m,), and which have no sense.

    In the graph with two nodes a face, one for each sense, neighbours are joined in the
    senses that agree; a part in which a face is joined to its own other sense is one-sided.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    m = len(faces)
    index, uses, _ = edge_numbers(faces)
    order = np.argsort(index, kind="stable")
    pairs = order[uses[index[order]] == 2].reshape(-1, 2)
    start = directed_edges(faces)[:, 0]
    clash = start[pairs[:, 0]] == start[pairs[:, 1]]
    if not clash.any():
        return np.zeros(m, dtype=bool), np.empty(0, dtype=np.int64)
    f, g = (pairs // 3).T
    rows, columns = np.concatenate([f, f + m]), np.concatenate([g + m * clash, g + m * ~clash])
    graph = coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(2 * m, 2 * m))
    _, label = connected_components(graph, directed=False)
    part = np.minimum(label[:m], label[m:])  # a part has two labels, one for each sense
    first = label[:m] == part
    area = areas(vertices[faces])
    vote = np.bincount(part, np.where(first, area, -area))
    return first != (vote[part] >= 0), np.flatnonzero(label[:m] == label[m:])


def contains(corners: Floats, point: Floats) -> bool:
    """Return whether a closed surface goes round a point: the solid angle it fills is ±4π, not 0.

    Van Oosterom and Strackee, IEEE Transactions on Biomedical Engineering 30, 1983, 125-126.
    """
    a, b, c = np.moveaxis(corners - point, 1, 0)
    la, lb, lc = (np.linalg.norm(u, axis=1) for u in (a, b, c))
    ab, bc, ca = (np.einsum("ij,ij->i", u, v) for u, v in ((a, b), (b, c), (c, a)))
    angle = 2 * np.arctan2(np.einsum("ij,ij->i", a, np.cross(b, c)), la * lb * lc + ab * lc + bc * la + ca * lb)
    return bool(abs(angle.sum()) > 2 * np.pi)


def smallest_patch(vertices: Floats, loop: Ints, edges: Ints) -> Ints:
    """Return the triangulation of a rim with the least area, (n - 2, 3) int; it fits the faces the rim runs along.

    None of its chords is one of the ``edges`` (e, 2) that are there; if that is not
    possible, there is no patch, (0, 3).  Of patches of equal area, as for a plane rim,
    that with the shorter chords wins.
    Dynamic programming over the sub-polygons from corner i to corner j (Barequet and
    Sharir, Computer Aided Geometric Design 12, 1995, 207-229).
    """
    loop = loop[::-1]  # the patch runs along the rim against the faces that are there
    loop = np.roll(loop, -int(loop.argmin()))
    points = vertices[loop]
    n = len(loop)
    chord = 1e-3 * ((points[:, None] - points) ** 2).sum(axis=2)
    chord[_joined(loop, edges)] = np.inf
    chord[np.isin(np.abs(np.subtract.outer(np.arange(n), np.arange(n))), (1, n - 1))] = 0  # the rim itself
    cost, split = np.zeros((n, n)), np.zeros((n, n), dtype=int)
    for width in range(2, n):  # all sub-polygons of one width at once
        first = np.arange(n - width)
        last, between = first + width, first[:, None] + np.arange(1, width)
        start, end = first[:, None], last[:, None]
        area = np.linalg.norm(np.cross(points[between] - points[start], points[between] - points[end]), axis=2) / 2
        total = cost[start, between] + cost[between, end] + area + chord[start, between] + chord[between, end]
        best = total.argmin(axis=1)
        split[first, last] = first + 1 + best
        cost[first, last] = total[first, best]
    if not np.isfinite(cost[0, n - 1]):
        return np.empty((0, 3), dtype=np.int64)
    triangles: list[tuple[int, int, int]] = []
    stack = [(0, n - 1)]
    while stack:
        i, j = stack.pop()
        if j - i >= 2:
            k = int(split[i, j])
            triangles.append((i, k, j))
            stack += [(i, k), (k, j)]
    patch: Ints = loop[np.array(triangles)]
    return patch


def _joined(loop: Ints, edges: Ints) -> NDArray[np.bool_]:
    """Which pairs of vertices of a loop are joined by one of the edges, (n, n)."""
    scale = int(max(loop.max(), edges.max())) + 1
    low, high = np.minimum(loop[:, None], loop), np.maximum(loop[:, None], loop)
    joined: NDArray[np.bool_] = np.isin(low * scale + high, edges.min(axis=1) * scale + edges.max(axis=1))
    return joined
