"""A surface made anew from what is inside the old one, for surfaces that cross themselves.

Lines of a grid are followed through the old surface along x, y and z.  Each face they meet takes one turn on or off,
so that every grid point knows how often the old surface goes round it: above zero is inside.  The new surface
(marching cubes) has its corners where the lines go in and out, which is on the old one; between the lines its edges are
rounded.  How far it moves is measured both ways, what volume it gains or loses along the lines.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fem_spall.crack.base import Repair
from fem_spall.crack.repaired import RepairedSurface, distance_from
from fem_spall.crack.triangles import components, edge_numbers, volume
from fem_spall.errors import GeometryError

__all__ = ["rebuild"]

type Floats = NDArray[np.float64]
type Ints = NDArray[np.int64]

STEPS = (1.0, 0.5, 0.25)  # grids tried, in parts of half the mean side of the triangles
MOST_LINES = 3_000_000  # meetings of lines and faces: about 15 s
MOST_CELLS = 100_000_000  # of the grid: 500 MB
MARGIN = 2.3819660112501051  # steps round the box; no round number, so that lines miss the corners of decimal files
SNAP = 0.05  # corners of the new surface keep this part of a step from grid points: no slivers
SMALLEST = 8.0  # parts of the new surface below this many cubed steps are noise


@dataclass(frozen=True)
class Grid:
    """Points origin + step (i, j, k)."""

    origin: Floats
    step: float
    shape: tuple[int, int, int]

    @classmethod
    def around(cls, vertices: Floats, step: float) -> Grid:
        """Grid of a step, m, round all vertices."""
        origin = vertices.min(axis=0) - MARGIN * step
        return cls(origin, step, tuple((np.ceil((vertices.max(axis=0) - origin) / step) + 2).astype(int).tolist()))


@dataclass(frozen=True)
class Meetings:
    """Where the lines of a grid along one axis meet a surface, in order of line and place.

    ``line`` (k,) int numbers the lines, ``place`` (k,) float is in steps along them, ``change`` is +1 where a line goes
    in and -1 where it goes out, ``turns`` is how often the surface goes round what follows.
    """

    line: Ints
    place: Floats
    change: Ints
    turns: Ints


def rebuild(surface: RepairedSurface, crossing: Ints, step: float | None, largest_change: float) -> None:
    """Replace a closed surface by one without crossings round the same inside.

    Parameters
    ----------
    surface : RepairedSurface
    crossing : (k, 2) int
        Pairs of faces that cross, for the record.
    step : float or None
        Side of the grid, m; without it, grids from half the mean side of the triangles down are tried.
    largest_change : float
        The first grid on which volume and position change by at most this part of volume and box diagonal is taken;
        else the last one.

    Raises
    ------
    GeometryError
        If a stated step makes too large a grid, or nothing is left on the grid.
    """
    side = math.sqrt(4 / math.sqrt(3) * surface.measure()[1] / len(surface.faces))
    border = _border(surface.vertices, surface.faces)
    tried = None
    for size in [step] if step is not None else [part * side / 2 for part in STEPS]:
        if not _affordable(surface, size):
            break
        tried = surface.trial()
        _rebuild_on(tried, size, border, len(np.unique(crossing)))
        share = largest_change * np.array([tried.measure()[0], tried.diagonal])
        if tried.guessed["volume"] <= share[0] and tried.guessed["displacement"] <= share[1]:
            break
    if tried is None:
        reason = f"cannot be rebuilt on a grid of {(step or side / 2) * 1e9:.3g} nm: that has too many points"
        raise GeometryError(42, surface.where, reason, "set a larger repair.rebuild_step")
    surface.take(tried)


def _affordable(surface: RepairedSurface, step: float) -> bool:
    cells = float(np.prod(np.ptp(surface.vertices, axis=0) / step + 2 * MARGIN + 1))
    return cells <= MOST_CELLS and 1.5 * surface.measure()[1] / step**2 <= MOST_LINES


def _rebuild_on(surface: RepairedSurface, step: float, border: Floats, crossing: int) -> None:
    grid = Grid.around(surface.vertices, step)
    old = [_meetings(surface.vertices, surface.faces, grid, axis) for axis in range(3)]
    inside = _inside(old[2], grid)
    if not inside.any():
        reason = f"encloses nothing on a grid of {step * 1e9:.3g} nm"
        raise GeometryError(43, surface.where, reason, "close it and orient it outwards in a mesh editor")
    corners, new = _contour(inside)
    for axis in range(3):
        _to_border(corners, old[axis], grid, axis)
    vertices = grid.origin + step * corners
    label = components(new)
    volumes = np.abs(_part_volumes(vertices[new], label))
    new = new[(volumes >= min(SMALLEST * step**3, float(volumes.max())))[label]]
    middle = vertices[new].mean(axis=1)
    moved = max(distance_from(middle, surface.vertices[surface.faces]), distance_from(border, vertices[new]))
    between = replace(grid, origin=grid.origin - step / 2)  # the corners of the new surface lie on the lines
    gained = _enclosed(vertices, new, between) - _enclosed(surface.vertices, surface.faces, between)
    kind = f"{'crossing faces removed by rebuilding' if crossing else 'faces rebuilt'} on a grid of {step * 1e9:.3g} nm"
    surface.change(
        kind, crossing or len(surface.faces), vertices, new, displacement=moved, guessed_volume=abs(gained),
        guesses=("volume", "displacement"),
    )  # fmt: skip
    surface.tidy()
    if crossing:  # where the old surface overlaps itself, its volume counts twice or is taken off: no change of shape
        done = surface.repairs.pop()
        twice = Repair("overlaps counted once", crossing, done.volume_change - gained)
        surface.repairs += [twice, replace(done, volume_change=gained)]
    if (edge_numbers(surface.faces)[1] != 2).any():
        raise GeometryError(44, surface.where, "cannot be rebuilt", "set another repair.rebuild_step")


def _border(vertices: Floats, faces: Ints) -> Floats:
    """Points of the surface with inside on one side and outside on the other, (n, 3) m, up to four a face."""
    import igl

    corners = vertices[faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normal, axis=1)
    step = 1e-3 * np.sqrt(length)[:, None] * normal / np.maximum(length, 1e-300)[:, None]
    middle = corners.mean(axis=1, keepdims=True)
    points = np.concatenate([middle, 0.05 * middle + 0.95 * corners], axis=1)
    centre, size = vertices.mean(axis=0), float(np.ptp(vertices, axis=0).max())  # single precision: lengths near one
    scaled = np.ascontiguousarray((vertices - centre) / size)
    sides = []
    for sign in (1, -1):
        at = ((points + sign * step[:, None]).reshape(-1, 3) - centre) / size
        sides.append(np.asarray(igl.fast_winding_number(scaled, faces, np.ascontiguousarray(at))).ravel() > 0.5)
    border: Floats = points.reshape(-1, 3)[sides[0] != sides[1]]
    return border


def _meetings(vertices: Floats, faces: Ints, grid: Grid, axis: int) -> Meetings:
    """Follow the lines of the grid along an axis through the faces.

    A line that meets the common side of two faces meets one of them: the side of a line on which a point lies is
    computed from the ends in one order, whichever face asks.
    """
    first, second = (axis + 1) % 3, (axis + 2) % 3
    points = (vertices - grid.origin) / grid.step
    plane, height = points[:, [first, second]], points[:, axis]
    corners = plane[faces]
    low, high = np.ceil(corners.min(axis=1)).astype(int), np.floor(corners.max(axis=1)).astype(int)
    number = np.prod(np.maximum(high - low + 1, 0), axis=1)
    parts = []
    for some in np.array_split(np.arange(len(faces)), int(number.sum()) // 2_000_000 + 1):
        face = np.repeat(some, number[some])
        count = np.arange(len(face)) - np.repeat(np.cumsum(number[some]) - number[some], number[some])
        rows = (high - low + 1)[face, 1]
        at = np.column_stack([low[face, 0] + count // np.maximum(rows, 1), low[face, 1] + count % np.maximum(rows, 1)])
        a, b, c = faces[face].T
        spins = np.array([_spin(plane, s, t, at) for s, t in ((a, b), (b, c), (c, a))])
        met = (spins > 0).all(axis=0) | (spins < 0).all(axis=0)
        weights = np.roll(spins[:, met], -1, axis=0)  # the spin about the opposite side is the weight of a corner
        place = (weights * height[faces[face[met]]].T).sum(axis=0) / weights.sum(axis=0)
        line = at[met, 0] * grid.shape[second] + at[met, 1]
        parts.append((line, place, np.where(spins[0, met] > 0, -1, 1)))
    line, place, change = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.lexsort((change, place, line))
    line, place, change = line[order], place[order], change[order]
    turns = np.cumsum(change)
    start = np.flatnonzero(np.diff(line, prepend=-1))
    turns -= np.repeat(turns[start] - change[start], np.diff(np.append(start, len(line))))
    return Meetings(line, place, change, turns)


def _spin(plane: Floats, start: Ints, end: Ints, at: Ints) -> Floats:
    """Twice the area of the triangle start, end, at; exactly opposite for end, start, at, and never zero."""
    turned = start > end
    p, q = plane[np.where(turned, end, start)], plane[np.where(turned, start, end)]
    spin = (q - p)[:, 0] * (at - p)[:, 1] - (q - p)[:, 1] * (at - p)[:, 0]
    spin[spin == 0] = 1e-300
    return np.where(turned, -spin, spin)


def _inside(meetings: Meetings, grid: Grid) -> NDArray[np.bool_]:
    """Whether the surface goes round each grid point, by the lines along z."""
    nx, ny, nz = grid.shape
    turns = np.zeros((nx * ny, nz), dtype=np.int16)
    np.add.at(turns, (meetings.line, np.ceil(meetings.place).astype(int)), meetings.change.astype(np.int16))
    inside: NDArray[np.bool_] = np.cumsum(turns, axis=1, dtype=np.int16).reshape(nx, ny, nz) > 0
    return inside


def _enclosed(vertices: Floats, faces: Ints, grid: Grid) -> float:
    """Volume inside, m^3: the length of all lines along z that is inside, times the square between lines."""
    meetings = _meetings(vertices, faces, grid, 2)
    same = np.diff(meetings.line) == 0
    length = np.diff(meetings.place)[same & (meetings.turns[:-1] > 0)].sum()
    return float(length) * grid.step**3


def _contour(inside: NDArray[np.bool_]) -> tuple[Floats, Ints]:
    """Marching cubes between points inside and outside, outward; corners in the middle of grid edges, in steps."""
    from vtkmodules.util import numpy_support
    from vtkmodules.vtkCommonDataModel import vtkImageData
    from vtkmodules.vtkFiltersCore import vtkFlyingEdges3D

    image = vtkImageData()
    image.SetDimensions(*inside.shape)
    values = np.where(inside, np.float32(1), np.float32(-1)).ravel(order="F")
    image.GetPointData().SetScalars(numpy_support.numpy_to_vtk(values, deep=True))
    contour = vtkFlyingEdges3D()
    contour.SetInputData(image)
    contour.SetValue(0, 0.0)
    contour.ComputeNormalsOff()
    contour.ComputeScalarsOff()
    contour.Update()
    found = contour.GetOutput()
    corners = numpy_support.vtk_to_numpy(found.GetPoints().GetData()).astype(float)
    faces = numpy_support.vtk_to_numpy(found.GetPolys().GetConnectivityArray()).reshape(-1, 3).astype(np.int64)
    return corners, faces if volume(corners[faces]) > 0 else faces[:, ::-1]


def _to_border(corners: Floats, meetings: Meetings, grid: Grid, axis: int) -> None:
    """Move corners in the middle of grid edges along an axis to where the line goes in or out, in place."""
    first, second = (axis + 1) % 3, (axis + 2) % 3
    before = meetings.turns - meetings.change
    border = (meetings.turns > 0) != (before > 0)
    length = grid.shape[axis]
    key = meetings.line[border] * length + np.floor(meetings.place[border]).astype(np.int64)
    own = np.flatnonzero(np.abs(corners[:, axis] % 1 - 0.5) < 0.25)
    whole = np.rint(corners[own][:, [first, second]]).astype(np.int64)
    wanted = (whole[:, 0] * grid.shape[second] + whole[:, 1]) * length + np.floor(corners[own, axis]).astype(np.int64)
    at = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
    known = key[at] == wanted
    part = meetings.place[border][at[known]] % 1
    corners[own[known], axis] = np.floor(corners[own[known], axis]) + np.clip(part, SNAP, 1 - SNAP)


def _part_volumes(corners: Floats, label: Ints) -> Floats:
    first = np.unique(label, return_index=True)[1]
    a, b, c = np.moveaxis(corners - corners[first, 0][label][:, None], 1, 0)
    return np.bincount(label, np.einsum("ij,ij->i", a, np.cross(b, c)) / 6)
