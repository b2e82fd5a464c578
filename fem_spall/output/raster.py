"""Pictures of a triangulated surface without a graphics library.

A server often has no GL at all, and VTK then ends the whole process.  A depth
buffer (``recovery.c``) draws the forty thousand triangles of a crack in a few
hundredths of a second and gives the same pixels everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fem_spall.kernels import kernels

__all__ = ["Camera", "visible"]

type Floats = NDArray[np.float64]
type Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Camera:
    """Parallel projection that keeps the z axis upright.

    Attributes
    ----------
    azimuth, elevation : float
        Direction from the object to the eye, degrees; elevation -90 looks up from below.
    """

    azimuth: float
    elevation: float

    @property
    def axes(self) -> Floats:
        """Right, up and towards-the-eye directions as rows, (3, 3) float."""
        a, e = np.radians([self.azimuth, self.elevation])
        right = np.array([-np.sin(a), np.cos(a), 0.0])
        eye = np.array([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)])
        return np.stack([right, np.cross(eye, right), eye])

    def project(self, points: Floats) -> Floats:
        """Return right, up, depth (larger is nearer), (n, 3) float, in the unit of the points."""
        return np.asarray(points, dtype=float) @ self.axes.T


def visible(points: Floats, faces: Ints, width: int, height: int) -> tuple[Ints, Floats]:
    """Return which triangle each pixel shows, and the barycentric coordinates there.

    Parameters
    ----------
    points : (n, 3) float
        Column, row and depth in pixels; a pixel's centre is at (column + 0.5, row + 0.5).
    faces : (m, 3) int
        Triangles.
    width, height : int
        Size of the picture.

    Returns
    -------
    (height, width) int and (height, width, 3) float
        Index into ``faces``, -1 where nothing is seen; weights of its three corners.
    """
    shown, weights = np.empty((height, width), dtype=np.int64), np.empty((height, width, 3))
    depth = points[:, 2]
    low, high = float(depth.min()), float(depth.max())
    scale = (2**30) / max(high - low, 1e-300)
    place = np.ascontiguousarray(points, dtype=float), width, height, low, high, scale
    kernels("double")("rasterise", len(faces), np.ascontiguousarray(faces, dtype=np.int64), *place, shown, weights)
    return shown, weights
