"""Kernel of the three-body paper's environment: a decision is the accuracy parameter of all steps of the next 0.1 yr.

    h = mu tau_AMUSE,  Hermite PEC steps until t >= (k + 1) 0.1 yr (steps run over the mark, none is shortened)

As the paper's code calls its integrator once a decision, accelerations are evaluated anew when a decision begins and once more when it
ends (energies): two evaluations beside one a step.  Decisions take from one step to thousands, so lanes are not tied to each other:
they pass through one working block, whose lanes are filled again as they fall free.  Instances are drawn by SplitMix64 of the lane's
key and its episode number, or taken in turn (lane l plays l, l + lanes, ...).

Energy error e = |(E - E0)/E0|, l = log10 e with e held within [1e-16, 0.1] for reward and observation.  Reward, with n the
decision's number from 1:

    -W0 (l + 10)/(|l|^3 n') + W2/|log10 mu|,    n' = n, or the harmonic mean of 1..steps where n is left out
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...compile.cache import load_module
from ...core import record
from ...core.binding import bind
from ...core.contract import N_OUT
from .. import calls
from ..build import Kernel, Parts, header, substitute, wide_machine
from ..layout import block_layout
from . import splitmix

#: columns of the per-lane episode statistics, valid where an episode has just ended (nsteps: Hermite steps; error: |dE| at the end)
EPISODE = ("return", "length", "nfev", "nsteps", "error", "instance", "status", "time")

#: entries of the `consts` array
CONSTS = ("w0", "w2", "harmonic", "steps", "same_step", "limit", "interval", "length_unit", "speed_unit", "most", "in_turn")

FLOOR = 1e-16  # least energy error told apart
SMALLEST = 1e-17  # yr: a step below fails (the closest of the paper's encounters asks for 1e-12)
MOST_STEPS = 1e6  # in a decision: more fail

ROWS = ("MU", "MARK", "TAU", "E0", "EREL", "RETURN", "LENGTH", "PAID", "OVER", "PAY", "NSTEPS", "LIVE", "GO", "BUSY")

POOL_ARGS = "y0, p, mus, consts, keys, episodes"


def _driver(n: int, n_obs: int) -> str:
    half = n // 2
    tau = f"A[R + {record.TAU_AMUSE}*W + l]"
    obs = "".join(f"    obs[k, {i}] = A[Y + {i}*W + l]/consts[7]\n" for i in range(half))
    obs += "".join(f"    obs[k, {half + i}] = A[Y + {half + i}*W + l]/consts[8]\n" for i in range(half))
    obs += f"    obs[k, {n}] = -log10_error(A[EREL + l], consts)\n"
    if n_obs > n + 1:
        obs += f"    obs[k, {n + 1}] = A[LENGTH + l]/consts[3]\n"
    return f"""{splitmix.MIX}@_inline
def log10_error(e, consts):
    e = e if e < consts[9] else consts[9]
    return math.log10(e if e > FLOOR else FLOOR)


@_traced
def size_lane(A, l):
    # a lane just taken gets its derivatives from a step of size zero
    t = A[T + l]
    h = A[MU + l]*A[TAU + l]
    go = (A[BUSY + l] == 1.0) & (A[FRESH + l] == 0.0)
    lost = go & ((t + h == t) | (h < SMALLEST))
    long = go & (A[NSTEPS + l] >= MOST_STEPS)
    A[STATUS + l] = where(lost, UNDERFLOW, where(long, MAX_STEPS, A[STATUS + l]))
    go = go & ~(lost | long)
    A[HS + l] = where(go, h, 0.0)
    A[GO + l] = where(go, 1.0, 0.0)


