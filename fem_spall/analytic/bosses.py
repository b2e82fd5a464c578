"""Smooth bodies that stand on the plane plating electrode, in a uniform field E₀ far away.

d is the depth below the plane through ``centre`` (towards −z); the body is the lower
half of a body of revolution about z (boss) or of a cylinder along y (ridge).  FEF,
the field-enhancement factor, is j/j₀ with j₀ = σ E₀.

Source of the spheroid and ellipse formulas: the potential of an ellipsoid in a uniform
field (Stratton, Electromagnetic Theory, section 3.27; Landau and Lifshitz,
Electrodynamics of Continuous Media, section 4), whose lower half is the boss.
"""

from __future__ import annotations

import math

import numpy as np

from fem_spall.analytic.signature import Centre, Conductivity, Field, Fraction, Length, Points, Values

__all__ = [
    "boss_on_plane",
    "confocal_square",
    "elliptical_ridge_current",
    "elliptical_ridge_focusing",
    "elliptical_ridge_on_plane",
    "ridge_ball_mean",
    "ridge_on_plane",
    "ridge_quantile",
    "robin_boss_current",
    "robin_boss_focusing",
    "robin_boss_on_plane",
    "robin_ridge_current",
    "robin_ridge_focusing",
    "robin_ridge_on_plane",
    "spheroid_advance_volume",
    "spheroid_cap_mean",
    "spheroid_current",
    "spheroid_focusing",
    "spheroid_on_plane",
    "spheroid_quantile",
    "void_cylinder_on_plane",
    "void_on_plane",
]


# Round bodies: φ = E₀ d (1 − B (a/r)ⁿ), n = 3 for a sphere, 2 for a cylinder ---------------------------------------


def boss_on_plane(points: Points, field: Field, radius: Length, centre: Centre) -> Values:
    """Potential below a hemispherical boss on a plane electrode, both at 0 V, (n,) float, V.

    φ = E₀ d (1 − a³/r³), r = distance from the centre.  Points inside the boss get 0.
    """
    return _round_body(points, field, radius, centre, 1.0, 3)


def robin_boss_on_plane(points: Points, field: Field, radius: Length, wagner_length: Length, centre: Centre) -> Values:
    """Potential below a hemispherical boss with interfacial resistance R on a plane at 0 V, (n,) float, V.

    φ = E₀ d (1 − B a³/r³), B = (1 − Wa)/(1 + 2 Wa), Wa = l/a, l = σR; on the boss
    l ∂φ/∂r = φ.  Points inside the boss get the value of the formula at r = a.
    """
    wagner = wagner_length / radius
    return _round_body(points, field, radius, centre, (1 - wagner) / (1 + 2 * wagner), 3)


def void_on_plane(points: Points, field: Field, radius: Length, centre: Centre) -> Values:
    """Potential below a hemispherical void on a plane electrode at 0 V, (n,) float, V.

    φ = E₀ d (1 + a³/2r³), no flux through the void; the largest tangential field is 3/2 E₀, at the rim.
    """
    return _round_body(points, field, radius, centre, -0.5, 3)


def ridge_on_plane(points: Points, field: Field, radius: Length, centre: Centre) -> Values:
    """Potential below a half-cylinder ridge along y on a plane electrode, both at 0 V, (n,) float, V.

    φ = E₀ d (1 − a²/r²), r = distance from the axis.  Points inside the ridge get 0.
    """
    return _round_body(points, field, radius, centre, 1.0, 2)


def robin_ridge_on_plane(points: Points, field: Field, radius: Length, wagner_length: Length, centre: Centre) -> Values:
    """Potential below a half-cylinder ridge with interfacial resistance R on a plane at 0 V, (n,) float, V.

    φ = E₀ d (1 − B a²/r²), B = (1 − Wa)/(1 + Wa), Wa = l/a, l = σR.
    """
    wagner = wagner_length / radius
    return _round_body(points, field, radius, centre, (1 - wagner) / (1 + wagner), 2)


def void_cylinder_on_plane(points: Points, field: Field, radius: Length, centre: Centre) -> Values:
    """Potential below a half-cylinder void along y on a plane electrode at 0 V, (n,) float, V.

    φ = E₀ d (1 + a²/r²); the largest tangential field is 2 E₀, at the rim.
    """
    return _round_body(points, field, radius, centre, -1.0, 2)


def _round_body(points: Points, field: float, radius: float, centre: Centre, strength: float, dimension: int) -> Values:
    relative = points - np.asarray(centre)
    if dimension == 2:
        relative = relative[:, ::2]
    distance = np.maximum(np.linalg.norm(relative, axis=1), radius)
    return np.asarray(field * -relative[:, -1] * (1 - strength * (radius / distance) ** dimension))


def robin_boss_focusing(radius: Length, wagner_length: Length) -> float:
    """FEF at the tip of a hemispherical boss with interfacial resistance, 3/(1 + 2 Wa), -."""
    return 3 / (1 + 2 * wagner_length / radius)


