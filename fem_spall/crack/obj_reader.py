"""Strict readers of polygon surfaces in text form: OBJ and OFF."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fem_spall.crack.mesh_words import as_floats, as_integer, as_polygon, decoded, shown
from fem_spall.crack.polygons import PolygonMesh
from fem_spall.errors import InputFileError

__all__ = ["read_obj", "read_off"]

_OBJ_IGNORED = {"vt", "vn", "g", "o", "s", "l", "p", "usemtl", "mtllib", "mg", "lod", "bevel", "c_interp", "d_interp",
                "shadow_obj", "trace_obj", "usemap", "maplib"}  # fmt: skip


def read_obj(path: Path, data: bytes) -> PolygonMesh:
    """Return vertices and polygons of an OBJ; the files of materials and textures it names are never opened.

    Raises
    ------
    InputFileError
        If a line is none of vertex, polygon and what does not change the shape.
    """
    numbers: list[str] = []
    lines_of_vertices: list[int] = []
    polygons: list[list[int]] = []
    lines_of_polygons: list[int] = []
    for number, line in _obj_lines(decoded(path, data)):
        words = line.split("#", 1)[0].split()
        if not words or words[0] in _OBJ_IGNORED:
            continue
        place = f"{path}, line {number}"
        if words[0] == "v":
            if len(words) not in (4, 5, 7) or (len(words) == 5 and words[4].rstrip("0").rstrip(".") != "1"):
                raise InputFileError(7, place, f"a vertex must have three numbers; got {shown(line)}", "export again")
            numbers += words[1:4]
            lines_of_vertices.append(number)
        elif words[0] == "f":
            if len(words) < 4:
                raise InputFileError(7, place, f"a face must have three corners; got {shown(line)}", "export it again")
            polygons.append([_obj_index(word, len(lines_of_vertices), place) for word in words[1:]])
            lines_of_polygons.append(number)
        else:
            reason = f"only vertices and polygons can be read; got {shown(line)}"
            raise InputFileError(7, place, reason, "export the surface as triangles, for instance as STL")
    values = as_floats(numbers, lambda k: f"{path}, line {lines_of_vertices[k // 3]}")
    return PolygonMesh(values.reshape(-1, 3), polygons, lambda k: f"{path}, line {lines_of_polygons[k]}")


def _obj_lines(text: str) -> Iterator[tuple[int, str]]:
    """Number and text of each line; a backslash at its end joins the next one to it."""
    first, parts = 1, []  # type: int, list[str]
    for number, line in enumerate(text.split("\n"), start=1):
        if not parts:
            first = number
        if line.endswith("\\"):
            parts.append(line[:-1])
        else:
            yield first, " ".join([*parts, line]) if parts else line
            parts = []
    if parts:
        yield first, " ".join(parts)


def _obj_index(word: str, known: int, place: str) -> int:
    """Zero-based vertex of ``7``, ``7/1/2`` or ``-1``."""
    index = as_integer(word.split("/", 1)[0])
    if index is None:
        raise InputFileError(7, place, f"a corner must be an index; got {shown(word)}", "export it again")
    if index == 0 or index < -known:
        reason = f"vertices count from 1 (or from -1 backwards, {known} so far); got {str(index)[:20]}"
        raise InputFileError(9, place, reason, "the writer of this file is at fault: export it with another program")
    return index - 1 if index > 0 else known + index


def read_off(path: Path, data: bytes) -> PolygonMesh:
    """Return vertices and polygons of an OFF: after the counts one of them a line.

    Raises
    ------
    InputFileError
        If the counts are not those of the lines, or a line has not the numbers it must have.
    """
    rows = [
        (number, words)
        for number, line in enumerate(decoded(path, data).split("\n"), start=1)
        if (words := line.split("#", 1)[0].split())
    ]
    counts = rows[0][1][1:]
    body = rows[1:]
    if not counts:
        if not body:
            raise InputFileError(6, str(path), "must give its counts after 'OFF'; got nothing", "export it again")
        counts, body = body[0][1], body[1:]
    sizes = [as_integer(word) for word in counts]
    n, m = (sizes[0], sizes[1]) if len(sizes) in (2, 3) else (None, None)
    if n is None or m is None or n < 0 or m < 0:
        reason = f"must give the numbers of vertices, faces and edges; got {shown(' '.join(counts))}"
        raise InputFileError(7, str(path), reason, "export it again (binary OFF cannot be read)")
    if n + m != len(body):
        end = "the file is cut off" if n + m > len(body) else "the file goes on after its last face"
        reason = f"announces {n} vertices and {m} faces; got {len(body)} lines: {end}"
        raise InputFileError(6, str(path), reason, "copy or export it again")
    numbers = [word for _, words in body[:n] for word in words[:3]]
    short = next((number for number, words in body[:n] if len(words) < 3), None)
    if short is not None:
        raise InputFileError(7, f"{path}, line {short}", "a vertex must have three numbers", "export it again")
    values = as_floats(numbers, lambda k: f"{path}, line {body[k // 3][0]}")
    polygons = [as_polygon(words, f"{path}, line {number}") for number, words in body[n:]]
    return PolygonMesh(values.reshape(-1, 3), polygons, lambda k: f"{path}, line {body[n + k][0]}")
