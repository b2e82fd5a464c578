"""What is wrong with the faces of a surface as it is in the file, nothing repaired."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fem_spall.crack.clearance import clearance
from fem_spall.crack.crossings import ENOUGH, crossing_faces
from fem_spall.crack.triangles import (
    areas,
    common_sense,
    components,
    directed_edges,
    edge_numbers,
    unique_rows,
    volume,
)
from fem_spall.errors import GeometryError

__all__ = ["SurfaceFaults", "find_faults", "found"]

type Floats = NDArray[np.float64]
type Ints = NDArray[np.int64]
type Bools = NDArray[np.bool_]

NO_HEIGHT = 1e-9  # a face whose height is below this part of the box diagonal has no area
NEIGHBOURS = 5  # bodies of the nearest middles that a body is compared with, itself included
SAME_BODY = 1e-3  # two bodies are one twice if number, area and centre of their faces agree within this


@dataclass
class SurfaceFaults:
    """Faults of ``faces`` (m, 3) with three different corners each.

    ``entries`` is count and places of each fault, ready for JSON; ``marks`` says of each
    fault which faces have it, (m,) bool; ``part`` is the number of the body of each face.
    """

    part: Ints
    entries: dict[str, Any] = field(default_factory=dict)
    marks: dict[str, Bools] = field(default_factory=dict)

    def add(self, name: str, points: Floats, faces: Bools, **more: Any) -> None:
        """Note a fault: where it is, (k, 3) m, and which faces have it."""
        self.entries[name] = found(points) | more
        self.marks[name] = faces


def found(points: Floats) -> dict[str, Any]:
    """Return count and up to three places, in um, from the whole range of points (k, 3), m."""
    chosen = points[np.unique(np.linspace(0, len(points) - 1, min(3, len(points))).astype(int))]
    return {"count": len(points), "at_um": [_rounded(point) for point in chosen * 1e6]}


def _rounded(values: Floats) -> list[float]:
    return [float(f"{value:.6g}") for value in values + 0.0]


def find_faults(vertices: Floats, faces: Ints, thin: float) -> SurfaceFaults:
    """Return the faults of a surface; gaps and walls thinner than ``thin``, m, count as faults.

    Parameters
    ----------
    vertices : (n, 3) float, m
    faces : (m, 3) int
        Faces with three different corners.
    thin : float
    """
    faults = SurfaceFaults(components(faces))
    corners = vertices[faces]
    middle = corners.mean(axis=1)
    turn = _edges(faults, vertices, faces)
    faults.add("flipped_faces", middle[turn], turn)
    first, group = unique_rows(np.sort(faces, axis=1))
    copies = np.bincount(group)[group]
    doubled = np.ones(len(faces), dtype=bool)
    doubled[first] = False
    faults.add("duplicate_faces", middle[doubled], doubled)
    _duplicate_bodies(faults, corners, doubled, copies)
    length = np.linalg.norm(np.roll(corners, -1, axis=1) - corners, axis=2)
    diagonal = np.linalg.norm(corners.max(axis=(0, 1)) - corners.min(axis=(0, 1)))
    flat = 2 * areas(corners) <= NO_HEIGHT * diagonal * length.max(axis=1)
    faults.add("degenerate_faces", middle[flat], flat)
    proper = np.flatnonzero(~doubled & ~flat)
    if len(proper):
        _crossings(faults, vertices, faces, proper)
        outward = np.where(turn[:, None], faces[:, ::-1], faces)
        _thin_places(faults, vertices, outward, proper, thin)
    return faults


def _edges(faults: SurfaceFaults, vertices: Floats, faces: Ints) -> Bools:
    """Note open and crowded edges; return which faces have not the sense of the others."""
    index, uses, edges = edge_numbers(faces)
    sides = uses[index].reshape(-1, 3)
    middle = vertices[edges].mean(axis=1)
    faults.add("open_edges", middle[uses == 1], (sides == 1).any(axis=1))
    faults.add("non_manifold_edges", middle[uses > 2], (sides > 2).any(axis=1))
    starts = directed_edges(faces)
    balance = np.bincount(index, np.where(starts[:, 0] < starts[:, 1], 1, -1), minlength=len(uses))
    turn, one_sided = common_sense(vertices, faces)
    watertight = bool((uses == 2).all() and (balance == 0).all())
    count = int(faults.part.max()) + 1
    euler = len(np.unique(faces)) - len(edges) + len(faces)
    faults.entries |= {
        "components": count,
        "watertight": watertight,
        "euler_characteristic": euler,
        "genus": (2 * count - euler) // 2 if watertight else None,
        "one_sided_parts": len(np.unique(faults.part[one_sided])),
    }
    return turn


def _duplicate_bodies(faults: SurfaceFaults, corners: Floats, doubled: Bools, copies: Ints) -> None:
    """Note bodies that are there twice, corner for corner or slightly moved; the copies are marked."""
    from scipy.spatial import cKDTree

    part = faults.part
    size = np.bincount(part)
    area = areas(corners)
    surface = np.bincount(part, area)
    total = np.maximum(surface, 1e-300)
    centre = np.column_stack([np.bincount(part, area * x) for x in corners.mean(axis=1).T]) / total[:, None]
    times = np.full(len(size), len(part))
    np.minimum.at(times, part, copies)  # how often the whole body is there, corner for corner
    mark = doubled & (times > 1)[part]
    places = [np.repeat(centre, times - 1, axis=0)]
    if len(size) > 1:
        count = min(NEIGHBOURS, len(size))
        distance, other = cKDTree(centre).query(centre, k=count)
        i, j = np.repeat(np.arange(len(size)), count), other.ravel()
        near = distance.ravel() <= SAME_BODY * np.sqrt(np.minimum(surface[i], surface[j]))
        same = near & (i < j) & (size[i] == size[j]) & (np.abs(surface[i] - surface[j]) <= SAME_BODY * surface[i])
        again = np.unique(j[same])
        mark |= np.isin(part, again)
        places.append(centre[again])
    faults.add("duplicate_bodies", np.concatenate(places), mark)


def _crossings(faults: SurfaceFaults, vertices: Floats, faces: Ints, proper: Ints) -> None:
    mark = np.zeros(len(faces), dtype=bool)
    more: dict[str, Any] = {}
    try:
        pairs = crossing_faces(vertices, faces[proper])
    except GeometryError as fault:
        pairs, more = np.empty((0, 2), dtype=np.int64), {"undecided": f"{fault.reason}; {fault.cure}"}
    mark[proper[np.unique(pairs)]] = True
    if len(pairs) >= ENOUGH:
        more = {"undecided": f"at least so many: the search ended after {ENOUGH} crossings"}
    faults.add("self_intersecting_faces", vertices[faces[mark]].mean(axis=1), mark, **more)


def _thin_places(faults: SurfaceFaults, vertices: Floats, faces: Ints, proper: Ints, thin: float) -> None:
    """Note where the electrolyte (gaps) or the body (walls) is thinner than ``thin``, as the faces are oriented."""
    if volume(vertices[faces]) < 0:
        faces = faces[:, ::-1]
    part, faces = faults.part, faces[proper]
    more: dict[str, Any] = {"below_um": float(f"{thin * 1e6:.4g}")}
    names = ("thin_gaps", "thin_walls")
    try:
        distances = clearance(vertices, faces, thin)
    except GeometryError as fault:
        none = np.zeros(len(part), dtype=bool)
        for name in names:
            faults.add(name, np.empty((0, 3)), none, **more, undecided=f"{fault.reason}; {fault.cure}")
        return
    for name, distance in zip(names, distances, strict=True):
        near = np.isfinite(distance)
        mark = np.zeros(len(part), dtype=bool)
        mark[proper[near]] = True
        order = np.argsort(distance[near], kind="stable")
        narrowest = {"narrowest_um": float(f"{distance.min() * 1e6:.4g}")} if near.any() else {}
        places = vertices[faces[near][order]].mean(axis=1)
        faults.add(name, places, mark, **narrowest, **more)
