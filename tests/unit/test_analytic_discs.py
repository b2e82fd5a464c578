"""Closed forms of discs in a plane and of corners: the law on every part of the boundary, Laplace's equation, currents.

Lengths and conductivity are 1, potential and field 2 unless stated; typed numbers are those of the physics reference.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from fem_spall.analytic import FIGURES, POTENTIALS

type Array = NDArray[np.float64]

ORIGIN = (0.0, 0.0, 0.0)
WAGNER = 0.4


def disc(points: Array) -> Array:
    return POTENTIALS["disc_contact"](points, 2.0, 1.0, ORIGIN)


def resistive(points: Array) -> Array:
    return POTENTIALS["resistive_disc"](points, 2.0, 1.0, WAGNER, ORIGIN)


def penny(points: Array) -> Array:
    return POTENTIALS["insulating_penny"](points, 2.0, 1.0, ORIGIN)


FORMS = [disc, resistive, penny]


def below(count: int = 60) -> Array:
    """Points in the half-space, close to the disc and away from it."""
    random = np.random.default_rng(5)
    return np.asarray(random.uniform([-2, -2, -2.5], [2, 2, -0.1], size=(count, 3)))


def ring(radii: Array) -> Array:
    """Points of the plane at some distances from the axis."""
    angle = np.linspace(0.1, 6, len(radii))
    return np.column_stack([radii * np.cos(angle), radii * np.sin(angle), np.zeros(len(radii))])


def downwards(form: Callable[[Array], Array], points: Array, step: float = 2e-4) -> Array:
    """∂φ/∂d by one-sided differences of third order."""
    values = [form(points - [0, 0, k * step]) for k in range(4)]
    return np.asarray((-11 * values[0] + 18 * values[1] - 9 * values[2] + 2 * values[3]) / (6 * step))


@pytest.mark.parametrize("form", FORMS)
def test_harmonic(form: Callable[[Array], Array]) -> None:
    # Catches: a form that is right in the plane and far away only; orders of the series mixed up.
    step, weights = 0.01, np.array([-1, 16, -30, 16, -1]) / 12
    points = below()
    second = np.array([
        sum(w * form(points + k * step * axis) for k, w in zip(range(-2, 3), weights, strict=True)) / step**2
        for axis in np.eye(3)
    ])  # fmt: skip
    assert (np.abs(second.sum(axis=0)) / (np.abs(second).max(axis=0) + 1e-3)).max() < 1e-4


def test_the_plane_of_a_contact() -> None:
    # Catches: lithium that is not at 0 V, current through the insulator, a potential that does not reach V.
    inner, outer = ring(np.linspace(0, 0.999, 9)), ring(np.linspace(1.1, 4, 9))
    assert np.abs(disc(inner)).max() < 1e-7
    for form in (disc, resistive):
        assert np.abs(downwards(form, outer)).max() < 1e-5
        far = below() * 1e4
        assert form(far) == pytest.approx(np.full(60, 2.0), rel=1e-4)


def test_a_disc_of_resistance_obeys_its_law() -> None:
    # Catches: a Wagner length upside down, slopes of the second kind that belong to other orders.
    inner = ring(np.linspace(0.1, 0.97, 9))
    assert WAGNER * downwards(resistive, inner) == pytest.approx(resistive(inner), rel=1e-3)


def test_series_of_the_disc_is_continuous_where_its_recurrence_changes() -> None:
    # Catches: upward and downward recurrence that are scaled differently.
    depth = np.array([0.0099, 0.009999, 0.010001, 0.0101])
    phi = resistive(np.column_stack([0 * depth, 0 * depth, -depth]))
    slope = np.diff(phi) / np.diff(depth)
    assert slope == pytest.approx(np.full(3, slope.mean()), rel=1e-4)


def test_disc_without_resistance_is_the_limit() -> None:
    # Catches: a series that does not know the primary distribution.
    points = below()
    thin = POTENTIALS["resistive_disc"](points, 2.0, 1.0, 1e-5, ORIGIN)
    assert thin == pytest.approx(disc(points), rel=2e-4)
    assert FIGURES["resistive_disc_quantile"](1.0, 1e4, 0.7) == pytest.approx(1.0, rel=1e-4)


@pytest.mark.parametrize(
    ("wagner", "resistance"),
    [(0.1, 0.291147206), (0.3, 0.359420412), (1, 0.585919594), (3, 1.224152095), (10, 3.452984993)],
)
def test_resistance_of_a_disc_by_wagner_number(wagner: float, resistance: float) -> None:
    # Reference: the table of the physics reference, R sigma a.
    assert 1 / FIGURES["resistive_disc_current"](1.0, 1.0, 1.0, wagner) == pytest.approx(resistance, rel=2e-8)
    assert 1 / FIGURES["resistive_disc_current"](2.0, 1.0, 3.0, 3 * wagner) == pytest.approx(resistance / 6, rel=2e-8)


def test_flux_of_a_resistive_disc() -> None:
    # Catches: quantiles relative to another mean. The mean over the shares is one; the centre is tabulated.
    share, weights = np.polynomial.legendre.leggauss(40)
    values = [FIGURES["resistive_disc_quantile"](1.0, 0.1, (s + 1) / 2) for s in share]
    assert float(np.sum(weights / 2 * np.array(values))) == pytest.approx(1.0, rel=1e-4)
    assert FIGURES["resistive_disc_quantile"](1.0, 0.1, 0.0) == pytest.approx(0.6225, rel=1e-3)
    flux = resistive(ring(np.array([math.sqrt(0.7)])))[0] / WAGNER
    mean = FIGURES["resistive_disc_current"](1.0, 2.0, 1.0, WAGNER) / math.pi
    assert flux / mean == pytest.approx(FIGURES["resistive_disc_quantile"](1.0, WAGNER, 0.7), rel=1e-9)


def test_current_quantiles_and_edge_of_a_contact() -> None:
    # Catches: factors of two and pi between current, mean, quantile and edge intensity.
    t, weights = np.polynomial.legendre.leggauss(12)
    t, weights = (t + 1) * math.pi / 4, weights * math.pi / 4  # rho = sin t takes the singular rim away
    flux = downwards(disc, ring(np.sin(t)), 1e-7)
    current = float(np.sum(weights * 2 * math.pi * np.sin(t) * np.cos(t) * flux))
    assert current == pytest.approx(FIGURES["disc_contact_current"](1.0, 2.0, 1.0), rel=1e-4)
    mean = current / math.pi
    middle = downwards(disc, ring(np.array([math.sqrt(0.5)])), 1e-5)[0]
    assert middle / mean == pytest.approx(FIGURES["disc_contact_quantile"](0.5), rel=1e-4)
    assert FIGURES["disc_contact_quantile"](0.5) == pytest.approx(0.707107, rel=1e-6)
    assert FIGURES["disc_contact_quantile"](0.0) == 0.5
    s = 1e-4
    edge = math.sqrt(2 * math.pi * s) * downwards(disc, ring(np.array([1 - s])), 1e-7)[0]
    assert edge == pytest.approx(FIGURES["disc_contact_intensity"](1.0, 2.0, 1.0), rel=1e-3)
    assert FIGURES["disc_contact_intensity"](1.0, 2.0, 1.0) == pytest.approx(mean * math.sqrt(math.pi) / 2, rel=1e-4)


@pytest.mark.parametrize(("e", "value"), [(1, 0.137791492836), (2, 0.207181592203), (3, 0.234165358681)])
def test_resistance_to_a_confocal_shell(e: float, value: float) -> None:
    assert FIGURES["disc_contact_resistance"](1.0, 1.0, math.sinh(e)) == pytest.approx(value, rel=1e-10)
    shell = np.array([[0, 0, -math.sinh(e)], [math.cosh(e), 0, 0], [math.cosh(e) * 0.6, 0, -math.sinh(e) * 0.8]])
    drop = FIGURES["disc_contact_current"](1.0, 2.0, 1.0) * value
    assert disc(shell) == pytest.approx(np.full(3, drop), rel=1e-9)


@pytest.mark.parametrize("within", [0.3, 0.9])
def test_mean_of_the_middle_of_a_contact(within: float) -> None:
    # Catches: the area of the disc taken for that of its middle; half of the mean density in the limit.
    from scipy.integrate import quad

    mean = FIGURES["disc_contact_current"](3.0, 2.0, 1.0) / math.pi
    own = quad(lambda r: mean / (2 * math.sqrt(1 - r**2)) * 2 * r / within**2, 0, within)[0]
    assert FIGURES["disc_contact_inner_mean"](3.0, 2.0, 1.0, within) == pytest.approx(own, rel=1e-9)
    assert FIGURES["disc_contact_inner_mean"](3.0, 2.0, 1.0, 1e-3) == pytest.approx(mean / 2, rel=1e-6)


def test_insulating_penny() -> None:
    # Catches: a lithium disc in place of an insulator, half the jump taken for all of it, a wrong far dipole.
    inner, outer = ring(np.linspace(0, 0.99, 9)), ring(np.linspace(1.05, 4, 9))
    assert np.abs(downwards(penny, inner)).max() < 1e-4
    jump = 2 * penny(inner)
    radius = np.linalg.norm(inner, axis=1)
    assert jump == pytest.approx(4 / math.pi * 2.0 * np.sqrt(1 - radius**2), rel=1e-9)
    assert np.abs(penny(outer)).max() < 1e-7
    s = 1e-5
    edge = math.sqrt(2 * math.pi * s) * downwards(penny, ring(np.array([1 + s])), 1e-8)[0]
    assert edge == pytest.approx(FIGURES["insulating_penny_intensity"](1.0, 2.0, 1.0), rel=1e-3)
    assert FIGURES["insulating_penny_intensity"](1.0, 1.0, 1.0) == pytest.approx(1.12837916710, rel=1e-11)
    # Far away phi = E0 d (1 + V / (4 pi r^3)), V the extra thickness times the area.
    point = np.array([[20.0, 30.0, -40.0]])
    distance = float(np.linalg.norm(point))
    volume = (penny(point)[0] / (2.0 * 40) - 1) * 4 * math.pi * distance**3
    assert volume == pytest.approx(FIGURES["insulating_penny_volume"](1.0), rel=5e-3)
    near, beyond = penny(point * [[29.99 / distance]]), penny(point * [[30.01 / distance]])
    assert beyond / near == pytest.approx(30.01 / 29.99, rel=1e-7), "the series far away"


def test_array_of_insulating_pennies() -> None:
    # Catches: neighbours that shield each other as conducting bodies do; a lattice sum of another lattice.
    lone = FIGURES["insulating_penny_intensity"](1.0, 2.0, 1.0)
    assert FIGURES["insulating_penny_intensity"](1.0, 2.0, 1.0, 1e3) == pytest.approx(lone, rel=1e-8)
    i, j = np.meshgrid(np.arange(-200, 201), np.arange(-200, 201))
    distance = 8.0 * np.hypot(i, j)[(i != 0) | (j != 0)]
    # In the plane of a dipole of volume V against the field its own field is V E / (4 pi r^3) along it; the sum is
    # cut at 200 rows, beyond which the squares add 4 sqrt(2) / 200.5 of 1/w^3.
    others = float(np.sum(1 / distance**3)) + 4 * math.sqrt(2) / 200.5 / 8**3
    share = 8 / 3 * others / (4 * math.pi)
    seen = FIGURES["insulating_penny_intensity"](1.0, 2.0, 1.0, 8.0) / lone
    assert seen == pytest.approx(1 / (1 - share), rel=1e-7)
    assert FIGURES["insulating_penny_advance"](1.0, 8.0) == pytest.approx(-4 / 3 / 64 * seen, rel=1e-12)


def test_corners() -> None:
    # Catches: an exponent of the wrong reciprocal; arms that include the squares at the bends.
    exponents = [FIGURES["wedge_exponent"](math.radians(angle)) for angle in (270, 300, 360)]
    assert exponents == pytest.approx([2 / 3, 0.6, 0.5])
    bend = FIGURES["bent_channel_resistance"](1.0, 2.0, 3.0, 10.0, 1.0) * 3 - 5
    assert bend == pytest.approx(0.5587287997, rel=1e-9)
