"""Kinetics at interfaces: exact columns, small overpotentials, imposed currents, limits of a resistance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from fem_spall.accuracy import cell_errors, with_errors
from fem_spall.boundary import FARADAY, GAS, MOLAR_VOLUME, ButlerVolmer
from fem_spall.conduction import formulate
from fem_spall.errors import SolveError
from fem_spall.fenics import MPI
from fem_spall.mesh.arrays import MeshArrays
from fem_spall.mesh.tagged import distribute
from fem_spall.metrics import Evaluation
from fem_spall.solve import Solution, solve
from tests.solids import UM, block_mesh, case_of

NOWHERE = (0.0, np.zeros(3), 0.0)
AREA = 600 * UM**2
SLOPE = FARADAY / (GAS * 303.15)  # F/RT, 1/V
CRACK = {"name": "a", "kind": "surface_file", "file": "none.stl", "unit": "um"}


def kinetics(density: str = "1 mA/cm^2", **keys: Any) -> dict[str, Any]:
    return {"kind": "butler_volmer", "exchange_current_density": density} | keys


def resistance(value: str) -> dict[str, Any]:
    return {"kind": "resistance", "value": value}


def solved(
    plating: dict[str, Any], counter: dict[str, Any], arrays: MeshArrays | None = None, cracks: Any = ()
) -> tuple[Solution, Evaluation]:
    case = case_of(electrodes={"plating": plating, "counter": counter}, cracks=list(cracks))
    mesh = distribute(arrays if arrays is not None else block_mesh(), MPI.COMM_SELF)
    first = solve(formulate(case, mesh, 1), case.solver.tolerance)
    solution = solve(formulate(case, mesh, 2), case.solver.tolerance, first)
    return solution, Evaluation.of(case, solution, NOWHERE)


@pytest.mark.parametrize(("volts", "density"), [(0.1, 42.79504965), (0.5, 576.3391414)])
def test_a_column_with_kinetics(volts: float, density: float) -> None:
    """Bug: a sign, a factor two in RT/F, or a start from which Newton's method ends elsewhere.

    The density solves V = i H/σ + (2RT/F) asinh(i/2i₀); the digits are checked against that below.
    """
    assert density * 50 * UM / 0.1 + 2 / SLOPE * np.arcsinh(density / 20) == pytest.approx(volts, rel=1e-8)
    solution, e = solved({"interface": kinetics()}, {"potential": f"{volts} V"})
    assert e.total_current / AREA == pytest.approx(density, rel=1e-9)
    assert solution.bulk_power == pytest.approx(solution.surface_power, rel=1e-10)


def test_both_transfer_coefficients_and_the_pressure_count() -> None:
    """Bug: the coefficients of plating and stripping are swapped, or pressure helps plating instead of hindering it."""
    law = kinetics(transfer=[0.3, 0.8], pressure="100 MPa")
    _, e = solved({"interface": law}, {"potential": "0.2 V"})
    j = e.total_current / AREA
    eta = 0.2 - j * 50 * UM / 0.1 - 1e8 * MOLAR_VOLUME / FARADAY
    assert j == pytest.approx(10 * (np.exp(0.3 * SLOPE * eta) - np.exp(-0.8 * SLOPE * eta)), rel=1e-8)


def test_small_overpotentials_are_a_resistance() -> None:
    """Bug: the law's slope at zero is not i₀ (α_p + α_s) F/RT: kinetics and resistance disagree where they must not."""
    ohm_cm2 = 1 / (10 * SLOPE) * 1e4
    found = []
    for law in (kinetics(), kinetics() | {"kind": "linear_kinetics"}, resistance(f"{ohm_cm2!r} ohm cm^2")):
        cracks = [CRACK | {"interface": law}]
        _, e = solved({"interface": {"kind": "no_flux"}}, {"potential": "1e-6 V"}, block_mesh((4, 3, 4), crack="a"),
                      cracks)  # fmt: skip
        found.append(e.total_current)
    assert found[0] == pytest.approx(found[2], rel=1e-6)
    assert found[1] == pytest.approx(found[2], rel=1e-11)


