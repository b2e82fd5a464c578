"""A finished result folder, read back: what the report, the pictures and the ParaView script are made from.

Nothing here needs the solver or the case models, so that ``fem-spall report DIR``
can rebuild everything a user looks at from the files alone.  Lengths are
micrometres, as in the field files.
"""

from __future__ import annotations

import functools
import json
import math
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fem_spall.errors import OutputError

__all__ = ["Finished", "Hottest", "area_percentile"]

type Floats = NDArray[np.float64]

UM = 1e-6
#: Names under which a flat electrode may stand among the surfaces.
ELECTRODES = ("plating", "counter", "+z", "-z")
_DEFAULT_AVERAGING = 250e-9  # m, the headline length of the physics reference


@dataclass(frozen=True)
class Hottest:
    """The headline focusing factor and where it occurs.

    Attributes
    ----------
    metric : str
        Name in ``result.json``, such as ``fef_r250nm``.
    value, error : float
        Focusing factor and its error (NaN where no error could be given).
    radius : float
        Averaging length, um.
    place : (3,) float
        Centre of the ball, um, block frame.
    """

    metric: str
    value: float
    error: float
    radius: float
    place: Floats


@dataclass(frozen=True)
class Finished:
    """A result folder with its record."""

    folder: Path
    result: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Finished:
        """Return the folder with its record.

        Raises
        ------
        OutputError
            If there is no readable ``result.json``.
        """
        path = folder / "result.json"
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise OutputError(
                20, str(folder), "must be the folder of a finished run; it holds no result.json", "Run the case first"
            ) from None
        except (OSError, ValueError) as error:
            raise OutputError(
                21, str(path), f"must be the record of a run; it cannot be read ({error})", "Run the case again"
            ) from error
        if not isinstance(result, dict) or not isinstance(result.get("metrics"), dict):
            raise OutputError(21, str(path), "must be the record of a run; it has no metrics", "Run the case again")
        return cls(folder, result)

    def metric(self, name: str) -> dict[str, Any]:
        """Return the entry of a metric, empty where there is none."""
        entry = self.result["metrics"].get(name)
        return entry if isinstance(entry, dict) else {}

    def value(self, name: str) -> float:
        """Return the value of a metric, NaN where it is absent."""
        return as_float(self.metric(name).get("value"))

    @functools.cached_property
    def hottest(self) -> Hottest | None:
        """The coarse-grained tip flux at 250 nm, or at the nearest length that could be given."""
        found = [
            (abs(math.log(entry["averaging_length_m"] / _DEFAULT_AVERAGING)), name, entry)
            for name, entry in self.result["metrics"].items()
            if name.startswith("fef_r")
            and math.isfinite(as_float(entry.get("value")))
            and entry.get("place_m")
            and as_float(entry.get("averaging_length_m")) > 0
        ]
        if not found:
            return None
        _, name, entry = min(found, key=lambda item: item[:2])
        place = np.asarray(entry["place_m"], dtype=float) / UM
        return Hottest(
            name, float(entry["value"]), as_float(entry.get("error")), entry["averaging_length_m"] / UM, place
        )

    @property
    def fields_file(self) -> Path | None:
        """The volume file that ``fields.pvd`` names, or None."""
        index = self.folder / "fields.pvd"
        if not index.is_file():
            return None
        try:
            entry = ElementTree.parse(index).find(".//DataSet")
        except ElementTree.ParseError:
            return None
        path = self.folder / entry.get("file", "") if entry is not None else None
        return path if path is not None and path.is_file() else None

    @functools.cached_property
    def lithium(self) -> Any:
        """All lithium surfaces as ``pyvista.PolyData`` in um, or None."""
        path = self.folder / "crack_surface.vtp"
        if not path.is_file():
            return None
        import pyvista as pv

        return pv.read(path)

    @functools.cached_property
    def block(self) -> Floats:
        """Bounds of the block, (3, 2) float, um; from the record's electrodes and the surface's lateral extent."""
        height = as_float(self.result.get("electrodes", {}).get("height_m")) / UM
        bounds = np.reshape(self.lithium.bounds, (3, 2)).astype(float)
        if math.isfinite(height):
            bounds[2] = [0.0, height]
        return bounds

    @property
    def plating_up(self) -> bool:
        """Whether the plating electrode is the upper (+z) face."""
        z = self.lithium.points[self.flat_faces.ravel(), 2]
        return bool(np.mean(z if len(z) else self.lithium.points[:, 2]) > self.block[2].mean())

    @functools.cached_property
    def _on_crack(self) -> NDArray[np.bool_]:
        """Which lithium triangles are crack: all but the counter electrode and what lies flat in the plating face."""
        surface = self.lithium
        z = surface.points[self.faces, 2]
        flat = np.ptp(z, axis=1) < 1e-6 * np.ptp(self.block[2])
        in_face = flat & np.any(np.abs(z[:, :1] - self.block[2]) < 1e-6 * np.ptp(self.block[2]), axis=1)
        names = [str(name) for name in surface.field_data.get("surface_names", [])]
        index = np.asarray(surface.cell_data["surface"]) if "surface" in surface.cell_data else np.zeros(len(z), int)
        electrode = np.isin(index, [i for i, name in enumerate(names) if name in ELECTRODES])
        return np.asarray(~(in_face & electrode) if names else ~in_face)

    @functools.cached_property
    def faces(self) -> NDArray[np.int64]:
        """Lithium triangles, (m, 3) int."""
        return np.asarray(self.lithium.regular_faces, dtype=np.int64)

    @property
    def crack_faces(self) -> NDArray[np.int64]:
        """Triangles of the cracks, (m, 3) int; empty without a crack."""
        return self.faces[self._on_crack]

    @property
    def flat_faces(self) -> NDArray[np.int64]:
        """Triangles that lie flat in an electrode face, (m, 3) int."""
        return self.faces[~self._on_crack]

    @property
    def hot_place(self) -> Floats:
        """Where to look, (3,) float, um.

        The headline's place; without one the point of largest flux on the
        lithium; without a lithium crack the place of the largest field, which
        is at a void if there is one.
        """
        if not len(self.crack_faces) and (place := self.metric("max_field_on_mesh").get("place_m")):
            return np.asarray(place, dtype=float) / UM
        if self.hottest is not None:
            return self.hottest.place
        return np.asarray(self.lithium.points[int(np.argmax(self.lithium.point_data["fef"]))], dtype=float)

    @functools.cached_property
    def window(self) -> Floats:
        """The crack's bounding box enlarged by 60 % and clipped to the block, (3, 2) float, um; else the block."""
        faces = self.crack_faces
        if not len(faces):
            return self.block
        points = np.vstack([self.lithium.points[faces.ravel()], self.hot_place])
        low, high = points.min(axis=0), points.max(axis=0)
        # Every side gets the same margin: 60 % of a thin penny's width would hide the field around it.
        margin = 0.3 * np.max(high - low)
        window = np.stack([low - margin, high + margin], axis=1)
        return np.asarray(np.clip(window, self.block[:, :1], self.block[:, 1:]))

    @functools.cached_property
    def section_axis(self) -> int:
        """Normal of the section through the hottest point: 0 for a plane x = const, 1 for y = const.

        The section is taken across the crack's edge.  The normals of the wall
        around an edge span the plane across it, so the direction in which they
        do not point is the edge; the section's normal is the axis nearest to it.
        """
        faces = self.crack_faces
        if not len(faces):
            return 1
        corners = np.asarray(self.lithium.points, dtype=float)[faces]
        distance = np.linalg.norm(corners.mean(axis=1) - self.hot_place, axis=1)
        radius = 4 * self.hottest.radius if self.hottest is not None else 0.0
        near = corners[distance <= max(radius, float(np.sort(distance)[min(40, len(distance) - 1)]))]
        normal = np.cross(near[:, 1] - near[:, 0], near[:, 2] - near[:, 0])
        spread = normal.T @ (normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-300))
        edge = np.linalg.eigh(spread)[1][:, 0]
        return 0 if abs(edge[0]) > abs(edge[1]) + 1e-6 else 1


def as_float(value: object) -> float:
    """Return a number from the record as float, NaN where there is none."""
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan


def area_percentile(values: Floats, areas: Floats, percent: float) -> float:
    """Return the value below which the given percentage of the area lies."""
    order = np.argsort(values)
    filled = np.cumsum(areas[order])
    return float(values[order][np.searchsorted(filled, percent / 100 * filled[-1])])
