"""The checks every mesh must pass: what they measure, and what they refuse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fem_spall.crack import Block
from fem_spall.errors import MeshingError
from fem_spall.mesh.arrays import MeshArrays, length_unit
from fem_spall.mesh.checks import cell_volumes, check_mesh, check_surfaces, radius_ratio
from fem_spall.mesh.distance import surface_distance
from fem_spall.mesh.embed import embed
from fem_spall.mesh.surface_mesh import _check_distances
from fem_spall.mesh.tagged_surface import TaggedSurface
from tests.solids import UM, Floats, block_mesh, sphere, surface_of

REGULAR = np.array([[1.0, 1.0, 1.0], [1.0, -1.0, -1.0], [-1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]])
BOX = np.array([[0.0, 0.0, 0.0], [2.0, 3.0, 5.0]])


def ratio(points: Floats, order: tuple[int, int, int, int] = (0, 1, 2, 3)) -> float:
    return float(radius_ratio(points, np.array([order]))[0])


def test_radius_ratio_of_known_tetrahedra() -> None:
    """Bug: a factor is off, and the floor on the quality means something else."""
    assert ratio(REGULAR) == pytest.approx(-1, rel=1e-14), "left-handed as written"
    assert ratio(REGULAR, (1, 0, 2, 3)) == pytest.approx(1, rel=1e-14)
    assert ratio(REGULAR * 1e-9 + 5.0, (1, 0, 2, 3)) == pytest.approx(1, rel=1e-5), "size and place do not matter"
    corner = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    inscribed, circumscribed = 1 / (3 + np.sqrt(3)), np.sqrt(3) / 2
    assert ratio(corner) == pytest.approx(3 * inscribed / circumscribed, rel=1e-14)
    assert ratio(corner, (0, 2, 1, 3)) == pytest.approx(-3 * inscribed / circumscribed, rel=1e-14)


def test_radius_ratio_of_flat_cells() -> None:
    """Bug: a sliver with good edges, or a point, passes; or the division by zero spreads as nan."""
    sliver = np.array([[1.0, 0.0, 1e-6], [0.0, 1.0, -1e-6], [-1.0, 0.0, 1e-6], [0.0, -1.0, -1e-6]])
    assert 0 < abs(ratio(sliver)) < 1e-5
    flat = sliver * [1, 1, 0]
    assert ratio(flat) == 0
    assert ratio(np.zeros((4, 3))) == 0


def test_a_good_mesh_passes_with_its_figures() -> None:
    """Bug: figures of the record are in mesh units, or count middle nodes as vertices."""
    mesh = block_mesh(order=2)
    found = check_mesh(mesh, 30.0, 0.01)
    check_surfaces(mesh, BOX)
    assert found["vertices"] == 4 * 4 * 5
    assert found["cells"] == 6 * 3 * 3 * 4
    assert found["facets"] == 2 * 2 * (9 + 12 + 12)
    assert found["geometry_order"] == 2
    assert found["flat_cell_volume_m3"] == pytest.approx(30000 * UM**3, rel=1e-12, abs=0)
    assert 5 * UM < found["shortest_edge_m"] < found["longest_edge_m"] < 30 * UM
    assert 0 < found["min_quality"] <= found["p01_quality"] < 1


def test_an_inverted_cell_is_refused_with_its_place() -> None:
    """Bug: an inverted cell makes the stiffness indefinite and the figures wrong, without a word."""
    mesh = block_mesh()
    cells = mesh.cells.copy()
    cells[7] = cells[7][[1, 0, 2, 3]]
    x, y, z = mesh.points[cells[7]].mean(axis=0) * 10
    place = rf"at \({x:.4g}, {y:.4g}, {z:.4g}\) um \(1 such cells\)"
    with pytest.raises(MeshingError, match=place) as refusal:
        check_mesh(replace(mesh, cells=cells), None, 0.01)
    assert refusal.value.detail == 40


def test_missing_volume_is_refused() -> None:
    """Bug: a region that the mesher left out is not noticed (trap 5)."""
    mesh = block_mesh()
    with pytest.raises(MeshingError, match=r"volumes must add up to the enclosed volume; off by -1.0e-08"):
        check_mesh(mesh, 30.0 * (1 + 1e-8), 0.01)
    check_mesh(mesh, 30.0 * (1 + 1e-10), 0.01)


def two_parts(touching: bool) -> MeshArrays:
    """Two blocks, apart or with one face in the same place but with vertices of their own."""
    one, two = block_mesh((1, 1, 1)), block_mesh((1, 1, 1), seed=1)
    shift = np.array([2.0 if touching else 3.0, 0.0, 0.0])
    count = len(one.points)
    return MeshArrays(
        np.concatenate([one.points, two.points + shift]),
        np.concatenate([one.cells, two.cells + count]),
        np.concatenate([one.facets, two.facets + count]),
        np.concatenate([one.tags, two.tags]), one.names, one.unit,
    )  # fmt: skip


@pytest.mark.parametrize("touching", [True, False])
def test_two_parts_are_refused(touching: bool) -> None:
    """Bug: a part without an electrode makes the matrix singular; or unmerged vertices insulate one part."""
    with pytest.raises(MeshingError, match="the electrolyte must be one piece; got 2") as refusal:
        check_mesh(two_parts(touching), 60.0, 0.01)
    assert refusal.value.detail == 42


def test_parts_joined_at_an_edge_only_are_two() -> None:
    """Bug: pieces are counted through vertices; current cannot pass an edge."""
    one = block_mesh((1, 1, 1))
    shift = np.array([2.0, 3.0, 0.0])
    points = np.concatenate([one.points, one.points + shift])
    unique, index = np.unique(points.round(12), axis=0, return_inverse=True)
    assert len(unique) == 14
    cells = index[np.concatenate([one.cells, one.cells + len(one.points)])]
    with pytest.raises(MeshingError, match="must be one piece; got 2"):
        check_mesh(replace(one, points=unique, cells=cells), 60.0, 0.01)


def test_a_face_off_its_plane_is_refused() -> None:
    """Bug: a bulged plating face changes the height of the block without a word."""
    mesh = block_mesh()
    points = mesh.points.copy()
    on_top = np.unique(mesh.facets[mesh.tags == mesh.names["+z"]])
    points[on_top[len(on_top) // 2], 2] -= 1e-7
    with pytest.raises(MeshingError, match=r"face \+z: must be plane; off by 1.0e-12 m") as refusal:
        check_surfaces(replace(mesh, points=points), BOX)
    assert refusal.value.detail == 44


def test_a_boundary_facet_without_a_name_is_refused() -> None:
    """Bug: a hole in the named surface is a no-flux wall where lithium should be."""
    mesh = block_mesh()
    with pytest.raises(MeshingError, match="1 boundary facets have no name") as refusal:
        check_surfaces(replace(mesh, facets=mesh.facets[1:], tags=mesh.tags[1:]), BOX)
    assert refusal.value.detail == 43


def test_cell_volumes_are_signed_and_add_up() -> None:
    """Bug: the sum of absolute values hides inverted cells."""
    mesh = block_mesh()
    assert cell_volumes(mesh).sum() == pytest.approx(30, rel=1e-12)
    turned = replace(mesh, cells=mesh.cells[:, [1, 0, 2, 3]])
    assert cell_volumes(turned).sum() == pytest.approx(-30, rel=1e-12)


def ball_boundary() -> TaggedSurface:
    from manifold3d import Manifold

    ball = surface_of(Manifold.sphere(5, 64).translate((10, 15, 25)))
    return embed(Block((20 * UM, 30 * UM, 50 * UM)), {"a": ball}, frozenset(), 1e-5)


def facets_only(surface: TaggedSurface, shift: float = 0.0, scale: float = 1.0) -> MeshArrays:
    """The surface as a mesh without cells, its crack moved along x, um, or scaled about its centre."""
    vertices = surface.vertices.copy()
    own = np.unique(surface.faces[surface.tags == 10])
    centre = np.array([1.0, 1.5, 2.5])
    vertices[own] = centre + (vertices[own] - centre) * scale + [shift / 10, 0, 0]
    none = np.empty((0, 4), dtype=np.int64)
    return MeshArrays(vertices, none, surface.faces, surface.tags, surface.names, surface.unit)


def test_surface_distance_of_a_shifted_copy_is_the_shift() -> None:
    """Bug: distances are in mesh units, between vertices instead of surfaces, or of the whole boundary."""
    given = ball_boundary()
    assert surface_distance(facets_only(given), 10, given)[0] < 1e-9 * UM
    largest, p99 = surface_distance(facets_only(given, shift=0.2), 10, given)
    assert largest == pytest.approx(0.2 * UM, rel=1e-3, abs=0)
    assert 0.19 * UM < p99 <= largest
    grown = surface_distance(facets_only(given, scale=1.02), 10, given)
    assert grown[0] == pytest.approx(0.1 * UM, rel=5e-3, abs=0)


def test_surface_distance_sees_what_is_missing() -> None:
    """Bug: only the way from the mesh to the given surface is measured, and a lost branch costs nothing."""
    given = ball_boundary()
    mesh = facets_only(given)
    low = mesh.points[mesh.facets].mean(axis=1)[:, 0] < 1.0
    kept = replace(mesh, facets=mesh.facets[~low | (mesh.tags != 10)], tags=mesh.tags[~low | (mesh.tags != 10)])
    assert surface_distance(kept, 10, given)[0] == pytest.approx(np.sqrt(2) * 5 * UM, rel=0.02, abs=0)


def test_what_another_crack_hides_is_no_distance() -> None:
    """Bug: a wall inside another crack has no counterpart on the mesh and fails a good mesh."""
    from manifold3d import Manifold

    one = surface_of(Manifold.sphere(5, 32).translate((10, 15, 25)))
    other = surface_of(Manifold.sphere(5, 32).translate((10, 21, 25)))
    both = embed(Block((20 * UM, 30 * UM, 50 * UM)), {"a": one, "b": other}, frozenset(), 1e-5)
    none = np.empty((0, 4), dtype=np.int64)
    mesh = MeshArrays(both.vertices, none, both.faces, both.tags, both.names, both.unit)
    assert max(surface_distance(mesh, tag, both)[0] for tag in (10, 11)) < 1e-9 * UM


@pytest.mark.parametrize(
    ("size", "unit"), [((20e-6, 30e-6, 50e-6), 1e-5 / 10), ((20.0, 30.0, 50.0), 1.0), ((1e-6, 1e-6, 1e-6), 1e-7),
                       ((1e-3, 2e-3, 9.99e-3), 1e-4), ((1.0, 1.0, 10.0), 1.0)]
)  # fmt: skip
def test_the_length_unit_makes_the_block_ten_to_a_hundred_long(size: tuple[float, float, float], unit: float) -> None:
    """Bug: rounding at a power of ten gives a block of 1 or of 1000 units, beyond the meshers' tolerances."""
    assert length_unit(size) == pytest.approx(unit, rel=1e-12, abs=0)


