"""Plans of sweeps: axes, formulas, filters, IDs, and everything that is refused before any work."""

from __future__ import annotations

import itertools
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import qmc

from fem_spall import cli
from fem_spall.case_file import case_hash, load_case
from fem_spall.errors import CaseError
from fem_spall.quantity import measured
from fem_spall.sweep.expression import Formula, FormulaError
from fem_spall.sweep.plan import Plan, groups, make_plan, point_case, read_plan
from fem_spall.sweep.sweep_file import read_sweep
from tests.conftest import ROOT

CASE = """\
version: 1
name: boss
electrolyte: {size: [20 um, 30 um, 50 um], conductivity: 1 mS/cm}
electrodes: {counter: {potential: 50 mV}}
cracks:
  - {name: b, kind: penny, centre: [10 um, 15 um], radius: 5 um, opening: 1 um}
  - {name: hole, kind: spall, centre: [10 um, 15 um]}
mesh: {size_min: 500 nm, size_max: 4 um}
"""
GRADING = "axes: [{key: mesh.grading, values: [1.2]}]\n"
RADIUS = "axes: [{key: cracks.b.radius, "
HEAD = "version: 1\nname: depth\ncase: case.yaml\n"


def planned(folder: Path, text: str, *overrides: str) -> Plan:
    (folder / "case.yaml").write_text(CASE)
    (folder / "sweep.yaml").write_text(HEAD + text)
    return make_plan(read_sweep(folder / "sweep.yaml"), overrides)


def column(plan: Plan, name: str) -> list[object]:
    return [point.values[name] for point in plan.points]


# --- axes ---


def test_axes_are_a_grid_whose_last_runs_fastest(tmp_path: Path) -> None:
    # Catches: values paired instead of crossed, a count that leaves an end out, units of bounds that are mixed up.
    plan = planned(
        tmp_path,
        """
axes:
  - {key: cracks.b.radius, values: [2 um, 5000 nm]}
  - {key: mesh.size_min, log: [100 nm, 1 um], count: 3}
  - {key: mesh.grading, range: [1.2, 1.6], count: 2}
""",
    )
    assert column(plan, "cracks.b.radius") == [2.0] * 6 + [5.0] * 6
    assert column(plan, "mesh.size_min")[:6] == pytest.approx([100, 100, 316.227766017, 316.227766017, 1000, 1000])
    assert column(plan, "mesh.grading")[:2] == [1.2, 1.6]
    assert [(c.name, c.unit) for c in plan.columns] == [
        ("cracks.b.radius", "um"),
        ("mesh.size_min", "nm"),
        ("mesh.grading", ""),
    ]
    assert len({point.id for point in plan.points}) == 12


def test_zip_and_nested_grid(tmp_path: Path) -> None:
    # Catches: zip that crosses, or a grid inside it that is not flattened in order.
    plan = planned(
        tmp_path,
        """
axes:
  - zip:
      - {key: cracks.b.radius, values: [2 um, 3 um, 4 um, 5 um]}
      - grid:
          - {key: solver.degree, values: [1, 2]}
          - {key: cracks.b.opening, values: [0.6 um, 0.8 um]}
""",
    )
    rows = zip(*(column(plan, name) for name in ("cracks.b.radius", "solver.degree", "cracks.b.opening")), strict=True)
    assert list(rows) == [(2.0, 1, 0.6), (3.0, 1, 0.8), (4.0, 2, 0.6), (5.0, 2, 0.8)]


def test_csv_with_units_in_the_header(tmp_path: Path) -> None:
    # Catches: units of the header dropped, integers read as floats (a seed would be refused).
    (tmp_path / "points.csv").write_text("cracks.b.radius [um],cracks.hole.seed\n2,7\n3.5,8\n")
    plan = planned(tmp_path, "axes: [{csv: points.csv}]\n")
    cases = [point_case(written(plan, tmp_path / "out"), tmp_path / "out", point.id)[1] for point in plan.points]
    assert [(case.cracks[0].radius, case.cracks[1].seed) for case in cases] == [(2e-6, 7), (3.5e-6, 8)]  # type: ignore[union-attr]


def written(plan: Plan, folder: Path) -> Plan:
    folder.mkdir(exist_ok=True)
    plan.write(folder)
    return read_plan(folder)


