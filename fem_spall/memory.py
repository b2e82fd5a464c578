"""Resident memory of this process, bytes, as Linux counts it."""

from __future__ import annotations

import ctypes
from pathlib import Path

__all__ = ["give_back", "peak", "resident"]


def peak() -> int:
    """The most that it ever was; ``ru_maxrss`` also knows of the process it was forked from."""
    return _status("VmHWM:")


def resident() -> int:
    """What it is now."""
    return _status("VmRSS:")


def give_back() -> None:
    """Return freed memory to the system: glibc keeps it, in pieces that the next level of a mesh does not fit in."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _status(name: str) -> int:
    return int(Path("/proc/self/status").read_text().partition(name)[2].split()[0]) * 1024
