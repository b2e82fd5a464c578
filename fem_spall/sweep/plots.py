"""The plots of a sweep's report as plain data for plotly.js: curves, contours, parallel coordinates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fem_spall.output.formulas import label, shown_unit
from fem_spall.sweep.fate import Fate
from fem_spall.sweep.fits import PowerLaw, power_law
from fem_spall.sweep.plan import Column, Plan, groups

__all__ = ["Law", "Series", "Shown", "laws", "plots", "shown_figures"]

COLOURS = ("#5b2a86", "#c0561f", "#1b7f79", "#b01e5a", "#3f6fb5", "#7a6a00", "#555555", "#2a9d3a")
#: Lines in one plot; with more of them only the points are drawn.
MOST_LINES = 8
#: Figures shown where the sweep file names none, the first of these that there are.
USUAL = ("fef_r", "fef_tip", "crack_current_share", "capture_ratio", "area_resistance", "total_current")
MOST_FIGURES = 4
#: An axis whose values span this factor is logarithmic.
DECADE = 8.0
SPREAD = ", or the spread of repeats where that is larger"


@dataclass(frozen=True)
class Shown:
    """A figure as the report shows it."""

    name: str
    words: str
    unit: str
    factor: float


@dataclass(frozen=True)
class Series:
    """A figure at the points of a plan, repeats taken together: mean, and the larger of spread and stated error."""

    values: list[dict[str, Any]]  # of the columns
    figure: list[float]
    error: list[float]
    links: list[str]

    @classmethod
    def of(cls, plan: Plan, fates: Sequence[Fate], shown: Shown) -> Series:
        """Return the series of a figure in the unit shown."""
        by_id = {point.id: fate for point, fate in zip(plan.points, fates, strict=True)}
        series = cls([], [], [], [])
        for values, points in groups(plan):
            found = [
                (point, entry) for point in points
                if (entry := _entry(by_id[point.id], shown.name)).get("value") is not None
            ]  # fmt: skip
            if not found:
                continue
            numbers = [entry["value"] * shown.factor for _, entry in found]
            mean = sum(numbers) / len(numbers)
            stated = max(((entry.get("error") or 0.0) * shown.factor for _, entry in found), default=0.0)
            free = max(len(numbers) - 1, 1)
            spread = math.sqrt(sum((number - mean) ** 2 for number in numbers) / free)
            series.values.append({**found[0][0].values, **values})
            series.figure.append(mean)
            series.error.append(max(stated, spread))
            series.links.append(f"points/{found[0][0].id}/report.html")
        return series


def _entry(fate: Fate, name: str) -> dict[str, Any]:
    entry = (fate.record or {}).get("metrics", {}).get(name, {})
    return entry if isinstance(entry, dict) and not entry.get("flag") else {}


def shown_figures(plan: Plan, fates: Sequence[Fate]) -> list[Shown]:
    """Figures that the report shows: those that the sweep file names, else the usual ones."""
    entries: dict[str, dict[str, Any]] = {}
    for fate in fates:
        for name, entry in (fate.record or {}).get("metrics", {}).items():
            if entry.get("value") is not None and not entry.get("flag"):
                entries.setdefault(name, entry)
    report = plan.settings.report
    names = [*report.figures, *(fit.figure for fit in report.fits)]
    if not names:
        names = [name for start in USUAL for name in entries if name.startswith(start)][:MOST_FIGURES]
    found = []
    for name in dict.fromkeys(names):
        if name in entries:
            unit, factor = shown_unit(name, entries[name])
            found.append(Shown(name, label(name, entries[name]), unit, factor))
    return found


@dataclass(frozen=True)
class Law:
    """A power law found along an axis, at given values of the others."""

    figure: str
    axis: str
    minus: float
    at: str
    law: PowerLaw


def laws(plan: Plan, fates: Sequence[Fate], shown: Sequence[Shown]) -> list[Law]:
    """Power laws that the sweep file asks for, or of every figure along its only logarithmic axis."""
    asked = [(fit.figure, fit.axis, fit.minus) for fit in plan.settings.report.fits]
    if not asked:
        axes = [column for column in plan.axes if _logarithmic([p.values[column.name] for p in plan.points])]
        asked = [(figure.name, axes[0].name, 0.0) for figure in shown] if len(axes) == 1 else []
    found = []
    figures = {figure.name: figure for figure in shown}
    for name, axis, minus in asked:
        if name not in figures or axis not in {column.name for column in plan.columns}:
            continue
        series = Series.of(plan, fates, figures[name])
        others = [column for column in _independent(plan, series) if not _same(series, column.name, axis)]
        for at, members in _lines(series, others).items():
            x = [float(series.values[k][axis]) for k in members if isinstance(series.values[k][axis], (int, float))]
            y = [series.figure[k] - minus * figures[name].factor for k in members]
            law = power_law(x, y, [series.error[k] for k in members]) if len(x) == len(y) else None
            if law is not None:
                found.append(Law(name, axis, minus, at, law))
    return found


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _logarithmic(values: Sequence[Any]) -> bool:
    numbers = [value for value in values if _number(value)]
    return len(numbers) == len(values) > 0 and min(numbers) > 0 and max(numbers) / min(numbers) >= DECADE


def _same(series: Series, one: str, other: str) -> bool:
    """Whether two columns change together, one value of the one for each of the other."""
    pairs = {(str(v.get(one)), str(v.get(other))) for v in series.values}
    return len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


def _independent(plan: Plan, series: Series) -> list[Column]:
    """Axes without those that only follow another one or do not change; that with most values first."""
    found: list[Column] = []
    for column in plan.axes:
        changes = len({str(values[column.name]) for values in series.values}) > 1
        if changes and not any(_same(series, column.name, other.name) for other in found):
            found.append(column)
    numeric = [c for c in found if all(_number(v[c.name]) for v in series.values)]
    numeric.sort(key=lambda c: -len({v[c.name] for v in series.values}))
    return [*numeric, *(c for c in found if c not in numeric)]


def _lines(series: Series, others: Sequence[Column]) -> dict[str, list[int]]:
    """Members of each line: points that share the values of the other axes, in words."""
    found: dict[str, list[int]] = {}
    for index, values in enumerate(series.values):
        words = ", ".join(f"{c.name.rpartition('.')[2]} = {_short(values[c.name])} {c.unit}".strip() for c in others)
        found.setdefault(words, []).append(index)
    return found


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def plots(plan: Plan, fates: Sequence[Fate], shown: Sequence[Shown], found: Sequence[Law]) -> list[dict[str, Any]]:
    """Return title, caption, data and layout of every plot."""
    made = []
    for figure in shown:
        series = Series.of(plan, fates, figure)
        axes = _independent(plan, series)
        if len(series.figure) < 2 or not axes:
            continue
        made += [_curves(series, figure, axes, [law for law in found if law.figure == figure.name], plan)]
        if len(axes) == 2 and (contour := _contour(series, figure, axes)):
            made.append(contour)
    axes = [column for column in plan.axes if all(_number(p.values[column.name]) for p in plan.points)]
    if len(axes) + len(plan.columns) - len(plan.axes) >= 2 and len(axes) > 1 and shown:
        made += _parallel(plan, fates, shown, axes)
    return made


def _title(column: Column | Shown) -> str:
    return f"{column.name} ({column.unit})" if column.unit else column.name


def _axis(title: str, values: Sequence[Any]) -> dict[str, Any]:
    axis: dict[str, Any] = {"title": {"text": title}, "gridcolor": "#d8dee4", "zerolinecolor": "#d8dee4"}
    if _logarithmic(values):
        axis |= {"type": "log", "exponentformat": "power", "dtick": "D2" if max(values) / min(values) < 1e3 else 1}
    return axis


def _curves(series: Series, figure: Shown, axes: Sequence[Column], found: Sequence[Law], plan: Plan) -> dict[str, Any]:
    x, others = axes[0], axes[1:]
    lines = _lines(series, others)
    joined = len(lines) <= MOST_LINES and len(series.figure) > len(lines)
    if not joined:
        lines = {"": list(range(len(series.figure)))}
    traces = []
    for number, (words, members) in enumerate(lines.items()):
        members = sorted(members, key=lambda k: series.values[k][x.name])
        traces.append({
            "type": "scatter", "mode": "lines+markers" if joined else "markers", "name": words or figure.name,
            "x": [series.values[k][x.name] for k in members], "y": [series.figure[k] for k in members],
            "error_y": {"type": "data", "array": [series.error[k] for k in members], "thickness": 1.2},
            "customdata": [series.links[k] for k in members], "line": {"color": COLOURS[number % len(COLOURS)]},
            "text": [_place(series.values[k], axes) for k in members],
            "hovertemplate": "%{text}<br>%{y:.5g}<extra></extra>",
        })  # fmt: skip
    notes = [
        f"{law.at + ': ' if law.at else ''}{law.figure}{f' − {law.minus:g}' if law.minus else ''} ∝ "
        f"{law.axis}^({law.law.exponent:.3f} ± {law.law.half_width:.3f})"
        for law in found
    ]
    own = (law for law in found if law.axis == x.name or _same(series, law.axis, x.name))
    traces += [_law_trace(law, series, x, figure.factor) for law in own]
    title = f"{figure.name} ({figure.unit})" if figure.unit else figure.name
    across = _axis(_title(x), [values[x.name] for values in series.values])
    layout = _layout(across, _axis(title, series.figure))
    layout["showlegend"] = len(traces) > 1
    caption = f"{figure.words}. Bars: stated error{SPREAD if _repeated(plan) else ''}."
    return {"title": f"{figure.name} against {x.name}", "caption": " ".join([caption, *(f"{n}." for n in notes)]),
            "data": traces, "layout": layout}  # fmt: skip


def _place(values: dict[str, Any], axes: Sequence[Column]) -> str:
    return ", ".join(f"{c.name} = {_short(values[c.name])} {c.unit}".strip() for c in axes)


def _repeated(plan: Plan) -> bool:
    return any(column.kind == "repeat" for column in plan.columns)


def _law_trace(law: Law, series: Series, x: Column, factor: float) -> dict[str, Any]:
    pairs = sorted({(float(v[x.name]), float(v[law.axis])) for v in series.values if _number(v[law.axis])})
    return {
        "type": "scatter", "mode": "lines", "name": f"law {law.at}".strip(), "hoverinfo": "skip",
        "line": {"dash": "dot", "width": 1.2, "color": "#57606a"}, "x": [a for a, _ in pairs],
        "y": [law.law.factor * b**law.law.exponent + law.minus * factor for _, b in pairs],
    }  # fmt: skip


def _contour(series: Series, figure: Shown, axes: Sequence[Column]) -> dict[str, Any] | None:
    first, second = axes
    if not all(_number(v[c.name]) for c in axes for v in series.values):
        return None
    columns = sorted({v[first.name] for v in series.values})
    rows = sorted({v[second.name] for v in series.values})
    if min(len(columns), len(rows)) < 2 or len(series.figure) < 0.6 * len(columns) * len(rows):
        return None
    cells: list[list[float | None]] = [[None] * len(columns) for _ in rows]
    links: list[list[str]] = [[""] * len(columns) for _ in rows]
    for value, number, link in zip(series.values, series.figure, series.links, strict=True):
        row, column = rows.index(value[second.name]), columns.index(value[first.name])
        cells[row][column], links[row][column] = number, link
    x = [v[first.name] for v in series.values]
    y = [v[second.name] for v in series.values]
    traces = [
        {"type": "contour", "x": columns, "y": rows, "z": cells, "colorscale": "Viridis", "connectgaps": False,
         "contours": {"showlabels": True}, "colorbar": {"title": {"text": figure.unit or figure.name}},
         "hoverinfo": "skip"},
        {"type": "scatter", "mode": "markers", "x": x, "y": y, "customdata": series.links, "showlegend": False,
         "marker": {"size": 7, "color": "#ffffff", "line": {"color": "#1b1f24", "width": 1}},
         "text": [_short(number) for number in series.figure], "hovertemplate": "%{text}<extra></extra>"},
    ]  # fmt: skip
    return {
        "title": f"{figure.name} over {first.name} and {second.name}", "data": traces,
        "caption": f"{figure.words}; the dots are the points, between them it is interpolated.",
        "layout": _layout(_axis(_title(first), x), _axis(_title(second), y)),
    }  # fmt: skip


def _parallel(
    plan: Plan, fates: Sequence[Fate], shown: Sequence[Shown], axes: Sequence[Column]
) -> list[dict[str, Any]]:
    rows = [
        (point, fate) for point, fate in zip(plan.points, fates, strict=True)
        if all(_entry(fate, figure.name).get("value") is not None for figure in shown)
    ]  # fmt: skip
    if len(rows) < 3:
        return []
    dimensions = [
        {"label": _title(column), "values": [point.values[column.name] for point, _ in rows]} for column in axes
    ] + [
        {"label": _title(figure), "values": [_entry(fate, figure.name)["value"] * figure.factor for _, fate in rows]}
        for figure in shown
    ]
    line = {"color": dimensions[-len(shown)]["values"], "colorscale": "Viridis", "showscale": True}
    trace = {"type": "parcoords", "dimensions": dimensions, "line": line, "labelangle": -12, "labelside": "top"}
    layout = {"margin": {"l": 90, "r": 60, "t": 110, "b": 30}, "height": 480, "paper_bgcolor": "#ffffff"}
    return [{"title": "All points at once", "data": [trace], "layout": layout,
             "caption": "A line a point; drag along an axis to choose, drag an axis to move it."}]  # fmt: skip


def _layout(x: dict[str, Any], y: dict[str, Any]) -> dict[str, Any]:
    return {
        "xaxis": x, "yaxis": y, "height": 460, "margin": {"l": 80, "r": 20, "t": 20, "b": 60}, "hovermode": "closest",
        "paper_bgcolor": "#ffffff", "plot_bgcolor": "#ffffff",
        "font": {"family": "system-ui, DejaVu Sans, sans-serif"},
    }  # fmt: skip
