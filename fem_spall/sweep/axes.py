"""Axes of a sweep: which values which keys take, together or against each other.

An axis is a mapping of one of these forms::

    {key: K, values: [2 um, 5 um]}        these, in this order
    {key: K, range: [1 um, 5 um], count: 5}     equally spaced, both ends included
    {key: K, log: [10 nm, 1 um], count: 5}      equal ratios
    {zip: [AXIS, AXIS, ...]}              side by side, all of one length
    {grid: [AXIS, AXIS, ...]}             each against each; the list of axes of a sweep is one grid
    {csv: FILE}                           a column a key, a row a point; a header may have a unit, 'K [um]'
    {latin_hypercube: {K: [a, b], ...}, count: 20, seed: 1}
    {sobol: {K: [a, b], L: {log: [a, b]}}, count: 16, seed: 1, sensitivity: true}
"""

from __future__ import annotations

import csv
import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fem_spall.quantity import Unit, split, to_si
from fem_spall.yaml_tree import Fault, Node, Place

__all__ = ["MOST_POINTS", "Axis", "Row", "grid", "open_mapping", "read_axes"]

#: Points of a sweep at most; each is a process and a folder.
MOST_POINTS = 20_000

type Row = dict[str, Node]  # value of each key at a point
type Rows = Callable[[], list[Row]]

_KEY = re.compile(r"[A-Za-z+-][\w+-]*(\.[\w+-]+)*")
_SAMPLERS = ("latin_hypercube", "sobol")
_FORMS = ("values", "range", "log", "zip", "grid", "csv", *_SAMPLERS)


@dataclass(frozen=True)
class Axis:
    """Keys that take values together: how many, and which; the design of samples where there is one."""

    keys: tuple[str, ...]
    count: int
    rows: Rows
    design: dict[str, Any] | None = None


def grid(axes: Sequence[Axis]) -> Axis:
    """Each value of one axis against each of the others; the last axis runs fastest."""

    def rows() -> list[Row]:
        products = itertools.product(*(axis.rows() for axis in axes))
        return [{key: node for row in rows for key, node in row.items()} for rows in products]

    design = next((axis.design for axis in axes if axis.design), None)
    keys = tuple(key for axis in axes for key in axis.keys)
    return Axis(keys, math.prod(axis.count for axis in axes), rows, design if len(axes) == 1 else None)


def open_mapping(node: Node, path: str, known: Sequence[str], faults: list[Fault]) -> dict[str, Node]:
    """Entries of a mapping with known keys; a fault for everything else."""
    if not isinstance(node.value, dict):
        faults.append(
            Fault.at(node.place, path, f"must hold keys and values; got {node.shown()}. Write {known[0]}: ...")
        )
        return {}
    for key in node.value.keys() - set(known):
        entry = node.value[key]
        message = f"there is no key {key!r} here. The keys are {', '.join(known)}"
        faults.append(Fault.at(entry.key_place or entry.place, f"{path}.{key}".lstrip("."), message))
    return {key: entry for key, entry in node.value.items() if key in known}


def read_axes(node: Node, path: str, faults: list[Fault]) -> list[Axis]:
    """Axes of a list, without those that are faulty."""
    if not isinstance(node.value, list) or not node.value:
        message = (
            f"must be a list of axes; got {node.shown()}. Write for instance '- {{key: mesh.size_min, values: [...]}}'"
        )
        faults.append(Fault.at(node.key_place or node.place, path, message))
        return []
    found = (_axis(entry, f"{path}.{number}", faults) for number, entry in enumerate(node.value))
    return [axis for axis in found if axis is not None]


def _axis(node: Node, path: str, faults: list[Fault]) -> Axis | None:
    entries = open_mapping(node, path, ("key", *_FORMS, "count", "seed", "sensitivity"), faults)
    forms = [form for form in _FORMS if form in entries]
    if len(forms) != 1:
        if entries:
            message = f"must have exactly one of {', '.join(_FORMS)}; got {', '.join(forms) or 'none'}. Write one"
            faults.append(Fault.at(node.place, path, message))
        return None
    form = forms[0]
    needs = {"values": {"key"}, "range": {"key", "count"}, "log": {"key", "count"}}
    needs |= {name: {"count"} for name in _SAMPLERS}
    extra = {"latin_hypercube": {"seed"}, "sobol": {"seed", "sensitivity"}}
    before = len(faults)
    for key in needs.get(form, set()) - entries.keys():
        faults.append(Fault.at(node.place, path, f"'{form}' needs the key {key!r}. Add '{key}: ...'"))
    for key in entries.keys() - {form} - needs.get(form, set()) - extra.get(form, set()):
        place = entries[key].key_place or entries[key].place
        faults.append(Fault.at(place, f"{path}.{key}", f"does not belong to '{form}'. Remove it"))
    if "key" in entries:
        _check_key(entries["key"].value, entries["key"].place, f"{path}.key", faults)
    count = _whole(entries.get("count"), f"{path}.count", 1, faults)
    if len(faults) > before:
        return None
    try:
        if form == "values":
            return _values(entries["key"], entries["values"], f"{path}.values")
        if form in ("range", "log"):
            return _spaced(entries["key"], entries[form], count or 1, form, f"{path}.{form}")
        if form in ("zip", "grid"):
            return _joined(entries[form], form, f"{path}.{form}", faults)
        if form == "csv":
            return _columns(entries["csv"], f"{path}.csv", faults)
        return _sampled(entries, form, count or 1, path, faults)
    except _AxisError as error:
        faults.append(error.fault)
        return None


