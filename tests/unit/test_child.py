"""The meshing process: its limits, its end, its answers; and the ladder of attempts within it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from manifold3d import Manifold

from fem_spall.case import Case
from fem_spall.crack import CrackSurface
from fem_spall.errors import GeometryError, LimitError, MeshingError, SetupError
from fem_spall.mesh import mesher, remesh_mmg, tetwild
from fem_spall.mesh.arrays import FACES, MeshArrays, triangle_areas
from fem_spall.mesh.attempts import ATTEMPTS, CLOSE
from fem_spall.mesh.checks import cell_volumes
from fem_spall.mesh.child import clean_environment, mesh_in_child
from fem_spall.mesh.focus import Focus
from fem_spall.mesh.mesher import Mesher, prepare
from fem_spall.mesh.tagged_surface import TaggedSurface
from fem_spall.mesh.worker import mesh_case, read_failure, write_failure
from tests.solids import UM, block_mesh, case_of, cuboid, surface_of

CUBE = {"a": cuboid((5, 5, 43), (9, 11, 52))}
ENDLESS = {"size_min": "20 nm", "size_max": "100 nm"}  # tens of millions of cells


def file_case(**mesh: Any) -> Case:
    """A case whose crack surface is handed over, so that its file is never read."""
    crack = {"name": "a", "kind": "surface_file", "file": "nowhere.stl", "unit": "um"}
    return case_of(cracks=[crack], mesh={"size_min": "1 um", "size_max": "8 um"} | mesh)


def workers_in(folder: Path) -> list[int]:
    """Processes at the job of a folder: those that write its log."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/fd/1"):
        try:
            if entry.readlink() == folder / "mesher.log":
                found.append(int(entry.parts[2]))
        except OSError:
            continue
    return found


#: What :func:`mesher_with` runs instead of a mesher.
SERVER = "import os, signal, sys; from fem_spall.mesh import worker, tetrahedralise\n{}\nworker.serve(int(sys.argv[1]))"


