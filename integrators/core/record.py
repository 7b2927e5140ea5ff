"""The attempt record: what a method reports after each trial step.

A flat float64 array, one row a slot; `docs/architecture.md` gives each slot's meaning and unit.  Slots that a method
cannot fill are NaN and missing from the method's `fills`.
"""

ERR = 0
H = 1
H_FREE = 2
ORDER = 3
HS = 4
CURV = 5
YNORM = 6
ENORM = 7
NEWTON_ITERS = 8
NEWTON_RATE = 9
JAC_AGE = 10
LU_AGE = 11
NF = 12
NJAC = 13
NLU = 14
NSOLVE = 15
T_LEFT = 16
TRUNCATED = 17
FINITE = 18
RTOL = 19
TAU_AMUSE = 20
TAU_AARSETH = 21
TAU_PRS = 22
LU_SHIFT = 23
SPAN = 24
N_RECORD = 25

NAMES = (
    "err", "h", "h_free", "order", "hs", "curv", "ynorm", "enorm", "newton_iters", "newton_rate", "jac_age",
    "lu_age", "nf", "njac", "nlu", "nsolve", "t_left", "truncated", "finite", "rtol", "tau_amuse",
    "tau_aarseth", "tau_prs", "lu_shift", "span",
)  # fmt: skip
assert len(NAMES) == N_RECORD
