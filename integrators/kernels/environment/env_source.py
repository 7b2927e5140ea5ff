"""Source of the environment kernel's own pieces: error measures, restarts, rewards, observations, `env_reset` and `env_step`.

`env` says what they do and puts the kernel together.
"""

from __future__ import annotations

from ...core import record
from ...core.contract import N_OUT
from .. import calls
from . import propagate, rewards, splitmix

POOL_ARGS = "y0, p, t0, t1, ones, tol_ones, none, tgrid, ref, scratch, table, at_tol, grid_meta, span, consts, keys, episodes"


def error_source(kind: str, components: tuple[int, ...], floor: float = 0.0) -> str:
    """`emit`: the largest error over the output times an accepted step passes, against reference states (relative to their size, at
    least `floor`) or in the invariant."""
    if kind == "energy":
        head = f"""@_inline
def error_at(A, l, ROW, ref, b, q):
    e = {calls.invariant("tgrid_time(A, l)", "ROW")}
    return fabs((e - A[E0 + l])/A[E0 + l])


@_inline
def tgrid_time(A, l):
    return A[TOUT + l]*A[DIR + l]


@_inline
def invariant_start(A, l):
    A[E0 + l] = {calls.invariant("A[T + l]", "Y")}

"""
    else:
        sums = "".join(
            f"    d = A[ROW + {i}*W + l] - ref[b, q, {i}]\n    num += d*d\n    den += ref[b, q, {i}]*ref[b, q, {i}]\n" for i in components
        )
        if len(components) > 16:
            sums = f"""    for i in {tuple(components)!r}:
        d = A[ROW + i*W + l] - ref[b, q, i]
        num += d*d
        den += ref[b, q, i]*ref[b, q, i]
"""
        head = f"""@_inline
def error_at(A, l, ROW, ref, b, q):
    num = 0.0
    den = 0.0
{sums}    return sqrt(num)/maximum(sqrt(den), {floor!r})


@_inline
def invariant_start(A, l):
    return

"""
    return head + """@_inline
def emit(A, l, tgrid, ref):
    b = int(A[INST + l])
    nt = tgrid.shape[1]
    q = int(A[NEXT + l])
    A[NFEV + l] += prepare_dense(A, l) if tgrid[b, q] != A[TN + l] else 0.0
    if A[ACC + l] != 1.0:  # the slope at the end is not finite: the step is taken back, and its outputs with it
        return
    worst = A[ERRMAX + l]
    while q < nt and A[DIR + l]*tgrid[b, q] <= A[DIR + l]*A[TN + l]:
        A[TOUT + l] = A[DIR + l]*tgrid[b, q]
        if tgrid[b, q] == A[TN + l]:
            e = error_at(A, l, YN, ref, b, q)
        else:
            dense(A, l, (tgrid[b, q] - A[T + l])/A[HS + l])
            e = error_at(A, l, Z, ref, b, q)
        # written so that NaN stays
        if not (e <= worst):
            worst = e
        q += 1
    A[ERRMAX + l] = worst
    A[NEXT + l] = q
    A[TOUT + l] = A[DIR + l]*tgrid[b, q] if q < nt else math.inf

"""


