"""How it is solved: conjugate gradients with multigrid, the true residual checked, currents from reactions.

The current through a surface is the sum of nodal reactions, R_i = −∫ σ∇φ·∇v_i (into the lithium
positive), never an integral of grad φ·n: the latter converges at half the rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fem_spall.conduction import ConductionProblem
from fem_spall.fenics import MPI, dolfinx, integrate, ufl
from fem_spall.kinetics import converge_kinetics
from fem_spall.mesh.tagged import FACET_CORNERS, cells_beside
from fem_spall.system import LithiumPotential, SolveReport, System

__all__ = ["Solution", "SolveReport", "gather", "scatter", "solve"]

#: By facet of a cell the middle nodes of its edges.
MIDDLES = np.array([[4, 5, 6], [4, 7, 8], [5, 7, 9], [6, 8, 9]])


@dataclass(frozen=True)
class Solution:
    """Potential and what follows from it over the whole mesh.

    ``phi`` is the potential over the plating electrode, V.  On rank 0 ``vertex_current`` holds, by mesh
    surface, the current into the lithium at each vertex of the mesh arrays, (n,) float, A, before it is
    shared out where surfaces meet (fixed potentials together under the key ``""``); elsewhere it is empty.
    """

    system: System
    phi: Any
    report: SolveReport
    lithium: LithiumPotential  # as posed, whatever the factor
    vertex_current: dict[str, NDArray[np.float64]]
    bulk_power: float  # ∫ σ|∇φ|² dx, W
    surface_power: float  # −Σ (φ_i − φ_mid) R_i, W
    height_moment: float  # Σ z_i R_i, A m
    boundary_moment: float  # −∮ φ (σn)_z ds = −∫ (σ∇φ)_z dx, A m
    phi_range: tuple[float, float]
    interface_moment: dict[str, float]  # Σ φ_i R_i of each surface with a resistance, W
    isolated_current: float = 0.0  # largest net current into an isolated body, A
    factor: float = 1.0  # all of the above over the solution of the problem as it is posed

    @property
    def problem(self) -> ConductionProblem:
        """What was solved."""
        return self.system.problem

    def scaled(self, factor: float) -> Solution:
        """The solution at ``factor`` times the voltage; the problem is linear."""
        phi = self.phi.copy()
        phi.x.array[:] *= factor
        low, high = sorted(value * factor for value in self.phi_range)
        return Solution(
            self.system, phi, self.report, self.lithium, {k: v * factor for k, v in self.vertex_current.items()},
            self.bulk_power * factor**2, self.surface_power * factor**2,
            self.height_moment * factor, self.boundary_moment * factor, (low, high),
            {name: value * factor**2 for name, value in self.interface_moment.items()},
            self.isolated_current * abs(factor), self.factor * factor,
        )  # fmt: skip


def solve(problem: ConductionProblem, tolerance: float, start: Solution | None = None) -> Solution:
    """Return the potential and the reactions.

    Parameters
    ----------
    problem : ConductionProblem
        What to solve.
    tolerance : float
        Largest relative true residual allowed.
    start : Solution, optional
        Solution of degree 1 on the same mesh, the starting value and coarse level for degree 2.

    Raises
    ------
    SolveError
        If the iteration does not reach the residual.
    """
    coarse = start.system if start is not None else None
    if problem.kinetics:
        return _solve_kinetics(problem, tolerance, start)
    system = System(problem, coarse)
    guess = system.raised(start.phi) if start is not None else None
    report, phi, lithium = system.solve(system.given, tolerance, guess)
    return _evaluate(system, phi, report, lithium)


def _solve_kinetics(problem: ConductionProblem, tolerance: float, start: Solution | None) -> Solution:
    """The solution with its tangent system; ``start`` is of degree 1 for degree 2, or of another current."""
    begin, coarse = None, None
    if start is not None:
        phi = dolfinx.fem.Function(problem.space)
        phi.interpolate(start.phi)
        begin = phi, start.lithium
        coarse = start.system if problem.degree > start.problem.degree else start.system.coarse
    system, report, phi, lithium = converge_kinetics(problem, coarse, tolerance, begin)
    return _evaluate(system, phi, report, lithium)


def _evaluate(system: System, phi: Any, report: SolveReport, lithium: LithiumPotential) -> Solution:
    """Reactions, power and moments of a potential."""
    problem, owned = system.problem, system.owned
    space, comm = problem.space, problem.mesh.comm
    scale = problem.current_scale
    on = np.flatnonzero(_on_conductors(problem)[:owned]).astype(np.int32)
    reaction = np.zeros(owned)
    reaction[on] = system.reaction(phi)[on]
    by_surface = {name: system.through(name, phi, lithium.contact[name]) for name in problem.contact}
    fixed = reaction - sum(by_surface.values(), np.zeros(owned))
    vertex_space = system.coarse.problem.space if system.coarse is not None else space
    gathered = {
        name: gather(problem, vertex_space, system.lowered(values) * scale)
        for name, values in {"": fixed, **by_surface}.items()
    }
    values = phi.x.array[:owned]
    low = comm.allreduce(float(values.min(initial=np.inf)), op=MPI.MIN)
    high = comm.allreduce(float(values.max(initial=-np.inf)), op=MPI.MAX)
    # From the middle of the potentials, since Σ R_i is zero: behind large resistances they are all nearly the same.
    swing = values[on] - (low + high) / 2
    sums = comm.allreduce(np.array([reaction[on] @ swing, reaction[on] @ system.points(on)[:, 2]]))
    boundary = _boundary_moment(problem, phi)
    net = [
        float(np.abs(system.net_currents(phi, lithium, name)).max())
        for name in problem.floating
        if name not in problem.imposed
    ]
    return Solution(
        system, phi, report, lithium, gathered,
        bulk_power=system.energy(phi) * scale,
        surface_power=-float(sums[0]) * scale,
        height_moment=float(sums[1]) * scale * problem.mesh.unit,
        boundary_moment=-boundary * scale * problem.mesh.unit,
        phi_range=(low, high),
        interface_moment={
            name: comm.allreduce(float((through * phi.x.array[:owned]).sum())) * scale
            for name, through in by_surface.items()
        },
        isolated_current=max(net, default=0.0) * scale,
    )  # fmt: skip


def _boundary_moment(problem: ConductionProblem, phi: Any) -> float:
    """∮ φ (σn)_z ds, or where σ is not constant ∫ (σ∇φ)_z dx, program units; collective."""
    mesh, comm = problem.mesh.mesh, problem.mesh.comm
    if problem.cells is not None:
        return integrate(ufl.dot(problem.sigma, ufl.grad(phi))[2] * ufl.dx(domain=mesh), comm)
    if mesh.geometry.dofmaps[0].shape[1] != 4:
        normal = ufl.FacetNormal(mesh)
        return integrate(phi * ufl.dot(problem.sigma, normal)[2] * ufl.ds(domain=mesh), comm)
    # On a flat triangle the mean of degree 1 is that of its corners, of degree 2 that of the middles of its edges.
    facets = dolfinx.mesh.exterior_facet_indices(mesh.topology)
    cells, side = cells_beside(mesh.topology, facets)
    corners = np.column_stack([FACET_CORNERS[side], side])  # the last is the one off the facet
    a, b, c, inner = np.moveaxis(mesh.geometry.x[np.take_along_axis(mesh.geometry.dofmaps[0][cells], corners, 1)], 1, 0)
    area = np.cross(b - a, c - a) / 2
    area *= np.sign(np.einsum("ij,ij->i", area, a - inner))[:, None]
    own = FACET_CORNERS if problem.degree == 1 else MIDDLES
    on = np.take_along_axis(problem.space.dofmap.list[cells], own[side], axis=1)
    mean = phi.x.array[on] @ np.full(3, 1 / 3)
    return float(comm.allreduce(float(mean @ area @ problem.conductivity[2])))


def _on_conductors(problem: ConductionProblem) -> NDArray[np.bool_]:
    """Which local unknowns lie on a surface that current can pass."""
    index_map = problem.space.dofmap.index_map
    on = np.zeros(index_map.size_local + index_map.num_ghosts, dtype=bool)
    for name in (*problem.fixed, *problem.contact):
        on[problem.on[name]] = True
    return on


def gather(problem: ConductionProblem, space: Any, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Owned values of a vector of degree 1 by vertex of the mesh arrays, on rank 0; empty elsewhere."""
    owned = space.dofmap.index_map.size_local
    number = _input_vertex(problem, space)
    keep = np.nonzero(values)[0]
    parts = problem.mesh.comm.gather((number[:owned][keep], values[keep]))
    if problem.mesh.arrays is None or parts is None:
        return np.empty(0)
    whole = np.zeros(len(problem.mesh.arrays.points))
    for vertices, part in parts:
        whole[vertices] = part
    return whole


def scatter(problem: ConductionProblem, space: Any, values: NDArray[np.float64]) -> Any:
    """The function of degree 1 that has the given values (n,) at the vertices of the mesh arrays."""
    function = dolfinx.fem.Function(space)
    function.x.array[:] = values[_input_vertex(problem, space)]
    return function


def _input_vertex(problem: ConductionProblem, space: Any) -> NDArray[np.int64]:
    """Vertex of the mesh arrays of each local unknown of degree 1."""
    number = np.empty(space.dofmap.index_map.size_local + space.dofmap.index_map.num_ghosts, dtype=np.int64)
    cells = space.dofmap.list
    corners = problem.mesh.mesh.geometry.dofmaps[0][: len(cells), :4]
    number[cells.ravel()] = problem.mesh.input_vertex()[corners.ravel()]
    return number
