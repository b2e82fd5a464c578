"""One mesh after the other until the figures of merit are as accurate as the case asks.

Every level is a whole mesh with sizes from the errors of the one before: closed forms are meshed anew on their true
surfaces; a reconstructed surface keeps the facets of its first mesh, split where the sizes ask for it.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fem_spall.accuracy import CellErrors, Level, cell_errors, errors_of, with_errors, without_errors
from fem_spall.case import Accuracy, Case
from fem_spall.conduction import formulate
from fem_spall.errors import LimitError, MeshingError
from fem_spall.forces import material_forces
from fem_spall.mesh.arrays import MeshArrays
from fem_spall.mesh.child import mesh_in_child
from fem_spall.mesh.focus import Focus
from fem_spall.mesh.sizes import SizeField, next_sizes
from fem_spall.mesh.tagged import TaggedMesh
from fem_spall.metric import Metric
from fem_spall.metrics import Evaluation
from fem_spall.output.fields import raw_maximum
from fem_spall.solve import Solution, solve
from fem_spall.tip_flux import tip_flux

__all__ = ["Outcome", "Solved", "driven", "finer_mesh", "next_level", "record_of", "solved"]

#: The number of cells grows by at least and at most this factor from level to level.
SLOWEST, FASTEST = 1.8, 3.0
#: Up to so many cells cost less than a level costs by itself (its mesh, forms, figures), so that one step gets there.
CHEAP = 3000
#: A level that grew by less shows that the mesher makes fewer cells than the sizes ask for.
STALLED = 1.3
#: Bounds of the ratio of cells made to cells asked for.
GAIN = (0.4, 1.2)
#: Instead of the largest field, where nobody asks for it.
NOWHERE = (0.0, np.zeros(3), 0.0)
#: Aim this far below the target, so that the next level meets it.
MARGIN = 0.7


@dataclass(frozen=True)
class Solved:
    """A case solved on one mesh, with its figures and their errors on rank 0 (elsewhere None and empty).

    ``other`` are the figures of the other degree, if errors are estimated.
    """

    mesh: TaggedMesh
    solution: Solution
    evaluation: Evaluation | None
    other: dict[str, Metric] | None
    cells: CellErrors | None
    metrics: dict[str, Metric]

    def level(self) -> Level:
        """What later levels want to know, on rank 0."""
        assert self.mesh.arrays is not None
        values = {name: metric.value for name, metric in self.metrics.items() if metric.value is not None}
        return Level(len(self.mesh.arrays.cells), self.solution.report.dofs, values)


@dataclass(frozen=True)
class Outcome:
    """Whether and why adaptive refinement goes on, on rank 0.

    ``shortfall`` is error over target by figure, ``growth`` the asked ratio of the numbers of cells.
    """

    shortfall: dict[str, float]
    sizes: SizeField | None
    stopped: str
    growth: float = 1.0

    @property
    def met(self) -> bool:
        """Whether every named figure meets its target."""
        return all(value <= 1 for value in self.shortfall.values())


def solved(case: Case, mesh: TaggedMesh, first: Solution, earlier: list[Level]) -> Solved:
    """Return the case solved and evaluated with error bars on a mesh; ``first`` is its solution of degree 1.

    Both degrees are solved whichever the case asks for: figures that follow from no linear goal are compared.
    """
    posed = [first]
    if case.solver.degree == 2 or case.solver.errors:
        posed.append(solve(formulate(case, mesh, 2), case.solver.tolerance, first))
    own = case.solver.degree - 1
    if not case.solver.errors:
        solution = driven(case, posed[own])
        plain = _evaluation(case, solution, raw_maximum(solution))
        return Solved(mesh, solution, plain, None, None, without_errors(plain) if plain is not None else {})
    solutions = [driven(case, solution) for solution in posed]
    evaluation = _evaluation(case, solutions[own], raw_maximum(solutions[own]))
    other = _evaluation(case, solutions[1 - own], NOWHERE, evaluation)
    cells = cell_errors(posed[own], evaluation, case.solver.tolerance)
    if evaluation is None or other is None:
        return Solved(mesh, solutions[own], None, None, None, {})
    metrics = with_errors(evaluation, other.metrics, cells, earlier)
    return Solved(mesh, solutions[own], evaluation, other.metrics, cells, metrics)


def _evaluation(
    case: Case, solution: Solution, largest: tuple[float, NDArray[np.float64], float], same: Evaluation | None = None
) -> Evaluation | None:
    """The surface flux and the sharp edges on rank 0, None elsewhere; ``same`` is of the same mesh.  Collective."""
    tip, comm, study, evaluation = tip_flux(case, solution), solution.problem.mesh.comm, None, None
    if solution.problem.mesh.arrays is not None:
        evaluation = Evaluation.of(case, solution, largest, tip)
        study = same.edges if same is not None else evaluation.traced_edges()
    forces = material_forces(solution) if comm.bcast(study is not None and study.any_cracks) else None
    if evaluation is None or study is None:
        return None
    return replace(evaluation, edges=replace(study, forces=forces))


def driven(case: Case, solution: Solution) -> Solution:
    """The solution at the imposed current, if the case imposes one."""
    drive = case.electrodes.counter.drive
    if drive is None or solution.problem.imposed:
        return solution
    comm = solution.problem.mesh.comm
    factor = None
    if solution.problem.mesh.arrays is not None:
        evaluation = Evaluation.of(case, solution, NOWHERE)
        factor = drive.through(evaluation.cross_section) / evaluation.total_current
    return solution.scaled(comm.bcast(factor))


def next_level(case: Case, accuracy: Accuracy, state: Solved, cells: list[int], asked: float) -> Outcome:
    """Return whether the targets are met, and if not, the sizes of the next mesh; rank 0.

    ``cells`` are the numbers of cells of the levels so far, ``asked`` the growth that the last one was to have.
    """
    assert state.evaluation is not None
    assert state.cells is not None
    shortfall = {}
    for name in accuracy.metrics:
        metric = state.metrics.get(name)
        if metric is not None and metric.value and metric.error is not None:
            shortfall[name] = metric.error / abs(metric.value) / accuracy.target
        else:
            shortfall[name] = np.inf
    worst = max(shortfall.values())
    if worst <= 1:
        return Outcome(shortfall, None, "the target is met")
    if len(cells) >= accuracy.max_levels:
        return Outcome(shortfall, None, f"accuracy.max_levels ({accuracy.max_levels}) are spent")
    arrays = state.mesh.arrays
    assert arrays is not None
    order = 2 * case.solver.degree
    most = (accuracy.max_cells or case.mesh.max_cells) / cells[-1]
    # At edges the error falls more slowly than the order says, so half of it is counted on.
    needed = min(worst / MARGIN, 1e6) ** (3 / (order / 2 + 1))
    growth = float(np.clip(needed, SLOWEST, max(FASTEST, CHEAP / cells[-1])))
    stalled = len(cells) > 1 and cells[-1] < STALLED * cells[-2]
    if most < SLOWEST or (stalled and most < 2 * SLOWEST):
        return Outcome(shortfall, None, f"more than accuracy.max_cells ({most * cells[-1]:,.0f}) would be needed")
    errors = _marking(accuracy, state, shortfall)
    growth = min(growth, 0.8 * most)
    # Meshers take sizes in their own way: what the last level had too few is asked for on top.
    gain = float(np.clip(cells[-1] / cells[-2] / asked, *GAIN)) if len(cells) > 1 else 1.0
    sizes = next_sizes(arrays, errors, order, growth / gain, case.mesh.grading, case.mesh.size_max)
    return Outcome(shortfall, sizes, "", growth)


def _marking(accuracy: Accuracy, state: Solved, shortfall: dict[str, float]) -> NDArray[np.float64]:
    """What each cell contributes to missing the targets, (m,) float, not negative."""
    assert state.evaluation is not None
    assert state.cells is not None
    energy = state.cells.energy
    if accuracy.estimator == "energy":
        return energy
    by_cell = errors_of(state.evaluation, state.cells)
    total = np.zeros_like(energy)
    for name, missing in shortfall.items():
        own = np.abs(by_cell[name]) if name in by_cell else energy
        if own.sum() > 0:
            total += own / own.sum() * min(missing, 1e3)
    return total if total.any() else energy


def finer_mesh(case: Case, base: MeshArrays, foci: list[Focus], sizes: SizeField | None, most: int) -> MeshArrays | str:
    """Return the next mesh, or why there is none; rank 0.

    ``base`` is the first mesh, whose boundary a reconstructed surface keeps.
    """
    with tempfile.TemporaryDirectory(prefix="fem-spall-", ignore_cleanup_errors=True) as scratch:
        try:
            kept = None if base.info["remesher"] == "gmsh" else base
            finer = mesh_in_child(case, {}, Path(scratch), foci, kept, sizes)
        except (MeshingError, LimitError) as error:
            return f"the mesh could not be refined: {error.reason}"
    if len(finer.cells) > 1.05 * most:
        return f"refining would take {len(finer.cells):,} cells, above {most:,}"
    return finer


def record_of(accuracy: Accuracy, outcome: Outcome, levels: list[dict[str, Any]]) -> dict[str, Any]:
    """The entry ``accuracy`` of the record."""
    return {
        "target": accuracy.target,
        "estimator": accuracy.estimator,
        "met": outcome.met,
        "required": accuracy.required,
        "stopped": outcome.stopped,
        "error_over_target": {name: value if np.isfinite(value) else None for name, value in outcome.shortfall.items()},
        "levels": levels,
    }
