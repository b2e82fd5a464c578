"""Remesh the tagged boundary of the electrolyte with MMG, every tag boundary an explicit ridge.

MMG's own ridge detection misses the edge where a crack meets the plating face at a
shallow angle; it then averages the normals across it and the plane bulges.  So every edge
between two surfaces is handed over as a ridge, every vertex of three or more as a corner, and
detection is off.  MMG joins features thinner than its smallest size without an error; such
edges are counted here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from fem_spall.errors import MeshingError
from fem_spall.mesh.arrays import FACES, triangle_areas
from fem_spall.mesh.plane_faces import delaunay_faces
from fem_spall.mesh.tagged_surface import TaggedSurface, facet_edges, split_edges

__all__ = ["fineness", "is_polyhedron", "remesh", "remesh_faces", "remesh_plate"]

#: Bend of the rim of a sheet, rad, that is kept as a corner.
CORNER = np.radians(45)
#: Turn of the normal, rad, above which an edge within a crack counts as folded.  Measured on a lens with a
#: knife-edged rim at hmin 0.2 um: largest distance to the input 0.20 um without, 0.06 um with it.
SHARP = np.radians(60)
#: Folded edges are kept only in chains of at least this many edges or smallest sizes (a coarse file has few, long
#: edges); single ones are noise and spoil the mesh.
CHAIN = 8
#: An edge of that length on its own is kept if the normal turns by more than FACET, rad.  Where the triangles of the
#: cracks are on average larger than POLYHEDRON of the smallest size, they are taken as the facets of a polyhedron, and
#: all edges that turn by more than FLAT are kept.
FACET, POLYHEDRON, FLAT = np.radians(15), 3.0, np.radians(1)
#: A triangle of lower quality (4 sqrt(3) area / sum of squared edges) has its surroundings meshed with THIN times its
#: height instead, down to LEAST of the smallest size: beside a narrow strip all triangles would be as long as the
#: largest size and as high as the strip.  In PASSES at most.
SHAPE, THIN, LEAST, PASSES = 0.2, 2.0, 0.1, 3
#: MMG takes the given triangles for samples of a smooth surface and lays curves through their normals.  Where they are
#: larger than COARSE of the smallest size, and that changes the volume of the cracks by more than DRIFT, they are
#: divided first until the curves bulge by less than FACETED of the tolerance; where more than LARGEST_DRIFT is left,
#: the distance aimed at is CLOSER times as large, one after the other; a larger change still is refused.
#: Measured on a polyhedron of 576
#: triangles, the shell of a ball: 2.9 % at first, then 0.4 %; on a lens 2.7 um thick and a tolerance of 0.15 um:
#: 3.4 %, 3.9 %, then 0.7 %.
COARSE, DRIFT, FACETED, LARGEST_DRIFT, CLOSER = 1.5, 0.003, 1 / 8, 0.01, (1 / 2, 1 / 4, 1 / 8)
#: Passes over the faces of the block where the walls stay as they are.
FACE_PASSES = 2
#: Rounds of halving at most.
ROUNDS = 6
#: Two walls whose distance is below the smallest size: the surface is divided until curves bulge by less than 1/50 of
#: the distance, the mesh keeps within 1/5 of it, edges that turn by 5 degrees or more are those of facets (the nearly
#: flat ones within a wall make needles), and sizes go down to 1/20 of the smallest one.  On a shard of 164 triangles,
#: 70 nm thick at 300 nm: least quality 0.108, 1 % 0.314; 0.011 and 0.16 at best without.
PLATE_BULGE, PLATE_DISTANCE, PLATE_TURN, PLATE_LEAST = 1 / 50, 1 / 5, np.radians(5), 1 / 20


def remesh(
    surface: TaggedSurface,
    size_min: float,
    size_max: float,
    grading: float,
    tolerance: float,
    *,
    sharp: bool,
    sizes: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None,
    plain: bool = False,
) -> TaggedSurface:
    """Return the boundary remeshed between the two sizes.

    All lengths in mesh units; ``tolerance`` is the distance to the given surface MMG aims at;
    ``sharp`` keeps folded chains of edges within a crack; ``sizes`` gives the largest sizes at places (n, 3);
    ``plain`` takes MMG's first answer.

    Raises
    ------
    MeshingError
        If features thinner than ``size_min`` get pinched, or the faces of the block do not stay as they were.
    """
    fold = size_min if sharp else None
    polyhedron = FLAT if not plain and is_polyhedron(surface, size_min) else None
    given, aim = surface, min(tolerance, size_min / 2)
    coarse = _mean_edge(surface) > COARSE * size_min
    steps = [(DRIFT, 1.0), (LARGEST_DRIFT, 1.0)] if coarse else [(LARGEST_DRIFT, 1.0)]
    result = None
    for allowed, closer in (*steps, *((LARGEST_DRIFT, fraction) for fraction in CLOSER)):
        if given is surface and result is not None and coarse:
            given = _faceted(surface, tolerance * FACETED)
        local = sizes(given.vertices) if sizes is not None else None
        made = _flatten(
            _mmgs(
                given, ridges_and_corners(given, fold, polyhedron), local,
                hmin=size_min, hmax=size_max, hgrad=grading, hausd=closer * aim,
            )
        )  # fmt: skip
        _refuse_faults(surface, made)
        if result is None or _drift(surface, made) < _drift(surface, result):
            result = made
        if plain or surface.thin is not None or _drift(surface, result) <= allowed:
            break
    assert result is not None
    for _ in range(0 if plain else PASSES):
        wanted = _narrow(result, size_min, size_max)
        if wanted is None:
            break
        least = min(size_min, float(wanted.min()))
        finer = _flatten(
            _mmgs(
                result,
                ridges_and_corners(result, fold, polyhedron),
                wanted,
                hmin=least,
                hmax=size_max,
                hgrad=grading,
                hausd=aim,
            )
        )
        if _drift(surface, finer) > max(_drift(surface, result), DRIFT):
            break  # walls so close that mending their triangles lets them bulge into each other
        _refuse_faults(surface, finer)
        result = finer
    _refuse_drift(surface, result)
    return result


def remesh_plate(
    surface: TaggedSurface, size_min: float, size_max: float, grading: float, tolerance: float, opening: float
) -> TaggedSurface:
    """Return the boundary remeshed as :func:`remesh` does, for walls whose distance ``opening`` is below the sizes.

    Raises
    ------
    MeshingError
        Likewise.
    """
    turn = PLATE_TURN if is_polyhedron(surface, size_min) else None
    aim = min(tolerance, size_min / 2, PLATE_DISTANCE * opening)
    result, wanted, least = _faceted(surface, PLATE_BULGE * opening), None, size_min
    for _ in range(1 + PASSES):
        kept = ridges_and_corners(result, size_min, turn)
        result = _flatten(_mmgs(result, kept, wanted, hmin=least, hmax=size_max, hgrad=grading, hausd=aim))
        _refuse_faults(surface, result)
        wanted = _narrow(result, size_min, size_max, PLATE_LEAST)
        if wanted is None:
            break
        least = min(size_min, float(wanted.min()))
    _refuse_drift(surface, result)
    return result


def remesh_faces(surface: TaggedSurface, size_min: float, size_max: float, grading: float) -> TaggedSurface:
    """Return the boundary with the faces of the block remeshed and the walls of the cracks as they are.

    For walls that are as fine as the mesh already, such as those of voxels: they have no bad triangles, and remeshing
    them can only fold what is one triangle wide.

    Raises
    ------
    MeshingError
        If the faces of the block do not stay as they were.
    """
    result = delaunay_faces(surface)
    for _ in range(FACE_PASSES):
        kept = ridges_and_corners(result, None)
        least = size_min * LEAST
        result = _flatten(
            _mmgs(result, kept, None, result.on_cracks, hmin=least, hmax=size_max, hgrad=grading, hausd=size_min / 2)
        )
        result = delaunay_faces(result)
        _refuse_faults(surface, result)
    return result


def fineness(surface: TaggedSurface, names: list[str], size: float) -> float:
    """Mean edge of the walls over a size; 0 where there are others than those of the named cracks."""
    own = np.isin(surface.tags, [surface.names[name] for name in names])
    return _mean_edge(surface) / size if own.any() and (own == surface.on_cracks).all() else 0.0


def _refuse_drift(given: TaggedSurface, result: TaggedSurface) -> None:
    if _drift(given, result) > LARGEST_DRIFT:
        raise MeshingError(
            22, "surface mesh", f"the volume of the cracks changes by {_drift(given, result):.1%}, more than 1 %",
            "lower mesh.size_min or mesh.surface_tolerance",
        )  # fmt: skip


def _refuse_faults(given: TaggedSurface, result: TaggedSurface) -> None:
    pinched = _bad_edges(result, given)
    if len(pinched):
        places = "; ".join("(" + ", ".join(f"{v:.4g}" for v in p * given.unit * 1e6) + ") um" for p in pinched[:3])
        raise MeshingError(
            20, "surface mesh", f"{len(pinched)} edges get pinched, the crack is thinner there than the mesh: {places}",
            "lower mesh.size_min, or open the crack there",
        )  # fmt: skip
    if _changed_planes(given, result):
        raise MeshingError(
            21, "surface mesh", "the faces of the block did not keep their areas",
            "lower mesh.size_min or mesh.surface_tolerance",
        )  # fmt: skip


def is_polyhedron(surface: TaggedSurface, size: float) -> bool:
    """Whether the triangles of the cracks are so large, against a size in mesh units, that they are meant as facets."""
    return _mean_edge(surface) > POLYHEDRON * size


def _mean_edge(surface: TaggedSurface) -> float:
    """Edge of the regular triangle as large as those of the cracks are on average."""
    own = triangle_areas(surface.vertices[surface.faces[surface.on_cracks]])
    return float(np.sqrt(own.mean() * 4 / np.sqrt(3))) if own.size else 0.0


def _narrow(
    surface: TaggedSurface, smallest: float, largest: float, fraction: float = LEAST
) -> NDArray[np.float64] | None:
    """Sizes (n,) at the vertices that mend badly shaped triangles, or None where there are none."""
    corners = surface.vertices[surface.faces]
    lengths = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2)
    area = triangle_areas(corners)
    bad = 4 * np.sqrt(3) * area < SHAPE * (lengths**2).sum(axis=1)
    if not bad.any():
        return None
    height = 2 * area[bad] / lengths[bad].max(axis=1)
    sizes = np.full(len(surface.vertices), largest)
    np.minimum.at(sizes, surface.faces[bad].ravel(), np.repeat(np.maximum(THIN * height, fraction * smallest), 3))
    return sizes


def _drift(before: TaggedSurface, after: TaggedSurface) -> float:
    """Change of the enclosed volume over that of the cracks: what is missing in the block but for what they cut off."""
    removed = float(np.prod(np.ptp(before.box, axis=0))) - before.volume - sum(before.enclosed.values())
    return abs(after.volume - before.volume) / removed if removed > 1e-12 * before.volume else 0.0


def _faceted(surface: TaggedSurface, sagitta: float) -> TaggedSurface:
    """The surface with edges halved until the curves that MMG lays through the normals bulge by no more than this."""
    for _ in range(ROUNDS):
        edges, _ = facet_edges(surface.faces)
        a, b = edges.T
        own = surface.faces[surface.on_cracks]
        corners = surface.vertices[own]
        normals = np.zeros_like(surface.vertices)
        for corner in range(3):
            np.add.at(normals, own[:, corner], np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]))
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), np.finfo(float).tiny)
        length = np.linalg.norm(surface.vertices[a] - surface.vertices[b], axis=1)
        bulge = length * np.linalg.norm(normals[a] - normals[b], axis=1) / 8
        on_crack = np.zeros(len(surface.vertices), dtype=bool)
        on_crack[own] = True
        split = on_crack[a] & on_crack[b] & (bulge > sagitta)
        if not split.any():
            break
        surface = split_edges(surface, split)
    return surface


def ridges_and_corners(
    surface: TaggedSurface, size_min: float | None, facets: float | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Edges (e, 2) to keep sharp, and vertices (c,) where three or more surfaces meet.

    Those are the edges between two surfaces and, if ``size_min`` is given, within a crack the chains of edges
    where the normal turns by more than :data:`SHARP`: the rim of a lens; with ``facets``, rad, all edges that turn by
    more than that.
    """
    edges, index = facet_edges(surface.faces)
    count = np.bincount(index.ravel())
    begin = np.cumsum(count) - count
    side = np.argsort(index.ravel(), kind="stable")  # the triangle sides of each edge, one after the other
    first, second = side[begin] // 3, side[begin + np.minimum(count, 2) - 1] // 3
    corners = surface.vertices[surface.faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), np.finfo(float).tiny)
    turn = np.einsum("ij,ij->i", normal[first], normal[second])
    tags = surface.tags
    between = (tags[first] != tags[second]) | (count != 2)
    ridges = edges[between]
    pairs = np.unique(np.stack([surface.faces.ravel(), np.repeat(tags, 3)], axis=1), axis=0)
    vertex, meeting = np.unique(pairs[:, 0], return_counts=True)
    # Outlines of regions on a face; the corners of the block itself are those of three surfaces.
    flat = [tag for face in surface.parts.values() if face in FACES for tag in surface.tags_of(face)]
    fixed = [
        vertex[meeting >= 3],
        _rim_corners(surface.vertices, edges[count != 2], CORNER),
        _touching(surface.faces, count, side),
        _rim_corners(surface.vertices, edges[between & np.isin(tags[first], flat) & np.isin(tags[second], flat)], FLAT),
    ]
    if size_min is not None:
        inner = ~between & surface.on_cracks[first]
        length = np.linalg.norm(surface.vertices[edges[:, 0]] - surface.vertices[edges[:, 1]], axis=1) / size_min
        folded = inner & (turn < np.cos(SHARP))
        long = inner & ~folded & (turn < np.cos(FACET if facets is None else facets))
        if facets is None:
            long &= length >= CHAIN
        ridges = np.concatenate([ridges, edges[folded][_in_chains(edges[folded], length[folded])], edges[long]])
        if facets is not None:
            fixed.append(_rim_corners(surface.vertices, edges[long | folded], facets))
    return ridges, np.unique(np.concatenate(fixed))


