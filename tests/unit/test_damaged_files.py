"""Random damage to valid files of every format: whatever it does, the answer is a surface or a refusal."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fem_spall.crack.amira_labels import read_label_field
from fem_spall.crack.inspect_surface import inspect_surface
from fem_spall.crack.mesh_readers import read_mesh
from fem_spall.errors import InputFileError
from tests.amira_writer import label_file, surface_file
from tests.mesh_writer import FACES, GOOD, POINTS

LABELS = np.arange(24, dtype=np.uint8).reshape(4, 3, 2) // 12
BOX = (0, 3, 0, 2, 0, 1)
PATCHES = [("Lithium", "Exterior", FACES)]
CURVES = {"vertices": [1, 2, 3]}
SURFACES: dict[str, str | bytes] = GOOD | {
    "ascii.surf": surface_file(POINTS, PATCHES, binary=False),
    "binary.surf": surface_file(POINTS, PATCHES, binary=True),
    "curves.surf": surface_file(POINTS, PATCHES, binary=True, curves=CURVES),
    "ascii_curves.surf": surface_file(POINTS, PATCHES, binary=False, curves=CURVES),
}
FIELDS = {
    "ascii.am": label_file(LABELS, BOX, form="ASCII", first_id=1),
    "big.am": label_file(LABELS.astype(np.int16), BOX, form="BINARY"),
    "runs.am": label_file(LABELS, BOX, codec="HxByteRLE"),
    "zip.am": label_file(LABELS, BOX, codec="HxZip"),
}
JUNK = [
    b" -1 ",
    b" nan ",
    b"\n",
    b"\r",
    b"99999999999999999999 ",
    b" 1e999 ",
    b" 1e-320 ",
    b"{",
    b"}",
    b"\xff\xff\xff\x7f",
]

damage = {
    "cut": st.floats(0, 1),
    "place": st.floats(0, 1),
    "junk": st.binary(max_size=4) | st.sampled_from(JUNK),
    "insert": st.booleans(),
}


def damaged(good: str | bytes, cut: float, place: float, junk: bytes, insert: bool) -> bytes:
    content = good.encode() if isinstance(good, str) else good
    content = content[: len(content) - int(cut**8 * len(content))]
    at = int(place * len(content))
    return content[:at] + junk + content[at + (0 if insert else len(junk)) :]


@settings(max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(name=st.sampled_from(sorted(SURFACES)), **damage)
def test_a_damaged_surface_is_read_or_refused(
    tmp_path: Path, name: str, cut: float, place: float, junk: bytes, insert: bool
) -> None:
    """Bug: a byte out of place gives a traceback of the parser, or of what is done with the surface."""
    path = tmp_path / name
    path.write_bytes(damaged(SURFACES[name], cut, place, junk, insert))
    try:
        mesh = read_mesh(path)
    except InputFileError:
        return
    assert np.isfinite(mesh.vertices).all()
    assert len(mesh.faces) > 0
    assert mesh.faces.min() >= 0
    assert mesh.faces.max() < len(mesh.vertices)
    json.dumps(inspect_surface(path, "um").report, allow_nan=False)


@settings(max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(name=st.sampled_from(sorted(FIELDS)), **damage)
def test_a_damaged_label_field_is_read_or_refused(
    tmp_path: Path, name: str, cut: float, place: float, junk: bytes, insert: bool
) -> None:
    """Bug: a byte out of place gives a traceback, or labels that no material has."""
    path = tmp_path / name
    path.write_bytes(damaged(FIELDS[name], cut, place, junk, insert))
    try:
        field = read_label_field(path)
    except InputFileError:
        return
    assert field.labels.ndim == 3
    assert (field.spacing > 0).all()
    assert field.labels.max() < len(field.materials) or not field.materials
