"""Degree 2 without a matrix against the assembled matrix, and the kernels' cache."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fem_spall import multigrid
from fem_spall.conduction import ConductionProblem, formulate
from fem_spall.errors import SetupError
from fem_spall.fenics import MPI, compile_form, dolfinx, integrate, ufl
from fem_spall.kernels import LANES, LONGEST, Kernels
from fem_spall.matrix_free import Stiffness
from fem_spall.mesh.tagged import distribute
from fem_spall.multigrid import Assembled
from fem_spall.nonconforming import Nonconforming
from fem_spall.progress import Silent
from fem_spall.solve import solve
from fem_spall.stage import solve_stage
from fem_spall.system import System
from tests.solids import block_mesh, case_of

ANISOTROPIC = [["0.3 S/m", "0.04 S/m", "-0.02 S/m"], ["0.04 S/m", "0.05 S/m", "0.01 S/m"],
               ["-0.02 S/m", "0.01 S/m", "0.2 S/m"]]  # fmt: skip
#: Forms and expressions that a run with error bars compiles for both degrees, with one crack at a fixed potential.
MOST_FORMS = 16
MESHES: dict[str, dict[str, Any]] = {
    "straight": {},
    "curved": {"order": 2, "bend": 0.03},
    "of second order, but straight": {"order": 2, "bend": 0.0},
}


def problem_on(mesh: dict[str, Any]) -> ConductionProblem:
    """Degree 2, anisotropic, with a resistance at the plating face; the number of cells is no multiple of the lanes."""
    electrodes = {
        "plating": {"face": "+z", "interface": {"kind": "resistance", "value": "2 ohm cm^2"}},
        "counter": {"face": "-z", "potential": "50 mV"},
    }
    electrolyte = {"size": ["20 um", "30 um", "50 um"], "conductivity": {"kind": "anisotropic", "rows": ANISOTROPIC}}
    case = case_of(electrodes=electrodes, electrolyte=electrolyte)
    return formulate(case, distribute(block_mesh((3, 3, 5), **mesh), MPI.COMM_SELF), 2)


def assembled(problem: ConductionProblem) -> Any:
    u, v = ufl.TrialFunction(problem.space), ufl.TestFunction(problem.space)
    form = problem.bulk(u, v) + problem.contact_term("+z", u, v)
    return dolfinx.fem.assemble_matrix(compile_form(form)).to_scipy()


@pytest.mark.parametrize("name", MESHES)
def test_the_action_is_that_of_the_matrix(name: str) -> None:
    """Bug: an edge in the wrong place, a cell of the last batch left out, a curved cell taken for straight."""
    problem = problem_on(MESHES[name])
    stiffness, matrix = Stiffness(problem), assembled(problem)
    assert stiffness.cells % 8, "the last batch is not full"
    assert (stiffness.curved.size > 0) == (name == "curved")
    x, y = stiffness.vector(), stiffness.vector()
    x.array[:] = np.random.default_rng(0).normal(size=len(x.array))
    stiffness.multiply(x, y)
    expected = matrix @ x.array
    assert np.abs(y.array - expected).max() <= 1e-14 * np.abs(expected).max()
    np.testing.assert_allclose(stiffness.diagonal(), matrix.diagonal(), rtol=1e-13)
    small, rough = stiffness.vector(np.float32), stiffness.vector(np.float32)
    small.array[:] = x.array
    stiffness.multiply(small, rough)
    np.testing.assert_allclose(rough.array, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", MESHES)
def test_the_space_of_degree_2_is_that_of_the_library(name: str) -> None:
    """Bug: an edge gets two numbers, or two edges one: the potential tears, or is tied where it should not be."""
    problem = problem_on(MESHES[name])
    own, other = problem.space, dolfinx.fem.functionspace(problem.mesh.mesh, ("Lagrange", 2))
    places = [space.tabulate_dof_coordinates() for space in (own, other)]
    assert places[0].shape == places[1].shape
    by_cell = [place[space.dofmap.list] for place, space in zip(places, (own, other), strict=True)]
    np.testing.assert_array_equal(*by_cell)
    assert len(np.unique(own.dofmap.list)) == len(np.unique(places[0].round(9), axis=0)) == len(places[0])


@pytest.mark.parametrize("name", MESHES)
@pytest.mark.parametrize("degree", [1, 2])
def test_the_energy_is_that_of_the_form(name: str, degree: int) -> None:
    """Bug: power, and with it the balance that every run is held to, leaves out a cell or counts one twice."""
    problem = problem_on(MESHES[name])
    system = System(formulate_again(problem))
    if degree == 2:
        system = System(problem, system)
    phi = dolfinx.fem.Function(system.problem.space)
    phi.x.array[:] = np.random.default_rng(0).normal(size=len(phi.x.array))
    expected = integrate(system.problem.bulk(phi, phi), problem.mesh.comm)
    assert system.energy(phi) == pytest.approx(expected, rel=1e-12)


def dirichlet_problem(degree: int, crack: str = "a", **mesh: Any) -> ConductionProblem:
    """Anisotropic, with a crack at the potential of the plating face, which is half of it."""
    electrolyte = {"size": ["20 um", "30 um", "50 um"], "conductivity": {"kind": "anisotropic", "rows": ANISOTROPIC}}
    case = case_of(
        cracks=[{"name": "a", "kind": "surface_file", "file": "no.stl", "unit": "um"}], electrolyte=electrolyte
    )
    return formulate(case, distribute(block_mesh((9, 8, 13), crack=crack, **mesh), MPI.COMM_SELF), degree)


def test_the_matrix_of_degree_1_is_that_of_the_form() -> None:
    """Bug: an entry of a cell goes to another vertex, a fixed column stays, or columns are out of order."""
    system = System(dirichlet_problem(1))
    one, other = system.matrix, system._matrix_of_forms()
    assert (np.diff(one.getValuesCSR()[1])[: one.getRow(0)[0].size - 1] > 0).all()
    assert one.getInfo()["nz_used"] < other.getInfo()["nz_used"], "fixed columns are left out"
    other.axpy(-1.0, one)
    assert other.norm() < 1e-14 * one.norm()


def test_the_multigrid_has_levels_and_is_symmetric() -> None:
    """Bug: the second half of a cycle does not mirror the first."""
    system = System(dirichlet_problem(1))
    cycle = system._solver._cycle
    assert len(cycle._levels) > 0
    one, two = np.random.default_rng(3).normal(size=(2, system.owned))
    one[system.fixed] = two[system.fixed] = 0.0
    left, right = one @ cycle(two).astype(float), two @ cycle(one).astype(float)
    assert left == pytest.approx(right, rel=1e-4, abs=1e-5 * np.sqrt((one @ cycle(one)) * (two @ cycle(two))))


def test_a_large_coarsest_level_is_solved_as_a_small_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bug: where aggregates do not grow, the inverse of the coarsest level takes all of the memory."""
    system = System(dirichlet_problem(1))
    residual = np.random.default_rng(3).normal(size=system.owned)
    found = [Assembled(system.matrix, None).precondition(residual).copy()]
    monkeypatch.setattr(multigrid, "DENSE", 0)
    found.append(Assembled(system.matrix, None).precondition(residual))
    np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-5 * np.abs(found[0]).max())


