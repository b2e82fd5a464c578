"""``fem-spall doctor``: whether this machine has what a run needs; each failure names its cure.

Every check that could crash, hang or print runs in a child process with a time limit: a
missing graphics library ends a process by a signal, a missing shared library by an exception.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fem_spall.kernels import compiler

__all__ = ["CHECKS", "Check", "Finding", "examine", "package_of"]

#: Debian package of each shared library that the wheels of gmsh and VTK expect of the system.
PACKAGES = {
    "libGLU.so.1": "libglu1-mesa",
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
    "libXft.so.2": "libxft2",
    "libXcursor.so.1": "libxcursor1",
    "libXinerama.so.1": "libxinerama1",
    "libXrender.so.1": "libxrender1",
    "libXfixes.so.3": "libxfixes3",
    "libXext.so.6": "libxext6",
    "libX11.so.6": "libx11-6",
    "libSM.so.6": "libsm6",
    "libICE.so.6": "libice6",
    "libfontconfig.so.1": "libfontconfig1",
    "libfreetype.so.6": "libfreetype6",
    "libgomp.so.1": "libgomp1",
    "libgfortran.so.5": "libgfortran5",
}
DISK, MEMORY = 2e9, 4e9  # bytes: a result folder of a million cells; a P2 solve of half a million cells


class Problem(Exception):
    """A check failed: what is wrong, and the cure."""

    def __init__(self, text: str, cure: str) -> None:
        super().__init__(text, cure)
        self.text = text
        self.cure = cure


@dataclass(frozen=True)
class Check:
    """One thing to look at; ``essential`` unless runs do without it."""

    name: str
    probe: Callable[[], str]
    essential: bool = True


@dataclass(frozen=True)
class Finding:
    """What a check found: ``ok``, ``warning`` or ``FAILED``, and a sentence."""

    name: str
    verdict: str
    text: str


def examine() -> Iterator[Finding]:
    """Carry out every check, one after the other."""
    for check in CHECKS:
        try:
            yield Finding(check.name, "ok", check.probe())
        except Problem as problem:
            verdict = "FAILED" if check.essential else "warning"
            yield Finding(check.name, verdict, f"{problem.text}. {problem.cure}")


def _child(code: str, cure: str, *arguments: str, seconds: float = 60, launcher: tuple[str, ...] = ()) -> str:
    """Output of a Python child process; Problem with ``cure`` where it fails."""
    # What an MPI launcher left in the environment would make every child believe it is a rank.
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PMI", "HYDI", "HYDRA_", "OMPI_"))}
    try:
        done = subprocess.run(
            [*launcher, sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=seconds,
            check=False, stdin=subprocess.DEVNULL, env=inherited,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise Problem(f"gave no answer within {seconds:.0f} s", cure) from None
    except OSError as error:
        raise Problem(f"cannot be started ({error.strerror})", cure) from None
    if done.returncode < 0:
        raise Problem(f"ended by signal {-done.returncode}", cure)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise Problem(f"says: {said[:200]}", cure_of(said, cure))
    return done.stdout.strip()


def package_of(library: str) -> str | None:
    """Debian package of a shared library, None if it is not known here."""
    return PACKAGES.get(library)


def cure_of(said: str, otherwise: str) -> str:
    """What to do about a message of the dynamic linker."""
    match = re.search(r"(lib[\w+-]+\.so[.\d]*): cannot open shared object", said)
    if match is None:
        return otherwise
    package = package_of(match[1])
    return f"Install {package or f'the package that holds {match[1]}'} (Debian: apt-get install {package or '...'})"


def _python() -> str:
    version = ".".join(map(str, sys.version_info[:3]))
    if not (3, 12) <= sys.version_info[:2] < (3, 14):
        raise Problem(f"Python {version}", "Use Python 3.12 or 3.13")
    return f"{version} on {os.uname().sysname} {os.uname().machine}"


def _compiler() -> str:
    """Variational forms are compiled at run time, so a compiler that also links is needed."""
    name = compiler()
    cure = "Install a C compiler (Debian: apt-get install gcc libc6-dev), or set CC"
    if name is None:
        raise Problem("no C compiler found", cure)
    with tempfile.TemporaryDirectory(prefix="fem-spall-") as folder:
        source = Path(folder) / "probe.c"
        source.write_text("#include <math.h>\n#include <stdlib.h>\ndouble probe(double x) { return sqrt(fabs(x)); }\n")
        command = [*name.split(), "-shared", "-fPIC", "-O2", str(source), "-o", str(source.with_suffix(".so")), "-lm"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Problem(f"{name} does not run ({type(error).__name__})", cure) from None
        if done.returncode or not source.with_suffix(".so").exists():
            said = (done.stderr.strip().splitlines() or ["nothing"])[0]
            raise Problem(f"{name} cannot compile and link three lines: {said[:160]}", cure)
    return f"{shutil.which(name.split()[0])} compiles and links"


def _mpi() -> str:
    launcher = Path(sys.executable).with_name("mpiexec")
    if not launcher.exists():
        raise Problem("no mpiexec beside the interpreter", "Install the package again into this environment")
    code = "from mpi4py import MPI; c = MPI.COMM_WORLD; n = c.allreduce(1); c.rank or print(n)"
    cure = "Unset MPI variables of other launchers; without it, --ranks stays at 1"
    said = _child(code, cure, seconds=30, launcher=(str(launcher), "-n", "2"))
    if said != "2":
        raise Problem(f"two ranks counted {said or 'nothing'}", cure)
    library = _child("from mpi4py import MPI; print(MPI.Get_library_version().splitlines()[0])", cure)
    return f"two ranks start; {' '.join(library.split())[:60]}"


def _solver() -> str:
    code = (
        "from mpi4py import MPI; import dolfinx, petsc4py; from petsc4py import PETSc; "
        "print('dolfinx', dolfinx.__version__, 'PETSc', '.'.join(map(str, PETSc.Sys.getVersion())))"
    )
    return _child(code, "Install the package again: the wheel dolfinx-solver-real is for Linux on x86-64")


def _mesher() -> str:
    code = "import gmsh; gmsh.initialize(); print('gmsh', gmsh.option.getString('General.Version')); gmsh.finalize()"
    return _child(code, "Install the shared libraries that gmsh's wheel expects (Debian: apt-get install libglu1-mesa)")


def _surfaces() -> str:
    code = (
        "import mmgpy, manifold3d; from importlib.metadata import version as v; "
        "m = manifold3d.Manifold.cube((1, 1, 1)); assert abs(m.volume() - 1) < 1e-12; "
        "print('manifold3d', v('manifold3d'), 'mmgpy', v('mmgpy'))"
    )
    return _child(code, "Install the package again into this environment")


LAPLACE = """
from mpi4py import MPI
import sys, numpy as np, dolfinx, ufl
from dolfinx import fem, mesh
from dolfinx.fem.petsc import LinearProblem
box = mesh.create_box(MPI.COMM_SELF, [[0, 0, 0], [1, 1, 1]], [3, 3, 3])
V = fem.functionspace(box, ('Lagrange', 1))
low = fem.locate_dofs_geometrical(V, lambda x: x[2] < 1e-12)
high = fem.locate_dofs_geometrical(V, lambda x: x[2] > 1 - 1e-12)
bcs = [fem.dirichletbc(0.0, low, V), fem.dirichletbc(0.05, high, V)]
u, v = ufl.TrialFunction(V), ufl.TestFunction(V)
a, L = ufl.inner(ufl.grad(u), ufl.grad(v)) * ufl.dx, fem.Constant(box, 0.0) * v * ufl.dx
options = {'ksp_type': 'cg', 'pc_type': 'gamg', 'ksp_rtol': 1e-13}
forms = {'cache_dir': sys.argv[1]}
phi = LinearProblem(a, L, bcs=bcs, petsc_options=options, petsc_options_prefix='doctor_', jit_options=forms).solve()
exact = 0.05 * V.tabulate_dof_coordinates()[:, 2]
print(np.abs(phi.x.array - exact).max() / 0.05)
"""


def _laplace() -> str:
    """Parallel plates: the potential is linear, which degree 1 represents exactly."""
    cure = "If compiler and solver are ok above, report it"
    with tempfile.TemporaryDirectory(prefix="fem-spall-") as forms:  # empty, so that the compiler has its part
        said = _child(LAPLACE, cure, forms, seconds=180)
    error = float(said.splitlines()[-1])
    if not error < 1e-10:
        raise Problem(f"parallel plates are off by {error:.1e}", "Do not trust results of this machine; reinstall")
    return f"parallel plates against the exact potential: off by {error:.1e}"


def _pictures() -> str:
    """VTK without GL ends the process by signal 11, hence the child."""
    code = (
        "import pyvista; p = pyvista.Plotter(off_screen=True, window_size=(64, 64)); p.add_mesh(pyvista.Sphere()); "
        "image = p.screenshot(return_img=True); assert image.std() > 1, 'the picture is blank'; "
        "print('pyvista', pyvista.__version__, 'draws off screen')"
    )
    cure = (
        "Install GL (Debian: apt-get install libgl1 libegl1 libxrender1); runs work without it, pictures are left out"
    )
    return _child(code, cure, seconds=90)


def _disk() -> str:
    free = shutil.disk_usage(Path.cwd()).free
    if free < DISK:
        raise Problem(
            f"{free / 1e9:.1f} GB free here", f"Make room: a run of a million cells writes {DISK / 1e9:.0f} GB"
        )
    return f"{free / 1e9:.0f} GB free here"


def _memory() -> str:
    from fem_spall.summary import free_memory

    free = free_memory()
    if free is None:
        return "not told by this system"
    if free < MEMORY:
        raise Problem(f"{free / 1e9:.1f} GB free", f"Close programs: half a million cells need {MEMORY / 1e9:.0f} GB")
    return f"{free / 1e9:.0f} GB free, {os.cpu_count()} processors"


def _cache_folder() -> Path:
    """Where :mod:`fem_spall.fenics` keeps compiled forms; that module itself needs what is being checked here."""
    import platformdirs

    return Path(os.environ.get("FEM_SPALL_CACHE") or platformdirs.user_cache_dir("fem-spall"))


def _cache() -> str:
    """Compiled forms are kept between runs."""
    folder = _cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        cure = "Make it writable, or set FEM_SPALL_CACHE to a folder that is"
        raise Problem(f"{folder} cannot be written ({error.strerror})", cure) from None
    return str(folder)


CHECKS = (
    Check("Python", _python),
    Check("C compiler", _compiler),
    Check("MPI", _mpi),
    Check("dolfinx, PETSc", _solver),
    Check("gmsh", _mesher),
    Check("surface tools", _surfaces),
    Check("form cache", _cache),
    Check("test problem", _laplace),
    Check("pictures", _pictures, essential=False),
    Check("disk", _disk),
    Check("memory", _memory, essential=False),
)
