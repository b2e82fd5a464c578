"""Conjugate gradients, and algebraic multigrid in single precision for the matrix of degree 1.

Each level (``levels``) is kept in single precision in slices of rows (``kernels.c``) and smoothed by Chebyshev
polynomials of the fourth kind, so that nothing in the cycle depends on the order of the unknowns or on the number of
ranks but the aggregates.  Every rank solves the coarsest.

Source: J. Lottes, Optimal polynomial smoothers for multigrid V-cycles, Numer. Linear Algebra Appl. 30 (2023) e2518.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fem_spall.fenics import MPI, PETSc, dolfinx
from fem_spall.floating import Elimination
from fem_spall.kernels import LANES, kernels
from fem_spall.levels import Level, levels_of, transposed

__all__ = ["Assembled", "Vector", "conjugate_gradients", "largest_eigenvalue", "smoothing_steps"]

#: Unknowns of the coarsest level up to which it has a dense inverse.
DENSE = 1000
#: Degree of the smoothing polynomial.
SMOOTHING = 3
#: Steps of Lanczos' method for the largest eigenvalue of a smoother, and the factor of safety on it.
LANCZOS, SAFETY = 8, 1.1

type Floats = NDArray[np.float64]
type Small = NDArray[np.float32]
type Ints = NDArray[np.int32]


def smoothing_steps(degree: int, largest: float) -> list[tuple[float, float]]:
    """Factors a, b by step of d ← a d + b D⁻¹r, for eigenvalues of D⁻¹A up to ``largest``."""
    return [((2 * i - 1) / (2 * i + 3) if i else 0.0, (8 * i + 4) / (2 * i + 3) / largest) for i in range(degree)]


def conjugate_gradients(
    comm: Any, vectors: tuple[Floats, Floats], multiply: Callable[[], None],
    precondition: Callable[[Floats, float], Small], right: Floats, start: Floats | None, tolerance: float, most: int,
    course: list[tuple[float, float]] | None = None,
) -> tuple[Floats, int]:  # fmt: skip
    """Return the owned unknowns and the number of iterations for the owned right-hand side; collective.

    ``multiply`` makes the second of the ``vectors``, whose owned entries come first, A times the first;
    ``precondition`` takes a residual and its norm and gives B r/|r|.  B need not be quite symmetric or constant.  The
    residual falls below ``tolerance`` times the right-hand side, or ``most`` iterations are spent.  The factors of each
    step, by which the solution and the direction change, are added to ``course``.
    """
    run, n, rest = kernels("double"), len(right), right.copy()
    direction, product = vectors

    def total(value: float) -> float:
        return float(comm.allreduce(value, op=MPI.SUM))

    direction[:] = product[:] = 0.0
    scale = np.sqrt(total(run("dot", n, rest, rest)))
    solution = np.zeros(n)
    if start is not None:
        direction[:n] = start
        multiply()
        run("advance", n, 1.0, direction, product, solution, rest)
        direction[:] = product[:] = 0.0
    size = np.sqrt(total(run("dot", n, rest, rest)))
    curvature, last, dots = 1.0, size, np.zeros(2)
    for iteration in range(most):
        if size <= tolerance * scale:
            return solution, iteration
        z = precondition(rest, size)
        run("products", n, z, rest, product, dots)
        descent, overlap = comm.allreduce(dots, op=MPI.SUM)
        turn = -overlap / curvature
        run("direct", n, turn, z, direction)
        multiply()
        curvature = total(run("dot", n, direction, product))
        length = descent / curvature
        if course is not None:
            course.append((length / size, turn * size / last))
        last, size = size, np.sqrt(total(run("advance", n, length, direction, product, solution, rest)))
    return solution, most


def largest_eigenvalue(
    comm: Any, vectors: tuple[Floats, Floats], multiply: Callable[[], None], inverse: NDArray[Any], begin: Floats
) -> float:
    """Largest eigenvalue of D⁻¹A with a factor of safety, by Lanczos' method in conjugate gradients; collective.

    ``vectors`` and ``multiply`` as in :func:`conjugate_gradients`; ``inverse`` has 1/D by owned unknown, zero at the
    fixed ones, which ``begin`` is to be as well.
    """
    course: list[tuple[float, float]] = []
    small, found = inverse.astype(np.float32), np.empty(len(begin), dtype=np.float32)

    def scaled(rest: Floats, size: float) -> Small:
        np.divide(rest, size, out=found, casting="same_kind")
        return np.multiply(small, found, out=found)

    conjugate_gradients(comm, vectors, multiply, scaled, begin, None, 1e-10, LANCZOS, course)
    if not course:
        return 1.0
    lengths, turns = np.array(course).T
    beside = np.sqrt(np.maximum(turns[1:], 0.0)) / lengths[:-1]
    diagonal = 1 / lengths
    diagonal[1:] += turns[1:] / lengths[:-1]
    return SAFETY * float(np.linalg.eigvalsh(np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1))[-1])


class Vector:
    """A vector with ghosts, zero; ``array`` is a view of all of its local entries.

    The library's own makes that view anew each time, and looks for neighbours where there are none.
    """

    def __init__(self, index_map: Any, dtype: Any = np.float64) -> None:
        self._whole = dolfinx.la.vector(index_map, 1, dtype)
        self.index_map, self.array = index_map, self._whole.array
        self._alone = index_map.comm.size == 1

    def scatter_forward(self) -> None:
        """Give the ghosts the values of their owners; collective."""
        if not self._alone:
            self._whole.scatter_forward()

    def scatter_reverse(self, mode: Any) -> None:
        """Add the ghosts' values to their owners'; collective."""
        if not self._alone:
            self._whole.scatter_reverse(mode)


class _Sliced:
    """A matrix in single precision, LANES rows at a time, each as long as the longest of them."""

    def __init__(self, rows: Ints, columns: Ints, values: Floats) -> None:
        self.n = n = len(rows) - 1
        self._order, self._starts = np.empty(n, dtype=np.int32), np.empty(-(-n // LANES) + 1, dtype=np.int32)
        run = kernels("float")
        run("slices", n, rows, self._order, self._starts)
        size = LANES * int(self._starts[-1])
        self._columns, self._values = np.empty(size, dtype=np.int32), np.empty(size, dtype=np.float32)
        run("fill", n, rows, columns, values.astype(np.float32), self._order, self._starts, self._columns, self._values)
        self._shape = n, self._order, self._starts, self._columns, self._values

    @property
    def entries(self) -> int:
        """Number of entries kept, zeros included."""
        return self._values.size

    def times(self, x: Small, a: float, b: float, y: Small) -> None:
        """Y ← a y + b A x."""
        kernels("float")("times", *self._shape, a, b, x, y)

    def polish(self, a: float, b: float, inverse: Small, d: Small, r: Small, ahead: Small, x: Small) -> None:
        """R ← r − A d; ahead ← a d + b D⁻¹r; x ← x + ahead."""
        kernels("float")("polish", *self._shape, a, b, inverse, d, r, ahead, x)


@dataclass
class _Level:
    """Matrix of a level, and the interpolation ``up`` from the next and its transpose; vectors have ghosts."""

    matrix: _Sliced
    up: _Sliced
    down: _Sliced
    inverse: Small  # 1/D of the owned unknowns
    steps: list[tuple[float, float]]
    rest: Vector  # what the level is to solve for; scratch afterwards
    found: Vector
    step: Vector
    ahead: Vector


class _Cycle:
    """One V-cycle of algebraic multigrid for a PETSc matrix, in single precision."""

    def __init__(self, matrix: Any) -> None:
        self._comm = matrix.comm.tompi4py()
        levels = levels_of(self._comm, matrix.getValuesCSR(), largest_eigenvalue)
        self._levels = [self._level(own, below) for own, below in pairwise(levels)]
        self._coarsest(levels[-1])

    def _level(self, own: Level, below: Level) -> _Level:
        vectors = [Vector(own.map, np.float32) for _ in range(4)]
        assert own.up is not None
        down = transposed(own.up, below.map.size_local + below.map.num_ghosts)
        inverse, steps = (1 / own.diagonal).astype(np.float32), smoothing_steps(SMOOTHING, own.largest)
        return _Level(_Sliced(*own.matrix), _Sliced(*own.up), _Sliced(*down), inverse, steps, *vectors)

    def _coarsest(self, level: Level) -> None:
        """Every rank gets the whole: usually a few hundred unknowns, more only where aggregates do not grow."""
        rows, columns, values = level.matrix
        n, (begin, end) = level.map.size_global, level.map.local_range
        numbers = np.concatenate([np.arange(begin, end), level.map.ghosts])
        own = np.repeat(np.arange(begin, end), np.diff(rows)), numbers[columns], values
        row, column, entries = (np.concatenate(part) for part in zip(*self._comm.allgather(own), strict=True))
        self._bottom: Callable[[Small], Any]
        if n <= DENSE:
            whole = np.zeros((n, n))
            whole[row, column] = entries
            self._bottom = np.linalg.inv(whole).astype(np.float32).__matmul__
        else:
            from scipy import sparse
            from scipy.sparse import linalg

            solve = linalg.splu(sparse.csc_matrix((entries, (row, column)), shape=(n, n))).solve
            self._bottom = lambda right: solve(right.astype(np.float64))
        self._last = Vector(level.map, np.float32)
        self._place = slice(begin, end)

    def __call__(self, residual: NDArray[Any]) -> Small:
        """An approximate solution for the owned residual, by owned unknown, until the next call."""
        n = len(residual)
        self._right(0).array[:n] = residual
        self._descend(0)
        return np.asarray(self._found(0).array[:n])

    def _right(self, number: int) -> Vector:
        return self._levels[number].rest if number < len(self._levels) else self._last

    def _found(self, number: int) -> Vector:
        return self._levels[number].found if number < len(self._levels) else self._last

    def _descend(self, number: int) -> None:
        if number == len(self._levels):
            n = self._place.stop - self._place.start
            whole = np.concatenate(self._comm.allgather(self._last.array[:n]))
            self._last.array[:n] = self._bottom(whole)[self._place]
            return
        level, below, found = self._levels[number], self._right(number + 1), self._found(number + 1)
        rest, x, n = level.rest.array, level.found.array, level.matrix.n
        (_, first), *others = level.steps
        kernels("float")("begin", n, first, level.inverse, rest, level.step.array, x)
        self._smooth(level, others)
        level.step.scatter_forward()
        level.matrix.times(level.step.array, 1.0, -1.0, rest)
        level.down.times(rest, 0.0, 1.0, below.array)
        below.scatter_reverse(dolfinx.la.InsertMode.add)
        self._descend(number + 1)
        found.scatter_forward()
        level.up.times(found.array, 0.0, 1.0, level.step.array)
        x[:n] += level.step.array[:n]
        self._smooth(level, level.steps)

    def _smooth(self, level: _Level, steps: list[tuple[float, float]]) -> None:
        for a, b in steps:
            level.step.scatter_forward()
            level.matrix.polish(
                a, b, level.inverse, level.step.array, level.rest.array, level.ahead.array, level.found.array
            )
            level.step, level.ahead = level.ahead, level.step


class Assembled:
    """Conjugate gradients with algebraic multigrid for a matrix, of degree 1."""

    def __init__(self, matrix: Any, elimination: Elimination | None) -> None:
        self._matrix, self._elimination = matrix, elimination
        self._comm = matrix.comm.tompi4py()
        self._cycle = _Cycle(matrix)
        self._direction, self._product = matrix.createVecs()

    def solve(self, right: Floats, start: Floats | None, tolerance: float, most: int) -> tuple[Floats, int]:
        """As :func:`conjugate_gradients`."""
        e, p, q = self._elimination, self._direction, self._product
        if start is not None:
            start = self._reduced(start if e is None else start / e.members)
        found, iterations = conjugate_gradients(
            self._comm, (p.array, q.array), lambda: self._matrix.mult(p, q),
            lambda rest, size: self._cycle(rest / size), self._reduced(right), start, tolerance, most,
        )  # fmt: skip
        return self._expanded(found), iterations

    def precondition(self, values: NDArray[Any]) -> NDArray[Any]:
        """One step of the multigrid for a residual over the owned unknowns."""
        return self._expanded(self._cycle(self._reduced(values)))

    def _reduced(self, values: NDArray[Any]) -> NDArray[Any]:
        """T'r: sums over the members of bodies."""
        if self._elimination is None:
            return values
        full: Any = np.asarray(values, dtype=np.float64)
        result = self._matrix.createVecLeft()
        self._elimination.transfer.multTranspose(PETSc.Vec().createWithArray(full, comm=self._matrix.comm), result)
        return np.asarray(result.array)

    def _expanded(self, values: NDArray[Any]) -> NDArray[Any]:
        if self._elimination is None:
            return values
        reduced: Any = np.asarray(values, dtype=np.float64)
        full = self._elimination.transfer.createVecLeft()
        self._elimination.transfer.mult(PETSc.Vec().createWithArray(reduced, comm=self._matrix.comm), full)
        return np.asarray(full.array)
