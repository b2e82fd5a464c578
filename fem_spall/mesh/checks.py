"""What must hold for every mesh before it is used, whichever mesher made it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fem_spall.case import Case
from fem_spall.crack.triangles import numbered
from fem_spall.errors import MeshingError
from fem_spall.mesh.arrays import FACES, MeshArrays
from fem_spall.mesh.sides import side_numbers

type Rows = NDArray[np.float64]

__all__ = ["apart_from_plating", "check_mesh", "check_surfaces", "radius_ratio"]


def radius_ratio(points: NDArray[np.float64], cells: NDArray[np.int64]) -> NDArray[np.float64]:
    """Quality 3 r_in / R_circ of tetrahedra (m, 4+), (m,) float: 1 regular, 0 flat, negative inverted."""
    u, v, w = _edges(points, cells)
    cross = _cross(v, w), _cross(w, u), _cross(u, v)
    six_volume = _dot(u, cross[0])
    area = sum(np.sqrt(_dot(side, side)) for side in (*cross, _cross(v - u, w - u)))
    circum = _dot(u, u) * cross[0] + _dot(v, v) * cross[1] + _dot(w, w) * cross[2]  # its length is 2 R |6V|
    # r_in = 6V / (2 area) with area the sum of cross norms / 2; R = circum / (2 |6V|).
    below = np.asarray(area * np.sqrt(_dot(circum, circum)))
    quality: Rows = np.zeros(len(below))
    np.divide(6 * six_volume * np.abs(six_volume), below, out=quality, where=below > 0)
    return quality


def cell_volumes(mesh: MeshArrays) -> NDArray[np.float64]:
    """Volumes of the straight-sided tetrahedra, (m,) float, mesh units cubed."""
    u, v, w = _edges(mesh.points, mesh.cells)
    return np.asarray(_dot(u, _cross(v, w)) / 6)


def _edges(points: NDArray[np.float64], cells: NDArray[np.int64]) -> Rows:
    """From the first corner of each cell to the three others, (3, 3, m) by corner and coordinate."""
    corners = np.ascontiguousarray(points[cells[:, :4]].transpose(1, 2, 0))
    return np.asarray(corners[1:] - corners[0])


def _cross(a: Rows, b: Rows) -> Rows:
    """Products of vectors (3, m), one coordinate after the other: NumPy's own takes three times as long."""
    return np.array([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])


def _dot(a: Rows, b: Rows) -> Rows:
    return np.asarray(a[0] * b[0] + a[1] * b[1] + a[2] * b[2])


def check_mesh(
    mesh: MeshArrays, enclosed: float | None, quality_floor: float, side: NDArray[np.int64] | None = None
) -> dict[str, Any]:
    """Return quality figures of a mesh that passes, lengths in m.

    Parameters
    ----------
    mesh : MeshArrays
        The mesh.
    enclosed : float or None
        Volume inside the boundary it was made from, mesh units cubed, if that is known exactly.
    quality_floor : float
        Least radius ratio allowed.
    side : (4 m,) int, optional
        What :func:`check_surfaces` returned.

    Raises
    ------
    MeshingError
        If a cell is inverted or too flat, the volumes do not add up, or the electrolyte is not one piece.
    """
    quality = radius_ratio(mesh.points, mesh.cells)
    worst = int(quality.argmin())
    if quality[worst] < quality_floor:
        place = mesh.points[mesh.cells[worst, :4]].mean(axis=0) * mesh.unit * 1e6
        raise MeshingError(
            40, "mesh",
            f"least quality (radius ratio) must be above {quality_floor:g}; got {quality[worst]:.3g} at "
            f"({place[0]:.4g}, {place[1]:.4g}, {place[2]:.4g}) um ({int((quality < quality_floor).sum())} such cells)",
            "lower mesh.size_min, or mend the surface there",
        )  # fmt: skip
    volume = float(cell_volumes(mesh).sum())
    if enclosed is not None and abs(volume - enclosed) > 1e-9 * enclosed:
        raise MeshingError(
            41, "mesh", f"cell volumes must add up to the enclosed volume; off by {volume / enclosed - 1:.1e}",
            "change mesh.size_min",
        )  # fmt: skip
    pieces = _pieces(side_numbers(mesh)[0] if side is None else side)
    if pieces != 1:
        raise MeshingError(42, "mesh", f"the electrolyte must be one piece; got {pieces}", "change mesh.size_min")
    u, v, w = _edges(mesh.points, mesh.cells)
    squares = [_dot(edge, edge) for edge in (u, v, w, v - u, w - u, w - v)]
    return {
        "cells": len(mesh.cells),
        "vertices": len(numbered(mesh.cells[:, :4])[0]),
        "facets": len(mesh.facets),
        "geometry_order": mesh.order,
        "min_quality": float(quality.min()),
        "p01_quality": float(np.quantile(quality, 0.01)),
        "shortest_edge_m": float(np.sqrt(min(square.min() for square in squares))) * mesh.unit,
        "longest_edge_m": float(np.sqrt(max(square.max() for square in squares))) * mesh.unit,
        "flat_cell_volume_m3": volume * mesh.unit**3,
    }


def check_surfaces(mesh: MeshArrays, box: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the number of each side of each cell, (4 m,).

    Raises
    ------
    MeshingError
        Unless the facets close the cells and those on the block's faces lie on them exactly enough.
    """
    numbers, count, facet = side_numbers(mesh)
    count[facet] = 0
    if nameless := int((count == 1).sum()):
        raise MeshingError(43, "mesh", f"{nameless} boundary facets have no name", "report this case")
    span = float(np.ptp(box, axis=0).max())
    for name, (axis, side) in FACES.items():
        own = numbered(mesh.facets[mesh.tags == mesh.names[name]])[0] if name in mesh.names else np.empty(0, dtype=int)
        off = np.abs(mesh.points[own, axis] - box[side, axis]).max() if own.size else 0.0
        if off > 1e-9 * span:
            raise MeshingError(44, f"face {name}", f"must be plane; off by {off * mesh.unit:.1e} m", "lower size_min")
    return numbers


def _pieces(side: NDArray[np.int64]) -> int:
    """Number of parts connected through facets; ``side`` (4 m,) numbers the sides of the cells.

    Every cell takes the least label next to it until none changes, through the cells that the labels name.  SciPy's
    graphs would take longer to import than the whole mesh of a closed form takes to make.
    """
    order = np.argsort(side)
    same = np.diff(side[order]) == 0
    one, two = order[:-1][same] // 4, order[1:][same] // 4
    label = np.arange(len(side) // 4)
    while True:
        least = np.minimum(label[one], label[two])
        found = label.copy()
        np.minimum.at(found, label[one], least)
        np.minimum.at(found, label[two], least)
        found = found[found]
        if np.array_equal(found, label):
            return len(numbered(label)[0])
        label = found


def apart_from_plating(mesh: MeshArrays, case: Case) -> list[str]:
    """Names of the lithium cracks that share no vertex with the plating face."""

    def vertices(name: str) -> NDArray[np.int64]:
        own = [name, *(region.name for region in case.regions if case.surface_of(region) == name)]
        return numbered(mesh.facets[np.isin(mesh.tags, [mesh.names[part] for part in own])])[0]

    plating = vertices(case.electrodes.plating.face)
    if plating.size == 0:
        return []
    return [
        crack.name for crack in case.cracks
        if crack.contents == "lithium" and not np.intersect1d(plating, vertices(crack.name)).size
    ]  # fmt: skip
