"""The linear system of a conduction problem: matrix, multigrid, and solves for any potentials of the lithium.

One system serves the potential itself and the duals of its goals, with one set-up of the preconditioner.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from fem_spall.conduction import ConductionProblem
from fem_spall.errors import SolveError
from fem_spall.fenics import PETSc, compile_form, dolfinx, ufl

__all__ = ["LithiumPotential", "SolveReport", "System"]

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
class LithiumPotential:
    """Potential of the lithium behind the surfaces, V.

    ``fixed`` is a function of the system's space that counts at the fixed unknowns; ``contact`` gives the potential
    behind each surface with an interfacial resistance, a number or a function (none: zero).  ``floating`` holds the
    potentials that isolated bodies took.
    """

    fixed: Any
    contact: dict[str, Any] = field(default_factory=dict)
    floating: dict[str, float] = field(default_factory=dict)


class System:
    """Matrix and solver of one problem; ``coarse`` is the system of degree 1, which degree 2 needs.

    ``fixed`` are the local numbers of the unknowns of fixed potential.
    """

    def __init__(self, problem: ConductionProblem, coarse: System | None = None) -> None:
        if problem.degree == 2 and coarse is None:
            raise ValueError("degree 2 needs the system of degree 1 on the same mesh")
        self.problem = problem
        self.coarse = coarse
        self._modes: list[tuple[Any, LithiumPotential]] | None = None
        space = problem.space
        u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        form = problem.bulk(u, v)
        for name in problem.contact:
            form += problem.contact_term(name, u, v)
        lifted = dolfinx.fem.Function(space)
        dofs = []
        for name, values in problem.fixed.items():
            own = dolfinx.fem.locate_dofs_topological(space, 2, problem.mesh.facets(name))
            place = space.tabulate_dof_coordinates()[own]
            lifted.x.array[own] = values(place.T)
            dofs.append(own)
        self.fixed = np.unique(np.concatenate(dofs)) if dofs else np.empty(0, dtype=np.int32)
        lifted.x.scatter_forward()
        self.given = LithiumPotential(lifted, {name: value for name, (_, value) in problem.contact.items()})
        condition = dolfinx.fem.dirichletbc(dolfinx.fem.Function(space), self.fixed)
        self.matrix = dolfinx.fem.petsc.assemble_matrix(compile_form(form), bcs=[condition])
        self.matrix.assemble()
        self.matrix.setOption(PETSc.Mat.Option.SPD, True)

    @cached_property
    def prolongation(self) -> Any:
        """Matrix that writes a function of degree 1 in the basis of this system."""
        assert self.coarse is not None
        return _prolongation(self.coarse, self)

    def solve(
        self, lithium: LithiumPotential, tolerance: float, guess: Any = None
    ) -> tuple[SolveReport, Any, LithiumPotential]:
        """Return how the solve went, the potential, V, and the potentials of the lithium with those of floating bodies.

        Parameters
        ----------
        lithium : LithiumPotential
            Potentials behind the surfaces.
        tolerance : float
            Largest relative true residual allowed.
        guess : PETSc vector, optional
            Where the iteration starts.

        Raises
        ------
        SolveError
            If the iteration does not reach the residual.
        """
        report, phi = self._solve(lithium, tolerance, guess)
        if not self.problem.floating:
            return report, phi, lithium
        if self._modes is None:
            self._modes = [self._mode(name, tolerance) for name in self.problem.floating]
        # The net current of every body is linear in the potentials of all.
        capacity = np.array([[self.net_current(mode, name, given) for mode, given in self._modes]
                             for name in self.problem.floating])  # fmt: skip
        present = np.array([self.net_current(phi, name, lithium) for name in self.problem.floating])
        potentials = -np.linalg.solve(capacity, present)
        contact = dict(lithium.contact)
        for name, value, (mode, _) in zip(self.problem.floating, potentials, self._modes, strict=True):
            phi.x.array[:] += value * mode.x.array
            if name in self.problem.contact:
                contact[name] = contact.get(name, 0.0) + float(value)
        found = {name: float(v) for name, v in zip(self.problem.floating, potentials, strict=True)}
        return report, phi, LithiumPotential(lithium.fixed, contact, found)

    def _mode(self, name: str, tolerance: float) -> tuple[Any, LithiumPotential]:
        """The potential with one isolated body at 1 V and everything else at 0 V."""
        fixed = dolfinx.fem.Function(self.problem.space)
        contact = {}
        if name in self.problem.contact:
            contact[name] = 1.0
        else:
            facets = self.problem.mesh.facets(name)
            fixed.x.array[dolfinx.fem.locate_dofs_topological(self.problem.space, 2, facets)] = 1.0
            fixed.x.scatter_forward()
        lithium = LithiumPotential(fixed, contact)
        return self._solve(lithium, tolerance, None)[1], lithium

    def net_current(self, phi: Any, name: str, lithium: LithiumPotential) -> float:
        """Current into the lithium behind one surface, program units; collective."""
        v = ufl.TestFunction(self.problem.space)
        if name in self.problem.contact:
            form = self.problem.contact_term(name, phi - self._constant(lithium.contact.get(name, 0.0)), v)
        else:
            form = -self.problem.bulk(phi, v)
        vector = dolfinx.fem.petsc.assemble_vector(compile_form(form))
        vector.ghostUpdate(addv=PETSc.InsertMode.ADD, mode=PETSc.ScatterMode.REVERSE)
        index_map = self.problem.space.dofmap.index_map
        own = dolfinx.fem.locate_dofs_topological(self.problem.space, 2, self.problem.mesh.facets(name))
        own = own[own < index_map.size_local]
        return float(index_map.comm.allreduce(vector.array[own].sum()))

    def _solve(self, lithium: LithiumPotential, tolerance: float, guess: Any) -> tuple[SolveReport, Any]:
        space, ksp = self.problem.space, self._ksp
        right = self._residual(lithium.fixed, lithium.contact)
        scale = right.norm()
        correction = right.duplicate()
        correction.set(0.0)
        ksp.setInitialGuessNonzero(guess is not None)
        if guess is not None:
            guess.copy(correction)
            correction.array[:] -= lithium.fixed.x.petsc_vec.array
            correction.array[self._owned_fixed] = 0.0
        ksp.setTolerances(rtol=tolerance * MARGIN, atol=1e-300, max_it=500)
        if scale > 0:
            ksp.solve(right, correction)
        phi = dolfinx.fem.Function(space, name="potential_V")
        phi.x.petsc_vec.array[:] = correction.array + lithium.fixed.x.petsc_vec.array
        phi.x.scatter_forward()
        true = self._residual(phi, lithium.contact).norm() / scale if scale > 0 else 0.0
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

    @property
    def _owned_fixed(self) -> Any:
        return self.fixed[self.fixed < self.problem.space.dofmap.index_map.size_local]

    @cached_property
    def _ksp(self) -> Any:
        return _multigrid(self) if self.coarse is None else _two_level(self, self.coarse)

    def _residual(self, phi: Any, contact: dict[str, Any]) -> Any:
        """B − Aφ over the free unknowns, zero on the fixed ones, as a PETSc vector."""
        v = ufl.TestFunction(self.problem.space)
        form = -self.problem.bulk(phi, v)
        for name in self.problem.contact:
            form -= self.problem.contact_term(name, phi - self._constant(contact.get(name, 0.0)), v)
        vector = dolfinx.fem.petsc.assemble_vector(compile_form(form))
        vector.ghostUpdate(addv=PETSc.InsertMode.ADD, mode=PETSc.ScatterMode.REVERSE)
        vector.array[self._owned_fixed] = 0.0
        return vector

    def _constant(self, value: Any) -> Any:
        return dolfinx.fem.Constant(self.problem.mesh.mesh, float(value)) if isinstance(value, (int, float)) else value


def _configured(ksp: Any, options: dict[str, Any], prefix: str) -> None:
    """Apply options to one solver only and leave PETSc's option table as it was."""
    table: Any = PETSc.Options()
    ksp.setOptionsPrefix(prefix)
    for key, value in options.items():
        table[prefix + key] = value
    ksp.setFromOptions()
    for key in options:
        table.delValue(prefix + key)


def _multigrid(system: System) -> Any:
    """CG with algebraic multigrid, for degree 1."""
    ksp = PETSc.KSP().create(system.problem.mesh.comm)
    ksp.setOperators(system.matrix)
    ksp.setType("cg")
    ksp.setNormType(UNPRECONDITIONED)
    _configured(ksp, GAMG, "p1_")
    return ksp


def _two_level(system: System, coarse: System) -> Any:
    """CG with two levels, degree 2 smoothed by Chebyshev, degree 1 by algebraic multigrid."""
    ksp = PETSc.KSP().create(system.problem.mesh.comm)
    ksp.setOperators(system.matrix)
    ksp.setType("cg")
    ksp.setNormType(UNPRECONDITIONED)
    pc = ksp.getPC()
    pc.setType("mg")
    pc.setMGLevels(2)
    pc.setMGInterpolation(1, _prolongation(coarse, system, free_only=True))
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


def _prolongation(coarse: System, fine: System, free_only: bool = False) -> Any:
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
