"""Where the mesh must be finer, and how a boundary of flat facets is refined without moving it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from fem_spall.mesh.arrays import MeshArrays
from fem_spall.mesh.embed import TaggedSurface, facet_edges
from fem_spall.mesh.sizes import SizeField

__all__ = ["Focus", "refined_boundary"]

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


def refined_boundary(arrays: MeshArrays, foci: list[Focus], sizes: SizeField | None = None) -> TaggedSurface:
    """Return the boundary of a straight-sided mesh, its facets split round the foci and where the sizes ask for it.

    Every edge longer than 4/3 of the size asked for there is halved, and the facets on it are divided along
    the new vertices; shape, names and orientation stay as they are.
    """
    used, faces = np.unique(arrays.facets, return_inverse=True)
    vertices, faces, tags = arrays.points[used], faces.reshape(-1, 3), arrays.tags
    for _ in range(ROUNDS):
        edges, index = facet_edges(faces)
        ends = vertices[edges]
        length = np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1)
        middle = ends.mean(axis=1)
        split = np.zeros(len(edges), dtype=bool)
        for focus in foci:
            distance = cKDTree(focus.centres / arrays.unit).query(middle)[0]
            size = focus.size / arrays.unit + SLOPE * np.maximum(distance - focus.radius / arrays.unit, 0.0)
            split |= length > 4 / 3 * size
        if sizes is not None:
            split |= length > 4 / 3 * sizes.at(middle * arrays.unit) / arrays.unit
        if not split.any():
            break
        number = np.full(len(edges), -1, dtype=np.int64)
        number[split] = len(vertices) + np.arange(int(split.sum()))
        vertices = np.concatenate([vertices, middle[split]])
        faces, parent = _divided(vertices, faces, number[index])
        tags = tags[parent]
    return TaggedSurface(vertices, faces, tags, arrays.names, np.array(arrays.info["box"]), arrays.unit)


def _divided(
    vertices: NDArray[np.float64], faces: NDArray[np.int64], middle: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divide triangles at the middles of their sides, (m, 3) int, -1 where a side stays whole.

    Returns the new triangles and the number of the old one each came from.
    """
    count = (middle >= 0).sum(axis=1)
    # Turn each triangle so that with one split side it is the first, with two the last stays whole.
    turn = np.where(count == 1, (middle >= 0).argmax(axis=1), np.where(count == 2, (middle < 0).argmax(axis=1) + 1, 0))
    order = (turn[:, None] + np.arange(3)) % 3
    faces, middle = np.take_along_axis(faces, order, 1), np.take_along_axis(middle, order, 1)
    (v0, v1, v2), (a, b, c) = faces.T, middle.T
    short = np.linalg.norm(vertices[v0] - vertices[b], axis=1) < np.linalg.norm(vertices[a] - vertices[v2], axis=1)
    whole, one, two, three = (count == k for k in range(4))
    pieces = [
        (whole, (v0, v1, v2)),
        (one, (v0, a, v2)), (one, (a, v1, v2)),
        (two, (a, v1, b)),
        (two & short, (v0, a, b)), (two & short, (v0, b, v2)),
        (two & ~short, (v0, a, v2)), (two & ~short, (a, b, v2)),
        (three, (v0, a, c)), (three, (a, v1, b)), (three, (b, v2, c)), (three, (a, b, c)),
    ]  # fmt: skip
    new = np.concatenate([np.stack(corner, axis=1)[on] for on, corner in pieces])
    parent = np.concatenate([np.nonzero(on)[0] for on, _ in pieces])
    order = np.argsort(parent, kind="stable")
    return new[order], parent[order]
