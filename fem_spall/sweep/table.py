"""The results of a sweep as one table: ``sweep.csv``, Parquet, pandas, xarray.

Times are not in it, so that the same numbers give the same bytes however the points were run.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fem_spall.errors import SetupError
from fem_spall.output.files import atomic, atomic_bytes
from fem_spall.sweep.fate import Fate, fate_of
from fem_spall.sweep.plan import Plan, read_plan

__all__ = ["SweepTable", "load_sweep"]


@dataclass(frozen=True)
class SweepTable:
    """A table with a row for every point of a sweep.

    ``columns`` are names with units in brackets: the axes as they are written, figures in SI, the error of a figure
    beside it, its value for the isolated crack where there is one.  A cell without a value is None.
    """

    plan: Plan
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    @classmethod
    def of(cls, plan: Plan, fates: Sequence[Fate]) -> SweepTable:
        """Return the table of the points' records."""
        figures = _figures(fates)
        heads = ["id", "status", *(f"{c.name} [{c.unit}]" if c.unit else c.name for c in plan.columns)]
        for name, unit, isolated in figures:
            heads += [f"{name} [{unit}]", f"{name} error [{unit}]"]
            heads += [f"{name} isolated [{unit}]", f"{name} isolated error [{unit}]"] if isolated else []
        heads += ["cells", "unknowns", "reason"]
        rows = []
        for point, fate in zip(plan.points, fates, strict=True):
            row: list[Any] = [point.id, fate.status, *(point.values.get(column.name) for column in plan.columns)]
            record = fate.record or {}
            for name, _, isolated in figures:
                entry = record.get("metrics", {}).get(name, {})
                row += [entry.get("value"), entry.get("error")]
                box = entry.get("model_errors", {}).get("box", {})
                row += [box.get("isolated"), box.get("isolated_error")] if isolated else []
            mesh = record.get("mesh", {})
            rows.append((*row, mesh.get("cells"), mesh.get("dofs"), fate.reason or None))
        return cls(plan, tuple(heads), tuple(rows))

    def column(self, head: str) -> list[Any]:
        """Values of a column, by its whole head or by the name before the unit."""
        heads = [*self.columns, *(name.partition(" [")[0] for name in self.columns)]
        index = heads.index(head) % len(self.columns)
        return [row[index] for row in self.rows]

    def csv(self) -> str:
        """The table as CSV text, numbers to the last bit."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(["" if cell is None else cell for cell in row] for row in self.rows)
        return stream.getvalue()

    def to_pandas(self) -> Any:
        """Return a ``pandas.DataFrame`` with the ID as its index.

        Raises
        ------
        SetupError
            If pandas is not installed.
        """
        pandas = _needed("pandas")
        return pandas.DataFrame(list(self.rows), columns=list(self.columns)).set_index("id")

    def to_xarray(self) -> Any:
        """Return an ``xarray.Dataset``: a dimension for each axis where the points fill a grid, else the point.

        Raises
        ------
        SetupError
            If xarray is not installed.
        """
        import numpy as np

        xarray = _needed("xarray")
        axes = [column for column in self.plan.columns if column.kind != "derived"]
        values = {column.name: sorted(set(self.column(column.name)), key=_sortable) for column in axes}
        full = axes and math.prod(map(len, values.values())) == len(self.rows)
        names = [column.name for column in axes] if full else ["point"]
        shape = tuple(len(values[name]) for name in names) if full else (len(self.rows),)
        places = [
            tuple(values[name].index(cell) for name, cell in zip(names, cells, strict=True))
            for cells in zip(*(self.column(name) for name in names), strict=True)
        ] if full else [(number,) for number in range(len(self.rows))]  # fmt: skip
        variables = {}
        for index, head in enumerate(self.columns):
            name, _, unit = head.removesuffix("]").partition(" [")
            if full and name in names:
                continue
            cells = [row[index] for row in self.rows]
            numeric = all(
                cell is None or (isinstance(cell, (int, float)) and not isinstance(cell, bool)) for cell in cells
            )
            array = np.full(shape, np.nan if numeric else "", dtype=float if numeric else object)
            for place, cell in zip(places, cells, strict=True):
                if cell is not None:
                    array[place] = cell
            variables[name.replace(" ", "_")] = (names, array, {"units": unit} if unit else {})
        units = {column.name: {"units": column.unit} if column.unit else {} for column in axes}
        coordinates = {name: ([name], values[name], units[name]) for name in names} if full else {}
        return xarray.Dataset(variables, coords=coordinates, attrs={"sweep": self.plan.name})

    def to_parquet(self, path: Path) -> Path:
        """Write the table as a Parquet file.

        Raises
        ------
        SetupError
            If duckdb is not installed.
        """
        duckdb = _needed("duckdb")
        source = path.with_name(f".{path.name}.csv")
        try:
            atomic_bytes(source, self.csv().encode())
            with atomic(path) as aside, duckdb.connect() as connection:
                read = f"SELECT * FROM read_csv('{_quoted(source)}', header = true, sample_size = -1)"
                connection.execute(f"COPY ({read}) TO '{_quoted(aside)}' (FORMAT parquet)")
        finally:
            source.unlink(missing_ok=True)
        return path


def load_sweep(folder: str | Path) -> SweepTable:
    """Return the results of a sweep's folder as they are now.

    Raises
    ------
    OutputError
        If the folder holds no sweep.
    """
    plan = read_plan(Path(folder))
    return SweepTable.of(plan, [fate_of(Path(folder), point) for point in plan.points])


def _figures(fates: Sequence[Fate]) -> list[tuple[str, str, bool]]:
    """Name and unit of every figure that a record has, and whether some record has its isolated value."""
    found: dict[str, tuple[str, bool]] = {}
    for fate in fates:
        for name, entry in (fate.record or {}).get("metrics", {}).items():
            isolated = entry.get("model_errors", {}).get("box", {}).get("isolated") is not None
            found[name] = (str(entry.get("unit") or "1"), isolated or (name in found and found[name][1]))
    return [(name, unit, isolated) for name, (unit, isolated) in found.items()]


def _sortable(value: Any) -> tuple[bool, Any]:
    text = isinstance(value, str)
    return text, value


def _needed(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError:
        raise SetupError(3, name, "is not installed", 'pip install "fem-spall[table]"') from None


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
