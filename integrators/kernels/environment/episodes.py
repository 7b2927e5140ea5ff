"""Template: an episode in a lane of an environment: how it starts, what its attempts pay, how it ends."""

# ruff: noqa: I001  (imports of a template stand in rows)
from __future__ import annotations

import math

from ..slots import (
    ATOL, CO, CS, INST, N, NACC, NANS, NFALL, NFEV, NREC, NREJ, NSTATE, R, RTOL, STATUS, SUCCESS, T, TEND, W, WIDTH,
    apply, attempt, begin, exp, fabs, features, inline, load, log, maximum, piece, start_fresh, traced, view, where,
    wide_vectors,
)  # fmt: skip
from .errors import invariant_start
from .pay import own_lane, work_so_far
from .places import (
    BASELINE_ERROR, BASELINE_WORK, CONST_ATOL_FACTOR, CONST_LOG_DISCOUNT, CONST_MAX_ATTEMPTS, EPISODE_ERROR,
    EPISODE_INSTANCE, EPISODE_LENGTH, EPISODE_LOG_RATIO, EPISODE_NACCEPT, EPISODE_NFALLBACK, EPISODE_NFEV,
    EPISODE_NREJECT, EPISODE_RETURN, EPISODE_RTOL, EPISODE_STATUS, GRID_ERROR_FIRST, GRID_ERROR_STEP,
    GRID_RTOL_FIRST, GRID_RTOL_STEP, SPAN_HIGH, SPAN_LOW,
)  # fmt: skip
from .propagated import forget
from .slots import (
    BASEE, BASEI, ERRMAX, LENGTH, LOGW, LOGW0, N_OBS, OBS_AT, OVER, OWN_REWARD, PAID, PART, PAY, PROPAGATED, RETURN,
    SERIES, SPAN, WIDE, WPAID, attempt_pay, end_pay,
)  # fmt: skip
from .series import (
    divide, forget_last, goes_on, move_first, next_instance, set_first, show_last, write_more,
)  # fmt: skip
from .splitmix import uniform


@inline
def lookup(table, b, x, lo, step):
    """Row b of a table on a uniform grid, at x: linear, held at its ends."""
    k = (x - lo)/step
    top = table.shape[1] - 1.0
    k = 0.0 if k < 0.0 else top if k > top else k
    j = min(int(k), table.shape[1] - 2)
    return table[b, j] + (k - j)*(table[b, j + 1] - table[b, j])


@piece
def restart(
    A, l, lane, y0, p, t0, t1, ones, tol_ones, none, tgrid, scratch, at_tol, grid_meta, span, consts, keys, episodes,
    price, following, firsts,
):  # fmt: skip
    """The next episode in a lane: an instance, and a tolerance that is log-uniform between the instance's.  In series:
    the next instance of the same training at the same tolerance, or another training."""
    episode = episodes[lane]
    episodes[lane] = episode + 1
    b = min(int(uniform(keys[lane], episode, 0)*y0.shape[0]), y0.shape[0] - 1)
    goes = False
    if SERIES:
        goes = goes_on(A, l, episode, following)
        b = next_instance(A, l, keys[lane], episode, following, firsts)
    lr = span[b, SPAN_LOW] + (span[b, SPAN_HIGH] - span[b, SPAN_LOW])*uniform(keys[lane], episode, 1)
    kept = A[RTOL + l]
    if goes:
        lr = math.log(kept)
    load(A, l, b, y0, p, t0, t1, ones, tol_ones, none, tgrid, scratch, math.inf)
    rtol = kept if goes else math.exp(lr)
    A[RTOL + l] = rtol
    for i in range(N):
        A[ATOL + i*W + l] = rtol*consts[CONST_ATOL_FACTOR]
    A[ERRMAX + l] = 0.0
    A[RETURN + l] = 0.0
    A[LENGTH + l] = 0.0
    A[WPAID + l] = 0.0
    A[LOGW0 + l] = -1.0
    A[PAID + l] = 0.0
    A[OVER + l] = 0.0
    A[SPAN + l] = abs(t1[b] - t0[b])
    A[PART + l] = 1.0
    first, step = grid_meta[GRID_RTOL_FIRST], grid_meta[GRID_RTOL_STEP]
    A[BASEI + l] = math.exp(-lookup(at_tol[BASELINE_WORK], b, lr, first, step))
    A[BASEE + l] = lookup(at_tol[BASELINE_ERROR], b, lr, first, step)
    invariant_start(A, l)
    if PROPAGATED:
        forget(A, l, price)
    if SERIES:
        if not goes:
            forget_last(A, l)
        set_first(A, l)


@traced
def started_lane(A, l):
    """Right-hand sides of the start belong to the episode's work."""
    fresh = A[LOGW0 + l] == -1.0
    lw = log(maximum(A[NFEV + l], 1.0))
    A[LOGW + l] = where(fresh, lw, A[LOGW + l])
    A[LOGW0 + l] = where(fresh, lw, A[LOGW0 + l])


