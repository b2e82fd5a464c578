"""Parts of the mesh, numbers and levels of the multigrid over several ranks, against the whole."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from fem_spall.conduction import formulate
from fem_spall.fenics import MPI
from fem_spall.levels import Level, levels_of
from fem_spall.mesh.tagged import distribute
from fem_spall.multigrid import largest_eigenvalue
from fem_spall.solve import solve
from fem_spall.system import System
from tests.solids import block_mesh, case_of

ROOT = Path(__file__).parent.parent.parent
SCRIPT = """
import json
from fem_spall.fenics import MPI
from tests.unit import test_ranks
found = test_ranks.{name}(MPI.COMM_WORLD)
if MPI.COMM_WORLD.rank == 0:
    print(json.dumps(found))
"""


def whole(comm: Any, rows: Any, numbers: Any, width: int) -> Any:
    """A matrix of which each rank has rows, columns by local number."""
    starts, columns, values = rows
    own = sparse.csr_matrix((values, numbers[columns], starts), shape=(len(starts) - 1, width))
    return sparse.vstack(comm.allgather(own)).tocsr()


def numbers_of(level: Level) -> Any:
    return np.concatenate([np.arange(*level.map.local_range), level.map.ghosts])


def found(comm: Any) -> dict[str, Any]:
    """What is the same on any number of ranks, and errors that are none."""
    result: dict[str, Any] = {}
    case = case_of(cracks=[{"name": "a", "kind": "surface_file", "file": "none.stl", "unit": "um"}])
    for order in (1, 2):
        arrays = block_mesh((10, 9, 12), crack="a", order=order) if comm.rank == 0 else None
        mesh = distribute(arrays, comm)
        topology, grid = mesh.mesh.topology, mesh.mesh.geometry
        cells = topology.index_map(3).size_local
        result[f"parts {order}"] = comm.allgather(cells)
        original = np.concatenate(comm.allgather(topology.original_cell_index))
        result[f"cells {order}"] = bool((np.sort(original) == np.arange(len(original))).all())
        nodes = comm.gather((topology.original_cell_index, grid.input_global_indices[grid.dofmaps[0]]))
        if arrays is not None and nodes is not None:
            kept = np.asarray(arrays.cells)
            result[f"nodes {order}"] = all(
                (np.sort(own, axis=1) == np.sort(kept[which], axis=1)).all() for which, own in nodes
            )
        first = solve(formulate(case, mesh, 1), 1e-10)
        second = solve(formulate(case, mesh, 2), 1e-10, first)
        result[f"unknowns {order}"] = [first.report.dofs, second.report.dofs]
        result[f"power {order}"] = [first.bulk_power, second.bulk_power]
        result[f"moments {order}"] = [first.boundary_moment, second.boundary_moment]
        if order == 1:
            by_kernel, by_forms = first.system.matrix, first.system._matrix_of_forms()
            result["size"] = by_kernel.norm()
            by_forms.axpy(-1.0, by_kernel)
            result["matrix"] = by_forms.norm() / by_kernel.norm()
            result |= galerkin(comm, first.system)
    return result


def galerkin(comm: Any, system: System) -> dict[str, Any]:
    levels = levels_of(comm, system.matrix.getValuesCSR(), largest_eigenvalue)
    defects, misses = [], []
    for level, below in pairwise(levels):
        matrix = whole(comm, level.matrix, numbers_of(level), level.map.size_global)
        up = whole(comm, level.up, numbers_of(below), below.map.size_global)
        product = up.T @ matrix @ up
        defects.append(sparse.linalg.norm(whole(comm, below.matrix, numbers_of(below), up.shape[1]) - product)
                       / sparse.linalg.norm(product))  # fmt: skip
        # Where a row adds up to zero the constant is kept.
        free = 1e-12 * matrix.diagonal() > np.abs(matrix.sum(axis=1)).A1
        misses.append(float(np.abs(up.sum(axis=1).A1[free] - 1).max(initial=0.0)))
    return {"levels": [level.map.size_global for level in levels], "galerkin": defects, "constants": misses}


def slivers(comm: Any) -> dict[str, Any]:
    """Power of a block of twelve cells."""
    mesh = distribute(block_mesh((1, 1, 2)) if comm.rank == 0 else None, comm)
    first = solve(formulate(case_of(), mesh, 1), 1e-10)
    return {"power": [first.bulk_power, solve(formulate(case_of(), mesh, 2), 1e-10, first).bulk_power]}


@cache
def on(ranks: int, name: str = "found") -> dict[str, Any]:
    mpiexec = Path(sys.executable).with_name("mpiexec")
    command = [str(mpiexec), "-n", str(ranks), sys.executable, "-m", "mpi4py", "-c", SCRIPT.format(name=name)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=True)
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


@pytest.mark.parametrize("ranks", [1, 3])
def test_parts_are_the_mesh(ranks: int) -> None:
    """Bug: a cell is lost or on two ranks, a node is another one, or a rank has more work than others."""
    parallel = on(ranks)
    for order in (1, 2):
        parts = parallel[f"parts {order}"]
        assert len(parts) == ranks
        assert max(parts) - min(parts) <= ranks
        assert parallel[f"cells {order}"]
        assert parallel[f"nodes {order}"]


def test_ranks_share_their_numbers() -> None:
    """Bug: an edge between two ranks has two unknowns, or none; a row lacks what the cells of another rank add."""
    one, three = on(1), on(3)
    for order in (1, 2):
        assert three[f"unknowns {order}"] == one[f"unknowns {order}"]
        for key in ("power", "moments"):
            assert three[f"{key} {order}"] == pytest.approx(one[f"{key} {order}"], rel=1e-11), key
    for found_ in (one, three):
        assert found_["matrix"] < 1e-14
    assert three["size"] == pytest.approx(one["size"], rel=1e-14)


def test_a_corner_on_an_electrode_is_fixed_on_every_rank() -> None:
    """Bug: a rank with a vertex of an electrode but none of its facets adds to rows of others as if it were free."""
    assert on(7, "slivers")["power"] == pytest.approx(on(1, "slivers")["power"], rel=1e-11)


@pytest.mark.parametrize("ranks", [1, 3])
def test_levels_are_products(ranks: int) -> None:
    """Bug: rows of ghosts are lost in the product of three matrices, or aggregates cover each other."""
    parallel = on(ranks)
    sizes = parallel["levels"]
    assert len(sizes) > 1
    assert all(4 * small < large for large, small in pairwise(sizes))
    assert max(parallel["galerkin"]) < 1e-14
    assert max(parallel["constants"]) < 1e-12


def test_who_is_coupled_to_nobody_has_no_aggregate() -> None:
    """Bug: unknowns of fixed potential go down all levels, each as an aggregate of its own."""
    n = 1000
    chain = sparse.diags_array([-np.ones(n - 1), 2 * np.ones(n), -np.ones(n - 1)], offsets=[-1, 0, 1]).tolil()
    chain[400:, :] = 0
    chain[:, 400:] = 0
    chain.setdiag(2)
    rows = chain.tocsr()
    rows.eliminate_zeros()
    first, second = levels_of(MPI.COMM_SELF, (rows.indptr, rows.indices, rows.data), largest_eigenvalue)[:2]
    assert first.up is not None
    assert (np.diff(first.up[0])[400:] == 0).all()
    assert second.map.size_global < 250
