"""Import paths that have moved still work, and say so; nothing of the package's own uses them."""

from __future__ import annotations

import importlib
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from stepsmith.integrators.core.moved import KEPT, MOVED, install, new_name

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("old", MOVED)
def test_an_old_name_gives_the_module_itself(old, monkeypatch):
    new = importlib.import_module(f"stepsmith.{MOVED[old]}")
    spec = new.__spec__
    if "." in old.partition(".")[2]:  # its package first, which may warn too
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module(f"stepsmith.{old.rpartition('.')[0]}")
    monkeypatch.delitem(sys.modules, f"stepsmith.{old}", raising=False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = importlib.import_module(f"stepsmith.{old}")
    said = [str(w.message) for w in caught if "has moved" in str(w.message)]
    assert said == ([] if old in KEPT else [f"stepsmith.{old} has moved to stepsmith.{MOVED[old]}"])
    assert found is new and new.__spec__ is spec and new.__name__ == f"stepsmith.{MOVED[old]}"


def test_the_warning_stands_at_the_line_that_imports():
    code = "import warnings; warnings.simplefilter('always')\n"
    code += "from stepsmith.controllers.contract import Lane, Dense\nprint(Lane)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert "stepsmith.integrators.core.contract.Lane" in done.stdout, done.stderr
    lines = [line for line in done.stderr.splitlines() if "has moved" in line]
    assert len(lines) == 1 and lines[0].startswith(
        "<string>:2: DeprecationWarning: stepsmith.controllers.contract has moved to"
    )


def test_other_names_are_not_found():
    for name in ("stepsmith.integrators.nothing", "stepsmith.integrators.recorder"):
        assert new_name(name) is None
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(name)
    assert new_name("elsewhere.integrators.record") is None


def test_renamed():
    from stepsmith.integrators.core.runner import LaneController, Runner

    assert LaneController is Runner


def test_what_was_pickled_under_an_old_path_loads():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert pickle.loads(b"cstepsmith.controllers.contract\nDense\n.").__name__ == "Dense"


def test_importing_everything_uses_no_old_name():
    code = (
        "import importlib, pkgutil, warnings, stepsmith\n"
        "warnings.filterwarnings('error', message='stepsmith.*has moved')\n"
        "for part in pkgutil.walk_packages(stepsmith.__path__, 'stepsmith.'):\n"
        "    if not part.name.endswith('__main__'):\n"
        "        importlib.import_module(part.name)\n"
        "print('all')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, cwd=ROOT)
    assert done.stdout.endswith("all\n"), done.stderr[-2000:]


def test_one_finder():
    install()
    assert (
        sum(
            type(finder).__qualname__ == "_Finder" and "stepsmith" in type(finder).__module__
            for finder in sys.meta_path
        )
        == 1
    )


def test_public_names_use_no_old_name():
    code = "import stepsmith as ss\nfor name in ss.__all__:\n    getattr(ss, name)\nprint('all')"
    done = subprocess.run(
        [sys.executable, "-W", "error:stepsmith:DeprecationWarning", "-c", code],
        capture_output=True, text=True, timeout=300, cwd=ROOT,
    )  # fmt: skip
    assert done.stdout == "all\n", done.stderr[-2000:]
