"""Sharp edges found on small solids; intensity along them from sampled fields; what is refused."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from fem_spall.conduction import ConductionProblem
from fem_spall.edge_figures import EdgeStudy, intensity_figures
from fem_spall.edges import SharpEdge, sharp_edges
from fem_spall.fenics import MPI, dolfinx
from fem_spall.forces import material_forces
from fem_spall.intensity import EdgeIntensity, edge_intensity
from fem_spall.mesh.arrays import FACES, MeshArrays
from fem_spall.mesh.tagged import distribute
from fem_spall.metric import Metric
from fem_spall.metrics import Evaluation, evaluate
from fem_spall.solve import Solution
from fem_spall.surface_flux import LithiumFlux
from tests.solids import UM, block_mesh, case_of

type Floats = NDArray[np.float64]

WALLS = ("-x", "+x", "-y", "+y")
SIGMA = 0.1  # S/m
SLOPE = 3.0  # V/sqrt(m): φ = SLOPE √r cos(θ/2) round the edge
INTENSITY = np.sqrt(2 * np.pi) * SIGMA * SLOPE / 2
TENSOR = SIGMA * np.eye(3)


def box(counts: tuple[int, int, int], size: tuple[float, float, float], **other: Any) -> MeshArrays:
    """The block of the shared solids in units of 1 um."""
    return block_mesh(counts, size, unit=UM, **other)


def standing(keep: Any = None) -> MeshArrays:
    """A sheet at x = 10 above z = 10 in a block of 20 x 3 x 20 um; of its facets those whose middle is to be kept."""
    arrays = box((20, 3, 20), (20.0, 3.0, 20.0), sheet=(10.0, 10.0))
    if keep is None:
        return arrays
    drop = (arrays.tags == 10) & ~keep(arrays.points[arrays.facets].mean(axis=1))
    return replace(arrays, facets=arrays.facets[~drop], tags=arrays.tags[~drop])


def halved() -> MeshArrays:
    """The half beyond x = 10 of the block with the standing sheet, which now lies in the wall -x."""
    arrays = standing()
    cells = arrays.cells[arrays.points[arrays.cells].mean(axis=1)[:, 0] > 10]
    at = arrays.points[arrays.facets]
    cut = (np.abs(at[:, :, 0] - 10) < 1e-9).all(axis=1)
    sides = cells[:, [[1, 2, 3], [0, 3, 2], [0, 1, 3], [0, 2, 1]]].reshape(-1, 3)
    wall = sides[(np.abs(arrays.points[sides][:, :, 0] - 10) < 1e-9).all(axis=1)]
    keep = (at.mean(axis=1)[:, 0] > 10) & ~cut
    facets = np.concatenate([arrays.facets[keep], wall])
    high = arrays.points[wall].mean(axis=1)[:, 2] > 10
    tags = np.concatenate([arrays.tags[keep], np.where(high, 10, arrays.names["-x"])]).astype(np.int32)
    used, numbers = np.unique(np.concatenate([cells.ravel(), facets.ravel()]), return_inverse=True)
    split = len(cells) * 4
    return replace(
        arrays, points=arrays.points[used], cells=numbers[:split].reshape(-1, 4),
        facets=numbers[split:].reshape(-1, 3), tags=tags,
    )  # fmt: skip


def notched(width: int, run: int = 12) -> MeshArrays:
    """A trench of ``width`` x 5 um along y, or as far as ``run`` um, dug into the top of a straight lattice."""
    counts = (20, 12, 10)
    arrays = box(counts, tuple(float(c) for c in counts))  # type: ignore[arg-type]
    lattice = np.stack(np.meshgrid(*(np.arange(c + 1) for c in counts), indexing="ij"), axis=-1).reshape(-1, 3)
    points = lattice.astype(float)
    middle = points[arrays.cells].mean(axis=1)
    cells = arrays.cells[~((np.abs(middle[:, 0] - 10) < width / 2) & (middle[:, 2] > 5) & (middle[:, 1] < run))]
    sides = np.sort(cells[:, [[1, 2, 3], [0, 3, 2], [0, 1, 3], [0, 2, 1]]].reshape(-1, 3), axis=1)
    sides, count = np.unique(sides, axis=0, return_counts=True)
    facets = sides[count == 1]
    tags = np.full(len(facets), 10, dtype=np.int32)
    for name, (axis, side) in FACES.items():
        plane = counts[axis] * side
        tags[(points[facets][:, :, axis] == plane).all(axis=1)] = arrays.names[name]
    return replace(arrays, points=points, cells=cells, facets=facets, tags=tags, names=arrays.names | {"trench": 10})


def length(edge: SharpEdge, arrays: MeshArrays) -> float:
    return float(edge.steps(arrays.points).sum())


def sampled(arrays: MeshArrays, potential: Any, tensor: Floats = TENSOR) -> Floats:
    """Material forces of a given potential, um in, interpolated at degree 2."""
    mesh = distribute(arrays, MPI.COMM_SELF)
    space = dolfinx.fem.functionspace(mesh.mesh, ("Lagrange", 2))
    phi = dolfinx.fem.Function(space)
    phi.interpolate(lambda x: potential(x * UM))
    problem = ConductionProblem(mesh, 2, space, tensor / SIGMA, SIGMA, {}, {}, {})
    return material_forces(cast(Solution, SimpleNamespace(problem=problem, phi=phi)))


def root(across: Floats, behind: Floats) -> Floats:
    """The field of an edge at the origin with the lithium on across = 0, behind > 0."""
    return np.asarray(SLOPE * np.sqrt((np.hypot(across, behind) - behind) / 2))


# --- where edges run --------------------------------------------------------------------------------------------------


def test_the_rim_of_a_sheet() -> None:
    """Bug: the sheet's border on the walls or the plating face counts as an edge, or the advance points inwards."""
    arrays = standing()
    (edge,) = sharp_edges(arrays, ("+z", "sheet"), WALLS)
    assert length(edge, arrays) == pytest.approx(3, rel=1e-9)
    assert (edge.faces, edge.mirrored, edge.ring, edge.surface, edge.is_crack) == (2, False, False, "sheet", True)
    np.testing.assert_allclose(edge.advance, np.tile([0, 0, -1], (4, 1)), atol=1e-9)
    np.testing.assert_allclose(arrays.points[edge.vertices][:, [0, 2]], 10, atol=1e-9)


