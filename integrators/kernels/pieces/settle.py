"""`settle(A, tgrid, yout)`: what `commit` and the next `begin` do, in one lane loop where no outputs are wanted."""

from ...compile.memory import Local as _Local
from ..slots import TN, W, begin, commit, inline, traced
from .begin import begin_lane
from .commit import advance_lane, commit_lane
from .slots import SMALL


@traced
def settle_lane(A, l):
    A = _Local(A, frozenset([TN]))
    commit_lane(A, l)
    advance_lane(A, l)
    begin_lane(A, l)


@inline
def settle(A, tgrid, yout):
    # large systems: a lane loop over all that a lane holds would be slower than one a component
    if not SMALL or tgrid.shape[1] > 0:
        commit(A, tgrid, yout)
        begin(A)
    else:
        for l in range(W):
            settle_lane(A, l)
