"""Tables and escaped text of the report."""

from __future__ import annotations

import html
import re

__all__ = ["table", "text"]


def text(value: object) -> str:
    """Return a value as HTML text."""
    return html.escape(str(value), quote=True)


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
