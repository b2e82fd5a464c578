"""Distribution, weak form and solver on small irregular meshes: exact answers, conservation, independence."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from fem_spall.case import Case
from fem_spall.conduction import formulate
from fem_spall.errors import CaseError, MeshingError, SolveError
from fem_spall.fenics import MPI, dolfinx, integrate, ufl
from fem_spall.mesh.arrays import MeshArrays
from fem_spall.mesh.tagged import TaggedMesh, distribute
from fem_spall.output.folder import ResultFolder
from fem_spall.progress import Silent
from fem_spall.run import _solve
from fem_spall.solve import Solution, _boundary_moment, solve
from fem_spall.stage import solve_stage
from fem_spall.surface_flux import lithium_flux
from fem_spall.system import System
from tests.solids import UM, block_mesh, case_of

ROOT = Path(__file__).parents[2]
PLATES = {"plating": {"face": "+z"}, "counter": {"face": "-z", "potential": "50 mV"}}
EXACT_CURRENT = 0.1 * 600 * UM**2 * 0.05 / (50 * UM)  # σ A V / H of the block without cracks, A
#: A crack of any shape has names and conditions of its own; here half of the plating face plays it.
CRACK = {"name": "a", "kind": "surface_file", "file": "nowhere.stl", "unit": "um"}


def solved(case: Case, arrays: MeshArrays, degree: int) -> Solution:
    mesh = distribute(arrays, MPI.COMM_SELF)
    first = solve(formulate(case, mesh, 1), case.solver.tolerance)
    return first if degree == 1 else solve(formulate(case, mesh, 2), case.solver.tolerance, first)


def electrodes(**counter: Any) -> dict[str, Any]:
    return {**PLATES, "counter": {"face": "-z", **counter}}


def record_of(case: Case, arrays: MeshArrays, folder: Path) -> dict[str, Any]:
    record = solve_stage(case, arrays, MPI.COMM_SELF, folder, Silent())
    assert record is not None
    return record


def values(record: dict[str, Any]) -> dict[str, float]:
    return {name: m["value"] for name, m in record["metrics"].items() if m["value"] is not None}


def resistive(ohm_cm2: float) -> dict[str, Any]:
    return {"kind": "resistance", "value": f"{ohm_cm2} ohm cm^2"}


# --- distribution ---------------------------------------------------------------------------------------------


def surface_integral(mesh: TaggedMesh, name: str, integrand: Any, kind: str = "ds") -> float:
    measure = ufl.Measure(kind, domain=mesh.mesh, subdomain_data=mesh.facet_tags)(mesh.names[name])
    return integrate(integrand * measure, mesh.comm)


@pytest.mark.parametrize("order", [1, 2])
def test_every_named_facet_is_found(order: int) -> None:
    """Bug: facets are matched to the wrong triangles, or inner ones of a sheet are lost."""
    arrays = block_mesh((4, 3, 4), sheet=(10.0, 25.0), order=order, bend=0.03)
    mesh = distribute(arrays, MPI.COMM_SELF)
    assert {name: len(mesh.facets(name)) for name in mesh.names} == {
        name: int((arrays.tags == tag).sum()) for name, tag in arrays.names.items()
    }
    normal = ufl.FacetNormal(mesh.mesh)
    scale = (arrays.unit / UM) ** 2
    for name, (axis, sign, area) in {"-x": (0, -1, 1500), "+y": (1, 1, 1000), "+z": (2, 1, 600)}.items():
        assert surface_integral(mesh, name, normal[axis]) * scale == pytest.approx(sign * area, rel=1e-12)
    one = dolfinx.fem.Constant(mesh.mesh, 1.0)
    assert surface_integral(mesh, "sheet", one, "dS") * scale == pytest.approx(30 * 25, rel=1e-12)
    assert mesh.sheets == {"sheet"}
    assert integrate(one * ufl.dx, mesh.comm) * scale * arrays.unit / UM == pytest.approx(30000, rel=1e-12)


def test_lost_facets_are_seen() -> None:
    """Bug: a named triangle that is no face of a cell silently turns lithium into an insulating wall."""
    arrays = block_mesh()
    facets = arrays.facets.copy()
    facets[0] = [0, 40, 79]
    with pytest.raises(MeshingError, match="1 named facets were lost in distribution"):
        distribute(replace(arrays, facets=facets), MPI.COMM_SELF)


# --- exact answers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("degree", [1, 2])
def test_the_moment_of_the_boundary_is_that_of_the_form(degree: int) -> None:
    """Bug: a facet takes the unknowns of another, points inwards, or the rows of the conductivity are mixed up."""
    tensor = np.array([[1.0, 0.2, 0.1], [0.2, 2.0, 0.3], [0.1, 0.3, 3.0]])
    mesh = distribute(block_mesh((3, 2, 4), crack="a"), MPI.COMM_SELF)
    problem = replace(formulate(case_of(cracks=[CRACK]), mesh, degree), conductivity=tensor)
    phi = dolfinx.fem.Function(problem.space)
    phi.interpolate(lambda x: np.sin(3 * x[0]) + x[2] ** 2 * x[1] + 1)
    normal = ufl.FacetNormal(mesh.mesh)
    form = phi * ufl.dot(problem.sigma, normal)[2] * ufl.ds(domain=mesh.mesh)
    assert _boundary_moment(problem, phi) == pytest.approx(integrate(form, mesh.comm), rel=1e-13)


@pytest.mark.parametrize(("degree", "order"), [(1, 1), (2, 1), (2, 2)])
def test_parallel_plates(degree: int, order: int) -> None:
    """Bug: units, signs, orders of nodes or shares of vertices are off; here every digit is known."""
    solution = solved(case_of(), block_mesh(order=order, bend=0.03), degree)
    flux, currents = lithium_flux(solution)
    assert currents["+z"] == pytest.approx([EXACT_CURRENT] * 3, rel=1e-10, abs=0)
    assert currents["-z"] == pytest.approx([-EXACT_CURRENT] * 3, rel=1e-10, abs=0)
    mean = EXACT_CURRENT / (600 * UM**2)
    np.testing.assert_allclose(flux.only(("+z",)).density, mean, rtol=1e-9)
    np.testing.assert_allclose(flux.only(("-z",)).density, -mean, rtol=1e-9)
    space = solution.problem.space
    height = space.tabulate_dof_coordinates()[:, 2] * solution.problem.mesh.unit
    np.testing.assert_allclose(solution.phi.x.array, 0.05 * (1 - height / (50 * UM)), atol=1e-12)
    assert solution.phi_range == pytest.approx((0.0, 0.05), abs=1e-12)


@pytest.mark.parametrize("degree", [1, 2])
def test_anisotropic_plates_along_the_axes(degree: int) -> None:
    """Bug: the tensor's entries are mixed up, or only its mean counts."""
    rows = [["0.3 S/m", "0 S/m", "0 S/m"], ["0 S/m", "0.05 S/m", "0 S/m"], ["0 S/m", "0 S/m", "0.2 S/m"]]
    case = case_of(electrolyte={"size": ["20 um", "30 um", "50 um"],
                                "conductivity": {"kind": "anisotropic", "rows": rows}})  # fmt: skip
    currents = lithium_flux(solved(case, block_mesh(), degree))[1]
    assert currents["+z"][0] == pytest.approx(2 * EXACT_CURRENT, rel=1e-10, abs=0)


