"""The closed parts of a surface: which way they face, which lie in which, which are too small, which overlap."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fem_spall.crack.base import Repair
from fem_spall.crack.repaired import RepairedSurface, places
from fem_spall.crack.triangles import components, contains, in_order
from fem_spall.errors import GeometryError

__all__ = ["drop_flat_parts", "drop_islands", "turn_outwards", "unite_parts"]

type Floats = NDArray[np.float64]
type Ints = NDArray[np.int64]

FLAT_PART = 1e-15  # a part with less than this part of the cubed box diagonal has no volume


def drop_flat_parts(surface: RepairedSurface) -> None:
    """Drop closed parts without volume, such as two equal sheets back to back.

    Raises
    ------
    GeometryError
        If no other part is left.
    """
    label = components(surface.faces)
    flat = np.abs(_volumes(surface, label)) <= FLAT_PART * surface.diagonal**3
    if flat.all():
        reason = f"has no volume, near {places(surface.vertices[surface.faces[:1, 0]])}"
        cure = "a crack needs an opening: thicken it, or take a kind of crack without thickness"
        raise GeometryError(37, surface.where, reason, cure)
    keep = surface.faces[~flat[label]]
    surface.change("parts without volume dropped", int(flat.sum()), surface.vertices, keep, guesses=("area",))
    surface.tidy()


def turn_outwards(surface: RepairedSurface, crossing: Ints) -> None:
    """Turn every part outwards, and parts inside an odd number of others inwards: those are cavities.

    ``crossing`` (k, 2) are pairs of faces that cross: their parts lie beside, not in each other.
    """
    label = components(surface.faces)
    volumes = _volumes(surface, label)
    apart = {(a, b) for a, b in np.sort(label[crossing], axis=1).tolist()}
    cavity = _depths(surface, label, apart) % 2 == 1
    turn = (volumes < 0) != cavity
    surface.faces = in_order(np.where(turn[label][:, None], surface.faces[:, ::-1], surface.faces))
    for kind, which in (("inside-out parts turned", turn & ~cavity), ("inner parts taken as cavities", turn & cavity)):
        if which.any():
            surface.repairs.append(Repair(kind, int(which.sum()), -2 * float(volumes[which].sum())))


def drop_islands(surface: RepairedSurface, smallest: float) -> None:
    """Drop closed parts below a volume, m^3, and fill cavities below it; faces oriented outwards."""
    if smallest <= 0:
        return
    label = components(surface.faces)
    volumes = _volumes(surface, label)
    small = np.abs(volumes) < smallest
    if small.all():
        reason = f"has no part of at least {smallest * 1e18:.4g} um^3; the largest has {volumes.max() * 1e18:.4g} um^3"
        raise GeometryError(41, surface.where, reason, "lower repair.islands")
    faces = surface.faces
    for kind, which in (("islands dropped", small & (volumes > 0)), ("small cavities filled", small & (volumes < 0))):
        gone = which[label]
        faces, label = faces[~gone], label[~gone]
        surface.change(kind, int(which.sum()), surface.vertices, faces, guesses=("volume",))
    surface.tidy()


def unite_parts(surface: RepairedSurface, crossing: Ints) -> bool:
    """Unite parts that cross each other, but not themselves; say whether that was possible.

    The body is the same set of points as before; its volume no longer counts overlaps twice.
    """
    from manifold3d import Error, Manifold, Mesh64, OpType

    label = components(surface.faces)
    pairs = label[crossing]
    if (pairs[:, 0] == pairs[:, 1]).any():
        return False
    involved = np.unique(pairs)
    depth = _depths(surface, label, {(a, b) for a, b in np.sort(pairs, axis=1).tolist()})
    inside = _parents(surface, label, involved)
    size, middle = surface.diagonal, surface.vertices.mean(axis=0)
    bodies = []
    for part in involved.tolist():
        if depth[part] % 2:
            return False  # a cavity that runs into another part: what is meant is open
        own = np.isin(label, [part, *np.flatnonzero((inside == part) & (depth == depth[part] + 1))])
        used, faces = np.unique(surface.faces[own], return_inverse=True)
        points = np.ascontiguousarray((surface.vertices[used] - middle) / size)
        body = Manifold(Mesh64(points, np.ascontiguousarray(faces.reshape(-1, 3), dtype=np.uint64)))
        if body.status() != Error.NoError:
            return False
        bodies.append(body)
    mesh = Manifold.batch_boolean(bodies, OpType.Add).to_mesh64()
    first = np.arange(len(mesh.vert_properties))
    first[np.asarray(mesh.merge_from_vert, dtype=np.int64)] = np.asarray(mesh.merge_to_vert, dtype=np.int64)
    united = first[np.asarray(mesh.tri_verts, dtype=np.int64)] + len(surface.vertices)
    vertices = np.concatenate([surface.vertices, np.asarray(mesh.vert_properties)[:, :3] * size + middle])
    others = surface.faces[~(np.isin(label, involved) | np.isin(inside, involved)[label])]
    surface.change("overlapping parts united", len(involved), vertices, np.concatenate([others, united]))
    surface.tidy()
    return True


def _volumes(surface: RepairedSurface, label: Ints) -> Floats:
    """Signed volume of each part, (k,) m^3, about a vertex of its own."""
    _, first = np.unique(label, return_index=True)
    origin = surface.vertices[surface.faces[first, 0]]
    a, b, c = np.moveaxis(surface.vertices[surface.faces] - origin[label][:, None], 1, 0)
    return np.bincount(label, np.einsum("ij,ij->i", a, np.cross(b, c)) / 6)


def _inside(surface: RepairedSurface, label: Ints) -> list[tuple[int, int]]:
    """Pairs (outer, inner) of parts where the first corner of the inner one lies in the outer one."""
    order = np.argsort(label, kind="stable")
    corners = surface.vertices[surface.faces[order]]
    start = np.flatnonzero(np.diff(label[order], prepend=-1))
    low = np.minimum.reduceat(corners.min(axis=1), start)
    high = np.maximum.reduceat(corners.max(axis=1), start)
    parts = np.split(corners, start[1:])
    found = []
    for outer in range(len(parts)):
        within = np.flatnonzero((low > low[outer]).all(axis=1) & (high < high[outer]).all(axis=1))
        found += [(outer, int(inner)) for inner in within if contains(parts[outer], parts[inner][0, 0])]
    return found


def _depths(surface: RepairedSurface, label: Ints, apart: set[tuple[int, int]]) -> Ints:
    """How many other parts each part lies in, (k,) int; parts that cross do not lie in each other."""
    depth = np.zeros(int(label.max()) + 1, dtype=np.int64)
    for outer, inner in _inside(surface, label):
        depth[inner] += (min(outer, inner), max(outer, inner)) not in apart
    return depth


def _parents(surface: RepairedSurface, label: Ints, among: Ints) -> Ints:
    """The part of ``among`` that each part lies in, (k,) int; -1 for none."""
    parent = np.full(int(label.max()) + 1, -1)
    for outer, inner in _inside(surface, label):
        if outer in among and inner not in among:
            parent[inner] = outer
    return parent
