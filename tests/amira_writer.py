"""A small writer of Amira files for tests, from the description of the format."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

NAMES = {"u1": "byte", "i2": "short", "u2": "ushort", "i4": "int"}


def label_file(
    labels: NDArray[np.integer],
    box: Sequence[float],
    *,
    form: str = "BINARY-LITTLE-ENDIAN",
    codec: str = "",
    materials: Sequence[str] = ("Exterior", "Lithium"),
    first_id: int | None = None,
    more: str = "",
    newline: str = "\n",
) -> bytes:
    """An AmiraMesh label field of (nx, ny, nz) labels."""
    flat = labels.transpose(2, 1, 0).ravel()
    kind = f"{labels.dtype.kind}{labels.dtype.itemsize}"
    raw = flat.astype(("<" if form.endswith("ENDIAN") else ">") + kind).tobytes()
    body = {"": raw, "HxZip": zlib.compress(raw), "HxByteRLE": runs(raw)}[codec]
    if form == "ASCII":
        body = "\n".join(map(str, flat.tolist())).encode()
    ids = [f"Id {first_id + k}," if first_id is not None else "" for k in range(len(materials))]
    listed = "\n".join(
        f"        {name} {{\n            {number}\n            Color 0.5 0 0.25\n        }}"
        for name, number in zip(materials, ids, strict=True)
    )
    stored = f"({codec},{len(body)})" if codec else ""
    header = (
        f"# AmiraMesh {'3D ' if form == 'ASCII' else ''}{form} 2.1\n\n# made for a test\n"
        f"define Lattice {' '.join(map(str, labels.shape))}\n\n"
        f"Parameters {{\n    Materials {{\n{listed}\n    }}\n{more}"
        f'    Content "{"x".join(map(str, labels.shape))} {NAMES[kind]}, uniform coordinates",\n'
        f'    BoundingBox {" ".join(f"{value:g}" for value in box)},\n    CoordType "uniform"\n}}\n\n'
        f"Lattice {{ {NAMES[kind]} Labels }} @1{stored}\n\n# Data section follows\n@1\n"
    )
    return header.replace("\n", newline).encode() + body + newline.encode()


def runs(raw: bytes) -> bytes:
    """HxByteRLE: runs of three or more as such, the rest literally."""
    result, literal = bytearray(), bytearray()

    def flush() -> None:
        for start in range(0, len(literal), 127):
            part = literal[start : start + 127]
            result.extend(bytes([128 + len(part)]) + part)
        literal.clear()

    for value, group in itertools.groupby(raw):
        count = len(list(group))
        if count < 3:
            literal.extend([value] * count)
            continue
        flush()
        while count:
            result.extend([min(count, 127), value])
            count -= min(count, 127)
    flush()
    return bytes(result)


def surface_file(
    vertices: NDArray[np.float64],
    patches: Sequence[tuple[str, str, NDArray[np.int64]]],
    *,
    binary: bool,
    parameters: str = "",
    curves: Mapping[str, Sequence[int]] | None = None,
    newline: str = "\n",
) -> bytes:
    """A HyperSurface of patches: inner region, outer region, triangles (m, 3) counted from 0."""
    parts: list[bytes] = []

    def line(text: str) -> None:
        parts.append((text + "\n").replace("\n", newline).encode())

    def array(values: NDArray[np.generic]) -> None:
        if binary:
            parts.append(values.astype(">f4" if values.dtype.kind == "f" else ">i4").tobytes() + b"\n")
        else:
            rows = values.reshape(-1, 3) if values.size % 3 == 0 else values.reshape(-1, 1)
            parts.extend("\t".join(map(str, row)).encode() + b" \n" for row in rows.tolist())

    line(f"# HyperSurface 0.1 {'BINARY' if binary else 'ASCII'}")
    line(
        f"\nParameters {{\n    Materials {{\n        Exterior {{\n            Id 1\n        }}\n    }}\n"
        f"{parameters}}}\n"
    )
    line(f"Vertices {len(vertices)}")
    array(vertices)
    line("NBranchingPoints 0\nNVerticesOnCurves 0")
    line(f"BoundaryCurves {1 if curves else 0}")
    if curves:
        line(f"{{\nVertices {len(curves['vertices'])}")
        array(np.array(curves["vertices"]))
        line("}")
    line(f"Patches {len(patches)}")
    for inner, outer, faces in patches:
        line(f"{{\nInnerRegion {inner}\nOuterRegion {outer}\nBoundaryID 0\nBranchingPoints 0\n")
        if curves:
            line("BoundaryCurves 1")
            array(np.array([1]))
        line(f"Triangles {len(faces)}")
        array(faces + 1)
        line("}")
    return b"".join(parts)
