"""Figures of merit: what a run reports, every one mesh-convergent, with its definition and error.

Reference current density j₀ = I/A and field E₀ = j₀/σ: every focusing figure is normalised by them.
To add a figure: write one function that yields :class:`Metric` and name it in :data:`FIGURES`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fem_spall.boundary import FARADAY, MOLAR_VOLUME
from fem_spall.case import Case, length_name
from fem_spall.crack import cross_section
from fem_spall.edge_figures import EdgeStudy, exponents, intensity_figures
from fem_spall.metric import Metric
from fem_spall.solve import Solution
from fem_spall.surface_flux import RESOLVED, BallMean, LithiumFlux, lithium_flux
from fem_spall.tip_flux import TipFlux

__all__ = ["FIGURES", "OTHERS", "Evaluation", "Metric", "distribution_table", "evaluate", "length_name"]


#: A ball mean is withheld where a place that is not resolved has a rough mean this much larger.
BEYOND = 1.2


@dataclass(frozen=True)
class Evaluation:
    """What the figures are computed from, on rank 0; SI units."""

    case: Case
    solution: Solution
    flux: LithiumFlux
    currents: dict[str, tuple[float, float, float]]  # by mesh surface: value, least, most
    raw_maximum: tuple[float, NDArray[np.float64], float]  # max |E|, place, local size
    tip: TipFlux | None = None  # None without lithium cracks
    edges: EdgeStudy | None = None  # sharp edges of the plating lithium, if they were looked for

    @classmethod
    def of(
        cls,
        case: Case,
        solution: Solution,
        raw_maximum: tuple[float, NDArray[np.float64], float],
        tip: TipFlux | None = None,
    ) -> Evaluation:
        """Evaluate the surface flux of a solution."""
        flux, currents = lithium_flux(solution)
        return cls(case, solution, flux, currents, raw_maximum, tip)

    @property
    def plating_names(self) -> tuple[str, ...]:
        """Surfaces of the plating lithium: the flat electrode and the cracks, with all regions on them."""
        flat = self.parts_of(self.case.electrodes.plating.face)
        return tuple(n for n in (*flat, *self.crack_names) if n in self.currents)

    @property
    def counter_names(self) -> tuple[str, ...]:
        """Surfaces of the counter electrode: its face and the regions on it."""
        return tuple(n for n in self.parts_of(self.case.electrodes.counter.face) if n in self.currents)

    def parts_of(self, surface: str) -> tuple[str, ...]:
        """A surface and the regions on it."""
        return surface, *(region.name for region in self.case.regions if self.case.surface_of(region) == surface)

    @property
    def crack_names(self) -> tuple[str, ...]:
        """Surfaces of the cracks whose lithium is part of the plating electrode, with all regions on them."""
        cracks = (c.name for c in self.case.cracks if c.contents == "lithium" and c.contact == "plating")
        return tuple(part for crack in cracks for part in self.parts_of(crack) if part in self.currents)

    @property
    def total_current(self) -> float:
        """Current into the plating lithium, A."""
        return sum(self.currents[name][0] for name in self.plating_names)

    def goal(self, name: str) -> NDArray[np.float64]:
        """Weights (k, 3) of the current density at the corners of the facets of :attr:`flux` in a linear goal.

        ``total`` is the current into the plating lithium, ``crack`` that into the cracks and ``region NAME`` that into
        a region, A; ``moment`` is that into the cracks times the depth, A m; ``fef_r…`` is the ball mean of that figure
        and ``tip`` the mean about the hottest vertex, A/m^2.
        """
        if name == "tip":
            place = self.tip.place if self.tip is not None else None
            own = np.isin(self.flux.surface, [self.flux.names.index(n) for n in self.crack_names])
            hats = np.where((own[:, None]) & (self.flux.facets[:, :3] == self._vertex(place)), self.flux.hats, 0.0)
            return np.asarray(hats / hats.sum() * (1.0 if self.total_current >= 0 else -1.0))
        if name in ("total", "crack", "moment") or name.startswith("region "):
            groups = {"total": self.plating_names, "crack": self.crack_names, "moment": self.crack_names}
            names = groups.get(name, (name.removeprefix("region "),))
            own = np.isin(self.flux.surface, [self.flux.names.index(n) for n in names])
            plane = self.height if self.case.electrodes.plating.face == "+z" else 0.0
            weights = self.flux.depth_weights(plane) if name == "moment" else self.flux.hats
            return np.where(own[:, None], weights, 0.0)
        result = np.zeros(self.flux.density.shape)
        own = np.isin(self.flux.surface, [self.flux.names.index(n) for n in self.plating_names])
        for length, mean in self.ball_means.items():
            if name == f"fef_r{length_name(length)}":
                result[own] = mean.parts if self.total_current >= 0 else -mean.parts
        return result

    def _vertex(self, place: tuple[float, float, float] | None) -> int:
        """The vertex of the cracks nearest to a place."""
        corners = np.unique(self.flux.only(self.crack_names).facets[:, :3])
        distance = np.linalg.norm(self.flux.points[corners] - np.array(place or (0.0, 0.0, 0.0)), axis=1)
        return int(corners[distance.argmin()])

    @cached_property
    def ball_means(self) -> dict[float, BallMean]:
        """Largest ball mean of each averaging length, m, counted along the total current."""
        lithium = self.flow.only(self.plating_names)
        found = {
            length: lithium.ball_mean_maximum(length, self.crack_names or self.plating_names)
            for length in self.case.metrics.averaging_lengths
        }
        return {length: mean for length, mean in found.items() if mean is not None}

    @cached_property
    def metrics(self) -> dict[str, Metric]:
        """All figures by name."""
        return evaluate(self)

    def per_reference(self, value: float, **gradient: float) -> dict[str, float]:
        """Gradient by goal of value = (…)/j0, given the gradient at constant j0 times j0."""
        result = {name: slope / abs(self.reference) for name, slope in gradient.items()}
        if self.case.metrics.reference_current_density is None:
            result["total"] = result.get("total", 0.0) - value / self.total_current
        return result

    def traced_edges(self) -> EdgeStudy:
        """Sharp edges of the plating lithium, without the material forces: they are those of the mesh."""
        given = tuple(np.array(line) for line in self.case.metrics.edges)
        tensor = self.case.electrolyte.conductivity.tensor()
        return EdgeStudy.of(self.solution, self.plating_names, tensor, given)

    @property
    def cross_section(self) -> float:
        """Area A of the block, or of a round pellet in it, across the current, m^2."""
        return cross_section(self.case.block, self.case.cracks)

    @property
    def height(self) -> float:
        """Distance H of the electrode faces, m."""
        return self.case.electrolyte.size[2]

    @property
    def sigma(self) -> float:
        """Conductivity along the block's height, S/m."""
        return float(self.case.electrolyte.conductivity.tensor()[2, 2])

    @property
    def reference(self) -> float:
        """Reference current density j0, A/m^2."""
        given = self.case.metrics.reference_current_density
        return given if given is not None else self.total_current / self.cross_section

    def area_resistance(self, name: str) -> float | None:
        """Area resistance, ohm m^2, of the linear law of a surface, None for others."""
        conductance = self.solution.problem.contact[name][0]
        if not isinstance(conductance, float):
            return None
        return self.solution.problem.mesh.unit / (conductance * self.solution.problem.reference_conductivity)

    @property
    def flow(self) -> LithiumFlux:
        """The surface flux counted along the total current: focusing reads the same when lithium is stripped."""
        return self.flux if self.total_current >= 0 else replace(self.flux, density=-self.flux.density)

    @property
    def voltage(self) -> float | None:
        """Potential of the counter over the plating electrode, V, if it has one."""
        problem, face = self.solution.problem, self.case.electrodes.counter.face
        if face in problem.imposed:
            return float(self.solution.lithium.floating[face][0])
        if self.case.electrodes.counter.interface.kind == "exact_potential":
            return None
        for name in self.counter_names:
            if name in problem.contact:
                return problem.contact[name][1] * self.solution.factor
            return float(problem.fixed[name](np.zeros((3, 1)))[0]) * self.solution.factor
        return None


