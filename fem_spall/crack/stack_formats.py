"""Readers of the stacks that need a package: TIFF, NRRD, Zarr, and folders of TIFF or PNG slices."""

from __future__ import annotations

import bz2
import hashlib
import itertools
import logging
import os
import re
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fem_spall.crack.raw_stack import AGAIN, RawStack, damaged, file_hash, refuse_large, required
from fem_spall.errors import InputFileError, LimitError

__all__ = ["read_nrrd", "read_png", "read_slices", "read_tiff", "read_tiff_slice", "read_zarr"]

UNITS = {
    "nm": "nm", "nanometer": "nm", "nanometre": "nm", "nanometers": "nm",
    "um": "um", "µm": "um", "μm": "um", "\\u00b5m": "um", "micron": "um", "microns": "um", "micrometer": "um",
    "micrometre": "um", "micrometers": "um", "mm": "mm", "millimeter": "mm", "millimetre": "mm", "cm": "cm",
    "centimeter": "cm", "m": "m", "meter": "m", "inch": "inch",
}  # fmt: skip
EXPANSION = 1040  # most bytes that one byte of a deflated stream can stand for
NRRD_TYPES = {
    "int8": "i1", "int8_t": "i1", "signed char": "i1", "uchar": "u1", "unsigned char": "u1", "uint8": "u1",
    "uint8_t": "u1", "short": "i2", "int16": "i2", "int16_t": "i2", "signed short": "i2", "ushort": "u2",
    "unsigned short": "u2", "uint16": "u2", "uint16_t": "u2", "int": "i4", "int32": "i4", "int32_t": "i4",
    "uint": "u4", "unsigned int": "u4", "uint32": "u4", "uint32_t": "u4", "int64": "i8", "uint64": "u8",
    "float": "f4", "double": "f8",
}  # fmt: skip


@contextmanager
def _talkative(path: Path, name: str) -> Iterator[None]:
    """Refuse a file about which the library has logged a warning: it reads what is missing as zeros."""
    said: list[InputFileError] = []

    def refuse(record: logging.LogRecord) -> None:
        reason = f"is damaged or cut off ({' '.join(record.getMessage().split())[:160]})"
        said.append(InputFileError(6, str(path), reason, "copy or save it again"))
        raise said[0]  # at once: it may say so of a million pages that are not there

    log = logging.getLogger(name)
    handler = logging.Handler(logging.WARNING)
    handler.emit = refuse  # type: ignore[method-assign]
    log.addHandler(handler)
    before, log.propagate = log.propagate, False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.propagate = before
    if said:
        raise said[0]


def read_tiff(path: Path, array: str | None, limit: float) -> RawStack:
    """Return the stack of a TIFF file: ImageJ, OME, or pages of one size; spacing as ImageJ or OME state it.

    Raises
    ------
    InputFileError
        If it is damaged, has several stacks, colours or pages of different sizes.
    LimitError
        If it announces more than the limit.
    """
    tifffile = required("tifffile", path)
    faults = (tifffile.TiffFileError, ValueError, TypeError, KeyError, IndexError, OSError, ArithmeticError,
              RuntimeError, zlib.error, MemoryError, NotImplementedError, AttributeError, AssertionError,
              struct.error)  # fmt: skip
    _refuse_circle(path)
    with _talkative(path, "tifffile"), damaged(path, *faults), tifffile.TiffFile(path) as tif:
        series = _series(path, tif.series, array)
        shape = tuple(int(n) for n, axis in zip(series.shape, series.axes, strict=True) if n > 1 or axis in "ZYX")
        if "S" in series.axes:
            raise InputFileError(12, str(path), f"must be grey or labels; got colours, axes {series.axes}", AGAIN)
        if len(shape) == 2:
            shape = (1, *shape)
        refuse_large(path, shape, series.dtype.itemsize, limit)
        for page in series.pages:
            _refuse_short_page(path, page, limit)
        if (told := (tif.imagej_metadata or {}).get("images", 1)) != 1 and told != shape[0]:
            raise InputFileError(6, str(path), f"its header announces {told} images; got {shape[0]}", AGAIN)
        spacing, unit = _tiff_spacing(tif)
        voxels = series.asarray(maxworkers=1).reshape(shape)
    return RawStack(voxels, "tiff", file_hash(path), spacing=spacing, unit=unit)


