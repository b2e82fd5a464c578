"""A crack in a graded lattice, from arrays to currents: ``python benchmarks/scaling/scaling.py`` (options: ``--help``).

The lattice needs no mesher, so it may have any number of cells: cubes of six tetrahedra, 30 times finer at the tip of
a slot in the plating face than at the walls.  Prints seconds, memory and iterations; with ``mpiexec -n 2 python -m
mpi4py`` in front on several ranks.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fem_spall.case import Case
from fem_spall.conduction import formulate
from fem_spall.fenics import MPI
from fem_spall.mesh.arrays import FACES, MeshArrays
from fem_spall.mesh.tagged import distribute
from fem_spall.solve import solve

#: Longest over shortest edges.
GRADING = 30.0
TOLERANCE = 1e-8  # the solver iterates to a hundredth of it


def lattice(n: int) -> MeshArrays:
    """A block of n³ cubes less a slot half as deep and wide as it, and two cubes thin."""
    even = np.linspace(-1, 1, n + 1)
    points = np.stack(np.meshgrid(even, even, even, indexing="ij"), axis=-1).reshape(-1, 3)
    # Drawn to the middle so that sizes grow with the distance from it, cells at most twice as long as wide.
    points = 5 + 5 * points * np.maximum(np.abs(points).max(axis=1), 1 / GRADING)[:, None]
    i, j, k = (index.ravel() for index in np.meshgrid(*[np.arange(n)] * 3, indexing="ij"))
    slot = (abs(i - n // 2) < 2) & (abs(j - n // 2) < n // 4) & (k >= n // 2)
    stride = np.array([(n + 1) ** 2, n + 1, 1])
    corner = (np.stack([i[~slot], j[~slot], k[~slot]], axis=1) @ stride)[:, None]
    del i, j, k, slot
    ways = []
    for order in itertools.permutations(range(3)):  # Kuhn's six tetrahedra of a cube, ways from corner to corner
        way = np.concatenate([[0], np.cumsum(stride[list(order)])])
        positive = np.linalg.det(np.eye(3)[list(order)]) > 0
        ways.append(way if positive else way[[0, 1, 3, 2]])
    cells = np.empty((6, len(corner), 4), dtype=np.int64)
    for own, way in zip(cells, ways, strict=True):
        np.add(corner, way, out=own)
    del corner
    cells = cells.reshape(-1, 4)
    facets = boundary(cells, len(points))
    tags = np.full(len(facets), 7, dtype=np.int32)
    for tag, (axis, side) in enumerate(FACES.values(), 1):
        tags[(points[facets, axis] == 10.0 * side).all(axis=1)] = tag
    names = {name: tag for tag, name in enumerate(FACES, 1)} | {"slot": 7}
    used = np.zeros(len(points), dtype=bool)
    used[cells.ravel()] = True
    number = np.cumsum(used) - 1
    np.take(number, cells, out=cells)
    info = {"box": [[0.0] * 3, [10.0] * 3]}
    return MeshArrays(points[used], cells, number[facets], tags, names, 1e-6, info)


def boundary(cells: NDArray[np.int64], ends: int) -> NDArray[np.int64]:
    """Facets of one cell only, (k, 3) ascending, of cells (m, 4) with vertices below ``ends``."""
    keys = np.empty((4, len(cells)), dtype=np.int64)
    for key, side in zip(keys, itertools.combinations(range(4), 3), strict=True):
        for first in range(0, len(cells), 1 << 18):
            chunk = slice(first, first + (1 << 18))
            low, middle, high = np.sort(cells[chunk][:, side], axis=1).T
            key[chunk] = (low * ends + middle) * ends + high
    keys = keys.ravel()
    keys.sort()
    again = keys[1:] == keys[:-1]
    single = keys[~np.append(again, False) & ~np.append(False, again)]
    return np.stack([single // ends**2, single // ends % ends, single % ends], axis=1)


def peak() -> int:
    """Peak resident memory of this process, bytes."""
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024


def main() -> None:
    """Solve and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cubes", type=int, default=40, help="along each axis; 108 make ten million unknowns")
    options = parser.parse_args()
    comm = MPI.COMM_WORLD
    made = [lattice(options.cubes) if comm.rank == 0 else None]
    case = Case.model_validate({
        "version": 1, "name": "slot", "electrolyte": {"size": ["10 um"] * 3, "conductivity": "1 S/m"},
        "electrodes": {"plating": {"face": "+z"}, "counter": {"face": "-z", "potential": "1 V"}},
        "mesh": {"size_min": "1 um", "size_max": "2 um"},
        "cracks": [{"name": "slot", "kind": "surface_file", "file": "none.stl", "unit": "um"}],
    })  # fmt: skip
    found: dict[str, Any] = {"ranks": comm.size, "before_bytes": peak()}
    clock, wall = time.process_time(), time.perf_counter()

    def lap(name: str) -> None:
        nonlocal clock, wall
        found[name] = {
            "cpu_s": comm.allreduce(time.process_time() - clock), "wall_s": time.perf_counter() - wall,
            "peak_bytes": comm.allreduce(peak()),
        }  # fmt: skip
        clock, wall = time.process_time(), time.perf_counter()

    mesh = distribute(made.pop(), comm)  # which keeps no second copy
    lap("intake")
    first = solve(formulate(case, mesh, 1), TOLERANCE)
    lap("degree 1")
    problem = formulate(case, mesh, 2)
    lap("space")
    second = solve(problem, TOLERANCE, first)
    lap("degree 2")
    found |= {
        "unknowns": [first.report.dofs, second.report.dofs],
        "iterations": [first.report.iterations, second.report.iterations],
        "residual": second.report.true_residual,
        "conductance_over_sigma": second.bulk_power / second.problem.current_scale,
    }
    if comm.rank == 0:
        print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
