"""A spallation pothole grown on Voronoi grains."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fem_spall.crack.base import Block, CrackSurface, TriangulatedCrack
from fem_spall.quantity import Angle, Length, PositiveLength

__all__ = ["Spall"]


class Spall(TriangulatedCrack):
    """An intergranular, bowl-shaped crack sheet under a ring at the surface, running through faceted pores."""

    kind: Literal["spall"]
    centre: tuple[Length, Length]
    diameter: PositiveLength = "12 um"  # type: ignore[assignment]
    depth: PositiveLength = "8 um"  # type: ignore[assignment]
    opening: tuple[PositiveLength, PositiveLength] = ("0.5 um", "0.25 um")  # type: ignore[assignment]
    lip_angle: Angle = "60 deg"  # type: ignore[assignment]
    grain_size: PositiveLength = "2.2 um"  # type: ignore[assignment]
    pores: int = Field(default=5, ge=0, le=200)
    pore_size: PositiveLength = "1.2 um"  # type: ignore[assignment]
    resolution: PositiveLength = "0.1 um"  # type: ignore[assignment]
    seed: int = Field(default=1, ge=0)

    def surface(self, block: Block) -> CrackSurface:
        """Level set of grain faces and pores, contoured."""
        raise NotImplementedError
