"""Label fields of Amira and Avizo (``.am``, ``.labels``), a documented subset.

Read are ``AmiraMesh`` and ``Avizo`` files, ASCII, BINARY (big endian) and
BINARY-LITTLE-ENDIAN, with a lattice on uniform coordinates and one integer (byte, sbyte,
short, ushort, int) for each voxel, stored raw, as HxByteRLE (bytes only) or as HxZip
(zlib).  Of several integer fields the one called Labels is taken.  The bounding box goes
from the centre of the first voxel to that of the last; along an axis with one voxel it is
the voxel's size.  Stacked, rectilinear and curvilinear coordinates, transformations, other
codecs and files in parts are refused by name.

Sources: the AmiraMesh chapter of the Amira reference guide (Zuse Institute Berlin);
zlib is RFC 1950.
"""

from __future__ import annotations

import itertools
import math
import re
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fem_spall.crack.amira_header import (
    AGAIN,
    Entry,
    entries,
    length_unit,
    material_names,
    numbers,
    refuse_transformed,
    values_of,
)
from fem_spall.crack.input_file import InputFile, open_input, refuse_foreign
from fem_spall.errors import InputFileError

__all__ = ["LabelField", "is_amira_mesh", "read_label_field"]

MOST_VOXELS = 2**30  # 1024^3; each then takes a byte or more of memory
EXPANSION = {"": 1, "HxByteRLE": 64, "HxZip": 1040}  # most bytes that one stored byte can stand for
TYPES = {"byte": "u1", "sbyte": "i1", "short": "i2", "ushort": "u2", "int": "i4"}

_FIRST = re.compile(rb"#[ \t]*(?:AmiraMesh|Avizo)(?:[ \t]+3D)?[ \t]+(ASCII|BINARY-LITTLE-ENDIAN|BINARY)[ \t]+\S+(.*)")
_STREAM = re.compile(r"@(\d+)(?:\s*\(\s*(\w+)\s*(?:,\s*(\d+)\s*)?\))?")


class LabelField(NamedTuple):
    """Voxels with labels.

    ``labels`` (nx, ny, nz) integers; ``spacing`` (3,) and ``origin`` (3,), centre of the
    first voxel, in the unit of the file; ``materials`` label of each name, {} if the file has
    none; ``unit`` that the file states, or None; ``sha256`` of its bytes.
    """

    labels: NDArray[np.integer]
    spacing: NDArray[np.float64]
    origin: NDArray[np.float64]
    materials: dict[str, int]
    unit: str | None
    sha256: str


class _Stream(NamedTuple):
    """A declared array: name of its field, NumPy type, tag such as @1, codec and stored bytes (None if not encoded)."""

    name: str
    kind: str
    tag: str
    codec: str
    stored: int | None


def is_amira_mesh(head: bytes) -> bool:
    """Return whether a file with these first bytes is an AmiraMesh or Avizo file."""
    return re.match(rb"#[ \t]*(AmiraMesh|Avizo)\b", head) is not None


def read_label_field(path: str | Path) -> LabelField:
    """Return the labels of an Amira or Avizo label field, and where its voxels are.

    Raises
    ------
    InputFileError
        If the file is none, is damaged, or uses a part of the format that is not read here.
    """
    path = Path(path)
    with open_input(path) as file:
        form = _form(file)
        end = re.search(rb"(?m)^[ \t]*@1[ \t]*\r?$(\n?)", file.head)
        if end is None:
            reason = f"must have its data, '@1', within the first {len(file.head)} bytes; got none"
            raise InputFileError(7, str(path), reason, AGAIN)
        header = file.head[: end.start()].decode("utf-8", errors="replace").replace("\r", "\n")
        found = entries(path, header)
        counts = _counts(path, found)
        streams, chosen = _streams(path, found)
        spacing, origin = _grid(path, found, counts)
        materials = material_names(path, found)
        need = math.prod(counts) * int(chosen.kind[1:])
        _refuse_short(file, chosen, need, form)
        data = file.read(text=form == "ASCII")
    if form == "ASCII":
        flat = _ascii(path, data, chosen, math.prod(counts))
    else:
        flat = _binary(path, data, end.start(), streams, chosen, need, "<" if form.endswith("ENDIAN") else ">")
    highest = int(flat.max())
    if materials and (highest >= len(materials) or int(flat.min()) < 0):
        wrong = highest if highest >= len(materials) else int(flat.min())
        reason = f"has {len(materials)} materials, labels 0 to {len(materials) - 1}; got the label {wrong}"
        raise InputFileError(9, str(path), reason, AGAIN)
    labels = flat.reshape(counts[::-1]).transpose(2, 1, 0)  # x runs fastest in the file
    return LabelField(labels, spacing, origin, materials, length_unit(found), file.sha256)


