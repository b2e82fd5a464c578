"""Benchmarks with an exact answer: declare, run through the public path, compare.

A benchmark is a folder with ``case.yaml`` (an ordinary case), ``benchmark.yaml`` (the
declaration, :class:`Declaration`) and ``README.md`` (statement, formula, last table).
Each level overrides some keys of the case, above all ``mesh.size_min``, against which
the observed order of convergence is measured among levels of one element degree.

Run ``python -m fem_spall.verify [NAME ...] [--write] [--all-levels]``.
"""

from __future__ import annotations

import argparse
import inspect
import math
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from fem_spall import analytic
from fem_spall.errors import CaseError
from fem_spall.model import Model
from fem_spall.quantity import Potential, Unit, to_si

__all__ = ["Benchmark", "Comparison", "Declaration", "Report", "find_benchmarks", "verify"]

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
TABLE_START, TABLE_END = "<!-- table: start -->", "<!-- table: end -->"
_LENGTH = Unit("m", "1 um", "length")

type Runner = Callable[[Path, Mapping[str, Any], Path], Mapping[str, Any]]


class Exact(Model):
    """The exact value: a closed form of :data:`fem_spall.analytic.FIGURES` and its parameters as text with units."""

    form: str
    parameters: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _callable(self) -> Exact:
        if self.form not in analytic.FIGURES:
            raise ValueError(f"there is no closed form {self.form!r}; take one of: {', '.join(analytic.FIGURES)}")
        self.value()
        return self

    def value(self) -> float:
        """Exact value, SI."""
        form = analytic.FIGURES[self.form]
        units = {
            name: parameter.annotation.__metadata__[0]
            for name, parameter in inspect.signature(form, eval_str=True).parameters.items()
        }
        if unknown := sorted(set(self.parameters) - set(units)):
            raise ValueError(f"closed form {self.form!r} takes {', '.join(units)}; unknown: {', '.join(unknown)}")
        given = {
            name: [to_si(item, units[name]) for item in text] if isinstance(text, list) else to_si(text, units[name])
            for name, text in self.parameters.items()
        }
        return form(**given)


