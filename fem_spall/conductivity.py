"""Ionic conductivities that are the same everywhere, and their dependence on temperature."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import field_validator

from fem_spall.model import Model
from fem_spall.quantity import GAS, Conductivity, MolarEnergy, Temperature

__all__ = ["Activated", "Activation", "AnisotropicConductivity", "ScalarConductivity", "positive"]


def positive(value: float) -> float:
    """Return a conductivity that is above zero, S/m."""
    if value <= 0:
        raise ValueError("the conductivity must be above zero. Write for instance '1 mS/cm'")
    return value


class Activation(Model):
    """Temperature dependence σ(T) = σ(T₀) exp[−E/R (1/T − 1/T₀)] of a conductivity that is given at T₀."""

    energy: MolarEnergy
    given_at: Temperature = "303.15 K"  # type: ignore[assignment]
    temperature: Temperature

    @property
    def factor(self) -> float:
        """σ(T)/σ(T₀)."""
        return math.exp(-self.energy / GAS * (1 / self.temperature - 1 / self.given_at))


class Activated(Model):
    """Keys that every kind of conductivity has."""

    #: Whether it is the same in the whole block.
    uniform: ClassVar[bool] = True

    activation: Activation | None = None

    @property
    def factor(self) -> float:
        """What the temperature multiplies the given values by."""
        return 1.0 if self.activation is None else self.activation.factor


class ScalarConductivity(Activated):
    """One ionic conductivity everywhere and in every direction, σ = value."""

    kind: Literal["scalar"] = "scalar"
    value: Conductivity

    @field_validator("value")
    @classmethod
    def _positive(cls, value: float) -> float:
        return positive(value)

    def tensor(self) -> NDArray[np.float64]:
        """Conductivity tensor, (3, 3) float, S/m."""
        return self.factor * self.value * np.eye(3)


class AnisotropicConductivity(Activated):
    """A constant symmetric positive-definite tensor, rows along x, y, z."""

    kind: Literal["anisotropic"]
    rows: tuple[
        tuple[Conductivity, Conductivity, Conductivity],
        tuple[Conductivity, Conductivity, Conductivity],
        tuple[Conductivity, Conductivity, Conductivity],
    ]

    @field_validator("rows")
    @classmethod
    def _definite(cls, rows: tuple[tuple[float, ...], ...]) -> tuple[tuple[float, ...], ...]:
        matrix = np.array(rows)
        if not np.allclose(matrix, matrix.T, rtol=1e-12, atol=0):
            raise ValueError("the conductivity tensor must be symmetric. Make entry (i, j) equal to entry (j, i)")
        if np.linalg.eigvalsh(matrix).min() <= 0:
            raise ValueError("the conductivity tensor must be positive definite. Make its principal values positive")
        return rows

    def tensor(self) -> NDArray[np.float64]:
        """Conductivity tensor, (3, 3) float, S/m."""
        return self.factor * np.array(self.rows)
