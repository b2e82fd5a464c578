"""Figures of sharp edges: edge flux intensity and what follows from it, exponents, what of the tail the mesh blurs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fem_spall.case import length_name
from fem_spall.edges import SharpEdge, sharp_edges
from fem_spall.intensity import LEAST, EdgeIntensity, edge_intensity
from fem_spall.mesh.arrays import MeshArrays
from fem_spall.metric import Metric
from fem_spall.solve import Solution

__all__ = ["EdgeStudy", "exponents", "intensity_figures"]

#: Averaging lengths that a singularity exponent takes at least.
FITTED = 3
#: Above this exponent nothing is singular: an edge that turns by 10 degrees has 0.95.
SMOOTH = 0.95
#: It is that of a power law if the slopes between neighbouring lengths differ by less than this share of it.
STEADY = 0.3
#: Mesh edges next to a sharp edge in which the current density is not to be trusted, both faces together.
BLURRED = 3.0


@dataclass(frozen=True)
class EdgeStudy:
    """The sharp edges of the plating lithium of a solution, and the intensity along those of 360 degrees."""

    arrays: MeshArrays
    edges: tuple[SharpEdge, ...]
    resistive: bool  # all of the lithium is behind an interfacial resistance
    forces: NDArray[np.float64] | None  # on the vertices of the mesh, (n, 3), W/m; needed for the intensity only
    conductivity: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        solution: Solution,
        lithium: tuple[str, ...],
        conductivity: NDArray[np.float64],
        given: tuple[NDArray[np.float64], ...] = (),
    ) -> EdgeStudy:
        """Trace the edges; on rank 0.

        ``conductivity`` is (3, 3), S/m; ``given`` are polylines (p, 3), m, along which the edges run, if they are not
        to be found.  The study has no forces.
        """
        problem, arrays = solution.problem, solution.problem.mesh.arrays
        assert arrays is not None
        fixed = tuple(name for name in lithium if name in problem.fixed)
        # Close to an edge even a resistive surface passes hardly any current, compared with the bare lithium.
        blocked = tuple(name for name in arrays.names if name not in problem.fixed)
        lines = tuple(line / arrays.unit for line in given)
        edges = tuple(sharp_edges(arrays, fixed, blocked, lines)) if fixed else ()
        return cls(arrays, edges, not fixed, None, conductivity)

    @property
    def any_cracks(self) -> bool:
        """Whether some of them have an intensity."""
        return any(edge.is_crack for edge in self.edges)

    @cached_property
    def intensity(self) -> EdgeIntensity | None:
        """Edge flux intensity at stations along the crack edges; None if there are none."""
        if self.forces is None:
            return None
        return edge_intensity(self.arrays, self.edges, self.forces, self.conductivity)

    def blurred_area(self, names: tuple[str, ...]) -> tuple[float, float]:
        """Area next to the sharp edges of some surfaces that the mesh blurs, m^2, and the mesh edges there, m.

        It is three mesh edges times the length of the edge for two faces, half of it for one.
        """
        steps = [(edge.steps(self.arrays.points) * self.arrays.unit, edge.faces)
                 for edge in self.edges if edge.surface in names]  # fmt: skip
        area = sum(BLURRED * faces / 2 * float((step**2).sum()) for step, faces in steps)
        return area, max((float(step.max()) for step, _ in steps), default=0.0)


#: Name, definition, unit.
INTENSITIES = (
    ("edge_flux_intensity", "largest K_j = lim √(2πs) j(s) along the crack edges, s the distance from them; from the "
     "power that a virtual advance of the edge releases in a tube round it", "A/m^1.5"),
    ("edge_field_intensity", "largest K_E = K_j/σ = lim √(2πs) |E|", "V/m^0.5"),
    ("edge_flux_intensity_mean", "mean of K_j along the crack edges", "A/m^1.5"),
    ("edge_tip_flux", "largest K_j/√(πρ): current density at a tip of the radius ρ = metrics.tip_radius", "A/m^2"),
    ("dissipation_release_rate", "largest g = K_j²/σ: heat per area by which the crack advances at fixed potentials",
     "W/m^2"),
)  # fmt: skip


def intensity_figures(study: EdgeStudy | None, tip_radius: float | None, uniform: bool = True) -> Iterator[Metric]:
    """Edge flux intensity, largest and mean, and the figures that follow from the largest.

    ``uniform`` says that the conductivity is the same everywhere, which the tubes round the edges need.
    """
    if not uniform:
        why = "the conductivity differs from place to place, also within the tubes round the edges"
        yield from (Metric(*figure, absent=why) for figure in INTENSITIES)
        return
    found = None if study is None else study.intensity
    if found is None or not found.known.any():
        yield from (Metric(*figure, absent=_why_not(study)) for figure in INTENSITIES)
        return
    largest, field, mean, tip, release = (Metric(*figure) for figure in INTENSITIES)
    part = float(found.length[found.known].sum() / found.length.sum())
    if part < 0.999:
        said = f"; known on {part:.0%} of their length, the rest is too near other edges or surfaces for this mesh"
        largest, mean = (replace(metric, definition=metric.definition + said) for metric in (largest, mean))
    top = found.largest
    x, y, z = (float(v) for v in found.place[top])
    value, size = float(found.value[top]), float(found.size[top])
    yield replace(largest, value=value, place=(x, y, z), local_size=size)
    yield replace(field, value=float(np.nanmax(found.field)))
    yield replace(mean, value=found.mean)
    if tip_radius is None:
        yield replace(tip, absent="metrics.tip_radius is not given")
    else:
        yield replace(tip, value=value / math.sqrt(math.pi * tip_radius), place=(x, y, z), local_size=size)
    yield replace(release, value=float(np.nanmax(found.release)))


def _why_not(study: EdgeStudy | None) -> str:
    """Why there is no edge flux intensity."""
    if study is None:
        return "the sharp edges were not looked for"
    if study.resistive:
        return "the lithium is behind an interfacial resistance, which takes away the singularity of its edges"
    if not study.edges:
        return "the lithium has no sharp edge: no rim, and no fold by more than 60° in a long chain that persists"
    if study.intensity is None:
        angle = max(edge.angle for edge in study.edges)
        return (
            f"K_j belongs to edges round which the electrolyte opens by 360°; the sharpest here has "
            f"{math.degrees(angle):.0f}°, where j goes as s^({math.pi / angle - 1:.2f}): see singularity_exponent"
        )
    return (
        f"no tube of {LEAST:g} mesh edges round the crack edges keeps clear of other edges and surfaces; lower "
        "mesh.size_min"
    )


def exponents(means: dict[float, float]) -> Iterator[Metric]:
    """How the largest ball mean, A/m^2, grows as the ball shrinks, from the means by radius, m."""
    strength = Metric(
        "singularity_exponent",
        "λ = 1 + slope of log fef_r against log r over the averaging lengths: fef_r ~ r^(λ − 1); 1/2 at a "
        "crack edge, 2/3 at a corner of 270°, 1 on a smooth surface; the bounds are those of neighbouring lengths",
        "1",
    )
    tail = Metric("tail_exponent", "1/(1 − λ): the area with j > x falls as x^(−1/(1 − λ)) next to sharp edges", "1")
    if len(means) < FITTED or min(means.values()) <= 0:
        why = f"a slope needs fef_r for {FITTED} averaging lengths at least; this mesh carries {len(means)}"
        yield replace(strength, absent=why)
        yield replace(tail, absent=why)
        return
    radius, mean = np.log(sorted(means)), np.log([means[r] for r in sorted(means)])
    steps = np.diff(mean) / np.diff(radius)
    weights = (radius - radius.mean()) / ((radius - radius.mean()) ** 2).sum()
    exponent = 1 + float(weights @ mean)
    slopes = zip(sorted(means), weights / np.exp(mean), strict=True)
    gradient = {f"fef_r{length_name(length)}": float(slope) for length, slope in slopes}
    bounds = (1 + float(steps.min()), 1 + float(steps.max()))
    yield replace(strength, value=exponent, bounds=bounds, gradient=gradient)
    if exponent < SMOOTH and np.ptp(steps) <= STEADY * (1 - exponent):
        by_tail = {name: slope / (1 - exponent) ** 2 for name, slope in gradient.items()}
        yield replace(tail, value=1 / (1 - exponent), gradient=by_tail)
    else:
        why = f"fef_r does not grow as a power of 1/r: λ is {1 + steps.min():.2f} to {1 + steps.max():.2f}"
        yield replace(tail, absent=why)
