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

from fem_spall.mesh.mend_walls import apart
from fem_spall.mesh.stars import Simplex
from fem_spall.mesh.worst_cells import Change, Patch

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

    def changes(self, patch: Patch, vertex: int, cell: Simplex) -> Iterator[Change]:
        """Places for a vertex of the boundary, and neighbours to draw it into."""
        facets = sorted(patch.facets.of(vertex))
        if not facets or vertex in self.held:
            return
        tags = {patch.facets.tags[number] for number in facets}
        faces = tags & self.planes.keys()
        if len(faces) > 1 or len(tags - faces) > 1:
            return  # on an edge of the block, the outline of a region, or where two cracks meet
        axes = {self.planes[tag] for tag in faces}
        star = sorted(patch.cells.of(vertex))
        cells = [patch.cells.corners[number] for number in star]

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
            if other != vertex and self._may_join(patch, vertex, other):
                change = self._drawn(patch, vertex, other, star, facets)
                if change is not None:
                    yield change

    def _may_join(self, patch: Patch, vertex: int, other: int) -> bool:
        """Whether an edge of the boundary may be drawn together without tearing a wall, a rim or the cells round it."""
        return (
            len(patch.facets.at(vertex, other)) == 2
            and patch.facets.closes(vertex, other)
            and patch.cells.closes(vertex, other)
            and patch.facets.within(vertex, other, patch.points, self.distance)
        )

    def _drawn(self, patch: Patch, vertex: int, other: int, star: list[int], facets: list[int]) -> Change | None:
        """A vertex drawn into another along an edge of the boundary; None where walls would move too far."""
        new, _ = patch.cells.drawn(vertex, other)
        drawn, tags = patch.facets.drawn(vertex, other)
        if not new or not drawn or (quality := patch.least(new)) <= 0:
            return None
        sides = Counter(
            tuple(sorted(side))
            for number in patch.cells.of(other) - set(star)
            for side in combinations(patch.cells.corners[number], 3)
        ) + Counter(tuple(sorted(side)) for c in new for side in combinations(c, 3))  # fmt: skip
        if max(sides.values()) > 2:
            return None
        old = [patch.facets.corners[number] for number in facets]
        one, two = (
            patch.points[np.array([c for c, tag in zip(*some, strict=True) if tag not in self.planes], dtype=int)]
            for some in ((old, [patch.facets.tags[number] for number in facets]), (drawn, tags))
        )
        if len(one) and (len(two) == 0 or apart(one, two, self.distance) or apart(two, one, self.distance)):
            return None
        start, cells = patch.points[other], [patch.cells.corners[number] for number in star]
        before, after = (np.linalg.det(patch.points[np.array(some)] - start).sum() for some in (old, drawn))
        change = _volume(patch, new) - _volume(patch, cells)
        if abs(change - (after - before) / 6) > 1e-9 * _volume(patch, cells):
            return None
        return Change(
            star, new, other, patch.points[other], quality, facets, tuple(zip(drawn, tags, strict=True))
        )  # fmt: skip


def _volume(patch: Patch, cells: list[Simplex]) -> float:
    corners = patch.points[np.array(cells)]
    return float(np.linalg.det(corners[:, 1:] - corners[:, :1]).sum() / 6)
