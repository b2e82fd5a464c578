"""Unit text to SI floats and back: ``"20 um"`` is 2e-05 m.

Every dimensional key of a case is text with a unit; inside the program every
number is an SI float.  A bare number for a dimensional key is an error that
offers the unit.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

if TYPE_CHECKING:
    import pint

__all__ = [
    "Angle",
    "AreaResistance",
    "Conductivity",
    "CurrentDensity",
    "FieldStrength",
    "Length",
    "Memory",
    "NonNegativeLength",
    "PositiveLength",
    "Potential",
    "Time",
    "Unit",
    "to_si",
    "to_text",
]


@dataclass(frozen=True)
class Unit:
    """The SI unit of a key, with an example to offer when the text is wrong."""

    si: str
    example: str
    word: str


@functools.cache
def _registry() -> pint.UnitRegistry[float]:
    import pint

    return pint.UnitRegistry(cache_folder=None)


def to_si(text: object, unit: Unit) -> float:
    """Return the SI value of a quantity given as text.

    Parameters
    ----------
    text : str
        Number and unit, such as ``"500 ohm cm^2"``.
    unit : Unit
        The unit the value is converted to.

    Raises
    ------
    ValueError
        If the text has no unit, a unit of another dimension, or no finite number.
    """
    if isinstance(text, bool) or not isinstance(text, str):
        shown = f"{text} {unit.si}" if isinstance(text, (int, float)) and not isinstance(text, bool) else unit.example
        raise ValueError(f"a {unit.word} needs a unit; got {text!r}. Write for instance '{shown}' or '{unit.example}'")
    import tokenize

    import pint

    try:
        value = _registry().Quantity(text).to(unit.si).magnitude
    except pint.DimensionalityError:
        raise ValueError(f"a {unit.word} is needed; got {text!r}. Write for instance '{unit.example}'") from None
    except (pint.PintError, ValueError, TypeError, AttributeError, AssertionError, SyntaxError, ArithmeticError,
            tokenize.TokenError):  # fmt: skip
        raise ValueError(
            f"{text!r} is not a number with a unit of {unit.word}. Write for instance '{unit.example}'"
        ) from None
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"a finite {unit.word} is needed; got {text!r}. Write for instance '{unit.example}'")
    # Fifteen digits hide the last-bit noise of unit conversion (20 um is 2e-05 m, not 1.9999999999999998e-05 m).
    return float(f"{value:.15g}")


def to_text(value: float, unit: Unit) -> str:
    """Return text that :func:`to_si` turns back into the very same float."""
    return f"{value!r} {unit.si}"


def _annotated(unit: Unit, check: Any = None) -> Any:
    def read(text: object) -> float:
        value = to_si(text, unit)
        if check is not None:
            check(value, text, unit)
        return value

    return (
        unit,
        BeforeValidator(read),
        PlainSerializer(lambda value: to_text(value, unit)),
        WithJsonSchema({"type": "string", "title": unit.word, "description": f"{unit.word}, such as '{unit.example}'"}),
    )


def _positive(value: float, text: object, unit: Unit) -> None:
    if value <= 0:
        raise ValueError(f"must be above zero; got {text!r}. Write for instance '{unit.example}'")


def _non_negative(value: float, text: object, unit: Unit) -> None:
    if value < 0:
        raise ValueError(f"must not be negative; got {text!r}. Write for instance '{unit.example}'")


_LENGTH = Unit("m", "20 um", "length")

type Length = Annotated[float, *_annotated(_LENGTH)]
type PositiveLength = Annotated[float, *_annotated(_LENGTH, _positive)]
type NonNegativeLength = Annotated[float, *_annotated(_LENGTH, _non_negative)]
type Potential = Annotated[float, *_annotated(Unit("V", "50 mV", "potential"))]
type Conductivity = Annotated[float, *_annotated(Unit("S/m", "1 mS/cm", "conductivity"))]
type CurrentDensity = Annotated[float, *_annotated(Unit("A/m^2", "0.5 mA/cm^2", "current density"))]
type FieldStrength = Annotated[float, *_annotated(Unit("V/m", "1 kV/m", "field strength"))]
type AreaResistance = Annotated[float, *_annotated(Unit("ohm*m^2", "500 ohm cm^2", "area-specific resistance"))]
type Angle = Annotated[float, *_annotated(Unit("rad", "52 deg", "angle"))]
type Time = Annotated[float, *_annotated(Unit("s", "10 min", "time"), _positive)]
type Memory = Annotated[float, *_annotated(Unit("byte", "8 GB", "memory size"), _positive)]
