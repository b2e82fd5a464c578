"""The sections of the report that show the record: evidence, mesh, inputs, seconds, citation, definitions."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from fem_spall.output.convergence import find_study
from fem_spall.output.finished import Finished, as_float
from fem_spall.output.formulas import FORMULAS, label, shown_unit
from fem_spall.output.tables import table, text
from fem_spall.output.wording import convenient, rounded

__all__ = ["cite", "definitions", "evidence", "inputs", "mesh", "run"]

#: Largest relative defect of a discrete identity that counts as held: the limit beyond which a run is refused.
IDENTITY_LIMIT = 1e-7


def evidence(finished: Finished) -> str:
    """Return error bars, convergence and balance."""
    return _accuracy(finished) + _methods(finished) + _convergence(finished) + _study(finished) + _balance(finished)


def _accuracy(finished: Finished) -> str:
    """Return the levels of an adaptive run: figures with errors, and the raw maximum that does not converge."""
    record = finished.result.get("accuracy") or {}
    levels = record.get("levels") or []
    if not levels:
        return ""
    names = list(record.get("error_over_target") or {})
    rows = []
    for level in levels:
        figures = level.get("figures") or {}
        cells = []
        for name in [*names, "max_field_on_mesh"]:
            entry = figures.get(name) or {}
            _, factor = shown_unit(name, finished.metric(name))
            value, error = as_float(entry.get("value")) * factor, as_float(entry.get("error")) * factor
            shown = rounded(value) if math.isfinite(value) else "not given"
            cells.append(f"{shown} &plusmn; {rounded(error, 2)}" if math.isfinite(error) else shown)
        rows.append([f"{level.get('cells', 0):,}", f"{level.get('dofs', 0):,}", *cells])
    heads = []
    for name in [*names, "max_field_on_mesh"]:
        unit, _ = shown_unit(name, finished.metric(name))
        heads.append(f"{label(name, finished.metric(name))}{f' ({unit})' if unit not in ('', '1') else ''}")
    target = f"{100 * as_float(record.get('target')):.3g} %"
    caption = (
        f"Meshes refined where the errors of the named figures come from, asked for {target}: "
        f"{'met' if record.get('met') else 'not met'}, {text(record.get('stopped', ''))}. "
        "The raw maximum of the field is shown to warn: it does not converge and has no error."
    )
    return "<h3>Accuracy asked for</h3>" + table(caption, ["Cells", "Unknowns", *map(text, heads)], rows)


def _methods(finished: Finished) -> str:
    """Return how each discretisation error was found."""
    by_method: dict[str, list[str]] = {}
    for name, entry in (finished.result.get("metrics") or {}).items():
        if entry.get("value") is not None and entry.get("error") is not None:
            by_method.setdefault(str(entry.get("error_method")), []).append(label(name, entry))
    if not by_method:
        return ""
    rows = [[text(method), text(", ".join(names))] for method, names in by_method.items()]
    return "<h3>How the errors were found</h3>" + table(
        "Errors of the discretisation only; those of box and surface stand in columns of their own.",
        ["Method", "Figures"], rows,
    )  # fmt: skip


def _study(finished: Finished) -> str:
    """Return the link to a convergence study of this case, or how to make one."""
    page = find_study(finished.folder, str(finished.result.get("case_hash", "")))
    if page is not None:
        return (
            f'<p>How the figures change with the mesh: <a href="{text(page)}">convergence study of this case</a>.</p>'
        )
    name = text(finished.folder.name)
    return (
        "<p>One mesh is no proof of independence from the mesh. <code>fem-spall converge</code> with this case and "
        f"<code>-o {name}_convergence</code> beside this folder runs it on several; then <code>fem-spall report {name}"
        "</code> puts the link here.</p>"
    )


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
    caption = f"The same figures from a coarser and a finer solution ({method}): how much the degree matters."
    return "<h3>Convergence</h3>" + table(caption, ["Quantity", "Coarse", "Fine", "Change", "Unit"], rows)


_IDENTITIES = {
    "charge": ("Charge", "the nodal reactions on all electrodes add up to zero: what enters also leaves"),
    "energy": ("Energy", "V I equals the heat ∫ σ|∇φ|² of the electrolyte and its interfaces"),
    "power_by_part": (
        "Power by part",
        "what the electrodes supply is dissipated in the electrolyte and in each of the interfaces",
    ),
    "isolated": ("Isolated lithium", "the largest net current into an isolated body, over the cell's: none may flow"),
    "advance": ("Electrode advance", "the advance from the resistance equals the one from the place of every reaction"),
}


def _balance(finished: Finished) -> str:
    held = finished.result.get("identities") or finished.result.get("identity") or {}
    rows = []
    for name, value in held.items():
        title, meaning = _IDENTITIES.get(name, (name, ""))
        defect = as_float(value)
        verdict = (
            "not evaluated" if not math.isfinite(defect) else "holds" if abs(defect) <= IDENTITY_LIMIT else "fails"
        )
        rows.append([text(title), rounded(defect, 2) if math.isfinite(defect) else "none", verdict, text(meaning)])
    if not rows:
        return "<h3>Balance</h3><p>The record holds no balances.</p>"
    caption = (
        "Identities that the discrete solution obeys on every mesh, however coarse. A defect above one part in ten "
        "million would mean an unfinished solve or a fault in the program, not a coarse mesh."
    )
    return "<h3>Balance</h3>" + table(caption, ["Identity", "Relative defect", "Verdict", "Meaning"], rows)


def mesh(finished: Finished) -> str:
    """Return mesh sizes, quality, and what was repaired on the surface."""
    record = finished.result.get("mesh") or {}
    rows = [
        [text(_words(key)), _plain(key, value)] for key, value in record.items() if not isinstance(value, (dict, list))
    ]
    shown = (
        table("The mesh of the electrolyte.", ["Item", "Value"], rows, "pairs")
        if rows
        else "<p>The record holds no mesh.</p>"
    )
    geometry = finished.result.get("geometry") or {}
    sizes = []
    for key, value in geometry.items():
        power = "m^3" if key.endswith("volume") else "m^2" if key.endswith("area") else "1"
        unit, factor = convenient(power)
        number = as_float(value)
        sizes.append([text(_words(key)), rounded(number * factor) if math.isfinite(number) else text(value), unit])
    if sizes:
        shown += table("Volumes and areas as meshed.", ["Item", "Value", "Unit"], sizes, "pairs")
    return shown + _distances(record) + _levels(record) + _repairs(finished)


def _distances(record: dict[str, Any]) -> str:
    """Return how far the meshed surfaces lie from the given ones."""
    rows = [
        [text(name), *(rounded(as_float(entry.get(key)) * 1e9, 3) for key in ("p99_m", "largest_m"))]
        for name, entry in (record.get("distances") or {}).items()
        if isinstance(entry, dict)
    ]
    head = ["Surface", "99 % within, nm", "Largest, nm"]
    return table("Distance between the given and the meshed surface.", head, rows) if rows else ""


def _levels(record: dict[str, Any]) -> str:
    """Return the rounds of refinement, whatever the record says of each."""
    levels = [level for level in record.get("levels") or [] if isinstance(level, dict)]
    keys = list(dict.fromkeys(key for level in levels for key in level))
    rows = [[str(k + 1), *(_plain(key, level.get(key)) for key in keys)] for k, level in enumerate(levels)]
    head = ["Round", *(text(_words(key).capitalize()) for key in keys)]
    return table("Refinement of the mesh where the focusing factor is decided.", head, rows) if rows else ""


def _repairs(finished: Finished) -> str:
    rows = [
        [
            text(repair.get("kind", "")), text(repair.get("count", "")),
            rounded(as_float(repair.get("d_volume", 0)) * 1e18, 3),
            rounded(as_float(repair.get("d_area", 0)) * 1e12, 3),
            rounded(as_float(repair.get("displacement", 0)) * 1e9, 3),
        ]
        for repair in finished.result.get("repairs") or []
    ]  # fmt: skip
    if not rows:
        return "<h3>Repairs</h3><p>The surfaces needed no repair.</p>"
    head = ["Repair", "Count", "Volume change, µm³", "Area change, µm²", "Largest displacement, nm"]
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
    return shown + _surfaces(finished)


def _surfaces(finished: Finished) -> str:
    """Return the surface files the cracks came from, with their fingerprints."""
    rows = []
    for name, entry in (finished.result.get("surfaces") or {}).items():
        given = (str(entry.get(key, "")) for key in ("file", "unit", "triangles", "sha256"))
        file, unit, triangles, fingerprint = given
        rows.append([text(name), text(file), text(unit), text(triangles), f"<code>{text(fingerprint)}</code>"])
    head = ["Crack", "File", "Unit", "Triangles", "SHA-256"]
    told = [line for entry in (finished.result.get("surfaces") or {}).values() for line in entry.get("told") or ()]
    account = "".join(f"<li>{text(line)}</li>" for line in told)
    shown = table("Surfaces.", head, rows) if rows else ""
    return shown + (f"<h3>How images were read</h3><ul>{account}</ul>" if account else "")


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
        f"electrolytes. State the version, the case fingerprint <code>{case_hash}</code> and the averaging length "
        "beside every focusing factor. <code>fem-spall cite</code> prints the entry for a reference manager.</p>"
        "<p>The experiment that this kind of calculation belongs to: Spallation cracks and sub-surface lithium "
        "deposition in a garnet electrolyte, <em>Energy &amp; Environmental Science</em> 17 (2024) 2431–2440, "
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


_WORDS = {
    "dofs": "unknowns",
    "min_quality": "lowest quality of a cell",
    "p01_quality": "1st percentile of the quality",
    "void_volume": "volume of cracks and pores in the block",
    "adapt": "refinement",
    "output": "pictures and report",
}


def _words(key: str) -> str:
    return _WORDS.get(key, re.sub(r"_m[23]?$", "", key).replace("_", " "))


def _plain(key: str, value: object) -> str:
    """Return a value of the record: lengths in um, counts in full, the rest rounded."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\u202f")
    if isinstance(value, float):
        for suffix, unit in (("_m", "m"), ("_m2", "m^2"), ("_m3", "m^3")):
            if key.endswith(suffix):
                shown, factor = convenient(unit)
                return f"{rounded(value * factor)} {shown}"
        return rounded(value, 3)
    return text(value)
