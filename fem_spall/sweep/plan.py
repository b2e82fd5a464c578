"""The plan of a sweep: its points, each a case of its own under an ID that is the hash of what it computes.

The plan is a file, ``plan.json``, from which a point can be run on any machine that sees the folder; what the points
read lies beside it in ``inputs/``.  A later plan with more values keeps the IDs of the points that both have.
"""

from __future__ import annotations

import copy
import csv
import io
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fem_spall.case import Case
from fem_spall.case_file import case_hash, case_of, refusal
from fem_spall.errors import CaseError, OutputError
from fem_spall.output.files import atomic, atomic_text, file_entry
from fem_spall.quantity import split
from fem_spall.sweep.axes import Row
from fem_spall.sweep.keys import Keys
from fem_spall.sweep.sweep_file import Settings, SweepFile
from fem_spall.yaml_source import Source, override, put, read_source
from fem_spall.yaml_tree import Fault, Node, Place

__all__ = ["PLAN", "Column", "Plan", "Point", "case_at", "groups", "make_plan", "point_case", "read_plan"]

PLAN = "plan.json"
#: Faulty points that are told; the others are like them.
TOLD = 3


@dataclass(frozen=True)
class Column:
    """An axis, formula or symbol as a column of the table: its unit, empty for text and pure numbers."""

    name: str
    unit: str
    kind: str  # axis, derived or repeat


@dataclass(frozen=True)
class Point:
    """One case of a sweep."""

    id: str
    case_hash: str
    settings: dict[str, Any]  # key path: value as in a case file
    values: dict[str, Any]  # by column: number in the column's unit, or text

    @property
    def overrides(self) -> tuple[str, ...]:
        """The settings as on a command line."""
        return tuple(
            f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in self.settings.items()
        )


@dataclass(frozen=True)
class Plan:
    """All points of a sweep in order, and what they have in common."""

    name: str
    source: Path
    base: dict[str, Any]
    columns: tuple[Column, ...]
    points: tuple[Point, ...]
    settings: Settings
    notes: tuple[str, ...] = ()
    design: dict[str, Any] | None = None

    @property
    def axes(self) -> list[Column]:
        """Columns that the points were made from, those of repeats left out."""
        return [column for column in self.columns if column.kind == "axis"]

    def write(self, folder: Path) -> None:
        """Write ``plan.json``, ``plan.csv``, the sweep file, and copies of all that the points read."""
        if self.source.resolve() != (folder / "sweep.yaml").resolve():
            atomic_text(folder / "sweep.yaml", self.source.read_text(encoding="utf-8"))
        keep = _Inputs(folder)
        record = {
            "version": 1, "name": self.name, "source": self.source.name, "base": keep(self.base),
            "columns": [asdict(column) for column in self.columns],
            "settings": self.settings.model_dump(mode="json"), "notes": list(self.notes), "design": self.design,
            "points": [{**asdict(point), "settings": keep(point.settings), "values": keep(point.values)}
                       for point in self.points],
        }  # fmt: skip
        atomic_text(folder / "plan.csv", self._table())
        atomic_text(folder / PLAN, json.dumps(record, indent=0, allow_nan=False) + "\n")

    def _table(self) -> str:
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["id", *(f"{c.name} [{c.unit}]" if c.unit else c.name for c in self.columns)])
        for point in self.points:
            writer.writerow([point.id, *(point.values.get(column.name, "") for column in self.columns)])
        return stream.getvalue()


