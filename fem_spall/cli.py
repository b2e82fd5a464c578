"""The command ``fem-spall``: arguments, progress, refusals, exit codes; no science.

Exit codes: 0 complete, 1 a bug, 2 case or usage, 3 mesh file, 4 geometry, 5 meshing, 6 solve,
7 output, 8 a limit, 9 interrupted, 10 sweep with failed points, 11 environment.  A refusal's last line on stderr is
``fem-spall: error [Ennn]: FILE: reason; what to do``, of at most five lines in all.  Numbers
given here, in ``refusal`` and in ``studies``: E201 a file that cannot be read, E202 not YAML, E203 faults in the case,
E210 usage; E100 a bug; E610 a benchmark, E611 a point of a study; E710 standard output, E711 a file exists;
E810 memory; E901 Ctrl-C, E902 SIGTERM; E1101 doctor.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter

from fem_spall import __version__
from fem_spall.errors import CaseError, OutputError, SetupError
from fem_spall.refusal import LINES, as_refusal, asked_to_stop, end, one_line, record_failure, refuse, usage
from fem_spall.sweep.commands import app as sweep_app

__all__ = ["app", "main"]

app = App(
    name="fem-spall",
    help="""How strongly does a lithium-filled crack in a ceramic electrolyte focus the plating current?

One case file in, one folder of results out: focusing factor with its error, current drawn by the crack,
fields for ParaView, a report. A first look, about a minute:

  fem-spall run configs/quickstart.yaml

Your own crack, step by step:

  fem-spall inspect crack.stl --unit um     what the surface is, and what is wrong with it
  fem-spall init mycase                     writes mycase.yaml, with comments
  fem-spall check mycase.yaml               reads everything, estimates cells and memory, solves nothing
  fem-spall run mycase.yaml 'mesh.size_min=200 nm' -o results/fine

What the figures are worth:

  fem-spall verify                          benchmarks with exact answers: errors, orders, error bars
  fem-spall converge mycase.yaml            the same case on several meshes, with fitted orders

Many cases:

  fem-spall sweep mysweep.yaml              a base case and axes over its keys; a table, plots, fitted laws

