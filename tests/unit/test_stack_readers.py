"""Image stacks as files: what is read, what is stated about voxels, and what is refused before it does harm."""

from __future__ import annotations

import gzip
import io
import json
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fem_spall.crack.stack_readers import read_stack
from fem_spall.errors import InputFileError, LimitError, SetupError

nrrd = pytest.importorskip("nrrd")
tifffile = pytest.importorskip("tifffile")
zarr = pytest.importorskip("zarr")

VOXELS = np.random.default_rng(0).integers(0, 3, (4, 5, 6)).astype(np.uint8)  # z, y, x


def tiff(path: Path, **options: Any) -> Path:
    tifffile.imwrite(path / "a.tif", VOXELS, photometric="minisblack", **options)
    return path / "a.tif"


def nrrd_file(path: Path, name: str = "a.nrrd", **header: Any) -> Path:
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # of the package's own
        nrrd.write(str(path / name), VOXELS, header=header, index_order="C")
    return path / name


def npy(path: Path) -> Path:
    np.save(path / "a.npy", np.asfortranarray(VOXELS))
    return path / "a.npy"


def npz(path: Path, **arrays: Any) -> Path:
    np.savez_compressed(path / "a.npz", **(arrays or {"image": VOXELS}))
    return path / "a.npz"


def packed(path: Path) -> Path:
    return npz(path, mask=np.packbits(VOXELS == 1), shape=np.array(VOXELS.shape), spacing=np.float64(0.5))


def zarr_folder(path: Path, version: int = 3) -> Path:
    array = zarr.create_array(
        store=str(path / "a.zarr"), shape=VOXELS.shape, chunks=(2, 5, 6), dtype="u1", zarr_format=version
    )
    array[...] = VOXELS
    return path / "a.zarr"


def slices(path: Path, suffix: str = ".tif", skip: int = -1) -> Path:
    from PIL import Image

    folder = path / "slices"
    folder.mkdir()
    for k, image in enumerate(VOXELS):
        if k == skip:
            continue
        name = folder / f"s_{k + 8}{suffix}"  # 8, 9, 10, 11: as text 10 comes before 8
        if suffix == ".png":
            Image.fromarray(image).save(name)
        else:
            tifffile.imwrite(name, image, photometric="minisblack")
    (folder / "notes.txt").write_text("made today")
    return folder


def amira(path: Path) -> Path:
    numbers = " ".join(map(str, VOXELS.ravel()))  # x runs fastest
    text = '# AmiraMesh 3D ASCII 2.0\ndefine Lattice 6 5 4\nParameters { BoundingBox 0 5 0 8 0 9, CoordType "uniform" }'
    (path / "a.am").write_text(text + "\nLattice { byte Labels } @1\n@1\n" + numbers + "\n")
    return path / "a.am"


MAKERS: dict[str, Callable[[Path], Path]] = {
    "tiff": tiff,
    "tiff deflated": lambda path: tiff(path, compression="zlib", predictor=True),
    "tiff tiled, big endian": lambda path: tiff(path, tile=(16, 16), byteorder=">"),
    "bigtiff": lambda path: tiff(path, bigtiff=True),
    "imagej": lambda path: tiff(path, imagej=True),
    "nrrd": nrrd_file,
    "npy": npy,
    "npz": npz,
    "zarr 3": zarr_folder,
    "zarr 2": lambda path: zarr_folder(path, 2),
    "slices": slices,
    "png slices": lambda path: slices(path, ".png"),
    "amira": amira,
}


@pytest.mark.parametrize("name", MAKERS)
def test_every_format_gives_the_same_voxels(name: str, tmp_path: Path) -> None:
    """Bug: axes in another order, slices sorted as text, or bytes of the wrong order."""
    raw = read_stack(MAKERS[name](tmp_path))
    order = [raw.axes.index(axis) for axis in "zyx"]
    assert np.array_equal(np.asarray(raw.voxels).transpose(order), VOXELS)
    assert len(raw.sha256) == 64


