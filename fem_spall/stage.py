"""From a mesh to figures and field files, on any number of ranks.

In serial :func:`solve_stage` is called by the run; with several ranks the run starts
``mpiexec python -m mpi4py -m fem_spall.stage FOLDER``, which loads ``job.json`` and ``mesh.npz`` from the
folder and leaves ``stage.json`` (or ``failure.json``, or after a bug ``traceback.txt``) there.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from fem_spall.accuracy import Level
from fem_spall.adapt import Outcome, Solved, finer_mesh, next_level, record_of, solved
from fem_spall.case import Accuracy, Case
from fem_spall.conduction import formulate
from fem_spall.errors import MeshingError, SolveError, SpallError
from fem_spall.fenics import MPI, dolfinx, integrate, ufl
from fem_spall.filling import filling_series, filling_table
from fem_spall.leaking import Growth, leakage
from fem_spall.memory import give_back, peak, resident
from fem_spall.mesh.arrays import MeshArrays
from fem_spall.mesh.focus import Focus
from fem_spall.mesh.tagged import TaggedMesh, distribute
from fem_spall.mesh.worker import write_failure
from fem_spall.metrics import Evaluation, distribution_table
from fem_spall.output.fields import write_surface, write_volume
from fem_spall.output.files import atomic_text
from fem_spall.output.msh import write_mesh
from fem_spall.polarisation import polarisation_curve, polarisation_table
from fem_spall.power_by_part import PartPower, power_by_part, power_table
from fem_spall.progress import Progress, Silent
from fem_spall.record import record_solution
from fem_spall.solve import Solution, solve
from fem_spall.surface_flux import RESOLVED

__all__ = ["solve_stage"]

#: Largest relative error of the three identities; they hold to solver tolerance on every mesh.
IDENTITY_LIMIT = 1e-7
#: Rounds of refinement towards the averaging lengths at most.
REFINEMENTS = 3
#: Places with a rough mean above this share of the largest are refined.
HOT = 0.8
#: Places refined for one averaging length at most: a rim is hot everywhere, and one piece of it is enough.
PLACES = 8
#: Where the mesh is this many times coarser than an averaging length it is left alone: that takes a finer case.
REACH = 6.0
#: Largest relative mismatch of volumes.
VOLUME_LIMIT = 1e-9


def solve_stage(
    case: Case, arrays: MeshArrays | None, comm: Any, folder: Path, progress: Progress
) -> dict[str, Any] | None:
    """Solve, evaluate and write the fields; return the record of it on rank 0, None elsewhere.

    ``arrays`` is the mesh on rank 0 and None elsewhere, for the caller to forget; ``folder`` is the result folder.

    Raises
    ------
    SolveError
        If the solution does not converge or breaks an identity.
    MeshingError
        If the volumes of the mesh do not add up.
    """
    watch = _Watch()
    progress.stage("mesh intake", f"{len(arrays.cells):,} cells" if arrays is not None else "")
    meshes = [watch.distribute(arrays, comm)]
    del arrays  # its cells, as the caller keeps none
    watch.split("intake")
    progress.stage("solve", f"degree {case.solver.degree}")
    foci: list[Focus] = []
    first, places = _resolve_lengths(case, meshes, foci, progress, watch)
    states = [solved(case, meshes.pop(), first, [])]
    del first
    watch.split("solve")
    accuracy = None
    if case.accuracy is not None:
        accuracy = _adapt(case, case.accuracy, states, foci, progress, watch)
    state = states.pop()
    if state.mesh.arrays is not None and (places or (accuracy is not None and len(accuracy["levels"]) > 1)):
        write_mesh(state.mesh.arrays.whole(), folder)
    geometry, volumes = _geometry(case, state.mesh), _crack_volumes(case, state.mesh)
    watch.split("adapt")
    progress.stage("figures of merit")
    more = _More.of(case, state, volumes, folder, progress)
    record = more.record(case, state, geometry, volumes)
    if record is not None:
        record["mesh"]["levels"] = places
        record |= {"accuracy": accuracy} if accuracy is not None else {}
    if failure := comm.bcast(_broken(record) if record is not None else None):
        raise SolveError(2, "solution", failure, "report this case; its mesh may be faulty")
    watch.split("metrics")
    if case.output.fields:
        progress.stage("fields")
        _write_fields(case, state, folder)
    watch.split("fields")
    memory = watch.memory(comm, state.solution.report.dofs)
    if state.evaluation is None or record is None or memory is None:
        return None
    for name, text in (_tables(state.evaluation) | more.tables()).items():
        (folder / "figures").mkdir(exist_ok=True)
        atomic_text(folder / "figures" / f"{name}.csv", text)
    record["seconds"] = watch.seconds
    record["memory"] = memory
    record["solve"]["bytes_per_unknown"] = memory["bytes_per_unknown"]
    return record


class _Watch:
    """Seconds of each part of the stage; memory of the process, bytes: peaks up to the end of each part, what it held.

    ``held`` is that with the last mesh and nothing of its solution.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.peaks: dict[str, int] = {}
        self.held = 0
        self._since = time.perf_counter()

    def split(self, name: str) -> None:
        """A part ends and the next begins."""
        now = time.perf_counter()
        self.seconds[name], self._since = now - self._since, now
        self.peaks[name] = peak()

    def distribute(self, arrays: MeshArrays | None, comm: Any) -> TaggedMesh:
        """The mesh on all ranks; what the process then holds is noted."""
        mesh = distribute(arrays, comm)
        give_back()
        self.held = resident()
        return mesh

    def memory(self, comm: Any, unknowns: int) -> dict[str, Any] | None:
        """The entry ``memory`` of the record on rank 0, all ranks together; collective."""
        every = comm.gather((self.peaks, self.held))
        if every is None:
            return None
        by_part = {name: sum(peaks[name] for peaks, _ in every) for name in self.peaks}
        whole, held = by_part["fields"], sum(held for _, held in every)
        solving = max(by_part["solve"], by_part["adapt"]) - held
        return {
            "solve_peak_bytes": whole,
            "bytes_per_unknown": whole / unknowns,
            "held_bytes": held,
            "solve_bytes_per_unknown": solving / unknowns,
            "peak_bytes_after": by_part,
            "meaning": "resident memory of the processes of this stage, interpreter and libraries included: at its "
            "peak, the same by unknown of the last mesh, what was held before that mesh was solved on, and what the "
            "peak of solving and refining, error bars included, has beyond it by unknown",
        }


