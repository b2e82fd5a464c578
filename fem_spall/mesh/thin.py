"""Sheets without thickness in the electrolyte: cut off at the block, and the block's faces divided along them."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fem_spall.crack.base import Repair
from fem_spall.crack.crossings import crossing_faces
from fem_spall.crack.repair import places
from fem_spall.crack.triangles import components, contains, numbered, unique_rows, weld
from fem_spall.errors import GeometryError, MeshingError
from fem_spall.mesh.arrays import FACES, triangle_areas
from fem_spall.mesh.tagged_surface import CRACK_TAG, TaggedSurface, facet_edges

__all__ = ["add_sheets", "rim_of"]

type Floats = NDArray[np.float64]
type Ints = NDArray[np.int64]

#: Half the width, as a part of the block, that a trace is opened by while a face is divided into triangles along it.
SLIT = 1e-7


def add_sheets(
    boundary: TaggedSurface, sheets: dict[str, tuple[Floats, Ints]], voids: frozenset[str], plating: str, snap: float
) -> TaggedSurface:
    """Return the boundary with sheets in it, its faces conforming to their traces.

    Parameters
    ----------
    boundary : TaggedSurface
        Closed boundary of the electrolyte; its names have a tag for every sheet.
    sheets : dict
        Vertices (n, 3), mesh units, and faces (m, 3) of each sheet by name.
    voids : frozenset of str
        Names of the cracks that hold no lithium.
    plating : str
        Name of the plating face.
    snap : float
        Vertices so near to a face of the block are put onto it, mesh units.

    Raises
    ------
    GeometryError
        If a sheet misses the electrolyte, meets another crack, lies in a face or joins the electrodes.
    """
    counter = "-z" if plating == "+z" else "+z"
    repairs = list(boundary.repairs)
    vertices, faces, tags = [boundary.vertices], [boundary.faces], [boundary.tags]
    thin = [np.zeros(len(boundary.faces), dtype=bool)]
    count = len(boundary.vertices)
    for name, (points, triangles) in sheets.items():
        where = f"crack {name}"
        for face, (axis, side) in FACES.items():
            at = float(boundary.box[side, axis])
            points, triangles, flush, moved = _clipped(points, triangles, axis, at, 2 * side - 1, snap)
            repairs += [Repair(f"sheet vertices moved onto the face {face}", moved)] if moved else []
            if len(flush):
                area = float(triangle_areas(flush).sum()) * boundary.unit**2
                _refuse_flush(where, face, name in voids, plating, len(flush))
                repairs.append(Repair(f"faces of a sheet in the face {face} dropped", len(flush), 0.0, -area))
        triangles = _in_electrolyte(points, triangles, boundary, where)
        vertices.append(points)
        faces.append(triangles + count)
        tags.append(np.full(len(triangles), boundary.names[name], dtype=np.int32))
        thin.append(np.ones(len(triangles), dtype=bool))
        count += len(points)
    welded, index = weld(np.concatenate(vertices))
    used, packed = numbered(index[np.concatenate(faces)])
    result = replace(
        boundary, vertices=welded[used], faces=packed, tags=np.concatenate(tags),
        thin=np.concatenate(thin), repairs=tuple(repairs),
    )  # fmt: skip
    _refuse_contact(result)
    for name in sorted(sheets.keys() - voids):
        own, ends = (np.unique(result.faces[result.tags == result.names[n]]) for n in (name, counter))
        if np.intersect1d(own, ends).size:
            raise GeometryError(
                14, f"crack {name}", "reaches the counter electrode: a short circuit",
                "move it, or make the block higher",
            )  # fmt: skip
    for face in FACES:
        result = _divided_face(result, face)
    used, packed = numbered(result.faces)
    return replace(result, vertices=result.vertices[used], faces=packed)


def rim_of(surface: TaggedSurface) -> Floats:
    """Ends of the edges of the sheets that electrolyte goes all the way round, (e, 2, 3) float, mesh units."""
    if surface.thin is None or not surface.thin.any():
        return np.empty((0, 2, 3))
    edges, index = facet_edges(surface.faces)
    count = np.bincount(index.ravel(), minlength=len(edges))
    own = np.unique(index[surface.thin])
    return np.asarray(surface.vertices[edges[own[count[own] == 1]]])


def _clipped(
    points: Floats, faces: Ints, axis: int, at: float, sign: int, snap: float
) -> tuple[Floats, Ints, Floats, int]:
    """What lies inside of a plane; the corners of faces in the plane, which go too; how many vertices were moved."""
    distance = sign * (points[:, axis] - at)
    near = np.abs(distance) <= snap
    moved = int((np.abs(distance[near]) > 1e-13 * float(np.abs(points).max())).sum())
    points = points.copy()
    points[near, axis] = at
    distance[near] = 0.0
    side = np.sign(distance[faces])
    flush = points[faces[(side == 0).all(axis=1)]]
    whole = faces[(side <= 0).all(axis=1) & (side < 0).any(axis=1)]
    cut = faces[(side > 0).any(axis=1) & (side < 0).any(axis=1)]
    sides = np.sort(cut[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    crossed = np.unique(sides[distance[sides[:, 0]] * distance[sides[:, 1]] < 0].reshape(-1, 2), axis=0)
    a, b = crossed.T
    new = points[a] + (distance[a] / (distance[a] - distance[b]))[:, None] * (points[b] - points[a])
    new[:, axis] = at
    number = {(i, j): len(points) + k for k, (i, j) in enumerate(crossed.tolist())}
    points = np.concatenate([points, new])
    pieces = []
    for face in cut.tolist():
        outline = []
        for i, j in zip(face, face[1:] + face[:1], strict=True):
            if distance[i] <= 0:
                outline.append(i)
            if (min(i, j), max(i, j)) in number:
                outline.append(number[min(i, j), max(i, j)])
        if len(outline) == 4:
            p = points[outline]
            if np.linalg.norm(p[0] - p[2]) > np.linalg.norm(p[1] - p[3]):
                outline = outline[1:] + outline[:1]
            pieces.append([outline[0], outline[2], outline[3]])
        pieces.append(outline[:3])
    return points, np.concatenate([whole, np.array(pieces, dtype=np.int64).reshape(-1, 3)]), flush, moved


def _refuse_flush(where: str, face: str, void: bool, plating: str, count: int) -> None:
    """Raise if faces of a sheet in a face of the block would mean something: they are dropped otherwise."""
    wall = face not in ("-z", "+z")
    if (wall and void) or (face == plating and not void):
        return  # insulator on insulator, lithium on lithium
    what = f"has {count} triangles in the face {face} of the block"
    if wall:
        raise GeometryError(65, where, f"{what}, an insulating wall", "move it into the block")
    if face == plating:
        raise GeometryError(65, where, f"{what}, the plating electrode", "use kind: patch for insulating dirt on it")
    raise GeometryError(65, where, f"{what}, the counter electrode", "move it into the block")


def _in_electrolyte(points: Floats, faces: Ints, boundary: TaggedSurface, where: str) -> Ints:
    """Faces of the parts of a cut sheet that lie in the electrolyte and not within another crack."""
    if len(faces) == 0:
        raise GeometryError(11, where, "has no face inside the block", "check its unit and place")
    part = components(faces)
    shell = boundary.vertices[boundary.faces]
    _, first = np.unique(part, return_index=True)
    inside = np.array([contains(shell, points[faces[k]].mean(axis=0)) for k in first])
    if not inside.any():
        raise GeometryError(
            16, where, "borders no electrolyte that carries current: it lies within another crack or in "
            "electrolyte that one cuts off", "leave it out or move it",
        )  # fmt: skip
    return np.asarray(faces[inside[part]])


def _refuse_contact(surface: TaggedSurface) -> None:
    """Raise if a sheet crosses another crack, or itself."""
    some = np.flatnonzero(surface.tags >= CRACK_TAG)
    pairs = some[crossing_faces(surface.vertices, surface.faces[some])]
    assert surface.thin is not None
    pairs = pairs[surface.thin[pairs].any(axis=1)]
    if len(pairs) == 0:
        return
    names = {tag: name for name, tag in surface.names.items()}
    tags = surface.tags[pairs[0]]
    if not surface.thin[pairs[0, 1]]:
        tags = tags[::-1]
    one, other = (names[int(tag)] for tag in tags)  # the other is a sheet
    points = surface.vertices[surface.faces[pairs[:, 0]]].mean(axis=1) * surface.unit
    raise GeometryError(
        66, f"crack {other}", f"runs through crack {one}, near {places(points)}" if one != other else
        f"runs through itself, near {places(points)}", "a sheet may meet the faces of the block only: cut it off there",
    )  # fmt: skip


def _divided_face(surface: TaggedSurface, face: str) -> TaggedSurface:
    """The boundary with one face of the block divided along the traces of the sheets on it."""
    assert surface.thin is not None
    axis, side = FACES[face]
    planes = np.stack([surface.vertices[:, a] == surface.box[s, a] for a, s in FACES.values()], axis=1)
    on = planes[:, list(FACES).index(face)]
    rims = planes.sum(axis=1) > 1
    sheet = np.unique(surface.faces[surface.thin])
    if not on[sheet].any():
        return surface
    own = (surface.tags == surface.names[face]) & ~surface.thin
    outlines = [
        _with_points(surface.vertices, loop, sheet[on[sheet] & rims[sheet]]) for loop in _loops(surface.faces[own])
    ]
    bound = np.unique(np.concatenate(outlines)) if outlines else np.empty(0, dtype=np.int64)
    sides = surface.faces[surface.thin][:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
    sides = np.unique(np.sort(sides[on[sides].all(axis=1)], axis=1), axis=0)
    traces = sides[(planes[sides[:, 0]] & planes[sides[:, 1]]).sum(axis=1) == 1]
    lone = np.setdiff1d(sheet[on[sheet]], np.concatenate([bound, traces.ravel()]))
    if len(lone):
        reason = f"touches the face {face} in single points, near {places(surface.vertices[lone] * surface.unit)}"
        raise GeometryError(
            67, "sheets", reason, "shift the sheet by some nm, so that it ends before the face or beyond"
        )
    chains = _chains(traces, bound, surface, face)
    for chain in [chain for chain in chains if len(chain) == 2]:
        surface, middle = _split_edge(surface, *chain)
        chain.insert(1, middle)
    assert surface.thin is not None
    own = (surface.tags == surface.names[face]) & ~surface.thin
    flat = surface.vertices[:, [(axis + 1) % 3, (axis + 2) % 3]]
    flat = flat if side else flat[:, ::-1]  # seen from outside
    triangles = _triangulated(flat, outlines, chains, SLIT * float(np.ptp(surface.box, axis=0).max()))
    before, after = (float(triangle_areas(surface.vertices[f]).sum()) for f in (surface.faces[own], triangles))
    known = {tuple(edge) for edge in facet_edges(triangles)[0].tolist()}
    wanted = {tuple(sorted(pair)) for chain in chains for pair in pairwise(chain)}
    if abs(after - before) > 1e-9 * before or wanted - known:
        raise MeshingError(
            27, f"face {face}", f"could not be divided along the sheets, {len(wanted - known)} edges are missing",
            "move the sheet a little",
        )  # fmt: skip
    return replace(
        surface,
        faces=np.concatenate([surface.faces[~own], triangles]),
        tags=np.concatenate([surface.tags[~own], np.full(len(triangles), surface.names[face], dtype=np.int32)]),
        thin=np.concatenate([surface.thin[~own], np.zeros(len(triangles), dtype=bool)]),
    )


def _loops(faces: Ints) -> list[list[int]]:
    """Closed outlines of a piece of surface, vertices in the direction of its faces."""
    sides = faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    _, index = unique_rows(np.sort(sides, axis=1))
    following: dict[int, list[int]] = {}
    for start, end in sides[np.bincount(index)[index] == 1].tolist():
        following.setdefault(start, []).append(end)
    loops = []
    for first in sorted(following):
        while following[first]:
            loop = [first]
            while (vertex := following[loop[-1]].pop()) != first:
                loop.append(vertex)
            loops.append(loop)
    return loops


def _with_points(vertices: Floats, loop: list[int], points: Ints) -> list[int]:
    """An outline with those of the points in it that lie on its sides."""
    points = np.setdiff1d(points, loop)
    result = []
    for start, end in zip(loop, loop[1:] + loop[:1], strict=True):
        along = vertices[end] - vertices[start]
        place = (vertices[points] - vertices[start]) @ along / (along @ along)
        off = np.linalg.norm(vertices[points] - vertices[start] - place[:, None] * along, axis=1)
        there = (place > 0) & (place < 1) & (off < 1e-12 * max(1.0, float(np.abs(vertices).max())))
        result += [start, *points[there][np.argsort(place[there])].tolist()]
    return result


def _chains(traces: Ints, bound: Ints, surface: TaggedSurface, face: str) -> list[list[int]]:
    """Chains of edges on a face, cut where they meet its outline; a ring begins and ends at the same vertex."""
    neighbours: dict[int, list[int]] = {}
    for a, b in traces.tolist():
        neighbours.setdefault(a, []).append(b)
        neighbours.setdefault(b, []).append(a)
    ends = {v for v, near in neighbours.items() if len(near) != 2} | (set(bound.tolist()) & neighbours.keys())
    crowded = [v for v in sorted(ends) if len(neighbours[v]) > 2 and v not in set(bound.tolist())]
    if crowded:
        points = surface.vertices[crowded] * surface.unit
        reason = f"meet on the face {face} in one point, near {places(points)}"
        raise GeometryError(66, "sheets", reason, "a sheet may meet the faces of the block only: move them apart")
    left = {(a, b) for a, near in neighbours.items() for b in near}
    chains = []
    for start in [*sorted(ends), *sorted(neighbours.keys() - ends)]:
        for second in sorted(neighbours[start]):
            if (start, second) not in left:
                continue
            chain = [start, second]
            while chain[-1] not in ends and chain[-1] != start:
                a, b = neighbours[chain[-1]]
                chain.append(b if a == chain[-2] else a)
            left -= {pair for i, j in pairwise(chain) for pair in ((i, j), (j, i))}
            chains.append(chain)
    return chains


def _split_edge(surface: TaggedSurface, a: int, b: int) -> tuple[TaggedSurface, int]:
    """The surface with a vertex in the middle of an edge of its sheets, and the number of that vertex."""
    assert surface.thin is not None
    middle = len(surface.vertices)
    vertices = np.concatenate([surface.vertices, surface.vertices[[a, b]].mean(axis=0)[None]])
    hit = surface.thin & (surface.faces == a).any(axis=1) & (surface.faces == b).any(axis=1)
    halves = [np.where(surface.faces[hit] == old, middle, surface.faces[hit]) for old in (a, b)]
    return replace(
        surface,
        vertices=vertices,
        faces=np.concatenate([surface.faces[~hit], *halves]),
        tags=np.concatenate([surface.tags[~hit], surface.tags[hit], surface.tags[hit]]),
        thin=np.concatenate([surface.thin[~hit], np.ones(2 * int(hit.sum()), dtype=bool)]),
    ), middle


def _triangulated(flat: Floats, outlines: list[list[int]], chains: list[list[int]], slit: float) -> Ints:
    """Triangles of a plane piece with outlines (outer ones counter-clockwise), along chains of edges within it.

    Every chain is a hole, opened by a hair, so that one algorithm for polygons with holes does it all.
    """
    from manifold3d import triangulate

    polygons = [flat[loop] for loop in outlines]
    numbers = [np.array(loop) for loop in outlines]
    for chain in chains:
        ring = chain[0] == chain[-1]
        path = flat[chain]
        along = np.diff(path, axis=0)
        along /= np.linalg.norm(along, axis=1, keepdims=True)
        before = np.concatenate([along[-1:] if ring else along[:1], along])
        mean = before + np.concatenate([along, along[:1] if ring else along[-1:]])
        mean /= np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-3)
        across = slit * np.stack([-mean[:, 1], mean[:, 0]], axis=1)  # to the left
        ids = np.array(chain)
        if ring:
            x, y = path[:-1].T
            turn = 1 if (x * np.roll(y, -1) - y * np.roll(x, -1)).sum() > 0 else -1
            for shift, step in ((turn, turn), (-turn, -turn)):  # what is inside, counter-clockwise; the hole round it
                polygons.append((path + shift * across)[:-1][::step])
                numbers.append(ids[:-1][::step])
        else:
            polygons.append(np.concatenate([path[:1], (path + across)[1:-1], path[-1:], (path - across)[-2:0:-1]]))
            numbers.append(np.concatenate([ids, ids[-2:0:-1]]))
    triangles = np.concatenate(numbers)[np.asarray(triangulate(polygons), dtype=np.int64).reshape(-1, 3)]
    a, b, c = triangles.T
    return np.asarray(triangles[(a != b) & (b != c) & (c != a)])
