"""What an explicit tableau leaves out is derived, and whether it is what it says: row sums, order conditions, those of
its dense output.

Conditions are evaluated in float64 against `TOLERANCE` times the size of their terms: published decimals pass, a wrong
order fails by far (the least defect of a tree of eight nodes is one part in thousands).  The shipped tables are held to
exact fractions by the tests.

Source: J. C. Butcher, Numerical Methods for Ordinary Differential Equations, 3rd ed., Wiley 2016, chapter 3 (see
`trees`).
"""

from __future__ import annotations

import math
import numbers
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import OptionError, shown
from ..core.options import count, flag
from .explicit.tableau import hermite_quartic
from .trees import Tree, density, rooted_trees

if TYPE_CHECKING:
    from .explicit.tableau import ExplicitTableau, Number, Row

ERROR_KINDS = ("embedded", "hairer853")
TOLERANCE = 1e-9
HIGHEST = 9  # orders beyond are not checked: the number of conditions grows threefold an order


def _need(t: ExplicitTableau, ok: bool, what: str) -> None:
    """ValueError, naming the tableau, where `ok` does not hold."""
    if not ok:
        raise ValueError(f"tableau {t.name!r}: {what}")


def _put(t: ExplicitTableau, field: str, value: Any) -> None:
    """Set a field of a tableau, which is frozen for everyone else."""
    object.__setattr__(t, field, value)


def complete(t: ExplicitTableau, b_hat: Row) -> None:
    """Fill in what was left out of a new tableau, in place; ValueError where it does not hold together."""
    _read(t)
    _weights(t, _numbers(t.name, "b_hat", b_hat))
    _check_stages(t)
    _decide_fsal(t)
    _check_dense(t)
    _check_pairs(t)
    _consistent(t)
    if t.dense_order is None:
        _put(t, "dense_order", dense_order(t))
    else:
        _put(t, "dense_order", count(f"tableau {t.name!r}: dense_order", t.dense_order, low=0))
        found = dense_order(t, t.dense_order)
        _need(t, found >= t.dense_order, f"dense is of order {found}, not {t.dense_order}")


def _read(t: ExplicitTableau) -> None:
    """Name, coefficients and orders, as text, finite numbers and whole numbers."""
    if not isinstance(t.name, str) or not t.name:
        raise OptionError(f"a tableau's name must be text, got {shown(t.name)}")
    for field in ("c", "b", "e", "dense_c", "e5", "e3"):
        if (row := getattr(t, field)) is not None:
            _put(t, field, _numbers(t.name, field, row))
    for field in ("a", "dense", "dense_a"):
        rows = _rows(t.name, field, getattr(t, field))
        _put(t, field, tuple(_numbers(t.name, f"row {i} of {field}", row) for i, row in enumerate(rows)))
    _put(t, "order", count(f"tableau {t.name!r}: order", t.order, low=0))
    _put(t, "embedded_order", min(count(f"tableau {t.name!r}: embedded_order", t.embedded_order, low=0), t.order))


def _weights(t: ExplicitTableau, b_hat: Row) -> None:
    """e from b_hat where that was given, and whether all coefficients are exact."""
    s = len(t.c)
    _need(t, s > 0, "c is empty")
    if b_hat:
        _need(t, not t.e, "give e or b_hat, not both: e is b - b_hat")
        _need(t, len(b_hat) == s == len(t.b), f"b and b_hat must have {s} entries")
        _put(t, "e", tuple(x - y for x, y in zip(t.b, b_hat, strict=True)))
    if t.exact is None:
        every = (*t.c, *t.b, *t.e, *t.dense_c, *(x for row in (*t.a, *t.dense, *t.dense_a) for x in row))
        _put(t, "exact", not any(isinstance(x, float) for x in every))
    _put(t, "exact", flag("exact", t.exact))


def _check_stages(t: ExplicitTableau) -> None:
    s = len(t.c)
    _need(t, t.error in ERROR_KINDS, f"error must be one of {ERROR_KINDS}, got {t.error!r}")
    _need(t, len(t.a) == s, f"a has {len(t.a)} rows, c has {s} nodes")
    for i, row in enumerate(t.a):
        _need(t, len(row) == i, f"row {i} of a must have {i} entries, has {len(row)}")
    _need(t, len(t.b) == s, f"b must have {s} entries")


