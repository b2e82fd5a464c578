"""Unit text to SI floats and back: ``"20 um"`` is 2e-05 m.

Every dimensional key of a case is text with a unit; inside the program every
number is an SI float.  A bare number for a dimensional key is an error that
offers the unit.
"""

from __future__ import annotations

import functools
import math
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

if TYPE_CHECKING:
    import pint

__all__ = [
    "GAS",
    "Angle",
    "AreaResistance",
    "Conductivity",
    "Current",
    "CurrentDensity",
    "FieldStrength",
    "Length",
    "Memory",
    "MolarEnergy",
    "NonNegativeLength",
    "PositiveLength",
    "Potential",
    "Pressure",
    "Share",
    "Temperature",
    "Time",
    "Unit",
    "Volume",
    "measured",
    "split",
    "to_si",
    "to_text",
]


#: Gas constant, J/(mol K).
GAS = 8.31446261815324


@dataclass(frozen=True)
class Unit:
    """The SI unit of a key, with an example to offer when the text is wrong."""

    si: str
    example: str
    word: str

    @property
    def usual(self) -> str:
        """Unit of the example: what to offer for a bare number."""
        return self.example.split(" ", 1)[1]

    @property
    def phrase(self) -> str:
        """The word with its article."""
        return f"{'an' if self.word[0] in 'aeiou' else 'a'} {self.word}"


#: Factors from units as cases have them: pint, which knows all others, takes half a second to start.
_COMMON = {
    **{(si, si): 1.0 for si in ("m", "V", "S/m", "A/m^2", "V/m", "ohm*m^2", "rad", "s", "byte", "m^3", "A", "Pa", "K")},
    ("um", "m"): 1e-6, ("nm", "m"): 1e-9, ("mm", "m"): 1e-3, ("um^3", "m^3"): 1e-18, ("mV", "V"): 1e-3,
    ("mA/cm^2", "A/m^2"): 10.0, ("min", "s"): 60.0, ("GB", "byte"): 1e9, ("kV/m", "V/m"): 1e3, ("mS/cm", "S/m"): 0.1,
    ("ohm cm^2", "ohm*m^2"): 1e-4, ("deg", "rad"): math.pi / 180, ("MPa", "Pa"): 1e6, ("S/cm", "S/m"): 100.0,
}  # fmt: skip

# One number, then a product of units. Anything cleverer would be evaluated, and '2 m**9**9**9' never ends.
_NUMBER = re.compile(r"\s*([-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3})?)\s*(.*?)\s*", re.DOTALL)
_NAME = r"[A-Za-zµμΩÅ°]{1,30}"
_FACTOR = rf"{_NAME}(?:(?:\^|\*\*)?-?[1-4]|⁻?[¹²³])?"
_PRODUCT = re.compile(rf"{_FACTOR}(?:(?:\s*[*·/]\s*|\s+){_FACTOR}){{0,5}}")
_BARE_POWER = re.compile(rf"({_NAME})(-?[1-4])")  # 'mA/cm2' and 'A m-2', as people write


@functools.cache
def _without_dask() -> None:
    """Import pint without its support of Dask's arrays, which takes a third of its time."""
    hidden = "dask" not in sys.modules
    if hidden:
        sys.modules["dask"] = None  # type: ignore[assignment]
    try:
        import pint  # noqa: F401
    finally:
        if hidden:
            del sys.modules["dask"]


@functools.cache
def _registry() -> pint.UnitRegistry[float]:
    _without_dask()
    import pint

    return pint.UnitRegistry(cache_folder=None)


def _factor(text: str, si: str) -> float:
    """Factor from the unit ``text`` to ``si``; ValueError with the reason where there is none."""
    common = _COMMON.get((text, si))
    return _factor_by_pint(text, si) if common is None else common


@functools.cache
def _factor_by_pint(text: str, si: str) -> float:
    import tokenize

    _without_dask()
    import pint

    if re.match(r",[0-9]", text):
        raise ValueError("the decimal sign is a point")
    if not _PRODUCT.fullmatch(text):
        raise ValueError(f"{text!r} is not a unit")
    try:
        unit = _registry().parse_units(_BARE_POWER.sub(r"\1^\2", text))
    except pint.UndefinedUnitError as error:
        raise ValueError(f"the unit {', '.join(map(repr, error.unit_names))} is not known") from None
    except (pint.PintError, ValueError, TypeError, AttributeError, AssertionError, SyntaxError, ArithmeticError,
            tokenize.TokenError):  # fmt: skip
        raise ValueError(f"{text!r} is not a unit") from None
    try:
        return float(_registry().Quantity(1.0, unit).to(si).magnitude)
    except pint.DimensionalityError:
        words = {known.word for known in _KNOWN if _registry().Unit(known.si).is_compatible_with(unit)}
        raise ValueError(f"{text!r} is {f'a unit of {words.pop()}' if words else 'of another dimension'}") from None


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
    offer = f"Write for instance '{unit.example}'"
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        raise ValueError(f"{unit.phrase} needs a unit; got {text!r}. Write for instance '{text!r} {unit.usual}'")
    match = _NUMBER.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"must be {unit.phrase}, a number with a unit; got {_shown(text)}. {offer}")
    if not match[2]:
        offer = f"Write for instance '{match[1][:20]} {unit.usual}'"
        raise ValueError(f"{unit.phrase} needs a unit; got {_shown(text)}. {offer}")
    try:
        value = float(match[1]) * _factor(match[2], unit.si)
    except ValueError as error:
        raise ValueError(f"must be {unit.phrase}; got {_shown(text)}: {error}. {offer}") from None
    if not math.isfinite(value):
        raise ValueError(f"must be a finite {unit.word}; got {text!r}. {offer}")
    # Fifteen digits hide the last-bit noise of unit conversion (20 um is 2e-05 m, not 1.9999999999999998e-05 m).
    return float(f"{value:.15g}")


