"""Names that the template modules of this folder use beside those of `kernels.slots`: stand-ins of the same kind."""

from __future__ import annotations

from typing import Any


def _compiled(*args: Any) -> Any:
    raise TypeError("a template is the text of a kernel and cannot be called: the generated module binds what it names")


# what differs between kernels: Jacobians, factorisations and back-substitutions are counted; the components of a small
# system are written out within a lane; the controller chooses the first size, unless the caller gave one; the
# processor has 512-bit vectors; optional slots of the record are filled
IMPLICIT = SMALL = CHOOSES = WIDE = WANTS_ENORM = WANTS_YNORM = False

# columns of a trajectory's statistics (`layout.STATS`)
STAT_STATUS = STAT_NACCEPT = STAT_NREJECT = STAT_NFEV = STAT_T = STAT_NFALLBACK = STAT_H_LAST = STAT_H_NEXT = 0
STAT_NJEV = STAT_NLU = STAT_NSOLVE = STAT_NACCEPT_OVER = 0
# places in a pack (`layout.PACK`), how many there are, where the statistics end, how many statistics there are
PACK_T0 = PACK_T1 = PACK_RTOL = PACK_H0 = PACK_MAX_STEPS = PACK_STEPS = PACK_RECORDS = PACK_STARTED = PACK_MOST = 0
N_PACK = PACK_HEAD = NSTATS = 1
# places in the `place` of an ensemble's driver (`drivers.PLACE`): the next trajectory; lanes that are free; lanes whose
# trajectory is stored; 1 after the first call
PLACE_CURSOR = PLACE_FREE = PLACE_STORED = PLACE_ENTERED = 0

# row of the slope at the end of the step; of methods that are not FSAL: whether K0 is the slope at the state, whether
# dense output has evaluated the slope at the end
K_END = READY = AHEAD = 0
# dense output of a component
dense_component = _compiled

# methods with linear algebra (`implicit.linear`): J at (t, y), the right-hand sides it took; LU of shift I - J, False
# where it is singular or not finite; the row (n) replaced by the solution; the last two of (re + i im) I - J too
jacobian = factor = back = factor_complex = back_complex = _compiled
# time of the Jacobian (NaN: none), attempts it has served
TJ = JAGE = 0

# the start with a mass matrix M (`implicit.mass`): P times a row into another; -c P J in place of J; what else a lane
# has then; whether M is singular, K0 is to hold y'; order of the starting size; statuses; rows
null_part = algebraic = start_rows = _compiled
SINGULAR = NEEDS_SLOPE = False
START_ORDER = 1.0
INCONSISTENT = HIGH_INDEX = 0
JAC = 0
NJAC = 1

# methods with Newton's iteration: their own pieces
stages = attempt_lane = _compiled
# size of the last factorisation (NaN: none), worst rate, last stage's theta/(1 - theta), attempts the factors served
HLU = RATE = ETA = LAGE = 0
# worst rate at which a Jacobian is kept; matrices that are factored at once
KEEP = FACTORS = 0.0
# what the matrices hold beside -J, times h: a real number, and with PAIR a complex one too
SHIFT = SHIFT_RE = SHIFT_IM = 1.0
PAIR = False
# bits of the flags (`core.contract`): renew the Jacobian; renew or keep it; let the factors stand
REFRESH = KEEP_OR_REFRESH = STAND = 0
# Newton iterations, order of the error estimate and one
MOST, ORDER = 1, 1.0
# dense output from increments: its matrix, and the shape of that
D: tuple = ((0.0,),)
D_STAGES = D_TERMS = 1

# trajectories that are followed (`followed`, `events`, `halt`): what a lane waits for (nothing; its beginning; the
# state after a reset; the same and a new start; a new start behind a stop); what halted a step; rows of stops and of
# what is kept; degree and nodes of the polynomials that are kept; places in `place`
NOTHING, BEGIN, CHANGE, RESET, STOP = 0.0, 1.0, 2.0, 3.0, 4.0
HALT_TERMINAL, HALT_RESET, HALT_NAN, HALT_ENDLESS = 1.0, 2.0, 3.0, 4.0
WAIT = HALT = HALT_AT = NEXT_STOP = STOP_AT = SKIPPED = YR = 0
PIECE_DEGREE, PIECE_NODES = 1, (0.0, 1.0)
PLACE_EVENTS = PLACE_STATES = PLACE_PIECES = PLACE_RECORDS = 0
# status of a lane that an event ended, whose event recurs without end or is NaN, whose step would be too small
EVENT = ENDLESS = BAD_EVENT = SMALLEST = 0
# events: how many, the most that one step may hold, its most nodes, pieces of a step, which have resets; whether
# there is a right-hand side; rows of their values at the last step's end, where a reset fired, at the nodes; these
# nodes; the largest change over a piece, sides, counts, which resets fire, which fired, what rounding a value has;
# resets without progress and the time of the last; zeros of a piece
WITH_EVENTS = HAS_RHS = False
N_EVENTS, MOST_EVENTS, MOST_NODES, SPANS = 1, 1, 1, 4
HAS_RESET: tuple = (False,)
GLAST = GFIRED = VALUES = NODE_TH = LARGEST = 0
SIDE = COUNT = CROSSED = FIRED = NOISE = REPEATS = TFIRED = ROOT_TH = ROOT_EVENT = ROOT_DIR = 0
# value(A, l, e, t, row), of event e at the state in `row`; reset(A, l, e, t), its new state from YR into YR
value = reset = _compiled

