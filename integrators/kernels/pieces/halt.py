"""What ends an accepted step before its end, or changes the state there: an event with an end or a reset (`events`)."""

from ..slots import DIR, LANDS, MAX_STEPS, MAXSTEP, NACC, NREJ, RUNNING, STATUS, TEND, TN, YN, N, W, Z, piece
from .slots import (
    BAD_EVENT,
    CHANGE,
    CROSSED,
    ENDLESS,
    EVENT,
    HALT,
    HALT_ENDLESS,
    HALT_NAN,
    HALT_TERMINAL,
    HAS_RESET,
    N_EVENTS,
    NEXT_STOP,
    RESET,
    STOP_AT,
    WAIT,
    YR,
    reset,
)
from .state_at import beside, state_at


@piece
def change(A, l):
    # YR: the state after the resets that fired; False where it is not finite
    for i in range(N):
        A[YR + i*W + l] = A[YN + i*W + l]
    for e in range(N_EVENTS):
        if HAS_RESET[e] and A[CROSSED + e*W + l] != 0.0:
            reset(A, l, e, A[TN + l])
    check = 0.0
    for i in range(N):
        check += 0.0*A[YR + i*W + l]
    return check == 0.0


@piece
def halt(A, l, th):
    # end the step at theta, where an event ends the solve or changes the state
    landed = th == 1.0 and A[LANDS + l] == 1.0
    if th != 1.0:
        A[TN + l] = state_at(A, l, th)
        for i in range(N):
            A[YN + i*W + l] = A[Z + i*W + l]
    code = A[HALT + l]
    if code == HALT_TERMINAL:
        A[STATUS + l] = EVENT
    elif code == HALT_NAN:
        A[STATUS + l] = BAD_EVENT
    elif code == HALT_ENDLESS:
        A[STATUS + l] = ENDLESS
    elif not change(A, l):
        A[STATUS + l] = BAD_EVENT
    elif landed and A[TEND + l] == A[STOP_AT + l]:
        A[WAIT + l] = CHANGE
    else:
        spent = A[NACC + l] + A[NREJ + l] >= A[MAXSTEP + l]
        A[STATUS + l] = MAX_STEPS if spent else RUNNING
        A[WAIT + l] = CHANGE if spent else RESET
        if landed:
            A[NEXT_STOP + l] += 1.0
            A[TN + l] = A[STOP_AT + l] if spent else beside(A[STOP_AT + l], A[DIR + l])
