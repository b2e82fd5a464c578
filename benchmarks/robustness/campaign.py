"""Every surface of a folder through the public command, judged by oracles that share no code with it.

Run ``python benchmarks/robustness/campaign.py FOLDER… [--expect FILE.json] [--out DIR] [--only NAME …]`` from the root.
Each file is one ``fem-spall run`` in a child process with limits of time and memory.  It prints one line a file, writes
``campaign.csv`` and ``campaign.md`` to the output folder, and ends with 1 if anything crashed, hung, was
wrong or did not behave as expected.
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
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

UM = 1e-6
BLOCK = np.array([20.0, 30.0, 50.0])  # um
#: Files that stand for a case of their own; whatever else lies in a folder is not looked at.
SURFACES = {".stl", ".obj", ".ply", ".off", ".surf"}
#: Image stacks: taken up once the program has the kind; ``place`` and ``mesh`` come from the expectations.
STACKS = {".tif", ".tiff", ".npy", ".npz", ".nrrd", ".am"}
#: Arbitrary surfaces become 12 um long and stand in the middle of the upper half.
PLACE = {"longest": "12 um", "centre": ["10 um", "15 um", "30 um"]}
MESH = {"size_min": "300 nm", "size_max": "4 um", "refine_tips": False, "time_limit": "15 min", "memory_limit": "3 GB"}
#: Repairs that leave the surface where it was.
HARMLESS = {"identical corners merged", "unused vertices dropped", "degenerate faces dropped"}
#: Exit codes of documented refusals.
REFUSALS = {2: "case", 3: "file", 4: "geometry", 5: "meshing", 6: "solver", 7: "output", 8: "limit", 11: "environment"}
GRID = 128  # points along the longest edge of the box in the count of the volume


@dataclass
class Row:
    """What one file did: verdict, what was expected, cost, and each oracle as a number."""

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
    balance: float = float("nan")
    conductance: float = float("nan")
    current_imbalance: float = float("nan")
    text: str = ""


def main() -> int:
    """Run the campaign; 0 if nothing crashed, hung, was wrong or unexpected."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--expect", type=Path, help="JSON: file name -> {accept, cracks, mesh, volume_um3, skip}")
    parser.add_argument("--out", type=Path, default=Path("results/robustness"))
    parser.add_argument("--only", nargs="*", default=[], help="names of files")
    parser.add_argument("--time", type=float, default=1200.0, help="wall seconds a file")
    parser.add_argument("--memory", type=float, default=8.0, help="GB of address space beyond which a child is refused")
    options = parser.parse_args()
    expectations = json.loads(options.expect.read_text()) if options.expect else {}
    options.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for folder in options.folders:
        for path in sorted(folder.iterdir()):
            expect = expectations.get(path.name, {})
            chosen = path.suffix.lower() in (SURFACES | STACKS) and (not options.only or path.name in options.only)
            if not chosen or expect.get("skip") or (path.suffix.lower() in STACKS and "cracks" not in expect):
                continue
            row = judged(path, expect, options.time, options.memory)
            rows.append(row)
            print(f"{row.file:28s} {row.verdict:10s} {row.cpu_s:6.1f} s  {row.text}", flush=True)
    write(rows, options.out)
    count = Counter(row.verdict for row in rows)
    words = ("succeeded", "repaired", "refused", "crashed", "hung", "wrong")
    surprises = [row.file for row in rows if not row.as_expected]
    print(
        ", ".join(f"{count[word]} {word}" for word in words) + f"; {len(surprises)} not as expected {surprises or ''}"
    )
    return 1 if count["crashed"] + count["hung"] + count["wrong"] or surprises else 0


def case_of(path: Path, expect: dict[str, Any]) -> dict[str, Any]:
    """The case that a file stands for, as the content of a YAML file."""
    default = {"name": "crack", "kind": "surface_file", "unit": "um", "place": PLACE}
    cracks = [{**default, **crack} for crack in expect.get("cracks", [{}])]
    for crack in cracks:
        crack["file"] = str((path.parent / crack.get("file", path.name)).resolve())
        if crack["place"] is None:
            del crack["place"]
    return {
        "version": 1,
        "name": "robustness",
        "electrolyte": {"size": [f"{length:g} um" for length in BLOCK], "conductivity": "1 mS/cm"},
        "electrodes": {"plating": {"face": "+z", "potential": "0 V"}, "counter": {"face": "-z", "potential": "50 mV"}},
        "cracks": cracks,
        "mesh": MESH | expect.get("mesh", {}),
        "solver": {"degree": 1, "errors": False},
        "output": {"fields": False, "report": False, "pictures": False},
    }


def judged(path: Path, expect: dict[str, Any], seconds: float, memory: float) -> Row:
    """Run one file and compare what came out with what is known otherwise."""
    accept = "".join(expect.get("accept", ["S", "R", "E"]))
    with tempfile.TemporaryDirectory(prefix="campaign-", ignore_cleanup_errors=True) as scratch:
        case = case_of(path, expect)
        file, out = Path(scratch) / "case.yaml", Path(scratch) / "out"
        file.write_text(json.dumps(case))
        begin, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        code, said, peak = run(file, out, seconds, memory)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        row = Row(path.name, "", accept, exit_code=code, wall_s=time.monotonic() - begin, peak_gb=peak)
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
            oracles(row, result, case, expect)
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


