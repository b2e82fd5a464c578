"""Small solids and meshes with exact measures, built without a mesher: what the unit tests of the core share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fem_spall.case import Case
from fem_spall.crack import CrackSurface
from fem_spall.mesh.arrays import FACES, MeshArrays

type Floats = NDArray[np.float64]
type Ints = NDArray[np.int64]

UM = 1e-6
_CORNERS = np.array([[i & 1, i >> 1 & 1, i >> 2] for i in range(8)], dtype=float)
_SIDES = np.array([[0, 2, 1], [1, 2, 3], [4, 5, 6], [5, 7, 6], [0, 1, 4], [1, 5, 4],
                   [2, 6, 3], [3, 6, 7], [0, 4, 2], [2, 4, 6], [1, 3, 5], [3, 7, 5]])  # fmt: skip
#: Middle nodes of a ten-node tetrahedron and a six-node triangle in gmsh's order.
_CELL_EDGES = ((0, 1), (1, 2), (0, 2), (0, 3), (2, 3), (1, 3))
_FACET_EDGES = ((0, 1), (1, 2), (2, 0))


def cuboid(low: Sequence[float], high: Sequence[float], **other: Any) -> CrackSurface:
    """Closed box between two corners, um."""
    corners = np.array(low) + _CORNERS * (np.array(high) - np.array(low))
    return CrackSurface.canonical(corners * UM, _SIDES, **other)


def surface_of(body: Any) -> CrackSurface:
    """Surface of a manifold3d body whose lengths are um."""
    mesh = body.to_mesh64()
    return CrackSurface.canonical(np.asarray(mesh.vert_properties)[:, :3] * UM, np.asarray(mesh.tri_verts))


def sphere(subdivisions: int, radius: float = 1.0) -> tuple[Floats, Ints]:
    """Vertices and outward faces of an octahedron divided ``subdivisions`` times and pushed onto the sphere."""
    points = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], dtype=float)
    faces = np.array([[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]])
    for _ in range(subdivisions):
        points, faces = _quartered(points, faces)
        points /= np.linalg.norm(points, axis=1, keepdims=True)
    return points * radius, faces


def _quartered(points: Floats, faces: Ints) -> tuple[Floats, Ints]:
    """Each triangle divided into four at the middles of its sides."""
    sides = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    edges, index = np.unique(sides, axis=0, return_inverse=True)
    a, b, c = faces.T
    ab, bc, ca = index.reshape(-1, 3).T + len(points)
    faces = np.concatenate([np.stack(t, axis=1) for t in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))])
    return np.concatenate([points, points[edges].mean(axis=1)]), faces


def six_node_sphere(subdivisions: int, radius: float = 1.0) -> tuple[Floats, Ints]:
    """The sphere in six-node triangles, all nodes on it."""
    points, faces = sphere(subdivisions)
    points, facets = _with_middles(points, faces, _FACET_EDGES)
    return points / np.linalg.norm(points, axis=1, keepdims=True) * radius, facets


def _with_middles(points: Floats, cells: Ints, edges: Sequence[tuple[int, int]]) -> tuple[Floats, Ints]:
    """Cells with a node added at the middle of each edge."""
    pairs = np.sort(np.stack([cells[:, list(edge)] for edge in edges], axis=1).reshape(-1, 2), axis=1)
    unique, index = np.unique(pairs, axis=0, return_inverse=True)
    middles = index.reshape(len(cells), len(edges)) + len(points)
    return np.concatenate([points, points[unique].mean(axis=1)]), np.concatenate([cells, middles], axis=1)


def block_mesh(
    counts: tuple[int, int, int] = (3, 3, 4),
    size: tuple[float, float, float] = (20.0, 30.0, 50.0),
    *,
    seed: int = 0,
    order: int = 1,
    bend: float = 0.0,
    unit: float = 1e-5,
    sheet: tuple[float, float] | None = None,
    crack: str | None = None,
    holes: Sequence[tuple[int, int, int]] = (),
) -> MeshArrays:
    """Irregular tetrahedra of the block [0, size], um, with its six faces named.

    Nodes of a lattice are moved at random inside the block and within its faces; with ``order`` 2 the
    middle nodes of inner edges are moved by ``bend`` times the cell size, so that cells are curved.
    ``sheet`` (x, z) names the inner facets at the lattice plane x and above z "sheet", which has
    electrolyte on both sides; ``crack`` renames the half of the face +z with the smaller x; ``holes`` are
    cubes of the lattice left out, whose walls are named "pores".
    """
    nx, ny, nz = counts
    lattice = np.stack(np.meshgrid(*(np.arange(n + 1) for n in counts), indexing="ij"), axis=-1).reshape(-1, 3)
    number = np.arange(len(lattice)).reshape(nx + 1, ny + 1, nz + 1)
    cubes = np.stack(np.meshgrid(*(np.arange(n) for n in counts), indexing="ij"), axis=-1).reshape(-1, 3)
    cubes = cubes[~(cubes[:, None] == np.array(holes, dtype=int).reshape(-1, 3)).all(axis=2).any(axis=1)]
    cells = []
    for axes in permutations(range(3)):
        path = [cubes]
        for axis in axes:
            path.append(path[-1] + np.eye(3, dtype=int)[axis])
        corner = [number[tuple(p.T)] for p in path]
        even = axes in ((0, 1, 2), (1, 2, 0), (2, 0, 1))
        cells.append(np.stack(corner if even else [corner[0], corner[2], corner[1], corner[3]], axis=1))
    tetrahedra = np.concatenate(cells)
    step = np.array(size) / counts
    rng = np.random.default_rng(seed)
    shift = rng.uniform(-0.15, 0.15, lattice.shape)
    shift[(lattice == 0) | (lattice == counts)] = 0.0
    if sheet is not None:
        shift[np.isclose(lattice[:, 0] * step[0], sheet[0]), 0] = 0.0
        shift[np.isclose(lattice[:, 2] * step[2], sheet[1]), 2] = 0.0
    if crack is not None:
        shift[lattice[:, 0] == nx // 2, 0] = 0.0
    points = (lattice + shift) * step
    facets, tags, names = _named_facets(points, tetrahedra, np.array(size), sheet)
    if holes:
        names["pores"] = 10
        inside = (points[facets] > 1e-9).all(axis=2) & (points[facets] < np.array(size) - 1e-9).all(axis=2)
        tags[inside.any(axis=1)] = 10
        used, flat = np.unique(np.concatenate([tetrahedra.ravel(), facets.ravel()]), return_inverse=True)
        points, lattice = points[used], lattice[used]
        tetrahedra, facets = flat[: tetrahedra.size].reshape(-1, 4), flat[tetrahedra.size :].reshape(-1, 3)
    if crack is not None:
        names[crack] = 10
        half = (nx // 2) * step[0]
        tags[(tags == names["+z"]) & (points[facets].mean(axis=1)[:, 0] < half)] = 10
    if order == 2:
        corners, flat = tetrahedra, facets
        points, tetrahedra = _with_middles(points, corners, _CELL_EDGES)
        facets = _middles_of(corners, tetrahedra, flat)
        inner = np.ones(len(points), dtype=bool)
        inner[facets] = False
        inner[: len(lattice)] = False
        points[inner] += bend * step * rng.uniform(-1, 1, (int(inner.sum()), 3))
    scale = UM / unit
    info = {"box": [[0.0, 0.0, 0.0], [s * scale for s in size]], "remesher": "none"}
    return MeshArrays(points * scale, tetrahedra, facets, tags, names, unit, info)


def _named_facets(
    points: Floats, cells: Ints, size: Floats, sheet: tuple[float, float] | None
) -> tuple[Ints, NDArray[np.int32], dict[str, int]]:
    sides = cells[:, [[1, 2, 3], [0, 3, 2], [0, 1, 3], [0, 2, 1]]].reshape(-1, 3)
    _, first, count = np.unique(np.sort(sides, axis=1), axis=0, return_index=True, return_counts=True)
    outer = sides[first[count == 1]]
    names = {name: tag for tag, name in enumerate(FACES, 1)}
    off = [np.abs(points[outer][:, :, axis] - side * size[axis]).max(axis=1) for axis, side in FACES.values()]
    facets, tags = outer, 1 + np.argmin(np.stack(off, axis=1), axis=1)
    if sheet is not None:
        x, z = sheet
        inner = sides[first[count == 2]]
        on = (np.abs(points[inner][:, :, 0] - x) < 1e-9).all(axis=1) & (points[inner][:, :, 2] > z - 1e-9).all(axis=1)
        names["sheet"] = 10
        facets, tags = np.concatenate([facets, inner[on]]), np.concatenate([tags, np.full(int(on.sum()), 10)])
    return facets, tags.astype(np.int32), names


def _middles_of(corners: Ints, cells: Ints, facets: Ints) -> Ints:
    """Facets with the middle nodes that the cells have on the same edges."""
    middle = {}
    for k, (i, j) in enumerate(_CELL_EDGES):
        middle.update(
            {tuple(sorted(p)): m for p, m in zip(corners[:, [i, j]].tolist(), cells[:, 4 + k].tolist(), strict=True)}
        )
    rows = [[*f, *(middle[tuple(sorted((f[i], f[j])))] for i, j in _FACET_EDGES)] for f in facets.tolist()]
    return np.array(rows, dtype=np.int64)


def case_of(**parts: Any) -> Case:
    """A case of the 20 x 30 x 50 um block at 50 mV; keys of the file may be replaced."""
    data: dict[str, Any] = {
        "version": 1,
        "name": "small",
        "electrolyte": {"size": ["20 um", "30 um", "50 um"], "conductivity": "0.1 S/m"},
        "electrodes": {"plating": {"face": "+z", "potential": "0 V"}, "counter": {"face": "-z", "potential": "50 mV"}},
        "mesh": {"size_min": "2 um", "size_max": "10 um", "refine_tips": False},
        "solver": {"degree": 2, "tolerance": 1e-11},
        "output": {"fields": False, "report": False, "pictures": False},
    }
    return Case.model_validate(data | parts)
