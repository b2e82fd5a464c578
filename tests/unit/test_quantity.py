"""Unit text to SI and back."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fem_spall.quantity import _COMMON, Unit, _factor_by_pint, to_si, to_text

LENGTH = Unit("m", "20 um", "length")
CURRENT_DENSITY = Unit("A/m^2", "0.5 mA/cm^2", "current density")
AREA_RESISTANCE = Unit("ohm*m^2", "500 ohm cm^2", "area-specific resistance")
CONDUCTIVITY = Unit("S/m", "1 mS/cm", "conductivity")
ANGLE = Unit("rad", "52 deg", "angle")
MEMORY = Unit("byte", "8 GB", "memory size")


@pytest.mark.parametrize(
    ("text", "unit", "expected"),
    [
        ("20 um", LENGTH, 2e-05),
        ("20um", LENGTH, 2e-05),
        ("20 µm", LENGTH, 2e-05),  # micro sign
        ("20 μm", LENGTH, 2e-05),  # Greek mu, which looks the same
        (".5 nm", LENGTH, 5e-10),
        ("1e2 nm", LENGTH, 1e-07),
        ("0.5 mA/cm^2", CURRENT_DENSITY, 5.0),
        ("0.5 mA/cm2", CURRENT_DENSITY, 5.0),
        ("0.5 mA cm-2", CURRENT_DENSITY, 5.0),
        ("0.5 mA/cm**2", CURRENT_DENSITY, 5.0),
        ("500 ohm cm^2", AREA_RESISTANCE, 0.05),
        ("500 Ω·cm²", AREA_RESISTANCE, 0.05),
        ("1 mS/cm", CONDUCTIVITY, 0.1),
        ("180 deg", ANGLE, 3.14159265358979),
        ("8 GB", MEMORY, 8e9),
        ("8 GiB", MEMORY, 8 * 1024**3),
    ],
)
def test_text_becomes_si(text: str, unit: Unit, expected: float) -> None:
    # Exact: the last-bit noise of a conversion would give '20 um' and '2e-5 m' different case hashes.
    assert to_si(text, unit) == expected


@pytest.mark.parametrize("value", [20, 2.5, 0])
def test_a_bare_number_is_offered_its_unit(value: float) -> None:
    with pytest.raises(ValueError, match=f"a length needs a unit; got {value}. Write for instance '{value} um'"):
        to_si(value, LENGTH)


def test_a_number_in_quotes_is_still_bare() -> None:
    # pint would read '52' as 52 radian.
    with pytest.raises(ValueError, match=r"an angle needs a unit; got '52'. Write for instance '52 deg'"):
        to_si("52", ANGLE)


@pytest.mark.parametrize(
    ("text", "unit", "reason"),
    [
        ("50 V", LENGTH, "'V' is a unit of potential"),
        ("500 ohm", AREA_RESISTANCE, "'ohm' is a unit of resistance"),
        ("10 m", Unit("s", "10 min", "time"), "'m' is a unit of length"),
        ("3 um", CURRENT_DENSITY, "'um' is a unit of length"),
        ("1 kg", LENGTH, "'kg' is of another dimension"),
        ("20 umm", LENGTH, "the unit 'umm' is not known"),
        ("1,5 um", LENGTH, "the decimal sign is a point"),
        ("5 %", ANGLE, "'%' is not a unit"),
        ("1e999 m", LENGTH, "finite length"),
        ("nan m", LENGTH, "number with a unit"),
        ("inf m", LENGTH, "number with a unit"),
        ("", LENGTH, "number with a unit; got ''"),
        ("um", LENGTH, "number with a unit"),
        ("1 um + 2 um", LENGTH, "is not a unit"),
    ],
)
def test_what_is_wrong_is_said(text: str, unit: Unit, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        to_si(text, unit)


@pytest.mark.parametrize("text", ["9**9**9 m", "2 m**9**9**9", "1 m^99999999999", "1 (m", "1 m;import os", "1" * 400])
def test_nothing_is_evaluated(text: str) -> None:
    # Handed to pint as an expression, '2 m**9**9**9' never comes back.
    with pytest.raises(ValueError, match=r"must be|is needed|needs a unit"):
        to_si(text, LENGTH)


@pytest.mark.parametrize("value", [None, True, [1], {"a": 1}])
def test_other_things_are_no_quantities(value: object) -> None:
    with pytest.raises(ValueError, match=r"must be a length, a number with a unit"):
        to_si(value, LENGTH)


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e30, max_value=1e30))
def test_text_round_trip(value: float) -> None:
    # Fifteen digits survive the first reading, and everything survives after it.
    once = to_si(to_text(value, LENGTH), LENGTH)
    assert math.isclose(once, value, rel_tol=1e-14)
    assert to_si(to_text(once, LENGTH), LENGTH) == once


def test_common_units_are_what_pint_says() -> None:
    """Bug: the short table of factors has another value than pint, or a unit of another dimension."""
    for (text, si), factor in _COMMON.items():
        assert float(f"{_factor_by_pint(text, si):.15g}") == float(f"{factor:.15g}"), text


def test_cases_need_no_pint() -> None:
    """Bug: a default with a unit outside the table costs every process half a second."""
    code = "import sys, fem_spall.case, fem_spall.mesh.worker; sys.exit('pint' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
