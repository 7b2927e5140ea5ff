"""What an install holds: every subpackage under the one import root `stepsmith`, and nothing beside it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("integrators", "controllers", "policies", "envs", "train")
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
SHIPPED = ("stepsmith", *ROOMS, "tests", "docs", "examples", "benchmarks")


def packages_in(tree: Path) -> dict[str, str]:
    """Every folder with an __init__.py: {package name: folder relative to the tree}."""
    found = {"stepsmith": "stepsmith"}
    for room in ROOMS:
        for init in (tree / room).rglob("__init__.py"):
            folder = init.parent.relative_to(tree).as_posix()
            found["stepsmith." + folder.replace("/", ".")] = folder
    for own in ("neural", "flows"):
        for init in (tree / "stepsmith" / own).rglob("__init__.py"):
            folder = init.parent.relative_to(tree).as_posix()
            found[folder.replace("/", ".")] = folder
    return found


def modules_in(tree: Path) -> set[str]:
    """The names that the tree's modules have inside a wheel."""
    return {
        f"{name.replace('.', '/')}/{file.name}"
        for name, folder in packages_in(tree).items()
        for file in (tree / folder).glob("*.py")
    }


def source_tree(target: Path, *, symlinks: bool) -> Path:
    """Copy what a checkout holds, so that building leaves nothing behind in it.

    With symlinks=False, each link is a text file that holds its target, as git checks it out with
    core.symlinks=false.
    """
    target.mkdir()
    for item in ROOT.iterdir():
        if item.is_file():
            shutil.copy2(item, target)
        elif item.name in SHIPPED:
            leave = shutil.ignore_patterns("__pycache__", "*.nb?", "out", "runs")
            shutil.copytree(item, target / item.name, symlinks=True, ignore=leave)
    if not symlinks:
        for link in [path for path in (target / "stepsmith").iterdir() if path.is_symlink()]:
            text = os.readlink(link)
            link.unlink()
            link.write_text(text)
    return target


def call(*args: str, cwd: Path) -> None:
    run = subprocess.run([sys.executable, "-m", *args], cwd=cwd, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, f"{args}\n{run.stdout}\n{run.stderr}"


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The copy of the sources that `built` is made from: what is built is compared with it."""
    return source_tree(tmp_path_factory.mktemp("build") / "tree", symlinks=True)


@pytest.fixture(scope="session")
def built(tree: Path) -> Path:
    """A folder with the sdist, and the wheel that was built from the unpacked sdist."""
    call("build", "--outdir", "../dist", ".", cwd=tree)
    return tree.parent / "dist"


@pytest.fixture(scope="session")
def wheel(built: Path) -> zipfile.ZipFile:
    (file,) = built.glob("*.whl")
    return zipfile.ZipFile(file)


def test_every_package_is_listed() -> None:
    assert sorted(SETUPTOOLS["packages"]) == sorted(packages_in(ROOT))
    assert SETUPTOOLS["package-dir"] == packages_in(ROOT)


def test_every_folder_with_code_is_a_package() -> None:
    folders = {file.parent for room in ROOMS for file in (ROOT / room).rglob("*.py")}
    assert not [str(folder) for folder in folders if not (folder / "__init__.py").is_file()]


def test_the_version_stands_alike_everywhere(wheel: zipfile.ZipFile) -> None:
    """It stands in the package; the metadata are read from there, and what repeats it by hand says the same."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "version" not in project and SETUPTOOLS["dynamic"]["version"] == {"attr": "stepsmith.__version__"}
    (package,) = re.findall(r'^__version__ = "(.+)"$', (ROOT / "stepsmith/__init__.py").read_text(), re.MULTILINE)
    citation = dict(re.findall(r"^([\w-]+): (\S+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE))
    entries = re.findall(r"^## \[(.+?)\](?: - (\S+))?$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert entries[0] == ("Unreleased", "") and entries[1] == (package, citation["date-released"])
    (metadata,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    assert metadata == f"stepsmith-{package}.dist-info/METADATA"
    assert f"\nVersion: {package}\n" in wheel.read(metadata).decode()
    assert citation["version"] == package and citation["license"] == project["license"] == "MIT"


def test_the_command_says_the_version() -> None:
    import stepsmith

    run = subprocess.run([sys.executable, "-m", "stepsmith", "--version"], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == ["stepsmith", stepsmith.__version__]


def test_rooms_are_links_in_the_package_folder() -> None:
    for room in ROOMS:
        link = ROOT / "stepsmith" / room
        assert (os.readlink(link) if link.is_symlink() else link.read_text()) == f"../{room}"


def test_wheel_holds_every_module(tree: Path, wheel: zipfile.ZipFile) -> None:
    inside = {name for name in wheel.namelist() if name.endswith(".py")}
    assert inside == modules_in(tree)


def test_wheel_holds_the_data(tree: Path, wheel: zipfile.ZipFile) -> None:
    expected = {"stepsmith/py.typed"}
    for name, patterns in SETUPTOOLS["package-data"].items():
        folder = tree / packages_in(tree)[name]
        expected |= {
            f"{name.replace('.', '/')}/{f.relative_to(folder).as_posix()}" for p in patterns for f in folder.glob(p)
        }
    assert expected <= set(wheel.namelist())


def test_wheel_has_one_import_root(wheel: zipfile.ZipFile) -> None:
    roots = {name.partition("/")[0] for name in wheel.namelist()}
    assert {root for root in roots if not root.endswith(".dist-info")} == {"stepsmith"}


def test_wheel_names_licence_and_command(wheel: zipfile.ZipFile) -> None:
    texts = {name.rpartition("/")[2]: name for name in wheel.namelist() if ".dist-info/" in name}
    assert "stepsmith = stepsmith.train.cli:main" in wheel.read(texts["entry_points.txt"]).decode()
    assert b"License-Expression: MIT" in wheel.read(texts["METADATA"])
    assert wheel.read(texts["LICENSE"]) == (ROOT / "LICENSE").read_bytes()


def test_sdist_holds_sources_tests_and_pins(tree: Path, built: Path) -> None:
    (file,) = built.glob("*.tar.gz")
    with tarfile.open(file) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {f.relative_to(tree).as_posix() for r in (*ROOMS, "tests") for f in (tree / r).rglob("*.py")}
    wanted |= {"stepsmith/__init__.py", "pyproject.toml", "constraints.txt", "Makefile", "LICENSE"}
    assert not wanted - inside


def test_wheel_is_whole_where_links_are_text_files(tmp_path: Path) -> None:
    tree = source_tree(tmp_path / "tree", symlinks=False)
    assert (tree / "stepsmith" / "envs").read_text() == "../envs"
    call("pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path / "dist"), ".", cwd=tree)
    (file,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(file) as archive:
        assert {name for name in archive.namelist() if name.endswith(".py")} == modules_in(tree)
