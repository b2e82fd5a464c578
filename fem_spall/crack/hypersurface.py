"""HyperSurface files of Amira and Avizo (``.surf``), a documented subset.

Read are ``HyperSurface 0.1`` ASCII and BINARY, whose numbers are big-endian 32-bit floats
and integers.  The file has vertices and patches; a patch is triangles between an inner and
an outer region.  The surface of a material is every patch that has it on exactly one side,
with the triangles reversed where it is the outer region.  Branching points, boundary curves
and the list of surfaces carry no shape and are passed over.  Surfaces stored as AmiraMesh,
transformations and other versions are refused by name.

Source: the HxSurface chapter of the Amira reference guide (Zuse Institute Berlin).
"""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fem_spall.crack.amira_header import AGAIN, entries, length_unit, refuse_transformed
from fem_spall.crack.mesh_words import as_floats, as_integer, decoded, shown
from fem_spall.crack.polygons import PolygonMesh
from fem_spall.errors import InputFileError

__all__ = ["is_hypersurface", "is_text_hypersurface", "read_hypersurface"]

type Ints = NDArray[np.int64]

OUTSIDE = {"exterior", "outside"}
"""Regions that are no material, in lower case."""
_FIRST = re.compile(rb"#[ \t]*HyperSurface[ \t]+0\.1[ \t]+(ASCII|BINARY)[ \t]*\r?")
_LINE = re.compile(r"\s*+([^\n]*)\n?")
_WORD = re.compile(r"\S+")


class _Patch(NamedTuple):
    inner: str
    outer: str
    faces: Ints


def is_hypersurface(head: bytes) -> bool:
    """Return whether a file with these first bytes is a HyperSurface file."""
    return re.match(rb"#[ \t]*HyperSurface\b", head) is not None


def is_text_hypersurface(path: Path, head: bytes) -> bool:
    """Return whether it is in text form.

    Raises
    ------
    InputFileError
        If it is of another version or form.
    """
    line = head[:200].split(b"\n", 1)[0]
    first = _FIRST.fullmatch(line)
    if first is None:
        reason = f"must be HyperSurface 0.1 ASCII or BINARY; got {shown(line.decode('latin-1'))}"
        raise InputFileError(12, str(path), reason, "save it from Avizo as HxSurface ASCII, or export it as STL")
    return first[1] == b"ASCII"


def read_hypersurface(path: Path, data: bytes, material: str | None) -> tuple[PolygonMesh, str | None, tuple[str, ...]]:
    """Return the surface of one material, the unit that the file states or None, and notes.

    Without ``material`` the file must have only one, beside the exterior.

    Raises
    ------
    InputFileError
        If the file is damaged, or the material is not one of it or not clear.
    """
    cursor = _Cursor(path, data, is_text_hypersurface(path, data))
    header, count = cursor.until_vertices()
    found = entries(path, header)
    refuse_transformed(path, found)
    vertices = cursor.array(count, 3, "vertices").reshape(-1, 3)
    patches = list(_patches(cursor))
    chosen, notes = _material(path, patches, material)
    faces = [one.faces for one in patches if one.inner == chosen != one.outer]
    faces += [one.faces[:, ::-1] for one in patches if one.outer == chosen != one.inner]
    triangles = np.concatenate(faces) if faces else np.empty((0, 3), dtype=np.int64)
    if len(faces) < len(patches):  # corners of other materials are none of this one's
        used, index = np.unique(triangles, return_inverse=True)
        vertices, triangles = vertices[used], index.reshape(-1, 3).astype(np.int64)
    return PolygonMesh(vertices, triangles, lambda k: f"{path}, triangle {k + 1}"), length_unit(found), notes


