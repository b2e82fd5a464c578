"""The benchmark runner on made-up results: does it see a wrong value, a wrong order, a wrong declaration?"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fem_spall.benchmark import Benchmark, find_benchmarks, source_folder
from fem_spall.errors import CaseError, Interrupted, MeshingError, OutputError
from fem_spall.progress import Silent
from fem_spall.quantity import Unit, to_si
from fem_spall.verify import TABLE_END, TABLE_START, Bars, Report, run_benchmark, verify, write_record, write_tables

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
    (folder / "made_up").mkdir(parents=True)
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


def test_a_right_series_passes_with_its_order(tmp_path: Path) -> None:
    report = run_benchmark(declared(tmp_path), runner=runner(2, 1e-4))
    assert report.failures == []
    assert len(report.comparisons) == 4  # two figures, two levels of the three
    last = report.comparisons[2]
    assert last.order == pytest.approx(2)
    assert last.error == pytest.approx(4e-4)
    assert last.value is not None
    assert last.bar == pytest.approx(0.01 * last.value)


def test_copies_and_potential_scale_the_value(tmp_path: Path) -> None:
    # Catches: a mirror factor applied to the exact value, which would hide a factor in the table.
    assert run_benchmark(declared(tmp_path), runner=runner(2, 0.0)).comparisons[0].value == pytest.approx(EXACT)


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
    failures = run_benchmark(declared(tmp_path), runner=runner(order, constant, imbalance)).failures
    assert [line for line in failures if line.startswith(sentence)]


@pytest.mark.parametrize(
    ("errors", "bars", "sentence"),
    [
        ((4e-4, -2e-4), (4e-3, 1e-3), ""),
        ((4e-4, 2e-4), (4e-3, 1e-3), "resistance: order 1.00 at degree 2, expected 2"),  # of one sign: what they are
        ((4e-4, -2e-4), (4e-3, 2e-3), "resistance: order 1.00 at degree 2, expected 2"),  # bounds as slow
        ((4e-4, -2e-4), (4e-3, 1e-4), "resistance: order 1.00 at degree 2, expected 2"),  # no bound
        ((4e-4, -2e-4), (4e-3, None), "resistance: order 1.00 at degree 2, expected 2"),
    ],
)
def test_errors_that_change_sign_have_the_order_of_their_bounds(
    tmp_path: Path, errors: tuple[float, float], bars: tuple[float, float | None], sentence: str
) -> None:
    # Catches: luck on a coarse mesh, where the error passes through zero, taken for slow convergence; or excused by it.
    given = iter(zip(errors, bars, strict=True))

    def run(*_: Any) -> Mapping[str, Any]:
        error, bar = next(given)
        value = {"value": EXACT * (1 + error) * 0.05 / 4, "error": bar and EXACT * bar * 0.05 / 4}
        whole = {"currents": {"imbalance": 0.0}, "mesh": {"cells": 10, "dofs": 20}, "seconds": {"total": 0.5}}
        return {"metrics": {"resistance": value}, **whole}

    assert run_benchmark(declared(tmp_path), runner=run).failures == ([sentence] if sentence else [])


def test_ci_may_be_looser_but_not_the_finest_level(tmp_path: Path) -> None:
    # Catches: the tolerance of the levels that CI affords taken for that of the finest one, or the other way round.
    text = DECLARATION.replace("tolerance: 0.01\n", "tolerance: 1.0e-5\n    ci_tolerance: 0.01\n")
    benchmark = declared(tmp_path, text)
    assert run_benchmark(benchmark, "ci", runner=runner(2, 1e-4)).failures == []
    failures = run_benchmark(benchmark, "all", runner=runner(2, 1e-4)).failures
    assert failures == ["resistance: error 1.00e-04 exceeds 1.0e-05"]


@pytest.mark.parametrize(("most", "fails"), [(20, False), (19, True)])
def test_a_level_with_too_many_unknowns_fails(tmp_path: Path, most: int, fails: bool) -> None:
    # Catches: an accuracy that comes by brute force where the benchmark promises it for few unknowns.
    text = DECLARATION.replace("ci_levels: 2\n", f"ci_levels: 2\nmost_unknowns: {most}\n")
    failures = run_benchmark(declared(tmp_path, text), runner=runner(2, 1e-4)).failures
    assert failures == (["a level took 20 unknowns; the accuracy must come with 19 at most"] if fails else [])


def test_a_bar_that_did_not_hold_is_noted_and_counted(tmp_path: Path) -> None:
    # Catches: error bars that nobody compares with true errors. The made-up runs state 1 % of their value.
    report = run_benchmark(declared(tmp_path), runner=runner(2, 1e-3))
    assert report.failures == []
    assert report.notes == ["resistance: error 1.60e-02 on level 1 exceeds the stated 1.0e-02"]
    bars = Bars.of([report])
    assert (bars.stated, bars.held, bars.share) == (2, 1, 0.5)
    ratios = [0.01 * 1.016 / 0.016, 0.01 * 1.004 / 0.004]
    assert bars.mean == pytest.approx((ratios[0] * ratios[1]) ** 0.5)
    assert bars.median == pytest.approx(sum(ratios) / 2)
    assert (bars.without, bars.bare) == (2, ("made_up: balance",))
    assert bars.failure is None, "two bars are too few to judge"


def test_too_few_bars_that_hold_fail_together(tmp_path: Path) -> None:
    # Catches: bars that fail one by one, each of them only a note.
    good, bad = (run_benchmark(declared(tmp_path / n), runner=runner(2, c)) for n, c in (("a", 1e-4), ("b", 1e-3)))
    assert Bars.of([good] * 18 + [bad] * 2).failure is None, "38 of 40"
    failure = Bars.of([good] * 17 + [bad] * 3).failure
    assert failure == "only 92.5% of the 40 stated error bars held; 95% must"


def test_errors_below_the_floor_are_left_out_of_the_ratio(tmp_path: Path) -> None:
    # Catches: a bar of 1e-11 over an error of 1e-15 that makes the mean look generous, or its miss a failure.
    bars = Bars.of([run_benchmark(declared(tmp_path), runner=runner(2, 1e-12))])
    assert (bars.stated, bars.held, bars.ratios, bars.mean) == (2, 2, (), None)


def test_a_level_that_breaks_fails_and_the_others_go_on(tmp_path: Path) -> None:
    # Catches: one mesh that cannot be made costs all that was compared before and would be after.
    def run(case: Path, level: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
        if level["mesh.size_min"] == "4 um":
            raise MeshingError(7, "gmsh", "gave up", "coarsen")
        return dict(runner(2, 1e-4)(case, level, folder))

    report = run_benchmark(declared(tmp_path), runner=run)
    assert report.failures == ["level 1 ended with E507: gmsh: gave up"]
    assert [row.level for row in report.comparisons] == [1, 1]


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), Interrupted(1, "run", "was interrupted", "again")])
def test_what_ran_before_an_interruption_is_reported(tmp_path: Path, stop: BaseException) -> None:
    # Catches: Ctrl-C in the last minute of an hour that throws the hour away.
    def run(case: Path, level: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
        if level["mesh.size_min"] == "2 um":
            raise stop
        return dict(runner(2, 1e-4)(case, level, folder))

    going = verify([declared(tmp_path)], runner=run, progress=Silent())
    reports = [next(going)]
    with pytest.raises(Interrupted, match="what had run by then is reported"):
        next(going)
    assert [row.level for row in reports[0].comparisons] == [0, 0]
    assert reports[0].failures == [], "the tolerance is for the level that was not reached"
    record = json.loads(write_record(tmp_path / "v.json", reports, complete=True).read_text())
    assert record["complete"] is False
    assert [row["level"] for row in record["benchmarks"][0]["comparisons"]] == [1, 1]


def test_levels_go_by_degree(tmp_path: Path) -> None:
    # Catches: --levels 2 that runs two levels of linear elements and none of the quadratic ones.
    text = DECLARATION.replace("{mesh.size_min: 1 um, solver.degree: 2}", "{mesh.size_min: 3 um, solver.degree: 1}")
    declaration = declared(tmp_path, text).declaration
    assert declaration.chosen("ci") == [0, 1]
    assert declaration.chosen("all") == [0, 1, 2]
    assert declaration.chosen(1) == [0, 2]
    assert declaration.chosen(9) == [0, 1, 2]


def test_coarse_levels_are_not_held_to_the_tolerance(tmp_path: Path) -> None:
    # Catches: --levels 1 that fails every benchmark, for tolerances are meant for the finest level.
    report = run_benchmark(declared(tmp_path), 1, runner=runner(2, 1e-2))
    assert not report.judged
    assert report.failures == []


def test_a_declaration_with_a_wrong_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match="no closed form 'slab'"):
        declared(tmp_path, DECLARATION.replace("slab_resistance", "slab"))


def test_a_level_without_a_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CaseError, match=r"level 2 must state mesh\.size_min"):
        declared(tmp_path, DECLARATION.replace("mesh.size_min: 1 um", "mesh.size_max: 1 um"))


def test_a_figure_that_the_record_lacks_is_named(tmp_path: Path) -> None:
    benchmark = declared(tmp_path, DECLARATION.replace("currents.imbalance", "currents.balance"))
    with pytest.raises(CaseError, match=r"no 'balance' in result\.json"):
        run_benchmark(benchmark, runner=runner(2, 1e-4))


def test_a_figure_missing_on_the_finest_mesh_fails(tmp_path: Path) -> None:
    # Catches: a benchmark that passes because its mesh was too coarse to give the figure at all.
    def run(case: Path, level: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
        result = runner(2, 1e-4)(case, level, folder)
        if level["mesh.size_min"] == "2 um":
            result["metrics"]["resistance"] = {"value": None, "error": None}
        return dict(result)

    report = run_benchmark(declared(tmp_path), runner=run)
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
    write_tables([run_benchmark(benchmark, runner=runner(2, 1e-4))], tmp_path)
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# Head\n")
    assert text.endswith("tail\n")
    assert "old" not in text
    assert "| resistance | P2 | 4 |" in text


def test_the_averages_are_of_all_readmes(tmp_path: Path) -> None:
    # Catches: averages of what has just run only, or of another column.
    rows = (
        "| figure | stated/error | s |",
        "|---|---|---|",
        "| a | 2 | 7.5 |",
        "| b |  | 7.5 |",
        "| c | 1.0e+03 | 9 |",
    )
    other = tmp_path / "other"
    other.mkdir()
    (other / "benchmark.yaml").write_text(DECLARATION, encoding="utf-8")
    (other / "README.md").write_text("\n".join([TABLE_START, *rows, TABLE_END]), encoding="utf-8")
    write_tables([], tmp_path)
    text = (tmp_path / "TABLE.md").read_text(encoding="utf-8")
    assert "all 2: geometric mean 44.7, median 501. The arithmetic mean, 501, is ruled by the 1 above 50" in text


def test_the_overview_keeps_what_did_not_run(tmp_path: Path) -> None:
    # Catches: `verify blade --write` that drops all other benchmarks from the table, or keeps those that are gone.
    def report(name: str) -> Report:
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "benchmark.yaml").write_text(DECLARATION, encoding="utf-8")
        (benchmark,) = find_benchmarks([name], folder=tmp_path)
        return run_benchmark(benchmark, runner=runner(2, 1e-3))

    write_tables([report("one"), report("two"), report("gone")], tmp_path)
    (tmp_path / "gone" / "benchmark.yaml").unlink()
    write_tables([report("two")], tmp_path)
    text = (tmp_path / "TABLE.md").read_text(encoding="utf-8")
    assert "gone" not in text
    assert text.count("| one |") == text.count("| two |") == 3, "one row of bars, two of figures"
    mean = (0.635 * 2.51) ** 0.5
    assert f"| **all** | 4 | 2 (50.0%) | {mean:.3g} | 4 |" in text
    assert "| one | resistance | P2, 2 um | +4.0e-03 | 1.0e-02 | 2.5 | 2.00 | 2 |" in text


def test_an_installed_copy_has_its_own_benchmarks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Catches: an installed copy that looks for the source tree, or --write that changes what is installed.
    package = tmp_path / "site-packages" / "fem_spall"
    (package / "benchmarks").mkdir(parents=True)
    declared(package / "benchmarks")
    monkeypatch.setattr("fem_spall.benchmark._PACKAGE", package)
    assert [benchmark.name for benchmark in find_benchmarks()] == ["made_up"]
    with pytest.raises(OutputError, match="--write: the tables belong to the source tree"):
        source_folder(needed=True)


def test_the_wheel_takes_the_benchmarks_along() -> None:
    # Catches: a package whose verify finds nothing once it is installed.
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert included["benchmarks"] == "fem_spall/benchmarks"