Add --debug to any command to see the traceback of an error. Exit codes: 0 complete, 1 a bug, 2 case or usage,
3 mesh file, 4 geometry, 5 meshing, 6 solve, 7 output, 8 time or memory limit, 9 interrupted,
10 sweep with failed points, 11 environment.""",
    help_format="plaintext",
    version=__version__,
    default_parameter=Parameter(negative=()),
    suppress_keyboard_interrupt=False,
)


@app.command
def run(
    case: Path,
    /,
    *overrides: str,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    ranks: int = 1,
    overwrite: bool = False,
) -> None:
    """Run a case and write one folder of results.

    For instance:

      fem-spall run configs/quickstart.yaml

      fem-spall run mycase.yaml 'mesh.size_min=200 nm' solver.degree=1 -o results/coarse

      fem-spall run mycase.yaml 'cracks.spall.interface={kind: resistance, value: 2 ohm cm^2}' --ranks 4

    A list entry goes by index (cracks.0.opening) or by name (cracks.spall.opening). Quote what holds a space.

    Parameters
    ----------
    case
        The case file (YAML).
    overrides
        key.path=value texts that go over the file.
    output
        Folder of the results; by default results/ and the name of the case.
    ranks
        MPI processes of the solve.
    overwrite
        Replace an earlier result in the folder.
    """
    from fem_spall.case_file import load_case

    _check_ranks(ranks)
    try:
        loaded = load_case(case, overrides)
    except CaseError as error:
        if output is not None:
            record_failure(output, error)
        raise
    from fem_spall.mesh.mesher import prepare
    from fem_spall.run import run_case
    from fem_spall.terminal import TerminalProgress, print_result

    prepare()
    folder = output if output is not None else Path("results") / loaded.name
    progress = TerminalProgress()
    try:
        record = run_case(
            loaded, case, folder, overrides=tuple(overrides), ranks=ranks, overwrite=overwrite, progress=progress
        )
    finally:
        progress.done()
    print_result(record, folder)


def _check_ranks(ranks: int) -> None:
    if ranks < 1:
        raise CaseError(10, "--ranks", f"must be at least 1; got {ranks}", "leave it out to use one process")


@app.command
def check(case: Path, /, *overrides: str) -> None:
    """Read a case and all its files, short of meshing; print what would be computed and what it would cost.

    Every fault of the case file is listed, with line, column and what to write instead.

    For instance:

      fem-spall check mycase.yaml

      fem-spall check mycase.yaml solver.degree=1

    Parameters
    ----------
    case
        The case file (YAML).
    overrides
        key.path=value texts that go over the file.
    """
    from fem_spall.case_file import load_case

    try:
        loaded = load_case(case, overrides)
    except CaseError as error:
        if len(error.faults) < LINES:
            raise
        print(*map(one_line, error.faults), sep="\n", flush=True)
        raise CaseError(
            error.detail, error.where, error.reason, "correct the lines listed on standard output"
        ) from None
    from fem_spall.summary import case_summary
    from fem_spall.terminal import console

    screen = console()
    for part in case_summary(loaded):
        screen.print(part)


@app.command
def inspect(
    file: Path, /, *, unit: str, block: str | None = None, material: str | None = None, dataset: str | None = None,
    thin: str | None = None, vtp: Path | None = None, picture: Path | None = None,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:  # fmt: skip
    """Say what a crack surface is and what is wrong with it, or what an image stack holds.

    For instance:

      fem-spall inspect meshes/crack.stl --unit um

      fem-spall inspect crack.surf --unit um --material Lithium --vtp faults.vtp --picture faults.png

      fem-spall inspect meshes/fib_stack.tif --unit um

    Parameters
    ----------
    file
        STL, OBJ, PLY, OFF or HyperSurface (.surf) file; or TIFF, NRRD, NPY, NPZ, Amira label field, Zarr or folder of
        slices.
    unit
        Length unit of its coordinates: nm, um, mm, cm, m or inch; mesh files do not say.
    block
        Lengths of the block, to compare the bounding box with, for instance '20 um, 30 um, 50 um'.
    material
        Which material of a HyperSurface, if it has several.
    dataset
        Which array of an image stack that has several.
    thin
        Report gaps and walls thinner than this length; by default half the mean edge.
    vtp
        Write the surface for ParaView, in um, with a cell array for each fault.
    picture
        Draw the surface with its faults coloured, as a PNG.
    as_json
        Print JSON.
    """
    from fem_spall.inspection import inspect_session

    inspect_session(file, unit, block, material, dataset, thin, vtp, picture, as_json=as_json)


@app.command
def init(name: str = "mycase", /) -> None:
    """Write a commented case to start from; it runs as it stands.

    For instance:

      fem-spall init mycase

      fem-spall run mycase.yaml

    Parameters
    ----------
    name
        Name of the case, and of the file NAME.yaml.
    """
    import re
    from importlib.resources import files

    target = Path(name if name.endswith((".yaml", ".yml")) else f"{name}.yaml")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}", target.stem):
        reason = f"must be a name of letters, digits, '_' and '-'; got {target.stem!r}"
        raise CaseError(10, "NAME", reason, "write for instance: fem-spall init mycase")
    text = files("fem_spall").joinpath("starter.yaml").read_text(encoding="utf-8")
    try:
        with target.open("x", encoding="utf-8") as stream:
            stream.write(text.replace("name: starter", f"name: {target.stem}"))
    except FileExistsError:
        raise OutputError(11, str(target), "exists already", "choose another name, or remove it first") from None
    except OSError as error:
        raise OutputError(11, str(target), f"cannot be written ({error.strerror})", "choose another folder") from None
    print(f"{target} written. Next: fem-spall check {target}, then fem-spall run {target}")


@app.command
def kinds(word: str | None = None, /, *, as_json: Annotated[bool, Parameter(name="--json")] = False) -> None:
    """List what a case can be made of: cracks, laws, conductivities, closed forms, with keys, units and defaults.

    For instance:

      fem-spall kinds

      fem-spall kinds penny

    Parameters
    ----------
    word
        Show only the kind of this name.
    as_json
        Print JSON.
    """
    from fem_spall.case_file import kinds as all_kinds
    from fem_spall.terminal import kinds_text

    found = [kind for kind in all_kinds() if word is None or kind["kind"] == word]
    if not found:
        names = ", ".join(dict.fromkeys(kind["kind"] for kind in all_kinds()))
        raise CaseError(10, "kinds", f"there is no kind {word!r}", f"take one of {names}")
    print(json.dumps(found, indent=1) if as_json else kinds_text(found))


@app.command
def schema() -> None:
    """Print the JSON Schema of case files, for editors that complete and check YAML.

    For instance:

      fem-spall schema > case.schema.json
    """
    from fem_spall.case_file import schema as case_schema

    print(json.dumps(case_schema(), indent=1))


@app.command
def report(folder: Path, /) -> None:
    """Draw the pictures and the report of a finished run once more, from its record and fields.

    For instance:

      fem-spall report results/quickstart

    Parameters
    ----------
    folder
        Folder of a finished run.
    """
    from fem_spall.run import present_again

    print(present_again(folder))


@app.command
def verify(
    *names: str,
    levels: str = "ci",
    as_json: Annotated[Path | None, Parameter(name="--json")] = None,
    write: bool = False,
    only_list: Annotated[bool, Parameter(name="--list")] = False,
) -> None:
    """Run benchmarks with exact answers: error, order of convergence, and whether the stated error bars held.

    The exit code is 6 where a figure misses its tolerance or its order, or where fewer than 95 % of the bars held.

    For instance:

      fem-spall verify --list

      fem-spall verify parallel_plates hemi

      fem-spall verify --levels all --json verification.json

    Parameters
    ----------
    names
        Names of benchmarks or parts of them; none for all.
    levels
        ci: those that the tests run; all: the fine ones too; a number: so many of each degree, coarsest first.
    as_json
        Write every comparison to this file.
    write
        Put the tables into the READMEs of the benchmarks and into benchmarks/TABLE.md (source tree only).
    only_list
        Name the benchmarks and run nothing.
    """
    from fem_spall.studies import verify_session

    verify_session(names, levels, as_json, write=write, only_list=only_list)


@app.command
def converge(
    case: Path,
    /,
    *overrides: str,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    levels: int = 3,
    ratio: float = 2.0,
    degrees: str = "1,2",
    ranks: int = 1,
) -> None:
    """Run a case on several meshes and degrees: order of convergence and limit of every figure, as table and plot.

    The finest mesh is that of the case. Started again, it goes on with the points that are not finished.

    For instance:

      fem-spall converge mycase.yaml

      fem-spall converge mycase.yaml 'mesh.size_min=200 nm' --levels 4 --degrees 2 -o results/mycase_convergence

    Parameters
    ----------
    case
        The case file (YAML).
    overrides
        key.path=value texts that go over the file.
    output
        Folder of the study; by default results/NAME_convergence, where the report of results/NAME finds it.
    levels
        How many sizes of the mesh, at least 3.
    ratio
        How much finer each mesh is than the one before.
    degrees
        Degrees of the elements, with a comma between them.
    ranks
        MPI processes of each solve.
    """
    from fem_spall.studies import converge_session

    _check_ranks(ranks)
    converge_session(case, overrides, output, levels, ratio, degrees, ranks)


app.command(sweep_app)


@app.command
def doctor() -> None:
    """Check what this machine must have: compiler, MPI, solver, meshers, graphics, memory, a solved problem.

    Each failure names its cure. Without graphics only the pictures are missing.
    """
    import textwrap

    from fem_spall.doctor import examine

    failed = []
    for finding in examine():
        head = f"{finding.name:<16}{finding.verdict:<9}"
        print(textwrap.fill(finding.text, 120, initial_indent=head, subsequent_indent=" " * len(head)), flush=True)
        if finding.verdict == "FAILED":
            failed.append(finding.name)
    if failed:
        raise SetupError(1, "doctor", f"this machine lacks: {', '.join(failed)}", "the lines above say what to do")


@app.command
def cite() -> None:
    """Print how to cite this program and what it stands on."""
    from importlib.resources import files

    print(files("fem_spall").joinpath("citation.bib").read_text(encoding="utf-8").replace("VERSION", __version__))


def main() -> None:
    """Run the command line and end the process with its exit code."""
    signal.signal(signal.SIGTERM, asked_to_stop)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    end(_main(sys.argv[1:]))


def _main(arguments: Sequence[str]) -> int:
    """Exit code of one command line; whatever goes wrong becomes one refusal on stderr."""
    try:
        _dispatch([word for word in arguments if word != "--debug"])
        sys.stdout.flush()
    except BrokenPipeError:
        from fem_spall.terminal import silence_output

        silence_output()  # whoever read our output has had enough, as in `fem-spall kinds | head`
    except (Exception, KeyboardInterrupt) as error:
        if "--debug" in arguments:
            import traceback

            traceback.print_exception(error)
        return refuse(as_refusal(error))
    return 0


def _dispatch(words: list[str]) -> None:
    from fem_spall.terminal import console

    try:
        app(words, console=console(), exit_on_error=False, print_error=False, result_action="return_none")
    except CycloptsError as error:
        known = [name for name in app if not name.startswith("-")]
        raise usage(error, words, known) from None
