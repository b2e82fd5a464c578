"""What ``fem-spall inspect`` does: read the options, find what the file is, print, mark, draw."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast, get_args

from fem_spall.crack.base import Block
from fem_spall.crack.inspect_stack import inspect_stack, is_stack, stack_lines
from fem_spall.crack.inspect_surface import inspect_surface
from fem_spall.crack.surface_file import LengthUnit
from fem_spall.errors import CaseError
from fem_spall.quantity import Unit, to_si
from fem_spall.summary import surface_lines

__all__ = ["inspect_session"]

_LENGTH = Unit("m", "20 um", "length")


def inspect_session(
    file: Path,
    unit: str,
    block: str | None,
    material: str | None,
    dataset: str | None,
    thin: str | None,
    vtp: Path | None,
    picture: Path | None,
    *,
    as_json: bool,
) -> None:
    """Print what a surface or image stack is; write and draw a surface with its faults marked where that is asked for.

    Raises
    ------
    CaseError
        If an option is wrong.
    InputFileError
        If the file cannot be read.
    OutputError
        If a file cannot be written.
    """
    units = get_args(LengthUnit.__value__)
    if unit not in units:
        raise CaseError(
            10, "--unit", f"must be one of {', '.join(units)}; got {unit!r}", "write for instance --unit um"
        )
    for option, target, suffix in (("--vtp", vtp, ".vtp"), ("--picture", picture, ".png")):
        if target is not None and target.suffix.lower() != suffix:
            reason = f"must be a file that ends with {suffix}; got {str(target)!r}"
            raise CaseError(10, option, reason, f"write for instance {option} faults{suffix}")
    if is_stack(file):
        _only_for_surfaces(block=block, material=material, thin=thin, vtp=vtp, picture=picture)
        stack = inspect_stack(file, cast(LengthUnit, unit), dataset)
        print(json.dumps(stack, indent=1, allow_nan=False) if as_json else "\n".join(stack_lines(stack)))
        return
    if dataset is not None:
        raise CaseError(10, "--dataset", f"is for image stacks; {file.name} is none", "leave it out")
    size = None if block is None else _lengths("--block", block, 3)
    limit = None if thin is None else _lengths("--thin", thin, 1)[0]
    found = inspect_surface(
        file,
        cast(LengthUnit, unit),
        None if size is None else Block((size[0], size[1], size[2])),
        material=material,
        thin=limit,
    )
    if as_json:
        print(json.dumps(found.report, indent=1, allow_nan=False))
    else:
        print("\n".join(surface_lines(found.report)))
    if vtp is not None or picture is not None:
        from fem_spall.output.marked_surface import draw_marked, write_marked

        for target, write in ((vtp, write_marked), (picture, draw_marked)):
            if target is not None:
                write(target, found)
                if not as_json:
                    print(f"written: {target}")


def _only_for_surfaces(**options: object) -> None:
    """Raise if an option is given that an image stack has no use for."""
    for name, value in options.items():
        if value is not None:
            raise CaseError(10, f"--{name}", "is for surfaces; this is an image stack", "leave it out")


def _lengths(option: str, text: str, count: int) -> list[float]:
    """Return lengths given with commas between them, m."""
    example = ", ".join(("20 um", "30 um", "50 um")[:count])
    try:
        values = [to_si(part, _LENGTH) for part in text.split(",")]
    except ValueError as fault:
        raise CaseError(10, option, str(fault), f"write for instance {option} '{example}'") from None
    if len(values) != count or min(values) <= 0:
        reason = f"must be {count} length{'s' * (count > 1)} above zero; got {text!r}"
        raise CaseError(10, option, reason, f"write for instance {option} '{example}'")
    return values
