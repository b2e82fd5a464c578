"""The files of a convergence study: ``convergence.json``, ``.csv``, ``.png`` and ``.html``, from one record."""

from __future__ import annotations

import base64
import csv
import io
import json
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fem_spall.output.files import atomic, atomic_text
from fem_spall.output.formulas import label, shown_unit
from fem_spall.output.page import page, section
from fem_spall.output.tables import table, text
from fem_spall.output.wording import rounded, with_error

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["RUNS", "STUDY_FILES", "find_study", "write_study"]

RUNS = "runs"
RECORD, PAGE = "convergence.json", "convergence.html"
#: What a study writes at the top of its folder.
STUDY_FILES = {RUNS, RECORD, PAGE, "convergence.csv", "convergence.png"}
#: Figures in the plot, the first ones that there are.
PLOTTED = (
    r"fef_r", r"fef_tip", r"edge_flux_intensity$", r"crack_current$", r"capture_ratio", r"electrode_advance",
    r"total_current", r"resistance", r"flux_q\d+$",
)  # fmt: skip
PANELS = 12
#: Relative distances below this are rounding.
NOTHING = 1e-12


def write_study(folder: Path, record: dict[str, Any], *, picture: bool) -> Path:
    """Return the page of a study, written with its table, its record and, if asked for, its picture."""
    atomic_text(folder / RECORD, json.dumps(record, indent=1, allow_nan=False) + "\n")
    atomic_text(folder / "convergence.csv", _csv(record))
    if picture:
        _draw(record, folder / "convergence.png")
    return atomic_text(folder / PAGE, _page(folder, record))


def find_study(folder: Path, fingerprint: str) -> str | None:
    """Relative address of the page of a study that ran the case of a result folder; None where there is none.

    Looked for are the study that the run is a point of, one inside the folder (``convergence/``) and one beside it
    (``NAME_convergence/``); their record must name the run's case.
    """
    places = [folder / "convergence", folder.parent / f"{folder.name}_convergence"]
    if folder.parent.name == RUNS:
        places.insert(0, folder.parent.parent)
    for place in places:
        try:
            record = json.loads((place / RECORD).read_text(encoding="utf-8"))
            cases = {record["case_hash"], *(point["case_hash"] for point in record["points"])}
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if fingerprint in cases - {""}:
            return Path(os.path.relpath(place / PAGE, folder)).as_posix()
    return None


def _csv(record: dict[str, Any]) -> str:
    """One row per figure and point."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["metric", "unit", "degree", "size_min_m", "cells", "unknowns", "seconds", "value", "error"])
    for point in record["points"]:
        for name, entry in point["metrics"].items():
            if entry.get("value") is not None:
                error = "" if entry.get("error") is None else entry["error"]
                row = (name, entry.get("unit"), point["degree"], f"{point['size']:.6g}", point["cells"], point["dofs"])
                writer.writerow([*row, f"{point['seconds']:.2f}", repr(entry["value"]), error])
    return stream.getvalue()


# --- picture ---------------------------------------------------------------------------------------------------------


def _draw(record: dict[str, Any], path: Path) -> None:
    """Distance of each figure from what it tends to against the size of the mesh, one panel a figure."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = _plotted(record)
    columns = min(4, max(len(names), 1))
    rows = max(math.ceil(len(names) / columns), 1)
    with mpl.rc_context({"font.family": "DejaVu Sans", "font.size": 8, "axes.titlesize": 8, "legend.fontsize": 7}):
        figure = Figure(figsize=(2.9 * columns, 2.5 * rows), layout="constrained")
        FigureCanvasAgg(figure)
        for number, name in enumerate(names):
            _panel(figure.add_subplot(rows, columns, number + 1), record, name)
        figure.supxlabel("smallest size of the mesh, nm", fontsize=8)
        figure.supylabel("relative distance from the limit", fontsize=8)
        with atomic(path) as aside:
            figure.savefig(aside, dpi=150, metadata={"Software": None})


def _plotted(record: dict[str, Any]) -> list[str]:
    fitted = list(dict.fromkeys(entry["metric"] for entry in record["fits"]))
    found = dict.fromkeys(name for pattern in PLOTTED for name in fitted if re.match(pattern, name))
    return [name for name in found if sum(len(_series(record, name, degree)) for degree in (1, 2)) > 1][:PANELS]


def _series(record: dict[str, Any], name: str, degree: int) -> list[tuple[float, float]]:
    """Sizes in nm and relative distances of a figure from what it tends to; that reference itself is left out."""
    reference = _reference(record, name)
    if reference is None:
        return []
    pairs = (
        (point["size"] * 1e9, abs(point["metrics"][name]["value"] / reference[0] - 1))
        for point in record["points"]
        if point["degree"] == degree and point["metrics"].get(name, {}).get("value") is not None
    )
    return [(size, distance) for size, distance in pairs if distance > NOTHING]


def _reference(record: dict[str, Any], name: str) -> tuple[float, bool] | None:
    """What a figure tends to: the limit at the highest degree with a credible one, else the finest value."""
    fits = [entry for entry in record["fits"] if entry["metric"] == name]
    limits = [entry["limit"] for entry in fits if entry["limit"]]
    return (limits[-1], True) if limits else (fits[-1]["finest"], False) if fits and fits[-1]["finest"] else None


