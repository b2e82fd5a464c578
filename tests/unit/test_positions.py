"""Bodies in every position in the block, down to a checked mesh: volume, areas and what is said about them."""

from __future__ import annotations

import numpy as np
import pytest
from manifold3d import Manifold

from fem_spall.crack import Block, CrackSurface
from fem_spall.errors import GeometryError, MeshingError
from fem_spall.mesh.arrays import MeshArrays
from fem_spall.mesh.checks import cell_volumes
from fem_spall.mesh.contacts import refuse_contacts
from fem_spall.mesh.embed import embed
from fem_spall.mesh.worker import mesh_case
from tests.solids import UM, case_of, cuboid, surface_of

FACES = {"-x": 1500.0, "+x": 1500.0, "-y": 1000.0, "+y": 1000.0, "-z": 600.0, "+z": 600.0}


def meshed(voids: tuple[str, ...] = (), size: str = "500 nm", **cracks: CrackSurface) -> MeshArrays:
    entries = [
        {"name": n, "kind": "surface_file", "file": "x.stl", "unit": "um",
         "contents": "void" if n in voids else "lithium"} for n in cracks
    ]  # fmt: skip
    case = case_of(cracks=entries, mesh={"size_min": size, "size_max": "6 um", "refine_tips": False})
    return mesh_case(case, cracks)


def check(mesh: MeshArrays, removed: float, **expected: float) -> None:
    """Volume, um^3, by the cells and every area, um^2, by the facets; faces that are not named are whole."""
    scale = mesh.unit / UM
    assert cell_volumes(mesh).sum() * scale**3 == pytest.approx(30000 - removed, rel=1e-9)
    for name, tag in mesh.names.items():
        a, b, c = np.moveaxis(mesh.points[mesh.facets[mesh.tags == tag]], 1, 0)
        area = float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum()) / 2 * scale**2
        assert area == pytest.approx((FACES | expected)[name], rel=1e-9, abs=1e-9), name
    assert mesh.info["min_quality"] > 0.05
    assert mesh.info["p01_quality"] > 0.3


@pytest.mark.parametrize("top", [50.0, 49.999, 50.001])
def test_a_cap_on_or_just_off_the_plating_face_is_an_opening(top: float) -> None:
    """Bug: 1 nm of electrolyte stays above the crack, or its slivers spoil the mesh."""
    mesh = meshed(a=cuboid((5, 5, 43), (9, 11, top)))
    check(mesh, 168, a=24 + 2 * (28 + 42), **{"+z": 576.0})
    kinds = [repair["kind"] for repair in mesh.info["repairs"]]
    assert kinds == ([] if top == 50 else ["faces just off the face +z of the block put onto it"])


def test_a_wall_just_off_a_side_wall_lies_in_it() -> None:
    """Bug: a film of 3 nm between crack and side wall is meshed."""
    mesh = meshed(a=cuboid((0.003, 5, 20), (9, 11, 27)))
    check(mesh, 378, a=2 * 54 + 2 * 63 + 42, **{"-x": 1458.0})
    assert mesh.info["repairs"][0]["volume_change"] == pytest.approx(0.003 * 42 * UM**3, rel=1e-6, abs=0)


def test_a_crack_over_two_side_walls() -> None:
    """Bug: at the corner of the block the openings in two walls and the plating face do not fit together."""
    mesh = meshed(a=cuboid((-3, -3, 43), (9, 11, 52)))
    check(mesh, 9 * 11 * 7, a=99 + 63 + 77, **{"+z": 600 - 99.0, "-x": 1500 - 77.0, "-y": 1000 - 63.0})


def test_a_crack_wider_than_the_block_replaces_the_plating_face() -> None:
    """Bug: the empty plating face ends in an empty surface or an error."""
    mesh = meshed(a=cuboid((-3, -3, 43), (23, 33, 52)))
    check(mesh, 4200, a=600.0, **{"+z": 0.0, "-x": 1290.0, "+x": 1290.0, "-y": 860.0, "+y": 860.0})


@pytest.mark.parametrize(
    ("low", "high", "a", "b"),
    [
        ((9, 5, 20), (12, 11, 27), 188 - 42, 2 * (18 + 21 + 42) - 42),  # a face in common
        ((9, 11, 20), (12, 15, 27), 188, 2 * (12 + 21 + 28)),  # an edge
        ((9, 11, 27), (12, 15, 33), 188, 2 * (12 + 18 + 24)),  # a corner
    ],
)
def test_bodies_that_touch(low: tuple[int, ...], high: tuple[int, ...], a: float, b: float) -> None:
    """Bug: two vertices at one place, of which the mesher dies; or the common wall stays as a sheet."""
    body = np.prod(np.subtract(high, low))
    check(meshed(a=cuboid((5, 5, 20), (9, 11, 27)), b=cuboid(low, high)), 168 + body, a=a, b=b)


