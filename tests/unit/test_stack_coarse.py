"""Image stacks as coarse as the mesh, and walls of voxels that are meshed as they are."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError
from scipy.ndimage import gaussian_filter
from scipy.spatial import Delaunay

from fem_spall.case import Case, Mesh
from fem_spall.case_file import load_case, write_case
from fem_spall.crack import Block
from fem_spall.crack.image_stack import ImageStack
from fem_spall.crack.stack_bodies import find_bodies
from fem_spall.crack.stack_coarse import coarsened, factors_for, size_for
from fem_spall.crack.stack_grid import Grid, Image
from fem_spall.errors import LimitError
from fem_spall.mesh.embed import embed
from fem_spall.mesh.plane_faces import delaunay_faces
from fem_spall.mesh.remesh_mmg import fineness
from fem_spall.mesh.tagged_surface import TaggedSurface, facet_edges
from fem_spall.mesh.worker import mesh_case
from tests.solids import UM

type Voxels = NDArray[np.uint8]

NM = 1e-9
MARGIN = 4


def image_of(voxels: Voxels, edges: tuple[int, ...] = (100, 100, 100)) -> tuple[Image, Block]:
    """Voxels, by default of 100 nm, that fill a block, plating face at the end of z, with copies beyond its faces."""
    padded = np.pad(voxels, MARGIN, mode="edge")
    steps = np.array(edges) * NM
    grid = Grid(-MARGIN * steps, np.diag(steps), np.zeros(padded.shape[2]))
    nx, ny, nz = padded.shape
    seen = np.tile([0, ny], (nz, 1))
    return Image(padded, grid, seen, (0, nx), (0, nz)), Block(tuple(voxels.shape * steps))


def porous(shape: tuple[int, int, int], lithium: float, void: float, seed: int = 0) -> Voxels:
    """Three phases with walls a few voxels apart: parts of the volume that are lithium and void."""
    rng = np.random.default_rng(seed)
    one, other = (gaussian_filter(rng.normal(size=shape), 1.5, mode="wrap") for _ in range(2))
    voxels = np.zeros(shape, np.uint8)
    voxels[one > np.quantile(one, 1 - lithium)] = 2
    free = voxels == 0
    voxels[free & (other > np.quantile(other[free], 1 - void / (1 - lithium)))] = 1
    return voxels


@pytest.mark.parametrize(
    ("edges", "size", "expected"),
    [
        ((100, 100, 100), 199, (1, 1, 1)),
        ((100, 100, 100), 200, (2, 2, 2)),
        ((125, 127, 150), 250, (1, 1, 1)),  # the longest would not fit twice
        ((20, 20, 50), 100, (5, 5, 2)),
        ((100, 100, 100), 0, (1, 1, 1)),
    ],
)
def test_thin_voxels_become_as_coarse_as_the_mesh(
    edges: tuple[int, ...], size: float, expected: tuple[int, int, int]
) -> None:
    """Bug: coarser than the mesh, which loses what it could hold; or less compact than before."""
    image, block = image_of(porous((24, 24, 24), 0.15, 0.3), edges)
    assert factors_for(image, block, size * NM) == expected


def ball(radius: float, size: int) -> Voxels:
    """A ball of lithium in the middle; its mean opening is two thirds of its radius."""
    places = np.indices((size, size, size)) - (size - 1) / 2
    return ((places**2).sum(axis=0) < radius**2).astype(np.uint8) * np.uint8(2)


def test_thick_bodies_keep_their_voxels() -> None:
    """Bug: a ball ten cells in radius loses the accuracy that its image has."""
    image, block = image_of(ball(20, 50))
    assert factors_for(image, block, 400 * NM) == (1, 1, 1)
    assert factors_for(image, block, 500 * NM) == (5, 5, 5)


def test_the_electrode_beyond_the_block_makes_no_body_thick() -> None:
    """Bug: a thin crack under the image of a thick electrode is taken for thick, and fails as a mesh."""
    voxels = np.zeros((20, 20, 60), np.uint8)
    voxels[:, 9:11, 10:40] = 2
    voxels[:, :, 40:] = 2
    image, block = image_of(voxels)
    low = Block((block.size[0], block.size[1], 40 * 100 * NM))
    assert factors_for(image, low, 200 * NM) == (2, 2, 2)


def test_the_size_of_the_mesh_follows_the_image() -> None:
    """Bug: no size without the user, or one that takes millions of cells for what is thick."""
    image, block = image_of(porous((24, 24, 24), 0.15, 0.3), (100, 125, 150))
    assert size_for(image, block, 3e6) == pytest.approx(300 * NM)
    thick, block = image_of(ball(40, 84))
    assert size_for(thick, block, 3e6) == pytest.approx(0.1 * 2 / 3 * 40 * 100 * NM, rel=0.03)
    wall = 4 * math.pi * (40 * 100 * NM) ** 2
    assert size_for(thick, block, 3000) == pytest.approx(math.sqrt(8 * 1.5 * wall / 1000), rel=0.03)


def test_a_case_takes_its_size_from_its_image_and_says_so(tmp_path: Path) -> None:
    """Bug: what was taken is known to nobody, or written so that it cannot be read again."""
    given = case_of(tmp_path, porous((24, 24, 24), 0.15, 0.3))
    free = given.model_copy(update={"mesh": Mesh.model_validate({"size_max": "1 um"})})
    sized = free.sized()
    assert sized.mesh.size_min == pytest.approx(200 * NM)
    assert free.expanded().mesh == sized.mesh
    assert {crack.coarsen for crack in free.expanded().cracks} == {(2, 2, 2)}  # type: ignore[union-attr]
    assert given.sized() is given
    small = free.model_copy(update={"mesh": Mesh.model_validate({"size_max": "120 nm"})})
    assert small.sized().mesh.size_min == pytest.approx(120 * NM)
    for case in (free, sized):
        (tmp_path / "again.yaml").write_text(write_case(case))
        assert load_case(tmp_path / "again.yaml") == case
    assert "size_min: auto" in write_case(free)
    with pytest.raises(ValidationError, match="size_min is missing"):
        Case.model_validate(free.model_dump(mode="json") | {"cracks": []})


def test_thick_walls_of_small_voxels_are_not_too_many(tmp_path: Path) -> None:
    """Bug: whatever size of the mesh is asked for, each voxel of a wall that stays as it is counts as eight cells."""
    thick = ball(20, 50)
    thick[0, 0, 0] = 1
    case_of(tmp_path, thick, max_cells=8_000, size_min="400 nm").expanded()
    with pytest.raises(LimitError, match="faces of voxels"):
        case_of(tmp_path, thick, max_cells=2_000, size_min="400 nm").expanded()


@pytest.mark.parametrize("join", [False, True])
def test_every_phase_keeps_its_volume(join: bool) -> None:
    """Bug: a vote of the majority: a phase thinner than two voxels disappears."""
    voxels = porous((48, 48, 48), 0.12, 0.4)
    image, block = image_of(voxels)
    coarse, _ = coarsened(image, block, (2, 2, 2), join)
    inside = coarse.inside(block)
    assert inside.sum() == 24**3
    for phase in (2, 1):
        given = np.count_nonzero(voxels == phase)
        kept = np.count_nonzero(inside & (coarse.phases == phase))
        assert kept * 8 == pytest.approx(given, rel=0.02)
    vote = sum(np.count_nonzero(part) for part in [
        (voxels == 2).reshape(24, 2, 24, 2, 24, 2).sum(axis=(1, 3, 5)) > 4
    ]) * 8  # fmt: skip
    assert abs(vote / np.count_nonzero(voxels == 2) - 1) > 0.03, "the majority keeps it too: the test shows nothing"


def test_coarsening_moves_nothing() -> None:
    """Bug: large voxels sit a voxel of the image or half a large one off; or the last, incomplete one is lost."""
    voxels = np.zeros((31, 30, 33), np.uint8)
    voxels[9:21, 6:24, 9:27] = 2
    image, block = image_of(voxels)
    coarse, _ = coarsened(image, block, (3, 3, 3), False)
    centre = [
        float((part * (coarse.phases == 2)).sum() / np.count_nonzero(coarse.phases == 2))
        for part in (sum(coarse.grid.coordinate(axis, coarse.phases.shape)) for axis in range(3))
    ]
    assert np.array(centre) == pytest.approx(np.array([15, 15, 18]) * 100 * NM, abs=45 * NM)


def test_the_image_says_what_hangs_on_the_electrode() -> None:
    """Bug: a wire thinner than the mesh is cut, and lithium at the electrode's potential takes one of its own."""
    voxels = np.zeros((24, 24, 36), np.uint8)
    voxels[2:10, 2:10, 8:16] = voxels[14:22, 14:22, 8:16] = 2
    voxels[5, 5, 16:36] = 2  # one voxel wide
    image, block = image_of(voxels)
    coarse, hanging = coarsened(image, block, (2, 2, 2), False)
    keys: dict[str, Any] = {"join": False, "islands": 0.0, "most": 9, "where": "x"}
    alone = find_bodies(
        Image(coarse.phases.copy(), coarse.grid, coarse.seen, coarse.columns, coarse.slices), block, **keys
    )
    assert "isolated_2" in alone.parts, "the wire is still there: the test shows nothing"
    bodies = find_bodies(coarse, block, hanging=hanging, **keys)
    assert set(bodies.parts) == {"lithium", "isolated_1"}
    assert bodies.volumes["isolated_1"] == pytest.approx(8**3 * 1e-21, rel=0.35)


