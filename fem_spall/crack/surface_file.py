"""A crack surface read from a mesh file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, ValidationInfo

from fem_spall.crack.base import Block, CrackSurface, TriangulatedCrack
from fem_spall.model import Model
from fem_spall.quantity import Angle, Length, PositiveLength

__all__ = ["LengthUnit", "Placement", "SurfaceFile", "UserFile"]

type LengthUnit = Literal["nm", "um", "mm", "cm", "m", "inch"]


def _beside_case(path: Path, info: ValidationInfo) -> Path:
    """A relative path is relative to the folder of the case file (validation context ``folder``)."""
    folder = (info.context or {}).get("folder")
    return Path(folder) / path if folder is not None and not path.is_absolute() else path


type UserFile = Annotated[Path, AfterValidator(_beside_case)]


class Placement(Model):
    """Where a surface goes: tilt, mirror, rotate, scale, longest, centre, applied in this order."""

    tilt: Angle | None = None  # FIB tilt: y of the image divided by sin(tilt)
    mirror: Literal["x", "y", "z"] | None = None  # about the centre of the bounding box
    rotate: tuple[Angle, Angle, Angle] | None = None  # about x, then y, then z, about the centre of the bounding box
    scale: float | None = None
    longest: PositiveLength | None = None  # longest edge of the bounding box after scaling
    centre: tuple[Length, Length, Length] | None = None  # centre of the bounding box


class SurfaceFile(TriangulatedCrack):
    """A closed surface from an STL, OBJ, PLY or OFF file."""

    kind: Literal["surface_file"]
    file: UserFile
    unit: LengthUnit
    place: Placement = Placement()

    def surface(self, block: Block) -> CrackSurface:
        """Read strictly, repair, place."""
        raise NotImplementedError
