"""A boundary refined at places: finer there, and otherwise the very same surface."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from fem_spall.mesh.arrays import triangle_areas
from fem_spall.mesh.focus import SLOPE, Focus, refined_boundary
from fem_spall.mesh.tagged_surface import TaggedSurface, divided, facet_edges
from tests.solids import UM, Floats, block_mesh

MESH = block_mesh(crack="a", counts=(4, 3, 4))
CENTRES = np.array([[10.0, 15.0, 50.0], [20.0, 3.0, 10.0]]) * UM
FOCUS = Focus(CENTRES, radius=2 * UM, size=0.5 * UM)


def edge_lengths(surface: TaggedSurface) -> tuple[Floats, Floats]:
    """Length, um, of every edge and the distance of its middle from the nearest centre, um."""
    ends = surface.vertices[facet_edges(surface.faces)[0]] * surface.unit / UM
    middle = ends.mean(axis=1)
    distance = np.linalg.norm(middle[:, None] - CENTRES / UM, axis=2).min(axis=1)
    return np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1), distance


def test_edges_are_as_short_as_asked() -> None:
    """Bug: the rounds end too early, or lengths in metres are compared with mesh units."""
    length, distance = edge_lengths(refined_boundary(MESH, [FOCUS]))
    assert (length <= 4 / 3 * (0.5 + SLOPE * np.maximum(distance - 2, 0)) * (1 + 1e-12)).all()
    near = length[distance < 2]
    assert near.size > 100
    assert near.min() > 0.05, "no runaway refinement"


def test_shape_names_and_orientation_stay() -> None:
    """Bug: a divided triangle is lost, counted twice, turned over or named after its neighbour."""
    surface = refined_boundary(MESH, [FOCUS])
    flat = MESH.points[MESH.facets]
    for name, tag in MESH.names.items():
        assert surface.area(tag) == pytest.approx(triangle_areas(flat[MESH.tags == tag]).sum(), rel=1e-12), name
    assert surface.volume == pytest.approx(2 * 3 * 5, rel=1e-12)
    assert surface.names == MESH.names
    a, b, c = np.moveaxis(surface.vertices[surface.faces], 1, 0)
    normal = np.cross(b - a, c - a)
    for tag, (axis, coordinate) in surface.planes().items():
        own = surface.tags == tag
        assert (surface.vertices[np.unique(surface.faces[own])][:, axis] == coordinate).all()
        assert (np.sign(normal[own, axis]) == (1 if coordinate > 0 else -1)).all()


def test_the_surface_stays_closed() -> None:
    """Bug: an edge is halved for one of its triangles only, and the surface gets a crack of its own."""
    surface = refined_boundary(MESH, [FOCUS])
    sides = surface.faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
    forward = {tuple(s) for s in sides.tolist()}
    assert len(forward) == len(sides), "each directed edge once"
    assert {(b, a) for a, b in forward} == forward, "and once in the other direction"
    assert len(np.unique(surface.vertices, axis=0)) == len(surface.vertices), "no vertex twice"


def test_far_away_nothing_changes() -> None:
    """Bug: the growth with distance is forgotten, and the whole surface becomes as fine as the focus."""
    coarse = refined_boundary(MESH, [])
    fine = refined_boundary(MESH, [FOCUS])
    assert len(coarse.faces) == len(MESH.facets)
    assert edge_lengths(fine)[0].max() > 5
    before = {v.tobytes() for v in coarse.vertices}
    assert before <= {v.tobytes() for v in fine.vertices}, "old vertices stay to the last bit"


def test_the_smallest_size_of_several_foci_counts() -> None:
    """Bug: a later focus overrides an earlier one, so that a finer averaging length loses its mesh."""
    fine, coarse = Focus(CENTRES[:1], 1 * UM, 0.3 * UM), Focus(CENTRES[:1], 3 * UM, 1 * UM)
    one, other, alone = (refined_boundary(MESH, foci) for foci in ([fine, coarse], [coarse, fine], [fine]))
    assert one.vertices.tobytes() == other.vertices.tobytes()
    assert len(one.faces) >= len(alone.faces)


@pytest.mark.parametrize("split", [s for n in range(4) for s in itertools.combinations(range(3), n)])
def test_a_triangle_is_divided_at_any_of_its_sides(split: tuple[int, ...]) -> None:
    """Bug: one of the eight patterns leaves a gap, overlaps or turns a piece over."""
    corners = np.array([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0], [0.5, 2.0, 0.0]])
    middles = (corners + np.roll(corners, -1, axis=0)) / 2
    vertices = np.concatenate([corners, middles])
    middle = np.array([[3 + k if k in split else -1 for k in range(3)]])
    faces, parent = divided(vertices, np.array([[0, 1, 2]]), middle)
    assert len(faces) == 1 + len(split)
    assert (parent == 0).all()
    a, b, c = np.moveaxis(vertices[faces], 1, 0)
    normal = np.cross(b - a, c - a)[:, 2]
    assert (normal > 0).all()
    assert normal.sum() / 2 == pytest.approx(3.0)
    assert set(faces.ravel()) == {0, 1, 2, *(3 + k for k in split)}
