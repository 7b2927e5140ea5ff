"""The loop opened up between the record and the decision: the kernel of the environments.

One call of `env_step` carries out an action (apply, commit), pays its reward, restarts lanes whose episode is over, makes the next
attempt and writes its observation, for every block of lanes.  An episode is one trajectory of a fixed pool of instances at a
tolerance drawn log-uniformly; both draws come from the lane's own counter-based generator (SplitMix64 of the lane's key and its
episode number), so that a lane's episodes do not depend on its neighbours.

Rewards (w is the number of right-hand sides so far, e the error reached, `table` the log of the baseline law's work at that error on
the same instance, `at_tol` its work and error at the same tolerance):
    matched     -(log w' - log w) an attempt, at the end + log w_base(e) - log w_start: the sum is log(w_base(e)/w)
    constraint  -(w' - w)/w_base(tol) an attempt, at the end -lambda max(0, log10(e/e_base(tol)))
`window` > 0 also charges every decade by which e leaves e_base(tol)/10..10 e_base(tol): a tolerance then keeps its meaning.
A trajectory that fails counts with the largest error of the table and pays `fail` on top.  With `time_discount` g < 1 a reward at time t
is multiplied by g**((t - t0)/(t1 - t0)).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import record
from ..binding import bind
from ..cache import load_module
from . import blocks
from .build import N_ANSWER, Kernel, Parts, header, substitute, wide_machine
from .layout import block_layout

#: columns of the per-lane episode statistics, valid where an episode has just ended
EPISODE = ("return", "length", "nfev", "naccept", "nreject", "error", "log_ratio", "instance", "rtol", "status", "nfallback")

#: entries of the `consts` array
CONSTS = ("reward", "lambda", "fail", "log_gamma_t", "max_attempts", "same_step", "log_rtol_lo", "log_rtol_hi", "atol_factor",
          "window")  # fmt: skip

#: `consts[0]`
REWARDS = {"matched": 0.0, "constraint": 1.0}

# rows of the environment, behind those of the method
ROWS = ("ERRMAX", "LOGW", "RETURN", "LENGTH", "EPISODE", "LOGW0", "SPAN", "BASEW", "BASEE", "PAID", "E0")

POOL = "y0, p, t0, t1, ones, tol_ones, none, tgrid, ref, scratch"
POOL_ARGS = POOL + ", table, at_tol, grid_meta, consts, keys, episodes"


def _error_source(kind: str) -> str:
    """`emit` for error measures against reference states, `settle` for what is measured at every accepted step."""
    head = """@_inline
def state_error(A, l, ROW, ref, b, q):
    num = 0.0
    den = 0.0
    for i in COMPONENTS:
        d = A[ROW + i*W + l] - ref[b, q, i]
        num += d*d
        den += ref[b, q, i]*ref[b, q, i]
    return math.sqrt(num)/math.sqrt(den)


@_inline
def emit(A, l, tgrid, ref):
    b = int(A[INST + l])
    nt = tgrid.shape[1]
    extra = prepare_dense(A, l) if nt > 1 else 0.0
    q = int(A[NEXT + l])
    while q < nt and A[DIR + l]*tgrid[b, q] <= A[DIR + l]*A[TN + l]:
        if tgrid[b, q] == A[TN + l]:
            e = state_error(A, l, YN, ref, b, q)
        else:
            dense(A, l, (tgrid[b, q] - A[T + l])/A[HS + l])
            e = state_error(A, l, Z, ref, b, q)
        if not (e <= A[ERRMAX + l]):
            A[ERRMAX + l] = e
        q += 1
    A[NFEV + l] += extra
    A[NEXT + l] = q
    A[TOUT + l] = A[DIR + l]*tgrid[b, q] if q < nt else math.inf

"""
    if kind == "energy":
        return head + """@_inline
def settle(A):
    for l in range(W):
        e = fabs((invariant(A[T + l], view(A, Y + l, WIDTH, DIM), view(A, P + l, WIDTH, NPAR)) - A[E0 + l])/A[E0 + l])
        A[ERRMAX + l] = where((A[ACC + l] == 1.0) & ((e <= A[ERRMAX + l]) == False), e, A[ERRMAX + l])


