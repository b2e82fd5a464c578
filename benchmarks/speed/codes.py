"""One code on one mesh: ``python codes.py NAME MESH.npz DEGREE`` prints its times, memory and current as JSON.

Every code gets the same tetrahedra as arrays, solves ∇²φ = 0 with φ = 0 on the lithium and 1 V on the counter
electrode, and stops at a relative residual of about 1e-8; the true one over the free unknowns is printed.  The current
is the energy φᵀAφ.  Times are CPU seconds of the process after the mesh is in memory; compiled forms are in the cache
(run twice).
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np  # noqa: E402

TOLERANCE = 1e-8


class Clock:
    """CPU seconds by phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.process_time()

    def __call__(self, phase: str) -> None:
        now = time.process_time()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._last
        self._last = now


def arrays(path: str) -> tuple[Any, Any, Any, Any]:
    """Points, tetrahedra of positive volume, and triangles at 0 V and at 1 V."""
    with np.load(path) as data:
        meta = json.loads(data["meta"].tobytes().decode())
        points, cells, facets, tags = data["points"], data["cells"][:, :4], data["facets"][:, :3], data["tags"]
    edges = points[cells[:, 1:]] - points[cells[:, :1]]
    negative = np.linalg.det(edges) < 0
    cells[negative] = cells[negative][:, [0, 1, 3, 2]]
    one = tags == meta["names"]["-z"]
    zero = np.isin(tags, [tag for name, tag in meta["names"].items() if name == "+z" or name[0] not in "+-"])
    return points, cells, facets[zero], facets[one]


def fem_spall(path: str, degree: int) -> dict[str, Any]:
    from fem_spall.case import Case
    from fem_spall.conduction import formulate
    from fem_spall.fenics import MPI
    from fem_spall.mesh.arrays import MeshArrays
    from fem_spall.mesh.tagged import distribute
    from fem_spall.solve import solve
    from fem_spall.system import MARGIN

    mesh_arrays = MeshArrays.load(Path(path))
    crack = [n for n in mesh_arrays.names if n[0] not in "+-"]
    size = np.ptp(mesh_arrays.points, axis=0) * mesh_arrays.unit * 1e6
    case = Case.model_validate({
        "version": 1, "name": "speed",
        "electrolyte": {"size": [f"{s!r} um" for s in size.tolist()], "conductivity": "1 S/m"},
        "electrodes": {"plating": {"face": "+z"}, "counter": {"face": "-z", "potential": "1 V"}},
        "mesh": {"size_min": "1 um", "size_max": "2 um"},
        "cracks": [{"name": n, "kind": "surface_file", "file": "none.stl", "unit": "um"} for n in crack],
    })  # fmt: skip
    mesh = distribute(mesh_arrays, MPI.COMM_SELF)
    clock = Clock()
    first = solve(formulate(case, mesh, 1), TOLERANCE / MARGIN)
    clock("degree 1")
    solution = first
    if degree == 2:
        problem = formulate(case, mesh, 2)
        clock("space")
        solution = solve(problem, TOLERANCE / MARGIN, first)
        clock("degree 2")
    found = {
        "current": solution.bulk_power / (solution.problem.current_scale), "iterations": solution.report.iterations,
        "residual": solution.report.true_residual, "unknowns": solution.report.dofs, "seconds": clock.seconds,
    }  # fmt: skip
    if degree == 2:
        found |= per_iteration(solution)
    return found


def per_iteration(solution: Any) -> dict[str, Any]:
    """Seconds and least bytes of one iteration of degree 2, the coarse level included."""
    system = solution.system
    a, solver = system.stiffness, system._solver
    rest = np.random.default_rng(0).normal(size=a.owned)
    begin, (_, count) = time.process_time(), solver.solve(rest, None, 0.0, 10)
    seconds = (time.process_time() - begin) / count
    n, (at, near, beyond) = a.owned, a._fans.cells
    index = at.nbytes + a._fans.lengths.nbytes + a._fans.ends.nbytes + a._fans.packs.nbytes
    products = 5 * (index + near.nbytes) + beyond.nbytes + n * (24 + 4 * 12)  # one in double, four in single
    updates = n * (104 + 24 + 3 * 32 + 2 * 24)  # of CG; scaling and first step, three more; to and from degree 1
    cycle = 0  # in single precision with 32-bit columns: six passes over a level's matrix, one each way between levels
    for level in system.coarse._solver._cycle._levels:
        cycle += 8 * (6 * level.matrix.entries + level.up.entries + level.down.entries) + 6 * 32 * level.matrix.n
    return {"seconds_per_iteration": seconds, "bytes_per_iteration": products + updates + cycle}


