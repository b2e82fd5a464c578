"""A round pore, inside the electrolyte or cut by a face."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fem_spall.crack.base import AnalyticCrack, Block
from fem_spall.quantity import Length, PositiveLength

__all__ = ["Pore"]


class Pore(AnalyticCrack):
    """A ball of the given radius, its centre in block coordinates."""

    kind: Literal["pore"]
    centre: tuple[Length, Length, Length]
    radius: PositiveLength

    @property
    def tip_radius(self) -> float:
        """Radius of curvature, m."""
        return self.radius

    def add_shape(self, occ: Any, block: Block, unit: float) -> list[tuple[int, int]]:
        """A sphere."""
        x, y, z = (value / unit for value in self.centre)
        return [(3, occ.addSphere(x, y, z, self.radius / unit))]

    def extent(self, block: Block) -> NDArray[np.float64]:
        """Box of the ball."""
        centre = np.array(self.centre)
        return np.array([centre - self.radius, centre + self.radius])
