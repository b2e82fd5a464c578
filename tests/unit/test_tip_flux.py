"""The point value at the tip: closed forms on small meshes, the same on two ranks, and where it is withheld."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fem_spall.case import Case
from fem_spall.case_file import load_case
from fem_spall.conduction import formulate
from fem_spall.fenics import MPI
from fem_spall.mesh.arrays import MeshArrays
from fem_spall.mesh.tagged import distribute
from fem_spall.mesh.worker import mesh_case
from fem_spall.output.folder import ResultFolder
from fem_spall.progress import Silent
from fem_spall.run import _solve
from fem_spall.solve import Solution, solve
from fem_spall.tip_flux import TipFlux, tip_flux
from tests.solids import UM, block_mesh, case_of

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
J0 = 100.0  # A/m^2, the uniform field of the benchmarks times their conductivity


def meshed(name: str, size: str) -> tuple[Case, MeshArrays]:
    case = load_case(BENCHMARKS / name / "case.yaml", (f"mesh.size_min={size}", f"mesh.size_max={size}"))
    return case, mesh_case(case, {}, [])


def found(case: Case, arrays: MeshArrays) -> TipFlux:
    mesh = distribute(arrays, MPI.COMM_SELF)
    first = solve(formulate(case, mesh, 1), 1e-10)
    tip = tip_flux(case, solve(formulate(case, mesh, 2), 1e-10, first))
    assert tip is not None
    return tip


def test_the_tip_of_a_hemisphere_on_one_rank_and_on_two(tmp_path: Path) -> None:
    # Catches: a field per mesh unit, the rim or a facet in place of the tip, cells that only one rank has.
    case, arrays = meshed("12_hemispherical_boss", "1 um")
    one = found(case, arrays)
    assert one.value is not None
    assert one.place is not None
    assert one.value == pytest.approx(3 * J0, rel=0.02)
    assert one.place == pytest.approx((0, 0, 4 * UM), abs=1e-12)
    assert one.local_size == pytest.approx(1 * UM, rel=0.3)
    two = _solve(case, [arrays], ResultFolder(tmp_path, overwrite=False), tmp_path, 2, Silent())
    assert two["metrics"]["fef_tip"]["value"] * J0 == pytest.approx(one.value, rel=1e-8)
    assert two["metrics"]["fef_tip"]["place_m"] == pytest.approx(one.place, abs=1e-15)


def test_the_tip_of_a_resistive_boss() -> None:
    # Catches: the field of the electrolyte taken for the flux through a resistance, which has tangential parts.
    case, arrays = meshed("36_resistive_boss", "1 um")
    tip = found(case, arrays)
    assert tip.value == pytest.approx(2.5 * J0, rel=2e-3)
    assert tip.slope == pytest.approx(1 / 0.4e-5, rel=1e-6)  # one over 0.04 ohm cm^2


def test_a_tip_finer_than_the_mesh_is_withheld() -> None:
    case, arrays = meshed("14_needle_boss", "1.6 um")
    tip = found(case, arrays)
    assert tip.value is None
    assert "crack boss, 2e+03 nm, must be at least 2 local mesh sizes" in (tip.absent or "")
    assert tip.place == pytest.approx((0, 0, 4 * UM), abs=1e-12)


SHARP: list[tuple[dict[str, Any], str]] = [
    ({"kind": "surface_file", "file": "nowhere.stl", "unit": "um"}, "crack a is a reconstructed surface"),
    ({"kind": "penny", "centre": ["10 um", "15 um"], "radius": "8 um"}, "crack a has a sharp edge"),
    ({"kind": "blade", "position": "10 um", "depth": "8 um"}, "crack a has a sharp edge"),
]


@pytest.mark.parametrize(("crack", "reason"), SHARP)
def test_what_has_no_smooth_tip_has_no_point_value(crack: dict[str, Any], reason: str) -> None:
    # Catches: the largest number of a mesh given out as a result.
    mesh = SimpleNamespace(comm=MPI.COMM_SELF, arrays=block_mesh())
    solution = cast(Solution, SimpleNamespace(problem=SimpleNamespace(mesh=mesh, cells=None)))
    tip = tip_flux(case_of(cracks=[{"name": "a", **crack}]), solution)
    assert tip is not None
    assert tip.value is None
    assert (tip.absent or "").startswith(reason)


def test_where_a_wall_cuts_a_crack_obliquely_there_is_no_point_value() -> None:
    # Catches: the edge that a crack makes with its mirror image counts as its tip.
    boss = {"name": "a", "kind": "spheroid", "centre": ["-4 um", "15 um"], "depth": "5 um", "radius": "5 um"}
    case = case_of(cracks=[boss], mesh={"size_min": "1 um", "size_max": "8 um"})
    tip = found(case, mesh_case(case, {}, []))
    assert tip.place is None or tip.place[0] > 0.01 * UM


def test_no_lithium_crack_no_tip() -> None:
    pore = {"name": "a", "kind": "pore", "centre": ["10 um", "15 um", "20 um"], "radius": "3 um", "contents": "void"}
    mesh = SimpleNamespace(comm=MPI.COMM_SELF, arrays=block_mesh())
    solution = cast(Solution, SimpleNamespace(problem=SimpleNamespace(mesh=mesh, cells=None)))
    assert tip_flux(case_of(cracks=[pore]), solution) is None
