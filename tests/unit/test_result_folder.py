"""The result folder: nobody else's files, one run at a time, complete or marked as failed."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fem_spall.errors import CaseError, GeometryError, InputFileError, OutputError
from fem_spall.output.files import atomic, atomic_text, file_entry
from fem_spall.output.folder import OWN, ResultFolder
from fem_spall.run import run_case
from tests.solids import case_of

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def names(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def earlier_run(folder: Path, *, complete: bool = True) -> Path:
    """What a run leaves, a file in each of its folders included."""
    for name in OWN:
        if "." in name:
            (folder / name).write_text("old")
        else:
            (folder / name).mkdir()
            (folder / name / "old").write_text("old")
    (folder / ("failure.json" if complete else "result.json")).unlink()
    return folder


# --- taking a folder --------------------------------------------------------------------------------------------------


def test_a_new_folder_is_made_and_left_without_a_lock(tmp_path: Path) -> None:
    """Bug: parents are missing, or the lock file stays and looks like a running job."""
    with ResultFolder(tmp_path / "a" / "b", overwrite=False) as result:
        result.write_text("case.yaml", "x")
        assert (tmp_path / "a" / "b" / ".lock").exists()
    assert names(tmp_path / "a") == ["b", "b/case.yaml"]


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("foreign", ["thesis.tex", "case.yaml", "mesh", "result.json"])
def test_somebody_else_s_files_are_never_touched(tmp_path: Path, foreign: str, overwrite: bool) -> None:
    """Bug: '-o .' beside the user's own case.yaml and mesh folder deletes both."""
    if "." in foreign:
        (tmp_path / foreign).write_text("years of work")
    else:
        (tmp_path / foreign).mkdir()
        (tmp_path / foreign / "crack.stl").write_text("years of work")
    before = names(tmp_path)
    with pytest.raises(OutputError, match=rf"holds files that are not of a run \({foreign}\)") as refusal:
        ResultFolder(tmp_path, overwrite=overwrite).__enter__()
    assert (refusal.value.exit_code, refusal.value.detail) == (7, 4)
    assert names(tmp_path) == before, "not even a lock is left"


def test_a_result_is_kept_unless_asked(tmp_path: Path) -> None:
    """Bug: a second run overwrites a day's work without a question."""
    before = names(earlier_run(tmp_path))
    with pytest.raises(OutputError, match="holds a result already; add --overwrite") as refusal:
        ResultFolder(tmp_path, overwrite=False).__enter__()
    assert (refusal.value.exit_code, refusal.value.number) == (7, 705)
    assert names(tmp_path) == before


@pytest.mark.parametrize("complete", [False, True])
def test_overwriting_leaves_nothing_old(tmp_path: Path, complete: bool) -> None:
    """Bug: fields or figures of an earlier run stay beside the new numbers; or notes of the user's go with them."""
    earlier_run(tmp_path, complete=complete)
    (tmp_path / "notes.txt").write_text("mine")
    with ResultFolder(tmp_path, overwrite=complete):
        assert names(tmp_path) == [".lock", "notes.txt"]


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    """Bug: two runs write into one folder and mix their results."""
    script = f"""
import sys
from pathlib import Path
from fem_spall.errors import OutputError
from fem_spall.output.folder import ResultFolder
try:
    ResultFolder(Path({str(tmp_path)!r}), overwrite=True).__enter__()
except OutputError as error:
    print(error.number, error)
"""
    with ResultFolder(tmp_path, overwrite=False) as result:
        result.write_text("case.resolved.yaml", "x")
        other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
        assert other.stdout.startswith(f"702 {tmp_path}: is in use by another run")
        assert names(tmp_path) == [".lock", "case.resolved.yaml"]
    with ResultFolder(tmp_path, overwrite=False):
        pass


def test_a_path_that_is_no_folder(tmp_path: Path) -> None:
    """Bug: a file in the place of the folder ends in a traceback."""
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot be used: .*choose another -o folder") as refusal:
        ResultFolder(tmp_path / "file", overwrite=False).__enter__()
    assert refusal.value.detail == 3


