"""Where numbers stand in a lane's row, in the settings of the kernel, and in what is measured on an attempt.

Of the last attempt, or zero before the first one: FELL, FELL_BEFORE, STIFF, STIFF_BEFORE, RADIUS, ERROR, SHARE, FACTOR,
REJECTED, COSINE.  `kernel.observe` says what is made of them.
"""

from __future__ import annotations

#: components of a state, hidden units of a field, stages of the method
WIDTH, HIDDEN, STAGES = 8, 16, 7

# a lane's row
R_INSTANCE = 0
R_H = 1  # the size that the next action is a factor of
R_SLOPE = 2  # largest component of the slope at the state
R_TARGET = 3  # the slope that ends the solve
R_FIRST = 4  # the slope at the start over what would have ended the solve there
R_BOUND = 5  # the state that counts as diverged
R_NFEV = 6
R_BASE = 7  # f-evaluations of the baseline
R_ATTEMPTS = 8
R_REJECTS = 9
R_PAID = 10  # sum of rewards
R_OVER = 11  # 1 where the episode is over and the next one has not begun
R_STATUS = 12
R_FALLBACKS = 13
R_FELL = 14  # log of the slope after the attempt over that before it
R_FELL_BEFORE = 15
R_STIFF = 16  # the stiffness estimate S, 1/time
R_STIFF_BEFORE = 17
R_ERROR = 18  # the scaled error that the baseline's law would see
R_SHARE = 19  # the error over what the step moves
R_FACTOR = 20  # log of the size over the one of the attempt before
R_REJECTED = 21  # 1 where the attempt was rejected
R_COSINE = 22  # of the slopes at both ends
R_LAST = 23  # size of the last attempt; 0 before the first
R_RADIUS = 24  # the largest stiffness estimate of late, which fades
R_Z = 25  # the state, WIDTH components
R_K = 33  # the slope there, WIDTH components
ROW_COUNT = 41

# settings of the kernel
C_FAIL = 0
C_TOL = 1  # rtol = atol of the steady state
C_FIRST = 2  # size that the first action is a factor of
C_MOST = 3  # attempts after which an episode is cut
C_SAME_STEP = 4
C_NUMBER = 5  # of the first instance
CONST_COUNT = 6

# what is measured on an attempt
M_ERROR = 0
M_SIZE = 1  # largest component of the new state
M_SLOPE = 2  # and of the slope there
M_STIFF = 3
M_SHARE = 4
M_COSINE = 5
M_FINITE = 6
M_COUNT = 7

# an episode's statistics
E_RETURN = 0
E_LENGTH = 1
E_ERROR = 2
E_NFEV = 3
E_BASELINE = 4
E_NREJECT = 5
E_SLOPE = 6
E_FAILED = 7
E_STATUS = 8
E_INSTANCE = 9
E_NFALLBACK = 10
E_COUNT = 11
