"""An inspected surface with its faults marked: a file for ParaView and a picture, without a graphics library."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fem_spall.crack.inspect_surface import Inspection
from fem_spall.output.raster import Camera, visible
from fem_spall.output.vtk_xml import write_polydata

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_marked", "write_marked"]

type Floats = NDArray[np.float64]

#: Faults from the most to the least serious, each with its colour; the first that a face has is drawn.
COLOURS = {
    "self_intersecting_faces": "#d62728",
    "non_manifold_edges": "#9467bd",
    "open_edges": "#ff7f0e",
    "flipped_faces": "#1f77b4",
    "duplicate_bodies": "#8c564b",
    "duplicate_faces": "#e377c2",
    "degenerate_faces": "#111111",
    "thin_gaps": "#17becf",
    "thin_walls": "#2ca02c",
}
VIEWS = (("Oblique, from above", Camera(-60.0, 30.0)), ("Oblique, from below", Camera(120.0, -30.0)))
_PIXELS = 900  # of the longer side of a view, before each two by two become one
_RINGS = 200  # faces of a fault that get a ring each; of more, three do
_LIGHT = np.array([-0.35, 0.45, 0.82])  # over the viewer's left shoulder


def write_marked(path: Path, inspection: Inspection) -> Path:
    """Write a ``.vtp`` in um: for each fault a cell array of its name, 1 where a face has it, and ``body``, ``fault``.

    ``fault`` is the place of the first fault of a face in :data:`COLOURS`, counted from 1, and 0 where there is none.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    arrays: dict[str, NDArray[np.generic]] = {name: mark.astype(np.uint8) for name, mark in inspection.marks.items()}
    arrays |= {"fault": _first_fault(inspection).astype(np.int32), "body": inspection.part.astype(np.int32)}
    legend = [f"{number} {name}" for number, name in enumerate(COLOURS, 1)]
    return write_polydata(
        path, inspection.vertices * 1e6, inspection.faces, {}, arrays, {}, {"fault_numbers": legend, "unit": ["um"]}
    )


def _first_fault(inspection: Inspection) -> NDArray[np.int64]:
    """Number of the most serious fault of each face, 0 for none, (m,) int."""
    number = np.zeros(len(inspection.faces), dtype=np.int64)
    for k, name in reversed(list(enumerate(COLOURS, 1))):
        if name in inspection.marks:
            number[inspection.marks[name]] = k
    return number


def draw_marked(path: Path, inspection: Inspection) -> Path:
    """Draw the surface from two sides with its faults coloured and ringed, as a PNG.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    from io import BytesIO

    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from fem_spall.output.files import atomic_bytes

    report = inspection.report
    tallest = max(size[1] / size[0] for size in (np.subtract(*_window(inspection, camera)) for _, camera in VIEWS))
    figure = Figure(figsize=(10, min(1.3 + 4.8 * tallest, 7)), layout="constrained", dpi=150)
    for axis, (title, camera) in zip(figure.subplots(1, 2), VIEWS, strict=True):
        _view(axis, inspection, camera)
        axis.set_title(title, fontsize=9)
    entries = [
        Line2D([], [], color=colour, marker="s", ls="", label=f"{name.replace('_', ' ')}: {report[name]['count']:,}")
        for name, colour in COLOURS.items()
        if name in report and report[name]["count"]
    ]
    if entries:
        figure.legend(handles=entries, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    else:
        figure.supxlabel("no faults", fontsize=8)
    size = " x ".join(f"{x:.4g}" for x in report.get("size_um", ()))
    figure.suptitle(f"{report['file']}: {report['triangles']:,} triangles, {size} µm", fontsize=10)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": "fem-spall"})
    return atomic_bytes(path, buffer.getvalue())


def _window(inspection: Inspection, camera: Camera) -> tuple[Floats, Floats]:
    """Upper right and lower left corner of what a camera sees, um, (2,) each."""
    used = camera.project(inspection.vertices[np.unique(inspection.faces)] * 1e6)[:, :2]
    low, high = used.min(axis=0), used.max(axis=0)
    margin = 0.04 * max(float((high - low).max()), 1e-12)
    return high + margin, low - margin


def _view(axis: Axes, inspection: Inspection, camera: Camera) -> None:
    """Draw one view in um, rings round the faces of rare faults."""
    import matplotlib as mpl

    points, faces = inspection.vertices * 1e6, inspection.faces
    flat = camera.project(points)
    high, low = _window(inspection, camera)
    scale = _PIXELS / float((high - low).max())
    width, height = (2 * max(int(np.ceil(x * scale / 2)), 1) for x in high - low)
    pixels = np.column_stack([(flat[:, :2] - low) * scale, flat[:, 2] * scale])
    shown, _ = visible(pixels, faces, width, height)
    palette = np.array([(0.78, 0.80, 0.83), *(mpl.colors.to_rgb(colour) for colour in COLOURS.values())])
    corners = points[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]) @ camera.axes.T
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-300)
    light = _LIGHT * [1, np.sign(camera.elevation), 1]  # from below where one looks from below
    colours = palette[_first_fault(inspection)] * (0.5 + 0.5 * np.abs(normals @ light)).clip(0, 1)[:, None]
    picture = np.zeros((height, width, 4))
    seen = shown >= 0
    picture[seen, :3], picture[seen, 3] = colours[shown[seen]], 1
    half = picture.reshape(height // 2, 2, width // 2, 2, 4)
    alpha = half[..., 3:].mean(axis=(1, 3))
    rgb = (half[..., :3] * half[..., 3:]).mean(axis=(1, 3)) / np.maximum(alpha, 1e-9)
    box = (low[0], low[0] + width / scale, low[1], low[1] + height / scale)
    axis.imshow(np.concatenate([rgb, alpha], axis=2).clip(0, 1), origin="lower", extent=box)
    for name, colour in COLOURS.items():
        at = flat[faces[inspection.marks[name]]].mean(axis=1)[:, :2] if name in inspection.marks else np.empty((0, 2))
        if len(at) > _RINGS:
            at = at[:: len(at) // 3]
        axis.plot(*at.T, "o", ms=8, mfc="none", mec=colour, mew=1.2)
    axis.set_xlim(box[:2])
    axis.set_ylim(box[2:])
    axis.set_xticks([])
    axis.set_yticks([])
    _scale_bar(axis, low, high)


def _scale_bar(axis: Axes, low: Floats, high: Floats) -> None:
    """Add a bar of a round length near a quarter of the picture."""
    target = 0.25 * float(high[0] - low[0])
    decade = 10 ** np.floor(np.log10(target))
    length = float(decade * max(step for step in (1, 2, 5) if step * decade <= target))
    x, y = low + 0.02 * (high - low)
    axis.plot([x, x + length], [y, y], color="black", lw=2.5, solid_capstyle="butt")
    axis.text(x + length / 2, y + 0.015 * (high[1] - low[1]), f"{length:g} µm", ha="center", va="bottom", fontsize=8)
