"""What figures mean: Faraday's law, the filament of the same advance, pressure, what rules."""

from __future__ import annotations

import math
from typing import Any

import pytest

from fem_spall.case import Case
from fem_spall.consequences import consequences_of, wagner_length
from tests.solids import case_of

AREA = 600e-12


def record(**parts: Any) -> dict[str, Any]:
    crack = {"current": 1e-9, "area": 2 * math.pi * 25e-12, "volume": 50e-18, "potential": 0.0}
    return {
        "cracks": {"a": crack},
        "currents": {"plating": 6e-9},
        "metrics": {"electrode_advance": {"value": 1e-6}},
        "electrodes": {"area_m2": AREA, "counter_V": 0.1, "plating_V": 0.0},
        "interfaces": {},
    } | parts


def case(law: dict[str, Any] | None = None, face: dict[str, Any] | None = None, **keys: Any) -> Case:
    crack: dict[str, Any] = {"name": "a", "kind": "surface_file", "file": "a.stl", "unit": "um"} | keys
    if law is not None:
        crack["interface"] = law
    plating = {"face": "+z"} | ({"interface": face} if face is not None else {})
    return case_of(cracks=[crack], electrodes={"plating": plating, "counter": {"face": "-z", "potential": "0.1 V"}})


def resistance(value: str) -> dict[str, Any]:
    return {"kind": "resistance", "value": value}


def found(chosen: Case, **parts: Any) -> dict[str, dict[str, Any]]:
    return {entry["name"]: entry for entry in consequences_of(chosen, record(**parts))}


def test_a_crack_fills_by_faradays_law() -> None:
    """Bug: moles of lithium, or an hour for a second: 1 mAh/cm2 is 4.84908 um of lithium."""
    entry = found(case())["time_to_fill_a"]
    per_area = 3.6 / 1e-4  # C/m^2 of 1 mAh/cm2
    assert entry["value"] == pytest.approx(50e-18 / (1e-9 / per_area * 4.84908e-6), rel=1e-5)
    assert "min" in entry["text"] or "h." in entry["text"]


def test_the_filament_has_the_advance_of_the_crack() -> None:
    """Bug: radius for diameter, or the advance of half a body for that of the whole."""
    length = found(case())["equivalent_filament"]["value"]
    k = length / 250e-9
    e = math.sqrt(1 - 1 / k**2)
    depolarisation = (1 - e**2) / e**3 * (math.atanh(e) - e)  # of a prolate spheroid, exact
    volume = 2 / 3 * math.pi * length * 250e-9**2 / depolarisation
    assert volume == pytest.approx(1e-6 * AREA, rel=0.02)


def test_the_pressure_bound() -> None:
    """Bug: 0.1347 mV per MPa turned round; toughness over the wrong radius (10 um at 1 MPa m^1/2: 280.25 MPa)."""
    drop = {"a": {"largest_drop": 13.47e-3, "mean_density": 1.0}}
    entry = found(case(resistance("2 ohm cm^2")), interfaces=drop)["pressure_bound_a"]
    assert entry["value"] == pytest.approx(100e6, rel=1e-3)
    low, high = (k * 280.25 * math.sqrt(10 / 5) for k in (0.44, 1.51))
    assert f"{low:.3g} to {high:.3g} MPa" in entry["text"]
    assert "could not open" in entry["text"]
    assert "an upper bound" in found(case())["pressure_bound_a"]["text"]


def test_isolated_lithium_does_not_press() -> None:
    """Bug: lithium on which nothing is plated on the whole is said to open cracks by the cell's whole voltage."""
    assert "pressure_bound_a" not in found(case(contact="isolated"))


