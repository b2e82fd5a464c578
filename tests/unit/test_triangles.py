"""Rows and numbers told apart, and triangles that change one by one."""

from __future__ import annotations

import numpy as np
import pytest

from fem_spall.crack.triangles import numbered, unique_corners
from fem_spall.mesh.stars import Stars

OCTAHEDRON = np.array([[0, 1, 2], [0, 2, 3], [0, 3, 4], [0, 4, 1], [5, 2, 1], [5, 3, 2], [5, 4, 3], [5, 1, 4]])


@pytest.mark.parametrize("offset", [0, 10**7])
def test_triangles_are_one_whatever_the_order_of_their_corners(offset: int) -> None:
    """Bug: two cells do not find their common side; or keys of large numbers overflow and join what differs."""
    rows = np.random.default_rng(1).integers(0, 6, (300, 3)) + offset
    first, index = unique_corners(rows)
    every, expected = np.unique(np.sort(rows, axis=1), axis=0, return_inverse=True)
    assert len(first) == len(every)
    np.testing.assert_array_equal(index, expected.ravel())
    np.testing.assert_array_equal(np.sort(rows[first], axis=1), every)


def test_numbers_that_occur_are_counted_from_zero() -> None:
    """Bug: a vertex that nothing uses keeps its place, or the shape of the array is lost."""
    used, packed = numbered(np.array([[7, 3], [3, 9]]))
    assert used.tolist() == [3, 7, 9]
    assert packed.tolist() == [[1, 0], [0, 2]]
    used, packed = numbered(np.empty((0, 3), dtype=np.int64))
    assert len(used) == 0
    assert packed.shape == (0, 3)


def test_an_edge_closes_where_that_tears_nothing() -> None:
    """Bug: a neck of three edges is drawn together, and two triangles lie on each other."""
    stars = Stars(OCTAHEDRON)
    assert stars.closes(0, 1)
    new, _ = stars.drawn(0, 1)
    for number in list(stars.of(0)):
        stars.remove(number)
    for triangle in new:
        stars.add(triangle)
    assert sorted(sorted(stars.corners[number]) for number in stars.left()) == [
        [1, 2, 3], [1, 2, 5], [1, 3, 4], [1, 4, 5], [2, 3, 5], [3, 4, 5]
    ]  # fmt: skip
    assert stars.around(1) == {2, 3, 4, 5}
    assert not stars.closes(1, 3), "2 and 4 are at it, 5 is a neighbour of both as well"


def test_a_rim_is_followed_only_where_it_is_straight() -> None:
    """Bug: the corner of an opening is cut off, or a vertex of the rim is drawn into the wall."""
    places = np.array([[0, 0, 0], [1, 0, 0], [2, 0.1, 0], [1, 1, 0], [1, -1, 0]], dtype=float)
    faces = np.array([[0, 1, 3], [1, 2, 3], [1, 0, 4], [2, 1, 4]])
    stars = Stars(faces, np.array([1, 1, 2, 2], dtype=np.int32))
    assert stars.within(1, 0, places, 0.06)
    assert not stars.within(1, 0, places, 0.04)
    assert not stars.within(1, 3, places, 0.06)
    assert stars.within(3, 1, places, 0.0)
