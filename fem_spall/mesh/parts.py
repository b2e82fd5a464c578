"""The mesh of a rank: cells are cut into compact parts, ordered along a curve, and numbered as they come.

Nothing is searched for: rank 0 has all cells, so it knows which nodes lie in several parts.  ``create_mesh`` of the
library makes a graph of neighbours for its order and its parts, and finds out again who shares what.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fem_spall.fenics import dolfinx, ufl
from fem_spall.numbering import numbered, owners_of

__all__ = ["distributed"]

#: Shifts and masks that put two zeros before each of 21 bits.
_SPREAD = ((32, 0x1F00000000FFFF), (16, 0x1F0000FF0000FF), (8, 0x100F00F00F00F00F), (4, 0x10C30C30C30C30C3),
           (2, 0x1249249249249249))  # fmt: skip
#: Weights of the axes where a part is cut: a plane a little askew, since many cells of a lattice have the same place.
_ASKEW = np.array([1.0, 1e-3, 1e-6])

type Places = NDArray[np.float64]
type Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class _Part:
    """What a rank gets: ``cells`` (m, 4 or 10) by its own nodes, and what number they have in the arrays.

    ``nodes`` (n,) are those of its nodes, ascending, at ``points`` (n, 3); ``shared`` (n,) says which others have too.
    """

    cells: NDArray[np.int32]
    number: Numbers
    nodes: Numbers
    points: Places
    shared: NDArray[np.bool_]


def distributed(comm: Any, cells: Numbers, points: Places, element: Any) -> Any:
    """The mesh of cells (m, 4 or 10), nodes in basix's order, over all ranks; both are taken from rank 0.  Collective.

    No cell is on two ranks.
    """
    part = _handed_out(comm, cells, points)
    order = _along_curve(part.points, part.cells)
    own, number = part.cells[order], part.number[order]
    owners = np.full(len(part.nodes), comm.rank, dtype=np.int32)
    owners[part.shared] = owners_of(comm, part.nodes[part.shared])
    corners, map_, back = _as_they_come(comm, own[:, :4], part, owners)
    made, tetrahedron = dolfinx.cpp.mesh, dolfinx.mesh.CellType.tetrahedron
    every = dolfinx.common.IndexMap(comm, len(own))
    topology = made.Topology(tetrahedron, map_, every, dolfinx.graph.adjacencylist(corners)._cpp_object, number)
    if own.shape[1] == 10:
        corners, map_, back = _as_they_come(comm, own, part, owners)
    shape = dolfinx.fem.coordinate_element(element.basix_element)._cpp_object
    geometry = made.Geometry_float64(map_, corners, shape, part.points[back], part.nodes[back])
    return dolfinx.mesh.Mesh(made.Mesh_float64(comm, topology, geometry), ufl.Mesh(element))


def _as_they_come(comm: Any, cells: NDArray[np.int32], part: _Part, owners: NDArray[np.int32]) -> tuple[Any, Any, Any]:
    """Cells (m, k) by nodes numbered in the order in which the cells have them, own ones first; index map; nodes."""
    flat = cells.ravel()
    first = np.full(len(part.nodes), flat.size)
    first[flat[::-1]] = np.arange(flat.size - 1, -1, -1)
    which = np.argsort(first)[: np.count_nonzero(first < flat.size)]
    shared = np.flatnonzero(part.shared[which])
    numbers, map_ = numbered(comm, owners[which], shared, part.nodes[which[shared]])
    place, back = np.empty(len(part.nodes), dtype=np.int32), np.empty(len(which), dtype=np.int64)
    place[which], back[numbers] = numbers, which
    return place[cells], map_, back


def _handed_out(comm: Any, cells: Numbers, points: Places) -> _Part:
    """The part of this rank; collective."""
    if comm.rank:
        return comm.recv()  # type: ignore[no-any-return]
    pieces = _cut(cells[:, :4], points, np.arange(len(cells)), comm.size)
    holders = np.zeros(len(points), dtype=np.int32)
    held = []
    for piece in pieces:
        inside = np.zeros(len(points), dtype=bool)
        inside[cells[piece].ravel()] = True
        holders += inside
        held.append(np.flatnonzero(inside))
    place = np.empty(len(points), dtype=np.int32)
    for rank in reversed(range(comm.size)):
        nodes, piece = held[rank], pieces[rank]
        place[nodes] = np.arange(len(nodes))
        part = _Part(place[cells[piece]], piece, nodes, points[nodes], holders[nodes] > 1)
        if rank:
            comm.send(part, rank)
    return part


def _cut(cells: Numbers, points: Places, which: Numbers, count: int) -> list[Numbers]:
    """Cells ``which`` of those with corners (m, 4) in ``count`` parts of one size, each cut across its longest side."""
    if count == 1:
        return [which]
    few = count // 2
    size = len(which) * few // count
    if not size:
        low, high = which[:0], which
    else:
        ends, weights = cells[which, 0], np.empty(3)
        weights[np.argsort([-np.ptp(points[ends, axis]) for axis in range(3)])] = _ASKEW
        place, along = points @ weights, np.zeros(len(which))
        for corner in range(4):
            along += place[cells[which, corner]]
        order = np.argpartition(along, size)
        low, high = np.sort(which[order[:size]]), np.sort(which[order[size:]])
    return [*_cut(cells, points, low, few), *_cut(cells, points, high, count - few)]


def _along_curve(points: Places, cells: NDArray[np.int32]) -> Numbers:
    """Order of cells along Morton's curve: by the interleaved bits of where their corners are on the whole."""
    if not len(cells):
        return np.empty(0, dtype=np.int64)
    low = points.min(axis=0)
    grid = ((points - low) * ((2**21 - 1) / np.ptp(points, axis=0).max())).astype(np.int64)
    code = np.zeros(len(cells), dtype=np.int64)
    for axis in range(3):
        bits = grid[cells[:, 0], axis]
        for corner in range(1, 4):
            bits += grid[cells[:, corner], axis]
        bits >>= 2
        for shift, mask in _SPREAD:
            bits |= bits << shift
            bits &= mask
        code |= bits << axis
    return np.argsort(code, kind="stable")
