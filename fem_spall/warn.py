"""What a reader of the figures must know before using them: sentences, each with its numbers."""

from __future__ import annotations

from typing import Any

from fem_spall.case import Case
from fem_spall.consequences import crack_size, wagner_length
from fem_spall.microstructure import Grains, LabelImage, Parts
from fem_spall.model_error import BEYOND, area_changes, box_effect

__all__ = ["warnings_of"]

#: Changes below this are not worth a sentence.
NOTABLE = 0.01
#: Changes of the area of a wall below this are not worth a sentence.
NOTABLE_AREA = 0.02
#: As measured on plane boundaries that take half of the voltage, degree 2 (benchmark 46).
MISSED = (
    "The errors hold what that misses where one plane boundary crosses a cell, not where several meet. On planes it "
    "was 4 % of the conductivity with two cells across, 2 % with four."
)


def warnings_of(case: Case, record: dict[str, Any]) -> list[dict[str, str]]:
    """Warnings of a finished run as records with ``kind`` and ``text``."""
    found = [*_box(case, record), *_contact(case, record), *_tips(case), *_surface(case, record), *_reach(case, record)]
    found += [*_cells(case, record), *_image(case, record)]
    found += [
        ("withheld", f"{name} is not given: {metric['absent']}.")
        for name, metric in record["metrics"].items()
        if name.startswith("fef_r") and metric.get("absent")
    ]
    return [{"kind": kind, "text": text} for kind, text in found]


def _um(length: float) -> str:
    return f"{length * 1e6:.3g} um"


def _box(case: Case, record: dict[str, Any]) -> list[tuple[str, str]]:
    """The no-flux walls mirror the crack; the lattice of images changes focusing and capture."""
    effect = box_effect(case, record)
    if effect.change is None or abs(effect.change) < NOTABLE:
        return []
    what = "row" if effect.row else "lattice"
    if abs(effect.change) > BEYOND:
        return [(
            "box",
            f"The insulating walls act as mirrors, so this is one of a dense {what} of cracks that shield each other: "
            f"the figures are those of the {what}, not of an isolated crack (the {what} rule says "
            f"{abs(effect.change):.0%}, which is beyond its validity). Use a wider block for an isolated crack.",
        )]  # fmt: skip
    wider = (abs(effect.change) / NOTABLE) ** (1 / 2 if effect.row else 1 / 3)
    void = all(crack.contents == "void" for crack in case.cracks)
    bodies, figures = ("voids", "the electrode advance reads") if void else ("cracks", "focusing and capture read")
    return [(
        "box",
        f"The insulating walls act as mirrors, so this is one of a {what} of {bodies}: {figures} "
        f"about {abs(effect.change):.0%} {'lower' if effect.change < 0 else 'higher'} than for an isolated one "
        f"({what} rule, to leading order).{_isolated(record)} A block {wider:.2g} times as wide would bring it to 1 %.",
    )]  # fmt: skip


def _isolated(record: dict[str, Any]) -> str:
    """The headline figures of the isolated crack, if they were given."""
    told = []
    for name, metric in record["metrics"].items():
        isolated = metric.get("model_errors", {}).get("box", {}).get("isolated")
        if isolated is not None and (name.startswith("fef_r") or name == "capture_ratio"):
            told.append(f"{name} {isolated:.3g} instead of {metric['value']:.3g}")
    return f" Isolated, it would give {', '.join(told)}." if told else ""


def _contact(case: Case, record: dict[str, Any]) -> list[tuple[str, str]]:
    found = []
    plane = case.electrodes.plating
    face = wagner_length(case, record, plane.face) or 0.0
    for crack in case.cracks:
        if crack.contents == "lithium" and record["cracks"].get(crack.name):
            wagner = wagner_length(case, record, crack.name)
            size = crack_size(crack, record)
            clean = plane.interface.kind == "no_flux" or (wagner is not None and face > 10 * wagner)
            if wagner is not None and wagner > size and not clean:  # in a worse plane contact focuses
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
                f"{crack.name} has {'a sharp edge' if getattr(crack, 'opening', 0) else 'no thickness'}: the current "
                "density at its edge is infinite and only averages over a stated length mean anything.",
            ))  # fmt: skip
        elif radius is not None and case.mesh.size_min > radius / 2:
            found.append((
                "resolution",
                f"The tip radius of {crack.name} is {_um(radius)} but mesh.size_min is {_um(case.mesh.size_min)}; at "
                f"most half the radius is needed to resolve the tip.",
            ))  # fmt: skip
    return found