def case_of(folder: Path, voxels: Voxels, **keys: Any) -> Case:
    """A case whose block is as long as the stack and half as long again."""
    np.save(folder / "a.npy", voxels)
    size = [f"{n * 100} nm" for n in voxels.shape[:2]] + [f"{voxels.shape[2] * 150} nm"]
    crack = {"name": "c", "kind": "image_stack", "file": folder / "a.npy", "axes": "xyz", "voxel": ["100 nm"] * 3,
             "labels": {"lithium": [2], "void": [1]},
             "place": {"shift": ["0 nm", "0 nm", f"{voxels.shape[2] * 50} nm"]}}  # fmt: skip
    mesh = {"size_min": "100 nm", "size_max": "500 nm"} | keys
    return Case.model_validate({
        "version": 1, "name": "c", "electrolyte": {"size": size, "conductivity": "1 mS/cm"},
        "electrodes": {"counter": {"potential": "50 mV"}}, "cracks": [ImageStack.model_validate(crack)], "mesh": mesh,
    })  # fmt: skip


def necked() -> Voxels:
    """Lithium and a void with a neck of electrolyte one voxel wide between them at the plating face, and one inside."""
    voxels = np.zeros((20, 20, 16), np.uint8)
    voxels[3:10, 4:14, 4:16] = 2
    voxels[11:17, 4:14, 7:16] = 1
    voxels[8:13, 12:18, 9:12] = 1
    voxels[10, 8, 12:16] = 1
    return voxels


