"""Spheres on a lattice, by multipoles: bosses and voids in a square mirror cell, conducting spheres in a cubic one.

Mirror planes repeat a hemisphere on an electrode over a square lattice of period w, and the electrode mirrors it to a
whole sphere; a second electrode at the distance w/2 repeats it along z as well.  In both lattices, around every sphere

φ = E z + Σ B_lm I_lm + (all other spheres),  l odd, m a multiple of four,

with the solid harmonics I_lm = (l − m)! P_l^m(cos θ) exp(imφ)/r^{l+1} and R_lm = r^l P_l^m(cos θ) exp(imφ)/(l + m)!.
The others are regular here: I_lm(r − R) = Σ (−1)^{l'} I_{l+l', m−m'}(R) R_{l'm'}(r), so that φ = 0 (a conductor)
or φ′ = 0 (a void) at r = a is a linear system for B with the lattice sums of I.  Sources: Rayleigh, Philosophical
Magazine 34 (1892) 481; Epton and Dembart, SIAM Journal on Scientific Computing 16 (1995) 865 for the translation.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

from fem_spall.analytic.signature import Conductivity, Fraction, Length

__all__ = [
    "boss_cell_advance",
    "boss_cell_capture",
    "boss_cell_focusing",
    "cubic_spheres_area_resistance",
    "cubic_spheres_conductivity",
    "void_cell_advance",
]

#: Highest degree of the multipoles; touching spheres would need more, those of the benchmarks converge to 1e-10.
DEGREE = 19


def boss_cell_focusing(radius: Length, width: Length) -> float:
    """FEF at the tip of a hemispherical boss in a square mirror cell of width w, far from the counter, -."""
    return float(_radial(radius / width, 2).sum())


def boss_cell_capture(radius: Length, width: Length) -> float:
    """Capture ratio of a hemispherical boss in a square mirror cell, 2 Σ c_l ∫₀¹ P_l(u) du, -."""
    from scipy.special import eval_legendre

    # ∫₀¹ P_l = (P_{l−1}(0) − P_{l+1}(0)) / (2l + 1)
    degrees = np.arange(1, DEGREE + 1, 2)
    shares = (eval_legendre(degrees - 1, 0) - eval_legendre(degrees + 1, 0)) / (2 * degrees + 1)
    return 2 * float(_radial(radius / width, 2) @ shares)


def boss_cell_advance(radius: Length, width: Length) -> float:
    """Electrode advance of a hemispherical boss in a square mirror cell, δ = −2π B₁₀/(E w²), m: a layer of dipoles."""
    return -2 * math.pi * width * float(_multipoles(radius / width, 2)[0])


def void_cell_advance(radius: Length, width: Length) -> float:
    """Electrode advance of a hemispherical void in a square mirror cell, δ = −2π B₁₀/(E w²), m: negative."""
    return -2 * math.pi * width * float(_multipoles(radius / width, 2, conducting=False)[0])


def cubic_spheres_conductivity(share: Fraction) -> float:
    """Effective over plain conductivity with conducting spheres of volume share f on a simple cubic lattice, -."""
    dipole = float(_multipoles((3 * share / (4 * math.pi)) ** (1 / 3), 3)[0])
    # E is the field of Lorentz, that in a small sphere cut out of the lattice; the mean differs by 4π/3 of the dipoles.
    return 1 - 4 * math.pi * dipole / (1 + 4 * math.pi / 3 * dipole)


def cubic_spheres_area_resistance(conductivity: Conductivity, width: Length, share: Fraction) -> float:
    """Area-specific resistance of half a cubic cell, between the mid-planes through and between spheres, ohm m²."""
    return width / 2 / (conductivity * cubic_spheres_conductivity(share))


def _radial(radius: float, dimensions: int) -> NDArray[np.float64]:
    """Coefficients c_l of the radial field Σ c_l P_l on a sphere, the mean over all azimuths, E = 1."""
    degrees = range(1, DEGREE + 1, 2)
    scale = [(2 * n + 1) * math.factorial(n) / radius ** (n + 2) for n in degrees]
    return -np.array(scale) * _multipoles(radius, dimensions)


@cache
def _multipoles(radius: float, dimensions: int, conducting: bool = True) -> NDArray[np.float64]:
    """B_l0 of odd l for spheres on a square or cubic lattice of period 1 in the field E = 1.

    With C_lm the coefficient of R_lm, a conductor has C = −B (l − m)! (l + m)!/a^{2l+1}, a void −(l + 1)/l times that.
    """
    pairs = [(n, m) for n in range(1, DEGREE + 1, 2) for m in range(-(n // 4) * 4, n + 1, 4)]
    sums = _lattice_sums(dimensions)
    # Unknowns and rows scaled by a^l and factorials, or the matrix would span eighty decades.
    scale = [math.sqrt(math.factorial(n - m) * math.factorial(n + m)) / radius ** (n + 0.5) for n, m in pairs]
    matrix = np.diag([1.0 if conducting else -(n + 1) / n for n, _ in pairs])
    for i, (n, m) in enumerate(pairs):
        for j, (k, q) in enumerate(pairs):
            matrix[i, j] -= sums.get((n + k, abs(q - m)), 0.0) / (scale[i] * scale[j])
    load = np.zeros(len(pairs))
    load[pairs.index((1, 0))] = -1 / scale[pairs.index((1, 0))]
    found = np.linalg.solve(matrix, load) / np.array(scale)
    return np.array([found[i] for i, (_, m) in enumerate(pairs) if m == 0])


@cache
def _lattice_sums(dimensions: int) -> dict[tuple[int, int], float]:
    """Sums of I_lm, l even, over a square (z = 0) or cubic lattice of period 1 without its origin."""
    from scipy.special import assoc_legendre_p, zeta

    reach = 150 if dimensions == 2 else 24
    axis = np.arange(-reach, reach + 1)
    grid = np.meshgrid(axis, axis, axis if dimensions == 3 else [0], indexing="ij")
    x, y, z = (part.ravel().astype(float) for part in grid)
    r = np.sqrt(x**2 + y**2 + z**2)
    keep = (r > 0) & (r < reach + 0.5)
    x, y, z, r = x[keep], y[keep], z[keep], r[keep]
    # A cubic harmonic has no mean over a sphere, so a smooth end of the sum leaves next to nothing out.
    taper = np.cos(math.pi / 2 * np.clip(2 * r / reach - 1, 0, 1)) ** 2 if dimensions == 3 else np.ones_like(r)
    # (x + iy)^m over r^m is real after summation over the lattice.
    found = {}
    for degree in range(2, 2 * DEGREE + 1, 2):
        for m in range(0, degree + 1, 4):
            legendre = np.asarray(assoc_legendre_p(degree, m, z / r))[0]
            angle = np.cos(m * np.arctan2(y, x))
            total = float(np.sum(legendre * angle * taper / r ** (degree + 1)))
            if dimensions == 2 and m == 0:  # what lies beyond, as an integral
                total += (
                    float(np.asarray(assoc_legendre_p(degree, 0, 0.0))[0])
                    * math.tau
                    / ((degree - 1) * (reach + 0.5) ** (degree - 1))
                )
            found[degree, m] = math.factorial(degree - m) * total
    if dimensions == 2:  # Σ 1/R³ = 4 ζ(3/2) β(3/2) converges too slowly
        beta = (zeta(1.5, 0.25) - zeta(1.5, 0.75)) / 8
        found[2, 0] = -4 * float(zeta(1.5)) * float(beta)
    else:
        found[2, 0] = 0.0  # by symmetry, in the order of spheres
    return found
