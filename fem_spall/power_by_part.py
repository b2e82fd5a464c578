"""Where in the electrolyte the power goes, where its conductivity differs from place to place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fem_spall.fenics import compile_expression, compile_form, dolfinx, ufl
from fem_spall.microstructure import BOUNDARIES
from fem_spall.solve import Solution

__all__ = ["PartPower", "power_by_part", "power_table"]


@dataclass(frozen=True)
class PartPower:
    """Volume, m^3, of one part of the electrolyte and the power dissipated in it, W."""

    name: str
    volume: float
    power: float


def power_by_part(solution: Solution) -> list[PartPower]:
    """Return volume and power of every part that is in the block; empty where the conductivity is the same everywhere.

    A cell that a grain boundary crosses counts to both, its power in the proportion of the laminate it stands for.
    Collective; the same on all ranks.
    """
    problem = solution.problem
    found = problem.cells
    if found is None:
        return []
    mesh, phi = problem.mesh.mesh, solution.phi
    test = ufl.TestFunction(dolfinx.fem.functionspace(mesh, ("DG", 0)))
    flow = ufl.inner(ufl.dot(problem.sigma, ufl.grad(phi)), ufl.grad(phi))
    count = mesh.topology.index_map(3).size_local
    power, volume = (
        np.asarray(dolfinx.fem.assemble_vector(compile_form(what * test * ufl.dx(domain=mesh))).array[:count])
        for what in (flow, dolfinx.fem.Constant(mesh, 1.0))
    )
    centre = np.array([[0.25, 0.25, 0.25]])
    cells = np.arange(count, dtype=np.int32)
    field = compile_expression(-ufl.grad(phi), centre).eval(mesh, cells).reshape(count, 3)
    within = found.boundary_power(field)
    share = found.share if found.share is not None else np.zeros(count)
    sums = [
        np.bincount(found.part, values, minlength=len(found.names))
        for values in (volume * (1 - share), power * (1 - within))
    ]
    rest = np.array([volume @ share, power @ within])
    sums = [mesh.comm.allreduce(values) for values in (*sums, rest)]
    unit = problem.mesh.unit
    parts = [
        PartPower(name, float(v) * unit**3, float(p) * problem.current_scale)
        for name, v, p in zip(found.names, sums[0], sums[1], strict=True) if v > 0
    ]  # fmt: skip
    if found.share is not None:
        parts.append(PartPower(BOUNDARIES, float(sums[2][0]) * unit**3, float(sums[2][1]) * problem.current_scale))
    return parts


def power_table(parts: list[PartPower]) -> str:
    """The parts as CSV text."""
    rows: list[Any] = [f"{part.name},{part.volume:.8g},{part.power:.8g}\n" for part in parts]
    return "part,volume_m3,power_W\n" + "".join(rows)