@dataclass(frozen=True)
class _More:
    """What some cases ask for beside the figures of merit; empty for others."""

    parts: list[PartPower]
    growth: dict[str, Growth]
    curve: list[dict[str, float | None]] | None
    filled: dict[str, Any] | None

    @classmethod
    def of(cls, case: Case, state: Solved, volumes: dict[str, float], folder: Path, progress: Progress) -> Self:
        """Compute it; collective."""
        posed = state.mesh.comm.bcast(_posed_voltage(state.evaluation))
        parts = power_by_part(state.solution)
        growth = leakage(case, state.solution, posed, volumes)
        curve = polarisation_curve(case, state.solution)
        filled = None
        if case.filling is not None:
            filled = filling_series(case, state, volumes[case.filling.of(case).name], folder, progress)
            progress.stage("record")
        return cls(parts, growth, curve, filled)

    def record(
        self, case: Case, state: Solved, geometry: dict[str, float], volumes: dict[str, float]
    ) -> dict[str, Any] | None:
        """The record of the solved case with all of this in it, on rank 0; m^3."""
        if state.evaluation is None:
            return None
        assert state.mesh.arrays is not None
        enclosed = state.mesh.arrays.info.get("enclosed_m3", {})
        geometry = {**geometry, "cut_off_volume": sum(enclosed.values())}
        record = record_solution(case, state, geometry, self.parts)
        for name, found in self.growth.items():
            electronic = case.electrolyte.electronic_conductivity
            assert electronic is not None
            record["cracks"][name]["growth"] = found.record(electronic, case.metrics.fill_time)
        for name, crack in record["cracks"].items():
            crack["volume"] = volumes[name] - enclosed.get(name, 0.0)
        if self.curve:
            record["polarisation"] = self.curve
        if self.filled is not None:
            record["filling"] = self.filled
        return record

    def tables(self) -> dict[str, str]:
        """CSV by file name."""
        found = {}
        if self.curve:
            found["polarisation"] = polarisation_table(self.curve)
        if self.parts:
            found["electrolyte_parts"] = power_table(self.parts)
        if self.filled is not None:
            found["filling"] = filling_table(self.filled["rows"])
        return found


def _tables(e: Evaluation) -> dict[str, str]:
    """CSV of the current density over the lithium's area and of the intensity along edges, by file name."""
    rows = "".join(f"{f:.8g},{a:.8g},{c:.8g}\n" for f, a, c in distribution_table(e))
    found = {"flux_distribution": "fef,area_fraction_above,current_fraction_above\n" + rows}
    if e.edges is not None and e.edges.intensity is not None:
        found["edge_intensity"] = e.edges.intensity.csv()
    return found


def _write_fields(case: Case, state: Solved, folder: Path) -> None:
    """Write the fields in the volume and on the lithium; collective."""
    e = state.evaluation
    reference = state.mesh.comm.bcast(e.reference if e is not None else None)
    write_volume(state.solution, folder, reference, case.electrodes.plating.potential)
    if e is not None:
        write_surface(e.flux.only(e.plating_names), folder / "crack_surface.vtp", reference)


def _posed_voltage(e: Evaluation | None) -> float | None:
    """Voltage of the problem as posed, V, before it was scaled to a drive."""
    return None if e is None or e.voltage is None else e.voltage / e.solution.factor


def _resolve_lengths(
    case: Case, meshes: list[TaggedMesh], foci: list[Focus], progress: Progress, watch: _Watch
) -> tuple[Solution, list[dict[str, int]]]:
    """Solve with degree 1, refining at the hottest places until the mesh carries the averaging lengths, if asked to.

    The one mesh of the list, which nobody else should hold, is replaced; the places are added to ``foci``.
    """
    levels: list[dict[str, int]] = []
    solution = solve(formulate(case, meshes[0], 1), case.solver.tolerance)
    for _ in range(REFINEMENTS if case.mesh.refine_tips else 0):
        mesh, finer, failure = meshes[0], None, None
        if mesh.arrays is not None:
            new = _foci(case, solution)
            foci += new
            if new:
                progress.stage("refine", "where the averaging lengths need it")
                made: MeshArrays | str | None = finer_mesh(case, mesh.arrays, foci, None, case.mesh.max_cells)
                finer, failure = (None, made) if isinstance(made, str) else (made, None)
        comm = mesh.comm
        go_on, failure = comm.bcast((finer is not None, failure))
        if not go_on:
            if failure:
                progress.note(failure)
            break
        if finer is not None:
            levels.append({"cells": len(finer.cells), "places": sum(len(focus.centres) for focus in foci)})
        meshes.clear()
        del mesh, solution  # before the next ones are made
        meshes.append(watch.distribute(finer, comm))
        finer = made = None
        solution = solve(formulate(case, meshes[0], 1), case.solver.tolerance)
    return solution, levels


def _foci(case: Case, solution: Solution) -> list[Focus]:
    """Places that hold the largest ball means but are too coarse for them, on rank 0."""
    evaluation = Evaluation.of(case, solution, (0.0, np.zeros(3), 0.0))
    lithium = evaluation.flow.only(evaluation.plating_names)
    centres = evaluation.crack_names or evaluation.plating_names
    foci = []
    for length in case.metrics.averaging_lengths:
        spots, size = lithium.unresolved_spots(length, centres, HOT, PLACES)
        if 0 < size <= length * REACH:
            foci.append(Focus(spots, 1.25 * length, length / (2 * RESOLVED)))
    return foci


def _adapt(
    case: Case, accuracy: Accuracy, states: list[Solved], foci: list[Focus], progress: Progress, watch: _Watch
) -> dict[str, Any] | None:
    """Refine until the targets are met or the cells are spent; return the record of all levels on rank 0.

    The one state of the list, which nobody else should hold, is replaced by that of the last level.
    """
    comm, base = states[0].mesh.comm, states[0].mesh.arrays
    if base is not None:
        base = base.whole()
    most = accuracy.max_cells or case.mesh.max_cells
    levels: list[dict[str, Any]] = []
    history: list[Level] = []
    clock = time.perf_counter()
    outcome: Outcome | None = None
    while True:
        finer = None
        if base is not None:
            state = states[0]
            history.append(state.level())
            asked = outcome.growth if outcome is not None else 1.0
            outcome = next_level(case, accuracy, state, [level.cells for level in history], asked)
            levels.append(_level_record(accuracy, state) | {"seconds": time.perf_counter() - clock})
            progress.stage(f"accuracy, level {len(levels)}", _progress_of(accuracy, state, outcome))
            if outcome.sizes is not None:
                made: MeshArrays | str | None = finer_mesh(case, base, foci, outcome.sizes, most)
                finer, outcome = (None, replace(outcome, stopped=made)) if isinstance(made, str) else (made, outcome)
            del state
        if not comm.bcast(finer is not None):
            break
        states.clear()  # before the next level is made
        mesh = watch.distribute(finer, comm)
        finer = made = None
        states.append(solved(case, mesh, solve(formulate(case, mesh, 1), case.solver.tolerance), history))
        del mesh
    return None if outcome is None else record_of(accuracy, outcome, levels)


def _level_record(accuracy: Accuracy, state: Solved) -> dict[str, Any]:
    level = state.level()
    figures = {
        name: {"value": metric.value, "error": metric.error, "error_method": metric.error_method}
        for name, metric in state.metrics.items()
        if metric.value is not None and name in (*accuracy.metrics, "max_field_on_mesh")
    }
    return {"cells": level.cells, "dofs": level.dofs, "figures": figures}


def _progress_of(accuracy: Accuracy, state: Solved, outcome: Outcome) -> str:
    parts = [
        f"{name} +- {100 * value * accuracy.target:.2g} %" if np.isfinite(value) else f"{name} not given yet"
        for name, value in outcome.shortfall.items()
    ]
    return f"{state.level().cells:,} cells, {', '.join(parts)} (target {100 * accuracy.target:.2g} %)"


def _geometry(case: Case, mesh: TaggedMesh) -> dict[str, float]:
    """Volumes in m^3, and how well the cells' volume matches that enclosed by the boundary."""
    one = ufl.dx(domain=mesh.mesh)
    x, normal = ufl.SpatialCoordinate(mesh.mesh), ufl.FacetNormal(mesh.mesh)
    volume = integrate(1.0 * one, mesh.comm)
    enclosed = integrate(ufl.dot(x, normal) / 3 * ufl.ds(domain=mesh.mesh), mesh.comm)
    box = mesh.comm.bcast(mesh.arrays.info["box"] if mesh.arrays is not None else None)
    block = float(np.prod(np.ptp(np.array(box), axis=0)))
    balance = (volume - enclosed) / block
    if abs(balance) > VOLUME_LIMIT:
        raise MeshingError(
            41, "mesh", f"cells and boundary must enclose the same volume; off by {balance:.1e}", "change mesh.size_min"
        )
    return {
        "electrolyte_volume": volume * mesh.unit**3,
        "void_volume": (block - volume) * mesh.unit**3,
        "volume_balance": balance,
    }


def _crack_volumes(case: Case, mesh: TaggedMesh) -> dict[str, float]:
    """Volume of each crack inside the block, m^3: −∮ (z − z₀) n_z ds over its surface, z₀ the plating face.

    The opening in the plating face and the side walls that clip a crack add nothing to the integral.  Electrolyte that
    a crack cuts off counts here.
    """
    height = ufl.SpatialCoordinate(mesh.mesh)[2]
    plane = case.electrolyte.size[2] / mesh.unit if case.electrodes.plating.face == "+z" else 0.0
    level = dolfinx.fem.Constant(mesh.mesh, plane)
    ds = ufl.Measure("ds", domain=mesh.mesh, subdomain_data=mesh.facet_tags)
    normal = ufl.FacetNormal(mesh.mesh)[2]

    def below(name: str) -> float:
        own = [name, *(region.name for region in case.regions if region.on == name)]
        return -sum(integrate((height - level) * normal * ds(mesh.names[part]), mesh.comm) for part in own)

    return {crack.name: below(crack.name) * mesh.unit**3 for crack in case.cracks}


def _broken(record: dict[str, Any]) -> str | None:
    """Which balances of a record do not hold, in words; None where all do."""
    for identity in (record["identity"], record.get("filling", {}).get("identity", {})):
        broken = [f"{name} by {value:.1e}" for name, value in identity.items() if not abs(value) <= IDENTITY_LIMIT]
        if broken:
            return f"breaks the balance of {', '.join(broken)} (limit {IDENTITY_LIMIT:g})"
    return None


def main(folder: Path) -> None:
    """Do the job of a folder on all ranks of the world."""
    comm = MPI.COMM_WORLD
    try:
        job = json.loads((folder / "job.json").read_text())
        case, result = Case.model_validate(job["case"]), Path(job["result"])
        mesh = [MeshArrays.load(folder / "mesh.npz") if comm.rank == 0 else None]
        record = solve_stage(case, mesh.pop(), comm, result, Silent())
        if comm.rank == 0:
            (folder / "stage.json").write_text(json.dumps(record))
    except BaseException as error:
        # Other ranks may be waiting for this one, and PETSc's own end would wait for them: so at once.
        if isinstance(error, SpallError):
            write_failure(folder / "failure.json", error)
        else:
            (folder / "traceback.txt").write_text(traceback.format_exc())  # the launcher may drop what is printed
        comm.Abort(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
