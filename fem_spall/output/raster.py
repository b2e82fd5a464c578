"""Pictures of a triangulated surface without a graphics library.

A server often has no GL at all, and VTK then ends the whole process.  A depth
buffer in NumPy draws the forty thousand triangles of a crack in a second, gives
the same pixels everywhere, and needs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
    depth = points[:, 2]
    low, high = float(depth.min()), float(depth.max())
    scale = (2**30) / max(high - low, 1e-300)
    # Depth in the upper and triangle in the lower half of one integer: a single maximum settles both.
    buffer = np.full(width * height, -1, dtype=np.int64)
    for start in range(0, len(faces), 20_000):
        index, column, row = _covered(points, faces[start : start + 20_000], width, height)
        index = index + start
        weights = _weights(points, faces[index], column, row)
        z = np.einsum("ij,ij->i", weights, depth[faces[index]])
        code = (((np.clip(z, low, high) - low) * scale).astype(np.int64) << 32) | index
        np.maximum.at(buffer, row * width + column, code)
    shown = np.where(buffer >= 0, buffer & 0xFFFFFFFF, -1)
    corners = np.zeros((width * height, 3))
    seen = np.flatnonzero(shown >= 0)
    corners[seen] = _weights(points, faces[shown[seen]], seen % width, seen // width)
    return shown.reshape(height, width), corners.reshape(height, width, 3)


def _covered(points: Floats, faces: Ints, width: int, height: int) -> tuple[Ints, Ints, Ints]:
    """Return triangle, column and row of every pixel centre that a triangle covers."""
    x, y = points[faces, 0], points[faces, 1]
    first = np.clip(np.ceil(y.min(axis=1) - 0.5), 0, height).astype(np.int64)
    last = np.clip(np.floor(y.max(axis=1) - 0.5), -1, height - 1).astype(np.int64)
    triangle, row = _ranges(first, last)
    centre = row + 0.5
    left, right = np.full(len(row), np.inf), np.full(len(row), -np.inf)
    for a, b in ((0, 1), (1, 2), (2, 0)):
        ya, yb = y[triangle, a], y[triangle, b]
        with np.errstate(divide="ignore", invalid="ignore"):
            t = (centre - ya) / (yb - ya)
            crossing = x[triangle, a] + t * (x[triangle, b] - x[triangle, a])
        hit = (t >= 0) & (t <= 1)
        left = np.where(hit, np.minimum(left, crossing), left)
        right = np.where(hit, np.maximum(right, crossing), right)
    left, right = np.where(np.isfinite(left), left, 1.0), np.where(np.isfinite(right), right, 0.0)
    span, column = _ranges(
        np.clip(np.ceil(left - 0.5), 0, width).astype(np.int64),
        np.clip(np.floor(right - 0.5), -1, width - 1).astype(np.int64),
    )
    return triangle[span], column, row[span]


def _ranges(first: Ints, last: Ints) -> tuple[Ints, Ints]:
    """Return owner and member of the ranges first..last (inclusive), laid end to end."""
    count = np.maximum(last - first + 1, 0)
    owner = np.repeat(np.arange(len(first)), count)
    return owner, np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + first[owner]


def _weights(points: Floats, corners: Ints, column: Ints, row: Ints) -> Floats:
    """Return barycentric coordinates of pixel centres in their triangles, (k, 3) float."""
    a, b, c = (points[corners[:, i], :2] for i in range(3))
    p = np.stack([column + 0.5, row + 0.5], axis=1)
    det = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (c[:, 0] - a[:, 0]) * (b[:, 1] - a[:, 1])
    det = np.where(det == 0, 1e-300, det)
    wb = ((p[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (c[:, 0] - a[:, 0]) * (p[:, 1] - a[:, 1])) / det
    wc = ((b[:, 0] - a[:, 0]) * (p[:, 1] - a[:, 1]) - (p[:, 0] - a[:, 0]) * (b[:, 1] - a[:, 1])) / det
    return np.clip(np.stack([1 - wb - wc, wb, wc], axis=1), 0, 1)