class _AxisError(Exception):
    def __init__(self, node: Node, path: str, message: str) -> None:
        super().__init__(message)
        self.fault = Fault.at(node.place, path, message)


def _check_key(key: object, place: Place, path: str, faults: list[Fault]) -> None:
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        message = f"must be a key path or a symbol; got {key!r}. Write for instance 'cracks.slit.depth'"
        faults.append(Fault.at(place, path, message))


def _whole(node: Node | None, path: str, least: int, faults: list[Fault]) -> int | None:
    if node is None:
        return None
    value = int(node.value) if isinstance(node.value, float) and node.value.is_integer() else node.value
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        faults.append(
            Fault.at(node.place, path, f"must be a whole number of at least {least}; got {node.shown()}. Write one")
        )
        return None
    return value


def _values(key: Node, values: Node, path: str) -> Axis:
    if not isinstance(values.value, list) or not values.value:
        raise _AxisError(
            values, path, f"must be a list of values; got {values.shown()}. Write for instance '[2 um, 5 um]'"
        )
    name, nodes = str(key.value), values.value

    def rows() -> list[Row]:
        return [{name: Node(node.value, node.place, key.place, node.spoilt)} for node in nodes]

    return Axis((name,), len(nodes), rows)


@dataclass(frozen=True)
class _Bounds:
    """Two bounds in one unit and the spacing between them."""

    low: float
    high: float
    unit: str
    logarithmic: bool

    def at(self, share: float) -> str | float:
        """Value at a share of the way, as the case file would have it; twelve digits hide the rounding."""
        if self.logarithmic:
            value = self.low * (self.high / self.low) ** share
        else:
            value = self.low + (self.high - self.low) * share
        text = f"{value:.12g}"
        return f"{text} {self.unit}" if self.unit else float(text)


def _bounds(node: Node, path: str, logarithmic: bool) -> _Bounds:
    ends = node.value if isinstance(node.value, list) else []
    if len(ends) != 2:
        raise _AxisError(node, path, f"must be two bounds; got {node.shown()}. Write for instance '[1 um, 5 um]'")
    try:
        (low, unit), (_, other) = split(ends[0].value), split(ends[1].value)
        high = to_si(ends[1].value, Unit(unit, f"5 {unit}", "value")) if unit else float(ends[1].value)  # type: ignore[arg-type]
    except (ValueError, TypeError) as error:
        raise _AxisError(node, path, f"{error}. Give both bounds with units of one kind") from None
    if bool(unit) != bool(other):
        raise _AxisError(node, path, "both bounds must have a unit, or none. Write for instance '[1 um, 5 um]'")
    if logarithmic and (low <= 0 or high <= 0):
        raise _AxisError(node, path, f"bounds of 'log' must be above zero; got {node.shown()}. Take 'range'")
    return _Bounds(low, high, unit, logarithmic)


def _spaced(key: Node, node: Node, count: int, form: str, path: str) -> Axis:
    bounds, name = _bounds(node, path, form == "log"), str(key.value)

    def rows() -> list[Row]:
        shares = [number / (count - 1) if count > 1 else 0.0 for number in range(count)]
        return [{name: Node(bounds.at(share), node.place, key.place)} for share in shares]

    return Axis((name,), count, rows)


def _joined(node: Node, form: str, path: str, faults: list[Fault]) -> Axis | None:
    axes = read_axes(node, path, faults)
    if not isinstance(node.value, list) or len(axes) < len(node.value):
        return None
    if form == "grid":
        return grid(axes)
    lengths = [axis.count for axis in axes]
    if len(set(lengths)) != 1:
        shown = ", ".join(map(str, lengths))
        raise _AxisError(node, path, f"axes side by side must have one length; got {shown}. Make them equally long")

    def rows() -> list[Row]:
        sides = zip(*(axis.rows() for axis in axes), strict=True)
        return [{key: value for row in rows for key, value in row.items()} for rows in sides]

    return Axis(tuple(key for axis in axes for key in axis.keys), lengths[0], rows)


