"""The report: what it says, that it is offline, whole without its parts, and safe against the user's text."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from fem_spall.errors import OutputError
from fem_spall.output.crack_plot import thinned
from fem_spall.output.report import write_report
from tests.result_folder import result, write_result_folder


class Page(HTMLParser):
    """What a browser would load, and the text it would show."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loaded += [str(v) for k, v in attrs if k in ("src", "href", "data", "action", "srcset", "poster")]
        if tag not in ("meta", "img", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag  # nothing is left unclosed

    def handle_data(self, data: str) -> None:
        if "script" not in self.open and "style" not in self.open:
            self.text += data


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_result_folder(tmp_path_factory.mktemp("run"))
    (folder / "figures" / "section.png").write_bytes(b"\x89PNG stands for a picture")
    write_report(folder)
    return folder


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return Page((folder / "report.html").read_text())


def test_nothing_is_loaded_from_the_network(folder: Path, page: Page) -> None:
    # Bug caught: a report that is empty on the plane, or tells a server who reads it.
    assert page.loaded
    assert all(place.startswith(("#", "data:")) for place in page.loaded)
    html = (folder / "report.html").read_text()
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert "default-src 'none'" in html
    assert "connect-src" not in html  # so that default-src forbids it
    assert '"showSendToCloud":false' in html


def test_the_first_paragraph_answers(page: Page) -> None:
    # Bug caught: a number without its error, place or unit, or in another unit than the table's.
    answer = " ".join(page.text.split("Read these warnings")[0].split())
    assert "2.9981 ± 0.0040 times the mean current density" in answer
    assert "ball of 250 nm radius" in answer
    assert "x = 10.00, y = 15.00, z = 45.00 µm, 5.00 µm deep under the plating electrode" in answer
    assert "(23.56 ± 0.10) nA, (39.27 ± 0.20) % of the cell's current" in answer
    assert "closer by (1.3090 ± 0.0020) µm, 2.62 % of their distance" in answer
    assert "10.00 mA/cm² at 50.0 mV" in answer


def test_the_largest_field_is_no_result(page: Page) -> None:
    # Bug caught: the mesh-dependent maximum quoted as a figure.
    assert page.text.count("30.20 V/cm") == 1
    row = page.text[page.text.index("Not a result") :][:250]
    assert "30.20 V/cm where the cells measure 1300 nm; mesh-dependent" in row


def test_evidence_warnings_and_inputs_are_there(page: Page) -> None:
    # Bug caught: a section dropped by a renamed key of the record.
    for words in (
        "an isolated crack <would> read 9 % more",
        "not given: 100 nm is less than 3 times the local mesh size",
        "Crack current23.6623.56−0.40 %nA",
        "Charge3.0 × 10⁻¹³holds",
        "degenerate faces dropped",
        "a hemisphere <under> the plating face",
        "dolfinx0.11",
        "10.1039/d3ee03916a",
        "Seconds",
        "Every focusing figure is over j₀",
    ):
        assert words in page.text


def test_errors_of_the_model_stand_in_columns_of_their_own(tmp_path: Path) -> None:
    # Bug caught: the change by the box added to the error of the mesh, shown in SI, or lost.
    record = result()
    metrics = record["metrics"]
    box = {"change": -0.123, "isolated": 2.7e-8, "isolated_error": 8e-10, "method": "lattice of dipoles"}
    surface = {"change": 0.0072, "distance_p99_m": 33e-9, "distance_largest_m": 67e-9, "method": "area"}
    size = {"filter_length_m": 2e-7, "surface_tolerance_m": 6e-8, "method": "smoothed below"}
    metrics["crack_current"]["model_errors"] = {"box": box, "surface": {"absent": "no <estimate>"}, "size_min": size}
    metrics["fef_r250nm"]["model_errors"] = {
        "box": {"change": -0.123, "isolated_absent": "several cracks"}, "surface": surface, "size_min": size,
    }  # fmt: skip
    (tmp_path / "result.json").write_text(json.dumps(record))
    text = " ".join(Page(write_report(tmp_path).read_text()).text.split())
    assert "Quantity Value Error Box Isolated Surface Unit".replace(" ", "") in text.replace(" ", "")
    assert re.search(r"crack_current ?23\.56 ?± 0\.10 ?−12 % ?27\.00 ± 0\.80 ?nA", text)
    assert re.search(r"fef_r250nm ?2\.9981 ?± 0\.0040 ?−12 % ?\+0\.72 %", text)
    assert "99 % of the surface is meshed within 33 nm; the largest distance is 67 nm" in text
    assert "he filter length is 200 nm; the tolerance of the surface is 60 nm" in text
    assert "Without an isolated value (box): several cracks." in text
    assert "Without a number (surface): no <estimate>." in text


def test_text_of_the_user_stays_text(tmp_path: Path) -> None:
    # Bug caught: a case name or a crack name that runs as a script.
    attack = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
    write_result_folder(tmp_path)
    record = result() | {"name": attack, "warnings": [{"kind": attack, "text": attack}]}
    record["metrics"]["crack_current"]["definition"] = attack
    record["cracks"] = {attack: record["cracks"]["boss"]}
    (tmp_path / "result.json").write_text(json.dumps(record))
    (tmp_path / "case.yaml").write_text(attack)
    plain, attacked = write_result_folder(tmp_path / "plain"), tmp_path
    tags = [Page(write_report(f).read_text()).tags for f in (plain, attacked)]
    assert [tags[1].count(t) for t in ("script", "img")] == [tags[0].count(t) for t in ("script", "img")]


def test_same_files_same_bytes(folder: Path) -> None:
    # Bug caught: a time stamp or a random id that makes every report a new file.
    before = (folder / "report.html").read_bytes()
    assert write_report(folder).read_bytes() == before


def test_bare_record_makes_a_report_with_sentences(tmp_path: Path) -> None:
    # Bug caught: a run without fields or pictures that ends in a traceback.
    (tmp_path / "result.json").write_text(json.dumps({"metrics": {"total_current": {"value": 1e-9, "unit": "A"}}}))
    page = Page(write_report(tmp_path).read_text())
    for words in (
        "This run gives no focusing factor",
        "figures/section.png was not drawn",
        "The run wrote no lithium surface",
        "This run compared no two solutions",
        "The record holds no balances",
        "The folder holds no case.yaml",
        "The run gave no warnings",
    ):
        assert words in page.text


def test_farther_apart_and_in_the_plane(tmp_path: Path) -> None:
    # Bug caught: a negative advance reported as closer electrodes.
    record = result()
    record["metrics"]["electrode_advance"] |= {"value": -2e-6, "error": 1e-8}
    (tmp_path / "result.json").write_text(json.dumps(record))
    text = " ".join(Page(write_report(tmp_path).read_text()).text.split())
    assert "electrodes farther apart by (2.000 ± 0.010) µm, 4.00 % of their distance" in text


def test_folder_without_a_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"holds no result\.json; Run the case first"):
        write_report(tmp_path)
    (tmp_path / "result.json").write_text('{"metrics"')
    with pytest.raises(OutputError, match="must be the record of a run; it cannot be read"):
        write_report(tmp_path)
    (tmp_path / "result.json").write_text("[]")
    with pytest.raises(OutputError, match="it has no metrics"):
        write_report(tmp_path)


