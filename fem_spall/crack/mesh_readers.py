"""Strict readers of triangle surfaces: STL, OBJ, PLY, OFF and Amira's HyperSurface.

Every count is compared with the size of the file before memory is asked for, and a file
that is not exactly what it claims to be is refused with the place and the cure: a mesh
that is silently empty or scrambled would only show up as a wrong current.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fem_spall.crack.amira_labels import is_amira_mesh
from fem_spall.crack.hypersurface import is_hypersurface, is_text_hypersurface, read_hypersurface
from fem_spall.crack.input_file import InputFile, open_input, refuse_foreign
from fem_spall.crack.obj_reader import read_obj, read_off
from fem_spall.crack.ply_reader import is_text_ply, read_ply
from fem_spall.crack.polygons import PolygonMesh, triangulated
from fem_spall.crack.stl_reader import facets_announced, read_ascii_stl, read_binary_stl, wrong_size
from fem_spall.crack.triangles import weld
from fem_spall.errors import InputFileError

__all__ = ["RawMesh", "read_mesh"]

type Floats = NDArray[np.float64]
type Ints = NDArray[np.int64]

LARGEST_COORDINATE = 1e12  # file units; no crack is a kilometre of nanometres
WANTED = "a triangle mesh"

_COMMENTS = re.compile(rb"(?:\xef\xbb\xbf)?(?:\s*+#[^\r\n]*+)*+\s*+(\S{0,80})")


@dataclass(frozen=True)
class RawMesh:
    """What a file holds: ``vertices`` (n, 3) float in file units and ``faces`` (m, 3) int, nothing repaired.

    ``unit`` is the length unit that the file itself states, None where the format has none.
    """

    vertices: Floats
    faces: Ints
    sha256: str
    format: str
    notes: tuple[str, ...] = ()
    unit: str | None = None


def read_mesh(path: str | Path, material: str | None = None) -> RawMesh:
    """Return the triangles of a mesh file; its content, not its extension, decides the format.

    Parameters
    ----------
    path : str or Path
    material : str, optional
        Which of the materials of a HyperSurface; other formats have none.

    Raises
    ------
    InputFileError
        If the file cannot be read completely and without doubt.
    """
    path = Path(path)
    with open_input(path) as file:
        form, text, parse = _format(file)
        data = file.read(text=text)
    notes: tuple[str, ...] = ()
    unit = None
    if parse is None:
        mesh, unit, notes = read_hypersurface(path, data, material)
    elif material is not None:
        reason = f"has no materials, since it is {form}; got material {material!r}"
        raise InputFileError(12, str(path), reason, "leave material out: only .surf files have materials")
    else:
        mesh = parse(path, data)
    if len(mesh.polygons) == 0:
        raise InputFileError(10, str(path), "must hold at least four triangles; got none", "export the surface again")
    corners_of_facets = form.startswith("stl")
    _check_numbers(path, mesh.vertices, corners_of_facets)
    vertices, faces = mesh.vertices, triangulated(mesh)
    if corners_of_facets:  # the format has no shared corners: joining identical ones is part of reading it
        vertices, index = weld(vertices)
        faces = index[faces]
    suffix = path.suffix.lower().lstrip(".")
    if form.split()[0] != suffix:
        notes = (f"the content is {form}, whatever the extension {path.suffix!r} says", *notes)
    return RawMesh(vertices, faces, file.sha256, form, notes, unit)


def _format(file: InputFile) -> tuple[str, bool, Callable[[Path, bytes], PolygonMesh] | None]:
    """Name the format, say whether it is text, and give the function that reads it; None for a HyperSurface."""
    path, head, size = file.path, file.head, file.size
    count = facets_announced(head)
    if count and size == 84 + 50 * count:
        return "stl binary", False, read_binary_stl  # whatever its header says: many writers begin it with "solid"
    refuse_foreign(path, head, WANTED)
    if is_amira_mesh(head):
        reason = f"must be {WANTED}; got an AmiraMesh file, such as a label field"
        raise InputFileError(4, str(path), reason, "label fields are kind: image_stack; save a surface as .surf or STL")
    if is_hypersurface(head):
        text = is_text_hypersurface(path, head)
        return "surf ascii" if text else "surf binary", text, None
    word = _first_word(head)
    if word == b"ply":
        return "ply", is_text_ply(path, head, size), read_ply
    if re.fullmatch(rb"(st|c|n)*off", word):
        return "off", True, read_off
    if word.startswith(b"solid") and b"\0" not in head:
        return "stl ascii", True, read_ascii_stl
    suffix = path.suffix.lower()
    if b"\0" not in head and (suffix == ".obj" or re.search(rb"(?m)^[ \t]*v[ \t]+[-+.\d]", head)):
        return "obj", True, read_obj
    if suffix == ".stl" and b"\0" in head:
        raise wrong_size(path, head, size)
    reason = "must be STL, OBJ, PLY, OFF or HyperSurface (.surf); the content is none of these"
    raise InputFileError(5, str(path), reason, "export it as STL")


def _first_word(head: bytes) -> bytes:
    """First word, in lower case, that is not in a comment."""
    start = _COMMENTS.match(head)
    return start[1].lower() if start is not None else b""


def _check_numbers(path: Path, vertices: Floats, corners_of_facets: bool) -> None:
    """Refuse NaN, infinities and absurd coordinates, naming the first vertex."""
    with np.errstate(invalid="ignore"):
        wrong = np.flatnonzero(~(np.abs(vertices) < LARGEST_COORDINATE).all(axis=1))
    if len(wrong) == 0:
        return
    k = int(wrong[0])
    place = f"{path}, facet {k // 3 + 1}, corner {k % 3 + 1}" if corners_of_facets else f"{path}, vertex {k + 1}"
    got = ", ".join(f"{value:g}" for value in vertices[k])
    more = f", and {len(wrong) - 1} more such vertices" if len(wrong) > 1 else ""
    reason = f"coordinates must be finite and below 1e12; got ({got}){more}"
    raise InputFileError(8, place, reason, "repair the surface in the program that made it and export it again")
