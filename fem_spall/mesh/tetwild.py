"""Tetrahedra by fTetWild, for boundaries that gmsh cannot fill (extra ``robust``).

fTetWild (Hu, Schneider, Wang, Zorin and Panozzo, ACM Transactions on Graphics 39, 2020, 117) takes any triangles,
however they cross, and gives cells whose boundary lies within an envelope round them.  It keeps no names and no planes:
here each facet gets the name of the nearest triangle that faces the same way, and vertices of the block's faces go back
onto them.
"""

from __future__ import annotations

import tempfile
from contextlib import chdir
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from fem_spall.crack.triangles import unique_corners
from fem_spall.errors import MeshingError, SetupError
from fem_spall.mesh.arrays import SIDES, MeshArrays, triangle_areas
from fem_spall.mesh.tagged_surface import TaggedSurface

__all__ = ["fill_by_tetwild", "installed"]

type Floats = NDArray[np.float64]
type Ints = NDArray[np.int64]

ENVELOPE = 0.25  # part of the tolerance that the boundary may be off
CLOSEST = 3e-5  # and at least this part of the diagonal of the block: fTetWild gets very slow below
ENERGY = 10.0  # where fTetWild stops to improve cells (3 is a regular one)
AT_CRACKS = 2.0  # size of the cells at the cracks, in smallest sizes
LATTICE = 24  # points along the longest side of the lattice that carries the sizes


def installed() -> bool:
    """Whether fTetWild is there."""
    return find_spec("pytetwild") is not None


def fill_by_tetwild(
    surface: TaggedSurface, size_min: float, size_max: float, grading: float, tolerance: float
) -> MeshArrays:
    """Return tetrahedra inside the boundary of the electrolyte, within a tolerance of it; lengths in mesh units.

    Raises
    ------
    SetupError
        If pytetwild is not installed.
    MeshingError
        If the names or the areas of the block's faces cannot be put back.
    """
    try:
        import pytetwild
    except ModuleNotFoundError:
        raise SetupError(
            12, "mesh.mesher", "tetwild needs the package pytetwild", "install it: pip install 'fem-spall[robust]'"
        ) from None
    diagonal = float(np.linalg.norm(np.ptp(surface.box, axis=0)))
    envelope = max(ENVELOPE * tolerance, CLOSEST * diagonal)
    points, tets, sizes = _sizes(surface, size_min, size_max, grading)
    with tempfile.TemporaryDirectory() as aside, chdir(aside):  # it leaves a file where it runs
        vertices, cells = pytetwild.tetrahedralize(
            surface.vertices, surface.faces.astype(np.int32), edge_length_abs=size_max, epsilon=envelope / diagonal,
            stop_energy=ENERGY, num_threads=1, quiet=True, bg_vertices=points, bg_tets=tets, bg_values=sizes,
        )  # fmt: skip
    if len(cells) == 0:
        raise MeshingError(50, "fTetWild", "made no tetrahedra", "mend the surface")
    vertices, cells = np.array(vertices, dtype=float), np.array(cells, dtype=np.int64)
    left = np.einsum("ij,ij->i", *_spans(vertices, cells)) < 0
    cells[left] = cells[left][:, [0, 2, 1, 3]]
    facets = _outside(cells)
    tags = _names(vertices, facets, surface, envelope)
    vertices = _flat(vertices, facets, tags, surface, 3 * envelope)
    mesh = MeshArrays(vertices, cells, facets, tags, surface.names, surface.unit, {"algorithm": "tetwild"})
    _check_planes(mesh, surface, envelope)
    volume = float(np.einsum("ij,ij->", *_spans(vertices, cells)) / 6)
    slack = envelope * float(triangle_areas(surface.vertices[surface.faces]).sum())
    if abs(volume - surface.volume) > slack:
        raise MeshingError(
            53, "fTetWild", f"must keep the enclosed volume; it changed by {volume / surface.volume - 1:.1e}",
            "lower mesh.surface_tolerance",
        )  # fmt: skip
    return mesh


def _spans(vertices: Floats, cells: Ints) -> tuple[Floats, Floats]:
    """One side of each cell, and the product of the two others: their scalar product is six times the volume."""
    a, b, c, d = (vertices[cells[:, k]] for k in range(4))
    return b - a, np.cross(c - a, d - a)


