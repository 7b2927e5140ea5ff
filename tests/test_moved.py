"""Import paths that have moved still work, and say so; nothing of the package's own uses them."""

from __future__ import annotations

import importlib
import pickle
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MOVED = {
    "integrators.record": ("integrators.core.record", "N_RECORD"),
    "integrators.names": ("integrators.core.names", "unknown"),
    "integrators.binding": ("integrators.core.binding", "bind"),
    "controllers.contract": ("integrators.core.contract", "Lane"),
    "controllers.namespaces": ("integrators.core.namespaces", "NUMPY"),
    "integrators.neural.controller": ("integrators.core.runner", "slots_read"),
}


@pytest.mark.parametrize("old", MOVED)
def test_an_old_path_gives_what_the_new_one_holds(old):
    new, name = MOVED[old]
    module = importlib.import_module(f"stepsmith.{old}")
    with pytest.warns(DeprecationWarning, match=rf"stepsmith\.{old} has moved to stepsmith\.{new}") as caught:
        value = getattr(module, name)
    assert value is getattr(importlib.import_module(f"stepsmith.{new}"), name)
    assert caught[0].filename == __file__
    with pytest.raises(AttributeError, match=f"no attribute 'nothing'; it has moved to stepsmith.{new}"):
        module.nothing  # noqa: B018
    assert f"stepsmith.{new}" in (module.__doc__ or "")


def test_renamed():
    with pytest.warns(DeprecationWarning):
        from stepsmith.integrators.neural.controller import LaneController
    from stepsmith.integrators.core.runner import Runner

    assert LaneController is Runner


def test_what_was_pickled_under_an_old_path_loads():
    old = b"cstepsmith.controllers.contract\nDense\n."
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert pickle.loads(old).__name__ == "Dense"


def test_the_package_itself_uses_the_new_paths():
    found = [
        f"{file.relative_to(ROOT)}: {old}"
        for folder in ("integrators", "controllers", "policies", "envs", "train", "stepsmith", "benchmarks", "tests")
        for file in (ROOT / folder).rglob("*.py")
        for old in MOVED
        if f"stepsmith.{old} import" in file.read_text() and file.name != "test_moved.py"
    ]
    assert not found
