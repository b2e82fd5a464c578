"""Means and distributions on the lithium against a sphere whose current density is known: j = 3 cos θ."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from fem_spall.mesh.arrays import MeshArrays
from fem_spall.solve import Solution
from fem_spall.surface_flux import LithiumFlux, _consistent, _gauss, _samples, lithium_flux
from tests.solids import UM, Floats, Ints, block_mesh, six_node_sphere, sphere

RADIUS = 5 * UM


def flux_on(points: Floats, facets: Ints, density: Floats, sides: float = 1.0) -> LithiumFlux:
    none = np.zeros(len(facets), dtype=np.int64)
    return LithiumFlux(points, facets, none, ("a",), density, np.full(len(facets), sides))


def ball(subdivisions: int, *, nodes: int = 3, half: bool = False) -> LithiumFlux:
    """A ball of 5 um, or its upper half, in a uniform field along z."""
    make = sphere if nodes == 3 else six_node_sphere
    points, facets = make(subdivisions, RADIUS)
    if half:
        facets = facets[(points[facets][:, :, 2] > -1e-9 * RADIUS).all(axis=1)]
    return flux_on(points, facets, 3 * points[facets[:, :3], 2] / RADIUS)


def exact_ball_mean(radius: float) -> float:
    return 3 * (1 - radius**2 / (4 * RADIUS**2))


# --- areas ------------------------------------------------------------------------------------------------------------


def test_six_node_facets_have_the_area_of_the_sphere() -> None:
    """Bug: curved facets are measured flat, or their middle nodes are taken in the wrong order."""
    exact = 4 * np.pi * RADIUS**2
    flat, curved = ([abs(ball(s, nodes=n).area / exact - 1) for s in (1, 2, 3)] for n in (3, 6))
    assert curved[2] < 1e-4 < 1e-2 < flat[2]
    assert curved[1] / curved[2] == pytest.approx(16, rel=0.15), "order 4"
    assert flat[1] / flat[2] == pytest.approx(4, rel=0.1)


def test_both_faces_of_a_sheet_count() -> None:
    """Bug: a sheet's area is that of one face, and its mean current density doubles."""
    points = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    one, two = (flux_on(points, np.array([[0, 1, 2]]), np.ones((1, 3)), sides) for sides in (1.0, 2.0))
    assert (one.area, two.area) == (0.5, 1.0)
    assert two.distribution()[1].sum() == pytest.approx(1.0)


# --- ball means -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nodes", [3, 6])
@pytest.mark.parametrize("radius", [0.25, 0.5])
def test_the_ball_mean_converges_to_the_closed_form(nodes: int, radius: float) -> None:
    """Bug: the ball is cut at facets' centroids, the wrong area divides, or the maximum misses the pole."""
    errors = []
    for subdivisions in (3, 4, 5):
        mean = ball(subdivisions, nodes=nodes).ball_mean_maximum(radius * RADIUS, ("a",))
        assert mean is not None
        errors.append(abs(mean.value - exact_ball_mean(radius * RADIUS)))
        assert mean.centre == pytest.approx([0, 0, RADIUS], abs=0.1 * RADIUS)
    assert errors[2] < 2e-3
    assert errors[2] < errors[0] / 4
    if nodes == 3:
        assert errors[0] < 0.05


@pytest.mark.parametrize("radius", [0.3, 2.0, 30.0])
def test_rough_means_are_those_of_all_distances(radius: float) -> None:
    """Bug: a facet in the next box is not seen, or one of the far side of the block counts as near."""
    body = ball(3, half=True)
    rng = np.random.default_rng(0)
    away = [[90.0, 1.0, 2.0], [-90.0, -9.0, 80.0]]
    centres = np.concatenate([rng.uniform(-6, 6, (200, 3)), away]) * UM
    middle, current = body.points[body.facets].mean(axis=1), body.areas * body.density.mean(axis=1)
    distance = np.linalg.norm(centres[:, None] - middle, axis=2)
    inside = distance <= radius * UM
    inside[np.arange(len(centres)), distance.argmin(axis=1)] |= ~inside.any(axis=1)
    np.testing.assert_allclose(body._rough_means(centres, radius * UM), inside @ current / (inside @ body.areas))


@pytest.mark.parametrize("nodes", [3, 6])
def test_the_consistent_density_has_the_currents_as_moments(nodes: int) -> None:
    """Bug: the iteration stops early, or the matrix is that of other facets."""
    body = ball(2, nodes=nodes)
    total = np.random.default_rng(0).uniform(1, 2, len(body.points))
    own = np.ones(len(body.facets), dtype=bool)
    density = _consistent(body, own, total)[body.facets[:, :3]]
    shape, parts = _gauss()
    weights = _samples(body.points, body.facets, shape, parts)[1]
    moments = np.einsum("kq,qi,qj,kj->ki", weights, shape, shape, density)
    found = np.bincount(body.facets[:, :3].ravel(), moments.ravel(), minlength=len(body.points))
    used = np.unique(body.facets[:, :3])
    np.testing.assert_allclose(found[used], total[used], rtol=1e-11)