def test_a_folder_that_cannot_be_cleared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bug: a read-only file of an earlier run ends in a traceback, with the folder still locked."""
    earlier_run(tmp_path)
    denied = OSError(errno.EACCES, os.strerror(errno.EACCES))

    def refuse(*_: object) -> None:
        raise denied

    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", refuse)
        with pytest.raises(OutputError, match="cannot be used: Permission denied"):
            ResultFolder(tmp_path, overwrite=True).__enter__()
    with ResultFolder(tmp_path, overwrite=True):
        pass


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_file_is_complete_or_absent(tmp_path: Path) -> None:
    """Bug: a full disk leaves half a file, or a file of length zero that looks like one."""
    target = tmp_path / "a.txt"
    target.write_text("before")
    for failure, words in ((FULL, "cannot be written: No space left on device"), (None, "nothing was written")):
        with pytest.raises(OutputError, match=words) as refusal, atomic(target) as aside:  # noqa: PT012
            aside.write_text("" if failure is None else "half")
            if failure is not None:
                raise failure
        assert (refusal.value.exit_code, refusal.value.detail) == (7, 1)
        assert "free disk space" in refusal.value.cure
        assert names(tmp_path) == ["a.txt"]
        assert target.read_text() == "before"
    atomic_text(target, "after")
    assert target.read_text() == "after"


def test_other_errors_leave_nothing_either(tmp_path: Path) -> None:
    """Bug: a mistake while writing leaves its scrap in the result folder."""
    with pytest.raises(ZeroDivisionError, match="by zero"), atomic(tmp_path / "a.vtu") as aside:  # noqa: PT012
        assert aside.suffix == ".vtu", "writers choose by it"
        aside.write_text("half")
        _ = 1 / 0
    assert names(tmp_path) == []


def test_a_missing_folder_is_no_success(tmp_path: Path) -> None:
    """Bug: a folder that was removed meanwhile goes unnoticed."""
    with pytest.raises(OutputError, match="cannot be written"):
        atomic_text(tmp_path / "gone" / "a.txt", "x")


def test_entries_and_the_manifest(tmp_path: Path) -> None:
    """Bug: the manifest lists itself, the lock or the record that is written after it."""
    with ResultFolder(tmp_path, overwrite=False) as result:
        result.write_text("case.yaml", "abc")
        (tmp_path / "fields").mkdir()
        (tmp_path / "fields" / "a.vtu").write_text("")
        listed = result.manifest()
        result.write_record({"x": 1})
        assert result.manifest() == listed
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # SHA-256 of abc, FIPS 180-2
    assert listed[0] == {"path": "case.yaml", "bytes": 3, "sha256": known}
    assert [entry["path"] for entry in listed] == ["case.yaml", "fields/a.vtu"]
    assert json.loads((tmp_path / "manifest.json").read_text()) == listed
    assert file_entry(tmp_path / "case.yaml", tmp_path) == listed[0]


def test_a_record_holds_plain_numbers_only(tmp_path: Path) -> None:
    """Bug: NaN gets into the record, which other programs cannot read; or NumPy's numbers stop it."""
    with ResultFolder(tmp_path, overwrite=False) as result:
        result.write_record({"a": np.float64(1.5), "b": np.int64(2), "c": np.array([1.0, 2.0]), "d": np.True_})
        assert json.loads((tmp_path / "result.json").read_text()) == {"a": 1.5, "b": 2, "c": [1.0, 2.0], "d": True}
        with pytest.raises(ValueError, match="not JSON compliant"):
            result.write_record({"a": float("nan")})
        with pytest.raises(TypeError, match="set cannot go into a record"):
            result.write_record({"a": {1}})
        assert json.loads((tmp_path / "result.json").read_text())["a"] == 1.5, "the old one stays"


def test_inputs_are_copied(tmp_path: Path) -> None:
    """Bug: the folder cannot be rerun elsewhere, because the surface stayed where it was."""
    (tmp_path / "My Crack.STL").write_bytes(b"solid")
    with ResultFolder(tmp_path / "out", overwrite=False) as result:
        assert result.copy_input("a", tmp_path / "My Crack.STL") == Path("inputs/a.stl")
        assert (tmp_path / "out" / "inputs" / "a.stl").read_bytes() == b"solid"
        missing = tmp_path / "missing.stl"
        assert result.copy_input("b", missing) == missing


# --- failures ---------------------------------------------------------------------------------------------------------


