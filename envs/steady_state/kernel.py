"""Template of the compiled lanes of `stepsmith/SteadyState-v0` (see `kernels.templates`): attempts of Tsit5, the law
that the rewards compare with, episodes, observations.

`at` are the places of a lane's row and of all other arrays.  The rules of the baseline are those of `neural
.steady_pass` and `neural.estimates`: with d = h k_1 what the first slope moves, and the scale that the solver's
tolerances give,

    error = ||err / scale|| max(1, 1/(SHARE ||d / scale||))    in root mean squares,

and a solve ends where max |f - z| <= tol (1 + max |z|).  The weights of a field are those of `instances.Fields`.
"""

from __future__ import annotations

import math

import numpy as np

from ...integrators.core import record as rec
from ...integrators.core.contract import ACCEPT, LOG_FACTOR
from ...integrators.kernels.environment.splitmix import GOLDEN, fraction, mix
from ...integrators.kernels.layout import MAX_STEPS, NON_FINITE, RUNNING, SUCCESS, UNDERFLOW
from ...integrators.kernels.slots import decide, entry, piece, tanh
from . import places as at

#: of `neural.steady_pass`: status and bound of what diverges, and the share that a step's error may be of its move
DIVERGED = -5
GROWTH = 1e8
SHARE = 0.05
#: after PATIENCE accepted steps without a slope below BETTER times the least one the share falls by CALMER
PATIENCE = 25
BETTER = 0.99
CALMER = 0.4
LEAST_SHARE = 1e-4
#: of `neural.steady_state`: tolerances of the steps, first size, attempts
SOLVER_TOL = 0.1
FIRST_STEP = 1.0
MOST_STEPS = 1000
#: standard deviation of a component of the start
START = 2.0
#: an attempt whose slope is as many times as large as the one before is rejected, and the size cut to a share
GROWN = 10.0
CUT = 0.25
#: what an attempt leaves of the largest stiffness estimate so far
FADE = 0.9
#: log of what an action of 1 multiplies the size by; the sizes that are attempted
LOG_FACTOR_MOST = 1.3862943611198906
SMALLEST, LARGEST = 1e-4, 1e4
#: what is observed lies within; and the least of what a logarithm is taken of
BOUND = 5.0
TINY = 1e-30


@entry
def slope(z, w1, b, w2, c, u, out):
    """f(z) - z into out (WIDTH,); u (HIDDEN,): work."""
    for i in range(at.HIDDEN):
        u[i] = b[i]
    for j in range(at.WIDTH):
        for i in range(at.HIDDEN):
            u[i] += w1[j, i]*z[j]
    for i in range(at.HIDDEN):
        u[i] = tanh(u[i])
    for j in range(at.WIDTH):
        out[j] = c[j] - z[j]
    for i in range(at.HIDDEN):
        for j in range(at.WIDTH):
            out[j] += w2[i, j]*u[i]


@piece
def largest(x):
    """max |x_i|; infinite where one is not a number."""
    top = 0.0
    for i in range(at.WIDTH):
        if not (abs(x[i]) <= top):
            top = abs(x[i]) if x[i] == x[i] else np.inf
    return top


@entry
def attempt(z, k, h, part, w1, b, w2, c, A, E, u, new, seen):
    """A step of size h from z, k[0] the slope there: STAGES - 1 evaluations.  Fills the other slopes k (STAGES, WIDTH),
    the state new (WIDTH,) and what is measured, seen (M_COUNT,).  A (STAGES, STAGES), E: the method's coefficients;
    part: the share that its error may be of what it moves."""
    dg = np.zeros(at.WIDTH)
    for i in range(1, at.STAGES):
        for d in range(at.WIDTH):
            new[d] = 0.0
        for j in range(i):
            for d in range(at.WIDTH):
                new[d] += A[i, j]*k[j, d]
        for d in range(at.WIDTH):
            new[d] = z[d] + h*new[d]
            dg[d] = new[d] - dg[d] if i == at.STAGES - 1 else new[d]
        slope(new, w1, b, w2, c, u, k[i])
    error = moved = error_size = move_size = stages = states = dot = first = last = 0.0
    for d in range(at.WIDTH):
        e = 0.0
        for i in range(at.STAGES):
            e += E[i]*k[i, d]
        move = abs(h*k[0, d]) + 4.0*2.220446049250313e-16*abs(z[d])
        error += (h*e/(SOLVER_TOL + SOLVER_TOL*max(abs(z[d]), abs(new[d]))))**2
        moved += (move/(SOLVER_TOL + SOLVER_TOL*abs(z[d])))**2
        error_size += (h*e)**2
        move_size += move**2
        stages += (k[at.STAGES - 1, d] - k[at.STAGES - 2, d])**2
        states += dg[d]**2
        dot += k[0, d]*k[at.STAGES - 1, d]
        first += k[0, d]**2
        last += k[at.STAGES - 1, d]**2
    share = part*math.sqrt(moved/at.WIDTH)
    seen[at.M_ERROR] = math.sqrt(error/at.WIDTH)*max(1.0/max(share, 1e-30), 1.0)
    seen[at.M_SIZE] = largest(new)
    seen[at.M_SLOPE] = largest(k[at.STAGES - 1])
    seen[at.M_STIFF] = math.sqrt(stages/states) if states > 0.0 else 0.0
    seen[at.M_SHARE] = math.sqrt(error_size/move_size) if move_size > 0.0 else 0.0
    seen[at.M_COSINE] = dot/math.sqrt(first*last) if first*last > 0.0 else 0.0
    finite = seen[at.M_SIZE] < np.inf and seen[at.M_SLOPE] < np.inf and abs(seen[at.M_ERROR]) < np.inf
    seen[at.M_FINITE] = 1.0 if finite else 0.0


