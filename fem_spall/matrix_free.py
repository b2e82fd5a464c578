"""Degree 2 without a matrix: the stiffness by its action on a potential, and the solver with two levels.

A straight-sided cell has six numbers (``kernels.c``), a curved one the upper triangle of its element matrix, a surface
with an interfacial resistance a small assembled matrix.  Conjugate gradients run in double precision; the
preconditioner, Chebyshev polynomials of the fourth kind on degree 2 and algebraic multigrid on degree 1, takes single
precision on degree 2: it only has to be close.  Ranks own unknowns and cells; ghosts are exchanged before and after
each product.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fem_spall.conduction import ConductionProblem
from fem_spall.fenics import PETSc, basix, compile_form, dolfinx, ufl
from fem_spall.floating import Elimination
from fem_spall.kernels import LANES, LONGEST, PACK, Kernels, aligned, kernels
from fem_spall.multigrid import Vector, conjugate_gradients, largest_eigenvalue, smoothing_steps
from fem_spall.numbering import collected

__all__ = ["CoarseLevel", "Operator", "Stiffness", "TwoLevel", "cell_geometry", "vertex_matrix", "vertex_pairs"]

#: Cells whose middle nodes are this close to the middles of the edges, over the longest edge, are straight-sided.
STRAIGHT = 1e-12
#: Degree of the quadrature on curved cells, which is also what the form compiler estimates for them.
QUADRATURE = 5
#: Curved cells whose matrices are computed at a time.
CHUNK = 4096
#: Degree of the smoothing polynomial for degree 2.
SMOOTHING = 2

type Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Cells:
    """What the kernels need of the cells in one precision."""

    run: Kernels
    matrices: NDArray[Any]  # (curved, 55)
    contact: list[tuple[NDArray[np.int32], Any]]  # unknowns on a surface, and their matrix


@dataclass(frozen=True)
class _Fans:
    """The cells in fans round edges, in batches of LANES fans of one length, as the kernel ``fans`` makes them."""

    count: int
    lengths: NDArray[np.int32]  # of the batches, in cells
    ends: NDArray[np.int32]  # of the packs of unknowns that each asks for
    packs: NDArray[np.int32]
    cells: tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]  # unknowns, and geometry in two parts

    @property
    def nbytes(self) -> int:
        """Bytes that a product in double precision reads."""
        return sum(array.nbytes for array in (self.lengths, self.ends, self.packs, *self.cells))


class Stiffness:
    """A of degree 2 in y = Aφ, where A is ∫ σ∇u·∇v dx and, by surface, ∫ β u v ds."""

    def __init__(self, problem: ConductionProblem, straight: Floats | None = None) -> None:
        """``straight`` is the geometry of the cells where it is known that none is curved."""
        mesh, space = problem.mesh.mesh, problem.space
        self.problem, self.map = problem, space.dofmap.index_map
        self.owned = self.map.size_local
        self.cells = mesh.topology.index_map(3).size_local
        self.unknowns = space.dofmap.list[: self.cells]
        self.products = 0
        geometry, self.curved = (
            (straight, np.empty(0, np.int32)) if straight is not None else cell_geometry(problem, STRAIGHT)
        )
        nodes = mesh.geometry.dofmaps[0][: self.cells]
        self._sigma = _upper(problem)
        matrices = _curved_matrices(mesh.geometry.x, nodes[self.curved], problem.by_cell[self.curved])
        self.contact = {name: self._contact(name) for name in problem.contact}
        self._fans = _fans(self.unknowns, geometry, self.map.size_local + self.map.num_ghosts)
        self._double = _Cells(kernels("double"), matrices, list(self.contact.values()))

    @cached_property
    def _single(self) -> _Cells:
        cells, small = self._double, np.float32
        contact = [(own, matrix.astype(small)) for own, matrix in cells.contact]
        return _Cells(kernels("float"), cells.matrices.astype(small), contact)

    @property
    def stored_bytes(self) -> int:
        """Bytes that one product in double precision reads beside its vectors."""
        return self._fans.nbytes + int(self._double.matrices.nbytes)

    def vector(self, dtype: Any = np.float64) -> Vector:
        """A vector with ghosts, zero."""
        return Vector(self.map, dtype)

    def multiply(self, x: Any, y: Any, contact: bool = True) -> None:
        """Y = Ax with vectors of one type, on the unknowns that this rank owns; collective.

        Without ``contact`` only the electrolyte counts.
        """
        cells = self._double if x.array.dtype == np.float64 else self._single
        x.scatter_forward()
        values, result = x.array, y.array
        result[:] = 0.0
        fans = self._fans
        cells.run("stiffness", fans.count, fans.lengths, fans.ends, fans.packs, *fans.cells, values, result)
        if self.curved.size:
            cells.run("stored", self.curved.size, self.curved, self.unknowns, cells.matrices, values, result)
        for own, matrix in cells.contact if contact else ():
            result[own] += matrix @ values[own]
        y.scatter_reverse(dolfinx.la.InsertMode.add)
        self.products += 1

    def energy(self, potential: Floats) -> float:
        """Local part of φ·Aφ without surfaces, summed by cell, of local potentials."""
        cells = self._double
        total = cells.run("energy", self._fans.count, self._fans.lengths, *self._fans.cells, potential)
        if self.curved.size:
            own = potential[self.unknowns[self.curved]]
            place = np.arange(own.size, dtype=np.int32).reshape(own.shape)
            part = np.zeros(own.size)
            every = np.arange(len(own), dtype=np.int32)
            cells.run("stored", len(own), every, place, cells.matrices, np.ascontiguousarray(own.ravel()), part)
            total += float(own.ravel() @ part)
        return total

    def through(self, name: str, potential: Floats) -> Floats:
        """∫ β φ v ds over one surface for the owned unknowns, of local potentials; collective."""
        own, matrix = self.contact[name]
        result = self.vector()
        result.array[own] = matrix @ potential[own]
        result.scatter_reverse(dolfinx.la.InsertMode.add)
        return np.asarray(result.array[: self.owned])

    def diagonal(self) -> Floats:
        """Diagonal of A for the owned unknowns; collective."""
        cells, result = self._double, self.vector()
        cells.run("diagonal", self._fans.count, self._fans.lengths, *self._fans.cells, result.array)
        places = np.cumsum([0, *range(10, 1, -1)])
        np.add.at(result.array, self.unknowns[self.curved], cells.matrices[:, places])
        for own, matrix in cells.contact:
            result.array[own] += matrix.diagonal()
        result.scatter_reverse(dolfinx.la.InsertMode.add)
        return np.asarray(result.array[: self.owned])

    def _contact(self, name: str) -> tuple[NDArray[np.int32], Any]:
        """Local unknowns of a surface with a resistance, and the sum of the element matrices of this rank there."""
        space = self.problem.space
        form = self.problem.contact_term(name, ufl.TrialFunction(space), ufl.TestFunction(space))
        own = self.problem.on[name]
        whole = dolfinx.fem.assemble_matrix(compile_form(form)).to_scipy(ghosted=True).tocsr()
        return own, whole[own][:, own]


def _fans(unknowns: NDArray[np.int32], geometry: Floats, n: int) -> _Fans:
    """Put cells with ``n`` local unknowns in fans; ``geometry`` is in the cells' order."""
    cells, run = len(unknowns), kernels("double")
    work = [np.empty(size, np.int32) for size in (n + 1, 6 * cells)]
    work += [np.empty(cells, np.uint8), np.empty(n, np.uint8), np.empty(n // PACK + 1, np.int32)]
    most = cells + LANES * LONGEST**2  # pages that are not written to take no memory
    lengths, ends = (np.empty(most // LANES, np.int32) for _ in range(2))
    packs, at = (np.empty(10 * most, np.int32) for _ in range(2))
    near, rest = (aligned(6 * most, np.float32) for _ in range(2))
    count = int(run("fans", cells, n, unknowns, geometry, *work, lengths, ends, packs, at, near, rest))
    places = LANES * int(lengths[:count].sum())
    at, near, rest = at[: 6 * LANES * count + 4 * places].copy(), near[: 6 * places], rest[: 6 * places]
    packs = packs[: ends[count - 1] if count else 0].copy()  # the room goes back for the vectors
    return _Fans(count, lengths[:count], ends[:count], packs, (at, near, rest))


def _upper(problem: ConductionProblem) -> tuple[Floats, int]:
    """The conductivity's six numbers, of all cells or cell after cell, and the step from one cell to the next."""
    sigma = np.ascontiguousarray(problem.conductivity[..., *np.triu_indices(3)])
    return sigma, 6 * (sigma.ndim - 1)


def cell_geometry(problem: ConductionProblem, straight: float) -> tuple[Floats, NDArray[np.int32]]:
    """Six numbers of each cell of this rank, (batches, 6, LANES), and the numbers of the curved ones, which have zeros.

    Curved is a cell whose middle nodes are off the middles of its edges by more than ``straight`` times the longest.
    """
    mesh = problem.mesh.mesh
    cells, sigma = mesh.topology.index_map(3).size_local, _upper(problem)
    nodes = mesh.geometry.dofmaps[0][:cells]
    geometry, curved = np.zeros((-(-cells // LANES), 6, LANES)), np.zeros(cells, dtype=np.uint8)
    place = nodes, nodes.shape[1], mesh.geometry.x, *sigma
    kernels("double")("geometry", cells, *place, straight, geometry, curved)
    return geometry, np.nonzero(curved)[0].astype(np.int32)


def vertex_matrix(problem: ConductionProblem, fixed: NDArray[np.int32], geometry: Floats) -> Any:
    """The matrix of degree 1 on straight-sided cells, with unit rows at the fixed unknowns; collective.

    It takes a seventh of the time of a pattern and forms, and has no zeros at the fixed columns.
    """
    comm, index_map, unknowns = problem.mesh.comm, problem.space.dofmap.index_map, problem.space.dofmap.list
    n, every = index_map.size_local, index_map.size_global
    size, cells = n + index_map.num_ghosts, len(unknowns)
    at_fixed = np.zeros(size, dtype=np.uint8)
    at_fixed[fixed] = 1
    rows, start, place = (np.empty(size + 1, dtype=np.int32) for _ in range(3))
    around, columns = np.empty(4 * cells, dtype=np.int32), np.empty(size + 12 * cells, dtype=np.int32)
    values = np.empty(columns.size)
    work = start, around, place
    kernels("double")("vertex_matrix", cells, size, unknowns, geometry, at_fixed, *work, rows, columns, values)
    count = int(rows[size])
    values[rows[n:-1][at_fixed[n:] != 0]] = 0.0  # their owners have them
    numbers = np.concatenate([np.arange(*index_map.local_range), index_map.ghosts]).astype(np.int32)
    whole = collected(comm, index_map, (rows, columns[:count], values[:count]), numbers)
    made: Any = PETSc.Mat()
    return made.createAIJ(((n, every), (n, every)), csr=whole, comm=comm)


def _curved_matrices(points: Floats, nodes: NDArray[np.int32], sigma: Floats) -> Floats:
    """Upper triangles, (k, 55), of the element matrices of cells with ten nodes (k, 10) and conductivity (k, 3, 3)."""
    if not len(nodes):
        return np.empty((0, 55))
    element = basix.create_element(
        basix.ElementFamily.P, basix.CellType.tetrahedron, 2, basix.LagrangeVariant.gll_warped
    )
    at, weights = basix.make_quadrature(basix.CellType.tetrahedron, QUADRATURE)
    slopes = element.tabulate(1, at)[1:, :, :, 0]  # (3, q, 10)
    upper = np.triu_indices(10)
    result = np.empty((len(nodes), 55))
    for first in range(0, len(nodes), CHUNK):
        chunk = slice(first, first + CHUNK)
        jacobian = np.einsum("cnd,iqn->cqdi", points[nodes[chunk]], slopes, optimize=True)
        inverse = np.linalg.inv(jacobian)
        weight = weights * np.abs(np.linalg.det(jacobian))
        gradients = np.einsum("cqid,iqn->cqnd", inverse, slopes, optimize=True)
        weighted = np.einsum("cqnd,cde,cq->cqne", gradients, sigma[chunk], weight, optimize=True)
        whole = np.einsum("cqnd,cqmd->cnm", weighted, gradients, optimize=True)
        result[chunk] = whole[:, *upper]
    return result


def vertex_pairs(coarse: Any, fine: Any) -> NDArray[np.int32]:
    """The two local unknowns of degree 1, (n, 2), whose mean each local one of degree 2 takes from a linear function.

    ``coarse`` and ``fine`` are the two spaces on one mesh.
    """
    index_map = fine.dofmap.index_map
    pairs = np.zeros((index_map.size_local + index_map.num_ghosts, 2), dtype=np.int32)
    ones, twos = coarse.dofmap.list, fine.dofmap.list
    kernels("double")("parents", len(twos), ones, twos, pairs)  # a vertex names itself twice
    return pairs


@dataclass(frozen=True)
class CoarseLevel:
    """Degree 1 below another space on the same mesh.

    ``fixed`` are its local unknowns that stay zero; ``correct`` returns an approximate solution for a residual, both
    by owned unknown; ``parents`` (n, 2 or 3) are its local unknowns whose mean each local one of the other space takes
    from a linear function.
    """

    space: Any
    fixed: NDArray[np.int32]
    correct: Callable[[NDArray[Any]], NDArray[Any]]
    parents: NDArray[np.int32]


class Operator(Protocol):
    """A symmetric matrix known by its action; ``owned`` unknowns of ``map`` are this rank's."""

    map: Any
    owned: int

    def vector(self, dtype: Any = np.float64) -> Vector:
        """A vector with ghosts, zero."""

    def multiply(self, x: Any, y: Any) -> None:
        """Y = Ax in the precision of the vectors; collective."""

    def diagonal(self) -> Floats:
        """Diagonal of A for the owned unknowns; collective."""


class TwoLevel:
    """Conjugate gradients for A, where ``fixed`` are the owned unknowns that stay zero.

    Unknowns of an isolated body are kept as so many copies of one (``elimination``); ``walls`` are the integrals that
    :meth:`Elimination.release` takes.  ``smoothing`` is the degree of the smoothing polynomial.
    """

    def __init__(
        self, stiffness: Operator, fixed: NDArray[np.int32], coarse: CoarseLevel, elimination: Elimination | None,
        walls: dict[str, Floats], smoothing: int = SMOOTHING,
    ) -> None:  # fmt: skip
        self._a, self._fixed, self._coarse = stiffness, fixed, coarse
        self._elimination, self._walls = elimination, walls
        self._below = Vector(coarse.space.dofmap.index_map, np.float32)
        self._comm = stiffness.map.comm
        self._n = n = stiffness.owned
        self._parents = coarse.parents[:n]
        diagonal = stiffness.diagonal()
        if elimination is not None:
            elimination.share(diagonal)
        inverse = 1 / diagonal
        inverse[fixed] = 0.0
        self._inverse = inverse.astype(np.float32)
        self._direction, self._product = stiffness.vector(), stiffness.vector()
        self._rest, self._z = np.empty(n, dtype=np.float32), np.empty(n, dtype=np.float32)
        self._step, self._image = stiffness.vector(np.float32), stiffness.vector(np.float32)
        self._run = kernels("float")
        begin = np.random.default_rng(self._comm.rank).normal(size=n) * (inverse != 0)
        if elimination is not None:
            elimination.share(begin)
        vectors = self._direction.array, self._product.array
        largest = largest_eigenvalue(self._comm, vectors, self._multiply, inverse, begin)
        self._steps = smoothing_steps(smoothing, largest)

    def solve(self, right: Floats, start: Floats | None, tolerance: float, most: int) -> tuple[Floats, int]:
        """As :func:`conjugate_gradients`."""
        if self._elimination is not None:
            right = right.copy()
            self._elimination.share(right)
        vectors = self._direction.array, self._product.array
        return conjugate_gradients(
            self._comm, vectors, self._multiply, self._precondition, right, start, tolerance, most
        )  # fmt: skip

    def _apply(self, x: Any, y: Any) -> None:
        self._a.multiply(x, y)
        if self._elimination is not None:
            self._elimination.share(y.array[: self._n])
            self._elimination.release(x.array[: self._n], y.array[: self._n], self._walls)

    def _multiply(self) -> None:
        self._apply(self._direction, self._product)
        kernels("double")("clear", len(self._fixed), self._fixed, self._product.array)

    def _precondition(self, residual: Floats, size: float) -> NDArray[np.float32]:
        """B r/|r|: smooth, correct on degree 1, smooth."""
        n, run, r, z = self._n, self._run, self._rest, self._z
        d, w = self._step, self._image
        (_, first), *others = self._steps
        run("enter", n, 1 / size, first, self._inverse, residual, r, d.array, z)
        for a, b in others:
            self._apply(d, w)
            run("smooth", n, a, b, self._inverse, w.array, r, d.array, z)
        self._apply(d, w)
        self._correct(r, w, d, z)
        for a, b in self._steps:
            self._apply(d, w)
            run("smooth", n, a, b, self._inverse, w.array, r, d.array, z)
        return z

    def _correct(self, r: NDArray[np.float32], w: Any, d: Any, z: NDArray[np.float32]) -> None:
        """R ← r − w; d ← P B₁ Pᵀr; z ← z + d."""
        below, count = self._below, self._parents.shape[1]
        below.array[:] = 0.0
        self._run("lower", self._n, count, self._parents, self._inverse, r, w.array, below.array)
        below.scatter_reverse(dolfinx.la.InsertMode.add)
        self._run("clear", len(self._coarse.fixed), self._coarse.fixed, below.array)
        owned = below.index_map.size_local
        below.array[:owned] = self._coarse.correct(below.array[:owned])
        below.scatter_forward()
        self._run("raise", self._n, count, self._parents, self._inverse, below.array, d.array, z)
