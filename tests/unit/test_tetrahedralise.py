"""Tetrahedra within a tagged boundary: pores, exact boundary, volumes; a bad boundary is a refusal."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from fem_spall.crack import Block
from fem_spall.errors import GeometryError, MeshingError
from fem_spall.mesh import tetrahedralise as module
from fem_spall.mesh.arrays import triangle_areas
from fem_spall.mesh.checks import cell_volumes, check_mesh, check_surfaces
from fem_spall.mesh.embed import embed
from fem_spall.mesh.remesh_mmg import remesh
from fem_spall.mesh.tagged_surface import TaggedSurface
from fem_spall.mesh.tetrahedralise import gmsh_session, tetrahedralise
from tests.solids import UM, cuboid

BLOCK = Block((20 * UM, 30 * UM, 50 * UM))


def two_pores(size_min: float = 0.3) -> TaggedSurface:
    cracks = {"p": cuboid((4, 4, 20), (8, 8, 24)), "q": cuboid((12, 15, 30), (15, 19, 33))}
    return remesh(embed(BLOCK, cracks, frozenset(cracks), 1e-5), size_min, 1.0, 1.5, 0.03, sharp=True)


@pytest.mark.parametrize("algorithm", ["delaunay", "hxt"])
def test_two_pores_are_two_voids_with_their_own_names(algorithm: Literal["delaunay", "hxt"]) -> None:
    """Bug: HXT names volumes by the colours of their boundary, fails on two pores or fills one (trap 4)."""
    surface = two_pores()
    mesh = tetrahedralise(surface, 1.0, algorithm)
    check_surfaces(mesh, surface.box)
    assert check_mesh(mesh, surface.volume, 0.01)["min_quality"] > 0.1
    assert cell_volumes(mesh).sum() == pytest.approx((30000 - 64 - 36) / 1000, rel=1e-12)
    for name, area in {"p": 6 * 16, "q": 2 * (12 + 9 + 12)}.items():
        facets = mesh.facets[mesh.tags == mesh.names[name]]
        assert triangle_areas(mesh.points[facets]).sum() * 100 == pytest.approx(area, rel=1e-12)
    inner = mesh.points[mesh.cells].mean(axis=1) * 10
    for low, high in (((4, 4, 20), (8, 8, 24)), ((12, 15, 30), (15, 19, 33))):
        assert not ((inner > low) & (inner < high)).all(axis=1).any(), "no cell in a pore"


def test_the_boundary_is_kept_to_the_last_bit() -> None:
    """Bug: the mesher moves or renumbers boundary vertices, and names no longer fit their triangles."""
    surface = two_pores()
    mesh = tetrahedralise(surface, 1.0, "delaunay")
    assert mesh.points[mesh.facets].tobytes() == surface.vertices[surface.faces].tobytes()
    assert np.array_equal(mesh.tags, surface.tags)


def test_delaunay_repeats_exactly() -> None:
    """Bug: threads or leftovers of an earlier model change the mesh from run to run."""
    surface = two_pores()
    assert len({tetrahedralise(surface, 1.0, "delaunay").sha256 for _ in range(2)}) == 1


CROSSING = """
import sys
import numpy as np
from fem_spall.crack import Block
from fem_spall.errors import MeshingError
from fem_spall.mesh.embed import embed
from fem_spall.mesh.tetrahedralise import tetrahedralise
from tests.solids import UM, cuboid
from dataclasses import replace
surface = embed(Block((20 * UM, 30 * UM, 50 * UM)), {"a": cuboid((5, 5, 20), (9, 11, 27))}, frozenset(), 1e-5)
vertices = surface.vertices.copy()
corner = np.nonzero((np.abs(vertices * 10 - [9, 11, 27]) < 1e-9).all(axis=1))[0]
assert len(corner) == 1
vertices[corner] = [0.3, 0.3, 1.5]  # pulled through the opposite sides
try:
    tetrahedralise(replace(surface, vertices=vertices), 1.0, sys.argv[1])
except MeshingError as error:
    print(error.detail, error.reason)
"""


@pytest.mark.parametrize("algorithm", ["delaunay", "hxt"])
def test_a_boundary_that_crosses_itself_is_refused(algorithm: str) -> None:
    """Bug: gmsh ends the process, or its exception escapes without what its log says."""
    done = subprocess.run(
        [sys.executable, "-c", CROSSING, algorithm],
        capture_output=True, text=True, timeout=60, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    number, reason = done.stdout.splitlines()[-1].split(maxsplit=1)  # HXT itself prints before
    assert number == "30"
    assert "its log says: " in reason
    assert "its log says: nothing" not in reason


def test_moved_vertices_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bug: the comparison of vertices can never fail."""
    surface = two_pores()
    moved = surface.vertices.copy()
    moved[np.abs(moved).sum(axis=1).argmax()] *= 1 - 1e-15
    after = replace(surface, vertices=moved)
    inner = module._add_boundary
    monkeypatch.setattr(module, "_add_boundary", lambda gmsh, _, labels: inner(gmsh, after, labels))
    with pytest.raises(MeshingError, match="moved vertices of the boundary"):
        tetrahedralise(surface, 1.0, "delaunay")


def test_a_user_s_gmsh_configuration_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bug: a size factor in ~/.gmshrc or ~/.gmsh-options changes the mesh and every figure."""
    for file in (".gmshrc", ".gmsh-options"):
        (tmp_path / file).write_text("Mesh.MeshSizeFactor = 0.25;\nGeneral.NumThreads = 7;\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GMSH_HOME", str(tmp_path))
    with gmsh_session() as gmsh:
        assert gmsh.option.getNumber("Mesh.MeshSizeFactor") == 1
        assert gmsh.option.getNumber("General.NumThreads") == 1


def test_an_error_in_gmsh_comes_with_its_log() -> None:
    """Bug: gmsh's exception reaches the user as a bug, the session stays open, or its log holds earlier ones."""
    for _ in range(2):
        said = "its log says: Error: Unknown model region with tag 77;"
        with pytest.raises(MeshingError, match=said) as refusal, gmsh_session() as gmsh:
            gmsh.model.getBoundary([(3, 77)])
        assert refusal.value.detail == 30
        import gmsh as library

        assert not library.isInitialized()


def test_other_errors_pass_through_the_session() -> None:
    """Bug: a refusal or a mistake in our own code is reported as a failure of gmsh."""
    for error in (GeometryError(13, "cracks", "leave nothing", "move them"), KeyError("own mistake")):
        with pytest.raises(type(error)) as caught, gmsh_session():
            raise error
        assert caught.value is error