# Rosenbrock methods: whether the right-hand side reads the time; f_t, and the size of the step that it was taken for;
# the distance of 1 from the next number
MOVING = False
FT = FTH = 0
EPS = 0.0

# coefficients: of ESDIRK methods (`methods.esdirk`) diagonal and its inverse, number of stages, nodes, error weights,
# rows below the diagonal, predictors; of Radau IIA (`methods.radau`) eigenvalues of the inverse of A, nodes, error
# weights, transformation and its inverse, collocation polynomial
GAMMA = INV_GAMMA = ALPHA = BETA = 1.0
STAGES = 1
NODES: tuple = (0.0,)
WEIGHTS: tuple = (0.0,)
BELOW = PREDICTORS = TO_Z = TO_W = POLYNOMIAL = D
# increments of the stages of this step (stages, n); of Radau IIA those of the last step, transformed ones, right-hand
# sides of the linear systems and then their solutions, time that the slope in K0 belongs to
ZS = ZP = WS = FS = TF = 0

# methods of several steps (`pieces.multistep`): greatest order, sizes and values that are kept, rejections in a row
# after which the history is dropped, points that order k + 1 takes more than k, steps of order k before it may change;
# the rows that those pieces name; the error estimate of an order; of NDF (`methods.multistep`) leading coefficients
# and error constants by order, where Newton's iteration stops, size over the leading coefficient, past values, w(t_n),
# h w'(t_n), y_n - w(t_n)
MOST_ORDER = LAGS = KEPT = RESTART = NEEDS = 1
ORD = AFTER = AGAIN = POINTS = HELD = FAILS = PAST = XI = WT = 0
WAITS: tuple = (0.0,)
estimate = _compiled
LEADING: tuple = (0.0,)
CONSTANTS: tuple = (0.0,)
KAPPA = 0.0
GS = YS = PREDICTED = SLOPE = EC = 0
# Adams methods: past slopes, Gauss's nodes and weights on [0, 1]
FP = 0
GAUSS_X: tuple = (0.0,)
GAUSS_W: tuple = (0.0,)

# Runge-Kutta-Chebyshev methods (`rkc`): damping, what s stages allow, rounding; accepted steps after which the spectral
# radius is found anew, iterations of the power method, where it ends, the radius over its ratio; whether the problem
# has a function or a number for the radius, or it is found; their rows, and a status
DAMPING = PER = EVERY = SETTLED = SAFETY = GIVEN_RADIUS = 1.0
POWERS = 1
CALLS_RADIUS = FINDS_RADIUS = False
spectral_radius = _compiled
RHO = STAGE_COUNT = RENEW = HERE = STEPS_SINCE = FOUND = FAULT = VECTOR = 0
BAD_RADIUS = 0
# extrapolation (`kernels.gbs`): most columns; substeps of a row and evaluations to the end of one; weights of the
# table; size of a substep, lanes that are not done, last column, errors of columns, no step accepted yet; squared sums
# of what smoothing changes in this row and in the first; the increments of the last two substeps, the table's last row,
# slopes of a row, coefficients of dense output
COLUMNS = 2
SUBSTEPS: tuple = (0,)
COST: tuple = (0.0,)
COEF: tuple = (0.0,)
HJ = LIVE = COL = ERRS = NEW = ROUGH = FIRST_ROUGH = PA = PB = TAB = FS = DC = 0

# one method of a portfolio (`member`): its place among the methods, how many there are; whether its record holds the
# spectral estimate of its Jacobian, and that; places in `carry`, and rows of the controller's state that belong to all
# methods, from RULE_AT on; a status; whether a lane comes from another method, the method that is asked for plus 1 (0:
# none), the norm of the Jacobian
HERE = METHODS = 1
SPECTRAL = False
jacobian_norm = _compiled
CARRY_NEXT = CARRY_METHOD = CARRY = 0
RULE_AT = RULE_ROWS = 0
SWITCH = 0
BACK = WANT = JNORM = 0