class Quantity(Model):
    """One compared figure.

    ``value`` is its place in ``result.json``; it is multiplied by ``copies`` (mirror images
    that make up the whole body) and divided by ``at_potential``, where given.  ``exact`` is a
    closed form, or a bare number for a figure whose exact value needs none (an identity, a
    uniform flux).  ``tolerance`` is relative, or absolute (SI) where the exact value is zero.
    ``order`` is the expected order of convergence by element degree; an error below
    ``floor`` (solver and geometry rounding) has no order.
    """

    name: str
    value: str = Field(pattern=r"^[a-z0-9_]+(\.[a-z0-9_]+)*$")
    copies: Annotated[float, Field(gt=0)] = 1.0
    at_potential: Potential | None = None
    exact: Exact | float
    tolerance: Annotated[float, Field(gt=0)]
    order: dict[int, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    floor: Annotated[float, Field(gt=0)] = 1e-9

    @property
    def reference(self) -> float:
        """Exact value, SI."""
        return self.exact.value() if isinstance(self.exact, Exact) else self.exact

    def read(self, result: Mapping[str, Any]) -> tuple[float | None, float | None]:
        """Value in a result and its stated error bar, both SI; None where the run gives none on its mesh."""
        found: Any = result
        for key in self.value.split("."):
            if not isinstance(found, Mapping) or key not in found:
                raise CaseError(
                    70, f"{self.name}, {self.value}", f"there is no {key!r} in result.json", "correct the place"
                )
            holder, found = found, found[key]
        bar = holder.get("error") if self.value.endswith(".value") else None
        factor = self.copies / (1.0 if self.at_potential is None else self.at_potential)
        if found is None:
            return None, None
        if isinstance(found, bool) or not isinstance(found, (int, float)):
            raise CaseError(70, f"{self.name}, {self.value}", f"is no number; got {found!r}", "correct the place")
        return factor * found, None if bar is None else factor * bar


class Declaration(Model):
    """What a benchmark compares, on which meshes."""

    version: Literal[1]
    title: str
    reference_cases: tuple[str, ...]
    levels: tuple[dict[str, Any], ...] = Field(min_length=1)
    ci_levels: Annotated[int, Field(ge=1)]
    quantities: tuple[Quantity, ...] = Field(min_length=1)

    @field_validator("levels")
    @classmethod
    def _sized(cls, levels: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        for number, level in enumerate(levels):
            if "mesh.size_min" not in level:
                raise ValueError(f"level {number} must state mesh.size_min, against which the order is measured")
            to_si(level["mesh.size_min"], _LENGTH)
        return levels

    @model_validator(mode="after")
    def _enough_levels(self) -> Declaration:
        if self.ci_levels > len(self.levels):
            raise ValueError(f"ci_levels is {self.ci_levels} but there are {len(self.levels)} levels")
        return self


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
    order: float | None  # against the previous level of the same degree

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


@dataclass(frozen=True)
class Report:
    """All comparisons of one benchmark."""

    name: str
    declaration: Declaration
    comparisons: tuple[Comparison, ...]

    @property
    def failures(self) -> list[str]:
        """One sentence for each figure that misses its tolerance, its order or the error that the run states."""
        found = []
        for quantity in self.declaration.quantities:
            rows = [row for row in self.comparisons if row.quantity is quantity]
            highest = max(row.degree for row in rows)
            last = [row for row in rows if row.degree == highest][-1]
            if last.value is None:
                found.append(f"{quantity.name}: the run gives no value on the finest mesh")
            elif not abs(last.error) <= quantity.tolerance:
                found.append(f"{quantity.name}: error {last.error:.2e} exceeds {quantity.tolerance:.1e}")
            found += [
                f"{quantity.name}: error {row.error:.2e} on level {row.level + 1} exceeds the stated {row.stated:.1e}"
                for row in rows
                if row.stated is not None and not abs(row.error) <= max(row.stated, quantity.floor)
            ]
            for degree, expected in quantity.order.items():
                observed = fitted_order([row for row in rows if row.degree == degree])
                # An order well above the expected one is luck or cancellation, not a fault.
                if observed is not None and observed < 0.75 * expected:
                    found.append(f"{quantity.name}: order {observed:.2f} at degree {degree}, expected {expected:g}")
        return found

    def table(self) -> str:
        """Markdown table of all comparisons."""
        columns = "figure | degree | h (um) | cells | dofs | value | exact | error | stated | order | expected | s"
        lines = [f"| {columns} |", "|---" * (columns.count("|") + 1) + "|"]
        for quantity in self.declaration.quantities:
            for row in (row for row in self.comparisons if row.quantity is quantity):
                order = "" if row.order is None else f"{row.order:.2f}"
                value, error = ("-", "") if row.value is None else (f"{row.value:.9g}", f"{row.error:+.2e}")
                bar = "" if row.stated is None else f"{row.stated:.1e}"
                expected = quantity.order.get(row.degree)
                lines.append(
                    f"| {quantity.name} | P{row.degree} | {row.size * 1e6:.4g} | {row.cells} | {row.dofs} "
                    f"| {value} | {quantity.reference:.9g} | {error} | {bar} | {order} "
                    f"| {'' if expected is None else f'{expected:g}'} | {row.seconds:.1f} |"
                )
        return "\n".join(lines)


def fitted_order(rows: Sequence[Comparison]) -> float | None:
    """Order of convergence by least squares over the levels above the floor; None with fewer than two of them."""
    pairs = [
        (math.log(row.size), math.log(abs(row.error)))
        for row in rows
        if row.value is not None and abs(row.error) > row.quantity.floor
    ]
    if len(pairs) < 2 or pairs[0][0] == pairs[-1][0]:
        return None
    mean_x = sum(x for x, _ in pairs) / len(pairs)
    mean_y = sum(y for _, y in pairs) / len(pairs)
    return sum((x - mean_x) * (y - mean_y) for x, y in pairs) / sum((x - mean_x) ** 2 for x, _ in pairs)


@dataclass(frozen=True)
class Benchmark:
    """A folder that declares a benchmark."""

    folder: Path
    declaration: Declaration

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.name

    @classmethod
    def load(cls, folder: Path) -> Benchmark:
        """Read ``benchmark.yaml`` of the folder.

        Raises
        ------
        CaseError
            If the declaration is not valid.
        """
        from ruamel.yaml import YAML
        from ruamel.yaml.error import YAMLError

        path = folder / "benchmark.yaml"
        try:
            return cls(folder, Declaration.model_validate(YAML(typ="safe", pure=True).load(path)))
        except YAMLError as error:
            raise CaseError(71, str(path), f"is no YAML: {error}", "correct it") from None
        except ValidationError as error:
            faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
            raise CaseError(71, str(path), f"is no valid declaration: {faults}", "correct it") from None

    def run(self, runner: Runner, *, all_levels: bool = False, progress: Callable[[str], None] = print) -> Report:
        """Run the levels (those that CI affords, or all) and compare every quantity."""
        comparisons: list[Comparison] = []
        levels = self.declaration.levels if all_levels else self.declaration.levels[: self.declaration.ci_levels]
        for number, level in enumerate(levels):
            with tempfile.TemporaryDirectory(prefix="fem-spall-verify-") as scratch:
                result = runner(self.folder / "case.yaml", level, Path(scratch) / "run")
            for quantity in self.declaration.quantities:
                comparisons.append(self._compare(quantity, number, level, result, comparisons))
            mesh = result["mesh"]
            progress(
                f"{self.name}: level {number + 1} of {len(levels)}, {mesh['cells']} cells, {mesh['dofs']} unknowns, "
                f"{result['seconds']['total']:.1f} s"
            )
        return Report(self.name, self.declaration, tuple(comparisons))

    def _compare(
        self,
        quantity: Quantity,
        number: int,
        level: Mapping[str, Any],
        result: Mapping[str, Any],
        before: Iterable[Comparison],
    ) -> Comparison:
        value, bar = quantity.read(result)
        row = Comparison(
            quantity=quantity,
            level=number,
            degree=int(level.get("solver.degree", 2)),
            size=to_si(level["mesh.size_min"], _LENGTH),
            cells=int(result["mesh"]["cells"]),
            dofs=int(result["mesh"]["dofs"]),
            seconds=float(result["seconds"]["total"]),
            value=value,
            bar=bar,
            order=None,
        )
        earlier = [other for other in before if other.quantity is quantity and other.degree == row.degree][-1:]
        return replace(row, order=fitted_order([*earlier, row]))


def run_level(case: Path, overrides: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
    """Run a case with overrides through the public path and return its record."""
    from fem_spall.case_file import load_case
    from fem_spall.run import run_case

    given = tuple(f"{key}={value}" for key, value in overrides.items())
    return run_case(load_case(case, given), case, folder, overrides=given)


def find_benchmarks(names: Sequence[str] = (), folder: Path = FOLDER) -> list[Benchmark]:
    """Benchmarks of a folder, all or those whose name contains one of ``names``, in order of their names.

    Raises
    ------
    CaseError
        If no benchmark has a given name, or a declaration is not valid.
    """
    folders = sorted(path.parent for path in folder.glob("*/benchmark.yaml"))
    for name in names:
        if not any(name in path.name for path in folders):
            raise CaseError(72, name, "is no benchmark", f"take one of: {', '.join(path.name for path in folders)}")
    return [Benchmark.load(path) for path in folders if not names or any(name in path.name for name in names)]


def write_table(benchmark: Benchmark, report: Report) -> None:
    """Put the table of a run between the markers of the benchmark's README."""
    path = benchmark.folder / "README.md"
    text = path.read_text(encoding="utf-8")
    head, rest = text.split(TABLE_START, 1)
    _, tail = rest.split(TABLE_END, 1)
    path.write_text(f"{head}{TABLE_START}\n{report.table()}\n{TABLE_END}{tail}", encoding="utf-8")


def verify(
    names: Sequence[str] = (), *, all_levels: bool = False, write: bool = False, progress: Callable[[str], None] = print
) -> list[Report]:
    """Reports of the benchmarks; with ``write`` their tables go into the READMEs."""
    reports = []
    for benchmark in find_benchmarks(names):
        report = benchmark.run(run_level, all_levels=all_levels, progress=progress)
        if write:
            write_table(benchmark, report)
        reports.append(report)
    return reports


def main(arguments: Sequence[str] | None = None) -> int:
    """Run benchmarks from the command line; the exit code is 6 where a figure misses its tolerance or its order."""
    parser = argparse.ArgumentParser(prog="python -m fem_spall.verify", description=verify.__doc__)
    parser.add_argument("names", nargs="*", help="parts of benchmark names; none for all")
    parser.add_argument("--all-levels", action="store_true", help="the fine levels too")
    parser.add_argument("--write", action="store_true", help="record the tables in the READMEs")
    given = parser.parse_args(arguments)
    reports = verify(given.names, all_levels=given.all_levels, write=given.write)
    for report in reports:
        print(f"\n{report.name}: {report.declaration.title}\n\n{report.table()}")
        for failure in report.failures:
            print(f"FAILED {report.name}: {failure}")
    return 6 if any(report.failures for report in reports) else 0


if __name__ == "__main__":
    sys.exit(main())
