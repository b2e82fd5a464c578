"""Laws in the numbers of a sweep: power laws with their confidence, Sobol's indices of sensitivity."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Index", "PowerLaw", "power_law", "sensitivity"]

type Floats = NDArray[np.float64]

CONFIDENCE = 0.95
RESAMPLES = 300


@dataclass(frozen=True)
class PowerLaw:
    """y = factor x^exponent by least squares of the logarithms.

    ``half_width`` is half the 95 % confidence interval of the exponent: the scatter about the law, by Student's t,
    and the stated errors of y, propagated through the fit, added in quadrature.  ``deviation`` is the largest
    relative distance of a point from the law.
    """

    exponent: float
    half_width: float
    factor: float
    deviation: float
    count: int


def power_law(x: Sequence[float], y: Sequence[float], errors: Sequence[float | None] = ()) -> PowerLaw | None:
    """Return the power law through points with positive coordinates; None for fewer than three.

    Parameters
    ----------
    x, y : sequence of float
        The points; those that are not above zero are left out.
    errors : sequence of float or None, optional
        Stated error of each y, same unit; taken as two standard deviations.
    """
    from scipy.stats import t

    bars = [*errors, *[None] * (len(x) - len(errors))]
    good = [(a, b, e or 0.0) for a, b, e in zip(x, y, bars, strict=True) if a > 0 and b > 0]
    if len(good) < 3 or len({a for a, _, _ in good}) < 3:
        return None
    u, v = np.log([a for a, _, _ in good]), np.log([b for _, b, _ in good])
    relative = np.array([e / b for _, b, e in good]) / 2
    centred = u - u.mean()
    weights = centred / (centred**2).sum()
    exponent = float(weights @ v)
    constant = float(v.mean() - exponent * u.mean())
    rest = v - constant - exponent * u
    free = len(good) - 2
    scatter = math.sqrt(float(rest @ rest) / free / float((centred**2).sum()))
    stated = math.sqrt(float(((weights * relative) ** 2).sum()))
    half = math.hypot(float(t.ppf((1 + CONFIDENCE) / 2, free)) * scatter, 2 * stated)
    return PowerLaw(exponent, half, math.exp(constant), float(np.expm1(np.abs(rest)).max()), len(good))


@dataclass(frozen=True)
class Index:
    """First-order and total index of an input, with their 95 % intervals."""

    key: str
    first: float
    first_interval: tuple[float, float]
    total: float
    total_interval: tuple[float, float]


def sensitivity(keys: Sequence[str], count: int, values: Sequence[float]) -> list[Index]:
    """Return Sobol's indices of a figure over a plan of A, B and A with each column of B (Saltelli's).

    Parameters
    ----------
    keys : sequence of str
        The inputs.
    count : int
        Samples of A.
    values : sequence of float
        The figure at A, then B, then A with the first column of B, and so on.
    """
    from scipy.stats import sobol_indices

    blocks: Floats = np.asarray(values, dtype=float).reshape(len(keys) + 2, 1, count)

    def indices(chosen: NDArray[np.int64]) -> Floats:
        some = blocks[..., chosen]
        with np.errstate(invalid="ignore", divide="ignore"):
            found: Any = sobol_indices(func={"f_A": some[0], "f_B": some[1], "f_AB": some[2:]}, n=count)
        return np.stack([np.ravel(found.first_order), np.ravel(found.total_order)])

    value = indices(np.arange(count))
    rng = np.random.default_rng(0)
    spread = np.stack([indices(rng.integers(count, size=count)) for _ in range(RESAMPLES)])
    low, high = np.nanquantile(spread, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    return [
        Index(key, *(part for kind in (0, 1) for part in (
            float(value[kind, k]), (float(low[kind, k]), float(high[kind, k])),
        )))  # type: ignore[arg-type]
        for k, key in enumerate(keys)
    ]  # fmt: skip
