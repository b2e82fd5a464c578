"""A tetrahedral mesh with named surfaces as plain arrays: what every mesher returns."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["FACES", "SIDES", "MeshArrays", "length_unit", "triangle_areas"]

#: The faces of the block with their axis and side (0 low, 1 high).
FACES: dict[str, tuple[int, int]] = {
    "-x": (0, 0), "+x": (0, 1), "-y": (1, 0), "+y": (1, 1), "-z": (2, 0), "+z": (2, 1),
}  # fmt: skip

#: Corners of the side opposite to each corner of a tetrahedron, turned outwards.
SIDES = np.array([[1, 2, 3], [0, 3, 2], [0, 1, 3], [0, 2, 1]])


def length_unit(size: tuple[float, float, float]) -> float:
    """Length, m, that mesh coordinates are divided by, so that the block is 10 to 100 units long.

    Meshers compare lengths with absolute tolerances; in metres a 50 um block would vanish in them.
    """
    return float(f"1e{int(np.floor(np.log10(max(size) * (1 + 1e-12)))) - 1}")


def triangle_areas(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Areas of flat triangles given as (n, 3, 3) corners, (n,) float."""
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return np.asarray(np.linalg.norm(cross, axis=1) / 2)


@dataclass(frozen=True)
class MeshArrays:
    """Nodes, tetrahedra and named triangles, lengths in ``unit`` metres.

    ``points`` (n, 3) float; ``cells`` (m, 4 or 10) int and ``facets`` (k, 3 or 6) int, nodes in
    gmsh's order; ``tags`` (k,) int names the surface of each facet through ``names``.  A facet with a
    cell on both sides belongs to a zero-thickness sheet.  ``info`` is what the mesher reports.
    """

    points: NDArray[np.float64]
    cells: NDArray[np.int64]
    facets: NDArray[np.int64]
    tags: NDArray[np.int32]
    names: dict[str, int]
    unit: float
    info: dict[str, Any] = field(default_factory=dict)

    @property
    def order(self) -> int:
        """Order of the geometry, 1 (flat) or 2 (curved)."""
        return 1 if self.cells.shape[1] == 4 else 2

    @property
    def sha256(self) -> str:
        """Hash of all arrays, the identity of the mesh."""
        digest = hashlib.sha256()
        for array in (self.points, np.asarray(self.cells, dtype=np.int64), self.facets, self.tags):
            digest.update(np.ascontiguousarray(array))
        return digest.hexdigest()

    @property
    def identity(self) -> str:
        """Hash of everything, names and report included."""
        said = json.dumps([self.sha256, self.names, self.unit, self.info], sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()

    def whole(self) -> MeshArrays:
        """The same with its cells in memory, where they are made whenever they are read (``TaggedMesh.arrays``)."""
        return replace(self, cells=np.asarray(self.cells))

    def save(self, path: Path) -> None:
        """Write all arrays to an ``.npz`` file."""
        np.savez(path, **self.pack())  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> MeshArrays:
        """Read what :meth:`save` wrote."""
        with np.load(path, allow_pickle=False) as data:
            return cls.unpack(data)

    def pack(self) -> dict[str, NDArray[Any]]:
        """Everything as plain arrays, for one archive."""
        meta = json.dumps({"names": self.names, "unit": self.unit, "info": self.info})
        words = np.frombuffer(meta.encode(), dtype=np.uint8)
        cells = np.asarray(self.cells, dtype=np.int64)
        return {"points": self.points, "cells": cells, "facets": self.facets, "tags": self.tags, "meta": words}

    @classmethod
    def unpack(cls, arrays: Mapping[str, NDArray[Any]]) -> MeshArrays:
        """What :meth:`pack` packed."""
        meta = json.loads(arrays["meta"].tobytes().decode())
        return cls(arrays["points"], arrays["cells"], arrays["facets"], arrays["tags"], **meta)