def _cell(e: Evaluation) -> Iterator[Metric]:
    if e.voltage is not None:
        driven = e.case.electrodes.counter.drive is not None
        slope = {"voltage": 1.0} if e.solution.problem.imposed else {"conductance": -e.voltage / e.total_current}
        yield Metric(
            "cell_voltage", f"potential of the counter over the plating one, {'found' if driven else 'imposed'}", "V",
            e.voltage, gradient=slope if driven else {},
        )  # fmt: skip
    yield Metric(
        "total_current", "current I from the counter into the plating lithium", "A", e.total_current,
        gradient={"total": 1.0},
    )  # fmt: skip
    yield Metric(
        "mean_current_density", "j = I/A, A the block's cross-section", "A/m^2", e.total_current / e.cross_section,
        gradient={"total": 1 / e.cross_section},
    )  # fmt: skip
    yield Metric(
        "plating_rate", f"growth of a flat electrode, j0 V_m/F, with V_m = {MOLAR_VOLUME * 1e6:g} cm^3/mol of lithium",
        "m/s", e.reference * MOLAR_VOLUME / FARADAY, gradient={
            "total": 0.0 if e.case.metrics.reference_current_density is not None
            else MOLAR_VOLUME / FARADAY / e.cross_section
        },
    )  # fmt: skip
    definitions = {
        "resistance": ("R = V/I", "ohm"),
        "area_resistance": ("R A = V A/I", "ohm*m^2"),
        "electrode_advance": (
            "δ = H − σ A V/I: the distance by which the electrodes seem to be closer, as impedance sees it; "
            "an interfacial resistance counts against it", "m",
        ),
    }  # fmt: skip
    voltage, current = e.voltage, e.total_current
    if voltage is None or current == 0:
        for name, (definition, unit) in definitions.items():
            yield Metric(name, definition, unit, absent="the counter electrode has no single potential in this case")
        return
    resistance = voltage / current
    values = (resistance, resistance * e.cross_section, e.height - e.sigma * e.cross_section * resistance)
    for (name, (definition, unit)), value in zip(definitions.items(), values, strict=True):
        by_voltage = {"ohm": 1.0, "ohm*m^2": e.cross_section, "m": -e.sigma * e.cross_section}[unit] / current
        goal = {"voltage": by_voltage} if e.solution.problem.imposed else {"conductance": -resistance * by_voltage}
        yield Metric(name, definition, unit, value, gradient=goal)
    if not e.case.electrolyte.conductivity.uniform:
        effective = e.height / (e.cross_section * resistance)
        slope = (
            {"voltage": -effective / voltage} if e.solution.problem.imposed else {"conductance": effective / current}
        )
        yield Metric(
            "effective_conductivity", "σ_eff = H I/(A V): the conductivity of a uniform electrolyte that would pass as "
            "much", "S/m", effective, gradient=slope,
        )  # fmt: skip


