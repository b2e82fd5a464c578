"""One point as a child process under limits: the task that Dask schedules.

It lives and dies with its supervisor: the child's standard input is a pipe that only the supervisor holds, and the
child ends itself, and all that it started, when that pipe closes.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from fem_spall.errors import OutputError
from fem_spall.mesh.child import clean_environment
from fem_spall.sweep.fate import failure_text, note_of, record_hash, result_folder, write_note

__all__ = ["SESSION", "end_with_input", "point_command", "supervise"]

#: Names the sweep that runs; who is not of it stops.
SESSION = ".session"
#: Seconds between two looks at the clock and the session, and at the memory.
POLL, MEMORY_POLL = 0.2, 1.0


def point_command(folder: Path, id: str) -> list[str]:
    """Command line that runs one point."""
    return [sys.executable, "-m", "fem_spall", "sweep", "point", str(folder), id, "--tied"]


def supervise(
    command: Sequence[str], folder: str, id: str, seconds: float, memory: float, token: str
) -> dict[str, Any]:
    """Run one point within its limits and return the note on it, which is also written.

    Parameters
    ----------
    command : sequence of str
        What to run.
    folder : str
        Folder of the sweep.
    id : str
        The point.
    seconds, memory : float
        Limits in s and bytes; memory is that of the child and all its descendants.
    token : str
        Session of the sweep; when the folder names another one, the point is stopped.
    """
    place, begin = Path(folder), time.monotonic()
    attempts = int(note_of(place, id).get("attempts", 0)) + 1
    if not _current(place, token):
        return {"status": "stopped", "seconds": 0.0}
    (place / "points").mkdir(exist_ok=True)
    (result_folder(place, id) / "failure.json").unlink(missing_ok=True)
    environment = {**clean_environment(), "OMP_NUM_THREADS": "1"}
    stopped = ""
    try:
        with (place / "points" / f"{id}.log").open("wb") as log:
            child = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment, start_new_session=True
            )
    except OSError as error:
        return _ended(place, id, f"cannot be started: {error.strerror or error}", 0.0, attempts)
    try:
        born = _born(child.pid)
        running = {"status": "running", "pid": child.pid, "host": socket.gethostname(), "born": born}
        _write(place, id, {**running, "attempts": attempts})
        stopped = _wait(child, place, seconds, memory, token)
    finally:
        if child.poll() is None:
            _end_tree(child.pid)
            child.wait()
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)  # whatever a child that crashed has left behind
        if child.stdin is not None:
            child.stdin.close()
    took = time.monotonic() - begin
    if stopped == "stopped":
        note = {"status": "stopped", "seconds": took, "attempts": attempts}
        _write(place, id, note)
        return note
    if child.returncode == 0 and not stopped:
        return _finished(place, id, took, attempts)
    return _ended(place, id, stopped or _last_words(place, id, child.returncode), took, attempts)


def _born(pid: int) -> float:
    import psutil

    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return 0.0


def _current(folder: Path, token: str) -> bool:
    try:
        return bool(json.loads((folder / SESSION).read_text())["token"] == token)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _wait(child: subprocess.Popen[bytes], folder: Path, seconds: float, memory: float, token: str) -> str:
    """Wait for the child; return why it must end, or nothing if it ended by itself."""
    end, look = time.monotonic() + seconds, 0.0
    while True:
        try:
            child.wait(POLL)
            return ""
        except subprocess.TimeoutExpired:
            pass
        now = time.monotonic()
        if now > end:
            return f"took longer than its limit of {seconds:g} s; raise limits.time"
        if now > look:
            look = now + MEMORY_POLL
            if (used := _memory(child.pid)) > memory:
                return f"took {used / 1e9:.3g} GB, more than its limit of {memory / 1e9:.3g} GB; raise limits.memory"
        if not _current(folder, token):
            return "stopped"


def _memory(pid: int) -> float:
    """Resident memory of a process and its descendants, bytes."""
    import psutil

    total = 0.0
    for process in _family(pid):
        try:
            total += process.memory_info().rss
        except psutil.Error:
            continue
    return total


def _family(pid: int) -> list[Any]:
    import psutil

    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []


def _end_tree(pid: int) -> None:
    """Kill a process and all that it started, parents first, so that nobody starts another."""
    import psutil

    for process in _family(pid):
        try:
            process.kill()
        except psutil.Error:
            continue


def _finished(folder: Path, id: str, took: float, attempts: int) -> dict[str, Any]:
    """Note on a point whose child ended well, with the hash of its record."""
    try:
        digest = record_hash(json.loads((result_folder(folder, id) / "result.json").read_bytes()))
    except (OSError, ValueError):
        return _ended(folder, id, "ended without a result", took, attempts)
    note = {"status": "ok", "sha256": digest, "seconds": took, "attempts": attempts}
    _write(folder, id, note)
    return note


def _ended(folder: Path, id: str, reason: str, took: float, attempts: int) -> dict[str, Any]:
    note = {"status": "failed", "reason": reason, "seconds": took, "attempts": attempts}
    _write(folder, id, note)
    return note


def _write(folder: Path, id: str, note: dict[str, Any]) -> None:
    try:
        write_note(folder, id, note)
    except OutputError as error:  # a full disk; the sweep still hears of it
        note["reason"] = f"{note.get('reason', '')} ({error.reason})".strip()


def _last_words(folder: Path, id: str, code: int) -> str:
    """Why a child ended badly: its own record of it, a signal, or the last line it printed."""
    try:
        failure = json.loads((result_folder(folder, id) / "failure.json").read_text())
        return failure_text(failure)
    except (OSError, ValueError):
        pass
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = "unknown"
        return f"died by signal {-code} ({name})"
    try:
        lines = (folder / "points" / f"{id}.log").read_text(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return f"ended with exit code {code}: {lines[-1][:300] if lines else 'it said nothing'}"


def end_with_input() -> None:
    """End this process, and all that it started, as soon as its standard input closes."""

    def watch() -> None:
        while os.read(0, 4096):
            pass
        for process in _family(os.getpid())[1:]:
            process.kill()
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
