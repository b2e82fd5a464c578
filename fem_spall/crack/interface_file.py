"""An open sheet that replaces the plating face."""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from fem_spall.crack.base import Block, Crack, CrackSurface
from fem_spall.crack.repair import RepairedSurface, Repairs, boundary_loops, refuse_crossings, repair
from fem_spall.crack.surface_file import FileCrack
from fem_spall.crack.triangles import areas
from fem_spall.errors import GeometryError
from fem_spall.quantity import NonNegativeLength

__all__ = ["InterfaceFile"]

type Floats = NDArray[np.float64]
type Ints = NDArray[np.int64]

MARGIN = 0.05  # height of the lid above block and sheet, as a part of the block's height
OVERSHOOT = 1e-6  # the sheet must end so far beyond each side, as a part of the block's size: rounding is no overshoot


class InterfaceFile(FileCrack):
    """The whole lithium/electrolyte interface as one open sheet spanning the block.

    The lithium lies on the plating side of the sheet.  Facets nearer to the plating
    plane than ``flat_within`` count as the flat electrode (surface ``plating``), the rest as
    this crack.
    """

    kind: Literal["interface_file"]
    repair: Repairs = Repairs()
    flat_within: NonNegativeLength = "0.2 um"  # type: ignore[assignment]

    def moved(self, name: str, x: float, y: float) -> Self:
        """The whole interface cannot be repeated: refused as for other cracks without a single place."""
        return Crack.moved(self, name, x, y)

    def surface(self, block: Block) -> CrackSurface:
        """Closed body between the sheet and a lid above the plating face, m.

        Raises
        ------
        InputFileError
            If the file cannot be read completely.
        GeometryError
            If the sheet is misplaced, not one sheet with one rim, or ends inside the block.
        """
        where = self.where
        vertices, faces, source = self.read(block)
        sheet = repair(vertices, faces, where, self.repair, open_sheet=True)
        rim = boundary_loops(sheet)[0]
        # Height above the counter face: with the plating face at -z the block stands on its head.
        upright = sheet.vertices.copy()
        if block.plating_face == "-z":
            upright[:, 2] = block.height - upright[:, 2]
        _refuse_upside_down(upright[sheet.faces], block, where)
        lid = max(block.height, float(upright[:, 2].max())) + MARGIN * block.height
        vertices, faces = _closed(upright, sheet.faces, rim, lid, where)
        _refuse_short(upright[rim, :2], block, where)
        if block.plating_face == "-z":
            vertices[:, 2] = block.height - vertices[:, 2]
            faces = faces[:, ::-1]
        refuse_crossings(RepairedSurface(where, vertices, faces))
        return CrackSurface.canonical(vertices, faces, repairs=tuple(sheet.repairs), provenance=source, sheet=True)


def _refuse_upside_down(corners: Floats, block: Block, where: str) -> None:
    """Raise if on average the sheet lies nearer to the counter electrode than to the plating face."""
    height = float(np.average(corners[:, :, 2].mean(axis=1), weights=areas(corners)))
    if height < block.height / 2:
        depth = (block.height - height) * 1e6
        reason = f"must lie near the plating face {block.plating_face}; on average it is {depth:.3g} um away from it"
        raise GeometryError(24, where, reason, "set place: {mirror: z} or {shift: …}, or the other plating face")


def _closed(vertices: Floats, faces: Ints, rim: Ints, lid: float, where: str) -> tuple[Floats, Ints]:
    """Join the sheet to a plane at height ``lid`` by a vertical skirt; outward oriented."""
    from manifold3d import CrossSection, FillRule, triangulate

    outline = vertices[rim, :2]
    if _shoelace(outline) < 0:  # seen from above the rim runs clockwise: the sheet faces down, as the body wants
        outline, rim = outline[::-1], rim[::-1]
    else:
        faces = faces[:, ::-1]
    scaled = outline / lid  # the kernel rounds to about 1e-8
    area = _shoelace(scaled)
    # Loops of the rim count twice or negatively in its signed area, once and positively where it is filled.
    simple = np.isclose(CrossSection([scaled], FillRule.NonZero).area(), area, rtol=1e-6)
    triangles = np.asarray(triangulate([scaled]), dtype=np.int64).reshape(-1, 3) if simple else np.empty((0, 3), int)
    if len(triangles) != len(rim) - 2 or (_signed_areas(scaled[triangles]) < 0).any():
        reason = "must have a rim that seen from above is a simple closed line; it crosses or covers itself"
        raise GeometryError(22, where, reason, "let the sheet run flat beyond the sides of the block and trim it there")
    top = len(vertices) + np.arange(len(rim))
    below, above = np.roll(rim, -1), np.roll(top, -1)
    skirt = np.concatenate([np.column_stack([rim, below, above]), np.column_stack([rim, above, top])])
    vertices = np.concatenate([vertices, np.column_stack([outline, np.full(len(rim), lid)])])
    return vertices, np.concatenate([faces, skirt, top[triangles]])


def _signed_areas(corners: Floats) -> Floats:
    a, b, c = np.moveaxis(corners, 1, 0)
    result: Floats = ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]) / 2
    return result


def _shoelace(outline: Floats) -> float:
    """Signed area of a polygon, positive if it runs counter-clockwise."""
    x, y = (outline - outline.mean(axis=0)).T
    return float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2)


def _refuse_short(outline: Floats, block: Block, where: str) -> None:
    """Raise if the sheet, seen from above, leaves a part of the block uncovered; names the side and the gap."""
    from manifold3d import CrossSection, FillRule

    size = np.array(block.size[:2])
    margin = OVERSHOOT * size.max()
    low, high = -margin, size + margin
    # In units of the block: the kernel rounds to about 1e-8.
    rectangle = np.array([[low, low], [high[0], low], high, [low, high[1]]]) / size.max()
    cover = CrossSection([outline / size.max()], FillRule.NonZero)
    bare = CrossSection([rectangle]) - cover
    if bare.area() < OVERSHOOT**2:
        return
    (x0, y0), (x1, y1) = outline.min(axis=0), outline.max(axis=0)
    gaps = {"-x": x0, "+x": size[0] - x1, "-y": y0, "+y": size[1] - y1}
    if max(gaps.values()) <= -margin:  # it reaches all sides somewhere: look at the bare pieces
        for piece in bare.decompose():
            (x0, y0), (x1, y1) = np.asarray(piece.bounds()).reshape(2, 2) * size.max()
            depth = {"-x": x1, "+x": size[0] - x0, "-y": y1, "+y": size[1] - y0}
            side = min(depth, key=lambda name: depth[name])
            gaps[side] = max(gaps[side], depth[side])
    text = ", ".join(f"{side} by {max(gap, 0.0) * 1e6:.3g} um" for side, gap in gaps.items() if gap > -margin)
    reason = f"must reach beyond all four sides of the block; it falls short at {text}"
    raise GeometryError(23, where, reason, "move it with place, make the block smaller, or export more of the sheet")
