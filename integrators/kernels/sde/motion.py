"""Template: the Brownian motion of a path (see `kernels.templates`), by the bridge of `noise.bridge`.

`pile` (2 DEPTH, 1 + 2 MOTIONS) holds intervals that are known, each row its end and W, H of every motion: rows
0 ... AHEAD - 1 those ahead, the next one last; rows DEPTH ... DEPTH + USED - 1 those that the attempt consists of.

From memory.  A new interval is as long as the first attempt in it.  An attempt that ends inside the next interval
splits it, one that would end behind it ends there: no time that was considered is skipped (Foster and Jelincic,
arXiv:2311.14201), and what a rejected attempt has seen is kept (the rejection sampling with memory of Rackauckas and
Nie, DCDS-B 22 (2017) 2731).

From a tree.  W is a function of the key and the time: the span is halved again and again, down to 2^-50 of it, each
interval with the normal numbers of its own place.  `nodes` (2 DEPTH, 3) holds the cells where intervals begin and end,
and in its last column the SEEN ends that rejected attempts have considered and no step has reached yet.
"""

from ..slots import inline
from .slots import (
    AHEAD,
    CELL,
    CELL_END,
    CELLS,
    DEPTH,
    DRAWN,
    DW,
    HL,
    HT,
    KEY,
    MOTIONS,
    TT,
    USED,
    WT,
    draw,
    join,
    normal,
    split,
)  # fmt: skip


@inline
def fresh(I, pile, t, end):
    """Draw a new interval from t to end, the first one ahead."""
    pile[I[AHEAD], 0] = end
    for k in range(MOTIONS):
        w, h = draw(end - t, normal(I[KEY], I[DRAWN]), normal(I[KEY], I[DRAWN] + 1))
        I[DRAWN] += 2
        pile[I[AHEAD], 1 + 2*k] = w
        pile[I[AHEAD], 2 + 2*k] = h
    I[AHEAD] += 1


@inline
def cut(I, pile, t, end):
    """Split the next interval, which begins at t, at end."""
    top = I[AHEAD] - 1
    for k in range(MOTIONS):
        z1, z2 = normal(I[KEY], I[DRAWN]), normal(I[KEY], I[DRAWN] + 1)
        I[DRAWN] += 2
        w_a, h_a, w_b, h_b = split(
            end - t, pile[top, 0] - end, pile[top, 1 + 2*k], pile[top, 2 + 2*k], z1, z2
        )
        pile[top, 1 + 2*k] = w_b
        pile[top, 2 + 2*k] = h_b
        pile[top + 1, 1 + 2*k] = w_a
        pile[top + 1, 2 + 2*k] = h_a
    pile[top + 1, 0] = end
    I[AHEAD] += 1


@inline
def from_memory(A, I, pile, t, end):
    """Increments from t to end, no further than the next interval, into DW and HL."""
    if I[AHEAD] == 0:
        fresh(I, pile, t, end)
    elif pile[I[AHEAD] - 1, 0] > end:
        cut(I, pile, t, end)
    for k in range(MOTIONS):
        A[DW + k] = pile[I[AHEAD] - 1, 1 + 2*k]
        A[HL + k] = pile[I[AHEAD] - 1, 2 + 2*k]


@inline
def plant(I, pile, nodes, span):
    """The whole span, the root of the tree."""
    for k in range(MOTIONS):
        w, h = draw(span, normal(I[KEY], 2*k), normal(I[KEY], 2*k + 1))
        pile[0, 1 + 2*k] = w
        pile[0, 2 + 2*k] = h
    nodes[0, 0] = 0
    nodes[0, 1] = CELLS
    I[AHEAD] = 1


@inline
def halve(I, pile, nodes, cell):
    """Split the next interval in its middle; cell: length of a cell."""
    top = I[AHEAD] - 1
    size = nodes[top, 1] - nodes[top, 0]
    place = CELLS//size + nodes[top, 0]//size
    half = 0.5*cell*size
    for k in range(MOTIONS):
        number = 2*(place*MOTIONS + k)
        z1, z2 = normal(I[KEY], number), normal(I[KEY], number + 1)
        w_a, h_a, w_b, h_b = split(half, half, pile[top, 1 + 2*k], pile[top, 2 + 2*k], z1, z2)
        pile[top, 1 + 2*k] = w_b
        pile[top, 2 + 2*k] = h_b
        pile[top + 1, 1 + 2*k] = w_a
        pile[top + 1, 2 + 2*k] = h_a
    middle = nodes[top, 0] + size//2
    nodes[top + 1, 0] = nodes[top, 0]
    nodes[top + 1, 1] = middle
    nodes[top, 0] = middle
    I[AHEAD] += 1


@inline
def from_tree(A, I, pile, nodes, cell):
    """Increments from CELL to CELL_END into DW and HL; False where intervals got too many."""
    at = I[CELL]
    while at < I[CELL_END]:
        if I[AHEAD] >= DEPTH - 1 or I[USED] >= DEPTH - 1:
            return False
        top = I[AHEAD] - 1
        end = nodes[top, 1]
        if end > I[CELL_END]:
            halve(I, pile, nodes, cell)
            continue
        used = DEPTH + I[USED]
        a, b = cell*(at - I[CELL]), cell*(end - at)
        for k in range(MOTIONS):
            w, h = pile[top, 1 + 2*k], pile[top, 2 + 2*k]
            pile[used, 1 + 2*k] = w
            pile[used, 2 + 2*k] = h
            if a > 0.0:
                w, h = join(a, b, A[DW + k], A[HL + k], w, h)
            A[DW + k] = w
            A[HL + k] = h
        nodes[used, 0] = nodes[top, 0]
        nodes[used, 1] = nodes[top, 1]
        I[USED] += 1
        I[AHEAD] -= 1
        at = end
    return True


@inline
def put_back(I, pile, nodes):
    """What a rejected attempt has used of the tree is ahead again; False where intervals got too many."""
    if I[AHEAD] + I[USED] >= DEPTH - 1:
        return False
    while I[USED] > 0:
        I[USED] -= 1
        used = DEPTH + I[USED]
        for k in range(2*MOTIONS):
            pile[I[AHEAD], 1 + k] = pile[used, 1 + k]
        nodes[I[AHEAD], 0] = nodes[used, 0]
        nodes[I[AHEAD], 1] = nodes[used, 1]
        I[AHEAD] += 1
    return True


@inline
def add_up(A, h):
    """The motion from the start of the span goes on by an accepted step of size h.  TT: the time since the start."""
    for k in range(MOTIONS):
        w, area = A[DW + k], A[HL + k]
        if A[TT] > 0.0:
            w, area = join(A[TT], h, A[WT + k], A[HT + k], w, area)
        A[WT + k] = w
        A[HT + k] = area
    A[TT] += h