@_traced
def step_lane(A, l):
    go = A[GO + l] == 1.0
    fresh = (A[FRESH + l] == 1.0) & (A[BUSY + l] == 1.0)
    finite = A[R + {record.FINITE}*W + l] == 1.0
    good = (go | fresh) & finite
    t = where(good, A[T + l] + A[HS + l], A[T + l])
    status = where((go | fresh) & ~finite, NON_FINITE, A[STATUS + l])
    A[ACC + l] = where(good, 1.0, 0.0)
    A[T + l] = t
    A[STATUS + l] = status
    A[TAU + l] = where(good, {tau}, A[TAU + l])
    A[NSTEPS + l] = A[NSTEPS + l] + A[GO + l]
    A[NFEV + l] = A[NFEV + l] + where(go, A[R + {record.NF}*W + l], where(fresh, 1.0, 0.0))
    A[FRESH + l] = 0.0
    A[OVER + l] = where((A[BUSY + l] == 1.0) & ((status != 0.0) | (t >= A[MARK + l])), 1.0, 0.0)


@_traced
def keep_lane(A, j, l):
    acc = A[ACC + l] == 1.0
    A[Y + j] = where(acc, A[YN + j], A[Y + j])
    A[K0 + j] = where(acc, A[K1 + j], A[K0 + j])


@_piece
def take(A, l, H, k, home):
    # lane k of the block H to lane l of the working block
    for i in range(N):
        A[Y + i*W + l] = H[Y + i*W + k]
        A[K0 + i*W + l] = 0.0
    for i in range(M):
        A[P + i*W + l] = H[P + i*W + k]
    A[T + l] = H[T + k]
    A[MU + l] = H[MU + k]
    A[MARK + l] = H[MARK + k]
    A[TAU + l] = 0.0
    A[STATUS + l] = RUNNING
    A[NSTEPS + l] = 0.0
    A[NFEV + l] = 0.0
    A[INST + l] = home
    A[BUSY + l] = 1.0
    A[FRESH + l] = 1.0


