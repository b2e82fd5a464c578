"""Patches of the plating face: discs at random, polygons, and what a run makes of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.spatial.distance import pdist

from fem_spall.crack.base import Block
from fem_spall.crack.patch import Patch, Patches
from fem_spall.errors import GeometryError
from fem_spall.estimate import measure
from fem_spall.mesh.worker import mesh_case
from tests.solids import UM, case_of

BLOCK = Block((20e-6, 30e-6, 50e-6))


def patches(**keys: Any) -> Patches:
    return Patches.model_validate({"name": "p", "kind": "patches", "radius": "1 um"} | keys)


def polygon(*corners: tuple[float, float]) -> Patch:
    text = [[f"{x} um", f"{y} um"] for x, y in corners]
    return Patch.model_validate({"name": "p", "kind": "patch", "polygon": text})


def test_coverage_is_the_share_of_the_face() -> None:
    """Bug: coverage counts the mean radius only, discs overlap, or the seed is ignored."""
    made = patches(coverage=0.2, spread=0.3, seed=3, gap="0.1 um")
    centres, radii = made.placed(BLOCK)
    assert np.pi * (radii**2).sum() == pytest.approx(0.2 * 600 * UM**2, rel=1e-12)
    assert pdist(centres).min() > 2 * radii.min()
    assert (centres - radii[:, None] > 0).all()
    assert (centres + radii[:, None] < BLOCK.size[:2]).all()
    assert np.array_equal(centres, made.placed(BLOCK)[0])
    assert not np.array_equal(centres, patches(coverage=0.2, spread=0.3, seed=4, gap="0.1 um").placed(BLOCK)[0])


def test_the_mesh_follows_discs_and_polygons() -> None:
    """Bug: the rim of a patch cuts through facets, or one of many discs is lost."""
    square = {"name": "square", "kind": "patch", "polygon": [["4 um", "5 um"], ["16 um", "5 um"], ["4 um", "17 um"]]}
    spots = {"name": "spots", "kind": "patches", "count": 3, "radius": "1.5 um", "seed": 9}
    mesh_keys = {"size_min": "1 um", "size_max": "8 um", "refine_tips": False, "order": 1}
    for crack, exact, tolerance in ((square, 72.0, 1e-9), (spots, 3 * np.pi * 1.5**2, 0.12)):
        case = case_of(cracks=[crack], mesh=mesh_keys)
        mesh = mesh_case(case, {})
        corners = mesh.points[mesh.facets[mesh.tags == mesh.names[crack["name"]], :3]] * mesh.unit / UM
        area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).sum() / 2
        assert area == pytest.approx(exact, rel=tolerance)
        assert measure(case)[0].area * 1e12 == pytest.approx(exact, rel=1e-6)


def test_what_patches_refuse() -> None:
    with pytest.raises(GeometryError, match="must find places for 150 discs that do not overlap; found"):
        patches(count=150, gap="1 um").placed(BLOCK)
    with pytest.raises(ValidationError, match="give either count or coverage"):
        patches()
    with pytest.raises(ValidationError, match="must not cross or touch itself"):
        polygon((0, 0), (2, 2), (2, 0), (0, 2))
    with pytest.raises(ValidationError, match="give either centre and radius, or polygon"):
        Patch.model_validate({"name": "p", "kind": "patch", "radius": "1 um"})
