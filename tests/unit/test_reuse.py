"""The store of stages: hits, damage, limits, two processes at once; what may share a mesh."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fem_spall import reuse
from fem_spall.case import Case
from fem_spall.case_file import load_case
from fem_spall.mesh.child import _shaping
from fem_spall.reuse import Store, key_of, reused
from fem_spall.run import build_surfaces
from tests.conftest import ROOT

KEY = "ab" * 32


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv(reuse.FOLDER, str(tmp_path / "store"))
    found = Store.of_environment()
    assert found is not None
    return found


class Maker:
    """A stage that counts how often it is made."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, key: str = KEY) -> float:
        return reused(
            "stage", lambda: key, self._make, lambda value: {"x": np.array([value])}, lambda a: float(a["x"][0])
        )

    def _make(self) -> float:
        self.times += 1
        return 1 / 3


def test_a_result_is_made_once(store: Store) -> None:
    # Catches: a store that never hits, or that answers one key with another's result.
    make = Maker()
    assert [make(), make(), make("cd" * 32)] == [1 / 3] * 3
    assert make.times == 2


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "pickle"])
def test_a_damaged_entry_is_made_anew(store: Store, damage: str) -> None:
    # Catches: a truncated or changed entry that is used, or that ends in a traceback; code in a pickle.
    make = Maker()
    make()
    path = store.path("stage", KEY)
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
    if damage == "pickle":
        store.put("stage", KEY, {"x": np.array([{"a": 1}], dtype=object)})
        data = bytearray(path.read_bytes())
    path.write_bytes({"cut": data[:-9], "empty": b""}.get(damage, data))
    assert make() == 1 / 3
    assert make.times == 2
    assert make() == 1 / 3
    assert make.times == 2, "the new entry is whole"


def test_the_least_used_goes_when_the_store_is_full(store: Store) -> None:
    # Catches: a limit that is not kept, or that takes the entry just read.
    store.size = 40_000
    block = {"x": np.zeros(1000)}
    for key in ("aa" * 32, "bb" * 32, "cc" * 32, "dd" * 32):
        store.put("stage", key, block)
    assert store.get("stage", "aa" * 32) is not None
    store.put("stage", "ee" * 32, block)
    left = {path.stem[:2] for path in store.folder.rglob("*.entry")}
    assert left == {"aa", "cc", "dd", "ee"}
    assert not store.put("stage", "ff" * 32, {"x": np.zeros(100_000)}), "larger than a quarter of the store"


def test_a_store_that_cannot_be_written_costs_nothing_but_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Catches: a full disk in the cache that stops the run.
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv(reuse.FOLDER, str(tmp_path / "file" / "store"))
    make = Maker()
    assert [make(), make()] == [1 / 3] * 2
    assert make.times == 2


def test_two_processes_fill_one_entry_once(tmp_path: Path) -> None:
    # Catches: both of two points that start together meshing the same.
    code = (
        "import time, numpy as np\nfrom fem_spall.reuse import reused\n"
        "def make():\n    print('made', flush=True); time.sleep(1); return 5.0\n"
        f"print(reused('s', lambda: {KEY!r}, make, lambda v: {{'x': np.array([v])}}, lambda a: float(a['x'][0])))"
    )
    environment = {**os.environ, reuse.FOLDER: str(tmp_path)}
    two = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True) for _ in "ab"
    ]
    told = [process.communicate(timeout=120)[0].split() for process in two]
    assert sorted(len(words) for words in told) == [1, 2]
    assert {words[-1] for words in told} == {"5.0"}


def case(*overrides: str) -> Case:
    return load_case(ROOT / "configs" / "resistance.yaml", overrides)


@pytest.mark.parametrize(
    ("override", "same"),
    [
        ("cracks.boss.interface.value=7 ohm cm^2", True), ("electrolyte.conductivity=3 mS/cm", True),
        ("electrodes.counter.drive.current_density=2 mA/cm^2", True), ("metrics.averaging_lengths=[3 um]", True),
        ("name=other", True), ("solver.degree=1", False), ("mesh.size_min=500 nm", False), ("mesh.grading=1.4", False),
        ("cracks.boss.depth=2 um", False), ("electrolyte.size.0=25 um", False),
    ],
)  # fmt: skip
def test_what_may_share_a_mesh(override: str, same: bool) -> None:
    # Catches: a changed R_int that meshes again; a changed shape that gets the mesh of another.
    assert (key_of(_shaping(case())) == key_of(_shaping(case(override)))) is same
    assert Case.model_validate(_shaping(case(override))).block == case(override).block


def test_a_surface_comes_back_as_it_was(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Catches: a surface from the store that differs in a bit, its repairs lost, a changed file that is not noticed.
    file = tmp_path / "crack.stl"
    file.write_bytes((ROOT / "meshes" / "crack.stl").read_bytes())
    crack = (
        f"cracks=[{{name: s, kind: surface_file, file: {file}, unit: um, place: {{centre: [12 um, 12 um, 38 um]}}}}]"
    )
    first: Any = build_surfaces(case(crack))["s"]
    reuse.taken.clear()
    again: Any = build_surfaces(case(crack))["s"]
    assert reuse.taken == ["surface"]
    assert (again.sha256, again.repairs, again.provenance) == (first.sha256, first.repairs, first.provenance)
    build_surfaces(case(crack.replace("12 um, 38", "11 um, 38")))
    assert reuse.taken == ["surface"]
    file.write_bytes(file.read_bytes()[:80] + file.read_bytes()[80:])
    build_surfaces(case(crack))
    assert reuse.taken == ["surface", "surface"], "the same content is the same file"
