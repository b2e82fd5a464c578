"""The only door to DOLFINx, UFL and PETSc: the right import order, no outside options, a cache of our own.

``mpi4py.MPI`` must be imported before dolfinx and petsc4py, or the MPI library is not found.  PETSc's
option files and variables, and dolfinx's option files, are shut out: they must not change a result.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.pop("PETSC_OPTIONS", None)

from mpi4py import MPI  # noqa: I001  (must come first)
import petsc4py

# PETSc would take the signals that ask to stop for itself and abort.
petsc4py.init(["fem-spall", "-skip_petscrc", "-no_signal_handler"])

import basix.ufl  # noqa: E402
import dolfinx  # noqa: E402
import dolfinx.fem  # noqa: E402
import numpy as np  # noqa: E402
import ufl  # noqa: E402
from ffcx.options import FFCX_DEFAULT_OPTIONS  # noqa: E402
from petsc4py import PETSc  # noqa: E402

from fem_spall.kernels import cache_folder  # noqa: E402

__all__ = [
    "MPI", "PETSc", "assembled_matrix", "basix", "compile_expression", "compile_form", "dolfinx", "form_cache",
    "integrate", "ufl",
]  # fmt: skip

#: Cells of one form when a functional is assembled.
CELLS_AT_ONCE = 1 << 18


def form_cache() -> Path:
    """Folder of the compiled forms, made if absent; ``FEM_SPALL_CACHE`` moves it."""
    return cache_folder(f"forms-{dolfinx.__version__}")


def _clear_stale() -> None:
    """Remove sources that a killed compilation left behind; others would wait for it for ever."""
    for source in form_cache().glob("*.c"):
        finished = source.with_suffix(".c.cached").exists()
        try:
            if not finished and time.time() - source.stat().st_mtime > 120:
                source.unlink()
        except OSError:
            continue  # another process was faster


_cleared = False


def _jit_options() -> dict[str, Any]:
    """Options of the form compiler, all given so that no option file of dolfinx's counts."""
    global _cleared
    if not _cleared:
        if MPI.COMM_WORLD.rank == 0:
            _clear_stale()
        _cleared = True
    return {
        "cache_dir": str(form_cache()),
        "cffi_extra_compile_args": ["-O2", "-g0"],
        "cffi_debug": False,
        "cffi_verbose": False,
        "cffi_libraries": None,
        "timeout": 120,
    }


def _compiler_options() -> dict[str, Any]:
    """Options of the form generator, all given for the same reason."""
    return {name: default for name, (_, default, _, _) in FFCX_DEFAULT_OPTIONS.items()} | {"scalar_type": "float64"}


def compile_form(form: Any) -> Any:
    """Compiled form of a UFL form."""
    return dolfinx.fem.form(form, form_compiler_options=_compiler_options(), jit_options=_jit_options())


def compile_expression(expression: Any, points: Any) -> Any:
    """Compiled pointwise expression at reference points (p, 3)."""
    return dolfinx.fem.Expression(
        expression, points, form_compiler_options=_compiler_options(), jit_options=_jit_options()
    )


def assembled_matrix(form: Any, conditions: list[Any]) -> Any:
    """PETSc matrix of a bilinear form, with unit rows where the Dirichlet conditions hold."""
    from dolfinx.fem.petsc import assemble_matrix  # with a parser of C

    matrix = assemble_matrix(compile_form(form), bcs=conditions)
    matrix.assemble()
    return matrix


def integrate(form: Any, comm: Any) -> float:
    """Value of a functional over the whole mesh: the one place that assembles a scalar and sums over ranks."""
    local = sum(dolfinx.fem.assemble_scalar(part) for part in _parts(form, comm))
    return float(comm.allreduce(local, op=MPI.SUM))


def _parts(form: Any, comm: Any) -> Iterator[Any]:
    """A functional as compiled forms over so many cells each: assembly gathers coefficients of all cells of a form."""
    if {integral.integral_type() for integral in form.integrals()} != {"cell"}:
        yield compile_form(form)
        return
    numbered = ufl.Form([integral.reconstruct(subdomain_id=0) for integral in form.integrals()])
    compiled = dolfinx.fem.compile_form(comm, numbered, _compiler_options(), _jit_options())
    mesh = dolfinx.mesh.Mesh(form.ufl_domain().ufl_cargo(), form.ufl_domain())
    given = {each: each for each in (*form.coefficients(), *form.constants())}
    count = mesh.topology.index_map(mesh.topology.dim).size_local
    for first in range(0, count, CELLS_AT_ONCE):
        cells = np.arange(first, min(first + CELLS_AT_ONCE, count), dtype=np.int32)
        yield dolfinx.fem.create_form(compiled, [], mesh, {dolfinx.fem.IntegralType.cell: [(0, cells)]}, given, given)
