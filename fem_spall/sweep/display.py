"""What a sweep prints: progress with counts and time to go, tables of points, the cost before it starts."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from fem_spall.sweep.cost import Cost
from fem_spall.sweep.fate import Fate
from fem_spall.sweep.plan import Plan, Point
from fem_spall.terminal import console, silence_output, table

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.table import Table

__all__ = ["Counts", "TerminalSweep", "cost_lines", "plan_lines", "plan_table", "status_table", "words"]

#: Rows of a plan that are printed; ``plan.csv`` has them all.
SHOWN = 40


def words(plan: Plan, point: Point) -> str:
    """Values of a point in words."""
    shown = (column for column in plan.columns if column.kind != "derived")
    return ", ".join(f"{column.name} = {_cell(point.values[column.name])} {column.unit}".strip() for column in shown)


def _cell(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def duration(seconds: float) -> str:
    """A time in the unit that people use for it."""
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}" if seconds < 10 * size else f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


class Counts:
    """How many points have which fate."""

    def __init__(self, fates: Iterable[Fate] = ()) -> None:
        self._counts: Counter[str] = Counter(fate.status for fate in fates)

    def __str__(self) -> str:
        names = {"ok": "complete", "failed": "failed", "running": "running", "pending": "still to run"}
        return ", ".join(f"{self._counts[key]} {name}" for key, name in names.items() if self._counts[key]) or "none"

    def __getitem__(self, status: str) -> int:
        return self._counts[status]

    def add(self, status: str) -> None:
        """Count one more."""
        self._counts[status] += 1


class TerminalSweep:
    """Progress of a sweep: a bar with counts and time to go on a terminal, a line a point on a pipe."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._console = console()
        self._counts = Counts()
        self._bar: Bar | None = None
        self._total = self._finished = 0
        self._workers, self._begin, self._done = 1, 0.0, 0

    def begin(self, total: int, finished: int, workers: int) -> None:
        """So many points in all, so many of them with a result already, so many at a time."""
        self._total, self._finished, self._workers = total, finished, workers
        self._begin = time.monotonic()
        if self._console.is_terminal:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

            columns = (
                TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
                TextColumn("{task.fields[rest]}", markup=False), TimeElapsedColumn(),
            )  # fmt: skip
            self._bar = Progress(*columns, console=self._console)
            self._bar.add_task("points", total=total, completed=finished, rest="")
            self._bar.start()

    def ended(self, point: Point, fate: Fate) -> None:
        """A point has ended."""
        self._done += 1
        self._counts.add(fate.status)
        left = self._total - self._finished - self._done
        rest = (time.monotonic() - self._begin) / self._done * left
        to_go = f"{duration(rest)} to go" if left else ""
        outcome = {"ok": "ok", "failed": "FAILED", "pending": "stopped"}.get(fate.status, fate.status)
        reason = f": {fate.reason}" if fate.reason else ""
        line = f"{point.id}  {outcome:<7} {fate.seconds:7.1f} s  {words(self._plan, point)}{reason}"
        if self._bar is not None:
            failed = f"{self._counts['failed']} failed, " if self._counts["failed"] else ""
            self._bar.update(self._bar.task_ids[0], advance=1, rest=f"{failed}{to_go}")
            if fate.status != "ok":
                self._bar.console.print(line, soft_wrap=True)
            return
        try:
            print(f"[{self._finished + self._done}/{self._total}] {line}{'; ' if to_go else ''}{to_go}", flush=True)
        except BrokenPipeError:
            silence_output()

    def close(self) -> None:
        """No more points will end."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def plan_table(plan: Plan, most: int = SHOWN) -> Table:
    """Return the points of a plan as a table without derived keys, its middle left out if it is long."""
    columns = [column for column in plan.columns if column.kind != "derived" or "." not in column.name]
    heads = ["id", *(f"{c.name} [{c.unit}]" if c.unit else c.name for c in columns)]
    chosen: Sequence[Point | None] = plan.points
    if len(plan.points) > most:
        chosen = [*plan.points[: most // 2], None, *plan.points[-most // 2 :]]
    rows = [
        ["..."] * len(heads) if point is None
        else [point.id, *(_cell(point.values.get(column.name, "")) for column in columns)]
        for point in chosen
    ]  # fmt: skip
    return table(heads, rows, right=heads[1:])


def plan_lines(plan: Plan, finished: int, workers: int) -> Iterator[str]:
    """What there is to do, in sentences; ``workers`` is 0 where a scheduler has them."""
    done = f", {finished} of them complete" if finished else ""
    yield f"{plan.name}: {len(plan.points)} points{done}" + (f", {workers} at a time." if workers else ".")
    yield from plan.notes


def cost_lines(plan: Plan, cost: Cost | None, left: int, workers: int) -> Iterator[str]:
    """What the points that are left cost, in sentences."""
    if cost is None:
        yield "The cost cannot be estimated: no case could be measured."
        return
    if cost.unknowns[1]:
        yield (
            f"{cost.unknowns[0]:,.0f} to {cost.unknowns[1]:,.0f} unknowns a point, up to {cost.memory / 1e9:.1f} GB "
            f"(limit {plan.settings.limits.memory / 1e9:.3g} GB)."
        )
    total = cost.seconds * left / max(workers, 1)
    yield f"About {duration(cost.seconds)} a point, {duration(total)} in all ({cost.source})."
    if cost.refined:
        yield f"That is before refinement; spending all cells of its accuracy a point takes {duration(cost.refined)}."


def status_table(plan: Plan, fates: Sequence[Fate]) -> Table:
    """Return what became of every point as a table."""
    names = {"ok": "complete", "failed": "FAILED", "running": "running", "pending": "still to run"}
    rows = [
        [point.id, names[fate.status], f"{fate.seconds:.1f}" if fate.seconds else "", str(fate.attempts or ""),
         words(plan, point), fate.reason]
        for point, fate in zip(plan.points, fates, strict=True)
    ]  # fmt: skip
    return table(["point", "state", "s", "tries", "values", "reason"], rows, right=["s", "tries"])
