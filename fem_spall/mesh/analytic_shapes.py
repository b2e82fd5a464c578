"""Mesh a block with cracks of closed form through gmsh's CAD kernel, nodes on the true surfaces."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fem_spall.crack.base import AnalyticCrack, Block
from fem_spall.errors import GeometryError, MeshingError
from fem_spall.mesh.arrays import FACES, MeshArrays
from fem_spall.mesh.curved import flat_area_deficit, untangled
from fem_spall.mesh.focus import Focus
from fem_spall.mesh.sizes import SizeField
from fem_spall.mesh.tagged_surface import CRACK_TAG
from fem_spall.mesh.tetrahedralise import ALGORITHMS, add_sizes, gmsh_session, remove_slivers

__all__ = ["mesh_shapes", "triangulate_shape"]

type Entities = list[tuple[int, int]]
type Floats = NDArray[np.float64]
type Sources = tuple[Floats, Floats]

#: Samples along each parameter of a curved surface that carry a size.
SAMPLES = 60
#: Directions in which the angle at an edge is probed, and the angle of electrolyte above which it is sharp.
PROBES, SHARP = 72, np.deg2rad(190)


def mesh_shapes(
    block: Block,
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
        occ = gmsh.model.occ
        solid = [(3, occ.addBox(0, 0, 0, *(s / unit for s in block.size)))]
        shapes = [crack.add_shape(occ, block, unit) for crack in cracks]
        surfaces, info = _cut(gmsh, solid, cracks, shapes, block, unit)
        box = np.array([[0.0, 0.0, 0.0], block.size]) / unit
        sources = [
            _sources(gmsh, crack, surfaces[crack.name], shape[0][0] == 2, size_min, size_max, box)
            for crack, shape in zip(cracks, shapes, strict=True)
        ]
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
    used, faces = np.unique(nodes, return_inverse=True)
    place = np.empty(int(node_tags.max()) + 1, dtype=np.int64)
    place[np.asarray(node_tags, dtype=np.int64)] = np.arange(len(node_tags))
    points = np.asarray(coordinates, dtype=float).reshape(-1, 3)[place[used]]
    faces = faces.reshape(-1, 3)
    a, b, c = np.moveaxis(points[faces], 1, 0)
    if not thin and np.einsum("ij,ij->", a - points[0], np.cross(b - points[0], c - points[0])) < 0:
        faces = faces[:, ::-1]
    return points, faces


def _cut(
    gmsh: Any, solid: Entities, cracks: tuple[AnalyticCrack, ...], shapes: list[Entities], block: Block, unit: float
) -> tuple[dict[str, list[int]], dict[str, Any]]:
    """Split block and shapes along each other, keep the electrolyte; return its surfaces by name."""
    occ = gmsh.model.occ
    tools = [entity for shape in shapes for entity in shape]
    pieces = occ.fragment(solid, tools)[1] if tools else [solid]
    occ.synchronize()
    bodies = {tag for part in pieces[1:] for dim, tag in part if dim == 3}
    electrolyte = [(3, tag) for dim, tag in pieces[0] if dim == 3 and tag not in bodies]
    if len(electrolyte) != 1:
        raise GeometryError(
            13, "cracks", f"leave {len(electrolyte)} electrolyte bodies instead of one",
            "move the cracks so that they neither fill the block nor cut it in two",
        )  # fmt: skip
    boundary = {abs(tag) for _, tag in gmsh.model.getBoundary(electrolyte, oriented=False)}
    # Sheets have electrolyte on both sides.
    boundary |= {tag for dim, tag in gmsh.model.mesh.getEmbedded(*electrolyte[0]) if dim == 2}
    surfaces: dict[str, list[int]] = {}
    taken: set[int] = set()
    start = 1
    for crack, shape in zip(cracks, shapes, strict=True):
        own: set[int] = set()
        for part in pieces[start : start + len(shape)]:
            volumes = [(3, tag) for dim, tag in part if dim == 3]
            own |= {abs(t) for _, t in gmsh.model.getBoundary(volumes, combined=False, oriented=False)} & boundary
            own |= {tag for dim, tag in part if dim == 2} & boundary
        start += len(shape)
        own -= taken
        taken |= own
        if not own:
            raise GeometryError(11, f"crack {crack.name}", "does not meet the block", "check its centre and size")
        surfaces[crack.name] = sorted(own)
    for tag in sorted(boundary - taken):
        surfaces.setdefault(_face_name(gmsh, tag, block, unit), []).append(tag)
    counter = "-z" if block.plating_face == "+z" else "+z"
    edge = {abs(c) for s in surfaces.get(counter, []) for _, c in gmsh.model.getBoundary([(2, s)], oriented=False)}
    for crack in cracks:
        rim = {abs(c) for s in surfaces[crack.name] for _, c in gmsh.model.getBoundary([(2, s)], oriented=False)}
        if crack.contents == "lithium" and rim & edge:
            raise GeometryError(
                14, f"crack {crack.name}", "reaches the counter electrode: a short circuit",
                "move it, or make the block higher",
            )  # fmt: skip
    keep = {t for tags in surfaces.values() for t in tags}
    info = {"cad_volume": occ.getMass(*electrolyte[0]), "cad_areas": {
        name: sum(occ.getMass(2, t) for t in tags) for name, tags in surfaces.items()
    }}  # fmt: skip
    occ.remove([(3, tag) for tag in sorted(bodies)], recursive=True)
    occ.remove([e for e in occ.getEntities(2) if e[1] not in keep], recursive=True)
    occ.synchronize()
    return surfaces, info


def _face_name(gmsh: Any, surface: int, block: Block, unit: float) -> str:
    low, high = np.array(gmsh.model.getBoundingBox(2, surface)).reshape(2, 3)
    size = np.array(block.size) / unit
    for name, (axis, side) in FACES.items():
        plane = size[axis] * side
        if max(abs(low[axis] - plane), abs(high[axis] - plane)) < 1e-5 * size.max():
            return name
    raise MeshingError(33, "gmsh", f"surface {surface} belongs to no face and no crack", "report this case")


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
        low, high = gmsh.model.getParametrizationBounds(1, curve)
        count = int(np.clip(2 * gmsh.model.occ.getMass(1, curve) / smallest, 10, 5000))
        where.append(np.array(gmsh.model.getValue(1, curve, np.linspace(low[0], high[0], count))).reshape(-1, 3))
        size.append(np.full(count, smallest))
    return np.concatenate(where), np.concatenate(size)


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
    cracks = [name for name in surfaces if name not in FACES]
    names.update({name: CRACK_TAG + index for index, name in enumerate(cracks)})
    facets, tags = [], []
    for name, entities in surfaces.items():
        for entity in entities:
            nodes = np.asarray(gmsh.model.mesh.getElementsByType(facet_type, entity)[1], dtype=np.int64)
            facets.append(nodes.reshape(-1, 3 if order == 1 else 6))
            tags.append(np.full(len(facets[-1]), names[name], dtype=np.int32))
    used = np.unique(cells)  # the points that carry sizes are no part of the mesh
    place = np.empty(int(node_tags.max()) + 1, dtype=np.int64)
    place[np.asarray(node_tags, dtype=np.int64)] = np.arange(len(node_tags))
    row = np.full(int(node_tags.max()) + 1, -1, dtype=np.int64)
    row[used] = np.arange(len(used))
    points = np.asarray(coordinates, dtype=float).reshape(-1, 3)[place[used]]
    return MeshArrays(points, row[cells], row[np.concatenate(facets)], np.concatenate(tags), names, unit, info)