def robin_boss_current(conductivity: Conductivity, field: Field, radius: Length, wagner_length: Length) -> float:
    """Current into a hemispherical boss with interfacial resistance, I = πa² j₀ · 3/(1 + 2 Wa), A.

    The flux is FEF j₀ cos θ, θ from the axis, and ∫ cos θ dA is the projected area.
    """
    return math.pi * radius**2 * conductivity * field * robin_boss_focusing(radius, wagner_length)


def robin_ridge_focusing(radius: Length, wagner_length: Length) -> float:
    """FEF at the crown of a half-cylinder ridge with interfacial resistance, 2/(1 + Wa), -."""
    return 2 / (1 + wagner_length / radius)


def robin_ridge_current(
    conductivity: Conductivity, field: Field, radius: Length, wagner_length: Length, length: Length
) -> float:
    """Current into a length L of a half-cylinder ridge with interfacial resistance, I = 2aL j₀ · 2/(1 + Wa), A."""
    return 2 * radius * length * conductivity * field * robin_ridge_focusing(radius, wagner_length)


def ridge_quantile(share: Fraction) -> float:
    """FEF below which a share q of the area of a half-cylinder ridge lies, 2 sin(qπ/2), -."""
    return 2 * math.sin(share * math.pi / 2)


def ridge_ball_mean(radius: Length, distance: Length) -> float:
    """Mean FEF of a half-cylinder ridge inside a ball of radius r about its crown, -.

    The ball cuts the ridge at angle θ over the length 2 √(r² − 4a² sin²(θ/2)); with
    sin(θ/2) = k sin t, k = r/2a, the mean of 2 cos θ is
    2 ∫ cos²t (1 − 2k² sin²t) w dt / ∫ cos²t w dt, w = (1 − k² sin²t)^(−1/2), over a period.
    """
    k = distance / (2 * radius)
    t = np.arange(64) * math.tau / 64  # the trapezium rule on a period is exact to rounding for k < 1/2
    weight = np.cos(t) ** 2 / np.sqrt(1 - (k * np.sin(t)) ** 2)
    return float(2 * np.sum(weight * (1 - 2 * (k * np.sin(t)) ** 2)) / np.sum(weight))


# Spheroids: semi-axes (b, b, h), h along z ------------------------------------------------------------------------


def spheroid_on_plane(points: Points, field: Field, depth: Length, radius: Length, centre: Centre) -> Values:
    """Potential below half a spheroid (needle, hemisphere or blunt) on a plane, both at 0 V, (n,) float, V.

    φ = E₀ d [1 − L(λ)/L(0)], L(λ) = ∫_λ^∞ ds / [(s + h²)^{3/2} (s + b²)], with the confocal
    coordinate λ: d²/(h² + λ) + ρ²/(b² + λ) = 1.  Points inside the boss get 0.
    """
    relative = points - np.asarray(centre)
    across = np.hypot(relative[:, 0], relative[:, 1])
    below = confocal_square(relative[:, 2], across, depth, radius)
    outer = np.sqrt(below + depth**2)
    difference = depth**2 - radius**2
    ratio = (depth / outer) ** 3 * _cubic(difference / outer**2) / _cubic(np.array(difference / depth**2))
    return np.asarray(field * -relative[:, 2] * (1 - ratio))


def spheroid_focusing(depth: Length, radius: Length) -> float:
    """FEF at the tip of half a spheroid on a plane, 1/N, which is also its capture ratio, -.

    N = (h b²/2) L(0); for a needle, with e² = 1 − b²/h², N = (1 − e²)/e³ (artanh e − e).
    """
    depolarisation = (radius / depth) ** 2 * float(_cubic(np.array(1 - (radius / depth) ** 2)))
    return 1 / depolarisation


def spheroid_current(conductivity: Conductivity, field: Field, depth: Length, radius: Length) -> float:
    """Current into half a spheroid on a plane, I = πb² σE₀ / N, A: the flux is j = j₀ n_z / N."""
    return math.pi * radius**2 * conductivity * field * spheroid_focusing(depth, radius)


def spheroid_advance_volume(depth: Length, radius: Length) -> float:
    """Electrode advance times cross-section of half a spheroid in a wide cell, δA = V_half/N, m³."""
    return 2 / 3 * math.pi * radius**2 * depth * spheroid_focusing(depth, radius)


def spheroid_quantile(depth: Length, radius: Length, share: Fraction) -> float:
    """FEF below which a share q of the area of half a spheroid on a plane lies, -.

    At height z = u h the flux is j/j₀ = (b u/N) / √(h² − (h² − b²)u²), rising with u, and the
    area below u is proportional to ∫₀^u √(h² − (h² − b²)u²) du: solved for u by bisection.
    """
    target = share * _band_area(depth, radius, 1.0)
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _band_area(depth, radius, middle) < target else (low, middle)
    u = (low + high) / 2
    slope = math.sqrt(depth**2 - (depth**2 - radius**2) * u**2)
    return spheroid_focusing(depth, radius) * radius * u / slope


