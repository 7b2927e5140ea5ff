"""Template: solves in series, the fields of a training one after the other (`stepsmith/NeuralODE-v0`).

Which instance comes next, the size that its solve begins with, and how evenly what is left of the span is divided.

The first size is that of a warm start (`neural.module_memory`): the one that the controller asked for after the first
accepted step of the solve before; where that failed, was cut or there was none, the method's automatic size. An action
b moves its logarithm by FIRST_SCALE b.

An action a on the division makes the attempt

    h = want (part/want)^|a|,    part = left/ceil(left/want) where a > 0,  left/max(1, floor(left/want)) where a < 0

where the controller asks for want and left is what is left: a = 0 is what it asks for, a = 1 are the even steps of
`neural.adaptive`, and a = -1 equal steps that are no shorter than what it asks for.
"""

# ruff: noqa: I001  (imports of a template stand in rows)
from __future__ import annotations

import math

from ..slots import (
    ACC, CS, DIR, FRESH, H, HS, HZERO, IDLE, INST, LANDS, NACC, NFALL, NREJ, RUNNING, R_H, R_H_FREE, R_T_LEFT,
    STATUS, SUCCESS, W, inline, piece,
)  # fmt: skip
from .slots import (
    ACT_AT, DECIDES, DIVIDED, DIVIDES, FIRST, FIRST_SCALE, LENGTH, LOGW0, MORE, NEXTH, N_MORE, N_OBS, OBS_AT,
    OVER, PAID, SEEN, SPAN, WARM,
)  # fmt: skip
from .splitmix import uniform

#: how far an action may leave [-1, 1] by round-off, as everywhere (`controllers.learned.residual`)
LIMIT = 1.00001


@inline
def goes_on(A, l, episode, following):
    """Whether the lane's next solve is of the same training as its last one."""
    return episode > 0 and following[int(A[INST + l])] >= 0


@inline
def next_instance(A, l, key, episode, following, firsts):
    """The next snapshot of the training, or the first one of a training that is drawn."""
    if goes_on(A, l, episode, following):
        return following[int(A[INST + l])]
    return firsts[min(int(uniform(key, episode, 0)*firsts.shape[0]), firsts.shape[0] - 1)]


@piece
def forget_last(A, l):
    """Nothing is known of a solve before, as at the start of a training."""
    A[WARM + l] = math.nan
    for i in range(N_OBS):
        A[SEEN + i*W + l] = 0.0
    for i in range(N_MORE):
        A[MORE + i*W + l] = 0.0


@piece
def set_first(A, l):
    """The lane just loaded begins with the warm size; where it is decided on, it waits for the decision."""
    known = A[WARM + l] > 0.0
    A[HZERO + l] = min(A[WARM + l], A[SPAN + l]) if known else math.nan
    A[NEXTH + l] = math.nan
    A[FIRST + l] = 0.0
    A[DIVIDED + l] = 0.0
    A[MORE + l] = 1.0 if DECIDES else 0.0
    A[MORE + W + l] = 1.0 if known else 0.0
    A[MORE + 2*W + l] = max(math.log(A[HZERO + l]/A[SPAN + l]), -10.0) if known else 0.0
    if DECIDES:
        A[PAID + l] = 3.0
        A[STATUS + l] = IDLE
        A[FRESH + l] = 0.0
        A[LOGW0 + l] = -2.0


@inline
def read_more(A, base, count, actions):
    """The actions behind the controller's own. Where one of all is not valid, the law answers for all."""
    for l in range(count):
        ok = True
        for i in range(actions.shape[1]):
            ok = ok and abs(actions[base + l, i]) <= LIMIT
        if not ok:
            A[CS + ACT_AT*W + l] = math.nan
        A[FIRST + l] = min(max(actions[base + l, 1], -1.0), 1.0) if ok else math.nan
        if DIVIDES:
            A[DIVIDED + l] = min(max(actions[base + l, 2], -1.0), 1.0) if ok else 0.0


