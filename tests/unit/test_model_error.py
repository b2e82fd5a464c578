"""The errors of the model against exact values of crack lattices, and where no number may be given."""

from __future__ import annotations

import math
from typing import Any

import pytest

from fem_spall.case import Case
from fem_spall.model_error import box_effect, lattice_change, model_errors, row_change
from tests.solids import UM, case_of

BOSS = {"name": "b", "kind": "spheroid", "centre": ["10 um", "10 um"], "depth": "5 um", "radius": "5 um"}
FILE = {"name": "a", "kind": "surface_file", "file": "nowhere.stl", "unit": "um"}
# Case 27 of the reference: hemisphere of radius w/4 in a square mirror cell of width w; isolated 3, 3, 2 pi a^3.
TIP, CAPTURE, ADVANCE = 2.67027679, 2.61699382, 0.0860356307


def square(*cracks: dict[str, Any], size: tuple[str, str, str] = ("20 um", "20 um", "50 um"), **parts: Any) -> Case:
    electrolyte = {"size": list(size), "conductivity": "0.1 S/m"}
    mesh = {"size_min": "1 um", "size_max": "5 um"}
    return case_of(**({"electrolyte": electrolyte, "cracks": list(cracks or (BOSS,)), "mesh": mesh} | parts))


def record_of(advance: float = ADVANCE * 20 * UM, **metrics: dict[str, Any]) -> dict[str, Any]:
    return {
        "metrics": {"electrode_advance": {"value": advance, "unit": "m"}, **metrics},
        "cracks": {"b": {"area": 50 * math.pi * UM**2}},
        "mesh": {},
        "surfaces": {},
    }


def test_the_lattice_sum_of_a_square() -> None:
    # Catches: a sum cut off without its tail, which is 3 % at ten widths. 9.0336 = 4 zeta(3/2) beta(3/2).
    total = -lattice_change(1.0, (1.0, 1.0)) * 4 * math.pi / 2
    assert total == pytest.approx(4 * 2.6123753 * 0.8645027, rel=2e-5)


def test_the_lattice_sum_of_a_narrow_cell() -> None:
    # Catches: the square's sum used for every cell. Far apart rows: 2 zeta(3) in the row, the rows themselves as lines.
    width = 12.0
    total = -lattice_change(1.0, (1.0, width)) * 4 * math.pi / (2 * width)
    assert total == pytest.approx(2 * 1.2020569 + 2 * 2 * (math.pi**2 / 6) / width**2, rel=1e-4)
    assert lattice_change(1.0, (width, 1.0)) == pytest.approx(lattice_change(1.0, (1.0, width)))


def test_the_hemisphere_in_a_square_cell() -> None:
    # Catches: a polarisability without the mirror image, or applied to the wrong side. Case 27, all three figures.
    record = record_of(
        fef_tip={"value": TIP, "unit": "1"}, capture_ratio={"value": CAPTURE, "unit": "1", "error": 0.01}
    )
    found = model_errors(square(), record)
    tip, capture, advance = (found[name]["box"] for name in ("fef_tip", "capture_ratio", "electrode_advance"))
    for entry, exact in ((tip, 3.0), (capture, 3.0), (advance, 2 * math.pi * 125 / 400 * UM)):
        assert entry["isolated"] == pytest.approx(exact, rel=0.016)
        assert abs(entry["isolated"] - exact) <= entry["isolated_error"]
    assert advance["isolated"] == pytest.approx(2 * math.pi * 125 / 400 * UM, rel=1e-4), "exact for dipoles"
    assert tip["change"] == pytest.approx(TIP / 3 - 1, abs=0.016)
    assert tip["difference"] == pytest.approx(TIP - tip["isolated"])
    assert capture["isolated_error"] > tip["isolated_error"] * CAPTURE / TIP, "the discretisation counts too"


def test_the_blade_is_a_row_of_lines() -> None:
    # Catches: the lattice of points for what has no end. Case 10: cell of 4 heights, K 1.6196 instead of 1.7725.
    blade = {"name": "b", "kind": "blade", "position": "10 um", "depth": "5 um"}
    case = square(blade, size=("20 um", "2 um", "50 um"))
    k = {"value": 1.61962242839, "unit": "A/m^1.5"}
    record = record_of(0.357929776298 * 5 * UM, edge_flux_intensity=k)
    entry = model_errors(case, record)["edge_flux_intensity"]["box"]
    assert entry["change"] == pytest.approx(row_change(0.357929776298, 4))
    assert abs(entry["isolated"] - math.sqrt(math.pi)) <= entry["isolated_error"]
    assert entry["isolated"] == pytest.approx(math.sqrt(math.pi), rel=0.01)


def test_a_body_cut_by_walls_is_half_of_one() -> None:
    # Catches: the quarter model's cell taken for half the true width, which doubles the change.
    quarter = square(BOSS | {"centre": ["0 um", "10 um"]}, size=("10 um", "10 um", "50 um"))
    whole = box_effect(square(), record_of())
    assert whole.change == pytest.approx(-0.1237, abs=1e-4)
    assert box_effect(quarter, record_of()).change == pytest.approx(whole.change)
    cut = record_of() | {"surfaces": {"a": {"bounds_m": [[0, 8 * UM, 40 * UM], [5 * UM, 10 * UM, 50 * UM]]}}}
    effect = box_effect(square(FILE, size=("10 um", "20 um", "50 um")), cut)
    assert effect.cell == pytest.approx((20 * UM, 20 * UM))


