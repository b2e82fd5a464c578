"""Triangles or cells that change one by one, and which of them meet at a vertex."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["Simplex", "Stars", "renamed"]

type Simplex = tuple[int, ...]
type Point = Sequence[float] | NDArray[np.float64]


class Stars:
    """Simplices (m, k) int by number, each with a tag; those of a vertex are looked up when they are asked for first.

    A number is never given again.
    """

    def __init__(self, simplices: NDArray[np.int64], tags: NDArray[np.int32] | None = None) -> None:
        self.corners: list[Simplex] = list(map(tuple, simplices.tolist()))
        self.tags: list[int] = [0] * len(simplices) if tags is None else tags.tolist()
        self._gone: set[int] = set()
        self._of: dict[int, set[int]] = {}
        self._rows = np.argsort(simplices, axis=None, kind="stable") // max(simplices.shape[1], 1)
        self._begin = np.concatenate([[0], np.cumsum(np.bincount(simplices.ravel()))])

    def __contains__(self, number: int) -> bool:
        return number not in self._gone

    def left(self) -> Iterator[int]:
        """Numbers of all simplices that are there, ascending."""
        return (number for number in range(len(self.corners)) if number not in self._gone)

    def add(self, simplex: Simplex, tag: int = 0) -> int:
        """Add a simplex; its number."""
        number = len(self.corners)
        self.corners.append(simplex)
        self.tags.append(tag)
        for vertex in simplex:
            self.of(vertex).add(number)
        return number

    def remove(self, number: int) -> None:
        """Take a simplex away."""
        for vertex in self.corners[number]:
            self.of(vertex).discard(number)
        self._gone.add(number)

    def of(self, vertex: int) -> set[int]:
        """Numbers of the simplices at a vertex."""
        if vertex not in self._of:
            known = vertex + 1 < len(self._begin)
            rows = self._rows[self._begin[vertex] : self._begin[vertex + 1]].tolist() if known else []
            self._of[vertex] = set(rows)
        return self._of[vertex]

    def at(self, a: int, b: int) -> list[int]:
        """Numbers of the simplices at an edge, ascending."""
        return sorted(self.of(a) & self.of(b))

    def around(self, vertex: int) -> set[int]:
        """The neighbours of a vertex."""
        return {p for number in self.of(vertex) for p in self.corners[number]} - {vertex}

    def closes(self, a: int, b: int) -> bool:
        """Whether an edge can be drawn together without tearing: its ends share no neighbours but those at it."""
        shared = {p for number in self.of(a) & self.of(b) for p in self.corners[number]}
        return self.around(a) & self.around(b) == shared - {a, b}

    def within(self, vertex: int, other: int, points: Sequence[Point] | NDArray[np.float64], distance: float) -> bool:
        """Whether a vertex can be drawn into another inside of one surface, or along a rim straight to a distance."""
        if len({self.tags[number] for number in self.of(vertex)}) == 1:
            return True
        rim = [p for p in self.around(vertex) if len({self.tags[n] for n in self.of(vertex) & self.of(p)}) > 1]
        if len(rim) != 2 or other not in rim:
            return False
        return _from_segment(points[vertex], points[rim[0]], points[rim[1]]) <= distance

    def drawn(self, vertex: int, other: int) -> tuple[list[Simplex], list[int]]:
        """What the simplices of a vertex become if it is drawn into another, and their tags."""
        left = [number for number in sorted(self.of(vertex)) if other not in self.corners[number]]
        return [renamed(self.corners[number], vertex, other) for number in left], [self.tags[n] for n in left]


def renamed(simplex: Simplex, vertex: int, instead: int) -> Simplex:
    """A simplex with another vertex in the place of one."""
    return tuple([instead if p == vertex else p for p in simplex])


def _from_segment(point: Point, start: Point, end: Point) -> float:
    """Distance of a point from a segment."""
    point, start, along = np.asarray(point), np.asarray(start), np.asarray(end) - np.asarray(start)
    place = np.clip((point - start) @ along / max(float(along @ along), np.finfo(float).tiny), 0, 1)
    return float(np.linalg.norm(point - start - place * along))