def _series(path: Path, series: Any, array: str | None) -> Any:
    """The only stack of the file, or that of a number."""
    told = ", ".join(f"{k}: {' x '.join(map(str, one.shape))}" for k, one in enumerate(series))
    if array is None and len(series) == 1:
        return series[0]
    if array is not None and array.isascii() and array.isdigit() and int(array) < len(series):
        return series[int(array)]
    reason = f"must hold one stack of pages of one size; got {told[:200] or 'none'}"
    raise InputFileError(12, str(path), reason, "save the stack alone, or give its number, such as 'dataset: 0'")


def _refuse_circle(path: Path) -> None:
    """Raise if a page names itself or one before as the next, which the library would follow for ever."""
    with path.open("rb") as stream, damaged(path, struct.error, ValueError, OverflowError, OSError):
        start = stream.read(4)
        order = "<" if start[:2] == b"II" else ">"
        big = start[2:] in (b"+\0", b"\0+")
        count, tag, link = ("Q", 20, "Q") if big else ("H", 12, "I")
        stream.seek(8 if big else 4)
        seen: set[int] = set()
        while page := struct.unpack(order + link, stream.read(struct.calcsize(link)))[0]:
            if page in seen:
                raise InputFileError(6, str(path), f"page {len(seen)} is followed by one before it", AGAIN)
            seen.add(page)
            stream.seek(page)
            tags = struct.unpack(order + count, stream.read(struct.calcsize(count)))[0]
            stream.seek(tag * tags, os.SEEK_CUR)


def _refuse_short_page(path: Path, page: Any, limit: float) -> None:
    """Raise if a page lies beyond the end of the file, has parts left out, or unpacks to more than it says."""
    if page is None:
        raise InputFileError(6, str(path), "a page is missing", "copy or save it again")
    size = path.stat().st_size
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        if count == 0 or offset + count > size:
            reason = f"is cut off: a page needs bytes up to {offset + count}; got {size}"
            raise InputFileError(6, str(path), reason, "copy or save it again")
        if count * EXPANSION > max(limit, 4e9):
            reason = f"has a compressed piece of {count / 1e6:.0f} MB, which may unpack to any size"
            raise LimitError(4, str(path), reason, "save it with smaller strips or without compression")
    if page.compression == 1 and sum(page.databytecounts) < page.nbytes:
        reason = f"a page of {page.nbytes} bytes has {sum(page.databytecounts)} in the file"
        raise InputFileError(6, str(path), reason, AGAIN)
    if page.compression in (8, 32946):  # deflate
        expected = page.nbytes
        with path.open("rb") as stream:
            for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
                if count * EXPANSION < max(4 * expected, 2**26):
                    continue
                stream.seek(offset)
                if len(zlib.decompressobj().decompress(stream.read(count), expected + 1)) > expected:
                    reason = f"a page of {expected} bytes unpacks to more"
                    raise InputFileError(6, str(path), reason, "save it again")


def _tiff_spacing(tif: Any) -> tuple[tuple[float | None, ...] | None, str | None]:
    """Spacing along z, y, x and its unit, as ImageJ or OME state it; resolutions in dots per inch mean nothing."""
    page = tif.pages[0]
    if tif.is_ome:
        found = {}
        for axis in "ZYX":
            value = re.search(rf'\bPhysicalSize{axis}="([-+.\deE]+)"', tif.ome_metadata or "")
            stated = re.search(rf'\bPhysicalSize{axis}Unit="([^"]*)"', tif.ome_metadata or "")
            found[axis] = (float(value[1]), stated[1] if stated else "µm") if value else None
        units = {one[1] for one in found.values() if one}
        if len(units) == 1:
            return tuple(one[0] if one else None for one in found.values()), UNITS.get(units.pop())
        return None, None
    if not tif.is_imagej:
        return None, None
    data = tif.imagej_metadata or {}
    unit = UNITS.get(str(data.get("unit", "")).strip().lower())
    if unit is None:
        return None, None
    resolution = [page.tags.get(name) for name in ("YResolution", "XResolution")]
    lateral = [tag.value[1] / tag.value[0] if tag is not None and tag.value[0] > 0 else None for tag in resolution]
    depth = float(data["spacing"]) if data.get("spacing") else None
    return (depth, *lateral), unit


