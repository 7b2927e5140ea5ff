"""The families that ship, by name. Adding one: a file here that defines `FAMILY`, and a line in `_FILES`."""

from __future__ import annotations

import functools
import importlib

from ..families import Family
from ..names import unknown
from ..problem import Batch, Problem

_FILES = (
    "arenstorf",
    "brusselator",
    "double_pendulum",
    "fitzhugh_nagumo",
    "henon_heiles",
    "kepler",
    "lorenz",
    "lotka_volterra",
    "neural_field",
    "pleiades",
    "plummer",
    "three_body",
    "three_body_paper",
    "vanderpol",
)


def names() -> tuple[str, ...]:
    """Names of all families, sorted."""
    return _FILES


@functools.cache
def family(name: str) -> Family:
    """The family called `name`. Raises ValueError, naming the nearest, if there is none."""
    if name not in _FILES:
        raise unknown("problem family", name, _FILES)
    return importlib.import_module(f".{name}", __name__).FAMILY


def make(name: str, seed: int | None = None) -> Problem:
    """One problem of a family: the published instance, or with `seed` the instance of that number."""
    fam = family(name)
    return fam.canonical() if seed is None else fam.instance(seed)


def sample(name: str, n: int, seed: int = 0) -> Batch:
    """`n` instances of a family. The same seed gives the same instances; apart from all comparison splits."""
    return family(name).draw(n, seed)
