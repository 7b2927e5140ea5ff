"""`run_single(A, params, pack, tgrid, yout, ts, ys, rows)`: one trajectory (W = 1).

`pack` (few arguments are cheap to pass) holds `layout.PACK`, the statistics, y0 (n), atol (n), the end state (n), p
(m). PACK_STEPS: how many are kept in ts/ys so far, PACK_RECORDS: in rows, PACK_STARTED: 0 on the first call, PACK_MOST:
attempts after which a call returns.  Returns 0 when done, 1 when ts or rows is full: grow it and call again with the
same A; 2 after PACK_MOST attempts: call again.  A zero-length ts or rows keeps nothing.
"""

from ..slots import (
    ACC,
    CO,
    NANS,
    NREC,
    RUNNING,
    STATUS,
    M,
    N,
    R,
    T,
    Y,
    attempt,
    begin,
    decide,
    entry,
    inline,
    load,
    start_fresh,
    store,
)  # fmt: skip
from .settle import settle
from .slots import (
    N_PACK,
    NSTATS,
    PACK_H0,
    PACK_HEAD,
    PACK_MAX_STEPS,
    PACK_MOST,
    PACK_RECORDS,
    PACK_RTOL,
    PACK_STARTED,
    PACK_STEPS,
    PACK_T0,
    PACK_T1,
)  # fmt: skip


@inline
def load_pack(A, pack, tgrid, yout):
    y0 = pack[PACK_HEAD:PACK_HEAD + N].reshape((1, N))
    atol = pack[PACK_HEAD + N:PACK_HEAD + 2*N].reshape((1, N))
    p = pack[PACK_HEAD + 3*N:PACK_HEAD + 3*N + M].reshape((1, M))
    t0, t1, rtol, h0 = pack[PACK_T0:], pack[PACK_T1:], pack[PACK_RTOL:], pack[PACK_H0:]
    load(A, 0, 0, y0, p, t0, t1, rtol, atol, h0, tgrid, yout, pack[PACK_MAX_STEPS])


@inline
def keep_state(A, ts, ys, k):
    ts[k] = A[T]
    for i in range(N):
        ys[k, i] = A[Y + i]


@entry
def run_single(A, params, pack, tgrid, yout, ts, ys, rows):
    steps = int(pack[PACK_STEPS])
    records = int(pack[PACK_RECORDS])
    keep = ts.shape[0] > 0
    log = rows.shape[0] > 0
    left = pack[PACK_MOST]
    if pack[PACK_STARTED] == 0.0:
        load_pack(A, pack, tgrid, yout)
        start_fresh(A, params)
        begin(A)
        pack[PACK_STARTED] = 1.0
        if keep:
            keep_state(A, ts, ys, 0)
            steps = 1
    while A[STATUS] == RUNNING:
        if (keep and steps >= ts.shape[0]) or (log and records >= rows.shape[0]):
            pack[PACK_STEPS] = steps
            pack[PACK_RECORDS] = records
            return 1
        if left <= 0.0:
            pack[PACK_STEPS] = steps
            pack[PACK_RECORDS] = records
            return 2
        left -= 1.0
        attempt(A)
        decide(A, params)
        if log:
            for i in range(NREC):
                rows[records, i] = A[R + i]
            for i in range(NANS):
                rows[records, NREC + i] = A[CO + i]
            records += 1
        settle(A, tgrid, yout)
        if keep and A[ACC] == 1.0:
            keep_state(A, ts, ys, steps)
            steps += 1
    yend = pack[PACK_HEAD + 2*N:PACK_HEAD + 3*N].reshape((1, N))
    store(A, 0, yend, pack[N_PACK:PACK_HEAD].reshape((1, NSTATS)))
    pack[PACK_STEPS] = steps
    pack[PACK_RECORDS] = records
    return 0
