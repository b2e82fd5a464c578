"""One case from start to record: surfaces, mesh, solution, figures, files."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from fem_spall import __version__
from fem_spall.case import Case
from fem_spall.case_file import case_hash, input_hashes, write_case
from fem_spall.consequences import consequences_of
from fem_spall.crack import CrackSurface, TriangulatedCrack
from fem_spall.deadline import time_for_surfaces
from fem_spall.errors import Interrupted, OutputError, SolveError, SpallError
from fem_spall.estimate import examine
from fem_spall.mesh.arrays import MeshArrays
from fem_spall.mesh.child import clean_environment, mesh_in_child
from fem_spall.mesh.worker import read_failure
from fem_spall.model import Model
from fem_spall.model_error import model_errors
from fem_spall.output.folder import ResultFolder
from fem_spall.output.msh import write_mesh
from fem_spall.progress import Progress, Silent
from fem_spall.reuse import key_of, reused, taken
from fem_spall.solution_store import kept_solution
from fem_spall.warn import warnings_of

__all__ = ["present_again", "run_case", "versions"]

PACKAGES = ("fem-spall", "dolfinx-solver-real", "gmsh", "manifold3d", "mmgpy", "numpy", "scipy", "pyvista", "vtk")


def run_case(
    case: Case,
    source: Path,
    folder: Path,
    *,
    overrides: tuple[str, ...] = (),
    ranks: int = 1,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Run a case and return its record, the content of ``result.json``.

    Parameters
    ----------
    case : Case
        What to run.
    source : Path
        The YAML file it came from, copied into the result.
    folder : Path
        Result folder; made if absent.
    overrides : tuple of str
        ``key=value`` overrides that were applied, for the record.
    ranks : int
        MPI ranks of the solve.
    overwrite : bool
        Replace an earlier result in the folder.
    progress : Progress, optional
        Told where the run is.

    Raises
    ------
    SpallError
        Whatever stops the run; ``failure.json`` in the folder then says the same.
    """
    log = _Log(progress or Silent())
    _refuse_inputs_within(case, source, folder)
    with ResultFolder(folder, overwrite=overwrite) as result:
        try:
            record = _run(case, source, result, overrides, ranks, log)
        except SpallError as error:
            result.fail(error, log.lines)
            raise
        except KeyboardInterrupt:
            stopped = Interrupted(1, str(folder), "the run was interrupted", "start it again with --overwrite")
            result.fail(stopped, log.lines)
            raise stopped from None
    _demand_accuracy(record)
    return record


def _demand_accuracy(record: dict[str, Any]) -> None:
    """Raise if the case requires its accuracy and the complete result in the folder does not have it."""
    accuracy = record.get("accuracy")
    if accuracy is None or accuracy["met"] or not accuracy["required"]:
        return
    missed = [
        f"{name} +- {100 * over * accuracy['target']:.2g} %" if over is not None else f"{name} has no error bar"
        for name, over in accuracy["error_over_target"].items()
        if over is None or over > 1
    ]
    raise SolveError(
        4, "accuracy", f"must reach {100 * accuracy['target']:.2g} %; got {', '.join(missed)}: {accuracy['stopped']}. "
        "The result is complete all the same", "raise accuracy.max_cells or accuracy.target",
    )  # fmt: skip


def _refuse_inputs_within(case: Case, source: Path, folder: Path) -> None:
    """Raise if the result folder, which is cleared first, holds what the run reads."""
    parts = (*case.cracks, *case.regions, case.electrolyte.conductivity)
    for file in (source, *(getattr(part, "file", None) for part in parts)):
        if file is not None and _lies_in(file, folder):
            raise OutputError(
                6,
                str(folder),
                f"holds {file.name}, which the run reads",
                "choose another -o folder, or copy it elsewhere",
            )


def _lies_in(file: Path, folder: Path) -> bool:
    """Whether a file lies in a folder; what cannot be followed there is refused when it is read."""
    try:
        return file.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):
        return False


