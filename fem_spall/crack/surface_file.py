"""A crack surface read from a mesh file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, ValidationInfo, model_validator

from fem_spall.crack.base import Block, CrackSurface, TriangulatedCrack
from fem_spall.crack.repair import Repairs, refuse_crossings, repair
from fem_spall.crack.transform import Transform
from fem_spall.errors import GeometryError, InputFileError
from fem_spall.model import Model
from fem_spall.quantity import Angle, Length, PositiveLength

__all__ = [
    "FileCrack",
    "LengthUnit",
    "Placement",
    "SurfaceFile",
    "UserFile",
    "fitting_units",
    "in_metres",
    "placed_file",
    "refuse_misplaced",
    "refuse_other_unit",
]

type LengthUnit = Literal["nm", "um", "mm", "cm", "m", "inch"]

DECIMALS = {"nm": (1, -9), "um": (1, -6), "mm": (1, -3), "cm": (1, -2), "m": (1, 0), "inch": (254, -4)}
"""Each unit as an integer times a power of ten of a metre."""


def _beside_case(path: Path, info: ValidationInfo) -> Path:
    """A relative path is relative to the folder of the case file (validation context ``folder``)."""
    folder = (info.context or {}).get("folder")
    return Path(folder) / path if folder is not None and not path.is_absolute() else path


type UserFile = Annotated[Path, AfterValidator(_beside_case)]


def in_metres(vertices: NDArray[np.float64], unit: LengthUnit) -> NDArray[np.float64]:
    """Return file coordinates in metres, (n, 3) float, on a decimal grid of about 1e-9 of the surface's size.

    The grid is thirty times finer than the rounding of a single-precision file.  It is
    reached through whole numbers, so that the same decimals in nm and in um give the same
    floats to the last bit.
    """
    factor, exponent = DECIMALS[unit]
    size = float(f"{np.ptp(vertices, axis=0).max() * factor:.12g}")
    if size == 0:
        return vertices * (factor * 10.0**exponent)
    grid = math.floor(math.log10(size) + exponent + 1e-12) - 9
    steps = np.rint(_times_power(vertices * factor, exponent - grid))
    return _times_power(steps, grid)


def _times_power(values: NDArray[np.float64], exponent: int) -> NDArray[np.float64]:
    """Multiply or divide by a positive power of ten: up to 1e22 that is one correctly rounded operation."""
    return values * 10.0**exponent if exponent >= 0 else values / 10.0**-exponent


class Placement(Model):
    """Where a surface goes: the keys are applied in the order in which they are listed here.

    Attributes
    ----------
    tilt
        FIB tilt: y of the image is divided by sin(tilt).
    mirror
        Mirrored about the middle of the bounding box along this axis.
    rotate
        Turned about x, then y, then z, about the middle of the bounding box.
    scale
        All coordinates are multiplied by it.
    longest
        Scaled about the middle of the bounding box, so that the longest edge of the box is this long.
    centre
        Moved so that the middle of the bounding box is here.
    shift
        Moved by this much.
    """

    tilt: Angle | None = None
    mirror: Literal["x", "y", "z"] | None = None
    rotate: tuple[Angle, Angle, Angle] | None = None
    scale: float | None = None
    longest: PositiveLength | None = None
    centre: tuple[Length, Length, Length] | None = None
    shift: tuple[Length, Length, Length] | None = None

    @model_validator(mode="after")
    def _possible(self) -> Placement:
        if self.tilt is not None and not 0 < self.tilt < math.radians(90.001):
            raise ValueError("tilt must be above 0 and at most 90 degrees. Write for instance 'tilt: 52 deg'")
        if self.scale is not None and not 0 < self.scale < math.inf:
            raise ValueError(
                "scale must be above zero; a mirrored surface is 'mirror: x'. Write for instance 'scale: 1'"
            )
        return self

    def shifted(self, x: float, y: float) -> Placement:
        """The place moved along x and y, m."""
        shift = self.shift or (0.0, 0.0, 0.0)
        return self.model_copy(update={"shift": (shift[0] + x, shift[1] + y, shift[2])})

    def apply(
        self, vertices: NDArray[np.float64], faces: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return vertices (n, 3) float, m, at their place and faces (m, 3) of unchanged sense (outwards stays so)."""
        x = np.array(vertices, dtype=float)
        if self.tilt is not None:
            x[:, 1] /= math.sin(self.tilt)
        if self.mirror is not None:
            axis = "xyz".index(self.mirror)
            x[:, axis] = 2 * _middle(x)[axis] - x[:, axis]
            faces = faces[:, ::-1]
        if self.rotate is not None:
            middle = _middle(x)
            x = _rotated(x - middle, self.rotate) + middle
        if self.scale is not None:
            x *= self.scale
        if self.longest is not None:
            middle = _middle(x)
            x = middle + (x - middle) * (self.longest / float(np.ptp(x, axis=0).max()))
        if self.centre is not None:
            x += np.array(self.centre) - _middle(x)
        if self.shift is not None:
            x += np.array(self.shift)
        return x, faces


def _middle(x: NDArray[np.float64]) -> NDArray[np.float64]:
    middle: NDArray[np.float64] = (x.min(axis=0) + x.max(axis=0)) / 2
    return middle


def _rotated(x: NDArray[np.float64], angles: tuple[float, float, float]) -> NDArray[np.float64]:
    """Rotate by the angles about x, then y, then z; a right angle is exact."""
    for axis, angle in enumerate(angles):
        c, s = (0.0 if abs(value) < 1e-15 else value for value in (math.cos(angle), math.sin(angle)))
        u, v = (axis + 1) % 3, (axis + 2) % 3
        x[:, u], x[:, v] = c * x[:, u] - s * x[:, v], s * x[:, u] + c * x[:, v]
    return x


