"""Every case in configs/ runs.  Apart from the README's tests, so that two processes share them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import COARSE, ROOT, Command

#: A figure that is known of a case, its value and how far off it may be: 1 + 3 f b/(1 - f b) mS/cm, Maxwell's formula,
#: with f = 0.1 and b = (0.1 - 1)/(0.1 + 2).
KNOWN = {"phase_image": ("effective_conductivity", 0.087671, 0.01)}
SIZES = {"spallation": "200 nm", "interface": "200 nm", "spall": "200 nm", "filling": "600 nm"}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "configs").glob("*.yaml")))
def test_every_configuration_runs_coarsely(name: str, command: Command, tmp_path: Path) -> None:
    size = SIZES.get(name)
    more = (f"mesh.size_min={size}",) if size else ()
    done = command("run", ROOT / "configs" / f"{name}.yaml", *more, *COARSE, "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "out" / "result.json").read_text())
    assert max(abs(value) for value in record["identity"].values()) < 1e-7
    if name in KNOWN:
        figure, value, off = KNOWN[name]
        assert record["metrics"][figure]["value"] == pytest.approx(value, rel=off)
