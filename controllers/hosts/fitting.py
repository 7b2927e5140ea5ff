"""Whether a controller can work in a host: what it reads, held against what the host measures; and the host's library.

A law decides from the error and the order; where it would read more (Newton's convergence), it has rules for a method
that reports none.  A learned controller was trained with all of its features: one that a host cannot fill would be 0
throughout, which no training has seen.  So it is refused, by the name of the feature and of what the host lacks.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import warnings
from types import ModuleType
from typing import Any

from ...integrators.core import record as rec
from ...integrators.core.contract import missing
from ...integrators.core.errors import shown
from ..learned.observation import slot_names

#: what every host with an error estimate fills
TIER0 = frozenset({rec.ERR, rec.H, rec.H_FREE, rec.ORDER, rec.TRUNCATED, rec.FINITE, rec.RTOL})
#: and with norms of the state and of the error, and a known end time
NORMS, ENDS = frozenset({rec.YNORM, rec.ENORM}), frozenset({rec.T_LEFT, rec.SPAN})
#: and with stages
STAGES = frozenset({rec.HS, rec.CURV})


def fit(controller: Any, host: str, slots: frozenset[int]) -> Any:
    """`controller`, if the host `host`, which fills `slots`, gives it all that it reads.

    Raises TypeError for what is no controller, and ValueError naming the features and the slots that are missing.
    """
    lacks = missing(controller)
    if lacks:
        raise TypeError(
            f"{host}: a controller is needed, {type(controller).__name__!r} lacks {', '.join(lacks)} "
            "(stepsmith.controller(NAME) gives one)"
        )
    decision = getattr(controller, "decision", controller)
    needs = frozenset(getattr(controller, "needs", frozenset())) - slots
    if needs:
        other = "a criterion (controller('aarseth'))" if rec.ERR in needs else "a law of the error (controller('pi34'))"
        raise ValueError(
            f"{host} cannot run controller {shown(controller.name)}: it decides from {', '.join(slot_names(needs))}, "
            f"which this host does not measure. Use {other}"
        )
    if getattr(decision, "algebraic", False):
        raise ValueError(
            f"{host} cannot run controller {shown(controller.name)}: it turns the Jacobian's renewal and the dead "
            "band, which belong to this package's own implicit methods"
        )
    observation = getattr(decision, "observation", None)
    blind = [] if observation is None else [f for f in observation.table if not f.slots <= slots]
    if blind:
        what = ", ".join(slot_names(frozenset[int]().union(*(f.slots - slots for f in blind))))
        names = ", ".join(f.name for f in blind)
        raise ValueError(
            f"{host} cannot run controller {shown(controller.name)}: its features {names} need {what}, which this host "
            "does not measure here. Train one on features that it has (tier 0: features = 'tier0'), or use a law"
        )
    return controller


def library(name: str, least: str, below: str, extra: str | None = None) -> ModuleType:
    """The module `name`, which the adapter was tested with from version `least` to before `below`.

    Raises ImportError with the command that installs it; warns where the version is another one.
    """
    extra = name if extra is None else extra
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as problem:
        if problem.name != name:
            raise
        raise ModuleNotFoundError(f"{name} is not installed: pip install 'stepsmith[{extra}]'", name=name) from None
    version = _version(name)
    if not _numbers(least) <= _numbers(version) < _numbers(below):
        warnings.warn(
            f"{name} {version} is not among the versions that this adapter was tested with, {least} to before {below}: "
            "what it relies on may have changed",
            stacklevel=4,
        )
    return module


@functools.cache  # it reads files
def _version(name: str) -> str:
    return importlib.metadata.version(name)


def _numbers(version: str) -> tuple[int, ...]:
    """The release numbers of a version, "1.17.0rc1" as (1, 17, 0)."""
    numbers = []
    for part in version.split("+")[0].split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
    return tuple(numbers)
