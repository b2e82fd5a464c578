"""From plain arrays to a distributed dolfinx mesh whose surfaces go by name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fem_spall.crack.triangles import numbered
from fem_spall.errors import MeshingError
from fem_spall.fenics import MPI, basix, dolfinx
from fem_spall.mesh.arrays import SIDES, MeshArrays
from fem_spall.mesh.parts import distributed

__all__ = ["FACET_CORNERS", "TaggedMesh", "cells_beside", "distribute"]

#: Local corners of the four facets of a cell, ascending, as the library has them.
FACET_CORNERS = np.sort(SIDES, axis=1)


@dataclass(frozen=True)
class TaggedMesh:
    """A dolfinx mesh over all ranks, lengths in ``unit`` metres, with named facets.

    ``names`` maps surface names to the values of ``facet_tags``; ``arrays`` is the whole mesh as plain
    arrays on rank 0 and None elsewhere, in serial with cells that are made whenever they are read; ``sheets`` are the
    surfaces with electrolyte on both sides.
    """

    mesh: Any
    facet_tags: Any
    names: dict[str, int]
    unit: float
    arrays: MeshArrays | None
    sheets: frozenset[str]

    @property
    def comm(self) -> Any:
        """MPI communicator."""
        return self.mesh.comm

    def facets(self, name: str) -> NDArray[np.int32]:
        """Local facets of a surface, empty where the surface is empty."""
        return np.asarray(self.facet_tags.find(self.names[name]))

    def renamed(self, tags: NDArray[np.int32] | None, names: dict[str, int]) -> TaggedMesh:
        """The same mesh with its facets named anew: ``tags`` (k,) int32 of all facets, on rank 0; collective."""
        arrays = None if self.arrays is None or tags is None else replace(self.arrays, tags=tags, names=names)
        everywhere = self.comm.bcast(tags)
        number = self._facet_number
        values = everywhere[number.values].astype(np.int32)
        return replace(
            self, names=names, arrays=arrays,
            facet_tags=dolfinx.mesh.meshtags(self.mesh, 2, number.indices, values),
        )  # fmt: skip

    @cached_property
    def _facet_number(self) -> Any:
        """Number in the arrays of each local facet that has a name, as tags."""
        facets = self.comm.bcast(self.arrays.facets[:, :3] if self.arrays is not None else None)
        return _find_facets(self.mesh, np.sort(facets, axis=1), np.arange(len(facets), dtype=np.int32))

    def bodies(self, name: str) -> tuple[NDArray[np.int32], NDArray[np.int32], int]:
        """Local facets of a surface, the connected piece of it that each belongs to, and how many pieces there are.

        Pieces are numbered by the order of their first vertices in the mesh arrays.  Collective.
        """
        found = None
        if self.arrays is not None:
            corners = self.arrays.facets[self.arrays.tags == self.names[name], :3]
            found = _pieces(corners)
        vertices, piece = self.comm.bcast(found)
        facets = self.facets(name)
        self.mesh.topology.create_connectivity(2, 0)
        nodes = dolfinx.mesh.entities_to_geometry(self.mesh, 2, facets)[:, 0] if facets.size else facets
        at = np.searchsorted(vertices, self.input_vertex()[nodes])
        return facets, piece[at] if facets.size else facets, int(piece.max(initial=-1)) + 1

    def volumes(self, name: str) -> NDArray[np.float64]:
        """Volume that each connected piece of a surface, inside the block, encloses, (pieces,) float, m^3."""
        found = None
        if self.arrays is not None:
            corners = self.arrays.facets[self.arrays.tags == self.names[name], :3]
            vertices, piece = _pieces(corners)
            a, b, c = np.moveaxis(self.arrays.points[corners] * self.unit, 1, 0)
            inside = np.einsum("ij,ij->i", a, np.cross(b, c)) / 6
            found = np.abs(np.bincount(piece[np.searchsorted(vertices, corners[:, 0])], inside))
        return np.asarray(self.comm.bcast(found))

    def input_vertex(self) -> NDArray[np.int64]:
        """Node number in the arrays of each local geometry node."""
        return np.asarray(self.mesh.geometry.input_global_indices)


def _pieces(corners: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Vertices (n,) of triangles (m, 3), ascending, and the connected piece (n,) int32 of each."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    vertices, local = numbered(corners)
    rows, columns = local[:, [0, 1]].ravel(), local[:, [1, 2]].ravel()
    graph = coo_matrix((np.ones(rows.size), (rows, columns)), shape=(vertices.size, vertices.size))
    return vertices, connected_components(graph, directed=False)[1].astype(np.int32)


def distribute(arrays: MeshArrays | None, comm: Any) -> TaggedMesh:
    """Return the mesh on all ranks of ``comm``; ``arrays`` is given on rank 0 only.

    Facets are found again by the sorted node numbers of their corners, never by coordinates.  Of the arrays the cells
    are not kept: a caller that keeps none either has one mesh in memory.
    """
    order, names, unit = comm.bcast((arrays.order, arrays.names, arrays.unit) if arrays is not None else None)
    element = basix.ufl.element("Lagrange", "tetrahedron", order, shape=(3,))
    nodes = 4 if order == 1 else 10
    permutation = dolfinx.io.gmsh.cell_perm_array(dolfinx.mesh.CellType.tetrahedron, nodes)
    cells, points = np.empty((0, nodes), dtype=np.int64), np.empty((0, 3))
    if arrays is not None:
        # Straight cells are in the same order here and there.
        cells = arrays.cells[:] if order == 1 else arrays.cells[:, permutation]
        points = arrays.points
    mesh = distributed(comm, cells, points, element)
    del cells
    facets, tags = comm.bcast((arrays.facets[:, :3], arrays.tags) if arrays is not None else None)
    facet_tags = _find_facets(mesh, np.sort(facets, axis=1), tags)
    if arrays is not None:
        kept: Any = _Cells(mesh, permutation) if comm.size == 1 else arrays.cells[:].astype(np.int32)
        arrays = replace(arrays, cells=kept)
    sheets = _sheets(mesh, facet_tags, names)
    return TaggedMesh(mesh, facet_tags, names, unit, arrays, sheets)


class _Cells:
    """Nodes of the cells as they were given, (m, 4 or 10) int64, made from the mesh of one rank whenever they are read.

    An array to whoever reads it, so that rank 0 holds no second copy of the mesh.
    """

    def __init__(self, mesh: Any, permutation: NDArray[np.int64]) -> None:
        self._mesh, self._permutation = mesh, permutation
        self.shape = mesh.geometry.dofmaps[0].shape

    def __len__(self) -> int:
        return int(self.shape[0])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        cells = np.empty(self.shape, dtype=dtype or np.int64)
        at = self._mesh.topology.original_cell_index
        nodes, number = self._mesh.geometry.dofmaps[0], self._mesh.geometry.input_global_indices
        for ours, theirs in enumerate(self._permutation):
            cells[at, theirs] = number[nodes[:, ours]]
        return cells

    def __getitem__(self, key: Any) -> Any:
        return self.__array__()[key]


def _find_facets(mesh: Any, wanted: NDArray[np.int64], tags: NDArray[np.int32]) -> Any:
    topology = mesh.topology
    topology.create_entities(2)
    for pair in ((2, 0), (2, 3), (3, 0)):
        topology.create_connectivity(*pair)
    number = _input_number(mesh)
    marked = np.zeros(int(max(wanted.max(initial=0), number.max(initial=0))) + 1, dtype=bool)
    marked[wanted.ravel()] = True
    ends = topology.connectivity(2, 0).array.reshape(-1, 3)
    candidates = np.nonzero(marked[number][ends].all(axis=1))[0]
    corners = np.sort(number[ends[candidates]], axis=1)
    # Rows as one comparable key each: sort the wanted ones, look the candidates up.
    kind = np.dtype([("a", np.int64), ("b", np.int64), ("c", np.int64)])
    keys = np.ascontiguousarray(wanted).view(kind).ravel()
    by_key = np.argsort(keys, order=("a", "b", "c"))
    found = np.ascontiguousarray(corners).view(kind).ravel()
    at = np.minimum(np.searchsorted(keys[by_key], found), max(len(keys) - 1, 0))
    hit = keys[by_key][at] == found if len(keys) else np.zeros(len(found), dtype=bool)
    local, values = candidates[hit].astype(np.int32), tags[by_key][at[hit]].astype(np.int32)
    missing = len(keys) - mesh.comm.allreduce(_owned_count(topology, local), op=MPI.SUM)
    if missing:
        raise MeshingError(50, "mesh", f"{missing} named facets were lost in distribution", "report this case")
    sorting = np.argsort(local)
    return dolfinx.mesh.meshtags(mesh, 2, local[sorting], values[sorting])


def _input_number(mesh: Any) -> NDArray[np.int64]:
    """Node number in the arrays of each local vertex."""
    vertices = mesh.topology.index_map(0)
    cells = mesh.topology.connectivity(3, 0).array.reshape(-1, 4)
    nodes = np.empty(vertices.size_local + vertices.num_ghosts, dtype=np.int32)
    for corner in range(4):
        nodes[cells[:, corner]] = mesh.geometry.dofmaps[0][: len(cells), corner]
    return np.asarray(mesh.geometry.input_global_indices)[nodes]


def _owned_count(topology: Any, facets: NDArray[np.int32]) -> int:
    return int((facets < topology.index_map(2).size_local).sum())


def _sheets(mesh: Any, facet_tags: Any, names: dict[str, int]) -> frozenset[str]:
    """Surfaces with a facet that is not on the boundary."""
    exterior = dolfinx.mesh.exterior_facet_indices(mesh.topology)
    owned = facet_tags.indices < mesh.topology.index_map(2).size_local
    inner = owned & ~np.isin(facet_tags.indices, exterior)
    local = set(np.unique(facet_tags.values[inner]).tolist())
    every = set().union(*mesh.comm.allgather(local))
    return frozenset(name for name, tag in names.items() if tag in every)


def cells_beside(topology: Any, facets: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return a local cell at each of the local ``facets`` (n,), the first where there are two, and its number there."""
    topology.create_connectivity(2, 3)
    topology.create_connectivity(3, 2)
    to_cell = topology.connectivity(2, 3)
    cells = to_cell.array[to_cell.offsets[facets]]
    own = topology.connectivity(3, 2).array.reshape(-1, 4)[cells]
    return cells, (own == facets[:, None]).argmax(axis=1).astype(np.int32)
