"""Cracks from a segmented image stack: one entry of a case that stands for all bodies in the image."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Annotated, Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from fem_spall.boundary import FixedPotential
from fem_spall.crack.base import Block, Crack, CrackSurface, Repair, TriangulatedCrack
from fem_spall.crack.raw_stack import DEFAULT_LIMIT, RawStack, refuse_large
from fem_spall.crack.stack_account import account_of
from fem_spall.crack.stack_bodies import (
    Bodies,
    connectivity_of,
    drop_small,
    find_bodies,
    hanging_lithium,
    phase_volumes,
    refuse_many_cells,
)
from fem_spall.crack.stack_coarse import coarsened, factors_for, size_for
from fem_spall.crack.stack_grid import Grid, Image, extend, grid_of, image_in_block
from fem_spall.crack.stack_phases import Crop, Phases, Threshold, crop_range, phases_of
from fem_spall.crack.surface_file import LengthUnit, Placement, UserFile, refuse_misplaced
from fem_spall.errors import InputFileError
from fem_spall.quantity import Length, PositiveLength, Volume

__all__ = ["Axes", "ImageStack", "voxel_of"]


def _coarsening(value: object) -> object:
    """The word stays, three whole numbers become a tuple."""
    if value == "auto":
        return value
    if isinstance(value, list | tuple) and len(value) == 3:
        numbers = tuple(value)
        if all(type(number) is int and 1 <= number <= 64 for number in numbers):
            return numbers
    raise ValueError(f"coarsen must be auto, or voxels along x, y, z from 1 to 64; got {value}. Write '[2, 2, 2]'")


type Coarsening = Annotated[Literal["auto"] | tuple[int, int, int], BeforeValidator(_coarsening)]
type Axes = Literal["zyx", "xyz", "zxy", "yxz", "yzx", "xzy"]

type Factors = tuple[int, int, int]

#: Bytes of memory for each voxel near the block, beside the file's own: of the image, and of what it is made to.
FINE, WORK = 12, 16
AS_THEY_ARE = (1, 1, 1)
#: Islands that are dropped unless the case says otherwise, voxels.
SPECK = 27
#: Positions are rounded to this part of a voxel, to a power of ten.
GRAIN = 1e-6
#: Stated and given voxels may differ by this part: resolutions are stored as fractions.
AGREE = 2e-3


def _drift(value: object) -> object:
    """The word stays, a length becomes metres."""
    from pydantic import TypeAdapter, ValidationError

    if value in ("untracked", "-untracked"):
        return value
    try:
        return TypeAdapter(Length).validate_python(value)
    except ValidationError as error:
        raise ValueError(f"{error.errors()[0]['ctx']['error']}, or 'untracked'") from None


type Drift = Annotated[
    float | str,
    BeforeValidator(_drift, json_schema_input_type=str),
    PlainSerializer(lambda value: value if isinstance(value, str) else f"{value!r} m"),
]


class ImageStack(TriangulatedCrack):
    """All lithium and voids of a segmented image stack, TIFF, NRRD, NPY, NPZ, Zarr, Amira or a folder of slices.

    It becomes one crack for all lithium that hangs on the plating electrode (named as this entry), one
    for each isolated piece (NAME_isolated_1, …, from the largest on) and one for all voids (NAME_void).

    Attributes
    ----------
    dataset
        Which array of an NPZ, Zarr or multi-series TIFF file.
    axes
        What the axes of the array are, slowest first; x along a row of a slice, y down its rows, z from
        slice to slice. Default zyx; Amira files have xyz.
    voxel
        Size of a voxel along x, y, z; needed unless the file states it, and then it must agree.
    unit
        Unit of what the file states about sizes, where it names none.
    drift
        How far the image moves along y from slice to slice, in the image; untracked: dz cos(tilt), the
        drift of a cross-section without beam shift (-untracked: upwards).
    place
        As for surface files; the bounding box is that of the image.
    connectivity
        6: voxels hang together by faces; 26: by edges and corners too.
    islands
        Bodies below this volume are dropped; default: 27 voxels.
    max_isolated
        More isolated pieces than this are refused.
    coarsen
        How many voxels along x, y, z become one; auto: as many as fit into mesh.size_min, if bodies are thin.
    smooth
        Filter length in voxels, those after coarsening: waves of this length on the walls are halved; 0 leaves the
        stairs.
    part
        Only this body: lithium, void, isolated_1, …; default: all.
    """

    kind: Literal["image_stack"]
    file: UserFile
    dataset: str | None = None
    axes: Axes | None = None
    voxel: tuple[PositiveLength, PositiveLength, PositiveLength] | None = None
    unit: LengthUnit | None = None
    labels: Phases | None = None
    threshold: Threshold | None = None
    crop: Crop = Crop()
    drift: Drift = "0 um"
    place: Placement = Placement()
    connectivity: Literal[6, 26] = 6
    islands: Volume | None = None
    max_isolated: Annotated[int, Field(ge=0, le=1000)] = 100
    coarsen: Coarsening = "auto"
    smooth: Annotated[float, Field(ge=0, le=10)] = 4.0
    part: Annotated[str, Field(pattern=r"^(lithium|void|isolated_[1-9][0-9]{0,3})$")] | None = None

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if (self.labels is None) == (self.threshold is None):
            raise ValueError("give either labels or threshold. Write for instance 'labels: {lithium: [1]}'")
        if self.part is None and (self.contents, self.contact) != ("lithium", "plating"):
            raise ValueError("contents and contact follow from labels and the image. Leave them out")
        if self.interface.kind == "exact_potential":
            raise ValueError("an image has no closed form. Leave interface out, or take a resistance")
        if self.part is None and len(self.name) > 24:
            raise ValueError("the name of an image stack must have at most 24 letters. Shorten it")
        if isinstance(self.drift, str) and self.place.tilt is None:
            raise ValueError("drift: untracked needs place.tilt. Write for instance 'place: {tilt: 52 deg}'")
        if 0 < self.smooth < 3:
            raise ValueError("smooth must be 0 or at least 3 voxels. Write for instance 'smooth: 4'")
        return self

    def size_for(self, block: Block, limit: float, cells: float) -> float:
        """Two voxels, or the large ones that ``coarsen`` asks for; more where bodies are thick or walls many.

        Raises
        ------
        SpallError
            If the file cannot be read, or lies beside the block.
        """
        image, factors, _ = _read(self, block, limit, 0.0, self._where)
        return max(size_for(image, block, cells), float((image.grid.voxel * factors).max()))

    @property
    def _where(self) -> str:
        """The crack and its file, for messages."""
        return f"crack {self.name} ({self.file.name})"

    def parts(
        self, block: Block, limit: float = DEFAULT_LIMIT, size: float = 0.0, cells: float = math.inf
    ) -> tuple[Crack, ...]:
        """One crack for each body: this entry with its ``part``, name, contents and contact, and ``coarsen``.

        Raises
        ------
        InputFileError
            If the file cannot be read completely, or labels, axes or voxel do not suit it.
        GeometryError
            If the image lies beside the block, holds nothing in it, or too many isolated pieces.
        LimitError
            If it takes more memory than the limit, bytes, or more cells.
        """
        factors, bodies = _segmented(self, block, limit, size, cells)
        found = [name for name in bodies if self.part in (None, name)]
        if not found:
            raise InputFileError(13, self._where, f"has no part {self.part}; got {', '.join(bodies)}", "correct part")
        alone = len(found) == 1 and self.part is None
        known = self.model_copy(update={"coarsen": factors})
        return tuple(known._of(name, self.name if alone else None) for name in found)

    def _of(self, part: str, name: str | None) -> ImageStack:
        name = name or (self.name if part == "lithium" or self.part else f"{self.name}_{part}")
        void = part == "void"
        kind = {
            "contents": "void" if void else "lithium",
            "contact": "isolated" if part.startswith("isolated") else "plating",
            "interface": FixedPotential() if void else self.interface,
        }
        return self.model_copy(update={"part": part, "name": name, **kind})

    def surface(self, block: Block) -> CrackSurface:
        """Closed surface of the part, in block coordinates, m; the whole image is read once for all its parts.

        Raises
        ------
        SpallError
            As :meth:`parts`.
        """
        return _segmented(self, block, DEFAULT_LIMIT, 0.0, math.inf)[1][self.part or "lithium"]


class _Read(NamedTuple):
    """An image near the block, how many of its voxels become one, and where it comes from."""

    image: Image
    factors: Factors
    source: dict[str, Any]


_LAST: dict[tuple[ImageStack, Block, tuple[int, int]], dict[str, CrackSurface]] = {}


def _segmented(
    stack: ImageStack, block: Block, limit: float, size: float, cells: float
) -> tuple[Factors, dict[str, CrackSurface]]:
    """Voxels that become one, and surface of each part; the last few are kept, for a case asks for one after the other.

    ``size`` is what the voxels may grow to where the stack says auto, m.
    """
    plain = stack.model_copy(
        update={"part": None, "name": "", "contents": "lithium", "contact": "plating", "interface": FixedPotential()}
    )
    try:
        status = stack.file.stat()
        stamp = (status.st_mtime_ns, status.st_size)
    except OSError:
        stamp = (0, 0)
    if isinstance(plain.coarsen, str) or (plain, block, stamp) not in _LAST:
        factors, surfaces = _surfaces(stack, block, limit, size, cells)
        plain = plain.model_copy(update={"coarsen": factors})
        while len(_LAST) > 3:
            _LAST.pop(next(iter(_LAST)))
        _LAST[plain, block, stamp] = surfaces
    assert not isinstance(plain.coarsen, str)
    return plain.coarsen, _LAST[plain, block, stamp]


def _surfaces(
    stack: ImageStack, block: Block, limit: float, size: float, cells: float
) -> tuple[Factors, dict[str, CrackSurface]]:
    where = stack._where
    image, factors, source = _read(stack, block, limit, size, where)
    extend(image, block)
    join = stack.connectivity == 26
    islands = stack.islands if stack.islands is not None else (SPECK - 0.5) * image.grid.volume * math.prod(factors)
    source["connectivity"] = connectivity_of(image, block)
    volumes = phase_volumes(image, block)
    repairs = drop_small(image, block, islands, join)
    if factors == AS_THEY_ARE:
        hangs, apart = hanging_lithium(image, block, join)
        hanging = hangs.astype(np.float32) - apart
    else:
        image, hanging = coarsened(image, block, factors, join)
        extend(image, block)
    bodies = find_bodies(
        image, block, join=join, islands=islands, most=stack.max_isolated, where=where, hanging=hanging
    )
    refuse_many_cells(bodies.numbers, image, block, size, cells, where)
    bodies = replace(bodies, repairs=(*repairs, *bodies.repairs))
    taken = {
        phase: sum(volume for part, volume in bodies.volumes.items() if (part == "void") == (phase == "void"))
        for phase in volumes
    }
    source = bodies.report | source | {
        "phase_volumes_m3": {phase: {"image": volumes[phase], "bodies": taken[phase]} for phase in volumes},
        "coarsened": list(factors), "islands_m3": islands, "connectivity_used": stack.connectivity,
        "voxel_m": image.grid.voxel.tolist(), "voxel_volume_m3": image.grid.volume,
    }  # fmt: skip
    return factors, _contoured(bodies, image.grid, block, stack.smooth, source)


def _contoured(
    bodies: Bodies, grid: Grid, block: Block, length: float, source: dict[str, Any]
) -> dict[str, CrackSurface]:
    """Surfaces of all parts, sharing the faces in which they touch."""
    from fem_spall.crack.triangles import volume
    from fem_spall.crack.voxel_surface import body_faces, restore_volumes, set_back_crossings, smooth, voxel_faces

    faces = voxel_faces(bodies.numbers)
    counts = np.bincount(bodies.numbers.ravel())
    volumes = {number: float(counts[number]) * grid.volume for number in bodies.parts.values()}
    stairs = grid.unsheared(faces.corners)
    # Triangles come out left-handed where the image is mirrored in the block.
    handed = faces._replace(below=faces.above, above=faces.below) if grid.mirrored else faces
    placed = grid.place(smooth(faces, stairs, length))
    repairs = list(bodies.repairs)
    if length:
        placed, _ = restore_volumes(handed, placed, volumes, float(grid.voxel.min()) / 4)
    grain = GRAIN * 10.0 ** math.floor(math.log10(grid.voxel.min()))
    placed = np.rint(placed / grain) * grain  # rounding of the placement must not show in the order of vertices
    flat = grid.place(stairs)
    for points in (placed, flat):
        grid.meet_faces(grid.place(stairs), points, block)
    if len(back := set_back_crossings(faces, placed, flat)):
        repairs.append(Repair("corners set back to the voxels where the smoothed wall crossed itself", len(back)))
    surfaces: dict[str, CrackSurface] = {}
    for name, number in bodies.parts.items():
        triangles = body_faces(handed, placed, number)
        used, index = np.unique(triangles, return_inverse=True)
        report = {
            **source,
            "part": name,
            "volume_of_voxels_m3": bodies.volumes[name],
            "voxels": round(bodies.volumes[name] / grid.volume),
            "surface_over_voxels": volume(placed[triangles]) / volumes[number] - 1,
            "filter_length_voxels": length,
            "first_of_stack": not surfaces,
        }
        if not surfaces:
            report["told"] = account_of(report)
        made = tuple(repairs) if not surfaces else ()
        surfaces[name] = CrackSurface.canonical(placed[used], index.reshape(-1, 3), repairs=made, provenance=report)
    return surfaces


def _read(stack: ImageStack, block: Block, limit: float, size: float, where: str) -> _Read:
    """The phases of an image near the block, and where they come from."""
    from fem_spall.crack.stack_readers import read_stack

    raw = read_stack(stack.file, stack.dataset, limit)
    axes = stack.axes or raw.axes
    order = [axes.index(axis) for axis in "xyz"]
    voxels = raw.voxels.transpose(order)
    voxel, origin = voxel_of(raw, axes, stack.voxel, stack.unit, where)
    first, last = crop_range(stack.crop, voxels.shape, where)
    voxels = voxels[tuple(slice(a, b) for a, b in zip(first, last, strict=True))]
    low = (origin - voxel / 2 if origin is not None else np.zeros(3)) + np.array(first) * voxel
    drift = stack.drift
    if isinstance(drift, str):
        assert stack.place.tilt is not None
        drift = math.copysign(voxel[2] * math.cos(stack.place.tilt), -1 if drift.startswith("-") else 1)
    grid, corners = grid_of(low, voxel, voxels.shape, drift, first[2], stack.place)
    refuse_misplaced(where, corners, block, stack.unit or "um")
    held = raw.voxels.dtype.itemsize + FINE
    refuse_large(stack.file, voxels.shape, held, limit)
    phases, counts = phases_of(voxels, stack.labels, stack.threshold, where)
    near = image_in_block(phases, grid, block, 1)
    factors = factors_for(near, block, size) if stack.coarsen == "auto" else stack.coarsen
    refuse_large(stack.file, voxels.shape, held, limit, math.ceil(WORK / math.prod(factors)))
    image = image_in_block(phases, grid, block, (math.ceil(stack.smooth) + 3) * max(factors))
    source = {
        "file": stack.file.name,
        "sha256": raw.sha256,
        "format": raw.format,
        "array": stack.dataset,
        "axes": axes,
        "axes_from": "case" if stack.axes else f"default of {raw.format.split()[0]}",
        "shape_xyz": [int(n) for n in raw.voxels.transpose(order).shape],
        "voxel_in_image_m": voxel.tolist(),
        "voxel_from": "case" if raw.spacing is None or stack.voxel is not None else "file",
        "voxel_of_image_m": grid.voxel.tolist(),
        "drift_m": drift,
        "labels": counts,
        "notes": list(raw.notes),
    }
    return _Read(image, factors, source)


def voxel_of(
    raw: RawStack, axes: str, given: tuple[float, ...] | None, unit: LengthUnit | None, where: str
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Return the voxel, (3,) float along x, y, z, m, and the centre of the first one where the file states it.

    Raises
    ------
    InputFileError
        If nobody states it, or file and case contradict each other.
    """
    order = [axes.index(axis) for axis in "xyz"]
    stated = [raw.spacing[k] for k in order] if raw.spacing is not None else [None] * 3
    if raw.unit and unit and raw.unit != unit:
        raise InputFileError(14, where, f"states the unit {raw.unit}; the case says unit: {unit}", "leave unit out")
    word = raw.unit or unit
    if any(value is not None for value in stated) and word is None and given is None:
        told = " x ".join(f"{value:g}" if value is not None else "?" for value in stated)
        raise InputFileError(14, where, f"states voxels of {told} without a unit", "add for instance 'unit: um'")
    metre = {"nm": 1e-9, "um": 1e-6, "mm": 1e-3, "cm": 1e-2, "m": 1.0, "inch": 0.0254}[word] if word else math.nan
    lengths = [value * metre if value is not None and word else None for value in stated]
    if any(value is not None and not 0 < value < math.inf for value in lengths):
        raise InputFileError(14, where, f"states voxels of {lengths} m", "correct the file, or remove what it states")
    if given is not None:
        for axis, one, other in zip("xyz", lengths, given, strict=True):
            if one is not None and abs(one - other) > AGREE * other:
                reason = f"states voxels of {one * 1e9:.6g} nm along {axis}; the case says {other * 1e9:.6g} nm"
                raise InputFileError(14, where, reason, "correct the one that is wrong")
        voxel = np.array(given)
    elif any(value is None for value in lengths):
        missing = ", ".join(axis for axis, value in zip("xyz", lengths, strict=True) if value is None)
        reason = f"must have a known size of voxels; the file states none along {missing}"
        raise InputFileError(14, where, reason, "add for instance 'voxel: [20 nm, 20 nm, 50 nm]' (x, y, z)")
    else:
        voxel = np.array([float(f"{value:.12g}") for value in lengths if value is not None])
    origin = np.array([raw.origin[k] for k in order]) * metre if raw.origin is not None and word else None
    return voxel, origin