def _panel(axes: Axes, record: dict[str, Any], name: str) -> None:
    from matplotlib.ticker import NullFormatter

    for degree, colour, mark in ((1, "#c0561f", "o"), (2, "#5b2a86", "s")):
        if series := _series(record, name, degree):
            fits = (e for e in record["fits"] if e["metric"] == name and e["degree"] == degree and e["credible"])
            order = next((entry["order"] for entry in fits), None)
            shown = f"P{degree}" + (f", order {order:.1f}" if order is not None else "")
            axes.loglog(*zip(*series, strict=True), color=colour, marker=mark, markersize=4, linewidth=1, label=shown)
    reference = _reference(record, name)
    axes.set_title(name if reference and reference[1] else f"{name}\n(against the finest)", loc="left")
    sizes = sorted({point["size"] * 1e9 for point in record["points"]})
    axes.set_xticks(sizes, [f"{size:.3g}" for size in sizes])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.legend(frameon=False)


# --- page ------------------------------------------------------------------------------------------------------------


def _page(folder: Path, record: dict[str, Any]) -> str:
    picture = folder / "convergence.png"
    data = base64.b64encode(picture.read_bytes()).decode() if picture.is_file() else ""
    shown = (
        f'<figure><img src="data:image/png;base64,{data}" alt="Distance of each figure from its limit against the size '
        'of the mesh, on logarithmic scales"></figure>'
        if data and any(point["status"] == "ok" for point in record["points"])
        else "<p>No point has run yet.</p>"
    )
    body = (
        "".join(f"<p>{sentence}</p>" for sentence in _sentences(record))
        + section("orders", "What the figures tend to", _fits(record))
        + section("plot", "Change with the mesh", shown)
        + section("points", "Points", _points(folder, record))
    )
    return page(
        f"Convergence: {record['name']}",
        text(f"fem-spall {record['version']} · case {record['case_hash'][:12]}"),
        body,
        f"Written by fem-spall {record['version']}. Numbers: convergence.json and convergence.csv.",
    )


def _sentences(record: dict[str, Any]) -> Iterator[str]:
    settings = record["settings"]
    yield (
        f"{settings['levels']} meshes, each {settings['ratio']:g} times finer than the one before, with elements of "
        f"degree {' and '.join(map(str, settings['degrees']))}. The finest is that of the case."
    )
    for entry in record["notes"]:
        yield text(entry)
    if not record["complete"]:
        yield "The study is not complete: points are still to run."
    if failed := [point for point in record["points"] if point["status"] == "failed"]:
        yield f"{len(failed)} of {len(record['points'])} points failed; the table of points says why."
    raw = [
        point["metrics"]["max_field_on_mesh"]["value"] for point in record["points"]
        if point["degree"] == max(settings["degrees"]) and point["metrics"].get("max_field_on_mesh", {}).get("value")
    ]  # fmt: skip
    if len(raw) > 1:
        change = 100 * (raw[-1] / raw[-2] - 1)
        yield (
            f"The largest |E| on the mesh changes by {change:+.1f} % from the last mesh but one to the finest. At an "
            "edge it has no limit and is no result."
        )


def _fits(record: dict[str, Any]) -> str:
    rows = []
    for entry in record["fits"]:
        unit, factor = shown_unit(entry["metric"], entry)
        number, error = with_error(entry["finest"] * factor, _number(entry["error"]) * factor)
        stated = _number(entry["stated_error"]) * factor
        limit = _number(entry["limit"]) * factor
        within = abs(limit - entry["finest"] * factor) <= stated
        verdict = "" if not (math.isfinite(stated) and math.isfinite(limit)) else "yes" if within else "no"
        order = f"{entry['order']:.2f}" if entry["order"] is not None and entry["credible"] else ""
        rows.append([
            f"{text(label(entry['metric'], entry))}<br><code>{text(entry['metric'])}</code>", f"P{entry['degree']}",
            number + (f" ± {error}" if error else ""), text(unit), order,
            rounded(limit, 6) if math.isfinite(limit) else "",
            rounded(stated, 2) if math.isfinite(stated) else "", verdict, text(entry["why"]),
        ])  # fmt: skip
    if not rows:
        return "<p>There is nothing to compare yet.</p>"
    head = ["Figure", "Degree", "Finest mesh", "Unit", "Order", "Tends to", "Error stated", "Limit within it", "Remark"]
    caption = (
        "The error of the finest mesh is that of the fit: 1.25 times the distance to the limit, or where no order is "
        "credible three times what first order would leave. The error stated is that of the run on its own."
    )
    return table(caption, head, rows, "study")


def _points(folder: Path, record: dict[str, Any]) -> str:
    rows = []
    for point in record["points"]:
        report = folder / point["folder"] / "report.html"
        name = text(point["folder"].removeprefix(f"{RUNS}/"))
        link = f'<a href="{text(point["folder"])}/report.html">{name}</a>' if report.is_file() else name
        ran = point["status"] == "ok"
        rows.append([
            link, f"P{point['degree']}", rounded(point["size"] * 1e9, 4), f"{point['cells']:,}" if ran else "",
            f"{point['dofs']:,}" if ran else "", f"{point['seconds']:.1f}" if ran else "",
            text(point["why"] or {"ok": "complete", "pending": "still to run"}.get(point["status"], "")),
        ])  # fmt: skip
    head = ["Run", "Degree", "Smallest size, nm", "Cells", "Unknowns", "Seconds", "State"]
    return table("Every point is a complete run in its own folder.", head, rows, "study")


def _number(value: Any) -> float:
    return float(value) if value is not None else math.nan
