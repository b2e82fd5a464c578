"""Random pores: as many as asked for, apart from each other and the faces, the same for the same seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.spatial.distance import pdist, squareform

from fem_spall.crack.base import Block
from fem_spall.crack.pores import Pores
from fem_spall.errors import GeometryError
from fem_spall.mesh.embed import shells

BLOCK = Block((20e-6, 20e-6, 30e-6))
UM = 1e-6


def pores(**keys: Any) -> Pores:
    data = {"name": "p", "kind": "pores", "radius": "0.7 um", "contact": "isolated"}
    return Pores.model_validate(data | ({} if "porosity" in keys else {"count": 150}) | keys)


@pytest.mark.parametrize("shape", ["spherical", "faceted"])
def test_pores_keep_apart(shape: str) -> None:
    """Bug: two pores overlap, and the surface is no surface; or a face cuts one, and it touches the electrode."""
    made = pores(shape=shape, spread=0.3, seed=3, gap="0.1 um")
    centres, radii = made.placed(BLOCK)
    assert len(radii) == 150
    assert np.std(np.log(radii)) == pytest.approx(0.3, rel=0.2)
    distance = squareform(pdist(centres)) + np.eye(150)
    assert (distance >= radii[:, None] + radii[None] + 0.1 * UM - np.eye(150)).all()
    surface = made.surface(BLOCK)
    assert shells(surface.faces).max() + 1 == 150
    assert (surface.bounds[0] > 0).all()
    assert (surface.bounds[1] < BLOCK.size).all()


def test_porosity_counts_the_volume() -> None:
    """Bug: porosity is that of the largest radius, or of the whole block instead of the given depths."""
    made = pores(porosity=0.05, spread=0.3, depth=["5 um", "20 um"], seed=1)
    centres, radii = made.placed(BLOCK)
    layer = 20 * 20 * 15 * UM**3
    assert (4 / 3 * np.pi * radii**3).sum() / layer == pytest.approx(0.05, rel=1e-12)
    assert made.surface(BLOCK).volume / layer == pytest.approx(0.05, rel=0.03)  # triangles for balls
    depth = BLOCK.depth(centres)
    assert depth.min() > 5 * UM
    assert depth.max() < 20 * UM


def test_decay_puts_them_near_the_electrode() -> None:
    """Bug: the profile is turned round, or its length is ignored."""
    centres, _ = pores(decay="4 um", radius="0.2 um", count=2000).placed(BLOCK)
    assert BLOCK.depth(centres).mean() == pytest.approx(4 * UM, rel=0.12)
    flipped = pores(decay="4 um", radius="0.2 um", count=200).placed(Block(BLOCK.size, "-z"))[0]
    assert flipped[:, 2].mean() < 6 * UM


def test_the_seed_decides() -> None:
    """Bug: the same case gives another mesh tomorrow."""
    one, same, other = (pores(shape="faceted", seed=seed).surface(BLOCK).sha256 for seed in (4, 4, 5))
    assert one == same != other


def test_what_pores_refuse() -> None:
    with pytest.raises(GeometryError, match="must find places for 3000 pores that do not overlap; found"):
        pores(count=3000).placed(BLOCK)
    with pytest.raises(GeometryError, match="must fit between the faces"):
        pores(count=1, radius="11 um").placed(BLOCK)
    with pytest.raises(ValidationError, match="give either count or porosity"):
        pores(porosity=0.1, count=10)
    with pytest.raises(ValidationError, match="pores touch no electrode"):
        pores(contact="plating")
