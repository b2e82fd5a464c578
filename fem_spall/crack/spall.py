"""A spallation pothole grown on Voronoi grains."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from fem_spall.crack.base import Block, CrackSurface, TriangulatedCrack
from fem_spall.errors import GeometryError
from fem_spall.quantity import Angle, Length, PositiveLength

__all__ = ["Spall"]

type Floats = NDArray[np.float64]
type Ints = NDArray[np.int64]

ABOVE = 0.5e-6  # m; the crack runs on above the plating plane, so that the boolean cuts it cleanly
CORE = 1.0  # grain sizes; so wide a neck at least joins the chip of electrolyte to the bulk
MOST_NODES = 1.2e8  # about 1 GB
SNAP = 0.05  # level values nearer to zero than this part of the spacing would make needles of triangles


class Spall(TriangulatedCrack):
    """An intergranular, bowl-shaped crack sheet under a ring at the surface, running through faceted pores.

    The sheet follows the faces between grains inside and outside a bowl: a ring of
    ``diameter`` at the surface, its wall inclined by ``lip_angle`` to the surface there and
    curving to a neck at ``depth``.  Its tip is a free, ragged rim between 60 and 100 % of
    ``depth``, so that the chip of electrolyte in the bowl stays joined to the rest.  It is
    ``opening[0]`` wide at the mouth and ``opening[1]`` at the tip.  Up to ``pores`` faceted pores
    sit where grain edges meet on the sheet.  ``roughness`` is the share of the sheet's distance
    from the smooth bowl that is kept: 1 follows the grain faces, 0 is the bowl itself.
    ``resolution`` is the spacing of the grid the shape is contoured on.
    """

    kind: Literal["spall"]
    centre: tuple[Length, Length]
    diameter: PositiveLength = "12 um"  # type: ignore[assignment]
    depth: PositiveLength = "8 um"  # type: ignore[assignment]
    opening: tuple[PositiveLength, PositiveLength] = ("0.5 um", "0.25 um")  # type: ignore[assignment]
    lip_angle: Angle = "60 deg"  # type: ignore[assignment]
    grain_size: PositiveLength = "2.2 um"  # type: ignore[assignment]
    roughness: float = Field(default=1.0, ge=0, le=1)
    pores: int = Field(default=5, ge=0, le=200)
    pore_size: PositiveLength = "1.8 um"  # type: ignore[assignment]
    resolution: PositiveLength = "0.1 um"  # type: ignore[assignment]
    seed: int = Field(default=1, ge=0)

    @model_validator(mode="after")
    def _possible(self) -> Spall:
        if self.diameter < 3 * self.grain_size:
            raise ValueError("diameter must be at least three grain sizes. Make grain_size smaller")
        if max(self.opening) > 0.4 * self.grain_size:
            raise ValueError("opening must be at most 0.4 grain sizes. Make opening smaller or grain_size larger")
        if self.resolution > 0.4 * min(self.opening):
            raise ValueError("resolution must be at most 0.4 of the smaller opening. Make resolution smaller")
        if self.pore_size > self.grain_size:
            raise ValueError("pore_size must not exceed grain_size. Make pore_size smaller")
        if not math.radians(20) <= self.lip_angle < math.radians(90.001):
            raise ValueError("lip_angle must be between 20 and 90 degrees. Write for instance '60 deg'")
        if self.diameter**2 * (self.depth + 2 * ABOVE) > MOST_NODES * self.resolution**3:
            raise ValueError("resolution is too fine for this diameter and depth. Make resolution larger")
        return self

    def surface(self, block: Block) -> CrackSurface:
        """Closed surface of the crack, in block coordinates, m: a level set of grain faces and pores, contoured.

        Raises
        ------
        GeometryError
            If the crack does not fit the block, or its chip is cut off.
        """
        from fem_spall.crack.repair import repair

        where = f"crack {self.name}"
        if self.depth >= block.height:
            reason = (
                f"depth must be below the block's height, {block.height * 1e6:.4g} um; got {self.depth * 1e6:.4g} um"
            )
            raise GeometryError(25, where, reason, "make depth smaller")
        rng = np.random.default_rng(self.seed)
        sheet = _grow(self, rng)
        level = _Level.around(sheet, self)
        level.add_sheet(sheet)
        for centre in _pore_centres(self, sheet, rng):
            level.add_pore(centre, self.pore_size, rng)
        level.fill_pockets(where)
        points, faces = level.contour()
        points[:, :2] += self.centre
        if block.plating_face == "+z":
            faces = faces[:, ::-1]  # depth runs against z
        good = repair(block.from_depth(points), faces, where)
        source = {"generator": "spall", **self.model_dump(mode="json", exclude={"name", "kind", "interface"})}
        return CrackSurface.canonical(good.vertices, good.faces, repairs=tuple(good.repairs), provenance=source)

    def radius(self, depth: Floats) -> Floats:
        """Radius of the bowl, m, falling from the ring to a neck; straight above the ring and below the neck."""
        ring, slope = self.diameter / 2, 1 / math.tan(self.lip_angle)
        neck = max(CORE * self.grain_size, 0.3 * ring)
        straight = ring - slope * self.depth
        end = max(min(straight, ring / 2), neck)
        share = np.clip(depth / self.depth, 0, 1)
        if straight >= end:  # the wall bends inwards with depth
            return ring - (ring - straight) * share - (straight - end) * share**2
        # A straight wall would close the bowl: it steepens towards the neck instead.
        return end + (ring - end) * (1 - share) ** ((ring - straight) / (ring - end))


@dataclass(frozen=True)
class _Sheet:
    """The zero-thickness crack: samples of the faces between grains, x and y from the centre, then depth."""

    points: Floats  # (n, 3), m
    normals: Floats  # (n, 3), of the face a sample lies on
    half_width: Floats  # (n,), m
    corners: Floats  # (k, 3), grain corners on the sheet, m
    spacing: float  # of the samples, m


def _grow(crack: Spall, rng: np.random.Generator) -> _Sheet:
    """Grains, those with their seed in the bowl, and the faces between these and the others."""
    from scipy.spatial import Voronoi

    g = crack.grain_size
    reach = crack.diameter / 2 + 3 * g
    rows = np.arange(-math.ceil(reach / g), math.ceil(reach / g) + 1)
    layers = np.arange(-3, math.ceil(crack.depth / g) + 4)
    seeds = np.stack(np.meshgrid(rows, rows, layers, indexing="ij"), axis=-1).reshape(-1, 3).astype(float)
    axis = (seeds[:, :2] == 0).all(axis=1)
    jitter = rng.random(seeds.shape) - 0.5
    seeds = g * (seeds + jitter * np.where(axis, 0.2, 0.9)[:, None])  # the grains of the core stay in line
    inside = axis | (np.hypot(seeds[:, 0], seeds[:, 1]) < crack.radius(seeds[:, 2]))
    cells = Voronoi(seeds)
    tip = _ragged_tip(crack, rng)
    spacing = crack.resolution / 2
    # Drawn to the bowl, samples move apart: along its slope, and round it where they lay inside.
    fine = spacing if crack.roughness == 1 else spacing * math.sin(crack.lip_angle) / 2
    points, normals, corners = [], [], []
    for (p, q), ring in zip(cells.ridge_points, cells.ridge_vertices, strict=True):
        if inside[p] == inside[q] or min(ring) < 0:
            continue
        polygon = cells.vertices[ring]
        if polygon[:, 2].max() < -ABOVE or polygon[:, 2].min() > crack.depth:
            continue
        normal = (seeds[q] - seeds[p]) / np.linalg.norm(seeds[q] - seeds[p])
        on_face = _samples(polygon, normal, fine)
        drawn, across = _drawn_to_bowl(crack, on_face, np.broadcast_to(normal, on_face.shape))
        points.append(drawn)
        normals.append(across)
        corners.append(_drawn_to_bowl(crack, polygon, polygon)[0])
    x, across, corner = np.concatenate(points), np.concatenate(normals), np.concatenate(corners)
    keep = (x[:, 2] > -ABOVE) & (x[:, 2] < tip(x))
    x, across = x[keep], across[keep]
    share = np.clip(x[:, 2] / crack.depth, 0, 1)
    half_width = (crack.opening[0] * (1 - share) + crack.opening[1] * share) / 2
    corner = corner[(corner[:, 2] > crack.pore_size) & (corner[:, 2] < 0.9 * tip(corner))]
    return _Sheet(x, across, half_width, corner, spacing)


def _drawn_to_bowl(crack: Spall, x: Floats, normals: Floats) -> tuple[Floats, Floats]:
    """Points moved along the radius to ``roughness`` times their distance from the bowl, and their normals, (n, 3)."""
    kept = crack.roughness
    if kept == 1:
        return x, normals
    r = np.hypot(x[:, 0], x[:, 1])
    radial = np.column_stack([x[:, :2] / r[:, None], np.zeros(len(x))])
    bowl, step = crack.radius(x[:, 2]), 1e-4 * crack.depth
    slope = (crack.radius(x[:, 2] + step) - crack.radius(x[:, 2] - step)) / (2 * step)
    new = bowl + kept * (r - bowl)
    moved = x + (new - r)[:, None] * radial
    # Normals go with the transposed inverse of the derivative of this map; one along the bowl gets the bowl's own.
    out = np.einsum("ij,ij->i", normals, radial)
    out = np.where(np.abs(out) < 1e-6, 1e-6, out)
    round_axis = normals - out[:, None] * radial
    turned = out[:, None] * radial + kept * (r / new)[:, None] * round_axis * [1, 1, 0]
    turned[:, 2] = kept * normals[:, 2] - (1 - kept) * slope * out
    return moved, turned / np.linalg.norm(turned, axis=1)[:, None]


def _ragged_tip(crack: Spall, rng: np.random.Generator):  # type: ignore[no-untyped-def]
    """Depth of the tip as a function of the place: three waves round the axis, 60 to 100 % of the depth."""
    order = np.arange(1, 4)
    phase, weight = 2 * np.pi * rng.random(3), (0.5 + rng.random(3)) / order

    def wave(angle: Floats) -> Floats:
        result: Floats = sum(w * np.cos(k * angle + p) for k, w, p in zip(order, weight, phase, strict=True))
        return result

    around = wave(np.linspace(0, 2 * np.pi, 721))
    low, high = around.min(), around.max()
    return lambda x: crack.depth * (0.6 + 0.4 * (wave(np.arctan2(x[:, 1], x[:, 0])) - low) / (high - low))


def _samples(polygon: Floats, normal: Floats, spacing: float) -> Floats:
    """Points of a convex polygon, a lattice and its sides, (n, 3), within 0.71 ``spacing`` of any point of it."""
    following = np.roll(polygon, -1, axis=0)
    length = np.linalg.norm(following - polygon, axis=1)
    sides = [
        start + np.linspace(0, 1, max(1, math.ceil(size / spacing)), endpoint=False)[:, None] * (end - start)
        for start, end, size in zip(polygon, following, length, strict=True)
    ]
    u = np.cross(normal, np.eye(3)[np.abs(normal).argmin()])
    u /= np.linalg.norm(u)
    plane = np.column_stack([u, np.cross(normal, u)])
    flat = (polygon - polygon[0]) @ plane
    low, high = np.floor(flat.min(axis=0) / spacing), np.ceil(flat.max(axis=0) / spacing)
    lattice = spacing * np.stack(np.meshgrid(*map(np.arange, low, high + 1)), axis=-1).reshape(-1, 2)
    along, from_corner = np.roll(flat, -1, axis=0) - flat, lattice[:, None] - flat
    turn = along[:, 0] * from_corner[..., 1] - along[:, 1] * from_corner[..., 0]
    inner = lattice[(turn > 0).all(axis=1) | (turn < 0).all(axis=1)]
    return np.concatenate([*sides, polygon[0] + inner @ plane.T])


def _pore_centres(crack: Spall, sheet: _Sheet, rng: np.random.Generator) -> list[Floats]:
    """Grain corners on the sheet in random order, not near the core and not near each other."""
    corners = np.unique(sheet.corners.round(12), axis=0)
    corners = corners[np.hypot(corners[:, 0], corners[:, 1]) > 0.6 * CORE * crack.grain_size + crack.pore_size]
    chosen: list[Floats] = []
    for corner in corners[np.argsort(rng.random(len(corners)))]:
        if len(chosen) == crack.pores:
            break
        if all(np.linalg.norm(corner - other) > 1.5 * crack.pore_size for other in chosen):
            chosen.append(corner)
    return chosen


@dataclass(frozen=True)
class _Level:
    """Distance to the surface of the crack on a grid, negative in the crack, cut off at three spacings."""

    origin: Floats  # (3,), m
    spacing: float  # m
    values: NDArray[np.float32]  # (nx, ny, nz), in spacings

    @classmethod
    def around(cls, sheet: _Sheet, crack: Spall) -> _Level:
        """Nothing but electrolyte, in a box around the sheet and its pores."""
        h = crack.resolution
        margin = max(float(sheet.half_width.max()), crack.pore_size) + 4 * h
        low, high = sheet.points.min(axis=0) - margin, sheet.points.max(axis=0) + margin
        low = np.floor(low / h) * h
        shape = np.ceil((high - low) / h).astype(int) + 1
        return cls(low, h, np.full(shape, 3, dtype=np.float32))

    def add_sheet(self, sheet: _Sheet) -> None:
        """Unite with all that is nearer to the sheet than its half width."""
        from scipy.ndimage import binary_dilation
        from scipy.spatial import cKDTree

        # Only nodes in blocks that a sample is in, or their neighbours, can be near the sheet.
        reach = math.ceil(float(sheet.half_width.max()) / self.spacing) + 3
        side = 3
        blocks = np.zeros(np.array(self.values.shape) // side + 1, dtype=bool)
        blocks[tuple(((sheet.points - self.origin) / self.spacing / side).astype(int).T)] = True
        blocks = binary_dilation(blocks, np.ones((3, 3, 3), dtype=bool), iterations=math.ceil(reach / side))
        first = np.argwhere(blocks) * side
        offsets = np.stack(np.meshgrid(*3 * [np.arange(side)], indexing="ij"), axis=-1).reshape(-1, 3)
        tree = cKDTree(sheet.points)
        for some in np.array_split(first, len(first) * len(offsets) // 2_000_000 + 1):
            nodes = (some[:, None] + offsets).reshape(-1, 3)
            nodes = nodes[(nodes < self.values.shape).all(axis=1)]
            x = self.origin + self.spacing * nodes
            found = tree.query(x, distance_upper_bound=reach * self.spacing)
            distance, nearest = np.asarray(found[0]), np.asarray(found[1])
            hit = np.isfinite(distance)
            nodes, x, distance, nearest = nodes[hit], x[hit], distance[hit], nearest[hit]
            # Beside the inside of a face its plane is exact, where the samples would show as ripples.
            height = np.abs(np.einsum("ij,ij->i", x - sheet.points[nearest], sheet.normals[nearest]))
            beside = distance**2 - height**2 < (0.75 * sheet.spacing) ** 2
            distance = np.where(beside, height, distance)
            self._unite(tuple(nodes.T), (distance - sheet.half_width[nearest]) / self.spacing)

    def add_pore(self, centre: Floats, size: float, rng: np.random.Generator) -> None:
        """Unite with a random polyhedron: a turned cube with six more planes across its corners and edges."""
        normal = np.linalg.qr(rng.random((3, 3)) - 0.5)[0]
        more = rng.random((6, 3)) - 0.5
        normal = np.concatenate([normal, -normal, more / np.linalg.norm(more, axis=1)[:, None]])
        offset = size / 2 * (0.75 + 0.35 * rng.random(len(normal)))
        low = np.maximum(((centre - size - self.origin) / self.spacing).astype(int), 0)
        high = np.minimum(((centre + size - self.origin) / self.spacing).astype(int) + 2, self.values.shape)
        nodes = np.stack(np.meshgrid(*map(np.arange, low, high), indexing="ij"), axis=-1).reshape(-1, 3)
        x = self.origin + self.spacing * nodes - centre
        self._unite(tuple(nodes.T), (x @ normal.T - offset).max(axis=1) / self.spacing)

    def _unite(self, nodes: tuple[Ints, ...], values: Floats) -> None:
        self.values[nodes] = np.minimum(self.values[nodes], np.clip(values, -3, 3))

    def fill_pockets(self, where: str) -> None:
        """Give to the crack what electrolyte it encloses, alone or with the plating plane.

        Raises
        ------
        GeometryError
            If the chip in the bowl is enclosed.
        """
        from scipy.ndimage import label

        surface = max(int(np.ceil(-self.origin[2] / self.spacing)), 0)
        below = self.values[:, :, surface:]
        parts, _ = label(below > 0)
        x, y = (round(-self.origin[axis] / self.spacing) for axis in (0, 1))
        if parts[x, y, 0] != parts[0, 0, -1]:
            reason = "cuts a chip of electrolyte off, which would carry no current"
            raise GeometryError(26, where, reason, "choose another seed, a smaller depth or a larger diameter")
        below[(parts != parts[0, 0, -1]) & (parts > 0)] = -1

    def contour(self) -> tuple[Floats, Ints]:
        """Largest closed part of the zero level: points (n, 3), m, and faces (m, 3) that face outwards."""
        import pyvista

        from fem_spall.crack.triangles import components, volume

        values = np.where(np.abs(self.values) < SNAP, np.copysign(SNAP, self.values), self.values)
        grid = pyvista.ImageData(dimensions=values.shape)
        grid.point_data["level"] = values.ravel(order="F")
        surface = grid.contour([0.0], scalars="level", method="flying_edges", compute_normals=False)
        points = np.asarray(surface.points, dtype=float)
        faces = np.asarray(surface.regular_faces, dtype=np.int64)
        part = components(faces)
        volumes = np.array([volume(points[faces[part == k]]) for k in range(int(part.max()) + 1)])
        faces = faces[part == np.abs(volumes).argmax()]
        used, faces = np.unique(faces, return_inverse=True)
        faces = faces.reshape(-1, 3)
        faces = faces if volumes[np.abs(volumes).argmax()] > 0 else faces[:, ::-1]
        return self.origin + self.spacing * points[used], faces
