"""Discretisation errors of the figures of merit, each by the sharpest method that applies to it.

- The total current between two electrodes is an energy: an equilibrated flux bounds it from the other side.
- Currents, shares and ball means follow from linear goals J.  With the dual potential z of a goal,
  J(φ) − J(φ_h) = a(φ − φ_h, z − z_h), and the product of the two defects (:mod:`fem_spall.equilibrate`) estimates it
  cell by cell.  The choice of flux recovery adds the change from lumped to consistent current density.
- Point values take the defect of the field in the cells there, behind a resistance that of the potential.
- Everything else takes Richardson's extrapolation over the levels of an adaptive run where their order is
  credible, else the change from degree 1 to degree 2 on one mesh.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fem_spall.equilibrate import Equilibrator
from fem_spall.fenics import dolfinx
from fem_spall.memory import give_back
from fem_spall.metrics import FIGURES, OTHERS, Evaluation, Metric, evaluate
from fem_spall.solve import Solution, scatter
from fem_spall.surface_flux import lithium_flux, vertex_weights
from fem_spall.system import LithiumPotential

__all__ = ["CellErrors", "Level", "cell_errors", "errors_of", "with_errors", "without_errors"]

#: Least share of the sum of absolute products that counts as error: signs cancel by luck now and then.
CANCELLATION = 0.25
#: Residual of the dual solves: their error enters error bars and sizes of cells, which come in steps of 1 %.
DUAL_TOLERANCE = 1e-6
#: Observed orders of convergence that Richardson's extrapolation trusts.
CREDIBLE = (0.7, 4.4)
#: Factor of safety of that extrapolation, and of the choice of flux recovery, of which the better one errs as well.
SAFETY = 1.25
#: Difference of the weights of a facet's corners, over the largest, from which on a ball is taken to cut it.
CUT = 0.1
#: However small the extrapolation, this share of the error by degree stays: three levels can agree by luck.
TRUSTED = 0.45
#: Error over the change from degree 1 to degree 2.  At an edge, where both are of one order, degree 2 has a third of
#: the error of degree 1, which makes 3/2 and 1/2, elsewhere less of it; the rest is safety.
OF_CHANGE = {1: (2.0, "twice the change"), 2: (0.75, "three quarters of the change")}


@dataclass(frozen=True)
class CellErrors:
    """Contribution of each cell of the mesh arrays, on rank 0.

    ``energy`` (m,) float, of the potential in the energy, W; ``goals`` by name (m,) float, signed, of the goals of
    :meth:`Evaluation.goal`, A or A/m^2, for the solution as it is posed.  ``bracketed`` says whether the total
    current is an energy.
    """

    energy: NDArray[np.float64]
    goals: dict[str, NDArray[np.float64]]
    bracketed: bool


@dataclass(frozen=True)
class Level:
    """Figures on one mesh of a sequence."""

    cells: int
    dofs: int
    values: dict[str, float]


def cell_errors(solution: Solution, evaluation: Evaluation | None, tolerance: float) -> CellErrors | None:
    """Return the errors cell by cell on rank 0, None elsewhere; collective.

    ``solution`` is that of the problem as posed and ``evaluation`` that of rank 0, possibly scaled to a drive.
    Every goal takes one more solve with the same matrix.
    """
    problem, system = solution.problem, solution.system
    comm = problem.mesh.comm
    wanted, bracketed = comm.bcast(_goals(evaluation) if evaluation is not None else None)
    give_back()
    equilibrator = Equilibrator(system)
    primal = equilibrator.defect(solution.phi, solution.lithium)
    scale = problem.current_scale
    energy = equilibrator.product(primal, primal) * scale
    voltage = _voltage(solution) if bracketed else None
    goals = {}
    for name, weights in wanted.items():
        if name == "total" and voltage:
            goals[name] = -energy / voltage
            continue
        lithium = _dual_data(solution, weights)
        _, dual, lithium = system.solve(lithium, max(tolerance, DUAL_TOLERANCE))
        give_back()
        goals[name] = equilibrator.product(primal, equilibrator.defect(dual, lithium)) * scale
    for name in problem.imposed:
        unit = LithiumPotential(dolfinx.fem.Function(problem.space), current={name: -1.0})
        _, dual, unit = system.solve(unit, max(tolerance, DUAL_TOLERANCE))
        goals["voltage"] = equilibrator.product(primal, equilibrator.defect(dual, unit))
    order = problem.mesh.mesh.topology.original_cell_index[: equilibrator.cells]
    own = (order, energy, goals)
    parts = comm.gather(own) if comm.size > 1 else [own]  # no copies by pickling
    if parts is None:
        return None
    count = sum(len(part[0]) for part in parts)

    def whole(pick: Any) -> NDArray[np.float64]:
        result = np.zeros(count)
        for part in parts:
            result[part[0]] = pick(part)
        return result

    return CellErrors(
        whole(lambda part: part[1]), {name: whole(lambda part, n=name: part[2][n]) for name in goals}, bool(voltage)
    )


def _goals(e: Evaluation) -> tuple[dict[str, dict[str, NDArray[np.float64]]], bool]:
    """Vertex weights of every goal that a figure of merit needs, and whether the total current is an energy."""
    names = ["total"]
    for metric in e.metrics.values():
        names += [name for name in metric.gradient or {} if name not in (*names, "conductance", "voltage")]
    weights = {name: vertex_weights(e.solution, e.flux, e.goal(name)) for name in names}
    faces = {*e.plating_names, *e.counter_names, *e.solution.problem.floating}
    problem = e.solution.problem
    two_electrodes = e.voltage is not None and set(problem.roles) == faces and not problem.offset
    return weights, two_electrodes


def _voltage(solution: Solution) -> float:
    """Difference of the two potentials of a problem with two electrodes, V."""
    values = [float(value(np.zeros((3, 1)))[0]) for value in solution.problem.fixed.values()]
    values += [potential for _, potential in solution.problem.contact.values()]
    return max(values, key=abs, default=0.0)


def _dual_data(solution: Solution, weights: dict[str, NDArray[np.float64]]) -> LithiumPotential:
    """The weights of a goal as potentials of the lithium."""
    system = solution.system
    coarse = system.coarse if system.coarse is not None else system

    def function(values: NDArray[np.float64]) -> Any:
        return system.raised(scatter(solution.problem, coarse.problem.space, values))

    made = {key: function(values) for key, values in weights.items()}
    return LithiumPotential(made.pop(""), made)


def errors_of(e: Evaluation, cells: CellErrors) -> dict[str, NDArray[np.float64]]:
    """Error that each cell contributes to every figure that follows from goals, (m,) float each, signed, rank 0."""
    errors = _scaled_goals(e, cells)
    result = {}
    for name, metric in e.metrics.items():
        if metric.gradient is not None:
            result[name] = sum((slope * errors[goal] for goal, slope in metric.gradient.items()), 0 * cells.energy)
    return result


def _scaled_goals(e: Evaluation, cells: CellErrors) -> dict[str, NDArray[np.float64]]:
    """Errors of the goals at the imposed current, where the case imposes one; ``conductance`` is the total at fixed V.

    An imposed current I scales all by I/J_total, so the total has no error and the others get that of the ratio.
    """
    factor = e.solution.factor
    errors = {name: factor * values for name, values in cells.goals.items()}
    if e.solution.problem.imposed:  # posed at the current, so are the duals
        return errors | {"total": np.zeros_like(cells.energy)}
    errors["conductance"] = errors["total"]
    if e.case.electrodes.counter.drive is not None:
        for name in cells.goals:
            value = float((e.goal(name) * e.flux.density).sum())
            errors[name] = errors[name] - value / e.total_current * errors["conductance"]
        errors["total"] = np.zeros_like(cells.energy)
    return errors


def with_errors(
    e: Evaluation, degree: dict[str, Metric] | None, cells: CellErrors | None, levels: Sequence[Level] = ()
) -> dict[str, Metric]:
    """The figures of an evaluation with their discretisation errors and the methods that gave them; rank 0.

    ``degree`` are the figures of the other degree on the same mesh, ``cells`` the errors by cell, ``levels`` earlier
    and coarser meshes of the same case, all of them optional.
    """
    other_flux, other_currents = lithium_flux(e.solution, consistent=True)
    compared = OTHERS if cells is not None else FIGURES
    other = evaluate(replace(e, flux=other_flux, currents=other_currents), compared)
    by_cell = errors_of(e, cells) if cells is not None else {}
    result = {}
    for name, metric in e.metrics.items():
        if metric.value is None or metric.flag:
            result[name] = replace(metric, error_method=metric.absent or "mesh-dependent, no error can be given")
            continue
        error, method = None, "the other degree gives no value to compare with"
        if metric.check is not None:
            error = abs(metric.value - metric.check) + _local_error(e, cells, metric.place)
            method = "defect of the field in the cells there, plus change to the density from the reactions"
        elif metric.wagner is not None and name in by_cell:
            error = _goal_error(by_cell[name]) + _drop_error(e, cells, metric) + _shape(e) * abs(metric.value)
            method = "dual-weighted residual of the mean there, plus defect of the potential in the cells there"
        elif name in by_cell:
            error, method = _from_cells(name, metric, by_cell[name], cells, e, other_flux)
        else:
            recovery = _change(metric, other) or 0.0
            if degree is not None and (change := _change(metric, degree)) is not None:
                factor, word = OF_CHANGE[e.solution.problem.degree]
                error = factor * change + recovery
                method = f"{word} from degree 1 to degree 2 on the same mesh"
            found = richardson(name, [*levels, Level(_cells(e), 0, {name: metric.value})])
            if found is not None and error is not None:
                error = max(found[0], (error - recovery) * TRUSTED) + recovery
                method = f"Richardson over adaptive levels, observed order {found[1]:.1f}"
            if error is not None and recovery:
                method += ", plus lumped against consistent flux"
        result[name] = replace(metric, error=error, error_method=method)
    return result


def without_errors(e: Evaluation) -> dict[str, Metric]:
    """The figures with the reason why they have no errors."""
    method = "not asked for: solver.errors is false"
    return {name: replace(metric, error_method=metric.absent or method) for name, metric in e.metrics.items()}


def _cells(e: Evaluation) -> int:
    arrays = e.solution.problem.mesh.arrays
    assert arrays is not None
    return len(arrays.cells)


def _change(metric: Metric, others: dict[str, Metric]) -> float | None:
    """Difference to the same figure elsewhere, if it is given there."""
    value = others[metric.name].value if metric.name in others else None
    return None if value is None or metric.value is None else abs(metric.value - value)


def _from_cells(
    name: str, metric: Metric, errors: NDArray[np.float64], cells: CellErrors | None, e: Evaluation, other: Any
) -> tuple[float, str]:
    """Error of a figure that follows from linear goals, and how it was found."""
    assert cells is not None
    assert metric.gradient is not None
    imposed = {"total"} if e.case.electrodes.counter.drive is not None else set()
    if set(metric.gradient) <= imposed:
        return 0.0, "imposed, or a number times what is imposed"
    error = _goal_error(errors)
    shape = _shape(e)
    word = ", plus the shape of the facets" if shape else ""
    if cells.bracketed and set(metric.gradient) <= {"total", "conductance"}:
        current = sum(abs(e.currents[crack][0]) for crack in e.crack_names)
        error += sum(abs(slope) for slope in metric.gradient.values()) * shape * current
        return error, "two-sided energy bound with an equilibrated flux" + word
    change = other.density - e.flux.density
    rim = 0.0 if cells.bracketed else abs(metric.gradient.get("total", 0.0)) * _rim(e)
    goals = [
        (slope, e.goal(goal))
        for goal, slope in metric.gradient.items()
        if goal not in ("conductance", "total", "voltage", "moment")  # sums of reactions, whatever the density
    ]
    by_facet = sum((slope * parts * change for slope, parts in goals), np.zeros_like(change))
    recovery = abs(float(by_facet.sum()))
    if metric.averaging_length is not None:  # a ball cuts through facets, where the signs are a matter of luck
        cut = _cut(sum((slope * parts for slope, parts in goals), np.zeros_like(change)))
        recovery = max(recovery, CANCELLATION * float(np.abs(by_facet[cut]).sum()))
    method = "dual-weighted residual with equilibrated fluxes, plus lumped against consistent flux" + word
    if metric.unseen:
        method += ", plus what places too coarse for the length may hold"
    if rim:
        method += ", plus the edge that the plating face shares with other potentials"
    return error + SAFETY * recovery + rim + metric.unseen + shape * abs(metric.value or 0.0), method


def _cut(parts: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which facets a ball cuts, (k,) bool, by the weights (k, 3) of their corners: alike where it holds the whole."""
    parts = np.abs(parts)
    return np.asarray(np.ptp(parts, axis=1) > CUT * parts.max(axis=1, initial=0.0))