class _Log:
    """Progress that is passed on and also kept for ``log.txt``."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._begin = time.perf_counter()
        self.lines: list[str] = []

    def _keep(self, text: str) -> None:
        self.lines.append(f"{time.perf_counter() - self._begin:8.2f} s  {text}\n")

    def stage(self, name: str, detail: str = "") -> None:
        """A stage begins."""
        self._keep(f"{name}: {detail}" if detail else name)
        self._progress.stage(name, detail)

    def note(self, text: str) -> None:
        """Something to know."""
        self._keep(f"note: {text}")
        self._progress.note(text)

    def done(self) -> None:
        """The last stage has ended."""
        self._keep("complete")
        self._progress.done()


def _run(
    case: Case, source: Path, result: ResultFolder, overrides: tuple[str, ...], ranks: int, progress: _Log
) -> dict[str, Any]:
    begin = time.perf_counter()
    seconds: dict[str, float] = {}
    taken.clear()
    result.write_text("case.yaml", source.read_text())

    progress.stage("surfaces", ", ".join(f"{crack.name} ({crack.kind})" for crack in case.cracks))
    given = case
    with time_for_surfaces(case.mesh.time_limit):
        sized = case.sized()
        if sized is not given:
            progress.note(f"mesh.size_min: {sized.mesh.size_min * 1e9:.4g} nm, as suits the image")
        case = sized.expanded()
        surfaces = build_surfaces(case)
        examine(case)
    for name, surface in surfaces.items():
        for note in (*surface.provenance.get("told", ()), *(f"{name}: {one.words}" for one in surface.repairs)):
            progress.note(note)
    # Files are copied once they are known to be surfaces: whatever else they are may be a terabyte.
    result.write_text("case.resolved.yaml", write_case(_self_contained(sized, result)))
    seconds["surface"] = time.perf_counter() - begin

    clock = time.perf_counter()
    progress.stage("mesh", f"{case.mesh.size_min * 1e6:g} to {case.mesh.size_max * 1e6:g} um")
    with tempfile.TemporaryDirectory(prefix="fem-spall-", ignore_cleanup_errors=True) as scratch:
        made = [mesh_in_child(case, surfaces, Path(scratch))]
        seconds["mesh"] = time.perf_counter() - clock
        write_mesh(made[0], result.path)

        def solve() -> dict[str, Any]:
            return _solve(case, made, result, Path(scratch), ranks, progress)

        record = kept_solution(case, made[0].identity, ranks, result.path, solve)
    seconds |= {"solve": 0.0, "adapt": 0.0} | record.pop("seconds")

    clock = time.perf_counter()
    record = _complete(case, record, surfaces, overrides, case_hash(given))
    record["seconds"] = seconds
    _present(case, result, record, progress)
    seconds["output"] = time.perf_counter() - clock
    seconds["total"] = time.perf_counter() - begin
    progress.done()
    result.write_text("log.txt", "".join(progress.lines))
    record["files"] = result.manifest()
    result.write_record({"status": "ok", **record})
    return {"status": "ok", **record}


def build_surfaces(case: Case) -> dict[str, CrackSurface]:
    """Surface by name of every crack that is not of closed form, those known already from the store."""

    def surface(crack: TriangulatedCrack) -> CrackSurface:
        def key() -> str:
            shape = crack.model_dump(mode="json", exclude={"name", "interface"})
            return key_of([shape, input_hashes(crack), list(case.block.size), case.block.plating_face])

        make = functools.partial(crack.surface, case.block)
        return reused("surface", key, make, CrackSurface.pack, CrackSurface.unpack)

    return {crack.name: surface(crack) for crack in case.cracks if isinstance(crack, TriangulatedCrack)}


def _self_contained(case: Case, result: ResultFolder) -> Case:
    """The case with its input files copied into the result, so that the folder can be rerun anywhere."""

    def moved[M: Model](part: M, name: str) -> M:
        file = getattr(part, "file", None)
        return part if file is None else part.model_copy(update={"file": result.copy_input(name, file)})

    conductivity = moved(case.electrolyte.conductivity, "conductivity")
    return case.model_copy(update={
        "cracks": tuple(moved(crack, crack.name) for crack in case.cracks),
        "regions": tuple(moved(region, region.name) for region in case.regions),
        "electrolyte": case.electrolyte.model_copy(update={"conductivity": conductivity}),
    })  # fmt: skip


def _solve(
    case: Case, made: list[MeshArrays], result: ResultFolder, scratch: Path, ranks: int, progress: Progress
) -> dict[str, Any]:
    """The record of a solve on the one mesh of a list, which is taken out of it so that nothing else holds it."""
    if ranks == 1:
        from fem_spall.fenics import MPI
        from fem_spall.stage import solve_stage

        record = solve_stage(case, made.pop(), MPI.COMM_SELF, result.path, progress)
        assert record is not None
        return record
    progress.stage("solve", f"{ranks} MPI ranks")
    made.pop().save(scratch / "mesh.npz")
    job = {"case": case.model_dump(mode="json"), "result": str(result.path.resolve())}
    (scratch / "job.json").write_text(json.dumps(job))
    # MPI start-up, without PATH: the launcher that belongs to this interpreter.
    launcher = Path(sys.executable).with_name("mpiexec")
    command = [str(launcher), "-n", str(ranks), sys.executable, "-m", "mpi4py", "-m", "fem_spall.stage", str(scratch)]
    done = subprocess.run(
        command, check=False, env=clean_environment(), capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    if (scratch / "failure.json").exists():
        raise read_failure(scratch / "failure.json")
    if done.returncode != 0 or not (scratch / "stage.json").exists():
        trace = scratch / "traceback.txt"
        said = trace.read_text() if trace.exists() else done.stderr.strip() or done.stdout.strip() or "nothing"
        raise SolveError(
            3, f"{ranks} ranks", f"the parallel solve died, saying {said.splitlines()[-1][:200]}", "try --ranks 1"
        )
    loaded: dict[str, Any] = json.loads((scratch / "stage.json").read_text())
    return loaded


def _complete(
    case: Case, record: dict[str, Any], surfaces: dict[str, CrackSurface], overrides: tuple[str, ...], given: str
) -> dict[str, Any]:
    """Add what is known outside the solve: hash of the given case, repairs, errors of the model, warnings, versions."""
    repairs = [
        {
            "surface": name,
            "kind": r.kind,
            "count": r.count,
            "d_volume": r.volume_change,
            "d_area": r.area_change,
            "displacement": r.displacement,
        }
        for name, surface in surfaces.items()
        for r in surface.repairs
    ]
    repairs += [
        {"surface": "block", "kind": r["kind"], "count": r["count"], "d_volume": r["volume_change"],
         "d_area": r["area_change"], "displacement": r["displacement"]}
        for r in record["mesh"].pop("repairs", [])
    ]  # fmt: skip
    record = {
        "name": case.name,
        "case_hash": given,
        "version": __version__,
        "overrides": list(overrides),
        **record,
        "repairs": repairs,
        "surfaces": {name: {**s.provenance, "sha256": s.sha256, "area": s.area, "volume": s.volume,
                            "bounds_m": s.bounds.tolist()} for name, s in surfaces.items()},
        "versions": versions(),
        "reused": list(taken),
    }  # fmt: skip
    for name, errors in model_errors(case, record).items():
        record["metrics"][name]["model_errors"] = errors
    record["consequences"] = consequences_of(case, record)
    record["warnings"] = warnings_of(case, record)
    return record


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide the numbers, by name."""
    found = {"python": sys.version.split()[0]}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def _present(case: Case, result: ResultFolder, record: dict[str, Any], progress: Progress) -> None:
    """Pictures, ParaView script and report; a picture that fails costs a warning, not the run.

    They read the folder, so the record goes there first, its status saying that it is not complete.
    """
    result.write_record({"status": "writing", **record})
    if case.output.fields:
        from fem_spall.output.paraview import write_paraview_script

        write_paraview_script(result.path)
    if case.output.pictures and case.output.fields:
        from fem_spall.output.pictures import draw_pictures

        progress.stage("pictures")
        for problem in draw_pictures(result.path).warnings:
            record["warnings"].append({"kind": "pictures", "text": problem})
            progress.note(problem)
    if case.output.report:
        from fem_spall.output.report import write_report

        progress.stage("report")
        result.write_record({"status": "writing", **record})
        write_report(result.path)


def present_again(folder: Path) -> Path:
    """Draw pictures, ParaView script and report of a finished run once more; return the report.

    Raises
    ------
    OutputError
        If the folder holds no finished run.
    """
    from fem_spall.output.paraview import write_paraview_script
    from fem_spall.output.pictures import draw_pictures
    from fem_spall.output.report import write_report

    if not (folder / "result.json").is_file():
        raise OutputError(20, str(folder), "holds no finished run", "run the case first")
    if (folder / "fields.pvd").is_file():
        write_paraview_script(folder)
        draw_pictures(folder)
    report = write_report(folder)
    result = ResultFolder(folder, overwrite=False)
    record = json.loads((folder / "result.json").read_text())
    result.write_record({**record, "files": result.manifest()})
    return report
