"""Names and formulas of the figures of merit, as the report words them."""

from __future__ import annotations

import math
import re
from typing import Any

from fem_spall.output.finished import as_float
from fem_spall.output.wording import convenient, length_text

__all__ = ["FORMULAS", "LABELS", "label", "shown_unit"]

LABELS = {
    "total_current": "Total current",
    "mean_current_density": "Mean current density j₀",
    "resistance": "Resistance",
    "area_resistance": "Area-specific resistance",
    "electrode_advance": "Electrode advance",
    "advance_volume": "Electrode advance times area",
    "crack_current": "Crack current",
    "crack_current_share": "Crack's share of the current",
    "capture_area": "Capture area",
    "capture_ratio": "Capture ratio",
    "fef_tip": "Focusing factor at the tip",
    "plating_rate": "Plating rate of the flat electrode",
    "edge_flux_intensity": "Edge flux intensity",
    "edge_field_intensity": "Edge field intensity",
    "edge_flux_intensity_mean": "Edge flux intensity, mean along the edges",
    "edge_tip_flux": "Current density at the tip radius",
    "dissipation_release_rate": "Dissipation release rate",
    "singularity_exponent": "Singularity exponent λ",
    "tail_exponent": "Exponent of the tail",
    "area_above_critical": "Area above the critical current density",
    "current_share_above_critical": "Share of the current above the critical density",
}

#: Title, pattern of the metric names it belongs to (empty: always shown), formula as HTML.
FORMULAS = (
    (
        "Model",
        "",
        "In the electrolyte ∇·(σ∇φ) = 0 and j = −σ∇φ. On a lithium surface φ is the lithium's potential, or "
        "j·n = (φ − φ<sub>Li</sub>)/R<sub>int</sub> where an interfacial resistance is given. "
        "On the side walls j·n = 0.",
    ),
    (
        "Nodal reactions",
        "",
        "R<sub>i</sub> = −∫ σ∇φ·∇v<sub>i</sub> dx with the basis function v<sub>i</sub> of node i: the current into "
        "the lithium that belongs to the node. At a crack edge sums of reactions converge twice as fast as integrals "
        "of ∇φ·n.",
    ),
    (
        "Reference",
        "",
        "j₀ = I/A and E₀ = j₀/σ, with the current I and the cross-section A of the block. Every focusing "
        "figure is over j₀.",
    ),
    (
        "Focusing factor",
        r"fef_r",
        "FEF(r) = max<sub>x</sub> [ Σ<sub>i in ball(x, r)</sub> R<sub>i</sub> / (area of lithium in the ball) ] / j₀. "
        "It is refused where r is below three local mesh sizes. At a sharp edge it grows as r<sup>−1/2</sup>: a "
        "focusing factor means nothing without its r.",
    ),
    (
        "Crack current, share, capture",
        r"crack_current|capture_",
        "I<sub>c</sub> = Σ R<sub>i</sub> over the crack; share I<sub>c</sub>/I; capture area I<sub>c</sub>/j₀; capture "
        "ratio = capture area over the crack's projected opening in the electrode.",
    ),
    (
        "Resistance and electrode advance",
        r"resistance|area_resistance|electrode_advance",
        "R = V/I; area-specific R A; electrode advance δ = H − σ A V/I = Σ z<sub>i</sub>R<sub>i</sub>/I, with z the "
        "depth below the plating electrode: what impedance sees as a shorter distance between the electrodes.",
    ),
    (
        "Quantiles of the current density",
        r"flux_q",
        "j/j₀ that the stated percentage of the lithium's area (or of its current) stays below. The area form depends "
        "on how the surface was smoothed, the current form does not.",
    ),
    (
        "Edge flux intensity",
        r"edge_flux",
        "K<sub>j</sub> = lim<sub>s→0</sub> √(2πs) j(s), s the distance from a crack edge: the electrical twin of a "
        "stress intensity factor. If the edge advances by q the power at fixed potentials grows by ∫ g q ds with "
        "g = K<sub>j</sub>²/σ; that change is ∫ [(∇φ·σ∇φ) ∇·q − 2 (σ∇φ·∇q) ∇φ] dx for any field q that is the advance "
        "on the edge and zero outside a tube round it. At a tip of radius ρ the current density is "
        "K<sub>j</sub>/√(πρ).",
    ),
    (
        "Errors",
        "",
        "Let s be a flux with ∇·s = 0 and s·n = 0 on insulating walls, and τ = s + σ∇φ<sub>h</sub>. The error of the "
        "power is at most ∫ τ·σ<sup>−1</sup>τ dx, which bounds total current, resistance and electrode advance from "
        "the other side. Every current or mean J has a dual potential z, with the weights of J in place of the "
        "lithium's potentials; its error is estimated by ∫ τ(φ)·σ<sup>−1</sup>τ(z) dx, cell by cell, which also says "
        "where to refine.",
    ),
    (
        "Exponents",
        r"_exponent",
        "λ = 1 + d log FEF(r)/d log r, by least squares over the averaging lengths: FEF(r) ~ r<sup>λ − 1</sup>, and "
        "next to an edge the area with j &gt; x falls as x<sup>−1/(1 − λ)</sup>.",
    ),
    (
        "Why the largest field is no result",
        "",
        "At an edge of opening angle ω in the electrolyte |E| goes as s<sup>π/ω − 1</sup>: s<sup>−1/2</sup> at a crack "
        "edge. The largest value in a mesh of size h then grows as h<sup>−1/2</sup>, for ever.",
    ),
)


def shown_unit(name: str, entry: dict[str, Any]) -> tuple[str, float]:
    """Return the unit to show a metric in and the factor from its SI value; shares are shown in per cent."""
    return ("%", 100.0) if "share" in name else convenient(str(entry.get("unit", "1")))


def label(name: str, entry: dict[str, Any]) -> str:
    """Return the name of a metric in words."""
    if name.startswith("fef_r"):
        length = as_float(entry.get("averaging_length_m"))
        shown = length_text(length * 1e6) if math.isfinite(length) else name.removeprefix("fef_r")
        return f"Focusing factor over {shown}"
    if found := re.fullmatch(r"flux_q(\d+)(_current_weighted)?", name):
        return f"j/j₀, {found[1]} % quantile by {'current' if found[2] else 'area'}"
    return LABELS.get(name, name.replace("_", " ").capitalize())
