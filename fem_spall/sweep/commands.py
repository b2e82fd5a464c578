"""The command ``fem-spall sweep`` and its parts: arguments only."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from fem_spall.errors import CaseError

__all__ = ["app"]

app = App(
    name="sweep",
    help="""Run many cases from one file: a base case, axes over its keys; end in a table, plots and a report.

For instance:

  fem-spall sweep configs/sweeps/tip_radius.yaml --dry-run      the points and what they cost

  fem-spall sweep configs/sweeps/tip_radius.yaml --workers 2 -o results/tip_radius

  fem-spall sweep status results/tip_radius

Started again, it runs only what is missing. Values added to the file extend it. A sweep file:

  version: 1
  name: depth
  case: penny.yaml
  axes:
    - {key: cracks.penny.radius, range: [2 um, 6 um], count: 5}
    - {key: cracks.penny.opening, values: [0.5 um, 1 um]}
  derived: {mesh.size_min: cracks.penny.opening / 2}
  where: [cracks.penny.opening < cracks.penny.radius / 3]
  limits: {time: 30 min, memory: 4 GB}

Axes: values, range, log, zip, grid, csv, latin_hypercube, sobol; CONTRIBUTING.md and configs/sweeps/ show each.""",
    help_format="plaintext",
    default_parameter=Parameter(negative=()),
)

type Folder = Annotated[Path | None, Parameter(name=["--output", "-o"])]


@app.default
def sweep(
    file: Path,
    /,
    *overrides: str,
    output: Folder = None,
    workers: int | None = None,
    scheduler: str | None = None,
    dry_run: bool = False,
) -> None:
    """Plan a sweep and run what is missing of it.

    Parameters
    ----------
    file
        The sweep file (YAML).
    overrides
        key.path=value texts that go over the base case.
    output
        Folder of the sweep; by default results/ and the name of the sweep.
    workers
        Points at a time; by default as many as cores and free memory carry.
    scheduler
        Address of a Dask scheduler (tcp://...) whose workers see the folder; default: this machine.
    dry_run
        Print the points and what they would cost, and write nothing.
    """
    from fem_spall.sweep import session

    machine = _machine(workers, scheduler)
    if dry_run:
        session.dry_run(file, overrides, output, machine)
    else:
        session.sweep_session(file, overrides, output, machine)


def _machine(workers: int | None, scheduler: str | None = None):  # type: ignore[no-untyped-def]
    from fem_spall.sweep.engine import Machine

    if workers is not None and workers < 1:
        raise CaseError(10, "--workers", f"must be at least 1; got {workers}", "leave it out to use all cores")
    if workers is not None and scheduler is not None:
        raise CaseError(10, "--workers", "belongs to this machine, not to a scheduler", "leave one of the two out")
    return Machine(workers, scheduler)


@app.command
def status(folder: Path, /) -> None:
    """Tell what became of every point, and why.

    Parameters
    ----------
    folder
        Folder of the sweep.
    """
    from fem_spall.sweep.session import status_session

    status_session(folder)


@app.command
def retry(
    folder: Path,
    /,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    time: str | None = None,
    memory: str | None = None,
) -> None:
    """Run the failed points again, perhaps with other limits.

    Parameters
    ----------
    folder
        Folder of the sweep.
    workers
        Points at a time.
    scheduler
        Address of a Dask scheduler.
    time
        Limit of one point, such as '2 h'.
    memory
        Limit of one point, such as '16 GB'.
    """
    from fem_spall.quantity import Unit, to_si
    from fem_spall.sweep.session import retry_session

    units = {"time": Unit("s", "2 h", "time"), "memory": Unit("byte", "8 GB", "memory size")}
    found: dict[str, float | None] = {}
    for name, text in (("time", time), ("memory", memory)):
        try:
            found[name] = None if text is None else to_si(text, units[name])
        except ValueError as error:
            reason, _, cure = str(error).rpartition(". ")
            raise CaseError(10, f"--{name}", reason, cure) from None
    retry_session(folder, _machine(workers, scheduler), found["time"], found["memory"])


@app.command
def collect(folder: Path, /) -> None:
    """Write table, ParaView index and report from the results that are there.

    Parameters
    ----------
    folder
        Folder of the sweep.
    """
    from fem_spall.sweep.session import collect_session

    collect_session(folder)


@app.command
def script(file: Path, /, *overrides: str, output: Folder = None, option: tuple[str, ...] = ()) -> None:
    """Plan a sweep and write a Slurm array script that runs its points.

    For instance:

      fem-spall sweep script configs/sweeps/tip_radius.yaml -o results/tip_radius --option=--partition=long

    Parameters
    ----------
    file
        The sweep file (YAML).
    overrides
        key.path=value texts that go over the base case.
    output
        Folder of the sweep.
    option
        Further options of sbatch.
    """
    from fem_spall.sweep.session import script_session

    script_session(file, overrides, output, option)


@app.command
def point(folder: Path, id: str, /, *, tied: Annotated[bool, Parameter(show=False)] = False) -> None:
    """Run one point of a planned sweep here; what is complete already is left alone.

    Parameters
    ----------
    folder
        Folder of the sweep.
    id
        ID of the point, as in plan.csv.
    tied
        End when standard input closes.
    """
    from fem_spall.mesh.mesher import prepare
    from fem_spall.sweep.point import run_point
    from fem_spall.sweep.supervise import end_with_input
    from fem_spall.terminal import TerminalProgress

    prepare()
    if tied:
        end_with_input()
    progress = TerminalProgress()
    try:
        run_point(folder, id, progress)
    finally:
        progress.done()