@_inline
def settle_start(A, l):
    A[E0 + l] = invariant(A[T + l], view(A, Y + l, WIDTH, DIM), view(A, P + l, WIDTH, NPAR))

"""
    return head + "@_inline\ndef settle(A):\n    return\n\n@_inline\ndef settle_start(A, l):\n    return\n\n"


def _driver(n_obs: int, obs_at: int, n_act: int, act_at: int, n_state: int) -> str:
    lane = (
        "    for l in range(W):\n"
        "        {fn}(params, view(A, CS + l, WIDTH, NSTATE), "
        f"view(A, R + l, WIDTH, {record.N_RECORD}), view(A, CO + l, WIDTH, {N_ANSWER}))\n"
    )
    return f"""@_inline
def observe(A, params):
{lane.format(fn="features")}

@_inline
def carry_out(A, params):
{lane.format(fn="apply")}

@_inline
def mix(x):
    # SplitMix64 (Steele, Lea & Flood 2014)
    x = (x ^ (x >> _U30)) * _M1
    x = (x ^ (x >> _U27)) * _M2
    return x ^ (x >> _U31)


@_inline
def uniform(key, episode, draw):
    z = mix(key + _GOLDEN*(np.uint64(episode)*np.uint64(2) + np.uint64(draw) + np.uint64(1)))
    return float(z >> _U11)*1.1102230246251565e-16


@_inline
def lookup(table, b, x, lo, step):
    # linear on a uniform grid, held at its ends
    k = (x - lo)/step
    top = table.shape[1] - 1.0
    k = 0.0 if k < 0.0 else top if k > top else k
    j = min(int(k), table.shape[1] - 2)
    return table[b, j] + (k - j)*(table[b, j + 1] - table[b, j])


@_inline
def restart(A, l, lane, {POOL_ARGS}):
    episode = episodes[lane]
    episodes[lane] = episode + 1
    b = min(int(uniform(keys[lane], episode, 0)*y0.shape[0]), y0.shape[0] - 1)
    lr = consts[6] + (consts[7] - consts[6])*uniform(keys[lane], episode, 1)
    load(A, l, b, y0, p, t0, t1, ones, tol_ones, none, tgrid, scratch, math.inf)
    rtol = math.exp(lr)
    A[RTOL + l] = rtol
    for i in range(N):
        A[ATOL + i*W + l] = rtol*consts[8]
    A[ERRMAX + l] = 0.0
    A[RETURN + l] = 0.0
    A[LENGTH + l] = 0.0
    A[LOGW + l] = 0.0
    A[LOGW0 + l] = -1.0
    A[PAID + l] = 0.0
    A[SPAN + l] = abs(t1[b] - t0[b])
    A[BASEW + l] = lookup(at_tol[0], b, lr, grid_meta[2], grid_meta[3])
    A[BASEE + l] = lookup(at_tol[1], b, lr, grid_meta[2], grid_meta[3])
    settle_start(A, l)


@_inline
def attempt_all(A, params):
    for l in range(W):
        # right-hand sides of the start belong to the episode's work
        A[LOGW + l] = where(A[LOGW0 + l] == -1.0, log(maximum(A[NFEV + l], 1.0)), A[LOGW + l])
        A[LOGW0 + l] = where(A[LOGW0 + l] == -1.0, A[LOGW + l], A[LOGW0 + l])
    begin(A)
    attempt(A)
    observe(A, params)


@_inline
def write_obs(A, base, count, obs):
    for i in range({n_obs}):
        for l in range(count):
            obs[base + l, i] = A[CS + ({obs_at} + i)*W + l]


