"""Source of the one loop: begin, attempt, decide, commit, refill, over a block of W lanes.

The pieces are text because a kernel is a module of its own (see `cache`); every piece is a function `f(A, ...)` over the block's flat
array, with lane loops innermost.  The drivers of `drivers` put them in order: a solve runs them in a loop, an environment stops between
the record and the decision.
"""

from __future__ import annotations

from .. import record as rec
from .explicit import component_loop

R = {name: f"R + {i}*W" for i, name in enumerate(rec.NAMES)}


def begin_source() -> str:
    """`begin(A)`: the size of the next attempt, shortened to land on the end; size underflow; the record's bookkeeping slots.

    A step may not be smaller than 10 ulp of the time it starts from (SciPy's rule); asking for less after a rejection ends the lane.
    """
    return f"""@_inline
def begin(A):
    for l in range(W):
        t = A[T + l]
        left = fabs(A[TEND + l] - t)
        running = A[STATUS + l] == 0.0
        hmin = 2.220446049250313e-15*fabs(t)
        hmin = where(hmin > 1e-300, hmin, 1e-300)
        want = A[H + l]
        small = (want < hmin) & running
        stuck = (small & (A[STUCK + l] > 0.0)) | (running & (want != want))
        want = where(want >= hmin, want, hmin)
        short = want >= left
        ha = where(short, left, want)
        A[STATUS + l] = where(stuck, where(A[{R['finite']} + l] == 0.0, NON_FINITE, UNDERFLOW), A[STATUS + l])
        A[HS + l] = where(running & (stuck == False), A[DIR + l]*ha, 0.0)
        A[{R['h']} + l] = ha
        A[{R['h_free']} + l] = want
        A[{R['truncated']} + l] = where(short & (want > left), 1.0, 0.0)
        A[{R['t_left']} + l] = left
        A[LANDS + l] = where(short, 1.0, 0.0)
        A[{R['rtol']} + l] = A[RTOL + l]

"""


def commit_source(n: int, carry: str) -> str:
    """`commit(A, tgrid, yout)`: carry out the decision in CO: advance or hold, next size, counts, status, outputs.

    `carry` are a method's own lines a component (`acc` says whether the lane advances).
    """
    src = f"""@_inline
def commit(A, tgrid, yout):
    crossing = 0
    for l in range(W):
        running = A[STATUS + l] == 0.0
        acc = (A[CO + {0}*W + l] > 0.5) & running & (A[{R['finite']} + l] == 1.0)
        one = where(acc, 1.0, 0.0)
        live = where(running, 1.0, 0.0)
        lands = A[LANDS + l] == 1.0
        tn = where(lands, A[TEND + l], A[T + l] + A[HS + l])
        A[ACC + l] = one
        A[TN + l] = tn
        crossing += 1 if acc & (A[DIR + l]*tn >= A[TOUT + l]) else 0
        base = where(acc & (A[{R['truncated']} + l] == 1.0), A[{R['h_free']} + l], A[{R['h']} + l])
        A[HLAST + l] = where(acc, A[{R['h']} + l], A[HLAST + l])
        A[H + l] = where(running, base*exp(A[CO + {1}*W + l]), A[H + l])
        A[STUCK + l] = live - one
        nacc = A[NACC + l] + one
        nrej = A[NREJ + l] + (live - one)
        A[NACC + l] = nacc
        A[NREJ + l] = nrej
        A[NFEV + l] += live*A[{R['nf']} + l]
        A[NFALL + l] += live*A[CO + {3}*W + l]
        spent = running & (nacc + nrej >= A[MAXSTEP + l])
        A[STATUS + l] = where(acc & lands, SUCCESS, where(spent, MAX_STEPS, A[STATUS + l]))
    if crossing > 0:
        for l in range(W):
            if A[ACC + l] == 1.0 and A[DIR + l]*A[TN + l] >= A[TOUT + l]:
                emit(A, l, tgrid, yout)
"""
    body = "acc = A[ACC + l] == 1.0\nA[Y + j] = where(acc, A[YN + j], A[Y + j])\n" + carry
    return src + component_loop(n, 0, body, "A[T + l] = where(A[ACC + l] == 1.0, A[TN + l], A[T + l])\n") + "\n"


def emit_source() -> str:
    """`emit(A, l, tgrid, yout)`: the outputs of lane l that the accepted step passes, from dense output."""
    return """@_inline
def emit(A, l, tgrid, yout):
    b = int(A[INST + l])
    row = b if tgrid.shape[0] > 1 else 0
    nt = tgrid.shape[1]
    A[NFEV + l] += prepare_dense(A, l)
    q = int(A[NEXT + l])
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


def refill_source() -> str:
    """`load(A, l, b, ...)`, `store(A, l, ...)` of one lane."""
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
    stat[b, 0] = A[STATUS + l]
    stat[b, 1] = A[NACC + l]
    stat[b, 2] = A[NREJ + l]
    stat[b, 3] = A[NFEV + l]
    stat[b, 4] = A[T + l]
    stat[b, 5] = A[NFALL + l]
    stat[b, 6] = A[HLAST + l]
    stat[b, 7] = A[H + l]
    A[STATUS + l] = IDLE
    A[INST + l] = -1.0


@_inline
def start_fresh(A, params):
    start(A)
    for l in range(W):
        if A[FRESH + l] == 1.0:
            init(params, view(A, CS + l, WIDTH, NSTATE))
            A[FRESH + l] = 0.0


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
            src += dense_layer(what)
    return src + "    return\n\n"


def dense_layer(layer, chunk: int = 32) -> str:
    """A network layer over state rows: one weight row at a time, inputs unrolled, lanes innermost."""
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
        # written so that NaN stays NaN
        src += f"        for l in range(W):\n            {out} = where({out} < 0.0, 0.0, {out})\n"
    elif layer.activation != "linear":
        raise ValueError(f"activation must be 'tanh', 'relu' or 'linear', got {layer.activation!r}")
    return src
