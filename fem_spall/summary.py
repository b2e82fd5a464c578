"""What ``check``, ``inspect``, ``verify`` and ``converge`` say, as text and tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fem_spall.crack import cross_section
from fem_spall.deadline import time_for_surfaces
from fem_spall.terminal import readable, table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from fem_spall.case import Case
    from fem_spall.estimate import CrackMeasure, Estimate
    from fem_spall.verify import Bars, Comparison, Report

__all__ = ["bars_lines", "benchmark_parts", "case_summary", "convergence_parts", "free_memory", "surface_lines"]

RESOLVED = 3.0  # an averaging length must be this many local mesh sizes


def case_summary(case: Case) -> Iterator[RenderableType]:
    """What a case would compute: block, electrodes, cracks in the block, expected size, what to mind."""
    from fem_spall.case_file import case_hash
    from fem_spall.estimate import estimate, measure

    given = case
    with time_for_surfaces(case.mesh.time_limit):
        case = case.sized()
    yield f"case {case.name}: the file is in order"
    yield table(("", ""), _settings(case))
    with time_for_surfaces(case.mesh.time_limit):
        case = case.expanded()
        cracks = measure(case)
    if cracks:
        yield table(
            (
                "crack",
                "kind",
                "contents",
                "interface",
                "volume um^3",
                "area um^2",
                "x um",
                "y um",
                "depth um",
            ),
            (_crack_row(case, index, crack) for index, crack in enumerate(cracks)),
            right=("volume um^3", "area um^2"),
        )
    yield from (f"{crack.name}: {crack.note}" for crack in cracks if crack.note)
    expected = estimate(case, cracks)
    tips = " and before the tips are refined" if case.mesh.refine_tips and cracks else ""
    yield (
        f"expected, within a factor of two{tips}: {_round(expected.cells)} cells, {_round(expected.unknowns)} "
        f"unknowns, {expected.memory / 1e9:.1f} GB"
    )
    for text in _mind(case, expected):
        yield f"note: {text}"
    yield f"case hash {case_hash(given)}"


def _settings(case: Case) -> Iterator[tuple[str, str]]:
    size, electrodes, mesh = case.electrolyte.size, case.electrodes, case.mesh
    area = cross_section(case.block, case.cracks)
    yield "block", f"{' x '.join(_um(length) for length in size)} um, cross-section {area * 1e12:.4g} um^2"
    tensor = case.electrolyte.conductivity.tensor() * 10
    diagonal = [f"{tensor[i, i]:.4g}" for i in range(3)]
    other = "" if case.electrolyte.conductivity.uniform else f" in the bulk, {case.electrolyte.conductivity.kind}"
    yield "conductivity", f"{diagonal[0] if len(set(diagonal)) == 1 else ', '.join(diagonal)} mS/cm{other}"
    plating = electrodes.plating
    yield "plating", f"{plating.face} at {plating.potential * 1e3:.4g} mV, {_law(plating.interface)}"
    drive, potential = electrodes.counter.drive, electrodes.counter.potential
    density = drive.through(area) / area if drive is not None else 0.0
    given = f"mean current density {density / 10:.4g} mA/cm^2" if drive is not None else ""
    given = f"at {potential * 1e3:.4g} mV" if potential is not None else given
    yield "counter", f"{electrodes.counter.face} {given}, {_law(electrodes.counter.interface)}"
    for region in case.regions:
        yield f"region {region.name}", f"{region.kind} on {region.on}, {_law(region.interface)}"
    yield "side walls", ", ".join(f"{face}: {_law(law)}" for face, law in case.walls.items()) or "no flux"
    sizes = f"{_um(mesh.size_min)} to {_um(mesh.size_max)} um, grading {mesh.grading:g}"
    yield "mesh", f"{sizes}, surface within {_um(mesh.tolerance)} um"
    yield "elements", f"degree {case.solver.degree}, relative residual {case.solver.tolerance:g}"
    yield "averaged over", ", ".join(_um(length) for length in case.metrics.averaging_lengths) + " um"


def _crack_row(case: Case, index: int, measure: CrackMeasure) -> tuple[str, ...]:
    crack = case.cracks[index]
    (x0, y0, z0), (x1, y1, z1) = measure.box.tolist()
    depths = sorted((case.block.height - z) if case.block.plating_face == "+z" else z for z in (z0, z1))
    law = _law(crack.interface) if crack.contents == "lithium" else "no flux"
    spans = (f"{_um(low)} .. {_um(high)}" for low, high in ((x0, x1), (y0, y1), (max(depths[0], 0.0), depths[1])))
    volume, area = (f"{value:.4g}" for value in (measure.volume * 1e18, measure.area * 1e12))
    return (crack.name, crack.kind, crack.contents, law, volume, area, *spans)


def _law(law: Any) -> str:
    if law.kind == "resistance":
        return f"{law.value * 1e4:.4g} ohm cm^2"
    if law.kind in ("linear_kinetics", "butler_volmer"):
        return f"{law.kind.replace('_', ' ')}, {law.exchange_current_density / 10:.4g} mA/cm^2"
    return f"{law.kind.replace('_', ' ')}{f' of {law.solution}' if law.kind == 'exact_potential' else ''}"


def _mind(case: Case, expected: Estimate) -> Iterator[str]:
    """What a user would rather know before than after the run."""
    for length in case.metrics.averaging_lengths if case.cracks and not case.mesh.refine_tips else ():
        if length < RESOLVED * case.mesh.size_min:
            yield (
                f"an averaging length of {_um(length)} um needs a mesh of {_um(length / RESOLVED)} um at the tip; "
                f"mesh.size_min is {_um(case.mesh.size_min)} um, so that figure may be left out"
            )
    if expected.memory > case.mesh.memory_limit:
        yield f"that is above mesh.memory_limit ({case.mesh.memory_limit / 1e9:.3g} GB)"
    if (free := free_memory()) is not None and expected.memory > free:
        yield f"that is more than the {free / 1e9:.1f} GB of memory free on this machine"
    for crack in case.cracks:
        if crack.contents == "void" and crack.interface.kind != "fixed_potential":
            yield f"crack {crack.name} is void: its interface law has no effect"


def free_memory() -> float | None:
    """Bytes of memory that are free or can be freed at once; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(float(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return None


def surface_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """Lines ``what: value`` of a surface report, the verdict last."""
    for key, value in found.items():
        word = str(key).replace("_um3", " um^3").replace("_um2", " um^2").replace("_", " ")
        if key == "refusal":
            continue
        if isinstance(value, Mapping) and "count" in value:
            yield f"{word}: {_fault(value)}"
        elif key == "repairs":
            yield "repairs a run would make:" + ("" if value else " none")
            yield from (f"  {_repair(entry)}" for entry in value)
        elif key == "bodies":
            yield "bodies, the three largest and the smallest:" if len(value) > 1 else "body:"
            for body in value:
                size = f"{body['volume_um3']:.6g} um^3, {body['triangles']:,} triangles"
                yield f"  {size}, at ({_shown(body['at_um'])}) um"
        elif key == "bounding_box_um":
            yield f"bounding box um: ({_shown(value[0])}) to ({_shown(value[1])})"
        elif isinstance(value, Mapping):
            yield f"{word}: {', '.join(f'{side} by {_shown(x)}' for side, x in value.items()) or 'none'}"
        else:
            yield f"{word}: {_shown(value)}"
    refusal = found.get("refusal")
    yield (
        f"verdict: a run would refuse it as a closed surface: {refusal}" if refusal else "verdict: a run would take it"
    )
    if found.get("sheet"):
        yield "         it is an open sheet, which `kind: interface_file` takes"


def _fault(value: Mapping[str, Any]) -> str:
    """Count of a fault, how bad it is, and where."""
    places = ", ".join(f"({_shown(place)})" for place in value.get("at_um", ()))
    text = f"{value['count']:,}"
    if "below_um" in value:
        text += f" faces below {value['below_um']:g} um"
    if "narrowest_um" in value:
        text += f", the narrowest {value['narrowest_um']:g} um"
    text += f", such as at {places} um" if places else ""
    return text + (f" (undecided: {value['undecided']})" if "undecided" in value else "")


def _repair(entry: Mapping[str, Any]) -> str:
    change = f"volume {entry.get('volume_change_um3', 0):+.3g} um^3, area {entry.get('area_change_um2', 0):+.3g} um^2"
    if entry.get("displacement_um"):
        change += f", moved by up to {entry['displacement_um'] * 1e3:.3g} nm"
    return f"{entry.get('count', 0)} x {entry.get('kind', '')} ({change})"


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return "yes" if value else "no" if value is not None else "undefined"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_shown, value)) or "none"
    return f"{value:.6g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def _um(length: float) -> str:
    return f"{length * 1e6:.4g}"


