"""Template: what Python calls of an environment's kernel, `env_reset` and `env_step`, over all blocks of lanes.

Their arguments: blocks (b, rows*W) float64, lanes how many of them are played; params (k,) of the decision; the pool:
y0 (I, n), p (I, m), t0, t1 (I,), tgrid (I, nt), ref (I, nt, n), table (I, G), at_tol (2, I, K), span (I, 2) of its I
instances, whose places `places` names (consts, grid_meta too); what `load` asks for and an episode sets otherwise: ones
(I,) for the tolerance, tol_ones (I, n), none (I,) NaN for the first size, scratch (1, 1, n) for outputs; keys, episodes
(lanes,) of the generators; knots, their first a trajectory, arrive and price of the reward "propagated" (`propagated`),
else empty; following (I,) the next instance of the same training, -1 behind the last, and firsts (T,) the first ones
(`series`), else empty. Then what they fill: obs, final_obs (lanes, n_obs), reward, terminated, truncated (lanes,),
durations (lanes,) the time that the decision covers as a share of the span, 0 where the attempt was rejected, stats
(lanes, EPISODE), which (lanes,) the lanes whose episode has ended.
"""

# ruff: noqa: I001  (imports of a template stand in rows)
from __future__ import annotations

import math

from ..slots import IDLE, RTOL, STATUS, W, begin, commit, decide, entry, load, wide_vectors
from .episodes import begin_time, look, pay_block, restart, set_out, settle, write_ends, write_lane
from .pay import see_attempt
from .places import CONST_SAME_STEP
from .propagated import propagate
from .series import begin_decided, divide, note_attempt, note_ends, note_size, read_more
from .slots import (
    DECIDES, OVER, OWN_REWARD, PAID, PROPAGATED, SERIES, SPAN, read_actions, write_obs,
)  # fmt: skip


@entry
def env_reset(
    blocks, lanes, params, mask, y0, p, t0, t1, ones, tol_ones, none, tgrid, ref, scratch, table, at_tol, grid_meta,
    span, consts, keys, episodes, knot_first, knots, arrive, price,
    following, firsts, obs,
):  # fmt: skip
    """Start a new episode in the lanes of mask (lanes,), and write its first observation."""
    wide_vectors()
    for blk in range(blocks.shape[0]):
        A = blocks[blk]
        base = blk*W
        count = min(W, lanes - base)
        for l in range(W):
            if l < count:
                if mask[base + l]:
                    restart(
                        A, l, base + l, y0, p, t0, t1, ones, tol_ones, none, tgrid, scratch, at_tol, grid_meta, span,
                        consts, keys, episodes, price, following, firsts,
                    )  # fmt: skip
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


@entry
def env_step(
    blocks, lanes, params, actions, y0, p, t0, t1, ones, tol_ones, none, tgrid, ref, scratch, table, at_tol, grid_meta,
    span, consts, keys, episodes, knot_first, knots, arrive, price, following, firsts, obs, reward, durations,
    terminated, truncated, final_obs, stats, which,
):  # fmt: skip
    """Carry out actions (lanes, n_act), make the next attempts; returns how many episodes ended, first in `which`."""
    wide_vectors()
    finished = 0
    same_step = consts[CONST_SAME_STEP] == 1.0
    for blk in range(blocks.shape[0]):
        A = blocks[blk]
        base = blk*W
        count = min(W, lanes - base)
        if count == W:
            read_actions(A, base, W, actions)
        else:
            read_actions(A, base, count, actions)
        begin_time(A, base, count, durations)
        if SERIES:
            note_attempt(A)
        if DECIDES:
            read_more(A, base, count, actions)
        decide(A, params)
        if PROPAGATED:
            for l in range(count):
                propagate(A, l, knot_first, knots, arrive)
        if OWN_REWARD:
            for l in range(W):
                see_attempt(A, l)
        commit(A, tgrid, ref)
        if SERIES:
            note_size(A)
        begin(A)  # finds sizes that the time variable cannot resolve: the action that asked for one ends the episode
        if SERIES:
            divide(A)
        pay_block(A, base, count, consts, durations)
        ended, cut, late = 0, 0, 0
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
        if SERIES:
            note_ends(A, count)
        begun = 0
        if DECIDES:
            begun = begin_decided(A, count)
        if begun > 0 or late > 0 or (ended > 0 and same_step):
            for l in range(count):
                if A[PAID + l] == 1.0 or (A[OVER + l] != 0.0 and same_step):
                    restart(
                        A, l, base + l, y0, p, t0, t1, ones, tol_ones, none, tgrid, scratch, at_tol, grid_meta, span,
                        consts, keys, episodes, price, following, firsts,
                    )  # fmt: skip
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
                    for i in range(obs.shape[1]):
                        obs[base + l, i] = final_obs[base + l, i]
    return finished
