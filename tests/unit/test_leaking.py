"""Leaking pores: ions in, electrons in, lithium grows; nothing grows without interfacial resistance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from fem_spall.boundary import FARADAY, MOLAR_VOLUME
from fem_spall.case import Case
from fem_spall.conduction import formulate
from fem_spall.fenics import MPI
from fem_spall.leaking import Growth, leakage
from fem_spall.mesh.tagged import distribute
from fem_spall.solve import solve
from tests.solids import UM, block_mesh, case_of

HOLES = [(2, 2, 2), (5, 2, 3), (3, 5, 8), (6, 6, 6)]
ELECTROLYTE = {"size": ["20 um", "30 um", "50 um"], "conductivity": "1 mS/cm", "electronic_conductivity": "1e-8 S/cm"}


def case(resistance: str | None, **keys: Any) -> Case:
    law = {} if resistance is None else {"interface": {"kind": "resistance", "value": resistance}}
    electrodes = {"plating": {"face": "+z"} | law, "counter": {"face": "-z", "potential": "0.5 V"}}
    pores = {"name": "pores", "kind": "surface_file", "file": "none.stl", "unit": "um", "contact": "leaking"}
    return case_of(**{"cracks": [pores], "electrodes": electrodes, "electrolyte": ELECTROLYTE} | keys)


def grown(chosen: Case, holes: Any = HOLES) -> tuple[Growth, float]:
    mesh = distribute(block_mesh((8, 8, 12), holes=holes), MPI.COMM_SELF)
    first = solve(formulate(chosen, mesh, 1), 1e-11)
    solution = solve(formulate(chosen, mesh, 2), 1e-11, first)
    return leakage(chosen, solution, 0.5)["pores"], solution.surface_power / 0.5


def test_nothing_grows_without_resistance() -> None:
    """Bug: the two fields have other conditions at the electrodes, and lithium grows from nothing."""
    growth, current = grown(case(None))
    assert np.abs(growth.current).max() < 1e-12 * current


def test_pores_grow_behind_a_resistance() -> None:
    """Bug: a sign: pores near the plating electrode, where ions wait and electrons come from, must grow, and more so.

    With R at the plating face alone φ − φ_e = V R/(R + H/σ) (1 − d/H) at depth d; a small body of capacity C
    takes I = C σ_e (φ − φ_e).
    """
    found = []
    for hole in ((3, 4, 8), (3, 4, 3)):
        growth, _ = grown(case("500 ohm cm^2"), [hole])
        drive = 0.5 * 0.05 / (0.05 + 50 * UM / 0.1) * (hole[2] + 0.5) / 12
        found.append(float(growth.current[0] / (1e-6 * drive)))
    # A cube of edge a has the capacity 4π 0.6607 a far from everything; the mirror walls and the jitter change that.
    cube = 4 * np.pi * 0.6607 * (2.5 * 3.75 * 4.17) ** (1 / 3) * UM
    assert found == pytest.approx([cube, cube], rel=0.3)
    assert found[0] == pytest.approx(found[1], rel=0.1)


def test_growth_is_proportional_to_few_electrons() -> None:
    """Bug: the electronic net current is not handed back to the ions, or twice, or iterated to somewhere else."""
    few, _ = grown(case("500 ohm cm^2"))
    more, _ = grown(case("500 ohm cm^2", electrolyte=ELECTROLYTE | {"electronic_conductivity": "1e-5 S/cm"}))
    many, _ = grown(case("500 ohm cm^2", electrolyte=ELECTROLYTE | {"electronic_conductivity": "1e-4 S/cm"}))
    assert more.current == pytest.approx(few.current * 1e3, rel=5e-2)
    assert (many.current < few.current * 1e4).all()  # the pores' own potential follows
    record = few.record(1e-6, 72.0)
    fastest = float((few.volume / (few.current * MOLAR_VOLUME / FARADAY)).min())
    assert record["time_to_fill_fastest"] == pytest.approx(fastest)
    assert record["conductivity_needed_fastest"] == pytest.approx(1e-6 * fastest / 72)
    assert few.volume.sum() == pytest.approx(4 * 2.5 * 3.75 * 4.17 * UM**3, rel=0.2)


def test_the_error_of_the_growth_covers_what_degree_2_changes() -> None:
    """Bug: the error is that of another pore, of one degree for the other, or as wide as the change itself."""
    chosen = case("500 ohm cm^2")
    mesh = distribute(block_mesh((8, 8, 12), holes=HOLES), MPI.COMM_SELF)
    first = solve(formulate(chosen, mesh, 1), 1e-11)
    low, high = (leakage(chosen, s, 0.5)["pores"] for s in (first, solve(formulate(chosen, mesh, 2), 1e-11, first)))
    assert low.error is not None
    assert high.error is not None
    change = abs(float(low.current.sum() - high.current.sum()))
    assert change - high.error < low.error < 5 * change
    assert high.error < 0.5 * low.error
    # While nothing grows ions and electrons are as far apart as the drop at the plating electrode times 1 - d/H.
    drop = 0.5 * 0.05 / (0.05 + 50 * UM / 0.1)
    assert sorted(high.drive) == pytest.approx(sorted(drop * (k + 0.5) / 12 for _, _, k in HOLES), rel=0.06)


def test_what_leaking_refuses() -> None:
    with pytest.raises(ValidationError, match=r"leaks, which needs electrolyte\.electronic_conductivity"):
        case(None, electrolyte={k: v for k, v in ELECTROLYTE.items() if k != "electronic_conductivity"})
    with pytest.raises(ValidationError, match=r"must be above zero and at most 0\.1 of the ionic one"):
        case(None, electrolyte=ELECTROLYTE | {"electronic_conductivity": "1 mS/cm"})
