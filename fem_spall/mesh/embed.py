"""Subtract triangulated cracks from the block: the tagged boundary of the electrolyte."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fem_spall.crack.base import Block, CrackSurface, Repair
from fem_spall.crack.triangles import numbered, unique_corners, weld
from fem_spall.errors import GeometryError
from fem_spall.mesh.arrays import FACES, triangle_areas
from fem_spall.mesh.tagged_surface import CRACK_TAG, CUT_OFF, TaggedSurface, shells, signed_volume
from fem_spall.mesh.thin import add_sheets

__all__ = ["embed"]

_BOX_TRIANGLES = np.array(
    [[0, 2, 1], [1, 2, 3], [4, 5, 6], [5, 7, 6], [0, 1, 4], [1, 5, 4],
     [2, 6, 3], [3, 6, 7], [0, 4, 2], [2, 4, 6], [1, 3, 5], [3, 7, 5]]
)  # fmt: skip


def embed(
    block: Block,
    surfaces: dict[str, CrackSurface],
    voids: frozenset[str],
    unit: float,
    snap: float = 0.0,
) -> TaggedSurface:
    """Return the boundary of block minus cracks, and the sheets in it, every triangle named after its source.

    Volume that several cracks have in common, and wall, belong to the first of them in order.

    Parameters
    ----------
    block : Block
        The electrolyte block, m.
    surfaces : dict
        Surface of each crack by name, m: closed, or a sheet without thickness.
    voids : frozenset of str
        Names of the cracks that hold no lithium.
    unit : float
        Mesh length unit, m.
    snap : float
        Triangles that lie so near to a face of the block are put onto it, m: no film is left between them.

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
    names |= {name: CRACK_TAG + index for index, name in enumerate(surfaces)}
    repairs: list[Repair] = []
    solid = _box_manifold(box)
    sources = {solid.original_id(): 0}
    intact = solid.volume()
    removed = {True: 0.0, False: 0.0}
    for name, surface in surfaces.items():
        if surface.thin:
            continue
        vertices, moved = _snapped(surface.vertices / unit, surface.faces, box, snap / unit)
        repairs += [replace(repair, volume_change=repair.volume_change * unit**3) for repair in moved]
        tool = _manifold(vertices, surface.faces, name)
        sources[tool.original_id()] = names[name]
        before = solid.volume()
        solid = solid - tool
        if solid.is_empty():
            raise GeometryError(10, f"crack {name}", "fills the whole block", "check its unit and place")
        loss = before - solid.volume()
        if loss <= 1e-12 * intact:
            if (_box_manifold(box) ^ tool).volume() > 1e-12 * intact:
                raise _lost(name)
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
    boundary = replace(boundary, lithium_volume=removed[False], void_volume=removed[True], repairs=tuple(repairs))
    boundary = _keep_conducting(boundary, block)
    sheets = {name: (s.vertices / unit, s.faces) for name, s in surfaces.items() if s.thin}
    if sheets:
        boundary = add_sheets(boundary, sheets, voids, block.plating_face, snap / unit)
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


def _snapped(
    vertices: NDArray[np.float64], faces: NDArray[np.int64], box: NDArray[np.float64], snap: float
) -> tuple[NDArray[np.float64], list[Repair]]:
    """Put triangles that lie within ``snap`` of a face of the block onto it; volumes of the repairs in mesh units."""
    repairs = []
    for name, (axis, side) in FACES.items():
        off = np.abs(vertices[:, axis] - box[side, axis])
        rounding = 1e-13 * float(np.abs(box).max())
        film = (off[faces] <= max(snap, rounding)).all(axis=1)
        if film.any():
            moved = vertices.copy()
            moved[np.unique(faces[film]), axis] = box[side, axis]
            change = signed_volume(moved[faces]) - signed_volume(vertices[faces])
            count = int((film & (off[faces] > rounding).any(axis=1)).sum())
            if count:
                repairs.append(Repair(f"faces just off the face {name} of the block put onto it", count, change))
            vertices = moved
    return vertices, repairs


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
    used, faces = numbered(faces)
    # Where bodies touch in an edge or a corner the kernel has two vertices at one place, which no mesher takes.
    vertices, place = weld(np.asarray(mesh.vert_properties, dtype=float)[used, :3])
    faces = place[faces]
    source = np.repeat(
        [sources[i] for i in mesh.run_original_id], np.diff(np.asarray(mesh.run_index, dtype=np.int64)) // 3
    )
    faces = faces.reshape(-1, 3)
    corners = vertices[faces]
    distance = np.stack(
        [np.abs(corners[:, :, axis] - box[side, axis]).max(axis=1) for axis, side in FACES.values()], axis=1
    )
    tags = np.where(source == 0, 1 + distance.argmin(axis=1), source).astype(np.int32)
    films = _films(faces)
    faces, tags = faces[~films], tags[~films]
    return TaggedSurface(vertices, faces, tags, names, box, unit)


def _films(faces: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which triangles lie on another: now and then the kernel leaves one, without volume, between bodies that touch."""
    _, index = unique_corners(faces)
    return np.asarray(np.bincount(index)[index] == 2)


def _keep_conducting(surface: TaggedSurface, block: Block) -> TaggedSurface:
    """Drop electrolyte that cracks have cut off from the counter electrode; it carries no current."""
    labels = shells(surface.faces)
    counter = surface.names["-z" if block.plating_face == "+z" else "+z"]
    corners = [surface.vertices[surface.faces[labels == label]] for label in range(labels.max() + 1)]
    volumes = np.array([signed_volume(shell) for shell in corners])  # negative for the shell of a void or an inclusion
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
    owner = {tag: name for name, tag in surface.names.items() if tag >= CRACK_TAG}
    enclosed: dict[str, float] = {}
    for chip in chips:
        first = owner[int(surface.tags[(labels == chip) & (surface.tags >= CRACK_TAG)].min())]
        enclosed[first] = enclosed.get(first, 0.0) + float(volumes[chip])
    keep = ~np.isin(labels, gone)
    used, faces = numbered(surface.faces[keep])
    area = float(triangle_areas(surface.vertices[surface.faces[~keep]]).sum())
    repair = Repair(CUT_OFF, len(chips), -float(volumes[gone].sum()) * surface.unit**3, -area * surface.unit**2)
    return replace(
        surface,
        vertices=surface.vertices[used],
        faces=faces,
        tags=surface.tags[keep],
        enclosed=enclosed,
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
            raise _lost(name)
    if not left & {block.plating_face, *lithium}:
        raise GeometryError(
            17,
            "cracks",
            "cut the counter electrode off from all plating lithium",
            "move them, or fill them with lithium",
        )


def _lost(name: str) -> GeometryError:
    return GeometryError(
        16, f"crack {name}", "borders no electrolyte that carries current: it lies within another crack or in "
        "electrolyte that one cuts off", "leave it out or move it",
    )  # fmt: skip


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
