"""Results of stages kept for reuse: surfaces, meshes, solutions, each under the hash of all that it depends on.

An entry is one file: the SHA-256 of what follows, then an ``.npz`` archive without pickles.  It is written aside and
renamed, so that two processes may fill one entry; what does not match its hash is removed and made anew.  The
environment says where the store is (``FEM_SPALL_STORE``, a folder) and how large it may grow
(``FEM_SPALL_STORE_SIZE``, bytes); the entries used least recently go first.  Without the variable nothing is kept.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["FOLDER", "SIZE", "Store", "as_bytes", "as_json", "key_of", "reused", "taken"]

FOLDER, SIZE = "FEM_SPALL_STORE", "FEM_SPALL_STORE_SIZE"
DEFAULT_SIZE = 5e9
#: Packages whose versions decide what a stage gives.
PACKAGES = ("gmsh", "mmgpy", "manifold3d", "numpy", "scipy", "dolfinx-solver-real")

#: Stages that this process has taken from the store, in order.
taken: list[str] = []

type Arrays = dict[str, NDArray[Any]]


@functools.cache
def _program() -> str:
    """Hash of this program's own source and of the versions of what it stands on."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            digest.update(f"{name} {metadata.version(name)}\n".encode())
    return digest.hexdigest()


def key_of(*parts: object) -> str:
    """Return the key of a stage's result: the hash of what it depends on and of the program; arrays by content."""
    digest = hashlib.sha256(_program().encode())
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype} {part.shape}".encode() + np.ascontiguousarray(part).tobytes())
        else:
            digest.update(json.dumps(part, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def as_bytes(value: object) -> NDArray[np.uint8]:
    """A record as an array; what NumPy holds becomes plain."""
    return np.frombuffer(json.dumps(value, default=lambda entry: entry.tolist()).encode(), dtype=np.uint8)


def as_json(array: NDArray[Any]) -> Any:
    """The record of an array."""
    return json.loads(array.tobytes())


class Store:
    """A folder of entries of limited size."""

    def __init__(self, folder: Path, size: float = DEFAULT_SIZE) -> None:
        self.folder = folder
        self.size = size

    @classmethod
    def of_environment(cls) -> Store | None:
        """The store that the environment names, None without one."""
        folder = os.environ.get(FOLDER)
        if not folder:
            return None
        try:
            size = float(os.environ.get(SIZE, DEFAULT_SIZE))
        except ValueError:
            size = DEFAULT_SIZE
        return cls(Path(folder), size)

    def path(self, stage: str, key: str) -> Path:
        """File of an entry."""
        return self.folder / stage / key[:2] / f"{key}.entry"

    def get(self, stage: str, key: str) -> Arrays | None:
        """Return an entry; None if there is none, or it is damaged, which removes it."""
        path = self.path(stage, key)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        try:
            if hashlib.sha256(data[32:]).digest() != data[:32]:
                raise ValueError
            with np.load(io.BytesIO(data[32:]), allow_pickle=False) as archive:
                found = {name: archive[name] for name in archive.files}
        except (ValueError, OSError, KeyError, EOFError, zipfile.BadZipFile):
            path.unlink(missing_ok=True)
            return None
        with suppress(OSError):
            os.utime(path)
        return found

    def put(self, stage: str, key: str, arrays: Mapping[str, NDArray[Any]]) -> bool:
        """Keep an entry if there is room for it; a disk that cannot be written costs the reuse, not the run."""
        stream = io.BytesIO()
        np.savez(stream, **arrays)  # type: ignore[arg-type]
        data = stream.getvalue()
        if len(data) > self.size / 4:
            return False
        path = self.path(stage, key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as aside:
                try:
                    aside.write(hashlib.sha256(data).digest() + data)
                    aside.close()
                    Path(aside.name).replace(path)
                finally:
                    Path(aside.name).unlink(missing_ok=True)
            self._trim()
        except OSError:
            return False
        return True

    def _trim(self) -> None:
        """Remove the entries used least recently until the rest is within the limit."""
        entries = []
        for path in self.folder.rglob("*.entry"):
            with suppress(OSError):
                status = path.stat()
                entries.append((status.st_mtime_ns, status.st_size, path))
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total <= self.size:
                return
            path.unlink(missing_ok=True)
            total -= size

    @contextmanager
    def filling(self, stage: str, key: str, patience: float) -> Iterator[None]:
        """Wait while another process fills an entry; after ``patience`` seconds, go on without it."""
        from filelock import FileLock, Timeout

        lock = None
        try:
            place = self.path(stage, key)
            place.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(place.with_suffix(".lock"), timeout=patience)
            lock.acquire()
        except (Timeout, OSError):
            lock = None
        try:
            yield
        finally:
            if lock is not None:
                lock.release()


def reused[T](
    stage: str, key: Callable[[], str], make: Callable[[], T], pack: Callable[[T], Arrays],
    unpack: Callable[[Arrays], T], patience: float = 600.0,
) -> T:  # fmt: skip
    """Return a stage's result from the store of the environment, else make it and keep it.

    Parameters
    ----------
    stage : str
        Name of the stage.
    key : callable
        Gives the key of the result; called only where there is a store.
    make, pack, unpack : callable
        Make the result; turn it into arrays, and arrays into it.
    patience : float
        Seconds to wait for another process that makes the same.
    """
    store = Store.of_environment()
    if store is None:
        return make()
    name = key()
    with store.filling(stage, name, patience):
        found = store.get(stage, name)
        if found is not None:
            taken.append(stage)
            return unpack(found)
        made = make()
        store.put(stage, name, pack(made))
        return made