def spheroid_cap_mean(depth: Length, radius: Length, distance: Length) -> float:
    """Mean FEF of half a spheroid inside a ball of radius r about its tip, -; a sphere gives 3 (1 − r²/4a²).

    Captured current over area of the cap that the ball cuts off: π ρ² / (N A), ρ its rim radius.
    """
    fall = distance**2 / (radius**2 + math.sqrt(radius**4 + (depth**2 - radius**2) * distance**2))  # 1 − u at the rim
    if not 0 < fall <= 1:
        raise ValueError(f"a ball of {distance:g} m about the tip must cut the boss above its foot; take a smaller one")
    rim_square = radius**2 * fall * (2 - fall)
    area = 2 * math.pi * radius * (_band_area(depth, radius, 1.0) - _band_area(depth, radius, 1 - fall))
    return spheroid_focusing(depth, radius) * math.pi * rim_square / area


def confocal_square(along: Values, across: Values, depth: float, radius: float) -> Values:
    """Confocal coordinate λ ≥ 0 with along²/(depth² + λ) + across²/(radius² + λ) = 1, (n,) float, m².

    Zero inside the body; ``radius`` may be zero (a needle, a disc, a sheet).
    """
    excess = along**2 + across**2 - depth**2 - radius**2
    product = np.maximum((along * radius) ** 2 + (across * depth) ** 2 - (depth * radius) ** 2, 0.0)
    root = np.sqrt(excess**2 + 4 * product)
    # The root without cancellation: close to a slender body the excess is negative and λ nearly zero.
    with np.errstate(divide="ignore", invalid="ignore"):
        small = np.where(product > 0, 2 * product / (root - excess), 0.0)
    return np.where(excess > 0, (root + excess) / 2, small)


def _cubic(square: Values) -> Values:
    """(artanh x − x)/x³ of x² > 0, continued to (x − arctan x)/x³ of x² < 0: ½ t³ L(λ) with x² = (h² − b²)/t²."""
    x = np.sqrt(np.abs(square))
    with np.errstate(divide="ignore", invalid="ignore"):
        closed = np.where(square > 0, np.arctanh(np.where(square > 0, x, 0.0)) - x, x - np.arctan(x)) / x**3
    # Below |x²| = 0.05 the difference cancels; its series converges to rounding in twelve terms.
    series = sum((square**k / (2 * k + 3) for k in range(12)), np.zeros_like(square))
    return np.where(np.abs(square) < 0.05, series, closed)


def _band_area(depth: float, radius: float, u: float) -> float:
    """∫₀^u √(h² − (h² − b²)v²) dv, m: the area between the foot and height u h, over 2πb."""
    difference = depth**2 - radius**2
    x = u * math.sqrt(abs(difference)) / depth
    arc = 1.0 if x == 0 else (math.asin(x) if difference > 0 else math.asinh(x)) / x
    return u / 2 * (math.sqrt(depth**2 - difference * u**2) + depth * arc)


# Elliptical ridges: a blade with an opening -----------------------------------------------------------------------


def elliptical_ridge_on_plane(points: Points, field: Field, depth: Length, opening: Length, centre: Centre) -> Values:
    """Potential below half an elliptic cylinder along y on a plane, both at 0 V, (n,) float, V.

    Semi-axes depth h and opening/2 c; φ = E₀ d [1 − L(λ)/L(0)],
    L(λ) = ∫_λ^∞ ds / [(s + h²)^{3/2} (s + c²)^{1/2}] = 2 / [t (t + t_c)], t² = λ + h², t_c² = λ + c².
    ``opening`` 0 is the blade of zero thickness.  Points inside the ridge get 0.
    """
    half = opening / 2
    relative = points - np.asarray(centre)
    below = confocal_square(relative[:, 2], relative[:, 0], depth, half)
    outer, inner = np.sqrt(below + depth**2), np.sqrt(below + half**2)
    ratio = depth * (depth + half) / (outer * (outer + inner))
    return np.asarray(field * -relative[:, 2] * (1 - ratio))


def elliptical_ridge_focusing(depth: Length, opening: Length) -> float:
    """FEF at the crown of half an elliptic cylinder on a plane, 1 + h/c with c = opening/2, -."""
    return 1 + 2 * depth / opening


def elliptical_ridge_current(
    conductivity: Conductivity, field: Field, depth: Length, opening: Length, length: Length
) -> float:
    """Current into a length L of half an elliptic cylinder on a plane, I = 2 (h + c) L σE₀, A; c = opening/2."""
    return 2 * (depth + opening / 2) * length * conductivity * field