@pytest.mark.parametrize("degree", [1, 2])
def test_the_flux_of_a_turned_tensor(degree: int) -> None:
    """Bug: the tensor is transposed, or its off-diagonal entries are dropped: j = −σ∇φ at every boundary vertex."""
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    sigma = turn @ np.diag([0.3, 0.05, 0.2]) @ turn.T
    sigma = (sigma + sigma.T) / 2
    rows = [[f"{float(v)!r} S/m" for v in row] for row in sigma]
    case = case_of(electrolyte={"size": ["20 um", "30 um", "50 um"],
                                "conductivity": {"kind": "anisotropic", "rows": rows}})  # fmt: skip
    arrays = block_mesh()
    slope = np.array([0.2, -0.3, 0.5])  # V per mesh unit
    mesh = distribute(arrays, MPI.COMM_SELF)
    start: Solution | None = None
    for d in range(1, degree + 1):
        problem = formulate(case, mesh, d)
        everywhere = dict.fromkeys((*arrays.names,), lambda x: slope @ x)
        start = solve(replace(problem, fixed=everywhere, roles={n: n for n in everywhere}), 1e-11, start)
    assert start is not None
    current = -sigma @ slope / arrays.unit  # A/m^2
    expected = np.zeros(len(arrays.points))
    corners = arrays.points[arrays.facets] * arrays.unit
    outward = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]) / 2
    np.add.at(expected, arrays.facets, (outward @ current / 3)[:, None])
    np.testing.assert_allclose(start.vertex_current[""], expected, atol=1e-9 * np.abs(expected).max())
    power = slope @ sigma @ slope / arrays.unit**2 * 30000 * UM**3
    assert start.bulk_power == pytest.approx(power, rel=1e-10, abs=0)


