"""The report in a real browser, with and without WebGL."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from fem_spall.output.report import write_report
from tests.result_folder import write_result_folder
from tests.unit.test_sweep_results import figure, made

#: A browser that talks to nobody but the file.
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu-sandbox", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
    "--enable-logging=stderr",
)  # fmt: skip


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(write_result_folder(tmp_path_factory.mktemp("run")))


def opened(report: Path, profile: Path, *flags: str) -> tuple[str, str]:
    """The page's elements after its scripts ran, without the scripts, and what the browser logged."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no Chromium is installed")
    command = [browser, *QUIET, f"--user-data-dir={profile}", *flags, "--virtual-time-budget=30000", "--dump-dom"]
    done = subprocess.run(
        [*command, report.as_uri()], capture_output=True, text=True, errors="replace", timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return re.sub(r"<script.*?</script>", "", done.stdout, flags=re.DOTALL), done.stderr


def faults(log: str) -> list[str]:
    """Lines of the page's console that tell of an error."""
    return [line for line in log.splitlines() if "CONSOLE" in line and re.search("rror|Refused|Uncaught", line)]


def test_crack_can_be_turned(report: Path, tmp_path: Path) -> None:
    # Bug caught: data that plotly.js cannot read, or a security policy that stops it.
    page, log = opened(report, tmp_path, "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
    assert faults(log) == []
    assert re.search(r'<figure id="crack-figure" class="live">', page)
    assert re.search(r'<div id="crack-plot"[^>]*data-drawn="yes"', page)
    assert "<canvas" in page
    assert "capped at" in page  # the colour bar's title
    assert "Share chart" not in page


def test_without_webgl_the_still_picture_stays(report: Path, tmp_path: Path) -> None:
    # Bug caught: an empty frame on a machine without a graphics card.
    page, log = opened(report, tmp_path, "--disable-gpu", "--disable-3d-apis", "--disable-software-rasterizer")
    assert faults(log) == []
    assert re.search(r'<figure id="crack-figure"( class="")?>', page)
    assert "data-drawn" not in page


def test_a_click_on_a_point_of_a_sweep_opens_its_report(tmp_path: Path) -> None:
    # Bug caught: a click that leads nowhere; a security policy under which plotly.js cannot draw parallel coordinates.
    axes = (
        "axes: [{key: cracks.penny.radius, values: [2 um, 3 um]}, {key: mesh.grading, values: [1.2, 1.4]}, "
        "{key: solver.degree, values: [1, 2]}]"
    )
    plan = made(tmp_path, axes, lambda point: {"fef_tip": figure(10 * point.values["mesh.grading"], 0.1)})
    page = (tmp_path / "out" / "report.html").read_text()
    click = """<script>
    window.open = link => document.body.setAttribute('data-opened', link);
    const first = document.getElementById('plot-0');
    const wait = setInterval(() => {
      if (!first.hasAttribute('data-drawn')) return;
      clearInterval(wait);
      first.emit('plotly_click', {points: [{customdata: first.data[0].customdata[0]}]});
    }, 50);
    </script></body>"""
    (tmp_path / "clicked.html").write_text(page.replace("</body>", click))
    shown, log = opened(
        tmp_path / "clicked.html", tmp_path / "profile",
        "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    )  # fmt: skip
    assert faults(log) == []
    assert f'data-opened="points/{plan.points[0].id}/report.html"' in shown
    assert "parcoords" in shown
    assert "WebGL is not supported" not in shown
