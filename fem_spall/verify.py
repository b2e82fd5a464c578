"""Benchmarks run through the public path: errors, orders, and whether the stated error bars held.

A figure fails where it misses its tolerance on the finest level or converges too slowly.
An error bar that did not hold is noted and counted: bars are estimates, and fewer than
:data:`HELD` of them holding is what fails a run.
"""

from __future__ import annotations

import json
import math
import statistics
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fem_spall import __version__
from fem_spall.benchmark import Benchmark, Declaration, Levels, Quantity
from fem_spall.errors import Interrupted, SpallError
from fem_spall.output.files import atomic_text
from fem_spall.progress import Progress, Silent

__all__ = ["Bars", "Comparison", "Report", "run_benchmark", "run_level", "verify", "write_record", "write_tables"]

#: Share of the stated error bars that must hold.
HELD = 0.95
#: Fewer bars than this are not judged together: one miss alone would be more than the share allows.
ENOUGH = 20
#: Stated over true error from which on a ratio is counted as one that rules the arithmetic mean.
LUCKY = 50
#: An observed order below this share of the expected one fails; one well above is luck or cancellation, no fault.
SLOW = 0.75
TABLE_START, TABLE_END = "<!-- table: start -->", "<!-- table: end -->"

type Runner = Callable[[Path, Mapping[str, Any], Path], Mapping[str, Any]]


@dataclass(frozen=True)
class Comparison:
    """One figure on one level."""

    quantity: Quantity
    level: int
    degree: int
    size: float  # m
    cells: int
    dofs: int
    seconds: float
    value: float | None
    bar: float | None
    order: float | None = None  # against the previous level of the same degree, see fitted_order

    @property
    def error(self) -> float:
        """Signed error, relative, or absolute where the exact value is zero."""
        exact = self.quantity.reference
        if self.value is None:
            return math.nan
        return self.value - exact if exact == 0 else (self.value - exact) / abs(exact)

    @property
    def stated(self) -> float | None:
        """Error that the run itself states, in the terms of :attr:`error`; None where it states none."""
        exact = self.quantity.reference
        return self.bar if self.bar is None or exact == 0 else self.bar / abs(exact)

    @property
    def held(self) -> bool | None:
        """Whether the error is within the stated one, or below the figure's floor; None without a stated one."""
        return None if self.stated is None else abs(self.error) <= max(self.stated, self.quantity.floor)

    @property
    def ratio(self) -> float | None:
        """Stated over true error; None without a stated one, or where the true one is below the figure's floor."""
        if self.stated is None or not abs(self.error) > self.quantity.floor:
            return None
        return self.stated / abs(self.error)

    def entry(self) -> dict[str, Any]:
        """What is recorded of it; errors and bars in the terms of :attr:`error`."""
        quantity = self.quantity
        return {
            "figure": quantity.name, "level": self.level + 1, "degree": self.degree, "size_m": self.size,
            "cells": self.cells, "dofs": self.dofs, "seconds": self.seconds, "value": _finite(self.value),
            "exact": quantity.reference, "error": _finite(self.error), "tolerance": quantity.tolerance,
            "floor": quantity.floor, "order": _finite(self.order), "expected_order": quantity.order.get(self.degree),
            "bar": _finite(self.stated), "ratio": _finite(self.ratio), "held": self.held,
        }  # fmt: skip


