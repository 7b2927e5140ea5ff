"""Source of the one loop: begin, attempt, decide, commit, refill, over a block of W lanes.

The pieces are text because a kernel is a module of its own (see `cache`); every piece is a function `f(A, ...)` over the block's flat
array, with lane loops innermost.  The drivers of `drivers` put them in order: a solve runs them in a loop, an environment stops between
the record and the decision.
"""

from __future__ import annotations

from ..core import dense
from ..core import record as rec
from .explicit import UNROLL, traced_loop
from .layout import STATS_ROWS

R = {name: f"R + {i}*W" for i, name in enumerate(rec.NAMES)}


def begin_source() -> str:
    """`begin(A)`: the size of the next attempt, shortened to land on the end; size underflow; the record's bookkeeping slots.

    A step may not be smaller than 10 ulp of the time it starts from (SciPy's rule); asking for less after a rejection ends the lane.
    """
    return f"""@_traced
def begin_lane(A, l):
    t = A[T + l]
    left = fabs(A[TEND + l] - t)
    running = A[STATUS + l] == 0.0
    hmin = maximum(2.220446049250313e-15*fabs(t), 1e-300)
    want = A[H + l]
    small = (want < hmin) & running
    stuck = (small & (A[STUCK + l] > 0.0)) | (running & (want != want))
    want = where(want >= hmin, want, hmin)
    short = A[DIR + l]*((t + A[DIR + l]*want) - A[TEND + l]) >= 0.0
    # a step between two representable times: what the clock rounds off would add up where the span is short beside the time
    ha = where(A[COARSE + l] == 1.0, fabs((t + A[DIR + l]*want) - t), want)
    ha = where(short, left, ha)
    A[STATUS + l] = where(stuck, where(A[{R['finite']} + l] == 0.0, NON_FINITE, UNDERFLOW), A[STATUS + l])
    A[HS + l] = where(running & ~stuck, A[DIR + l]*ha, 0.0)
    A[{R['h']} + l] = ha
    A[{R['h_free']} + l] = want
    A[{R['truncated']} + l] = where(short & (want > left), 1.0, 0.0)
    A[{R['t_left']} + l] = left
    A[LANDS + l] = where(short, 1.0, 0.0)
    A[{R['rtol']} + l] = A[RTOL + l]


@_inline
def begin(A):
    for l in range(W):
        begin_lane(A, l)

"""


def commit_source(n: int, carry: str, implicit: bool = False, marks: str = "") -> str:
    """`commit(A, tgrid, yout)`: carry out the decision in CO: advance or hold, next size, counts, status, outputs.

    `carry` are a method's own lines a component (`acc` says whether the lane advances).  implicit: count Jacobians, factorisations
    and back-substitutions too.  marks: a method's own lines a lane, after that (ACC says whether it advanced).
    """
    counts = ""
    if implicit:
        for row, slot in (("NJEV", "njac"), ("NLU", "nlu"), ("NSOLVE", "nsolve")):
            counts += f"    A[{row} + l] = A[{row} + l] + where(running, A[{R[slot]} + l], 0.0)\n"
        counts += "    A[DONE + l] = 0.0\n"
    spent = f"where(running, A[{R['nf']} + l], 0.0)" if implicit else f"live*A[{R['nf']} + l]"
    body = "A[Y + j] = where(acc, A[YN + j], A[Y + j])\n" + carry
    src = f"""@_traced
def commit_lane(A, l):
    running = A[STATUS + l] == 0.0
    acc = (A[CO + {0}*W + l] > 0.5) & running & (A[{R['finite']} + l] == 1.0)
    one = where(acc, 1.0, 0.0)
    live = where(running, 1.0, 0.0)
    lands = A[LANDS + l] == 1.0
    A[ACC + l] = one
    A[TN + l] = where(lands, A[TEND + l], A[T + l] + A[HS + l])
    base = where(acc & (A[{R['truncated']} + l] == 1.0), A[{R['h_free']} + l], A[{R['h']} + l])
    A[HLAST + l] = where(acc, A[{R['h']} + l], A[HLAST + l])
    A[H + l] = where(running, base*exp(A[CO + {1}*W + l]), A[H + l])
    A[STUCK + l] = live - one
    nacc = A[NACC + l] + one
    nrej = A[NREJ + l] + (live - one)
    A[NACC + l] = nacc
    A[NREJ + l] = nrej
    A[NFEV + l] = A[NFEV + l] + {spent}
    A[NFALL + l] = A[NFALL + l] + live*A[CO + {3}*W + l]
    A[NOVER + l] = A[NOVER + l] + where(acc & (A[{R['err']} + l] > 1.0), 1.0, 0.0)
{counts}    spent = running & (nacc + nrej >= A[MAXSTEP + l])
    A[STATUS + l] = where(acc & lands, SUCCESS, where(spent, MAX_STEPS, A[STATUS + l]))

"""
    head = "acc = A[ACC + l] == 1.0\n"
    step = "A[T + l] = where(A[ACC + l] == 1.0, A[TN + l], A[T + l])\n" + marks
    defs, loop = traced_loop("advance_0", n, 0, head + body if n > UNROLL else body, step)
    if n <= UNROLL:
        defs = defs.replace("def advance_0(A, l):\n", "def advance_0(A, l):\n    acc = A[ACC + l] == 1.0\n")
    return src + defs + """@_inline
def pass_outputs(A, tgrid, yout):
    if tgrid.shape[1] > 0:
        crossing = 0
        for l in range(W):
            crossing += 1 if (A[ACC + l] == 1.0) & (A[DIR + l]*A[TN + l] >= A[TOUT + l]) else 0
        if crossing > 0:
            for l in range(W):
                if A[ACC + l] == 1.0 and A[DIR + l]*A[TN + l] >= A[TOUT + l]:
                    emit(A, l, tgrid, yout)


@_inline
def advance_all(A):
""" + loop + """

@_inline
def commit(A, tgrid, yout):
    for l in range(W):
        commit_lane(A, l)
    pass_outputs(A, tgrid, yout)
    advance_all(A)

"""


