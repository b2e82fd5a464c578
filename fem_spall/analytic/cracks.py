"""Cracks of zero thickness that stand on the plating electrode: half-penny and blade.

The edge flux intensity is K_E = lim √(2πs) |∂φ/∂n| at the distance s from the edge,
V m^-1/2, of one face; times the conductivity it is K_j.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fem_spall.analytic.bosses import confocal_square
from fem_spall.analytic.signature import (
    Angle,
    Centre,
    Conductivity,
    CurrentDensity,
    Field,
    Length,
    Points,
    Potential,
    Values,
)

__all__ = [
    "BladeCell",
    "blade_advance_in_mirror_cell",
    "blade_cell_advance",
    "blade_cell_current",
    "blade_cell_intensity",
    "blade_cell_share",
    "blade_cell_voltage",
    "blade_intensity",
    "blade_intensity_in_mirror_cell",
    "blade_intensity_near_counter",
    "blade_near_counter_current",
    "half_penny_advance_volume",
    "half_penny_current",
    "half_penny_intensity",
    "half_penny_on_plane",
]


def half_penny_on_plane(points: Points, field: Field, radius: Length, centre: Centre) -> Values:
    """Potential around a half-disc standing in the plane y = centre y on a plane electrode, both at 0 V, (n,) float, V.

    φ = E₀ d {1 − (2/π) [arccot x − x/(1 + x²)]}, x ≥ 0 the oblate coordinate of the disc of
    radius a: ρ²/(1 + x²) + y²/x² = a², ρ = distance from the centre in the plane of the disc.
    Source: the ellipsoid with semi-axes (a, 0, a) in a uniform field, as in ``bosses``.
    """
    relative = points - np.asarray(centre)
    in_plane = np.hypot(relative[:, 0], relative[:, 2])
    x = np.sqrt(confocal_square(in_plane, relative[:, 1], radius, 0.0)) / radius
    # arctan2(1, x) is arccot x; beyond x = 30 the bracket cancels and its series in 1/x takes over.
    far = np.maximum(x, 30.0)
    series = 2 / 3 / far**3 - 4 / 5 / far**5 + 6 / 7 / far**7 - 8 / 9 / far**9
    bracket = np.where(x > 30, series, np.arctan2(1.0, x) - x / (1 + x**2))
    return np.asarray(field * -relative[:, 2] * (1 - 2 / math.pi * bracket))


def half_penny_current(conductivity: Conductivity, field: Field, radius: Length) -> float:
    """Current into both sides of a half-penny standing on a plane electrode, I = 4σE₀a², A.

    The flux of the two sides together is (8/π) σE₀ d/√(a² − ρ²); its integral over the half-disc is I.
    """
    return 4 * conductivity * field * radius**2


def half_penny_intensity(field: Field, radius: Length, angle: Angle) -> float:
    """Edge flux intensity of a half-penny, K_E = 4 E₀ √(a/π) cos t, t from the deepest point, V m^-1/2."""
    return 4 * field * math.sqrt(radius / math.pi) * math.cos(angle)


def half_penny_advance_volume(radius: Length) -> float:
    """Electrode advance times cross-section of a half-penny in a wide cell, δA = 8a³/3, m³."""
    return 8 * radius**3 / 3


def blade_intensity(field: Field, depth: Length) -> float:
    """Edge flux intensity of a blade on a plane in a half-space, K_E = E₀ √(πh), V m^-1/2.

    Source: φ = E₀ Im √(z² + h²), the mode III crack of fracture mechanics.
    """
    return field * math.sqrt(math.pi * depth)


def blade_intensity_in_mirror_cell(field: Field, depth: Length, half_width: Length) -> float:
    """Edge flux intensity of a blade between mirror planes at ±w, no counter, K_E = E₀ √(2w tanh(πh/2w)), V m^-1/2."""
    return field * math.sqrt(2 * half_width * math.tanh(math.pi * depth / (2 * half_width)))


def blade_advance_in_mirror_cell(depth: Length, half_width: Length) -> float:
    """Electrode advance of a blade between mirror planes at ±w, no counter, δ = (2w/π) ln cosh(πh/2w), m."""
    return 2 * half_width / math.pi * math.log(math.cosh(math.pi * depth / (2 * half_width)))


def blade_intensity_near_counter(field: Field, depth: Length, height: Length) -> float:
    """Edge flux intensity of a blade below a wide counter electrode, K_E = (V/H) √(2H tan(πh/2H)), V m^-1/2.

    ``field`` is V/H here, not the mean field.
    """
    return field * math.sqrt(2 * height * math.tan(math.pi * depth / (2 * height)))


def blade_near_counter_current(
    conductivity: Conductivity,
    potential: Potential,
    half_width: Length,
    height: Length,
    depth: Length,
    length: Length,
) -> float:
    """Current of half a wide cell of length L with a blade, I = σVL [w/H − (2/π) ln cos(πh/2H)], A.

    The bracket follows from the intensity: its derivative with the depth is K²/2V².
    """
    cosine = math.cos(math.pi * depth / (2 * height))
    return conductivity * potential * length * (half_width / height - 2 / math.pi * math.log(cosine))


# Blade in a finite cell -------------------------------------------------------------------------------------------


def blade_cell_current(
    conductivity: Conductivity,
    potential: Potential,
    half_width: Length,
    height: Length,
    depth: Length,
    length: Length,
) -> float:
    """Current of half a cell of length L with a blade, one side of the blade, A."""
    return conductivity * potential * length * BladeCell(half_width, height, depth).conductance


def blade_cell_voltage(
    current_density: CurrentDensity, conductivity: Conductivity, half_width: Length, height: Length, depth: Length
) -> float:
    """Voltage at which the cell with a blade passes the mean current density j₀, V = j₀ w/(σ G), V."""
    return current_density * half_width / (conductivity * BladeCell(half_width, height, depth).conductance)


def blade_cell_share(half_width: Length, height: Length, depth: Length) -> float:
    """Share of the current of the cell that the blade takes, -."""
    return BladeCell(half_width, height, depth).share


def blade_cell_advance(half_width: Length, height: Length, depth: Length) -> float:
    """Electrode advance of a blade in a finite cell, δ = H − w σV/I, m."""
    return height - half_width / BladeCell(half_width, height, depth).conductance


def blade_cell_intensity(field: Field, half_width: Length, height: Length, depth: Length) -> float:
    """Edge flux intensity of a blade in a finite cell for the mean field E₀ = I/(σw), V m^-1/2."""
    cell = BladeCell(half_width, height, depth)
    return field * half_width * cell.intensity / cell.conductance


@dataclass(frozen=True)
class BladeCell:
    """A blade x = 0, 0 < y < h in the cell 0 < x < w, 0 < y < H: electrodes y = 0 and y = H, no flux elsewhere.

    Per unit length, conductivity 1.  The map t = sn²(K z/w | m) of modulus K′/K = H/w takes the
    cell to the upper half-plane; the tip goes to t = −sc²(u | 1 − m), u = hK/w, and a Möbius
    map takes blade and floor to 0 … 1, counter to 1/p … ∞, p = m (1 − t)/(1 − m t).
    Source: Schwarz-Christoffel map of a rectangle, Nehari, Conformal Mapping, chapter VI.
    """

    half_width: float
    height: float
    depth: float

    def __post_init__(self) -> None:
        if not 0 < self.depth < self.height or self.half_width <= 0:
            raise ValueError(
                f"a blade in a cell needs 0 < depth < height and a width; got depth {self.depth:g} m, "
                f"height {self.height:g} m, half width {self.half_width:g} m"
            )

    @property
    def conductance(self) -> float:
        """Current over conductivity and potential, I/(σV) = K(p)/K(1 − p), -."""
        from scipy.special import ellipkm1

        return float(ellipkm1(self._rest)) / float(ellipkm1(self._parameter))

    @property
    def share(self) -> float:
        """Current into the blade over the total current, F(am u | p)/K(p), -."""
        from scipy.special import ellipkinc, ellipkm1

        return float(ellipkinc(self._tip[3], self._parameter)) / float(ellipkm1(self._rest))

    @property
    def intensity(self) -> float:
        """Edge flux intensity over potential, √(π K(m) sn dn / (w cn)) / K(1 − p), m^-1/2, functions of u | 1 − m."""
        from scipy.special import ellipkm1

        sn, cn, dn, _ = self._tip
        pull = math.pi * self._modulus[2] * sn * dn / (self.half_width * cn)
        return math.sqrt(pull) / float(ellipkm1(self._parameter))

    @cached_property
    def _modulus(self) -> tuple[float, float, float]:
        """The parameters m and 1 − m and K(m), each without cancellation."""
        from scipy.special import ellipkm1

        ratio = self.height / self.half_width
        nome = math.exp(-math.pi * max(ratio, 1 / ratio))
        orders = np.arange(1, 12)
        theta2 = 2 * nome**0.25 * (1 + float(np.sum(nome ** (orders * (orders + 1)))))
        theta3 = 1 + 2 * float(np.sum(nome ** (orders**2)))
        theta4 = 1 + 2 * float(np.sum((-1) ** orders * nome ** (orders**2)))
        small, large = (theta2 / theta3) ** 4, (theta4 / theta3) ** 4
        m, rest = (small, large) if ratio >= 1 else (large, small)
        return m, rest, float(ellipkm1(rest))

    @cached_property
    def _tip(self) -> tuple[float, float, float, float]:
        """Jacobi sn, cn, dn and am of u = hK/w at the complementary parameter 1 − m."""
        from scipy.special import ellipj

        _, rest, quarter = self._modulus
        sn, cn, dn, amplitude = ellipj(self.depth * quarter / self.half_width, rest)
        return float(sn), float(cn), float(dn), float(amplitude)

    @cached_property
    def _parameter(self) -> float:
        m, _, _ = self._modulus
        sn, cn, _, _ = self._tip
        # t = -(sn/cn)^2 at the tip, both fractions of p multiplied by cn^2
        return m / (cn**2 + m * sn**2)

    @cached_property
    def _rest(self) -> float:
        m, rest, _ = self._modulus
        sn, cn, _, _ = self._tip
        return rest * cn**2 / (cn**2 + m * sn**2)