class _Inputs:
    """Copies files into ``inputs/`` and puts their new place where their path stood."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[Path, str] = {}

    def __call__(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: self(entry) for key, entry in value.items()}
        if isinstance(value, (list, tuple)):
            return [self(entry) for entry in value]
        return self._copied(value) if isinstance(value, Path) else value

    def _copied(self, path: Path) -> str:
        if path not in self._known:
            digest = str(file_entry(path, path.parent)["sha256"])
            target = self._folder / "inputs" / f"{digest[:12]}-{path.name}"
            if not target.is_file():
                target.parent.mkdir(exist_ok=True)
                with atomic(target) as aside:
                    shutil.copyfile(path, aside)
            self._known[path] = f"inputs/{target.name}"
        return self._known[path]


def make_plan(sweep: SweepFile, overrides: Sequence[str] = ()) -> Plan:
    """Return the plan of a sweep; every point is a case that has been read and found good.

    Parameters
    ----------
    sweep : SweepFile
        What the file says.
    overrides : sequence of str
        ``key=value`` texts that go over the base case.

    Raises
    ------
    CaseError
        If the base case or a point is faulty, with file, line and column.
    """
    base = _base(sweep, overrides)
    first = case_of(base, sweep.path)
    keys = Keys(base.root, first)
    rows = sweep.axes.rows()
    made: dict[str, tuple[Row, str]] = {}
    ids: list[str] = []
    faults: list[Fault] = []
    faulty = dropped = 0
    for row in rows:
        try:
            full = _row(sweep, keys, base.root, row)
            if full is None:
                dropped += 1
                continue
            tree = _tree(base.root, full)
            fingerprint = case_hash(case_of(Source(tree, [], False), sweep.path))
        except CaseError as error:
            faults += [_placed(sweep, row, fault) for fault in error.faults] or [
                Fault(str(sweep.path), None, None, "", f"{error.reason}. {error.cure}")
            ]
            faulty += 1
            if faulty == TOLD:
                break
            continue
        made.setdefault(fingerprint[:12], (full, fingerprint))
        ids.append(fingerprint[:12])
    if faults:  # one of a kind: the same fault with other values says nothing new
        alike = {(fault.file, fault.line, fault.column, fault.key): fault for fault in reversed(faults)}
        raise refusal(list(alike.values())[::-1], sweep.path, 3)
    if not made:
        raise CaseError(13, f"{sweep.path}: where", "leaves no point", "loosen the filters")
    notes = [f"{dropped} points are filtered out by 'where'."] if dropped else []
    if len(made) < len(ids):
        notes.append(f"{len(ids) - len(made)} points are the same case as another and are run once.")
    columns = _columns(sweep, [row for row, _ in made.values()])
    points = tuple(
        Point(id, fingerprint, {k: n.plain() for k, n in row.items() if "." in k}, _values(columns, row))
        for id, (row, fingerprint) in made.items()
    )
    design = {**sweep.axes.design, "points": ids} if sweep.axes.design else None
    return Plan(
        sweep.name, sweep.path, base.root.plain(), columns, points, sweep.settings, tuple(notes), design
    )  # fmt: skip


def _base(sweep: SweepFile, overrides: Sequence[str]) -> Source:
    """Tree of the base case, with what the sweep sets for all points."""
    path = sweep.case.place.folder / str(sweep.case.value)
    try:
        source = read_source(path)
    except CaseError as error:
        fault = Fault.at(sweep.case.place, "case", f"{error.where} {error.reason}. Give its path relative to this file")
        raise refusal([fault], sweep.path, 3) from None
    for key, node in sweep.common.items():
        put(source.root, key, node, source.faults)
    for text in overrides:
        override(source.root, text, source.faults)
    return source


def _row(sweep: SweepFile, keys: Keys, base: Node, row: Row) -> Row | None:
    """A point's row with its derived values; None where a filter leaves it out."""
    full = dict(row)
    lookup = keys.lookup(base, full)
    for entry in sweep.derived:
        value = keys.evaluate(entry, lookup, sweep.path)
        full[entry.name] = Node(keys.written(entry, value, sweep.path), entry.node.place, entry.node.key_place)
    for entry in sweep.filters:
        kept = keys.evaluate(entry, lookup, sweep.path)
        if not isinstance(kept, bool):
            message = "must be a comparison, true or false. Write for instance 'cracks.slit.depth < 5 um'"
            raise refusal([Fault.at(entry.node.place, "where", message)], sweep.path, 3)
        if not kept:
            return None
    return full


def _tree(base: Node, row: Row) -> Node:
    tree, faults = copy.deepcopy(base), list[Fault]()
    for key, node in row.items():
        if "." in key:
            put(tree, key, node, faults)
    if faults:
        raise refusal(faults, Path(faults[0].file), 3)
    return tree


def _placed(sweep: SweepFile, row: Row, fault: Fault) -> Fault:
    """A fault of a point, saying of which where the sweep file alone does not show it."""
    if fault.file == str(sweep.path) and "there is no" in fault.message:
        return fault
    where = ", ".join(f"{key} = {node.shown()}" for key, node in row.items())
    return Fault(fault.file, fault.line, fault.column, fault.key, f"with {where}: {fault.message}")


