"""A boss: half a spheroid that stands on the plating electrode."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fem_spall.crack.base import AnalyticCrack, Block
from fem_spall.quantity import Length, PositiveLength

__all__ = ["Spheroid"]


class Spheroid(AnalyticCrack):
    """Half a spheroid of depth h and radius b below the plating face, blunt (h < b) to needle (h > b)."""

    kind: Literal["spheroid"]
    centre: tuple[Length, Length]
    depth: PositiveLength
    radius: PositiveLength

    @property
    def tip_radius(self) -> float:
        """Radius of curvature at the tip, b²/h, m."""
        return self.radius**2 / self.depth

    def add_shape(self, occ: Any, block: Block, unit: float) -> list[tuple[int, int]]:
        """A sphere, stretched to the semi-axes (b, b, h) where they differ: a spline, which gmsh is slow to cut."""
        z = block.from_depth(np.zeros((1, 3)))[0, 2]
        x, y, z, b = (value / unit for value in (*self.centre, z, self.radius))
        shape = [(3, occ.addSphere(x, y, z, b))]
        if self.depth != self.radius:
            occ.dilate(shape, x, y, z, 1, 1, self.depth / self.radius)
        return shape

    def extent(self, block: Block) -> NDArray[np.float64]:
        """Box of the whole spheroid, its half outside the block included."""
        half = np.array([self.radius, self.radius, self.depth])
        centre = block.from_depth(np.array([[*self.centre, 0.0]]))[0]
        return np.array([centre - half, centre + half])
