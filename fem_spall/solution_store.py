"""Solutions kept for reuse: the record of a solve and the files that it wrote."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fem_spall.case import Case
from fem_spall.case_file import input_hashes
from fem_spall.output.files import atomic_bytes
from fem_spall.reuse import Arrays, as_bytes, as_json, key_of, reused

__all__ = ["kept_solution"]

RECORD = "record"


def kept_solution(
    case: Case, mesh: str, ranks: int, folder: Path, solve: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """Return the record of a solve on a mesh, its files written into the folder: kept from before, or made now.

    Parameters
    ----------
    case : Case
        What is solved; its name, pictures and report do not matter, nor where its files lie.
    mesh : str
        Identity of the mesh.
    ranks : int
        MPI ranks, which change the last digits.
    folder : Path
        Result folder.
    solve : callable
        Solves, writes its files into the folder and returns the record.
    """
    before = _listing(folder)

    def key() -> str:
        plain = case.model_dump(mode="json", exclude={"name": True, "output": {"pictures", "report"}})
        for crack in plain["cracks"]:
            crack.pop("file", None)  # the mesh has its surface
        for region in plain["regions"]:
            region.pop("file", None)
        plain["electrolyte"]["conductivity"].pop("file", None)
        return key_of([plain, ranks, input_hashes(case.electrolyte), mesh])

    def pack(record: dict[str, Any]) -> Arrays:
        after = _listing(folder)
        files = {name: (folder / name).read_bytes() for name in after if after[name] != before.get(name)}
        return {RECORD: as_bytes(record), **{name: np.frombuffer(data, np.uint8) for name, data in files.items()}}

    def unpack(entry: Arrays) -> dict[str, Any]:
        for name, data in entry.items():
            if name != RECORD:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                atomic_bytes(folder / name, data.tobytes())
        record: dict[str, Any] = as_json(entry[RECORD])
        return record

    return reused("solve", key, solve, pack, unpack)


def _listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Time and size of every file of a folder."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {path.relative_to(folder).as_posix(): (path.stat().st_mtime_ns, path.stat().st_size) for path in files}
