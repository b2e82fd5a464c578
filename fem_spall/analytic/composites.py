"""Electrolytes of several conductivities: layers in series and in parallel, a sphere in a uniform field.

Sources: current continuity in one dimension for the layers; Maxwell, Treatise on Electricity and Magnetism, article
314, for the sphere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import numpy as np

from fem_spall.analytic.signature import AreaResistance, Centre, Conductivity, Field, Length, Points, Values
from fem_spall.quantity import Unit

__all__ = [
    "conducting_inclusion",
    "grain_boundary_conductivity",
    "inclusion_power",
    "parallel_conductivity",
    "series_conductivity",
]

Conductivities = Annotated[Sequence[float], Unit("S/m", "1 mS/cm", "conductivity")]
Thicknesses = Annotated[Sequence[float], Unit("m", "10 um", "length")]


def series_conductivity(conductivities: Conductivities, thicknesses: Thicknesses) -> float:
    """Effective conductivity across layers, Σd / Σ(d/σ), S/m."""
    sigma, d = np.asarray(conductivities), np.asarray(thicknesses)
    return float(d.sum() / (d / sigma).sum())


def parallel_conductivity(conductivities: Conductivities, thicknesses: Thicknesses) -> float:
    """Effective conductivity along layers, Σσd / Σd, S/m."""
    sigma, d = np.asarray(conductivities), np.asarray(thicknesses)
    return float((sigma * d).sum() / d.sum())


def grain_boundary_conductivity(
    conductivity: Conductivity, height: Length, boundary: AreaResistance, spacing: Length
) -> float:
    """Effective conductivity across grains with plane boundaries in a height H, H/(H/σ + (H/d − 1) R), S/m.

    ``boundary`` is the area resistance R of one, ``spacing`` the distance d between them: there are H/d − 1 inside.
    """
    count = round(height / spacing) - 1
    return height / (height / conductivity + count * boundary)


def conducting_inclusion(
    points: Points, field: Field, radius: Length, matrix: Conductivity, inclusion: Conductivity, centre: Centre
) -> Values:
    """Potential in and round a sphere of another conductivity in a uniform field, (n,) float, V.

    φ = E₀ d (1 − β a³/r³) outside with β = (σ_i − σ)/(σ_i + 2σ), E₀ d 3σ/(σ_i + 2σ) inside; d the depth below the
    centre.
    """
    relative = points - np.asarray(centre)
    distance = np.maximum(np.linalg.norm(relative, axis=1), radius)
    beta = (inclusion - matrix) / (inclusion + 2 * matrix)
    return np.asarray(-field * relative[:, 2] * (1 - beta * (radius / distance) ** 3))


def inclusion_power(field: Field, radius: Length, matrix: Conductivity, inclusion: Conductivity) -> float:
    """Power dissipated in that sphere, σ_i (3σ E₀/(σ_i + 2σ))² 4πa³/3, W."""
    return inclusion * (3 * matrix * field / (inclusion + 2 * matrix)) ** 2 * 4 / 3 * math.pi * radius**3
