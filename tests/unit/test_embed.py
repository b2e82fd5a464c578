"""Cracks subtracted from the block: areas, volumes and names against exact geometry; what is refused."""

from __future__ import annotations

import re

import numpy as np
import pytest
from manifold3d import Manifold

from fem_spall.crack import Block, CrackSurface
from fem_spall.errors import GeometryError
from fem_spall.mesh.arrays import FACES
from fem_spall.mesh.embed import embed
from fem_spall.mesh.tagged_surface import TaggedSurface
from tests.solids import UM, cuboid, surface_of

BLOCK = Block((20 * UM, 30 * UM, 50 * UM))
FACE_AREAS = {"-x": 1500.0, "+x": 1500.0, "-y": 1000.0, "+y": 1000.0, "-z": 600.0, "+z": 600.0}
UNIT = 1e-5


def embedded(block: Block = BLOCK, voids: tuple[str, ...] = (), **cracks: CrackSurface) -> TaggedSurface:
    return embed(block, cracks, frozenset(voids), UNIT)


def areas(surface: TaggedSurface) -> dict[str, float]:
    """Area by name, um^2."""
    return {name: surface.area(tag) * (UNIT / UM) ** 2 for name, tag in surface.names.items()}


def check(surface: TaggedSurface, removed: float, **expected: float) -> None:
    """Compare every area, um^2, and the removed volume, um^3; areas that are not named are those of the block."""
    for name, area in areas(surface).items():
        assert area == pytest.approx((FACE_AREAS | expected)[name], rel=1e-12, abs=1e-9), name
    scale = (UNIT / UM) ** 3
    assert surface.volume * scale == pytest.approx(30000.0 - removed, rel=1e-12)
    assert (surface.lithium_volume + surface.void_volume) * scale == pytest.approx(removed, rel=1e-9)


def test_crack_inside() -> None:
    """Bug: an inclusion loses a side, or its triangles are named after the nearest face of the block."""
    check(embedded(a=cuboid((5, 5, 20), (9, 11, 27))), 4 * 6 * 7, a=2 * (24 + 28 + 42))


def test_crack_across_the_plating_face() -> None:
    """Bug: the part above the block is kept, or the opening stays closed."""
    check(embedded(a=cuboid((5, 5, 43), (9, 11, 52))), 4 * 6 * 7, a=24 + 2 * (28 + 42), **{"+z": 600 - 24})


def test_cap_in_the_plating_face() -> None:
    """Bug: coplanar triangles leave a film, a double cap or slivers named after the crack."""
    check(embedded(a=cuboid((5, 5, 43), (9, 11, 50))), 4 * 6 * 7, a=24 + 2 * (28 + 42), **{"+z": 600 - 24})


def test_cap_one_nanometre_above_the_face_is_an_opening() -> None:
    """Bug: positions are rounded to a tolerance, and the walls end off the plane."""
    surface = embedded(a=cuboid((5, 5, 43), (9, 11, 50.001)))
    check(surface, 4 * 6 * 7, a=24 + 2 * (28 + 42), **{"+z": 600 - 24})


def test_cap_one_nanometre_below_the_face_is_closed() -> None:
    """Bug: a crack that does not reach the plating face is silently joined to it."""
    check(embedded(a=cuboid((5, 5, 43), (9, 11, 49.999))), 4 * 6 * 6.999, a=2 * (24 + 4 * 6.999 + 6 * 6.999))


def test_crack_clipped_by_a_side_wall() -> None:
    """Bug: the cut through the wall is named after the crack, so lithium appears on the wall's plane."""
    surface = embedded(a=cuboid((-3, 5, 43), (4, 11, 52)))
    check(surface, 4 * 6 * 7, a=24 + 42 + 2 * 28, **{"+z": 600 - 24, "-x": 1500 - 42})


@pytest.mark.parametrize("name", ["-z", "+z"])
def test_either_plating_face(name: str) -> None:
    """Bug: the plating face is taken to be +z, and a crack at -z is refused as a short circuit."""
    low, high = ((5, 5, -2), (9, 11, 7)) if name == "-z" else ((5, 5, 43), (9, 11, 52))
    surface = embedded(Block(BLOCK.size, name), a=cuboid(low, high))  # type: ignore[arg-type]
    check(surface, 4 * 6 * 7, a=24 + 2 * (28 + 42), **{name: 600 - 24})


def test_the_unit_changes_nothing() -> None:
    """Bug: absolute tolerances of the boolean kernel swallow a crack in a block given in other units."""
    cracks = {"a": cuboid((5, 5, 43), (9, 11, 49.999))}
    one, other = (embed(BLOCK, cracks, frozenset(), unit) for unit in (1e-5, 1e-6))
    np.testing.assert_allclose(one.vertices * 1e-5, other.vertices * 1e-6, rtol=0, atol=1e-18)


