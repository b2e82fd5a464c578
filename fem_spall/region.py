"""Regions: parts of a face of the block or of a crack's wall that have a boundary law of their own.

A region belongs to the lithium that it is cut from and has its potential.  What several regions have in common
belongs to the first of them.  To add a kind: write one class, and name it in :data:`RegionKind`.
"""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from fem_spall.boundary import InterfaceLaw
from fem_spall.crack.base import Block
from fem_spall.crack.input_file import open_input
from fem_spall.crack.mesh_readers import read_mesh
from fem_spall.crack.patch import RandomDiscs, crosses
from fem_spall.crack.raw_stack import AGAIN, DEFAULT_LIMIT, damaged, refuse_large
from fem_spall.crack.stack_formats import read_png, read_tiff_slice
from fem_spall.crack.surface_file import LengthUnit, UserFile
from fem_spall.errors import GeometryError, InputFileError
from fem_spall.model import Model
from fem_spall.quantity import Length, NonNegativeLength, PositiveLength

__all__ = ["Band", "Disc", "Discs", "FaceRegion", "Facets", "Mask", "Polygon", "Region", "RegionKind", "covers"]

type Floats = NDArray[np.float64]
#: Outlines of one piece of a plane, (n, 2) float each: the outer one, then holes.
type Outlines = list[Floats]

#: Sides of the polygon that stands for a disc where its mesh has flat sides: least and most.
SIDES = (24, 400)
#: Corners of all outlines of a mask at most.
MOST_CORNERS = 5000


class Region(Model):
    """Keys that every region has: the surface it is cut ``on``, plating, counter or a crack's name, and its law."""

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,39}$")
    on: str = "plating"
    interface: InterfaceLaw

    def examine(self, block: Block, size: float) -> None:
        """Read what the region is made from, and raise where that cannot be; ``size`` as of :meth:`outlines`."""

    def lost(self) -> GeometryError:
        """What refuses a region that is nowhere."""
        return GeometryError(
            72, f"region {self.name}", f"meets nothing of {self.on}, or what earlier regions have left of it",
            "check its place and the order of the regions",
        )  # fmt: skip

    @model_validator(mode="after")
    def _law_of_lithium(self) -> Self:
        if self.interface.kind == "exact_potential":
            raise ValueError("a region has the potential of its lithium. Take another law")
        return self


class FaceRegion(Region):
    """A region of an electrode's face, given by its outlines."""

    @model_validator(mode="after")
    def _on_a_face(self) -> Self:
        if self.on not in ("plating", "counter"):
            raise ValueError(f"must be on plating or counter; got {self.on!r}. A band or facets can be on a crack")
        return self

    def examine(self, block: Block, size: float) -> None:
        """Trace the outlines, and raise if they lie beside the face."""
        corners = np.concatenate([loop for piece in self.outlines(block, size) for loop in piece])
        if (corners.max(axis=0) <= 0).any() or (corners.min(axis=0) >= block.size[:2]).any():
            raise self.lost()

    def outlines(self, block: Block, size: float) -> list[Outlines]:
        """Its pieces, lengths in m; curved ones as polygons with sides of about ``size``, m, of the same area."""
        raise NotImplementedError

    def add_shape(self, occ: Any, block: Block, size: float, unit: float, z: float) -> list[tuple[int, int]]:
        """Add it to a CAD model in the plane ``z`` (mesh units), and return its (dimension, tag) pairs."""
        made = []
        for piece in self.outlines(block, size):
            loops = []
            for outline in piece:
                points = [occ.addPoint(x, y, z) for x, y in outline / unit]
                lines = [occ.addLine(a, b) for a, b in zip(points, [*points[1:], points[0]], strict=True)]
                loops.append(occ.addCurveLoop(lines))
            made.append((2, occ.addPlaneSurface(loops)))
        return made


def _round(centre: Floats, radius: float, size: float) -> Floats:
    """A regular polygon (n, 2) with the area of a disc."""
    count = int(np.clip(math.ceil(2 * math.pi * radius / size), *SIDES))
    reach = radius * math.sqrt(2 * math.pi / count / math.sin(2 * math.pi / count))
    turn = np.arange(count) * 2 * math.pi / count
    return np.asarray(centre + reach * np.stack([np.cos(turn), np.sin(turn)], axis=1))


class Disc(FaceRegion):
    """A disc of an electrode's face."""

    kind: Literal["disc"]
    centre: tuple[Length, Length]
    radius: PositiveLength

    def outlines(self, block: Block, size: float) -> list[Outlines]:
        """One polygon."""
        return [[_round(np.array(self.centre), self.radius, size)]]

    def add_shape(self, occ: Any, block: Block, size: float, unit: float, z: float) -> list[tuple[int, int]]:
        """The disc itself."""
        return [(2, occ.addDisk(*(np.array(self.centre) / unit), z, self.radius / unit, self.radius / unit))]


