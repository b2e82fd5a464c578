"""How it is solved: conjugate gradients with multigrid, the true residual checked, currents from reactions.

The current through a surface is the sum of nodal reactions, R_i = −∫ σ∇φ·∇v_i (into the lithium
positive), never an integral of grad φ·n: the latter converges at half the rate.
"""

from __future__ import annotations

import resource
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fem_spall.conduction import ConductionProblem
from fem_spall.errors import SolveError
from fem_spall.fenics import MPI, PETSc, compile_form, dolfinx, integrate, ufl

__all__ = ["Solution", "SolveReport", "gather", "solve"]

#: GAMG as measured fastest for P1 conduction on tetrahedra: plain aggregation graph, one SSOR sweep.
GAMG = {
    "pc_type": "gamg",
    "pc_gamg_aggressive_square_graph": "false",
    "mg_levels_ksp_type": "richardson",
    "mg_levels_ksp_max_it": 1,
    "mg_levels_pc_type": "sor",
}
UNPRECONDITIONED: Any = PETSc.KSP.NormType.UNPRECONDITIONED
#: The solver iterates to this fraction of the asked residual, so that currents agree over any number of ranks.
MARGIN = 1e-2


@dataclass(frozen=True)
class SolveReport:
    """How the linear solve went; ``true_residual`` is |b − Aφ|/|b| over the free unknowns, recomputed."""

    degree: int
    dofs: int
    ksp_reason: int
    iterations: int
    true_residual: float
    ranks: int


