"""fem-spall: how strongly a lithium-filled crack focuses the plating current in a ceramic electrolyte."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fem_spall.sweep.table import SweepTable

__version__ = version("fem-spall")


def load_sweep(folder: str | Path) -> SweepTable:
    """Return the results of a sweep's folder: ``.rows``, ``.to_pandas()``, ``.to_xarray()``, ``.to_parquet(path)``.

    Raises
    ------
    OutputError
        If the folder holds no sweep.
    """
    from fem_spall.sweep import table

    return table.load_sweep(folder)
