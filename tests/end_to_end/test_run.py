"""One case from the command line to a complete folder, and what must not change its numbers."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.conftest import ROOT, Command

LENS = ROOT / "meshes" / "fault_crack_lens.stl"
# Coarse and without presentation: a few seconds a run.
QUICK = ("mesh.size_min=400 nm", "mesh.size_max=6 um", "output.pictures=false", "output.report=false")
CASE = """
version: 1
name: lens
electrolyte: {{size: [20 um, 30 um, 50 um], conductivity: 1 mS/cm}}
electrodes: {{counter: {{potential: 50 mV}}}}
cracks:
  - {{name: lens, kind: surface_file, file: {file}, unit: {unit}}}
mesh: {{size_min: 400 nm, size_max: 6 um}}
metrics: {{averaging_lengths: [500 nm, 1 um]}}
output: {{pictures: false, report: false}}
"""


def read_stl(path: Path) -> NDArray[np.float64]:
    """Corners (n, 3, 3) of a binary STL, in its own units."""
    record = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    return np.frombuffer(path.read_bytes()[84:], dtype=record)["corners"].astype(float)


def write_ascii(path: Path, corners: NDArray[np.float64], decimals: int) -> None:
    """ASCII STL with fixed decimals, so that a change of unit only moves the point."""
    lines = ["solid crack"]
    for triangle in corners:
        lines += ["facet normal 0 0 0", "outer loop"]
        lines += [f"vertex {x:.{decimals}f} {y:.{decimals}f} {z:.{decimals}f}" for x, y, z in triangle]
        lines += ["endloop", "endfacet"]
    path.write_text("\n".join([*lines, "endsolid crack", ""]))


def metrics_of(folder: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    assert result["status"] == "ok"
    return dict(result["metrics"])


def run_lens(command: Command, folder: Path, file: Path, unit: str = "um", *more: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    case = folder / "case.yaml"
    case.write_text(CASE.format(file=file, unit=unit))
    done = command("run", case, "-o", folder / "result", *more)
    assert done.returncode == 0, done.stderr
    return folder / "result"


@pytest.fixture(scope="module")
def lens(command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lens run once, from its binary STL."""
    return run_lens(command, tmp_path_factory.mktemp("lens"), LENS)


def test_the_folder_is_complete_and_its_hashes_are_true(lens: Path) -> None:
    """A file that is announced but missing or cut would show here."""
    result = json.loads((lens / "result.json").read_text())
    for entry in result["files"]:
        content = (lens / entry["path"]).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (entry["bytes"], entry["sha256"])
    names = {entry["path"] for entry in result["files"]}
    wanted = {
        "case.yaml", "case.resolved.yaml", "fields.pvd", "fields/fields.vtu", "crack_surface.vtp", "log.txt",
        "open_in_paraview.py", "mesh/volume.msh", "mesh/quality.json", "figures/flux_distribution.csv",
        "inputs/lens.stl",
    }  # fmt: skip
    assert wanted <= names
    assert not [p for p in lens.rglob(".*") if p.name != ".lock"]


def test_the_record_has_the_contract_s_keys(lens: Path) -> None:
    result = json.loads((lens / "result.json").read_text())
    top = {
        "status", "name", "case_hash", "version", "metrics", "cracks", "geometry", "currents", "identity", "phi_min",
        "phi_max", "conductance_over_sigma", "repairs", "mesh", "solve", "seconds", "files", "versions",
    }  # fmt: skip
    assert top <= result.keys()
    figures = {
        "resistance", "area_resistance", "electrode_advance", "total_current", "mean_current_density", "crack_current",
        "crack_current_share", "capture_area", "capture_ratio", "flux_q50", "flux_q90", "flux_q95", "flux_q99",
        "edge_flux_intensity", "max_field_on_mesh", "fef_r500nm", "fef_r1um",
    }  # fmt: skip
    assert figures <= result["metrics"].keys()
    for name, metric in result["metrics"].items():
        assert metric["definition"], name
        assert metric["value"] is not None or metric["absent"], f"{name} is absent without a reason"
        assert metric["error"] is not None or metric["error_absent"], f"{name} has no error and no reason"
    assert {"surface", "mesh", "solve", "adapt", "output", "total"} <= result["seconds"].keys()