@pytest.mark.parametrize("resistance", [False, True])
def test_least_fluxes_take_few_iterations_and_balance(resistance: bool) -> None:
    """Bug: the multigrid of degree 1 does not fit the nonconforming elements, or their element matrix is another."""
    problem = problem_on({}) if resistance else dirichlet_problem(2)
    linear = System(formulate_again(problem))
    system = System(problem, linear)
    given = np.concatenate([problem.mesh.facets(name) for name in problem.fixed])
    topology = problem.mesh.mesh.topology
    facets, count = topology.connectivity(3, 2).array.reshape(-1, 4), topology.index_map(2).size_local
    walls = {name: np.bincount(problem.mesh.facets(name), minlength=count).astype(float) for name in problem.contact}
    elements = Nonconforming(system, given, walls)
    source = np.random.default_rng(1).normal(size=len(facets))
    through = elements.solve(source, 0.0)
    np.testing.assert_allclose(through.sum(axis=1), source, atol=1e-13)
    jump = np.zeros(len(elements.free))
    np.add.at(jump, facets, through)
    inner = np.bincount(facets.ravel()) == 2
    assert np.abs(jump[inner]).max() < 1e-6 * np.abs(through).max()
    load = np.random.default_rng(2).normal(size=len(elements.free)) * elements.free
    assert elements._solver.solve(load, None, 1e-8, 100)[1] < 50