def _form(file: InputFile) -> str:
    """ASCII, BINARY or BINARY-LITTLE-ENDIAN."""
    wanted = "an Amira label field (.am)"
    where = str(file.path)
    refuse_foreign(file.path, file.head, wanted)
    line = file.head.split(b"\n", 1)[0].strip()
    first = _FIRST.fullmatch(line)
    if first is None:
        if is_amira_mesh(file.head):
            reason = "must be ASCII, BINARY or BINARY-LITTLE-ENDIAN with a version; got " + repr(
                line[:60].decode("latin-1")
            )
            raise InputFileError(12, where, reason, AGAIN)
        raise InputFileError(5, where, f"must be {wanted}; its first line is another one", AGAIN)
    if b"hxsurface" in first[2].lower():
        reason = "must be a label field; got a surface stored as AmiraMesh"
        raise InputFileError(12, where, reason, "save the surface from Avizo as HxSurface ASCII (.surf) or STL")
    return first[1].decode()


def _counts(path: Path, found: list[Entry]) -> tuple[int, int, int]:
    """Voxels along x, y and z."""
    sizes = [words[1:] for name, words in found if name == "define" and words and words[0] == "Lattice"]
    words = [word for word in sizes[0] if isinstance(word, str)] if sizes else []
    if len(words) != 3 or not all(w.isascii() and w.isdigit() and 0 < len(w) < 10 and int(w) > 0 for w in words):
        reason = f"must define a lattice of three numbers of voxels; got {' '.join(words)[:40] or 'none'}"
        raise InputFileError(12, str(path), reason, "save the label field itself, not another object, from Avizo")
    x, y, z = map(int, words)
    if x * y * z > MOST_VOXELS:
        reason = f"must have at most 2^30 voxels; got {x} x {y} x {z}"
        raise InputFileError(2, str(path), reason, "crop it, or resample it to larger voxels")
    return x, y, z


def _streams(path: Path, found: list[Entry]) -> tuple[list[_Stream], _Stream]:
    """Every array that is declared, in the order in which they are stored, and the one that has the labels."""
    streams = []
    for (place, content), (tag, more) in itertools.pairwise(found):
        words = [tag, *(word for word in more if isinstance(word, str))]
        stored = _STREAM.search(" ".join(words))
        fields = [one for one in content if isinstance(one, tuple)]
        if not fields or stored is None:
            continue
        name, kind = place, ""
        if place == "Lattice" and len(fields) == 1:
            kind, names = fields[0]
            name = str(names[0]) if names else ""
        bytes_of = None if stored[3] is None else int(stored[3][:18])
        streams.append(_Stream(name, TYPES.get(kind, ""), f"@{stored[1]}", stored[2] or "", bytes_of))
    usable = [one for one in streams if one.kind]
    named = [one for one in usable if one.name.lower() == "labels"] or usable
    if len(named) != 1:
        got = ", ".join(f"{one.name} ({one.kind or 'not of integers'})" for one in streams)[:80] or "none"
        reason = f"must have one lattice of integers, or one called Labels; got {got}"
        raise InputFileError(12, str(path), reason, "save the label field alone from Avizo")
    chosen = named[0]
    if chosen.codec not in EXPANSION or (chosen.codec and chosen.stored is None):
        reason = f"must be stored raw, as HxByteRLE or as HxZip; got the codec {chosen.codec}"
        raise InputFileError(12, str(path), reason, "save it from Avizo without compression")
    if chosen.codec == "HxByteRLE" and chosen.kind not in ("u1", "i1"):
        reason = "must have labels of one byte where it uses HxByteRLE"
        raise InputFileError(12, str(path), reason, "save it from Avizo without compression")
    return streams, chosen


