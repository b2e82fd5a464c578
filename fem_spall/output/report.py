"""The report of a run: one offline HTML file, made from the files of its result folder."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from fem_spall.output import report_consequences as consequences
from fem_spall.output import report_parts as parts
from fem_spall.output import report_records as records
from fem_spall.output.files import atomic_text
from fem_spall.output.finished import Finished
from fem_spall.output.tables import text

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
    template = Template(resources.files("fem_spall.output").joinpath("template.html").read_text(encoding="utf-8"))
    plot = _plot(finished)
    page = template.substitute(
        title=text(f"Current focusing: {finished.result.get('name', folder.name)}"),
        subtitle=parts.subtitle(finished),
        answer=consequences.leading(finished) + parts.answer(finished) + consequences.told(finished),
        warnings=parts.warnings(finished),
        contents=parts.contents(),
        results=parts.results(finished) + consequences.polarisation(finished) + consequences.filling(finished),
        figures=parts.figures(finished, with_plot=plot is not None),
        evidence=records.evidence(finished),
        mesh=records.mesh(finished),
        inputs=records.inputs(finished),
        run=records.run(finished),
        cite=records.cite(finished),
        definitions=records.definitions(finished) + consequences.formulas(finished),
        version=text(finished.result.get("version", "")),
        scripts="" if plot is None else _scripts(plot),
    )
    return atomic_text(folder / REPORT, page)


def _plot(finished: Finished) -> dict[str, Any] | None:
    """Return traces and layout of the rotatable crack, or None without a lithium surface."""
    if finished.lithium is None:
        return None
    from fem_spall.output.crack_plot import crack_plot

    return crack_plot(finished)


def _scripts(plot: dict[str, Any]) -> str:
    """Return plotly.js and the plot as inline scripts, with ``</`` escaped so that no text can end them early."""
    from plotly.offline import get_plotlyjs

    data = json.dumps(plot, separators=(",", ":"), sort_keys=True).replace("</", "<\\/")
    # The still picture stays where there is no WebGL, no JavaScript, or on paper.
    draw = (
        "const plot = JSON.parse(document.getElementById('crack-data').textContent);\n"
        "const figure = document.getElementById('crack-figure'), div = document.getElementById('crack-plot');\n"
        "const still = () => figure.classList.remove('live');\n"
        "if (document.createElement('canvas').getContext('webgl')) {\n"
        "  figure.classList.add('live');\n"
        "  Plotly.newPlot(div, plot.data, plot.layout, plot.config)\n"
        "    .then(() => div.setAttribute('data-drawn', 'yes')).catch(still);\n"
        "}"
    )
    library = get_plotlyjs().replace("</script", "<\\/script")
    return (
        f'<script type="application/json" id="crack-data">{data}</script>\n'
        f"<script>{library}</script>\n<script>\n{draw}\n</script>"
    )
