"""Leaking pores: lithium that grows in occluded pores because the electrolyte conducts a few electrons.

Beside the ionic potential φ there is that of the electrons, φ_e, with ∇·(σ_e ∇φ_e) = 0.  Lithium has one potential
for both: φ_e is that of each electrode on its whole surface, and on pore k, which touches none, both fields meet the
potential V_k, the ionic one through the interface's resistance.  Charge does not pile up, so what enters as ions
leaves as conventional current of electrons, I_k + I_e,k = 0, and plates: the pore grows by I_k V_m/F.  Without
interfacial resistance anywhere φ = φ_e, and nothing grows.

Electrons are much slower than ions, so the fields are solved in turn: the electronic one with the V_k of the ionic, the
ionic one with the electronic net currents.  A turn lowers the change by about σ_e/σ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fem_spall.boundary import FARADAY, MOLAR_VOLUME
from fem_spall.case import Case
from fem_spall.conduction import ConductionProblem
from fem_spall.equilibrate import Equilibrator
from fem_spall.errors import SolveError
from fem_spall.fenics import dolfinx
from fem_spall.solve import Solution
from fem_spall.system import LithiumPotential, System

__all__ = ["Growth", "leakage"]

#: Residual of the duals, whose error enters the bar only.
DUAL_TOLERANCE = 1e-5
#: Part of the sum of absolute contributions that an error is at least, as signs cancel by luck now and then.
CANCELLATION = 0.25
#: Turns at most, and the change of the growth over its largest value at which they end.
TURNS, SETTLED = 20, 1e-9


@dataclass(frozen=True)
class Growth:
    """Growth of the pores behind one surface: potentials, V, currents, A, and volumes, m^3, (bodies,) float each.

    ``drive``, V, is what ions and electrons are apart at each pore as long as nothing grows in it.  ``error`` is that
    of the sum of the currents, A, if errors are estimated.
    """

    potential: NDArray[np.float64]
    current: NDArray[np.float64]
    volume: NDArray[np.float64]
    drive: NDArray[np.float64]
    error: float | None = None

    def record(self, conductivity: float, asked: float | None) -> dict[str, Any]:
        """The entry of ``result.json``: totals, the slowest and the fastest pore, and what the asked time takes."""
        rate = self.current * MOLAR_VOLUME / FARADAY  # m^3/s
        growing = rate > 1e-12 * max(np.abs(rate).max(initial=0.0), 1e-300)
        times = self.volume[growing] / rate[growing]
        found: dict[str, Any] = {
            "bodies": len(rate),
            "growing": int(growing.sum()),
            "growth_current": float(self.current.sum()),
            "growth_current_largest": float(self.current.max()),
            "growth_current_smallest": float(self.current.min()),
            "growth_current_error": self.error,
            "drive_largest": float(self.drive.max()),
            "volume": float(self.volume.sum()),
            "electronic_conductivity": conductivity,
        }
        if times.size:
            found |= {"time_to_fill_fastest": float(times.min()), "time_to_fill_median": float(np.median(times)),
                      "time_to_fill_slowest": float(times.max())}  # fmt: skip
            if asked is not None:  # growth is proportional to a conductivity that is small
                found |= {"asked_time": asked, "conductivity_needed_fastest": conductivity * float(times.min()) / asked,
                          "conductivity_needed_median": conductivity * float(np.median(times)) / asked}  # fmt: skip
        return found


def leakage(
    case: Case, solution: Solution, voltage: float | None, volumes: dict[str, float] | None = None
) -> dict[str, Growth]:
    """Return how the leaking pores grow, by crack name; collective.

    Parameters
    ----------
    case : Case
        The case.
    solution : Solution
        Its ionic potential, in which the pores' net currents are zero.
    voltage : float or None
        Potential of the counter over the plating electrode of the problem as posed, V.
    volumes : dict, optional
        Volume of each crack with its curvature, m^3, where it is known.

    Raises
    ------
    SolveError
        If the two fields do not settle, or the counter electrode has no single potential.
    """
    names = [
        crack.name for crack in case.cracks if crack.contact == "leaking" and crack.name in solution.problem.floating
    ]
    if not names:
        return {}
    if voltage is None:
        raise SolveError(
            7, "leaking pores", "need electrodes of one potential each", "leave out interface: {kind: exact_potential}"
        )
    electronic = _Electronic(case, solution.problem, names, voltage)
    fine = _settled(electronic, solution.system, case.solver.tolerance, (solution.phi, solution.lithium))
    stopped = electronic.open_circuit(case.solver.tolerance)
    coarse, errors = None, {}
    if case.solver.errors:
        errors = electronic.errors(fine, case.solver.tolerance)
        if solution.system.coarse is not None:
            lower = _Electronic(case, solution.system.coarse.problem, names, voltage)
            coarse = _settled(lower, solution.system.coarse, case.solver.tolerance, None)
    result = {}
    for name in names:
        potential, current = fine[name]
        drive = solution.lithium.floating[name] - stopped[name]
        error = errors.get(name)
        if error is not None and coarse is not None:  # what the pores' own potentials are off by moves the drive
            moved = np.divide(potential - coarse[name][0], drive, out=np.zeros_like(drive), where=drive != 0)
            error += float(np.abs(current * moved).sum())
        if error is not None:
            error *= abs(solution.factor)
        volume = solution.problem.mesh.volumes(name)
        if volumes is not None:
            volume *= volumes[name] / volume.sum()
        result[name] = Growth(
            potential * solution.factor, current * solution.factor, volume, np.abs(drive * solution.factor), error
        )
    return result


def _settled(
    electronic: _Electronic, system: System, tolerance: float, begin: tuple[Any, LithiumPotential] | None
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Potential, V, and ionic net current, A, of each pore once both fields agree."""
    names = electronic.names
    if begin is None:
        _, phi, lithium = system.solve(system.given, tolerance)
    else:
        phi, lithium = begin
    before: dict[str, NDArray[np.float64]] = {}
    for _ in range(TURNS):
        growth = {name: -value for name, value in electronic.net_currents(lithium, tolerance).items()}
        scale = max(float(np.abs(value).max()) for value in growth.values())
        if before and all(np.abs(growth[n] - before[n]).max() <= SETTLED * scale for n in names):
            amperes = system.problem.current_scale
            return {name: (lithium.floating[name], growth[name] * amperes) for name in names}
        before = growth
        given: dict[str, Any] = {**system.given.current, **growth}
        _, phi, lithium = system.solve(replace(system.given, current=given), tolerance, phi)
    raise SolveError(
        7, "leaking pores", f"the ionic and the electronic field do not settle in {TURNS} turns",
        "lower electrolyte.electronic_conductivity",
    )  # fmt: skip