@pytest.mark.parametrize("nodes", [3, 6])
def test_a_uniform_density_is_its_own_mean(nodes: int) -> None:
    """Bug: current and area are integrated over different pieces of the ball."""
    even = ball(3, nodes=nodes)
    even = flux_on(even.points, even.facets, np.full_like(even.density, 7.25))
    mean = even.ball_mean_maximum(0.4 * RADIUS, ("a",))
    assert mean is not None
    assert mean.value == pytest.approx(7.25, rel=1e-13)
    values, areas = even.distribution()
    np.testing.assert_allclose(values, 7.25, rtol=1e-13)
    assert areas.sum() == pytest.approx(4 * np.pi * RADIUS**2, rel=2e-2 if nodes == 3 else 5e-4, abs=0)


def test_the_mean_takes_all_lithium_but_is_centred_on_the_asked_surface() -> None:
    """Bug: the flat electrode beside a crack's rim is left out of the ball, or its own maximum is reported."""
    whole = ball(4)
    upper = whole.points[whole.facets[:, :3]].mean(axis=1)[:, 2] > 0
    both = LithiumFlux(whole.points, whole.facets, np.where(upper, 0, 1), ("up", "down"), whole.density, whole.sides)
    mean = both.ball_mean_maximum(0.5 * RADIUS, ("down",))
    assert mean is not None
    assert mean.centre[2] == pytest.approx(0, abs=1e-3 * RADIUS), "the rim is the hottest place of the lower half"
    # Ball on the equator: half of it on the upper half; its mean is 0 by symmetry, not that of the lower half only.
    assert mean.value == pytest.approx(0, abs=0.02)
    alone = both.only(("down",)).ball_mean_maximum(0.5 * RADIUS, ("down",))
    assert alone is not None
    assert alone.value < -0.2


def test_unresolved_places_do_not_count_but_are_told() -> None:
    """Bug: a mean over two facets of a coarse, hot place is reported, or silently passed over."""
    fine, (points, faces) = ball(4), sphere(1, RADIUS)
    count = len(fine.points)
    both = flux_on(
        np.concatenate([fine.points, points + np.array([20 * UM, 0, 0])]),
        np.concatenate([fine.facets, faces + count]),
        np.concatenate([fine.density, np.full((len(faces), 3), 10.0)]),
    )
    mean = both.ball_mean_maximum(0.5 * RADIUS, ("a",))
    assert mean is not None
    assert mean.value == pytest.approx(exact_ball_mean(0.5 * RADIUS), rel=1e-2)
    assert mean.beyond == pytest.approx(10.0)
    assert 3 * mean.local_size < 0.5 * RADIUS
    assert fine.ball_mean_maximum(0.5 * RADIUS, ("a",)).beyond == -np.inf  # type: ignore[union-attr]
    assert both.ball_mean_maximum(RADIUS, ("nowhere",)) is None


def test_spots_to_refine_are_hot_coarse_and_apart() -> None:
    """Bug: all vertices of a rim are refined at once, or places that are fine already."""
    flux = ball(3)
    radius = 0.3 * RADIUS  # the local size is about 0.2 radii
    spots, size = flux.unresolved_spots(radius, ("a",), 0.8, 5)
    assert 1 <= len(spots) <= 5
    assert radius / 3 < size < radius
    assert (3 * spots[:, 2] / RADIUS > 0.7 * 3).all(), "near the pole"
    gaps = np.linalg.norm(spots[:, None] - spots, axis=2)[~np.eye(len(spots), dtype=bool)]
    assert (gaps > radius).all()
    assert len(flux.unresolved_spots(0.9 * RADIUS, ("a",), 0.8, 5)[0]) == 0, "resolved"
    assert len(flux.unresolved_spots(radius, ("nowhere",), 0.8, 5)[0]) == 0


# --- distribution -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nodes", [3, 6])
def test_area_quantiles_of_the_hemisphere(nodes: int) -> None:
    """Bug: values at vertices are not weighted by the area that has them: q of the area stays below 3q."""
    values, areas = ball(5, nodes=nodes, half=True).distribution()
    assert (np.diff(values) >= 0).all()
    rank = (np.cumsum(areas) - areas / 2) / areas.sum()
    for q in (0.1, 0.5, 0.9, 0.95, 0.99):
        assert np.interp(q, rank, values) == pytest.approx(3 * q, abs=5e-3)
    assert (values * areas).sum() / areas.sum() == pytest.approx(1.5, rel=1e-3)


