"""The pictures of a run: where they look, what they say, and that a dead child process costs no run."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import pyvista as pv

from fem_spall.output import pictures
from fem_spall.output.finished import Finished, area_percentile
from fem_spall.output.raster import Camera, visible
from fem_spall.output.section import cut
from fem_spall.output.wording import convenient, length_text, rounded, with_error
from tests.result_folder import CENTRE, RADIUS, result, write_result_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_result_folder(tmp_path_factory.mktemp("run"), quadratic=True)


def test_all_three_pictures_are_drawn(folder: Path) -> None:
    # Bug caught: a picture silently left out, or drawn blank.
    from matplotlib.image import imread

    drawn = pictures.draw_pictures(folder)
    assert drawn.warnings == []
    assert [path.name for path in drawn.files] == ["section.png", "crack.png", "flux_distribution.png"]
    for path in drawn.files:
        image = imread(path)[..., :3]
        assert min(image.shape[:2]) > 600
        assert image.std() > 0.1
    assert not list((folder / "figures").glob(".*"))


def test_without_fields_the_rest_is_drawn_and_the_reason_told(tmp_path: Path) -> None:
    # Bug caught: one missing file taking all pictures, or the run, along.
    drawn = pictures.draw_pictures(write_result_folder(tmp_path, fields=False))
    assert [path.name for path in drawn.files] == ["flux_distribution.png"]
    assert "section.png was not drawn: the run wrote no fields" in drawn.warnings[0]
    assert "crack.png was not drawn: the run wrote no lithium surface" in drawn.warnings[1]


def fake_interpreter(tmp_path: Path, body: str) -> str:
    script = tmp_path / "interpreter"
    script.write_text(f"#!{sys.executable}\nimport os, signal, sys, time\n{body}\n")
    script.chmod(0o755)
    return str(script)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "ended by signal 11"),
        ("time.sleep(60)", "was stopped: it took more than 1 s"),
        ("sys.exit('no memory left')", r"failed \(exit code 1\): no memory left"),
    ],
)
def test_dead_child_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, reason: str) -> None:
    # Bug caught: VTK ends by signal 11 on a server and the finished solve is lost with it.
    printed = """print('{"file": "figures/section.png"}', flush=True); """
    monkeypatch.setattr(pictures.sys, "executable", fake_interpreter(tmp_path, printed + body))
    drawn = pictures.draw_pictures(tmp_path, time_limit=1)
    assert drawn.files == [tmp_path / "figures" / "section.png"]
    assert len(drawn.warnings) == 1
    assert re.search(reason, drawn.warnings[0])
    assert "Drawn before that: section.png" in drawn.warnings[0]


def test_section_goes_through_the_hottest_point_and_matches_the_exact_field(folder: Path) -> None:
    # Bug caught: a section at the wrong place, or with x and y swapped.
    section = cut(Finished.read(folder))
    assert section is not None
    assert section.position == pytest.approx(CENTRE[section.axis])
    corner = section.points[section.triangles]
    a, b = corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]
    area = 0.5 * np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum()
    width = (20.0, 30.0)[1 - section.axis]
    assert area == pytest.approx(width * 50 - np.pi * RADIUS**2 / 2, rel=0.005)
    assert section.potential.max() == pytest.approx(0.05, rel=0.01)
    assert 2.2 < section.cap < 3.0  # the exact largest value is 3, at one point
    assert np.ptp(section.outline[..., 1]) == pytest.approx(RADIUS, rel=0.01)


def test_without_a_lithium_crack_the_section_shows_the_void(tmp_path: Path) -> None:
    # Bug caught: a section through some corner of the flat electrode, past the pore.
    folder = write_result_folder(tmp_path)
    surface = pv.read(folder / "crack_surface.vtp")
    flat = surface.extract_cells(np.flatnonzero(surface.cell_data["surface"] == 0)).extract_surface(algorithm=None)
    flat.field_data["surface_names"] = np.array(["+z"])
    flat.save(folder / "crack_surface.vtp")
    record = result()
    record["metrics"]["fef_r250nm"]["place_m"] = [0.0, 0.0, 50e-6]
    record["metrics"]["max_field_on_mesh"]["place_m"] = [14e-6, 15e-6, 47e-6]
    (folder / "result.json").write_text(json.dumps(record))
    section = cut(Finished.read(folder))
    assert section is not None
    assert (section.axis, section.position) == (1, pytest.approx(15.0))  # through the middle, not x = 14 um


def record_with(faces_of: pv.PolyData, place: list[float]) -> Finished:
    record = result()
    for entry in record["metrics"].values():
        if "place_m" in entry:
            entry["place_m"] = [v * 1e-6 for v in place]
    finished = Finished(Path("nowhere"), record)
    finished.__dict__["lithium"] = faces_of
    return finished


@pytest.mark.parametrize(("normal", "axis"), [("y", 0), ("x", 1)])
def test_section_is_taken_across_a_flat_crack(normal: str, axis: int) -> None:
    # Bug caught: cutting a penny crack along its own plane shows lithium and no tip.
    direction = {"x": (1, 0, 0), "y": (0, 1, 0)}[normal]
    disc = pv.Disc(center=(10, 15, 50), inner=0, outer=5, normal=direction, r_res=20, c_res=60).triangulate()
    disc = disc.clip("z", origin=(0, 0, 49.999)).triangulate()
    disc.cell_data["surface"] = np.zeros(disc.n_cells, dtype=int)
    disc.field_data["surface_names"] = np.array(["penny"])
    assert record_with(disc, [10, 15, 45]).section_axis == axis


def test_headline_is_the_length_nearest_to_250_nm() -> None:
    # Bug caught: the headline taken from a refused length, or from the first in the file.
    assert Finished(Path(), result()).hottest.metric == "fef_r250nm"  # type: ignore[union-attr]
    record = result()
    del record["metrics"]["fef_r250nm"]
    assert Finished(Path(), record).hottest.metric == "fef_r500nm"  # type: ignore[union-attr]
    record["metrics"] = {"fef_r100nm": record["metrics"]["fef_r100nm"]}
    assert Finished(Path(), record).hottest is None


def test_window_stays_inside_the_block_and_holds_the_crack(folder: Path) -> None:
    # Bug caught: a picture of the whole block in which a small crack cannot be seen.
    window = Finished.read(folder).window
    assert window == pytest.approx(np.array([[2.0, 18.0], [7.0, 23.0], [42.0, 50.0]]), abs=0.01)


def test_percentile_counts_area_not_triangles() -> None:
    # Bug caught: a thousand tiny triangles at the tip setting the colour scale.
    values, areas = np.append(np.full(1000, 50.0), 1.0), np.append(np.full(1000, 1e-9), 1.0)
    assert area_percentile(values, areas, 99.9) == 1.0


def test_nearest_triangle_is_seen() -> None:
    # Bug caught: the far side of the crack drawn over the near one.
    square = np.array([[0, 0, 0], [40, 0, 0], [40, 40, 0], [0, 40, 0]], dtype=float)
    points = np.vstack([square, [[10, 10, 5], [20, 10, 5], [10, 20, 5]]])
    shown, weights = visible(points, np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6]]), 50, 50)
    assert (shown >= 0).sum() == 1600  # a square of 40 pixels, no holes on the diagonal
    assert (shown == 2).sum() == pytest.approx(50, abs=6)
    assert shown[12, 12] == 2
    assert weights[shown >= 0].sum(axis=1) == pytest.approx(1)
    assert weights[12, 12] @ points[[4, 5, 6], 0] == pytest.approx(12.5)


def test_camera_is_right_handed() -> None:
    # Bug caught: a mirrored crack.
    for camera in (Camera(-60, -30), Camera(-90, -90), Camera(10, 45)):
        assert np.linalg.det(camera.axes) == pytest.approx(1)
    assert Camera(-90, 0).project(np.array([[1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]])) == pytest.approx(np.eye(3))


def test_numbers_read_well() -> None:
    # Bug caught: 5.0999999 ± 0.05, 1.2e-09 A, a factor of ten in a unit.
    assert with_error(5.1234, 0.05) == ("5.123", "0.050")
    assert with_error(12345.6, 23.4) == ("12\u202f346", "23")
    assert with_error(3.0, float("nan")) == ("3.000", "")
    assert rounded(1.234e-9) == "1.234 × 10⁻⁹"
    assert rounded(-0.00123456, 3) == "−0.00123"
    assert convenient("A/m^2") == ("mA/cm²", 0.1)
    assert convenient("ohm*m^2") == convenient("ohm m^2") == ("Ω cm²", 1e4)
    assert length_text(0.25) == "250 nm"
    assert length_text(1.5) == "1.5 µm"
    assert convenient("furlong") == ("furlong", 1.0)
