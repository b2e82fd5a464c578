"""Which voxels are one body, and which lithium hangs on the plating electrode."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fem_spall.crack.base import Block, Repair
from fem_spall.crack.stack_current import borders, fill_cut_off
from fem_spall.crack.stack_grid import Image
from fem_spall.crack.stack_phases import ELECTROLYTE, LITHIUM, VOID
from fem_spall.crack.voxel_contacts import resolve_contacts, restore_counts
from fem_spall.errors import GeometryError, LimitError

__all__ = ["Bodies", "Hanging", "connectivity_of", "drop_small", "find_bodies", "hanging_lithium", "phase_volumes",
           "refuse_many_cells"]  # fmt: skip

#: Cells of the electrolyte for each face of a voxel on its wall: 5 to 8 for a porous electrode, whatever conducts.
CELLS = 8
#: Parting may cut off more, which is filled again; after so many rounds the rest is left to the mesh.
ROUNDS = 4

type Labels = NDArray[np.int32]
type Hanging = NDArray[np.float32]


@dataclass(frozen=True)
class Bodies:
    """Voxels (nx, ny, nz) int32 with the number of their body, 0 for none; number and volume in the block of each part.

    Parts are called lithium (all that hangs on the plating electrode), isolated_1, isolated_2, … from
    the largest on, and void (all voids).
    """

    numbers: Labels
    parts: dict[str, int]
    volumes: dict[str, float]  # m^3
    repairs: tuple[Repair, ...]
    report: dict[str, Any]


def _components(inside: NDArray[np.bool_], corners: bool = False) -> tuple[Labels, int]:
    from scipy.ndimage import generate_binary_structure, label

    numbers, count = label(inside, generate_binary_structure(3, 3 if corners else 1))
    return numbers, int(count)


def connectivity_of(image: Image, block: Block) -> dict[str, Any]:
    """Return how the lithium of an image hangs together by faces ("6") and by edges and corners too ("26")."""
    inside, beyond, lithium = image.inside(block), image.beyond(block), image.phases == LITHIUM
    return {
        name: _connected(lithium, inside, beyond, corners, image.grid.volume)
        for name, corners in (("6", False), ("26", True))
    }


def drop_small(image: Image, block: Block, islands: float, corners: bool) -> list[Repair]:
    """Drop bodies, and fill specks of electrolyte within them, below a volume, m^3, in place; return what was done.

    With ``corners`` bodies hang together by edges and corners too.
    """
    phases, inside, unit, repairs = image.phases, image.inside(block), image.grid.volume, []
    for phase, word in ((LITHIUM, "lithium"), (VOID, "void")):
        count, volume = _drop(phases, phase, inside, islands / unit, corners)
        if count:
            repairs.append(Repair(f"islands of {word} dropped", count, -volume * unit))
    count, volume = _fill(phases, inside, islands / unit)
    if count:
        repairs.append(Repair("specks of electrolyte within lithium or voids filled", count, volume * unit))
    return repairs


def find_bodies(
    image: Image, block: Block, *, join: bool, islands: float, most: int, where: str, hanging: Hanging | None = None
) -> Bodies:
    """Return the bodies of an image whose voxels beyond the block are copies of those at its faces.

    Parameters
    ----------
    image : Image
        Changed in place.
    block : Block
    join : bool
        Take voxels that touch at an edge or a corner alone for connected.
    islands : float
        Bodies below this volume are dropped, m^3; those of the image are gone already.
    most : int
        Most isolated bodies.
    where : str
        Name for messages.
    hanging : (nx, ny, nz) float, optional
        Above 0 where lithium hangs on the plating electrode whatever its voxels here say, below 0 where it does not:
        necks that these voxels are too large for.

    Raises
    ------
    GeometryError
        If there are more isolated bodies, or none of any kind.
    """
    phases, unit = image.phases, image.grid.volume
    for face in np.moveaxis(phases, 0, 0), np.moveaxis(phases, 1, 0), np.moveaxis(phases, 2, 0):
        face[0] = face[-1] = ELECTROLYTE
    inside, beyond = image.inside(block), image.beyond(block)
    repairs = _resolved(image, inside, islands, join)
    for _ in range(ROUNDS):
        filled, current = fill_cut_off(image, block, hanging)
        if not filled:
            break
        repairs += filled
        resolve_contacts(phases, join)
    numbers, parts, volumes = _numbered(phases, inside, beyond, unit, hanging)
    if "void" in parts and len(parts) > 1 and not borders(phases, VOID, current):
        repairs.append(Repair("voids that border no electrolyte with current left out", 1, -volumes["void"]))
        del parts["void"], volumes["void"]
    isolated = sorted((volumes[name] for name in parts if name.startswith("isolated")), reverse=True)
    if len(isolated) > most:
        reason = f"has {len(isolated)} pieces of lithium apart from the plating electrode; at most {most} are taken"
        least = (isolated[most] + isolated[most - 1]) / 2 if most else 1.01 * isolated[0]
        cure = f"set islands: {least * 1e18:.3g} um^3 to drop the smaller ones, or raise max_isolated"
        raise GeometryError(40, where, reason, cure)
    if not parts:
        raise GeometryError(
            41, where, "holds no lithium and no void within the block", "check labels, threshold, islands and place"
        )
    return Bodies(numbers, parts, volumes, tuple(repairs), {"cut_voxels": _cut(image, inside)})


def phase_volumes(image: Image, block: Block) -> dict[str, float]:
    """Return the volume of the lithium and of the voids in the block, m^3, by name."""
    inside = image.inside(block)
    return {name: int(np.count_nonzero(inside & (image.phases == phase))) * image.grid.volume
            for name, phase in (("lithium", LITHIUM), ("void", VOID))}  # fmt: skip


def _resolved(image: Image, inside: NDArray[np.bool_], islands: float, join: bool) -> list[Repair]:
    """Part or join voxels that touch at an edge or corner alone, in place; each phase keeps its volume in the block.

    Pieces below a volume, m^3, are dropped: islands of the image are gone, so parting or larger voxels cut them off.
    """
    phases, unit, done = image.phases, image.grid.volume, []
    before = phases.copy()
    last = wanted = {phase: int(np.count_nonzero(inside & (phases == phase))) for phase in (LITHIUM, VOID)}

    def note(kind: str, count: int, displacement: float = 0.0) -> None:
        nonlocal last
        now = {phase: int(np.count_nonzero(inside & (phases == phase))) for phase in (LITHIUM, VOID)}
        if count:
            done.append(Repair(kind, count, (sum(now.values()) - sum(last.values())) * unit, displacement=displacement))
        last = now

    kind = f"voxels changed where others touched at an edge or corner alone ({'joined' if join else 'parted'})"
    note(kind, resolve_contacts(phases, join))
    dropped = sum(_drop(phases, phase, inside, islands / unit)[0] for phase in (LITHIUM, VOID))
    if dropped:
        resolve_contacts(phases, join)
    note("small pieces cut off by parting or larger voxels dropped", dropped)
    given = restore_counts(phases, wanted, inside, before)
    note("voxels given or taken at the walls so that each phase keeps its volume", given, float(image.grid.voxel.max()))
    return done


def refuse_many_cells(numbers: Labels, image: Image, block: Block, size: float, most: float, where: str) -> None:
    """Raise if meshing the electrolyte round the bodies takes more cells than allowed, before any surface is made.

    ``size`` is that of the smallest cells, m; walls of smaller voxels are remeshed to it.

    Raises
    ------
    LimitError
        See above, with the size of the mesh that would do.
    """
    inside, walls = image.inside(block), 0
    for axis in range(3):
        n, i = (np.moveaxis(array, axis, 0) for array in (numbers, inside))
        walls += int(np.count_nonzero(((n[1:] == 0) != (n[:-1] == 0)) & i[1:] & i[:-1]))
    voxel = float(image.grid.voxel.max())
    size = max(size, voxel)
    cells = CELLS * walls * (voxel / size) ** 2
    if cells <= most:
        return
    size *= math.ceil(math.sqrt(cells / most) * (1 - 1e-9))
    reason = f"has walls of {walls:.3g} faces of voxels, which take about {cells:.2g} cells; allowed are {most:.2g}"
    cure = f"set mesh.size_min: {size * 1e9:.4g} nm, crop, or raise mesh.max_cells"
    raise LimitError(5, where, reason, cure)


def hanging_lithium(image: Image, block: Block, corners: bool) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which voxels of lithium hang on the plating electrode, and which do not."""
    lithium = image.phases == LITHIUM
    numbers, count = _components(lithium, corners)
    hangs = _hangs(numbers, count, image.beyond(block))[numbers]
    return hangs, lithium & ~hangs