def _decide_fsal(t: ExplicitTableau) -> None:
    """Whether the last stage is the next step's first, where that was left out; else whether it is as was said."""
    derived = t.c[-1] == 1 and len(t.c) > 1 and t.b[-1] == 0 and t.a[-1] == t.b[:-1]
    if t.fsal is None:
        _put(t, "fsal", derived)
    if flag("fsal", t.fsal):
        _need(t, t.c[-1] == 1 and t.b[-1] == 0, "fsal needs c[-1] = 1 and b[-1] = 0")
        _need(t, t.a[-1] == t.b[:-1], "fsal needs a[-1] = b[:-1]")
    words = "fsal=False, but its last stage is f(t + h, y_new): c[-1] = 1, a[-1] = b[:-1], b[-1] = 0; leave fsal out"
    _need(t, t.fsal or not derived, words)


def _check_dense(t: ExplicitTableau) -> None:
    """Dense output by the slopes at both ends where none was given, and the shapes of its coefficients."""
    if not t.dense and not t.dense_c:
        if not t.fsal:
            _put(t, "dense_c", (1,))
            _put(t, "dense_a", (t.b,))
        rows = (*t.b, *[Fraction(0)] * len(t.dense_c))
        _put(t, "dense", hermite_quartic(rows, [0] * len(rows)))
    s, d = len(t.c), len(t.dense_c)
    _need(t, len(t.dense_a) == d, f"dense_a has {len(t.dense_a)} rows, dense_c has {d} nodes")
    for i, row in enumerate(t.dense_a):
        _need(t, len(row) == s + i, f"row {i} of dense_a must have {s + i} entries, has {len(row)}")


def _check_pairs(t: ExplicitTableau) -> None:
    """Shapes of the error weights and of the dense output, and the stages that measure stiffness."""
    s, d = len(t.c), len(t.dense_c)
    pair = t.error == "hairer853"
    for label, extra in (("e5", t.e5), ("e3", t.e3)):
        _need(t, (extra is not None) == pair, f'{label} belongs to error="hairer853", and only there')
    for label, weights in (("e", t.e), ("e5", t.e5), ("e3", t.e3)):
        _need(t, weights is None or len(weights) == s, f"{label} must have {s} entries")
    _need(t, not pair or t.e == t.e5, 'e must equal e5 where error="hairer853"')
    _need(t, len(t.dense) == s + d, f"dense must have {s + d} rows, has {len(t.dense)}")
    _need(t, len({len(row) for row in t.dense}) == 1, "rows of dense differ in length")
    if t.stiffness is not None:
        i, j = t.stiffness
        _need(t, 0 <= i < j < s and t.c[i] == t.c[j], "stiffness needs two stages i < j with equal c")
        _need(t, (*t.a[i], *[0] * (j - i)) != t.a[j], "stiffness stages have equal stage values")
        words = "stiffness needs the last two stages of an FSAL method, the only ones that are kept"
        _need(t, t.fsal and (i, j) == (s - 2, s - 1), words)


def _rows(name: str, field: str, value: Any) -> tuple:
    try:
        return tuple(value)
    except TypeError:
        raise OptionError(f"tableau {name!r}: {field} must be a sequence, got {shown(value)}") from None


def _numbers(name: str, field: str, row: Any) -> Row:
    """Finite real numbers as Fractions where they are exact (ints, Fractions, Decimals), else as floats."""
    out: list[Number] = []
    for x in _rows(name, field, row):
        if (
            isinstance(x, (numbers.Rational, Decimal))
            and not isinstance(x, bool)
            and not (isinstance(x, Decimal) and not x.is_finite())
        ):
            out.append(Fraction(x))
        elif isinstance(x, numbers.Real) and not isinstance(x, bool) and math.isfinite(x):
            out.append(float(x))
        else:
            raise OptionError(f"tableau {name!r}: {field} must hold finite numbers, got {shown(x)}")
    return tuple(out)