class Polygon(FaceRegion):
    """A polygon of an electrode's face, its corners in order."""

    kind: Literal["polygon"]
    corners: Annotated[tuple[tuple[Length, Length], ...], Field(min_length=3)]

    @model_validator(mode="after")
    def _simple(self) -> Self:
        if crosses(np.array(self.corners)):
            raise ValueError("corners must not make sides that cross or touch. Give them in their order round it")
        return self

    def outlines(self, block: Block, size: float) -> list[Outlines]:
        """Itself."""
        return [[np.array(self.corners)]]


class Discs(FaceRegion, RandomDiscs):
    """Discs of an electrode's face at random, which neither overlap nor touch its rim; keys as of crack patches."""

    kind: Literal["discs"]

    def outlines(self, block: Block, size: float) -> list[Outlines]:
        """One polygon a disc."""
        return [[_round(centre, radius, size)] for centre, radius in zip(*self.placed(block), strict=True)]

    def add_shape(self, occ: Any, block: Block, size: float, unit: float, z: float) -> list[tuple[int, int]]:
        """The discs themselves."""
        return [
            (2, occ.addDisk(*(centre / unit), z, radius / unit, radius / unit))
            for centre, radius in zip(*self.placed(block), strict=True)
        ]


class Mask(FaceRegion):
    """What is above (or below) a grey level in an image of an electrode's face, PNG, TIFF or NPY.

    Outlines between pixels are traced by marching squares and simplified to polygons.

    Attributes
    ----------
    extent
        Lowest and highest corner (x, y) of the image on the face.
    above
        Grey level from which a pixel belongs to the region.
    below
        Grey level below which a pixel belongs to it.
    rows
        down: the first row has the largest y, as a picture is looked at; up: the smallest.
    tolerance
        Largest distance of the polygons from the traced outlines; default: half a pixel, or a fifth of
        mesh.size_min if that is more.
    islands
        Closed outlines round less than this length squared are dropped; default: mesh.size_min.
    """

    kind: Literal["mask"]
    file: UserFile
    extent: tuple[tuple[Length, Length], tuple[Length, Length]]
    above: float | None = None
    below: float | None = None
    rows: Literal["down", "up"] = "down"
    tolerance: PositiveLength | None = None
    islands: NonNegativeLength | None = None

    @model_validator(mode="after")
    def _one_side(self) -> Self:
        if (self.above is None) == (self.below is None):
            raise ValueError("give either above or below, a grey level. Write for instance 'above: 128'")
        (x0, y0), (x1, y1) = self.extent
        if not (x0 < x1 and y0 < y1):
            raise ValueError("extent must be the lowest and the highest corner. Swap where the second is not higher")
        return self

    def _pixels(self) -> NDArray[np.bool_]:
        """Which pixels belong to it, (rows upwards, columns)."""
        grey = _grey(self.file)
        grey = grey[::-1] if self.rows == "down" else grey
        return np.asarray(grey >= self.above if self.above is not None else grey < self.below)

    def pixel_area(self) -> float:
        """Area of its pixels, m^2."""
        (x0, y0), (x1, y1) = self.extent
        return float(self._pixels().mean() * (x1 - x0) * (y1 - y0))

    def outlines(self, block: Block, size: float) -> list[Outlines]:
        """Its pieces with their holes.

        Raises
        ------
        GeometryError
            If nothing is left, or too much.
        """
        import contourpy

        pixels = self._pixels()
        low, high = np.array(self.extent)
        pixel = (high - low) / pixels.shape[::-1]
        # Pixels at the edge go on beyond it, and then the region ends.
        padded = np.pad(np.pad(pixels, 1, mode="edge"), 1).astype(float)
        x, y = (low[k] + pixel[k] * (np.arange(padded.shape[1 - k]) - 1.5) for k in (0, 1))
        filled = contourpy.contour_generator(x, y, padded, fill_type=contourpy.FillType.OuterOffset).filled(0.5, 2.0)
        tolerance = self.tolerance if self.tolerance is not None else max(0.5 * float(pixel.min()), size / 5)
        least = (self.islands if self.islands is not None else size) ** 2
        pieces = []
        for points, ends in zip(*filled, strict=True):
            loops = [_simplified(np.clip(points[a : b - 1], low, high), tolerance) for a, b in pairwise(ends)]
            loops = [loop for loop in loops if len(loop) > 2]
            kept = [loop for loop in loops[1:] if abs(_area(loop)) >= least]
            if loops and abs(_area(loops[0])) >= least:
                pieces.append([loops[0], *kept])
        corners = sum(len(loop) for piece in pieces for loop in piece)
        if not pieces or corners > MOST_CORNERS:
            got = f"outlines with {corners} corners" if pieces else "nothing"
            raise GeometryError(
                71, f"region {self.name}", f"{self.file.name} must have outlines with 3 to {MOST_CORNERS} corners at "
                f"its level; got {got}", "raise tolerance and islands" if pieces else "check above or below",
            )  # fmt: skip
        return pieces


