"""Names that template modules use: stand-ins, so that a template is a Python file that imports, lints and can be read.

A template (see `templates`) is never run from its own file: its text goes into a generated module, which binds these
names to the real offsets, sizes and compiled functions.  Values here mean nothing.  `glossary` says what the rows hold.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

_F = TypeVar("_F", bound=Callable)


def inline(fn: _F) -> _F:
    """Decorator of a piece that Numba compiles and inlines into every caller."""
    return fn


def traced(fn: _F) -> _F:
    """Decorator of a straight-line piece of one lane, compiled by running it once (`compile.trace`)."""
    return fn


def piece(fn: _F) -> _F:
    """Decorator of a piece that Numba compiles as a function of its own."""
    return fn


def entry(fn: _F) -> _F:
    """Decorator of a function that Python calls; its machine code is kept on disk."""
    return fn


def _compiled(*args: Any) -> Any:
    raise TypeError("a template is the text of a kernel and cannot be called: the generated module binds what it names")


# sizes: lanes of a block, dimension, parameters, lanes that must be free before new ones are loaded; then those that
# are written as literals, for the types of views hold them: lanes, dimension, parameters, numbers of a controller's
# state, of a record, of an answer
W = N = M = THRESHOLD = 1
WIDTH = DIM = NPAR = NSTATE = NREC = NANS = 1

# status of a lane (`layout`)
RUNNING = SUCCESS = IDLE = MAX_STEPS = UNDERFLOW = NON_FINITE = BAD_START = 0

# rows of every block, as offsets: row r of lane l is A[r + l] (`layout.SCALARS`)
T = TEND = DIR = H = HS = STATUS = INST = FRESH = NACC = NREJ = NFEV = NFALL = RTOL = HZERO = NEXT = TOUT = 0
MAXSTEP = HLAST = STUCK = LANDS = ACC = TN = S0 = S1 = S2 = S3 = S4 = NJEV = NLU = NSOLVE = DONE = NOVER = COARSE = 0
# groups of rows: component i of lane l is A[Y + i*W + l]
R = CS = CO = Y = YN = G = Z = ATOL = P = X = K0 = K1 = K2 = 0
# slots of the record, row R on (`core.record`)
R_ERR = R_H = R_H_FREE = R_ORDER = R_HS = R_CURV = R_YNORM = R_ENORM = R_NEWTON_ITERS = R_NEWTON_RATE = 0
R_JAC_AGE = R_LU_AGE = R_NF = R_NJAC = R_NLU = R_NSOLVE = R_T_LEFT = R_TRUNCATED = R_FINITE = R_RTOL = 0
R_TAU_AMUSE = R_TAU_AARSETH = R_TAU_PRS = R_LU_SHIFT = R_SPAN = 0
# slots of the controller's answer, row CO on (`core.contract`)
CO_ACCEPT = CO_LOG_FACTOR = CO_FLAGS = CO_FALLBACK = 0

# lane views (`compile.lanes`, `lane_matrix`, ...), what notes an index outside them (`noted`), 512-bit vectors
view = frozen = matrix = band = sparse = noted = new_fault = faulty = wide_vectors = _compiled
# elementary functions (`compile.vecmath`)
exp = fabs = log = maximum = minimum = sqrt = tanh = where = _compiled
# functions of the problem and of the controller
rhs = accel = jac = invariant = init = first = features = apply = _compiled
# pieces that other sources of a kernel define, as they are called
begin = attempt = start = prepare_dense = dense = emit = commit = load = store = start_fresh = decide = _compiled
