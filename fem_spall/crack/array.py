"""Rows and grids of equal cracks, for questions of shielding."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from fem_spall.model import Model
from fem_spall.quantity import PositiveLength

__all__ = ["Array"]


class Array(Model):
    """Copies of a crack in rows along x and y, their middle where the crack is.

    Attributes
    ----------
    count
        Cracks along x and along y.
    spacing
        From crack to crack.
    spacing_y
        From crack to crack along y, where it differs.
    """

    count: tuple[Annotated[int, Field(ge=1, le=30)], Annotated[int, Field(ge=1, le=30)]]
    spacing: PositiveLength
    spacing_y: PositiveLength | None = None

    def places(self) -> Iterator[tuple[str, float, float]]:
        """Suffix of the name and shift along x and y, m, of each copy."""
        columns, rows = self.count
        for i in range(columns):
            for j in range(rows):
                x = (i - (columns - 1) / 2) * self.spacing
                y = (j - (rows - 1) / 2) * (self.spacing_y or self.spacing)
                yield f"_{i + 1}_{j + 1}" if min(self.count) > 1 else f"_{i + j + 1}", x, y