def dolfinx(path: str, degree: int) -> dict[str, Any]:
    from fem_spall.fenics import MPI, PETSc, ufl
    from fem_spall.fenics import dolfinx as dfx
    from fem_spall.mesh.arrays import MeshArrays
    from fem_spall.mesh.tagged import distribute

    mesh_arrays = MeshArrays.load(Path(path))
    mesh = distribute(mesh_arrays, MPI.COMM_SELF)
    clock = Clock()
    space = dfx.fem.functionspace(mesh.mesh, ("Lagrange", degree))
    u, v = ufl.TrialFunction(space), ufl.TestFunction(space)
    conditions = []
    for name in mesh.names:
        if name in ("+z", "-z") or name[0] not in "+-":
            dofs = dfx.fem.locate_dofs_topological(space, 2, mesh.facets(name))
            conditions.append(dfx.fem.dirichletbc(float(name == "-z"), dofs, space))
    clock("space")
    right = dfx.fem.Constant(mesh.mesh, 0.0) * v * ufl.dx
    problem = dfx.fem.petsc.LinearProblem(
        ufl.inner(ufl.grad(u), ufl.grad(v)) * ufl.dx, right, bcs=conditions, petsc_options_prefix="plain_",
        petsc_options={"ksp_type": "cg", "pc_type": "gamg", "ksp_rtol": TOLERANCE, "ksp_norm_type": "unpreconditioned"},
    )  # fmt: skip
    phi = problem.solve()
    clock("assemble and solve")
    energy = dfx.fem.assemble_scalar(dfx.fem.form(ufl.inner(ufl.grad(phi), ufl.grad(phi)) * ufl.dx))
    clock("current")
    rest = problem.b.duplicate()
    problem.A.mult(phi.x.petsc_vec, rest)
    rest.axpy(-1.0, problem.b)
    assert isinstance(rest, PETSc.Vec)
    return {
        "current": energy, "unknowns": space.dofmap.index_map.size_global, "seconds": clock.seconds,
        "iterations": problem.solver.getIterationNumber(), "residual": rest.norm() / problem.b.norm(),
    }  # fmt: skip


def ngsolve(path: str, degree: int, kind: str = "local") -> dict[str, Any]:
    from netgen.meshing import FaceDescriptor
    from netgen.meshing import Mesh as NetgenMesh
    from ngsolve import H1, BilinearForm, GridFunction, InnerProduct, Mesh, Preconditioner, dx, grad, solvers

    points, cells, zero, one = arrays(path)
    made = NetgenMesh(dim=3)
    made.AddPoints(points)
    made.AddElements(dim=3, index=1, data=cells.astype(np.int32), base=0)
    for number, (name, facets) in enumerate({"zero": zero, "one": one}.items(), 1):
        made.Add(FaceDescriptor(surfnr=number, domin=1, bc=number))
        made.SetBCName(number - 1, name)
        made.AddElements(dim=2, index=number, data=facets.astype(np.int32), base=0)
    mesh = Mesh(made)
    clock = Clock()
    space = H1(mesh, order=degree, dirichlet="zero|one")
    u, v = space.TnT()
    clock("space")
    a = BilinearForm(grad(u) * grad(v) * dx, symmetric=True)
    options = {} if kind == "local" else {"coarsetype": "h1amg"}
    c = Preconditioner(a, kind, **options)
    a.Assemble()
    clock("assemble and set up")
    phi = GridFunction(space)
    phi.Set(1.0, definedon=mesh.Boundaries("one"))
    rest = phi.vec.CreateVector()
    rest.data = -(a.mat * phi.vec)
    free = np.array(space.FreeDofs())
    scale = np.linalg.norm(rest.FV().NumPy()[free])
    cg = solvers.CGSolver(a.mat, c.mat, tol=TOLERANCE, maxiter=2000)
    phi.vec.data += cg * rest
    clock("solve")
    rest.data = a.mat * phi.vec
    energy = InnerProduct(rest, phi.vec)
    clock("current")
    true = np.linalg.norm(rest.FV().NumPy()[free]) / scale
    count = getattr(cg, "iterations", 0)
    return {"current": energy, "unknowns": space.ndof, "iterations": count, "residual": true, "seconds": clock.seconds}