def test_given_edges_are_taken_and_no_others() -> None:
    """Bug: a polyline far from any fold, or beside it, is taken for an edge, or one that is too short is dropped."""
    arrays = standing()
    (found,) = sharp_edges(arrays, ("+z", "sheet"), WALLS)
    line = arrays.points[found.vertices[:3]]
    (part,) = sharp_edges(arrays, ("+z", "sheet"), WALLS, (line,))
    assert set(found.vertices[:3]) <= set(part.vertices) <= set(found.vertices)
    away = line + np.array([0.0, 0.0, -5.0]) * np.abs(line).max()
    assert sharp_edges(arrays, ("+z", "sheet"), WALLS, (away,)) == []


def test_a_sheet_in_a_mirror_plane() -> None:
    """Bug: the border between lithium and wall in one plane is taken for a flat surface, or for a patch."""
    arrays = halved()
    (edge,) = sharp_edges(arrays, ("+z", "sheet"), WALLS)
    assert length(edge, arrays) == pytest.approx(3, rel=1e-9)
    assert (edge.faces, edge.mirrored, edge.is_crack) == (1, True, True)
    assert edge.angle == pytest.approx(2 * np.pi)
    np.testing.assert_allclose(edge.advance, np.tile([0, 0, -1], (4, 1)), atol=1e-9)


