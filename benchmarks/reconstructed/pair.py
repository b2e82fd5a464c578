"""One reconstructed crack on two meshes: the accuracy asked for, and at least four times the cells.

Run ``python benchmarks/reconstructed/pair.py`` from the root; it puts its table into README.md.  Both runs start from
the same first mesh, so that they see the same polyhedron and differ by the discretisation alone.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from fem_spall.case_file import load_case
from fem_spall.run import run_case

HERE = Path(__file__).parent
CASE = HERE.parents[1] / "configs" / "spallation.yaml"
ASKED = "accuracy={target: 2 %, metrics: [fef_r250nm, crack_current]}"
FIGURES = ("fef_r250nm", "fef_r500nm", "crack_current", "crack_current_share", "resistance", "electrode_advance")


def main() -> None:
    asked = run(ASKED)
    most = 8 * asked["mesh"]["cells"]  # refinement ends above 1/1.8 of the budget
    finer = run(
        f"accuracy={{target: 0.01 %, metrics: [fef_r250nm, crack_current], max_cells: {most}, estimator: energy}}"
    )
    print(asked["accuracy"]["stopped"], "/", finer["accuracy"]["stopped"])
    ratio = finer["mesh"]["cells"] / asked["mesh"]["cells"]
    print(f"{asked['mesh']['cells']:,} and {finer['mesh']['cells']:,} cells, {ratio:.2f} times as many")
    lines = [
        f"| | asked for 2 % | {ratio:.1f} times the cells | difference | stated together | within |",
        "|---|---|---|---|---|---|",
        f"| cells | {asked['mesh']['cells']:,} | {finer['mesh']['cells']:,} | | | |",
        f"| seconds | {asked['seconds']['total']:.0f} | {finer['seconds']['total']:.0f} | | | |",
    ]
    for name in FIGURES:
        one, two = asked["metrics"][name], finer["metrics"][name]
        change, allowed = abs(one["value"] - two["value"]), one["error"] + two["error"]
        size = abs(two["value"])
        values = " | ".join(f"{m['value']:.5g} ± {m['error']:.1g}" for m in (one, two))
        held = "yes" if change <= allowed else "NO"
        lines.append(f"| {name}, {one['unit']} | {values} | {change / size:.2%} | {allowed / size:.2%} | {held} |")
    one, two = (record["metrics"]["max_field_on_mesh"] for record in (asked, finer))
    lines.append(
        f"| largest field on the mesh, V/m (mesh-dependent) | {one['value']:.3g} | {two['value']:.3g} "
        f"| {abs(two['value'] - one['value']) / two['value']:.0%} | none | no result |"
    )
    print("\n".join(lines))
    readme = HERE / "README.md"
    begin, end = "<!-- table: start -->\n", "<!-- table: end -->"
    head, _, rest = readme.read_text().partition(begin)
    readme.write_text(head + begin + "\n".join(lines) + "\n" + end + rest.partition(end)[2])


def run(asked: str) -> dict[str, Any]:
    keys = ["mesh.size_min=300 nm", asked, "output={fields: false, report: false, pictures: false}"]
    with tempfile.TemporaryDirectory() as scratch:
        return run_case(load_case(CASE, keys), CASE, Path(scratch) / "run", overrides=tuple(keys))


if __name__ == "__main__":
    main()
