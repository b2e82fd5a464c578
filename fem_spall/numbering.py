"""Numbers of what several ranks hold: one of them owns a thing and gives it its number, the others ask for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fem_spall.fenics import dolfinx

__all__ = ["numbered", "owners_of"]

#: Marks the messages by which the library finds out who holds the ghosts of an index map.
TAG = 1

type Keys = NDArray[np.int64]
type Ranks = NDArray[np.int32]
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
