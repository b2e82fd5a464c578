"""What a user is told when a command ends in an error: one refusal of at most five lines on stderr.

Its last line is ``fem-spall: error [Ennn]: FILE: reason; what to do``.  Numbers given here: E210 usage;
E100 a bug; E710 a full disk; E810 memory; E901 Ctrl-C, E902 SIGTERM.
"""

from __future__ import annotations

import difflib
import errno
import gc
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from cyclopts import CycloptsError

from fem_spall.errors import CaseError, Interrupted, LimitError, OutputError, SpallError

__all__ = ["LINES", "as_refusal", "asked_to_stop", "end", "one_line", "record_failure", "refuse", "usage"]

LINES = 5  # of a refusal, the last one included


def usage(error: CycloptsError, words: list[str], known: Sequence[str]) -> CaseError:
    """Refusal for a command line that cannot be parsed; ``known`` are the commands."""
    command = next((word for word in words if not word.startswith("-")), None)
    if command is not None and command not in known:
        close = difflib.get_close_matches(command, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"take one of {', '.join(known)}"
        return CaseError(10, "command line", f"there is no command {command!r}", hint)
    reason, _, hint = one_line(error).rstrip(".").partition(" Did you mean ")
    cure = f"see fem-spall {command} --help" if command else "see fem-spall --help"
    reason = reason.removeprefix(f'Command "{command}" parameter ').rstrip(".")
    return CaseError(10, "command line", reason, f"did you mean {hint} {cure}" if hint else cure)


def as_refusal(error: BaseException) -> SpallError:
    """What to tell of an error: itself if it is a refusal, else an interruption, a limit, a full disk, a bug."""
    if isinstance(error, SpallError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return Interrupted(1, "fem-spall", "was interrupted by Ctrl-C", "start it again")
    if isinstance(error, MemoryError):
        reason = "the memory of this machine does not suffice"
        return LimitError(10, "fem-spall", reason, "enlarge mesh.size_min or mesh.size_max")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(10, "output", f"cannot be written ({error.strerror})", "make room on the disk")
    trace, where = error.__traceback__, "fem-spall"
    while trace is not None:
        where = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    reason = f"this is a bug of the program ({type(error).__name__}: {error})"
    return SpallError(0, where, reason, "run it again with --debug and report what it prints")


def refuse(error: SpallError) -> int:
    """Print a refusal, faults first, and return its exit code."""
    faults = getattr(error, "faults", ())
    reason, cure = error.reason, error.cure
    if len(faults) > 1:
        for fault in faults[: LINES - 1]:
            print(one_line(fault), file=sys.stderr)
        if len(faults) >= LINES:
            reason += f", {len(faults) - LINES + 1} more not shown"
        else:
            cure = "correct the lines named"
    line = f"fem-spall: error [E{error.number}]: {error.where}: {reason}; {cure}"
    print(one_line(line), file=sys.stderr, flush=True)
    return error.exit_code


def one_line(text: object) -> str:
    """Text without line breaks and control characters, whatever a file name holds."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())


def record_failure(folder: Path, error: CaseError) -> None:
    """Leave ``failure.json`` for whoever reads the folder; a finished result there stays as it is."""
    entry: dict[str, Any] = {
        "status": "failed", "number": error.number, "kind": type(error).__name__, "where": error.where,
        "reason": error.reason, "cure": error.cure, "faults": [vars(fault) for fault in error.faults],
    }  # fmt: skip
    try:
        folder.mkdir(parents=True, exist_ok=True)
        present = {path.name for path in folder.iterdir()}
        if "result.json" not in present and (not present or present & {"case.yaml", "failure.json"}):
            (folder / "failure.json").write_text(json.dumps(entry, indent=1) + "\n", encoding="utf-8")
    except OSError:
        return  # the refusal on the terminal says what matters


def asked_to_stop(number: int, frame: FrameType | None) -> None:
    """Stop as a run does that is interrupted: what a signal calls."""
    raise Interrupted(2, "fem-spall", "was asked to stop by a signal (SIGTERM)", "start it again")


def end(code: int) -> NoReturn:
    """End this process."""
    gc.freeze()  # or a tenth of a second goes into the search for what nobody needs any more
    sys.exit(code)