def test_a_neck_of_one_voxel_at_the_plating_face_is_meshed_at_once(tmp_path: Path) -> None:
    """Bug: remeshing folds what is one triangle wide, most of all at faces of the block: edges get pinched."""
    case = case_of(tmp_path, necked()).expanded()
    surfaces = {crack.name: crack.surface(case.block) for crack in case.cracks}  # type: ignore[union-attr]
    mesh = mesh_case(case, surfaces)
    assert mesh.info["attempt"] == 1
    assert mesh.info["min_quality"] > 0.05
    assert set(surfaces) == {"c", "c_void"}
    # The walls are those of the voxels, smoothed with volumes kept.
    assert mesh.info["flat_cell_volume_m3"] == pytest.approx(
        20 * 20 * 24 * 1e-21 - np.count_nonzero(necked()) * 1e-21, rel=0.01
    )
    for name in ("c", "c_void"):
        assert mesh.info["distances"][name]["largest_m"] < 1e-12


def test_what_no_current_reaches_is_no_wall(tmp_path: Path) -> None:
    """Bug: lithium shut in by a void is refused as bordering nothing; a pocket between two lithiums joins them."""
    voxels = np.zeros((20, 20, 20), np.uint8)
    voxels[1:9, 4:16, 4:20] = 2  # on the electrode
    voxels[3:6, 8:12, 8:12] = 0  # a pocket of electrolyte in it
    voxels[9:19, 4:16, 4:14] = 1
    voxels[12:16, 8:12, 7:11] = 2  # shut in by the void
    case = case_of(tmp_path, voxels).expanded()
    assert [crack.name for crack in case.cracks] == ["c", "c_void"]
    surfaces = {crack.name: crack.surface(case.block) for crack in case.cracks}  # type: ignore[union-attr]
    told = {one.kind.split()[0]: one for one in surfaces["c"].repairs}
    assert told["pieces"].volume_change == pytest.approx(3 * 4 * 4 * 1e-21)
    assert told["isolated"].volume_change == pytest.approx(-4 * 4 * 4 * 1e-21)
    boundary = embed(case.block, surfaces, frozenset({"c_void"}), UM)
    assert not boundary.repairs, "nothing left for the mesh to cut off"
    voxels[voxels == 1] = 0
    voxels[3:6, 8:12, 8:12] = 1  # now a void within lithium: no wall either
    assert [crack.name for crack in case_of(tmp_path, voxels).expanded().cracks] == ["c", "c_isolated_1"]


