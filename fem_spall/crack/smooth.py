"""Smoothing of voxel stairs at a stated length, and thinning out of triangles within a stated distance."""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fem_spall.crack.crossings import crossing_faces
from fem_spall.crack.repaired import RepairedSurface, largest_move
from fem_spall.crack.triangles import areas, edge_numbers, volume
from fem_spall.errors import GeometryError

__all__ = ["simplify", "smooth", "stairs_length"]

type Floats = NDArray[np.float64]
type Ints = NDArray[np.int64]

SHRINK = 0.5  # part of the way to the mean of the neighbours in one pass
PASSED = 0.25  # waves with less than this part of the squared number of the filter's are not damped at all
MOST_PASSES = 2000
#: A surface is stairs if it has that many triangles or more, no side longer than LONGEST of the median one, no more
#: than DIRECTIONS of its normals (to 0.01), and at least FOLDED of its edges turn by more than 30°.  Four surfaces of
#: voxels have 26 to 41 directions and 21 to 27 % folded, others from images 3000 to 33 000 directions; a box divided
#: into a thousand triangles has 6, but 7 % folded.
TRIANGLES, LONGEST, DIRECTIONS, FOLDED = 1000, 3.0, 100, 0.1
STAIRS = 4.0  # filter length in sides of stairs, which are as long as voxels
CHORD = 1e-3  # of a side: MMG divides whatever is bent more than the distance, for surfaces of any size
BOUNDS = (0.5, 0.25, 0.12, 0.06)  # what MMG is asked for, in parts of the bound: it treats it as a target


def smooth(surface: RepairedSurface, length: float, fixed: NDArray[np.bool_]) -> None:
    """Damp waves of the surface that are shorter than ``length``, m: one of that length to half its height.

    Taubin's filter (SIGGRAPH 1995, 351-358): each pair of passes multiplies a wave whose corners move by the part k
    of the way to their neighbours by 1 + λμ k (p - k), with μ = λ / (1 - p λ).  On a triangulation with sides h, k is
    (π h / length)^2.  Then all corners move along their normals by what gives the volume back.

    Parameters
    ----------
    surface : RepairedSurface
        Closed, or a sheet whose rim stays.
    length : float
    fixed : (n,) bool
        Vertices that stay: a cap on a face of the block must not be drawn into it.

    Raises
    ------
    GeometryError
        If the length is too short or too long for the triangles.
    """
    from scipy.sparse import coo_matrix, diags

    _, uses, edges = edge_numbers(surface.faces)
    start = surface.vertices
    side = float(np.sqrt((np.diff(start[edges], axis=1) ** 2).sum(axis=2).mean()))
    half = (math.pi * side / length) ** 2
    passes = 0 if half > 1 else math.ceil(math.log(2) / -math.log1p(-_damping(half)))
    if not 0 < passes <= MOST_PASSES:
        shortest, longest = math.pi * side * 1e9, 4.8 * math.pi * side * 1e9
        reason = f"has triangles with sides of {side * 1e9:.3g} nm; smoothing acts between {shortest:.3g} and "
        raise GeometryError(45, surface.where, reason + f"{longest:.3g} nm on them", "change repair.smooth")
    fixed = fixed.copy()
    fixed[edges[uses == 1]] = True
    n = len(start)
    graph = coo_matrix((np.ones(2 * len(edges)), (edges.ravel("F"), edges[:, ::-1].ravel("F"))), shape=(n, n)).tocsr()
    mean = diags(1 / np.asarray(graph.sum(axis=1)).ravel()) @ graph
    free = ~fixed[:, None]
    grow = SHRINK / (1 - PASSED * half * SHRINK)
    x = start.copy()
    for _ in range(passes):
        for factor in (SHRINK, -grow):
            x += free * factor * (mean @ x - x)
    if (uses == 2).all():
        x = _with_volume(x, surface.faces, volume(start[surface.faces]), free)
    moved = float(np.linalg.norm(x - start, axis=1).max())
    surface.change(
        f"stairs smoothed over {length * 1e9:.4g} nm", int((~fixed).sum()), x, surface.faces, displacement=moved,
        guesses=("volume",),
    )  # fmt: skip
    surface.tidy()


