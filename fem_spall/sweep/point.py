"""One point of a sweep, run in this process."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from fem_spall import reuse
from fem_spall.case import Case
from fem_spall.case_file import write_case
from fem_spall.errors import OutputError
from fem_spall.output.files import atomic_text
from fem_spall.progress import Progress
from fem_spall.run import run_case
from fem_spall.sweep.fate import fate_of, note_of, record_hash, result_folder, write_note
from fem_spall.sweep.plan import point_case, read_plan
from fem_spall.sweep.sweep_file import Cache

__all__ = ["run_point"]

#: Seconds for which a point waits for one that is being stopped in the same folder.
PATIENCE = 30.0
IN_USE = 2  # detail of the refusal of a folder that another run holds


def run_point(folder: Path, id: str, progress: Progress | None = None) -> dict[str, Any]:
    """Return the record of a point, run now unless it has a result already.

    Raises
    ------
    SpallError
        Whatever stops the run.
    """
    plan = read_plan(folder)
    point, case = point_case(plan, folder, id)
    fate = fate_of(folder, point)
    if fate.record is not None:
        return fate.record
    _name_store(plan.settings.cache, folder)
    source = folder / "points" / f"{id}.yaml"
    source.parent.mkdir(exist_ok=True)
    atomic_text(source, write_case(_from_points(case, folder)))
    give_up = time.monotonic() + PATIENCE
    while True:
        try:
            record = run_case(
                case, source, result_folder(folder, id), overrides=point.overrides, ranks=plan.settings.ranks,
                overwrite=True, progress=progress,
            )  # fmt: skip
            break
        except OutputError as error:
            if error.detail != IN_USE or time.monotonic() > give_up:
                raise
        time.sleep(0.2)
    written = json.loads((result_folder(folder, id) / "result.json").read_bytes())
    seconds, attempts = written["seconds"]["total"], int(note_of(folder, id).get("attempts", 1))
    note = {"status": "ok", "sha256": record_hash(written), "seconds": seconds, "attempts": attempts}
    write_note(folder, id, note)
    return record


def _name_store(cache: Cache, folder: Path) -> None:
    """Tell the run where stages are kept for reuse; a store that the environment names already stays."""
    if cache.place == "none" or reuse.FOLDER in os.environ:
        return
    place = folder.resolve() / "cache" if cache.place == "sweep" else user_cache_path("fem-spall") / "stages"
    os.environ[reuse.FOLDER], os.environ[reuse.SIZE] = str(place), repr(cache.size)


def _from_points(case: Case, folder: Path) -> Case:
    """The case with its files as they are seen from ``points/``."""
    cracks = []
    for crack in case.cracks:
        file = getattr(crack, "file", None)
        if file is not None:
            file = Path(os.path.relpath(file, folder / "points"))
        cracks.append(crack if file is None else crack.model_copy(update={"file": file}))
    return case.model_copy(update={"cracks": tuple(cracks)})
