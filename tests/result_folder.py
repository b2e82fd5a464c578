"""A small, believable result folder without a solve: a hemispherical lithium boss under the plating face.

The potential is the closed form of case 12 (phi = E0 d (1 - a^3/r^3), d the depth
below the plating face), so the numbers in ``result.json`` are exact, not printed
by the program: tip flux 3 j0, capture ratio 3, electrode advance 2 pi a^3 / A.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

SIZE = np.array([20.0, 30.0, 50.0])  # um
RADIUS = 5.0  # um
CENTRE = np.array([10.0, 15.0, 50.0])  # um, on the plating face +z
E0 = 1000.0  # V/m
SIGMA = 0.1  # S/m
J0 = SIGMA * E0  # A/m^2
AREA = SIZE[0] * SIZE[1] * 1e-12  # m^2
CURRENT = J0 * AREA  # A

CASE = """\
version: 1
name: boss   # a hemisphere <under> the plating face
electrolyte: {size: [20 um, 30 um, 50 um], conductivity: 1 mS/cm}
electrodes:
  plating: {face: +z, potential: 0 V}
  counter: {face: -z, potential: 50 mV}
cracks:
  - {name: boss, kind: spheroid, semi_axis: 5 um}
mesh: {size_min: 500 nm, size_max: 3 um}
"""


def potential(points: np.ndarray) -> np.ndarray:
    """Exact potential, V, at points in um."""
    d = (CENTRE[2] - points[:, 2]) * 1e-6
    r = np.maximum(np.linalg.norm(points - CENTRE, axis=1), 1e-9)
    return E0 * d * (1 - (RADIUS / r) ** 3)


def field(points: np.ndarray) -> np.ndarray:
    """Exact electric field -grad(phi), V/m, at points in um."""
    rel = points - CENTRE
    r = np.linalg.norm(rel, axis=1)[:, None]
    d = -rel[:, 2:3]
    grad = -(1 - (RADIUS / r) ** 3) * np.array([0.0, 0.0, 1.0]) + 3 * d * RADIUS**3 / r**5 * rel
    return -E0 * grad


def block_mesh(quadratic: bool = False) -> Any:
    """Tetrahedra of the block without the hemisphere, um: a stretched lattice with its core pushed onto the sphere."""
    import pyvista as pv

    core, outer = 4.0, 9.0
    side_x = np.array([-10, -9, -7.5, -6, -5, -4, -2.7, -1.3, 0, 1.3, 2.7, 4, 5, 6, 7.5, 9, 10])
    side_y = np.concatenate([[-15, -12], side_x, [12, 15]])
    depth = np.concatenate([[0, 1.3, 2.7, 4, 5, 6, 7.5, 9], np.linspace(12, 50, 12)])
    grid = pv.RectilinearGrid(side_x, side_y, depth)
    centre = grid.cell_centers().points
    in_core = (np.abs(centre[:, 0]) < core) & (np.abs(centre[:, 1]) < core) & (centre[:, 2] < core)
    tets = grid.to_tetrahedra(tetra_per_cell=5, pass_cell_ids=True)
    cells = tets.cells_dict[pv.CellType.TETRA][~in_core[tets.cell_data["vtkOriginalCellIds"]]]
    points = np.asarray(tets.points, dtype=float)
    m = np.max(np.abs(points), axis=1)
    r = np.maximum(np.linalg.norm(points, axis=1), 1e-9)
    s = np.clip((m - core) / (outer - core), 0, 1)
    # Radius grows linearly from the sphere to the undisturbed lattice, so that no cell folds over.
    points = points * np.where(m < outer, (1 - s) * RADIUS / r + s * outer / np.maximum(m, 1e-9), 1)[:, None]
    points[:, 2] = -points[:, 2]
    points += CENTRE
    used, cells = np.unique(cells, return_inverse=True)
    points, cells = points[used], cells.reshape(-1, 4)
    flip = np.einsum(
        "ij,ij->i",
        np.cross(points[cells[:, 1]] - points[cells[:, 0]], points[cells[:, 2]] - points[cells[:, 0]]),
        points[cells[:, 3]] - points[cells[:, 0]],
    )
    cells[flip < 0] = cells[flip < 0][:, [0, 2, 1, 3]]
    if not quadratic:
        return pv.UnstructuredGrid({pv.CellType.TETRA: cells}, points)
    edges = np.sort(np.vstack([cells[:, e] for e in ([0, 1], [1, 2], [2, 0], [0, 3], [1, 3], [2, 3])]), axis=1)
    unique, index = np.unique(edges, axis=0, return_inverse=True)
    mids = points[unique].mean(axis=1)
    extra = index.reshape(6, -1).T + len(points)
    return pv.UnstructuredGrid({pv.CellType.QUADRATIC_TETRA: np.hstack([cells, extra])}, np.vstack([points, mids]))


def lithium_surface(mesh: Any) -> Any:
    """Lithium triangles of the mesh: the hemisphere (surface 1) and the flat plating face (surface 0)."""
    import pyvista as pv

    cells = mesh.cells.reshape(mesh.n_cells, -1)[:, 1:5]
    faces = np.vstack([cells[:, f] for f in ([0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2])])
    _, first, count = np.unique(np.sort(faces, axis=1), axis=0, return_index=True, return_counts=True)
    faces = faces[first[count == 1]]
    corner = mesh.points[faces]
    r = np.linalg.norm(corner - CENTRE, axis=2)
    on_boss = np.all(np.abs(r - RADIUS) < 1e-6, axis=1)
    on_face = np.all(np.abs(corner[:, :, 2] - CENTRE[2]) < 1e-6, axis=1)
    keep = on_boss | on_face
    used, faces = np.unique(faces[keep], return_inverse=True)
    faces = faces.reshape(-1, 3)
    surface = pv.PolyData(np.asarray(mesh.points)[used], np.hstack([np.full((len(faces), 1), 3), faces]).ravel())
    surface.cell_data["surface"] = on_boss[keep].astype(np.int32)
    surface.field_data["surface_names"] = np.array(["plating", "boss"])
    for data, points in ((surface.point_data, surface.points), (surface.cell_data, surface.cell_centers().points)):
        r = np.maximum(np.linalg.norm(points - CENTRE, axis=1), RADIUS)
        flux = np.where(
            np.abs(points[:, 2] - CENTRE[2]) < 1e-6, 1 - (RADIUS / r) ** 3, 3 * (CENTRE[2] - points[:, 2]) / r
        )
        data["fef"] = flux
        data["current_density_A_m2"] = J0 * flux
    return surface


def write_distribution(folder: Path, surface: Any) -> None:
    """Write figures/flux_distribution.csv from the triangles."""
    flux = np.asarray(surface.cell_data["fef"])
    area = np.asarray(surface.compute_cell_sizes(length=False, volume=False).cell_data["Area"])
    order = np.argsort(flux)
    flux, area = flux[order], area[order]
    above = 1 - np.cumsum(area) / area.sum()
    current = 1 - np.cumsum(area * flux) / (area * flux).sum()
    (folder / "figures").mkdir(exist_ok=True)
    with (folder / "figures" / "flux_distribution.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["fef", "area_fraction_above", "current_fraction_above"])
        writer.writerows(zip(flux.tolist(), above.clip(0).tolist(), current.clip(0).tolist(), strict=True))


def result() -> dict[str, Any]:
    """The record, with exact values in SI units."""
    tip = [CENTRE[0] * 1e-6, CENTRE[1] * 1e-6, (CENTRE[2] - RADIUS) * 1e-6]
    advance = 2 * np.pi * (RADIUS * 1e-6) ** 3 / AREA
    area_resistance = (SIZE[2] * 1e-6 - advance) / SIGMA
    current = 3 * np.pi * (RADIUS * 1e-6) ** 2 * J0

    def entry(value: float, unit: str, error: float | None, definition: str, **more: Any) -> dict[str, Any]:
        source = (
            {"error_method": "P1 against P2 on one mesh"} if error is not None else {"error_absent": "one mesh only"}
        )
        return {"value": value, "unit": unit, "error": error, "definition": definition} | source | more

    metrics = {
        f"fef_r{nm}nm": entry(
            3 * (1 - (nm * 1e-3) ** 2 / (4 * RADIUS**2)),
            "1",
            0.004,
            "largest mean current density over the lithium inside a ball of the stated radius, over I/A",
            averaging_length_m=nm * 1e-9,
            place_m=tip,
        )
        for nm in (250, 500, 1000)
    }
    metrics["fef_r100nm"] = {
        "value": None, "unit": "1", "error": None, "absent": "100 nm is less than 3 times the local mesh size",
        "definition": metrics["fef_r250nm"]["definition"], "averaging_length_m": 1e-7,
    }  # fmt: skip
    metrics |= {
        "total_current": entry(CURRENT, "A", 0.0, "sum of the nodal reactions on the counter electrode"),
        "mean_current_density": entry(J0, "A/m^2", 0.0, "total current over the cross-section"),
        "resistance": entry(area_resistance / AREA, "ohm", None, "V/I"),
        "area_resistance": entry(area_resistance, "ohm m^2", 2e-8, "V A / I"),
        "electrode_advance": entry(advance, "m", 2e-9, "H - sigma A V / I"),
        "crack_current": entry(current, "A", 1e-10, "sum of the nodal reactions on the crack"),
        "crack_current_share": entry(current / CURRENT, "1", 2e-3, "crack current over total current"),
        "capture_area": entry(current / J0, "m^2", 1e-13, "crack current over I/A"),
        "capture_ratio": entry(3.0, "1", 5e-3, "capture area over the projected opening"),
        "flux_q95": entry(2.0, "1", None, "area-weighted 95 % quantile of j/j0 on the lithium"),
        "max_field_on_mesh": {
            "value": 3.02 * E0, "unit": "V/m", "flag": "mesh-dependent", "local_size": 1.3e-6,
            "definition": "largest |E| in any cell",
        },
    }  # fmt: skip
    return {
        "status": "ok",
        "name": "boss",
        "case_hash": "0" * 64,
        "version": "0.1.0",
        "metrics": metrics,
        "reference": {"current_density": J0, "field": E0, "field_V_over_H": E0 * (1 - advance / 50e-6)},
        "electrodes": {"plating_V": 0.0, "counter_V": 0.05, "height_m": 50e-6, "area_m2": AREA},
        "cracks": {"boss": {"current": current, "share": current / CURRENT, "potential": 0.0, "area": 1.57e-10,
                            "volume": 2.6e-16}},
        "geometry": {"electrolyte_volume": 2.97e-14, "void_volume": 0.0, "crack_area": 1.57e-10,
                     "volume_balance": 2e-15},
        "currents": {"plating": CURRENT - current, "counter": -CURRENT, "imbalance": 3e-13},
        "identities": {"charge": 3e-13, "energy": 5e-12, "advance": 8e-13},
        "convergence": {"method": "P1 against P2 on one mesh", "rows": [
            {"metric": "fef_r250nm", "coarse": 2.981, "fine": 2.998},
            {"metric": "crack_current", "coarse": current * 1.004, "fine": current},
        ]},
        "warnings": [{"kind": "box", "text": "The block is narrow; an isolated crack <would> read 9 % more."}],
        "repairs": [{"kind": "degenerate faces dropped", "count": 3, "d_volume": 0.0, "d_area": -2e-18}],
        "mesh": {"cells": 14000, "vertices": 3000, "dofs": 21000, "min_quality": 0.31, "p01_quality": 0.4,
                 "remesher": "gmsh", "order": 1, "size_min_m": 1.3e-6, "size_max_m": 3.5e-6},
        "solve": {"iterations": 9, "true_residual": 4e-11, "ranks": 1},
        "seconds": {"surface": 0.4, "mesh": 3.1, "solve": 1.8, "output": 2.2, "total": 7.5},
        "versions": {"python": "3.12", "dolfinx": "0.11"},
    }  # fmt: skip


def write_result_folder(folder: Path, *, quadratic: bool = False, fields: bool = True) -> Path:
    """Write the folder and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    mesh = block_mesh(quadratic)
    surface = lithium_surface(mesh)
    if fields:
        mesh.field_data["length_unit_m"] = np.array([1e-6])
        mesh.point_data["potential_V"] = potential(np.asarray(mesh.points))
        e = field(mesh.cell_centers().points)
        mesh.cell_data["electric_field_V_m"] = e
        mesh.cell_data["current_density_A_m2"] = SIGMA * e
        mesh.cell_data["fef"] = np.linalg.norm(e, axis=1) / E0
        (folder / "fields").mkdir(exist_ok=True)
        mesh.save(folder / "fields" / "fields.vtu")
        (folder / "fields.pvd").write_text(
            '<?xml version="1.0"?>\n<VTKFile type="Collection" version="0.1"><Collection>\n'
            '<DataSet timestep="0" part="0" file="fields/fields.vtu"/>\n</Collection></VTKFile>\n'
        )
        surface.save(folder / "crack_surface.vtp")
    write_distribution(folder, surface)
    (folder / "case.yaml").write_text(CASE)
    (folder / "case.resolved.yaml").write_text(CASE)
    (folder / "result.json").write_text(json.dumps(result(), indent=1))
    return folder