def oracles(row: Row, result: dict[str, Any], case: dict[str, Any], expect: dict[str, Any]) -> None:
    """Fill in the oracles; ``wrong`` if one of them does not hold."""
    mesh, geometry, faults = result["mesh"], result["geometry"], []
    row.cells, row.min_quality, row.p01_quality = mesh["cells"], mesh["min_quality"], mesh["p01_quality"]
    cut_off = -sum(
        repair["d_volume"] for repair in result["repairs"] if repair["kind"].startswith("electrolyte cut off")
    )
    removed = geometry["void_volume"] - cut_off
    row.volume_um3 = removed / UM**3
    reference = expect.get("volume_um3", sum(counted_volume(crack) for crack in case["cracks"]))
    if np.isfinite(reference):
        row.volume_error = row.volume_um3 / reference - 1
        if abs(row.volume_error) > 0.01:
            faults.append(f"volume {row.volume_um3:.4g} um3, the file has {reference:.4g}")
    # Cells against their boundary, and electrolyte and cracks of the boolean against the block.
    row.balance = max(geometry["volume_balance"], mesh.get("boolean_volume_balance", 0.0), key=abs)
    if abs(row.balance) > 1e-6:
        faults.append(f"the volumes add up within {row.balance:.1e} only")
    row.conductance = result["conductance_over_sigma"]
    low, high = conductance_bounds(result, case)
    if not low * (1 - 1e-9) <= row.conductance <= high * (1 + 1e-9):
        faults.append(f"conductance / sigma {row.conductance:.4g} m outside {low:.4g} to {high:.4g} m")
    currents = result["currents"]
    row.current_imbalance = abs(currents["imbalance"]) / max(map(abs, currents.values()))
    if row.current_imbalance > 1e-6:
        faults.append(f"currents balance within {row.current_imbalance:.1e}")
    changed = [repair for repair in result["repairs"] if repair["kind"] not in HARMLESS]
    row.verdict = "wrong" if faults else "repaired" if changed else "succeeded"
    row.text = "; ".join(faults) or ", ".join(f"{repair['count']} x {repair['kind']}" for repair in changed)


def conductance_bounds(result: dict[str, Any], case: dict[str, Any]) -> tuple[float, float]:
    """Bounds of conductance over conductivity, m, that hold for any shape.

    Lithium at the plating potential only adds to A/H, and less than a slab of lithium down to its lowest point;
    insulating voids only take away from it.
    """
    plain = BLOCK[0] * BLOCK[1] / BLOCK[2] * UM
    lithium = [crack["name"] for crack in case["cracks"] if crack.get("contents", "lithium") == "lithium"]
    voids = len(lithium) < len(case["cracks"])
    lowest = min((result["surfaces"][name]["bounds_m"][0][2] for name in lithium), default=BLOCK[2] * UM)
    return 0.0 if voids else plain, BLOCK[0] * BLOCK[1] * UM**2 / lowest


def counted_volume(crack: dict[str, Any]) -> float:
    """Volume of a surface within the block, um3, by counting the points of a jittered grid it winds round.

    Read by trimesh and placed here, with the generalised winding number of libigl; nan where trimesh does not
    read it, and for what encloses no volume.
    """
    import igl
    import trimesh

    if crack["kind"] != "surface_file":
        return float("nan")
    try:
        body = trimesh.load(crack["file"], force="mesh", process=True)
        vertices, faces = np.array(body.vertices, dtype=float), np.array(body.faces, dtype=np.int64)
    except Exception as error:  # whatever trimesh throws at a broken file
        print(f"  trimesh does not read {Path(crack['file']).name}: {type(error).__name__}")
        return float("nan")
    place = crack.get("place") or {}
    middle = (vertices.min(axis=0) + vertices.max(axis=0)) / 2
    if "longest" in place:
        vertices = middle + (vertices - middle) * (micrometres(place["longest"]) / np.ptp(vertices, axis=0).max())
    if "centre" in place:
        vertices += [micrometres(value) for value in place["centre"]] - middle
    if "shift" in place:
        vertices += [micrometres(value) for value in place["shift"]]
    low, high = np.maximum(vertices.min(axis=0), 0), np.minimum(vertices.max(axis=0), BLOCK)
    counts = np.maximum(np.round((high - low) / (high - low).max() * GRID), 8).astype(int)
    step = (high - low) / counts
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in counts), indexing="ij"), axis=-1).reshape(-1, 3)
    points = low + (grid + np.random.default_rng(0).random(grid.shape)) * step
    inside = np.abs(igl.fast_winding_number(vertices, faces, points)) > 0.5
    return float(inside.sum() * np.prod(step))


def micrometres(text: str) -> float:
    """A length as the expectations and :data:`PLACE` write it."""
    value, unit = text.split()
    return float(value) * {"nm": 1e-3, "um": 1.0, "mm": 1e3}[unit]


def write(rows: list[Row], folder: Path) -> None:
    """The table as CSV and as Markdown."""
    with (folder / "campaign.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
    lines = [
        "| file | verdict | expected | cells | least, 1 % quality | volume, um³ | off by | CPU s | peak GB | remark |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        solved = row.verdict in ("succeeded", "repaired", "wrong") and row.cells
        figures = (
            [f"{row.cells:,}", f"{row.min_quality:.3f}, {row.p01_quality:.2f}", f"{row.volume_um3:.4g}",
             "-" if np.isnan(row.volume_error) else f"{row.volume_error:+.2%}"]
            if solved else ["", "", "", ""]
        )  # fmt: skip
        mark = "" if row.as_expected else " (!)"
        cost = [f"{row.cpu_s:.0f}", f"{row.peak_gb:.1f}"]
        text = row.text.replace("|", "/").replace(str(Path.cwd()), "")
        cells = [row.file, row.verdict + mark, row.expected, *figures, *cost, text]
        lines.append("| " + " | ".join(cells) + " |")
    (folder / "campaign.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main())
