"""The commands that prove figures: benchmarks, and one case on several meshes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT, Command

PENNY = ROOT / "configs" / "penny.yaml"
QUICK = ("mesh.size_min=500 nm", "mesh.size_max=6 um", "mesh.refine_tips=false", "output.pictures=false",
         "output.fields=false")  # fmt: skip


@pytest.mark.slow
def test_verify_from_the_command_line(command: Command, tmp_path: Path) -> None:
    """A benchmark that only runs from the tests, or a table that does not reach a pipe."""
    done = command("verify", "parallel_plates", "--json", tmp_path / "v.json")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("01_parallel_plates level ") == 3
    assert "error bars stated" in done.stdout
    record = json.loads((tmp_path / "v.json").read_text())
    assert record["complete"]
    assert {row["level"] for row in record["benchmarks"][0]["comparisons"]} == {1, 2, 3}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_verify_tells_what_ran(tmp_path: Path, number: signal.Signals) -> None:
    """An hour lost to Ctrl-C; or PETSc, once it is loaded, takes the signal and aborts with a code of its own."""
    child = subprocess.Popen(
        [sys.executable, "-m", "fem_spall", "verify", "coaxial_cylinders", "--json", str(tmp_path / "v.json")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdout is not None
    assert "level 1 of 5" in child.stdout.readline()
    time.sleep(0.3)  # within the second, which takes seconds
    child.send_signal(number)
    out, err = child.communicate(timeout=120)
    assert child.returncode == 9, err
    assert "conductance, S" in out
    assert err.splitlines()[-1].startswith("fem-spall: error [E903]: verify: was interrupted; what had run")
    record = json.loads((tmp_path / "v.json").read_text())
    assert not record["complete"]
    assert {row["level"] for row in record["benchmarks"][0]["comparisons"]} == {1}


@pytest.mark.slow
def test_converge_from_the_command_line(command: Command, tmp_path: Path) -> None:
    """Current of a sharp crack: order 1 whatever the degree; the runs link to their study; started again, none runs."""
    words = ("converge", PENNY, *QUICK, "--degrees", "2", "-o", tmp_path / "study")
    done = command(*words)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "study" / "convergence.json").read_text())
    current = next(entry for entry in record["fits"] if entry["metric"] == "total_current")
    assert current["credible"], current
    assert current["order"] == pytest.approx(1, abs=0.5)
    for point in record["points"]:
        report = tmp_path / "study" / point["folder"] / "report.html"
        assert 'href="../../convergence.html"' in report.read_text()
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("result.json")}
    assert command(*words).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("result.json")} == stamps
