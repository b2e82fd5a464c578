"""Voxels taken together to larger ones, no finer than the mesh, with the volume of every phase kept.

A mesh cannot hold what is thinner than its smallest cells.  Left in the surface, such necks and films are what makes
remeshing fail; so the image is made as coarse as the mesh first, in the open.  A vote of the majority would
lose phases that are thin everywhere.  Here the share of each phase in and round a large voxel decides, and the
thresholds are such that in the block each phase keeps its volume, also after voxels that touch at edges or
corners alone have been parted.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fem_spall.crack.base import Block
from fem_spall.crack.stack_bodies import CELLS, hanging_lithium
from fem_spall.crack.stack_grid import Grid, Image
from fem_spall.crack.stack_phases import ELECTROLYTE, LITHIUM, VOID
from fem_spall.crack.voxel_contacts import resolve_contacts

__all__ = ["coarsened", "factors_for", "size_for"]

type Factors = tuple[int, int, int]
type Floats = NDArray[np.float32]

#: Standard deviation of the window of the shares, in large voxels.  Measured on a phase 2.6 voxels thick made 2 x 2 x 2
#: coarser: its largest piece keeps 77 %, 83 % and 86 % of it at 0.25, 0.5 and 0.7, parting takes 34 %, 21 % and 16 %.
WINDOW = 0.7
#: Sizes of the mesh above which the mean opening of a phase needs no larger voxels: half a ball ten sizes in radius has
#: an opening of 6.7, a crack two cells wide 2, the phases of an electrode made 2 x 2 x 2 coarser 0.7 to 4.
THICK = 3.0
#: Faces of voxels have half as much area again as the smooth wall that they stand for.
STAIRS = 1.5
#: Rounds in which the volumes after parting are brought to those of the image, and the part of them they may be off.
ROUNDS, CLOSE = 8, 2e-3


def factors_for(image: Image, block: Block, size: float) -> Factors:
    """Return how many voxels along x, y, z become one for a mesh whose smallest cells have a size, m.

    Where bodies are thick (mean opening, twice the volume over the wall, above :data:`THICK` sizes) all stay, for
    remeshing follows such walls better than larger voxels would.  Else the longest edge of a large voxel is at most the
    size and the others follow it.
    """
    edges = image.grid.voxel
    longest = int(size / float(edges.max()) * (1 + 1e-9))
    if longest < 2 or all(2 * volume >= THICK * size * wall for volume, wall in _volumes_and_walls(image, block)):
        return 1, 1, 1
    first, second, third = (max(1, int(longest * float(edges.max()) / edge * (1 + 1e-9))) for edge in edges.tolist())
    return first, second, third


def size_for(image: Image, block: Block, cells: float) -> float:
    """Return the smallest size of a mesh that suits an image, m, where nobody asks for one.

    Two of its longest voxels; more where all phases are thicker than twenty of them, a tenth of the mean opening, or
    where a third of the most ``cells`` would not do.
    """
    phases = [(volume, wall) for volume, wall in _volumes_and_walls(image, block) if wall]
    thin = min((2 * volume / wall for volume, wall in phases), default=0.0)
    many = math.sqrt(CELLS * STAIRS * sum(wall for _, wall in phases) / (cells / 3))
    return max(2 * float(image.grid.voxel.max()), thin / 10, many)


def _volumes_and_walls(image: Image, block: Block) -> list[tuple[float, float]]:
    """Volume, m^3, and area of the wall, m^2, of the lithium and of the voids within the block."""
    inside, unit = image.inside(block), image.grid.volume
    found = []
    for phase in (LITHIUM, VOID):
        mask, wall = image.phases == phase, 0.0
        for axis, edge in enumerate(image.grid.voxel.tolist()):
            m, i = (np.moveaxis(array, axis, 0) for array in (mask, inside))
            wall += float(np.count_nonzero((m[1:] != m[:-1]) & i[1:] & i[:-1])) * unit / edge
        found.append((float(np.count_nonzero(mask & inside)) * unit, wall / STAIRS))
    return found


def coarsened(image: Image, block: Block, factors: Factors, join: bool) -> tuple[Image, NDArray[np.float32]]:
    """Return an image of larger voxels, and where its lithium hangs on the plating electrode.

    The second, (nx, ny, nz) float, is above 0 where most lithium is connected to the electrode in the given image and
    below 0 where it is not: lithium is at one potential however thin its necks, so the image decides.

    Parameters
    ----------
    image : Image
        Whose voxels beyond the block are copies of those at its faces.
    block : Block
    factors : (int, int, int)
        Voxels that become one, along each axis.
    join : bool
        As in :func:`~fem_spall.crack.voxel_contacts.resolve_contacts`.
    """
    shape = tuple(-(-n // by) for n, by in zip(image.phases.shape, factors, strict=True))
    grid = _coarse_grid(image.grid, factors, shape[2])
    seen = _coarse_rows(image.seen, factors, shape[2])
    columns, slices = (
        (round(ends[0] / by), round(ends[1] / by))
        for ends, by in ((image.columns, factors[0]), (image.slices, factors[2]))
    )
    result = Image(np.zeros(shape, dtype=np.uint8), grid, seen, columns, slices)
    inside, fine = result.inside(block), image.inside(block)
    shares = {phase: _shares(image.phases == phase, factors) for phase in (ELECTROLYTE, LITHIUM)}
    hangs, apart = (_shares(part, factors) for part in hanging_lithium(image, block, join))
    small = image.grid.volume / grid.volume
    wanted = {phase: float(np.count_nonzero(fine & (image.phases == phase))) * small for phase in (LITHIUM, VOID)}
    _assign(result, inside, shares, wanted, join)
    return result, hangs - apart


def _coarse_grid(grid: Grid, factors: Factors, slices: int) -> Grid:
    """The grid of the large voxels; the lag of a large slice is the mean of its slices'."""
    groups = [grid.lag[k * factors[2] : (k + 1) * factors[2]] for k in range(slices)]
    lag = np.array([group.mean() for group in groups]) / factors[1]
    return Grid(grid.origin, grid.steps * np.array(factors)[:, None], lag)