def test_samples_are_those_of_scipy_and_sobol_extends(tmp_path: Path) -> None:
    # Catches: bounds swapped, a logarithmic bound sampled linearly, a seed that is ignored, samples that all move when
    # the count doubles (so that nothing of a finished sweep could be used again).
    bounds = "{{cracks.b.radius: [2 um, 6 um], mesh.size_min: {{log: [100 nm, 1 um]}}}}"
    text = "axes: [{{{kind}: " + bounds + ", count: {n}, seed: 3}}]\n"
    plan = planned(tmp_path, text.format(kind="sobol", n=8))
    unit = qmc.Sobol(2, rng=np.random.default_rng(3)).random(8)
    assert column(plan, "cracks.b.radius") == pytest.approx(2 + 4 * unit[:, 0])
    assert column(plan, "mesh.size_min") == pytest.approx(100 * 10 ** unit[:, 1])
    more = planned(tmp_path, text.format(kind="sobol", n=16))
    assert [p.id for p in more.points[:8]] == [p.id for p in plan.points]
    cube = planned(tmp_path, text.format(kind="latin_hypercube", n=5))
    strata = sorted(int((float(str(r)) - 2) / 4 * 5) for r in column(cube, "cracks.b.radius"))
    assert strata == [0, 1, 2, 3, 4]


def test_a_plan_for_sensitivity_has_saltellis_matrices(tmp_path: Path) -> None:
    # Catches: a column taken from A instead of B, which gives indices of nothing.
    bounds = "{cracks.b.radius: [2 um, 6 um], mesh.grading: [1.2, 1.8]}"
    text = "axes: [{sobol: " + bounds + ", count: 4, seed: 1, sensitivity: true}]\n"
    plan = planned(tmp_path, text)
    by_id = {p.id: (p.values["cracks.b.radius"], p.values["mesh.grading"]) for p in plan.points}
    assert plan.design is not None
    a, b, first, second = (list(block) for block in itertools.batched((by_id[i] for i in plan.design["points"]), 4))
    assert first == [(y[0], x[1]) for x, y in zip(a, b, strict=True)]
    assert second == [(x[0], y[1]) for x, y in zip(a, b, strict=True)]


# --- formulas, filters, repeats ---


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a / 4 + 50 nm", 0.55e-6), ("2 * sqrt(a * 8 um)", 8e-6), ("max(a, 3 um) if n > 2 else a", 3e-6),
        ("cracks.0.depth - 1 um", 4e-6), ("sin(30 deg) * a", 1e-6), ("-a + 2 um + abs(-1 nm)", 1e-9),
    ],
)  # fmt: skip
def test_formulas_reckon_with_units(text: str, value: float) -> None:
    # Catches: a unit taken for a name, a precedence lost, a length added to a number in another unit.
    known = {"a": measured("2 um"), "n": measured(3), "cracks.0.depth": measured("5 um")}
    found = Formula.read(text).value(known.__getitem__)
    assert not isinstance(found, bool)
    assert found.to("m").magnitude == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("__import__('os').system('true')", "knows only the functions"), ("a.__class__()", "knows only the functions"),
        ("(lambda: 1)()", "knows only the functions"), ("[1, 2]", "must be arithmetic"), ("a ^ 2", "power is"),
        ("open", None), ("9 ** 9 ** 9 ** 9", "cannot be evaluated"), ("a + 2 V", "units do not fit"),
        ("1 / (a - a)", "divides by zero"), ("(" * 300 + "a", "is no formula"), ("1 um/cracks", "is not known"),
        ("a if", "is no formula"), ("x" * 501, "at most 500"), ("f'{a}'", "must be arithmetic"),
        ("a @ a", "must be arithmetic"),
    ],
)  # fmt: skip
def test_formulas_do_nothing_but_arithmetic(text: str, said: str | None) -> None:
    # Catches: a formula that runs code, never ends, or ends in a traceback.
    def lookup(name: str) -> object:
        if name != "a":
            raise FormulaError(f"there is no {name}")
        return measured("2 um")

    with pytest.raises(FormulaError, match=said or "there is no open"):
        Formula.read(text).value(lookup)  # type: ignore[arg-type]


