"""Repair of triangle surfaces: merge, clean, orient, close small holes, and say what was done.

Every step starts from vertices and faces in canonical order and decides by geometry
alone, so that the order of a file changes nothing.  What cannot be repaired without
guessing is refused with up to three places.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fem_spall.crack.base import Repair
from fem_spall.crack.crossings import crossing_faces
from fem_spall.crack.triangles import (
    areas,
    common_sense,
    components,
    contains,
    directed_edges,
    edge_numbers,
    in_order,
    smallest_patch,
    unique_rows,
    volume,
    weld,
)
from fem_spall.errors import GeometryError

__all__ = ["RepairedSurface", "boundary_loops", "places", "refuse_crossings", "repair"]

type Floats = NDArray[np.float64]
type Ints = NDArray[np.int64]

CLOSE = 1e-6  # corners nearer than this part of the box diagonal are one corner, if edges are open between them
FLAT = 1e-9  # a face whose height is below this part of the box diagonal has no area
HOLE_AREA = 0.005  # a hole up to this part of the whole area is filled …
HOLES_AREA = 0.02  # … as long as all holes together stay below this
HOLE_EDGES = 200  # and each has at most so many edges


@dataclass
class RepairedSurface:
    """Vertices (n, 3) float, m, and faces (m, 3) int on the way to a good surface, with the repairs so far."""

    where: str
    vertices: Floats
    faces: Ints
    repairs: list[Repair] = field(default_factory=list)

    @property
    def diagonal(self) -> float:
        """Diagonal of the bounding box, m."""
        return float(np.linalg.norm(np.ptp(self.vertices, axis=0)))

    def measure(self, faces: Ints | None = None) -> tuple[float, float]:
        """Volume, m^3, and area, m^2, of all faces or of those given."""
        corners = self.vertices[self.faces if faces is None else faces]
        return (volume(corners), float(areas(corners).sum())) if len(corners) else (0.0, 0.0)

    def change(self, kind: str, count: int, vertices: Floats, faces: Ints) -> None:
        """Take over new vertices and faces, and note what that did if it did anything."""
        before = self.measure() if count else (0.0, 0.0)
        self.vertices, self.faces = vertices, in_order(faces)
        if count:
            after = self.measure()
            self.repairs.append(Repair(kind, count, after[0] - before[0], after[1] - before[1]))


def repair(vertices: Floats, faces: Ints, where: str, *, open_sheet: bool = False) -> RepairedSurface:
    """Return the repaired surface: closed and oriented outwards, or a sheet with one boundary loop.

    Parameters
    ----------
    vertices : (n, 3) float, m
    faces : (m, 3) int
    where : str
        Name of the surface for messages.
    open_sheet : bool
        Leave the largest boundary loop open; the sheet is consistently oriented, but to either side.

    Raises
    ------
    GeometryError
        If open, non-manifold or crossing faces are left, or nothing is.
    """
    surface = RepairedSurface(where, vertices, np.asarray(faces, dtype=np.int64))
    _merge_identical(surface)
    _drop_unreferenced(surface)
    _drop_bad_faces(surface)
    _merge_close(surface)
    _open_pinches(surface)
    _orient(surface)
    _fill_holes(surface, keep_largest=open_sheet)
    _check_edges(surface, loops_allowed=1 if open_sheet else 0)
    if not open_sheet:
        _turn_outwards(surface)
        refuse_crossings(surface)
    return surface


def places(points: Floats) -> str:
    """Return up to three of the points, from the whole range, as text in um."""
    chosen = points[np.unique(np.linspace(0, len(points) - 1, min(3, len(points))).astype(int))]
    text = [f"({x:.4g}, {y:.4g}, {z:.4g})" for x, y, z in chosen * 1e6 + 0.0]
    return ", ".join(text) + " um"


def _merge_identical(surface: RepairedSurface) -> None:
    vertices, index = weld(surface.vertices)
    merged = len(surface.vertices) - len(vertices)
    surface.vertices, surface.faces = vertices, in_order(index[surface.faces])
    if merged:  # the surface itself stays where it was
        surface.repairs.append(Repair("identical corners merged", merged))


def _drop_unreferenced(surface: RepairedSurface, report: bool = True) -> None:
    used, faces = np.unique(surface.faces, return_inverse=True)
    unused = len(surface.vertices) - len(used)
    surface.vertices, surface.faces = surface.vertices[used], faces.reshape(-1, 3).astype(np.int64)
    if unused and report:
        surface.repairs.append(Repair("unused vertices dropped", unused))


def _drop_bad_faces(surface: RepairedSurface) -> None:
    """Drop faces with a repeated corner, flip away faces on a line, and keep one of several equal faces."""
    a, b, c = surface.faces.T
    good = (a != b) & (b != c) & (c != a)
    surface.change("degenerate faces dropped", int((~good).sum()), surface.vertices, surface.faces[good])
    _refuse_empty(surface)
    faces, doubles = _without_duplicates(surface.faces)
    surface.change("duplicate faces dropped", doubles, surface.vertices, faces)
    _refuse_empty(surface)
    _flip_flat_faces(surface)
    _drop_unreferenced(surface, report=False)


def _refuse_empty(surface: RepairedSurface) -> None:
    if len(surface.faces) < 4:
        reason = f"must enclose a volume; only {len(surface.faces)} proper faces are left"
        raise GeometryError(30, surface.where, reason, "export the surface again")


def _without_duplicates(faces: Ints) -> tuple[Ints, int]:
    """Faces with each set of corners once, or not at all where two bodies share a wall, and how many went.

    A wall is two equal faces of opposite sense at whose edges the faces of both bodies
    meet: without the wall the two bodies become one.
    """
    first, group = unique_rows(np.sort(faces, axis=1))
    count = np.bincount(group)
    if (count == 1).all():
        return faces, 0
    once = faces[first]
    index, uses, _ = edge_numbers(once)
    crowded = (uses[index].reshape(-1, 3) > 2).any(axis=1)
    sense = np.where(faces[:, 1] < faces[:, 2], 1, -1)  # faces start at their smallest corner
    double = np.flatnonzero((count == 2) & (np.bincount(group, sense) == 0))
    wall = np.zeros(len(once), dtype=bool)
    if len(double):
        patch = components(once[double])
        wall[double] = np.bincount(patch, crowded[double])[patch] > 0
    return once[~wall], len(faces) - int((~wall).sum())


def _flip_flat_faces(surface: RepairedSurface) -> None:
    """Replace a face on a line, and its neighbour across its longest side, by two faces of the neighbour's plane.

    Dropping it instead would leave a slit: its middle corner lies on the neighbour's side.
    """
    total = 0
    faces = surface.faces.copy()
    for _ in range(20):  # a flip may hand the line on to the next face
        corners = surface.vertices[faces]
        length = np.linalg.norm(np.roll(corners, -1, axis=1) - corners, axis=2)
        flat = np.flatnonzero(2 * areas(corners) <= FLAT * surface.diagonal * length.max(axis=1))
        flipped = _flip(faces, flat, length[flat].argmax(axis=1)) if len(flat) else 0
        if flipped == 0:
            break
        total += flipped
    surface.change("faces without area flipped away", total, surface.vertices, faces)


def _flip(faces: Ints, flat: Ints, longest: Ints) -> int:
    """Flip the longest side of flat faces, in place, where both faces there are still as they were; count the flips."""
    index, uses, edges = edge_numbers(faces)
    users = np.argsort(index, kind="stable") // 3
    begin = np.cumsum(uses) - uses
    known = set(map(tuple, edges.tolist()))
    touched: set[int] = set()
    for face, side in zip(flat.tolist(), longest.tolist(), strict=True):
        edge = index[3 * face + side]
        pair = users[begin[edge] : begin[edge] + uses[edge]].tolist()
        if len(pair) != 2 or not touched.isdisjoint(pair):
            continue
        other = pair[0] if pair[1] == face else pair[1]
        start, end, middle = np.roll(faces[face], -side).tolist()
        (opposite,) = set(faces[other].tolist()) - {start, end}
        if opposite == middle or tuple(sorted((opposite, middle))) in known:
            continue
        faces[face] = np.where(faces[other] == end, middle, faces[other])
        faces[other] = np.where(faces[other] == start, middle, faces[other])
        touched.update(pair)
    return len(touched) // 2


def _merge_close(surface: RepairedSurface) -> None:
    """Merge corners of open edges that lie closer than :data:`CLOSE`, each group to its first in order."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    _, uses, edges = edge_numbers(surface.faces)
    rim = np.unique(edges[uses == 1])
    if len(rim) == 0:
        return
    pairs = cKDTree(surface.vertices[rim]).query_pairs(CLOSE * surface.diagonal, output_type="ndarray")
    if len(pairs) == 0:
        return
    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(rim), len(rim)))
    _, label = connected_components(graph, directed=False)
    _, first = np.unique(label, return_index=True)
    target = np.arange(len(surface.vertices))
    target[rim] = rim[first[label]]
    merged = int((target != np.arange(len(target))).sum())
    surface.change("close corners merged", merged, surface.vertices, target[surface.faces])
    _drop_bad_faces(surface)


