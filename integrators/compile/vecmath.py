"""Elementary functions that vectorise across lanes: straight-line float64 code with selects, no calls, no tables.

`math.exp` and its friends are opaque calls, and one call makes a whole lane loop scalar.  These are polynomial or
rational approximations with argument reduction (fdlibm's sin/cos kernels, Cephes' tanh and atan; near-minimax
polynomials for the exponential and the logarithm: divisions are slow in lanes), within 2 ulp of the true value unless a
docstring says more.  Subnormal results are flushed to zero. Every function takes and returns float64 scalars inside
compiled code; NaN stays NaN.  Called from Python they are NumPy's.
"""

from __future__ import annotations

import math

import numpy as np

from ..core.namespaces import Namespace
from .lanes import inline
from .symbols import F64, I64, clean, select
from .trace import elementary


def _where(c, a, b):
    return (a if c else b) if np.ndim(c) == 0 else np.where(c, a, b)


def _bits(x):
    return x.cast(I64)


def _float(i):
    return i.cast(F64)


@elementary(_where)
def where(c, a, b):
    """a where c else b; both are evaluated."""
    return select(c, a, b)


@elementary(np.minimum)
def minimum(a, b):
    """Smaller of two; NaN if either is NaN (as numpy.minimum)."""
    if clean(b):
        return select(b < a, b, a)
    low = select(a < b, a, b)
    return low if clean(a) else select(a != a, a, low)


@elementary(np.maximum)
def maximum(a, b):
    """Larger of two; NaN if either is NaN (as numpy.maximum)."""
    if clean(b):
        return select(b > a, b, a)
    high = select(a > b, a, b)
    return high if clean(a) else select(a != a, a, high)


@elementary(np.abs)
def fabs(x):
    """|x|."""
    return x.call("llvm.fabs")


@elementary(np.sqrt)
def sqrt(x):
    """Square root (one packed instruction); NaN for x < 0."""
    return x.call("llvm.sqrt")


_MAGIC = 6755399441055744.0  # 1.5 * 2**52: adding it leaves the nearest integer in the low mantissa bits
_MAGIC_BITS = 0x4338000000000000
_LOG2E = 1.4426950408889634
_LN2_HI = 6.93147180369123816490e-01
_LN2_LO = 1.90821492927058770002e-10


# (e**r - 1 - r)/r**2 on |r| <= ln2/2, error 2e-17 r**2
_EXP = (
    0.5000000000000001, 0.16666666666666669, 0.041666666666624164, 0.008333333333330065, 0.0013888888917197209,
    0.00019841269863040922,
    2.4801521321606647e-05, 2.7557268479724004e-06, 2.7620076242527254e-07, 2.510037611136142e-08,
)  # fmt: skip

# (log(1 + f) - f + f**2/2)/f**3 on sqrt(1/2) <= 1 + f <= sqrt(2), error 4e-16
_LOG = (
    0.3333333333333333, -0.24999999999998593, 0.20000000000003482, -0.16666666667366026, 0.142857142856349,
    -0.12499999898428342,
    0.11111111008774889, -0.10000006590653786, 0.0909092107681182, -0.0833311063702464, 0.07691741115368358,
    -0.07146922685496868,
    0.06680348653171296, -0.0621332522429376, 0.057066103709447015, -0.056358549778507024, 0.06362034977464286,
    -0.059591906727101934,
    0.02705315620664195,
)  # fmt: skip


def _polynomial(x, coefs):
    """Sum of coefs[i] x**i as four interleaved chains: short for one trajectory, few instructions for lanes."""
    x2 = x * x
    x4 = x2 * x2
    parts = []
    for k in range(4):
        acc = coefs[k::4][-1]
        for c in coefs[k::4][-2::-1]:
            acc = acc * x4 + c
        parts.append(acc)
    return (parts[3] * x + parts[2]) * x2 + (parts[1] * x + parts[0])


@elementary(np.exp)
def exp(x):
    """e**x; inf above 709.78, 0 below -708."""
    xc = select(x > 709.782712893384, 709.782712893384, x)
    xc = select(xc < -708.0, -708.0, xc)
    t = xc * _LOG2E + _MAGIC
    n = t - _MAGIC
    r = (xc - n * _LN2_HI) - n * _LN2_LO
    p = r * r * _polynomial(r, _EXP) + r + 1.0
    # two halves of the exponent, so that 2**1024 is never formed on the way to a finite result
    k = _bits(t) - _MAGIC_BITS
    half = k >> 1
    y = p * _float((half + 1023) << 52) * _float((k - half + 1023) << 52)
    y = select(x > 709.782712893384, math.inf, y)
    y = select(x < -708.0, 0.0, y)
    return select(x == x, y, x)


@elementary(np.log)
def log(x):
    """Natural logarithm; -inf at 0, NaN below."""
    tiny = x < 2.2250738585072014e-308
    xs = select(tiny, x * 18014398509481984.0, x)
    b = _bits(xs)
    # exponent of the mantissa's representative in [sqrt(1/2), sqrt(2))
    k = ((b - 0x3FE6A09E667F3BCD) >> 52)
    m = _float(b - (k << 52))
    kd = _float(k + _MAGIC_BITS) - _MAGIC
    kd = select(tiny, kd - 54.0, kd)
    f = m - 1.0
    f2 = f * f
    y = kd * _LN2_HI + (f - (0.5 * f2 - (f2 * f * _polynomial(f, _LOG) + kd * _LN2_LO)))
    y = select(x == math.inf, x, y)
    y = select(x == 0.0, -math.inf, y)
    return select(x >= 0.0, y, math.nan)


