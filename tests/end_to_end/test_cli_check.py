"""``check`` and ``inspect`` on real files: everything short of meshing."""

from __future__ import annotations

import json
import math
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fem_spall.case_file import load_case
from fem_spall.errors import GeometryError
from fem_spall.estimate import estimate, measure
from tests.amira_writer import surface_file

ROOT = Path(__file__).parents[2]


def fem_spall(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fem_spall", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT)


def test_check_describes_a_case_with_files() -> None:
    done = fem_spall("check", "configs/crack_and_pores.yaml")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"block +20 x 30 x 50 um, cross-section 600 um\^2", done.stdout)
    # The crack runs 0.5 um through the plating face: less of it is in the block than in the file (142.4 um^3).
    row = re.search(r"spall +surface_file +lithium +fixed potential +([\d.]+) +([\d.]+) ", done.stdout)
    assert row is not None
    assert 120 < float(row[1]) < 142
    assert re.search(r"pores +surface_file +void +no flux +9\.116 ", done.stdout)  # inside, as in the file
    assert "spall: 42,884 triangles, nothing repaired" in done.stdout
    assert re.search(r"expected, .* cells, .* unknowns, [\d.]+ GB", done.stdout)


@pytest.mark.parametrize(
    ("crack", "volume", "area"),
    [
        # Half an ellipsoid, 2/3 pi a b c; both faces of half a disc; half a prolate spheroid; a ball; half a ball that
        # hangs out of a side wall; half a cylinder.
        ("{name: c, kind: penny, centre: [10 um, 15 um], radius: 5 um, opening: 2 um}", 2 / 3 * math.pi * 25, None),
        ("{name: c, kind: penny, centre: [10 um, 15 um], radius: 5 um}", 0.0, math.pi * 25),
        (
            "{name: c, kind: spheroid, centre: [10 um, 15 um], depth: 6 um, radius: 3 um}",
            2 / 3 * math.pi * 54,
            math.pi * 9 * (1 + 6 / (3 * math.sqrt(0.75)) * math.asin(math.sqrt(0.75))),
        ),
        ("{name: c, kind: pore, centre: [10 um, 15 um, 25 um], radius: 3 um}", 36 * math.pi, 36 * math.pi),
        ("{name: c, kind: pore, centre: [0 um, 15 um, 25 um], radius: 3 um}", 18 * math.pi, 18 * math.pi),
        (
            "{name: c, kind: blade, position: 10 um, depth: 4 um, opening: 8 um}",
            math.pi * 16 / 2 * 30,
            math.pi * 4 * 30,
        ),
        (
            "{name: c, kind: blade, position: 10 um, depth: 4 um, opening: 8 um, profile: rectangle}",
            32 * 30,
            16 * 30,
        ),
        ("{name: c, kind: patch, centre: [10 um, 15 um], radius: 3 um}", 0.0, 9 * math.pi),
    ],
)
def test_measures_of_closed_forms(crack: str, volume: float, area: float | None) -> None:
    overrides = [f"cracks=[{crack}, {{name: other, kind: pore, centre: [3 um, 3 um, 5 um], radius: 1 um}}]"]
    # Each crack on its own: the second must not be measured together with the first.  One per cent: the CAD kernel
    # integrates over squeezed spheres with few points, and the summary says so.
    found, other = measure(load_case(ROOT / "configs" / "penny.yaml", overrides))
    assert found.volume == pytest.approx(volume * 1e-18, rel=1e-2, abs=1e-30)
    if area is not None:
        assert found.area == pytest.approx(area * 1e-12, rel=1e-2)
    assert other.volume == pytest.approx(4 / 3 * math.pi * 1e-18, rel=1e-2)


def test_a_crack_out_of_the_block_is_told_before_meshing() -> None:
    case = load_case(ROOT / "configs" / "penny.yaml", ["cracks.0.centre=[40 um, 15 um]"])
    with pytest.raises(GeometryError, match="does not meet the block"):
        measure(case)
    done = fem_spall("check", "configs/spallation.yaml", "cracks.spall.place.shift=[100 um, 0 um, 0 um]")
    assert done.returncode == 4
    assert done.stderr.startswith("fem-spall: error [E4")
    assert len(done.stderr.splitlines()) == 1


