"""The process that meshes: it stays for the jobs of its parent and forks a process of its own for each.

A fork starts with nothing but libraries in memory, as a new interpreter does, and without the fifth of a second that
those take to load.  Whatever ends a job, a fault or a limit, ends no other.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
import warnings
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, NoReturn

import numpy.ma  # noqa: F401  (every job needs it, and this process later)

from fem_spall.mesh.worker import serve

__all__ = ["Job", "Mesher", "clean_environment", "prepare"]

#: Seconds to wait for the end of what was killed.
PATIENCE = 5.0


def clean_environment() -> dict[str, str]:
    """The environment without what an MPI launcher left in it, for children that are no ranks."""
    launcher = ("PMI_", "PMIX_", "HYDI_", "HYDRA_", "MPI_", "MPIR_", "OMPI_", "PMI")
    return {key: value for key, value in os.environ.items() if not key.startswith(launcher)}


class Mesher:
    """A process that is told folders of jobs and tells how each ended; it ends with the thread that started it."""

    def __init__(self, *, forked: bool = False) -> None:
        self._owner = os.getpid()
        self._said = ""
        self._words: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (what it says itself, while it lives)
        self.pid, self._commands, self._answers, wait = (_forked if forked else _started)(self._words)
        left = self._owner, self.pid, (self._commands, self._answers, self._words), wait
        self._close = weakref.finalize(self, _killed, *left)

    @classmethod
    def of_this_thread(cls) -> Mesher:
        """The one that this thread has, a new one where it has none."""
        mesher: Mesher | None = getattr(_kept, "mesher", None)
        if mesher is None or mesher._owner != os.getpid():  # a fork of the owner has none
            mesher = _kept.mesher = cls()
        return mesher

    def begin(self, folder: Path) -> Job:
        """Begin the job of a folder."""
        with suppress(BrokenPipeError):  # its end says why
            self._commands.write(os.fsencode(folder) + b"\n")
        return Job(self, folder)

    def answer(self, seconds: float) -> str | None:
        """The next line it says within some seconds, nothing if it has ended; None if it says none."""
        if not select.select([self._answers], [], [], seconds)[0]:
            return None
        return self._answers.readline().decode()

    def end(self, *, dead: bool = False) -> int:
        """End it with all that it does, unless it is dead by itself; return its exit code."""
        if getattr(_kept, "mesher", None) is self:
            _kept.mesher = None
        if self._close.alive:
            self._words.seek(0)
            self._said = self._words.read().decode(errors="replace")
        if not dead:
            return self._close() or 0
        left = self._close.detach()
        return _ended(*left[2]) if left is not None else 0

    def last_words(self) -> str:
        """What it said of its own until its end."""
        return self._said


class Job:
    """One job of a mesher; ``pid`` is the process that does it, once it is known."""

    def __init__(self, mesher: Mesher, folder: Path) -> None:
        self._mesher, self._folder = mesher, folder
        self.pid: int | None = None

    def wait(self, seconds: float) -> int | None:
        """Its exit code, or that of its mesher if that died; None where it goes on after some seconds."""
        answer = self._mesher.answer(seconds)
        if answer == "":
            return self._mesher.end(dead=True)
        if answer is None or self.pid is not None:
            return None if answer is None else int(answer)
        self.pid = int(answer)
        return None

    def last_words(self) -> str:
        """The last line that it said."""
        log = self._folder / "mesher.log"
        said = log.read_text(errors="replace") if log.exists() else ""
        if not said.strip():
            said = self._mesher.last_words()
        return (said.strip().splitlines()[-1:] or ["it said nothing"])[0][:200]


_kept = threading.local()


def prepare() -> None:
    """Fork the mesher of this thread from this process: for commands, before they have other threads or MPI."""
    if getattr(_kept, "mesher", None) is None and threading.active_count() == 1 and "mpi4py.MPI" not in sys.modules:
        _kept.mesher = Mesher(forked=True)


def _started(words: IO[bytes]) -> tuple[int, IO[bytes], IO[bytes], Callable[[], int]]:
    """Number, input and output of a new interpreter that serves as a mesher, and what waits for its end."""
    child = subprocess.Popen(
        [sys.executable, "-m", "fem_spall.mesh.worker", str(os.getpid())], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=words, env=clean_environment(), start_new_session=True, bufsize=0,
    )  # fmt: skip
    assert child.stdin is not None
    assert child.stdout is not None
    return child.pid, child.stdin, child.stdout, child.wait


def _forked(words: IO[bytes]) -> tuple[int, IO[bytes], IO[bytes], Callable[[], int]]:
    """The same of a fork of this process."""
    commands, answers = os.pipe(), os.pipe()
    parent = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    gc.freeze()  # what both have is neither looked through nor copied
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # NumPy's threads are idle
        pid = os.fork()
    if pid == 0:
        _become_mesher(commands[0], answers[1], words.fileno(), parent)
    os.close(commands[0])
    os.close(answers[1])

    def wait() -> int:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    return pid, open(commands[1], "wb", buffering=0), open(answers[0], "rb", buffering=0), wait


def _killed(owner: int, pid: int, files: tuple[IO[bytes], ...], wait: Callable[[], int]) -> int:
    """Exit code of a mesher that is ended now, with all that it does; in a fork of its owner it goes on."""
    if owner == os.getpid():
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        while select.select([files[1]], [], [], PATIENCE)[0] and files[1].read(4096):
            pass  # its job holds the answers open until it is gone too
    return _ended(owner, pid, files, wait)


def _ended(owner: int, _: int, files: tuple[IO[bytes], ...], wait: Callable[[], int]) -> int:
    """Exit code of a mesher that has ended."""
    for file in files:
        file.close()
    return wait() if owner == os.getpid() else 0


def _become_mesher(commands: int, answers: int, words: int, parent: int) -> NoReturn:
    """Serve in this fork as a new interpreter would: no signals, files or ranks of the parent's."""
    try:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        for target, source in enumerate([os.dup(number) for number in (commands, answers, words)]):
            os.dup2(source, target)
        for file in map(int, os.listdir("/proc/self/fd")):  # the limit on them may be a thousand million
            if file > 2:
                with suppress(OSError):  # that of the list itself is closed already
                    os.close(file)
        kept = clean_environment()
        for name in set(os.environ) - set(kept):
            del os.environ[name]
        serve(parent)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)
