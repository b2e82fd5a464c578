"""The vertical section through the hottest point: the paper's picture, as numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fem_spall.output.finished import Finished, area_percentile

__all__ = ["Section", "cut"]

type Floats = NDArray[np.float64]
type Ints = NDArray[np.int64]

CAP_PERCENT = 99.9
_FLOOR_PERCENT = 1.0


@dataclass(frozen=True)
class Section:
    """Triangulated plane section of the electrolyte.

    Attributes
    ----------
    axis : int
        Normal of the plane, 0 (x) or 1 (y); the other one runs to the right, z upwards.
    position : float
        Where the plane is, um.
    points : (n, 2) float
        Right and up, um.
    triangles : (m, 3) int
        Triangles of the section.
    potential : (n,) float
        Potential, V.
    fef : (n,) float
        Local over mean current density.
    outline : (k, 2, 2) float
        Segments where the plane meets the lithium, um.
    floor, cap : float
        Range of the colours; the cap is the 99.9th percentile by area within the window.
    """

    axis: int
    position: float
    points: Floats
    triangles: Ints
    potential: Floats
    fef: Floats
    outline: Floats
    floor: float
    cap: float

    @property
    def filled(self) -> float:
        """Share of the section's bounding box that is electrolyte."""
        corner = self.points[self.triangles]
        a, b = corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]
        area = 0.5 * np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum()
        return float(area / np.prod(np.ptp(self.points, axis=0)))


def cut(finished: Finished) -> Section | None:
    """Return the section through the hottest point, or None where fields or surface are missing."""
    path = finished.fields_file
    if path is None or finished.lithium is None:
        return None
    import pyvista as pv

    mesh = pv.read(path)
    if len(finished.crack_faces):
        return _cut(finished, mesh, finished.section_axis)
    # Without a lithium crack the section with less electrolyte is the one that shows a void.
    both = [section for axis in (1, 0) if (section := _cut(finished, mesh, axis)) is not None]
    return min(both, key=lambda section: section.filled, default=None)


def _cut(finished: Finished, mesh: Any, axis: int) -> Section | None:
    """Return the section with the given normal."""
    across = 1 - axis
    block = finished.block[axis]
    # A plane exactly in a face of the block would cut nothing.
    inset = 1e-6 * np.ptp(block)
    position = float(np.clip(finished.hot_place[axis], block[0] + inset, block[1] - inset))
    origin = np.zeros(3)
    origin[axis] = position
    near = _near_plane(mesh, axis, position).cell_data_to_point_data(pass_cell_data=False)
    plane = near.slice(normal="xy"[axis], origin=origin).triangulate()
    if not plane.n_cells:
        return None
    points = np.asarray(plane.points, dtype=float)[:, [across, 2]]
    triangles = np.asarray(plane.regular_faces, dtype=np.int64)
    fef = np.asarray(plane.point_data["fef"], dtype=float)
    rim = finished.lithium.slice(normal="xy"[axis], origin=origin)
    outline = np.asarray(rim.points, dtype=float)[:, [across, 2]][np.asarray(rim.lines).reshape(-1, 3)[:, 1:]]
    floor, cap = _colour_range(points, triangles, fef, finished.window[[across, 2]])
    potential = np.asarray(plane.point_data["potential_V"], dtype=float)
    return Section(axis, position, points, triangles, potential, fef, outline, floor, cap)


def _near_plane(mesh: Any, axis: int, position: float) -> Any:
    """Return the cells that the plane meets and their neighbours: enough for nodal means on it, and far fewer."""
    import pyvista as pv

    connectivity = np.asarray(pv.convert_array(mesh.GetCells().GetConnectivityArray()))
    offset = np.asarray(pv.convert_array(mesh.GetCells().GetOffsetsArray()))[:-1]
    coordinate = np.asarray(mesh.points)[connectivity, axis]
    low = np.minimum.reduceat(coordinate, offset)
    high = np.maximum.reduceat(coordinate, offset)
    met = (low <= position) & (high >= position)
    on_met = np.zeros(mesh.n_points, dtype=bool)
    counts = np.diff(np.append(offset, len(connectivity)))
    on_met[connectivity[np.repeat(met, counts)]] = True
    return mesh.extract_cells(np.flatnonzero(np.maximum.reduceat(on_met[connectivity], offset)))


def _colour_range(points: Floats, triangles: Ints, fef: Floats, window: Floats) -> tuple[float, float]:
    """Return the range of the colours, from the triangles inside the window, by area."""
    corner = points[triangles]
    centre = corner.mean(axis=1)
    inside = np.all((centre >= window[:, 0]) & (centre <= window[:, 1]), axis=1)
    if not inside.any():
        inside[:] = True
    a, b = corner[inside, 1] - corner[inside, 0], corner[inside, 2] - corner[inside, 0]
    area = 0.5 * np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])
    mean = fef[triangles[inside]].mean(axis=1)
    return colour_range(mean, area)


def colour_range(values: Floats, areas: Floats, decades: float = 2.0) -> tuple[float, float]:
    """Return floor and cap of a logarithmic colour scale: the 1st and 99.9th percentile, at most ``decades`` apart."""
    cap = max(area_percentile(values, areas, CAP_PERCENT), 1e-12)
    floor = max(area_percentile(values, areas, _FLOOR_PERCENT), cap * 10**-decades)
    # A field without contrast still needs a scale that is not a point.
    return (floor, cap) if cap > 1.05 * floor else (cap / 1.1, cap * 1.1)
