"""Strict readers of triangle surfaces: STL, OBJ, PLY and OFF.

Every count is compared with the size of the file before memory is asked for, and a file
that is not exactly what it claims to be is refused with the place and the cure: a mesh
that is silently empty or scrambled would only show up as a wrong current.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fem_spall.crack.mesh_words import as_floats, as_polygon, decoded, fans, shown
from fem_spall.crack.ply_reader import read_ply
from fem_spall.crack.triangles import weld
from fem_spall.errors import InputFileError

__all__ = ["RawMesh", "read_mesh"]

type Floats = NDArray[np.float64]
type Ints = NDArray[np.int64]

LARGEST_FILE = 2**31  # bytes, 43 million binary facets: far above what can be meshed
LARGEST_COORDINATE = 1e12  # file units; no crack is a kilometre of nanometres

FOREIGN = (
    (b"\x1f\x8b", "a gzip archive", "unpack it with gunzip"),
    (b"PK\x03\x04", "a zip archive (or a 3MF, NPZ or office file)", "unpack it, or export the surface as STL"),
    (b"BZh", "a bzip2 archive", "unpack it with bunzip2"),
    (b"\xfd7zXZ", "an xz archive", "unpack it with unxz"),
    (b"7z\xbc\xaf", "a 7z archive", "unpack it"),
    (b"\x89PNG", "a PNG picture", "give the surface mesh, not a picture of it"),
    (b"\xff\xd8\xff", "a JPEG picture", "give the surface mesh, not a picture of it"),
    (b"II*\0", "a TIFF image", "contour the image stack first and save the surface as STL"),
    (b"MM\0*", "a TIFF image", "contour the image stack first and save the surface as STL"),
    (b"%PDF", "a PDF document", "give the surface mesh itself"),
    (b"\x89HDF", "an HDF5 file", "export the surface as STL"),
    (b"glTF", "a binary glTF scene", "export the surface as STL"),
    (b"version https://git-lfs", "a Git LFS pointer, not the mesh itself", "run 'git lfs pull' to fetch the mesh"),
)


@dataclass(frozen=True)
class RawMesh:
    """What a file holds: ``vertices`` (n, 3) float in file units and ``faces`` (m, 3) int, nothing repaired."""

    vertices: Floats
    faces: Ints
    sha256: str
    format: str
    notes: tuple[str, ...] = ()


def read_mesh(path: str | Path) -> RawMesh:
    """Return the triangles of a mesh file; its content, not its extension, decides the format.

    Raises
    ------
    InputFileError
        If the file cannot be read completely and without doubt.
    """
    path = Path(path)
    data = _bytes(path)
    digest = hashlib.sha256(data).hexdigest()
    form, parse = _format(path, data)
    vertices, faces = parse(path, data)
    if len(faces) == 0:
        raise InputFileError(10, str(path), "must hold at least four triangles; got none", "export the surface again")
    _check_numbers(path, vertices, corners_of_facets=form.startswith("stl"))
    if form.startswith("stl"):  # the format has no shared corners: joining identical ones is part of reading it
        vertices, index = weld(vertices)
        faces = index[faces]
    suffix = path.suffix.lower().lstrip(".")
    note = f"the content is {form}, whatever the extension {path.suffix!r} says"
    return RawMesh(vertices, faces, digest, form, () if form.split()[0] == suffix else (note,))


def _bytes(path: Path) -> bytes:
    """One read of the whole file, after looking at what it is."""
    where = str(path)
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise InputFileError(1, where, "there is no such file", "check the path; it is relative to the case") from None
    except (OSError, ValueError) as fault:
        raise InputFileError(1, where, f"cannot be opened ({fault})", "check the path") from None
    if stat.S_ISDIR(status.st_mode):
        raise InputFileError(2, where, "must be a mesh file; got a folder", "name a file in it")
    if not stat.S_ISREG(status.st_mode):
        raise InputFileError(2, where, "must be a regular file; got a device or pipe", "copy the mesh into a file")
    if status.st_size == 0:
        raise InputFileError(3, where, "the file is empty", "export the surface again")
    if status.st_size > LARGEST_FILE:
        raise InputFileError(
            2, where, f"must be at most 2 GiB; got {status.st_size / 2**30:.1f} GiB", "decimate the surface first"
        )
    try:
        return path.read_bytes()
    except OSError as fault:
        raise InputFileError(1, where, f"cannot be read ({fault.strerror})", "check its permissions") from None


def _format(path: Path, data: bytes) -> tuple[str, Callable[[Path, bytes], tuple[Floats, Ints]]]:
    """Name the format and the function that reads it."""
    where = str(path)
    for magic, what, cure in FOREIGN:
        if data.startswith(magic):
            raise InputFileError(4, where, f"must be a triangle mesh; got {what}", cure)
    count = int.from_bytes(data[80:84], "little") if len(data) >= 84 else 0
    if count and len(data) == 84 + 50 * count:
        return "stl binary", _stl_binary  # whatever its header says: many writers begin it with "solid"
    if data[:2] in (b"\xff\xfe", b"\xfe\xff") or (len(data) > 8 and data[1:8:2] == b"\0\0\0\0"):
        raise InputFileError(11, where, "must be ASCII or UTF-8 text; got UTF-16", "save it as plain ASCII or UTF-8")
    head = data[:4096].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if head.startswith((b"<!doctype", b"<html", b"<head")):
        raise InputFileError(4, where, "must be a triangle mesh; got an HTML page", "download the file itself")
    if head.startswith(b"<"):
        raise InputFileError(4, where, "must be a triangle mesh; got XML", "export the surface as STL")
    if head.split(None, 1)[:1] == [b"ply"]:
        return "ply", read_ply
    if re.match(rb"(#[^\n]*\s+)*(st|c|n)*off\b", head):
        return "off", _off
    if head.startswith(b"solid") and b"\0" not in data:
        return "stl ascii", _stl_ascii
    if path.suffix.lower() == ".obj" or (b"\0" not in data and re.search(rb"(?m)^\s*v\s+[-+.\d]", data[:65536])):
        return "obj", _obj
    if path.suffix.lower() == ".stl" and b"\0" in data:
        raise _stl_size(path, data, count)
    raise InputFileError(5, where, "must be STL, OBJ, PLY or OFF; the content is none of these", "export it as STL")


def _stl_size(path: Path, data: bytes, count: int) -> InputFileError:
    if len(data) < 84:
        return InputFileError(6, str(path), f"a binary STL has at least 84 bytes; got {len(data)}", "export it again")
    need = 84 + 50 * count  # Python integers: no overflow whatever the header says
    end = "is cut off or its header is wrong" if need > len(data) else "goes on after its last facet"
    reason = f"its header announces {count} facets, which take {need} bytes; got {len(data)}: the file {end}"
    return InputFileError(6, str(path), reason, "copy or export the file again")


def _stl_binary(path: Path, data: bytes) -> tuple[Floats, Ints]:
    record = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    facets = np.frombuffer(data, record, offset=84)
    return facets["corners"].reshape(-1, 3).astype(float), np.arange(3 * len(facets)).reshape(-1, 3)


_FACET = re.compile(
    r"\s*facet\s+normal\s+\S+\s+\S+\s+\S+\s+outer\s+loop"
    + 3 * r"\s+vertex\s+(\S+)\s+(\S+)\s+(\S+)"
    + r"\s+endloop\s+endfacet(?!\S)",
    re.IGNORECASE,
)
_SOLID = re.compile(r"\s*(end\s?)?solid\b(?:(?!facet\s+normal)[^\n])*", re.IGNORECASE)


def _stl_ascii(path: Path, data: bytes) -> tuple[Floats, Ints]:
    """Facets in the words of the format, in any case, on any lines, in one or several solids."""
    text = decoded(path, data).strip()
    numbers: list[str] = []
    position, closed = 0, False
    while position < len(text):
        if (facet := _FACET.match(text, position)) is not None:
            numbers += facet.groups()
            position, closed = facet.end(), False
        elif (solid := _SOLID.match(text, position)) is not None:
            position, closed = solid.end(), solid.group(1) is not None
        else:
            rest = text[position:].lstrip()
            line = text.count("\n", 0, len(text) - len(rest)) + 1
            reason = f"facet {len(numbers) // 9 + 1} must be 'facet normal', 'outer loop', three 'vertex' with three "
            reason += f"numbers each, 'endloop', 'endfacet'; got {shown(rest[:200])}"
            cure = "the file is cut off or edited by hand: export it again"
            raise InputFileError(7, f"{path}, line {line}", reason, cure)
    if not closed:
        raise InputFileError(6, str(path), "must end with 'endsolid': it is cut off", "copy or export it again")
    values = as_floats(numbers, lambda k: f"{path}, facet {k // 9 + 1}")
    return values.reshape(-1, 3), np.arange(len(values) // 3).reshape(-1, 3)


_OBJ_IGNORED = {"vt", "vn", "g", "o", "s", "l", "p", "usemtl", "mtllib", "mg", "lod", "bevel", "c_interp", "d_interp",
                "shadow_obj", "trace_obj", "usemap", "maplib"}  # fmt: skip


def _obj(path: Path, data: bytes) -> tuple[Floats, Ints]:
    """Vertices and polygons; polygons become fans; materials are never looked at."""
    text = decoded(path, data).replace("\\\n", "  ")
    numbers: list[str] = []
    lines_of_vertices: list[int] = []
    polygons: list[list[int]] = []
    lines_of_polygons: list[int] = []
    for number, line in enumerate(text.split("\n"), start=1):
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
    return values.reshape(-1, 3), fans(polygons, len(values) // 3, lambda k: f"{path}, line {lines_of_polygons[k]}")


def _obj_index(word: str, known: int, place: str) -> int:
    """Zero-based vertex of ``7``, ``7/1/2`` or ``-1``."""
    try:
        index = int(word.split("/", 1)[0])
    except ValueError:
        raise InputFileError(7, place, f"a corner must be an index; got {shown(word)}", "export it again") from None
    if index == 0 or index < -known:
        reason = f"vertices count from 1 (or from -1 backwards, {known} so far); got {index}"
        raise InputFileError(9, place, reason, "the writer of this file is at fault: export it with another program")
    return index - 1 if index > 0 else known + index


def _off(path: Path, data: bytes) -> tuple[Floats, Ints]:
    """Counts, vertices and polygons, one a line."""
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
    if len(counts) not in (2, 3) or not all(word.isascii() and word.isdigit() for word in counts):
        reason = f"must give the numbers of vertices, faces and edges; got {shown(' '.join(counts))}"
        raise InputFileError(7, str(path), reason, "export it again (binary OFF cannot be read)")
    n, m = int(counts[0]), int(counts[1])
    if n + m > len(body):
        reason = f"announces {n} vertices and {m} faces; got {len(body)} lines: the file is cut off"
        raise InputFileError(6, str(path), reason, "copy or export it again")
    numbers = [word for _, words in body[:n] for word in words[:3]]
    short = next((number for number, words in body[:n] if len(words) < 3), None)
    if short is not None:
        raise InputFileError(7, f"{path}, line {short}", "a vertex must have three numbers", "export it again")
    values = as_floats(numbers, lambda k: f"{path}, line {body[k // 3][0]}")
    polygons = [as_polygon(words, f"{path}, line {number}") for number, words in body[n : n + m]]
    return values.reshape(-1, 3), fans(polygons, n, lambda k: f"{path}, line {body[n + k][0]}")


def _check_numbers(path: Path, vertices: Floats, corners_of_facets: bool) -> None:
    """Refuse NaN, infinities and absurd coordinates, naming the first vertex."""
    with np.errstate(invalid="ignore"):
        wrong = np.flatnonzero(~(np.abs(vertices) < LARGEST_COORDINATE).all(axis=1))
    if len(wrong) == 0:
        return
    k = int(wrong[0])
    place = f"{path}, facet {k // 3 + 1}, corner {k % 3 + 1}" if corners_of_facets else f"{path}, vertex {k + 1}"
    got = ", ".join(f"{value:g}" for value in vertices[k])
    reason = f"coordinates must be finite and below 1e12; got ({got}), and {len(wrong) - 1} more such vertices"
    raise InputFileError(8, place, reason, "repair the surface in the program that made it and export it again")
