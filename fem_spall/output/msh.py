"""The mesh as a gmsh 4.1 file with named physical groups, for other programs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fem_spall.mesh.arrays import MeshArrays
from fem_spall.output.files import atomic, atomic_text

__all__ = ["write_mesh", "write_msh"]

# gmsh's element types: 3- and 6-node triangle, 4- and 10-node tetrahedron.
_TYPES = {3: 2, 6: 9, 4: 4, 10: 11}
_AT_ONCE = 1 << 18  # elements written


def write_mesh(mesh: MeshArrays, folder: Path) -> None:
    """Write ``mesh/volume.msh`` and ``mesh/quality.json`` of a result folder."""
    (folder / "mesh").mkdir(exist_ok=True)
    with atomic(folder / "mesh" / "volume.msh") as aside:
        write_msh(mesh, aside)
    atomic_text(folder / "mesh" / "quality.json", json.dumps(mesh.info, indent=1) + "\n")


def write_msh(mesh: MeshArrays, path: Path) -> None:
    """Write nodes (metres), cells and named facets in binary MSH 4.1."""
    used = {name: tag for name, tag in mesh.names.items() if (mesh.tags == tag).any()}
    count = len(mesh.points)
    low, high = (mesh.points.min(axis=0) * mesh.unit), (mesh.points.max(axis=0) * mesh.unit)
    volume = max(mesh.names.values()) + 1
    with path.open("wb") as out:
        out.write(b"$MeshFormat\n4.1 1 8\n")
        out.write(np.array([1], dtype=np.int32).tobytes())
        out.write(b"\n$EndMeshFormat\n$PhysicalNames\n")
        names = [f'2 {tag} "{name}"' for name, tag in used.items()] + [f'3 {volume} "electrolyte"']
        out.write(f"{len(names)}\n{chr(10).join(names)}\n$EndPhysicalNames\n$Entities\n".encode())
        out.write(np.array([0, 0, len(used), 1], dtype=np.uint64).tobytes())
        for dimension_tag, bounded in ((list(used.values()), 0), ([volume], 0)):
            for tag in dimension_tag:
                out.write(np.array([tag], dtype=np.int32).tobytes())
                out.write(np.concatenate([low, high]).tobytes())
                out.write(np.array([1], dtype=np.uint64).tobytes())
                out.write(np.array([tag], dtype=np.int32).tobytes())
                out.write(np.array([bounded], dtype=np.uint64).tobytes())
        out.write(b"\n$EndEntities\n$Nodes\n")
        out.write(np.array([1, count, 1, count], dtype=np.uint64).tobytes())
        out.write(np.array([3, volume, 0], dtype=np.int32).tobytes())
        out.write(np.array([count], dtype=np.uint64).tobytes())
        out.write(np.arange(1, count + 1, dtype=np.uint64).tobytes())
        out.write((mesh.points * mesh.unit).tobytes())
        out.write(b"\n$EndNodes\n$Elements\n")
        blocks = [(2, tag, mesh.facets[mesh.tags == tag]) for tag in used.values()] + [(3, volume, mesh.cells)]
        total = sum(len(block[2]) for block in blocks)
        out.write(np.array([len(blocks), total, 1, total], dtype=np.uint64).tobytes())
        start = 1
        for dimension, tag, nodes in blocks:
            out.write(np.array([dimension, tag, _TYPES[nodes.shape[1]]], dtype=np.int32).tobytes())
            out.write(np.array([len(nodes)], dtype=np.uint64).tobytes())
            for first in range(0, len(nodes), _AT_ONCE):
                out.write(_numbered(nodes[first : first + _AT_ONCE], start + first).tobytes())
            start += len(nodes)
        out.write(b"\n$EndElements\n")


def _numbered(nodes: NDArray[np.int64], start: int) -> NDArray[np.uint64]:
    numbers = np.arange(start, start + len(nodes), dtype=np.uint64)[:, None]
    return np.concatenate([numbers, (nodes + 1).astype(np.uint64)], axis=1)
