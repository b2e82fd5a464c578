"""Closed forms with Butler-Volmer kinetics, both transfer coefficients 1/2, at 303.15 K.

V = i ρ + (2RT/F) asinh(i/2i₀) with the resistance ρ of the electrolyte for the current density i at the interface; the
density at a voltage is its root, by bisection.  Source: Newman and Balsara, Electrochemical Systems, kinetics in series
with an ohmic drop.
"""

from __future__ import annotations

import math

import numpy as np

from fem_spall.analytic.signature import Centre, Conductivity, CurrentDensity, Length, Points, Potential, Values

__all__ = [
    "butler_volmer_column_density",
    "butler_volmer_column_voltage",
    "butler_volmer_sphere",
    "butler_volmer_sphere_current",
]

#: 2RT/F at 303.15 K, V.
TWICE_THERMAL = 2 * 8.31446261815324 * 303.15 / 96485.33212


def _voltage(density: float, resistance: float, exchange: float) -> float:
    return density * resistance + TWICE_THERMAL * math.asinh(density / (2 * exchange))


def _density(potential: float, resistance: float, exchange: float) -> float:
    low, high = sorted((0.0, potential / resistance))
    for _ in range(200):
        middle = (low + high) / 2
        if _voltage(middle, resistance, exchange) < potential:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def butler_volmer_column_density(
    potential: Potential, conductivity: Conductivity, height: Length, exchange_current_density: CurrentDensity
) -> float:
    """Current density of a column of height H with one kinetic electrode, V = i H/σ + (2RT/F) asinh(i/2i₀), A/m^2."""
    return _density(potential, height / conductivity, exchange_current_density)


def butler_volmer_column_voltage(
    current_density: CurrentDensity,
    conductivity: Conductivity,
    height: Length,
    exchange_current_density: CurrentDensity,
) -> float:
    """Voltage of the same column at an imposed current density, V."""
    return _voltage(current_density, height / conductivity, exchange_current_density)


def _sphere_density(potential: float, conductivity: float, a: float, b: float, exchange: float) -> float:
    return _density(potential, a**2 * (1 / a - 1 / b) / conductivity, exchange)


def butler_volmer_sphere(
    points: Points,
    potential: Potential,
    conductivity: Conductivity,
    inner_radius: Length,
    outer_radius: Length,
    exchange_current_density: CurrentDensity,
    centre: Centre,
) -> Values:
    """Potential outside a kinetic sphere at 0 V inside a concentric one at V, (n,) float, V.

    φ = V − i a² (1/r − 1/b)/σ, i the density on the inner sphere.  Points inside it get the value at r = a.
    """
    i = _sphere_density(potential, conductivity, inner_radius, outer_radius, exchange_current_density)
    distance = np.maximum(np.linalg.norm(points - np.asarray(centre), axis=1), inner_radius)
    return np.asarray(potential - i * inner_radius**2 * (1 / distance - 1 / outer_radius) / conductivity)


def butler_volmer_sphere_current(
    potential: Potential,
    conductivity: Conductivity,
    inner_radius: Length,
    outer_radius: Length,
    exchange_current_density: CurrentDensity,
) -> float:
    """Current into the inner sphere, 4πa² i with V = i a² (1/a − 1/b)/σ + (2RT/F) asinh(i/2i₀), A."""
    i = _sphere_density(potential, conductivity, inner_radius, outer_radius, exchange_current_density)
    return 4 * math.pi * inner_radius**2 * i