def placed_file(
    file: Path, unit: LengthUnit, place: Placement, material: str | None = None
) -> tuple[NDArray[np.float64], NDArray[np.int64], dict[str, Any]]:
    """Return vertices (n, 3) float, m, and faces (m, 3) of a file at their place, and where they come from.

    Raises
    ------
    InputFileError
        If the file cannot be read, or states another unit itself.
    """
    from fem_spall.crack.mesh_readers import read_mesh

    raw = read_mesh(file, material)
    refuse_other_unit(file, raw.unit, unit)
    source = {
        "file": file.name,
        "sha256": raw.sha256,
        "format": raw.format,
        "unit": unit,
        "triangles": len(raw.faces),
        "notes": list(raw.notes),
    } | ({} if material is None else {"material": material})
    vertices, faces = place.apply(in_metres(raw.vertices, unit), raw.faces)
    return vertices, faces, source


def refuse_other_unit(file: Path, stated: str | None, unit: LengthUnit) -> None:
    """Raise if a file states itself that its coordinates are in another unit; most formats state none.

    Raises
    ------
    InputFileError
        See above.
    """
    if stated is not None and stated != unit:
        reason = f"states itself that its coordinates are in {stated}; got unit: {unit}"
        cure = f"write unit: {stated}; if the file is wrong, save it again, or correct it by place: {{scale: …}}"
        raise InputFileError(12, str(file), reason, cure)


def fitting_units(longest: float, unit: LengthUnit, low: float, high: float) -> list[tuple[str, float]]:
    """Return the units, and lengths in m, with which a length read in another unit lies between two lengths, m."""
    metre = DECIMALS[unit][0] * 10.0 ** DECIMALS[unit][1]
    lengths = {u: longest / metre * f * 10.0**e for u, (f, e) in DECIMALS.items() if u != unit}
    return [(u, x) for u, x in lengths.items() if low < x < high]


def refuse_misplaced(name: str, vertices: NDArray[np.float64], block: Block, unit: LengthUnit) -> None:
    """Raise if a surface is far too large or small for the block, or beside it, and say which unit would fit.

    Raises
    ------
    GeometryError
        See above.
    """
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    longest, height = float((high - low).max()), max(block.size)
    ratio = longest / height
    if ratio > 100 or ratio < 0.01:
        better = fitting_units(longest, unit, 0.03 * height, 3 * height)
        fitting = [f"with unit {u} it would be {x * 1e6:.3g} um" for u, x in better]
        guess = f"is unit: {unit} wrong? {'; '.join(fitting)}" if fitting else "check unit, scale and longest"
        word = f"{ratio:.3g} times as long as" if ratio > 1 else f"{1 / ratio:.3g} times smaller than"
        reason = (
            f"must be between a hundredth and a hundred times the block; it is {longest * 1e6:.4g} um long, {word} it"
        )
        raise GeometryError(20, name, reason, guess)
    if (high < 0).any() or (low > np.array(block.size)).any():
        box = " to ".join("({:.4g}, {:.4g}, {:.4g})".format(*(corner * 1e6)) for corner in (low, high))
        edge = "({:.4g}, {:.4g}, {:.4g})".format(*(length * 1e6 for length in block.size))
        reason = f"must touch the block (0, 0, 0) to {edge} um; it lies beside it, {box} um"
        raise GeometryError(21, name, reason, "set place: {centre: …} or {shift: …}, or check the unit")


class FileCrack(TriangulatedCrack):
    """A crack from a file of triangles, its unit and its place in the block."""

    file: UserFile
    unit: LengthUnit
    place: Placement = Placement()

    @property
    def where(self) -> str:
        """Name of the crack and its file, for messages."""
        return f"crack {self.name} ({self.file.name})"

    def moved(self, name: str, x: float, y: float) -> Self:
        """The surface shifted."""
        return self.model_copy(update={"name": name, "place": self.place.shifted(x, y)})

    def read(
        self, block: Block, material: str | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.int64], dict[str, Any]]:
        """Return vertices (n, 3) float, m, and faces (m, 3) in the block, and where they come from.

        Raises
        ------
        InputFileError
            If the file cannot be read completely.
        GeometryError
            If it is far too large or small for the block, or beside it.
        """
        vertices, faces, source = placed_file(self.file, self.unit, self.place, material)
        refuse_misplaced(self.where, vertices, block, self.unit)
        return vertices, faces, source


class SurfaceFile(FileCrack):
    """A closed surface from an STL, OBJ, PLY, OFF or HyperSurface (.surf) file.

    Attributes
    ----------
    material
        Which material of a HyperSurface, needed if it has more than one.
    """

    kind: Literal["surface_file"]
    material: str | None = None
    repair: Repairs = Repairs()
    transform: Transform = Transform()

    def surface(self, block: Block) -> CrackSurface:
        """Closed surface, in block coordinates, m: read strictly, placed, repaired.

        Raises
        ------
        InputFileError
            If the file cannot be read completely.
        GeometryError
            If the surface is misplaced, or open, non-manifold or crossing after repair, or repair changes too much.
        """
        vertices, faces, source = self.read(block, self.material)
        planes = tuple((axis, side * block.size[axis]) for axis in range(3) for side in (0, 1))
        good = repair(vertices, faces, self.where, self.repair, planes=planes)
        if self.transform.changes:
            good.vertices = self.transform.apply(good.vertices, good.faces, block)
            refuse_crossings(good, "transform less: opening, smooth and depth change the shape")
            source["transform"] = self.transform.model_dump(mode="json", exclude_none=True)
        return CrackSurface.canonical(good.vertices, good.faces, repairs=tuple(good.repairs), provenance=source)