def test_derived_keys_symbols_filters_and_repeats(tmp_path: Path) -> None:
    # Catches: a formula that sees the base's value instead of the point's, a filter applied before the formulas.
    plan = planned(
        tmp_path,
        """
axes: [{key: rho, log: [10 nm, 1 um], count: 3}]
derived:
  cracks.b.opening: 2 * sqrt(rho * cracks.b.radius)
  mesh.size_min: cracks.b.opening / 2
where: [cracks.b.opening < 3 um]
repeats: {key: cracks.hole.seed, seeds: [4, 5]}
""",
    )
    assert column(plan, "rho") == [10.0, 10.0, 100.0, 100.0]
    assert column(plan, "cracks.hole.seed") == [4, 5, 4, 5]
    assert column(plan, "cracks.b.opening") == pytest.approx([2 * math.sqrt(r * 5e-3) for r in (10, 10, 100, 100)])
    assert column(plan, "mesh.size_min") == pytest.approx([math.sqrt(r * 5e-3) for r in (10, 10, 100, 100)])
    assert [len(points) for _, points in groups(plan)] == [2, 2]
    assert plan.notes == ("2 points are filtered out by 'where'.",)
    assert "rho" not in plan.points[0].settings, "a symbol is no key of the case"


# --- IDs and the written plan ---


def test_ids_depend_on_the_case_alone_and_survive_more_values(tmp_path: Path) -> None:
    # Catches: IDs by number or by spelling, so that a finished point is run again when values are added.
    one = planned(tmp_path, RADIUS + "values: [2 um, 4 um]}]\n")
    other = planned(tmp_path, RADIUS + "values: [3 um, 4000 nm, 2 um]}]\n")
    assert [p.id for p in one.points] == [other.points[2].id, other.points[1].id]
    case = load_case(tmp_path / "case.yaml", ["cracks.b.radius=2 um"])
    assert one.points[0].case_hash == case_hash(case)
    twice = planned(tmp_path, RADIUS + "values: [2 um, 2000 nm]}]\n")
    assert len(twice.points) == 1
    assert "1 points are the same case as another" in twice.notes[0]


def test_a_written_plan_can_be_moved(tmp_path: Path) -> None:
    # Catches: paths of this machine in the plan; a point that silently computes something else than was planned.
    shutil.copy(ROOT / "meshes" / "crack.stl", tmp_path / "one.stl")
    (tmp_path / "case.yaml").write_text(
        CASE.replace("cracks:\n", "cracks:\n  - {name: s, kind: surface_file, file: one.stl, unit: um}\n")
    )
    (tmp_path / "sweep.yaml").write_text(HEAD + "axes: [{key: cracks.s.place.scale, values: [0.5, 1]}]\n")
    plan = make_plan(read_sweep(tmp_path / "sweep.yaml"))
    written(plan, tmp_path / "out")
    assert str(tmp_path) not in (tmp_path / "out" / "plan.json").read_text()
    shutil.move(tmp_path / "out", tmp_path / "elsewhere")
    (tmp_path / "one.stl").unlink()
    moved = read_plan(tmp_path / "elsewhere")
    assert point_case(moved, tmp_path / "elsewhere", plan.points[1].id)[1].cracks[0].place.scale == 1  # type: ignore[union-attr]
    (copied,) = (tmp_path / "elsewhere" / "inputs").iterdir()
    copied.write_bytes(copied.read_bytes() + b"\n")
    with pytest.raises(CaseError, match="is another case than when it was planned"):
        point_case(moved, tmp_path / "elsewhere", plan.points[1].id)


