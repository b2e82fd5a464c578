"""Cleaning of a triangle soup: corners merged, useless faces dropped, what touches itself parted.

Every step decides by geometry alone, so that the order of a file changes nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fem_spall.crack.repaired import Measure, RepairedSurface
from fem_spall.crack.triangles import areas, components, directed_edges, edge_numbers, in_order, unique_rows, weld
from fem_spall.errors import GeometryError

__all__ = [
    "FLAT",
    "drop_bad_faces",
    "drop_fins",
    "drop_unused",
    "merge_close",
    "merge_identical",
    "open_pinches",
    "part_touching",
]

type Floats = NDArray[np.float64]
type Ints = NDArray[np.int64]

CLOSE = 1e-6  # corners nearer than this part of the box diagonal are one corner, if edges are open between them
FLAT = 1e-9  # a face whose height is below this part of the box diagonal has no area
MOST_NEIGHBOURS = 30  # of one corner within the tolerance of merging, on average
PINCHED_AREA = 0.02  # no more than this part of the area is cut out at pinched edges
MOST_HALVED = 3000  # edges; more is no surface that touches itself here and there
PARTED = 0.05  # what touches itself is moved apart by this part of the edges there


def merge_identical(surface: RepairedSurface) -> None:
    """Make corners at one place one vertex, and put vertices and faces in their order."""
    vertices, index = weld(surface.vertices)
    merged = len(surface.vertices) - len(vertices)
    surface.vertices, surface.faces = vertices, in_order(index[surface.faces])
    # The surface itself stays where it was.
    surface.change("identical corners merged", merged, surface.vertices, surface.faces)


def drop_unused(surface: RepairedSurface) -> None:
    """Drop vertices without a face."""
    unused = surface.tidy()
    surface.change("unused vertices dropped", unused, surface.vertices, surface.faces)


def drop_bad_faces(surface: RepairedSurface) -> None:
    """Drop faces with a repeated corner, flip away faces on a line, and keep one of several equal faces."""
    a, b, c = surface.faces.T
    good = (a != b) & (b != c) & (c != a)
    surface.change("degenerate faces dropped", int((~good).sum()), surface.vertices, surface.faces[good])
    _refuse_empty(surface)
    faces, doubles = _without_duplicates(surface.faces)
    surface.change("duplicate faces dropped", doubles, surface.vertices, faces)
    _refuse_empty(surface)
    _flip_flat_faces(surface)
    surface.tidy()


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


def merge_close(surface: RepairedSurface, tolerance: float) -> None:
    """Merge corners of open edges that rounding has parted, and all corners within a stated tolerance, m.

    Each group goes to its first corner in order.
    """
    _, uses, edges = edge_numbers(surface.faces)
    rim = np.unique(edges[uses == 1])
    _merge(surface, rim, CLOSE * surface.diagonal)
    if tolerance > 0:
        _merge(surface, np.arange(len(surface.vertices)), tolerance)


def _merge(surface: RepairedSurface, among: Ints, tolerance: float) -> None:
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    if len(among) == 0:
        return
    tree = cKDTree(surface.vertices[among])
    if tree.count_neighbors(tree, tolerance) > MOST_NEIGHBOURS * len(among):
        reason = f"has more than {MOST_NEIGHBOURS} corners within {tolerance * 1e9:.3g} nm of each other on average"
        raise GeometryError(
            40, surface.where, reason, "lower repair.merge: it must be below the sides of the triangles"
        )
    pairs = tree.query_pairs(tolerance, output_type="ndarray")
    if len(pairs) == 0:
        return
    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(among), len(among)))
    _, label = connected_components(graph, directed=False)
    _, first = np.unique(label, return_index=True)
    target = np.arange(len(surface.vertices))
    target[among] = among[first[label]]
    moved = np.flatnonzero(target != np.arange(len(target)))
    distance = np.linalg.norm(surface.vertices[moved] - surface.vertices[target[moved]], axis=1).max()
    surface.change(
        "close corners merged", len(moved), surface.vertices, target[surface.faces],
        displacement=float(distance), guesses=("volume", "area", "displacement"),
    )  # fmt: skip
    drop_bad_faces(surface)


def drop_fins(surface: RepairedSurface) -> None:
    """Drop flaps that hang on an edge of other faces, and walls across the inside, smallest first.

    Patches are parts joined by edges with two faces.  A patch that ends at edges of more faces
    encloses nothing if it also has a free edge, or if every edge it ends at is left with an even number of faces.
    """
    index, uses, _ = edge_numbers(surface.faces)
    if (uses <= 2).all():
        return
    sides = index.reshape(-1, 3)
    patch = _patches(sides, uses)
    area = np.bincount(patch, areas(surface.vertices[surface.faces]))
    kept, left = surface.faces, uses.copy()
    gone: dict[str, list[int]] = {"fins dropped": [], "inner walls dropped": []}
    for one in np.lexsort((np.arange(len(area)), area))[:-1].tolist():  # the largest stays
        own, count = np.unique(sides[patch == one], return_counts=True)
        crowded = own[uses[own] > 2]
        after = left[own] - count
        if len(crowded) == 0 or (after[uses[own] > 2] < 2).any():
            continue
        free = bool((left[own] == 1).any())
        if free or (left[crowded] % 2 == 1).all():
            left[own] = after
            gone["fins dropped" if free else "inner walls dropped"].append(one)
    for kind, dropped in gone.items():
        kept, patch = (rows[~np.isin(patch, dropped)] for rows in (kept, patch))
        guesses: tuple[Measure, ...] = ("volume",) if kind.startswith("inner") else ()
        surface.change(kind, len(dropped), surface.vertices, kept, guesses=guesses)
    surface.tidy()


def _patches(sides: Ints, uses: Ints) -> Ints:
    """Number of the part of each face, (m,), where parts end at edges with more than two faces."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    order = np.argsort(sides.ravel(), kind="stable")
    pairs = order[uses[sides.ravel()[order]] == 2].reshape(-1, 2) // 3
    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(sides), len(sides)))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def open_pinches(surface: RepairedSurface) -> None:
    """Cut out the faces round edges where four faces meet, so that filling the holes parts the two sheets.

    Remeshing pinches features thinner than its edge length like this.  Where much of the
    surface would go, the edges are no pinch but two parts that touch: left to :func:`part_touching`.
    """
    _, uses, edges = edge_numbers(surface.faces)
    if (uses <= 2).all():
        return
    area = surface.measure()[1]
    cut = np.unique(edges[uses > 2])
    for _ in range(5):
        keep = ~np.isin(surface.faces, cut).any(axis=1)
        if (uses > 4).any() or surface.measure(surface.faces[~keep])[1] > PINCHED_AREA * area:
            return
        _, left, sides = edge_numbers(surface.faces[keep])
        vertex, rims = np.unique(sides[left == 1], return_counts=True)
        if (rims == 2).all():
            gone = int((~keep).sum())
            surface.change("faces at pinched edges cut out", gone, surface.vertices, surface.faces[keep], closed=True)
            surface.tidy()
            return
        cut = np.union1d(cut, vertex[rims > 2])  # rims that touch are one wound


