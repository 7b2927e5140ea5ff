"""Names that the template modules of this folder use, beside those of `kernels.slots`: stand-ins (see there).

Blocks have one lane.  Rows: DW, HL the increment of the Brownian motions over an attempt and their Levy areas; WT, HT
the same from the start of the span, and TT the time since; Q the diffusion's parameters; S the state of a stage; E the
error estimate; EU Euler's end and BEFORE that of the last accepted step; GG0 ... the diffusion of the stages; U0 ...
the states that their drift is taken at; SPENT_F, SPENT_G the evaluations of
drift and diffusion; READY 1 where they are known at the start of the next attempt.
"""

from __future__ import annotations

from typing import Any


def _compiled(*args: Any) -> Any:
    raise TypeError("a template is the text of a kernel and cannot be called: the generated module binds what it names")


# rows of the block
DW = HL = WT = HT = TT = Q = S = E = EU = BEFORE = GG0 = GG1 = GG2 = SPENT_F = SPENT_G = READY = 0
# the rows of the two stages that the stiffness estimate compares: slopes, and the states that they belong to
K_FIRST = K_SECOND = U_FIRST = U_SECOND = 0
# places in the whole numbers of a path, array I: its key; normal numbers drawn so far; intervals ahead, and those that
# the attempt has used; the tree's cell that it stands at, and that of the attempt's end; ends that were considered
# (tree); the next output; the next mark of steps of a given size; the path; whether one is loaded
KEY = DRAWN = AHEAD = USED = CELL = CELL_END = SEEN = OUTPUT = MARKS = PATH = LOADED = 0
# places in the options, float64 (`build.OPTIONS`)
O_T0 = O_T1 = O_RTOL = O_FIRST = O_FIXED = O_MAX_STEPS = O_TREE = O_REDRAW = 0
# columns of the statistics (`build.STATS`)
STAT_STATUS = STAT_T = STAT_NACCEPT = STAT_NREJECT = STAT_NFALLBACK = STAT_NACCEPT_OVER = 0
STAT_NDRIFT = STAT_NDIFFUSION = STAT_H_LAST = STAT_H_NEXT = 0
# Brownian motions; 1 where each component has its own, else 0; parameters of the diffusion; rows of the pile for the
# intervals ahead, as many again for used ones; cells of the whole span
MOTIONS = OWN = NQ = DEPTH = CELLS = 1
# steps of a given size, without an estimate; the tolerance of `gotta_go_fast`; whether the controller chooses the first
# size, and whether stiffness is estimated
PLAIN = MIXED = CHOOSES = STIFFNESS = False
# what controllers divide their exponents by; evaluations of an attempt
ORDER = DRIFTS = DIFFUSIONS = 1.0
# weights of the drift in the estimate of `sra1`
D0 = D1 = 1.0
# status of a path: too many rejections
ENDLESS = 0
# of an environment: rows; places of observation and action in the controller's state, with their counts; ends of the
# parts of a lane's row; the rewards by number
ENTRY = ENDED = RETURN = LENGTH = WPAID = LOGW = BASEI = BASEE = 0
OBS_AT = ACT_AT = N_OBS = N_ACT = PAST_BLOCK = PAST_NUMBERS = PAST_PILE = PAST_NODES = 1
MATCHED = CONSTRAINT = 0
# functions of the problem, of `noise`, and a method's step
drift = diffusion = normal = draw = split = join = step = _compiled
