"""Mesh a block with cracks of closed form through gmsh's CAD kernel, nodes on the true surfaces."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fem_spall.case import Case
from fem_spall.crack.base import AnalyticCrack, Block
from fem_spall.crack.triangles import numbered
from fem_spall.errors import GeometryError
from fem_spall.mesh.arrays import FACES, MeshArrays
from fem_spall.mesh.cad import Model, cut_model
from fem_spall.mesh.curved import flat_area_deficit, untangled
from fem_spall.mesh.focus import Focus
from fem_spall.mesh.sizes import SizeField
from fem_spall.mesh.tagged_surface import CRACK_TAG
from fem_spall.mesh.tetrahedralise import ALGORITHMS, add_sizes, gmsh_session, remove_slivers

__all__ = ["mesh_shapes", "triangulate_shape"]

type Floats = NDArray[np.float64]
type Sources = tuple[Floats, Floats]

#: Samples along each parameter of a curved surface that carry a size.
SAMPLES = 60
#: Directions in which the angle at an edge is probed, and the angle of electrolyte above which it is sharp.
PROBES, SHARP = 72, np.deg2rad(190)
#: Cells at a curved surface within the electrolyte, in a radius of its curvature.
ROUND = 4.0


def mesh_shapes(
    case: Case,
    cracks: tuple[AnalyticCrack, ...],
    unit: float,
    *,
    size_min: float,
    size_max: float,
    grading: float,
    algorithm: str,
    order: int,
    foci: list[Focus],
    sizes: SizeField | None = None,
) -> MeshArrays:
    """Return tetrahedra of the block minus the shapes.

    The size is ``size_min`` at the sharpest place of each crack (rim, edge, tip), in proportion to the radius of
    curvature elsewhere on it, and grows by ``grading`` a cell up to ``size_max``; the foci and
    the size field may ask for less.  Lengths in mesh units, those of the foci and the size field in m.

    Raises
    ------
    GeometryError
        If a crack misses the block, or joins the electrodes.
    MeshingError
        If gmsh fails.
    """
    with gmsh_session() as gmsh:
        model = cut_model(gmsh, case, cracks, unit)
        surfaces = model.surfaces
        info: dict[str, Any] = {"cad_volume": model.volume, "cad_areas": model.areas}
        box = np.array([[0.0, 0.0, 0.0], case.block.size]) / unit
        sources = [
            _sources(gmsh, crack, _whole(case, surfaces, crack.name), crack.name in model.thin, size_min, size_max, box)
            for crack in cracks
        ]
        sources += _further_sources(gmsh, case, model, size_min, size_max, box)
        places = [(f.centres / unit, f.radius / unit, f.size / unit) for f in foci]
        field = add_sizes(gmsh, sizes, unit) if sizes is not None else None
        _set_sizes(gmsh, sources, size_min, size_max, grading, places, field)
        gmsh.option.setNumber("Mesh.Algorithm3D", ALGORITHMS[algorithm])
        gmsh.option.setNumber("Mesh.Optimize", 1)
        gmsh.model.mesh.generate(3)
        remove_slivers(gmsh, 0.1)
        flat = _arrays(gmsh, surfaces, unit, 1, info) if order == 1 else None
        gmsh.model.mesh.setOrder(2)
        mesh = _arrays(gmsh, surfaces, unit, 2, info)
    info["flat_area_deficit"] = {name: flat_area_deficit(mesh, name) for name in surfaces if name not in FACES}
    return untangled(mesh) if flat is None else flat


def triangulate_shape(
    block: Block, crack: AnalyticCrack, unit: float, size_min: float, size_max: float
) -> tuple[Floats, NDArray[np.int64]]:
    """Triangles of one shape, outward oriented, for cases that mix closed forms and reconstructed surfaces.

    Vertices (n, 3) float in mesh units and faces (m, 3) int; of a crack without thickness an open sheet.
    """
    with gmsh_session() as gmsh:
        shape = crack.add_shape(gmsh.model.occ, block, unit)
        gmsh.model.occ.synchronize()
        thin = shape[0][0] == 2
        if thin and not hasattr(crack, "opening"):
            raise GeometryError(
                15, f"crack {crack.name}", "is a piece of the plating face, which cannot be "
                "mixed with reconstructed surfaces", "leave it out, or make the other cracks of closed forms",
            )  # fmt: skip
        tags = [abs(tag) for _, tag in (shape if thin else gmsh.model.getBoundary(shape, oriented=False))]
        points, radius = _radii(gmsh, tags, crack.extent(block) / unit)
        sizes = np.clip(size_min * radius / radius.min(initial=np.inf), size_min, size_max)
        _set_sizes(gmsh, [(points, sizes)], size_min, size_max, 1.3, [])
        gmsh.model.mesh.generate(2)
        node_tags, coordinates, _ = gmsh.model.mesh.getNodes()
        nodes = np.asarray(gmsh.model.mesh.getElementsByType(2)[1], dtype=np.int64).reshape(-1, 3)
    used, faces = numbered(nodes)
    place = np.empty(int(node_tags.max()) + 1, dtype=np.int64)
    place[np.asarray(node_tags, dtype=np.int64)] = np.arange(len(node_tags))
    points = np.asarray(coordinates, dtype=float).reshape(-1, 3)[place[used]]
    a, b, c = np.moveaxis(points[faces], 1, 0)
    if not thin and np.einsum("ij,ij->", a - points[0], np.cross(b - points[0], c - points[0])) < 0:
        faces = faces[:, ::-1]
    return points, faces


def _sources(
    gmsh: Any, crack: AnalyticCrack, tags: list[int], flat: bool, smallest: float, largest: float, box: Floats
) -> Sources:
    """Points (n, 3) on a crack and the size (n,) each asks for; ``flat`` if it has no thickness."""
    if not crack.focuses:
        return np.empty((0, 3)), np.empty(0)
    where, size = [np.empty((0, 3))], [np.empty(0)]
    if not flat:
        points, radius = _radii(gmsh, tags, box)
        where.append(points)
        size.append(np.clip(smallest * radius / radius.min(initial=np.inf), smallest, largest))
    curves = (_rim(gmsh, tag, box) if flat else _edges(gmsh, tag, crack, smallest, box) for tag in tags)
    for curve in sorted({curve for found in curves for curve in found}):
        points, sizes = _along(gmsh, curve, smallest)
        where.append(points)
        size.append(sizes)
    return np.concatenate(where), np.concatenate(size)


def _whole(case: Case, surfaces: dict[str, list[int]], name: str) -> list[int]:
    """Surfaces of a crack with those of the regions on it."""
    parts = [name, *(region.name for region in case.regions if region.on == name)]
    return [tag for part in parts for tag in surfaces.get(part, [])]


def _further_sources(
    gmsh: Any, case: Case, model: Model, smallest: float, largest: float, box: Floats
) -> Iterator[Sources]:
    """Points and sizes on the outlines of regions, and on curved surfaces inside the electrolyte."""
    for region in case.regions:
        tags = model.surfaces.get(region.name, [])
        curves = model.outlines.get(region.name) or [c for tag in tags for c in _rim(gmsh, tag, box)]
        for curve in sorted(set(curves)):
            yield _along(gmsh, curve, smallest)
    points, radius = _radii(gmsh, model.inner, box)
    yield points, np.clip(radius / ROUND, smallest, largest)


def _along(gmsh: Any, curve: int, size: float) -> Sources:
    """Points along a curve, half the size apart, that ask for the size."""
    low, high = gmsh.model.getParametrizationBounds(1, curve)
    count = int(np.clip(2 * gmsh.model.occ.getMass(1, curve) / size, 10, 5000))
    places = np.array(gmsh.model.getValue(1, curve, np.linspace(low[0], high[0], count))).reshape(-1, 3)
    return places, np.full(count, size)


def _set_sizes(
    gmsh: Any,
    sources: list[Sources],
    smallest: float,
    largest: float,
    grading: float,
    foci: list[tuple[Floats, float, float]],
    given: tuple[int, float] | None = None,
) -> None:
    """A background size field: the least over the sources of their size plus slope times distance.

    ``given`` is another field and its smallest value.
    """
    where, size = (
        np.concatenate([np.empty(shape), *part])
        for shape, part in zip(((0, 3), (0,)), zip(*sources, strict=True) if sources else ((), ()), strict=True)
    )
    level = np.floor(np.log2(size / smallest) * 2).astype(int)
    groups = [(where[level == step], 0.0, smallest * 2 ** (step / 2)) for step in np.unique(level)]
    field, fields = gmsh.model.mesh.field, [given[0]] if given is not None else []
    # The two kernels of gmsh number their points alike: without a number of its own, a point here is one of the shape.
    free = max((tag for _, tag in gmsh.model.getEntities(0)), default=0) + 1
    for centres, reach, asked in (*groups, *foci):
        tags = [gmsh.model.geo.addPoint(*p, tag=free + k) for k, p in enumerate(centres)]
        free += len(tags)
        gmsh.model.geo.synchronize()
        distance = field.add("Distance")
        field.setNumbers(distance, "PointsList", tags)
        ramp = field.add("MathEval")
        beyond = f"max(F{distance} - {float(reach)!r}, 0)"
        field.setString(ramp, "F", f"{float(asked)!r} + {float(grading - 1)!r} * {beyond}")
        fields.append(ramp)
    if fields:
        least = field.add("Min")
        field.setNumbers(least, "FieldsList", fields)
        field.setAsBackgroundMesh(least)
        gmsh.option.setNumber("Mesh.MeshSizeExtendFromBoundary", 0)
        gmsh.option.setNumber("Mesh.MeshSizeFromPoints", 0)
        gmsh.option.setNumber("Mesh.MeshSizeFromCurvature", 0)
    least_size = min([smallest, *(asked for _, _, asked in foci), *([given[1]] if given is not None else [])])
    gmsh.option.setNumber("Mesh.MeshSizeMin", 0.5 * least_size)
    gmsh.option.setNumber("Mesh.MeshSizeMax", largest)


def _radii(gmsh: Any, tags: list[int], box: Floats) -> Sources:
    """Sample points (n, 3) on the curved surfaces of a crack and their radius of curvature (n,)."""
    where, radius = [np.empty((0, 3))], [np.empty(0)]
    slack = 1e-6 * float(np.ptp(box, axis=0).max())
    for tag in tags:
        low, high = (np.array(v) for v in gmsh.model.getParametrizationBounds(2, tag))
        grid = np.stack(np.meshgrid(*(np.linspace(a, b, SAMPLES) for a, b in zip(low, high, strict=True))), axis=-1)
        parameters = grid.reshape(-1, 2).ravel()
        at = np.array(gmsh.model.getValue(2, tag, parameters)).reshape(-1, 3)
        curvature = np.array(gmsh.model.getCurvature(2, tag, parameters))
        inside = ((at >= box[0] - slack) & (at <= box[1] + slack)).all(axis=1)
        good = inside & np.isfinite(curvature) & (curvature > 0)
        where.append(at[good])
        radius.append(1 / curvature[good])
    return np.concatenate(where), np.concatenate(radius)


def _planes(gmsh: Any, dimension: int, tag: int, box: Floats) -> set[tuple[int, int]]:
    """Faces of the block, as (axis, side), that an entity lies in."""
    low, high = np.array(gmsh.model.getBoundingBox(dimension, tag)).reshape(2, 3)
    near = 1e-5 * float(np.ptp(box, axis=0).max())
    return {
        (axis, side)
        for axis in range(3)
        for side in range(2)
        if max(abs(low[axis] - box[side, axis]), abs(high[axis] - box[side, axis])) < near
    }


def _rim(gmsh: Any, sheet: int, box: Floats) -> list[int]:
    """Curves that bound a sheet inside the block: those on a face of the block that meets the sheet are no edge."""
    own = _planes(gmsh, 2, sheet, box)
    curves = [abs(tag) for _, tag in gmsh.model.getBoundary([(2, sheet)], oriented=False)]
    return [curve for curve in curves if not _planes(gmsh, 1, curve, box) - own]


def _edges(gmsh: Any, surface: int, crack: AnalyticCrack, smallest: float, box: Floats) -> list[int]:
    """Curves that bound a surface of a solid crack where the electrolyte spans more than two right angles.

    A wall is a mirror plane for lithium; for a void the electrodes are (with the sign of the potential turned),
    so that the angle at a curve in them counts twice.
    """
    mirrors = (0, 1) if crack.contents == "lithium" else (2,)
    (electrolyte,) = gmsh.model.getAdjacencies(2, surface)[0]
    turn = np.linspace(0, 2 * np.pi, PROBES, endpoint=False)[:, None] + np.pi / PROBES
    found = []
    for curve in (abs(tag) for _, tag in gmsh.model.getBoundary([(2, surface)], oriented=False)):
        low, high = gmsh.model.getParametrizationBounds(1, curve)
        middle = [(low[0] + high[0]) / 2]
        tangent = np.array(gmsh.model.getDerivative(1, curve, middle))
        if np.linalg.norm(tangent) < 1e-12:
            continue  # the pole of a sphere
        across = np.linalg.svd(tangent[None])[2][1:]
        ring = np.array(gmsh.model.getValue(1, curve, middle)) + 0.01 * smallest * (
            np.cos(turn) * across[0] + np.sin(turn) * across[1]
        )
        share = gmsh.model.isInside(3, electrolyte, ring.ravel()) / PROBES
        copies = 2 ** sum(axis in mirrors for axis, _ in _planes(gmsh, 1, curve, box))
        if 2 * np.pi * share * copies > SHARP:
            found.append(curve)
    return found


def _arrays(gmsh: Any, surfaces: dict[str, list[int]], unit: float, order: int, info: dict[str, Any]) -> MeshArrays:
    cell_type, facet_type = (4, 2) if order == 1 else (11, 9)
    node_tags, coordinates, _ = gmsh.model.mesh.getNodes()
    cells = np.asarray(gmsh.model.mesh.getElementsByType(cell_type)[1], dtype=np.int64)
    cells = cells.reshape(-1, 4 if order == 1 else 10)
    names = {name: tag for tag, name in enumerate(FACES, 1)}
    others = [name for name in surfaces if name not in FACES]
    names.update({name: CRACK_TAG + index for index, name in enumerate(others)})
    facets, tags = [], []
    for name, entities in surfaces.items():
        for entity in entities:
            nodes = np.asarray(gmsh.model.mesh.getElementsByType(facet_type, entity)[1], dtype=np.int64)
            facets.append(nodes.reshape(-1, 3 if order == 1 else 6))
            tags.append(np.full(len(facets[-1]), names[name], dtype=np.int32))
    used, _ = numbered(cells)  # the points that carry sizes are no part of the mesh
    place = np.empty(int(node_tags.max()) + 1, dtype=np.int64)
    place[np.asarray(node_tags, dtype=np.int64)] = np.arange(len(node_tags))
    row = np.full(int(node_tags.max()) + 1, -1, dtype=np.int64)
    row[used] = np.arange(len(used))
    points = np.asarray(coordinates, dtype=float).reshape(-1, 3)[place[used]]
    return MeshArrays(points, row[cells], row[np.concatenate(facets)], np.concatenate(tags), names, unit, info)
