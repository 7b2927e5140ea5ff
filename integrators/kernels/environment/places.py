"""Names of the places in the arrays that an environment's kernel is called with, for Python and for the kernel alike.

`glossary.ARRAYS` says what stands there.  A generated module gets these names as constants (`templates.numbered`).
"""

from __future__ import annotations

from .. import templates

# `consts`: the settings of a reward and of an episode
CONST_SAME_STEP = 0
CONST_LAGRANGE = 1
CONST_FAIL = 2
CONST_LOG_DISCOUNT = 3
CONST_MAX_ATTEMPTS = 4
CONST_ATOL_FACTOR = 5
CONST_WINDOW = 6
CONST_JACOBIAN = 7
CONST_LU = 8
CONST_SOLVE = 9

# `grid_meta`: the uniform grids that `table` and `at_tol` are tabulated on
GRID_ERROR_FIRST = 0
GRID_ERROR_STEP = 1
GRID_RTOL_FIRST = 2
GRID_RTOL_STEP = 3

# `at_tol[i]`, i of these
BASELINE_WORK = 0
BASELINE_ERROR = 1

# `span[instance]`
SPAN_LOW = 0
SPAN_HIGH = 1

# `stats[lane]`: what an episode that has ended was
EPISODE_RETURN = 0
EPISODE_LENGTH = 1
EPISODE_NFEV = 2
EPISODE_NACCEPT = 3
EPISODE_NREJECT = 4
EPISODE_ERROR = 5
EPISODE_LOG_RATIO = 6
EPISODE_INSTANCE = 7
EPISODE_RTOL = 8
EPISODE_STATUS = 9
EPISODE_NFALLBACK = 10


#: places in `grid_meta`
GRID = templates.places(__name__, "GRID_")
#: places in `consts`
CONSTS = templates.places(__name__, "CONST_")
#: columns of the per-lane episode statistics, valid where an episode has just ended
EPISODE = templates.places(__name__, "EPISODE_")
