"""Closed-form controllers: a residual that is linear in a few features and products of two, so that it prints as a
formula.

    a = clip(b + sum_i w_i f_i, -1, 1)

They are controllers as any other (`Learned` with one linear layer), in the same files and solvers; what they have of
their own is how they are made, made smaller and read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..controllers.laws.law import Law
from ..controllers.learned.as_formula import formula, is_linear, matrix, numbers
from ..controllers.learned.decision import Decision
from ..controllers.learned.network import Learned
from ..controllers.learned.observation import HUGE
from ..controllers.learned.products import same
from ..integrators.core import options

__all__ = ["MOST_NUMBERS", "folded", "formula", "is_linear", "linear", "matrix", "numbers", "selected"]

#: numbers that a closed form may have, so that a person can read it
MOST_NUMBERS = 20


def linear(
    features: Sequence[str], law: Law | str = "pi34", n_act: int | None = None, actions: Sequence[str] | None = None,
    weights: Any = None, bias: Any = None, **rest: Any,
) -> Learned:  # fmt: skip
    """A residual linear in features, on a law.

    features    names of features, and of products of two ("log_hs*log_curv")
    law         the base law, a `Law` or its name
    n_act, actions    as `Decision` has them
    weights     (n_act, n_features), bias (n_act,); None: 0, which is the law itself
    rest        name, family, provenance, measured of the `Learned`

    Raises ValueError for unknown names and wrong shapes.
    """
    decision = Decision(tuple(features), law, n_act=n_act, actions=actions)
    shape = (decision.n_act, decision.n_obs)
    weights = np.zeros(shape) if weights is None else np.asarray(weights, dtype=np.float64)
    bias = np.zeros(decision.n_act) if bias is None else np.asarray(bias, dtype=np.float64)
    return Learned(decision, [(weights, bias, "linear")], "clip", **rest)


def folded(controller: Learned) -> Learned:
    """The same closed form with its normaliser in the weights, which costs nothing at a decision.

    Exact up to rounding.  OptionError where the normaliser's bound could cut an observation off.
    """
    weight, bias = matrix(controller)
    d = controller.decision
    if d.plain:
        return controller
    ends = np.maximum(np.abs((d.observation.low - d.shift) * d.scale), np.abs((d.observation.high - d.shift) * d.scale))
    if np.any(ends > d.obs_clip):
        cut = ", ".join(name for name, end in zip(d.observation.features, ends, strict=True) if end > d.obs_clip)
        raise options.OptionError(f"the normaliser cuts {cut} off at {d.obs_clip:g}: it is not linear there")
    layer = (weight * d.scale, bias - (weight * d.scale) @ d.shift, "linear")
    plain = d.replace(shift=np.zeros(d.n_obs), scale=np.ones(d.n_obs), obs_clip=HUGE)
    return controller.replace(decision=plain, layers=[layer])


def selected(controller: Learned, features: Sequence[str], means: Any = None) -> Learned:
    """The closed form on other features: weights of those that stay are kept, and new ones have weight 0.

    means: (n_obs,) what the present features are on average; a feature that goes leaves its weight times that in the
    bias.  None: 0.  OptionError where the controller has a normaliser (`folded` removes it).
    """
    weight, bias = matrix(controller)
    d = controller.decision
    if not d.plain:
        raise options.OptionError("fold the normaliser into the weights first (closed_form.folded)")
    old = [same(name) for name in d.observation.features]  # a product is the same one in either order
    means = np.zeros(len(old)) if means is None else np.asarray(means, dtype=np.float64)
    new = d.replace(observation=tuple(features))
    names = [same(name) for name in new.observation.features]
    kept = np.zeros((d.n_act, len(names)))
    for j, name in enumerate(names):
        if name in old:
            kept[:, j] = weight[:, old.index(name)]
    gone = [i for i, name in enumerate(old) if name not in names]
    return controller.replace(decision=new, layers=[(kept, bias + weight[:, gone] @ means[gone], "linear")])