@entry
def solve_by_law(z0, w1, b, w2, c, A, E, tol, params, state, z, seen):
    """What `neural.steady_state` does from z0 with the law of `decide`: (status, f-evaluations, accepted, rejected).

    state: the law's, cleared.  Fills z (WIDTH,) with the last state; seen: work."""
    k = np.empty((at.STAGES, at.WIDTH))
    u, new = np.empty(at.HIDDEN), np.empty(at.WIDTH)
    record, out = np.full(rec.N_RECORD, np.nan), np.zeros(4)
    z[:] = z0
    slope(z, w1, b, w2, c, u, k[0])
    bound = GROWTH*(largest(k[0]) + largest(z))
    if largest(k[0]) <= tol + tol*largest(z):
        return SUCCESS, 1, 0, 0
    t, h, accepted, rejected, stuck, finite = 0.0, FIRST_STEP, 0, 0, False, True
    part, best, since = SHARE, largest(k[0]), 0
    status = RUNNING
    while status == RUNNING:
        least = max(2.220446049250313e-15*t, 1e-300)
        if stuck and h < least:
            status = UNDERFLOW if finite else NON_FINITE
            break
        h = max(h, least)
        attempt(z, k, h, part, w1, b, w2, c, A, E, u, new, seen)
        finite = seen[at.M_FINITE] == 1.0
        record[rec.ERR], record[rec.H], record[rec.H_FREE] = seen[at.M_ERROR], h, h
        record[rec.ORDER], record[rec.TRUNCATED], record[rec.FINITE] = 5.0, 0.0, seen[at.M_FINITE]
        decide(params, state, record, out)
        if finite and out[ACCEPT] > 0.5:
            accepted, stuck = accepted + 1, False
            t += h
            z[:] = new
            k[0] = k[at.STAGES - 1]
            size = largest(z)
            if largest(k[0]) <= tol + tol*size:
                status = SUCCESS
            elif size > bound:
                status = DIVERGED
            if largest(k[0]) < BETTER*best:
                best, since = largest(k[0]), 0
            else:
                since += 1
            if since >= PATIENCE:
                part, since = max(CALMER*part, LEAST_SHARE), 0
        else:
            rejected, stuck = rejected + 1, True
        h *= math.exp(out[LOG_FACTOR])
        if status == RUNNING and accepted + rejected >= MOST_STEPS:
            status = MAX_STEPS
    return status, 1 + (at.STAGES - 1)*(accepted + rejected), accepted, rejected


@entry
def draw_start(key, episode, count, z):
    """The place, 0 to count - 1, of an episode's instance, and its start into z (WIDTH,): normal numbers by Box and
    Muller, times START, from SplitMix64 of the lane's key and its episode."""
    base = mix(key + GOLDEN*np.uint64(episode))
    for j in range(at.WIDTH):
        number = 2*j + 2
        one = fraction(mix(base + GOLDEN*np.uint64(number)))
        two = fraction(mix(base + GOLDEN*np.uint64(number + 1)))
        z[j] = START*math.sqrt(-2.0*math.log(1.0 - one))*math.cos(2.0*math.pi*two)
    return int(fraction(mix(base + GOLDEN))*count)


@piece
def log10_of(x):
    """log10 x; of no less than TINY."""
    return math.log10(max(x, TINY))


