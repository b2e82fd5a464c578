"""What is solved: stationary conduction in the electrolyte, as a sum of named terms.

Find φ with ∇·(σ∇φ) = 0 in the electrolyte; current density j = −σ∇φ.  In the program lengths are divided
by the mesh unit L, conductivities by a reference σ₀, so the assembled numbers are of order one; potentials
stay in volts and are counted from the plating electrode.  A current is σ₀ L times its assembled number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fem_spall.boundary import (
    ButlerVolmer,
    ExactPotential,
    FixedPotential,
    LinearKinetics,
    NoFlux,
    Resistance,
)
from fem_spall.case import Case
from fem_spall.crack import cross_section
from fem_spall.errors import CaseError
from fem_spall.fenics import basix, dolfinx, ufl
from fem_spall.kernels import kernels
from fem_spall.mesh.tagged import TaggedMesh, cells_beside
from fem_spall.microstructure import CellConductivity, Varied
from fem_spall.numbering import numbered, owners_of

__all__ = ["ConductionProblem", "formulate"]

Values = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True)
class ConductionProblem:
    """Space, conductivity and conditions by surface name.

    ``fixed`` gives the potential of a surface, V, as a function of points (3, n) in mesh units;
    ``contact`` the scaled interface conductance L/(σ₀ R), a number or an expression, and the lithium's potential, V;
    ``kinetics`` the nonlinear laws among them with the same potential, ``offset`` what their linearisation adds to it;
    ``roles`` the electrode or crack each surface of the mesh belongs to; ``floating`` the surfaces of isolated
    lithium: one unknown potential for each connected piece (above it is 0 V), and no net current of any; an electrode
    at an ``imposed`` current into it, program units, is one of them.
    """

    mesh: TaggedMesh
    degree: int
    space: Any
    conductivity: NDArray[np.float64]  # (3, 3), or (cells, 3, 3) of this rank's cells, divided by σ₀
    reference_conductivity: float  # σ₀, S/m
    fixed: dict[str, Values]
    contact: dict[str, tuple[Any, float]]
    roles: dict[str, str]
    floating: tuple[str, ...] = ()
    kinetics: dict[str, tuple[ButlerVolmer, float]] = field(default_factory=dict)
    offset: dict[str, Any] = field(default_factory=dict)
    imposed: dict[str, float] = field(default_factory=dict)
    cells: CellConductivity | None = None  # where the conductivity varies

    @property
    def by_cell(self) -> NDArray[np.float64]:
        """Conductivity of each cell of this rank, (cells, 3, 3), divided by σ₀."""
        return np.broadcast_to(self.conductivity, (self.mesh.mesh.topology.index_map(3).size_local, 3, 3))

    @cached_property
    def on(self) -> dict[str, NDArray[np.int32]]:
        """Local unknowns on each surface that current can pass."""
        facets = {name: self.mesh.facets(name) for name in (*self.fixed, *self.contact)}
        return {name: dolfinx.fem.locate_dofs_topological(self.space, 2, own) for name, own in facets.items()}

    @cached_property
    def sigma(self) -> Any:
        """The conductivity in forms: a constant, or a function that is constant in each cell."""
        return self.tensor(self.conductivity)

    def tensor(self, values: NDArray[np.float64]) -> Any:
        """A tensor, (3, 3) or by cell (n, 3, 3), in forms."""
        if values.ndim == 2:
            return dolfinx.fem.Constant(self.mesh.mesh, values)
        function = dolfinx.fem.Function(dolfinx.fem.functionspace(self.mesh.mesh, ("DG", 0, (3, 3))))
        function.x.array[:] = values.ravel()  # no cell is a ghost
        return function

    @property
    def current_scale(self) -> float:
        """Amperes per assembled number, S/m x m."""
        return self.reference_conductivity * self.mesh.unit

    def ds(self, name: str) -> Any:
        """Surface measure of one named surface; with kinetics the quadrature is the same in every form."""
        metadata = {"quadrature_degree": 2 * self.degree + 3} if name in self.kinetics else None
        measure = ufl.Measure(
            "ds", domain=self.mesh.mesh, subdomain_data=self.mesh.facet_tags, metadata=metadata
        )  # fmt: skip
        return measure(self.mesh.names[name])

    def on_bodies(self, name: str, values: NDArray[np.float64]) -> Any:
        """The function that is constant, V, on each of the bodies (n,) behind a surface."""
        function = dolfinx.fem.Function(self.space)
        unknowns, body = self.pieces(name)[:2]
        function.x.array[unknowns] = values[body]
        return function

    def pieces(self, name: str) -> tuple[NDArray[np.int32], NDArray[np.int32], int]:
        """Unknowns on a floating surface, the body of each, and the number of bodies; an electrode is one."""
        facets, piece, count = self._bodies(name)
        return *unknowns_by_piece(self.space, facets, piece), count

    def facet_pieces(self, name: str) -> tuple[NDArray[np.int32], NDArray[np.int32], int]:
        """The same with the facets themselves as unknowns."""
        facets, piece, count = self._bodies(name)
        return *_by_piece(self.mesh.mesh.topology.index_map(2), facets[:, None], piece), count

    def _bodies(self, name: str) -> tuple[NDArray[np.int32], NDArray[np.int32], int]:
        facets, piece, count = self.mesh.bodies(name)
        return (facets, np.zeros_like(piece), 1) if name in self.imposed else (facets, piece, count)

    def bulk(self, phi: Any, v: Any) -> Any:
        """∫ σ∇φ·∇v dx."""
        return ufl.inner(ufl.dot(self.sigma, ufl.grad(phi)), ufl.grad(v)) * ufl.dx(domain=self.mesh.mesh)

    def contact_term(self, name: str, phi: Any, v: Any) -> Any:
        """∫ φ v / R ds over one surface with an interfacial resistance."""
        conductance = self.contact[name][0]
        if isinstance(conductance, float):
            conductance = dolfinx.fem.Constant(self.mesh.mesh, conductance)
        return conductance * phi * v * self.ds(name)


def formulate(case: Case, mesh: TaggedMesh, degree: int, drive: float | None = None) -> ConductionProblem:
    """Return the problem of a case on a mesh, with elements of the given degree.

    A galvanostatic case is posed at 1 V if its laws are linear, and the solution is scaled afterwards; else at its
    current, or at the current ``drive``, A.
    """
    tensor = case.electrolyte.conductivity.tensor()
    reference = float(np.trace(tensor)) / 3
    cells = _on_cells(case, mesh)
    scaled = (tensor if cells is None else cells.tensors) / reference
    plating, counter = case.electrodes.plating, case.electrodes.counter
    voltage = counter.potential - plating.potential if counter.potential is not None else 1.0
    laws: dict[str, tuple[Any, float, str]] = {
        plating.face: (plating.interface, 0.0, "plating"),
        counter.face: (counter.interface, voltage, "counter"),
    }
    for face, wall in case.walls.items():
        laws[face] = (wall, 0.0, face)
    for crack in case.cracks:
        if crack.contents == "lithium":
            laws[crack.name] = (crack.interface, 0.0, crack.name)
    for region in case.regions:
        _, potential, role = laws[case.surface_of(region)]
        laws[region.name] = (region.interface, potential, role)
    fixed: dict[str, Values] = {}
    contact: dict[str, tuple[Any, float]] = {}
    offset: dict[str, Any] = {}
    kinetics: dict[str, tuple[ButlerVolmer, float]] = {}
    roles: dict[str, str] = {}
    for name, (law, potential, role) in laws.items():
        match law:
            case NoFlux():
                continue
            case FixedPotential():
                fixed[name] = _constant(potential)
            case Resistance(value=0.0):
                fixed[name] = _constant(potential)
            case Resistance(value=value):
                _refuse_sheet(mesh, name)
                contact[name] = (mesh.unit / (reference * value), potential)
            case LinearKinetics(area_resistance=value):
                _refuse_sheet(mesh, name)
                contact[name] = (mesh.unit / (reference * value), potential)
                offset[name] = law.shift
                if isinstance(law, ButlerVolmer):
                    secant = _secant(law, case, voltage)
                    contact[name] = (mesh.unit / (reference * secant), potential)
                    kinetics[name] = (law, potential)
            case ExactPotential():
                fixed[name] = _exact(law, mesh.unit, plating.potential)
        roles[name] = role
    if {*fixed, *contact} <= {crack.name for crack in case.cracks if crack.contact != "plating"}:
        raise CaseError(51, "electrodes", "the potential is fixed nowhere", "give an electrode a potential")
    space = _space(mesh.mesh, degree)
    floating = tuple(crack.name for crack in case.cracks if crack.contact != "plating" and crack.name in roles)
    imposed: dict[str, float] = {}
    if counter.drive is not None and (kinetics or any(offset.values())):
        # What does not scale with the voltage is posed at the current; else at 1 V, and scaled.
        through = drive if drive is not None else counter.drive.through(cross_section(case.block, case.cracks))
        imposed[counter.face] = -through / (reference * mesh.unit)
        floating = (*floating, counter.face)
        if counter.face in contact:
            contact[counter.face] = (contact[counter.face][0], 0.0)
        if counter.face in kinetics:
            kinetics[counter.face] = (kinetics[counter.face][0], 0.0)
    return ConductionProblem(
        mesh, degree, space, scaled, reference, fixed, contact, roles, floating, kinetics, offset, imposed,
        cells,
    )  # fmt: skip


def _space(mesh: Any, degree: int) -> Any:
    """The space of a degree.

    That of degree 2 gets its numbers here, without the edges of the mesh, in a third of the time; that of degree 1, on
    several ranks, those of the vertices.
    """
    comm, vertices = mesh.comm, mesh.topology.index_map(0)
    if degree == 1 and comm.size == 1:
        return dolfinx.fem.functionspace(mesh, ("Lagrange", 1))
    element = basix.ufl.element("Lagrange", "tetrahedron", degree)
    numbers, index_map = mesh.topology.connectivity(3, 0).array.reshape(-1, 4), vertices
    if degree == 2:
        numbers, index_map = _quadratic(comm, numbers, vertices)
    made = dolfinx.fem.finiteelement(mesh.topology.cell_type, element, np.float64)._cpp_object
    layout = dolfinx.cpp.fem.create_element_dof_layout(made, [])
    columns = dolfinx.graph.adjacencylist(numbers)
    dofmap = dolfinx.cpp.fem.DofMap(layout, index_map, 1, columns._cpp_object, 1)
    return dolfinx.fem.FunctionSpace(
        mesh, element, dolfinx.cpp.fem.FunctionSpace_float64(mesh._cpp_object, made, dofmap)
    )  # fmt: skip


def _quadratic(comm: Any, corners: NDArray[np.int32], vertices: Any) -> tuple[NDArray[np.int32], Any]:
    """Unknowns of degree 2, (cells, 10), of cells with these ``corners`` (cells, 4), and their index map; collective.

    Only those whose ends are both on other ranks as well may be there too.
    """
    run, cells, n = kernels("double"), len(corners), vertices.size_local + vertices.num_ghosts
    work = [np.empty(size, dtype=np.int32) for size in (n, n, 6 * cells, 6 * cells, 6 * cells)]
    numbers = np.empty((cells, 10), dtype=np.int32)
    count = int(run("quadratic", cells, n, corners, *work, numbers))
    if comm.size == 1:
        return numbers, dolfinx.common.IndexMap(comm, count)
    ends = np.empty((count, 2), dtype=np.int32)
    run("parents", cells, corners, numbers, ends)
    border = np.diff(vertices.index_to_dest_ranks(0).offsets) > 0
    shared = np.flatnonzero(border[ends[:, 0]] & border[ends[:, 1]])
    low, high = np.sort(vertices.local_to_global(ends[shared].ravel()).reshape(-1, 2), axis=1).T
    keys = low * vertices.size_global + high
    owners = np.full(count, comm.rank, dtype=np.int32)
    owners[shared] = owners_of(comm, keys)
    place, index_map = numbered(comm, owners, shared, keys)
    return place[numbers], index_map


def _on_cells(case: Case, mesh: TaggedMesh) -> CellConductivity | None:
    """The conductivity of each cell of this rank, None where it is the same in all.

    Raises
    ------
    CaseError
        If the cells are too large for what is in them.
    """
    conductivity = case.electrolyte.conductivity
    if not isinstance(conductivity, Varied):
        return None
    grid = mesh.mesh.geometry
    corners = grid.x[grid.dofmaps[0][: mesh.mesh.topology.index_map(3).size_local, :4]] * mesh.unit
    found = conductivity.on_cells(corners, case.electrolyte.size)
    if conductivity.resolution is not None:
        needed, what = conductivity.resolution
        edges = corners[:, [0, 0, 0, 1, 1, 2]] - corners[:, [1, 2, 3, 2, 3, 3]]
        volume = np.abs(np.linalg.det(corners[:, 1:] - corners[:, :1])) * (1.0 if found.share is None else found.share)
        sums = mesh.comm.allreduce(np.array([volume @ np.linalg.norm(edges, axis=2).mean(axis=1), volume.sum()]))
        if sums[0] > needed * sums[1]:
            mean = sums[0] / sums[1]
            size = 0.95 * case.mesh.size_max * needed / mean
            raise CaseError(
                52, "mesh.size_max", f"must be small enough for {what}; the edges of the cells there measure "
                f"{mean * 1e9:.3g} nm on average", f"lower it to {size * 1e9:.3g} nm",
            )  # fmt: skip
    return found


def _refuse_sheet(mesh: TaggedMesh, name: str) -> None:
    if name in mesh.sheets:
        raise CaseError(
            50, f"crack {name}", "a sheet without thickness can only have a fixed potential",
            "give the crack an opening, or use interface: {kind: fixed_potential}",
        )  # fmt: skip


def _secant(law: ButlerVolmer, case: Case, voltage: float) -> float:
    """Area resistance, ohm m^2, of a law at the current density that the electrolyte alone would carry."""
    drive = case.electrodes.counter.drive
    density = abs(voltage) * float(case.electrolyte.conductivity.tensor()[2, 2]) / case.block.height
    if drive is not None:
        area = cross_section(case.block, case.cracks)
        density = abs(drive.through(area)) / area
    return law.overpotential(density) / density if density > 0 else law.area_resistance


def unknowns_by_piece(
    space: Any, facets: NDArray[np.int32], piece: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Local unknowns on facets, and the piece of the surface that each lies on; pieces share none."""
    dofmap, (cells, side) = space.dofmap, cells_beside(space.mesh.topology, facets)
    closure = np.array([dofmap.dof_layout.entity_closure_dofs(2, k) for k in range(4)])
    return _by_piece(dofmap.index_map, np.take_along_axis(dofmap.list[cells], closure[side], axis=1), piece)


def _by_piece(
    index_map: Any, on: NDArray[np.int32], piece: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Local unknowns among those ``on`` (n, k) each facet, and the piece of each."""
    # A rank may own an unknown without having any facet that it lies on.
    total, count = (dolfinx.la.vector(index_map, 1) for _ in range(2))
    for vector, values in ((total, piece + 1), (count, np.ones(len(piece)))):
        vector.array[:] = 0.0
        np.add.at(vector.array, on.ravel(), np.repeat(values, on.shape[1]))
        vector.scatter_reverse(dolfinx.la.InsertMode.add)
        vector.scatter_forward()
    unknowns = np.nonzero(count.array)[0].astype(np.int32)
    return unknowns, (np.rint(total.array[unknowns] / count.array[unknowns]) - 1).astype(np.int32)


def _constant(potential: float) -> Values:
    return lambda points: np.full(points.shape[1], potential)


def _exact(law: ExactPotential, unit: float, offset: float) -> Values:
    return lambda points: law.potential(points.T * unit) - offset
