"""The families that ship, by name. Adding one: a file here that defines `FAMILY`, and a line in `_FILES`.

Families in `_SIZED` come from the method of lines; NAME_<points>, as in brusselator_1d_100, is the family on so many points.
"""

from __future__ import annotations

import functools
import importlib

from ..core.names import unknown
from ..families import Family
from ..problem import Batch, Problem

_FILES = (
    "arenstorf",
    "brusselator",
    "brusselator_1d",
    "chua",
    "double_pendulum",
    "e5",
    "fitzhugh_nagumo",
    "flame",
    "friction",
    "gray_scott_1d",
    "henon_heiles",
    "hires",
    "hodgkin_huxley",
    "ignition",
    "kepler",
    "lorenz",
    "lotka_volterra",
    "medical_akzo",
    "neural_field",
    "orego",
    "pleiades",
    "plummer",
    "pollu",
    "ring_modulator",
    "rober",
    "steppo_brusselator",
    "steppo_decay",
    "steppo_vdpol",
    "three_body",
    "three_body_paper",
    "vanderpol",
    "vdpol_stiff",
)
_SIZED = ("brusselator_1d", "gray_scott_1d", "medical_akzo")


def names() -> tuple[str, ...]:
    """Names of all families, sorted."""
    return _FILES


@functools.cache
def family(name: str) -> Family:
    """The family called `name`. Raises ValueError, naming the nearest, if there is none."""
    base, _, points = name.rpartition("_")
    if base in _SIZED and points.isdigit():
        return importlib.import_module(f".{base}", __name__).of_size(int(points))
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
