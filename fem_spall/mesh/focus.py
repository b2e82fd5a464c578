"""Where the mesh must be finer, and how a boundary of flat facets is refined without moving it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fem_spall.crack.triangles import numbered
from fem_spall.mesh.arrays import MeshArrays
from fem_spall.mesh.sides import inner_facets
from fem_spall.mesh.sizes import SizeField
from fem_spall.mesh.tagged_surface import TaggedSurface, facet_edges, split_edges

__all__ = ["Focus", "refined_boundary", "split_facets"]

#: Rounds of edge splitting at most; each halves the longest edges.
ROUNDS = 12
#: Growth of the size with the distance from a focus.
SLOPE = 0.3


@dataclass(frozen=True)
class Focus:
    """Places that need a size: ``centres`` (c, 3) float, ``radius`` of the ball round each and ``size``, m."""

    centres: NDArray[np.float64]
    radius: float
    size: float

    def size_at(self, places: NDArray[np.float64]) -> NDArray[np.float64]:
        """Size asked for at places (p, 3), (p,) float, m."""
        from scipy.spatial import cKDTree

        distance = cKDTree(self.centres).query(places)[0]
        return np.asarray(self.size + SLOPE * np.maximum(distance - self.radius, 0.0))


def refined_boundary(arrays: MeshArrays, foci: list[Focus], sizes: SizeField | None = None) -> TaggedSurface:
    """Return the boundary of a straight-sided mesh, its facets split round the foci and where the sizes ask for it.

    Every edge longer than 4/3 of the size asked for there is halved, and the facets on it are divided along
    the new vertices; shape, names and orientation stay as they are.
    """
    used, faces = numbered(arrays.facets)
    boundary = TaggedSurface(
        arrays.points[used], faces, arrays.tags, arrays.names, np.array(arrays.info["box"]), arrays.unit,
        thin=inner_facets(arrays),
    )  # fmt: skip
    return split_facets(boundary, foci, sizes)


def split_facets(surface: TaggedSurface, foci: list[Focus], sizes: SizeField | None = None) -> TaggedSurface:
    """Return the triangles divided as :func:`refined_boundary` does it."""
    asked = [focus.size_at for focus in foci] + ([sizes.at] if sizes is not None else [])
    known = 0
    for _ in range(ROUNDS):
        edges, _ = facet_edges(surface.faces)
        new = np.flatnonzero(edges[:, 1] >= known)  # those between vertices of the last round were short enough
        known = len(surface.vertices)
        ends = surface.vertices[edges[new]]
        length = np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1) / (4 / 3) * surface.unit
        middle = ends.mean(axis=1) * surface.unit
        split = np.zeros(len(edges), dtype=bool)
        for size_at in asked:
            split[new] |= length > size_at(middle)
        if not split.any():
            break
        surface = split_edges(surface, split)
    return surface
