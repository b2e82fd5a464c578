"""The attempts to mesh a boundary: which there are, and what a job's came to, for the next process if one dies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

__all__ = ["ATTEMPTS", "LAST_RESORTS", "PLATE", "Attempt", "Trail"]


class Attempt(NamedTuple):
    """One way to remesh a boundary.

    ``fraction`` is that of the asked smallest size; ``sharp`` keeps folded edges of cracks; ``plain`` takes no care of
    the shapes of triangles and of the facets of polyhedra; ``plate`` keeps the distance of two close walls.
    """

    fraction: float
    sharp: bool
    plain: bool = False
    plate: bool = False

    def __str__(self) -> str:
        words = ", folds kept" * self.sharp + ", plain" * self.plain + ", plate" * self.plate
        return f"size {self.fraction:g} x size_min{words}"


#: A mesher that stumbles over one usually takes the next.
ATTEMPTS = tuple(Attempt(fraction, sharp) for fraction in (1.0, 0.5, 0.3) for sharp in (True, False))
LAST_RESORTS = (Attempt(0.5, True, plain=True), Attempt(0.3, True, plain=True))
#: For cracks that are thinner than the smallest size: the first of polyhedra, the last of others.
PLATE = Attempt(1.0, True, plate=True)


class Trail:
    """What attempts came to so far, one text each; without a folder it is kept in memory alone."""

    def __init__(self, folder: Path | None = None) -> None:
        self._path = None if folder is None else folder / "attempts.json"
        self.failures: list[str] = []
        self.begun: str | None = None
        if self._path is not None and self._path.exists():
            known = json.loads(self._path.read_text())
            self.failures, self.begun = known["failures"], known["begun"]

    def begin(self, attempt: object) -> None:
        """An attempt begins."""
        self.begun = str(attempt)
        self._write()

    def fail(self, why: str) -> None:
        """The attempt that has begun came to nothing."""
        self.failures.append(f"{self.begun}: {why}")
        self.begun = None
        self._write()

    def _write(self) -> None:
        if self._path is not None:
            self._path.write_text(json.dumps({"failures": self.failures, "begun": self.begun}))
