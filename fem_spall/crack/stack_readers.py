"""Strict readers of segmented image stacks: TIFF, NRRD, NPY, NPZ, Zarr, Amira and folders of slices.

The header says how much a file will take before anything is read, and a file that is not
exactly what it claims to be is refused: a slice that is missing, or half an image filled with
zeros, would only show up as a wrong current.  Nothing is guessed about lengths: what a file states
of the size of its voxels is handed on as it stands.
"""

from __future__ import annotations

import lzma
import math
import os
import tokenize
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fem_spall.crack.amira_labels import is_amira_mesh, read_label_field
from fem_spall.crack.input_file import open_input
from fem_spall.crack.raw_stack import AGAIN, DEFAULT_LIMIT, RawStack, damaged, file_hash, refuse_large
from fem_spall.crack.stack_formats import read_nrrd, read_slices, read_tiff, read_zarr
from fem_spall.errors import InputFileError

__all__ = ["is_stack", "read_stack"]

#: What NumPy's parser of headers, archives and what unpacks them raise at damaged bytes.
FAULTS = (ValueError, EOFError, OSError, SyntaxError, TypeError, OverflowError, RuntimeError, SystemError,
          tokenize.TokenError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)  # fmt: skip
#: Bytes of the longest header of an array; NumPy takes no longer one either.
HEADER = 10_000
SUFFIXES = {".tif", ".tiff", ".nrrd", ".npy", ".npz", ".zarr", ".am", ".labels"}


def is_stack(path: Path) -> bool:
    """Return whether a path looks like an image stack and not like a surface: a folder, or by its extension."""
    return path.is_dir() or path.suffix.lower() in SUFFIXES


def read_stack(path: Path, array: str | None = None, limit: float = DEFAULT_LIMIT) -> RawStack:
    """Return the voxels of a file or folder; its content, not its extension, decides the format.

    Parameters
    ----------
    path : Path
    array : str, optional
        Which array of an NPZ, Zarr or TIFF file.
    limit : float
        Most bytes that the voxels may take.

    Raises
    ------
    InputFileError
        If it cannot be read completely and without doubt.
    LimitError
        If it announces more than the limit.
    SetupError
        If the package that reads the format is not installed.
    """
    raw = _read(path, array, limit)
    if raw.voxels.dtype.kind not in "biuf":
        reason = f"must hold grey values or labels; got {raw.voxels.dtype}"
        raise InputFileError(12, str(path), reason, "save it as uint8")
    stated = [*(raw.spacing or ()), *(raw.origin or ())]
    if not all(value is None or math.isfinite(value) for value in stated):
        told = ", ".join("?" if value is None else f"{value:g}" for value in stated)
        raise InputFileError(14, str(path), f"must state a finite place and size of its voxels; got {told}", AGAIN)
    return raw


def _read(path: Path, array: str | None, limit: float) -> RawStack:
    if path.is_dir():
        zarr = any((path / name).exists() for name in ("zarr.json", ".zarray", ".zgroup"))
        return read_zarr(path, array, limit) if zarr else read_slices(path, limit)
    with open_input(path) as file:  # refuses what is no regular file, or empty
        head = file.head
    readers: tuple[tuple[Callable[[bytes], bool], Callable[[Path, str | None, float], RawStack]], ...] = (
        (lambda start: start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), read_tiff),
        (lambda start: start.startswith(b"NRRD000"), read_nrrd),
        (lambda start: start.startswith(b"\x93NUMPY"), _npy),
        (lambda start: start.startswith(b"PK\x03\x04"), _npz),
        (is_amira_mesh, _amira),
    )
    for known, read in readers:
        if known(head):
            return read(path, array, limit)
    reason = (
        "must be a TIFF, NRRD, NPY, NPZ or Amira image, or a folder of slices or Zarr; the content is none of these"
    )
    raise InputFileError(5, str(path), reason, "save the segmented stack as TIFF")


