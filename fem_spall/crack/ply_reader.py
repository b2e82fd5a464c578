"""Strict reader of PLY surfaces, ASCII and binary of either byte order."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fem_spall.crack.mesh_words import as_floats, as_polygon, decoded, shown
from fem_spall.crack.polygons import PolygonMesh
from fem_spall.errors import InputFileError

__all__ = ["is_text_ply", "read_ply"]

TYPES = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4",
    "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4",
    "float": "f4", "double": "f8", "float32": "f4", "float64": "f8",
}  # fmt: skip
CORNERS = ("vertex_indices", "vertex_index")
AGAIN = "export the surface again, for instance as binary STL"


@dataclass
class _Element:
    """One kind of record: its properties are (name, type) or, for a list, (name, type, type of the count)."""

    name: str
    count: int
    properties: list[tuple[str, ...]] = field(default_factory=list)

    def index(self, *names: str) -> int:
        """Place of the first of ``names`` among the properties, -1 if there is none."""
        return next((k for k, one in enumerate(self.properties) if one[0] in names), -1)

    @property
    def smallest(self) -> int:
        """Bytes of a record with empty lists."""
        return sum(int(one[-1][1:]) for one in self.properties)

    @property
    def largest(self) -> int:
        """Bytes of a record with lists as long as their counts can say."""
        lists = sum(((1 << 8 * int(one[2][1:])) - 1) * int(one[1][1:]) for one in self.properties if len(one) == 3)
        return self.smallest + lists


def is_text_ply(path: Path, head: bytes, size: int) -> bool:
    """Return whether a PLY file is text, after comparing its size with what its first bytes announce.

    Raises
    ------
    InputFileError
        If it is too short or too long for its records, or its header is not as the format wants it.
    """
    form, elements, start = _header(path, head)
    # A record in text form has two bytes for each of its entries, or one where there is no next one.
    least = sum(one.count * (2 * len(one.properties) if form == "ascii" else one.smallest) for one in elements) - 1
    most = sum(one.count * one.largest for one in elements)
    announced = ", ".join(f"{one.count} of '{one.name}'" for one in elements)
    if size - start < least:
        reason = f"its header announces {announced}, {least} bytes or more; got {size - start}: the file is cut off"
        raise InputFileError(6, str(path), reason, AGAIN)
    if form != "ascii" and size - start > most:
        reason = f"its header announces {announced}, at most {most} bytes; got {size - start}: it goes on after them"
        raise InputFileError(6, str(path), reason, AGAIN)
    return form == "ascii"


def read_ply(path: Path, data: bytes) -> PolygonMesh:
    """Return vertices and polygons of the bytes of a PLY file.

    Raises
    ------
    InputFileError
        If the header, the counts or a record are not as the format wants them.
    """
    form, elements, start = _header(path, data)
    if form == "ascii":
        return _ascii(path, decoded(path, data[start:]), elements, len(decoded(path, data[:start]).split("\n")) - 1)
    return _binary(path, data[start:], elements, "<" if form == "binary_little_endian" else ">")


def _header(path: Path, data: bytes) -> tuple[str, list[_Element], int]:
    """Form, elements, and where the records begin."""
    end = re.search(rb"(?:^|[\r\n])[ \t]*+end_header[ \t]*+(\r\n|\n|\r)", data[:65536])
    if end is None:
        raise InputFileError(7, str(path), "must have a PLY header that ends with 'end_header'", AGAIN)
    text = decoded(path, data[: end.start()])
    form = ""
    elements: list[_Element] = []
    for number, line in enumerate(text.split("\n"), start=1):
        match line.split():
            case ["ply"] | [] | ["comment" | "obj_info", *_]:
                pass
            case ["format", "ascii" | "binary_little_endian" | "binary_big_endian" as form, "1.0"]:
                pass
            case ["element", name, count] if count.isascii() and count.isdigit() and len(count) < 19:
                elements.append(_Element(name, int(count)))
            case ["property", "list", count, kind, name] if elements and {count, kind} <= TYPES.keys():
                elements[-1].properties.append((name, TYPES[kind], TYPES[count]))
            case ["property", kind, name] if elements and kind in TYPES:
                elements[-1].properties.append((name, TYPES[kind]))
            case _:
                raise InputFileError(7, f"{path}, line {number}", f"must be a PLY header; got {shown(line)}", AGAIN)
    empty = next((one for one in elements if one.count and not one.properties), None)
    if empty is not None:
        raise InputFileError(7, str(path), f"must say what a record '{empty.name}' holds; got no property", AGAIN)
    if not form:
        raise InputFileError(7, str(path), "must name its format (ascii or binary, version 1.0)", AGAIN)
    for name, wanted in (("vertex", ("x",)), ("vertex", ("y",)), ("vertex", ("z",)), ("face", CORNERS)):
        found = [one for one in elements if one.name == name]
        if len(found) != 1 or (k := found[0].index(*wanted)) < 0 or len(found[0].properties[k]) != 2 + (name == "face"):
            got = ", ".join(one.name for one in elements) or "none"
            reason = f"must have one element '{name}' with '{wanted[0]}'; got the elements {got}"
            raise InputFileError(7, str(path), reason, AGAIN)
    return form, elements, end.end()


def _ascii(path: Path, text: str, elements: list[_Element], header: int) -> PolygonMesh:
    """One record a line."""
    rows = [(number, words) for number, line in enumerate(text.split("\n"), header + 1) if (words := line.split())]
    need = sum(one.count for one in elements)
    if need != len(rows):
        raise InputFileError(6, str(path), f"its header announces {need} records; got {len(rows)} lines", AGAIN)
    for one in elements:
        mine, rows = rows[: one.count], rows[one.count :]
        if one.name == "vertex":
            for number, words in mine:
                if len(words) != len(one.properties):
                    reason = f"a vertex must have {len(one.properties)} numbers; got {shown(' '.join(words))}"
                    raise InputFileError(7, f"{path}, line {number}", reason, AGAIN)
            columns = [one.index(axis) for axis in "xyz"]
            numbers = [words[k] for _, words in mine for k in columns]
            lines = [number for number, _ in mine]
        elif one.name == "face":
            before = one.properties[: one.index(*CORNERS)]
            if any(len(other) == 3 for other in before):
                raise InputFileError(7, str(path), "a face must list its corners before other lists", AGAIN)
            polygons = [as_polygon(words[len(before) :], f"{path}, line {number}") for number, words in mine]
            places = [number for number, _ in mine]
    vertices = as_floats(numbers, lambda k: f"{path}, line {lines[k // 3]}").reshape(-1, 3)
    return PolygonMesh(vertices, polygons, lambda k: f"{path}, line {places[k]}")


def _binary(path: Path, body: bytes, elements: list[_Element], order: str) -> PolygonMesh:
    """Records one after the other; counts are checked against the bytes left before anything is read."""
    columns: dict[str, dict[str, Any]] = {}
    position = 0
    for one in elements:
        if one.count * one.smallest > len(body) - position:
            reason = f"its header announces {one.count} records '{one.name}' of {one.smallest} bytes or more; "
            raise InputFileError(6, str(path), reason + f"got {len(body) - position} bytes: the file is cut off", AGAIN)
        columns[one.name], position = _records(path, body, position, one, order)
    if position != len(body):
        raise InputFileError(6, str(path), f"goes on for {len(body) - position} bytes after its last record", AGAIN)
    vertex, face = columns["vertex"], columns["face"]
    vertices = np.column_stack([np.asarray(vertex[axis], dtype=float) for axis in "xyz"])
    polygons = face[next(name for name in CORNERS if name in face)]
    short = next((k for k, corners in enumerate(polygons) if len(corners) < 3), None)
    if short is not None:
        raise InputFileError(7, f"{path}, face {short + 1}", "a face must have three corners or more", AGAIN)
    return PolygonMesh(vertices, polygons, lambda k: f"{path}, face {k + 1}")


def _records(path: Path, body: bytes, position: int, one: _Element, order: str) -> tuple[dict[str, Any], int]:
    """Columns of an element and the position after it.

    Lists are first taken to have three entries in every record, which whole surfaces of
    triangles do; only if that does not hold are the records walked one by one.
    """
    fields: list[Any] = []
    for k, entry in enumerate(one.properties):
        if len(entry) == 3:
            fields.append((f"n{k}", order + entry[2]))
        fields.append((f"v{k}", order + entry[1], 3) if len(entry) == 3 else (f"v{k}", order + entry[1]))
    record = np.dtype(fields)
    if len(body) - position >= one.count * record.itemsize:
        table = np.frombuffer(body, record, one.count, position)
        if all((table[f"n{k}"] == 3).all() for k, entry in enumerate(one.properties) if len(entry) == 3):
            taken = {entry[0]: table[f"v{k}"].tolist() for k, entry in enumerate(one.properties)}
            return taken, position + one.count * record.itemsize
    columns: dict[str, Any] = {entry[0]: [] for entry in one.properties}
    for k in range(one.count):
        for entry in one.properties:
            count = 1
            if len(entry) == 3:
                count = int(_values(path, body, position, order + entry[2], 1, f"{one.name} {k + 1}")[0])
                position += int(entry[2][1:])
            values = _values(path, body, position, order + entry[1], count, f"{one.name} {k + 1}")
            position += values.nbytes
            columns[entry[0]].append(values.tolist() if len(entry) == 3 else values[0].item())
    return columns, position


def _values(path: Path, body: bytes, position: int, kind: str, count: int, place: str) -> NDArray[Any]:
    """Some numbers of one type, after looking whether they are there."""
    kind_of = np.dtype(kind)
    if count < 0 or position + count * kind_of.itemsize > len(body):
        reason = f"its list of {count} entries goes beyond the end of the file"
        raise InputFileError(6, f"{path}, {place}", reason, AGAIN)
    return np.frombuffer(body, kind_of, count, position)
