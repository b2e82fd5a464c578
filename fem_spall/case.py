"""The case: everything one run needs, decoded from YAML, in SI units."""

from __future__ import annotations

import difflib
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    ValidationInfo,
    WrapValidator,
    field_validator,
    model_validator,
)

from fem_spall.boundary import FixedPotential, InterfaceLaw, WallLaw
from fem_spall.crack import Block, Crack, CrackKind, spread
from fem_spall.electrolyte import Electrolyte
from fem_spall.errors import CaseError
from fem_spall.model import Model
from fem_spall.quantity import Current, CurrentDensity, Length, Memory, PositiveLength, Potential, Share, Time
from fem_spall.region import Region, RegionKind

__all__ = [
    "Accuracy", "Case", "Counter", "Drive", "Electrodes", "Filling", "Mesh", "Metrics", "Output", "Plating", "Solver",
]  # fmt: skip

type Face = Literal["-x", "+x", "-y", "+y", "-z", "+z"]


#: Figures that ``accuracy`` can ask for beside the ball means.
TARGETS = (
    "cell_voltage", "total_current", "resistance", "area_resistance", "electrode_advance", "advance_volume",
    "crack_current", "crack_current_share", "capture_area", "capture_ratio", "fef_tip", "edge_flux_intensity",
    "flux_q50", "flux_q90", "flux_q95", "flux_q99", "effective_conductivity",
)  # fmt: skip


#: The same of a region, after its name.
REGION_TARGETS = ("current", "current_share", "mean_density")
#: Kinds of crack without a volume that lithium could fill.
FLAT = ("sheet", "interface_file", "patch", "patches", "round_wall")
#: Part of the block's longest side below which a crack lies in a face of the block: 5 nm of 50 um.
SNAP = 1e-4


def length_name(length: float) -> str:
    """A length as it stands in a metric's name: 250nm, 1um, 2.5um."""
    nanometres = round(length * 1e9, 6)
    return f"{nanometres / 1000:g}um" if nanometres >= 1000 else f"{nanometres:g}nm"


def _whole(value: object) -> object:
    """3e6 is a whole number to whoever writes it."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class Plating(Model):
    """The lithium electrode the cracks belong to."""

    face: Literal["+z", "-z"] = "+z"
    potential: Potential = "0 V"  # type: ignore[assignment]
    interface: InterfaceLaw = FixedPotential()


class Drive(Model):
    """Galvanostatic drive towards the plating face: the mean density at the block's cross-section, or the current.

    ``currents`` are further mean densities: the polarisation curve is solved at each of them on the same mesh.
    """

    current_density: CurrentDensity | None = None
    current: Current | None = None
    currents: tuple[CurrentDensity, ...] = ()

    @model_validator(mode="after")
    def _one(self) -> Drive:
        if (self.current_density is None) == (self.current is None):
            raise ValueError("give either current_density or current. Write for instance '0.5 mA/cm^2'")
        if 0 in (self.current_density, self.current, *self.currents):
            raise ValueError("a current of zero has no figures. Write for instance '0.5 mA/cm^2'")
        return self

    def through(self, area: float) -> float:
        """Current through a block of the given cross-section, m^2, A."""
        if self.current is not None:
            return self.current
        assert self.current_density is not None
        return self.current_density * area


class Counter(Model):
    """The lithium electrode opposite to the cracks; give its potential or a drive."""

    face: Literal["+z", "-z"] = "-z"
    potential: Potential | None = None
    drive: Drive | None = None
    interface: InterfaceLaw = FixedPotential()

    @model_validator(mode="after")
    def _one_drive(self) -> Counter:
        if (self.potential is None) == (self.drive is None) and self.interface.kind != "exact_potential":
            raise ValueError("give either potential or drive, not both. Write for instance 'potential: 50 mV'")
        return self


class Electrodes(Model):
    """The two lithium electrodes."""

    plating: Plating = Plating()
    counter: Counter

    @model_validator(mode="after")
    def _opposite(self) -> Electrodes:
        if self.plating.face == self.counter.face:
            raise ValueError("plating and counter must be opposite faces. Make one '+z' and the other '-z'")
        return self


#: A ``size_min`` that is not known yet: the image stacks of a case say it, once they are read.
AUTO = 0.0

type SmallestSize = Annotated[
    PositiveLength,
    WrapValidator(lambda value, read: AUTO if value in ("auto", AUTO) else read(value)),
    PlainSerializer(lambda value: "auto" if value == AUTO else f"{value!r} m"),
]


class Mesh(Model):
    """How finely and by which mesher the electrolyte is divided."""

    size_min: SmallestSize = AUTO  # auto, the default: that of the image stacks
    size_max: PositiveLength
    grading: Annotated[float, Field(gt=1, le=3)] = 1.3
    surface_tolerance: PositiveLength | None = None  # default: 0.3 size_min
    remesher: Literal["auto", "gmsh", "mmg", "none"] = "auto"
    algorithm: Literal["delaunay", "hxt"] = "delaunay"
    mesher: Literal["auto", "gmsh", "tetwild"] = "auto"  # auto: gmsh, then fTetWild where it is installed
    order: Annotated[int, Field(ge=1, le=2)] | None = None  # default: 2 for analytic shapes, else 1
    refine_tips: bool = True  # bisect cells at the hottest places until the averaging lengths are resolved
    max_cells: Annotated[int, Field(ge=1000)] = 3_000_000  # where refine_tips stops
    quality_floor: Annotated[float, Field(gt=0, lt=1)] = 0.01
    time_limit: Time = "10 min"  # type: ignore[assignment]
    memory_limit: Memory = "8 GB"  # type: ignore[assignment]

    @model_validator(mode="after")
    def _ordered(self) -> Mesh:
        if self.size_min > self.size_max:
            raise ValueError("size_min must not exceed size_max. Swap the two or enlarge size_max")
        return self

    @property
    def tolerance(self) -> float:
        """Distance, m, that no place of the meshed surface may exceed from the given one, nor back."""
        return self.surface_tolerance if self.surface_tolerance is not None else 0.3 * self.size_min

    def snap(self, block: tuple[float, float, float]) -> float:
        """Distance, m, below which a crack's triangles count as lying in a face of the block."""
        return min(SNAP * max(block), self.size_min / 4)


