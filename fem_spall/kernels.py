"""The compiled kernels of ``kernels.c`` and ``recovery.c``: built once for a machine, kept in the user's cache.

They are called with NumPy arrays.  The C compiler is the one that the variational forms need anyway.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import platformdirs
from numpy.typing import NDArray

from fem_spall.errors import SetupError

__all__ = ["LANES", "LONGEST", "PACK", "Kernels", "aligned", "cache_folder", "compiler", "kernels"]

#: What they are compiled from, together.
SOURCES = ("kernels.c", "recovery.c")
#: Cells of one batch, W in ``kernels.c``.
LANES = 8
#: Cells of the longest fan.
LONGEST = 8
#: Unknowns that are asked for at a time.
PACK = 16
#: Bytes of a line of the cache.
LINE = 64
#: Without -ffast-math: sums may be reordered where the source says so, and nowhere else.
FLAGS = ("-std=gnu11", "-O3", "-march=native", "-fopenmp-simd", "-fPIC", "-shared")
#: Arguments of the kernels: i int64, R a number, D a double; r array of numbers, d of doubles, f of floats, n of int32,
#: l of int64, b of bytes.
SIGNATURES = {
    "fans": "iinrnnbbnnnnnff",
    "stiffness": "innnnffrr",
    "stored": "innrrr",
    "geometry": "iniddiDrb",
    "diagonal": "innffr",
    "vertex_matrix": "iinrbnnnnnr",
    "smooth": "iRRrrrrr",
    "begin": "iRrrrr",
    "enter": "iDRrdrrr",
    "corners": "iRnrrr",
    "corner_energy": "inrr",
    "energy": "innffr",
    "parents": "innn",
    "quadratic": "iinnnnnnn",
    "facet_values": "inrrr",
    "facet_diagonal": "inrr",
    "raise": "iinrrrr",
    "lower": "iinrrrr",
    "advance": "iRrrrr",
    "products": "ifrrd",
    "dot": "irr",
    "direct": "iRfr",
    "clear": "inr",
    "slices": "innn",
    "fill": "innrnnnr",
    "times": "innnrRRrr",
    "polish": "innnrRRrrrrr",
    "outflow": "iinddnndd",
    "imbalance": "inddidd",
    "defects": "innndidddd",
    "defect_products": "idnndidddddd",
    "rasterise": "ildiiDDDld",
    "ball_sums": "idildddDDd",
    "aggregates": "innrnrn",
    "interpolation": "innrnRRinnnr",
    "product": "innrnnrinnnr",
    "apply": "innrrr",
    "transpose": "innrinnr",
}
#: Those that return a number; the others return a count, or nothing.
SUMS = ("advance", "dot", "energy", "corner_energy")
SECONDS = 120


def cache_folder(name: str) -> Path:
    """Folder of that name in the user's cache, made if absent; ``FEM_SPALL_CACHE`` moves it."""
    base = os.environ.get("FEM_SPALL_CACHE") or platformdirs.user_cache_dir("fem-spall")
    folder = Path(base) / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def compiler() -> str | None:
    """Command of the C compiler, or None if there is none."""
    return os.environ.get("CC") or next((name for name in ("cc", "gcc", "clang") if shutil.which(name)), None)


class Kernels:
    """The kernels for one floating-point type, which all arrays of numbers must have."""

    def __init__(self, real: Literal["double", "float"]) -> None:
        number, dtype = (ctypes.c_double, "float64") if real == "double" else (ctypes.c_float, "float32")
        scalars: dict[str, Any] = {"i": ctypes.c_int64, "R": number, "D": ctypes.c_double}
        arrays = {"r": dtype, "d": "float64", "f": "float32", "n": "int32", "l": "int64", "b": "uint8"}
        library = ctypes.CDLL(str(_built(real)))
        self._functions: dict[str, tuple[Any, list[Any]]] = {}
        for name, kinds in SIGNATURES.items():
            function = getattr(library, name)
            function.argtypes = [scalars.get(kind, ctypes.c_void_p) for kind in kinds]
            function.restype = ctypes.c_double if name in SUMS else ctypes.c_int64
            self._functions[name] = function, [np.dtype(arrays[kind]) if kind in arrays else None for kind in kinds]

    def __call__(self, name: str, *arguments: Any) -> float:
        """Call a kernel; arrays must be contiguous and of the type that it takes.  Returns its sum, if it makes one."""
        function, dtypes = self._functions[name]
        values = []
        for dtype, argument in zip(dtypes, arguments, strict=True):
            if dtype is None:
                values.append(argument)
                continue
            if argument.dtype != dtype or not argument.flags.c_contiguous:
                raise TypeError(f"{name} takes contiguous arrays of {dtype}; got {argument.dtype}")
            values.append(argument.__array_interface__["data"][0])
        return float(function(*values))


def aligned(size: int, dtype: Any) -> NDArray[Any]:
    """An array that begins where a line of the cache does."""
    raw = np.empty(size * np.dtype(dtype).itemsize + LINE, dtype=np.uint8)
    return raw[-raw.ctypes.data % LINE :][: raw.size - LINE].view(dtype)


@cache
def kernels(real: Literal["double", "float"]) -> Kernels:
    """Return the kernels for a type, compiled on first use.

    Raises
    ------
    SetupError
        If there is no C compiler, or it does not compile them.
    """
    return Kernels(real)


def _built(real: str) -> Path:
    """The shared library, whose name says from what, by what and for which processor it was made."""
    sources = [Path(__file__).with_name(name) for name in SOURCES]
    command = compiler()
    if command is None:
        raise SetupError(10, "compiler", "no C compiler found", "install one (Debian: apt-get install gcc libc6-dev)")
    texts = (source.read_text() for source in sources)
    made_of = "\n".join([*texts, *FLAGS, real, command, _version(command), _processor()])
    library = cache_folder("kernels") / f"{real}-{hashlib.sha256(made_of.encode()).hexdigest()[:24]}.so"
    if library.exists():
        return library
    with tempfile.TemporaryDirectory(prefix=".making-", dir=library.parent, ignore_cleanup_errors=True) as aside:
        made = Path(aside) / library.name
        flags = [*FLAGS, f"-DREAL={real}", *map(str, sources), "-o", str(made), "-lm"]
        said = None
        try:
            done = subprocess.run(
                [*command.split(), *flags], capture_output=True, text=True, timeout=SECONDS, check=False
            )
            if done.returncode or not made.exists():
                said = (done.stderr.strip().splitlines() or ["nothing"])[0]
        except (OSError, subprocess.TimeoutExpired) as error:
            said = type(error).__name__
        if said is not None:
            raise SetupError(
                11, "compiler", f"{command} must compile {' and '.join(SOURCES)}; it said {said[:160]}",
                "fem-spall doctor checks it; CC names another one",
            )  # fmt: skip
        made.replace(library)  # in one step: whoever comes at the same time finds all of it or nothing
    return library


def _version(command: str) -> str:
    try:
        done = subprocess.run([*command.split(), "--version"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.partition("\n")[0]


def _processor() -> str:
    """What the code is made for: a cache may be shared by machines whose processors differ."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return "\n".join(next((x for x in lines if x.startswith(key)), "") for key in ("model name", "flags"))
