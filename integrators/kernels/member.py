"""Kernels of the methods of a portfolio (`pieces.member`): one module a method, which lanes enter and leave."""

from __future__ import annotations

from typing import Any

from ..core import record
from ..methods.method import Method
from . import build, drivers
from .implicit.linear import Algebra
from .layout import N_STATS, PACK, SWITCH
from .pieces import member, single
from .templates import constants, text

#: columns of `carry` before the rows of the rule
CARRY = ("next", "method")

_SHARED = (
    member.choose_lane, member.leave_lane, member.spectral, member.step, member.settle_and_leave, member.resume,
    member.restore, member.hand_over,
)  # fmt: skip


def member_kernel(
    source: Any, method: Method, face: Any, here: int, count: int, width: int, slots: frozenset[int]
) -> build.Kernel:
    """The kernel of method `here` of `count` under its face (`controllers.switching`), `width` lanes a block; one lane:
    that of single solves.
    """
    parts = method.parts(source, slots)
    spectral = method.implicit and record.HS in slots
    if spectral:
        parts = _with_norm(parts, source, method)
    rows = {"BACK": 1, "WANT": 1, "JNORM": 1}

    def driver(wide: bool) -> str:
        places = {f"CARRY_{name.upper()}": i for i, name in enumerate(CARRY)}
        head = constants(
            **places, CARRY=len(CARRY), HERE=here, METHODS=count, RULE_AT=face.rule_at, RULE_ROWS=face.rule_rows,
            SPECTRAL=spectral, SWITCH=SWITCH, **({} if spectral else {"jacobian_norm": None}),
        )  # fmt: skip
        return head + (_lanes(wide) if width > 1 else _single())

    return build.build(parts, source.n, source.m, face, width, driver, rows)


def _lanes(wide: bool) -> str:
    places = {f"PLACE_{name.upper()}": i for i, name in enumerate(drivers.PLACE)}
    return constants(WIDE=wide, **places) + "\n\n" + text(*_SHARED, member.take, member.run)


def _single() -> str:
    places = {f"PACK_{name.upper()}": i for i, name in enumerate(PACK)}
    sizes = {"N_PACK": len(PACK), "PACK_HEAD": len(PACK) + N_STATS, "NSTATS": N_STATS}
    begun = text(single.load_pack, single.keep_state)
    return constants(**places, **sizes) + "\n\n" + begun + text(*_SHARED, member.take_pack, member.run_single)


def _with_norm(parts: build.Parts, source: Any, method: Method) -> build.Parts:
    """The parts with `jacobian_norm(A, l)`, the maximum norm of a lane's Jacobian."""
    from dataclasses import replace

    algebra = Algebra(source, pair=method.factor_pairs)
    return replace(parts, attempt=parts.attempt + "\n\n" + norm_source(algebra))


def norm_source(algebra: Algebra) -> str:
    """`jacobian_norm(A, l)`: the largest sum of moduli in a row of J, NaN where an element is."""
    st = algebra.structure
    if st.factors is not None:
        # column by column: the sums of the rows first, in a row of the lane's own
        return """@_piece
def jacobian_norm(A, l):
    for i in range(N):
        A[TMP + l*N + i] = 0.0
    for q in range(N):
        for e in range(_PTR[q], _PTR[q + 1]):
            A[TMP + l*N + _ROW[e]] += fabs(A[JAC + l*NJAC + e])
    most = 0.0
    for i in range(N):
        total = A[TMP + l*N + i]
        most = total if total > most or total != total else most
    return most


"""
    columns = algebra.large and not algebra.given and not st.coloured
    span = st.lower + st.upper + 1
    if st.dense:
        first, last, at = "0", "N", "j*N + i" if columns else "i*N + j"
    else:
        first, last = f"max(0, i - {st.lower})", f"min(N, i + {st.upper + 1})"
        at = f"i*{span} + j - i + {st.lower}"
    return f"""@_piece
def jacobian_norm(A, l):
    most = 0.0
    for i in range(N):
        total = 0.0
        for j in range({first}, {last}):
            total += fabs(A[JAC + l*NJAC + {at}])
        most = total if total > most or total != total else most
    return most


"""
