"""Filling over time: volumes below a level, exact courses of straight pits, balances, refusals."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from fem_spall.adapt import Solved
from fem_spall.boundary import FARADAY, MOLAR_VOLUME
from fem_spall.case import Case
from fem_spall.conduction import formulate
from fem_spall.errors import CaseError, SolveError
from fem_spall.fenics import MPI
from fem_spall.filling import fill_times, filling_series
from fem_spall.mesh.arrays import FACES, MeshArrays
from fem_spall.mesh.tagged import distribute
from fem_spall.mesh.wall import Wall
from fem_spall.progress import Silent
from fem_spall.solve import solve
from tests.conftest import ROOT
from tests.solids import UM, block_mesh, case_of

RATE = MOLAR_VOLUME / FARADAY  # m^3/C
WIDTH, DEPTH, LENGTH, HEIGHT = 6.0, 24.0, 2.0, 48.0  # of the slot's electrolyte side, the slot, the block, um
OPENING = 2.0
VOLUME = OPENING * DEPTH * LENGTH * UM**3


def slot(nx: int = 8, nz: int = 48, seed: int = 1) -> MeshArrays:
    """Half a slot with upright walls, OPENING x DEPTH, along the side -x of a thin block; its wall is named "pores"."""
    size = (OPENING + WIDTH, LENGTH, HEIGHT)
    across, down = round(nx * OPENING / size[0]), round(nz * DEPTH / HEIGHT)
    holes = [(i, 0, k) for i in range(across) for k in range(nz - down, nz)]
    arrays = block_mesh((nx, 1, nz), size, seed=seed, holes=holes)
    corners, high = arrays.points[arrays.facets], np.array(arrays.info["box"][1])
    tags = np.full(len(corners), arrays.names["pores"], dtype=np.int32)
    for name, (axis, side) in FACES.items():
        tags[(np.abs(corners[:, :, axis] - side * high[axis]) < 1e-9).all(axis=1)] = arrays.names[name]
    # The lattice moves at random; walls and front of the slot are made flat again.
    points = arrays.points.copy()
    wall = np.unique(arrays.facets[tags == arrays.names["pores"]])
    step = np.array(size) * UM / arrays.unit / (nx, 1, nz)
    for axis, place in ((0, OPENING), (2, HEIGHT - DEPTH)):
        at = place * UM / arrays.unit
        near = wall[np.abs(points[wall, axis] - at) < 0.3 * step[axis]]
        points[near, axis] = at
    return MeshArrays(points, arrays.cells, arrays.facets, tags, arrays.names, arrays.unit, arrays.info)


def slot_case(filling: dict[str, Any], plane: dict[str, Any] | None = None, wall: str | None = None) -> Case:
    law = {} if wall is None else {"interface": {"kind": "resistance", "value": wall}}
    return case_of(
        electrolyte={"size": [f"{OPENING + WIDTH} um", f"{LENGTH} um", f"{HEIGHT} um"], "conductivity": "0.1 S/m"},
        electrodes={"plating": {"face": "+z"} | ({} if plane is None else {"interface": plane}),
                    "counter": {"face": "-z", "drive": {"current_density": "0.5 mA/cm^2"}}},
        cracks=[{"name": "pores", "kind": "surface_file", "file": "none.stl", "unit": "um"} | law],
        filling=filling,
    )  # fmt: skip


CURRENT = 5.0 * (OPENING + WIDTH) * LENGTH * UM**2  # A, of 0.5 mA/cm^2


def filled(
    case: Case, arrays: MeshArrays | None, tmp: Path, volume: float = VOLUME, comm: Any = MPI.COMM_SELF
) -> dict[str, Any]:
    """The record, which is None on other ranks than the first."""
    mesh = distribute(arrays, comm)
    state = Solved(mesh, solve(formulate(case, mesh, 1), 1e-11), None, None, None, {})
    record: dict[str, Any] = filling_series(case, state, volume, tmp, Silent())  # type: ignore[assignment]
    return record


def column(record: dict[str, Any], key: str) -> NDArray[np.float64]:
    return np.array([row[key] for row in record["rows"]])


def test_volumes_below_a_level_are_exact() -> None:
    """Bug: a triangle cut by the level counts whole or not at all, or the normal of a facet points the wrong way."""
    wall = Wall.of(slot(), "pores", "+z", VOLUME)
    assert wall.scale == pytest.approx(1, rel=1e-12)
    for depth in (0.1, 3.37, 11.0, 23.9):
        assert wall.volume_above(depth * UM) == pytest.approx(OPENING * LENGTH * depth * UM**3, rel=1e-11)
        area = LENGTH * (DEPTH - depth) + OPENING * LENGTH
        assert wall.area_below(depth * UM) == pytest.approx(area * UM**2, rel=1e-11)


@pytest.mark.parametrize("tip", [False, True])
def test_cuts_say_how_far_the_wet_facets_are_from_the_level(tip: bool) -> None:
    """Bug: volumes belong to another level than the facets that are wet, so that lithium is made or lost."""
    wall = Wall.of(slot(), "pores", "+z", VOLUME)
    for cut in wall.cuts(tip, 0.2, 8):
        height = DEPTH * UM - cut.depth if tip else cut.depth
        assert cut.volume == pytest.approx(OPENING * LENGTH * UM**2 * height, rel=1e-10)
        bottom = OPENING * LENGTH * UM**2 if tip or cut.wet.all() else 0.0
        assert cut.area == pytest.approx(LENGTH * UM * height + bottom, rel=1e-10)
        assert 0 <= cut.jagged < 0.5 * LENGTH * UM**2  # half a lattice step of the rim


def test_a_wall_that_fills_evenly(tmp_path: Path) -> None:
    """Bug: Faraday's law with a factor, time steps of the wrong rule, or a wall that is not wet where it should be.

    Behind a resistance far above that of the electrolyte the current is even on all wet area: I_c = I a/(A + a) with
    the plane A and the wall's a = LENGTH h. Then (A/LENGTH) ln(h/h₀) + h − h₀ = I V_m/F t/(OPENING LENGTH).
    """
    plane = {"kind": "resistance", "value": "1e7 ohm cm^2"}
    case = slot_case({"start": "10 %", "steps": 8}, plane, "1e7 ohm cm^2")
    rows = filled(case, slot(), tmp_path)
    volume, time = column(rows, "filled_volume_m3")[:-1], column(rows, "time_s")[:-1]
    height = volume / (OPENING * LENGTH * UM**2)
    exact = (WIDTH * UM * np.log(height / height[0]) + height - height[0]) * OPENING * LENGTH * UM**2 / CURRENT / RATE
    error = column(rows, "time_error_of_steps_s")[:-1] + column(rows, "time_error_of_currents_s")[:-1]
    assert column(rows, "crack_current_share")[:-1] == pytest.approx(height / (height + WIDTH * UM), rel=1e-5)
    assert (np.abs(time - exact) <= error + 1e-5 * time).all()
    assert time == pytest.approx(exact, rel=1.5e-2)


def test_a_clean_slot_takes_what_the_field_brings(tmp_path: Path) -> None:
    """Bug: the dry wall conducts, or the jagged rim of the wet one counts for nothing in the error.

    Filled to h the slot is a blade of that height in a strip of width w = WIDTH: its share of the current is
    (2/π) arctan sinh(πh/2w), from the map tan(πz/2w) of the strip with a slit.
    """
    rows = filled(slot_case({"start": "10 %", "steps": 8}), slot(nx=16, nz=96), tmp_path)
    height = column(rows, "front_depth_m")[:-2]
    exact = 2 / np.pi * np.arctan(np.sinh(np.pi * height / (2 * WIDTH * UM)))
    share = column(rows, "crack_current_share")[:-2]
    error = (column(rows, "crack_current_error_of_degree_A") + column(rows, "crack_current_error_of_cut_A"))[:-2]
    assert (np.abs(share - exact) <= error / CURRENT).all()
    assert share == pytest.approx(exact, rel=3e-2)


@pytest.mark.parametrize("end", ["mouth", "tip"])
def test_what_is_filled_is_what_flowed(end: str, tmp_path: Path) -> None:
    """Bug: time and volume go apart. Where only the pit takes current it fills in 𝒱 F/(V_m I), whatever its shape."""
    case = slot_case({"starts_at": end, "start": "10 %", "steps": 4}, {"kind": "no_flux"})
    found = filled(case, slot(), tmp_path)
    volume, time = column(found, "filled_volume_m3"), column(found, "time_s")
    assert time == pytest.approx((volume - volume[0]) / (CURRENT * RATE), rel=1e-9)
    assert column(found, "charge_C") * RATE + volume[0] == pytest.approx(volume, rel=1e-9)
    assert max(abs(value) for value in found["identity"].values()) < 1e-9
    assert volume[-1] == pytest.approx(VOLUME, rel=1e-12)
    assert column(found, "front_depth_m")[-1] == pytest.approx(DEPTH * UM if end == "mouth" else 0, abs=1e-12)


def test_the_error_of_the_steps_is_that_of_halving_them() -> None:
    """Bug: powers are integrated with the wrong sign, or time starts anywhere but at zero."""
    volume = np.linspace(1.0, 20.0, 9)
    for power in (-0.5, 0.0, 0.4, 1.0, 2.0):
        moved = np.log(volume) if power == 1 else (volume ** (1 - power) - 1) / (1 - power)
        assert fill_times(volume, 3 * volume**power) == pytest.approx(moved / 3 / RATE, rel=1e-12)
    errors = []
    for count in (9, 17, 33):
        volume = np.linspace(1.0, 10.0, count)
        exact = (3 * np.log(volume) + volume - 1) / RATE  # of I = 𝒱/(𝒱 + 3)
        time = fill_times(volume, volume / (volume + 3))
        halved = fill_times(volume[::2], (volume / (volume + 3))[::2])
        assert (np.abs(time[::2] - halved)[1:] > np.abs(time - exact)[2::2]).all()
        errors.append(float(np.abs(time[-1] / exact[-1] - 1)))
    assert errors[0] < 5e-3
    assert errors[2] < errors[1] / 3.5 < errors[0] / 12  # second order


def test_the_tip_and_the_mouth_end_alike(tmp_path: Path) -> None:
    """Bug: the lithium at the tip is not at the electrode's potential, or a full crack depends on how it was filled."""
    rows = {end: filled(slot_case({"starts_at": end, "start": "10 %", "steps": 4}), slot(), tmp_path)["rows"]
            for end in ("mouth", "tip")}  # fmt: skip
    assert rows["tip"][-1]["crack_current_A"] == pytest.approx(rows["mouth"][-1]["crack_current_A"], rel=1e-9)
    # The tip reaches far into the field, the mouth hides in the shade of the plane.
    assert rows["tip"][0]["crack_current_share"] > 2 * rows["mouth"][0]["crack_current_share"]


