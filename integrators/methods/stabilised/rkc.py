"""The Runge-Kutta-Chebyshev method RKC of order 2, for problems whose Jacobian has eigenvalues near the negative real
axis, as diffusion has: as many stages as the step needs to be stable.

With T_j the Chebyshev polynomials and

    w_0 = 1 + eps/s^2,   eps = 2/13,   w_1 = T_s'(w_0)/T_s''(w_0),   b_j = T_j''(w_0)/T_j'(w_0)^2,   b_0 = b_1 = b_2,
    a_j = 1 - b_j T_j(w_0)

one step h of s >= 2 stages from y_n at t_n is

    g_0 = y_n,   g_1 = y_n + b_1 w_1 h f_0,
    g_j = (1 - mu_j - nu_j) y_n + mu_j g_(j-1) + nu_j g_(j-2) + m_j h f_(j-1) - a_(j-1) m_j h f_0,   y_(n+1) = g_s,
    mu_j = 2 b_j w_0/b_(j-1),   nu_j = -b_j/b_(j-2),   m_j = 2 b_j w_1/b_(j-1),   f_j = f(t_n + c_j h, g_j),

and c_j the number for which g_j is y_n + c_j h y' + ....  The stability polynomial is R_s(z) = a_s + b_s T_s(w_0 + w_1
z).  It lies between -1 and 1 for z from -beta(s) to 0, and inside well below 1 (by about eps/3), where

    beta(s) = 2/3 (s^2 - 1) (1 - 2/15 eps):

the step that s stages allow grows as s^2, so that the evaluations over a span grow as the square root of the spectral
radius of the Jacobian, where those of other explicit methods grow as the radius itself.  The error estimate is

    8/10 (y_n - y_(n+1)) + 4/10 h (f_n + f_(n+1)),

of third order in h.  Dense output is the cubic polynomial with values and slopes of both ends.

Source: B. P. Sommeijer, L. F. Shampine, J. G. Verwer, RKC: an explicit solver for parabolic PDEs, J. Comput. Appl.
Math. 88 (1998) 315, sections 2 and 3, and its code rkc.f.
"""

from __future__ import annotations

import math
from typing import Any

from ...compile import digest
from ...core import record
from ...problems import radius
from ..method import COMMON, Method

#: damping
EPS = 2.0 / 13.0
#: s stages are stable for h times the spectral radius up to (s^2 - 1)/PER: rkc.f's, a little more than beta's 1.5314
PER = 1.54


def stages(radius: float, h: float) -> int:
    """The stages of a step h > 0 where the Jacobian has this spectral radius, unit 1/time: rkc.f's m."""
    return 1 + int(math.sqrt(1.0 + PER * h * radius))


def _parts(source: Any, slots: frozenset[int]) -> Any:
    from ...kernels.rkc import rkc_parts

    return rkc_parts(source, slots)


def _key(source: Any) -> tuple:
    return digest.identity(source.rhs), radius.key(source.spectral_radius)


METHOD = Method(
    "rkc",
    "Runge-Kutta-Chebyshev, stabilised for diffusion, as many stages as a step needs",
    "B. P. Sommeijer, L. F. Shampine, J. G. Verwer, J. Comput. Appl. Math. 88 (1998) 315",
    2,
    2,
    2,
    COMMON | {record.ERR, record.ORDER, record.YNORM, record.ENORM},
    _parts,
    _key,
    radius=True,
)