def _material(path: Path, patches: list[_Patch], material: str | None) -> tuple[str, tuple[str, ...]]:
    """The region to take, and what to note about it."""
    sizes: dict[str, int] = {}
    for one in patches:
        for name in {one.inner, one.outer}:
            sizes[name] = sizes.get(name, 0) + len(one.faces) * (one.inner != one.outer)
    names = {name: size for name, size in sizes.items() if name.lower() not in OUTSIDE and size}
    listed = ", ".join(f"{name!r} ({size} triangles)" for name, size in sorted(names.items())[:10])
    listed = listed[:300] or "none"  # names of damaged files are of any length
    if material is None and len(names) != 1:
        reason = f"must have one material, or one must be named; got {listed}"
        raise InputFileError(12, str(path), reason, "name one in the case, material: NAME (inspect: --material NAME)")
    if material is not None and material not in names:
        reason = f"must have the material {shown(material)}; got {listed}"
        raise InputFileError(12, str(path), reason, "name one of these")
    chosen = next(iter(names)) if material is None else material
    inside = sum(len(one.faces) for one in patches if one.inner == one.outer == chosen)
    note = f"{inside} triangles inside {chosen!r}, which has both of their sides, are left out"
    return chosen, (note,) if inside else ()


def _patches(cursor: _Cursor) -> list[_Patch]:
    """All patches; what else the file lists is passed over, or refused if its length cannot be told."""
    patches: list[_Patch] = []
    while (line := cursor.line()) is not None:
        key, count = cursor.key(line)
        if key == "BoundaryCurves":
            for _ in range(cursor.possible(count, 2)):
                cursor.expect("{")
                cursor.array(cursor.key_of("Vertices"), 1, "vertices of a curve")
                cursor.expect("}")
        elif key == "Patches":
            patches += [_patch(cursor, len(patches) + k) for k in range(cursor.possible(count, 2))]
        elif key == "Surfaces":
            break  # groups of patches, which the regions say as well
        elif key not in ("NBranchingPoints", "NVerticesOnCurves"):
            raise cursor.wrong(f"must go on with curves, patches or surfaces; got {shown(line)}")
    if not patches:
        raise cursor.wrong("must have patches; got none")
    return patches


def _patch(cursor: _Cursor, number: int) -> _Patch:
    """One patch between its braces."""
    cursor.expect("{")
    regions = {"InnerRegion": "", "OuterRegion": "Exterior"}
    faces = None
    while (line := cursor.line()) != "}":
        if line is None:
            raise cursor.wrong(f"must close patch {number + 1} with a brace: the file is cut off")
        words = line.split(None, 1)
        if words[0] in regions:
            regions[words[0]] = cursor.name(words[1].strip().strip('"')) if len(words) > 1 else ""
            continue
        if words[0].lower() == "boundaryid":
            continue
        key, count = cursor.key(line)
        if key == "Triangles":
            faces = cursor.array(count, 3, f"triangles of patch {number + 1}", whole=True).astype(np.int64) - 1
        elif key in ("BranchingPoints", "BoundaryCurves"):
            cursor.array(count, 1, key, whole=True)
        else:
            raise cursor.wrong(f"patch {number + 1} must have regions and triangles; got {shown(line)}")
    if faces is None or not regions["InnerRegion"]:
        raise cursor.wrong(f"patch {number + 1} must have an InnerRegion and Triangles")
    faces = faces.reshape(-1, 3)
    if len(faces) and (faces.min() < 0 or faces.max() >= cursor.vertices):
        reason = f"patch {number + 1} must use vertices 1 to {cursor.vertices}; got "
        reason += str((faces.min() if faces.min() < 0 else faces.max()) + 1)
        raise InputFileError(9, str(cursor.path), reason, "the file is cut off or damaged: save it again")
    return _Patch(regions["InnerRegion"], regions["OuterRegion"], faces)


