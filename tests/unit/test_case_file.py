"""Case files: strict YAML, all faults at once with their places, overrides, includes, round trip."""

from __future__ import annotations

import contextlib
import copy
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fem_spall.case_file import FILE, case_hash, kinds, load_case, schema, write_case
from fem_spall.case_schema import resolve
from fem_spall.crack.penny import Penny
from fem_spall.crack.surface_file import SurfaceFile
from fem_spall.errors import CaseError, InputFileError

CONFIGS = Path(__file__).parents[2] / "configs"

GOOD = """\
version: 1
name: good
electrolyte: {size: [20 um, 30 um, 50 um], conductivity: 1 mS/cm}
electrodes:
  counter: {potential: 50 mV}
cracks:
  - name: half
    kind: penny
    centre: [10 um, 15 um]
    radius: 5 um
mesh: {size_min: 100 nm, size_max: 3 um}
"""


def write(folder: Path, text: str, name: str = "case.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def faults_of(path: Path, *overrides: str) -> list[str]:
    """Text of every fault, without the folder."""
    with pytest.raises(CaseError, match=r".") as caught:
        load_case(path, overrides)
    assert caught.value.exit_code == 2
    assert str(caught.value) == "\n".join(map(str, caught.value.faults))
    return [str(fault).replace(f"{path.parent}/", "") for fault in caught.value.faults]


# --- Five wrong files, each with all its faults ---


def test_wrong_names_of_keys(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """\
version: 1
name: names
electrolyte:
  size: [20 um, 30 um, 50 um]
  conductivty: 1 mS/cm
electrodes:
  plating: {face: +z, potental: 0 V}
  counter: {potential: 50 mV, interfce: {kind: fixed_potential}}
mesh:
  size_min: 100 nm
  sizemax: 3 um
solver: {degre: 2}
crack: []
""",
    )
    assert faults_of(path) == [
        "case.yaml:5:3: electrolyte.conductivty: there is no key 'conductivty' here. Did you mean 'conductivity'?",
        "case.yaml:7:23: electrodes.plating.potental: there is no key 'potental' here. Did you mean 'potential'?",
        "case.yaml:8:31: electrodes.counter.interfce: there is no key 'interfce' here. Did you mean 'interface'?",
        "case.yaml:11:3: mesh.sizemax: there is no key 'sizemax' here. Did you mean 'size_max'?",
        "case.yaml:12:10: solver.degre: there is no key 'degre' here. Did you mean 'degree'?",
        "case.yaml:13:1: crack: there is no key 'crack' here. Did you mean 'cracks'?",
    ]


def test_wrong_quantities(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """\
version: 1
name: quantities
electrolyte:
  size: [20, 30 V, 50 umm]
  conductivity: 1
electrodes:
  counter:
    potential: 50 mA
mesh:
  size_min: 0 um
  size_max: -3 um
  time_limit: 10 m
metrics:
  averaging_lengths: [100 nm, 250]
""",
    )
    assert faults_of(path) == [
        "case.yaml:4:10: electrolyte.size.0: a length needs a unit; got 20. Write for instance '20 um'",
        "case.yaml:4:14: electrolyte.size.1: must be a length; got '30 V': 'V' is a unit of potential. "
        "Write for instance '20 um'",
        "case.yaml:4:20: electrolyte.size.2: must be a length; got '50 umm': the unit 'umm' is not known. "
        "Write for instance '20 um'",
        "case.yaml:5:17: electrolyte.conductivity: a conductivity needs a unit; got 1. Write for instance '1 mS/cm'",
        "case.yaml:8:16: electrodes.counter.potential: must be a potential; got '50 mA': 'mA' is a unit of current. "
        "Write for instance '50 mV'",
        "case.yaml:10:13: mesh.size_min: must be above zero; got '0 um'. Write for instance '20 um'",
        "case.yaml:11:13: mesh.size_max: must be above zero; got '-3 um'. Write for instance '20 um'",
        "case.yaml:12:15: mesh.time_limit: must be a time; got '10 m': 'm' is a unit of length. "
        "Write for instance '10 min'",
        "case.yaml:14:31: metrics.averaging_lengths.1: a length needs a unit; got 250. Write for instance '250 um'",
    ]


def test_wrong_kinds_and_choices(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        GOOD.replace("kind: penny", "kind: peny")
        .replace("  counter: {potential: 50 mV}", "  counter: {potential: 50 mV, face: z}")
        .replace(
            "mesh: {",
            """\
  - name: two
    kind: pore
    centre: [1 um, 2 um, 3 um]
    radius: 1 um
    contents: lithum
    interface: {kind: resistence, value: 500 ohm cm^2}
  - {name: three, radius: 1 um}
walls: {+z: {kind: no_flux}, +x: {kind: mirror}}
mesh: {remesher: mgm, """,
        ),
    )
    cracks = (
        "surface_file, image_stack, interface_file, sheet, spall, penny, spheroid, blade, pore, pores, patch, patches, "
        "round_wall"
    )
    laws = "fixed_potential, resistance, linear_kinetics, butler_volmer, exact_potential, no_flux"
    assert faults_of(path) == [
        "case.yaml:5:37: electrodes.counter.face: must be one of +z, -z; got 'z'. Did you mean '-z'?",
        f"case.yaml:8:11: cracks.0.kind: must be one of {cracks}; got 'peny'. Did you mean 'penny'?",
        "case.yaml:15:15: cracks.1.contents: must be one of lithium, void; got 'lithum'. Did you mean 'lithium'?",
        f"case.yaml:16:23: cracks.1.interface.kind: must be one of {laws}; got 'resistence'. "
        "Did you mean 'resistance'?",
        f"case.yaml:17:5: cracks.2.kind: this key is missing. Add 'kind: ...' with one of {cracks}",
        "case.yaml:18:9: walls.+z: there is no key '+z' here. The keys are -x, +x, -y, +y",
        "case.yaml:18:41: walls.+x.kind: must be one of no_flux, exact_potential; got 'mirror'. Take one of these",
        "case.yaml:19:18: mesh.remesher: must be one of auto, gmsh, mmg, none; got 'mgm'. Did you mean 'mmg'?",
    ]


def test_wrong_types_and_missing_keys(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """\
version: 1
electrolyte: {size: [20 um, 30 um]}
electrodes: {counter: {potential: 50 mV}}
cracks:
  - name: half
    kind: penny
    centre: 10 um
  - name: my crack
    kind: surface_file
    file: 3
    unit: um
  - crack.stl
mesh: {size_min: 100 nm, size_max: 3 um, grading: "1.3", order: 1.5}
solver: 2
output: {fields: yes, report: 1}
metrics: {averaging_lengths: 100 nm}
accuracy: {target: 2 %, max_cells: 900, max_levels: 0, requird: true}
""",
    )
    assert faults_of(path) == [
        "case.yaml:1:1: name: this key is missing. Add 'name: ...'",
        "case.yaml:2:1: electrolyte.conductivity: this key is missing. Add 'conductivity: 1 mS/cm'",
        "case.yaml:2:21: electrolyte.size: must be a list of 3 entries; got 2. "
        "Write for instance '[20 um, 20 um, 20 um]'",
        "case.yaml:5:5: cracks.0.radius: this key is missing. Add 'radius: 20 um'",
        "case.yaml:7:13: cracks.0.centre: must be a list of 2 entries; got '10 um'. "
        "Write for instance '[20 um, 20 um]'",
        "case.yaml:8:11: cracks.1.name: must be a short name of letters, digits, '_' and '-', without spaces; "
        "got 'my crack'. Write for instance 'my_crack'",
        "case.yaml:10:11: cracks.1.file: must be the path of a file; got 3. Write for instance '...'",
        "case.yaml:12:5: cracks.2: must hold keys and values with a kind (surface_file, image_stack, interface_file, "
        "sheet, spall, penny, spheroid, blade, pore, pores, patch, patches, round_wall); got 'crack.stl'. Write for "
        "instance '{name: ..., "
        "kind: surface_file, file: ..., unit: nm}'",
        "case.yaml:13:51: mesh.grading: must be a number above 1 and at most 3; got '1.3'. Write for instance '1.3'",
        "case.yaml:13:65: mesh.order: must be a whole number at least 1 and at most 2; got 1.5. Write for instance '1'",
        "case.yaml:14:9: solver: must hold keys and values; got 2. Write for instance '{degree: 2}'",
        "case.yaml:15:18: output.fields: must be true or false; got 'yes'. Write for instance 'true'",
        "case.yaml:15:31: output.report: must be true or false; got 1. Write for instance 'true'",
        "case.yaml:16:30: metrics.averaging_lengths: must be a list; got '100 nm'. Write for instance '[20 um]'",
        "case.yaml:17:36: accuracy.max_cells: must be a whole number at least 1000; got 900. Write for instance '1000'",
        "case.yaml:17:53: accuracy.max_levels: must be a whole number at least 1 and at most 20; got 0. Write for "
        "instance '8'",
        "case.yaml:17:56: accuracy.requird: there is no key 'requird' here. Did you mean 'required'?",
    ]


def test_wrong_yaml_and_contradictions(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """\
version: 1
name: &n yaml
electrolyte: {size: [20 um, 30 um, 50 um], conductivity: !!str 1 mS/cm}
electrodes:
  counter: {potential: 50 mV, drive: {current_density: 0.5 mA/cm^2}}
mesh:
  size_min: 3 um
  size_max: 1 um
  size_max: 2 um
cracks:
  - {name:half, kind: blade, position: 1 um, depth: 1 um}
solver: {tolerance: .nan}
""",
    )
    assert faults_of(path) == [
        "case.yaml:2:7: name: anchors and aliases are not read; got '&n'. Write the value out",
        "case.yaml:3:58: electrolyte.conductivity: tags are not read; got '!!str'. Write the plain value",
        "case.yaml:5:3: electrodes.counter: give either potential or drive, not both. "
        "Write for instance 'potential: 50 mV'",
        "case.yaml:6:1: mesh: size_min must not exceed size_max. Swap the two or enlarge size_max",
        "case.yaml:9:3: mesh.size_max: this key was already given on line 8. Remove one of the two",
        "case.yaml:11:6: cracks.0.name:half: there is no key 'name:half'. Put a space after the colon: 'name: half'",
        "case.yaml:12:21: solver.tolerance: must be a finite number; got '.nan'. "
        "Write the number, or leave the key out",
    ]


# --- What the strict reader leaves out ---


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("mesh:\n\tsize_min: 1 um\n", "2:1: a tab must not be used for indentation or before a value."),
        ("a: 1\n---\nb: 2\n", "2:1: must be one document; a second one begins here."),
        ("%YAML 1.1\n---\nname: x\n", "2:1: only YAML 1.2 without tag directives is read."),
        ("name: 'x\nmesh: 1\n", "3:1: the quote opened at line 1, column 7 is never closed."),
        ("size: [1 um, 2 um\nmesh: {}\n", "2:5: the bracket opened at line 1, column 7 is not closed, or"),
        ("name: x\n  mesh: y\n", "2:7: a second ':' in one value, or a key that is indented unlike its neighbours"),
        ("a:\n    b: 1\n  c: 2\n", "3:3: the indentation does not fit the lines above."),
        ("name: @x\n", "1:7: found character '@', which must not begin a value. Put the text in quotes"),
        ("name: x\nfoo:1\n", "2:1: a key must be followed by ': ' and its value."),
        ("name: a\x07b\n", "1:8: must be text; found the control character '\\x07'."),
        ("[1, 2]: x\n", "1:1: a key must be a plain word."),
        ("  name: x\nmesh: y\n", "2:1: does not belong to the lines above, which end here."),
        ("just text\n", "1:1: must hold keys and values"),
        ("", "1:1: must hold keys and values"),
        ("- a\n- b\n", "1:1: must hold keys and values"),
    ],
)
def test_yaml_that_is_refused(tmp_path: Path, text: str, fault: str) -> None:
    assert any(line.startswith(f"case.yaml:{fault}") for line in faults_of(write(tmp_path, text)))