def test_a_patch_in_an_insulating_plane() -> None:
    """Bug: an insulating plane that is no wall of the block is taken for a mirror of the body."""
    arrays = box((8, 10, 4), (20.0, 30.0, 50.0), crack="a")
    (edge,) = sharp_edges(arrays, ("a",), (*WALLS, "+z"))
    assert (edge.faces, edge.mirrored, edge.surface) == (1, False, "a")
    np.testing.assert_allclose(edge.advance, np.tile([1, 0, 0], (11, 1)), atol=1e-9)
    assert sharp_edges(arrays, ("+z", "a"), WALLS) == []


def test_a_trench_has_two_edges_of_270_degrees() -> None:
    """Bug: the angle is that of the lithium, or convex corners count, or the mirror walls cut the ball in half."""
    arrays = notched(10)
    edges = sharp_edges(arrays, ("+z", "trench"), WALLS)
    assert [length(edge, arrays) for edge in edges] == pytest.approx([12, 12])
    for edge in edges:
        assert np.degrees(edge.angle) == pytest.approx(270)
        assert (edge.faces, edge.is_crack, edge.surface) == (2, False, "trench")
        np.testing.assert_allclose(np.abs(edge.advance), np.tile([0.5**0.5, 0, 0.5**0.5], (13, 1)), atol=1e-9)
        assert (edge.advance[:, 2] < 0).all()


def test_short_folds_are_noise() -> None:
    """Bug: a voxel of a measured surface is reported as an edge."""
    assert sharp_edges(notched(2, 2), ("+z", "trench"), WALLS) == []


def test_a_rim_is_cut_at_its_corners() -> None:
    """Bug: the intensity is evaluated round a corner, where there is none, or a ring is not closed."""
    strip = standing(lambda x: x[:, 2] < 13)
    # The upper rim follows the cells, up and down by a part of their size.
    assert [length(edge, strip) for edge in sharp_edges(strip, ("sheet",), WALLS)] == pytest.approx([3, 3], rel=0.05)
    arrays = box((4, 9, 8), (4.0, 9.0, 8.0), sheet=(2.0, 2.0))
    middle = arrays.points[arrays.facets].mean(axis=1)
    drop = (arrays.tags == 10) & ((np.abs(middle[:, 1] - 4.5) > 2.5) | (middle[:, 2] > 6))
    tile = replace(arrays, facets=arrays.facets[~drop], tags=arrays.tags[~drop])
    edges = sharp_edges(tile, ("sheet",), WALLS)
    assert len(edges) == 4
    assert not any(edge.ring for edge in edges)
    inner = np.mean([arrays.points[edge.vertices].mean(axis=0) for edge in edges], axis=0)
    for edge in edges:
        assert ((arrays.points[edge.vertices] - inner) * edge.advance).sum(axis=1).min() > 0


def test_a_round_patch_is_a_ring() -> None:
    """Bug: the ring is cut at an arbitrary vertex, or its end is not its beginning."""
    arrays = box((40, 40, 1), (20.0, 20.0, 4.0))
    top = (arrays.tags == arrays.names["+z"]) & (
        np.hypot(*(arrays.points[arrays.facets].mean(axis=1)[:, :2] - 10).T) < 6
    )
    arrays = replace(arrays, tags=np.where(top, 10, arrays.tags).astype(np.int32), names=arrays.names | {"disc": 10})
    edges = sharp_edges(arrays, ("disc",), (*WALLS, "+z"))
    turns = sum(float(edge.steps(arrays.points).sum()) for edge in edges)
    assert turns > 2 * np.pi * 6  # a ragged circle, in pieces or as one
    smooth = round_patch(24)
    (ring,) = sharp_edges(smooth, ("disc",), (*WALLS, "+z"))
    assert ring.ring
    out = smooth.points[ring.vertices] - [10, 10, 4]
    np.testing.assert_allclose(ring.advance, out / 6, atol=1e-6)


