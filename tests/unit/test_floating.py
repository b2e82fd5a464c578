"""Isolated bodies by elimination: one unknown each, no net current, as cheap as grounded ones."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fem_spall.accuracy import cell_errors, with_errors
from fem_spall.case import Case
from fem_spall.conduction import formulate
from fem_spall.equilibrate import Equilibrator
from fem_spall.errors import GeometryError
from fem_spall.fenics import MPI, compile_form, dolfinx, ufl
from fem_spall.mesh.tagged import distribute
from fem_spall.metrics import Evaluation
from fem_spall.progress import Silent
from fem_spall.solve import Solution, gather, solve
from fem_spall.stage import solve_stage
from tests.solids import block_mesh, case_of
from tests.unit.test_accuracy import field_of

ROOT = Path(__file__).parents[2]
PORES: dict[str, Any] = {"name": "pores", "kind": "surface_file", "file": "none.stl", "unit": "um"}
HOLES = [(2, 2, 2), (5, 2, 3), (3, 5, 8), (6, 6, 6)]
RESISTIVE = {"interface": {"kind": "resistance", "value": "1 ohm cm^2"}}
NOWHERE = (0.0, np.zeros(3), 0.0)


def pores(**keys: Any) -> Case:
    return case_of(cracks=[PORES | {"contact": "isolated"} | keys])


def solutions(case: Case, counts: tuple[int, int, int] = (8, 8, 12), comm: Any = MPI.COMM_SELF) -> list[Solution]:
    mesh = distribute(block_mesh(counts, holes=HOLES) if comm.rank == 0 else None, comm)
    first = solve(formulate(case, mesh, 1), 1e-11)
    return [first, solve(formulate(case, mesh, 2), 1e-11, first)]


@pytest.mark.parametrize("keys", [{}, RESISTIVE], ids=["clean", "resistive"])
def test_every_piece_floats_on_its_own(keys: dict[str, Any]) -> None:
    """Bug: all pores of one entry share a potential, keep that of an electrode, or draw a net current."""
    for solution in solutions(pores(**keys)):
        taken = solution.lithium.floating["pores"]
        net = solution.system.net_currents(solution.phi, solution.lithium, "pores")
        assert np.abs(net * solution.problem.current_scale).max() < 1e-10 * solution.bulk_power / 0.05
        # Near the undisturbed potential at the middle of each hole, in the order of their first vertices.
        height = np.array(sorted(HOLES))[:, 2]
        expected = 0.05 * (1 - (height + 0.5) / 12)
        assert np.abs(np.sort(taken) - np.sort(expected)).max() < 0.002
        assert np.ptp(taken) > 0.02


def test_pieces_keep_their_potential_on_the_wall() -> None:
    """Bug: a vertex of the wall is left out of its body, or merged into another."""
    solution = solutions(pores())[1]
    arrays = solution.problem.mesh.arrays
    assert arrays is not None
    assert solution.system.coarse is not None
    space = solution.system.coarse.problem.space
    low = dolfinx.fem.Function(space)
    low.interpolate(solution.phi)
    whole = gather(solution.problem, space, low.x.array)
    walls = np.unique(arrays.facets[arrays.tags == arrays.names["pores"]])
    values = np.unique(np.round(whole[walls], 9))
    assert np.allclose(values, np.sort(solution.lithium.floating["pores"]), atol=1e-8)


@pytest.mark.parametrize("degree", [1, 2])
@pytest.mark.parametrize("keys", [{}, RESISTIVE], ids=["clean", "resistive"])
def test_the_energy_bound_holds_with_floating_bodies(degree: int, keys: dict[str, Any]) -> None:
    """Bug: a flux that enters a floating body on the whole bounds nothing: the error bar is too small, or infinite."""
    case = pores(**keys)
    coarse = solutions(case)[degree - 1]
    fine = solutions(case, (8, 8, 12))[1] if degree == 1 else None
    equilibrator = Equilibrator(coarse.system)
    defect = equilibrator.defect(coarse.phi, coarse.lithium)
    gap = float(equilibrator.product(defect, defect).sum()) * coarse.problem.current_scale
    flux = field_of(equilibrator.linear(defect), coarse.problem.mesh.mesh)
    flux -= ufl.dot(coarse.problem.sigma, ufl.grad(coarse.phi))
    normal = ufl.FacetNormal(coarse.problem.mesh.mesh)
    whole, jump, source, into = (
        dolfinx.fem.assemble_scalar(compile_form(form))
        for form in (
            ufl.dot(flux, flux) * ufl.dx, ufl.jump(flux, normal) ** 2 * ufl.dS, ufl.div(flux) ** 2 * ufl.dx,
            ufl.dot(flux, normal) * coarse.problem.ds("pores"),
        )
    )  # fmt: skip
    assert max(jump, source) < 1e-11 * whole, "charge is conserved in the cells at the walls as well"
    assert abs(into) < 1e-6 * whole**0.5
    e = Evaluation.of(case, coarse, NOWHERE)
    assert 0 < gap < 0.2 * e.total_current * 0.05
    if fine is not None:
        drop = (e.total_current - Evaluation.of(case, fine, NOWHERE).total_current) * 0.05
        assert 0 < drop <= gap
    figures = with_errors(e, None, cell_errors(coarse, e, 1e-11))
    assert figures["total_current"].error == pytest.approx(gap / 0.05, rel=1e-6)


def test_bodies_that_touch_an_electrode_are_refused() -> None:
    """Bug: a body that shares a node with the electrode takes any potential, depending on the order of names."""
    case = case_of(cracks=[PORES | {"name": "a", "contact": "isolated"}])
    with pytest.raises(GeometryError, match="is isolated, but touches other lithium"):
        solve(formulate(case, distribute(block_mesh(crack="a"), MPI.COMM_SELF), 1), 1e-10)


SCRIPT = """
import json, sys
from fem_spall.fenics import MPI
from tests.unit.test_floating import RESISTIVE, pores, solutions
found = {}
for name, keys in (("clean", {}), ("resistive", RESISTIVE)):
    two = solutions(pores(**keys), comm=MPI.COMM_WORLD)
    found[name] = [[s.bulk_power, sorted(s.lithium.floating["pores"].tolist())] for s in two]
