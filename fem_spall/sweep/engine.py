"""Run what is missing of a sweep: Dask schedules, every point is a child process of its own.

On one machine all points share one Dask worker inside this process, with a thread a point that only waits for its
child, so that points never outlive the sweep and memory is shared out among them.  With ``--scheduler`` the workers
are somebody else's, one point a thread.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout

from fem_spall.errors import CaseError, Interrupted, OutputError, SetupError
from fem_spall.output.files import atomic_text
from fem_spall.sweep.fate import Fate, fate_of, write_note
from fem_spall.sweep.plan import PLAN, Plan, Point, read_plan
from fem_spall.sweep.supervise import SESSION, point_command, supervise

__all__ = ["Machine", "SweepProgress", "hold", "run_points"]

#: What a sweep writes at the top of its folder.
OWN = {
    PLAN, "plan.csv", "sweep.yaml", "inputs", "points", "sweep.csv", "sweep.parquet", "sweep.json", "sweep.pvd",
    "report.html", "slurm.sh", "slurm.points", "cache",
}  # fmt: skip
#: Seconds that workers get to stop their children, and that a scheduler gets to answer.
STOPPING, ANSWER = 10.0, 20.0

type Command = Callable[[Path, str], list[str]]


class SweepProgress(Protocol):
    """Hears of every point as it ends."""

    def begin(self, total: int, finished: int, workers: int) -> None:
        """So many points in all, so many of them with a result already, so many at a time."""

    def ended(self, point: Point, fate: Fate) -> None:
        """A point has ended."""

    def close(self) -> None:
        """No more points will end."""


@dataclass(frozen=True)
class Machine:
    """Where points run: so many at a time here, or on the workers of a Dask scheduler."""

    workers: int | None = None
    scheduler: str | None = None

    def count(self, ranks: int, memory: float) -> int:
        """Points at a time on this machine: as many as its cores and its free memory carry."""
        if self.workers is not None:
            return self.workers
        return max(1, min(len(os.sched_getaffinity(0)) // ranks, int(_free_memory() / memory)))


def _free_memory() -> float:
    import psutil

    return float(psutil.virtual_memory().available)


@contextmanager
def hold(folder: Path, name: str) -> Iterator[str]:
    """Hold the folder of a sweep; gives the token of this session.

    Raises
    ------
    OutputError
        If another sweep holds it, with the process of that; if it is somebody else's, or cannot be used.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", timeout=0)
        lock.acquire()
    except Timeout:
        who = _session(folder)
        reason = f"is in use by another sweep, process {who.get('pid', '?')} on {who.get('host', 'this machine')}"
        raise OutputError(2, str(folder), reason, "wait for it, stop it, or choose another -o") from None
    except OSError as error:
        raise OutputError(3, str(folder), f"cannot be used: {error.strerror}", "choose another -o folder") from None
    try:
        _refuse_foreign(folder, name)
        token = uuid.uuid4().hex
        session = {"token": token, "pid": os.getpid(), "host": socket.gethostname()}
        atomic_text(folder / SESSION, json.dumps(session) + "\n")
        yield token
    finally:
        (folder / SESSION).unlink(missing_ok=True)
        (folder / ".lock").unlink(missing_ok=True)
        lock.release()


def _session(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / SESSION).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _refuse_foreign(folder: Path, name: str) -> None:
    foreign = sorted(p.name for p in folder.iterdir() if p.name not in OWN and not p.name.startswith("."))
    if foreign:
        reason = f"holds files that are not of a sweep ({', '.join(foreign[:3])})"
        raise OutputError(4, str(folder), reason, "choose an empty -o folder, or that of this sweep")
    if (folder / PLAN).is_file() and (other := read_plan(folder).name) != name:
        raise OutputError(5, str(folder), f"holds the sweep {other!r}, not {name!r}", "choose another -o folder")