def _refuse_crowded(surface: RepairedSurface) -> None:
    _, uses, edges = edge_numbers(surface.faces)
    crowded = surface.vertices[edges[uses > 2]].mean(axis=1)
    if len(crowded):
        reason = f"has {len(crowded)} non-manifold edges (more than two faces meet), near {places(crowded)}"
        raise GeometryError(33, surface.where, reason, "unite touching parts or remove inner faces in a mesh editor")


def _open_pinches(surface: RepairedSurface) -> None:
    """Cut out the faces round edges where four faces meet, so that filling the holes parts the two sheets.

    Remeshing pinches features thinner than its edge length like this.  Where much of the
    surface would go, the edges are no pinch but two parts that touch: refused.
    """
    _, uses, edges = edge_numbers(surface.faces)
    if (uses <= 2).all():
        return
    area = surface.measure()[1]
    cut = np.unique(edges[uses > 2])
    for _ in range(5):
        keep = ~np.isin(surface.faces, cut).any(axis=1)
        if (uses > 4).any() or surface.measure(surface.faces[~keep])[1] > HOLES_AREA * area:
            break
        _, left, sides = edge_numbers(surface.faces[keep])
        vertex, rims = np.unique(sides[left == 1], return_counts=True)
        if (rims == 2).all():
            surface.change("faces at pinched edges cut out", int((~keep).sum()), surface.vertices, surface.faces[keep])
            return
        cut = np.union1d(cut, vertex[rims > 2])  # rims that touch are one wound
    _refuse_crowded(surface)


