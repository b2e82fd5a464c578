"""The meshing child process: ``python -m fem_spall.mesh.worker PARENT``, told folders of jobs on standard input.

A job reads ``job.json``, ``surface_NAME.npz`` and for a refinement ``coarse.npz`` and ``sizes.npz`` from the folder;
it writes ``mesh.npz`` or ``failure.json``.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import traceback
import warnings
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from fem_spall import errors
from fem_spall.case import Case
from fem_spall.crack import AnalyticCrack, CrackSurface
from fem_spall.errors import MeshingError, SpallError
from fem_spall.mesh.arrays import MeshArrays, length_unit
from fem_spall.mesh.attempts import Trail
from fem_spall.mesh.checks import apart_from_plating, check_mesh, check_surfaces
from fem_spall.mesh.focus import Focus, refined_boundary
from fem_spall.mesh.regions import region_areas, with_facets
from fem_spall.mesh.sides import closed_again, opened
from fem_spall.mesh.sizes import SizeField
from fem_spall.mesh.worst_cells import mend_worst_cells

__all__ = ["mesh_case", "read_failure", "refine_mesh", "serve", "write_failure"]

#: Factors on the sizes of a refinement: a few bad cells in a million go away with slightly other sizes.
NUDGES = (1.0, 0.95, 0.9)


def mesh_case(
    case: Case,
    surfaces: dict[str, CrackSurface],
    foci: list[Focus] | None = None,
    sizes: SizeField | None = None,
    trail: Trail | None = None,
) -> MeshArrays:
    """Return the checked mesh of a case.

    Parameters
    ----------
    case : Case
        The case.
    surfaces : dict
        Surface by crack name of every crack that is not of closed form.
    foci : list of Focus, optional
        Places to resolve, for cracks of closed form only; elsewhere :func:`refine_mesh` does it.
    sizes : SizeField, optional
        Sizes to keep below, likewise.
    trail : Trail, optional
        Attempts that another process has made.
    """
    shapes = tuple(crack for crack in case.cracks if isinstance(crack, AnalyticCrack))
    remesher = case.mesh.remesher
    if remesher == "auto":
        remesher = "mmg" if surfaces else "gmsh"
    if remesher == "gmsh" and surfaces:
        raise MeshingError(
            36, "mesh.remesher", "gmsh's own remeshing is for cracks of closed form; its parametrisation fails on "
            "reconstructed surfaces", "use mesh.remesher: auto or mmg",
        )  # fmt: skip
    if remesher == "gmsh" and case.mesh.mesher == "tetwild":
        raise MeshingError(
            52, "mesh.mesher", "tetwild is for surfaces; cracks of closed form are meshed by gmsh on the true surface",
            "use mesh.mesher: auto",
        )  # fmt: skip
    if remesher == "gmsh":
        return _mesh_shapes(case, shapes, foci or [], sizes)
    if shapes:
        surfaces = {**{shape.name: _triangulate(case, shape) for shape in shapes}, **surfaces}
    surfaces = {crack.name: surfaces[crack.name] for crack in case.cracks}
    from fem_spall.mesh.surface_mesh import mesh_surfaces

    return mesh_surfaces(case, surfaces, remesher, trail or Trail())


def _mesh_shapes(
    case: Case, shapes: tuple[AnalyticCrack, ...], foci: list[Focus], sizes: SizeField | None
) -> MeshArrays:
    from fem_spall.mesh.analytic_shapes import mesh_shapes

    unit = length_unit(case.electrolyte.size)
    for shape in shapes:
        opening = getattr(shape, "opening", 0.0)
        if 0 < opening < case.mesh.size_min:
            raise MeshingError(
                37, f"crack {shape.name}", f"its opening must be at least mesh.size_min; got {opening * 1e9:.3g} nm "
                f"against {case.mesh.size_min * 1e9:.3g} nm",
                "lower mesh.size_min, or take opening: 0 um, the crack without thickness",
            )  # fmt: skip
    curved = bool(shapes or case.regions) or not case.electrolyte.conductivity.uniform
    order = case.mesh.order or (2 if curved and case.solver.degree == 2 else 1)
    mesh = mesh_shapes(
        case, shapes, unit,
        size_min=case.mesh.size_min / unit, size_max=case.mesh.size_max / unit,
        grading=case.mesh.grading, algorithm=case.mesh.algorithm, order=order, foci=foci, sizes=sizes,
    )  # fmt: skip
    mesh = with_facets(mesh, case)
    box = np.array([[0.0, 0.0, 0.0], case.electrolyte.size]) / unit
    quality = check_mesh(mesh, None, case.mesh.quality_floor, check_surfaces(mesh, box))
    mesh.info.update(
        quality, mesher="gmsh", remesher="gmsh", algorithm=case.mesh.algorithm, repairs=[], box=box.tolist()
    )
    mesh.info["apart_from_plating"] = apart_from_plating(mesh, case)
    mesh.info["region_areas_m2"] = region_areas(
        case, {name: area * unit**2 for name, area in mesh.info["cad_areas"].items()}
    )
    return mesh


def refine_mesh(
    case: Case, mesh: MeshArrays, foci: list[Focus], sizes: SizeField | None = None, trail: Trail | None = None
) -> MeshArrays:
    """Return a mesh of the same straight-sided boundary, finer at the foci and where the sizes ask for it.

    For foci alone only the cells round them are made anew, if that succeeds.
    """
    insulating = mesh.info.get("insulating_sheets", [])
    mesh = closed_again(mesh, insulating)
    trail = trail or Trail()
    attempts = [(scale, False) for scale in NUDGES]
    if sizes is None:
        attempts = [(1.0, True), *attempts]
    last = trail.death()
    for scale, locally in attempts[len(trail.failures) :]:
        trail.begin(f"sizes times {scale:g}{', nearby cells only' * locally}")
        nudged = [replace(focus, size=focus.size * scale) for focus in foci]
        wanted = replace(sizes, sizes=sizes.sizes * scale) if sizes is not None else None
        try:
            finer = _refined(case, mesh, nudged, wanted, locally)
        except MeshingError as error:
            trail.fail(f"{error.where}: {error.reason}")
            last = error
            continue
        if finer is not None:
            return opened(finer, insulating)
        trail.fail("few cells can stay")
    raise last


def _refined(
    case: Case, mesh: MeshArrays, foci: list[Focus], sizes: SizeField | None, locally: bool
) -> MeshArrays | None:
    """The checked mesh within the divided boundary; ``locally`` with the cells that can stay, None if few can."""
    from fem_spall.mesh.refill import refilled
    from fem_spall.mesh.tetrahedralise import tetrahedralise

    largest, algorithm = case.mesh.size_max / mesh.unit, case.mesh.algorithm
    divided = refined_boundary(replace(mesh, tags=np.arange(len(mesh.tags), dtype=np.int32)), foci, sizes)
    boundary = replace(divided, tags=mesh.tags[divided.tags])
    if not locally:
        finer = tetrahedralise(boundary, largest, algorithm, sizes)
    elif boundary.closed.all():
        kept = refilled(mesh, boundary, divided.tags, foci, largest, algorithm)
        if kept is None:
            return None
        finer = kept
    else:
        return None
    finer = mend_worst_cells(finer, case.mesh.quality_floor)
    quality = check_mesh(finer, boundary.volume, case.mesh.quality_floor, check_surfaces(finer, boundary.box))
    return replace(finer, info={**mesh.info, **quality})


def _triangulate(case: Case, shape: AnalyticCrack) -> CrackSurface:
    """Triangles of a shape of closed form, for cases that also have reconstructed surfaces."""
    from fem_spall.mesh.analytic_shapes import triangulate_shape

    unit = length_unit(case.electrolyte.size)
    points, faces = triangulate_shape(case.block, shape, unit, case.mesh.size_min / unit, case.mesh.size_max / unit)
    thin = getattr(shape, "opening", None) == 0
    return CrackSurface.canonical(points * unit, faces, thin=thin, provenance={"kind": "closed form"})


def serve(parent: int) -> NoReturn:
    """Do the jobs of the folders that standard input names, each in a fork; end with the input and the parent.

    Standard output gets two lines for each job: the number of the process that does it, and its exit code.
    """
    _end_with(parent)
    warnings.simplefilter("ignore", DeprecationWarning)  # of forks; NumPy's threads are idle
    commands, answers = os.fdopen(os.dup(0), "rb"), os.dup(1)
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    own = os.getpid()
    for line in commands:
        with suppress(ImportError, OSError):  # where a library is missing, the job says so
            import gmsh  # noqa: F401  (for all jobs)
        job = os.fork()
        if job == 0:
            _do(Path(os.fsdecode(line[:-1])), own)
        os.write(answers, f"{job}\n".encode())
        os.write(answers, f"{os.waitstatus_to_exitcode(os.waitpid(job, 0)[1])}\n".encode())
    os._exit(0)


def _end_with(parent: int) -> None:
    """Have this process end with its parent, whatever ends that: an orphan would run on for its whole time limit."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # it ended before this process asked to be told


