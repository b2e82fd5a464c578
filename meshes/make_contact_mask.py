"""Make ``contact_mask.png``: where the electrode touches the electrolyte, as a picture of the face would show it.

    python meshes/make_contact_mask.py

Grey levels of a smooth random field, 160 x 160 pixels of 125 nm for a face of 20 x 20 um: bright where the two
touch. ``configs/contact_mask.yaml`` takes what is brighter than 160 of 255, which is 21 % of the face.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

PIXELS, WAVE, SEED = 160, 9.0, 5
MEAN, SPREAD = 112.0, 48.0  # grey levels


def main() -> None:
    """Write the picture beside this file."""
    field = gaussian_filter(np.random.default_rng(SEED).standard_normal((PIXELS, PIXELS)), WAVE, mode="reflect")
    grey = MEAN + SPREAD * field / field.std()
    picture = Image.fromarray(np.clip(np.rint(grey), 0, 255).astype(np.uint8))
    picture.save(Path(__file__).with_name("contact_mask.png"), optimize=True)


if __name__ == "__main__":
    main()
