"""The commands ``verify`` and ``converge``: run many cases, tell what comes of them, keep it whatever happens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fem_spall.benchmark import Benchmark, Levels, find_benchmarks, source_folder
from fem_spall.converge import Settings, converge, plan
from fem_spall.errors import CaseError, SolveError
from fem_spall.summary import bars_lines, benchmark_parts, convergence_parts
from fem_spall.terminal import TerminalProgress, console
from fem_spall.verify import Bars, Report, verify, write_record, write_tables

__all__ = ["converge_session", "verify_session"]


def verify_session(
    names: Sequence[str], levels: str, as_json: Path | None, *, write: bool = False, only_list: bool = False
) -> None:
    """Run benchmarks, print their tables, keep their comparisons.

    Raises
    ------
    SolveError
        If a figure misses its tolerance or its order, or too few error bars held.
    """
    chosen = _levels(levels)
    if write and isinstance(chosen, int):
        raise CaseError(10, "--write", "needs complete tables", "leave --levels out, or give --levels all")
    tables = source_folder(needed=True) if write else None
    found = find_benchmarks(names)
    if only_list:
        _list(found)
        return
    if as_json is not None:
        write_record(as_json, [], complete=False)  # before an hour's work: can it be written?
    progress, screen = TerminalProgress(), console()
    reports: list[Report] = []
    try:
        for report in verify(found, chosen, progress=progress):
            progress.done()
            reports.append(report)
            for part in benchmark_parts(report):
                screen.print(part)
            if as_json is not None:
                write_record(as_json, reports, complete=len(reports) == len(found))
            if tables is not None and not report.interrupted:
                write_tables([report], tables)
    finally:
        progress.done()
        bars = Bars.of(reports)
        for line in bars_lines(bars):
            screen.print(line)
    failed = [report.name for report in reports if report.failures]
    reasons = [f"{', '.join(failed)} failed"] if failed else []
    if wrong := "; ".join([*reasons, *([bars.failure] if bars.failure else [])]):
        raise SolveError(10, "verify", wrong, "the tables above say where")


def _list(benchmarks: Sequence[Benchmark]) -> None:
    for benchmark in benchmarks:
        declared = benchmark.declaration
        count = f"{declared.ci_levels} of {len(declared.levels)} levels"
        print(f"{benchmark.name:<32} {count:<14} {declared.title}")


def _levels(text: str) -> Levels:
    if text == "ci":
        return "ci"
    if text == "all":
        return "all"
    if text.isascii() and text.isdigit() and int(text) > 0:
        return int(text)
    raise CaseError(10, "--levels", f"must be ci, all or a number above zero; got {text!r}", "leave it out for ci")


def converge_session(
    source: Path,
    overrides: Sequence[str],
    output: Path | None,
    levels: int,
    ratio: float,
    degrees: str,
    ranks: int,
) -> None:
    """Run a convergence study of a case and print what its figures tend to.

    Raises
    ------
    SolveError
        If a point failed; the others are done all the same.
    """
    settings = Settings(levels, ratio, _degrees(degrees))
    study = plan(source, overrides, settings)
    folder = output if output is not None else Path("results") / f"{study.name}_convergence"
    screen = console()
    record = converge(study, folder, ranks=ranks, progress=TerminalProgress())
    for part in convergence_parts(record):
        screen.print(part)
    screen.print(f"Results: {folder}, to read first: {folder / 'convergence.html'}", soft_wrap=True)
    if failed := [point["folder"] for point in record["points"] if point["status"] == "failed"]:
        reason = f"{len(failed)} of {len(record['points'])} points failed: {', '.join(failed)}"
        raise SolveError(11, "converge", reason, "the table above says why; started again, only they are run")


def _degrees(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError:
        raise CaseError(10, "--degrees", f"must be 1, 2 or both; got {text!r}", "write --degrees 1,2") from None
