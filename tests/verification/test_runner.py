"""The benchmark runner on made-up results: does it see a wrong value, a wrong order, a wrong declaration?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fem_spall.errors import CaseError
from fem_spall.quantity import Unit, to_si
from fem_spall.verify import TABLE_END, TABLE_START, Benchmark, find_benchmarks, write_table

DECLARATION = """
version: 1
title: made up
reference_cases: ["0"]
levels:
  - {mesh.size_min: 4 um, solver.degree: 2}
  - {mesh.size_min: 2 um, solver.degree: 2}
  - {mesh.size_min: 1 um, solver.degree: 2}
ci_levels: 2
quantities:
  - name: resistance
    value: metrics.resistance.value
    copies: 4
    at_potential: 50 mV
    exact: {form: slab_resistance, parameters: {conductivity: 0.1 S/m, size: [20 um, 30 um, 50 um]}}
    tolerance: 0.01
    order: {2: 2}
  - name: balance
    value: currents.imbalance
    exact: 0
    tolerance: 1.0e-10
"""
EXACT = 50 / (0.1 * 20 * 30) * 1e6


def declared(folder: Path, text: str = DECLARATION) -> Benchmark:
    (folder / "made_up").mkdir()
    (folder / "made_up" / "benchmark.yaml").write_text(text, encoding="utf-8")
    return find_benchmarks(folder=folder)[0]


def runner(order: float, constant: float, imbalance: float = 1e-13) -> Any:
    def run(case: Path, level: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
        size = to_si(level["mesh.size_min"], Unit("m", "1 um", "length")) * 1e6
        value = EXACT * (1 + constant * size**order) * 0.05 / 4
        return {
            "metrics": {"resistance": {"value": value, "unit": "ohm", "error": 0.01 * value}},
            "currents": {"imbalance": imbalance},
            "mesh": {"cells": 10, "dofs": 20},
            "seconds": {"total": 0.5},
        }

    return run


def silent(line: str) -> None:
    del line


def test_a_right_series_passes_with_its_order(tmp_path: Path) -> None:
    report = declared(tmp_path).run(runner(2, 1e-4), progress=silent)
    assert report.failures == []
    assert len(report.comparisons) == 4  # two figures, two levels of the three
    last = report.comparisons[2]
    assert last.order == pytest.approx(2)
    assert last.error == pytest.approx(4e-4)
    assert last.value is not None
    assert last.bar == pytest.approx(0.01 * last.value)


def test_copies_and_potential_scale_the_value(tmp_path: Path) -> None:
    # Catches: a mirror factor applied to the exact value, which would hide a factor in the table.
    assert declared(tmp_path).run(runner(2, 0.0), progress=silent).comparisons[0].value == pytest.approx(EXACT)


@pytest.mark.parametrize(
    ("order", "constant", "imbalance", "sentence"),
    [
        (2.0, 0.01, 1e-13, "resistance: error 4.00e-02 exceeds"),
        (1.0, 1e-4, 1e-13, "resistance: order 1.00 at degree 2, expected 2"),
        (2.0, 1e-4, 1e-8, "balance: error 1.00e-08 exceeds"),
        (2.0, float("nan"), 1e-13, "resistance: error nan exceeds"),
    ],
)
def test_a_wrong_series_fails(tmp_path: Path, order: float, constant: float, imbalance: float, sentence: str) -> None:
    failures = declared(tmp_path).run(runner(order, constant, imbalance), progress=silent).failures
    assert [line for line in failures if line.startswith(sentence)]


def test_an_error_beyond_the_stated_one_fails(tmp_path: Path) -> None:
    # Catches: error bars that nobody compares with true errors. The made-up runs state 1 %.
    failures = declared(tmp_path).run(runner(2, 1e-3), progress=silent).failures
    assert failures == ["resistance: error 1.60e-02 on level 1 exceeds the stated 1.0e-02"]


def test_a_declaration_with_a_wrong_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match="no closed form 'slab'"):
        declared(tmp_path, DECLARATION.replace("slab_resistance", "slab"))


def test_a_level_without_a_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match=r"level 2 must state mesh\.size_min"):
        declared(tmp_path, DECLARATION.replace("mesh.size_min: 1 um", "mesh.size_max: 1 um"))


def test_a_figure_that_the_record_lacks_is_named(tmp_path: Path) -> None:
    benchmark = declared(tmp_path, DECLARATION.replace("currents.imbalance", "currents.balance"))
    with pytest.raises(CaseError, match=r"no 'balance' in result\.json"):
        benchmark.run(runner(2, 1e-4), progress=silent)


def test_a_figure_missing_on_the_finest_mesh_fails(tmp_path: Path) -> None:
    # Catches: a benchmark that passes because its mesh was too coarse to give the figure at all.
    def run(case: Path, level: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
        result = runner(2, 1e-4)(case, level, folder)
        if level["mesh.size_min"] == "2 um":
            result["metrics"]["resistance"] = {"value": None, "error": None}
        return dict(result)

    report = declared(tmp_path).run(run, progress=silent)
    assert report.failures == ["resistance: the run gives no value on the finest mesh"]
    assert "| - |" in report.table()


def test_an_unknown_name_is_refused(tmp_path: Path) -> None:
    declared(tmp_path)
    with pytest.raises(CaseError, match="is no benchmark; take one of: made_up"):
        find_benchmarks(["sphere"], folder=tmp_path)


def test_the_table_replaces_the_old_one_only(tmp_path: Path) -> None:
    benchmark = declared(tmp_path)
    path = benchmark.folder / "README.md"
    path.write_text(f"# Head\n\n{TABLE_START}\nold\n{TABLE_END}\ntail\n", encoding="utf-8")
    write_table(benchmark, benchmark.run(runner(2, 1e-4), progress=silent))
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# Head\n")
    assert text.endswith("tail\n")
    assert "old" not in text
    assert "| resistance | P2 | 4 |" in text
