"""Closed forms against the reference table, and each potential against Laplace's equation and its boundary values.

The typed numbers are those of the project's physics reference (computed there by other
means: conformal maps, multipoles, quadrature), lengths, conductivity and field equal to 1.
"""

from __future__ import annotations

import inspect
import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fem_spall.analytic import FIGURES, POTENTIALS
from fem_spall.analytic.cracks import BladeCell
from fem_spall.boundary import ExactPotential
from fem_spall.quantity import Unit

type Array = NDArray[np.float64]

ORIGIN = (0.0, 0.0, 0.0)
FAMILY = {"inner_depth": math.cosh(0.3), "inner_radius": math.sinh(0.3), "outer_depth": math.cosh(1.5)}
OTHER_FAMILY = {"inner_depth": math.cosh(0.2), "inner_radius": math.sinh(0.2), "outer_depth": math.cosh(2.0)}

REFERENCE = [
    ("slab_resistance", {"conductivity": 0.1, "size": (20e-6, 30e-6, 50e-6)}, 833333.333, 1e-9),
    ("concentric_spheres_conductance", {"conductivity": 1, "inner_radius": 1, "outer_radius": 4}, 16.7551608191, 1e-11),
    ("concentric_spheres_inner_field", {"potential": 1, "inner_radius": 1, "outer_radius": 4}, 1.33333333, 1e-8),
    (
        "concentric_spheres_conductance",
        {"conductivity": 1, "inner_radius": 1, "outer_radius": 4, "wagner_length": 0.5},
        10.0530964915,
        1e-11,
    ),
    (
        "coaxial_cylinders_conductance",
        {"conductivity": 1, "inner_radius": 1, "outer_radius": 4, "length": 1},
        4.53236014183,
        1e-11,
    ),
    ("coaxial_cylinders_inner_field", {"potential": 1, "inner_radius": 1, "outer_radius": 4}, 0.721347520444, 1e-11),
    ("confocal_spheroids_conductance", {"conductivity": 1, **FAMILY}, 8.66236955068, 1e-11),
    ("confocal_spheroids_tip_field", {"potential": 1, **FAMILY}, 7.43351743225, 1e-11),
    ("confocal_spheroids_conductance", {"conductivity": 1, **OTHER_FAMILY}, 6.17946544699, 1e-11),
    ("confocal_spheroids_tip_field", {"potential": 1, **OTHER_FAMILY}, 12.1310435263, 1e-11),
    (
        "blade_cell_current",
        {"conductivity": 1, "potential": 1, "half_width": 1, "height": 2, "depth": 1, "length": 1},
        0.707106781187,
        1e-11,
    ),
    ("blade_cell_advance", {"half_width": 1, "height": 2, "depth": 1}, 2 - math.sqrt(2), 1e-12),
    ("blade_cell_share", {"half_width": 1, "height": 2, "depth": 1}, 0.739144530802, 1e-11),
    ("blade_cell_intensity", {"field": 1, "half_width": 1, "height": 2, "depth": 1}, 1.35499582087, 1e-11),
    ("blade_intensity", {"field": 1, "depth": 1}, 1.77245385091, 1e-11),
    ("blade_intensity_in_mirror_cell", {"field": 1, "depth": 1, "half_width": 2}, 1.61962242839, 1e-11),
    ("blade_advance_in_mirror_cell", {"depth": 1, "half_width": 2}, 0.357929776298, 1e-11),
    ("blade_intensity_near_counter", {"field": 1, "depth": 1, "height": 5}, 1.8025529014, 1e-10),
    ("spheroid_cap_mean", {"depth": 1, "radius": 1, "distance": 0.1}, 2.9925, 1e-12),
    ("spheroid_cap_mean", {"depth": 1, "radius": 1, "distance": 0.5}, 2.8125, 1e-12),
    ("spheroid_focusing", {"depth": 1, "radius": 1}, 3.0, 1e-14),
    ("spheroid_advance_volume", {"depth": 1, "radius": 1}, 6.28318530718, 1e-11),
    ("spheroid_focusing", {"depth": 2, "radius": 1}, 5.76156353972, 1e-11),
    ("spheroid_focusing", {"depth": 0.5, "radius": 1}, 1.89681233693, 1e-11),
    ("spheroid_focusing", {"depth": 0.2, "radius": 1}, 1.3324735993, 1e-11),
    ("spheroid_focusing", {"depth": 0.1, "radius": 1}, 1.16170426573, 1e-11),
    ("ridge_quantile", {"share": 0.95}, 1.993834667, 1e-9),
    ("elliptical_ridge_focusing", {"depth": 1, "opening": 2}, 2.0, 1e-14),
    ("half_penny_intensity", {"field": 1, "radius": 1, "angle": 0}, 2.25675833419, 1e-11),
    ("half_penny_current", {"conductivity": 1, "field": 1, "radius": 1}, 4.0, 1e-14),
    ("half_penny_advance_volume", {"radius": 1}, 2.66666666667, 1e-11),
    ("robin_boss_focusing", {"radius": 1, "wagner_length": 0.1}, 2.5, 1e-14),
    ("robin_boss_focusing", {"radius": 1, "wagner_length": 1}, 1.0, 1e-14),
    ("robin_boss_focusing", {"radius": 1, "wagner_length": 10}, 0.142857, 1e-5),
    *(
        ("spheroid_quantile", {"depth": 1, "radius": 1, "share": q}, 3 * q, 1e-13)
        for q in (0.5, 0.9, 0.95, 0.99)
    ),
    *(
        ("spheroid_quantile", {"depth": 2, "radius": 1, "share": q}, value, 1e-9)
        for q, value in ((0.5, 1.363864448), (0.9, 3.671071768), (0.95, 4.421251633), (0.99, 5.403589823))
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "parameters", "value", "tolerance"), REFERENCE)
def test_reference_table(name: str, parameters: dict[str, Any], value: float, tolerance: float) -> None:
    # Catches: a wrong factor, a swapped radius, lost digits in an elliptic or logarithmic function.
    assert FIGURES[name](**parameters) == pytest.approx(value, rel=tolerance)