def test_sphere_helper_is_closed() -> None:
    """Bug: a hole in the tests' own sphere makes areas and means wrong."""
    points, faces = sphere(3)
    sides = {tuple(s) for s in faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2).tolist()}
    assert sides == {(b, a) for a, b in sides}
    assert len(points) - len(sides) // 2 + len(faces) == 2


def test_a_mesh_too_coarse_for_small_bodies_says_so() -> None:
    """Bug: one pore of hundreds is smaller than the mesh, and the user is not told how far to lower sizes."""
    mesh = block_mesh((8, 8, 12), holes=[(2, 2, 2), (5, 5, 5)])
    box = np.array(mesh.info["box"])
    moved = mesh.points.copy()
    far = np.unique(mesh.facets[mesh.tags == mesh.names["pores"]])
    moved[far] += 0.05  # half a micrometre
    boundary = TaggedSurface(moved, mesh.facets, mesh.tags, mesh.names, box, mesh.unit)
    with pytest.raises(MeshingError, match=r"the smallest of its 2 bodies is \d{4} nm wide, mesh.size_min 2000 nm"):
        _check_distances(mesh, boundary, ["pores"], 100e-9, 0.0, 2e-6)
    with pytest.raises(MeshingError, match=r"nm at most; lower mesh.size_min"):
        _check_distances(mesh, boundary, ["pores"], 100e-9, 0.0, 0.5e-6)
