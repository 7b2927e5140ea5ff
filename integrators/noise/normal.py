"""The standard normal quantile function: a normal number from a uniform one.

M. J. Wichura, Algorithm AS 241: The percentage points of the normal distribution, Applied Statistics 37 (1988) 477-484,
function PPND16, accurate to about 1 part in 10^16.  85 in 100 numbers need arithmetic alone.  Inversion uses one
uniform number for one normal one, which a counter-based source wants, and no trigonometry, so that compiled code and
NumPy agree to rounding.
"""

from __future__ import annotations

from math import log, sqrt
from typing import Any

import numpy as np

from .counter import bits, key, uniform


def central(q: Any) -> Any:
    """The quantile of u = 1/2 + q for |q| <= 0.425."""
    r = 0.180625 - q * q
    top = ((((((2.5090809287301226727e3 * r + 3.3430575583588128105e4) * r + 6.7265770927008700853e4) * r
             + 4.5921953931549871457e4) * r + 1.3731693765509461125e4) * r + 1.9715909503065514427e3) * r
           + 1.3314166789178437745e2) * r + 3.3871328727963666080e0  # fmt: skip
    low = ((((((5.2264952788528545610e3 * r + 2.8729085735721942674e4) * r + 3.9307895800092710610e4) * r
             + 2.1213794301586595867e4) * r + 5.3941960214247511077e3) * r + 6.8718700749205790830e2) * r
           + 4.2313330701600911252e1) * r + 1.0  # fmt: skip
    return q * top / low


def middle(r: Any) -> Any:
    """The upper quantile at r = sqrt(-log(tail probability)), r <= 5."""
    r = r - 1.6
    top = ((((((7.74545014278341407640e-4 * r + 2.27238449892691845833e-2) * r + 2.41780725177450611770e-1) * r
             + 1.27045825245236838258e0) * r + 3.64784832476320460504e0) * r + 5.76949722146069140550e0) * r
           + 4.63033784615654529590e0) * r + 1.42343711074968357734e0  # fmt: skip
    low = ((((((1.05075007164441684324e-9 * r + 5.47593808499534494600e-4) * r + 1.51986665636164571966e-2) * r
             + 1.48103976427480074590e-1) * r + 6.89767334985100004550e-1) * r + 1.67638483018380384940e0) * r
           + 2.05319162663775882187e0) * r + 1.0  # fmt: skip
    return top / low


def far(r: Any) -> Any:
    """The upper quantile at r = sqrt(-log(tail probability)), r > 5."""
    r = r - 5.0
    top = ((((((2.01033439929228813265e-7 * r + 2.71155556874348757815e-5) * r + 1.24266094738807843860e-3) * r
             + 2.65321895265761230930e-2) * r + 2.96560571828504891230e-1) * r + 1.78482653991729133580e0) * r
           + 5.46378491116411436990e0) * r + 6.65790464350110377720e0  # fmt: skip
    low = ((((((2.04426310338993978564e-15 * r + 1.42151175831644588870e-7) * r + 1.84631831751005468180e-5) * r
             + 7.86869131145613259100e-4) * r + 1.48753612908506148525e-2) * r + 1.36929880922735805310e-1) * r
           + 5.99832206555887937690e-1) * r + 1.0  # fmt: skip
    return top / low


def quantile(u: float) -> float:
    """The number that a standard normal one falls below with probability u, strictly between 0 and 1 (compiled)."""
    q = u - 0.5
    if abs(q) <= 0.425:
        return central(q)
    r = sqrt(-log(u if q < 0.0 else 1.0 - u))
    z = middle(r) if r <= 5.0 else far(r)
    return -z if q < 0.0 else z


def quantiles(u: Any) -> np.ndarray:
    """`quantile` over a float64 array: the same numbers to rounding (the logarithm differs in the last place)."""
    u = np.asarray(u, dtype=np.float64)
    q = u - 0.5
    r = np.sqrt(-np.log(np.minimum(u, 1.0 - u)))
    tail = np.where(r <= 5.0, middle(r), far(r))
    return np.where(np.abs(q) <= 0.425, central(q), np.where(q < 0.0, -tail, tail))


def normal(own: int, count: int) -> float:
    """The standard normal number `count` of the stream of key `own` (compiled)."""
    return quantile(uniform(bits(own, count)))


def keys(seed: int, path: Any) -> np.ndarray:
    """Keys of the streams of whole numbers `path` (...), int64 of the same shape."""
    own = np.atleast_1d(np.asarray(path, dtype=np.int64))
    return key(np.full(1, seed, dtype=np.int64), own).reshape(np.shape(path))


def normals(own: Any, count: Any) -> np.ndarray:
    """`normal` over int64 arrays of keys and counters that broadcast, float64."""
    own, count = np.asarray(own, dtype=np.int64), np.asarray(count, dtype=np.int64)
    word = bits(np.atleast_1d(own), np.atleast_1d(count))
    return quantiles(uniform(word)).reshape(np.broadcast_shapes(own.shape, count.shape))