# Potentials -------------------------------------------------------------------------------------------------------

BODY: dict[str, dict[str, Any]] = {
    "boss_on_plane": {"field": 2.0, "radius": 1.0},
    "void_on_plane": {"field": 2.0, "radius": 1.0},
    "ridge_on_plane": {"field": 2.0, "radius": 1.0},
    "void_cylinder_on_plane": {"field": 2.0, "radius": 1.0},
    "robin_boss_on_plane": {"field": 2.0, "radius": 1.0, "wagner_length": 0.4},
    "robin_ridge_on_plane": {"field": 2.0, "radius": 1.0, "wagner_length": 0.4},
    "spheroid_on_plane": {"field": 2.0, "depth": 2.0, "radius": 0.7},
    "elliptical_ridge_on_plane": {"field": 2.0, "depth": 1.5, "opening": 0.6},
    "half_penny_on_plane": {"field": 2.0, "radius": 1.0},
    "concentric_spheres": {"potential": 3.0, "inner_radius": 1.0, "outer_radius": 4.0},
    "coaxial_cylinders": {"potential": 3.0, "inner_radius": 1.0, "outer_radius": 4.0},
    "resistive_sphere": {"potential": 3.0, "inner_radius": 1.0, "outer_radius": 4.0, "wagner_length": 0.4},
    "confocal_spheroids": {"potential": 3.0, "inner_depth": 1.2, "inner_radius": 0.5, "outer_depth": 4.0},
}
SHELLS = ("concentric_spheres", "coaxial_cylinders", "resistive_sphere", "confocal_spheroids")
#: Potentials with unit tests of their own in a file beside this one.
NEXT_DOOR = {
    "ellipsoid_on_plane",
    "sphere_above_plane",
    "disc_contact",
    "insulating_penny",
    "resistive_disc",
    "floating_sphere",
    "butler_volmer_sphere",
    "conducting_inclusion",
}
OPEN = tuple(name for name in BODY if name not in SHELLS)
ALL_SHAPES = [
    *BODY.items(),
    ("spheroid_on_plane", {"field": 2.0, "depth": 0.6, "radius": 1.4}),
    ("spheroid_on_plane", {"field": 2.0, "depth": 1.01, "radius": 1.0}),
    ("spheroid_on_plane", {"field": 2.0, "depth": 1.0, "radius": 1.0}),
    ("elliptical_ridge_on_plane", {"field": 2.0, "depth": 1.5, "opening": 0.0}),
    ("elliptical_ridge_on_plane", {"field": 2.0, "depth": 0.5, "opening": 3.0}),
]


def test_every_potential_is_examined_here() -> None:
    assert set(BODY) | NEXT_DOOR == set(POTENTIALS)


