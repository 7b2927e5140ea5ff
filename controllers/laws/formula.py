"""The general linear law as one branch-free formula over flat float64 arrays.

    h'/h = s E_n^(-b1/k) E_{n-1}^(-b2/k) E_{n-2}^(-b3/k) (h_n/h_{n-1})^(-a2) (h_{n-1}/h_{n-2})^(-a3)

with E_n the scaled error of the attempt, E_{n-1}, E_{n-2} and h_{n-1}, h_{n-2} those of the last
*accepted* steps that were not cut short, k the exponent order (Soderlind 2003, doi 10.1145/641876.641877;
Gustafsson 1991, doi 10.1145/210232.210242).  Everything is in natural logarithms.  Around it stand what
codes add: safety outside (s) or inside (E/s^k), floors for errors, the smooth limiter 1 + kappa atan((x -
1)/kappa) or a hard clip (Soderlind & Wang 2006, doi 10.1016/j.cam.2005.03.008), acceptance by E and by
factor, rules after a rejection, a dead band, the minimum with the I law and the Newton limiter of RADAU5
(Hairer & Wanner II, IV.8), and when an implicit method renews its Jacobian and LU factors.

`linear_propose`, `linear_accept`, `linear_limit`, `head_update` and `keep_ratios` are the pieces; `linear_decide`
strings them together, and a learned controller strings them together with its own answer in between.  All
read their arrays before they write: compilers then share the logarithms.  The module's own functions are
bound to NumPy.
"""

from __future__ import annotations

from ...integrators.core.contract import (
    ACCEPT,
    FALLBACK,
    FLAGS,
    KEEP_JACOBIAN,
    KEEP_LU,
    LOG_FACTOR,
    N_HEAD,
    REFRESH_JACOBIAN,
    S_LE1,
    S_LE2,
    S_LH1,
    S_LH2,
    S_NACC,
    S_STREAK,
)
from ...integrators.core.formulas import atan, exp, fabs, log, maximum, minimum, tanh, where
from ...integrators.core.record import ERR, FINITE, LU_SHIFT, NEWTON_ITERS, NEWTON_RATE, ORDER, TRUNCATED, H

# compile-time switches, bound to False where a law does not need the piece (they save an exp, an atan and
# two logarithms)
SMOOTH = True
NEWTON = True

# parameters; the first two belong to every formula of this package (`head_update` reads them)
P_ERR_MIN = 0  # E is taken to be at least this
P_LE_FLOOR = 1  # log of the floor of a stored error
P_B1 = 2
P_B2 = 3
P_B3 = 4
P_A2 = 5
P_A3 = 6
P_SAFETY = 7  # log s, outside
P_SAFETY_IN = 8  # log s, inside: E/s^k
P_ORDER = 9  # k; 0: the record's
P_LE_START = 10  # log error in the place of a lag that is missing at the start
P_MIN_I = 11  # 1: minimum with the I law (once there is a lag)
P_NEWTON_M = 12  # m of the Newton limiter (2m + 1)/(2m + i); 0: none
P_NEWTON_ALL = 13  # 1: the limiter acts on the whole law (SciPy), 0: on its I part (RADAU5)
P_INV_KAPPA = 14  # 1/kappa; 0: hard clip
P_FMIN = 15  # log
P_FMAX = 16  # log
P_FMAX_FIRST = 17  # log, before the first accepted step
P_ACCEPT_ERR = 18  # accept only E <= this
P_ACCEPT_FACTOR = 19  # log: accept only a limited factor >= this
P_REJECT_OWN = 20  # 1: the law's own factor while E is too large; 0: E^(-reject_b1/k) alone
P_REJECT_B1 = 21
P_REJECT_MAX = 22  # log: largest factor after a rejected attempt
P_REJECT_MAX2 = 23  # log: the same from the second rejection in a row on
P_REJECT_FIRST = 24  # log: factor when the very first step is rejected; 0: no such rule
P_NONFINITE = 25  # log: factor when E or the state is not finite
P_KEEP_MIN = 26  # log: least factor after an accepted step
P_AFTER_MIN = 27  # log: the same, bounds for the accepted step that follows a rejection
P_AFTER_MAX = 28
P_BAND_LO = 29  # log: dead band, factor 1 inside
P_BAND_HI = 30
P_BAND_RATE = 31  # the dead band holds unless the Newton rate exceeds this
P_KAPPA = 32  # kappa, beside its reciprocal to save the divisions
P_OWN_RATIOS = 33  # 1: step ratios are the law's answers to accepted attempts, a rejection leaves them alone (PETSc)
P_JAC_RATE = 34  # the Jacobian is renewed where the Newton rate exceeds this
P_LU_KEEP = 35  # log: LU factors stand while |log(h/their own h)| is at most this; 0: they never do
N_PARAMS = 36

