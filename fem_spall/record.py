"""The record of a solved case: figures, currents, balances, power by part."""

from __future__ import annotations

from typing import Any

from fem_spall.adapt import Solved
from fem_spall.case import Case
from fem_spall.metrics import Evaluation
from fem_spall.solve import Solution

__all__ = ["record_solution"]


def record_solution(case: Case, state: Solved, geometry: dict[str, float]) -> dict[str, Any]:
    """Return figures, currents, balances and mesh of a solved case, as they stand in ``result.json``; rank 0.

    ``geometry`` are the volumes, m^3.
    """
    e, other, metrics = state.evaluation, state.other, state.metrics
    assert e is not None
    solution, problem = e.solution, e.solution.problem
    counter = e.currents.get(case.electrodes.counter.face, (0.0, 0.0, 0.0))[0]
    scale = max(abs(value[0]) for value in e.currents.values())
    moment = abs(e.total_current) * e.height or 1.0
    plating = case.electrodes.plating.potential
    kinds = {crack.name: crack.kind for crack in case.cracks}
    cracks = {
        name: {
            "current": e.currents[name][0],
            "share": e.currents[name][0] / e.total_current,
            **_potentials(solution, name, plating),
            "area": e.flux.only((name,)).area,
            "kind": kinds[name],
        }
        for name in (*e.crack_names, *(n for n in problem.floating if n not in problem.imposed))
    }
    arrays = problem.mesh.arrays
    assert arrays is not None
    laws = (case.electrodes.plating.interface, *case.walls.values(), *(crack.interface for crack in case.cracks))
    plain = bool(e.voltage) and all(law.kind != "exact_potential" for law in laws)
    power = _dissipation(e) if plain else None
    return {
        "metrics": {name: metric.record() for name, metric in metrics.items()},
        "cracks": cracks,
        "surface_sensitivity": _sensitivity(e),
        "geometry": {**geometry, "crack_area": sum(crack["area"] for crack in cracks.values())},
        "currents": {
            "plating": e.total_current,
            "counter": counter,
            **{
                problem.roles[name]: value[0] for name, value in e.currents.items() if problem.roles[name] in case.walls
            },
            "imbalance": sum(value[0] for value in e.currents.values()),
        },
        "identity": {
            "charge": sum(value[0] for value in e.currents.values()) / scale,
            "energy": solution.bulk_power / solution.surface_power - 1,
            "advance": (solution.height_moment - solution.boundary_moment) / moment,
            **({"power_by_part": _defect_of_power(power)} if power is not None else {}),
            **({"isolated": solution.isolated_current / scale} if problem.floating else {}),
            **({"imposed_current": e.total_current / _imposed(e) - 1} if problem.imposed else {}),
        },
        "interfaces": _interfaces(e),
        **({"dissipation": power} if power is not None else {}),
        "phi_min": solution.phi_range[0] + plating,
        "phi_max": solution.phi_range[1] + plating,
        "conductance_over_sigma": e.total_current / e.voltage / e.sigma if e.voltage else None,
        "reference": {
            "current_density": e.reference,
            "field": e.reference / e.sigma,
            "field_V_over_H": e.voltage / e.height if e.voltage else None,
            "source": "given" if case.metrics.reference_current_density is not None else "I/A",
        },
        "electrodes": {
            "plating_V": plating,
            "counter_V": e.voltage + plating if e.voltage is not None else None,
            "height_m": e.height,
            "area_m2": e.cross_section,
        },
        "convergence": {
            "method": "degree 1 against degree 2 on one mesh",
            "rows": [
                {"metric": name, "coarse": pair[0].value, "fine": pair[1].value}
                for name, metric in metrics.items()
                if other is not None and metric.value is not None and not metric.flag and name in other
                for pair in [(other[name], metric) if case.solver.degree == 2 else (metric, other[name])]
            ],
        },
        "mesh": {**arrays.info, "dofs": solution.report.dofs, "hash": arrays.sha256, "levels": []},
        "solve": dict(vars(solution.report)),
    }


def _imposed(e: Evaluation) -> float:
    """The current that the case imposes, A."""
    drive = e.case.electrodes.counter.drive
    assert drive is not None
    return drive.through(e.cross_section)


def _sensitivity(e: Evaluation) -> float | None:
    """Relative change of the total current per metre that the cracks' walls move into the electrolyte, 1/m."""
    if not e.voltage or not e.crack_names or any(name in e.solution.problem.contact for name in e.crack_names):
        return None
    wall = e.flux.only(e.crack_names)
    return float((wall.hats * wall.density**2).sum() / (e.sigma * e.voltage * e.total_current))


def _potentials(solution: Solution, name: str, plating: float) -> dict[str, Any]:
    """Potential of the lithium of a crack, V; of isolated bodies the mean, the range and the number as well."""
    if name not in solution.lithium.floating:
        return {"potential": plating}
    values = plating + solution.factor * solution.lithium.floating[name]
    found = {"potential": float(values.mean())}
    if len(values) > 1:
        found |= {"bodies": len(values), "lowest_potential": float(values.min()),
                  "highest_potential": float(values.max())}  # fmt: skip
    return found


def _interfaces(e: Evaluation) -> dict[str, dict[str, float]]:
    """Area, mean current density into the lithium and largest drop of potential of each surface with a resistance."""
    found = {}
    for name in e.solution.problem.contact:
        own = e.flux.only((name,))
        found[name] = {
            "area": own.area,
            "mean_density": e.currents[name][0] / own.area,
            "largest_density": float(own.density.max()),
        }
        law = e.solution.problem.kinetics.get(name)
        drop = e.area_resistance(name)
        if law is not None:
            found[name]["largest_drop"] = abs(law[0].overpotential(found[name]["largest_density"]))
        elif drop is not None:
            found[name]["largest_drop"] = abs(drop * found[name]["largest_density"])
    return found


def _dissipation(e: Evaluation) -> dict[str, Any]:
    """Power in the electrolyte and in each interface, and what the electrodes supply, W."""
    solution, problem = e.solution, e.solution.problem
    supplied, interfaces = 0.0, {}
    for name, (value, _, _) in e.currents.items():
        if name in problem.floating and name not in problem.imposed:
            potential = 0.0  # no net current
        elif name == e.case.electrodes.counter.face:
            potential = e.voltage or 0.0
        else:
            potential = 0.0
        supplied -= potential * value
        if name in problem.contact:
            interfaces[name] = solution.interface_moment[name] - potential * value
    return {"bulk": solution.bulk_power, "interfaces": interfaces, "supplied": supplied}


def _defect_of_power(power: dict[str, Any]) -> float:
    """Relative difference of the power dissipated, part by part, and the power supplied."""
    return float((power["bulk"] + sum(power["interfaces"].values())) / power["supplied"] - 1)
