"""The attempts of a meshing job, kept in its folder: where one process died, the next goes on with the next attempt."""

from __future__ import annotations

import json
from pathlib import Path

__all__ = ["Trail"]


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
