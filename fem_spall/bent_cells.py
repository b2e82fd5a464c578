"""Fluxes in curved cells, by quadrature; those in straight-sided cells are linear (``recovery.c``).

A flux that the map of the cell carries over (contravariant) is given by the numbers t of ``recovery.c``: those of its
facets, (4, 3) a cell, or those that are kept of them, (3, 4).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fem_spall.conduction import ConductionProblem
from fem_spall.fenics import basix
from fem_spall.mesh.tagged import FACET_CORNERS

__all__ = ["BentCells"]

#: Degree of the quadrature in cells and on their facets.
QUADRATURE = 6
#: Cells that are computed at a time.
CHUNK = 4096

type Floats = NDArray[np.float64]


class BentCells:
    """Quadrature in some ``cells`` (n,) with ten nodes of one problem."""

    def __init__(self, problem: ConductionProblem, cells: NDArray[np.int32]) -> None:
        self.cells = cells
        mesh = problem.mesh.mesh
        self._x, self._nodes = mesh.geometry.x, mesh.geometry.dofmaps[0][cells]
        self._degree, self._unknowns = problem.degree, problem.space.dofmap.list[cells]
        self._sigma = problem.by_cell[cells]
        at, self._weights = basix.make_quadrature(basix.CellType.tetrahedron, QUADRATURE)
        on, weights = basix.make_quadrature(basix.CellType.triangle, QUADRATURE)
        hats = np.stack([1 - on.sum(axis=1), *on.T], axis=1)
        corners = np.concatenate([np.zeros((1, 3)), np.eye(3)])
        self._inside = len(at)
        points = np.concatenate([at, *(hats @ corners[side] for side in FACET_CORNERS)])
        self._hats = np.stack([1 - at.sum(axis=1), *at.T], axis=1)
        mass = (hats * weights[:, None]).T @ hats
        self._project = np.linalg.solve(mass, (hats * weights[:, None]).T)  # (3, q)
        if problem.degree == 1:
            self._project = np.tile(2 * weights, (3, 1))
        self._map, self._potential = (_slopes(degree, points) for degree in (2, problem.degree))

    def own(self, potential: Floats) -> tuple[Floats, Floats]:
        """−σ∇φ of local potentials: t on the facets (n, 4, 3), and what the flux of those t has beyond it (n, q, 3)."""
        facets, beyond = np.empty((len(self.cells), 4, 3)), np.empty((len(self.cells), self._inside, 3))
        for chunk in self._chunks():
            jacobian = np.einsum("cnd,iqn->cqdi", self._x[self._nodes[chunk]], self._map, optimize=True)
            inverse, size = np.linalg.inv(jacobian), np.abs(np.linalg.det(jacobian))
            slope = np.einsum("cn,iqn->cqi", potential[self._unknowns[chunk]], self._potential, optimize=True)
            flux = -np.einsum("cde,cqie,cqi->cqd", self._sigma[chunk], inverse, slope, optimize=True)
            out = -0.5 * size[:, :, None] * np.einsum("cqid,cqd->cqi", inverse, flux)
            on = out[:, self._inside :].reshape(len(out), 4, -1, 3)
            every = np.stack([-on[:, 0].sum(axis=2), *(on[:, f, :, f - 1] for f in (1, 2, 3))], axis=1)
            facets[chunk] = every @ self._project.T
            carried = self._carried(kept(facets[chunk]), jacobian, size)
            beyond[chunk] = carried - flux[:, : self._inside]
        return facets, beyond

    def values(self, linear: Floats) -> Floats:
        """The flux (n, q, 3) of kept numbers (n, 3, 4) at the points."""
        result = np.empty((len(self.cells), self._inside, 3))
        for chunk in self._chunks():
            jacobian = self._jacobian(chunk)
            result[chunk] = self._carried(linear[chunk], jacobian, np.abs(np.linalg.det(jacobian)))
        return result

    def products(self, one: Floats, other: Floats) -> Floats:
        """∫ of s·σ⁻¹s' over each cell, (n,), of two fluxes (n, q, 3)."""
        result = np.empty(len(self.cells))
        for chunk in self._chunks():
            weight = self._weights * np.abs(np.linalg.det(self._jacobian(chunk)))
            driving = np.linalg.solve(self._sigma[chunk][:, None], other[chunk][..., None])[..., 0]
            result[chunk] = np.einsum("cqd,cqd,cq->c", one[chunk], driving, weight)
        return result

    def _chunks(self) -> list[slice]:
        return [slice(first, first + CHUNK) for first in range(0, len(self.cells), CHUNK)]

    def _jacobian(self, chunk: slice) -> Floats:
        inside = self._map[:, : self._inside]
        return np.asarray(np.einsum("cnd,iqn->cqdi", self._x[self._nodes[chunk]], inside, optimize=True))

    def _carried(self, linear: Floats, jacobian: Floats, size: Floats) -> Floats:
        """The flux at the points inside, (c, q, 3), of kept numbers (c, 3, 4)."""
        inside = slice(None, self._inside)
        there = np.einsum("civ,qv->cqi", linear, self._hats)
        return np.asarray(-2 / size[:, inside, None] * np.einsum("cqdi,cqi->cqd", jacobian[:, inside], there))


def kept(facets: Floats) -> Floats:
    """The numbers (n, 3, 4) that are kept of those of the facets (n, 4, 3)."""
    full = np.zeros((len(facets), 4, 4))
    for f, corners in enumerate(FACET_CORNERS):
        full[:, f, corners] = facets[:, f]
    for v in range(4):
        full[:, v, v] = -full[:, :, v].sum(axis=1)
    return full[:, 1:]


def _slopes(degree: int, points: Floats) -> Floats:
    """Derivatives (3, q, n) of the shape functions of a degree at points of the reference tetrahedron."""
    variant = basix.LagrangeVariant.gll_warped
    element = basix.create_element(basix.ElementFamily.P, basix.CellType.tetrahedron, degree, variant)
    return np.asarray(element.tabulate(1, points)[1:, :, :, 0])
