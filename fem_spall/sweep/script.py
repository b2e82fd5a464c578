"""A Slurm array script: each task is one point; no sweep process needs to stay."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from fem_spall.output.files import atomic_text
from fem_spall.sweep.plan import Plan, Point

__all__ = ["write_script"]

_SCRIPT = """\
#!/bin/bash
#SBATCH --job-name={name}
#SBATCH --array=1-{count}
#SBATCH --ntasks=1
#SBATCH --cpus-per-task={ranks}
#SBATCH --time={minutes}
#SBATCH --mem={megabytes}M
#SBATCH --output={folder}/points/slurm-%A_%a.log
{options}# Each task runs one point of slurm.points; a point that has a result already is left alone.
# After the array:  fem-spall sweep collect {quoted}
set -euo pipefail
export OMP_NUM_THREADS=1
id=$(sed -n "${{SLURM_ARRAY_TASK_ID}}p" {quoted}/slurm.points)
exec {python} -m fem_spall sweep point {quoted} "$id"
"""


def write_script(plan: Plan, folder: Path, points: Sequence[Point], options: Sequence[str]) -> Path:
    """Return the script written into the folder, with the list of points that its tasks take."""
    place, limits = folder.resolve(), plan.settings.limits
    (folder / "points").mkdir(exist_ok=True)
    atomic_text(folder / "slurm.points", "".join(f"{point.id}\n" for point in points))
    text = _SCRIPT.format(
        name=plan.name, count=len(points), ranks=plan.settings.ranks, minutes=math.ceil(limits.time / 60),
        megabytes=math.ceil(limits.memory / 1e6), folder=place, quoted=shlex.quote(str(place)),
        python=shlex.quote(sys.executable), options="".join(f"#SBATCH {option}\n" for option in options),
    )  # fmt: skip
    return atomic_text(folder / "slurm.sh", text)
