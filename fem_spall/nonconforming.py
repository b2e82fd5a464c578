"""The potential of the least flux of lowest degree, with elements of Crouzeix and Raviart.

Their matrix is never made: that of a cell is nine times its matrix of degree 1, six numbers.  The functions of degree 1
are among them and have the same energy there, so the multigrid of degree 1 that the potential itself was solved with
is the coarse level (:class:`fem_spall.matrix_free.TwoLevel`).  Unknowns are the facets of the mesh in its own numbers.

Source: S. C. Brenner, Two-level additive Schwarz preconditioners for nonconforming finite element methods, Math. Comp.
65 (1996) 897.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fem_spall.errors import SolveError
from fem_spall.fenics import dolfinx
from fem_spall.floating import Body, Elimination
from fem_spall.kernels import kernels
from fem_spall.matrix_free import TwoLevel
from fem_spall.mesh.tagged import FACET_CORNERS
from fem_spall.multigrid import Vector
from fem_spall.system import System

__all__ = ["Nonconforming"]

#: Relative residual: what is left of the divergence is this small.
TOLERANCE = 1e-8
MOST_ITERATIONS = 500
#: Degree of the smoothing polynomial; 2, 3, 4, 6 took 25, 19, 15, 11 iterations and 0.51, 0.47, 0.44, 0.42 s.
SMOOTHING = 4
type Floats = NDArray[np.float64]


class _Stiffness:
    """A in y = Aw: ∫ σ∇u·∇v dx by cell, and ∮ β v ds by facet on surfaces with a resistance."""

    def __init__(self, linear: System, walls: dict[str, Floats]) -> None:
        topology = linear.problem.mesh.mesh.topology
        self.map = topology.index_map(2)
        self.owned = self.map.size_local
        self.cells = topology.index_map(3).size_local
        self.unknowns = topology.connectivity(3, 2).array.reshape(-1, 4)[: self.cells]
        self._contact = sum(walls.values(), np.zeros(self.owned + self.map.num_ghosts)) if walls else None
        self._geometry = linear.geometry  # all as straight

    @cached_property
    def _single(self) -> NDArray[np.float32]:
        return self._geometry.astype(np.float32)

    def vector(self, dtype: Any = np.float64) -> Vector:
        """A vector with ghosts, zero."""
        return Vector(self.map, dtype)

    def multiply(self, x: Any, y: Any) -> None:
        """Y = Ax with vectors of one type, on the unknowns that this rank owns; collective."""
        double = x.array.dtype == np.float64
        x.scatter_forward()
        if self._contact is None:
            y.array[:] = 0.0
        else:
            np.multiply(self._contact, x.array, out=y.array, casting="same_kind")
        geometry = self._geometry if double else self._single
        run = kernels("double" if double else "float")
        run("corners", self.cells, 9.0, self.unknowns, geometry, x.array, y.array)
        y.scatter_reverse(dolfinx.la.InsertMode.add)

    def diagonal(self) -> Floats:
        """Diagonal of A for the owned unknowns; collective."""
        result = self.vector()
        if self._contact is not None:
            result.array[:] = self._contact
        kernels("double")("facet_diagonal", self.cells, self.unknowns, self._geometry, result.array)
        result.scatter_reverse(dolfinx.la.InsertMode.add)
        return np.asarray(result.array[: self.owned])

    def inward(self, potential: Floats) -> Floats:
        """σ∇w·n over the facets of each cell, (cells, 4) float, of local values."""
        result = np.empty((self.cells, 4))
        kernels("double")("facet_values", self.cells, self.unknowns, self._geometry, potential, result)
        return result


class Nonconforming:
    """−∇·(σ∇w) = r on straight-sided cells, w = 0 on ``given`` facets, those of fixed potential.

    Isolated bodies are merged as in the problem itself, so that no net flux enters any.  ``walls`` has ∫ β ds by local
    facet for each surface with a resistance.
    """

    def __init__(self, system: System, given: NDArray[np.int32], walls: dict[str, Floats]) -> None:
        problem = system.problem
        linear = system.coarse if system.coarse is not None else system
        self._stiffness = a = _Stiffness(linear, walls)
        flags = a.vector()  # a rank may not see that its facet is part of a sheet
        flags.array[given] = 1.0
        flags.scatter_reverse(dolfinx.la.InsertMode.add)
        flags.scatter_forward()
        self.free = flags.array == 0
        fixed = np.nonzero(~self.free)[0].astype(np.int32)
        parents = np.zeros((len(self.free), 3), dtype=np.int32)
        parents[a.unknowns] = linear.problem.space.dofmap.list[: a.cells, FACET_CORNERS]
        bodies = [Body(name, *problem.facet_pieces(name), name in problem.fixed) for name in problem.floating]
        elimination = Elimination(a.map, bodies, fixed) if bodies else None
        owned = {name: wall[: a.owned] for name, wall in walls.items()}
        own = fixed[fixed < a.owned]
        self._solver = TwoLevel(a, own, linear.below(parents), elimination, owned, SMOOTHING)

    def solve(self, source: Floats, into: Floats | float) -> Floats:
        """Flux out of each cell through its facets, (cells, 4) float, that has the ``source`` (cells,) in each.

        Through the walls of merged bodies it takes back what goes ``into`` them, by local facet; collective.

        Raises
        ------
        SolveError
            If the iteration does not converge.
        """
        a, load = self._stiffness, self._stiffness.vector()
        load.array[:] = into
        for own in a.unknowns.T:
            load.array[:] += np.bincount(own, source / 4, minlength=len(load.array))
        load.scatter_reverse(dolfinx.la.InsertMode.add)
        load.array[~self.free] = 0.0
        found, iterations = self._solver.solve(load.array[: a.owned], None, TOLERANCE, MOST_ITERATIONS)
        if iterations == MOST_ITERATIONS:
            raise SolveError(
                1, "error bars", f"the conserving flux does not converge in {MOST_ITERATIONS} iterations",
                "raise mesh quality (mesh.size_min), or set solver.errors: false",
            )  # fmt: skip
        load.array[: a.owned] = found
        del found  # memory is at its peak here
        load.scatter_forward()
        through = a.inward(load.array)
        for side in range(4):
            np.subtract(source / 4, through[:, side], out=through[:, side])
        return through
