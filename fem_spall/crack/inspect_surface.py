"""What a mesh file is, what is wrong with it, and what a run would repair."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fem_spall.crack.base import Block
from fem_spall.crack.crossings import crossing_faces
from fem_spall.crack.mesh_readers import read_mesh
from fem_spall.crack.repair import FLAT, repair
from fem_spall.crack.surface_file import LengthUnit, in_metres, refuse_misplaced
from fem_spall.crack.triangles import (
    areas,
    common_sense,
    components,
    directed_edges,
    edge_numbers,
    in_order,
    unique_rows,
    volume,
    weld,
)
from fem_spall.errors import GeometryError, SpallError

__all__ = ["inspect_surface"]

type Floats = NDArray[np.float64]
type Ints = NDArray[np.int64]


def inspect_surface(path: str | Path, unit: LengthUnit, block: Block | None = None) -> dict[str, Any]:
    """Return a plain report on a surface as it is in the file, lengths in um, ready for JSON.

    Faults are given as ``{"count": n, "at_um": [[x, y, z], …]}`` with up to three places.
    ``repairs`` lists what a run would do to it as a closed surface, and ``refusal`` why a run
    would not take it, or None; ``sheet`` says that it may serve as ``interface_file``.

    Parameters
    ----------
    path : str or Path
    unit : str
        Length unit of the file.
    block : Block, optional
        Also say whether the surface, unmoved, suits this block.

    Raises
    ------
    InputFileError
        If the file cannot be read.
    """
    path = Path(path)
    raw = read_mesh(path)
    vertices, index = weld(in_metres(raw.vertices, unit))
    faces = index[raw.faces]
    a, b, c = faces.T
    proper = in_order(faces[(a != b) & (b != c) & (c != a)])
    repeated = vertices[faces[(a == b) | (b == c) | (c == a)]].mean(axis=1)
    report: dict[str, Any] = {
        "file": path.name,
        "sha256": raw.sha256,
        "format": raw.format,
        "notes": list(raw.notes),
        "unit": unit,
        "triangles": len(faces),
        "vertices": len(np.unique(faces)),
        "unused_vertices": len(vertices) - len(np.unique(faces)),
        "identical_corners": len(raw.vertices) - len(vertices),
    }
    if len(proper):
        report |= _topology(vertices, proper) | _shape(vertices, proper, repeated)
    report |= _verdict(path, vertices, faces, block, unit)
    return report


def _found(points: Floats) -> dict[str, Any]:
    """Count and up to three places from the whole range."""
    chosen = points[np.unique(np.linspace(0, len(points) - 1, min(3, len(points))).astype(int))]
    return {"count": len(points), "at_um": [[float(f"{x:.6g}") for x in point] for point in chosen * 1e6 + 0.0]}


def _topology(vertices: Floats, faces: Ints) -> dict[str, Any]:
    """Parts, edges and senses of faces with three different corners each."""
    index, uses, edges = edge_numbers(faces)
    middle = vertices[edges].mean(axis=1)
    sides = directed_edges(faces)
    balance = np.bincount(index, np.where(sides[:, 0] < sides[:, 1], 1, -1), minlength=len(uses))
    clash = (uses == 2) & (balance != 0)
    part = components(faces)
    euler = len(np.unique(faces)) - len(edges) + len(faces)
    watertight = bool((uses == 2).all() and not clash.any())
    count = int(part.max()) + 1
    return {
        "components": count,
        "watertight": watertight,
        "euler_characteristic": euler,
        "genus": (2 * count - euler) // 2 if watertight else None,
        "open_edges": _found(middle[uses == 1]),
        "non_manifold_edges": _found(middle[uses > 2]),
        "flipped_faces": _found(vertices[faces[common_sense(vertices, faces)[0]]].mean(axis=1)),
    }


def _shape(vertices: Floats, faces: Ints, repeated: Floats) -> dict[str, Any]:
    """Sizes, and faces that are doubled, without area or crossing others."""
    corners = vertices[faces]
    area = areas(corners)
    length = np.linalg.norm(np.roll(corners, -1, axis=1) - corners, axis=2)
    low, high = corners.min(axis=(0, 1)), corners.max(axis=(0, 1))
    flat = 2 * area <= FLAT * np.linalg.norm(high - low) * length.max(axis=1)
    first, _ = unique_rows(np.sort(faces, axis=1))
    doubled = np.delete(np.arange(len(faces)), first)
    once = faces[np.sort(first)]
    pairs = crossing_faces(vertices, once)
    crossing = np.unique(pairs)
    shortest = length.argmin()
    edge = corners[shortest // 3, [shortest % 3, (shortest % 3 + 1) % 3]].mean(axis=0)
    return {
        "volume_um3": volume(corners) * 1e18,
        "area_um2": float(area.sum()) * 1e12,
        "bounding_box_um": [[float(f"{x:.9g}") for x in corner * 1e6 + 0.0] for corner in (low, high)],
        "size_um": [float(f"{x:.9g}") for x in (high - low) * 1e6],
        "smallest_edge_um": float(length.min()) * 1e6,
        "smallest_edge_at_um": _found(edge[None])["at_um"][0],
        "mean_edge_um": float(length.mean()) * 1e6,
        "duplicate_faces": _found(corners[doubled].mean(axis=1)),
        "degenerate_faces": _found(np.concatenate([repeated, corners[flat].mean(axis=1)])),
        "self_intersecting_faces": _found(vertices[once[crossing]].mean(axis=1)),
    }


def _verdict(path: Path, vertices: Floats, faces: Ints, block: Block | None, unit: LengthUnit) -> dict[str, Any]:
    """What a run would do with it, as a closed surface or, where that fails, as an open sheet."""
    refusal, sheet, repairs = None, False, []
    try:
        repairs = repair(vertices, faces, path.name).repairs
    except GeometryError as fault:
        refusal = str(fault)
        try:
            repairs = repair(vertices, faces, path.name, open_sheet=True).repairs
            sheet = True
        except GeometryError:
            pass
    verdict: dict[str, Any] = {
        "repairs": [
            {
                "kind": one.kind,
                "count": one.count,
                "volume_change_um3": one.volume_change * 1e18,
                "area_change_um2": one.area_change * 1e12,
                "displacement_um": one.displacement * 1e6,
            }
            for one in repairs
        ],
        "refusal": refusal,
        "sheet": sheet,
    }
    if block is not None:
        try:
            refuse_misplaced(path.name, vertices, block, unit)
            verdict["placement"] = "touches the block"
        except SpallError as fault:
            verdict["placement"] = str(fault)
    return verdict
