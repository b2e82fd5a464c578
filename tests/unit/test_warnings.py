"""Warnings of a run: each said when it is due, with the right numbers, and not otherwise."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

from fem_spall.case import Case
from fem_spall.warn import warnings_of
from tests.solids import UM, case_of

CRACK = {"name": "a", "kind": "surface_file", "file": "nowhere.stl", "unit": "um"}
BOSS = {"name": "b", "kind": "spheroid", "centre": ["10 um", "15 um"], "depth": "5 um", "radius": "5 um"}


def record_of(advance: float = 0.0, **parts: Any) -> dict[str, Any]:
    metrics = {"electrode_advance": {"value": advance}}
    base: dict[str, Any] = {
        "metrics": metrics, "reference": {"current_density": 100.0, "field": 1000.0},
        "cracks": {"a": {"area": 25 * UM**2}, "b": {"area": 25 * UM**2}}, "mesh": {}, "repairs": [],
    }  # fmt: skip
    return base | parts


def said(case: Case, record: dict[str, Any]) -> dict[str, str]:
    """Text by kind."""
    return {w["kind"]: w["text"] for w in warnings_of(case, record)}


def square(width: str, **parts: Any) -> Case:
    size = {"size": [width, width, "50 um"], "conductivity": "0.1 S/m"}
    boss = BOSS | {"centre": [f"{float(width.split()[0]) / 2} um"] * 2}
    return case_of(electrolyte=size, cracks=[boss], mesh={"size_min": "1 um", "size_max": "5 um"}, **parts)


def test_the_lattice_rule_by_hand() -> None:
    """Bug: the polarisability is that of the body without its mirror image, or the width counts twice."""
    delta, width = 1 * UM, 20 * UM
    change = 9.0336 * (2 * delta * width**2) / (4 * math.pi * width**3)
    text = said(square("20 um"), record_of(delta))["box"]
    assert f"read about {change:.0%} lower than for an isolated one" in text
    wider = re.search(r"A block (\S+) times as wide would bring it to 1 %", text)
    assert wider is not None
    assert float(wider[1]) == pytest.approx((change / 0.01) ** (1 / 3), rel=0.03)


def test_the_lattice_rule_against_the_exact_hemisphere() -> None:
    """Bug: the rule is off by a factor of two. In a cell of 4 radii a hemisphere focuses 2.6703 times instead of 3."""
    width = 20 * UM
    text = said(square("20 um"), record_of(0.0860356307 * width))["box"]
    percent = re.search(r"about (\d+)% lower", text)
    assert percent is not None
    assert int(percent[1]) == pytest.approx(100 * (1 - 2.67027679 / 3), abs=2), "leading order"


def test_a_wide_enough_box_needs_no_warning() -> None:
    """Bug: every run warns, and nobody reads warnings any more."""
    limit = 0.01 * 2 * math.pi * 20 * UM / 9.0336
    assert "box" not in said(square("20 um"), record_of(0.99 * limit))
    assert "box" in said(square("20 um"), record_of(1.01 * limit))


def test_a_dense_lattice_gets_no_number_to_correct_with() -> None:
    """Bug: the leading order is quoted as a correction where it means nothing."""
    text = said(square("20 um"), record_of(10 * UM))["box"]
    assert "beyond its validity" in text
    assert "would bring it to 1 %" not in text


def test_voids_strengthen_each_other() -> None:
    """Bug: pores, which lower the current, are told to read too low like lithium, or not told at all."""
    void = BOSS | {"contents": "void"}
    text = said(case_of(cracks=[void]), record_of(-1 * UM, cracks={}))["box"]
    assert re.search(
        r"a lattice of voids: the electrode advance reads about \d+% higher than for an isolated one", text
    )


def test_the_isolated_values_are_told() -> None:
    """Bug: the reader learns that the figure is low, but not what it would be."""
    record = record_of(1 * UM)
    box = {"isolated": 15.26, "isolated_error": 0.7}
    record["metrics"]["fef_r250nm"] = {"value": 12.96, "model_errors": {"box": box}}
    record["metrics"]["flux_q50"] = {"value": 1.1, "model_errors": {"box": box}}
    text = said(square("20 um"), record)["box"]
    assert "Isolated, it would give fef_r250nm 15.3 instead of 13. A block" in text


def test_the_lattice_rule_keeps_to_its_conditions() -> None:
    """Bug: walls with exact potentials, resistive cracks, empty blocks or absent figures get the rule's number."""
    wall = {"kind": "exact_potential", "solution": "boss_on_plane", "parameters":
            {"field": "1 kV/m", "radius": "5 um", "centre": ["10 um", "15 um", "50 um"]}}  # fmt: skip
    resistive = BOSS | {"interface": {"kind": "resistance", "value": "1 ohm cm^2"}}
    record = record_of(1 * UM)
    assert "box" in said(case_of(cracks=[BOSS]), record)
    for case in (case_of(), case_of(cracks=[BOSS], walls={"-x": wall}), case_of(cracks=[resistive])):
        assert "box" not in said(case, record)
    absent = record_of(metrics={"electrode_advance": {"value": None}})
    assert "box" not in said(case_of(cracks=[BOSS]), absent)


def test_a_resistance_that_removes_focusing() -> None:
    """Bug: the Wagner length has the wrong unit: 500 ohm cm^2 at 1 mS/cm are 5 mm."""

    def words(value: str) -> str | None:
        crack = CRACK | {"interface": {"kind": "resistance", "value": value}}
        return said(case_of(cracks=[crack]), record_of()).get("interface")

    text = words("500 ohm cm^2")
    assert text is not None
    assert "a Wagner length of 5e+03 um, larger than the crack (3.54 um)" in text, "root of half the area"
    assert words("0.3 ohm cm^2") is None, "3 um"
    assert words("0.4 ohm cm^2") is not None, "4 um"
    assert words("0 ohm cm^2") is None


def test_sharp_edges_and_unresolved_tips() -> None:
    """Bug: a knife edge's peak is taken for a result, or half the tip radius is misread as twice."""
    penny = {"name": "p", "kind": "penny", "centre": ["10 um", "15 um"], "radius": "8 um"}
    assert "p has no thickness" in said(case_of(cracks=[penny]), record_of())["sharp edge"]
    wedge = {"name": "w", "kind": "blade", "position": "8 um", "depth": "5 um", "opening": "1 um", "profile": "wedge"}
    assert "w has a sharp edge: " in said(case_of(cracks=[wedge]), record_of())["sharp edge"]
    blunt = penny | {"opening": "8 um"}  # tip radius 4^2/8 = 2 um
    coarse, fine = ({"size_min": size, "size_max": "10 um"} for size in ("1.01 um", "1 um"))
    text = said(case_of(cracks=[blunt], mesh=coarse), record_of())["resolution"]
    assert "The tip radius of p is 2 um but mesh.size_min is 1.01 um" in text
    assert said(case_of(cracks=[blunt], mesh=fine), record_of()) == {}


def test_a_changed_area() -> None:
    """Bug: smoothing the roughness away changes figures per area without a word."""
    for area, due in ((24.6, False), (24.0, True), (26.0, True)):
        mesh = {"boolean_areas_m2": {"a": 25 * UM**2}}
        record = record_of(mesh=mesh, cracks={"a": {"area": area * UM**2}})
        text = said(case_of(cracks=[CRACK]), record).get("surface")
        assert (text is not None) == due
        if text:
            assert f"changed the area of a by {area / 25 - 1:+.1%}" in text
    sheet = record_of(mesh={"boolean_areas_m2": {"a": 25 * UM**2}, "interface_sheet": True},
                      cracks={"a": {"area": 5 * UM**2}})  # fmt: skip
    assert said(case_of(cracks=[CRACK]), sheet) == {}, "the flat part belongs to the plating face"


def test_lithium_apart_and_electrolyte_dropped() -> None:
    """Bug: an isolated crack at the plating potential, or a missing chip, is not told."""
    record = record_of(
        mesh={"apart_from_plating": ["a"]},
        repairs=[{"kind": "electrolyte cut off from the counter electrode dropped", "count": 2,
                  "d_volume": -180 * UM**3}],
    )  # fmt: skip
    texts = said(case_of(cracks=[CRACK]), record)
    assert texts["contact"].startswith("a does not reach the plating face")
    assert texts["geometry"].startswith("2 pieces of electrolyte (180 um3 in all), cut off from the counter electrode")
    empty = said(case_of(cracks=[CRACK | {"contents": "void"}]), record_of(mesh={"apart_from_plating": ["a"]}))
    assert "contact" not in empty


def test_withheld_figures_are_told() -> None:
    """Bug: the headline figure is missing from the report without a reason."""
    metrics = {"fef_r100nm": {"value": None, "absent": "too coarse"}, "fef_r1um": {"value": 2.0},
               "capture_ratio": {"value": None, "absent": "no opening"}}  # fmt: skip
    texts = warnings_of(case_of(cracks=[CRACK]), record_of(metrics=metrics))
    assert [w["text"] for w in texts] == ["fef_r100nm is not given: too coarse."]
