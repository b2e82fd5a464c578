"""The wall of a crack by depth: what lies below a level, and which facets lithium has reached when it stands there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fem_spall.crack.triangles import unique_corners
from fem_spall.mesh.arrays import SIDES, MeshArrays

__all__ = ["Cut", "Wall"]

type Floats = NDArray[np.float64]

#: Four flat triangles in place of a six-node facet, gmsh's order.
_QUARTERS = np.array([[0, 3, 5], [3, 1, 4], [5, 4, 2], [3, 4, 5]])


@dataclass(frozen=True)
class Cut:
    """A crack filled in part: ``wet`` (k,) bool says which facets of its wall touch lithium.

    The facets do not follow the level, so ``depth``, m, is that of the level below which the wall has the same area as
    they have, ``area``, m^2; ``volume``, m^3, is what lithium fills up to there, and ``jagged``, m^2, how much of the
    wet facets lies beyond it (and as much of the dry ones before it).
    """

    wet: NDArray[np.bool_]
    depth: float
    area: float
    volume: float
    jagged: float


@dataclass(frozen=True)
class Wall:
    """The wall of one crack as flat triangles, q of them for each of its k facets.

    ``facet`` (k,) int counts into the facets of the mesh; ``depth`` (k, q, 3) float, m, ascending, is that of the
    corners below the plating face; ``area`` (k, q), m^2; ``along`` (k, q), m^2, is the area projected on the depth,
    positive where the wall faces deeper; ``scale`` brings the volume of the triangles to that of the true surface.
    """

    facet: NDArray[np.int64]
    depth: Floats
    area: Floats
    along: Floats
    scale: float = 1.0

    @classmethod
    def of(cls, mesh: MeshArrays, name: str, plating_face: Literal["+z", "-z"], volume: float) -> Wall:
        """The wall of a crack that encloses ``volume``, m^3, with the block's faces."""
        facet = np.nonzero(mesh.tags == mesh.names[name])[0]
        nodes = mesh.facets[facet]
        parts = nodes[:, _QUARTERS] if nodes.shape[1] == 6 else nodes[:, None, :]
        points = mesh.points * mesh.unit
        low, high = (mesh.info["box"][end][2] * mesh.unit for end in (0, 1))
        depth = (high - points[:, 2]) if plating_face == "+z" else (points[:, 2] - low)
        a, b, c = np.moveaxis(points[parts], 2, 0)
        cross = np.cross(b - a, c - a) / 2
        # Outward from the crack is towards the fourth corner of the cell behind the facet.
        inward = points[_opposite(mesh, nodes[:, :3])] - points[nodes[:, 0]]
        first = np.cross(points[nodes[:, 1]] - points[nodes[:, 0]], points[nodes[:, 2]] - points[nodes[:, 0]])
        outward = np.where(np.einsum("kd,kd->k", inward, first) > 0, 1.0, -1.0)
        down = -1.0 if plating_face == "+z" else 1.0
        wall = cls(facet, np.sort(depth[parts], axis=2), np.linalg.norm(cross, axis=2),
                   down * outward[:, None] * cross[:, :, 2])  # fmt: skip
        return cls(wall.facet, wall.depth, wall.area, wall.along, volume / wall.volume_above(np.inf))

    def volume_above(self, depth: float) -> float:
        """Volume of the crack, m^3, between the plating face and a depth: ∮ min(d, depth) n_d ds over its wall."""
        return self.scale * float((self.along * (self.depth.mean(axis=2) - _beyond(self.depth, depth)[1])).sum())

    def area_below(self, depth: float, facets: NDArray[np.bool_] | None = None) -> float:
        """Area, m^2, of the wall, or of some of its facets (k,), that lies deeper than a depth."""
        area = self.area * _beyond(self.depth, depth)[0]
        return float(area.sum() if facets is None else area[facets].sum())

    def cuts(self, tip: bool, start: float, steps: int) -> list[Cut]:
        """The crack filled by ``steps`` equal volumes from a share ``start`` of it on, from its mouth or its tip.

        A cut without wet facets, or with those of the one before, comes back all the same.
        """
        whole = self.volume_above(np.inf)
        middle = (self.area * self.depth.mean(axis=2)).sum(axis=1) / self.area.sum(axis=1)
        ends = float(self.depth.min()), float(self.depth.max())
        found = []
        for share in np.linspace(start, 1.0, steps + 1):
            if share == 1.0:
                everything = np.ones(len(self.facet), dtype=bool)
                found.append(Cut(everything, ends[0] if tip else ends[1], float(self.area.sum()), whole, 0.0))
                continue
            above = (1 - share if tip else share) * whole
            level = _root(lambda depth, wanted: self.volume_above(depth) - wanted, above, ends)
            found.append(self._cut(middle > level if tip else middle < level, tip, ends, whole))
        return found

    def _cut(self, wet: NDArray[np.bool_], tip: bool, ends: tuple[float, float], whole: float) -> Cut:
        area = float(self.area[wet].sum())
        below = area if tip else float(self.area.sum()) - area
        level = _root(lambda depth, wanted: wanted - self.area_below(depth), below, ends)
        above = self.volume_above(level)
        beyond = area - self.area_below(level, wet) if tip else self.area_below(level, wet)
        return Cut(wet, level, area, whole - above if tip else above, beyond)


def _root(rising: object, wanted: float, ends: tuple[float, float]) -> float:
    """Depth within the ends where ``rising(depth, wanted)`` is zero; at the end it lies beyond."""
    assert callable(rising)
    low, high = ends
    if rising(low, wanted) >= 0:
        return low
    if rising(high, wanted) <= 0:
        return high
    from scipy.optimize import brentq

    return float(brentq(rising, low, high, args=(wanted,), xtol=1e-14 * (high - low) + 1e-300, rtol=1e-14))


def _beyond(depth: Floats, level: float) -> tuple[Floats, Floats]:
    """Share of each triangle that is deeper than a level, and the mean of max(depth − level, 0) over it.

    ``depth`` (..., 3) are the depths of the corners, ascending.
    """
    a, b, c = np.moveaxis(depth, -1, 0)
    if not np.isfinite(level):
        return np.zeros_like(a), np.zeros_like(a)
    with np.errstate(divide="ignore", invalid="ignore"):
        tip = (c - level) ** 2 / ((c - a) * (c - b))  # only corner c is deeper
        base = (level - a) ** 2 / ((b - a) * (c - a))  # only corner a is not
        cases = [level <= a, level >= c, level >= b]
        share = np.select(cases, [np.ones_like(a), np.zeros_like(a), tip], 1 - base)
        mean = depth.mean(axis=-1) - level
        excess = np.select(cases, [mean, np.zeros_like(a), tip * (c - level) / 3], mean + base * (level - a) / 3)
    return share, excess


def _opposite(mesh: MeshArrays, facets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Fourth corner (k,) of a cell behind each facet (k, 3)."""
    near = mesh.cells[np.isin(mesh.cells[:, :4], facets).sum(axis=1) >= 3][:, :4]
    sides = near[:, SIDES].reshape(-1, 3)
    first, index = unique_corners(np.concatenate([sides, facets]))
    corner = np.full(len(first), -1, dtype=np.int64)
    corner[index[: len(sides)]] = near.ravel()
    return np.asarray(corner[index[len(sides) :]])
