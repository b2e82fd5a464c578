"""Points found by their place: few of them without SciPy, whose import takes a fifth of a second."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.spatial import cKDTree

__all__ = ["Places"]

#: Distances that are all computed rather than looked for, at most: those of about the time of the import.
FEW = 1 << 20

type Floats = NDArray[np.float64]
type Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Places:
    """Points (n, 3) float to be found."""

    points: Floats

    def nearest(self, places: Floats, reach: float = np.inf) -> tuple[Floats, Ints]:
        """Distance to the nearest point of each place (m, 3) and its number, (m,) each; infinity beyond the reach."""
        if self._many(places):
            found = self._tree.query(places, distance_upper_bound=reach)
            return np.asarray(found[0]), np.asarray(found[1], dtype=np.int64)
        square = self._squares(places)
        number = square.argmin(axis=1)
        distance = np.sqrt(np.take_along_axis(square, number[:, None], 1)[:, 0])
        return np.where(distance < reach, distance, np.inf), number

    def within(self, places: Floats, reach: float) -> tuple[Ints, Ints]:
        """Number of the place and of the point of each pair that is no further apart than the reach, by place."""
        if self._many(places):
            lists: Any = self._tree.query_ball_point(places, reach, return_sorted=True)
            count = np.array([len(some) for some in lists], dtype=np.int64)
            points = np.fromiter((n for some in lists for n in some), dtype=np.int64, count=int(count.sum()))
            return np.repeat(np.arange(len(places)), count), points
        place, point = np.nonzero(self._squares(places) <= reach**2)
        return place, point

    def _many(self, places: Floats) -> bool:
        return len(places) * len(self.points) > FEW or not len(self.points)

    def _squares(self, places: Floats) -> Floats:
        """Square of the distance of each place from each point, (m, n)."""
        result = np.zeros((len(places), len(self.points)))
        for ours, theirs in zip(self.points.T, places.T, strict=True):
            result += np.subtract.outer(theirs, ours) ** 2
        return result

    @cached_property
    def _tree(self) -> cKDTree:
        from scipy.spatial import cKDTree

        return cKDTree(self.points)
