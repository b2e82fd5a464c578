"""The crack as it looks from inside the electrolyte, coloured by the current it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fem_spall.output.finished import Finished
from fem_spall.output.raster import Camera, visible
from fem_spall.output.section import colour_range

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_crack", "faces_in_window", "flux_range"]

type Floats = NDArray[np.float64]
type Ints = NDArray[np.int64]

_PIXELS_PER_INCH = 480  # before each two by two become one, for smooth edges
_LIGHT = np.array([-0.35, 0.45, 0.82])  # over the viewer's left shoulder


def draw_crack(finished: Finished, colour_bar: Callable[[Figure, Any, Any, str], None]) -> Figure:
    """Return the figure with a side view and a view along the electrode's normal, at one scale.

    Parameters
    ----------
    finished : Finished
        The run.
    colour_bar : callable
        Adds the shared colour bar: figure, coloured artist, axes, label.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    faces = faces_in_window(finished)
    norm = LogNorm(*flux_range(finished, faces))
    below = -1 if finished.plating_up else 1
    frames = [
        _frame(finished, camera) for camera in (_side_camera(finished, faces, below), Camera(-90.0, 90.0 * below))
    ]
    widths = [frame.size[0] for frame in frames]
    tallest = max(frame.size[1] for frame in frames)
    inches = min(6.2 / sum(widths), 3.2 / tallest)
    figure = Figure(figsize=(inches * sum(widths) + 1.2, inches * tallest + 0.75), layout="constrained")
    axes = list(figure.subplots(1, 2, width_ratios=widths))
    titles = ("Oblique view from inside the electrolyte", "Seen along the electrode's normal")
    for axis, frame, title in zip(axes, frames, titles, strict=True):
        _paint(axis, finished, faces, frame, inches * _PIXELS_PER_INCH, norm)
        axis.set_title(title)
    _scale_bar(axes[0], frames[0], min(widths))
    colour_bar(figure, ScalarMappable(norm, "inferno"), axes, "Local / mean current density, $j/j_0$")
    return figure


def faces_in_window(finished: Finished) -> Ints:
    """Return the crack's wall and the flat electrode triangles that reach into the window, (m, 3) int."""
    corner = np.asarray(finished.lithium.points, dtype=float)[finished.flat_faces]
    window = finished.window + 1e-6 * np.array([-1, 1])
    near = np.all((corner.max(axis=1) >= window[:, 0]) & (corner.min(axis=1) <= window[:, 1]), axis=1)
    return np.vstack([finished.crack_faces, finished.flat_faces[near]])


def flux_range(finished: Finished, faces: Ints) -> tuple[float, float]:
    """Return floor and cap of the colours over the given triangles, by area."""
    corner = np.asarray(finished.lithium.points, dtype=float)[faces]
    area = 0.5 * np.linalg.norm(np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1)
    fef = np.asarray(finished.lithium.point_data["fef"], dtype=float)
    return colour_range(fef[faces].mean(axis=1), area, decades=2.5)


@dataclass(frozen=True)
class _Frame:
    """A camera with the rectangle it shows, in um: lower left corner and size."""

    camera: Camera
    corner: Floats
    size: Floats

    def pixels(self, points: Floats, scale: float) -> Floats:
        """Return column, row and depth of points, (n, 3) float, at ``scale`` pixels per um."""
        flat = self.camera.project(points)
        return np.column_stack([(flat[:, :2] - self.corner) * scale, flat[:, 2] * scale])


def _frame(finished: Finished, camera: Camera) -> _Frame:
    """Return the rectangle that holds the crack and, where the window reaches it, the electrode."""
    x, y, z = finished.window
    side = 1 if finished.plating_up else 0
    reaches = abs(z[side] - finished.block[2, side]) < 1e-6 * np.ptp(finished.block[2])
    plate = np.array([[a, b, z[side]] for a in x for b in y if reaches]).reshape(-1, 3)
    crack = np.asarray(finished.lithium.points, dtype=float)[np.unique(finished.crack_faces)]
    flat = camera.project(np.vstack([plate, crack]))[:, :2]
    low, high = flat.min(axis=0), flat.max(axis=0)
    margin = 0.03 * float(np.max(high - low))
    return _Frame(camera, low - margin, high - low + 2 * margin)


