"""The meshing child process: ``python -m fem_spall.mesh.worker FOLDER``.

Reads ``job.json``, ``surface_NAME.npz`` and for a refinement ``coarse.npz`` and ``sizes.npz`` from the folder; writes
``mesh.npz`` or ``failure.json``.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fem_spall import errors
from fem_spall.case import Case
from fem_spall.crack import AnalyticCrack, CrackSurface, Repair
from fem_spall.errors import MeshingError, SpallError
from fem_spall.mesh.arrays import MeshArrays, length_unit
from fem_spall.mesh.checks import check_mesh, check_surfaces, surface_distance
from fem_spall.mesh.focus import Focus, refined_boundary, split_facets
from fem_spall.mesh.sides import closed_again, conducting_part, opened
from fem_spall.mesh.sizes import SizeField, expected_cells
from fem_spall.mesh.tagged_surface import CUT_OFF, TaggedSurface
from fem_spall.mesh.thin import rim_of

__all__ = ["ATTEMPTS", "mesh_case"]

type Floats = NDArray[np.float64]


class Attempt(NamedTuple):
    """One way to remesh a boundary.

    ``fraction`` is that of the asked smallest size; ``sharp`` keeps folded edges of cracks; ``plain`` takes no care of
    the shapes of triangles and of the facets of polyhedra.
    """

    fraction: float
    sharp: bool
    plain: bool = False

    def __str__(self) -> str:
        return f"size {self.fraction:g} x size_min{', folds kept' * self.sharp}{', plain' * self.plain}"


#: A mesher that stumbles over one usually takes the next.
ATTEMPTS = tuple(Attempt(fraction, sharp) for fraction in (1.0, 0.5, 0.3) for sharp in (True, False))
LAST_RESORTS = (Attempt(0.5, True, plain=True), Attempt(0.3, True, plain=True))
#: A crack whose mean opening is less than this part of the smallest size is refused before anything is tried.
FAR_BELOW = 0.1
#: Factors on the sizes of a refinement: a few bad cells in a million go away with slightly other sizes.
NUDGES = (1.0, 0.95, 0.9)


def mesh_case(
    case: Case, surfaces: dict[str, CrackSurface], foci: list[Focus] | None = None, sizes: SizeField | None = None
) -> MeshArrays:
    """Return the checked mesh of a case.

    Parameters
    ----------
    case : Case
        The case.
    surfaces : dict
        Surface by crack name of every crack that is not of closed form.
    foci : list of Focus, optional
        Places to resolve, for cracks of closed form only; elsewhere :func:`refine_mesh` does it.
    sizes : SizeField, optional
        Sizes to keep below, likewise.
    """
    shapes = tuple(crack for crack in case.cracks if isinstance(crack, AnalyticCrack))
    remesher = case.mesh.remesher
    if remesher == "auto":
        remesher = "mmg" if surfaces else "gmsh"
    if remesher == "gmsh" and surfaces:
        raise MeshingError(
            36, "mesh.remesher", "gmsh's own remeshing is for cracks of closed form; its parametrisation fails on "
            "reconstructed surfaces", "use mesh.remesher: auto or mmg",
        )  # fmt: skip
    if remesher == "gmsh" and case.mesh.mesher == "tetwild":
        raise MeshingError(
            52, "mesh.mesher", "tetwild is for surfaces; cracks of closed form are meshed by gmsh on the true surface",
            "use mesh.mesher: auto",
        )  # fmt: skip
    if remesher == "gmsh":
        return _mesh_shapes(case, shapes, foci or [], sizes)
    if shapes:
        surfaces = {**{shape.name: _triangulate(case, shape) for shape in shapes}, **surfaces}
    surfaces = {crack.name: surfaces[crack.name] for crack in case.cracks}
    return _mesh_surfaces(case, surfaces, remesher)


def _mesh_shapes(
    case: Case, shapes: tuple[AnalyticCrack, ...], foci: list[Focus], sizes: SizeField | None
) -> MeshArrays:
    from fem_spall.mesh.analytic_shapes import mesh_shapes

    unit = length_unit(case.electrolyte.size)
    for shape in shapes:
        opening = getattr(shape, "opening", 0.0)
        if 0 < opening < case.mesh.size_min:
            raise MeshingError(
                37, f"crack {shape.name}", f"its opening must be at least mesh.size_min; got {opening * 1e9:.3g} nm "
                f"against {case.mesh.size_min * 1e9:.3g} nm",
                "lower mesh.size_min, or take opening: 0 um, the crack without thickness",
            )  # fmt: skip
    order = case.mesh.order or (2 if shapes and case.solver.degree == 2 else 1)
    mesh = mesh_shapes(
        case.block, shapes, unit,
        size_min=case.mesh.size_min / unit, size_max=case.mesh.size_max / unit,
        grading=case.mesh.grading, algorithm=case.mesh.algorithm, order=order, foci=foci, sizes=sizes,
    )  # fmt: skip
    box = np.array([[0.0, 0.0, 0.0], case.electrolyte.size]) / unit
    check_surfaces(mesh, box)
    quality = check_mesh(mesh, None, case.mesh.quality_floor)
    mesh.info.update(
        quality, mesher="gmsh", remesher="gmsh", algorithm=case.mesh.algorithm, repairs=[], box=box.tolist()
    )
    mesh.info["apart_from_plating"] = _apart(mesh, case)
    return mesh


def refine_mesh(case: Case, mesh: MeshArrays, foci: list[Focus], sizes: SizeField | None = None) -> MeshArrays:
    """Return a mesh of the same straight-sided boundary, finer at the foci and where the sizes ask for it.

    For foci alone only the cells round them are made anew, if that succeeds.
    """
    insulating = mesh.info.get("insulating_sheets", [])
    mesh = closed_again(mesh, insulating)
    attempts = [(scale, False) for scale in NUDGES]
    if sizes is None:
        attempts = [(1.0, True), *attempts]
    last: MeshingError | None = None
    for scale, locally in attempts:
        nudged = [replace(focus, size=focus.size * scale) for focus in foci]
        wanted = replace(sizes, sizes=sizes.sizes * scale) if sizes is not None else None
        try:
            finer = _refined(case, mesh, nudged, wanted, locally)
        except MeshingError as error:
            last = error
            continue
        if finer is not None:
            return opened(finer, insulating)
    assert last is not None
    raise last


def _refined(
    case: Case, mesh: MeshArrays, foci: list[Focus], sizes: SizeField | None, locally: bool
) -> MeshArrays | None:
    """The checked mesh within the divided boundary; ``locally`` with the cells that can stay, None if few can."""
    from fem_spall.mesh.refill import refilled
    from fem_spall.mesh.tetrahedralise import tetrahedralise

    largest, algorithm = case.mesh.size_max / mesh.unit, case.mesh.algorithm
    divided = refined_boundary(replace(mesh, tags=np.arange(len(mesh.tags), dtype=np.int32)), foci, sizes)
    boundary = replace(divided, tags=mesh.tags[divided.tags])
    if not locally:
        finer = tetrahedralise(boundary, largest, algorithm, sizes)
    elif boundary.closed.all():
        kept = refilled(mesh, boundary, divided.tags, foci, largest, algorithm)
        if kept is None:
            return None
        finer = kept
    else:
        return None
    check_surfaces(finer, boundary.box)
    quality = check_mesh(finer, boundary.volume, case.mesh.quality_floor)
    return replace(finer, info={**mesh.info, **quality})


def mean_opening(surface: CrackSurface) -> float:
    """Mean distance of the walls of a crack, m: twice its volume over its area; infinite for sheets."""
    return np.inf if surface.thin or surface.sheet else 2 * surface.volume / surface.area


def _too_thin(case: Case, name: str, surface: CrackSurface, opening: float) -> MeshingError:
    """The refusal of a crack that the mesh cannot resolve, with what it would take."""
    size, largest = opening / 2, case.mesh.size_max
    block = float(np.prod(case.electrolyte.size))
    cells = expected_cells(block, [surface.area], min(size, largest), largest, case.mesh.grading)
    return MeshingError(
        23, f"crack {name}", f"its mean opening (2 x volume / area), {opening * 1e9:.3g} nm, is below mesh.size_min "
        f"({case.mesh.size_min * 1e9:.3g} nm), and it cannot be meshed so; {size * 1e9:.3g} nm would resolve it, with "
        f"about {cells:.2g} cells", "lower mesh.size_min, or give its middle surface as kind: sheet, without thickness",
    )  # fmt: skip


def _fine_rim(boundary: TaggedSurface, size: float, largest: float) -> tuple[TaggedSurface, Floats | None]:
    """The boundary with its triangles divided towards the rims of sheets, where the current crowds, and sizes.

    The sizes (n,), mesh units, are those that its vertices should have; None without sheets.
    """
    rim = rim_of(boundary) * boundary.unit
    if len(rim) == 0:
        return boundary, None
    count = np.ceil(np.linalg.norm(rim[:, 1] - rim[:, 0], axis=1) / size).astype(int)
    points = [a + np.linspace(0, 1, n + 1)[:, None] * (b - a) for (a, b), n in zip(rim, count, strict=True)]
    focus = Focus(np.concatenate(points), 0.0, size)
    boundary = split_facets(boundary, [focus])
    return boundary, np.minimum(focus.size_at(boundary.vertices * boundary.unit), largest) / boundary.unit


def _sided(
    case: Case, mesh: MeshArrays, boundary: TaggedSurface, voids: frozenset[str]
) -> tuple[MeshArrays, list[Repair]]:
    """Drop what sheets cut off, and say so, and open the insulating ones."""
    if boundary.thin is None:
        return mesh, []
    thin = np.unique(boundary.tags[boundary.thin])
    insulating = [name for name in sorted(voids) if boundary.names[name] in thin]
    lithium = frozenset({crack.name for crack in case.cracks} - voids | {case.electrodes.plating.face})
    mesh, dropped = conducting_part(mesh, case.electrodes.counter.face, lithium)
    mesh = opened(mesh, insulating)
    mesh.info["insulating_sheets"] = insulating
    return mesh, [dropped] if dropped is not None else []


def _triangulate(case: Case, shape: AnalyticCrack) -> CrackSurface:
    """Triangles of a shape of closed form, for cases that also have reconstructed surfaces."""
    from fem_spall.mesh.analytic_shapes import triangulate_shape

    unit = length_unit(case.electrolyte.size)
    points, faces = triangulate_shape(case.block, shape, unit, case.mesh.size_min / unit, case.mesh.size_max / unit)
    return CrackSurface.canonical(points * unit, faces, provenance={"kind": "closed form"})


def _mesh_surfaces(case: Case, surfaces: dict[str, CrackSurface], remesher: str) -> MeshArrays:
    from fem_spall.mesh.embed import embed
    from fem_spall.mesh.remesh_mmg import remesh
    from fem_spall.mesh.tetrahedralise import tetrahedralise
    from fem_spall.mesh.tetwild import fill_by_tetwild, installed

    unit = length_unit(case.electrolyte.size)
    voids = frozenset(crack.name for crack in case.cracks if crack.contents == "void")
    settings = case.mesh
    for name, surface in surfaces.items():
        if (opening := mean_opening(surface)) < FAR_BELOW * settings.size_min:
            raise _too_thin(case, name, surface, opening)
    boundary = embed(case.block, surfaces, voids, unit, settings.snap(case.electrolyte.size))
    start, rim_sizes = _fine_rim(boundary, settings.size_min, settings.size_max)
    failures: list[str] = []
    sizes = settings.size_max / unit, settings.grading, settings.tolerance / unit
    ladder: list[Attempt | None] = [*ATTEMPTS, *LAST_RESORTS] if remesher == "mmg" else [ATTEMPTS[0]]
    if settings.mesher == "tetwild":
        if boundary.thin is not None:
            raise MeshingError(
                38, "mesh.mesher", "tetwild knows no sheets without thickness", "use mesh.mesher: gmsh"
            )  # fmt: skip
        ladder = []
    if settings.mesher != "gmsh" and boundary.thin is None and (installed() or not ladder):
        ladder.append(None)
    for attempt in ladder:
        try:
            if attempt is None:
                mesh, enclosed = fill_by_tetwild(boundary, settings.size_min / unit, *sizes), None
            else:
                fine = start
                if remesher == "mmg":
                    fine = remesh(
                        start, attempt.fraction * settings.size_min / unit, *sizes,
                        sharp=attempt.sharp, sizes=rim_sizes, plain=attempt.plain,
                    )  # fmt: skip
                mesh, enclosed = tetrahedralise(fine, settings.size_max / unit, settings.algorithm), fine.volume
            check_surfaces(mesh, boundary.box)
            quality = check_mesh(mesh, enclosed, settings.quality_floor)
            distances = _check_distances(mesh, boundary, list(surfaces), settings.tolerance, settings.size_min)
        except MeshingError as error:
            failures.append(f"{attempt or 'tetwild'}: {error.where}: {error.reason}")
            last = error
            continue
        break
    else:
        if remesher == "none":
            raise MeshingError(
                last.detail, last.where, f"the surface as it is does not make a mesh: {last.reason}",
                "use mesh.remesher: auto",
            )  # fmt: skip
        thinnest = min(surfaces, key=lambda name: mean_opening(surfaces[name]))
        if (opening := mean_opening(surfaces[thinnest])) < settings.size_min:
            raise _too_thin(case, thinnest, surfaces[thinnest], opening)
        slower = settings.mesher == "auto" and boundary.thin is None and not installed()
        raise MeshingError(
            last.detail, last.where, f"all {len(failures)} attempts failed, the last with: {last.reason}",
            last.cure + (", or install the slower mesher fTetWild: pip install 'fem-spall[robust]'" if slower else ""),
        )  # fmt: skip
    box_volume = float(np.prod(np.ptp(boundary.box, axis=0)))
    dropped = sum(r.volume_change for r in boundary.repairs if r.kind == CUT_OFF) / unit**3
    balance = (boundary.volume - dropped + boundary.lithium_volume + boundary.void_volume - box_volume) / box_volume
    mesh, beyond = _sided(case, mesh, boundary, voids)
    mesh.info.update(
        quality,
        mesher="gmsh" if attempt else "tetwild",
        remesher=remesher if attempt else "tetwild",
        attempt=len(failures) + 1,
        failed_attempts=failures,
        box=boundary.box.tolist(),
        distances=distances,
        repairs=[vars(repair) for repair in (*boundary.repairs, *beyond)],
        boolean_volume_balance=balance,
        enclosed_m3={name: volume * unit**3 for name, volume in boundary.enclosed.items()},
        boolean_areas_m2={name: boundary.area(tag) * unit**2 for name, tag in boundary.names.items()},
        boolean_volume_m3=boundary.volume * unit**3 + sum(repair.volume_change for repair in beyond),
    )
    if abs(mesh.info["boolean_volume_balance"]) > 1e-9:
        raise MeshingError(
            45, "cracks", "electrolyte and cracks must add up to the block; off by "
            f"{mesh.info['boolean_volume_balance']:.1e}", "mend the crack surfaces, they may cross themselves",
        )  # fmt: skip
    mesh.info["interface_sheet"] = any(surface.sheet for surface in surfaces.values())
    mesh.info["apart_from_plating"] = _apart(mesh, case)
    return _flat_part(mesh, case)


def _apart(mesh: MeshArrays, case: Case) -> list[str]:
    """Names of the lithium cracks that share no vertex with the plating face."""
    face = mesh.names[case.electrodes.plating.face]
    plating = np.unique(mesh.facets[mesh.tags == face])
    if plating.size == 0:
        return []
    return [
        crack.name for crack in case.cracks
        if crack.contents == "lithium"
        and not np.intersect1d(plating, mesh.facets[mesh.tags == mesh.names[crack.name]]).size
    ]  # fmt: skip


def _check_distances(
    mesh: MeshArrays, boundary: TaggedSurface, cracks: list[str], tolerance: float, size_min: float
) -> dict[str, dict[str, float]]:
    """Distances between given and meshed surfaces: 99 % within the tolerance, all within it plus 2 size_min."""
    result = {}
    for name in cracks:
        largest, p99 = surface_distance(mesh, mesh.names[name], boundary)
        result[name] = {"largest_m": largest, "p99_m": p99}
        if p99 > tolerance or largest > tolerance + 2 * size_min:
            raise MeshingError(
                46, f"crack {name}", f"the meshed surface must stay within {tolerance * 1e9:.0f} nm of the given one; "
                f"got {p99 * 1e9:.0f} nm at 99 % and {largest * 1e9:.0f} nm at most",
                "lower mesh.size_min or raise mesh.surface_tolerance",
            )  # fmt: skip
    return result


def _flat_part(mesh: MeshArrays, case: Case) -> MeshArrays:
    """Give the flat part of an interface sheet to the plating face."""
    tags = mesh.tags.copy()
    for crack in case.cracks:
        flat = getattr(crack, "flat_within", None)
        if flat is not None:
            depth = case.block.depth(mesh.points * mesh.unit)
            own = tags == mesh.names[crack.name]
            near = (np.abs(depth[mesh.facets]) <= flat).all(axis=1)
            tags[own & near] = mesh.names[case.electrodes.plating.face]
    return MeshArrays(mesh.points, mesh.cells, mesh.facets, tags, mesh.names, mesh.unit, mesh.info)


def main(folder: Path) -> int:
    """Do the job of a folder; exit 0 with a mesh, 1 with a failure file."""
    # End with the parent, whatever ends it: an orphaned mesher would run on for its whole time limit.
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    job = json.loads((folder / "job.json").read_text())
    if os.getppid() != job["parent"]:
        return 1  # it ended before this process asked to be told
    case = Case.model_validate(job["case"])
    surfaces = {}
    for name in job["surfaces"]:
        with np.load(folder / f"surface_{name}.npz", allow_pickle=False) as data:
            sheet, thin = bool(data["sheet"]), bool(data["thin"])
            surfaces[name] = CrackSurface(data["vertices"], data["faces"], sheet=sheet, thin=thin)
    foci = [Focus(np.array(f["centres"]), f["radius"], f["size"]) for f in job["foci"]]
    sizes = SizeField.load(folder / "sizes.npz") if job["sizes"] else None
    try:
        if job["refine"]:
            mesh = refine_mesh(case, MeshArrays.load(folder / "coarse.npz"), foci, sizes)
        else:
            mesh = mesh_case(case, surfaces, foci, sizes)
        mesh.save(folder / "mesh.npz")
    except SpallError as error:
        write_failure(folder / "failure.json", error)
        return 1
    return 0


def write_failure(path: Path, error: SpallError) -> None:
    """Write a refusal so that :func:`read_failure` can raise it again elsewhere."""
    kind = type(error).__name__
    aside = path.with_name(f"{os.getpid()}-{path.name}")  # several ranks may say the same at once
    aside.write_text(json.dumps([kind, error.detail, error.where, error.reason, error.cure]))
    aside.replace(path)


def read_failure(path: Path) -> SpallError:
    """The refusal another process wrote."""
    kind, *arguments = json.loads(path.read_text())
    made: Any = getattr(errors, kind)(*arguments)
    assert isinstance(made, SpallError)
    return made


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