@dataclass(frozen=True)
class Solution:
    """Potential and what follows from it over the whole mesh.

    ``phi`` is the potential over the plating electrode, V.  On rank 0 ``vertex_current`` holds, by mesh
    surface, the current into the lithium at each vertex of the mesh arrays, (n,) float, A, before it is
    shared out where surfaces meet (fixed potentials together under the key ``""``); elsewhere it is empty.
    """

    problem: ConductionProblem
    phi: Any
    report: SolveReport
    vertex_current: dict[str, NDArray[np.float64]]
    bulk_power: float  # ∫ σ|∇φ|² dx, W
    surface_power: float  # −Σ φ_i R_i, W
    height_moment: float  # Σ z_i R_i, A m
    boundary_moment: float  # −∮ φ (σn)_z ds, A m
    phi_range: tuple[float, float]
    factor: float = 1.0  # all of the above over the solution of the problem as it is posed

    def scaled(self, factor: float) -> Solution:
        """The solution at ``factor`` times the voltage; the problem is linear."""
        phi = self.phi.copy()
        phi.x.array[:] *= factor
        low, high = sorted(value * factor for value in self.phi_range)
        return Solution(
            self.problem, phi, self.report, {k: v * factor for k, v in self.vertex_current.items()},
            self.bulk_power * factor**2, self.surface_power * factor**2,
            self.height_moment * factor, self.boundary_moment * factor, (low, high), self.factor * factor,
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
    system = _System(problem)
    prolongation = None
    if problem.degree == 2:
        if start is None:
            raise ValueError("degree 2 needs the solution of degree 1 on the same mesh")
        coarse = _System(start.problem)
        prolongation = _prolongation(coarse, system)
        guess = prolongation @ start.phi.x.petsc_vec
        ksp = _two_level(system, coarse, _prolongation(coarse, system, free_only=True))
    else:
        guess = None
        ksp = _multigrid(system)
    report, phi = system.run(ksp, tolerance, guess)
    ksp.destroy()
    return _evaluate(problem, phi, report, prolongation, start)


class _System:
    """Matrix, lifting and fixed values of one problem."""

    def __init__(self, problem: ConductionProblem) -> None:
        self.problem = problem
        space = problem.space
        u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        form = problem.bulk(u, v)
        for name in problem.contact:
            form += problem.contact_term(name, u, v)
        self.lifted = dolfinx.fem.Function(space)
        dofs = []
        for name, values in problem.fixed.items():
            own = dolfinx.fem.locate_dofs_topological(space, 2, problem.mesh.facets(name))
            place = space.tabulate_dof_coordinates()[own]
            self.lifted.x.array[own] = values(place.T)
            dofs.append(own)
        self.fixed = np.unique(np.concatenate(dofs)) if dofs else np.empty(0, dtype=np.int32)
        self.lifted.x.scatter_forward()
        condition = dolfinx.fem.dirichletbc(dolfinx.fem.Function(space), self.fixed)
        self.matrix = dolfinx.fem.petsc.assemble_matrix(compile_form(form), bcs=[condition])
        self.matrix.assemble()
        self.matrix.setOption(PETSc.Mat.Option.SPD, True)
        self.residual_form = None

    def residual(self, phi: Any) -> Any:
        """B − Aφ over the free unknowns, zero on the fixed ones, as a PETSc vector."""
        v = ufl.TestFunction(self.problem.space)
        form = -self.problem.bulk(phi, v)
        for name, (_, potential) in self.problem.contact.items():
            form -= self.problem.contact_term(name, phi - potential, v)
        vector = dolfinx.fem.petsc.assemble_vector(compile_form(form))
        vector.ghostUpdate(addv=PETSc.InsertMode.ADD, mode=PETSc.ScatterMode.REVERSE)
        owned = self.fixed[self.fixed < self.problem.space.dofmap.index_map.size_local]
        vector.array[owned] = 0.0
        return vector

    def run(self, ksp: Any, tolerance: float, guess: Any) -> tuple[SolveReport, Any]:
        """Solve for the correction to the lifted values and check the true residual."""
        space = self.problem.space
        right = self.residual(self.lifted)
        scale = right.norm()
        correction = right.duplicate()
        correction.set(0.0)
        if guess is not None:
            guess.copy(correction)
            owned = self.fixed[self.fixed < space.dofmap.index_map.size_local]
            correction.array[:] -= self.lifted.x.petsc_vec.array
            correction.array[owned] = 0.0
            ksp.setInitialGuessNonzero(True)
        ksp.setTolerances(rtol=tolerance * MARGIN, atol=1e-300, max_it=500)
        if scale > 0:
            ksp.solve(right, correction)
        phi = dolfinx.fem.Function(space, name="potential_V")
        phi.x.petsc_vec.array[:] = correction.array + self.lifted.x.petsc_vec.array
        phi.x.scatter_forward()
        true = self.residual(phi).norm() / scale if scale > 0 else 0.0
        reason = ksp.getConvergedReason() if scale > 0 else 2
        report = SolveReport(
            self.problem.degree, space.dofmap.index_map.size_global, reason, ksp.getIterationNumber(), true,
            space.mesh.comm.size,
        )  # fmt: skip
        if not np.isfinite(true) or true > tolerance:
            raise SolveError(
                1, "solver", f"the relative residual must be below {tolerance:g}; got {true:.1e} after "
                f"{report.iterations} iterations (PETSc reason {reason})",
                "raise mesh quality (mesh.size_min) or solver.tolerance",
            )  # fmt: skip
        return report, phi


def _configured(ksp: Any, options: dict[str, Any], prefix: str) -> None:
    """Apply options to one solver only and leave PETSc's option table as it was."""
    table: Any = PETSc.Options()
    ksp.setOptionsPrefix(prefix)
    for key, value in options.items():
        table[prefix + key] = value
    ksp.setFromOptions()
    for key in options:
        table.delValue(prefix + key)


def _multigrid(system: _System) -> Any:
    """CG with algebraic multigrid, for degree 1."""
    ksp = PETSc.KSP().create(system.problem.mesh.comm)
    ksp.setOperators(system.matrix)
    ksp.setType("cg")
    ksp.setNormType(UNPRECONDITIONED)
    _configured(ksp, GAMG, "p1_")
    return ksp


def _two_level(system: _System, coarse: _System, prolongation: Any) -> Any:
    """CG with two levels, degree 2 smoothed by Chebyshev, degree 1 by algebraic multigrid."""
    ksp = PETSc.KSP().create(system.problem.mesh.comm)
    ksp.setOperators(system.matrix)
    ksp.setType("cg")
    ksp.setNormType(UNPRECONDITIONED)
    pc = ksp.getPC()
    pc.setType("mg")
    pc.setMGLevels(2)
    pc.setMGInterpolation(1, prolongation)
    smoother = pc.getMGSmoother(1)
    smoother.setType("chebyshev")
    smoother.setTolerances(max_it=2)
    smoother.getPC().setType("jacobi")
    bottom = pc.getMGCoarseSolve()
    bottom.setOperators(coarse.matrix)
    bottom.setType("preonly")
    _configured(bottom, GAMG, "p1_")
    return ksp


#: Vertices of the six edges of the reference tetrahedron, in basix's order.
EDGES = np.array([[2, 3], [1, 3], [1, 2], [0, 3], [0, 2], [0, 1]])


def _prolongation(coarse: _System, fine: _System, free_only: bool = False) -> Any:
    """Matrix that writes a function of degree 1 in the basis of degree 2: vertices keep, edges take the mean.

    With ``free_only`` rows and columns of fixed unknowns are left out, as multigrid needs it.
    """
    rows_map, columns_map = fine.problem.space.dofmap, coarse.problem.space.dofmap
    cells2, cells1 = rows_map.list, columns_map.list
    unknown = np.concatenate([cells2[:, :4], cells2[:, 4:]], axis=1).ravel()
    first = np.concatenate([cells1, cells1[:, EDGES[:, 0]]], axis=1).ravel()
    second = np.concatenate([cells1, cells1[:, EDGES[:, 1]]], axis=1).ravel()
    unknown, at = np.unique(unknown, return_index=True)
    own = unknown < rows_map.index_map.size_local
    unknown, first, second = unknown[own], first[at[own]], second[at[own]]
    rows = np.concatenate([unknown, unknown])
    columns = np.concatenate([first, second])
    values = np.full(len(rows), 0.5)  # a vertex names itself twice
    if free_only:
        keep = ~np.isin(rows, fine.fixed) & ~np.isin(columns, coarse.fixed)
        rows, columns, values = rows[keep], columns[keep], values[keep]
    sizes = [(m.index_map.size_local, m.index_map.size_global) for m in (rows_map, columns_map)]
    matrix: Any = PETSc.Mat().createAIJ(sizes, comm=fine.problem.mesh.comm)
    to_global = [m.index_map.local_to_global for m in (rows_map, columns_map)]
    index = PETSc.IntType
    matrix.setPreallocationCOO(
        to_global[0](rows.astype(np.int32)).astype(index), to_global[1](columns.astype(np.int32)).astype(index)
    )
    matrix.setValuesCOO(values, addv=PETSc.InsertMode.ADD_VALUES)
    matrix.assemble()
    return matrix


def _evaluate(
    problem: ConductionProblem, phi: Any, report: SolveReport, prolongation: Any, start: Solution | None
) -> Solution:
    """Reactions, power and moments of a potential."""
    space, comm = problem.space, problem.mesh.comm
    v = ufl.TestFunction(space)
    scale = problem.current_scale
    current = _assembled(-problem.bulk(phi, v))
    owned = space.dofmap.index_map.size_local
    height = dolfinx.fem.Function(space)
    height.interpolate(lambda x: x[2])
    conducting = _on_conductors(problem)
    reaction = np.where(conducting[:owned], current.array, 0.0)
    by_surface = {name: _assembled(problem.contact_term(name, phi - problem.contact[name][1], v))
                  for name in problem.contact}  # fmt: skip
    fixed = current.copy()
    fixed.array[:] = reaction
    for vector in by_surface.values():
        fixed.axpy(-1.0, vector)
    vertex_space = start.problem.space if start is not None else space
    gathered = {}
    for name, vector in {"": fixed, **by_surface}.items():
        if prolongation is not None:
            coarse = prolongation.createVecRight()
            prolongation.multTranspose(vector, coarse)
            vector = coarse
        gathered[name] = gather(problem, vertex_space, vector.array * scale)
    sums = comm.allreduce(np.array([(reaction * phi.x.array[:owned]).sum(), (reaction * height.x.array[:owned]).sum()]))
    normal = ufl.FacetNormal(problem.mesh.mesh)
    sigma = dolfinx.fem.Constant(problem.mesh.mesh, problem.conductivity)
    boundary = integrate(phi * ufl.dot(sigma, normal)[2] * ufl.ds(domain=problem.mesh.mesh), comm)
    values = phi.x.array[:owned]
    return Solution(
        problem, phi, report, gathered,
        bulk_power=integrate(problem.bulk(phi, phi), comm) * scale,
        surface_power=-float(sums[0]) * scale,
        height_moment=float(sums[1]) * scale * problem.mesh.unit,
        boundary_moment=-boundary * scale * problem.mesh.unit,
        phi_range=(
            comm.allreduce(float(values.min(initial=np.inf)), op=MPI.MIN),
            comm.allreduce(float(values.max(initial=-np.inf)), op=MPI.MAX),
        ),
    )  # fmt: skip


def _assembled(form: Any) -> Any:
    vector = dolfinx.fem.petsc.assemble_vector(compile_form(form))
    vector.ghostUpdate(addv=PETSc.InsertMode.ADD, mode=PETSc.ScatterMode.REVERSE)
    return vector


def _on_conductors(problem: ConductionProblem) -> NDArray[np.bool_]:
    """Which local unknowns lie on a surface that current can pass."""
    index_map = problem.space.dofmap.index_map
    on = np.zeros(index_map.size_local + index_map.num_ghosts, dtype=bool)
    for name in (*problem.fixed, *problem.contact):
        on[dolfinx.fem.locate_dofs_topological(problem.space, 2, problem.mesh.facets(name))] = True
    return on


def gather(problem: ConductionProblem, space: Any, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Owned values of a vector of degree 1 by vertex of the mesh arrays, on rank 0; empty elsewhere."""
    mesh = problem.mesh.mesh
    owned = space.dofmap.index_map.size_local
    number = np.empty(owned + space.dofmap.index_map.num_ghosts, dtype=np.int64)
    cells = space.dofmap.list
    number[cells.ravel()] = problem.mesh.input_vertex()[mesh.geometry.dofmaps[0][: len(cells), :4].ravel()]
    keep = np.nonzero(values)[0]
    parts = problem.mesh.comm.gather((number[:owned][keep], values[keep]))
    if problem.mesh.arrays is None or parts is None:
        return np.empty(0)
    whole = np.zeros(len(problem.mesh.arrays.points))
    for vertices, part in parts:
        whole[vertices] = part
    return whole


def peak_memory() -> int:
    """Peak resident memory of this process, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
