"""What the report says of errors that no mesh refinement removes: their columns in the table, and their sentences."""

from __future__ import annotations

import math
from typing import Any

from fem_spall.output.finished import as_float
from fem_spall.output.formulas import shown_unit
from fem_spall.output.tables import text
from fem_spall.output.wording import length_text, rounded, with_error

__all__ = ["columns", "model_cells", "model_notes"]

COLUMNS = {"box": ("Box", "Isolated"), "surface": ("Surface",), "voxel": ("Voxel",)}


def columns(metrics: dict[str, Any]) -> list[str]:
    """Return the titles of the columns that have something to show."""
    return [title for kind in _shown(metrics) for title in COLUMNS[kind]]


def _shown(metrics: dict[str, Any]) -> list[str]:
    return [
        kind for kind in COLUMNS
        if any({"change", "relative_bound"} & entry.get(kind, {}).keys() for entry in map(_errors, metrics.values()))
    ]  # fmt: skip


def _errors(entry: Any) -> dict[str, Any]:
    found = entry.get("model_errors") if isinstance(entry, dict) else None
    return found if isinstance(found, dict) else {}


def model_cells(name: str, entry: dict[str, Any], metrics: dict[str, Any]) -> str:
    """Return the cells of one figure in these columns: changes in per cent, the isolated value in the figure's unit."""
    cells = []
    _, factor = shown_unit(name, entry)
    for kind in _shown(metrics):
        errors = _errors(entry).get(kind, {})
        change = as_float(errors.get("change"))
        if kind == "voxel":
            bound = as_float(errors.get("relative_bound"))
            cells.append(f"± {rounded(100 * bound, 2)} %" if math.isfinite(bound) else "")
            continue
        cells.append(f"{'+' if change > 0 else ''}{rounded(100 * change, 2)} %" if math.isfinite(change) else "")
        if kind == "box":
            isolated = as_float(errors.get("isolated")) * factor
            number, error = with_error(isolated, as_float(errors.get("isolated_error")) * factor)
            cells.append((number + (f" ± {error}" if error else "")) if math.isfinite(isolated) else "")
    return "".join(f'<td class="number">{text(cell)}</td>' for cell in cells)


def model_notes(metrics: dict[str, Any]) -> str:
    """Return one sentence for each kind of error: what its column means, or why there is no number."""
    all_errors = [errors for errors in map(_errors, metrics.values()) if errors]
    notes = []
    for kind, meaning in _MEANING.items():
        entries = [errors[kind] for errors in all_errors if kind in errors]
        methods = list(dict.fromkeys(str(e["method"]) for e in entries if e.get("method")))
        missing = [str(e[key]) for e in entries for key in ("isolated_absent", "absent") if e.get(key)]
        if methods:
            notes.append(f"{meaning} Method: {text('; '.join(methods))}.{_lengths(entries)}")
        if missing:
            without = "Without a number" if kind != "box" or not methods else "Without an isolated value"
            notes.append(f"{without} ({kind.replace('size_min', 'smallest size')}): "
                         f"{text('; '.join(dict.fromkeys(missing)))}.")  # fmt: skip
    return "".join(f'<p class="quiet">{note}</p>' for note in notes)


_MEANING = {
    "box": "Box: how much the mirror images in the insulating walls change the figure, relative to a crack alone. "
    "Isolated: the figure of a crack alone at the same mean current density.",
    "surface": "Surface: how much meshing the given surface changes the figure.",
    "voxel": "Voxel: what it would change if the segmentation put all of the wall half a voxel off, either way.",
    "size_min": "Smallest size of the mesh on the given surface.",
}


def _lengths(entries: list[dict[str, Any]]) -> str:
    """Return the lengths of a kind in words: distances of the surface, the filter length."""
    named = {
        "distance_p99_m": "99 % of the surface is meshed within", "distance_largest_m": "the largest distance is",
        "half_voxel_m": "half a voxel is",
        "filter_length_m": "the filter length is", "surface_tolerance_m": "the tolerance of the surface is",
    }  # fmt: skip
    found = []
    for key, words in named.items():
        length = next((as_float(entry[key]) for entry in entries if key in entry), math.nan)
        if math.isfinite(length):
            found.append(f"{words} {length_text(float(f'{length * 1e6:.3g}'))}")
    return f" {'; '.join(found).capitalize()}." if found else ""
