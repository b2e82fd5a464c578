"""Pieces of the block of closed form that have a conductivity of their own; the mesh can follow their surfaces."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from fem_spall.conductivity import positive
from fem_spall.model import Model
from fem_spall.quantity import Conductivity, Length, PositiveLength

__all__ = ["Ball", "Box", "Inclusion", "Layer", "Piece"]

type Point = tuple[Length, Length, Length]


class Piece(Model):
    """Keys that every piece has; what several have in common belongs to the first of them.

    ``occ`` below is ``gmsh.model.occ``; lengths given to it are metres divided by ``unit``.
    """

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,39}$")
    conductivity: Conductivity

    @field_validator("conductivity")
    @classmethod
    def _conducts(cls, value: float) -> float:
        return positive(value)

    def contains(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which points (n, 3), m, lie within, (n,) bool."""
        raise NotImplementedError

    def add_shape(self, occ: Any, size: tuple[float, float, float], unit: float) -> tuple[int, int]:
        """Add the solid to the CAD model and return its (dimension, tag)."""
        raise NotImplementedError


class Box(Piece):
    """A box with sides along the axes, from its lowest to its highest corner."""

    kind: Literal["box"]
    low: Point
    high: Point

    @model_validator(mode="after")
    def _has_volume(self) -> Box:
        if not all(a < b for a, b in zip(self.low, self.high, strict=True)):
            raise ValueError("high must lie beyond low along every axis. Swap the two where it does not")
        return self

    def contains(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which points (n, 3), m, lie within, (n,) bool."""
        return np.asarray(((points >= self.low) & (points <= self.high)).all(axis=1))

    def add_shape(self, occ: Any, size: tuple[float, float, float], unit: float) -> tuple[int, int]:
        """The box."""
        low, high = np.array(self.low) / unit, np.array(self.high) / unit
        return 3, occ.addBox(*low, *(high - low))


class Layer(Piece):
    """A layer across the whole block between two places on one axis."""

    kind: Literal["layer"]
    axis: Literal["x", "y", "z"] = "z"
    between: tuple[Length, Length]

    @model_validator(mode="after")
    def _has_thickness(self) -> Layer:
        if not self.between[0] < self.between[1]:
            raise ValueError("between must be two places, the lower one first. Write for instance '[0 um, 20 um]'")
        return self

    def contains(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which points (n, 3), m, lie within, (n,) bool."""
        at = points[:, "xyz".index(self.axis)]
        return np.asarray((at >= self.between[0]) & (at <= self.between[1]))

    def add_shape(self, occ: Any, size: tuple[float, float, float], unit: float) -> tuple[int, int]:
        """A box as wide as the block."""
        low, high = np.zeros(3), np.array(size)
        axis = "xyz".index(self.axis)
        low[axis], high[axis] = max(self.between[0], 0.0), min(self.between[1], size[axis])
        return 3, occ.addBox(*(low / unit), *((high - low) / unit))


class Ball(Piece):
    """A ball."""

    kind: Literal["ball"]
    centre: Point
    radius: PositiveLength

    def contains(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which points (n, 3), m, lie within, (n,) bool."""
        return np.asarray(((points - np.array(self.centre)) ** 2).sum(axis=1) <= self.radius**2)

    def add_shape(self, occ: Any, size: tuple[float, float, float], unit: float) -> tuple[int, int]:
        """The ball."""
        return 3, occ.addSphere(*(np.array(self.centre) / unit), self.radius / unit)


Inclusion = Annotated[Layer | Box | Ball, Field(discriminator="kind")]