def test_a_leaking_pore_grows_by_its_electrons(tmp_path: Path) -> None:
    """Bug: the ionic net current of a floating body, which is zero, is taken for its growth."""
    hole = (4, 4, 7)
    pore = {"name": "pores", "kind": "surface_file", "file": "none.stl", "unit": "um", "contact": "leaking"}
    plating = {"face": "+z", "interface": {"kind": "resistance", "value": "500 ohm cm^2"}}
    case = case_of(
        cracks=[pore], filling={"start": "40 %", "steps": 2},
        electrolyte={"size": ["20 um", "30 um", "50 um"], "conductivity": "1 mS/cm",
                     "electronic_conductivity": "1e-8 S/cm"},
        electrodes={"plating": plating, "counter": {"face": "-z", "potential": "0.5 V"}},
    )  # fmt: skip
    arrays = block_mesh((8, 8, 12), holes=[hole])
    volume = float(distribute(arrays, MPI.COMM_SELF).volumes("pores")[0])
    found = filled(case, arrays, tmp_path, volume)
    drive = 0.5 * 0.05 / (0.05 + 50 * UM / 0.1) * (hole[2] + 0.5) / 12  # φ − φ_e at the pore
    cube = 4 * np.pi * 0.6607 * (2.5 * 3.75 * 4.17) ** (1 / 3) * UM  # capacity of a cube of that volume
    assert found["rows"][-1]["crack_current_A"] == pytest.approx(cube * 1e-6 * drive, rel=0.3)
    assert found["rows"][0]["crack_current_A"] < found["rows"][-1]["crack_current_A"]


