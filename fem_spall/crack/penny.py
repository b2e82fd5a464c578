"""A half-penny crack that stands on the plating electrode."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from fem_spall.crack.base import AnalyticCrack, Block
from fem_spall.quantity import Angle, Length, NonNegativeLength, PositiveLength

__all__ = ["Penny"]


class Penny(AnalyticCrack):
    """Half a disc of radius a perpendicular to the plating face, elliptical across its opening.

    With opening w the body is the ellipsoid with semi-axes (a, w/2, a), tip radius
    ρ = (w/2)²/a; ``opening: 0 um`` is the zero-thickness crack of fracture mechanics.
    ``azimuth`` 0 puts the disc along x.
    """

    kind: Literal["penny"]
    centre: tuple[Length, Length]
    radius: PositiveLength
    opening: NonNegativeLength = "0 um"  # type: ignore[assignment]
    azimuth: Angle = "0 deg"  # type: ignore[assignment]

    @model_validator(mode="after")
    def _thin(self) -> Penny:
        if self.opening >= 2 * self.radius:
            raise ValueError("a penny's opening must be below its diameter. Use kind: spheroid for a blunt boss")
        return self

    @property
    def tip_radius(self) -> float:
        """Radius of curvature of the rim across the opening, m."""
        return (self.opening / 2) ** 2 / self.radius

    def add_shape(self, occ: Any, block: Block, unit: float) -> list[tuple[int, int]]:
        """A disc, or a sphere squeezed across the opening."""
        z = block.from_depth(np.zeros((1, 3)))[0, 2]
        x, y, z, a = (value / unit for value in (*self.centre, z, self.radius))
        if self.opening == 0:
            shape = [(2, occ.addDisk(x, y, z, a, a, zAxis=[0, 1, 0], xAxis=[1, 0, 0]))]
        else:
            shape = [(3, occ.addSphere(x, y, z, a))]
            # The poles of the parametrisation go to the flat sides; on the rim they would make gmsh fail.
            occ.rotate(shape, x, y, z, 1, 0, 0, math.pi / 2)
            occ.dilate(shape, x, y, z, 1, self.opening / (2 * self.radius), 1)
        occ.rotate(shape, x, y, z, 0, 0, 1, self.azimuth)
        return shape

    def extent(self, block: Block) -> NDArray[np.float64]:
        """Box of the whole penny, its half outside the block included."""
        a, b = self.radius, self.opening / 2
        c, s = abs(math.cos(self.azimuth)), abs(math.sin(self.azimuth))
        half = np.array([math.hypot(a * c, b * s), math.hypot(a * s, b * c), a])
        centre = block.from_depth(np.array([[*self.centre, 0.0]]))[0]
        return np.array([centre - half, centre + half])
