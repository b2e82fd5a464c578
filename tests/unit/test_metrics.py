"""Figures of merit from made-up surface currents with closed forms; what is withheld, and why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from fem_spall.edge_figures import exponents
from fem_spall.fenics import MPI
from fem_spall.metrics import (
    FIGURES,
    Evaluation,
    Metric,
    distribution_table,
    evaluate,
    length_name,
)  # fmt: skip
from fem_spall.progress import Silent
from fem_spall.solve import Solution
from fem_spall.stage import solve_stage
from fem_spall.surface_flux import LithiumFlux
from tests.solids import UM, block_mesh, case_of, six_node_sphere, sphere

RADIUS = 5 * UM
J0 = 2.0  # A/m^2
AREA = 600 * UM**2
CRACK = {"name": "a", "kind": "surface_file", "file": "nowhere.stl", "unit": "um"}
BOSS_CURRENT = 3 * J0 * np.pi * RADIUS**2  # what a hemisphere draws: three times its footprint


def boss(subdivisions: int = 5, *, nodes: int = 6, sign: float = 1.0, **case: Any) -> Evaluation:
    """A hemisphere with j = 3 j0 cos θ in a plating face of 600 um^2; the flat rest draws what is left of I = j0 A."""
    points, facets = (six_node_sphere if nodes == 6 else sphere)(subdivisions, RADIUS)
    facets = facets[(points[facets][:, :, 2] > -1e-9 * RADIUS).all(axis=1)]
    rest = np.array([[0.0, 0.0], [20.0, 0.0], [20.0, 30.0], [0.0, 30.0]]) * UM * np.sqrt(1 - np.pi * 25 / 600)
    count = len(points)
    away = np.array([1.0, 0.0, 0.0])  # a metre away: out of every ball
    corners = np.concatenate([rest, np.zeros((4, 1))], axis=1) + away
    flat = np.array([[0, 1, 2], [0, 2, 3]]) + count
    if nodes == 6:
        middles = [(corners[i] + corners[j]) / 2 for i, j in ((0, 1), (1, 2), (2, 0), (2, 3), (3, 0))]
        flat = np.array([[0, 1, 2, 4, 5, 6], [0, 2, 3, 6, 7, 8]]) + count
        corners = np.concatenate([corners, middles])
    current = (J0 * AREA - BOSS_CURRENT) * sign
    density = np.concatenate([3 * J0 * points[facets[:, :3], 2] / RADIUS, np.full((2, 3), J0)]) * sign
    surface = np.repeat([1, 0], [len(facets), 2])
    flux = LithiumFlux(
        np.concatenate([points, corners]), np.concatenate([facets, flat]), surface, ("+z", "a"), density,
        np.ones(len(surface)),
    )  # fmt: skip
    currents = {"+z": (current,) * 3, "a": (BOSS_CURRENT * sign, *sorted((0.9 * BOSS_CURRENT * sign,
                                                                          1.2 * BOSS_CURRENT * sign))),
                "-z": (-J0 * AREA * sign,) * 3}  # fmt: skip
    problem = SimpleNamespace(contact={}, imposed={}, fixed={"-z": lambda x: np.full(x.shape[1], 0.05)})
    solution = cast(Solution, SimpleNamespace(problem=problem, factor=sign))
    return Evaluation(case_of(cracks=[CRACK], **case), solution, flux, cast(Any, currents), (7.0, np.zeros(3), 1e-7))


def value(figures: dict[str, Metric], name: str) -> float:
    found = figures[name].value
    assert found is not None, figures[name].absent
    return found


# --- the block as a whole ---------------------------------------------------------------------------------------------


def test_currents_and_resistances() -> None:
    """Bug: a figure is normalised by V/H, by the crack's area or by the wrong face."""
    found = evaluate(boss())
    exact = {
        "total_current": J0 * AREA, "mean_current_density": J0, "resistance": 0.05 / (J0 * AREA),
        "area_resistance": 0.05 / J0, "electrode_advance": 50 * UM - 0.1 * 0.05 / J0,
        "crack_current": BOSS_CURRENT, "crack_current_share": 3 * np.pi * 25 / 600,
        "capture_area": 3 * np.pi * RADIUS**2,
    }  # fmt: skip
    for name, expected in exact.items():
        assert value(found, name) == pytest.approx(expected, rel=1e-12, abs=0), name
    # The opening is what the flat electrode lacks of the cross-section.
    assert value(found, "capture_ratio") == pytest.approx(3, rel=1e-9)
    assert found["crack_current"].bounds == pytest.approx((0.9 * BOSS_CURRENT, 1.2 * BOSS_CURRENT))


def test_the_reference_may_be_given() -> None:
    """Bug: a stated reference current density is ignored, or changes the currents themselves."""
    found = evaluate(boss(metrics={"reference_current_density": "4 A/m^2", "averaging_lengths": ["2.5 um"]}))
    assert value(found, "mean_current_density") == pytest.approx(J0, rel=1e-12)
    assert value(found, "flux_q50") == pytest.approx(1.5 * J0 / 4, rel=1e-3)
    assert value(found, "fef_r2.5um") == pytest.approx(3 * (1 - 0.25**2) * J0 / 4, rel=2e-3)
    assert value(found, "capture_area") == pytest.approx(BOSS_CURRENT / 4, rel=1e-12, abs=0)


def test_without_a_single_potential_there_is_no_resistance() -> None:
    """Bug: the potential at the origin stands for a counter electrode whose potential varies."""
    law = {"kind": "exact_potential", "solution": "boss_on_plane", "parameters":
           {"field": "1 kV/m", "radius": "5 um", "centre": ["10 um", "15 um", "50 um"]}}  # fmt: skip
    electrodes = {"plating": {"face": "+z"}, "counter": {"face": "-z", "interface": law}}
    found = evaluate(boss(electrodes=electrodes))
    for name in ("resistance", "area_resistance", "electrode_advance"):
        assert found[name].value is None
        assert found[name].absent == "the counter electrode has no single potential in this case"
    assert value(found, "total_current") == pytest.approx(J0 * AREA)


def test_a_crack_without_an_opening_has_no_capture_ratio() -> None:
    """Bug: the capture area is divided by nothing."""
    whole = boss()
    flat = whole.flux.facets[whole.flux.surface == 0, :3]
    points = whole.flux.points.copy()
    points[np.unique(flat), :2] /= np.sqrt(1 - np.pi * 25 / 600)
    points[np.unique(flat), 0] += 1 - 1 / np.sqrt(1 - np.pi * 25 / 600)
    closed = replace(whole, flux=replace(whole.flux, points=points, facets=whole.flux.facets[:, :3]))
    found = evaluate(closed)["capture_ratio"]
    assert found.value is None
    assert "no opening in the plating face" in (found.absent or "")


def test_a_plain_block_has_figures_of_its_plating_face() -> None:
    """Bug: a case without cracks divides by their area, or reports shares of nothing."""
    whole = boss(metrics={"averaging_lengths": ["40 um"]})
    plain = replace(whole, case=case_of(metrics={"averaging_lengths": ["40 um"]}), flux=whole.flux.only(("+z",)))
    found = evaluate(plain)
    assert not [name for name in found if name.startswith(("crack", "capture"))]
    assert value(found, "flux_q99") == pytest.approx(AREA * J0 / plain.total_current, rel=1e-9)
    assert "the plating electrode" in found["flux_q99"].definition


# --- distribution and tip ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nodes", [3, 6])
def test_quantiles_of_the_hemisphere(nodes: int) -> None:
    """Bug: quantiles count vertices instead of area, or those weighted by current are the same."""
    found = evaluate(boss(nodes=nodes))
    for percent in (50, 90, 95, 99):
        q = percent / 100
        assert value(found, f"flux_q{percent}") == pytest.approx(3 * q, abs=5e-3)
        assert value(found, f"flux_q{percent}_current_weighted") == pytest.approx(3 * np.sqrt(q), abs=5e-3)


def test_area_and_current_above_the_critical_density() -> None:
    """Bug: the critical density is compared with j/j0, or the share is one of area."""
    found = evaluate(boss(metrics={"critical_current_density": "2.4 A/m^2"}))
    below = 2.4 / (3 * J0)
    assert value(found, "area_above_critical") == pytest.approx((1 - below) * 2 * np.pi * RADIUS**2, rel=5e-3, abs=0)
    assert value(found, "current_share_above_critical") == pytest.approx(1 - below**2, rel=5e-3)


def test_the_tip_flux_is_the_closed_form_with_its_place() -> None:
    """Bug: the ball mean is of another radius, or the place is in mesh units."""
    found = evaluate(boss(metrics={"averaging_lengths": ["1.25 um", "2.5 um"]}))
    for length, name in ((0.25, "fef_r1.25um"), (0.5, "fef_r2.5um")):
        assert value(found, name) == pytest.approx(3 * (1 - length**2 / 4), rel=2e-3)
        assert found[name].place == pytest.approx((0, 0, RADIUS), abs=0.2 * UM)
        assert found[name].averaging_length == pytest.approx(length * RADIUS)