SCRIPT = """
import json, sys
from pathlib import Path
from fem_spall.fenics import MPI
from tests.unit.test_filling import resistive, filled, slot
comm = MPI.COMM_WORLD
record = filled(resistive(), slot() if comm.rank == 0 else None, Path(sys.argv[1]), comm=comm)
if record is not None:
    print(json.dumps(record["rows"]))
"""


def resistive() -> Case:
    case = slot_case({"start": "20 %", "steps": 2}, {"kind": "resistance", "value": "1 ohm cm^2"}, "2 ohm cm^2")
    return case.model_copy(update={"output": case.output.model_copy(update={"fields": True})})


def test_two_ranks_fill_alike_and_write_a_series(tmp_path: Path) -> None:
    """Bug: each rank wets the facets it thinks of, or the series names files that are not there."""
    import pyvista as pv

    serial = filled(resistive(), slot(), tmp_path)["rows"]
    launcher = Path(sys.executable).with_name("mpiexec")
    (tmp_path / "two").mkdir()
    command = [str(launcher), "-n", "2", sys.executable, "-m", "mpi4py", "-c", SCRIPT, str(tmp_path / "two")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=True)
    for row, other in zip(serial, json.loads(done.stdout.strip().splitlines()[-1]), strict=True):
        for key in ("time_s", "filled_volume_m3", "crack_current_A", "voltage_V", "crack_current_error_of_degree_A"):
            assert other[key] == pytest.approx(row[key], rel=1e-9), key
    for folder in (tmp_path, tmp_path / "two"):
        series = pv.get_reader(str(folder / "filling.pvd"))
        assert series.time_values == pytest.approx([row["time_s"] for row in serial], rel=1e-9)
        series.set_active_time_value(series.time_values[1])
        volume, lithium = series.read()
        assert volume.point_data["potential_V"].max() == pytest.approx(serial[1]["voltage_V"], rel=1e-6)
        density = lithium.cell_data["current_density_A_m2"]
        area = lithium.compute_cell_sizes(length=False, volume=False).cell_data["Area"] * UM**2
        assert float(density @ area) == pytest.approx(serial[1]["total_current_A"], rel=1e-6)


