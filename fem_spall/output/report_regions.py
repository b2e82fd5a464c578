"""What the report says of regions with a law of their own, and of parts of the electrolyte."""

from __future__ import annotations

import math

from fem_spall.output.finished import Finished, as_float
from fem_spall.output.tables import table, text
from fem_spall.output.wording import convenient, rounded, with_error

__all__ = ["parts_table", "regions_table", "regions_told"]

#: Parts of the electrolyte that a table lists; the file has all.
MOST_ROWS = 12


def regions_told(finished: Finished) -> str:
    """Return a sentence on the region that takes the most current for its area."""
    regions = finished.result.get("regions") or {}
    known = {name: entry for name, entry in regions.items() if as_float(entry.get("share")) > 0}
    if not known:
        return ""
    name, entry = max(known.items(), key=lambda item: abs(as_float(item[1].get("mean_density"))))
    metric = finished.metric(f"region_{name}_current_share")
    share, error = with_error(100 * as_float(metric.get("value")), 100 * as_float(metric.get("error")))
    mean = as_float(finished.result.get("reference", {}).get("current_density"))
    times = as_float(entry.get("mean_density")) / mean if mean else math.nan
    value = f"({share} ± {error}) %" if error else f"{share} %"
    told = f" at {rounded(times, 3)} times the mean density of the cell" if math.isfinite(times) else ""
    return (
        f"The region {text(name)} takes <strong>{value}</strong> of the current through "
        f"{rounded(as_float(entry.get('area')) * 1e12, 3)} µm² of {text(str(entry.get('on')))}{told}."
    )


def regions_table(finished: Finished) -> str:
    """Return one row per region, empty without any."""
    rows = []
    for name, entry in (finished.result.get("regions") or {}).items():
        row = [text(name), text(str(entry.get("on")))]
        for key, unit in (("current", "A"), ("share", ""), ("mean_density", "A/m^2")):
            factor = 100.0 if key == "share" else convenient(unit)[1]
            figure = {"current": "current", "share": "current_share"}.get(key, key)
            bar = as_float(finished.metric(f"region_{name}_{figure}").get("error")) * factor
            value, error = with_error(as_float(entry.get(key)) * factor, bar)
            row.append(f"{value} ± {error}" if error else value)
        area, given = (as_float(entry.get(key)) * 1e12 for key in ("area", "given_area"))
        off = f" ({100 * (area / given - 1):+.2g} %)" if math.isfinite(given) and given else ""
        rows.append([*row, f"{rounded(area, 4)}{off}"])
    if not rows:
        return ""
    head = ["Region", "On", f"Current, {convenient('A')[0]}", "Share, %", f"Mean density, {convenient('A/m^2')[0]}",
            "Area as meshed, µm² (against the given one)"]  # fmt: skip
    return table("Each region with a law of its own.", head, rows)


def parts_table(finished: Finished) -> str:
    """Return volume and power of each part of the electrolyte, the largest power first."""
    parts = finished.result.get("electrolyte_parts") or {}
    if not parts:
        return ""
    power, volume = (sum(as_float(part[key]) for part in parts.values()) for key in ("power", "volume"))
    ordered = sorted(parts.items(), key=lambda item: -as_float(item[1]["power"]))
    rows = [
        [text(name), rounded(as_float(part["volume"]) * 1e18, 4), rounded(100 * as_float(part["volume"]) / volume, 3),
         rounded(100 * as_float(part["power"]) / power, 3)]
        for name, part in ordered[:MOST_ROWS]
    ]  # fmt: skip
    more = len(parts) - len(rows)
    caption = "Where in the electrolyte the power is lost." + (
        f" {more} more are in figures/electrolyte_parts.csv." if more > 0 else ""
    )
    return table(caption, ["Part", "Volume, µm³", "Share of the volume, %", "Share of the power, %"], rows)
