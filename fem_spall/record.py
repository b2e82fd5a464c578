"""The record of a solved case: figures, currents, balances, power by part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fem_spall.adapt import Solved
from fem_spall.case import Case
from fem_spall.mesh.arrays import triangle_areas
from fem_spall.metrics import Evaluation
from fem_spall.power_by_part import PartPower
from fem_spall.solve import Solution

__all__ = ["record_solution"]


def record_solution(
    case: Case, state: Solved, geometry: dict[str, float], parts: Sequence[PartPower] = ()
) -> dict[str, Any]:
    """Return figures, currents, balances and mesh of a solved case, as they stand in ``result.json``; rank 0.

    ``geometry`` are the volumes, m^3, ``parts`` what each part of the electrolyte dissipates.
    """
    e, other, metrics = state.evaluation, state.other, state.metrics
    assert e is not None
    solution, problem = e.solution, e.solution.problem
    counter = sum(e.currents[name][0] for name in e.counter_names)
    plating = case.electrodes.plating.potential
    cracks = _cracks(case, e)
    arrays = problem.mesh.arrays
    assert arrays is not None
    power = _dissipation(e)
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
        "identity": _identities(e, parts, power),
        "interfaces": _interfaces(e),
        **({"regions": _regions(e)} if case.regions else {}),
        **({"dissipation": power} if power is not None else {}),
        **(
            {"electrolyte_parts": {part.name: {"volume": part.volume, "power": part.power} for part in parts}}
            if parts
            else {}
        ),
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
        "mesh": {
            **arrays.info,
            "size_min_m": case.mesh.size_min,
            "dofs": solution.report.dofs,
            "hash": arrays.sha256,
            "levels": [],
        },
        "solve": dict(vars(solution.report)),
    }


def _cracks(case: Case, e: Evaluation) -> dict[str, dict[str, Any]]:
    """Current, share, potential, area and kind of each crack that current may pass, SI."""
    found = {}
    for crack in case.cracks:
        parts = tuple(name for name in e.parts_of(crack.name) if name in e.currents)
        if not parts:
            continue
        current = sum(e.currents[name][0] for name in parts)
        found[crack.name] = {
            "current": current,
            "share": current / e.total_current,
            **_potentials(e.solution, crack.name, case.electrodes.plating.potential),
            "area": e.flux.only(parts).area,
            "kind": crack.kind,
        }
    return found


def _identities(e: Evaluation, parts: Sequence[PartPower], power: dict[str, Any] | None) -> dict[str, float]:
    """Relative defects of the balances that hold on every mesh."""
    solution, problem = e.solution, e.solution.problem
    currents = [value[0] for value in e.currents.values()]
    scale, moment = max(map(abs, currents)), abs(e.total_current) * e.height or 1.0
    return {
        "charge": sum(currents) / scale,
        "energy": solution.bulk_power / solution.surface_power - 1,
        "advance": (solution.height_moment - solution.boundary_moment) / moment,
        **({"electrolyte_parts": sum(part.power for part in parts) / solution.bulk_power - 1} if parts else {}),
        **({"power_by_part": _defect_of_power(power)} if power is not None else {}),
        **({"isolated": solution.isolated_current / scale} if problem.floating else {}),
        **({"imposed_current": e.total_current / _imposed(e) - 1} if problem.imposed else {}),
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


def _regions(e: Evaluation) -> dict[str, dict[str, Any]]:
    """Current, area as meshed and as asked for, and mean density of each region, SI; its figures have the errors."""
    arrays = e.solution.problem.mesh.arrays
    assert arrays is not None
    given = arrays.info.get("region_areas_m2", {})
    found = {}
    for region in e.case.regions:
        corners = arrays.points[arrays.facets[arrays.tags == arrays.names[region.name], :3]] * arrays.unit
        own = e.flux.only((region.name,)).area if region.name in e.flux.names else float(triangle_areas(corners).sum())
        current = e.currents.get(region.name, (0.0, 0.0, 0.0))[0]
        found[region.name] = {
            "on": region.on, "kind": region.kind, "current": current, "share": current / e.total_current, "area": own,
            "given_area": given.get(region.name), "mean_density": current / own,
        }  # fmt: skip
    return found


def _dissipation(e: Evaluation) -> dict[str, Any] | None:
    """Power in the electrolyte and in each interface, and what the electrodes supply, W; None with exact potentials."""
    case = e.case
    surfaces = (case.electrodes.plating, *case.cracks, *case.regions)
    laws = (*case.walls.values(), *(surface.interface for surface in surfaces))
    if not e.voltage or any(law.kind == "exact_potential" for law in laws):
        return None
    solution, problem = e.solution, e.solution.problem
    supplied, interfaces = 0.0, {}
    for name, (value, _, _) in e.currents.items():
        if name in problem.floating and name not in problem.imposed:
            potential = 0.0  # no net current
        elif name in e.counter_names:
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
