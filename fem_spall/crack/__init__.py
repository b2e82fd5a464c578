"""Crack sources, one file each.  To add one: write its file and name it in :data:`CrackKind`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fem_spall.crack.base import AnalyticCrack, Block, Crack, CrackSurface, Repair, TriangulatedCrack
from fem_spall.crack.blade import Blade
from fem_spall.crack.interface_file import InterfaceFile
from fem_spall.crack.patch import Patch
from fem_spall.crack.penny import Penny
from fem_spall.crack.pore import Pore
from fem_spall.crack.pores import Pores
from fem_spall.crack.round_wall import RoundWall, cross_section
from fem_spall.crack.spall import Spall
from fem_spall.crack.spheroid import Spheroid
from fem_spall.crack.surface_file import SurfaceFile

__all__ = [
    "AnalyticCrack",
    "Block",
    "Crack",
    "CrackKind",
    "CrackSurface",
    "Repair",
    "TriangulatedCrack",
    "cross_section",
]

CrackKind = Annotated[
    SurfaceFile | InterfaceFile | Spall | Penny | Spheroid | Blade | Pore | Pores | Patch | RoundWall,
    Field(discriminator="kind"),
]
