"""Remesh the tagged boundary of the electrolyte with MMG, within a distance of what was given.

MMG's own distance is an aim.  Where its answer is further off than the tolerance, it is pulled to the given surface;
with sheets and facets of polyhedra, the given triangles there are kept as they are, and it is asked again.  It joins
features thinner than its smallest size without an error; such edges are counted here, and mended likewise.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fem_spall.errors import MeshingError
from fem_spall.mesh.arrays import triangle_areas
from fem_spall.mesh.distance import faces_near, places_beyond, touched
from fem_spall.mesh.mend_walls import folded_triangles, mend_walls, triangle_shapes
from fem_spall.mesh.mmg import FLAT, flattened, mmgs, ridges_and_corners
from fem_spall.mesh.plane_faces import delaunay_faces
from fem_spall.mesh.pull_walls import pulled
from fem_spall.mesh.tagged_surface import TaggedSurface, facet_edges, split_edges

__all__ = ["fineness", "is_polyhedron", "keep_walls", "remesh", "remesh_plate"]

type Floats = NDArray[np.float64]
type Bools = NDArray[np.bool_]

#: Where the triangles of the cracks are on average larger than this times the smallest size, they are taken as the
#: facets of a polyhedron.
POLYHEDRON = 3.0
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
#: Where the walls stay as they are: parts of the tolerance that a change may use up, one after the other; passes over
#: the faces of the block, and length of an edge, in smallest sizes, above which it is halved.
PARTS, FACE_PASSES, LONG = (1 / 2, 1 / 4, 1 / 8, 1 / 16), 2, 3.0
#: Shape below which a triangle of the walls is mended, and length below which its edges count as bad shape; share of
#: the area in such triangles above which walls are not kept; share of flat edges that makes flat facets.
MENDED, SHORT, BAD, LEVEL = 0.5, 0.3, 0.1, 0.2
#: Up to what of the tolerance a place counts as near, and how much of it mending may use up.
WITHIN, OFF = 0.9, 0.15
#: Shape above which given triangles may be kept, except where so many rings of neighbours are kept with them as in
#: stubborn places; rings, pass by pass; what of the tolerance MMG is asked for then.
KEPT, STUBBORN, RINGS, HELD = 0.3, 3, (1, 1, 2, 2, 3, 3, 4), 0.65
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
    sizes: Callable[[Floats], Floats] | None = None,
    plain: bool = False,
    close: bool = False,
) -> TaggedSurface:
    """Return the boundary remeshed between the two sizes.

    All lengths in mesh units; ``tolerance`` is the distance to the given surface MMG aims at;
    ``sharp`` keeps folded chains of edges within a crack; ``sizes`` gives the largest sizes at places (n, 3);
    ``plain`` takes MMG's first answer; ``close`` puts right what that leaves beyond the tolerance, as far as that goes.

    Raises
    ------
    MeshingError
        If features thinner than ``size_min`` get pinched, or the faces of the block do not stay as they were.
    """
    fold = size_min if sharp else None
    polyhedron = FLAT if not plain and is_polyhedron(surface, size_min) else None
    given, aim = surface, min(tolerance, size_min / 2)

    def made(one: TaggedSurface, closer: float, local: Floats | None, required: Bools | None = None) -> TaggedSurface:
        least = size_min if local is None else min(size_min, float(local.min()))
        kept = ridges_and_corners(one, fold, polyhedron)
        return flattened(mmgs(one, kept, local, required, hmin=least, hmax=size_max, hgrad=grading, hausd=closer * aim))

    coarse = _mean_edge(surface) > COARSE * size_min
    steps = [(DRIFT, 1.0), (LARGEST_DRIFT, 1.0)] if coarse else [(LARGEST_DRIFT, 1.0)]
    result, nearest = None, 1.0
    for allowed, closer in (*steps, *((LARGEST_DRIFT, fraction) for fraction in CLOSER)):
        if given is surface and result is not None and coarse:
            given = _faceted(surface, tolerance * FACETED)
        answer = made(given, closer, sizes(given.vertices) if sizes is not None else None)
        _refuse_faults(surface, answer)
        if result is None or _drift(surface, answer) < _drift(surface, result):
            result, nearest = answer, closer
        if plain or surface.thin is not None or _drift(surface, result) <= allowed:
            break
    assert result is not None
    for _ in range(0 if plain else PASSES):
        wanted = _narrow(result, size_min, size_max)
        if wanted is None:
            break
        finer = made(result, 1.0, wanted)
        if _drift(surface, finer) > max(_drift(surface, result), DRIFT):
            break  # walls so close that mending their triangles lets them bulge into each other
        _refuse_faults(surface, finer)
        result = finer
    if close:

        def again(one: TaggedSurface, keep: Bools) -> TaggedSurface:
            return made(one, HELD * nearest, sizes(one.vertices) if sizes is not None else None, keep)

        if surface.thin is None and polyhedron is None:
            result = _pulled(surface, result, tolerance, size_min)
        else:  # the edges of facets are not known there and would be cut
            result = _held(surface, given, result, tolerance, again)
        _refuse_faults(surface, result)
    _refuse_drift(surface, result)
    return result


def _pulled(surface: TaggedSurface, result: TaggedSurface, tolerance: float, size_min: float) -> TaggedSurface:
    """The surface mended and pulled to the given one where it is further off than the tolerance, while that helps."""
    before = len(surface.faces) + len(result.faces)
    while True:
        result = delaunay_faces(mend_walls(result, MENDED, SHORT * size_min, OFF * tolerance))
        beyond = len(places_beyond(surface, result, WITHIN * tolerance))
        if not 0 < beyond < before:
            return result
        result, before = pulled(result, surface, WITHIN * tolerance), beyond


def _held(
    surface: TaggedSurface, given: TaggedSurface, result: TaggedSurface, tolerance: float,
    again: Callable[[TaggedSurface, Bools], TaggedSurface],
) -> TaggedSurface:  # fmt: skip
    """The surface remade with the given triangles where it would be further off than the tolerance otherwise."""
    shaped = given.on_cracks & (triangle_shapes(given.vertices[given.faces]) > KEPT)
    shaped &= ~touched(given, folded_triangles(given))
    keep = np.zeros(len(given.faces), dtype=bool)
    for rings in RINGS:
        places = places_beyond(surface, result, WITHIN * tolerance)
        if len(places) == 0:
            break
        far = faces_near(given, places)
        for _ in range(rings):
            far = touched(given, far)
        keep |= far & (shaped if rings < STUBBORN else given.on_cracks)
        result = again(given, keep)
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
        result = flattened(mmgs(result, kept, wanted, hmin=least, hmax=size_max, hgrad=grading, hausd=aim))
        _refuse_faults(surface, result)
        wanted = _narrow(result, size_min, size_max, PLATE_LEAST)
        if wanted is None:
            break
        least = min(size_min, float(wanted.min()))
    _refuse_drift(surface, result)
    return result


def keep_walls(
    surface: TaggedSurface, size_min: float, size_max: float, grading: float, tolerance: float
) -> TaggedSurface:
    """Return the boundary with the faces of the block remeshed and the walls of the cracks as they are.

    For walls that are about as fine as the mesh: their badly shaped triangles are mended one by one within the
    tolerance, their edges longer than :data:`LONG` are halved, and all else stays, so that shape and areas are those
    given.

    Raises
    ------
    MeshingError
        If the faces of the block do not stay as they were.
    """
    for part in PARTS:  # changes of one place add up
        result = mend_walls(surface, MENDED, SHORT * size_min, part * tolerance)
        if not len(places_beyond(surface, result, WITHIN * tolerance)):
            break
    result = delaunay_faces(_divided(result, LONG * size_min))
    for _ in range(FACE_PASSES):
        kept = ridges_and_corners(result, None)
        least = size_min * LEAST
        result = flattened(
            mmgs(result, kept, None, result.on_cracks, hmin=least, hmax=size_max, hgrad=grading, hausd=size_min / 2)
        )
        result = delaunay_faces(result)
        _refuse_faults(surface, result)
    _refuse_drift(surface, result)
    return result


def _divided(surface: TaggedSurface, longest: float) -> TaggedSurface:
    """The surface with the edges of its walls halved until none is longer than that."""
    for _ in range(ROUNDS):
        edges, index = facet_edges(surface.faces)
        length = np.linalg.norm(surface.vertices[edges[:, 0]] - surface.vertices[edges[:, 1]], axis=1)
        wall = np.zeros(len(edges), dtype=bool)
        wall[index[surface.on_cracks]] = True
        if not (split := wall & (length > longest)).any():
            break
        surface = split_edges(surface, split)
    return surface


def fineness(surface: TaggedSurface, size: float) -> float:
    """Mean edge of the walls over a size; 0 where they cannot be kept.

    That is where too many of their triangles are badly shaped, or where they are the large and flat facets of a
    polyhedron, on which the mesh need not be fine.
    """
    own = surface.faces[surface.on_cracks]
    area = triangle_areas(surface.vertices[own])
    bad = area[triangle_shapes(surface.vertices[own]) < MENDED].sum() > BAD * area.sum()
    flat = is_polyhedron(surface, size) and _flat_share(surface.vertices, own) > LEVEL
    return 0.0 if bad or flat else _mean_edge(surface) / size


def _flat_share(vertices: Floats, faces: NDArray[np.int64]) -> float:
    """Share of the edges between two triangles that do not turn."""
    corners = vertices[faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), np.finfo(float).tiny)
    index = facet_edges(faces)[1].ravel()
    order = np.argsort(index, kind="stable")
    pairs = order[np.flatnonzero(np.diff(index[order]) == 0)[:, None] + [0, 1]] // 3
    turn = np.einsum("ij,ij->i", normal[pairs[:, 0]], normal[pairs[:, 1]])
    return float((turn > np.cos(FLAT)).mean()) if len(turn) else 0.0


def _refuse_drift(given: TaggedSurface, result: TaggedSurface) -> None:
    if _drift(given, result) > LARGEST_DRIFT:
        raise MeshingError(
            22, "surface mesh", f"the volume of the cracks changes by {_drift(given, result):.1%}, more than 1 %",
            "lower mesh.size_min or mesh.surface_tolerance",
        )  # fmt: skip


def _refuse_faults(given: TaggedSurface, result: TaggedSurface) -> None:
    pinched = _bad_edges(result, given)
    if len(pinched):
        places = "; ".join(_um(place * given.unit) for place in pinched[:3])
        raise MeshingError(
            20, "surface mesh", f"{len(pinched)} edges get pinched, the crack is thinner there than the mesh: {places}",
            "lower mesh.size_min, or open the crack there",
        )  # fmt: skip
    if _changed_planes(given, result):
        raise MeshingError(
            21, "surface mesh", "the faces of the block did not keep their areas",
            "lower mesh.size_min or mesh.surface_tolerance",
        )  # fmt: skip


def _um(place: Floats) -> str:
    return "(" + ", ".join(f"{v:.4g}" for v in place * 1e6) + ") um"


def is_polyhedron(surface: TaggedSurface, size: float) -> bool:
    """Whether the triangles of the cracks are so large, against a size in mesh units, that they are meant as facets."""
    return _mean_edge(surface) > POLYHEDRON * size


def _mean_edge(surface: TaggedSurface) -> float:
    """Edge of the regular triangle as large as those of the cracks are on average."""
    own = triangle_areas(surface.vertices[surface.faces[surface.on_cracks]])
    return float(np.sqrt(own.mean() * 4 / np.sqrt(3))) if own.size else 0.0


def _narrow(surface: TaggedSurface, smallest: float, largest: float, fraction: float = LEAST) -> Floats | None:
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


def _bad_edges(surface: TaggedSurface, given: TaggedSurface) -> Floats:
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


def _on_lines(points: Floats, lines: Floats) -> Bools:
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