@inline
def begin_decided(A, count):
    """Begin the solves whose first size has been decided on; how many."""
    begun = 0
    for l in range(count):
        if A[PAID + l] == 3.0:
            begun += 1
            A[PAID + l] = 0.0
            A[STATUS + l] = RUNNING
            A[FRESH + l] = 1.0
            A[LOGW0 + l] = -1.0
            A[LENGTH + l] = 1.0
            A[MORE + l] = 0.0
            if A[FIRST + l] != A[FIRST + l]:
                A[FIRST + l] = 0.0
                A[NFALL + l] += 1.0
    return begun


@inline
def move_first(A):
    """The first size of lanes that have just started, moved by the action; call before the start is paid for."""
    for l in range(W):
        if A[LOGW0 + l] == -1.0 and A[FIRST + l] != 0.0:
            A[H + l] = min(A[H + l]*math.exp(FIRST_SCALE*A[FIRST + l]), A[SPAN + l])


@inline
def divide(A):
    """Sizes of attempts that do not land on the end, by the action on the division; call after `begin`."""
    for l in range(W):
        a = A[DIVIDED + l]
        if a < 0.0 and A[ACC + l] == 0.0 and A[NACC + l] + A[NREJ + l] > 0.0:
            # what is tried again must not become longer: it would be the attempt that was rejected
            a = 0.0
        if a != 0.0 and A[STATUS + l] == 0.0 and A[LANDS + l] == 0.0:
            want = A[R_H_FREE + l]
            left = A[R_T_LEFT + l]
            many = left/want
            # beyond, dividing changes nothing that can be seen
            if many < 1e9:
                # rounding must not add a step, or take one away, where the size divides what is left
                count = math.ceil(many*(1.0 - 1e-10)) if a > 0.0 else max(math.floor(many*(1.0 + 1e-10)), 1.0)
                part = left/count
                size = part if abs(a) == 1.0 else want*math.exp(abs(a)*math.log(part/want))
                A[HS + l] = A[DIR + l]*size
                A[R_H + l] = size
                A[LANDS + l] = 1.0 if abs(a) == 1.0 and count == 1.0 else 0.0


@inline
def note_attempt(A):
    """What the first attempt of a solve was observed as; call before its decision."""
    for l in range(W):
        if A[PAID + l] == 0.0 and A[LENGTH + l] == (1.0 if DECIDES else 0.0):
            for i in range(N_OBS):
                A[SEEN + i*W + l] = A[CS + (OBS_AT + i)*W + l]


@inline
def note_size(A):
    """The size asked for after the first accepted step; call after `commit`."""
    for l in range(W):
        if A[ACC + l] == 1.0 and A[NACC + l] == 1.0:
            A[NEXTH + l] = A[H + l]


@inline
def note_end(A, l):
    """What a solve that has ended leaves for the next one."""
    tried = A[NACC + l] + A[NREJ + l]
    A[WARM + l] = A[NEXTH + l] if A[STATUS + l] == SUCCESS else math.nan
    A[MORE + 3*W + l] = min(math.log(max(tried, 1.0)), 10.0)
    A[MORE + 4*W + l] = A[NREJ + l]/max(tried, 1.0)


@inline
def note_ends(A, count):
    """`note_end` of the lanes whose episode has ended; call after their last observations are written."""
    for l in range(count):
        if A[OVER + l] != 0.0:
            note_end(A, l)


@inline
def show_last(A):
    """Lanes whose first size is decided on next show the first attempt of their last solve."""
    for l in range(W):
        if A[PAID + l] == 3.0:
            for i in range(N_OBS):
                A[CS + (OBS_AT + i)*W + l] = A[SEEN + i*W + l]


@inline
def write_more(A, l, k, obs):
    """What is observed beside the features: `MORE_NAMES` of `series_rows`."""
    for i in range(N_MORE):
        obs[k, N_OBS + i] = A[MORE + i*W + l]