def _orient(surface: RepairedSurface) -> None:
    turn, one_sided = common_sense(surface.vertices, surface.faces)
    if len(one_sided):
        points = surface.vertices[surface.faces[one_sided]].mean(axis=1)
        reason = f"has a one-sided part (a Möbius band), near {places(points)}"
        raise GeometryError(31, surface.where, reason, "repair it in a mesh editor")
    faces = _turned(surface.faces, turn)
    surface.change("faces turned to their neighbours' sense", int(turn.sum()), surface.vertices, faces)


def _turned(faces: Ints, turn: NDArray[np.bool_]) -> Ints:
    return np.where(turn[:, None], faces[:, ::-1], faces)


def boundary_loops(surface: RepairedSurface) -> list[Ints]:
    """Return the closed rims of an oriented surface, vertices in the direction of the faces, longest loop first.

    Rims that touch in a vertex come as separate loops through it.
    """
    index, uses, _ = edge_numbers(surface.faces)
    rim = directed_edges(surface.faces)[uses[index] == 1]
    following: dict[int, list[int]] = {}
    for start, end in rim[np.lexsort(rim.T[::-1])].tolist():
        following.setdefault(start, []).append(end)
    loops: list[Ints] = []
    for first in list(following):
        path = [first]
        while following[path[-1]]:
            vertex = following[path[-1]].pop()
            if vertex in path:  # closes a loop, which may hang on the path by this vertex only
                begin = path.index(vertex)
                loops.append(np.array(path[begin:]))
                del path[begin + 1 :]
            else:
                path.append(vertex)
    points = surface.vertices
    length = [-float(np.linalg.norm(points[loop] - points[np.roll(loop, 1)], axis=1).sum()) for loop in loops]
    return [loops[k] for k in np.argsort(length, kind="stable")]


def _fill_holes(surface: RepairedSurface, keep_largest: bool) -> None:
    loops = boundary_loops(surface)[1 if keep_largest else 0 :]
    if not loops:
        return
    area = surface.measure()[1]
    part = components(surface.faces)
    edges = edge_numbers(surface.faces)[2]
    patches: list[Ints] = []
    for loop in loops:
        if len(loop) > HOLE_EDGES:
            continue
        patch = smallest_patch(surface.vertices, loop, edges)
        size = surface.measure(patch)[1]
        own = part[(surface.faces == loop[0]).any(axis=1)][0]
        # A hole as large as the piece it is in is no hole: the piece is a scrap of surface.
        if len(patch) and size <= HOLE_AREA * area and size <= 0.2 * surface.measure(surface.faces[part == own])[1]:
            patches.append(patch)
            edges = np.concatenate([edges, edge_numbers(patch)[2]])
    if patches and surface.measure(np.concatenate(patches))[1] <= HOLES_AREA * area:
        surface.change("holes filled", len(patches), surface.vertices, np.concatenate([surface.faces, *patches]))


