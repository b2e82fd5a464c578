"""What the command line prints: progress, tables, figures in the units of the literature."""

from __future__ import annotations

import math
import os
import sys
import textwrap
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Spinner
    from rich.table import Table

__all__ = [
    "TerminalProgress",
    "console",
    "kinds_text",
    "metric_table",
    "print_result",
    "readable",
    "silence_output",
    "table",
]

#: SI unit of a figure: factor and unit to show it in.
SHOWN = {
    "1": (1.0, ""),
    "A": (1e9, "nA"),
    "A/m^2": (0.1, "mA/cm^2"),
    "V/m": (1e-3, "kV/m"),
    "m": (1e6, "um"),
    "m^2": (1e12, "um^2"),
    "m^3": (1e18, "um^3"),
    "ohm": (1e-3, "kohm"),
    "ohm*m^2": (1e4, "ohm cm^2"),
}


def console() -> Console:
    """Return a console on standard output: 140 columns on a pipe, and a closed pipe is an exception like any other."""
    from rich.console import Console

    class _Console(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return _Console(width=None if sys.stdout.isatty() else 140, highlight=False, markup=False)


def silence_output() -> None:
    """Send what is still to come on standard output nowhere: its reader has gone."""
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


class TerminalProgress:
    """Progress of a run: a spinner with the elapsed time on a terminal, one line a stage on a pipe.

    A reader who goes away (a closed pipe) does not stop the run.
    """

    def __init__(self) -> None:
        self._console = console()
        self._title = ""
        self._begin = 0.0
        self._notes: list[str] = []
        self._spinner: Spinner | None = None

    def stage(self, name: str, detail: str = "") -> None:
        """End the stage before and begin this one."""
        self.done()
        self._title, self._begin = f"{name:<16} {detail}", time.perf_counter()
        if self._console.is_terminal:
            from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

            columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
            self._spinner = Progress(*columns, console=self._console, transient=True)
            self._spinner.add_task(self._title, total=None)
            self._spinner.start()
        else:
            self._say(f"{self._title:<60} ", end="")

    def note(self, text: str) -> None:
        """Say something below the line of this stage."""
        self._notes.append(text)

    def done(self, how: str = "") -> None:
        """End the stage; ``how`` says what became of it."""
        if self._title:
            seconds = f"{time.perf_counter() - self._begin:8.1f} s{how}"
            if self._spinner is not None:
                self._spinner.stop()
                seconds = f"{self._title:<60} {seconds}"
            self._say(seconds)
        for note in self._notes:
            self._say(f"  note: {note}")
        self._title, self._notes, self._spinner = "", [], None

    def _say(self, text: str, end: str = "\n") -> None:
        try:
            print(text, end=end, flush=True)
        except BrokenPipeError:
            silence_output()


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[str] = ()) -> Table:
    """Return a plain table; the columns named in ``right`` are right-aligned, the last one takes the room left."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    made = Table(box=SIMPLE_HEAD, show_header=any(columns), pad_edge=False, header_style="bold")
    for number, column in enumerate(columns, 1):
        last = number == len(columns)
        made.add_column(column, justify="right" if column in right else "left", no_wrap=not last, overflow="fold")
    for row in rows:
        made.add_row(*row)
    return made


def readable(value: float, unit: str, error: float | None = None) -> tuple[str, str, str]:
    """Return value, error and unit as text, rounded to two digits of the error, else to four digits."""
    factor, shown = SHOWN.get(unit, (1.0, unit))
    value *= factor
    if value == 0 or not math.isfinite(value):
        return f"{value:g}", "" if error is None else f"{error * factor:.2g}", shown
    digits = 3 - math.floor(math.log10(abs(value)))
    if error is not None and math.isfinite(error) and error > 0:
        digits = min(1 - math.floor(math.log10(error * factor)), digits + 4)
    error_text = "" if error is None else _fixed(error * factor, digits) if error else "0"
    return _fixed(value, digits), error_text, shown


def _fixed(value: float, digits: int) -> str:
    if 0 <= digits <= 6:
        return f"{value:.{digits}f}"
    if digits < 0 and abs(value) < 1e7:
        return f"{round(value, digits):.0f}"
    significant = 1 + digits + (math.floor(math.log10(abs(value))) if value else 0)
    return f"{value:.{max(significant - 1, 0)}e}"


def metric_table(metrics: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return the figures of merit of a record as a table: value, error of the mesh, box, unit, definition in short.

    The columns of the box, change and value of the isolated crack, are there if a figure has them.
    """
    boxes = {name: metric.get("model_errors", {}).get("box", {}) for name, metric in metrics.items()}
    boxed = any("change" in box for box in boxes.values())
    rows = []
    for name, metric in metrics.items():
        definition = textwrap.shorten(
            str(metric.get("definition", "")).split(";")[0], 44 if boxed else 78, placeholder=" ..."
        )
        if metric.get("value") is None:
            absent = f"not given: {metric.get('absent', 'no reason recorded')}"
            rows.append((name, "-", "", *(("", "") if boxed else ()), "", absent))
            continue
        value, error, unit = readable(metric["value"], str(metric.get("unit", "1")), metric.get("error"))
        flag = f"[{metric['flag']}] " if metric.get("flag") else ""
        rows.append((name, value, error, *(_box(metric, boxes[name]) if boxed else ()), unit, flag + definition))
    extra = ("box", "isolated") if boxed else ()
    return table(("figure", "value", "± error", *extra, "unit", "definition"), rows, right=("value", "± error", *extra))


