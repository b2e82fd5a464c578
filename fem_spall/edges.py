"""Sharp edges of the plating lithium: where they run and how far the electrolyte opens round them.

The electrolyte angle ω of an edge decides how the current crowds there: |j| ~ s^(π/ω − 1) at the distance s.
Where lithium meets an insulating surface, that surface acts as a mirror and ω is twice the angle.  The rim of
a sheet, and the border of lithium in an insulating plane, both have 360° and a square root: these are crack edges.
Everything here is plain arrays on rank 0, lengths in mesh units.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fem_spall.mesh.arrays import FACES, SIDES, MeshArrays
from fem_spall.near import Places

__all__ = ["SharpEdge", "sharp_edges"]

#: An edge is sharp if the electrolyte opens by more than this round it: a fold by 60 degrees.
SHARP = np.radians(240.0)
#: It is a crack edge if its angle differs from 360 degrees by less: the exponent is then 1/2 within 0.02.
CRACK = np.radians(15.0)
#: A chain of edges ends where it bends by more than this.
BEND = np.radians(45.0)
#: A fold must be as many mesh edges long; shorter ones are noise of a measured surface.
LONG = 8
#: In a ball of as many mesh edges the electrolyte must still open by more than SEEN.
STEP_BACK = 4.0
SEEN = np.radians(225.0)

#: A mesh edge belongs to a given polyline if both its ends are nearer to it than this many of its lengths.
NEAR = 1.0

type Floats = NDArray[np.float64]
type Ints = NDArray[np.int64]
type Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class SharpEdge:
    """A chain of mesh edges round which the electrolyte opens by ``angle``, rad, on average.

    ``vertices`` (n,) int count into the points of the mesh, first and last the same in a ring; ``advance`` (n, 3)
    float are unit vectors across the edge, away from the lithium along its surface.  ``faces`` lithium faces meet
    in it: 2, or 1 where the plane of the lithium cuts the electrolyte; then ``mirrored`` says that this plane is a
    side wall, which mirrors the body, and not an insulating surface of its own.
    """

    vertices: Ints
    advance: Floats
    angle: float
    faces: int
    mirrored: bool
    surface: str

    @property
    def ring(self) -> bool:
        """Whether it is closed."""
        return bool(self.vertices[0] == self.vertices[-1])

    @property
    def is_crack(self) -> bool:
        """Whether the current density goes as one over the square root of the distance."""
        return bool(abs(self.angle - 2 * np.pi) < CRACK)

    def steps(self, points: Floats) -> Floats:
        """Length of each mesh edge, (n − 1,) float."""
        return np.asarray(np.linalg.norm(np.diff(points[self.vertices], axis=0), axis=1))


@dataclass(frozen=True)
class _Pieces:
    """Single mesh edges: ends (m, 2), way out of the lithium (m, 3), angle (m,), what makes chains differ (m, 5)."""

    ends: Ints
    advance: Floats
    angle: Floats
    kind: Ints  # tag of the surface, faces, mirrored, crack edge, certain

    @cached_property
    def numbers(self) -> dict[tuple[int, int], int]:
        """Number of the piece between two vertices, in either order."""
        return {pair: i for i, (a, b) in enumerate(self.ends.tolist()) for pair in ((a, b), (b, a))}

    def only(self, keep: Flags | Ints) -> _Pieces:
        """Return some of them."""
        return _Pieces(self.ends[keep], self.advance[keep], self.angle[keep], self.kind[keep])


def sharp_edges(
    arrays: MeshArrays, lithium: tuple[str, ...], insulating: tuple[str, ...], given: tuple[Floats, ...] = ()
) -> list[SharpEdge]:
    """Return the sharp edges of the lithium, the longest first.

    ``lithium`` names the surfaces of fixed potential that are searched, ``insulating`` those that hardly any current
    passes.  Folds count only in long chains, and only if the electrolyte opens as far in a ball of several mesh
    edges: what goes away when one steps back is noise of a measured surface.  Where ``given`` names polylines, (p, 3)
    each in mesh units, the edges along them count and no others, however short.
    """
    names = {arrays.names[name]: name for name in lithium}
    own = np.isin(arrays.tags, list(names))
    blocked = np.isin(arrays.tags, [arrays.names[name] for name in insulating])
    ends, sides = _edges_of(arrays.facets[:, :3], own, own | blocked)
    rim = sides[:, 1] < 0
    every = [_rims(arrays, ends[rim], sides[rim, 0]), _folds(arrays, ends[~rim], sides[~rim], own)]
    pieces = _Pieces(*(np.concatenate([getattr(p, k) for p in every]) for k in ("ends", "advance", "angle", "kind")))
    if given:
        pieces = _along(arrays.points, pieces, given)
    electrolyte = _Electrolyte(arrays)
    found = []
    for kind in np.unique(pieces.kind, axis=0):
        some = pieces.only((pieces.kind == kind).all(axis=1))
        for chain in _chains(arrays.points, some.ends):
            if not kind[4] and len(chain) <= LONG:
                continue
            edge = _edge(arrays.points, some, chain, names[int(kind[0])])
            if kind[4] or electrolyte.opens(edge):
                found.append(edge)
    return sorted(found, key=lambda edge: -float(edge.steps(arrays.points).sum()))


def _along(points: Floats, pieces: _Pieces, given: tuple[Floats, ...]) -> _Pieces:
    """The mesh edges that run along given polylines, within NEAR of their length, all of them certain."""
    length = np.linalg.norm(np.diff(points[pieces.ends], axis=1)[:, 0], axis=1)
    if length.size == 0:
        return pieces
    marks = []
    for line in given:
        for start, end in pairwise(line):
            count = int(np.clip(2 * np.linalg.norm(end - start) / length.min(), 1, 100_000)) + 1
            marks.append(start + np.linspace(0, 1, count)[:, None] * (end - start))
    distance = Places(np.concatenate(marks)).nearest(points[pieces.ends].reshape(-1, 3))[0].reshape(-1, 2)
    near = (distance <= NEAR * length[:, None]).all(axis=1)
    chosen = pieces.only(near)
    chosen.kind[:, 4] = 1
    return chosen


def _edges_of(corners: Ints, own: Flags, known: Flags) -> tuple[Ints, Ints]:
    """Edges (m, 2) of the own facets, and the one or two known facets at each (m, 2), an own one first, −1 for none.

    Edges where three facets or an unknown one meet are left out: those of sheets on another surface, of electrodes.
    """
    ends = np.sort(corners[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    key = ends[:, 0] * (int(corners.max(initial=0)) + 1) + ends[:, 1]
    order = np.argsort(key, kind="stable")
    _, start, count = np.unique(key[order], return_index=True, return_counts=True)
    start, count = start[count <= 2], count[count <= 2]
    first = order[start] // 3
    second = np.where(count == 2, order[np.minimum(start + 1, len(order) - 1)] // 3, -1)
    swap = (second >= 0) & ~own[first]
    first, second = np.where(swap, second, first), np.where(swap, first, second)
    keep = own[first] & ((second < 0) | known[second])
    return ends[order[start]][keep], np.stack([first, second], axis=1)[keep]


def _across(points: Floats, ends: Ints, towards: Ints) -> Floats:
    """Unit vectors square to edges that point to the given vertices, (m, 3)."""
    along = points[ends[:, 1]] - points[ends[:, 0]]
    out = points[towards] - points[ends[:, 0]]
    return _unit(out - along * (np.einsum("ij,ij->i", out, along) / np.einsum("ij,ij->i", along, along))[:, None])


def _unit(vectors: Floats) -> Floats:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.where(length > 0, length, 1.0))


def _third(arrays: MeshArrays, ends: Ints, facet: Ints) -> Ints:
    """The corner of each facet that is not on the edge."""
    return np.asarray(arrays.facets[facet, :3].sum(axis=1) - ends.sum(axis=1))


def _rims(arrays: MeshArrays, ends: Ints, facet: Ints) -> _Pieces:
    """Edges with one facet: the electrolyte goes all the way round."""
    one, zero = np.ones(len(ends), dtype=np.int64), np.zeros(len(ends), dtype=np.int64)
    kind = np.stack([arrays.tags[facet], 2 * one, zero, one, one], axis=1).astype(np.int64)
    advance = -_across(arrays.points, ends, _third(arrays, ends, facet))
    return _Pieces(ends, advance, np.full(len(ends), 2 * np.pi), kind)


def _folds(arrays: MeshArrays, ends: Ints, sides: Ints, own: Flags) -> _Pieces:
    """Edges with two facets, both of lithium or one of them insulating, round which the electrolyte opens widely."""
    points = arrays.points
    one, two = (_across(points, ends, _third(arrays, ends, side)) for side in sides.T)
    both = own[sides[:, 1]]
    maybe = ~both | (np.einsum("ij,ij->i", one, two) > np.cos(SHARP))
    ends, sides, one, two, both = ends[maybe], sides[maybe], one[maybe], two[maybe], both[maybe]
    apex, inner = _apexes(arrays, sides[:, 0])
    into = points[apex] - points[ends[:, 0]]
    into -= one * np.einsum("ij,ij->i", into, one)[:, None]
    along = _unit(points[ends[:, 1]] - points[ends[:, 0]])
    into = _unit(into - along * np.einsum("ij,ij->i", into, along)[:, None])
    angle = np.arctan2(np.einsum("ij,ij->i", two, into), np.einsum("ij,ij->i", two, one)) % (2 * np.pi)
    angle = np.where(inner, np.maximum(angle, 2 * np.pi - angle), angle)
    angle = np.where(both, angle, 2 * angle)
    walls = [arrays.names[name] for name, (axis, _) in FACES.items() if axis < 2 and name in arrays.names]
    mirrored = ~both & np.isin(arrays.tags[sides[:, 1]], walls)
    tag = np.where(both, arrays.tags[sides].max(axis=1), arrays.tags[sides[:, 0]])
    kind = [tag, np.where(both, 2, 1), mirrored, np.abs(angle - 2 * np.pi) < CRACK, ~both]
    advance = _unit(-one - np.where(both[:, None], two, 0.0))
    return _Pieces(ends, advance, angle, np.stack(kind, axis=1).astype(np.int64)).only(angle > SHARP)


def _apexes(arrays: MeshArrays, facet: Ints) -> tuple[Ints, Flags]:
    """Fourth vertex of a cell on each facet, and whether there is a cell on both sides of it."""
    corners = np.sort(arrays.facets[facet, :3], axis=1)
    number = np.full(len(arrays.points), -1, dtype=np.int64)
    used = np.unique(corners)
    number[used] = np.arange(len(used))
    cells = arrays.cells[:, :4]
    cells = cells[(number[cells] >= 0).sum(axis=1) >= 3]
    faces = cells[:, SIDES].reshape(-1, 3)
    apex, place = cells.ravel(), np.sort(number[faces], axis=1)
    apex, place = apex[place[:, 0] >= 0], place[place[:, 0] >= 0]
    count = len(used) + 1
    key = (place[:, 0] * count + place[:, 1]) * count + place[:, 2]
    order = np.argsort(key, kind="stable")
    wanted = number[corners]
    wanted_key = (wanted[:, 0] * count + wanted[:, 1]) * count + wanted[:, 2]
    low, high = (np.searchsorted(key[order], wanted_key, side=side) for side in ("left", "right"))
    return apex[order[low]], np.asarray(high - low == 2)


def _chains(points: Floats, ends: Ints) -> list[Ints]:
    """Vertices of chains of edges, (n,) int each, cut where three meet and at bends; rings end where they begin."""
    neighbours: dict[int, list[int]] = {}
    for a, b in ends.tolist():
        neighbours.setdefault(a, []).append(b)
        neighbours.setdefault(b, []).append(a)

    def goes_on(vertex: int) -> bool:
        if len(neighbours[vertex]) != 2:
            return False
        before, after = (points[v] - points[vertex] for v in neighbours[vertex])
        return bool(-before @ after > np.cos(BEND) * np.linalg.norm(before) * np.linalg.norm(after))

    through = {vertex: goes_on(vertex) for vertex in neighbours}
    left = {(a, b) for a, near in neighbours.items() for b in near}
    found = []
    # From where chains end first; what is left after that are rings.
    for vertex in sorted(neighbours, key=lambda v: (through[v], v)):
        for second in sorted(neighbours[vertex]):
            if (vertex, second) not in left:
                continue
            chain = [vertex, second]
            while through[chain[-1]] and chain[-1] != vertex:
                a, b = neighbours[chain[-1]]
                chain.append(b if a == chain[-2] else a)
            left -= {pair for a, b in pairwise(chain) for pair in ((a, b), (b, a))}
            found.append(np.array(chain, dtype=np.int64))
    return found


def _edge(points: Floats, pieces: _Pieces, chain: Ints, surface: str) -> SharpEdge:
    """The edge of a chain: mean angle, and at each vertex the way out of the lithium."""
    own = pieces.only(np.array([pieces.numbers[a, b] for a, b in pairwise(chain.tolist())]))
    steps = np.diff(points[chain], axis=0)
    length = np.linalg.norm(steps, axis=1)
    out, along = np.zeros((2, len(chain), 3))
    for total, part in ((out, own.advance * length[:, None]), (along, steps)):
        total[:-1] += part
        total[1:] += part
        if chain[0] == chain[-1]:
            total[[0, -1]] = total[0] + total[-1]
    along = _unit(along)
    _, faces, mirrored, _, _ = (int(value) for value in own.kind[0])
    return SharpEdge(
        chain, _unit(out - along * np.einsum("ij,ij->i", out, along)[:, None]),
        float(np.average(own.angle, weights=length)), faces, bool(mirrored), surface,
    )  # fmt: skip


@dataclass(frozen=True)
class _Electrolyte:
    """How much of a ball the cells fill."""

    arrays: MeshArrays

    @cached_property
    def _cells(self) -> tuple[Floats, Floats, Floats]:
        a, b, c, d = (self.arrays.points[corners] for corners in self.arrays.cells[:, :4].T)
        volume = np.abs(np.einsum("ij,ij->i", np.cross(b - a, c - a), d - a)) / 6
        box = np.stack([self.arrays.points.min(axis=0), self.arrays.points.max(axis=0)])
        return (a + b + c + d) / 4, volume, box

    def opens(self, edge: SharpEdge) -> bool:
        """Whether the electrolyte opens widely round an edge, seen from some mesh edges away."""
        middle, volume, box = self._cells
        steps = edge.steps(self.arrays.points)
        radius = STEP_BACK * float(steps.mean())
        pick = np.unique(np.linspace(0, len(edge.vertices) - 1, LONG).astype(int))
        centres = self.arrays.points[edge.vertices[pick]]
        low, high = centres.min(axis=0) - radius, centres.max(axis=0) + radius
        near = np.ones(len(middle), dtype=bool)
        for axis in range(3):
            near &= (middle[:, axis] >= low[axis]) & (middle[:, axis] <= high[axis])
        middle, volume = middle[near], volume[near]
        grid = np.linspace(-1, 1, 11)
        ball = np.stack(np.meshgrid(grid, grid, grid), axis=-1).reshape(-1, 3)
        ball = ball[(ball**2).sum(axis=1) <= 1] * radius
        share = []
        for centre in centres:
            # The side walls are mirrors: only the part of the ball between them counts.
            between = (((centre + ball)[:, :2] >= box[0, :2]) & ((centre + ball)[:, :2] <= box[1, :2])).all(axis=1)
            filled = volume[((middle - centre) ** 2).sum(axis=1) <= radius**2].sum()
            share.append(filled / (between.mean() * 4 / 3 * np.pi * radius**3))
        return bool(2 * np.pi * np.mean(share) > SEEN)