def test_bodies_that_overlap_belong_to_the_first() -> None:
    """Bug: the walls within the other body stay, or sharp edges where they meet are rounded off."""
    mesh = meshed(a=cuboid((5, 5, 20), (9, 11, 27)), b=cuboid((7, 4, 22), (12, 12, 40)))
    check(mesh, 168 + 720 - 60, a=188 - 20 - 30 - 12, b=548 - 30 - 12)


def test_an_island_of_electrolyte_is_dropped_and_reported() -> None:
    """Bug: electrolyte inside the lithium, which no current reaches, is solved; or it counts as lithium."""
    mesh = meshed(
        a=surface_of(Manifold.cube((8, 8, 8)).translate((5, 5, 20)) - Manifold.cube((4, 4, 4)).translate((7, 7, 22)))
    )
    check(mesh, 512, a=384)
    (repair,) = mesh.info["repairs"]
    assert repair["count"] == 1
    assert repair["volume_change"] == pytest.approx(-64 * UM**3, rel=1e-9, abs=0)
    assert mesh.info["enclosed_m3"] == {"a": pytest.approx(64 * UM**3, rel=1e-9, abs=0)}


@pytest.mark.parametrize("inner", ["lithium", "void"])
@pytest.mark.parametrize("first", [True, False])
def test_a_body_within_another_is_refused_by_name(inner: str, first: bool) -> None:
    """Bug: a crack inside a crack or a void inside lithium is silently lost, or blamed on its unit."""
    pair = {"a": cuboid((5, 5, 20), (12, 15, 30)), "b": cuboid((7, 7, 22), (9, 9, 25))}
    ordered = {name: pair[name] for name in (("b", "a") if first else ("a", "b"))}
    with pytest.raises(GeometryError, match=r"crack b: borders no electrolyte .*: it lies within another crack"):
        meshed(("b",) if inner == "void" else (), **ordered)


def test_a_crack_just_off_the_counter_electrode_is_a_short_circuit() -> None:
    """Bug: 1 nm of electrolyte between lithium and counter electrode carries nearly all current."""
    with pytest.raises(GeometryError, match="crack a: reaches the counter electrode: a short circuit"):
        meshed(a=cuboid((5, 5, 0.001), (9, 11, 27)))


def test_a_crack_far_thinner_than_the_mesh_is_refused_with_what_it_would_take() -> None:
    """Bug: minutes of failing attempts end in a message about pinched edges."""
    # Cells of 4.99 nm on 220.4 um^2 that grow by 0.3 of the distance, 0.09 h^3 each: 220.4 / 0.00499^2 / (0.6 x 0.09).
    said = r"its mean opening \(2 x volume / area\), 9.98 nm, is below mesh.size_min .* with about 1.6e\+08 cells"
    with pytest.raises(MeshingError, match=said) as refusal:
        meshed(a=cuboid((5, 10, 40), (15, 10.01, 51)))
    assert "kind: sheet" in refusal.value.cure


def test_bodies_a_nanometre_apart_are_refused_in_words() -> None:
    """Bug: a minute of failing attempts, and then the mesher's words for it: a segment and a facet intersect."""
    said = (
        r"cracks a and b: are 1 nm apart near \(9, 8, 23.5\) um: the mesh cannot resolve a film of electrolyte so thin"
    )
    with pytest.raises(MeshingError, match=said):
        meshed(a=cuboid((5, 5, 20), (9, 11, 27)), b=cuboid((9.001, 5, 20), (12, 11, 27)))


def test_balls_a_nanometre_apart_are_not_moved_apart() -> None:
    """Bug: walls that give way to flat cells between them make a film that only the mesher knows of."""
    one, other = (surface_of(Manifold.sphere(3, 60).translate((x, 15, 30))) for x in (7, 13.001))
    with pytest.raises(MeshingError, match=r"cracks a and b: are .* nm apart near \(.*, 15, 30\) um"):
        meshed(a=one, b=other)


def test_a_body_that_touches_a_wall_in_an_edge_is_refused_in_words() -> None:
    """Bug: the refusal speaks of the least quality somewhere, and nobody sees why."""
    prism = Manifold.cube((4, 6, 4), center=True).rotate((0, 45, 0)).translate((8**0.5, 8, 25))
    said = r"crack a: touches the face -x of the block in an edge or corner alone, near \(.*, 8, 25\) um"
    with pytest.raises(MeshingError, match=said):
        meshed(a=surface_of(prism))


def test_a_crack_that_crosses_a_wall_at_a_flat_angle_touches_nothing() -> None:
    """Bug: vertices beside an opening, which lie as near to the wall, are taken for a touch."""
    surface = embed(
        Block((20 * UM, 30 * UM, 50 * UM), "+z"), {"a": cuboid((5, 5, 43), (9, 11, 50.001))}, frozenset(), UM
    )
    refuse_contacts(surface, 0.005)
    ball = surface_of(Manifold.sphere(4, 200).translate((10, 15, 53.99)))
    refuse_contacts(embed(Block((20 * UM, 30 * UM, 50 * UM), "+z"), {"a": ball}, frozenset(), UM), 0.005)
