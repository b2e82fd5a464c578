"""Numbers of what several ranks hold, and rows of matrices: one of them owns a thing, the others ask for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fem_spall.fenics import dolfinx

__all__ = ["TAG", "Rows", "collected", "fetched", "numbered", "owners_of"]

#: Marks the messages by which the library finds out who holds the ghosts of an index map.
TAG = 1

type Keys = NDArray[np.int64]
type Ranks = NDArray[np.int32]
#: Where rows start, the column of each entry, and its value.
type Rows = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]
type Answers = Callable[[list[Keys]], list[NDArray[Any]]]


def owners_of(comm: Any, keys: Keys) -> Ranks:
    """Owner of each of the things with these ``keys`` (n,), the same on all ranks that hold one; collective.

    It is by turns the lowest and the highest rank of those that hold the thing, so that no rank owns a whole border.
    """

    def elected(parts: list[Keys]) -> list[NDArray[Any]]:
        ranks = np.repeat(np.arange(comm.size, dtype=np.int32), [len(part) for part in parts])
        every = np.concatenate(parts)
        kinds, first, kind = np.unique(every, return_index=True, return_inverse=True)
        last = len(every) - 1 - np.unique(every[::-1], return_index=True)[1]
        owners = np.where(kinds % 2, ranks[last], ranks[first])
        return np.split(owners[kind], np.cumsum([len(part) for part in parts])[:-1])

    return _asked(comm, (keys // 2 % comm.size).astype(np.int32), keys, elected).astype(np.int32)


def numbered(comm: Any, owners: Ranks, shared: NDArray[np.int64], keys: Keys) -> tuple[NDArray[np.int32], Any]:
    """Local numbers (n,) of things with these ``owners`` (n,), the own ones first, and their index map; collective.

    ``shared`` (k,) says in ascending order which of them other ranks may hold, and ``keys`` (k,) are theirs there.
    """
    own = owners == comm.rank
    count, numbers = int(own.sum()), np.empty(len(own), dtype=np.int32)
    numbers[own], numbers[~own] = np.arange(count), np.arange(count, len(own))
    if comm.size == 1:
        return numbers, dolfinx.common.IndexMap(comm, count)
    first, mine = comm.scan(count) - count, own[shared]
    order = np.argsort(keys[mine])
    known, given = keys[mine][order], first + numbers[shared[mine]][order].astype(np.int64)

    def answered(parts: list[Keys]) -> list[NDArray[Any]]:
        return [given[np.searchsorted(known, part)] for part in parts]

    others = owners[shared[~mine]]
    ghosts = _asked(comm, others, keys[~mine], answered)
    return numbers, dolfinx.common.IndexMap(comm, count, ghosts, others, TAG)


def _asked(comm: Any, ranks: Ranks, questions: Keys, answers: Answers) -> Keys:
    """What each of the ``ranks`` (n,) answers to its question; ``answers`` gets those of all ranks."""
    places = [np.flatnonzero(ranks == rank) for rank in range(comm.size)]
    replies = comm.alltoall(answers(comm.alltoall([questions[place] for place in places])))
    result = np.empty(len(questions), dtype=np.int64)
    for place, reply in zip(places, replies, strict=True):
        result[place] = reply
    return result


def fetched(comm: Any, index_map: Any, rows: Rows, numbers: NDArray[np.int32]) -> Rows:
    """The rows of the ghosts of a map from their owners, who have the rows of their own; collective.

    Ghosts are ascending; ``numbers`` (c,) are the global ones of the columns of this rank's rows.
    """
    starts, columns, values = rows
    asked = comm.alltoall([index_map.ghosts[index_map.owners == rank] for rank in range(comm.size)])
    answers = []
    for part in asked:
        own = part - index_map.local_range[0]
        at = _entries(starts, own)
        answers.append((np.diff(starts)[own], numbers[columns[at]], values[at]))
    sizes, places, entries = (np.concatenate(part) for part in zip(*comm.alltoall(answers), strict=True))
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32), places, entries


def collected(comm: Any, index_map: Any, rows: Rows, numbers: NDArray[np.int32]) -> Rows:
    """The rows of the own unknowns of a map, columns by global number, with what other ranks have of them; collective.

    ``rows`` has those of the ghosts as well, which are added to those of their owners; ``numbers`` as above.  Columns
    are ascending where they were.
    """
    starts, columns, values = rows
    if comm.size == 1:
        return rows
    from scipy import sparse

    n, first = index_map.size_local, index_map.local_range[0]
    alone = np.ones(n, dtype=bool)
    ghosts = np.flatnonzero(columns[: starts[n]] >= n)  # they come last, which is not where they belong
    alone[np.searchsorted(starts, ghosts, side="right") - 1] = False
    size, columns = np.diff(starts), numbers[columns]
    parts = []
    for rank in range(comm.size):
        theirs = np.flatnonzero(index_map.owners == rank)
        at = _entries(starts, n + theirs)
        parts.append((np.repeat(index_map.ghosts[theirs], size[n + theirs]), columns[at], values[at]))
    row, column, value = (np.concatenate(part) for part in zip(*comm.alltoall(parts), strict=True))
    size, columns, values = size[:n], columns[: starts[n]], values[: starts[n]]
    alone[row - first] = False
    kept, border = np.repeat(alone, size), np.flatnonzero(~alone)
    at = _entries(starts, border)
    row = np.concatenate([np.repeat(border, size[border]), row - first])
    column, value = np.concatenate([columns[at], column]), np.concatenate([values[at], value])
    # A sum of two matrices would leave out the zeros, of which the pattern need not stay symmetric.
    summed = sparse.coo_matrix((value, (row, column)), shape=(n, index_map.size_global)).tocsr()
    size[border] = np.diff(summed.indptr)[border]
    filled = np.repeat(alone, size)
    places, entries = np.empty(filled.size, dtype=np.int32), np.empty(filled.size)
    places[filled], places[~filled] = columns[kept], summed.indices
    entries[filled], entries[~filled] = values[kept], summed.data
    return np.concatenate([[0], np.cumsum(size)]).astype(np.int32), places, entries


def _entries(starts: NDArray[np.int32], rows: NDArray[Any]) -> NDArray[np.int64]:
    """Numbers of the entries of some rows, one after the other."""
    size = np.diff(starts)[rows]
    return np.repeat(starts[rows] - np.cumsum(size) + size, size) + np.arange(size.sum())
