"""The sections of the report, each from the record of a finished run to a piece of HTML.

Whatever comes from the record or from a file is escaped by :func:`text` on its
way into the page; a missing part becomes a sentence that says so.
"""

from __future__ import annotations

import base64
import html
import math
import re
from pathlib import Path
from typing import Any

from fem_spall.output.finished import UM, Finished, as_float
from fem_spall.output.formulas import FORMULAS, LABELS
from fem_spall.output.wording import convenient, rounded, with_error

__all__ = [
    "answer", "cite", "contents", "definitions", "evidence", "figures", "inputs", "mesh", "results", "run", "subtitle",
    "text", "warnings",
]  # fmt: skip

#: Largest relative defect of a discrete identity that counts as held; the run itself refuses worse.
IDENTITY_LIMIT = 1e-8


def text(value: object) -> str:
    """Return a value as HTML text."""
    return html.escape(str(value), quote=True)


def subtitle(finished: Finished) -> str:
    """Return version and fingerprint of the run."""
    result = finished.result
    case_hash = str(result.get("case_hash", ""))[:12]
    return text(f"fem-spall {result.get('version', '')}" + (f" · case {case_hash}" if case_hash else ""))


def contents() -> str:
    """Return links to the sections."""
    names = {
        "results": "Results", "place": "Where", "evidence": "Evidence", "mesh": "Mesh", "inputs": "Inputs",
        "run": "Run", "cite": "Cite", "definitions": "Definitions",
    }  # fmt: skip
    return "\n".join(f'<a href="#{key}">{name}</a>' for key, name in names.items())


# --- the answer ------------------------------------------------------------------------------------------------------


def shown_unit(name: str, entry: dict[str, Any]) -> tuple[str, float]:
    """Return the unit to show a metric in and the factor from its SI value; shares are shown in per cent."""
    return ("%", 100.0) if "share" in name else convenient(str(entry.get("unit", "1")))


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
    sentences = [_focusing(finished), _drawn(finished), _advance(finished), _level(finished)]
    return "<p>" + " ".join(sentence for sentence in sentences if sentence) + "</p>"


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
        f"At its hottest place the lithium takes up <strong>{number}{' ± ' + error if error else ''} times</strong> the "
        f"mean current density of the cell, averaged over a ball of {hottest.radius * 1000:g} nm radius. That place "
        f"is at x = {x:.2f}, y = {y:.2f}, z = {z:.2f} µm{depth}."
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
    return f", {depth:.2f} µm deep under the plating electrode" if depth > 0.005 else ", in the plating electrode's plane"


def _drawn(finished: Finished) -> str:
    current, share = quantity(finished, "crack_current"), quantity(finished, "crack_current_share")
    if not current or not share:
        return ""
    cracks = finished.result.get("cracks", {})
    who = "The crack draws" if len(cracks) < 2 else f"The {len(cracks)} cracks together draw"
    sentence = f"{who} {current}, <strong>{share}</strong> of the cell's current"
    ratio = quantity(finished, "capture_ratio")
    return sentence + (f", {ratio} times what flat lithium over its opening would take." if ratio else ".")


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
            "insulating voids or interfacial resistance outweigh the crack."
        )
    return f"Impedance would see the electrodes <strong>closer by {shown}</strong>, {change}."


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
    ("Focusing", r"fef_r|edge_flux"),
    ("Current drawn by the crack", r"crack_|capture_"),
    ("Cell", r"resistance|area_resistance|electrode_advance|total_current|mean_current"),
    ("Distribution of the current density on the lithium", r"flux_q|area_above|current_share_above"),
    ("Other", r""),
)


def label(name: str, entry: dict[str, Any]) -> str:
    """Return the name of a metric in words."""
    if name.startswith("fef_r"):
        length = as_float(entry.get("averaging_length_m"))
        shown = f"{length * 1e9:g} nm" if math.isfinite(length) else name.removeprefix("fef_r")
        return f"Focusing factor over {shown}"
    if found := re.fullmatch(r"flux_q(\d+)(_current_weighted)?", name):
        return f"j/j₀, {found[1]} % quantile by {'current' if found[2] else 'area'}"
    return LABELS.get(name, name.replace("_", " ").capitalize())


