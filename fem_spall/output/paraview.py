"""The ParaView script of a run: the paper's picture, ready to turn round."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from fem_spall.output.files import atomic_text
from fem_spall.output.finished import Finished
from fem_spall.output.section import cut

__all__ = ["write_paraview_script"]

SCRIPT = "open_in_paraview.py"


def write_paraview_script(folder: Path) -> Path | None:
    """Return the script written into the folder of a finished run, None where the run wrote no fields.

    The script holds numbers only (where to cut, how to colour) and finds its
    data beside itself, so the folder can be moved.
    """
    finished = Finished.read(folder)
    section = cut(finished)
    if section is None:
        return None
    normal = [0.0, 0.0, 0.0]
    normal[section.axis] = 1.0
    origin = finished.hot_place.tolist()
    origin[section.axis] = section.position
    settings: dict[str, Any] = {
        "ORIGIN": origin,
        "NORMAL": normal,
        "ACROSS": 1 - section.axis,
        "HOTTEST": (finished.hottest.place if finished.hottest is not None else finished.hot_place).tolist(),
        "RADIUS": finished.hottest.radius if finished.hottest is not None else 0.1,
        "BLOCK": finished.block.tolist(),
        "WINDOW": finished.window.tolist(),
        "FLOOR": section.floor,
        "CAP": section.cap,
        "PLATING_UP": finished.plating_up,
    }
    text = resources.files("fem_spall.output").joinpath(f"{SCRIPT}.template").read_text(encoding="utf-8")
    lines = "\n".join(f"{name} = {_short(value)!r}" for name, value in settings.items())
    return atomic_text(folder / SCRIPT, Template(text).substitute(settings=lines))


def _short(value: Any) -> Any:
    """Return numbers with seven digits, which is more than a picture needs."""
    if isinstance(value, list):
        return [_short(item) for item in value]
    return float(f"{value:.7g}") if isinstance(value, float) else value
