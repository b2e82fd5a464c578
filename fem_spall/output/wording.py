"""Numbers and units as a reader expects them: two digits of error, nA rather than 1e-9 A."""

from __future__ import annotations

import math
import re

__all__ = ["convenient", "length_text", "rounded", "time_unit", "with_error"]

# SI unit of the record -> (unit to show, factor); the usual units of a battery laboratory.
_SHOWN = {
    "1": ("", 1.0),
    "": ("", 1.0),
    "A/m^2": ("mA/cm²", 0.1),
    "A": ("nA", 1e9),
    "m": ("µm", 1e6),
    "m^2": ("µm²", 1e12),
    "m^3": ("µm³", 1e18),
    "ohm": ("kΩ", 1e-3),
    "ohm m^2": ("Ω cm²", 1e4),
    "V": ("mV", 1e3),
    "V/m": ("V/cm", 1e-2),
    "S/m": ("mS/cm", 10.0),
    "S": ("nS", 1e9),
    "A/m^1.5": ("A m⁻³ᐟ²", 1.0),
    "W": ("nW", 1e9),
}


def convenient(unit: str) -> tuple[str, float]:
    """Return the unit to show and the factor that takes an SI value to it; an unknown unit is shown as it is."""
    plain = re.sub(r"\s*\*\s*|\s+", " ", unit.strip().replace("**", "^").replace("²", "^2").replace("·", " "))
    plain = plain.replace("Ω", "ohm").replace("A m^-3/2", "A/m^1.5").replace("A m^-2", "A/m^2").replace("V m^-1", "V/m")
    return _SHOWN.get(plain, (unit, 1.0))


def length_text(micrometres: float) -> str:
    """Return a short length as people say it: 250 nm, 1.5 µm."""
    return f"{micrometres:g} µm" if micrometres >= 1 else f"{micrometres * 1000:g} nm"


def time_unit(seconds: float) -> tuple[float, str]:
    """Return the factor that takes seconds to the unit in which a time is best told, and that unit."""
    for limit, unit, word in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return 1 / unit, word
    return 1 / 86400, "days"


def rounded(value: float, digits: int = 4) -> str:
    """Return a number with the given significant digits: 0.00123, 4.567, 12 350, 1.2 × 10⁻⁷."""
    if not math.isfinite(value):
        return "not a number"
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    if -4 <= size < 7:
        return _grouped(f"{value:.{max(digits - 1 - size, 0)}f}")
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return f"{_grouped(mantissa)} × 10{_raised(int(exponent))}"


def with_error(value: float, error: float, digits: int = 4) -> tuple[str, str]:
    """Return value and error as text, the error with two digits and the value to the same place.

    A value without an error (NaN) keeps ``digits`` digits; its error is the empty text.
    """
    if not math.isfinite(error):
        return rounded(value, digits), ""
    if error == 0 or value == 0 or not 1e-12 < error / abs(value) < 10 or not 1e-4 <= abs(value) < 1e7:
        return rounded(value, digits), rounded(error, 2)
    # Never more than six digits, however small the error.
    place = max(1 - math.floor(math.log10(error)), 0)
    place = max(min(place, 5 - math.floor(math.log10(abs(value)))), 0)
    return _grouped(f"{value:.{place}f}"), rounded(error, 2)


def _grouped(text: str) -> str:
    """Return the number with narrow spaces between thousands and a true minus sign."""
    sign, digits = ("−", text[1:]) if text.startswith("-") else ("", text)
    whole, dot, rest = digits.partition(".")
    if len(whole) > 4:
        whole = f"{int(whole):,}".replace(",", "\u202f")
    return sign + whole + dot + rest


def _raised(exponent: int) -> str:
    return str(exponent).translate(str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻"))