TINY = 1e-300
HUGE = 1e300
FAR = 50.0  # logarithms beyond +-50 are as good as infinite


def usable(record):
    """True where the attempt's error is a finite number >= 0 and the method did not report a non-
    finite state.
    """
    return (record[ERR] >= 0.0) & (record[ERR] <= HUGE) & (record[FINITE] != 0.0)


def log_error(params, record):
    """log E, E at least the law's floor and at most 1e300."""
    return log(minimum(maximum(record[ERR], params[P_ERR_MIN]), HUGE))


def log_size(record):
    """log of the attempted step size."""
    return log(maximum(record[H], TINY))


def limiter(params, lf):
    """Smooth limiter 1 + kappa atan((x - 1)/kappa) of x = exp(lf), as a logarithm; identity where
    1/kappa is 0.
    """
    if SMOOTH:
        bend = params[P_KAPPA] * atan((exp(minimum(lf, FAR)) - 1.0) * params[P_INV_KAPPA])
        lf = where(params[P_INV_KAPPA] > 0.0, log(1.0 + bend), lf)
    return lf


def linear_propose(params, state, record):
    """Limited log-factor of the law on this attempt, before the rules for acceptance and rejection.

    E = 0 gives the largest factor.  NaN where the error is NaN.
    """
    k = where(params[P_ORDER] > 0.0, params[P_ORDER], record[ORDER])
    per_k = 1.0 / k
    nacc = state[S_NACC]
    inside = k * params[P_SAFETY_IN]
    e0 = log_error(params, record) - inside
    e1 = where(nacc >= 1.0, state[S_LE1] - inside, params[P_LE_START])
    e2 = where(nacc >= 2.0, state[S_LE2] - inside, params[P_LE_START])
    lh = log_size(record)
    # the size of a truncated attempt was not the law's choice: its ratio says nothing (and would reject
    # good steps)
    lags = where(record[TRUNCATED] > 0.5, 0.0, nacc)
    r1 = where(lags >= 1.0, lh - state[S_LH1], 0.0)
    r2 = where(nacc >= 2.0, state[S_LH1] - state[S_LH2], 0.0)
    errors = params[P_B1] * e0 + params[P_B2] * e1 + params[P_B3] * e2
    own = -errors * per_k - params[P_A2] * r1 - params[P_A3] * r2
    elementary = -e0 * per_k
    if NEWTON:
        m2 = 2.0 * params[P_NEWTON_M]
        iters = record[NEWTON_ITERS]
        counted = (params[P_NEWTON_M] > 0.0) & (iters >= 1.0)
        newton = where(counted, log((m2 + 1.0) / (m2 + where(counted, iters, 1.0))), 0.0)
        own = own + params[P_NEWTON_ALL] * newton
        elementary = elementary + newton
    both = where(nacc >= 1.0, minimum(own, elementary), elementary)
    own = where(params[P_MIN_I] > 0.5, both, own)
    # one-term law while rejecting; the Newton limiter is not part of it where the law does not carry it
    alone = params[P_REJECT_B1] * where(params[P_MIN_I] > 0.5, elementary, -e0 * per_k)
    short = (record[ERR] > params[P_ACCEPT_ERR]) & (params[P_REJECT_OWN] < 0.5)
    lf = where(short, alone, own) + params[P_SAFETY]
    lf = where(record[ERR] <= 0.0, FAR, lf)
    lf = limiter(params, lf)
    fmax = where(nacc >= 1.0, params[P_FMAX], params[P_FMAX_FIRST])
    return minimum(maximum(lf, params[P_FMIN]), fmax)


def linear_accept(params, record, log_factor):
    """1.0 to accept, 0.0 to reject: E <= accept_err, factor >= accept_factor, and everything finite."""
    good = (record[ERR] <= params[P_ACCEPT_ERR]) & (log_factor >= params[P_ACCEPT_FACTOR])
    return where(good & usable(record), 1.0, 0.0)