@_piece
def bring_back(A, l, blocks):
    home = int(A[INST + l])
    H = blocks[home // W]
    k = home % W
    for i in range(N):
        H[Y + i*W + k] = A[Y + i*W + l]
    H[T + k] = A[T + l]
    H[STATUS + k] = A[STATUS + l]
    H[NSTEPS + k] += A[NSTEPS + l]
    H[NFEV + k] += A[NFEV + l]
    A[BUSY + l] = 0.0


@_piece
def advance(A, blocks, lanes):
    # every live lane to its mark, through one working block whose lanes are filled again as they fall free
    cursor = 0
    busy = 0
    for l in range(W):
        A[BUSY + l] = 0.0
    while True:
        if busy < W and cursor < lanes:
            for l in range(W):
                while A[BUSY + l] == 0.0 and cursor < lanes:
                    H = blocks[cursor // W]
                    if H[LIVE + cursor % W] == 1.0:
                        take(A, l, H, cursor % W, cursor)
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


@_piece
def restart(A, l, lane, lanes, {POOL_ARGS}):
    episode = episodes[lane]
    episodes[lane] = episode + 1
    if consts[10] == 1.0:
        b = (lane + episode*lanes) % y0.shape[0]
    else:
        z = mix(keys[lane] + _GOLDEN*(np.uint64(episode) + np.uint64(1)))
        b = min(int(float(z >> _U11)*1.1102230246251565e-16*y0.shape[0]), y0.shape[0] - 1)
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
    A[E0 + l] = {calls.invariant("0.0", "Y")}


@_piece
def write_lane(A, l, k, obs, consts):
{obs}

@_piece
def pay(A, l, k, consts, reward, terminated, truncated, stats):
    # the end of a decision: energy, reward, what ends with it; returns 1 where the episode does
    A[NFEV + l] += 1.0
    A[LENGTH + l] += 1.0
    e = fabs(({calls.invariant("A[T + l]", "Y")} - A[E0 + l])/A[E0 + l])
    if A[STATUS + l] != RUNNING or e - e != 0.0:
        e = math.inf
    A[EREL + l] = e
    le = log10_error(e, consts)
    n = consts[2] if consts[2] > 0.0 else A[LENGTH + l]
    r = -consts[0]*(le + 10.0)/(abs(le)**3*n) + consts[1]/abs(math.log10(A[MU + l]))
    A[RETURN + l] += r
    reward[k] = r
    terminated[k] = not (e <= consts[5])
    truncated[k] = A[LENGTH + l] >= consts[3] and not terminated[k]
    if not (terminated[k] or truncated[k]):
        return 0
    A[OVER + l] = 1.0
    stats[k, 0] = A[RETURN + l]
    stats[k, 1] = A[LENGTH + l]
    stats[k, 2] = A[NFEV + l]
    stats[k, 3] = A[NSTEPS + l]
    stats[k, 4] = e
    stats[k, 5] = A[INST + l]
    stats[k, 6] = A[STATUS + l]
    stats[k, 7] = A[T + l]
    return 1


@_njit(nogil=True, cache=True, fastmath=_FASTMATH, error_model="numpy")
def env_reset(blocks, lanes, mask, {POOL_ARGS}, obs):
    for blk in range(blocks.shape[0]):
        A = blocks[blk]
        base = blk*W
        for l in range(W):
            k = base + l
            if k < lanes:
                if mask[k]:
                    restart(A, l, k, lanes, {POOL_ARGS})
                    write_lane(A, l, k, obs, consts)
            elif A[STATUS + l] != IDLE:
                # padding never moves
                A[LIVE + l] = 0.0
                A[STATUS + l] = IDLE


@_njit(nogil=True, cache=True, fastmath=_FASTMATH, error_model="numpy")
def env_step(blocks, work, lanes, actions, {POOL_ARGS}, obs, reward, terminated, truncated, final_obs, stats, which):
    finished = 0
    same_step = consts[4] == 1.0
    for blk in range(blocks.shape[0]):
        A = blocks[blk]
        base = blk*W
        count = min(W, lanes - base)
        for l in range(count):
            A[MU + l] = mus[actions[base + l]]
            # marks are multiples of the interval, whatever the steps before ran over
            A[MARK + l] = (A[LENGTH + l] + 1.0)*consts[6]
    advance(work, blocks, lanes)
    for blk in range(blocks.shape[0]):
        A = blocks[blk]
        base = blk*W
        count = min(W, lanes - base)
        for l in range(count):
            k = base + l
            if A[PAID + l] == 1.0:
                restart(A, l, k, lanes, {POOL_ARGS})
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
                    restart(A, l, k, lanes, {POOL_ARGS})
                    write_lane(A, l, k, obs, consts)
                else:
                    A[PAID + l] = 1.0
                    A[LIVE + l] = 0.0
    return finished
"""


def paper_kernel(parts: Parts, n: int, m: int, n_obs: int, width: int, invariant: Callable) -> Kernel:
    """Kernel of a Hermite method's parts; `invariant(t, y, p)` is the energy, n_obs n + 1 or (with the counter) n + 2."""
    from ...compile.vecmath import NAMESPACE

    wide = width > 1 and wide_machine()
    lay = block_layout(width, n, m, parts.slopes, 0, N_OUT, parts.extra)
    for row in ROWS:
        lay.add(row)
    objects: dict[str, Any] = {"invariant": bind(invariant, NAMESPACE), **parts.objects}
    constants = splitmix.CONSTANTS + f"FLOOR = {FLOOR!r}\nSMALLEST = {SMALLEST!r}\nMOST_STEPS = {MOST_STEPS!r}\n"
    body = substitute(parts.attempt + "\n" + _driver(n, n_obs), lay, n, m, 0, wide)
    if wide:
        body = body.replace("def advance(A, blocks, lanes):\n", "def advance(A, blocks, lanes):\n    wide_vectors()\n")
    return Kernel(load_module(header(lay, n, m, 0) + constants + body, objects), lay, width)
