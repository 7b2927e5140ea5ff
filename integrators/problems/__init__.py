"""The families that ship, by name. Adding one: a file in a folder here that defines `FAMILY`, and a line in `_PLACES`.

Families in `_SIZED` come in sizes: brusselator_1d_100 is the family of that name on 100 points, plummer_32 that of 32
bodies, neural_field_64 that with 64 hidden units, lorenz96_8 that of 8 sites.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

from ..core.errors import OptionError, refuse, shown
from ..core.names import unknown
from ..core.options import text
from . import places
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
    "kuramoto": "nonstiff",
    "lorenz": "nonstiff",
    "lorenz96": "nonstiff",
    "lotka_volterra": "nonstiff",
    "medical_akzo": "lines",
    "neural_field": "nonstiff",
    "neural_training": "nonstiff",
    "orego": "stiff",
    "pleiades": "nbody",
    "plummer": "nbody",
    "pollu": "stiff",
    "rate_network": "nonstiff",
    "ring_modulator": "stiff",
    "rober": "stiff",
    "species": "nonstiff",
    "steppo_brusselator": "stiff",
    "steppo_decay": "stiff",
    "steppo_vdpol": "stiff",
    "three_body": "nbody",
    "three_body_paper": "nbody",
    "vanderpol": "nonstiff",
    "vdpol_stiff": "stiff",
}
_SIZED = (
    "brusselator_1d", "gray_scott_1d", "kuramoto", "lorenz96", "medical_akzo", "neural_field", "plummer",
    "rate_network", "species",
)  # fmt: skip


_REGISTERED: dict[str, Family] = {}


def register(family: Family) -> Family:
    """Let `family.name` name a family of a caller's own wherever a family is named in this process; returns it.

    A family that was registered under the name before is replaced.  OptionError for what is no `Family`, and for the
    name of one that ships.
    """
    if not isinstance(family, Family):
        raise refuse("family", "a stepsmith.Family", family)
    if _is_ours(text("family.name", family.name)):
        raise OptionError(f"family {shown(family.name)} ships with the package: give this one another name")
    _REGISTERED[family.name] = family
    return family


def ships(name: str) -> bool:
    """Whether the name is that of a family that ships, and not one of a caller's own."""
    return name not in _REGISTERED


def names() -> tuple[str, ...]:
    """Names of all families: those that ship, sorted, then those that were registered."""
    return (*_PLACES, *_REGISTERED)


def family(given: str | Family) -> Family:
    """The family that is given: itself, or by its name, or by where it is (`places`: file.py:NAME,
    package.module:NAME).

    Raises ValueError, naming the nearest, where there is none, and what is wrong with a file.
    """
    if isinstance(given, Family):
        return given
    name = text("family", given)
    if name in _REGISTERED:
        return _REGISTERED[name]
    if places.is_place(name):
        return places.find(name)
    offered = {} if name in _PLACES else places.offered()
    return places.find(offered[name]) if name in offered else _shipped(name)


def named(given: str | Family) -> str:
    """The name under which `family` finds what is given, in this process: a family of a caller's own is registered
    under its own name.

    Raises as `family` does, and OptionError where a family that ships has that name.
    """
    found = family(given)
    if _REGISTERED.get(found.name) is found or (_is_ours(found.name) and _shipped(found.name) is found):
        return found.name
    return register(found).name


def _is_ours(name: str) -> bool:
    base, _, size = name.rpartition("_")
    return name in _PLACES or (base in _SIZED and size.isdigit())


@functools.cache
def _shipped(name: str) -> Family:
    base, _, size = name.rpartition("_")
    if base in _SIZED and size.isdigit():
        return _module(base).of_size(int(size))
    if name not in _PLACES:
        raise unknown("problem family", name, names())
    return _module(name).FAMILY


def _module(name: str) -> Any:
    return importlib.import_module(f".{_PLACES[name]}.{name}", __name__)


def make(name: str | Family, seed: int | None = None) -> Problem:
    """One problem of a family: the published instance, or with `seed` the instance of that number."""
    fam = family(named(name))
    return fam.canonical() if seed is None else fam.instance(seed)


def sample(name: str | Family, n: int, seed: int = 0) -> Batch:
    """`n` instances of a family. The same seed gives the same instances; apart from all comparison splits."""
    return family(named(name)).draw(n, seed)
