"""Which electrolyte of an image carries current, and what becomes of the rest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fem_spall.crack.base import Block, Repair
from fem_spall.crack.stack_grid import Image, extend
from fem_spall.crack.stack_phases import ELECTROLYTE, LITHIUM, VOID

__all__ = ["borders", "fill_cut_off"]

CUT_OFF = "pieces of electrolyte cut off from the counter electrode filled with what is round them"
SHUT_IN = "isolated pieces of lithium that border no electrolyte with current counted as void"


def fill_cut_off(
    image: Image, block: Block, hanging: NDArray[np.float32] | None
) -> tuple[list[Repair], NDArray[np.bool_]]:
    """Fill electrolyte that no current reaches, in place, and lithium alone that none reaches.

    Returns what was done, and which electrolyte in the block carries current, (nx, ny, nz).  Neither changes a figure,
    and both leave surfaces that the mesh must not have.  Electrolyte that the image has not seen, and that at the
    counter electrode, carries current.
    """
    from scipy.ndimage import label

    phases, inside, unit, done = image.phases, image.inside(block), image.grid.volume, []
    numbers, count = label((phases == ELECTROLYTE) & inside)
    carries = np.zeros(count + 1, dtype=bool)
    carries[np.unique(numbers[inside & (~image.within_view() | _at_counter(image, block))])] = True
    carries[0] = True
    if not carries.all():
        cut = ~carries[numbers]
        wet = _within_one(numbers, phases)
        done.append(Repair(CUT_OFF, int((~carries).sum()), float(np.count_nonzero(cut)) * unit))
        phases[cut] = np.where(wet[numbers[cut]], LITHIUM, VOID)
    current = carries[numbers] & (numbers > 0)
    bodies, count = label(phases == LITHIUM)
    apart = np.ones(count + 1, dtype=bool)
    apart[0] = False
    apart[np.unique(bodies[_beside(current) | image.beyond(block)])] = False
    if hanging is not None:
        apart &= np.bincount(bodies.ravel(), hanging.ravel(), minlength=count + 1) <= 0
    apart[0] = False
    if apart.any():
        shut = apart[bodies]
        done.append(Repair(SHUT_IN, int(apart.sum()), -float(np.count_nonzero(shut)) * unit))
        phases[shut] = VOID
    if done:
        extend(image, block)
        for axis in range(3):
            np.moveaxis(phases, axis, 0)[[0, -1]] = ELECTROLYTE
    return done, current


def _within_one(numbers: NDArray[np.int32], phases: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which pieces of electrolyte border one piece of lithium and no void, by number: lithium there joins nothing."""
    from scipy.ndimage import label

    bodies, count = label(phases == LITHIUM)
    bodies[phases == VOID] = count + 1
    pairs = []
    for axis in range(3):
        n, b = np.moveaxis(numbers, axis, 0), np.moveaxis(bodies, axis, 0)
        for one, other in ((n[1:], b[:-1]), (n[:-1], b[1:])):
            meet = (one > 0) & (other > 0)
            pairs.append(np.unique(np.stack([one[meet], other[meet]], axis=1), axis=0))
    pieces, neighbour = np.unique(np.concatenate(pairs), axis=0).T
    size = int(numbers.max()) + 1
    alone = np.bincount(pieces, minlength=size) == 1
    void = np.bincount(pieces[neighbour == count + 1], minlength=size) > 0
    return np.asarray(alone & ~void)


def borders(phases: NDArray[np.uint8], phase: int, current: NDArray[np.bool_]) -> bool:
    """Whether a phase has a face in common with electrolyte that carries current."""
    return bool((_beside(current) & (phases == phase)).any())


def _beside(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Voxels of a set and those that share a face with it."""
    from scipy.ndimage import binary_dilation

    result: NDArray[np.bool_] = binary_dilation(mask)
    return result


def _at_counter(image: Image, block: Block) -> NDArray[np.bool_]:
    """Voxels whose centre is within one voxel of the counter electrode or beyond it."""
    i, j, k = image.grid.coordinate(2, image.phases.shape)
    reach = float(np.abs(image.grid.steps[:, 2]).max())
    height = i + j + k
    result: NDArray[np.bool_] = height < reach if block.plating_face == "+z" else height > block.height - reach
    return result