def scikit_fem(path: str, degree: int) -> dict[str, Any]:
    import pyamg
    from skfem import Basis, ElementTetP1, ElementTetP2, MeshTet, condense
    from skfem.models.poisson import laplace

    points, cells, zero, one = arrays(path)
    mesh = MeshTet(np.ascontiguousarray(points.T), np.ascontiguousarray(cells.T))
    corners = np.sort(mesh.facets.T, axis=1)
    keys = {tuple(row): i for i, row in enumerate(corners.tolist())}
    found = [np.array([keys[tuple(row)] for row in np.sort(f, axis=1).tolist()]) for f in (zero, one)]
    clock = Clock()
    basis = Basis(mesh, ElementTetP2() if degree == 2 else ElementTetP1())
    low, high = (basis.get_dofs(facets).all() for facets in found)
    clock("space")
    matrix = laplace.assemble(basis)
    clock("assemble")
    x = basis.zeros()
    x[high] = 1.0
    inner, right, x, free = condense(matrix, x=x, D=np.union1d(low, high))
    clock("conditions")
    ml = pyamg.smoothed_aggregation_solver(inner)
    clock("set up")
    residuals: list[float] = []
    x[free] = ml.solve(right, tol=TOLERANCE, accel="cg", residuals=residuals)
    clock("solve")
    energy = float(x @ (matrix @ x))
    clock("current")
    true = float(np.linalg.norm(inner @ x[free] - right) / np.linalg.norm(right))
    return {
        "current": energy, "unknowns": len(x), "iterations": len(residuals) - 1, "residual": true,
        "seconds": clock.seconds,
    }  # fmt: skip


def pymfem(path: str, degree: int) -> dict[str, Any]:
    import mfem.ser as mfem

    points, cells, zero, one = arrays(path)
    mesh = mfem.Mesh(3, len(points), len(cells), len(zero) + len(one), 3)
    for point in points.tolist():
        mesh.AddVertex(*point)
    for cell in cells.tolist():
        mesh.AddTet(cell, 1)
    for attribute, facets in ((1, zero), (2, one)):
        for facet in facets.tolist():
            mesh.AddBdrTriangle(facet, attribute)
    mesh.FinalizeTetMesh(1, 0, True)
    clock = Clock()
    space = mfem.FiniteElementSpace(mesh, mfem.H1_FECollection(degree, 3))
    clock("space")
    a = mfem.BilinearForm(space)
    a.AddDomainIntegrator(mfem.DiffusionIntegrator(mfem.ConstantCoefficient(1.0)))
    a.Assemble()
    a.Finalize()
    clock("assemble")
    fixed = mfem.intArray()
    space.GetEssentialTrueDofs(mfem.intArray([1, 1]), fixed)
    phi, load = mfem.GridFunction(space), mfem.LinearForm(space)
    phi.Assign(0.0)
    phi.ProjectBdrCoefficient(mfem.ConstantCoefficient(1.0), mfem.intArray([0, 1]))
    load.Assign(0.0)
    matrix, x, b = mfem.OperatorPtr(), mfem.Vector(), mfem.Vector()
    a.FormLinearSystem(fixed, phi, load, matrix, x, b)
    inner = mfem.OperatorHandle2SparseMatrix(matrix)
    clock("conditions")
    free = np.ones(space.GetTrueVSize(), dtype=bool)
    free[np.array(fixed.ToList())] = False
    scale = np.linalg.norm(b.GetDataArray()[free])
    smoother = mfem.GSSmoother(inner)
    cg = mfem.CGSolver()
    cg.SetRelTol(TOLERANCE)
    cg.SetMaxIter(5000)
    cg.SetOperator(inner)
    cg.SetPreconditioner(smoother)
    cg.Mult(b, x)
    clock("solve")
    a.RecoverFEMSolution(x, load, phi)
    y = mfem.Vector(phi.Size())
    a.FullMult(phi, y)
    energy = float(y.GetDataArray() @ phi.GetDataArray())
    clock("current")
    true = float(np.linalg.norm(y.GetDataArray()[free]) / scale)
    return {
        "current": energy, "unknowns": space.GetTrueVSize(), "iterations": cg.GetNumIterations(), "residual": true,
        "seconds": clock.seconds,
    }  # fmt: skip


CODES: dict[str, Callable[[str, int], dict[str, Any]]] = {
    "fem-spall": fem_spall,
    "dolfinx, CG and default GAMG": dolfinx,
    "NGSolve, CG and local": ngsolve,
    "NGSolve, CG and multigrid with h1amg": lambda path, degree: ngsolve(path, degree, "multigrid"),
    "NGSolve, CG and BDDC with h1amg": lambda path, degree: ngsolve(path, degree, "bddc"),
    "scikit-fem, CG and PyAMG": scikit_fem,
    "PyMFEM, CG and Gauss-Seidel": pymfem,
}

if __name__ == "__main__":
    result = CODES[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
    status = Path("/proc/self/status").read_text()  # getrusage would count what the parent had before it started this
    peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024
    print(json.dumps(result | {"peak_bytes": peak, "total": sum(result["seconds"].values())}))
