"""Figures of a finished run, for a paper as they are: section, crack, flux distribution.

Everything is drawn by Matplotlib without a graphics library, because a server
often has none and VTK then ends the whole process.  VTK still reads and cuts the
meshes, so the drawing happens in a child process: if that dies, the run goes on
and says why a picture is missing.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fem_spall.output.files import atomic
from fem_spall.output.finished import Finished
from fem_spall.output.wording import length_text, time_unit, with_error

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fem_spall.output.section import Section

__all__ = ["Drawn", "draw_pictures"]

type Floats = NDArray[np.float64]

TIME_LIMIT = 180.0  # s
LITHIUM = "#c9ccd3"
HOT = "#00b4d8"
_STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.linewidth": 0.8,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "legend.fontsize": 8,
    "savefig.dpi": 300,
    "mathtext.default": "regular",
}


class Drawn(NamedTuple):
    """Which pictures were written, and why any is missing."""

    files: list[Path]
    warnings: list[str]


def draw_pictures(folder: Path, time_limit: float = TIME_LIMIT) -> Drawn:
    """Return the pictures written under ``figures/``, and one sentence for each that could not be drawn.

    Parameters
    ----------
    folder : Path
        Folder of a finished run.
    time_limit : float
        Seconds after which the drawing is given up.
    """
    from fem_spall.mesh.child import clean_environment

    command = [sys.executable, "-P", "-m", "fem_spall.output.pictures", str(folder)]
    try:
        child = subprocess.run(
            command, env=clean_environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=time_limit, check=False,
        )  # fmt: skip
        printed, errors, code = child.stdout, child.stderr, child.returncode
    except subprocess.TimeoutExpired as late:
        printed = late.stdout.decode(errors="replace") if isinstance(late.stdout, bytes) else (late.stdout or "")
        errors, code = f"it took more than {time_limit:g} s", None
    files: list[Path] = []
    warnings: list[str] = []
    for line in printed.splitlines():
        if not line.startswith("{"):
            continue
        report = json.loads(line)
        if "file" in report:
            files.append(folder / report["file"])
        else:
            warnings.append(f"The picture {report['missing']} was not drawn: {report['reason']}.")
    if code != 0:
        ending = (errors.strip().splitlines() or ["no message"])[-1]
        died = f"ended by signal {-(code or 0)}" if (code or 0) < 0 else f"failed (exit code {code})"
        how = "was stopped" if code is None else died
        done = ", ".join(path.name for path in files) or "none"
        warnings.append(f"Drawing the pictures {how}: {ending}. Drawn before that: {done}.")
    return Drawn(files, warnings)


def _draw_section(finished: Finished) -> Figure:
    """Return the section through the hottest point: the whole block beside the crack's surroundings."""
    from matplotlib.colors import LogNorm
    from matplotlib.patches import Rectangle

    from fem_spall.output.section import cut

    section = cut(finished)
    if section is None:
        raise LookupError("the run wrote no fields")
    across = 1 - section.axis
    block, window = finished.block[[across, 2]], finished.window[[across, 2]]
    norm = LogNorm(section.floor, section.cap)
    zoomed = np.prod(np.ptp(window, axis=1)) < 0.6 * np.prod(np.ptp(block, axis=1))
    panels = [block, window] if zoomed else [block]
    figure, axes = _side_by_side(panels)
    image = None
    for axis, box in zip(axes, panels, strict=True):
        image = _paint_section(axis, section, box, norm)
        _electrode_bands(axis, finished, box)
        axis.set_xlabel(f"{'xy'[across]} (µm)")
    axes[0].set_ylabel("z (µm)")
    axes[0].set_title(f"{'xy'[section.axis]} = {section.position:.2f} µm")
    if zoomed:
        frame = Rectangle((window[0, 0], window[1, 0]), *np.ptp(window, axis=1), fill=False, ec="white", lw=1.0)
        axes[0].add_patch(frame)
        axes[1].set_title("Around the crack (white frame)")
    _mark_hottest(axes[-1], finished, section, panels[-1])
    colour_bar(figure, image, axes, "Local / mean current density, $|j|/j_0$")
    return figure


