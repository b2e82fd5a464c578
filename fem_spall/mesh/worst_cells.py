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

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import combinations
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fem_spall.mesh.arrays import MeshArrays
from fem_spall.mesh.checks import radius_ratio

__all__ = ["POOR", "Change", "Facet", "Patch", "Walls", "mend_worst_cells"]

type Floats = NDArray[np.float64]
type Ints = NDArray[np.int64]
type Cell = tuple[int, ...]
type Facet = tuple[Cell, int]  # corners and tag

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

    def changes(self, patch: Patch, vertex: int, cell: Cell) -> Iterator[Change]:
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
    facets = local[mesh.facets[inner]].tolist()
    kept = {_edge(a, b) for facet in facets for a, b in combinations(facet, 2)}
    cells = local[mesh.cells[near]]
    # An edge between two vertices of the rim may have cells beyond it.
    kept |= {_edge(a, b) for cell in cells.tolist() for a, b in combinations(cell, 2) if rim[places[[a, b]]].all()}
    patch = Patch(mesh.points[places], cells, set(local[fixed].tolist()), kept, walls)
    for facet, tag in zip(facets, mesh.tags[inner].tolist(), strict=True):
        patch.add_facet((tuple(facet), tag))
    if walls is not None:
        walls.begin(patch, places, set(local[rim].tolist()))
    patch.mend(np.flatnonzero(np.isin(near, bad)).tolist(), floor, poor)
    row = np.concatenate([places, len(mesh.points) + np.arange(patch.count - len(places))])
    points = np.concatenate([mesh.points, patch.points[len(places) : patch.count]])
    points[places] = patch.points[: len(places)]
    cells = np.concatenate([beyond, row[np.array(list(patch.cells.values()))]])
    facets, tags = mesh.facets, mesh.tags
    if walls is not None and inner.any():
        mended = list(patch.facets.values())
        facets = np.concatenate([facets[~inner], row[np.array([corners for corners, _ in mended])]])
        tags = np.concatenate([tags[~inner], np.array([tag for _, tag in mended], dtype=tags.dtype)])
    used = np.zeros(len(points), dtype=bool)
    used[cells] = True
    row = np.cumsum(used) - 1
    return replace(mesh, points=points[used], cells=row[cells], facets=row[facets], tags=tags)


def _mask(mesh: MeshArrays, vertices: Ints) -> NDArray[np.bool_]:
    """Which points of a mesh are among some."""
    found = np.zeros(len(mesh.points), dtype=bool)
    found[vertices] = True
    return found


def _edge(a: int, b: int) -> Cell:
    return (a, b) if a < b else (b, a)


class Change(NamedTuple):
    """Cells to take away and to put in their place, a vertex and where it goes, and the least quality then.

    Likewise facets to take away and to put in their place.
    """

    old: list[int]
    new: list[Cell]
    vertex: int
    place: Floats
    quality: float
    old_facets: tuple[int, ...] = ()
    new_facets: tuple[Facet, ...] = ()


class Patch:
    """Cells that may change, by number; ``fixed`` vertices stay where they are, ``kept`` edges stay whole."""

    def __init__(
        self, points: Floats, cells: Ints, fixed: set[int], kept: set[Cell], walls: Walls | None = None
    ) -> None:
        self.count, self.number = len(points), 0
        self.points = np.concatenate([points, np.zeros((CHANGES * MOST + 1, 3))])  # room for new vertices
        self.fixed, self.kept, self.walls = fixed, kept, walls
        self.cells: dict[int, Cell] = {}
        self.of: dict[int, set[int]] = defaultdict(set)
        self.facets: dict[int, Facet] = {}
        self.facet_number = 0
        self.facets_of: dict[int, set[int]] = defaultdict(set)
        for cell in cells.tolist():
            self._add(tuple(cell))

    def mend(self, bad: list[int], floor: float, poor: float) -> None:
        """Change what is below a quality, worst first, until nothing gets better or one stays below the floor."""
        waiting = {number: self.least([self.cells[number]]) for number in bad}
        for _ in range(CHANGES * len(bad)):
            best = None
            while waiting and best is None:
                worst = min(waiting, key=lambda number: (waiting[number], number))
                quality = waiting.pop(worst)
                best = self._best_change(worst)
                if best is None and quality < floor:
                    return
            if best is None:
                return
            for number in best.old:
                self._remove(number)
                waiting.pop(number, None)
            for number in best.old_facets:
                self._remove_facet(number)
            for facet in best.new_facets:
                self.add_facet(facet)
                self.kept |= {_edge(a, b) for a, b in combinations(facet[0], 2)}
            self.points[best.vertex] = best.place
            self.count = max(self.count, best.vertex + 1)
            for cell in best.new:
                if (quality := self.least([cell])) < poor:
                    waiting[self.number] = quality
                self._add(cell)

    def _best_change(self, worst: int) -> Change | None:
        """What lifts the least quality round a cell most, or None where nothing does."""
        best, most = None, GAIN
        for change in self._changes(self.cells[worst]):
            before = max(self.least([self.cells[number] for number in change.old]), 0.0)
            if change.quality > most * max(before, TINY):
                best, most = change, change.quality / max(before, TINY)
        return best

    def _changes(self, cell: Cell) -> Iterator[Change]:
        free = [vertex for vertex in cell if vertex not in self.fixed]
        for vertex in free:
            star = sorted(self.of[vertex])
            cells = [self.cells[number] for number in star]
            yield Change(star, cells, vertex, *self.best_place(vertex, cells, self.points[vertex]))
            for other in cell:
                left = [c for c in cells if other not in c]
                if other != vertex and left:
                    drawn = [tuple(other if k == vertex else k for k in c) for c in left]
                    yield Change(star, drawn, other, self.points[other], self.least(drawn))
        if self.walls is not None:
            for vertex in cell:
                yield from self.walls.changes(self, vertex, cell)
        for a, b in combinations(cell, 2):
            if _edge(a, b) in self.kept:
                continue
            ring = sorted(self.of[a] & self.of[b])
            split = [tuple(self.count if k == end else k for k in self.cells[n]) for n in ring for end in (a, b)]
            middle = (self.points[a] + self.points[b]) / 2
            yield Change(ring, split, self.count, *self.best_place(self.count, split, middle))

    def best_place(
        self, vertex: int, cells: list[Cell], start: Floats, within: Callable[[Floats], Floats] | None = None
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

    def least(self, cells: list[Cell]) -> float:
        """Least quality of some cells."""
        return float(radius_ratio(self.points, np.array(cells)).min())

    def _add(self, cell: Cell) -> None:
        self.cells[self.number] = cell
        for vertex in cell:
            self.of[vertex].add(self.number)
        self.number += 1

    def _remove(self, number: int) -> None:
        for vertex in self.cells.pop(number):
            self.of[vertex].discard(number)

    def add_facet(self, facet: Facet) -> None:
        """Add one facet of the boundary."""
        number, self.facet_number = self.facet_number, self.facet_number + 1
        self.facets[number] = facet
        for vertex in facet[0]:
            self.facets_of[vertex].add(number)

    def _remove_facet(self, number: int) -> None:
        for vertex in self.facets.pop(number)[0]:
            self.facets_of[vertex].discard(number)