def _sizes(
    surface: TaggedSurface, size_min: float, size_max: float, grading: float
) -> tuple[Floats, NDArray[np.int32], Floats]:
    """Cells with wanted sizes at their corners: fine at the cracks, growing with the distance from them."""
    import igl
    from scipy.spatial import Delaunay

    low, high = surface.box
    step = float((high - low).max()) / LATTICE
    ticks = [np.linspace(a, b, int(np.ceil((b - a) / step)) + 1) for a, b in zip(low, high, strict=True)]
    lattice = np.stack(np.meshgrid(*ticks, indexing="ij"), axis=-1).reshape(-1, 3)
    own = surface.faces[surface.on_cracks]
    if len(own) == 0:
        own = surface.faces
    near = surface.vertices[np.unique(own)]
    near = near[np.unique(np.rint(near / (step / 4)), axis=0, return_index=True)[1]]
    points = np.concatenate([lattice, np.clip(near, low, high)])
    distance = np.sqrt(igl.point_mesh_squared_distance(points, surface.vertices, own)[0])
    sizes = np.minimum(AT_CRACKS * size_min + (grading - 1) * distance, size_max)
    return points, Delaunay(points, qhull_options="QJ Pp").simplices.astype(np.int32), sizes


def _outside(cells: Ints) -> Ints:
    """Facets with a cell on one side only, (k, 3), outward."""
    sides = cells[:, SIDES].reshape(-1, 3)
    first, index = unique_corners(sides)
    outside: Ints = sides[np.sort(first[np.bincount(index) == 1])]
    return outside


def _names(vertices: Floats, facets: Ints, surface: TaggedSurface, envelope: float) -> NDArray[np.int32]:
    """Tag of each facet: that of the nearest source triangle, where turning away counts as distance."""
    import igl

    def normals(corners: Floats) -> Floats:
        normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        return np.asarray(normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-300))

    corners = vertices[facets]
    middle, facing = corners.mean(axis=1), normals(corners)
    source = normals(surface.vertices[surface.faces])
    found, best = np.full(len(facets), -1, dtype=np.int32), np.full(len(facets), np.inf)
    for tag in np.unique(surface.tags).tolist():
        own = np.flatnonzero(surface.tags == tag)
        squares, nearest, _ = igl.point_mesh_squared_distance(middle, surface.vertices, surface.faces[own])
        turned = 1 - np.einsum("ij,ij->i", facing, source[own[nearest]])
        cost = np.sqrt(squares) + 2 * envelope * turned
        found[cost < best], best = tag, np.minimum(cost, best)
    return found


def _flat(vertices: Floats, facets: Ints, tags: NDArray[np.int32], surface: TaggedSurface, reach: float) -> Floats:
    """Put the vertices of the block's faces back on them, and those next to two of its faces on both."""
    vertices = vertices.copy()
    planes = surface.planes()
    on_block = np.unique(facets[np.isin(tags, list(planes))])
    for tag, (axis, coordinate) in planes.items():
        own = np.unique(facets[tags == tag])
        edge = on_block[np.abs(vertices[on_block, axis] - coordinate) < reach]
        vertices[np.union1d(own, edge), axis] = coordinate
    return vertices


def _check_planes(mesh: MeshArrays, surface: TaggedSurface, envelope: float) -> None:
    """Raise unless the faces of the block keep their areas to 1e-3 and a strip as wide as the envelope round cracks."""
    for name, tag in mesh.names.items():
        if tag not in surface.planes():
            continue
        given = surface.area(tag)
        off = float(triangle_areas(mesh.points[mesh.facets[mesh.tags == tag]]).sum()) - given
        own = surface.faces[surface.tags == tag]
        if abs(off) > 1e-3 * given + envelope * _rim_length(surface.vertices, own):
            raise MeshingError(
                51, f"face {name}", f"must keep its area; fTetWild changed it by {off / given:.1e}",
                "lower mesh.surface_tolerance",
            )  # fmt: skip


def _rim_length(vertices: Floats, faces: Ints) -> float:
    sides = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    edges, count = np.unique(sides, axis=0, return_counts=True)
    return float(np.linalg.norm(np.diff(vertices[edges[count == 1]], axis=1), axis=2).sum())
