"""What the figures of a run mean: lithium plated, time to fill, dissipation by part, pressure, and what rules.

Everything follows from the record of the run; each entry has its formula.
"""

from __future__ import annotations

import math
from typing import Any

from fem_spall.boundary import FARADAY, MOLAR_VOLUME, ButlerVolmer, LinearKinetics, Resistance
from fem_spall.case import Case
from fem_spall.crack import CrackKind
from fem_spall.microstructure import BOUNDARIES

__all__ = ["consequences_of", "crack_size", "wagner_length"]

#: Radius of the lithium filament that the advance is compared with: half of 500 nm, as wires seen at short circuits.
FILAMENT = 250e-9
#: Fracture toughness of dense and of porous garnet, Pa m^(1/2) (Hu et al., Chin. Phys. Lett. 2021).
TOUGHNESS = (0.44e6, 1.51e6)
#: Kinds that are a part of the plating face.
FLAT = ("patch", "patches")
#: Wagner lengths below this share of a crack's size leave the field to geometry; above the inverse, contact rules.
RULES = 0.1


def consequences_of(case: Case, record: dict[str, Any]) -> list[dict[str, Any]]:
    """Entries with ``name``, ``value`` (SI), ``unit``, ``formula`` and ``text``, in the order of a report.

    Those that answer what the case was made for have ``leads``: a report begins with them.
    """
    filled, rules = _filled(case, record), [*_rules(case, record), *_rim(case, record)]
    return [
        *_over_time(record),
        *_curve(record),
        *rules,
        *filled,
        *_resistance(case, record),
        *_parts(record),
        *_pressure(case, record),
    ]


def _entry(name: str, value: float, unit: str, formula: str, text: str, *, leads: bool = False) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": name, "value": value, "unit": unit, "formula": formula, "text": text}
    return entry | {"leads": True} if leads else entry


def _filled(case: Case, record: dict[str, Any]) -> list[dict[str, Any]]:
    """How fast cracks and leaking pores fill."""
    found = []
    for crack in case.cracks:
        entry = record["cracks"].get(crack.name)
        if entry is None:
            continue
        current, volume = entry.get("current", 0.0), entry.get("volume") or 0.0
        told = (record.get("filling") or {}).get("crack") == crack.name  # with the current that it has on the way
        if crack.contact == "plating" and crack.contents == "lithium" and volume > 0 and current > 0 and not told:
            seconds = volume * FARADAY / (MOLAR_VOLUME * current)
            found.append(_entry(
                f"time_to_fill_{crack.name}", seconds, "s", "t = 𝒱 F/(V_m I_c)",
                f"{crack.name} takes up its own volume of lithium, {volume * 1e18:.3g} µm³, in {_time(seconds)}.",
            ))  # fmt: skip
        if crack.contact == "isolated":
            found.append(_floating(crack.name, entry))
        growth = entry.get("growth")
        if growth is not None:
            found += _leaking(crack.name, growth, record)
    return found


def _over_time(record: dict[str, Any]) -> list[dict[str, Any]]:
    """How the crack of the stage ``filling`` fills."""
    filling = record.get("filling")
    if not filling:
        return []
    name, first, last = filling["crack"], filling["rows"][0], filling["rows"][-1]
    seconds, error = filling["time_to_fill_s"], filling["time_to_fill_error_s"]
    text = (
        f"At the imposed {filling['imposed']} {name}, {first['filled_share']:.1%} full at the start, fills from its "
        f"{filling['starts_at']} in {_time(seconds)} (± {error / seconds:.1%}). Meanwhile its share of the cell's "
        f"current goes from {first['crack_current_share']:.1%} to {last['crack_current_share']:.1%}"
    )
    drops = [row["area_resistance_ohm_m2"] for row in (first, last)]
    text += f" and V A/I from {drops[0] * 1e4:.5g} to {drops[1] * 1e4:.5g} Ω cm²." if None not in drops else "."
    if filling["contact"] == "leaking":
        text += " It grows by the electrons that leak to it."
    elif filling["starts_at"] == "tip":
        text += (
            " The lithium at the tip is taken to hang on the plating electrode by something too thin to count; "
            "without that it would not grow at all."
        )
    else:
        text += " An empty crack draws nothing at its mouth: the less is there at the start, the longer it takes."
    return [_entry(f"filling_time_{name}", seconds, "s", "t = F/V_m ∫ d𝒱/I_c(𝒱)", text, leads=True)]


