"""Words of mesh files in text form: numbers and polygons, refused with the place where they stand."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fem_spall.errors import InputFileError

__all__ = ["as_floats", "as_integer", "as_polygon", "decoded", "shown"]

type Floats = NDArray[np.float64]


def decoded(path: Path, data: bytes) -> str:
    """Return the text with one kind of line end; bytes that are not UTF-8 can only be in comments and names."""
    if b"\0" in data:
        raise InputFileError(4, str(path), "must be text; got binary data", "check what kind of file this is")
    text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", errors="replace")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def shown(text: str) -> str:
    """Return the beginning of a piece of a file, printable and short, for a message."""
    text = " ".join(text[:200].split())
    return repr(text if len(text) <= 40 else text[:40] + "…")


def as_floats(words: Sequence[str], place: Callable[[int], str]) -> Floats:
    """Return the numbers, (n,) float; ``place`` names where word k stands.

    Raises
    ------
    InputFileError
        If a word is not a number, with a hint when it has a decimal comma.
    """
    k = -1
    try:
        values = np.fromiter(map(float, words), dtype=float, count=len(words))
    except ValueError:
        k = next(k for k, word in enumerate(words) if not _is_float(word))
    else:
        # Python reads 1_000 and Arabic digits, no mesh writer means them.
        k = next((k for k, word in enumerate(words) if "_" in word or not word.isascii()), -1)
        if k < 0:
            return values
    if re.fullmatch(r"[-+]?\d*,\d+([eE][-+]?\d+)?", words[k]):
        cure = "export it with decimal points (locale C or English)"
        raise InputFileError(11, place(k), f"must have decimal points; got decimal commas, {shown(words[k])}", cure)
    raise InputFileError(7, place(k), f"must be a number; got {shown(words[k])}", "export the surface again")


def _is_float(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def as_integer(word: str) -> int | None:
    """Return a whole number in plain digits, None if it is anything else."""
    digits = word[1:] if word[:1] in ("-", "+") else word
    return int(word) if digits.isdigit() and digits.isascii() and len(digits) < 4000 else None


def as_polygon(words: Sequence[str], place: str) -> list[int]:
    """Return the corners of a polygon given as its number of corners and their indices; colours may follow."""
    count = as_integer(words[0]) if words else None
    found = [as_integer(word) for word in words[1 : 1 + max(count or 0, 0)]]
    corners = [index for index in found if index is not None]
    if count is None or count < 3 or len(corners) != count:
        reason = f"a face must give its number of corners, three or more, and list them; got {shown(' '.join(words))}"
        raise InputFileError(7, place, reason, "export the surface again")
    return corners
