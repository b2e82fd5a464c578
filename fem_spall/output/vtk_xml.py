"""VTK's XML files, written by ourselves: VTK's own writers crash the process, or cut the file, on a full disk.

Appended raw data, compressed with zlib in blocks, 64-bit headers; opens in ParaView 5.11 and later.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fem_spall.output.files import atomic_bytes

__all__ = ["QUADRATIC_TETRA", "TETRA", "write_polydata", "write_unstructured"]

TETRA, QUADRATIC_TETRA = 10, 24

type Arrays = Mapping[str, NDArray[np.generic]]

_NAMES = {"float64": "Float64", "float32": "Float32", "int64": "Int64", "int32": "Int32", "uint8": "UInt8"}
_BLOCK = 1 << 18
#: Arrays whose first block keeps more than this share of its bytes are stored as they are: the noise of mantissas.
_WORTH = 0.85


class _Appended:
    """Collects arrays; gives each its element in the header and its offset in the data."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self._size = 0

    def array(self, name: str, values: NDArray[np.generic]) -> str:
        """Element of a numeric array, (n,) or (n, components)."""
        components = 1 if values.ndim == 1 else values.shape[1]
        return self._element(_NAMES[str(values.dtype)], name, values, f' NumberOfComponents="{components}"')

    def text(self, name: str, values: list[str]) -> str:
        """Element of an array of strings, for field data."""
        raw = np.frombuffer("".join(f"{value}\0" for value in values).encode(), dtype=np.uint8)
        return self._element("String", name, raw, f' NumberOfTuples="{len(values)}"')

    def _element(self, kind: str, name: str, values: NDArray[np.generic], more: str) -> str:
        offset = self._size
        raw = memoryview(np.ascontiguousarray(values)).cast("B") if values.size else memoryview(b"")
        level = 1 if len(zlib.compress(raw[:_BLOCK], 1)) < _WORTH * len(raw[:_BLOCK]) else 0
        blocks = [zlib.compress(raw[i : i + _BLOCK], level) for i in range(0, len(raw), _BLOCK)]
        last = len(raw) % _BLOCK
        head = np.array([len(blocks), _BLOCK, last, *map(len, blocks)], dtype="<u8")
        own = [head.tobytes(), *blocks]
        self.parts += own
        self._size += sum(map(len, own))
        return f'<DataArray type="{kind}" Name={_quoted(name)}{more} format="appended" offset="{offset}"/>\n'


def write_unstructured(
    path: Path,
    points: NDArray[np.float64],
    cells: NDArray[np.int32 | np.int64],
    cell_type: int,
    point_data: Arrays,
    cell_data: Arrays,
    field_data: Arrays,
) -> Path:
    """Write a ``.vtu`` of cells of one type, (m, nodes) int, completely or not at all."""
    body = _Appended()
    count = len(cells)
    topology = (
        body.array("connectivity", cells.ravel())
        + body.array("offsets", np.arange(1, count + 1, dtype=np.int64) * cells.shape[1])
        + body.array("types", np.full(count, cell_type, dtype=np.uint8))
    )
    piece = (
        f'<Piece NumberOfPoints="{len(points)}" NumberOfCells="{count}">\n'
        + _attributes(body, points, point_data, cell_data)
        + f"<Cells>\n{topology}</Cells>\n</Piece>\n"
    )
    return _write(path, "UnstructuredGrid", _fields(body, field_data, {}), piece, body)


def write_polydata(
    path: Path,
    points: NDArray[np.float64],
    triangles: NDArray[np.int64],
    point_data: Arrays,
    cell_data: Arrays,
    field_data: Arrays,
    texts: Mapping[str, list[str]],
) -> Path:
    """Write a ``.vtp`` of triangles, (m, 3) int, completely or not at all."""
    body = _Appended()
    count = len(triangles)
    topology = body.array("connectivity", triangles.astype(np.int64).ravel()) + body.array(
        "offsets", np.arange(1, count + 1, dtype=np.int64) * 3
    )
    piece = (
        f'<Piece NumberOfPoints="{len(points)}" NumberOfVerts="0" NumberOfLines="0" NumberOfStrips="0" '
        f'NumberOfPolys="{count}">\n'
        + _attributes(body, points, point_data, cell_data)
        + f"<Polys>\n{topology}</Polys>\n</Piece>\n"
    )
    return _write(path, "PolyData", _fields(body, field_data, texts), piece, body)


def _attributes(body: _Appended, points: NDArray[np.float64], point_data: Arrays, cell_data: Arrays) -> str:
    on_points = "".join(body.array(name, values) for name, values in point_data.items())
    on_cells = "".join(body.array(name, values) for name, values in cell_data.items())
    return (
        f"<PointData>\n{on_points}</PointData>\n<CellData>\n{on_cells}</CellData>\n"
        f"<Points>\n{body.array('Points', points)}</Points>\n"
    )


def _fields(body: _Appended, field_data: Arrays, texts: Mapping[str, list[str]]) -> str:
    def numbered(name: str, values: NDArray[np.generic]) -> str:
        return body.array(name, values).replace(" format=", f' NumberOfTuples="{len(values)}" format=')

    numbers = "".join(numbered(name, values) for name, values in field_data.items())
    strings = "".join(body.text(name, values) for name, values in texts.items())
    return f"<FieldData>\n{numbers}{strings}</FieldData>\n"


def _write(path: Path, kind: str, fields: str, piece: str, body: _Appended) -> Path:
    header = (
        f'<?xml version="1.0"?>\n<VTKFile type="{kind}" version="1.0" byte_order="LittleEndian" header_type="UInt64" '
        f'compressor="vtkZLibDataCompressor">\n<{kind}>\n{fields}{piece}</{kind}>\n<AppendedData encoding="raw">\n_'
    )
    return atomic_bytes(path, header.encode(), *body.parts, b"\n</AppendedData>\n</VTKFile>\n")


def _quoted(text: str) -> str:
    """Text as the value of an attribute."""
    from xml.sax.saxutils import quoteattr  # with all of HTTP

    return quoteattr(text)