def formulate_again(problem: ConductionProblem) -> ConductionProblem:
    """The same of degree 1."""
    return replace(problem, degree=1, space=dolfinx.fem.functionspace(problem.mesh.mesh, ("Lagrange", 1)))


def test_degree_2_takes_few_products_and_no_matrix() -> None:
    """Bug: the smoother or the coarse level stops working, and only the clock would tell; counts do not vary."""
    case = case_of(cracks=[{"name": "a", "kind": "surface_file", "file": "nowhere.stl", "unit": "um"}])
    iterations = []
    for counts in ((4, 4, 6), (8, 8, 12)):
        mesh = distribute(block_mesh(counts, crack="a"), MPI.COMM_SELF)
        first = solve(formulate(case, mesh, 1), 1e-10)
        second = solve(formulate(case, mesh, 2), 1e-10, first)
        assert "matrix" not in vars(second.system)
        assert second.system.stiffness is not None
        iterations.append(second.report.iterations)
        # Five products an iteration, ten for the smoother's bound, four for residuals and reactions.
        assert second.system.stiffness.products <= 5 * second.report.iterations + 15
    assert max(iterations) < 20
    assert iterations[1] <= iterations[0] + 3


@pytest.mark.parametrize("counts", [(1, 1, 1), (3, 3, 5), (9, 8, 13)])
def test_fans_hold_every_cell_once(counts: tuple[int, int, int]) -> None:
    """Bug: a ring is gone round twice, or fans that wait for others of their length are left out at the end."""
    case = case_of(electrodes={"plating": {"face": "+z"}, "counter": {"face": "-z", "potential": "50 mV"}})
    stiffness = Stiffness(formulate(case, distribute(block_mesh(counts), MPI.COMM_SELF), 2))
    fans, (at, near, rest) = stiffness._fans, stiffness._fans.cells
    found, begin, geometry = [], 0, near.reshape(-1, 6, LANES)
    for length, own in zip(fans.lengths, np.split(geometry, np.cumsum(fans.lengths)[:-1]), strict=True):
        batch = at[begin : begin + (6 + 4 * length) * LANES].reshape(-1, LANES)
        begin += batch.size
        assert 1 <= length <= LONGEST
        for j in range(length):
            spoke, next_one = batch[3 if j == 0 else 2 + 4 * j], batch[6 + 4 * j]
            corners = np.stack([batch[0], batch[1], spoke, next_one], axis=1)
            found.append(corners[own[j, 0] != 0])
    assert begin == at.size
    cells = np.sort(stiffness.unknowns[:, :4], axis=1)
    np.testing.assert_array_equal(np.unique(np.sort(np.concatenate(found), axis=1), axis=0), np.unique(cells, axis=0))
    assert sum(map(len, found)) == stiffness.cells
    assert (np.abs(rest) <= np.abs(near) * 2.0**-23).all()
    assert set(at) == set(stiffness.unknowns.ravel())
    most = sum(6 + 4 * length for length in range(1, LONGEST + 1))  # unknowns of a last batch of each length
    assert at.size <= 6 * stiffness.cells + LANES * most, "six unknowns a cell at most, instead of ten"


