"""Changes of shape of a surface, and arrays of cracks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from scipy.special import eval_legendre

from fem_spall.case import Case
from fem_spall.case_file import case_hash, load_case, write_case
from fem_spall.crack import Block
from fem_spall.crack.transform import Transform
from tests.conftest import ROOT

BLOCK = Block((20e-6, 20e-6, 50e-6))
CENTRE = np.array([10e-6, 10e-6, 45e-6])
RADIUS = 5e-6


def sphere() -> tuple[Any, Any]:
    mesh = trimesh.creation.icosphere(4, radius=RADIUS)
    return np.array(mesh.vertices) + CENTRE, np.array(mesh.faces)


@pytest.mark.parametrize(("opening", "radius"), [("0.2 um", 5.1e-6), ("-0.5 um", 4.75e-6)])
def test_an_opening_moves_each_wall_by_half(opening: str, radius: float) -> None:
    # Catches: the whole width at each wall, a wrong sense of the normal.
    x, faces = sphere()
    found = np.linalg.norm(Transform(opening=opening).apply(x, faces, BLOCK) - CENTRE, axis=1)  # type: ignore[arg-type]
    assert found == pytest.approx(np.full(len(x), radius), rel=1e-4)


def test_flat_walls_move_by_half_up_to_their_folds() -> None:
    # Catches: corners that move by the wall's half only, so that the walls near them move less.
    box = trimesh.creation.box((4e-6, 1e-6, 6e-6)).subdivide().subdivide()
    x = np.array(box.vertices) + CENTRE
    y = Transform(opening="0.2 um").apply(x, np.array(box.faces), BLOCK)  # type: ignore[arg-type]
    assert np.ptp(y, axis=0) == pytest.approx([4.2e-6, 1.2e-6, 6.2e-6], rel=2e-3)


def test_depth_is_counted_from_the_plating_face() -> None:
    # Catches: scaling about the middle, or from the wrong electrode.
    x, faces = sphere()
    for face, mouth in (("+z", 50e-6), ("-z", 0.0)):
        y = Transform(depth=1.5).apply(x, faces, Block(BLOCK.size, face))  # type: ignore[arg-type]
        assert np.abs(y[:, 2] - mouth) == pytest.approx(1.5 * np.abs(x[:, 2] - mouth))
        assert y[:, :2] == pytest.approx(x[:, :2])


@pytest.mark.parametrize(("share", "left"), [(1.0, 0.5), (0.25, 256 / 257), (4.0, 1 / 257)])
def test_smoothing_halves_its_wavelength(share: float, left: float) -> None:
    # Catches: a filter of another wavelength or order. On a sphere degree l has wavelength 2 pi R / sqrt(l (l + 1)).
    x, faces = sphere()
    degree = 12
    normal = (x - CENTRE) / RADIUS
    wave = eval_legendre(degree, normal[:, 2])
    wavelength = float(2 * np.pi * RADIUS / np.sqrt(degree * (degree + 1)))
    rough = x + 2e-8 * wave[:, None] * normal
    smooth = Transform(smooth=f"{share * wavelength!r} m").apply(rough, faces, BLOCK)  # type: ignore[arg-type]
    height = np.linalg.norm(smooth - CENTRE, axis=1) - RADIUS
    kept = np.linalg.lstsq(np.column_stack([wave, np.ones_like(wave)]), height, rcond=None)[0][0] / 2e-8
    # The curvature of the sphere adds a term of order wavelength / radius.
    assert kept == pytest.approx(left, abs=0.1)


def test_a_transform_that_makes_walls_cross_is_refused(tmp_path: Path) -> None:
    # Catches: a lens of negative thickness meshed as if it were one.
    from fem_spall.errors import GeometryError

    config = ROOT / "configs" / "quickstart.yaml"
    lens: Any = load_case(config).cracks[0]
    block = load_case(config).block
    deeper: Any = load_case(config, ["cracks.lens.transform={depth: 1.25}"]).cracks[0]
    assert deeper.surface(block).volume == pytest.approx(1.25 * lens.surface(block).volume, rel=1e-6)
    closed: Any = load_case(config, ["cracks.lens.transform={opening: -4 um}"]).cracks[0]
    with pytest.raises(GeometryError, match="runs through itself"):
        closed.surface(block)


def loaded(tmp_path: Path, crack: str) -> Case:
    text = (ROOT / "configs" / "penny.yaml").read_text()
    start, end = text.index("cracks:"), text.index("mesh:")
    path = tmp_path / "case.yaml"
    path.write_text(f"{text[:start]}cracks: [{crack}]\n{text[end:]}")
    return load_case(path)


def test_an_array_is_its_cracks_written_out(tmp_path: Path) -> None:
    # Catches: an array off its middle, copies with one name, a resolved case that spreads a second time.
    boss = "name: {}, kind: spheroid, centre: [{} um, 15 um], depth: 2 um, radius: 1 um"
    array = loaded(tmp_path, "{" + boss.format("b", 10) + ", array: {count: [3, 1], spacing: 4 um}}")
    single = loaded(tmp_path, ", ".join("{" + boss.format(f"b_{k + 1}", x) + "}" for k, x in enumerate((6, 10, 14))))
    assert case_hash(array) == case_hash(single)
    (tmp_path / "resolved.yaml").write_text(write_case(array))
    assert load_case(tmp_path / "resolved.yaml").cracks == array.cracks


def test_arrays_in_two_directions_and_of_other_kinds(tmp_path: Path) -> None:
    # Catches: x and y exchanged; kinds without a centre left where they are.
    grid: Any = loaded(tmp_path, "{name: p, kind: pore, centre: [10 um, 15 um, 20 um], radius: 1 um, "
                                 "array: {count: [2, 2], spacing: 4 um, spacing_y: 6 um}}").cracks  # fmt: skip
    assert [crack.name for crack in grid] == ["p_1_1", "p_1_2", "p_2_1", "p_2_2"]
    assert np.array([crack.centre for crack in grid]) * 1e6 == pytest.approx(
        np.array([[8, 12, 20], [8, 18, 20], [12, 12, 20], [12, 18, 20]])
    )
    slits: Any = loaded(tmp_path, "{name: s, kind: blade, position: 10 um, depth: 2 um, opening: 1 um, "
                                  "array: {count: [2, 1], spacing: 4 um}}").cracks  # fmt: skip
    assert [slit.position for slit in slits] == pytest.approx([8e-6, 12e-6])
    file = ROOT / "meshes" / "crack.stl"
    files: Any = loaded(tmp_path, f"{{name: f, kind: surface_file, file: {file}, unit: um, array: {{count: [1, 2], "
                                  "spacing: 4 um}}").cracks  # fmt: skip
    assert [crack.place.shift for crack in files] == [pytest.approx((0, -2e-6, 0)), pytest.approx((0, 2e-6, 0))]
