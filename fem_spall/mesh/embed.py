"""Subtract triangulated cracks from the block: the tagged boundary of the electrolyte."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from fem_spall.crack.base import Block, CrackSurface, Repair
from fem_spall.errors import GeometryError
from fem_spall.mesh.arrays import FACES, triangle_areas

__all__ = ["TaggedSurface", "embed", "facet_edges", "shells"]

#: First tag of the cracks; the faces of the block have the tags 1 to 6.
CRACK_TAG = 10

_BOX_TRIANGLES = np.array(
    [[0, 2, 1], [1, 2, 3], [4, 5, 6], [5, 7, 6], [0, 1, 4], [1, 5, 4],
     [2, 6, 3], [3, 6, 7], [0, 4, 2], [2, 4, 6], [1, 3, 5], [3, 7, 5]]
)  # fmt: skip


@dataclass(frozen=True)
class TaggedSurface:
    """Closed boundary of the electrolyte, every triangle with the tag of its surface.

    ``vertices`` (n, 3) float and ``box`` (2, 3) float in mesh units; ``faces`` (m, 3) int;
    ``tags`` (m,) int32; ``names`` maps surface names to tags.
    """

    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]
    tags: NDArray[np.int32]
    names: dict[str, int]
    box: NDArray[np.float64]
    unit: float
    repairs: tuple[Repair, ...] = ()
    lithium_volume: float = 0.0
    void_volume: float = 0.0

    @property
    def volume(self) -> float:
        """Enclosed volume, mesh units cubed."""
        return _volume(self.vertices[self.faces])

    def area(self, tag: int) -> float:
        """Area of one surface, mesh units squared."""
        return float(triangle_areas(self.vertices[self.faces[self.tags == tag]]).sum())

    def planes(self) -> dict[int, tuple[int, float]]:
        """Tag of each face of the block with its axis and coordinate."""
        return {self.names[name]: (axis, float(self.box[side, axis])) for name, (axis, side) in FACES.items()}


def embed(
    block: Block,
    surfaces: dict[str, CrackSurface],
    voids: frozenset[str],
    unit: float,
) -> TaggedSurface:
    """Return the boundary of block minus cracks, every triangle named after its source.

    Parameters
    ----------
    block : Block
        The electrolyte block, m.
    surfaces : dict
        Closed surface of each crack by name, m.
    voids : frozenset of str
        Names of the cracks that hold no lithium.
    unit : float
        Mesh length unit, m.

    Raises
    ------
    GeometryError
        If a crack misses the block, fills it, joins the two electrodes or is lost in another, or if cracks cut the
        electrolyte in two or the current off.
    """
    box = np.array([[0.0, 0.0, 0.0], block.size]) / unit
    outside = next((s for s in surfaces.values() if s.sheet), None)
    if outside is not None:
        box = _raised_box(box, outside, block, unit)
    names = {name: tag for tag, name in enumerate(FACES, 1)}
    solid = _box_manifold(box)
    sources = {solid.original_id(): 0}
    intact = solid.volume()
    removed = {True: 0.0, False: 0.0}
    for index, (name, surface) in enumerate(surfaces.items()):
        tool = _manifold(surface.vertices / unit, surface.faces, name)
        names[name] = CRACK_TAG + index
        sources[tool.original_id()] = names[name]
        before = solid.volume()
        solid = solid - tool
        if solid.is_empty():
            raise GeometryError(10, f"crack {name}", "fills the whole block", "check its unit and place")
        loss = before - solid.volume()
        if loss <= 1e-12 * intact:
            low, high = surface.bounds * 1e6
            raise GeometryError(
                11,
                f"crack {name}",
                f"takes nothing out of the block; it spans {_um(low)} to {_um(high)} um, the block "
                f"(0, 0, 0) to {_um(np.array(block.size) * 1e6)} um",
                "check its unit and place",
            )
        removed[name in voids] += loss
    boundary = _from_manifold(solid, sources, names, box, unit)
    boundary = replace(boundary, lithium_volume=removed[False], void_volume=removed[True])
    boundary = _keep_conducting(boundary, block)
    _refuse_lost(boundary, block, surfaces, surfaces.keys() - voids)
    _refuse_short_circuit(boundary, block, surfaces.keys() - voids)
    return boundary


def _um(point: NDArray[np.float64]) -> str:
    return "(" + ", ".join(f"{value:.3g}" for value in point) + ")"


def _raised_box(box: NDArray[np.float64], sheet: CrackSurface, block: Block, unit: float) -> NDArray[np.float64]:
    """Move the plating side of the box into the lithium, so that an interface sheet replaces all of it."""
    side = 1 if block.plating_face == "+z" else 0
    lid = float(sheet.bounds[side, 2]) / unit
    heights = np.unique(sheet.vertices[:, 2] / unit)
    # The lid is the outermost plane of the body; the sheet ends at the next vertex height below it.
    end = float(heights[-2] if side else heights[1])
    box = box.copy()
    box[side, 2] = (end + lid) / 2
    return box


def _manifold(vertices: NDArray[np.float64], faces: NDArray[np.int64], name: str):  # type: ignore[no-untyped-def]
    from manifold3d import Error, Manifold, Mesh64

    # An absolute tolerance of zero: vertices keep their positions to the last bit.
    body = Manifold(Mesh64(np.ascontiguousarray(vertices), np.ascontiguousarray(faces, dtype=np.uint64)))
    if body.status() != Error.NoError:
        raise GeometryError(
            12, f"crack {name}", f"is not a closed manifold surface ({body.status().name})", "repair the surface"
        )
    return body.as_original()


def _box_manifold(box: NDArray[np.float64]):  # type: ignore[no-untyped-def]
    corners = np.array([[box[i & 1, 0], box[i >> 1 & 1, 1], box[i >> 2, 2]] for i in range(8)])
    return _manifold(corners, _BOX_TRIANGLES, "block")


def _from_manifold(solid, sources, names, box, unit) -> TaggedSurface:  # type: ignore[no-untyped-def]
    mesh = solid.to_mesh64()
    count = len(mesh.vert_properties)
    first = np.arange(count)
    first[np.asarray(mesh.merge_from_vert, dtype=np.int64)] = np.asarray(mesh.merge_to_vert, dtype=np.int64)
    faces = first[np.asarray(mesh.tri_verts, dtype=np.int64)]
    used, faces = np.unique(faces, return_inverse=True)
    vertices = np.asarray(mesh.vert_properties, dtype=float)[used, :3]
    source = np.repeat(
        [sources[i] for i in mesh.run_original_id], np.diff(np.asarray(mesh.run_index, dtype=np.int64)) // 3
    )
    faces = faces.reshape(-1, 3)
    corners = vertices[faces]
    distance = np.stack(
        [np.abs(corners[:, :, axis] - box[side, axis]).max(axis=1) for axis, side in FACES.values()], axis=1
    )
    tags = np.where(source == 0, 1 + distance.argmin(axis=1), source).astype(np.int32)
    return TaggedSurface(vertices, faces, tags, names, box, unit)


def facet_edges(faces: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Unique edges (e, 2) int of triangles, and the edge of each side of each triangle, (m, 3) int."""
    sides = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    edges, index = np.unique(sides, axis=0, return_inverse=True)
    return edges, index.reshape(-1, 3)


