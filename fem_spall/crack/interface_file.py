"""An open sheet that replaces the plating face."""

from __future__ import annotations

from typing import Literal

from fem_spall.crack.base import Block, CrackSurface, TriangulatedCrack
from fem_spall.crack.surface_file import LengthUnit, Placement, UserFile
from fem_spall.quantity import NonNegativeLength

__all__ = ["InterfaceFile"]


class InterfaceFile(TriangulatedCrack):
    """The whole lithium/electrolyte interface as one open sheet spanning the block.

    The lithium lies on the plating side of the sheet.  Facets nearer to the plating
    plane than ``flat_within`` count as the flat electrode (surface ``plating``), the rest as
    this crack.
    """

    kind: Literal["interface_file"]
    file: UserFile
    unit: LengthUnit
    place: Placement = Placement()
    flat_within: NonNegativeLength = "0.2 um"  # type: ignore[assignment]

    def surface(self, block: Block) -> CrackSurface:
        """Closed body between the sheet and a lid above the plating face."""
        raise NotImplementedError