@_njit(nogil=True, cache=True, fastmath=_FASTMATH, error_model="numpy")
def env_reset(blocks, lanes, params, mask, {POOL_ARGS}, obs):
    wide_vectors()
    for blk in range(blocks.shape[0]):
        A = blocks[blk]
        base = blk*W
        count = min(W, lanes - base)
        for l in range(count):
            if mask[base + l]:
                restart(A, l, base + l, {POOL_ARGS})
        for l in range(count, W):
            if A[INST + l] >= 0.0 and A[SPAN + l] == 0.0:
                load(A, l, 0, y0, p, t0, t1, ones, tol_ones, none, tgrid, scratch, math.inf)
                A[SPAN + l] = 1.0
                A[STATUS + l] = IDLE
        start_fresh(A, params)
        attempt_all(A, params)
        write_obs(A, base, count, obs)


@_njit(nogil=True, cache=True, fastmath=_FASTMATH, error_model="numpy")
def env_step(blocks, lanes, params, actions, {POOL_ARGS}, obs, reward, terminated, truncated, final_obs, stats):
    wide_vectors()
    finished = 0
    same_step = consts[5] == 1.0
    for blk in range(blocks.shape[0]):
        A = blocks[blk]
        base = blk*W
        count = min(W, lanes - base)
        for i in range({n_act}):
            for l in range(count):
                A[CS + ({act_at} + i)*W + l] = actions[base + l, i]
        # lanes whose episode ended one call ago (next-step autoreset): their action is ignored
        late = 0
        for l in range(count):
            if A[PAID + l] == 1.0:
                A[STATUS + l] = IDLE
                late += 1
        for l in range(W):
            A[S0 + l] = A[NFEV + l]
        carry_out(A, params)
        commit(A, tgrid, ref)
        settle(A)
        for l in range(W):
            lw = log(maximum(A[NFEV + l], 1.0))
            rel = (A[NFEV + l] - A[S0 + l])*exp(-A[BASEW + l])
            r = where(consts[0] == 0.0, A[LOGW + l] - lw, -rel)
            frac = 1.0 - fabs(A[TEND + l] - A[T + l])/A[SPAN + l]
            r = r*exp(consts[3]*where(A[SPAN + l] > 0.0, frac, 1.0))
            r = where(A[PAID + l] == 1.0, 0.0, r)
            A[S1 + l] = r
            A[LOGW + l] = lw
            A[LENGTH + l] += where(A[PAID + l] == 1.0, 0.0, 1.0)
        over = 0
        cut = 0
        for l in range(count):
            done = A[STATUS + l] != RUNNING and A[PAID + l] == 0.0
            if done:
                over += 1
                b = int(A[INST + l])
                good = A[STATUS + l] == SUCCESS and A[ERRMAX + l] - A[ERRMAX + l] == 0.0
                e = A[ERRMAX + l] if good else math.inf
                le = math.log(max(e, 1e-300)) if good else 1e3
                base_work = lookup(table, b, le, grid_meta[0], grid_meta[1])
                if consts[0] == 0.0:
                    r = base_work - A[LOGW0 + l]
                else:
                    worse = (le - A[BASEE + l])/math.log(10.0) if good else 10.0
                    r = -consts[1]*max(0.0, worse)
                if good:
                    off = abs(le - A[BASEE + l])/math.log(10.0) - 1.0
                    r -= consts[9]*max(0.0, off)
                else:
                    r -= consts[2]
                A[S1 + l] += r*math.exp(consts[3])
                stats[base + l, 5] = e
                stats[base + l, 6] = base_work - A[LOGW + l]
            elif A[LENGTH + l] >= consts[4] and A[PAID + l] == 0.0:
                cut += 1
                stats[base + l, 5] = math.inf
                stats[base + l, 6] = -math.inf
        for l in range(count):
            k = base + l
            reward[k] = A[S1 + l]
            A[RETURN + l] += A[S1 + l]
            done = A[STATUS + l] != RUNNING and A[PAID + l] == 0.0
            trunc = (not done) and A[LENGTH + l] >= consts[4] and A[PAID + l] == 0.0
            terminated[k] = done
            truncated[k] = trunc
            if done or trunc:
                stats[k, 0] = A[RETURN + l]
                stats[k, 1] = A[LENGTH + l]
                stats[k, 2] = A[NFEV + l]
                stats[k, 3] = A[NACC + l]
                stats[k, 4] = A[NREJ + l]
                stats[k, 7] = A[INST + l]
                stats[k, 8] = A[RTOL + l]
                stats[k, 9] = A[STATUS + l]
                stats[k, 10] = A[NFALL + l]
        finished += over + cut
        if over > 0 or late > 0:
            for l in range(count):
                if A[PAID + l] == 1.0:
                    restart(A, l, base + l, {POOL_ARGS})
                elif terminated[base + l]:
                    # the last observation stands for the state after the end, where there is nothing left to decide
                    for i in range({n_obs}):
                        final_obs[base + l, i] = A[CS + ({obs_at} + i)*W + l]
                    if same_step:
                        restart(A, l, base + l, {POOL_ARGS})
                    else:
                        A[PAID + l] = 1.0
            start_fresh(A, params)
        if cut > 0:
            # a cut episode goes on in principle: its final observation is that of the next attempt
            attempt_all(A, params)
            for l in range(count):
                if truncated[base + l]:
                    for i in range({n_obs}):
                        final_obs[base + l, i] = A[CS + ({obs_at} + i)*W + l]
                    if same_step:
                        restart(A, l, base + l, {POOL_ARGS})
                    else:
                        A[PAID + l] = 1.0
            start_fresh(A, params)
        attempt_all(A, params)
        write_obs(A, base, count, obs)
        if over + cut > 0 and not same_step:
            for l in range(count):
                if terminated[base + l] or truncated[base + l]:
                    for i in range({n_obs}):
                        obs[base + l, i] = final_obs[base + l, i]
    return finished
