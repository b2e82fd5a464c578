"""Levels of an algebraic multigrid by smoothed aggregation, over all ranks.

A vertex that no other covers is the root of an aggregate and covers its neighbours, each of which goes to the root that
it is coupled to most.  Aggregates lie on one rank; their functions, smoothed by one step of Jacobi's method, reach into
the next.

Source: P. Vanek, J. Mandel, M. Brezina, Algebraic multigrid by smoothed aggregation, Computing 56 (1996) 179-196.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fem_spall.fenics import dolfinx
from fem_spall.kernels import kernels
from fem_spall.numbering import TAG, Rows, collected, fetched

__all__ = ["Level", "levels_of", "transposed"]

#: Unknowns of all ranks from which on a level gets one below.
COARSEST = 400
#: Largest share of the unknowns that the next level may have.
SHRINKS = 0.7
#: Couplings below this share of the largest of a row are not smoothed over: three tenths fewer entries below.
WEAK = 0.2
#: Step of Jacobi's method over the inverse of the largest eigenvalue.
DAMPING = 4 / 3

type Floats = NDArray[np.float64]


@dataclass
class Level:
    """The own rows of a matrix, columns by local number of ``map``, and what leads to the level below.

    ``diagonal`` (n,) is D, ``largest`` an upper bound of the eigenvalues of D⁻¹A, and ``up`` the interpolation, whose
    columns are of the map below.  The coarsest has only the first.
    """

    matrix: Rows
    map: Any
    diagonal: Floats
    largest: float = 0.0
    up: Rows | None = None


type Bound = Callable[[Any, tuple[Floats, Floats], Callable[[], None], Floats, Floats], float]


def levels_of(comm: Any, rows: Rows, bound: Bound) -> list[Level]:
    """Return the levels, the finest first, of the own rows of a matrix, columns by global number; collective.

    ``bound`` is :func:`~fem_spall.multigrid.largest_eigenvalue`.
    """
    levels = [_localised(comm, rows, np.empty(0, dtype=np.int64))]
    while levels[-1].map.size_global > COARSEST:
        below = _below(comm, levels[-1], bound)
        if below is None:
            break
        levels.append(below)
    return levels


def _localised(comm: Any, rows: Rows, others: NDArray[np.int64]) -> Level:
    """The level of own rows with columns by global number, whose map has the ghosts ``others`` as well."""
    starts, columns, values = rows
    n = len(starts) - 1
    last = comm.scan(n)
    map_ = _map(comm, n, np.concatenate([_outside(columns, last - n, last), others]))
    columns = _local(map_, columns)
    row = np.repeat(np.arange(n, dtype=np.int32), np.diff(starts))
    diagonal = np.zeros(n)
    diagonal[row[columns == row]] = values[columns == row]
    return Level((starts, columns, values), map_, diagonal)


def _map(comm: Any, n: int, others: NDArray[np.int64]) -> Any:
    """The index map with n own numbers and the ghosts ``others``, which may come several times."""
    if comm.size == 1:
        return dolfinx.common.IndexMap(comm, n)
    ghosts = np.unique(others).astype(np.int64)
    owners = np.searchsorted(np.cumsum(comm.allgather(n)), ghosts, side="right")
    return dolfinx.common.IndexMap(comm, n, ghosts, owners.astype(np.int32), TAG)


def _outside(columns: NDArray[Any], first: int, last: int) -> NDArray[np.int64]:
    return np.asarray(columns[(columns < first) | (columns >= last)], dtype=np.int64)


def _local(map_: Any, columns: NDArray[Any]) -> NDArray[np.int32]:
    """Local numbers of global ones, ghosts ascending."""
    first, last = map_.local_range
    if not first and not map_.num_ghosts:
        return np.asarray(columns, dtype=np.int32)
    numbers = np.asarray(columns - first, dtype=np.int32)
    outside = np.flatnonzero((columns < first) | (columns >= last))
    numbers[outside] = last - first + np.searchsorted(map_.ghosts, columns[outside])
    return numbers


def _numbers(map_: Any) -> NDArray[np.int32]:
    """Global number of each local one."""
    return np.concatenate([np.arange(*map_.local_range), map_.ghosts]).astype(np.int32)


def _below(comm: Any, level: Level, bound: Bound) -> Level | None:
    """The level below, none if that is not much smaller; completes the one above.  Collective."""
    run, n = kernels("double"), level.map.size_local
    level.largest = _largest(comm, level, bound)
    owner, strength = np.full(n, -1, dtype=np.int32), np.zeros(n)
    count = int(run("aggregates", n, *level.matrix, owner, strength, np.empty(n, dtype=np.int32)))
    if comm.allreduce(count) > SHRINKS * level.map.size_global:
        return None
    up, ends = _interpolation(comm, level, owner, count)
    own, whole, wide = _with_ghosts(comm, level.map, up, ends)
    columns = wide.size_local + wide.num_ghosts
    rows = _times(transposed(own, columns), _times(level.matrix, whole, columns), columns)
    below = _localised(comm, collected(comm, wide, rows, _numbers(wide)), ends.ghosts)
    level.up = up[0], _local(below.map, _numbers(ends)[up[1]]), up[2]
    return below


def _with_ghosts(comm: Any, map_: Any, up: Rows, ends: Any) -> tuple[Rows, Rows, Any]:
    """Own rows of the interpolation, those with the ghosts' behind them, and the map of the columns of both."""
    if comm.size == 1:
        return up, up, ends
    starts, columns, values = up
    far = fetched(comm, map_, up, _numbers(ends))
    wide = _map(comm, ends.size_local, np.concatenate([ends.ghosts, _outside(far[1], *ends.local_range)]))
    columns = _local(wide, _numbers(ends)[columns])
    whole = (
        np.concatenate([starts, starts[-1] + far[0][1:]]), np.concatenate([columns, _local(wide, far[1])]),
        np.concatenate([values, far[2]]),
    )  # fmt: skip
    return (starts, columns, values), whole, wide


