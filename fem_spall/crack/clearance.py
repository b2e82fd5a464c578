"""Where two sheets of a surface face each other closely: thin gaps outside of it, thin walls inside."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fem_spall.crack.crossings import close_pairs

__all__ = ["Clearance", "clearance"]

type Floats = NDArray[np.float64]
type Ints = NDArray[np.int64]

FACING = -0.5  # cosine between the normals of faces that look at each other: within 60 degrees


class Clearance(NamedTuple):
    """Distance from each face to the nearest one that faces it, (m,) float, m; infinite beyond the search."""

    gap: Floats
    wall: Floats


def clearance(vertices: Floats, faces: Ints, within: float) -> Clearance:
    """Return how near each face has another sheet in front of it (gap) and behind it (wall), up to ``within``.

    Distances are measured from the corners and the middle of one face along the normal of the
    other one, where they lie above it.  Faces with a common corner do not face each other.
    The faces must have an area and be oriented outwards.

    Raises
    ------
    GeometryError
        If too many faces lie that close to each other.
    """
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    size = max(float((high - low).max()), 1e-300)
    corners = ((vertices - (low + high) / 2) / size)[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1), 1e-300)[:, None]
    found = Clearance(np.full(len(faces), np.inf), np.full(len(faces), np.inf))
    for pairs in close_pairs(corners, within / size):
        facing = np.einsum("ij,ij->i", normals[pairs[:, 0]], normals[pairs[:, 1]]) < FACING
        pairs = pairs[facing]
        apart = ~(faces[pairs[:, 0]][:, :, None] == faces[pairs[:, 1]][:, None, :]).any(axis=(1, 2))
        for one, other in (pairs[apart].T, pairs[apart].T[::-1]):
            height = _heights(corners, normals, one, other)
            for distance, sign in ((found.gap, 1), (found.wall, -1)):
                k = np.flatnonzero((sign * height > 0) & (np.abs(height) <= within / size))
                for face in (one[k], other[k]):
                    np.minimum.at(distance, face, np.abs(height[k]) * size)
    return found


def _heights(corners: Floats, normals: Floats, one: Ints, other: Ints) -> Floats:
    """Smallest height of a face ``one`` over the face ``other``, (k,) float; infinite where it is not above it."""
    a, b, c = np.moveaxis(corners[other], 1, 0)
    normal = normals[other]
    best = np.full(len(one), np.inf)
    points = [*np.moveaxis(corners[one], 1, 0), corners[one].mean(axis=1)]
    for point in points:
        inside = np.ones(len(one), dtype=bool)
        for start, end in ((a, b), (b, c), (c, a)):
            inside &= np.einsum("ij,ij->i", np.cross(end - start, point - start), normal) >= 0
        height = np.einsum("ij,ij->i", point - a, normal)
        best = np.where(inside & (np.abs(height) < np.abs(best)), height, best)
    return best