# --- refusals ---


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("axes: [{key: cracks.b.radus, values: [2 um]}]", r"sweep.yaml:4:14: cracks.0.radus: there is no key"),
        ("axes: [{key: radius, values: [2 um]}]", r"sweep.yaml:4:14: axes: 'radius' is no key path"),
        ("axes: [{key: mesh.size_min, range: [1 nm, 9 um], count: 10000000}]", r"at most 20,000 points; got 10,000"),
        (RADIUS + "values: [2 um, 3 mV]}]", r"sweep.yaml:4:46: cracks.0.radius: with .*'3 mV'.*potential"),
        (RADIUS + "values: [0.4 um, 3 um]}]", r"case.yaml:6:5: .*'0.4 um'.*opening must be below"),
        (RADIUS + "log: [0 um, 1 um], count: 3}]", r"bounds of 'log' must be above zero"),
        (RADIUS + "range: [1 um, 2 mV], count: 3}]", r"sweep.yaml:4:38: axes.0.range: .*unit of potential"),
        (RADIUS + "range: [1 um, 2 um]}]", r"'range' needs the key 'count'"),
        (RADIUS + "values: [1 um], count: 2}]", r"axes.0.count: does not belong to 'values'"),
        ("axes: [{zip: [{key: mesh.grading, values: [1.2, 1.3]}, {key: x.y, values: [1]}]}]", r"one length; got 2, 1"),
        ("axes: [{sobol: {cracks.b.radius: [1 um, 2 um]}, count: 12}]", r"power of two; got 12"),
        ("axes: [{csv: none.csv}]", r"axes.0.csv: cannot be read"),
        ("axes: []", r"axes: must be a list of axes"),
        (GRADING + "derived: {mesh.grading: 1.3}", r"'mesh.grading' is given twice"),
        (GRADING + "derived: {mesh.size_min: cracks.b.opening ** 2}", r"sweep.yaml:5:26: mesh.size_min: .*in um"),
        (GRADING + "where: [mesh.grading > 2]", r"where: leaves no point"),
        (GRADING + "limits: {time: 5}", r"sweep.yaml:5:10: limits.time: a time needs a unit"),
        (GRADING + "repeat: 3", r"sweep.yaml:5:1: repeat: there is no key 'repeat'"),
        (GRADING + "set: {mesh.siz: 1 um}", r"sweep.yaml:5:7: mesh.siz: there is no key 'siz'"),
    ],
)  # fmt: skip
def test_faults_are_told_with_their_place(text: str, said: str, tmp_path: Path) -> None:
    # Catches: a fault that is found after hours, or told without line and column.
    with pytest.raises(CaseError, match=said):
        planned(tmp_path, text + "\n")


def test_ten_million_points_are_refused_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Catches: a grid that is written out before it is counted, which fills the memory.
    (tmp_path / "case.yaml").write_text(CASE)
    axes = "".join(f"  - {{key: {key}, range: [{low}, {high}], count: 216}}\n" for key, low, high in (
        ("cracks.b.radius", "2 um", "3 um"), ("mesh.grading", 1.2, 1.5), ("mesh.size_max", "3 um", "4 um"),
    ))  # fmt: skip
    (tmp_path / "sweep.yaml").write_text(HEAD + "axes:\n" + axes)
    assert cli._main(["sweep", str(tmp_path / "sweep.yaml"), "-o", str(tmp_path / "out")]) == 2
    assert "E203" in (said := capsys.readouterr().err)
    assert "got 10,077,696" in said
    assert not (tmp_path / "out").exists()


def test_a_dry_run_tells_points_and_cost_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Catches: a dry run that makes folders, or tells a cost of nothing.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "case.yaml").write_text(CASE.split("  - {name: hole")[0] + CASE[CASE.index("mesh:") :])
    (tmp_path / "sweep.yaml").write_text(HEAD + RADIUS + "values: [2 um]}]\n")
    assert cli._main(["sweep", "sweep.yaml", "--dry-run", "--workers", "1"]) == 0
    told = capsys.readouterr().out
    assert "cracks.b.radius [um]" in told
    assert "1 points, 1 at a time" in told
    assert "unknowns a point" in told
    assert "before refinement" not in told
    assert cli._main(["sweep", "sweep.yaml", "accuracy.target=1 %", "--dry-run", "--workers", "1"]) == 0
    assert "before refinement" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"case.yaml", "sweep.yaml"}


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "configs" / "sweeps").glob("*.yaml")))
def test_every_sweep_of_the_configs_is_planned(name: str) -> None:
    # Catches: a configuration that no longer fits the case models.
    plan = make_plan(read_sweep(ROOT / "configs" / "sweeps" / name))
    assert 5 <= len(plan.points) <= 12
    assert json.dumps(plan.points[0].settings)