def test_overlapping_cracks_count_their_common_volume_once() -> None:
    """Bug: the overlap is subtracted twice, or the walls inside the other crack remain."""
    surface = embedded(a=cuboid((5, 5, 20), (9, 11, 27)), b=cuboid((7, 4, 22), (12, 12, 40)))
    overlap = 2 * 6 * 5
    check(
        surface, 4 * 6 * 7 + 5 * 8 * 18 - overlap,
        a=2 * (24 + 28 + 42) - 2 * 2 * 5 - 6 * 5 - 2 * 6,
        b=2 * (5 * 8 + 5 * 18 + 8 * 18) - 6 * 5 - 2 * 6,
    )  # fmt: skip


def test_void_and_lithium_volumes_are_kept_apart() -> None:
    """Bug: the volume of an empty pore is booked as lithium."""
    surface = embedded(voids=("b",), a=cuboid((5, 5, 43), (9, 11, 52)), b=cuboid((5, 5, 20), (8, 8, 23)))
    assert surface.lithium_volume * (UNIT / UM) ** 3 == pytest.approx(4 * 6 * 7, rel=1e-9)
    assert surface.void_volume * (UNIT / UM) ** 3 == pytest.approx(27, rel=1e-9)


def test_a_crack_that_misses_the_block_is_refused() -> None:
    """Bug: a crack in nanometres leaves the plain block, and the run answers without a crack (trap 9)."""
    spans = "it spans (40, 5, 20) to (44, 11, 27) um, the block (0, 0, 0) to (20, 30, 50) um"
    with pytest.raises(GeometryError, match=re.escape(spans)) as refusal:
        embedded(a=cuboid((40, 5, 20), (44, 11, 27)))
    assert refusal.value.detail == 11
    assert "unit" in refusal.value.cure


def test_a_crack_that_fills_the_block_is_refused() -> None:
    """Bug: nothing is left to mesh, and a mesher dies on the empty surface."""
    with pytest.raises(GeometryError, match="fills the whole block") as refusal:
        embedded(a=cuboid((-1, -1, -1), (21, 31, 51)))
    assert refusal.value.detail == 10


def test_a_crack_that_reaches_the_counter_electrode_is_refused() -> None:
    """Bug: two potentials on touching surfaces give a current that grows with refinement."""
    with pytest.raises(GeometryError, match=r"crack a: reaches the counter electrode: a short circuit") as refusal:
        embedded(a=cuboid((5, 5, -1), (9, 11, 27)))
    assert refusal.value.detail == 14


def test_a_void_may_reach_the_counter_electrode() -> None:
    """Bug: empty pores are refused as short circuits."""
    check(embedded(voids=("a",), a=cuboid((5, 5, -1), (9, 11, 7))), 168, a=24 + 2 * (28 + 42), **{"-z": 600 - 24})


def test_cracks_that_cut_the_electrolyte_in_two_are_refused() -> None:
    """Bug: one half is meshed, the other is forgotten."""
    with pytest.raises(GeometryError, match="leave 2 electrolyte bodies at the counter electrode") as refusal:
        embedded(voids=("a",), a=cuboid((5, -1, -1), (9, 31, 51)))
    assert refusal.value.detail == 13


def test_an_open_shell_is_refused() -> None:
    """Bug: the boolean kernel's refusal is not read, and the crack counts as empty."""
    whole = cuboid((5, 5, 20), (9, 11, 27))
    with pytest.raises(GeometryError, match="is not a closed manifold surface") as refusal:
        embedded(a=CrackSurface(whole.vertices, whole.faces[:-1]))
    assert refusal.value.detail == 12


def bowl() -> Manifold:
    """A lithium box shell, 1 um thick, open at the plating face: outside 8 x 8 x 6, inside 6 x 6 x 5 um."""
    return Manifold.cube((8, 8, 8)).translate((6, 11, 44)) - Manifold.cube((6, 6, 8)).translate((7, 12, 45))


def test_electrolyte_in_a_closed_bowl_is_dropped_and_reported() -> None:
    """Bug: the chip vanishes without a word, or is meshed without a path for its current (trap 5)."""
    surface = embedded(a=surface_of(bowl()))
    scale = (UNIT / UM) ** 3
    assert surface.volume * scale == pytest.approx(30000 - 8 * 8 * 6, rel=1e-12)
    assert surface.lithium_volume * scale == pytest.approx(8 * 8 * 6 - 6 * 6 * 5, rel=1e-9)
    found = areas(surface)
    assert found["+z"] == pytest.approx(600 - 64, rel=1e-12)
    assert found["a"] == pytest.approx(64 + 4 * 8 * 6, rel=1e-12), "outside of the bowl only"
    (repair,) = surface.repairs
    assert repair.kind == "electrolyte cut off from the counter electrode dropped"
    assert repair.count == 1
    assert repair.volume_change == pytest.approx(-6 * 6 * 5 * UM**3, rel=1e-9, abs=0)
    assert repair.area_change == pytest.approx(-(36 + 36 + 4 * 6 * 5) * UM**2, rel=1e-9, abs=0)


