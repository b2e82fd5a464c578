"""The rotatable crack of the report, as plain data for plotly.js."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fem_spall.output.crack_view import faces_in_window, flux_range
from fem_spall.output.finished import Finished
from fem_spall.output.wording import length_text, rounded

__all__ = ["crack_plot", "thinned"]

type Floats = NDArray[np.float64]
type Ints = NDArray[np.int64]

MAX_TRIANGLES = 60_000
#: plotly.js does not know Matplotlib's map by name; nine stops of it differ by less than the eye sees.
_INFERNO = [
    [k / 8, colour]
    for k, colour in enumerate(
        ("#000004", "#210c4a", "#57106e", "#8a226a", "#bc3754", "#e45a31", "#f98e09", "#f9cb35", "#fcffa4")
    )
]


def crack_plot(finished: Finished) -> dict[str, Any]:
    """Return ``data``, ``layout`` and ``config`` of a mesh of the lithium coloured by log10(j/j0)."""
    points = np.asarray(finished.lithium.points, dtype=float)
    fef = np.asarray(finished.lithium.point_data["fef"], dtype=float)
    faces = faces_in_window(finished)
    floor, cap = flux_range(finished, faces)
    points, fef, faces = thinned(points, fef, faces, MAX_TRIANGLES)
    low, high = np.log10([floor, cap])
    ticks = [m * 10.0**d for d in range(-4, 7) for m in ((1, 2, 5) if high - low < 2 else (1,))]
    ticks = [t for t in ticks if floor <= t <= cap]
    mesh = {
        "type": "mesh3d",
        **{name: _packed(points[:, k].astype(np.float32)) for k, name in enumerate("xyz")},
        **{name: _packed(faces[:, k].astype(np.int32)) for k, name in enumerate("ijk")},
        "intensity": _packed(np.log10(np.clip(fef, floor, cap)).astype(np.float32)),
        "cmin": float(low), "cmax": float(high), "colorscale": _INFERNO,
        "colorbar": {
            "title": {"text": f"j / j₀<br>capped at {cap:.3g}<br>(99.9th percentile)", "side": "top"},
            "tickvals": [float(np.log10(t)) for t in ticks], "ticktext": [f"{t:g}" for t in ticks],
            "len": 0.75, "thickness": 16,
        },
        "text": [f"{value:.3g}" for value in fef.tolist()],
        "hovertemplate": "j/j₀ = %{text}<br>x %{x:.2f}, y %{y:.2f}, z %{z:.2f} µm<extra></extra>",
        "lighting": {"ambient": 0.85, "diffuse": 0.25, "specular": 0.05, "roughness": 0.9},
        "lightposition": {"x": 0, "y": 0, "z": -1e5 if finished.plating_up else 1e5},
    }  # fmt: skip
    traces: list[dict[str, Any]] = [mesh]
    if finished.hottest is not None:
        x, y, z = finished.hottest.place.tolist()
        # The dot stands off the surface by a hair, which would else hide half of it.
        out = finished.hottest.place - finished.window.mean(axis=1)
        dot = finished.hottest.place + 0.005 * np.max(np.ptp(finished.window, axis=1)) * out / np.linalg.norm(out)
        label = f"hottest: {rounded(finished.hottest.value, 3)} × mean over {length_text(finished.hottest.radius)}"
        traces.append({
            "type": "scatter3d", "mode": "markers", "name": label, "showlegend": False,
            **{k: [float(v)] for k, v in zip("xyz", dot, strict=True)},
            "marker": {"size": 6, "color": "#00b4d8", "line": {"color": "#ffffff", "width": 1}},
            "hovertemplate": f"{label}<br>x {x:.2f}, y {y:.2f}, z {z:.2f} µm<extra></extra>",
        })  # fmt: skip
    # plotly.js would offer to upload the data to its maker's server.
    config = {"displaylogo": False, "responsive": True, "showSendToCloud": False, "plotlyServerURL": ""}
    return {"data": traces, "layout": _layout(finished), "config": config}


def _layout(finished: Finished) -> dict[str, Any]:
    """Return axes in true proportion and an eye inside the electrolyte."""
    out = finished.hot_place - finished.window.mean(axis=1)
    turn = float(np.arctan2(out[1], out[0])) + 0.4 if np.linalg.norm(out[:2]) > 1e-3 else -1.0
    # A hair more than the window: at the very limit plotly.js would cut the flat electrode away.
    hair = 0.004 * float(np.max(np.ptp(finished.window, axis=1))) * np.array([-1, 1])
    axes = {
        f"{name}axis": {
            "title": {"text": f"{name} (µm)"}, "backgroundcolor": "#f6f8fa", "gridcolor": "#d8dee4",
            "showspikes": False, "range": (finished.window[k] + hair).tolist(),
        }
        for k, name in enumerate("xyz")
    }  # fmt: skip
    eye = {"x": 1.55 * np.cos(turn), "y": 1.55 * np.sin(turn), "z": -1.0 if finished.plating_up else 1.0}
    centre = {"x": 0.0, "y": 0.0, "z": 0.1 if finished.plating_up else -0.1}
    camera = {"eye": {k: round(float(v), 4) for k, v in eye.items()}, "center": centre}
    scene = {**axes, "aspectmode": "data", "camera": camera}
    return {"scene": scene, "margin": {"l": 0, "r": 0, "t": 10, "b": 10}, "paper_bgcolor": "#ffffff"}


def thinned(points: Floats, values: Floats, faces: Ints, limit: int) -> tuple[Floats, Floats, Ints]:
    """Return the surface with at most ``limit`` triangles and without unused points.

    Points in one cube of a lattice become one (the mean place and the largest
    value, so that a hot spot is never averaged away); the lattice is coarsened
    until the limit is met.
    """
    used, faces = np.unique(faces, return_inverse=True)
    points, values, faces = points[used], values[used], faces.reshape(-1, 3)
    start = float(np.max(np.ptp(points, axis=0))) / np.sqrt(max(limit, 1))
    coarse = points, values, faces
    step = start
    while len(coarse[2]) > limit:
        coarse = _clustered(points, values, faces, step)
        step *= 1.25
    return coarse


def _clustered(points: Floats, values: Floats, faces: Ints, step: float) -> tuple[Floats, Floats, Ints]:
    """Return the surface with the points of each cube of side ``step`` merged."""
    cube = np.floor((points - points.min(axis=0)) / step).astype(np.int64)
    _, owner = np.unique(cube, axis=0, return_inverse=True)
    owner = owner.ravel()
    count = np.bincount(owner)
    middle = np.column_stack([np.bincount(owner, weights=points[:, k]) / count for k in range(3)])
    largest = np.full(len(count), -np.inf)
    np.maximum.at(largest, owner, values)
    merged = owner[faces]
    whole = (merged[:, 0] != merged[:, 1]) & (merged[:, 1] != merged[:, 2]) & (merged[:, 2] != merged[:, 0])
    merged = merged[whole]
    _, first = np.unique(np.sort(merged, axis=1), axis=0, return_index=True)
    return middle, largest, merged[np.sort(first)]


def _packed(values: NDArray[Any]) -> dict[str, str]:
    """Return an array as plotly.js reads it: its type and little-endian bytes in base64."""
    kind = {"f": "f4", "i": "i4"}[values.dtype.kind]
    return {"dtype": kind, "bdata": base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()}
