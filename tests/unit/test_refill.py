"""A mesh filled anew only where its boundary was divided."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fem_spall.mesh.arrays import MeshArrays
from fem_spall.mesh.checks import cell_volumes, check_mesh, check_surfaces
from fem_spall.mesh.focus import Focus, refined_boundary
from fem_spall.mesh.refill import refilled
from fem_spall.mesh.tagged_surface import TaggedSurface
from tests.solids import UM, block_mesh

MESH = block_mesh(crack="a", counts=(8, 12, 20))
BOX = np.array(MESH.info["box"])
#: On a face, and two close together at an edge and within one cell of it, so that their cavities meet.
FOCI = [
    Focus(np.array([[10.0, 15.0, 50.0], [20.0, 3.0, 10.0]]) * UM, radius=1 * UM, size=0.7 * UM),
    Focus(np.array([[20.0, 6.0, 10.0]]) * UM, radius=0.5 * UM, size=0.5 * UM),
]


def divided(mesh: MeshArrays, foci: list[Focus]) -> tuple[TaggedSurface, MeshArrays | None]:
    """The refined boundary and the mesh within it."""
    surface = refined_boundary(replace(mesh, tags=np.arange(len(mesh.tags), dtype=np.int32)), foci)
    boundary = replace(surface, tags=mesh.tags[surface.tags])
    return boundary, refilled(mesh, boundary, surface.tags, foci, 5.0, "delaunay")


def test_the_mesh_fills_the_divided_boundary() -> None:
    """Bug: a cavity is filled twice or not at all, or its cells use vertices of the old numbering."""
    boundary, mesh = divided(MESH, FOCI)
    assert mesh is not None
    corners, asked = mesh.points[mesh.facets], boundary.vertices[boundary.faces]
    assert np.array_equal(corners, asked)
    assert np.array_equal(mesh.tags, boundary.tags)
    check_surfaces(mesh, BOX)
    check_mesh(mesh, boundary.volume, 0.02)
    assert (cell_volumes(mesh) > 0).all()


def test_cells_elsewhere_stay() -> None:
    """Bug: everything is made anew after all, which takes as long as the first mesh."""
    _, mesh = divided(MESH, FOCI)
    assert mesh is not None

    def known(arrays: MeshArrays) -> set[tuple[float, ...]]:
        corners = arrays.points[arrays.cells]
        order = np.lexsort(np.moveaxis(corners, 2, 0)[::-1], axis=1)
        return {tuple(row) for row in np.take_along_axis(corners, order[..., None], 1).reshape(-1, 12).tolist()}

    kept = known(mesh) & known(MESH)
    assert len(kept) > 0.6 * len(MESH.cells)
    assert len(mesh.cells) - len(kept) > 1000


def test_it_is_the_same_again() -> None:
    """Bug: cavities are taken in the order of a set, and the mesh differs from run to run."""
    one, two = (divided(MESH, FOCI)[1] for _ in range(2))
    assert one is not None
    assert two is not None
    assert one.sha256 == two.sha256


def test_all_is_left_to_others_where_most_cells_go() -> None:
    """Bug: a cavity that is nearly the whole mesh is cut out and filled all the same."""
    everywhere = [Focus(np.array([[10.0, 15.0, 25.0]]) * UM, radius=20 * UM, size=1.2 * UM)]
    assert divided(MESH, everywhere)[1] is None


@pytest.mark.parametrize("lowest", [0.0, 40.0])
def test_a_focus_in_a_corner(lowest: float) -> None:
    """Bug: three faces of the block meet in a cavity, and their facets are taken for each other's."""
    focus = [Focus(np.array([[0.0, 0.0, lowest * 1.25]]) * UM, radius=0.5 * UM, size=0.5 * UM)]
    boundary, mesh = divided(MESH, focus)
    assert mesh is not None
    check_surfaces(mesh, BOX)
    check_mesh(mesh, boundary.volume, 0.02)