# --- currents of vertices ---------------------------------------------------------------------------------------------


def solution_of(arrays: MeshArrays, fixed: dict[str, str], current: dict[str, Floats], **contact: str) -> Solution:
    """What the currents are shared from, without a solve."""
    mesh = SimpleNamespace(arrays=arrays, sheets=frozenset({"sheet"} & arrays.names.keys()))
    problem = SimpleNamespace(mesh=mesh, roles=fixed | contact, fixed=fixed, contact=contact)
    return cast(Solution, SimpleNamespace(problem=problem, vertex_current=current))


def hats(arrays: MeshArrays, name: str) -> Floats:
    """Integral of each vertex's hat function over a surface of flat facets, m^2."""
    facets = arrays.facets[arrays.tags == arrays.names[name], :3]
    a, b, c = np.moveaxis(arrays.points[facets] * arrays.unit, 1, 0)
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
    return np.bincount(facets.ravel(), np.repeat(area / 3, 3), minlength=len(arrays.points))


ARRAYS = block_mesh((4, 3, 4), crack="a")
ROLES = {"+z": "plating", "a": "a"}


def test_the_current_of_the_rim_is_shared_by_area() -> None:
    """Bug: the rim's current is given to both surfaces, to one, or in halves."""
    crack, flat = hats(ARRAYS, "a"), hats(ARRAYS, "+z")
    total = np.random.default_rng(3).uniform(1, 2, len(ARRAYS.points)) * (crack + flat)
    flux, currents = lithium_flux(solution_of(ARRAYS, ROLES, {"": total}))
    share = np.divide(crack, crack + flat, out=np.zeros_like(crack), where=crack + flat > 0)
    assert ((share > 0) & (share < 1)).sum() == 4, "four vertices lie on the rim"
    assert currents["a"][0] == pytest.approx((share * total).sum(), rel=1e-12, abs=0)
    assert currents["a"][0] + currents["+z"][0] == pytest.approx(total.sum(), rel=1e-12, abs=0)
    assert currents["a"][1] == pytest.approx(total[share == 1].sum(), rel=1e-12, abs=0)
    assert currents["a"][2] == pytest.approx(total[share > 0].sum(), rel=1e-12, abs=0)
    for name in ("a", "+z"):  # the piecewise linear density carries exactly that current
        own = flux.only((name,))
        assert (own.density.mean(axis=1) * own.areas).sum() == pytest.approx(currents[name][0], rel=1e-12, abs=0)


def test_a_uniform_current_gives_a_uniform_density() -> None:
    """Bug: vertices on the rim or at the walls read half or double."""
    crack, flat = hats(ARRAYS, "a"), hats(ARRAYS, "+z")
    flux, currents = lithium_flux(solution_of(ARRAYS, ROLES, {"": 12.5 * (crack + flat)}))
    np.testing.assert_allclose(flux.density, 12.5, rtol=1e-12)
    assert currents["a"][0] == pytest.approx(12.5 * 300 * UM**2, rel=1e-12, abs=0)


def test_surfaces_with_a_resistance_have_currents_of_their_own() -> None:
    """Bug: the current of a contact surface is shared with its fixed neighbour, although it is known apart."""
    crack, flat = hats(ARRAYS, "a"), hats(ARRAYS, "+z")
    currents = lithium_flux(solution_of(ARRAYS, {"+z": "plating"}, {"": 5 * flat, "a": 2 * crack}, a="a"))[1]
    assert currents["a"] == pytest.approx([2 * 300 * UM**2] * 3, rel=1e-12, abs=0)
    assert currents["+z"] == pytest.approx([5 * 300 * UM**2] * 3, rel=1e-12, abs=0)


def test_the_bounds_are_ordered_when_current_flows_out() -> None:
    """Bug: on the counter electrode 'least' is above 'most'."""
    crack, flat = hats(ARRAYS, "a"), hats(ARRAYS, "+z")
    currents: dict[str, Any] = lithium_flux(solution_of(ARRAYS, ROLES, {"": -(crack + flat)}))[1]
    value, least, most = currents["a"]
    assert least < value < most < 0


def test_a_sheet_takes_current_on_both_faces() -> None:
    """Bug: the density on a sheet is the sum over its two faces."""
    arrays = block_mesh((4, 3, 4), sheet=(10.0, 25.0))
    total = 3.0 * 2 * hats(arrays, "sheet")
    flux, currents = lithium_flux(solution_of(arrays, {"sheet": "sheet"}, {"": total}))
    np.testing.assert_allclose(flux.density, 3.0, rtol=1e-12)
    assert currents["sheet"][0] == pytest.approx(3.0 * 2 * 750 * UM**2, rel=1e-12, abs=0)
