"""The fields of a run as VTK files that ParaView 5.11 opens: ``.vtu`` in the volume, ``.vtp`` on the lithium."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fem_spall.fenics import compile_expression, ufl
from fem_spall.output.files import atomic_text
from fem_spall.output.vtk_xml import QUADRATIC_TETRA, TETRA, Arrays, write_polydata, write_unstructured
from fem_spall.solve import Solution
from fem_spall.surface_flux import LithiumFlux

__all__ = ["cell_fields", "raw_maximum", "write_pieces", "write_series", "write_surface", "write_volume"]

MICROMETRE = 1e-6
#: Cells whose fields are computed at a time.
CELLS_AT_ONCE = 1 << 16


def cell_fields(solution: Solution, cells: NDArray[np.int32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Electric field E = −∇φ at the middle (c, 3) and at the four corners (c, 4, 3) of some own cells, V/m."""
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0.25, 0.25, 0.25]], dtype=float)
    expression = compile_expression(-ufl.grad(solution.phi), corners)
    values = expression.eval(solution.problem.mesh.mesh, cells).reshape(len(cells), 5, 3) / solution.problem.mesh.unit
    return values[:, 4], values[:, :4]


def _parts(solution: Solution) -> Iterator[NDArray[np.int32]]:
    """The own cells, so many at a time, at least once: forms are compiled by all ranks."""
    count = solution.problem.mesh.mesh.topology.index_map(3).size_local
    for first in range(0, max(count, 1), CELLS_AT_ONCE):
        yield np.arange(first, min(first + CELLS_AT_ONCE, count), dtype=np.int32)


def raw_maximum(solution: Solution) -> tuple[float, NDArray[np.float64], float]:
    """Largest |E| at a corner of a cell, V/m, where, (3,) m, and the mean edge of that cell, m; on all ranks."""
    mesh, unit = solution.problem.mesh.mesh, solution.problem.mesh.unit
    local = (-1.0, (0.0, 0.0, 0.0), 0.0)
    for cells in _parts(solution):
        size = np.linalg.norm(cell_fields(solution, cells)[1], axis=2)
        if size.max(initial=-1.0) > local[0]:
            cell, corner = np.unravel_index(int(size.argmax()), size.shape)
            nodes = mesh.geometry.x[mesh.geometry.dofmaps[0][int(cells[cell]), :4]] * unit
            pairs = nodes[[0, 0, 0, 1, 1, 2]] - nodes[[1, 2, 3, 2, 3, 3]]
            local = float(size.max()), tuple(nodes[int(corner)].tolist()), float(np.linalg.norm(pairs, axis=1).mean())
    best = max(mesh.comm.allgather(local))
    return best[0], np.array(best[1]), best[2]


def write_volume(solution: Solution, folder: Path, reference: float, offset: float) -> list[Path]:
    """Write ``fields.pvd`` and ``fields/*.vtu`` (one piece a rank), micrometres; return the files, on rank 0.

    ``reference`` is j0, A/m^2, ``offset`` the potential of the plating electrode, V.
    """
    files = write_pieces(solution, folder / "fields", "fields", reference, offset)
    if not files:
        return []
    return [*files, write_series(folder / "fields.pvd", [(0.0, files[-1:])])]


def write_pieces(solution: Solution, folder: Path, stem: str, reference: float, offset: float) -> list[Path]:
    """Write ``stem.vtu``, or with several ranks one piece a rank and ``stem.pvtu``; return them, it last, on rank 0."""
    comm = solution.problem.mesh.comm
    if comm.rank == 0:
        folder.mkdir(exist_ok=True)
    comm.barrier()
    name = f"{stem}.vtu" if comm.size == 1 else f"{stem}_{comm.rank}.vtu"
    on_points, on_cells = _volume_data(solution, reference, offset)
    points = solution.problem.space.tabulate_dof_coordinates() * (solution.problem.mesh.unit / MICROMETRE)
    unit = {"length_unit_m": np.array([MICROMETRE])}
    write_unstructured(folder / name, points, *_cells(solution), on_points, on_cells, unit)
    names = comm.gather(name)
    if names is None:
        return []
    files = [folder / piece for piece in names]
    if comm.size > 1:
        files.append(atomic_text(folder / f"{stem}.pvtu", _parallel_header(on_points, on_cells, names)))
    return files