def potential(name: str, parameters: dict[str, Any]) -> Callable[[Array], Array]:
    return lambda points: POTENTIALS[name](points, **parameters, centre=ORIGIN)


def directions(count: int = 60) -> Array:
    """Unit vectors into the lower half-space, none of them on a symmetry plane."""
    vectors = np.random.default_rng(7).normal(size=(count, 3))
    vectors[:, 2] = -np.abs(vectors[:, 2]) - 0.05
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1)[:, None])


@pytest.mark.parametrize(("name", "parameters"), ALL_SHAPES)
def test_potential_is_harmonic(name: str, parameters: dict[str, Any]) -> None:
    # Catches: a closed form that is right on the body and far away but is not a solution in between.
    # Fourth-order second differences; the residual is relative to the largest second derivative at the point.
    points = directions() * np.random.default_rng(3).uniform(2.3, 4.0, size=(60, 1))
    if "ridge" in name or "cylinder" in name:
        points[:, ::2] *= 2.3 / np.hypot(points[:, 0], points[:, 2]).clip(max=2.3)[:, None]
    step, weights = 0.01, np.array([-1, 16, -30, 16, -1]) / 12
    form = potential(name, parameters)
    second = np.array(
        [
            sum(w * form(points + k * step * axis) for k, w in zip(range(-2, 3), weights, strict=True)) / step**2
            for axis in np.eye(3)
        ]
    )
    scale = np.abs(second).max(axis=0) + 1e-3
    assert (np.abs(second.sum(axis=0)) / scale).max() < 2e-6


def surface_points(name: str, parameters: dict[str, Any], count: int = 400) -> tuple[Array, Array]:
    """Points on the lower half of the body, and its outward unit normals."""
    p = parameters
    across = p.get("radius", p.get("inner_radius", p.get("opening", 0) / 2))
    axes = np.array([across, across, p.get("depth", p.get("inner_depth", across))])
    flat = "ridge" in name or "cylinder" in name
    unit = directions(count)
    if flat:
        unit[:, 1] = 0
        unit /= np.linalg.norm(unit, axis=1)[:, None]
    points, normals = unit * axes, unit / np.maximum(axes, 1e-9)
    if flat:
        points[:, 1] = np.linspace(-3, 3, count)
    return points, normals / np.linalg.norm(normals, axis=1)[:, None]


@pytest.mark.parametrize(
    ("name", "parameters"), [(n, p) for n, p in ALL_SHAPES if not {"robin", "void", "resistive"} & set(n.split("_"))]
)
def test_lithium_is_at_zero_volt(name: str, parameters: dict[str, Any]) -> None:
    # Catches: a body of another size or orientation than its parameters say; nan on or inside the body.
    points, _ = surface_points(name, parameters)
    if name == "half_penny_on_plane":
        points[:, 1] = 0
    form = potential(name, parameters)
    assert np.abs(form(points)).max() < 1e-7  # sqrt of rounding at a sheet
    inside = form(np.vstack([points * (1 - 1e-9), points * 0.3, np.zeros((1, 3))]))
    assert np.isfinite(inside).all()
    assert np.abs(inside).max() < 1e-7
    assert form(points * 1.01 + [1e-3, 1e-3, 0]).min() > 0


@pytest.mark.parametrize("name", OPEN)
def test_plane_is_at_zero_volt_and_the_field_is_uniform_far_away(name: str) -> None:
    # Catches: depth counted upwards, a potential shifted off the electrode, a wrong far field.
    form = potential(name, BODY[name])
    plane = directions()
    plane[:, 2] = 0
    assert np.abs(form(plane * 2.5)).max() == 0.0
    far = directions()
    reach = 1e4 if "ridge" in name or "cylinder" in name else 1e3
    if reach == 1e4:
        far[:, 1] = 0
    assert form(far * reach) == pytest.approx(2.0 * reach * -far[:, 2], rel=1e-6)


@pytest.mark.parametrize("name", SHELLS)
def test_outer_electrode_is_at_the_potential(name: str) -> None:
    # Catches: an outer surface that is not the equipotential of the same family.
    unit = directions()
    outer = np.array([4.0, 4.0, 4.0])
    if name == "coaxial_cylinders":
        unit[:, 1] = 0
        unit /= np.linalg.norm(unit, axis=1)[:, None]
    if name == "confocal_spheroids":
        outer[:2] = math.sqrt(4.0**2 - (1.2**2 - 0.5**2))
    assert potential(name, BODY[name])(unit * outer) == pytest.approx(np.full(60, 3.0), rel=1e-12)


