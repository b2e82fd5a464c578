"""Oracles of the campaign: from the files a run was given and those it wrote, and from no figure of its own.

Surfaces are read by trimesh, results by pyvista; distances are VTK's, the conductance is that of a stiffness
matrix assembled here.  Lengths are in micrometres.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

type Floats = NDArray[np.float64]
type Ints = NDArray[np.int64]

UM = 1e-6
GRID = 128  # points along the longest edge of the box in the count of the volume
SAMPLES = 4000  # points on each surface whose distance to the other is taken
NEAREST = 24  # triangles by their centres
BESIDE = 0.005  # where the two sides of a surface are looked at, um
SOLIDS = {"surface_file"}


class Given(NamedTuple):
    """A closed surface of a case at its place."""

    name: str
    void: bool
    vertices: Floats
    faces: Ints
    damaged: Floats  # triangles of the file itself (n, 3, 3), if its walls may follow it beside the reference


def given_surfaces(cracks: list[dict[str, Any]]) -> list[Given] | None:
    """The surfaces of a case as trimesh reads them; None if one is no closed surface, or cannot be read so."""
    import trimesh

    found = []
    for crack in cracks:
        if crack["kind"] not in SOLIDS:
            return None
        try:
            body = trimesh.load(crack.get("reference", crack["file"]), force="mesh", process=True)
            vertices, faces = np.array(body.vertices, dtype=float), np.array(body.faces, dtype=np.int64)
        except Exception as error:  # whatever trimesh throws at a broken file
            print(f"  trimesh does not read {Path(crack['file']).name}: {type(error).__name__}")
            return None
        if not np.isfinite(vertices).all() or len(faces) == 0:
            return None
        vertices = placed(vertices, crack.get("place") or {})
        damaged = np.empty((0, 3, 3))
        if crack.get("follow"):
            damaged = np.asarray(trimesh.load(crack["file"], force="mesh", process=False).triangles, dtype=float)
        found.append(Given(crack["name"], crack.get("contents") == "void", vertices, faces, damaged))
    return found


def placed(vertices: Floats, place: dict[str, Any]) -> Floats:
    """Vertices at the place of a case: ``longest``, ``centre`` and ``shift``."""
    middle = (vertices.min(axis=0) + vertices.max(axis=0)) / 2
    if "longest" in place:
        vertices = middle + (vertices - middle) * (micrometres(place["longest"]) / np.ptp(vertices, axis=0).max())
    if "centre" in place:
        vertices = vertices + [micrometres(value) for value in place["centre"]] - middle
    if "shift" in place:
        vertices = vertices + [micrometres(value) for value in place["shift"]]
    return vertices


def micrometres(text: str) -> float:
    """A length as cases write it."""
    value, unit = text.split()
    return float(value) * {"nm": 1e-3, "um": 1.0, "mm": 1e3}[unit]


def winding(body: Given, points: Floats) -> Floats:
    """How often a surface winds round points."""
    import igl

    return np.asarray(igl.fast_winding_number(body.vertices, body.faces, points))


def given_volume(bodies: list[Given], block: Floats) -> float:
    """Volume of the union of bodies within the block.

    Of a single closed body within the block by trimesh, else, and where that is in doubt, by counting the points
    of a jittered grid.
    """
    import trimesh

    every = np.concatenate([body.vertices for body in bodies])
    low, high = np.maximum(every.min(axis=0), 0), np.minimum(every.max(axis=0), block)
    if (high <= low).any():
        return 0.0
    counts = np.maximum(np.round((high - low) / (high - low).max() * GRID), 8).astype(int)
    step = (high - low) / counts
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in counts), indexing="ij"), axis=-1).reshape(-1, 3)
    points = low + (grid + np.random.default_rng(0).random(grid.shape)) * step
    turns = [np.abs(winding(body, points)) for body in bodies]
    inside = np.any([turn > 0.5 for turn in turns], axis=0)
    counted = float(inside.sum() * np.prod(step))
    if len(bodies) == 1 and not (turns[0] > 1.5).any() and (every >= 0).all() and (every <= block).all():
        exact = trimesh.Trimesh(bodies[0].vertices, bodies[0].faces, process=False)
        # Counting is good to some parts in a thousand, of thin bodies to some parts in a hundred.
        spread = 4 * np.sqrt(inside.sum()) / max(inside.sum(), 1) + 0.01
        if exact.is_watertight and abs(abs(exact.volume) / counted - 1) < spread:
            return float(abs(exact.volume))
    return counted


class Written(NamedTuple):
    """What the files of a result hold: points (um), cells, potential (V), and the walls that are not on the block."""

    points: Floats
    cells: Ints
    potential: Floats
    walls: Ints

    @property
    def volume(self) -> float:
        """Volume of all cells."""
        return float(np.einsum("ij,ij->", *spans(self.points, self.cells)) / 6)


def spans(points: Floats, cells: Ints) -> tuple[Floats, Floats]:
    """One side of each cell and the product of the two others."""
    a, b, c, d = (points[cells[:, k]] for k in range(4))
    return b - a, np.cross(c - a, d - a)


def written_mesh(folder: Path, block: Floats) -> Written:
    """The mesh of a result as pyvista reads it, cells turned to positive volume."""
    import pyvista

    (file,) = (folder / "fields").glob("*.vtu")
    mesh = pyvista.read(file)
    points = np.array(mesh.points, dtype=float) * (float(mesh.field_data["length_unit_m"][0]) / UM)
    cells = np.array(mesh.cells_dict[10], dtype=np.int64)
    left = np.einsum("ij,ij->i", *spans(points, cells)) < 0
    cells[left] = cells[left][:, [1, 0, 2, 3]]
    sides = cells[:, [[1, 2, 3], [0, 3, 2], [0, 1, 3], [0, 2, 1]]].reshape(-1, 3)
    _, first, count = np.unique(np.sort(sides, axis=1), axis=0, return_index=True, return_counts=True)
    outer = sides[first[count == 1]]
    near = 1e-6 * block.max()
    flat = [(np.abs(points[outer][:, :, k] - at) < near).all(axis=1) for k in range(3) for at in (0.0, block[k])]
    return Written(points, cells, np.array(mesh.point_data["potential_V"], dtype=float), outer[~np.any(flat, axis=0)])


def conductance(mesh: Written, voltage: float) -> tuple[float, float]:
    """Conductance over conductivity, um, and the largest current left at a vertex that is not held, over the total.

    Held are the vertices at 0 V and at the voltage; all of an isolated body count as one vertex: those of walls that
    have one potential.
    """
    from scipy.sparse import coo_matrix

    (side, normal) = spans(mesh.points, mesh.cells)
    volume = np.einsum("ij,ij->i", side, normal) / 6
    corners = mesh.points[mesh.cells]
    opposite = [corners[:, others] for others in ([1, 2, 3], [0, 3, 2], [0, 1, 3], [0, 2, 1])]
    slopes = np.stack([-np.cross(t[:, 1] - t[:, 0], t[:, 2] - t[:, 0]) for t in opposite], axis=1)
    local = np.einsum("mik,mjk->mij", slopes, slopes) / (36 * volume)[:, None, None]
    rows, columns = np.repeat(mesh.cells, 4, axis=1).ravel(), np.tile(mesh.cells, (1, 4)).ravel()
    size = len(mesh.points)
    current = coo_matrix((local.ravel(), (rows, columns)), shape=(size, size)).tocsr() @ mesh.potential
    free = (np.abs(mesh.potential) > 1e-9 * voltage) & (np.abs(mesh.potential - voltage) > 1e-9 * voltage)
    total = float(np.abs(current[~free]).sum()) / 2
    walls = np.unique(mesh.walls)
    walls = walls[free[walls]]
    _, body, count = np.unique(mesh.potential[walls].round(14), return_inverse=True, return_counts=True)
    isolated = count[body] > 3
    net = np.bincount(body[isolated], current[walls[isolated]])
    free[walls[isolated]] = False
    left = float(np.abs(np.concatenate([[0.0], current[free], net])).max())
    return float(mesh.potential @ current) / voltage**2, left / total


def distances(bodies: list[Given], mesh: Written, block: Floats, both_ways: bool) -> tuple[float, float]:
    """Largest distance between the walls of the mesh and the given surfaces, and back, and that which 99 % keep.

    Points of the given surfaces outside the block, on it, or within a body have no counterpart.
    """
    import trimesh

    rng = np.random.default_rng(1)

    def sampled(vertices: Floats, faces: Ints) -> tuple[Floats, Floats]:
        body = trimesh.Trimesh(vertices, faces, process=False)
        points, face = trimesh.sample.sample_surface(body, SAMPLES, seed=int(rng.integers(1 << 30)))
        return np.asarray(points), np.asarray(body.face_normals[face])

    def inside(points: Floats) -> Floats:
        return np.asarray(np.any([np.abs(winding(body, points)) > 0.5 for body in bodies], axis=0))

    near = 1e-3 * block.max()
    every = np.concatenate([part for body in bodies for part in (body.vertices[body.faces], body.damaged)])
    found = [off(sampled(mesh.points, mesh.walls)[0], every)]
    walls = mesh.points[mesh.walls]
    for body in bodies if both_ways else ():
        points, normals = sampled(body.vertices, body.faces)
        outer = inside(points + BESIDE * normals) != inside(points - BESIDE * normals)
        points = points[outer & ((points > near) & (points < block - near)).all(axis=1)]
        if len(points):
            found.append(off(points, walls))
    both = np.concatenate(found)
    return float(both.max()), float(np.quantile(both, 0.99))


def off(points: Floats, triangles: Floats) -> Floats:
    """Distance of points (n, 3) to triangles (m, 3, 3): the lesser of VTK's and that to the nearest few by trimesh.

    VTK's locator was seen to miss triangles in the plane of a point; no answer of either is less than the distance.
    """
    import pyvista
    import trimesh
    from scipy.spatial import cKDTree

    faces = np.column_stack([np.full(len(triangles), 3), np.arange(3 * len(triangles)).reshape(-1, 3)])
    surface = pyvista.PolyData(triangles.reshape(-1, 3), faces.ravel())
    measured = pyvista.PolyData(points).compute_implicit_distance(surface)
    found = np.abs(np.asarray(measured.point_data["implicit_distance"]))
    count = min(NEAREST, len(triangles))
    nearest = cKDTree(triangles.mean(axis=1)).query(points, k=count)[1].reshape(len(points), count)
    places = np.repeat(points, count, axis=0)
    feet = trimesh.triangles.closest_point(triangles[nearest.ravel()], places)
    return np.minimum(found, np.linalg.norm(feet - places, axis=1).reshape(len(points), count).min(axis=1))


def bounds(bodies: list[Given], block: Floats) -> tuple[float, float]:
    """Bounds of conductance over conductivity, um, that hold for any shape.

    Lithium at the plating potential adds to A/H, and less than a slab of lithium down to its lowest point; insulating
    voids take away.
    """
    area = block[0] * block[1]
    lowest = min((float(body.vertices[:, 2].min()) for body in bodies if not body.void), default=block[2])
    low = 0.0 if any(body.void for body in bodies) else area / block[2]
    return low, area / min(lowest, block[2]) if lowest > 0 else np.inf


def stack_volume(crack: dict[str, Any], block: Floats) -> float:
    """Volume in the block of the labels of an image stack that a case takes, um3: the voxels whose centre is in it.

    Nan where that takes more than a crop, a centre and a shift to know.
    """
    array, voxel, origin = _stack(crack)
    place = crack.get("place", {})
    if voxel is None or set(place) - {"centre", "shift"}:
        return float("nan")
    axes = crack.get("axes", "zyx")
    inside = np.isin(array.transpose([axes.index(axis) for axis in "xyz"]),
                     [label for phase in crack["labels"].values() for label in phase])  # fmt: skip
    ends = [crack.get("crop", {}).get(axis, (0, n)) for axis, n in zip("xyz", inside.shape, strict=True)]
    low = origin + [first for first, _ in ends] * voxel
    high = origin + [end for _, end in ends] * voxel
    if "centre" in place:
        move = np.array([micrometres(value) for value in place["centre"]]) - (low + high) / 2
    else:
        move = np.zeros(3)
    move = move + [micrometres(value) for value in place.get("shift", ["0 um"] * 3)]
    for axis, (first, end) in enumerate(ends):
        middles = origin[axis] + (np.arange(first, end) + 0.5) * voxel[axis] + move[axis]
        kept = np.arange(first, end)[(middles > 0) & (middles < block[axis])]
        inside = np.take(inside, kept, axis=axis)
    return float(inside.sum() * np.prod(voxel))


def _stack(crack: dict[str, Any]) -> tuple[NDArray[Any], Floats | None, Floats]:
    """Voxels of a stack, their edges along x, y, z where the case or an NPZ states them, and its low corner, um."""
    file = Path(crack["file"])
    voxel = np.array([micrometres(length) for length in crack["voxel"]]) if "voxel" in crack else None
    if file.suffix != ".npz":
        import tifffile

        return tifffile.imread(file), voxel, np.zeros(3)
    with np.load(file, allow_pickle=False) as data:
        array = data[crack.get("dataset", data.files[0])]
        if array.ndim != 1:
            return array, voxel, np.zeros(3)
        shape = tuple(int(n) for n in data["shape"])
        edges = np.broadcast_to(data["spacing"], 3).astype(float)
        bits = np.unpackbits(array, count=int(np.prod(shape))).reshape(shape)
        return bits, edges, data["origin"] - edges / 2