def run_points(
    plan: Plan, folder: Path, points: Sequence[Point], token: str, machine: Machine, progress: SweepProgress,
    command: Command = point_command,
) -> None:  # fmt: skip
    """Run points of a plan that is written in the folder; what becomes of them is in their files.

    Raises
    ------
    CaseError, SetupError
        If the scheduler cannot be reached or has no workers.
    Interrupted
        If the user asked to stop; running points are stopped, finished ones kept.
    """
    limits, place = plan.settings.limits, folder.resolve()
    with _client(machine, plan) as (client, share):
        from distributed import as_completed

        waiting = {
            client.submit(
                supervise, command(place, point.id), str(place), point.id, limits.time, limits.memory, token,
                key=f"{point.id}-{token}", pure=False, priority=-number, resources=share,
            ): point
            for number, point in enumerate(points)
        }  # fmt: skip
        try:
            for future in as_completed(list(waiting), raise_errors=False):
                point = waiting.pop(future)
                progress.ended(point, _fate(folder, point, future))
        except (KeyboardInterrupt, Interrupted):
            (folder / SESSION).unlink(missing_ok=True)  # tells every supervisor to stop its child
            client.cancel(list(waiting), force=True)
            _wait_for_stop(folder, list(waiting.values()))
            reason = "was interrupted; the points that had ended are kept"
            raise Interrupted(5, "sweep", reason, "start it again and it goes on from there") from None
        finally:
            progress.close()


def _fate(folder: Path, point: Point, future: Any) -> Fate:
    """What became of a point whose task has ended, told by the files, or where these are missing by the task."""
    if future.status == "finished":
        note = future.result()
    else:
        note = {"status": "failed", "reason": f"its worker was lost ({type(future.exception()).__name__})"}
    fate = fate_of(folder, point)
    if fate.status != "ok" and note["status"] == "failed":
        if future.status != "finished":
            write_note(folder, point.id, {**note, "attempts": fate.attempts, "seconds": 0.0})
        return Fate("failed", fate.reason or str(note["reason"]), fate.seconds, fate.attempts)
    return fate


def _wait_for_stop(folder: Path, points: Sequence[Point]) -> None:
    end = time.monotonic() + STOPPING
    while time.monotonic() < end and any(fate_of(folder, point).status == "running" for point in points):
        time.sleep(0.2)


@contextmanager
def _client(machine: Machine, plan: Plan) -> Iterator[tuple[Any, dict[str, float] | None]]:
    """A Dask client, and what of the worker's memory a point takes where the worker is ours."""
    import dask
    from distributed import Client, LocalCluster

    if machine.scheduler is not None:
        with _remote(machine.scheduler) as client:
            yield client, None
        return
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    limit, free = plan.settings.limits.memory, _free_memory()
    share = {"MEMORY": min(limit, 0.99 * free)}
    workers = machine.count(plan.settings.ranks, limit)
    with (
        dask.config.set({"distributed.admin.large-graph-warning-threshold": "100MB"}),
        LocalCluster(
            n_workers=1, threads_per_worker=workers, processes=False, dashboard_address="127.0.0.1:0", memory_limit=0,
            resources={"MEMORY": free}, silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster) as client,
    ):  # fmt: skip
        yield client, share


@contextmanager
def _remote(address: str) -> Iterator[Any]:
    from distributed import Client

    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    try:
        client = Client(address, timeout=ANSWER)
    except (OSError, ValueError, TimeoutError) as error:
        reason = f"must be the address of a Dask scheduler that runs; got {address!r}: {error}"
        raise CaseError(10, "--scheduler", reason, "start one with `dask scheduler`, or leave it out") from None
    with client:
        try:
            client.wait_for_workers(1, timeout=ANSWER)
        except TimeoutError:
            reason = f"the scheduler {address} has no workers"
            raise SetupError(2, "--scheduler", reason, f"start some: dask worker {address} --nthreads 1") from None
        yield client