def _columns(sweep: SweepFile, rows: Sequence[Row]) -> tuple[Column, ...]:
    """Columns with the unit in which the first value is written, if all values have one of its kind."""
    derived = {entry.name for entry in sweep.derived}
    found = []
    for name in rows[0]:
        unit = ""
        try:
            units = {split(row[name].value)[1] for row in rows}
            unit = split(rows[0][name].value)[1] if "" not in units else ""
        except ValueError:
            pass
        kind = "repeat" if name == sweep.repeats else "derived" if name in derived else "axis"
        found.append(Column(name, unit, kind))
    return tuple(found)


def _values(columns: Sequence[Column], row: Row) -> dict[str, Any]:
    """Values of a point by column: numbers in the column's unit, else text."""
    return {column.name: in_unit(row[column.name].plain(), column.unit) for column in columns}


def in_unit(value: Any, unit: str) -> Any:
    """A value as a number in a unit; text and numbers without unit as they are, everything else as JSON text."""
    from fem_spall.quantity import Unit, to_si

    if unit:
        return to_si(value, Unit(unit, f"1 {unit}", "value"))
    return value if isinstance(value, (bool, int, float, str, Path)) else json.dumps(value, default=str)


# --- a plan that was written ------------------------------------------------------------------------------------------


def read_plan(folder: Path) -> Plan:
    """Return the plan of a sweep's folder.

    Raises
    ------
    OutputError
        If the folder holds none that can be read.
    """
    try:
        record = json.loads((folder / PLAN).read_text(encoding="utf-8"))
        return Plan(
            record["name"], folder / "sweep.yaml", record["base"],
            tuple(Column(**column) for column in record["columns"]),
            tuple(Point(**point) for point in record["points"]),
            Settings.model_validate(record["settings"]), tuple(record["notes"]), record["design"],
        )  # fmt: skip
    except FileNotFoundError:
        raise OutputError(20, str(folder), "holds no sweep", "give the folder of one, or plan it first") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"cannot be read as the plan of a sweep ({error})"
        raise OutputError(21, str(folder / PLAN), reason, "plan the sweep again") from None


def point_case(plan: Plan, folder: Path, id: str) -> tuple[Point, Case]:
    """Return a point of a plan and its case.

    Raises
    ------
    CaseError
        If there is no such point, or what it reads has changed since it was planned.
    """
    point = next((point for point in plan.points if point.id == id), None)
    if point is None:
        raise CaseError(14, f"point {id}", "is not in the plan", f"{folder / 'plan.csv'} lists the points")
    case = case_at(plan, point, folder, folder / PLAN)
    if case_hash(case) != point.case_hash:
        reason = "is another case than when it was planned: an input file or the program has changed"
        raise CaseError(15, f"point {id}", reason, "plan the sweep again: fem-spall sweep SWEEP.yaml -o DIR")
    return point, case


def case_at(plan: Plan, point: Point, folder: Path, path: Path) -> Case:
    """Return the case of a point; relative paths in it are relative to ``folder``."""
    place = Place(str(path), folder=folder)
    tree = _node(plan.base, place)
    for key, value in point.settings.items():
        put(tree, key, _node(value, place), [])
    return case_of(Source(tree, [], False), path)


def _node(value: Any, place: Place) -> Node:
    if isinstance(value, Mapping):
        return Node({str(key): _node(entry, place) for key, entry in value.items()}, place, place)
    if isinstance(value, (list, tuple)):
        return Node([_node(entry, place) for entry in value], place, place)
    return Node(value, place, place)


def groups(plan: Plan) -> Iterator[tuple[dict[str, Any], list[Point]]]:
    """Points that differ by their repeats only, with the values they share."""
    found: dict[str, tuple[dict[str, Any], list[Point]]] = {}
    repeated = {column.name for column in plan.columns if column.kind == "repeat"}
    for point in plan.points:
        shared = {name: value for name, value in point.values.items() if name not in repeated}
        found.setdefault(json.dumps(shared, sort_keys=True, default=str), (shared, []))[1].append(point)
    yield from found.values()