@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("counter", [0.0, 0.003])
def test_plates_with_interfaces(degree: int, counter: float) -> None:
    """Bug: an interfacial resistance is scaled by the wrong length, or one electrode's is forgotten."""
    plating = 0.02  # ohm cm^2; the electrolyte has 50 um / (0.1 S/m) = 5 ohm cm^2 = 5e-4 ohm m^2
    case = case_of(electrodes={
        "plating": {"face": "+z", "interface": resistive(plating)},
        "counter": {"face": "-z", "potential": "50 mV", "interface": resistive(counter)},
    })  # fmt: skip
    currents = lithium_flux(solved(case, block_mesh(), degree))[1]
    area_resistance = 50 * UM / 0.1 + (plating + counter) * 1e-4
    expected = 0.05 / area_resistance * 600 * UM**2
    assert currents["+z"][0] == pytest.approx(expected, rel=1e-10, abs=0)
    assert currents["-z"][0] == pytest.approx(-expected, rel=1e-10, abs=0)


def test_no_resistance_is_a_fixed_potential(tmp_path: Path) -> None:
    """Bug: a resistance of zero divides by zero, or is taken for an open circuit."""
    arrays = block_mesh((4, 3, 4), crack="a")
    one = record_of(case_of(cracks=[CRACK]), arrays, tmp_path)
    zero = record_of(case_of(cracks=[CRACK | {"interface": resistive(0)}]), arrays, tmp_path)
    assert zero["metrics"] == one["metrics"]


def test_a_growing_resistance_shuts_a_crack_off(tmp_path: Path) -> None:
    """Bug: the law of a crack is applied to the whole plating face, or to none."""
    arrays = block_mesh((4, 3, 4), crack="a")
    shares = [
        values(record_of(case_of(cracks=[CRACK | {"interface": resistive(r)}]), arrays, tmp_path))[
            "crack_current_share"
        ]
        for r in (0.0, 5.0, 1e6)
    ]
    assert shares[0] == pytest.approx(0.5, rel=1e-9), "half of the plating face"
    assert shares[0] > shares[1] > shares[2]
    assert shares[2] == pytest.approx(0, abs=1e-5)


# --- independence of what must not matter ---------------------------------------------------------------------------


def test_galvanostatic_is_scaled_potentiostatic(tmp_path: Path) -> None:
    """Bug: the voltage stays that of the 1 V problem, so that resistance and advance are nonsense."""
    arrays = block_mesh((4, 3, 4), crack="a")
    crack = CRACK | {"interface": resistive(0.3)}
    by_voltage = record_of(case_of(cracks=[crack]), arrays, tmp_path)
    density = by_voltage["metrics"]["mean_current_density"]["value"]
    drive = electrodes(drive={"current_density": f"{density!r} A/m^2"})
    by_current = record_of(case_of(cracks=[crack], electrodes=drive), arrays, tmp_path)
    one, other = values(by_voltage), values(by_current)
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert other[name] == pytest.approx(value, rel=1e-8, abs=1e-12 * 50 * UM), name
    assert by_current["phi_max"] == pytest.approx(0.05, rel=1e-9)
    assert by_current["electrodes"]["counter_V"] == pytest.approx(0.05, rel=1e-9)
    assert by_current["conductance_over_sigma"] == pytest.approx(by_voltage["conductance_over_sigma"], rel=1e-9, abs=0)
    assert by_current["reference"]["field_V_over_H"] == pytest.approx(by_voltage["reference"]["field_V_over_H"])


