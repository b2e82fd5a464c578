"""The YAML behind a case: one file, the base it includes, the overrides of the command line.

``include:`` names one base file, over which the including file is laid: mappings key by key,
everything else as a whole; a mapping whose ``kind`` differs replaces the base's as a whole.
``key.path=value`` on the command line overrides both.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fem_spall.errors import CaseError
from fem_spall.yaml_tree import LARGEST_DEPTH, Fault, Node, Place, parse

__all__ = ["Source", "override", "put", "read_source", "read_tree"]

COMMAND_LINE = "command line"
LARGEST_FILE = 1_000_000  # bytes


@dataclass
class Source:
    """What was read: the merged tree, its faults, and whether parts of it could not be read at all."""

    root: Node
    faults: list[Fault]
    broken: bool


def read_source(path: Path, overrides: Sequence[str] = ()) -> Source:
    """Return the tree of a YAML file, its ``include:`` merged below it and the overrides on top.

    Raises
    ------
    CaseError
        If the file itself cannot be read.
    """
    faults: list[Fault] = []
    root, broken = read_tree(path, faults)
    root, base_broken = _with_base(root, path, faults)
    for text in overrides:
        override(root, text, faults)
    return Source(root, faults, broken or base_broken)


def read_tree(path: Path, faults: list[Fault]) -> tuple[Node, bool]:
    """Return the tree of one YAML file, which must hold keys and values, and whether its reading broke off.

    Raises
    ------
    CaseError
        If the file cannot be read.
    """
    place = Place(str(path), 1, 1, path.parent)
    try:
        with path.open("rb") as stream:
            data = stream.read(LARGEST_FILE + 1)
    except OSError as error:
        reason = f"cannot be read ({error.strerror or error})"
        raise CaseError(1, str(path), reason, "give the path of a case file, such as configs/quickstart.yaml") from None
    if len(data) > LARGEST_FILE:
        message = f"must be at most {LARGEST_FILE / 1e6:g} MB. A case names its mesh files, it does not contain them"
        faults.append(Fault.at(place, "", message))
        return Node({}, place), True
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig", "replace")
        column = len(before) - before.rfind("\n")
        faults.append(
            Fault(str(path), before.count("\n") + 1, column, "", "must be UTF-8 text. Save the file as UTF-8")
        )
        return Node({}, place), True
    root, broken = parse(text, place, faults)
    if not broken and not isinstance(root.value, dict):
        message = "must hold keys and values, such as 'name: spallation'. `fem-spall init` writes a case to start from"
        faults.append(Fault.at(root.place, "", message))
        return Node({}, place), True
    return root, broken


def _with_base(root: Node, path: Path, faults: list[Fault]) -> tuple[Node, bool]:
    """Lay the tree over the base file that its ``include:`` names."""
    if not isinstance(root.value, dict) or "include" not in root.value:
        return root, False
    include = root.value.pop("include")
    if include.spoilt:
        return root, True
    if not isinstance(include.value, str) or not include.value:
        message = f"must be the path of one base file; got {include.shown()}. Write for instance 'include: base.yaml'"
        faults.append(Fault.at(include.place, "include", message))
        return root, True
    base_path = path.parent / include.value
    try:
        base, broken = read_tree(base_path, faults)
    except CaseError as error:
        message = f"the base file {error.where} {error.reason}. Give its path relative to {path.parent}"
        faults.append(Fault.at(include.place, "include", message))
        return root, True
    if isinstance(base.value, dict) and (nested := base.value.pop("include", None)) is not None:
        message = f"a base file must not include another; {path} already includes this one. Merge the two base files"
        faults.append(Fault.at(nested.key_place or nested.place, "include", message))
        broken = True
    return _merge(base, root), broken


def _merge(base: Node, over: Node) -> Node:
    """Lay ``over`` over ``base``."""
    if not isinstance(base.value, dict) or not isinstance(over.value, dict):
        return over
    if over.entry("kind") not in (None, base.entry("kind")):
        return over
    entries = dict(base.value)
    for key, node in over.value.items():
        entries[key] = _merge(entries[key], node) if key in entries else node
    return Node(entries, over.place, over.key_place, base.spoilt or over.spoilt)


def override(root: Node, text: str, faults: list[Fault]) -> None:
    """Set what ``key.path=value`` says; a list entry goes by index or by its ``name``."""
    place = Place(COMMAND_LINE, folder=Path())
    key, equals, value_text = text.partition("=")
    steps = key.strip().split(".")
    if not equals or not all(steps) or len(steps) > LARGEST_DEPTH:
        message = f"an override must be key.path=value; got {text!r}. Write for instance 'mesh.size_min=200 nm'"
        faults.append(Fault.at(place, "", message))
        return
    if steps == ["include"]:
        message = "must be in the case file, not on the command line. Override the single keys instead"
        faults.append(Fault.at(place, "include", message))
        return
    own: list[Fault] = []
    value, broken = parse(value_text, place, own)
    value.spoilt |= broken
    faults.extend(Fault.at(place, key, fault.message) for fault in own)
    value.key_place = place
    put(root, key, value, faults)


def put(root: Node, key: str, value: Node, faults: list[Fault]) -> None:
    """Set the value at a key path of a tree; a list entry goes by index or by its ``name``."""
    node, steps, place = root, key.strip().split("."), value.key_place or value.place
    for position, step in enumerate(steps):
        last = position == len(steps) - 1
        if isinstance(node.value, dict):
            if last:
                node.value[step] = value
            else:
                node = node.value.setdefault(step, Node({}, place, place))
        elif isinstance(node.value, list) and (index := _index(node.value, step)) is not None:
            if index == len(node.value):
                node.value.append(Node({}, place))
            if last:
                node.value[index] = value
            else:
                node = node.value[index]
        else:
            faults.append(Fault.at(place, key, _no_such_entry(node, ".".join(steps[:position]), step)))
            return


def _index(items: list[Node], step: str) -> int | None:
    """Index of the list entry called ``step``; one beyond the last adds an entry."""
    if re.fullmatch(r"[0-9]{1,5}", step):
        return int(step) if int(step) <= len(items) else None
    names = [item.entry("name") for item in items]
    return names.index(step) if step in names else None


def _no_such_entry(node: Node, parent: str, step: str) -> str:
    if not isinstance(node.value, list):
        return f"{parent!r} is the single value {node.value!r} and has no {step!r}. Set {parent!r} as a whole"
    known = ", ".join(str(item.entry("name")) for item in node.value) or "it is empty"
    return f"{parent!r} has {len(node.value)} entries ({known}) and no {step!r}. Give an index from 0, or a name"
