"""Holes of a triangle surface: the rims round them, and patches that close them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fem_spall.crack.repaired import RepairedSurface
from fem_spall.crack.triangles import components, directed_edges, edge_numbers, smallest_patch

__all__ = ["boundary_loops", "fill_holes", "rim_length"]

type Ints = NDArray[np.int64]

HOLE_AREA = 0.005  # without a stated size, a hole up to this part of the whole area is filled …
OWN_AREA = 0.2  # … and of the part it is in: a hole as large as its part is no hole, the part is a scrap
HOLE_EDGES = 1000  # and each has at most so many edges: the patch costs the cube of it


def boundary_loops(surface: RepairedSurface) -> list[Ints]:
    """Return the closed rims of an oriented surface, vertices in the direction of the faces, longest loop first.

    Rims that touch in a vertex come as separate loops through it.
    """
    index, uses, _ = edge_numbers(surface.faces)
    rim = directed_edges(surface.faces)[uses[index] == 1]
    following: dict[int, list[int]] = {}
    for start, end in rim[np.lexsort(rim.T[::-1])].tolist():
        following.setdefault(start, []).append(end)
    loops: list[Ints] = []
    for first in list(following):
        path, place = [first], {first: 0}
        while following.get(path[-1]):
            vertex = following[path[-1]].pop()
            if vertex in place:  # closes a loop, which may hang on the path by this vertex only
                begin = place[vertex]
                loops.append(np.array(path[begin:]))
                for passed in path[begin + 1 :]:
                    del place[passed]
                del path[begin + 1 :]
            else:
                place[vertex] = len(path)
                path.append(vertex)
    length = [-rim_length(surface, loop) for loop in loops]
    return [loops[k] for k in np.argsort(length, kind="stable")]


def rim_length(surface: RepairedSurface, loop: Ints) -> float:
    """Length of a loop of vertices, m."""
    points = surface.vertices
    return float(np.linalg.norm(points[loop] - points[np.roll(loop, 1)], axis=1).sum())


def fill_holes(surface: RepairedSurface, keep_largest: bool, longest: float | None) -> None:
    """Close holes by the patch of least area: those with a rim up to ``longest``, m, or without it small ones."""
    loops = boundary_loops(surface)[1 if keep_largest else 0 :]
    if longest is not None:
        loops = [loop for loop in loops if rim_length(surface, loop) <= longest * (1 + 1e-9)]
    loops = [loop for loop in loops if len(loop) <= HOLE_EDGES]
    if not loops:
        return
    area = surface.measure()[1]
    part = components(surface.faces)
    own_area = np.bincount(part, _areas_of(surface))
    part_of = np.zeros(len(surface.vertices), dtype=np.int64)
    part_of[surface.faces] = part[:, None]
    edges = edge_numbers(surface.faces)[2]
    patches: list[Ints] = []
    for loop in loops:
        own = np.isin(edges, loop).all(axis=1)  # only these can be chords of the patch
        patch = smallest_patch(surface.vertices, loop, edges[own])
        size = surface.measure(patch)[1]
        small = size <= HOLE_AREA * area and size <= OWN_AREA * own_area[part_of[loop[0]]]
        if len(patch) and (small or longest is not None):
            patches.append(patch)
            edges = np.concatenate([edges, edge_numbers(patch)[2]])
    if patches:
        faces = np.concatenate([surface.faces, *patches])
        surface.change(
            "holes filled", len(patches), surface.vertices, faces, moves=True, closed=True, guesses=("volume", "area")
        )


def _areas_of(surface: RepairedSurface) -> NDArray[np.float64]:
    from fem_spall.crack.triangles import areas

    return areas(surface.vertices[surface.faces])