def normal_derivative(form: Callable[[Array], Array], points: Array, normals: Array, step: float = 1e-4) -> Array:
    """One-sided third-order difference outwards: the potential is clamped inside the body."""
    values = [form(points + k * step * normals) for k in range(4)]
    return np.asarray((-11 * values[0] + 18 * values[1] - 9 * values[2] + 2 * values[3]) / (6 * step))


@pytest.mark.parametrize("name", ["robin_boss_on_plane", "robin_ridge_on_plane", "resistive_sphere"])
def test_resistive_body_obeys_its_law(name: str) -> None:
    # Catches: a wrong B: on the body l dphi/dn = phi.
    points, normals = surface_points(name, BODY[name])
    form = potential(name, BODY[name])
    outside = points * (1 + 1e-12)
    assert 0.4 * normal_derivative(form, outside, normals) == pytest.approx(form(outside), rel=1e-7)


@pytest.mark.parametrize(("name", "largest"), [("void_on_plane", 1.5), ("void_cylinder_on_plane", 2.0)])
def test_no_flux_enters_a_void_and_the_rim_field_is_known(name: str, largest: float) -> None:
    # Catches: a void treated as lithium. Reference: 3/2 and 2 times the far field.
    points, normals = surface_points(name, BODY[name])
    form = potential(name, BODY[name])
    assert np.abs(normal_derivative(form, points * (1 + 1e-12), normals)).max() < 1e-6
    rim, down = np.array([[1.0, 0.0, 0.0]]), np.array([[0.0, 0.0, -1.0]])
    assert normal_derivative(form, rim, down) / 2.0 == pytest.approx([largest], rel=1e-6)


@pytest.mark.parametrize("depth", [0.4, 1.0, 1.02, 2.0, 8.0])
def test_current_and_tip_of_a_spheroid_follow_from_its_potential(depth: float) -> None:
    # Catches: a depolarisation factor that belongs to another axis or another branch (needle, blunt).
    form = potential("spheroid_on_plane", {"field": 1.0, "depth": depth, "radius": 1.0})
    u, weights = np.polynomial.legendre.leggauss(40)
    u, weights = (u + 1) / 2, weights / 2
    across = np.sqrt(1 - u**2)
    points = np.column_stack([across, 0 * u, -depth * u])
    normals = np.column_stack([across, 0 * u, -u / depth])
    stretch = np.linalg.norm(normals, axis=1)
    flux = normal_derivative(form, points, normals / stretch[:, None], step=1e-3 * min(1, 1 / depth**2))
    # area element 2 pi b h |n| du for the unit normal n before scaling
    current = float(np.sum(weights * 2 * math.pi * depth * stretch * flux))
    assert current == pytest.approx(FIGURES["spheroid_current"](1.0, 1.0, depth, 1.0), rel=1e-5)
    tip = normal_derivative(form, np.array([[0.0, 0.0, -depth]]), np.array([[0, 0, -1.0]]), step=1e-3 / depth**2)
    assert tip == pytest.approx([FIGURES["spheroid_focusing"](depth, 1.0)], rel=1e-5)


@pytest.mark.parametrize(
    ("name", "parameters", "volume"),
    [
        ("spheroid_on_plane", {"depth": 2.0, "radius": 1.0}, FIGURES["spheroid_advance_volume"](2.0, 1.0)),
        ("spheroid_on_plane", {"depth": 0.2, "radius": 1.0}, FIGURES["spheroid_advance_volume"](0.2, 1.0)),
        ("half_penny_on_plane", {"radius": 1.0}, FIGURES["half_penny_advance_volume"](1.0)),
    ],
)
def test_advance_volume_is_the_far_dipole(name: str, parameters: dict[str, Any], volume: float) -> None:
    # Catches: delta A off by the half-body factor 2. Far away phi = E0 d (1 - 2 delta A / (4 pi r^3)).
    point = np.array([[20.0, 30.0, -40.0]])
    radius = float(np.linalg.norm(point))
    phi = potential(name, {"field": 1.0, **parameters})(point)[0]
    assert 2 * math.pi * radius**3 * (1 - phi / 40.0) == pytest.approx(volume, rel=5e-3)


