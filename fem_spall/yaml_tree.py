"""Strict YAML 1.2 as a tree in which every key and value knows where it was written.

What is left out on purpose: anchors and aliases (a small file may unfold to gigabytes), tags
(they name code), duplicate keys (one of the two would be ignored silently), several
documents, and numbers that are not finite.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ruamel.yaml.events import Event, ScalarEvent

__all__ = ["LARGEST_DEPTH", "Fault", "Node", "Place", "parse"]

LARGEST_DEPTH = 24  # a case needs 6
LARGEST_COUNT = 10_000  # values; a case has fewer than a thousand

type Scalar = bool | int | float | str | Path | None


@dataclass(frozen=True)
class Place:
    """Where something was written: file as the user named it, line and column from 1 (0 on the command line)."""

    file: str
    line: int = 0
    column: int = 0
    folder: Path = field(default=Path(), compare=False)  # what a relative path written here is relative to

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong in a case: where, which key, what must hold and what to do."""

    file: str
    line: int | None
    column: int | None
    key: str
    message: str

    @classmethod
    def at(cls, place: Place, key: str, message: str) -> Fault:
        """Fault at a place."""
        return cls(place.file, place.line or None, place.column or None, key, message)

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}:{self.column}"
        return f"{place}: {self.key}: {self.message}" if self.key else f"{place}: {self.message}"


@dataclass
class Node:
    """A value with its place, and the place of its key where it has one.

    ``spoilt`` marks a value that already has a fault, about which nothing more needs saying.
    """

    value: Scalar | list[Node] | dict[str, Node]
    place: Place
    key_place: Place | None = None
    spoilt: bool = False

    def plain(self) -> Any:
        """The value as None, bool, int, float, str, Path, tuple and dict."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return tuple(node.plain() for node in self.value)
        return self.value

    def entry(self, key: str) -> Any:
        """Plain value of one key of a mapping, None where there is none."""
        return self.value[key].plain() if isinstance(self.value, dict) and key in self.value else None

    def shown(self) -> str:
        """The value as a message shows it, shortened."""
        text = _flow(self.plain())
        return text if len(text) <= 60 else f"{text[:57]}..."

    def leaves(self, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Node]]:
        """Every scalar below this node, with its path."""
        if isinstance(self.value, dict):
            for key, node in self.value.items():
                yield from node.leaves((*path, key))
        elif isinstance(self.value, list):
            for index, node in enumerate(self.value):
                yield from node.leaves((*path, index))
        else:
            yield path, self


def _flow(value: object) -> str:
    """Value in the notation of YAML, text in quotes."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_flow(entry)}' for key, entry in value.items())}}}"
    if isinstance(value, tuple):
        return f"[{', '.join(map(_flow, value))}]"
    if value is None or isinstance(value, bool):
        return "nothing" if value is None else str(value).lower()
    return repr(str(value)) if isinstance(value, (str, Path)) else repr(value)


