"""Mesh a block with cracks of closed form through gmsh's CAD kernel, nodes on the true surfaces."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fem_spall.crack.base import AnalyticCrack, Block
from fem_spall.errors import GeometryError, MeshingError
from fem_spall.mesh.arrays import FACES, MeshArrays
from fem_spall.mesh.curved import untangled
from fem_spall.mesh.embed import CRACK_TAG
from fem_spall.mesh.focus import Focus
from fem_spall.mesh.tetrahedralise import ALGORITHMS, gmsh_session, remove_slivers

__all__ = ["mesh_shapes", "triangulate_shape"]

type Entities = list[tuple[int, int]]

#: Samples along each parameter of a curved surface that carry a size.
SAMPLES = 60


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
) -> MeshArrays:
    """Return tetrahedra of the block minus the shapes.

    The size is ``size_min`` at the sharpest place of each crack (rim, tip), in proportion to the radius of
    curvature elsewhere on it, and grows by ``grading`` a cell up to ``size_max``; the foci may ask for less.
    Lengths in mesh units, those of the foci in m.

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
        _set_sizes(
            gmsh,
            surfaces,
            size_min,
            size_max,
            grading,
            [(f.centres / unit, f.radius / unit, f.size / unit) for f in foci],
            np.array([[0.0, 0.0, 0.0], block.size]) / unit,
        )
        gmsh.option.setNumber("Mesh.Algorithm3D", ALGORITHMS[algorithm])
        gmsh.option.setNumber("Mesh.Optimize", 1)
        gmsh.model.mesh.generate(3)
        remove_slivers(gmsh, 0.1)
        if order == 2:
            gmsh.model.mesh.setOrder(2)
        mesh = _arrays(gmsh, surfaces, unit, order, info)
    return untangled(mesh) if order == 2 else mesh


