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
    i, j, k = i[~slot], j[~slot], k[~slot]
    stride = np.array([(n + 1) ** 2, n + 1, 1])
    corner = (np.stack([i, j, k], axis=1) @ stride)[:, None]
    cells = []
    for order in itertools.permutations(
        range(3)
    ):  # Kuhn's six tetrahedra of a cube, along the ways from corner to corner
        way = np.concatenate([[0], np.cumsum(stride[list(order)])])
        positive = np.linalg.det(np.eye(3)[list(order)]) > 0
        cells.append(corner + (way if positive else way[[0, 1, 3, 2]]))
    tetrahedra = np.concatenate(cells)
    sides = np.sort(tetrahedra[:, [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]]].reshape(-1, 3), axis=1)
    del cells
    ends = len(points)
    order = np.argsort((sides[:, 0] * ends + sides[:, 1]) * ends + sides[:, 2])
    same = (np.diff(sides[order], axis=0) == 0).all(axis=1)
    single = ~(np.concatenate([same, [False]]) | np.concatenate([[False], same]))
    facets = sides[order[single]]
    tags = np.full(len(facets), 7, dtype=np.int32)
    for tag, (axis, side) in enumerate(FACES.values(), 1):
        tags[(points[facets, axis] == 10.0 * side).all(axis=1)] = tag
    names = {name: tag for tag, name in enumerate(FACES, 1)} | {"slot": 7}
    used, numbered = np.unique(tetrahedra, return_inverse=True)
    renamed = np.searchsorted(used, facets)
    info = {"box": [[0.0] * 3, [10.0] * 3]}
    return MeshArrays(points[used], numbered.reshape(-1, 4), renamed, tags, names, 1e-6, info)


def peak() -> int:
    """Peak resident memory of this process, bytes."""
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024


def main() -> None:
    """Solve and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cubes", type=int, default=40, help="along each axis; 108 make ten million unknowns")
    options = parser.parse_args()
    comm = MPI.COMM_WORLD
    arrays = lattice(options.cubes) if comm.rank == 0 else None
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

    mesh = distribute(arrays, comm)
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
