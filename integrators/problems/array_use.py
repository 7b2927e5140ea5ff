"""Does a function f(t, y, p, out) treat y, p or `out` as whole arrays?  It is run once with stand-ins that notice.

Slices, arithmetic with a whole vector, unpacking, attributes such as `shape`, and NumPy's functions of a whole vector
are such uses.  A function that only takes single numbers by whole-number indices has none of them.
"""

from __future__ import annotations

import dis
import types
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

_OPS = frozenset({"BUILD_SLICE", "BINARY_SLICE", "STORE_SLICE", "UNPACK_SEQUENCE", "UNPACK_EX"})
#: instructions with one vector, and Python's functions of a whole vector
_ONE = frozenset({"UNARY_NEGATIVE", "UNARY_POSITIVE", "GET_ITER"})
_WHOLE = frozenset("enumerate list map max min reversed sorted sum tuple zip".split())
_NAMES = frozenset(
    "T all any argmax argmin clip copy cumsum dot fill flat flatten max mean min ndim prod ravel real reshape shape "
    "size sum transpose".split()
)


class ArrayUse(Exception):
    """The function used a vector as a whole."""


def uses_arrays(
    fn: Any, role: str, t: float, y: np.ndarray, p: np.ndarray, further: Callable[..., Any] | None = None
) -> bool:
    """Whether one run at the state y (n,) with parameters p (m,) uses a vector as a whole.

    further: `further(y, p)`, the arguments behind y in place of p and `out`, of a function that returns its value.
    """
    plain = getattr(fn, "py_func", fn)
    if not isinstance(plain, types.FunctionType) or not _may(plain.__code__, plain.__globals__):
        return False
    from ..checks.interpreted import interpreted
    from ..checks.stand_ins import SECONDS, Enough, limited

    noticed: list[bool] = []
    if role == "jac":
        out: Any = _Vector(noticed, np.zeros((y.size, y.size)), pairs=True)
    else:
        out = _Vector(noticed, np.zeros(y.size))
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings(), limited(SECONDS):
            warnings.simplefilter("ignore")
            state, more = _Vector(noticed, y.copy()), _Vector(noticed, p.copy())
            interpreted(fn)(np.float64(t), state, *((more, out) if further is None else further(state, more)))
    except (Exception, Enough):  # what it says is said by the solver's own check
        pass
    return bool(noticed)


def _may(code: types.CodeType, names: dict[str, Any]) -> bool:
    """Whether the code could do such a thing, by its instructions: most functions cannot, and need no run."""
    vectors = set(code.co_varnames[1 : code.co_argcount])
    before: list[bool] = [False, False]  # whether each of the last two instructions loaded one of these
    for op in dis.get_instructions(code):
        if op.opname in _OPS or (op.opname == "BINARY_OP" and "@" in op.argrepr):
            return True
        # 2 * y, y * a, -y, for x in y
        if (op.opname == "BINARY_OP" and any(before)) or (op.opname in _ONE and before[1]):
            return True
        if op.opname not in ("PRECALL", "CACHE"):
            loaded = op.argval if isinstance(op.argval, tuple) else (op.argval,)
            before = [before[1], op.opname.startswith("LOAD_FAST") and not vectors.isdisjoint(loaded)]
        if op.opname in ("LOAD_ATTR", "LOAD_METHOD") and op.argval in _NAMES:
            return True
        if op.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            if _numpy(names.get(op.argval)) or (op.argval in _WHOLE and op.argval not in names):
                return True
    return any(_may(c, names) for c in code.co_consts if isinstance(c, types.CodeType))


def _numpy(value: Any) -> bool:
    module = value.__name__ if isinstance(value, types.ModuleType) else getattr(value, "__module__", None)
    return isinstance(value, np.ufunc) or (isinstance(module, str) and module.split(".")[0] == "numpy")


def _noticing(name: str) -> Callable[..., Any]:
    def method(self: _Vector, *args: Any) -> Any:
        raise self.notice()

    method.__name__ = name
    return method


class _Vector:
    """y, p or `out`: numbers by whole-number indices, and a note of everything else."""

    __array_ufunc__ = None  # NumPy's operators leave the answer to this class

    def __init__(self, noticed: list[bool], values: np.ndarray, pairs: bool = False) -> None:
        self._noticed, self._values, self._pairs = noticed, values, pairs

    def notice(self) -> ArrayUse:
        """The exception that ends the run, after a note."""
        self._noticed.append(True)
        return ArrayUse()

    def _place(self, i: Any) -> Any:
        pair = isinstance(i, tuple) and len(i) == 2 and all(isinstance(k, (int, np.integer)) for k in i)
        if self._pairs and not pair or isinstance(i, (slice, type(Ellipsis), list, np.ndarray)):
            raise self.notice()
        return i

    def __getitem__(self, i: Any) -> Any:
        return self._values[self._place(i)]

    def __setitem__(self, i: Any, x: Any) -> None:
        self._values[self._place(i)] = x

    def __len__(self) -> int:
        return len(self._values)

    def __getattr__(self, name: str) -> Any:
        if name in _NAMES:
            raise self.notice()
        raise AttributeError(name)

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise self.notice()


for _name in (
    "add radd sub rsub mul rmul truediv rtruediv pow rpow matmul rmatmul neg pos abs iter iadd isub imul itruediv "
    "lt le gt ge"
).split():
    setattr(_Vector, f"__{_name}__", _noticing(_name))
