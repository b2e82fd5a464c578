"""Fill a mesh anew only where its boundary was divided, and keep the cells elsewhere."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from fem_spall.crack.triangles import numbered, unique_corners
from fem_spall.mesh.arrays import SIDES, MeshArrays
from fem_spall.mesh.focus import Focus
from fem_spall.mesh.sides import packed
from fem_spall.mesh.tagged_surface import TaggedSurface, facet_edges
from fem_spall.mesh.tetrahedralise import tetrahedralise

__all__ = ["refilled"]

#: Layers of cells round what must go that go as well, so that new cells find room.
LAYERS = 2
#: Cells longer than this many of the sizes asked for there must go.
LONG = 4 / 3
#: Share of the cells beyond which all are made anew.
MOST = 0.5
#: Rounds of taking in the cells round edges at which a cavity touches itself.
ROUNDS = 20

type Ints = NDArray[np.int64]
type Flags = NDArray[np.bool_]


def refilled(
    mesh: MeshArrays, boundary: TaggedSurface, parent: NDArray[np.int32], foci: list[Focus], size_max: float,
    algorithm: Literal["delaunay", "hxt"],
) -> MeshArrays | None:  # fmt: skip
    """Return the mesh with a divided boundary, filled anew round the foci only; None if that does not pay.

    Parameters
    ----------
    mesh : MeshArrays
        A straight-sided mesh without sheets.
    boundary : TaggedSurface
        Its boundary with some edges halved; the first vertices are those on the mesh's boundary, in ascending order.
    parent : (n,) int
        Facet of the mesh that each triangle of the boundary is a part of.
    foci : list of Focus
        What the edges were halved for.
    size_max : float
        Largest size, mesh units.
    algorithm : str
        That of :func:`fem_spall.mesh.tetrahedralise.tetrahedralise`.

    Raises
    ------
    MeshingError
        If a cavity cannot be filled.
    """
    used, _ = numbered(mesh.facets)
    points = np.concatenate([mesh.points, boundary.vertices[len(used) :]])
    # Vertices of the boundary among all points, the new ones behind those of the mesh.
    number = np.concatenate([used, len(mesh.points) + np.arange(len(points) - len(mesh.points))])
    facets = number[boundary.faces]
    split = np.bincount(parent, minlength=len(mesh.facets)) > 1
    gone = _cavity(mesh, mesh.facets[split], foci)
    if gone is None:
        return None
    cavity = mesh.cells[gone]
    index = unique_corners(np.concatenate([_sides_of(cavity), mesh.facets]))[1]
    side, facet = index[: 4 * len(cavity)], index[4 * len(cavity) :]
    inside = np.ones(int(index.max()) + 1, dtype=bool)
    inside[facet] = False
    label = _parts(side)
    owner = np.full(len(inside), -1)
    owner[side] = np.repeat(label, 4)
    owner = owner[facet][parent]  # part of the cavity that each triangle of the boundary is on
    cells, added, count = [mesh.cells[~gone]], [points], len(points)
    for part in range(int(label.max()) + 1):
        own = side.reshape(-1, 4)[label == part].ravel()
        cut = (np.bincount(own)[own] == 1) & inside[own]
        hull = np.concatenate([_sides_of(cavity[label == part])[cut], facets[owner == part]])
        vertices, faces = numbered(hull)
        surface = TaggedSurface(
            points[vertices], faces, np.ones(len(hull), dtype=np.int32), {"cavity": 1}, boundary.box,
            boundary.unit,
        )  # fmt: skip
        filled = tetrahedralise(surface, size_max, algorithm)
        place = np.full(len(filled.points), -1, dtype=np.int64)
        place[filled.facets.ravel()] = hull.ravel()
        new = place < 0
        place[new] = count + np.arange(int(new.sum()))
        count += int(new.sum())
        added.append(filled.points[new])
        cells.append(place[filled.cells])
    return packed(
        replace(mesh, points=np.concatenate(added), cells=np.concatenate(cells), facets=facets, tags=boundary.tags)
    )


def _cavity(mesh: MeshArrays, split: Ints, foci: list[Focus]) -> Flags | None:
    """Which cells must be made anew, (m,) bool: at the split facets (k, 3) and where cells are too long; None: most."""
    corners = mesh.points[mesh.cells]
    length = np.linalg.norm(corners[:, [0, 0, 0, 1, 1, 2]] - corners[:, [1, 2, 3, 2, 3, 3]], axis=2).mean(axis=1)
    asked = np.min([focus.size_at(corners.mean(axis=1) * mesh.unit) for focus in foci], axis=0) / mesh.unit
    near = np.zeros(len(mesh.points), dtype=bool)
    near[split] = True
    gone = (length > LONG * asked) | near[mesh.cells].any(axis=1)
    for _ in range(LAYERS):
        near[mesh.cells[gone]] = True
        gone = near[mesh.cells].any(axis=1)
    for _ in range(ROUNDS):
        if gone.mean() > MOST:
            return None
        sides = _sides_of(mesh.cells[gone])
        index = unique_corners(sides)[1]
        edges, index = facet_edges(sides[np.bincount(index)[index] == 1])
        crowded = edges[np.bincount(index.ravel()) > 2]
        if len(crowded) == 0:
            return gone
        ends = np.zeros(len(mesh.points), dtype=bool)
        ends[crowded] = True
        gone |= ends[mesh.cells].sum(axis=1) >= 2
    return None


def _parts(side: Ints) -> Ints:
    """Number of the connected part of each cell of a cavity, (c,) int; ``side`` (4 c,) numbers their sides."""
    order = np.argsort(side, kind="stable")
    same = np.flatnonzero(np.diff(side[order]) == 0)
    one, two = order[same] // 4, order[same + 1] // 4
    graph = coo_matrix((np.ones(len(one)), (one, two)), shape=(len(side) // 4,) * 2)
    return np.asarray(connected_components(graph, directed=False)[1])


def _sides_of(cells: Ints) -> Ints:
    return np.asarray(cells[:, SIDES].reshape(-1, 3))
