"""Second-order tetrahedra that must not fold over themselves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fem_spall.mesh.arrays import MeshArrays, triangle_areas

__all__ = ["flat_area_deficit", "jacobian_ratio", "untangled"]

#: Least ratio of smallest to largest Jacobian in a cell that stays curved.
FLOOR = 0.1
#: Vertices of the edges that carry nodes 4 to 9 of gmsh's ten-node tetrahedron.
EDGES = np.array([[0, 1], [1, 2], [2, 0], [3, 0], [3, 2], [3, 1]])


def untangled(mesh: MeshArrays) -> MeshArrays:
    """Return the mesh with every cell that is folded, or nearly so, made straight-sided.

    Where a shape curves more sharply than the mesh resolves, the nodes in the middle of edges leave the cells
    upside down.  Those go back to the middle of their edges, which costs the geometry there its second order;
    ``info["straightened_cells"]`` counts the cells.
    """
    points = mesh.points.copy()
    middle = mesh.points[mesh.cells[:, EDGES]].mean(axis=2)
    bend = np.linalg.norm(points[mesh.cells[:, 4:]] - middle, axis=2)
    size = np.linalg.norm(np.ptp(points[mesh.cells[:, :4]], axis=1), axis=1)
    active = np.nonzero((bend > 1e-9 * size[:, None]).any(axis=1))[0]
    count = 0
    while active.size:
        folded = active[jacobian_ratio(points, mesh.cells[active]) < FLOOR]
        if folded.size == 0:
            break
        count += len(folded)
        nodes = mesh.cells[folded, 4:]
        points[nodes.ravel()] = middle[folded].reshape(-1, 3)
        # A straight cell is never folded, but its neighbours may be now.
        active = np.setdiff1d(active, folded)
    return replace(mesh, points=points, info={**mesh.info, "straightened_cells": count})


def flat_area_deficit(mesh: MeshArrays, name: str) -> float:
    """Return by what share of its area a surface of six-node facets would be smaller with flat ones.

    Each facet is divided into four at its middle nodes; the areas of one and of four flat parts are extrapolated.
    """
    nodes = mesh.points[mesh.facets[mesh.tags == mesh.names[name]]]
    a, b, c, ab, bc, ca = np.moveaxis(nodes, 1, 0)
    parts = [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
    whole = triangle_areas(np.stack([a, b, c], axis=1)).sum()
    divided = sum(triangle_areas(np.stack(part, axis=1)).sum() for part in parts)
    return float(4 / 3 * (divided - whole) / divided) if divided > 0 else 0.0


def jacobian_ratio(points: NDArray[np.float64], cells: NDArray[np.int64]) -> NDArray[np.float64]:
    """Smallest over largest Jacobian determinant of ten-node cells, (m,) float, sampled at 35 places.

    1 for a straight-sided cell, not positive for a folded one.
    """
    k = 4
    grid = np.array([(i, j, m) for i in range(k + 1) for j in range(k + 1 - i) for m in range(k + 1 - i - j)]) / k
    corner = np.concatenate([1 - grid.sum(axis=1, keepdims=True), grid], axis=1)
    slope = np.array([[-1.0, -1.0, -1.0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])  # of the barycentric coordinates
    at_vertices = (4 * corner - 1)[:, :, None] * slope
    a, b = EDGES.T
    at_edges = 4 * (corner[:, a, None] * slope[b] + corner[:, b, None] * slope[a])
    derivative = np.concatenate([at_vertices, at_edges], axis=1)
    jacobian = np.linalg.det(np.einsum("qni,cnj->cqij", derivative, points[cells]))
    largest = jacobian.max(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(largest > 0, jacobian.min(axis=1) / largest, -1.0)
    return np.asarray(ratio)
