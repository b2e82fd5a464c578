"""What a reader of the figures must know before using them: sentences, each with its numbers."""

from __future__ import annotations

import math
from typing import Any

from fem_spall.boundary import Resistance
from fem_spall.case import Case

__all__ = ["warnings_of"]

#: Lattice sum of a square array of mirrored dipoles: relative change of focusing is this times α/(4π w³).
SQUARE_LATTICE = -9.0336
#: Changes below this are not worth a sentence.
NOTABLE = 0.01
#: Changes above this are beyond the leading order of the rule.
BEYOND = 0.3


def warnings_of(case: Case, record: dict[str, Any]) -> list[dict[str, str]]:
    """Warnings of a finished run as records with ``kind`` and ``text``."""
    found = [*_box(case, record), *_contact(case, record), *_tips(case), *_surface(record), *_reach(case, record)]
    found += [
        ("withheld", f"{name} is not given: {metric['absent']}.")
        for name, metric in record["metrics"].items()
        if name.startswith("fef_r") and metric.get("absent")
    ]
    return [{"kind": kind, "text": text} for kind, text in found]


def _um(length: float) -> str:
    return f"{length * 1e6:.3g} um"


def _box(case: Case, record: dict[str, Any]) -> list[tuple[str, str]]:
    """The no-flux walls mirror the crack; the lattice of images lowers focusing and capture."""
    advance = record["metrics"].get("electrode_advance", {}).get("value")
    if not case.cracks or advance is None or advance <= 0 or case.walls:
        return []
    if any(crack.interface.kind == "resistance" for crack in case.cracks):
        return []
    area = case.electrolyte.size[0] * case.electrolyte.size[1]
    polarisability = 2 * advance * area  # of the body with its mirror image in the plating face
    change = SQUARE_LATTICE * polarisability / (4 * math.pi * area**1.5)
    if abs(change) < NOTABLE:
        return []
    if abs(change) > BEYOND:
        return [(
            "box",
            "The insulating walls act as mirrors, so this is one of a dense lattice of cracks that shield each other: "
            f"the figures are those of the lattice, not of an isolated crack (the lattice rule says {abs(change):.0%}, "
            "which is beyond its validity). Use a wider block for an isolated crack.",
        )]  # fmt: skip
    width = math.sqrt(area) * (abs(change) / NOTABLE) ** (1 / 3)
    return [(
        "box",
        f"The insulating walls act as mirrors, so this is one of a lattice of cracks: focusing and capture read about "
        f"{abs(change):.0%} lower than for an isolated crack (lattice rule for a square cell of the same area; an "
        f"estimate to leading order). A cell about {_um(width)} wide would bring it to 1 %.",
    )]  # fmt: skip


def _contact(case: Case, record: dict[str, Any]) -> list[tuple[str, str]]:
    sigma = record["reference"]["current_density"] / record["reference"]["field"]
    found = []
    for crack in case.cracks:
        if crack.contents == "lithium" and isinstance(crack.interface, Resistance) and crack.interface.value > 0:
            wagner = sigma * crack.interface.value
            size = math.sqrt(record["cracks"][crack.name]["area"])
            if wagner > size:
                found.append((
                    "interface",
                    f"The interfacial resistance of {crack.name} gives a Wagner length of {_um(wagner)}, larger than "
                    f"the crack ({_um(size)}): contact rules, and geometry hardly focuses the current.",
                ))  # fmt: skip
    return found


def _tips(case: Case) -> list[tuple[str, str]]:
    found = []
    for crack in case.cracks:
        radius = getattr(crack, "tip_radius", None)
        if radius == 0:
            found.append((
                "sharp edge",
                f"{crack.name} has no thickness: the current density at its edge is infinite and only averages over a "
                "stated length mean anything.",
            ))  # fmt: skip
        elif radius is not None and case.mesh.size_min > radius / 2:
            found.append((
                "resolution",
                f"The tip radius of {crack.name} is {_um(radius)} but mesh.size_min is {_um(case.mesh.size_min)}; at "
                f"most half the radius is needed to resolve the tip.",
            ))  # fmt: skip
    return found


def _surface(record: dict[str, Any]) -> list[tuple[str, str]]:
    given = record["mesh"].get("boolean_areas_m2", {})
    found = []
    if straight := record["mesh"].get("straightened_cells", 0):
        found.append((
            "resolution",
            f"{straight} cells at the crack are straight-sided because its surface curves more sharply there than "
            "they are long. Lower mesh.size_min to follow the shape.",
        ))  # fmt: skip
    for name, crack in record["cracks"].items():
        change = crack["area"] / given[name] - 1 if given.get(name) else 0.0
        if abs(change) > 0.02 and not record["mesh"].get("interface_sheet"):
            found.append((
                "surface",
                f"Remeshing changed the area of {name} by {change:+.1%}; figures per area inherit that. Lower "
                "mesh.surface_tolerance to follow the given roughness.",
            ))  # fmt: skip
    return found


def _reach(case: Case, record: dict[str, Any]) -> list[tuple[str, str]]:
    found = []
    for crack in case.cracks:
        if crack.contents == "lithium" and crack.name in record["mesh"].get("apart_from_plating", []):
            found.append((
                "contact",
                f"{crack.name} does not reach the plating face inside the block. Its lithium is taken to be at the "
                "potential of the plating electrode all the same.",
            ))  # fmt: skip
    for repair in record.get("repairs", []):
        if repair["kind"].startswith("electrolyte cut off"):
            found.append((
                "geometry",
                f"{repair['count']} pieces of electrolyte ({abs(repair['d_volume']) * 1e18:.3g} um3 in all), cut off "
                "from the counter electrode by cracks, carry no current and were dropped.",
            ))  # fmt: skip
    return found
