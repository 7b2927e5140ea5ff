"""Template: the loop over a path opened up between the record and the decision, for `stepsmith/SDE-v0`.

A lane is one row of numbers: its block A, its whole numbers I, the intervals of its Brownian motion and where they lie
in the tree.  An episode is one path of a pool of I instances with K paths each, from the tree, so that its end can be
compared with the same path solved well; `environment.places` names the places in arrays, `build.env_kernel` the rows.
"""

# ruff: noqa: I001  (imports of a template stand in rows)
from __future__ import annotations

import math

import numpy as np

from ..environment.episodes import lookup
from ..environment.places import (
    BASELINE_ERROR, BASELINE_WORK, CONST_ATOL_FACTOR, CONST_FAIL, CONST_LAGRANGE, CONST_MAX_ATTEMPTS, CONST_SAME_STEP,
    EPISODE_ERROR, EPISODE_INSTANCE, EPISODE_LENGTH, EPISODE_LOG_RATIO, EPISODE_NACCEPT, EPISODE_NFALLBACK,
    EPISODE_NFEV, EPISODE_NREJECT, EPISODE_RETURN, EPISODE_RTOL, EPISODE_STATUS, GRID_ERROR_FIRST, GRID_ERROR_STEP,
    GRID_RTOL_FIRST, GRID_RTOL_STEP, SPAN_HIGH, SPAN_LOW,
)  # fmt: skip
from ..environment.splitmix import uniform
from ..slots import (
    CO, CS, HS, N, NACC, NANS, NFALL, NREC, NREJ, NSTATE, R, RTOL, RUNNING, STATUS, SUCCESS, T, WIDTH, Y, apply, entry,
    features, inline, piece, view,
)  # fmt: skip
from .loop import begin, commit, measure
from .paths import load
from .slots import (
    ACT_AT, BASEE, BASEI, CONSTRAINT, DEPTH, ENDED, ENTRY, LENGTH, LOGW, MATCHED, MOTIONS, N_ACT, N_OBS, OBS_AT, O_RTOL,
    O_T0, O_T1, PAST_BLOCK, PAST_NODES, PAST_NUMBERS, PAST_PILE, RETURN, SPENT_F, SPENT_G, WPAID, step,
)  # fmt: skip


@inline
def whole_numbers(row):
    """The whole numbers of a lane."""
    return row[PAST_BLOCK:PAST_NUMBERS].view(np.int64)


@inline
def pile_of(row):
    """The intervals of a lane's motion."""
    return row[PAST_NUMBERS:PAST_PILE].reshape((2*DEPTH, 1 + 2*MOTIONS))


@inline
def nodes_of(row):
    """Where they lie in the tree."""
    return row[PAST_PILE:PAST_NODES].view(np.int64).reshape((2*DEPTH, 3))


@piece
def look(row, params, tgrid, kgrid, opts):
    """The next attempt and its features."""
    A = row[:PAST_BLOCK]
    if A[STATUS] == RUNNING:
        step(A, A[T], A[HS])
        measure(A)
        features(params, view(A, CS, WIDTH, NSTATE), view(A, R, WIDTH, NREC), view(A, CO, WIDTH, NANS))


@piece
def restart(
    row, lane, params, y0, p, q, path_keys, ref, size, table, at_tol, grid_meta, span, consts, atol, opts, tgrid, kgrid,
    out, keys, episodes,
):  # fmt: skip
    """The next episode in a lane: a path of the pool, and a tolerance that is log-uniform between its instance's."""
    A, I = row[:PAST_BLOCK], whole_numbers(row)
    pile, nodes = pile_of(row), nodes_of(row)
    episode = episodes[lane]
    episodes[lane] = episode + 1
    b = min(int(uniform(keys[lane], episode, 0)*len(y0)), len(y0) - 1)
    i = b//(len(y0)//len(size))
    lr = span[i, SPAN_LOW] + (span[i, SPAN_HIGH] - span[i, SPAN_LOW])*uniform(keys[lane], episode, 1)
    opts[O_RTOL] = math.exp(lr)
    for k in range(N):
        atol[k] = opts[O_RTOL]*consts[CONST_ATOL_FACTOR]
    load(A, I, pile, nodes, b, params, y0, p, q, atol, path_keys, opts, tgrid, out, out, out)
    A[ENTRY] = b
    A[ENDED] = 0.0
    A[RETURN] = 0.0
    A[LENGTH] = 0.0
    A[WPAID] = 0.0
    A[LOGW] = math.log(A[SPENT_F] + A[SPENT_G])
    first, width = grid_meta[GRID_RTOL_FIRST], grid_meta[GRID_RTOL_STEP]
    A[BASEI] = math.exp(-lookup(at_tol[BASELINE_WORK], i, lr, first, width))
    A[BASEE] = lookup(at_tol[BASELINE_ERROR], i, lr, first, width)
    begin(A, I, pile, nodes, tgrid, kgrid, opts)
    look(row, params, tgrid, kgrid, opts)


@piece
def write_lane(A, obs):
    """The observation of a lane."""
    for k in range(N_OBS):
        obs[k] = A[CS + OBS_AT + k]


