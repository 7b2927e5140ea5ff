"""Names of the places in the arrays that the kernel of the three-body paper's environment is called with.

`glossary.PAPER_ARRAYS` says what stands there.  A generated module gets these names as constants
(`templates.numbered`).
"""

from __future__ import annotations

from .. import templates

# `consts`: the settings
CONST_W0 = 0
CONST_W2 = 1
CONST_HARMONIC = 2
CONST_STEPS = 3
CONST_SAME_STEP = 4
CONST_LIMIT = 5
CONST_INTERVAL = 6
CONST_LENGTH_UNIT = 7
CONST_SPEED_UNIT = 8
CONST_MOST = 9
CONST_IN_TURN = 10

# `stats[lane]`: what an episode that has ended was
EPISODE_RETURN = 0
EPISODE_LENGTH = 1
EPISODE_NFEV = 2
EPISODE_NSTEPS = 3
EPISODE_ERROR = 4
EPISODE_INSTANCE = 5
EPISODE_STATUS = 6
EPISODE_TIME = 7

#: places in `consts`
CONSTS = templates.places(__name__, "CONST_")
#: columns of the per-lane episode statistics, valid where an episode has just ended
EPISODE = templates.places(__name__, "EPISODE_")
