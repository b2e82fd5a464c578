"""A blade: a straight crack as long as the block, the two-dimensional crack."""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from fem_spall.crack.base import AnalyticCrack, Block, moved_by
from fem_spall.quantity import Length, NonNegativeLength, PositiveLength

__all__ = ["Blade"]


class Blade(AnalyticCrack):
    """A slit of depth h along the whole of ``along``, at ``position`` on the other lateral axis.

    With opening w at the mouth its cross-section is half an ellipse with semi-axes w/2 and h, tip radius
    ρ = (w/2)²/h (w = 2h is a half-cylinder ridge); or a wedge, an isosceles triangle that ends in the interior
    angle 2 arctan(w/2h); or a rectangle.  ``opening: 0 um`` is the zero-thickness crack.  A void may start from
    the counter electrode instead.
    """

    kind: Literal["blade"]
    position: Length
    depth: PositiveLength
    opening: NonNegativeLength = "0 um"  # type: ignore[assignment]
    along: Literal["x", "y"] = "y"
    profile: Literal["ellipse", "wedge", "rectangle"] = "ellipse"
    stands_on: Literal["plating", "counter"] = "plating"

    @model_validator(mode="after")
    def _a_profile_has_a_width(self) -> Self:
        if self.profile != "ellipse" and self.opening == 0:
            raise ValueError(
                f"a {self.profile} needs an opening. Write for instance 'opening: 0.5 um', or leave profile out"
            )
        if self.stands_on == "counter" and self.contents == "lithium":
            raise ValueError("lithium belongs to the plating electrode. Leave stands_on out, or set contents to void")
        return self

    def moved(self, name: str, x: float, y: float) -> Self:
        """The slit moved across itself; along itself it is as long as the block."""
        position = moved_by(self.position, x if self.along == "y" else y)
        return self.model_copy(update={"name": name, "position": position})

    @property
    def tip_radius(self) -> float:
        """Radius of curvature of the tip, m; 0 where it is an edge."""
        return (self.opening / 2) ** 2 / self.depth if self.profile == "ellipse" else 0.0

    def add_shape(self, occ: Any, block: Block, unit: float) -> list[tuple[int, int]]:
        """The slit and its mirror image above the face, longer than the block by its depth at both ends."""
        length = block.size[1 if self.along == "y" else 0] / unit
        h, half = self.depth / unit, self.opening / 2 / unit
        start, run = -length / 2 - h, length + 2 * h
        if self.opening == 0:
            shape = [(2, occ.addRectangle(-h, start, 0, 2 * h, run))]
            occ.rotate(shape, 0, 0, 0, 0, 1, 0, np.pi / 2)
        elif self.profile == "ellipse":
            shape = [(3, occ.addCylinder(0, start, 0, 0, run, 0, h))]
            occ.dilate(shape, 0, 0, 0, half / h, 1, 1)
        elif self.profile == "rectangle":
            shape = [(3, occ.addBox(-half, start, -h, 2 * half, run, 2 * h))]
        else:
            corners = [occ.addPoint(x, start, z) for x, z in ((half, 0), (0, -h), (-half, 0), (0, h))]
            sides = [occ.addLine(corners[i - 1], corners[i]) for i in range(4)]
            rhombus = occ.addPlaneSurface([occ.addCurveLoop(sides)])
            shape = [entity for entity in occ.extrude([(2, rhombus)], 0, run, 0) if entity[0] == 3]
        if self.along == "x":
            occ.rotate(shape, 0, 0, 0, 0, 0, 1, np.pi / 2)
        p, z = self.position / unit, self._mouth(block) / unit
        occ.translate(shape, *((length / 2, p) if self.along == "x" else (p, length / 2)), z)
        return shape

    def extent(self, block: Block) -> NDArray[np.float64]:
        """Box of the slit and of its mirror image above the face it starts from."""
        z = self._mouth(block)
        across = [self.position - self.opening / 2, self.position + self.opening / 2]
        run = [0.0, block.size[1 if self.along == "y" else 0]]
        x, y = (across, run) if self.along == "y" else (run, across)
        return np.array([[x[0], y[0], z - self.depth], [x[1], y[1], z + self.depth]])

    def _mouth(self, block: Block) -> float:
        """Height z of the face the slit starts from, m."""
        plating = block.height if block.plating_face == "+z" else 0.0
        return plating if self.stands_on == "plating" else block.height - plating
