"""The block of solid electrolyte: its size and its ionic conductivity."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, field_validator, model_validator

from fem_spall.model import Model
from fem_spall.quantity import Conductivity, PositiveLength

__all__ = ["AnisotropicConductivity", "Electrolyte", "ScalarConductivity"]


class ScalarConductivity(Model):
    """One ionic conductivity everywhere and in every direction, σ = value."""

    kind: Literal["scalar"] = "scalar"
    value: Conductivity

    @field_validator("value")
    @classmethod
    def _positive(cls, value: float) -> float:
        if value <= 0:
            raise ValueError("the conductivity must be above zero. Write for instance '1 mS/cm'")
        return value

    def tensor(self) -> NDArray[np.float64]:
        """Conductivity tensor, (3, 3) float, S/m."""
        return self.value * np.eye(3)


class AnisotropicConductivity(Model):
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
        return np.array(self.rows)


#: Leaking pores are solved field by field in turn, which needs electrons to be this much slower than ions.
SLOWER = 0.1


def _scalar_shorthand(value: object) -> object:
    return {"kind": "scalar", "value": value} if not isinstance(value, (dict, Model)) else value


class Electrolyte(Model):
    """The block [0, x] x [0, y] x [0, z] and what it is made of."""

    size: tuple[PositiveLength, PositiveLength, PositiveLength]
    electronic_conductivity: Conductivity | None = None  # for leaking pores
    conductivity: Annotated[
        ScalarConductivity | AnisotropicConductivity,
        Field(discriminator="kind"),
        BeforeValidator(_scalar_shorthand, json_schema_input_type=str | ScalarConductivity | AnisotropicConductivity),
    ]

    @model_validator(mode="after")
    def _mostly_ionic(self) -> Electrolyte:
        electronic = self.electronic_conductivity
        least = float(np.linalg.eigvalsh(self.conductivity.tensor()).min())
        if electronic is not None and not 0 < electronic <= SLOWER * least:
            raise ValueError(
                f"electronic_conductivity must be above zero and at most {SLOWER:g} of the ionic one. "
                "Write for instance '1e-8 S/cm'"
            )
        return self