@pytest.mark.parametrize("law", [{"kind": "fixed_potential"}, kinetics("3 mA/cm^2")], ids=["clean", "kinetic"])
def test_an_imposed_current_finds_its_voltage(law: dict[str, Any]) -> None:
    """Bug: the counter electrode draws another current, or its error bar is that of a current at fixed voltage."""
    arrays = block_mesh((4, 3, 6), crack="a")
    plating = {"interface": {"kind": "no_flux"}}
    cracks = [CRACK | {"interface": kinetics()}]
    _, posed = solved(plating, {"interface": law, "potential": "0.15 V"}, arrays, cracks)
    current = posed.total_current
    solution, driven = solved(plating, {"interface": law, "drive": {"current": f"{current!r} A"}}, arrays, cracks)
    assert driven.voltage == pytest.approx(0.15, rel=1e-8)
    assert driven.total_current == pytest.approx(current, rel=1e-9)
    figures = with_errors(driven, None, cell_errors(solution, driven, 1e-11))
    fine = solved(plating, {"interface": law, "drive": {"current": f"{current!r} A"}},
                  block_mesh((12, 9, 18), crack="a"), cracks)[1]  # fmt: skip
    true = abs(fine.voltage - 0.15)
    error = figures["cell_voltage"].error
    assert error is not None
    assert true < error < 20 * true
    assert figures["resistance"].error == pytest.approx(error / current, rel=1e-9)
    assert figures["total_current"].error == 0


def test_a_large_imposed_current_is_met() -> None:
    """Bug: residuals are measured by the first tangent, whose exponents may be far too large, and anything passes."""
    plating, cracks = {"interface": {"kind": "no_flux"}}, [CRACK | {"interface": kinetics()}]
    drive = {"drive": {"current_density": "500 mA/cm^2"}}
    _, e = solved(plating, drive, block_mesh((4, 3, 6), crack="a"), cracks)
    assert e.total_current == pytest.approx(5000 * AREA, rel=1e-9)
    assert e.voltage is not None
    back = solved(plating, {"potential": f"{e.voltage!r} V"}, block_mesh((4, 3, 6), crack="a"), cracks)[1]
    assert back.total_current == pytest.approx(e.total_current, rel=1e-8)


def test_a_resistance_goes_over_to_its_limits() -> None:
    """Bug: a tiny resistance spoils the system, or a huge one its balance; the limits R -> 0 and R -> infinity."""
    arrays = block_mesh((4, 3, 4), crack="a")
    found = {}
    for value in (0.0, 1e-7, 1e-4, 1.0, 1e5, 1e9):
        cracks = [CRACK | {"interface": resistance(f"{value!r} ohm cm^2")}]
        solution, e = solved({"interface": {"kind": "no_flux"}}, {"potential": "50 mV"}, arrays, cracks)
        found[value] = e.total_current
        assert solution.report.iterations < 40
    assert found[1e-7] == pytest.approx(found[0.0], rel=1e-6)
    assert list(found.values()) == sorted(found.values(), reverse=True)
    area = e.flux.only(("a",)).area
    assert found[1e9] == pytest.approx(0.05 * area / 1e5, rel=1e-6)  # all of the voltage drops at the interface


def test_an_absurd_overpotential_is_refused() -> None:
    """Bug: an exponent overflows, or the continuation of the law is taken for the law."""
    with pytest.raises(SolveError, match=r"takes an overpotential above 2.09 V, where the law means nothing"):
        solved({"interface": kinetics("1e-19 mA/cm^2")}, {"potential": "5 V"})


