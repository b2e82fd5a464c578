"""Every surface and image stack of a folder through the public command, judged by oracles that share no code with it.

Run ``python benchmarks/robustness/campaign.py FOLDER… [--expect FILE.json] [--out DIR] [--only NAME …]`` from the root.
A folder with an ``expectations.json`` (as ``bodies.py`` writes it) is run as that says, of any other each file.  Each
is one ``fem-spall run`` in a child process with limits of time and memory.  It prints one line a case, writes
``campaign.csv`` and ``campaign.md`` to the output folder, and ends with 1 if anything crashed, hung, was wrong or did
not behave as expected.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import oracles

UM = 1e-6
BLOCK = np.array([20.0, 30.0, 50.0])  # um
VOLTAGE = 0.05  # V, of the counter electrode over the plating one
#: Files that stand for a case of their own; whatever else lies in a folder is not looked at.
SURFACES = {".stl", ".obj", ".ply", ".off", ".surf"}
#: Image stacks: what their labels mean comes from the expectations; without, they are not run.
STACKS = {".tif", ".tiff", ".npy", ".npz", ".nrrd", ".am"}
#: Arbitrary surfaces become 12 um long and stand in the middle of the upper half.
PLACE = {"longest": "12 um", "centre": ["10 um", "15 um", "30 um"]}
MESH = {"size_min": "300 nm", "size_max": "4 um", "refine_tips": False, "time_limit": "15 min", "memory_limit": "3 GB"}
#: Repairs that leave the surface where it was.
HARMLESS = {"identical corners merged", "unused vertices dropped", "degenerate faces dropped"}
#: Repairs of an image stack that drop or fill what the image shows as bodies of their own.
VOXELS = ("islands of", "specks of")
#: Exit codes of documented refusals.
REFUSALS = {2: "case", 3: "file", 4: "geometry", 5: "meshing", 6: "solver", 7: "output", 8: "limit", 11: "environment"}
#: What must hold: volume and area relative, electrolyte left over currents, conductances relative.
VOLUME, LEFT, SAME = 0.01, 1e-7, 1e-6


@dataclass
class Row:
    """What one case did: verdict, what was expected, cost, and each oracle as a number."""

    file: str
    verdict: str
    expected: str = ""
    as_expected: bool = True
    exit_code: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_gb: float = 0.0
    cells: int = 0
    min_quality: float = float("nan")
    p01_quality: float = float("nan")
    volume_um3: float = float("nan")
    volume_error: float = float("nan")
    p99_nm: float = float("nan")
    largest_nm: float = float("nan")
    conductance_um: float = float("nan")
    current_left: float = float("nan")
    text: str = ""


def main() -> int:
    """Run the campaign; 0 if nothing crashed, hung, was wrong or unexpected."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--expect", type=Path, help="JSON: file name -> {accept, cracks, mesh, volume_um3, skip}")
    parser.add_argument("--out", type=Path, default=Path("results/robustness"))
    parser.add_argument("--only", nargs="*", default=[], help="names of files")
    parser.add_argument("--time", type=float, default=1200.0, help="wall seconds a case")
    parser.add_argument("--memory", type=float, default=8.0, help="GB of address space beyond which a child is refused")
    options = parser.parse_args()
    expectations = json.loads(options.expect.read_text()) if options.expect else {}
    options.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for folder in options.folders:
        for name, expect in chosen(folder, expectations):
            if not options.only or name in options.only:
                rows.append(judged(name, case_of(folder, name, expect), expect, options))
                row = rows[-1]
                print(f"{row.file:36s} {row.verdict:10s} {row.cpu_s:6.1f} s  {row.text}", flush=True)
                write(rows, options.out)  # what was run stays, whatever ends this
    count = Counter(row.verdict for row in rows)
    words = ("succeeded", "repaired", "refused", "crashed", "hung", "wrong")
    surprises = [row.file for row in rows if not row.as_expected]
    print(
        ", ".join(f"{count[word]} {word}" for word in words) + f"; {len(surprises)} not as expected {surprises or ''}"
    )
    return 1 if count["crashed"] + count["hung"] + count["wrong"] or surprises else 0


