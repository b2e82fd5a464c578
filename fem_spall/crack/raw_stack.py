"""What every reader of image stacks gives back, and the refusals they share."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fem_spall.errors import InputFileError, LimitError, SetupError, SpallError

__all__ = ["AGAIN", "DEFAULT_LIMIT", "RawStack", "damaged", "file_hash", "refuse_large", "required"]

AGAIN = "save the stack again"
DEFAULT_LIMIT = 8e9  # bytes


class RawStack(NamedTuple):
    """Voxels as a file has them.

    ``voxels`` (3-D array of the file's own type), ``axes`` what its axes are unless the user
    says otherwise; ``spacing`` along them and ``origin``, centre of the first voxel, in ``unit`` of
    the file; each None where the file does not say.
    """

    voxels: NDArray[Any]
    format: str
    sha256: str
    axes: str = "zyx"
    spacing: tuple[float | None, ...] | None = None
    origin: tuple[float, ...] | None = None
    unit: str | None = None
    notes: tuple[str, ...] = ()


def refuse_large(path: Path, shape: tuple[int, ...], itemsize: int, limit: float, work: int = 0) -> None:
    """Raise if voxels of this shape take more than the limit, or are not three-dimensional.

    Raises
    ------
    InputFileError
        If the array has not three axes with voxels on them.
    LimitError
        If ``itemsize + work`` bytes a voxel are too much.
    """
    told = " x ".join(map(str, shape)) or "no axes"
    if len(shape) != 3 or min(shape) < 1:
        reason = f"must have three axes of voxels; got {told}"
        raise InputFileError(12, str(path), reason, "save a stack of grey or label images without channels or times")
    need = (itemsize + work) * float(np.prod(np.array(shape, dtype=float)))
    if need > limit:
        reason = f"{told} voxels take {need / 1e9:.3g} GB; allowed are {limit / 1e9:.3g} GB"
        raise LimitError(3, str(path), reason, "crop the stack, bin it, or raise mesh.memory_limit")


def required(module: str, path: Path) -> Any:
    """Return a module of the extra ``imaging``.

    Raises
    ------
    SetupError
        If it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        reason = f"reading it takes the package {module}, which is not installed"
        raise SetupError(20, str(path), reason, "install fem-spall[imaging]") from None


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def damaged(path: Path, *faults: type[Exception]) -> Iterator[None]:
    """Turn what a library says of a damaged file into a refusal."""
    try:
        yield
    except SpallError:
        raise
    except faults as fault:
        said = (str(fault).strip().splitlines() or [type(fault).__name__])[0][:160]
        raise InputFileError(6, str(path), f"is damaged, cut off or of an unknown kind ({said})", AGAIN) from None
