"""Array libraries for formulas: what `contract.bind` puts in the place of where, log, exp, ...

`NUMPY` works on rows (one lane a column), `SCALAR` on Python floats (a host that takes one decision a
step: no array overhead), `torch_namespace()` on tensors.  Compiled code binds
`stepsmith.integrators.vecmath.NAMESPACE`.  A formula assigns to `state[i]` and `out[i]`; a library with
immutable arrays passes lists of arrays.
"""

from __future__ import annotations

import math
from types import MappingProxyType

import numpy as np

NUMPY = MappingProxyType({
    "where": np.where, "log": np.log, "exp": np.exp, "minimum": np.minimum, "maximum": np.maximum,
    "fabs": np.abs, "sqrt": np.sqrt, "tanh": np.tanh, "atan": np.arctan,
})  # fmt: skip


def _where(c, a, b):
    return a if c else b


def _minimum(a, b):
    return a if a <= b or a != a else b


def _maximum(a, b):
    return a if a >= b or a != a else b


SCALAR = MappingProxyType({
    "where": _where, "log": math.log, "exp": math.exp, "minimum": _minimum, "maximum": _maximum,
    "fabs": math.fabs, "sqrt": math.sqrt, "tanh": math.tanh, "atan": math.atan,
})  # fmt: skip


def torch_namespace() -> dict[str, object]:
    """Names bound to PyTorch (imports torch): tensors of any one floating dtype and device, mixed with Python and NumPy scalars.

    A scalar takes dtype and device of the tensors beside it, where torch alone would raise, or make a float64 of float32
    data.  Without any tensor scalars become float64 tensors, so that an answer is a tensor always.
    """
    import torch

    def tensors(*values, beside=None):
        given = [v for v in values if isinstance(v, torch.Tensor)]
        dtype = given[0].dtype if given else torch.float64
        device = given[0].device if given else getattr(beside, "device", None)
        return [v if isinstance(v, torch.Tensor) else torch.as_tensor(v, dtype=dtype, device=device) for v in values]

    def of_one(fn):
        return lambda x: fn(*tensors(x))

    def of_two(fn):
        return lambda a, b: fn(*tensors(a, b))

    def where(c, a, b):
        a, b = tensors(a, b, beside=c)
        if not isinstance(c, torch.Tensor):
            c = torch.as_tensor(bool(c), device=a.device)
        return torch.where(c, a, b)

    return {
        "where": where, "log": of_one(torch.log), "exp": of_one(torch.exp), "minimum": of_two(torch.minimum),
        "maximum": of_two(torch.maximum), "fabs": of_one(torch.abs), "sqrt": of_one(torch.sqrt), "tanh": of_one(torch.tanh),
        "atan": of_one(torch.atan),
    }  # fmt: skip