def round_patch(sectors: int) -> MeshArrays:
    """Two rings of flat triangles in the face +z, the inner one a disc of radius 6 um; cells only round its border."""
    angle = 2 * np.pi * np.arange(sectors) / sectors
    circle = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
    centre = np.array([[10.0, 10.0, 4.0]])
    points = np.concatenate([centre, centre + 6 * circle, centre + 8 * circle, centre - [0, 0, 4]])
    a = 1 + np.arange(sectors)
    b, below = np.roll(a, -1), np.full(sectors, 2 * sectors + 1)
    inner = np.stack([0 * a, a, b], axis=1)
    outer = np.concatenate([np.stack([a, a + sectors, b], axis=1), np.stack([b, a + sectors, b + sectors], axis=1)])
    facets = np.concatenate([inner, outer])
    cells = np.concatenate([facets, np.concatenate([below, below, below])[:, None]], axis=1)
    names = {name: tag for tag, name in enumerate(FACES, 1)} | {"disc": 10}
    tags = np.repeat([10, names["+z"]], [sectors, 2 * sectors]).astype(np.int32)
    return MeshArrays(points, cells, facets, tags, names, UM)


# --- intensity --------------------------------------------------------------------------------------------------------


def test_intensity_of_a_sampled_field() -> None:
    """Bug: a wrong factor between power and K, or the tube cut where it should not be."""
    arrays = standing()
    forces = sampled(arrays, lambda x: root(x[0] - 10 * UM, x[2] - 10 * UM))
    found = edge_intensity(arrays, sharp_edges(arrays, ("sheet",), WALLS), forces, TENSOR)
    assert found is not None
    assert found.value == pytest.approx([INTENSITY], rel=0.01)
    assert found.release == pytest.approx(found.value**2 / SIGMA, rel=1e-12)
    assert found.length == pytest.approx([3 * UM])
    assert found.mean == found.value[found.largest]
    np.testing.assert_allclose(found.place, [[10 * UM, 1.5 * UM, 10 * UM]], rtol=1e-9)


def test_half_a_body_has_the_intensity_of_the_whole() -> None:
    """Bug: a sheet in a mirror plane releases half of the power and K comes out smaller by the root of two."""
    arrays = halved()
    forces = sampled(arrays, lambda x: root(x[0] - 10 * UM, x[2] - 10 * UM))
    found = edge_intensity(arrays, sharp_edges(arrays, ("sheet",), WALLS), forces, TENSOR)
    assert found is not None
    assert found.value == pytest.approx([INTENSITY], rel=0.01)
    assert found.release == pytest.approx(found.value**2 / SIGMA, rel=1e-12)


def test_a_patch_releases_half_the_power() -> None:
    """Bug: the other face of a patch, which is not there, is counted in its release rate."""
    arrays = box((20, 3, 10), (20.0, 3.0, 10.0), crack="a")
    forces = sampled(arrays, lambda x: root(x[2] - 10 * UM, 10 * UM - x[0]))
    found = edge_intensity(arrays, sharp_edges(arrays, ("a",), (*WALLS, "+z")), forces, TENSOR)
    assert found is not None
    assert found.value == pytest.approx([INTENSITY], rel=0.01)
    assert found.release == pytest.approx(found.value**2 / SIGMA / 2, rel=1e-12)


def test_intensity_in_an_anisotropic_electrolyte() -> None:
    """Bug: the conductivity along the edge, or only one of the two across it, is used."""
    arrays = standing()
    across, ahead = 0.2, 0.05
    tensor = np.diag([across, 7.0, ahead])
    # φ = SLOPE √r cos(θ/2) in coordinates divided by the roots of the conductivities.
    forces = sampled(arrays, lambda x: root((x[0] - 10 * UM) / across**0.5, (x[2] - 10 * UM) / ahead**0.5), tensor)
    found = edge_intensity(arrays, sharp_edges(arrays, ("sheet",), WALLS), forces, tensor)
    # j = σ_x ∂φ/∂x at x = 0 is √σ_x σ_z^(1/4) SLOPE/(2 √s).
    exact = np.sqrt(2 * np.pi) * across**0.5 * ahead**0.25 * SLOPE / 2
    assert found is not None
    assert found.value == pytest.approx([exact], rel=0.02)


