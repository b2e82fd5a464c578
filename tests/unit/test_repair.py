"""Repair: each defect is mended or named, whatever the order of the file, and the volume comes out right."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fem_spall.crack.base import CrackSurface
from fem_spall.crack.crossings import crossing_faces
from fem_spall.crack.repair import RepairedSurface, Repairs, boundary_loops, repair
from fem_spall.crack.triangles import components, contains, smallest_patch, volume
from fem_spall.errors import GeometryError
from tests.solids import sphere

type Surface = tuple[NDArray[np.float64], NDArray[np.int64]]
UM = 1e-6


def grid(n: int) -> Surface:
    """A unit square of 2 n^2 triangles that face up."""
    i, j = np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing="ij")
    points = np.column_stack([i.ravel(), j.ravel(), np.zeros(i.size)]).astype(float) / n
    a = (i[:-1, :-1] * (n + 1) + j[:-1, :-1]).ravel()
    b, c, d = a + n + 1, a + n + 2, a + 1
    return points, np.concatenate([np.column_stack([a, b, c]), np.column_stack([a, c, d])])


def cube(n: int = 4, size: float = 1.0, at: tuple[float, float, float] = (0, 0, 0)) -> Surface:
    """A cube of 12 n^2 triangles, six separate sides with their own corners, outward, um."""
    points, faces = grid(n)
    sides: list[NDArray[np.float64]] = []
    all_faces: list[NDArray[np.int64]] = []
    for axis, up in product(range(3), (0, 1)):
        side = np.roll(points + np.array([0, 0, up]), axis + 1, axis=1)
        sides.append(side)
        all_faces.append((faces if up else faces[:, ::-1]) + len(points) * len(all_faces))
    return (np.concatenate(sides) * size + at) * UM, np.concatenate(all_faces)


def join(*parts: Surface) -> Surface:
    start = np.cumsum([0] + [len(v) for v, _ in parts])
    return np.concatenate([v for v, _ in parts]), np.concatenate(
        [f + s for (_, f), s in zip(parts, start, strict=False)]
    )


def mended(surface: Surface) -> RepairedSurface:
    return repair(*surface, "test")


def kinds(surface: RepairedSurface) -> dict[str, int]:
    return {one.kind: one.count for one in surface.repairs}


def test_corners_are_joined_and_the_cube_is_whole() -> None:
    """Bug: sides with corners of their own stay apart."""
    good = mended(cube(4))
    assert kinds(good) == {"identical corners merged": 6 * 25 - 98}
    assert len(good.vertices) == 98
    assert good.measure()[0] == pytest.approx(UM**3, rel=1e-14)


def test_rounded_corners_are_joined_only_across_open_edges() -> None:
    """Bug: single-precision noise leaves slits; or the tolerance eats true details."""
    v, f = cube(4)
    rng = np.random.default_rng(0)
    good = mended((v + rng.uniform(-3e-14, 3e-14, v.shape), f))
    assert kinds(good)["close corners merged"] == 6 * 25 - 98
    needle, faces = cube(1)  # closed, and thinner than the tolerance
    thin = join(cube(2), (needle * [1, 2e-6, 2e-6] + [0, 2 * UM, 0], faces))
    assert len(mended(thin).faces) == 48 + 12


def test_flipped_doubled_degenerate_and_unused_are_listed() -> None:
    """Bug: a repair is made silently, or spoils the volume."""
    v, f = cube(6)
    flipped = np.where(np.random.default_rng(1).random(len(f))[:, None] < 0.3, f[:, ::-1], f)
    dirty = np.concatenate([flipped, flipped[:7], [[3, 3, 8], [5, 9, 5]]])
    good = mended((np.concatenate([v, [[9e-6, 0, 0]]]), dirty))
    done = kinds(good)
    assert done.pop("faces turned to their neighbours' sense") == (flipped != f).any(axis=1).sum()
    assert done == {
        "identical corners merged": 6 * 49 - 218,
        "unused vertices dropped": 1,
        "degenerate faces dropped": 2,
        "duplicate faces dropped": 7,
    }
    assert good.measure()[0] == pytest.approx(UM**3, rel=1e-14)


def test_inside_out_surface_is_turned_and_its_volume_change_told() -> None:
    """Bug: a mirrored surface keeps a negative volume."""
    v, f = cube(3)
    good = mended((v * [-1, 1, 1], f))
    (one,) = [r for r in good.repairs if r.kind == "inside-out parts turned"]
    assert one.count == 1
    assert one.volume_change == pytest.approx(2 * UM**3, rel=1e-12)
    assert good.measure()[0] == pytest.approx(UM**3, rel=1e-12)


def test_a_part_inside_another_is_a_cavity_and_one_in_that_is_solid() -> None:
    """Bug: nested parts are all turned outwards and count twice."""
    nest = join(cube(3, 3.0), cube(2, 2.0, (0.5, 0.5, 0.5)), cube(1, 1.0, (1, 1, 1)))
    good = mended(nest)
    assert kinds(good)["inner parts taken as cavities"] == 1
    assert good.measure()[0] == pytest.approx((27 - 8 + 1) * UM**3, rel=1e-12)
    again = mended((good.vertices, good.faces))
    assert again.repairs == []


def test_a_wall_between_two_bodies_goes() -> None:
    """Bug: two bodies that share a wall are refused, or the wall stays as a membrane."""
    good = mended(join(cube(3), cube(3, at=(1, 0, 0))))
    assert kinds(good)["duplicate faces dropped"] == 2 * 18
    assert good.measure() == pytest.approx((2 * UM**3, 10 * UM**2), rel=1e-12)


def test_small_holes_are_filled_and_large_ones_named() -> None:
    """Bug: one missing facet stops a run; or a missing side is papered over."""
    v, f = cube(12)
    whole = mended((v, f))
    drop = [0, 300, 444, 700, 701]  # a pair with a common side, and two that touch in a corner
    good = mended((v, np.delete(f, drop, axis=0)))
    assert kinds(good)["holes filled"] == 4
    assert len(good.faces) == len(f)
    assert good.measure() == pytest.approx(whole.measure(), rel=1e-12)
    with pytest.raises(GeometryError, match=r"must be closed; it has 48 open edges, near \(.*\) um; close the holes"):
        mended((v, f[2 * 144 :]))


def test_a_stray_triangle_is_not_closed_into_a_double_sheet() -> None:
    """Bug: a scrap becomes two coincident faces without volume."""
    v, f = cube(12)
    stray = join((v, f), (np.array([[2.0, 0, 0], [2.05, 0, 0], [2, 0.05, 0]]) * UM, np.array([[0, 1, 2]])))
    with pytest.raises(GeometryError, match="must be closed; it has 3 open edges, near"):
        mended(stray)


def test_the_patch_has_the_least_area() -> None:
    """Bug: a fan over an L-shaped rim folds over itself."""
    rim = np.array([[0.0, 0, 0], [2, 0, 0], [2, 1, 0], [1, 1, 0], [1, 2, 0], [0, 2, 0]])
    for start in range(6):
        loop = np.roll(np.arange(6), start)
        patch = smallest_patch(rim, loop, np.array([[6, 7]]))
        a, b, c = np.moveaxis(rim[patch], 1, 0)
        normals = np.cross(b - a, c - a) / 2
        assert (normals[:, 2] < 0).all()  # against the rim's direction: the faces outside run along it
        assert normals[:, 2].sum() == pytest.approx(-3)
        # The only chord from corner 4 is forbidden: the patch goes another way, or there is none.
        assert [0, 3] not in np.sort(smallest_patch(rim, loop, np.array([[0, 3]]))[:, [0, 1]], axis=1).tolist()
    assert len(smallest_patch(rim[[0, 1, 3, 5]], np.arange(4), np.array([[0, 2], [1, 3]]))) == 0


def test_faces_on_a_line_are_flipped_away_without_a_slit() -> None:
    """Bug: dropping a face without area opens the surface at its middle corner."""
    v = np.array([[0.0, 0, 0], [2, 0, 0], [0, 2, 0], [0, 0, 2], [1, 0, 0]]) * UM
    f = np.array([[0, 1, 3], [0, 4, 1], [0, 2, 4], [4, 2, 1], [0, 3, 2], [1, 2, 3]])
    good = mended((v, f))
    assert kinds(good) == {"faces without area flipped away": 1}
    assert good.measure()[0] == pytest.approx(8 / 6 * UM**3, rel=1e-12)
    assert len(good.faces) == 6


def test_crowded_edges_moebius_and_flat_bodies_are_refused() -> None:
    """Bug: the mesher is given what has no inside."""
    book = [
        (np.array([[0, 0, 0], [0, 0, 1], [np.cos(t), np.sin(t), 0.5]]) * UM, np.array([[0, 1, 2]])) for t in (2, 3, 4)
    ]
    with pytest.raises(GeometryError, match=r"must be closed|proper faces are left"):
        mended(join(*book))
    tents = [tent(angle) for angle in (0.0, 2.0, 4.0)]
    for sense in (1, -1):  # also where the file is inside out
        turned = [(v, f[:, ::sense]) for v, f in tents]
        parted = repair(*join(*turned), "test", Repairs(largest_change="50 %"))
        assert components(parted.faces).max() == 2
    tents[1] = tents[1][0], tents[1][1][:, ::-1]
    with pytest.raises(GeometryError, match=r"has \d non-manifold edges|must not change by more than"):
        mended(join(*tents))
    n = 20
    turn = 2 * np.pi * np.arange(n) / n
    rim = [
        np.column_stack([(1 + s * np.cos(turn / 2)) * np.cos(turn), (1 + s * np.cos(turn / 2)) * np.sin(turn),
                         s * np.sin(turn / 2)]) for s in (-0.3, 0.3)
    ]  # fmt: skip
    points = np.concatenate(rim) * UM
    i, k = np.arange(n), (np.arange(n) + 1) % n
    low, high = np.where(k == 0, n, k), np.where(k == 0, 0, k + n)
    band = np.concatenate([np.column_stack([i, low, high]), np.column_stack([i, high, i + n])])
    with pytest.raises(GeometryError, match="one-sided part"):
        mended((points, band))
    sheet, up = grid(3)
    lid = sheet.copy()
    lid[5, 2] = 0  # both sides of a sheet with a rim of its own are no body
    with pytest.raises(GeometryError, match=r"proper faces are left|must be closed|without volume|non-manifold"):
        mended(join((sheet * UM, up), (lid * UM, up[:, ::-1])))


def test_a_pinched_neck_is_cut_open() -> None:
    """Bug: an edge where four faces meet, as remeshing leaves it, stops the run."""
    n = 24
    body = np.zeros((n + 2,) * 3, dtype=bool)
    body[1:-1, 1:-1, 1:-1] = True
    body[7:10, 7:10, -3:-1] = body[10:13, 10:13, -3:-1] = False  # two pits in the top that touch along an edge
    good = mended(voxel_surface(body, 1 / n))
    assert kinds(good)["faces at pinched edges cut out"] > 0
    assert good.measure()[0] == pytest.approx((body.sum() / n**3) * UM**3, abs=4 / n**3 * UM**3)
    assert len(boundary_loops(good)) == 0


def tent(angle: float) -> Surface:
    """A tetrahedron on the edge from the origin to (0, 0, 1) outward."""
    ends = [[np.cos(angle + t), np.sin(angle + t), 0.5] for t in (0.0, 0.9)]
    return np.array([[0, 0, 0], [0, 0, 1], *ends]) * UM, np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])


def voxel_surface(body: NDArray[np.bool_], size: float) -> Surface:
    """Sides of voxels that border on empty ones, outward, um."""
    parts = []
    square = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    for axis, up in product(range(3), (0, 1)):
        rim = body & ~np.roll(body, 1 - 2 * up, axis=axis)
        side = np.roll(square + np.array([0, 0, up]), axis + 1, axis=1)
        quads = (np.argwhere(rim)[:, None] + side).reshape(-1, 3)
        k = 4 * np.arange(len(quads) // 4)[:, None]
        faces = np.concatenate([k + np.array([0, 1, 2]), k + np.array([0, 2, 3])])
        parts.append((quads * size * UM, faces if up else faces[:, ::-1]))
    return join(*parts)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_order_of_the_file_changes_no_byte(seed: int) -> None:
    """Bug: merging, orienting, hole filling or sums depend on the order of faces, corners or vertices."""
    rng = np.random.default_rng(seed)
    v, f = join(cube(6, 2.0), cube(2, 0.5, (0.5, 0.5, 0.5)), cube(3, at=(4, 0, 0)))
    f = np.concatenate([np.delete(f, 17, axis=0), f[40:44]])
    f[100:130] = f[100:130, ::-1]
    noise = np.random.default_rng(7).uniform(-3e-14, 3e-14, v.shape)

    def surface(v: NDArray[np.float64], f: NDArray[np.int64]) -> CrackSurface:
        good = repair(v, f, "test")
        return CrackSurface.canonical(good.vertices, good.faces, repairs=tuple(good.repairs))

    order, places = rng.permutation(len(f)), rng.permutation(len(v))
    rank = np.argsort(places)
    start = rng.integers(0, 3, len(f))[:, None]
    mixed = np.take_along_axis(rank[f], (start + np.arange(3)) % 3, axis=1)[order]
    one, other = surface(v + noise, f), surface((v + noise)[places], mixed)
    assert one.sha256 == other.sha256
    assert one.repairs == other.repairs


def test_crossings_are_refused_with_places_where_nothing_may_be_rebuilt() -> None:
    """Bug: crossing walls reach the mesher, which fails with a message about a segment and a facet."""
    v, f = cube(4)
    pushed = v.copy()
    pushed[(v == np.array([0.5, 0.5, 1]) * UM).all(axis=1), 2] = -0.5 * UM  # the middle of the top, through the bottom
    pushed[(v == np.array([0.25, 0.5, 1]) * UM).all(axis=1), 2] = -0.5 * UM
    with pytest.raises(GeometryError, match=r"runs through itself: \d+ faces cross, near \(|must not change by"):
        repair(pushed, f, "test", Repairs(rebuild="never"))


def brute_crossings(v: NDArray[np.float64], f: NDArray[np.int64]) -> set[tuple[int, int]]:
    """Second route: solve for the point of every edge in the plane of every face."""
    found = set()
    for i, j in product(range(len(f)), repeat=2):
        if i == j:
            continue
        for k in range(3):
            ends = f[i, k], f[i, (k + 1) % 3]
            if set(ends) & set(f[j].tolist()):
                continue
            p, q, (a, b, c) = *v[list(ends)], v[f[j]]
            t, r, s = np.linalg.solve(np.column_stack([p - q, b - a, c - a]), p - a)
            if 0 < t < 1 and r > 0 and s > 0 and r + s < 1:
                found.add((min(i, j), max(i, j)))
    return found


@pytest.mark.parametrize("seed", range(4))
def test_crossings_agree_with_solving_every_pair(seed: int) -> None:
    """Bug: the tree of boxes loses pairs, or a sign is wrong."""
    rng = np.random.default_rng(seed)
    v = rng.random((40, 3))
    f = np.array([rng.choice(40, 3, replace=False) for _ in range(25)])
    f = np.concatenate([f, f[:5] + 40])
    v = np.concatenate([v, v * 0.01 + 0.5])  # sizes of very different magnitude
    assert {tuple(pair) for pair in crossing_faces(v, f).tolist()} == brute_crossings(v, f)


@pytest.mark.parametrize("seed", range(3))
def test_crossings_of_crumpled_bodies_agree_with_solving_every_pair(seed: int) -> None:
    """Bug: what is left out early, neighbours and faces on one side of a plane, crosses all the same."""
    v, f = sphere(1)
    rng = np.random.default_rng(seed)
    one = v + rng.normal(0, 0.35, v.shape)
    other = v[:, [1, 2, 0]] + rng.normal(0, 0.35, v.shape) + 0.2
    v, f = np.concatenate([one, other]), np.concatenate([f, f + len(one)])
    found = {tuple(pair) for pair in crossing_faces(v, f).tolist()}
    assert found == brute_crossings(v, f)
    shared = [len(set(f[i]) & set(f[j])) for i, j in found]
    assert {0, 1} <= set(shared), "no neighbours cross: the test shows nothing"


def test_touching_is_not_crossing_but_lying_on_each_other_is() -> None:
    """Bug: rounding makes faces of one plane cross; or a fold in one plane is missed."""
    v, f = grid(6)
    assert len(crossing_faces(v @ np.linalg.qr(np.random.default_rng(3).random((3, 3)))[0], f)) == 0
    square = np.array([[0.0, 0, 0], [2, 0, 0], [0, 2, 0], [0.3, 0.3, 0], [3, 0.4, 0], [0.4, 3, 0]])
    assert crossing_faces(square, np.array([[0, 1, 2], [3, 4, 5]])).tolist() == [[0, 1]]
    assert crossing_faces(square, np.array([[0, 1, 2], [1, 0, 3]])).tolist() == [[0, 1]]  # folded back along an edge
    on_top = np.concatenate([square[:3], [[0.5, 0.5, 0], [0.5, 0.5, 1], [0.6, 0.5, 1]]])
    assert len(crossing_faces(on_top, np.array([[0, 1, 2], [3, 4, 5]]))) == 0  # a corner stands on a face


def test_an_open_sheet_keeps_its_rim_and_only_that() -> None:
    """Bug: the rim of an interface sheet is filled, or a hole in it stays."""
    v, f = grid(20)
    sheet = repair(v * 20 * UM, np.delete(f, 210, axis=0), "sheet", open_sheet=True)
    assert kinds(sheet) == {"holes filled": 1}
    assert [len(loop) for loop in boundary_loops(sheet)] == [80]
    with pytest.raises(GeometryError, match="must be one sheet with one rim; it has 0 rims"):
        repair(*cube(3), "body", open_sheet=True)
    with pytest.raises(GeometryError, match="it has 2 rims, the inner ones at"):
        repair(v * UM, f[[k for k in range(len(f)) if k % 400 // 20 not in (9, 10)]], "cut", open_sheet=True)


def test_components_inside_and_volume() -> None:
    """Bug: parts that only share a corner count as one; a point is taken inside the wrong body."""
    v, f = join(cube(8), cube(8, at=(1, 1, 1)))
    good = mended((v, f))
    assert components(good.faces).max() == 1
    corners = good.vertices[good.faces]
    assert contains(corners, np.array([0.4, 0.3, 0.2]) * UM)
    assert not contains(corners, np.array([1.4, 0.3, 0.2]) * UM)
    assert volume(corners) == pytest.approx(2 * UM**3, rel=1e-3)  # the corner they touch in is parted
