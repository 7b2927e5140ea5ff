"""The arms of a tuner: settings of a solve, what each of them solves with, and which of them may be compared by cost.

An arm is a mapping of `stepsmith.solve`'s keywords (controller, method, rtol, atol, first_step, max_steps) and of
coefficients of its law (safety, b1, kappa, ...: `controllers.laws.coefficients`).  A mapping of lists stands for the
product of them.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ...integrators import methods
from ...integrators.core import options, tolerance_scale
from ...integrators.core.errors import OptionError, refuse, shown
from .. import resolve
from ..laws import registry
from ..laws.coefficients import SPECS
from ..laws.law import Law

KEYWORDS = ("controller", "method", "rtol", "atol", "first_step", "max_steps")
"""The keywords of a solve that an arm may set."""

#: what decides how large an error is let pass, of a solve and of a linear law
ACCURACY = ("rtol", "atol", "method")
_ACCEPTANCE = ("accept_err", "accept_factor")


def given(arms: Any) -> tuple[Any, ...]:
    """The arms as a tuple: of a sequence as they are (mappings copied), of a mapping of sequences their product.

    OptionError for fewer than one arm, for what is neither, for an empty list in a product, and for an arm that is
    there twice.
    """
    if isinstance(arms, Mapping):
        found = _product(arms)
    elif isinstance(arms, Iterable) and not isinstance(arms, (str, bytes)):
        found = [dict(arm) if isinstance(arm, Mapping) else arm for arm in arms]
    else:
        raise refuse("arms", "a list of arms, or a mapping of lists such as {'safety': [.7, .9]}", arms)
    if not found:
        raise OptionError("arms must hold at least one arm, got none")
    labels = [label(arm) for arm in found]
    for i, text in enumerate(labels):
        if text in labels[:i]:
            raise OptionError(f"arms must differ, got {text} twice")
    return tuple(found)


def _product(arms: Mapping[str, Any]) -> list[dict[str, Any]]:
    columns = []
    for name, values in arms.items():
        listed = isinstance(values, Iterable) and not isinstance(values, (str, bytes, Mapping))
        columns.append(list(values) if listed else [])
        if not columns[-1]:
            raise refuse(f"arms[{name!r}]", "a list of at least one value", values)
    return [dict(zip(arms, values, strict=True)) for values in itertools.product(*columns)] if columns else []


def label(arm: Any) -> str:
    """An arm in words: "controller=pi34, safety=0.8"."""
    if isinstance(arm, Mapping):
        return ", ".join(f"{name}={_text(value)}" for name, value in arm.items()) or "defaults"
    return _text(arm)


def _text(value: Any) -> str:
    if isinstance(value, (str, os.PathLike)):
        return os.fspath(value)
    if isinstance(value, np.generic):
        value = value.item()
    name = getattr(value, "name", None)
    return name if isinstance(name, str) and not isinstance(value, Law) else shown(value, 400)


def check_names(arms: Iterable[Any]) -> None:
    """OptionError for an arm that is no mapping, and for a name in it that neither a solve nor a law has."""
    known = [*KEYWORDS, *sorted({name for spec in SPECS.values() for name in spec}), "mu", "eta", "epsilon"]
    for arm in arms:
        if not isinstance(arm, Mapping) or not all(isinstance(name, str) for name in arm):
            raise OptionError(
                "arms must be mappings of settings of a solve, such as {'controller': 'pi34', 'safety': .8}, got "
                f"{shown(arm)}; give feedback=None for arms of your own, with `ask` and `tell`"
            )
        options.check_names("an arm", arm, known)


def settings(arm: Mapping[str, Any], family: str | None, common: Mapping[str, Any]) -> dict[str, Any]:
    """Keywords of `stepsmith.solve`: those of the arm and the `common` ones, the controller as an object.

    Raises OptionError where both set the same, and for coefficients of what is no law; what `resolve.controller` and
    `Law` raise for unknown names and values out of range.
    """
    check_apart(arm, common)
    keywords = {**common, **{name: value for name, value in arm.items() if name in KEYWORDS}}
    keywords["controller"] = law(arm, keywords.get("controller"), family, keywords.get("method", "tsit5"))
    return keywords


def check_apart(arm: Mapping[str, Any], common: Mapping[str, Any]) -> None:
    """OptionError where an arm sets what the options of a solve set too."""
    for name in common:
        if name in arm:
            raise OptionError(f"{name} is set by the arms of this tuner: leave it out of the options of the solve")


def law(arm: Mapping[str, Any], named: Any, family: str | None, method: Any) -> Any:
    """The controller of an arm: the one that is named, or the method's own law, with the arm's coefficients."""
    coefficients = {name: value for name, value in arm.items() if name not in KEYWORDS}
    if named is None:
        named = methods.get(method).own_law()
    if isinstance(named, os.PathLike):
        named = os.fspath(named)
    if isinstance(named, str):
        if coefficients and named in registry.names():
            return registry.get(named, **coefficients)
        named = resolve.controller(named, family, method)
    if not coefficients:
        return named
    if not isinstance(named, Law):
        raise OptionError(
            f"arm {label(arm)}: {next(iter(coefficients))} is a coefficient of a law, and controller "
            f"{shown(getattr(named, 'name', named))} is none"
        )
    return named.replace(**coefficients)


def check_accuracy(arms: Iterable[Mapping[str, Any]]) -> None:
    """OptionError where the arms set different tolerances or methods: by its cost alone, the least accurate wins."""
    for name in ACCURACY:
        if len({label({name: arm[name]}) if name in arm else "" for arm in arms}) > 1:
            raise _needs_error(f"the arms differ in {name}")


def check_acceptance(laws: Iterable[Any]) -> None:
    """OptionError where the controllers of the arms let errors of different sizes pass."""
    found = {acceptance(one): str(getattr(one, "name", one)) for one in laws}
    if len(found) > 1:
        first, second, *_ = found.values()
        what = f"laws {first!r} and {second!r}" if first != second else f"variants of law {first!r}"
        raise _needs_error(
            f"{what} do not accept the same errors", "set accept_err=1 and accept_factor=0 in every arm, or "
        )  # fmt: skip


def _needs_error(why: str, remedy: str = "") -> OptionError:
    return OptionError(
        f"{why}, and the cost alone would choose the least accurate: {remedy}give error=(a function of the solution) "
        "and wanted_error, which make a larger error cost more, or a feedback function of your own that charges for it"
    )


def acceptance(controller: Any) -> tuple:
    """What decides which errors a controller lets pass: the acceptance rule of a linear law, all of another one."""
    scale = tolerance_scale.of(controller)
    if not isinstance(controller, Law):
        return scale, str(getattr(controller, "name", controller))
    if controller.kind != "linear":
        return scale, controller.kind, tuple(sorted(controller.as_dict().items()))
    return scale, *(round(controller[name], 9) for name in _ACCEPTANCE)
