"""fem-spall against other codes on the same tetrahedra: ``python benchmarks/speed/run.py`` (options: ``--help``).

Makes the meshes, installs the peers into a throw-away virtual environment, runs all codes in turn, each in a process of
its own, checks that the currents agree, measures the memory bandwidth in between, and prints a table.
"""

from __future__ import annotations

import argparse
import ctypes
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from codes import CODES  # noqa: E402

#: Codes that fem-spall's own environment has.
OWN = ("fem-spall", "dolfinx, CG and default GAMG")
PEERS = ("ngsolve", "scikit-fem", "pyamg", "mfem")
#: Currents agree to this.
AGREEMENT = 1e-6
TRIAD = """#include <stddef.h>
void triad(size_t n, double *a, const double *b, const double *c)
{
    for (size_t i = 0; i < n; i++) a[i] = b[i] + 3 * c[i];
}
"""


def main() -> int:
    """Run, print the table, and return 1 if codes disagree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default=["100 nm"], nargs="*", help="mesh.size_min of configs/spallation.yaml")
    parser.add_argument("--mesh", type=Path, nargs="*", default=[], help="meshes as .npz, instead")
    parser.add_argument("--degrees", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=2, help="the first fills the caches; the least counts")
    parser.add_argument("--peers", type=Path, help="a virtual environment that has the peers already")
    parser.add_argument("--sfepy", help="a Python with SfePy and petsc4py (Debian: python3-sfepy, python3-petsc4py)")
    parser.add_argument("--codes", nargs="*", choices=list(CODES), default=None, help="default: all that there are")
    options = parser.parse_args()
    if options.codes is None:
        options.codes = [name for name in CODES if options.sfepy or not name.startswith("SfePy")]
    with tempfile.TemporaryDirectory(prefix="fem-spall-speed-") as scratch:
        peers = options.peers or install(Path(scratch) / "peers")
        meshes = options.mesh or [make(size, Path(scratch) / f"{i}.npz") for i, size in enumerate(options.size)]
        print(about([str(peers / "bin" / "python"), *([options.sfepy] if options.sfepy else [])]))
        agree = [compare(mesh, degree, options, peers) for mesh in meshes for degree in options.degrees]
    return 0 if all(agree) else 1


def install(folder: Path) -> Path:
    """A new virtual environment with the peers."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    subprocess.run([str(folder / "bin" / "python"), "-m", "pip", "install", "-q", *PEERS], check=True)
    return folder


def make(size: str, path: Path) -> Path:
    """The mesh of the spallation crack with a smallest size."""
    from fem_spall.case_file import load_case
    from fem_spall.mesh.child import mesh_in_child
    from fem_spall.run import build_surfaces

    case = load_case(HERE.parents[1] / "configs" / "spallation.yaml", [f"mesh.size_min={size}"])
    mesh_in_child(case, build_surfaces(case), path.parent).save(path)
    return path


def about(pythons: list[str]) -> str:
    """Machine, date and versions."""
    code = (
        "import importlib.metadata as m\n"
        f"for n in {(*PEERS, 'sfepy')}:\n try: print(n, m.version(n))\n except m.PackageNotFoundError: pass"
    )
    asked = [subprocess.run([python, "-c", code], capture_output=True, text=True, check=True) for python in pythons]
    models = [x for x in Path("/proc/cpuinfo").read_text().splitlines() if x.startswith("model name")]
    own = [f"{name} {metadata.version(name)}" for name in ("fem-spall", "dolfinx-solver-real")]
    machine = models[0].partition(": ")[2] if models else platform.machine()
    versions = ", ".join([*own, *dict.fromkeys(line for said in asked for line in said.stdout.splitlines())])
    return f"{datetime.date.today()}, {machine}, {len(models)} cores, load {os.getloadavg()[0]:.1f}; {versions}\n"


def bandwidth() -> float:
    """STREAM triad on one core, bytes a second: the best of five, three arrays of 160 MB."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "triad.c"
        source.write_text(TRIAD)
        library = source.with_suffix(".so")
        command = os.environ.get("CC", "cc")
        subprocess.run(
            [command, "-O3", "-march=native", "-shared", "-fPIC", str(source), "-o", str(library)], check=True
        )
        call = ctypes.CDLL(str(library)).triad
        a, b, c = (np.ones(20_000_000) for _ in range(3))
        best = np.inf
        for _ in range(5):
            begin = time.process_time()
            call(ctypes.c_size_t(a.size), *(ctypes.c_void_p(x.ctypes.data) for x in (a, b, c)))
            best = min(best, time.process_time() - begin)
    return 24 * a.size / best


def compare(mesh: Path, degree: int, options: Any, peers: Path) -> bool:
    """Run all codes in turn and print their table; whether their currents agree."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in options.codes}
    triads = []
    for _ in range(options.repeats):
        triads.append(bandwidth())
        for name in options.codes:
            python = sys.executable if name in OWN else str(peers / "bin" / "python")
            if name.startswith("SfePy"):
                python = options.sfepy or python
            command = [python, str(HERE / "codes.py"), name, str(mesh), str(degree)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                print(f"{name} failed: {(done.stderr.strip().splitlines() or ['nothing said'])[-1]}", file=sys.stderr)
                continue
            found[name].append(json.loads(done.stdout.strip().splitlines()[-1]))
    best = {name: min(runs, key=lambda run: run["total"]) for name, runs in found.items() if runs}
    ours = best["fem-spall"]
    print(f"Degree {degree}, {ours['unknowns']:,} unknowns; STREAM triad {max(triads) / 1e9:.1f} GB/s\n")
    heads = ("code", "CPU s after the mesh", "times fem-spall", "phases", "unknowns/s", "peak MB", "B/unknown",
             "iterations", "true residual", "current, against fem-spall")  # fmt: skip
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    agree = True
    for name, run in best.items():
        phases = ", ".join(f"{phase} {seconds:.2f}" for phase, seconds in run["seconds"].items())
        off = run["current"] / ours["current"] - 1
        agree &= abs(off) < AGREEMENT
        print(
            f"| {name} | {run['total']:.2f} | {run['total'] / ours['total']:.1f} | {phases} | "
            f"{run['unknowns'] / run['total']:,.0f} | {run['peak_bytes'] / 1e6:.0f} | "
            f"{run['peak_bytes'] / run['unknowns']:.0f} | {run['iterations']} | {run['residual']:.0e} | {off:+.0e} |"
        )
    if "bytes_per_iteration" in ours:
        bound = ours["bytes_per_iteration"] / max(triads)
        print(f"\nOne iteration of fem-spall takes {ours['seconds_per_iteration'] * 1e3:.1f} ms; it must move "
              f"{ours['bytes_per_iteration'] / 1e6:.0f} MB, {bound * 1e3:.1f} ms at the triad's rate: "
              f"{ours['seconds_per_iteration'] / bound:.1f} times the bound.")  # fmt: skip
    print("" if agree else f"\nCurrents must agree to {AGREEMENT:g}.")
    sys.stdout.flush()
    return agree


if __name__ == "__main__":
    sys.exit(main())
