"""Mend the badly shaped triangles of a boundary one by one; all others stay as they are, to the last bit.

A boolean cuts slivers off the triangles it meets, and files bring their own.  Two changes are tried on each, and the
one that lifts the worst of the triangles it touches most is made, if the surface stays within a distance:

- a vertex is drawn into a neighbour: along the rim, if it is on one, and corners not at all;
- an edge is turned into the other diagonal of its two triangles.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fem_spall.mesh.mmg import ridges_and_corners
from fem_spall.mesh.tagged_surface import TaggedSurface, facet_edges

__all__ = ["apart", "fixed_vertices", "from_segment", "mend_walls", "triangle_shapes"]

type Floats = NDArray[np.float64]
type Triangle = tuple[int, int, int]

#: The gain in shape that is worth a change.
GAIN = 1.05
#: Cosine of the turn of normals, between old and new triangles and between neighbours, that is allowed.
TURN = 0.5
#: Triangles of less shape than this have no normal to compare with.
FLAT = 0.1


def triangle_shapes(corners: Floats) -> Floats:
    """Shape 4 sqrt(3) area / (sum of squared edges) of triangles (m, 3, 3), (m,) float: 1 regular, 0 flat."""
    sides = corners - np.roll(corners, 1, axis=1)
    twice = np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=1)
    return np.asarray(2 * np.sqrt(3) * twice / np.maximum((sides**2).sum(axis=(1, 2)), np.finfo(float).tiny))


def mend_walls(surface: TaggedSurface, poor: float, short: float, distance: float) -> TaggedSurface:
    """Return the boundary with the triangles of its cracks below a shape mended as far as that goes.

    Parameters
    ----------
    surface : TaggedSurface
        The boundary, without sheets.
    poor : float
        Shape (:func:`triangle_shapes`) below which a triangle is mended.
    short : float
        Length below which edges count against a triangle as bad shape does, mesh units.
    distance : float
        How far a change may move the surface, mesh units.
    """
    shapes = _merits(surface.vertices[surface.faces], short)
    bad = np.flatnonzero((shapes < poor) & surface.on_cracks)
    if len(bad) == 0:
        return surface
    walls = _Walls(surface, short, distance)
    waiting = {int(number): float(shapes[number]) for number in bad}
    while waiting:
        worst = min(waiting, key=lambda number: (waiting[number], number))
        del waiting[worst]
        change = walls.best_change(worst)
        if change is None:
            continue
        for number in change.old:
            walls.remove(number)
            waiting.pop(number, None)
        for triangle, tag in zip(change.new, change.tags, strict=True):
            number = walls.add(triangle, tag)
            if (shape := walls.least([triangle])) < poor and tag in walls.cracks:
                waiting[number] = shape
    faces = np.array(list(walls.faces.values()), dtype=np.int64)
    tags = np.array([walls.tags[number] for number in walls.faces], dtype=np.int32)
    used, packed = np.unique(faces, return_inverse=True)
    return replace(surface, vertices=surface.vertices[used], faces=packed.reshape(-1, 3), tags=tags)


def fixed_vertices(surface: TaggedSurface) -> NDArray[np.int64]:
    """Vertices (c,) of a boundary that stay: those of three surfaces, and where its parts touch."""
    edges, index = facet_edges(surface.faces)
    count = np.bincount(index.ravel(), minlength=len(edges))
    return np.union1d(ridges_and_corners(surface, None)[1], edges[count != 2])


class _Change(NamedTuple):
    """Triangles to take away, those in their place with their tags."""

    old: list[int]
    new: list[Triangle]
    tags: list[int]


class _Walls:
    """Triangles that may change, by number."""

    def __init__(self, surface: TaggedSurface, short: float, distance: float) -> None:
        self.points, self.short, self.distance = surface.vertices, short, distance
        self.corners = set(fixed_vertices(surface).tolist())
        self.cracks = set(np.unique(surface.tags[surface.on_cracks]).tolist())
        self.planes = sorted(set(surface.planes().values()))
        self.faces: dict[int, Triangle] = {}
        self.tags: dict[int, int] = {}
        self.of: dict[int, set[int]] = defaultdict(set)
        self.count = 0
        for face, tag in zip(surface.faces.tolist(), surface.tags.tolist(), strict=True):
            self.add((face[0], face[1], face[2]), tag)

    def add(self, triangle: Triangle, tag: int) -> int:
        """Add a triangle; its number."""
        number, self.count = self.count, self.count + 1
        self.faces[number], self.tags[number] = triangle, tag
        for vertex in triangle:
            self.of[vertex].add(number)
        return number

    def remove(self, number: int) -> None:
        """Take a triangle away."""
        for vertex in self.faces.pop(number):
            self.of[vertex].discard(number)
        del self.tags[number]

    def least(self, triangles: list[Triangle]) -> float:
        """Least merit of some triangles."""
        return float(_merits(self.points[np.array(triangles)], self.short).min())

    def best_change(self, worst: int) -> _Change | None:
        """What lifts the least shape round a triangle most, or None where nothing does."""
        found = []
        for change in self._changes(self.faces[worst]):
            before, after = self.least([self.faces[k] for k in change.old]), self.least(change.new)
            if after > GAIN * before:
                found.append((after / max(before, 1e-12), change))
        for _, change in sorted(found, key=lambda one: -one[0]):
            if self._stays(change):
                return change
        return None

    def _changes(self, triangle: Triangle) -> Iterator[_Change]:
        for k in range(3):
            a, b = triangle[k], triangle[(k + 1) % 3]
            beside = sorted(self.of[a] & self.of[b])
            if len(beside) != 2:
                continue
            opposite = {p for number in beside for p in self.faces[number]} - {a, b}
            if self._around(a) & self._around(b) != opposite:
                continue
            for gone, kept in ((a, b), (b, a)):
                if self._may_go(gone, kept):
                    old = sorted(self.of[gone])
                    left = [number for number in old if number not in beside]
                    new = [self._with(self.faces[number], gone, kept) for number in left]
                    if new:
                        yield _Change(old, new, [self.tags[number] for number in left])
            one, two = beside
            if self.tags[one] == self.tags[two] and len(opposite) == 2:
                c, d = (next(p for p in self.faces[number] if p not in (a, b)) for number in beside)
                if not self.of[c] & self.of[d]:
                    new = [self._with(self.faces[one], b, d), self._with(self.faces[two], a, c)]
                    yield _Change(beside, new, [self.tags[one]] * 2)

    def _with(self, triangle: Triangle, gone: int, instead: int) -> Triangle:
        a, b, c = (instead if vertex == gone else vertex for vertex in triangle)
        return a, b, c

    def _around(self, vertex: int) -> set[int]:
        return {p for number in self.of[vertex] for p in self.faces[number]} - {vertex}

    def _may_go(self, gone: int, kept: int) -> bool:
        """Whether a vertex may be drawn into another: within a wall, or along a rim that is straight enough."""
        if gone in self.corners:
            return False
        if len({self.tags[number] for number in self.of[gone]}) == 1:
            return True
        rim = [p for p in self._around(gone) if self._between(gone, p)]
        if len(rim) != 2 or kept not in rim:
            return False
        ends = self.points[rim]
        return from_segment(self.points[gone], ends[0], ends[1]) <= self.distance

    def _between(self, a: int, b: int) -> bool:
        return len({self.tags[number] for number in self.of[a] & self.of[b]}) > 1

    def _stays(self, change: _Change) -> bool:
        """Whether the surface stays within the distance, and does not fold."""
        old = self.points[np.array([self.faces[number] for number in change.old])]
        new = self.points[np.array(change.new)]
        for corners, tag in zip(new, change.tags, strict=True):
            if tag in self.cracks and any((corners[:, axis] == place).all() for axis, place in self.planes):
                return False  # it would lie on the face of the block
        if apart(old, new, self.distance) or apart(new, old, self.distance):
            return False
        normals, before = _normals(new), _normals(old)
        shapes = triangle_shapes(old)
        for normal, tag in zip(normals, change.tags, strict=True):
            known = [
                b for b, s, number in zip(before, shapes, change.old, strict=True)
                if self.tags[number] == tag and s > FLAT
            ]  # fmt: skip
            if known and max(float(normal @ b) for b in known) < TURN:
                return False
            if tag not in self.cracks and known and min(float(normal @ b) for b in known) < 0:
                return False
        return self._smooth(change, normals)

    def _smooth(self, change: _Change, normals: Floats) -> bool:
        """Whether no edge of the new triangles turns more than the limit, or than the old ones do."""
        gone = set(change.old)
        normal = dict(enumerate(normals))
        sides: dict[tuple[int, int], tuple[int, Floats]] = {}
        for k, triangle in enumerate(change.new):
            for i in range(3):
                sides[triangle[i], triangle[(i + 1) % 3]] = change.tags[k], normal[k]
        limit = TURN
        for number in change.old:
            limit = min(limit, self._sharpest(number))
        for (a, b), (tag, one) in sides.items():
            if (b, a) in sides:
                other_tag, other = sides[b, a]
            else:
                beyond = [n for n in self.of[a] & self.of[b] if n not in gone]
                if len(beyond) != 1:
                    continue
                other_tag, other = self.tags[beyond[0]], _normals(self.points[np.array([self.faces[beyond[0]]])])[0]
            if tag == other_tag and float(one @ other) < limit - 1e-9:
                return False
        return True

    def _sharpest(self, number: int) -> float:
        """Cosine of the sharpest edge of a triangle with a well shaped neighbour of its surface."""
        triangle, found = self.faces[number], 1.0
        if self.least([triangle]) < FLAT:
            return found
        own = _normals(self.points[np.array([triangle])])[0]
        for k in range(3):
            for other in self.of[triangle[k]] & self.of[triangle[(k + 1) % 3]]:
                if other != number and self.tags[other] == self.tags[number] and self.least([self.faces[other]]) > FLAT:
                    found = min(found, float(own @ _normals(self.points[np.array([self.faces[other]])])[0]))
        return found


def _merits(corners: Floats, short: float) -> Floats:
    """Shapes of triangles, those with short edges lowered."""
    least = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).min(axis=1)
    return np.asarray(triangle_shapes(corners) * np.minimum(least / short, 1.0))


def _normals(corners: Floats) -> Floats:
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return np.asarray(normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), np.finfo(float).tiny))


def from_segment(point: Floats, start: Floats, end: Floats) -> float:
    """Distance of a point from a segment."""
    along = end - start
    place = np.clip((point - start) @ along / max(float(along @ along), np.finfo(float).tiny), 0, 1)
    return float(np.linalg.norm(point - start - place * along))


def apart(one: Floats, other: Floats, distance: float) -> bool:
    """Whether a corner, middle of a side or centroid of triangles (m, 3, 3) is further than that from the others."""
    import igl

    middles = (one + np.roll(one, 1, axis=1)) / 2
    points = np.concatenate([one.reshape(-1, 3), middles.reshape(-1, 3), one.mean(axis=1)])
    faces = np.arange(3 * len(other)).reshape(-1, 3)
    squared = igl.point_mesh_squared_distance(points, other.reshape(-1, 3).copy(), faces)[0]
    return bool(squared.max() > distance**2)