def _touching(faces: NDArray[np.int64], count: NDArray[np.int64], side: NDArray[np.int64]) -> NDArray[np.int64]:
    """Vertices where parts of the surface touch without a common edge; ``side`` lists the sides edge by edge."""
    pairs = side[np.repeat(count, count) == 2].reshape(-1, 2)
    near = np.repeat(np.arange(len(faces)), 3)[:, None] * 3 + np.tile([[0, 1], [1, 2], [2, 0]], (len(faces), 1))
    one, two = near[pairs[:, 0]], near[pairs[:, 1]]
    turned = faces.ravel()[one[:, 0]] != faces.ravel()[two[:, 0]]
    two[turned] = two[turned, ::-1]
    graph = coo_matrix((np.ones(one.size), (one.ravel(), two.ravel())), shape=(faces.size, faces.size))
    fan = connected_components(graph, directed=False)[1]
    fans = np.unique(np.stack([faces.ravel(), fan], axis=1), axis=0)
    vertex, number = np.unique(fans[:, 0], return_counts=True)
    return np.asarray(vertex[number > 1])


def _rim_corners(vertices: NDArray[np.float64], edges: NDArray[np.int64], bend: float) -> NDArray[np.int64]:
    """Vertices where chains of edges begin, branch or bend by more than an angle, rad."""
    vertex, place, count = np.unique(edges, return_inverse=True, return_counts=True)
    place = place.reshape(-1, 2)
    along = vertices[edges[:, 1]] - vertices[edges[:, 0]]
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), np.finfo(float).tiny)
    total = np.zeros((len(vertex), 3))  # of the unit vectors that leave a vertex: short where the chain runs straight
    np.add.at(total, place[:, 0], along)
    np.add.at(total, place[:, 1], -along)
    bent = np.linalg.norm(total, axis=1) > 2 * np.sin(bend / 2)
    return np.asarray(vertex[(count != 2) | bent])


