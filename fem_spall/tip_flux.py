"""The current density at the hottest point of a smooth crack of closed form, from the potential itself.

A point value means something only where the surface has a curvature and the mesh resolves it: not on an edge, not on
a sheet, not on a reconstructed surface.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fem_spall.case import Case
from fem_spall.crack import AnalyticCrack
from fem_spall.fenics import compile_expression, ufl
from fem_spall.mesh.arrays import FACES, MeshArrays
from fem_spall.solve import Solution

__all__ = ["TipFlux", "tip_flux"]

#: The smallest radius of curvature must be this many local mesh sizes.
RESOLVED = 2.0
#: Small change of the potential, V, for the slope of a law.
STEP = 1e-5
#: Largest cosine between the normals of a facet and a wall at a point where a mirror plane may cut a smooth surface.
SQUARE = 0.5


@dataclass(frozen=True)
class TipFlux:
    """Largest current density at a vertex, or the reason why there is none.

    ``value``, A/m^2; ``place`` (3,), m; ``local_size``, m, is the mean edge of the facets there; ``slope``, A/(m^2 V),
    is how the density through an interface with a resistance follows the potential, None on clean lithium.
    """

    value: float | None = None
    place: tuple[float, float, float] | None = None
    local_size: float | None = None
    absent: str | None = None
    slope: float | None = None


def tip_flux(case: Case, solution: Solution) -> TipFlux | None:
    """Largest |j·n| at a vertex of the lithium cracks, on rank 0; None elsewhere and without lithium cracks.

    On a surface of fixed potential j·n is E·σE/|E|, E = −∇φ the mean over the cells round the vertex, weighted by
    their volumes; with an interfacial resistance R it is (φ − φ_Li)/R.
    """
    cracks = [crack for crack in case.cracks if crack.contents == "lithium" and crack.contact == "plating"]
    if not cracks:
        return None
    problem, comm = solution.problem, solution.problem.mesh.comm
    varied = ["the conductivity differs from place to place"] if problem.cells is not None else []
    radii = {crack.name: float(getattr(crack, "tip_radius", 0.0)) for crack in cracks}
    faults = [
        *varied,
        *(f"crack {c.name} is a reconstructed surface" for c in cracks if not isinstance(c, AnalyticCrack)),
        *(f"crack {c.name} has a sharp edge" for c in cracks if isinstance(c, AnalyticCrack) and not radii[c.name]),
        *(f"the potential along crack {c.name} varies" for c in cracks if c.interface.kind == "exact_potential"),
    ]
    if faults:
        absent = f"{faults[0]}; a point value needs a smooth one at one potential, of closed form"
        return TipFlux(absent=absent) if problem.mesh.arrays is not None else None
    radii |= {region.name: radii[region.on] for region in case.regions if region.on in radii}
    names = [name for name in radii if name in problem.roles]
    vertices = comm.bcast(_smooth_vertices(problem.mesh.arrays, names) if problem.mesh.arrays is not None else None)
    for region in case.regions:  # at an outline the density jumps
        if region.name in vertices:
            others = [vertices[name] for name in names if name != region.name]
            both = np.intersect1d(vertices[region.name], np.concatenate([np.empty(0, dtype=np.int64), *others]))
            vertices = {name: np.setdiff1d(own, both) for name, own in vertices.items()}
    parts = comm.gather(_around(solution, np.unique(np.concatenate([vertices[name] for name in names]))))
    if parts is None or problem.mesh.arrays is None:
        return None
    number, sums = (np.concatenate(items) for items in zip(*parts, strict=True))
    arrays: MeshArrays = problem.mesh.arrays
    total = np.zeros((len(arrays.points), sums.shape[1]))
    np.add.at(total, number, sums)
    found: list[tuple[float, int, str, float | None]] = []
    for name in names:
        mean = total[vertices[name], 1:] / total[vertices[name], :1]
        size = np.abs(_normal_density(solution, name, mean))
        if size.size:
            top = int(size.argmax())
            found.append((float(size[top]), int(vertices[name][top]), name, _slope(solution, name, mean[[top]])))
    return _judged(arrays, found, radii)


def _judged(arrays: MeshArrays, found: list[tuple[float, int, str, float | None]], radii: dict[str, float]) -> TipFlux:
    """The largest of the values, if the mesh carries it."""
    if not found:
        return TipFlux(absent="the cracks meet the walls at an angle everywhere")
    value, vertex, name, slope = max(found, key=lambda row: row[:3])
    facets = arrays.facets[arrays.tags == arrays.names[name], :3]
    corners = arrays.points[facets[(facets == vertex).any(axis=1)]] * arrays.unit
    size = float(np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).mean())
    x, y, z = (float(v) for v in arrays.points[vertex] * arrays.unit)
    if radii[name] < RESOLVED * size:
        absent = (
            f"the radius of curvature of crack {name}, {radii[name] * 1e9:.3g} nm, must be at least {RESOLVED:g} local "
            f"mesh sizes; the size there is {size * 1e9:.3g} nm. Lower mesh.size_min"
        )
        return TipFlux(place=(x, y, z), local_size=size, absent=absent)
    return TipFlux(value, (x, y, z), size, slope=slope)


def _slope(solution: Solution, name: str, mean: NDArray[np.float64]) -> float | None:
    """Slope of the density over the potential at a vertex (1, 4), A/(m^2 V); None where it is not of the potential."""
    if name not in solution.problem.contact:
        return None
    step = np.array([0.0, 0.0, 0.0, STEP])
    high, low = (_normal_density(solution, name, mean + sign * step)[0] for sign in (1, -1))
    return float(high - low) / (2 * STEP)


def _normal_density(solution: Solution, name: str, mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """Current density through the surface, (n,) A/m^2, from rows of E, V/m, and φ, V."""
    problem = solution.problem
    if name in problem.kinetics:
        law, lithium = problem.kinetics[name]
        return np.asarray(law.density(mean[:, 3] - lithium - law.shift))
    if name in problem.contact:
        conductance, lithium = problem.contact[name]
        drop = mean[:, 3] - lithium - problem.offset.get(name, 0.0)
        return np.asarray(conductance * problem.reference_conductivity / problem.mesh.unit * drop)
    field = mean[:, :3]
    size = np.linalg.norm(field, axis=1)
    through = np.einsum("ni,ij,nj->n", field, problem.conductivity * problem.reference_conductivity, field)
    return np.asarray(np.divide(through, size, out=np.zeros_like(size), where=size > 0))


def _around(solution: Solution, vertices: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """For each corner of an own cell that is one of the vertices: its number, and volume times (1, E, φ)."""
    mesh = solution.problem.mesh
    owned = mesh.mesh.topology.index_map(3).size_local
    nodes = mesh.mesh.geometry.dofmaps[0][:owned, :4]
    number = mesh.input_vertex()[nodes]
    on = np.isin(number, vertices)
    cells = np.nonzero(on.any(axis=1))[0].astype(np.int32)
    corners = np.vstack([np.zeros(3), np.eye(3)])
    both = ufl.as_vector([*(-ufl.grad(solution.phi)[i] / mesh.unit for i in range(3)), solution.phi])
    values = np.zeros((0, 4, 4))
    expression = compile_expression(both, corners)
    if len(cells):
        values = expression.eval(mesh.mesh, cells).reshape(len(cells), 4, 4)
    place = mesh.mesh.geometry.x[nodes[cells]]
    volume = np.abs(np.linalg.det(place[:, 1:] - place[:, :1])) if len(cells) else np.empty(0)
    keep = on[cells]
    weighted = np.concatenate([np.ones((len(cells), 4, 1)), values], axis=2) * volume[:, None, None]
    return number[cells][keep], weighted[keep]


def _smooth_vertices(arrays: MeshArrays, names: list[str]) -> dict[str, NDArray[np.int64]]:
    """Vertices of each crack but those where it meets a wall at an angle: an edge, with its mirror image."""
    walls = {face: np.unique(arrays.facets[arrays.tags == arrays.names[face], :3]) for face in FACES if face[1] != "z"}
    found = {}
    for name in names:
        facets = arrays.facets[arrays.tags == arrays.names[name], :3]
        a, b, c = np.moveaxis(arrays.points[facets], 1, 0)
        vertices = np.unique(facets)
        oblique = np.zeros(len(arrays.points), dtype=bool)
        normal = np.cross(b - a, c - a)
        normal /= np.linalg.norm(normal, axis=1)[:, None]
        for face, on_wall in walls.items():
            at = np.isin(facets, on_wall) & (np.abs(normal[:, [FACES[face][0]]]) > SQUARE)
            oblique[facets[at]] = True
        found[name] = vertices[~oblique[vertices]]
    return found