class _Stages:
    """Elementary weights of every stage, (s + d,) float64, and of their absolute values."""

    def __init__(self, tableau: ExplicitTableau) -> None:
        size = tableau.stages + tableau.dense_stages
        a = np.zeros((size, size))
        a[: tableau.stages, : tableau.stages] = tableau.A
        a[tableau.stages :] = tableau.dense_A
        self.a = np.stack([a, np.abs(a)])
        self.known: dict[Tree, np.ndarray] = {(): np.ones((2, size))}

    def phi(self, tree: Tree) -> np.ndarray:
        """(2, s + d): Phi(t), and the same of |a|."""
        if tree not in self.known:
            self.known[tree] = np.prod([np.einsum("kij,kj->ki", self.a, self.phi(child)) for child in tree], axis=0)
        return self.known[tree]

    def holds(self, weights: np.ndarray, tree: Tree, right: np.ndarray | float) -> bool:
        """weights . Phi(t) = right, to rounding; weights (s or s + d, ...)."""
        phi, size = self.phi(tree)[:, : len(weights)]
        scale = size @ np.abs(weights) + np.abs(right)
        return bool(np.all(np.abs(phi @ weights - right) <= TOLERANCE * scale))


def _consistent(tableau: ExplicitTableau) -> None:
    """ValueError where rows do not sum to c, or b, e, e5, e3 do not have the orders that the tableau states (order 0
    states nothing).
    """
    t, stages = tableau, _Stages(tableau)
    if t.order == 0:
        return
    for label, rows, nodes in (("a", t.a, t.c), ("dense_a", t.dense_a, t.dense_c)):
        for i, (row, c) in enumerate(zip(rows, nodes, strict=True)):
            total, size = float(sum(row)), sum(abs(float(x)) for x in row)
            close = abs(total - float(c)) <= TOLERANCE * (size + abs(float(c)))
            _need(t, close, f"row {i} of {label} sums to {total:.12g}, and c is {float(c):.12g}")
    ends = t.P.sum(1)
    joined = np.abs(ends - np.concatenate([t.B, np.zeros(t.dense_stages)])) <= TOLERANCE * (1.0 + np.abs(t.P).sum(1))
    _need(t, bool(joined.all()), "rows of dense must sum to b, and to 0 for dense stages: at theta = 1 it is y_new")
    order = _order(stages, t.B, 1.0, t.order)
    _need(t, order == t.order, f"b is of order {order}{' or more' if order > t.order else ''}, not {t.order}")
    if t.embedded_order == 0:
        return
    _need(t, any(t.e), "e is 0: the pair has no error estimate")
    if t.error == "hairer853":
        for label, weights, least in (("e5", t.E5, 5), ("e3", t.E3, 3)):
            _need(t, _order(stages, weights, 0.0, least) >= least, f"{label} does not vanish up to order {least}")
        return
    found, said = _order(stages, t.E, 0.0, t.embedded_order), t.embedded_order
    _need(t, found >= said, f"the error estimate behaves as h^{found + 1}, so embedded_order is {found}, not {said}")
    _need(t, found == said, f"the error estimate is of higher order than embedded_order = {said} says")


def _order(stages: _Stages, weights: np.ndarray, one: float, order: int) -> int:
    """The highest order, up to one more than `order`, to which the weights have `one`/gamma (b: 1, error weights: 0)
    for all trees.
    """
    for p in range(1, min(order + 1, HIGHEST) + 1):
        if not all(stages.holds(weights, tree, one / density(tree)) for tree in rooted_trees(p)):
            return p - 1
    return order if order >= HIGHEST else order + 1


def dense_order(tableau: ExplicitTableau, most: int | None = None) -> int:
    """The highest order, up to `most` (None: the method's own), at which P holds for every theta."""
    stages, p = _Stages(tableau), tableau.P
    most = tableau.order if most is None else most
    for q in range(1, most + 1):
        right = np.zeros(p.shape[1])
        if q <= p.shape[1]:
            right[q - 1] = 1.0
        if (
            q > HIGHEST
            or q > p.shape[1]
            or not all(stages.holds(p, tree, right / density(tree)) for tree in rooted_trees(q))
        ):
            return q - 1
    return most
