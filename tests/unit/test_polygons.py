"""Polygons as triangles: the same area, the same sense, nothing covered twice, wherever the polygon begins."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fem_spall.crack.mesh_readers import read_mesh
from fem_spall.crack.polygons import PolygonMesh, triangulated
from fem_spall.errors import InputFileError

type Floats = NDArray[np.float64]

SHAPES: dict[str, list[tuple[float, float]]] = {
    "square": [(0, 0), (1, 0), (1, 1), (0, 1)],
    "dart": [(0, 0), (4, 0), (1, 1), (0, 4)],
    "arrow": [(0, 0), (2, 1), (4, 0), (2, 5)],
    "L": [(0, 0), (3, 0), (3, 1), (1, 1), (1, 3), (0, 3)],
    "collinear corner": [(0, 0), (1, 0), (2, 0), (2, 2), (0, 2)],
    "comb": [
        (0, 0),
        (7, 0),
        (7, 3),
        (6, 1),
        (5, 3),
        (4, 1),
        (3, 3),
        (2, 1),
        (1, 3),
        (0, 1),
    ],  # no corner sees all of it
    "spiral": [(0, 0), (6, 0), (6, 6), (1, 6), (1, 3), (3, 3), (3, 4), (2, 4), (2, 5), (5, 5), (5, 1), (0, 1)],
    "ring with a slit": [(0, 0), (4, 0), (4, 4), (0, 4), (0, 0), (1, 1), (1, 3), (3, 3), (3, 1), (1, 1)],
}


def shoelace(points: Floats) -> float:
    x, y = points.T
    return float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2)


def placed(flat: Floats) -> Floats:
    """The polygon in a tilted plane far from the origin, lengths kept."""
    u, v = np.array([2, 1, 2]) / 3, np.array([1, 2, -2]) / 3
    return 100 + flat[:, :1] * u + flat[:, 1:] * v


def cut(corners: Floats) -> Floats:
    """Vector areas of the triangles of one polygon, (n - 2, 3)."""
    faces = triangulated(PolygonMesh(corners, [list(range(len(corners)))], lambda k: f"polygon {k}"))
    a, b, c = np.moveaxis(corners[faces], 1, 0)
    result: Floats = np.cross(b - a, c - a) / 2
    return result


@pytest.mark.parametrize("name", SHAPES)
def test_triangles_cover_the_polygon_once(name: str) -> None:
    """Bug: a fan over a concave polygon covers its outside, once in each sense."""
    flat = np.array(SHAPES[name], dtype=float)
    for shift in range(len(flat)):
        pieces = cut(placed(np.roll(flat, shift, axis=0)))
        assert len(pieces) == len(flat) - 2
        # Of one sense, and of the polygon's area together: nothing is covered twice or from behind.
        assert np.linalg.norm(pieces, axis=1).sum() == pytest.approx(shoelace(flat), rel=1e-9)
        assert np.allclose(pieces.sum(axis=0), shoelace(flat) * np.cross([2, 1, 2], [1, 2, -2]) / 9, atol=1e-9)
    assert np.allclose(cut(placed(flat[::-1])).sum(axis=0), -pieces.sum(axis=0), atol=1e-9)


@given(st.lists(st.floats(0.2, 1), min_size=3, max_size=60))
def test_stars_of_any_number_of_corners(radii: list[float]) -> None:
    """Bug: some number of corners takes another path that is wrong."""
    angle = 2 * np.pi * np.arange(len(radii)) / len(radii)
    flat = np.array(radii)[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    pieces = cut(placed(flat))
    assert np.linalg.norm(pieces, axis=1).sum() == pytest.approx(shoelace(flat), rel=1e-6)


@pytest.mark.parametrize("quad", ["square", "dart", "arrow"])
def test_where_a_polygon_begins_does_not_matter(quad: str) -> None:
    """Bug: another program that starts each polygon elsewhere gives another surface and other figures."""
    corners = placed(np.array(SHAPES[quad], dtype=float))
    corners[0, 2] += 0.1  # no longer plane: the two diagonals give two surfaces
    results = set()
    for shift in range(4):
        order = np.roll(np.arange(4), shift)
        faces = triangulated(PolygonMesh(corners, [order.tolist()], str))
        results.add(frozenset(frozenset(face) for face in faces.tolist()))
    assert len(results) == 1


BAD = {
    "bow tie": [(0, 0), (1, 1), (1, 0), (0, 1)],
    "unequal bow tie": [(0, 0), (2, 2), (2, 0), (0, 1)],
    "pentagram": [(np.cos(0.8 * np.pi * k), np.sin(0.8 * np.pi * k)) for k in range(5)],
    "twice round": [(np.cos(np.pi * k / 2.001), np.sin(np.pi * k / 2.001)) for k in range(8)],
    "loop": [(0, 0), (5, 0), (5, 5), (3, 5), (3, -1), (1, -1), (1, 5), (0, 5)],
}


@pytest.mark.parametrize("name", BAD)
def test_polygons_that_cross_themselves_are_refused(name: str) -> None:
    """Bug: a bow tie becomes two triangles of opposite sense."""
    with pytest.raises(InputFileError, match="polygon 0: a polygon must not cross itself"):
        cut(placed(np.array(BAD[name], dtype=float)))


def test_a_polygon_of_very_many_corners_is_refused_at_once() -> None:
    """Bug: ten megabytes of one line keep the triangulation busy for hours."""
    angle = np.linspace(0, 60, 200_000)
    flat = angle[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    with pytest.raises(InputFileError, match="at most 1000 corners; got 200000"):
        cut(placed(flat))


def test_a_polygon_on_a_line_and_repeated_corners_stay_for_the_repair() -> None:
    """Bug: a quadrilateral that exporters write for a triangle is refused."""
    assert np.abs(cut(placed(np.array([(0, 0), (1, 0), (2, 0), (3, 0)], dtype=float)))).max() < 1e-12
    corners = placed(np.array([(0, 0), (1, 0), (0, 1)], dtype=float))
    faces = triangulated(PolygonMesh(corners, [[0, 1, 2, 2]], str))
    assert sorted(len(set(face)) for face in faces.tolist()) == [2, 3]


def test_files_with_polygons(tmp_path: Path) -> None:
    """Bug: a format drops the corners after the third, or names no line."""
    dart = "".join(f"v {x} {y} 0\n" for x, y in SHAPES["dart"])
    path = tmp_path / "a.obj"
    path.write_text(f"{dart}f 1 2 3 4\n")
    assert {frozenset(face) for face in read_mesh(path).faces.tolist()} == {frozenset({0, 1, 2}), frozenset({0, 2, 3})}
    path.write_text(f"{dart.replace('1 1 0', '4 4 0')}f 1 3 2 4\n")
    with pytest.raises(InputFileError, match=r"a\.obj, line 5: a polygon must not cross itself; .*as triangles"):
        read_mesh(path)
    head = (
        "ply\nformat binary_little_endian 1.0\nelement vertex 4\nproperty float x\nproperty float y\nproperty float z\n"
    )
    head += "element face 1\nproperty list uchar int vertex_indices\nend_header\n"
    body = b"".join(struct.pack("<3f", x, y, 0) for x, y in SHAPES["dart"]) + struct.pack("<B4i", 4, 0, 1, 2, 3)
    path.write_bytes(head.encode() + body)
    assert {frozenset(face) for face in read_mesh(path).faces.tolist()} == {frozenset({0, 1, 2}), frozenset({0, 2, 3})}