def test_coarse_phases_of_a_porous_stack_are_meshed_at_once(tmp_path: Path) -> None:
    """Bug: a three-phase electrode, thin everywhere, never becomes a mesh, or only by millions of cells."""
    case = case_of(tmp_path, porous((40, 40, 40), 0.15, 0.4), size_min="200 nm").expanded()
    assert {crack.coarsen for crack in case.cracks} == {(2, 2, 2)}  # type: ignore[union-attr]
    mesh = mesh_case(case, {crack.name: crack.surface(case.block) for crack in case.cracks})  # type: ignore[union-attr]
    assert (mesh.info["attempt"], mesh.info["mesher"]) == (1, "gmsh")
    assert mesh.info["min_quality"] > 0.05
    assert mesh.info["cells"] < 40_000


def test_too_many_cells_are_refused_with_a_size_that_works(tmp_path: Path) -> None:
    """Bug: minutes of smoothing, then hours of meshing, then a time limit; or a cure that is refused as well."""
    voxels = porous((40, 40, 40), 0.15, 0.4)
    case = case_of(tmp_path, voxels, max_cells=20_000)
    with pytest.raises(
        LimitError, match=r"faces of voxels, which take about [\d.e+]+ cells; allowed are 2e\+04"
    ) as told:
        case.expanded()
    size = told.value.cure.split("size_min: ")[1].split(" nm")[0]
    assert case_of(tmp_path, voxels, max_cells=20_000, size_min=f"{size} nm").expanded().cracks


def test_faces_of_the_block_cut_walls_along_edges(tmp_path: Path) -> None:
    """Bug: a face that cuts triangles anywhere leaves pieces as small as it likes."""
    case = case_of(tmp_path, porous((24, 24, 24), 0.15, 0.4)).expanded()
    surfaces = {crack.name: crack.surface(case.block) for crack in case.cracks}  # type: ignore[union-attr]
    boundary = embed(case.block, surfaces, frozenset({"c_void"}), UM)
    edges, index = facet_edges(boundary.faces)
    lengths = np.linalg.norm(np.diff(boundary.vertices[edges], axis=1)[:, 0], axis=1)
    assert lengths.min() > 0.01
    assert np.bincount(index.ravel()).max() == 2, "no film without volume where lithium and void touch"
    assert 0.6 < fineness(boundary, 0.1) < 1.1


def test_plane_faces_become_delaunay() -> None:
    """Bug: slivers of the boolean stay on the block's faces, and flat cells on them."""
    rng = np.random.default_rng(1)
    points = np.concatenate([rng.random((60, 2)), [[0, 0], [1, 0], [0, 1], [1, 1]]])
    fan = Delaunay(points * [1, 30]).simplices.astype(np.int64)  # Delaunay of a stretched plane: slivers of this one
    corners = points[fan]
    turn = np.linalg.det(corners[:, 1:] - corners[:, :1]) < 0
    fan[turn] = fan[turn][:, ::-1]
    names = {name: k for k, name in enumerate(("-x", "+x", "-y", "+y", "-z", "+z"), 1)}
    box = np.array([[0.0, 0, 0], [1, 1, 1]])
    surface = TaggedSurface(
        np.column_stack([points, np.ones(len(points))]), fan, np.full(len(fan), 6, np.int32), names, box, 1.0
    )
    better = delaunay_faces(surface).faces

    def smallest(faces: NDArray[np.int64]) -> float:
        sides = points[faces] - points[np.roll(faces, 1, axis=1)]
        sides /= np.linalg.norm(sides, axis=2, keepdims=True)
        return math.degrees(np.arccos(np.clip(-(sides * np.roll(sides, -1, axis=1)).sum(axis=2), -1, 1)).min())

    best = {tuple(sorted(t)) for t in Delaunay(points).simplices.tolist()}
    assert {tuple(sorted(t)) for t in better.tolist()} == best
    assert smallest(better) >= smallest(fan)