class Solver(Model):
    """Degree of the elements, relative residual asked for, and whether errors are estimated."""

    degree: Annotated[int, Field(ge=1, le=2)] = 2
    tolerance: Annotated[float, Field(ge=1e-14, le=1e-4)] = 1e-10
    errors: bool = True  # false: no error bars, for half the time and memory


class Accuracy(Model):
    """Adaptive refinement until the named figures meet a relative error, or the cells are spent."""

    target: Share
    metrics: tuple[str, ...] = ("crack_current",)
    max_cells: Annotated[int, Field(ge=1000), BeforeValidator(_whole)] | None = None  # default: mesh.max_cells
    max_levels: Annotated[int, Field(ge=1, le=20)] = 8
    estimator: Literal["goal", "energy"] = "goal"  # what marks the cells; errors are estimated alike for both
    required: bool = False  # exit code 6 where the target is not met


class Metrics(Model):
    """What is reported beyond the currents."""

    averaging_lengths: tuple[PositiveLength, ...] = ("100 nm", "250 nm", "500 nm")  # type: ignore[assignment]
    critical_current_density: CurrentDensity = "1 mA/cm^2"  # type: ignore[assignment]
    reference_current_density: CurrentDensity | None = None  # default: total current / cross-section
    edges: tuple[Annotated[tuple[tuple[Length, Length, Length], ...], Field(min_length=2)], ...] = ()  # default: found
    tip_radius: PositiveLength | None = None  # of the real crack's edge; for the current density there
    fill_time: Time | None = None  # in which leaking pores shall fill; for the electronic conductivity that takes