def _check_edges(surface: RepairedSurface, loops_allowed: int) -> None:
    """Refuse what is not closed (or, with a loop allowed, not a sheet with one rim)."""
    _refuse_crowded(surface)  # a patch may have used an edge that was there already
    index, uses, edges = edge_numbers(surface.faces)
    middle = surface.vertices[edges].mean(axis=1)
    free = np.flatnonzero(uses == 1)
    if len(free) and not loops_allowed:
        reason = f"must be closed; it has {len(free)} open edges, near {places(middle[free])}"
        raise GeometryError(34, surface.where, reason, "close the holes in a mesh editor, or export the whole surface")
    if loops_allowed and len(loops := boundary_loops(surface)) != loops_allowed:
        reason = f"must be one sheet with one rim; it has {len(loops)} rims"
        if len(loops) > 1:
            reason += f", the inner ones at {places(surface.vertices[[loop[0] for loop in loops[1:]]])}"
        raise GeometryError(35, surface.where, reason, "use kind: surface_file for closed surfaces; fill the holes")
    sides = directed_edges(surface.faces)
    starts = np.bincount(index, np.where(sides[:, 0] < sides[:, 1], 1, -1), minlength=len(uses))
    if (starts[uses == 2] != 0).any():
        points = middle[(uses == 2) & (starts != 0)]
        raise GeometryError(36, surface.where, f"cannot be oriented, near {places(points)}", "repair it in an editor")


def _turn_outwards(surface: RepairedSurface) -> None:
    """Turn every part outwards, and parts inside an odd number of others inwards: those are cavities."""
    label = components(surface.faces)
    parts = [surface.faces[label == k] for k in range(int(label.max()) + 1)]
    volumes = np.array([surface.measure(part)[0] for part in parts])
    smallest = int(np.abs(volumes).argmin())
    if abs(volumes[smallest]) <= 1e-15 * surface.diagonal**3:
        reason = f"has a part without volume, near {places(surface.vertices[parts[smallest][:1, 0]])}"
        cure = "a crack needs an opening: thicken it, or remove the scrap in a mesh editor"
        raise GeometryError(37, surface.where, reason, cure)
    cavity = _nesting(surface.vertices, parts) % 2 == 1
    turn = (volumes < 0) != cavity
    surface.faces = in_order(_turned(surface.faces, turn[label]))
    for kind, which in (("inside-out parts turned", turn & ~cavity), ("inner parts taken as cavities", turn & cavity)):
        if which.any():
            surface.repairs.append(Repair(kind, int(which.sum()), -2 * float(volumes[which].sum())))


def _nesting(vertices: Floats, parts: list[Ints]) -> Ints:
    """How many other parts each part lies in, (k,) int."""
    corners = [vertices[part] for part in parts]
    low = np.array([c.min(axis=(0, 1)) for c in corners])
    high = np.array([c.max(axis=(0, 1)) for c in corners])
    depth = np.zeros(len(parts), dtype=np.int64)
    for outer in range(len(parts)):
        inside = np.flatnonzero((low > low[outer]).all(axis=1) & (high < high[outer]).all(axis=1))
        for inner in inside:
            depth[inner] += contains(corners[outer], corners[inner][0, 0])
    return depth


def refuse_crossings(surface: RepairedSurface) -> None:
    """Raise if faces cross each other, with three places.

    Raises
    ------
    GeometryError
        Always when :func:`~fem_spall.crack.crossings.crossing_faces` finds a pair.
    """
    pairs = crossing_faces(surface.vertices, surface.faces)
    if len(pairs) == 0:
        return
    points = surface.vertices[surface.faces[pairs[:, 0]]].mean(axis=1)
    reason = f"runs through itself: {len(np.unique(pairs))} faces cross, near {places(points)}"
    cure = "unite overlapping parts or rebuild the surface in a mesh editor"
    raise GeometryError(38, surface.where, reason, cure)
