"""Voxels that touch at an edge or a corner alone are parted or joined, and every phase keeps its volume.

A surface along the faces of voxels is manifold where no two voxels of one phase touch at an edge or a corner alone.
:func:`resolve_contacts` changes voxels until none do; on noise that takes away a tenth of a phase.
:func:`restore_counts` gives it back at the walls close by, one voxel here and there, wherever that joins nothing, cuts
nothing and makes no such contact anew.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["resolve_contacts", "restore_counts"]

type Ints = NDArray[np.int64]

#: Corners of a 2 x 2 x 2 cube as bits x + 2 y + 4 z: the diagonals of its faces, and of the cube.
_SQUARES = tuple(
    (low, low | u, low | v, low | u | v)
    for u, v, w in ((1, 2, 4), (2, 4, 1), (4, 1, 2))
    for low in (0, w)
)  # fmt: skip
_DIAGONALS = ((0, 7), (1, 6), (2, 5), (3, 4))


def _critical_codes() -> NDArray[np.bool_]:
    """Which of the 256 fillings of a cube touch at an edge or a corner alone, seen from within or from outside."""
    code = np.arange(256)
    bit = (code[:, None] >> np.arange(8)) & 1 == 1
    found = np.zeros(256, dtype=bool)
    for a, b, c, d in _SQUARES:
        found |= (bit[:, a] & bit[:, d] & ~bit[:, b] & ~bit[:, c]) | (bit[:, b] & bit[:, c] & ~bit[:, a] & ~bit[:, d])
    for a, b in _DIAGONALS:
        pair = (1 << a) | (1 << b)
        found |= (code == pair) | (code == 255 - pair)
    return found


CRITICAL = _critical_codes()


def _cubes(inside: NDArray[np.bool_]) -> Ints:
    """Positions of the first corner of the cubes that touch at an edge or corner alone, (n, 3)."""
    code = np.zeros([n - 1 for n in inside.shape], dtype=np.uint8)
    for corner in range(8):
        x, y, z = corner & 1, corner >> 1 & 1, corner >> 2
        part = inside[x : x + code.shape[0], y : y + code.shape[1], z : z + code.shape[2]]
        code |= part.astype(np.uint8) << np.uint8(corner)
    return np.argwhere(CRITICAL[code])


def resolve_contacts(phases: NDArray[np.uint8], join: bool) -> int:
    """Change voxels, in place, until none touches its like at an edge or a corner alone; return how many changed.

    Of such a pair one voxel goes over to the next lower phase beside it, which parts the pair; with
    ``join`` a voxel between them goes over to the next higher phase.  The sum of all phases only falls
    (or rises), so this ends; the border of the array must be all of phase 0.
    """
    changed = 0
    levels = np.unique(phases)
    levels = levels[1:] if len(levels) <= 2 else levels  # a set of voxels touches where its complement does
    while True:
        before = changed
        for level in levels:
            cubes = _cubes(phases == level)
            for part in _SQUARES:
                changed += _resolve(phases, cubes, part, int(level), join)
            for a, b in _DIAGONALS:
                changed += _resolve_corners(phases, cubes, (a, b), int(level), join)
        if changed == before:
            return changed


def _gather(phases: NDArray[np.uint8], cubes: Ints, corners: tuple[int, ...]) -> tuple[Ints, Ints]:
    """Flat position and phase of some corners of cubes, (n, k) each."""
    steps = np.array([[c & 1, c >> 1 & 1, c >> 2] for c in corners])
    flat = np.ravel_multi_index(tuple(np.moveaxis(cubes[:, None] + steps, 2, 0)), phases.shape)
    return flat, phases.ravel()[flat].astype(np.int64)


def _resolve(phases: NDArray[np.uint8], cubes: Ints, square: tuple[int, ...], level: int, join: bool) -> int:
    """Resolve the squares whose diagonal is of one phase and whose other corners are not."""
    if len(cubes) == 0:
        return 0
    flat, values = _gather(phases, cubes, square)
    own = values == level
    wrong = (own == [True, False, False, True]).all(axis=1) | (own == [False, True, True, False]).all(axis=1)
    return _change(phases, flat[wrong], values[wrong], join)


def _resolve_corners(phases: NDArray[np.uint8], cubes: Ints, pair: tuple[int, int], level: int, join: bool) -> int:
    """Resolve the cubes in which two opposite corners are of one phase and none of the other six is, or the reverse."""
    if len(cubes) == 0:
        return 0
    flat, values = _gather(phases, cubes, tuple(range(8)))
    own = values == level
    opposite = np.isin(np.arange(8), pair)
    wrong = (own == opposite).all(axis=1) | (own != opposite).all(axis=1)
    return _change(phases, flat[wrong], values[wrong], join)


def _change(phases: NDArray[np.uint8], flat: Ints, values: Ints, join: bool) -> int:
    """Lower the highest voxel of each group to the next phase in it, or raise the lowest, the most loosely held one."""
    if len(flat) == 0:
        return 0
    held = _like_neighbours(phases, flat)
    sign = -1 if join else 1
    which = (sign * values * 8 - held).argmax(axis=1)
    rows = np.arange(len(flat))
    own = values[rows, which][:, None]
    target = np.where(values > own, values, 255).min(axis=1) if join else np.where(values < own, values, -1).max(axis=1)
    place, first = np.unique(flat[rows, which], return_index=True)
    phases.ravel()[place] = target[first].astype(np.uint8)
    return len(place)


def _like_neighbours(phases: NDArray[np.uint8], flat: Ints) -> Ints:
    """How many of the six neighbours of voxels are of their phase; beyond the border none."""
    position = np.stack(np.unravel_index(flat, phases.shape))
    count = np.zeros(flat.shape, dtype=np.int64)
    for axis in range(3):
        for step in (-1, 1):
            beside = position.copy()
            beside[axis] += step
            within = (beside[axis] >= 0) & (beside[axis] < phases.shape[axis])
            beside[axis] = np.clip(beside[axis], 0, phases.shape[axis] - 1)
            count += within & (phases[tuple(beside)] == phases[tuple(position)])
    return count


#: Places round a voxel, itself in the middle: steps (27, 3), which are faces, and pairs that share a face without the
#: corners of the cube, through which nothing hangs together that does not otherwise.
_ROUND = np.stack(np.meshgrid(*[(-1, 0, 1)] * 3, indexing="ij"), axis=-1).reshape(27, 3)
_FACES = np.flatnonzero(np.abs(_ROUND).sum(axis=1) == 1)
_PAIRS = (
    (np.abs(_ROUND[:, None] - _ROUND[None]).sum(axis=2) == 1)
    & (np.abs(_ROUND).sum(axis=1) < 3)[:, None]
    & (np.abs(_ROUND).sum(axis=1) < 3)[None]
)
#: Of each of the eight cubes that a voxel is in, the places of its corners, (8, 8).
_EIGHT = np.array([[9 * (x + (c & 1)) + 3 * (y + (c >> 1 & 1)) + z + (c >> 2) for c in range(8)]
                   for x in (0, 1) for y in (0, 1) for z in (0, 1)])  # fmt: skip
#: Voxels round a changed one where volume is given back first, and rounds of giving back.
NEAR, ROUNDS = 2, 8


def restore_counts(
    phases: NDArray[np.uint8], counts: dict[int, int], counted: NDArray[np.bool_], before: NDArray[np.uint8]
) -> int:
    """Move walls by single voxels, in place, until each phase has as many voxels as wanted; return how many changed.

    Voxels go over between a phase and phase 0, first those near voxels that differ from ``before``, of these first
    the ones with most of their new phase round them.  None joins or cuts what was not, nor touches at an edge or corner
    alone.

    Parameters
    ----------
    phases : (nx, ny, nz) uint8
        Without such contacts.
    counts : dict
        Voxels wanted of each phase.
    counted : (nx, ny, nz) bool
        Where voxels are counted, and changed where all those round them are counted too.
    before : (nx, ny, nz) uint8
        The phases before contacts were resolved.
    """
    from scipy.ndimage import binary_dilation, binary_erosion

    cube = np.ones((3, 3, 3), dtype=bool)
    free = binary_erosion(counted, cube)
    close = binary_dilation(phases != before, cube, iterations=NEAR) & free
    changed = 0
    for phase, wanted in counts.items():
        for where in (close, free):
            missing = wanted - int(np.count_nonzero(counted & (phases == phase)))
            for _ in range(ROUNDS):
                old, new = (0, phase) if missing > 0 else (phase, 0)
                made = _go_over(phases, where, old, new, abs(missing))
                changed += made
                missing -= made if missing > 0 else -made
                if made == 0 or missing == 0:
                    break
    return changed


def _go_over(phases: NDArray[np.uint8], where: NDArray[np.bool_], old: int, new: int, most: int) -> int:
    """Turn voxels at a wall from one phase to another, in place, those with most of the new one round them first."""
    if most == 0:
        return 0
    flat = np.flatnonzero(where & (phases == old))
    steps = np.array(_ROUND @ np.array(phases.strides), dtype=np.int64)
    cells = phases.ravel()
    like = sum((cells[flat + steps[k]] == new).astype(np.int64) * 27 for k in _FACES)
    flat, like = flat[like > 0], like[like > 0]
    for step in steps:
        like += cells[flat + step] == new
    # Two voxels of one class have none of those round them in common, so that each is judged as if it were alone.
    position = np.stack(np.unravel_index(flat, phases.shape)) & 1
    group = position[0] * 4 + position[1] * 2 + position[2]
    made = 0
    for count in np.unique(like)[::-1]:
        for part in range(8):
            places = flat[(like == count) & (group == part)]
            places = places[_harmless(cells[places[:, None] + steps], old, new)]
            if len(places) > most - made:  # some of them, here and there
                places = places[np.arange(most - made) * len(places) // (most - made)]
            cells[places] = new
            made += len(places)
            if made == most:
                return made
    return made


def _harmless(round_it: NDArray[np.uint8], old: int, new: int) -> NDArray[np.bool_]:
    """Whether the middle of (n, 27) voxels can go over from one phase to another and join or cut nothing."""
    good = np.ones(len(round_it), dtype=bool)
    weights = 1 << np.arange(8)
    for phase, middle in ((old, False), (new, True)):
        own = round_it == phase
        own[:, 13] = False
        good &= _one_piece(own)
        own[:, 13] = middle
        good &= ~CRITICAL[(own[:, _EIGHT] * weights).sum(axis=2)].any(axis=1)
    return good


def _one_piece(own: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether those of (n, 27) voxels that share a face with the middle are there, and hang together round it."""
    reached = np.zeros_like(own)
    rows = np.arange(len(own))
    first = _FACES[own[:, _FACES].argmax(axis=1)]
    reached[rows, first] = own[rows, first]
    pairs = _PAIRS.astype(np.float32)
    for _ in range(27):
        more = own & (reached | (reached @ pairs > 0))
        if (more == reached).all():
            break
        reached = more
    return np.asarray((own == reached)[:, _FACES].all(axis=1) & own[:, _FACES].any(axis=1))
