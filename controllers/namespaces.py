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
    """Names bound to PyTorch, for tensors of any one floating dtype and device (imports torch)."""
    import torch

    def tensors(a, b):
        if not isinstance(a, torch.Tensor):
            a = torch.as_tensor(a, dtype=b.dtype, device=b.device)
        if not isinstance(b, torch.Tensor):
            b = torch.as_tensor(b, dtype=a.dtype, device=a.device)
        return a, b

    return {
        "where": torch.where, "log": torch.log, "exp": torch.exp,
        "minimum": lambda a, b: torch.minimum(*tensors(a, b)), "maximum": lambda a,
        b: torch.maximum(*tensors(a, b)),
        "fabs": torch.abs, "sqrt": torch.sqrt, "tanh": torch.tanh, "atan": torch.atan,
    }  # fmt: skip
