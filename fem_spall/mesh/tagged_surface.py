"""The boundary of the electrolyte as triangles, each with the tag of the surface it belongs to."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from fem_spall.crack.base import Repair
from fem_spall.crack.triangles import unique_rows
from fem_spall.mesh.arrays import FACES, triangle_areas

__all__ = ["CRACK_TAG", "CUT_OFF", "TaggedSurface", "divided", "facet_edges", "shells", "signed_volume", "split_edges"]

#: First tag of the cracks; the faces of the block have the tags 1 to 6.
CRACK_TAG = 10
#: Kind of the repair that drops what carries no current.
CUT_OFF = "electrolyte cut off from the counter electrode dropped"


@dataclass(frozen=True)
class TaggedSurface:
    """Closed boundary of the electrolyte and sheets within it, every triangle with the tag of its surface.

    ``vertices`` (n, 3) float and ``box`` (2, 3) float in mesh units; ``faces`` (m, 3) int;
    ``tags`` (m,) int32; ``names`` maps surface names to tags.  ``thin`` (m,) bool marks the triangles
    with electrolyte on both sides; None where there are none.  ``enclosed`` is the volume of the dropped electrolyte
    by name of the first crack round it.  ``parts`` has the surface that each region is cut from, by names.
    """

    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]
    tags: NDArray[np.int32]
    names: dict[str, int]
    box: NDArray[np.float64]
    unit: float
    repairs: tuple[Repair, ...] = ()
    lithium_volume: float = 0.0
    void_volume: float = 0.0
    thin: NDArray[np.bool_] | None = None
    enclosed: dict[str, float] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)

    @property
    def closed(self) -> NDArray[np.bool_]:
        """Which triangles bound the electrolyte on one side, (m,) bool."""
        return np.ones(len(self.faces), dtype=bool) if self.thin is None else ~self.thin

    @property
    def volume(self) -> float:
        """Enclosed volume, mesh units cubed."""
        return signed_volume(self.vertices[self.faces[self.closed]])

    def area(self, tag: int) -> float:
        """Area of one surface, mesh units squared; a sheet has two faces."""
        own = self.tags == tag
        sides = np.where(self.closed[own], 1, 2)
        return float((triangle_areas(self.vertices[self.faces[own]]) * sides).sum())

    def planes(self) -> dict[int, tuple[int, float]]:
        """Tag of each face of the block, and of the regions on it, with its axis and coordinate."""
        faces = {name: FACES[name] for name in FACES}
        faces |= {name: FACES[face] for name, face in self.parts.items() if face in FACES}
        return {self.names[name]: (axis, float(self.box[side, axis])) for name, (axis, side) in faces.items()}

    @property
    def on_cracks(self) -> NDArray[np.bool_]:
        """Which triangles belong to the wall of a crack, (m,) bool."""
        return np.asarray((self.tags >= CRACK_TAG) & ~np.isin(self.tags, list(self.planes())))

    def tags_of(self, name: str) -> list[int]:
        """Tags of a surface and of the regions cut from it."""
        return [self.names[name], *(self.names[part] for part, whole in self.parts.items() if whole == name)]


def facet_edges(faces: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Unique edges (e, 2) int of triangles, and the edge of each side of each triangle, (m, 3) int."""
    begin, end = faces.ravel(), faces[:, [1, 2, 0]].ravel()
    sides = np.stack([np.minimum(begin, end), np.maximum(begin, end)]).T
    first, index = unique_rows(sides)
    return sides[first], index.reshape(-1, 3)


def shells(faces: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number of the edge-connected shell of each triangle, (m,) int."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    _, index = facet_edges(faces)
    rows = np.repeat(np.arange(len(faces)), 3)
    incidence = coo_matrix((np.ones(len(rows)), (rows, index.ravel()))).tocsr()
    return np.asarray(connected_components(incidence @ incidence.T, directed=False)[1])


def signed_volume(corners: NDArray[np.float64]) -> float:
    """Volume within a closed shell of triangles (n, 3, 3), negative if it is turned inwards."""
    a, b, c = np.moveaxis(corners, 1, 0)
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)


def split_edges(
    surface: TaggedSurface, split: NDArray[np.bool_], places: NDArray[np.float64] | None = None
) -> TaggedSurface:
    """Return the surface with some of its edges, (e,) bool in the order of :func:`facet_edges`, divided.

    At their middles, or at the given ``places`` (k, 3) on them.
    """
    edges, index = facet_edges(surface.faces)
    number = np.full(len(edges), -1, dtype=np.int64)
    number[split] = len(surface.vertices) + np.arange(int(split.sum()))
    places = surface.vertices[edges[split]].mean(axis=1) if places is None else places
    vertices = np.concatenate([surface.vertices, places])
    faces, parent = divided(vertices, surface.faces, number[index])
    thin = surface.thin[parent] if surface.thin is not None else None
    return replace(surface, vertices=vertices, faces=faces, tags=surface.tags[parent], thin=thin)


def divided(
    vertices: NDArray[np.float64], faces: NDArray[np.int64], middle: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return triangles divided at the middles of their sides, (m, 3) int, -1 where a side stays whole.

    The new triangles, and the number of the old one each came from.
    """
    count = (middle >= 0).sum(axis=1)
    # Turn each triangle so that with one split side it is the first, with two the last stays whole.
    turn = np.where(count == 1, (middle >= 0).argmax(axis=1), np.where(count == 2, (middle < 0).argmax(axis=1) + 1, 0))
    order = (turn[:, None] + np.arange(3)) % 3
    faces, middle = np.take_along_axis(faces, order, 1), np.take_along_axis(middle, order, 1)
    (v0, v1, v2), (a, b, c) = faces.T, middle.T
    short = np.linalg.norm(vertices[v0] - vertices[b], axis=1) < np.linalg.norm(vertices[a] - vertices[v2], axis=1)
    whole, one, two, three = (count == k for k in range(4))
    pieces = [
        (whole, (v0, v1, v2)),
        (one, (v0, a, v2)), (one, (a, v1, v2)),
        (two, (a, v1, b)),
        (two & short, (v0, a, b)), (two & short, (v0, b, v2)),
        (two & ~short, (v0, a, v2)), (two & ~short, (a, b, v2)),
        (three, (v0, a, c)), (three, (a, v1, b)), (three, (b, v2, c)), (three, (a, b, c)),
    ]  # fmt: skip
    new = np.concatenate([np.stack(corner, axis=1)[on] for on, corner in pieces])
    parent = np.concatenate([np.nonzero(on)[0] for on, _ in pieces])
    order = np.argsort(parent, kind="stable")
    return new[order], parent[order]
