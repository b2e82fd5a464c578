"""Closed forms of ellipsoids, spheres above a plane, lattices and voids, by second routes and the reference table.

The typed numbers are those of the project's physics reference (lattice multipoles, image charges).
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
AXES = {"depth": 1.5, "radius": 1.0, "half_opening": 0.4}
SPHERE = {"potential": 3.0, "radius": 1.0, "height": 1.5}


def ellipsoid(points: Array, **axes: float) -> Array:
    return POTENTIALS["ellipsoid_on_plane"](points, field=2.0, centre=ORIGIN, **(axes or AXES))


def sphere(points: Array) -> Array:
    return POTENTIALS["sphere_above_plane"](points, centre=ORIGIN, **SPHERE)


def directions(count: int = 200) -> Array:
    vectors = np.random.default_rng(5).normal(size=(count, 3))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1)[:, None])


def laplacian_share(form: Callable[[Array], Array], points: Array) -> Array:
    """Laplacian over the largest second derivative, by fourth-order differences."""
    step, weights = 0.01, np.array([-1, 16, -30, 16, -1]) / 12
    second = np.array(
        [sum(w * form(points + k * step * e) for k, w in zip(range(-2, 3), weights, strict=True)) for e in np.eye(3)]
    )
    return np.asarray(np.abs(second.sum(axis=0)) / (np.abs(second).max(axis=0) + 1e-3 * step**2))


def outward_slope(form: Callable[[Array], Array], points: Array, normals: Array, step: float) -> Array:
    values = [form(points + k * step * normals) for k in range(4)]
    return np.asarray((-11 * values[0] + 18 * values[1] - 9 * values[2] + 2 * values[3]) / (6 * step))


# Ellipsoids -------------------------------------------------------------------------------------------------------


def test_ellipsoid_is_harmonic_and_zero_on_body_and_plane() -> None:
    # Catches: a confocal coordinate that is not the largest root, semi-axes that belong to other directions.
    away = directions()
    away[:, 2] = -np.abs(away[:, 2])
    assert laplacian_share(ellipsoid, away * 2.2).max() < 2e-6
    body = away * [AXES["radius"], AXES["half_opening"], AXES["depth"]]
    assert np.abs(ellipsoid(np.vstack([body, 0.5 * body, [ORIGIN]]))).max() < 1e-12
    assert ellipsoid(1.01 * body - [0, 0, 1e-3]).min() > 0
    assert np.abs(ellipsoid(away * [3.0, 3.0, 0.0])).max() == 0
    assert ellipsoid(away * 1e4) == pytest.approx(-2e4 * away[:, 2], rel=1e-9)


def test_ellipsoid_of_revolution_is_the_spheroid() -> None:
    # Catches: a depolarisation factor of another axis; 14.368 is the thin half-penny of the reference.
    points = directions() * 2.5
    points[:, 2] = -np.abs(points[:, 2])
    same = POTENTIALS["spheroid_on_plane"](points, field=2.0, depth=1.5, radius=0.7, centre=ORIGIN)
    assert ellipsoid(points, depth=1.5, radius=0.7, half_opening=0.7) == pytest.approx(same, rel=1e-12)
    for depth in (0.3, 1.0, 2.0):
        axes = {"depth": depth, "radius": 1.0, "half_opening": 1.0}
        assert FIGURES["ellipsoid_focusing"](**axes) == pytest.approx(
            FIGURES["spheroid_focusing"](depth, 1.0), rel=1e-13
        )
        assert FIGURES["ellipsoid_cap_mean"](**axes, distance=0.25) == pytest.approx(
            FIGURES["spheroid_cap_mean"](depth, 1.0, 0.25), rel=1e-12
        )
    thin = FIGURES["ellipsoid_focusing"](6e-6, 6e-6, 0.6e-6)
    assert thin == pytest.approx(14.368, abs=5e-4)
    # The ridge is the limit of a long one.
    assert FIGURES["ellipsoid_focusing"](1.0, 1e4, 0.25) == pytest.approx(5.0, rel=1e-6)
    assert FIGURES["ellipsoid_current"](1.0, 1.0, 1.0, 1.0, 1e-7) == pytest.approx(4.0, rel=1e-6)  # the sheet


def test_current_tip_and_advance_follow_from_the_potential() -> None:
    # Catches: a current of the whole ellipsoid, radius and opening exchanged in the figures.
    a, b, c = AXES["radius"], AXES["half_opening"], AXES["depth"]
    u, weights = np.polynomial.legendre.leggauss(30)
    u, weights = (u + 1) / 2, weights / 2
    turn = np.arange(60) * math.tau / 60
    across, bearing = np.meshgrid(np.sqrt(1 - u**2), turn, indexing="ij")
    height = np.broadcast_to(u[:, None], across.shape)
    unit = np.stack([across * np.cos(bearing), across * np.sin(bearing), -height], axis=-1).reshape(-1, 3)
    normals = unit / [a, b, c]
    stretch = np.linalg.norm(normals, axis=1)
    flux = outward_slope(ellipsoid, unit * [a, b, c], normals / stretch[:, None], 1e-3)
    current = float(np.sum(np.repeat(weights, 60) * math.tau / 60 * a * b * c * stretch * flux))
    assert current == pytest.approx(FIGURES["ellipsoid_current"](1.0, 2.0, **AXES), rel=1e-5)
    tip = outward_slope(ellipsoid, np.array([[0, 0, -c]]), np.array([[0, 0, -1.0]]), 1e-3)
    assert tip / 2 == pytest.approx([FIGURES["ellipsoid_focusing"](**AXES)], rel=1e-5)
    far = np.array([[200.0, 300.0, -400.0]])
    dipole = math.tau * np.linalg.norm(far) ** 3 * (1 - ellipsoid(far)[0] / 800)
    assert dipole == pytest.approx(FIGURES["ellipsoid_advance_volume"](**AXES), rel=1e-3)


def test_cap_mean_of_a_thin_ellipsoid_by_sampling() -> None:
    # Catches: an area element that loses the thin side, a quadrature too coarse for the lobe.
    a, b, c, distance = 6.0, 0.6, 6.0, 0.25
    fall, turn = np.meshgrid((np.arange(1500) + 0.5) / 1500 * 0.11, (np.arange(1500) + 0.5) / 1500 * math.pi / 2)
    u = 1 - fall
    x2, y2 = (1 - u**2) * np.cos(turn) ** 2, (1 - u**2) * np.sin(turn) ** 2
    inside = a**2 * x2 + b**2 * y2 + c**2 * fall**2 < distance**2
    area = np.sqrt((a * b * u) ** 2 + c**2 * (b**2 * x2 + a**2 * y2))
    mean = FIGURES["ellipsoid_focusing"](c, a, b) * np.sum((a * b * u)[inside]) / np.sum(area[inside])
    assert FIGURES["ellipsoid_cap_mean"](c, a, b, distance) == pytest.approx(mean, rel=2e-3)
    with pytest.raises(ValueError, match="must cut the boss above its foot"):
        FIGURES["ellipsoid_cap_mean"](1.0, 2.0, 1.0, 1.9)


# Sphere above a plane ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "value"), [(2.0, 1.34105981308), (1.5, 1.53537050884), (1.1, 2.15508611701)])
def test_sphere_above_plane_reference(height: float, value: float) -> None:
    found = FIGURES["sphere_above_plane_conductance"](1.0, 1.0, height)
    assert found == pytest.approx(4 * math.pi * value, rel=1e-11)


def test_sphere_above_plane_potential() -> None:
    # Catches: a missing image, a plane at the wrong side, a field of another point.
    unit = directions()
    assert np.abs(sphere(unit * (1 + 1e-13))).max() < 1e-11
    assert sphere(unit * 0.5).max() == 0
    plane = unit * 4
    plane[:, 2] = -1.5
    assert sphere(plane) == pytest.approx(np.full(200, 3.0), rel=1e-13)
    above = unit * [2.2, 2.2, 0.0] + [0, 0, 0.8]
    assert laplacian_share(sphere, above).max() < 2e-6
    # Gauss: the flux through the sphere is the conductance.
    u, weights = np.polynomial.legendre.leggauss(60)
    points = np.column_stack([np.sqrt(1 - u**2), 0 * u, u])
    flux = float(np.sum(weights * math.tau * outward_slope(sphere, points * (1 + 1e-13), points, 1e-4)))
    assert flux / 3 == pytest.approx(FIGURES["sphere_above_plane_conductance"](1.0, 1.0, 1.5), rel=1e-7)
    bottom = np.array([[0, 0, -1.0]])
    assert outward_slope(sphere, bottom * (1 + 1e-13), bottom, 1e-4) == pytest.approx(
        [FIGURES["sphere_above_plane_largest_field"](3.0, 1.0, 1.5)], rel=1e-7
    )


def test_sphere_above_plane_limits() -> None:
    # Catches: too few images when the sphere nearly touches, overflow when it is far away.
    assert FIGURES["sphere_above_plane_conductance"](1.0, 1.0, 1e8) == pytest.approx(4 * math.pi, rel=1e-7)
    # Near contact G/4 pi a = (ln(2/e))/2 + gamma for the gap e.
    gap = 1e-6
    near = (math.log(2 / gap)) / 2 + np.euler_gamma
    assert FIGURES["sphere_above_plane_conductance"](1.0, 1.0, 1 + gap) == pytest.approx(4 * math.pi * near, rel=1e-5)
    with pytest.raises(ValueError, match="0 < radius < height"):
        FIGURES["sphere_above_plane_conductance"](1.0, 1.0, 1.0)


# Lattices ---------------------------------------------------------------------------------------------------------


def test_lattice_reference() -> None:
    # Catches: a lost lattice sum, Lorentz's field taken as the mean field.
    assert FIGURES["boss_cell_focusing"](0.25, 1.0) == pytest.approx(2.67027679, abs=1e-8)
    assert FIGURES["boss_cell_capture"](0.25, 1.0) == pytest.approx(2.61699382, abs=1e-8)
    assert FIGURES["boss_cell_advance"](0.25, 1.0) == pytest.approx(0.0860356307, abs=1e-10)
    assert FIGURES["cubic_spheres_conductivity"](0.1) == pytest.approx(1.3335588507, abs=1e-9)
    assert FIGURES["cubic_spheres_conductivity"](0.2) == pytest.approx(1.7558760889, abs=1e-9)
    assert FIGURES["cubic_spheres_area_resistance"](0.1, 2e-5, 0.2) == pytest.approx(1e-4 / 1.7558760889, rel=1e-9)


def test_lattice_limits() -> None:
    # Catches: a wrong dipole sum. Wide cells: -9.0336 a^3/w^3 and 2 pi a^3/w^2; dilute spheres: Maxwell-Garnett.
    # The next multipole adds 6e-8 of 7e-5.
    ratio = 0.02
    wide = 1 - 9.0336216831 * ratio**3
    assert FIGURES["boss_cell_focusing"](ratio, 1.0) / 3 == pytest.approx(wide, rel=2e-7)
    assert FIGURES["boss_cell_capture"](ratio, 1.0) / 3 == pytest.approx(wide, rel=2e-7)
    assert FIGURES["boss_cell_advance"](2 * ratio, 2.0) == pytest.approx(math.tau * ratio**3 * 2 * wide, rel=2e-7)
    # An insulating sphere has half the dipole, the other way round.
    void = -math.pi * ratio**3 * 2 * (1 + 9.0336216831 * ratio**3 / 2)
    assert FIGURES["void_cell_advance"](2 * ratio, 2.0) == pytest.approx(void, rel=2e-7)
    f = 1e-3
    assert FIGURES["cubic_spheres_conductivity"](f) == pytest.approx((1 + 2 * f) / (1 - f), rel=1e-11)


def test_lattice_of_dipoles_by_direct_summation() -> None:
    # Catches: a translation with a wrong sign or factor. Advance = 2 pi a^3/w^2 over 1 + a^3 (sum 1/R^3), dipoles only.
    axis = np.arange(-400, 401)
    x, y = (part.ravel() for part in np.meshgrid(axis, axis))
    r = np.hypot(x, y)
    others = float(np.sum(1 / r[(r > 0) & (r < 400)] ** 3)) + math.tau / 400
    advance = math.tau * 0.25**3 / (1 + 0.25**3 * others)
    assert FIGURES["boss_cell_advance"](0.25, 1.0) == pytest.approx(advance, rel=2e-3)  # higher multipoles: 1e-3


# Voids ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "power", "strength"), [("void_rim_mean", 3, 0.5), ("void_cylinder_rim_mean", 2, 1.0)])
def test_void_rim_mean_by_sampling(name: str, power: int, strength: float) -> None:
    # Catches: a ball of another shape than the part of it that the plane shows beside the void.
    grid = (np.arange(2000) + 0.5) / 2000
    x, y = np.meshgrid(0.9 + 0.4 * grid, 0.3 * (2 * grid - 1))
    r = np.hypot(x, y) if power == 3 else x
    inside = (r > 1) & ((x - 1) ** 2 + y**2 < 0.3**2)
    mean = float(np.mean((1 + strength / r**power)[inside]))
    assert FIGURES[name](1.0, 0.3) == pytest.approx(mean, rel=1e-4)
    assert FIGURES[name](1.0, 1e-6) == pytest.approx(1 + strength, rel=1e-5)  # the largest field: 3/2 and 2


# Figures of earlier potentials ------------------------------------------------------------------------------------


def test_blade_below_a_wide_counter_is_the_limit_of_the_cell() -> None:
    # Catches: a current whose derivative is not the edge intensity.
    size = {"half_width": 20.0, "height": 5.0, "depth": 1.0}
    cell = FIGURES["blade_cell_current"](1.0, 1.0, **size, length=2.0)
    assert FIGURES["blade_near_counter_current"](1.0, 1.0, **size, length=2.0) == pytest.approx(cell, rel=1e-9)
    assert FIGURES["blade_cell_voltage"](cell / 40.0, 1.0, **size) == pytest.approx(1.0, rel=1e-12)


def test_resistive_ridge_is_the_integral_of_its_flux() -> None:
    # Catches: the current of a whole cylinder. Flux FEF cos t over the arc: 2 a L FEF.
    t = (np.arange(20000) + 0.5) / 20000 * math.pi - math.pi / 2
    total = float(np.mean(2 / 1.1 * np.cos(t))) * math.pi * 3.0
    assert FIGURES["robin_ridge_current"](1.0, 1.0, 1.0, 0.1, 3.0) == pytest.approx(total, rel=1e-6)


def test_the_floating_sphere_takes_the_potential_of_its_centre() -> None:
    """Catches: a sign of the field or of the image, which would leave a net current or a potential on the sphere."""
    form = {"potential": 5.0, "field": 2.0, "radius": 1.0, "centre": ORIGIN}
    sphere = np.array([[0.6, 0.0, 0.8], [0.0, -1.0, 0.0], [0.0, 0.0, -1.0]])
    np.testing.assert_allclose(POTENTIALS["floating_sphere"](sphere, **form), 5.0, rtol=1e-14)
    far = np.array([[0.0, 0.0, 100.0], [50.0, 20.0, -100.0]])
    np.testing.assert_allclose(POTENTIALS["floating_sphere"](far, **form), 5.0 - 2.0 * far[:, 2], rtol=1e-5)
    # The field on the sphere is 3 E0 cos t, which adds up to nothing.
    step = 1e-6
    top, side = (
        (POTENTIALS["floating_sphere"](np.array([n]) * (1 + step), **form)[0] - 5.0) / step
        for n in ([0.0, 0.0, 1.0], [1.0, 0.0, 0.0])
    )
    assert top == pytest.approx(-6.0, rel=1e-4)
    assert abs(side) < 1e-9


# Several conductivities ---------------------------------------------------------------------------------------------

INCLUSION = {"field": 2.0, "radius": 1.0, "matrix": 0.1, "inclusion": 0.7}


def test_a_sphere_of_other_conductivity_passes_the_current_on() -> None:
    """Catches: the ratio of the conductivities turned round, or a jump of potential or current at the sphere."""

    def form(points: Array) -> Array:
        return POTENTIALS["conducting_inclusion"](points, centre=ORIGIN, **INCLUSION)

    unit = directions()
    assert laplacian_share(form, 1.7 * unit).max() < 1e-5
    outside = 0.1 * outward_slope(form, unit, unit, 1e-3)
    inside = 0.7 * -outward_slope(form, unit, -unit, 1e-3)
    np.testing.assert_allclose(outside, inside, atol=1e-6)
    field = -(form(np.array([[0.0, 0.0, 0.1]])) - form(np.array([[0.0, 0.0, -0.1]])))[0] / 0.2
    assert FIGURES["inclusion_power"](**INCLUSION) == pytest.approx(0.7 * field**2 * 4 / 3 * math.pi, rel=1e-12)
    metal = POTENTIALS["conducting_inclusion"](2 * unit, centre=ORIGIN, **{**INCLUSION, "inclusion": 1e12})
    floating = POTENTIALS["floating_sphere"](2 * unit, potential=0.0, field=2.0, radius=1.0, centre=ORIGIN)
    np.testing.assert_allclose(metal, floating, atol=1e-9)


def test_layers_add_up() -> None:
    """Catches: conductivities added where resistances must be, or a boundary too many between grains."""
    both = {"conductivities": [0.1, 0.3], "thicknesses": [2.0, 1.0]}
    assert FIGURES["series_conductivity"](**both) == pytest.approx(3 / (20 + 10 / 3))
    assert FIGURES["parallel_conductivity"](**both) == pytest.approx(0.5 / 3)
    boundaries = {"conductivity": 0.1, "height": 12e-6, "boundary": 5e-5, "spacing": 3e-6}
    assert FIGURES["grain_boundary_conductivity"](**boundaries) == pytest.approx(12e-6 / (1.2e-4 + 3 * 5e-5))