def read_nrrd(path: Path, array: str | None, limit: float) -> RawStack:
    """Return the image of an NRRD file (raw, gzip or bzip2) with its spacing, directions along the axes only.

    Raises
    ------
    InputFileError
        If it is damaged, detached from its data, in text, or turned in space.
    LimitError
        If it announces more than the limit.
    """
    nrrd = required("nrrd", path)
    faults = (nrrd.NRRDError, ValueError, TypeError, KeyError, IndexError, AttributeError, UnicodeError)
    with path.open("rb") as stream:
        overflow = warnings.catch_warnings(action="error", category=RuntimeWarning)
        with damaged(path, *faults, RuntimeWarning), overflow:
            header = nrrd.read_header(stream)
            shape = tuple(int(n) for n in header["sizes"])
            kind = np.dtype(NRRD_TYPES[str(header["type"])])
            encoding = str(header["encoding"])
            if header.get("endian", "little") == "big":
                kind = kind.newbyteorder(">")
        if {"data file", "datafile"} & header.keys():
            raise InputFileError(12, str(path), "must hold its data; they are in another file", "save it as one .nrrd")
        if header.get("byte skip", 0) or header.get("line skip", 0):
            raise InputFileError(12, str(path), "must not skip bytes or lines", AGAIN)
        refuse_large(path, shape[::-1], kind.itemsize, limit)
        need = int(np.prod(shape, dtype=object)) * kind.itemsize
        data = stream.read(need + 2**16 if encoding == "raw" else -1)
    unpack: dict[str, Callable[[], bytes]] = {
        "raw": lambda: data,
        **dict.fromkeys(("gzip", "gz"), lambda: _unpacked(zlib.decompressobj(47), data, need)),
        **dict.fromkeys(("bzip2", "bz2"), lambda: _unpacked(bz2.BZ2Decompressor(), data, need)),
    }
    if encoding not in unpack:
        raise InputFileError(12, str(path), f"must be raw, gzip or bzip2; got {encoding[:20]}", "save it as gzip")
    with damaged(path, zlib.error, OSError, EOFError):
        plain = unpack[encoding]()
    if len(plain) != need:
        got = "more" if len(plain) > need else f"{len(plain)}: it is cut off"
        raise InputFileError(6, str(path), f"its header announces {need} bytes; got {got}", "copy or save it again")
    voxels = np.frombuffer(plain, kind).reshape(shape[::-1])  # the first axis runs fastest in the file
    spacing, origin, unit = _nrrd_space(path, header)
    return RawStack(voxels, "nrrd", file_hash(path), spacing=spacing, origin=origin, unit=unit)


def _unpacked(unpacker: Any, data: bytes, need: int) -> bytes:
    """All bytes of a packed stream, or one more than needed; a stream without its end has no checksum either."""
    plain: bytes = unpacker.decompress(data, need + 1)
    if len(plain) <= need and not unpacker.eof:
        raise EOFError("the packed data end too early")
    return plain


