"""The sections of the report that answer: the paragraph, the warnings, the results, the figures.

Whatever comes from the record or from a file is escaped by
:func:`~fem_spall.output.tables.text` on its way into the page; a missing part
becomes a sentence that says so.
"""

from __future__ import annotations

import base64
import math
import re
from typing import Any

from fem_spall.output.finished import UM, Finished, as_float
from fem_spall.output.formulas import label, shown_unit
from fem_spall.output.report_models import columns, model_cells, model_notes
from fem_spall.output.report_regions import parts_table, regions_table, regions_told
from fem_spall.output.tables import table, text
from fem_spall.output.wording import convenient, length_text, rounded, with_error

__all__ = ["answer", "figures", "results", "subtitle", "warnings"]


def subtitle(finished: Finished) -> str:
    """Return version and fingerprint of the run."""
    result = finished.result
    case_hash = str(result.get("case_hash", ""))[:12]
    return text(f"fem-spall {result.get('version', '')}" + (f" · case {case_hash}" if case_hash else ""))


# --- the answer ------------------------------------------------------------------------------------------------------


def quantity(finished: Finished, name: str) -> str:
    """Return a metric as text, ``(5.10 ± 0.05) nA``, empty where it is absent."""
    entry = finished.metric(name)
    value = as_float(entry.get("value"))
    if not math.isfinite(value):
        return ""
    unit, factor = shown_unit(name, entry)
    number, error = with_error(value * factor, as_float(entry.get("error")) * factor)
    tail = f" {unit}" if unit else ""
    return text(f"({number} ± {error}){tail}" if error and tail else f"{number} ± {error}" if error else number + tail)


def answer(finished: Finished) -> str:
    """Return the answer in one paragraph of plain words."""
    sentences = [
        _focusing(finished), _drawn(finished), regions_told(finished), _advance(finished), _level(finished)
    ]  # fmt: skip
    paragraph = "<p>" + " ".join(sentence for sentence in sentences if sentence) + "</p>"
    # A line must not break between a number and its unit.
    return re.sub(r"(?<=[\d)]) (?=(µm|nm|nA|mV|mA/cm²|%|±|×)|[±×])|(?<=[±×]) (?=\d)", "\u00a0", paragraph)


def _focusing(finished: Finished) -> str:
    hottest = finished.hottest
    if hottest is None:
        reasons = [
            str(entry.get("absent") or entry.get("error_absent") or "no reason recorded")
            for name, entry in finished.result["metrics"].items()
            if name.startswith("fef_r")
        ]
        why = f" ({text(reasons[0])})" if reasons else ""
        return f"This run gives no focusing factor{why}."
    number, error = with_error(hottest.value, hottest.error)
    x, y, z = hottest.place
    depth = _depth(finished, z)
    sentence = (
        f"At its hottest place the lithium takes up <strong>{number}{' ± ' + error if error else ''} times</strong> "
        f"the mean current density of the cell, averaged over a ball of {length_text(hottest.radius)} radius. That "
        f"place is at x = {x:.2f}, y = {y:.2f}, z = {z:.2f} µm{depth}."
    )
    if not error:
        why = finished.metric(hottest.metric).get("error_absent", "none was recorded")
        sentence += f" No error is given: {text(why)}."
    return sentence


def _depth(finished: Finished, z: float) -> str:
    """Return how far below the plating face a height is, where that is known."""
    height = as_float(finished.result.get("electrodes", {}).get("height_m")) / UM
    if finished.lithium is None or not math.isfinite(height):
        return ""
    depth = height - z if finished.plating_up else z
    return f", {depth:.2f} µm deep under the plating electrode" if depth > 0.005 else ", in the plating face itself"