def results(finished: Finished) -> str:
    """Return the table of metrics, the raw maximum last and marked as no result."""
    metrics = finished.result["metrics"]
    left = {name: entry for name, entry in metrics.items() if isinstance(entry, dict) and not entry.get("flag")}
    body = ""
    for title, pattern in _GROUPS:
        rows = {name: left.pop(name) for name in list(left) if re.match(pattern, name)}
        if title == "Focusing":
            rows = dict(sorted(rows.items(), key=lambda item: as_float(item[1].get("averaging_length_m") or math.inf)))
        if rows:
            cells = "".join(_row(name, entry) for name, entry in rows.items())
            body += f'<tbody class="group"><tr><th scope="rowgroup" colspan="5">{text(title)}</th></tr>{cells}</tbody>'
    flagged = "".join(
        _not_a_result(name, entry) for name, entry in metrics.items() if isinstance(entry, dict) and entry.get("flag")
    )
    head = "".join(f'<th scope="col"{c}>{h}</th>' for h, c in (
        ("Quantity", ""), ("Value", ' class="number"'), ("Error", ' class="number"'), ("Unit", ""), ("Definition", ""),
    ))  # fmt: skip
    return (
        '<div class="wide"><table><caption>All currents come from nodal reactions. The error is that of the '
        "discretisation; it does not cover the geometry, the material values or the size of the block.</caption>"
        f"<thead><tr>{head}</tr></thead>{body}<tbody>{flagged}</tbody></table></div>"
        + _error_notes(metrics)
        + _reference(finished)
        + _cracks(finished)
    )


def _row(name: str, entry: dict[str, Any]) -> str:
    value = as_float(entry.get("value"))
    what = f'<th scope="row">{text(label(name, entry))}<br><code>{text(name)}</code></th>'
    definition = f"<td>{text(entry.get('definition', ''))}</td>"
    if not math.isfinite(value):
        why = entry.get("absent") or entry.get("reason") or entry.get("error_absent") or "no reason recorded"
        return f'<tr>{what}<td colspan="3" class="absent">not given: {text(why)}</td>{definition}</tr>'
    unit, factor = shown_unit(name, entry)
    number, error = with_error(value * factor, as_float(entry.get("error")) * factor)
    if isinstance(bounds := entry.get("bounds"), (list, tuple)) and len(bounds) == 2:
        low, high = (rounded(as_float(b) * factor) for b in bounds)
        definition = definition.replace("</td>", f" <span class='quiet'>Between {low} and {high} {text(unit)}.</span></td>")
    return (
        f'<tr>{what}<td class="number">{number}</td><td class="number">{"± " + error if error else "none"}</td>'
        f'<td class="unit">{text(unit)}</td>{definition}</tr>'
    )


def _not_a_result(name: str, entry: dict[str, Any]) -> str:
    unit, factor = convenient(str(entry.get("unit", "V/m")))
    value, size = as_float(entry.get("value")) * factor, as_float(entry.get("local_size"))
    shown = f"{rounded(value)} {unit}" if math.isfinite(value) else "not recorded"
    where = f" where the cells measure {rounded(size * 1e9, 3)} nm" if math.isfinite(size) else ""
    return (
        f'<tr class="not-a-result"><th scope="row">Not a result: largest |E| on this mesh<br><code>{text(name)}</code>'
        f"</th><td colspan='3'>{text(shown)}{text(where)}; {text(entry.get('flag'))}</td>"
        f"<td>It grows without bound as the mesh gets finer. Do not quote it.</td></tr>"
    )


