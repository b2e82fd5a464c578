"""Edge flux intensity K_j = lim √(2πs) j(s) along crack edges, from the power released by a virtual advance.

If a piece of the edge advances by q the power ∫ σ|∇φ|² at fixed potentials grows by ∫ g q ds with
g = K_j²/σ, both faces together; the same change is Σ F_i·q_i with the material forces F of the vertices, for any
field q that equals the advance on the edge, keeps all surfaces in place and vanishes outside a tube.  The tube
reaches over several cells, so the poor field in the first ones hardly matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fem_spall.edges import SharpEdge
from fem_spall.mesh.arrays import MeshArrays
from fem_spall.near import Places

__all__ = ["EdgeIntensity", "edge_intensity"]

#: Least radius aimed at for the tube, and distance of the stations along the edge, in mesh edges.
REACH = 8.0
#: Stations on one edge at most: on fine meshes a wider tube averages more of the scatter between cells.
STATIONS = 24
#: A narrower tube is refused.
LEAST = 3.0
#: The tube's radius over the radius of curvature of the edge at most.
CURVED = 0.4
#: A surface is kept in place if the advance leaves it by no more than this sine.
SLIDES = 0.1

type Floats = NDArray[np.float64]
type Ints = NDArray[np.int64]


@dataclass(frozen=True)
class EdgeIntensity:
    """Stations along crack edges, SI units; ``value`` and ``release`` are NaN where no tube fits.

    ``edge`` (k,) int numbers the edges; ``arc`` (k,) from the beginning of the edge; ``place`` (k, 3); ``value``
    (k,) is K_j, A/m^1.5; ``field`` (k,) K_E = K_j/σ, V/m^0.5; ``release`` (k,) the dissipation release rate, W/m^2;
    ``length`` (k,) the length each station stands for; ``tube`` (k,) the radius of the tube; ``size`` (k,) the length
    of the mesh edges.
    """

    edge: Ints
    arc: Floats
    place: Floats
    value: Floats
    field: Floats
    release: Floats
    length: Floats
    tube: Floats
    size: Floats

    @property
    def known(self) -> NDArray[np.bool_]:
        """Which stations have a value, (k,)."""
        return np.isfinite(self.value)

    @property
    def largest(self) -> int:
        """Number of the station with the largest intensity."""
        return int(np.nanargmax(self.value))

    @property
    def mean(self) -> float:
        """Mean over the length of the edges where it is known, A/m^1.5."""
        return float(np.average(self.value[self.known], weights=self.length[self.known]))

    def csv(self) -> str:
        """The table as text, SI units; "nan" where no tube fits."""
        head = "edge,s_m,x_m,y_m,z_m,k_A_m1.5,release_W_m2,tube_radius_m,mesh_edge_m\n"
        columns = (self.arc, *self.place.T, self.value, self.release, self.tube, self.size)
        return head + "".join(
            f"{edge}," + ",".join(f"{value:.8g}" for value in row) + "\n"
            for edge, *row in zip(self.edge, *columns, strict=True)
        )


def edge_intensity(
    arrays: MeshArrays, edges: Sequence[SharpEdge], forces: Floats, conductivity: Floats
) -> EdgeIntensity | None:
    """Return the intensity along those of the edges that are crack edges; None if there are none.

    ``edges`` are all sharp edges, since a tube must not reach another one; ``forces`` (n, 3), W/m, of the vertices;
    ``conductivity`` (3, 3), S/m.
    """
    if not any(edge.is_crack for edge in edges):
        return None
    body = _Body(arrays, edges)
    found = [
        (number, _Tube.round(body, number).intensity(forces, conductivity))
        for number, edge in enumerate(edges) if edge.is_crack
    ]  # fmt: skip
    columns = [np.concatenate(column) for column in zip(*(part for _, part in found), strict=True)]
    return EdgeIntensity(np.repeat([n for n, _ in found], [len(part[0]) for _, part in found]), *columns)


@dataclass(frozen=True)
class _Line:
    """An edge as a polyline, m: points (n, 3), advance (n, 3), arc (n,), mesh edge length at each (n,)."""

    points: Floats
    advance: Floats
    arc: Floats
    size: Floats
    ring: bool

    @classmethod
    def of(cls, arrays: MeshArrays, edge: SharpEdge) -> _Line:
        """Return the polyline of an edge."""
        points = arrays.points[edge.vertices] * arrays.unit
        steps = edge.steps(arrays.points) * arrays.unit
        ends = (steps[-1], steps[0]) if edge.ring else (steps[0], steps[-1])
        size = (np.append(ends[0], steps) + np.append(steps, ends[1])) / 2
        return cls(points, edge.advance, np.append(0.0, np.cumsum(steps)), size, edge.ring)

    @property
    def reach(self) -> Floats:
        """Radius aimed at for the tube at each point, (n,), m."""
        return np.asarray(np.maximum(REACH * self.size, self.arc[-1] / STATIONS))

    def along(self, arc: Floats, values: Floats) -> Floats:
        """Values given at the points, (n,) or (n, 3), at other arc lengths."""
        if values.ndim == 1:
            return np.interp(arc, self.arc, values)
        return np.stack([np.interp(arc, self.arc, column) for column in values.T], axis=1)

    def nearest(self, points: Floats, reach: float) -> tuple[Floats, Floats]:
        """Arc length of the nearest point of the line and the distance to it, (m,) each; infinity beyond the reach."""
        distance, at = Places(self.points).nearest(points, reach)
        arc, least = np.zeros(len(points)), np.where(np.isfinite(distance), distance, np.inf)
        near = np.nonzero(np.isfinite(distance))[0]
        arc[near] = self.arc[at[near]]
        last = len(self.points) - 1
        for shift in (-1, 0):
            start = at[near] + shift
            start = start % last if self.ring else np.clip(start, 0, last - 1)
            step = self.points[start + 1] - self.points[start]
            part = np.einsum("ij,ij->i", points[near] - self.points[start], step) / np.einsum("ij,ij->i", step, step)
            foot = self.points[start] + np.clip(part, 0, 1)[:, None] * step
            distance = np.linalg.norm(points[near] - foot, axis=1)
            closer = distance < least[near]
            least[near[closer]] = distance[closer]
            ahead = np.clip(part, 0, 1) * (self.arc[start + 1] - self.arc[start])
            arc[near[closer]] = (self.arc[start] + ahead)[closer]
        return arc, least


@dataclass(frozen=True)
class _Body:
    """Vertices, facets and edges, found by place: a rough surface has hundreds of edges, each of them small."""

    arrays: MeshArrays
    edges: Sequence[SharpEdge]

    @cached_property
    def points(self) -> Floats:
        """Vertices, (n, 3), m."""
        return np.asarray(self.arrays.points * self.arrays.unit)

    @cached_property
    def box(self) -> Floats:
        """Lowest and highest corner, (2, 3), m."""
        return np.stack([self.points.min(axis=0), self.points.max(axis=0)])

    @cached_property
    def _places(self) -> Places:
        return Places(self.points)

    @cached_property
    def _on_edges(self) -> tuple[Ints, Ints, Places]:
        """Vertices of all edges, the number of the edge of each, and where they are."""
        vertices = np.concatenate([edge.vertices for edge in self.edges])
        owner = np.repeat(np.arange(len(self.edges)), [len(edge.vertices) for edge in self.edges])
        return vertices, owner, Places(self.points[vertices])

    @cached_property
    def _facets_at(self) -> tuple[Ints, Ints]:
        """Facets by vertex, one vertex after the other, and where those of each vertex begin, (n + 1,)."""
        corners = self.arrays.facets[:, :3].ravel()
        count = np.bincount(corners, minlength=len(self.points))
        return np.argsort(corners, kind="stable") // 3, np.append(0, np.cumsum(count))

    def near(self, places: Floats, reach: float) -> Ints:
        """Vertices within a distance of one of the places, ascending, (m,)."""
        return np.unique(self._places.within(places, reach)[1])

    def other_edges(self, number: int, places: Floats, reach: float) -> Ints:
        """Vertices of all edges but one that are within a distance of one of the places."""
        vertices, owner, places_on = self._on_edges
        found = np.unique(places_on.within(places, reach)[1])
        return np.asarray(vertices[found[owner[found] != number]])

    def facets_at(self, vertices: Ints) -> Ints:
        """Corners (f, 3) of the facets that have one of the vertices."""
        facets, begin = self._facets_at
        count = begin[vertices + 1] - begin[vertices]
        place = np.repeat(begin[vertices] - np.cumsum(count) + count, count) + np.arange(count.sum())
        return np.asarray(self.arrays.facets[np.unique(facets[place]), :3])


@dataclass(frozen=True)
class _Tube:
    """A tube round an edge with a radius at each of its points, and the virtual advance of the vertices in it."""

    edge: SharpEdge
    line: _Line
    radius: Floats  # (n,), m
    vertices: Ints  # (m,)
    arc: Floats  # (m,), of the vertices
    advance: Floats  # (m, 3), of the vertices

    @classmethod
    def round(cls, body: _Body, number: int) -> _Tube:
        """The widest tube up to the reach that meets neither another edge nor a surface it would displace."""
        edge = body.edges[number]
        line = _Line.of(body.arrays, edge)
        widest = float(line.reach.max())
        near = body.near(line.points, widest)
        points = body.points[near]
        arc, distance = line.nearest(points, widest)
        advance = line.along(arc, line.advance)
        held = _held(body, near, advance)
        radius = np.minimum(line.reach, CURVED / np.maximum(_curvature(line), 1e-300))
        # What is farther away than this sets no bound.
        obstacles = np.concatenate([held, body.other_edges(number, line.points, 1.2 * widest)])
        if obstacles.size:
            radius = np.minimum(radius, 0.9 * Places(body.points[obstacles]).nearest(line.points)[0])
        radius = np.minimum(radius, _own_distance(line, widest))
        scale = line.along(arc, radius)
        with np.errstate(invalid="ignore", divide="ignore"):
            part = np.clip(2 * (1 - distance / scale), 0.0, 1.0)
        inside = part > 0
        advance = advance[inside] * part[inside, None]
        # Vertices on a face of the block stay on it.
        for plane in body.box:
            advance[np.abs(points[inside] - plane) < 1e-9 * np.abs(body.box).max()] = 0.0
        return cls(edge, line, radius, near[inside], arc[inside], advance)

    def intensity(self, forces: Floats, conductivity: Floats) -> tuple[Floats, ...]:
        """The columns of :class:`EdgeIntensity` from ``arc`` on."""
        line, stations = self.line, _Stations.on(self.line)
        fits = np.asarray(stations.hats(line.arc).T @ (self.radius < LEAST * line.size)) == 0
        power = stations.hats(self.arc).T @ np.einsum("ij,ij->i", self.advance, forces[self.vertices])
        # The meshed half of a body that a plane cuts releases half of the power.
        release = np.maximum(stations.density(line.arc, power, fits) * 2 / self.edge.faces, 0.0)
        sigma = _conductance(line, stations.arc, conductivity)
        value = np.sqrt(release * sigma)
        if self.edge.faces == 1 and not self.edge.mirrored:
            release = release / 2
        tube = np.where(fits, line.along(stations.arc, self.radius), np.nan)
        return (
            stations.arc, line.along(stations.arc, line.points), value, value / sigma, release,
            stations.lengths(line.arc), tube, line.along(stations.arc, line.size),
        )  # fmt: skip


@dataclass(frozen=True)
class _Stations:
    """Places along an edge, evenly spaced, each with a hat function that falls to zero at its neighbours."""

    total: float
    pieces: int  # 0: one station for the whole edge
    ring: bool

    @classmethod
    def on(cls, line: _Line) -> _Stations:
        """Stations about as far from each other as the tube is wide."""
        total = float(line.arc[-1])
        pieces = int(total / max(float(np.median(line.reach)), 2 * float(line.size.max())))
        return cls(total, max(pieces, 3) if line.ring else pieces * (pieces > 1), line.ring)

    @property
    def arc(self) -> Floats:
        """Arc length of each, (c,) float, m."""
        if self.pieces == 0:
            return np.array([self.total / 2])
        return np.asarray(self.total / self.pieces * np.arange(self.pieces + (not self.ring)))

    def hats(self, arc: Floats) -> Floats:
        """Values of the hats at arc lengths (m,), (m, c)."""
        if self.pieces == 0:
            return np.ones((len(arc), 1))
        place = np.clip(arc / self.total * self.pieces, 0, self.pieces)
        left = np.minimum(place.astype(np.int64), self.pieces - 1)
        result, rows = np.zeros((len(arc), len(self.arc))), np.arange(len(arc))
        for column, value in ((left, left + 1 - place), (left + 1, place - left)):
            result[rows, column % len(self.arc)] = value
        return result

    def lengths(self, arc: Floats) -> Floats:
        """Integral of each hat over the edge with points at these arc lengths, (c,) float, m."""
        return np.asarray(self._products(arc).sum(axis=1))

    def density(self, arc: Floats, power: Floats, fits: NDArray[np.bool_]) -> Floats:
        """A g whose integrals against the hats are nearly the given powers, (c,) float; NaN where it does not fit."""
        products = self._products(arc)
        # Beyond the last station that fits g goes on as it is there.
        inner = products[np.ix_(fits, fits)] + np.diag(products[np.ix_(fits, ~fits)].sum(axis=1))
        # Means over the hats flatten a maximum, the exact inverse triples the scatter: one step from here to there.
        length = inner.sum(axis=1)
        mean = power[fits] / length
        result = np.full(len(power), np.nan)
        result[fits] = 2 * mean - inner @ mean / length
        return result

    def _products(self, arc: Floats) -> Floats:
        """Integrals of products of two hats over the edge, (c, c), exact for functions linear between its points."""
        hats, part = self.hats(arc), np.diff(arc)[:, None] / 6
        begin, end = hats[:-1], hats[1:]
        mixed = begin.T @ (part * end)
        return np.asarray(2 * (begin.T @ (part * begin)) + mixed + mixed.T + 2 * (end.T @ (part * end)))


def _held(body: _Body, near: Ints, advance: Floats) -> Ints:
    """Near vertices, (m,), of facets that the advance (m, 3) would push off their surface, (h,) int."""
    facets = body.facets_at(near)
    corners = body.points[facets]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    place = np.minimum(np.searchsorted(near, facets), len(near) - 1)
    off = np.abs(np.einsum("fi,fki->fk", normal, advance[place])) > SLIDES
    return np.unique(facets[off & (near[place] == facets)])


def _curvature(line: _Line) -> Floats:
    """Curvature of an edge within its plane, over about the reach of the tube, (n,) float, 1/m."""
    before, after = (np.clip(line.arc + sign * line.reach / 2, line.arc[0], line.arc[-1]) for sign in (-1.0, 1.0))
    turn = np.linalg.norm(line.along(after, line.advance) - line.along(before, line.advance), axis=1)
    return np.asarray(turn / (after - before))


def _own_distance(line: _Line, widest: float) -> Floats:
    """A bit less than half the distance to other parts of the same edge, (n,) float, m; infinity if that is far."""
    one, two = Places(line.points).within(line.points, 2 * widest)
    apart = np.abs(line.arc[one] - line.arc[two])
    if line.ring:
        apart = np.minimum(apart, line.arc[-1] - apart)
    distance = np.linalg.norm(line.points[one] - line.points[two], axis=1)
    other = apart > 2 * distance
    result = np.full(len(line.points), np.inf)
    np.minimum.at(result, one[other], 0.45 * distance[other])
    return result


def _conductance(line: _Line, arc: Floats, conductivity: Floats) -> Floats:
    """Root of the determinant of the conductivity in the plane across the edge, (c,) float, S/m."""
    ahead = line.along(arc, line.advance)
    ahead /= np.linalg.norm(ahead, axis=1, keepdims=True)
    step = np.minimum(line.size.min(), line.arc[-1]) / 2
    low, high = np.clip(arc - step, 0, line.arc[-1]), np.clip(arc + step, 0, line.arc[-1])
    up = np.cross(line.along(high, line.points) - line.along(low, line.points), ahead)
    frame = np.stack([ahead, up / np.linalg.norm(up, axis=1, keepdims=True)], axis=1)
    return np.asarray(np.sqrt(np.linalg.det(np.einsum("cai,ij,cbj->cab", frame, conductivity, frame))))
