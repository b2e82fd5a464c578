"""Mend the badly shaped triangles of a boundary one by one; all others stay as they are, to the last bit.

A boolean cuts slivers off the triangles it meets, and files bring their own, and folds: triangles that look the other
way than their neighbours do.  Three changes are tried on each, and the one that lifts the worst of the triangles it
touches most, or takes the fold away, is made, if the surface stays within a distance:

- a vertex is drawn into a neighbour: along the rim, if it is on one, and corners not at all;
- an edge is turned into the other diagonal of its two triangles;
- a vertex within a wall goes towards the middle of its neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from heapq import heapify, heappop, heappush
from math import sqrt
from operator import itemgetter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fem_spall.crack.triangles import numbered
from fem_spall.mesh.mmg import ridges_and_corners
from fem_spall.mesh.stars import Simplex, Stars, renamed
from fem_spall.mesh.tagged_surface import TaggedSurface, facet_edges

__all__ = ["apart", "fixed_vertices", "folded_triangles", "mend_walls", "triangle_shapes"]

type Floats = NDArray[np.float64]
type Point = tuple[float, float, float]

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
#: Shape of a regular triangle per 2 area / (sum of squared edges); what lengths and areas are divided by at least.
REGULAR, TINY = 2 * sqrt(3), float(np.finfo(float).tiny)


def triangle_shapes(corners: Floats) -> Floats:
    """Shape 4 sqrt(3) area / (sum of squared edges) of triangles (m, 3, 3), (m,) float: 1 regular, 0 flat."""
    sides = corners - np.roll(corners, 1, axis=1)
    twice = np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=1)
    return np.asarray(REGULAR * twice / np.maximum((sides**2).sum(axis=(1, 2)), TINY))


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
    corners = surface.vertices[surface.faces]
    least = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).min(axis=1)
    merits = triangle_shapes(corners) * np.minimum(least / short, 1.0)
    folded = folded_triangles(surface)
    bad = np.flatnonzero((merits < poor) & surface.on_cracks | folded)
    if len(bad) == 0:
        return surface
    walls = _Walls(surface, short, distance)
    waiting = [(-1.0 if folded[number] else float(merits[number]), int(number)) for number in bad]
    heapify(waiting)
    while waiting:
        merit, worst = heappop(waiting)
        change = walls.best_change(worst, merit < 0) if worst in walls.stars else None
        for number in walls.make(change) if change is not None else ():
            if (merit := walls.look(number).merit) < poor and walls.stars.tags[number] in walls.cracks:
                heappush(waiting, (merit, number))
    left = list(walls.stars.left())
    used, faces = numbered(np.array([walls.stars.corners[number] for number in left]))
    tags = np.array([walls.stars.tags[number] for number in left], dtype=np.int32)
    return replace(surface, vertices=np.array(walls.points)[used], faces=faces, tags=tags)


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


class _Look(NamedTuple):
    """What a triangle looks like: shape, merit (shape, lowered where a side is short) and unit normal."""

    shape: float
    merit: float
    normal: Point


class _Change(NamedTuple):
    """Triangles to take away, those in their place with their tags, and a vertex with the number of its new place."""

    old: list[int]
    new: list[Simplex]
    tags: list[int]
    vertex: int = -1
    place: int = -1


class _Walls:
    """Triangles that may change.

    What is asked of a handful of triangles at a time is plain arithmetic; arrays would take ten times as long.
    """

    def __init__(self, surface: TaggedSurface, short: float, distance: float) -> None:
        self.stars = Stars(surface.faces, surface.tags)
        self.points: list[Point] = list(map(tuple, surface.vertices.tolist()))
        self.room = len(self.points)  # where places that are tried begin
        self.points += [(0.0, 0.0, 0.0)] * (3 * len(WAYS))
        self.short, self.distance = short, distance
        self.corners = set(fixed_vertices(surface).tolist())
        self.cracks = set(np.unique(surface.tags[surface.on_cracks]).tolist())
        self.planes = sorted(set(surface.planes().values()))
        self.known: dict[int, _Look] = {}

    def look(self, number: int) -> _Look:
        """What a triangle that is there looks like."""
        if number not in self.known:
            self.known[number] = self._look(self.stars.corners[number])
        return self.known[number]

    def make(self, change: _Change) -> list[int]:
        """Make a change; the numbers of the new triangles."""
        for number in change.old:
            self.stars.remove(number)
        new = change.new
        if change.place >= 0:
            self.points[change.vertex] = self.points[change.place]
            new = [renamed(triangle, change.place, change.vertex) for triangle in new]
        return [self.stars.add(triangle, tag) for triangle, tag in zip(new, change.tags, strict=True)]

    def best_change(self, worst: int, folded: bool = False) -> _Change | None:
        """What lifts the least merit round a triangle most, or unfolds it, or None where nothing does."""
        found = []
        for change in self._changes(self.stars.corners[worst]):
            before = min(self.look(number).merit for number in change.old)
            after = self._least(change.new, UNFOLDED if folded else GAIN * before)
            if after is not None:
                found.append((-round(after / max(before, 1e-12), 9), change))  # equal is equal, whatever the last digit
        for _, change in sorted(found, key=itemgetter(0)):
            if self._stays(change, folded):
                return change
        return None

    def _changes(self, triangle: Simplex) -> Iterator[_Change]:
        stars = self.stars
        for k in range(3):
            a, b = triangle[k], triangle[(k + 1) % 3]
            beside = stars.at(a, b)
            if len(beside) != 2 or not stars.closes(a, b):
                continue
            for gone, kept in ((a, b), (b, a)):
                if gone not in self.corners and stars.within(gone, kept, self.points, self.distance):
                    new, tags = stars.drawn(gone, kept)
                    if new:
                        yield _Change(sorted(stars.of(gone)), new, tags)
            one, two = beside
            c, d = (next(p for p in stars.corners[number] if p not in (a, b)) for number in beside)
            if stars.tags[one] == stars.tags[two] and c != d and not stars.of(c) & stars.of(d):
                new = [renamed(stars.corners[one], b, d), renamed(stars.corners[two], a, c)]
                yield _Change(beside, new, [stars.tags[one]] * 2)

        for k, vertex in enumerate(triangle):
            star = sorted(stars.of(vertex))
            tags = [stars.tags[number] for number in star]
            if vertex in self.corners or len(set(tags)) > 1 or tags[0] not in self.cracks:
                continue
            start, around = self.points[vertex], [self.points[p] for p in sorted(stars.around(vertex))]
            way = (np.mean(around, axis=0) - start).tolist()
            for step, share in enumerate(WAYS):
                place = self.room + k * len(WAYS) + step
                self.points[place] = start[0] + share * way[0], start[1] + share * way[1], start[2] + share * way[2]
                yield _Change(star, [renamed(stars.corners[n], vertex, place) for n in star], tags, vertex, place)

    def _stays(self, change: _Change, folded: bool) -> bool:
        """Whether the surface does not fold, or unfolds, and stays within the distance."""
        for triangle, tag in zip(change.new, change.tags, strict=True):
            corners = [self.points[p] for p in triangle]
            if tag in self.cracks and any(all(p[axis] == place for p in corners) for axis, place in self.planes):
                return False  # it would lie on the face of the block
        normals = [self._look(triangle).normal for triangle in change.new]
        before = [(self.look(number), self.stars.tags[number]) for number in change.old]
        for normal, tag in zip(normals, change.tags, strict=True):
            turns = [_dot(normal, look.normal) for look, own in before if own == tag and look.shape > FLAT]
            if turns and (max(turns) < TURN or (tag not in self.cracks and min(turns) < 0)):
                return False
        sharpest, before_it = self._sharpest_new(change, normals), min(map(self._sharpest, change.old))
        if not (sharpest > before_it + UNFOLDED if folded else sharpest >= min(TURN, before_it) - 1e-9):
            return False
        old, new = (
            np.array([[self.points[p] for p in triangle] for triangle in triangles])
            for triangles in ([self.stars.corners[number] for number in change.old], change.new)
        )
        return not (apart(old, new, self.distance) or apart(new, old, self.distance))

    def _sharpest_new(self, change: _Change, normals: list[Point]) -> float:
        """Cosine of the sharpest edge of the new triangles within one surface."""
        gone = set(change.old)
        sides: dict[tuple[int, int], tuple[int, Point]] = {}
        for triangle, tag, normal in zip(change.new, change.tags, normals, strict=True):
            for k in range(3):
                sides[triangle[k], triangle[(k + 1) % 3]] = tag, normal
        found = 1.0
        for (a, b), (tag, one) in sides.items():
            if (b, a) in sides:
                other_tag, other = sides[b, a]
            else:
                beyond = self.stars.of(a) & self.stars.of(b) - gone
                if len(beyond) != 1:
                    continue
                (number,) = beyond
                other_tag, other = self.stars.tags[number], self.look(number).normal
            if tag == other_tag:
                found = min(found, _dot(one, other))
        return found

    def _sharpest(self, number: int) -> float:
        """Cosine of the sharpest edge of a triangle with a well shaped neighbour of its surface."""
        triangle, own, found = self.stars.corners[number], self.look(number), 1.0
        if own.merit < FLAT:
            return found
        for k in range(3):
            for other in self.stars.of(triangle[k]) & self.stars.of(triangle[(k + 1) % 3]) - {number}:
                look = self.look(other)
                if self.stars.tags[other] == self.stars.tags[number] and look.merit > FLAT:
                    found = min(found, _dot(own.normal, look.normal))
        return found

    def _least(self, triangles: list[Simplex], above: float) -> float | None:
        """Least merit of some triangles, None unless it is above a bound."""
        least = np.inf
        for triangle in triangles:
            least = min(least, self._measured(triangle)[1])
            if least <= above:
                return None
        return least

    def _look(self, triangle: Simplex) -> _Look:
        shape, merit, twice, (x, y, z) = self._measured(triangle)
        long = max(twice, TINY)
        return _Look(shape, merit, (x / long, y / long, z / long))

    def _measured(self, triangle: Simplex) -> tuple[float, float, float, Point]:
        """Shape, merit, twice the area and the normal of that length."""
        a, b, c = triangle
        ax, ay, az = self.points[a]
        bx, by, bz = self.points[b]
        cx, cy, cz = self.points[c]
        ux, uy, uz, vx, vy, vz = bx - ax, by - ay, bz - az, cx - ax, cy - ay, cz - az
        wx, wy, wz = cx - bx, cy - by, cz - bz
        x, y, z = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        u, v, w = ux * ux + uy * uy + uz * uz, vx * vx + vy * vy + vz * vz, wx * wx + wy * wy + wz * wz
        twice = sqrt(x * x + y * y + z * z)
        shape = REGULAR * twice / max(u + v + w, TINY)
        return shape, shape * min(sqrt(min(u, v, w)) / self.short, 1.0), twice, (x, y, z)


def _dot(a: Point, b: Point) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _normals(corners: Floats) -> Floats:
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return np.asarray(normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), TINY))


def apart(one: Floats, other: Floats, distance: float) -> bool:
    """Whether a corner, middle of a side or centroid of triangles (m, 3, 3) is further than that from the others."""
    import igl

    middles = (one + np.roll(one, 1, axis=1)) / 2
    points = np.concatenate([one.reshape(-1, 3), middles.reshape(-1, 3), one.mean(axis=1)])
    faces = np.arange(3 * len(other)).reshape(-1, 3)
    squared = igl.point_mesh_squared_distance(points, other.reshape(-1, 3).copy(), faces)[0]
    return bool(squared.max() > distance**2)