def test_half_penny_current_and_edge_intensity_follow_from_its_potential() -> None:
    # Catches: a sheet whose two sides are counted once, and an intensity of the wrong angle.
    form = potential("half_penny_on_plane", {"field": 1.0, "radius": 1.0})
    t, weights = np.polynomial.legendre.leggauss(60)
    t, weights = (t + 1) / 2, weights / 2
    radius, angle = np.meshgrid(np.sin(t * math.pi / 2), t * math.pi / 2, indexing="ij")
    measure = np.outer(weights * np.cos(t * math.pi / 2) * math.pi / 2, weights * math.pi / 2) * radius
    gap = 1e-9
    points = np.column_stack(
        [(radius * np.sin(angle)).ravel(), np.full(radius.size, gap), -(radius * np.cos(angle)).ravel()]
    )
    flux = form(points) / gap
    assert 4 * float(np.sum(measure.ravel() * flux)) == pytest.approx(4.0, rel=1e-4)  # two sides, two quadrants
    for bearing in (0.0, 0.7):
        s, gap = 1e-6, 1e-9
        edge = (1 - s) * np.array([[math.sin(bearing), 0.0, -math.cos(bearing)]]) + [0, gap, 0]
        intensity = math.sqrt(2 * math.pi * s) * form(edge)[0] / gap
        assert intensity == pytest.approx(FIGURES["half_penny_intensity"](1.0, 1.0, bearing), rel=1e-4)


def test_elliptical_ridge_limits() -> None:
    # Catches: depth and opening swapped. Round: the half-cylinder; closed: the blade of zero thickness.
    points = directions() * 2.5
    ridge = potential("ridge_on_plane", {"field": 1.0, "radius": 1.0})(points)
    assert potential("elliptical_ridge_on_plane", {"field": 1.0, "depth": 1.0, "opening": 2.0})(
        points
    ) == pytest.approx(ridge, rel=1e-13)
    z = np.abs(points[:, 0]) + 1j * -points[:, 2]
    blade = np.imag(z * np.sqrt(1 + 1 / z**2))
    assert potential("elliptical_ridge_on_plane", {"field": 1.0, "depth": 1.0, "opening": 0.0})(
        points
    ) == pytest.approx(blade, rel=1e-12)
    assert FIGURES["elliptical_ridge_current"](1.0, 1.0, 1.0, 2.0, 3.0) == pytest.approx(4 * 3.0)
    form = potential("elliptical_ridge_on_plane", {"field": 1.0, "depth": 1.5, "opening": 1.0})
    tip = normal_derivative(form, np.array([[0, 0, -1.5]]), np.array([[0, 0, -1.0]]), step=1e-4)
    assert tip == pytest.approx([FIGURES["elliptical_ridge_focusing"](1.5, 1.0)], rel=1e-6)


def test_ball_mean_on_a_ridge_by_sampling() -> None:
    # Catches: a ball taken as a strip, for which the mean would be lower.
    theta = np.linspace(-1, 1, 20001)
    chord = 2 * np.sin(np.abs(theta) / 2)
    length = np.sqrt(np.maximum(0.5**2 - chord**2, 0))
    mean = float(np.sum(length * 2 * np.cos(theta)) / np.sum(length))
    assert FIGURES["ridge_ball_mean"](1.0, 0.5) == pytest.approx(mean, rel=1e-6)


def test_cap_mean_of_a_needle_by_sampling() -> None:
    # Catches: a cap cut by a plane or by arc length in place of the ball about the tip.
    u = np.linspace(0, 1, 400001)
    across, down = np.sqrt(1 - u**2), 2 * u
    area = np.sqrt(4 - 3 * u**2)
    flux = FIGURES["spheroid_focusing"](2.0, 1.0) * u / area
    ball = across**2 + (2 - down) ** 2 < 0.8**2
    mean = float(np.sum((flux * area)[ball]) / np.sum(area[ball]))
    assert FIGURES["spheroid_cap_mean"](2.0, 1.0, 0.8) == pytest.approx(mean, rel=1e-5)
    with pytest.raises(ValueError, match="must cut the boss above its foot"):
        FIGURES["spheroid_cap_mean"](1.0, 1.0, 2.5)


# Blade in a cell --------------------------------------------------------------------------------------------------