def _coarse_rows(seen: NDArray[np.int64], factors: Factors, slices: int) -> NDArray[np.int64]:
    """Rows of large voxels that are seen by half or more in all their slices."""
    groups = [seen[k * factors[2] : (k + 1) * factors[2]] for k in range(slices)]
    rows = np.array([(group[:, 0].max(), group[:, 1].min()) for group in groups])
    return np.floor(rows / factors[1] + 0.5).astype(np.int64)


def _shares(mask: NDArray[np.bool_], factors: Factors) -> Floats:
    """Share of a phase in each large voxel and its surroundings, one slab of large voxels after the other."""
    from scipy.ndimage import gaussian_filter

    by_x, by_y, by_z = factors
    shape = tuple(-(-n // by) for n, by in zip(mask.shape, factors, strict=True))
    result = np.empty(shape, dtype=np.float32)
    for i in range(shape[0]):
        slab = mask[i * by_x : (i + 1) * by_x].mean(axis=0, dtype=np.float32)
        padded = np.pad(slab, [(0, n * by - m) for n, by, m in zip(shape[1:], factors[1:], slab.shape, strict=True)],
                        mode="edge")  # fmt: skip
        result[i] = padded.reshape(shape[1], by_y, shape[2], by_z).mean(axis=(1, 3))
    # An axis whose voxels stay as they are needs no window.
    sigma = [WINDOW if by > 1 else 0.0 for by in factors]
    smooth: Floats = gaussian_filter(result, sigma, mode="nearest")
    return smooth


def _assign(
    image: Image, inside: NDArray[np.bool_], shares: dict[int, Floats], wanted: dict[int, float], join: bool
) -> None:
    """Give the large voxels their phases, in place, so that those in the block have the wanted numbers in the end.

    First those with the least electrolyte are taken out of it, then those with the most lithium among them become
    lithium; what parting changes is made good by aiming at other numbers.
    """
    aim = dict(wanted)
    best, least = image.phases.copy(), np.inf
    for _ in range(ROUNDS):
        phases = image.phases
        phases[:] = ELECTROLYTE
        solid = _lowest(shares[ELECTROLYTE], inside, aim[LITHIUM] + aim[VOID])
        void = _lowest(shares[LITHIUM], solid & inside, aim[VOID], of=solid)
        phases[solid] = LITHIUM
        phases[void] = VOID
        for axis in range(3):
            np.moveaxis(phases, axis, 0)[[0, -1]] = ELECTROLYTE
        resolve_contacts(phases, join)
        missing = {phase: number - np.count_nonzero(inside & (phases == phase)) for phase, number in wanted.items()}
        off = max(abs(count) / max(wanted[phase], 1.0) for phase, count in missing.items())
        if off < least:
            best, least = phases.copy(), off
        if off < CLOSE:
            break
        aim = {phase: max(0.0, number + missing[phase]) if wanted[phase] else 0.0 for phase, number in aim.items()}
    image.phases[:] = best


def _lowest(
    values: Floats, counted: NDArray[np.bool_], number: float, of: NDArray[np.bool_] | None = None
) -> NDArray[np.bool_]:
    """Which voxels have the lowest values: as many of the counted ones as asked for, and all others below that value.

    With ``of`` only voxels of that set.
    """
    chosen = np.zeros(values.shape, dtype=bool) if of is None else of
    known = values[counted]
    count = min(round(number), len(known))
    if count <= 0:
        return np.zeros_like(chosen)
    result: NDArray[np.bool_] = values <= np.partition(known, count - 1)[count - 1]
    return result if of is None else result & of
