"""What the figures mean, in the report: sentences below the answer, their formulas, the polarisation curve."""

from __future__ import annotations

from typing import Any

from fem_spall.output.finished import Finished, as_float
from fem_spall.output.tables import table, text
from fem_spall.output.wording import rounded

__all__ = ["formulas", "polarisation", "told"]


def _entries(finished: Finished) -> list[dict[str, Any]]:
    return [entry for entry in finished.result.get("consequences") or [] if isinstance(entry, dict)]


def told(finished: Finished) -> str:
    """Return the consequences as a list of sentences, nothing where there are none."""
    items = "".join(f"<li>{text(entry.get('text', ''))}</li>" for entry in _entries(finished))
    return f"<ul>{items}</ul>" if items else ""


def formulas(finished: Finished) -> str:
    """Return the formula and the value behind each sentence."""
    entries = _entries(finished)
    if not entries:
        return ""
    rows = [
        [
            text(e.get("name", "")),
            rounded(as_float(e.get("value"))),
            text(e.get("unit", "")),
            text(e.get("formula", "")),
        ]
        for e in entries
    ]
    caption = "The values behind the sentences at the top. They follow from the figures above and have their errors."
    return "<h3>Consequences</h3>" + table(caption, ["Quantity", "Value", "Unit (SI)", "Formula"], rows)


def polarisation(finished: Finished) -> str:
    """Return the polarisation curve as a table, nothing where the case asks for none."""
    rows = []
    for row in finished.result.get("polarisation") or []:
        share, change = as_float(row.get("crack_current_share")), as_float(row.get("voltage_change_of_degree_V"))
        rows.append([
            rounded(0.1 * as_float(row["current_density_A_m2"])),
            rounded(1e3 * as_float(row["voltage_V"]), 6),
            rounded(1e3 * change, 2) if change == change else "none",
            rounded(1e4 * as_float(row["area_resistance_ohm_m2"])),
            f"{rounded(100 * share)} %" if share == share else "none",
            rounded(as_float(row.get("largest_ball_mean_over_mean"))),
        ])  # fmt: skip
    if not rows:
        return ""
    caption = (
        "The same case at several currents. The change is that of the voltage from elements of degree 1 to degree "
        "2; where the laws are linear all follows from one solution and there is none of its own."
    )
    head = [
        "Mean current density mA/cm²",
        "Voltage mV",
        "Change mV",
        "V A/I Ω cm²",
        "Crack's share",
        "Largest ball mean/j₀",
    ]
    return "<h3>Polarisation curve</h3>" + table(caption, head, rows)
