"""The polarisation curve: one case at several currents on one mesh."""

from __future__ import annotations

from typing import Any

import numpy as np

from fem_spall.case import Case
from fem_spall.conduction import formulate
from fem_spall.crack import cross_section
from fem_spall.metrics import Evaluation
from fem_spall.solve import Solution, solve

__all__ = ["polarisation_curve", "polarisation_table"]

COLUMNS = ("current_density_A_m2", "voltage_V", "voltage_change_of_degree_V", "area_resistance_ohm_m2",
           "crack_current_share", "largest_ball_mean_over_mean")  # fmt: skip


def polarisation_curve(case: Case, solution: Solution) -> list[dict[str, float | None]] | None:
    """Rows of the curve at the currents of the drive, in their order, on rank 0; collective.

    Linear laws scale with the voltage, so that nothing is solved; with kinetics both degrees are solved at each
    current.
    """
    drive = case.electrodes.counter.drive
    if drive is None or not drive.currents:
        return []
    rows: list[dict[str, float | None]] = []
    area, mesh = cross_section(case.block, case.cracks), solution.problem.mesh
    for density in drive.currents:
        low: float | None = None
        if solution.problem.imposed:
            first = solve(formulate(case, mesh, 1, density * area), case.solver.tolerance)
            found, low = first, None
            if case.solver.degree == 2:
                found = solve(formulate(case, mesh, 2, density * area), case.solver.tolerance, first)
                low = float(first.lithium.floating[case.electrodes.counter.face][0])
        else:
            present = mesh.comm.bcast(_total(case, solution) if mesh.arrays is not None else None)
            found = solution.scaled(density * area / present)
        if mesh.arrays is None:
            continue
        e = Evaluation.of(case, found, (0.0, np.zeros(3), 0.0))
        means = [abs(mean.value / e.reference) for mean in list(e.ball_means.values())[:1]]
        volts = e.voltage
        cracks = sum(e.currents[name][0] for name in e.crack_names)
        values = (
            e.total_current / area, volts, None if low is None or volts is None else abs(volts - low),
            None if volts is None else volts * area / e.total_current,
            cracks / e.total_current if e.crack_names else None, means[0] if means else None,
        )  # fmt: skip
        rows.append(dict(zip(COLUMNS, values, strict=True)))
    return rows if mesh.arrays is not None else None


def _total(case: Case, solution: Solution) -> float:
    return Evaluation.of(case, solution, (0.0, np.zeros(3), 0.0)).total_current


def polarisation_table(rows: list[dict[str, Any]]) -> str:
    """The rows as CSV; what is not given is empty."""
    lines = [",".join("" if row[key] is None else f"{row[key]:.10g}" for key in COLUMNS) for row in rows]
    return "\n".join([",".join(COLUMNS), *lines]) + "\n"
