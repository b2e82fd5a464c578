"""Polygons of mesh files as triangles that cover each of them once, concave ones too."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fem_spall.errors import InputFileError

__all__ = ["PolygonMesh", "triangulated"]

type Floats = NDArray[np.float64]
type Ints = NDArray[np.int64]

FAN_CORNERS = 32  # polygons of so many corners are first tried as fans, all of a kind together
MOST_CORNERS = 1000  # exporters write caps of some hundred
NO_AREA = 1e-12  # of the square of a polygon's size


@dataclass(frozen=True)
class PolygonMesh:
    """What a reader finds: ``vertices`` (n, 3), ``polygons`` of vertex indices, and ``place`` which names polygon k."""

    vertices: Floats
    polygons: Sequence[Sequence[int]] | Ints
    place: Callable[[int], str]


def triangulated(mesh: PolygonMesh) -> Ints:
    """Return the triangles, (m, 3) int, of all polygons, in their sense.

    A polygon that one of its corners sees completely becomes the fan from that corner
    whose smallest triangle is largest; the corner's coordinates break ties, so that where a
    polygon begins does not matter.  Others are cut by a general triangulation of their
    projection along their mean normal.

    Raises
    ------
    InputFileError
        If an index is not one of the vertices, or a polygon crosses itself.
    """
    if isinstance(mesh.polygons, np.ndarray):
        return mesh.polygons
    counts = np.fromiter(map(len, mesh.polygons), dtype=np.int64, count=len(mesh.polygons))
    corners = _indices(mesh, counts)
    starts = np.cumsum(counts) - counts
    parts = []
    for count in np.unique(counts).tolist():
        which = np.flatnonzero(counts == count)
        group = corners[starts[which][:, None] + np.arange(count)]
        parts.append(group if count == 3 else _cut(mesh, which, group))
    return np.concatenate(parts) if parts else np.empty((0, 3), dtype=np.int64)


def _indices(mesh: PolygonMesh, counts: Ints) -> Ints:
    """Corners of all polygons one after the other, after looking whether there are such vertices."""
    known = len(mesh.vertices)
    try:
        flat = np.fromiter(itertools.chain.from_iterable(mesh.polygons), dtype=np.int64, count=int(counts.sum()))
        wrong = np.flatnonzero((flat < 0) | (flat >= known))
    except OverflowError:
        flat, wrong = np.empty(0, dtype=np.int64), np.zeros(1, dtype=np.int64)
    if len(wrong) == 0:
        return flat
    k = next(k for k, one in enumerate(mesh.polygons) if min(one) < 0 or max(one) >= known)
    index = max(mesh.polygons[k]) if max(mesh.polygons[k]) >= known else min(mesh.polygons[k])
    got = f"the index {index}" if abs(index) < 1e18 else "an index of more than 18 digits"
    reason = f"must use one of the {known} vertices; got {got} (counted from 0)"
    raise InputFileError(9, mesh.place(k), reason, "the file is cut off or damaged: export it again")


def _cut(mesh: PolygonMesh, which: Ints, group: Ints) -> Ints:
    """Triangles of polygons of one number of corners, (k, n) int, which are numbers ``which`` of the mesh."""
    count = group.shape[1]
    if count > MOST_CORNERS:
        reason = f"a polygon must have at most {MOST_CORNERS} corners; got {count}"
        raise InputFileError(7, mesh.place(int(which[0])), reason, "export the surface as triangles")
    points = _flat(mesh.vertices[group])
    fan = np.full(len(group), -1)
    if count <= FAN_CORNERS:
        rank = np.empty(len(mesh.vertices), dtype=np.int64)
        rank[np.lexsort(mesh.vertices.T[::-1])] = np.arange(len(rank))
        fan = _best_fan(points, rank[group])
    turned = np.take_along_axis(group, (np.maximum(fan, 0)[:, None] + np.arange(count)) % count, axis=1)
    fans = np.stack([np.stack([turned[:, 0], turned[:, k], turned[:, k + 1]], axis=1) for k in range(1, count - 1)], 1)
    parts = [fans[fan >= 0].reshape(-1, 3)]
    for k in np.flatnonzero(fan < 0).tolist():
        parts.append(group[k][_general(points[k], mesh.place(int(which[k])))])
    return np.concatenate(parts)


def _flat(corners: Floats) -> Floats:
    """Polygons (k, n, 3) seen along their mean normal, counter-clockwise, (k, n, 2), in units of their size."""
    relative = corners - corners.mean(axis=1, keepdims=True)
    relative /= np.maximum(np.abs(relative).max(axis=(1, 2)), 1e-300)[:, None, None]
    normal = np.cross(relative, np.roll(relative, -1, axis=1)).sum(axis=1)  # Newell: twice the area along each axis
    lost = np.flatnonzero(np.abs(normal).max(axis=1) < NO_AREA)  # on a line, or a figure of eight
    if len(lost):
        spokes = relative[lost, 1:] - relative[lost, :1]
        across = np.cross(spokes[:, :-1], spokes[:, 1:])
        largest = np.linalg.norm(across, axis=2).argmax(axis=1)
        normal[lost] = across[np.arange(len(lost)), largest]
    axis = np.abs(normal).argmax(axis=1)
    turn = np.take_along_axis(normal, axis[:, None], axis=1)[:, 0] < 0
    first, second = (axis + 1 + turn) % 3, (axis + 2 - turn) % 3
    columns = np.stack([first, second], axis=1)[:, None, :]
    return np.take_along_axis(relative, np.broadcast_to(columns, (*relative.shape[:2], 2)), axis=2)


def _best_fan(points: Floats, rank: Ints) -> Ints:
    """Corner from which each polygon (k, n, 2) is a fan of proper triangles, -1 where there is none."""
    count = points.shape[1]
    smallest = np.full(points.shape[:2], -np.inf)
    for start in range(count):
        spokes = np.roll(points, -start, axis=1)[:, 1:] - points[:, start : start + 1]
        a, b = spokes[:, :-1], spokes[:, 1:]
        area = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
        # The triangles of a fan that turns by less than a whole circle cannot overlap.
        angle = np.arctan2(area, (a * b).sum(axis=2)).sum(axis=1)
        smallest[:, start] = np.where(angle < 2 * np.pi - 1e-6, area.min(axis=1), -np.inf)
    best = smallest.max(axis=1, keepdims=True)
    equal = smallest >= best - 1e-6 * np.abs(best)
    choice = np.where(equal, rank, rank.max() + 1).argmin(axis=1)
    return np.where(best[:, 0] >= -NO_AREA, choice, -1)


def _general(points: Floats, place: str) -> Ints:
    """Triangles of one polygon (n, 2), (n - 2, 3) int."""
    from manifold3d import CrossSection, FillRule, triangulate

    x, y = points.T
    area = float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2)
    triangles = np.asarray(triangulate([points]), dtype=np.int64).reshape(-1, 3)
    a, b, c = np.moveaxis(points[triangles], 1, 0)
    signed = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    # Where a polygon covers itself, the area that it fills is not the one that it goes round.
    simple = np.isclose(CrossSection([points], FillRule.NonZero).area(), area, rtol=1e-6)
    if not simple or len(triangles) != len(points) - 2 or (signed < -1e-9).any():
        reason = f"a polygon must not cross itself; got one of {len(points)} corners that does, seen along its normal"
        raise InputFileError(7, place, reason, "export the surface as triangles")
    return triangles
