"""Make ``phases.tif``: an eighth of a ball of a second phase in a corner of a cube of electrolyte, as labels.

    python meshes/make_phase_image.py

32 x 32 x 32 voxels of 250 nm. The ball, label 2 in an electrolyte of label 1, has a tenth of the volume of the cube of
16 um whose octant this is, so that mirror planes make it one of a simple cubic lattice of balls.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import tifffile

COUNT, VOXEL, SHARE = 32, 0.25, 0.1  # voxels along each axis, um, of the volume


def main() -> None:
    """Write the file beside this one."""
    radius = 2 * COUNT * VOXEL * (3 * SHARE / (4 * math.pi)) ** (1 / 3)
    places = (np.indices((COUNT,) * 3) + 0.5) * VOXEL
    labels = np.where((places**2).sum(axis=0) < radius**2, 2, 1).astype(np.uint8)
    tifffile.imwrite(
        Path(__file__).with_name("phases.tif"),
        labels,
        imagej=True,
        compression="zlib",
        resolution=(1 / VOXEL, 1 / VOXEL),
        metadata={"axes": "ZYX", "spacing": VOXEL, "unit": "um"},
        datetime=False,
        software=False,
    )


if __name__ == "__main__":
    main()