def _surface(case: Case, record: dict[str, Any]) -> list[tuple[str, str]]:
    found = []
    for name, distance in record["mesh"].get("distances", {}).items():
        if distance["largest_m"] > case.mesh.tolerance:
            found.append((
                "surface",
                f"The meshed {name} is up to {_um(distance['largest_m'])} from the given surface at single places, "
                f"more than mesh.surface_tolerance (99 % are within {_um(distance['p99_m'])}): no closer mesh was "
                "found. Lower mesh.size_min to follow it there.",
            ))  # fmt: skip
    if straight := record["mesh"].get("straightened_cells", 0):
        found.append((
            "resolution",
            f"{straight} cells at the crack are straight-sided because its surface curves more sharply there than "
            "they are long. Lower mesh.size_min to follow the shape.",
        ))  # fmt: skip
    for name, change in area_changes(record).items():
        if abs(change) > NOTABLE_AREA:
            found.append((
                "surface",
                f"Remeshing changed the area of {name} by {change:+.1%}; figures per area, such as the focusing "
                "factors, change the other way by as much. Lower mesh.surface_tolerance to follow the given roughness.",
            ))  # fmt: skip
    return found


def _reach(case: Case, record: dict[str, Any]) -> list[tuple[str, str]]:
    found = []
    for crack in case.cracks:
        plating = crack.contents == "lithium" and crack.contact == "plating"
        if plating and crack.name in record["mesh"].get("apart_from_plating", []):
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


def _cells(case: Case, record: dict[str, Any]) -> list[tuple[str, str]]:
    """Where cells do not follow what has another conductivity, and whether that is in the error bars."""
    conductivity, what = case.electrolyte.conductivity, ""
    if isinstance(conductivity, Grains) and conductivity.boundary is not None:
        thickness = conductivity.boundary.thickness * 1e9
        text = f"Cells stand for what grain boundaries of {thickness:.4g} nm are in them, as laminates. {MISSED}"
        return [("grain boundaries", f"{text} Lower mesh.size_max to see what it changes here.")]
    if isinstance(conductivity, Grains):
        what = (
            "Every cell belongs to the grain that holds its centre, so that grains end in steps of the size of cells."
        )
    elif isinstance(conductivity, LabelImage):
        what = "Every cell takes the voxel at its centre, so that phases end in steps of the size of cells."
    elif isinstance(conductivity, Parts) and record["mesh"].get("remesher") != "gmsh":
        what = "Every cell belongs to the part that holds its centre, so that parts end in steps of the size of cells."
    if not what:
        return []
    return [
        ("conductivity", f"{what} The error bars do not cover this. Lower mesh.size_max to see what it changes here.")
    ]


def _image(case: Case, record: dict[str, Any]) -> list[tuple[str, str]]:
    """What an image stack leaves open: contacts at edges, bodies cut off by its edge, the width of a voxel."""
    found = []
    stacks = [crack.name for crack in case.cracks if crack.kind == "image_stack"]
    for name in stacks:
        source = record.get("surfaces", {}).get(name, {})
        if not source.get("first_of_stack"):
            continue
        faces, corners = source["connectivity"]["6"], source["connectivity"]["26"]
        used = source["connectivity_used"]
        if (gained := corners["connected_m3"] - faces["connected_m3"]) > 0:
            found.append((
                "connectivity",
                f"In {source['file']}, {gained * 1e18:.3g} um3 of lithium hang on the plating electrode by edges and "
                f"corners of voxels alone: {faces['connected_m3'] * 1e18:.4g} um3 are connected by faces, "
                f"{corners['connected_m3'] * 1e18:.4g} um3 by corners too. The run takes connectivity: {used}.",
            ))  # fmt: skip
        if cut := source["cut_voxels"]:
            found.append((
                "image",
                f"{cut} voxels of lithium or voids lie at an edge of {source['file']} that is within the block: what "
                "goes on beyond it is missing, and the bodies are closed there. Make the block smaller, or the image "
                "larger.",
            ))  # fmt: skip
    advance = record["metrics"].get("electrode_advance", {}).get("model_errors", {}).get("voxel", {})
    if "relative_bound" in advance:
        captured = record["metrics"].get("crack_current", {}).get("model_errors", {}).get("voxel", {})
        also = (
            f", the captured current by up to {captured['relative_bound']:.1%}" if "relative_bound" in captured else ""
        )
        found.append((
            "voxel",
            f"The wall is known to half a voxel ({_um(advance['half_voxel_m'])}). A segmentation off by as much "
            f"everywhere changes the electrode advance by {advance['relative_bound']:.1%}{also}.",
        ))  # fmt: skip
    return found