def shells(faces: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number of the edge-connected shell of each triangle, (m,) int."""
    _, index = facet_edges(faces)
    rows = np.repeat(np.arange(len(faces)), 3)
    incidence = coo_matrix((np.ones(len(rows)), (rows, index.ravel()))).tocsr()
    return np.asarray(connected_components(incidence @ incidence.T, directed=False)[1])


def _volume(corners: NDArray[np.float64]) -> float:
    a, b, c = np.moveaxis(corners, 1, 0)
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)


def _keep_conducting(surface: TaggedSurface, block: Block) -> TaggedSurface:
    """Drop electrolyte that cracks have cut off from the counter electrode; it carries no current."""
    labels = shells(surface.faces)
    counter = surface.names["-z" if block.plating_face == "+z" else "+z"]
    corners = [surface.vertices[surface.faces[labels == label]] for label in range(labels.max() + 1)]
    volumes = np.array([_volume(shell) for shell in corners])  # negative for the shell of a void or an inclusion
    solid = [int(label) for label in np.nonzero(volumes > 0)[0]]
    bodies = [label for label in solid if (surface.tags[labels == label] == counter).any()]
    if len(bodies) != 1:
        raise GeometryError(
            13, "cracks", f"leave {len(bodies)} electrolyte bodies at the counter electrode instead of one",
            "move or clip the cracks so that they do not cut the electrolyte in two",
        )  # fmt: skip
    chips = [label for label in solid if label not in bodies]
    if not chips:
        return surface
    holes = [int(label) for label in np.nonzero(volumes <= 0)[0]]
    gone = chips + [hole for hole in holes if any(_inside(corners[hole][0].mean(axis=0), corners[c]) for c in chips)]
    keep = ~np.isin(labels, gone)
    used, faces = np.unique(surface.faces[keep], return_inverse=True)
    area = float(triangle_areas(surface.vertices[surface.faces[~keep]]).sum())
    kind = "electrolyte cut off from the counter electrode dropped"
    repair = Repair(kind, len(chips), -float(volumes[gone].sum()) * surface.unit**3, -area * surface.unit**2)
    return replace(
        surface,
        vertices=surface.vertices[used],
        faces=faces.reshape(-1, 3),
        tags=surface.tags[keep],
        repairs=(*surface.repairs, repair),
    )


def _inside(point: NDArray[np.float64], corners: NDArray[np.float64]) -> bool:
    """Whether a point lies inside a closed shell, by the solid angle of its triangles (n, 3, 3)."""
    a, b, c = np.moveaxis(corners - point, 1, 0)
    x, y, z = (np.linalg.norm(side, axis=1) for side in (a, b, c))
    products = (np.einsum("ij,ij->i", p, q) for p, q in ((a, b), (b, c), (c, a)))
    below = x * y * z + sum(dot * size for dot, size in zip(products, (z, x, y), strict=True))
    angle = 2 * np.arctan2(np.einsum("ij,ij->i", a, np.cross(b, c)), below)
    return bool(angle.sum() > 2 * np.pi)


def _refuse_lost(surface: TaggedSurface, block: Block, cracks: Iterable[str], lithium: set[str]) -> None:
    """Raise if a crack, or all plating lithium, has no surface left at the conducting electrolyte."""
    left = {name for name, tag in surface.names.items() if (surface.tags == tag).any()}
    for name in cracks:
        if name not in left:
            raise GeometryError(
                16, f"crack {name}", "borders no electrolyte that carries current: it lies within another crack or in "
                "electrolyte that one cuts off", "leave it out or move it",
            )  # fmt: skip
    if not left & {block.plating_face, *lithium}:
        raise GeometryError(
            17,
            "cracks",
            "cut the counter electrode off from all plating lithium",
            "move them, or fill them with lithium",
        )


def _refuse_short_circuit(surface: TaggedSurface, block: Block, lithium: set[str]) -> None:
    counter = surface.names["-z" if block.plating_face == "+z" else "+z"]
    on_counter = np.unique(surface.faces[surface.tags == counter])
    for name in sorted(lithium):
        own = np.unique(surface.faces[surface.tags == surface.names[name]])
        if np.intersect1d(own, on_counter).size:
            raise GeometryError(
                14, f"crack {name}", "reaches the counter electrode: a short circuit",
                "move it, or make the block higher",
            )  # fmt: skip