def parse(text: str, start: Place, faults: list[Fault]) -> tuple[Node, bool]:
    """Tree of a YAML text and whether the reading broke off; positions are counted from ``start``'s file."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    # YAML allows no control characters; finding them here gives them a position.
    if match := re.search(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", text):
        line, column = text.count("\n", 0, match.start()) + 1, match.start() - text.rfind("\n", 0, match.start())
        place = Place(start.file, start.line and line, start.line and column)
        faults.append(Fault.at(place, "", f"must be text; found the control character {match[0]!r}. Remove it"))
        return Node(None, start, spoilt=True), True
    builder = _Builder(start, faults)
    try:
        for event in YAML(typ="safe", pure=True).parse(text):
            builder.take(event)
    except _Stop:
        return builder.root, True
    except MarkedYAMLError as error:
        # A key without its colon is noticed only later; its own place is the context.
        marks = [error.problem_mark, error.context_mark]
        mark = next(mark for mark in (marks[::-1] if "simple key" in str(error.context) else marks) if mark is not None)
        faults.append(Fault.at(builder.place(mark), "", _syntax(error)))
        return builder.root, True
    except (YAMLError, ValueError) as error:
        faults.append(Fault.at(start, "", f"is not YAML ({' '.join(str(error).split())}). Correct the file"))
        return builder.root, True
    return builder.root, False


def _syntax(error: Any) -> str:
    """Plain words for what the scanner or parser stumbled over."""
    problem, context = str(error.problem), str(error.context or "")
    opened = error.context_mark
    since = f"line {opened.line + 1}, column {opened.column + 1}" if opened is not None else "above"
    if "'\\t'" in problem:
        return "a tab must not be used for indentation or before a value. Replace it by spaces"
    if "document start" in problem:
        return "does not belong to the lines above, which end here. Begin every key of the top level at column 1"
    if "simple key" in context:
        return "a key must be followed by ': ' and its value. Write 'key: value', with a space after the colon"
    if "cannot start any token" in problem:
        return f"{problem.split('that')[0].strip()}, which must not begin a value. Put the text in quotes"
    if "mapping keys are not allowed" in problem:
        return "a '?' must not begin a key or value. Put the text in quotes"
    if "directive" in context:
        return "a '%' must not begin a line. Put the text in quotes"
    if "mapping values are not allowed" in problem:
        return (
            "a second ':' in one value, or a key that is indented unlike its neighbours or misses the space after "
            "its ':' in the line above. Write 'key: value' with one key a line, or put the text in quotes"
        )
    if "quoted scalar" in context:
        return f"the quote opened at {since} is never closed. Close it"
    if "flow" in context:
        return f"the bracket opened at {since} is not closed, or an entry before this place lacks its ','. Add it"
    if "block" in context or "sequence entries are not allowed" in problem:
        return "the indentation does not fit the lines above. Indent keys of one level alike, by spaces"
    return f"is not YAML: {' '.join(f'{context} {problem}'.split())}. Correct the line"


class _Stop(Exception):
    """The rest of the text is not worth reading."""


@dataclass
class _Frame:
    """An open mapping or list, its path, and the key that waits for its value."""

    node: Node
    path: tuple[str, ...]
    key: Node | None = None

    def next_path(self) -> tuple[str, ...]:
        """Path of what comes next."""
        if isinstance(self.node.value, list):
            return (*self.path, str(len(self.node.value)))
        plain = self.key is not None and not isinstance(self.key.value, (dict, list)) and self.key.value is not None
        return (*self.path, str(self.key.value)) if self.key is not None and plain else self.path


class _Builder:
    """Builds the tree from parser events, without recursion: the depth of a text is the attacker's choice."""

    def __init__(self, start: Place, faults: list[Fault]) -> None:
        self.start = start
        self.faults = faults
        self.root = Node(None, start)
        self.frames: list[_Frame] = []
        self.count = 0
        self.documents = 0

    def place(self, mark: Any) -> Place:
        """Place of a parser mark."""
        if not self.start.line:
            return self.start
        return Place(self.start.file, mark.line + 1, mark.column + 1, self.start.folder)

    def take(self, event: Event) -> None:
        """Add what one event says."""
        kind = type(event).__name__
        if kind == "DocumentStartEvent":
            self._document(event)
        elif kind in ("MappingStartEvent", "SequenceStartEvent"):
            path = self.frames[-1].next_path() if self.frames else ()
            node = self._node({} if kind == "MappingStartEvent" else [], event)
            self._add(node)
            self.frames.append(_Frame(node, path))
            if len(self.frames) > LARGEST_DEPTH:
                self._fault(node.place, f"must not be nested deeper than {LARGEST_DEPTH} levels. Flatten it")
                raise _Stop
        elif kind in ("MappingEndEvent", "SequenceEndEvent"):
            self.frames.pop()
        elif kind in ("ScalarEvent", "AliasEvent"):
            self._add(self._node(None, event))

    def _document(self, event: Any) -> None:
        self.documents += 1
        place = self.place(event.start_mark)
        if self.documents > 1:
            self._fault(place, "must be one document; a second one begins here. Remove the '---' line and what follows")
            raise _Stop
        if event.version not in (None, (1, 2)) or event.tags:
            self._fault(place, "only YAML 1.2 without tag directives is read. Remove the '%' line")

    def _node(self, value: Any, event: Any) -> Node:
        """Node of an event, its faults recorded."""
        self.count += 1
        node = Node(value, self.place(event.start_mark))
        if self.count > LARGEST_COUNT:
            self._fault(node.place, f"must hold at most {LARGEST_COUNT} keys and values. Shorten it")
            raise _Stop
        kind = type(event).__name__
        if kind == "AliasEvent" or event.anchor:
            sign = f"{'*' if kind == 'AliasEvent' else '&'}{event.anchor}"
            self._fault(node.place, f"anchors and aliases are not read; got {sign!r}. Write the value out", node)
        elif event.tag is not None:
            tag = str(event.tag).replace("tag:yaml.org,2002:", "!!")
            self._fault(node.place, f"tags are not read; got {tag!r}. Write the plain value", node)
        elif kind == "ScalarEvent":
            try:
                node.value = _scalar(event)
            except ValueError as error:
                self._fault(node.place, str(error), node)
        return node

    def _add(self, node: Node) -> None:
        """Put a node where it belongs: root, list entry, key or value."""
        if not self.frames:
            self.root = node
            return
        frame = self.frames[-1]
        if isinstance(frame.node.value, list):
            frame.node.value.append(node)
        elif frame.key is None:
            frame.key = node
        elif isinstance(frame.node.value, dict):
            node.key_place = frame.key.place
            self._entry(frame.node, frame.node.value, frame.key, node)
            frame.key = None

    def _entry(self, parent: Node, entries: dict[str, Node], key: Node, node: Node) -> None:
        if key.spoilt:
            parent.spoilt = True
        elif isinstance(key.value, (dict, list)) or key.value is None or key.value == "":
            self._fault(key.place, "a key must be a plain word. Write 'key: value'", parent)
        elif (name := str(key.value)) in entries:
            first = entries[name].key_place
            line = f" on line {first.line}" if first is not None and first.line else ""
            self._fault(key.place, f"this key was already given{line}. Remove one of the two")
        else:
            entries[name] = node

    def _fault(self, place: Place, message: str, node: Node | None = None) -> None:
        path = self.frames[-1].next_path() if self.frames else ()
        self.faults.append(Fault.at(place, ".".join(path), message))
        if node is not None:
            node.spoilt = True


def _scalar(event: ScalarEvent) -> Scalar:
    """Value of a scalar by the core schema of YAML 1.2 (so 'yes' and 'on' are text)."""
    text = str(event.value)
    if event.style is not None:
        return text
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text in ("true", "True", "TRUE", "false", "False", "FALSE"):
        return text.lower() == "true"
    if re.fullmatch(r"[-+]?[0-9]{1,300}", text):
        return int(text)
    if re.fullmatch(r"0o[0-7]{1,100}|0x[0-9a-fA-F]{1,100}", text):
        return int(text, 0)
    if re.fullmatch(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", text):
        if (value := float(text)) in (float("inf"), -float("inf")):
            raise ValueError(f"must be a finite number; got {text!r}. Write a smaller one")
        return value
    if re.fullmatch(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", text):
        raise ValueError(f"must be a finite number; got {text!r}. Write the number, or leave the key out")
    return text
