"""A sweep of real points from the command line: run, shared mesh, repeated, opened."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fem_spall import load_sweep
from tests.conftest import ROOT, Command

SWEEP = """
version: 1
name: contact
case: {case}
set: {{mesh.size_min: 1 um, mesh.size_max: 6 um, mesh.refine_tips: false, solver.degree: 1, solver.errors: false}}
axes: [{{key: resistance, values: [0.01 ohm cm^2, 10 ohm cm^2]}}]
derived:
  electrodes.plating.interface.value: resistance
  cracks.boss.interface.value: resistance
cache: {{place: sweep, size: 100 MB}}
"""


@pytest.mark.slow
def test_two_resistances_share_a_mesh_and_run_once(command: Command, tmp_path: Path) -> None:
    # Catches: a mesh made for each resistance, a rerun that does it all again, a point that cannot be run alone.
    file, out = tmp_path / "contact.yaml", tmp_path / "out"
    file.write_text(SWEEP.format(case=ROOT / "configs" / "sweeps" / "cases" / "resistive_boss.yaml"))
    done = command("sweep", file, "--workers", "2", "-o", out)
    assert done.returncode == 0, done.stderr
    assert "contact: 2 complete." in done.stdout
    table = load_sweep(out)
    low, high = table.column("crack_current_share")
    assert low > 1.3 * high, "resistance everywhere switches focusing off"
    records = [json.loads((out / "points" / name / "result.json").read_text()) for name in table.column("id")]
    assert records[0]["mesh"]["hash"] == records[1]["mesh"]["hash"]
    assert sorted(record["reused"] for record in records) == [[], ["mesh"]]
    before = (out / "sweep.csv").read_bytes()
    again = command("sweep", file, "-o", out)
    assert again.returncode == 0, again.stderr
    assert "[1/" not in again.stdout
    assert (out / "sweep.csv").read_bytes() == before
    # A point alone, its result gone but its stages kept; the same numbers come from the store.
    name = table.column("id")[0]
    (out / "points" / name / "result.json").unlink()
    alone = command("sweep", "point", out, name)
    assert alone.returncode == 0, alone.stderr
    assert json.loads((out / "points" / name / "result.json").read_text())["reused"] == ["mesh", "solve"]
    assert command("sweep", "collect", out).returncode == 0
    assert (out / "sweep.csv").read_bytes() == before
    for page in (out / "report.html", out / "points" / name / "report.html"):
        assert page.stat().st_size > 10_000