def _round(count: float) -> str:
    return f"{float(f'{count:.1g}'):,.0f}"


def benchmark_parts(report: Report) -> Iterator[RenderableType]:
    """The comparisons of a benchmark as a table, then what failed and which error bars did not hold."""
    yield f"\n{report.name}: {report.declaration.title}"
    if report.comparisons:
        columns = ("figure", "mesh", "cells", "error", "order", "expected", "stated error", "stated/error", "held")
        rows = (_comparison(row) for quantity in report.declaration.quantities for row in report.rows(quantity))
        yield table(columns, rows, right=columns[2:8])
    if not report.judged and report.comparisons:
        yield "note: the tolerances are for the finest level that CI runs, which was not run"
    yield from (f"note: {line}" for line in report.notes)
    yield from (f"FAILED {report.name}: {line}" for line in report.failures)


def _comparison(row: Comparison) -> tuple[str, ...]:
    def shown(value: float | None, form: str) -> str:
        return "" if value is None else f"{value:{form}}"

    held = {True: "yes", False: "NO", None: ""}[row.held]
    error = "not given" if row.value is None else f"{row.error:+.1e}"
    return (
        row.quantity.name, f"P{row.degree} {_um(row.size)} um", f"{row.cells:,}", error, shown(row.order, ".2f"),
        shown(row.quantity.order.get(row.degree), "g"), shown(row.stated, ".1e"), shown(row.ratio, ".2g"), held,
    )  # fmt: skip