def _drawn(finished: Finished) -> str:
    current, share = quantity(finished, "crack_current"), quantity(finished, "crack_current_share")
    if not current or not share:
        return ""
    cracks = finished.result.get("cracks", {})
    flat = all(entry.get("kind") in ("patch", "patches") for entry in cracks.values())
    if len(cracks) == 1:
        who = f"The contact {text(next(iter(cracks)))} draws" if flat else "The crack draws"
    else:
        who = f"The {len(cracks)} {'parts of the face' if flat else 'cracks'} together draw"
    if finished.value("crack_current_share") > 1 - 1e-9:
        return f"{who} <strong>all</strong> of the cell's current, {current}."
    sentence = f"{who} {current}, <strong>{share}</strong> of the cell's current"
    ratio = quantity(finished, "capture_ratio")
    like = "its share of the face" if flat else "what flat lithium over its opening would take"
    return sentence + (f", {ratio} times {like}." if ratio else ".")


def _advance(finished: Finished) -> str:
    shown = quantity(finished, "electrode_advance")
    value = finished.value("electrode_advance")
    height = as_float(finished.result.get("electrodes", {}).get("height_m"))
    if not shown or not math.isfinite(height):
        return ""
    change = f"{rounded(100 * abs(value) / height, 3)} % of their distance"
    if value < 0:
        return (
            f"Impedance would see the electrodes <strong>farther apart</strong> by {shown.replace('−', '')}, {change}: "
            f"{_resisting(finished)} more resistance than the lithium in it takes off."
        )
    return f"Impedance would see the electrodes <strong>closer by {shown}</strong>, {change}."


def _resisting(finished: Finished) -> str:
    """Return what adds resistance, as the subject and verb of a sentence."""
    cracks = (finished.result.get("cracks") or {}).values()
    names = ["interfacial resistance"] if finished.result.get("interfaces") else []
    if any(entry.get("kind") in ("patch", "patches") for entry in cracks):
        names.append("the way through parts of the face")
    if "electrolyte_parts" in finished.result:
        names.append("poorly conducting parts")
    if not names:
        names = ["insulating voids"]
    return " and ".join(names) + (" add" if len(names) > 1 or names[0].endswith("s") else " adds")


def _level(finished: Finished) -> str:
    electrodes = finished.result.get("electrodes", {})
    volts = as_float(electrodes.get("counter_V")) - as_float(electrodes.get("plating_V"))
    density = as_float(finished.result.get("reference", {}).get("current_density"))
    if not math.isfinite(density):
        return ""
    at = f" at {rounded(1000 * volts, 3)} mV" if math.isfinite(volts) else ""
    return f"The mean current density is {rounded(0.1 * density, 4)} mA/cm²{at}."


def warnings(finished: Finished) -> str:
    """Return the warnings as a block that cannot be overlooked, or one quiet sentence."""
    given = finished.result.get("warnings") or []
    if not given:
        return '<p class="quiet">The run gave no warnings.</p>'
    items = "".join(
        f"<li><strong>{text(w.get('kind', 'warning'))}</strong>: {text(w.get('text', ''))}</li>"
        if isinstance(w, dict)
        else f"<li>{text(w)}</li>"
        for w in given
    )
    return f'<section class="warnings" role="note"><h2>Read these warnings first</h2><ul>{items}</ul></section>'


# --- results ---------------------------------------------------------------------------------------------------------

_GROUPS = (
    ("Focusing", r"fef_|edge_|dissipation_release|singularity_exponent"),
    ("Current drawn by the crack", r"crack_|capture_"),
    ("Regions", r"region_"),
    (
        "Cell",
        r"resistance|effective_conductivity|area_resistance|electrode_advance|total_current|mean_current|plating_rate",
    ),
    ("Distribution of the current density on the lithium", r"flux_q|area_above|current_share_above|tail_exponent"),
    ("Other", r""),
)


