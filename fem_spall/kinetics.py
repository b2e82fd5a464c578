"""Butler-Volmer interfaces: Newton's method as a sequence of problems with interfacial resistances.

Linearised about an overpotential η₀, the law j(η) is a resistance: j ≈ β (φ − φ_Li − ψ) with the conductance
β = j'(η₀) and the offset ψ = p V_m/F + η₀ − j(η₀)/β.  Where η = η₀ this is the law itself, so that the last problem
of the sequence is the tangent at the solution: its reactions, duals and fluxes are those of the nonlinear problem.

The law grows with η without bound and is convex for η > 0, so that Newton's method converges from everywhere; exponents
above a limit go on along their tangent, and a solution that needs them is refused.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fem_spall.boundary import ButlerVolmer
from fem_spall.conduction import ConductionProblem
from fem_spall.errors import SolveError
from fem_spall.fenics import MPI, compile_form, dolfinx, ufl
from fem_spall.system import LithiumPotential, SolveReport, System

__all__ = ["converge_kinetics"]

#: Newton steps at most; a step lowers an overestimated exponent by one, so a start at one volt takes twenty.
STEPS = 60
#: Exponents above it are continued along their tangent; a converged solution must stay below it.
EXPONENT = 40.0
#: Largest relative difference of a current to the imposed one.
IMPOSED = 1e-7
#: Residual of the linear solves within the sequence, over the asked one.
INNER = 0.1


def converge_kinetics(
    problem: ConductionProblem, coarse: System | None, tolerance: float, start: tuple[Any, LithiumPotential] | None
) -> tuple[System, SolveReport, Any, LithiumPotential]:
    """Return the tangent problem's system at the solution, how it went, the potential, and that of the lithium.

    Parameters
    ----------
    problem : ConductionProblem
        With at least one surface in ``kinetics``.
    coarse : System, optional
        The tangent system of degree 1, which degree 2 needs.
    tolerance : float
        Largest residual of the nonlinear problem, over the load of its tangent.
    start : function and LithiumPotential, optional
        A potential of the problem's space to start from.

    Raises
    ------
    SolveError
        If the residual does not fall below the tolerance, or an exponent is beyond its limit.
    """
    if start is None:
        system = System(problem, coarse)  # every law as the resistance at the current the electrolyte can carry
        _, phi, lithium = system.solve(system.given, tolerance)
    else:
        phi, lithium = start
    history: list[float] = []
    iterations = 0
    for _ in range(STEPS):
        tangent, drops = _tangent(problem, phi, lithium)
        system = System(tangent, coarse)
        found = replace(system.given, floating=lithium.floating)
        found = system.with_bodies(found)
        # By the load of this tangent: that of an overestimated exponent would pass anything later.
        history.append(system.defect(phi, found) / system.load(tolerance))
        if history[-1] <= tolerance:
            _refuse_beyond(problem, drops)
            _refuse_unmet(system, phi, found)
            return system, _report(system, history, iterations), phi, found
        report, phi, lithium = system.solve(system.given, max(tolerance * INNER, 1e-13), phi)
        iterations += report.iterations
    raise SolveError(
        5, "kinetics", f"the residual must fall below {tolerance:g}; got {history[-1]:.1e} after {STEPS} Newton steps",
        "check potential and exchange current density, or raise solver.tolerance",
    )  # fmt: skip


def _refuse_unmet(system: System, phi: Any, lithium: LithiumPotential) -> None:
    """Raise if an electrode does not draw the current imposed on it."""
    for name, wanted in system.problem.imposed.items():
        off = float(system.net_currents(phi, lithium, name)[0]) / wanted - 1
        if not abs(off) <= IMPOSED:
            raise SolveError(
                13, "kinetics", f"the imposed current must be met; it is off by {off:.1e}",
                "lower solver.tolerance, or report this case",
            )  # fmt: skip


def _report(system: System, history: list[float], iterations: int) -> SolveReport:
    space = system.problem.space
    return SolveReport(
        system.problem.degree, space.dofmap.index_map.size_global, iterations, history[-1], space.mesh.comm.size,
        len(history) - 1,
    )  # fmt: skip


def _tangent(
    problem: ConductionProblem, phi: Any, lithium: LithiumPotential
) -> tuple[ConductionProblem, dict[str, Any]]:
    """The problem linearised about a potential, and the overpotential on each surface with kinetics."""
    contact, offset, drops = dict(problem.contact), {}, {}
    for name, (law, potential) in problem.kinetics.items():
        behind = potential + law.shift
        if name in lithium.floating:
            behind = behind + problem.on_bodies(name, lithium.floating[name])
        eta = phi - behind
        density, slope = _law(law, eta, problem)
        contact[name] = (slope, potential)
        offset[name] = law.shift + eta - density / slope
        drops[name] = eta
    return replace(problem, contact=contact, offset=offset), drops


def _law(law: ButlerVolmer, eta: Any, problem: ConductionProblem) -> tuple[Any, Any]:
    """Scaled current density and its slope, exponents continued along their tangent."""
    mesh = problem.mesh.mesh
    scale = dolfinx.fem.Constant(
        mesh, law.exchange_current_density * problem.mesh.unit / problem.reference_conductivity
    )
    density, slope = 0.0, 0.0
    for sign, factor in zip((1.0, -1.0), law.slopes, strict=True):
        rate = dolfinx.fem.Constant(mesh, sign * factor)
        exponent = rate * eta
        capped = ufl.min_value(exponent, EXPONENT)
        value = ufl.exp(capped)
        density += sign * value * (1 + exponent - capped)
        slope += sign * rate * value
    return scale * density, scale * slope


def _refuse_beyond(problem: ConductionProblem, drops: dict[str, Any]) -> None:
    """Raise if a converged exponent lies on the continuation."""
    comm = problem.mesh.comm
    for name, eta in drops.items():
        law = problem.kinetics[name][0]
        steepest = max(law.slopes)
        size = ufl.conditional(abs(eta) * steepest > EXPONENT, 1.0, 0.0)
        form = size * problem.ds(name)
        beyond = comm.allreduce(dolfinx.fem.assemble_scalar(compile_form(form)), op=MPI.SUM)
        if beyond > 0:
            raise SolveError(
                6, f"interface {name}", f"takes an overpotential above {EXPONENT / steepest:.3g} V, where the law "
                "means nothing", "lower the potential or the current, or raise the exchange current density",
            )  # fmt: skip
