"""Readers: every format gives the same tetrahedron; every damaged file is named as what it is."""

from __future__ import annotations

import gzip
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from fem_spall.crack.input_file import HEAD, open_input
from fem_spall.crack.mesh_readers import read_mesh
from fem_spall.errors import InputFileError
from tests.mesh_writer import FACES, GOOD, POINTS, obj, off, ply, stl_ascii, stl_binary

ROOT = Path(__file__).parents[2]


def save(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("name", GOOD)
def test_every_dialect_gives_the_same_tetrahedron(tmp_path: Path, name: str) -> None:
    """Bug: a dialect is read as an empty or scrambled mesh."""
    mesh = read_mesh(save(tmp_path, name, GOOD[name]))
    corners = mesh.vertices[mesh.faces]
    assert np.array_equal(corners, POINTS[FACES])
    assert mesh.notes == ()


def test_the_content_decides_the_format(tmp_path: Path) -> None:
    """Bug: a PLY saved as .stl is taken for a damaged STL."""
    mesh = read_mesh(save(tmp_path, "wrong.stl", ply("ascii")))
    assert mesh.format == "ply"
    assert "'.stl'" in mesh.notes[0]


def test_stl_corners_are_joined_and_signed_zero_is_one_place(tmp_path: Path) -> None:
    """Bug: -0.0 and 0.0 stay two corners and leave a slit."""
    mesh = read_mesh(save(tmp_path, "zero.stl", stl_ascii().replace("vertex 0 0 0", "vertex -0.0 0 -0", 1)))
    assert len(mesh.vertices) == 4


BAD: dict[str, tuple[str | bytes, str]] = {
    "empty.stl": (b"", "empty"),
    "page.stl": ("<!DOCTYPE html><html>not found</html>", "HTML page"),
    "scene.stl": ('<?xml version="1.0"?><VTKFile/>', "XML"),
    "picture.stl": (b"\x89PNG\r\n\x1a\n" + bytes(100), "PNG picture"),
    "pointer.stl": ("version https://git-lfs.example/spec/v1\noid sha256:00\nsize 5\n", "Git LFS pointer"),
    "packed.stl": (gzip.compress(stl_binary()), "gzip"),
    "commented_page.stl": ("\n <!-- saved -->\n<html></html>", "HTML page"),
    "photo.stl": (b"\xff\xd8\xff\xe0" + bytes(100), "JPEG picture"),
    "paper.stl": (b"%PDF-1.7\n" + bytes(100), "PDF document"),
    "volume.stl": (b"\x93NUMPY\x01\0" + bytes(100), "NumPy array; a stack of images is kind: image_stack"),
    "labels.am": (b"# AmiraMesh BINARY 2.1\n", "AmiraMesh file, such as a label field; .*image_stack"),
    "tar.stl": (bytes(257) + b"ustar" + bytes(100), "tar archive"),
    "archive.stl": (b"PK\x03\x04" + bytes(100), "zip archive"),
    "stack.stl": (b"II*\0" + bytes(100), "TIFF"),
    "utf16.stl": (stl_ascii().encode("utf-16"), "UTF-16"),
    "utf16_no_bom.stl": (stl_ascii().encode("utf-16-le"), "UTF-16"),
    "text.txt": ("hello, I am a letter", "none of these"),
    "huge_count.stl": (stl_binary(count=2**32 - 1), "4294967295 facets, which take 214748364834 bytes; got 284"),
    "cut.stl": (stl_binary()[:-1], "284 bytes; got 283.*cut off"),
    "tail.stl": (stl_binary() + b"\0", "goes on after its last facet"),
    "no_facets.stl": ("solid a\nendsolid a\n", "at least four triangles; got none"),
    "comma.stl": (stl_ascii().replace("1.5", "1,5"), "facet 1: .*decimal commas"),
    "word.stl": (stl_ascii().replace("0.25", "wide"), "facet 2: must be a number; got 'wide'"),
    "cut_ascii.stl": (stl_ascii()[:300], "line 16: facet 3 must be"),
    "no_end.stl": (stl_ascii().split("endsolid")[0], "must end with 'endsolid'"),
    "four_corners.stl": (stl_ascii().replace("vertex 0 0 0.25", "vertex 0 0 1\nvertex 0 0 0.25"), "facet 2 must be"),
    "nan.stl": (stl_ascii().replace("0.25", "nan"), r"facet 2, corner 3: .*got \(0, 0, nan\), and 2 more"),
    "signalling_nan.stl": (stl_binary()[:96] + b"\1\0\x80\x7f" + stl_binary()[100:], r"facet 1, corner 1: .*\(nan, 0"),
    "inf.obj": (obj().replace("0.25", "inf"), "vertex 4: coordinates must be finite"),
    "huge.obj": (obj().replace("0.25", "1e30"), "vertex 4: .*1e.?30"),
    "underscore.obj": (obj().replace("0.25", "2_5"), "line 7: must be a number; got '2_5'"),
    "zero.obj": (obj("f 0 1 2\n"), r"line 8: vertices count from 1 .*got 0"),
    "beyond.obj": (obj("f 1 2 3\nf 1 2 5\n"), "line 9: must use one of the 4 vertices; got the index 4"),
    "too_negative.obj": (obj("f -5 1 2\n"), "line 8: .*got -5"),
    "two_corners.obj": (obj("f 1 2\n"), "line 8: a face must have three corners"),
    "spline.obj": (obj("curv 0 1 1 2\n"), "line 8: only vertices and polygons"),
    "letters.obj": (obj("f 1 2 x\n"), "line 8: a corner must be an index; got 'x'"),
    "underscores.obj": (obj("f 1 2 0_3\n"), "line 8: a corner must be an index; got '0_3'"),
    "arabic.obj": (obj().replace("0.25", "٣"), "line 7: must be a number"),
    "after_joined.obj": (obj("f 1 2 \\\n3\nf 1 2 9\n"), "line 10: must use one of the 4 vertices"),
    "tail.off": (off() + "3 0 1 2\n", "got 9 lines: the file goes on after its last face"),
    "no_properties.ply": (
        ply("ascii").replace(b"element face", b"element part 9\nelement face"), "what a record 'part' holds"
    ),
    "short.off": (off().replace("4 4 6", "400000000000 4 6"), "announces 400000000000 vertices"),
    "beyond.off": (off().replace("3 2 0 3", "3 2 0 4"), "line 11: must use one of the 4 vertices"),
    "polygon.off": (off().replace("3 2 0 3", "7 2 0 3"), "line 11: a face must give its number of corners"),
    "cut.ply": (ply("binary_big_endian")[:-20], "cut off|beyond the end"),
    "tail.ply": (ply("binary_little_endian") + b"x", "goes on for 1 bytes"),
    "count.ply": (ply("binary_little_endian").replace(b"vertex 4", b"vertex 999999999999"), "announces 999999999999"),
    "count_ascii.ply": (ply("ascii").replace(b"face 4", b"face 5"), "announces 9 records; got 8 lines"),
    "no_faces.ply": (ply("ascii").split(b"element face")[0] + b"end_header\n", "must have one element 'face'"),
    "header.ply": (ply("ascii").replace(b"end_header", b"end"), "end_header"),
    "type.ply": (ply("ascii").replace(b"float x", b"real x"), "line 5: must be a PLY header; got 'property real x'"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_damaged_file_is_named_with_place_and_cure(tmp_path: Path, name: str) -> None:
    """Bug: a file that is not what it claims is read partly, slowly or with a traceback."""
    content, message = BAD[name]
    path = save(tmp_path, name, content)
    with pytest.raises(InputFileError, match=f"(?s){message}") as fault:
        read_mesh(path)
    assert str(fault.value).startswith(str(path))
    assert len(str(fault.value).removeprefix(str(path))) < 300


def test_missing_file_folder_and_device(tmp_path: Path) -> None:
    """Bug: a folder or an endless device is read."""
    for path, message in ((tmp_path / "no.stl", "no such file"), (tmp_path, "folder"), (Path("/dev/zero"), "device")):
        with pytest.raises(InputFileError, match=message):
            read_mesh(path)


def test_pipes_loops_and_closed_doors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bug: reading a pipe waits for a writer for ever, or a loop of links is a traceback."""
    pipe, loop, dangling = tmp_path / "pipe.stl", tmp_path / "loop.stl", tmp_path / "dangling.stl"
    os.mkfifo(pipe)
    loop.symlink_to(loop)
    dangling.symlink_to(tmp_path / "gone.stl")
    for path, message in ((pipe, "device or pipe"), (loop, "cannot be opened"), (dangling, "no such file")):
        with pytest.raises(InputFileError, match=message):
            read_mesh(path)
    with pytest.raises(InputFileError, match=r"cannot be opened \(.*null"):
        read_mesh(Path("a\0.stl"))

    def closed(*arguments: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", closed)
    with pytest.raises(InputFileError, match=r"cannot be opened \(Permission denied\); check its permissions"):
        read_mesh(save(tmp_path, "a.stl", stl_binary()))


def test_files_beside_an_obj_are_not_opened(tmp_path: Path) -> None:
    """Bug: a material file is opened, which here would wait for ever."""
    os.mkfifo(tmp_path / "absent.mtl")
    assert len(read_mesh(save(tmp_path, "a.obj", obj())).faces) == 4


GIANTS = {
    "zeros.stl": (b"", "announces 0 facets, which take 84 bytes; got 1099511627776"),
    "four_billion.stl": (bytes(80) + b"\xff\xff\xff\xff", "announces 4294967295 facets"),
    "solid.stl": (b"solid a\n", "header announces 0 facets"),
    "text.stl": (b"solid a\n" + b" " * HEAD, "at most 0.5 GiB of text; got 1024.0 GiB"),
    "a.obj": (b"v 0 0 0\n" + b" " * HEAD, "at most 0.5 GiB of text"),
    "b.off": (b"OFF\n4 4 6\n", "at most 0.5 GiB of text"),
    "few.ply": (ply("binary_little_endian"), "at most 4148 bytes; got 10995116.*goes on after them"),
    "many.ply": (
        ply("binary_big_endian").replace(b"face 4", b"face 999999999999999"),
        "999999999999999 of 'face', .* the file is cut off",
    ),
    "c.surf": (b"# HyperSurface 0.1 BINARY\n", "at most 2 GiB; got 1024.0 GiB"),
}  # fmt: skip


@pytest.mark.parametrize("name", GIANTS)
def test_a_sparse_giant_is_refused_unread(tmp_path: Path, name: str) -> None:
    """Bug: a file of a terabyte is loaded before its size is compared with what it announces."""
    content, message = GIANTS[name]
    path = save(tmp_path, name, content)
    os.truncate(path, 2**40)
    tracemalloc.start()
    with pytest.raises(InputFileError, match=message):
        read_mesh(path)
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


def test_text_with_a_zero_byte_far_inside_is_named(tmp_path: Path) -> None:
    """Bug: binary data in the middle of a text are read as something."""
    text = stl_ascii().encode() + b" " * (2 * HEAD) + b"\0"
    with pytest.raises(InputFileError, match=f"must be text; got binary data from byte {len(text) - 1} on"):
        read_mesh(save(tmp_path, "a.stl", text))


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    """Bug: half of one surface and half of another get one hash."""
    path = save(tmp_path, "a.stl", stl_binary())
    with open_input(path) as file:
        file.size += 50  # it was longer when it was opened
        with pytest.raises(InputFileError, match="must stay as it is while it is read"):
            file.read(text=False)


def test_shipped_surfaces_have_the_triangles_the_readme_names() -> None:
    """Bug: a shipped file was replaced without its description."""
    readme = (ROOT / "meshes" / "README.md").read_text()
    for path in sorted((ROOT / "meshes").glob("*.stl")):
        mesh = read_mesh(path)
        assert f"{len(mesh.faces):,}".replace(",", " ") in readme
        assert mesh.sha256 in readme
