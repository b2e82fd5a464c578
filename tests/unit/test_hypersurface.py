"""HyperSurface files: both forms give the same surface of each material; what is not read is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fem_spall.crack.mesh_readers import read_mesh
from fem_spall.crack.triangles import edge_numbers, volume
from fem_spall.errors import InputFileError
from tests.amira_writer import surface_file

# Two tetrahedra on a common face: above it lithium, below it a pore.
POINTS = np.array([[0.0, 0, 0], [2, 0, 0], [0, 2, 0], [0.5, 0.5, 3], [0.5, 0.5, -1.5]])
WALL = np.array([[0, 2, 1]])  # seen from the lithium its outside
ABOVE = np.array([[0, 1, 3], [1, 2, 3], [2, 0, 3]])
BELOW = np.array([[1, 0, 4], [2, 1, 4], [0, 2, 4]])
BODIES = [("Lithium", "Exterior", ABOVE), ("Pore", "Exterior", BELOW), ("Lithium", "Pore", WALL)]
ONE = [("Inside", "Exterior", np.concatenate([ABOVE, WALL]))]


def save(folder: Path, content: bytes) -> Path:
    (folder / "a.surf").write_bytes(content)
    return folder / "a.surf"


FORMS = {
    "ascii": surface_file(POINTS, BODIES, binary=False),
    "binary": surface_file(POINTS, BODIES, binary=True),
    "ascii with curves": surface_file(POINTS, BODIES, binary=False, curves={"vertices": [1, 2, 3, 1]}),
    "binary with curves": surface_file(POINTS, BODIES, binary=True, curves={"vertices": [1, 2, 3, 1]}),
    "crlf": surface_file(POINTS, BODIES, binary=False).replace(b"\n", b"\r\n"),
    "crlf in binary": surface_file(POINTS, BODIES, binary=True, newline="\r\n", curves={"vertices": [1, 2, 3]}),
    "comments": surface_file(POINTS, BODIES, binary=False).replace(b"\nPatches", b"\n# next\n\nPatches"),
    "surfaces": surface_file(POINTS, BODIES, binary=True) + b"Surfaces 1\n{\nRegion Lithium\nPatches 2\n}\n",
}


@pytest.mark.parametrize("name", FORMS)
def test_each_material_is_a_closed_body_of_its_volume(tmp_path: Path, name: str) -> None:
    """Bug: a shared wall is missing from one of two bodies, or has the wrong sense in it."""
    path = save(tmp_path, FORMS[name])
    for material, expected in (("Lithium", 2.0), ("Pore", 1.0)):  # base 2, heights 3 and 1.5, over 3
        mesh = read_mesh(path, material)
        assert (edge_numbers(mesh.faces)[1] == 2).all()
        assert len(mesh.vertices) == 4, "corners of the other body would be repaired away"
        assert volume(mesh.vertices[mesh.faces]) == pytest.approx(expected)
    assert mesh.format == ("surf ascii" if b"ASCII" in FORMS[name] else "surf binary")
    assert mesh.notes == ()


def test_the_only_material_needs_no_name(tmp_path: Path) -> None:
    """Bug: the usual file with one body is refused for want of a name."""
    mesh = read_mesh(save(tmp_path, surface_file(POINTS, ONE, binary=True)))
    assert volume(mesh.vertices[mesh.faces]) == pytest.approx(2)


def test_faces_within_a_material_are_left_out_and_noted(tmp_path: Path) -> None:
    """Bug: a membrane inside the lithium makes its edges non-manifold."""
    patches = [("Lithium", "Exterior", np.concatenate([ABOVE, BELOW])), ("Lithium", "Lithium", WALL)]
    mesh = read_mesh(save(tmp_path, surface_file(POINTS, patches, binary=False)))
    assert volume(mesh.vertices[mesh.faces]) == pytest.approx(3)
    assert mesh.notes == ("1 triangles inside 'Lithium', which has both of their sides, are left out",)


def test_unit_of_the_file_is_told(tmp_path: Path) -> None:
    """Bug: a file in metres is read as one in micrometres without a word."""
    unit = '    Units {\n        Coordinates "m"\n    }\n'
    assert read_mesh(save(tmp_path, surface_file(POINTS, ONE, binary=True, parameters=unit))).unit == "m"
    assert read_mesh(save(tmp_path, surface_file(POINTS, ONE, binary=True))).unit is None


def text(old: str = "", new: str = "") -> bytes:
    content = surface_file(POINTS, ONE, binary=False)
    assert old.encode() in content
    return content.replace(old.encode(), new.encode(), 1)


BAD = {
    "two materials": (
        surface_file(POINTS, BODIES, binary=True),
        r"got 'Lithium' \(4 triangles\), 'Pore' \(4 triangles",
    ),
    "little endian": (text("ASCII", "BINARY-LITTLE-ENDIAN"), "must be HyperSurface 0.1 ASCII or BINARY; got"),
    "version": (text("0.1", "0.2"), "must be HyperSurface 0.1 ASCII or BINARY; got '# HyperSurface 0.2 ASCII'"),
    "no vertices": (text("Vertices 5", "Points 5"), "must have a line 'Vertices'"),
    "many vertices": (text("Vertices 5", "Vertices 999999999999"), "announces 999999999999 vertices.*cut off"),
    "more vertices": (text("Vertices 5", "Vertices 6"), "vertices, number 16: must be a number; got 'NBranching"),
    "many triangles": (text("Triangles 4", "Triangles 99999"), "announces 99999 triangles of patch 1"),
    "many patches": (text("Patches 1", "Patches 99999"), "line .*announces 99999 more parts"),
    "two patches": (text("Patches 1", "Patches 2"), r"must have '\{' here; got 'the end of the file'"),
    "no patches": (text("Patches 1", "Patches 0"), r"must have a word and a number here; got '\{'"),
    "many curves": (text("BoundaryCurves 0", "BoundaryCurves 88888"), "announces 88888 more parts"),
    "no brace": (text("}\n}\n\nVertices", "}\n\nVertices"), "matching braces"),
    "not closed": (surface_file(POINTS, ONE, binary=False).rstrip(b"}\n"), "must close patch 1 with a brace"),
    "cut": (surface_file(POINTS, ONE, binary=True)[:-20], "triangles of patch 1; got .* bytes: the file is cut off"),
    "last byte": (surface_file(POINTS, ONE, binary=True)[:-4], "announces 4 triangles of patch 1; got 47 bytes"),
    "beyond": (text("1\t2\t4", "1\t2\t6"), "must use vertices 1 to 5; got 6"),
    "zero": (text("1\t2\t4", "0\t2\t4"), "must use vertices 1 to 5; got 0"),
    "fraction": (text("1\t2\t4", "1.5\t2\t4"), "triangles of patch 1 must be whole numbers"),
    "comma": (text("0.5", "0,5"), "number 10: must have decimal points; got decimal commas"),
    "nan": (text("0.5", "nan"), "vertex 4: coordinates must be finite"),
    "signalling nan": (
        surface_file(POINTS, ONE, binary=True).replace(b"Vertices 5\n\0\0\0\0", b"Vertices 5\n\x7f\x80\0\1"),
        r"vertex 1: coordinates must be finite and below 1e12; got \(nan",
    ),
    "no inner region": (text("InnerRegion Inside\n", ""), "patch 1 must have an InnerRegion and Triangles"),
    "word": (text("BranchingPoints 0\n\n", "Colour 3\n"), "patch 1 must have regions and triangles; got 'Colour 3'"),
    "only outside": (text("Inside", "Exterior"), "must have one material, or one must be named; got none"),
    "moved": (
        surface_file(POINTS, ONE, binary=False, parameters="TransformationMatrix 1 0 0 0 0 1 0 0 0 0 1 0 5 0 0 1\n"),
        "must not have a transformation",
    ),
    "amira mesh": (b"# AmiraMesh BINARY-LITTLE-ENDIAN 2.1 <hxsurface>\n", "got an AmiraMesh file"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_read_is_named(tmp_path: Path, name: str) -> None:
    """Bug: a damaged or unknown file gives a part of the surface, or a traceback."""
    content, message = BAD[name]
    path = save(tmp_path, content)
    with pytest.raises(InputFileError, match=f"(?s){message}") as fault:
        read_mesh(path)
    assert str(fault.value).startswith(str(path))
    assert len(str(fault.value).removeprefix(str(path))) < 300


def test_a_wrong_material_is_named_with_those_that_are_there(tmp_path: Path) -> None:
    """Bug: a misspelt material gives an empty surface, or one of another format is ignored."""
    with pytest.raises(InputFileError, match=r"must have the material 'lithium'; got 'Lithium' \(4 triangles\)"):
        read_mesh(save(tmp_path, FORMS["binary"]), "lithium")
    other = tmp_path / "b.obj"
    other.write_text("v 0 0 0\n")
    with pytest.raises(InputFileError, match="has no materials, since it is obj"):
        read_mesh(other, "Lithium")