@piece
def observe(row, most, obs):
    """What is observed of a lane, `core.FEATURES`, into obs, within BOUND."""
    over = log10_of(row[at.R_SLOPE]/row[at.R_TARGET])
    h, last = row[at.R_H], row[at.R_LAST]
    obs[0] = over
    obs[1] = row[at.R_FELL]
    obs[2] = row[at.R_FELL_BEFORE]
    obs[3] = math.log(h*row[at.R_STIFF]) if row[at.R_STIFF] > 0.0 else 0.0
    obs[4] = math.log(last*row[at.R_STIFF]) if row[at.R_STIFF] > 0.0 and last > 0.0 else 0.0
    obs[5] = math.log(h*row[at.R_STIFF_BEFORE]) if row[at.R_STIFF_BEFORE] > 0.0 else 0.0
    obs[6] = math.log(h*row[at.R_RADIUS]) if row[at.R_RADIUS] > 0.0 else 0.0
    obs[7] = log10_of(row[at.R_ERROR]) if last > 0.0 else 0.0
    obs[8] = 1.0 + log10_of(row[at.R_SHARE]) if last > 0.0 else 0.0
    obs[9] = row[at.R_FACTOR]
    obs[10] = row[at.R_REJECTED]
    obs[11] = math.log10(h)
    obs[12] = row[at.R_COSINE]
    obs[13] = 1.0 - over/max(log10_of(row[at.R_FIRST]), 0.1)
    obs[14] = math.log10(1.0 + row[at.R_ATTEMPTS])/math.log10(1.0 + most)
    for i in range(len(obs)):
        obs[i] = min(max(obs[i], -BOUND), BOUND)


@piece
def begin(row, key, episode, W1, B, W2, C, A, E, consts, params, work, obs):
    """Start episode number `episode` of a lane.  work: for the law's state."""
    z, end, seen, u = np.empty(at.WIDTH), np.empty(at.WIDTH), np.empty(at.M_COUNT), np.empty(at.HIDDEN)
    row[:] = 0.0
    tol = consts[at.C_TOL]
    i = draw_start(key, episode, len(W1), z)
    work[:] = 0.0
    nfev = solve_by_law(z, W1[i], B[i], W2[i], C[i], A, E, tol, params, work, end, seen)[1]
    k = row[at.R_K:at.R_K + at.WIDTH]
    row[at.R_Z:at.R_Z + at.WIDTH] = z
    slope(z, W1[i], B[i], W2[i], C[i], u, k)
    row[at.R_INSTANCE], row[at.R_H], row[at.R_BASE], row[at.R_NFEV] = i, consts[at.C_FIRST], nfev, 1.0
    row[at.R_SLOPE], row[at.R_TARGET] = largest(k), tol + tol*largest(z)
    row[at.R_FIRST] = row[at.R_SLOPE]/row[at.R_TARGET]
    row[at.R_BOUND] = GROWTH*(largest(k) + largest(z))
    observe(row, consts[at.C_MOST], obs)


@piece
def advance(row, action, W1, B, W2, C, A, E, consts, work, seen):
    """An attempt of a lane; returns what it pays.  work (STAGES + 1, WIDTH), seen (M_COUNT,)."""
    i = int(row[at.R_INSTANCE])
    k, new, u = work[:at.STAGES], work[at.STAGES], np.empty(at.HIDDEN)
    z = row[at.R_Z:at.R_Z + at.WIDTH]
    h = min(max(row[at.R_H]*math.exp(LOG_FACTOR_MOST*action), SMALLEST), LARGEST)
    k[0] = row[at.R_K:at.R_K + at.WIDTH]
    attempt(z, k, h, SHARE, W1[i], B[i], W2[i], C[i], A, E, u, new, seen)
    cost = at.STAGES - 1.0
    # the slope at the start is paid for with the first attempt
    pay = -(cost + (1.0 if row[at.R_ATTEMPTS] == 0.0 else 0.0))/row[at.R_BASE]
    row[at.R_NFEV] += cost
    row[at.R_ATTEMPTS] += 1.0
    row[at.R_FACTOR] = math.log(h/row[at.R_LAST]) if row[at.R_LAST] > 0.0 else 0.0
    row[at.R_LAST] = row[at.R_H] = h
    row[at.R_FELL_BEFORE], row[at.R_STIFF_BEFORE] = row[at.R_FELL], row[at.R_STIFF]
    finite = seen[at.M_FINITE] == 1.0
    # a step that is not finite says nothing but that it is too long
    row[at.R_FELL] = math.log(max(seen[at.M_SLOPE], TINY)/max(row[at.R_SLOPE], TINY)) if finite else BOUND
    row[at.R_ERROR] = seen[at.M_ERROR] if finite else 1.0/TINY
    row[at.R_SHARE] = seen[at.M_SHARE] if finite else 1.0/TINY
    row[at.R_COSINE] = seen[at.M_COSINE] if finite else 0.0
    if finite and seen[at.M_STIFF] < np.inf:
        row[at.R_STIFF] = seen[at.M_STIFF]
        row[at.R_RADIUS] = max(seen[at.M_STIFF], FADE*row[at.R_RADIUS])
    if not finite or seen[at.M_SLOPE] > GROWN*row[at.R_SLOPE]:
        row[at.R_REJECTED] = 1.0
        row[at.R_REJECTS] += 1.0
        row[at.R_H] = max(CUT*h, SMALLEST)
    else:
        row[at.R_REJECTED] = 0.0
        z[:] = new
        row[at.R_K:at.R_K + at.WIDTH] = k[at.STAGES - 1]
        row[at.R_SLOPE] = seen[at.M_SLOPE]
        row[at.R_TARGET] = consts[at.C_TOL] + consts[at.C_TOL]*seen[at.M_SIZE]
        if row[at.R_SLOPE] <= row[at.R_TARGET]:
            row[at.R_STATUS] = SUCCESS
        elif seen[at.M_SIZE] > row[at.R_BOUND]:
            row[at.R_STATUS] = DIVERGED
            pay -= 1.0 + consts[at.C_FAIL]
    row[at.R_PAID] += pay
    return pay


