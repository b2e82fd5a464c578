"""What is solved: stationary conduction in the electrolyte, as a sum of named terms.

Find φ with ∇·(σ∇φ) = 0 in the electrolyte; current density j = −σ∇φ.  In the program lengths are divided
by the mesh unit L, conductivities by a reference σ₀, so the assembled numbers are of order one; potentials
stay in volts and are counted from the plating electrode.  A current is σ₀ L times its assembled number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fem_spall.boundary import ExactPotential, FixedPotential, NoFlux, Resistance
from fem_spall.case import Case
from fem_spall.errors import CaseError
from fem_spall.fenics import dolfinx, ufl
from fem_spall.mesh.tagged import TaggedMesh

__all__ = ["ConductionProblem", "formulate"]

Values = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True)
class ConductionProblem:
    """Space, conductivity and conditions by surface name.

    ``fixed`` gives the potential of a surface, V, as a function of points (3, n) in mesh units;
    ``contact`` the scaled interface conductance L/(σ₀ R) and the lithium's potential, V;
    ``roles`` the electrode or crack each surface of the mesh belongs to; ``floating`` the surfaces of isolated
    lithium: one unknown potential for each connected piece (above it is 0 V), and no net current of any.
    """

    mesh: TaggedMesh
    degree: int
    space: Any
    conductivity: NDArray[np.float64]  # (3, 3), divided by σ₀
    reference_conductivity: float  # σ₀, S/m
    fixed: dict[str, Values]
    contact: dict[str, tuple[float, float]]
    roles: dict[str, str]
    floating: tuple[str, ...] = ()

    @property
    def current_scale(self) -> float:
        """Amperes per assembled number, S/m x m."""
        return self.reference_conductivity * self.mesh.unit

    def ds(self, name: str) -> Any:
        """Surface measure of one named surface."""
        return ufl.Measure("ds", domain=self.mesh.mesh, subdomain_data=self.mesh.facet_tags)(self.mesh.names[name])

    def bulk(self, phi: Any, v: Any) -> Any:
        """∫ σ∇φ·∇v dx."""
        sigma = dolfinx.fem.Constant(self.mesh.mesh, self.conductivity)
        return ufl.inner(ufl.dot(sigma, ufl.grad(phi)), ufl.grad(v)) * ufl.dx(domain=self.mesh.mesh)

    def contact_term(self, name: str, phi: Any, v: Any) -> Any:
        """∫ φ v / R ds over one surface with an interfacial resistance."""
        return dolfinx.fem.Constant(self.mesh.mesh, self.contact[name][0]) * phi * v * self.ds(name)


def formulate(case: Case, mesh: TaggedMesh, degree: int) -> ConductionProblem:
    """Return the problem of a case on a mesh, with elements of the given degree.

    A galvanostatic case is posed at 1 V; the solution is scaled afterwards.
    """
    tensor = case.electrolyte.conductivity.tensor()
    reference = float(np.trace(tensor)) / 3
    plating, counter = case.electrodes.plating, case.electrodes.counter
    voltage = counter.potential - plating.potential if counter.potential is not None else 1.0
    laws: dict[str, tuple[Any, float, str]] = {
        plating.face: (plating.interface, 0.0, "plating"),
        counter.face: (counter.interface, voltage, "counter"),
    }
    for face, wall in case.walls.items():
        laws[face] = (wall, 0.0, face)
    for crack in case.cracks:
        if crack.contents == "lithium":
            laws[crack.name] = (crack.interface, 0.0, crack.name)
    fixed: dict[str, Values] = {}
    contact: dict[str, tuple[float, float]] = {}
    roles: dict[str, str] = {}
    for name, (law, potential, role) in laws.items():
        match law:
            case NoFlux():
                continue
            case FixedPotential():
                fixed[name] = _constant(potential)
            case Resistance(value=0.0):
                fixed[name] = _constant(potential)
            case Resistance(value=value):
                if name in mesh.sheets:
                    raise CaseError(
                        50, f"crack {name}", "a sheet without thickness can only have a fixed potential",
                        "give the crack an opening, or use interface: {kind: fixed_potential}",
                    )  # fmt: skip
                contact[name] = (mesh.unit / (reference * value), potential)
            case ExactPotential():
                fixed[name] = _exact(law, mesh.unit, plating.potential)
        roles[name] = role
    if {*fixed, *contact} <= {crack.name for crack in case.cracks if crack.contact == "isolated"}:
        raise CaseError(51, "electrodes", "the potential is fixed nowhere", "give an electrode a potential")
    space = dolfinx.fem.functionspace(mesh.mesh, ("Lagrange", degree))
    floating = tuple(crack.name for crack in case.cracks if crack.contact == "isolated" and crack.name in roles)
    return ConductionProblem(mesh, degree, space, tensor / reference, reference, fixed, contact, roles, floating)


def _constant(potential: float) -> Values:
    return lambda points: np.full(points.shape[1], potential)


def _exact(law: ExactPotential, unit: float, offset: float) -> Values:
    return lambda points: law.potential(points.T * unit) - offset
