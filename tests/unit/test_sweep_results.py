"""Tables, laws, indices and reports of sweeps, on made-up records."""

from __future__ import annotations

import csv
import json
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fem_spall import __version__, load_sweep
from fem_spall.errors import SetupError
from fem_spall.sweep.collect import collect
from fem_spall.sweep.fits import power_law, sensitivity
from fem_spall.sweep.plan import Plan, Point, make_plan, read_plan
from fem_spall.sweep.sweep_file import read_sweep
from tests.conftest import ROOT

type Figures = Callable[[Point], dict[str, Any] | None]


def made(folder: Path, text: str, figures: Figures) -> Plan:
    """A sweep's folder whose points have the given figures; None leaves a point failed."""
    (folder / "sweep.yaml").write_text(f"version: 1\nname: made\ncase: {ROOT / 'configs' / 'penny.yaml'}\n{text}\n")
    out = folder / "out"
    out.mkdir(exist_ok=True)
    make_plan(read_sweep(folder / "sweep.yaml")).write(out)
    plan = read_plan(out)
    for point in plan.points:
        place = out / "points" / point.id
        place.mkdir(parents=True, exist_ok=True)
        found = figures(point)
        if found is None:
            failure = {"number": 601, "where": "solver", "reason": "did not converge <b>", "cure": "look"}
            (place / "failure.json").write_text(json.dumps(failure))
            continue
        record = {
            "status": "ok", "version": __version__, "case_hash": point.case_hash, "files": [], "metrics": found,
            "mesh": {"cells": 7, "dofs": 9}, "seconds": {"total": 3.5},
        }  # fmt: skip
        (place / "report.html").write_text("x")
        (place / "result.json").write_text(json.dumps(record))
    collect(plan, out)
    return plan


def figure(value: float | None, error: float | None = None, unit: str = "1", **more: Any) -> dict[str, Any]:
    return {"value": value, "error": error, "unit": unit, **more}


RHO = "axes: [{key: rho, log: [10 nm, 1 um], count: 5}]\nderived: {mesh.size_max: 3 um + rho}"


def test_the_table_has_units_errors_and_the_reason(tmp_path: Path) -> None:
    # Catches: a unit that is not that of the column, an error in another's column, a failed point left out.
    def figures(point: Point) -> dict[str, Any] | None:
        if point.values["solver.degree"] == 1:
            return None
        isolated = {"box": {"isolated": 1.25, "isolated_error": 0.5}}
        return {"crack_current": figure(1e-9 / 3, 1e-11, "A"), "fef_r1um": figure(1.2, None, model_errors=isolated)}

    axes = "axes: [{key: cracks.penny.radius, values: [2 um, 3 um]}, {key: solver.degree, values: [1, 2]}]"
    made(tmp_path, axes, figures)
    rows = list(csv.DictReader((tmp_path / "out" / "sweep.csv").read_text().splitlines()))
    assert [row["cracks.penny.radius [um]"] for row in rows] == ["2.0", "2.0", "3.0", "3.0"]
    assert [row["status"] for row in rows] == ["failed", "ok", "failed", "ok"]
    good, bad = rows[1], rows[0]
    assert float(good["crack_current [A]"]) == 1e-9 / 3
    assert (good["crack_current error [A]"], good["fef_r1um error [1]"]) == ("1e-11", "")
    assert (good["fef_r1um isolated [1]"], good["fef_r1um isolated error [1]"]) == ("1.25", "0.5")
    assert bad["reason"] == "E601: solver: did not converge <b>; look"
    page = (tmp_path / "out" / "report.html").read_text()
    assert "did not converge &lt;b&gt;" in page
    assert f'<a href="points/{good["id"]}/report.html">' in page
    assert not re.search(r'(src|href)="https?:', page.split("<script")[0]), "the page must not need the network"
    assert "<script src" not in page
    assert "2 points complete, 2 points failed." in page


def test_pandas_xarray_and_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Catches: a grid that is transposed, an error column of another figure, an import error instead of advice.
    axes = "axes: [{key: cracks.penny.radius, values: [2 um, 3 um, 4 um]}, {key: mesh.grading, values: [1.2, 1.4]}]"
    made(
        tmp_path,
        axes,
        lambda p: {"f": figure(10 * p.values["cracks.penny.radius"] + p.values["mesh.grading"], 0.5, "V")},
    )
    table = load_sweep(tmp_path / "out")
    frame = table.to_pandas()
    assert frame["f [V]"].tolist() == pytest.approx([21.2, 21.4, 31.2, 31.4, 41.2, 41.4])
    data = table.to_xarray()
    assert float(data["f"].sel({"cracks.penny.radius": 3.0, "mesh.grading": 1.4})) == pytest.approx(31.4)
    assert data["f"].attrs == {"units": "V"}
    assert data["cracks.penny.radius"].attrs == {"units": "um"}
    assert float(data["f_error"].min()) == 0.5
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect() as connection:
        found = connection.execute(f"SELECT sum(\"f [V]\") FROM '{tmp_path}/out/sweep.parquet'").fetchone()
    assert found[0] == pytest.approx(187.8)
    for name in ("pandas", "xarray"):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(SetupError, match=rf"{name}: is not installed; pip install"):
            getattr(table, f"to_{name}")()


