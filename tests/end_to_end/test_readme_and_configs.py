"""What is written for users runs: the code blocks of the README and every file in configs/."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, Command

BLOCKS = re.findall(r"```(\w+)\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
PREFIX = "python -m pip install -q uv && python -m uv run "
# As coarse as each case allows; meshes and solves for real.
COARSE = ("mesh.refine_tips=false", "solver.degree=1", "output.pictures=false", "output.report=false")
SIZES = {"spallation": "200 nm", "interface": "200 nm", "spall": "200 nm", "filling": "600 nm"}


def test_the_readme_has_the_two_commands() -> None:
    bash = [block for kind, block in BLOCKS if kind == "bash"]
    assert bash[0].strip() == PREFIX + "fem-spall run configs/quickstart.yaml"
    assert bash[1].strip() == PREFIX + "pytest"
    assert bash[1].strip() in (ROOT / ".ci" / "run").read_text()


@pytest.mark.slow
def test_the_first_command_leaves_a_complete_result(command: Command, tmp_path: Path) -> None:
    """Run from a folder of its own, with the default output folder."""
    done = command("run", ROOT / "configs" / "quickstart.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "results" / "quickstart"
    record = json.loads((folder / "result.json").read_text())
    assert record["status"] == "ok"
    assert record["metrics"]["fef_r250nm"]["value"] > 1
    assert record["metrics"]["fef_r250nm"]["error"] is not None
    for name in ("report.html", "figures/section.png", "figures/crack.png", "figures/flux_distribution.png"):
        assert (folder / name).stat().st_size > 10_000, name


@pytest.mark.slow
def test_the_commands_for_an_own_crack_run(command: Command, tmp_path: Path) -> None:
    lines = next(block for kind, block in BLOCKS if kind == "bash" and "inspect" in block).strip().splitlines()
    (tmp_path / "meshes").symlink_to(ROOT / "meshes")
    for line in lines:
        arguments = shlex.split(line)
        assert arguments[0] == "fem-spall"
        quick = COARSE if arguments[1] == "run" else ()
        done = command(*arguments[1:], *quick, cwd=tmp_path)
        assert done.returncode == 0, f"{line}: {done.stderr}"


@pytest.mark.slow
def test_the_commands_that_prove_figures_run(command: Command, tmp_path: Path) -> None:
    lines = next(block for kind, block in BLOCKS if kind == "bash" and "converge" in block).strip().splitlines()
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    for line in lines:
        arguments = shlex.split(line)
        assert arguments[0] == "fem-spall"
        quick = COARSE[:1] + COARSE[2:] if arguments[1] == "converge" else ("--list",)  # the tests run them all
        done = command(*arguments[1:], *quick, cwd=tmp_path)
        assert done.returncode == 0, f"{line}: {done.stderr}"


@pytest.mark.slow
def test_the_python_block_runs(tmp_path: Path) -> None:
    (block,) = (block for kind, block in BLOCKS if kind == "python")
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    done = subprocess.run(
        [sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["unit"] == "A"


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "configs").glob("*.yaml")))
def test_every_configuration_runs_coarsely(name: str, command: Command, tmp_path: Path) -> None:
    size = SIZES.get(name)
    more = (f"mesh.size_min={size}",) if size else ()
    done = command("run", ROOT / "configs" / f"{name}.yaml", *more, *COARSE, "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "out" / "result.json").read_text())
    assert max(abs(value) for value in record["identity"].values()) < 1e-7
