"""Layers of a controller read off torch modules by type, and what stands between them folded into them.

A normalisation of a layer's inputs by running statistics, as CrossQ has it before every linear layer, is a scale and a
shift once training is over, which the next linear layer absorbs exactly:

    W (s z + t) + b = (W diag s) z + (W t + b),   s = scale / sqrt(var + eps),   t = bias - s mean
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..integrators.core import activations

Layers = list[tuple[np.ndarray, np.ndarray, str]]

#: what a network may be built from, as errors name it
UNDERSTOOD = "Linear, each followed by Tanh, ReLU, ELU (alpha 1), SiLU, GELU or LeakyReLU or none of them"


def read(modules: Iterable[Any]) -> Layers:
    """(weight, bias, activation) of linear layers, activations and normalisations, nested in Sequentials or not.

    ValueError naming the type of a module that is none of these.
    """
    from torch import nn

    out: Layers = []
    waiting: tuple[np.ndarray, np.ndarray] | None = None  # scale and shift that the next linear layer absorbs
    for part in _flat(modules):
        if type(part) is nn.Identity or (type(part) is nn.Dropout):  # off once training is over
            continue
        if type(part) is nn.Linear:
            weight, bias = _array(part.weight), np.zeros(part.out_features) if part.bias is None else _array(part.bias)
            if waiting is not None:
                weight, bias, waiting = weight * waiting[0], bias + weight @ waiting[1], None
            out.append((weight, bias, "linear"))
        elif (found := _affine(part)) is not None:
            waiting = found if waiting is None else (found[0] * waiting[0], found[0] * waiting[1] + found[1])
        elif (name := _activation(part)) is not None and out and out[-1][2] == "linear" and waiting is None:
            out[-1] = (*out[-1][:2], name)
        else:
            raise ValueError(f"a layer of type {_described(part)} cannot be exported here: {UNDERSTOOD}, is")
    if waiting is not None:
        raise ValueError("a normalisation behind the last linear layer cannot be exported here")
    return out


def without_tanh(layers: Layers) -> Layers:
    """The layers of an actor that ends in a tanh, without it: the controller's `squash` is that tanh."""
    weight, bias, activation = layers[-1]
    if activation != "tanh":
        raise ValueError(f"the actor must end in Tanh, which bounds its actions, got {activation!r}")
    return [*layers[:-1], (weight, bias, "linear")]


def _flat(modules: Iterable[Any]) -> Iterable[Any]:
    from torch import nn

    for module in modules:
        if type(module) is nn.Sequential:
            yield from _flat(module)
        else:
            yield module


def _array(tensor: Any) -> np.ndarray:
    return tensor.detach().cpu().numpy().astype(np.float64)


def _activation(part: Any) -> str | None:
    """The name of an activation; None for what is none, or one with settings that no controller has."""
    from torch import nn

    plain = {nn.Tanh: "tanh", nn.ReLU: "relu", nn.SiLU: "silu"}
    if type(part) in plain:
        return plain[type(part)]
    if type(part) is nn.ELU and part.alpha == 1.0:
        return "elu"
    if type(part) is nn.GELU:
        return "gelu_tanh" if part.approximate == "tanh" else "gelu"
    if type(part) is nn.LeakyReLU:
        return activations.leaky(part.negative_slope)
    return None


def _affine(part: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """Scale and shift of a normalisation by running statistics; None for what is none.

    BatchRenorm of sb3-contrib, which is looked at by name, for that library may not be there; torch's BatchNorm1d.
    """
    from torch import nn

    if type(part) is nn.BatchNorm1d and part.track_running_stats:
        mean, var, affine = part.running_mean, part.running_var, part.affine
        scale, bias = part.weight, part.bias
    elif type(part).__name__ in ("BatchRenorm", "BatchRenorm1d") and type(part).__module__.startswith("sb3_contrib."):
        mean, var, affine, scale, bias = part.ra_mean, part.ra_var, part.affine, part.scale, part.bias
    else:
        return None
    factor = 1.0 / np.sqrt(_array(var) + part.eps)
    shift = -_array(mean) * factor
    return (factor * _array(scale), shift * _array(scale) + _array(bias)) if affine else (factor, shift)


def _described(part: Any) -> str:
    from torch import nn

    name = type(part).__name__
    return f"{name} with alpha {part.alpha:g}" if type(part) is nn.ELU else name