def test_the_conductivity_follows_arrhenius() -> None:
    """Bug: warmer is slower, or degrees Celsius are taken for kelvin."""
    activation = {"energy": "40 kJ/mol", "temperature": "333.15 K"}
    data = {"kind": "scalar", "value": "1 mS/cm", "activation": activation}
    case = case_of(electrolyte={"size": ["20 um", "30 um", "50 um"], "conductivity": data})
    expected = 0.1 * np.exp(-40e3 / 8.314462618 * (1 / 333.15 - 1 / 303.15))
    np.testing.assert_allclose(case.electrolyte.conductivity.tensor(), expected * np.eye(3), rtol=1e-9)
    with pytest.raises(ValidationError, match="absolute temperature"):
        case_of(electrolyte={"size": ["1 um"] * 3, "conductivity": data | {"activation": activation | {
            "temperature": "60 J"}}})  # fmt: skip


def test_the_law_inverts() -> None:
    law = ButlerVolmer.model_validate(kinetics(transfer=[0.4, 0.7]))
    for density in (-50.0, -1e-3, 0.2, 3e4):
        assert law.density(np.array(law.overpotential(density))) == pytest.approx(density, rel=1e-9)
    with pytest.raises(ValidationError, match="exchange current density must be above zero"):
        ButlerVolmer.model_validate(kinetics("0 mA/cm^2"))


def test_closed_forms_of_the_reference() -> None:
    """Bug: the closed form that benchmarks compare with is itself off; digits of cases 38 and 38b of the reference."""
    from fem_spall.analytic import FIGURES, POTENTIALS

    column = {"conductivity": 0.1, "height": 50e-6, "exchange_current_density": 10.0}
    assert FIGURES["butler_volmer_column_density"](0.5, **column) == pytest.approx(576.3391414, rel=1e-9)
    assert FIGURES["butler_volmer_column_voltage"](42.79504965, **column) == pytest.approx(0.1, rel=1e-9)
    sphere = {"potential": 0.1, "conductivity": 0.1, "inner_radius": 1e-6, "outer_radius": 1e-5}
    for exchange, density in ((10.0, 65.54793354), (100.0, 595.5578098)):
        current = FIGURES["butler_volmer_sphere_current"](**sphere, exchange_current_density=exchange)
        assert current / (4e-12 * np.pi) == pytest.approx(density, rel=1e-9)
    places = np.array([[1e-6, 0, 0], [0, 1.001e-6, 0], [0, 0, 1e-5]])
    wall, above, outer = POTENTIALS["butler_volmer_sphere"](
        places, **sphere, exchange_current_density=100.0, centre=(0, 0, 0)
    )
    assert outer == pytest.approx(0.1)
    assert (above - wall) / 1e-9 * 0.1 == pytest.approx(595.56, rel=2e-3)
    assert 200 * np.sinh(SLOPE / 2 * wall) == pytest.approx(595.5578098, rel=1e-8)


def test_an_imposed_current_has_no_error() -> None:
    """Bug: flat facets of a curved crack widen the bar of a current that is given."""
    case = case_of(
        electrodes={"plating": {"face": "+z"}, "counter": {"face": "-z", "drive": {"current": "1 nA"}}},
        cracks=[CRACK],
    )
    arrays = block_mesh((4, 3, 4), crack="a")
    arrays.info["flat_area_deficit"] = {"a": 0.01}
    mesh = distribute(arrays, MPI.COMM_SELF)
    solution = solve(formulate(case, mesh, 1), 1e-11)
    e = Evaluation.of(case, solution, NOWHERE)
    driven = solution.scaled(1e-9 / e.total_current)
    e = Evaluation.of(case, driven, NOWHERE)
    figures = with_errors(e, None, cell_errors(solution, e, 1e-11))
    assert figures["total_current"].value == pytest.approx(1e-9)
    assert figures["total_current"].error == figures["mean_current_density"].error == 0
    assert figures["cell_voltage"].error == pytest.approx(1e-9 * figures["resistance"].error)
    assert figures["cell_voltage"].error > 0
