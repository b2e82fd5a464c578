"""Units that the parameters of a closed form are annotated with, so that YAML text can be read by its signature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from fem_spall.quantity import Unit

__all__ = [
    "Angle",
    "AreaResistance",
    "Centre",
    "Conductivity",
    "CurrentDensity",
    "Field",
    "Fraction",
    "Length",
    "Points",
    "Potential",
    "Values",
]

_LENGTH = Unit("m", "4 um", "length")

# Plain assignments: the unit must be readable from the annotation itself.
Length = Annotated[float, _LENGTH]
Centre = Annotated[Sequence[float], _LENGTH]
Angle = Annotated[float, Unit("rad", "52 deg", "angle")]
Field = Annotated[float, Unit("V/m", "1 kV/m", "field strength")]
Potential = Annotated[float, Unit("V", "50 mV", "potential")]
Conductivity = Annotated[float, Unit("S/m", "1 mS/cm", "conductivity")]
CurrentDensity = Annotated[float, Unit("A/m^2", "0.5 mA/cm^2", "current density")]
AreaResistance = Annotated[float, Unit("ohm*m^2", "500 ohm cm^2", "area-specific resistance")]
Fraction = Annotated[float, Unit("dimensionless", "95 percent", "fraction")]

type Points = NDArray[np.float64]
type Values = NDArray[np.float64]
