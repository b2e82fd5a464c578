"""Closed forms of the conduction problem: pure NumPy, SI units, one source each.

``POTENTIALS`` holds the potentials that may serve as exact boundary data: each
takes ``points`` ((n, 3) float, m) and parameters annotated with their unit, and
returns φ ((n,) float, V).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from fem_spall.quantity import Unit

__all__ = ["POTENTIALS"]

type Points = NDArray[np.float64]
LENGTH = Unit("m", "4 um", "length")
FIELD = Unit("V/m", "1 kV/m", "field strength")


def boss_on_plane(
    points: Points,
    field: Annotated[float, FIELD],
    radius: Annotated[float, LENGTH],
    centre: Annotated[Sequence[float], LENGTH],
) -> NDArray[np.float64]:
    """Potential below a hemispherical boss on a plane electrode (both at 0 V).

    φ = E₀ d (1 − a³/r³), d = depth below the plane through the centre (z decreasing),
    r = distance from the centre, a = radius.
    """
    relative = points - np.asarray(centre)
    distance = np.linalg.norm(relative, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.where(distance > 0, 1 - (radius / distance) ** 3, 0.0)
    return np.asarray(field * -relative[:, 2] * factor)


POTENTIALS: dict[str, Callable[..., NDArray[np.float64]]] = {
    "boss_on_plane": boss_on_plane,
}
