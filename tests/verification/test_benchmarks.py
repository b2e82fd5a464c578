"""Every declared benchmark within its tolerance and with its order, through the public path.

Catches: wrong figures that look plausible, and a convergence that comes from a lucky mesh.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from fem_spall.verify import Benchmark, find_benchmarks, run_level

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
BENCHMARKS = find_benchmarks(folder=FOLDER)


@pytest.mark.slow
@pytest.mark.parametrize("benchmark_", BENCHMARKS, ids=lambda benchmark: benchmark.name)
def test_benchmark(benchmark_: Benchmark) -> None:
    report = benchmark_.run(run_level)
    assert not report.failures, "\n".join([*report.failures, report.table()])


def test_required_cases_are_declared() -> None:
    # Catches: a benchmark folder dropped or its declaration renamed, which would shrink the proof silently.
    cases = {case for benchmark in BENCHMARKS for case in benchmark.declaration.reference_cases}
    assert {"1", "2", "4", "5", "9", "12", "13", "14", "20", "36"} <= cases


def test_every_benchmark_is_listed_and_stated() -> None:
    # Catches: a benchmark without a statement, or one that the overview does not name.
    overview = (FOLDER / "README.md").read_text(encoding="utf-8")
    for benchmark in BENCHMARKS:
        statement = (benchmark.folder / "README.md").read_text(encoding="utf-8")
        assert f"`{benchmark.name}`" in overview
        assert "**Exact**" in statement
        assert "**Expected order**" in statement
