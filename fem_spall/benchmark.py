"""Benchmarks as they are declared: a folder with a case, what is compared on which meshes, and a statement.

A benchmark is a folder with ``case.yaml`` (an ordinary case), ``benchmark.yaml`` (the
declaration, :class:`Declaration`) and ``README.md`` (statement, formula, last table).
Each level overrides some keys of the case, above all ``mesh.size_min``, against which
the observed order of convergence is measured among levels of one element degree.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from fem_spall import analytic
from fem_spall.errors import CaseError, OutputError
from fem_spall.model import Model
from fem_spall.quantity import Potential, Unit, to_si

__all__ = ["Benchmark", "Declaration", "Levels", "Quantity", "find_benchmarks", "source_folder"]

#: Which levels are run: those that CI affords, all of them, or so many of each degree, coarsest first.
type Levels = int | Literal["ci", "all"]

_LENGTH = Unit("m", "1 um", "length")
_PACKAGE = Path(__file__).resolve().parent


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
    uniform flux).  ``tolerance`` of the finest level is relative, or absolute (SI) where the exact value is zero;
    ``ci_tolerance`` takes its place where only the levels that CI affords are run.
    ``order`` is the expected order of convergence by element degree; an error below
    ``floor`` (solver and geometry rounding) has no order, and an error bar need not reach below it.
    """

    name: str
    value: str = Field(pattern=r"^[a-z0-9_]+(\.[a-z0-9_]+)*$")
    copies: Annotated[float, Field(gt=0)] = 1.0
    at_potential: Potential | None = None
    exact: Exact | float
    tolerance: Annotated[float, Field(gt=0)]
    ci_tolerance: Annotated[float, Field(gt=0)] | None = None
    order: dict[int, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    floor: Annotated[float, Field(gt=0)] = 1e-9

    @property
    def reference(self) -> float:
        """Exact value, SI."""
        return self.exact.value() if isinstance(self.exact, Exact) else self.exact

    def read(self, result: Mapping[str, Any]) -> tuple[float | None, float | None]:
        """Value in a result and its stated error bar, both SI; None where the run gives none on its mesh.

        Raises
        ------
        CaseError
            If the record has no such place, or no number there.
        """
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
        return factor * found, None if bar is None else abs(factor) * bar


class Declaration(Model):
    """What a benchmark compares, on which meshes, and the ``most_unknowns`` that any of them may have."""

    version: Literal[1]
    title: str
    reference_cases: tuple[str, ...]
    levels: tuple[dict[str, Any], ...] = Field(min_length=1)
    ci_levels: Annotated[int, Field(ge=1)]
    most_unknowns: Annotated[int, Field(ge=1)] | None = None
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

    def degree(self, level: int) -> int:
        """Element degree of a level."""
        return int(self.levels[level].get("solver.degree", 2))

    def tolerance(self, quantity: Quantity, level: int) -> float:
        """Tolerance of a figure on a level, the finest of its run."""
        coarse = quantity.ci_tolerance if level < len(self.levels) - 1 else None
        return quantity.tolerance if coarse is None else coarse

    def size(self, level: int) -> float:
        """Mesh size of a level, m."""
        return to_si(self.levels[level]["mesh.size_min"], _LENGTH)

    def chosen(self, levels: Levels) -> list[int]:
        """Numbers of the levels to run, in the order of the declaration, which goes from coarse to fine."""
        if levels == "all":
            return list(range(len(self.levels)))
        if levels == "ci":
            return list(range(self.ci_levels))
        taken: Counter[int] = Counter()
        found = []
        for number in range(len(self.levels)):
            taken[self.degree(number)] += 1
            if taken[self.degree(number)] <= levels:
                found.append(number)
        return found


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


def find_benchmarks(names: Sequence[str] = (), folder: Path | None = None) -> list[Benchmark]:
    """Benchmarks of a folder in order of their names: all, or those of these names or with these words in their name.

    Without a folder they are those of the source tree, or in an installed copy those that came with it.

    Raises
    ------
    CaseError
        If no benchmark has a given name, or a declaration is not valid.
    """
    folder = folder or source_folder() or _PACKAGE / "benchmarks"
    known = {path.parent.name: path.parent for path in sorted(folder.glob("*/benchmark.yaml"))}
    chosen = set() if names else set(known)
    for name in names:
        matching = {name} if name in known else {other for other in known if name in other}
        if not matching:
            raise CaseError(72, name, "is no benchmark", f"take one of: {', '.join(known) or 'none is installed'}")
        chosen |= matching
    return [Benchmark.load(known[name]) for name in known if name in chosen]


def source_folder(*, needed: bool = False) -> Path | None:
    """Folder ``benchmarks`` of the source tree, None in an installed copy.

    Raises
    ------
    OutputError
        If it is needed and this is an installed copy.
    """
    if (_PACKAGE.parent / "pyproject.toml").is_file():
        return _PACKAGE.parent / "benchmarks"
    if needed:
        reason = "the tables belong to the source tree, and this is an installed copy"
        raise OutputError(12, "--write", reason, "write the comparisons elsewhere with --json FILE")
    return None
