"""Files of users, opened once and read once: what they are is decided on their first bytes and their size.

Nothing is read to the end before its size is known to fit what its head announces, so that
a refusal costs neither time nor memory, however large the file is.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from fem_spall.errors import InputFileError

__all__ = ["HEAD", "InputFile", "open_input", "refuse_foreign"]

HEAD = 2**20  # bytes that decide what a file is; headers of Avizo carry a history
PIECE = 2**22  # bytes of one read
LARGEST = 2**31  # bytes; a binary STL of 43 million facets: far above what can be meshed
LARGEST_TEXT = 2**29  # bytes; an ASCII STL of two million facets

FOREIGN = (
    (0, b"\x1f\x8b", "a gzip archive", "unpack it with gunzip"),
    (
        0,
        b"PK\x03\x04",
        "a zip archive (or a 3MF, NPZ or office file)",
        "unpack it; voxels in NPZ are kind: image_stack",
    ),
    (0, b"PK\x05\x06", "an empty zip archive", "export the surface as STL"),
    (0, b"BZh", "a bzip2 archive", "unpack it with bunzip2"),
    (0, b"\xfd7zXZ", "an xz archive", "unpack it with unxz"),
    (0, b"\x28\xb5\x2f\xfd", "a zstd archive", "unpack it with unzstd"),
    (0, b"7z\xbc\xaf", "a 7z archive", "unpack it"),
    (0, b"Rar!", "a RAR archive", "unpack it"),
    (257, b"ustar", "a tar archive", "unpack it"),
    (0, b"\x89PNG", "a PNG picture", "give the data themselves, not a picture of them"),
    (0, b"\xff\xd8\xff", "a JPEG picture", "give the data themselves, not a picture of them"),
    (0, b"GIF8", "a GIF picture", "give the data themselves, not a picture of them"),
    (0, b"%PDF", "a PDF document", "give the data themselves"),
    (0, b"\x89HDF", "an HDF5 file", "export the surface as STL"),
    (0, b"glTF", "a binary glTF scene", "export the surface as STL"),
    (0, b"BLENDER", "a Blender project", "export the surface from Blender as STL"),
    (0, b"Kaydara FBX", "an FBX scene", "export the surface as STL"),
    (0, b"ISO-10303", "a STEP model", "export a triangle surface, for instance as STL"),
    (0, b"# vtk DataFile", "a VTK file", "save it from ParaView as STL or PLY"),
    (0, b"$MeshFormat", "a Gmsh mesh", "export its surface as STL"),
    (0, b"version https://git-lfs", "a Git LFS pointer, not the file itself", "run 'git lfs pull' to fetch the file"),
)
IMAGES = (
    (0, b"II*\0", "a TIFF image"),
    (0, b"II+\0", "a BigTIFF image"),
    (0, b"MM\0*", "a TIFF image"),
    (0, b"MM\0+", "a BigTIFF image"),
    (0, b"NRRD0", "an NRRD image"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (128, b"DICM", "a DICOM image"),
)


class InputFile:
    """An open file: ``path``, ``size`` in bytes, its first bytes ``head``, and once it is read its ``sha256``."""

    def __init__(self, path: Path, descriptor: int, size: int) -> None:
        self.path = path
        self.size = size
        self.sha256 = ""
        self._descriptor = descriptor
        self.head = self._piece(HEAD)

    def read(self, *, text: bool) -> bytes:
        """Return all bytes of the file; of a text, refuse the first piece that cannot be one.

        Raises
        ------
        InputFileError
            If it is too large, changes meanwhile, cannot be read, or is no text.
        """
        largest = LARGEST_TEXT if text else LARGEST
        if self.size > largest:
            amount = f"{largest / 2**30:g} GiB{' of text' if text else ''}; got {self.size / 2**30:.1f} GiB"
            cure = "decimate it, or export it in binary form" if text else "decimate it first"
            raise InputFileError(2, str(self.path), f"must be at most {amount}", cure)
        pieces, length = [], 0
        piece = self.head
        while piece:
            if text and (place := piece.find(0)) >= 0:
                reason = f"must be text; got binary data from byte {length + place} on"
                raise InputFileError(4, str(self.path), reason, "check what kind of file this is")
            pieces.append(piece)
            length += len(piece)
            if length > self.size:
                break
            piece = self._piece(PIECE)
        if length != self.size:
            raise InputFileError(
                2, str(self.path), f"must stay as it is while it is read; its {self.size} bytes changed", "start again"
            )
        data = b"".join(pieces)
        self.sha256 = hashlib.sha256(data).hexdigest()
        return data

    def _piece(self, most: int) -> bytes:
        try:
            return os.read(self._descriptor, most)
        except OSError as fault:
            raise InputFileError(
                1, str(self.path), f"cannot be read ({fault.strerror})", "check its permissions and the disk"
            ) from None


@contextlib.contextmanager
def open_input(path: Path) -> Iterator[InputFile]:
    """Open a regular file that is not empty; neither a pipe nor a device can make this wait.

    Raises
    ------
    InputFileError
        If there is no such file, or it is a folder, a device, empty or not readable.
    """
    where = str(path)
    try:
        _refuse_irregular(path, os.stat(path).st_mode)
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise InputFileError(1, where, "there is no such file", "check the path; it is relative to the case") from None
    except (OSError, ValueError) as fault:
        reason = fault.strerror if isinstance(fault, OSError) else str(fault)
        cure = "check its permissions" if getattr(fault, "errno", 0) == errno.EACCES else "check the path"
        raise InputFileError(1, where, f"cannot be opened ({reason})", cure) from None
    try:
        status = os.fstat(descriptor)
        _refuse_irregular(path, status.st_mode)
        if status.st_size == 0:
            raise InputFileError(3, where, "the file is empty", "export it again")
        yield InputFile(path, descriptor, status.st_size)
    finally:
        os.close(descriptor)


def _refuse_irregular(path: Path, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise InputFileError(2, str(path), "must be a file; got a folder", "name a file in it")
    if not stat.S_ISREG(mode):
        raise InputFileError(2, str(path), "must be a regular file; got a device or pipe", "copy the data into a file")


def refuse_foreign(path: Path, head: bytes, wanted: str) -> None:
    """Raise if the first bytes are those of a well-known other kind of file, and name it.

    Raises
    ------
    InputFileError
        Such as: must be ``wanted``; got a PNG picture.
    """
    where = str(path)
    for place, magic, what, cure in FOREIGN:
        if head.startswith(magic, place):
            raise InputFileError(4, where, f"must be {wanted}; got {what}", cure)
    for place, magic, what in IMAGES:
        if head.startswith(magic, place):
            raise InputFileError(4, where, f"must be {wanted}; got {what}", "a stack of images is kind: image_stack")
    if head[:2] in (b"\xff\xfe", b"\xfe\xff") or (len(head) > 8 and head[1:8:2] == b"\0\0\0\0" != head[0:8:2]):
        raise InputFileError(11, where, "must be ASCII or UTF-8 text; got UTF-16", "save it as plain ASCII or UTF-8")
    start = head[:4096].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<head", b"<!--")):
        raise InputFileError(4, where, f"must be {wanted}; got an HTML page", "download the file itself")
    if start.startswith(b"<"):
        raise InputFileError(4, where, f"must be {wanted}; got XML", "export the surface as STL")
