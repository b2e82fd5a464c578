"""Label fields of Amira: every storage gives the same voxels, and what is not read is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fem_spall.crack.amira_labels import read_label_field
from fem_spall.errors import InputFileError
from tests.amira_writer import label_file

#: Different along each axis, so that a wrong order of the axes shows.
LABELS = np.zeros((5, 4, 3), dtype=np.uint8)
LABELS[1:4, 1:3, 0] = 1
LABELS[4, 0, 2] = 1
BOX = (10, 12, -1, 0.5, 0, 4)  # spacings 0.5, 0.5, 2


def save(folder: Path, content: bytes, name: str = "a.am") -> Path:
    (folder / name).write_bytes(content)
    return folder / name


GOOD = {
    "ascii": label_file(LABELS, BOX, form="ASCII"),
    "ascii short": label_file(LABELS.astype(np.int16), BOX, form="ASCII"),
    "big endian": label_file(LABELS.astype(np.uint16), BOX, form="BINARY"),
    "little endian": label_file(LABELS.astype(np.uint16), BOX),
    "int": label_file(LABELS.astype(np.int32), BOX),
    "runs": label_file(LABELS, BOX, codec="HxByteRLE"),
    "zlib": label_file(LABELS, BOX, codec="HxZip"),
    "zlib short": label_file(LABELS.astype(np.int16), BOX, form="BINARY", codec="HxZip"),
    "ids from 1": label_file(LABELS, BOX, first_id=1),
    "ids from 0": label_file(LABELS, BOX, first_id=0),
    "avizo": label_file(LABELS, BOX).replace(
        b"# AmiraMesh BINARY-LITTLE-ENDIAN 2.1", b"# Avizo BINARY-LITTLE-ENDIAN 3.0"
    ),
    "crlf": label_file(LABELS, BOX, form="ASCII").replace(b"\n", b"\r\n"),
    "crlf before binary": label_file(LABELS.astype(np.int16), BOX, newline="\r\n"),
    "crlf before zlib": label_file(LABELS, BOX, codec="HxZip", newline="\r\n"),
    "spaces": label_file(LABELS, BOX).replace(b"}\n", b"}  \n").replace(b"Labels } @1", b"Labels } = @1 "),
    "unit": label_file(LABELS, BOX, more='    Units {\n        Coordinates "µm"\n    }\n'),
}


@pytest.mark.parametrize("name", GOOD)
def test_every_storage_gives_the_same_voxels(tmp_path: Path, name: str) -> None:
    """Bug: axes or bytes come in another order, or the box is taken for the outer faces of the voxels."""
    field = read_label_field(save(tmp_path, GOOD[name]))
    assert np.array_equal(field.labels, LABELS)
    assert field.spacing.tolist() == [0.5, 0.5, 2]
    assert field.origin.tolist() == [10, -1, 0]
    assert field.materials == {"Exterior": 0, "Lithium": 1}
    assert field.unit == ("um" if name == "unit" else None)
    assert len(field.sha256) == 64


def test_one_slice_takes_the_box_for_its_thickness(tmp_path: Path) -> None:
    """Bug: a division by zero voxels less one."""
    field = read_label_field(save(tmp_path, label_file(LABELS[:, :, :1], (0, 4, 0, 3, 0, 0.5))))
    assert field.spacing.tolist() == [1, 1, 0.5]


def test_long_runs_and_random_labels_survive_every_codec(tmp_path: Path) -> None:
    """Bug: a run or a literal of more than 127 bytes is cut."""
    labels = np.random.default_rng(0).integers(0, 2, (40, 30, 20)).astype(np.uint8)
    labels[:, :10] = 1
    for codec in ("", "HxByteRLE", "HxZip"):
        assert np.array_equal(read_label_field(save(tmp_path, label_file(labels, BOX, codec=codec))).labels, labels)


def test_labels_are_found_among_several_fields(tmp_path: Path) -> None:
    """Bug: the first array of the file is taken for the labels, whatever it is."""
    good = label_file(LABELS, BOX)
    head, body = good.split(b"# Data section follows\n@1\n")
    head = head.replace(b"Lattice { byte Labels } @1", b"Lattice { byte Data } @1(HxZip,7)\nLattice { byte Labels } @2")
    path = save(tmp_path, head + b"# Data section follows\n@1\n1234567\n@2\n" + body)
    assert np.array_equal(read_label_field(path).labels, LABELS)


def changed(old: bytes, new: bytes, **keys: str) -> bytes:
    content = label_file(LABELS, BOX, **keys)  # type: ignore[arg-type]
    assert old in content
    return content.replace(old, new)


BAD = {
    "empty": (b"", "empty"),
    "stl": (b"solid a\nendsolid a\n", "must be an Amira label field"),
    "png": (b"\x89PNG\r\n" + bytes(99), "PNG picture"),
    "surface": (changed(b"ENDIAN 2.1", b"ENDIAN 2.1 <hxsurface>"), "surface stored as AmiraMesh"),
    "first line": (changed(b"ENDIAN 2.1", b"ENDIAN"), "must be ASCII, BINARY or .* with a version"),
    "no data": (changed(b"\n@1\n", b"\n"), "must have its data, '@1'"),
    "braces": (changed(b'"uniform"\n}', b'"uniform"\n'), "matching braces"),
    "deep": (changed(b"Parameters {", b"Parameters {" * 60), "matching braces"),
    "lattice": (changed(b"Lattice 5 4 3", b"Lattice 5 4"), "three numbers of voxels; got 5 4"),
    "huge": (changed(b"Lattice 5 4 3", b"Lattice 99999 99999 99999"), r"at most 2\^30 voxels"),
    "large": (changed(b"Lattice 5 4 3", b"Lattice 500 400 300"), "announces 60000000 bytes .* cut off"),
    "stacked": (changed(b'"uniform"\n', b'"stacked"\n'), "must have uniform coordinates; got 'stacked'"),
    "no box": (changed(b"BoundingBox", b"Box"), "must have a BoundingBox"),
    "flat box": (changed(b"10 12 -1", b"10 10 -1"), "BoundingBox must be xmin xmax"),
    "nan box": (changed(b"10 12 -1", b"nan 12 -1"), "BoundingBox must be 6 numbers"),
    "float": (changed(b"byte Labels", b"float Labels"), "must have one lattice of integers"),
    "vector": (changed(b"byte Labels", b"byte[2] Labels"), "must have one lattice of integers"),
    "codec": (changed(b"@1(HxZip", b"@1(HxWavelet", codec="HxZip"), "got the codec HxWavelet"),
    "short runs": (changed(b"HxByteRLE", b"HxByteRLE", codec="HxByteRLE")[:-4], "cut off|must unpack"),
    "more runs": (
        changed(b"Lattice 5 4 3", b"Lattice 5 4 2", codec="HxByteRLE"),
        "must unpack to 40 bytes.*; got more",
    ),
    "zip": (changed(b"\n@1\nx", b"\n@1\ny", codec="HxZip"), "HxZip data are damaged"),
    "less zip": (changed(b"Lattice 5 4 3", b"Lattice 5 4 4", codec="HxZip"), "must unpack to 80 bytes.*; got 60"),
    "cut": (label_file(LABELS, BOX)[:-9], "60 bytes of labels; got 52: it is cut off"),
    "tail": (label_file(LABELS, BOX) + b"tail", "goes on for 5 bytes"),
    "more labels": (label_file(LABELS, BOX, form="ASCII") + b"1 1\n", "must have 60 labels; got 62"),
    "word": (label_file(LABELS, BOX, form="ASCII").replace(b"\n1\n", b"\n1.5\n"), "labels must be whole numbers"),
    "beyond": (label_file(LABELS + np.uint8(1), BOX), "labels 0 to 1; got the label 2"),
    "ids": (label_file(LABELS, BOX, first_id=1).replace(b"Id 2", b"Id 5"), "Id is their place"),
    "twins": (changed(b"Lithium", b"Exterior"), "two materials 'Exterior'"),
    "moved": (
        label_file(LABELS, BOX, more="    TransformationMatrix 1 0 0 0 0 1 0 0 0 0 1 0 5 0 0 1\n"),
        "must not have a transformation",
    ),
    "binary as text": (label_file(LABELS, BOX).replace(b"BINARY-LITTLE-ENDIAN", b"ASCII"), "must be text; got binary"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_read_is_named(tmp_path: Path, name: str) -> None:
    """Bug: a part of the format that is not understood gives wrong voxels instead of a refusal."""
    content, message = BAD[name]
    path = save(tmp_path, content)
    with pytest.raises(InputFileError, match=f"(?s){message}") as fault:
        read_label_field(path)
    assert str(fault.value).startswith(str(path))
    assert len(str(fault.value).removeprefix(str(path))) < 300


def test_identity_transformation_is_none(tmp_path: Path) -> None:
    """Bug: Avizo writes the identity into many files, and all of them are refused."""
    path = save(tmp_path, label_file(LABELS, BOX, more="    TransformationMatrix 1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1\n"))
    assert np.array_equal(read_label_field(path).labels, LABELS)
