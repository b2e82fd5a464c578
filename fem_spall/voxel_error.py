"""What it does to the figures that the wall of a segmented body is known to half a voxel only.

Where the segmentation puts all of the wall half a voxel off, ν = h/2, the total current at fixed potentials
changes by Hadamard's formula,

    dI = ∮ ν j² ds / (σ V),        dδ = (H − δ) dI/I.

The current that a crack captures has no such formula without a second solution.  It grows with the square of the
crack's size where the advance grows with the cube, so the relative change of the advance is taken for it, as a bound.
"""

from __future__ import annotations

import math
import re
from typing import Any

from fem_spall.case import Case

__all__ = ["voxel_entry"]

#: Figures that follow the captured current.
CAPTURED = re.compile(r"crack_current|capture_")
#: Power of the total current in a figure.
BY_TOTAL = {"total_current": 1, "mean_current_density": 1, "resistance": -1, "area_resistance": -1}


def voxel_entry(case: Case, record: dict[str, Any], name: str, metric: dict[str, Any]) -> dict[str, Any] | None:
    """Return the bound for one figure, absolute and relative, or why there is none; None without an image stack."""
    stacks = [
        record.get("surfaces", {}).get(crack.name, {})
        for crack in case.cracks
        if crack.kind == "image_stack" and crack.contents == "lithium" and crack.contact == "plating"
    ]
    half = max((max(surface["voxel_m"]) / 2 for surface in stacks if "voxel_m" in surface), default=None)
    if half is None:
        return None
    entry: dict[str, Any] = {"half_voxel_m": half}
    sensitivity, advance = (
        record.get("surface_sensitivity"),
        record["metrics"].get("electrode_advance", {}).get("value"),
    )
    if sensitivity is None:
        return entry | {"absent": "only currents at fixed potentials have an estimate by a moved wall"}
    change = abs(sensitivity) * half
    if name in BY_TOTAL:
        relative = change
    elif (name == "electrode_advance" or CAPTURED.match(name)) and advance:
        relative = change * abs((record["electrodes"]["height_m"] - advance) / advance)
    else:
        return entry | {"absent": "a density at one place follows the shape of the wall there; compare two filters"}
    if not math.isfinite(relative):
        return entry | {"absent": "the electrode advance is not known"}
    return entry | {
        "bound": relative * abs(metric["value"]),
        "relative_bound": relative,
        "method": "Hadamard's formula for all of the wall moved by half the longest edge of a voxel"
        + (
            "; the relative change of the advance stands in for that of a captured current" * bool(CAPTURED.match(name))
        ),
    }
