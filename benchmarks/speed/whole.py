"""Whole processes from a mesh file to the current: ``python benchmarks/speed/whole.py MESH.npz`` (options: ``--help``).

fem-spall and GetDP (Debian's package ``getdp``) read the same binary MSH 2.2 file, solve degree 1 to a relative
residual of 1e-8 and print the current, in turn; everything counts from the start of the process: interpreter,
libraries, reading and sorting of the mesh.  GetDP gets both preconditioners that suit, of its own PETSc.  The command
ends with exit code 1 where currents differ by more than 1e-6.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
AGREEMENT = 1e-6
#: Physical groups of the file.
ZERO, ONE, ELECTROLYTE = 1, 2, 3
SOLVE = ["-solve", "Solve", "-pos", "Current", "-v", "1"]
SOLVE += ["-ksp_type", "cg", "-ksp_rtol", "1e-8", "-ksp_norm_type", "unpreconditioned"]
GETDP = {
    "GetDP, CG and ICC": ["-pc_type", "icc"],
    "GetDP, CG and GAMG": ["-pc_type", "gamg"],
}


def main() -> int:
    """Run in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mesh", type=Path, nargs="+", help="a mesh as .npz (MeshArrays.save); .msh: be fem-spall on it")
    parser.add_argument("--repeats", type=int, default=3, help="the least counts")
    options = parser.parse_args()
    if options.mesh[0].suffix == ".msh":
        return fem_spall(options.mesh[0])
    if shutil.which("getdp") is None:
        print("getdp is not installed; Debian has it", file=sys.stderr)
        return 1
    return 0 if sum(not compare(mesh, options.repeats) for mesh in options.mesh) == 0 else 1