def _largest(comm: Any, level: Level, bound: Bound) -> float:
    n = level.map.size_local
    p, q = dolfinx.la.vector(level.map, 1), dolfinx.la.vector(level.map, 1)

    def multiply() -> None:
        p.scatter_forward()
        kernels("double")("apply", n, *level.matrix, p.array, q.array)

    begin = np.random.default_rng(comm.rank).normal(size=n)
    return bound(comm, (p.array, q.array), multiply, 1 / level.diagonal, begin)


def _interpolation(comm: Any, level: Level, owner: NDArray[np.int32], count: int) -> tuple[Rows, Any]:
    """T − ω D⁻¹A T, where T has ones at the aggregate of each vertex, and the map of its columns; collective."""
    n, map_ = level.map.size_local, level.map
    vector = dolfinx.la.vector(map_, 1)  # of doubles, which count exactly up to 2**53
    vector.array[:n] = np.where(owner >= 0, owner + comm.scan(count) - count, -1)
    vector.scatter_forward()
    numbers = vector.array.astype(np.int64)
    ends = _map(comm, count, numbers[n:][numbers[n:] >= 0])
    inside, width = numbers >= 0, ends.size_local + ends.num_ghosts
    piece = np.full(len(numbers), -1, dtype=np.int32)
    piece[inside] = _local(ends, numbers[inside])
    room = len(level.matrix[1])
    starts, columns, values = np.empty(n + 1, dtype=np.int32), np.empty(room, dtype=np.int32), np.empty(room)
    step, place = DAMPING / level.largest, np.empty(width, dtype=np.int32)
    kernels("double")("interpolation", n, *level.matrix, piece, WEAK, step, width, place, starts, columns, values)
    return (starts, columns[: starts[n]], values[: starts[n]]), ends


def _times(a: Rows, b: Rows, columns: int) -> Rows:
    """The product of two matrices, the second with so many ``columns``."""
    n = len(a[0]) - 1
    room = int(np.diff(b[0])[a[1]].sum())  # touched only as far as it is filled
    place, starts = np.empty(columns, dtype=np.int32), np.empty(n + 1, dtype=np.int32)
    places, values = np.empty(room, dtype=np.int32), np.empty(room)
    kernels("double")("product", n, *a, *b, columns, place, starts, places, values)
    return starts, places[: starts[-1]], values[: starts[-1]]


def transposed(matrix: Rows, columns: int) -> Rows:
    """The transpose of a matrix with so many columns."""
    starts, size = np.empty(columns + 1, dtype=np.int32), len(matrix[1])
    places, values = np.empty(size, dtype=np.int32), np.empty(size)
    kernels("double")("transpose", len(matrix[0]) - 1, *matrix, columns, starts, places, values)
    return starts, places, values