@dataclass(frozen=True)
class Report:
    """All comparisons of one benchmark, and what went wrong on the way."""

    name: str
    declaration: Declaration
    comparisons: tuple[Comparison, ...]
    broken: tuple[str, ...] = ()  # levels that ended in a refusal
    interrupted: bool = False

    def rows(self, quantity: Quantity) -> list[Comparison]:
        """Comparisons of one figure, coarse to fine."""
        return [row for row in self.comparisons if row.quantity is quantity]

    @property
    def finest(self) -> list[Comparison]:
        """The last comparison at the highest degree for each figure."""
        found = []
        for quantity in self.declaration.quantities:
            if rows := self.rows(quantity):
                highest = max(row.degree for row in rows)
                found.append([row for row in rows if row.degree == highest][-1])
        return found

    @property
    def judged(self) -> bool:
        """Whether the tolerances apply: they are meant for the finest level of the highest degree that CI affords."""
        levels = self.declaration.chosen("ci")
        highest = max(map(self.declaration.degree, levels))
        needed = max(level for level in levels if self.declaration.degree(level) == highest)
        return any(row.level >= needed and row.degree >= highest for row in self.finest)

    @property
    def failures(self) -> list[str]:
        """One sentence for each level that broke or is too large, and figure that misses its tolerance or its order."""
        found = list(self.broken)
        for last in self.finest if self.judged else ():
            quantity = last.quantity
            if last.value is None:
                found.append(f"{quantity.name}: the run gives no value on the finest mesh")
            elif not abs(last.error) <= (tolerance := self.declaration.tolerance(quantity, last.level)):
                found.append(f"{quantity.name}: error {last.error:.2e} exceeds {tolerance:.1e}")
        most, taken = self.declaration.most_unknowns, max((row.dofs for row in self.comparisons), default=0)
        if most is not None and taken > most:
            found.append(f"a level took {taken:,} unknowns; the accuracy must come with {most:,} at most")
        for quantity in self.declaration.quantities:
            for degree, expected in quantity.order.items():
                observed = fitted_order([row for row in self.rows(quantity) if row.degree == degree])
                if observed is not None and observed < SLOW * expected:
                    found.append(f"{quantity.name}: order {observed:.2f} at degree {degree}, expected {expected:g}")
        return found

    @property
    def notes(self) -> list[str]:
        """One sentence for each error bar that did not hold."""
        return [
            f"{row.quantity.name}: error {row.error:.2e} on level {row.level + 1} exceeds the stated {row.stated:.1e}"
            for row in self.comparisons
            if row.held is False
        ]

    def table(self) -> str:
        """Markdown table of all comparisons."""
        columns = (
            "figure | degree | h (um) | cells | dofs | value | exact | error | stated | stated/error | order | expected"
            " | s"
        )
        lines = [f"| {columns} |", "|---" * (columns.count("|") + 1) + "|"]
        for quantity in self.declaration.quantities:
            for row in self.rows(quantity):
                value, error = ("-", "") if row.value is None else (f"{row.value:.9g}", f"{row.error:+.2e}")
                lines.append(
                    f"| {quantity.name} | P{row.degree} | {row.size * 1e6:.4g} | {row.cells} | {row.dofs} "
                    f"| {value} | {quantity.reference:.9g} | {error} | {_text(row.stated, '.1e')} "
                    f"| {_text(row.ratio, '.2g')} | {_text(row.order, '.2f')} "
                    f"| {_text(quantity.order.get(row.degree), 'g')} | {row.seconds:.1f} |"
                )
        return "\n".join(lines)


@dataclass(frozen=True)
class Bars:
    """How the stated error bars did over some reports."""

    stated: int
    held: int
    ratios: tuple[float, ...]  # stated over true error, where the true one is above the figure's floor
    without: int  # values that came without one
    bare: tuple[str, ...]  # figures that came without one on every level

    @classmethod
    def of(cls, reports: Iterable[Report]) -> Bars:
        """Count over all levels and figures."""
        pairs = [(report, row) for report in reports for row in report.comparisons]
        with_bar = [row for _, row in pairs if row.held is not None]
        without = sum(row.held is None and row.value is not None for _, row in pairs)
        names = dict.fromkeys(f"{report.name}: {row.quantity.name}" for report, row in pairs)
        barred = {f"{report.name}: {row.quantity.name}" for report, row in pairs if row.held is not None}
        bare = tuple(name for name in names if name not in barred)
        ratios = tuple(row.ratio for row in with_bar if row.ratio)
        return cls(len(with_bar), sum(row.held is True for row in with_bar), ratios, without, bare)

    @property
    def share(self) -> float | None:
        """Share of the stated bars that held."""
        return self.held / self.stated if self.stated else None

    @property
    def mean(self) -> float | None:
        """Geometric mean of stated over true error."""
        return statistics.geometric_mean(self.ratios) if self.ratios else None

    @property
    def median(self) -> float | None:
        """Median of stated over true error."""
        return statistics.median(self.ratios) if self.ratios else None

    @property
    def failure(self) -> str | None:
        """A sentence if too few of the bars held, and there are enough of them to say so."""
        if self.share is None or self.stated < ENOUGH or self.share >= HELD:
            return None
        return f"only {self.share:.1%} of the {self.stated} stated error bars held; {HELD:.0%} must"

    def entry(self) -> dict[str, Any]:
        """What is recorded of them."""
        return {
            "stated": self.stated, "held": self.held, "share": self.share, "geometric_mean_ratio": self.mean,
            "median_ratio": self.median, "ratios": len(self.ratios), "without": self.without,
            "bare": list(self.bare),
        }  # fmt: skip