def _header(path: Path, stream: Any, name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, Fortran order and type of an array in NumPy's format, its header alone read."""
    form = np.lib.format
    with damaged(path, *FAULTS):
        version = form.read_magic(stream)
        read = form.read_array_header_1_0 if version == (1, 0) else form.read_array_header_2_0
        length = stream.read(2 if version == (1, 0) else 4)
        if int.from_bytes(length, "little") > HEADER:  # NumPy makes room for it first
            raise ValueError(f"its header announces {int.from_bytes(length, 'little')} bytes")
        stream.seek(-len(length), os.SEEK_CUR)
        shape, fortran, kind = read(stream)
    if kind.hasobject or kind.names is not None:
        reason = f"array {name} must hold plain numbers; got {'Python objects (a pickle)' if kind.hasobject else kind}"
        raise InputFileError(12, str(path), reason, "save it as uint8")
    return shape, fortran, kind


def _npy(path: Path, array: str | None, limit: float) -> RawStack:
    with path.open("rb") as stream:
        shape, _, kind = _header(path, stream, path.name)
        need, held = int(np.prod(shape, dtype=object)) * kind.itemsize, path.stat().st_size - stream.tell()
    if need != held:
        raise InputFileError(6, str(path), f"its header announces {need} bytes; got {held}", "copy it again")
    refuse_large(path, shape, kind.itemsize, limit)
    with damaged(path, ValueError):
        voxels = np.load(path, mmap_mode="r", allow_pickle=False)
    return RawStack(voxels, "npy", file_hash(path))


def _npz(path: Path, array: str | None, limit: float) -> RawStack:
    """One array of an archive, packed bits unpacked to its ``shape``; ``spacing`` and ``origin`` beside it."""
    with damaged(path, *FAULTS), zipfile.ZipFile(path) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        small = {name: _member(path, archive, members[name]) for name in ("shape", "spacing", "origin", "voxel_size")
                 if name in members and members[name].file_size < 4096}  # fmt: skip
        images = sorted(members.keys() - small.keys())
        chosen = array if array is not None else images[0] if len(images) == 1 else None
        if chosen not in images:
            reason = f"must hold one image, or its name must be given; got the arrays {', '.join(images)[:200]}"
            raise InputFileError(
                12, str(path), reason, f"write for instance 'dataset: {images[0] if images else 'im'}'"
            )
        with archive.open(members[chosen]) as stream:
            shape, _, kind = _header(path, stream, chosen)
        need = int(np.prod(shape, dtype=object)) * kind.itemsize
        packed = "shape" in small and len(shape) == 1
        full = tuple(int(n) for n in small["shape"].ravel()) if packed else shape
        # The size in the directory of an archive binds its reader: a bomb ends there, with a wrong checksum.
        if not 0 <= members[chosen].file_size - need <= 65536:
            reason = f"array {chosen} announces {need} bytes; the archive holds {members[chosen].file_size}"
            raise InputFileError(6, str(path), reason, "save it again with numpy.savez_compressed")
        refuse_large(path, full, 1 if packed else kind.itemsize, limit)
        voxels = _member(path, archive, members[chosen])
    notes: tuple[str, ...] = ()
    if packed:
        count = int(np.prod(full))
        if kind != np.uint8 or len(voxels) != -(-count // 8):
            reason = (
                f"array {chosen} must be packed bits of {' x '.join(map(str, full))} voxels; got {len(voxels)} bytes"
            )
            raise InputFileError(12, str(path), reason, "pack it with numpy.packbits, or save the voxels as they are")
        voxels = np.unpackbits(voxels, count=count).reshape(full)
        notes = (f"{chosen} is unpacked from bits to {' x '.join(map(str, full))} voxels",)
    spacing = small.get("spacing", small.get("voxel_size"))
    return RawStack(
        voxels, "npz", file_hash(path), spacing=_three(path, "spacing", spacing),
        origin=_three(path, "origin", small.get("origin")), notes=notes,
    )  # fmt: skip


def _member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[Any]:
    with damaged(path, *FAULTS), archive.open(info) as stream:
        found: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
        if stream.read(1):
            raise ValueError(f"{info.filename} goes on after its array")
    return found


def _three(path: Path, what: str, values: NDArray[Any] | None) -> tuple[float, ...] | None:
    """Three finite numbers from one or three."""
    if values is None:
        return None
    flat = np.asarray(values).ravel()
    if flat.dtype.kind not in "iuf" or len(flat) not in (1, 3) or not np.isfinite(flat).all():
        raise InputFileError(12, str(path), f"{what} must be one or three finite numbers; got {flat[:4]}", AGAIN)
    return tuple(float(value) for value in np.broadcast_to(flat, 3))


def _amira(path: Path, array: str | None, limit: float) -> RawStack:
    field = read_label_field(path)
    refuse_large(path, field.labels.shape, field.labels.dtype.itemsize, limit)
    names = ", ".join(f"{label} {name}" for name, label in field.materials.items())
    notes = (f"materials: {names}",) if names else ()
    spacing, origin = (tuple(map(float, values)) for values in (field.spacing, field.origin))
    return RawStack(field.labels, "amira", field.sha256, "xyz", spacing, origin, field.unit, notes)