def test_a_reversed_drive_reverses_the_currents(tmp_path: Path) -> None:
    """Bug: stripping is solved as plating, or a negative current breaks the quantiles."""
    drive = electrodes(drive={"current_density": "-2 A/m^2"})
    record = record_of(case_of(electrodes=drive), block_mesh(), tmp_path)
    assert record["metrics"]["total_current"]["value"] == pytest.approx(-2 * 600 * UM**2, rel=1e-12, abs=0)
    assert record["metrics"]["flux_q50"]["value"] == pytest.approx(1, rel=1e-9)
    assert record["metrics"]["resistance"]["value"] == pytest.approx(0.05 / EXACT_CURRENT, rel=1e-9)


def test_only_potential_differences_count(tmp_path: Path) -> None:
    """Bug: the potential of the plating electrode is ignored or added twice."""
    arrays = block_mesh((4, 3, 4), crack="a")
    crack = CRACK | {"interface": resistive(0.3)}
    base = record_of(case_of(cracks=[crack]), arrays, tmp_path)
    lifted = {"plating": {"face": "+z", "potential": "0.3 V"}, "counter": {"face": "-z", "potential": "0.35 V"}}
    moved = record_of(case_of(cracks=[crack], electrodes=lifted), arrays, tmp_path)
    for name, value in values(base).items():
        assert values(moved)[name] == pytest.approx(value, rel=1e-9, abs=1e-15), name
    assert (moved["phi_min"], moved["phi_max"]) == pytest.approx((0.3 + base["phi_min"], 0.35), abs=1e-9)
    assert moved["electrodes"]["counter_V"] == pytest.approx(0.35, rel=1e-12)
    assert moved["cracks"]["a"]["potential"] == 0.3


def test_a_block_in_metres_is_a_block_in_micrometres(tmp_path: Path) -> None:
    """Bug: an absolute tolerance, or a length that is not scaled, makes the size of the block matter."""
    crack = CRACK | {"interface": resistive(0.3)}
    arrays = block_mesh((4, 3, 4), crack="a")
    small = record_of(case_of(cracks=[crack], metrics={"averaging_lengths": ["40 um"]}), arrays, tmp_path)
    large_case = case_of(
        electrolyte={"size": ["20 m", "30 m", "50 m"], "conductivity": "0.1 S/m"},
        cracks=[CRACK | {"interface": resistive(0.3e6)}],  # the Wagner length grows with the block
        metrics={"averaging_lengths": ["40 m"], "critical_current_density": "1e-9 mA/cm^2"},
        mesh={"size_min": "2 m", "size_max": "10 m", "refine_tips": False},
    )
    large = record_of(large_case, replace(arrays, unit=arrays.unit * 1e6), tmp_path)
    one, other = values(small), values(large)
    assert small["geometry"]["electrolyte_volume"] == pytest.approx(30000 * UM**3, rel=1e-12, abs=0)
    for name, power in {
        "total_current": 1, "resistance": -1, "electrode_advance": 1, "crack_current_share": 0, "flux_q50": 0,
        "flux_q99": 0, "flux_q95_current_weighted": 0, "capture_area": 2, "max_field_on_mesh": -1,
    }.items():  # fmt: skip
        assert other[name] == pytest.approx(one[name] * 1e6**power, rel=1e-9, abs=0), name
    (focusing,) = (value for name, value in other.items() if name.startswith("fef_r"))
    assert focusing == pytest.approx(one["fef_r40um"], rel=1e-9)