@piece
def note(row, number, stats):
    """The statistics of a lane's episode; number: of the first instance."""
    stats[at.E_RETURN], stats[at.E_LENGTH] = row[at.R_PAID], row[at.R_ATTEMPTS]
    stats[at.E_ERROR], stats[at.E_SLOPE] = row[at.R_SLOPE]/row[at.R_TARGET], row[at.R_SLOPE]
    stats[at.E_NFEV], stats[at.E_BASELINE] = row[at.R_NFEV], row[at.R_BASE]
    stats[at.E_NREJECT], stats[at.E_STATUS] = row[at.R_REJECTS], row[at.R_STATUS]
    stats[at.E_FAILED] = 1.0 if row[at.R_STATUS] == DIVERGED else 0.0
    stats[at.E_INSTANCE], stats[at.E_NFALLBACK] = number + row[at.R_INSTANCE], row[at.R_FALLBACKS]


@entry
def reset_lanes(rows, mask, keys, episodes, W1, B, W2, C, A, E, consts, params, law, obs):
    """Start the next episode in the lanes of `mask`."""
    for lane in range(len(rows)):
        if mask[lane]:
            episodes[lane] += 1
            begin(rows[lane], keys[lane], episodes[lane], W1, B, W2, C, A, E, consts, params, law, obs[lane])


@entry
def step_lanes(
    rows, keys, episodes, W1, B, W2, C, A, E, consts, params, law, obs,
    actions, wrong, reward, terminated, truncated, final_obs, stats, ended,
):  # fmt: skip
    """An attempt of every lane; returns how many episodes ended.  Arrays as `core.SteadyCore` has them; wrong (lanes,):
    whether the action was answered as zero."""
    work, seen = np.empty((at.STAGES + 1, at.WIDTH)), np.empty(at.M_COUNT)
    most, count = consts[at.C_MOST], 0
    for lane in range(len(rows)):
        row = rows[lane]
        terminated[lane] = truncated[lane] = False
        if row[at.R_OVER] == 1.0:
            episodes[lane] += 1
            begin(row, keys[lane], episodes[lane], W1, B, W2, C, A, E, consts, params, law, obs[lane])
            reward[lane] = 0.0
            continue
        row[at.R_FALLBACKS] += 1.0 if wrong[lane] else 0.0
        reward[lane] = advance(row, actions[lane], W1, B, W2, C, A, E, consts, work, seen)
        observe(row, most, obs[lane])
        terminated[lane] = row[at.R_STATUS] != RUNNING
        truncated[lane] = not terminated[lane] and row[at.R_ATTEMPTS] >= most
        if terminated[lane] or truncated[lane]:
            row[at.R_OVER] = 1.0
            note(row, consts[at.C_NUMBER], stats[lane])
            final_obs[lane] = obs[lane]
            ended[count] = lane
            count += 1
            if consts[at.C_SAME_STEP] == 1.0:
                episodes[lane] += 1
                begin(row, keys[lane], episodes[lane], W1, B, W2, C, A, E, consts, params, law, obs[lane])
    return count
