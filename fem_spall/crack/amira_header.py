"""Text part of Amira and Avizo files: named entries, nested in braces."""

from __future__ import annotations

import re
from pathlib import Path

from fem_spall.errors import InputFileError

__all__ = ["Entry", "entries", "length_unit", "material_names", "numbers", "refuse_transformed", "values_of"]

AGAIN = "save it again from Avizo or Amira"
DEEPEST = 50  # nested braces; files of Avizo have five

type Entry = tuple[str, list[str] | list[Entry]]
"""Name, and either its words or what stands in its braces."""

_TOKEN = re.compile(r'#[^\n]*|"([^"\n]*)"|@\d+[ \t]*\([^)\n]*\)|[{},\n]|[^\s{},"]+')
_UNITS = {"m": "m", "cm": "cm", "mm": "mm", "um": "um", "µm": "um", "μm": "um", "micron": "um", "nm": "nm"}
_IDENTITY = [float(k % 5 == 0) for k in range(16)]


def entries(path: Path, text: str) -> list[Entry]:
    """Return the entries of a header in their order; commas and line ends separate them, ``#`` begins a comment.

    Raises
    ------
    InputFileError
        If its braces do not match.
    """
    top: list[Entry] = []
    stack, words = [top], []  # type: list[list[Entry]], list[str]
    for token in _TOKEN.finditer(text):
        word = token[0]
        if word.startswith("#"):
            continue
        if word not in ("{", "}", ",", "\n"):
            words.append(word if token[1] is None else token[1])
            continue
        if word == "{":
            if not words and stack[-1] and not stack[-1][-1][1]:
                words = [stack[-1].pop()[0]]  # the name stood on the line above
            inner: list[Entry] = []
            stack[-1].append((" ".join(words), inner))
            stack.append(inner)
        elif words:
            stack[-1].append((words[0], words[1:]))
        words = []
        if word == "}":
            stack.pop()
        if not 0 < len(stack) <= DEEPEST:
            raise InputFileError(7, str(path), "must have matching braces in its header", AGAIN)
    if len(stack) > 1:
        raise InputFileError(7, str(path), "must have matching braces in its header", AGAIN)
    if words:
        top.append((words[0], words[1:]))
    return top


def values_of(found: list[Entry], *names: str) -> list[str] | list[Entry]:
    """Return what the entry of a nested name holds, such as ("Parameters", "BoundingBox"); [] if it is absent."""
    for depth, name in enumerate(names):
        content = next((content for key, content in found if key.lower() == name.lower()), [])
        if depth + 1 == len(names):
            return content
        found = [entry for entry in content if isinstance(entry, tuple)]
    return []


def numbers(path: Path, found: list[Entry], count: int, *names: str) -> list[float]:
    """Return the numbers of a nested entry, [] if it is absent.

    Raises
    ------
    InputFileError
        If they are not ``count`` finite numbers.
    """
    words = values_of(found, *names)
    if not words:
        return []
    try:
        values = [float(word) for word in words if isinstance(word, str)]
    except ValueError:
        values = []
    if len(values) != count or not all(abs(value) < 1e300 for value in values):
        got = " ".join(word for word in words[:8] if isinstance(word, str))
        reason = f"{names[-1]} must be {count} numbers; got {got[:60]!r}"
        raise InputFileError(7, str(path), reason, AGAIN)
    return values


def material_names(path: Path, found: list[Entry]) -> dict[str, int]:
    """Return the materials with their label, which is the place in the list, counted from 0.

    Raises
    ------
    InputFileError
        If a name stands there twice, or the Ids in the file contradict the places, counted from 0 or 1.
    """
    listed = values_of(found, "Parameters", "Materials") or values_of(found, "Materials")
    names: dict[str, int] = {}
    shifts = set()
    for place, entry in enumerate(listed):
        name, content = entry if isinstance(entry, tuple) else (entry, [])
        if name in names:
            raise InputFileError(7, str(path), f"has two materials {name!r}", "rename one in Avizo")
        names[name] = place
        known = [one for one in content if isinstance(one, tuple)]
        word = (values_of(known, "Id") or [""])[0]
        if isinstance(word, str) and word.isascii() and word.isdigit() and len(word) < 10:
            shifts.add(int(word) - place)
    if not shifts <= {0} and not shifts <= {1}:
        reason = "must have materials whose Id is their place in the list; got other Ids: which label is which is open"
        raise InputFileError(7, str(path), reason, "relabel it in Avizo, or export the labels as TIFF")
    return names


def length_unit(found: list[Entry]) -> str | None:
    """Return the unit of the coordinates that the file states, None if it says nothing that is known here."""
    words = values_of(found, "Parameters", "Units", "Coordinates")
    return _UNITS.get(words[0]) if words and isinstance(words[0], str) else None


def refuse_transformed(path: Path, found: list[Entry]) -> None:
    """Raise if the data are to be moved or turned: the coordinates in the file are then not those on the screen.

    Raises
    ------
    InputFileError
        If there is a transformation that is not the identity.
    """
    matrix = numbers(path, found, 16, "Parameters", "TransformationMatrix")
    if matrix and max(abs(a - b) for a, b in zip(matrix, _IDENTITY, strict=True)) > 1e-12:
        reason = "must not have a transformation; got a TransformationMatrix that moves or turns it"
        raise InputFileError(12, str(path), reason, "apply the transformation in Avizo (resample) and save it again")