def test_a_long_edge_has_stations() -> None:
    """Bug: stations are numbered from the wrong end, or their lengths do not add up to that of the edge."""
    arrays = box((10, 40, 10), (10.0, 40.0, 10.0), sheet=(5.0, 5.0))
    edges = sharp_edges(arrays, ("sheet",), WALLS)
    # K doubles along the edge; a field that is linear along it is still harmonic.
    forces = sampled(arrays, lambda x: (1 + x[1] / (40 * UM)) * root(x[0] - 5 * UM, x[2] - 5 * UM))
    found = edge_intensity(arrays, edges, forces, TENSOR)
    assert found is not None
    assert len(found.value) == 6
    assert found.length.sum() == pytest.approx(40 * UM)
    y = found.place[:, 1] / (40 * UM)
    assert found.largest == y.argmax()
    # Current passes the walls in this field, so the two halves of a hat there release another power.
    np.testing.assert_allclose(found.value[1:-1] / INTENSITY, 1 + y[1:-1], rtol=0.02)
    assert found.mean == pytest.approx(1.5 * INTENSITY, rel=0.01)
    assert found.csv().count("\n") == 7


def test_no_tube_no_intensity() -> None:
    """Bug: with two edges within one tube each gets the power of both."""
    arrays = standing(lambda x: x[:, 2] < 12)
    forces = sampled(arrays, lambda x: x[2])
    found = edge_intensity(arrays, sharp_edges(arrays, ("sheet",), WALLS), forces, TENSOR)
    assert found is not None
    assert not found.known.any()


def test_edges_that_are_no_cracks_have_none() -> None:
    """Bug: a square-root law is fitted to a corner."""
    arrays = notched(10)
    edges = sharp_edges(arrays, ("+z", "trench"), WALLS)
    assert edge_intensity(arrays, edges, np.zeros((len(arrays.points), 3)), TENSOR) is None


# --- figures ----------------------------------------------------------------------------------------------------------


def study(arrays: MeshArrays, *lithium: str, forces: Floats | None = None, resistive: bool = False) -> EdgeStudy:
    edges = tuple(sharp_edges(arrays, lithium, WALLS)) if lithium else ()
    return EdgeStudy(arrays, edges, resistive, np.zeros_like(arrays.points) if forces is None else forces, TENSOR)


def figures(study: EdgeStudy | None, tip_radius: float | None = None) -> dict[str, Metric]:
    return {metric.name: metric for metric in intensity_figures(study, tip_radius)}


def test_figures_of_a_crack_edge() -> None:
    """Bug: the tip flux uses the tip's diameter, or g is of one face."""
    arrays = standing()
    forces = sampled(arrays, lambda x: root(x[0] - 10 * UM, x[2] - 10 * UM))
    found = figures(study(arrays, "sheet", forces=forces), 20e-9)
    value = found["edge_flux_intensity"].value
    assert value is not None
    assert value == pytest.approx(INTENSITY, rel=0.01)
    assert found["edge_flux_intensity_mean"].value == value
    assert found["edge_field_intensity"].value == pytest.approx(value / SIGMA)
    assert found["edge_tip_flux"].value == pytest.approx(value / np.sqrt(np.pi * 20e-9))
    assert found["dissipation_release_rate"].value == pytest.approx(value**2 / SIGMA)
    assert found["edge_flux_intensity"].place == pytest.approx((10 * UM, 1.5 * UM, 10 * UM))
    assert found["edge_flux_intensity"].local_size == pytest.approx(UM, rel=0.3)
    without = figures(study(arrays, "sheet", forces=forces))["edge_tip_flux"]
    assert (without.value, without.absent) == (None, "metrics.tip_radius is not given")


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (lambda: None, "the sharp edges were not looked for"),
        (lambda: study(standing(), resistive=True), "behind an interfacial resistance"),
        (lambda: study(box((2, 2, 2), (1.0, 1.0, 1.0)), "+z"), "has no sharp edge"),
        (lambda: study(notched(10), "+z", "trench"), r"the sharpest here has 270°, where j goes as s\^\(-0.33\)"),
        (lambda: study(standing(lambda x: x[:, 2] < 12), "sheet"), "no tube of 3 mesh edges"),
    ],
)
def test_why_there_is_no_intensity(made: Any, reason: str) -> None:
    """Bug: a figure is missing without a word, or for the wrong reason."""
    found = figures(made())
    assert len(found) == 5
    for metric in found.values():
        assert metric.value is None
        with pytest.raises(ValueError, match=reason):
            raise ValueError(metric.absent)


