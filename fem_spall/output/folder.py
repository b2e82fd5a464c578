"""The result folder: one run at a time, files complete or absent, ``result.json`` last."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from filelock import FileLock, Timeout

from fem_spall.errors import OutputError, SpallError
from fem_spall.output.files import atomic, atomic_text, file_entry

__all__ = ["ResultFolder"]

#: What a run writes at the top of its folder; only these are ever removed.
OWN = (
    "result.json", "failure.json", "manifest.json", "case.yaml", "case.resolved.yaml", "report.html", "fields.pvd",
    "fields", "crack_surface.vtp", "open_in_paraview.py", "mesh", "figures", "inputs", "log.txt", "filling.pvd",
    "filling",
)  # fmt: skip
#: What only a run writes, and at its beginning; without it a folder is somebody else's, whatever it holds.
MARKS = {"case.resolved.yaml", "failure.json"}


class ResultFolder:
    """Exclusive use of a folder for one run.

    Raises
    ------
    OutputError
        If the folder holds another result and ``overwrite`` is False, holds foreign files, is in use, or
        cannot be written.
    """

    def __init__(self, path: Path, *, overwrite: bool) -> None:
        self.path = path
        self._overwrite = overwrite
        self._lock: FileLock | None = None

    def __enter__(self) -> Self:
        """Take the folder."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / ".lock", timeout=0)
            lock.acquire()
        except Timeout:
            raise OutputError(
                2, str(self.path), "is in use by another run", "wait for it or choose another -o folder"
            ) from None
        except OSError as error:
            raise self._unusable(error) from None
        self._lock = lock
        try:
            self._clear()
        except BaseException as error:
            self._release()
            if isinstance(error, OSError):
                raise self._unusable(error) from None
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the folder go."""
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            # In this order: a lock file that is free but still there could be taken by another run, then removed.
            (self.path / ".lock").unlink(missing_ok=True)
            self._lock.release()
            self._lock = None

    def _unusable(self, error: OSError) -> OutputError:
        return OutputError(3, str(self.path), f"cannot be used: {error.strerror}", "choose another -o folder")

    def _clear(self) -> None:
        present = {entry.name for entry in self.path.iterdir()} - {".lock"}
        foreign = sorted(name for name in present if not name.startswith("."))
        if foreign and not MARKS & present:
            raise OutputError(
                4, str(self.path), f"holds files that are not of a run ({', '.join(foreign[:3])})",
                "choose an empty -o folder",
            )  # fmt: skip
        if "result.json" in present and not self._overwrite:
            raise OutputError(
                5, str(self.path), "holds a result already", "add --overwrite or choose another -o folder"
            )
        (self.path / "result.json").unlink(missing_ok=True)  # first: from now on the folder is not complete
        # The marks last: a folder that could only be cleared in part stays ours.
        for name in sorted(present & set(OWN), key=lambda name: name in MARKS):
            target = self.path / name
            if target.is_dir():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)

    def write_text(self, name: str, text: str) -> None:
        """Write a text file of the folder."""
        atomic_text(self.path / name, text)

    def copy_input(self, name: str, file: Path) -> Path:
        """Copy a surface or image file, or a folder of slices, into ``inputs/``; return its path relative to ours."""
        target = self.path / "inputs" / f"{name}{file.suffix.lower()}"
        if file.is_dir():
            return self._copy_folder(file, target)
        if not file.is_file():
            return file  # the reader says what is wrong with it
        try:
            target.parent.mkdir(exist_ok=True)
            with atomic(target) as aside:
                shutil.copyfile(file, aside)
        except OutputError:
            return file
        return target.relative_to(self.path)

    def _copy_folder(self, folder: Path, target: Path) -> Path:
        try:
            shutil.copytree(folder, target)
        except (OSError, shutil.Error) as error:
            raise OutputError(8, str(target), f"cannot be written ({error})"[:200], "free space on the disk") from None
        return target.relative_to(self.path)

    def write_record(self, record: dict[str, Any]) -> None:
        """Write ``result.json``."""
        text = json.dumps(record, indent=1, default=_plain, allow_nan=False)
        atomic_text(self.path / "result.json", text + "\n")

    def manifest(self) -> list[dict[str, str | int]]:
        """Write ``manifest.json`` with path, bytes and hash of every file so far, and return its list."""
        skip = {".lock", "result.json", "manifest.json"}
        files = sorted(p for p in self.path.rglob("*") if p.is_file() and p.name not in skip)
        entries = [file_entry(path, self.path) for path in files]
        atomic_text(self.path / "manifest.json", json.dumps(entries, indent=1) + "\n")
        return entries

    def fail(self, error: SpallError, log: list[str]) -> None:
        """Leave ``failure.json`` and the log instead of a result; what was computed before stays."""
        (self.path / "result.json").unlink(missing_ok=True)
        entry = {
            "status": "failed", "number": error.number, "kind": type(error).__name__, "where": error.where,
            "reason": error.reason, "cure": error.cure,
            "faults": [vars(fault) for fault in getattr(error, "faults", ())],
        }  # fmt: skip
        try:
            atomic_text(self.path / "failure.json", json.dumps(entry, indent=1, default=str) + "\n")
            atomic_text(self.path / "log.txt", "".join([*log, str(error), "\n"]))
        except (OutputError, OSError):
            return  # a full disk; the refusal still reaches the terminal


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot go into a record")
