"""The shape of the package: who may import whom, what stays out of the files, what is documented and listed."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "fem_spall"

#: Layers from bottom to top; a name with a dot at its end stands for a whole folder, whose files may use each other.
LAYERS = (
    ("errors", "quantity", "progress", "memory", "model", "yaml_tree", "reuse"),
    ("analytic.", "yaml_source", "kernels", "deadline"),
    ("conductivity", "boundary", "near"),
    ("crack.", "inclusion"),
    ("microstructure",),
    ("electrolyte", "region"),
    ("case", "benchmark"),
    ("case_schema",),
    ("case_file",),
    ("fenics", "mesh.arrays"),
    ("numbering",),
    ("mesh.parts",),
    ("mesh.tagged_surface", "mesh.curved", "mesh.sizes", "mesh.stars", "mesh.wall"),
    ("mesh.thin", "mesh.plane_faces", "mesh.sides", "mesh.regions", "mesh.mmg", "mesh.distance"),
    ("mesh.embed", "mesh.mend_walls", "mesh.pull_walls", "mesh.checks"),
    ("mesh.focus", "mesh.remesh_mmg", "mesh.tetrahedralise", "mesh.tagged", "mesh.tetwild"),
    ("mesh.cad", "mesh.worst_cells", "mesh.attempts", "mesh.contacts", "mesh.refill"),
    ("mesh.worst_walls",),
    ("mesh.analytic_shapes", "mesh.surface_mesh"),
    ("mesh.worker",),
    ("mesh.mesher",),
    ("mesh.child",),
    ("conduction", "floating"),
    ("levels",),
    ("multigrid",),
    ("matrix_free",),
    ("system",),
    ("kinetics", "wall_points"),
    ("nonconforming", "bent_cells"),
    ("solve",),
    ("equilibrate", "surface_flux", "forces", "tip_flux", "power_by_part"),
    ("edges", "metric", "leaking"),
    ("intensity",),
    ("edge_figures",),
    ("metrics", "voxel_error"),
    ("accuracy", "model_error", "output."),
    ("adapt", "polarisation", "consequences"),
    ("record", "filling"),
    ("warn", "stage"),
    ("solution_store",),
    ("estimate",),
    ("run",),
    ("verify", "converge", "terminal"),
    ("summary",),
    ("doctor",),
    ("inspection", "studies", "refusal", "sweep."),
    ("cli",),
    ("__main__",),
)
#: The only modules that may use DOLFINx and PETSc, through the one door.
FINITE_ELEMENTS = {
    "accuracy",
    "numbering",
    "mesh.parts",
    "mesh.tagged",
    "conduction",
    "floating",
    "matrix_free",
    "levels",
    "multigrid",
    "bent_cells",
    "nonconforming",
    "wall_points",
    "kinetics",
    "system",
    "solve",
    "forces",
    "leaking",
    "power_by_part",
    "tip_flux",
    "equilibrate",
    "output.fields",
    "stage",
    "run",
}
FOREIGN = {"dolfinx", "ufl", "basix", "ffcx", "petsc4py", "mpi4py", "dolfinx_solver"}
MOST_LINES = 450


@cache
def modules() -> dict[str, ast.Module]:
    """Syntax tree of each module by its name within the package."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = ast.parse(path.read_text())
    return found


def imported(tree: ast.Module) -> Iterator[str]:
    """Full names of everything imported anywhere in a module, functions included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def dependencies() -> dict[str, set[str]]:
    """Modules of the package that each module imports."""
    known = modules()
    found: dict[str, set[str]] = {}
    for name, tree in known.items():
        found[name] = set()
        for full in imported(tree):
            if full.startswith("fem_spall."):
                inner = full.removeprefix("fem_spall.")
                while inner and inner not in known:  # from the name of a thing to the module that has it
                    inner = inner.rpartition(".")[0]
                if inner:
                    found[name].add(inner)
    return found


def layer(name: str) -> int:
    for level, members in enumerate(LAYERS):
        if any(name == m.removesuffix(".") or (m.endswith(".") and name.startswith(m)) for m in members):
            return level
    raise AssertionError(f"{name} has no layer: put it into LAYERS where it belongs")


def folder(name: str) -> str:
    """The folder layer a module belongs to, or the module itself."""
    return next((m for members in LAYERS for m in members if m.endswith(".") and f"{name}.".startswith(m)), name)


def test_the_graph_is_read() -> None:
    """Bug: the other tests look at an empty graph and can never fail."""
    graph = dependencies()
    assert len(graph) > 60
    assert {"case", "fenics", "mesh.tagged", "errors"} <= graph["conduction"]
    assert "stage" in graph["run"], "imports within functions count"
    assert "crack" in graph["case"], "a name from a package is an import of the package"


def test_imports_point_down() -> None:
    """Bug: physics that knows the command line, or a mesher that knows the solver, cannot be used without it."""
    wrong = [
        f"{name} imports {other}"
        for name, others in dependencies().items() if name not in ("__init__", "mesh")
        for other in others
        if layer(other) >= layer(name) and not (folder(name) == folder(other) and folder(name).endswith("."))
    ]  # fmt: skip
    assert not wrong


def test_no_import_goes_in_a_circle() -> None:
    """Bug: which module works depends on which one is imported first."""
    try:
        list(TopologicalSorter(dependencies()).static_order())
    except CycleError as circle:
        pytest.fail(" -> ".join(circle.args[1]))


def test_every_layer_has_its_modules() -> None:
    """Bug: the list of layers keeps names of modules that are gone, and says nothing about the new ones."""
    names = modules().keys()
    for members in LAYERS:
        for member in members:
            assert any(name == member or name.startswith(member) for name in names), member
    assert all(layer(name) >= 0 for name in names if name not in ("__init__", "mesh"))


def test_one_door_to_the_finite_elements() -> None:
    """Bug: importing dolfinx before mpi4py fails, and PETSc's options come in by the back door."""
    for name, tree in modules().items():
        if name != "fenics":
            tops = {full.split(".")[0] for full in imported(tree)}
            assert not tops & FOREIGN, name
    assert {name for name, others in dependencies().items() if "fenics" in others} == FINITE_ELEMENTS


