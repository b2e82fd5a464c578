"""The ParaView script of a run, executed by ParaView itself."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import numpy as np
import pytest

from fem_spall.output.paraview import write_paraview_script
from tests.result_folder import write_result_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_result_folder(tmp_path_factory.mktemp("run") / "as written", quadratic=True)
    assert write_paraview_script(folder) == folder / "open_in_paraview.py"
    return folder.rename(folder.with_name("moved since"))


def test_script_names_no_place_outside_its_folder(folder: Path) -> None:
    # Bug caught: a script that opens the data of another machine, or none after the folder was moved.
    text = (folder / "open_in_paraview.py").read_text()
    compile(text, "open_in_paraview.py", "exec")
    assert "as written" not in text
    assert "$" not in text
    assert "\nORIGIN = [10.0, 15.0, 45.0]\n" in text


def test_no_script_without_fields(tmp_path: Path) -> None:
    # Bug caught: a script that opens files which are not there.
    assert write_paraview_script(write_result_folder(tmp_path, fields=False)) is None
    assert not (tmp_path / "open_in_paraview.py").exists()


@pytest.fixture
def display() -> Iterator[dict[str, str]]:
    """The environment of a program that needs a screen: a virtual one, or the one that is there."""
    if shutil.which("pvpython") is None:
        pytest.skip("pvpython (ParaView) is not installed")
    for screen in _screens():
        with screen as name:
            if name and _answers(name):
                yield {**os.environ, "DISPLAY": name}
                return
    pytest.skip("ParaView needs a screen: neither Xvfb nor DISPLAY gives one that answers")


def _screens() -> Iterator[AbstractContextManager[str]]:
    """Screens to try, in turn: virtual ones, then the one that is there."""
    server = shutil.which("Xvfb")
    if server is not None:
        # A number far from those of others: on some machines number 0 looks free and belongs to a server next door.
        for number in range(os.getpid() % 10_000 + 100, os.getpid() % 10_000 + 103):
            yield _virtual_screen(server, number)
    yield nullcontext(os.environ.get("DISPLAY", ""))


@contextmanager
def _virtual_screen(server: str, number: int) -> Iterator[str]:
    readable, writable = os.pipe()
    # The server writes a line when it is ready.  No access control: whoever runs the tests may draw.  Without -noreset
    # it begins anew when its last client leaves, which the question whether it answers does, and refuses the next one.
    command = [server, f":{number}", "-displayfd", str(writable), "-ac", "-noreset", "-screen", "0", "1600x1000x24"]
    running = subprocess.Popen(command, pass_fds=(writable,), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(writable)
    try:
        with os.fdopen(readable) as ready:
            yield f":{number}" if ready.readline().strip() else ""
    finally:
        running.terminate()
        running.wait()


def _answers(name: str) -> bool:
    """Whether a program can open the screen: ParaView dies where it cannot."""
    try:
        library = ctypes.CDLL("libX11.so.6")
    except OSError:
        return True
    library.XOpenDisplay.restype = ctypes.c_void_p
    opened = library.XOpenDisplay(name.encode())
    if opened:
        library.XCloseDisplay(ctypes.c_void_p(opened))
    return bool(opened)


def test_paraview_draws_the_picture(folder: Path, tmp_path: Path, display: dict[str, str]) -> None:
    # Bug caught: a filter or property that this ParaView does not know; a colour scale that ignores its cap.
    from matplotlib.image import imread

    picture = tmp_path / "picture.png"
    # A cap far below the data shows whether the scale obeys it, not the range of the data.
    script = folder / "open_in_paraview.py"
    script.write_text(re.sub(r"(?m)^CAP = .*$", "CAP = 1.5", script.read_text()))
    done = subprocess.run(
        ["pvpython", str(script), "--png", str(picture)],
        cwd=tmp_path, env=display, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rror" not in done.stdout + done.stderr
    image = imread(picture)[..., :3]
    assert image.shape[:2] == (900, 1600)
    bright_yellow = np.all(np.abs(image - np.array([0.988, 1.0, 0.643])) < 0.06, axis=-1)
    lithium = (np.ptp(image, axis=-1) < 0.06) & (image.mean(axis=-1) > 0.4) & (image.mean(axis=-1) < 0.9)
    # In the exact field |j|/j0 exceeds 1.5 on 24.4 um^2 of the section, at 55.2 pixels a um in the right view seen
    # from a little aside (x 0.93): 69 000 pixels, but for current lines and the coarse mesh.
    close_up = bright_yellow & (np.arange(1600) > 620)
    assert 60_000 < close_up.sum() < 80_000
    row, column = (int(np.median(index)) for index in np.nonzero(close_up))
    assert 460 < row < 540
    assert 1050 < column < 1160
    assert lithium.sum() > 30_000
