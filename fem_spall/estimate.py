"""What a case will cost before it is meshed: cracks in the block, cells, unknowns, memory."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fem_spall.crack import AnalyticCrack, TriangulatedCrack
from fem_spall.errors import GeometryError, LimitError, MeshingError
from fem_spall.mesh.sizes import expected_cells
from fem_spall.microstructure import Varied

if TYPE_CHECKING:
    from fem_spall.case import Case

__all__ = ["CrackMeasure", "Estimate", "estimate", "examine", "measure"]


@dataclass(frozen=True)
class CrackMeasure:
    """A crack within the block: volume in m^3, area of its wall in m^2; its own bounding box (2, 3), m; a remark."""

    name: str
    volume: float
    area: float
    box: NDArray[np.float64]
    note: str = ""


@dataclass(frozen=True)
class Estimate:
    """Expected size of a run before tips are refined; a factor of two either way."""

    cells: float
    unknowns: float
    memory: float  # bytes


def examine(case: Case) -> None:
    """Read what the regions and the conductivity name, as far as that takes no mesh.

    Raises
    ------
    SpallError
        Whatever is wrong with a file, or a region that is nowhere.
    """
    for region in case.regions:
        region.examine(case.block, case.mesh.size_min)
    if isinstance(case.electrolyte.conductivity, Varied):
        middle = np.array(case.electrolyte.size) / 2
        case.electrolyte.conductivity.on_cells(middle + 1e-9 * np.eye(4, 3)[None], case.electrolyte.size)


def measure(case: Case) -> list[CrackMeasure]:
    """Return every crack of the case as it will stand in the block.

    Raises
    ------
    SpallError
        Whatever would stop the run before meshing: a file, a surface, a crack out of place.
    """
    from fem_spall.mesh.arrays import length_unit
    from fem_spall.mesh.embed import embed

    unit, block = length_unit(case.electrolyte.size), case.block
    snap = case.mesh.snap(case.electrolyte.size)
    surfaces = {c.name: c.surface(block) for c in case.cracks if isinstance(c, TriangulatedCrack)}
    voids = frozenset(crack.name for crack in case.cracks if crack.contents == "void")
    together = embed(block, surfaces, voids, unit, snap) if surfaces else None
    examine(case)
    shapes = _measure_shapes(case) if any(isinstance(c, AnalyticCrack) for c in case.cracks) else {}
    measures = []
    for crack in case.cracks:
        if isinstance(crack, AnalyticCrack):
            note = "closed form, measured to about 1 %"
            measures.append(CrackMeasure(crack.name, *shapes[crack.name], crack.extent(block), note))
            continue
        surface = surfaces[crack.name]
        alone = together if len(surfaces) == 1 else embed(block, {crack.name: surface}, voids, unit, snap)
        assert alone is not None
        volume, area = alone.lithium_volume + alone.void_volume, alone.area(alone.names[crack.name])
        changes = ", ".join(repair.words for repair in surface.repairs) or "nothing repaired"
        note = f"{len(surface.faces):,} triangles, {changes}"
        measures.append(CrackMeasure(crack.name, volume * unit**3, area * unit**2, surface.bounds, note))
    return measures


def _measure_shapes(case: Case) -> dict[str, tuple[float, float]]:
    """Volume in m^3 and wall area in m^2 of the closed-form cracks; in a child, for gmsh may abort."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "fem_spall.estimate"], input=case.model_dump_json(), capture_output=True, text=True,
            timeout=case.mesh.time_limit, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        reason = f"building the cracks took longer than mesh.time_limit ({case.mesh.time_limit:g} s)"
        raise LimitError(11, "gmsh", reason, "raise it") from None
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise MeshingError(38, "gmsh", f"cannot build the cracks: {said[:200]}", "try `fem-spall doctor`")
    found: dict[str, tuple[float, float]] = json.loads(done.stdout)
    for name, (_, area) in found.items():
        if area == 0:
            raise GeometryError(11, f"crack {name}", "does not meet the block", "check its centre and size")
    return found


def _shapes_in_block(case: Case) -> dict[str, tuple[float, float]]:
    from fem_spall.mesh.arrays import length_unit
    from fem_spall.mesh.tetrahedralise import gmsh_session

    unit, block, found = length_unit(case.electrolyte.size), case.block, {}
    size = np.array(block.size) / unit
    with gmsh_session() as gmsh:
        occ = gmsh.model.occ
        for crack in case.cracks:
            if not isinstance(crack, AnalyticCrack):
                continue
            shape = crack.add_shape(occ, block, unit)
            parts = occ.intersect(shape, [(3, occ.addBox(0, 0, 0, *size))])[0]
            occ.synchronize()
            volume = sum(occ.getMass(*part) for part in parts if part[0] == 3)
            sides = 1 if crack.kind in ("patch", "patches") else 2
            area = sum(sides * occ.getMass(*part) for part in parts if part[0] == 2)
            solids = [part for part in parts if part[0] == 3]
            for _, tag in gmsh.model.getBoundary(solids, oriented=False) if solids else []:
                low, high = np.array(gmsh.model.getBoundingBox(2, tag)).reshape(2, 3)
                # The CAD kernel's boxes are padded by up to 1e-4 um.
                flat = (np.minimum(np.abs(low), np.abs(low - size)) < 1e-3) & (high - low < 1e-3)
                area += 0.0 if flat.any() else occ.getMass(2, tag)
            found[crack.name] = (volume * unit**3, area * unit**2)
            occ.remove(occ.getEntities(3), recursive=True)
    return found


# Fitted to ten runs of 8 thousand to 360 thousand cells; they lie within 0.6 and 1.6 of the estimate.
#: Mean size on a crack's wall over size_min.
WALL_SIZE = 2.0
#: Unknowns per cell by degree; bytes of memory per unknown, and before the first one.
UNKNOWNS = {1: 0.2, 2: 1.5}
BYTES_PER_UNKNOWN, BASE_MEMORY = 1200.0, 0.2e9


def estimate(case: Case, cracks: list[CrackMeasure]) -> Estimate:
    """Return the expected size of the run: cells of size h(d) = h_wall + (grading - 1) d at distance d from a wall."""
    mesh = case.mesh
    wall = min(WALL_SIZE * mesh.size_min, mesh.size_max)
    volume, walls = float(np.prod(case.electrolyte.size)), [crack.area for crack in cracks]
    cells = expected_cells(volume, walls, wall, mesh.size_max, mesh.grading)
    unknowns = UNKNOWNS[case.solver.degree] * cells
    return Estimate(cells, unknowns, BASE_MEMORY + BYTES_PER_UNKNOWN * unknowns)


if __name__ == "__main__":
    from fem_spall.case import Case

    json.dump(_shapes_in_block(Case.model_validate_json(sys.stdin.read())), sys.stdout)