def _side_by_side(panels: list[Floats]) -> tuple[Figure, list[Axes]]:
    """Return a figure whose panels keep their proportions and share one height."""
    from matplotlib.figure import Figure

    aspect = [float(np.ptp(box[0]) / np.ptp(box[1])) for box in panels]
    height = min(4.0, 6.4 / (sum(aspect) + 0.25 * len(panels)))
    width = max(height * sum(aspect) + 0.75 * len(panels) + 1.1, 5.0)  # room for the note below
    figure = Figure(figsize=(width, height + 1.0), layout="constrained")
    axes = figure.subplots(1, len(panels), width_ratios=aspect, squeeze=False)
    return figure, list(axes[0])


def _paint_section(axis: Axes, section: Section, box: Floats, norm: Any) -> Any:
    """Colour one panel, with equipotentials and the outline of the lithium; returns the coloured artist."""
    from matplotlib.collections import LineCollection
    from matplotlib.tri import Triangulation

    corner = section.points[section.triangles]
    near = np.all((corner.max(axis=1) >= box[:, 0]) & (corner.min(axis=1) <= box[:, 1]), axis=1)
    mesh = Triangulation(section.points[:, 0], section.points[:, 1], triangles=section.triangles[near])
    image = axis.tripcolor(
        mesh, np.clip(section.fef, norm.vmin, norm.vmax), norm=norm, cmap="inferno", shading="gouraud", rasterized=True
    )
    shown = section.potential[np.unique(section.triangles[near])]
    levels = np.linspace(shown.min(), shown.max(), 14)[1:-1]
    if np.ptp(shown) > 0:
        axis.tricontour(mesh, section.potential, levels=levels, colors="white", linewidths=0.45, alpha=0.75)
    axis.add_collection(LineCollection(list(section.outline), colors="black", linewidths=0.8, capstyle="round"))
    axis.set_facecolor(LITHIUM)
    axis.set_aspect("equal")
    axis.set_xlim(*box[0])
    return image


def _electrode_bands(axis: Axes, finished: Finished, box: Floats) -> None:
    """Extend the panel by a band of lithium with its name wherever it reaches an electrode."""
    depth = 0.06 * float(np.ptp(box[1]))
    low, high = box[1]
    names = ("counter", "plating") if finished.plating_up else ("plating", "counter")
    bottom, top = finished.block[2]
    style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 7.5, "color": "#222222"}
    if np.isclose(low, bottom):
        axis.text(float(box[0].mean()), low - depth / 2, f"Li ({names[0]})", **style)
        axis.axhline(low, color="black", lw=0.8)
        low -= depth
    if np.isclose(high, top):
        axis.text(float(box[0].mean()), high + depth / 2, f"Li ({names[1]})", **style)
        axis.axhline(high, color="black", lw=0.8)
        high += depth
    axis.set_ylim(low, high)


