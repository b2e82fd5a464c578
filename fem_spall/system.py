"""The linear system of a conduction problem: operator, multigrid, and solves for any potentials of the lithium.

One system serves the potential itself and the duals of its goals, with one set-up of the preconditioner.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fem_spall.conduction import ConductionProblem
from fem_spall.errors import SolveError
from fem_spall.fenics import PETSc, compile_form, dolfinx, ufl
from fem_spall.matrix_free import Stiffness, TwoLevel, vertex_pairs

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
MOST_ITERATIONS = 500

type Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SolveReport:
    """How the linear solve went; ``true_residual`` is |b − Aφ|/|b| over the free unknowns, recomputed."""

    degree: int
    dofs: int
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
    """Operator and solver of one problem; ``coarse`` is the system of degree 1, which degree 2 needs.

    Degree 1 has a matrix, degree 2 only its action (``matrix_free``).  ``fixed`` are the local numbers of the unknowns
    of fixed potential.
    """

    def __init__(self, problem: ConductionProblem, coarse: System | None = None) -> None:
        if problem.degree == 2 and coarse is None:
            raise ValueError("degree 2 needs the system of degree 1 on the same mesh")
        self.problem = problem
        self.coarse = coarse if problem.degree == 2 else None
        self._modes: list[tuple[Any, LithiumPotential]] | None = None
        space = problem.space
        self.owned = space.dofmap.index_map.size_local
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
        self.stiffness = Stiffness(problem) if problem.degree == 2 else None

    @cached_property
    def matrix(self) -> Any:
        """The matrix, with unit rows at the fixed unknowns."""
        problem, space = self.problem, self.problem.space
        u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        form = problem.bulk(u, v)
        for name in problem.contact:
            form += problem.contact_term(name, u, v)
        condition = dolfinx.fem.dirichletbc(dolfinx.fem.Function(space), self.fixed)
        matrix = dolfinx.fem.petsc.assemble_matrix(compile_form(form), bcs=[condition])
        matrix.assemble()
        matrix.setOption(PETSc.Mat.Option.SPD, True)
        return matrix

    @cached_property
    def _pairs(self) -> NDArray[np.int32]:
        assert self.coarse is not None
        return vertex_pairs(self.coarse.problem.space, self.problem.space)

    def raised(self, linear: Any) -> Any:
        """The same function in the space of the system, of one of degree 1."""
        if self.coarse is None:
            return linear
        result = dolfinx.fem.Function(self.problem.space)
        result.x.array[:] = linear.x.array[self._pairs].mean(axis=1)
        return result

    def lowered(self, values: Floats) -> Floats:
        """Sums over the owned unknowns, for the owned ones of degree 1: the transpose of :meth:`raised`; collective."""
        if self.coarse is None:
            return values
        result = dolfinx.la.vector(self.coarse.problem.space.dofmap.index_map, 1)
        for end in self._pairs[: self.owned].T:
            result.array[:] += np.bincount(end, values / 2, minlength=len(result.array))
        result.scatter_reverse(dolfinx.la.InsertMode.add)
        return np.asarray(result.array[: self.coarse.owned])

    def reaction(self, phi: Any) -> Floats:
        """−∫ σ∇φ·∇v dx for the owned unknowns: into the lithium positive; collective."""
        if self.stiffness is None:
            return self._assembled(-self.problem.bulk(phi, ufl.TestFunction(self.problem.space)))
        result = self.stiffness.vector()
        self.stiffness.multiply(phi.x, result, contact=False)
        return np.asarray(-result.array[: self.owned])

    def through(self, name: str, phi: Any, potential: Any) -> Floats:
        """∫ (φ − φ_Li) v / R ds over one surface for the owned unknowns; collective.

        ``potential`` of the lithium, V, is a number or a function of the system's space.
        """
        number = isinstance(potential, (int, float))
        if self.stiffness is None:
            if number:
                potential = dolfinx.fem.Constant(self.problem.mesh.mesh, float(potential))
            v = ufl.TestFunction(self.problem.space)
            return self._assembled(self.problem.contact_term(name, phi - potential, v))
        return self.stiffness.through(name, phi.x.array - (potential if number else potential.x.array))

    def _assembled(self, form: Any) -> Floats:
        vector = dolfinx.fem.assemble_vector(compile_form(form))
        vector.scatter_reverse(dolfinx.la.InsertMode.add)
        return np.asarray(vector.array[: self.owned])

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
        guess : Function, optional
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
        if name in self.problem.contact:
            current = self.through(name, phi, lithium.contact.get(name, 0.0))
        else:
            current = self.reaction(phi)
        own = dolfinx.fem.locate_dofs_topological(self.problem.space, 2, self.problem.mesh.facets(name))
        return float(self.problem.mesh.comm.allreduce(current[own[own < self.owned]].sum()))

    def _solve(self, lithium: LithiumPotential, tolerance: float, guess: Any) -> tuple[SolveReport, Any]:
        space = self.problem.space
        right = self._residual(lithium.fixed, lithium.contact)
        scale = self._norm(right)
        start = None
        if guess is not None:
            start = guess.x.array[: self.owned] - lithium.fixed.x.array[: self.owned]
            start[self._owned_fixed] = 0.0
        correction, iterations = np.zeros(self.owned), 0
        if scale > 0:
            correction, iterations = self._solver.solve(right, start, tolerance * MARGIN, MOST_ITERATIONS)
        phi = dolfinx.fem.Function(space, name="potential_V")
        phi.x.array[: self.owned] = correction + lithium.fixed.x.array[: self.owned]
        phi.x.scatter_forward()
        true = self._norm(self._residual(phi, lithium.contact)) / scale if scale > 0 else 0.0
        report = SolveReport(
            self.problem.degree, space.dofmap.index_map.size_global, iterations, true, space.mesh.comm.size
        )
        if not np.isfinite(true) or true > tolerance:
            raise SolveError(
                1, "solver", f"the relative residual must be below {tolerance:g}; got {true:.1e} after "
                f"{report.iterations} iterations",
                "raise mesh quality (mesh.size_min) or solver.tolerance",
            )  # fmt: skip
        return report, phi

    @property
    def _owned_fixed(self) -> Any:
        return self.fixed[self.fixed < self.owned]

    @cached_property
    def _solver(self) -> _Assembled | TwoLevel:
        if self.coarse is None or self.stiffness is None:
            return _Assembled(self.matrix)
        coarse = self.coarse._solver
        assert isinstance(coarse, _Assembled)
        space = self.coarse.problem.space
        return TwoLevel(self.stiffness, self._owned_fixed, self._pairs, coarse.multigrid, space, self.coarse.fixed)

    def _norm(self, values: Floats) -> float:
        return float(np.sqrt(self.problem.mesh.comm.allreduce(values @ values)))

    def _residual(self, phi: Any, contact: dict[str, Any]) -> Floats:
        """B − Aφ over the owned unknowns, zero on the fixed ones; collective."""
        result = self.reaction(phi)
        for name in self.problem.contact:
            result -= self.through(name, phi, contact.get(name, 0.0))
        result[self._owned_fixed] = 0.0
        return result


class _Assembled:
    """Conjugate gradients with algebraic multigrid for a matrix, of degree 1."""

    def __init__(self, matrix: Any) -> None:
        self._ksp = PETSc.KSP().create(matrix.comm)
        self._ksp.setOperators(matrix)
        self._ksp.setType("cg")
        self._ksp.setNormType(UNPRECONDITIONED)
        _configured(self._ksp, GAMG, "p1_")

    @property
    def multigrid(self) -> Any:
        """The preconditioner, for use within another one."""
        return self._ksp.getPC()

    def solve(self, right: Floats, start: Floats | None, tolerance: float, most: int) -> tuple[Floats, int]:
        """As :meth:`TwoLevel.solve`."""
        result = np.zeros_like(right) if start is None else start.copy()
        comm = self._ksp.comm
        self._ksp.setInitialGuessNonzero(start is not None)
        self._ksp.setTolerances(rtol=tolerance, atol=1e-300, max_it=most)
        arrays: tuple[Any, Any] = right, result
        b, x = (PETSc.Vec().createWithArray(values, comm=comm) for values in arrays)
        self._ksp.solve(b, x)
        return result, self._ksp.getIterationNumber()


def _configured(ksp: Any, options: dict[str, Any], prefix: str) -> None:
    """Apply options to one solver only and leave PETSc's option table as it was."""
    table: Any = PETSc.Options()
    ksp.setOptionsPrefix(prefix)
    for key, value in options.items():
        table[prefix + key] = value
    ksp.setFromOptions()
    for key in options:
        table.delValue(prefix + key)