def _in_chains(edges: NDArray[np.int64], length: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which edges hang together in groups of at least :data:`CHAIN` edges, or of that length in smallest sizes."""
    if len(edges) == 0:
        return np.zeros(0, dtype=bool)
    size = int(edges.max()) + 1
    graph = coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(size, size))
    label = connected_components(graph, directed=False)[1][edges[:, 0]]
    return np.asarray((np.bincount(label) >= CHAIN)[label] | (np.bincount(label, length) >= CHAIN)[label])


def _mmgs(
    surface: TaggedSurface,
    kept: tuple[NDArray[np.int64], NDArray[np.int64]],
    at_vertices: NDArray[np.float64] | None,
    required: NDArray[np.bool_] | None = None,
    **sizes: float,
) -> TaggedSurface:
    import mmgpy

    ridges, corners = kept
    mesh = mmgpy.MmgMeshS()
    mesh.set_mesh_size(vertices=len(surface.vertices), triangles=len(surface.faces), edges=len(ridges))
    mesh.set_vertices(surface.vertices)
    mesh.set_triangles(surface.faces.astype(np.int32), surface.tags.astype(np.int64))
    mesh.set_edges(ridges.astype(np.int32), np.ones(len(ridges), dtype=np.int64))
    mesh.set_ridge_edges(np.arange(len(ridges), dtype=np.int32))
    mesh.set_corners(corners.astype(np.int32))
    if required is not None:
        mesh.set_required_triangles(np.flatnonzero(required).astype(np.int32))
    if at_vertices is not None:
        mesh.set_field("metric", at_vertices[:, None])
    mesh.remesh(angle=0, verbose=-1, **sizes)
    vertices = np.asarray(mesh.get_vertices(), dtype=float)
    faces, tags = mesh.get_triangles_with_refs()
    faces, tags = np.asarray(faces, dtype=np.int64), np.asarray(tags, dtype=np.int32)
    used, packed = np.unique(faces, return_inverse=True)
    thin = np.isin(tags, np.unique(surface.tags[surface.thin])) if surface.thin is not None else None
    return replace(surface, vertices=vertices[used], faces=packed.reshape(-1, 3), tags=tags, thin=thin)


def _flatten(surface: TaggedSurface) -> TaggedSurface:
    """Put the vertices of the block's faces back on their planes, which MMG may leave by rounding."""
    vertices = surface.vertices.copy()
    for tag, (axis, coordinate) in surface.planes().items():
        own = np.unique(surface.faces[surface.tags == tag])
        vertices[own, axis] = coordinate
    return replace(surface, vertices=vertices)


def _bad_edges(surface: TaggedSurface, given: TaggedSurface) -> NDArray[np.float64]:
    """Middles (b, 3) of the edges of the closed part without two triangles, and of those of sheets with more.

    Where bodies touch along an edge already in the given surface, four triangles may meet.
    """
    middles = []
    for closed, least in ((True, 2), (False, 1)):
        found = []
        for one in (surface, given):
            edges, index = facet_edges(one.faces[one.closed == closed])
            count = np.bincount(index.ravel(), minlength=len(edges))
            found.append(one.vertices[edges[(count > 2) | (count < least)]])
        bad, known = found
        middle = bad.mean(axis=1).reshape(-1, 3)
        middles.append(middle[~_on_lines(middle, known)])
    return np.concatenate(middles)


def _on_lines(points: NDArray[np.float64], lines: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which points (n, 3) lie on one of some lines, given by their ends (k, 2, 3)."""
    found = np.zeros(len(points), dtype=bool)
    for start, end in lines:
        along = end - start
        place = np.clip((points - start) @ along / (along @ along), 0, 1)
        found |= np.linalg.norm(points - start - place[:, None] * along, axis=1) < 1e-9 * np.abs(lines).max()
    return found


def _changed_planes(before: TaggedSurface, after: TaggedSurface) -> bool:
    """Whether the areas of the block's faces changed by more than 1e-3, or the enclosed volume by more than 1 %.

    A region on a face counts as part of it.
    """
    planes = before.planes()
    areas = [
        [sum(one.area(tag) for tag, plane in planes.items() if plane == face) for one in (before, after)]
        for face in set(planes.values())
    ]
    return (
        any(abs(new - old) > 1e-3 * old for old, new in areas)
        or abs(after.volume - before.volume) > 1e-2 * before.volume
    )
