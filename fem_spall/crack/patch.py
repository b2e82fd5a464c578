"""A patch: a round piece of the plating face with a law of its own."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fem_spall.crack.base import AnalyticCrack, Block
from fem_spall.quantity import Length, PositiveLength

__all__ = ["Patch"]


class Patch(AnalyticCrack):
    """A disc of radius a of the plating face: lithium with its own interface, or insulating dirt (void).

    Where the plating electrode itself has ``interface: {kind: no_flux}``, the patch is the only contact.
    """

    kind: Literal["patch"]
    centre: tuple[Length, Length]
    radius: PositiveLength

    def add_shape(self, occ: Any, block: Block, unit: float) -> list[tuple[int, int]]:
        """A disc in the plane of the plating face."""
        z = block.from_depth(np.zeros((1, 3)))[0, 2]
        x, y, z, a = (value / unit for value in (*self.centre, z, self.radius))
        return [(2, occ.addDisk(x, y, z, a, a))]

    def extent(self, block: Block) -> NDArray[np.float64]:
        """Flat box of the whole disc, what is outside the block included."""
        half = np.array([self.radius, self.radius, 0.0])
        centre = block.from_depth(np.array([[*self.centre, 0.0]]))[0]
        return np.array([centre - half, centre + half])