@pytest.mark.parametrize("exponent", [-0.5, 1.0, 2.5])
def test_a_power_law_is_found_with_its_interval(exponent: float) -> None:
    # Catches: an exponent of the inverse, an interval without the stated errors or without the scatter.
    x = np.geomspace(1, 100, 7)
    exact = power_law(list(x), list(3 * x**exponent))
    assert exact is not None
    assert exact.exponent == pytest.approx(exponent, abs=1e-12)
    assert exact.factor == pytest.approx(3)
    assert exact.half_width < 1e-9
    y = 3 * x**exponent
    barred = power_law(list(x), list(y), list(0.1 * y))
    centred = np.log(x) - np.log(x).mean()
    assert barred is not None
    assert barred.half_width == pytest.approx(2 * 0.05 / math.sqrt((centred**2).sum()))  # of a weighted sum of errors
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(400):
        noisy = power_law(list(x), list(y * np.exp(0.1 * rng.normal(size=len(x)))))
        assert noisy is not None
        hits += abs(noisy.exponent - exponent) < noisy.half_width
    assert 0.92 < hits / 400 < 0.98, "an interval of 95 %"
    assert power_law([1, 2], [1, 2]) is None
    assert power_law([1, 1, 1, 2], [1, 2, 3, 4]) is None


def test_indices_of_ishigami() -> None:
    # Closed form: a = 7, b = 0.1 (Ishigami and Homma 1990). Catches: first and total exchanged, columns exchanged.
    from fem_spall.sweep.axes import _shares

    x = (2 * _shares("sobol", 3, 1024, 0, True) - 1) * math.pi
    found = sensitivity(
        ["a", "b", "c"], 1024, np.sin(x[:, 0]) + 7 * np.sin(x[:, 1]) ** 2 + 0.1 * x[:, 2] ** 4 * np.sin(x[:, 0])
    )
    a, b = 7.0, 0.1
    one, two = 0.5 * (1 + b * math.pi**4 / 5) ** 2, a**2 / 8
    three = b**2 * math.pi**8 * (1 / 18 - 1 / 50)
    total = one + two + three
    assert [i.first for i in found] == pytest.approx([one / total, two / total, 0], abs=0.03)
    assert [i.total for i in found] == pytest.approx([(one + three) / total, two / total, three / total], abs=0.03)
    assert all(i.total_interval[0] < i.total < i.total_interval[1] for i in found)


def test_the_report_draws_laws_and_curves(tmp_path: Path) -> None:
    # Catches: a fit of the wrong column, curves without bars, a click that leads nowhere.
    fits = "\nreport: {figures: [fef_tip], fits: [{figure: fef_tip, axis: rho, minus: 1}]}"
    plan = made(tmp_path, RHO + fits, lambda p: {"fef_tip": figure(1 + 50 * p.values["rho"] ** -0.5, 0.01)})
    laws = json.loads((tmp_path / "out" / "sweep.json").read_text())["laws"]
    assert laws[0]["law"]["exponent"] == pytest.approx(-0.5, abs=1e-9)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "−0.5000" in page
    data = re.search(r'id="plot-data">(.*?)</script>', page, re.DOTALL)
    assert data is not None
    plot = json.loads(data[1])[0]
    assert plot["data"][0]["x"] == [point.values["rho"] for point in plan.points]
    assert plot["data"][0]["error_y"]["array"] == [0.01] * 5
    assert plot["data"][0]["customdata"][0] == f"points/{plan.points[0].id}/report.html"
    assert plot["layout"]["xaxis"]["type"] == "log"


def test_two_axes_are_a_contour_and_many_are_parallel(tmp_path: Path) -> None:
    # Catches: a contour that is transposed; repeats drawn as if they were an axis.
    axes = "axes: [{key: cracks.penny.radius, values: [2 um, 3 um, 4 um]}, {key: mesh.grading, values: [1.2, 1.4]}]"
    more = "\nrepeats: {key: mesh.max_cells, seeds: [1000, 2000]}"

    def figures(p: Point) -> dict[str, Any]:
        return {
            "fef_tip": figure(
                p.values["cracks.penny.radius"] * 10 + p.values["mesh.grading"] + p.values["mesh.max_cells"] / 1000
            )
        }

    made(tmp_path, axes + more, figures)
    page = (tmp_path / "out" / "report.html").read_text()
    data = re.search(r'id="plot-data">(.*?)</script>', page, re.DOTALL)
    assert data is not None
    curves, contour, parallel = json.loads(data[1])
    assert [trace["y"] for trace in curves["data"]] == [
        pytest.approx([22.7, 32.7, 42.7]),
        pytest.approx([22.9, 32.9, 42.9]),
    ]
    assert curves["data"][0]["error_y"]["array"] == pytest.approx([math.sqrt(0.5)] * 3)
    assert contour["data"][0]["type"] == "contour"
    assert contour["data"][0]["z"] == [pytest.approx([22.7, 32.7, 42.7]), pytest.approx([22.9, 32.9, 42.9])]
    assert parallel["data"][0]["type"] == "parcoords"
    assert len(parallel["data"][0]["dimensions"]) == 3


def test_paraview_walks_the_points_that_have_fields(tmp_path: Path) -> None:
    # Catches: an index that names files that are not there, or steps that are not those of the plan.
    plan = made(tmp_path, RHO, lambda p: None if p.values["rho"] == 10 else {"f": figure(1.0)})
    out = tmp_path / "out"
    for point in plan.points[1:3]:
        place = out / "points" / point.id
        (place / "fields").mkdir()
        (place / "fields" / "volume.vtu").write_text("x")
        (place / "fields.pvd").write_text(
            '<VTKFile><Collection><DataSet file="fields/volume.vtu"/></Collection></VTKFile>'
        )
    collect(plan, out)
    found = re.findall(r'timestep="(\d+)".*file="(.*?)"', (out / "sweep.pvd").read_text())
    assert found == [(str(k), f"points/{plan.points[k].id}/fields/volume.vtu") for k in (1, 2)]