def split(text: object) -> tuple[float, str]:
    """Return number and unit of a text such as ``"2 um"``; the unit is empty for a bare number.

    Raises
    ------
    ValueError
        If it is no finite number with a known unit or none.
    """
    match = _NUMBER.fullmatch(str(text)) if isinstance(text, (str, int, float)) else None
    if match is None or isinstance(text, bool) or not math.isfinite(float(match[1])):
        raise ValueError(f"must be a number, with a unit where it has one; got {_shown(text)}")
    if match[2]:
        _factor(match[2], match[2])  # is it a unit?
    return float(match[1]), match[2]


def measured(text: object) -> pint.Quantity[float]:
    """Return a quantity to reckon with from text such as ``"2 um"``; bare numbers are without dimension.

    Raises
    ------
    ValueError
        As :func:`split`.
    """
    number, unit = split(text)
    registry = _registry()
    return registry.Quantity(number, registry.parse_units(_BARE_POWER.sub(r"\1^\2", unit)))


def _shown(value: object) -> str:
    """Return the value as a message shows it: short, and nothing for an empty key."""
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


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
        WithJsonSchema(
            {
                "type": "string",
                "title": unit.word,
                "description": f"{unit.word}, such as '{unit.example}'",
                "examples": [unit.example],
                "unit": unit.si,
            }
        ),
    )


def _positive(value: float, text: object, unit: Unit) -> None:
    if value <= 0:
        raise ValueError(f"must be above zero; got {text!r}. Write for instance '{unit.example}'")


def _non_negative(value: float, text: object, unit: Unit) -> None:
    if value < 0:
        raise ValueError(f"must not be negative; got {text!r}. Write for instance '{unit.example}'")


_LENGTH = Unit("m", "20 um", "length")
_POTENTIAL = Unit("V", "50 mV", "potential")
_CONDUCTIVITY = Unit("S/m", "1 mS/cm", "conductivity")
_CURRENT_DENSITY = Unit("A/m^2", "0.5 mA/cm^2", "current density")
_FIELD_STRENGTH = Unit("V/m", "1 kV/m", "field strength")
_AREA_RESISTANCE = Unit("ohm*m^2", "500 ohm cm^2", "area-specific resistance")
_ANGLE = Unit("rad", "52 deg", "angle")
_TIME = Unit("s", "10 min", "time")
_MEMORY = Unit("byte", "8 GB", "memory size")
_VOLUME = Unit("m^3", "1 um^3", "volume")
_CURRENT = Unit("A", "1 nA", "current")
_PRESSURE = Unit("Pa", "5 MPa", "pressure")
_MOLAR_ENERGY = Unit("J/mol", "40 kJ/mol", "molar energy")
_TEMPERATURE = Unit("K", "303.15 K", "absolute temperature")
# What a unit of the wrong dimension is called in a message; the last two are no keys, but likely slips.
_KNOWN = (
    *(_LENGTH, _POTENTIAL, _CONDUCTIVITY, _CURRENT_DENSITY, _FIELD_STRENGTH, _AREA_RESISTANCE, _ANGLE, _TIME, _MEMORY),
    *(_VOLUME, _CURRENT, _PRESSURE, _TEMPERATURE, _MOLAR_ENERGY),
    *(Unit("m^2", "1 um^2", "area"), Unit("ohm", "1 ohm", "resistance")),
)

type Length = Annotated[float, *_annotated(_LENGTH)]
type PositiveLength = Annotated[float, *_annotated(_LENGTH, _positive)]
type NonNegativeLength = Annotated[float, *_annotated(_LENGTH, _non_negative)]
type Potential = Annotated[float, *_annotated(_POTENTIAL)]
type Conductivity = Annotated[float, *_annotated(_CONDUCTIVITY)]
type CurrentDensity = Annotated[float, *_annotated(_CURRENT_DENSITY)]
type Current = Annotated[float, *_annotated(_CURRENT)]
type Pressure = Annotated[float, *_annotated(_PRESSURE)]
type MolarEnergy = Annotated[float, *_annotated(_MOLAR_ENERGY, _positive)]
type Temperature = Annotated[float, *_annotated(_TEMPERATURE, _positive)]
type FieldStrength = Annotated[float, *_annotated(_FIELD_STRENGTH)]
type AreaResistance = Annotated[float, *_annotated(_AREA_RESISTANCE)]
type Angle = Annotated[float, *_annotated(_ANGLE)]
type Time = Annotated[float, *_annotated(_TIME, _positive)]
type Volume = Annotated[float, *_annotated(_VOLUME, _non_negative)]
type Memory = Annotated[float, *_annotated(_MEMORY, _positive)]


def _share(value: object) -> object:
    """A share above zero and below one, from a number or a percentage."""
    share: float | None = None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        share = float(value)
    elif isinstance(value, str) and (match := _NUMBER.fullmatch(value)) and match[2] in ("", "%"):
        share = float(match[1]) / (100.0 if match[2] else 1.0)
    if share is None or not 0 < share < 1:
        raise ValueError(f"must be a share between 0 and 1 or a percentage; got {value!r}. Write for instance '2 %'")
    return share


Share = Annotated[float, BeforeValidator(_share, json_schema_input_type=float | str)]