def test_an_operator_reads_few_bytes() -> None:
    """Bug: geometry is stored per quadrature point or twice, or fans are short, or lanes of a batch empty."""
    problem = dirichlet_problem(2)
    stiffness = Stiffness(problem)
    assert 48 * stiffness.cells <= stiffness.stored_bytes < 78 * stiffness.cells
    assert stiffness.unknowns.base is not None, "a view of the map that the space has anyway"
    curved = Stiffness(problem_on(MESHES["curved"]))
    straight = Stiffness(problem_on({}))
    assert curved.stored_bytes == straight.stored_bytes + 440 * curved.curved.size


def test_degree_1_gives_its_geometry_away() -> None:
    """Bug: both degrees keep six numbers a cell each, and ten million unknowns take half a gigabyte more."""
    linear = System(dirichlet_problem(1))
    assert linear.geometry is linear.geometry
    problem = replace(
        linear.problem, degree=2, space=dolfinx.fem.functionspace(linear.problem.mesh.mesh, ("Lagrange", 2))
    )
    System(problem, linear)
    assert "geometry" not in vars(linear)


def test_a_run_compiles_few_forms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bug: each surface, goal or degree compiles forms of its own, and the first run of a user takes a minute."""
    modules = set()
    for name in ("form", "Expression"):
        make = getattr(dolfinx.fem, name)

        def counted(*arguments: Any, make: Any = make, **options: Any) -> Any:
            made = make(*arguments, **options)
            modules.add(getattr(made, "module", None) or made._code)
            return made

        monkeypatch.setattr(dolfinx.fem, name, counted)
    crack = {"name": "a", "kind": "surface_file", "file": "nowhere.stl", "unit": "um"}
    record = solve_stage(case_of(cracks=[crack]), block_mesh((4, 3, 4), crack="a"), MPI.COMM_SELF, tmp_path, Silent())
    assert record is not None
    assert 0 < len(modules) <= MOST_FORMS
    assert record["solve"]["bytes_per_unknown"] == record["memory"]["bytes_per_unknown"] > 0


def test_kernels_check_their_arrays() -> None:
    """Bug: an array of the wrong type is read as another, or a transposed one in the wrong order."""
    run = Kernels("double")
    with pytest.raises(TypeError, match="dot takes contiguous arrays of float64; got float32"):
        run("dot", 3, np.ones(3), np.ones(3, dtype=np.float32))
    with pytest.raises(TypeError, match="contiguous"):
        run("dot", 3, np.ones(3), np.ones(6)[::2])
    assert run("dot", 3, np.ones(3), np.arange(3.0)) == 3.0


def test_the_cache_of_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bug: processes that start together load a half-written library, or each run compiles anew."""
    code = "from fem_spall.kernels import kernels; kernels('float')"
    environment = {**os.environ, "FEM_SPALL_CACHE": str(tmp_path)}

    def start(_: int) -> int:
        return subprocess.run([sys.executable, "-c", code], env=environment, check=False, timeout=100).returncode

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(start, range(3))) == [0, 0, 0]
    made = list((tmp_path / "kernels").iterdir())
    assert len(made) == 1, "one library, nothing left aside"
    before = made[0].stat().st_mtime_ns
    assert start(0) == 0
    assert made[0].stat().st_mtime_ns == before
    monkeypatch.setenv("FEM_SPALL_CACHE", str(tmp_path))
    monkeypatch.setenv("CC", "false")
    with pytest.raises(SetupError, match=r"false must compile kernels.c and recovery.c; it said"):
        Kernels("float")
    monkeypatch.setenv("CC", str(tmp_path / "none"))
    with pytest.raises(SetupError, match="it said FileNotFoundError"):
        Kernels("float")
