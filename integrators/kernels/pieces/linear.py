"""Names of what the linear algebra of a lane gives to methods (`implicit.linear`): its pieces, and rows of their own.

    jacobian(A, l)               J at (t, y); the right-hand sides it took
    factor(A, l, shift)          LU of shift I - J; False where it is singular or not finite
    back(A, l, row)              the row (n) replaced by the solution
    factor_complex, back_complex the same of (re + i im) I - J
"""

from .bound import bound

jacobian = factor = back = factor_complex = back_complex = bound
#: time of the Jacobian (NaN: none), attempts it has served
TJ = JAGE = 0