def test_packed_bits_are_unpacked_to_their_shape(tmp_path: Path) -> None:
    """Bug: the padding of the last byte, or the order of the bits."""
    raw = read_stack(packed(tmp_path))
    assert np.array_equal(raw.voxels, VOXELS == 1)
    assert (raw.spacing, raw.unit) == ((0.5, 0.5, 0.5), None)
    assert "unpacked" in raw.notes[0]


def test_spacing_is_read_where_it_is_stated(tmp_path: Path) -> None:
    """Bug: x and z exchanged, or dots per inch taken for voxels."""
    imagej = tiff(tmp_path, imagej=True, resolution=(1 / 0.125, 1 / 0.1), metadata={"spacing": 0.15, "unit": "um"})
    assert read_stack(imagej).spacing == pytest.approx((0.15, 0.1, 0.125))
    assert read_stack(imagej).unit == "um"
    sizes = {"PhysicalSizeX": 20.0, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 30.0, "PhysicalSizeYUnit": "nm",
             "PhysicalSizeZ": 50.0, "PhysicalSizeZUnit": "nm"}  # fmt: skip
    ome = read_stack(tiff(tmp_path, ome=True, metadata={"axes": "ZYX", **sizes}))
    assert (ome.spacing, ome.unit) == ((50.0, 30.0, 20.0), "nm")
    assert read_stack(tiff(tmp_path, resolution=(300, 300), resolutionunit="INCH")).spacing is None
    space = {"space dimension": 3, "space directions": np.diag([2.0, 3.0, 5.0]), "space origin": [1.0, 10.0, 100.0],
             "space units": ["nm", "nm", "nm"]}  # fmt: skip
    raw = read_stack(nrrd_file(tmp_path, **space))
    assert (raw.spacing, raw.origin, raw.unit) == ((5.0, 3.0, 2.0), (100.0, 10.0, 1.0), "nm")
    field = read_stack(amira(tmp_path))
    assert field.spacing == pytest.approx((1.0, 2.0, 3.0))


def test_the_scale_of_ome_zarr(tmp_path: Path) -> None:
    """Bug: the scale of another level, or its unit."""
    group = zarr.open_group(str(tmp_path / "o.zarr"), mode="w")
    group.create_array("0", shape=VOXELS.shape, dtype="u1")[...] = VOXELS
    level = {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [0.05, 0.03, 0.02]}]}
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
    group.attrs["ome"] = {"multiscales": [{"axes": axes, "datasets": [level]}]}
    raw = read_stack(tmp_path / "o.zarr")
    assert (raw.spacing, raw.unit) == ((0.05, 0.03, 0.02), "um")


def cut(make: Callable[[Path], Path], part: float) -> Callable[[Path], Path]:
    def made(path: Path) -> Path:
        file = make(path)
        data = file.read_bytes()
        file.write_bytes(data[: int(len(data) * part)])
        return file

    return made