def _mark_hottest(axis: Axes, finished: Finished, section: Section, box: Floats) -> None:
    """Ring the averaging ball at its true size and name its value, if the section goes through it."""
    from matplotlib.patches import Circle

    hottest, across = finished.hottest, 1 - section.axis
    if hottest is None or abs(hottest.place[section.axis] - section.position) > hottest.radius:
        return
    place = hottest.place[[across, 2]]
    axis.add_patch(Circle((place[0], place[1]), hottest.radius, fill=False, ec=HOT, lw=1.4))
    inward = -1 if finished.plating_up else 1
    side = 1 if place[0] < box[0].mean() else -1
    value, error = with_error(hottest.value, hottest.error)
    axis.annotate(
        f"{value}{' ± ' if error else ''}{error} × mean\nover {length_text(hottest.radius)}",
        xy=(place[0], place[1] + inward * hottest.radius),
        xytext=(place[0] + side * 0.22 * np.ptp(box[0]), box[1, (inward + 1) // 2] - inward * 0.12 * np.ptp(box[1])),
        ha="center", va="center", color="black", fontsize=8,
        bbox={"boxstyle": "round,pad=0.3", "fc": "white", "ec": HOT, "lw": 0.8, "alpha": 0.9},
        arrowprops={"arrowstyle": "-", "color": HOT, "lw": 1.2},
    )  # fmt: skip


def colour_bar(figure: Figure, image: Any, axes: Any, label: str) -> None:
    """Add the shared logarithmic colour bar, and below the panels the line that says where it is capped and why."""
    from matplotlib.ticker import FuncFormatter, Locator, LogLocator, MaxNLocator

    decades = np.log10(image.norm.vmax / image.norm.vmin)
    locator: Locator = LogLocator(subs=(1.0, 2.0, 5.0) if decades < 2 else (1.0, 3.0))
    if decades < 0.5:
        locator = MaxNLocator(5)
    bar = figure.colorbar(image, ax=axes, extend="both", ticks=locator, aspect=26, pad=0.02)
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    bar.ax.minorticks_off()
    bar.set_label(label)
    note = f"Colours capped at the 99.9th percentile ({image.norm.vmax:.3g}): values above it depend on the mesh."
    figure.supxlabel(note, fontsize=7.5, color="0.35")


def _draw_crack(finished: Finished) -> Figure:
    """Return the lithium coloured by flux, seen from inside the electrolyte: from the side and from below."""
    from fem_spall.output.crack_view import draw_crack

    if finished.lithium is None:
        raise LookupError("the run wrote no lithium surface")
    return draw_crack(finished, colour_bar)


def _draw_distribution(finished: Finished) -> Figure:
    """Return how much of the lithium, and of the current, sees more than a given flux."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    path = finished.folder / "figures" / "flux_distribution.csv"
    if not path.is_file():
        raise LookupError("the run wrote no flux distribution")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    fef, area, current = (
        np.array([float(row[key]) for row in rows]) for key in ("fef", "area_fraction_above", "current_fraction_above")
    )
    figure = Figure(figsize=(4.6, 3.6), layout="constrained")
    axis = figure.subplots()
    whose = "crack" if finished.result.get("cracks") else "electrode"
    for above, colour, what, side in ((area, "#3b0f70", "area", -1), (current, "#de4968", "current", 1)):
        shown = (fef > 0) & (above > 0)
        axis.loglog(fef[shown], above[shown], color=colour, lw=1.6, label=f"share of the {whose}'s {what}")
        for percent in (50, 90, 95, 99):
            rest = 1 - percent / 100
            x = _quantile(fef[shown], above[shown], percent)
            axis.plot(x, rest, "o", ms=4, color=colour, mec="white", mew=0.7)
            axis.annotate(
                f"$q_{{{percent}}}$ = {x:.3g}", (x, rest), textcoords="offset points",
                xytext=(5 * side, side), ha="left" if side > 0 else "right", va="bottom" if side > 0 else "top",
                fontsize=7, color=colour,
            )  # fmt: skip
    axis.axvline(1, color="0.6", lw=0.8, ls="--", zorder=0)
    axis.set_xlabel("Local / mean current density, $j/j_0$")
    axis.set_ylabel("Share that sees more than j")
    largest = float(fef[current > 0].max())
    axis.set_xlim(min(0.1, largest / 10, _quantile(fef, area, 50) / 5), largest * 3)
    axis.set_ylim(1e-4, 1.5)
    for line in (axis.xaxis, axis.yaxis):
        line.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        line.set_minor_formatter(NullFormatter())
    if largest < 100:
        axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.grid(True, which="major", lw=0.4, color="0.88")
    axis.legend(loc="lower left")
    return figure


def _quantile(fef: Floats, above: Floats, percent: float) -> float:
    """Return the flux that all but ``100 - percent`` per cent stay below."""
    order = np.argsort(above, kind="stable")
    return float(np.interp(1 - percent / 100, above[order], fef[order]))


def _draw_polarisation(finished: Finished) -> Figure:
    """Return voltage, and where a crack draws current its share, over the current."""
    from matplotlib.figure import Figure

    rows = finished.result["polarisation"]
    density, volts = (
        np.array([row[key] for row in rows], dtype=float) for key in ("current_density_A_m2", "voltage_V")
    )
    order = np.argsort(density)
    figure = Figure(figsize=(4.6, 3.6), layout="constrained")
    axis = figure.subplots()
    axis.plot(0.1 * density[order], 1e3 * volts[order], "o-", color="#3b0f70", ms=4, lw=1.6, label="voltage")
    axis.set_xlabel("Mean current density, mA/cm²")
    if density.min() > 0 and density.max() > 20 * density.min():
        axis.set_xscale("log")
    axis.set_ylabel("Cell voltage, mV")
    axis.grid(True, lw=0.4, color="0.88")
    if all(row["crack_current_share"] is not None for row in rows):
        share = np.array([row["crack_current_share"] for row in rows], dtype=float)
        other = axis.twinx()
        other.plot(0.1 * density[order], 100 * share[order], "s--", color="#de4968", ms=4, lw=1.2)
        other.set_ylabel("Crack's share of the current, %", color="#de4968")
        other.set_ylim(0, None)
    return figure


def _draw_filling(finished: Finished) -> Figure:
    """Return the filled share over time, and below it the crack's share of the current and the resistance."""
    from matplotlib.figure import Figure

    record = finished.result["filling"]
    keys = ("time_s", "filled_share", "crack_current_share", "area_resistance_ohm_m2")
    time, filled, share, resistance = (np.array([row[key] for row in record["rows"]], dtype=float) for key in keys)
    error = [row["time_error_of_steps_s"] + row["time_error_of_currents_s"] for row in record["rows"]]
    factor, unit = time_unit(float(time[-1]))
    figure = Figure(figsize=(4.6, 5.2), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    above.errorbar(time * factor, 100 * filled, xerr=np.array(error) * factor, fmt="o-", color="#3b0f70", ms=4, lw=1.6,
                   elinewidth=0.8, capsize=2)  # fmt: skip
    above.set_ylabel(f"Filled from the {record['starts_at']}, %")
    above.set_ylim(0, 104)
    below.plot(time * factor, 100 * share, "s-", color="#de4968", ms=4, lw=1.4)
    below.set_ylabel("Crack's share of the current, %", color="#de4968")
    below.set_ylim(0, None)
    below.set_xlabel(f"Time, {unit}")
    if np.isfinite(resistance).all():
        other = below.twinx()
        other.plot(time * factor, 1e4 * resistance, "^--", color="#2a788e", ms=4, lw=1.2)
        other.set_ylabel("V A/I, Ω cm²", color="#2a788e")
        other.ticklabel_format(axis="y", useOffset=False)
    for axis in (above, below):
        axis.grid(True, lw=0.4, color="0.88")
    return figure


_PICTURES: dict[str, Callable[[Finished], Figure]] = {
    "figures/section.png": _draw_section,
    "figures/crack.png": _draw_crack,
    "figures/flux_distribution.png": _draw_distribution,
}


def _save(figure: Figure, path: Path) -> None:
    """Write the picture, completely or not at all."""
    path.parent.mkdir(exist_ok=True)
    with atomic(path) as aside:
        figure.savefig(aside, format="png", metadata={"Software": None})


def _draw_all(folder: Path) -> None:
    """Draw every picture and print one JSON line for each."""
    import matplotlib as mpl

    finished = Finished.read(folder)
    # A user's matplotlibrc must not change the figures.
    style: dict[Any, Any] = {**mpl.rcParamsDefault, **_STYLE, "backend": "agg"}
    with mpl.rc_context(style):
        pictures = dict(_PICTURES)
        if finished.result.get("polarisation"):
            pictures["figures/polarisation.png"] = _draw_polarisation
        if finished.result.get("filling"):
            pictures["figures/filling.png"] = _draw_filling
        for name, draw in pictures.items():
            try:
                _save(draw(finished), folder / name)
                report = {"file": name}
            except Exception as error:  # one bad picture must not take the others along
                reason = str(error) if isinstance(error, LookupError) else f"{type(error).__name__}: {error}"
                report = {"missing": Path(name).name, "reason": " ".join(reason.split())[:300]}
            print(json.dumps(report), flush=True)


if __name__ == "__main__":
    _draw_all(Path(sys.argv[1]))
