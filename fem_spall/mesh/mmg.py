"""One call of MMG on a tagged boundary, and what of it must stay sharp.

MMG's own ridge detection misses the edge where a crack meets the plating face at a
shallow angle; it then averages the normals across it and the plane bulges.  So every edge
between two surfaces is handed over as a ridge, every vertex of three or more as a corner, and
detection is off.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from fem_spall.crack.triangles import numbered, unique_rows
from fem_spall.mesh.arrays import FACES
from fem_spall.mesh.tagged_surface import TaggedSurface, facet_edges

__all__ = ["FLAT", "flattened", "in_chains", "mmgs", "ridges_and_corners"]

#: Bend of the rim of a sheet, rad, that is kept as a corner.
CORNER = np.radians(45)
#: Turn of the normal, rad, above which an edge within a crack counts as folded.  Measured on a lens with a
#: knife-edged rim at hmin 0.2 um: largest distance to the input 0.20 um without, 0.06 um with it.
SHARP = np.radians(60)
#: Folded edges are kept only in chains of at least this many edges or smallest sizes (a coarse file has few, long
#: edges); single ones are noise and spoil the mesh.
CHAIN = 8
#: An edge of that length on its own is kept if the normal turns by more than FACET, rad; where triangles are meant as
#: the facets of a polyhedron, all edges that turn by more than FLAT are kept.
FACET, FLAT = np.radians(15), np.radians(1)


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
    pairs = np.stack([surface.faces.ravel(), np.repeat(tags, 3)], axis=1)
    meeting = np.bincount(pairs[unique_rows(pairs)[0], 0])
    # Outlines of regions on a face; the corners of the block itself are those of three surfaces.
    flat = [tag for face in surface.parts.values() if face in FACES for tag in surface.tags_of(face)]
    fixed = [
        np.flatnonzero(meeting >= 3),
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
        ridges = np.concatenate([ridges, edges[folded][in_chains(edges[folded], length[folded])], edges[long]])
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
    fans = np.stack([faces.ravel(), fan], axis=1)
    return np.flatnonzero(np.bincount(fans[unique_rows(fans)[0], 0]) > 1)


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


def in_chains(edges: NDArray[np.int64], length: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which edges hang together in groups of at least :data:`CHAIN` edges, or of that length in smallest sizes."""
    if len(edges) == 0:
        return np.zeros(0, dtype=bool)
    size = int(edges.max()) + 1
    graph = coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(size, size))
    label = connected_components(graph, directed=False)[1][edges[:, 0]]
    return np.asarray((np.bincount(label) >= CHAIN)[label] | (np.bincount(label, length) >= CHAIN)[label])


def mmgs(
    surface: TaggedSurface,
    kept: tuple[NDArray[np.int64], NDArray[np.int64]],
    at_vertices: NDArray[np.float64] | None,
    required: NDArray[np.bool_] | None = None,
    **sizes: float,
) -> TaggedSurface:
    """Return what MMG makes of a surface.

    ``kept`` are the ridges and corners, ``at_vertices`` (n,) sizes there, ``required`` (m,) triangles that stay, and
    ``sizes`` MMG's hmin, hmax, hgrad and hausd.
    """
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
    used, packed = numbered(faces)
    thin = np.isin(tags, np.unique(surface.tags[surface.thin])) if surface.thin is not None else None
    return replace(surface, vertices=vertices[used], faces=packed, tags=tags, thin=thin)


def flattened(surface: TaggedSurface) -> TaggedSurface:
    """Return the surface with the vertices of the block's faces on their planes, which MMG may leave by rounding."""
    vertices = surface.vertices.copy()
    for tag, (axis, coordinate) in surface.planes().items():
        own, _ = numbered(surface.faces[surface.tags == tag])
        vertices[own, axis] = coordinate
    return replace(surface, vertices=vertices)