def results(finished: Finished) -> str:
    """Return the table of metrics, the raw maximum last and marked as no result."""
    metrics = finished.result["metrics"]
    left = {name: entry for name, entry in metrics.items() if isinstance(entry, dict) and not entry.get("flag")}
    models = columns(metrics)
    body = ""
    for title, pattern in _GROUPS:
        rows = {name: left.pop(name) for name in list(left) if re.match(pattern, name)}
        if title == "Focusing":
            rows = dict(sorted(rows.items(), key=lambda item: as_float(item[1].get("averaging_length_m") or math.inf)))
        if rows:
            cells = "".join(_row(name, entry, metrics) for name, entry in rows.items())
            span = 5 + len(models)
            body += (
                f'<tbody class="group"><tr><th scope="rowgroup" colspan="{span}">{text(title)}</th></tr>{cells}</tbody>'
            )
    flagged = "".join(
        _not_a_result(name, entry, 3 + len(models))
        for name, entry in metrics.items() if isinstance(entry, dict) and entry.get("flag")
    )  # fmt: skip
    numbers, number = ("Value", "Error", *models), ' class="number"'
    head = "".join(
        f'<th scope="col"{number if title in numbers else ""}>{title}</th>'
        for title in ("Quantity", *numbers, "Unit", "Definition")
    )
    return (
        '<div class="wide"><table><caption>All currents come from nodal reactions. The error is that of the '
        "discretisation; it does not cover the material values, the given geometry or the size of the block. What is "
        "known of these stands in columns of its own.</caption>"
        f"<thead><tr>{head}</tr></thead>{body}<tbody>{flagged}</tbody></table></div>"
        + _error_notes(metrics)
        + model_notes(metrics)
        + _reference(finished)
        + _cracks(finished)
        + regions_table(finished)
        + parts_table(finished)
    )


def _row(name: str, entry: dict[str, Any], metrics: dict[str, Any]) -> str:
    value = as_float(entry.get("value"))
    what = f'<th scope="row">{text(label(name, entry))}<br><code>{text(name)}</code></th>'
    definition = f"<td>{text(entry.get('definition', ''))}</td>"
    if not math.isfinite(value):
        why = entry.get("absent") or entry.get("reason") or entry.get("error_absent") or "no reason recorded"
        span = 3 + len(columns(metrics))
        return f'<tr>{what}<td colspan="{span}" class="absent">not given: {text(why)}</td>{definition}</tr>'
    unit, factor = shown_unit(name, entry)
    number, error = with_error(value * factor, as_float(entry.get("error")) * factor)
    if isinstance(bounds := entry.get("bounds"), (list, tuple)) and len(bounds) == 2:
        low, high = (rounded(as_float(b) * factor) for b in bounds)
        if low != high:
            bounded = f". <span class='quiet'>Between {low} and {high} {text(unit)}.</span></td>"
            definition = definition.replace("</td>", bounded)
    return (
        f'<tr>{what}<td class="number">{number}</td><td class="number">{"± " + error if error else "none"}</td>'
        f'{model_cells(name, entry, metrics)}<td class="unit">{text(unit)}</td>{definition}</tr>'
    )


def _not_a_result(name: str, entry: dict[str, Any], span: int) -> str:
    unit, factor = convenient(str(entry.get("unit", "V/m")))
    value, size = as_float(entry.get("value")) * factor, as_float(entry.get("local_size"))
    shown = f"{rounded(value)} {unit}" if math.isfinite(value) else "not recorded"
    where = f" where the cells measure {rounded(size * 1e9, 3)} nm" if math.isfinite(size) else ""
    return (
        f'<tr class="not-a-result"><th scope="row">Not a result: largest |E| on this mesh<br><code>{text(name)}</code>'
        f"</th><td colspan='{span}'>{text(shown)}{text(where)}; {text(entry.get('flag'))}</td>"
        f"<td>It grows without bound as the mesh gets finer. Do not quote it.</td></tr>"
    )


def _error_notes(metrics: dict[str, Any]) -> str:
    """Return how the errors were found, and once each why some are missing."""
    entries = [e for e in metrics.values() if isinstance(e, dict) and not e.get("flag")]
    methods = sorted({str(e["error_method"]) for e in entries if e.get("error_method") and e.get("error") is not None})
    missing = sorted({
        str(e.get("error_absent")) for e in entries
        if e.get("error") is None and e.get("error_absent") and math.isfinite(as_float(e.get("value")))
    })  # fmt: skip
    notes = [f"Errors: {text('; '.join(methods))}." if methods else "", *(f"No error: {text(m)}." for m in missing)]
    return "".join(f'<p class="quiet">{note}</p>' for note in notes if note)


