"""The box correction on a real run: a hemisphere in a square mirror cell, whose isolated figures are 3, 3 and 2πa³."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fem_spall.case_file import load_case
from fem_spall.run import run_case

# Case 27 of the reference, a quarter of it: radius 5 um at a corner of the block, mirror cell 20 um wide.
CASE = """
version: 1
name: cell
electrolyte: {size: [10 um, 10 um, 40 um], conductivity: 1 mS/cm}
electrodes: {counter: {potential: 50 mV}}
cracks: [{name: b, kind: spheroid, centre: [0 um, 0 um], depth: 5 um, radius: 5 um}]
mesh: {size_min: 600 nm, size_max: 3 um, refine_tips: false}
metrics: {averaging_lengths: [2 um]}
output: {fields: false, pictures: false}
"""


@pytest.mark.slow
def test_the_isolated_hemisphere_from_one_in_a_cell(tmp_path: Path) -> None:
    # Catches: a correction that is right on paper but never reaches the record, or takes the quarter for the whole.
    source = tmp_path / "cell.yaml"
    source.write_text(CASE, encoding="utf-8")
    run_case(load_case(source), source, tmp_path / "out")
    metrics = json.loads((tmp_path / "out" / "result.json").read_text())["metrics"]
    in_cell = {"capture_ratio": 2.61699382, "electrode_advance": 0.0860356307 * 20e-6}
    for name, exact in in_cell.items():
        assert metrics[name]["value"] == pytest.approx(exact, rel=2e-3), name
    cap = 1 - 2**2 / (4 * 5**2)  # mean over a chord of 2 um, of the exact tip flux
    isolated = {"capture_ratio": 3.0, "electrode_advance": 2 * 3.14159265 * 5**3 / 20**2 * 1e-6, "fef_r2um": 3 * cap}
    for name, exact in isolated.items():
        box = metrics[name]["model_errors"]["box"]
        assert abs(box["isolated"] - exact) <= box["isolated_error"], name
        assert abs(box["isolated"] - exact) < abs(metrics[name]["value"] - exact) / 5, f"{name} is not corrected"
    assert metrics["electrode_advance"]["model_errors"]["box"]["isolated"] == pytest.approx(
        isolated["electrode_advance"], rel=2e-3
    )
    assert "Isolated, it would give" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.slow
def test_the_sensitivity_to_a_moved_wall_is_that_of_a_larger_boss(tmp_path: Path) -> None:
    # Catches: a wrong sign, or the voltage or conductivity twice, in what a moved surface does to the current.
    source = tmp_path / "cell.yaml"
    source.write_text(CASE.replace("2 um]}", "2 um]}\nsolver: {errors: false}"), encoding="utf-8")
    records = []
    for radius in ("5 um", "5.1 um"):
        keys = (f"cracks.0.depth={radius}", f"cracks.0.radius={radius}")
        records.append(run_case(load_case(source, keys), source, tmp_path / radius[:-3]))
    small, large = (record["metrics"]["total_current"]["value"] for record in records)
    predicted = 0.1e-6 * sum(record["surface_sensitivity"] for record in records) / 2
    assert large / small - 1 == pytest.approx(predicted, rel=0.02)
