"""Conductivities that differ from place to place: pieces of closed form, Voronoi grains, label images.

Every cell of a mesh has one conductivity, whose assignment is made anew on each mesh.  Figures that
need a single conductivity of the electrolyte (E₀, advance, Wagner's length) take :meth:`tensor`: that of the bulk.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from fem_spall.conductivity import Activated, positive
from fem_spall.crack.image_stack import Axes, voxel_of
from fem_spall.crack.raw_stack import DEFAULT_LIMIT
from fem_spall.crack.stack_readers import read_stack
from fem_spall.crack.surface_file import LengthUnit, UserFile
from fem_spall.errors import GeometryError, InputFileError
from fem_spall.inclusion import Inclusion
from fem_spall.model import Model
from fem_spall.quantity import AreaResistance, Conductivity, Length, PositiveLength

__all__ = ["BOUNDARIES", "CellConductivity", "GrainBoundary", "Grains", "LabelImage", "Parts", "Varied"]

type Floats = NDArray[np.float64]
type Size = tuple[float, float, float]

#: What the grain boundaries are called among the parts.
BOUNDARIES = "boundaries"
#: Grains at most: a tenth of a million cells could not tell more apart.
MOST_GRAINS = 20_000
#: Neighbours of a grain that are looked at for its boundary nearest to a point; a Voronoi cell has 15.5 on average.
NEIGHBOURS = 12
#: Points along an edge of a cell at which the share of boundary in it is sampled.
SAMPLES = 4
#: An image may end this far before a face of the block, in voxels.
NEAR = 0.75


@dataclass(frozen=True)
class CellConductivity:
    """Conductivity of cells: ``part`` (n,) int counts into ``names``, ``tensors`` (n, 3, 3), S/m.

    In grain boundaries ``share`` (n,) of the cell's volume lies in one with unit ``normal`` (n, 3), across which its
    own conductivity is ``across`` and along which it is ``along``, S/m.
    """

    names: tuple[str, ...]
    part: NDArray[np.int64]
    tensors: Floats
    share: Floats | None = None
    normal: Floats | None = None
    across: Floats | None = None
    along: Floats | None = None

    def boundary_power(self, field: Floats) -> Floats:
        """Share of the power of each cell, (n,), that is dissipated in its grain boundary, in a field (n, 3)."""
        if self.share is None or self.normal is None or self.across is None or self.along is None:
            return np.zeros(len(field))
        density = np.einsum("cij,cj->ci", self.tensors, field)
        normal = np.einsum("ci,ci->c", density, self.normal)
        along = field - np.einsum("ci,ci->c", field, self.normal)[:, None] * self.normal
        own = self.share * (normal**2 / self.across + self.along * (along**2).sum(axis=1))
        whole = np.einsum("ci,ci->c", density, field)
        return np.asarray(np.divide(own, whole, out=np.zeros(len(own)), where=own > 0))


class Varied(Activated):
    """A conductivity that is no constant."""

    uniform: ClassVar[bool] = False

    @property
    def bulk(self) -> float:
        """The one conductivity that figures take which need one, S/m."""
        raise NotImplementedError

    @property
    def resolution(self) -> tuple[float, str] | None:
        """Largest size of the cells, m, that can tell what is in them apart, and what that is; None: any."""
        return None

    def tensor(self) -> Floats:
        """Conductivity tensor of the bulk, (3, 3) float, S/m."""
        return self.factor * self.bulk * np.eye(3)

    def on_cells(self, corners: Floats, size: Size) -> CellConductivity:
        """Conductivity of cells with these corners (n, 4, 3), m, of a block of this size, m."""
        raise NotImplementedError

    def _isotropic(self, names: tuple[str, ...], part: NDArray[np.int64], values: Floats) -> CellConductivity:
        return CellConductivity(names, part, self.factor * values[part][:, None, None] * np.eye(3))


class Parts(Varied):
    """One conductivity, and others in pieces of closed form: layers, boxes, balls.

    Where all cracks are of closed form the mesh follows the surfaces of the pieces; else a cell belongs to the piece
    that holds its centre.
    """

    kind: Literal["parts"]
    value: Conductivity
    parts: Annotated[tuple[Inclusion, ...], Field(min_length=1, max_length=200)]

    @field_validator("value")
    @classmethod
    def _conducts(cls, value: float) -> float:
        return positive(value)

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [part.name for part in self.parts]
        for name in names:
            if names.count(name) > 1 or name == "matrix":
                raise ValueError(f"two parts are named {name!r} ('matrix' is the rest). Give each its own name")
        return self

    @property
    def bulk(self) -> float:
        """Conductivity of the matrix, S/m."""
        return self.value

    def on_cells(self, corners: Floats, size: Size) -> CellConductivity:
        """By the centres of the cells."""
        centres = corners.mean(axis=1)
        part = np.zeros(len(centres), dtype=np.int64)
        for number, piece in reversed(list(enumerate(self.parts, 1))):
            part[piece.contains(centres)] = number
        values = np.array([self.value, *(piece.conductivity for piece in self.parts)])
        return self._isotropic(("matrix", *(piece.name for piece in self.parts)), part, values)


class GrainBoundary(Model):
    """A layer between grains with a conductivity of its own, or one that stands for a thin sheet with a resistance.

    A sheet's area-specific resistance is spread over ``thickness``, across the boundary only, so that its resistance
    is the given one whatever the thickness.
    """

    thickness: PositiveLength
    conductivity: Conductivity | None = None
    area_resistance: AreaResistance | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> GrainBoundary:
        if (self.conductivity is None) == (self.area_resistance is None):
            raise ValueError("give either conductivity or area_resistance. Write for instance '5 ohm cm^2'")
        if self.conductivity is not None:
            positive(self.conductivity)
        if self.area_resistance is not None and self.area_resistance < 0:
            raise ValueError("area_resistance must not be negative. Write for instance '5 ohm cm^2'")
        return self

    def across_and_along(self, grain: Floats, factor: float) -> tuple[Floats, Floats]:
        """Conductivity across and along the boundary of grains of conductivity (n,), S/m; ``factor`` of temperature."""
        if self.conductivity is not None:
            own = np.full_like(grain, factor * self.conductivity)
            return own, own
        assert self.area_resistance is not None
        return 1 / (1 / grain + self.area_resistance / (factor * self.thickness)), grain


class Grains(Varied):
    """Grains of a Voronoi tessellation of random points, ``size`` the edge of a cube of their mean volume.

    ``spread`` is the standard deviation of the logarithm of their conductivities, whose median is ``value``. The
    conductivity of a cell that a grain boundary crosses is that of the laminate of the two: resistivities add up
    across the boundary, conductivities along it, in proportion to the share of its volume.
    """

    kind: Literal["grains"]
    value: Conductivity
    size: PositiveLength
    seed: Annotated[int, Field(ge=0)] = 0
    spread: Annotated[float, Field(ge=0, le=2)] = 0.0
    boundary: GrainBoundary | None = None
    centres: Annotated[tuple[tuple[Length, Length, Length], ...], Field(min_length=2)] | None = None

    @field_validator("value")
    @classmethod
    def _conducts(cls, value: float) -> float:
        return positive(value)

    @property
    def bulk(self) -> float:
        """Median conductivity inside the grains, S/m."""
        return self.value

    @property
    def resolution(self) -> tuple[float, str] | None:
        """The thickness of the boundaries, or half a grain."""
        if self.boundary is not None:
            thickness = self.boundary.thickness
            return thickness, f"grain boundaries of {thickness * 1e9:.4g} nm"
        return self.size / 2, f"grains of {self.size * 1e6:.4g} um"

    def seeds(self, block: Size) -> Floats:
        """Points of the tessellation, (n, 3) float, m, those outside the block included.

        Raises
        ------
        GeometryError
            If there are too many.
        """
        if self.centres is not None:
            return np.array(self.centres)
        room = np.array(block) + 4 * self.size  # two grains beyond each face
        count = round(float(room.prod()) / self.size**3)
        if count > MOST_GRAINS:
            raise GeometryError(
                70, "electrolyte.conductivity.size", f"makes {count:,} grains; at most {MOST_GRAINS:,} are taken",
                "take larger grains or a smaller block",
            )  # fmt: skip
        return np.random.default_rng(self.seed).random((max(count, 2), 3)) * room - 2 * self.size

    def on_cells(self, corners: Floats, size: Size) -> CellConductivity:
        """By the grain that holds the centre of a cell, and the share of boundary in it."""
        from scipy.spatial import cKDTree

        seeds = self.seeds(size)
        tree, centres = cKDTree(seeds), corners.mean(axis=1)
        nearest = np.asarray(tree.query(centres)[1])
        rng = np.random.default_rng([self.seed, 1])
        values = self.factor * self.value * np.exp(self.spread * rng.standard_normal(len(seeds)))
        names = tuple(f"grain_{number}" for number in range(1, len(seeds) + 1))
        grain = values[nearest]
        if self.boundary is None:
            return CellConductivity(names, nearest, grain[:, None, None] * np.eye(3))
        half = self.boundary.thickness / 2
        distance, normal = _to_boundary(tree, seeds, centres)
        reach = np.linalg.norm(corners - centres[:, None], axis=2).max(axis=1)
        share = (distance < half).astype(float)
        crossed = np.flatnonzero(np.abs(distance - half) < reach)
        shape = _barycentric(SAMPLES)
        for first in range(0, len(crossed), 4096):
            some = crossed[first : first + 4096]
            points = np.einsum("qv,cvd->cqd", shape, corners[some])
            share[some] = (_to_boundary(tree, seeds, points.reshape(-1, 3))[0] < half).reshape(len(some), -1).mean(1)
        across, along = self.boundary.across_and_along(grain, self.factor)
        normal_value = 1 / ((1 - share) / grain + share / across)
        along_value = (1 - share) * grain + share * along
        both = normal[:, :, None] * normal[:, None, :]
        tensors = along_value[:, None, None] * (np.eye(3) - both) + normal_value[:, None, None] * both
        return CellConductivity(names, nearest, tensors, share, normal, across, along)


def _to_boundary(tree: object, seeds: Floats, points: Floats) -> tuple[Floats, Floats]:
    """Distance (n,) of points (n, 3) from the nearest grain boundary, and the unit normal (n, 3) of that."""
    count = min(NEIGHBOURS + 1, len(seeds))
    distance, near = tree.query(points, k=count)  # type: ignore[attr-defined]
    between = seeds[near[:, 1:]] - seeds[near[:, :1]]
    apart = np.linalg.norm(between, axis=2)
    away = (distance[:, 1:] ** 2 - distance[:, :1] ** 2) / (2 * apart)
    closest = away.argmin(axis=1)
    rows = np.arange(len(points))
    return away[rows, closest], between[rows, closest] / apart[rows, closest][:, None]


@functools.cache
def _barycentric(pieces: int) -> Floats:
    """Points (q, 4) spread evenly over a tetrahedron: centres of the corner pieces of a lattice."""
    steps = [
        (i, j, k, pieces - i - j - k)
        for i in range(pieces + 1) for j in range(pieces + 1 - i) for k in range(pieces + 1 - i - j)
    ]  # fmt: skip
    return (np.array(steps) + 0.25) / (pieces + 1)


class Phase(Model):
    """One label of an image and its conductivity."""

    label: int
    conductivity: Conductivity
    name: str | None = Field(default=None, pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,39}$")

    @field_validator("conductivity")
    @classmethod
    def _conducts(cls, value: float) -> float:
        return positive(value)


class LabelImage(Varied):
    """Conductivities by the labels of an image stack; every cell takes that of the voxel at its centre.

    ``axes`` are those of the array, slowest first; ``voxel`` is along x, y, z; ``origin`` is the outer corner of the
    first voxel in the block. Labels that are not listed are refused, unless ``otherwise`` has a conductivity for them.
    The bulk is the listed phase that conducts best.
    """

    kind: Literal["label_image"]
    file: UserFile
    dataset: str | None = None
    axes: Axes = "zyx"
    voxel: tuple[PositiveLength, PositiveLength, PositiveLength] | None = None
    unit: LengthUnit | None = None
    origin: tuple[Length, Length, Length] = ("0 um", "0 um", "0 um")  # type: ignore[assignment]
    phases: Annotated[tuple[Phase, ...], Field(min_length=1)]
    otherwise: Conductivity | None = None

    @model_validator(mode="after")
    def _labels_differ(self) -> Self:
        if len({phase.label for phase in self.phases}) < len(self.phases):
            raise ValueError("a label is listed twice in phases. Give each label once")
        if self.otherwise is not None:
            positive(self.otherwise)
        return self

    @property
    def bulk(self) -> float:
        """The best of the listed conductivities, S/m."""
        return max(phase.conductivity for phase in self.phases)

    def on_cells(self, corners: Floats, size: Size) -> CellConductivity:
        """By the voxel at the centre of a cell.

        Raises
        ------
        InputFileError
            If the image cannot be read, does not cover the block, or has labels without a conductivity.
        """
        voxels, voxel = _image(self.file, self.dataset, self.axes, self.voxel, self.unit)
        where, shape = str(self.file), np.array(voxels.shape)
        origin = np.array(self.origin)
        end = origin + shape * voxel
        if (origin > NEAR * voxel).any() or (end < np.array(size) - NEAR * voxel).any():
            told = " x ".join(f"{a * 1e6:.4g} to {b * 1e6:.4g}" for a, b in zip(origin, end, strict=True))
            raise InputFileError(
                14, where, f"must cover the block; it spans {told} um", "correct voxel, axes or origin"
            )  # fmt: skip
        place = np.clip(np.floor((corners.mean(axis=1) - origin) / voxel).astype(np.int64), 0, shape - 1)
        found = voxels[tuple(place.T)]
        values = [phase.conductivity for phase in self.phases]
        names = [phase.name or f"label_{phase.label}" for phase in self.phases]
        part = np.full(len(found), -1, dtype=np.int64)
        for number, phase in enumerate(self.phases):
            part[found == phase.label] = number
        if (part < 0).any():
            if self.otherwise is None:
                lost = int(found[part < 0][0])
                raise InputFileError(
                    14, where, f"has the label {lost}, which has no conductivity",
                    f"add '{{label: {lost}, conductivity: ...}}' to phases, or 'otherwise'",
                )  # fmt: skip
            part[part < 0], names, values = len(values), [*names, "otherwise"], [*values, self.otherwise]
        return self._isotropic(tuple(names), part, np.array(values))


@functools.lru_cache(maxsize=2)
def _image(
    file: Path, dataset: str | None, axes: Axes, voxel: Size | None, unit: LengthUnit | None
) -> tuple[NDArray[np.generic], Floats]:
    """Labels with axes x, y, z and the voxel, (3,) m."""
    raw = read_stack(file, dataset, DEFAULT_LIMIT)
    order = raw.axes if raw.format == "amira" else axes
    found, _ = voxel_of(raw, order, voxel, unit, str(file))
    if raw.voxels.dtype.kind not in "iub":
        raise InputFileError(14, str(file), f"must hold whole numbers; got {raw.voxels.dtype}", "save labels as uint8")
    return np.transpose(raw.voxels, [order.index(axis) for axis in "xyz"]), found