def _reference(finished: Finished) -> str:
    """Return the reference field, and by how much factors over V/H would differ."""
    record = finished.result.get("reference") or {}
    field, whole = as_float(record.get("field")), as_float(record.get("field_V_over_H"))
    if not (math.isfinite(field) and math.isfinite(whole) and whole):
        return ""
    return (
        f'<p class="quiet">Factors are over j₀, that is over E₀ = j₀/σ = {rounded(field / 100)} V/cm. Over V/H = '
        f"{rounded(whole / 100)} V/cm, as field pictures often are, they would be {rounded(field / whole, 4)} times as "
        "large.</p>"
    )


def _cracks(finished: Finished) -> str:
    """Return one row per crack."""
    columns = (("current", "A", "Current"), ("share", "", "Share"), ("potential", "V", "Potential"),
               ("area", "m^2", "Area"), ("volume", "m^3", "Volume"))  # fmt: skip
    rows = []
    for name, entry in (finished.result.get("cracks") or {}).items():
        row = [text(name)]
        for key, unit, _ in columns:
            value = as_float(entry.get(key))
            factor = 100.0 if key == "share" else convenient(unit)[1]
            row.append(rounded(value * factor) if math.isfinite(value) else "none")
        rows.append(row)
    if not rows:
        return ""
    head = [f"{title}, {'%' if key == 'share' else convenient(unit)[0]}" for key, unit, title in columns]
    return table("Each crack.", ["Crack", *head], rows)


# --- figures ---------------------------------------------------------------------------------------------------------

_SECTION = (
    "Vertical section through the hottest point (without a lithium crack, through the largest field). Colours: local "
    "over mean current density, on a logarithmic scale; thin lines: equipotentials; grey: lithium and voids; ring: the "
    "averaging ball of the focusing factor at its true size. Where a crack ends in a sharp edge the field has no "
    "largest value, so the colours are capped."
)
_CRACK = "Current density into the lithium, over the mean. The ring marks the hottest place."
_DISTRIBUTION = (
    "Share of the crack's area (without a crack, of the electrode's), and share of its current, that sees more than a "
    "given current density. The far tail depends on the mesh."
)


def figures(finished: Finished, *, with_plot: bool) -> str:
    """Return section, rotatable crack and flux distribution."""
    crack = _picture(finished, "crack.png", _CRACK, "Crack surface coloured by current density.")
    if with_plot:
        plot = (
            '<figure id="crack-figure"><div id="crack-plot" role="img" aria-label="Rotatable crack surface coloured by '
            'the current density into the lithium"></div>'
            '<figcaption class="screen">Current density into the lithium over the mean, on a logarithmic, capped '
            "scale. Drag to turn, scroll to zoom, point to read. Blue dot: the hottest place.</figcaption>"
            f'<div class="still">{crack}</div></figure>'
        )
    else:
        plot = "<p>The run wrote no lithium surface, so there is nothing to rotate.</p>" + crack
    curve = "The polarisation curve: cell voltage (round) and the crack's share of the current (square)."
    filled = (
        "Filling over time: above, the share of the crack's volume that lithium has filled, with the error of the "
        "time; below, the crack's share of the current (squares) and the resistance of the cell (triangles)."
    )
    return (
        _picture(finished, "section.png", _SECTION, "Section through the block, coloured by local current density.")
        + plot
        + _picture(finished, "flux_distribution.png", _DISTRIBUTION, "Distribution of the current density.", "small")
        + (_picture(finished, "polarisation.png", curve, curve, "small") if finished.result.get("polarisation") else "")
        + (_picture(finished, "filling.png", filled, filled, "small") if finished.result.get("filling") else "")
    )


def _picture(finished: Finished, name: str, caption: str, alternative: str, kind: str = "") -> str:
    path = finished.folder / "figures" / name
    if not path.is_file():
        return f"<p>The picture <code>figures/{text(name)}</code> was not drawn.</p>"
    data = base64.b64encode(path.read_bytes()).decode()
    return (
        f'<figure><img class="{kind}" src="data:image/png;base64,{data}" alt="{text(alternative)}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )
