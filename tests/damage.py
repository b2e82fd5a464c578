"""Makers of damaged surfaces: what segmentation, remeshing and exchange between programs do to a good one.

Each maker takes vertices (n, 3) float in um and faces (m, 3) int of a good closed surface and returns a damaged
copy; numbers are drawn from a fixed seed.  ``DAMAGES`` lists them with what a run must do with the result:
``same`` (as with the good one), ``repaired`` (listed in the record) or ``refused``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tests.solids import sphere

__all__ = ["DAMAGES", "join", "longest", "write_stl"]

type Floats = NDArray[np.float64]
type Ints = NDArray[np.int64]
type Surface = tuple[Floats, Ints]
type Outcome = Literal["same", "repaired", "refused"]


def join(*parts: Surface) -> Surface:
    """All parts in one surface; nothing is merged."""
    start = np.cumsum([0] + [len(v) for v, _ in parts])
    faces = [f + s for (_, f), s in zip(parts, start, strict=False)]
    return np.concatenate([v for v, _ in parts]), np.concatenate(faces)


def longest(vertices: Floats) -> float:
    """Longest side of the bounding box."""
    return float(np.ptp(vertices, axis=0).max())


def _corner_normals(vertices: Floats, faces: Ints) -> Floats:
    a, b, c = np.moveaxis(vertices[faces], 1, 0)
    normals = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(normals, faces[:, corner], np.cross(b - a, c - a))
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-300)


def _spread(vertices: Floats, count: int, seed: int) -> Ints:
    """Vertices far from each other, as many as asked for."""
    rng = np.random.default_rng(seed)
    chosen = [int(rng.integers(len(vertices)))]
    distance = np.linalg.norm(vertices - vertices[chosen[0]], axis=1)
    for _ in range(count - 1):
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(vertices - vertices[chosen[-1]], axis=1))
    return np.array(chosen)


def soup(vertices: Floats, faces: Ints) -> Surface:
    """Every triangle with corners of its own, as STL has them."""
    return vertices[faces].reshape(-1, 3), np.arange(3 * len(faces)).reshape(-1, 3)


def rounded_soup(vertices: Floats, faces: Ints) -> Surface:
    """A soup whose corners were rounded apart by 1e-4 of the size: text files with four digits."""
    corners, faces = soup(vertices, faces)
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, corners.shape)
    return corners + 1e-4 * longest(vertices) * noise, faces


def duplicates(vertices: Floats, faces: Ints) -> Surface:
    """A tenth of the faces twice, some of them the other way round."""
    rng = np.random.default_rng(2)
    again = faces[rng.random(len(faces)) < 0.1]
    again[::2] = again[::2, ::-1]
    return vertices, np.concatenate([faces, again])


def flipped(vertices: Floats, faces: Ints) -> Surface:
    """30 % of the faces turned round."""
    turn = np.random.default_rng(3).random(len(faces)) < 0.3
    return vertices, np.where(turn[:, None], faces[:, ::-1], faces)


def inside_out(vertices: Floats, faces: Ints) -> Surface:
    """All faces turned round."""
    return vertices, faces[:, ::-1]


def holes(vertices: Floats, faces: Ints) -> Surface:
    """Forty holes, each the ring of faces round one vertex."""
    centres = _spread(vertices, 40, 4)
    return vertices, faces[~np.isin(faces, centres).any(axis=1)]


def fins(vertices: Floats, faces: Ints) -> Surface:
    """Fifty flaps that stand on edges, every other one of two triangles."""
    chosen = _spread(vertices[faces].mean(axis=1), 50, 5)
    a, b = faces[chosen, 0], faces[chosen, 1]
    top = (vertices[a] + vertices[b]) / 2 + 0.02 * longest(vertices) * _corner_normals(vertices, faces)[a]
    tip = top + (vertices[b] - vertices[a])
    new = len(vertices) + np.arange(50)
    second = np.column_stack([new, b, new + 50])[::2]
    return np.concatenate([vertices, top, tip]), np.concatenate([faces, np.column_stack([a, b, new]), second])


def spikes(vertices: Floats, faces: Ints) -> Surface:
    """Twenty vertices pushed deep into the body, many through its other side: the surface crosses itself."""
    chosen = _spread(vertices, 20, 6)
    moved = vertices.copy()
    moved[chosen] -= 0.06 * longest(vertices) * _corner_normals(vertices, faces)[chosen]
    return moved, faces


def folds(vertices: Floats, faces: Ints) -> Surface:
    """One vertex in fifty moved along the surface past its neighbours: small folds everywhere, as remeshing leaves."""
    rng = np.random.default_rng(7)
    moved = vertices.copy()
    a, b, c = faces[rng.random(len(faces)) < 0.005].T
    moved[a] += 1.6 * ((vertices[b] + vertices[c]) / 2 - vertices[a])
    return moved, faces


def overlapping_parts(vertices: Floats, faces: Ints) -> Surface:
    """Five closed balls that stand half out of the surface."""
    size = longest(vertices)
    centres = vertices[_spread(vertices, 5, 8)]
    return join((vertices, faces), *((sphere(3, 0.05 * size)[0] + c, sphere(3)[1]) for c in centres))


def doubled_body(vertices: Floats, faces: Ints) -> Surface:
    """The whole surface twice."""
    return join((vertices, faces), (vertices, faces))


def islands(vertices: Floats, faces: Ints) -> Surface:
    """300 specks of dust beyond a corner of the surface's box."""
    size = longest(vertices)
    grid = np.stack(np.meshgrid(*[np.arange(7)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)[:300]
    ball, sides = sphere(1, 0.005 * size)
    places = vertices.max(axis=0) + size * (0.02 + 0.03 * grid)
    return join((vertices, faces), *((ball + place, sides) for place in places))


def slivers(vertices: Floats, faces: Ints) -> Surface:
    """One face in twenty cut in three by a point next to one of its sides: corners of 1e-4 of a side."""
    chosen = np.flatnonzero(np.random.default_rng(10).random(len(faces)) < 0.05)
    a, b, c = faces[chosen].T
    point = (0.5 - 5e-5) * (vertices[a] + vertices[b]) + 1e-4 * vertices[c]
    new = len(vertices) + np.arange(len(chosen))
    parts = [np.column_stack(t) for t in ((a, b, new), (b, c, new), (c, a, new))]
    return np.concatenate([vertices, point]), np.concatenate([np.delete(faces, chosen, axis=0), *parts])


def not_a_number(vertices: Floats, faces: Ints) -> Surface:
    """One corner that is not a number."""
    broken = vertices.copy()
    broken[len(broken) // 2] = np.nan
    return broken, faces


def protruding(vertices: Floats, faces: Ints) -> Surface:
    """Moved by 40 % of its length along x, through a side wall of its block."""
    return vertices + 0.4 * longest(vertices) * np.array([1.0, 0, 0]), faces


def in_nanometres(vertices: Floats, faces: Ints) -> Surface:
    """In nm, while the case says um."""
    return vertices * 1000, faces


def zero_thickness(vertices: Floats, faces: Ints) -> Surface:
    """Pressed flat: both walls of the crack in one plane."""
    return vertices * [1, 1, 0] + [0, 0, float(np.median(vertices[:, 2]))], faces


def touching_corner(vertices: Floats, faces: Ints) -> Surface:
    """A ball that touches the surface in its topmost vertex: a bow-tie."""
    top = vertices[vertices[:, 2].argmax()]
    ball, sides = sphere(3, 0.05 * longest(vertices))
    ball = ball + (top - ball[ball[:, 2].argmin()])
    ball[ball[:, 2].argmin()] = top
    return join((vertices, faces), (ball, sides))


def closed_bowl(vertices: Floats, faces: Ints) -> Surface:
    """A shell round the surface's place, open upwards: it cuts a chip off the electrolyte where it meets a plane."""
    size = longest(vertices)
    ball, sides = sphere(4, 0.5 * size)
    middle = (vertices.min(axis=0) + vertices.max(axis=0)) / 2
    return join((ball + middle, sides), (0.95 * ball + middle, sides[:, ::-1]))


def one_missing(vertices: Floats, faces: Ints) -> Surface:
    """One face missing."""
    return vertices, np.delete(faces, len(faces) // 2, axis=0)


def half_missing(vertices: Floats, faces: Ints) -> Surface:
    """Half of the surface missing."""
    middle = vertices[faces].mean(axis=1)[:, 0]
    return vertices, faces[middle < np.median(middle)]


#: Name of each damage: its maker and what must become of the surface.
DAMAGES: dict[str, tuple[Callable[[Floats, Ints], Surface], Outcome]] = {
    "soup": (soup, "same"),
    "rounded_soup": (rounded_soup, "repaired"),  # with repair: {merge: 3e-4 of the size}
    "duplicates": (duplicates, "repaired"),
    "flipped": (flipped, "repaired"),
    "inside_out": (inside_out, "repaired"),
    "holes": (holes, "repaired"),
    "fins": (fins, "repaired"),
    "spikes": (spikes, "repaired"),
    "folds": (folds, "repaired"),
    "overlapping_parts": (overlapping_parts, "repaired"),
    "doubled_body": (doubled_body, "repaired"),
    "islands": (islands, "repaired"),  # with repair: {islands: …}, else kept
    "slivers": (slivers, "same"),
    "not_a_number": (not_a_number, "refused"),
    "protruding": (protruding, "same"),
    "in_nanometres": (in_nanometres, "refused"),
    "zero_thickness": (zero_thickness, "refused"),
    "touching_corner": (touching_corner, "repaired"),
    "closed_bowl": (closed_bowl, "same"),
    "one_missing": (one_missing, "repaired"),
    "half_missing": (half_missing, "refused"),
}


def write_stl(path: object, vertices: Floats, faces: Ints) -> None:
    """Write a binary STL file."""
    from pathlib import Path

    record = np.zeros(len(faces), dtype=[("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    record["corners"] = vertices[faces]
    Path(str(path)).write_bytes(bytes(80) + np.uint32(len(faces)).tobytes() + record.tobytes())