@elementary(np.power)
def pow_(x, a):
    """x**a for x >= 0 as exp(a log x); relative error about |a log x| ulp."""
    return exp(a * log(x))


@elementary(np.tanh)
def tanh(x):
    """Hyperbolic tangent."""
    ax = fabs(x)
    z = x * x
    p = (-9.64399179425052238628e-1 * z - 9.92877231001918586564e1) * z - 1.61468768441708447952e3
    q = ((z + 1.12811678491632931402e2) * z + 2.23548839060100448583e3) * z + 4.84406305325125486048e3
    small = x + x * z * (p / q)
    big = 1.0 - 2.0 / (exp(2.0 * ax) + 1.0)
    big = select(x < 0.0, -big, big)
    return select(ax < 0.625, small, big)


@elementary(np.arctan)
def atan(x):
    """Arc tangent."""
    ax = fabs(x)
    far = ax > 2.414213562373095
    mid = ax > 0.66
    u = select(far, -1.0 / ax, select(mid, (ax - 1.0) / (ax + 1.0), ax))
    base = select(far, 1.5707963267948966, select(mid, 0.7853981633974483, 0.0))
    low = select(far, 6.123233995736765886130e-17, select(mid, 3.061616997868382943065e-17, 0.0))
    z = u * u
    p = (
        ((-8.750608600031904122785e-1 * z - 1.615753718733365076637e1) * z - 7.500855792314704667340e1) * z
        - 1.228866684490136173410e2
    ) * z - 6.485021904942025371773e1
    q = (
        (((z + 2.485846490142306297962e1) * z + 1.650270098316988542046e2) * z + 4.328810604912902668951e2) * z
        + 4.853903996359136964868e2
    ) * z + 1.945506571482613964425e2
    y = base + (u + u * z * (p / q) + low)
    return select(x < 0.0, -y, y)


def _sincos_kernel(r):
    z = r * r
    s = 1.58969099521155010221e-10
    s = s * z - 2.50507602534068634195e-08
    s = s * z + 2.75573137070700676789e-06
    s = s * z - 1.98412698298579493134e-04
    s = s * z + 8.33333333332248946124e-03
    s = s * z - 1.66666666666666324348e-01
    s = r + r * z * s
    c = -1.13596475577881948265e-11
    c = c * z + 2.08757232129817482790e-09
    c = c * z - 2.75573143513906633035e-07
    c = c * z + 2.48015872894767294178e-05
    c = c * z - 1.38888888888741095749e-03
    c = c * z + 4.16666666666666019037e-02
    c = 1.0 - 0.5 * z + z * z * c
    return s, c


_FAR = 1.5 * 2.0**73  # adding it leaves the nearest multiple of 2**21
# pi/2 = the sum; the products of the first two, 24 bits each, with multiples m 2**21, |m| < 2**29, are exact
_HALF_PI = (1.570796251296997, 7.549789415861596e-08, 5.390302858158119e-15)


def _reduce(x):
    """x = n pi/2 + r, |r| <= pi/4; n's low bits as an integer (three-part pi/2, exact products for |n| < 2**20).

    What n has of multiples of 2**21 goes first, none for |x| < 1.6e6: x = f pi/2 + y + low, off by 4e-16 at |x| = 1e15.
    """
    f = (x * 0.6366197723675814 + _FAR) - _FAR
    z = (x - f * _HALF_PI[0]) - f * _HALF_PI[1]
    third = f * _HALF_PI[2]
    y = z - third
    low = (z - y) - third
    t = y * 0.6366197723675814 + _MAGIC
    n = t - _MAGIC
    r = ((y - n * 1.57079632673412561417e00) - n * 6.07710050630396597660e-11) - n * 2.02226624879595063154e-21
    return r + low, _bits(t)


@elementary(np.sin)
def sin(x):
    """Sine; |x| up to 1e15 (absolute error 4e-16), NaN beyond, where floats are .1 apart and more."""
    r, q = _reduce(x)
    s, c = _sincos_kernel(r)
    y = select((q & 1) == 1, c, s)
    y = select((q & 2) == 2, -y, y)
    return select(fabs(x) <= 1e15, y, math.nan)


@elementary(np.cos)
def cos(x):
    """Cosine; |x| up to 1e15 (absolute error 4e-16), NaN beyond, where floats are .1 apart and more."""
    r, q = _reduce(x)
    s, c = _sincos_kernel(r)
    y = select((q & 1) == 1, s, c)
    y = select(((q + 1) & 2) == 2, -y, y)
    return select(fabs(x) <= 1e15, y, math.nan)


#: names that `bind` replaces when a formula is compiled for lanes
NAMESPACE = Namespace({
    "where": where, "minimum": minimum, "maximum": maximum, "fabs": fabs, "sqrt": sqrt, "exp": exp, "log": log,
    "pow_": pow_, "tanh": tanh, "atan": atan, "sin": sin, "cos": cos,
}, wrap=inline)  # fmt: skip
