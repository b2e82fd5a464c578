"""Spallation cracks: closed, repeatable, of the size asked for, and never cutting off their chip."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.spatial import cKDTree

from fem_spall.crack import Block, CrackSurface
from fem_spall.crack.spall import Spall, _grow, _samples
from fem_spall.crack.triangles import components
from fem_spall.errors import GeometryError

COARSE: dict[str, Any] = {
    "grain_size": "2 um",
    "opening": ["0.8 um", "0.6 um"],
    "resolution": "0.24 um",
    "pores": 2,
    "depth": "4 um",
}
SMALL: dict[str, Any] = COARSE | {"diameter": "7 um"}


def spall(**keys: Any) -> Spall:
    return Spall.model_validate({"name": "s", "kind": "spall", "centre": ["20 um", "25 um"]} | keys)


def grow(face: Literal["+z", "-z"] = "+z", **keys: Any) -> CrackSurface:
    return spall(**keys).surface(Block((40e-6, 50e-6, 50e-6), face))


@pytest.fixture(scope="module")
def small() -> CrackSurface:
    return grow(**SMALL)


def test_same_seed_same_bytes_other_seed_other_crack(small: CrackSurface) -> None:
    """Bug: the crack changes from run to run, or the seed does nothing."""
    assert grow(**SMALL).sha256 == small.sha256
    assert grow(**SMALL | {"seed": 2}).sha256 != small.sha256


@pytest.mark.parametrize(
    "keys", [{"seed": 3}, {"diameter": "11 um", "pores": 6}, {"depth": "9 um", "lip_angle": "90 deg"}, {"pores": 0}]
)
def test_one_closed_body_and_one_electrolyte(keys: dict[str, Any]) -> None:
    """Bug: islands, cavities or slits of the contour; or the crack cuts the chip off."""
    from manifold3d import Error, Manifold, Mesh64

    surface = grow(**SMALL | keys)
    assert surface.repairs == ()  # repair found it closed, consistent and without crossings
    assert components(surface.faces).max() == 0
    solid = Manifold(Mesh64(surface.vertices * 1e6, surface.faces.astype(np.uint64)))
    assert solid.status() == Error.NoError
    electrolyte = Manifold.cube((40, 50, 50)) - solid
    assert len(electrolyte.decompose()) == 1


def test_size_is_as_asked_for() -> None:
    """Bug: ring, depth or opening have another scale."""
    keys = COARSE | {"diameter": "11 um", "pores": 0}
    x, y, z = (grow(**keys).vertices * 1e6).T
    # The ring at the plating plane, the mean radius of both sides of the sheet; grains of 2 um move it.
    rim = np.abs(z - 50) < 0.3
    assert np.hypot(x - 20, y - 25)[rim].mean() == pytest.approx(5.5, abs=0.7)
    assert z.min() == pytest.approx(50 - 4 - 0.3, abs=0.2)  # half the opening rounds the tip
    assert z.max() > 50.4
    # Both walls are half the opening from the faces between grains: 0.4 um at the mouth to 0.3 um at the tip.
    sheet = _grow(spall(**keys), np.random.default_rng(1)).points * 1e6
    depth = np.clip(50 - z, 0, 4)
    distance = cKDTree(sheet).query(np.column_stack([x - 20, y - 25, 50 - z]))[0]
    assert np.percentile(np.abs(distance - (0.4 - 0.1 * depth / 4)), 95) < 0.03


def test_pores_widen_the_crack(small: CrackSurface) -> None:
    """Bug: the pores are lost in the union."""
    assert small.volume > grow(**SMALL | {"pores": 0}).volume * 1.02


def test_without_roughness_the_sheet_is_the_bowl() -> None:
    """Bug: roughness leaves part of the zigzag, moves the bowl, or opens holes between samples drawn apart."""
    smooth = spall(**SMALL | {"pores": 0, "roughness": 0})
    surface = smooth.surface(Block((40e-6, 50e-6, 50e-6)))
    r, depth = np.hypot(*(surface.vertices[:, :2] - smooth.centre).T), 50e-6 - surface.vertices[:, 2]
    wall = (depth > 0.5e-6) & (depth < 0.5 * smooth.depth)
    slope = (smooth.radius(depth + 1e-9) - smooth.radius(depth - 1e-9)) / 2e-9
    distance = np.abs(r - smooth.radius(depth)) / np.hypot(1, slope)
    half_width = (0.4 - 0.1 * depth / smooth.depth) * 1e-6
    assert np.abs(distance - half_width)[wall].max() < 0.05e-6
    assert components(surface.faces).max() == 0


def test_roughness_scales_the_distance_from_the_bowl() -> None:
    """Bug: half the roughness is not half the zigzag, or depths change with it."""
    rough, half = (_grow(spall(**SMALL | {"roughness": q}), np.random.default_rng(1)).points for q in (1, 0.5))
    bowl = spall(**SMALL).radius
    spread = [np.abs(np.hypot(x[:, 0], x[:, 1]) - bowl(x[:, 2])).max() for x in (rough, half)]
    assert spread[1] == pytest.approx(spread[0] / 2, rel=0.02)
    assert half[:, 2].max() == pytest.approx(rough[:, 2].max(), abs=0.02e-6)


def test_plating_face_below_mirrors_the_crack(small: CrackSurface) -> None:
    """Bug: with the plating face at -z the crack hangs from the wrong side, or inside out."""
    below = grow("-z", **SMALL)
    assert below.volume == pytest.approx(small.volume, rel=1e-9)
    assert np.allclose(below.bounds[:, 2], 50e-6 - small.bounds[::-1, 2], rtol=0, atol=1e-12)


def test_bowl_never_closes() -> None:
    """Bug: a steep or deep bowl ends in a point and its chip falls off."""
    for depth, angle in (("3 um", "30 deg"), ("15 um", "30 deg"), ("15 um", "90 deg"), ("5 um", "60 deg")):
        crack = spall(depth=depth, lip_angle=angle)
        radius = crack.radius(np.linspace(0, crack.depth, 50))
        assert radius[0] == pytest.approx(6e-6)
        assert radius.min() >= crack.grain_size * (1 - 1e-9)
        assert (np.diff(radius) <= 1e-20).all()
    slope = np.diff(spall(depth="3 um").radius(np.array([0, 1e-9])))[0] / 1e-9
    assert slope == pytest.approx(-1 / np.tan(np.radians(60)), rel=1e-3)


def test_samples_cover_the_polygon() -> None:
    """Bug: a gap between the samples is a hole in the sheet."""
    polygon = np.array([[0.0, 0, 0], [2, 0, 0], [2.5, 1.5, 0], [1, 2.2, 0], [-0.3, 1, 0]])
    turn = np.linalg.qr(np.random.default_rng(4).random((3, 3)))[0]
    samples = _samples(polygon @ turn.T, turn[:, 2], 0.1)
    rng = np.random.default_rng(5)
    weights = rng.dirichlet(np.ones(5) * 0.5, 2000)
    points = weights @ polygon @ turn.T
    nearest = np.linalg.norm(points[:, None] - samples, axis=2).min(axis=1)
    assert nearest.max() <= 0.0708
    assert np.abs(samples @ turn[:, 2]).max() < 1e-12


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"diameter": "5 um"}, "diameter must be at least three grain sizes"),
        ({"opening": ["1 um", "0.5 um"]}, "opening must be at most 0.4 grain sizes"),
        ({"resolution": "0.2 um"}, "resolution must be at most 0.4 of the smaller opening"),
        ({"resolution": "5 nm"}, "resolution is too fine"),
        ({"pore_size": "3 um"}, "pore_size must not exceed grain_size"),
        ({"lip_angle": "5 deg"}, "lip_angle must be between 20 and 90 degrees"),
    ],
)
def test_impossible_cracks(keys: dict[str, Any], message: str) -> None:
    """Bug: a crack that cannot be drawn is drawn as something else, or fills the memory."""
    with pytest.raises(ValidationError, match=message):
        spall(**keys)


def test_deeper_than_the_block() -> None:
    """Bug: the crack shorts the block without a word."""
    with pytest.raises(GeometryError, match="depth must be below the block's height, 50 um; got 60 um"):
        grow(depth="60 um")