def _area(loop: Floats) -> float:
    """Area within a polygon (n, 2), with its sign."""
    x, y = loop.T
    return float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2)


def _simplified(loop: Floats, tolerance: float) -> Floats:
    """A closed polygon with fewer corners, none of the given ones farther off than the tolerance (Douglas, Peucker)."""
    distinct = np.linalg.norm(loop - np.roll(loop, 1, axis=0), axis=1) > 1e-9 * tolerance
    loop = loop[distinct]
    if len(loop) < 3:
        return loop
    far = int(np.linalg.norm(loop - loop[0], axis=1).argmax())
    keep = np.zeros(len(loop) + 1, dtype=bool)
    ring = np.concatenate([loop, loop[:1]])
    keep[[0, far, len(loop)]] = True
    spans = [(0, far), (far, len(loop))]
    while spans:
        a, b = spans.pop()
        if b - a < 2:
            continue
        along = ring[b] - ring[a]
        length = float(np.linalg.norm(along))
        off = ring[a + 1 : b] - ring[a]
        distance = (
            np.abs(along[0] * off[:, 1] - along[1] * off[:, 0]) / length if length > 0 else np.linalg.norm(off, axis=1)
        )
        worst = int(distance.argmax())
        if distance[worst] > tolerance:
            keep[a + 1 + worst] = True
            spans += [(a, a + 1 + worst), (a + 1 + worst, b)]
    return np.asarray(ring[:-1][keep[:-1]])


def _grey(path: Path) -> NDArray[Any]:
    """Grey levels of an image, (rows, columns)."""
    with open_input(path) as file:
        head = file.head
    if head.startswith(b"\x89PNG"):
        return read_png(path, DEFAULT_LIMIT)
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return read_tiff_slice(path, DEFAULT_LIMIT)
    if not head.startswith(b"\x93NUMPY"):
        raise InputFileError(5, str(path), "must be a PNG, TIFF or NPY image; the content is none", "save it as PNG")
    with damaged(path, ValueError, EOFError, OSError):
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    if values.ndim != 2 or values.dtype.kind not in "buif":
        got = f"{values.ndim} axes of {values.dtype}"
        raise InputFileError(12, str(path), f"must have two axes of plain numbers; got {got}", AGAIN)
    refuse_large(path, (1, *values.shape), 8, DEFAULT_LIMIT)
    if not np.isfinite(values).all():
        raise InputFileError(12, str(path), "must hold finite numbers; got some that are not", AGAIN)
    return np.asarray(values)


class Band(Region):
    """The part of a crack's wall between two depths below the plating face."""

    kind: Literal["band"]
    depth: tuple[NonNegativeLength, PositiveLength]

    @model_validator(mode="after")
    def _on_a_crack(self) -> Self:
        if self.on in ("plating", "counter"):
            raise ValueError(f"a band is on a crack; got {self.on!r}. Give the name of one")
        if not self.depth[0] < self.depth[1]:
            raise ValueError("depth must be two depths below the plating face, the smaller one first. Swap them")
        return self

    def examine(self, block: Block, size: float) -> None:
        """Raise if it lies below the block."""
        if self.depth[0] >= block.height:
            raise self.lost()


class Facets(Region):
    """The part of a surface that lies on a given one, such as a selection of its triangles saved from ParaView.

    ``file`` is a surface in block coordinates (as those of ``crack_surface.vtp``); a facet belongs to the region if its
    middle is nearer to it than ``within``.
    """

    kind: Literal["facets"]
    file: UserFile
    unit: LengthUnit
    within: PositiveLength = "50 nm"  # type: ignore[assignment]

    def examine(self, block: Block, size: float) -> None:
        """Read the file."""
        read_mesh(self.file)


RegionKind = Annotated[Disc | Polygon | Discs | Mask | Band | Facets, Field(discriminator="kind")]


def covers(pieces: list[Outlines], points: Floats) -> NDArray[np.bool_]:
    """Which points (n, 2) lie within outlines: an odd number of sides to their right."""
    inside = np.zeros(len(points), dtype=bool)
    for loop in (loop for piece in pieces for loop in piece):
        for (x0, y0), (x1, y1) in zip(loop, np.roll(loop, -1, axis=0), strict=True):
            if y0 == y1:
                continue
            spans = (points[:, 1] >= min(y0, y1)) & (points[:, 1] < max(y0, y1))
            at = x0 + (points[:, 1] - y0) * (x1 - x0) / (y1 - y0)
            inside ^= spans & (at > points[:, 0])
    return inside