def test_the_blurred_area_is_three_mesh_edges_wide() -> None:
    """Bug: a sheet in a mirror plane, with one of its faces in the mesh, counts twice."""
    for arrays, faces in ((standing(), 2), (halved(), 1)):
        area, size = study(arrays, "sheet").blurred_area(("sheet",))
        assert area == pytest.approx(3 * UM * UM * 3 * faces / 2, rel=0.05)
        assert size == pytest.approx(UM, rel=0.3)
        assert study(arrays, "sheet").blurred_area(("+z",)) == (0.0, 0.0)


def test_quantiles_in_the_blurred_tail_are_withheld() -> None:
    """Bug: q99 beside a sharp edge is a figure of the mesh, or current-weighted tails are taken for as wide."""
    blurred, count = 0.02, 20
    x, y = (side.ravel() for side in np.meshgrid(*[np.arange(count + 1.0)] * 2, indexing="ij"))
    number = np.arange((count + 1) ** 2).reshape(count + 1, count + 1)
    a, b, c, d = (part.ravel() for part in (number[:-1, :-1], number[1:, :-1], number[1:, 1:], number[:-1, 1:]))
    facets = np.concatenate([np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)])
    points = np.stack([x, y, 0 * x], axis=1) * UM
    one = np.zeros(len(facets), dtype=np.int64)
    flux = LithiumFlux(points, facets, one, ("+z",), x[facets], np.ones(len(facets)))
    solution = cast(Solution, SimpleNamespace(problem=SimpleNamespace(contact={}, fixed={}, imposed={}), factor=1.0))
    e = Evaluation(case_of(), solution, flux, {"+z": (2e-8,) * 3}, (1.0, np.zeros(3), 1.0))
    e.__dict__["edges"] = SimpleNamespace(
        blurred_area=lambda names: (blurred * flux.area, UM), intensity=None, resistive=True, edges=()
    )
    found = evaluate(e)
    assert found["flux_tail_limit"].value == pytest.approx(blurred)
    given = {name for name, metric in found.items() if name.startswith("flux_q") and metric.value is not None}
    assert {"flux_q50", "flux_q90", "flux_q95", "flux_q50_current_weighted"} <= given
    assert "flux_q99" not in given
    assert "flux_q99_current_weighted" not in given
    assert (found["flux_q99"].absent or "").startswith("1.0% of the area lie above it, and the mesh blurs 2.0%")
    assert (found["flux_q99"].absent or "").endswith("Lower mesh.size_min to 5e+02 nm")


def test_a_table_has_a_row_a_station() -> None:
    """Bug: columns and header differ."""
    one = np.array([1.0])
    table = EdgeIntensity(np.array([0]), one, np.ones((1, 3)), np.array([np.nan]), *[one] * 5).csv()
    head, row = table.splitlines()
    assert head.count(",") == row.count(",")
    assert "nan" in row
