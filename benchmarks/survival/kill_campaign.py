"""Kill a sweep at random until it is complete; compare its table with that of a sweep left alone.

    python benchmarks/survival/kill_campaign.py [KILLS] [FOLDER]

A kill, 4 to 50 s after the last one, is SIGKILL of the sweep itself, of the process of one of its points, or of a
mesher.  After each one every point that counts as finished is looked at: its record must be whole, and none that
counted before may be lost.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from fem_spall.sweep.fate import fate_of, record_hash, result_folder
from fem_spall.sweep.plan import read_plan

HERE = Path(__file__).parent


def start(folder: Path) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-m",
        "fem_spall",
        "sweep",
        str(HERE / "sweep.yaml"),
        "--workers",
        "2",
        "-o",
        str(folder),
    ]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def finished(folder: Path) -> dict[str, str]:
    """Hash of the record of each point that counts, after a look of our own at its file."""
    found = {}
    for point in read_plan(folder).points:
        if fate_of(folder, point).status == "ok":
            record = json.loads((result_folder(folder, point.id) / "result.json").read_text())
            assert record["status"] == "ok", f"{point.id} counts and is not complete"
            assert record["metrics"]["resistance"]["value"] > 0
            found[point.id] = record_hash(record)
    return found


def victim(sweep: psutil.Process, rng: random.Random) -> psutil.Process:
    family = [sweep, *sweep.children(recursive=True)]
    return rng.choice([sweep, rng.choice(family)])


def kind_of(process: psutil.Process, sweep: int) -> str:
    if process.pid == sweep:
        return "sweep"
    parent = process.parent()
    forked = parent is not None and "point" in parent.cmdline() and "point" in process.cmdline()
    return "mesher" if forked or "fem_spall.mesh.worker" in process.cmdline() else "point"


def main(kills: int, work: Path) -> None:
    rng = random.Random(20)
    folder, done, lost, wrong, whole = work / "killed", 0, 0, 0, 0
    before: dict[str, str] = {}
    struck: dict[str, int] = {}
    process = start(folder)
    while done < kills:
        deadline = time.monotonic() + rng.uniform(4, 50)
        while time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.05)
        if process.poll() is None:
            try:
                target = victim(psutil.Process(process.pid), rng)
                kind = kind_of(target, process.pid)
                target.kill()
            except psutil.Error:
                continue
            done += 1
            struck[kind] = struck.get(kind, 0) + 1
            if kind == "sweep":
                process.wait()
        after = finished(folder) if (folder / "plan.json").is_file() else {}
        lost += len(before.keys() - after.keys())
        wrong += sum(after.get(id, digest) != digest for id, digest in before.items())
        before = after
        print(f"kill {done}: {len(after)} of 20 points finished", flush=True)
        if process.poll() is not None:
            if len(after) == 20:  # all is there too soon: once more from nothing
                whole += 1
                folder, before = work / f"killed{whole}", {}
            process = start(folder)
    process.wait()
    while (code := start(folder).wait()) == 10:
        pass
    assert start(work / "alone").wait() == 0
    same = (folder / "sweep.csv").read_bytes() == (work / "alone" / "sweep.csv").read_bytes()
    print(f"kills: {done} {struck}; finished points lost: {lost}; changed: {wrong}; sweeps begun: {whole + 1}")
    print(f"exit code at the end: {code}; final table identical to that of a sweep left alone: {same}")
    sys.exit(0 if not lost and not wrong and same and code == 0 else 1)


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    if len(sys.argv) > 2:
        main(count, Path(sys.argv[2]))
    with tempfile.TemporaryDirectory() as scratch:
        main(count, Path(scratch))