def fitted_order(rows: Sequence[Comparison]) -> float | None:
    """Order of convergence by least squares over the levels above the floor; None with fewer than two of them.

    Errors that change sign pass through zero between two meshes, and their sizes there are luck; what has an order is
    what bounds them, so that of the stated errors is taken, if each of them holds.
    """
    rows = [row for row in rows if row.value is not None and abs(row.error) > row.quantity.floor]
    if len({row.size for row in rows}) < 2:
        return None
    bounded = len({row.error > 0 for row in rows}) == 2 and all(row.held for row in rows)
    errors = [row.stated if bounded and row.stated is not None else abs(row.error) for row in rows]
    sizes = [math.log(row.size) for row in rows]
    return statistics.linear_regression(sizes, [math.log(error) for error in errors]).slope


def run_level(case: Path, overrides: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
    """Run a case with overrides through the public path and return its record."""
    from fem_spall.case_file import load_case
    from fem_spall.run import run_case

    given = tuple(f"{key}={value}" for key, value in overrides.items())
    return run_case(load_case(case, given), case, folder, overrides=given)


def run_benchmark(
    benchmark: Benchmark, levels: Levels = "ci", *, runner: Runner = run_level, progress: Progress | None = None
) -> Report:
    """Run the levels of a benchmark and compare every figure; a level that ends in a refusal does not stop the rest.

    Raises
    ------
    CaseError
        If the declaration compares what no record has.
    """
    told = progress or Silent()
    declaration = benchmark.declaration
    rows: list[Comparison] = []
    broken: list[str] = []
    interrupted = False
    chosen = declaration.chosen(levels)
    for level in chosen:
        degree, size = declaration.degree(level), declaration.size(level)
        told.stage(benchmark.name, f"level {level + 1} of {len(declaration.levels)}: P{degree}, {size * 1e6:.4g} um")
        try:
            with tempfile.TemporaryDirectory(prefix="fem-spall-verify-", ignore_cleanup_errors=True) as scratch:
                result = runner(benchmark.folder / "case.yaml", declaration.levels[level], Path(scratch) / "run")
        except (KeyboardInterrupt, Interrupted):
            interrupted = True
            break
        except SpallError as error:
            broken.append(f"level {level + 1} ended with E{error.number}: {error.where}: {error.reason}")
            told.note(broken[-1])
            continue
        for quantity in declaration.quantities:
            value, bar = quantity.read(result)
            mesh, seconds = result["mesh"], float(result["seconds"]["total"])
            row = Comparison(quantity, level, degree, size, int(mesh["cells"]), int(mesh["dofs"]), seconds, value, bar)
            before = [other for other in rows if other.quantity is quantity and other.degree == degree][-1:]
            rows.append(replace(row, order=fitted_order([*before, row])))
    return Report(benchmark.name, declaration, tuple(rows), tuple(broken), interrupted)


def verify(
    benchmarks: Iterable[Benchmark], levels: Levels = "ci", *, runner: Runner = run_level, progress: Progress
) -> Iterator[Report]:
    """Reports of the benchmarks as they come; interrupted, that of what has run, before the interruption goes on.

    Raises
    ------
    Interrupted
        After the last report, if the user asked to stop.
    """
    for benchmark in benchmarks:
        report = run_benchmark(benchmark, levels, runner=runner, progress=progress)
        yield report
        if report.interrupted:
            reason = "was interrupted; what had run by then is reported"
            raise Interrupted(3, "verify", reason, f"go on with fem-spall verify {benchmark.name}")


def write_record(path: Path, reports: Sequence[Report], *, complete: bool) -> Path:
    """Return the JSON file of every comparison, written with the versions of what computed it.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    from fem_spall.run import versions

    entry = {
        "program": __version__,
        "versions": versions(),
        "complete": complete and not any(report.interrupted for report in reports),
        "bars": Bars.of(reports).entry(),
        "benchmarks": [
            {
                "name": report.name,
                "title": report.declaration.title,
                "reference_cases": report.declaration.reference_cases,
                "failures": report.failures,
                "notes": report.notes,
                "comparisons": [row.entry() for row in report.comparisons],
            }
            for report in reports
        ],
    }
    return atomic_text(path, json.dumps(entry, indent=1, allow_nan=False) + "\n")


def write_tables(reports: Sequence[Report], folder: Path) -> list[Path]:
    """Put the reports into the READMEs of their benchmarks and into ``TABLE.md`` of all; return the files written."""
    written = []
    for report in reports:
        path = folder / report.name / "README.md"
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        head, start, rest = text.partition(TABLE_START)
        _, end, tail = rest.partition(TABLE_END)
        if start and end:
            written.append(atomic_text(path, f"{head}{start}\n{report.table()}\n{end}{tail}"))
    table = folder / "TABLE.md"
    kept = table.read_text(encoding="utf-8") if table.is_file() else ""
    known = {path.parent.name for path in folder.glob("*/benchmark.yaml")} - {report.name for report in reports}
    readmes = [path.with_name("README.md") for path in sorted(folder.glob("*/benchmark.yaml"))]
    ratios = [r for path in readmes if path.is_file() for r in _ratios(path.read_text(encoding="utf-8"))]
    return [*written, atomic_text(table, _overview(reports, kept, known, ratios))]


def _ratios(text: str) -> list[float]:
    """Stated over true error in the table of a benchmark's README."""
    _, _, table = text.partition(TABLE_START)
    rows = [line.strip("|").split("|") for line in table.partition(TABLE_END)[0].splitlines() if line.startswith("|")]
    column = [name.strip() for name in rows[0]].index("stated/error") if rows else 0
    return [float(row[column]) for row in rows[2:] if row[column].strip()]


_BARS = "benchmark | stated bars | held | geometric mean of stated/error | over"
_FIGURES = "benchmark | figure | finest level | error | stated | stated/error | order | expected"


def _overview(reports: Sequence[Report], kept: str, known: set[str], ratios: Sequence[float]) -> str:
    """The two tables of all benchmarks; rows of those that did not run now are taken from the text so far.

    ``ratios`` are those of stated to true error over all of them.
    """
    bars: dict[str, list[str]] = {}
    figures: dict[str, list[str]] = {}
    for line in kept.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and cells[0] in known:
            (bars if len(cells) == _BARS.count("|") + 1 else figures).setdefault(cells[0], []).append(line)
    for report in reports:
        found = Bars.of([report])
        bars[report.name] = [
            f"| {report.name} | {found.stated} | {found.held} | {_text(found.mean, '.3g')} | {len(found.ratios)} |"
        ]
        figures[report.name] = [
            f"| {report.name} | {row.quantity.name} | P{row.degree}, {row.size * 1e6:.4g} um "
            f"| {_text(_finite(row.error), '+.1e')} | {_text(row.stated, '.1e')} | {_text(row.ratio, '.2g')} "
            f"| {_text(row.order, '.2f')} | {_text(row.quantity.order.get(row.degree), 'g')} |"
            for row in report.finest
        ]
    lines = [
        "# All benchmarks at their last run",
        "",
        "Written by `fem-spall verify --write`. Errors are relative, or absolute (SI) where the exact value is zero; "
        "*stated* is the error that the run itself gives. A bar holds where the error is within it or below the "
        "figure's floor; true errors below the floor are left out of stated/error.",
        "",
        *(f"| {_BARS} |", "|---" * (_BARS.count("|") + 1) + "|"),
        *(line for name in sorted(bars) for line in bars[name]),
        _total([line for name in sorted(bars) for line in bars[name]]),
        "",
        *_averages(ratios),
        *(f"| {_FIGURES} |", "|---" * (_FIGURES.count("|") + 1) + "|"),
        *(line for name in sorted(figures) for line in figures[name]),
    ]
    return "\n".join(lines) + "\n"


def _averages(ratios: Sequence[float]) -> list[str]:
    """One sentence on the averages of stated over true error, and an empty line; nothing without any."""
    if not ratios:
        return []
    geometric, median, mean = statistics.geometric_mean(ratios), statistics.median(ratios), statistics.fmean(ratios)
    lucky = sum(ratio > LUCKY for ratio in ratios)
    return [
        f"Stated over true error, all {len(ratios)}: geometric mean {geometric:.3g}, median {median:.3g}. The "
        f"arithmetic mean, {mean:.3g}, is ruled by the {lucky} above {LUCKY}.",
        "",
    ]


def _total(rows: Sequence[str]) -> str:
    """Last row of the table of bars, summed from the others."""
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    stated, held, over = (sum(int(row[column]) for row in cells) for column in (1, 2, 4))
    logarithm = sum(int(row[4]) * math.log(float(row[3])) for row in cells if row[3])
    share = f" ({held / stated:.1%})" if stated else ""
    return f"| **all** | {stated} | {held}{share} | {f'{math.exp(logarithm / over):.3g}' if over else ''} | {over} |"


def _text(value: float | None, form: str) -> str:
    return "" if value is None else f"{value:{form}}"


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
