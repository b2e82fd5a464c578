"""One case on several meshes and degrees: how every figure changes, with which order, and what it tends to.

The sizes of the mesh (``size_min``, ``size_max``, ``surface_tolerance``) are enlarged together; the finest mesh is
that of the case.  For a figure f on three meshes, each r times finer than the one before,

    p = log[(f₁ − f₂) / (f₂ − f₃)] / log r,    f = f₃ + (f₃ − f₂) / (r^p − 1)

(Richardson).  An order outside 0.7 to 4.4, or changes of different sign, are not credible: then the limit is not
given, and the error is three times what first order would leave of the larger change.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from fem_spall import __version__
from fem_spall.case import Case
from fem_spall.case_file import case_hash, load_case
from fem_spall.errors import CaseError, Interrupted, OutputError, SpallError
from fem_spall.output.convergence import RUNS, STUDY_FILES, write_study
from fem_spall.progress import Progress, Silent

__all__ = ["Fit", "Plan", "Point", "Settings", "converge", "fit", "plan"]

#: Orders that a fit may have to be believed: those of elements of degree 1 and 2 at edges and on smooth surfaces.
CREDIBLE = (0.7, 4.4)
#: Safety factors on the distance to the limit, of the grid convergence index.
SAFE, UNSAFE = 1.25, 3.0
#: Changes below this part of the figure are rounding and solver tolerance.
ROUNDING = 1e-9

type Runner = Callable[..., dict[str, Any]]


@dataclass(frozen=True)
class Settings:
    """Which meshes and degrees."""

    levels: int = 3
    ratio: float = 2.0
    degrees: tuple[int, ...] = (1, 2)

    def __post_init__(self) -> None:
        if not 3 <= self.levels <= 6:
            reason = f"must be 3 to 6; got {self.levels}"
            raise CaseError(10, "--levels", reason, "an order needs three sizes, and each costs ratio^3 times the last")
        if not 1.2 <= self.ratio <= 4:
            reason = f"must be 1.2 to 4; got {self.ratio:g}"
            raise CaseError(10, "--ratio", reason, "2 is usual; meshes too alike give no order")
        if not self.degrees or set(self.degrees) - {1, 2} or len(set(self.degrees)) < len(self.degrees):
            shown = ",".join(map(str, self.degrees)) or "nothing"
            raise CaseError(10, "--degrees", f"must be 1, 2 or both; got {shown}", "write for instance --degrees 1,2")


@dataclass(frozen=True)
class Point:
    """One run of the study: its mesh and degree, and what became of it."""

    degree: int
    factor: float  # times the sizes of the case
    size: float  # mesh.size_min, m
    overrides: tuple[str, ...]
    status: Literal["pending", "ok", "failed"] = "pending"
    case_hash: str = ""
    why: str = ""
    cells: int = 0
    dofs: int = 0
    seconds: float = 0.0
    metrics: dict[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        """Folder of the run within the study."""
        return f"{RUNS}/P{self.degree}_x{self.factor:.4g}"


@dataclass(frozen=True)
class Plan:
    """What a study will run, coarse to fine for each degree."""

    source: Path
    name: str
    case_hash: str
    settings: Settings
    points: tuple[Point, ...]
    notes: tuple[str, ...]


def plan(source: Path, overrides: Sequence[str], settings: Settings) -> Plan:
    """The points of a study of a case.

    Raises
    ------
    CaseError
        If the case as given is faulty.
    """
    case = load_case(source, overrides)
    sized = case.sized()
    notes = []
    if case.accuracy is not None:
        notes.append("Adaptive refinement is switched off here: the meshes are to differ by their sizes only.")
    if case.mesh.refine_tips and case.cracks:
        notes.append(
            "Tips are refined towards the averaging lengths on every mesh alike, so the focusing factors change less "
            "than the sizes and need not show an order."
        )
    factors = [settings.ratio**level for level in reversed(range(settings.levels))]
    points = tuple(
        _point(
            source, Point(degree, factor, sized.mesh.size_min * factor, _overrides(sized, overrides, degree, factor))
        )
        for degree in sorted(settings.degrees)
        for factor in factors
    )
    return Plan(source, case.name, case_hash(case), settings, points, tuple(notes))


def _point(source: Path, point: Point) -> Point:
    """The point with the fingerprint of its case, or failed where that case is refused."""
    try:
        return replace(point, case_hash=case_hash(load_case(source, point.overrides)))
    except SpallError as error:
        return replace(point, status="failed", why=_why(error))


def _overrides(case: Case, given: Sequence[str], degree: int, factor: float) -> tuple[str, ...]:
    """Overrides that make the case coarser and set its degree."""
    mesh = case.mesh
    sizes = {"size_min": mesh.size_min, "size_max": mesh.size_max, "surface_tolerance": mesh.surface_tolerance}
    found = [f"mesh.{key}={size * factor * 1e9:.10g} nm" for key, size in sizes.items() if size is not None]
    found.append(f"solver.degree={degree}")
    if degree == 1 and mesh.order == 2:
        found.append("mesh.order=1")
    if case.accuracy is not None:
        found.append("accuracy=none")
    return (*given, *found)


def converge(
    study: Plan, folder: Path, *, ranks: int = 1, progress: Progress | None = None, runner: Runner | None = None
) -> dict[str, Any]:
    """Record of the study, written to ``convergence.json``, ``.csv``, ``.png`` and ``.html`` of the folder.

    Points that a former study of the same case left finished are taken as they are.  A point that ends in a refusal
    is recorded and the others go on.

    Raises
    ------
    OutputError
        If the folder holds something else or is in use.
    Interrupted
        If the user asked to stop; what is finished by then is written.
    """
    from fem_spall.run import run_case

    told = progress or Silent()
    points = list(study.points)
    with _own(folder):
        # First with every point pending, so that the reports of the runs find their study.
        write_study(folder, _record(study, points), picture=False)
        try:
            for index, point in enumerate(points):
                told.stage(f"P{point.degree}, {point.size * 1e9:.4g} nm", f"point {index + 1} of {len(points)}")
                points[index] = _run(study, point, folder, ranks, runner or run_case)
                if points[index].status == "failed":
                    told.note(f"failed: {points[index].why}")
                write_study(folder, _record(study, points), picture=False)
        except (KeyboardInterrupt, Interrupted):
            reason = "was interrupted; the points that had run are kept"
            raise Interrupted(4, "converge", reason, "start it again and it goes on from there") from None
        finally:
            told.done()
            record = _record(study, points)
            write_study(folder, record, picture=any(point.status == "ok" for point in points))
    return record


@contextmanager
def _own(folder: Path) -> Iterator[None]:
    """Hold the folder of a study; refuse one of somebody else."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", timeout=0)
        lock.acquire()
    except Timeout:
        raise OutputError(2, str(folder), "is in use by another study", "wait for it or choose another -o") from None
    except OSError as error:
        raise OutputError(3, str(folder), f"cannot be used: {error.strerror}", "choose another -o folder") from None
    try:
        foreign = sorted(p.name for p in folder.iterdir() if p.name not in STUDY_FILES and not p.name.startswith("."))
        if foreign:
            reason = f"holds files that are not of a study ({', '.join(foreign[:3])})"
            raise OutputError(4, str(folder), reason, "choose an empty -o folder, or that of an earlier study")
        yield
    finally:
        (folder / ".lock").unlink(missing_ok=True)
        lock.release()


