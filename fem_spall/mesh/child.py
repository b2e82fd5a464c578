"""Run the meshing in a child process with limits: meshers crash, hang and eat memory."""

from __future__ import annotations

import json
import resource
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np

from fem_spall.case import Case
from fem_spall.case_file import input_hashes
from fem_spall.crack import CrackSurface
from fem_spall.errors import LimitError, MeshingError, SetupError
from fem_spall.mesh.arrays import MeshArrays
from fem_spall.mesh.attempts import Trail
from fem_spall.mesh.focus import Focus
from fem_spall.mesh.mesher import Job, Mesher, clean_environment
from fem_spall.mesh.sizes import SizeField
from fem_spall.mesh.worker import read_failure
from fem_spall.reuse import key_of, reused

__all__ = ["clean_environment", "mesh_in_child"]

#: Ends of a process that are faults of the mesher at one attempt; who is killed may have used up the memory.
CRASHES = {-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGFPE, -signal.SIGBUS, -signal.SIGILL}


def mesh_in_child(
    case: Case,
    surfaces: dict[str, CrackSurface],
    folder: Path,
    foci: list[Focus] | None = None,
    coarse: MeshArrays | None = None,
    sizes: SizeField | None = None,
) -> MeshArrays:
    """Return the mesh of a case, made in a child process within the case's time and memory limits.

    Parameters
    ----------
    case : Case
        The case.
    surfaces : dict
        Surface by name of the cracks that are not of closed form.
    folder : Path
        Empty scratch folder.
    foci : list of Focus, optional
        Places where the mesh must be finer than the case says.
    coarse : MeshArrays, optional
        A straight-sided mesh whose boundary is kept and refined at the foci.
    sizes : SizeField, optional
        Sizes to keep below.

    Raises
    ------
    LimitError
        If the child ran out of time or memory; it has been killed.
    SpallError
        Whatever the child refused; MeshingError if it died; SetupError if it lacks a library.
    """
    job = {
        "case": _shaping(case),
        "surfaces": sorted(surfaces),
        "refine": coarse is not None,
        "sizes": sizes is not None,
        "foci": [{"centres": f.centres.tolist(), "radius": f.radius, "size": f.size} for f in foci or []],
    }

    def key() -> str:
        arrays = [array for name in sorted(surfaces) for array in (surfaces[name].vertices, surfaces[name].faces)]
        if coarse is not None:
            arrays += coarse.pack().values()
        if sizes is not None:
            arrays += [sizes.points, sizes.cells, sizes.sizes]
        files = [hashed for region in case.regions for hashed in input_hashes(region)]
        return key_of(job, files, [surfaces[name].sheet for name in sorted(surfaces)], *arrays)

    def make() -> MeshArrays:
        return _mesh(case, job, surfaces, folder, coarse, sizes)

    return reused("mesh", key, make, MeshArrays.pack, MeshArrays.unpack, case.mesh.time_limit)


def _shaping(case: Case) -> dict[str, Any]:
    """What of a case may shape its mesh.

    The mesher is given nothing else, so that cases which agree in it can share a mesh.
    """
    plain = case.model_dump(mode="json")
    for key in ("walls", "metrics", "accuracy", "filling", "output"):
        del plain[key]
    plain["name"] = "mesh"
    conductivity = plain["electrolyte"]["conductivity"]
    if conductivity["kind"] == "parts":  # the mesh follows their surfaces
        for part in (conductivity, *conductivity["parts"]):
            part["value" if part is conductivity else "conductivity"] = "1 S/m"
        conductivity["activation"] = None
    elif conductivity["kind"] != "anisotropic":
        plain["electrolyte"]["conductivity"] = {"kind": "scalar", "value": "1 S/m"}
    plain["solver"] = {"degree": case.solver.degree}
    plain["electrodes"] = {
        "plating": {"face": case.electrodes.plating.face},
        "counter": {"face": case.electrodes.counter.face, "potential": "1 V"},
    }
    for crack in plain["cracks"]:
        crack.pop("interface", None)
    for region in plain["regions"]:
        region["interface"] = {"kind": "no_flux"}
    for key in ("time_limit", "memory_limit", "refine_tips", "max_cells"):
        del plain["mesh"][key]
    return plain


def _mesh(
    case: Case, job: dict[str, Any], surfaces: dict[str, CrackSurface], folder: Path, coarse: MeshArrays | None,
    sizes: SizeField | None,
) -> MeshArrays:  # fmt: skip
    """The mesh of a job, made in a child process that is watched."""
    if coarse is not None:
        coarse.save(folder / "coarse.npz")
    if sizes is not None:
        sizes.save(folder / "sizes.npz")
    (folder / "job.json").write_text(json.dumps(job))
    for name, surface in surfaces.items():
        np.savez(
            folder / f"surface_{name}.npz", vertices=surface.vertices, faces=surface.faces, sheet=surface.sheet,
            thin=surface.thin,
        )  # fmt: skip
    end = time.monotonic() + case.mesh.time_limit
    while True:
        code, said = _work(folder, end, case)
        if (folder / "failure.json").exists():
            raise read_failure(folder / "failure.json")
        if code == 0 and (folder / "mesh.npz").exists():
            return MeshArrays.load(folder / "mesh.npz")
        if "cannot open shared object file" in said:
            raise SetupError(
                10, "mesher", f"a system library is missing: {said}", "`fem-spall doctor` names its package"
            )
        how = f"died with {f'signal {-code}' if code < 0 else f'exit code {code}'}: {said}"
        trail = Trail(folder)
        if code not in CRASHES or trail.begun is None:
            raise MeshingError(
                35, "mesher", f"the meshing process {how}",
                "change mesh.size_min or mend the surface; `fem-spall doctor` checks the libraries",
            )  # fmt: skip
        trail.fail(f"mesher: {how}")  # and another process takes the next attempt


def _work(folder: Path, end: float, case: Case) -> tuple[int, str]:
    """Exit code and last words of one process at the job of a folder, which ends at a time at the latest."""
    mesher = Mesher.of_this_thread()
    try:
        job = mesher.begin(folder)
        code = _wait(job, end, case)
    except BaseException:
        mesher.end()
        raise
    return code, job.last_words()


def _wait(job: Job, end: float, case: Case) -> int:
    """Wait for a job, return its exit code; raise at a time, or when it uses more memory than the case allows."""
    page, memory = resource.getpagesize(), case.mesh.memory_limit
    while (code := job.wait(0.05)) is None:
        if time.monotonic() > end:
            raise LimitError(
                1,
                "mesh.time_limit",
                f"meshing took longer than {case.mesh.time_limit:g} s",
                "raise mesh.time_limit or mesh.size_min",
            )
        try:
            used = int(Path(f"/proc/{job.pid}/statm").read_text().split()[1]) * page
        except (OSError, IndexError, ValueError):
            used = 0
        if used > memory:
            raise LimitError(
                2, "mesh.memory_limit", f"meshing took more than {memory / 1e9:.3g} GB",
                "raise mesh.memory_limit or mesh.size_min",
            )  # fmt: skip
    return code
