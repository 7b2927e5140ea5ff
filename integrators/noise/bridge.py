"""A Brownian increment with its space-time Levy area: drawn, split exactly at a time inside, and joined.

Over an interval of length t the pair is W = W_t - W_0 and H = (1/t) int_0^t (W_s - (s/t) W) ds.  They are independent
normal numbers of variance t and t/12.  (W, int_0^t W_s ds) is the same information: the integral is t (W/2 + H).

Splitting at a inside an interval of length t = a + b is Gaussian conditioning.  With q = a^2 - ab + b^2,

    W_a = (a/t) W + (6ab/t^2) H + c z1,      H_a = (a/t)^2 H - (a^3 b/(2 t^3 c)) z1 + sqrt(a b^3/(12 t q)) z2,
    W_b = W - W_a,                           H_b = (b/t)^2 H - (a b^3/(2 t^3 c)) z1 - sqrt(a^3 b/(12 t q)) z2,

c = sqrt(a b q/t^3), z1 and z2 independent standard normal numbers.  (Foster & Habermann, Brownian bridge expansions for
Levy area approximations, 2023, has the halves.)  No difference of close numbers is taken, however short a piece is.

The functions take floats, or arrays with `sqrt` bound to the library's (`core.binding.bind`).
"""

from __future__ import annotations

from math import sqrt
from typing import Any


def draw(t: Any, z1: Any, z2: Any) -> tuple[Any, Any]:
    """(W, H) of a new interval of length t from two standard normal numbers."""
    root = sqrt(t)
    return root * z1, root * 0.28867513459481287 * z2  # 1/sqrt(12)


def split(a: Any, b: Any, w: Any, h: Any, z1: Any, z2: Any) -> tuple[Any, Any, Any, Any]:
    """(W_a, H_a, W_b, H_b) of the pieces a and then b of an interval with (w, h); z1, z2: standard normal numbers."""
    t = a + b
    x, y = a / t, b / t
    form = x * x - x * y + y * y
    c = sqrt(x * y * form * t)
    lean = 0.5 * x * y * t / c
    spread = sqrt(x * y * t / (12.0 * form))
    w_a = x * w + 6.0 * x * y * h + c * z1
    w_b = y * w - 6.0 * x * y * h - c * z1
    h_a = x * x * (h - lean * z1) + y * spread * z2
    h_b = y * y * (h - lean * z1) - x * spread * z2
    return w_a, h_a, w_b, h_b


def join(a: Any, b: Any, w_a: Any, h_a: Any, w_b: Any, h_b: Any) -> tuple[Any, Any]:
    """(W, H) of two intervals of lengths a and b that follow each other: what `split` undoes."""
    t = a + b
    return w_a + w_b, (a * h_a + b * h_b + 0.5 * (b * w_a - a * w_b)) / t


def split_plain(a: Any, b: Any, w: Any, z: Any) -> tuple[Any, Any]:
    """(W_a, W_b) where no Levy area is kept; z: a standard normal number."""
    t = a + b
    w_a = (a / t) * w + sqrt(a * (b / t)) * z
    return w_a, w - w_a