def damaged_zip(path: Path) -> Path:
    """An archive whose directory announces a tenth of what its array unpacks to."""
    stream = io.BytesIO()
    np.save(stream, np.zeros((100, 100, 100), np.uint8))
    with zipfile.ZipFile(path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("im.npy", stream.getvalue())
    data = (path / "a.npz").read_bytes()
    (path / "a.npz").write_bytes(data.replace((1_000_128).to_bytes(4, "little"), (100_128).to_bytes(4, "little")))
    return path / "a.npz"


def nrrd_bomb(path: Path) -> Path:
    import zlib

    head = b"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 6 5 4\nencoding: gzip\n\n"
    packer = zlib.compressobj(wbits=31)
    (path / "b.nrrd").write_bytes(head + packer.compress(bytes(10**7)) + packer.flush())
    return path / "b.nrrd"


def detached(path: Path) -> Path:
    return nrrd_file(path, "a.nhdr").rename(path / "a.nrrd")


def other_slice(path: Path) -> Path:
    folder = slices(path)
    tifffile.imwrite(folder / "s_9.tif", VOXELS[0, :4], photometric="minisblack")
    return folder


def colours(path: Path) -> Path:
    tifffile.imwrite(path / "a.tif", np.zeros((4, 5, 6, 3), np.uint8), photometric="rgb")
    return path / "a.tif"


def pickled(path: Path) -> Path:
    np.save(path / "a.npy", np.array([[[{}]]], dtype=object), allow_pickle=True)
    return path / "a.npy"


def two_arrays(path: Path) -> Path:
    return npz(path, one=VOXELS, two=VOXELS)


def flat(path: Path) -> Path:
    np.save(path / "a.npy", VOXELS[0])
    return path / "a.npy"


def text(path: Path) -> Path:
    (path / "a.tif").write_text("no image at all")
    return path / "a.tif"


def tiny(path: Path) -> Path:
    (path / "a.tif").write_bytes(tiff(path).read_bytes()[:4])
    return path / "a.tif"


def lying_images(path: Path) -> Path:
    file = tiff(path, imagej=True, metadata={"axes": "ZYX"})
    file.write_bytes(file.read_bytes().replace(b"images=4", b"images=9"))
    return file


def bits(path: Path, told: int) -> Path:
    """The header of the first page says so many bits a voxel, its data have 8."""
    file = tiff(path)
    with tifffile.TiffFile(file) as tif:
        place = tif.pages[0].tags["BitsPerSample"].valueoffset
    data = bytearray(file.read_bytes())
    data[place : place + 2] = told.to_bytes(2, "little")
    file.write_bytes(data)
    return file


def circle(path: Path, *, big: bool, to: int | None = None) -> Path:
    """The last page is followed by itself, or by one at a place of the file."""
    file = tiff(path, bigtiff=big)
    with tifffile.TiffFile(file) as tif:
        page = tif.pages[len(tif.pages) - 1]
        end = page.offset + (8 + 20 * len(page.tags) if big else 2 + 12 * len(page.tags))
        width = 8 if big else 4
    data = bytearray(file.read_bytes())
    assert not any(data[end : end + width])
    data[end : end + width] = (page.offset if to is None else to).to_bytes(width, "little")
    file.write_bytes(data)
    return file


def long_header(path: Path) -> Path:
    """Four gigabytes of header are announced."""
    (path / "a.npy").write_bytes(b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}")
    return path / "a.npy"


def run_in(path: Path) -> Path:
    """A header that runs into the data, of which Python 3.12.1 makes a fault of its own."""
    header = b"\x93NUMPY\x01\x00v\x00" + b" (6, 5, 4), }".ljust(68) + b"\n"
    (path / "a.npy").write_bytes(header + bytes(169))
    return path / "a.npy"


def control_character(path: Path) -> Path:
    """Python's own tokenizer reads the header of an array."""
    data = bytearray(npy(path).read_bytes())
    data[94] = 0x1E
    (path / "a.npy").write_bytes(data)
    return path / "a.npy"


def broken_stream(path: Path) -> Path:
    """The packed header of an array refers to what was never there."""
    data = bytearray(npz(path, im=np.arange(1000, dtype=np.uint16).reshape(10, 10, 10)).read_bytes())
    place = data.find(b"im.npy") + 6 + int.from_bytes(data[28:30], "little")
    data[place : place + 20] = bytes.fromhex("4b04" * 10)
    (path / "a.npz").write_bytes(data)
    return path / "a.npz"


def slice_without_end(path: Path) -> Path:
    """A PNG slice with all its rows, but neither the end nor the checksum of its data."""
    folder = slices(path, ".png")
    (folder / "s_9.png").write_bytes((folder / "s_9.png").read_bytes()[:-18])
    return folder


def shape_in_words(path: Path) -> Path:
    return npz(path, mask=np.packbits(VOXELS == 1), shape=np.array(["a", "b", "c"]))


def dates(path: Path) -> Path:
    np.save(path / "a.npy", np.zeros((2, 2, 2), "M8[s]"))
    return path / "a.npy"


def complex_numbers(path: Path) -> Path:
    tifffile.imwrite(path / "a.tif", VOXELS.astype("c8"), photometric="minisblack")
    return path / "a.tif"


def encrypted(path: Path) -> Path:
    data = bytearray(npz(path, im=VOXELS).read_bytes())
    data[data.find(b"PK\1\2") + 8] |= 1
    (path / "a.npz").write_bytes(data)
    return path / "a.npz"


def gzip_without_end(path: Path) -> Path:
    """All voxels, but neither the end of the stream nor its checksum."""
    head = b"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 6 5 4\nencoding: gzip\n\n"
    (path / "b.nrrd").write_bytes(head + gzip.compress(VOXELS.tobytes())[:-9])
    return path / "b.nrrd"


def nrrd_text(path: Path, sizes: str, spacings: str) -> Path:
    head = f"NRRD0004\ntype: uint8\ndimension: 3\nsizes: {sizes}\nencoding: raw\nspacings: {spacings}\n\n"
    (path / "c.nrrd").write_bytes(head.encode() + VOXELS.tobytes())
    return path / "c.nrrd"


def pages_without_end(path: Path) -> Path:
    """A word in the first directory: what follows reads as the places of millions of pages."""
    data = tiff(path, compression="zlib").read_bytes()
    (path / "a.tif").write_bytes(data[:25] + b"property" + data[25:])
    return path / "a.tif"


def no_chunk(path: Path) -> Path:
    """A chunk of no voxels along one axis, which the library takes for one."""
    folder = zarr_folder(path, 2)
    meta = next(folder.rglob(".zarray"))
    meta.write_text(json.dumps(json.loads(meta.read_text()) | {"chunks": [0, 5, 6]}))
    return folder


REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "tiff cut in its data": (cut(tiff, 0.5), "cut off|damaged"),
    "tiff cut in its first page": (cut(tiff, 0.1), "cut off|damaged"),
    "npy cut off": (cut(npy, 0.9), "announces 120 bytes; got"),
    "npz cut off": (cut(npz, 0.9), "damaged"),
    "nrrd cut off": (cut(nrrd_file, 0.9), "damaged|cut off"),
    "an archive that lies": (damaged_zip, "announces 1000000 bytes; the archive holds 100128"),
    "a gzip bomb": (nrrd_bomb, "announces 120 bytes; got more"),
    "detached data": (detached, "in another file"),
    "colours": (colours, "must be grey or labels; got colours"),
    "a pickle": (pickled, "Python objects"),
    "two arrays": (two_arrays, "its name must be given; got the arrays one, two"),
    "a picture": (flat, "three axes of voxels; got 5 x 6"),
    "slices of two sizes": (other_slice, "must be like s_8.tif, 6 x 5 uint8; got 6 x 4 uint8"),
    "a missing slice": (lambda path: slices(path, skip=1), "after s_8.tif comes s_10.tif"),
    "text": (text, "the content is none of these"),
    "four bytes": (tiny, "damaged, cut off"),
    "fewer images than announced": (lying_images, "announces 9 images; got 4"),
    "no bits a voxel": (lambda path: bits(path, 0), "damaged, cut off"),
    "a page with less than it says": (
        lambda path: bits(path, 64),
        "a page of 240 bytes has 30 in the file|pages of one size",
    ),
    "pages in a circle": (lambda path: circle(path, big=False), r"page \d is followed by one before it"),
    "large pages in a circle": (lambda path: circle(path, big=True), r"page \d is followed by one before it"),
    "a page nowhere": (lambda path: circle(path, big=True, to=2**64 - 1), "damaged, cut off"),
    "a header that runs into the data": (run_in, "damaged, cut off"),
    "a header without end": (long_header, "damaged, cut off.*announces 4294967295 bytes"),
    "a control character in a header": (control_character, "damaged, cut off"),
    "a broken stream in an archive": (broken_stream, "damaged, cut off.*decompressing"),
    "a slice without its end": (slice_without_end, "s_9.png: is damaged, cut off"),
    "a shape that is no number": (shape_in_words, "damaged, cut off"),
    "dates": (dates, "must hold grey values or labels; got datetime64"),
    "complex numbers": (complex_numbers, "must hold grey values or labels; got complex64"),
    "an encrypted archive": (encrypted, "damaged, cut off.*encrypted"),
    "gzip without its end": (gzip_without_end, "the packed data end too early"),
    "voxels without end": (lambda path: nrrd_text(path, "6 5 4", "1 1 1e999"), "must state a finite place and size"),
    "more voxels than numbers": (lambda path: nrrd_text(path, "1e999 5 4", "1 1 1"), "damaged, cut off"),
    "pages without end": (pages_without_end, "page 2 is followed by one before it"),
    "a chunk of nothing": (no_chunk, "damaged, cut off.*chunk"),
    "no file": (lambda path: path / "nowhere.tif", "there is no such file"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_a_whole_stack_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    """Bug: what is missing comes back as zeros, a bomb fills the memory, a pickle runs."""
    make, said = REFUSED[name]
    with pytest.raises(InputFileError, match=said) as caught:
        read_stack(make(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", [0.02, 0.3, 0.7, 0.98])
@pytest.mark.parametrize("name", ["tiff deflated", "imagej", "npz", "nrrd", "bigtiff"])
def test_a_file_cut_anywhere_is_refused_or_whole(name: str, part: float, tmp_path: Path) -> None:
    """Bug: half a stack is read, and the crack ends in the middle."""
    file = cut(MAKERS[name], part)(tmp_path)
    try:
        raw = read_stack(file)
    except InputFileError:
        return
    assert np.array_equal(raw.voxels, VOXELS)  # only what comes after the data was cut


def huge(path: Path) -> Path:
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": (3000, 3000, 3000)})
    with (path / "a.npy").open("wb") as stream:
        stream.write(head.getvalue())
        stream.truncate(len(head.getvalue()) + 27 * 10**9)  # sparse: it takes no room on the disk
    return path / "a.npy"


def test_a_stack_above_the_limit_is_refused_by_its_header(tmp_path: Path) -> None:
    """Bug: the machine swaps to death before anything is said."""
    with pytest.raises(LimitError, match="3000 x 3000 x 3000 voxels take 27 GB; allowed are 8 GB"):
        read_stack(huge(tmp_path))
    with pytest.raises(LimitError, match=r"4 x 5 x 6 voxels take 1\.2e-07 GB"):
        read_stack(tiff(tmp_path), limit=100)


@pytest.mark.parametrize(("module", "name"), [("tifffile", "tiff"), ("nrrd", "nrrd"), ("zarr", "zarr 3")])
def test_a_missing_package_names_the_extra(
    module: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bug: a traceback of an import."""
    file = MAKERS[name](tmp_path)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SetupError, match=rf"takes the package {module}.*fem-spall\[imaging\]"):
        read_stack(file)


def test_one_array_of_several(tmp_path: Path) -> None:
    """Bug: the first array whichever is asked for."""
    file = npz(tmp_path, one=VOXELS, two=VOXELS[::-1])
    found: NDArray[Any] = read_stack(file, "two").voxels
    assert np.array_equal(found, VOXELS[::-1])


def test_chunks_that_are_not_there_are_told(tmp_path: Path) -> None:
    """Bug: half an image was never copied, reads as zeros, and nobody says so."""
    folder = zarr_folder(tmp_path, 2)
    assert not read_stack(folder).notes
    (folder / "1.0.0").unlink()
    raw = read_stack(folder)
    assert raw.notes == ("1 of 2 chunks are not there and read as 0",)
    assert not raw.voxels[2:].any()
