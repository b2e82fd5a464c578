"""A limit of time for work in this process: reading, repairing and embedding surfaces."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from fem_spall.errors import LimitError

__all__ = ["time_for_surfaces"]


@contextmanager
def time_for_surfaces(seconds: float) -> Iterator[None]:
    """Let what is done meanwhile to the surfaces of a case take so many seconds at most.

    The alarm comes between two steps of the interpreter: a library that hangs in one call is not cut short.  In
    threads other than the first there is no limit, as signals do not reach them.

    Raises
    ------
    LimitError
        When the time is over.
    """

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise LimitError(
            5, "mesh.time_limit", f"reading and repairing the surfaces took longer than {seconds:g} s",
            "raise mesh.time_limit, or thin the surface out",
        )  # fmt: skip

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