def _side_camera(finished: Finished, faces: Ints, below: int) -> Camera:
    """Return a view from inside the electrolyte in which the hottest point is not hidden."""
    hot = finished.hot_place
    out = hot - np.asarray(finished.lithium.points, dtype=float)[np.unique(faces)].mean(axis=0)
    start = float(np.degrees(np.arctan2(out[1], out[0]))) if np.linalg.norm(out[:2]) > 1e-3 else -60.0
    for elevation in (30.0, 50.0, 70.0):
        for turn in (25.0, -25.0, 0.0, 60.0, -60.0, 110.0, -110.0, 180.0):
            camera = Camera(start + turn, below * elevation)
            if _sees(finished, faces, camera):
                return camera
    return Camera(start + 25.0, below * 50.0)


def _sees(finished: Finished, faces: Ints, camera: Camera) -> bool:
    """Return whether nothing hides the hottest point from the camera, up to the averaging length."""
    frame = _frame(finished, camera)
    scale = 200 / float(frame.size.max())
    pixels = frame.pixels(np.asarray(finished.lithium.points, dtype=float), scale)
    at = frame.pixels(finished.hot_place[None], scale)[0]
    shown, weights = visible(pixels, faces, 200, 200)
    column, row = (int(np.clip(v, 0, 199)) for v in at[:2])
    face = int(shown[row, column])
    if face < 0:
        return True
    reach = finished.hottest.radius if finished.hottest is not None else 0.1
    return bool(weights[row, column] @ pixels[faces[face], 2] <= at[2] + 1.5 * reach * scale)


def _paint(axis: Axes, finished: Finished, faces: Ints, frame: _Frame, scale: float, norm: Any) -> None:
    """Draw one view, ``scale`` pixels per um, with the hottest point ringed."""
    import matplotlib as mpl

    points = np.asarray(finished.lithium.points, dtype=float)
    width, height = (2 * int(np.ceil(v * scale / 2)) for v in frame.size)
    shown, weights = visible(frame.pixels(points, scale), faces, width, height)
    seen = shown >= 0
    corner, weight = faces[shown[seen]], weights[seen]

    def mixed(values: Floats) -> Floats:
        """Values of the points at the pixels that are seen."""
        return sum((weight[:, k] * values[corner[:, k]] for k in range(3)), np.zeros(len(corner)))

    fef = np.asarray(finished.lithium.point_data["fef"], dtype=float)
    level = np.asarray(norm(np.clip(fef, norm.vmin, norm.vmax)))  # 0 to 1, logarithmic
    colour = mpl.colormaps["inferno"](np.arange(256))[(255.999 * mixed(level)).astype(np.uint8)]
    normal = _normals(points, finished.faces)
    length = np.maximum(np.sqrt(sum(mixed(part) ** 2 for part in normal.T)), 1e-12)
    shade = mixed(normal @ frame.camera.axes.T @ _LIGHT)
    colour[:, :3] *= (0.72 + 0.28 * np.abs(shade) / length)[:, None].clip(0, 1)
    # The electrode is cut at the window; a triangle may reach beyond it.
    window = finished.window + 1e-6 * np.array([-1, 1])
    colour[:, 3] = 1.0
    for (low, high), part in zip(window, points.T, strict=True):
        place = mixed(part)
        colour[:, 3] *= (place >= low) & (place <= high)
    picture = np.zeros((height, width, 4), dtype=np.float32)
    picture[seen] = colour
    quarters = [picture[i::2, j::2] for i in (0, 1) for j in (0, 1)]
    alpha = sum(part[..., 3:] for part in quarters) / 4
    rgb = sum(part[..., :3] * part[..., 3:] for part in quarters) / 4 / np.maximum(alpha, 1e-9)
    axis.imshow(
        np.concatenate([rgb, alpha], axis=2).clip(0, 1), origin="lower", extent=(0, width / scale, 0, height / scale)
    )
    axis.set_axis_off()
    if finished.hottest is not None:
        at = frame.pixels(finished.hottest.place[None], 1.0)[0]
        axis.plot(at[0], at[1], "o", ms=9, mfc="none", mec="#00b4d8", mew=1.6)


def _normals(points: Floats, faces: Ints) -> Floats:
    """Return area-weighted vertex normals, (n, 3) float."""
    corner = points[faces]
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    total = np.zeros_like(points)
    for i in range(3):
        np.add.at(total, faces[:, i], normal)
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-300)


def _scale_bar(axis: Axes, frame: _Frame, width: float) -> None:
    """Add a scale bar of a round length near a quarter of the picture."""
    target = 0.25 * width
    decade = 10 ** np.floor(np.log10(target))
    length = float(decade * max(step for step in (1, 2, 5) if step * decade <= target))
    low = 0.02 * float(frame.size[1])
    axis.plot([0, length], [low, low], color="black", lw=2.5, solid_capstyle="butt", clip_on=False)
    axis.text(length / 2, 1.8 * low, f"{length:g} µm", ha="center", va="bottom", fontsize=8)