@piece
def set_out(A, params):
    """The start of lanes just loaded; others are left alone."""
    if WIDE:
        wide_vectors()
    start_fresh(A, params)
    if SERIES:
        move_first(A)
    for l in range(W):
        started_lane(A, l)
    begin(A)
    if SERIES:
        divide(A)


@piece
def look(A, params):
    """The next attempt and its features: changes nothing but what the next attempt finds, so that it may be
    repeated."""
    if WIDE:
        wide_vectors()
    attempt(A)
    for l in range(W):
        features(params, view(A, CS + l, WIDTH, NSTATE), view(A, R + l, WIDTH, NREC), view(A, CO + l, WIDTH, NANS))
    if SERIES:
        show_last(A)


@inline
def decide(A, params):
    """The answers to the actions that stand in the controller's state."""
    for l in range(W):
        apply(params, view(A, CS + l, WIDTH, NSTATE), view(A, R + l, WIDTH, NREC), view(A, CO + l, WIDTH, NANS))


@traced
def discount_lane(A, params, l):
    """Discount of the time that has passed, as a power of the part of the span; params: `consts`."""
    A[PART + l] = exp(params[CONST_LOG_DISCOUNT]*(1.0 - fabs(A[TEND + l] - A[T + l])/A[SPAN + l]))


@traced
def pay_lane(A, params, l):
    """The reward of an attempt, and whether the episode is over; params: `consts`."""
    w = work_so_far(A, params, l)
    lw = log(maximum(w, 1.0))
    live = A[PAID + l] == 0.0
    r = where(live, attempt_pay(A, params, w, lw, l)*A[PART + l], 0.0)
    length = A[LENGTH + l] + where(live, 1.0, 0.0)
    A[PAY + l] = r
    A[RETURN + l] = A[RETURN + l] + r
    A[LOGW + l] = lw
    A[WPAID + l] = w
    A[LENGTH + l] = length
    ended = where(A[STATUS + l] != 0.0, 1.0, where(length >= params[CONST_MAX_ATTEMPTS], 2.0, 0.0))
    A[OVER + l] = where(live, ended, 0.0)


@inline
def begin_time(A, base, count, durations):
    """When the lanes of a block are decided on."""
    for l in range(count):
        durations[base + l] = A[T + l]


@inline
def end_time(A, base, count, durations):
    """What share of the span the decisions cover, from what `begin_time` has noted."""
    for l in range(count):
        durations[base + l] = abs(A[T + l] - durations[base + l])/A[SPAN + l]


@inline
def pay_block(A, base, count, consts, durations):
    """The rewards of a block's attempts, the time that they cover, and which episodes they end."""
    end_time(A, base, count, durations)
    if consts[CONST_LOG_DISCOUNT] != 0.0:
        for l in range(W):
            discount_lane(A, consts, l)
    if OWN_REWARD:
        for l in range(W):
            own_lane(A, consts, l)
    for l in range(W):
        pay_lane(A, consts, l)


@piece
def settle(A, l, k, table, grid_meta, consts, stats):
    """The end of an episode: what it pays, and its statistics."""
    b = int(A[INST + l])
    e = A[ERRMAX + l] if A[STATUS + l] == SUCCESS and A[ERRMAX + l] - A[ERRMAX + l] == 0.0 else math.inf
    le = math.log(max(e, 1e-300)) if e < math.inf else 1e3
    base = lookup(table, b, le, grid_meta[GRID_ERROR_FIRST], grid_meta[GRID_ERROR_STEP])
    if A[OVER + l] == 1.0:
        r = end_pay(A, l, consts, e, le, base)*A[PART + l]
        A[PAY + l] += r
        A[RETURN + l] += r
    stats[k, EPISODE_RETURN] = A[RETURN + l]
    stats[k, EPISODE_LENGTH] = A[LENGTH + l]
    stats[k, EPISODE_NFEV] = A[NFEV + l]
    stats[k, EPISODE_NACCEPT] = A[NACC + l]
    stats[k, EPISODE_NREJECT] = A[NREJ + l]
    stats[k, EPISODE_ERROR] = e
    stats[k, EPISODE_LOG_RATIO] = base - A[LOGW + l]
    stats[k, EPISODE_INSTANCE] = b
    stats[k, EPISODE_RTOL] = A[RTOL + l]
    stats[k, EPISODE_STATUS] = A[STATUS + l]
    stats[k, EPISODE_NFALLBACK] = A[NFALL + l]


@piece
def write_lane(A, l, k, obs):
    """The observation of one lane."""
    for i in range(N_OBS):
        obs[k, i] = A[CS + (OBS_AT + i)*W + l]
    if SERIES:
        write_more(A, l, k, obs)


@inline
def write_ends(A, base, count, reward, terminated, truncated):
    """Reward and end of the lanes of a block."""
    for l in range(count):
        reward[base + l] = A[PAY + l]
        terminated[base + l] = A[OVER + l] == 1.0
        truncated[base + l] = A[OVER + l] == 2.0
