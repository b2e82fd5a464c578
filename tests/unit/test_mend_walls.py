"""Badly shaped triangles of the walls mended one by one, and walls that are fine as they are kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from manifold3d import Manifold
from scipy.spatial import cKDTree

from fem_spall.case_file import load_case
from fem_spall.crack import Block
from fem_spall.mesh.arrays import MeshArrays, triangle_areas
from fem_spall.mesh.attempts import Trail
from fem_spall.mesh.checks import cell_volumes, check_mesh, check_surfaces, radius_ratio
from fem_spall.mesh.distance import places_beyond, touched
from fem_spall.mesh.embed import embed
from fem_spall.mesh.mend_walls import fixed_vertices, folded_triangles, mend_walls, triangle_shapes
from fem_spall.mesh.mmg import flattened, mmgs, ridges_and_corners
from fem_spall.mesh.pull_walls import pulled
from fem_spall.mesh.remesh_mmg import MENDED, SHORT, fineness, keep_walls, remesh
from fem_spall.mesh.surface_mesh import mesh_surfaces
from fem_spall.mesh.tagged_surface import TaggedSurface, facet_edges, signed_volume
from fem_spall.mesh.tetrahedralise import tetrahedralise
from fem_spall.mesh.worst_cells import mend_worst_cells
from fem_spall.mesh.worst_walls import MovableWalls
from fem_spall.run import build_surfaces
from tests.solids import UM, cuboid, surface_of

UNIT = 1e-5
SPALLATION = Path(__file__).parents[2] / "configs" / "spallation.yaml"


def rough_ball(segments: int = 48, height: float = 48.37, noise: float = 0.0) -> TaggedSurface:
    """A ball of radius 4 um that the plating face cuts anyhow, which leaves slivers at the rim."""
    body = Manifold.sphere(4, segments)
    rng = np.random.default_rng(1)
    bumps = noise * rng.standard_normal(3 * 100_000).reshape(-1, 3)
    body = body.warp_batch(lambda places: places + bumps[: len(places)]).translate((10, 15, height))
    return embed(Block((20 * UM, 30 * UM, 50 * UM)), {"a": surface_of(body)}, frozenset(), UNIT)


def closed(surface: TaggedSurface) -> bool:
    edges, index = facet_edges(surface.faces)
    return bool((np.bincount(index.ravel(), minlength=len(edges)) == 2).all())


def test_slivers_of_the_boolean_go_and_all_other_triangles_stay() -> None:
    """Bug: the whole wall is remeshed, smoother and smaller than it was, because a plane cut slivers off it."""
    given = rough_ball(noise=0.03)
    shapes = triangle_shapes(given.vertices[given.faces])[given.on_cracks]
    assert (shapes < 0.2).sum() > 10, "the trap is there"
    distance = 0.003
    mended = mend_walls(given, 0.4, 0.005, distance)
    after = triangle_shapes(mended.vertices[mended.faces])[mended.on_cracks]
    assert (after < 0.2).sum() < 0.1 * (shapes < 0.2).sum()
    assert closed(mended)
    assert len(places_beyond(given, mended, 2 * distance)) == 0
    for tag, (axis, coordinate) in given.planes().items():
        assert (mended.vertices[np.unique(mended.faces[mended.tags == tag]), axis] == coordinate).all()
        assert mended.area(tag) == pytest.approx(given.area(tag), rel=1e-3)
    assert mended.area(10) == pytest.approx(given.area(10), rel=1e-3)
    kept = {tuple(sorted(map(tuple, corners))) for corners in given.vertices[given.faces[given.on_cracks]].tolist()}
    now = [tuple(sorted(map(tuple, corners))) for corners in mended.vertices[mended.faces[mended.on_cracks]].tolist()]
    assert np.mean([corners in kept for corners in now]) > 0.8


def test_a_wall_triangle_is_never_laid_onto_the_face_of_the_block() -> None:
    """Bug: a vertex just below the rim is drawn onto it; wall and face overlap, and nothing fills what is between."""
    for height in (48.37, 48.0, 47.61):
        mended = mend_walls(rough_ball(noise=0.05, height=height), 0.5, 0.03, 0.01)
        corners = mended.vertices[mended.faces[mended.on_cracks]]
        assert not (corners[:, :, 2] == mended.box[1, 2]).all(axis=1).any()


def test_a_fold_is_seen_and_taken_away_within_the_distance() -> None:
    """Bug: a vertex moved past its neighbours leaves triangles of good shape that look backwards, and flat cells."""
    given = rough_ball()
    own = given.faces[given.on_cracks]
    on_rim = np.unique(given.faces[~given.on_cracks])
    vertex = int(next(v for v in own[len(own) // 2] if v not in on_rim))
    ring = np.setdiff1d(own[(own == vertex).any(axis=1)], vertex)
    assert not folded_triangles(given).any(), "a rim of its own is none"
    vertices = given.vertices.copy()
    vertices[vertex] += 1.9 * (vertices[ring[0]] - vertices[vertex])
    folded = TaggedSurface(vertices, given.faces, given.tags, given.names, given.box, given.unit)
    assert folded_triangles(folded).any(), "the trap is there"
    assert not folded_triangles(mend_walls(folded, 0.2, 0.001, 0.03)).any()


def test_walls_as_fine_as_the_mesh_are_kept() -> None:
    """Bug: remeshing moves, smooths and shrinks a surface that needs none of it."""
    given = rough_ball(96, noise=0.015)
    size = 0.0125
    assert fineness(given, size) > 1.5
    fine = keep_walls(given, size, 0.4, 1.3, 0.3 * size)
    assert closed(fine)
    assert len(places_beyond(given, fine, 0.3 * size)) == 0
    assert fine.area(10) == pytest.approx(given.area(10), rel=1e-3)
    # What may be mended are badly shaped triangles, at the rim above all; every other vertex is where it was.
    corners = given.vertices[given.faces]
    short = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).min(axis=1) < SHORT * size
    bad = (triangle_shapes(corners) < MENDED) | short | ~given.on_cracks
    good = np.setdiff1d(given.faces, given.faces[touched(given, bad)])
    assert len(good) > 0.8 * len(np.unique(given.faces[given.on_cracks]))
    moved = cKDTree(fine.vertices).query(given.vertices[good])[0]
    assert moved.max() < 1e-12, "but for MMG's rounding"


def test_walls_are_divided_where_the_mesh_is_to_be_finer() -> None:
    """Bug: a smaller size_min gives the same mesh, and its figures the same numbers, which passes for convergence."""
    given = rough_ball(noise=0.03)
    facets = [len(keep_walls(given, size, 0.4, 1.3, 0.01).faces) for size in (0.03, 0.015, 0.0075)]
    assert facets[1] > 2 * facets[0]
    assert facets[2] > 2 * facets[1]


def test_flat_facets_of_a_polyhedron_are_not_divided_evenly() -> None:
    """Bug: a box of twelve triangles is filled as finely in the middle of its faces as at its edges."""
    block = Block((20 * UM, 30 * UM, 50 * UM))
    box, ball = cuboid((5, 5, 23), (12, 12, 30)), surface_of(Manifold.sphere(4, 8).translate((10, 15, 30)))
    assert fineness(embed(block, {"a": box}, frozenset(), UNIT), 0.03) == 0
    assert fineness(embed(block, {"a": ball}, frozenset(), UNIT), 0.03) > 3


def test_no_place_is_further_off_than_the_tolerance() -> None:
    """Bug: 99 % of a rough surface keep the tolerance, and a spike of many times that is cut off."""
    given = rough_ball(96, noise=0.05)
    size, tolerance = 0.06, 0.012
    assert fineness(given, size) < 1.5
    fine = remesh(given, size, 0.5, 1.3, tolerance, sharp=True, close=True)
    assert len(places_beyond(given, fine, tolerance)) == 0
    assert closed(fine)


def test_what_was_cut_off_is_pulled_back_and_rims_stay_in_their_planes() -> None:
    """Bug: corners that the remesher rounded off stay off, or the rim of the opening leaves the plating face."""
    given = rough_ball(96, noise=0.05)
    coarse = flattened(
        mmgs(given, ridges_and_corners(given, None), None, hmin=0.06, hmax=0.5, hgrad=1.3, hausd=0.03)
    )  # fmt: skip
    distance = 0.012
    assert len(places_beyond(given, coarse, distance)) > 20, "the trap is there"
    near = coarse
    for _ in range(8):
        near = mend_walls(pulled(near, given, distance), MENDED, SHORT * 0.06, 0.15 * distance)
    assert len(places_beyond(given, near, 1.15 * distance)) == 0
    assert closed(near)
    assert len(near.faces) < 0.5 * len(given.faces), "only where it was too far off"
    axis, coordinate = given.planes()[given.names["+z"]]
    assert (near.vertices[np.unique(near.faces[near.tags == given.names["+z"]]), axis] == coordinate).all()
    wall = np.setdiff1d(near.faces[near.on_cracks], near.faces[~near.on_cracks])
    assert (near.vertices[wall, axis] < coordinate).all()
    assert near.area(given.names["+z"]) == pytest.approx(given.area(given.names["+z"]), rel=1e-3)


def test_a_lip_thinner_than_the_mesh_gives_way_within_its_leave() -> None:
    """Bug: a lip of electrolyte a few nanometres thick leaves flat cells that no vertex within can mend."""
    given = rough_ball(noise=0.05, height=47.61)
    fine = keep_walls(given, 0.025, 0.4, 1.3, 0.0075)
    mesh = mend_worst_cells(tetrahedralise(fine, 0.4, "delaunay"), 0.0)
    poor = radius_ratio(mesh.points, mesh.cells)
    # What it finds poor is raised so that there is work to do on any such mesh.
    limit = float(np.quantile(poor, 0.002))
    leave = 0.001
    walls = MovableWalls(
        {tag: axis for tag, (axis, _) in fine.planes().items()}, leave, fine.vertices[fixed_vertices(fine)]
    )
    mended = mend_worst_cells(mesh, 0.0, limit, walls)
    after = radius_ratio(mended.points, mended.cells)
    assert (after < limit).sum() < 0.5 * (poor < limit).sum()
    check_surfaces(mended, fine.box)
    volume = signed_volume(mended.points[mended.facets])
    assert cell_volumes(mended).sum() == pytest.approx(volume, rel=1e-12)
    check_mesh(mended, volume, 0.0)
    assert len(places_beyond(fine, boundary_of(mended, fine), 3 * leave)) == 0
    assert volume != fine.volume, "the walls did move"


def boundary_of(mesh: MeshArrays, like: TaggedSurface) -> TaggedSurface:
    return TaggedSurface(mesh.points, mesh.facets, mesh.tags, like.names, like.box, like.unit)


def test_the_sample_crack_keeps_its_promises() -> None:
    """Bug: a real surface comes out smoother, smaller or with flat cells, and nobody has asked for that."""
    case = load_case(SPALLATION)
    mesh = mesh_surfaces(case, build_surfaces(case), "mmg", Trail())
    assert mesh.info["attempt"] == 1
    assert mesh.info["min_quality"] > 0.05
    assert mesh.info["p01_quality"] > 0.3
    assert mesh.info["distances"]["spall"]["largest_m"] < case.mesh.tolerance
    for name, area in mesh.info["boolean_areas_m2"].items():
        own = mesh.facets[mesh.tags == mesh.names[name]]
        assert triangle_areas(mesh.points[own]).sum() * mesh.unit**2 == pytest.approx(area, rel=1e-3)
    check_surfaces(mesh, np.array(mesh.info["box"]))
