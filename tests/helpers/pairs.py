"""Published embedded pairs that are not first-same-as-last, with what SciPy needs to run them.

Heun 2(1): E. Hairer, S. P. Norsett, G. Wanner, Solving Ordinary Differential Equations I, 2nd ed., 1993, II.1 (the
  estimate against Euler).
Kutta 3(2): W. Kutta, Z. Math. Phys. 46 (1901), with the midpoint rule embedded.
Fehlberg 4(5): E. Fehlberg, NASA TR R-315 (1969), table III; Hairer et al., table II.5.1.  It advances either solution.
"""

from __future__ import annotations

from fractions import Fraction as F

import numpy as np
from scipy.integrate._ivp.rk import RungeKutta

from stepsmith.integrators.methods.tableaus import ExplicitTableau

HALF = F(1, 2)
HEUN = ExplicitTableau("heun21", 2, 1, c=(0, 1), a=((), (1,)), b=(HALF, HALF), b_hat=(1, 0))
KUTTA = ExplicitTableau(
    "kutta32", 3, 2, c=(0, HALF, 1), a=((), (HALF,), (-1, 2)), b=(F(1, 6), F(2, 3), F(1, 6)), b_hat=(0, 1, 0)
)  # fmt: skip
C = (0, F(1, 4), F(3, 8), F(12, 13), 1, HALF)
A = (
    (),
    (F(1, 4),),
    (F(3, 32), F(9, 32)),
    (F(1932, 2197), F(-7200, 2197), F(7296, 2197)),
    (F(439, 216), -8, F(3680, 513), F(-845, 4104)),
    (F(-8, 27), 2, F(-3544, 2565), F(1859, 4104), F(-11, 40)),
)
FOUR = (F(25, 216), 0, F(1408, 2565), F(2197, 4104), F(-1, 5), 0)
FIVE = (F(16, 135), 0, F(6656, 12825), F(28561, 56430), F(-9, 50), F(2, 55))
FEHLBERG4 = ExplicitTableau("fehlberg4", 4, 5, c=C, a=A, b=FOUR, b_hat=FIVE)
FEHLBERG5 = ExplicitTableau("fehlberg5", 5, 4, c=C, a=A, b=FIVE, b_hat=FOUR)
PAIRS = (HEUN, KUTTA, FEHLBERG4, FEHLBERG5)
NAMES = [t.name for t in PAIRS]


def scipys(tableau: ExplicitTableau) -> type:
    """SciPy's solver of the pair, with cubic Hermite dense output.  It evaluates the slope at y_new in rejected
    attempts, too.
    """
    s = tableau.stages
    a = np.zeros((s, s))
    for i, row in enumerate(tableau.a):
        a[i, :i] = [float(x) for x in row]
    b = np.array([float(x) for x in tableau.b])
    first, last = np.eye(s + 1)[0], np.eye(s + 1)[s]
    weights = np.append(b, 0.0)
    return type(tableau.name, (RungeKutta,), {
        "order": tableau.order, "error_estimator_order": tableau.embedded_order, "n_stages": s, "A": a, "B": b,
        "C": np.array([float(x) for x in tableau.c]), "E": np.append([float(x) for x in tableau.e], 0.0),
        "P": np.stack([first, 3 * weights - 2 * first - last, first + last - 2 * weights], axis=1),
    })  # fmt: skip
