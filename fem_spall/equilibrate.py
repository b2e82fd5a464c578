"""Fluxes that conserve charge exactly, and how far the potential's own flux is from them.

For a potential φ_h of degree k the flux −σ∇φ_h jumps across facets.  A flux s in the Raviart–Thomas space of degree
k with ∇·s = 0 and s·n = 0 on insulating walls makes a two-sided bound (Prager and Synge): with the true potential φ
and the defect τ = s + σ∇φ_h

    ∫ (φ − φ_h)-energy + ∫ (s)-energy error = ∫ τ·σ⁻¹τ dx + ∮ (s·n − β(φ_h − φ_Li))²/β ds,

so the right-hand side bounds the energy error, and products of two defects bound errors of linear goals.

s is made in three steps: the mean over both sides of each facet, which needs no system; in each cell the part of the
divergence that does not change its mean, by the cell's own functions; and the rest, one number a cell, by the least
flux of lowest degree, for which the nonconforming elements of Crouzeix and Raviart give a symmetric system (Marini).
Numbers are those of the program: lengths over the mesh unit, conductivities over σ₀.

Sources: W. Prager and J. L. Synge, Q. Appl. Math. 5 (1947) 241; L. D. Marini, SIAM J. Numer. Anal. 22 (1985) 493.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fem_spall.fenics import basix, compile_expression, compile_form, dolfinx, integrate, ufl
from fem_spall.nonconforming import Nonconforming
from fem_spall.system import LithiumPotential, System

__all__ = ["Defect", "Equilibrator"]


@dataclass(frozen=True)
class Defect:
    """Defect τ of a potential in the electrolyte and m = s·n − β(φ_h − φ_Li) on surfaces with a resistance.

    ``across`` has the mean and the spread of s·n through the grain boundary in each cell, (2, cells) float.
    """

    bulk: Any
    contact: dict[str, Any]
    across: NDArray[np.float64] | None = None


class Equilibrator:
    """Makes conserving fluxes for potentials of one system; the set-up is shared by all of them."""

    def __init__(self, system: System) -> None:
        self._system, self.problem = system, system.problem
        self.mesh = system.problem.mesh.mesh
        self._stiffness = system.stiffness
        degree = system.problem.degree
        element = basix.ufl.element
        self._space = dolfinx.fem.functionspace(self.mesh, element("RT", "tetrahedron", degree))
        self._lowest = dolfinx.fem.functionspace(self.mesh, element("RT", "tetrahedron", 1))
        self._scalars = dolfinx.fem.functionspace(self.mesh, element("DG", "tetrahedron", degree - 1))
        self._constants = dolfinx.fem.functionspace(self.mesh, element("DG", "tetrahedron", 0))
        self._sigma, self._resistivity = system.problem.sigma, system.problem.resistivity
        topology = self.mesh.topology
        self.cells = topology.index_map(3).size_local
        topology.create_connectivity(2, 3)
        topology.create_connectivity(3, 2)
        self._cell_facets = topology.connectivity(3, 2).array.reshape(-1, 4)[: self.cells]
        self._sides = _Sides(self._cell_facets, topology.index_map(2).size_local + topology.index_map(2).num_ghosts)
        facets = self.problem.mesh.facets
        none = [np.empty(0, dtype=np.int32)]
        given = [facets(name) for name in self.problem.fixed if name not in self.problem.floating]
        self.given_facets = np.concatenate([*none, *given])
        sheets = [facets(name) for name in self.problem.mesh.sheets if name in self.problem.fixed]
        self._sheet_facets = np.concatenate([*none, *sheets])
        outer = dolfinx.mesh.exterior_facet_indices(topology)
        carrying = [facets(name) for name in (*self.problem.fixed, *self.problem.contact)]
        self._insulating = np.setdiff1d(outer, np.concatenate([*none, *carrying])).astype(np.int32)

    def defect(self, phi: Any, lithium: LithiumPotential) -> Defect:
        """Return the defect of the discrete potential φ_h with the given potentials of the lithium; collective."""
        flux = self._mean_of_sides(phi)
        self._set_boundary(flux, phi, lithium)
        divergence = self._divergence(flux)
        if self.problem.degree == 2:
            self._balance_within(flux, divergence)
        missing = -divergence.sum(axis=1)
        for part, correction in zip(flux, self._least_flux(missing, self._into_bodies(flux, lithium)), strict=True):
            part.x.array[:] += correction.x.array
        s = self._joined(flux)
        normal = ufl.FacetNormal(self.mesh)
        contact = {
            name: ufl.dot(s, normal) - conductance * (phi - lithium.contact.get(name, 0.0))
            for name, (conductance, _) in self.problem.contact.items()
        }
        return Defect(s + ufl.dot(self._sigma, ufl.grad(phi)), contact, self._across_boundaries(s))

    def product(self, one: Defect, other: Defect) -> NDArray[np.float64]:
        """Product of two defects in each cell of this rank, (cells,) float, in program units.

        In cells that a grain boundary crosses there is more: a laminate dissipates ∫ρ dx s² where s is the same
        everywhere, ρ(x) the resistivity.  Where s varies it is off by ∫(ρ − ρ̄)(s² − s̄²) dx, at most the product of
        the spreads of both.
        """
        q = ufl.TestFunction(self._constants)
        form = ufl.dot(one.bulk, ufl.dot(self._resistivity, other.bulk)) * q * ufl.dx(domain=self.mesh)
        for name, (conductance, _) in self.problem.contact.items():
            weight = (
                dolfinx.fem.Constant(self.mesh, 1 / conductance) if isinstance(conductance, float) else 1 / conductance
            )
            form += weight * one.contact[name] * other.contact[name] * q * self.problem.ds(name)
        result = np.asarray(dolfinx.fem.assemble_vector(compile_form(form)).array[: self.cells].copy())
        if one.across is not None and other.across is not None:
            more = np.abs(one.across[0]) * other.across[1] + np.abs(other.across[0]) * one.across[1]
            total = self.mesh.comm.allreduce(float(result.sum()))
            result += np.copysign(self._spread_of_resistivity * more, total)
        return result

    def _across_boundaries(self, s: Any) -> NDArray[np.float64] | None:
        """Mean and spread of s·n in each cell, (2, cells), n the normal of its grain boundary; None without any."""
        if self.problem.cells is None or self.problem.cells.normal is None or self.problem.degree == 1:
            return None  # of degree 1 s is the same in the whole cell
        normal = dolfinx.fem.Function(dolfinx.fem.functionspace(self.mesh, ("DG", 0, (3,))))
        normal.x.array.reshape(-1, 3)[: self.cells] = self.problem.cells.normal[: self.cells]
        found = dolfinx.fem.Function(self._scalars)
        found.interpolate(compile_expression(ufl.dot(s, normal), self._scalars.element.interpolation_points))
        values = found.x.array[self._scalars.dofmap.list[: self.cells]]  # at the corners: s is linear
        mean = values.mean(axis=1)
        return np.stack([mean, np.sqrt(((values - mean[:, None]) ** 2).sum(axis=1) / 20)])

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
        corners = self.mesh.geometry.x[self.mesh.geometry.dofmaps[0][: self.cells, :4]]
        return np.asarray(np.abs(spread) * np.abs(np.linalg.det(corners[:, 1:] - corners[:, :1])) / 6)

    @cached_property
    def _upper(self) -> Any:
        """1 in cells on the lower-numbered side of a sheet, else 0, as a function."""
        chosen = dolfinx.fem.Function(self._constants)
        low = self._sides.low[self._sheet_facets]
        chosen.x.array[self._constants.dofmap.list[low[low >= 0], 0]] = 1.0
        return chosen

    def _joined(self, flux: list[Any]) -> Any:
        """The flux as an expression: on sheets either face has its own."""
        if len(flux) == 1:
            return flux[0]
        return self._upper * flux[0] + (1 - self._upper) * flux[1]

    def _mean_of_sides(self, phi: Any) -> list[Any]:
        """−σ∇φ with the mean normal flux on each facet; a second function where sheets have two faces.

        Sides count in inverse proportion to their conductivity, so that a good conductor, whose flux has the larger
        error, does not spoil that of a poor one.
        """
        sides = self._either_side(phi)
        mean = dolfinx.fem.Function(self._space)
        mean.x.array[:] = sum(side.x.array * weight for side, weight in zip(sides, self._weights, strict=True))
        count = dolfinx.la.vector(mean.x.index_map, 1)
        count.array[:] = sum(self._weights)
        for vector in (mean.x, count):
            vector.scatter_reverse(dolfinx.la.InsertMode.add)
            vector.scatter_forward()
        mean.x.array[:] /= count.array
        if not self.problem.mesh.sheets:
            return [mean]
        own = dolfinx.fem.locate_dofs_topological(self._space, 2, self._sheet_facets)
        for side in sides:
            kept = side.x.array[own].copy()
            side.x.array[:] = mean.x.array
            side.x.array[own] = kept
        return sides

    @cached_property
    def _weights(self) -> list[NDArray[np.float64]]:
        """Inverse conductivity of the first and of the last cell at each unknown of the flux."""
        if self.problem.conductivity.ndim == 2:
            return [np.full(len(dolfinx.fem.Function(self._space).x.array), 0.5)] * 2
        unknowns = self._space.dofmap.list[: self.cells]
        values = np.repeat(3 / np.trace(self.problem.by_cell, axis1=1, axis2=2), unknowns.shape[1])
        result = [dolfinx.fem.Function(self._space).x.array for _ in range(2)]
        result[0][unknowns.ravel()[::-1]] = values[::-1]
        result[1][unknowns.ravel()] = values
        return result

    def _either_side(self, phi: Any) -> list[Any]:
        """−σ∇φ with the normal flux of the first and of the last cell at each facet."""
        unknowns, values = self._space.dofmap.list[: self.cells], self._flux_of_cells(phi)
        sides = [dolfinx.fem.Function(self._space) for _ in range(2)]
        # Flat, since NumPy may go through a reversed array of two dimensions from its end.
        sides[0].x.array[unknowns.ravel()[::-1]] = values.ravel()[::-1]
        sides[1].x.array[unknowns.ravel()] = values.ravel()
        return sides

    def _flux_of_cells(self, phi: Any) -> NDArray[np.float64]:
        """Unknowns of −σ∇φ as each cell sees it, (cells, n) float."""
        unknowns = self._space.dofmap.list[: self.cells]
        order = np.arange(self.cells, dtype=np.int32)
        if self._stiffness is None:
            values = np.zeros(unknowns.shape)
        else:
            # On straight-sided cells the flux is linear, so its moments are a matrix times its values at the vertices.
            values = self._stiffness.fluxes(phi.x.array).reshape(self.cells, 12) @ self._moments
            self.mesh.topology.create_entity_permutations()
            permutations = self.mesh.topology.get_cell_permutation_info()
            self._space.element.Tt_inv_apply(values.reshape(-1), permutations, 1)
            order = self._stiffness.curved
        if self.mesh.comm.allreduce(order.size):  # the form is compiled by all ranks together, or by none
            expression = compile_expression(
                -ufl.dot(self._sigma, ufl.grad(phi)), self._space.element.interpolation_points
            )
            # Whichever cell comes last writes the unknowns of a facet, so the two orders give its two sides.
            first, last = (dolfinx.fem.Function(self._space) for _ in range(2))
            first.interpolate(expression, cells0=order[::-1].copy())
            last.interpolate(expression, cells0=order)
            own = unknowns[order]
            lowest = np.zeros(len(first.x.array), dtype=np.int32)
            lowest[own.ravel()[::-1]] = np.repeat(order, own.shape[1])[::-1]
            values[order] = np.where(lowest[own] == order[:, None], first.x.array[own], last.x.array[own])
        return values

    @cached_property
    def _moments(self) -> NDArray[np.float64]:
        """Unknowns of the reference cell, (12, n), of linear fluxes with the value 1 of one component at one vertex."""
        element = self._space.element.basix_element
        x, y, z = element.points.T
        hats = np.stack([1 - x - y - z, x, y, z])
        return np.concatenate(
            [element.interpolation_matrix.reshape(-1, 3, len(x))[:, i] @ hats.T for i in range(3)], axis=1
        ).T

    def _set_boundary(self, flux: list[Any], phi: Any, lithium: LithiumPotential) -> None:
        """No flux through insulating facets, β(φ − φ_Li) through those with a resistance."""
        dofs = dolfinx.fem.locate_dofs_topological(self._space, 2, self._insulating)
        for part in flux:
            part.x.array[dofs] = 0.0
        if not self.problem.contact:
            return
        import scipy.sparse.linalg

        s, v, normal = ufl.TrialFunction(self._space), ufl.TestFunction(self._space), ufl.FacetNormal(self.mesh)
        mass, load, own = 0, 0, []
        for name, (conductance, _) in self.problem.contact.items():
            beta = dolfinx.fem.Constant(self.mesh, conductance) if isinstance(conductance, float) else conductance
            potential = lithium.contact.get(name, 0.0)
            mass += ufl.dot(s, normal) * ufl.dot(v, normal) * self.problem.ds(name)
            load += beta * (phi - potential) * ufl.dot(v, normal) * self.problem.ds(name)
            facets = self.problem.mesh.facets(name)
            own.append(dolfinx.fem.locate_dofs_topological(self._space, 2, facets))
        dofs = np.unique(np.concatenate(own))
        # Each facet belongs to one cell of one rank, so the blocks are local.
        matrix = dolfinx.fem.assemble_matrix(compile_form(mass)).to_scipy().tocsr()[dofs][:, dofs]
        right = dolfinx.fem.assemble_vector(compile_form(load)).array[dofs]
        if dofs.size:
            value = scipy.sparse.linalg.spsolve(matrix.tocsc(), right)
            for part in flux:
                part.x.array[dofs] = value

    def _divergence(self, flux: list[Any]) -> NDArray[np.float64]:
        """∫ ∇·s q over each cell for its test functions, (cells, 1 or 4) float."""
        q = ufl.TestFunction(self._scalars)
        vector = dolfinx.fem.assemble_vector(compile_form(ufl.div(flux[0]) * q * ufl.dx(domain=self.mesh))).array
        result = vector[self._scalars.dofmap.list[: self.cells]]
        if len(flux) == 2:
            other = dolfinx.fem.assemble_vector(compile_form(ufl.div(flux[1]) * q * ufl.dx(domain=self.mesh))).array
            low = self._upper.x.array[self._constants.dofmap.list[: self.cells, 0]] > 0
            result = np.where(low[:, None], result, other[self._scalars.dofmap.list[: self.cells]])
        return np.asarray(result)

    def _balance_within(self, flux: list[Any], divergence: NDArray[np.float64]) -> None:
        """Remove from ∇·s, as :meth:`_divergence` gives it, what has no mean, by functions of one cell."""
        sign, matrix = self._balancing
        value = sign[:, None] * ((divergence - divergence.mean(axis=1, keepdims=True)) @ matrix)
        for part in flux:
            part.x.array[self._space.dofmap.list[: self.cells, 12:]] -= value

    @cached_property
    def _balancing(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Sign of each cell's orientation and the matrix (4, 3) from a divergence without mean to the cell's functions.

        ∫ ∇·s q dx is the same in all cells but for the sign, since s is mapped contravariantly; curved cells too.
        """
        flux, scalar = self._space.element.basix_element, self._scalars.element.basix_element
        at, weights = basix.make_quadrature(basix.CellType.tetrahedron, 2)
        slopes = flux.tabulate(1, at)[1:, :, 12:]  # (3, q, 3 functions, 3 components)
        divergence = sum(slopes[i, :, :, i] for i in range(3))
        first = (weights[:, None] * scalar.tabulate(0, at)[0, :, :, 0]).T @ divergence
        corners = self.mesh.geometry.x[self.mesh.geometry.dofmaps[0][: self.cells, :4]]
        return np.sign(np.linalg.det(corners[:, 1:] - corners[:, :1])), np.linalg.pinv(first - first.mean(axis=0)).T

    def _into_bodies(self, flux: list[Any], lithium: LithiumPotential) -> NDArray[np.float64]:
        """Flux through the walls of merged isolated bodies, by unknown of the nonconforming space, (n,) float.

        Of an electrode it is what goes beyond its imposed current.
        """
        merged = [name for name in self.problem.floating if name in self.problem.fixed]
        test, normal = ufl.TestFunction(self._nonconforming.space), ufl.FacetNormal(self.mesh)
        result = np.zeros(len(self._nonconforming.free))
        for name in merged:
            ds = self.problem.ds(name)
            through = ufl.dot(self._joined(flux), normal)
            if imposed := lithium.current.get(name, 0.0):
                one = dolfinx.fem.Constant(self.mesh, 1.0)
                through -= dolfinx.fem.Constant(self.mesh, imposed / integrate(one * ds, self.mesh.comm))
            result += dolfinx.fem.assemble_vector(compile_form(through * test * ds)).array
        return result

    def _least_flux(self, source: NDArray[np.float64], into: NDArray[np.float64] | float = 0.0) -> list[Any]:
        """Flux of lowest degree with ∮ s·n = source in each cell, as functions of the full space.

        Through the wall of an isolated body it takes back what goes ``into`` it.
        """
        through = self._nonconforming.solve(source, into)
        result = []
        for side in (0, 1) if self.problem.mesh.sheets else (0,):
            lowest = dolfinx.fem.Function(self._lowest)
            lowest.x.array[self._facet_unknown] = self._sides.take(through, side) / self._outward_of_unit[side]
            raised = dolfinx.fem.Function(self._space)
            raised.interpolate(lowest)
            result.append(raised)
        return result

    @cached_property
    def _nonconforming(self) -> Nonconforming:
        return Nonconforming(self._system, self.given_facets)

    @cached_property
    def _facet_unknown(self) -> NDArray[np.int32]:
        """Unknown of lowest degree on each facet."""
        unknown = np.full(self._sides.low.size, -1, dtype=np.int32)
        unknown[self._cell_facets] = self._lowest.dofmap.list[: self.cells]
        return unknown

    @cached_property
    def _outward_of_unit(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Flux out of the lower- and higher-numbered cell of each facet, for a unit of its unknown."""
        number = dolfinx.fem.Function(self._constants)
        own = self._constants.dofmap.list[: self.cells, 0]
        number.x.array[own] = np.arange(1, self.cells + 1)
        form = ufl.div(ufl.TestFunction(self._lowest)) * number * ufl.dx(domain=self.mesh)
        weighted = dolfinx.fem.assemble_vector(compile_form(form)).array[self._facet_unknown]
        low, high = self._sides.low, self._sides.high
        out = weighted / np.where(high == low, low + 1, low - high)
        return out, np.where(high == low, out, -out)


class _Sides:
    """The one or two cells of this rank at each facet; ``low`` equals ``high`` where there is one."""

    def __init__(self, cell_facets: NDArray[np.int32], count: int) -> None:
        flat = cell_facets.ravel()
        self._at = [np.zeros(count, dtype=np.int64) for _ in range(2)]
        backwards = np.arange(flat.size)[::-1]
        self._at[0][flat[::-1]] = backwards  # the last written is the first
        self._at[1][flat] = np.arange(flat.size)
        self.low, self.high = (at // 4 for at in self._at)

    def take(self, values: NDArray[np.float64], side: int) -> NDArray[np.float64]:
        """Values (cells, 4) of cell facets as seen from the lower (0) or higher (1) cell, (facets,)."""
        return np.asarray(values.ravel()[self._at[side]])
