"""The linear system of a conduction problem: operator, multigrid, and solves for any potentials of the lithium.

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
from fem_spall.fenics import MPI, PETSc, compile_form, dolfinx, integrate, ufl
from fem_spall.floating import Body, Elimination
from fem_spall.kernels import kernels
from fem_spall.matrix_free import CoarseLevel, Stiffness, TwoLevel, cell_geometry, vertex_matrix, vertex_pairs
from fem_spall.multigrid import Assembled

__all__ = ["LithiumPotential", "SolveReport", "System"]

#: The solver iterates to this fraction of the asked residual, so that currents agree over any number of ranks.
MARGIN = 1e-2
MOST_ITERATIONS = 500
#: Rounding of a residual over that of a potential as rough as the mesh can hold; asked residuals are never below it.
ROUNDING = 1e-14


type Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SolveReport:
    """How the linear solve went; ``true_residual`` is |b − Aφ|/|b| over the free unknowns, recomputed."""

    degree: int
    dofs: int
    iterations: int
    true_residual: float
    ranks: int
    newton_steps: int = 0  # of nonlinear interfaces
    ksp_reason: int = 2  # in PETSc's numbers: the relative tolerance is met; anything else is refused


@dataclass(frozen=True)
class LithiumPotential:
    """Potential of the lithium behind the surfaces, V.

    ``fixed`` is a function of the system's space that counts at the fixed unknowns; ``contact`` gives the potential
    behind each surface with an interfacial resistance, a number or a function (none: zero).  ``floating`` holds the
    potentials that isolated bodies took, (bodies,) float by surface.
    """

    fixed: Any
    contact: dict[str, Any] = field(default_factory=dict)
    floating: dict[str, Floats] = field(default_factory=dict)
    current: dict[str, Any] = field(default_factory=dict)  # imposed on what floats, program units


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
        space = problem.space
        self.owned = space.dofmap.index_map.size_local
        lifted = dolfinx.fem.Function(space)
        at_fixed = np.zeros(len(lifted.x.array), dtype=bool)
        for name, values in problem.fixed.items():
            if name in problem.floating:
                continue
            own = problem.on[name]
            lifted.x.array[own] = values(self.points(own).T)
            at_fixed[own] = True
        self.fixed = np.nonzero(at_fixed)[0].astype(np.int32)
        lifted.x.scatter_forward()
        contact = {name: value + problem.offset.get(name, 0.0) for name, (_, value) in problem.contact.items()}
        self.given = LithiumPotential(lifted, contact, current=problem.imposed)
        self.stiffness = None
        if self.coarse is not None:
            self.stiffness = Stiffness(problem, self.coarse.geometry if self.coarse._straight else None)
            vars(self.coarse).pop("geometry", None)  # degree 2 keeps its own, in another order
        self.elimination = elimination_of(problem, space, self.fixed)

    @cached_property
    def _walls(self) -> dict[str, Floats]:
        """∫ β v_i ds over the walls of isolated bodies behind a resistance, for the owned unknowns."""
        one = dolfinx.fem.Function(self.problem.space)
        one.x.array[:] = 1.0
        return {name: self.through(name, one, 0.0) for name in self.problem.floating if name in self.problem.contact}

    @cached_property
    def matrix(self) -> Any:
        """The matrix for the unknowns that are left, with unit rows at the fixed ones."""
        problem = self.problem
        plain = self._straight and not problem.contact and problem.mesh.comm.size == 1
        matrix = vertex_matrix(problem, self.fixed, self.geometry) if plain else self._matrix_of_forms()
        if self.elimination is not None:
            matrix = matrix.ptap(self.elimination.transfer)
            if self._walls:
                matrix.axpy(1.0, self.elimination.coupling(self._walls))
        matrix.setOption(PETSc.Mat.Option.SPD, True)
        return matrix

    @cached_property
    def _straight(self) -> bool:
        """Whether the system is of degree 1 on straight-sided cells, where six numbers a cell are all of the matrix."""
        return self.problem.degree == 1 and self.problem.mesh.mesh.geometry.dofmaps[0].shape[1] == 4

    @cached_property
    def geometry(self) -> Floats:
        """Six numbers of each cell, all taken as straight-sided, see :func:`cell_geometry`."""
        return cell_geometry(self.problem, np.inf)[0]

    @cached_property
    def _points(self) -> Floats:
        return np.asarray(self.problem.space.tabulate_dof_coordinates())

    def points(self, unknowns: NDArray[np.int32]) -> Floats:
        """Points of some local unknowns, mesh units, (k, 3) float."""
        if self.coarse is None or self.problem.mesh.mesh.geometry.dofmaps[0].shape[1] != 4:
            return self._points[unknowns]
        ends = self._pairs[unknowns].T
        return (self.coarse.points(ends[0]) + self.coarse.points(ends[1])) / 2

    def _matrix_of_forms(self) -> Any:
        problem, space = self.problem, self.problem.space
        u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
        form = problem.bulk(u, v)
        for name in problem.contact:
            form += problem.contact_term(name, u, v)
        condition = dolfinx.fem.dirichletbc(dolfinx.fem.Function(space), self.fixed)
        matrix = dolfinx.fem.petsc.assemble_matrix(compile_form(form), bcs=[condition])
        matrix.assemble()
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
        result.x.array[:] = 0.5 * (linear.x.array[self._pairs[:, 0]] + linear.x.array[self._pairs[:, 1]])
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
        # Only differences of φ count: without its mean, those behind large resistances keep their digits.
        swing, comm = phi.copy(), self.problem.mesh.comm
        total, count = comm.allreduce(np.array([phi.x.array[: self.owned].sum(), float(self.owned)]))
        swing.x.array[:] -= total / count
        if self.stiffness is None and not self._straight:
            return self._assembled(-self.problem.bulk(swing, ufl.TestFunction(self.problem.space)))
        result = dolfinx.la.vector(self.problem.space.dofmap.index_map, 1)
        if self.stiffness is not None:
            self.stiffness.multiply(swing.x, result, contact=False)
        else:
            cells = self.problem.space.dofmap.list
            kernels("double")("corners", len(cells), 1.0, cells, self.geometry, swing.x.array, result.array)
            result.scatter_reverse(dolfinx.la.InsertMode.add)
        return np.asarray(-result.array[: self.owned])

    def energy(self, phi: Any) -> float:
        """∫ σ|∇φ|² dx, summed by cell; collective."""
        if self.stiffness is not None:
            own = self.stiffness.energy(phi.x.array)
        elif self._straight:
            cells = self.problem.space.dofmap.list
            own = kernels("double")("corner_energy", len(cells), cells, self.geometry, phi.x.array)
        else:
            return integrate(self.problem.bulk(phi, phi), self.problem.mesh.comm)
        return float(self.problem.mesh.comm.allreduce(own))

    def through(self, name: str, phi: Any, potential: Any) -> Floats:
        """∫ (φ − φ_Li) v / R ds over one surface for the owned unknowns; collective.

        ``potential`` of the lithium, V, is a number, a function of the system's space, or an expression.
        """
        if isinstance(potential, (int, float)):
            if self.stiffness is not None:
                return self.stiffness.through(name, phi.x.array - potential)
            potential = dolfinx.fem.Constant(self.problem.mesh.mesh, float(potential))
        elif self.stiffness is not None and isinstance(potential, dolfinx.fem.Function):
            return self.stiffness.through(name, phi.x.array - potential.x.array)
        return self._assembled(self.problem.contact_term(name, phi - potential, ufl.TestFunction(self.problem.space)))

    def _assembled(self, form: Any) -> Floats:
        vector = dolfinx.fem.assemble_vector(compile_form(form))
        vector.scatter_reverse(dolfinx.la.InsertMode.add)
        return np.asarray(vector.array[: self.owned])

    def piece_currents(
        self, phi: Any, lithium: LithiumPotential, pieces: tuple[NDArray[np.int32], NDArray[np.int32], int]
    ) -> NDArray[np.float64]:
        """Current into each piece of a surface of fixed potential, program units, (pieces,) float; collective."""
        unknowns, body, count = pieces
        own = unknowns < self.owned
        reaction = self._charge(phi, lithium)[unknowns[own]]
        sums = np.bincount(body[own], reaction, minlength=count).astype(float)
        return np.asarray(self.problem.mesh.comm.allreduce(sums))

    def solve(
        self, lithium: LithiumPotential, tolerance: float, guess: Any = None
    ) -> tuple[SolveReport, Any, LithiumPotential]:
        """Return how the solve went, the potential, V, and the potentials of the lithium with those of isolated bodies.

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
        base, right, size, scale = self._level(lithium, tolerance)
        start = None
        if guess is not None and self.problem.kinetics:
            # To a steep tangent the step before may be worse than a constant, beyond what digits can bring back.
            far = self._norm(self._residual(guess, self._taken(guess, lithium))) > size
            guess = None if far else guess
        if guess is not None:
            start = guess.x.array[: self.owned] - base.x.array[: self.owned]
            start[self._owned_fixed] = 0.0
        correction, iterations = np.zeros(self.owned), 0
        if size > 0:
            wanted = tolerance * MARGIN * scale / size
            correction, iterations = self._solver.solve(right, start, wanted, MOST_ITERATIONS)
        phi = dolfinx.fem.Function(self.problem.space, name="potential_V")
        phi.x.array[: self.owned] = correction + base.x.array[: self.owned]
        phi.x.scatter_forward()
        found = self._taken(phi, lithium)
        true = self.defect(phi, found) / scale if scale > 0 else 0.0
        space = self.problem.space
        report = SolveReport(
            self.problem.degree, space.dofmap.index_map.size_global, iterations, true, space.mesh.comm.size
        )
        if not np.isfinite(true) or true > tolerance:
            raise SolveError(
                1, "solver", f"the relative residual must be below {tolerance:g}; got {true:.1e} after "
                f"{report.iterations} iterations",
                "raise mesh quality (mesh.size_min) or solver.tolerance",
            )  # fmt: skip
        return report, phi, found

    def _taken(self, phi: Any, lithium: LithiumPotential) -> LithiumPotential:
        """The potentials of the lithium with those that isolated bodies take at a potential: no net current."""
        if self.elimination is None:
            return lithium
        floating = {}
        for group in self.elimination.bodies:
            if group.merged:
                floating[group.name] = self.elimination.means(group, phi.x.array)
            else:
                net = self.through(group.name, phi, lithium.contact.get(group.name, 0.0))
                beyond = self.elimination.sums(group, net) - lithium.current.get(group.name, 0.0)
                floating[group.name] = beyond / self.elimination.sums(group, self._walls[group.name])
        return self.with_bodies(replace(lithium, floating=floating))

    def with_bodies(self, lithium: LithiumPotential) -> LithiumPotential:
        """The same with the potentials of the bodies added to those behind resistances."""
        contact = dict(lithium.contact)
        for group in self.elimination.bodies if self.elimination is not None else ():
            if group.merged:
                continue
            own, given = self.problem.on_bodies(group.name, lithium.floating[group.name]), contact.get(group.name, 0.0)
            if isinstance(given, (int, float, dolfinx.fem.Function)):
                own.x.array[:] += given if isinstance(given, (int, float)) else given.x.array
            else:
                own = given + own
            contact[group.name] = own
        return replace(lithium, contact=contact)

    def load(self, tolerance: float) -> float:
        """What residuals of the given potentials are measured by."""
        return self._level(self.given, tolerance)[3]

    def _level(self, lithium: LithiumPotential, tolerance: float) -> tuple[Any, Floats, float, float]:
        """The best potential that is one constant on all free unknowns, its residual, the norm of that, and the load.

        Behind large resistances almost all of the voltage drops at the interfaces, and the current is a small part of
        what a potential of zero would draw: residuals are measured by what is left at the best constant, so that
        currents are as accurate whatever the resistance.  Collective.
        """
        ground = self._residual(lithium.fixed, self._taken(lithium.fixed, lithium))
        base, whole = lithium.fixed.copy(), self._norm(ground)
        one, drawn = self._constant
        above, below = self.problem.mesh.comm.allreduce(np.array([ground.sum(), drawn.sum()]))
        level = float(above / below) if below > 0 else 0.0
        right = ground - level * drawn
        if (size := self._norm(right)) < whole:
            base.x.array[:] += level * one
        else:
            right, size = ground, whole
        if not self.problem.contact:
            return base, right, size, size
        highest = self.problem.mesh.comm.allreduce(float(np.abs(base.x.array).max(initial=0.0)), op=MPI.MAX)
        return base, right, size, max(size, min(ROUNDING / tolerance, 1e-2) * highest * self._roughest)

    @cached_property
    def _constant(self) -> tuple[Floats, Floats]:
        """One on the free local unknowns and zero on the others, and what the owned unknowns draw at it; collective."""
        one = dolfinx.fem.Function(self.problem.space)
        one.x.array[:] = 1.0
        one.x.array[self.fixed] = 0.0
        nothing = LithiumPotential(dolfinx.fem.Function(self.problem.space))
        return one.x.array.copy(), -self._residual(one, self._taken(one, nothing))

    @cached_property
    def _roughest(self) -> float:
        """Norm of what a potential of ±1 V draws that changes from unknown to unknown; collective."""
        rough = dolfinx.fem.Function(self.problem.space)
        rough.x.array[: self.owned] = 1.0 - 2.0 * (np.arange(self.owned) % 2)
        rough.x.scatter_forward()
        drawn = self._charge(rough, LithiumPotential(rough))
        return float(np.sqrt(self.problem.mesh.comm.allreduce((drawn**2).sum())))

    def defect(self, phi: Any, lithium: LithiumPotential) -> float:
        """Norm of the residual of a potential with that of the lithium, bodies included."""
        square = self._norm(self._residual(phi, lithium)) ** 2
        for group in self.elimination.bodies if self.elimination is not None else ():
            if not group.merged:
                beyond = self.net_currents(phi, lithium, group.name) - lithium.current.get(group.name, 0.0)
                square += float((beyond**2).sum())
        return float(np.sqrt(square))

    def net_currents(self, phi: Any, lithium: LithiumPotential, name: str) -> Floats:
        """Current into each isolated body behind a surface, program units, (bodies,) float; collective."""
        assert self.elimination is not None
        group = next(group for group in self.elimination.bodies if group.name == name)
        if group.merged:
            return self.elimination.sums(group, self._charge(phi, lithium))
        return self.elimination.sums(group, self.through(name, phi, lithium.contact.get(name, 0.0)))

    @property
    def _owned_fixed(self) -> Any:
        return self.fixed[self.fixed < self.owned]

    @cached_property
    def _solver(self) -> Assembled | TwoLevel:
        if self.coarse is None or self.stiffness is None:
            return Assembled(self.matrix, self.elimination)
        coarse = self.coarse.below(self._pairs)
        return TwoLevel(self.stiffness, self._owned_fixed, coarse, self.elimination, self._walls)

    def below(self, parents: NDArray[np.int32]) -> CoarseLevel:
        """The multigrid of degree 1 as the coarse level of a space with those ``parents``; of degree 1 only."""
        assert isinstance(self._solver, Assembled)
        return CoarseLevel(self.problem.space, self.fixed, self._solver.precondition, parents)

    def _norm(self, values: Floats) -> float:
        """Norm of a residual over the unknowns that are left; collective."""
        if self.elimination is not None:
            return float(np.sqrt(self.elimination.square(values)))
        return float(np.sqrt(self.problem.mesh.comm.allreduce(values @ values)))

    def _residual(self, phi: Any, lithium: LithiumPotential) -> Floats:
        """B − Aφ over the owned unknowns, zero on the fixed ones; on a body its sum counts.  Collective."""
        result = self._charge(phi, lithium)
        result[self._owned_fixed] = 0.0
        if self.elimination is not None:
            self.elimination.impose(result, lithium.current)
        return result

    def _charge(self, phi: Any, lithium: LithiumPotential) -> Floats:
        """B − Aφ over the owned unknowns; collective."""
        result = self.reaction(phi)
        for name in self.problem.contact:
            result -= self.through(name, phi, lithium.contact.get(name, 0.0))
        return result


def elimination_of(problem: ConductionProblem, space: Any, fixed: NDArray[np.int32]) -> Elimination | None:
    """How the unknowns of a space on the problem's mesh are merged for isolated bodies; None if there are none."""
    if not problem.floating:
        return None
    bodies = []
    for name in problem.floating:
        unknowns, body, count = problem.pieces(name, space)
        bodies.append(Body(name, unknowns, body, count, name in problem.fixed))
    return Elimination(space.dofmap.index_map, bodies, fixed)
