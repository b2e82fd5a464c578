"""The linear system of a conduction problem: matrix, multigrid, and solves for any potentials of the lithium.

One system serves the potential itself and the duals of its goals, with one set-up of the preconditioner.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fem_spall.conduction import ConductionProblem
from fem_spall.errors import SolveError
from fem_spall.fenics import PETSc, compile_form, dolfinx, ufl
from fem_spall.floating import Body, Elimination, matrix_of

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
    newton_steps: int = 0  # of nonlinear interfaces


@dataclass(frozen=True)
class LithiumPotential:
    """Potential of the lithium behind the surfaces, V.

    ``fixed`` is a function of the system's space that counts at the fixed unknowns; ``contact`` gives the potential
    behind each surface with an interfacial resistance, a number or a function (none: zero).  ``floating`` holds the
    potentials that isolated bodies took, (bodies,) float by surface.
    """

    fixed: Any
    contact: dict[str, Any] = field(default_factory=dict)
    floating: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    current: dict[str, Any] = field(default_factory=dict)  # imposed on what floats, program units


class System:
    """Matrix and solver of one problem; ``coarse`` is the system of degree 1, which degree 2 needs.

    ``fixed`` are the local numbers of the unknowns of fixed potential.
    """

    def __init__(self, problem: ConductionProblem, coarse: System | None = None) -> None:
        if problem.degree == 2 and coarse is None:
            raise ValueError("degree 2 needs the system of degree 1 on the same mesh")
        self.problem = problem
        self.coarse = coarse
        space = problem.space
        u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        form = problem.bulk(u, v)
        for name in problem.contact:
            form += problem.contact_term(name, u, v)
        lifted = dolfinx.fem.Function(space)
        dofs = []
        for name, values in problem.fixed.items():
            if name in problem.floating:
                continue
            own = dolfinx.fem.locate_dofs_topological(space, 2, problem.mesh.facets(name))
            place = space.tabulate_dof_coordinates()[own]
            lifted.x.array[own] = values(place.T)
            dofs.append(own)
        self.fixed = np.unique(np.concatenate(dofs)) if dofs else np.empty(0, dtype=np.int32)
        lifted.x.scatter_forward()
        contact = {name: value + problem.offset.get(name, 0.0) for name, (_, value) in problem.contact.items()}
        self.given = LithiumPotential(lifted, contact, current=problem.imposed)
        condition = dolfinx.fem.dirichletbc(dolfinx.fem.Function(space), self.fixed)
        self.matrix = dolfinx.fem.petsc.assemble_matrix(compile_form(form), bcs=[condition])
        self.matrix.assemble()
        self.elimination = elimination_of(problem, space, self.fixed)
        if self.elimination is not None:
            self._transfer = self.elimination.transfer()
            reduced = self.matrix.ptap(self._transfer)
            walls = {name: self._wall(name) for name in problem.floating if name in problem.contact}
            if walls:
                reduced.axpy(1.0, self.elimination.coupling(walls))
            self.matrix = reduced
        self.matrix.setOption(PETSc.Mat.Option.SPD, True)

    def _wall(self, name: str) -> NDArray[np.float64]:
        """∫ β v_i ds over a surface with a resistance, by own unknown."""
        one = dolfinx.fem.Constant(self.problem.mesh.mesh, 1.0)
        return np.asarray(_assembled(self.problem.contact_term(name, one, ufl.TestFunction(self.problem.space))).array)

    @cached_property
    def prolongation(self) -> Any:
        """Matrix that writes a function of degree 1 in the basis of this system."""
        assert self.coarse is not None
        return _prolongation(self.coarse, self)

    def piece_currents(
        self, phi: Any, lithium: LithiumPotential, pieces: tuple[NDArray[np.int32], NDArray[np.int32], int]
    ) -> NDArray[np.float64]:
        """Current into each piece of a surface of fixed potential, program units, (pieces,) float; collective."""
        unknowns, body, count = pieces
        own = unknowns < self.problem.space.dofmap.index_map.size_local
        reaction = _assembled(self._charge(phi, lithium)).array[unknowns[own]]
        sums = np.bincount(body[own], reaction, minlength=count).astype(float)
        return np.asarray(self.problem.mesh.comm.allreduce(sums))

    def solve(
        self, lithium: LithiumPotential, tolerance: float, guess: tuple[Any, LithiumPotential] | None = None
    ) -> tuple[SolveReport, Any, LithiumPotential]:
        """Return how the solve went, the potential, V, and the potentials of the lithium with those of isolated bodies.

        Parameters
        ----------
        lithium : LithiumPotential
            Potentials behind the surfaces.
        tolerance : float
            Largest relative true residual allowed.
        guess : PETSc vector and LithiumPotential, optional
            Where the iteration starts.

        Raises
        ------
        SolveError
            If the iteration does not reach the residual.
        """
        space, ksp = self.problem.space, self._ksp
        right = self._residual(lithium.fixed, lithium)
        scale = right.norm()
        correction = right.duplicate()
        correction.set(0.0)
        ksp.setInitialGuessNonzero(guess is not None)
        if guess is not None:
            self._start(correction, lithium, *guess)
        ksp.setTolerances(rtol=tolerance * MARGIN, atol=1e-300, max_it=500)
        if scale > 0:
            ksp.solve(right, correction)
        phi = dolfinx.fem.Function(space, name="potential_V")
        vector = phi.x.petsc_vec
        if self.elimination is None:
            correction.copy(vector)
        else:
            self._transfer.mult(correction, vector)
        vector.axpy(1.0, lithium.fixed.x.petsc_vec)
        phi.x.scatter_forward()
        found = self._taken(lithium, correction)
        true = self._residual(phi, found).norm() / scale if scale > 0 else 0.0
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
        return report, phi, found

    def _start(self, correction: Any, lithium: LithiumPotential, phi: Any, found: LithiumPotential) -> None:
        """Turn a potential into the correction from which the iteration starts."""
        difference = phi.copy()
        difference.axpy(-1.0, lithium.fixed.x.petsc_vec)
        difference.array[self._owned_fixed] = 0.0
        if self.elimination is None:
            difference.copy(correction)
            return
        self._transfer.multTranspose(difference, correction)  # what is not merged keeps its value
        for group in self.elimination.bodies:
            self.elimination.put(correction, group, found.floating[group.name])

    def _taken(self, lithium: LithiumPotential, correction: Any) -> LithiumPotential:
        """The potentials of the lithium with those that isolated bodies took."""
        if self.elimination is None:
            return lithium
        floating = {group.name: self.elimination.take(correction, group) for group in self.elimination.bodies}
        return self.with_bodies(replace(lithium, floating=floating))

    def with_bodies(self, lithium: LithiumPotential) -> LithiumPotential:
        """The same with the potentials of the bodies added to those behind resistances."""
        contact = dict(lithium.contact)
        for group in self.elimination.bodies if self.elimination is not None else ():
            if not group.merged:
                own = self.problem.on_bodies(group.name, lithium.floating[group.name])
                contact[group.name] = self._constant(contact.get(group.name, 0.0)) + own
        return replace(lithium, contact=contact)

    def load(self) -> float:
        """Norm of the residual of the given potentials alone: what residuals are measured by."""
        return float(self._residual(self.given.fixed, self.given).norm())

    def defect(self, phi: Any, lithium: LithiumPotential) -> float:
        """Norm of the residual of a potential with that of the lithium, bodies included."""
        return float(self._residual(phi, lithium).norm())

    def net_currents(self, phi: Any, lithium: LithiumPotential, name: str) -> NDArray[np.float64]:
        """Current into each isolated body behind a surface, program units, (bodies,) float; collective."""
        assert self.elimination is not None
        group = next(group for group in self.elimination.bodies if group.name == name)
        form = self._charge(phi, lithium) if group.merged else self._through(name, phi, lithium)
        return self.elimination.sums(group, _assembled(form).array)

    @property
    def numbering(self) -> tuple[tuple[int, int], NDArray[np.int64]]:
        """Local and global number of the unknowns that are left, and the global number of each local one."""
        if self.elimination is not None:
            return self.elimination.sizes, self.elimination.number
        return _numbering(self.problem.space.dofmap.index_map)

    @property
    def _owned_fixed(self) -> Any:
        return self.fixed[self.fixed < self.problem.space.dofmap.index_map.size_local]

    @cached_property
    def _ksp(self) -> Any:
        return _multigrid(self) if self.coarse is None else _two_level(self, self.coarse)

    def _through(self, name: str, phi: Any, lithium: LithiumPotential) -> Any:
        """The form ∫ β (φ − φ_Li) v ds over one surface."""
        potential = self._constant(lithium.contact.get(name, 0.0))
        return self.problem.contact_term(name, phi - potential, ufl.TestFunction(self.problem.space))

    def _charge(self, phi: Any, lithium: LithiumPotential) -> Any:
        """The form B − Aφ."""
        form = -self.problem.bulk(phi, ufl.TestFunction(self.problem.space))
        for name in self.problem.contact:
            form -= self._through(name, phi, lithium)
        return form

    def _residual(self, phi: Any, lithium: LithiumPotential) -> Any:
        """B − Aφ over the unknowns that are left, zero on the fixed ones, as a PETSc vector."""
        vector = _assembled(self._charge(phi, lithium))
        vector.array[self._owned_fixed] = 0.0
        if self.elimination is None:
            return vector
        reduced = self._transfer.createVecRight()
        self._transfer.multTranspose(vector, reduced)
        for group in self.elimination.bodies:
            imposed = lithium.current.get(group.name, 0.0)
            if not group.merged:
                through = _assembled(self._through(group.name, phi, lithium)).array
                self.elimination.put(reduced, group, self.elimination.sums(group, through) - imposed)
            elif np.any(imposed):
                self.elimination.put(reduced, group, self.elimination.take(reduced, group) - imposed)
        return reduced

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


def elimination_of(problem: ConductionProblem, space: Any, fixed: NDArray[np.int32]) -> Elimination | None:
    """How the unknowns of a space on the problem's mesh are merged for isolated bodies; None if there are none."""
    if not problem.floating:
        return None
    bodies = []
    for name in problem.floating:
        unknowns, body, count = problem.pieces(name, space)
        bodies.append(Body(name, unknowns, body, count, name in problem.fixed))
    return Elimination(space.dofmap.index_map, bodies, fixed)


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
    if not free_only:
        (sizes_of_rows, row), (sizes_of_columns, column) = (
            _numbering(rows_map.index_map),
            _numbering(columns_map.index_map),
        )
        return matrix_of(fine.problem.mesh.comm, (sizes_of_rows, sizes_of_columns), row[rows], column[columns], values)
    keep = ~np.isin(rows, fine.fixed) & ~np.isin(columns, coarse.fixed)
    rows, columns, values = rows[keep], columns[keep], values[keep]
    (sizes_of_rows, row), (sizes_of_columns, column) = fine.numbering, coarse.numbering
    hubs = (np.empty(0, dtype=np.int64),) * 2
    if fine.elimination is not None and coarse.elimination is not None:
        merged = np.zeros(len(row), dtype=bool)
        for group in fine.elimination.bodies:
            merged[group.unknowns] |= group.merged
        keep = ~merged[rows]
        rows, columns, values = rows[keep], columns[keep], values[keep]
        hubs = fine.elimination.own_hubs(coarse.elimination)
    return matrix_of(
        fine.problem.mesh.comm, (sizes_of_rows, sizes_of_columns), np.concatenate([row[rows], hubs[0]]),
        np.concatenate([column[columns], hubs[1]]), np.concatenate([values, np.ones(len(hubs[0]))]),
    )  # fmt: skip


def _numbering(index_map: Any) -> tuple[tuple[int, int], NDArray[np.int64]]:
    local = np.arange(index_map.size_local + index_map.num_ghosts, dtype=np.int32)
    return (index_map.size_local, index_map.size_global), index_map.local_to_global(local)


def _assembled(form: Any) -> Any:
    vector = dolfinx.fem.petsc.assemble_vector(compile_form(form))
    vector.ghostUpdate(addv=PETSc.InsertMode.ADD, mode=PETSc.ScatterMode.REVERSE)
    return vector
