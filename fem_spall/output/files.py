"""Files that are either complete or absent: written aside, flushed, renamed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fem_spall.errors import OutputError

__all__ = ["atomic", "atomic_bytes", "atomic_text", "file_entry"]


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a path beside ``path`` to write to; on leaving, flush it to disk and rename it.

    Raises
    ------
    OutputError
        If the disk is full or the folder cannot be written; nothing is left behind.
    """
    aside = path.with_name(f".{os.getpid()}-{path.name}")  # the suffix stays: some writers choose by it
    try:
        yield aside
        with aside.open("rb+") as stream:
            if stream.seek(0, os.SEEK_END) == 0:
                raise OSError("nothing was written (is the disk full?)")
            os.fsync(stream.fileno())
        aside.replace(path)
    except OSError as error:
        raise OutputError(
            1, str(path), f"cannot be written: {error.strerror or error}", "free disk space or choose another -o folder"
        ) from error
    finally:
        aside.unlink(missing_ok=True)


def atomic_bytes(path: Path, *content: bytes) -> Path:
    """Write bytes to a file, one piece after the other, completely or not at all."""
    with atomic(path) as aside, aside.open("wb") as stream:
        stream.writelines(content)
    return path


def atomic_text(path: Path, content: str) -> Path:
    """Write text to a file, completely or not at all."""
    return atomic_bytes(path, content.encode())


def file_entry(path: Path, folder: Path) -> dict[str, str | int]:
    """Path within the folder, bytes and hash of a file."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {"path": path.relative_to(folder).as_posix(), "bytes": path.stat().st_size, "sha256": digest}
