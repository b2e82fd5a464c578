"""The one offline HTML page that every report is: head, style, scripts; what it says is the caller's."""

from __future__ import annotations

import json
from importlib import resources
from string import Template
from typing import Any

from fem_spall.output.tables import text

__all__ = ["page", "plotly_scripts", "section"]


def page(
    title: str, subtitle: str, body: str, footer: str, *, skip: str = "", scripts: str = "", compiles: bool = False
) -> str:
    """Return a page that loads nothing from the network.

    Parameters
    ----------
    title, footer
        Plain text.
    subtitle, body
        HTML.
    skip
        Id of the section that a reader without a mouse may skip to.
    scripts
        Inline scripts after the body, as of `plotly_scripts`; without them the page may run none.
    compiles
        Whether the scripts make functions from text, as plotly.js does for parallel coordinates.
    """
    template = Template(resources.files("fem_spall.output").joinpath("page.html").read_text(encoding="utf-8"))
    inline = "'unsafe-inline' 'unsafe-eval'" if compiles else "'unsafe-inline'"
    allowed = f"img-src data: blob:; script-src {inline}; worker-src blob:" if scripts else "img-src data:"
    link = f'<a class="skip" href="#{skip}">Skip to the {skip}</a>\n' if skip else ""
    return template.substitute(
        title=text(title), subtitle=subtitle, body=body, footer=text(footer), allowed=allowed, skip=link,
        scripts=scripts,
    )  # fmt: skip


def section(name: str, heading: str, content: str) -> str:
    """Return a section with its heading, plain text; `name` is the id that links lead to."""
    return f'<section id="{name}"><h2>{text(heading)}</h2>\n{content}\n</section>\n'


def plotly_scripts(data: Any, draw: str) -> str:
    """Return plotly.js and a script inline, with ``</`` escaped so that no text can end them early.

    Parameters
    ----------
    data
        What JSON can hold; `draw` finds it as the constant ``data``.
    draw
        JavaScript that runs last.
    """
    from plotly.offline import get_plotlyjs

    shown = json.dumps(data, separators=(",", ":"), sort_keys=True).replace("</", "<\\/")
    library = get_plotlyjs().replace("</script", "<\\/script")
    read = "const data = JSON.parse(document.getElementById('plot-data').textContent);"
    return (
        f'<script type="application/json" id="plot-data">{shown}</script>\n'
        f"<script>{library}</script>\n<script>\n{read}\n{draw}\n</script>"
    )
