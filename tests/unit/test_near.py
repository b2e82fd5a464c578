"""Points by their place, few of them and many."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import cKDTree

from fem_spall import near
from fem_spall.near import Places
from tests.conftest import ROOT


@pytest.mark.parametrize("few", [0, 1 << 20])
def test_few_are_found_as_many_are(monkeypatch: pytest.MonkeyPatch, few: int) -> None:
    """Bug: what is within the reach, or nearest, depends on how many points there are."""
    monkeypatch.setattr(near, "FEW", few)
    random = np.random.default_rng(1)
    points, places = random.random((60, 3)), random.random((40, 3))
    tree, reach = cKDTree(points), 0.2
    distance, number = Places(points).nearest(places, reach)
    known, expected = tree.query(places)
    assert (np.isfinite(distance) == (known < reach)).all()
    assert 5 < np.isfinite(distance).sum() < 35
    close = np.isfinite(distance)
    assert distance[close] == pytest.approx(known[close], rel=1e-12)
    assert (number[close] == expected[close]).all()
    place, point = Places(points).within(places, reach)
    lists = tree.query_ball_point(places, reach, return_sorted=True)
    assert [point[place == k].tolist() for k in range(len(places))] == [list(some) for some in lists]
    assert place.dtype == point.dtype == number.dtype == np.int64


@pytest.mark.parametrize("count", [0, 3])
def test_there_may_be_no_points(count: int) -> None:
    """Bug: an empty set of obstacles, or nothing asked for, ends in an error."""
    distance, _ = Places(np.empty((0, 3))).nearest(np.zeros((count, 3)))
    assert distance.tolist() == [np.inf] * count
    assert Places(np.zeros((count, 3))).nearest(np.empty((0, 3)))[1].size == 0
    assert Places(np.zeros((count, 3))).within(np.empty((0, 3)), 1.0)[0].size == 0


def test_few_take_no_scipy() -> None:
    """Bug: the import that is to be saved is made all the same."""
    code = """
import sys, numpy as np
from fem_spall.near import Places
from tests.conftest import ROOT
Places(np.zeros((9, 3))).within(np.ones((9, 3)), 1.0)
"""
    assert (
        subprocess.run([sys.executable, "-c", code + "sys.exit('scipy' in sys.modules)"], check=False).returncode == 0
    )


def test_a_small_run_takes_no_scipy(tmp_path: Path) -> None:
    """Bug: some module imports it for one line, and each point of a sweep pays a tenth of a second."""
    code = (
        "import sys\nfrom fem_spall.cli import main\n"
        f"sys.argv = ['fem-spall', 'run', {str(ROOT / 'benchmarks/12b_adaptive_boss/case.yaml')!r}, "
        f"'mesh.size_min=1.2 um', 'accuracy={{target: 5 %, metrics: [fef_tip]}}', '-o', {str(tmp_path / 'out')!r}]\n"
        "try:\n    code = main()\nexcept SystemExit as end:\n    code = end.code\n"
        "sys.exit(code or 'scipy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
