"""Regions on a boundary of triangles: triangles are divided along their outlines and named after them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from fem_spall.case import Case
from fem_spall.crack.mesh_readers import read_mesh
from fem_spall.crack.surface_file import in_metres
from fem_spall.mesh.arrays import FACES, MeshArrays
from fem_spall.mesh.tagged_surface import TaggedSurface, facet_edges, split_edges
from fem_spall.region import Band, FaceRegion, Facets, Mask, covers

__all__ = ["near_file", "outlines_of", "region_areas", "with_facets", "with_regions"]

type Floats = NDArray[np.float64]
type Ints = NDArray[np.int64]

#: Points this close to an edge or a vertex, as a part of the block, are on it.
ON = 1e-9


def with_regions(surface: TaggedSurface, case: Case) -> TaggedSurface:
    """Return the boundary with the regions of a case named, divided along their outlines.

    Raises
    ------
    GeometryError
        If a region meets nothing of the surface that it is on.
    """
    first = max(surface.names.values()) + 1
    for tag, region in enumerate(case.regions, first):
        on = case.surface_of(region)
        owner = surface.names[on]
        if isinstance(region, FaceRegion):
            pieces = region.outlines(case.block, case.mesh.size_min)
            pieces = [[loop / surface.unit for loop in piece] for piece in pieces]
            for loop in (loop for piece in pieces for loop in piece):
                surface = _along_polygon(surface, owner, loop)
            chosen = covers(pieces, surface.vertices[surface.faces].mean(axis=1)[:, :2])
        elif isinstance(region, Band):
            for depth in region.depth:
                surface = _along_depth(surface, owner, case, depth)
            middle = case.block.depth(surface.vertices[surface.faces].mean(axis=1) * surface.unit)
            chosen = (middle > region.depth[0]) & (middle < region.depth[1])
        else:
            assert isinstance(region, Facets)
            chosen = near_file(region, surface.vertices[surface.faces].mean(axis=1) * surface.unit)
        chosen &= surface.tags == owner
        if not chosen.any():
            raise region.lost()
        surface = replace(
            surface,
            tags=np.where(chosen, tag, surface.tags).astype(np.int32),
            names={**surface.names, region.name: tag},
            parts={**surface.parts, region.name: on},
        )
    return surface


def outlines_of(surface: TaggedSurface) -> Ints:
    """Edges (e, 2) between a region on a face and what is not of it; walls of cracks are fine anyway."""
    own = [surface.names[name] for name, whole in surface.parts.items() if whole in FACES]
    edges, index = facet_edges(surface.faces)
    low, high = np.full(len(edges), np.iinfo(np.int32).max), np.full(len(edges), -1)
    np.minimum.at(low, index.ravel(), np.repeat(surface.tags, 3))
    np.maximum.at(high, index.ravel(), np.repeat(surface.tags, 3))
    return np.asarray(edges[(low != high) & (np.isin(low, own) | np.isin(high, own))])


def with_facets(mesh: MeshArrays, case: Case) -> MeshArrays:
    """Return the mesh with the facets of regions given by a file named, where it does not follow their outlines."""
    tags, names = mesh.tags.copy(), dict(mesh.names)
    middle = mesh.points[mesh.facets[:, :3]].mean(axis=1) * mesh.unit
    for region in case.regions:
        if isinstance(region, Facets):
            chosen = (tags == names[case.surface_of(region)]) & near_file(region, middle)
            if not chosen.any():
                raise region.lost()
            names[region.name] = max(names.values()) + 1
            tags[chosen] = names[region.name]
    return replace(mesh, tags=tags, names=names)


def near_file(region: Facets, points: Floats) -> NDArray[np.bool_]:
    """Which points (n, 3), m, are nearer to the surface of a file than the region says."""
    import igl

    raw = read_mesh(region.file)
    given = in_metres(raw.vertices, region.unit)
    scale = region.within
    squares = igl.point_mesh_squared_distance(points / scale, given / scale, np.ascontiguousarray(raw.faces))[0]
    return np.asarray(squares < 1)


def _along_depth(surface: TaggedSurface, owner: int, case: Case, depth: float) -> TaggedSurface:
    """Divide the triangles of one surface along a plane of that depth, m."""
    level = (case.block.depth(surface.vertices * surface.unit) - depth) / surface.unit
    return _divided(surface, owner, level, lambda places: np.ones(len(places), dtype=bool))


def _along_polygon(surface: TaggedSurface, owner: int, corners: Floats) -> TaggedSurface:
    """Divide the triangles of one face of the block along a polygon (n, 2), whose corners become vertices."""
    near = _around(surface, owner)
    patch = replace(
        surface, faces=surface.faces[near], tags=surface.tags[near],
        thin=surface.thin[near] if surface.thin is not None else None,
    )  # fmt: skip
    for corner in corners:
        patch = _with_vertex(patch, owner, corner)
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        along = end - start
        length = float(np.linalg.norm(along))
        off = patch.vertices[:, :2] - start
        level = (along[0] * off[:, 1] - along[1] * off[:, 0]) / length

        patch = _divided(patch, owner, level, partial(_between, start, along))
    thin = None
    if surface.thin is not None and patch.thin is not None:
        thin = np.concatenate([surface.thin[~near], patch.thin])
    return replace(
        surface,
        vertices=patch.vertices,
        faces=np.concatenate([surface.faces[~near], patch.faces]),
        tags=np.concatenate([surface.tags[~near], patch.tags]),
        thin=thin,
    )


def _between(start: Floats, along: Floats, places: Floats) -> NDArray[np.bool_]:
    """Which places (k, 3) lie between the two ends of a side, (k,) bool."""
    part = (places[:, :2] - start) @ along / (along @ along)
    return np.asarray((part > 0) & (part < 1))


def _around(surface: TaggedSurface, owner: int) -> NDArray[np.bool_]:
    """Triangles of one surface and those that share an edge with it."""
    _, index = facet_edges(surface.faces)
    own = surface.tags == owner
    touched = np.zeros(int(index.max(initial=-1)) + 1, dtype=bool)
    touched[index[own]] = True
    return np.asarray(own | touched[index].any(axis=1))


def _divided(
    surface: TaggedSurface, owner: int, level: Floats, within: Callable[[Floats], NDArray[np.bool_]]
) -> TaggedSurface:
    """Divide triangles where the edges of one surface cross level zero of a function that is linear on them.

    ``level`` (n,) is a distance at the vertices, ``within`` says at which places (k, 3) edges are cut.
    """
    scale = float(np.ptp(surface.box, axis=0).max())
    level = np.where(np.abs(level) < ON * scale, 0.0, level)
    edges, index = facet_edges(surface.faces)
    own = np.zeros(len(edges), dtype=bool)
    own[index[surface.tags == owner]] = True
    a, b = level[edges].T
    cut = np.flatnonzero(own & (a * b < 0))
    part = (a[cut] / (a[cut] - b[cut]))[:, None]
    ends = surface.vertices[edges[cut]]
    places = ends[:, 0] + part * (ends[:, 1] - ends[:, 0])
    kept = within(places)
    split = np.zeros(len(edges), dtype=bool)
    split[cut[kept]] = True
    return split_edges(surface, split, places[kept]) if split.any() else surface


def _with_vertex(surface: TaggedSurface, owner: int, point: Floats) -> TaggedSurface:
    """The surface with a vertex at a point (2,) of a face of the block; unchanged where the face does not reach."""
    near = ON * float(np.ptp(surface.box, axis=0).max())
    own = np.flatnonzero(surface.tags == owner)
    corners = surface.vertices[surface.faces[own]][:, :, :2]
    sides = np.roll(corners, -1, axis=1) - corners
    off = point - corners
    length = np.maximum(np.linalg.norm(sides, axis=2), np.finfo(float).tiny)
    height = (sides[..., 0] * off[..., 1] - sides[..., 1] * off[..., 0]) / length
    turn = np.sign(sides[:, 0, 0] * sides[:, 1, 1] - sides[:, 0, 1] * sides[:, 1, 0])
    height *= turn[:, None]  # inside all are positive, whichever way the face looks
    hit = np.flatnonzero((height > -near).all(axis=1))
    if not hit.size or (np.linalg.norm(off[hit], axis=2) < near).any():
        return surface
    row = int(hit[0])
    triangle, place = surface.faces[own[row]], np.append(point, surface.vertices[surface.faces[own[row], 0], 2])
    on = np.flatnonzero(height[row] < near)
    if on.size:  # on a side, which may belong to two triangles
        edges, _ = facet_edges(surface.faces)
        split = np.zeros(len(edges), dtype=bool)
        ends = np.sort([triangle[on[0]], triangle[(on[0] + 1) % 3]])
        split[int(np.flatnonzero((edges == ends).all(axis=1))[0])] = True
        return split_edges(surface, split, place[None])
    new = len(surface.vertices)
    fans = np.array([[triangle[k], triangle[(k + 1) % 3], new] for k in range(3)])
    keep = np.arange(len(surface.faces)) != own[row]
    thin = surface.thin
    return replace(
        surface,
        vertices=np.concatenate([surface.vertices, place[None]]),
        faces=np.concatenate([surface.faces[keep], fans]),
        tags=np.concatenate([surface.tags[keep], np.full(3, owner, dtype=np.int32)]),
        thin=np.concatenate([thin[keep], np.zeros(3, dtype=bool)]) if thin is not None else None,
    )


def region_areas(case: Case, areas: dict[str, float]) -> dict[str, float]:
    """Return the areas of regions before they are meshed, m^2, picked from ``areas``; of a mask that of its pixels."""
    result = {region.name: areas[region.name] for region in case.regions if region.name in areas}
    return result | {region.name: region.pixel_area() for region in case.regions if isinstance(region, Mask)}