def test_gmsh_never_opens_a_file() -> None:
    """Bug: a user's file goes to gmsh's readers, which run what a .geo or .pos file says and die of a bad .stl."""
    opening = {"open", "merge", "importShapes", "importShapesNativePointer"}
    used = set()
    for name, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute):
                words = ast.unparse(node).split(".")
                if words[0] in ("gmsh", "occ"):
                    used.add(name)
                    assert not opening & set(words), f"{name}: {ast.unparse(node)}"
    assert {"mesh.tetrahedralise", "mesh.analytic_shapes"} <= used, "the names under which gmsh is used"
    arguments = {a.arg for t in modules().values() for n in ast.walk(t) if isinstance(n, ast.arguments) for a in n.args}
    assert "gmsh" in arguments, "and it is handed on under that name"


def test_a_run_loads_the_finite_elements_late() -> None:
    """Bug: 'fem-spall check' needs MPI, or the import takes seconds."""
    for name in ("run", "cli"):
        top = [node for node in modules()[name].body if isinstance(node, ast.ImportFrom)]
        assert not {f"fem_spall.{m}" for m in ("fenics", "stage", "solve")} & {str(node.module) for node in top}


def test_modules_are_short() -> None:
    """Bug: a god module grows line by line."""
    long = {p.name: n for p in PACKAGE.rglob("*.py") if (n := len(p.read_text().splitlines())) >= MOST_LINES}
    assert not long


def public(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    """Public functions and classes of a module and public methods of its public classes."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node.name, node
            if isinstance(node, ast.ClassDef):
                for inner in node.body:
                    if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_"):
                        yield f"{node.name}.{inner.name}", inner


@pytest.mark.parametrize("module", sorted(modules()))
def test_everything_public_is_documented(module: str) -> None:
    """Bug: what a function returns, in which unit, must be guessed."""
    tree = modules()[module]
    assert ast.get_docstring(tree), "the module itself"
    bare = [name for name, node in public(tree) if not ast.get_docstring(node)]  # type: ignore[arg-type]
    assert not bare


def tracked() -> list[Path]:
    """Text files that are committed; in a copy without history all files but those that tools make."""
    if (ROOT / ".git").exists():
        listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
        paths = [ROOT / name for name in listed.stdout.splitlines()]
    else:
        made = {".venv", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache"}
        paths = [p for p in ROOT.rglob("*") if not made & set(p.relative_to(ROOT).parts)]
    binary = {".tif", ".stl", ".obj", ".ply", ".off", ".png", ".npz", ".lock"}
    return [p for p in paths if p.is_file() and p.suffix not in binary]


def test_no_file_names_this_machine_or_a_package_host() -> None:
    """Bug: a path of the author's machine, or the address of a mirror, ends up in what others install."""
    machine = re.compile(r"(?<![\w.$}~])/(?:work|root|home|Users|mnt|scratch)/\w")
    host = re.compile(r"https?://\S*(?:pypi|pythonhosted|anaconda|conda-forge|artifactory|nexus|mirror|/simple)", re.I)
    assert machine.search("see /ho" + "me/me/x")
    assert host.search("http" + "s://py" + "pi.org/x")
    files = tracked()
    assert len(files) > 100
    for path in files:
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            assert not machine.search(line), f"{path}:{number}"
            assert not host.search(line), f"{path}:{number}"


def kinds_in(*names: str) -> set[str]:
    """Kinds of the classes in some modules: the literals of their key ``kind``."""
    found: set[str] = set()
    for name in names:
        for node in ast.walk(modules()[name]):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == "kind":
                annotation = eval(ast.unparse(node.annotation), {"Literal": Literal, "str": str})
                if get_origin(annotation) is Literal:
                    found |= set(get_args(annotation))
    return found


def test_every_kind_is_listed() -> None:
    """Bug: a crack kind or a law is written but not named in its union, and no user can reach it."""
    from fem_spall.analytic import POTENTIALS
    from fem_spall.case_file import kinds

    listed: dict[str, set[str]] = {}
    for entry in kinds():
        listed.setdefault(entry["group"], set()).add(entry["kind"])
        assert entry["about"], entry["kind"]
    cracks = kinds_in(*(name for name in modules() if name.startswith("crack.")))
    assert {"surface_file", "penny", "spall"} <= cracks
    assert listed["cracks"] == cracks
    laws = listed["interface of a crack or an electrode"] | listed["walls, the other faces of the block"]
    assert listed["regions"] == kinds_in("region")
    assert laws == kinds_in("boundary")
    assert listed["electrolyte.conductivity"] == kinds_in("conductivity", "microstructure")
    assert listed["part of the electrolyte"] == kinds_in("inclusion")
    assert listed["solution of exact_potential"] == set(POTENTIALS)
