"""The command line: what it says, where, and with which exit code. Nothing here meshes or solves."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fem_spall import cli, doctor
from fem_spall.case_file import load_case
from fem_spall.errors import SolveError
from fem_spall.terminal import TerminalProgress, metric_table, readable

LAST_LINE = re.compile(r"fem-spall: error \[E(\d{3,4})\]: [^:]+.*: .+; .+")
BAD = "version: 1\nname: bad\nmesh: {size_min: 5, sizemax: 1 um}\n" + "".join(f"key{i}: 1\n" for i in range(6))


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, list[str]]:
    """Exit code, standard output and the lines of standard error of one command line."""
    code = cli._main([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err.splitlines()


def child(code: str, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, **kwargs
    )


# --- Start-up and help ---


def test_help_loads_nothing_heavy() -> None:
    # One import at the top of a module that the command line pulls in makes every --help take seconds.
    heavy = (
        "dolfinx petsc4py mpi4py pyvista vtk gmsh plotly trimesh matplotlib scipy pint manifold3d mmgpy numpy pydantic"
    )
    code = (
        "import sys, fem_spall, fem_spall.cli\n"
        "fem_spall.cli._main(['--help'])\n"
        f"print('LOADED', [m for m in {heavy.split()} if m in sys.modules])"
    )
    assert child(code).stdout.splitlines()[-1] == "LOADED []"


@pytest.mark.parametrize("command", ["check", "run"])
def test_a_file_is_refused_before_anything_heavy_is_loaded(command: str, tmp_path: Path) -> None:
    """Bug: a file of a terabyte, or a photograph, is refused after seconds of imports and with 300 MB in use."""
    (tmp_path / "crack.stl").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200))
    case = tmp_path / "case.yaml"
    case.write_text(
        "version: 1\nname: a\nelectrolyte: {size: [20 um, 30 um, 50 um], conductivity: 1 mS/cm}\n"
        "electrodes: {plating: {face: +z, potential: 0 V}, counter: {face: -z, potential: 50 mV}}\n"
        "cracks: [{name: a, kind: surface_file, file: crack.stl, unit: um}]\nmesh: {size_min: 1 um, size_max: 4 um}\n"
    )
    arguments = [command, str(case), *(["-o", str(tmp_path / "out")] if command == "run" else [])]
    heavy = "dolfinx petsc4py mpi4py pyvista vtk gmsh plotly trimesh matplotlib scipy.sparse dask igl manifold3d mmgpy"
    code = (
        "import pathlib, sys, fem_spall.cli\n"
        f"end = fem_spall.cli._main({arguments!r})\n"
        # Not ru_maxrss, which also knows of the process that this one was forked from.
        "status = pathlib.Path('/proc/self/status').read_text()\n"
        "kilobytes = int(status.split('VmHWM:')[1].split()[0])\n"
        f"print('LOADED', end, kilobytes < 300_000, [m for m in {heavy.split()} if m in sys.modules])"
    )
    assert child(code).stdout.splitlines()[-1] == "LOADED 3 True []"


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "--help")
    assert (code, err) == (0, [])
    commands = ["run", "check", "inspect", "init", "kinds", "schema", "report", "doctor", "cite", "verify", "converge"]
    assert all(re.search(rf"│ {command} ", out) for command in commands)
    assert "fem-spall run configs/quickstart.yaml" in out
    for command in set(commands) - {"doctor", "cite"}:
        code, out, err = call(capsys, command, "--help")
        assert (code, err) == (0, [])
        assert f"\n  fem-spall {command}" in out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "--version")[:2] == (0, "0.1.0\n")


# --- Refusals ---


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run"], r"E210\]: command line: CASE requires an argument; see fem-spall run --help"),
        (["rnu", "x.yaml"], r"E210\]: command line: there is no command 'rnu'; did you mean 'run'\?"),
        (["xyzzy"], r"E210\]: command line: there is no command 'xyzzy'; take one of run, check,"),
        (["run", "x", "--rnaks", "2"], r"E210\]: command line: Unknown option: --rnaks; did you mean --ranks\?"),
        (["run", "x", "--ranks", "two"], r'E210\]: command line: Invalid value for --ranks: unable to convert "two"'),
        (["run", "x", "--ranks", "0"], r"E210\]: --ranks: must be at least 1; got 0; leave it out"),
        (["--nothing"], r"E210\]: command line: .*--nothing"),
        (["inspect", "x.stl"], r"E210\]: command line: --unit requires an argument; see fem-spall inspect --help"),
        (["inspect", "x.stl", "--unit", "mile"], r"E210\]: --unit: must be one of nm, um, .* got 'mile'; write"),
        (["inspect", "x.stl", "--unit", "um", "--vtp", "x.stl"], r"E210\]: --vtp: must be a file that ends with \.vtp"),
        (
            ["inspect", "x.stl", "--unit", "um", "--picture", "a.jpg"],
            r"E210\]: --picture: must be a file .* \.png; got",
        ),
        (
            ["inspect", "x.stl", "--unit", "um", "--block", "20 um"],
            r"E210\]: --block: must be 3 lengths above zero; got",
        ),
        (
            ["inspect", "x.stl", "--unit", "um", "--block", "20,30,50"],
            r"E210\]: --block: a length needs a unit; got '20'",
        ),
        (["inspect", "x.stl", "--unit", "um", "--thin", "0 um"], r"E210\]: --thin: must be 1 length above zero; got"),
        (["kinds", "pony"], r"E210\]: kinds: there is no kind 'pony'; take one of surface_file,"),
        (["run", "nofile.yaml"], r"E201\]: nofile.yaml: cannot be read \(No such file or directory\); give the path"),
        (["check", "nofile.yaml", "foo"], r"E201\]: nofile.yaml: cannot be read"),
        (["verify", "sphinx"], r"E272\]: sphinx: is no benchmark; take one of: 01_parallel_plates,"),
        (["verify", "--levels", "0"], r"E210\]: --levels: must be ci, all or a number above zero; got '0'; leave"),
        (["verify", "--levels", "2", "--write"], r"E210\]: --write: needs complete tables; leave --levels out"),
        (["init", "a b"], r"E210\]: NAME: must be a name of letters, .* got 'a b'; write"),
    ],
)
def test_wrong_use_is_exit_code_2(capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    code, _, err = call(capsys, *words)
    assert code == 2
    assert len(err) == 1
    assert LAST_LINE.fullmatch(err[0])
    assert re.search(said, err[0])


def test_a_refusal_has_at_most_five_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(BAD)
    code, out, err = call(capsys, "run", path)
    assert (code, out, len(err)) == (2, "", 5)
    assert err[0].startswith(f"{path}:1:1: electrolyte: this key is missing.")
    assert re.fullmatch(
        rf"fem-spall: error \[E203\]: {re.escape(str(path))}: 10 faults, 6 more not shown; .*`fem-spall check`.*",
        err[-1],
    )


def test_check_lists_every_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(BAD)
    code, out, err = call(capsys, "check", path)
    assert code == 2
    assert len(out.splitlines()) == 10
    assert [line.split(": ")[1] for line in out.splitlines()][-6:] == [f"key{i}" for i in range(6)]
    assert len(err) == 1
    assert "10 faults; correct the lines listed on standard output" in err[0]


def test_one_fault_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call(capsys, "init", tmp_path / "mine")
    code, _, err = call(capsys, "run", tmp_path / "mine.yaml", "mesh.size_min=5")
    assert code == 2
    assert err == [
        "fem-spall: error [E203]: command line: mesh.size_min: a length needs a unit; got 5; write for instance '5 um'"
    ]


def test_a_line_break_in_a_file_name_stays_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "check", tmp_path / "a\nb\x1b[31m.yaml")
    assert code == 2
    assert len(err) == 1
    assert "\x1b" not in err[0]


def test_failure_is_recorded_where_no_result_is_lost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(BAD)
    fresh, finished, foreign = (tmp_path / name for name in ("fresh", "finished", "foreign"))
    for folder, file in ((finished, "result.json"), (foreign, "thesis.txt")):
        folder.mkdir()
        (folder / file).write_text("{}")
    for folder in (fresh, finished, foreign):
        assert call(capsys, "run", path, "-o", folder)[0] == 2
    record = json.loads((fresh / "failure.json").read_text())
    assert (record["status"], record["number"], len(record["faults"])) == ("failed", 203, 10)
    assert record["faults"][-1]["key"] == "key5"
    assert record["faults"][-1]["line"] == 9
    assert [p.name for p in (*finished.iterdir(), *foreign.iterdir())] == ["result.json", "thesis.txt"]


def _raise(error: BaseException) -> Any:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ZeroDivisionError("x / 0"), 1, "E100]: test_cli.py:"),
        (KeyboardInterrupt(), 9, "E901]: fem-spall: was interrupted by Ctrl-C; start it again"),
        (MemoryError(), 8, "E810]: fem-spall: the memory"),
        (OSError(28, "No space left on device"), 7, "E710]: output: cannot be written (No space left on device); make"),
        (SolveError(3, "solver", "diverged", "change it"), 6, "E603]: solver: diverged; change it"),
    ],
)
def test_exit_codes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, said: str
) -> None:
    monkeypatch.setattr("fem_spall.case_file.kinds", _raise(error))
    got, _, err = call(capsys, "kinds")
    assert got == code
    assert len(err) == 1
    assert LAST_LINE.fullmatch(err[0])
    assert said in err[0]
    got, _, err = call(capsys, "kinds", "--debug")
    assert got == code
    assert err[0] == "Traceback (most recent call last):"
    assert said in err[-1]


@pytest.mark.parametrize(("number", "said"), [(signal.SIGINT, "E901"), (signal.SIGTERM, "E902")])
def test_signals_end_with_exit_code_9(number: signal.Signals, said: str) -> None:
    code = (
        "import sys, time; from fem_spall import cli, doctor\n"
        "doctor.CHECKS = (doctor.Check('ready', lambda: 'go'), doctor.Check('wait', lambda: time.sleep(50)))\n"
        "sys.argv = ['fem-spall', 'doctor']; cli.main()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert "ready" in process.stdout.readline()
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 9
    assert err.splitlines()[-1].startswith(f"fem-spall: error [{said}]: ")
    assert len(err.splitlines()) == 1


def test_a_closed_pipe_is_no_error() -> None:
    command = f"{sys.executable} -m fem_spall schema | head -c 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "{0\n"
    assert done.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_under_standard_output_is_exit_code_7() -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "fem_spall", "schema"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert done.returncode == 7
    assert "[E710]: output: cannot be written" in done.stderr.splitlines()[-1]


# --- Commands that need no solve ---


def test_init_writes_a_case_that_loads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "mine.yaml"
    assert call(capsys, "init", tmp_path / "mine")[0] == 0
    case = load_case(target)
    assert (case.name, case.cracks[0].kind) == ("mine", "penny")
    before = target.read_text()
    code, _, err = call(capsys, "init", tmp_path / "mine")
    assert code == 7
    assert "exists already; choose another name" in err[0]
    assert target.read_text() == before


def test_kinds_and_schema(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "kinds", "penny")
    assert code == 0
    assert re.search(r"radius +length; required, such as 20 um", out)
    assert {kind["kind"] for kind in json.loads(call(capsys, "kinds", "--json")[1])} >= {
        "penny",
        "resistance",
        "no_flux",
    }
    schema = json.loads(call(capsys, "schema")[1])
    assert "cracks" in schema["properties"]


def test_cite_names_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "cite")
    assert code == 0
    assert "version = {0.1.0}" in out


RECORD = {
    "metrics": {
        "fef_r250nm": {"value": 5.1234, "unit": "1", "error": 0.05, "definition": "tip flux; in a ball"},
        "resistance": {"value": 833333.3, "unit": "ohm", "error": None, "definition": "R = V/I"},
        "capture_ratio": {"value": None, "unit": "1", "error": None, "definition": "x", "absent": "no opening"},
    },
    "warnings": [{"kind": "box", "text": "the box is small"}],
    "mesh": {"cells": 1234567, "dofs": 7654321},
    "seconds": {"total": 61.0},
}


def test_run_hands_over_and_prints_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    def run_case(case: Any, source: Path, folder: Path, **options: Any) -> dict[str, Any]:
        seen.update(case=case, source=source, folder=folder, **options)
        options["progress"].stage("mesh", "100 nm to 3 um")
        options["progress"].note("remeshed twice")
        options["progress"].stage("solve")
        options["progress"].done()
        return RECORD

    monkeypatch.setattr("fem_spall.run.run_case", run_case)
    monkeypatch.chdir(tmp_path)
    call(capsys, "init", "mine")
    code, out, err = call(capsys, "run", "mine.yaml", "mesh.size_min=300 nm", "--ranks", 2, "--overwrite")
    assert (code, err) == (0, [])
    assert (seen["folder"], seen["source"]) == (Path("results/mine"), Path("mine.yaml"))
    assert (seen["overrides"], seen["ranks"], seen["overwrite"]) == (("mesh.size_min=300 nm",), 2, True)
    assert seen["case"].mesh.size_min == 3e-07
    lines = out.splitlines()
    assert re.fullmatch(r"mesh +100 nm to 3 um +\d+\.\d s", lines[0])
    assert lines[1] == "  note: remeshed twice"
    assert re.fullmatch(r"solve +\d+\.\d s", lines[2])
    assert re.search(r"fef_r250nm +5\.123 +0\.050 +tip flux", out)
    assert re.search(r"resistance +833\.3 +kohm +R = V/I", out)
    assert re.search(r"capture_ratio +- +not given: no opening", out)
    assert "note: the box is small" in out
    assert "1,234,567 cells" in out


def test_the_table_shows_the_box_beside_the_mesh() -> None:
    # The change by the box must not be mistaken for the error of the mesh, nor the isolated value shown in SI.
    from rich.console import Console

    box = {"change": -0.1234, "isolated": 2.7e-8, "isolated_error": 8e-10}
    metrics: dict[str, Any] = {
        "crack_current": {"value": 2.36e-8, "unit": "A", "error": 1e-10, "model_errors": {"box": box}},
        "resistance": {"value": 833333.3, "unit": "ohm", "error": None},
        "capture_ratio": {"value": None, "unit": "1", "error": None, "absent": "no opening"},
    }
    screen = Console(width=140)
    with screen.capture() as caught:
        screen.print(metric_table(metrics))
    assert re.search(r"± error +box +isolated +unit", caught.get())
    assert re.search(r"crack_current +23\.60 +0\.10 +-12\.3% +27\.00 ± 0\.80 +nA", caught.get())
    assert re.search(r"capture_ratio +- +not given: no opening", caught.get())


def test_a_refusal_in_a_stage_ends_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_case(*_: Any, **options: Any) -> None:
        options["progress"].stage("solve")
        raise SolveError(3, "solver", "diverged", "change it")

    monkeypatch.setattr("fem_spall.run.run_case", run_case)
    call(capsys, "init", tmp_path / "mine")
    code, out, err = call(capsys, "run", tmp_path / "mine.yaml", "-o", tmp_path / "out")
    assert code == 6
    assert out.endswith(" s\n")
    assert err == ["fem-spall: error [E603]: solver: diverged; change it"]


def test_a_run_survives_a_closed_pipe() -> None:
    # `fem-spall run ... | head -1` must not throw away an hour of work.
    code = (
        "import os, sys; from fem_spall.terminal import TerminalProgress\n"
        "read, write = os.pipe(); os.dup2(write, 1); os.close(read)\n"
        "p = TerminalProgress(); p.stage('a'); p.stage('b'); p.done(); print('still here', file=sys.stderr)"
    )
    assert child(code).stderr == "still here\n"


def test_progress_without_a_stage_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    TerminalProgress().done()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("value", "unit", "error", "shown"),
    [
        (5.12345, "1", 0.0512, ("5.123", "0.051", "")),
        (101.11, "A/m^2", None, ("10.11", "", "mA/cm^2")),
        (833333.333, "ohm", 12.0, ("833.333", "0.012", "kohm")),
        (1.2345e-7, "m", 2e-9, ("0.1235", "0.0020", "um")),
        (0.0, "A", None, ("0", "", "nA")),
        (-3.4e-6, "m", 1e-5, ("-3", "10", "um")),
        (1.5e-12, "A", None, ("0.001500", "", "nA")),
        (1.234e-9, "1", None, ("1.234e-09", "", "")),
        (7.0, "furlong", None, ("7.000", "", "furlong")),
    ],
)
def test_figures_are_rounded_by_their_error(
    value: float, unit: str, error: float | None, shown: tuple[str, str, str]
) -> None:
    assert readable(value, unit, error) == shown


# --- Verify ---


def _report(failing: bool, interrupted: bool = False) -> Any:
    from fem_spall.benchmark import find_benchmarks
    from fem_spall.verify import Comparison, Report

    (plates,) = find_benchmarks(["01_parallel_plates"])
    quantity = plates.declaration.quantities[0]
    value = quantity.reference * (1.1 if failing else 1 + 1e-12)
    row = Comparison(quantity, 2, 2, 1e-5, 981, 1500, 0.1, value, 0.2 * value)
    return Report("01_parallel_plates", plates.declaration, (row,), (), interrupted)


def test_verify_prints_and_keeps_what_ran(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A failing figure must not pass with exit code 0, and an interruption must not lose the table or the file.
    reports = [_report(failing=True)]
    monkeypatch.setattr("fem_spall.studies.verify", lambda *_, **__: iter(reports))
    file = tmp_path / "v.json"
    code, out, err = call(capsys, "verify", "parallel_plates", "--json", file)
    assert code == 6
    assert re.search(r"resistance, ohm +P2 10 um +981 +\+1\.0e-01 +2\.2e-01 +2\.2 +yes", out)
    assert "FAILED 01_parallel_plates: resistance, ohm: error 1.00e-01 exceeds 1.0e-11" in out
    assert "1 error bars stated (case, level, figure), of which 1 held (100.0%)." in out
    assert err == ["fem-spall: error [E610]: verify: 01_parallel_plates failed; the tables above say where"]
    assert json.loads(file.read_text())["complete"] is True

    def stopped(*_: Any, **__: Any) -> Any:
        yield _report(failing=False, interrupted=True)
        raise KeyboardInterrupt

    monkeypatch.setattr("fem_spall.studies.verify", stopped)
    code, out, err = call(capsys, "verify", "parallel_plates", "--json", file)
    assert code == 9
    assert "+1.0e-12" in out
    assert "of which 1 held" in out
    assert json.loads(file.read_text())["complete"] is False
    monkeypatch.setattr("fem_spall.studies.verify", lambda *_, **__: pytest.fail("ran before looking at the file"))
    assert call(capsys, "verify", "parallel_plates", "--json", tmp_path / "nowhere" / "v.json")[0] == 7


def test_verify_lists(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "verify", "plates", "--list")
    assert code == 0
    assert re.fullmatch(r"01_parallel_plates +3 of 3 levels +Parallel plates\n", out)


# --- Doctor ---


def test_doctor_fails_on_essentials_only(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> str:
        raise doctor.Problem("no compiler found", "Install one")

    pictures = doctor.Check("pictures", broken, essential=False)
    monkeypatch.setattr(doctor, "CHECKS", (doctor.Check("Python", lambda: "3.12"), pictures))
    code, out, err = call(capsys, "doctor")
    assert (code, err) == (0, [])
    assert re.search(r"pictures +warning +no compiler found\. Install one", out)
    monkeypatch.setattr(doctor, "CHECKS", (pictures, doctor.Check("C compiler", broken)))
    code, out, err = call(capsys, "doctor")
    assert code == 11
    assert re.search(r"C compiler +FAILED +no compiler found\. Install one", out)
    assert err[-1].startswith("fem-spall: error [E1101]: doctor: this machine lacks: C compiler; ")


def test_doctor_names_the_package_of_a_missing_library() -> None:
    said = "OSError: libGLU.so.1: cannot open shared object file: No such file or directory"
    assert doctor.cure_of(said, "other") == "Install libglu1-mesa (Debian: apt-get install libglu1-mesa)"
    assert "libstrange.so.3" in doctor.cure_of("libstrange.so.3: cannot open shared object file", "other")
    assert doctor.cure_of("something else", "other") == "other"


def test_doctor_survives_children_that_crash_or_hang() -> None:
    # VTK without GL ends by signal 11; that must be a finding, not the end of the doctor.
    with pytest.raises(doctor.Problem, match="ended by signal 11"):
        doctor._child("import os; os.kill(os.getpid(), 11)", "cure")
    with pytest.raises(doctor.Problem, match="gave no answer within 1 s"):
        doctor._child("import time; time.sleep(30)", "cure", seconds=1)
    with pytest.raises(doctor.Problem, match="says: ImportError: nothing there"):
        doctor._child("raise ImportError('nothing there')", "cure")


def test_doctor_sees_a_broken_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "cc"
    fake.write_text("#!/bin/sh\necho 'ld: cannot find -lm' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("CC", str(fake))
    with pytest.raises(doctor.Problem, match="cannot compile and link three lines: ld: cannot find -lm"):
        doctor._compiler()
    monkeypatch.delenv("CC")
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(doctor.Problem, match="no C compiler found"):
        doctor._compiler()


def test_doctor_sees_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FEM_SPALL_CACHE", os.fspath(tmp_path / "file" / "cache"))
    with pytest.raises(doctor.Problem, match="cannot be written"):
        doctor._cache()
