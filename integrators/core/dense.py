"""A layer of a network (`contract.Dense`) in its three forms, which the tests compare: over arrays, written out, and as
source.

Over arrays is for hosts; written out, a small network becomes a part of one straight-line function (`kernels.fuse`); as
source, a larger one runs over all lanes of a block (`kernels.blocks`), in a module that holds what the activation needs
(`activations.functions`).  Relu is written so that NaN stays NaN in all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import activations
from .activations import ACTIVATIONS as ACTIVATIONS
from .contract import Dense


def check(layer: Dense) -> Dense:
    """The layer; ValueError for an unknown activation."""
    activations.named(layer.activation)
    return layer


def activate(z: Any, activation: str, lib: Any = np) -> Any:
    """An activation of an array of NumPy's or of `lib`'s."""
    if activation not in activations.PLAIN:
        return activations.of_library(activation, lib)(z)
    return lib.tanh(z) if activation == "tanh" else lib.where(z < 0.0, 0.0, z) if activation == "relu" else z


def weights(layer: Dense, params: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n_out, n_in) and (n_out,): views of the layer's part of `params`."""
    middle = layer.offset + layer.n_in * layer.n_out
    return params[layer.offset : middle].reshape(layer.n_out, layer.n_in), params[middle : middle + layer.n_out]


def written_out(
    layer: Dense, params: Any, state: Any, where: Callable, tanh: Callable, act: Callable | None = None
) -> None:
    """Run the layer on scalars, one after the other; `state` is read, then written, by single indices.

    act: an activation that is not among `activations.PLAIN`, over scalars.
    """
    inputs = [state[layer.src + i] for i in range(layer.n_in)]
    for o in range(layer.n_out):
        z = params[layer.offset + layer.n_in * layer.n_out + o]
        for i, x in enumerate(inputs):
            z = z + params[layer.offset + layer.n_in * o + i] * x
        if layer.activation == "tanh":
            z = tanh(z)
        elif layer.activation == "relu":
            z = where(z < 0.0, 0.0, z)
        elif act is not None:
            z = act(z)
        state[layer.dst + o] = z


def source(layer: Dense, chunk: int = 32) -> str:
    """Source over the state rows of a block: one weight row at a time, inputs unrolled, lanes innermost."""
    check(layer)
    stride = layer.n_in
    bias = layer.offset + layer.n_in * layer.n_out
    src = f"    for o in range({layer.n_out}):\n        bias = params[{bias} + o]\n"
    src += "        for l in range(W):\n"
    src += f"            A[CS + ({layer.dst} + o)*W + l] = bias\n"
    for lo in range(0, layer.n_in, chunk):
        hi = min(lo + chunk, layer.n_in)
        for i in range(lo, hi):
            src += f"        w{i - lo} = params[{layer.offset} + {stride}*o + {i}]\n"
        terms = " + ".join(f"w{i - lo}*A[CS + {layer.src + i}*W + l]" for i in range(lo, hi))
        src += f"        for l in range(W):\n            A[CS + ({layer.dst} + o)*W + l] += {terms}\n"
    out = f"A[CS + ({layer.dst} + o)*W + l]"
    if layer.activation == "tanh":
        src += f"        for l in range(W):\n            {out} = tanh({out})\n"
    elif layer.activation == "relu":
        src += f"        for l in range(W):\n            {out} = where({out} < 0.0, 0.0, {out})\n"
    elif layer.activation != "linear":
        src += f"        for l in range(W):\n            {out} = {activations.call(layer.activation, out)}\n"
    return src
