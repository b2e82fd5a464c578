"""One figure of merit: a number with its unit, its definition and its error, or why there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Metric"]


@dataclass(frozen=True)
class Metric:
    """One figure, SI units, or the reason why it cannot be given."""

    name: str
    definition: str
    unit: str
    value: float | None = None
    absent: str | None = None
    error: float | None = None
    error_method: str | None = None
    place: tuple[float, float, float] | None = None  # m
    averaging_length: float | None = None  # m
    bounds: tuple[float, float] | None = None
    flag: str | None = None
    local_size: float | None = None  # m
    check: float | None = None  # the same figure by an independent route
    wagner: float | None = None  # conductivity over the slope of the interface's law at the place, m
    unseen: float = 0.0  # how much larger it may be at places that the mesh does not resolve
    gradient: dict[str, float] | None = None  # by goal of Evaluation.goal, where the figure follows from goals alone

    def record(self) -> dict[str, Any]:
        """The entry of ``result.json``; keys that say nothing are left out."""
        entry: dict[str, Any] = {"value": self.value, "unit": self.unit, "error": self.error}
        if self.error is None:
            entry["error_absent"] = self.error_method or self.absent or "not estimated"
        else:
            entry["error_method"] = self.error_method
        entry["definition"] = self.definition
        optional = {
            "absent": self.absent, "place_m": self.place, "averaging_length_m": self.averaging_length,
            "bounds": self.bounds, "flag": self.flag, "local_size": self.local_size,
        }  # fmt: skip
        return entry | {key: value for key, value in optional.items() if value is not None}
