"""Mending of the worst cells: what gets better, and what must not change."""

from __future__ import annotations

import numpy as np
import pytest
from manifold3d import Manifold
from scipy.spatial import Delaunay

from fem_spall.mesh.arrays import MeshArrays
from fem_spall.mesh.checks import cell_volumes, check_mesh, radius_ratio
from fem_spall.mesh.worker import mesh_case
from fem_spall.mesh.worst_cells import mend_worst_cells
from tests.solids import case_of, surface_of


def random_mesh(seed: int) -> MeshArrays:
    """A ball of random points filled by Delaunay's rule, which leaves slivers everywhere."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(600, 3))
    points *= np.where(np.arange(600) < 250, 1.0, rng.random(600) ** (1 / 3) * 0.9)[:, None] / np.linalg.norm(
        points, axis=1, keepdims=True
    )
    cells = Delaunay(points).simplices.astype(np.int64)
    turned = radius_ratio(points, cells) < 0
    cells[turned] = cells[turned][:, [1, 0, 2, 3]]
    sides = cells[:, [[1, 2, 3], [0, 3, 2], [0, 1, 3], [0, 2, 1]]].reshape(-1, 3)
    _, first, count = np.unique(np.sort(sides, axis=1), axis=0, return_index=True, return_counts=True)
    facets = sides[first[count == 1]]
    return MeshArrays(points, cells, facets, np.ones(len(facets), dtype=np.int32), {"a": 1}, 1.0)


@pytest.mark.parametrize("seed", [0, 1])
def test_slivers_go_and_the_boundary_stays(seed: int) -> None:
    """Bug: cells overlap or leave gaps after a change, or a vertex of the boundary moves by a bit."""
    mesh = random_mesh(seed)
    before = radius_ratio(mesh.points, mesh.cells)
    assert (before < 0.1).sum() > 30
    mended = mend_worst_cells(mesh, 0.0)
    after = radius_ratio(mended.points, mended.cells)
    assert (after < 0.1).sum() <= 0.2 * (before < 0.1).sum()  # the rest stands on bad triangles of the boundary
    assert after.min() > before.min()
    np.testing.assert_array_equal(mended.points[mended.facets], mesh.points[mesh.facets])
    assert cell_volumes(mended).sum() == pytest.approx(cell_volumes(mesh).sum(), rel=1e-12)
    check_mesh(mended, float(cell_volumes(mesh).sum()), 0.0)
    sides = np.sort(mended.cells[:, [[1, 2, 3], [0, 3, 2], [0, 1, 3], [0, 2, 1]]].reshape(-1, 3), axis=1)
    unique, count = np.unique(sides, axis=0, return_counts=True)
    assert count.max() == 2
    np.testing.assert_array_equal(unique[count == 1], np.unique(np.sort(mended.facets, axis=1), axis=0))
    assert mend_worst_cells(mesh, 0.0).sha256 == mended.sha256


def test_a_sliver_with_all_corners_on_the_surface_is_split() -> None:
    """Bug: only vertices that may move are moved, and slivers on the surface, which have none, stay."""
    points = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0.02], [0, -1, 0.02], [0, 0, -1.5]], dtype=float)
    cells = np.array([[0, 1, 2, 3], [0, 1, 2, 4], [0, 1, 3, 4]])
    cells = np.array([c if radius_ratio(points, c[None])[0] > 0 else c[[1, 0, 2, 3]] for c in cells])
    facets = np.array([[0, 2, 3], [1, 2, 3], [0, 2, 4], [0, 3, 4], [1, 2, 4], [1, 3, 4]])
    mesh = MeshArrays(points, cells, facets, np.ones(6, dtype=np.int32), {"a": 1}, 1.0)
    assert radius_ratio(points, cells).min() < 0.03
    mended = mend_worst_cells(mesh, 0.0)
    assert len(mended.points) == 6
    assert radius_ratio(mended.points, mended.cells).min() > 0.1


def test_good_cells_are_not_touched() -> None:
    """Bug: every mesh changes by the step, and runs are no longer those of before."""
    mesh = random_mesh(0)
    assert mend_worst_cells(mesh, 0.0, poor=0.0) is mesh


def test_a_shard_far_thinner_than_the_mesh() -> None:
    """Bug: nearly flat edges of its walls are kept as needles, or the remeshed walls bulge into each other."""
    angle = np.linspace(0, 2 * np.pi, 7)[:-1]
    ring = np.column_stack([5 * np.cos(angle), 4 * np.sin(angle), 0 * angle])
    z = np.array([0, 0, 0.04])
    shard = Manifold.hull_points(np.concatenate([ring + z, ring - z, [[0.7, 0.3, 0.07], [-1, 0.2, -0.08]]]))
    shard = shard.rotate((20, 30, 10)).translate((10, 15, 30))
    crack = {"name": "a", "kind": "surface_file", "file": "nowhere.stl", "unit": "um"}
    mesh = mesh_case(
        case_of(cracks=[crack], mesh={"size_min": "300 nm", "size_max": "4 um", "mesher": "gmsh"}),
        {"a": surface_of(shard)},
    )
    assert mesh.info["attempt"] == 1
    assert mesh.info["min_quality"] > 0.05
    assert mesh.info["p01_quality"] > 0.3
    assert mesh.info["distances"]["a"]["largest_m"] < 0.02e-6