def _crack(e: Evaluation) -> Iterator[Metric]:
    names = e.crack_names
    if not names:
        return
    current, least, most = (sum(e.currents[n][k] for n in names) for k in range(3))
    bounds = (least, most)
    yield Metric(
        "crack_current", "sum of the nodal reactions on the cracks; the rim shared with the flat electrode is divided "
        "by area, the bounds give it to either", "A", current, bounds=bounds, gradient={"crack": 1.0},
    )  # fmt: skip
    share = current / e.total_current
    gradient = {"crack": 1 / e.total_current, "total": -share / e.total_current}
    yield Metric("crack_current_share", "crack current / total current", "1", share, gradient=gradient)
    capture = current / e.reference
    gradient = e.per_reference(capture, crack=math.copysign(1.0, e.reference))
    definition = "crack current / j0: the flat electrode that would draw as much"
    yield Metric("capture_area", definition, "m^2", capture, gradient=gradient)
    plating = e.case.electrodes.plating.face
    on_face = tuple(name for name in e.parts_of(plating) if name in e.flux.names)
    flat = e.flux.only(on_face).area if plating in e.flux.names else e.cross_section
    opening = e.cross_section - flat
    definition = "capture area / projected opening of the cracks in the plating face"
    if any(crack.kind == "interface_file" for crack in e.case.cracks) or opening <= 1e-9 * e.cross_section:
        why = "the cracks have no opening in the plating face (or it is part of an interface sheet)"
        yield Metric("capture_ratio", definition, "1", absent=why)
    else:
        gradient = {name: slope / opening for name, slope in gradient.items()}
        yield Metric("capture_ratio", definition, "1", capture / opening, gradient=gradient)


