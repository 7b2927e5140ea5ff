"""The shape of one sample of a model."""

from __future__ import annotations

from typing import Any

from ...integrators.core import options
from ..mixture import Mixture
from ..model import Model


def shape_of(model: Model, shape: Any) -> tuple[int, ...]:
    """Of one sample; OptionError where it is not known."""
    if shape is None:
        shape = (model.means.shape[1],) if isinstance(model, Mixture) else getattr(model, "shape", None)
    if shape is None:
        raise options.OptionError("shape must be given, that of one sample such as (64,): this model does not know it")
    sizes = [shape] if isinstance(shape, int) else shape
    try:
        found = tuple(options.count("shape", n) for n in sizes)
    except TypeError:
        found = ()
    if not found:
        raise options.refuse("shape", "whole numbers of at least 1, such as (64,)", shape)
    return found
