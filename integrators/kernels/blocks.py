"""Source of the one loop: begin, attempt, decide, commit, refill, over a block of W lanes.

Every piece is a function `f(A, ...)` over the block's flat array, with lane loops innermost; the template modules of
`pieces` hold them.  The drivers of `drivers` put them in order: a solve runs them in a loop, an environment stops
between the record and the decision.
"""

from __future__ import annotations

from ..core import dense
from ..core import record as rec
from .layout import STATS
from .loops import UNROLL
from .pieces import begin, commit, nothing_kept, outputs, refill, settle
from .templates import constants, text

R = {name: f"R + {i}*W" for i, name in enumerate(rec.NAMES)}


def begin_source() -> str:
    """`begin(A)`."""
    return text(begin)


def commit_source(n: int, carry: str, implicit: bool = False, marks: str = "") -> str:
    """`commit(A, tgrid, yout)` for systems of dimension n.

    carry, marks: source of a method's own pieces of these names (see `pieces.commit`), "" for none.  implicit: count
    Jacobians, factorisations and back-substitutions too.
    """
    own = (carry or text(nothing_kept.carry)) + (marks or text(nothing_kept.marks))
    return constants(IMPLICIT=implicit, SMALL=n <= UNROLL) + "\n\n" + own + text(commit)


def settle_source() -> str:
    """`settle(A, tgrid, yout)`, below what `begin_source` and `commit_source` give."""
    return text(settle)


def emit_source() -> str:
    """`emit(A, l, tgrid, yout)`."""
    return text(outputs)


def refill_source(first: bool = False) -> str:
    """`load(A, l, b, ...)`, `store(A, l, ...)` of one lane; `start_fresh(A, params)`: the method's start and the
    controller's.

    `first`: the controller chooses the first size, unless the caller gave one.
    """
    columns = {f"STAT_{name.upper()}": i for i, name in enumerate(STATS)}
    return constants(CHOOSES=first, **({} if first else {"first": None}), **columns) + "\n\n" + text(refill)


def decide_source(phases: list, n_record: int, n_state: int, n_out: int) -> str:
    """`decide(A, params)`: the controller's phases; `phases` holds ("lane", function name) and ("dense", layer)."""
    src = "@_inline\ndef decide(A, params):\n"
    for kind, what in phases:
        if kind == "lane":
            src += (
                "    for l in range(W):\n"
                f"        {what}(params, view(A, CS + l, WIDTH, {n_state}), view(A, R + l, WIDTH, {n_record}), "
                f"view(A, CO + l, WIDTH, {n_out}))\n"
            )
        else:
            src += dense.source(what)
    return src + "    return\n\n"
