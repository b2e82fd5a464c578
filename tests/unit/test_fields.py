"""The field files as VTK reads them, on a block whose potential is linear: every value is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import pyvista as pv

from fem_spall.conduction import formulate
from fem_spall.fenics import MPI
from fem_spall.mesh.tagged import distribute
from fem_spall.output.fields import cell_fields, raw_maximum, write_surface, write_volume
from fem_spall.solve import Solution, solve
from fem_spall.surface_flux import lithium_flux
from tests.solids import UM, block_mesh, case_of

SLOPE = np.array([20.0, -30.0, 50.0]) * 1e3  # V/m; E is its negative
SIGMA = np.array([[0.2, 0.05, 0.01], [0.05, 0.1, 0.02], [0.01, 0.02, 0.3]])


def linear(degree: int, order: int = 1) -> Solution:
    """The solution φ = slope·x with a full conductivity tensor, by its values on all faces."""
    rows = [[f"{float(v)!r} S/m" for v in row] for row in SIGMA]
    case = case_of(electrolyte={"size": ["20 um", "30 um", "50 um"],
                                "conductivity": {"kind": "anisotropic", "rows": rows}})  # fmt: skip
    arrays = block_mesh(order=order, bend=0.04)
    mesh = distribute(arrays, MPI.COMM_SELF)
    found: Solution | None = None
    for d in range(1, degree + 1):
        everywhere = dict.fromkeys(arrays.names, lambda x: (SLOPE * arrays.unit) @ x)
        problem = replace(formulate(case, mesh, d), fixed=everywhere, roles={n: n for n in everywhere})
        found = solve(problem, 1e-11, found)
    assert found is not None
    return found


CASES = [(1, 1), (2, 1), (2, 2)]


@pytest.mark.parametrize(("degree", "order"), CASES)
def test_the_volume_file(tmp_path: Path, degree: int, order: int) -> None:
    """Bug: edge nodes in the wrong order fold the cells; j ignores the tensor; units or the offset are lost."""
    solution = linear(degree, order)
    write_volume(solution, tmp_path, reference=-7.0, offset=0.25)
    grid = pv.read(tmp_path / "fields.pvd")[0]
    assert isinstance(grid, pv.UnstructuredGrid)
    assert grid.n_cells == 6 * 3 * 3 * 4
    np.testing.assert_allclose(grid.points.min(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(grid.points.max(axis=0), [20, 30, 50], atol=1e-5)
    np.testing.assert_allclose(grid.point_data["potential_V"], grid.points @ SLOPE * UM + 0.25, atol=2e-6)
    assert grid.compute_cell_sizes(length=False, area=False)["Volume"].min() > 0
    field = grid.cell_data["electric_field_V_m"]
    np.testing.assert_allclose(field, np.broadcast_to(-SLOPE, field.shape), rtol=1e-5)
    density = grid.cell_data["current_density_A_m2"]
    np.testing.assert_allclose(density, np.broadcast_to(-SIGMA @ SLOPE, density.shape), rtol=1e-5)
    np.testing.assert_allclose(grid.cell_data["fef"], np.linalg.norm(SIGMA @ SLOPE) / 7, rtol=1e-5)
    assert grid.field_data["length_unit_m"][0] == 1e-6
    # Between the nodes too: a wrong order of edge nodes leaves the nodes right and bends the field.
    inner = pv.PolyData(np.random.default_rng(0).uniform([2, 3, 5], [18, 27, 45], (50, 3)))
    sampled = inner.sample(grid)
    seen = sampled["vtkValidPointMask"] == 1
    assert seen.sum() > 40
    np.testing.assert_allclose(sampled["potential_V"][seen], (inner.points @ SLOPE * UM + 0.25)[seen], atol=2e-5)


@pytest.mark.parametrize(("degree", "order"), CASES)
def test_the_surface_file(tmp_path: Path, degree: int, order: int) -> None:
    """Bug: a vertex on a rim carries the density of the other surface, or names and numbers do not fit."""
    flux, _ = lithium_flux(linear(degree, order))
    both = flux.only(("+x", "+z"))
    write_surface(both, tmp_path / "surface.vtp", reference=-5.0)
    mesh = pv.read(tmp_path / "surface.vtp")
    assert isinstance(mesh, pv.PolyData)
    names = [str(name) for name in mesh.field_data["surface_names"]]
    assert mesh.area == pytest.approx(1500 + 600, rel=1e-6)
    for name, area in (("+x", 1500.0), ("+z", 600.0)):
        own = mesh.extract_cells(mesh.cell_data["surface"] == names.index(name))
        assert own.area == pytest.approx(area, rel=1e-6)
    np.testing.assert_allclose(mesh.point_data["fef"], mesh.point_data["current_density_A_m2"] / 5, rtol=1e-6)
    # One point for each surface a vertex lies on: 16 + 20 of them, of which 4 are in the same place.
    assert mesh.n_points == 4 * 4 + 4 * 5


@pytest.mark.parametrize(("degree", "order"), CASES)
def test_the_largest_field_is_in_volts_per_metre(degree: int, order: int) -> None:
    """Bug: the gradient is per mesh unit, or taken on the straight cell."""
    solution = linear(degree, order)
    every = np.arange(solution.problem.mesh.mesh.topology.index_map(3).size_local, dtype=np.int32)
    middle, corners = cell_fields(solution, every)
    np.testing.assert_allclose(middle, np.broadcast_to(-SLOPE, middle.shape), rtol=1e-6)
    np.testing.assert_allclose(corners, np.broadcast_to(-SLOPE, corners.shape), rtol=1e-6)
    value, place, size = raw_maximum(solution)
    assert value == pytest.approx(np.linalg.norm(SLOPE), rel=1e-6)
    assert ((place > -1e-12) & (place < np.array([20, 30, 50]) * UM + 1e-12)).all()
    assert 5 * UM < size < 20 * UM