def triangulate_shape(
    block: Block, crack: AnalyticCrack, unit: float, size_min: float, size_max: float
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Triangles of one shape, outward oriented, for cases that mix closed forms and reconstructed surfaces.

    Vertices (n, 3) float in mesh units and faces (m, 3) int.
    """
    with gmsh_session() as gmsh:
        shape = crack.add_shape(gmsh.model.occ, block, unit)
        gmsh.model.occ.synchronize()
        if shape[0][0] != 3:
            raise GeometryError(
                15, f"crack {crack.name}", "has no thickness, and a sheet cannot be mixed with reconstructed surfaces",
                "give it an opening",
            )  # fmt: skip
        tags = [abs(tag) for _, tag in gmsh.model.getBoundary(shape, oriented=False)]
        box = crack.extent(block) / unit
        _set_sizes(gmsh, {crack.name: tags}, size_min, size_max, 1.3, [], box)
        gmsh.model.mesh.generate(2)
        node_tags, coordinates, _ = gmsh.model.mesh.getNodes()
        nodes = np.asarray(gmsh.model.mesh.getElementsByType(2)[1], dtype=np.int64).reshape(-1, 3)
    used, faces = np.unique(nodes, return_inverse=True)
    place = np.empty(int(node_tags.max()) + 1, dtype=np.int64)
    place[np.asarray(node_tags, dtype=np.int64)] = np.arange(len(node_tags))
    points = np.asarray(coordinates, dtype=float).reshape(-1, 3)[place[used]]
    faces = faces.reshape(-1, 3)
    a, b, c = np.moveaxis(points[faces], 1, 0)
    if np.einsum("ij,ij->", a - points[0], np.cross(b - points[0], c - points[0])) < 0:
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
    inside = {tag for _, tag in gmsh.model.getEntities(2)}
    inside -= {abs(tag) for _, tag in gmsh.model.getBoundary([(3, b) for b in bodies], combined=False, oriented=False)}
    surfaces: dict[str, list[int]] = {}
    taken: set[int] = set()
    start = 1
    for crack, shape in zip(cracks, shapes, strict=True):
        own: set[int] = set()
        for part in pieces[start : start + len(shape)]:
            volumes = [(3, tag) for dim, tag in part if dim == 3]
            own |= {abs(t) for _, t in gmsh.model.getBoundary(volumes, combined=False, oriented=False)} & boundary
            own |= {
                t for dim, t in part if dim == 2 and (t in boundary or (t in inside and _within(occ, t, block, unit)))
            }
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


def _within(occ: Any, surface: int, block: Block, unit: float) -> bool:
    """Whether a piece of a sheet lies in the block, its boundary included."""
    centre = np.array(occ.getCenterOfMass(2, surface)) * unit
    slack = 1e-6 * block.height
    return bool((centre > -slack).all() and (centre < np.array(block.size) + slack).all())


def _face_name(gmsh: Any, surface: int, block: Block, unit: float) -> str:
    low, high = np.array(gmsh.model.getBoundingBox(2, surface)).reshape(2, 3)
    size = np.array(block.size) / unit
    for name, (axis, side) in FACES.items():
        plane = size[axis] * side
        if max(abs(low[axis] - plane), abs(high[axis] - plane)) < 1e-5 * size.max():
            return name
    raise MeshingError(33, "gmsh", f"surface {surface} belongs to no face and no crack", "report this case")


def _set_sizes(
    gmsh: Any,
    surfaces: dict[str, list[int]],
    smallest: float,
    largest: float,
    grading: float,
    foci: list[tuple[NDArray[np.float64], float, float]],
    box: NDArray[np.float64],
) -> None:
    """A background size field: the least over sample points of their size plus slope times distance."""
    points, sizes = [np.empty((0, 3))], [np.empty(0)]
    for name in (name for name in surfaces if name not in FACES):
        where, radius = _radii(gmsh, surfaces[name], smallest, box)
        if radius.size == 0:
            continue
        points.append(where)
        sizes.append(np.clip(smallest * radius / radius.min(), smallest, largest))
    where, size = np.concatenate(points), np.concatenate(sizes)
    field = gmsh.model.mesh.field
    fields = []
    level = np.floor(np.log2(size / smallest) * 2).astype(int)
    for step in np.unique(level):
        tags = [gmsh.model.geo.addPoint(*p) for p in where[level == step]]
        distance = field.add("Distance")
        field.setNumbers(distance, "PointsList", tags)
        gmsh.model.geo.synchronize()
        ramp = field.add("MathEval")
        start = float(smallest * 2 ** (step / 2))
        field.setString(ramp, "F", f"{start!r} + {float(grading - 1)!r} * F{distance}")
        fields.append(ramp)
    for centres, reach, asked in foci:
        tags = [gmsh.model.geo.addPoint(*p) for p in centres]
        distance = field.add("Distance")
        field.setNumbers(distance, "PointsList", tags)
        gmsh.model.geo.synchronize()
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
    gmsh.option.setNumber("Mesh.MeshSizeMin", 0.5 * min([smallest, *(asked for _, _, asked in foci)]))
    gmsh.option.setNumber("Mesh.MeshSizeMax", largest)


def _radii(
    gmsh: Any, tags: list[int], smallest: float, box: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sample points on a crack and their radius of curvature; on a flat sheet, points of its rim with radius 1."""
    where: list[NDArray[np.float64]] = []
    radius: list[NDArray[np.float64]] = []
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
    if sum(len(r) for r in radius) == 0:
        for tag in tags:
            for curve in _rim(gmsh, tag, box):
                low, high = gmsh.model.getParametrizationBounds(1, curve)
                length = gmsh.model.occ.getMass(1, curve)
                count = int(np.clip(2 * length / smallest, 10, 5000))
                along = np.linspace(low[0], high[0], count)
                where.append(np.array(gmsh.model.getValue(1, curve, along)).reshape(-1, 3))
                radius.append(np.ones(count))
    return np.concatenate(where), np.concatenate(radius)


def _rim(gmsh: Any, sheet: int, box: NDArray[np.float64]) -> list[int]:
    """Curves that bound a sheet inside the block: those on a face of the block that meets the sheet are no edge."""

    def planes(dimension: int, tag: int) -> set[tuple[int, int]]:
        low, high = np.array(gmsh.model.getBoundingBox(dimension, tag)).reshape(2, 3)
        near = 1e-5 * float(np.ptp(box, axis=0).max())
        return {
            (axis, side)
            for axis in range(3)
            for side in range(2)
            if max(abs(low[axis] - box[side, axis]), abs(high[axis] - box[side, axis])) < near
        }

    own = planes(2, sheet)
    curves = [abs(tag) for _, tag in gmsh.model.getBoundary([(2, sheet)], oriented=False)]
    return [curve for curve in curves if not planes(1, curve) - own]


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
