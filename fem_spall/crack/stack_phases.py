"""Which voxels of an image are lithium and which are empty: labels, thresholds, and the part that is used."""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from fem_spall.errors import InputFileError
from fem_spall.model import Model

__all__ = [
    "ELECTROLYTE",
    "LITHIUM",
    "VOID",
    "Crop",
    "Phases",
    "Threshold",
    "crop_range",
    "grey_range",
    "label_counts",
    "phases_of",
]

ELECTROLYTE, VOID, LITHIUM = 0, 1, 2


class Phases(Model):
    """Labels of the voxels of each phase; all others are electrolyte."""

    lithium: tuple[int, ...] = ()
    void: tuple[int, ...] = ()

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if not self.lithium and not self.void:
            raise ValueError("labels must name the labels of lithium or of voids. Write for instance 'lithium: [1]'")
        if both := sorted(set(self.lithium) & set(self.void)):
            raise ValueError(f"label {both[0]} is lithium and void at once. Name every label once")
        return self


class Threshold(Model):
    """Grey values of one phase: above a value, below a value, or between the two."""

    above: float | None = None
    below: float | None = None
    phase: Literal["lithium", "void"] = "lithium"

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.above is None and self.below is None:
            raise ValueError("threshold needs above or below. Write for instance 'above: 128'")
        if self.above is not None and self.below is not None and self.above >= self.below:
            raise ValueError("threshold: above must be less than below. Leave one of them out, or swap them")
        return self


class Crop(Model):
    """Voxels that are used, first and one after the last, counted from 0 in the file."""

    x: tuple[int, int] | None = None
    y: tuple[int, int] | None = None
    z: tuple[int, int] | None = None


def crop_range(crop: Crop, shape: tuple[int, ...], where: str) -> tuple[list[int], list[int]]:
    """Return the first voxel along x, y, z that is used, and the one after the last.

    Raises
    ------
    InputFileError
        If the image has no such voxels.
    """
    first, last = [0, 0, 0], list(shape)
    for axis, (name, size) in enumerate(zip("xyz", shape, strict=True)):
        if (chosen := getattr(crop, name)) is None:
            continue
        if not 0 <= chosen[0] < chosen[1] <= size:
            reason = f"crop.{name} must be two numbers from 0 to {size}, the first less; got {chosen[0]}, {chosen[1]}"
            raise InputFileError(15, where, reason, "count voxels in the file, from 0")
        first[axis], last[axis] = chosen
    return first, last


def phases_of(
    voxels: NDArray[Any], labels: Phases | None, threshold: Threshold | None, where: str
) -> tuple[NDArray[np.uint8], list[dict[str, Any]]]:
    """Return the phase of every voxel, and how many voxels each label has; of grey values how many are in the phase.

    Raises
    ------
    InputFileError
        If labels are no whole numbers, a label is not in the image, or a threshold divides nothing.
    """
    if threshold is not None:
        inside = np.ones(voxels.shape, dtype=bool)
        low, high = grey_range(voxels, where)
        if threshold.above is not None:
            inside &= voxels > threshold.above
        if threshold.below is not None:
            inside &= voxels < threshold.below
        phase = LITHIUM if threshold.phase == "lithium" else VOID
        found = int(np.count_nonzero(inside))
        counts: list[dict[str, Any]] = [{"phase": threshold.phase, "voxels": found}]
        if found in (0, inside.size):
            reason = f"threshold must divide the image; {found} of {inside.size} voxels meet it, grey values go "
            reason += f"from {low:g} to {high:g}"
            raise InputFileError(16, where, reason, "take a value between")
        return inside.astype(np.uint8) * np.uint8(phase), counts
    assert labels is not None
    if voxels.dtype.kind not in "biu":
        reason = f"labels must be whole numbers; got {voxels.dtype}"
        raise InputFileError(12, where, reason, "save the labels as uint8, or give threshold instead of labels")
    values, numbers = label_counts(voxels)
    known = {int(value) for value in values}
    names: dict[int, str] = {**dict.fromkeys(labels.lithium, "lithium"), **dict.fromkeys(labels.void, "void")}
    if absent := [label for label in names if label not in known]:
        told = ", ".join(map(str, sorted(known)[:20]))
        reason = f"must hold the label {absent[0]}, {names[absent[0]]} in the case; it holds {told}"
        raise InputFileError(16, where, reason, "correct labels; `fem-spall inspect` lists them")
    phases = np.zeros(voxels.shape, dtype=np.uint8)
    for label, name in names.items():
        phases[voxels == label] = LITHIUM if name == "lithium" else VOID
    counts = [
        {"label": int(value), "phase": names.get(int(value), "electrolyte"), "voxels": int(number)}
        for value, number in zip(values, numbers, strict=True)
    ]
    return phases, counts[:256]


def grey_range(voxels: NDArray[Any], where: str) -> tuple[Any, Any]:
    """Return the lowest and the highest grey value.

    Raises
    ------
    InputFileError
        If one is not finite.
    """
    low, high = voxels.min(), voxels.max()
    if voxels.dtype.kind == "f" and not (np.isfinite(low) and np.isfinite(high)):
        raise InputFileError(8, where, "must have finite grey values; got NaN or infinity", "save it again")
    return low, high


def label_counts(voxels: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the labels of an image and how many voxels have each, without a copy of more than a slice."""
    total: dict[int, int] = {}
    for k in range(voxels.shape[2]):
        for value, count in zip(*np.unique(voxels[:, :, k], return_counts=True), strict=True):
            total[int(value)] = total.get(int(value), 0) + int(count)
    labels = np.array(sorted(total))
    return labels, np.array([total[int(label)] for label in labels], dtype=np.int64)
