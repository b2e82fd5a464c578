"""The report of a sweep: one offline page with table, plots, fitted laws and indices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fem_spall import __version__
from fem_spall.output.files import atomic_text
from fem_spall.output.page import page, plotly_scripts, section
from fem_spall.output.tables import table, text
from fem_spall.output.wording import rounded, with_error
from fem_spall.sweep.fate import Fate
from fem_spall.sweep.fits import Index
from fem_spall.sweep.plan import Plan
from fem_spall.sweep.plots import Law, Shown, plots

__all__ = ["write_report"]


def write_report(
    plan: Plan, fates: Sequence[Fate], shown: Sequence[Shown], laws: Sequence[Law],
    indices: dict[str, list[Index]], folder: Path,
) -> Path:  # fmt: skip
    """Return the report written into the folder of a sweep."""
    drawn = plots(plan, fates, shown, laws)
    pictures = "".join(
        f'<h3>{text(plot["title"])}</h3><p class="quiet">{text(plot["caption"])}</p>'
        f'<div class="plot" id="plot-{number}"></div>'
        for number, plot in enumerate(drawn)
    )
    body = (
        "".join(f"<p>{text(sentence)}</p>" for sentence in _sentences(plan, fates))
        + _laws(laws)
        + _indices(indices)
        + section("plots", "Plots", pictures or "<p>There is nothing to draw yet.</p>")
        + section("points", "Points", _points(plan, fates, shown, folder))
    )
    data = [{"data": plot["data"], "layout": plot["layout"]} for plot in drawn]
    whole = page(
        f"Sweep: {plan.name}",
        text(f"{len(plan.points)} points over {', '.join(column.name for column in plan.axes)}"),
        body,
        f"Written by fem-spall {__version__}. Numbers: sweep.csv and sweep.json.",
        scripts=plotly_scripts(data, _DRAW) if drawn else "",
        compiles=any(trace["type"] == "parcoords" for plot in drawn for trace in plot["data"]),
    )
    return atomic_text(folder / "report.html", whole)


def _sentences(plan: Plan, fates: Sequence[Fate]) -> list[str]:
    counts = {status: sum(fate.status == status for fate in fates) for status in ("ok", "failed", "running", "pending")}
    words = {"ok": "complete", "failed": "failed", "running": "running", "pending": "still to run"}
    found = [", ".join(f"{counts[key]} points {word}" for key, word in words.items() if counts[key]) + "."]
    found += plan.notes
    warned = sum(
        any(warning["kind"] != "withheld" for warning in (fate.record or {}).get("warnings", ())) for fate in fates
    )
    if warned:
        found.append(f"{warned} points carry warnings; their own reports, linked below, say which.")
    return found


def _laws(laws: Sequence[Law]) -> str:
    if not laws:
        return ""
    rows = [
        [text(f"{law.figure}{f' − {law.minus:g}' if law.minus else ''}"), text(law.axis), text(law.at),
         f"{law.law.exponent:.4f}".replace("-", "−"), f"±{law.law.half_width:.4f}",
         f"{100 * law.law.deviation:.2g} %", str(law.law.count)]
        for law in laws
    ]  # fmt: skip
    caption = (
        "Least squares of the logarithms. The interval holds 95 % by the scatter about the law and the stated errors; "
        "it does not say that the law holds beyond the points."
    )
    head = ["Figure", "along", "at", "Exponent", "95 %", "Largest deviation", "Points"]
    return section("laws", "Power laws", table(caption, head, rows))


def _indices(indices: dict[str, list[Index]]) -> str:
    if not indices:
        return ""
    rows = [
        [text(figure), text(index.key), *(
            f"{value:.3f} [{low:.3f}, {high:.3f}]"
            for value, (low, high) in ((index.first, index.first_interval), (index.total, index.total_interval))
        )]
        for figure, found in indices.items() for index in found
    ]  # fmt: skip
    caption = (
        "Sobol's indices: the share of the figure's variance that the input alone explains (first), and with all its "
        "interactions (total); in brackets 95 % of resampled plans."
    )
    head = ["Figure", "Input", "First order", "Total"]
    return section("indices", "Sensitivity", table(caption, head, rows))


def _points(plan: Plan, fates: Sequence[Fate], shown: Sequence[Shown], folder: Path) -> str:
    heads = ["Point", *(f"{text(c.name)}{f', {text(c.unit)}' if c.unit else ''}" for c in plan.columns)]
    heads += [f"{text(figure.name)}{f', {text(figure.unit)}' if figure.unit else ''}" for figure in shown]
    heads += ["Cells", "Seconds", "State"]
    rows = []
    for point, fate in zip(plan.points, fates, strict=True):
        place = f"points/{point.id}/report.html"
        name = f'<a href="{place}">{point.id}</a>' if (folder / place).is_file() else point.id
        row = [name]
        for column in plan.columns:
            value = point.values.get(column.name, "")
            row.append(rounded(value, 5) if isinstance(value, float) else text(value))
        record = fate.record or {}
        for figure in shown:
            entry: dict[str, Any] = record.get("metrics", {}).get(figure.name, {})
            if entry.get("value") is None:
                row.append("")
                continue
            error = entry.get("error")
            number, bar = with_error(
                entry["value"] * figure.factor, float("nan") if error is None else error * figure.factor
            )
            row.append(number + (f" ± {bar}" if bar else ""))
        cells = record.get("mesh", {}).get("cells")
        row += [f"{cells:,}" if cells else "", f"{fate.seconds:.1f}" if fate.seconds else ""]
        states = {"ok": "complete", "pending": "still to run"}
        row.append(text(states.get(fate.status, fate.status) + (f": {fate.reason}" if fate.reason else "")))
        rows.append(row)
    return table("A point is a complete run in its own folder; its name opens its report.", heads, rows, "points")


_DRAW = """\
const config = {displaylogo: false, responsive: true, showSendToCloud: false, plotlyServerURL: ''};
const webgl = document.createElement('canvas').getContext('webgl');
data.forEach((plot, number) => {
  const div = document.getElementById(`plot-${number}`);
  if (!webgl && plot.data.some(trace => trace.type === 'parcoords')) {
    div.className = 'absent';
    div.textContent = 'This browser draws no WebGL, which this plot needs; the table below has the points.';
    return;
  }
  Plotly.newPlot(div, plot.data, plot.layout, config).then(() => {
    div.setAttribute('data-drawn', 'yes');
    div.on('plotly_click', event => {
      const link = event.points.map(point => point.customdata).find(found => found);
      if (link) window.open(link, '_blank');
    });
  });
});"""
