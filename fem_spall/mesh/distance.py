"""How far a meshed surface is from the given one, and where."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fem_spall.crack.triangles import numbered, unique_corners, weld
from fem_spall.mesh.arrays import MeshArrays
from fem_spall.mesh.tagged_surface import CRACK_TAG, TaggedSurface

__all__ = ["faces_near", "places_beyond", "surface_distance", "touched", "walls_beyond"]

type Floats = NDArray[np.float64]
type Ints = NDArray[np.int64]
type Bools = NDArray[np.bool_]


def surface_distance(mesh: MeshArrays, tags: list[int], boundary: TaggedSurface) -> tuple[float, float]:
    """Largest and 99th-percentile distance, m, between a meshed crack (by its tags) and its surface in the boundary.

    Vertices and centroids of either surface against the triangles of the other.
    """
    facets = mesh.facets[np.isin(mesh.tags, tags)][:, :3]
    faces = boundary.faces[np.isin(boundary.tags, tags)]
    both = np.concatenate([
        _distances(_samples(mesh.points, facets), boundary.vertices, faces),
        _distances(_samples(boundary.vertices, faces), mesh.points, facets),
    ])  # fmt: skip
    return float(both.max()) * mesh.unit, float(np.quantile(both, 0.99)) * mesh.unit


def places_beyond(given: TaggedSurface, other: TaggedSurface, distance: float) -> Floats:
    """Sampled places (p, 3) of the cracks of two boundaries that are further than that from the other; mesh units."""
    found = [np.empty((0, 3))]
    for tags in _cracks(given):
        one, two = ((b.vertices, b.faces[np.isin(b.tags, tags)]) for b in (given, other))
        if len(one[1]) == 0 or len(two[1]) == 0:
            continue
        own = _unshared(one, two)
        for (points, faces), new, against in ((one, own[0], two), (two, own[1], one)):
            if new.any():
                places = _samples(points, faces[new])
                found.append(places[_distances(places, *against) > distance])
    return np.concatenate(found)


def walls_beyond(surface: TaggedSurface, given: TaggedSurface, distance: float) -> tuple[Ints, Floats]:
    """Return where a surface should be: triangles of its cracks (p,) and places (p, 3) near each, the furthest first.

    Those are samples of the given surface that are further than that from it, mesh units, and for its own samples what
    is nearest to them in the given one.
    """
    import igl

    found = [(np.empty(0), np.empty(0, dtype=np.int64), np.empty((0, 3)))]
    for tags in _cracks(given):
        own = np.flatnonzero(np.isin(surface.tags, tags))
        mine, theirs = surface.faces[own], given.faces[np.isin(given.tags, tags)]
        if len(mine) == 0 or len(theirs) == 0:
            continue
        places = _samples(given.vertices, theirs)
        squares, nearest, _ = igl.point_mesh_squared_distance(places, surface.vertices, mine)
        found.append((squares, own[nearest], places))
        corners = surface.vertices[mine]
        places = np.concatenate([corners.mean(axis=1), *(corners[:, k] for k in range(3))])
        squares, _, feet = igl.point_mesh_squared_distance(places, given.vertices, theirs)
        found.append((squares, np.tile(own, 4), feet))
    squares, triangle, place = (np.concatenate(rows) for rows in zip(*found, strict=True))
    order = np.argsort(-squares, kind="stable")
    order = order[squares[order] > distance**2]
    return triangle[order], place[order]


def _cracks(surface: TaggedSurface) -> list[list[int]]:
    """Tags of each crack, those of the regions on it included."""
    names = [name for name, tag in surface.names.items() if tag >= CRACK_TAG and name not in surface.parts]
    return [surface.tags_of(name) for name in names]


def _unshared(one: tuple[Floats, Ints], two: tuple[Floats, Ints]) -> tuple[Bools, Bools]:
    """Which triangles of two surfaces the other does not have as they are."""
    place = weld(np.concatenate([one[0], two[0]]))[1]
    index = unique_corners(np.concatenate([place[: len(one[0])][one[1]], place[len(one[0]) :][two[1]]]))[1]
    mine, theirs = index[: len(one[1])], index[len(one[1]) :]
    return ~np.isin(mine, theirs), ~np.isin(theirs, mine)


def faces_near(surface: TaggedSurface, places: Floats) -> Bools:
    """Which triangles of the cracks are nearest to some places (p, 3), (m,) bool."""
    import igl

    near = np.zeros(len(surface.faces), dtype=bool)
    own = np.flatnonzero(surface.on_cracks)
    if len(places):
        near[own[igl.point_mesh_squared_distance(places, surface.vertices, surface.faces[own])[1]]] = True
    return near


def touched(surface: TaggedSurface, faces: Bools) -> Bools:
    """Some triangles and all that share a vertex with one of them, (m,) bool."""
    near = np.zeros(len(surface.vertices), dtype=bool)
    near[surface.faces[faces]] = True
    return np.asarray(near[surface.faces].any(axis=1))


def _samples(points: Floats, faces: Ints) -> Floats:
    return np.concatenate([points[numbered(faces)[0]], points[faces].mean(axis=1)])


def _distances(places: Floats, points: Floats, faces: Ints) -> Floats:
    import igl

    return np.asarray(np.sqrt(igl.point_mesh_squared_distance(places, points, faces)[0]))