def test_an_alias_bomb_is_refused_at_once(tmp_path: Path) -> None:
    # Unfolded, these few lines would be 10^9 texts.
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)]
    begin = time.perf_counter()
    found = faults_of(write(tmp_path, "\n".join(lines)))
    assert time.perf_counter() - begin < 2
    assert "case.yaml:1:4: a: anchors and aliases are not read; got '&a'. Write the value out" in found
    assert "case.yaml:2:8: b.0: anchors and aliases are not read; got '*a'. Write the value out" in found


@pytest.mark.parametrize("text", ["a: " + "[" * 100_000, "".join(f"{' ' * i}a:\n" for i in range(200)), "- " * 500])
def test_deep_nesting_is_refused_at_once(tmp_path: Path, text: str) -> None:
    # A recursive reader ends in RecursionError, a bug in the user's eyes.
    begin = time.perf_counter()
    assert "must not be nested deeper than 24 levels" in faults_of(write(tmp_path, text))[-1]
    assert time.perf_counter() - begin < 2


def test_size_and_count_are_limited(tmp_path: Path) -> None:
    assert faults_of(write(tmp_path, "name: x\n" + "#" * 1_000_000)) == [
        "case.yaml:1:1: must be at most 1 MB. A case names its mesh files, it does not contain them"
    ]
    assert "must hold at most 10000 keys and values" in faults_of(write(tmp_path, f"a: [{'1,' * 20_000}]"))[0]


