"""Every refusal of the program: one exception tree, one exit code a branch.

::

    SpallError
    ├── CaseError          2   the YAML file, an override, the command line
    ├── InputFileError     3   a mesh or image file
    ├── GeometryError      4   a surface that is readable but cannot be embedded
    ├── MeshingError       5   a mesher failed or its result did not pass the checks
    ├── SolveError         6   the solver or an accuracy demand
    ├── OutputError        7   disk, permissions, a folder in use
    ├── LimitError         8   a time or memory limit
    ├── Interrupted        9   the user or the system asked to stop
    ├── SweepError        10   a sweep has ended, but not all of its points have a result
    └── SetupError        11   something this machine lacks

Anything else that escapes is a bug and ends with exit code 1.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

__all__ = [
    "CaseError",
    "GeometryError",
    "InputFileError",
    "Interrupted",
    "LimitError",
    "MeshingError",
    "OutputError",
    "SetupError",
    "SolveError",
    "SpallError",
    "SweepError",
]


class SpallError(Exception):
    """A refusal: where it happened, why, and what the user can do about it.

    Parameters
    ----------
    detail : int
        Number of the reason within its branch, 0 to 99; with the exit code it
        makes the printed number, exit code x 100 + detail.
    where : str
        File, place or object the refusal is about.
    reason : str
        What must hold and what was found instead.
    cure : str
        What to do.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, detail: int, where: str, reason: str, cure: str) -> None:
        super().__init__(detail, where, reason, cure)
        self.detail = detail
        self.where = where
        self.reason = reason
        self.cure = cure

    @property
    def number(self) -> int:
        """Printed error number, exit code x 100 + detail."""
        return self.exit_code * 100 + self.detail

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}; {self.cure}"


class CaseError(SpallError):
    """The case file, an override or the command line is wrong.

    ``faults`` lists everything that was found (``fem_spall.case_file.Fault``: file,
    line, column, key, message); the text of the error then has one line a fault.
    """

    exit_code = 2

    def __init__(self, detail: int, where: str, reason: str, cure: str, *, faults: Iterable[Any] = ()) -> None:
        super().__init__(detail, where, reason, cure)
        self.faults = tuple(faults)

    def __str__(self) -> str:
        return "\n".join(map(str, self.faults)) if self.faults else super().__str__()


class InputFileError(SpallError):
    """A mesh or image file cannot be read as what it claims to be."""

    exit_code = 3


class GeometryError(SpallError):
    """A surface is readable but cannot be embedded in the block."""

    exit_code = 4


class MeshingError(SpallError):
    """A mesher failed, or its mesh did not pass the checks."""

    exit_code = 5


class SolveError(SpallError):
    """The solver did not converge, or the solution breaks a conservation law."""

    exit_code = 6


class OutputError(SpallError):
    """Results could not be written, or the folder is in use."""

    exit_code = 7


class LimitError(SpallError):
    """A time or memory limit was reached."""

    exit_code = 8


class Interrupted(SpallError):
    """The run was asked to stop before it was complete."""

    exit_code = 9


class SweepError(SpallError):
    """A sweep has ended, but some of its points have no result."""

    exit_code = 10


class SetupError(SpallError):
    """This machine lacks something the program needs."""

    exit_code = 11
