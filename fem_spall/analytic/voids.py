"""Half voids on the plane plating electrode in a uniform field E₀: what the plane beside them receives.

The potentials are those of ``bosses``: the flux into the plane at the distance r from the centre of a void of
radius a is j₀ (1 + a³/2r³) for a hemisphere and j₀ (1 + a²/r²) for a half-cylinder along y, 3/2 and 2 at the rim.
Source: Stratton, Electromagnetic Theory, chapter III, with the condition of no flux on the body.
"""

from __future__ import annotations

import numpy as np

from fem_spall.analytic.signature import Length, Values

__all__ = ["void_cylinder_rim_mean", "void_rim_mean"]


def void_rim_mean(radius: Length, distance: Length) -> float:
    """Mean FEF of the plane inside a ball of radius R about a point of the rim of a hemispherical void, -.

    The circle of radius r lies in the ball over the angle 2 arccos((r² + a² − R²)/2ar).
    """
    r, weights = _beyond_the_rim(radius, distance)
    cosine = (r**2 + radius**2 - distance**2) / (2 * radius * r)
    weights = weights * r * np.arccos(np.clip(cosine, -1, 1))
    return float(np.sum(weights * (1 + radius**3 / (2 * r**3))) / np.sum(weights))


def void_cylinder_rim_mean(radius: Length, distance: Length) -> float:
    """Mean FEF of the plane inside a ball of radius R about a point of the rim of a half-cylinder void, -."""
    x, weights = _beyond_the_rim(radius, distance)
    weights = weights * np.sqrt(distance**2 - (x - radius) ** 2)
    return float(np.sum(weights * (1 + radius**2 / x**2)) / np.sum(weights))


def _beyond_the_rim(radius: float, distance: float) -> tuple[Values, Values]:
    """Gauss points from a to a + R, m, and weights, crowded at the far end where the ball closes as a square root."""
    nodes, weights = np.polynomial.legendre.leggauss(60)
    t = (nodes + 1) / 2
    return radius + distance * (1 - t**2), weights * t
