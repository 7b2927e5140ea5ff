"""Methods by name, and explicit ones of a caller's own by their tableau.  Adding one: its file and one line in `_METHODS`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..compile import digest
from ..core import record
from ..core.errors import OptionError, refuse
from ..core.names import unknown
from ..problems import sparsity
from . import tableaus
from .esdirk.tableau import EsdirkTableau
from .explicit.tableau import ExplicitTableau
from .rosenbrock.tableau import RosenbrockTableau

#: optional record slots: filled only for controllers that read them (a method may fill some at all times)
TIME_SCALES = frozenset({record.TAU_AMUSE, record.TAU_AARSETH, record.TAU_PRS})
OPTIONAL = frozenset({record.ERR, record.HS, record.CURV, record.YNORM, record.ENORM}) | TIME_SCALES


LINEAR_ALGEBRA = frozenset({record.NJAC, record.NLU, record.NSOLVE, record.JAC_AGE, record.LU_AGE})


@dataclass(frozen=True)
class Method:
    """An integration method.

    `order` of the advanced solution; `embedded_order` (0: no error estimate); `fills`: record slots it can fill; `dense_order` of its
    interpolant; `parts(source, slots)`: what it contributes to a kernel for a Problem or Batch `source`; `key(source)`: what beside the
    name tells its kernels apart; `implicit`: it solves linear systems; `tableau` of an explicit Runge-Kutta method.
    """

    name: str
    order: int
    embedded_order: int
    fills: frozenset[int]
    dense_order: int
    parts: Callable[[Any, frozenset[int]], Any]
    key: Callable[[Any], tuple]
    implicit: bool = False
    tableau: ExplicitTableau | None = None


_COMMON = frozenset(
    {record.H, record.H_FREE, record.NF, record.T_LEFT, record.TRUNCATED, record.FINITE, record.RTOL}
)  # fmt: skip


def _explicit(method: str | ExplicitTableau) -> Method:
    tab = tableaus.get(method)
    # a name stands for its coefficients, a tableau's name for nothing
    own = () if isinstance(method, str) else (tab.key,)

    def parts(source: Any, slots: frozenset[int]) -> Any:
        from ..kernels.build import explicit_parts

        return explicit_parts(tab, source.rhs, source.n, slots)

    fills = _COMMON | {record.ERR, record.ORDER, record.YNORM, record.ENORM}
    if tab.fsal:
        fills |= {record.CURV}  # others do not know the slope at the step's end yet
    if tab.stiffness is not None:
        fills |= {record.HS}

    def key(source: Any) -> tuple:
        return digest.identity(source.rhs), *own

    return Method(tab.name, tab.order, tab.embedded_order, fills, tab.dense_order, parts, key, False, tab)


def _implicit_key(source: Any) -> tuple:
    return digest.identity(source.rhs), digest.identity(source.jac), sparsity.key(source.sparsity)


def _implicit(name: str) -> Method:
    tab = tableaus.implicit(name)

    def parts(source: Any, slots: frozenset[int]) -> Any:
        from ..kernels.implicit import esdirk, radau, rosenbrock

        if isinstance(tab, RosenbrockTableau):
            return rosenbrock.rosenbrock_parts(tab, source, slots)
        if isinstance(tab, EsdirkTableau):
            return esdirk.esdirk_parts(tab, source, slots)
        return radau.radau_parts(tab, source, slots)

    fills = _COMMON | LINEAR_ALGEBRA | {record.ERR, record.ORDER, record.YNORM, record.ENORM}
    if not isinstance(tab, RosenbrockTableau):
        fills |= {record.NEWTON_ITERS, record.NEWTON_RATE, record.LU_SHIFT}
    return Method(name, tab.order, tab.embedded_order, fills, tab.dense_order, parts, _implicit_key, True)


def _hermite(name: str) -> Method:
    def parts(source: Any, slots: frozenset[int]) -> Any:
        from ..kernels.nbody.hermite import hermite_parts

        return hermite_parts(source, slots, name == "hermite4")

    fills = _COMMON | TIME_SCALES | {record.ERR, record.ORDER, record.CURV, record.YNORM, record.ENORM}
    return Method(name, 4, 3, fills, 4, parts, lambda source: (source.nbody,))


def _composition(name: str) -> Method:
    order = {"leapfrog": 2, "composition8": 8}[name]

    def parts(source: Any, slots: frozenset[int]) -> Any:
        from ..kernels.nbody.composition import composition_parts

        return composition_parts(source, slots, name)

    return Method(name, order, 0, _COMMON | {record.TAU_AMUSE}, order, parts, lambda source: (source.nbody, digest.identity(source.accel)))


_METHODS: dict[str, Callable[[str], Method]] = {
    "bs32": _explicit, "dopri5": _explicit, "tsit5": _explicit, "dop853": _explicit,
    "hermite4": _hermite, "hermite4_pec": _hermite, "leapfrog": _composition, "composition8": _composition,
    "rodas5p": _implicit, "ros3prw": _implicit, "ros34pw2": _implicit,
    "kvaerno5": _implicit, "esdirk43": _implicit, "radau5": _implicit,
}  # fmt: skip


def names() -> list[str]:
    """Names of all methods."""
    return list(_METHODS)


def get(method: str | ExplicitTableau) -> Method:
    """The method called `method`, or that of an ExplicitTableau; ValueError naming the nearest where there is none, and for what is
    neither."""
    return _built(named(method))


@functools.lru_cache(maxsize=256)
def _built(method: str | ExplicitTableau) -> Method:
    return _explicit(method) if isinstance(method, ExplicitTableau) else _METHODS[method](method)


def named(method: Any) -> str | ExplicitTableau:
    """`method` as every host passes it on, checked: the name of a method, or a caller's own tableau (a shipped one's becomes its name)."""
    if isinstance(method, ExplicitTableau):
        shipped = method.name in tableaus.NAMES and method == tableaus.get(method.name)
        return method.name if shipped else tableaus.get(method)
    if not isinstance(method, str):
        raise refuse("method", f"a method's name ({', '.join(_METHODS)}) or an ExplicitTableau", method)
    if method not in _METHODS:
        raise unknown("method", method, _METHODS)
    return method


def registered(method: Any) -> str:
    """The name of a method that has one, for what is written down under it: comparisons, tuned laws, training runs."""
    name = named(method)
    if not isinstance(name, str):
        raise OptionError(f"method must be a name here ({', '.join(_METHODS)}), for results are kept under it; got {name!r}")
    return name
