"""Conducting spheres: isolated in a uniform field, and above a plane by the series of image charges.

The plane carries V and lies at the distance ``height`` below the sphere's centre (towards −z);
the sphere, which is the plated lithium, is at 0 V.  With cosh u = height/radius the charges of
the series fall off as exp(−n u).  Source: Maxwell, Treatise on Electricity and Magnetism,
chapter XI; Smythe, Static and Dynamic Electricity, section 5.08.
"""

from __future__ import annotations

import math

import numpy as np

from fem_spall.analytic.signature import Centre, Conductivity, Field, Length, Points, Potential, Values

__all__ = [
    "floating_sphere",
    "sphere_above_plane",
    "sphere_above_plane_conductance",
    "sphere_above_plane_largest_field",
]


def floating_sphere(points: Points, potential: Potential, field: Field, radius: Length, centre: Centre) -> Values:
    """Potential round an isolated conducting sphere in a uniform field, (n,) float, V.

    φ = V₀ + E₀ d (1 − a³/r³), d the depth below the centre: the sphere takes the undisturbed potential V₀ of its
    centre, its net current is zero.  Points inside the sphere get V₀.
    """
    relative = points - np.asarray(centre)
    distance = np.maximum(np.linalg.norm(relative, axis=1), radius)
    return np.asarray(potential - field * relative[:, 2] * (1 - (radius / distance) ** 3))


def sphere_above_plane(points: Points, potential: Potential, radius: Length, height: Length, centre: Centre) -> Values:
    """Potential between a sphere at 0 V and a plane at V below it, (n,) float, V.

    φ = V − V Σ qₙ (1/|r − zₙ| − 1/|r + zₙ|), charges on the axis at ±zₙ from the plane.
    Points inside the sphere get 0.
    """
    charges, places = _images(radius, height)
    relative = points - np.asarray(centre)
    across, above = np.hypot(relative[:, 0], relative[:, 1]), relative[:, 2] + height
    near = 1 / np.hypot(across[:, None], above[:, None] - places)
    image = 1 / np.hypot(across[:, None], above[:, None] + places)
    inside = np.linalg.norm(relative, axis=1) <= radius
    return np.where(inside, 0.0, potential * (1 - (near - image) @ charges))


def sphere_above_plane_conductance(conductivity: Conductivity, radius: Length, height: Length) -> float:
    """Conductance between a sphere and a plane, G = 4πσ a sinh u Σ 1/sinh(nu), S: the sum of all charges."""
    return 4 * math.pi * conductivity * float(_images(radius, height)[0].sum())


def sphere_above_plane_largest_field(potential: Potential, radius: Length, height: Length) -> float:
    """Field at the point of the sphere that is closest to the plane, V/m."""
    charges, places = _images(radius, height)
    bottom = height - radius
    return potential * float(np.sum(charges * (1 / (places - bottom) ** 2 + 1 / (places + bottom) ** 2)))


def _images(radius: float, height: float) -> tuple[Values, Values]:
    """Charges in units of 4πσ V, m, and their distances from the plane, m.

    qₙ = a sinh u / sinh((n + 1) u) and zₙ = a sinh u coth((n + 1) u).
    """
    if not 0 < radius < height:
        raise ValueError(f"a sphere above a plane needs 0 < radius < height; got {radius:g} m and {height:g} m")
    u = math.acosh(height / radius)
    order = np.arange(1, math.ceil(40 / u) + 1) * u
    reach = radius * math.sinh(u)
    # sinh of large arguments overflows; both quotients in terms of the decaying exponential.
    decay = np.exp(-order)
    return 2 * reach * decay / -np.expm1(-2 * order), reach * (1 + decay**2) / -np.expm1(-2 * order)
