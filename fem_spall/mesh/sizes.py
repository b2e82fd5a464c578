"""The size that the cells of the next mesh should have, from the errors of the present one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fem_spall.crack.triangles import numbered, unique_rows
from fem_spall.mesh.arrays import MeshArrays

if TYPE_CHECKING:
    from scipy.spatial import cKDTree

__all__ = ["SizeField", "expected_cells", "next_sizes"]

#: Cells change their size by at most these factors from one mesh to the next.
FINEST, COARSEST = 0.25, 2.0
#: A regular tetrahedron of edge h has the volume h^3 divided by this.
REGULAR = 6 * np.sqrt(2.0)
#: Sizes come in steps of this ratio, less one.
STEP = 0.01
#: Sweeps over all edges that level out the sizes at most.
SWEEPS = 100


#: Volume of a cell over h^3, fitted to ten runs of 8 thousand to 360 thousand cells (a regular tetrahedron: 0.118).
CELL_VOLUME = 0.09


def expected_cells(volume: float, walls: list[float], wall: float, largest: float, grading: float) -> float:
    """Return about how many cells a block takes whose cells grow from a size at its cracks' walls.

    ``volume`` of the block, areas of the ``walls``, size at the ``wall`` and ``largest`` size in consistent units; the
    size is h(d) = wall + (grading - 1) d at the distance d from a wall.
    """
    near = sum(area * (wall**-2 - largest**-2) / (2 * (grading - 1) * CELL_VOLUME) for area in walls)
    return volume / (CELL_VOLUME * largest**3) + near


@dataclass(frozen=True)
class SizeField:
    """Sizes (n,) float, m, at points (n, 3) float, m, linear in the tetrahedra ``cells`` (m, 4) int."""

    points: NDArray[np.float64]
    cells: NDArray[np.int64]
    sizes: NDArray[np.float64]

    def at(self, places: NDArray[np.float64]) -> NDArray[np.float64]:
        """Size at the point nearest to each place (p, 3), (p,) float, m."""
        return np.asarray(self.sizes[self._tree.query(places)[1]])

    @cached_property
    def _tree(self) -> cKDTree:
        from scipy.spatial import cKDTree

        return cKDTree(self.points)

    def save(self, path: Path) -> None:
        """Write all arrays to an ``.npz`` file."""
        np.savez(path, points=self.points, cells=self.cells, sizes=self.sizes)

    @classmethod
    def load(cls, path: Path) -> SizeField:
        """Read what :meth:`save` wrote."""
        with np.load(path, allow_pickle=False) as data:
            return cls(data["points"], data["cells"], data["sizes"])


def next_sizes(
    mesh: MeshArrays, errors: NDArray[np.float64], order: int, growth: float, grading: float, largest: float
) -> SizeField:
    """Return the sizes that spread the error best over about ``growth`` times as many cells.

    Minimising the sum of errors, each in proportion to h^order, at a given number of cells makes
    h^(order + 3) inversely proportional to the error per volume over h^order.

    Parameters
    ----------
    mesh : MeshArrays
        Present mesh.
    errors : (m,) float
        Contribution of each cell, not negative, any unit.
    order : int
        Power of the size with which errors of one cell fall.
    growth : float
        Wanted ratio of the numbers of cells.
    grading : float
        Largest ratio of neighbouring cells; the sizes grow by at most this less one per unit of length.
    largest : float
        Largest size, m.
    """
    corners = mesh.points[mesh.cells[:, :4]]
    volume = np.abs(np.linalg.det(corners[:, 1:] - corners[:, :1])) / 6
    present = np.cbrt(volume * REGULAR)
    floor = errors.max(initial=0.0) * 1e-12 or 1.0
    shape = np.maximum(errors, floor) ** (-1 / (order + 3))  # ratio of new to present size, up to one factor
    low, high = 1e-12 / shape.max(), 1e12 / shape.min()
    for _ in range(200):
        factor = np.sqrt(low * high)
        count = (np.clip(factor * shape, FINEST, COARSEST) ** -3.0).sum()
        low, high = (low, factor) if count < growth * len(mesh.cells) else (factor, high)
    wanted = np.log(np.clip(factor * shape, FINEST, COARSEST) * present)
    vertices, cells = numbered(mesh.cells[:, :4])
    total, weight = (
        np.bincount(cells.ravel(), np.repeat(value, 4), minlength=len(vertices)) for value in (wanted * volume, volume)
    )
    sizes = np.minimum(np.exp(total / weight), largest / mesh.unit)
    sizes = _levelled(mesh.points[vertices], cells, sizes, grading - 1)
    # In steps, or the last digits, which depend on the number of ranks, would make another mesh.
    sizes = np.exp(np.floor(np.log(sizes) / STEP) * STEP)
    return SizeField(mesh.points[vertices] * mesh.unit, cells, sizes * mesh.unit)


def _levelled(
    points: NDArray[np.float64], cells: NDArray[np.int64], sizes: NDArray[np.float64], slope: float
) -> NDArray[np.float64]:
    """Sizes lowered until none exceeds a neighbour's by more than the slope times their distance."""
    pairs = np.concatenate([cells[:, [i, j]] for i in range(4) for j in range(i)])
    pairs.sort(axis=1)
    edges = pairs[unique_rows(pairs)[0]]
    a, b = edges.T
    reach = slope * np.linalg.norm(points[a] - points[b], axis=1)
    sizes = sizes.copy()
    for _ in range(SWEEPS):
        before = sizes.copy()
        np.minimum.at(sizes, a, before[b] + reach)
        np.minimum.at(sizes, b, before[a] + reach)
        if np.array_equal(before, sizes):
            break
    return sizes
