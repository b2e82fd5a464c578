"""Many pores at random: one entry of a case, as many bodies as asked for."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from fem_spall.crack.base import Block, CrackSurface, TriangulatedCrack
from fem_spall.errors import GeometryError
from fem_spall.quantity import NonNegativeLength, PositiveLength

__all__ = ["Pores"]

#: Random places tried for one pore before the block is said to be full, so many at a time.
TRIES, BATCH = 5000, 10
#: Largest porosity of random pores that do not overlap; beyond about 0.3 chance finds no place.
FULL = 0.3
#: Corners of a faceted pore.
CORNERS = 14


class Pores(TriangulatedCrack):
    """Pores that neither overlap nor touch a face of the block, placed at random by a seed.

    Radii are lognormal about ``radius`` with the standard deviation ``spread`` of their logarithm.  With ``decay`` the
    number of pores per volume falls as exp(−depth/decay).  Isolated lithium takes one potential for each pore.
    """

    kind: Literal["pores"]
    count: Annotated[int, Field(ge=1, le=20000)] | None = None
    porosity: Annotated[float, Field(gt=0, le=FULL)] | None = None
    radius: PositiveLength
    spread: Annotated[float, Field(ge=0, le=1)] = 0.0
    shape: Literal["spherical", "faceted"] = "spherical"
    depth: tuple[NonNegativeLength, PositiveLength] | None = None  # default: the whole block
    decay: PositiveLength | None = None
    gap: PositiveLength | None = None  # default: a fifth of radius
    resolution: PositiveLength | None = None  # default: a third of radius
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _one_number(self) -> Self:
        if (self.count is None) == (self.porosity is None):
            raise ValueError("give either count or porosity. Write for instance 'count: 200'")
        if self.depth is not None and self.depth[0] >= self.depth[1]:
            raise ValueError("depth must be two growing lengths. Write for instance 'depth: [2 um, 20 um]'")
        if self.contact == "plating" and self.contents == "lithium":
            raise ValueError("pores touch no electrode. Set contact to isolated or leaking, or contents to void")
        return self

    def surface(self, block: Block) -> CrackSurface:
        """Closed surface of all pores together, m."""
        centres, radii = self.placed(block)
        rng = np.random.default_rng([self.seed, 1])
        vertices, faces, start = [], [], 0
        for centre, radius in zip(centres, radii, strict=True):
            points, triangles = self._body(radius, rng)
            vertices.append(centre + points)
            faces.append(triangles + start)
            start += len(points)
        return CrackSurface.canonical(
            np.concatenate(vertices), np.concatenate(faces),
            provenance={"kind": "pores", "count": len(radii), "seed": self.seed},
        )  # fmt: skip

    def placed(self, block: Block) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Centres (n, 3) and radii (n,) of the pores, m, the largest first.

        Raises
        ------
        GeometryError
            If chance finds no place for one of them.
        """
        rng = np.random.default_rng([self.seed, 0])
        top, bottom = self.depth or (0.0, block.height)
        bottom = min(bottom, block.height)
        radii = np.sort(self._radii(rng, block, max(bottom - top, 0.0)))[::-1]
        gap = self.gap if self.gap is not None else 0.2 * self.radius
        centres = np.empty((len(radii), 3))
        for index, radius in enumerate(radii):
            room = radius + gap
            low = np.array([room, room, max(top, 0.0) + room])
            high = np.array([block.size[0] - room, block.size[1] - room, bottom - room])
            if (low > high).any():
                raise GeometryError(
                    19, f"crack {self.name}", f"a pore of radius {radius * 1e6:.3g} um and a gap of {gap * 1e6:.3g} um "
                    "must fit between the faces", "lower radius or gap, or widen depth",
                )  # fmt: skip
            span = (high[2] - low[2]) / self.decay if self.decay is not None else 0.0
            for _ in range(TRIES // BATCH):
                tries = rng.random((BATCH, 3))
                if self.decay is not None:
                    tries[:, 2] = -np.log1p(tries[:, 2] * np.expm1(-span)) / span
                places = low + tries * (high - low)
                squared = ((places[:, None] - centres[None, :index]) ** 2).sum(axis=2)
                apart = (squared > (radius + radii[:index] + gap) ** 2).all(axis=1)
                if apart.any():
                    break
            else:
                raise GeometryError(
                    19, f"crack {self.name}", f"must find places for {len(radii)} pores that do not overlap; found "
                    f"{index}", "lower count, porosity or gap, or widen depth",
                )  # fmt: skip
            centres[index] = places[apart.argmax()]
        return block.from_depth(centres), radii

    def _radii(self, rng: np.random.Generator, block: Block, span: float) -> NDArray[np.float64]:
        if self.count is not None:
            return self.radius * np.exp(self.spread * rng.standard_normal(self.count))
        assert self.porosity is not None
        wanted = self.porosity * block.size[0] * block.size[1] * span
        mean = 4 / 3 * math.pi * self.radius**3 * math.exp(4.5 * self.spread**2)
        if not 1 <= wanted / mean <= 20000:
            raise GeometryError(
                19, f"crack {self.name}", f"porosity and radius must make 1 to 20000 pores; they make "
                f"{wanted / mean:.3g}", "change radius or porosity",
            )  # fmt: skip
        radii = self.radius * np.exp(self.spread * rng.standard_normal(round(wanted / mean)))
        return np.asarray(radii * (wanted / (4 / 3 * math.pi * radii**3).sum()) ** (1 / 3))

    def _body(self, radius: float, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Vertices about the centre and outward triangles of one pore, its volume that of the ball of its radius."""
        if self.shape == "spherical":
            edge = self.resolution if self.resolution is not None else radius / 3
            points, faces = _ball(int(np.clip(round(math.log2(1.5 * radius / edge)), 1, 5)))
        else:
            points = _spread_out(rng)
            from scipy.spatial import ConvexHull

            faces = ConvexHull(points).simplices.astype(np.int64)
            a, b, c = np.moveaxis(points[faces], 1, 0)
            inward = np.einsum("ij,ij->i", a, np.cross(b - a, c - a)) < 0
            faces[inward] = faces[inward][:, ::-1]
        a, b, c = np.moveaxis(points[faces], 1, 0)
        volume = float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)
        if self.shape == "faceted":
            return radius * points, faces  # within its ball, so that no two overlap
        return radius * points * min((4 / 3 * math.pi / volume) ** (1 / 3), 1.05), faces


def _ball(times: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Vertices on the unit sphere and outward triangles: an octahedron divided so many times."""
    points = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], dtype=float)
    faces = np.array([[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]])
    for _ in range(times):
        sides = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
        edges, index = np.unique(sides, axis=0, return_inverse=True)
        (a, b, c), (ab, bc, ca) = faces.T, index.reshape(-1, 3).T + len(points)
        points = np.concatenate([points, points[edges].sum(axis=1)])
        points /= np.linalg.norm(points, axis=1, keepdims=True)
        faces = np.concatenate([np.stack(t, axis=1) for t in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))])
    return points, faces


def _spread_out(rng: np.random.Generator) -> NDArray[np.float64]:
    """Corners on the unit sphere, (n, 3) float, pushed apart a little so that no facet is a sliver."""
    points = rng.standard_normal((CORNERS, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    for _ in range(10):
        apart = points[:, None] - points[None]
        squared = (apart**2).sum(axis=2) + np.eye(CORNERS)
        points = points + 0.03 * (apart / squared[:, :, None] ** 1.5).sum(axis=1)
        points /= np.linalg.norm(points, axis=1, keepdims=True)
    return points
