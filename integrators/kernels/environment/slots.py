"""Names that the templates of environments use beside those of `kernels.slots`: stand-ins of the same kind.

`glossary` says what the rows hold; `env` and `paper_env` put them behind the rows of the method.
"""

from __future__ import annotations

from typing import Any


def _compiled(*args: Any) -> Any:
    raise TypeError("a template is the text of a kernel and cannot be called: the generated module binds what it names")


# rows of every environment
E0 = RETURN = LENGTH = PAID = OVER = PAY = 0
# rows of `env`
ERRMAX = LOGW = LOGW0 = WPAID = SPAN = BASEI = BASEE = PART = 0
# rows of a kernel with the reward "propagated"
NODE = CLOCK = GAIN = PROP = PRICE = EV = EY = EG = EK0 = 0
# rows of a kernel with a caller's own reward: what it may look at, in the order of `rewards.FACTS`, and what it pays
FACT0 = OWNPAY = 0
FACT_WORK = FACT_WORK_BEFORE = FACT_BASE_WORK = FACT_ERR = FACT_ACCEPTED = FACT_H = FACT_LEFT = FACT_RTOL = 0
FACT_LAGRANGE = FACT_ERROR = FACT_BASE_WORK_AT_ERROR = FACT_REACHED = 0
# rows of a kernel that solves in series (`series_rows`)
WARM = NEXTH = FIRST = DIVIDED = SEEN = MORE = 0
# rows of `paper_env`
MU = MARK = TAU = EREL = NSTEPS = LIVE = GO = BUSY = 0

# of a kernel that solves in series: the first size is an action, so is the division; how far an action moves the
# logarithm of the first size, and where actions begin in the controller's state; how many numbers are observed beside
# the features
SERIES = DECIDES = DIVIDES = False
FIRST_SCALE = 1.0
ACT_AT = N_MORE = 0

# what differs between kernels: the method has linear algebra, whose cost is work; the error is one of the invariant;
# the reward looks at facts (a caller's own); local errors are propagated; 512-bit vectors are asked for
IMPLICIT = ENERGY = OWN_REWARD = PROPAGATED = WIDE = False
# of `paper_env`: the number of decisions made is observed; least energy error told apart, least step (yr), most steps
# of a decision
COUNTER = False
FLOOR = SMALLEST = MOST_STEPS = 1.0
# numbers of the observation and where they begin in the controller's state
N_OBS = OBS_AT = 1
# of the reward "propagated": components of v; FSAL; 2 over the method's order p, -p, and the factor 2^p/(2^p - 1) of
# Richardson's extrapolation
N_ERRORS = 1
FSAL = False
PER_ORDER = MINUS_ORDER = RICHARDSON = 0.0
# numbers of facts, a literal
NFACTS = 1

# of `env`: what the reward pays for an attempt and at the end of an episode (`rewards`), the caller's own functions of
# facts, the pieces whose loops are written out (`env_source`), half a step of the method (`propagate`)
attempt_pay = end_pay = reward_step = reward_end = reference_error = write_obs = read_actions = half_step = _compiled