def _columns(node: Node, path: str, faults: list[Fault]) -> Axis | None:
    if not isinstance(node.value, str):
        raise _AxisError(node, path, f"must be the path of a file; got {node.shown()}. Write for instance 'points.csv'")
    file = node.place.folder / node.value
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            table = list(itertools.islice(csv.reader(stream), MOST_POINTS + 2))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _AxisError(
            node, path, f"cannot be read ({getattr(error, 'strerror', None) or error}). Give a CSV file"
        ) from None
    lines = [(number, line) for number, line in enumerate(table, 1) if any(cell.strip() for cell in line)]
    if len(lines) < 2:
        raise _AxisError(node, path, "must have a header with keys and at least one row. Add them")
    heads = [re.fullmatch(r"\s*(\S+?)\s*(?:[\[(](.*)[\])])?\s*", cell) for cell in lines[0][1]]
    names = [head[1] if head else "" for head in heads]
    units = [(head[2] or "").strip() if head else "" for head in heads]
    for column, name in enumerate(names, 1):
        _check_key(name, Place(str(file), lines[0][0], column), path, faults)
    for number, line in lines[1:]:
        if len(line) != len(names):
            message = f"must have {len(names)} cells as the header; got {len(line)}. Correct the row"
            faults.append(Fault.at(Place(str(file), number, 1), path, message))
            return None

    def rows() -> list[Row]:
        return [
            {
                name: Node(_cell(cell, unit), Place(str(file), number, column, file.parent),
                           Place(str(file), lines[0][0], column, file.parent))
                for column, (name, unit, cell) in enumerate(zip(names, units, line, strict=True), 1)
            }
            for number, line in lines[1:]
        ]  # fmt: skip

    return Axis(tuple(names), len(lines) - 1, rows)


def _cell(text: str, unit: str) -> Any:
    text = text.strip()
    if unit and unit != "1":
        return f"{text} {unit}"
    try:
        number = float(text)
    except ValueError:
        return {"true": True, "false": False}.get(text, text)
    return int(number) if re.fullmatch(r"[-+]?[0-9]+", text) else number


def _sampled(entries: Mapping[str, Node], form: str, count: int, path: str, faults: list[Fault]) -> Axis | None:
    node = entries[form]
    if not isinstance(node.value, dict) or not node.value:
        raise _AxisError(
            node,
            f"{path}.{form}",
            f"must name keys and bounds; got {node.shown()}. Write for instance '{{K: [1 um, 2 um]}}'",
        )
    seed = _whole(entries.get("seed"), f"{path}.seed", 0, faults) or 0
    sensitivity = entries.get("sensitivity")
    if sensitivity is not None and not isinstance(sensitivity.value, bool):
        raise _AxisError(
            sensitivity, f"{path}.sensitivity", f"must be true or false; got {sensitivity.shown()}. Write 'true'"
        )
    indices = sensitivity is not None and bool(sensitivity.value)
    if form == "sobol" and count & (count - 1):
        near = 2 ** round(math.log2(count))
        raise _AxisError(
            entries["count"], f"{path}.count", f"of a Sobol plan must be a power of two; got {count}. Write {near}"
        )
    names, places, bounds = list(node.value), [], []
    for name, entry in node.value.items():
        place = entry.key_place or entry.place
        _check_key(name, place, f"{path}.{form}", faults)
        places.append(place)
        inner, logarithmic = entry, False
        if isinstance(entry.value, dict) and set(entry.value) == {"log"}:
            inner, logarithmic = entry.value["log"], True
        bounds.append(_bounds(inner, f"{path}.{form}.{name}", logarithmic))
    dimension = len(names)

    def rows() -> list[Row]:
        shares = _shares(form, dimension, count, seed, indices)
        return [
            {
                name: Node(bound.at(float(share)), place, place)
                for name, place, bound, share in zip(names, places, bounds, line, strict=True)
            }
            for line in shares
        ]

    total = count * (dimension + 2) if indices else count
    design = {"kind": form, "keys": names, "count": count, "seed": seed} if indices else None
    return Axis(tuple(names), total, rows, design)


def _shares(form: str, dimension: int, count: int, seed: int, indices: bool) -> Any:
    """Samples of the unit cube, (n, d) float; for sensitivity indices A, B, then A with each column of B (Saltelli)."""
    import numpy as np
    from scipy.stats import qmc

    if form == "latin_hypercube":
        return qmc.LatinHypercube(d=dimension, rng=np.random.default_rng(seed)).random(count)
    sampler = qmc.Sobol(d=dimension * (2 if indices else 1), rng=np.random.default_rng(seed))
    samples = sampler.random(count)
    if not indices:
        return samples
    a, b = samples[:, :dimension], samples[:, dimension:]
    mixed = [np.where(np.arange(dimension) == column, b, a) for column in range(dimension)]
    return np.concatenate([a, b, *mixed])
