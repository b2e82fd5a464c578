"""Pull a remeshed surface to the given one where it is too far off, one edge or vertex at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fem_spall.mesh.distance import walls_beyond
from fem_spall.mesh.mmg import ridges_and_corners
from fem_spall.mesh.tagged_surface import TaggedSurface, facet_edges, split_edges

__all__ = ["pulled"]

type Floats = NDArray[np.float64]
type Ints = NDArray[np.int64]
type Bools = NDArray[np.bool_]

#: Part of an edge from its ends on which the vertex there is moved rather than the edge divided.
END = 0.25
#: What is within a wall, and what is neither that nor its rim on one face.
INNER, OTHER = -1, -2
#: How far off a plane a place in it may be, in sizes of the block.
ROUNDING = 1e-12


def pulled(surface: TaggedSurface, given: TaggedSurface, distance: float) -> TaggedSurface:
    """Return a surface pulled to the given one where its cracks are further than that from it, mesh units.

    The edge that is nearest to a place where it should be is divided there, or its end moved there.  Rims go to places
    in the plane of their face only, all else of a wall to others; corners and outlines of regions stay.
    """
    pulls = _Pulls.of(surface, given, distance)
    while True:
        result = pulls.made(surface)
        left = pulls.without(_turned(result), len(surface.vertices))
        if np.array_equal(left.moves, pulls.moves) and np.array_equal(left.splits, pulls.splits):
            return result
        pulls = left


class _Pulls(NamedTuple):
    """Places (p, 3), the furthest off first, with the edge (p,) that is to be divided there or the vertex (p,) to go.

    ``moves`` and ``splits`` (p,) bool say which of the two, if any.
    """

    place: Floats
    edge: Ints
    vertex: Ints
    moves: Bools
    splits: Bools

    @classmethod
    def of(cls, surface: TaggedSurface, given: TaggedSurface, distance: float) -> _Pulls:
        """All that a surface needs."""
        triangle, place = walls_beyond(surface, given, distance)
        edges, index = facet_edges(surface.faces)
        planes = sorted(set(surface.planes().values()))
        on = np.full(len(place), INNER)
        for plane, (axis, coordinate) in enumerate(planes):
            on[np.abs(place[:, axis] - coordinate) <= ROUNDING * np.abs(surface.box).max()] = plane
        edge, share = np.zeros(len(place), dtype=np.int64), np.zeros(len(place))
        kind = _kinds(surface, planes, index)
        for row, (plane, at, own) in enumerate(zip(on.tolist(), place, triangle, strict=True)):
            near = index[own] if plane == INNER else np.flatnonzero(kind == plane)
            if len(near):
                edge[row], share[row] = _nearest(surface.vertices[edges[near]], near, at)
        start, end = np.moveaxis(surface.vertices[edges[edge]], 1, 0)
        halfway = (place + start + share[:, None] * (end - start)) / 2  # triangles of a face must not turn over
        vertex = edges[edge, (share > 0.5).astype(int)]
        moves = ((share < END) | (share > 1 - END)) & (_kinds(surface, planes, surface.faces)[vertex] == on)
        moves &= ~np.isin(vertex, ridges_and_corners(surface, None)[1])
        return cls(np.where((on == INNER)[:, None], place, halfway), edge, vertex, moves, ~moves & (kind[edge] == on))

    def made(self, surface: TaggedSurface) -> TaggedSurface:
        """The surface pulled; of several places for one edge or vertex the furthest counts."""
        vertices, split = surface.vertices.copy(), np.zeros(len(facet_edges(surface.faces)[0]), dtype=bool)
        moved, first = np.unique(self.vertex[self.moves], return_index=True)
        vertices[moved] = self.place[self.moves][first]
        halved, first = np.unique(self.edge[self.splits], return_index=True)
        split[halved] = True
        return split_edges(replace(surface, vertices=vertices), split, self.place[self.splits][first])

    def without(self, vertices: Ints, count: int) -> _Pulls:
        """The same but for what moved or made some of the vertices, of which the first ``count`` were there before."""
        halved = np.unique(self.edge[self.splits])[vertices[vertices >= count] - count]
        moves, splits = self.moves & ~np.isin(self.vertex, vertices), self.splits & ~np.isin(self.edge, halved)
        return self._replace(moves=moves, splits=splits)


def _turned(surface: TaggedSurface) -> Ints:
    """Vertices of triangles on the faces of the block that lie upside down."""
    found = [np.empty(0, dtype=np.int64)]
    for tag, (axis, coordinate) in surface.planes().items():
        own = surface.faces[surface.tags == tag]
        a, b, c = np.moveaxis(surface.vertices[own], 1, 0)
        outward = 1.0 if coordinate == surface.box[1, axis] else -1.0
        found.append(own[np.cross(b - a, c - a)[:, axis] * outward <= 0].ravel())
    return np.unique(np.concatenate(found))


def _nearest(ends: Floats, number: Ints, place: Floats) -> tuple[int, float]:
    """Number of the edge (e, 2, 3) that is nearest to a place, and how far along it that is, 0 to 1."""
    along, off = ends[:, 1] - ends[:, 0], place - ends[:, 0]
    share = np.clip((off * along).sum(axis=1) / np.maximum((along**2).sum(axis=1), np.finfo(float).tiny), 0, 1)
    nearest = int(((off - share[:, None] * along) ** 2).sum(axis=1).argmin())
    return int(number[nearest]), float(share[nearest])


def _kinds(surface: TaggedSurface, planes: list[tuple[int, float]], index: Ints) -> Ints:
    """What edges or vertices are, by their numbers on each triangle (m, 3).

    INNER within a wall, the number of the plane between a wall and a face, OTHER elsewhere.
    """
    low, high = np.full(int(index.max()) + 1, surface.tags.max()), np.zeros(int(index.max()) + 1, dtype=np.int64)
    np.minimum.at(low, index.ravel(), np.repeat(surface.tags, 3))
    np.maximum.at(high, index.ravel(), np.repeat(surface.tags, 3))
    plane_of = np.full(max(surface.names.values()) + 1, INNER)
    for tag, plane in surface.planes().items():
        plane_of[tag] = planes.index(plane)
    low_plane, wall = plane_of[low], plane_of[high] == INNER
    rim = np.where(low_plane == INNER, OTHER, low_plane)
    return np.where(wall, np.where(low == high, INNER, rim), OTHER)
