"""The block, cracks, regions and inner pieces of closed form as a CAD model: the electrolyte and its named surfaces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from fem_spall.case import Case
from fem_spall.crack.base import AnalyticCrack, Block
from fem_spall.errors import GeometryError, MeshingError
from fem_spall.mesh.arrays import FACES
from fem_spall.microstructure import Parts
from fem_spall.region import Band, FaceRegion

__all__ = ["Model", "cut_model"]

type Entities = list[tuple[int, int]]


class Tool(NamedTuple):
    """Shapes of one crack or region in the model: ``thin`` ones are pieces of surface."""

    name: str
    shape: Entities
    thin: bool
    short: bool  # lithium that must not reach the counter electrode


@dataclass(frozen=True)
class Model:
    """The electrolyte in a CAD model.

    ``surfaces`` has the tags of its named surfaces; ``thin`` the names of those that are sheets or pieces of a face;
    ``inner`` the tags of the curved surfaces of pieces inside; ``outlines`` the curves round bands of walls;
    ``volume`` and ``areas`` in mesh units.
    """

    surfaces: dict[str, list[int]]
    thin: frozenset[str]
    inner: list[int]
    outlines: dict[str, list[int]]
    volume: float
    areas: dict[str, float]


def cut_model(gmsh: Any, case: Case, cracks: Sequence[AnalyticCrack], unit: float) -> Model:
    """Split block and shapes along each other, keep the electrolyte.

    Raises
    ------
    GeometryError
        If a crack or region misses the block, or a crack joins the electrodes.
    """
    occ, block = gmsh.model.occ, case.block
    solid = [(3, occ.addBox(0, 0, 0, *(s / unit for s in block.size)))]
    tools = [_crack_tool(occ, case, crack, unit) for crack in cracks]
    tools += [_region_tool(occ, case, region, unit) for region in case.regions if isinstance(region, FaceRegion)]
    conductivity = case.electrolyte.conductivity
    pieces = conductivity.parts if isinstance(conductivity, Parts) else ()
    inside = [piece.add_shape(occ, block.size, unit) for piece in pieces]
    inside = occ.intersect(inside, solid, removeTool=False)[0] if inside else []
    shapes = [entity for tool in tools for entity in tool.shape]
    found = occ.fragment(solid, [*shapes, *inside])[1] if shapes or inside else [solid]
    occ.synchronize()
    mapped = found[1 : 1 + len(shapes)]
    bodies = {tag for part in mapped for dim, tag in part if dim == 3}
    electrolyte = [(3, tag) for dim, tag in found[0] if dim == 3 and tag not in bodies]
    if len(electrolyte) != 1 and not (electrolyte and inside):
        raise GeometryError(
            13, "cracks", f"leave {len(electrolyte)} electrolyte bodies instead of one",
            "move the cracks so that they neither fill the block nor cut it in two",
        )  # fmt: skip
    surfaces = _named(gmsh, electrolyte, tools, mapped, case, unit)
    _refuse_short_circuit(gmsh, surfaces, tools, block)
    _band_names(gmsh, surfaces, case, unit)
    inner, outlines = _inner(gmsh, electrolyte, surfaces), _outlines(gmsh, surfaces, case)
    keep = {t for tags in (*surfaces.values(), _walls(gmsh, electrolyte)) for t in tags}
    model = Model(
        surfaces, frozenset(tool.name for tool in tools if tool.thin), inner, outlines,
        sum(occ.getMass(*body) for body in electrolyte),
        {name: sum(occ.getMass(2, t) for t in tags) for name, tags in surfaces.items()},
    )  # fmt: skip
    occ.remove([(3, tag) for tag in sorted(bodies)], recursive=True)
    occ.remove([e for e in occ.getEntities(2) if e[1] not in keep], recursive=True)
    occ.synchronize()
    return model


def _crack_tool(occ: Any, case: Case, crack: AnalyticCrack, unit: float) -> Tool:
    """A crack, its solid in slices where bands of its wall begin and end."""
    shape = crack.add_shape(occ, case.block, unit)
    thin = shape[0][0] == 2
    bands = [region for region in case.regions if isinstance(region, Band) and region.on == crack.name]
    if bands and thin:
        raise GeometryError(
            73, f"region {bands[0].name}", f"is on {crack.name}, which has no thickness", "give the crack an opening"
        )
    if bands:
        size = max(case.block.size) / unit
        depths = np.array(sorted({depth for band in bands for depth in band.depth}))
        heights = np.sort(case.block.from_depth(np.stack([0 * depths, 0 * depths, depths], axis=1))[:, 2] / unit)
        ends = [-size, *heights.tolist(), 2 * size]
        slices: Entities = []
        for low, high in pairwise(ends):
            slab = [(3, occ.addBox(-size, -size, low, 3 * size, 3 * size, high - low))]
            slices += occ.intersect(occ.copy(shape), slab)[0]
        occ.remove(shape, recursive=True)
        shape = slices
    return Tool(crack.name, shape, thin, crack.contents == "lithium")


def _region_tool(occ: Any, case: Case, region: FaceRegion, unit: float) -> Tool:
    axis, side = FACES[case.surface_of(region)]
    plane = case.block.size[axis] / unit * side
    return Tool(region.name, region.add_shape(occ, case.block, case.mesh.size_min, unit, plane), True, False)


def _walls(gmsh: Any, electrolyte: Entities) -> set[int]:
    """All surfaces of the bodies of the electrolyte, those between two of them included."""
    return {abs(tag) for _, tag in gmsh.model.getBoundary(electrolyte, combined=False, oriented=False)}


def _named(
    gmsh: Any, electrolyte: Entities, tools: list[Tool], mapped: list[Entities], case: Case, unit: float
) -> dict[str, list[int]]:
    """Surfaces of the electrolyte by name: of cracks and regions, first come, first served, then of the faces."""
    boundary = {abs(tag) for _, tag in gmsh.model.getBoundary(electrolyte, oriented=False)}
    # Sheets have electrolyte on both sides.
    boundary |= {tag for body in electrolyte for dim, tag in gmsh.model.mesh.getEmbedded(*body) if dim == 2}
    surfaces: dict[str, list[int]] = {}
    taken: set[int] = set()
    start = 0
    for tool in tools:
        own: set[int] = set()
        for part in mapped[start : start + len(tool.shape)]:
            volumes = [(3, tag) for dim, tag in part if dim == 3]
            own |= {abs(t) for _, t in gmsh.model.getBoundary(volumes, combined=False, oriented=False)} & boundary
            own |= {tag for dim, tag in part if dim == 2} & boundary
        start += len(tool.shape)
        own -= taken
        taken |= own
        if not own:
            for region in case.regions:
                if region.name == tool.name:
                    raise region.lost()
            raise GeometryError(11, f"crack {tool.name}", "does not meet the block", "check its centre and size")
        surfaces[tool.name] = sorted(own)
    for tag in sorted(boundary - taken):
        surfaces.setdefault(_face_name(gmsh, tag, case.block, unit), []).append(tag)
    return surfaces


def _refuse_short_circuit(gmsh: Any, surfaces: dict[str, list[int]], tools: list[Tool], block: Block) -> None:
    counter = "-z" if block.plating_face == "+z" else "+z"
    edge = _rims(gmsh, surfaces.get(counter, []))
    for tool in tools:
        if tool.short and edge & _rims(gmsh, surfaces[tool.name]):
            raise GeometryError(
                14, f"crack {tool.name}", "reaches the counter electrode: a short circuit",
                "move it, or make the block higher",
            )  # fmt: skip


def _rims(gmsh: Any, tags: list[int]) -> set[int]:
    """Curves that bound any of some surfaces."""
    return {abs(c) for tag in tags for _, c in gmsh.model.getBoundary([(2, tag)], oriented=False)}


def _band_names(gmsh: Any, surfaces: dict[str, list[int]], case: Case, unit: float) -> None:
    """Give bands the pieces of the walls between their depths; in place."""
    for region in case.regions:
        if not isinstance(region, Band):
            continue
        middles = np.array([gmsh.model.occ.getCenterOfMass(2, tag) for tag in surfaces[region.on]]).reshape(-1, 3)
        depth = case.block.depth(middles * unit)
        inside = (depth > region.depth[0]) & (depth < region.depth[1])
        own = [tag for tag, there in zip(surfaces[region.on], inside, strict=True) if there]
        if not own:
            raise region.lost()
        surfaces[region.on] = [tag for tag in surfaces[region.on] if tag not in own]
        surfaces[region.name] = own


def _inner(gmsh: Any, electrolyte: Entities, surfaces: dict[str, list[int]]) -> list[int]:
    """Curved surfaces between bodies of the electrolyte."""
    named = {tag for tags in surfaces.values() for tag in tags}
    between = sorted(_walls(gmsh, electrolyte) - named)
    return [tag for tag in between if gmsh.model.getType(2, tag) != "Plane"]


def _outlines(gmsh: Any, surfaces: dict[str, list[int]], case: Case) -> dict[str, list[int]]:
    """Curves between each band and the rest of its wall."""
    return {
        region.name: sorted(_rims(gmsh, surfaces[region.name]) & _rims(gmsh, surfaces[region.on]))
        for region in case.regions if isinstance(region, Band)
    }  # fmt: skip


def _face_name(gmsh: Any, surface: int, block: Block, unit: float) -> str:
    low, high = np.array(gmsh.model.getBoundingBox(2, surface)).reshape(2, 3)
    size = np.array(block.size) / unit
    for name, (axis, side) in FACES.items():
        plane = size[axis] * side
        if max(abs(low[axis] - plane), abs(high[axis] - plane)) < 1e-5 * size.max():
            return name
    raise MeshingError(33, "gmsh", f"surface {surface} belongs to no face and no crack", "report this case")
