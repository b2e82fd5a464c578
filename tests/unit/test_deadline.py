"""The limit of time for surfaces: it ends what takes too long, and nothing else."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path

import pytest

from fem_spall.crack.surface_file import SurfaceFile
from fem_spall.deadline import time_for_surfaces
from fem_spall.errors import LimitError
from fem_spall.run import run_case
from tests.solids import case_of


def test_a_repair_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Bug: a surface that sends a repair round in circles hangs the run for ever; the mesh alone has a limit."""

    def endless(*_: object) -> None:
        while True:
            sum(range(1000))

    monkeypatch.setattr(SurfaceFile, "surface", endless)
    crack = {"name": "a", "kind": "surface_file", "file": "nowhere.stl", "unit": "um"}
    case = case_of(cracks=[crack], mesh={"size_min": "1 um", "size_max": "8 um", "time_limit": "0.3 s"})
    (tmp_path / "case.yaml").write_text("version: 1\n")
    begin = time.monotonic()
    with pytest.raises(LimitError, match=r"mesh.time_limit: reading and repairing the surfaces took longer than 0.3 s"):
        run_case(case, tmp_path / "case.yaml", tmp_path / "out")
    assert time.monotonic() - begin < 5
    assert (tmp_path / "out" / "failure.json").exists()


def test_the_alarm_is_put_off_when_the_work_is_done() -> None:
    """Bug: the alarm of the surfaces goes off while the mesh is made, or another's handler is lost."""
    before = signal.getsignal(signal.SIGALRM)
    with time_for_surfaces(0.05):
        pass
    time.sleep(0.1)
    assert signal.getsignal(signal.SIGALRM) is before
    other = threading.Thread(target=lambda: time_for_surfaces(0.01).__enter__())
    other.start()
    other.join()
    assert signal.getsignal(signal.SIGALRM) is before
