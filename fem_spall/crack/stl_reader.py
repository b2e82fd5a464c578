"""Strict reader of STL surfaces, binary and ASCII."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from fem_spall.crack.mesh_words import as_floats, decoded, shown
from fem_spall.crack.polygons import PolygonMesh
from fem_spall.errors import InputFileError

__all__ = ["facets_announced", "read_ascii_stl", "read_binary_stl", "wrong_size"]


def facets_announced(head: bytes) -> int:
    """Return the number of facets that the header of a binary STL announces, 0 if there is none."""
    return int.from_bytes(head[80:84], "little") if len(head) >= 84 else 0


def wrong_size(path: Path, head: bytes, size: int) -> InputFileError:
    """Return the refusal of a binary STL whose size is not that of its facets."""
    if size < 84:
        return InputFileError(6, str(path), f"a binary STL has at least 84 bytes; got {size}", "export it again")
    count = facets_announced(head)
    need = 84 + 50 * count  # Python integers: no overflow whatever the header says
    end = "is cut off or its header is wrong" if need > size else "goes on after its last facet"
    reason = f"its header announces {count} facets, which take {need} bytes; got {size}: the file {end}"
    return InputFileError(6, str(path), reason, "copy or export the file again")


def read_binary_stl(path: Path, data: bytes) -> PolygonMesh:
    """Return the facets of the bytes of a binary STL, whose size has been looked at; normals are not used."""
    record = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    facets = np.frombuffer(data, record, offset=84)
    with np.errstate(invalid="ignore"):  # a signalling NaN; numbers are looked at later
        corners = facets["corners"].reshape(-1, 3).astype(float)
    return PolygonMesh(corners, np.arange(len(corners)).reshape(-1, 3), lambda k: f"{path}, facet {k + 1}")


_FACET = re.compile(
    r"\s*facet\s+normal\s+\S+\s+\S+\s+\S+\s+outer\s+loop"
    + 3 * r"\s+vertex\s+(\S+)\s+(\S+)\s+(\S+)"
    + r"\s+endloop\s+endfacet(?!\S)",
    re.IGNORECASE,
)
_SOLID = re.compile(r"\s*(end\s?)?solid\b", re.IGNORECASE)
_NAME_END = re.compile(r"\n|facet\s+normal", re.IGNORECASE)


def read_ascii_stl(path: Path, data: bytes) -> PolygonMesh:
    """Return the facets in the words of the format, in any case, on any lines, in one or several solids.

    Raises
    ------
    InputFileError
        If there is anything else, a number is none, or the last solid does not end.
    """
    text = decoded(path, data).strip()
    numbers: list[str] = []
    position, closed = 0, False
    while position < len(text):
        if (facet := _FACET.match(text, position)) is not None:
            numbers += facet.groups()
            position, closed = facet.end(), False
        elif (solid := _SOLID.match(text, position)) is not None:
            name_end = _NAME_END.search(text, solid.end())
            position = len(text) if name_end is None else name_end.start()
            closed = solid.group(1) is not None
        else:
            rest = text[position : position + 10_000].lstrip()
            line = text.count("\n", 0, position + 1) + 1
            reason = f"facet {len(numbers) // 9 + 1} must be 'facet normal', 'outer loop', three 'vertex' with three "
            reason += f"numbers each, 'endloop', 'endfacet'; got {shown(rest[:200])}"
            cure = "the file is cut off or edited by hand: export it again"
            raise InputFileError(7, f"{path}, line {line}", reason, cure)
    if not closed:
        raise InputFileError(6, str(path), "must end with 'endsolid': it is cut off", "copy or export it again")
    values = as_floats(numbers, lambda k: f"{path}, facet {k // 9 + 1}").reshape(-1, 3)
    return PolygonMesh(values, np.arange(len(values)).reshape(-1, 3), lambda k: f"{path}, facet {k + 1}")