def test_a_failure_is_a_record_and_no_result(tmp_path: Path) -> None:
    """Bug: a failed run leaves the result of the one before, or no trace of the reason."""
    with ResultFolder(tmp_path, overwrite=False) as result:
        result.write_text("case.yaml", "x")
        result.write_record({"status": "writing"})
        result.fail(GeometryError(11, "crack a", "misses", "move it"), ["0.1 s mesh\n"])
    failure = json.loads((tmp_path / "failure.json").read_text())
    assert failure == {"status": "failed", "number": 411, "kind": "GeometryError", "where": "crack a",
                       "reason": "misses", "cure": "move it", "faults": []}  # fmt: skip
    assert not (tmp_path / "result.json").exists()
    assert (tmp_path / "log.txt").read_text().startswith("0.1 s mesh\n")
    assert (tmp_path / "case.yaml").exists(), "what was there to look at stays"
    with ResultFolder(tmp_path, overwrite=False):
        assert names(tmp_path) == [".lock"], "a failed run needs no --overwrite"


def test_a_failure_on_a_full_disk_is_no_second_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bug: the refusal is hidden behind the one about its own file."""

    def full(*_: Any) -> None:
        raise FULL

    with ResultFolder(tmp_path, overwrite=False) as result:
        monkeypatch.setattr("os.fsync", full)
        result.fail(CaseError(1, "here", "reason", "cure"), [])
    assert names(tmp_path) == []


def test_the_input_may_not_lie_in_the_folder_to_clear(tmp_path: Path) -> None:
    """Bug: rerunning OUT/case.resolved.yaml into OUT --overwrite deletes the case and its surfaces first."""
    earlier_run(tmp_path)
    before = names(tmp_path)
    with pytest.raises(OutputError, match=r"holds case.resolved.yaml, which the run reads") as refusal:
        run_case(case_of(), tmp_path / "case.resolved.yaml", tmp_path, overwrite=True)
    assert refusal.value.number == 706
    crack = {"name": "a", "kind": "surface_file", "file": str(tmp_path / "inputs" / "old"), "unit": "um"}
    with pytest.raises(OutputError, match="holds old, which the run reads"):
        run_case(case_of(cracks=[crack]), Path("elsewhere.yaml"), tmp_path, overwrite=True)
    assert names(tmp_path) == before


def test_a_refused_run_leaves_its_failure(tmp_path: Path) -> None:
    """Bug: a run that stops before meshing leaves an empty folder."""
    crack = {"name": "a", "kind": "surface_file", "file": str(tmp_path / "missing.stl"), "unit": "um"}
    (tmp_path / "case.yaml").write_text("version: 1\n")
    with pytest.raises(Exception, match=r"missing\.stl") as refusal:
        run_case(case_of(cracks=[crack]), tmp_path / "case.yaml", tmp_path / "out")
    failure = json.loads((tmp_path / "out" / "failure.json").read_text())
    assert failure["kind"] == type(refusal.value).__name__ == "InputFileError"
    assert (tmp_path / "out" / "case.yaml").read_text() == "version: 1\n"


@pytest.mark.parametrize("name", ["loop.stl", "a\0b.stl"])
def test_a_file_that_leads_nowhere_is_refused_as_such(name: str, tmp_path: Path) -> None:
    """Bug: a loop of links or a zero byte in a name is a bug of the program as soon as its folder is looked for."""
    if "\0" not in name:
        (tmp_path / name).symlink_to(tmp_path / name)
    crack = {"name": "a", "kind": "surface_file", "file": str(tmp_path / name), "unit": "um"}
    (tmp_path / "case.yaml").write_text("version: 1\n")
    with pytest.raises(InputFileError, match="cannot be opened"):
        run_case(case_of(cracks=[crack]), tmp_path / "case.yaml", tmp_path / "out")


def test_an_image_that_cannot_be_read_is_refused_before_anything_is_meshed(tmp_path: Path) -> None:
    """Bug: a label image or a mask is opened after minutes of meshing only."""
    phases = [{"label": 1, "conductivity": "1 mS/cm"}]
    image = {"kind": "label_image", "file": str(tmp_path / "missing.tif"), "voxel": ["1 um"] * 3, "phases": phases}
    case = case_of()
    electrolyte = case.electrolyte.model_dump(mode="json") | {"conductivity": image}
    (tmp_path / "case.yaml").write_text("version: 1\n")
    with pytest.raises(InputFileError, match=r"missing\.tif"):
        run_case(case_of(electrolyte=electrolyte), tmp_path / "case.yaml", tmp_path / "out")
    assert not (tmp_path / "out" / "mesh").exists()
    assert "mesh:" not in (tmp_path / "out" / "log.txt").read_text()