class Filling(Model):
    """A crack that is empty at first fills with lithium from its mouth or its tip, in steps of equal volume."""

    crack: str | None = None  # default: the only crack
    starts_at: Literal["mouth", "tip"] = "mouth"
    start: Annotated[Share, Field(gt=0, lt=1)] = "10 %"  # type: ignore[assignment]  # of the volume, there at the start
    steps: Annotated[int, Field(ge=2, le=400, multiple_of=2)] = 16  # even, so that every second one says the error

    def of(self, case: Case) -> Crack:
        """The crack that fills.

        Raises
        ------
        ValueError
            If the case has none of that name, or it is not one that can fill.
        """
        solid = [crack for crack in case.cracks if crack.kind not in FLAT and getattr(crack, "opening", None) != 0]
        found = [crack for crack in solid if self.crack in (None, crack.name)]
        if len(found) != 1:
            asked = "one crack" if self.crack is None else repr(self.crack)
            named = ", ".join(crack.name for crack in solid) or "none"
            raise ValueError(f"filling.crack must name a crack that has a volume; got {asked}. There is: {named}")
        return found[0]


class Output(Model):
    """Which files a run writes beside its record."""

    fields: bool = True
    report: bool = True
    pictures: bool = True


def _not_none(value: object) -> object:
    return {} if value is None else value