class _Electronic:
    """The electronic field of given potentials of the lithium; its conductivity only scales the currents."""

    def __init__(self, case: Case, ionic: ConductionProblem, names: Sequence[str], voltage: float) -> None:
        value = case.electrolyte.electronic_conductivity
        assert value is not None
        electrodes = case.electrodes
        behind: dict[str, Any] = {electrodes.plating.face: electrodes.plating.interface}
        behind |= {c.name: c.interface for c in case.cracks if c.contents == "lithium" and c.contact == "plating"}
        potentials: dict[str, float] = {str(name): 0.0 for name, law in behind.items() if law.kind != "no_flux"}
        potentials[electrodes.counter.face] = voltage
        potentials |= {
            region.name: voltage if region.on == "counter" else 0.0
            for region in case.regions if region.interface.kind != "no_flux"
        }  # fmt: skip
        floating = [name for name in ionic.floating if name not in ionic.imposed]
        self.names, self.ratio = tuple(names), value / ionic.reference_conductivity
        fixed: dict[str, Any] = {name: _constant(v) for name, v in potentials.items()}
        fixed |= dict.fromkeys(floating, _constant(0.0))
        problem = replace(
            ionic, conductivity=np.eye(3), fixed=fixed, contact={}, floating=tuple(floating), kinetics={}, offset={},
            imposed={},
        )  # fmt: skip
        given = tuple(name for name in floating if name not in names)
        self.problem = problem
        self.system = _system(replace(problem, floating=given))
        self._pieces = {name: problem.pieces(name) for name in names}

    def net_currents(self, lithium: LithiumPotential, tolerance: float) -> dict[str, NDArray[np.float64]]:
        """Electronic net current into each pore, in program units of the ionic field."""
        _, phi, found = self.system.solve(self._held(lithium.floating), tolerance)
        return {name: self.ratio * self.system.piece_currents(phi, found, self._pieces[name]) for name in self.names}

    def open_circuit(self, tolerance: float) -> dict[str, NDArray[np.float64]]:
        """Potential of the electrons, V, in each pore as long as it neither takes nor gives any."""
        system = _system(self.problem)
        found = system.solve(system.given, tolerance)[2]
        return {name: found.floating[name] for name in self.names}

    def errors(
        self, settled: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]], tolerance: float
    ) -> dict[str, float]:
        """Error of the electronic current, A, into all pores behind each surface, by dual-weighted defects; collective.

        The current is the energy product of the field with the potential that is one on the pores and zero elsewhere.
        """
        equilibrator, comm = Equilibrator(self.system), self.problem.mesh.comm
        _, phi, found = self.system.solve(self._held({name: pair[0] for name, pair in settled.items()}), tolerance)
        primal = equilibrator.defect(phi, found)
        amperes = self.ratio * self.problem.current_scale
        arrays, errors = self.problem.mesh.arrays, {}
        deficits = {} if arrays is None else arrays.info.get("flat_area_deficit", {})
        for name in self.names:
            unit = {other: np.full(len(pair[0]), float(other == name)) for other, pair in settled.items()}
            fixed = dolfinx.fem.Function(self.problem.space)
            lithium = LithiumPotential(self._held(unit, fixed).fixed)
            _, dual, weight = self.system.solve(lithium, max(tolerance, DUAL_TOLERANCE))
            product = equilibrator.product(primal, equilibrator.defect(dual, weight)) * amperes
            signed, absolute = comm.allreduce(np.array([product.sum(), np.abs(product).sum()]))
            deficit = comm.bcast(abs(deficits.get(name, 0.0)))
            curved = comm.bcast(arrays is not None and arrays.order == 2)
            shape = (deficit**2 if curved else 2 * deficit) * float(np.abs(settled[name][1]).sum())
            errors[name] = max(abs(float(signed)), CANCELLATION * float(absolute)) + shape
        return errors

    def _held(self, potentials: dict[str, NDArray[np.float64]], fixed: Any = None) -> LithiumPotential:
        """The given potentials with those of the pores, (bodies,) float, V."""
        fixed = self.system.given.fixed.copy() if fixed is None else fixed
        for name, (unknowns, body, _) in self._pieces.items():
            fixed.x.array[unknowns] = potentials[name][body]
        return replace(self.system.given, fixed=fixed)


def _system(problem: ConductionProblem) -> System:
    """The system of a problem, with the one of degree 1 that degree 2 needs."""
    if problem.degree == 1:
        return System(problem)
    low = dolfinx.fem.functionspace(problem.mesh.mesh, ("Lagrange", 1))
    return System(problem, System(replace(problem, degree=1, space=low)))


def _constant(potential: float) -> Any:
    return lambda points: np.full(points.shape[1], potential)