def _run(study: Plan, point: Point, folder: Path, ranks: int, runner: Runner) -> Point:
    """The point after its run, or after reading the run that is there."""
    if point.status == "failed":
        return point
    place = folder / point.folder
    record = _finished(place, point.case_hash)
    try:
        if record is None:
            case = load_case(study.source, point.overrides)
            place.parent.mkdir(exist_ok=True)
            record = runner(case, study.source, place, overrides=point.overrides, ranks=ranks, overwrite=True)
    except Interrupted:
        raise
    except SpallError as error:
        return replace(point, status="failed", why=_why(error))
    metrics = {
        name: {key: metric.get(key) for key in ("value", "unit", "error", "flag", "averaging_length_m")}
        for name, metric in record["metrics"].items()
    }
    mesh = record["mesh"]
    return replace(
        point, status="ok", cells=mesh["cells"], dofs=mesh["dofs"], seconds=record["seconds"]["total"], metrics=metrics
    )


def _why(error: SpallError) -> str:
    return f"E{error.number}: {error.where}: {error.reason}"


def _finished(place: Path, fingerprint: str) -> dict[str, Any] | None:
    """Record of a complete run of the same case by the same program, if the folder holds one."""
    try:
        record: dict[str, Any] = json.loads((place / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    same = (record.get("status"), record.get("case_hash"), record.get("version")) == ("ok", fingerprint, __version__)
    return record if same else None


@dataclass(frozen=True)
class Fit:
    """Order of a figure on the three finest meshes, what it tends to, and its error on the finest."""

    order: float | None
    credible: bool
    limit: float | None
    error: float | None
    why: str = ""


def fit(values: Sequence[float], ratio: float) -> Fit:
    """Fit of a figure on meshes each ``ratio`` times finer than the one before, coarse to fine."""
    if len(values) < 3:
        return Fit(None, False, None, None, "it was given on fewer than three meshes")
    first, second, third = values[-3:]
    coarse, fine = second - first, third - second
    if max(abs(coarse), abs(fine)) <= ROUNDING * max(abs(value) for value in values[-3:]):
        return Fit(None, True, third, max(abs(coarse), abs(fine)), "it does not change with the mesh")
    careful = UNSAFE * max(abs(fine), abs(coarse) / ratio) / (ratio - 1)
    if coarse * fine <= 0:
        return Fit(None, False, None, careful, "it does not change in one direction")
    order = math.log(coarse / fine) / math.log(ratio)
    if not CREDIBLE[0] <= order <= CREDIBLE[1]:
        low, high = CREDIBLE
        return Fit(order, False, None, careful, f"an order of {order:.2g} is outside {low:g} to {high:g}")
    change = fine / (ratio**order - 1)
    return Fit(order, True, third + change, SAFE * abs(change))


def _record(study: Plan, points: Sequence[Point]) -> dict[str, Any]:
    """Content of ``convergence.json``: the points, and the fit of every figure at every degree."""
    settings = study.settings
    fits = []
    for degree in sorted(settings.degrees):
        series = [point for point in points if point.degree == degree]
        while series and series[-1].status != "ok":
            series.pop()
        done = _unbroken(series, lambda point: point.status == "ok")
        for name, metric in done[-1].metrics.items() if done else ():
            if metric.get("value") is None or metric.get("flag"):
                continue
            entries = _unbroken([point.metrics.get(name, {}) for point in done], _given)
            found = fit([entry["value"] for entry in entries], settings.ratio)
            fits.append({
                "metric": name, "degree": degree, "unit": metric.get("unit"), "finest": metric["value"],
                "finest_factor": done[-1].factor, "stated_error": metric.get("error"),
                "averaging_length_m": metric.get("averaging_length_m"), **asdict(found),
            })  # fmt: skip
    names = list(dict.fromkeys(entry["metric"] for entry in reversed(fits)))[::-1]  # as at the highest degree
    return {
        "name": study.name,
        "version": __version__,
        "source": study.source.name,
        "case_hash": study.case_hash,
        "settings": asdict(settings),
        "notes": list(study.notes),
        "complete": all(point.status != "pending" for point in points),
        "points": [asdict(point) | {"folder": point.folder} for point in points],
        "fits": sorted(fits, key=lambda entry: (names.index(entry["metric"]), entry["degree"])),
    }


def _given(entry: dict[str, Any]) -> bool:
    return entry.get("value") is not None


def _unbroken[T](items: Sequence[T], good: Callable[[T], bool]) -> list[T]:
    """The good items at the end, up to the first that is not: meshes that differ by the ratio without a gap."""
    return list(takewhile(good, reversed(items)))[::-1]