def _box(metric: Mapping[str, Any], box: Mapping[str, Any]) -> tuple[str, str]:
    """Change of a figure by the box, and the value of the isolated crack with its error."""
    change = f"{box['change']:+.1%}" if "change" in box else ""
    if box.get("isolated") is None:
        return change, ""
    value, error, _ = readable(box["isolated"], str(metric.get("unit", "1")), box.get("isolated_error"))
    return change, f"{value} ± {error}" if error else value


def kinds_text(kinds: Iterable[Mapping[str, Any]]) -> str:
    """Return the kinds of a case as text: one heading a group, the keys of each kind indented below it."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for kind in kinds:
        groups.setdefault(kind["group"], []).append(kind)
    lines: list[str] = []
    for group, members in groups.items():
        shared = [key for key in members[0]["keys"] if len(members) > 1 and all(key in m["keys"] for m in members)]
        lines += ["", f"{group}:"]
        if shared:
            lines += ["", "  every kind has", *(line for key in shared for line in _key_lines(key, 4))]
        for kind in members:
            about = textwrap.wrap(kind["about"], 110, initial_indent="    ", subsequent_indent="    ")
            own = [key for key in kind["keys"] if key not in shared]
            lines += ["", f"  {kind['kind']}", *about, *(line for key in own for line in _key_lines(key, 4))]
    return "\n".join(lines[1:])


def _key_lines(key: Mapping[str, Any], indent: int) -> Iterable[str]:
    what = key["what"]
    if what == "one of":
        what = " | ".join(map(str, key["choices"]))
    elif "choices" in key:
        what += f" ({', '.join(map(str, key['choices']))})"
    if key["required"]:
        note = f"required, such as {key['example']}" if "example" in key else "required"
    else:
        note = f"default {_plain(key['default'])}" if "default" in key else "optional"
    about = f". {key['about']}" if "about" in key else ""
    yield f"{' ' * indent}{key['key']:<16} {what}; {note}{about}"
    for inner in key.get("keys", ()):
        yield from _key_lines(inner, indent + 2)


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_plain(entry)}" for key, entry in value.items()) + "}" if value else "none"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_plain, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def print_result(record: Mapping[str, Any], folder: Path) -> None:
    """Print what a run has found: its figures, what they mean, its warnings, and where the results are."""
    screen = console()
    screen.print()
    screen.print(metric_table(record["metrics"]))
    for entry in record.get("consequences", ()):
        screen.print(f"- {entry['text']}", highlight=False)
    for warning in record.get("warnings", ()):
        if warning["kind"] != "withheld":  # the table has said so
            screen.print(f"note: {warning['text']}")
    mesh, seconds = record.get("mesh", {}), record.get("seconds", {})
    screen.print(f"{mesh.get('cells', 0):,} cells, {mesh.get('dofs', 0):,} unknowns, {seconds.get('total', 0):.0f} s")
    report = folder / "report.html"
    screen.print(f"Results: {folder}" + (f", to read first: {report}" if report.exists() else ""), soft_wrap=True)
