"""What the figures mean, in the report: sentences, their formulas, the polarisation curve, filling over time."""

from __future__ import annotations

from typing import Any

from fem_spall.output.finished import Finished, as_float
from fem_spall.output.tables import table, text
from fem_spall.output.wording import rounded, time_unit, with_error

__all__ = ["filling", "formulas", "leading", "polarisation", "told"]


def _entries(finished: Finished) -> list[dict[str, Any]]:
    return [entry for entry in finished.result.get("consequences") or [] if isinstance(entry, dict)]


def leading(finished: Finished) -> str:
    """Return the sentences that answer what the case was made for as a paragraph, nothing where there are none."""
    told = " ".join(text(entry.get("text", "")) for entry in _entries(finished) if entry.get("leads"))
    return f"<p>{told}</p>" if told else ""


def told(finished: Finished) -> str:
    """Return the other consequences as a list of sentences, nothing where there are none."""
    items = "".join(f"<li>{text(entry.get('text', ''))}</li>" for entry in _entries(finished) if not entry.get("leads"))
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


def filling(finished: Finished) -> str:
    """Return the filling of a crack over time as a table, nothing where the case asks for none."""
    record = finished.result.get("filling")
    if not record:
        return ""
    rows = []
    factor, unit = time_unit(as_float(record["time_to_fill_s"]))
    for row in record["rows"]:
        current = as_float(row["crack_current_A"])
        bars = [as_float(row[f"crack_current_error_of_{source}_A"]) for source in ("degree", "cut")]
        drawn, bar = with_error(1e9 * current, 1e9 * sum(value for value in bars if value == value))
        resistance = as_float(row["area_resistance_ohm_m2"])
        rows.append([
            rounded(factor * as_float(row["time_s"])),
            rounded(factor * (as_float(row["time_error_of_steps_s"]) + as_float(row["time_error_of_currents_s"])), 2),
            f"{rounded(100 * as_float(row['filled_share']), 4)} %",
            rounded(1e6 * as_float(row["front_depth_m"])),
            f"{drawn} ± {bar}" if bar else drawn,
            f"{rounded(100 * as_float(row['crack_current_share']))} %",
            rounded(1e12 * as_float(row["capture_area_m2"])),
            f"{resistance * 1e4:.5g}" if resistance == resistance else "none",
        ])  # fmt: skip
    caption = (
        f"Filling of {record['crack']} from its {record['starts_at']} at an imposed {record['imposed']}. The currents' "
        "errors are the change of degree and what the jagged rim of the wet triangles can do; that of the time is what "
        "halving the number of steps changes, and what the errors of the currents add up to."
    )
    head = [f"Time {unit}", "Error", "Filled", "Front below the plating face µm", "Current into the crack nA",
            "Share of the current", "Capture area µm²", "V A/I Ω cm²"]  # fmt: skip
    return "<h3>Filling over time</h3>" + table(text(caption), head, rows)
