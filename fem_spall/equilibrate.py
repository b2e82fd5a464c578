"""Fluxes that conserve charge exactly, and how far the potential's own flux is from them.

For a potential φ_h of degree k the flux −σ∇φ_h jumps across facets.  A flux s in the Raviart–Thomas space of degree
k with ∇·s = 0 and s·n = 0 on insulating walls makes a two-sided bound (Prager and Synge): with the true potential φ
and the defect τ = s + σ∇φ_h

    ∫ (φ − φ_h)-energy + ∫ (s)-energy error = ∫ τ·σ⁻¹τ dx + ∮ (s·n − β(φ_h − φ_Li))²/β ds,

so the right-hand side bounds the energy error, and products of two defects bound errors of linear goals.

s is made in two steps: the mean over both sides of each facet, which needs no system; and what it lacks in balance,
one number a cell, by the least flux of lowest degree, for which the nonconforming elements of Crouzeix and Raviart
give a symmetric system (Marini).  Both give the flux through the facets only, three numbers each, and that is enough:
without a divergence the fluxes of that space are linear in a straight-sided cell (in the reference cell of a curved
one), and linear ones follow from their normal components on the facets (Brezzi, Douglas and Marini).  The loops are
in ``recovery.c``.
Numbers are those of the program: lengths over the mesh unit, conductivities over σ₀.

Sources: W. Prager and J. L. Synge, Q. Appl. Math. 5 (1947) 241; F. Brezzi, J. Douglas and L. D. Marini, Numer. Math. 47
(1985) 217; L. D. Marini, SIAM J. Numer. Anal. 22 (1985) 493.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fem_spall.bent_cells import BentCells, kept
from fem_spall.fenics import dolfinx
from fem_spall.kernels import kernels
from fem_spall.matrix_free import STRAIGHT, cell_geometry
from fem_spall.mesh.tagged import FACET_CORNERS
from fem_spall.nonconforming import Nonconforming
from fem_spall.system import LithiumPotential, System
from fem_spall.wall_points import WallPoints

__all__ = ["Defect", "Equilibrator"]

type Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Defect:
    """Defect τ of a potential in the electrolyte and m = s·n − β(φ_h − φ_Li) on surfaces with a resistance.

    ``jump`` (facets, 3) is that of the potential's own flux and ``through`` (cells, 4) the least flux: what τ takes of
    both is the same for all defects; ``bent`` has τ at the points of curved cells, (curved, q, 3), ``contact`` m at
    those of each surface, (facets, q), and ``across`` the mean and the spread of s·n through the grain boundary in each
    cell, (2, cells).
    """

    jump: Floats
    through: Floats
    bent: Floats
    contact: dict[str, Floats]
    across: Floats | None = None


@dataclass(frozen=True)
class _Own:
    """The potential's own flux: jumps over facets (facets, 3), what flows out of each cell (cells,), curved cells'."""

    jump: Any
    outflow: Floats
    bent: tuple[Floats, Floats]


class Equilibrator:
    """Makes conserving fluxes for potentials of one system; the set-up is shared by all of them."""

    def __init__(self, system: System) -> None:
        self.problem = problem = system.problem
        mesh = problem.mesh.mesh
        self.mesh, topology = mesh, mesh.topology
        self.cells = topology.index_map(3).size_local
        self._map = topology.index_map(2)
        self._facets = topology.connectivity(3, 2).array.reshape(-1, 4)[: self.cells]
        nodes = mesh.geometry.dofmaps[0][: self.cells]
        linear = system.coarse if system.coarse is not None else system
        if mesh.comm.size == 1:
            self._numbers = linear.problem.space.dofmap.list
        else:
            self._numbers = problem.mesh.input_vertex()[nodes[:, :4]].astype(np.int32)
        if nodes.shape[1] == 4:
            self._geometry, curved = linear.geometry, np.empty(0, dtype=np.int32)
        else:
            self._geometry, curved = cell_geometry(problem, STRAIGHT)
        self._bent = BentCells(problem, curved)
        self._walls = {name: WallPoints(problem, name) for name in problem.contact}
        self._weight = np.ones(1) if problem.conductivity.ndim == 2 else 3 / np.trace(problem.by_cell, axis1=1, axis2=2)
        self._inverse = self._inverse_weights()
        walls = {name: self._on_facets(wall.facets, wall.integrals) for name, wall in self._walls.items()}
        none = [np.empty(0, dtype=np.int32)]
        given = [problem.mesh.facets(name) for name in problem.fixed if name not in problem.floating]
        self._nonconforming = Nonconforming(system, np.concatenate([*none, *given]), walls)

    def defect(self, phi: Any, lithium: LithiumPotential) -> Defect:
        """Return the defect of the discrete potential φ_h with the given potentials of the lithium; collective."""
        own = self._own(phi.x.array)
        drawn = {name: wall.drawn(phi - lithium.contact.get(name, 0.0)) for name, wall in self._walls.items()}
        through = {name: wall.through(drawn[name]) for name, wall in self._walls.items()}
        for name, wall in self._walls.items():
            own.jump[wall.facets[:, None], self._places(wall.cells, wall.corners)] -= through[name]
        kernels("double")("imbalance", self.cells, self._facets, own.jump, *self._sides, own.outflow)
        missing = np.negative(own.outflow, out=own.outflow)
        least = self._nonconforming.solve(missing, self._into_bodies(own.jump, lithium))
        facets, beyond = own.bent
        contact = {
            name: wall.density(through[name] + least[wall.cells, wall.side][:, None]) - drawn[name]
            for name, wall in self._walls.items()
        }
        across = self._across_boundaries(phi.x.array, own.jump, least, facets)
        bent = self._bent.values(self._linear(own.jump, least, self._bent.cells)) + beyond
        return Defect(own.jump, least, bent, contact, across)

    def product(self, one: Defect, other: Defect) -> Floats:
        """Product of two defects in each cell of this rank, (cells,) float, in program units.

        In cells that a grain boundary crosses there is more: a laminate dissipates ∫ρ dx s² where s is the same
        everywhere, ρ(x) the resistivity.  Where s varies it is off by ∫(ρ − ρ̄)(s² − s̄²) dx, at most the product of
        the spreads of both.
        """
        result = np.empty(self.cells)
        place, both = (self._numbers, self._facets), (one.jump, one.through, other.jump, other.through)
        kernels("double")("defect_products", self.cells, self._geometry, *place, *self._sides, *both, result)
        result[self._bent.cells] = self._bent.products(one.bent, other.bent)
        for name, wall in self._walls.items():
            np.add.at(result, wall.cells, wall.products(one.contact[name], other.contact[name]))
        if one.across is not None and other.across is not None:
            more = np.abs(one.across[0]) * other.across[1] + np.abs(other.across[0]) * one.across[1]
            total = self.mesh.comm.allreduce(float(result.sum()))
            result += np.copysign(self._spread_of_resistivity * more, total)
        return result

    def linear(self, defect: Defect) -> Floats:
        """τ in the cells of this rank by the numbers that ``recovery.c`` keeps, (cells, 3, 4)."""
        return self._linear(defect.jump, defect.through, np.arange(self.cells, dtype=np.int32))

    def _linear(self, jump: Floats, through: Floats, cells: NDArray[np.int32]) -> Floats:
        result, place = np.empty((len(cells), 3, 4)), (self._numbers, self._facets)
        kernels("double")("defects", len(cells), cells, *place, *self._sides, jump, through, result)
        return result

    @property
    def _sides(self) -> tuple[Floats, int, Floats]:
        """Weights of the cells, the step from one to the next, and what :meth:`_inverse_weights` makes of them."""
        return self._weight, int(self._weight.size > 1), self._inverse

    def _own(self, potential: Floats) -> _Own:
        """−σ∇φ of local potentials; jumps are those of all ranks.  Collective."""
        unknowns = self.problem.space.dofmap.list
        jump, outflow = dolfinx.la.vector(self._map, 3), np.empty(self.cells)
        place = self._numbers, self._facets
        kernels("double")(
            "outflow", self.cells, unknowns.shape[1], unknowns, self._geometry, potential, *place, jump.array, outflow
        )  # fmt: skip
        jumps = jump.array.reshape(-1, 3)
        bent = self._bent.own(potential)
        for side, corners in enumerate(FACET_CORNERS):
            cells = self._bent.cells
            places = self._places(cells, np.broadcast_to(corners, (len(cells), 3)))
            np.add.at(jumps, (self._facets[cells, side][:, None], places), bent[0][:, side])
        outflow[self._bent.cells] = bent[0].mean(axis=2).sum(axis=1)
        jump.scatter_reverse(dolfinx.la.InsertMode.add)
        jump.scatter_forward()
        return _Own(jumps, outflow, bent)

    def _places(self, cells: NDArray[np.int32], corners: NDArray[Any]) -> NDArray[np.int64]:
        """Place of each of the ``corners`` (n, 3) of a facet among the three, in the order of their numbers."""
        return np.argsort(np.argsort(np.take_along_axis(self._numbers[cells], corners, axis=1), axis=1), axis=1)

    def _inverse_weights(self) -> Floats:
        """One over the weights of both sides of each local facet; 0 where s·n is given, −1 where sides are apart.

        Sides count in inverse proportion to their conductivity, so that a good conductor, whose flux has the larger
        error, does not spoil that of a poor one.
        """
        weights, apart = (dolfinx.la.vector(self._map, 1) for _ in range(2))
        each = np.broadcast_to(self._weight, self.cells)
        for own in self._facets.T:
            weights.array[:] += np.bincount(own, each, minlength=len(weights.array))
        facets = self.problem.mesh.facets
        for name in self.problem.fixed:
            apart.array[facets(name)] = 1.0  # a rank may not see that its facet is part of a sheet
        for vector in (weights, apart):
            vector.scatter_reverse(dolfinx.la.InsertMode.add)
            vector.scatter_forward()
        result = 1 / weights.array
        result[dolfinx.mesh.exterior_facet_indices(self.mesh.topology)] = 0.0
        result[apart.array > 0] = -1.0
        return np.asarray(result)

    def _on_facets(self, facets: NDArray[np.int32], values: Floats) -> Floats:
        """Values of some facets among zeros for all local ones."""
        result = np.zeros(self._map.size_local + self._map.num_ghosts)
        result[facets] = values
        return result

    def _into_bodies(self, jump: Floats, lithium: LithiumPotential) -> Floats | float:
        """Flux into merged isolated bodies by local facet, less an electrode's imposed current; collective."""
        merged = [name for name in self.problem.floating if name in self.problem.fixed]
        result = np.zeros(len(jump) if merged else 0)
        for name in merged:
            facets = self.problem.facet_pieces(name)[0]
            own = facets[facets < self._map.size_local]
            count = self.mesh.comm.allreduce(own.size)
            result[own] = jump[own].mean(axis=1) - lithium.current.get(name, 0.0) / max(count, 1)
        return result if merged else 0.0

    def _across_boundaries(self, potential: Floats, jump: Floats, through: Floats, bent: Floats) -> Floats | None:
        """Mean and spread of s·n in each cell, (2, cells), n the normal of its grain boundary; None without any.

        ``jump`` and ``through`` are those of the defect, ``bent`` the own flux of curved cells through their facets.
        """
        normal = self.problem.cells.normal if self.problem.cells is not None else None
        if normal is None or self.problem.degree == 1:
            return None  # of degree 1 s is the same in the whole cell
        element = self.problem.space.element.basix_element
        corners = np.concatenate([np.zeros((1, 3)), np.eye(3)])
        slopes = element.tabulate(1, corners)[1:, :, :, 0]  # (3, v, 10)
        own = np.einsum("cn,ivn->civ", potential[self.problem.space.dofmap.list[: self.cells]], slopes, optimize=True)
        upper = self._geometry.transpose(0, 2, 1).reshape(-1, 6)[: self.cells]
        own = 60 * np.einsum("cij,cjv->civ", upper[:, [[0, 1, 2], [1, 3, 4], [2, 4, 5]]], own)
        own[self._bent.cells] = kept(bent)
        jacobian = self._edges
        there = np.einsum("cid,cd->ci", jacobian, normal[: self.cells])
        own += self._linear(jump, through, np.arange(self.cells, dtype=np.int32))
        values = -2 * np.einsum("ci,civ->cv", there, own) / np.abs(np.linalg.det(jacobian))[:, None]
        mean = values.mean(axis=1)
        return np.stack([mean, np.sqrt(((values - mean[:, None]) ** 2).sum(axis=1) / 20)])

    @property
    def _edges(self) -> Floats:
        """Edges from the first corner of each cell to the others, (cells, 3, 3)."""
        corners = self.mesh.geometry.x[self.mesh.geometry.dofmaps[0][: self.cells, :4]]
        return np.asarray(corners[:, 1:] - corners[:, :1])

    @cached_property
    def _spread_of_resistivity(self) -> NDArray[np.float64]:
        """Standard deviation of the resistivity across the boundary within each cell, times its volume, (cells,)."""
        cells = self.problem.cells
        assert cells is not None
        assert cells.share is not None
        assert cells.normal is not None
        assert cells.across is not None
        share = cells.share[: self.cells]
        mean = 1 / np.einsum("ci,cij,cj->c", cells.normal, cells.tensors, cells.normal)[: self.cells]
        inside = np.sqrt(np.divide(share, 1 - share, out=np.zeros(len(share)), where=share < 1))
        spread = inside * (1 / cells.across[: self.cells] - mean) * self.problem.reference_conductivity
        return np.asarray(np.abs(spread) * np.abs(np.linalg.det(self._edges)) / 6)
