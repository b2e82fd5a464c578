"""Mend the worst cells of a mesh, its boundary untouched to the last bit unless the walls are given leave to move.

What mesh generators leave below a tenth of the best quality are a few cells in a hundred thousand: slivers on the
surface, which have all four corners on it and no vertex to move, and cells whose apex stands badly.  Three changes are
tried on each, and the one that lifts the worst of the cells it touches most is made:

- a free vertex goes where the worst cell round it is best;
- an edge within the electrolyte is split, and its new vertex goes to such a place;
- a free vertex is drawn into a neighbour, which takes its cells away.

Where that does not help, vertices of the walls may move and be drawn into neighbours likewise (``worst_walls``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from heapq import heapify, heappop, heappush
from itertools import combinations
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fem_spall.mesh.arrays import MeshArrays
from fem_spall.mesh.checks import radius_ratio
from fem_spall.mesh.stars import Simplex, Stars, renamed

__all__ = ["POOR", "Change", "Patch", "Walls", "mend_worst_cells"]

type Floats = NDArray[np.float64]
type Ints = NDArray[np.int64]

#: Radius ratio below which a cell is mended, the gain that is worth a change, and what counts as no quality.
POOR, GAIN, TINY = 0.1, 1.02, 1e-6
#: Most cells that are begun with, and most changes for each: with more, the surface is at fault and not the cells.
MOST, CHANGES = 200, 4
#: Rings of neighbours that may change with a cell.
RINGS = 2
#: Steps of the search for a better place, in mean distances to the neighbours, and tries with each.
STEPS, TRIES = (0.4, 0.2, 0.1, 0.05, 0.02), 4
_WAYS = np.array([[x, y, z] for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1)], dtype=float)
WAYS = _WAYS / np.maximum(np.linalg.norm(_WAYS, axis=1, keepdims=True), 1)


class Walls(Protocol):
    """What of the boundary may change."""

    def begin(self, patch: Patch, places: Ints, held: set[int]) -> None:
        """Get to know a patch, whose vertices have these numbers in the mesh; ``held`` ones have cells beyond it."""

    def changes(self, patch: Patch, vertex: int, cell: Simplex) -> Iterator[Change]:
        """Changes that move a vertex of the boundary."""


def mend_worst_cells(mesh: MeshArrays, floor: float, poor: float = POOR, walls: Walls | None = None) -> MeshArrays:
    """Return the mesh with its cells below a quality mended as far as that goes.

    Facets and their vertices stay, unless ``walls`` says what of them may change.  It gives up on a mesh with a cell
    that stays below ``floor``.
    """
    quality = radius_ratio(mesh.points, mesh.cells)
    bad = np.flatnonzero(quality < poor)
    if len(bad) == 0:
        return mesh
    bad = bad[np.argsort(quality[bad], kind="stable")][:MOST]
    near = bad
    for _ in range(RINGS):
        near = np.flatnonzero(_mask(mesh, mesh.cells[near])[mesh.cells].any(axis=1))
    own = _mask(mesh, mesh.cells[near])
    places, local = np.flatnonzero(own), np.cumsum(own) - 1
    beyond = np.delete(mesh.cells, near, axis=0)
    rim = own & _mask(mesh, beyond)
    fixed = own & (rim | _mask(mesh, mesh.facets))
    inner = own[mesh.facets].all(axis=1)
    facets = local[mesh.facets[inner]]
    kept = {_edge(a, b) for facet in facets.tolist() for a, b in combinations(facet, 2)}
    cells = local[mesh.cells[near]]
    # An edge between two vertices of the rim may have cells beyond it.
    kept |= {_edge(a, b) for cell in cells.tolist() for a, b in combinations(cell, 2) if rim[places[[a, b]]].all()}
    boundary = Stars(facets, mesh.tags[inner])
    patch = Patch(mesh.points[places], Stars(cells), boundary, set(local[fixed].tolist()), kept, walls)
    if walls is not None:
        walls.begin(patch, places, set(local[rim].tolist()))
    patch.mend(np.flatnonzero(np.isin(near, bad)).tolist(), floor, poor)
    row = np.concatenate([places, len(mesh.points) + np.arange(patch.count - len(places))])
    points = np.concatenate([mesh.points, patch.points[len(places) : patch.count]])
    points[places] = patch.points[: len(places)]
    cells = np.concatenate([beyond, row[np.array([patch.cells.corners[number] for number in patch.cells.left()])]])
    facets, tags = mesh.facets, mesh.tags
    if walls is not None and inner.any():
        left = list(boundary.left())
        facets = np.concatenate([facets[~inner], row[np.array([boundary.corners[number] for number in left])]])
        tags = np.concatenate([tags[~inner], np.array([boundary.tags[number] for number in left], dtype=tags.dtype)])
    used = np.zeros(len(points), dtype=bool)
    used[cells] = True
    row = np.cumsum(used) - 1
    return replace(mesh, points=points[used], cells=row[cells], facets=row[facets], tags=tags)


def _mask(mesh: MeshArrays, vertices: Ints) -> NDArray[np.bool_]:
    """Which points of a mesh are among some."""
    found = np.zeros(len(mesh.points), dtype=bool)
    found[vertices] = True
    return found


def _edge(a: int, b: int) -> Simplex:
    return (a, b) if a < b else (b, a)


class Change(NamedTuple):
    """Cells to take away and to put in their place, a vertex and where it goes, and the least quality then.

    Likewise facets to take away and to put in their place, those with their tags.
    """

    old: list[int]
    new: list[Simplex]
    vertex: int
    place: Floats
    quality: float
    old_facets: Sequence[int] = ()
    new_facets: Sequence[tuple[Simplex, int]] = ()


class Patch:
    """Cells that may change, and facets; ``fixed`` vertices stay where they are, ``kept`` edges stay whole."""

    def __init__(
        self, points: Floats, cells: Stars, facets: Stars, fixed: set[int], kept: set[Simplex], walls: Walls | None
    ) -> None:
        self.count = len(points)
        self.points = np.concatenate([points, np.zeros((CHANGES * MOST + 1, 3))])  # room for new vertices
        self.cells, self.facets = cells, facets
        self.fixed, self.kept, self.walls = fixed, kept, walls

    def mend(self, bad: list[int], floor: float, poor: float) -> None:
        """Change what is below a quality, worst first, until nothing gets better or one stays below the floor."""
        waiting = [(self.least([self.cells.corners[number]]), number) for number in bad]
        heapify(waiting)
        changes = 0
        while waiting and changes < CHANGES * len(bad):
            quality, worst = heappop(waiting)
            if worst not in self.cells:
                continue
            best = self._best_change(worst)
            if best is None:
                if quality < floor:
                    return
                continue
            changes += 1
            self._make(best)
            for number in range(len(self.cells.corners) - len(best.new), len(self.cells.corners)):
                if (quality := self.least([self.cells.corners[number]])) < poor:
                    heappush(waiting, (quality, number))

    def _make(self, change: Change) -> None:
        for number in change.old:
            self.cells.remove(number)
        for number in change.old_facets:
            self.facets.remove(number)
        for facet, tag in change.new_facets:
            self.facets.add(facet, tag)
            self.kept |= {_edge(a, b) for a, b in combinations(facet, 2)}
        self.points[change.vertex] = change.place
        self.count = max(self.count, change.vertex + 1)
        for cell in change.new:
            self.cells.add(cell)

    def _best_change(self, worst: int) -> Change | None:
        """What lifts the least quality round a cell most, or None where nothing does."""
        best, most = None, GAIN
        for change in self._changes(self.cells.corners[worst]):
            before = max(self.least([self.cells.corners[number] for number in change.old]), 0.0)
            if change.quality > most * max(before, TINY):
                best, most = change, change.quality / max(before, TINY)
        return best

    def _changes(self, cell: Simplex) -> Iterator[Change]:
        free = [vertex for vertex in cell if vertex not in self.fixed]
        for vertex in free:
            star = sorted(self.cells.of(vertex))
            cells = [self.cells.corners[number] for number in star]
            yield Change(star, cells, vertex, *self.best_place(vertex, cells, self.points[vertex]))
            for other in cell:
                drawn, _ = self.cells.drawn(vertex, other) if other != vertex else ([], [])
                if drawn:
                    yield Change(star, drawn, other, self.points[other], self.least(drawn))
        if self.walls is not None:
            for vertex in cell:
                yield from self.walls.changes(self, vertex, cell)
        for a, b in combinations(cell, 2):
            if _edge(a, b) in self.kept:
                continue
            ring = self.cells.at(a, b)
            split = [renamed(self.cells.corners[number], end, self.count) for number in ring for end in (a, b)]
            middle = (self.points[a] + self.points[b]) / 2
            yield Change(ring, split, self.count, *self.best_place(self.count, split, middle))

    def best_place(
        self, vertex: int, cells: list[Simplex], start: Floats, within: Callable[[Floats], Floats] | None = None
    ) -> tuple[Floats, float]:
        """Where a vertex makes the worst of the cells round it best, and how good that is.

        ``within`` puts places (n, 3) to where the vertex may go.
        """
        index = np.array(cells)
        corners, own = self.points[index], index == vertex
        around = corners[~own]
        reach = float(np.linalg.norm(around - start, axis=1).mean())
        place, best = start, -1.0
        for step in STEPS:
            for _ in range(TRIES):
                tried = place + step * reach * WAYS
                tried = tried if within is None else within(tried)
                several = np.repeat(corners[None], len(tried), axis=0)
                several[:, own] = tried[:, None]
                least = radius_ratio(several.reshape(-1, 3), np.arange(several.size // 3).reshape(-1, 4))
                least = least.reshape(len(tried), -1).min(axis=1)
                if least.max() <= best:
                    break
                place, best = tried[int(least.argmax())], float(least.max())
        return place, best

    def least(self, cells: list[Simplex]) -> float:
        """Least quality of some cells."""
        return float(radius_ratio(self.points, np.array(cells)).min())
