"""Case files: YAML to :class:`~fem_spall.case.Case` and back, every fault told in plain words with its place.

A relative path in a case is relative to the file it is written in (for a base file that
is the base's folder), on the command line to the current folder.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fem_spall.case_schema import child, entry, kinds, members, resolve, root_part, sample, schema
from fem_spall.errors import CaseError, InputFileError
from fem_spall.model import Model
from fem_spall.yaml_source import Source, read_source
from fem_spall.yaml_tree import Fault, Node

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from fem_spall.case import Case

__all__ = ["Fault", "case_hash", "case_of", "input_hashes", "kinds", "load_case", "refusal", "schema", "write_case"]

#: Key of every path in a case.
FILE = "file"


def load_case(path: str | Path, overrides: Sequence[str] = ()) -> Case:
    """Return the case of a YAML file, values in SI and defaults filled in.

    Parameters
    ----------
    path : str or Path
        The case file.
    overrides : sequence of str
        ``key.path=value`` texts that go over the file, such as ``mesh.size_min=200 nm``;
        a list entry goes by index (``cracks.0.opening``) or by name (``cracks.spall.opening``).

    Raises
    ------
    CaseError
        With every fault of the file, its base file and the overrides together.
    """
    return case_of(read_source(Path(path), overrides), Path(path))


def case_of(source: Source, path: Path) -> Case:
    """Return the case of a tree that was read from ``path`` (and perhaps changed since).

    Raises
    ------
    CaseError
        With every fault that was found when it was read, and of its keys and values.
    """
    from pydantic import ValidationError

    from fem_spall.case import Case

    faults = list(source.faults)
    if not source.broken:
        _resolve_paths(source.root)
        try:
            # Strict: '2' is no integer and 'yes' no truth value, so that a slip is a fault and not a guess.
            case = Case.model_validate(source.root.plain(), strict=True, context={"folder": path.resolve().parent})
            if not faults:
                return case
        except ValidationError as error:
            details = error.errors(include_url=False)
            found = (
                _translate(source.root, detail) for detail in details if not _misspelt(source.root, detail, details)
            )
            faults.extend(fault for fault in found if fault is not None)
    raise refusal(faults, path, 2 if source.broken else 3)


def refusal(faults: Sequence[Fault], path: Path, detail: int) -> CaseError:
    """Return what refuses a file for its faults, in the order in which they stand there."""
    order = {str(path): 0, **{fault.file: 2 - bool(fault.line) for fault in faults if fault.file != str(path)}}
    faults = sorted(dict.fromkeys(faults), key=lambda f: (order[f.file], f.line or 0, f.column or 0))
    if len(faults) > 1:
        cure = "correct the lines named; `fem-spall check` lists them all"
        return CaseError(detail, str(path), f"{len(faults)} faults", cure, faults=faults)
    reason, _, cure = faults[0].message.rpartition(". ")
    where = str(faults[0]).removesuffix(f": {faults[0].message}")
    return CaseError(detail, where, reason or cure, cure[:1].lower() + cure[1:], faults=faults)


def write_case(case: Case) -> str:
    """Return the case as YAML text with every default written out; loading it gives an equal case."""
    from ruamel.yaml import YAML
    from ruamel.yaml.comments import CommentedMap, CommentedSeq

    def laid_out(value: Any) -> Any:
        if isinstance(value, dict):
            return CommentedMap({key: laid_out(entry) for key, entry in value.items()})
        if isinstance(value, list):
            entries = CommentedSeq(map(laid_out, value))
            if not any(isinstance(entry, (dict, list)) for entry in value):
                entries.fa.set_flow_style()
            return entries
        return value

    writer = YAML(typ="rt", pure=True)
    writer.width = 10_000
    writer.indent(mapping=2, sequence=4, offset=2)
    stream = StringIO()
    writer.dump(laid_out(case.model_dump(mode="json", exclude_none=True)), stream)
    return stream.getvalue()


def case_hash(case: Case) -> str:
    """Return the SHA-256 of what the case computes: its resolved values, and the contents of its input files.

    Where a file lies, how a length is written (``1 um`` or ``1000 nm``) and the order of
    keys do not enter.

    Raises
    ------
    InputFileError
        If an input file cannot be read.
    """

    def canonical(value: Any) -> Any:
        if isinstance(value, dict):
            return {str(key): canonical(entry) for key, entry in value.items()}
        if isinstance(value, (list, tuple)):
            return [canonical(entry) for entry in value]
        return f"sha256:{_file_hash(value)}" if isinstance(value, Path) else value

    resolved = canonical(case.model_dump(exclude_none=True))
    text = json.dumps(resolved, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def input_hashes(part: Model) -> list[str]:
    """Return the SHA-256 of the contents of every file that a part of a case names.

    Raises
    ------
    InputFileError
        If one cannot be read.
    """

    def files(value: Any) -> Iterator[Path]:
        if isinstance(value, Path):
            yield value
        elif isinstance(value, (dict, list, tuple)):
            for entry in value.values() if isinstance(value, dict) else value:
                yield from files(entry)

    return [_file_hash(path) for path in files(part.model_dump())]


def _file_hash(path: Path) -> str:
    if path.is_dir():  # a stack of slices, or Zarr
        inner = sorted(file for file in path.rglob("*") if file.is_file())
        told = "".join(f"{file.relative_to(path).as_posix()}\0{_file_hash(file)}\n" for file in inner)
        return hashlib.sha256(told.encode()).hexdigest()
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        reason = f"cannot be read ({error.strerror or error})"
        raise InputFileError(1, str(path), reason, "correct the key 'file' in the case") from None


def _resolve_paths(root: Node) -> None:
    """Make every path of the case absolute, relative to the folder of the file it was written in."""
    for path, leaf in root.leaves():
        if path[-1:] != (FILE,):
            continue  # the schema takes a tenth of a second
        part, node = root_part(), root
        for step in path:
            part, node = child(part, step, node.entry("kind")), node.value[step]  # type: ignore[index,assignment]
        if part.get("format") == "path" and isinstance(leaf.value, str) and leaf.value:
            given = leaf.place.folder / Path(leaf.value).expanduser()
            leaf.value = given.parent.resolve() / given.name  # a link to a file keeps its own name


class _Spot:
    """Where an error of the models lies: node, schema, and key path as the user writes it."""

    def __init__(self, root: Node, location: Sequence[str | int]) -> None:
        self.node, self.part, self.path = root, root_part(), list[str]()
        for step in location:
            self._step(step)

    def _step(self, step: str | int) -> None:
        value = self.node.value
        if step in (models := members(self.part)):
            self.part = models[str(step)]  # the model's name for a kind, no key of the file
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            self._descend(step, value[step])
        elif isinstance(value, dict) and (step in value or step in resolve(self.part).get("properties", {})):
            self._descend(step, value.get(str(step), self.node))

    def _descend(self, step: str | int, node: Node) -> None:
        self.part, self.node = child(self.part, step), node
        self.path.append(str(step))

    @property
    def key(self) -> str:
        return ".".join(self.path)

    def fault(self, message: str, *, at_key: bool = False) -> Fault:
        """Fault here, at the key for what concerns a key or a whole mapping, else at the value."""
        node = self.node
        place = node.key_place if (at_key or isinstance(node.value, dict)) and node.key_place else node.place
        return Fault.at(place, self.key, message)


def _translate(root: Node, detail: ErrorDetails) -> Fault | None:
    """Fault in plain words of one error of the models; None where the source already has a fault there."""
    location, error = detail["loc"], detail["type"]
    spot = _Spot(root, location)
    if spot.node.spoilt:
        return None
    if error == "extra_forbidden":
        known = list(_Spot(root, location[:-1]).part.get("properties", {}))
        return spot.fault(_unknown_key(str(location[-1]), spot.node, known), at_key=True)
    if location and location[-1] == "[key]":
        known = [str(choice) for choice in resolve(_Spot(root, location[:-2]).part)["propertyNames"]["enum"]]
        return spot.fault(_unknown_key(str(location[-2]), spot.node, known), at_key=True)
    if error == "missing" and isinstance(location[-1], str):
        return spot.fault(f"this key is missing. Add '{entry(location[-1], spot.part)}'", at_key=True)
    if error in ("union_tag_invalid", "union_tag_not_found"):
        return _kind_fault(spot)
    return spot.fault(_value_message(detail, spot))


def _misspelt(root: Node, detail: ErrorDetails, others: Sequence[ErrorDetails]) -> bool:
    """Whether a key is missing only because it is misspelt beside, which is told there."""
    *parent, key = detail["loc"] or (None,)
    known = list(_Spot(root, parent).part.get("properties", {})) if detail["type"] == "missing" else []
    return any(
        _nearest(other["loc"][-1], known) == _nearest(key, known)
        for other in others
        if known and other["type"] == "extra_forbidden" and list(other["loc"][:-1]) == parent
    )


def _unknown_key(key: str, node: Node, known: list[str]) -> str:
    if node.value is None and ":" in key:
        return f"there is no key {key!r}. Put a space after the colon: '{key.replace(':', ': ', 1)}'"
    return f"there is no key {key!r} here. {_nearest(key, known) or f'The keys are {", ".join(known)}'}"


def _nearest(word: object, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(str(word).lower(), known, n=1, cutoff=0.55)
    return f"Did you mean {close[0]!r}?" if close else ""


def _kind_fault(spot: _Spot) -> Fault:
    models = members(spot.part)
    choices = f"one of {', '.join(models)}"
    given = spot.node.entry("kind")
    spot.path.append("kind")
    if given is None:
        return spot.fault(f"this key is missing. Add 'kind: ...' with {choices}", at_key=True)
    if isinstance(spot.node.value, dict):
        spot.node = spot.node.value["kind"]
    return spot.fault(f"must be {choices}; got {given!r}. {_nearest(given, list(models)) or 'Take one of these'}")


def _value_message(detail: ErrorDetails, spot: _Spot) -> str:
    """What a value must be, what was given, and what to write."""
    error, part, got = detail["type"], spot.part, spot.node.shown()
    if error == "value_error":
        return str(detail["ctx"]["error"])
    if error == "literal_error":
        choices = [str(choice) for choice in part.get("enum") or [part.get("const")]]
        must = f"must be {'one of ' * (len(choices) > 1)}{', '.join(choices)}; got {got}"
        return f"{must}. {_nearest(spot.node.plain(), choices) or f'Write for instance {choices[0]!r}'}"
    if error == "string_pattern_mismatch":
        plain = "".join(c if c.isascii() and c.isalnum() else "_" for c in str(spot.node.plain())).strip("_")
        offer = f"Write for instance '{plain or 'name'}'" if plain[:1].isalpha() else "Begin with a letter"
        return f"must be a short name of letters, digits, '_' and '-', without spaces; got {got}. {offer}"
    if "prefixItems" in part or "items" in part:
        count = f"a list of {len(part['prefixItems'])} entries" if "prefixItems" in part else "a list"
        found = f"{len(spot.node.value)}" if isinstance(spot.node.value, list) else got
        return f"must be {count}; got {found}. Write for instance '{sample(part)}'"
    if models := members(part):
        word = str(spot.node.plain())
        offer = sample(models.get(word) or next(iter(models.values())))
        return f"must hold keys and values with a kind ({', '.join(models)}); got {got}. Write for instance '{offer}'"
    if "properties" in part or part.get("type") == "object":
        return f"must hold keys and values; got {got}. Write for instance '{sample(part)}'"
    words = {"integer": "a whole number", "number": "a number", "boolean": "true or false", "string": "text"}
    must = "the path of a file" if part.get("format") == "path" else words.get(part.get("type", ""), "something else")
    limits = [
        f"{word} {part[name]}"
        for name, word in {"exclusiveMinimum": "above", "minimum": "at least", "exclusiveMaximum": "below",
                           "maximum": "at most"}.items()
        if name in part
    ]  # fmt: skip
    cure = "Put it in quotes" if must == "text" else f"Write for instance '{sample(part)}'"
    return f"must be {' '.join([must, ' and '.join(limits)]).strip()}; got {got}. {cure}"
