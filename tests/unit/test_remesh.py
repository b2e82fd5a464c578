"""The boundary remeshed by MMG: planes and folds stay, pinched edges are seen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from manifold3d import CrossSection, Manifold
from numpy.typing import NDArray

from fem_spall.crack import Block, CrackSurface
from fem_spall.errors import MeshingError
from fem_spall.mesh import mmg, remesh_mmg
from fem_spall.mesh.arrays import MeshArrays
from fem_spall.mesh.distance import surface_distance
from fem_spall.mesh.embed import embed
from fem_spall.mesh.remesh_mmg import remesh
from fem_spall.mesh.tagged_surface import TaggedSurface
from tests.solids import UM, cuboid, surface_of

UNIT = 1e-5
BLOCK = Block((20 * UM, 30 * UM, 50 * UM))
SIZES = (0.1, 0.5, 1.3, 0.03)  # smallest, largest, grading, tolerance; mesh units


def boundary_of(crack: CrackSurface) -> TaggedSurface:
    return embed(BLOCK, {"a": crack}, frozenset(), UNIT)


def wedge() -> TaggedSurface:
    """A floor that comes up to the plating face at 10 degrees, 8 um long and 10 um wide."""
    slope = np.tan(np.radians(10))
    profile = CrossSection([np.array([(4, 50 + 2 * slope), (14, 50 - 8 * slope), (14, 51), (4, 51)])])
    return boundary_of(surface_of(Manifold.extrude(profile, 10).rotate((90, 0, 0)).translate((0, 20, 0))))


def lens() -> TaggedSurface:
    """What two balls of radius 10 um have in common: a disc of radius 5 um with a knife-edged rim."""
    ball = Manifold.sphere(10, 64)
    body = ball.translate((0, 0, 8.66)) ^ ball.translate((0, 0, -8.66))
    return boundary_of(surface_of(body.rotate((0, 90, 0)).translate((10, 15, 40))))


def as_mesh(surface: TaggedSurface) -> MeshArrays:
    none = np.empty((0, 4), dtype=np.int64)
    return MeshArrays(surface.vertices, none, surface.faces, surface.tags, surface.names, surface.unit)


def test_planes_stay_plane_where_a_crack_meets_them_at_a_shallow_angle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bug: the mesher misses the ridge at a shallow angle and the plating face bulges (trap 1)."""
    given = wedge()
    raw: list[TaggedSurface] = []
    inner = remesh_mmg.mmgs

    def listened(*arguments: Any, **sizes: Any) -> TaggedSurface:
        raw.append(inner(*arguments, **sizes))
        return raw[-1]

    monkeypatch.setattr(remesh_mmg, "mmgs", listened)
    fine = remesh(given, *SIZES, sharp=True)
    for tag, (axis, coordinate) in given.planes().items():
        # Before the rounding is taken off: what MMG itself did to the plane.
        assert np.abs(raw[0].vertices[np.unique(raw[0].faces[raw[0].tags == tag]), axis] - coordinate).max() < 1e-9
        assert (fine.vertices[np.unique(fine.faces[fine.tags == tag]), axis] == coordinate).all()
        assert fine.area(tag) == pytest.approx(given.area(tag), rel=1e-3)
    floor, depth = 8 / np.cos(np.radians(10)), 8 * np.tan(np.radians(10))
    assert fine.area(fine.names["a"]) * 100 == pytest.approx(10 * floor + 10 * depth + 8 * depth, rel=1e-3)
    assert fine.volume == pytest.approx(given.volume, rel=1e-6)
    assert len(fine.faces) > 20 * len(given.faces)


