"""Suites: several families under one method, for controllers that are to serve all of them."""

from __future__ import annotations

from dataclasses import dataclass

from .. import methods, problems
from ..core.names import unknown
from .families import Family


@dataclass(frozen=True)
class Suite:
    """families: what is trained and tuned on.  unseen: families that only a comparison looks at.  method: the suite's
    own.
    """

    name: str
    method: str
    families: tuple[str, ...]
    unseen: tuple[str, ...]
    doc: str


SUITES: dict[str, Suite] = {s.name: s for s in (
    Suite(
        "stiff", "esdirk43",
        ("rober", "orego", "e5", "vdpol_stiff", "pollu", "brusselator_1d", "gray_scott_1d", "hodgkin_huxley",
         "ignition", "flame", "friction", "chua"),
        ("hires", "medical_akzo_20"),
        "stiff kinetics, circuits, lines of cells, nonsmooth systems",
    ),
    Suite(
        "steppo", "kvaerno5", ("steppo_decay", "steppo_vdpol", "steppo_brusselator"), (),
        "StePPO's three systems over their ranges",
    ),
)}  # fmt: skip


def is_suite(name: str | Family) -> bool:
    """Whether a suite, not a family, is called that."""
    return name in SUITES


def get(name: str) -> Suite:
    """The suite called `name`; ValueError naming the nearest."""
    if name not in SUITES:
        raise unknown("suite", name, SUITES)
    return SUITES[name]


def called(given: str | Family) -> str:
    """The name of a suite or of a family that is given by its name, by where it is, or itself (`problems.named`)."""
    return given if isinstance(given, str) and is_suite(given) else problems.named(given)


def members(name: str | Family, method: str | None = None) -> tuple[tuple[str, ...], str]:
    """(families, method) of a suite or a family; method: None for its own.  ValueError naming the nearest for unknown
    names.
    """
    if isinstance(name, str) and is_suite(name):
        suite = get(name)
        return suite.families, methods.registered(suite.method if method is None else method)
    family = problems.family(called(name))
    return (family.name,), methods.registered(family.method if method is None else method)