def test_voids_have_the_other_sign_and_no_isolated_figures() -> None:
    # Catches: a void told to read low, or the current of the flat electrode corrected as if it were a crack's.
    void = square(BOSS | {"contents": "void"})
    record = record_of(-1 * UM, fef_r1um={"value": 1.2, "unit": "1"})
    found = model_errors(void, record)
    assert found["electrode_advance"]["box"]["change"] == pytest.approx(-lattice_change(1, (20, 20)))
    assert "void" in found["electrode_advance"]["box"]["isolated_absent"]
    assert "absent" in found["fef_r1um"]["box"]


WALL = {"kind": "exact_potential", "solution": "boss_on_plane",
        "parameters": {"field": "1 kV/m", "radius": "5 um", "centre": ["10 um", "10 um", "50 um"]}}  # fmt: skip
RESISTANCE = {"kind": "resistance", "value": "1 ohm cm^2"}
TENSOR = [["1 S/m", "0 S/m", "0 S/m"], ["0 S/m", "1 S/m", "0 S/m"], ["0 S/m", "0 S/m", "2 S/m"]]
DEEP = {"name": "d", "kind": "pore", "centre": ["10 um", "10 um", "25 um"], "radius": "2 um"}


@pytest.mark.parametrize(
    ("case", "why"),
    [
        (square(walls={"-x": WALL}), "not insulating"),
        (square(BOSS | {"interface": RESISTANCE}), "interfacial resistance"),
        (square(electrodes={"counter": {"potential": "50 mV", "interface": RESISTANCE}}), "interfacial resistance"),
        (square(metrics={"reference_current_density": "1 mA/cm^2"}), "another reference"),
        (square(electrolyte={"size": ["20 um", "20 um", "50 um"], "conductivity":
                             {"kind": "anisotropic", "rows": TENSOR}}), "isotropic"),
        (square(DEEP | {"contents": "void"}), "apart from the plating face"),
        (square(FILE | {"kind": "interface_file"}), "whole plating face"),
    ],
)  # fmt: skip
def test_no_rule_no_number(case: Case, why: str) -> None:
    # Catches: a number where its derivation does not hold.
    entry = model_errors(case, record_of(capture_ratio={"value": 2.0, "unit": "1"}))["capture_ratio"]["box"]
    assert set(entry) == {"absent"}
    assert why in entry["absent"]


@pytest.mark.parametrize(
    ("case", "advance", "why"),
    [
        (square(), 5 * UM, "beyond its validity"),
        (square(BOSS, BOSS | {"name": "c", "centre": ["4 um", "4 um"], "radius": "1 um"}), 1 * UM, "several cracks"),
        (square(size=("20 um", "20 um", "8 um")), 1 * UM, "counter electrode"),
    ],
)
def test_a_change_without_an_isolated_value(case: Case, advance: float, why: str) -> None:
    # Catches: an isolated value offered where the rule only says how bad it is.
    entry = model_errors(case, record_of(advance, capture_ratio={"value": 2.0, "unit": "1"}))["capture_ratio"]["box"]
    assert why in entry["isolated_absent"]
    assert "isolated" not in entry
    assert entry["change"] < 0


def test_a_share_has_no_isolated_value() -> None:
    # Catches: the share of one crack in an endless cell, which is nothing.
    entry = model_errors(square(), record_of(crack_current_share={"value": 0.3, "unit": "1"}))["crack_current_share"]
    assert "isolated" not in entry["box"]
    assert entry["box"]["change"] == pytest.approx(-0.1237, abs=1e-4)


def test_the_meshed_surface() -> None:
    # Catches: a density per meshed area that is not told to depend on it, or a current that is told to.
    record = record_of(fef_r1um={"value": 2.0, "unit": "1"}, crack_current={"value": 1e-9, "unit": "A"})
    record |= {
        "mesh": {
            "distances": {"a": {"p99_m": 30e-9, "largest_m": 60e-9}},
            "boolean_areas_m2": {"a": 100 * UM**2, "b": 1.0},
        },
        "cracks": {"a": {"area": 96 * UM**2}},
    }
    found = model_errors(square(FILE), record)
    surface = found["fef_r1um"]["surface"]
    assert (surface["distance_p99_m"], surface["distance_largest_m"]) == (30e-9, 60e-9)
    assert surface["area_change"] == pytest.approx(-0.04)
    given = 2.0 * 0.96  # the same current over the given area
    assert surface["difference"] == pytest.approx(2.0 - given)
    assert surface["change"] == pytest.approx(2.0 / given - 1)
    assert "change" not in found["crack_current"]["surface"]
    assert found["crack_current"]["surface"]["distance_p99_m"] == 30e-9
    size = found["fef_r1um"]["size_min"]
    assert (size["filter_length_m"], size["surface_tolerance_m"]) == pytest.approx((1e-6, 0.3e-6))


def test_closed_forms_have_no_surface_error() -> None:
    found = model_errors(square(), record_of(capture_ratio={"value": 2.0, "unit": "1"}))["capture_ratio"]
    assert set(found) == {"box", "surface", "size_min"}
    assert set(found["surface"]) == set(found["size_min"]) == {"absent"}


def test_only_figures_of_the_crack_have_entries() -> None:
    # Catches: entries for a resistance, which contains the crack, and for figures without a value.
    record = record_of(resistance={"value": 1.0, "unit": "ohm"}, fef_r1um={"value": None, "unit": "1"})
    assert set(model_errors(square(), record)) == {"electrode_advance"}
    assert model_errors(square(cracks=[]), record) == {}
