"""Half an ellipsoid of three different axes that stands on the plane plating electrode, in a uniform field E₀ far away.

Semi-axes ``radius`` along x, ``half_opening`` along y and ``depth`` along z.  The half-penny with an opening is
the ellipsoid of depth = radius.  The depolarisation factor along z is N = (abc/3) R_D(a², b², c²) with Carlson's
integral R_D(x, y, z) = (3/2) ∫₀^∞ ds / [(s + x)^{1/2} (s + y)^{1/2} (s + z)^{3/2}].

Source: Stratton, Electromagnetic Theory, sections 3.25 to 3.27.
"""

from __future__ import annotations

import math

import numpy as np

from fem_spall.analytic.signature import Centre, Conductivity, Field, Length, Points, Values

__all__ = [
    "ellipsoid_advance_volume",
    "ellipsoid_cap_mean",
    "ellipsoid_current",
    "ellipsoid_focusing",
    "ellipsoid_on_plane",
]


def ellipsoid_on_plane(
    points: Points, field: Field, depth: Length, radius: Length, half_opening: Length, centre: Centre
) -> Values:
    """Potential below half an ellipsoid on a plane, both at 0 V, (n,) float, V.

    φ = E₀ d [1 − L(λ)/L(0)], L(λ) = (2/3) R_D(a² + λ, b² + λ, c² + λ), with the confocal coordinate λ:
    x²/(a² + λ) + y²/(b² + λ) + d²/(c² + λ) = 1.  Points inside the boss get 0.
    """
    from scipy.special import elliprd

    square = np.array([radius, half_opening, depth]) ** 2
    relative = points - np.asarray(centre)
    outer = square + _confocal_square(relative**2, square)[:, None]
    return np.asarray(field * -relative[:, 2] * (1 - elliprd(*outer.T) / elliprd(*square)))


def ellipsoid_focusing(depth: Length, radius: Length, half_opening: Length) -> float:
    """FEF at the tip of half an ellipsoid on a plane, 1/N, which is also its capture ratio, -."""
    from scipy.special import elliprd

    # The integral is homogeneous: lengths over the depth keep micrometres clear of underflow.
    a, b = radius / depth, half_opening / depth
    return 3 / (a * b * float(elliprd(a**2, b**2, 1.0)))


def ellipsoid_current(
    conductivity: Conductivity, field: Field, depth: Length, radius: Length, half_opening: Length
) -> float:
    """Current into half an ellipsoid on a plane, I = πab σE₀ / N, A: the flux is j = j₀ n_z / N."""
    return math.pi * radius * half_opening * conductivity * field * ellipsoid_focusing(depth, radius, half_opening)


def ellipsoid_advance_volume(depth: Length, radius: Length, half_opening: Length) -> float:
    """Electrode advance times cross-section of half an ellipsoid in a wide cell, δA = V_half/N, m³."""
    return 2 / 3 * math.pi * radius * half_opening * depth * ellipsoid_focusing(depth, radius, half_opening)


def ellipsoid_cap_mean(depth: Length, radius: Length, half_opening: Length, distance: Length) -> float:
    """Mean FEF of half an ellipsoid inside a ball of radius r about its tip, -.

    At the bearing t, where the cross-section has the square A = a² cos²t + b² sin²t, the ball cuts the surface
    1 − u = r² / (A + √(A² + (c² − A) r²)) of the depth above the tip; current and area are integrated over t,
    the latter over u as well, ∫∫ √((abu)² + (1 − u²) c² (a² sin²t + b² cos²t)) du dt.
    """
    # Equal steps of the angle tan t' = (b/a) tan t resolve the narrow lobe of a thin body.
    nodes, weights = np.polynomial.legendre.leggauss(200)
    steps = (nodes + 1) * math.pi / 4
    ratio = radius / half_opening
    bearing = np.arctan(ratio * np.tan(steps))
    stretch = ratio / (np.cos(steps) ** 2 + (ratio * np.sin(steps)) ** 2)
    cos2, sin2 = np.cos(bearing) ** 2, np.sin(bearing) ** 2
    square = radius**2 * cos2 + half_opening**2 * sin2
    fall = distance**2 / (square + np.sqrt(square**2 + (depth**2 - square) * distance**2))
    if not (fall <= 1).all():
        raise ValueError(f"a ball of {distance:g} m about the tip must cut the boss above its foot; take a smaller one")
    u = 1 - fall[:, None] * (nodes + 1) / 2
    side = depth**2 * (radius**2 * sin2 + half_opening**2 * cos2)
    element = np.sqrt((radius * half_opening * u) ** 2 + (1 - u**2) * side[:, None])
    area = np.sum(weights * stretch * fall / 2 * (element @ weights))
    foot = np.sum(weights * stretch * radius * half_opening * fall * (2 - fall) / 2)
    return ellipsoid_focusing(depth, radius, half_opening) * float(foot / area)


def _confocal_square(place: Values, square: Values) -> Values:
    """Confocal coordinate λ ≥ 0 with Σ place/(square + λ) = 1, (n,) float, m²; zero inside the body.

    Newton's method from below rises monotonically: the sum is convex and falls with λ.
    """
    scale = square.max()
    place, square = place / scale, square / scale
    below = np.maximum(np.maximum(place.sum(axis=1) - 1, (place - square).max(axis=1)), 0.0)
    for _ in range(60):
        terms = place / (square + below[:, None])
        excess = terms.sum(axis=1) - 1
        slope = (terms / (square + below[:, None])).sum(axis=1)
        step = np.where(excess > 0, excess / np.where(slope > 0, slope, 1.0), 0.0)
        below = below + step
        if (step <= 1e-15 * (below + square.min())).all():
            break
    return np.asarray(below * scale)
