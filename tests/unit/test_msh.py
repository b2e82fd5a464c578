"""The mesh file as other programs read it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fem_spall.mesh.arrays import MeshArrays
from fem_spall.output.msh import write_mesh, write_msh
from tests.solids import UM, block_mesh

GMSH = """
import json, sys
import gmsh
gmsh.initialize(readConfigFiles=False)
gmsh.option.setNumber("General.Terminal", 0)
gmsh.open(sys.argv[1])
m = gmsh.model
order = int(sys.argv[2])
cell, facet = (4, 2) if order == 1 else (11, 9)
names = {m.getPhysicalName(d, t): (d, t) for d, t in m.getPhysicalGroups()}
tags = m.mesh.getElementsByType(cell)[0]
facets = {}
for name, (d, t) in names.items():
    if d == 2:
        entities = m.getEntitiesForPhysicalGroup(d, t)
        facets[name] = sum(len(m.mesh.getElementsByType(facet, e)[0]) for e in entities)
print(json.dumps({
    "nodes": len(m.mesh.getNodes()[0]), "cells": len(tags), "facets": facets,
    "volume": float(m.mesh.getElementQualities(tags, "volume").sum()),
    "inverted": int((m.mesh.getElementQualities(tags, "minSJ") <= 0).sum()),
    "low": m.mesh.getNodes()[1].reshape(-1, 3).min(axis=0).tolist(),
    "high": m.mesh.getNodes()[1].reshape(-1, 3).max(axis=0).tolist(),
    "volumes": [n for n, (d, _) in names.items() if d == 3],
}))
"""
MESHIO = """
import json, sys
import meshio, numpy as np
mesh = meshio.read(sys.argv[1])
cells = {block.type: len(block.data) for block in mesh.cells if block.type.startswith("tetra")}
physical = {}
for block, tags in zip(mesh.cells, mesh.cell_data["gmsh:physical"]):
    for name, (tag, dimension) in mesh.field_data.items():
        if block.dim == dimension:
            physical[name] = physical.get(name, 0) + int((tags == tag).sum())
print(json.dumps({"points": len(mesh.points), "cells": cells, "physical": physical}))
"""


def read(script: str, *arguments: object) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("order", [1, 2])
def test_other_programs_read_the_same_mesh(tmp_path: Path, order: int) -> None:
    """Bug: node order, counts or names of the file differ from the mesh that was solved on, or its unit does."""
    mesh = block_mesh((4, 3, 4), order=order, bend=0.02, sheet=(10.0, 25.0))
    write_msh(mesh, tmp_path / "mesh.msh")
    found = read(GMSH, tmp_path / "mesh.msh", order)
    counts = {name: int((mesh.tags == tag).sum()) for name, tag in mesh.names.items()}
    assert found["facets"] == counts
    assert (found["nodes"], found["cells"]) == (len(mesh.points), len(mesh.cells))
    assert found["volumes"] == ["electrolyte"]
    assert found["volume"] == pytest.approx(30000 * UM**3, rel=1e-9, abs=0), "metres"
    assert found["inverted"] == 0, "nodes of curved cells in gmsh's order"
    assert found["low"] == pytest.approx([0, 0, 0], abs=1e-18)
    assert found["high"] == pytest.approx([20 * UM, 30 * UM, 50 * UM], rel=1e-12, abs=0)
    other = read(MESHIO, tmp_path / "mesh.msh")
    assert other["points"] == len(mesh.points)
    assert other["cells"] == {"tetra" if order == 1 else "tetra10": len(mesh.cells)}
    assert other["physical"] == counts | {"electrolyte": len(mesh.cells)}


def test_empty_surfaces_are_left_out(tmp_path: Path) -> None:
    """Bug: a face that an interface sheet replaces is an empty block, on which readers stop."""
    mesh = block_mesh()
    kept = mesh.tags != mesh.names["-x"]
    less = MeshArrays(mesh.points, mesh.cells, mesh.facets[kept], mesh.tags[kept], mesh.names, mesh.unit)
    write_msh(less, tmp_path / "mesh.msh")
    assert sorted(read(GMSH, tmp_path / "mesh.msh", 1)["facets"]) == ["+x", "+y", "+z", "-y", "-z"]


def test_the_mesh_folder(tmp_path: Path) -> None:
    """Bug: a second mesh, after refinement, is refused or leaves the first one's quality."""
    for mesh in (block_mesh(), block_mesh((4, 4, 4))):
        mesh.info["cells"] = len(mesh.cells)
        write_mesh(mesh, tmp_path)
    assert sorted(p.name for p in (tmp_path / "mesh").iterdir()) == ["quality.json", "volume.msh"]
    assert json.loads((tmp_path / "mesh" / "quality.json").read_text())["cells"] == 6 * 4**3
    assert read(GMSH, tmp_path / "mesh" / "volume.msh", 1)["cells"] == 6 * 4**3
