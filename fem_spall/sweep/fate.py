"""What became of a point, read from the files of the sweep's folder, which alone are the truth.

A point's files are ``points/ID/`` (an ordinary result folder), ``points/ID.yaml`` (its case), ``points/ID.log`` (what
it printed) and ``points/ID.json`` (a note of whoever supervised it).  Only a ``result.json`` that is whole, says
``ok``, is of this case and this program, and whose files are all there counts as a result.
"""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fem_spall import __version__
from fem_spall.output.files import atomic_text
from fem_spall.sweep.plan import Point

__all__ = ["Fate", "failure_text", "fate_of", "note_of", "record_hash", "result_folder", "write_note"]


@dataclass(frozen=True)
class Fate:
    """What became of a point: its record if it has a result, else why not."""

    status: Literal["ok", "failed", "running", "pending"]
    reason: str = ""
    seconds: float = 0.0
    attempts: int = 0
    record: dict[str, Any] | None = None


def result_folder(folder: Path, id: str) -> Path:
    """Result folder of a point."""
    return folder / "points" / id


def write_note(folder: Path, id: str, note: Mapping[str, Any]) -> None:
    """Write the note on a point."""
    atomic_text(folder / "points" / f"{id}.json", json.dumps(note, indent=1) + "\n")


def note_of(folder: Path, id: str) -> dict[str, Any]:
    """The note on a point, empty where there is none that can be read."""
    return _read(folder / "points" / f"{id}.json")


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def fate_of(folder: Path, point: Point) -> Fate:
    """Return what became of a point."""
    note = note_of(folder, point.id)
    attempts, seconds = int(note.get("attempts", 0)), float(note.get("seconds", 0.0))
    record, fault = _result(result_folder(folder, point.id), point, note)
    if record is not None:
        accuracy = record.get("accuracy")
        if isinstance(accuracy, dict) and accuracy.get("required") and not accuracy.get("met"):
            reason = f"the accuracy it requires is not met: {accuracy.get('stopped')}"
            return Fate("failed", reason, seconds, attempts)
        return Fate("ok", "", float(record["seconds"]["total"]), attempts, record)
    if note.get("status") == "running":
        if _alive(note):
            return Fate("running", "", seconds, attempts)
        return Fate("pending", "it was stopped before it was complete", seconds, attempts)
    if note.get("status") == "failed":
        return Fate("failed", str(note.get("reason", "")), seconds, attempts)
    failure = _read(result_folder(folder, point.id) / "failure.json")
    if failure:
        return Fate("failed", failure_text(failure), seconds, attempts)
    return Fate("pending", fault, seconds, attempts)


def record_hash(record: Mapping[str, Any]) -> str:
    """Hash of what a record says; its list of files may change when the report is written once more."""
    said = {key: value for key, value in record.items() if key not in ("files", "warnings", "seconds")}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def failure_text(failure: Mapping[str, Any]) -> str:
    """One line of a ``failure.json``."""
    return f"E{failure.get('number')}: {failure.get('where')}: {failure.get('reason')}; {failure.get('cure')}"


def _result(place: Path, point: Point, note: Mapping[str, Any]) -> tuple[dict[str, Any] | None, str]:
    """Record of a point if it counts; else why what is there does not."""
    try:
        data = (place / "result.json").read_bytes()
    except OSError:
        return None, ""
    try:
        record = json.loads(data)
        if record["status"] != "ok" or record["case_hash"] != point.case_hash:
            return None, "its result is not complete, or of another case"
        if record["version"] != __version__:
            return None, f"its result is of version {record['version']}"
        float(record["seconds"]["total"])
        if "sha256" in note and note["sha256"] != record_hash(record):
            return None, "its result has been changed since it was written"
        for entry in record["files"]:
            if (place / entry["path"]).stat().st_size != entry["bytes"]:
                return None, f"its file {entry['path']} has been changed since it was written"
    except (ValueError, KeyError, TypeError) as error:
        return None, f"its result cannot be read ({error})"
    except OSError as error:
        return None, f"a file of its result is missing ({Path(str(error.filename)).name})"
    return record, ""


def _alive(note: Mapping[str, Any]) -> bool:
    """Whether the process that a note names still runs; on another host it is taken at its word."""
    import psutil

    if note.get("host") != socket.gethostname():
        return True
    try:
        process = psutil.Process(int(note["pid"]))
        same = abs(process.create_time() - float(note["born"])) < 1
        return bool(same and process.status() != psutil.STATUS_ZOMBIE)
    except (psutil.Error, KeyError, TypeError, ValueError):
        return False