def _do(folder: Path, mesher: int) -> NoReturn:
    """Do the job of a folder and end this process, a fork of the mesher."""
    code: Any = 1
    try:
        _end_with(mesher)
        log = os.open(folder / "mesher.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(log, 1)
        os.dup2(log, 2)
        code = main(folder)
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


def main(folder: Path) -> int:
    """Do the job of a folder; 0 with a mesh, 1 with a failure file."""
    job = json.loads((folder / "job.json").read_text())
    case = Case.model_validate(job["case"])
    surfaces = {}
    for name in job["surfaces"]:
        with np.load(folder / f"surface_{name}.npz", allow_pickle=False) as data:
            sheet, thin = bool(data["sheet"]), bool(data["thin"])
            surfaces[name] = CrackSurface(data["vertices"], data["faces"], sheet=sheet, thin=thin)
    foci = [Focus(np.array(f["centres"]), f["radius"], f["size"]) for f in job["foci"]]
    sizes = SizeField.load(folder / "sizes.npz") if job["sizes"] else None
    trail = Trail(folder)
    try:
        if job["refine"]:
            mesh = refine_mesh(case, MeshArrays.load(folder / "coarse.npz"), foci, sizes, trail)
        else:
            mesh = mesh_case(case, surfaces, foci, sizes, trail)
        mesh.save(folder / "mesh.npz")
    except SpallError as error:
        write_failure(folder / "failure.json", error)
        return 1
    return 0


def write_failure(path: Path, error: SpallError) -> None:
    """Write a refusal so that :func:`read_failure` can raise it again elsewhere."""
    kind = type(error).__name__
    aside = path.with_name(f"{os.getpid()}-{path.name}")  # several ranks may say the same at once
    aside.write_text(json.dumps([kind, error.detail, error.where, error.reason, error.cure]))
    aside.replace(path)


def read_failure(path: Path) -> SpallError:
    """The refusal another process wrote."""
    kind, *arguments = json.loads(path.read_text())
    made: Any = getattr(errors, kind)(*arguments)
    assert isinstance(made, SpallError)
    return made


if __name__ == "__main__":
    serve(int(sys.argv[1]))
