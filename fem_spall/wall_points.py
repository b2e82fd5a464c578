"""Points on the facets of a surface with an interfacial resistance, where its law and a flux are compared.

The flux through a facet is given by three numbers t, area times density at its corners in ascending local order: the
current through it is their mean, on curved facets too.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fem_spall.conduction import ConductionProblem
from fem_spall.fenics import basix, compile_expression
from fem_spall.mesh.tagged import FACET_CORNERS, cells_beside

__all__ = ["WallPoints"]

type Floats = NDArray[np.float64]

#: Corners of the reference tetrahedron.
_CORNERS = np.concatenate([np.zeros((1, 3)), np.eye(3)])


class WallPoints:
    """Quadrature on the facets of one surface on this rank.

    ``facets`` (n,) are their local numbers, ``cells`` (n,) the cells they belong to, ``side`` (n,) their number in
    these and ``corners`` (n, 3) the local corners; program units.
    """

    def __init__(self, problem: ConductionProblem, name: str) -> None:
        self._mesh, self._degree = problem.mesh.mesh, problem.degree
        self.facets = problem.mesh.facets(name)
        self.cells, self.side = cells_beside(self._mesh.topology, self.facets)
        self.corners = FACET_CORNERS[self.side]
        at, self._weights = basix.make_quadrature(basix.CellType.triangle, 2 * problem.degree + 3)
        x, y = at.T
        self._hats = np.stack([1 - x - y, x, y], axis=1)
        self._conductance = problem.contact[name][0]

    @cached_property
    def conductance(self) -> Floats:
        """β at the points, (n, q)."""
        if isinstance(self._conductance, float):
            return np.full((len(self.facets), len(self._weights)), self._conductance)
        return self._values(self._conductance)

    @property
    def integrals(self) -> Floats:
        """∫ β ds over each facet, (n,)."""
        return np.asarray((self.conductance * self._area) @ self._weights)

    def drawn(self, drop: Any) -> Floats:
        """β times a drop of the potential at the points, (n, q); collective."""
        return self.conductance * self._values(drop)

    def through(self, density: Floats) -> Floats:
        """The flux (n, 3) of least distance to a density at the points, of the degree of the problem less one."""
        load = 2 * (density * self._weights) @ self._hats
        if self._degree == 1:
            total = 4 * (1 / self._area) @ self._weights
            return np.repeat(load.sum(axis=1)[:, None] / total[:, None], 3, axis=1)
        mass = 4 * np.einsum("nq,qi,qj->nij", self._weights / self._area, self._hats, self._hats)
        return np.asarray(np.linalg.solve(mass, load[:, :, None])[:, :, 0])

    def density(self, through: Floats) -> Floats:
        """Density at the points, (n, q), of a flux (n, 3)."""
        return np.asarray(2 * through @ self._hats.T / self._area)

    def products(self, one: Floats, other: Floats) -> Floats:
        """∫ of the product of two densities over β, by facet, (n,)."""
        return np.asarray((one * other * self._area / self.conductance) @ self._weights)

    def _values(self, expression: Any) -> Floats:
        """An expression at the points, (n, q)."""
        points = np.concatenate([self._hats @ _CORNERS[corners] for corners in FACET_CORNERS])
        found = compile_expression(expression, points).eval(self._mesh, self.cells)
        return np.asarray(found.reshape(len(self.cells), 4, len(self._weights))[np.arange(len(self.cells)), self.side])

    @cached_property
    def _area(self) -> Floats:
        """Area over that of the reference triangle, times one half, at the points, (n, q)."""
        nodes = self._mesh.geometry.dofmaps[0][self.cells]
        degree = 1 if nodes.shape[1] == 4 else 2
        variant = basix.LagrangeVariant.gll_warped
        element = basix.create_element(basix.ElementFamily.P, basix.CellType.tetrahedron, degree, variant)
        result = np.empty((len(nodes), len(self._weights)))
        for side, corners in enumerate(FACET_CORNERS):
            own, ends = self.side == side, _CORNERS[corners]
            slopes = element.tabulate(1, self._hats @ ends)[1:, :, :, 0]  # (3, q, nodes)
            along = np.einsum("ti,iqn->tqn", ends[1:] - ends[0], slopes)
            tangents = np.einsum("tqn,cnd->tcqd", along, self._mesh.geometry.x[nodes[own]])
            result[own] = np.linalg.norm(np.cross(*tangents), axis=2)
        return result