def _moment(e: Evaluation) -> Iterator[Metric]:
    resistive = any(name in e.solution.problem.contact for name in e.crack_names)
    if e.voltage is not None or not e.crack_names or resistive or not e.case.electrolyte.conductivity.uniform:
        return
    value = float((e.goal("moment") * e.flux.density).sum()) / e.reference
    yield Metric(
        "advance_volume", "Σ d_i R_i / j0 over the cracks, d the depth below the plating face: the electrode advance "
        "times the area of a wide cell that held this crack", "m^3", value,
        gradient=e.per_reference(value, moment=math.copysign(1.0, e.reference)),
    )  # fmt: skip


def _regions(e: Evaluation) -> Iterator[Metric]:
    for region in e.case.regions:
        name, goal = region.name, f"region {region.name}"
        if name not in e.currents:
            continue
        current, least, most = e.currents[name]
        area = e.flux.only((name,)).area
        yield Metric(
            f"region_{name}_current", f"current into the lithium through the region {name} of {region.on}; the rim "
            "that it shares with others of one potential is divided by area", "A", current, bounds=(least, most),
            gradient={goal: 1.0},
        )  # fmt: skip
        share = current / e.total_current
        yield Metric(
            f"region_{name}_current_share", f"current of {name} / total current", "1", share,
            gradient={goal: 1 / e.total_current, "total": -share / e.total_current},
        )  # fmt: skip
        yield Metric(
            f"region_{name}_mean_density", f"current of {name} / its area, {area * 1e12:.4g} um^2 as meshed", "A/m^2",
            current / area, gradient={goal: 1 / area},
        )  # fmt: skip


def _distribution(e: Evaluation) -> Iterator[Metric]:
    names = e.crack_names or e.plating_names
    where = "the cracks" if e.crack_names else "the plating electrode"
    density, area = e.flow.only(names).distribution()
    if density.size == 0:
        return
    focusing, total = density / abs(e.reference), area.sum()
    by_current = np.abs(density) * area
    by_area = (np.cumsum(area) - area / 2) / total
    blurred, size = e.edges.blurred_area(names) if e.edges is not None else (0.0, 0.0)
    for weights, suffix, word in ((area, "", "area"), (by_current, "_current_weighted", "current")):
        rank = (np.cumsum(weights) - weights / 2) / weights.sum()
        for percent in (50, 90, 95, 99):
            definition = f"j/j0 that {percent} % of the {word} of {where} stays below"
            value = float(np.interp(percent / 100, rank, focusing))
            metric = Metric(f"flux_q{percent}{suffix}", definition, "1", value)
            tail = 1 - float(np.interp(percent / 100, rank, by_area))
            if tail < blurred / total:
                why = (
                    f"{tail:.1%} of the area lie above it, and the mesh blurs {blurred / total:.1%}: three mesh edges "
                    f"along each sharp edge. Lower mesh.size_min to {size * tail * total / blurred * 1e9:.2g} nm"
                )
                metric = replace(metric, value=None, absent=why)
            yield metric
    if e.edges is not None:
        yield Metric(
            "flux_tail_limit", f"share of the area of {where} that the mesh blurs (three mesh edges x the length of "
            "the sharp edges, both faces together); quantiles with less of it above them are withheld", "1",
            blurred / total, flag="mesh-dependent",
        )  # fmt: skip
    critical = e.case.metrics.critical_current_density
    above = density > critical
    yield Metric(
        "area_above_critical", f"area of {where} with j above {critical:g} A/m^2", "m^2", float(area[above].sum())
    )
    current = density * area
    yield Metric(
        "current_share_above_critical", f"share of the current of {where} delivered above {critical:g} A/m^2", "1",
        float(current[above].sum() / current.sum()) if total else 0.0,
    )  # fmt: skip