def _error_notes(metrics: dict[str, Any]) -> str:
    """Return how the errors were found, and once each why some are missing."""
    entries = [e for e in metrics.values() if isinstance(e, dict)]
    methods = sorted({str(e["error_method"]) for e in entries if e.get("error_method") and e.get("error") is not None})
    missing = sorted({
        str(e.get("error_absent")) for e in entries
        if e.get("error") is None and e.get("error_absent") and math.isfinite(as_float(e.get("value"))) and not e.get("flag")
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
        f"{rounded(whole / 100)} V/cm, as field pictures often are, they would be {rounded(field / whole, 4)} times as large.</p>"
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
    "Vertical section through the hottest point. Colours: local over mean current density, on a logarithmic scale; thin "
    "lines: equipotentials; black: surface of the lithium; ring: the averaging ball of the focusing factor at its true "
    "size. Where a crack ends in a sharp edge the field has no largest value, so the colours are capped."
)
_CRACK = "Current density into the lithium, over the mean. The ring marks the hottest place."
_DISTRIBUTION = (
    "Share of the lithium's area, and share of its current, that sees more than a given current density. The far tail "
    "depends on the mesh."
)


def figures(finished: Finished, *, with_plot: bool) -> str:
    """Return section, rotatable crack and flux distribution."""
    crack = _picture(finished, "crack.png", _CRACK, "Crack surface coloured by current density.")
    if with_plot:
        plot = (
            '<figure id="crack-figure"><div id="crack-plot" role="img" aria-label="Rotatable crack surface coloured by '
            'the current density into the lithium"></div>'
            "<figcaption>Current density into the lithium over the mean, on a logarithmic, capped scale. Drag to turn, "
            "scroll to zoom, point to read. Blue dot: the hottest place.</figcaption>"
            f'<div class="still">{crack}</div></figure>'
        )
    else:
        plot = "<p>The run wrote no lithium surface, so there is nothing to rotate.</p>" + crack
    return (
        _picture(finished, "section.png", _SECTION, "Section through the block, coloured by local current density.")
        + plot
        + _picture(finished, "flux_distribution.png", _DISTRIBUTION, "Distribution of the current density.", "small")
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


# --- evidence and records --------------------------------------------------------------------------------------------


_NUMBER = re.compile(r"[−+±]?\d[\d\s.,×⁰¹²³⁴⁵⁶⁷⁸⁹⁻\u202f]*( %)?|none")


def table(caption: str, head: list[str], rows: list[list[str]], kind: str = "") -> str:
    """Return an HTML table; cells are HTML already, columns of numbers are set flush right."""
    flush = [False, *(all(_NUMBER.fullmatch(row[k]) for row in rows) for k in range(1, len(head)))]
    styles = [' class="number"' if right else "" for right in flush]
    titles = "".join(f'<th scope="col"{style}>{name}</th>' for name, style in zip(head, styles, strict=True))
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>'
        + "".join(f"<td{style}>{cell}</td>" for cell, style in zip(row[1:], styles[1:], strict=True))
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="wide"><table class="{kind}"><caption>{caption}</caption><thead><tr>{titles}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def evidence(finished: Finished) -> str:
    """Return convergence and balance."""
    return _convergence(finished) + _balance(finished)


def _convergence(finished: Finished) -> str:
    record = finished.result.get("convergence") or {}
    rows = []
    for row in record.get("rows") or []:
        name = str(row.get("metric", ""))
        entry = finished.metric(name)
        unit, factor = shown_unit(name, entry)
        coarse, fine = as_float(row.get("coarse")) * factor, as_float(row.get("fine")) * factor
        change = f"{rounded(100 * (fine - coarse) / fine, 2)} %" if fine and math.isfinite(fine - coarse) else "none"
        rows.append([text(label(name, entry)), rounded(coarse), rounded(fine), change, text(unit)])
    if not rows:
        return "<h3>Convergence</h3><p>This run compared no two solutions, so it shows no convergence.</p>"
    method = text(record.get("method", "two solutions"))
    caption = f"The same figures from a coarser and a finer solution ({method}). The change is the error given above."
    return "<h3>Convergence</h3>" + table(caption, ["Quantity", "Coarse", "Fine", "Change", "Unit"], rows)


_IDENTITIES = {
    "charge": ("Charge", "the nodal reactions on all electrodes add up to zero: what enters also leaves"),
    "energy": ("Energy", "V I equals the heat ∫ σ|∇φ|² of the electrolyte and its interfaces"),
    "advance": ("Electrode advance", "the advance from the resistance equals the one from the place of every reaction"),
}


def _balance(finished: Finished) -> str:
    held = finished.result.get("identities") or finished.result.get("identity") or {}
    rows = []
    for name, value in held.items():
        title, meaning = _IDENTITIES.get(name, (name, ""))
        defect = as_float(value)
        verdict = "not evaluated" if not math.isfinite(defect) else "holds" if abs(defect) <= IDENTITY_LIMIT else "fails"
        rows.append([text(title), rounded(defect, 2) if math.isfinite(defect) else "none", verdict, text(meaning)])
    if not rows:
        return "<h3>Balance</h3><p>The record holds no balances.</p>"
    caption = (
        "Identities that the discrete solution obeys on every mesh, however coarse. A defect above one part in a hundred "
        "million would mean an unfinished solve or a fault in the program, not a coarse mesh."
    )
    return "<h3>Balance</h3>" + table(caption, ["Identity", "Relative defect", "Verdict", "Meaning"], rows)


def mesh(finished: Finished) -> str:
    """Return mesh sizes, quality, and what was repaired on the surface."""
    record = finished.result.get("mesh") or {}
    rows = [[text(_words(key)), _plain(key, value)] for key, value in record.items() if not isinstance(value, (dict, list))]
    shown = table("The mesh of the electrolyte.", ["Item", "Value"], rows, "pairs") if rows else "<p>The record holds no mesh.</p>"
    geometry = finished.result.get("geometry") or {}
    sizes = []
    for key, value in geometry.items():
        power = "m^3" if key.endswith("volume") else "m^2" if key.endswith("area") else "1"
        unit, factor = convenient(power)
        number = as_float(value)
        sizes.append([text(_words(key)), rounded(number * factor) if math.isfinite(number) else text(value), unit])
    if sizes:
        shown += table("Volumes and areas as meshed.", ["Item", "Value", "Unit"], sizes, "pairs")
    return shown + _repairs(finished)


def _repairs(finished: Finished) -> str:
    rows = [
        [
            text(repair.get("kind", "")), text(repair.get("count", "")),
            rounded(as_float(repair.get("d_volume", 0)) * 1e18, 3), rounded(as_float(repair.get("d_area", 0)) * 1e12, 3),
        ]
        for repair in finished.result.get("repairs") or []
    ]  # fmt: skip
    if not rows:
        return "<h3>Repairs</h3><p>The surfaces needed no repair.</p>"
    head = ["Repair", "Count", "Volume change, µm³", "Area change, µm²"]
    return "<h3>Repairs</h3>" + table("What was changed on the given surfaces before meshing.", head, rows)


def inputs(finished: Finished) -> str:
    """Return the case as given, and as resolved."""
    given, resolved = (_file(finished.folder / name) for name in ("case.yaml", "case.resolved.yaml"))
    shown = f"<pre>{text(given)}</pre>" if given else "<p>The folder holds no <code>case.yaml</code>.</p>"
    if resolved:
        shown += (
            "<details><summary>The same with every default and override filled in</summary>"
            f"<pre>{text(resolved)}</pre></details>"
        )
    return shown


def _file(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def run(finished: Finished) -> str:
    """Return seconds of each stage, the solve and the versions."""
    seconds = {k: as_float(v) for k, v in (finished.result.get("seconds") or {}).items()}
    total = seconds.pop("total", math.nan)
    longest = max((v for v in seconds.values() if math.isfinite(v)), default=0.0)
    rows = [
        [text(_words(k)), f"{v:.1f}", f'<span class="bar" style="width:{100 * v / longest:.1f}%"></span>']
        for k, v in seconds.items() if math.isfinite(v) and longest > 0
    ]  # fmt: skip
    if math.isfinite(total):
        rows.append(["<strong>Total</strong>", f"{total:.1f}", ""])
    shown = table("Wall time of each stage.", ["Stage", "Seconds", ""], rows, "bars") if rows else ""
    solve = [[text(_words(k)), _plain(k, v)] for k, v in (finished.result.get("solve") or {}).items()]
    if solve:
        shown += table("The linear solve.", ["Item", "Value"], solve, "pairs")
    versions = [[text(k), text(v)] for k, v in (finished.result.get("versions") or {}).items()]
    return shown + (table("Versions.", ["Software", "Version"], versions, "pairs") if versions else "")


def cite(finished: Finished) -> str:
    """Return what to cite, without links: the page loads and asks for nothing."""
    version = text(finished.result.get("version", ""))
    case_hash = text(finished.result.get("case_hash", "not recorded"))
    return (
        f"<p>The fem-spall authors, <em>fem-spall</em>, version {version}: current focusing by cracks in ceramic "
        f"electrolytes. State the version, the case fingerprint <code>{case_hash}</code> and the averaging length beside "
        "every focusing factor. <code>fem-spall cite</code> prints the entry for a reference manager.</p>"
        "<p>The experiment that this kind of calculation belongs to: Spallation cracks and sub-surface lithium deposition "
        "in a garnet electrolyte, <em>Energy &amp; Environmental Science</em> 17 (2024) 2431–2440, "
        "doi 10.1039/d3ee03916a.</p>"
    )


def definitions(finished: Finished) -> str:
    """Return the formula of each kind of metric in the run."""
    names = list(finished.result["metrics"])
    shown = "".join(
        f"<dt><strong>{text(title)}</strong></dt><dd>{formula}</dd>"
        for title, pattern, formula in FORMULAS
        if not pattern or any(re.match(pattern, name) for name in names)
    )
    return f"<dl>{shown}</dl>"


def _words(key: str) -> str:
    return {"dofs": "unknowns", "ksp_reason": "solver's reason to stop (PETSc)", "p01_quality": "1st percentile of quality"}.get(
        key, key.removesuffix("_m").replace("_", " ")
    )


def _plain(key: str, value: object) -> str:
    """Return a value of the record: lengths in um, counts in full, the rest rounded."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\u202f")
    if isinstance(value, float):
        return f"{rounded(value / UM)} µm" if key.endswith("_m") else rounded(value, 3)
    return text(value)