def compare(path: Path, repeats: int) -> bool:
    """All codes on one mesh; whether they agree."""
    from fem_spall.mesh.arrays import MeshArrays

    found: dict[str, list[tuple[float, float, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="fem-spall-whole-") as scratch:
        mesh, current = Path(scratch) / "mesh.msh", Path(scratch) / "current.txt"
        problem = Path(shutil.copy(HERE / "conduction.pro", scratch))  # results go beside it
        arrays = MeshArrays.load(path)
        write(arrays, mesh)
        for _ in range(repeats):
            seconds, said, peak = spent([sys.executable, __file__, str(mesh)], scratch)
            found.setdefault("fem-spall", []).append((seconds, float(said), peak))
            for name, extra in GETDP.items():
                command = ["getdp", str(problem), "-msh", str(mesh), *SOLVE, *extra]
                seconds, _, peak = spent(command, scratch)
                found.setdefault(name, []).append((seconds, float(current.read_text().split()[-1]), peak))
    best = {name: min(runs) for name, runs in found.items()}
    ours = best["fem-spall"]
    print(f"{len(arrays.points):,} vertices, {len(arrays.cells):,} cells, load {os.getloadavg()[0]:.1f}\n")
    print("| code | CPU s, whole process | times fem-spall | peak MB | current, against fem-spall |")
    print("|---|---|---|---|---|")
    for name, (seconds, amount, peak) in best.items():
        print(f"| {name} | {seconds:.2f} | {seconds / ours[0]:.2f} | {peak / 1e6:.0f} | {amount / ours[1] - 1:+.0e} |")
    print(flush=True)
    return all(abs(amount / ours[1] - 1) < AGREEMENT for _, amount, _ in best.values())


def spent(command: list[str], folder: str) -> tuple[float, str, float]:
    """CPU seconds of a process and its children, what it printed, and its peak memory, bytes."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=folder, env=environment, text=True) as child:
        assert child.stdout is not None
        said = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{command[0]} failed: {said[-500:]}")
    return usage.ru_utime + usage.ru_stime, said, usage.ru_maxrss * 1024.0


def write(arrays: Any, path: Path) -> None:
    """Write straight-sided cells and the facets of both electrodes as binary MSH 2.2."""
    group = np.zeros(max(arrays.names.values()) + 1, dtype=np.int32)
    for name, tag in arrays.names.items():
        group[tag] = ONE if name == "-z" else ZERO if name == "+z" or name[0] not in "+-" else 0
    facets, groups = arrays.facets[:, :3][group[arrays.tags] > 0], group[arrays.tags][group[arrays.tags] > 0]
    cells = arrays.cells[:, :4]
    used, cells = np.unique(cells, return_inverse=True)
    facets, cells = np.searchsorted(used, facets), cells.reshape(-1, 4)
    nodes = np.empty(len(used), dtype=[("number", "<i4"), ("place", "<f8", 3)])
    nodes["number"], nodes["place"] = np.arange(1, len(nodes) + 1), arrays.points[used]
    with path.open("wb") as out:
        out.write(b"$MeshFormat\n2.2 1 8\n" + np.int32(1).tobytes() + b"\n$EndMeshFormat\n$Nodes\n%d\n" % len(nodes))
        out.write(nodes.tobytes() + b"\n$EndNodes\n$Elements\n%d\n" % (len(facets) + len(cells)))
        first = 1
        for kind, ends, tags in ((2, facets, groups), (4, cells, np.full(len(cells), ELECTROLYTE))):
            rows = np.column_stack([np.arange(first, first + len(ends)), tags, tags, ends + 1]).astype("<i4")
            out.write(np.array([kind, len(ends), 2], dtype="<i4").tobytes() + rows.tobytes())
            first += len(ends)
        out.write(b"\n$EndElements\n")


def read(path: Path) -> tuple[Any, Any, Any, Any]:
    """Points, cells, facets and their groups of a file as :func:`write` leaves it: two blocks, numbers in order."""
    data = path.read_bytes()
    at = data.index(b"$Nodes\n") + 7
    end = data.index(b"\n", at)
    count = int(data[at:end])
    nodes = np.frombuffer(data, [("number", "<i4"), ("place", "<f8", 3)], count, end + 1)
    at = data.index(b"\n", data.index(b"$Elements\n", end + 1 + nodes.nbytes) + 10) + 1
    blocks = []
    for ends in (3, 4):
        rows = int(np.frombuffer(data, "<i4", 3, at)[1])
        block = np.frombuffer(data, "<i4", rows * (3 + ends), at + 12).reshape(rows, -1)
        at += 12 + block.nbytes
        blocks.append(block)
    facets, cells = blocks
    return nodes["place"], cells[:, 3:] - 1, facets[:, 3:].astype(np.int64) - 1, facets[:, 1]


def fem_spall(path: Path) -> int:
    """The current of the file's mesh by fem-spall, printed."""
    from fem_spall.case import Case
    from fem_spall.conduction import formulate
    from fem_spall.fenics import MPI
    from fem_spall.mesh.arrays import MeshArrays
    from fem_spall.mesh.tagged import distribute
    from fem_spall.solve import solve
    from fem_spall.system import MARGIN

    points, cells, facets, groups = read(path)
    case = Case.model_validate({
        "version": 1, "name": "whole",
        "electrolyte": {"size": [f"{size!r} um" for size in np.ptp(points, axis=0).tolist()], "conductivity": "1 S/m"},
        "electrodes": {"plating": {"face": "+z"}, "counter": {"face": "-z", "potential": "1 V"}},
        "mesh": {"size_min": "1 um", "size_max": "2 um"},
    })  # fmt: skip
    names = {"+z": ZERO, "-z": ONE}
    mesh = distribute(MeshArrays(points, cells, facets, groups, names, 1e-6), MPI.COMM_SELF)
    solution = solve(formulate(case, mesh, 1), 1e-8 / MARGIN)
    print(repr(solution.bulk_power / solution.problem.current_scale))
    return 0


if __name__ == "__main__":
    sys.exit(main())
