"""Isolated lithium by elimination: all unknowns on the wall of one body become one, so that its net current is zero.

A body that touches no electrode has one potential V on its whole wall and draws no net current.  With a matrix T
that writes the unknowns of the space in those that are left, T'AT is the system: the row of a body adds up the
reactions on its wall, so the zero net current is natural, and the matrix stays symmetric and positive definite.
Behind an interfacial resistance the wall keeps its unknowns and the potential V of the body is one more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fem_spall.errors import GeometryError
from fem_spall.fenics import PETSc

__all__ = ["Body", "Elimination"]

type Ints = NDArray[np.int32]


@dataclass(frozen=True)
class Body:
    """Isolated bodies behind one surface.

    ``unknowns`` (n,) int32 are local numbers on the surface and ``body`` (n,) int32 the body of each, of ``count``
    on all ranks together; ``merged`` says that they are one unknown a body, else they keep their own.
    """

    name: str
    unknowns: Ints
    body: Ints
    count: int
    merged: bool


class Elimination:
    """Numbers of the unknowns that are left of a space when those of isolated bodies are merged.

    ``number`` has the global number of each local unknown of the space; ``hubs`` by surface name that of each body.
    """

    def __init__(self, index_map: Any, bodies: Sequence[Body], fixed: Ints) -> None:
        self._map, self.comm, self.bodies = index_map, index_map.comm, tuple(bodies)
        local = index_map.size_local + index_map.num_ghosts
        self._refuse_touching(fixed, local)
        merged = np.zeros(local, dtype=bool)
        for group in self.bodies:
            merged[group.unknowns] |= group.merged
        owner = self._owners()
        kept = np.nonzero(~merged[: index_map.size_local])[0]
        mine = np.nonzero(owner == self.comm.rank)[0]
        self.size_local = kept.size + mine.size
        self.size_global = self.comm.allreduce(self.size_local)
        start = self.comm.exscan(self.size_local) or 0
        numbers = np.zeros(owner.size, dtype=np.int64)
        numbers[mine] = start + kept.size + np.arange(mine.size)
        numbers = self.comm.allreduce(numbers)
        ends = np.cumsum([0, *(group.count for group in self.bodies)])
        self.hubs = {g.name: numbers[ends[i] : ends[i + 1]] for i, g in enumerate(self.bodies)}
        self.number = self._numbered(kept, start, merged)

    def _refuse_touching(self, fixed: Ints, local: int) -> None:
        given = np.zeros(local, dtype=bool)
        given[fixed] = True
        touching = set()
        for group in self.bodies:
            if given[group.unknowns].any():
                touching.add(group.name)
            given[group.unknowns] = True
        for name in sorted(set().union(*self.comm.allgather(touching))):
            raise GeometryError(
                18, f"crack {name}", "is isolated, but touches other lithium or a wall of given potential",
                "move it, set its contact to plating, or make what touches one crack",
            )  # fmt: skip

    def _owners(self) -> NDArray[np.int64]:
        """Rank of each body: the one with most unknowns of its wall."""
        parts = [
            np.bincount(g.body[g.unknowns < self._map.size_local], minlength=g.count) for g in self.bodies
        ]  # fmt: skip
        counts = np.array(self.comm.allgather(np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)))
        return np.asarray(counts.argmax(axis=0))

    def _numbered(self, kept: NDArray[np.int64], start: int, merged: NDArray[np.bool_]) -> NDArray[np.int64]:
        from fem_spall.fenics import dolfinx

        numbers = dolfinx.la.vector(self._map, 1)  # of doubles, which count exactly up to 2**53
        numbers.array[kept] = start + np.arange(kept.size)
        numbers.scatter_forward()
        result = numbers.array.astype(np.int64)
        for group in self.bodies:
            if group.merged:
                result[group.unknowns] = self.hubs[group.name][group.body]
        return np.asarray(result)

    @property
    def sizes(self) -> tuple[int, int]:
        """Local and global number of unknowns that are left."""
        return self.size_local, self.size_global

    @cached_property
    def transfer(self) -> Any:
        """Matrix T that writes the unknowns of the space in those that are left."""
        own = np.arange(self._map.size_local, dtype=np.int32)
        rows = self._map.local_to_global(own)
        full = (self._map.size_local, self._map.size_global)
        return matrix_of(self.comm, (full, self.sizes), rows, self.number[own], np.ones(own.size))

    def coupling(self, walls: dict[str, NDArray[np.float64]]) -> Any:
        """Matrix of the bodies behind a resistance: ``walls`` has the integrals ∫ β v_i ds, by own unknown (n,)."""
        rows, columns, values = [], [], []
        for group in self.bodies:
            if group.merged:
                continue
            own = group.unknowns < self._map.size_local
            unknown, hub = self.number[group.unknowns[own]], self.hubs[group.name][group.body[own]]
            weight = walls[group.name][group.unknowns[own]]
            rows += [unknown, hub, hub]
            columns += [hub, unknown, hub]
            values += [-weight, -weight, weight]
        index = np.empty(0, dtype=np.int64)
        return matrix_of(
            self.comm, (self.sizes, self.sizes), np.concatenate([index, *rows]), np.concatenate([index, *columns]),
            np.concatenate([np.empty(0), *values]),
        )  # fmt: skip

    def sums(self, group: Body, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum over each body's wall, on all ranks, (count,) float, of values by own unknown."""
        own = group.unknowns < self._map.size_local
        return np.asarray(
            self.comm.allreduce(
                np.bincount(group.body[own], values[group.unknowns[own]], minlength=group.count).astype(float)
            )
        )

    def means(self, group: Body, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean over the unknowns of each body's wall, on all ranks, (count,) float."""
        return self.sums(group, values) / self._counts[group.name]

    @cached_property
    def _counts(self) -> dict[str, NDArray[np.float64]]:
        one = np.ones(self._map.size_local)
        return {group.name: self.sums(group, one) for group in self.bodies}

    @cached_property
    def members(self) -> NDArray[np.float64]:
        """Number of unknowns that are one with each owned unknown, itself included, (n,) float."""
        result = np.ones(self._map.size_local)
        for group in self.bodies:
            if group.merged:
                own = group.unknowns < self._map.size_local
                result[group.unknowns[own]] = self._counts[group.name][group.body[own]]
        return result

    def square(self, values: NDArray[np.float64]) -> float:
        """Sum of the squares of a residual (n,) over the unknowns that are left: of a body its sum counts."""
        rest, total = values.copy(), 0.0
        for group in self.bodies:
            if group.merged:
                total += float((self.sums(group, values) ** 2).sum())
                rest[group.unknowns[group.unknowns < self._map.size_local]] = 0.0
        return total + float(self.comm.allreduce(rest @ rest))

    def impose(self, residual: NDArray[np.float64], currents: dict[str, Any]) -> None:
        """Take the ``currents`` into merged bodies, (count,) float or one for all, from a residual (n,), in place."""
        for group in self.bodies:
            if group.merged and group.name in currents:
                own = group.unknowns < self._map.size_local
                each = np.broadcast_to(currents[group.name], group.count) / self._counts[group.name]
                residual[group.unknowns[own]] -= each[group.body[own]]

    def share(self, values: NDArray[Any]) -> None:
        """Give all members of a body their mean, in place, for the owned unknowns (n,).

        Residuals shared out like this have the same products with potentials that are constant on bodies as T'r with
        the unknowns that are left: T'AT is to share after A.
        """
        for group in self.bodies:
            if group.merged:
                own = group.unknowns < self._map.size_local
                values[group.unknowns[own]] = self.means(group, values)[group.body[own]]

    def release(self, x: NDArray[Any], y: NDArray[Any], walls: dict[str, NDArray[np.float64]]) -> None:
        """Take from y = Ax, in place, the current that the potentials of bodies behind a resistance would take back.

        The body's potential is eliminated: with w = ∫ β v ds of ``walls`` A becomes A − ww'/Σw.
        """
        for group in self.bodies:
            if not group.merged:
                own = group.unknowns < self._map.size_local
                wall = walls[group.name]
                mean = self.sums(group, wall * x) / self.sums(group, wall)
                at = group.unknowns[own]
                y[at] -= (wall[at] * mean[group.body[own]]).astype(y.dtype)


def matrix_of(
    comm: Any,
    sizes: tuple[tuple[int, int], tuple[int, int]],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    values: NDArray[np.float64],
) -> Any:
    """Matrix of global rows and columns, entries added up; ``sizes`` are local and global, of rows and columns."""
    matrix: Any = PETSc.Mat().createAIJ(sizes, comm=comm)
    index = PETSc.IntType
    matrix.setPreallocationCOO(rows.astype(index), columns.astype(index))
    matrix.setValuesCOO(values, addv=PETSc.InsertMode.ADD_VALUES)
    matrix.assemble()
    return matrix
