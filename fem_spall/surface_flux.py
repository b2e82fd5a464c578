"""The current density on the lithium, from nodal reactions, as a piecewise linear function on its facets."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fem_spall.kernels import kernels
from fem_spall.mesh.arrays import MeshArrays, triangle_areas
from fem_spall.near import Places
from fem_spall.solve import Solution

__all__ = ["BallMean", "LithiumFlux", "lithium_flux"]

#: Pieces per ball radius when a ball mean is integrated.
PIECES = 12
#: Steps at most for the consistent density, and its residual over the largest current of a vertex.
MASS_STEPS, ROUNDING = 200, 1e-13
#: Boxes along an axis at most, by which facets are found.
MOST_BOXES = 1 << 19
#: A ball must be at least this many local mesh sizes in radius.
RESOLVED = 3.0


type _Boxes = tuple[float, NDArray[np.float64], NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]


@dataclass(frozen=True)
class BallMean:
    """Mean current density over the lithium in a ball.

    ``value``, A/m^2; ``centre`` (3,), m; ``local_size`` of the mesh there, m; ``beyond``, A/m^2, is the largest
    rough mean at places where the mesh is too coarse for the radius (minus infinity if there are none).  The value
    is the sum of ``parts`` (k, 3) times the density at the corners of the facets.
    """

    value: float
    centre: NDArray[np.float64]
    local_size: float
    beyond: float
    parts: NDArray[np.float64]


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
    def hats(self) -> NDArray[np.float64]:
        """Integral over each facet of the hat functions of its corners, both faces of a sheet counted, (k, 3), m^2."""
        if self.facets.shape[1] == 3:
            return np.repeat(self.sides * triangle_areas(self.points[self.facets]) / 3, 3).reshape(-1, 3)
        shape, parts = _gauss()
        return np.asarray((_samples(self.points, self.facets, shape, parts)[1] @ shape) * self.sides[:, None])

    @cached_property
    def areas(self) -> NDArray[np.float64]:
        """Area of each facet, both faces of a sheet counted, (k,) float, m^2."""
        return np.asarray(self.hats.sum(axis=1))

    @cached_property
    def sizes(self) -> NDArray[np.float64]:
        """Mean edge length of each facet, (k,) float, m."""
        corners = self.points[self.facets[:, :3]]
        return np.asarray(np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).mean(axis=1))

    @property
    def area(self) -> float:
        """Area, m^2."""
        return float(self.areas.sum())

    def depth_weights(self, plane: float) -> NDArray[np.float64]:
        """Weights (k, 3), m^3, of the corners' densities in ∫ |z − plane| j ds, ``plane`` in m.

        Depths of the corners times their reactions, and what curved facets are deeper than their corners say.
        """
        shape, parts = _gauss()
        where, weights = _samples(self.points, self.facets, shape, parts)
        depth = np.abs(self.points[self.facets[:, :3], 2] - plane)
        beyond = np.abs(where[:, :, 2] - plane) - depth @ shape.T
        return np.asarray(self.hats * depth + (weights * beyond) @ shape * self.sides[:, None])

    def distribution(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Current densities, ascending, and the area that has each; (s,) float, A/m^2 and m^2."""
        shape, parts = _equal_parts(4)
        if self.facets.shape[1] == 3:
            weights = np.repeat(self.areas / len(parts), len(parts))
        else:
            weights = (_samples(self.points, self.facets, shape, parts)[1] * self.sides[:, None]).ravel()
        values = (self.density @ shape.T).ravel()
        order = np.argsort(values)
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
        close = np.unique(Places(self.points[vertices]).within(self.points[best], radius / 4)[1])
        rough = self._rough_means(self.points[vertices[close]], radius)
        candidates = close[np.argsort(-rough, kind="stable")[:24]]
        balls = [self._ball(self.points[vertices[c]], radius) for c in candidates]
        means = np.array([float((parts * self.density[index]).sum()) for index, parts in balls])
        top = int(means.argmax())
        parts = np.zeros(self.density.shape)
        parts[balls[top][0]] = balls[top][1]
        place = candidates[top]
        return BallMean(float(means[top]), self.points[vertices[place]], float(local[place]), beyond, parts)

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
    def _middles(self) -> Places:
        return Places(self._centroids)

    @cached_property
    def _centroids(self) -> NDArray[np.float64]:
        return np.asarray(self.points[self.facets[:, :3]].mean(axis=1))

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
        width, low, keys, points, order = self._boxes(radius)
        current = self.areas * self.density.mean(axis=1)
        values, sums = np.stack([self.areas[order], current[order]]), np.empty((len(centres), 3))
        along = np.argsort(_packed(centres, low, width))
        run = kernels("double")
        run("ball_sums", len(along), centres[along], len(keys), keys, points, values, low, width, radius, sums)
        count, area, total = np.empty((3, len(centres)))
        count[along], area[along], total[along] = sums.T
        alone = np.nonzero(count == 0)[0]
        if alone.size:
            nearest = self._middles.nearest(centres[alone])[1]
            area[alone], total[alone] = self.areas[nearest], current[nearest]
        return np.asarray(total / area)

    def _boxes(self, radius: float) -> _Boxes:
        """The centroids of the facets by the box they lie in, as the kernel ``ball_sums`` takes them."""
        if radius not in self._by_radius:
            at = self._centroids
            low = at.min(axis=0)
            width = max(radius, float(np.ptp(at, axis=0).max()) / MOST_BOXES)
            keys = _packed(at, low, width)
            order = np.argsort(keys)
            self._by_radius[radius] = width, low, keys[order], np.ascontiguousarray(at[order].T), order
        return self._by_radius[radius]

    @cached_property
    def _by_radius(self) -> dict[float, _Boxes]:
        return {}

    def _ball(self, centre: NDArray[np.float64], radius: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Facets (m,) that reach into a ball, and the weights (m, 3) of their corners in the mean over it."""
        reach = radius * (1 + 1 / RESOLVED)  # facets reach beyond their centroids
        index = self._middles.within(centre[None], reach)[1]
        if index.size == 0:
            index = self._middles.nearest(centre[None])[1]
        pieces = int(np.clip(np.ceil(PIECES * self.sizes[index].max() / radius), 1, 40))
        shape, parts = _equal_parts(pieces)
        where, weights = _samples(self.points, self.facets[index], shape, parts)
        inside = ((where - centre) ** 2).sum(axis=2) <= radius**2
        weights = weights * self.sides[index][:, None] * inside
        total = weights.sum()
        if total == 0:
            return index, np.full((len(index), 3), 1 / (3 * len(index)))
        return index, weights @ shape / total


def _thinned(points: NDArray[np.float64], spacing: float) -> NDArray[np.int64]:
    """One point, the first, of each cube of the given edge."""
    low, high = points.min(axis=0), points.max(axis=0)
    keys = _packed(points, low, max(spacing, float((high - low).max()) / MOST_BOXES))
    return np.sort(np.unique(keys, return_index=True)[1])


def _packed(points: NDArray[np.float64], low: NDArray[np.float64], width: float) -> NDArray[np.int64]:
    """One number for the box of each point, counted from 1 along each axis, 20 bits each."""
    x, y, z = (np.floor((points[:, k] - low[k]) / width).astype(np.int64) + 1 for k in range(3))
    return np.asarray((((x << 20) + y) << 20) + z)


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
        return shape @ nodes, triangle_areas(nodes)[:, None] * parts
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


def lithium_flux(
    solution: Solution, *, consistent: bool = False
) -> tuple[LithiumFlux, dict[str, tuple[float, float, float]]]:
    """Current density on all surfaces that carry current, and the current into each, on rank 0.

    The current of a vertex is divided by the integral of its hat function, over all surfaces of fixed potential
    that meet there together.  With ``consistent`` the density has the vertex currents as its moments instead, which
    is of higher order on smooth surfaces and overshoots at edges.  The currents, A, come as (value, least, most):
    the bounds give the vertices on the rim to none or all of them.
    """
    arrays = solution.problem.mesh.arrays
    assert arrays is not None
    names = tuple(solution.problem.roles)
    facets, surface = _facets(arrays, names)
    points = arrays.points * arrays.unit
    sheets = [names.index(s) for s in solution.problem.mesh.sheets if s in names]
    sides = np.where(np.isin(surface, sheets), 2.0, 1.0)
    flux = LithiumFlux(points, facets, surface, names, np.zeros((len(facets), 3)), sides)
    for key, own in _shares(solution, flux):
        total = solution.vertex_current[key]
        corner = facets[own, :3]
        if consistent:
            per_area = _consistent(flux, own, total)
        else:
            area = np.bincount(corner.ravel(), flux.hats[own].ravel(), minlength=len(points))
            with np.errstate(invalid="ignore", divide="ignore"):
                per_area = np.where(area > 0, total / area, 0.0)
        flux.density[own] = per_area[corner]
    currents = {name: _current(solution, flux, name) for name in names}
    return flux, currents


def vertex_weights(solution: Solution, flux: LithiumFlux, parts: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Weights (n,) of the vertex currents, by their key, in the sum of ``parts`` (k, 3) times the density.

    ``flux`` must hold all surfaces, as :func:`lithium_flux` returns them.
    """
    result = {}
    for key, own in _shares(solution, flux):
        corner = flux.facets[own, :3].ravel()
        area = np.bincount(corner, flux.hats[own].ravel(), minlength=len(flux.points))
        wanted = np.bincount(corner, parts[own].ravel(), minlength=len(flux.points))
        result[key] = np.divide(wanted, area, out=np.zeros(len(area)), where=area > 0)  # no facets: ints
    return result


def _shares(solution: Solution, flux: LithiumFlux) -> list[tuple[str, NDArray[np.bool_]]]:
    """Keys of the vertex currents, each with the facets (k,) that share it."""
    fixed = np.isin(flux.surface, [i for i, name in enumerate(flux.names) if name in solution.problem.fixed])
    alone = [(name, flux.surface == i) for i, name in enumerate(flux.names) if name not in solution.problem.fixed]
    return [("", fixed), *alone]


def _current(solution: Solution, flux: LithiumFlux, name: str) -> tuple[float, float, float]:
    """Current into one surface, A, and its bounds."""
    own = flux.surface == flux.names.index(name)
    key = "" if name in solution.problem.fixed else name
    count = len(flux.points)
    shared = dict(_shares(solution, flux))[key]
    area = np.bincount(flux.facets[shared, :3].ravel(), flux.hats[shared].ravel(), minlength=count)
    hat_own = np.bincount(flux.facets[own, :3].ravel(), flux.hats[own].ravel(), minlength=count)
    total = solution.vertex_current[key]
    value = float((flux.density[own] * flux.hats[own]).sum())
    here = hat_own > 0
    rim = here & (np.abs(area - hat_own) > 1e-9 * area)
    inner, outer = float(total[here & ~rim].sum()), float(total[here].sum())
    return value, min(inner, outer), max(inner, outer)


def _consistent(flux: LithiumFlux, own: NDArray[np.bool_], total: NDArray[np.float64]) -> NDArray[np.float64]:
    """Density (n,) at the vertices whose moments with the hat functions over the facets are the vertex currents."""
    corner = flux.facets[own, :3]
    result = np.zeros(len(flux.points))
    if corner.size == 0:
        return result
    shape, parts = _gauss()
    if flux.facets.shape[1] == 3:
        mass = flux.areas[own][:, None, None] * ((shape * parts[:, None]).T @ shape)
    else:
        weights = _samples(flux.points, flux.facets[own], shape, parts)[1] * flux.sides[own][:, None]
        mass = np.einsum("kq,qi,qj->kij", weights, shape, shape)
    used, local = np.unique(corner, return_inverse=True)
    local = local.reshape(-1, 3)
    result[used] = _solved_mass(mass, local, total[used])
    return result


def _solved_mass(mass: NDArray[np.float64], local: NDArray[np.int64], load: NDArray[np.float64]) -> NDArray[np.float64]:
    """Solution (n,) for a matrix given by its parts (k, 3, 3) at the unknowns ``local`` (k, 3).

    With its diagonal divided out such a matrix has eigenvalues between 1/2 and 2 on flat facets (Wathen, IMA J. Numer.
    Anal. 7, 1987, 449), so that conjugate gradients take some twenty steps.
    """
    n = len(load)
    inverse = 1 / np.bincount(local.ravel(), mass[:, [0, 1, 2], [0, 1, 2]].ravel(), minlength=n)
    solution, rest = np.zeros(n), load.copy()
    direction, before, scale = np.zeros(n), 1.0, float(np.abs(load).max())
    for _ in range(MASS_STEPS):
        scaled = inverse * rest
        now = float(rest @ scaled)
        if np.abs(rest).max() <= ROUNDING * scale:
            break
        direction, before = scaled + now / before * direction, now
        product = np.bincount(local.ravel(), np.einsum("kij,kj->ki", mass, direction[local]).ravel(), minlength=n)
        length = now / float(direction @ product)
        solution += length * direction
        rest -= length * product
    return solution


def _facets(arrays: MeshArrays, names: tuple[str, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Facets of the named surfaces, and for each the number of its name."""
    parts = [arrays.facets[arrays.tags == arrays.names[name]] for name in names]
    surface = np.repeat(np.arange(len(names)), [len(part) for part in parts])
    return np.concatenate(parts) if parts else np.empty((0, 3), dtype=np.int64), surface
