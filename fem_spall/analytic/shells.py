"""Electrolyte between two electrodes of one family: slab, spheres, cylinders, spheroids.

No outer truncation enters: the outer electrode is part of the closed form.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import numpy as np

from fem_spall.analytic.signature import (
    AreaResistance,
    Centre,
    Conductivity,
    Length,
    Points,
    Potential,
    Values,
)
from fem_spall.quantity import Unit

__all__ = [
    "coaxial_cylinders",
    "coaxial_cylinders_conductance",
    "coaxial_cylinders_inner_field",
    "concentric_spheres",
    "concentric_spheres_conductance",
    "concentric_spheres_inner_field",
    "confocal_spheroids",
    "confocal_spheroids_conductance",
    "confocal_spheroids_tip_field",
    "layered_area_resistance",
    "resistive_sphere",
    "slab_resistance",
]


def slab_resistance(
    conductivity: Conductivity,
    size: Annotated[Sequence[float], Unit("m", "20 um", "length")],
) -> float:
    """Resistance of a block between its two z faces, R = H / (σ A), ohm; ``size`` is (x, y, z), m."""
    x, y, height = size
    return height / (conductivity * x * y)


def layered_area_resistance(
    conductivity: Conductivity,
    height: Length,
    plating_interface: AreaResistance,
    counter_interface: AreaResistance,
) -> float:
    """Area-specific resistance of a slab with two resistive interfaces, V/i = H/σ + R₁ + R₂, ohm m²."""
    return height / conductivity + plating_interface + counter_interface


def concentric_spheres(
    points: Points, potential: Potential, inner_radius: Length, outer_radius: Length, centre: Centre
) -> Values:
    """Potential outside a sphere at 0 V inside a concentric sphere at V, (n,) float, V.

    φ = V (1/a − 1/r) / (1/a − 1/b), a and b the two radii.  Points inside the inner sphere get 0.
    """
    a, b = inner_radius, outer_radius
    distance = np.maximum(np.linalg.norm(points - np.asarray(centre), axis=1), a)
    return np.asarray(potential * (1 / a - 1 / distance) / (1 / a - 1 / b))


def concentric_spheres_conductance(
    conductivity: Conductivity, inner_radius: Length, outer_radius: Length, wagner_length: Length = 0.0
) -> float:
    """Conductance between concentric spheres, G = 4πσ / (1/a − 1/b + l/a²), S.

    l = σ R is the Wagner length of a resistance R on the inner sphere.  Source: current
    continuity, I = −4πr²σ φ′.
    """
    a, b = inner_radius, outer_radius
    return 4 * math.pi * conductivity / (1 / a - 1 / b + wagner_length / a**2)


def concentric_spheres_inner_field(potential: Potential, inner_radius: Length, outer_radius: Length) -> float:
    """Field at the inner of two concentric spheres, E = V b / (a (b − a)), V/m."""
    a, b = inner_radius, outer_radius
    return potential * b / (a * (b - a))


def resistive_sphere(
    points: Points,
    potential: Potential,
    inner_radius: Length,
    outer_radius: Length,
    wagner_length: Length,
    centre: Centre,
) -> Values:
    """Potential outside a sphere with interfacial resistance R at 0 V inside a concentric sphere at V, (n,) float, V.

    φ = V (1/a − 1/r + l/a²) / (1/a − 1/b + l/a²), l = σR; on the inner sphere l ∂φ/∂r = φ.  Points inside
    the inner sphere get the value of the formula at r = a.
    """
    a, b, drop = inner_radius, outer_radius, wagner_length / inner_radius**2
    distance = np.maximum(np.linalg.norm(points - np.asarray(centre), axis=1), a)
    return np.asarray(potential * (1 / a - 1 / distance + drop) / (1 / a - 1 / b + drop))


def coaxial_cylinders(
    points: Points, potential: Potential, inner_radius: Length, outer_radius: Length, centre: Centre
) -> Values:
    """Potential outside a cylinder along y at 0 V inside a coaxial cylinder at V, (n,) float, V.

    φ = V ln(r/a) / ln(b/a), r = distance from the axis through ``centre``.  Points inside
    the inner cylinder get 0.
    """
    relative = points - np.asarray(centre)
    distance = np.maximum(np.hypot(relative[:, 0], relative[:, 2]), inner_radius)
    return np.asarray(potential * np.log(distance / inner_radius) / math.log(outer_radius / inner_radius))


def coaxial_cylinders_conductance(
    conductivity: Conductivity, inner_radius: Length, outer_radius: Length, length: Length
) -> float:
    """Conductance of a length L between coaxial cylinders, G = 2πσL / ln(b/a), S."""
    return 2 * math.pi * conductivity * length / math.log(outer_radius / inner_radius)


def coaxial_cylinders_inner_field(potential: Potential, inner_radius: Length, outer_radius: Length) -> float:
    """Field at the inner of two coaxial cylinders, E = V / (a ln(b/a)), V/m."""
    return potential / (inner_radius * math.log(outer_radius / inner_radius))


def confocal_spheroids(
    points: Points,
    potential: Potential,
    inner_depth: Length,
    inner_radius: Length,
    outer_depth: Length,
    centre: Centre,
) -> Values:
    """Potential outside a prolate spheroid at 0 V inside a confocal one at V, (n,) float, V.

    φ = V [F(η₁) − F(η)] / [F(η₁) − F(η₂)], F(η) = ln coth(η/2), with the spheroidal
    coordinate cosh η = (r₊ + r₋)/(2c), r± the distances from the foci on the z axis,
    c² = depth² − radius².  ``depth`` is the semi-axis along z.  Points inside the inner
    spheroid get 0.  Source: Smythe, Static and Dynamic Electricity, spheroidal coordinates.
    """
    c, inner, outer = _confocal_family(inner_depth, inner_radius, outer_depth)
    relative = points - np.asarray(centre)
    across = np.hypot(relative[:, 0], relative[:, 1])
    sum_of_distances = np.hypot(across, relative[:, 2] - c) + np.hypot(across, relative[:, 2] + c)
    eta = np.arccosh(np.maximum(sum_of_distances / (2 * c), math.cosh(inner)))
    drop = _log_coth(inner) + np.log(np.tanh(eta / 2))
    return np.asarray(np.maximum(potential * drop / (_log_coth(inner) - _log_coth(outer)), 0.0))


def confocal_spheroids_conductance(
    conductivity: Conductivity, inner_depth: Length, inner_radius: Length, outer_depth: Length
) -> float:
    """Conductance between confocal prolate spheroids, G = 4πσc / [ln coth(η₁/2) − ln coth(η₂/2)], S."""
    c, inner, outer = _confocal_family(inner_depth, inner_radius, outer_depth)
    return 4 * math.pi * conductivity * c / (_log_coth(inner) - _log_coth(outer))


def confocal_spheroids_tip_field(
    potential: Potential, inner_depth: Length, inner_radius: Length, outer_depth: Length
) -> float:
    """Field at the tip of the inner of two confocal prolate spheroids, V/m.

    E = V / {c sinh²η₁ [F(η₁) − F(η₂)]}: |F′| = 1/sinh η and ds = c sinh η₁ dη on the axis.
    """
    c, inner, outer = _confocal_family(inner_depth, inner_radius, outer_depth)
    return potential / (c * math.sinh(inner) ** 2 * (_log_coth(inner) - _log_coth(outer)))


def _confocal_family(depth: float, radius: float, outer_depth: float) -> tuple[float, float, float]:
    """Half focal distance c, m, and spheroidal coordinates η of the inner and the outer spheroid."""
    if not 0 < radius < depth < outer_depth:
        raise ValueError(
            "confocal prolate spheroids need 0 < inner radius < inner depth < outer depth; "
            f"got {radius:g} m, {depth:g} m, {outer_depth:g} m"
        )
    c = math.sqrt(depth**2 - radius**2)
    # asinh(b/c) keeps the digits of a slender spheroid that acosh(depth/c) loses.
    return c, math.asinh(radius / c), math.acosh(outer_depth / c)


def _log_coth(eta: float) -> float:
    return -math.log(math.tanh(eta / 2))
