"""Template: attempts of a path, and what becomes of them (see `kernels.templates`).

The rules are those of the loop over ordinary differential equations (`pieces.begin`, `pieces.commit`), with three
differences.  Attempts end at outputs, for there is no interpolation of a path.  They end, too, where an earlier attempt
has ended and the motion is known (`motion`).  And an accepted step that was shortened gives way to the size that would
have been taken, unless the controller asks for a smaller one.
"""

import math

from ..slots import (
    ATOL,
    CO_ACCEPT,
    CO_FALLBACK,
    CO_LOG_FACTOR,
    HLAST,
    HS,
    MAX_STEPS,
    NACC,
    NFALL,
    NON_FINITE,
    NOVER,
    NREJ,
    R_ENORM,
    R_ERR,
    R_FINITE,
    R_H,
    R_H_FREE,
    R_HS,
    R_NF,
    R_ORDER,
    R_SPAN,
    R_T_LEFT,
    R_TRUNCATED,
    R_YNORM,
    RTOL,
    RUNNING,
    STATUS,
    STUCK,
    SUCCESS,
    TN,
    UNDERFLOW,
    YN,
    H,
    N,
    T,
    Y,
    exp,
    fabs,
    inline,
    sqrt,
)  # fmt: skip
from .motion import add_up, from_memory, from_tree, put_back
from .slots import (
    AHEAD,
    BEFORE,
    CELL,
    CELL_END,
    CELLS,
    DEPTH,
    DIFFUSIONS,
    DRIFTS,
    ENDLESS,
    EU,
    HT,
    K_FIRST,
    K_SECOND,
    MARKS,
    MIXED,
    MOTIONS,
    O_FIXED,
    O_MAX_STEPS,
    O_REDRAW,
    O_T0,
    O_T1,
    O_TREE,
    ORDER,
    OUTPUT,
    PLAIN,
    READY,
    SEEN,
    SPENT_F,
    SPENT_G,
    STIFFNESS,
    U_FIRST,
    U_SECOND,
    USED,
    WT,
    E,
)  # fmt: skip


@inline
def measure(A):
    """The record of an attempt that has run: its scaled error, and whether its end is finite."""
    squares = 0.0
    largest = 0.0
    states = 0.0
    bad = 0.0
    for i in range(N):
        bad += 0.0*A[YN + i]
        if not PLAIN:
            if MIXED:
                scale = max(A[ATOL + i], A[RTOL]*max(fabs(A[EU + i]), fabs(A[BEFORE + i])))
            else:
                scale = A[ATOL + i] + A[RTOL]*max(fabs(A[Y + i]), fabs(A[YN + i]))
            scale = max(scale, 1e-300)
            e = A[E + i]/scale
            squares += e*e
            largest = max(largest, fabs(e))
            r = A[Y + i]/scale
            states += r*r
    err = sqrt(squares/N)
    A[R_ERR] = err
    A[R_ORDER] = ORDER
    A[R_NF] = DRIFTS - A[READY]
    A[R_ENORM] = largest/err if err > 0.0 else 1.0
    A[R_YNORM] = sqrt(states/N)
    A[R_FINITE] = 1.0 if bad + 0.0*err == 0.0 else 0.0
    if STIFFNESS:
        slopes = 0.0
        apart = 0.0
        for i in range(N):
            slopes += (A[K_SECOND + i] - A[K_FIRST + i])**2
            apart += (A[U_SECOND + i] - A[U_FIRST + i])**2
        A[R_HS] = A[HS]*sqrt(slopes/apart) if apart > 0.0 else 0.0


@inline
def keep(A, q, b, yout, wout, hout):
    """Write the state and the motion as output q of path b."""
    for i in range(N):
        yout[b, q, i] = A[Y + i]
    for k in range(MOTIONS):
        wout[b, q, k] = A[WT + k]
        hout[b, q, k] = A[HT + k]


@inline
def keep_all(A, I, b, tgrid, yout, wout, hout):
    """Write all outputs up to now that are not yet written."""
    while I[OUTPUT] < len(tgrid) and tgrid[I[OUTPUT]] <= A[T]:
        keep(A, I[OUTPUT], b, yout, wout, hout)
        I[OUTPUT] += 1


@inline
def grid_cell(want, cell):
    """Cells of the tree that the ends of steps of this size are multiples of: an eighth of the step or less."""
    count = want/cell
    return 1 if count < 16.0 else 1 << (int(math.log2(count)) - 3)


@inline
def end_in_tree(A, I, nodes, t, want, cell, target, opts):
    """CELL_END of an attempt of size want; whether it was cut short."""
    while I[SEEN] > 0 and nodes[I[SEEN] - 1, 2] <= I[CELL]:
        I[SEEN] -= 1
    most = nodes[I[SEEN] - 1, 2] if I[SEEN] > 0 else target
    if want/cell >= float(most - I[CELL]):
        I[CELL_END] = most
        return 1.0 if want/cell > float(most - I[CELL]) else 0.0
    if PLAIN:
        end = int(round((t + want - opts[O_T0])/cell))
    else:
        unit = grid_cell(want, cell)
        end = (I[CELL] + int(want/cell))//unit*unit
    I[CELL_END] = min(max(end, I[CELL] + 1), most)
    return 0.0


