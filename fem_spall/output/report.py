"""The report of a run: one offline HTML file, made from the files of its result folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fem_spall.output import report_consequences as consequences
from fem_spall.output import report_parts as parts
from fem_spall.output import report_records as records
from fem_spall.output.files import atomic_text
from fem_spall.output.finished import Finished
from fem_spall.output.page import page, plotly_scripts, section

__all__ = ["write_report"]

REPORT = "report.html"


def write_report(folder: Path) -> Path:
    """Return the report written into the folder of a finished run.

    The file loads nothing from the network: figures, data and plotly.js are
    inside.  Whatever part of the run is missing is named in a sentence.

    Raises
    ------
    OutputError
        If the folder holds no readable ``result.json`` or cannot be written.
    """
    finished = Finished.read(folder)
    plot = _plot(finished)
    body = (
        '<section class="answer" aria-label="Answer">\n'
        f"{consequences.leading(finished)}{parts.answer(finished)}{consequences.told(finished)}\n</section>\n"
        + parts.warnings(finished)
        + _chapters(finished, with_plot=plot is not None)
    )
    shown = page(
        f"Current focusing: {finished.result.get('name', folder.name)}",
        parts.subtitle(finished),
        body,
        f"Written by fem-spall {finished.result.get('version', '')} from the files of this run.",
        skip="results",
        scripts="" if plot is None else plotly_scripts(plot, _DRAW),
    )
    return atomic_text(folder / REPORT, shown)


def _chapters(finished: Finished, *, with_plot: bool) -> str:
    """Return the links to all sections and the sections."""
    chapters = [
        (
            "results", "Results", "Results",
            parts.results(finished) + consequences.polarisation(finished) + consequences.filling(finished),
        ),
        ("place", "Where", "Where the current goes", parts.figures(finished, with_plot=with_plot)),
        ("evidence", "Evidence", "Evidence", records.evidence(finished)),
        ("mesh", "Mesh", "Mesh and surface", records.mesh(finished)),
        ("inputs", "Inputs", "Inputs", records.inputs(finished)),
        ("run", "Run", "Run", records.run(finished)),
        ("cite", "Cite", "How to cite", records.cite(finished)),
        ("definitions", "Definitions", "Definitions", records.definitions(finished) + consequences.formulas(finished)),
    ]  # fmt: skip
    links = "\n".join(f'<a href="#{name}">{link}</a>' for name, link, _, _ in chapters)
    return f'<nav aria-label="Contents">{links}</nav>\n' + "".join(
        section(name, heading, content) for name, _, heading, content in chapters
    )


def _plot(finished: Finished) -> dict[str, Any] | None:
    """Return traces and layout of the rotatable crack, or None without a lithium surface."""
    if finished.lithium is None:
        return None
    from fem_spall.output.crack_plot import crack_plot

    return crack_plot(finished)


# The still picture stays where there is no WebGL, no JavaScript, or on paper.
_DRAW = """\
const figure = document.getElementById('crack-figure'), div = document.getElementById('crack-plot');
const still = () => figure.classList.remove('live');
if (document.createElement('canvas').getContext('webgl')) {
  figure.classList.add('live');
  Plotly.newPlot(div, data.data, data.layout, data.config)
    .then(() => div.setAttribute('data-drawn', 'yes')).catch(still);
}"""
