"""What a mesh file is, what is wrong with it, and what a run would repair."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fem_spall.crack.base import Block
from fem_spall.crack.mesh_readers import RawMesh, read_mesh
from fem_spall.crack.repair import repair
from fem_spall.crack.surface_faults import find_faults, found
from fem_spall.crack.surface_file import LengthUnit, fitting_units, in_metres, refuse_misplaced, refuse_other_unit
from fem_spall.crack.triangles import areas, in_order, volume, weld
from fem_spall.errors import GeometryError, SpallError

__all__ = ["Inspection", "inspect_surface"]

type Floats = NDArray[np.float64]
type Ints = NDArray[np.int64]
type Bools = NDArray[np.bool_]

THIN = 0.5  # of the mean edge: what is thinner than that is not resolved by the surface itself
PLAUSIBLE = (0.1e-6, 2e-3)  # m, longest edge of the box of a crack where no block is given: a grain to a whole pellet
BESIDE_BLOCK = (0.001, 3)  # the same over the longest edge of the block


@dataclass(frozen=True)
class Inspection:
    """A ``report`` ready for JSON, and what to draw of it.

    ``vertices`` (n, 3) m and ``faces`` (m, 3) are those of the file with identical corners joined;
    ``marks`` says of each fault which faces have it, (m,) bool; ``part`` numbers the bodies, (m,).
    """

    report: dict[str, Any]
    vertices: Floats
    faces: Ints
    marks: dict[str, Bools]
    part: Ints


def inspect_surface(
    path: str | Path,
    unit: LengthUnit,
    block: Block | None = None,
    *,
    material: str | None = None,
    thin: float | None = None,
) -> Inspection:
    """Return what a surface is as it stands in the file, lengths in um.

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
    material : str, optional
        Which material of a HyperSurface.
    thin : float, optional
        Gaps and walls below it are faults, m; by default :data:`THIN` mean edges.

    Raises
    ------
    InputFileError
        If the file cannot be read.
    """
    path = Path(path)
    raw = read_mesh(path, material)
    refuse_other_unit(path, raw.unit, unit)
    vertices, index = weld(in_metres(raw.vertices, unit))
    faces = in_order(index[raw.faces])
    a, b, c = faces.T
    proper = (a != b) & (b != c) & (c != a)
    report = _identity(path, raw, unit, vertices, faces)
    marks: dict[str, Bools] = {}
    part = np.full(len(faces), -1)
    if proper.any():
        report |= _shape(vertices, faces[proper], faces)
        faults = find_faults(vertices, faces[proper], THIN * report["mean_edge_um"] * 1e-6 if thin is None else thin)
        part[proper] = faults.part
        for name, mark in faults.marks.items():
            marks[name] = np.zeros(len(faces), dtype=bool)
            marks[name][proper] = mark
        marks["degenerate_faces"] |= ~proper
        middle = vertices[faces[marks["degenerate_faces"]]].mean(axis=1)
        report |= faults.entries | {"degenerate_faces": found(middle)}
        report |= _bodies(vertices, faces[proper], faults.part)
    report |= _verdict(path, vertices, faces, block, unit)
    return Inspection(report, vertices, faces, marks, part)


def _identity(path: Path, raw: RawMesh, unit: LengthUnit, vertices: Floats, faces: Ints) -> dict[str, Any]:
    used = len(np.unique(faces))
    return {
        "file": path.name,
        "sha256": raw.sha256,
        "format": raw.format,
        "notes": list(raw.notes),
        "unit": unit,
        "triangles": len(faces),
        "vertices": used,
        "unused_vertices": len(vertices) - used,
        "identical_corners": len(raw.vertices) - len(vertices),
    }


def _shape(vertices: Floats, proper: Ints, faces: Ints) -> dict[str, Any]:
    """Sizes; the box is that of all faces, edges and area those of faces with three different corners."""
    corners = vertices[proper]
    length = np.linalg.norm(np.roll(corners, -1, axis=1) - corners, axis=2)
    points = vertices[np.unique(faces)]
    low, high = points.min(axis=0), points.max(axis=0)
    shortest = length.argmin()
    edge = corners[shortest // 3, [shortest % 3, (shortest % 3 + 1) % 3]].mean(axis=0)
    return {
        "volume_um3": volume(corners) * 1e18,
        "area_um2": float(areas(corners).sum()) * 1e12,
        "bounding_box_um": [[float(f"{x:.9g}") for x in corner * 1e6 + 0.0] for corner in (low, high)],
        "size_um": [float(f"{x:.9g}") for x in (high - low) * 1e6],
        "smallest_edge_um": float(length.min()) * 1e6,
        "smallest_edge_at_um": found(edge[None])["at_um"][0],
        "mean_edge_um": float(length.mean()) * 1e6,
    }


def _bodies(vertices: Floats, faces: Ints, part: Ints) -> dict[str, Any]:
    """The three largest bodies by volume, and the smallest one: volume, um^3, and middle, um."""
    corners = vertices[faces]
    area = areas(corners)
    middle = (corners.min(axis=(0, 1)) + corners.max(axis=(0, 1))) / 2
    a, b, c = np.moveaxis(corners - middle, 1, 0)
    volumes = np.bincount(part, np.einsum("ij,ij->i", a, np.cross(b, c)) / 6)
    weight = np.maximum(np.bincount(part, area), 1e-300)
    centre = np.column_stack([np.bincount(part, area * x) for x in corners.mean(axis=1).T]) / weight[:, None]
    order = np.argsort(-np.abs(volumes), kind="stable")
    chosen = [*order[:3], *order[3:][-1:]]
    return {
        "bodies": [
            {
                "triangles": int((part == k).sum()),
                "volume_um3": float(f"{volumes[k] * 1e18:.6g}"),
                "at_um": found(centre[k][None])["at_um"][0],
            }
            for k in chosen
        ]
    }


def _verdict(path: Path, vertices: Floats, faces: Ints, block: Block | None, unit: LengthUnit) -> dict[str, Any]:
    """What a run would do with it, as a closed surface or, where that fails, as an open sheet; and where it lies."""
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
    changes = [
        {
            "kind": one.kind,
            "count": one.count,
            "volume_change_um3": one.volume_change * 1e18,
            "area_change_um2": one.area_change * 1e12,
            "displacement_um": one.displacement * 1e6,
        }
        for one in repairs
    ]
    verdict: dict[str, Any] = {"repairs": changes, "refusal": refusal, "sheet": sheet}
    points = vertices[np.unique(faces)]
    longest = float(np.ptp(points, axis=0).max())
    if block is None:
        return verdict | _plausible(longest, unit, *PLAUSIBLE)
    verdict |= _plausible(longest, unit, *(part * max(block.size) for part in BESIDE_BLOCK))
    try:
        refuse_misplaced(path.name, points, block, unit)
        verdict["placement"] = "touches the block"
    except SpallError as fault:
        verdict["placement"] = f"{fault.reason}; {fault.cure}"
    size = np.array(block.size)
    beyond = np.concatenate([-points.min(axis=0), points.max(axis=0) - size]) * 1e6
    sides = ("-x", "-y", "-z", "+x", "+y", "+z")
    verdict["block_um"] = [float(f"{x:.9g}") for x in size * 1e6]
    verdict["beyond_block_um"] = {
        side: float(f"{x:.6g}") for side, x in zip(sides, beyond, strict=True) if x > 1e-6 * size.max() * 1e6
    }
    return verdict


def _plausible(longest: float, unit: LengthUnit, low: float, high: float) -> dict[str, Any]:
    """A word on the unit where the surface is larger or smaller than it can be, m."""
    if low <= longest <= high:
        return {}
    word = "large" if longest > high else "small"
    better = fitting_units(longest, unit, low, high)
    if not better:
        return {"unit_doubt": f"{longest * 1e6:.4g} um is too {word} for a crack, whatever the unit"}
    other, length = min(better, key=lambda one: abs(np.log(one[1] ** 2 / (low * high))))
    factor = max(longest / length, length / longest)
    text = f"{factor:.4g} times too {word}: wrong unit? with unit {other} it is {length * 1e6:.4g} um long"
    return {"unit_doubt": text}
