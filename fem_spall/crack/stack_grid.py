"""Where the voxels of an image are in the block: axes, drift, tilt, and what lies beyond the block's faces."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fem_spall.crack.base import Block
from fem_spall.crack.surface_file import Placement

__all__ = ["Grid", "Image", "extend", "image_in_block"]

type Floats = NDArray[np.float64]

#: An image that ends within so many voxels of a face of the block is taken to reach it.
NEAR = 0.75


@dataclass(frozen=True)
class Grid:
    """Positions of voxels (i, j, k): their centres are (i + 1/2, j + 1/2 + lag of slice k, k + 1/2) steps away.

    ``origin`` (3,) float and ``steps`` (3, 3) float, one row for each axis of the image, in m of the block;
    ``lag`` (nz,) float, in voxels.
    """

    origin: Floats
    steps: Floats
    lag: Floats

    @property
    def voxel(self) -> Floats:
        """Edges of a voxel, (3,) float, m."""
        return np.linalg.norm(self.steps, axis=1)

    @property
    def volume(self) -> float:
        """Volume of a voxel, m^3."""
        return float(abs(np.linalg.det(self.steps)))

    @property
    def mirrored(self) -> bool:
        """Whether the axes of the image are left-handed in the block."""
        return bool(np.linalg.det(self.steps) < 0)

    def unsheared(self, corners: Floats) -> Floats:
        """Corners of voxels (n, 3), in voxels, each level between two slices shifted by their mean lag."""
        result = corners.copy()
        result[:, 1] += np.interp(corners[:, 2], np.arange(len(self.lag)) + 0.5, self.lag)
        return result

    def place(self, points: Floats) -> Floats:
        """Block coordinates, (n, 3) float, m, of unsheared points in voxels."""
        result: Floats = self.origin + points @ self.steps
        return result

    def meet_faces(self, stairs: Floats, points: Floats, block: Block) -> None:
        """Put the corners of the layer of voxels that ends nearest to a face of the block onto it, in place.

        Faces then cut walls along edges; a wall cut anywhere leaves triangles as flat as it likes, which remeshing
        folds.  ``stairs`` (n, 3) float, m, are the places of the corners (n, 3) ``points`` before smoothing.  Images
        that are turned against the block by other than right angles stay as they are.
        """
        for axis in range(3):
            steps = np.sort(np.abs(self.steps[:, axis]))
            if steps[1] > 1e-9 * steps[2]:
                continue
            for face in (0.0, block.size[axis]):
                off = (stairs[:, axis] - face) / steps[2]
                points[(off > -0.5) & (off <= 0.5), axis] = face

    def coordinate(self, axis: int, shape: tuple[int, ...]) -> tuple[Floats, Floats, Floats]:
        """Three arrays (nx, 1, 1), (1, ny, 1), (1, 1, nz) that add up to a block coordinate of all centres, m."""
        i, j, k = (np.arange(n) + 0.5 for n in shape)
        step = self.steps[:, axis]
        last = k * step[2] + self.lag * step[1] + self.origin[axis]
        return (i * step[0])[:, None, None], (j * step[1])[None, :, None], last[None, None, :]

    def moved(self, low: tuple[int, int, int], shape: tuple[int, ...]) -> Grid:
        """The grid of an array of this shape that begins at voxel ``low``; beyond its ends the lag goes on."""
        slices = np.clip(np.arange(low[2], low[2] + shape[2]), 0, len(self.lag) - 1)
        return Grid(self.origin + np.array(low) @ self.steps, self.steps, self.lag[slices])


@dataclass(frozen=True)
class Image:
    """Phases of voxels, (nx, ny, nz) uint8, where they are, and which rows each slice has seen, (nz, 2) int."""

    phases: NDArray[np.uint8]
    grid: Grid
    seen: NDArray[np.int64]
    columns: tuple[int, int]
    slices: tuple[int, int]

    def inside(self, block: Block) -> NDArray[np.bool_]:
        """Which voxels have their centre in the block, (nx, ny, nz)."""
        result = np.ones(self.phases.shape, dtype=bool)
        for axis in range(3):
            i, j, k = self.grid.coordinate(axis, self.phases.shape)
            value = i + j + k
            result &= (value > 0) & (value < block.size[axis])
        return result

    def beyond(self, block: Block) -> NDArray[np.bool_]:
        """Which voxels have their centre beyond the plating face, (nx, ny, nz)."""
        i, j, k = self.grid.coordinate(2, self.phases.shape)
        return i + j + k > block.height if block.plating_face == "+z" else i + j + k < 0

    def within_view(self) -> NDArray[np.bool_]:
        """Which voxels the image has seen, (nx, ny, nz)."""
        nx, ny, nz = self.phases.shape
        i, j, k = np.arange(nx), np.arange(ny), np.arange(nz)
        rows = (j[:, None] >= self.seen[:, 0]) & (j[:, None] < self.seen[:, 1])
        rows &= (k >= self.slices[0]) & (k < self.slices[1])
        return ((i >= self.columns[0]) & (i < self.columns[1]))[:, None, None] & rows


def grid_of(
    low: Floats, voxel: Floats, shape: tuple[int, ...], drift: float, first: int, place: Placement
) -> tuple[Grid, Floats]:
    """Return the grid of an image at its place in the block, with its whole lag, and its eight corners, (8, 3), m.

    ``low`` (3,) is its low corner and ``voxel`` (3,) its voxels, m, before it is placed; slice ``first`` + k
    has drifted along y by ``drift`` times that number.
    """
    lag = -drift * (first + np.arange(shape[2])) / voxel[1]
    corners = np.array([[i & 1, i >> 1 & 1, i >> 2] for i in range(8)], dtype=float)
    frame = corners * shape
    frame[:, 1] += lag[np.where(corners[:, 2] > 0, -1, 0)]
    box = low + frame * voxel
    moved, _ = place.apply(box, np.zeros((0, 3), dtype=np.int64))
    # The placement is affine in the frame that its corners span.
    ones = np.column_stack([box / voxel.max(), np.ones(8)])
    affine = np.linalg.lstsq(ones, moved, rcond=None)[0]
    matrix = affine[:3] / voxel.max()
    return Grid(low @ matrix + affine[3], voxel[:, None] * matrix, lag), moved


def image_in_block(phases: NDArray[Any], grid: Grid, block: Block, margin: int) -> Image:
    """Return the part of an image that is in the block or within a margin of it, drift undone to the nearest voxel.

    ``phases`` (nx, ny, nz) uint8 is only read.  Around it are voxels of phase 0.
    """
    corners = np.array([[i & 1, i >> 1 & 1, i >> 2] for i in range(8)]) * np.array(block.size)
    reach = (corners - grid.origin) @ np.linalg.inv(grid.steps)
    shift = np.rint(grid.lag).astype(np.int64)
    low = np.floor(reach.min(axis=0)).astype(np.int64) - 2
    high = np.ceil(reach.max(axis=0)).astype(np.int64) + 2
    x0, z0 = max(int(low[0]), 0), max(int(low[2]), 0)
    x1, z1 = min(int(high[0]), phases.shape[0]), min(int(high[2]), phases.shape[2])
    x1, z1 = max(x1, x0 + 1), max(z1, z0 + 1)
    phases, shift = phases[x0:x1, :, z0:z1], shift[z0:z1]
    rows = phases.shape[1]
    y0 = max(int(low[1]) - 1, int(shift.min()))
    y1 = max(min(int(high[1]) + 1, int(shift.max()) + rows), y0 + 1)
    shape = (x1 - x0 + 2 * margin, y1 - y0 + 2 * margin, z1 - z0 + 2 * margin)
    result = np.zeros(shape, dtype=np.uint8)
    seen = np.zeros((shape[2], 2), dtype=np.int64)
    for k, move in enumerate(shift.tolist()):
        begin, end = max(y0, move), min(y1, move + rows)
        seen[k + margin] = (begin - y0 + margin, max(end, begin) - y0 + margin)
        if end > begin:
            part = phases[:, begin - move : end - move, k]
            result[margin:-margin, begin - y0 + margin : end - y0 + margin, k + margin] = part
    seen[:margin], seen[-margin:] = seen[margin], seen[-margin - 1]
    left = replace(grid, lag=grid.lag - np.rint(grid.lag))
    placed = left.moved((x0 - margin, y0 - margin, z0 - margin), shape)
    return Image(result, placed, seen, (margin, shape[0] - margin), (margin, shape[2] - margin))


def extend(image: Image, block: Block) -> None:
    """Fill everything beyond the faces of the block, in place, with copies of the last voxels before them.

    So that the lithium runs through the faces and smoothing does not pull it off them.  Where the image
    ends within :data:`NEAR` voxels of a face, its last voxels are taken.
    """
    for axis in range(3):
        along = int(np.abs(image.grid.steps[:, axis]).argmax())
        step = float(image.grid.steps[along, axis])
        parts = [np.moveaxis(part, along, 0) for part in image.grid.coordinate(axis, image.phases.shape)]
        ends = [sum(part[at] if k == along else part[0] for k, part in enumerate(parts)) for at in (0, -1)]
        phases = np.moveaxis(image.phases, along, 0)
        first, last = (np.broadcast_to(end, phases.shape[1:]) for end in _view(image, along))
        n = phases.shape[0]
        for rising in (True, False):
            face = block.size[axis] if rising == (step > 0) else 0.0
            # Voxels still to go from the first centre of each column to the face, against or along the axis.
            room = np.asarray((face - ends[0]) if rising else (ends[1] - face)) / step
            end = np.floor(room + 1e-9).astype(np.int64)
            view = last - 1 if rising else n - 1 - first
            end = np.where((view < end) & (room - view - 0.5 <= NEAR), view, end)
            ordered = phases if rising else phases[::-1]
            for t in range(max(int(end.min()) + 1, 1), n):
                ordered[t] = np.where(t > end, ordered[t - 1], ordered[t])


def _view(image: Image, along: int) -> tuple[Any, Any]:
    """First seen voxel and the one after the last along an axis, for the other two axes."""
    if along == 1:
        return image.seen[:, 0][None, :], image.seen[:, 1][None, :]
    return image.columns if along == 0 else image.slices
