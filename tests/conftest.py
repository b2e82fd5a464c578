"""Shared fixtures: the command as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).parent.parent
# As coarse as each case allows; meshes and solves for real.
COARSE = ("mesh.refine_tips=false", "solver.degree=1", "output.pictures=false", "output.report=false")

# The same examples in every run: a check that fails must fail again.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

type Command = Callable[..., subprocess.CompletedProcess[str]]


def fem_spall(*arguments: object, timeout: float = 580, **options: object) -> subprocess.CompletedProcess[str]:
    """Run ``fem-spall ARGUMENTS`` in a child process without a terminal."""
    command = [sys.executable, "-m", "fem_spall", *(str(a) for a in arguments)]
    environment = {**os.environ, "COLUMNS": "120", "NO_COLOR": "1"}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=timeout, check=False, stdin=subprocess.DEVNULL,
        env=environment, **options,  # type: ignore[call-overload]
    )  # fmt: skip


@pytest.fixture(scope="session")
def command() -> Command:
    """The command line program."""
    return fem_spall


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT
