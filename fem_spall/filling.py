"""Quasi-static filling: a crack that is empty at first fills with lithium while the current flows, on one mesh.

Lithium stands in the crack up to a level, from the mouth or from the tip.  What it touches of the wall has the law of
the crack's interface and the potential of its contact; the rest of the wall is empty, and no current passes it.  All
current into the wet wall becomes lithium that moves the level (Faraday),

    d𝒱/dt = I_c(𝒱) V_m/F,   so that   t = F/V_m ∫ d𝒱/I_c,

because the field follows at once: a step is one solution for one volume, and time is an integral over volumes.
Between two volumes the current is a power of the volume, which is exact for a wall that fills evenly (I ~ 𝒱) and for a
crack that takes all current (I constant).

The contact decides what can fill.  At the potential of the plating electrode (``plating``) the lithium takes what the
field brings: from the mouth it is one with the electrode; at the tip it hangs on it by something too thin to count, a
film or a grain boundary that conducts electrons.  Isolated lithium draws no net current and never grows.  Leaking
lithium grows by the electrons that reach it through the electrolyte.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fem_spall.adapt import Solved, driven
from fem_spall.boundary import FARADAY, MOLAR_VOLUME
from fem_spall.case import Case, Filling
from fem_spall.conduction import formulate
from fem_spall.errors import CaseError, SolveError
from fem_spall.leaking import leakage
from fem_spall.mesh.tagged import TaggedMesh
from fem_spall.mesh.wall import Cut, Wall
from fem_spall.metrics import BEYOND, Evaluation
from fem_spall.output.fields import write_pieces, write_series, write_surface
from fem_spall.progress import Progress
from fem_spall.solve import Solution, solve
from fem_spall.surface_flux import RESOLVED

__all__ = ["fill_times", "filling_series", "filling_table"]

#: Name of the part of the wall that is still empty.
EMPTY = "empty wall"
COLUMNS = (
    "time_s", "time_error_of_steps_s", "time_error_of_currents_s", "filled_share", "filled_volume_m3", "charge_C",
    "front_depth_m", "wet_area_m2", "total_current_A", "voltage_V", "crack_current_A",
    "crack_current_error_of_degree_A", "crack_current_error_of_cut_A", "crack_current_share", "capture_area_m2",
    "area_resistance_ohm_m2", "largest_ball_mean_over_mean",
)  # fmt: skip

type Floats = NDArray[np.float64]


def filling_series(case: Case, state: Solved, volume: float, folder: Path, progress: Progress) -> dict[str, Any] | None:
    """Return the entry ``filling`` of the record, on rank 0; ``filling.pvd`` with a step's files goes into the folder.

    ``state`` is the case solved with the crack full, ``volume``, m^3, that of the crack.  Collective.

    Raises
    ------
    CaseError
        If the mesh is too coarse for the steps.
    SolveError
        If a step does not converge, or no current plates in the crack.
    """
    plan = case.filling
    assert plan is not None
    mesh, name = state.mesh, plan.of(case).name
    cuts = mesh.comm.bcast(_cuts(case, plan, mesh, name, volume) if mesh.arrays is not None else None)
    if isinstance(cuts, CaseError):
        raise cuts
    before: Solution | None = None
    rows: list[dict[str, Any]] = []
    files: list[list[Path]] = []
    defects: list[tuple[float, float]] = []
    for step, cut in enumerate(cuts):
        progress.stage("filling", f"step {step} of {plan.steps}, {cut.volume / volume:.0%} full")
        posed = _solved(case, _wetted(mesh, name, cut), before)
        before = posed[0]
        solution, *other = [driven(case, each) for each in (posed if case.solver.degree == 1 else posed[::-1])]
        row = _row(case, name, solution, other[0] if other else None, cut)
        wrong = row is not None and not row["crack_current_A"] > 0
        if mesh.comm.bcast(wrong):
            raise SolveError(
                12, "filling", f"no current plates in {name} at step {step}, so that it never fills",
                "choose the sign of the drive or potential so that lithium is plated at the plating electrode",
            )  # fmt: skip
        if case.output.fields:
            files.append(_written(case, name, solution, folder / "filling", f"step_{step:03d}"))
        if row is not None:
            defects.append((row.pop("charge"), row.pop("energy")))
            rows.append(row)
    if mesh.arrays is None:
        return None
    _complete(rows, cuts, volume)
    if files:
        write_series(folder / "filling.pvd", [(row["time_s"], each) for row, each in zip(rows, files, strict=True)])
    return _record(case, plan, rows, defects, volume)


def _cuts(case: Case, plan: Filling, mesh: TaggedMesh, name: str, volume: float) -> list[Cut] | CaseError:
    """The crack at each step, or why the mesh does not carry them; rank 0."""
    assert mesh.arrays is not None
    wall = Wall.of(mesh.arrays, name, case.electrodes.plating.face, volume)
    cuts = wall.cuts(plan.starts_at == "tip", plan.start, plan.steps)
    numbers = np.array([0, *(int(cut.wet.sum()) for cut in cuts)])
    if numbers[1] == 0:
        return CaseError(
            52, "filling.start", f"must leave at least one triangle of {name}'s wall wet; {plan.start:.2g} of its "
            "volume is less than the mesh can hold", "raise filling.start or lower mesh.size_min",
        )  # fmt: skip
    if same := int((np.diff(numbers) == 0).sum()):
        return CaseError(
            53, "filling.steps", f"must each wet at least one more triangle of {name}'s wall; {same} of {plan.steps} "
            "steps do not", "lower filling.steps or mesh.size_min",
        )  # fmt: skip
    return cuts


def _wetted(mesh: TaggedMesh, name: str, cut: Cut) -> TaggedMesh:
    """The mesh with the dry facets of the wall named apart, so that no law holds there; collective."""
    if cut.wet.all():
        return mesh
    names = {**mesh.names, EMPTY: max(mesh.names.values()) + 1}
    tags = None
    if mesh.arrays is not None:
        tags = mesh.arrays.tags.copy()
        own = np.nonzero(tags == mesh.names[name])[0]
        tags[own[~cut.wet]] = names[EMPTY]
    return mesh.renamed(tags, names)


def _solved(case: Case, mesh: TaggedMesh, before: Solution | None) -> list[Solution]:
    """The solutions of degree 1, which begins at that of the step before, and 2, as posed."""
    low = solve(formulate(case, mesh, 1), case.solver.tolerance, before)
    if case.solver.degree == 1 and not case.solver.errors:
        return [low]
    return [low, solve(formulate(case, mesh, 2), case.solver.tolerance, low)]


def _row(case: Case, name: str, solution: Solution, other: Solution | None, cut: Cut) -> dict[str, Any] | None:
    """What a solution says, its change from ``other``, and its defects of charge and energy, on rank 0; collective."""
    nowhere = (0.0, np.zeros(3), 0.0)
    on_root = solution.problem.mesh.arrays is not None
    e = Evaluation.of(case, solution, nowhere) if on_root else None
    posed = None if e is None or e.voltage is None else e.voltage / solution.factor
    growth = leakage(case, solution, solution.problem.mesh.comm.bcast(posed)).get(name)
    second = Evaluation.of(case, other, nowhere) if other is not None and on_root else None
    if e is None:
        return None
    if growth is not None:
        current, change = float(growth.current.sum()), growth.error
    else:
        current = e.currents[name][0]
        change = None if second is None else abs(current - second.currents[name][0])
    if change is not None and case.solver.degree == 1:
        change *= 2  # the change to degree 2 is only a part of the error
    means = [
        abs(mean.value / e.reference)
        for length, mean in e.ball_means.items()
        if length >= RESOLVED * mean.local_size and mean.beyond <= BEYOND * mean.value
    ]
    return {
        "filled_volume_m3": cut.volume,
        "front_depth_m": cut.depth,
        "wet_area_m2": cut.area,
        "total_current_A": e.total_current,
        "voltage_V": e.voltage,
        "crack_current_A": current,
        "crack_current_error_of_degree_A": change,
        "crack_current_share": current / e.total_current,
        "capture_area_m2": current / e.reference,
        "area_resistance_ohm_m2": None if e.voltage is None else e.voltage * e.cross_section / e.total_current,
        "largest_ball_mean_over_mean": means[0] if means else None,
        "charge": sum(value[0] for value in e.currents.values()) / max(abs(v[0]) for v in e.currents.values()),
        "energy": solution.bulk_power / solution.surface_power - 1,
    }


def _complete(rows: list[dict[str, Any]], cuts: list[Cut], volume: float) -> None:
    """Add times, charges and errors, which need the whole series."""
    filled, current = (np.array([row[key] for row in rows]) for key in ("filled_volume_m3", "crack_current_A"))
    times = fill_times(filled, current)
    # With every second volume left out the times change by three times their error.
    halved = np.abs(times[::2] - fill_times(filled[::2], current[::2]))
    of_steps = np.interp(np.arange(len(times)), np.arange(0, len(times), 2), halved)
    area = np.array([cut.area for cut in cuts])
    # The wet triangles' rim is rough: the current may be that of an area as much larger or smaller as lies beyond the
    # level.  Differences of rough currents may vanish by luck, so that the slope is at least that of I ~ area.
    slope = np.maximum(np.abs(np.gradient(current, area)), current / area)
    of_cut = slope * np.array([cut.jagged for cut in cuts])
    of_degree = np.array([row["crack_current_error_of_degree_A"] or 0.0 for row in rows])
    relative = (of_cut + of_degree) / current
    steps = np.diff(times)
    of_currents = np.concatenate([[0.0], np.cumsum(steps * (relative[1:] + relative[:-1]) / 2)])
    mean = np.diff(filled) * FARADAY / MOLAR_VOLUME / steps
    charge = np.concatenate([[0.0], np.cumsum(mean * steps)])
    for k, row in enumerate(rows):
        row |= {
            "time_s": float(times[k]),
            "time_error_of_steps_s": float(of_steps[k]),
            "time_error_of_currents_s": float(of_currents[k]),
            "filled_share": float(filled[k] / volume),
            "charge_C": float(charge[k]),
            "crack_current_error_of_cut_A": float(of_cut[k]),
        }


def fill_times(volume: Floats, current: Floats) -> Floats:
    """Times, (n,) float, s, at which volumes (n,), m^3, are filled by the currents (n,), A, at them, from the first on.

    t = F/V_m ∫ d𝒱/I with I a power of 𝒱 between two volumes.  Splines would be closer on smooth curves, but this is
    second order from few steps on, so that halving them says the error, and the cut's roughness cannot make it swing.
    """
    grown = np.log(volume[1:] / volume[:-1])
    rest = grown - np.log(current[1:] / current[:-1])  # (1 − p) log x of I ~ 𝒱^p and x = 𝒱₁/𝒱₀
    small = np.abs(rest) < 1e-9
    # ∫ d𝒱/I = (𝒱₀/I₀) (x^(1−p) − 1)/(1 − p), which is log x where p is 1.
    integral = grown * np.where(small, 1.0 + rest / 2, np.expm1(rest) / np.where(small, 1.0, rest))
    return np.concatenate([[0.0], np.cumsum(FARADAY / MOLAR_VOLUME * volume[:-1] / current[:-1] * integral)])


def _written(case: Case, name: str, solution: Solution, folder: Path, stem: str) -> list[Path]:
    """Fields in the volume and on the lithium of one step, on rank 0 the files for ParaView; collective."""
    on_root = solution.problem.mesh.arrays is not None
    e = Evaluation.of(case, solution, (0.0, np.zeros(3), 0.0)) if on_root else None
    reference = solution.problem.mesh.comm.bcast(e.reference if e is not None else None)
    files = write_pieces(solution, folder, stem, reference, case.electrodes.plating.potential)
    if e is None:
        return []
    surfaces = tuple(n for n in (case.electrodes.plating.face, name, *e.crack_names) if n in e.flux.names)
    return [files[-1], write_surface(e.flux.only(surfaces), folder / f"{stem}.vtp", reference)]


def _record(
    case: Case, plan: Filling, rows: list[dict[str, Any]], defects: list[tuple[float, float]], volume: float
) -> dict[str, Any]:
    crack, last = plan.of(case), rows[-1]
    grown = rows[0]["filled_volume_m3"] + last["charge_C"] * MOLAR_VOLUME / FARADAY
    charge, energy = np.abs(np.array(defects)).max(axis=0)
    return {
        "crack": crack.name,
        "starts_at": plan.starts_at,
        "contact": crack.contact,
        "imposed": "current" if case.electrodes.counter.drive is not None else "voltage",
        "steps": plan.steps,
        "time_to_fill_s": last["time_s"],
        "time_to_fill_error_s": last["time_error_of_steps_s"] + last["time_error_of_currents_s"],
        "identity": {"charge": float(charge), "energy": float(energy), "filled_volume": grown / volume - 1},
        "rows": [{key: row[key] for key in COLUMNS} for row in rows],
    }


def filling_table(rows: list[dict[str, Any]]) -> str:
    """The rows as CSV; what is not given is empty."""
    lines = [",".join("" if row[key] is None else f"{row[key]:.12g}" for key in COLUMNS) for row in rows]
    return "\n".join([",".join(COLUMNS), *lines]) + "\n"