def test_charge_energy_and_advance_balance(lens: Path) -> None:
    result = json.loads((lens / "result.json").read_text())
    assert max(abs(v) for v in result["identity"].values()) < 1e-9
    assert abs(result["geometry"]["volume_balance"]) < 1e-9
    assert result["solve"]["true_residual"] < 1e-10


def test_the_volume_of_a_crack_is_that_inside_the_block(lens: Path) -> None:
    """The lens lies inside: block minus electrolyte. A sign, or the volume of the whole file, would show."""
    result = json.loads((lens / "result.json").read_text())
    assert result["cracks"]["lens"]["volume"] == pytest.approx(result["geometry"]["void_volume"], rel=1e-9)


def test_a_clipped_boss_of_closed_form_has_its_volume(command: Command, tmp_path: Path) -> None:
    """A quarter of a hemisphere in the corner: pi a^3 / 6, to the accuracy of second-order cells."""
    case = tmp_path / "case.yaml"
    file = f"kind: surface_file, file: {LENS}, unit: um"
    boss = "kind: spheroid, centre: [0 um, 0 um], depth: 5 um, radius: 5 um"
    case.write_text(CASE.format(file=LENS, unit="um").replace(file, boss))
    done = command("run", case, "mesh.refine_tips=false", "mesh.size_min=1 um", "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["cracks"]["lens"]["volume"] == pytest.approx(np.pi * 5e-6**3 / 6, rel=1e-3)


def test_the_conductance_lies_between_two_bounds(lens: Path) -> None:
    """A sign or unit error: lithium only ever lowers the resistance, to less than a block without the crack's depth."""
    conductance = json.loads((lens / "result.json").read_text())["conductance_over_sigma"]
    area, height = 600e-12, 50e-6
    lowest_point = read_stl(LENS)[:, :, 2].min() * 1e-6
    assert area / height < conductance < area / lowest_point


def test_shuffled_triangles_give_identical_metrics(lens: Path, command: Command, tmp_path: Path) -> None:
    """The order of a file must not reach the mesher."""
    content = LENS.read_bytes()
    facets = np.frombuffer(content[84:], dtype=np.dtype("V50"))
    shuffled = tmp_path / "shuffled.stl"
    shuffled.write_bytes(content[:84] + facets[np.random.default_rng(1).permutation(len(facets))].tobytes())
    other = run_lens(command, tmp_path, shuffled)
    assert json.dumps(metrics_of(other)) == json.dumps(metrics_of(lens))


def test_the_unit_of_the_file_does_not_matter(command: Command, tmp_path: Path) -> None:
    """Decimals in nanometres, micrometres and metres describe the same crack to the last bit."""
    corners = np.round(read_stl(LENS), 6)
    results = []
    for unit, factor, decimals in (("um", 1.0, 6), ("nm", 1e3, 3), ("m", 1e-6, 12)):
        file = tmp_path / f"lens_{unit}.stl"
        write_ascii(file, corners * factor, decimals)
        results.append(json.dumps(metrics_of(run_lens(command, tmp_path / unit, file, unit))))
    assert results[0] == results[1] == results[2]


def test_the_resolved_case_reruns_to_the_same_numbers(lens: Path, command: Command, tmp_path: Path) -> None:
    done = command("run", lens / "case.resolved.yaml", "-o", tmp_path / "again")
    assert done.returncode == 0, done.stderr
    assert json.dumps(metrics_of(tmp_path / "again")) == json.dumps(metrics_of(lens))


def test_two_ranks_give_the_same_currents(lens: Path, command: Command, tmp_path: Path) -> None:
    other = run_lens(command, tmp_path, LENS, "um", "--ranks", "2")
    serial, parallel = metrics_of(lens), metrics_of(other)
    for name in ("total_current", "crack_current", "electrode_advance", "fef_r500nm"):
        assert parallel[name]["value"] == pytest.approx(serial[name]["value"], rel=1e-10), name
    assert (other / "fields" / "fields.pvtu").exists()


def test_two_ranks_agree_where_only_one_of_them_has_curved_cells(command: Command, tmp_path: Path) -> None:
    """Bug: a form that only one rank needs is compiled by that rank alone, and both wait without end."""
    keys = ("mesh.size_min=1 um", "mesh.refine_tips=false", "cracks.0.radius=4 um", "metrics.averaging_lengths=[4 um]",
            "output={fields: false, report: false, pictures: false}")  # fmt: skip
    found = []
    for ranks in ("1", "2"):
        done = command("run", ROOT / "configs" / "penny.yaml", *keys, "--ranks", ranks, "-o", tmp_path / ranks)
        assert done.returncode == 0, done.stderr
        found.append(metrics_of(tmp_path / ranks))
    for name in ("total_current", "crack_current", "electrode_advance"):
        assert found[1][name]["value"] == pytest.approx(found[0][name]["value"], rel=1e-10), name
        assert found[1][name]["error"] == pytest.approx(found[0][name]["error"], rel=1e-4), name


def test_two_ranks_refine_the_same_meshes(command: Command, tmp_path: Path) -> None:
    """Bug: fluxes between curved and straight cells are those of one side in serial, of both between two ranks."""
    case = ROOT / "benchmarks" / "12b_adaptive_boss" / "case.yaml"
    asked = "accuracy={target: 1 %, metrics: [fef_tip], max_cells: 6000}"
    found = []
    for ranks in ("1", "2"):
        done = command("run", case, asked, "--ranks", ranks, "-o", tmp_path / ranks)
        assert done.returncode == 0, done.stderr
        found.append(json.loads((tmp_path / ranks / "result.json").read_text()))
    one, two = found
    assert len(one["accuracy"]["levels"]) > 1
    assert two["mesh"]["hash"] == one["mesh"]["hash"]
    for name in ("total_current", "crack_current", "fef_tip"):
        assert two["metrics"][name]["value"] == pytest.approx(one["metrics"][name]["value"], rel=1e-10), name
        assert two["metrics"][name]["error"] == pytest.approx(one["metrics"][name]["error"], rel=1e-6), name


def test_a_result_is_not_overwritten_unasked(lens: Path, command: Command) -> None:
    before = (lens / "result.json").read_bytes()
    done = command("run", lens.parent / "case.yaml", "-o", lens)
    assert done.returncode == 7
    assert "--overwrite" in done.stderr.splitlines()[-1]
    assert (lens / "result.json").read_bytes() == before


def test_a_refusal_leaves_a_failure_file_and_no_result(command: Command, tmp_path: Path) -> None:
    case = tmp_path / "case.yaml"
    case.write_text(CASE.format(file=LENS, unit="mm"))
    done = command("run", case, "-o", tmp_path / "out")
    assert done.returncode == 4
    assert done.stderr.splitlines()[-1].startswith("fem-spall: error [E4")
    failure = json.loads((tmp_path / "out" / "failure.json").read_text())
    assert failure["number"] // 100 == 4
    assert not (tmp_path / "out" / "result.json").exists()


def test_an_interrupted_run_says_so_and_presents_nothing(tmp_path: Path) -> None:
    case = tmp_path / "case.yaml"
    case.write_text(CASE.format(file=ROOT / "meshes" / "fault_crack_fine.stl", unit="um"))
    out = tmp_path / "out"
    child = subprocess.Popen(
        [sys.executable, "-m", "fem_spall", "run", str(case), "mesh.size_min=100 nm", "-o", str(out)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    for _ in range(600):
        if (out / "case.resolved.yaml").exists():
            break
        time.sleep(0.05)
    time.sleep(0.5)
    child.send_signal(signal.SIGINT)
    stderr = child.communicate(timeout=60)[1]
    assert child.returncode == 9, stderr
    assert not (out / "result.json").exists()
    assert json.loads((out / "failure.json").read_text())["number"] // 100 == 9


def test_a_full_disk_is_refused_and_leaves_no_partial_file(tmp_path: Path) -> None:
    """A file size limit stands in for the full disk: VTK's writers say nothing when they are cut."""
    case = tmp_path / "case.yaml"
    case.write_text(CASE.format(file=LENS, unit="um"))
    limited = """
import resource, sys
import fem_spall.stage as stage
from fem_spall.cli import main
write = stage.write_volume
def cut(*arguments):
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
    return write(*arguments)
stage.write_volume = cut
sys.argv = ["fem-spall", "run", sys.argv[1], "-o", sys.argv[2]]
sys.exit(main())
"""
    out = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-c", limited, str(case), str(out)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 7, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("fem-spall: error [E7")
    assert not (out / "result.json").exists()
    assert (out / "failure.json").exists()
    assert not list(out.rglob("*.vtu"))
    assert (out / "mesh" / "volume.msh").exists()  # what was computed before stays


@pytest.mark.slow
def test_mirroring_the_reconstructed_crack_changes_little(command: Command, tmp_path: Path) -> None:
    """43 000 triangles meshed the other way round: how far the figures depend on the mesh."""
    content = (ROOT / "meshes" / "crack.stl").read_bytes()
    record = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    facets = np.frombuffer(content[84:], dtype=record).copy()
    facets["corners"][:, :, 0] *= -1
    facets["corners"] = facets["corners"][:, ::-1].copy()
    mirrored = tmp_path / "mirrored.stl"
    mirrored.write_bytes(content[:84] + facets.tobytes())
    quiet = ("output.pictures=false", "output.report=false", "output.fields=false")
    records = []
    for file in (ROOT / "meshes" / "crack.stl", mirrored):
        out = tmp_path / file.stem
        done = command("run", ROOT / "configs" / "spallation.yaml", f"cracks.spall.file={file}", *quiet, "-o", out)
        assert done.returncode == 0, done.stderr
        records.append(json.loads((out / "result.json").read_text()))
    one, two = records
    assert two["conductance_over_sigma"] == pytest.approx(one["conductance_over_sigma"], rel=2e-4)
    values = [r["metrics"]["fef_r250nm"]["value"] for r in records]
    assert values[1] == pytest.approx(values[0], rel=0.02)


def test_turning_and_mirroring_stay_within_the_stated_errors(command: Command, tmp_path: Path) -> None:
    """Bug: a figure depends on how the crack lies to the axes by more than its error bar admits."""
    case = ROOT / "configs" / "quickstart.yaml"
    coarse = ["mesh.size_min=400 nm", "metrics.averaging_lengths=[1 um]", "output={fields: false, report: false}"]
    lying: dict[str, list[str]] = {
        "given": [],
        "mirrored": ["cracks.0.place.mirror=y"],
        "turned": [
            "electrolyte.size=[30 um, 20 um, 50 um]",
            "cracks.0.place.rotate=[0 deg, 90 deg, 90 deg]",
            "cracks.0.place.centre=[15 um, 10 um, 46 um]",
        ],
    }
    found = {}
    for name, keys in lying.items():
        done = command("run", case, *coarse, *keys, "-o", tmp_path / name)
        assert done.returncode == 0, done.stderr
        found[name] = json.loads((tmp_path / name / "result.json").read_text())["metrics"]
    for metric in ("resistance", "electrode_advance", "crack_current", "crack_current_share", "fef_r1um"):
        given = found["given"][metric]
        for other in (found["mirrored"][metric], found["turned"][metric]):
            assert abs(other["value"] - given["value"]) <= given["error"] + other["error"], metric


def test_an_asked_accuracy_is_met_and_true(command: Command, tmp_path: Path) -> None:
    """Bug: refinement stops on an error bar that a finer mesh disproves, or ranks refine another mesh."""
    case = ROOT / "configs" / "quickstart.yaml"
    keys = ["mesh.size_min=500 nm", "metrics.averaging_lengths=[1 um]", "output={fields: false, report: false}"]
    found = {}
    for name, target, ranks in (("asked", "2 %", 1), ("finer", "0.7 %", 1), ("ranks", "2 %", 2)):
        asked = f"accuracy={{target: {target}, metrics: [crack_current, fef_r1um], max_cells: 400000}}"
        done = command("run", case, *keys, asked, "--ranks", ranks, "-o", tmp_path / name)
        assert done.returncode == 0, done.stderr
        found[name] = json.loads((tmp_path / name / "result.json").read_text())
    assert found["asked"]["accuracy"]["met"]
    assert found["finer"]["mesh"]["cells"] > 1.5 * found["asked"]["mesh"]["cells"]
    for metric in ("crack_current", "fef_r1um", "resistance"):
        one, two, parallel = (found[name]["metrics"][metric] for name in ("asked", "finer", "ranks"))
        assert abs(one["value"] - two["value"]) <= one["error"] + two["error"], metric
        assert two["error"] < one["error"]
        assert parallel["value"] == pytest.approx(one["value"], rel=1e-10)
