"""The families that ship, by name. Adding one: a file in a folder here that defines `FAMILY`, and a line in `_PLACES`.

Families in `_SIZED` come from the method of lines; NAME_<points>, as in brusselator_1d_100, is the family on so many
points.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

from ..core.errors import OptionError, refuse, shown
from ..core.names import unknown
from ..core.options import text
from .families import Family
from .problem import Batch, Problem

_PLACES = {
    "arenstorf": "nonstiff",
    "brusselator": "nonstiff",
    "brusselator_1d": "lines",
    "chua": "stiff",
    "double_pendulum": "nonstiff",
    "e5": "stiff",
    "fitzhugh_nagumo": "nonstiff",
    "flame": "stiff",
    "friction": "stiff",
    "gray_scott_1d": "lines",
    "henon_heiles": "nonstiff",
    "hires": "stiff",
    "hodgkin_huxley": "stiff",
    "ignition": "stiff",
    "kepler": "nbody",
    "lorenz": "nonstiff",
    "lotka_volterra": "nonstiff",
    "medical_akzo": "lines",
    "neural_field": "nonstiff",
    "orego": "stiff",
    "pleiades": "nbody",
    "plummer": "nbody",
    "pollu": "stiff",
    "ring_modulator": "stiff",
    "rober": "stiff",
    "steppo_brusselator": "stiff",
    "steppo_decay": "stiff",
    "steppo_vdpol": "stiff",
    "three_body": "nbody",
    "three_body_paper": "nbody",
    "vanderpol": "nonstiff",
    "vdpol_stiff": "stiff",
}
_SIZED = ("brusselator_1d", "gray_scott_1d", "medical_akzo")


_REGISTERED: dict[str, Family] = {}


def register(family: Family) -> Family:
    """Let `family.name` name a family of a caller's own wherever a family is named in this process; returns it.

    A family that was registered under the name before is replaced.  OptionError for what is no `Family`, and for the
    name of one that ships.
    """
    if not isinstance(family, Family):
        raise refuse("family", "a stepsmith.Family", family)
    base, _, points = text("family.name", family.name).rpartition("_")
    if family.name in _PLACES or (base in _SIZED and points.isdigit()):
        raise OptionError(f"family {shown(family.name)} ships with the package: give this one another name")
    _REGISTERED[family.name] = family
    return family


def ships(name: str) -> bool:
    """Whether the name is that of a family that ships, and not one of a caller's own."""
    return name not in _REGISTERED


def names() -> tuple[str, ...]:
    """Names of all families: those that ship, sorted, then those that were registered."""
    return (*_PLACES, *_REGISTERED)


def family(name: str) -> Family:
    """The family called `name`. Raises ValueError, naming the nearest, if there is none."""
    text("family", name)
    return _REGISTERED[name] if name in _REGISTERED else _shipped(name)


@functools.cache
def _shipped(name: str) -> Family:
    base, _, points = name.rpartition("_")
    if base in _SIZED and points.isdigit():
        return _module(base).of_size(int(points))
    if name not in _PLACES:
        raise unknown("problem family", name, names())
    return _module(name).FAMILY


def _module(name: str) -> Any:
    return importlib.import_module(f".{_PLACES[name]}.{name}", __name__)


def make(name: str, seed: int | None = None) -> Problem:
    """One problem of a family: the published instance, or with `seed` the instance of that number."""
    fam = family(name)
    return fam.canonical() if seed is None else fam.instance(seed)


def sample(name: str, n: int, seed: int = 0) -> Batch:
    """`n` instances of a family. The same seed gives the same instances; apart from all comparison splits."""
    return family(name).draw(n, seed)
