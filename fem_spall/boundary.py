"""Boundary laws: what holds between the electrolyte and what lies behind a named surface.

A law is decoded from YAML and adds its own part to the problem.  Potentials are
in volts, positions in metres; n is the outward normal of the electrolyte, so a
positive j·n is current that leaves the electrolyte into the lithium.

To add a law: write one class with ``kind``, and name it in :data:`InterfaceLaw`
(electrodes and cracks) or :data:`WallLaw` (the other faces of the block).
"""

from __future__ import annotations

import inspect
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from fem_spall import analytic
from fem_spall.model import Model
from fem_spall.quantity import AreaResistance, CurrentDensity, Pressure, Temperature, Unit, to_si

__all__ = [
    "FARADAY",
    "GAS",
    "MOLAR_VOLUME",
    "ButlerVolmer",
    "ExactPotential",
    "FixedPotential",
    "InterfaceLaw",
    "LinearKinetics",
    "NoFlux",
    "Resistance",
    "WallLaw",
]

#: Charge of a mole of electrons, C/mol, and the gas constant, J/(mol K).
FARADAY, GAS = 96485.33212, 8.31446261815324
#: Molar volume of lithium at 20 °C, m^3/mol: 6.94 g/mol over 0.534 g/cm^3.
MOLAR_VOLUME = 12.9963e-6


type Transfer = Annotated[float, Field(gt=0, lt=2)]


class FixedPotential(Model):
    """φ = φ_Li on the surface: an interface without resistance."""

    kind: Literal["fixed_potential"] = "fixed_potential"


class Resistance(Model):
    """j·n = (φ − φ_Li) / R: an area-specific interfacial resistance R."""

    kind: Literal["resistance"]
    value: AreaResistance

    @model_validator(mode="after")
    def _not_negative(self) -> Resistance:
        if self.value < 0:
            raise ValueError("the area-specific resistance must not be negative. Write for instance '500 ohm cm^2'")
        return self


class LinearKinetics(Model):
    """j·n = i₀ (α_p + α_s) F η / (R T): Butler-Volmer kinetics at small overpotential η = φ − φ_Li − p V_m/F.

    ``transfer`` are the coefficients of plating, α_p, and stripping, α_s; p is the ``pressure`` in the lithium.
    """

    kind: Literal["linear_kinetics"]
    exchange_current_density: CurrentDensity
    transfer: tuple[Transfer, Transfer] = (0.5, 0.5)
    temperature: Temperature = "303.15 K"  # type: ignore[assignment]
    pressure: Pressure = "0 MPa"  # type: ignore[assignment]

    @field_validator("exchange_current_density")
    @classmethod
    def _positive(cls, value: float) -> float:
        if value <= 0:
            raise ValueError("the exchange current density must be above zero. Write for instance '1 mA/cm^2'")
        return value

    @property
    def slopes(self) -> tuple[float, float]:
        """α F/(R T) of plating and stripping, 1/V."""
        plating, stripping = (alpha * FARADAY / (GAS * self.temperature) for alpha in self.transfer)
        return plating, stripping

    @property
    def area_resistance(self) -> float:
        """Resistance at small overpotential, R T/(F i₀ (α_p + α_s)), ohm m^2."""
        return 1 / (self.exchange_current_density * sum(self.slopes))

    @property
    def shift(self) -> float:
        """Overpotential that the pressure takes up, p V_m/F, V."""
        return self.pressure * MOLAR_VOLUME / FARADAY


class ButlerVolmer(LinearKinetics):
    """j·n = i₀ [exp(α_p F η/RT) − exp(−α_s F η/RT)] with the overpotential η = φ − φ_Li − p V_m/F."""

    kind: Literal["butler_volmer"]  # type: ignore[assignment]

    def density(self, overpotential: NDArray[np.float64]) -> NDArray[np.float64]:
        """Current density into the lithium, (n,) A/m^2, at overpotentials (n,), V."""
        plating, stripping = self.slopes
        eta = np.asarray(overpotential, dtype=float)
        return np.asarray(self.exchange_current_density * (np.exp(plating * eta) - np.exp(-stripping * eta)))

    def overpotential(self, density: float) -> float:
        """Overpotential, V, that drives a current density, A/m^2."""
        from scipy.optimize import brentq

        reach = np.log1p(abs(density) / self.exchange_current_density) / min(self.slopes) + 1e-12
        return float(
            brentq(lambda eta: float(self.density(np.array(eta))) - density, -2 * reach, 2 * reach, xtol=1e-300)
        )


class NoFlux(Model):
    """j·n = 0: an insulating wall, or a mirror plane."""

    kind: Literal["no_flux"] = "no_flux"


class ExactPotential(Model):
    """φ = a closed-form potential on the surface: verification without a truncation error.

    ``solution`` names a function of :data:`fem_spall.analytic.POTENTIALS`;
    ``parameters`` are its arguments, as text with units.
    """

    kind: Literal["exact_potential"]
    solution: str
    parameters: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _read_parameters(cls, data: Any) -> Any:
        if not isinstance(data, dict) or not isinstance(data.get("solution"), str):
            return data
        name = data["solution"]
        if name not in analytic.POTENTIALS:
            raise ValueError(f"there is no closed form {name!r}; take one of: {', '.join(sorted(analytic.POTENTIALS))}")
        units = parameter_units(name)
        given = dict(data.get("parameters") or {})
        unknown = sorted(set(given) - set(units))
        missing = sorted(set(units) - set(given))
        if unknown or missing:
            raise ValueError(
                f"closed form {name!r} takes the parameters {', '.join(units)}"
                + (f"; unknown: {', '.join(unknown)}" if unknown else "")
                + (f"; missing: {', '.join(missing)}" if missing else "")
            )
        for key, unit in units.items():
            values = given[key] if isinstance(given[key], (list, tuple)) else [given[key]]
            for value in values:
                to_si(value, unit)
        return data

    def potential(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Potential at the points, (n,) float, V; ``points`` is (n, 3) float, m."""
        units = parameter_units(self.solution)
        values = {
            key: [to_si(v, units[key]) for v in value] if isinstance(value, (list, tuple)) else to_si(value, units[key])
            for key, value in self.parameters.items()
        }
        return analytic.POTENTIALS[self.solution](points, **values)


def parameter_units(solution: str) -> dict[str, Unit]:
    """Parameters of a closed form with their units, read from its signature."""
    signature = inspect.signature(analytic.POTENTIALS[solution], eval_str=True)
    return {name: parameter.annotation.__metadata__[0] for name, parameter in list(signature.parameters.items())[1:]}


InterfaceLaw = Annotated[
    FixedPotential | Resistance | LinearKinetics | ButlerVolmer | ExactPotential | NoFlux, Field(discriminator="kind")
]
WallLaw = Annotated[NoFlux | ExactPotential, Field(discriminator="kind")]