def _nrrd_space(
    path: Path, header: dict[str, Any]
) -> tuple[tuple[float | None, ...] | None, tuple[float, ...] | None, str | None]:
    """Spacing and origin along the axes of the array, slowest first, and their unit."""
    spacing: NDArray[Any] | None = None
    if "space directions" in header:
        directions = np.asarray(header["space directions"], dtype=float)
        if directions.shape != (3, 3) or not np.isfinite(directions).all() or np.any(
            directions - np.diag(np.diagonal(directions))
        ) or (np.diagonal(directions) <= 0).any():  # fmt: skip
            reason = "space directions must run along x, y and z; it is turned or mirrored in space"
            raise InputFileError(12, str(path), reason, "resample it, or write 'spacings' instead and use place")
        spacing = np.diagonal(directions)
    elif "spacings" in header:
        spacing = np.asarray(header["spacings"], dtype=float)
    if spacing is None or spacing.shape != (3,) or not (spacing > 0).all():
        return None, None, None
    origin = np.asarray(header["space origin"], dtype=float) if "space origin" in header else None
    stated = header.get("space units") or header.get("units") or []
    units = {UNITS.get(str(word).strip().lower()) for word in stated}
    unit = units.pop() if len(units) == 1 else None
    turned = tuple(map(float, origin[::-1])) if origin is not None and origin.shape == (3,) else None
    return tuple(map(float, spacing[::-1])), turned, unit


def read_zarr(path: Path, array: str | None, limit: float) -> RawStack:
    """Return an array of a Zarr folder (version 2 or 3), with the scale that OME-NGFF states.

    Raises
    ------
    InputFileError
        If it is damaged, or no array of this name is in it.
    LimitError
        If it announces more than the limit.
    """
    zarr = required("zarr", path)
    scale: tuple[float | None, ...] | None = None
    unit = None
    notes: tuple[str, ...] = ()
    with damaged(path, Exception), warnings.catch_warnings():
        # What the library mends in silence is a fault; what else lies in the folder is none.
        warnings.filterwarnings("error", module="zarr")
        warnings.filterwarnings("ignore", message=".*not recognized as a component")
        found = zarr.open(str(path), mode="r")
        if not hasattr(found, "shape"):
            names = sorted(found.array_keys())
            array = array or ("0" if "0" in names else names[0] if len(names) == 1 else None)
            if array is None or array not in names:
                reason = f"must hold one array, or its name must be given; got {', '.join(names)[:200] or 'none'}"
                raise InputFileError(12, str(path), reason, "write for instance 'dataset: labels'")
            scale, unit = _ome_scale(dict(found.attrs), array)
            found = found[array]
        squeezed = tuple(int(n) for n in found.shape if n > 1) if len(found.shape) > 3 else tuple(found.shape)
        refuse_large(path, squeezed, found.dtype.itemsize, limit)
        refuse_large(path, (1, 1, int(np.prod(found.chunks, dtype=object))), found.dtype.itemsize, limit)
        if (absent := found.nchunks - found.nchunks_initialized) > 0:
            notes = (f"{absent} of {found.nchunks} chunks are not there and read as {found.fill_value}",)
        voxels = np.asarray(found[...]).reshape(squeezed)
    return RawStack(voxels, "zarr", _folder_hash(path), spacing=scale, unit=unit, notes=notes)


def _ome_scale(attributes: dict[str, Any], array: str) -> tuple[tuple[float | None, ...] | None, str | None]:
    """Scale of one level of an OME-NGFF image along its last three axes, and its unit."""
    try:
        scales = (attributes.get("ome") or attributes)["multiscales"][0]
        level = next(one for one in scales["datasets"] if one["path"] == array)
        found = next(t["scale"] for t in level["coordinateTransformations"] if t["type"] == "scale")
        units = {UNITS.get(str(axis.get("unit")).lower()) for axis in scales["axes"][-3:]}
        return tuple(float(value) for value in found[-3:]), units.pop() if len(units) == 1 else None
    except (KeyError, IndexError, TypeError, StopIteration, ValueError):
        return None, None