def stairs_length(vertices: Floats, faces: Ints) -> float:
    """Return over which length, m, the stairs of a surface made of voxels should be smoothed; 0 if it is none.

    Stairs face in few directions, whichever way the image is turned or stretched, and are folded everywhere.
    """
    if len(faces) < TRIANGLES:
        return 0.0
    index, uses, edges = edge_numbers(faces)
    sides = np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1)
    a, b, c = np.moveaxis(vertices[faces], 1, 0)
    normals = np.cross(b - a, c - a)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-300)
    directions = len(np.unique(np.round(normals, 2) + 0.0, axis=0))
    if directions > DIRECTIONS or sides.max() > LONGEST * np.median(sides):
        return 0.0
    order = np.argsort(index, kind="stable")
    one, other = (order[uses[index[order]] == 2].reshape(-1, 2) // 3).T
    folded = np.einsum("ij,ij->i", normals[one], normals[other]) < math.cos(math.radians(30))
    return STAIRS * float(sides.mean()) if folded.mean() >= FOLDED else 0.0


def _damping(half: float) -> float:
    """Part of a wave's height, k = half, that one pair of passes takes."""
    grow = SHRINK / (1 - PASSED * half * SHRINK)
    return 1 - (1 - SHRINK * half) * (1 + grow * half)


def _with_volume(x: Floats, faces: Ints, wanted: float, free: NDArray[np.bool_]) -> Floats:
    """Move the free corners along their normals until the volume is the wanted one."""
    for _ in range(3):
        a, b, c = np.moveaxis(x[faces], 1, 0)
        gradient = np.zeros_like(x)  # of the volume
        for k in range(3):
            np.add.at(gradient, faces[:, k], np.cross(b - a, c - a) / 6)
        normal = free * gradient / np.maximum(np.linalg.norm(gradient, axis=1, keepdims=True), 1e-300)
        x = x + (wanted - volume(x[faces])) / np.einsum("ij,ij->", gradient, normal) * normal
    return x


def simplify(surface: RepairedSurface, distance: float) -> None:
    """Replace the triangles of a closed surface by fewer and better ones within a distance, m, measured both ways.

    Raises
    ------
    GeometryError
        If MMG finds none that keep the distance and do not cross.
    """
    tried: list[float] = []
    found = False
    side = math.sqrt(surface.measure()[1] / len(surface.faces))
    for part in BOUNDS:
        if part * distance < CHORD * side:
            break
        vertices, faces = _remeshed(surface, part * distance)
        closed = len(faces) > 0 and bool((edge_numbers(faces)[1] == 2).all())
        if len(faces) >= len(surface.faces):
            break  # and closer still it would take even more
        if not closed:
            continue
        moved = largest_move(surface.vertices[surface.faces], vertices[faces], both=True)
        if moved <= distance and len(crossing_faces(vertices, faces)) == 0:
            found = True
            break
        tried.append(moved)
    if not found:
        how = f"the nearest attempt was {min(tried) * 1e9:.3g} nm off" if tried else "MMG finds no fewer triangles"
        reason = f"cannot be simplified within {distance * 1e9:.3g} nm: {how}"
        raise GeometryError(46, surface.where, reason, "raise repair.simplify or leave it out")
    surface.change(
        f"simplified within {distance * 1e9:.4g} nm", len(surface.faces), vertices, faces, displacement=moved,
        guesses=("volume",),
    )  # fmt: skip
    surface.tidy()


def _remeshed(surface: RepairedSurface, distance: float) -> tuple[Floats, Ints]:
    """Vertices and faces by MMG, in a process of its own, as it may die or never end; no faces if it died."""
    unit = surface.diagonal / 100  # MMG compares lengths with absolute tolerances
    with tempfile.TemporaryDirectory(prefix="fem-spall-", ignore_cleanup_errors=True) as folder:
        file = Path(folder) / "surface.npz"
        np.savez(file, vertices=surface.vertices / unit, faces=surface.faces, distance=distance / unit)
        done = subprocess.run(
            [sys.executable, "-m", "fem_spall.crack.smooth", str(file)], capture_output=True, text=True, check=False
        )
        if done.returncode < 0:
            return surface.vertices[:0], surface.faces[:0]
        if done.returncode > 0:
            raise RuntimeError(f"remeshing failed: {done.stderr}")
        with np.load(file, allow_pickle=False) as data:
            return data["vertices"] * unit, data["faces"]


def _by_mmg(file: Path) -> None:
    """Replace the surface in a file by MMG's."""
    import mmgpy

    with np.load(file, allow_pickle=False) as data:
        vertices, faces, distance = data["vertices"], data["faces"], float(data["distance"])
    side = float(np.sqrt(areas(vertices[faces]).mean()))
    mesh = mmgpy.MmgMeshS()
    mesh.set_mesh_size(vertices=len(vertices), triangles=len(faces))
    mesh.set_vertices(vertices)
    mesh.set_triangles(faces.astype(np.int32), np.ones(len(faces), dtype=np.int64))
    mesh.remesh(angle=0, verbose=-1, hmin=side / 2, hmax=100.0, hgrad=1.3, hausd=distance)
    triangles = mesh.get_triangles_with_refs()[0]
    np.savez(file, vertices=np.asarray(mesh.get_vertices(), dtype=float), faces=np.asarray(triangles, dtype=np.int64))


if __name__ == "__main__":
    _by_mmg(Path(sys.argv[1]))
