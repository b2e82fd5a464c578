"""Where cracks all but touch each other or the block: what no mesh can fill, said in words."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from fem_spall.errors import MeshingError
from fem_spall.mesh.tagged_surface import CRACK_TAG, TaggedSurface, facet_edges

__all__ = ["refuse_contacts"]

type Floats = NDArray[np.float64]

#: Walls face each other if their normals are turned by more than this, as a cosine.
FACING = -0.8


def refuse_contacts(surface: TaggedSurface, near: float) -> None:
    """Raise if a crack is nearer than a length, mesh units, to a face of the block or another crack, and stays apart.

    Raises
    ------
    MeshingError
        With what touches what, where, and how near.
    """
    cracks = [name for name, tag in surface.names.items() if tag >= CRACK_TAG and (surface.tags == tag).any()]
    for name in cracks:
        for face, (axis, coordinate) in ((face, surface.planes()[surface.names[face]]) for face in _faces(surface)):
            place = _touch(surface, surface.names[name], surface.names[face], axis, coordinate, near)
            if place is not None:
                raise MeshingError(
                    24, f"crack {name}", f"touches the face {face} of the block in an edge or corner alone, near "
                    f"{_um(place, surface)}: the electrolyte ends there in nothing, which no mesh can fill",
                    "move it into the face or away from it",
                )  # fmt: skip
    for one, other in combinations(cracks, 2):
        found = _film(surface, surface.names[one], surface.names[other], near)
        if found is not None:
            place, width = found
            raise MeshingError(
                24, f"cracks {one} and {other}", f"are {width * surface.unit * 1e9:.2g} nm apart near "
                f"{_um(place, surface)}: the mesh cannot resolve a film of electrolyte so thin",
                "move them apart, or together so that they overlap",
            )  # fmt: skip


def _faces(surface: TaggedSurface) -> list[str]:
    """Names of the faces of the block."""
    return [name for name, tag in surface.names.items() if tag < CRACK_TAG]


def _um(place: Floats, surface: TaggedSurface) -> str:
    return "(" + ", ".join(f"{value:.4g}" for value in place * surface.unit * 1e6) + ") um"


def _touch(surface: TaggedSurface, crack: int, face: int, axis: int, coordinate: float, near: float) -> Floats | None:
    """A vertex of a crack next to a face of the block where the crack turns back without an opening in the face."""
    own = surface.faces[surface.tags == crack]
    depth = np.abs(surface.vertices[:, axis] - coordinate)
    rim = np.zeros(len(surface.vertices), dtype=bool)
    rim[surface.faces[surface.tags == face]] = True
    edges, _ = facet_edges(own)
    crossing = rim.copy()  # and what is joined to the opening by edges that stay next to the face
    level = edges[(depth[edges] < near).all(axis=1)]
    while True:
        ends = crossing[level]
        grown = level[ends.any(axis=1) & ~ends.all(axis=1)]
        if len(grown) == 0:
            break
        crossing[grown] = True
    joined = np.zeros(len(surface.vertices), dtype=bool)
    joined[edges[crossing[edges].any(axis=1)]] = True
    found = np.unique(own)
    found = found[(depth[found] < near) & ~joined[found]]
    return surface.vertices[found].mean(axis=0) if len(found) else None


def _film(surface: TaggedSurface, one: int, other: int, near: float) -> tuple[Floats, float] | None:
    """A place where the walls of two cracks face each other closer than a length, and their distance."""
    import igl

    for first, second in ((one, other), (other, one)):
        own, facing = (surface.vertices[surface.faces[surface.tags == tag]] for tag in (first, second))
        target = surface.faces[surface.tags == second]
        normals = [np.cross(t[:, 1] - t[:, 0], t[:, 2] - t[:, 0]) for t in (own, facing)]
        points = np.concatenate([own.mean(axis=1), *(own.mean(axis=1) * 0.1 + own[:, k] * 0.9 for k in range(3))])
        squares, nearest, _ = igl.point_mesh_squared_distance(points, surface.vertices, target)
        mine, theirs = np.tile(normals[0], (4, 1)), normals[1][nearest]
        turn = np.einsum("ij,ij->i", mine, theirs)
        turn /= np.maximum(np.linalg.norm(mine, axis=1) * np.linalg.norm(theirs, axis=1), np.finfo(float).tiny)
        film = np.flatnonzero((squares < near**2) & (turn < FACING))
        if len(film):
            return points[film].mean(axis=0), float(np.sqrt(np.median(squares[film])))
    return None
