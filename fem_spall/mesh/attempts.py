"""The attempts to mesh a boundary: which there are, and what a job's came to, for the next process if one dies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from fem_spall.errors import MeshingError

__all__ = ["ATTEMPTS", "CLOSE", "LAST_RESORTS", "PLATE", "WALLS", "Attempt", "Trail"]


class Attempt(NamedTuple):
    """One way to remesh a boundary.

    ``fraction`` is that of the asked smallest size; ``sharp`` keeps folded edges of cracks; ``plain`` takes no care of
    the shapes of triangles and of the facets of polyhedra; ``plate`` keeps the distance of two close walls; ``walls``
    keeps the walls as they are; ``close`` pulls them to the given ones where they are further off than the tolerance.
    """

    fraction: float
    sharp: bool
    plain: bool = False
    plate: bool = False
    walls: bool = False
    close: bool = False

    def __str__(self) -> str:
        words = {
            "folds kept": self.sharp, "plain": self.plain, "plate": self.plate, "walls kept": self.walls,
            "walls close": self.close,
        }  # fmt: skip
        return f"size {self.fraction:g} x size_min" + "".join(f", {word}" for word, meant in words.items() if meant)


#: The first of all: what MMG leaves beyond the tolerance is put right.
CLOSE = Attempt(1.0, True, close=True)
#: A mesher that stumbles over one usually takes the next.
ATTEMPTS = tuple(Attempt(fraction, sharp) for fraction in (1.0, 0.5, 0.3) for sharp in (True, False))
LAST_RESORTS = (Attempt(0.5, True, plain=True), Attempt(0.3, True, plain=True))
#: For cracks that are thinner than the smallest size: the first of polyhedra, the last of others.
PLATE = Attempt(1.0, True, plate=True)
#: Walls that stay: the first where they are about as fine as the mesh or coarser.
WALLS = Attempt(1.0, False, walls=True)


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

    def death(self) -> MeshingError:
        """The refusal where no attempt is left to this process: the last that the others made."""
        reason = self.failures[-1] if self.failures else "no attempt was made"
        return MeshingError(35, "mesher", reason, "change mesh.size_min, or mend the surface where it crosses itself")

    def fail(self, why: str) -> None:
        """The attempt that has begun came to nothing."""
        self.failures.append(f"{self.begun}: {why}")
        self.begun = None
        self._write()

    def _write(self) -> None:
        if self._path is not None:
            self._path.write_text(json.dumps({"failures": self.failures, "begun": self.begun}))