def _curve(record: dict[str, Any]) -> list[dict[str, Any]]:
    """What changes along the polarisation curve."""
    given = [row for row in record.get("polarisation") or [] if row["area_resistance_ohm_m2"] is not None]
    rows = sorted(given, key=lambda row: abs(row["current_density_A_m2"]))
    if len(rows) < 2:
        return []
    low, high = rows[0], rows[-1]
    text = f"From {low['current_density_A_m2'] / 10:.3g} to {high['current_density_A_m2'] / 10:.3g} mA/cm²"
    if low["crack_current_share"] is not None:
        text += (
            f" the crack's share of the current goes from {low['crack_current_share']:.1%} to "
            f"{high['crack_current_share']:.1%} and"
        )
    resistances = [1e4 * row["area_resistance_ohm_m2"] for row in (low, high)]
    text += f" V A/I from {resistances[0]:.4g} to {resistances[1]:.4g} Ω cm²."
    return [_entry("polarisation", resistances[1] / resistances[0], "1", "(V/I)_high/(V/I)_low", text, leads=True)]


def _floating(name: str, entry: dict[str, Any]) -> dict[str, Any]:
    low, high = (1e3 * entry.get(f"{which}_potential", entry["potential"]) for which in ("lowest", "highest"))
    if "bodies" in entry:
        text = (
            f"The {entry['bodies']} isolated bodies of {name} take potentials from {low:.3g} to {high:.3g} mV, each so"
        )
    else:
        text = f"The isolated lithium of {name} takes a potential of {high:.3g} mV, so"
    return _entry(
        f"potential_{name}", entry["potential"], "V", "V_k such that ∮ j_n ds = 0 on every body k",
        f"{text} that its net current is zero: what enters on one side leaves on the other, and nothing is plated on "
        "the whole.",
    )  # fmt: skip


def _leaking(name: str, growth: dict[str, Any], record: dict[str, Any]) -> list[dict[str, Any]]:
    current, error = growth["growth_current"], growth.get("growth_current_error")
    bar = "" if error is None else f" ± {error * 1e12:.2g}"
    share = current / record["currents"]["plating"]
    found = [_entry(
        f"growth_current_{name}", current, "A", "I_k + I_e,k = 0 on every pore k",
        f"Electrons leak into {name} and plate {current * 1e12:.4g}{bar} pA of lithium there, {share:.2g} of the "
        "cell's current" + (f", in {growth['growing']} of {growth['bodies']} pores." if growth["bodies"] > 1 else "."),
        leads=True,
    )]  # fmt: skip
    if "time_to_fill_fastest" in growth:
        fastest, slowest = growth["time_to_fill_fastest"], growth["time_to_fill_slowest"]
        span = _time(fastest) if growth["growing"] == 1 else f"{_time(fastest)} (fastest) to {_time(slowest)} (slowest)"
        found.append(_entry(
            f"time_to_fill_{name}", fastest, "s", "t = 𝒱_k F/(V_m I_k)",
            f"{'Empty at first, it' if growth['bodies'] == 1 else 'Empty at first, the pores'} would fill in {span}.",
            leads=True,
        ))  # fmt: skip
    if "conductivity_needed_fastest" in growth:
        needed = growth["conductivity_needed_fastest"]
        times = needed / growth["electronic_conductivity"]
        found.append(_entry(
            f"conductivity_needed_{name}", needed, "S/m", "σ_e,needed = σ_e t/t_asked",
            f"To fill {name if growth['bodies'] == 1 else f'the fastest pore of {name}'} in "
            f"{_time(growth['asked_time'])} the electronic conductivity must be {needed / 100:.2g} S/cm, {times:.3g} "
            "times what is given.", leads=True,
        ))  # fmt: skip
    return found


def _resistance(case: Case, record: dict[str, Any]) -> list[dict[str, Any]]:
    """What impedance sees, as the length of a filament, and where the power goes."""
    found = []
    advance = record["metrics"].get("electrode_advance", {}).get("value")
    area = record["electrodes"]["area_m2"]
    clean = not record.get("interfaces")
    if advance is not None and advance > 0 and clean:
        length = _filament(advance * area)
        found.append(_entry(
            "equivalent_filament", length, "m", "δ A = (2π/3) L³/(ln(2L/ρ) − 1), a slender half-spheroid",
            f"A single straight lithium filament of 500 nm diameter would have to be {length * 1e6:.3g} µm long to "
            "lower the resistance as much.",
        ))  # fmt: skip
    power = record.get("dissipation")
    if power and power["interfaces"]:
        total = power["bulk"] + sum(power["interfaces"].values())
        parts = {"the electrolyte": power["bulk"]} | {f"interface {k}": v for k, v in power["interfaces"].items()}
        told = ", ".join(f"{value / total:.1%} in {name}" for name, value in parts.items())
        found.append(_entry(
            "dissipation", total, "W", "V I = ∫ j·σ⁻¹j dx + Σ ∮ (φ − φ_Li) j_n ds",
            f"Of the power {total * 1e9:.3g} nW, {told}.",
        ))  # fmt: skip
    return found


