"""Patches: pieces of the plating face with a law of their own, one by one or many at random."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from fem_spall.crack.base import AnalyticCrack, Block
from fem_spall.errors import GeometryError
from fem_spall.model import Model
from fem_spall.quantity import Length, PositiveLength

__all__ = ["Patch", "Patches", "RandomDiscs", "crosses"]

#: Random places tried for one patch before the face is said to be full, so many at a time.
TRIES, BATCH = 5000, 10
#: Largest share of the face that random discs without overlap cover; chance finds no place beyond about 0.5.
FULL = 0.4


class Patch(AnalyticCrack):
    """A disc or a polygon of the plating face: lithium with its own interface, or insulating dirt (void).

    Where the plating electrode itself has ``interface: {kind: no_flux}``, the patch is the only contact.
    """

    kind: Literal["patch"]
    centre: tuple[Length, Length] | None = None
    radius: PositiveLength | None = None
    polygon: Annotated[tuple[tuple[Length, Length], ...], Field(min_length=3)] | None = None

    @model_validator(mode="after")
    def _one_shape(self) -> Self:
        disc = (self.centre is not None, self.radius is not None)
        if disc not in ((True, True), (False, False)) or (self.polygon is None) != all(disc):
            raise ValueError("give either centre and radius, or polygon. Write for instance 'radius: 2 um'")
        if self.polygon is not None and crosses(np.array(self.polygon)):
            raise ValueError("polygon must not cross or touch itself. Give its corners in their order round it")
        return self

    def add_shape(self, occ: Any, block: Block, unit: float) -> list[tuple[int, int]]:
        """A plane shape in the plating face."""
        z = float(block.from_depth(np.zeros((1, 3)))[0, 2]) / unit
        if self.polygon is not None:
            points = [occ.addPoint(x / unit, y / unit, z) for x, y in self.polygon]
            lines = [occ.addLine(a, b) for a, b in zip(points, [*points[1:], points[0]], strict=True)]
            return [(2, occ.addPlaneSurface([occ.addCurveLoop(lines)]))]
        assert self.centre is not None
        assert self.radius is not None
        x, y, a = (value / unit for value in (*self.centre, self.radius))
        return [(2, occ.addDisk(x, y, z, a, a))]

    def extent(self, block: Block) -> NDArray[np.float64]:
        """Flat box of the whole patch, what is outside the block included."""
        if self.polygon is not None:
            corners = np.array(self.polygon)
        else:
            assert self.centre is not None
            assert self.radius is not None
            corners = np.array(self.centre) + self.radius * np.array([[-1, -1], [1, 1]])
        box = np.zeros((2, 3))
        box[:, :2] = corners.min(axis=0), corners.max(axis=0)
        return block.from_depth(box)


class RandomDiscs(Model):
    """Keys of discs at random on a face of the block, which neither overlap nor touch its rim.

    Radii are lognormal about ``radius`` with the standard deviation ``spread`` of their logarithm; ``coverage`` is
    their share of the face.
    """

    count: Annotated[int, Field(ge=1, le=1000)] | None = None
    coverage: Annotated[float, Field(gt=0, le=FULL)] | None = None
    radius: PositiveLength
    spread: Annotated[float, Field(ge=0, le=1)] = 0.0
    gap: PositiveLength | None = None  # default: a fifth of radius
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _one_number(self) -> Self:
        if (self.count is None) == (self.coverage is None):
            raise ValueError("give either count or coverage. Write for instance 'coverage: 0.05'")
        return self

    def placed(self, block: Block) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Centres (n, 2) and radii (n,) of the discs, m, the largest first.

        Raises
        ------
        GeometryError
            If chance finds no place for one of them.
        """
        rng = np.random.default_rng(self.seed)
        face = np.array(block.size[:2])
        count = self.count
        if self.coverage is not None:
            mean = math.pi * self.radius**2 * math.exp(2 * self.spread**2)
            count = max(round(self.coverage * face.prod() / mean), 1)
        radii = np.sort(self.radius * np.exp(self.spread * rng.standard_normal(count)))[::-1]
        if self.coverage is not None:
            radii *= math.sqrt(self.coverage * face.prod() / (math.pi * (radii**2).sum()))
        gap = self.gap if self.gap is not None else 0.2 * self.radius
        centres = np.empty((len(radii), 2))
        for index, radius in enumerate(radii):
            room = radius + gap
            for _ in range(TRIES // BATCH if (2 * room < face).all() else 0):
                places = room + rng.random((BATCH, 2)) * (face - 2 * room)
                squared = ((places[:, None] - centres[None, :index]) ** 2).sum(axis=2)
                apart = (squared > (radius + radii[:index] + gap) ** 2).all(axis=1)
                if apart.any():
                    centres[index] = places[apart.argmax()]
                    break
            else:
                raise GeometryError(
                    20, f"{getattr(self, 'name', 'discs')}", f"must find places for {len(radii)} discs that do not "
                    f"overlap; found {index}", "lower count, coverage, radius or gap",
                )  # fmt: skip
        return centres, radii


class Patches(RandomDiscs, AnalyticCrack):
    """Discs of the plating face at random, which neither overlap nor touch the rim of the face.

    Radii are lognormal about ``radius`` with the standard deviation ``spread`` of their logarithm; ``coverage`` is
    their share of the face.
    """

    kind: Literal["patches"]

    def add_shape(self, occ: Any, block: Block, unit: float) -> list[tuple[int, int]]:
        """Discs in the plane of the plating face."""
        z = float(block.from_depth(np.zeros((1, 3)))[0, 2]) / unit
        centres, radii = self.placed(block)
        return [
            (2, occ.addDisk(*(centre / unit), z, radius / unit, radius / unit))
            for centre, radius in zip(centres, radii, strict=True)
        ]

    def extent(self, block: Block) -> NDArray[np.float64]:
        """The plating face."""
        return block.from_depth(np.array([[0.0, 0.0, 0.0], [*block.size[:2], 0.0]]))


def crosses(corners: NDArray[np.float64]) -> bool:
    """Whether two sides of a polygon (n, 2) that are no neighbours meet, or a side has no length."""
    start, end = corners, np.roll(corners, -1, axis=0)
    if (np.linalg.norm(end - start, axis=1) == 0).any():
        return True

    def side(p: NDArray[np.float64], q: NDArray[np.float64], r: NDArray[np.float64]) -> float:
        return float((q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0]))

    count = len(corners)
    for i in range(count):
        for j in range(i + 2, count - (i == 0)):
            a, b, c, d = start[i], end[i], start[j], end[j]
            if side(a, b, c) * side(a, b, d) <= 0 and side(c, d, a) * side(c, d, b) <= 0:
                return True
    return False