@pytest.fixture
def mesher_with(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Code to run in a mesher of its own before it serves."""
    monkeypatch.setattr(mesher._kept, "mesher", None, raising=False)
    start = subprocess.Popen

    def given(code: str) -> None:
        def other(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
            return start([command[0], "-c", SERVER.format(code), *command[3:]], **options)

        monkeypatch.setattr("fem_spall.mesh.mesher.subprocess.Popen", other)

    yield given
    Mesher.of_this_thread().end()


def test_a_mesh_comes_back_whole(tmp_path: Path) -> None:
    """Bug: names, units or the record of the mesher are lost between the processes."""
    mesh = mesh_in_child(file_case(), CUBE, tmp_path)
    assert cell_volumes(mesh).sum() * (mesh.unit / UM) ** 3 == pytest.approx(30000 - 4 * 6 * 7, rel=1e-9)
    facets = mesh.facets[mesh.tags == mesh.names["a"]]
    area = triangle_areas(mesh.points[facets]).sum() * (mesh.unit / UM) ** 2
    assert area == pytest.approx(24 + 2 * (28 + 42), rel=1e-3)
    assert mesh.info["remesher"] == "mmg"
    assert mesh.info["attempt"] == 1
    assert mesh.info["boolean_volume_balance"] == pytest.approx(0, abs=1e-12)
    assert mesh.info["boolean_areas_m2"]["a"] == pytest.approx(164 * UM**2, rel=1e-9, abs=0)
    assert mesh.info["apart_from_plating"] == []


def test_the_time_limit_leaves_no_process_behind(tmp_path: Path) -> None:
    """Bug: a hanging mesher outlives its limit and eats the machine (it ignores SIGTERM, trap 10)."""
    begin = time.monotonic()
    with pytest.raises(LimitError, match=r"mesh.time_limit: meshing took longer than 0.2 s; raise") as refusal:
        mesh_in_child(file_case(time_limit="0.2 s", **ENDLESS), CUBE, tmp_path)
    assert time.monotonic() - begin < 5
    assert refusal.value.number == 801
    assert workers_in(tmp_path) == []


def test_the_memory_limit(tmp_path: Path) -> None:
    """Bug: a surface with a bad size fills the memory, and the system ends some other process."""
    with pytest.raises(LimitError, match=r"meshing took more than 0\.02 GB") as refusal:
        mesh_in_child(file_case(memory_limit="20 MB", **ENDLESS), CUBE, tmp_path)
    assert refusal.value.number == 802
    assert workers_in(tmp_path) == []


@pytest.mark.parametrize(
    ("end", "words"),
    [("os.kill(os.getpid(), 11)", "signal 11: last words"), ("sys.exit(3)", "exit code 3: last words"),
     ("return 0", "exit code 0: last words"), ("os.kill(os.getppid(), 9); signal.pause()", "signal 9: last words"),
     ("raise ValueError('a bug')", "exit code 1: ValueError: a bug")]
)  # fmt: skip
def test_a_dying_mesher_is_a_refusal(mesher_with: Callable[[str], None], tmp_path: Path, end: str, words: str) -> None:
    """Bug: a crash in gmsh ends the run as a bug, an empty answer is taken for a mesh, or the next job finds nobody."""
    mesher_with(f"""
def main(folder, whole=worker.main):
    if not folder.name.startswith("bad"):
        return whole(folder)
    print("first words"); print("last words", flush=True)
    {end}
worker.main = main""")
    (tmp_path / "bad").mkdir()
    with pytest.raises(MeshingError, match=f"the meshing process died with {words}") as refusal:
        mesh_in_child(file_case(), CUBE, tmp_path / "bad")
    assert refusal.value.detail == 35
    (tmp_path / "good").mkdir()
    assert len(mesh_in_child(file_case(), CUBE, tmp_path / "good").cells) > 0


def test_a_mesher_that_cannot_begin_says_why(mesher_with: Callable[[str], None], tmp_path: Path) -> None:
    """Bug: a library is missing, and the run waits for ever or says nothing of it."""
    mesher_with("sys.exit('libX.so: cannot open shared object file')")
    with pytest.raises(SetupError, match=r"a system library is missing: libX\.so: cannot open"):
        mesh_in_child(file_case(), CUBE, tmp_path)


CRASHING = """
from fem_spall.mesh.attempts import Trail
whole, folders = tetrahedralise.tetrahedralise, []

def main(folder, job=worker.main):
    folders.append(folder)
    return job(folder)

def dies(*arguments):
    print("last words", flush=True)
    if len(Trail(folders[0]).failures) < DEATHS:
        os.kill(os.getpid(), 11)
    return whole(*arguments)

worker.main, tetrahedralise.tetrahedralise = main, dies
"""


@pytest.mark.parametrize("deaths", [1, 99])
def test_attempts_go_on_where_a_mesher_died(mesher_with: Callable[[str], None], tmp_path: Path, deaths: int) -> None:
    """Bug: gmsh or MMG dies of one attempt, and the others, which would do, are never made."""
    mesher_with(CRASHING.replace("DEATHS", str(deaths)))
    case = file_case(mesher="gmsh", **({"remesher": "none"} if deaths > 1 else {}))
    if deaths > 1:
        with pytest.raises(
            MeshingError, match=r"does not make a mesh: size 1 .*: mesher: died with signal 11: last"
        ) as it:
            mesh_in_child(case, CUBE, tmp_path)
        assert it.value.detail == 35
    else:
        mesh = mesh_in_child(case, CUBE, tmp_path)
        died = "size 1 x size_min, folds kept, walls close: mesher: died with signal 11: last words"
        assert mesh.info["failed_attempts"][0] == died
        assert mesh.info["attempt"] == 1 + len(mesh.info["failed_attempts"])


def test_a_refusal_in_the_child_is_the_same_here(tmp_path: Path) -> None:
    """Bug: the reason is lost, and the user reads that the meshing process died."""
    with pytest.raises(GeometryError, match=r"crack a: takes nothing out of the block; it spans \(40, 5, 20\)") as it:
        mesh_in_child(file_case(), {"a": cuboid((40, 5, 20), (44, 11, 27))}, tmp_path)
    assert (it.value.number, it.value.cure) == (411, "check its unit and place")


def test_every_refusal_survives_the_way(tmp_path: Path) -> None:
    """Bug: quotes or other letters break the file, or the class changes with its exit code."""
    for error in (MeshingError(7, 'a "b"\n', "σ\\", "c"), LimitError(1, "", "", "")):
        write_failure(tmp_path / "failure.json", error)
        again = read_failure(tmp_path / "failure.json")
        assert type(again) is type(error)
        assert again.args == error.args


def test_the_child_s_environment_holds_no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bug: a child started under mpiexec believes it is a rank and waits for the others."""
    for name in ("PMI_RANK", "PMI_FD", "PMIX_RANK", "HYDI_CONTROL_FD", "MPIR_CVAR_X", "OMPI_COMM_WORLD_SIZE",
                 "MPI_LOCALNRANKS", "HYDRA_LAUNCHER"):  # fmt: skip
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("OTHER_PMI", "kept")
    left = clean_environment()
    assert not [name for name in left if name.startswith(("PMI", "HYD", "MPI", "OMPI"))]
    assert left["OTHER_PMI"] == "kept"
    assert left["PATH"] == os.environ["PATH"]
    assert "PMI_RANK" in os.environ, "only the copy is cleaned"


PARENT = """
import sys
from pathlib import Path
from fem_spall.mesh.child import mesh_in_child
from fem_spall.mesh.mesher import prepare
from tests.solids import case_of, cuboid
{begin}
crack = {{"name": "a", "kind": "surface_file", "file": "nowhere.stl", "unit": "um"}}
case = case_of(cracks=[crack], mesh={{"size_min": "20 nm", "size_max": "100 nm"}})
mesh_in_child(case, {{"a": cuboid((5, 5, 43), (9, 11, 52))}}, Path(sys.argv[1]))
"""


@pytest.mark.parametrize(("begin", "library"), [("", ""), ("", "manifold3d"), ("prepare()", "manifold3d")])
def test_the_mesher_ends_with_its_parent(tmp_path: Path, begin: str, library: str) -> None:
    """Bug: a killed run leaves a mesher behind; at its very start (before any library), or at work."""
    command = [sys.executable, "-c", PARENT.format(begin=begin), str(tmp_path)]
    parent = subprocess.Popen(command, cwd=Path(__file__).parents[2])
    try:
        (worker,) = _wait_for(lambda: workers_in(tmp_path))
        _wait_for(lambda: library in Path(f"/proc/{worker}/maps").read_text())
        (server,) = map(int, Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split())
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        _wait_for(lambda: not workers_in(tmp_path) and not Path(f"/proc/{server}").exists())
    finally:
        parent.kill()
        parent.wait()
        for left in workers_in(tmp_path):
            os.kill(left, signal.SIGKILL)


SAME = """
import os, sys, tempfile
from pathlib import Path
from fem_spall.case_file import load_case
from fem_spall.mesh import mesher
from fem_spall.mesh.child import mesh_in_child
open_file = open(os.devnull)
os.environ["PMI_RANK"] = "1"
{begin}
def mesh(*given):
    with tempfile.TemporaryDirectory() as folder:
        return mesh_in_child(load_case(sys.argv[1], given), {{}}, Path(folder)).sha256
first = mesh()
files = os.listdir(f"/proc/{{mesher.Mesher.of_this_thread().pid}}/fd")
mesh("mesh.size_min=1 um")
if not (child := os.fork()):
    sys.exit()  # a fork of the parent lets the mesher be
os.waitpid(child, 0)
pid = mesher.Mesher.of_this_thread().pid
print(first, mesh(), len(files))
assert mesher.Mesher.of_this_thread().pid == pid
mesher.Mesher.of_this_thread().end()
print(mesh())
"""


def test_meshes_do_not_depend_on_what_their_process_did_before() -> None:
    """Bug: a mesh is another one in a fork, after another mesh, or where files of its parent are open to it."""
    said = []
    for begin in ("mesher.prepare()", ""):
        case = Path(__file__).parents[2] / "benchmarks" / "12b_adaptive_boss" / "case.yaml"
        command = [sys.executable, "-c", SAME.format(begin=begin), str(case)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
            assert parent.stdout is not None
            said += parent.stdout.read().split()
        assert parent.returncode == 0
    assert len({*said[0::4], *said[1::4], *said[3::4]}) == 1, "shas"
    assert {*said[2::4]} == {"5"}, "standard files, its commands and its answers"


def test_only_a_process_with_one_thread_and_no_mpi_is_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bug: a fork of a process whose other thread holds a lock waits for it for ever."""
    monkeypatch.setattr(mesher._kept, "mesher", None, raising=False)
    here: list[bool] = []
    monkeypatch.setattr(mesher, "Mesher", lambda *, forked: here.append(forked))
    monkeypatch.setattr(mesher.threading, "active_count", lambda: 1)
    monkeypatch.setitem(sys.modules, "mpi4py.MPI", None)
    prepare()
    assert here == []
    monkeypatch.delitem(sys.modules, "mpi4py.MPI")
    monkeypatch.setattr(mesher.threading, "active_count", lambda: 2)
    prepare()
    assert here == []
    monkeypatch.setattr(mesher.threading, "active_count", lambda: 1)
    prepare()
    assert here == [True]


def test_a_thread_has_a_mesher_of_its_own(tmp_path: Path) -> None:
    """Bug: a mesher dies with the thread that started it in the middle of another thread's job."""
    folders = [tmp_path / str(number) for number in range(3)]
    meshes: dict[Path, MeshArrays] = {}

    def work(folder: Path) -> None:
        folder.mkdir()
        meshes[folder] = mesh_in_child(file_case(), CUBE, folder)

    threads = [threading.Thread(target=work, args=[folder]) for folder in folders[:2]]
    for thread in threads:
        thread.start()
    work(folders[2])
    for thread in threads:
        thread.join()
    assert len({mesh.sha256 for mesh in meshes.values()}) == 1
    assert len(meshes) == 3


def _wait_for(condition: Any) -> Any:
    end = time.monotonic() + 20
    while not (found := condition()):
        assert time.monotonic() < end, "waited 20 s"
        time.sleep(0.02)
    return found


def test_refinement_keeps_the_boundary(tmp_path: Path) -> None:
    """Bug: the finer mesh is made from the case again, and its surface differs from the coarse one's."""
    coarse = block_mesh(crack="a", counts=(4, 3, 4))
    focus = Focus(np.array([[10.0, 15.0, 50.0]]) * UM, 2 * UM, 1 * UM)
    fine = mesh_in_child(file_case(), {}, tmp_path, [focus], coarse)
    assert len(fine.facets) > 2 * len(coarse.facets)
    for name, tag in coarse.names.items():
        before, after = (triangle_areas(m.points[m.facets[m.tags == tag]]).sum() for m in (coarse, fine))
        assert after == pytest.approx(before, rel=1e-12), name
    middles = fine.points[fine.cells].mean(axis=1) * fine.unit
    near = np.linalg.norm(middles - focus.centres[0], axis=1) < 2 * UM
    corners = fine.points[fine.cells[near]] * fine.unit
    assert np.median(np.linalg.norm(corners[:, 0] - corners[:, 1], axis=1)) < 1.5 * UM


def test_the_ladder_of_attempts_is_on_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bug: a mesh made with other sizes than asked for looks like the one asked for."""
    inner, asked = remesh_mmg.remesh, []

    def stumbling(surface: TaggedSurface, size_min: float, *other: Any, sharp: bool, **more: Any) -> TaggedSurface:
        asked.append((size_min * 10, sharp))
        if len(asked) < 6:
            raise MeshingError(20, "surface mesh", f"stumble {len(asked)}", "nothing")
        return inner(surface, size_min, *other, sharp=sharp, **more)

    monkeypatch.setattr(remesh_mmg, "remesh", stumbling)
    monkeypatch.setattr("fem_spall.mesh.surface_mesh.length_unit", lambda _: 1e-5)
    mesh = mesh_case(file_case(), CUBE)
    assert asked == [pytest.approx(one[:2]) for one in (CLOSE, *ATTEMPTS[:5])]
    assert mesh.info["attempt"] == 6
    assert mesh.info["failed_attempts"][0] == "size 1 x size_min, folds kept, walls close: surface mesh: stumble 1"
    assert mesh.info["failed_attempts"][3] == "size 0.5 x size_min, folds kept: surface mesh: stumble 4"


def test_the_end_of_the_ladder_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bug: the last failure escapes without saying that everything was tried, or a faulty mesh is used."""

    def failing(*_: Any, **__: Any) -> TaggedSurface:
        raise MeshingError(20, "surface mesh", "no luck", "lower mesh.size_min")

    monkeypatch.setattr(remesh_mmg, "remesh", failing)
    with pytest.raises(MeshingError, match="all 9 attempts failed, the last with: no luck; lower") as refusal:
        mesh_case(file_case(mesher="gmsh"), CUBE)
    assert refusal.value.detail == 20
    monkeypatch.setattr(tetwild, "find_spec", lambda _: None)
    with pytest.raises(MeshingError, match=r"all 9 attempts failed.* fTetWild: pip install 'fem-spall\[robust\]'"):
        mesh_case(file_case(), CUBE)
    monkeypatch.setitem(sys.modules, "pytetwild", None)
    with pytest.raises(SetupError, match=r"mesh.mesher: tetwild needs the package pytetwild; install it"):
        mesh_case(file_case(mesher="tetwild"), CUBE)
    with pytest.raises(MeshingError, match=r"mesh.mesher: tetwild is for surfaces"):
        mesh_case(case_of(mesh={"size_min": "1 um", "size_max": "8 um", "mesher": "tetwild"}), {})


def test_tetwild_is_the_last_rung_and_keeps_names_and_planes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Bug: the fallback's mesh has its walls within an envelope only, or names by place alone: the cap of a crack."""
    pytest.importorskip("pytetwild")

    def failing(*_: Any, **__: Any) -> TaggedSurface:
        raise MeshingError(20, "surface mesh", "no luck", "lower mesh.size_min")

    monkeypatch.setattr(remesh_mmg, "remesh", failing)
    monkeypatch.chdir(tmp_path)
    mesh = mesh_case(file_case(), CUBE)
    assert (mesh.info["mesher"], mesh.info["attempt"], len(mesh.info["failed_attempts"])) == ("tetwild", 10, 9)
    scale = mesh.unit / UM
    box = np.array(mesh.info["box"])
    assert box * scale == pytest.approx(np.array([[0, 0, 0], [20, 30, 50]]), rel=1e-12)
    areas = {"-x": 1500, "+x": 1500, "-y": 1000, "+y": 1000, "-z": 600, "+z": 600 - 4 * 6, "a": 24 + 2 * (28 + 42)}
    for name, tag in mesh.names.items():
        facets = mesh.facets[mesh.tags == tag]
        if name in FACES:
            axis, side = FACES[name]
            assert (mesh.points[facets][:, :, axis] == box[side, axis]).all()
        assert triangle_areas(mesh.points[facets]).sum() * scale**2 == pytest.approx(areas[name], rel=0.01), name
    assert (cell_volumes(mesh) > 0).all()
    assert cell_volumes(mesh).sum() * scale**3 == pytest.approx(30000 - 4 * 6 * 7, rel=1e-3)
    assert mesh.info["min_quality"] > 0.05
    assert list(tmp_path.iterdir()) == []  # fTetWild leaves a file where it runs


def test_gmsh_cannot_remesh_a_reconstructed_surface() -> None:
    """Bug: asking for gmsh's remeshing runs MMG without a word, or hangs in gmsh's parametrisation."""
    with pytest.raises(MeshingError, match=r"mesh.remesher: gmsh's own remeshing is for cracks of closed form"):
        mesh_case(file_case(remesher="gmsh"), CUBE)


def test_remesher_none_keeps_the_triangles() -> None:
    """Bug: 'none' remeshes all the same."""
    mesh = mesh_case(file_case(remesher="none", quality_floor=1e-4), CUBE)
    facets = mesh.facets[mesh.tags == mesh.names["a"]]
    assert len(np.unique(facets)) == 8
    assert mesh.info["remesher"] == "none"


def test_a_closed_bowl_passes_the_distance_check() -> None:
    """Bug: the inside of a bowl, whose electrolyte is dropped, has no counterpart and fails every mesh."""
    bowl = Manifold.cube((8, 8, 8)).translate((6, 11, 44)) - Manifold.cube((4, 4, 8)).translate((8, 13, 47))
    mesh = mesh_case(file_case(size_min="500 nm"), {"a": surface_of(bowl)})
    assert mesh.info["attempt"] == 1
    assert mesh.info["distances"]["a"]["largest_m"] < 0.15 * UM
    (repair,) = mesh.info["repairs"]
    assert repair["volume_change"] == pytest.approx(-4 * 4 * 3 * UM**3, rel=1e-9, abs=0)


def test_a_crack_apart_from_the_plating_face_is_named() -> None:
    """Bug: lithium without contact is held at the plating potential without a word."""
    mesh = mesh_case(file_case(), {"a": cuboid((5, 5, 30), (9, 11, 37))})
    assert mesh.info["apart_from_plating"] == ["a"]


def test_the_flat_part_of_an_interface_sheet_is_the_plating_face() -> None:
    """Bug: all of the sheet counts as crack, and shares and captures mean nothing."""
    body = Manifold.cube((22, 32, 4)).translate((-1, -1, 50)) + Manifold.cube((4, 6, 8)).translate((5, 5, 43))
    surface = surface_of(body)
    sheet = CrackSurface(surface.vertices, surface.faces, sheet=True)
    crack = {"name": "s", "kind": "interface_file", "file": "nowhere.stl", "unit": "um", "flat_within": "0.2 um"}
    mesh = mesh_case(case_of(cracks=[crack], mesh={"size_min": "1 um", "size_max": "8 um"}), {"s": sheet})
    assert mesh.info["interface_sheet"] is True
    area = {n: triangle_areas(mesh.points[mesh.facets[mesh.tags == t]]).sum() for n, t in mesh.names.items()}
    scale = (mesh.unit / UM) ** 2
    assert area["+z"] * scale == pytest.approx(600 - 24, rel=1e-9)
    assert area["s"] * scale == pytest.approx(24 + 2 * (4 + 6) * 7, rel=1e-9)


def test_arrays_survive_the_file(tmp_path: Path) -> None:
    """Bug: a mesh read back differs from the one written, in a bit or in a name."""
    mesh = block_mesh(order=2, crack="a")
    mesh.save(tmp_path / "mesh.npz")
    again = MeshArrays.load(tmp_path / "mesh.npz")
    assert again.sha256 == mesh.sha256
    assert (again.names, again.unit, again.info, again.order) == (mesh.names, mesh.unit, mesh.info, 2)
    changed = mesh.points.copy()
    changed[0, 0] = np.nextafter(changed[0, 0], 1)
    assert MeshArrays(changed, mesh.cells, mesh.facets, mesh.tags, mesh.names, mesh.unit).sha256 != mesh.sha256
