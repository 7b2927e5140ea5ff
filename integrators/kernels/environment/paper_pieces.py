"""Template: the three-body paper's environment, whose decision is the accuracy of the Hermite steps of an interval of
time.

`paper_env` says what it does.  Arguments of what Python calls: blocks (b, rows*W) float64, lanes how many of them are
played, y0 (I, n), p (I, m) of the instances, mus (10,), consts (`paper_places`), keys, episodes (lanes,) of the
generators; then what is filled: obs, final_obs (lanes, n_obs), reward, terminated, truncated (lanes,),
durations (lanes,) the time that the decision covers as a share of that of all decisions of an episode, stats (lanes,
EPISODE), which (lanes,) the lanes whose episode has ended.
"""

# ruff: noqa: I001  (imports of a template stand in rows)
from __future__ import annotations

import math

import numpy as np

from ..slots import (
    ACC, DIM, FRESH, HS, IDLE, INST, K0, K1, M, MAX_STEPS, N, NFEV, NON_FINITE, NPAR, P, RUNNING, R_FINITE, R_NF,
    R_TAU_AMUSE, STATUS, T, UNDERFLOW, W, WIDTH, Y, YN, attempt, entry, fabs, frozen, inline, invariant, piece,
    traced, where, wide_vectors,
)  # fmt: skip
from .paper_places import (
    CONST_HARMONIC, CONST_INTERVAL, CONST_IN_TURN, CONST_LENGTH_UNIT, CONST_LIMIT, CONST_MOST, CONST_SAME_STEP,
    CONST_SPEED_UNIT, CONST_STEPS, CONST_W0, CONST_W2, EPISODE_ERROR, EPISODE_INSTANCE, EPISODE_LENGTH,
    EPISODE_NFEV, EPISODE_NSTEPS, EPISODE_RETURN, EPISODE_STATUS, EPISODE_TIME,
)  # fmt: skip
from .slots import (
    BUSY, COUNTER, E0, EREL, FLOOR, GO, LENGTH, LIVE, MARK, MOST_STEPS, MU, NSTEPS, OVER, PAID, RETURN, SMALLEST,
    TAU, WIDE,
)  # fmt: skip
from .splitmix import GOLDEN, fraction, mix


@inline
def energy(A, t, l):
    """The problem's energy at the time t and the state of lane l."""
    return invariant(t, frozen(A, Y + l, WIDTH, DIM), frozen(A, P + l, WIDTH, NPAR))


@inline
def log10_error(e, consts):
    """log10 of an energy error, held within [FLOOR, most]."""
    e = e if e < consts[CONST_MOST] else consts[CONST_MOST]
    return math.log10(e if e > FLOOR else FLOOR)


@traced
def size_lane(A, l):
    """Size of the next Hermite step; what ends a lane that cannot go on.  A lane just taken gets its derivatives from a
    step of size zero."""
    t = A[T + l]
    h = A[MU + l]*A[TAU + l]
    go = (A[BUSY + l] == 1.0) & (A[FRESH + l] == 0.0)
    lost = go & ((t + h == t) | (h < SMALLEST))
    long = go & (A[NSTEPS + l] >= MOST_STEPS)
    A[STATUS + l] = where(lost, UNDERFLOW, where(long, MAX_STEPS, A[STATUS + l]))
    go = go & ~(lost | long)
    A[HS + l] = where(go, h, 0.0)
    A[GO + l] = where(go, 1.0, 0.0)


@traced
def step_lane(A, l):
    """Whether the step that was tried stands, and what follows from it; OVER: 1 where the lane has come to its mark."""
    go = A[GO + l] == 1.0
    fresh = (A[FRESH + l] == 1.0) & (A[BUSY + l] == 1.0)
    finite = A[R_FINITE + l] == 1.0
    good = (go | fresh) & finite
    t = where(good, A[T + l] + A[HS + l], A[T + l])
    status = where((go | fresh) & ~finite, NON_FINITE, A[STATUS + l])
    A[ACC + l] = where(good, 1.0, 0.0)
    A[T + l] = t
    A[STATUS + l] = status
    A[TAU + l] = where(good, A[R_TAU_AMUSE + l], A[TAU + l])
    A[NSTEPS + l] = A[NSTEPS + l] + A[GO + l]
    A[NFEV + l] = A[NFEV + l] + where(go, A[R_NF + l], where(fresh, 1.0, 0.0))
    A[FRESH + l] = 0.0
    A[OVER + l] = where((A[BUSY + l] == 1.0) & ((status != 0.0) | (t >= A[MARK + l])), 1.0, 0.0)


@traced
def keep_lane(A, j, l):
    """One component of the state and of its derivatives moves on."""
    acc = A[ACC + l] == 1.0
    A[Y + j] = where(acc, A[YN + j], A[Y + j])
    A[K0 + j] = where(acc, A[K1 + j], A[K0 + j])


@piece
def take(A, l, B, k, home):
    """Lane k of the block B to lane l of the working block."""
    for i in range(N):
        A[Y + i*W + l] = B[Y + i*W + k]
        A[K0 + i*W + l] = 0.0
    for i in range(M):
        A[P + i*W + l] = B[P + i*W + k]
    A[T + l] = B[T + k]
    A[MU + l] = B[MU + k]
    A[MARK + l] = B[MARK + k]
    A[TAU + l] = 0.0
    A[STATUS + l] = RUNNING
    A[NSTEPS + l] = 0.0
    A[NFEV + l] = 0.0
    A[INST + l] = home
    A[BUSY + l] = 1.0
    A[FRESH + l] = 1.0


@piece
def bring_back(A, l, blocks):
    """Lane l of the working block to where it came from."""
    home = int(A[INST + l])
    B = blocks[home // W]
    k = home % W
    for i in range(N):
        B[Y + i*W + k] = A[Y + i*W + l]
    B[T + k] = A[T + l]
    B[STATUS + k] = A[STATUS + l]
    B[NSTEPS + k] += A[NSTEPS + l]
    B[NFEV + k] += A[NFEV + l]
    A[BUSY + l] = 0.0


@piece
def advance(A, blocks, lanes):
    """Every live lane to its mark, through one working block whose lanes are filled again as they fall free."""
    if WIDE:
        wide_vectors()
    cursor = 0
    busy = 0
    for l in range(W):
        A[BUSY + l] = 0.0
    while True:
        if busy < W and cursor < lanes:
            for l in range(W):
                while A[BUSY + l] == 0.0 and cursor < lanes:
                    B = blocks[cursor // W]
                    if B[LIVE + cursor % W] == 1.0:
                        take(A, l, B, cursor % W, cursor)
                        busy += 1
                    cursor += 1
        if busy == 0:
            break
        for l in range(W):
            size_lane(A, l)
        attempt(A)
        for l in range(W):
            step_lane(A, l)
        for i in range(N):
            for l in range(W):
                keep_lane(A, i*W + l, l)
        arrived = 0
        for l in range(W):
            arrived += 1 if A[OVER + l] == 1.0 else 0
        if arrived > 0:
            for l in range(W):
                if A[OVER + l] == 1.0:
                    bring_back(A, l, blocks)
            busy -= arrived


@piece
def restart(A, l, lane, lanes, y0, p, consts, keys, episodes):
    """The next episode in a lane: an instance drawn, or the next in turn."""
    episode = episodes[lane]
    episodes[lane] = episode + 1
    if consts[CONST_IN_TURN] == 1.0:
        b = (lane + episode*lanes) % y0.shape[0]
    else:
        z = mix(keys[lane] + GOLDEN*(np.uint64(episode) + np.uint64(1)))
        b = min(int(fraction(z)*y0.shape[0]), y0.shape[0] - 1)
    for i in range(N):
        A[Y + i*W + l] = y0[b, i]
    for i in range(M):
        A[P + i*W + l] = p[b, i]
    A[T + l] = 0.0
    A[STATUS + l] = RUNNING
    A[INST + l] = b
    A[NFEV + l] = 0.0
    A[MU + l] = 0.0
    A[MARK + l] = 0.0
    A[EREL + l] = 0.0
    A[RETURN + l] = 0.0
    A[LENGTH + l] = 0.0
    A[NSTEPS + l] = 0.0
    A[PAID + l] = 0.0
    A[OVER + l] = 0.0
    A[LIVE + l] = 1.0
    A[E0 + l] = energy(A, 0.0, l)


@piece
def write_lane(A, l, k, obs, consts):
    """The observation of one lane: positions, velocities, the energy error, and (COUNTER) the decisions made."""
    for i in range(N//2):
        obs[k, i] = A[Y + i*W + l]/consts[CONST_LENGTH_UNIT]
    for i in range(N//2, N):
        obs[k, i] = A[Y + i*W + l]/consts[CONST_SPEED_UNIT]
    obs[k, N] = -log10_error(A[EREL + l], consts)
    if COUNTER:
        obs[k, N + 1] = A[LENGTH + l]/consts[CONST_STEPS]


@piece
def pay(A, l, k, consts, reward, terminated, truncated, stats):
    """The end of a decision: energy, reward, what ends with it; returns 1 where the episode does."""
    A[NFEV + l] += 1.0
    A[LENGTH + l] += 1.0
    e = fabs((energy(A, A[T + l], l) - A[E0 + l])/A[E0 + l])
    if A[STATUS + l] != RUNNING or e - e != 0.0:
        e = math.inf
    A[EREL + l] = e
    le = log10_error(e, consts)
    n = consts[CONST_HARMONIC] if consts[CONST_HARMONIC] > 0.0 else A[LENGTH + l]
    r = -consts[CONST_W0]*(le + 10.0)/(abs(le)**3*n) + consts[CONST_W2]/abs(math.log10(A[MU + l]))
    A[RETURN + l] += r
    reward[k] = r
    terminated[k] = not (e <= consts[CONST_LIMIT])
    truncated[k] = A[LENGTH + l] >= consts[CONST_STEPS] and not terminated[k]
    if not (terminated[k] or truncated[k]):
        return 0
    A[OVER + l] = 1.0
    stats[k, EPISODE_RETURN] = A[RETURN + l]
    stats[k, EPISODE_LENGTH] = A[LENGTH + l]
    stats[k, EPISODE_NFEV] = A[NFEV + l]
    stats[k, EPISODE_NSTEPS] = A[NSTEPS + l]
    stats[k, EPISODE_ERROR] = e
    stats[k, EPISODE_INSTANCE] = A[INST + l]
    stats[k, EPISODE_STATUS] = A[STATUS + l]
    stats[k, EPISODE_TIME] = A[T + l]
    return 1


@entry
def env_reset(blocks, lanes, mask, y0, p, mus, consts, keys, episodes, obs):
    """Start a new episode in the lanes of mask (lanes,), and write its first observation."""
    for blk in range(blocks.shape[0]):
        A = blocks[blk]
        base = blk*W
        for l in range(W):
            k = base + l
            if k < lanes:
                if mask[k]:
                    restart(A, l, k, lanes, y0, p, consts, keys, episodes)
                    write_lane(A, l, k, obs, consts)
            elif A[STATUS + l] != IDLE:
                # padding never moves
                A[LIVE + l] = 0.0
                A[STATUS + l] = IDLE


@entry
def env_step(
    blocks, work, lanes, actions, y0, p, mus, consts, keys, episodes, obs, reward, durations, terminated, truncated,
    final_obs, stats, which,
):  # fmt: skip
    """Carry out actions (lanes,), numbers in `mus`, in the working block `work`; returns how many episodes ended, the
    first of `which`."""
    finished = 0
    same_step = consts[CONST_SAME_STEP] == 1.0
    for blk in range(blocks.shape[0]):
        A = blocks[blk]
        base = blk*W
        count = min(W, lanes - base)
        for l in range(count):
            A[MU + l] = mus[actions[base + l]]
            durations[base + l] = A[T + l]
            # marks are multiples of the interval, whatever the steps before ran over
            A[MARK + l] = (A[LENGTH + l] + 1.0)*consts[CONST_INTERVAL]
    advance(work, blocks, lanes)
    for blk in range(blocks.shape[0]):
        A = blocks[blk]
        base = blk*W
        count = min(W, lanes - base)
        for l in range(count):
            k = base + l
            durations[k] = (A[T + l] - durations[k])/(consts[CONST_STEPS]*consts[CONST_INTERVAL])
            if A[PAID + l] == 1.0:
                restart(A, l, k, lanes, y0, p, consts, keys, episodes)
                reward[k] = 0.0
                terminated[k] = False
                truncated[k] = False
                write_lane(A, l, k, obs, consts)
                continue
            over = pay(A, l, k, consts, reward, terminated, truncated, stats)
            write_lane(A, l, k, obs, consts)
            if over == 1:
                which[finished] = k
                finished += 1
                write_lane(A, l, k, final_obs, consts)
                if same_step:
                    restart(A, l, k, lanes, y0, p, consts, keys, episodes)
                    write_lane(A, l, k, obs, consts)
                else:
                    A[PAID + l] = 1.0
                    A[LIVE + l] = 0.0
    return finished