class Case(Model):
    """One case: block, electrodes, cracks, mesh, solver, metrics, output."""

    version: Literal[1]
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,79}$")
    electrolyte: Electrolyte
    electrodes: Electrodes
    walls: dict[Literal["-x", "+x", "-y", "+y"], WallLaw] = Field(default_factory=dict)
    cracks: Annotated[tuple[CrackKind, ...], AfterValidator(spread)] = ()
    regions: tuple[RegionKind, ...] = ()
    mesh: Mesh
    solver: Annotated[Solver, BeforeValidator(_not_none)] = Solver()
    accuracy: Annotated[
        Accuracy | None,
        BeforeValidator(
            lambda value: None if value == "none" else value, json_schema_input_type=Accuracy | Literal["none"] | None
        ),
    ] = None
    metrics: Annotated[Metrics, BeforeValidator(_not_none)] = Metrics()
    filling: Filling | None = None
    output: Annotated[Output, BeforeValidator(_not_none)] = Output()

    @model_validator(mode="after")
    def _names_differ(self) -> Case:
        names = [crack.name for crack in self.cracks]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two cracks are named {name!r}. Give each its own name")
            if name in ("plating", "counter"):
                raise ValueError(f"a crack must not be named {name!r}: that is an electrode. Choose another name")
        return self

    @field_validator("mesh")
    @classmethod
    def _size_is_known(cls, mesh: Mesh, given: ValidationInfo) -> Mesh:
        cracks = given.data.get("cracks")
        if mesh.size_min == AUTO and cracks is not None and all(crack.kind != "image_stack" for crack in cracks):
            raise ValueError("size_min is missing, which only image stacks can do without. Add 'size_min: 300 nm'")
        return mesh

    @model_validator(mode="after")
    def _regions_fit(self) -> Case:
        cracks = {crack.name: crack for crack in self.cracks}
        taken = {"plating", "counter", *cracks}
        for region in self.regions:
            if region.name in taken:
                raise ValueError(f"two surfaces are named {region.name!r}. Give the region another name")
            taken.add(region.name)
            stack = any(c.kind == "image_stack" and region.on.startswith(f"{c.name}_") for c in self.cracks)
            if region.on not in ("plating", "counter", *cracks) and not stack:
                known = ", ".join(("plating", "counter", *cracks))
                raise ValueError(f"region {region.name!r} is on {region.on!r}, which is none of {known}. Correct 'on'")
            crack = cracks.get(region.on)
            if crack is not None and (crack.contents == "void" or crack.contact != "plating" or crack.kind == "sheet"):
                raise ValueError(
                    f"region {region.name!r} is on {region.on!r}, which must be lithium in contact with the plating "
                    "electrode and no sheet. Leave the region out"
                )
        if self.electrodes.counter.drive is not None and any(region.on == "counter" for region in self.regions):
            electrodes = self.electrodes
            laws = [electrodes.plating.interface, electrodes.counter.interface]
            laws += [part.interface for part in (*self.regions, *self.cracks)]
            if any(law.kind in ("butler_volmer", "linear_kinetics") for law in laws):
                raise ValueError(
                    "a region on the counter electrode and kinetics need a given potential. Write for instance "
                    "'potential: 50 mV' instead of the drive"
                )
        return self

    @model_validator(mode="after")
    def _leaking_needs_electrons(self) -> Case:
        leaking = [crack.name for crack in self.cracks if crack.contact == "leaking"]
        if leaking and self.electrolyte.electronic_conductivity is None:
            raise ValueError(
                f"crack {leaking[0]!r} leaks, which needs electrolyte.electronic_conductivity. "
                "Write for instance '1e-8 S/cm'"
            )
        return self

    @model_validator(mode="after")
    def _what_fills_can_fill(self) -> Case:
        if self.filling is None:
            return self
        crack = self.filling.of(self)
        if crack.contents != "lithium":
            raise ValueError(f"crack {crack.name!r} fills, so give it as it is when full. Set its contents to lithium")
        if crack.contact == "isolated":
            raise ValueError(
                f"crack {crack.name!r} is isolated, so that no net current enters and nothing fills. Set its contact "
                "to plating, or to leaking with electrolyte.electronic_conductivity"
            )
        if crack.interface.kind in ("no_flux", "exact_potential"):
            raise ValueError(f"crack {crack.name!r} fills, which takes an interface that lets a current through")
        return self

    @model_validator(mode="after")
    def _degree_fits_order(self) -> Case:
        if self.mesh.order == 2 and self.solver.degree == 1:
            raise ValueError(
                "mesh.order 2 needs solver.degree 2: with degree 1 on curved cells the balances do not hold. "
                "Leave mesh.order out or set solver.degree to 2"
            )
        return self

    @model_validator(mode="after")
    def _targets_exist(self) -> Case:
        if self.accuracy is not None and not self.solver.errors:
            raise ValueError("accuracy needs error bars. Leave solver.errors out, or set accuracy to none")
        lengths = {f"fef_r{length_name(length)}" for length in self.metrics.averaging_lengths}
        regions = {f"region_{r.name}_{what}" for r in self.regions for what in REGION_TARGETS}
        known = {*TARGETS, *lengths, *regions}
        for name in self.accuracy.metrics if self.accuracy is not None else ():
            if name not in known:
                near = difflib.get_close_matches(name, known, 1) or sorted(lengths)[:1] or ["crack_current"]
                raise ValueError(
                    f"accuracy.metrics names {name!r}, which is no figure of this case. Did you mean {near[0]!r}? "
                    f"Known are {', '.join(sorted(known))}"
                )
        return self

    def sized(self) -> Case:
        """The case with its ``mesh.size_min``, which its image stacks say where it does not: the least that suits one.

        Raises
        ------
        SpallError
            Whatever keeps a file from being read.
        """
        if self.mesh.size_min != AUTO:
            return self
        limits = self.mesh.memory_limit, self.mesh.max_cells
        sizes = [size for crack in self.cracks if (size := crack.size_for(self.block, *limits)) is not None]
        size = float(f"{min(*sizes, self.mesh.size_max):.12g}")  # as it is read again
        mesh = self.mesh.model_copy(update={"size_min": size})
        return self.model_copy(update={"mesh": mesh})

    def expanded(self) -> Case:
        """The sized case with every crack that stands for several, such as an image stack, replaced by them.

        Raises
        ------
        SpallError
            Whatever keeps a file from being read.
        """
        mesh = self.sized().mesh
        limits = mesh.memory_limit, mesh.size_min, mesh.max_cells
        parts = tuple(part for crack in self.cracks for part in crack.parts(self.block, *limits))
        names = [part.name for part in parts]
        if twice := {name for name in names if names.count(name) > 1}:
            reason = f"two bodies are named {min(twice)!r}, one of them found in an image stack"
            raise CaseError(4, "cracks", reason, "give the other crack another name")
        for region in self.regions:
            if region.on not in ("plating", "counter", *names):
                known = ", ".join(names)
                raise CaseError(
                    53, f"region {region.name}", f"is on {region.on}; the cracks are {known}", "correct 'on'"
                )
        return self.model_copy(update={"cracks": parts, "mesh": mesh})

    def surface_of(self, region: Region) -> str:
        """Name of the surface of the mesh that a region is cut from."""
        electrodes = self.electrodes
        return {"plating": electrodes.plating.face, "counter": electrodes.counter.face}.get(region.on, region.on)

    @property
    def block(self) -> Block:
        """The block with the face the cracks belong to."""
        return Block(self.electrolyte.size, self.electrodes.plating.face)
