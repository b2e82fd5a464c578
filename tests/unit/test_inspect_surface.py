"""Inspection: duplicate bodies, thin places, the block, the unit; and what it writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fem_spall.crack import Block
from fem_spall.crack.clearance import clearance
from fem_spall.crack.crossings import crossing_faces
from fem_spall.crack.inspect_surface import Inspection, inspect_surface
from fem_spall.errors import GeometryError, OutputError
from fem_spall.output.marked_surface import draw_marked, write_marked

type Floats = NDArray[np.float64]
type Ints = NDArray[np.int64]

MESHES = Path(__file__).parents[2] / "meshes"
CORNERS = np.array([[x, y, z] for x in (0.0, 1) for y in (0.0, 1) for z in (0.0, 1)])
BOX = np.array([[0, 1, 3], [0, 3, 2], [4, 7, 5], [4, 6, 7], [0, 4, 5], [0, 5, 1],
                [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]])  # fmt: skip


def box(low: tuple[float, float, float], size: tuple[float, float, float]) -> Floats:
    return np.array(low) + CORNERS * size


def several(*bodies: Floats) -> tuple[Floats, Ints]:
    return np.concatenate(bodies), np.concatenate([BOX + 8 * k for k in range(len(bodies))])


def inspected(folder: Path, vertices: Floats, faces: Ints, **options: object) -> Inspection:
    path = folder / "a.obj"
    rows = [f"v {x!r} {y!r} {z!r}" for x, y, z in vertices.tolist()] + [f"f {a} {b} {c}" for a, b, c in faces + 1]
    path.write_text("\n".join(rows) + "\n")
    return inspect_surface(path, "um", **options)  # type: ignore[arg-type]


def test_thin_gaps_and_walls_are_told_apart_and_measured() -> None:
    """Bug: the electrolyte between two bodies is taken for their own thickness, or measured between corners."""
    # A plate 0.1 thick, and 0.02 above it a body whose corners lie above the middle of the plate's large faces.
    vertices, faces = several(box((0, 0, 0), (3, 3, 0.1)), box((1, 1.2, 0.12), (0.5, 0.5, 2)))
    found = clearance(vertices, faces, 0.2)
    gap, wall = found.gap < np.inf, found.wall < np.inf
    assert found.gap[gap] == pytest.approx(0.02)
    assert found.wall[wall] == pytest.approx(0.1)
    normals = np.cross(vertices[faces[:, 1]] - vertices[faces[:, 0]], vertices[faces[:, 2]] - vertices[faces[:, 0]])
    upward, lower_body = normals[:, 2] > 1e-9, np.arange(len(faces)) < 12
    assert set(np.flatnonzero(wall)) == set(np.flatnonzero(lower_body & (np.abs(normals[:, 2]) > 1e-9)))
    assert set(np.flatnonzero(gap & ~lower_body)) == set(np.flatnonzero(~lower_body & (normals[:, 2] < -1e-9)))
    assert (gap & lower_body).sum() >= 1
    assert not (gap & lower_body & ~upward).any()


def test_gaps_are_found_whatever_the_sense_of_the_file(tmp_path: Path) -> None:
    """Bug: in a file that is inside out every gap is a wall."""
    vertices, faces = several(box((0, 0, 0), (3, 3, 3)), box((0, 0, 3.05), (3, 3, 3)))
    for turned in (faces, faces[:, ::-1]):
        report = inspected(tmp_path, vertices, turned, thin=0.1e-6).report
        assert report["thin_gaps"]["count"] == 4
        assert report["thin_gaps"]["narrowest_um"] == pytest.approx(0.05)
        assert report["thin_gaps"]["below_um"] == pytest.approx(0.1)
        assert report["thin_walls"]["count"] == 0
    assert inspected(tmp_path, vertices, faces, thin=0.04e-6).report["thin_gaps"]["count"] == 0


def test_duplicate_bodies_are_found_exact_or_nearly_so(tmp_path: Path) -> None:
    """Bug: a body that was exported twice doubles the lithium, or makes every edge non-manifold without a reason."""
    one, other, near = box((0, 0, 0), (2, 3, 4)), box((9, 0, 0), (1, 1, 1)), box((9, 0.0002, 0), (1, 1, 1))
    assert inspected(tmp_path, *several(other, other, other)).report["duplicate_bodies"]["count"] == 2
    report = inspected(tmp_path, *several(one, one, other, near)).report
    assert report["duplicate_bodies"]["count"] == 2
    assert np.allclose(report["duplicate_bodies"]["at_um"], [[1, 1.5, 2], [9.5, 0.5, 0.5]], atol=1e-3)
    assert report["duplicate_faces"]["count"] == 12
    apart = inspected(tmp_path, *several(one, other, box((11, 0, 0), (1, 1, 1)))).report
    assert apart["duplicate_bodies"]["count"] == 0
    assert [body["volume_um3"] for body in apart["bodies"]] == pytest.approx([24, 1, 1])
    assert apart["components"] == 3


def test_the_box_is_compared_with_the_block(tmp_path: Path) -> None:
    """Bug: a surface that leaves the block is not said to, or the wrong side is named."""
    block = Block((20e-6, 30e-6, 50e-6))
    report = inspected(tmp_path, *several(box((15, 2, 45), (7, 3, 5.5))), block=block).report
    assert report["beyond_block_um"] == pytest.approx({"+x": 2, "+z": 0.5})
    assert report["placement"] == "touches the block"
    assert "unit_doubt" not in report
    aside = inspected(tmp_path, *several(box((25, 2, 45), (7, 3, 5.5))), block=block).report
    assert "it lies beside it" in aside["placement"]


@pytest.mark.parametrize(
    ("unit", "said"),
    [
        ("um", None),
        ("mm", "1000 times too large: wrong unit? with unit um it is 12 um long"),
        ("nm", "1000 times too small: wrong unit? with unit um it is 12 um long"),
        ("inch", "2.54e+04 times too large: wrong unit? with unit um it is 12 um long"),
    ],
)
def test_a_wrong_unit_is_doubted_with_the_right_one(tmp_path: Path, unit: str, said: str | None) -> None:
    """Bug: a crack of twelve millimetres passes without a word."""
    path = tmp_path / "a.obj"
    inspected(tmp_path, *several(box((0, 0, 0), (12, 3, 4))))
    for block in (None, Block((20e-6, 30e-6, 50e-6))):
        assert inspect_surface(path, unit, block).report.get("unit_doubt") == said  # type: ignore[arg-type]


def test_marks_reach_paraview(tmp_path: Path) -> None:
    """Bug: the marks belong to other faces than those that are written."""
    import pyvista

    vertices, faces = several(box((0, 0, 0), (2, 2, 2)), box((1, 1, 1), (2, 2, 2)), box((9, 9, 9), (1, 1, 1)))
    found = inspected(tmp_path, vertices, np.delete(faces, [30], axis=0))
    mesh = pyvista.read(write_marked(tmp_path / "a.vtp", found))
    assert mesh.n_cells == 35
    middle = mesh.cell_centers().points
    crossing = mesh.cell_data["self_intersecting_faces"] == 1
    assert (middle[crossing] < 4).all()
    open_edges = mesh.cell_data["open_edges"] == 1
    assert open_edges.sum() == 3
    assert (middle[open_edges] > 8).all()
    numbers = dict(entry.split()[::-1] for entry in mesh.field_data["fault_numbers"])
    assert set(mesh.cell_data["fault"][open_edges]) == {int(numbers["open_edges"])}
    assert len(np.unique(mesh.cell_data["body"])) == 3
    assert found.report["self_intersecting_faces"]["count"] == crossing.sum() > 0


def test_the_picture_shows_the_colour_of_a_fault(tmp_path: Path) -> None:
    """Bug: the picture is empty, or the faults are drawn behind the surface or not at all."""
    from matplotlib.image import imread

    vertices, faces = several(box((0, 0, 0), (2, 2, 2)))
    pictures = []
    for kept in (faces, np.delete(faces, [10], axis=0)):
        picture = imread(draw_marked(tmp_path / "a.png", found := inspected(tmp_path, vertices, kept)))[..., :3]
        red, green, blue = np.moveaxis(picture, 2, 0)
        pictures.append(((red > 0.5) & (green > 0.2) & (green < 0.7 * red) & (blue < 0.3 * red)).mean())  # orange
    assert pictures[0] == 0
    assert pictures[1] > 0.01
    first = (tmp_path / "a.png").read_bytes()
    draw_marked(tmp_path / "a.png", found)
    assert (tmp_path / "a.png").read_bytes() == first
    with pytest.raises(OutputError, match="cannot be written"):
        draw_marked(tmp_path / "none" / "a.png", found)


def test_a_surface_on_one_point_or_of_repeated_corners_is_still_described(tmp_path: Path) -> None:
    """Bug: a division by the size of nothing is a traceback, or the picture is."""
    for vertices in (np.zeros((8, 3)), CORNERS * [1, 0, 0], CORNERS * [1e-9, 1e-9, 0]):
        found = inspected(tmp_path, vertices, BOX)
        assert found.report["refusal"] is not None
        draw_marked(tmp_path / "a.png", found)
        write_marked(tmp_path / "a.vtp", found)


def test_boxes_that_cross_on_their_diagonals_are_found(tmp_path: Path) -> None:
    """Bug: an edge exactly through the diagonal of a rectangle runs through neither of its triangles."""
    report = inspected(tmp_path, *several(box((0, 0, 0), (2, 2, 2)), box((1, 1, 1), (2, 2, 2)))).report
    assert report["self_intersecting_faces"]["count"] >= 6  # three faces of each are cut
    assert report["refusal"] is None
    assert any("united" in one["kind"] for one in report["repairs"])


def test_the_search_for_crossings_ends(tmp_path: Path) -> None:
    """Bug: a file of random triangles, or of long slivers, keeps the program busy for hours."""
    rng = np.random.default_rng(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fem_spall.crack.crossings.ENOUGH", 100)
        patch.setattr("fem_spall.crack.crossings.CHUNK", 1000)
        pairs = crossing_faces(rng.random((1500, 3)), np.arange(1500).reshape(-1, 3))
    assert 100 <= len(pairs) < 5_000  # of some 35 000
    count = 300
    angle = 2 * np.pi * np.arange(count) / count
    rim = np.column_stack([np.cos(angle), np.sin(angle), np.zeros(count)])
    k = np.arange(count)
    fan = np.column_stack([np.full(count, count), k, (k + 1) % count])
    vertices = np.vstack([rim, [[0, 0, 1]]])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fem_spall.crack.crossings.MORE_PAIRS", 0)
        patch.setattr("fem_spall.crack.crossings.PAIRS_A_FACE", 100)
        with pytest.raises(GeometryError, match="too many lie close to each other; remesh it"):
            crossing_faces(vertices, fan)
        report = inspected(tmp_path, vertices, fan).report
    assert "too many lie close" in report["self_intersecting_faces"]["undecided"]
