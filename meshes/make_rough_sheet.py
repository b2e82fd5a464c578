"""Write rough_sheet.ply: half a disc of 5 um radius, rough, that stands 1 um out of the plating face at z = 50 um.

Run ``python meshes/make_rough_sheet.py`` from the root.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

RADIUS, STEP, OUT = 5.0, 0.5, 1.0  # um


def sheet() -> tuple[np.ndarray, np.ndarray]:
    """Vertices (n, 3), um, and triangles (m, 3)."""
    rings = int(RADIUS / STEP)
    polar = np.concatenate([[[0.0, 0.0]], *(
        np.stack([np.full(6 * k, k * STEP), np.linspace(0, 2 * np.pi, 6 * k, endpoint=False)], axis=1)
        for k in range(1, rings + 1)
    )])  # fmt: skip
    y, z = polar[:, 0] * np.cos(polar[:, 1]), polar[:, 0] * np.sin(polar[:, 1])
    from scipy.spatial import Delaunay

    triangles = Delaunay(np.stack([y, z], axis=1)).simplices
    rng = np.random.default_rng(1)
    x = np.zeros(len(y))
    for wave in (8.0, 4.0, 2.0):  # um; roughness in proportion to the wavelength
        for _ in range(4):
            turn, phase = rng.uniform(0, 2 * np.pi, 2)
            x += 0.02 * wave * np.cos(2 * np.pi / wave * (y * np.cos(turn) + z * np.sin(turn)) + phase)
    keep = (z[triangles] < OUT).any(axis=1)
    used, faces = np.unique(triangles[keep], return_inverse=True)
    return np.stack([10 + x, 15 + y, 50 + z], axis=1)[used].round(6), faces.reshape(-1, 3)


def main() -> None:
    """Write the file."""
    vertices, faces = sheet()
    lines = ["ply", "format ascii 1.0", f"element vertex {len(vertices)}"]
    lines += [f"property double {axis}" for axis in "xyz"]
    lines += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header"]
    lines += [" ".join(f"{value:g}" for value in vertex) for vertex in vertices]
    lines += ["3 " + " ".join(map(str, face)) for face in faces.tolist()]
    Path(__file__).with_name("rough_sheet.ply").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
