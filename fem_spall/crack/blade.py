"""A blade: a straight crack as long as the block, the two-dimensional crack."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fem_spall.crack.base import AnalyticCrack, Block
from fem_spall.quantity import Length, NonNegativeLength, PositiveLength

__all__ = ["Blade"]


class Blade(AnalyticCrack):
    """A slit of depth h along the whole of ``along``, at ``position`` on the other lateral axis.

    With opening w its cross-section is half an ellipse with semi-axes w/2 and h,
    tip radius ρ = (w/2)²/h (w = 2h is a half-cylinder ridge); ``opening: 0 um`` is the
    zero-thickness crack.
    """

    kind: Literal["blade"]
    position: Length
    depth: PositiveLength
    opening: NonNegativeLength = "0 um"  # type: ignore[assignment]
    along: Literal["x", "y"] = "y"

    @property
    def tip_radius(self) -> float:
        """Radius of curvature of the tip, m."""
        return (self.opening / 2) ** 2 / self.depth

    def add_shape(self, occ: Any, block: Block, unit: float) -> list[tuple[int, int]]:
        """A rectangle, or a cylinder squeezed across the opening."""
        z = block.from_depth(np.zeros((1, 3)))[0, 2] / unit
        p, h = self.position / unit, self.depth / unit
        # Built along y and longer than the block by its depth at both ends; the block cuts it.
        length = block.size[1 if self.along == "y" else 0] / unit
        if self.opening == 0:
            shape = [(2, occ.addRectangle(-h, -length / 2 - h, 0, 2 * h, length + 2 * h))]
            occ.rotate(shape, 0, 0, 0, 0, 1, 0, np.pi / 2)
        else:
            shape = [(3, occ.addCylinder(0, -length / 2 - h, 0, 0, length + 2 * h, 0, h))]
            occ.dilate(shape, 0, 0, 0, self.opening / (2 * self.depth), 1, 1)
        if self.along == "x":
            occ.rotate(shape, 0, 0, 0, 0, 0, 1, np.pi / 2)
            occ.translate(shape, length / 2, p, z)
        else:
            occ.translate(shape, p, length / 2, z)
        return shape

    def extent(self, block: Block) -> NDArray[np.float64]:
        """Box of the slit and of its mirror image above the plating face."""
        z = block.from_depth(np.zeros((1, 3)))[0, 2]
        across = [self.position - self.opening / 2, self.position + self.opening / 2]
        run = [0.0, block.size[1 if self.along == "y" else 0]]
        x, y = (across, run) if self.along == "y" else (run, across)
        return np.array([[x[0], y[0], z - self.depth], [x[1], y[1], z + self.depth]])