def _hangs(numbers: Labels, count: int, beyond: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which pieces reach beyond the plating face, by number."""
    hangs = np.zeros(count + 1, dtype=bool)
    hangs[np.unique(numbers[beyond])] = True
    hangs[0] = False
    return hangs


def _connected(
    lithium: NDArray[np.bool_], inside: NDArray[np.bool_], beyond: NDArray[np.bool_], corners: bool, unit: float
) -> dict[str, Any]:
    """How many pieces of lithium there are, and volume of those that hang on the plating electrode and of the rest."""
    numbers, count = _components(lithium, corners)
    size = np.bincount(numbers[inside], minlength=count + 1)
    hangs = _hangs(numbers, count, beyond)
    alone = ~hangs & (size > 0)
    alone[0] = False
    return {
        "pieces": int((hangs | alone).sum()),
        "isolated_pieces": int(alone.sum()),
        "connected_m3": float(size[hangs].sum()) * unit,
        "isolated_m3": float(size[alone].sum()) * unit,
    }


def _drop(
    phases: NDArray[np.uint8], phase: int, inside: NDArray[np.bool_], smallest: float, corners: bool = False
) -> tuple[int, float]:
    """Remove pieces of a phase below a number of voxels in the block; how many, and their voxels."""
    numbers, count = _components(phases == phase, corners)
    size = np.bincount(numbers[inside], minlength=count + 1)
    small = (size < smallest) | (size == 0)
    small[0] = False
    phases[small[numbers]] = ELECTROLYTE
    small &= size > 0
    return int(small.sum()), float(size[small].sum())


def _fill(phases: NDArray[np.uint8], inside: NDArray[np.bool_], smallest: float) -> tuple[int, float]:
    """Fill pieces of electrolyte below a number of voxels that nothing joins to the rest, with what is round them."""
    from scipy.ndimage import binary_dilation

    numbers, count = _components(phases == ELECTROLYTE)
    size = np.bincount(numbers.ravel(), minlength=count + 1)
    small = size < smallest
    for axis in range(3):
        ends = np.moveaxis(numbers, axis, 0)[[0, -1]]
        small[np.unique(ends)] = False
    small[0] = False
    specks = small[numbers]
    if not specks.any():
        return 0, 0.0
    lithium = np.unique(numbers[binary_dilation(phases == LITHIUM) & specks])
    wet = np.zeros(count + 1, dtype=bool)
    wet[lithium] = True
    volume = float(np.count_nonzero(specks & inside))
    phases[specks] = np.where(wet[numbers[specks]], LITHIUM, VOID)
    return int(small.sum()), volume


def _numbered(
    phases: NDArray[np.uint8],
    inside: NDArray[np.bool_],
    beyond: NDArray[np.bool_],
    unit: float,
    hanging: Hanging | None,
) -> tuple[Labels, dict[str, int], dict[str, float]]:
    """Number of the body of each voxel, and number and volume of each part."""
    numbers, count = _components(phases == LITHIUM)
    size = np.bincount(numbers[inside], minlength=count + 1)
    hangs = _hangs(numbers, count, beyond)
    if hanging is not None:
        hangs |= np.bincount(numbers.ravel(), hanging.ravel(), minlength=count + 1) > 0
        hangs[0] = False
    hangs &= size > 0
    alone = np.flatnonzero(~hangs & (size > 0))
    alone = alone[alone > 0]
    alone = alone[np.argsort(-size[alone], kind="stable")]
    target = np.zeros(count + 1, dtype=np.int32)
    target[hangs] = 1
    target[alone] = 3 + np.arange(len(alone))
    numbers = target[numbers]
    numbers[phases == VOID] = 2
    parts, volumes = {}, {}
    found = [("lithium", 1, int(size[hangs].sum())), ("void", 2, int(np.count_nonzero(inside & (numbers == 2))))]
    found += [(f"isolated_{k}", 2 + k, int(size[label])) for k, label in enumerate(alone, 1)]
    for name, number, voxels in found:
        if voxels:
            parts[name], volumes[name] = number, voxels * unit
    return numbers, parts, volumes


def _cut(image: Image, inside: NDArray[np.bool_]) -> int:
    """How many voxels of bodies lie at an edge of the image that is within the block: there the body may go on."""
    view = image.within_view()
    bodies = (image.phases != ELECTROLYTE) & view
    count = 0
    for axis in range(3):
        b, v, i = (np.moveaxis(array, axis, 0) for array in (bodies, view, inside))
        count += int(np.count_nonzero(b[:-1] & ~v[1:] & i[1:] & i[:-1]))
        count += int(np.count_nonzero(b[1:] & ~v[:-1] & i[:-1] & i[1:]))
    return count
