"""Surfaces that run through themselves: folds cut out, overlapping parts united, the rest rebuilt.

In this order, because each step changes more than the one before.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fem_spall.crack.crossings import crossing_faces
from fem_spall.crack.rebuild import rebuild
from fem_spall.crack.repaired import RepairedSurface, places
from fem_spall.crack.shells import turn_outwards, unite_parts
from fem_spall.crack.triangles import areas, components, directed_edges, edge_numbers, smallest_patch
from fem_spall.errors import GeometryError

__all__ = ["refuse_crossings", "untangle"]

type Ints = NDArray[np.int64]

GROW = (0, 1, 1, 2, 2)  # rings of faces cut out beyond those that cross, round by round
FOLD_EDGES = 60  # a wound with a longer rim is no fold
FOLDED_AREA = 0.1  # no more than this part of the area is cut out as folds


def untangle(
    surface: RepairedSurface, crossing: Ints, when: Literal["auto", "always", "never"], step: float | None,
    largest_change: float,
) -> None:  # fmt: skip
    """Make a closed, oriented surface free of crossings.

    Parameters
    ----------
    surface : RepairedSurface
    crossing : (k, 2) int
        Pairs of faces that cross.
    when : str
        Whether to rebuild the surface from its inside: where nothing else helps, in any case, or never.
    step : float or None
        Grid of the rebuilt surface, m; None takes it from the triangles.
    largest_change : float
        What a rebuilt surface may change, see :func:`~fem_spall.crack.rebuild.rebuild`.

    Raises
    ------
    GeometryError
        If crossings are left.
    """
    if when == "always":
        rebuild(surface, crossing, step, largest_change)
    elif len(crossing):
        trial = surface.trial()
        if _cut_folds(trial, crossing) and _unite(trial):
            surface.take(trial)
        elif when == "never":
            refuse_crossings(surface)
        else:
            rebuild(surface, crossing, step, largest_change)


def _unite(surface: RepairedSurface) -> bool:
    pairs = crossing_faces(surface.vertices, surface.faces)
    if len(pairs) == 0:
        return True
    if not unite_parts(surface, pairs):
        return False
    pairs = crossing_faces(surface.vertices, surface.faces)
    turn_outwards(surface, pairs)
    return len(pairs) == 0


def _cut_folds(surface: RepairedSurface, crossing: Ints) -> bool:
    """Cut out the faces where one part crosses itself and close the wounds, if each wound is a disc; say if it worked.

    A part that runs through itself as two walls do leaves rings, not discs, and no patch could mend that.
    """
    before = surface.trial()
    count = 0
    for grow in GROW:
        label = components(surface.faces)
        own = crossing[label[crossing[:, 0]] == label[crossing[:, 1]]]
        if len(own) == 0:
            break
        count = count or len(np.unique(own))
        if not _replaced(surface, np.unique(own), grow):
            return False
        crossing = crossing_faces(surface.vertices, surface.faces)
    else:
        label = components(surface.faces)
        if len(crossing) and (label[crossing[:, 0]] == label[crossing[:, 1]]).any():
            return False
    if count:
        vertices, faces = surface.vertices, surface.faces
        surface.take(before)
        surface.change(
            "crossing faces of folds replaced", count, vertices, faces, moves=True,
            guesses=("volume", "area", "displacement"),
        )  # fmt: skip
    return True


def _replaced(surface: RepairedSurface, cut: Ints, grow: int) -> bool:
    """Replace faces, and ``grow`` rings round them, by patches of least area; False where that is not possible."""
    gone = np.zeros(len(surface.faces), dtype=bool)
    gone[cut] = True
    for _ in range(grow):
        gone |= np.isin(surface.faces, surface.faces[gone]).any(axis=1)
    gone[np.flatnonzero(~gone)[_cut_off(surface, surface.faces[~gone])]] = True
    if surface.measure(surface.faces[gone])[1] > FOLDED_AREA * surface.measure()[1]:
        return False
    wound, kept = surface.faces[gone], surface.faces[~gone]
    edges = edge_numbers(kept)[2]
    label = components(wound)
    patches = []
    for one in range(int(label.max()) + 1):
        rim = _rim(wound[label == one])
        if rim is None or len(rim) > FOLD_EDGES:
            return False
        patch = smallest_patch(surface.vertices, rim[::-1], edges[np.isin(edges, rim).all(axis=1)])
        if len(patch) == 0:
            return False
        patches.append(patch)
        edges = np.concatenate([edges, edge_numbers(patch)[2]])
    surface.faces = np.concatenate([kept, *patches])
    surface.tidy()
    return bool((edge_numbers(surface.faces)[1] == 2).all())


def _cut_off(surface: RepairedSurface, kept: Ints) -> NDArray[np.bool_]:
    """Which of the faces left lie in small pieces with a rim: tips pushed through another wall."""
    index, uses, _ = edge_numbers(kept)
    label = components(kept)
    rimmed = np.bincount(label, (uses[index].reshape(-1, 3) == 1).any(axis=1)) > 0
    small = np.bincount(label, areas(surface.vertices[kept])) < FOLDED_AREA * surface.measure()[1] / 2
    return (rimmed & small)[label]


def _rim(faces: Ints) -> Ints | None:
    """The rim of a disc of faces, in the direction of the faces; None if they are no disc."""
    index, uses, edges = edge_numbers(faces)
    rim = directed_edges(faces)[uses[index] == 1]
    vertices = np.unique(faces)
    following = dict(rim.tolist())
    if len(vertices) - len(edges) + len(faces) != 1 or len(following) != len(rim):
        return None
    path = [int(rim[:, 0].min())]
    while (vertex := following[path[-1]]) != path[0]:
        if len(path) > len(rim):
            return None
        path.append(vertex)
    return np.array(path) if len(path) == len(rim) else None


def refuse_crossings(
    surface: RepairedSurface, cure: str = "unite overlapping parts or rebuild the surface in a mesh editor"
) -> None:
    """Raise if faces cross each other, with three places.

    Raises
    ------
    GeometryError
        Always when :func:`~fem_spall.crack.crossings.crossing_faces` finds a pair.
    """
    pairs = crossing_faces(surface.vertices, surface.faces)
    if len(pairs) == 0:
        return
    points = surface.vertices[surface.faces[pairs[:, 0]]].mean(axis=1)
    reason = f"runs through itself: {len(np.unique(pairs))} faces cross, near {places(points)}"
    raise GeometryError(38, surface.where, reason, cure)
