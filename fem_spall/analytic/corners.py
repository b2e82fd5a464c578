"""Corners: how strong a singularity is, and what a bend of a channel costs."""

from __future__ import annotations

import math

from fem_spall.analytic.signature import Angle, Conductivity, Fraction, Length

__all__ = ["bent_channel_resistance", "wedge_exponent"]


def wedge_exponent(angle: Angle) -> float:
    """Exponent λ = π/ω of the potential r^λ at an edge with the angle ω of electrolyte, one law on both faces, -."""
    return math.pi / angle


def bent_channel_resistance(
    conductivity: Conductivity, width: Length, thickness: Length, arms: Length, bends: Fraction
) -> float:
    """Resistance of a channel of one width with right-angled bends, Ω.

    ``arms`` is the length of the straight parts together, without the squares at the bends, each of which counts
    1 − (2/π) ln 2 squares; exact to e^(−π arm/width).  Source: Schwarz-Christoffel map of the bend, P. M. Hall,
    Thin Solid Films 1 (1968) 277.
    """
    squares = arms / width + bends * (1 - 2 / math.pi * math.log(2))
    return squares / (conductivity * thickness)
