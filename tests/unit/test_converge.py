"""Convergence studies on made-up runs: orders, limits, points that fail, interruptions, going on, links."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fem_spall import __version__, cli
from fem_spall.case import Case
from fem_spall.case_file import case_hash, load_case
from fem_spall.converge import Plan, Settings, converge, fit, plan
from fem_spall.errors import CaseError, Interrupted, MeshingError, OutputError
from fem_spall.output.convergence import find_study
from fem_spall.output.report import write_report

CASE = """
version: 1
name: boss
electrolyte: {size: [20 um, 30 um, 50 um], conductivity: 1 mS/cm}
electrodes: {counter: {potential: 50 mV}}
cracks: [{name: b, kind: spheroid, centre: [10 um, 15 um], depth: 5 um, radius: 5 um}]
mesh: {size_min: 500 nm, size_max: 4 um, surface_tolerance: 100 nm, order: 2}
accuracy: {target: 1 %}
"""


class Runs:
    """A runner whose figures converge as they are told to, and which remembers what it ran."""

    def __init__(self, fails: Mapping[str, BaseException] | None = None) -> None:
        self.fails = fails or {}
        self.ran: list[str] = []

    def __call__(self, case: Case, source: Path, folder: Path, **options: Any) -> dict[str, Any]:
        self.ran.append(folder.name)
        if folder.name in self.fails:
            raise self.fails[folder.name]
        h, degree = case.mesh.size_min * 1e6, case.solver.degree
        metrics = {
            "crack_current": {"value": 2e-8 * (1 + 0.1 * h**degree), "unit": "A", "error": 1e-10},
            "resistance": {"value": 8e5 + (-1) ** round(h / 0.5) * 10 * h, "unit": "ohm", "error": None},
            "fef_r250nm": {"value": 3.0 if h < 1.5 else None, "unit": "1", "averaging_length_m": 2.5e-7},
            "max_field_on_mesh": {"value": 1e3 / h**0.5, "unit": "V/m", "flag": "mesh-dependent"},
        }
        record = {
            "status": "ok", "version": __version__, "case_hash": case_hash(case), "metrics": metrics,
            "mesh": {"cells": int(1e4 / h**3), "dofs": 100}, "seconds": {"total": 1.5},
        }  # fmt: skip
        folder.mkdir()
        (folder / "result.json").write_text(json.dumps(record), encoding="utf-8")
        return record


@pytest.fixture
def study(tmp_path: Path) -> Plan:
    source = tmp_path / "boss.yaml"
    source.write_text(CASE, encoding="utf-8")
    return plan(source, (), Settings())


# --- the fit ---


@pytest.mark.parametrize("order", [0.8, 1.0, 2.0, 4.0])
def test_order_and_limit_of_a_power_law(order: float) -> None:
    # Catches: a ratio taken upside down, an extrapolation in the wrong direction, an error without its safety factor.
    found = fit([5 + 3 * h**order for h in (9.0, 0.3, 0.1, 1 / 30)], 3.0)
    assert found.credible
    assert found.order == pytest.approx(order)
    assert found.limit == pytest.approx(5)
    assert found.error == pytest.approx(1.25 * 3 * (1 / 30) ** order)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ([1.0, 1.1, 1.05], "does not change in one direction"),
        ([1.0, 1.1, 1.1 + 1e-3], "order of 6.6 is outside 0.7 to 4.4"),
        ([1.0, 1.1, 1.19], "order of 0.15 is outside"),
        ([1.0, 1.1], "fewer than three meshes"),
    ],
)
def test_what_is_not_credible_has_no_limit(values: list[float], why: str) -> None:
    # Catches: a limit extrapolated from noise and given as a result.
    found = fit(values, 2.0)
    assert (found.credible, found.limit) == (False, None)
    assert why in found.why
    if len(values) > 2:
        assert found.error is not None
        assert found.error >= 3 * abs(values[-1] - values[-2])


def test_what_does_not_change_is_converged() -> None:
    # Catches: rounding fitted with an order, or a division by zero.
    found = fit([1e-8, 1e-8 * (1 + 1e-12), 1e-8], 2.0)
    assert (found.credible, found.order, found.limit) == (True, None, 1e-8)
    assert fit([0.0, 0.0, 0.0], 2.0).limit == 0.0


# --- the plan ---


def test_the_points_differ_by_sizes_and_degree_only(study: Plan) -> None:
    # Catches: a tolerance that stays behind, a finest mesh that is not the case's, adaptivity that makes all alike.
    assert [p.folder for p in study.points] == [f"runs/P{d}_x{f}" for d in (1, 2) for f in (4, 2, 1)]
    finest, coarse = (load_case(study.source, study.points[k].overrides) for k in (5, 0))
    given = load_case(study.source)
    assert finest == given.model_copy(update={"accuracy": finest.accuracy})
    assert (coarse.mesh.size_min, coarse.mesh.size_max, coarse.mesh.surface_tolerance) == pytest.approx(
        (2e-6, 16e-6, 400e-9)
    )
    assert (coarse.solver.degree, coarse.mesh.order) == (1, 1)
    assert finest.accuracy is None
    assert "Adaptive refinement is switched off" in study.notes[0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--levels", "2"], r"E210\]: --levels: must be 3 to 6; got 2;"),
        (["--ratio", "1"], r"E210\]: --ratio: must be 1.2 to 4; got 1;"),
        (["--degrees", "3"], r"E210\]: --degrees: must be 1, 2 or both; got 3;"),
        (["--degrees", "1,1"], r"E210\]: --degrees: must be 1, 2 or both; got 1,1;"),
        (["--degrees", "one"], r"E210\]: --degrees: must be 1, 2 or both; got 'one';"),
        (["--ranks", "0"], r"E210\]: --ranks: must be at least 1"),
    ],
)
def test_wrong_settings_are_refused(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli._main(["converge", "nofile.yaml", *words]) == 2
    assert re.search(said, capsys.readouterr().err)


def test_a_faulty_case_is_refused_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(CASE.replace("500 nm", "500"), encoding="utf-8")
    with pytest.raises(CaseError, match=r"mesh\.size_min: a length needs a unit"):
        plan(tmp_path / "bad.yaml", (), Settings())


# --- the study ---


def test_the_study_is_fitted_and_written(study: Plan, tmp_path: Path) -> None:
    # Catches: fits of the wrong degree, a mesh-dependent maximum with an order, a table that lacks points.
    folder = tmp_path / "study"
    record = converge(study, folder, runner=Runs())
    fits = {(entry["metric"], entry["degree"]): entry for entry in record["fits"]}
    for degree in (1, 2):
        assert fits["crack_current", degree]["order"] == pytest.approx(degree)
        assert fits["crack_current", degree]["limit"] == pytest.approx(2e-8)
    assert not fits["resistance", 2]["credible"]
    assert fits["fef_r250nm", 2]["why"] == "it was given on fewer than three meshes"
    assert not [name for name, _ in fits if name.startswith("max_field")]
    assert json.loads((folder / "convergence.json").read_text()) == json.loads(json.dumps(record))
    with (folder / "convergence.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    current = [row for row in rows if row["metric"] == "crack_current"]
    assert [(row["degree"], float(row["size_min_m"])) for row in current] == [
        (d, pytest.approx(s)) for d in "12" for s in (2e-6, 1e-6, 5e-7)
    ]
    assert (folder / "convergence.png").read_bytes().startswith(b"\x89PNG")
    page = (folder / "convergence.html").read_text()
    assert "changes by +41.4 % from the last mesh but one" in page
    assert "data:image/png" in page
    assert not re.findall(r'(?:src|href)="(?!data:|runs/)', page)


def test_finished_points_are_not_run_again(study: Plan, tmp_path: Path) -> None:
    # Catches: an hour repeated, or a point of another case or program taken for this one's.
    folder = tmp_path / "study"
    converge(study, folder, runner=Runs())
    again = Runs()
    record = converge(study, folder, runner=again)
    assert again.ran == []
    assert record["fits"]
    other = json.loads((folder / "runs" / "P2_x1" / "result.json").read_text()) | {"version": "0.0.1"}
    (folder / "runs" / "P2_x1" / "result.json").write_text(json.dumps(other))
    (folder / "runs" / "P1_x4" / "result.json").write_text("{")
    changed = Runs(dict.fromkeys(("P2_x1", "P1_x4"), MeshingError(1, "a", "b", "c")))
    converge(study, folder, runner=changed)
    assert changed.ran == ["P1_x4", "P2_x1"]


def test_a_point_that_fails_is_told_and_the_others_go_on(study: Plan, tmp_path: Path) -> None:
    # Catches: one mesh that cannot be made ends the study, or a fit over the gap it leaves.
    runs = Runs({"P1_x2": MeshingError(7, "gmsh", "gave up", "coarsen"), "P2_x1": MeshingError(7, "a", "b", "c")})
    record = converge(study, tmp_path / "study", runner=runs)
    assert [p["status"] for p in record["points"]] == ["ok", "failed", "ok", "ok", "ok", "failed"]
    assert record["points"][1]["why"] == "E507: gmsh: gave up"
    assert record["complete"]
    fits = {(entry["metric"], entry["degree"]): entry for entry in record["fits"]}
    assert fits["crack_current", 1]["why"] == "it was given on fewer than three meshes", "4 to 1 is no ratio of 2"
    assert fits["crack_current", 2]["finest_factor"] == 2
    assert "2 of 6 points failed" in (tmp_path / "study" / "convergence.html").read_text()


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), Interrupted(1, "run", "was interrupted", "again")])
def test_an_interruption_keeps_what_ran(study: Plan, tmp_path: Path, stop: BaseException) -> None:
    # Catches: Ctrl-C that loses the finished points, or leaves the folder locked.
    folder = tmp_path / "study"
    with pytest.raises(Interrupted, match="the points that had run are kept"):
        converge(study, folder, runner=Runs({"P2_x4": stop}))
    record = json.loads((folder / "convergence.json").read_text())
    assert [p["status"] for p in record["points"]] == ["ok"] * 3 + ["pending"] * 3
    assert not record["complete"]
    rest = Runs()
    assert converge(study, folder, runner=rest)["complete"]
    assert rest.ran == ["P2_x4", "P2_x2", "P2_x1"]


def test_a_folder_of_somebody_else_is_refused(study: Plan, tmp_path: Path) -> None:
    # Catches: a study strewn into a result or a thesis.
    folder = tmp_path / "result"
    folder.mkdir()
    (folder / "result.json").write_text("{}")
    with pytest.raises(OutputError, match=r"not of a study \(result\.json\)"):
        converge(study, folder, runner=Runs())
    assert [p.name for p in folder.iterdir()] == ["result.json"]


def test_the_command_prints_and_tells_failures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, study: Plan
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fem_spall.run.run_case", Runs({"P1_x4": MeshingError(7, "gmsh", "gave up", "coarsen")}))
    assert cli._main(["converge", str(study.source)]) == 6
    out, err = capsys.readouterr()
    assert (tmp_path / "results" / "boss_convergence" / "convergence.html").is_file()
    assert re.search(r"runs/P1_x4 +E507: gmsh: gave up", out)
    assert re.search(r"crack_current +P2 +20\.50 +0\.6\d +nA +2\.00 +20\.00", out)
    assert "E611]: converge: 1 of 6 points failed: runs/P1_x4; " in err


# --- the link ---


def test_the_report_links_to_the_study_of_its_case_only(study: Plan, tmp_path: Path) -> None:
    # Catches: a link to a study of another case that happens to lie beside, or none where there is one.
    run = tmp_path / "boss"
    run.mkdir()
    fingerprint = study.case_hash
    (run / "result.json").write_text(json.dumps({"metrics": {}, "case_hash": fingerprint}))
    page = write_report(run).read_text()
    assert "<code>fem-spall report boss</code> puts the link here" in page
    converge(study, tmp_path / "boss_convergence", runner=Runs())
    assert 'href="../boss_convergence/convergence.html"' in write_report(run).read_text()
    assert find_study(run, "another case") is None
    point = tmp_path / "boss_convergence" / "runs" / "P2_x2"
    assert find_study(point, study.points[4].case_hash) == "../../convergence.html"
    (tmp_path / "boss_convergence").rename(run / "convergence")
    assert find_study(run, fingerprint) == "convergence/convergence.html"
    (run / "convergence" / "convergence.json").write_text('{"points": 3}')
    assert find_study(run, fingerprint) is None