def test_what_filling_refuses(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"filling.crack must name a crack that has a volume; got 'pit'"):
        slot_case({"crack": "pit"})
    flat = {"name": "slit", "kind": "penny", "centre": ["10 um", "15 um"], "radius": "5 um", "opening": "0 um"}
    with pytest.raises(ValidationError, match=r"must name a crack that has a volume; got one crack. There is: none"):
        case_of(cracks=[flat], filling={})
    pit = {"name": "pores", "kind": "surface_file", "file": "none.stl", "unit": "um"}
    for wrong, message in (
        ({"contents": "void"}, "fills, so give it as it is when full"),
        ({"contact": "isolated"}, "isolated, so that no net current enters and nothing fills"),
        ({"interface": {"kind": "no_flux"}}, "takes an interface that lets a current through"),
    ):
        with pytest.raises(ValidationError, match=message):
            case_of(cracks=[pit | wrong], filling={})
    with pytest.raises(ValidationError, match="multiple of 2"):
        slot_case({"steps": 5})
    with pytest.raises(CaseError, match="must leave at least one triangle of pores's wall wet"):
        filled(slot_case({"start": "0.1 %"}), slot(), tmp_path)
    with pytest.raises(CaseError, match="must each wet at least one more triangle"):
        filled(slot_case({"steps": 400}), slot(), tmp_path)
    stripping = {"plating": {"face": "+z"}, "counter": {"face": "-z", "potential": "-50 mV"}}
    size = {"size": ["8 um", "2 um", "48 um"], "conductivity": "0.1 S/m"}
    case = case_of(cracks=[pit], filling={}, electrodes=stripping, electrolyte=size)
    with pytest.raises(SolveError, match="no current plates in pores at step 0"):
        filled(case, slot(), tmp_path)
