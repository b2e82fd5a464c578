"""What of the boundary may change where a cell is poor because of it: walls within a distance, faces in their planes.

An overhanging lip of electrolyte a few nanometres thick, or a fold that a repair has left, has a good triangle below
and a good one above, and nothing but flat cells between them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from fem_spall.mesh.mend_walls import apart, from_segment
from fem_spall.mesh.worst_cells import Cell, Change, Facet, Patch

__all__ = ["MovableWalls"]

type Floats = NDArray[np.float64]


class MovableWalls:
    """Leave for vertices of the boundary: those of walls go no further than a distance, rims stay in their planes.

    Parameters
    ----------
    planes : dict
        Axis of each tag of a plane face.
    distance : float
        How far a vertex of a wall may go, mesh units.
    corners : (c, 3) float
        Places of vertices that stay.
    """

    def __init__(self, planes: dict[int, int], distance: float, corners: Floats) -> None:
        self.planes, self.distance = planes, distance
        self.corners = {tuple(place) for place in corners.tolist()}
        self.held: set[int] = set()
        self.origin = np.empty((0, 3))

    def begin(self, patch: Patch, places: NDArray[np.int64], held: set[int]) -> None:
        """Get to know a patch."""
        self.origin = patch.points[: len(places)].copy()
        self.held = held | {v for v in range(len(places)) if tuple(self.origin[v].tolist()) in self.corners}

    def changes(self, patch: Patch, vertex: int, cell: Cell) -> Iterator[Change]:
        """Places for a vertex of the boundary, and neighbours to draw it into."""
        facets = sorted(patch.facets_of[vertex])
        if not facets or vertex in self.held:
            return
        tags = {patch.facets[number][1] for number in facets}
        faces = tags & self.planes.keys()
        if len(faces) > 1 or len(tags - faces) > 1:
            return  # on an edge of the block, the outline of a region, or where two cracks meet
        axes = {self.planes[tag] for tag in faces}
        star = sorted(patch.of[vertex])
        cells = [patch.cells[number] for number in star]

        def within(places: Floats) -> Floats:
            start = self.origin[vertex]
            way = places - start
            for axis in axes:
                way[:, axis] = 0.0
            if tags - self.planes.keys():
                far = np.linalg.norm(way, axis=1, keepdims=True) / self.distance
                way /= np.maximum(far, 1.0)
            return np.asarray(start + way)

        yield Change(star, cells, vertex, *patch.best_place(vertex, cells, patch.points[vertex], within))
        for other in cell:
            if other != vertex and self._may_join(patch, vertex, other, tags):
                change = self._drawn(patch, vertex, other, star, facets)
                if change is not None:
                    yield change

    def _may_join(self, patch: Patch, vertex: int, other: int, tags: set[int]) -> bool:
        """Whether an edge of the boundary may be drawn together without tearing a wall, a rim or the cells round it."""
        beside = patch.facets_of[vertex] & patch.facets_of[other]
        if len(beside) != 2:
            return False

        def around(v: int) -> set[int]:
            return {p for number in patch.facets_of[v] for p in patch.facets[number][0]}

        def near(v: int) -> set[int]:
            return {p for number in patch.of[v] for p in patch.cells[number]}

        if around(vertex) & around(other) != {p for number in beside for p in patch.facets[number][0]}:
            return False
        if near(vertex) & near(other) != {p for k in patch.of[vertex] & patch.of[other] for p in patch.cells[k]}:
            return False
        if len(tags) == 1:
            return True
        rim = [p for p in around(vertex) - {vertex} if self._between(patch, vertex, p)]
        if len(rim) != 2 or other not in rim:
            return False
        ends = patch.points[rim]
        return from_segment(patch.points[vertex], ends[0], ends[1]) <= self.distance

    def _between(self, patch: Patch, a: int, b: int) -> bool:
        return len({patch.facets[number][1] for number in patch.facets_of[a] & patch.facets_of[b]}) > 1

    def _drawn(self, patch: Patch, vertex: int, other: int, star: list[int], facets: list[int]) -> Change | None:
        """A vertex drawn into another along an edge of the boundary; None where walls would move too far."""
        cells = [patch.cells[number] for number in star]
        new = [tuple(other if p == vertex else p for p in c) for c in cells if other not in c]
        old_facets = [patch.facets[number] for number in facets]
        drawn: list[Facet] = [
            (tuple(other if p == vertex else p for p in corners), tag) for corners, tag in old_facets
            if other not in corners
        ]  # fmt: skip
        if not new or not drawn or (quality := patch.least(new)) <= 0:
            return None
        sides = Counter(
            tuple(sorted(side))
            for number in patch.of[other] - set(star)
            for side in combinations(patch.cells[number], 3)
        ) + Counter(tuple(sorted(side)) for c in new for side in combinations(c, 3))  # fmt: skip
        if max(sides.values()) > 2:
            return None
        one, two = (patch.points[np.array([c for c, tag in some if tag not in self.planes], dtype=int).reshape(-1, 3)]
                    for some in (old_facets, drawn))  # fmt: skip
        if len(one) and (len(two) == 0 or apart(one, two, self.distance) or apart(two, one, self.distance)):
            return None
        start = patch.points[other]
        before, after = (
            np.linalg.det(patch.points[np.array([c for c, _ in some])] - start).sum() for some in (old_facets, drawn)
        )
        change = _volume(patch, new) - _volume(patch, cells)
        if abs(change - (after - before) / 6) > 1e-9 * _volume(patch, cells):
            return None
        return Change(star, new, other, patch.points[other], quality, tuple(facets), tuple(drawn))


def _volume(patch: Patch, cells: list[Cell]) -> float:
    corners = patch.points[np.array(cells)]
    return float(np.linalg.det(corners[:, 1:] - corners[:, :1]).sum() / 6)