def linear_limit(params, state, record, log_factor, accept, hold):
    """Log-factor after the law's rules for accepted, rejected, non-finite and truncated attempts.

    hold: by how much the dead band is wider at both ends, in log.
    """
    again = state[S_STREAK] >= 1.0
    rejected = minimum(log_factor, params[P_REJECT_MAX])
    rejected = where(again, minimum(rejected, params[P_REJECT_MAX2]), rejected)
    first = (params[P_REJECT_FIRST] < 0.0) & (state[S_NACC] < 1.0)
    rejected = where(first, params[P_REJECT_FIRST], rejected)
    rejected = where(usable(record), rejected, params[P_NONFINITE])
    kept = maximum(log_factor, params[P_KEEP_MIN])
    kept = where(again, minimum(maximum(kept, params[P_AFTER_MIN]), params[P_AFTER_MAX]), kept)
    low = minimum(params[P_BAND_LO] - hold, 0.0)
    high = maximum(params[P_BAND_HI] + hold, 0.0)
    outside = (kept < low) | (kept > high) | (record[NEWTON_RATE] > params[P_BAND_RATE])
    kept = where(outside, kept, 0.0)
    kept = where(record[TRUNCATED] > 0.5, 0.0, kept)
    return where(accept > 0.5, kept, rejected)


def linear_flags(params, record, answer, limit):
    """What the next attempt does with Jacobian and LU factors; 0 (the method's own rules) where no Newton rate is
    reported.

    limit: Newton rate above which the Jacobian is renewed; with LU factors of another size, what they slow the
    iteration down by is added.
    """
    rate = record[NEWTON_RATE]
    shift = record[LU_SHIFT]
    # |1 - r|/(1 + r), r the ratio of the two sizes
    stale = rate > limit + where(shift == 0.0, 0.0, tanh(0.5 * fabs(shift)))
    jacobian = where(stale, REFRESH_JACOBIAN, where(rate >= 0.0, KEEP_JACOBIAN, 0.0))
    near = (fabs(shift + answer) <= params[P_LU_KEEP]) & (params[P_LU_KEEP] > 0.0) & usable(record)
    return jacobian + where(near, KEEP_LU, 0.0)


def head_update(params, state, record, accept):
    """Update the shared head in place: lags of accepted steps that were not truncated, streak, count.

    `S_NACC` counts the steps that entered the lags.  An accepted step without an error estimate leaves 0
    as its log error.
    """
    le = where(record[ERR] >= 0.0, maximum(log_error(params, record), params[P_LE_FLOOR]), 0.0)
    lh = log_size(record)
    keep = where(record[TRUNCATED] > 0.5, 0.0, accept) > 0.5
    le1 = state[S_LE1]
    lh1 = state[S_LH1]
    le2 = where(keep, le1, state[S_LE2])
    lh2 = where(keep, lh1, state[S_LH2])
    le1 = where(keep, le, le1)
    lh1 = where(keep, lh, lh1)
    streak = where(accept > 0.5, 0.0, state[S_STREAK] + 1.0)
    nacc = where(keep, state[S_NACC] + 1.0, state[S_NACC])
    state[S_LE1] = le1
    state[S_LE2] = le2
    state[S_LH1] = lh1
    state[S_LH2] = lh2
    state[S_STREAK] = streak
    state[S_NACC] = nacc


def keep_ratios(params, state, record, accept, answer):
    """After `head_update`: move the sizes in the lags along with a rejected attempt's answer, where the law asks for
    it.

    The retry then sees the step ratios that the rejected attempt saw, whatever it shrank by.  A law that accepts by its
    factor and reads the sizes themselves can reject for ever: after one shrink, (h_n/h_{n-1})^(-a2) with a2 = -1 asks
    for another however small the error has become.  The ratio of a cut attempt says nothing: its retry starts from 1.
    """
    cut = where(record[TRUNCATED] > 0.5, log_size(record) - state[S_LH1], 0.0)
    shift = where(accept > 0.5, 0.0, params[P_OWN_RATIOS] * (answer + cut))
    state[S_LH1] = state[S_LH1] + shift
    state[S_LH2] = state[S_LH2] + shift


def linear_init(params, state):
    """Clear the head: no lags, no rejections, nothing accepted."""
    for i in range(N_HEAD):
        state[i] = 0.0


def linear_decide(params, state, record, out):
    """The general linear law: decide on one attempt (signature of `contract.Lane.fn`)."""
    log_factor = linear_propose(params, state, record)
    accept = linear_accept(params, record, log_factor)
    answer = linear_limit(params, state, record, log_factor, accept, 0.0)
    flags = 0.0
    if NEWTON:
        flags = linear_flags(params, record, answer, params[P_JAC_RATE])
    head_update(params, state, record, accept)
    keep_ratios(params, state, record, accept, answer)
    out[ACCEPT] = accept
    out[LOG_FACTOR] = answer
    out[FLAGS] = flags
    out[FALLBACK] = 0.0
