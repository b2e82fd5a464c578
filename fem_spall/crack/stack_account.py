"""What a user should see of how an image was read, in words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = ["account_of"]


def account_of(report: dict[str, Any]) -> list[str]:
    """Return how an image was read, how its lithium hangs together and what its voxels leave open, a line each."""
    shape = " x ".join(map(str, report["shape_xyz"]))
    faces, corners = report["connectivity"]["6"], report["connectivity"]["26"]
    lines = [
        f"{report['file']}: {report['format']}, axes {report['axes']} ({report['axes_from']}), {shape} voxels of "
        f"{_nm(report['voxel_in_image_m'])} nm ({report['voxel_from']}) along x, y, z; in the block "
        f"{_nm(report['voxel_of_image_m'])} nm"
    ]
    if corners["pieces"]:
        lines.append(
            f"lithium connected to the plating electrode {_um3(faces['connected_m3'])} um3 by faces, "
            f"{_um3(corners['connected_m3'])} um3 by edges and corners too; isolated pieces "
            f"{faces['isolated_pieces']} ({_um3(faces['isolated_m3'])} um3) and {corners['isolated_pieces']} "
            f"({_um3(corners['isolated_m3'])} um3)"
        )
    if (factors := report["coarsened"]) != [1, 1, 1]:
        lines.append(
            f"{' x '.join(map(str, factors))} voxels made one of {_nm(report['voxel_m'])} nm, as fine as the mesh"
        )
    phases = [
        f"{name} {_um3(volumes['image'])} um3, in the bodies {_um3(volumes['bodies'])} um3"
        for name, volumes in report["phase_volumes_m3"].items()
        if volumes["image"]
    ]
    lines.append(f"in the image within the block: {'; '.join(phases)}")
    half = max(report["voxel_m"]) / 2
    lines.append(f"walls are known to half a voxel, {half * 1e9:.4g} nm; errors of the model say what that does")
    return [*report["notes"], *lines]


def _nm(lengths: Iterable[float]) -> str:
    return " x ".join(f"{length * 1e9:.4g}" for length in lengths)


def _um3(volume: float) -> str:
    return f"{volume * 1e18:.4g}"
