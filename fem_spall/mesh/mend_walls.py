"""Mend the badly shaped triangles of a boundary one by one; all others stay as they are, to the last bit.

A boolean cuts slivers off the triangles it meets, and files bring their own, and folds: triangles that look the other
way than their neighbours do.  Three changes are tried on each, and the one that lifts the worst of the triangles it
touches most, or takes the fold away, is made, if the surface stays within a distance:

- a vertex is drawn into a neighbour: along the rim, if it is on one, and corners not at all;
- an edge is turned into the other diagonal of its two triangles;
- a vertex within a wall goes towards the middle of its neighbours.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from heapq import heapify, heappop, heappush
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fem_spall.mesh.mmg import ridges_and_corners
from fem_spall.mesh.tagged_surface import TaggedSurface, facet_edges

__all__ = ["apart", "fixed_vertices", "folded_triangles", "from_segment", "mend_walls", "triangle_shapes"]

type Floats = NDArray[np.float64]
type Triangle = tuple[int, int, int]

#: The gain in shape that is worth a change.
GAIN = 1.05
#: Cosine of the turn of normals, between old and new triangles and between neighbours, that is allowed.
TURN = 0.5
#: Triangles of less shape than this have no normal to compare with.
FLAT = 0.1
#: Parts of the way to the middle of its neighbours that a vertex is moved by.
WAYS = (1.0, 0.5, 0.25)
#: Least shape, and gain in the cosine of the sharpest edge, where a fold is taken away.
UNFOLDED = 0.2


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
    folded = folded_triangles(surface)
    bad = np.flatnonzero((shapes < poor) & surface.on_cracks | folded)
    if len(bad) == 0:
        return surface
    walls = _Walls(surface, short, distance)
    waiting = [(-1.0 if folded[number] else float(shapes[number]), int(number)) for number in bad]
    heapify(waiting)
    while waiting:
        shape, worst = heappop(waiting)
        change = walls.best_change(worst, shape < 0) if worst in walls.faces else None
        if change is None:
            continue
        for number in change.old:
            walls.remove(number)
        for triangle, tag in zip(walls.settled(change), change.tags, strict=True):
            number = walls.add(triangle, tag)
            if (shape := walls.least([triangle])) < poor and tag in walls.cracks:
                heappush(waiting, (shape, number))
    faces = np.array(list(walls.faces.values()), dtype=np.int64)
    tags = np.array([walls.tags[number] for number in walls.faces], dtype=np.int32)
    used, packed = np.unique(faces, return_inverse=True)
    return replace(surface, vertices=walls.points[used], faces=packed.reshape(-1, 3), tags=tags)


def folded_triangles(surface: TaggedSurface) -> NDArray[np.bool_]:
    """Return which triangles of the cracks look away from where their three neighbours look on average, (m,) bool."""
    own = np.flatnonzero(surface.on_cracks)
    normals = _normals(surface.vertices[surface.faces[own]])
    index = facet_edges(surface.faces[own])[1]
    total = np.zeros((int(index.max(initial=-1)) + 1, 3))
    for side in range(3):
        np.add.at(total, index[:, side], normals)
    beside = total[index].sum(axis=1) - 3 * normals
    folded = np.zeros(len(surface.faces), dtype=bool)
    folded[own] = np.einsum("ij,ij->i", beside, normals) < 0
    return folded


def fixed_vertices(surface: TaggedSurface) -> NDArray[np.int64]:
    """Vertices (c,) of a boundary that stay: those of three surfaces, and where its parts touch."""
    edges, index = facet_edges(surface.faces)
    count = np.bincount(index.ravel(), minlength=len(edges))
    return np.union1d(ridges_and_corners(surface, None)[1], edges[count != 2])


class _Change(NamedTuple):
    """Triangles to take away, those in their place with their tags, and a vertex with the number of its new place."""

    old: list[int]
    new: list[Triangle]
    tags: list[int]
    vertex: int = -1
    place: int = -1


class _Walls:
    """Triangles that may change, by number."""

    def __init__(self, surface: TaggedSurface, short: float, distance: float) -> None:
        self.points = np.append(surface.vertices, np.zeros((3 * len(WAYS), 3)), axis=0)
        self.short, self.distance = short, distance
        self.room = len(surface.vertices)  # where places that are tried begin
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

    def settled(self, change: _Change) -> list[Triangle]:
        """The new triangles of a change, once the vertex that it moves is where it goes."""
        if change.place < 0:
            return change.new
        self.points[change.vertex] = self.points[change.place]
        return [self._with(triangle, change.place, change.vertex) for triangle in change.new]

    def best_change(self, worst: int, folded: bool = False) -> _Change | None:
        """What lifts the least shape round a triangle most, or unfolds it, or None where nothing does."""
        found = []
        for change in self._changes(self.faces[worst]):
            before, after = self.least([self.faces[k] for k in change.old]), self.least(change.new)
            if after > (UNFOLDED if folded else GAIN * before):
                found.append((after / max(before, 1e-12), change))
        for _, change in sorted(found, key=lambda one: -one[0]):
            if self._stays(change, folded):
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

        for k, vertex in enumerate(triangle):
            star = sorted(self.of[vertex])
            tags = [self.tags[number] for number in star]
            if vertex in self.corners or len(set(tags)) > 1 or tags[0] not in self.cracks:
                continue
            way = self.points[sorted(self._around(vertex))].mean(axis=0) - self.points[vertex]
            for step, share in enumerate(WAYS):
                place = self.room + k * len(WAYS) + step
                self.points[place] = self.points[vertex] + share * way
                new = [self._with(self.faces[number], vertex, place) for number in star]
                yield _Change(star, new, tags, vertex, place)

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

    def _stays(self, change: _Change, folded: bool) -> bool:
        """Whether the surface stays within the distance, and does not fold, or unfolds."""
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
        sharpest, before_it = self._sharpest_new(change, normals), min(map(self._sharpest, change.old))
        return sharpest > before_it + UNFOLDED if folded else sharpest >= min(TURN, before_it) - 1e-9

    def _sharpest_new(self, change: _Change, normals: Floats) -> float:
        """Cosine of the sharpest edge of the new triangles within one surface."""
        gone = set(change.old)
        normal = dict(enumerate(normals))
        sides: dict[tuple[int, int], tuple[int, Floats]] = {}
        for k, triangle in enumerate(change.new):
            for i in range(3):
                sides[triangle[i], triangle[(i + 1) % 3]] = change.tags[k], normal[k]
        found = 1.0
        for (a, b), (tag, one) in sides.items():
            if (b, a) in sides:
                other_tag, other = sides[b, a]
            else:
                beyond = [n for n in self.of[a] & self.of[b] if n not in gone]
                if len(beyond) != 1:
                    continue
                other_tag, other = self.tags[beyond[0]], _normals(self.points[np.array([self.faces[beyond[0]]])])[0]
            if tag == other_tag:
                found = min(found, float(one @ other))
        return found

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
