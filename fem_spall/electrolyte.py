"""The block of solid electrolyte: its size and its ionic conductivity."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from fem_spall.conductivity import AnisotropicConductivity, ScalarConductivity
from fem_spall.microstructure import Grains, LabelImage, Parts
from fem_spall.model import Model
from fem_spall.quantity import Conductivity, PositiveLength

__all__ = ["Electrolyte"]

#: Leaking pores are solved field by field in turn, which needs electrons to be this much slower than ions.
SLOWER = 0.1


def _scalar_shorthand(value: object) -> object:
    return {"kind": "scalar", "value": value} if not isinstance(value, (dict, Model)) else value


Kinds = ScalarConductivity | AnisotropicConductivity | Parts | Grains | LabelImage


class Electrolyte(Model):
    """The block [0, x] x [0, y] x [0, z] and what it is made of."""

    size: tuple[PositiveLength, PositiveLength, PositiveLength]
    electronic_conductivity: Conductivity | None = None  # for leaking pores
    conductivity: Annotated[
        Kinds, Field(discriminator="kind"), BeforeValidator(_scalar_shorthand, json_schema_input_type=str | Kinds)
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