OUTSIDE = """
import json, sys
from pathlib import Path
from fem_spall.fenics import MPI
from fem_spall.progress import Silent
from fem_spall.stage import solve_stage
from tests.solids import block_mesh, case_of
crack = {"name": "a", "kind": "surface_file", "file": "nowhere.stl", "unit": "um"}
case = case_of(cracks=[crack | {"interface": {"kind": "resistance", "value": "0.3 ohm cm^2"}}])
record = solve_stage(case, block_mesh((4, 3, 4), crack="a"), MPI.COMM_SELF, Path(sys.argv[1]), Silent())
Path(sys.argv[1], "record.json").write_text(json.dumps({"metrics": record["metrics"], "solve": record["solve"]}))
"""


def test_options_of_petsc_and_of_the_form_compiler_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bug: PETSC_OPTIONS, a .petscrc or an ffcx_options.json of the user's changes a result."""
    crack = CRACK | {"interface": resistive(0.3)}
    here = record_of(case_of(cracks=[crack]), block_mesh((4, 3, 4), crack="a"), tmp_path)
    options = "-ksp_type preonly -pc_type none -p1_pc_type none -p1_ksp_max_it 1 -mat_type baij\n"
    home = tmp_path / "home"
    (home / ".config" / "ffcx").mkdir(parents=True)
    (home / ".config" / "dolfinx").mkdir()
    for folder in (home, tmp_path):
        (folder / ".petscrc").write_text(options)
        (folder / "petscrc").write_text(options)
    compiler = json.dumps({"part": "diagonal", "epsilon": 1.0, "table_atol": 0.5})
    (home / ".config" / "ffcx" / "ffcx_options.json").write_text(compiler)
    (tmp_path / "ffcx_options.json").write_text(compiler)
    (tmp_path / "dolfinx_jit_options.json").write_text(json.dumps({"cffi_extra_compile_args": ["-ffast-math"]}))
    monkeypatch.setenv("PETSC_OPTIONS", options)
    monkeypatch.setenv("PETSC_OPTIONS_YAML", "ksp_type: preonly")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    monkeypatch.setenv("FEM_SPALL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    done = subprocess.run(
        [sys.executable, "-c", OUTSIDE, str(tmp_path)], cwd=tmp_path, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    there = json.loads((tmp_path / "record.json").read_text())
    assert there["metrics"] == json.loads(json.dumps(here["metrics"]))
    for solve_record in (there["solve"], here["solve"]):
        assert solve_record.pop("bytes_per_unknown") > 0  # of two processes
    assert there["solve"] == here["solve"]


# --- solver ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, 2])
def test_the_prolongation_keeps_a_function(order: int) -> None:
    """Bug: edges and vertices of the two spaces are matched wrongly, and two-level iteration only looks slow."""
    case = case_of()
    mesh = distribute(block_mesh(order=order, bend=0.03), MPI.COMM_SELF)
    coarse = System(formulate(case, mesh, 1))
    fine = System(formulate(case, mesh, 2), coarse)
    linear = dolfinx.fem.Function(coarse.problem.space)
    linear.x.array[:] = np.random.default_rng(0).normal(size=len(linear.x.array))
    quadratic = dolfinx.fem.Function(fine.problem.space)
    quadratic.interpolate(linear)
    np.testing.assert_allclose(fine.raised(linear).x.array, quadratic.x.array, atol=1e-14)
    weights = np.random.default_rng(1).normal(size=fine.owned)
    assert fine.lowered(weights) @ linear.x.array == pytest.approx(weights @ quadratic.x.array, rel=1e-12, abs=0)


CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "crack": ({}, {"crack": "a"}),
    "resistive crack": ({"interface": resistive(0.3)}, {"crack": "a"}),
    "curved": ({"interface": resistive(0.3)}, {"crack": "a", "order": 2, "bend": 0.03}),
    "sheet": ({"name": "sheet"}, {"sheet": (10.0, 25.0)}),
    "curved sheet": ({"name": "sheet"}, {"sheet": (10.0, 25.0), "order": 2, "bend": 0.03}),
}


