"""Triangles of the block's plane faces turned into the best that their corners allow: Lawson's flips.

A boolean leaves fans of slivers there, and MMG leaves some of them where they hang on walls that must stay: three
neighbours on a nearly straight rim make a triangle without height, and the cell on it is flat.
"""

from __future__ import annotations

from dataclasses import replace
from math import hypot

import numpy as np
from numpy.typing import NDArray

from fem_spall.mesh.tagged_surface import TaggedSurface, facet_edges

__all__ = ["delaunay_faces"]

#: Opposite angles must exceed 180° by so much, as a sine, before an edge is flipped: four corners on a circle stay.
ROUNDING = 1e-9


def delaunay_faces(surface: TaggedSurface) -> TaggedSurface:
    """Return the surface with the inner edges of the block's faces flipped until each is constrained Delaunay."""
    faces = surface.faces.copy()
    for tag, (axis, _) in surface.planes().items():
        own = np.flatnonzero(surface.tags == tag)
        flat = surface.vertices[:, [(axis + 1) % 3, (axis + 2) % 3]]
        faces[own] = _flipped(flat, faces[own])
    return replace(surface, faces=faces)


def _flipped(points: NDArray[np.float64], faces: NDArray[np.int64]) -> NDArray[np.int64]:
    """Constrained Delaunay triangles (m, 3) of a plane triangulation whose rims stay; ``points`` (n, 2)."""
    triangles = faces.tolist()
    place = {p: points[p].tolist() for p in np.unique(faces).tolist()}
    beside = {(f[k], f[(k + 1) % 3]): t for t, f in enumerate(triangles) for k in range(3)}
    waiting = sorted(map(tuple, _candidates(points, faces).tolist()))
    while waiting:
        a, b = waiting.pop()
        one, other = beside.get((a, b)), beside.get((b, a))
        if one is None or other is None:
            continue
        c, d = _opposite(triangles[one], a, b), _opposite(triangles[other], a, b)
        if not _beyond(place[a], place[b], place[c], place[d]):
            continue
        for edge in ((a, b), (b, a)):
            del beside[edge]
        for t, new in ((one, [a, d, c]), (other, [d, b, c])):
            triangles[t] = new
            for k in range(3):
                beside[new[k], new[(k + 1) % 3]] = t
        waiting += [(b, c), (c, a), (a, d), (d, b)]
    return np.array(triangles, dtype=np.int64).reshape(-1, 3)


def _candidates(points: NDArray[np.float64], faces: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sides (s, 2), in both directions, that :func:`_beyond` may flip as the triangles are."""
    index = facet_edges(faces)[1].ravel()
    order = np.argsort(index, kind="stable")
    first = np.flatnonzero(np.diff(index[order]) == 0)
    one, two = order[first], order[first + 1]  # sides of triangles, three each
    start, end = faces.ravel(), faces[:, [1, 2, 0]].ravel()
    apex = faces[:, [2, 0, 1]].ravel()
    sines, cosines = [], []
    for side in (one, two):
        u, v = points[start[one]] - points[apex[side]], points[end[one]] - points[apex[side]]
        sines.append(np.abs(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]))
        cosines.append((u * v).sum(axis=1))
    near = sines[0] * cosines[1] + cosines[0] * sines[1] <= 0
    sides = np.stack([start[one[near]], end[one[near]]], axis=1)
    return np.concatenate([sides, sides[:, ::-1]])


def _opposite(triangle: list[int], a: int, b: int) -> int:
    return next(p for p in triangle if p not in (a, b))


def _beyond(a: list[float], b: list[float], c: list[float], d: list[float]) -> bool:
    """Whether the angles at c and d over the side a, b add up to more than 180°."""
    sines, cosines = [], []
    for p in (c, d):
        u, v = (a[0] - p[0], a[1] - p[1]), (b[0] - p[0], b[1] - p[1])
        sines.append(abs(u[0] * v[1] - u[1] * v[0]))
        cosines.append(u[0] * v[0] + u[1] * v[1])
    lengths = [max(hypot(s, k), 1e-300) for s, k in zip(sines, cosines, strict=True)]
    turn = sines[0] * cosines[1] + cosines[0] * sines[1]
    return turn < -ROUNDING * lengths[0] * lengths[1]
