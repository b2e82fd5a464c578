"""What an image stack is: size, labels, and how their voxels hang together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fem_spall.crack.raw_stack import DEFAULT_LIMIT, refuse_large
from fem_spall.crack.stack_phases import grey_range, label_counts
from fem_spall.crack.stack_readers import is_stack, read_stack
from fem_spall.crack.surface_file import LengthUnit

__all__ = ["inspect_stack", "is_stack", "stack_lines"]

#: More labels than this are grey values, or objects with a number each: they are counted, not listed.
MOST_LABELS = 16
METRE = {"nm": 1e-9, "um": 1e-6, "mm": 1e-3, "cm": 1e-2, "m": 1.0, "inch": 0.0254}


def inspect_stack(path: str | Path, unit: LengthUnit | None = None, array: str | None = None) -> dict[str, Any]:
    """Return a plain report on an image stack, ready for JSON: axes as the format has them, volumes in um^3.

    Parameters
    ----------
    path : str or Path
        File or folder.
    unit : str, optional
        Unit of the spacing the file states, where it names none.
    array : str, optional
        Which array of the file.

    Raises
    ------
    InputFileError
        If it cannot be read.
    LimitError
        If it is too large.
    """
    path = Path(path)
    raw = read_stack(path, array)
    order = [raw.axes.index(axis) for axis in "xyz"]
    voxels = raw.voxels.transpose(order)
    refuse_large(path, voxels.shape, voxels.dtype.itemsize, DEFAULT_LIMIT, 8)
    metre = METRE.get(raw.unit or unit or "")
    spacing = [raw.spacing[k] for k in order] if raw.spacing is not None else None
    known = metre is not None and spacing is not None and None not in spacing
    lengths = [float(value) * metre * 1e6 for value in spacing or () if value is not None and metre is not None]
    report: dict[str, Any] = {
        "file": path.name,
        "sha256": raw.sha256,
        "format": raw.format,
        "array": array,
        "axes_of_the_format": raw.axes,
        "voxels_xyz": [int(n) for n in voxels.shape],
        "type": str(voxels.dtype),
        "spacing_stated": spacing,
        "unit_stated": raw.unit,
        "size_um": [n * h for n, h in zip(voxels.shape, lengths, strict=True)] if known else None,
        "notes": list(raw.notes),
    }
    volume = float(np.prod(lengths)) if known else None
    if voxels.dtype.kind == "f":
        return report | {"grey_values": [float(v) for v in grey_range(voxels, str(path))], "labels": None}
    values, counts = label_counts(voxels)
    if len(values) > MOST_LABELS:
        return report | {"different_labels": len(values), "grey_values": [int(values[0]), int(values[-1])],
                         "labels": None}  # fmt: skip
    return report | {"labels": [
        _label(voxels == value, int(value), int(count), volume) for value, count in zip(values, counts, strict=True)
    ]}  # fmt: skip


def _label(mask: Any, value: int, count: int, volume: float | None) -> dict[str, Any]:
    """Voxels of a label, and its pieces: by faces, by corners too, and the largest."""
    from scipy.ndimage import generate_binary_structure, label

    entry: dict[str, Any] = {"label": value, "voxels": count, "share": count / mask.size}
    if volume is not None:
        entry["volume_um3"] = count * volume
    for name, reach in (("6", 1), ("26", 3)):
        numbers, pieces = label(mask, generate_binary_structure(3, reach))
        entry[f"pieces_{name}"] = int(pieces)
        entry[f"largest_share_{name}"] = float(np.bincount(numbers.ravel())[1:].max(initial=0)) / count
    return entry


def stack_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """Return the lines of a report on a stack, what to write into a case last."""
    yield f"file: {found['file']}"
    yield f"sha256: {found['sha256']}"
    shape = " x ".join(map(str, found["voxels_xyz"]))
    axes = found["axes_of_the_format"]
    yield f"format: {found['format']}, read with axes: {axes} (of the format; state other ones in the case)"
    yield f"voxels along x, y, z: {shape}, {found['type']}"
    spacing = found["spacing_stated"]
    told = " x ".join("?" if value is None else f"{value:g}" for value in spacing) if spacing else "none"
    yield f"size of a voxel stated by the file: {told} {found['unit_stated'] or '(no unit)' * bool(spacing)}".rstrip()
    if found["size_um"]:
        yield f"size of the image: {' x '.join(f'{length:.6g}' for length in found['size_um'])} um"
    yield from (f"note: {note}" for note in found["notes"])
    if found["labels"] is None:
        low, high = found["grey_values"]
        yield f"grey values from {low:g} to {high:g}: a case needs threshold, such as 'threshold: {{above: 128}}'"
        return
    for one in found["labels"]:
        volume = f", {one['volume_um3']:.6g} um^3" if "volume_um3" in one else ""
        yield (
            f"label {one['label']}: {one['voxels']:,} voxels ({one['share']:.2%}){volume}; pieces by faces (6): "
            f"{one['pieces_6']:,}, the largest {one['largest_share_6']:.2%} of it; by corners too (26): "
            f"{one['pieces_26']:,}, {one['largest_share_26']:.2%}"
        )
    yield "a case takes it as 'kind: image_stack' with labels, such as 'labels: {lithium: [1], void: [2]}'"
    yield "mesh.size_min may be left out: two voxels, or more; thin bodies are made as coarse as that, or have no mesh"