def chosen(folder: Path, expectations: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and expectation of everything in a folder that is to be run."""
    own = folder / "expectations.json"
    if own.exists():
        yield from json.loads(own.read_text()).items()
        return
    for path in sorted(folder.iterdir()):
        for name, expect in expectations.items():
            if expect.get("of", name) == path.name and not expect.get("skip"):
                yield name, expect
        if path.name not in expectations and path.suffix.lower() in SURFACES:
            yield path.name, {}


def case_of(folder: Path, name: str, expect: dict[str, Any]) -> dict[str, Any]:
    """The case that a file or an entry stands for, as the content of a YAML file."""
    default = {"name": "crack", "kind": "surface_file", "place": PLACE}
    cracks = [{**default, **crack} for crack in expect.get("cracks", [{}])]
    for crack in cracks:
        crack["file"] = str((folder / crack.get("file", expect.get("of", name))).resolve())
        if "reference" in crack:
            crack["reference"] = str((folder / crack["reference"]).resolve())
        if crack["kind"] != "image_stack":
            crack.setdefault("unit", "um")
        if crack["place"] is None:
            del crack["place"]
    return {
        "version": 1,
        "name": "robustness",
        "electrolyte": {"size": [f"{length:g} um" for length in BLOCK], "conductivity": "1 mS/cm"},
        "electrodes": {
            "plating": {"face": "+z", "potential": "0 V"},
            "counter": {"face": "-z", "potential": f"{VOLTAGE} V"},
        },
        "cracks": cracks,
        "mesh": MESH | expect.get("mesh", {}),
        "solver": {"degree": 1, "errors": False},
        "output": {"fields": True, "report": False, "pictures": False},
    }


def judged(name: str, case: dict[str, Any], expect: dict[str, Any], options: argparse.Namespace) -> Row:
    """Run a case and compare what came out with what is known otherwise."""
    accept = "".join(expect.get("accept", ["S", "R", "E"]))
    seconds = min(options.time, expect.get("seconds", np.inf))
    with tempfile.TemporaryDirectory(prefix="campaign-", ignore_cleanup_errors=True) as scratch:
        file, out = Path(scratch) / "case.yaml", Path(scratch) / "out"
        given = [
            {key: value for key, value in crack.items() if key not in ("reference", "follow")}
            for crack in case["cracks"]
        ]
        file.write_text(json.dumps(case | {"cracks": given}))
        begin, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        code, said, peak = run(file, out, seconds, options.memory)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        row = Row(name, "", accept, exit_code=code, wall_s=time.monotonic() - begin, peak_gb=peak)
        row.cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        record = out / "result.json"
        result = json.loads(record.read_text()) if record.exists() else {}
        last = said.strip().splitlines()[-1:] or [""]
        if code == -signal.SIGKILL and row.wall_s >= seconds:
            row.verdict, row.text = "hung", f"killed after {seconds:g} s"
        elif "Traceback" in said or (code not in REFUSALS and code != 0):
            row.verdict, row.text = "crashed", f"exit code {code}: {last[0]}"
        elif code != 0:
            refused(row, last[0], result)
        else:
            compared(row, result, case, expect, out)
    letter = {"succeeded": "S", "repaired": "R", "refused": "E"}.get(row.verdict, "!")
    row.as_expected = letter in accept
    return row


def run(case: Path, out: Path, seconds: float, memory: float) -> tuple[int, str, float]:
    """Exit code, standard error, and peak memory in GB of the command and its children."""
    command = [str(Path(sys.executable).with_name("fem-spall")), "run", str(case), "-o", str(out)]
    limit = int(memory * 1e9)
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=said, start_new_session=True,
        )  # fmt: skip
        resource.prlimit(child.pid, resource.RLIMIT_AS, (limit, limit))  # its children inherit it
        end, peak = time.monotonic() + seconds, 0
        while child.poll() is None and time.monotonic() < end:
            peak = max(peak, resident(child.pid))
            time.sleep(0.1)
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        said.seek(0)
        return child.returncode, said.read().decode(errors="replace"), peak / 1e9


def resident(pid: int) -> int:
    """Bytes in use by a process and its children, 0 when they are gone."""
    total = 0
    try:
        total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            total += resident(int(child))
    except (OSError, IndexError, ValueError):
        pass
    return total


def refused(row: Row, line: str, result: dict[str, Any]) -> None:
    """A refusal is one line with its number, and leaves no result."""
    row.verdict, row.text = "refused", line
    if "error [E" not in line:
        row.verdict, row.text = "wrong", f"the last line is no refusal: {line}"
    elif result.get("status") == "ok":
        row.verdict, row.text = "wrong", f"refused, and presents a result: {line}"


def compared(row: Row, result: dict[str, Any], case: dict[str, Any], expect: dict[str, Any], out: Path) -> None:
    """Fill in the oracles; ``wrong`` if one of them does not hold."""
    faults: list[str] = []
    row.cells, row.min_quality, row.p01_quality = (
        result["mesh"][key] for key in ("cells", "min_quality", "p01_quality")
    )
    mesh = oracles.written_mesh(out, BLOCK)
    bodies = oracles.given_surfaces(case["cracks"])
    cut_off = -sum(one["d_volume"] for one in result["repairs"] if one["kind"].startswith("electrolyte cut off"))
    row.volume_um3 = float(np.prod(BLOCK)) - mesh.volume - cut_off / UM**3
    reference = np.nan
    if "volume_um3" in expect:
        reference = expect["volume_um3"]
    elif bodies is not None:
        reference = oracles.given_volume(bodies, BLOCK)
    elif all(crack["kind"] == "image_stack" for crack in case["cracks"]):
        # What the record says it changed must explain the difference to the voxels.
        stated = [one["d_volume"] for one in result["repairs"] if one["kind"].startswith(VOXELS)]
        reference = sum(oracles.stack_volume(crack, BLOCK) for crack in case["cracks"]) + sum(stated) / UM**3
    if np.isfinite(reference):
        row.volume_error = row.volume_um3 / reference - 1
        if abs(row.volume_error) > VOLUME:
            faults.append(f"volume {row.volume_um3:.4g} um3, the file has {reference:.4g}")
    if bodies is not None and len(mesh.walls):
        largest, row.p99_nm = (1e3 * distance for distance in oracles.distances(bodies, mesh, BLOCK, cut_off == 0))
        row.largest_nm = largest
        tolerance = tolerance_of(case)
        moved = 1e9 * max((one.get("displacement", 0.0) for one in result["repairs"]), default=0.0)
        # Single places may be further off, but only if the run has said so.
        said = any("at single places" in warning["text"] for warning in result["warnings"])
        single = 2e3 * oracles.micrometres(case["mesh"]["size_min"]) if said else 0.0
        if row.p99_nm > tolerance + moved or largest > tolerance + moved + single:
            faults.append(f"walls {row.p99_nm:.0f} nm off at 99 %, {largest:.0f} nm at most")
    solved, row.current_left = oracles.conductance(mesh, VOLTAGE)
    row.conductance_um = result["conductance_over_sigma"] / UM
    if abs(solved / row.conductance_um - 1) > SAME:
        faults.append(f"conductance / sigma {row.conductance_um:.6g} um, of the written field {solved:.6g} um")
    if row.current_left > LEFT:
        faults.append(f"currents balance within {row.current_left:.1e}")
    low, high = oracles.bounds(bodies, BLOCK) if bodies is not None else (0.0, np.inf)
    if not low * (1 - 1e-9) <= solved <= high * (1 + 1e-9):
        faults.append(f"conductance / sigma {solved:.4g} um outside {low:.4g} to {high:.4g} um")
    currents = result["currents"]
    if abs(currents["imbalance"]) > 1e-6 * max(map(abs, currents.values())):
        faults.append(f"the record's currents add up to {currents['imbalance']:.1e}")
    changed = [repair for repair in result["repairs"] if repair["kind"] not in HARMLESS]
    row.verdict = "wrong" if faults else "repaired" if changed else "succeeded"
    row.text = "; ".join(faults) or ", ".join(f"{repair['count']} x {repair['kind']}" for repair in changed)


def tolerance_of(case: dict[str, Any]) -> float:
    """How far the walls of the mesh may be off those given, nm, by default 0.3 of the smallest size."""
    stated = case["mesh"].get("surface_tolerance")
    return 1e3 * (oracles.micrometres(stated) if stated else 0.3 * oracles.micrometres(case["mesh"]["size_min"]))


def write(rows: list[Row], folder: Path) -> None:
    """The table as CSV and as Markdown."""
    with (folder / "campaign.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
    names = ("fem-spall", "gmsh", "mmgpy", "manifold3d", "pytetwild", "numpy", "trimesh", "pyvista")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in names)
    lines = [
        f"Run on {datetime.now(tz=UTC):%Y-%m-%d}, {versions}.",
        "",
        "| case | verdict | expected | cells | least, 1 % quality | volume, um³ | off by | 99 %, most off, nm | CPU s "
        "| peak GB | remark |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        solved = row.verdict in ("succeeded", "repaired", "wrong") and row.cells
        figures = (
            [f"{row.cells:,}", f"{row.min_quality:.3f}, {row.p01_quality:.2f}", f"{row.volume_um3:.4g}",
             "-" if np.isnan(row.volume_error) else f"{row.volume_error:+.2%}",
             "-" if np.isnan(row.p99_nm) else f"{row.p99_nm:.0f}, {row.largest_nm:.0f}"]
            if solved else ["", "", "", "", ""]
        )  # fmt: skip
        mark = "" if row.as_expected else " (!)"
        cost = [f"{row.cpu_s:.0f}", f"{row.peak_gb:.1f}"]
        text = row.text.replace("|", "/").replace(str(Path.cwd()), "")
        cells = [row.file, row.verdict + mark, row.expected, *figures, *cost, text]
        lines.append("| " + " | ".join(cells) + " |")
    (folder / "campaign.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main())