def test_without_explicit_ridges_the_bulge_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bug: a bulged plating face passes, because its vertices are put back on the plane afterwards."""
    none: NDArray[np.int64] = np.empty((0, 2), dtype=np.int64)
    monkeypatch.setattr(remesh_mmg, "ridges_and_corners", lambda *_: (none, none[:, 0]))
    with pytest.raises(MeshingError, match="faces of the block did not keep their areas") as refusal:
        remesh(wedge(), *SIZES, sharp=True)
    assert refusal.value.detail == 21


def test_ridges_are_all_edges_between_surfaces_and_the_folds_of_a_crack() -> None:
    """Bug: an edge between two tags is left out, so that it moves; or the diagonal of a flat side is kept."""
    surface = boundary_of(cuboid((5, 5, 43), (9, 11, 52)))
    ridges, corners = mmg.ridges_and_corners(surface, 0.1)
    ends = surface.vertices[ridges]
    length = np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1).sum() * 10
    assert length == pytest.approx(4 * (20 + 30 + 50) + 2 * (4 + 6) + 2 * (4 + 6) + 4 * 7, rel=1e-12)
    block = {(x, y, z) for x in (0, 20) for y in (0, 30) for z in (0, 50)}
    assert {tuple(v) for v in (surface.vertices[corners] * 10).round(9)} == block
    without = mmg.ridges_and_corners(surface, None)[0]
    assert len(without) < len(ridges)


def test_short_folds_are_noise() -> None:
    """Bug: every kinked edge of a rough surface becomes a ridge, and the mesh follows the noise."""
    surface = boundary_of(cuboid((5, 5, 23), (5.3, 5.3, 23.3)))
    kept = [len(mmg.ridges_and_corners(surface, size)[0]) for size in (0.5, None)]
    assert kept[0] == kept[1] + 12, "twelve edges in one chain are a shape"
    chain = np.array([[0, 1], [1, 2], [4, 5]])
    assert not mmg.in_chains(chain, np.array([2.0, 3.0, 7.9])).any()
    assert mmg.in_chains(chain, np.array([2.0, 6.0, 7.9])).tolist() == [True, True, False]


def test_the_rim_of_a_lens_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bug: the folded rim of a crack is rounded off, and with it the place where the current is highest."""
    given = lens()
    fine = remesh(given, 0.05, 0.5, 1.3, 0.015, sharp=True)
    assert surface_distance(as_mesh(fine), fine.names["a"], given)[0] < 0.15 * UM, "the tolerance"
    removed = float(np.prod(np.ptp(given.box, axis=0))) - given.volume
    assert abs(fine.volume - given.volume) < 0.01 * removed
    monkeypatch.setattr(remesh_mmg, "_held", lambda surface, given, result, *_, **__: result)  # it would mend that
    rounded = remesh(given, 0.05, 0.5, 1.3, 0.015, sharp=False)
    far = [surface_distance(as_mesh(mesh), mesh.names["a"], given)[0] for mesh in (fine, rounded)]
    assert far[1] > 2 * far[0]


def test_the_volume_of_a_coarse_surface_is_kept() -> None:
    """Bug: the remesher lays smooth curves through the corners of a coarse polyhedron, which then grows by 3 %."""
    given = boundary_of(surface_of(Manifold.sphere(5, 24).translate((10, 15, 30))))
    smooth = remesh_mmg.mmgs(
        given, mmg.ridges_and_corners(given, None), None, hmin=0.05, hmax=0.5, hgrad=1.3, hausd=0.015
    )
    removed = float(np.prod(np.ptp(given.box, axis=0))) - given.volume
    assert abs(smooth.volume - given.volume) > 0.008 * removed, "the trap is there"
    fine = remesh(given, 0.05, 0.5, 1.3, 0.015, sharp=True)
    assert abs(fine.volume - given.volume) < 0.004 * removed


def test_a_pinched_crack_is_refused_with_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bug: MMG joins walls closer than its smallest size into edges of four triangles, without an error (trap 3)."""
    given = boundary_of(cuboid((5, 5, 23), (9, 11, 30)))
    two = given.vertices * [1, 1, 1]
    # A copy of the cavity that shares one edge with it: its faces start where the first one's vertices are.
    own = given.faces[given.tags == 10]
    used = np.unique(own)
    shift = np.array([0.4, 0.6, 0.0])
    number = np.arange(len(two) + len(used))
    copies = {}
    for new, old in enumerate(used, len(two)):
        same = np.nonzero(np.abs(two - (two[old] + shift)).max(axis=1) < 1e-9)[0]
        copies[int(old)] = int(same[0]) if same.size else int(number[new])
    vertices = np.concatenate([two, two[used] + shift])
    faces = np.concatenate([given.faces, np.vectorize(copies.get)(own)])
    pinched = replace(given, vertices=vertices, faces=faces, tags=np.append(given.tags, np.full(len(own), 10)))
    monkeypatch.setattr(remesh_mmg, "mmgs", lambda *_, **__: pinched)
    with pytest.raises(MeshingError, match=r"1 edges get pinched, .*: \(9, 11, 26.5\) um") as refusal:
        remesh(given, *SIZES, sharp=True)
    assert refusal.value.detail == 20


def test_the_same_surface_gives_the_same_mesh() -> None:
    """Bug: a remesher that depends on what ran before makes figures irreproducible."""
    one, two = (remesh(wedge(), *SIZES, sharp=True) for _ in range(2))
    assert one.vertices.tobytes() == two.vertices.tobytes()
    assert one.faces.tobytes() == two.faces.tobytes()


def test_volumes_are_compared_without_what_cracks_cut_off() -> None:
    """Bug: of a thin shell round an island of electrolyte 1 % of shell and island may be lost, 2 % of the lithium."""
    block = Block((20 * UM, 30 * UM, 50 * UM))
    shell = Manifold.cube((8, 8, 8)).translate((5, 5, 20)) - Manifold.cube((6, 6, 6)).translate((6, 6, 21))
    before = embed(block, {"a": surface_of(shell)}, frozenset(), UM)
    taller = Manifold.cube((8, 8, 8.1)).translate((5, 5, 20)) - Manifold.cube((6, 6, 6)).translate((6, 6, 21))
    after = embed(block, {"a": surface_of(taller)}, frozenset(), UM)
    assert remesh_mmg._drift(before, after) == pytest.approx(0.1 * 64 / (512 - 216), rel=1e-9)