if MPI.COMM_WORLD.rank == 0:
    print(json.dumps(found))
"""


def test_two_ranks_give_the_same_potentials() -> None:
    """Bug: a body that lies on two ranks is two bodies."""
    mpiexec = Path(sys.executable).with_name("mpiexec")
    command = [str(mpiexec), "-n", "2", sys.executable, "-m", "mpi4py", "-c", SCRIPT]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=True)
    found = json.loads(done.stdout.strip().splitlines()[-1])
    for name, keys in (("clean", {}), ("resistive", RESISTIVE)):
        for (power, taken), own in zip(found[name], solutions(pores(**keys)), strict=True):
            assert power == pytest.approx(own.bulk_power, rel=1e-10)
            assert taken == pytest.approx(sorted(own.lithium.floating["pores"].tolist()), rel=1e-9)


@pytest.mark.parametrize("drive", [{"potential": "0.2 V"}, {"drive": {"current_density": "3 mA/cm^2"}}])
@pytest.mark.parametrize("law", ["resistance", "large resistance", "slow linear kinetics", "butler_volmer"])
def test_power_adds_up_by_part_for_every_law(law: str, drive: dict[str, Any], tmp_path: Path) -> None:
    """Bug: an interface's dissipation misses the lithium's own potential, or an isolated body dissipates twice.

    Or the residual is measured by what a potential of zero would draw, so that behind large resistances, where the
    current is a small part of that, the balances do not hold.
    """
    laws: dict[str, dict[str, Any]] = {
        "resistance": {"kind": "resistance", "value": "3 ohm cm^2"},
        "large resistance": {"kind": "resistance", "value": "5e3 ohm cm^2"},
        "slow linear kinetics": {"kind": "linear_kinetics", "exchange_current_density": "5 uA/cm^2"},
        "butler_volmer": {"kind": "butler_volmer", "exchange_current_density": "2 mA/cm^2"},
    }
    interface = {"interface": laws[law]}
    electrodes = {"plating": {"face": "+z"} | interface, "counter": {"face": "-z"} | drive | interface}
    case = case_of(
        cracks=[PORES | {"contact": "isolated"} | interface], electrodes=electrodes,
        solver={"degree": 1, "tolerance": 1e-11, "errors": False},
    )  # fmt: skip
    record = solve_stage(case, block_mesh((8, 8, 12), holes=HOLES), MPI.COMM_SELF, tmp_path, Silent())
    assert record is not None
    power = record["dissipation"]
    assert set(power["interfaces"]) == {"+z", "-z", "pores"}
    assert all(value > 0 for value in power["interfaces"].values())
    assert power["supplied"] == pytest.approx(power["bulk"] + sum(power["interfaces"].values()), rel=1e-9)
    assert max(abs(value) for value in record["identity"].values()) < 1e-9
    assert record["identity"]["isolated"] < 1e-10