def _tip(e: Evaluation) -> Iterator[Metric]:
    means: dict[float, float] = {}
    for length in e.case.metrics.averaging_lengths:
        name = f"fef_r{length_name(length)}"
        definition = (
            "largest mean of j/j0 over the lithium in a ball of this radius (sum of reactions / area), centred on "
            + ("a crack" if e.crack_names else "the plating electrode")
        )
        mean = e.ball_means.get(length)
        if mean is None:
            continue
        metric = Metric(name, definition, "1", averaging_length=length, local_size=mean.local_size)
        asked, wanted = e.case.mesh.size_min, length / RESOLVED  # walls may be coarser than asked
        if length < RESOLVED * mean.local_size:
            why = (
                f"the radius must be at least {RESOLVED:g} local mesh sizes; the size there is "
                f"{mean.local_size * 1e9:.0f} nm. Lower mesh.size_min to "
                f"{min(wanted, asked * wanted / mean.local_size) * 1e9:.3g} nm"
            )
            yield replace(metric, absent=why)
        elif mean.beyond > BEYOND * mean.value:
            why = (
                f"places the mesh is too coarse for may be hotter (about {mean.beyond / abs(e.reference):.3g}); lower "
                f"mesh.size_min to {min(wanted, asked / 2) * 1e9:.3g} nm, or leave mesh.refine_tips on"
            )
            yield replace(metric, absent=why)
        else:
            x, y, z = (float(v) for v in mean.centre)
            means[length] = mean.value
            value, unseen = (v / abs(e.reference) for v in (mean.value, max(mean.beyond - mean.value, 0.0)))
            gradient = e.per_reference(value, **{name: 1.0})
            yield replace(metric, value=value, place=(x, y, z), gradient=gradient, unseen=unseen)
    yield from exponents(means)


def _point(e: Evaluation) -> Iterator[Metric]:
    if e.tip is None:
        return
    value = None if e.tip.value is None else e.tip.value / abs(e.reference)
    # Known even where the mesh is too coarse for the point value: refinement wants to know where to go.
    mean = None if e.tip.place is None else float((e.goal("tip") * e.flux.density).sum() / abs(e.reference))
    wagner = e.sigma / e.tip.slope if e.tip.slope else None
    yield Metric(
        "fef_tip", "largest j/j0 at a vertex of the cracks: the field of the cells round it, weighted by volume, along "
        "the normal of the surface, or the drop across its interfacial resistance", "1", value,
        absent=e.tip.absent, place=e.tip.place, local_size=e.tip.local_size,
        check=None if wagner else mean, wagner=wagner,
        gradient=None if mean is None else e.per_reference(mean, tip=1.0),
    )  # fmt: skip


def _raw(e: Evaluation) -> Iterator[Metric]:
    value, place, size = e.raw_maximum
    x, y, z = (float(v) for v in place)
    yield Metric(
        "max_field_on_mesh", "largest |E| at a corner of a cell of this mesh; it grows without bound under refinement "
        "and is no result", "V/m", value, flag="mesh-dependent", local_size=size, place=(x, y, z),
    )  # fmt: skip


def _edges(e: Evaluation) -> Iterator[Metric]:
    yield from intensity_figures(e.edges, e.case.metrics.tip_radius, e.case.electrolyte.conductivity.uniform)


type Figures = tuple[Callable[[Evaluation], Iterator[Metric]], ...]

#: Those that follow from linear goals, or are point values, and those that do not.
LINEAR: Figures = (_cell, _crack, _moment, _regions, _tip, _point)
OTHERS: Figures = (_edges, _distribution, _raw)
FIGURES: Figures = (*LINEAR, *OTHERS)


def evaluate(e: Evaluation, figures: Figures = FIGURES) -> dict[str, Metric]:
    """Figures of a solution by name, all or some."""
    return {metric.name: metric for figure in figures for metric in figure(e)}


def distribution_table(e: Evaluation) -> NDArray[np.float64]:
    """Rows (j/j0, share of area above, share of current above), at most 500, ascending in j/j0."""
    density, area = e.flow.only(e.crack_names or e.plating_names).distribution()
    if density.size == 0:
        return np.empty((0, 3))
    current = density * area
    above_area = 1 - np.cumsum(area) / area.sum()
    above_current = 1 - np.cumsum(current) / current.sum()
    rows = np.stack([density / abs(e.reference), above_area, above_current], axis=1)
    # Equal steps in the logarithm of the share above, so that the tail is kept.
    tail = np.clip(above_area, area.min() / area.sum(), 1.0)
    marks = np.geomspace(1.0, tail.min(), 500)
    pick = np.unique(np.searchsorted(-tail, -marks).clip(0, len(rows) - 1))
    return np.asarray(np.clip(rows[pick], [-np.inf, 0, -np.inf], np.inf))
