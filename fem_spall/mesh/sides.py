"""The two sides of sheets in a mesh: electrolyte that they cut off goes, insulating ones are opened."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fem_spall.crack.base import Repair
from fem_spall.crack.triangles import numbered, unique_corners
from fem_spall.errors import GeometryError
from fem_spall.mesh.arrays import SIDES, MeshArrays, triangle_areas
from fem_spall.mesh.tagged_surface import CUT_OFF

__all__ = ["closed_again", "conducting_part", "inner_facets", "opened", "packed", "side_numbers"]

type Ints = NDArray[np.int64]


def inner_facets(mesh: MeshArrays) -> NDArray[np.bool_]:
    """Which facets have a cell on both sides, (k,) bool."""
    _, count, number = side_numbers(mesh)
    return np.asarray(count[number] == 2)


def conducting_part(mesh: MeshArrays, counter: str, lithium: frozenset[str]) -> tuple[MeshArrays, Repair | None]:
    """Return the cells that are connected to the counter electrode without crossing a sheet, and what was dropped.

    Raises
    ------
    GeometryError
        If no lithium borders them, or the counter electrode has several such pieces.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    index, count, number = side_numbers(mesh)
    facet_of = np.full(len(count), -1, dtype=np.int64)
    facet_of[number] = np.arange(len(number))
    order = np.argsort(index, kind="stable")
    pairs = order[(count[index[order]] == 2) & (facet_of[index[order]] < 0)].reshape(-1, 2) // 4
    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(mesh.cells),) * 2)
    parts, label = connected_components(graph, directed=False)
    if parts == 1:
        return mesh, None
    at_counter = np.isin(index, number[mesh.tags == mesh.names[counter]])
    live = np.unique(label[np.flatnonzero(at_counter) // 4])
    if len(live) != 1:
        raise GeometryError(
            13, "cracks", f"leave {len(live)} electrolyte bodies at the counter electrode instead of one",
            "move or clip the cracks so that they do not cut the electrolyte in two",
        )  # fmt: skip
    cells = label == live[0]
    facets = np.isin(number, index[np.repeat(cells, 4)])
    names = {name for name, tag in mesh.names.items() if (mesh.tags[facets] == tag).any()}
    if not names & lithium:
        raise GeometryError(
            17, "cracks", "cut the counter electrode off from all plating lithium",
            "move them, or fill them with lithium",
        )  # fmt: skip
    a, b, c, d = np.moveaxis(mesh.points[mesh.cells[~cells, :4]], 1, 0)
    volume = float(np.einsum("ij,ij->", b - a, np.cross(c - a, d - a))) / 6
    area = float(triangle_areas(mesh.points[mesh.facets[~facets, :3]]).sum())
    repair = Repair(CUT_OFF, int(parts) - 1, -volume * mesh.unit**3, -area * mesh.unit**2)
    return packed(replace(mesh, cells=mesh.cells[cells], facets=mesh.facets[facets], tags=mesh.tags[facets])), repair


def opened(mesh: MeshArrays, names: list[str]) -> MeshArrays:
    """Return the mesh with the vertices of some sheets doubled, so that the cells on their two sides are apart.

    Vertices on the rim stay one; each facet comes once for either side.
    """
    own = np.isin(mesh.tags, [mesh.names[name] for name in names])
    if own.any():
        own &= inner_facets(mesh)
    if not own.any():
        return mesh
    index, _, number = side_numbers(mesh)
    vertices = np.unique(mesh.facets[own])
    near = np.flatnonzero(np.isin(mesh.cells, vertices).any(axis=1))
    group = _groups(mesh.cells[near], index.reshape(-1, 4)[near], number[own])
    corners = mesh.cells[near].ravel()
    split = np.isin(corners, vertices)
    # The first group of each vertex keeps its number, every further one gets a new point.
    pairs, place = np.unique(np.stack([corners[split], group[split]], axis=1), axis=0, return_inverse=True)
    again = np.concatenate([[False], pairs[1:, 0] == pairs[:-1, 0]])
    renamed = np.where(again, len(mesh.points) + np.cumsum(again) - 1, pairs[:, 0])
    corners[split] = renamed[place.ravel()]
    cells = mesh.cells.copy()
    cells[near] = corners.reshape(-1, 4)

    def on_side(facets: Ints, side: Ints) -> Ints:
        where = (mesh.cells[side // 4][:, None, :] == facets[:, :, None]).argmax(axis=2)
        return np.take_along_axis(cells[side // 4], where, 1)

    order = np.argsort(index, kind="stable")
    first = order[np.searchsorted(index[order], number)]
    last = order[np.searchsorted(index[order], number, side="right") - 1]
    facets = np.concatenate([on_side(mesh.facets, first), on_side(mesh.facets[own], last[own])[:, ::-1]])
    points = np.concatenate([mesh.points, mesh.points[pairs[again, 0]]])
    return replace(mesh, points=points, cells=cells, facets=facets, tags=np.concatenate([mesh.tags, mesh.tags[own]]))


def _groups(cells: Ints, index: Ints, torn: Ints) -> Ints:
    """Number of the group of each corner of each cell, (4 m,): joined through all common sides but the torn ones.

    ``index`` (m, 4) numbers the sides.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    order = np.argsort(index.ravel(), kind="stable")
    keys = index.ravel()[order]
    same = np.flatnonzero((keys[1:] == keys[:-1]) & ~np.isin(keys[1:], torn))
    slot = np.take_along_axis(np.broadcast_to(SIDES, (len(cells), 4, 3)), np.argsort(cells[:, SIDES], axis=2), axis=2)
    corner = (4 * np.arange(len(cells))[:, None, None] + slot).reshape(-1, 3)  # of each side, by number of the vertex
    rows, columns = corner[order[same]].ravel(), corner[order[same + 1]].ravel()
    graph = coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(4 * len(cells),) * 2)
    return np.asarray(connected_components(graph, directed=False)[1])


def closed_again(mesh: MeshArrays, names: list[str]) -> MeshArrays:
    """Undo :func:`opened`: vertices of the sheets at one place become one."""
    own = np.isin(mesh.tags, [mesh.names[name] for name in names if name in mesh.names])
    if not own.any():
        return mesh
    vertices = np.unique(mesh.facets[own])
    _, first, place = np.unique(mesh.points[vertices], axis=0, return_index=True, return_inverse=True)
    target = np.arange(len(mesh.points))
    target[vertices] = vertices[first][place.ravel()]
    facets = target[mesh.facets]
    once = np.sort(unique_corners(facets)[0])
    return packed(replace(mesh, cells=target[mesh.cells], facets=facets[once], tags=mesh.tags[once]))


def side_numbers(mesh: MeshArrays) -> tuple[Ints, Ints, Ints]:
    """Number of each side of each cell (4 m,), how many cells have each (s,), number of each facet (k,)."""
    sides = mesh.cells[:, :4][:, SIDES].reshape(-1, 3)
    _, index = unique_corners(np.concatenate([sides, mesh.facets[:, :3]]))
    own, facets = index[: len(sides)], index[len(sides) :]
    return own, np.bincount(own, minlength=int(index.max(initial=-1)) + 1), facets


def packed(mesh: MeshArrays) -> MeshArrays:
    """Return the mesh without the points that nothing uses."""
    used, index = numbered(np.concatenate([mesh.cells.ravel(), mesh.facets.ravel()]))
    cells, facets = index[: mesh.cells.size], index[mesh.cells.size :]
    return replace(
        mesh, points=mesh.points[used], cells=cells.reshape(mesh.cells.shape), facets=facets.reshape(mesh.facets.shape)
    )
