"""A learned controller without hidden layers as a formula: the numbers that its residual has, and the text of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...integrators.core.errors import OptionError
from .features import Feature
from .network import Learned


def is_linear(controller: Any) -> bool:
    """Whether a controller is a residual linear in its features."""
    return (
        isinstance(controller, Learned)
        and len(controller.shapes) == 1
        and controller.table is None
        and controller.frames == 1
    )


def matrix(controller: Learned) -> tuple[np.ndarray, np.ndarray]:
    """(weights (n_act, n_obs), bias (n_act,)) of a closed form; OptionError for a controller with hidden layers."""
    if not is_linear(controller):
        raise OptionError(
            f"{controller!r} is no closed form: it has hidden layers or a table of actions (policies.distill makes one)"
        )
    weight, bias, _ = controller.layers[0]
    return weight, bias


def numbers(controller: Learned) -> int:
    """How many numbers of a closed form's residual are not 0."""
    weight, bias = matrix(controller)
    return int(np.count_nonzero(weight) + np.count_nonzero(bias))


def formula(controller: Learned, digits: int = 4) -> list[str]:
    """The residual as text, one line an action; `stepsmith inspect` prints them.

    A feature is what the list of features says, after its clip, shift and scale.
    """
    weight, bias = matrix(controller)
    d = controller.decision
    squash = "tanh" if controller.squash == "tanh" else "clip"
    scales = {"size": d.residual_scale, "threshold": d.threshold_scale}
    left = {
        "size": "log(h_next/h) = law",
        "threshold": "log(threshold) = law's",
        "hold": "log(dead band's ends) = law's",
        "renewal": "log(Newton rate of a new Jacobian) = law's",
    }
    names = list(d.observation.features)
    if not d.plain:
        names = [f"z({name})" for name in names]
    lines = []
    for action, row, b in zip(d.actions, weight, bias, strict=True):
        scale = scales.get(action.knob, action.scale)
        terms = [_term(w, name, digits) for w, name in zip(row, names, strict=True) if w != 0.0]
        inner = f"{b:.{digits}g} {' '.join(terms)}".strip()
        moved = f"{scale:.{digits}g} {squash}({inner})" if not action.own else f"{action.name}({squash}({inner}))"
        lines.append(f"{left[action.knob]} + {moved}")
    return lines


def _term(w: float, name: str, digits: int) -> str:
    return f"{'-' if w < 0 else '+'} {abs(w):.{digits}g} {name}"


def scaling(feature: Feature, digits: int = 4) -> str:
    """How a raw feature becomes the one in the formula, as text."""
    if feature.factors:
        return " times ".join(factor.name for factor in feature.factors) + ", both scaled"
    inner = f"clip({feature.name}, {feature.low:.{digits}g}, {feature.high:.{digits}g})"
    if feature.shift:
        inner = f"({inner} {'-' if feature.shift > 0 else '+'} {abs(feature.shift):.{digits}g})"
    return inner if feature.scale == 1.0 else f"{feature.scale:.{digits}g} {inner}"
