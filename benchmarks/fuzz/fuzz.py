"""Damages valid files of every format that the program reads, and watches what reading and inspecting them does.

From a checkout: ``python benchmarks/fuzz/fuzz.py --minutes 10``.  Input number k of a seed is always the
same bytes: ``--only K`` repeats one, with the traceback.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from fem_spall.crack.inspect_stack import inspect_stack, is_stack  # noqa: E402
from fem_spall.crack.inspect_surface import inspect_surface  # noqa: E402
from fem_spall.errors import SpallError  # noqa: E402
from fem_spall.output.marked_surface import draw_marked, write_marked  # noqa: E402
from tests.amira_writer import label_file, surface_file  # noqa: E402
from tests.mesh_writer import GOOD  # noqa: E402

SECONDS = 10  # of processor time for one input; a process that sleeps is ended after six times as long
MEGABYTES = 300  # by which one input may raise the largest memory of the process
ADDRESS_SPACE = 4 * 2**30  # bytes; libraries map one to two of them
WORDS = [
    *b"0 -1 1 3 255 65536 2147483648 4294967295 99999999999999999999 1e30 1e-320 1e999 nan -inf 1,5 0.1 { }".split(),
    *b"# / @1 end_header endsolid solid facet vertex property Lattice".split(),
    *(b"", b"\n", b"\r", b"\\\n", b"\0", b"\xef\xbb\xbf", b"\xff\xfe", b"f 1 2 3 4", b"v 0 0 0", b"Triangles 3"),
]
NUMBERS = (0, 1, 2, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 0x7F800001)
FLOATS = (0.0, -0.0, 1e-40, 1e-20, 1e20, 3e38, float("nan"), float("inf"), float("-inf"))


def ball() -> tuple[np.ndarray, np.ndarray]:
    """A closed surface of 96 triangles: a cube, each side in 4 x 4 triangles, blown up to a ball."""
    grid = np.linspace(-1, 1, 3)
    points, faces = [], []
    for axis in range(3):
        for side in (-1, 1):
            base = len(points)
            for u in grid:
                for v in grid:
                    point = np.roll([side, u, v], axis)
                    points.append(point / np.linalg.norm(point))
            for i in range(2):
                for j in range(2):
                    a = base + 3 * i + j
                    quads = [(a, a + 3, a + 4), (a, a + 4, a + 1)]
                    faces += quads if side > 0 else [q[::-1] for q in quads]
    return np.round(points, 6), np.array(faces)


def seeds() -> dict[str, bytes]:
    """Valid files by name."""
    found = {name: data.encode() if isinstance(data, str) else data for name, data in GOOD.items()}
    points, faces = ball()
    rows = "".join(f"v {x} {y} {z}\n" for x, y, z in points)
    found["ball.obj"] = (rows + "".join(f"f {a} {b} {c}\n" for a, b, c in faces + 1)).encode()
    found["polygons.obj"] = (
        b"v 0 0 0\nv 4 0 0\nv 1 1 0\nv 0 4 0\nv 1 1 3\nf 4 3 2 1\nf 1 2 5\nf 2 3 5\nf 3 4 5\nf 4 1 5\n"
    )
    record = np.zeros(len(faces), dtype=[("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    record["corners"] = points[faces]
    found["ball.stl"] = bytes(80) + len(faces).to_bytes(4, "little") + record.tobytes()
    half = len(faces) // 2
    patches = [("Lithium", "Exterior", faces[:half]), ("Lithium", "Exterior", faces[half:])]
    for binary in (False, True):
        name = "binary" if binary else "ascii"
        found[f"{name}.surf"] = surface_file(points, patches, binary=binary)
        found[f"{name}_curves.surf"] = surface_file(points, patches, binary=binary, curves={"vertices": [1, 2, 3]})
    labels = np.zeros((6, 5, 4), dtype=np.uint8)
    labels[1:5, 1:4, 1:3] = 1
    box = (0, 5, 0, 4, 0, 3)
    for form in ("ASCII", "BINARY", "BINARY-LITTLE-ENDIAN"):
        found[f"{form}.am"] = label_file(labels, box, form=form, first_id=1)
    for codec in ("HxByteRLE", "HxZip"):
        found[f"{codec}.am"] = label_file(labels, box, codec=codec)
    found["short.am"] = label_file(labels.astype(np.int16), box, codec="HxZip")
    return dict(sorted((found | stacks(labels)).items()))


def stacks(labels: np.ndarray) -> dict[str, bytes]:
    """The labels as an image in every other format that is one file."""
    import nrrd
    import tifffile

    found = {}
    lateral = {"resolution": (10, 10), "metadata": {"axes": "ZYX", "spacing": 0.2, "unit": "um"}}
    sizes = {f"PhysicalSize{axis}": 0.1 for axis in "XYZ"}
    for name, options in {
        "plain.tif": {}, "big.tif": {"bigtiff": True, "byteorder": ">"}, "deflated.tif": {"compression": "zlib"},
        "imagej.tif": {"imagej": True, **lateral}, "ome.tif": {"ome": True, "metadata": {"axes": "ZYX", **sizes}},
    }.items():  # fmt: skip
        stream = io.BytesIO()
        tifffile.imwrite(stream, labels, photometric="minisblack", **options)
        # OME has a number of its own for each file: the bytes must be the same every day.
        found[name] = re.sub(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", b"0" * 36, stream.getvalue())
    stream = io.BytesIO()
    np.save(stream, labels)
    found["labels.npy"] = stream.getvalue()
    for name, arrays in {
        "labels.npz": {"im": labels},
        "packed.npz": {"mask": np.packbits(labels), "shape": np.array(labels.shape), "spacing": np.array(0.1)},
    }.items():
        stream = io.BytesIO()
        np.savez_compressed(stream, **arrays)
        found[name] = stream.getvalue()
    for encoding in ("raw", "gzip", "bzip2"):
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(action="ignore"):
            header = {"encoding": encoding, "spacings": [0.1, 0.1, 0.2], "units": ["um"] * 3}
            nrrd.write(f"{folder}/{encoding}.nrrd", labels, header)
            lines = Path(folder, f"{encoding}.nrrd").read_bytes().split(b"\n")
        # And the package for NRRD writes the time into a comment.
        found[f"{encoding}.nrrd"] = b"\n".join(line for line in lines if not line.startswith(b"# "))
    return found


def damaged(rng: np.random.Generator, data: bytes, others: list[bytes]) -> bytes:
    """A file after one or a few random changes."""
    for _ in range(min(int(rng.geometric(0.6)), 8)):
        size = len(data)
        at, length = int(rng.integers(0, size + 1)), int(2 ** rng.uniform(0, 8))
        match rng.integers(0, 11):
            case 0:
                data = data[:at]
            case 1:
                data = data[:at] + data[at + length :]
            case 2:
                data = data[:at] + data[at : at + length] * int(rng.integers(2, 20)) + data[at + length :]
            case 3:
                data = data[:at] + rng.bytes(min(length, 16)) + data[at + min(length, 16) :]
            case 4:
                data = data[:at] + WORDS[rng.integers(len(WORDS))] + data[at:]
            case 5:
                other = others[rng.integers(len(others))]
                start = int(rng.integers(0, len(other) + 1))
                data = data[:at] + other[start : start + 4 * length] + data[at:]
            case 6:
                value = np.array(NUMBERS[rng.integers(len(NUMBERS))], dtype=rng.choice(["<u4", ">u4"]))
                data = data[:at] + value.tobytes() + data[at + 4 :]
            case 7:
                value = np.array(FLOATS[rng.integers(len(FLOATS))], dtype=rng.choice(["<f4", ">f4"]))
                data = data[:at] + value.tobytes() + data[at + 4 :]
            case 8:
                lines = data.split(b"\n")
                i, j = rng.integers(0, len(lines), 2)
                lines[i], lines[j] = lines[j], lines[i]
                data = b"\n".join(lines)
            case _:  # a word, in most cases a number, becomes another one
                words = data.split(b" ")
                words[rng.integers(len(words))] = WORDS[rng.integers(len(WORDS))]
                data = b" ".join(words)
    return data


def example(seed: int, number: int, files: dict[str, bytes]) -> tuple[str, bytes]:
    """Name and bytes of one damaged file."""
    rng = np.random.default_rng([seed, number])
    names = list(files)
    name = names[rng.integers(len(names))]
    data = damaged(rng, files[name], list(files.values()))
    if rng.random() < 0.1:  # under the name of another format
        name = name.rsplit(".", 1)[0] + "." + names[rng.integers(len(names))].rsplit(".", 1)[1]
    return name, data


def read_and_inspect(path: Path, number: int) -> str:
    """What becomes of a file: read or refused."""
    try:
        if is_stack(path):
            json.dumps(inspect_stack(path, "um"), allow_nan=False)
            return "read"
        found = inspect_surface(path, "um")
        json.dumps(found.report, allow_nan=False)
        write_marked(path.with_suffix(".vtp"), found)
        if number % 100 == 0:
            draw_marked(path.with_suffix(".png"), found)
    except SpallError as fault:
        lines = str(fault).replace(str(path), "")
        return "refused" if len(lines) < 600 and "\n" not in lines else f"message of {len(lines)} characters: {lines}"
    return "read"


class _TooLong(BaseException):
    pass


def _stop(number: int, frame: object) -> None:
    raise _TooLong


def work(connection: Connection, seed: int, first: int, step: int) -> None:
    """Try one input after the other and tell each result; a warning is an error."""
    warnings.simplefilter("error")
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    signal.signal(signal.SIGPROF, _stop)
    files = seeds()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        for number in range(first, sys.maxsize, step):
            name, data = example(seed, number, files)
            path = Path(folder) / name
            path.write_bytes(data)
            connection.send(("begin", number, name, "", 0.0))
            before, clock = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            try:
                result, detail = read_and_inspect(path, number), ""
            except _TooLong:
                result, detail = "hang", traceback.format_exc()
            except MemoryError:
                result, detail = "blow-up", traceback.format_exc()
            except Exception:
                result, detail = "foreign exception", traceback.format_exc()
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
            if grown > MEGABYTES and result in ("read", "refused") and number != first:
                result, detail = "blow-up", f"{grown:.0f} MB more"
            for file in Path(folder).iterdir():
                file.unlink()
            connection.send(("end", number, result, detail, time.process_time() - clock))


def campaign(seed: int, minutes: float, keep: Path | None) -> int:
    """Run for some minutes; print what happened; return the number of faults."""
    context = multiprocessing.get_context("spawn")
    counts: Counter[str] = Counter()
    by_format: Counter[tuple[str, str]] = Counter()
    deadline, number, name, slowest = time.monotonic() + 60 * minutes, -1, "", (0.0, -1)
    faults: list[tuple[int, str, str, str]] = []
    files = seeds()
    while time.monotonic() < deadline:
        mine, theirs = context.Pipe()
        child = context.Process(target=work, args=(theirs, seed, number + 1, 1), daemon=True)
        child.start()
        theirs.close()
        while time.monotonic() < deadline:
            try:
                answered = mine.poll(6 * SECONDS)
                kind, number, result, detail, seconds = (
                    mine.recv() if answered else ("end", number, "hang", "killed", 0.0)
                )
            except EOFError:
                kind, answered, result, detail, seconds = "end", False, "crash", "the process ended", 0.0
            if kind == "begin":
                name = result
                continue
            known = (
                result if result in ("read", "refused", "hang", "blow-up", "crash", "foreign exception") else "message"
            )
            counts[known] += 1
            by_format[example(seed, number, files)[0].rsplit(".", 1)[1], known] += 1
            slowest = max(slowest, (seconds, number))
            if known not in ("read", "refused"):
                faults.append((number, known, name, detail or result))
                print(f"{known} at input {number} ({name}): {(detail or result).strip().splitlines()[-1]}", flush=True)
                if keep is not None:
                    keep.mkdir(parents=True, exist_ok=True)
                    (keep / f"{number}_{name}").write_bytes(example(seed, number, files)[1])
            if not answered:
                break
        child.kill()
        child.join()
    report(counts, by_format, slowest)
    return len(faults)


def report(counts: Counter[str], by_format: Counter[tuple[str, str]], slowest: tuple[float, int]) -> None:
    """Print the results as a table of formats."""
    columns = ("read", "refused", "foreign exception", "message", "blow-up", "hang", "crash")
    print("| format | tried | " + " | ".join(columns) + " |\n|" + "---|" * (2 + len(columns)))
    for form in sorted({key[0] for key in by_format}):
        row = [by_format[form, column] for column in columns]
        print(f"| {form} | {sum(row)} | " + " | ".join(map(str, row)) + " |")
    print(f"| all | {counts.total()} | " + " | ".join(str(counts[column]) for column in columns) + " |")
    print(f"slowest: input {slowest[1]}, {slowest[0]:.2f} s of processor time")


def main() -> int:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="repeat one input, with its traceback")
    parser.add_argument("--keep", type=Path, help="folder for inputs that are faults")
    options = parser.parse_args()
    if options.only is None:
        return min(campaign(options.seed, options.minutes, options.keep), 1)
    name, data = example(options.seed, options.only, seeds())
    warnings.simplefilter("error")
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        if options.keep is not None:
            options.keep.mkdir(parents=True, exist_ok=True)
            (options.keep / name).write_bytes(data)
        print(name, len(data), "bytes:", read_and_inspect(path, 0))
    return 0


if __name__ == "__main__":
    sys.exit(main())
