"""Every declared benchmark within its tolerance and with its order, through the public path.

Catches: wrong figures that look plausible, and a convergence that comes from a lucky mesh.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from fem_spall.benchmark import Benchmark, find_benchmarks
from fem_spall.case_file import load_case
from fem_spall.verify import HELD, TABLE_END, TABLE_START, Bars, Report, run_benchmark

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
BENCHMARKS = find_benchmarks(folder=FOLDER)
#: What has run; the file runs in one process (pytest --dist loadfile), and its later tests judge all of it.
REPORTS: list[Report] = []


@pytest.mark.slow
@pytest.mark.parametrize("benchmark_", BENCHMARKS, ids=lambda benchmark: benchmark.name)
def test_benchmark(benchmark_: Benchmark) -> None:
    report = run_benchmark(benchmark_)
    REPORTS.append(report)
    assert not report.failures, "\n".join([*report.failures, report.table()])


@pytest.mark.slow
def test_error_bars_hold_and_are_not_empty_promises() -> None:
    # Catches: bars that are too small to be true, and bars so large that they say nothing. After all benchmarks.
    if len(REPORTS) < len(BENCHMARKS):
        pytest.skip("bars are judged together: run the whole file")
    bars = Bars.of(REPORTS)
    missed = "\n".join(f"{report.name}: {note}" for report in REPORTS for note in report.notes)
    assert bars.share is not None
    assert bars.share >= HELD, missed
    assert bars.mean is not None
    assert bars.mean < 5


@pytest.mark.parametrize(
    ("name", "most", "tolerances"),
    [("09b_adaptive_blade", 110_000, {"total_current": 0.001, "electrode_advance": 0.001,
                                      "edge_field_intensity": 0.01}),
     ("12b_adaptive_boss", 10_000, {"fef_tip": 0.001}),
     ("13b_adaptive_ridge", 10_000, {"fef_tip": 0.001}),
     ("14b_adaptive_needle", 10_000, {"fef_tip": 0.001}),
     ("20b_adaptive_half_penny", 110_000, {"crack_current": 0.001, "advance_volume": 0.001,
                                           "edge_field_intensity": 0.01}),
     ("oblate_edge", 110_000, {"fef_tip": 0.01})],
)  # fmt: skip
def test_adaptive_runs_are_held_to_accuracy_and_unknowns(name: str, most: int, tolerances: dict[str, float]) -> None:
    # Catches: a tolerance or a limit that is loosened where a benchmark fails: the benchmark itself enforces them.
    declared = next(benchmark.declaration for benchmark in BENCHMARKS if benchmark.name == name)
    assert declared.most_unknowns is not None
    assert declared.most_unknowns < most
    by_figure = {quantity.value.split(".")[1]: quantity.tolerance for quantity in declared.quantities}
    for figure, tolerance in tolerances.items():
        assert by_figure[figure] <= tolerance, figure


def test_required_cases_are_declared() -> None:
    # Catches: a benchmark folder dropped or its declaration renamed, which would shrink the proof silently.
    cases = {case for benchmark in BENCHMARKS for case in benchmark.declaration.reference_cases}
    assert {"1", "2", "4", "5", "9", "12", "13", "14", "20", "36"} <= cases
    assert {"6", "6b", "10", "11", "15", "17", "23", "23b", "24", "27", "30", "35", "40", "43"} <= cases
    assert {"8", "19", "29", "32", "33", "34", "34b", "37"} <= cases
    folders = {benchmark.name for benchmark in BENCHMARKS}
    assert {"11_sphere_in_field", "33_primary_disc", "10_blade_free", "10b_blade_between_mirrors"} <= folders


def test_every_benchmark_is_listed_and_stated() -> None:
    # Catches: a benchmark without a statement, or one that the overview does not name.
    overview = (FOLDER / "README.md").read_text(encoding="utf-8")
    for benchmark in BENCHMARKS:
        statement = (benchmark.folder / "README.md").read_text(encoding="utf-8")
        assert f"`{benchmark.name}`" in overview
        assert "**Exact**" in statement
        assert "**Expected order**" in statement
        assert statement.count(TABLE_START) == statement.count(TABLE_END) == 1, "a place for the table"


def test_a_benchmark_stands_alone() -> None:
    # Catches: a case that reads a file outside its folder, which an installed copy does not have.
    for benchmark in BENCHMARKS:
        case = load_case(benchmark.folder / "case.yaml")
        for crack in case.cracks:
            file = getattr(crack, "file", None)
            assert file is None or Path(file).resolve().is_relative_to(benchmark.folder.resolve()), benchmark.name
