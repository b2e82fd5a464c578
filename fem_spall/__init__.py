"""fem-spall: how strongly a lithium-filled crack focuses the plating current in a ceramic electrolyte."""

from __future__ import annotations

import os
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fem_spall.sweep.table import SweepTable

# Before NumPy is imported: its matrices here are small, and threads that wait for work spend a second core's time.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

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
