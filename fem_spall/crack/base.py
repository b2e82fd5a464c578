"""What a crack is, whichever source it comes from.

Two families: a :class:`TriangulatedCrack` hands over a closed triangle surface
(:class:`CrackSurface`); an :class:`AnalyticCrack` describes itself to a CAD kernel,
so that mesh nodes can lie on the true curved surface.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from fem_spall.boundary import FixedPotential, InterfaceLaw
from fem_spall.crack.array import Array
from fem_spall.errors import GeometryError
from fem_spall.model import Model

__all__ = ["AnalyticCrack", "Block", "Crack", "CrackSurface", "Repair", "TriangulatedCrack", "moved_by", "spread"]

type Progress = Callable[[str], None]


@dataclass(frozen=True)
class Block:
    """The electrolyte block [0, x] x [0, y] x [0, z] and the face the cracks belong to."""

    size: tuple[float, float, float]
    plating_face: Literal["+z", "-z"] = "+z"

    @property
    def height(self) -> float:
        """Distance between the two electrode faces, m."""
        return self.size[2]

    def from_depth(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Turn (x, y, depth below the plating face) into block coordinates; both (n, 3) float, m."""
        result = np.array(points, dtype=float)
        if self.plating_face == "+z":
            result[:, 2] = self.height - result[:, 2]
        return result

    def depth(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Depth below the plating face, (n,) float, m, of block coordinates (n, 3)."""
        return self.height - points[:, 2] if self.plating_face == "+z" else points[:, 2].copy()


@dataclass(frozen=True)
class Repair:
    """One kind of change made to a surface: how often, what it did to volume and area, and how far it moved points."""

    kind: str
    count: int
    volume_change: float = 0.0  # m^3
    area_change: float = 0.0  # m^2
    displacement: float = 0.0  # m, the largest; what is dropped or added as a whole has not moved

    @property
    def words(self) -> str:
        """What was done and what it changed, lengths in um and nm."""
        changes = [
            f"{what} {value:+.3g} {unit}"
            for what, value, unit in (
                ("volume", self.volume_change * 1e18, "um^3"),
                ("area", self.area_change * 1e12, "um^2"),
            )
            if abs(value) > 1e-9  # less is rounding
        ]
        if self.displacement:
            changes.append(f"moved by up to {self.displacement * 1e9:.3g} nm")
        return f"{self.count} x {self.kind}" + (f" ({', '.join(changes)})" if changes else "")


@dataclass(frozen=True)
class CrackSurface:
    """A closed, outward oriented triangle surface in canonical order, in metres.

    ``vertices`` is (n, 3) float, m; ``faces`` is (m, 3) int.  Guaranteed: finite, every
    edge shared by exactly two faces of opposite direction, positive volume, no
    degenerate face, vertices sorted lexicographically, faces sorted and rotated to
    start at their smallest vertex.  ``sheet`` marks the body above an open interface
    that replaces the plating face; ``thin`` an open surface without thickness, whose edges have one or two faces;
    ``provenance`` says where the surface comes from.
    """

    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]
    repairs: tuple[Repair, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)
    sheet: bool = False
    thin: bool = False

    def __post_init__(self) -> None:
        if not np.isfinite(self.vertices).all():
            raise GeometryError(1, "surface", "has a vertex that is not finite", "repair the file")
        if not self.thin and (len(self.faces) < 4 or self.volume <= 0):
            raise GeometryError(2, "surface", "encloses no volume", "close the surface and orient it outwards")

    @classmethod
    def canonical(cls, vertices: NDArray[np.float64], faces: NDArray[np.int64], **other: Any) -> CrackSurface:
        """Build the surface in canonical order, so that the order of a file changes nothing."""
        order = np.lexsort(vertices.T[::-1])
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.arange(len(order))
        faces = rank[np.asarray(faces, dtype=np.int64)]
        first = faces.argmin(axis=1)
        faces = np.take_along_axis(faces, (first[:, None] + np.arange(3)) % 3, axis=1)
        faces = faces[np.lexsort(faces.T[::-1])]
        return cls(np.ascontiguousarray(vertices[order], dtype=float), np.ascontiguousarray(faces), **other)

    def pack(self) -> dict[str, NDArray[Any]]:
        """Everything as plain arrays, for one archive."""
        repairs = [vars(repair) for repair in self.repairs]
        meta = json.dumps({"repairs": repairs, "provenance": self.provenance, "sheet": self.sheet})
        words = np.frombuffer(meta.encode(), dtype=np.uint8)
        return {"vertices": self.vertices, "faces": self.faces, "meta": words}

    @classmethod
    def unpack(cls, arrays: Mapping[str, NDArray[Any]]) -> CrackSurface:
        """What :meth:`pack` packed."""
        meta = json.loads(arrays["meta"].tobytes().decode())
        repairs = tuple(Repair(**repair) for repair in meta.pop("repairs"))
        return cls(arrays["vertices"], arrays["faces"], repairs, **meta)

    @cached_property
    def corners(self) -> NDArray[np.float64]:
        """Corner coordinates of each face, (m, 3, 3) float, m."""
        return self.vertices[self.faces]

    @cached_property
    def volume(self) -> float:
        """Enclosed volume, m^3, by the divergence theorem about the centroid of the vertices; 0 of a thin one."""
        if self.thin:
            return 0.0
        a, b, c = np.moveaxis(self.corners - self.vertices.mean(axis=0), 1, 0)
        return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)

    @cached_property
    def area(self) -> float:
        """Surface area, m^2."""
        a, b, c = np.moveaxis(self.corners, 1, 0)
        return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)

    @cached_property
    def bounds(self) -> NDArray[np.float64]:
        """Lowest and highest corner of the bounding box, (2, 3) float, m."""
        return np.array([self.vertices.min(axis=0), self.vertices.max(axis=0)])

    @cached_property
    def sha256(self) -> str:
        """Hash of vertices and faces, the identity of the surface."""
        digest = hashlib.sha256(self.vertices.tobytes())
        digest.update(self.faces.astype(np.int64).tobytes())
        return digest.hexdigest()


def moved_by(place: float, way: float) -> float:
    """Sum of two lengths, m, without the noise of the last digits, so that 10 um - 4 um is 6 um."""
    return float(f"{place + way:.13g}")


class Crack(Model):
    """Keys that every kind of crack has."""

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,39}$")
    contents: Literal["lithium", "void"] = "lithium"
    contact: Literal["plating", "isolated", "leaking"] = "plating"
    interface: InterfaceLaw = FixedPotential()
    array: Array | None = None

    def moved(self, name: str, x: float, y: float) -> Self:
        """The crack under another name, moved along x and y, m."""
        old = getattr(self, "centre", None)
        if old is None:
            raise ValueError(f"{self.name}: this kind of crack has no single place to repeat. Leave array out")
        centre = (moved_by(old[0], x), moved_by(old[1], y), *old[2:])
        return self.model_copy(update={"name": name, "centre": centre})

    @model_validator(mode="after")
    def _a_void_conducts_nothing(self) -> Self:
        if self.contents == "void" and not isinstance(self.interface, FixedPotential):
            raise ValueError("a void has no interface to lithium. Leave interface out, or set contents to lithium")
        if self.contact != "plating":
            if self.contents == "void":
                raise ValueError("a void has no contact. Leave contact out, or set contents to lithium")
            if self.interface.kind == "exact_potential":
                raise ValueError("isolated lithium finds its own potential. Leave interface out, or take a resistance")
        return self

    def size_for(self, block: Block, limit: float, cells: float) -> float | None:
        """Smallest size of the mesh that suits the crack, m, where it can tell; limits as for :meth:`parts`."""
        return None

    def parts(self, block: Block, limit: float, size: float, cells: float) -> tuple[Crack, ...]:
        """The cracks that this entry of a case stands for: itself, or several.

        They are read within a limit of memory, bytes, need not be finer than the smallest size of the mesh, m, and must
        not take more than a number of cells.
        """
        return (self,)


def spread[C: Crack](cracks: Iterable[C]) -> tuple[C, ...]:
    """Return the cracks with every array written out, one crack a copy."""
    found: list[C] = []
    for crack in cracks:
        if crack.array is None:
            found.append(crack)
        else:
            alone = crack.model_copy(update={"array": None})
            found += [alone.moved(f"{crack.name}{suffix}", x, y) for suffix, x, y in crack.array.places()]
    return tuple(found)


class TriangulatedCrack(Crack):
    """A crack that hands over a triangle surface."""

    def surface(self, block: Block) -> CrackSurface:
        """Closed surface of the lithium (or void), in block coordinates, m."""
        raise NotImplementedError


class AnalyticCrack(Crack):
    """A crack whose shape is known in closed form.

    ``occ`` below is ``gmsh.model.occ``; lengths given to it are metres divided by ``unit``.
    """

    #: Whether current focuses on it, so that its sharpest place is meshed with ``size_min``.
    focuses: ClassVar[bool] = True

    def add_shape(self, occ: Any, block: Block, unit: float) -> list[tuple[int, int]]:
        """Add the shape to the CAD model and return its (dimension, tag) pairs.

        A pair of dimension 2 is a zero-thickness sheet, or a piece of the plating face.
        """
        raise NotImplementedError

    def extent(self, block: Block) -> NDArray[np.float64]:
        """Bounding box in block coordinates, (2, 3) float, m, the part outside the block included."""
        raise NotImplementedError
