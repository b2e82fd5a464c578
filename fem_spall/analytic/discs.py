"""Discs in a plane: a contact on an insulator, without and with interfacial resistance, and an insulating penny.

The half-space lies below the plane z = centre z, d is the depth; x ≥ 0 and η are the oblate coordinates of the
disc of radius a: d = a x η, ρ² = a² (1 + x²)(1 − η²).  x = 0 is the disc, η = 0 the plane outside it.

Sources: R. Holm, Electric Contacts, section 3; J. Newman, J. Electrochem. Soc. 113 (1966) 501 and 1235 (primary and
secondary distribution on a disc); I. N. Sneddon, Fourier Transforms, section 54 (penny-shaped crack).
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from fem_spall.analytic.bosses import confocal_square
from fem_spall.analytic.signature import Centre, Conductivity, Field, Fraction, Length, Points, Potential, Values

__all__ = [
    "disc_contact",
    "disc_contact_current",
    "disc_contact_inner_mean",
    "disc_contact_intensity",
    "disc_contact_quantile",
    "disc_contact_resistance",
    "insulating_penny",
    "insulating_penny_advance",
    "insulating_penny_intensity",
    "insulating_penny_volume",
    "resistive_disc",
    "resistive_disc_current",
    "resistive_disc_quantile",
]

#: Terms of the spheroidal series; the current then is right to 2e-8 for Wagner numbers from 0.05.
TERMS = 60
#: Sum of the inverse cubes of the distances in a square lattice of unit width.
SQUARE_ARRAY = 9.033621683


def _oblate(points: Points, radius: float, centre: Centre) -> tuple[Values, Values]:
    """Oblate coordinates x and η, (n,) each."""
    relative = (points - np.asarray(centre)) / radius
    across, depth = np.hypot(relative[:, 0], relative[:, 1]), np.maximum(-relative[:, 2], 0.0)
    x = np.sqrt(confocal_square(across, depth, 1.0, 0.0))
    over = np.sqrt(np.maximum(1 - across**2 / (1 + x**2), 0.0))
    return x, np.where(x > over, depth / np.maximum(x, 1e-300), over)


# Disc at 0 V on an insulating plane -------------------------------------------------------------------------------


def disc_contact(points: Points, potential: Potential, radius: Length, centre: Centre) -> Values:
    """Potential below a disc at 0 V in an insulating plane, V far away, (n,) float, V: φ = V (2/π) arctan x."""
    return potential * 2 / math.pi * np.arctan(_oblate(points, radius, centre)[0])


def disc_contact_current(conductivity: Conductivity, potential: Potential, radius: Length) -> float:
    """Current into a disc in an insulating plane, I = 4 σ V a, A."""
    return 4 * conductivity * potential * radius


def disc_contact_resistance(conductivity: Conductivity, radius: Length, outer_depth: Length) -> float:
    """Resistance from a disc to the confocal half-ellipsoid of depth a sinh e, R = e′/(2πσa), e′ = arctan sinh e, Ω."""
    return math.atan(outer_depth / radius) / (2 * math.pi * conductivity * radius)


def disc_contact_intensity(conductivity: Conductivity, potential: Potential, radius: Length) -> float:
    """Edge flux intensity of a disc contact, K_j = j̄ √(πa)/2 with the mean j̄ = I/(πa²), A m^-3/2."""
    mean = disc_contact_current(conductivity, potential, radius) / (math.pi * radius**2)
    return mean * math.sqrt(math.pi * radius) / 2


def disc_contact_inner_mean(conductivity: Conductivity, potential: Potential, radius: Length, within: Length) -> float:
    """Mean current density of a disc contact within ρ < b, j̄ (a²/b²)(1 − √(1 − b²/a²)), A m⁻²; half of j̄ for b → 0."""
    share = (within / radius) ** 2
    mean = disc_contact_current(conductivity, potential, radius) / (math.pi * radius**2)
    return mean * (1 - math.sqrt(1 - share)) / share


def disc_contact_quantile(share: Fraction) -> float:
    """j/j̄ that a share q of the area of a disc contact stays below, 1/(2√(1 − q)), -: j = j̄/(2√(1 − ρ²/a²))."""
    return 1 / (2 * math.sqrt(1 - share))


# Disc with interfacial resistance on an insulating plane ----------------------------------------------------------


def resistive_disc(
    points: Points, potential: Potential, radius: Length, wagner_length: Length, centre: Centre
) -> Values:
    """Potential below a disc with interfacial resistance R, its lithium at 0 V, in an insulating plane, (n,) float, V.

    V far away; on the disc l ∂φ/∂d = φ, l = σR.  φ = V [1 − Σ Aₙ P₂ₙ(η) q₂ₙ(x)], q₂ₙ the Legendre function
    of the second kind of ix, scaled to q₂ₙ(0) = 1.
    """
    x, eta = _oblate(points, radius, centre)
    coefficients = _disc_series(wagner_length / radius)
    legendre = np.polynomial.legendre.legvander(eta, 2 * TERMS - 2)[:, ::2]
    return np.asarray(potential * (1 - (legendre * _second_kind(x)) @ coefficients))


def resistive_disc_current(
    conductivity: Conductivity, potential: Potential, radius: Length, wagner_length: Length
) -> float:
    """Current into a disc with interfacial resistance in an insulating plane, I = 4 σ V a A₀, A."""
    return disc_contact_current(conductivity, potential, radius) * float(_disc_series(wagner_length / radius)[0])


def resistive_disc_quantile(radius: Length, wagner_length: Length, share: Fraction) -> float:
    """j/j̄ that a share q of the area of a disc with interfacial resistance stays below, -.

    j = φ/R rises from the centre to the rim, so that it is the value at ρ² = q a²; j̄ = 4σV A₀/(πa).
    """
    coefficients = _disc_series(wagner_length / radius)
    legendre = np.polynomial.legendre.legvander(np.array([math.sqrt(1 - share)]), 2 * TERMS - 2)[0, ::2]
    mean = 4 * wagner_length / (math.pi * radius) * coefficients[0]
    return float((1 - legendre @ coefficients) / mean)


@lru_cache(maxsize=16)
def _disc_series(wagner: float) -> Values:
    """Coefficients Aₙ, (TERMS,) float, of the disc with Wagner number Wa = l/a.

    The law on the disc, times η: Wa Σ Aₙ mₙ P₂ₙ = η (1 − Σ Aₙ P₂ₙ) with mₙ = −q₂ₙ′(0), which is tested
    against every P₂ₘ on 0 < η < 1.
    """
    eta, weights = np.polynomial.legendre.leggauss(2 * TERMS + 1)
    eta, weights = (eta + 1) / 2, weights / 2
    legendre = np.polynomial.legendre.legvander(eta, 2 * TERMS - 2)[:, ::2]
    load = legendre.T @ (weights * eta)
    orders = np.arange(TERMS)
    ratio = np.cumprod(np.concatenate([[1.0], 2 * orders[1:] / (2 * orders[1:] - 1)]))  # (2n)!!/(2n − 1)!!
    slope = 2 / math.pi * ratio**2
    matrix = legendre.T @ ((weights * eta)[:, None] * legendre) + np.diag(wagner * slope / (4 * orders + 1))
    return np.asarray(np.linalg.solve(matrix, load))


def _second_kind(x: Values) -> Values:
    """q₂ₙ(x) = Q₂ₙ(ix)/Q₂ₙ(i0) for n < TERMS, (n, TERMS) float.

    With Qₙ(ix) = (−i)ⁿ⁺¹ tₙ: (n + 1) tₙ₊₁ = n tₙ₋₁ − (2n + 1) x tₙ, t₀ = arccot x.  Upwards the other solution
    grows in as e^(2nx), so that this is for small x only; elsewhere the ratio tₙ₊₁/tₙ comes down from large n.
    """
    highest = 2 * TERMS
    values = np.empty((highest, len(x)))
    near = x < 0.01
    values[0] = np.arctan2(1.0, x)
    values[1, near] = 1 - x[near] * values[0, near]
    for n in range(1, highest - 1):
        values[n + 1, near] = (n * values[n - 1, near] - (2 * n + 1) * x[near] * values[n, near]) / (n + 1)
    far = x[~near]
    start = highest + int(20 / far.min(initial=1.0))
    ratio = np.zeros_like(far)
    ratios = np.empty((highest, len(far)))
    for n in range(start, 0, -1):
        ratio = n / ((2 * n + 1) * far + (n + 1) * ratio)  # tₙ/tₙ₋₁
        if n < highest:
            ratios[n] = ratio
    for n in range(1, highest):
        values[n, ~near] = values[n - 1, ~near] * ratios[n]
    orders = np.arange(1, TERMS)
    at_zero = math.pi / 2 * np.cumprod(np.concatenate([[1.0], (2 * orders - 1) / (2 * orders)]))
    return np.asarray((values[::2].T) / at_zero)


# Insulating penny normal to the current ---------------------------------------------------------------------------


def insulating_penny(points: Points, field: Field, radius: Length, centre: Centre) -> Values:
    """Potential below an insulating disc in a plane at 0 V, field E₀ far away, (n,) float, V.

    Half of an insulating penny-shaped crack across a uniform current: φ = E₀ d [1 + (2/π)(1/x − arccot x)].
    On the disc φ = (2/π) E₀ √(a² − ρ²), half of the jump across the crack.
    """
    x, eta = _oblate(points, radius, centre)
    depth = np.maximum(np.asarray(centre)[2] - points[:, 2], 0.0)
    far = np.maximum(x, 30.0)  # beyond it the difference cancels and its series takes over
    series = 1 / (3 * far**3) - 1 / (5 * far**5) + 1 / (7 * far**7)
    beyond = np.where(x > 30, depth * series, radius * eta - depth * np.arctan2(1.0, x))
    return np.asarray(field * (depth + 2 / math.pi * beyond))


def insulating_penny_intensity(
    conductivity: Conductivity, field: Field, radius: Length, width: Length = math.inf
) -> float:
    """Edge flux intensity of an insulating penny, K_j = 2 σE √(a/π), A m^-3/2.

    E is the mean field, or in a square array of the given width the somewhat larger field that each penny sees.
    """
    return 2 * conductivity * field * _field_in_array(radius, width) * math.sqrt(radius / math.pi)


def insulating_penny_advance(radius: Length, width: Length) -> float:
    """Electrode advance of an electrode with insulating discs in a square array, −4a³/(3w²) times E/E₀, m.

    Half of the extra thickness 8a³/(3A) that a slab has by a penny in its middle plane.
    """
    return -insulating_penny_volume(radius) / (2 * width**2) * _field_in_array(radius, width)


def _field_in_array(radius: float, width: float) -> float:
    """Field at an insulating penny in a coplanar square array over the mean field, -, to order (a/w)⁵.

    Each has the dipole −8a³E/3, and E = E₀ + S · 8a³E/(3 · 4πw³) with S = Σ (i² + j²)^(−3/2) = 4 ζ(3/2) β(3/2).
    """
    return 1 / (1 - SQUARE_ARRAY * insulating_penny_volume(radius) / (4 * math.pi * width**3))


def insulating_penny_volume(radius: Length) -> float:
    """Extra thickness of a wide slab with an insulating penny, times its cross-section, 8a³/3, m³."""
    return 8 * radius**3 / 3