def test_other_encodings_are_refused_with_a_place(tmp_path: Path) -> None:
    path = tmp_path / "case.yaml"
    path.write_bytes("version: 1\nname: mörder\n".encode("latin-1"))
    assert faults_of(path) == ["case.yaml:2:8: must be UTF-8 text. Save the file as UTF-8"]


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    path = tmp_path / "case.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert load_case(path).name == "good"


def test_yes_and_on_are_text(tmp_path: Path) -> None:
    # YAML 1.1 reads 'on' as true; a crack named 'on' would lose its name.
    assert load_case(write(tmp_path, GOOD.replace("name: half", "name: on"))).cracks[0].name == "on"


@pytest.mark.parametrize("name", ["nofile.yaml", "."])
def test_a_file_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(CaseError, match="cannot be read") as caught:
        load_case(tmp_path / name)
    assert caught.value.number == 201


def test_a_single_fault_makes_a_complete_refusal(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD.replace("100 nm", "100"))
    with pytest.raises(CaseError, match="a length needs a unit") as caught:
        load_case(path)
    error = caught.value
    assert error.where == f"{path}:11:18: mesh.size_min"
    assert (error.reason, error.cure) == ("a length needs a unit; got 100", "write for instance '100 um'")


@settings(max_examples=80, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cut=st.integers(0, len(GOOD)),
    skip=st.integers(0, 12),
    new=st.lists(
        st.sampled_from([*"{}[]:-\n\t '\"&*!|?#%@,~x1", "kind", "null", "1e999", "---\n", "20 um", "é"]), max_size=4
    ),
)
def test_no_text_is_a_bug(tmp_path: Path, cut: int, skip: int, new: list[str]) -> None:
    # Whatever a slip of the hand leaves: either a case, or faults in plain words.
    path = write(tmp_path, GOOD[:cut] + "".join(new) + GOOD[cut + skip :])
    with contextlib.suppress(CaseError):
        load_case(path)
        return
    assert not re.search(r"Input should|pydantic|<[a-z ]+>|Node\(", "\n".join(faults_of(path)))