def matched_modes(width: float, height: float, depth: float, count: int) -> tuple[float, float]:
    """Conductance and blade share by minimising the energy over the trace at the depth of the tip: an upper bound."""
    n = (np.arange(count) + 0.5) * math.pi / width
    m = np.arange(1, 40 * count) * math.pi / width
    # <cos m x, sin n x> on (0, width), exact
    projection = n[None, :] / (n[None, :] ** 2 - m[:, None] ** 2)
    mean = 1 / n
    above = width - 0.0
    stiffness = np.diag(width / 2 * n / np.tanh(n * depth))
    stiffness += projection.T @ ((2 / width * m / np.tanh(m * (height - depth)))[:, None] * projection)
    stiffness += np.outer(mean, mean) / (width * (height - depth))
    load = mean / (height - depth)
    trace = np.linalg.solve(stiffness, load)
    total = above / (height - depth) - float(load @ trace)
    floor = float(np.sum(trace / np.sinh(n * depth)))
    return total, 1 - floor / total


@pytest.mark.parametrize(
    ("width", "height", "depth"), [(1.0, 2.0, 1.0), (1.0, 3.0, 0.4), (2.0, 1.0, 0.7), (1.0, 1.0, 0.3)]
)
def test_blade_cell_by_matched_modes(width: float, height: float, depth: float) -> None:
    # Catches: modulus and complementary modulus exchanged, which the symmetric reference cell cannot show.
    cell = BladeCell(width, height, depth)
    coarse, fine = matched_modes(width, height, depth, 30), matched_modes(width, height, depth, 60)
    assert cell.conductance < fine[0] < coarse[0]
    assert 2 * fine[0] - coarse[0] == pytest.approx(cell.conductance, rel=2e-4)
    assert 2 * fine[1] - coarse[1] == pytest.approx(cell.share, rel=2e-4)


@pytest.mark.parametrize(("width", "height", "depth"), [(1.0, 2.0, 1.0), (2.0, 1.0, 0.7)])
def test_blade_cell_intensity_is_the_release_rate(width: float, height: float, depth: float) -> None:
    # Catches: an intensity of another normalisation: dG/dh per half-cell is K^2/2 at unit potential.
    step = 1e-5
    rate = BladeCell(width, height, depth + step).conductance - BladeCell(width, height, depth - step).conductance
    assert rate / (2 * step) == pytest.approx(BladeCell(width, height, depth).intensity ** 2 / 2, rel=1e-7)


def test_blade_cell_limits() -> None:
    # Catches: elliptic functions that lose their digits when the cell is very tall or very wide.
    tall = {"half_width": 2.0, "height": 12.0, "depth": 1.0}
    assert FIGURES["blade_cell_intensity"](1.0, **tall) == pytest.approx(1.61962242839, rel=1e-6)
    assert FIGURES["blade_cell_advance"](**tall) == pytest.approx(0.357929776298, rel=1e-6)
    wide = BladeCell(40.0, 5.0, 1.0)
    assert wide.intensity * 5.0 == pytest.approx(1.8025529014, rel=1e-9)
    with pytest.raises(ValueError, match="0 < depth < height"):
        FIGURES["blade_cell_share"](1.0, 2.0, 2.0)


# Contract ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [*POTENTIALS.values(), *FIGURES.values()])
def test_every_parameter_states_its_unit(form: Callable[..., Any]) -> None:
    # Catches: a closed form that a case or a benchmark cannot call with unit text.
    parameters = dict(inspect.signature(form, eval_str=True).parameters)
    parameters.pop("points", None)
    assert parameters
    for parameter in parameters.values():
        assert isinstance(parameter.annotation.__metadata__[0], Unit)


def test_a_case_reads_the_parameters_as_text() -> None:
    law = ExactPotential.model_validate(
        {
            "kind": "exact_potential",
            "solution": "spheroid_on_plane",
            "parameters": {"field": "1 kV/m", "depth": "8 um", "radius": "4 um", "centre": ["0 um", "0 um", "30 um"]},
        }
    )
    points = np.array([[0.0, 0.0, 22e-6], [3e-6, 0.0, 30e-6], [5e-6, 1e-6, 10e-6]])
    phi = law.potential(points)
    assert phi[:2] == pytest.approx([0.0, 0.0], abs=1e-15)
    assert phi[2] == pytest.approx(POTENTIALS["spheroid_on_plane"](points[2:], 1e3, 8e-6, 4e-6, (0, 0, 30e-6))[0])


def test_confocal_semi_axes_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="0 < inner radius < inner depth < outer depth"):
        FIGURES["confocal_spheroids_conductance"](1.0, 1.0, 2.0, 3.0)


def test_import_stays_light() -> None:
    # Catches: scipy imported with the closed forms, which every command line call would pay for.
    code = "import sys, fem_spall.analytic; sys.exit('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
