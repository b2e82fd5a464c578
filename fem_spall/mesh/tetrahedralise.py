"""Fill a tagged closed surface with tetrahedra: gmsh on the discrete boundary, no re-parametrisation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fem_spall.crack.triangles import numbered
from fem_spall.errors import MeshingError
from fem_spall.mesh.arrays import MeshArrays
from fem_spall.mesh.checks import radius_ratio
from fem_spall.mesh.sizes import SizeField
from fem_spall.mesh.tagged_surface import TaggedSurface, shells

__all__ = ["gmsh_session", "remove_slivers", "tetrahedralise"]

ALGORITHMS = {"delaunay": 1, "hxt": 10}
#: Quality below which the cells of a given boundary are optimised once more, which takes a second per 20 000 cells, if
#: there are more than FEW of them; a few are mended one by one in a fraction of a second (``worst_cells``).
SLIVER, FEW = 0.02, 50


@contextmanager
def gmsh_session() -> Iterator[Any]:
    """A gmsh model with no user configuration, one thread and errors as MeshingError.

    Only ever opened in the meshing child process: gmsh can neither be interrupted nor trusted not to abort.
    """
    import gmsh

    gmsh.initialize(readConfigFiles=False, interruptible=False)
    try:
        gmsh.option.setNumber("General.Terminal", 0)
        gmsh.option.setNumber("General.NumThreads", 1)
        gmsh.logger.start()
        gmsh.model.add("electrolyte")
        try:
            yield gmsh
        except Exception as error:
            if type(error) is not Exception:  # gmsh raises nothing but plain Exception
                raise
            log = [line for line in gmsh.logger.get() if line.startswith(("Error", "Warning"))]
            raise MeshingError(
                30, "gmsh", f"{error}; its log says: {' / '.join(log[-3:]) or 'nothing'}",
                "change mesh.size_min, or mend the surface where it crosses itself",
            ) from error  # fmt: skip
    finally:
        gmsh.logger.stop()  # the next session could not start its own
        gmsh.finalize()


def tetrahedralise(
    surface: TaggedSurface, size_max: float, algorithm: Literal["delaunay", "hxt"], sizes: SizeField | None = None
) -> MeshArrays:
    """Return tetrahedra whose boundary is the given surface, triangle by triangle.

    Inside, the sizes follow from those of the triangles, or from a size field where one is given.

    HXT names volumes by the colours of their bounding surfaces, so each shell has surfaces of its own.  Sheets are
    surfaces embedded in the volume.
    """
    labels = np.full(len(surface.faces), -1)
    labels[surface.closed] = shells(surface.faces[surface.closed])
    with gmsh_session() as gmsh:
        gmsh.option.setNumber("Mesh.Algorithm3D", ALGORITHMS[algorithm])
        gmsh.option.setNumber("Mesh.Optimize", 1)
        gmsh.option.setNumber("Mesh.Renumber", 0)
        gmsh.option.setNumber("Mesh.MeshSizeMax", size_max)
        _add_boundary(gmsh, surface, labels)
        if sizes is not None:
            field, _ = add_sizes(gmsh, sizes, surface.unit)
            gmsh.model.mesh.field.setAsBackgroundMesh(field)
        gmsh.model.mesh.generate(3)
        if surface.thin is None or not surface.thin.any():
            remove_slivers(gmsh, SLIVER, FEW)
        else:  # Netgen's optimiser does not know surfaces within a volume, and was seen to die of them
            for method in ("", "Relocate3D", ""):
                gmsh.model.mesh.optimize(method)
        points, cells, row = _cells(gmsh)
    if len(cells) == 0:
        raise MeshingError(31, "gmsh", "made no tetrahedra", "change mesh.size_min or mesh.algorithm")
    facets = row[surface.faces + 1]
    if not np.array_equal(points[facets], surface.vertices[surface.faces]):
        raise MeshingError(32, "gmsh", "moved vertices of the boundary", "use mesh.algorithm: delaunay")
    return MeshArrays(points, cells, facets, surface.tags, surface.names, surface.unit, {"algorithm": algorithm})


def add_sizes(gmsh: Any, sizes: SizeField, unit: float) -> tuple[int, float]:
    """Add a size field to the model; return its tag and its smallest size in mesh units."""
    corners = (sizes.points / unit)[sizes.cells]
    data = np.concatenate([np.moveaxis(corners, 1, 2).reshape(len(corners), 12), (sizes.sizes / unit)[sizes.cells]], 1)
    view = gmsh.view.add("sizes")
    gmsh.view.addListData(view, "SS", len(data), data.ravel())
    field = gmsh.model.mesh.field.add("PostView")
    gmsh.model.mesh.field.setNumber(field, "ViewTag", view)
    return field, float(sizes.sizes.min() / unit)


def remove_slivers(gmsh: Any, quality: float, few: int = 0) -> None:
    """Let Netgen's optimiser mend cells below a quality: gmsh's own leaves some below 0.005 in one mesh of three."""
    points, cells, _ = _cells(gmsh)
    if (radius_ratio(points, cells) < quality).sum() > few:
        gmsh.model.mesh.optimize("Netgen")


def _cells(gmsh: Any) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Points (n, 3), tetrahedra (m, 4), and the row of the point of each node by gmsh's number."""
    tags, coordinates, _ = gmsh.model.mesh.getNodes()
    row = np.empty(int(tags.max(initial=0)) + 1, dtype=np.int64)
    row[tags.astype(np.int64)] = np.arange(len(tags))
    points = np.asarray(coordinates, dtype=float).reshape(-1, 3)
    return points, row[gmsh.model.mesh.getElementsByType(4)[1].astype(np.int64).reshape(-1, 4)], row


def _add_boundary(gmsh: Any, surface: TaggedSurface, labels: np.ndarray[Any, Any]) -> None:
    groups = np.unique(np.stack([labels, surface.tags], axis=1), axis=0)
    volume_of = {}
    for label in np.unique(labels[surface.closed]):
        a, b, c = np.moveaxis(surface.vertices[surface.faces[labels == label]], 1, 0)
        volume_of[int(label)] = float(np.einsum("ij,ij->", a, np.cross(b, c)))
    added = np.zeros(len(surface.vertices), dtype=bool)
    surfaces: dict[int, list[int]] = {label: [] for label in [*volume_of, -1]}
    for entity, (label, tag) in enumerate(groups, 1):
        member = (labels == label) & (surface.tags == tag)
        nodes, _ = numbered(surface.faces[member])
        nodes = nodes[~added[nodes]]
        added[nodes] = True
        gmsh.model.addDiscreteEntity(2, entity)
        gmsh.model.mesh.addNodes(2, entity, nodes + 1, surface.vertices[nodes].ravel())
        surfaces[int(label)].append(entity)
    # Elements after all nodes: a surface's triangles may use nodes that belong to its neighbours.
    for entity, (label, tag) in enumerate(groups, 1):
        member = (labels == label) & (surface.tags == tag)
        gmsh.model.mesh.addElementsByType(entity, 2, np.nonzero(member)[0] + 1, surface.faces[member].ravel() + 1)
    outer_first = sorted(volume_of, key=lambda label: -volume_of[label])
    loops = [gmsh.model.geo.addSurfaceLoop(surfaces[label]) for label in outer_first]
    volume = gmsh.model.geo.addVolume(loops)
    gmsh.model.geo.synchronize()
    if surfaces[-1]:
        gmsh.model.mesh.embed(2, surfaces[-1], 3, volume)
