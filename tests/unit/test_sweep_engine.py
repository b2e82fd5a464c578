"""Sweeps that are killed, hang, crash or run twice: what is finished stays, what is not does not count."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from fem_spall import __version__, load_sweep
from fem_spall.errors import OutputError, SweepError
from fem_spall.sweep.engine import Command, Machine, hold
from fem_spall.sweep.fate import fate_of
from fem_spall.sweep.plan import make_plan, read_plan
from fem_spall.sweep.session import retry_session, status_session, sweep_session
from fem_spall.sweep.supervise import SESSION
from fem_spall.sweep.sweep_file import read_sweep
from tests.conftest import ROOT

SCRIPT = ROOT / "benchmarks" / "scheduling" / "trivial_point.py"
TWO = Machine(workers=2)
# A whole sweep in a process of its own, with points that wait a second and compute nothing.
DRIVER = f"""
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs ignore
from pathlib import Path
from fem_spall import __version__, cli
from fem_spall.sweep import session, engine, supervise
def command(place, name):
    return [sys.executable, "-S", {str(SCRIPT)!r}, str(place), name, __version__, sys.argv[3]]
scheduler = sys.argv[4] if len(sys.argv) > 4 else None
machine = engine.Machine(None if scheduler else 2, scheduler)
session.sweep_session(Path(sys.argv[1]), (), Path(sys.argv[2]), machine, command)
"""


def trivial(seconds: float = 0.0, first: float | None = None, **others: list[str]) -> Command:
    """Command of a point that computes nothing, the first one for a time of its own; others by value."""

    def command(place: Path, name: str) -> list[str]:
        point = next(point for point in read_plan(place).points if point.id == name)
        own = point.values["electrolyte.conductivity"] == 1 and first is not None
        usual = [sys.executable, "-S", str(SCRIPT), str(place), name, __version__, str(first if own else seconds)]
        return others.get(f"at_{point.values['electrolyte.conductivity']:g}", usual)

    return command


def sweep_file(folder: Path, count: int, more: str = "") -> Path:
    path = folder / "sweep.yaml"
    values = ", ".join(f"{k} mS/cm" for k in range(1, count + 1))
    case = ROOT / "benchmarks" / "survival" / "block.yaml"
    path.write_text(
        f"version: 1\nname: many\ncase: {case}\naxes: [{{key: electrolyte.conductivity, values: [{values}]}}]\n{more}"
    )
    return path


def start(folder: Path, seconds: float, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", DRIVER, str(folder / "sweep.yaml"), str(folder / "out"), str(seconds), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for(condition: object, seconds: float = 240.0) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def complete(folder: Path) -> set[str]:
    return {point.id for point in read_plan(folder).points if fate_of(folder, point).status == "ok"}


def test_bad_points_do_not_stop_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Catches: one crash that takes the sweep along, a hang that is waited for, a point without a reason.
    path, out = sweep_file(tmp_path, 7, "limits: {time: 1.5 s, memory: 1 GB}\n"), tmp_path / "out"
    greedy = "import time\nkeep = bytearray(1_200_000_000)\nkeep[::4096] = b'x' * len(keep[::4096])\ntime.sleep(60)"
    bad = trivial(
        at_2=["sleep", "600"],
        at_3=[sys.executable, "-S", "-c", "import os; os.kill(os.getpid(), 11)"],
        at_4=[sys.executable, "-S", "-c", "raise SystemExit('no convergence')"],
        at_5=[sys.executable, "-S", "-c", "import sys; open('/dev/full', 'w').write('x' * 9000)"],
        at_6=[sys.executable, "-S", "-c", greedy],
        at_7=["/no/such/program"],
    )
    with pytest.raises(SweepError, match="6 of 7 points have no result") as caught:
        sweep_session(path, (), out, Machine(workers=3), bad)
    assert caught.value.exit_code == 10
    plan = read_plan(out)
    reasons = {point.values["electrolyte.conductivity"]: fate_of(out, point).reason for point in plan.points}
    assert "limit of 1.5 s" in reasons[2.0]
    assert "signal 11 (SIGSEGV)" in reasons[3.0]
    assert "exit code 1: no convergence" in reasons[4.0]
    assert "No space left on device" in reasons[5.0]
    assert "limit of 1" in reasons[6.0]
    assert "cannot be started" in reasons[7.0]
    capsys.readouterr()
    status_session(out)
    assert "many: 1 complete, 6 failed." in capsys.readouterr().out
    # Again with what was wrong put right: only the six run, and nothing tells the table from that of a good sweep.
    first = out / "points" / plan.points[0].id / "result.json"
    before = first.stat().st_mtime_ns
    retry_session(out, TWO, 30.0, None, trivial())
    assert first.stat().st_mtime_ns == before
    sweep_session(path, (), tmp_path / "good", Machine(workers=1), trivial())
    assert (out / "sweep.csv").read_bytes() == (tmp_path / "good" / "sweep.csv").read_bytes()


def test_kill_9_of_the_sweep(tmp_path: Path) -> None:
    # Catches: points that live on without their sweep, a finished point that is lost or run again, half a result that
    # counts, a lock that outlives its owner.
    sweep_file(tmp_path, 6)
    out = tmp_path / "out"
    process = start(tmp_path, 1.0)
    wait_for(lambda: (out / "plan.json").is_file() and len(complete(out)) >= 2)
    with (
        pytest.raises(OutputError, match=f"in use by another sweep, process {process.pid} on ") as caught,
        hold(out, "many"),
    ):
        pass
    assert caught.value.number == 702
    family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    psutil.wait_procs(family, timeout=10)
    assert not [child for child in family if child.is_running()]
    done = complete(out)
    assert 2 <= len(done) < 6
    times = {name: (out / "points" / name / "result.json").stat().st_mtime_ns for name in done}
    again = start(tmp_path, 0.0)
    told, _ = again.communicate(timeout=240)
    assert again.returncode == 0, told
    assert len(complete(out)) == 6
    assert {name: (out / "points" / name / "result.json").stat().st_mtime_ns for name in done} == times
    assert f"6 points, {len(done)} of them complete" in told


def test_half_a_result_does_not_count(tmp_path: Path) -> None:
    # Catches: a truncated record, one of another case or of another version, a changed number, taken as a result.
    path, out = sweep_file(tmp_path, 1), tmp_path / "out"
    sweep_session(path, (), out, TWO, trivial())
    (point,) = read_plan(out).points
    record = out / "points" / point.id / "result.json"
    whole = record.read_text()
    assert fate_of(out, point).status == "ok"
    for damaged in (
        whole[:-40], "", "[]", whole.replace('"ok"', '"writing"'), whole.replace(point.case_hash, "0" * 64),
        whole.replace(f'"version": "{__version__}"', '"version": "0.0.1"'),
        whole.replace('"error": 0.001', '"error": 0.0001'),
        whole.replace('"files": []', '"files": [{"path": "fields.pvd", "bytes": 7}]'),
    ):  # fmt: skip
        assert damaged != whole
        record.write_text(damaged)
        assert fate_of(out, point).status == "pending"
    sweep_session(path, (), out, TWO, trivial())
    assert fate_of(out, point).status == "ok"


def test_values_added_later_extend_the_sweep(tmp_path: Path) -> None:
    # Catches: a sweep that starts over, or a second sweep that mixes into the folder of the first.
    path, out = sweep_file(tmp_path, 2), tmp_path / "out"
    sweep_session(path, (), out, TWO, trivial())
    before = {name: (out / "points" / name / "result.json").stat().st_mtime_ns for name in complete(out)}
    sweep_session(sweep_file(tmp_path, 4), (), out, TWO, trivial())
    assert len(complete(out)) == 4
    assert {name: (out / "points" / name / "result.json").stat().st_mtime_ns for name in before} == before
    path.write_text(path.read_text().replace("name: many", "name: other"))
    with pytest.raises(OutputError, match="holds the sweep 'many', not 'other'"):
        sweep_session(path, (), out, TWO, trivial())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(OutputError, match=r"not of a sweep \(thesis.tex\)"):
        sweep_session(path, (), tmp_path / "mine", TWO, trivial())


def test_workers_and_order_change_no_number(tmp_path: Path) -> None:
    # Catches: results that are tabled in the order in which they come.
    path = sweep_file(tmp_path, 5)
    sweep_session(path, (), tmp_path / "one", Machine(workers=1), trivial())
    # The first point ends last.
    sweep_session(path, (), tmp_path / "four", Machine(workers=4), trivial(0.1, first=0.8))
    assert (tmp_path / "one" / "sweep.csv").read_bytes() == (tmp_path / "four" / "sweep.csv").read_bytes()


def test_ctrl_c_keeps_what_has_ended(tmp_path: Path) -> None:
    # Catches: an interruption that leaves children, counts them as failed, or ends in a traceback.
    sweep_file(tmp_path, 4)
    process = start(tmp_path, 2.0)
    out = tmp_path / "out"
    wait_for(lambda: len(list((out / "points").glob("*.json"))) >= 2)
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    told, _ = process.communicate(timeout=60)
    assert "Interrupted: sweep: was interrupted; the points that had ended are kept" in told
    assert not [child for child in family if child.is_running()]
    plan = read_plan(out)
    assert {fate_of(out, point).status for point in plan.points} <= {"ok", "pending"}
    assert not (out / SESSION).exists()


def test_two_workers_of_a_scheduler_started_by_hand(tmp_path: Path) -> None:
    # Catches: points that need this process's memory or files, and a killed worker that takes its point along.
    path, out, file = sweep_file(tmp_path, 4), tmp_path / "out", tmp_path / "scheduler.json"
    host = ["--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", str(file)]
    alone = ["--nthreads", "1", "--no-nanny", "--local-directory", str(tmp_path)]

    def begin(kind: str, *words: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "distributed.cli.dask_" + kind, *host, *words]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path)

    begun = [begin("scheduler", "--port", "0")]
    try:
        begun += [begin("worker", *alone) for _ in range(2)]
        wait_for(file.is_file)
        address = json.loads(file.read_text())["address"]
        process = start(tmp_path, 2.0, address)
        begun.append(process)  # type: ignore[arg-type]
        wait_for(lambda: len(list((out / "points").glob("*.json"))) >= 2)
        begun[2].kill()
        told, _ = process.communicate(timeout=240)
        assert process.returncode == 0, told
        assert len(complete(out)) == 4
    finally:
        for child in begun:
            child.kill()
            child.communicate()
    sweep_session(path, (), tmp_path / "here", TWO, trivial())
    assert (out / "sweep.csv").read_bytes() == (tmp_path / "here" / "sweep.csv").read_bytes()


def test_a_slurm_script_lists_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Catches: an array whose tasks and points do not match.
    from fem_spall import cli

    path, out = sweep_file(tmp_path, 3), tmp_path / "out"
    assert cli._main(["sweep", "script", str(path), "-o", str(out), "--option=--partition=long"]) == 0
    text, listed = (out / "slurm.sh").read_text(), (out / "slurm.points").read_text().split()
    assert listed == [point.id for point in make_plan(read_sweep(path)).points]
    assert "#SBATCH --array=1-3\n" in text
    assert "#SBATCH --partition=long\n" in text
    fake = text.replace(f"exec {sys.executable} -m fem_spall", "echo")
    done = subprocess.run(
        ["bash"], input=fake, text=True, capture_output=True, env={**os.environ, "SLURM_ARRAY_TASK_ID": "2"}, check=True
    )
    assert done.stdout.split() == ["sweep", "point", str(out.resolve()), listed[1]]
    assert "sbatch" in capsys.readouterr().out
    assert load_sweep(out).column("status") == ["pending"] * 3