def test_the_rim_of_an_electrode_is_compared_with_its_own_mean() -> None:
    """Bug: an electrode of a tenth of the face seems to focus tenfold at its middle."""
    disc = {"name": "a", "kind": "patch", "centre": ["5 um", "5 um"], "radius": "2 um"}
    electrodes = {"plating": {"face": "+z", "interface": {"kind": "no_flux"}}, "counter": {"potential": "0.1 V"}}
    chosen = case_of(cracks=[disc], electrodes=electrodes)
    parts = record(
        metrics={
            "fef_r1um": {"value": 30.0, "averaging_length_m": 1e-6},
            "fef_r2um": {"value": 20.0, "averaging_length_m": 2e-6},
        }
    )
    parts["cracks"]["a"] |= {"area": AREA / 10, "current": 6e-9}
    rim = {entry["name"]: entry for entry in consequences_of(chosen, parts)}["rim_a"]
    assert rim["value"] == pytest.approx(3.0)
    assert "averaged over 1 µm, takes 3 times that" in rim["text"]
    assert rim["leads"]


@pytest.mark.parametrize(
    ("crack", "face", "said"),
    [
        ("500 ohm cm^2", "500 ohm cm^2", "contact rules, and the shape of the crack hardly focuses"),
        ("2 ohm cm^2", "500 ohm cm^2", "contact rules, the clean place draws the current"),
        ("0.5 ohm cm^2", None, "contact and geometry both count"),
        ("0.001 ohm cm^2", None, "geometry rules"),
        ("0.001 ohm cm^2", "500 ohm cm^2", "the current goes to where contact is clean"),
    ],
)
def test_what_rules(crack: str, face: str | None, said: str) -> None:
    """Bug: a clean crack in a resistive plane is said to be ruled by its shape, or a resistive one by geometry."""
    chosen = case(resistance(crack), None if face is None else resistance(face))
    assert said in found(chosen)["wagner_number_a"]["text"]


def test_the_wagner_length_falls_with_the_current() -> None:
    """Bug: kinetics at a high current are judged by their resistance at none."""
    law = {"kind": "butler_volmer", "exchange_current_density": "1 mA/cm^2"}
    lengths = [
        wagner_length(case(law), record(interfaces={"a": {"mean_density": j}}), "a") for j in (1e-6, 1e3, 1e5)
    ]  # fmt: skip
    thermal = 8.31446261815324 * 303.15 / 96485.33212
    assert lengths[0] == pytest.approx(0.1 * thermal / 10, rel=1e-6)
    assert lengths[2] == pytest.approx(0.1 * 2 * thermal / 1e5, rel=1e-3)  # dη/dj = 2RT/(F j)
    linear = case(law | {"kind": "linear_kinetics"})
    assert wagner_length(linear, record(), "a") == pytest.approx(0.1 * thermal / 10)


def test_isolated_lithium_is_told() -> None:
    cracks = {"a": {"current": 0.0, "area": 1e-12, "volume": 1e-18, "potential": 0.02, "bodies": 7,
                    "lowest_potential": 0.01, "highest_potential": 0.03}}  # fmt: skip
    text = found(case(contact="isolated"), cracks=cracks)["potential_a"]["text"]
    assert text.startswith("The 7 isolated bodies of a take potentials from 10 to 30 mV, each so that")


def test_a_filling_crack_has_one_time() -> None:
    """Bug: beside the time that filling takes stands that of the full crack's current, and the report contradicts."""
    row = {"filled_share": 0.1, "crack_current_share": 0.05, "area_resistance_ohm_m2": 3e-4}
    filling = {"crack": "a", "starts_at": "mouth", "imposed": "current", "contact": "plating", "time_to_fill_s": 3600.0,
               "time_to_fill_error_s": 36.0, "rows": [row, row | {"crack_current_share": 0.5}]}  # fmt: skip
    entries = found(case(), filling=filling)
    assert "time_to_fill_a" not in entries
    text = entries["filling_time_a"]["text"]
    assert "10.0% full at the start, fills from its mouth in 60 min (± 1.0%)" in text
    assert "from 5.0% to 50.0%" in text
    assert entries["filling_time_a"]["leads"]