def _parts(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Where in an electrolyte of several conductivities the power goes."""
    parts = record.get("electrolyte_parts")
    if not parts:
        return []
    power, volume = (sum(part[key] for part in parts.values()) for key in ("power", "volume"))
    boundary = parts.get(BOUNDARIES)
    grains = {name: part for name, part in parts.items() if name.startswith("grain_")}
    if grains:
        shares = sorted(part["power"] / power / (part["volume"] / volume) for part in grains.values())
        text = (
            f"The power density in the {len(grains)} grains ranges from {shares[0]:.2g} to {shares[-1]:.2g} times the "
            "mean."
        )
        value, name = 1.0, "grains"
        if boundary is not None:
            value = boundary["power"] / power
            text = (
                f"Grain boundaries take {value:.1%} of the power lost in the electrolyte, in "
                f"{boundary['volume'] / volume:.1%} of its volume as meshed. {text}"
            )
    else:
        told = ", ".join(f"{part['power'] / power:.1%} in {name} ({part['volume'] / volume:.1%} of the volume)"
                         for name, part in sorted(parts.items(), key=lambda item: -item[1]["power"])[:6])  # fmt: skip
        value, name, text = 1.0, "parts", f"Of the power lost in the electrolyte, {told}."
    found = [_entry(f"dissipation_in_{name}", value, "1", "P_k = ∫_k j·σ⁻¹j dx over each part k", text)]
    effective = record["metrics"].get("effective_conductivity", {})
    if effective.get("value") is not None and not record.get("interfaces"):
        size, bar = effective["value"] * 10, (effective.get("error") or 0.0) * 10
        found.append(_entry(
            "effective_conductivity", effective["value"], "S/m", "σ_eff = H I/(A V)",
            f"As a whole it passes as much as a uniform electrolyte of {size:.3g} ± {bar:.2g} mS/cm would, cracks "
            "included.",
        ))  # fmt: skip
    return found


def _filament(volume: float) -> float:
    """Length, m, of a slender half-spheroid of lithium whose advance times area is the volume, m^3."""
    low, high = 2 * FILAMENT, 1.0
    for _ in range(200):
        middle = math.sqrt(low * high)
        if 2 * math.pi / 3 * middle**3 / (math.log(2 * middle / FILAMENT) - 1) < volume:
            low = middle
        else:
            high = middle
    return low


def wagner_length(case: Case, record: dict[str, Any], name: str) -> float | None:
    """Wagner length σ dη/dj, m, of a surface at its mean current density; None without interfacial resistance."""
    law = _laws(case).get(name)
    sigma = float(case.electrolyte.conductivity.tensor()[2, 2])
    if isinstance(law, Resistance) and law.value > 0:
        return sigma * law.value
    if isinstance(law, ButlerVolmer):
        entry = record.get("interfaces", {}).get(name, {})
        eta = law.overpotential(entry["mean_density"]) if entry.get("mean_density") is not None else 0.0
        plating, stripping = law.slopes
        steep = plating * math.exp(plating * eta) + stripping * math.exp(-stripping * eta)
        return sigma / (law.exchange_current_density * steep)
    if isinstance(law, LinearKinetics):
        return sigma * law.area_resistance
    return None


def _laws(case: Case) -> dict[str, Any]:
    electrodes = case.electrodes
    laws: dict[str, Any] = {electrodes.plating.face: electrodes.plating.interface}
    return laws | {crack.name: crack.interface for crack in case.cracks if crack.contents == "lithium"}


def _rules(case: Case, record: dict[str, Any]) -> list[dict[str, Any]]:
    """Whether geometry or contact decides where the current goes."""
    found = []
    lengths = {name: wagner_length(case, record, name) for name in _laws(case)}
    for crack in case.cracks:
        if crack.contents != "lithium" or crack.contact != "plating" or not record["cracks"].get(crack.name):
            continue
        size = crack_size(crack, record)
        own, face = lengths.get(crack.name) or 0.0, lengths.get(case.electrodes.plating.face) or 0.0
        blocked = case.electrodes.plating.interface.kind == "no_flux"
        if not own and not face and not blocked:
            continue
        ratio = own / size
        told = f"The Wagner length at {crack.name} is {_um(own)}, {ratio:.3g} times its size ({_um(size)})"
        if face > max(own, size) / RULES and not blocked and ratio > RULES:
            text = (
                f"{told}; the plane round it is far more resistive: contact rules, the clean place draws the current."
            )
        elif ratio > 1 / RULES:
            text = f"{told}: contact rules, and the shape of the crack hardly focuses the current."
        elif ratio > RULES:
            text = f"{told}: contact and geometry both count."
        elif blocked:
            text = f"{told}: geometry rules. The face round it carries nothing, so that the current crowds at its rim."
        elif face > size / RULES:
            text = f"{told}, but the plane round it is far more resistive: the current goes to where contact is clean."
        else:
            text = f"{told}: geometry rules."
        found.append(_entry(f"wagner_number_{crack.name}", ratio, "1", "Wa = σ (dη/dj)/a", text, leads=True))
    return found


def crack_size(crack: CrackKind, record: dict[str, Any]) -> float:
    """Size of a crack that lengths are compared with, m: the root of half its area, of all of it where it is flat."""
    return math.sqrt(record["cracks"][crack.name]["area"] / (1 if crack.kind in FLAT else 2))


def _rim(case: Case, record: dict[str, Any]) -> list[dict[str, Any]]:
    """What a part of the face takes, and where it takes all, how much more its hottest place does than its mean."""
    means = [
        (metric["averaging_length_m"], metric["value"])
        for name, metric in record["metrics"].items()
        if name.startswith("fef_r") and metric.get("value") is not None
    ]
    flat = [crack for crack in case.cracks if crack.kind in FLAT and crack.contents == "lithium"]
    if len(flat) != 1 or len(case.cracks) != 1:
        return []
    entry = record["cracks"][flat[0].name]
    share = entry["area"] / record["electrodes"]["area_m2"]
    if case.electrodes.plating.interface.kind != "no_flux":
        return [_entry(
            f"coverage_{flat[0].name}", share, "1", "A_c/A",
            f"{flat[0].name} covers {share:.2%} of the face and takes {entry['share']:.1%} of the current; the rest of "
            f"the face sees {(1 - entry['share']) / (1 - share):.3g} times the mean.", leads=True,
        )]  # fmt: skip
    if not means:
        return []
    length, factor = min(means)
    own = entry["current"] / entry["area"]
    return [_entry(
        f"rim_{flat[0].name}", factor * share, "1", "j_r/(I_c/A_c)",
        f"{flat[0].name} covers {share:.1%} of the face, so that its own mean is {own / 10:.3g} mA/cm². Its hottest "
        f"place, averaged over {_um(length)}, takes {factor * share:.3g} times that.", leads=True,
    )]  # fmt: skip


def _pressure(case: Case, record: dict[str, Any]) -> list[dict[str, Any]]:
    """What pressure the overpotential could build up, and what opens a crack of that size."""
    found = []
    for crack in case.cracks:
        entry = record["cracks"].get(crack.name)
        if crack.contents != "lithium" or entry is None or "bodies" in entry or crack.kind in FLAT:
            continue
        if crack.contact == "isolated":  # on the whole nothing is plated there
            continue
        drop = record.get("interfaces", {}).get(crack.name, {}).get("largest_drop")
        source = "the drop across its interface"
        if "growth" in entry:
            drop = entry["growth"]["drive_largest"]
            source = f"ions and electrons are {1e3 * drop:.3g} mV apart there while nothing grows"
        if drop is None:
            volts = record["electrodes"]["counter_V"]
            if volts is None:
                continue
            drop = abs(volts - record["electrodes"]["plating_V"])
            source = "all of the cell's voltage, as its interface has no resistance: an upper bound"
        pressure = FARADAY * drop / MOLAR_VOLUME
        radius = math.sqrt(entry["area"] / (2 * math.pi))
        critical = [k * math.sqrt(math.pi / radius) / 2 for k in TOUGHNESS]
        verdict = "could open" if pressure > critical[0] else "could not open"
        found.append(_entry(
            f"pressure_bound_{crack.name}", pressure, "Pa", "p_max = F η/V_m;  p_c = K_IC √(π/a)/2",
            f"Plating in {crack.name} could press with at most {_mpa(pressure)} ({source}). A penny-shaped crack of "
            f"the same area (radius {_um(radius)}) opens at {_mpa(*critical)}, for a toughness of 0.44 to 1.51 MPa √m: "
            f"it {verdict} it.",
        ))  # fmt: skip
    return found


def _mpa(*pressures: float) -> str:
    unit, word = (1e6, "MPa") if max(pressures) < 999.5e6 else (1e9, "GPa")
    return " to ".join(f"{pressure / unit:.3g}" for pressure in pressures) + f" {word}"


def _um(length: float) -> str:
    return f"{length * 1e6:.3g} µm" if length < 1e-3 else f"{length * 1e3:.3g} mm"


def _time(seconds: float) -> str:
    for limit, unit, word in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h"), (math.inf, 86400, "days")):
        if seconds < limit:
            return f"{seconds / unit:.3g} {word}"
    return "for ever"