def test_a_radius_below_three_local_sizes_is_withheld() -> None:
    """Bug: a mean over two facets is reported to four digits."""
    found = evaluate(boss(3, metrics={"averaging_lengths": ["300 nm", "4 um"]}))
    small = found["fef_r300nm"]
    assert small.value is None
    assert small.local_size is not None
    assert 3 * small.local_size > 300e-9
    assert (small.absent or "").startswith("the radius must be at least 3 local mesh sizes; ")
    assert (small.absent or "").endswith(
        f"the size there is {small.local_size * 1e9:.0f} nm. Lower mesh.size_min to 100 nm"
    )
    assert value(found, "fef_r4um") > 2.4


def test_a_mean_is_withheld_where_a_coarse_place_may_be_hotter() -> None:
    """Bug: the hottest place is passed over because the mesh is coarse there, and a colder one is reported."""
    fine = boss(metrics={"averaging_lengths": ["2.5 um"]})
    for density, given in ((4.0 * J0, False), (3.2 * J0, True)):
        points, faces = six_node_sphere(0, RADIUS)
        count = len(fine.flux.points)
        flux = LithiumFlux(
            np.concatenate([fine.flux.points, points + np.array([50 * UM, 0, 0])]),
            np.concatenate([fine.flux.facets, faces + count]),
            np.append(fine.flux.surface, np.ones(len(faces), dtype=np.int64)), fine.flux.names,
            np.concatenate([fine.flux.density, np.full((len(faces), 3), density)]),
            np.append(fine.flux.sides, np.ones(len(faces))),
        )  # fmt: skip
        metric = evaluate(replace(fine, flux=flux))["fef_r2.5um"]
        assert (metric.value is not None) == given
        if not given:
            assert "may be hotter (about 4)" in (metric.absent or "")


@pytest.mark.parametrize("exponent", [0.5, 2 / 3])
def test_the_exponent_of_a_power_law(exponent: float) -> None:
    """Bug: the sign of the slope, or the base of the logarithm, or the order of the lengths."""
    found = {m.name: m for m in exponents({r: 7.0 * r ** (exponent - 1) for r in (5e-7, 1e-7, 2.5e-7, 2e-6)})}
    assert value(found, "singularity_exponent") == pytest.approx(exponent, rel=1e-12)
    assert found["singularity_exponent"].bounds == pytest.approx((exponent, exponent), rel=1e-12)
    assert value(found, "tail_exponent") == pytest.approx(1 / (1 - exponent), rel=1e-12)


def test_how_the_exponent_follows_the_ball_means() -> None:
    """Bug: an error bar from weights that are not those of the fit."""
    means = {5e-7: 5.0, 1e-7: 11.0, 2.5e-7: 7.0}
    given = {m.name: m for m in exponents(means)}
    for name in ("singularity_exponent", "tail_exponent"):
        for length, goal in ((5e-7, "fef_r500nm"), (1e-7, "fef_r100nm"), (2.5e-7, "fef_r250nm")):
            moved = {m.name: m for m in exponents(means | {length: means[length] + 1e-6})}
            slope = (value(moved, name) - value(given, name)) / 1e-6
            assert (given[name].gradient or {})[goal] == pytest.approx(slope, rel=1e-5), (name, goal)


def test_the_exponent_needs_three_lengths_and_an_edge() -> None:
    """Bug: a line through two points, or a tail of a hemisphere, is reported."""
    lengths = ["1.25 um", "2.5 um", "40 nm"]
    two = evaluate(boss(metrics={"averaging_lengths": lengths}))
    for name in ("singularity_exponent", "tail_exponent"):
        assert two[name].value is None
        assert "for 3 averaging lengths at least; this mesh carries 2" in (two[name].absent or "")
    smooth = evaluate(boss(metrics={"averaging_lengths": ["1 um", "1.5 um", "2.5 um"]}))
    r = np.array([0.2, 0.3, 0.5])  # over the hemisphere's radius: the mean is 3 (1 − r²/4)
    slope = np.polyfit(np.log(r), np.log(1 - r**2 / 4), 1)[0]
    assert value(smooth, "singularity_exponent") == pytest.approx(1 + slope, abs=2e-3)
    assert "does not grow as a power of 1/r" in (smooth["tail_exponent"].absent or "")


def test_stripping_focuses_like_plating() -> None:
    """Bug: with the current reversed the coldest place is reported as the hottest, and q90 is q10."""
    lengths = {"averaging_lengths": ["2.5 um"]}
    one, other = (evaluate(boss(metrics=lengths, sign=sign)) for sign in (1.0, -1.0))
    assert one.keys() == other.keys()
    assert value(other, "total_current") == -J0 * AREA
    for name in one:
        if name.startswith(("flux_q", "fef", "capture", "resistance", "electrode", "crack_current_share")):
            assert value(other, name) == pytest.approx(value(one, name), rel=1e-12, abs=0), name