class _Cursor:
    """Reads lines and arrays one after the other; a binary file is text whose arrays are four bytes a number."""

    def __init__(self, path: Path, data: bytes, text: bool) -> None:
        self.path = path
        self.vertices = 0
        self._data = data
        self._binary = not text
        # One character a byte keeps places in text and bytes the same.
        self._text = data.decode("latin-1") if self._binary else re.sub(r"#[^\n]*", "", decoded(path, data))
        self._at = 0

    def wrong(self, reason: str) -> InputFileError:
        """Return the refusal of what stands here."""
        place = "" if self._binary else f", line {self._text.count(chr(10), 0, self._at) + 1}"
        return InputFileError(7, f"{self.path}{place}", reason, AGAIN)

    def until_vertices(self) -> tuple[str, int]:
        """Text before the vertices, and their number."""
        begin = re.search(r"(?m)^[ \t]*Vertices[ \t]+([0-9]{1,18})[ \t\r]*(?:\n|\Z)", self._text)
        if begin is None:
            raise self.wrong("must have a line 'Vertices' with their number")
        self._at = begin.end()
        self.vertices = int(begin[1])
        return self._text[: begin.start()].replace("\r", "\n"), self.vertices

    def line(self) -> str | None:
        """Next line that is not empty, stripped, None at the end; a comment in a binary file counts as empty."""
        while self._at < len(self._text):
            found = _LINE.match(self._text, self._at)
            assert found is not None, "matches everywhere"
            self._at = found.end()
            words = found[1].strip()
            if words and not words.startswith("#"):
                return words
        return None

    def name(self, text: str) -> str:
        """Name of a region; in a binary file its letters are still bytes."""
        return text.encode("latin-1").decode("utf-8", errors="replace") if self._binary else text

    def expect(self, brace: str) -> None:
        """Read a line with nothing but a brace."""
        line = self.line()
        if line != brace:
            raise self.wrong(f"must have {brace!r} here; got {shown(line or 'the end of the file')}")

    def key(self, line: str) -> tuple[str, int]:
        """Word and number of a line such as ``Triangles 12``."""
        words = line.split()
        count = as_integer(words[1]) if len(words) == 2 else None
        if count is None or count < 0:
            raise self.wrong(f"must have a word and a number here; got {shown(line)}")
        return words[0], count

    def key_of(self, word: str) -> int:
        """Number on the next line, which must begin with a certain word."""
        line = self.line() or "the end of the file"
        key, count = self.key(line)
        if key != word:
            raise self.wrong(f"must have '{word}' here; got {shown(line)}")
        return count

    def possible(self, count: int, smallest: int) -> int:
        """Return the count if that many things of at least so many bytes can still come."""
        if count * smallest > len(self._text) - self._at:
            raise self.wrong(f"announces {count} more parts than there is room for: it is cut off")
        return count

    def array(self, count: int, columns: int, what: str, *, whole: bool = False) -> NDArray[np.float64]:
        """Next ``count`` x ``columns`` numbers, which in a binary file are whole ones if ``whole``."""
        need = count * columns
        left = len(self._text) - self._at
        if (4 * need > left) if self._binary else (2 * need > left + 1):
            reason = f"announces {count} {what}; got {left} bytes: the file is cut off"
            raise InputFileError(6, str(self.path), reason, "copy or save it again")
        if self._binary:
            with np.errstate(invalid="ignore"):  # a signalling NaN; numbers are looked at later
                values = np.frombuffer(self._data, ">i4" if whole else ">f4", need, self._at).astype(float)
            self._at += 4 * need
            return values
        words = list(itertools.islice(_WORD.finditer(self._text, self._at), need))
        if len(words) < need:
            reason = f"announces {count} {what}; got {len(words)} numbers: the file is cut off"
            raise InputFileError(6, str(self.path), reason, "copy or save it again")
        self._at = words[-1].end() if words else self._at
        values = as_floats([word[0] for word in words], lambda k: f"{self.path}, {what}, number {k + 1}")
        if whole and ((np.abs(values) > 2**53) | (values != np.rint(values))).any():
            raise self.wrong(f"the {what} must be whole numbers")
        return values
