"""Closed forms of the conduction problem: pure NumPy, SI units, one source each.

``POTENTIALS`` holds the potentials that may serve as exact boundary data: each
takes ``points`` ((n, 3) float, m) and parameters annotated with their unit, and
returns φ ((n,) float, V).  In all of them the lithium that is plated is at 0 V and
φ > 0 in the electrolyte; depth is measured towards −z from the plane z = centre z.

``FIGURES`` holds the exact values of single figures (currents, resistances, focusing
factors), parameters annotated with their unit in the same way.
"""

from __future__ import annotations

from collections.abc import Callable

from fem_spall.analytic.bosses import (
    boss_on_plane,
    elliptical_ridge_current,
    elliptical_ridge_focusing,
    elliptical_ridge_on_plane,
    ridge_ball_mean,
    ridge_on_plane,
    ridge_quantile,
    robin_boss_current,
    robin_boss_focusing,
    robin_boss_on_plane,
    robin_ridge_current,
    robin_ridge_focusing,
    robin_ridge_on_plane,
    spheroid_advance_volume,
    spheroid_cap_mean,
    spheroid_current,
    spheroid_focusing,
    spheroid_on_plane,
    spheroid_quantile,
    void_cylinder_on_plane,
    void_on_plane,
)
from fem_spall.analytic.composites import (
    conducting_inclusion,
    grain_boundary_conductivity,
    inclusion_power,
    parallel_conductivity,
    series_conductivity,
)
from fem_spall.analytic.corners import bent_channel_resistance, wedge_exponent
from fem_spall.analytic.cracks import (
    blade_advance_in_mirror_cell,
    blade_cell_advance,
    blade_cell_current,
    blade_cell_intensity,
    blade_cell_share,
    blade_cell_voltage,
    blade_intensity,
    blade_intensity_in_mirror_cell,
    blade_intensity_near_counter,
    blade_near_counter_current,
    half_penny_advance_volume,
    half_penny_current,
    half_penny_intensity,
    half_penny_on_plane,
)
from fem_spall.analytic.discs import (
    disc_contact,
    disc_contact_current,
    disc_contact_inner_mean,
    disc_contact_intensity,
    disc_contact_quantile,
    disc_contact_resistance,
    insulating_penny,
    insulating_penny_advance,
    insulating_penny_intensity,
    insulating_penny_volume,
    resistive_disc,
    resistive_disc_current,
    resistive_disc_quantile,
)
from fem_spall.analytic.ellipsoids import (
    ellipsoid_advance_volume,
    ellipsoid_cap_mean,
    ellipsoid_current,
    ellipsoid_focusing,
    ellipsoid_on_plane,
)
from fem_spall.analytic.kinetics import (
    butler_volmer_column_density,
    butler_volmer_column_voltage,
    butler_volmer_sphere,
    butler_volmer_sphere_current,
)
from fem_spall.analytic.lattices import (
    boss_cell_advance,
    boss_cell_capture,
    boss_cell_focusing,
    cubic_spheres_area_resistance,
    cubic_spheres_conductivity,
    void_cell_advance,
)
from fem_spall.analytic.shells import (
    coaxial_cylinders,
    coaxial_cylinders_conductance,
    coaxial_cylinders_inner_field,
    concentric_spheres,
    concentric_spheres_conductance,
    concentric_spheres_inner_field,
    confocal_spheroids,
    confocal_spheroids_conductance,
    confocal_spheroids_tip_field,
    layered_area_resistance,
    resistive_sphere,
    slab_resistance,
)
from fem_spall.analytic.signature import Values
from fem_spall.analytic.spheres import (
    floating_sphere,
    sphere_above_plane,
    sphere_above_plane_conductance,
    sphere_above_plane_largest_field,
)
from fem_spall.analytic.voids import void_cylinder_rim_mean, void_rim_mean

__all__ = ["FIGURES", "POTENTIALS"]

POTENTIALS: dict[str, Callable[..., Values]] = {
    form.__name__: form
    for form in (
        boss_on_plane,
        butler_volmer_sphere,
        coaxial_cylinders,
        concentric_spheres,
        conducting_inclusion,
        confocal_spheroids,
        disc_contact,
        ellipsoid_on_plane,
        elliptical_ridge_on_plane,
        half_penny_on_plane,
        insulating_penny,
        resistive_disc,
        resistive_sphere,
        ridge_on_plane,
        robin_boss_on_plane,
        robin_ridge_on_plane,
        floating_sphere,
        sphere_above_plane,
        spheroid_on_plane,
        void_cylinder_on_plane,
        void_on_plane,
    )
}

FIGURES: dict[str, Callable[..., float]] = {
    form.__name__: form
    for form in (
        bent_channel_resistance,
        blade_advance_in_mirror_cell,
        blade_cell_advance,
        blade_cell_current,
        blade_cell_intensity,
        blade_cell_share,
        blade_cell_voltage,
        blade_intensity,
        blade_intensity_in_mirror_cell,
        blade_intensity_near_counter,
        boss_cell_advance,
        boss_cell_capture,
        boss_cell_focusing,
        butler_volmer_column_density,
        butler_volmer_column_voltage,
        butler_volmer_sphere_current,
        coaxial_cylinders_conductance,
        coaxial_cylinders_inner_field,
        concentric_spheres_conductance,
        concentric_spheres_inner_field,
        confocal_spheroids_conductance,
        confocal_spheroids_tip_field,
        cubic_spheres_area_resistance,
        cubic_spheres_conductivity,
        disc_contact_current,
        disc_contact_inner_mean,
        disc_contact_intensity,
        disc_contact_quantile,
        disc_contact_resistance,
        ellipsoid_advance_volume,
        ellipsoid_cap_mean,
        ellipsoid_current,
        ellipsoid_focusing,
        elliptical_ridge_current,
        elliptical_ridge_focusing,
        blade_near_counter_current,
        grain_boundary_conductivity,
        half_penny_advance_volume,
        half_penny_current,
        half_penny_intensity,
        inclusion_power,
        insulating_penny_advance,
        insulating_penny_intensity,
        insulating_penny_volume,
        layered_area_resistance,
        parallel_conductivity,
        resistive_disc_current,
        resistive_disc_quantile,
        ridge_ball_mean,
        ridge_quantile,
        robin_boss_current,
        robin_boss_focusing,
        robin_ridge_current,
        robin_ridge_focusing,
        series_conductivity,
        slab_resistance,
        sphere_above_plane_conductance,
        sphere_above_plane_largest_field,
        spheroid_advance_volume,
        spheroid_cap_mean,
        spheroid_current,
        spheroid_focusing,
        spheroid_quantile,
        void_cylinder_rim_mean,
        void_cell_advance,
        void_rim_mean,
        wedge_exponent,
    )
}