def test_the_distribution_table_falls_from_one_to_nothing() -> None:
    """Bug: the figure's curve is of values below, or loses the tail."""
    table = distribution_table(boss())
    assert len(table) <= 500
    focusing, area, current = table.T
    assert (np.diff(focusing) >= 0).all()
    np.testing.assert_allclose(area, np.clip(1 - focusing / 3, 0, 1), atol=5e-3)
    np.testing.assert_allclose(current, np.clip(1 - (focusing / 3) ** 2, 0, 1), atol=5e-3)
    assert area.min() < 1e-3


# --- names, records, errors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "name"),
    [(250e-9, "250nm"), (100 * 1e-9, "100nm"), (1e-6, "1um"), (2.5e-6, "2.5um"), (0.1 * 3e-6, "300nm"),
     (999.5e-9, "999.5nm"), (25e-9, "25nm"), (40e-6, "40um")]
)  # fmt: skip
def test_lengths_in_names(length: float, name: str) -> None:
    """Bug: rounding noise ends up in a key of the record: fef_r100.00000000000001nm."""
    assert length_name(length) == name


def test_a_record_says_what_it_has() -> None:
    """Bug: a missing error or value leaves no reason, or empty keys."""
    plain = Metric("x", "what it is", "m", 2.0)
    assert plain.record() == {"value": 2.0, "unit": "m", "error": None, "error_absent": "not estimated",
                              "definition": "what it is"}  # fmt: skip
    full = Metric("x", "d", "1", 2.0, error=0.1, error_method="how", place=(1.0, 2.0, 3.0), averaging_length=1e-7,
                  bounds=(1.0, 3.0), flag="mesh-dependent", local_size=1e-8)  # fmt: skip
    assert full.record() == {"value": 2.0, "unit": "1", "error": 0.1, "error_method": "how", "definition": "d",
                             "place_m": (1.0, 2.0, 3.0), "averaging_length_m": 1e-7, "bounds": (1.0, 3.0),
                             "flag": "mesh-dependent", "local_size": 1e-8}  # fmt: skip
    gone = Metric("x", "d", "1", absent="no mesh").record()
    assert (gone["value"], gone["absent"], gone["error_absent"]) == (None, "no mesh", "no mesh")


def test_every_figure_is_named_once_and_defined() -> None:
    """Bug: two figures share a name and one overwrites the other; a definition is empty."""
    e = boss()
    names = [metric.name for figure in FIGURES for metric in figure(e)]
    assert len(names) == len(set(names))
    assert all(m.definition and m.unit and (m.value is None) == (m.absent is not None) for m in evaluate(e).values())
    contract = {
        "resistance", "area_resistance", "electrode_advance", "total_current", "mean_current_density", "crack_current",
        "crack_current_share", "capture_area", "capture_ratio", "flux_q50", "flux_q90", "flux_q95", "flux_q99",
        "edge_flux_intensity", "max_field_on_mesh",
    }  # fmt: skip
    assert contract <= set(names)


def test_the_raw_maximum_is_flagged() -> None:
    """Bug: the largest field on the mesh is printed like a result."""
    raw = evaluate(boss())["max_field_on_mesh"]
    assert (raw.value, raw.flag, raw.local_size) == (7.0, "mesh-dependent", 1e-7)


def test_a_solved_block_has_the_figures_of_its_closed_form(tmp_path: Path) -> None:
    """Bug: what the figures are fed by the solver differs from what they expect."""
    arrays = block_mesh((4, 3, 4), crack="a")
    case = case_of(cracks=[CRACK], metrics={"averaging_lengths": ["40 um"]})
    record = solve_stage(case, arrays, MPI.COMM_SELF, tmp_path, Silent())
    assert record is not None
    metrics = record["metrics"]
    exact = {"crack_current_share": 0.5, "capture_area": 300 * UM**2, "capture_ratio": 1, "flux_q99": 1, "fef_r40um": 1}
    for name, expected in exact.items():
        assert metrics[name]["value"] == pytest.approx(expected, rel=1e-9, abs=0), name
        assert metrics[name]["error"] == pytest.approx(0, abs=1e-9 * expected), name
    least, most = metrics["crack_current"]["bounds"]
    assert least < metrics["crack_current"]["value"] < most
    assert abs(metrics["electrode_advance"]["value"]) < 1e-9 * 50 * UM
