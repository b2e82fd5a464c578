"""What an accuracy costs: error against unknowns and seconds, uniform and adaptive meshes, degrees 1 and 2.

Run ``python benchmarks/cost/cost.py [CASE …]`` from the root; it writes cost.csv and cost.png beside itself.
Every point is an ordinary run of a declared benchmark with other sizes.
"""

from __future__ import annotations

import csv
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from fem_spall.benchmark import find_benchmarks
from fem_spall.case_file import load_case
from fem_spall.run import run_case

HERE = Path(__file__).parent
#: Benchmark, name of the compared figure in the record, its row in benchmark.yaml, sizes of the coarsest mesh.
CASES: dict[str, tuple[str, str, dict[str, str]]] = {
    "12_hemispherical_boss": (
        "fef_r2um",
        "flux at the tip, mean over 2 um",
        {"mesh.size_min": "1.6 um", "mesh.size_max": "1.6 um"},
    ),
    "20_half_penny": ("crack_current", "current, A", {"mesh.size_min": "400 nm", "mesh.size_max": "2 um"}),
    "oblate_edge": ("fef_tip", "flux at the tip", {"mesh.size_min": "240 nm", "mesh.size_max": "2 um"}),
}
STRATEGIES = ("uniform P1", "uniform P2", "adaptive P1, goal", "adaptive P2, goal", "adaptive P2, energy")
HALVINGS = 4
MOST_CELLS = 40_000


def main(names: list[str]) -> None:
    rows = [row for row in kept() if names and row["case"] not in names]
    for name, (metric, word, sizes) in CASES.items():
        if names and name not in names:
            continue
        (benchmark,) = find_benchmarks([name])
        quantity = next(q for q in benchmark.declaration.quantities if q.name == word)
        exact = quantity.reference / quantity.copies
        for strategy in STRATEGIES:
            for level in points(benchmark.folder / "case.yaml", strategy, metric, sizes):
                error = abs(level["value"] / exact - 1)
                row = {"case": name, "figure": metric, "strategy": strategy, **level, "error": error}
                rows.append(row)
                print(f"{name:24s} {strategy:20s} {level['dofs']:>8,} unknowns {level['seconds']:6.1f} s {error:.2e}")
        with (HERE / "cost.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    draw(rows)


def kept() -> list[dict[str, Any]]:
    """Rows of the last study."""
    path = HERE / "cost.csv"
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [
            {
                key: value if key in ("case", "figure", "strategy") else float(value or "nan")
                for key, value in row.items()
            }
            for row in csv.DictReader(file)
        ]


def points(case: Path, strategy: str, metric: str, sizes: dict[str, str]) -> list[dict[str, Any]]:
    """Cells, unknowns, seconds and value of every mesh of a strategy."""
    degree = 1 if "P1" in strategy else 2
    found = []
    if strategy.startswith("uniform"):
        for halving in range(HALVINGS):
            keys = [f"{key}={scaled(size, 0.5**halving)}" for key, size in sizes.items()]
            record = run(
                case,
                [*keys, f"mesh.grading={1 + 0.6 * 0.5**halving}", f"solver.degree={degree}", "solver.errors=false"],
            )
            value = record["metrics"][metric]["value"]
            if record["mesh"]["cells"] > MOST_CELLS:
                break
            if value is not None:
                cost = record["seconds"]["mesh"] + record["seconds"]["solve"] + record["seconds"]["intake"]
                found.append({"cells": record["mesh"]["cells"], "dofs": record["mesh"]["dofs"], "seconds": cost,
                              "value": value, "stated": record["metrics"][metric]["error"]})  # fmt: skip
        return found
    estimator = strategy.rsplit(" ", 1)[1]
    keys = [f"{key}={size}" for key, size in sizes.items()]
    target = f"accuracy={{target: 1e-5, metrics: [{metric}], max_cells: {MOST_CELLS}, estimator: {estimator}}}"
    record = run(case, [*keys, "mesh.grading=1.6", f"solver.degree={degree}", target])
    first = record["seconds"]["mesh"] + record["seconds"]["solve"]
    for level in record["accuracy"]["levels"]:
        figure = level["figures"].get(metric)
        if figure is not None:
            found.append({"cells": level["cells"], "dofs": level["dofs"], "seconds": first + level["seconds"],
                          "value": figure["value"], "stated": figure["error"]})  # fmt: skip
    return found


def scaled(size: str, factor: float) -> str:
    number, unit = size.split()
    return f"{float(number) * factor:.6g} {unit}"


def run(case: Path, overrides: list[str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        return run_case(load_case(case, overrides), case, Path(scratch) / "run", overrides=tuple(overrides))


def draw(rows: list[dict[str, Any]]) -> None:
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    names = list(dict.fromkeys(row["case"] for row in rows))
    figure = Figure(figsize=(4.2 * len(names), 7.5), layout="constrained")
    axes = figure.subplots(2, len(names), squeeze=False)
    for column, name in enumerate(names):
        for row_of_axes, key, label in ((0, "dofs", "unknowns"), (1, "seconds", "seconds, all meshes so far")):
            axis = axes[row_of_axes][column]
            for strategy in STRATEGIES:
                own = [row for row in rows if row["case"] == name and row["strategy"] == strategy]
                style = "--" if "uniform" in strategy else "-"
                axis.loglog([r[key] for r in own], [r["error"] for r in own], style, marker="o", ms=4, label=strategy)
            axis.set_xlabel(label)
            axis.xaxis.set_minor_formatter(NullFormatter())
            low, high = axis.get_xlim()
            axis.set_xlim(10 ** np.floor(np.log10(low)), 10 ** np.ceil(np.log10(high)))
            axis.grid(alpha=0.3)
        axes[0][column].set_title(f"{name}\n{next(r['figure'] for r in rows if r['case'] == name)}")
        axes[0][column].set_ylabel("relative error")
    axes[0][0].legend(fontsize=8)
    figure.savefig(HERE / "cost.png", dpi=130)


if __name__ == "__main__":
    main(sys.argv[1:])
