"""A round wall that makes the block a cylindrical pellet."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from fem_spall.crack.base import AnalyticCrack, Block, Crack
from fem_spall.quantity import Length, PositiveLength

__all__ = ["RoundWall", "cross_section"]


class RoundWall(AnalyticCrack):
    """No electrolyte outside the cylinder of the given radius about a vertical axis: the block becomes a round pellet.

    An insulating wall (void), meshed with ``size_max``.  With ``centre`` on a corner of the block a
    quarter of the pellet remains.
    """

    focuses: ClassVar[bool] = False

    kind: Literal["round_wall"]
    contents: Literal["void"] = "void"
    centre: tuple[Length, Length]
    radius: PositiveLength

    def add_shape(self, occ: Any, block: Block, unit: float) -> list[tuple[int, int]]:
        """A box round the block with a hole as wide as the pellet."""
        x, y, a = (value / unit for value in (*self.centre, self.radius))
        size = np.array(block.size) / unit
        margin = 0.1 * float(size.max())
        box = (3, occ.addBox(-margin, -margin, -margin, *(size + 2 * margin)))
        pellet = (3, occ.addCylinder(x, y, -2 * margin, 0, 0, size[2] + 4 * margin, a))
        shape: list[tuple[int, int]] = occ.cut([box], [pellet])[0]
        return shape

    def extent(self, block: Block) -> NDArray[np.float64]:
        """Box of the block: the wall fills what is left of it."""
        return np.array([[0.0, 0.0, 0.0], block.size])

    def cross_section(self, block: Block) -> float:
        """Area of the pellet within the block, m².

        Strip by strip between the places where the circle meets the sides: ∫ √(R² − u²) du is elementary.
        """
        (x, y), (width, depth) = self.centre, block.size[:2]
        bends = [math.sqrt(max(self.radius**2 - v**2, 0.0)) for v in (y, depth - y)]
        low, high = max(-x, -self.radius), min(width - x, self.radius)
        marks = sorted({low, high, *(u for b in bends for u in (-b, b) if low < u < high)})
        area = 0.0
        for start, end in pairwise(marks):
            half = math.sqrt(max(self.radius**2 - ((start + end) / 2) ** 2, 0.0))
            segment = self._under_circle(end) - self._under_circle(start)
            above = segment if half < depth - y else (depth - y) * (end - start)
            below = segment if half < y else y * (end - start)
            area += max(above + below, 0.0)
        return area

    def _under_circle(self, u: float) -> float:
        """∫₀ᵘ √(R² − v²) dv, m²."""
        return (u * math.sqrt(max(self.radius**2 - u**2, 0.0)) + self.radius**2 * math.asin(u / self.radius)) / 2


def cross_section(block: Block, cracks: Iterable[Crack]) -> float:
    """Area of the electrolyte across the current, m²: that of the block, or of the pellet within it."""
    walls = [crack for crack in cracks if isinstance(crack, RoundWall)]
    return walls[0].cross_section(block) if walls else block.size[0] * block.size[1]