def _local_error(e: Evaluation, cells: CellErrors | None, place: tuple[float, float, float] | None) -> float:
    """Root of the mean square defect of the field in the cells at the vertex nearest to a place, over E0."""
    arrays = e.solution.problem.mesh.arrays
    if cells is None or place is None or arrays is None:
        return 0.0
    corners = arrays.cells[:, :4]
    nearest = np.linalg.norm(arrays.points * arrays.unit - np.array(place), axis=1).argmin()
    own = (corners == nearest).any(axis=1)
    edges = arrays.points[corners[own, 1:]] - arrays.points[corners[own, :1]]
    volume = np.abs(np.linalg.det(edges)).sum() / 6 * arrays.unit**3
    field = e.solution.factor * np.sqrt(cells.energy[own].sum() / (volume * e.sigma))
    return float(field * e.sigma / abs(e.reference))


def _goal_error(errors: NDArray[np.float64]) -> float:
    """Error of a goal from the errors of its cells, (m,) float."""
    return max(abs(float(errors.sum())), CANCELLATION * float(np.abs(errors).sum()))


def _drop_error(e: Evaluation, cells: CellErrors | None, metric: Metric) -> float:
    """Error of the density through an interface with a resistance at its place, over j0, beyond that of its mean there.

    It follows the potential, not the field: where the potential's error swings once over the mesh size h divided by the
    degree k, it is h/(2πk) times that of the field, which makes h/(2πkl) of the density with the Wagner length l.
    """
    assert metric.wagner is not None
    swing = (metric.local_size or 0.0) / (2 * np.pi * e.solution.problem.degree)
    return min(1.0, swing / abs(metric.wagner)) * _local_error(e, cells, metric.place)


def _shape(e: Evaluation) -> float:
    """Relative error of the cracks' surfaces for standing in for curved shapes of closed form.

    Flat facets lack a share of the area, and of the cross-section about as much again; facets of second order have
    an error of the square of it (both measured on spheres).
    """
    arrays = e.solution.problem.mesh.arrays
    assert arrays is not None
    deficit = max((abs(value) for value in arrays.info.get("flat_area_deficit", {}).values()), default=0.0)
    return 2 * deficit if arrays.order == 1 else deficit**2


def _rim(e: Evaluation) -> float:
    """Largest error of the total current from the edge that the plating face shares with walls at a potential, A."""
    if not any(wall.kind == "exact_potential" for wall in e.case.walls.values()):
        return 0.0
    value, least, most = e.currents.get(e.case.electrodes.plating.face, (0.0, 0.0, 0.0))
    return max(most - value, value - least)


def richardson(name: str, levels: Sequence[Level]) -> tuple[float, float] | None:
    """Error of the last value and the observed order in the size cells^(−1/3), or None if that is not credible."""
    sequence = [(level.cells ** (-1 / 3), level.values[name]) for level in levels if name in level.values][-3:]
    if len(sequence) < 3:
        return None
    (h1, q1), (h2, q2), (h3, q3) = sequence
    if not h1 > h2 > h3 or (q1 - q2) * (q2 - q3) <= 0:
        return None
    ratio = (q1 - q2) / (q2 - q3)

    def excess(order: float) -> float:
        return float((h1**order - h2**order) / (h2**order - h3**order)) - ratio

    if excess(CREDIBLE[0]) * excess(CREDIBLE[1]) > 0:
        return None
    from scipy.optimize import brentq

    order = float(brentq(excess, *CREDIBLE))
    return SAFETY * abs(q2 - q3) * h3**order / (h2**order - h3**order), order