def _grid(
    path: Path, found: list[Entry], counts: tuple[int, int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Spacing and centre of the first voxel, (3,) each."""
    kind = " ".join(str(word) for word in values_of(found, "Parameters", "CoordType")) or "uniform"
    if kind.lower() != "uniform":
        reason = f"must have uniform coordinates; got {kind[:40]!r}"
        raise InputFileError(12, str(path), reason, "resample it in Avizo to a uniform lattice")
    refuse_transformed(path, found)
    box = numbers(path, found, 6, "Parameters", "BoundingBox")
    if not box:
        reason = "must have a BoundingBox: without it the size of the voxels is not known; got none"
        raise InputFileError(7, str(path), reason, AGAIN)
    low, high = np.array(box[::2]), np.array(box[1::2])
    if not (high > low).all():
        reason = f"BoundingBox must be xmin xmax ymin ymax zmin zmax; got {' '.join(f'{value:g}' for value in box)}"
        raise InputFileError(7, str(path), reason, AGAIN)
    return (high - low) / np.maximum(np.array(counts) - 1, 1), low


def _refuse_short(file: InputFile, chosen: _Stream, need: int, form: str) -> None:
    """Raise before anything is allocated if the file cannot hold so many voxels."""
    stored = chosen.stored if chosen.codec and chosen.stored is not None else file.size
    smallest = need // int(chosen.kind[1:]) * 2 - 1 if form == "ASCII" else need // EXPANSION[chosen.codec]
    if form == "ASCII" and chosen.codec:
        raise InputFileError(12, str(file.path), f"must not use {chosen.codec} in a text file", AGAIN)
    if min(stored, file.size) < smallest or stored > file.size:
        reason = f"its header announces {need} bytes of labels ({chosen.codec or 'raw'}); got a file of {file.size}"
        raise InputFileError(6, str(file.path), f"{reason} bytes: it is cut off", "copy or save it again")


def _ascii(path: Path, data: bytes, chosen: _Stream, count: int) -> NDArray[np.integer]:
    text = re.sub(rb"#[^\n]*", b"", data.replace(b"\r", b"\n"))
    parts = re.split(rb"(?m)^[ \t]*(@\d+)[ \t]*$", text)
    blocks = dict(zip(parts[1::2], parts[2::2], strict=True))
    words = blocks.get(chosen.tag.encode(), b"").split()
    if len(words) != count:
        raise InputFileError(6, str(path), f"must have {count} labels; got {len(words)}", AGAIN)
    kind = np.iinfo(np.dtype(chosen.kind))
    try:
        values = np.fromiter(map(int, words), dtype=np.int64, count=count)
        if values.min() < kind.min or values.max() > kind.max:
            raise OverflowError
    except (ValueError, OverflowError):
        reason = f"labels must be whole numbers from {kind.min} to {kind.max}"
        raise InputFileError(7, str(path), reason, AGAIN) from None
    return values.astype(chosen.kind)


def _binary(
    path: Path, data: bytes, position: int, streams: list[_Stream], chosen: _Stream, need: int, order: str
) -> NDArray[np.integer]:
    """Labels after skipping the arrays that are stored before them."""
    for stream in streams:
        tag = re.compile(rb"\s*" + stream.tag.encode() + rb"[ \t]*\r?\n").match(data, position)
        if tag is None:
            raise InputFileError(6, str(path), f"must have the array {stream.tag} after the one before it", AGAIN)
        position = tag.end()
        if stream is chosen:
            break
        length = stream.stored if stream.codec else need // int(chosen.kind[1:]) * int(stream.kind[1:] or 0)
        if not length:
            reason = f"must have the labels before the array {stream.name}, whose length cannot be told"
            raise InputFileError(12, str(path), reason, "save the label field alone from Avizo")
        position += length
    end = position + (need if chosen.stored is None or not chosen.codec else chosen.stored)
    if end > len(data):
        reason = f"must have {end - position} bytes of labels; got {len(data) - position}: it is cut off"
        raise InputFileError(6, str(path), reason, "copy or save it again")
    rest = data[end:].strip()
    if rest and not rest.startswith(b"@"):
        raise InputFileError(6, str(path), f"goes on for {len(data) - end} bytes after its labels", AGAIN)
    raw: bytes | bytearray = data[position:end]
    if chosen.codec == "HxZip":
        raw = _unzipped(path, raw, need)
    elif chosen.codec == "HxByteRLE":
        raw = _runs(path, raw, need)
    return np.frombuffer(raw, order + chosen.kind).astype(chosen.kind)


def _wrong_length(path: Path, codec: str, need: int, got: int) -> InputFileError:
    reason = f"its {codec} data must unpack to {need} bytes, to the last; got {'more' if got > need else got}"
    return InputFileError(6, str(path), reason, "copy or save it again")


def _unzipped(path: Path, raw: bytes | bytearray, need: int) -> bytes:
    engine = zlib.decompressobj()
    try:
        result = engine.decompress(raw, need + 1)
    except zlib.error:
        raise InputFileError(6, str(path), "its HxZip data are damaged", "copy or save it again") from None
    if len(result) != need or not engine.eof:
        raise _wrong_length(path, "HxZip", need, len(result))
    return result


def _runs(path: Path, raw: bytes | bytearray, need: int) -> bytearray:
    """Undo HxByteRLE: after a byte n < 128 comes a byte to repeat n times, after a larger one n - 128 bytes as such."""
    result = bytearray()
    position = 0
    while position < len(raw) and len(result) <= need:
        count = raw[position]
        if count < 128:
            result += raw[position + 1 : position + 2] * count
            position += 2
        else:
            result += raw[position + 1 : position + 1 + count - 128]
            position += 1 + count - 128
    if len(result) != need or position != len(raw):
        raise _wrong_length(path, "HxByteRLE", need, len(result))
    return result
