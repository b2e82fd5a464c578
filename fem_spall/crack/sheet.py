"""A crack without thickness, given by an open surface."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fem_spall.crack.base import Block, CrackSurface, Repair
from fem_spall.crack.surface_file import FileCrack
from fem_spall.errors import GeometryError

__all__ = ["Sheet"]

type Floats = NDArray[np.float64]
type Ints = NDArray[np.int64]


class Sheet(FileCrack):
    """A crack without thickness: an open surface from an STL, OBJ, PLY or OFF file, electrolyte on both faces.

    What stands beyond the faces of the block is cut off.  Lithium takes its potential on both faces; a void
    lets no current through.  For cracks much thinner than ``mesh.size_min``.
    """

    kind: Literal["sheet"]

    def surface(self, block: Block) -> CrackSurface:
        """Open surface in block coordinates, m: read strictly, placed, cleaned, holes and rims as they are.

        Raises
        ------
        InputFileError
            If the file cannot be read completely.
        GeometryError
            If the surface is misplaced, closed, one-sided, branches or runs through itself.
        """
        vertices, faces, source = self.read(block)
        vertices, faces, repairs = _cleaned(vertices, faces, self.where)
        return CrackSurface.canonical(vertices, faces, repairs=repairs, provenance=source, thin=True)


def _cleaned(vertices: Floats, faces: Ints, where: str) -> tuple[Floats, Ints, tuple[Repair, ...]]:
    """Corners merged, faces without area and doubles dropped, all faces of a part of one sense."""
    from fem_spall.crack.clean import FLAT
    from fem_spall.crack.triangles import areas, common_sense, edge_numbers, in_order, unique_rows, weld

    repairs = []
    given = len(vertices)
    vertices, index = weld(vertices)
    if given > len(vertices):
        repairs.append(Repair("identical corners merged", given - len(vertices)))
    faces = in_order(index[faces])
    sides = np.linalg.norm(vertices[faces] - vertices[np.roll(faces, 1, axis=1)], axis=2)
    diagonal = float(np.linalg.norm(np.ptp(vertices, axis=0)))
    flat = 2 * areas(vertices[faces]) <= FLAT * diagonal * sides.max(axis=1)
    if flat.any():
        repairs.append(Repair("degenerate faces dropped", int(flat.sum())))
        faces = faces[~flat]
    first, _ = unique_rows(np.sort(faces, axis=1))
    if len(first) < len(faces):
        repairs.append(Repair("duplicate faces dropped", len(faces) - len(first)))
        faces = in_order(faces[first])
    if len(faces) == 0:
        raise GeometryError(60, where, "must have at least one face with an area; none is left", "export it again")
    used, faces = np.unique(faces, return_inverse=True)
    vertices, faces = vertices[used], faces.reshape(-1, 3)
    turn, one_sided = common_sense(vertices, faces)
    if turn.any():
        repairs.append(Repair("faces turned to their neighbours' sense", int(turn.sum())))
        faces = in_order(np.where(turn[:, None], faces[:, ::-1], faces))
    _, uses, edges = edge_numbers(faces)
    _refuse(vertices, faces, uses, edges, one_sided, where)
    return vertices, faces, tuple(repairs)


def _refuse(vertices: Floats, faces: Ints, uses: Ints, edges: Ints, one_sided: Ints, where: str) -> None:
    """Raise for what is no sheet: branches, one-sided or closed parts, faces that cross."""
    from fem_spall.crack.crossings import crossing_faces
    from fem_spall.crack.repair import places
    from fem_spall.crack.triangles import components

    if (uses > 2).any():
        points = vertices[edges[uses > 2]].mean(axis=1)
        reason = f"has {len(points)} edges where more than two faces meet, near {places(points)}"
        raise GeometryError(61, where, reason, "cut the branches off and give each as a sheet that does not touch")
    if len(one_sided):
        points = vertices[faces[one_sided]].mean(axis=1)
        reason = f"has a one-sided part (a Möbius band), near {places(points)}"
        raise GeometryError(62, where, reason, "cut it open in a mesh editor")
    part = components(faces)
    free = np.unique(edges[uses == 1])
    closed = np.setdiff1d(part, part[np.isin(faces, free).any(axis=1)])
    if len(closed):
        points = vertices[faces[part == closed[0]]].mean(axis=1)
        reason = f"must be open; it has {len(closed)} closed parts, near {places(points)}"
        raise GeometryError(63, where, reason, "use kind: surface_file for closed surfaces")
    pairs = crossing_faces(vertices, faces)
    if len(pairs):
        points = vertices[faces[pairs[:, 0]]].mean(axis=1)
        reason = f"runs through itself: {len(np.unique(pairs))} faces cross, near {places(points)}"
        raise GeometryError(64, where, reason, "cut it apart and leave the crossing out, in a mesh editor")