def part_touching(surface: RepairedSurface) -> None:
    """Part bodies that touch along edges or in corners: every body gets vertices of its own, drawn into it a little.

    Round an edge with more than two faces, each pair with the inside of a body between them belongs together; faces
    of a vertex that are joined by no edge there are parted too.  Needs oriented faces; where they do not
    alternate round an edge, that edge stays.
    """
    _part(surface)
    _, uses, edges = edge_numbers(surface.faces)
    crowded = edges[uses > 2]
    if 0 < len(crowded) <= MOST_HALVED:  # both ends belong to one body: it is parted between them
        _halve(surface, crowded)
        _part(surface)


def _halve(surface: RepairedSurface, edges: Ints) -> None:
    """Put a corner in the middle of edges (e, 2) and of the faces there; the surface stays where it is."""
    vertices = np.concatenate([surface.vertices, surface.vertices[edges].mean(axis=1)])
    near = np.isin(surface.faces, edges).sum(axis=1) >= 2
    faces = surface.faces[near].tolist()
    for middle, (a, b) in enumerate(edges.tolist(), len(surface.vertices)):
        for k in [k for k, face in enumerate(faces) if a in face and b in face]:
            faces.append([middle if corner == b else corner for corner in faces[k]])
            faces[k] = [middle if corner == a else corner for corner in faces[k]]
    surface.vertices = vertices
    surface.faces = np.concatenate([surface.faces[~near], np.array(faces, dtype=np.int64)])
    surface.tidy()


