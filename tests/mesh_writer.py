"""One tetrahedron in every dialect of STL, OBJ, OFF and PLY."""

from __future__ import annotations

import struct

import numpy as np

POINTS = np.array([[0.0, 0, 0], [1.5, 0, 0], [0, 1, 0], [0, 0, 0.25]])
FACES = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]])


def stl_binary(header: bytes = b"", count: int | None = None) -> bytes:
    records = b"".join(struct.pack("<12fH", 0, 0, 0, *POINTS[f].ravel(), 0) for f in FACES)
    return header.ljust(80, b" ") + struct.pack("<I", len(FACES) if count is None else count) + records


def stl_ascii(name: str = "tip") -> str:
    lines = [f"solid {name}"]
    for f in FACES:
        lines += ["facet normal 0 0 0", " outer loop", *(f"  vertex {x:g} {y:g} {z:g}" for x, y, z in POINTS[f])]
        lines += [" endloop", "endfacet"]
    return "\n".join([*lines, f"endsolid {name}", ""])


def obj(faces: str | None = None) -> str:
    body = "".join(f"f {a} {b} {c}\n" for a, b, c in FACES + 1) if faces is None else faces
    return "# made here\nmtllib absent.mtl\no tip\n" + "".join(f"v {x} {y} {z}\n" for x, y, z in POINTS) + body


def off() -> str:
    rows = [f"{x} {y} {z}" for x, y, z in POINTS] + [f"3 {a} {b} {c}" for a, b, c in FACES]
    return "OFF\n# counts\n4 4 6\n" + "\n".join(rows) + "\n"


def ply(form: str, extra: bool = False) -> bytes:
    head = f"ply\nformat {form} 1.0\ncomment made here\nelement vertex 4\nproperty float x\nproperty double y\n"
    head += "property float z\n" + ("property uchar red\n" if extra else "")
    head += "element face 4\nproperty list uchar int vertex_indices\nend_header\n"
    if form == "ascii":
        rows = [f"{x} {y} {z}" + (" 7" if extra else "") for x, y, z in POINTS]
        return (head + "\n".join(rows + [f"3 {a} {b} {c}" for a, b, c in FACES]) + "\n").encode()
    order = "<" if "little" in form else ">"
    body = b"".join(struct.pack(order + "fdf" + "B" * extra, *p, *[7] * extra) for p in POINTS)
    return head.encode() + body + b"".join(struct.pack(order + "B3i", 3, *f) for f in FACES)


GOOD: dict[str, str | bytes] = {
    "binary.stl": stl_binary(),
    "solid_header.stl": stl_binary(b"solid but binary"),
    "bad_utf8.stl": stl_binary(b"\xc3\x28\xff"),
    "ascii.stl": stl_ascii(),
    "upper.stl": stl_ascii().upper(),
    "cr_only.stl": stl_ascii().replace("\n", "\r"),
    "crlf.stl": stl_ascii().replace("\n", "\r\n"),
    "one_line.stl": stl_ascii().replace("\n", " "),
    "end_solid.stl": stl_ascii().replace("endsolid", "end solid"),
    "bom.stl": "\ufeff" + stl_ascii(),
    "nan_normals.stl": stl_ascii().replace("normal 0 0 0", "normal -nan(ind) nan 0"),
    "facet_in_name.stl": stl_ascii("a facet of it"),
    "two_solids.stl": stl_ascii().replace("endfacet\nfacet", "endfacet\nendsolid a\nsolid b\nfacet", 1),
    "plain.obj": obj(),
    "slashes.obj": obj("".join(f"f {a}/1/1 {b}//2 {c}/3\n" for a, b, c in FACES + 1)),
    "negative.obj": obj("".join(f"f {a} {b} {c}\n" for a, b, c in FACES - 4)),
    "continued.obj": obj("f 1 3 \\\n2\nf 1 2 4\nf 2 3 4\nf 3 1 4\n"),
    "plain.off": off(),
    "counts_beside.off": off().replace("OFF\n# counts\n", "OFF "),
    "ascii.ply": ply("ascii"),
    "little.ply": ply("binary_little_endian"),
    "big.ply": ply("binary_big_endian"),
    "colours.ply": ply("binary_little_endian", extra=True),
    "colours_ascii.ply": ply("ascii", extra=True),
}
