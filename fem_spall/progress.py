"""How long work says where it is."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Progress", "Silent"]


class Progress(Protocol):
    """Receives the stages of a run as they begin."""

    def stage(self, name: str, detail: str = "") -> None:
        """A stage begins; the one before has ended."""

    def note(self, text: str) -> None:
        """Something the user should know while waiting."""

    def done(self) -> None:
        """The last stage has ended."""


class Silent:
    """Progress that says nothing."""

    def stage(self, name: str, detail: str = "") -> None:
        """Say nothing."""

    def note(self, text: str) -> None:
        """Say nothing."""

    def done(self) -> None:
        """Say nothing."""
