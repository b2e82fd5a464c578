"""Instructions that the kernels take, counted by Valgrind: a number that no load of the machine can change."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from fem_spall import kernels

#: Compiled for one processor everywhere, one that Valgrind knows.
PROCESSOR = "-march=x86-64-v3"
#: Cells, unknowns (about 2.7 a cell, as on real meshes) and calls of a count.
CELLS, UNKNOWNS, CALLS = 4096, 11000, 4
#: Cells of a fan, and packs of unknowns that a batch of eight fans asks for, as on real meshes.
FAN, PACKS = 4, 5
#: Entries of a row of the multigrid, and of all of them.
LENGTH = 14
ROWS = LENGTH * UNKNOWNS
#: The compiler that the counts below are of; another one's are its own.
COMPILER = "12"
#: Largest count over that below: less than the 20 % that must not pass unseen.
ALLOWED = 1.15
#: Call of each kernel, and its instructions by cell, unknown or entry in double and in single precision.
COUNTS = {
    "stiffness": ("stiffness(BATCHES, lengths, ends, packs, map, near, rest, x, y)", CELLS, 161, 70),
    "corners": ("corners(CELLS, 9, map, a, x, y)", CELLS, 45, 41),
    "smooth": ("smooth(UNKNOWNS, 0.5, 0.25, a, x, y, z, b)", UNKNOWNS, 3.0, 1.5),
    "raise": ("raise(UNKNOWNS, 2, map, a, coarse, y, z)", UNKNOWNS, 18, 19),
    "lower": ("lower(UNKNOWNS, 2, map, a, x, y, coarse)", UNKNOWNS, 24, 24),
    "polish": ("polish(UNKNOWNS, order, starts, map, a, 0.5, 0.25, a, x, y, z, b)", ROWS, 7.1, 4.5),
    "advance": ("advance(UNKNOWNS, 0.5, x, y, z, b)", UNKNOWNS, 2.5, 1.9),
}
DRIVER = """
#include <stdint.h>
#include <stdlib.h>
void stiffness(int64_t, const int32_t *, const int32_t *, const int32_t *, const int32_t *, const float *,
               const float *, const REAL *, REAL *);
void corners(int64_t, REAL, const int32_t *, const REAL *, const REAL *, REAL *);
void smooth(int64_t, REAL, REAL, const REAL *, const REAL *, REAL *, REAL *, REAL *);
void raise(int64_t, int64_t, const int32_t *, const REAL *, const REAL *, REAL *, REAL *);
void lower(int64_t, int64_t, const int32_t *, const REAL *, REAL *, const REAL *, REAL *);
double advance(int64_t, REAL, const REAL *, const REAL *, REAL *, REAL *);
void polish(int64_t, const int32_t *, const int32_t *, const int32_t *, const REAL *, REAL, REAL, const REAL *,
            const REAL *, REAL *, REAL *, REAL *);
enum { CELLS = %d, UNKNOWNS = %d, LENGTH = %d, FAN = %d, PACKS = %d, BATCHES = CELLS / 8 / FAN };
static int32_t lengths[BATCHES], ends[BATCHES], packs[PACKS * BATCHES];
static float near[6 * CELLS], rest[6 * CELLS];
static int32_t map[16 * UNKNOWNS], order[UNKNOWNS], starts[UNKNOWNS / 8 + 1];
static REAL a[16 * UNKNOWNS], b[UNKNOWNS], x[UNKNOWNS], y[UNKNOWNS], z[UNKNOWNS];
static REAL coarse[UNKNOWNS];
int main(int count, char **words)
{
    unsigned seed = 1;
    for (int i = 0; i < UNKNOWNS; i++) order[i] = i;
    for (int i = 0; i <= UNKNOWNS / 8; i++) starts[i] = LENGTH * i;
    for (int i = 0; i < 16 * UNKNOWNS; i++) map[i] = (int32_t)((seed = seed * 1664525u + 1013904223u) %% UNKNOWNS);
    for (int i = 0; i < UNKNOWNS; i++) a[i] = x[i] = 1;
    for (int i = 0; i < BATCHES; i++) lengths[i] = FAN, ends[i] = PACKS * (i + 1);
    for (int i = 0; i < PACKS * BATCHES; i++) packs[i] = map[i] / 16;
    for (int i = 0; i < 6 * CELLS; i++) near[i] = 1;
    for (int i = 0; i < atoi(words[2]); i++)
        switch (atoi(words[1])) {
        %s
        }
    return count < 3;
}
"""


@pytest.fixture(scope="module", params=["double", "float"])
def driver(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Precision, and a program that calls one kernel as many times as it is told."""
    if shutil.which("valgrind") is None:
        pytest.skip("valgrind is not installed")
    command = (kernels.compiler() or "cc").split()
    said = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True).stdout
    version = subprocess.run([*command, "-dumpversion"], capture_output=True, text=True, check=True).stdout
    if "Free Software Foundation" not in said or version.split(".")[0].strip() != COMPILER:
        pytest.skip(f"the counts are of gcc {COMPILER}")
    folder = tmp_path_factory.mktemp(request.param)
    cases = "\n".join(f"case {number}: {call}; break;" for number, (call, *_) in enumerate(COUNTS.values()))
    source = folder / "driver.c"
    source.write_text(DRIVER % (CELLS, UNKNOWNS, LENGTH, FAN, PACKS, cases))
    flags = [PROCESSOR if flag.startswith("-march") else flag for flag in kernels.FLAGS]
    program, library = source.with_suffix(""), source.with_suffix(".so")
    kernel_source, real = str(Path(kernels.__file__).with_name("kernels.c")), f"-DREAL={request.param}"
    for made in (
        [*command, *flags, real, kernel_source, "-o", str(library), "-lm"],
        [*command, "-O1", real, str(source), str(library), "-o", str(program)],
    ):
        subprocess.run(made, check=True, capture_output=True, timeout=120)
    return request.param, program


def instructions(program: Path, kernel: int, calls: int) -> int:
    """Instructions of a whole process that calls a kernel."""
    tool = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
    command = [*tool, str(program), str(kernel), str(calls)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    total = re.search(r"I\s+refs:\s+([\d,]+)", done.stderr)
    assert total is not None, done.stderr
    return int(total[1].replace(",", ""))


@pytest.mark.parametrize("kernel", COUNTS)
def test_a_kernel_takes_no_more_instructions(driver: tuple[str, Path], kernel: str) -> None:
    """Bug: an alias or a branch keeps the compiler from vectorising, and every solve takes twice the time."""
    real, program = driver
    _, items, double, single = COUNTS[kernel]
    number = list(COUNTS).index(kernel)
    count = (instructions(program, number, CALLS) - instructions(program, number, 0)) / (CALLS * items)
    allowed = double if real == "double" else single
    assert count < ALLOWED * allowed
    assert count > allowed / 2, "the calls are not counted, or the table is out of date"