def bars_lines(bars: Bars) -> Iterator[str]:
    """How the stated errors did against the true ones over all benchmarks that ran, in words."""
    if bars.share is None:
        yield "\nNo error bar was stated."
    else:
        yield (
            f"\n{bars.stated} error bars stated (case, level, figure), of which {bars.held} held ({bars.share:.1%})."
        )
    if bars.mean is not None and bars.median is not None:
        yield (
            f"Stated over true error: geometric mean {bars.mean:.3g}, median {bars.median:.3g}, over the "
            f"{len(bars.ratios)} with a true error above the figure's floor."
        )
    if bars.without:
        never = f"; never with one: {'; '.join(bars.bare)}" if bars.bare else ""
        yield f"{bars.without} values came without an error bar{never}."


def convergence_parts(record: Mapping[str, Any]) -> Iterator[RenderableType]:
    """The points of a convergence study and what each figure tends to, as tables; then its notes."""
    rows = []
    for point in record["points"]:
        size = (f"{point['cells']:,}", f"{point['dofs']:,}", f"{point['seconds']:.1f}")
        ran = point["status"] == "ok"
        rows.append((point["folder"], *(size if ran else ("", "", "")), point["why"] or point["status"]))
    yield table(("run", "cells", "unknowns", "s", "state"), rows, right=("cells", "unknowns", "s"))
    fits = []
    for entry in record["fits"]:
        unit = str(entry["unit"] or "1")
        value, error, shown = readable(entry["finest"], unit, entry["error"])
        limit = readable(entry["limit"], unit, entry["error"])[0] if entry["limit"] is not None else ""
        stated = readable(entry["finest"], unit, entry["stated_error"])[1] if entry["stated_error"] else ""
        order = f"{entry['order']:.2f}" if entry["order"] is not None and entry["credible"] else ""
        fits.append((entry["metric"], f"P{entry['degree']}", value, error, shown, order, limit, stated, entry["why"]))
    columns = ("figure", "degree", "finest", "± fit", "unit", "order", "tends to", "± stated", "remark")
    yield table(columns, fits, right=("finest", "± fit", "order", "tends to", "± stated"))
    for note in record["notes"]:
        yield f"note: {note}"