def _folder_hash(path: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        digest.update(f"{file.relative_to(path).as_posix()}\0{file_hash(file)}\n".encode())
    return digest.hexdigest()


def read_slices(path: Path, limit: float) -> RawStack:
    """Return the stack of a folder of TIFF or PNG slices, in the order of the last number in their names.

    Raises
    ------
    InputFileError
        If slices differ in size or type, a number is missing or doubled, or there are none.
    LimitError
        If they take more than the limit.
    """
    files = [p for p in path.iterdir() if p.is_file() and not p.name.startswith(".")]
    kinds = {".tif": ".tiff", ".tiff": ".tiff", ".png": ".png"}
    images = [p for p in files if p.suffix.lower() in kinds]
    if len({kinds[p.suffix.lower()] for p in images}) != 1:
        got = ", ".join(sorted({p.suffix.lower() for p in files}))[:80] or "nothing"
        raise InputFileError(12, str(path), f"must hold slices as TIFF or as PNG; got {got}", "name a folder of slices")
    ordered = _in_order(path, images)
    read = read_png if kinds[ordered[0].suffix.lower()] == ".png" else read_tiff_slice
    first = read(ordered[0], limit)
    refuse_large(path, (len(ordered), *first.shape), first.dtype.itemsize, limit)
    voxels = np.empty((len(ordered), *first.shape), dtype=first.dtype)
    for k, file in enumerate(ordered):
        image = read(file, limit)
        if image.shape != first.shape or image.dtype != first.dtype:
            reason = f"must be like {ordered[0].name}, {first.shape[1]} x {first.shape[0]} {first.dtype}; "
            reason += f"got {image.shape[1]} x {image.shape[0]} {image.dtype}"
            raise InputFileError(12, str(file), reason, "export all slices with one size and type")
        voxels[k] = image
    left = len(files) - len(images)
    notes = (f"{left} other files in the folder are left out",) if left else ()
    return RawStack(voxels, f"slices {ordered[0].suffix.lower()[1:]}", _folder_hash(path), notes=notes)


def _in_order(path: Path, images: list[Path]) -> list[Path]:
    """Slices by number, without gap."""
    numbered = {p: re.findall(r"\d+", p.stem) for p in images}
    if len(images) == 1:
        return images
    if not all(numbered.values()):
        odd = next(p.name for p, found in numbered.items() if not found)
        raise InputFileError(12, str(path), f"slices must be numbered; got {odd}", "name them slice_0001 and so on")
    number = {p: int(found[-1]) for p, found in numbered.items()}
    ordered = sorted(images, key=lambda p: (number[p], p.name))
    for one, other in itertools.pairwise(ordered):
        if number[other] != number[one] + 1:
            reason = f"slices must be numbered without gap; after {one.name} comes {other.name}"
            raise InputFileError(12, str(path), reason, "add the missing slice, or renumber them")
    return ordered


def read_tiff_slice(path: Path, limit: float) -> NDArray[Any]:
    """Return the one image of a TIFF file, (rows, columns).

    Raises
    ------
    InputFileError
        If there are several, or it cannot be read.
    """
    stack = read_tiff(path, None, limit).voxels
    if len(stack) != 1:
        raise InputFileError(12, str(path), f"must be one slice; got {len(stack)} pages", "name the file itself")
    image: NDArray[Any] = stack[0]
    return image


def read_png(path: Path, limit: float) -> NDArray[Any]:
    """Return a grey picture or labels, (rows, columns).

    Raises
    ------
    InputFileError
        If it is in colour, or cannot be read.
    """
    from PIL import Image, UnidentifiedImageError

    with damaged(path, UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        with path.open("rb") as stream:
            if stream.read(8) != b"\x89PNG\r\n\x1a\n":
                raise ValueError("no PNG")
        with Image.open(path, formats=("PNG",)) as picture:
            picture.verify()  # checksums, and that it ends; after that it must be opened again
        with Image.open(path, formats=("PNG",)) as picture:
            if picture.mode not in ("1", "L", "P", "I;16", "I"):
                raise InputFileError(12, str(path), f"must be grey or labels; got {picture.mode} colours", AGAIN)
            refuse_large(path, (1, picture.height, picture.width), 4, limit)
            return np.array(picture)
