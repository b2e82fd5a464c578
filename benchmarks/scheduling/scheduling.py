"""What a sweep adds to the time of its points.

    python benchmarks/scheduling/scheduling.py [--points 1000]

First 2 workers and points that wait 10 s each: the time of the sweep over that of its points by two.  Then many points
that do not wait at all: planned, run and tabulated.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from fem_spall import __version__, load_sweep
from fem_spall.sweep.collect import collect
from fem_spall.sweep.display import TerminalSweep
from fem_spall.sweep.engine import Machine, hold, run_points
from fem_spall.sweep.fate import Fate
from fem_spall.sweep.plan import Point, make_plan, read_plan
from fem_spall.sweep.sweep_file import read_sweep

HERE = Path(__file__).parent
SWEEP = """
version: 1
name: scheduling
case: {case}
axes: [{{key: electrolyte.conductivity, log: [0.1 mS/cm, 10 mS/cm], count: {count}}}]
"""


class Stamped(TerminalSweep):
    """Progress that remembers when points end."""

    def ended(self, point: Point, fate: Fate) -> None:
        self.stamps = [*getattr(self, "stamps", ()), time.perf_counter()]
        super().ended(point, fate)


def timed(count: int, seconds: float, work: Path) -> None:
    source, folder = work / "sweep.yaml", work / f"run{count}"
    source.write_text(SWEEP.format(case=HERE.parent / "survival" / "block.yaml", count=count))

    def command(place: Path, name: str) -> list[str]:
        script = str(HERE / "trivial_point.py")
        return [sys.executable, "-S", script, str(place), name, __version__, str(seconds)]

    begin = time.perf_counter()
    plan = make_plan(read_sweep(source))
    planned = time.perf_counter()
    with hold(folder, plan.name) as token:
        plan.write(folder)
        progress = Stamped(plan)
        progress.begin(count, 0, 2)
        run_points(plan, folder, plan.points, token, Machine(workers=2), progress, command)
    ran = time.perf_counter()
    collect(read_plan(folder), folder)
    tabled = time.perf_counter()
    done = load_sweep(folder).column("status").count("ok")
    print(f"{count} points of {seconds:g} s: planned in {planned - begin:.1f} s, run in {ran - planned:.1f} s, "
          f"tabulated in {tabled - ran:.1f} s; {done} complete")  # fmt: skip
    if seconds:
        ideal, begun = count * seconds / 2, progress.stamps[0] - seconds
        print(f"beyond the points' own {ideal:g} s: {(tabled - begin) / ideal - 1:.1%} from start to table, of which "
              f"{begun - planned:.1f} s start of Dask; {(progress.stamps[-1] - begun) / ideal - 1:.1%} from the first "
              "point's begin to the last one's end")  # fmt: skip


if __name__ == "__main__":
    many = int(sys.argv[sys.argv.index("--points") + 1]) if "--points" in sys.argv else 1000
    with tempfile.TemporaryDirectory() as scratch:
        timed(20, 10.0, Path(scratch))
        timed(many, 0.0, Path(scratch))
