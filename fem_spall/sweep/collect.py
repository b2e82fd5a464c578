"""All results of a sweep as files: ``sweep.csv``, ``sweep.parquet``, ``sweep.json``, ``sweep.pvd``, ``report.html``."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from xml.sax.saxutils import quoteattr

from fem_spall import __version__
from fem_spall.output.files import atomic_text
from fem_spall.output.finished import Finished
from fem_spall.sweep.fate import Fate, fate_of, result_folder
from fem_spall.sweep.fits import Index, sensitivity
from fem_spall.sweep.plan import Plan
from fem_spall.sweep.plots import Shown, laws, shown_figures
from fem_spall.sweep.report import write_report
from fem_spall.sweep.table import SweepTable

__all__ = ["collect"]


def collect(plan: Plan, folder: Path) -> list[Fate]:
    """Return the fates of all points, with table, ParaView index and report written.

    Raises
    ------
    OutputError
        If the disk is full or the folder cannot be written.
    """
    fates = [fate_of(folder, point) for point in plan.points]
    table = SweepTable.of(plan, fates)
    atomic_text(folder / "sweep.csv", table.csv())
    if importlib.util.find_spec("duckdb") is not None:
        table.to_parquet(folder / "sweep.parquet")
    _write_pvd(plan, fates, folder)
    shown = shown_figures(plan, fates)
    found = laws(plan, fates, shown)
    indices = _indices(plan, fates, shown)
    record = {
        "name": plan.name, "version": __version__, "points": len(plan.points),
        "complete": sum(fate.status == "ok" for fate in fates),
        "laws": [asdict(law) for law in found],
        "sensitivity": {figure: [asdict(index) for index in entries] for figure, entries in indices.items()},
    }  # fmt: skip
    atomic_text(folder / "sweep.json", json.dumps(record, indent=1) + "\n")
    write_report(plan, fates, shown, found, indices, folder)
    return fates


def _indices(plan: Plan, fates: Sequence[Fate], shown: Sequence[Shown]) -> dict[str, list[Index]]:
    """Sobol's indices of the figures shown, where the plan is made for them and complete."""
    if plan.design is None:
        return {}
    by_id = {point.id: fate.record for point, fate in zip(plan.points, fates, strict=True)}
    found = {}
    for figure in shown:
        values = [
            (by_id[id] or {}).get("metrics", {}).get(figure.name, {}).get("value") for id in plan.design["points"]
        ]
        if all(value is not None for value in values) and len(set(values)) > 1:
            found[figure.name] = sensitivity(plan.design["keys"], plan.design["count"], values)
    return found


def _write_pvd(plan: Plan, fates: Sequence[Fate], folder: Path) -> None:
    """Index of all fields, a time step a point in the order of the plan, so that ParaView walks the sweep."""
    lines = []
    for number, (point, fate) in enumerate(zip(plan.points, fates, strict=True)):
        place = result_folder(folder, point.id)
        file = Finished(place, {}).fields_file if fate.record is not None else None
        if file is not None:
            path = quoteattr(file.relative_to(folder).as_posix())
            lines.append(f'    <DataSet timestep="{number}" group="" part="0" file={path}/>\n')
    text = (
        '<?xml version="1.0"?>\n<VTKFile type="Collection" version="0.1" byte_order="LittleEndian">\n  <Collection>\n'
        f"{''.join(lines)}  </Collection>\n</VTKFile>\n"
    )
    atomic_text(folder / "sweep.pvd", text)
