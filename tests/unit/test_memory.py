"""No stage holds two copies of the mesh, nor a mesh or a solution that it has replaced by a finer one."""

from __future__ import annotations

import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fem_spall import fenics, stage
from fem_spall.adapt import Outcome, Solved
from fem_spall.case import Case
from fem_spall.conduction import formulate
from fem_spall.fenics import MPI, integrate
from fem_spall.mesh.arrays import MeshArrays
from fem_spall.mesh.sizes import SizeField
from fem_spall.mesh.tagged import distribute
from fem_spall.output.folder import ResultFolder
from fem_spall.progress import Silent
from fem_spall.run import _solve
from fem_spall.solve import solve
from tests.solids import block_mesh, case_of

CRACK = {"name": "a", "kind": "surface_file", "file": "nowhere.stl", "unit": "um"}


def crack_case(**keys: Any) -> Case:
    return case_of(cracks=[CRACK], **keys)


@pytest.mark.parametrize("order", [1, 2])
def test_cells_are_in_memory_once(order: int) -> None:
    """Bug: the arrays that the mesh was made of stay beside it; or are not given back as they were."""
    made = [block_mesh((4, 3, 4), crack="a", order=order)]
    before, cells, hashed = made[0].cells.copy(), weakref.ref(made[0].cells), made[0].sha256
    mesh = distribute(made.pop(), MPI.COMM_SELF)
    assert cells() is None
    assert mesh.arrays is not None
    assert np.array_equal(mesh.arrays.cells, before)
    assert len(mesh.arrays.cells) == len(before)
    assert mesh.arrays.sha256 == mesh.arrays.whole().sha256 == hashed
    assert np.array_equal(mesh.arrays.cells[:, :4][3:5], before[3:5, :4])


def test_a_run_keeps_neither_arrays_nor_replaced_levels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bug: the caller's arrays, or the mesh, matrices and solution of a level live on while the next one is solved."""
    dead: list[bool] = []
    old: list[weakref.ref[Any]] = []
    made = [block_mesh((4, 3, 4), crack="a")]
    old.append(weakref.ref(made[0].cells))
    solved = stage.solved

    def watched(*arguments: Any) -> Solved:
        dead.append(all(thing() is None for thing in old))
        state = solved(*arguments)
        old.extend(weakref.ref(thing) for thing in (state.mesh.mesh, state.solution.system, state.solution.phi))
        return state

    def next_level(*arguments: Any) -> Outcome:
        sizes = SizeField(np.zeros((0, 3)), np.zeros((0, 4), dtype=np.int64), np.zeros(0))
        return Outcome({}, sizes if len(dead) == 1 else None, "")

    def finer_mesh(case: Case, base: MeshArrays, *arguments: Any) -> MeshArrays:
        assert len(base.cells) == 4 * 3 * 4 * 6
        return replace(block_mesh((4, 4, 5), crack="a"), info=base.info)

    monkeypatch.setattr(stage, "solved", watched)
    monkeypatch.setattr(stage, "next_level", next_level)
    monkeypatch.setattr(stage, "finer_mesh", finer_mesh)
    case = crack_case(accuracy={"target": "1 %", "metrics": ["total_current"]})
    record = _solve(case, made, ResultFolder(tmp_path, overwrite=False), tmp_path, 1, Silent())
    assert dead == [True, True]
    assert [level["cells"] for level in record["accuracy"]["levels"]] == [4 * 3 * 4 * 6, 4 * 4 * 5 * 6]
    after = record["memory"]["peak_bytes_after"]
    assert 0 < after["intake"] <= after["solve"] <= after["fields"] == record["memory"]["solve_peak_bytes"]
    assert 0 < record["memory"]["held_bytes"] <= after["adapt"]
    beyond = after["adapt"] - record["memory"]["held_bytes"]
    assert record["memory"]["solve_bytes_per_unknown"] == beyond / record["mesh"]["dofs"]


def test_functionals_are_summed_over_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bug: with more cells than are assembled at once, some count twice or not at all."""
    mesh = distribute(block_mesh((4, 3, 4), crack="a"), MPI.COMM_SELF)
    problem = formulate(crack_case(), mesh, 2)
    first = solve(formulate(crack_case(), mesh, 1), 1e-10)
    phi = solve(problem, 1e-10, first).phi
    at_once = integrate(problem.bulk(phi, phi), MPI.COMM_SELF)
    monkeypatch.setattr(fenics, "CELLS_AT_ONCE", 77)
    assert integrate(problem.bulk(phi, phi), MPI.COMM_SELF) == pytest.approx(at_once, rel=1e-13)