@pytest.mark.parametrize(
    ("name", "degree"), [(n, d) for n, (_, m) in CASES.items() for d in range(m.get("order", 1), 3)]
)
def test_charge_energy_and_advance_balance(name: str, degree: int, tmp_path: Path) -> None:
    """Bug: a surface without its term, a node counted twice, a moment about the wrong axis."""
    crack, mesh = CASES[name]
    case = case_of(
        cracks=[CRACK | crack], solver={"degree": degree, "tolerance": 1e-11},
        electrodes={"plating": {"face": "+z", "interface": resistive(0.01)}, "counter": PLATES["counter"]},
    )  # fmt: skip
    record = record_of(case, block_mesh((4, 3, 4), **mesh), tmp_path)
    assert max(abs(value) for value in record["identity"].values()) < 1e-9, record["identity"]
    assert record["solve"]["true_residual"] < 1e-11
    assert 0 < record["metrics"]["crack_current_share"]["value"] < 1
    assert record["geometry"]["electrolyte_volume"] == pytest.approx(30000 * UM**3, rel=1e-12, abs=0)


def test_curved_cells_need_degree_2() -> None:
    """Bug: degree 1 on curved cells solves, then breaks the balance of the advance and asks to report the case."""
    mesh = {"size_min": "2 um", "size_max": "10 um", "order": 2}
    with pytest.raises(ValidationError, match=r"mesh\.order 2 needs solver.degree 2"):
        case_of(mesh=mesh, solver={"degree": 1})
    case_of(mesh=mesh)


def test_a_sheet_has_two_faces(tmp_path: Path) -> None:
    """Bug: only one face of a sheet counts, and its mean current density reads double."""
    record = record_of(case_of(cracks=[CRACK | {"name": "sheet"}]), block_mesh((4, 3, 4), sheet=(10.0, 25.0)), tmp_path)
    assert record["cracks"]["sheet"]["area"] == pytest.approx(2 * 30 * 25 * UM**2, rel=1e-12, abs=0)


def test_the_turned_block_gives_the_same_currents() -> None:
    """Bug: +z is taken for the plating face somewhere."""
    arrays = block_mesh((4, 3, 4), crack="a")
    points = arrays.points * [1, 1, -1] + [0, 0, 5]
    names = arrays.names | {"+z": arrays.names["-z"], "-z": arrays.names["+z"]}
    turned = replace(arrays, points=points, cells=arrays.cells[:, [1, 0, 2, 3]], names=names)
    swapped = {"plating": {"face": "-z"}, "counter": {"face": "+z", "potential": "50 mV"}}
    one = lithium_flux(solved(case_of(cracks=[CRACK]), arrays, 2))[1]
    other = lithium_flux(solved(case_of(cracks=[CRACK], electrodes=swapped), turned, 2))[1]
    assert other["a"] == pytest.approx(one["a"], rel=1e-9, abs=0)
    assert other["-z"] == pytest.approx(one["+z"], rel=1e-9, abs=0)


@pytest.mark.parametrize("degree", [1, 2])
def test_what_does_not_converge_is_refused(degree: int) -> None:
    """Bug: an unconverged potential is reported like any other."""
    case = case_of(cracks=[CRACK])
    mesh = distribute(block_mesh((4, 3, 4), crack="a"), MPI.COMM_SELF)
    start = solve(formulate(case, mesh, 1), 1e-10)
    with pytest.raises(SolveError, match=r"the relative residual must be below 1e-30; got .*e-1") as refusal:
        solve(formulate(case, mesh, degree), 1e-30, start)
    assert refusal.value.detail == 1


def test_the_true_residual_is_recomputed() -> None:
    """Bug: the residual that the iteration believes in is reported as the true one."""
    case = case_of(cracks=[CRACK])
    mesh = distribute(block_mesh((4, 3, 4), crack="a"), MPI.COMM_SELF)
    loose = solve(formulate(case, mesh, 1), 1e-3)
    tight = solve(formulate(case, mesh, 1), 1e-11)
    assert tight.report.true_residual < 1e-11 < loose.report.true_residual < 1e-3
    system = tight.system
    wrong = tight.phi.copy()
    free = np.setdiff1d(np.arange(len(wrong.x.array)), system.fixed)
    wrong.x.array[free[0]] += 1e-3
    right, off = (np.linalg.norm(system._residual(phi, system.given)) for phi in (tight.phi, wrong))
    assert off > 1e3 * right