def test_full_disk_leaves_the_old_report(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Bug caught: half a page in place of a whole one.
    before = (folder / "report.html").read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match=r"report\.html: cannot be written: No space left"):
        write_report(folder)
    assert (folder / "report.html").read_bytes() == before


def test_thinning_keeps_the_hot_spot_and_the_shape() -> None:
    # Bug caught: clustering that averages the tip away, or leaves a hole where it was.
    n = 60
    x, y = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
    points = np.stack([x, y, 0 * x], axis=-1).reshape(-1, 3).astype(float)
    corner = (x[:-1, :-1] * n + y[:-1, :-1]).ravel()
    faces = np.vstack(
        [np.stack([corner, corner + n, corner + n + 1], 1), np.stack([corner, corner + n + 1, corner + 1], 1)]
    )
    flux = np.zeros(len(points))
    flux[777] = 12.0
    thin, values, triangles = thinned(points, flux, faces, 1000)
    assert len(triangles) <= 1000
    assert values.max() == 12.0
    assert np.linalg.norm(thin[values.argmax()] - points[777]) < 6
    a, b, c = (thin[triangles[:, k]] for k in range(3))
    area = 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1).sum()
    assert area == pytest.approx((n - 1) ** 2, rel=0.15)


def test_stated_share_is_the_record_s(page: Page) -> None:
    # Bug caught: a share shown both as 0.39 and as 39 %.
    assert re.search(r"Crack's share of the current\s*crack_current_share\s*39\.27± 0\.20%", page.text)
