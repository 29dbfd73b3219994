"""What is installed is one light package, `autonla`, made of all five folders."""

from __future__ import annotations

import ast
import importlib
import json
import os
import runpy
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

import autonla

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("planner", "primitives", "cost_models", "probes", "profiles")
IN_CHECKOUT = (ROOT / "setup.py").is_file()
needs_checkout = pytest.mark.skipif(not IN_CHECKOUT, reason="the tests were copied out of the checkout")

# Imported where they are used: each costs 0.1 s to 1.6 s.
LAZY = {"cupy", "dask", "matplotlib", "networkx", "numba", "optuna", "pandas", "pyamg", "sklearn", "torch"}
# numpy and pydantic bring about 250; scipy.linalg alone would add 260.
MOST_MODULES = 500


def run_python(*arguments: str) -> str:
    """Standard output of a fresh interpreter that imports from where this one does."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def test_import_is_light():
    loaded = json.loads(run_python("-c", "import autonla, json, sys; print(json.dumps(list(sys.modules)))"))
    assert "autonla.planner" in loaded
    assert not LAZY & {name.partition(".")[0] for name in loaded}
    assert len(loaded) < MOST_MODULES


def test_command_line_starts():
    assert "profile" in run_python("-m", "autonla", "--help")


def test_version_is_the_one_declared():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert autonla.__version__ == declared


def test_version_is_the_one_installed():
    try:
        installed = metadata.version("autonla")
    except metadata.PackageNotFoundError:
        pytest.skip("autonla is not installed")
    assert autonla.__version__ == installed


def test_facade_offers_what_it_lists():
    assert len(set(autonla.__all__)) == len(autonla.__all__)
    for name in autonla.__all__:
        assert getattr(autonla, name) is not None
    assert {"Budget", "Plan", "plan", "profile_hardware", "race", "solve"} <= set(autonla.__all__)


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_room_is_imported_under_one_name(folder):
    assert importlib.import_module(f"autonla.{folder}").__name__ == f"autonla.{folder}"


def source_files() -> list[Path]:
    """Every file of the five folders, relative to the root."""
    files = (path.relative_to(ROOT) for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file())
    return sorted(p for p in files if not any(part == "__pycache__" or part.startswith(".") for part in p.parts))


@needs_checkout
def test_every_package_is_discovered():
    pytest.importorskip("setuptools")
    setup = runpy.run_path(str(ROOT / "setup.py"))
    facade = Path(setup["package_dir"]["autonla"])
    found = {Path(*name.split(".")[1:]) if name != "autonla" else facade for name in setup["packages"]}
    assert {path.parent for path in source_files() if path.suffix == ".py"} == found


@needs_checkout
def test_data_files_lie_where_the_wheel_looks():
    data = [path for path in source_files() if path.suffix not in (".py", ".md") and path.name != "py.typed"]
    strays = [path for path in data if "data" not in path.parts]
    assert not strays, "a package's data files belong in its data/ folder"


@needs_checkout
def test_link_tree_mirrors_the_folders():
    link = ROOT / ".link/autonla"
    facade = ROOT / "planner/_facade"
    expected = {name: ROOT / name for name in FOLDERS} | {
        path.name: path for path in facade.iterdir() if path.name != "__pycache__"
    }
    assert {path.name: path.resolve() for path in link.iterdir() if path.name != "__pycache__"} == expected
    assert all(path.is_symlink() for path in link.iterdir() if path.name != "__pycache__")


@needs_checkout
def test_rooms_import_each_other_relatively():
    """One class imported under two names is two classes to a type checker."""
    for path in source_files():
        if path.suffix != ".py" or "_facade" in path.parts:
            continue
        for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                assert (node.module or "").partition(".")[0] != "autonla", f"{path}:{node.lineno}"
