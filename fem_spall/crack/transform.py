"""Changes of shape of a reconstructed surface, so that a real crack can be swept: deeper, wider, smoother."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fem_spall.crack.base import Block
from fem_spall.model import Model
from fem_spall.quantity import Length, PositiveLength

__all__ = ["Transform"]

type Floats = NDArray[np.float64]
type Ints = NDArray[np.int64]


class Transform(Model):
    """Changes of shape after placing and repair, in this order.

    Attributes
    ----------
    depth
        Factor on the depth below the plating face.
    smooth
        Wavelength of roughness that is halved; shorter ones go, four times longer ones stay within 0.4 %.
    opening
        Width added to the crack, taken away where negative: each wall moves by half of it along its normal.
    """

    depth: Annotated[float, Field(gt=0, le=20)] = 1.0
    smooth: PositiveLength | None = None
    opening: Length = "0 um"  # type: ignore[assignment]

    @property
    def changes(self) -> bool:
        """Whether there is anything to do."""
        return self != Transform()

    def apply(self, vertices: Floats, faces: Ints, block: Block) -> Floats:
        """Return the vertices (n, 3) float, m, of a closed surface that faces outwards, at their new places."""
        x = np.array(vertices, dtype=float)
        if self.depth != 1:
            z = block.height if block.plating_face == "+z" else 0.0
            x[:, 2] = z + self.depth * (x[:, 2] - z)
        if self.smooth is not None:
            x = _smoothed(x, faces, self.smooth)
        if self.opening:
            x = x + self.opening / 2 * _outwards(x, faces)
        return x


def _smoothed(x: Floats, faces: Ints, wavelength: float) -> Floats:
    """Low-pass of fourth order: (M + L⁴ K M⁻¹ K) y = M x, roughness of wavelength λ keeps 1 / (1 + (wavelength/λ)⁴).

    M are areas by vertex, K the cotangent matrix, L = wavelength / 2π.  Unlike diffusion it hardly shrinks what is
    longer than the wavelength.
    """
    from scipy.sparse import coo_matrix, diags
    from scipy.sparse.linalg import splu

    corners = x[faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
    mass = np.zeros(len(x))
    rows, columns, weights = [], [], []
    for i in range(3):
        np.add.at(mass, faces[:, i], area / 3)
        j, k = (i + 1) % 3, (i + 2) % 3
        a, b = corners[:, j] - corners[:, i], corners[:, k] - corners[:, i]
        # Needles have huge cotangents of either sign; clipped, they are only stiff.
        cotangent = np.clip(np.einsum("ij,ij->i", a, b) / np.maximum(2 * area, 1e-300), 0, 50)
        rows += [faces[:, j], faces[:, k]]
        columns += [faces[:, k], faces[:, j]]
        weights += [cotangent / 2, cotangent / 2]
    adjacency = coo_matrix(
        (np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns))), shape=(len(x), len(x))
    ).tocsr()
    stiffness = diags(np.asarray(adjacency.sum(axis=1)).ravel()) - adjacency
    length = wavelength / (2 * math.pi)
    # In units of the length, so that all numbers are of order one.
    scaled = mass / length**2
    system = diags(scaled) + stiffness @ diags(1 / np.maximum(scaled, 1e-12)) @ stiffness
    middle = x.mean(axis=0)
    smooth: Floats = splu(system.tocsc()).solve(scaled[:, None] * (x - middle)) + middle
    return smooth


def _outwards(x: Floats, faces: Ints) -> Floats:
    """By how much each vertex moves where every wall moves outwards by one: further at folds, at most by two."""
    corners = x[faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-300)
    total, weight = np.zeros_like(x), np.zeros(len(x))
    angles = []
    for i in range(3):
        a, b = corners[:, (i + 1) % 3] - corners[:, i], corners[:, (i + 2) % 3] - corners[:, i]
        cosine = np.einsum("ij,ij->i", a, b) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-300)
        angles.append(np.arccos(np.clip(cosine, -1, 1)))
        np.add.at(total, faces[:, i], angles[i][:, None] * normal)
        np.add.at(weight, faces[:, i], angles[i])
    mean = total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-300)
    along = np.zeros(len(x))
    for i in range(3):
        np.add.at(along, faces[:, i], angles[i] * np.einsum("ij,ij->i", normal, mean[faces[:, i]]))
    return mean / np.maximum(along / np.maximum(weight, 1e-300), 0.5)[:, None]