"""


def env_kernel(
    parts: Parts,
    n: int,
    m: int,
    decision: Any,
    width: int,
    error: str,
    components: tuple[int, ...],
    invariant: Callable | None = None,
) -> Kernel:
    """Environment kernel of a method's parts and a decision (features, apply and the slots between them).

    error: "final" or "grid" (against reference states at the instances' output times, over `components`) or "energy" (largest
    relative change of `invariant(t, y, p)` over the accepted steps).
    """
    from ..vecmath import NAMESPACE

    wide = width > 1 and wide_machine()
    lay = block_layout(width, n, m, parts.slopes, decision.n_state, N_ANSWER, parts.extra)
    for row in ROWS:
        lay.add(row)
    objects: dict[str, Any] = {
        "init": bind(decision.init, NAMESPACE),
        "features": bind(decision.features, NAMESPACE),
        "apply": bind(decision.apply, NAMESPACE),
        **parts.objects,
    }
    first = getattr(decision, "first", None)
    if first is not None:
        objects["first"] = bind(first, NAMESPACE)
    if error == "energy":
        objects["invariant"] = invariant
    body = (
        parts.attempt + "\n" + parts.start + "\n" + parts.dense + "\n"
        + blocks.begin_source()
        + _error_source(error)
        + blocks.commit_source(n, parts.carry)
        + blocks.refill_source(first is not None)
        + _driver(decision.n_obs, decision.obs_at, decision.n_act, decision.act_at, decision.n_state)
    )  # fmt: skip
    # load() writes outputs at the start of the span; environments have none there
    constants = (
        "import numpy as np\n"
        "_U30 = np.uint64(30)\n_U27 = np.uint64(27)\n_U31 = np.uint64(31)\n_U11 = np.uint64(11)\n"
        "_M1 = np.uint64(0xBF58476D1CE4E5B9)\n_M2 = np.uint64(0x94D049BB133111EB)\n_GOLDEN = np.uint64(0x9E3779B97F4A7C15)\n"
        f"COMPONENTS = {tuple(int(i) for i in components)!r}\n"
    )
    source = header(lay, n, m, decision.n_state) + constants + substitute(body, lay, n, m, decision.n_state, wide)
    return Kernel(load_module(source, objects), lay, width)
