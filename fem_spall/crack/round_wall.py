"""A round wall that makes the block a cylindrical pellet."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from fem_spall.crack.base import AnalyticCrack, Block
from fem_spall.quantity import Length, PositiveLength

__all__ = ["RoundWall"]


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