def _part(surface: RepairedSurface) -> None:
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    faces, m = surface.faces, len(surface.faces)
    joined = _joined_sides(surface)
    # Corners of one vertex in faces that are joined along an edge of it: side k runs from corner k to k + 1.
    one, other = joined.T
    start, end = one, one // 3 * 3 + (one + 1) % 3
    far_start, far_end = other // 3 * 3 + (other + 1) % 3, other
    same = faces.ravel()[start] == faces.ravel()[far_start]
    rows = np.concatenate([start, end])
    columns = np.concatenate([np.where(same, far_start, far_end), np.where(same, far_end, far_start)])
    graph = coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(3 * m, 3 * m))
    _, label = connected_components(graph, directed=False)
    first, fan = np.unique(label, return_index=True, return_inverse=True)[1:]
    owner = faces.ravel()[first]
    split = np.bincount(owner, minlength=len(surface.vertices))[owner] > 1
    if not split.any():
        return
    order = np.lexsort((first, owner))  # fans in the order of their vertices
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    vertices, parted = surface.vertices[owner[order]], split[order]
    fans = rank[fan].reshape(-1, 3)
    sides = directed_edges(fans)
    pull = np.zeros_like(vertices)
    for a, b in (sides.T, sides.T[::-1]):
        np.add.at(pull, a, vertices[b] - vertices[a])
    number = np.bincount(sides.ravel(), minlength=len(vertices))
    step = np.where(parted[:, None], PARTED * pull / number[:, None], 0.0)
    touching = len(np.unique(owner[split]))
    surface.change(
        "touching corners moved apart", touching, vertices + step, fans,
        displacement=float(np.linalg.norm(step, axis=1).max()), guesses=("volume", "area", "displacement"),
    )  # fmt: skip
    surface.tidy()


def _joined_sides(surface: RepairedSurface) -> Ints:
    """Pairs of sides (k, 2) that belong together; side k is that of face k // 3 from its corner k % 3."""
    index, uses, edges = edge_numbers(surface.faces)
    order = np.argsort(index, kind="stable")
    pairs = [order[uses[index[order]] == 2].reshape(-1, 2)]
    begin = np.cumsum(uses) - uses
    sides = directed_edges(surface.faces)
    outward = surface.closed_volume() >= 0
    for edge in np.flatnonzero(uses > 2).tolist():
        round_it = order[begin[edge] : begin[edge] + uses[edge]]
        low, high = surface.vertices[edges[edge]]
        opposite = surface.vertices[surface.faces.ravel()[round_it // 3 * 3 + (round_it + 2) % 3]]
        along = (high - low) / np.linalg.norm(high - low)
        spoke = opposite - low - ((opposite - low) @ along)[:, None] * along
        if not (length := np.linalg.norm(spoke, axis=1)).all():
            continue  # a face without height has no place round the edge
        across = np.cross(along, spoke[0])
        angle = np.arctan2(spoke @ across / np.linalg.norm(across), spoke @ spoke[0] / length[0])
        angle[0] = 0.0  # and not a turn less rounding
        turn = np.argsort(np.round(angle % (2 * np.pi), 9), kind="stable")
        # The inside lies behind a face that runs along the edge, or before it where all is inside out.
        forward = (sides[round_it[turn], 0] == edges[edge, 0]) == outward
        if (forward != np.roll(forward, 1)).all():
            back = np.flatnonzero(~forward)
            pairs.append(np.column_stack([round_it[turn[back]], round_it[turn[(back + 1) % len(turn)]]]))
    return np.concatenate(pairs)
