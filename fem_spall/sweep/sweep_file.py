"""The file of a sweep: base case, axes, formulas, filters, limits; every fault with its place.

::

    version: 1
    name: tip_radius
    case: ../blade.yaml                 # relative to this file
    set: {mesh.size_max: 2 um}          # for every point
    axes:
      - {key: tip_radius, log: [5 nm, 50 nm], count: 5}       # without a dot: a symbol for formulas
    derived:
      cracks.slit.opening: 2 * sqrt(tip_radius * cracks.slit.depth)
      mesh.size_min: cracks.slit.opening / 2
    where: [tip_radius < 40 nm]
    repeats: {key: cracks.hole.seed, seeds: [1, 2, 3]}
    limits: {time: 30 min, memory: 4 GB}
    ranks: 1
    cache: {place: user, size: 5 GB}    # or sweep, or none
    report:
      figures: [fef_tip]
      fits: [{figure: fef_tip, axis: tip_radius, minus: 1}]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from fem_spall.case_file import refusal
from fem_spall.errors import CaseError
from fem_spall.model import Model
from fem_spall.quantity import Memory, Time
from fem_spall.sweep.axes import MOST_POINTS, Axis, grid, open_mapping, read_axes
from fem_spall.sweep.expression import Formula, FormulaError
from fem_spall.yaml_source import read_tree
from fem_spall.yaml_tree import Fault, Node

__all__ = ["Cache", "Derived", "Fit", "Limits", "Settings", "SweepFile", "read_sweep"]

KEYS = (
    "version", "name", "case", "set", "axes", "derived", "where", "repeats", "limits", "ranks", "cache", "report",
)  # fmt: skip


class Limits(Model):
    """What one point may take before it is stopped."""

    time: Time = "1 h"  # type: ignore[assignment]
    memory: Memory = "4 GB"  # type: ignore[assignment]


class Cache(Model):
    """Where surfaces, meshes and solutions are kept for reuse, and how much of them."""

    place: Literal["user", "sweep", "none"] = "user"
    size: Memory = "5 GB"  # type: ignore[assignment]


class Fit(Model):
    """A power law of a figure, less a constant if one is given, along an axis."""

    figure: str
    axis: str
    minus: float = 0.0


class Report(Model):
    """What the report of the sweep shows first."""

    figures: tuple[str, ...] = ()
    fits: tuple[Fit, ...] = ()


class Settings(Model):
    """How the points are run and shown; nothing here changes a number."""

    limits: Limits = Limits()
    ranks: int = Field(default=1, ge=1, le=512)
    cache: Cache = Cache()
    report: Report = Report()


@dataclass(frozen=True)
class Derived:
    """A key or symbol that follows from others."""

    name: str
    formula: Formula
    node: Node


@dataclass(frozen=True)
class SweepFile:
    """What a sweep file says."""

    path: Path
    name: str
    case: Node
    common: dict[str, Node]
    axes: Axis
    derived: tuple[Derived, ...]
    filters: tuple[Derived, ...]
    repeats: str | None
    settings: Settings
    faults: list[Fault] = field(default_factory=list)


def read_sweep(path: Path) -> SweepFile:
    """Return what a sweep file says.

    Raises
    ------
    CaseError
        With every fault, its line and column.
    """
    faults: list[Fault] = []
    if not path.is_file():
        raise CaseError(1, str(path), "is no file", "give the path of a sweep file, such as those in configs/sweeps/")
    root, broken = read_tree(path, faults)
    if broken:
        raise refusal(faults, path, 2)
    entries = open_mapping(root, "", KEYS, faults)
    for key, example in {"version": "1", "name": "depth", "case": "case.yaml", "axes": "[...]"}.items():
        if key not in entries:
            faults.append(Fault.at(root.place, key, f"this key is missing. Add '{key}: {example}'"))
    _check_head(entries, faults)
    axes = read_axes(entries["axes"], "axes", faults) if "axes" in entries else []
    repeats = _repeats(entries.get("repeats"), faults)
    if repeats is not None:
        axes.append(repeats)
    derived = _formulas(entries.get("derived"), "derived", faults)
    filters = _formulas(entries.get("where"), "where", faults)
    _check_names(axes, derived, filters, entries, faults)
    settings = _settings(entries, faults)
    everything = grid(axes)
    if everything.count > MOST_POINTS:
        message = f"must make at most {MOST_POINTS:,} points; got {everything.count:,}. Take fewer values"
        faults.append(Fault.at(entries["axes"].key_place or entries["axes"].place, "axes", message))
    if faults:
        raise refusal(faults, path, 3)
    common = entries["set"].value if "set" in entries else {}
    assert isinstance(common, dict)
    return SweepFile(
        path, str(entries["name"].value), entries["case"], common, everything, derived, filters,
        repeats.keys[0] if repeats is not None else None, settings,
    )  # fmt: skip


def _check_head(entries: dict[str, Node], faults: list[Fault]) -> None:
    if "version" in entries and entries["version"].value != 1:
        node = entries["version"]
        faults.append(Fault.at(node.place, "version", f"must be 1; got {node.shown()}. Write 'version: 1'"))
    name = entries.get("name")
    if name is not None and not (isinstance(name.value, str) and name.value.replace("-", "_").isidentifier()):
        message = f"must be a short name of letters, digits, '_' and '-'; got {name.shown()}. Write for instance depth"
        faults.append(Fault.at(name.place, "name", message))
    case = entries.get("case")
    if case is not None and not (isinstance(case.value, str) and case.value):
        faults.append(Fault.at(case.place, "case", f"must be the path of a case; got {case.shown()}. Give its path"))
    if "set" in entries and not isinstance(entries["set"].value, dict):
        node = entries["set"]
        message = f"must hold keys and values; got {node.shown()}. Write for instance '{{mesh.size_max: 2 um}}'"
        faults.append(Fault.at(node.place, "set", message))
        entries.pop("set")


def _repeats(node: Node | None, faults: list[Fault]) -> Axis | None:
    if node is None:
        return None
    entries = open_mapping(node, "repeats", ("key", "seeds"), faults)
    if entries.keys() != {"key", "seeds"}:
        if isinstance(node.value, dict):
            message = "must have a key and its seeds. Write for instance '{key: cracks.hole.seed, seeds: [1, 2, 3]}'"
            faults.append(Fault.at(node.place, "repeats", message))
        return None
    axis = Node({"key": entries["key"], "values": entries["seeds"]}, node.place)
    found = read_axes(Node([axis], node.place), "repeats", faults)
    return found[0] if found else None


def _formulas(node: Node | None, path: str, faults: list[Fault]) -> tuple[Derived, ...]:
    if node is None:
        return ()
    if path == "derived" and isinstance(node.value, dict):
        pairs = [(name, f"{path}.{name}", entry) for name, entry in node.value.items()]
    elif path == "where" and isinstance(node.value, list):
        pairs = [(entry.shown(), f"{path}.{number}", entry) for number, entry in enumerate(node.value)]
    else:
        example = "{mesh.size_min: cracks.slit.opening / 2}" if path == "derived" else "[cracks.slit.depth < 5 um]"
        faults.append(Fault.at(node.place, path, f"is {node.shown()}. Write for instance '{example}'"))
        return ()
    found = []
    for name, place, entry in pairs:
        try:
            found.append(Derived(name, Formula.read(entry.value), entry))
        except FormulaError as error:
            faults.append(Fault.at(entry.place, place, f"{error}. Correct the formula"))
    return tuple(found)


def _check_names(
    axes: Sequence[Axis], derived: tuple[Derived, ...], filters: tuple[Derived, ...], entries: dict[str, Node],
    faults: list[Fault],
) -> None:  # fmt: skip
    """A key is given once; a symbol is used."""
    if faults:
        return
    place = entries["axes"].key_place or entries["axes"].place
    keys = [key for axis in axes for key in axis.keys]
    for key in dict.fromkeys(keys):
        if keys.count(key) > 1 or key in (entry.name for entry in derived):
            faults.append(Fault.at(place, "axes", f"the key {key!r} is given twice. Remove one of the two"))
    used = {name for entry in (*derived, *filters) for name in entry.formula.names}
    for key in keys:
        if "." not in key and key not in used:
            message = (
                f"{key!r} is no key path, and no formula uses it as a symbol. Write the whole path of the key, "
                "such as mesh.size_min"
            )
            faults.append(Fault.at(_place_of(entries["axes"], key) or place, "axes", message))
    if any(axis.design for axis in axes) and (filters or len(axes) > 1):
        message = "sensitivity needs all its samples and no other axis. Remove the filters and other axes"
        faults.append(Fault.at(place, "axes", message))


def _place_of(node: Node, text: str) -> Any:
    """Place where a key of an axis is written."""
    for _, leaf in node.leaves():
        if leaf.value == text:
            return leaf.place
    return None


def _settings(entries: dict[str, Node], faults: list[Fault]) -> Settings:
    given: dict[str, Node] = {key: entries[key] for key in ("limits", "ranks", "cache", "report") if key in entries}
    try:
        return Settings.model_validate({key: node.plain() for key, node in given.items()}, strict=True)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            path = ".".join(map(str, detail["loc"]))
            node = given[str(detail["loc"][0])]
            for step in detail["loc"][1:]:
                inner = node.value
                if isinstance(inner, dict) and str(step) in inner:
                    node = inner[str(step)]
                elif isinstance(inner, list) and isinstance(step, int) and step < len(inner):
                    node = inner[step]
            if detail["type"] == "extra_forbidden":
                message = "there is no such key here. `fem-spall sweep --help` shows a complete file"
            elif detail["type"] == "value_error":
                message = str(detail["ctx"]["error"])
            else:
                message = f"{detail['msg'].lower()}; got {node.shown()}. Correct it"
            faults.append(Fault.at(node.key_place or node.place, path, message))
        return Settings()