def driver_source(
    n_obs: int, obs_at: int, n_act: int, act_at: int, propagated: int = 0, components: int = 0, implicit: bool = False, own: bool = False
) -> str:
    """The rest of the kernel.  propagated: the method's order where the kernel has `propagate` and its reward; implicit: linear algebra is
    part of the work; own: the reward is a caller's (`rewards`)."""
    algebra = " + params[8]*A[NJEV + l] + params[9]*A[NLU + l] + params[10]*A[NSOLVE + l]" if implicit else ""
    args = f"{POOL_ARGS}, {propagate.ARGS}" if propagated else POOL_ARGS
    carried = paid = again = own_step = own_pay = own_end = ""
    if own:
        carried, own_step, own_end = rewards.seen_source(), rewards.step_source(algebra), rewards.END
        own_pay = "        for l in range(W):\n            own_lane(A, consts, l)\n"
        paid = f"    r = where(params[0] == {rewards.OWN}, A[OWNPAY + l], r)\n"
    if propagated:
        carried = f"        for l in range(count):\n            propagate(A, l, {propagate.ARGS})\n"
        paid = f"""    cost = params[1]*A[PROP + l]*{2.0/propagated!r}
    r = where(params[0] == 3.0, 100.0*(A[GAIN + l] + (A[WPAID + l] - w)*A[BASEI + l] - cost), r)
"""
        again = f"""    A[NODE + l] = 0.0
    A[CLOCK + l] = 0.0
    for i in range({components}):
        A[EV + i*W + l] = 0.0
    A[PRICE + l] = price[b]*A[BASEI + l]**-{propagated}.0
"""
    lane = (
        "    for l in range(W):\n"
        "        {fn}(params, view(A, CS + l, WIDTH, NSTATE), "
        f"view(A, R + l, WIDTH, {record.N_RECORD}), view(A, CO + l, WIDTH, {N_OUT}))\n"
    )
    act = "".join(f"        A[CS + {act_at + i}*W + l] = actions[base + l, {i}]\n" for i in range(n_act))
    obs = "".join(f"        obs[base + l, {i}] = A[CS + {obs_at + i}*W + l]\n" for i in range(n_obs))
    return f"""{splitmix.MIX}@_inline
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


@_piece
def restart(A, l, lane, {args}):
    episode = episodes[lane]
    episodes[lane] = episode + 1
    b = min(int(uniform(keys[lane], episode, 0)*y0.shape[0]), y0.shape[0] - 1)
    lr = span[b, 0] + (span[b, 1] - span[b, 0])*uniform(keys[lane], episode, 1)
    load(A, l, b, y0, p, t0, t1, ones, tol_ones, none, tgrid, scratch, math.inf)
    rtol = math.exp(lr)
    A[RTOL + l] = rtol
    for i in range(N):
        A[ATOL + i*W + l] = rtol*consts[6]
    A[ERRMAX + l] = 0.0
    A[RETURN + l] = 0.0
    A[LENGTH + l] = 0.0
    A[WPAID + l] = 0.0
    A[LOGW0 + l] = -1.0
    A[PAID + l] = 0.0
    A[OVER + l] = 0.0
    A[SPAN + l] = abs(t1[b] - t0[b])
    A[PART + l] = 1.0
    A[BASEI + l] = math.exp(-lookup(at_tol[0], b, lr, grid_meta[2], grid_meta[3]))
    A[BASEE + l] = lookup(at_tol[1], b, lr, grid_meta[2], grid_meta[3])
    invariant_start(A, l)
{again}

@_traced
def started_lane(A, l):
    # right-hand sides of the start belong to the episode's work
    fresh = A[LOGW0 + l] == -1.0
    lw = log(maximum(A[NFEV + l], 1.0))
    A[LOGW + l] = where(fresh, lw, A[LOGW + l])
    A[LOGW0 + l] = where(fresh, lw, A[LOGW0 + l])


@_piece
def set_out(A, params):
    # the start of lanes just loaded; others are left alone
    start_fresh(A, params)
    for l in range(W):
        started_lane(A, l)
    begin(A)


@_piece
def look(A, params):
    # changes nothing but what the next attempt finds, so that it may be repeated
    attempt(A)
{lane.format(fn="features")}

@_inline
def decide(A, params):
{lane.format(fn="apply")}

@_traced
def discount_lane(A, params, l):
    A[PART + l] = exp(params[3]*(1.0 - fabs(A[TEND + l] - A[T + l])/A[SPAN + l]))


{own_step}@_traced
def pay_lane(A, params, l):
    w = A[NFEV + l]{algebra}
    lw = log(maximum(w, 1.0))
    live = A[PAID + l] == 0.0
    part = A[PART + l]
    r = where(params[0] == 0.0, A[LOGW + l] - lw, where(params[0] == 1.0, (A[WPAID + l] - w)*A[BASEI + l], 0.0))
{paid}    r = where(live, r*part, 0.0)
    length = A[LENGTH + l] + where(live, 1.0, 0.0)
    A[PAY + l] = r
    A[RETURN + l] = A[RETURN + l] + r
    A[LOGW + l] = lw
    A[WPAID + l] = w
    A[LENGTH + l] = length
    ended = where(A[STATUS + l] != 0.0, 1.0, where(length >= params[4], 2.0, 0.0))
    A[OVER + l] = where(live, ended, 0.0)


@_piece
def settle(A, l, k, table, grid_meta, consts, stats):
    # an episode has ended: what it pays at its end, and its statistics
    b = int(A[INST + l])
    e = A[ERRMAX + l] if A[STATUS + l] == SUCCESS and A[ERRMAX + l] - A[ERRMAX + l] == 0.0 else math.inf
    ratio = -math.inf
    if A[OVER + l] == 1.0:
        good = e < math.inf
        le = math.log(max(e, 1e-300)) if good else 1e3
        base = lookup(table, b, le, grid_meta[0], grid_meta[1])
        decades = (le - A[BASEE + l])*0.4342944819032518 if good else 10.0
        r = -consts[1]*max(0.0, decades) if consts[0] == 1.0 else base - (A[LOGW0 + l] if consts[0] == 0.0 else A[LOGW + l])
        if consts[0] == 3.0:
            r = 0.0 if good else -100.0*consts[2]
        else:
            r -= consts[7]*max(0.0, abs(decades) - 1.0) if good else consts[2]
{own_end}        r *= A[PART + l]
        A[PAY + l] += r
        A[RETURN + l] += r
        ratio = base - A[LOGW + l]
    stats[k, 0] = A[RETURN + l]
    stats[k, 1] = A[LENGTH + l]
    stats[k, 2] = A[NFEV + l]
    stats[k, 3] = A[NACC + l]
    stats[k, 4] = A[NREJ + l]
    stats[k, 5] = e
    stats[k, 6] = ratio
    stats[k, 7] = b
    stats[k, 8] = A[RTOL + l]
    stats[k, 9] = A[STATUS + l]
    stats[k, 10] = A[NFALL + l]


@_piece
def write_lane(A, l, k, obs):
    for i in range({n_obs}):
        obs[k, i] = A[CS + ({obs_at} + i)*W + l]


@_inline
def write_obs(A, base, count, obs):
    for l in range(count):
{obs}

@_inline
def read_actions(A, base, count, actions):
    for l in range(count):
{act}

@_inline
def write_ends(A, base, count, reward, terminated, truncated):
    for l in range(count):
        reward[base + l] = A[PAY + l]
        terminated[base + l] = A[OVER + l] == 1.0
        truncated[base + l] = A[OVER + l] == 2.0


@_njit(nogil=True, cache=True, fastmath=_FASTMATH, error_model="numpy")
def env_reset(blocks, lanes, params, mask, {args}, obs):
    wide_vectors()
    for blk in range(blocks.shape[0]):
        A = blocks[blk]
        base = blk*W
        count = min(W, lanes - base)
        for l in range(W):
            if l < count:
                if mask[base + l]:
                    restart(A, l, base + l, {args})
            elif A[PAID + l] == 0.0:
                # padding computes on a copy of the first instance, without ever moving
                load(A, l, 0, y0, p, t0, t1, ones, tol_ones, none, tgrid, scratch, math.inf)
                A[RTOL + l] = 1.0
                A[SPAN + l] = 1.0
                A[PAID + l] = 2.0
                A[STATUS + l] = IDLE
        set_out(A, params)
        look(A, params)
        for l in range(count):
            if mask[base + l]:
                write_lane(A, l, base + l, obs)


@_njit(nogil=True, cache=True, fastmath=_FASTMATH, error_model="numpy")
def env_step(blocks, lanes, params, actions, {args}, obs, reward, terminated, truncated, final_obs, stats, which):
    wide_vectors()
    finished = 0
    same_step = consts[5] == 1.0
    for blk in range(blocks.shape[0]):
        A = blocks[blk]
        base = blk*W
        count = min(W, lanes - base)
        if count == W:
            read_actions(A, base, W, actions)
        else:
            read_actions(A, base, count, actions)
        decide(A, params)
{carried}        commit(A, tgrid, ref)
        # finds the sizes that the time variable cannot resolve: the action that asked for one ends the episode
        begin(A)
        if consts[3] != 0.0:
            for l in range(W):
                discount_lane(A, consts, l)
{own_pay}        for l in range(W):
            pay_lane(A, consts, l)
        ended = 0
        cut = 0
        late = 0
        for l in range(W):
            ended += 1 if A[OVER + l] != 0.0 else 0
            cut += 1 if A[OVER + l] == 2.0 else 0
            late += 1 if A[PAID + l] == 1.0 else 0
        for l in range(count if ended > 0 else 0):
            if A[OVER + l] != 0.0:
                which[finished] = base + l
                finished += 1
                settle(A, l, base + l, table, grid_meta, consts, stats)
                # where an episode has terminated the last observation stands: there is nothing left to decide
                write_lane(A, l, base + l, final_obs)
        if count == W:
            write_ends(A, base, W, reward, terminated, truncated)
        else:
            write_ends(A, base, count, reward, terminated, truncated)
        if cut > 0:
            # a cut episode would go on: its final observation is that of the next attempt
            look(A, params)
            for l in range(count):
                if A[OVER + l] == 2.0:
                    write_lane(A, l, base + l, final_obs)
        if late > 0 or (ended > 0 and same_step):
            for l in range(count):
                if A[PAID + l] == 1.0 or (A[OVER + l] != 0.0 and same_step):
                    restart(A, l, base + l, {args})
            set_out(A, params)
        look(A, params)
        if count == W:
            write_obs(A, base, W, obs)
        else:
            write_obs(A, base, count, obs)
        if ended > 0 and not same_step:
            for l in range(count):
                if A[OVER + l] != 0.0:
                    # the lane stands still until the next call starts its next episode, whatever the action
                    A[PAID + l] = 1.0
                    A[STATUS + l] = IDLE
                    for i in range({n_obs}):
                        obs[base + l, i] = final_obs[base + l, i]
    return finished
"""