# --- Overrides ---


def test_overrides(tmp_path: Path) -> None:
    case = load_case(
        write(tmp_path, GOOD),
        [
            "mesh.size_min=200 nm",
            "cracks.0.opening=0.3 um",
            "cracks.half.azimuth=90 deg",
            "cracks.half.interface={kind: resistance, value: 2 ohm cm^2}",
            "metrics.averaging_lengths=[1 um]",
            "solver.degree=1",
            "walls.+x={kind: no_flux}",
            "cracks.1={name: ball, kind: pore, centre: [1 um, 2 um, 3 um], radius: 1 um}",
        ],
    )
    crack = case.cracks[0]
    assert isinstance(crack, Penny)
    assert (case.mesh.size_min, crack.opening, case.solver.degree) == (2e-07, 3e-07, 1)
    assert crack.interface.kind == "resistance"
    assert case.metrics.averaging_lengths == (1e-06,)
    assert [crack.name for crack in case.cracks] == ["half", "ball"]


def test_faults_of_overrides_name_the_command_line(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    overrides = ["mesh.size_min=5", "mesh.sizemax=1 um", "cracks.hlaf.radius=1 um", "cracks.7.radius=1 um", "foo",
                 "name.x=1", "a..b=1", "mesh.grading=[1", "include=x.yaml", ".".join("a" * 40) + "=1"]  # fmt: skip
    found = faults_of(path, *overrides)
    assert all(line.startswith("command line: ") for line in found)
    expected = [
        "mesh.size_min: a length needs a unit; got 5. Write for instance '5 um'",
        "mesh.sizemax: there is no key 'sizemax' here. Did you mean 'size_max'?",
        "cracks.hlaf.radius: 'cracks' has 1 entries (half) and no 'hlaf'. Give an index from 0, or a name",
        "cracks.7.radius: 'cracks' has 1 entries (half) and no '7'. Give an index from 0, or a name",
        "an override must be key.path=value; got 'foo'. Write for instance 'mesh.size_min=200 nm'",
        "name.x: 'name' is the single value 'good' and has no 'x'. Set 'name' as a whole",
        "an override must be key.path=value; got 'a..b=1'. Write for instance 'mesh.size_min=200 nm'",
        "mesh.grading: the bracket opened at line 1, column 1 is not closed, or an entry before this place lacks its "
        "','. Add it",
        "include: must be in the case file, not on the command line. Override the single keys instead",
    ]
    assert {f"command line: {text}" for text in expected} <= set(found)
    assert len(found) == len(overrides)


# --- Include ---


def test_include_lays_the_file_over_its_base(tmp_path: Path) -> None:
    (tmp_path / "bases").mkdir()
    base = GOOD.replace("  counter: {potential: 50 mV}", "  counter: {potential: 50 mV, interface: {kind: resistance, "
                        "value: 1 ohm cm^2}}")  # fmt: skip
    write(tmp_path / "bases", base, "base.yaml")
    path = write(
        tmp_path,
        """\
include: bases/base.yaml
name: over
mesh: {size_min: 200 nm}
electrodes: {counter: {potential: null, drive: {current_density: 1 mA/cm^2}, interface: {kind: fixed_potential}}}
""",
    )
    case = load_case(path)
    assert case.name == "over"
    assert (case.mesh.size_min, case.mesh.size_max) == (2e-07, 3e-06)
    # Another kind replaces the base's mapping, whose 'value' would otherwise be an unknown key here.
    assert case.electrodes.counter.interface.kind == "fixed_potential"
    assert case.electrodes.counter.potential is None
    assert case.cracks == load_case(tmp_path / "bases" / "base.yaml").cracks


def test_faults_keep_the_file_they_are_in(tmp_path: Path) -> None:
    write(tmp_path, GOOD.replace("radius: 5 um", "radius: 5"), "base.yaml")
    path = write(tmp_path, "include: base.yaml\nname: over\nmesh: {sizemin: 1 um}\n")
    assert faults_of(path) == [
        "case.yaml:3:8: mesh.sizemin: there is no key 'sizemin' here. Did you mean 'size_min'?",
        "base.yaml:10:13: cracks.0.radius: a length needs a unit; got 5. Write for instance '5 um'",
    ]


def test_include_of_what_cannot_be_included(tmp_path: Path) -> None:
    path = write(tmp_path, "include: none.yaml\n")
    assert re.match(r"case\.yaml:1:10: include: the base file none\.yaml cannot be read", faults_of(path)[0])
    path = write(tmp_path, "include: [a, b]\n")
    assert "must be the path of one base file; got ['a', 'b']." in faults_of(path)[0]
    write(tmp_path, "include: deeper.yaml\n" + GOOD, "base.yaml")
    path = write(tmp_path, "include: base.yaml\n")
    assert faults_of(path)[0].startswith("base.yaml:1:1: include: a base file must not include another")
    path = write(tmp_path, "include: case.yaml\n")  # itself
    assert faults_of(path)[0].startswith("case.yaml:1:1: include: a base file must not include another")


def test_paths_are_relative_to_the_file_they_are_written_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = tmp_path / "bases"
    here = tmp_path / "here"
    for folder in (base, here, tmp_path / "runs"):
        folder.mkdir()
    crack = "cracks:\n  - {{name: c, kind: surface_file, file: {}, unit: um}}\n"
    plain = GOOD[: GOOD.index("cracks:")] + GOOD[GOOD.index("mesh:") :]
    write(base, plain + crack.format("../c.stl"), "base.yaml")
    monkeypatch.chdir(here)

    def file_of(text: str, *overrides: str) -> Path:
        found = load_case(write(tmp_path / "runs", text), overrides).cracks[0]
        assert isinstance(found, SurfaceFile)
        return found.file

    over = "include: ../bases/base.yaml\n"
    assert file_of(over) == tmp_path / "c.stl"
    assert file_of(over + crack.format("c.stl")) == tmp_path / "runs" / "c.stl"
    assert file_of(over, "cracks.c.file=c.stl") == here / "c.stl"


# --- Out again ---


def test_all_paths_have_the_key_that_is_looked_for() -> None:
    """Bug: a path under another key stays relative to where the program runs."""

    def keys(part: object) -> Iterator[str]:
        for entry in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
            yield from keys(entry)
        for key, entry in part.get("properties", {}).items() if isinstance(part, dict) else ():
            if resolve(entry).get("format") == "path":
                yield key

    assert set(keys(schema())) == {FILE}


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_configurations_load_and_survive_a_round_trip(tmp_path: Path, path: Path) -> None:
    case = load_case(path)
    assert load_case(write(tmp_path, write_case(case))) == case
    assert path.read_text(encoding="utf-8").startswith("# ")
    assert case.name == path.stem


def test_round_trip_of_everything(tmp_path: Path) -> None:
    case = load_case(
        write(tmp_path, GOOD),
        [
            "electrolyte.size=[7.3 um, 0.1 mm, 12345.678 nm]",
            "electrolyte.conductivity={kind: anisotropic, rows: [[2 mS/cm, 0.1 S/m, 0 S/m], [0.1 S/m, 1 mS/cm, 0 S/m], "
            "[0 S/m, 0 S/m, 1 mS/cm]]}",
            "electrodes.counter={drive: {current_density: 0.3 mA/cm^2}}",
            "electrodes.counter.interface={kind: resistance, value: 7 ohm cm^2}",
            "walls.+x={kind: exact_potential, solution: boss_on_plane, parameters: {field: 1 kV/m, radius: 3 um, "
            "centre: [1 um, 2 um, 3 um]}}",
            "cracks.1={name: f, kind: surface_file, file: /x/y.stl, unit: nm, place: {tilt: 52 deg, rotate: [1 deg, "
            "2 deg, 3 deg], scale: 1.1, mirror: y}}",
            "mesh.time_limit=7.7 min",
            "name='1e5'",  # must come back as text
        ],
    )
    again = load_case(write(tmp_path, write_case(case)))
    assert again == case
    assert again.name == "1e5"
    assert write_case(again) == write_case(case)


def test_a_written_case_keeps_a_relative_file(tmp_path: Path) -> None:
    # The result folder holds copies of its inputs and can be moved as a whole.
    case = load_case(write(tmp_path, GOOD), ["cracks.0={name: c, kind: surface_file, file: c.stl, unit: um}"])
    moved = case.model_copy(update={"cracks": (case.cracks[0].model_copy(update={"file": Path("inputs/c.stl")}),)})
    found = load_case(write(tmp_path, write_case(moved), "moved.yaml")).cracks[0]
    assert isinstance(found, SurfaceFile)
    assert found.file == tmp_path / "inputs" / "c.stl"


def test_case_hash_is_of_what_is_computed(tmp_path: Path) -> None:
    (tmp_path / "a.stl").write_text("solid")
    (tmp_path / "b.stl").write_text("solid")
    (tmp_path / "c.stl").write_text("other")
    crack = "cracks.0={name: c, kind: surface_file, file: FOLDER/NAME.stl, unit: um}".replace("FOLDER", str(tmp_path))
    first = write(tmp_path, GOOD)
    second = write(
        tmp_path, GOOD.replace("100 nm", "0.1 um").replace("version: 1\n", "") + "version: 1\n", "other.yaml"
    )
    hashes = {
        name: case_hash(load_case(path, [crack.replace("NAME", name)]))
        for path, name in ((first, "a"), (second, "b"), (first, "c"))
    }
    assert hashes["a"] == hashes["b"]  # other path, other way to write 100 nm, other order of keys
    assert hashes["a"] != hashes["c"]  # other content
    assert case_hash(load_case(first)) != case_hash(load_case(first, ["mesh.size_min=101 nm"]))
    with pytest.raises(InputFileError, match="cannot be read"):
        case_hash(load_case(first, [crack.replace("NAME", "none")]))


# --- What the models say of themselves ---


def _keys(part: object) -> set[str]:
    """Every property name in a JSON Schema."""
    if isinstance(part, dict):
        own = set(part.get("properties", {}))
        return own.union(*(_keys(value) for value in part.values()))
    return set().union(*map(_keys, part)) if isinstance(part, list) else set()


def test_the_reference_explains_every_key() -> None:
    # A new key of a model without a line in the reference fails here.
    text = (CONFIGS / "reference.yaml").read_text(encoding="utf-8")
    assert {key for key in _keys(schema()) if not re.search(rf"(^|[\s{{,#]){re.escape(key)}:", text)} == set()


def test_the_commented_examples_of_the_reference_load(tmp_path: Path) -> None:
    text = (CONFIGS / "reference.yaml").read_text(encoding="utf-8")
    examples, regions = (re.findall(r"^ *# - (\{.*\})$", part, re.MULTILINE) for part in text.split("\nregions:"))
    given = [f"cracks.{i}={example}" for i, example in enumerate(examples)]
    case = load_case(write(tmp_path, GOOD), [*given, f"regions=[{', '.join(regions).replace('on: lens', 'on: hole')}]"])
    every_kind = {group: {k["kind"] for k in kinds() if k["group"] == group} for group in ("cracks", "regions")}
    assert {crack.kind for crack in case.cracks} | {"surface_file"} == every_kind["cracks"]
    assert {region.kind for region in case.regions} | {"disc", "polygon"} == every_kind["regions"]


def test_the_reference_states_the_defaults() -> None:
    # Each line 'key: value # default' of the reference must say what the model does without it.
    lines = (CONFIGS / "reference.yaml").read_text(encoding="utf-8").splitlines()
    stated = [m for line in lines if (m := re.match(r" +(\w+): (.+?) # default(?:;|\.|$)", line))]
    assert len(stated) >= 15
    properties = [part["properties"] for part in schema()["$defs"].values() if "properties" in part]
    for match in stated:
        key, value = match[1], match[2]
        defaults = [json.dumps(p[key].get("default")).strip('"') for p in properties if key in p]
        assert any(_same(value, default) for default in defaults), (key, value, defaults)


def _same(stated: str, default: str) -> bool:
    plain = re.sub(r"[{}\"' ]", "", stated)
    return plain == re.sub(r"[{}\"' ]", "", default) or (
        all(text.replace(".", "").isdigit() for text in (stated, default)) and float(stated) == float(default)
    )


def test_kinds_come_from_the_models() -> None:
    penny = next(kind for kind in kinds() if kind["kind"] == "penny")
    keys = {key["key"]: key for key in penny["keys"]}
    assert set(keys) == set(Penny.model_fields) - {"kind"}
    assert keys["radius"] == {"key": "radius", "required": True, "what": "length", "unit": "m", "example": "20 um"}
    assert keys["opening"]["default"] == "0 um"
    assert keys["centre"]["what"] == "list of 2 x length"
    assert penny["about"].startswith("Half a disc")
    json.dumps(kinds())


def test_schema_is_not_shared(tmp_path: Path) -> None:
    first = copy.deepcopy(schema())
    schema()["properties"].clear()
    assert schema() == first
    assert "include" in first["properties"]