def test_a_missing_mesh_file_is_exit_code_3() -> None:
    done = fem_spall("check", "configs/spallation.yaml", "cracks.spall.file=nowhere.stl")
    assert done.returncode == 3
    assert re.fullmatch(r"fem-spall: error \[E3\d\d\]: .*nowhere\.stl: .+; .+\n", done.stderr)


def test_the_estimate_grows_as_it_must() -> None:
    # A quarter of the size on a wall: 16 times the cells there, while those far away stay; half everywhere: 8 times.
    case = load_case(ROOT / "configs" / "penny.yaml")
    fine = load_case(ROOT / "configs" / "penny.yaml", ["mesh.size_min=50 nm"])
    cracks = measure(case)
    assert 4 < estimate(fine, cracks).cells / estimate(case, cracks).cells < 16
    plain = load_case(ROOT / "configs" / "penny.yaml", ["cracks=[]"])
    half = load_case(ROOT / "configs" / "penny.yaml", ["cracks=[]", "mesh.size_max=1.5 um"])
    assert estimate(half, []).cells == pytest.approx(8 * estimate(plain, []).cells)


def test_inspect_says_what_a_surface_is() -> None:
    done = fem_spall("inspect", "meshes/fault_crack_lens.stl", "--unit", "um")
    assert (done.returncode, done.stderr) == (0, "")
    assert "triangles: 4,480" in done.stdout
    assert done.stdout.endswith("verdict: a run would take it\n")
    report = json.loads(fem_spall("inspect", "meshes/fault_crack_lens.stl", "--unit", "nm", "--json").stdout)
    assert report["size_um"] == pytest.approx([0.012, 0.008, 0.00112873], rel=1e-4)


def test_inspect_marks_and_draws_what_it_finds(tmp_path: Path) -> None:
    """Bug: the options of the command do not reach what it does, or a picture loads VTK's graphics."""
    path = tmp_path / "a.surf"
    points = np.array([[0.0, 0, 0], [2, 0, 0], [0, 2, 0], [0.5, 0.5, 3]])
    faces = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3]])  # one is missing
    path.write_bytes(surface_file(points, [("Li", "Exterior", faces), ("Li", "Pore", faces[:0])], binary=True))
    options = ("--unit", "um", "--material", "Li", "--block", "20 um, 30 um, 2 um", "--thin", "10 nm")
    done = fem_spall("inspect", path, *options, "--vtp", tmp_path / "a.vtp", "--picture", tmp_path / "a.png")
    assert (done.returncode, done.stderr) == (0, "")
    assert "open edges: 3, such as at " in done.stdout
    assert "thin gaps: 0 faces below 0.01 um" in done.stdout
    assert "beyond block um: +z by 1\n" in done.stdout
    assert (tmp_path / "a.vtp").read_bytes().startswith(b'<?xml version="1.0"?>\n<VTKFile type="PolyData"')
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_refusal_of_a_file_is_quick(tmp_path: Path) -> None:
    """Bug: a file of a terabyte that announces four billion facets is read or copied before it is refused."""
    case = tmp_path / "case.yaml"
    starter = (ROOT / "fem_spall" / "starter.yaml").read_text(encoding="utf-8")
    head, tail = starter.split("cracks:")[0], starter[starter.index("\nmesh:") :]
    case.write_text(head + "cracks: [{name: a, kind: surface_file, file: a.stl, unit: um}]\n" + tail)
    sparse = tmp_path / "a.stl"
    sparse.write_bytes(bytes(80) + b"\xff\xff\xff\xff")
    os.truncate(sparse, 2**40)
    for words in (("inspect", sparse, "--unit", "um"), ("check", case), ("run", case, "-o", tmp_path / "out")):
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        done = fem_spall(*words)
        assert done.returncode == 3
        assert re.fullmatch(r"fem-spall: error \[E306\]: .*a\.stl: its header announces 4294967295 .*\n", done.stderr)
        assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 4  # about one on a quiet machine
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["case.yaml", "failure.json", "log.txt"]


def test_report_of_no_run_is_exit_code_7(tmp_path: Path) -> None:
    done = fem_spall("report", tmp_path)
    assert done.returncode == 7
    assert re.fullmatch(r"fem-spall: error \[E7\d\d\]: .+: .+; .+\n", done.stderr)