def test_a_pore_in_a_dropped_chip_goes_with_it() -> None:
    """Bug: the pore's shell stays behind as a hole of nothing, or its volume counts twice in the balance."""
    pores = Manifold.cube((1, 1, 1)).translate((9, 14, 47)) + Manifold.cube((2, 2, 2)).translate((3, 3, 10))
    surface = embedded(voids=("p",), a=surface_of(bowl()), p=surface_of(pores))
    scale = (UNIT / UM) ** 3
    assert surface.volume * scale == pytest.approx(30000 - 8 * 8 * 6 - 8, rel=1e-12)
    assert areas(surface)["p"] == pytest.approx(24, rel=1e-12)
    dropped = surface.repairs[0].volume_change
    assert dropped == pytest.approx(-(6 * 6 * 5 - 1) * UM**3, rel=1e-9, abs=0)
    whole = surface.volume - dropped / UNIT**3 + surface.lithium_volume + surface.void_volume
    assert whole * scale == pytest.approx(30000, rel=1e-12)


def test_a_pore_beside_a_dropped_chip_stays() -> None:
    """Bug: a pore in the chip's bounding box, but in the live electrolyte, is closed with it."""
    ring = Manifold.cylinder(8, 6, 3, 32).translate((10, 15, 44)) - Manifold.cylinder(8, 5, 2, 32).translate(
        (10, 15, 45)
    )
    corner = Manifold.cube((0.5, 0.5, 0.5)).translate((5.6, 10.6, 45.5))
    surface = embedded(voids=("p",), a=surface_of(ring), p=surface_of(corner))
    assert areas(surface)["p"] == pytest.approx(6 * 0.25, rel=1e-12)


def test_a_crack_without_live_surface_is_refused() -> None:
    """Bug: a crack whose walls all lie in dropped electrolyte, or in another crack, ends in an empty surface."""
    with pytest.raises(GeometryError, match=r"crack p: borders no electrolyte") as refusal:
        embedded(a=surface_of(bowl()), p=cuboid((9, 14, 47), (10, 15, 48)))
    assert refusal.value.detail == 16
    with pytest.raises(GeometryError, match=r"crack p: borders no electrolyte"):
        embedded(p=cuboid((9, 14, 47), (10, 15, 48)), a=cuboid((5, 5, 43), (19, 21, 52)))


def test_electrolyte_without_lithium_at_the_live_end_is_refused() -> None:
    """Bug: a slit through the whole block insulates the counter electrode, and the run divides by no current."""
    with pytest.raises(GeometryError, match="cut the counter electrode off from all plating lithium") as refusal:
        embedded(voids=("a",), a=cuboid((-1, -1, 20), (21, 31, 21)))
    assert refusal.value.detail == 17


def test_a_lithium_slab_replaces_the_plating_face() -> None:
    """Bug: lithium right across the block is refused like a void, although the current simply ends on it."""
    surface = embedded(a=cuboid((-1, -1, 20), (21, 31, 21)))
    found = areas(surface)
    assert found["+z"] == 0
    assert found["a"] == pytest.approx(600, rel=1e-12)
    assert surface.repairs[0].volume_change == pytest.approx(-600 * 29 * UM**3, rel=1e-9, abs=0)


@pytest.mark.parametrize("name", ["-z", "+z"])
def test_an_interface_sheet_replaces_the_plating_face(name: str) -> None:
    """Bug: where the sheet rises above the plating face its lithium is cut flat, or a film of face stays."""
    body = Manifold.cube((22, 32, 8)).translate((-1, -1, 46)) - Manifold.cube((4, 5, 5)).translate((6, 7, 46))
    surface = surface_of(body)
    vertices = surface.vertices.copy()
    if name == "-z":
        vertices[:, 2] = BLOCK.height - vertices[:, 2]
    faces = surface.faces[:, ::-1] if name == "-z" else surface.faces
    sheet = CrackSurface.canonical(vertices, faces, sheet=True)
    cut = embedded(Block(BLOCK.size, name), s=sheet)  # type: ignore[arg-type]
    found = areas(cut)
    assert found[name] == 0
    # Flat at 46 um with a peak of electrolyte, 4 x 5 and 5 um high, that stands out of the block's height.
    assert found["s"] == pytest.approx(600 + 2 * (4 + 5) * 5, rel=1e-12)
    assert cut.volume * (UNIT / UM) ** 3 == pytest.approx(600 * 46 + 4 * 5 * 5, rel=1e-12)
    assert {n: round(a, 9) for n, a in found.items() if n in ("-x", "+x")} == {"-x": 1380.0, "+x": 1380.0}


def test_every_triangle_of_a_face_lies_in_its_plane() -> None:
    """Bug: a triangle of the crack is named after the face it touches, and lithium is counted as wall."""
    surface = embedded(a=cuboid((-3, 5, 43), (4, 11, 52)))
    for name, (axis, side) in FACES.items():
        own = np.unique(surface.faces[surface.tags == surface.names[name]])
        assert np.abs(surface.vertices[own, axis] - surface.box[side, axis]).max() < 1e-12
