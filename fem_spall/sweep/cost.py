"""What a sweep will cost, from its finished points where there are some, else from a few of its cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fem_spall.errors import SpallError
from fem_spall.estimate import UNKNOWNS, estimate, measure
from fem_spall.sweep.plan import Plan, case_at

__all__ = ["Cost", "cost_of"]

#: Cases that are measured for an estimate, evenly chosen among the points.
SAMPLES = 3
#: Fitted to runs of 8 thousand to 400 thousand unknowns, all stages, on one core: good to a factor of two or three.
SECONDS_PER_UNKNOWN, BASE_SECONDS = 2e-4, 8.0


@dataclass(frozen=True)
class Cost:
    """Expected time and memory of the points of a sweep."""

    seconds: float  # of one point, mean
    memory: float  # bytes of the largest of the samples, 0 where unknown
    unknowns: tuple[float, float]  # smallest and largest of the samples
    source: str
    refined: float = 0.0  # seconds of a point whose ``accuracy`` spends all its cells; 0 where nothing is refined


def cost_of(plan: Plan, finished: Sequence[float] = ()) -> Cost | None:
    """Return the expected cost of a point; ``finished`` are seconds of points that have run.

    None where no case could be measured.
    """
    if finished:
        mean = sum(finished) / len(finished)
        return Cost(mean, 0.0, (0.0, 0.0), f"{len(finished)} points that have run")
    chosen = sorted({round(k * (len(plan.points) - 1) / max(SAMPLES - 1, 1)) for k in range(SAMPLES)})
    found, most = [], 0.0
    for index in chosen:
        case = case_at(plan, plan.points[index], Path(), Path(plan.source))
        try:
            found.append(estimate(case, measure(case)))
            if case.accuracy is not None:
                most = max(most, UNKNOWNS[case.solver.degree] * (case.accuracy.max_cells or case.mesh.max_cells))
        except SpallError:
            continue  # the point itself will say what is wrong
    if not found:
        return None
    unknowns = [entry.unknowns for entry in found]
    seconds = BASE_SECONDS + SECONDS_PER_UNKNOWN * sum(unknowns) / len(unknowns)
    span = (min(unknowns), max(unknowns))
    return Cost(
        seconds,
        max(entry.memory for entry in found),
        span,
        f"estimates of {len(found)} cases, a factor of two or three either way",
        BASE_SECONDS + SECONDS_PER_UNKNOWN * most if most else 0.0,
    )
