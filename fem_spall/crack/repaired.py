"""A triangle surface on the way to a good one, with a true account of what was done to it."""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass, field
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from fem_spall.crack.base import Repair
from fem_spall.crack.triangles import areas, directed_edges, edge_numbers, in_order, unique_rows, volume, weld

__all__ = ["Measure", "RepairedSurface", "distance_from", "largest_move", "places"]

type Floats = NDArray[np.float64]
type Ints = NDArray[np.int64]
type Measure = Literal["volume", "area", "displacement"]


@dataclass
class RepairedSurface:
    """Vertices (n, 3) float, m, and faces (m, 3) int, with the repairs so far.

    ``guessed`` adds up what repairs changed that go beyond reading the file as it was meant: volume, m^3,
    and area, m^2, without sign, and the largest displacement, m.
    """

    where: str
    vertices: Floats
    faces: Ints
    repairs: list[Repair] = field(default_factory=list)
    guessed: dict[Measure, float] = field(default_factory=lambda: {"volume": 0.0, "area": 0.0, "displacement": 0.0})

    @property
    def diagonal(self) -> float:
        """Diagonal of the bounding box, m."""
        return float(np.linalg.norm(np.ptp(self.vertices, axis=0)))

    def measure(self, faces: Ints | None = None) -> tuple[float, float]:
        """Volume, m^3, and area, m^2, of all faces or of those given."""
        corners = self.vertices[self.faces if faces is None else faces]
        return (volume(corners), float(areas(corners).sum())) if len(corners) else (0.0, 0.0)

    def closed_volume(self) -> float:
        """Volume, m^3, with every rim closed by a cone from the mean of its corners.

        Unlike that of the faces alone it does not depend on a point of reference.
        """
        from scipy.sparse import coo_matrix
        from scipy.sparse.csgraph import connected_components

        index, uses, _ = edge_numbers(self.faces)
        rim = directed_edges(self.faces)[uses[index] == 1]
        if len(rim) == 0:
            return self.measure()[0]
        ends, numbers = np.unique(rim, return_inverse=True)
        number = numbers.reshape(-1, 2)
        graph = coo_matrix((np.ones(len(rim)), (number[:, 0], number[:, 1])), shape=(len(ends), len(ends)))
        label = connected_components(graph, directed=False)[1]
        points = self.vertices[ends]
        tips = np.array([np.bincount(label, points[:, axis]) for axis in range(3)]).T / np.bincount(label)[:, None]
        cones = np.stack([tips[label[number[:, 0]]], points[number[:, 1]], points[number[:, 0]]], axis=1)
        return volume(np.concatenate([self.vertices[self.faces], cones]))

    def change(
        self, kind: str, count: int, vertices: Floats, faces: Ints, *,
        moves: bool = False, guesses: Iterable[Measure] = (), displacement: float = 0.0, closed: bool = False,
        guessed_volume: float | None = None,
    ) -> None:  # fmt: skip
        """Take over new vertices and faces, and note what that did if it did anything.

        ``moves`` measures how far the new faces lie from the old surface (unless ``displacement`` is given);
        ``closed`` notes the change of :meth:`closed_volume`, for steps that open or close rims;
        ``guesses`` says what counts as guessed, ``guessed_volume`` how much volume, if not the change noted.
        """
        before, old = self._sizes(closed) if count else (0.0, 0.0), self.vertices[self.faces]
        self.vertices, self.faces = vertices, in_order(faces)
        if not count:
            return
        after = self._sizes(closed)
        if moves:
            displacement = largest_move(old, self.vertices[self.faces])
        self.repairs.append(Repair(kind, count, after[0] - before[0], after[1] - before[1], displacement))
        change = abs(after[0] - before[0]) if guessed_volume is None else guessed_volume
        amounts: dict[Measure, float] = {"volume": change, "area": abs(after[1] - before[1])}
        for measure in guesses:
            if measure == "displacement":
                self.guessed[measure] = max(self.guessed[measure], displacement)
            else:
                self.guessed[measure] += amounts[measure]

    def _sizes(self, closed: bool) -> tuple[float, float]:
        volume, area = self.measure()
        return (self.closed_volume() if closed else volume), area

    def trial(self) -> Self:
        """Return a copy to try something on."""
        other = copy(self)
        other.repairs, other.guessed = list(self.repairs), dict(self.guessed)
        return other

    def take(self, other: RepairedSurface) -> None:
        """Take over the state of a trial."""
        self.vertices, self.faces = other.vertices, other.faces
        self.repairs, self.guessed = other.repairs, other.guessed

    def tidy(self) -> int:
        """Put vertices in lexicographic order without those that no face uses; return how many those were."""
        used, faces = np.unique(self.faces, return_inverse=True)
        unused = len(self.vertices) - len(used)
        order = np.lexsort(self.vertices[used].T[::-1])
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.arange(len(order))
        self.vertices, self.faces = self.vertices[used][order], in_order(rank[faces.reshape(-1, 3)])
        return unused


def places(points: Floats) -> str:
    """Return up to three of the points, from the whole range, as text in um."""
    chosen = points[np.unique(np.linspace(0, len(points) - 1, min(3, len(points))).astype(int))]
    text = [f"({x:.4g}, {y:.4g}, {z:.4g})" for x, y, z in chosen * 1e6 + 0.0]
    return ", ".join(text) + " um"


def largest_move(before: Floats, after: Floats, both: bool = False) -> float:
    """Return how far the faces ``after`` lie from the surface ``before``, m, both (m, 3, 3) corners.

    Measured at corners, middles of sides and centroids of the faces that are new; with
    ``both`` also from the faces that have gone to the surface after.
    """
    _, index = weld(np.concatenate([before, after]).reshape(-1, 3))
    triples = np.sort(index.reshape(-1, 3), axis=1)
    _, face = unique_rows(triples)
    old, new = face[: len(before)], face[len(before) :]
    moved = _distance(after[~np.isin(new, old)], before)
    return max(moved, _distance(before[~np.isin(old, new)], after)) if both else moved


def _distance(some: Floats, surface: Floats) -> float:
    points = np.concatenate([*np.moveaxis(some, 1, 0), *np.moveaxis((some + np.roll(some, 1, axis=1)) / 2, 1, 0),
                             some.mean(axis=1)])  # fmt: skip
    return distance_from(np.unique(points, axis=0), surface)


def distance_from(points: Floats, surface: Floats) -> float:
    """Return the largest distance of points (n, 3) from triangles (m, 3, 3), m; 0 where there are none of either."""
    import igl

    if len(points) == 0 or len(surface) == 0:
        return 0.0
    size = float(np.ptp(surface.reshape(-1, 3), axis=0).max())
    vertices, index = weld(surface.reshape(-1, 3) / size)
    squares = igl.point_mesh_squared_distance(np.ascontiguousarray(points / size), vertices, index.reshape(-1, 3))[0]
    return float(np.sqrt(squares.max())) * size
