"""Write bodies in every position, and damaged ones, with what must become of them, for ``campaign.py``.

Run ``python benchmarks/robustness/bodies.py FOLDER`` from the root: it makes ``FOLDER/positions`` and
``FOLDER/damages``, STL files with an ``expectations.json`` beside them.  The damages are those of ``tests/damage.py``,
done to the lens of ``meshes/``; a file given by ``--base`` is damaged instead.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import trimesh

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
from tests.damage import DAMAGES, longest, write_stl  # noqa: E402

type Entry = dict[str, Any]

MESH = {"size_min": "300 nm", "size_max": "4 um"}
#: What a damage needs of the case, per lens of 12 um; where the default is to refuse, both are taken.
WISHES: dict[str, Entry] = {
    "rounded_soup": {"merge": "4 nm"},
    "islands": {"islands": "0.01 um^3"},
    "holes": {"largest_change": "7 %"},
    "spikes": {"largest_change": "3 %"},
}
ACCEPT = {"same": ["S", "R"], "repaired": ["R"], "refused": ["E"]}
#: These are no longer the body they were made of: their own surface is what to compare with.
OWN = {"overlapping_parts", "protruding", "touching_corner", "closed_bowl"}
#: Damages that move corners of the surface, up to 0.2 um here: repair takes out what crosses, the rest is the file's.
FOLLOWED = {"folds"}


def box(low: tuple[float, ...], high: tuple[float, ...]) -> trimesh.Trimesh:
    """A cuboid between two corners, um."""
    return trimesh.creation.box(bounds=np.array([low, high], dtype=float))


def ball(centre: tuple[float, ...], radius: float, divisions: int = 4) -> trimesh.Trimesh:
    """A ball of flat triangles, um."""
    body = trimesh.creation.icosphere(subdivisions=divisions, radius=radius)
    return body.apply_translation(centre)


def turned(body: trimesh.Trimesh, *angles: float) -> trimesh.Trimesh:
    """A body turned about the axes through its middle, degrees."""
    turn = trimesh.transformations.euler_matrix(*np.radians(angles))
    middle = body.bounds.mean(axis=0)
    return body.apply_translation(-middle).apply_transform(turn).apply_translation(middle)


def touching_wall(body: trimesh.Trimesh) -> trimesh.Trimesh:
    """A body moved along x until it touches the wall there."""
    return body.apply_translation([-body.bounds[0][0], 0, 0])


def sheet(low: tuple[float, ...], high: tuple[float, ...], parts: int = 6) -> trimesh.Trimesh:
    """A rectangle without thickness in the plane x = low[0], um."""
    ticks = [np.linspace(low[k], high[k], parts + 1) for k in (1, 2)]
    y, z = (grid.ravel() for grid in np.meshgrid(*ticks, indexing="ij"))
    number = np.arange((parts + 1) ** 2).reshape(parts + 1, -1)
    a, b, c, d = number[:-1, :-1].ravel(), number[1:, :-1].ravel(), number[1:, 1:].ravel(), number[:-1, 1:].ravel()
    faces = np.concatenate([np.column_stack([a, b, c]), np.column_stack([a, c, d])])
    return trimesh.Trimesh(np.column_stack([np.full(y.shape, low[0]), y, z]), faces, process=False)


def positions() -> Iterator[tuple[str, list[str], dict[str, trimesh.Trimesh], Entry]]:
    """Name of each position, what may become of it, its bodies (void ones begin with ``void``), and other keys."""
    one = ((5, 5, 20), (9, 11, 27))
    yield "inside", ["S"], {"a": ball((10, 15, 30), 4)}, {}
    yield "inside_turned", ["S"], {"a": turned(box((6, 10, 26), (14, 20, 29)), 20, 30, 40)}, {}
    yield "tiny", ["S", "R", "E"], {"a": ball((10, 15, 30), 0.05, 2)}, {}
    for name, top, accept in (("", 50, "S"), ("_1nm_below", 49.999, "R"), ("_1nm_above", 50.001, "SR")):
        yield f"coplanar{name}", list(accept), {"a": box((5, 5, 43), (9, 11, top))}, {}
        yield f"coplanar_turned{name}", list(accept), {"a": turned(box((6, 10, 43), (12, 18, top)), 0, 0, 33)}, {}
    yield "crossing", ["S"], {"a": ball((10, 15, 48.5), 4)}, {}
    yield "crossing_shallow", ["S", "R"], {"a": ball((10, 15, 53.9), 4)}, {}
    yield "clipped_by_a_wall", ["S"], {"a": ball((0.5, 15, 30), 4)}, {}
    yield "clipped_by_an_edge", ["S"], {"a": ball((0.3, 29.8, 30), 4)}, {}
    yield "clipped_by_a_corner", ["S"], {"a": ball((0.3, 0.2, 49.6), 4)}, {}
    yield "wall_1nm_off", ["R"], {"a": box((0.001, 5, 20), (9, 11, 27))}, {}
    yield "touching_a_wall_in_an_edge", ["E", "R"], {"a": touching_wall(turned(box(*one), 0, 45, 0))}, {}
    octahedron = ball((4, 15, 30), 3, 0)
    yield "touching_a_wall_in_a_corner", ["E", "R"], {"a": touching_wall(turned(octahedron, 0, 20, 31))}, {}
    yield "touching_a_wall_roundly", ["E", "R", "S"], {"a": touching_wall(ball((4, 15, 30), 4))}, {}
    yield "overlapping", ["S"], {"a": ball((8, 15, 30), 3), "b": ball((11, 15, 31), 3)}, {}
    yield "overlapping_boxes", ["S"], {"a": box(*one), "b": box((7, 4, 22), (12, 12, 40))}, {}
    yield "overlapping_lithium_and_void", ["S"], {"a": ball((8, 15, 30), 3), "void": ball((11, 15, 31), 3)}, {}
    for name, low, high in (
        ("a_face", (9, 5, 20), (12, 11, 27)), ("half_a_face", (9, 7, 22), (12, 13, 30)),
        ("an_edge", (9, 11, 20), (12, 15, 27)), ("a_corner", (9, 11, 27), (12, 15, 33)),
    ):  # fmt: skip
        yield f"touching_in_{name}", ["S", "R"], {"a": box(*one), "b": box(low, high)}, {}
    yield "touching_roundly", ["S", "R", "E"], {"a": ball((7, 15, 30), 3), "b": ball((13, 15, 30), 3)}, {}
    yield "boxes_1nm_apart", ["E", "R"], {"a": box(*one), "b": box((9.001, 5, 20), (12, 11, 27))}, {}
    yield "balls_1nm_apart", ["E", "R", "S"], {"a": ball((7, 15, 30), 3), "b": ball((13.001, 15, 30), 3)}, {}
    yield "nested", ["E"], {"a": box((5, 5, 20), (12, 15, 30)), "b": box((7, 7, 22), (9, 9, 25))}, {}
    yield "void_in_lithium", ["E"], {"a": box((5, 5, 20), (12, 15, 30)), "void": box((7, 7, 22), (9, 9, 25))}, {}
    inner = ball((10, 15, 30), 2.5)
    inner.invert()
    yield "island_of_electrolyte", ["R"], {"a": trimesh.util.concatenate([ball((10, 15, 30), 4), inner])}, {}
    yield "reaching_the_counter_electrode", ["E"], {"a": box((5, 5, -1), (9, 11, 27))}, {}
    yield "1nm_off_the_counter_electrode", ["E"], {"a": box((5, 5, 0.001), (9, 11, 27))}, {}
    yield "splitting", ["R", "E"], {"a": box((-1, -1, 30), (21, 31, 33))}, {}
    yield "splitting_void", ["E"], {"void": box((-1, -1, 30), (21, 31, 33))}, {}
    yield "larger_than_the_block", ["E"], {"a": box((-1, -1, -1), (21, 31, 51))}, {}
    yield "wider_than_the_block", ["S"], {"a": box((-3, -3, 43), (23, 33, 52))}, {}
    yield "beside_the_block", ["E"], {"a": ball((30, 15, 30), 4)}, {}
    yield "thin_10nm", ["E"], {"a": turned(box((5, 10, 30), (15, 20, 30.01)), 20, 30, 40)}, {}
    yield "thin_80nm", ["S"], {"a": turned(box((5, 10, 30), (15, 20, 30.08)), 20, 30, 40)}, {}
    yield "thin_80nm_crossing", ["S", "R"], {"a": turned(box((6, 10, 44), (14, 20, 44.08)), 20, 70, 40)}, {}
    rng = np.random.default_rng(4)
    balls = [ball(tuple(p), 1.2, 2) for p in np.mgrid[4:18:10, 5:28:9, 25:44:9].reshape(3, -1).T + rng.random(3)]
    yield "many", ["S"], {"a": trimesh.util.concatenate(balls)}, {}
    yield "sheet", ["S", "R"], {"a": sheet((10, 10, 35), (10, 20, 45))}, {"kind": "sheet"}
    yield "sheet_through_the_plating_face", ["S", "R"], {"a": sheet((10, 10, 40), (10, 20, 53))}, {"kind": "sheet"}
    yield "sheet_1nm_below", ["S", "R"], {"a": sheet((10, 10, 40), (10, 20, 49.999))}, {"kind": "sheet"}
    yield "sheet_through_the_block", ["E", "R"], {"a": sheet((10, -1, -1), (10, 31, 51))}, {"kind": "sheet"}


def write_positions(folder: Path) -> None:
    """The bodies of :func:`positions` and what is expected of them."""
    folder.mkdir(parents=True, exist_ok=True)
    expected = {}
    for name, accept, bodies, other in positions():
        cracks = []
        for body, surface in bodies.items():
            surface.export(folder / f"{name}-{body}.stl")
            contents = "void" if body.startswith("void") else "lithium"
            cracks.append({"name": body, "file": f"{name}-{body}.stl", "place": None, "contents": contents, **other})
        expected[name] = {"accept": accept, "cracks": cracks, "mesh": MESH}
    (folder / "expectations.json").write_text(json.dumps(expected, indent=1))


def write_damages(folder: Path, base: Path, mesh: Entry) -> None:
    """The damages of a body at its place, and what is expected of them."""
    folder.mkdir(parents=True, exist_ok=True)
    body = trimesh.load(base, force="mesh")
    vertices, faces = np.array(body.vertices, dtype=float), np.array(body.faces, dtype=np.int64)
    size = longest(vertices)
    write_stl(folder / "good.stl", vertices, faces)
    expected: dict[str, Entry] = {"good.stl": {"accept": ["S", "R"], "cracks": [{"place": None}], "mesh": mesh}}
    for name, (make, outcome) in DAMAGES.items():
        write_stl(folder / f"{name}.stl", *make(vertices, faces))
        crack: Entry = {"place": None}
        accept = list(ACCEPT[outcome])
        if name in WISHES:
            crack["repair"] = {key: scaled(value, size / 12) for key, value in WISHES[name].items()}
            accept += ["E"] if "largest_change" in WISHES[name] else []
        if name not in OWN:
            crack["reference"] = "good.stl"
        if name in FOLLOWED:
            crack["follow"] = True
        expected[f"{name}.stl"] = {"accept": accept, "cracks": [crack], "mesh": mesh}
    (folder / "expectations.json").write_text(json.dumps(expected, indent=1))


def scaled(text: str, factor: float) -> str:
    """A wish for a body of another size."""
    value, unit = text.split()
    power = {"nm": 1, "um^3": 3}.get(unit, 0)
    return f"{float(value) * factor**power:g} {unit}"


def main() -> int:
    """Write everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--base", type=Path, default=ROOT / "meshes" / "fault_crack_lens.stl")
    parser.add_argument("--size-min", default="200 nm")
    options = parser.parse_args()
    write_positions(options.folder / "positions")
    write_damages(options.folder / "damages", options.base, {"size_min": options.size_min, "size_max": "4 um"})
    return 0


if __name__ == "__main__":
    sys.exit(main())
