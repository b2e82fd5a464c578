"""Repair of triangle surfaces: what may be done, in which order, and where it ends.

Every step starts from vertices and faces in canonical order and decides by geometry
alone, so that the order of a file changes nothing.  Every step is listed with what it changed;
what cannot be repaired, or only by changing much, is refused with up to three places.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fem_spall.crack.clean import (
    FLAT,
    drop_bad_faces,
    drop_fins,
    drop_unused,
    merge_close,
    merge_identical,
    open_pinches,
    part_touching,
)
from fem_spall.crack.crossings import crossing_faces
from fem_spall.crack.holes import boundary_loops, fill_holes, rim_length
from fem_spall.crack.repaired import RepairedSurface, places
from fem_spall.crack.shells import drop_flat_parts, drop_islands, turn_outwards
from fem_spall.crack.triangles import common_sense, directed_edges, edge_numbers
from fem_spall.crack.untangle import refuse_crossings, untangle
from fem_spall.errors import GeometryError
from fem_spall.model import Model
from fem_spall.quantity import NonNegativeLength, PositiveLength, Share, Volume

__all__ = ["FLAT", "RepairedSurface", "Repairs", "boundary_loops", "places", "refuse_crossings", "repair"]

type Floats = NDArray[np.float64]
type Ints = NDArray[np.int64]


class Repairs(Model):
    """What may be done to a surface; without any key, only what does not change a good one.

    Attributes
    ----------
    merge
        Corners up to this far from each other become one, beyond those that are identical.
    fill_holes
        Longest rim of a hole that is closed; without it, holes up to 0.5 % of the area are.
    islands
        Closed parts and cavities below this volume are dropped.
    smooth
        Voxel stairs are smoothed: waves of this length are damped to half, shorter ones more. The volume stays. Without
        it, surfaces that are nothing but stairs are smoothed over four voxels; 0 leaves them.
    simplify
        Fewer triangles, within this distance of the surface.
    rebuild
        What crosses itself is made anew from its inside where it cannot be mended otherwise: auto, always or never.
    rebuild_step
        Side of the grid for that; without it, half the mean side of the triangles, and finer where that changes much.
    largest_change
        Refused if repairs change more than this part of the volume or area, or move the surface by more than this
        part of the diagonal of its box.
    """

    merge: NonNegativeLength = "0 nm"  # type: ignore[assignment]
    fill_holes: NonNegativeLength | None = None
    islands: Volume = "0 um^3"  # type: ignore[assignment]
    smooth: NonNegativeLength | None = None
    simplify: NonNegativeLength = "0 nm"  # type: ignore[assignment]
    rebuild: Literal["auto", "always", "never"] = "auto"
    rebuild_step: PositiveLength | None = None
    largest_change: Share = "1 %"  # type: ignore[assignment]


def repair(
    vertices: Floats, faces: Ints, where: str, wishes: Repairs | None = None, *,
    open_sheet: bool = False, planes: tuple[tuple[int, float], ...] = (),
) -> RepairedSurface:  # fmt: skip
    """Return the repaired surface: closed and oriented outwards, or a sheet with one boundary loop.

    Parameters
    ----------
    vertices : (n, 3) float, m
    faces : (m, 3) int
    where : str
        Name of the surface for messages.
    wishes : Repairs, optional
        What may be done beyond the defaults.
    open_sheet : bool
        Leave the largest boundary loop open; the sheet is consistently oriented, but to either side.
    planes : tuple of (axis, coordinate in m)
        Vertices on these planes are not smoothed away from them.

    Raises
    ------
    GeometryError
        If open, non-manifold or crossing faces are left, nothing is, or repairs change too much.
    """
    wishes = wishes or Repairs()
    surface = RepairedSurface(where, vertices, np.asarray(faces, dtype=np.int64))
    merge_identical(surface)
    drop_unused(surface)
    drop_bad_faces(surface)
    merge_close(surface, wishes.merge)
    drop_fins(surface)
    open_pinches(surface)
    _orient(surface)
    fill_holes(surface, open_sheet, wishes.fill_holes)
    part_touching(surface)
    _check_edges(surface, loops_allowed=1 if open_sheet else 0)
    if not open_sheet:
        _make_solid(surface, wishes)
    _as_asked(surface, wishes, open_sheet, planes)
    _refuse_large_changes(surface, wishes.largest_change, open_sheet)
    return surface


def _make_solid(surface: RepairedSurface, wishes: Repairs) -> None:
    """Turn the parts outwards, drop the small ones, and make them free of crossings."""
    drop_flat_parts(surface)
    crossing = crossing_faces(surface.vertices, surface.faces)
    turn_outwards(surface, crossing)
    drop_islands(surface, wishes.islands)
    if len(crossing):  # faces have changed their numbers
        crossing = crossing_faces(surface.vertices, surface.faces)
    untangle(surface, crossing, wishes.rebuild, wishes.rebuild_step, wishes.largest_change)


def _as_asked(
    surface: RepairedSurface, wishes: Repairs, open_sheet: bool, planes: tuple[tuple[int, float], ...]
) -> None:
    """Smooth where the user wants it or the surface is stairs, and simplify where the user wants it."""
    from fem_spall.crack.smooth import simplify, smooth, stairs_length

    length = wishes.smooth
    if length is None:
        length = 0.0 if open_sheet else stairs_length(surface.vertices, surface.faces)
    if length > 0:
        near = 1e-6 * surface.diagonal
        fixed = np.zeros(len(surface.vertices), dtype=bool)
        for axis, coordinate in planes:
            fixed |= np.abs(surface.vertices[:, axis] - coordinate) <= near
        trial = surface.trial()
        smooth(trial, length, fixed)
        crossing = 0 if open_sheet else len(crossing_faces(trial.vertices, trial.faces))
        if crossing and wishes.smooth is not None:
            refuse_crossings(trial, "smooth voxel stairs only, or over a shorter length (repair.smooth)")
        if not crossing:
            surface.take(trial)
    if wishes.simplify > 0 and not open_sheet:
        simplify(surface, wishes.simplify)


def _refuse_large_changes(surface: RepairedSurface, largest: float, open_sheet: bool) -> None:
    """Raise if what was guessed changes more than a part of volume or area, or moved farther than that of the box."""
    volume, area = surface.measure()
    guessed = surface.guessed
    shares = {
        f"{guessed['volume'] * 1e18:.3g} um^3 of volume": 0.0 if open_sheet else guessed["volume"] / volume,
        f"{guessed['area'] * 1e12:.3g} um^2 of area": guessed["area"] / area,
        f"the place by {guessed['displacement'] * 1e9:.3g} nm": guessed["displacement"] / surface.diagonal,
    }
    above = [f"{what} ({share:.2%})" for what, share in shares.items() if share > largest]
    if above:
        done = ", ".join(f"{one.count} {one.kind}" for one in surface.repairs)
        reason = f"must not change by more than {largest:.3g} of it; repairs ({done}) would change {', '.join(above)}"
        raise GeometryError(47, surface.where, reason, "mend it in a mesh editor, or raise repair.largest_change")


def _orient(surface: RepairedSurface) -> None:
    turn, one_sided = common_sense(surface.vertices, surface.faces)
    if len(one_sided):
        points = surface.vertices[surface.faces[one_sided]].mean(axis=1)
        reason = f"has a one-sided part (a Möbius band), near {places(points)}"
        raise GeometryError(31, surface.where, reason, "repair it in a mesh editor")
    faces = np.where(turn[:, None], surface.faces[:, ::-1], surface.faces)
    surface.change("faces turned to their neighbours' sense", int(turn.sum()), surface.vertices, faces)


def _check_edges(surface: RepairedSurface, loops_allowed: int) -> None:
    """Refuse what is not closed (or, with a loop allowed, not a sheet with one rim)."""
    index, uses, edges = edge_numbers(surface.faces)
    middle = surface.vertices[edges].mean(axis=1)
    if (uses > 2).any():
        crowded = middle[uses > 2]
        reason = f"has {len(crowded)} non-manifold edges (more than two faces meet), near {places(crowded)}"
        raise GeometryError(33, surface.where, reason, "unite touching parts or remove inner faces in a mesh editor")
    free = np.flatnonzero(uses == 1)
    if len(free) and not loops_allowed:
        longest = max(rim_length(surface, loop) for loop in boundary_loops(surface))
        reason = f"must be closed; it has {len(free)} open edges, near {places(middle[free])}"
        cure = (
            f"close the holes in a mesh editor, or with repair.fill_holes (the longest rim is {longest * 1e6:.3g} um)"
        )
        raise GeometryError(34, surface.where, reason, cure)
    if loops_allowed and len(loops := boundary_loops(surface)) != loops_allowed:
        reason = f"must be one sheet with one rim; it has {len(loops)} rims"
        if len(loops) > 1:
            reason += f", the inner ones at {places(surface.vertices[[loop[0] for loop in loops[1:]]])}"
        raise GeometryError(35, surface.where, reason, "use kind: surface_file for closed surfaces; fill the holes")
    sides = directed_edges(surface.faces)
    starts = np.bincount(index, np.where(sides[:, 0] < sides[:, 1], 1, -1), minlength=len(uses))
    if (starts[uses == 2] != 0).any():
        points = middle[(uses == 2) & (starts != 0)]
        raise GeometryError(36, surface.where, f"cannot be oriented, near {places(points)}", "repair it in an editor")