def write_series(path: Path, steps: list[tuple[float, list[Path]]]) -> Path:
    """Write a ``.pvd`` of times, s, each with its files (all below the folder of ``path``), a part each."""
    entries = "".join(
        f'    <DataSet timestep="{time:.10g}" part="{part}" file="{file.relative_to(path.parent).as_posix()}"/>\n'
        for time, files in steps
        for part, file in enumerate(files)
    )
    return atomic_text(
        path,
        '<?xml version="1.0"?>\n<VTKFile type="Collection" version="0.1" byte_order="LittleEndian">\n  <Collection>\n'
        f"{entries}  </Collection>\n</VTKFile>\n",
    )


def _volume_data(solution: Solution, reference: float, offset: float) -> tuple[Arrays, Arrays]:
    """Point and cell data of the volume by name."""
    problem = solution.problem
    field = np.concatenate([cell_fields(solution, cells)[0].copy() for cells in _parts(solution)])
    density = np.einsum("cij,cj->ci", problem.by_cell, field) * problem.reference_conductivity
    cells = {
        "electric_field_V_m": field.astype(np.float32),
        "current_density_A_m2": density.astype(np.float32),
        "fef": (np.linalg.norm(density, axis=1) / abs(reference)).astype(np.float32),
    }
    if problem.cells is not None:
        mean = np.trace(problem.by_cell, axis1=1, axis2=2) / 3 * problem.reference_conductivity
        cells |= {"conductivity_S_m": mean.astype(np.float32), "part": problem.cells.part.astype(np.float32)}
    return {"potential_V": np.asarray(solution.phi.x.array + offset)}, cells


def _cells(solution: Solution) -> tuple[NDArray[np.int32], int]:
    """Nodes of the own cells in VTK's order, and VTK's number of the cell type."""
    mesh, space = solution.problem.mesh.mesh, solution.problem.space
    cells = space.dofmap.list[: mesh.topology.index_map(3).size_local]
    if solution.problem.degree == 1:
        return cells, TETRA
    # VTK numbers the six edges 01 12 02 03 13 23; basix 23 13 12 03 02 01.
    return cells[:, [0, 1, 2, 3, 9, 6, 8, 7, 5, 4]], QUADRATIC_TETRA


def _parallel_header(on_points: Arrays, on_cells: Arrays, names: list[str]) -> str:
    def arrays(data: Arrays) -> str:
        kinds = {"float64": "Float64", "float32": "Float32"}
        return "".join(
            f'      <PDataArray type="{kinds[str(data[key].dtype)]}" Name="{key}" '
            f'NumberOfComponents="{1 if data[key].ndim == 1 else data[key].shape[1]}"/>\n'
            for key in data
        )

    pieces = "".join(f'    <Piece Source="{name}"/>\n' for name in names)
    return (
        '<?xml version="1.0"?>\n<VTKFile type="PUnstructuredGrid" version="0.1" byte_order="LittleEndian">\n'
        '  <PUnstructuredGrid GhostLevel="0">\n'
        f"    <PPointData>\n{arrays(on_points)}    </PPointData>\n"
        f"    <PCellData>\n{arrays(on_cells)}    </PCellData>\n"
        '    <PPoints>\n      <PDataArray type="Float64" NumberOfComponents="3"/>\n    </PPoints>\n'
        f"{pieces}  </PUnstructuredGrid>\n</VTKFile>\n"
    )


def write_surface(flux: LithiumFlux, path: Path, reference: float) -> Path:
    """Write the lithium surfaces with the current density into them, micrometres."""
    keys = flux.surface[:, None] * len(flux.points) + flux.facets[:, :3]
    unique, corners = np.unique(keys, return_inverse=True)
    points = flux.points[unique % len(flux.points)] / MICROMETRE
    corners = corners.reshape(-1, 3)
    at_points = np.zeros(len(unique))
    at_points[corners.ravel()] = flux.density.ravel()
    on_facets = flux.density.mean(axis=1)
    return write_polydata(
        path,
        points,
        corners,
        {"current_density_A_m2": at_points, "fef": at_points / abs(reference)},
        {
            "surface": flux.surface.astype(np.int32),
            "current_density_A_m2": on_facets,
            "fef": on_facets / abs(reference),
        },
        {"length_unit_m": np.array([MICROMETRE])},
        {"surface_names": list(flux.names)},
    )
