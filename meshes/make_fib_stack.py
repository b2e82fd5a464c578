"""Make ``fib_stack.tif``: half a ball of lithium on the plating electrode, as a FIB-SEM would image it.

    python meshes/make_fib_stack.py

The ball of radius 5 um has its centre at (10, 10, 40) um, on the plating face of a block of 20 x 20 x 40 um, so
that the insulating walls make it one of a square lattice of half balls whose currents are known
(``configs/image_stack.yaml``). The image has all that a cross-section by a focused ion beam does to it:

- slices along y of the block, rows along its depth, columns along x, seen from behind: mirrored;
- the electron beam comes in at 52 degrees: rows are closer by sin 52;
- no beam shift followed the milled face: from slice to slice everything drifts down by dz cos 52;
- three different edges of the voxels; the lithium electrode above the ball has the ball's own label;
- specks: 24 islands of lithium in the electrolyte and 12 pinholes in the ball, of up to 8 voxels.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import tifffile

RADIUS, CENTRE, HEIGHT = 5.0, (10.0, 10.0), 40.0  # um
VOXEL = (0.125, 0.100, 0.150)  # um, in the image: column, row, slice
SHAPE = (96, 130, 80)
MIDDLE = (10.5, 10.25, 37.0)  # um, middle of the image in the block; 'place: {centre: ...}' of the case
TILT = math.radians(52)
LITHIUM = 1


def places() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coordinates x, y and depth of all voxels in the block, um, by column, row and slice."""
    i, j, k = np.indices(SHAPE)
    drift = VOXEL[2] * math.cos(TILT)
    depth = ((j + 0.5) * VOXEL[1] - drift * k) / math.sin(TILT)
    middle = (SHAPE[1] * VOXEL[1] - drift * (SHAPE[2] - 1)) / 2 / math.sin(TILT)
    x = MIDDLE[0] - (i + 0.5 - SHAPE[0] / 2) * VOXEL[0]
    y = MIDDLE[1] + (k + 0.5 - SHAPE[2] / 2) * VOXEL[2]
    return x, y, depth - middle + HEIGHT - MIDDLE[2]


def main() -> None:
    """Write the file beside this one."""
    x, y, depth = places()
    radius = np.sqrt((x - CENTRE[0]) ** 2 + (y - CENTRE[1]) ** 2 + depth**2)
    labels = np.where((radius < RADIUS) | (depth < 0), LITHIUM, 0).astype(np.uint8)
    rng = np.random.default_rng(52)
    for where, label, count in (
        ((radius > RADIUS + 0.6) & (depth > 0.6), LITHIUM, 24),
        ((radius < RADIUS - 0.6) & (depth > 0.6), 0, 12),
    ):
        spots = np.argwhere(where)
        for spot in spots[rng.choice(len(spots), count, replace=False)]:
            end = spot + rng.integers(1, 3, 3)
            labels[tuple(slice(a, b) for a, b in zip(spot, end, strict=True))] = label
    tifffile.imwrite(
        Path(__file__).with_name("fib_stack.tif"),
        np.ascontiguousarray(labels.transpose(2, 1, 0)),
        imagej=True,
        compression="zlib",
        resolution=(1 / VOXEL[0], 1 / VOXEL[1]),
        metadata={"axes": "ZYX", "spacing": VOXEL[2], "unit": "um"},
        datetime=False,
        software=False,
    )


if __name__ == "__main__":
    main()
