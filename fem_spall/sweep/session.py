"""The commands of a sweep from start to end: plan, run what is missing, collect, tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fem_spall.errors import CaseError, SweepError
from fem_spall.sweep.collect import collect
from fem_spall.sweep.cost import cost_of
from fem_spall.sweep.display import Counts, TerminalSweep, cost_lines, plan_lines, plan_table, status_table
from fem_spall.sweep.engine import Command, Machine, hold, run_points
from fem_spall.sweep.fate import Fate, fate_of
from fem_spall.sweep.plan import PLAN, Plan, make_plan, read_plan
from fem_spall.sweep.script import write_script
from fem_spall.sweep.supervise import point_command
from fem_spall.sweep.sweep_file import read_sweep
from fem_spall.terminal import console

__all__ = ["collect_session", "dry_run", "retry_session", "script_session", "status_session", "sweep_session"]


def sweep_session(
    source: Path, overrides: Sequence[str], output: Path | None, machine: Machine, command: Command = point_command
) -> None:
    """Plan a sweep, run its points that have no result, collect their results and tell of them.

    Raises
    ------
    SweepError
        If points failed; the others are done all the same.
    """
    plan = make_plan(read_sweep(source), overrides)
    folder = output if output is not None else Path("results") / plan.name
    with hold(folder, plan.name) as token:
        plan.write(folder)
        _run(read_plan(folder), folder, token, machine, command, failed_only=False)
    _end(folder)


def retry_session(
    folder: Path, machine: Machine, time_limit: float | None, memory_limit: float | None,
    command: Command = point_command,
) -> None:  # fmt: skip
    """Run the failed points of a sweep again, perhaps with other limits."""
    plan = read_plan(folder)
    changes = {"time": time_limit, "memory": memory_limit}
    limits = plan.settings.limits.model_copy(update={key: value for key, value in changes.items() if value is not None})
    plan = replace(plan, settings=plan.settings.model_copy(update={"limits": limits}))
    with hold(folder, plan.name) as token:
        _run(plan, folder, token, machine, command, failed_only=True)
    _end(folder)


def _run(plan: Plan, folder: Path, token: str, machine: Machine, command: Command, *, failed_only: bool) -> None:
    fates = [fate_of(folder, point) for point in plan.points]
    wanted = ("failed",) if failed_only else ("failed", "pending", "running")
    todo = [point for point, fate in zip(plan.points, fates, strict=True) if fate.status in wanted]
    finished, screen = Counts(fates)["ok"], console()
    workers = machine.count(plan.settings.ranks, plan.settings.limits.memory)
    for line in plan_lines(plan, finished, workers if machine.scheduler is None else 0):
        screen.print(line, soft_wrap=True)
    progress = TerminalSweep(plan)
    try:
        if todo:
            progress.begin(finished + len(todo), finished, workers)
            run_points(plan, folder, todo, token, machine, progress, command)
    finally:
        progress.close()
        collect(plan, folder)


def _end(folder: Path) -> None:
    """Tell what came of a sweep.

    Raises
    ------
    SweepError
        If points have no result.
    """
    plan = read_plan(folder)
    fates = [fate_of(folder, point) for point in plan.points]
    counts = Counts(fates)
    screen = console()
    screen.print(f"{plan.name}: {counts}. To read first: {folder / 'report.html'}; numbers: {folder / 'sweep.csv'}",
                 soft_wrap=True)  # fmt: skip
    if missing := len(plan.points) - counts["ok"]:
        first = next(fate.reason for fate in fates if fate.status != "ok")
        reason = f"{missing} of {len(plan.points)} points have no result ({first[:200]})"
        cure = f"`fem-spall sweep status {folder}` tells each one's fate; started again, only these are run"
        raise SweepError(1, str(folder), reason, cure)


def dry_run(source: Path, overrides: Sequence[str], output: Path | None, machine: Machine) -> None:
    """Print the points of a sweep and what they would cost; run and write nothing."""
    plan = make_plan(read_sweep(source), overrides)
    folder = output if output is not None else Path("results") / plan.name
    screen = console()
    screen.print(plan_table(plan))
    fates = [fate_of(folder, point) for point in plan.points]
    done = [fate.seconds for fate in fates if fate.status == "ok"]
    workers = machine.count(plan.settings.ranks, plan.settings.limits.memory)
    for line in plan_lines(plan, len(done), workers):
        screen.print(line, soft_wrap=True)
    for line in cost_lines(plan, cost_of(plan, done), len(plan.points) - len(done), workers):
        screen.print(line, soft_wrap=True)


def status_session(folder: Path) -> None:
    """Print what became of every point."""
    plan = read_plan(folder)
    fates = [fate_of(folder, point) for point in plan.points]
    screen = console()
    screen.print(status_table(plan, fates))
    screen.print(f"{plan.name}: {Counts(fates)}.")
    if stray := _stray(plan, folder):
        screen.print(f"{stray} points of an earlier plan are kept in {folder / 'points'}.", soft_wrap=True)


def _stray(plan: Plan, folder: Path) -> int:
    known = {point.id for point in plan.points}
    places = (folder / "points").glob("*/") if (folder / "points").is_dir() else ()
    return sum(place.name not in known for place in places)


def collect_session(folder: Path) -> Sequence[Fate]:
    """Write table, ParaView index and report of a sweep from the results that are there."""
    plan = read_plan(folder)
    fates = collect(plan, folder)
    _end(folder)
    return fates


def script_session(source: Path, overrides: Sequence[str], output: Path | None, options: Sequence[str]) -> None:
    """Plan a sweep and write a Slurm array script for its points that have no result."""
    plan = make_plan(read_sweep(source), overrides)
    folder = output if output is not None else Path("results") / plan.name
    with hold(folder, plan.name):
        plan.write(folder)
        plan = read_plan(folder)
        todo = [point for point in plan.points if fate_of(folder, point).status != "ok"]
        if not todo:
            raise CaseError(
                16, str(folder / PLAN), "has no point left to run", "fem-spall sweep collect DIR tables them"
            )
        script = write_script(plan, folder, todo, options)
    console().print(
        f"{len(todo)} points. Submit: sbatch {script}; then: fem-spall sweep collect {folder}", soft_wrap=True
    )
