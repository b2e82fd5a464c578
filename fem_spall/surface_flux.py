"""The current density on the lithium, from nodal reactions, as a piecewise linear function on its facets."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from fem_spall.mesh.arrays import MeshArrays
from fem_spall.solve import Solution

__all__ = ["BallMean", "LithiumFlux", "lithium_flux"]

#: Pieces per ball radius when a ball mean is integrated.
PIECES = 12
#: A ball must be at least this many local mesh sizes in radius.
RESOLVED = 3.0


@dataclass(frozen=True)
class BallMean:
    """Mean current density over the lithium in a ball.

    ``value``, A/m^2; ``centre`` (3,), m; ``local_size`` of the mesh there, m; ``beyond``, A/m^2, is the largest
    rough mean at places where the mesh is too coarse for the radius (minus infinity if there are none).
    """

    value: float
    centre: NDArray[np.float64]
    local_size: float
    beyond: float


@dataclass(frozen=True)
class LithiumFlux:
    """Current density on one or several named surfaces.

    ``points`` (n, 3) float, m, are all mesh nodes; ``facets`` (k, 3 or 6) int; ``surface`` (k,) int counts
    into ``names``; ``density`` (k, 3) float, A/m^2, is the current density into the lithium at the corners
    of each facet; ``sides`` (k,) is 2 on a sheet, which has electrolyte on both faces, else 1.
    """

    points: NDArray[np.float64]
    facets: NDArray[np.int64]
    surface: NDArray[np.int64]
    names: tuple[str, ...]
    density: NDArray[np.float64]
    sides: NDArray[np.float64]

    def only(self, names: tuple[str, ...]) -> LithiumFlux:
        """The same on some of the surfaces."""
        keep = np.isin(self.surface, [i for i, name in enumerate(self.names) if name in names])
        return LithiumFlux(
            self.points, self.facets[keep], self.surface[keep], self.names, self.density[keep], self.sides[keep]
        )

    @cached_property
    def areas(self) -> NDArray[np.float64]:
        """Area of each facet, both faces of a sheet counted, (k,) float, m^2."""
        return np.asarray(_samples(self.points, self.facets, *_gauss())[1].sum(axis=1) * self.sides)

    @cached_property
    def sizes(self) -> NDArray[np.float64]:
        """Mean edge length of each facet, (k,) float, m."""
        corners = self.points[self.facets[:, :3]]
        return np.asarray(np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).mean(axis=1))

    @property
    def area(self) -> float:
        """Area, m^2."""
        return float(self.areas.sum())

    def distribution(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Current densities, ascending, and the area that has each; (s,) float, A/m^2 and m^2."""
        shape, parts = _equal_parts(4)
        weights = (_samples(self.points, self.facets, shape, parts)[1] * self.sides[:, None]).ravel()
        values = (self.density @ shape.T).ravel()
        order = np.argsort(values, kind="stable")
        return values[order], weights[order]

    def ball_mean_maximum(self, radius: float, centres: tuple[str, ...]) -> BallMean | None:
        """The largest mean over a ball of the given radius, m, centred on a vertex of the surfaces ``centres``.

        Only vertices where the mesh resolves the radius count, if there are any.  Returns None without facets.
        """
        vertices, local = self._vertices(centres)
        if vertices.size == 0:
            return None
        fine = RESOLVED * local <= radius
        beyond = float(self._rough_means(self.points[vertices[~fine]], radius).max(initial=-np.inf))
        if fine.any():
            vertices, local = vertices[fine], local[fine]
        start = _thinned(self.points[vertices], radius / 4)
        rough = self._rough_means(self.points[vertices[start]], radius)
        best = vertices[start[np.argsort(-rough, kind="stable")[:12]]]
        near = cKDTree(self.points[vertices]).query_ball_point(self.points[best], radius / 4)
        close = np.unique(np.concatenate([np.asarray(n, dtype=np.int64) for n in near]))
        rough = self._rough_means(self.points[vertices[close]], radius)
        candidates = close[np.argsort(-rough, kind="stable")[:24]]
        means = np.array([self._ball_mean(self.points[vertices[c]], radius) for c in candidates])
        top = candidates[int(means.argmax())]
        value = float(means.max())
        return BallMean(value, self.points[vertices[top]], float(local[top]), beyond)

    def unresolved_spots(
        self, radius: float, centres: tuple[str, ...], fraction: float, most: int
    ) -> tuple[NDArray[np.float64], float]:
        """At most ``most`` vertices of ``centres``, (c, 3) float, m, that may hold the largest ball mean.

        They are more than the radius apart and have a rough mean above ``fraction`` of the largest, the highest
        first; only those count where the mesh is too coarse for the radius.  The largest local size there, m,
        comes with them.
        """
        vertices, local = self._vertices(centres)
        if vertices.size == 0:
            return np.empty((0, 3)), 0.0
        rough = self._rough_means(self.points[vertices], radius)
        picked: list[int] = []
        for candidate in np.argsort(-rough, kind="stable"):
            if rough[candidate] < fraction * rough.max() or len(picked) == most:
                break
            place = self.points[vertices[candidate]]
            if all(np.linalg.norm(self.points[vertices[p]] - place) > radius for p in picked):
                picked.append(int(candidate))
        hot = np.array([p for p in picked if RESOLVED * local[p] > radius], dtype=np.int64)
        return self.points[vertices[hot]], float(local[hot].max(initial=0.0))

    @cached_property
    def _tree(self) -> cKDTree:
        """The centroids of the facets."""
        return cKDTree(self.points[self.facets[:, :3]].mean(axis=1))

    def _vertices(self, names: tuple[str, ...]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Vertices of some surfaces, and the mean size of the facets round each, m."""
        on = np.isin(self.surface, [i for i, name in enumerate(self.names) if name in names])
        vertices = np.unique(self.facets[on][:, :3])
        count = np.bincount(self.facets[:, :3].ravel(), minlength=len(self.points))
        total = np.bincount(self.facets[:, :3].ravel(), np.repeat(self.sizes, 3), minlength=len(self.points))
        return vertices, np.asarray(total[vertices] / count[vertices])

    def _rough_means(self, centres: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
        """Area-weighted mean of the facets whose centroid (at least the nearest one) lies in each ball."""
        if len(centres) == 0:
            return np.empty(0)
        tree = self._tree
        current = self.areas * self.density.mean(axis=1)
        nearest = np.asarray(tree.query(centres)[1])
        result = np.empty(len(centres))
        lists: Any = tree.query_ball_point(centres, radius)
        for i, inside in enumerate(lists):
            index = np.asarray(inside or [nearest[i]], dtype=np.int64)
            result[i] = current[index].sum() / self.areas[index].sum()
        return result

    def _ball_mean(self, centre: NDArray[np.float64], radius: float) -> float:
        tree = self._tree
        reach = radius * (1 + 1 / RESOLVED)  # facets reach beyond their centroids
        index = np.asarray(sorted(tree.query_ball_point(centre, reach)), dtype=np.int64)
        if index.size == 0:
            index = np.asarray([tree.query(centre)[1]], dtype=np.int64)
        pieces = int(np.clip(np.ceil(PIECES * self.sizes[index].max() / radius), 1, 40))
        shape, parts = _equal_parts(pieces)
        where, weights = _samples(self.points, self.facets[index], shape, parts)
        inside = ((where - centre) ** 2).sum(axis=2) <= radius**2
        weights = weights * self.sides[index][:, None] * inside
        total = weights.sum()
        if total == 0:
            return float(self.density[index].mean())
        return float((weights * (self.density[index] @ shape.T)).sum() / total)


def _thinned(points: NDArray[np.float64], spacing: float) -> NDArray[np.int64]:
    """One point, the first, of each cube of the given edge."""
    cubes = np.floor((points - points.min(axis=0)) / spacing).astype(np.int64)
    return np.sort(np.unique(cubes, axis=0, return_index=True)[1])


def _gauss() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Radon's rule of degree 5 on a triangle: barycentric points (7, 3) and weights (7,), which add up to one."""
    root = np.sqrt(15.0)
    a, b = (6 - root) / 21, (6 + root) / 21
    shape = [[1 / 3] * 3, *(np.roll([1 - 2 * x, x, x], k) for x in (a, b) for k in range(3))]
    return np.array(shape), np.array([9 / 40] + 3 * [(155 - root) / 1200] + 3 * [(155 + root) / 1200])


def _equal_parts(pieces: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centroids of ``pieces``^2 equal parts of a triangle, barycentric (q, 3), and their weights (q,)."""
    i, j = np.meshgrid(np.arange(pieces), np.arange(pieces), indexing="ij")
    up = (i + j < pieces).ravel()
    down = (i + j < pieces - 1).ravel()
    corner = np.stack([i.ravel(), j.ravel()], axis=1)
    xi = np.concatenate([corner[up] + 1 / 3, corner[down] + 2 / 3]) / pieces
    return np.stack([1 - xi.sum(axis=1), xi[:, 0], xi[:, 1]], axis=1), np.full(len(xi), 1 / pieces**2)


def _samples(
    points: NDArray[np.float64], facets: NDArray[np.int64], shape: NDArray[np.float64], parts: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Positions (k, q, 3) of barycentric points (q, 3) on each facet, and the areas (k, q) they stand for.

    Six-node facets are taken with their curvature.
    """
    nodes = points[facets]
    if facets.shape[1] == 3:
        cross = np.cross(nodes[:, 1] - nodes[:, 0], nodes[:, 2] - nodes[:, 0])
        return shape @ nodes, np.linalg.norm(cross, axis=1)[:, None] / 2 * parts
    values, d_xi, d_eta = _six_node(shape)
    cross = np.cross(np.einsum("qn,knd->kqd", d_xi, nodes), np.einsum("qn,knd->kqd", d_eta, nodes))
    return np.einsum("qn,knd->kqd", values, nodes), np.linalg.norm(cross, axis=2) / 2 * parts


def _six_node(shape: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Shape functions of the six-node triangle and their two derivatives, (q, 6) each, gmsh's node order."""
    a, b, c = shape.T
    zero = np.zeros_like(a)
    values = np.stack([a * (2 * a - 1), b * (2 * b - 1), c * (2 * c - 1), 4 * a * b, 4 * b * c, 4 * c * a], axis=1)
    d_xi = np.stack([1 - 4 * a, 4 * b - 1, zero, 4 * (a - b), 4 * c, -4 * c], axis=1)
    d_eta = np.stack([1 - 4 * a, zero, 4 * c - 1, -4 * b, 4 * b, 4 * (a - c)], axis=1)
    return values, d_xi, d_eta


def lithium_flux(solution: Solution) -> tuple[LithiumFlux, dict[str, tuple[float, float, float]]]:
    """Current density on all surfaces that carry current, and the current into each, on rank 0.

    The current of a vertex where several surfaces of fixed potential meet is shared in proportion to the
    areas of its facets on each.  The currents, A, come as (value, least, most): the bounds give the
    vertices on the rim to none or all of them.
    """
    arrays = solution.problem.mesh.arrays
    assert arrays is not None
    names = tuple(solution.problem.roles)
    facets, surface = _facets(arrays, names)
    points = arrays.points * arrays.unit
    sides = np.where(np.isin(surface, [names.index(s) for s in solution.problem.mesh.sheets if s in names]), 2.0, 1.0)
    shape, parts = _gauss()
    hats = (_samples(points, facets, shape, parts)[1] @ shape) * sides[
        :, None
    ]  # integral of each corner's hat over the facet
    count = len(points)
    fixed = np.isin(surface, [i for i, name in enumerate(names) if name in solution.problem.fixed])
    hat_fixed = np.bincount(facets[fixed, :3].ravel(), hats[fixed].ravel(), minlength=count)
    density = np.zeros((len(facets), 3))
    currents = {}
    for i, name in enumerate(names):
        own = surface == i
        corner = facets[own, :3]
        hat_own = np.bincount(corner.ravel(), hats[own].ravel(), minlength=count)
        is_fixed = name in solution.problem.fixed
        total = solution.vertex_current["" if is_fixed else name]
        area = hat_fixed if is_fixed else hat_own
        with np.errstate(invalid="ignore", divide="ignore"):
            per_area = np.where(area > 0, total / area, 0.0)
        density[own] = per_area[corner]
        here = hat_own > 0
        rim = here & (np.abs(area - hat_own) > 1e-9 * area)
        value = float((per_area * hat_own)[here].sum())
        inner = float(total[here & ~rim].sum())
        outer = float(total[here].sum())
        currents[name] = (value, min(inner, outer), max(inner, outer))
    return LithiumFlux(points, facets, surface, names, density, sides), currents


def _facets(arrays: MeshArrays, names: tuple[str, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Facets of the named surfaces, and for each the number of its name."""
    parts = [arrays.facets[arrays.tags == arrays.names[name]] for name in names]
    surface = np.repeat(np.arange(len(names)), [len(part) for part in parts])
    return np.concatenate(parts) if parts else np.empty((0, 3), dtype=np.int64), surface
