"""Array libraries for formulas: what `bind` puts in the place of where, log, exp, ..., and what the runner makes arrays
with.

`NUMPY` works on rows (one lane a column), `SCALAR` on single numbers (a host that takes one decision a step: no array
overhead), `torch_namespace()` on tensors.  Compiled code binds `stepsmith.integrators.compile.vecmath.NAMESPACE`.  All
of them follow IEEE 754: a logarithm of 0 is -inf, one of a negative number NaN, and nothing raises.  A formula assigns
to `state[i]` and `out[i]`; a library with immutable arrays passes lists of arrays.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

_F64 = np.float64


class Namespace(Mapping[str, Any]):
    """Functions by the names that formulas use.  wrap: what `bind` applies to the helpers of a formula (a compiler, or
    None).
    """

    def __init__(self, functions: Mapping[str, Any], wrap: Callable[[Callable], Any] | None = None) -> None:
        self._functions = dict(functions)
        self.wrap = wrap

    def __getitem__(self, name: str) -> Any:
        return self._functions[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._functions)

    def __len__(self) -> int:
        return len(self._functions)


def _np_where(c: Any, a: Any, b: Any) -> Any:
    # parameters are numbers, and most selects of a law are between parameters
    if isinstance(c, (bool, np.bool_)):
        return a if c else b
    return np.where(c, a, b)


NUMPY = Namespace({
    "where": _np_where, "minimum": np.minimum, "maximum": np.maximum, "fabs": np.abs, "sqrt": np.sqrt, "exp": np.exp,
    "log": np.log, "pow_": lambda x, a: np.exp(a * np.log(x)), "tanh": np.tanh, "atan": np.arctan, "sin": np.sin,
    "cos": np.cos,
})  # fmt: skip


def _exp(x: Any) -> Any:
    return _F64(math.exp(x)) if not x > 709.782712893384 else _F64(math.inf)


def _log(x: Any) -> Any:
    return _F64(math.log(x)) if x > 0.0 else _F64(-math.inf if x == 0.0 else math.nan)


#: NumPy's numbers, which divide and overflow as arrays do at a tenth of an array's cost
SCALAR = Namespace({
    "where": lambda c, a, b: a if c else b,
    "minimum": lambda a, b: a if a <= b or a != a else b, "maximum": lambda a, b: a if a >= b or a != a else b,
    "fabs": abs, "sqrt": lambda x: _F64(math.sqrt(x)) if x >= 0.0 else _F64(math.nan), "exp": _exp, "log": _log,
    "pow_": lambda x, a: _exp(a * _log(x)), "tanh": lambda x: _F64(math.tanh(x)), "atan": lambda x: _F64(math.atan(x)),
    "sin": np.sin, "cos": np.cos,
})  # fmt: skip


@functools.cache
def torch_namespace() -> Namespace:
    """Names bound to PyTorch (imports torch): tensors of any one floating dtype and device, mixed with Python and NumPy
    scalars.

    A scalar takes dtype and device of the tensors beside it, where torch alone would raise, or make a float64 of
    float32 data.  Without any tensor scalars become float64 tensors, so that an answer is a tensor always.
    """
    import torch

    def tensors(*values: Any, beside: Any = None) -> list[Any]:
        given = [v for v in values if isinstance(v, torch.Tensor)]
        dtype = given[0].dtype if given else torch.float64
        device = given[0].device if given else getattr(beside, "device", None)
        return [v if isinstance(v, torch.Tensor) else torch.as_tensor(v, dtype=dtype, device=device) for v in values]

    def of_one(fn: Callable) -> Callable:
        return lambda x: fn(*tensors(x))

    def of_two(fn: Callable) -> Callable:
        return lambda a, b: fn(*tensors(a, b))

    def where(c: Any, a: Any, b: Any) -> Any:
        a, b = tensors(a, b, beside=c)
        if not isinstance(c, torch.Tensor):
            c = torch.as_tensor(bool(c), device=a.device)
        return torch.where(c, a, b)

    def power(x: Any, a: Any) -> Any:
        x, a = tensors(x, a)
        return torch.exp(a * torch.log(x))

    return Namespace({
        "where": where, "log": of_one(torch.log), "exp": of_one(torch.exp), "minimum": of_two(torch.minimum),
        "maximum": of_two(torch.maximum), "fabs": of_one(torch.abs), "sqrt": of_one(torch.sqrt),
        "tanh": of_one(torch.tanh),
        "atan": of_one(torch.atan), "sin": of_one(torch.sin), "cos": of_one(torch.cos), "pow_": power,
    })  # fmt: skip


@dataclass(frozen=True)
class Arrays:
    """An array library as the runner uses it.

    namespace   of the formulas
    lib         the library itself, with `tanh`, `where` and `stack`
    full        `full(lanes, value)`: a float64 array, one value a lane
    array       a float64 array of NumPy's in this library
    numbers     coefficients, which formulas index one by one, as a list of what divides and overflows as the library's
                arrays do
    single      one lane, whose values are numbers
    """

    namespace: Namespace
    lib: Any
    full: Callable[[int, float], Any]
    array: Callable[[np.ndarray], Any]
    numbers: Callable[[np.ndarray], list]
    single: bool = False


ROWS = Arrays(NUMPY, np, lambda lanes, value: np.full(lanes, float(value)), lambda x: x, list)
ONE = Arrays(SCALAR, np, lambda lanes, value: _F64(value), lambda x: x, list, single=True)


def torch_arrays(device: Any = None) -> Arrays:
    """Tensors on `device` (imports torch)."""
    import torch

    def full(lanes: int, value: float) -> Any:
        return torch.full((lanes,), float(value), dtype=torch.float64, device=device)

    return Arrays(torch_namespace(), torch, full, lambda x: torch.tensor(x, device=device), lambda x: x.tolist())


@functools.cache
def jax_namespace() -> Namespace:
    """Names bound to JAX (imports jax): arrays of any one floating dtype, mixed with Python scalars."""
    import jax.numpy as jnp

    return Namespace({
        "where": jnp.where, "minimum": jnp.minimum, "maximum": jnp.maximum, "fabs": jnp.abs, "sqrt": jnp.sqrt,
        "exp": jnp.exp, "log": jnp.log, "pow_": lambda x, a: jnp.exp(a * jnp.log(x)), "tanh": jnp.tanh,
        "atan": jnp.arctan, "sin": jnp.sin, "cos": jnp.cos,
    })  # fmt: skip


@functools.cache
def jax_arrays() -> Arrays:
    """JAX's arrays, in its default float type (float64 where x64 is on)."""
    import jax.numpy as jnp

    def full(lanes: int, value: float) -> Any:
        return jnp.full((lanes,), float(value))

    return Arrays(jax_namespace(), jnp, full, jnp.asarray, lambda x: x.tolist())
