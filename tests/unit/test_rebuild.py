"""Surfaces that cross themselves or touch: united, parted or made anew, with the volume that theory says."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from fem_spall.crack.crossings import crossing_faces
from fem_spall.crack.repair import Repairs, repair
from fem_spall.crack.triangles import components, edge_numbers, weld
from fem_spall.errors import GeometryError
from tests.damage import join
from tests.solids import sphere
from tests.unit.test_repair import cube, kinds, voxel_surface

type Surface = tuple[NDArray[np.float64], NDArray[np.int64]]

UM = 1e-6
ROUGH = {"largest_change": "20 %"}


def ball(at: float, subdivisions: int = 4) -> Surface:
    """A ball of radius 1 um about (at, 0, 0) um."""
    points, faces = sphere(subdivisions)
    return (points + np.array([at, 0, 0])) * UM, faces


def two_balls(distance: float) -> float:
    """Volume of two unit balls together, in units of their radius cubed."""
    lens = math.pi * (4 + distance) * (2 - distance) ** 2 / 12
    return 8 / 3 * math.pi - lens


def test_overlapping_parts_become_their_union() -> None:
    """Bug: the overlap counts twice, or the union takes away what it should add."""
    good = repair(*join(cube(4), cube(4, 0.5, (0.7, 0.33, 0.21)), cube(2, 1, (3, 0, 0))), "test")
    assert good.measure()[0] == pytest.approx((1 + 0.125 - 0.3 * 0.5 * 0.5 + 1) * UM**3, rel=1e-9)
    assert kinds(good)["overlapping parts united"] == 2
    assert good.repairs[-1].volume_change == pytest.approx(-0.3 * 0.5 * 0.5 * UM**3, rel=1e-9)
    assert good.repairs[-1].displacement == 0
    assert components(good.faces).max() == 1


def test_the_union_keeps_and_covers_cavities() -> None:
    """Bug: a cavity of a united part is filled, or one that the other part fills stays."""
    v, f = cube(2, 0.1, (0.2, 0.2, 0.2))
    covered = cube(2, 0.1, (0.8, 0.5, 0.4))
    body = join(cube(4), (v, f[:, ::-1]), (covered[0], covered[1][:, ::-1]))
    good = repair(*join(body, cube(4, 0.5, (0.7, 0.33, 0.21))), "test")
    assert good.measure()[0] == pytest.approx((1 + 0.125 - 0.075 - 0.001) * UM**3, rel=1e-9)


def test_rebuilding_converges_with_the_square_of_the_step() -> None:
    """Bug: the new surface is a step off, or its stated change is not that of the volume."""
    balls = join(ball(0), ball(1.2))
    exact = repair(*balls, "test").measure()[0]  # the union of the same facets by the other way
    assert exact == pytest.approx(two_balls(1.2) * UM**3, rel=0.01)
    errors, stated = [], []
    for step in (0.1, 0.05, 0.025):
        wishes = Repairs(rebuild="always", rebuild_step=f"{step} um", **ROUGH)
        good = repair(*balls, "test", wishes)
        errors.append(abs(good.measure()[0] / exact - 1))
        stated.append(good.guessed["volume"] / exact)
        assert (edge_numbers(good.faces)[1] == 2).all()
        assert good.repairs[-1].displacement < step * UM
    rates = np.log2(np.array(errors[:-1]) / errors[1:])
    assert (rates > 1.5).all(), (errors, rates)
    assert np.array(stated) == pytest.approx(np.array(errors), rel=0.5)


def test_a_body_turned_through_itself_is_rebuilt_and_what_is_inside_out_is_outside() -> None:
    """Bug: the part of a surface that was pulled through itself counts as lithium."""
    points, faces = sphere(4)
    pulled = points.copy()
    cap = points[:, 2] > 0.8
    pulled[cap, 2] -= 2.4 * (points[cap, 2] - 0.8) / 0.2  # the top pushed down, out of the bottom
    assert len(crossing_faces(pulled * UM, faces)) > 0
    for wishes in (Repairs(**ROUGH), Repairs(rebuild="always", **ROUGH)):
        good = repair(pulled * UM, faces, "test", wishes)
        assert ("rebuilding on a grid" in good.repairs[-1].kind) == (wishes.rebuild == "always")
        assert good.vertices[:, 2].min() > -1.05 * UM  # the tip below the ball is inside out
        assert len(crossing_faces(good.vertices, good.faces)) == 0


def test_the_order_of_triangles_does_not_matter_to_the_grid() -> None:
    """Bug: lines through the corners of faces meet one or two of them, as their order has it."""
    points, faces = join(ball(0, 3), ball(1, 3))
    wishes = Repairs(rebuild="always", rebuild_step="0.125 um", **ROUGH)
    rng = np.random.default_rng(2)
    places = rng.permutation(len(points))
    mixed = np.roll(np.argsort(places)[faces], 1, axis=1)[rng.permutation(len(faces))]
    one, other, again = (
        repair(v, f, "test", wishes) for v, f in ((points, faces), (points[places], mixed), (points, faces))
    )
    for found in (other, again):
        np.testing.assert_array_equal(found.vertices, one.vertices)
        np.testing.assert_array_equal(found.faces, one.faces)
        assert found.repairs == one.repairs


def test_a_grid_without_end_is_refused() -> None:
    """Bug: a step in nm for a surface in mm asks for terabytes."""
    with pytest.raises(GeometryError, match=r"cannot be rebuilt on a grid of 0.01 nm: .* larger repair.rebuild_step"):
        repair(*ball(0), "test", Repairs(rebuild="always", rebuild_step="0.01 nm"))


def test_touching_parts_are_moved_apart() -> None:
    """Bug: two bodies that share an edge or a corner reach the mesher as one, or the wrong two sheets are parted."""
    for at, count in (((1, 1, 0), 9), ((1, 1, 1), 1)):
        good = repair(*join(cube(8), cube(8, at=at)), "test")
        assert kinds(good)["touching corners moved apart"] == count
        assert components(good.faces).max() == 1
        assert (edge_numbers(good.faces)[1] == 2).all()
        low, high = (good.vertices[good.faces[components(good.faces) == k]].reshape(-1, 3) for k in (0, 1))
        assert low[:, :2].max() <= UM * (1 + 1e-9)
        assert high[:, :2].min() >= UM * (1 - 1e-9)
        nearest = np.linalg.norm(low[:, None] - np.unique(high, axis=0)[None], axis=2).min() if count == 1 else 1.0
        assert nearest > 1e-3 * UM
        assert good.measure()[0] == pytest.approx(2 * UM**3, rel=5e-3)


@pytest.mark.parametrize("seed", [0, 3])
def test_sides_of_voxels_are_parted_wherever_they_touch(seed: int) -> None:
    """Bug: an edge with four faces, whose ends belong to one body, stops the run; or parting makes crossings."""
    noise = gaussian_filter(np.random.default_rng(seed).standard_normal((20, 20, 20)), 1.0)
    body = np.pad(noise > 0.05, 2)
    points, faces = voxel_surface(body, 0.1)
    assert (edge_numbers(weld(points)[1][faces])[1] > 2).sum() > 20
    good = repair(points, faces, "voxels")
    assert (edge_numbers(good.faces)[1] == 2).all()
    assert good.measure()[0] == pytest.approx(body.sum() * (0.1 * UM) ** 3, rel=2e-3)


def test_walls_across_the_inside_go() -> None:
    """Bug: a membrane inside the lithium stops the run, or the outer wall is taken for it."""
    v, f = cube(4)
    wall = v[:25].copy()
    wall[:, 0] = 0.5 * UM  # the first side is that at x = 0
    good = repair(*join((v, f), (wall, f[:32])), "test")
    assert kinds(good)["inner walls dropped"] == 1
    assert good.measure() == pytest.approx((UM**3, 6 * UM**2), rel=1e-12)
