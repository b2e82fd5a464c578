"""The mesh round reconstructed surfaces: one attempt after the other, until one passes the checks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fem_spall.case import Case
from fem_spall.crack import CrackSurface, Repair
from fem_spall.errors import MeshingError
from fem_spall.mesh.arrays import MeshArrays, length_unit
from fem_spall.mesh.attempts import ATTEMPTS, CLOSE, LAST_RESORTS, PLATE, WALLS, Attempt, Trail
from fem_spall.mesh.checks import apart_from_plating, check_mesh, check_surfaces, radius_ratio
from fem_spall.mesh.distance import surface_distance
from fem_spall.mesh.focus import Focus, split_facets
from fem_spall.mesh.mend_walls import fixed_vertices
from fem_spall.mesh.regions import outlines_of, region_areas, with_regions
from fem_spall.mesh.sides import conducting_part, opened
from fem_spall.mesh.sizes import expected_cells
from fem_spall.mesh.tagged_surface import CUT_OFF, TaggedSurface, shells, signed_volume
from fem_spall.mesh.thin import rim_of
from fem_spall.mesh.worst_cells import mend_worst_cells
from fem_spall.mesh.worst_walls import MovableWalls

__all__ = ["mean_opening", "mesh_surfaces"]

type Floats = NDArray[np.float64]

#: So many failures are enough where cracks all but touch.
HOPELESS = 2
#: Walls are kept at once where their mean edge is above this times the smallest size (those of voxels, which have no
#: bad triangles and fold where they are thin, earlier); the latter second where it is above FINE.
AS_FINE, VOXELS_AS_FINE, FINE = 1.5, 0.6, 0.3
#: How far single places may be beyond the tolerance, in smallest sizes, where the walls are remeshed.
BEYOND = 2.0
#: What of the tolerance the walls may move where cells are poor because of them.
LEAVE = 0.1
#: With more cells below the floor the walls do not give way: what lies between them is too thin.
FEW = 20
#: A crack whose mean opening is less than this part of the smallest size is refused before anything is tried.
FAR_BELOW = 0.1


def mesh_surfaces(case: Case, surfaces: dict[str, CrackSurface], remesher: str, trail: Trail) -> MeshArrays:
    """Return the checked mesh of the block round the surfaces by crack name.

    Raises
    ------
    MeshingError
        If a crack is far too thin for the mesh, or no attempt passes.
    """
    from fem_spall.mesh.embed import embed

    for name, surface in surfaces.items():
        if (opening := mean_opening(surface)) < FAR_BELOW * case.mesh.size_min:
            raise _too_thin(case, name, surface, opening)
    unit = length_unit(case.electrolyte.size)
    voids = frozenset(crack.name for crack in case.cracks if crack.contents == "void")
    boundary = embed(case.block, surfaces, voids, unit, case.mesh.snap(case.electrolyte.size))
    job = _Job(case, surfaces, remesher, with_regions(boundary, case))
    mesh = job.first_good(trail)
    mesh, beyond = _sided(case, mesh, job.boundary, voids)
    mesh.info.update(job.account(beyond))
    if abs(mesh.info["boolean_volume_balance"]) > 1e-9:
        raise MeshingError(
            45, "cracks", "electrolyte and cracks must add up to the block; off by "
            f"{mesh.info['boolean_volume_balance']:.1e}", "mend the crack surfaces, they may cross themselves",
        )  # fmt: skip
    mesh.info["interface_sheet"] = any(surface.sheet for surface in surfaces.values())
    mesh.info["apart_from_plating"] = apart_from_plating(mesh, case)
    return _flat_part(mesh, case)


@dataclass
class _Job:
    """A boundary to fill, and the attempts at it."""

    case: Case
    surfaces: dict[str, CrackSurface]
    remesher: str
    boundary: TaggedSurface

    def __post_init__(self) -> None:
        settings, self.unit = self.case.mesh, self.boundary.unit
        self.size = settings.size_min / self.unit
        self.sizes = settings.size_max / self.unit, settings.grading, settings.tolerance / self.unit
        self.opening = min(mean_opening(surface) for surface in self.surfaces.values())
        self.start, self.rim_sizes = _fine_rim(self.boundary, settings.size_min, settings.size_max)

    def first_good(self, trail: Trail) -> MeshArrays:
        """The mesh of the first attempt that passes, those aside that other processes have made.

        Raises
        ------
        MeshingError
            If none passes.
        """
        from fem_spall.mesh.contacts import refuse_contacts

        settings, last = self.case.mesh, trail.death()
        for attempt in self._ladder()[len(trail.failures) :]:
            trail.begin(attempt or "tetwild")
            try:
                mesh, enclosed = self._filled(attempt)
                side = check_surfaces(mesh, self.boundary.box)
                quality = check_mesh(mesh, enclosed, settings.quality_floor, side)
                beyond = 0.0 if attempt is not None and attempt.walls else BEYOND * settings.size_min
                distances = _check_distances(
                    mesh, self.boundary, list(self.surfaces), settings.tolerance, beyond, settings.size_min
                )
            except MeshingError as error:
                trail.fail(f"{error.where}: {error.reason}")
                last = error
                if len(trail.failures) == HOPELESS:
                    refuse_contacts(self.boundary, settings.snap(self.case.electrolyte.size) / self.unit)
                continue
            mesh.info.update(
                quality,
                mesher="gmsh" if attempt else "tetwild",
                remesher=self.remesher if attempt else "tetwild",
                attempt=len(trail.failures) + 1,
                failed_attempts=trail.failures,
                distances=distances,
            )
            return mesh
        raise self._refusal(last, len(trail.failures))

    def _ladder(self) -> list[Attempt | None]:
        """Attempts in their order; None is fTetWild."""
        from fem_spall.mesh.remesh_mmg import fineness, is_polyhedron
        from fem_spall.mesh.tetwild import installed

        mesher, sheets = self.case.mesh.mesher, self.boundary.thin is not None
        if mesher == "tetwild" and sheets:
            raise MeshingError(38, "mesh.mesher", "tetwild knows no sheets without thickness", "use mesh.mesher: gmsh")
        slow: list[Attempt | None] = [None] if mesher == "tetwild" or (installed() and not sheets) else []
        if mesher == "tetwild":
            return slow
        if self.remesher != "mmg":
            return [ATTEMPTS[0], *slow] if mesher == "auto" else [ATTEMPTS[0]]
        attempts = [CLOSE, *ATTEMPTS, *LAST_RESORTS]
        if self.rim_sizes is None:
            voxels = all(crack.kind == "image_stack" for crack in self.case.cracks)
            if self.opening < self.case.mesh.size_min:
                attempts.insert(0 if is_polyhedron(self.boundary, self.size) else len(attempts), PLATE)
            edge = fineness(self.boundary, self.size)
            if edge > (VOXELS_AS_FINE if voxels else AS_FINE):
                attempts.insert(0, WALLS)
            elif edge > FINE:
                attempts.insert(1 if voxels else attempts.index(LAST_RESORTS[0]), WALLS)
        return [*attempts, *(slow if mesher == "auto" else [])]

    def _filled(self, attempt: Attempt | None) -> tuple[MeshArrays, float | None]:
        """The mesh of an attempt and the volume that it must have, mesh units; None where that is not exact."""
        from fem_spall.mesh.remesh_mmg import keep_walls, remesh, remesh_plate
        from fem_spall.mesh.tetrahedralise import tetrahedralise
        from fem_spall.mesh.tetwild import fill_by_tetwild

        if attempt is None:
            return fill_by_tetwild(self.boundary, self.size, *self.sizes), None
        fine = self.start
        if attempt.walls:
            fine = keep_walls(self.start, self.size, *self.sizes)
        elif attempt.plate:
            fine = remesh_plate(self.start, self.size, *self.sizes, self.opening / self.unit)
        elif self.remesher == "mmg":
            fine = remesh(
                self.start, attempt.fraction * self.size, *self.sizes,
                sharp=attempt.sharp, sizes=self.rim_sizes, plain=attempt.plain, close=attempt.close,
            )  # fmt: skip
        mesh = tetrahedralise(fine, self.sizes[0], self.case.mesh.algorithm)
        floor = self.case.mesh.quality_floor
        mesh = mend_worst_cells(mesh, floor)
        if fine.thin is not None or self._is_none(mesh):
            return mesh, fine.volume  # walls do not give way to make a mesh out of what is none
        planes = {tag: axis for tag, (axis, _) in fine.planes().items()}
        walls = MovableWalls(planes, LEAVE * self.sizes[2], fine.vertices[fixed_vertices(fine)])
        mesh = mend_worst_cells(mesh, floor, walls=walls)
        return mesh, signed_volume(mesh.points[mesh.facets])

    def _is_none(self, mesh: MeshArrays) -> bool:
        """Whether many cells are below the floor, or one that lies between two cracks."""
        poor = mesh.cells[radius_ratio(mesh.points, mesh.cells) < self.case.mesh.quality_floor]
        cracks = [mesh.facets[np.isin(mesh.tags, self.boundary.tags_of(name))] for name in self.surfaces]
        beside = sum((np.isin(poor, facets).any(axis=1).astype(int) for facets in cracks), np.zeros(len(poor), int))
        return len(poor) > FEW or bool((beside > 1).any())

    def _refusal(self, last: MeshingError, tried: int) -> MeshingError:
        from fem_spall.mesh.tetwild import installed

        if self.remesher == "none":
            return MeshingError(
                last.detail, last.where, f"the surface as it is does not make a mesh: {last.reason}",
                "use mesh.remesher: auto",
            )  # fmt: skip
        thinnest = min(self.surfaces, key=lambda name: mean_opening(self.surfaces[name]))
        if self.opening < self.case.mesh.size_min:
            return _too_thin(self.case, thinnest, self.surfaces[thinnest], self.opening)
        slower = self.case.mesh.mesher == "auto" and self.boundary.thin is None and not installed()
        return MeshingError(
            last.detail, last.where, f"all {tried} attempts failed, the last with: {last.reason}",
            last.cure + (", or install the slower mesher fTetWild: pip install 'fem-spall[robust]'" if slower else ""),
        )  # fmt: skip

    def account(self, beyond: list[Repair]) -> dict[str, object]:
        """What the boundary was before it was meshed, for the record; ``beyond`` are repairs made since."""
        boundary, unit = self.boundary, self.unit
        box = float(np.prod(np.ptp(boundary.box, axis=0)))
        dropped = sum(r.volume_change for r in boundary.repairs if r.kind == CUT_OFF) / unit**3
        whole = boundary.volume - dropped + boundary.lithium_volume + boundary.void_volume
        areas = {name: boundary.area(tag) * unit**2 for name, tag in boundary.names.items()}
        return {
            "box": boundary.box.tolist(),
            "repairs": [vars(repair) for repair in (*boundary.repairs, *beyond)],
            "boolean_volume_balance": (whole - box) / box,
            "enclosed_m3": {name: volume * unit**3 for name, volume in boundary.enclosed.items()},
            "region_areas_m2": region_areas(self.case, {name: areas[name] for name in boundary.parts}),
            "boolean_areas_m2": areas,
            "boolean_volume_m3": boundary.volume * unit**3 + sum(repair.volume_change for repair in beyond),
        }


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


def _fine_rim(
    boundary: TaggedSurface, size: float, largest: float
) -> tuple[TaggedSurface, Callable[[Floats], Floats] | None]:
    """The boundary with its triangles divided towards rims of sheets and outlines of regions, where the current crowds.

    The sizes there come with it as a function of places (n, 3), mesh units; None without sheets and regions.
    """
    rim = np.concatenate([rim_of(boundary), boundary.vertices[outlines_of(boundary)]]) * boundary.unit
    if len(rim) == 0:
        return boundary, None
    count = np.ceil(np.linalg.norm(rim[:, 1] - rim[:, 0], axis=1) / size).astype(int)
    points = [a + np.linspace(0, 1, n + 1)[:, None] * (b - a) for (a, b), n in zip(rim, count, strict=True)]
    focus = Focus(np.concatenate(points), 0.0, size)
    boundary = split_facets(boundary, [focus])
    unit = boundary.unit
    return boundary, lambda places: np.asarray(np.minimum(focus.size_at(places * unit), largest) / unit)


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


def _check_distances(
    mesh: MeshArrays, boundary: TaggedSurface, cracks: list[str], tolerance: float, beyond: float, size_min: float
) -> dict[str, dict[str, float]]:
    """Distances between given and meshed surfaces: 99 % within the tolerance, single places not more than that off."""
    result = {}
    for name in cracks:
        largest, p99 = surface_distance(mesh, boundary.tags_of(name), boundary)
        result[name] = {"largest_m": largest, "p99_m": p99}
        if p99 > tolerance or largest > tolerance + beyond:
            raise MeshingError(
                46, f"crack {name}", f"the meshed surface must stay within {tolerance * 1e9:.0f} nm of the given one; "
                f"got {p99 * 1e9:.3g} nm at 99 % and {largest * 1e9:.3g} nm at most"
                + _smallest_body(boundary, boundary.tags_of(name), size_min), "lower mesh.size_min or raise "
                "mesh.surface_tolerance",
            )  # fmt: skip
    return result


def _smallest_body(boundary: TaggedSurface, tags: list[int], size_min: float) -> str:
    """What of many bodies behind one surface is too small for the mesh, in words; nothing for one body."""
    faces = boundary.faces[np.isin(boundary.tags, tags)]
    body = shells(faces)
    count = int(body.max(initial=-1)) + 1
    corners = boundary.vertices[faces]
    widths = [float(np.ptp(corners[body == k].reshape(-1, 3), axis=0).max()) * boundary.unit for k in range(count)]
    if count < 2 or min(widths) > 3 * size_min:
        return ""
    width, size = (f"{length * 1e9:.0f} nm" for length in (min(widths), size_min))
    return f"; the smallest of its {count} bodies is {width} wide, mesh.size_min {size}"


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