@inline
def begin(A, I, pile, nodes, tgrid, kgrid, opts):
    """The end of the next attempt, and its increments."""
    t = A[T]
    tree = opts[O_TREE] == 1.0
    cell = A[R_SPAN]/CELLS
    least = max(2.220446049250313e-15*fabs(t), 1e-300)
    if tree:
        least = max(least, cell)
    want = opts[O_T0] + I[MARKS]*opts[O_FIXED] - t if PLAIN else A[H]
    if want != want or (want < least and A[STUCK] > 0.0):
        A[STATUS] = NON_FINITE if A[R_FINITE] == 0.0 else UNDERFLOW
        return
    want = max(want, least)
    target = tgrid[I[OUTPUT]] if I[OUTPUT] < len(tgrid) else opts[O_T1]
    near = 1e-6*opts[O_FIXED] if PLAIN else least
    if tree:
        aim = kgrid[I[OUTPUT]] if I[OUTPUT] < len(tgrid) else CELLS
        if aim <= I[CELL]:
            aim = I[CELL] + 1
        cut_short = end_in_tree(A, I, nodes, t, target - t if fabs(t + want - target) < near else want, cell, aim, opts)
        end = target if I[CELL_END] == aim else opts[O_T0] + cell*I[CELL_END]
        h = cell*(I[CELL_END] - I[CELL])
        fits = from_tree(A, I, pile, nodes, cell)
    else:
        stop = pile[I[AHEAD] - 1, 0] if I[AHEAD] > 0 else target
        end = t + want
        cut_short = 1.0 if end > stop else 0.0
        if end > stop - near:
            end = stop
        h = end - t
        fits = I[AHEAD] < DEPTH - 1
        if fits:
            from_memory(A, I, pile, t, end)
    if not fits:
        A[STATUS] = ENDLESS
    A[TN] = end
    A[HS] = h
    A[R_H] = h
    A[R_H_FREE] = want
    A[R_TRUNCATED] = cut_short
    A[R_T_LEFT] = opts[O_T1] - t


@inline
def advance(A, I, b, opts, tgrid, yout, wout, hout):
    """An accepted attempt."""
    add_up(A, A[HS])
    A[T] = A[TN]
    A[HLAST] = A[HS]
    A[NACC] += 1.0
    A[STUCK] = 0.0
    A[READY] = 0.0
    for i in range(N):
        A[Y + i] = A[YN + i]
        if MIXED:
            A[BEFORE + i] = A[EU + i]
    if opts[O_TREE] == 1.0:
        I[USED] = 0
        I[CELL] = I[CELL_END]
    else:
        I[AHEAD] -= 1
    keep_all(A, I, b, tgrid, yout, wout, hout)
    if A[T] >= opts[O_T1]:
        A[STATUS] = SUCCESS


@inline
def hold(A, I, pile, nodes, opts):
    """A rejected attempt."""
    A[NREJ] += 1.0
    A[STUCK] = 1.0
    if opts[O_TREE] == 1.0:
        fits = put_back(I, pile, nodes) and I[SEEN] < DEPTH - 1
        if not fits:
            A[STATUS] = ENDLESS
        elif I[SEEN] == 0 or nodes[I[SEEN] - 1, 2] > I[CELL_END]:
            nodes[I[SEEN], 2] = I[CELL_END]
            I[SEEN] += 1
    elif opts[O_REDRAW] == 1.0:
        I[AHEAD] = 0


@inline
def commit(A, I, pile, nodes, b, opts, tgrid, yout, wout, hout):
    """Carry out the decision."""
    finite = A[R_FINITE] == 1.0
    A[SPENT_F] += DRIFTS - A[READY]
    A[SPENT_G] += DIFFUSIONS - A[READY]
    A[READY] = 1.0
    if PLAIN:
        if finite:
            advance(A, I, b, opts, tgrid, yout, wout, hout)
            while opts[O_T0] + I[MARKS]*opts[O_FIXED] <= A[T] + 1e-6*opts[O_FIXED]:
                I[MARKS] += 1
        else:
            A[NREJ] += 1.0
            A[STATUS] = NON_FINITE
    else:
        factor = exp(A[CO_LOG_FACTOR])
        A[NFALL] += A[CO_FALLBACK]
        A[H] = A[R_H]*factor
        if finite and A[CO_ACCEPT] > 0.5:
            A[NOVER] += 1.0 if A[R_ERR] > 1.0 else 0.0
            if A[R_TRUNCATED] == 1.0 and factor >= 1.0:
                A[H] = max(A[H], A[R_H_FREE])
            advance(A, I, b, opts, tgrid, yout, wout, hout)
        else:
            hold(A, I, pile, nodes, opts)
    if A[STATUS] == RUNNING and A[NACC] + A[NREJ] >= opts[O_MAX_STEPS]:
        A[STATUS] = MAX_STEPS