def test_degree_2_needs_degree_1() -> None:
    """Bug: a missing start is found out deep within PETSc."""
    problem = formulate(case_of(), distribute(block_mesh(), MPI.COMM_SELF), 2)
    with pytest.raises(ValueError, match="degree 2 needs the system of degree 1"):
        solve(problem, 1e-10)


def test_a_sheet_with_a_resistance_is_refused() -> None:
    """Bug: the surface term over inner facets is silently nothing, and the sheet carries no current."""
    case = case_of(cracks=[CRACK | {"name": "sheet", "interface": resistive(1)}])
    mesh = distribute(block_mesh((4, 3, 4), sheet=(10.0, 25.0)), MPI.COMM_SELF)
    with pytest.raises(CaseError, match="crack sheet: a sheet without thickness can only have a fixed potential"):
        formulate(case, mesh, 1)


def test_a_potential_must_be_fixed_somewhere() -> None:
    """Bug: a singular matrix goes to the solver."""
    insulated = {"plating": {"face": "+z", "interface": {"kind": "no_flux"}},
                 "counter": {"face": "-z", "potential": "1 V", "interface": {"kind": "no_flux"}}}  # fmt: skip
    with pytest.raises(CaseError, match="electrodes: the potential is fixed nowhere"):
        formulate(case_of(electrodes=insulated), distribute(block_mesh(), MPI.COMM_SELF), 1)


# --- ranks ------------------------------------------------------------------------------------------------------------


def test_two_ranks_give_the_currents_of_one(tmp_path: Path) -> None:
    """Bug: vertices on the border of two ranks count twice, or not at all."""
    case = case_of(cracks=[CRACK | {"interface": resistive(0.3)}], output={"fields": True, "report": False})
    arrays = block_mesh((4, 4, 6), crack="a")
    folders = [tmp_path / name for name in ("scratch", "one", "two")]
    for folder in folders:
        folder.mkdir()
    one = record_of(case, arrays, folders[1])
    two = _solve(case, [arrays], ResultFolder(folders[2], overwrite=False), folders[0], 2, Silent())
    assert (one["solve"]["ranks"], two["solve"]["ranks"]) == (1, 2)
    for key, value in one["currents"].items():
        assert two["currents"][key] == pytest.approx(value, rel=1e-10, abs=1e-10 * one["currents"]["plating"]), key
    for name, value in values(one).items():
        assert values(two)[name] == pytest.approx(value, rel=1e-7), name
    assert two["metrics"]["crack_current"]["bounds"] == pytest.approx(
        one["metrics"]["crack_current"]["bounds"], rel=1e-10, abs=0
    )
    assert sorted(p.name for p in (folders[2] / "fields").iterdir()) == ["fields.pvtu", "fields_0.vtu", "fields_1.vtu"]


def test_an_error_on_the_ranks_is_the_error_here(tmp_path: Path) -> None:
    """Bug: a refusal on one rank leaves the others waiting for ever."""
    case = case_of(cracks=[CRACK | {"name": "sheet", "interface": resistive(1)}])
    begin = time.monotonic()
    with pytest.raises(CaseError, match="crack sheet: a sheet without thickness can only have a fixed potential"):
        _solve(case, [block_mesh((4, 3, 4), sheet=(10.0, 25.0))], ResultFolder(tmp_path, overwrite=False), tmp_path, 2,
               Silent())  # fmt: skip
    assert time.monotonic() - begin < 60


def test_a_bug_on_one_rank_ends_all(tmp_path: Path) -> None:
    """Bug: an exception on rank 0 only hangs the job, as MPI does without 'python -m mpi4py'."""
    arrays = block_mesh()
    broken = replace(arrays, info={"remesher": "none"})  # rank 0 looks for the box, rank 1 waits for it
    with pytest.raises(SolveError, match="2 ranks: the parallel solve died, saying KeyError: 'box'; try --ranks 1"):
        _solve(case_of(), [broken], ResultFolder(tmp_path, overwrite=False), tmp_path, 2, Silent())