def settle_source(n: int) -> str:
    """`settle(A, tgrid, yout)`: what `commit` and the next `begin` do, in one lane loop where no outputs are wanted."""
    if n > UNROLL:
        return """@_inline
def settle(A, tgrid, yout):
    commit(A, tgrid, yout)
    begin(A)


"""
    return """PASSING = frozenset([TN])


@_traced
def settle_lane(A, l):
    A = _Local(A, PASSING)
    commit_lane(A, l)
    advance_0(A, l)
    begin_lane(A, l)


@_inline
def settle(A, tgrid, yout):
    if tgrid.shape[1] > 0:
        commit(A, tgrid, yout)
        begin(A)
    else:
        for l in range(W):
            settle_lane(A, l)


"""


def emit_source() -> str:
    """`emit(A, l, tgrid, yout)`: the outputs of lane l that the accepted step passes, from dense output."""
    return """@_inline
def emit(A, l, tgrid, yout):
    b = int(A[INST + l])
    row = b if tgrid.shape[0] > 1 else 0
    nt = tgrid.shape[1]
    q = int(A[NEXT + l])
    # an output at the step's end needs no dense output
    A[NFEV + l] += prepare_dense(A, l) if tgrid[row, q] != A[TN + l] else 0.0
    if A[ACC + l] != 1.0:  # the slope at the end is not finite: the step is taken back, and its outputs with it
        return
    while q < nt and A[DIR + l]*tgrid[row, q] <= A[DIR + l]*A[TN + l]:
        if tgrid[row, q] == A[TN + l]:
            for i in range(N):
                yout[b, q, i] = A[YN + i*W + l]
        else:
            dense(A, l, (tgrid[row, q] - A[T + l])/A[HS + l])
            for i in range(N):
                yout[b, q, i] = A[Z + i*W + l]
        q += 1
    A[NEXT + l] = q
    A[TOUT + l] = A[DIR + l]*tgrid[row, q] if q < nt else math.inf

"""


def refill_source(first: bool = False) -> str:
    """`load(A, l, b, ...)`, `store(A, l, ...)` of one lane; `start_fresh(A, params)`: the method's start and the controller's.

    `first`: the controller chooses the first size, unless the caller gave one; an answer that is not a positive number leaves the
    method's guess.
    """
    choose = f"""            size = first(params, view(A, CS + l, WIDTH, NSTATE), view(A, R + l, WIDTH, {rec.N_RECORD}))
            A[H + l] = size if size > 0.0 and not A[HZERO + l] > 0.0 else A[H + l]
"""
    if not first:
        choose = ""
    kept = "".join(f"    stat[b, {i}] = A[{row} + l]\n" for i, row in enumerate(STATS_ROWS.values()))
    return f"""@_inline
def load(A, l, b, y0, p, t0, t1, rtol, atol, h0, tgrid, yout, max_steps):
    for i in range(N):
        A[Y + i*W + l] = y0[b, i]
        A[YN + i*W + l] = y0[b, i]
        A[ATOL + i*W + l] = atol[b, i]
    for i in range(M):
        A[P + i*W + l] = p[b, i]
    for i in range({rec.N_RECORD}):
        A[R + i*W + l] = math.nan
    A[{R['finite']} + l] = 1.0
    A[T + l] = t0[b]
    A[TEND + l] = t1[b]
    A[DIR + l] = -1.0 if t1[b] < t0[b] else 1.0
    A[COARSE + l] = 1.0 if 2.220446049250313e-16*maximum(fabs(t0[b]), fabs(t1[b])) > 1e-13*fabs(t1[b] - t0[b]) else 0.0
    A[RTOL + l] = rtol[b]
    A[HZERO + l] = h0[b]
    A[H + l] = 0.0
    A[HS + l] = 0.0
    A[HLAST + l] = 0.0
    A[STATUS + l] = SUCCESS if t1[b] == t0[b] else RUNNING
    A[INST + l] = b
    A[FRESH + l] = 1.0
    A[NACC + l] = 0.0
    A[NREJ + l] = 0.0
    A[NFEV + l] = 0.0
    A[NFALL + l] = 0.0
    A[NOVER + l] = 0.0
    A[NJEV + l] = 0.0
    A[NLU + l] = 0.0
    A[NSOLVE + l] = 0.0
    A[DONE + l] = 0.0
    A[STUCK + l] = 0.0
    A[MAXSTEP + l] = max_steps
    q = 0
    row = b if tgrid.shape[0] > 1 else 0
    nt = tgrid.shape[1]
    while q < nt and A[DIR + l]*tgrid[row, q] <= A[DIR + l]*A[T + l]:
        for i in range(N):
            yout[b, q, i] = y0[b, i]
        q += 1
    A[NEXT + l] = q
    A[TOUT + l] = A[DIR + l]*tgrid[row, q] if q < nt else math.inf


@_inline
def store(A, l, yend, stat):
    b = int(A[INST + l])
    for i in range(N):
        yend[b, i] = A[Y + i*W + l]
{kept}    A[STATUS + l] = IDLE
    A[INST + l] = -1.0


@_inline
def start_fresh(A, params):
    start(A)
    for l in range(W):
        if A[FRESH + l] == 1.0:
            init(params, view(A, CS + l, WIDTH, NSTATE))
            A[FRESH + l] = 0.0
{choose}

"""


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