@piece
def carry_out(row, action, params, tgrid, kgrid, opts, out):
    """The decision on the attempt that has run, and the size of the next one."""
    A, I = row[:PAST_BLOCK], whole_numbers(row)
    pile, nodes = pile_of(row), nodes_of(row)
    if A[STATUS] == RUNNING:
        for k in range(N_ACT):
            A[CS + ACT_AT + k] = action[k]
        apply(params, view(A, CS, WIDTH, NSTATE), view(A, R, WIDTH, NREC), view(A, CO, WIDTH, NANS))
        commit(A, I, pile, nodes, 0, opts, tgrid, out, out, out)
        if A[STATUS] == RUNNING:
            begin(A, I, pile, nodes, tgrid, kgrid, opts)


@piece
def pay(A, rule, ref, size, table, grid_meta, consts, stats):
    """The reward `rule` (`build.REWARDS`) of the attempt that was decided, and at the end of an episode what that pays,
    and its statistics."""
    w = A[SPENT_F] + A[SPENT_G]
    lw = math.log(w)
    reward = 0.0
    if rule == MATCHED:
        reward = A[LOGW] - lw
    if rule == CONSTRAINT:
        reward = (A[WPAID] - w)*A[BASEI]
    b = int(A[ENTRY])
    i = b//(len(ref)//len(size))
    start = A[RETURN] + A[LOGW]  # log work of the start, of "matched", whose rewards telescope
    A[LENGTH] += 1.0
    A[ENDED] = 1.0 if A[STATUS] != RUNNING else 2.0 if A[LENGTH] >= consts[CONST_MAX_ATTEMPTS] else 0.0
    if A[ENDED] > 0.0:
        squares = 0.0
        for k in range(N):
            squares += ((A[Y + k] - ref[b, k])/size[i, k])**2
        e = math.sqrt(squares/N) if A[STATUS] == SUCCESS else math.inf
        e = e if e - e == 0.0 else math.inf
        le = math.log(max(e, 1e-300)) if e < math.inf else 1e3
        base = lookup(table, i, le, grid_meta[GRID_ERROR_FIRST], grid_meta[GRID_ERROR_STEP])
        if A[ENDED] == 1.0:
            if rule == CONSTRAINT:
                above = (le - A[BASEE])*0.4342944819032518 if e < math.inf else 10.0
                reward -= consts[CONST_LAGRANGE]*max(above, 0.0)
            elif rule == MATCHED:
                reward += base - start
            else:
                reward += base - lw
            reward -= consts[CONST_FAIL] if e == math.inf else 0.0
        stats[EPISODE_LENGTH] = A[LENGTH]
        stats[EPISODE_NFEV] = w
        stats[EPISODE_NACCEPT] = A[NACC]
        stats[EPISODE_NREJECT] = A[NREJ]
        stats[EPISODE_ERROR] = e
        stats[EPISODE_LOG_RATIO] = base - lw
        stats[EPISODE_INSTANCE] = i
        stats[EPISODE_RTOL] = A[RTOL]
        stats[EPISODE_STATUS] = A[STATUS]
        stats[EPISODE_NFALLBACK] = A[NFALL]
        stats[EPISODE_RETURN] = A[RETURN] + reward
    A[RETURN] += reward
    A[LOGW] = lw
    A[WPAID] = w
    return reward


@entry
def env_reset(
    rows, mask, rule, params, y0, p, q, path_keys, ref, size, table, at_tol, grid_meta, span, consts, atol, opts, tgrid,
    kgrid, out, keys, episodes, obs,
):  # fmt: skip
    """Start a new episode in the lanes of mask (lanes,), and write its first observation."""
    for lane in range(len(rows)):
        if mask[lane]:
            restart(
                rows[lane], lane, params, y0, p, q, path_keys, ref, size, table, at_tol, grid_meta, span, consts, atol,
                opts, tgrid, kgrid, out, keys, episodes,
            )  # fmt: skip
            write_lane(rows[lane], obs[lane])


@entry
def env_step(
    rows, actions, rule, params, y0, p, q, path_keys, ref, size, table, at_tol, grid_meta, span, consts, atol, opts,
    tgrid, kgrid, out, keys, episodes, obs, reward, durations, terminated, truncated, final_obs,
    stats, ended,
):  # fmt: skip
    """Carry out actions (lanes, n_act), make the next attempts; returns how many episodes ended, first in `ended`.

    durations (lanes,): the time that the decision covers as a share of the span, 0 where the attempt was rejected.
    """
    count = 0
    for lane in range(len(rows)):
        row = rows[lane]
        reward[lane] = durations[lane] = 0.0
        terminated[lane] = truncated[lane] = False
        again = row[ENDED] != 0.0
        if not again:
            before = row[T]
            carry_out(row, actions[lane], params, tgrid, kgrid, opts, out)
            durations[lane] = (row[T] - before)/(opts[O_T1] - opts[O_T0])
            reward[lane] = pay(row, rule, ref, size, table, grid_meta, consts, stats[lane])
            # where an episode has terminated the last observation stands: there is nothing left to decide
            look(row, params, tgrid, kgrid, opts)
            write_lane(row, obs[lane])
            terminated[lane] = row[ENDED] == 1.0
            truncated[lane] = row[ENDED] == 2.0
            if row[ENDED] != 0.0:
                for k in range(N_OBS):
                    final_obs[lane, k] = obs[lane, k]
                ended[count] = lane
                count += 1
                again = consts[CONST_SAME_STEP] == 1.0
        if again:
            restart(
                row, lane, params, y0, p, q, path_keys, ref, size, table, at_tol, grid_meta, span, consts, atol, opts,
                tgrid, kgrid, out, keys, episodes,
            )  # fmt: skip
            write_lane(row, obs[lane])
    return count
