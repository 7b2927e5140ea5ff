"""The slope at the start of a solve, and the size of its first attempt.

The automatic size is the one of E. Hairer, S. P. Norsett, G. Wanner, Solving Ordinary Differential Equations I, 2nd
ed., Springer 1993, II.4, as in SciPy's select_initial_step, with the exponent 1/(embedded order + 1).  With d0 =
||y0||, d1 = ||f(t0, y0)|| in the error norm:

    h0 = 0.01 d0 / d1,    d2 = ||f(t0 + h0, y0 + h0 f(t0, y0)) - f(t0, y0)|| / h0
    h1 = (0.01 / max(d1, d2))^(1 / (q + 1)),    h = min(100 h0, h1)

It is a careful size: the rule knows nothing of how small a method's error constants are, and on fields of neural
differential equations the tolerance allows a longer step.  `BOLD` times it is still rejected as
seldom, and saves most of the small steps (`benchmarks/first_step.py`).
"""

from __future__ import annotations

import numpy as np
import torch

from .clock import Clock
from .settings import Settings
from .step import Slope

Tensor = torch.Tensor
#: what the automatic size is multiplied by under first_step="bold"
BOLD = 4.0


class _ErrorNorm:
    """Root mean square over a lane's components of x / (atol + rtol |y0|).

    A component at zero without an absolute tolerance has no scale, and no say in the size, as in the compiled engine.
    """

    def __init__(self, set_: Settings, y0: Tensor) -> None:
        rtol, atol = set_.hooks.each or (set_.rtol, set_.atol)
        self.scale = atol + rtol * y0.abs()
        self.every = set_.atol >= 1e-30  # every component has a scale
        self.blank = self.scale <= max(1e-300, torch.finfo(y0.dtype).tiny)
        self.own = set_.hooks.norm

    def __call__(self, x: Tensor) -> np.ndarray:
        ratio = x / self.scale
        ratio = ratio if self.every else torch.where(self.blank, 0.0, ratio)
        return rms(ratio) if self.own is None else self.own(ratio.detach()).double().cpu().numpy()


def rms(x: Tensor) -> np.ndarray:
    """Root mean square of each row of x (lanes, width), as (lanes,) float64 on the host.

    The sum runs in float64: a slope of 1e15 over a scale of 1e-9 squares to infinity in float32.
    """
    return (torch.linalg.vector_norm(x, dim=1, dtype=torch.float64) / x.shape[1] ** 0.5).cpu().numpy()


def first_step(
    field: Slope, set_: Settings, y0: Tensor, sign: np.ndarray, clock: Clock
) -> tuple[Tensor, np.ndarray, np.ndarray, int]:
    """First slope (lanes, width), first size (lanes,), whether a lane's start is finite (lanes,), and the number of
    evaluations.

    sign: the direction of time, 0-d or (lanes,).  `set_.t` may hold one start and one end for all lanes, or have a
    second axis with one a lane.  The size is positive, and is that of `set_.first_step` where one is given there.
    """
    lanes = len(y0)
    span = abs(set_.t[-1] - set_.t[0])
    start = set_.t[0] + np.zeros(lanes)
    k1 = field(set_.times(start, start, sign, clock, y0.device), y0)
    if not k1.requires_grad:
        # func may use its result as a buffer, and this one is needed beyond the next call
        k1 = k1.clone()
    with np.errstate(all="ignore"):
        ok = np.isfinite(rms(y0)) & np.isfinite(rms(k1))
        given = np.broadcast_to(np.nan if set_.first_step is None else set_.first_step, (lanes,))
        if np.isfinite(given).all():
            return k1, np.minimum(given, span), ok, 1
        h = set_.start * _automatic(field, set_, y0, k1, sign, clock, span)
        return k1, np.minimum(np.where(np.isfinite(given), given, h), span), ok, 2


def _automatic(
    field: Slope, set_: Settings, y0: Tensor, k1: Tensor, sign: np.ndarray, clock: Clock, span: float | np.ndarray
) -> np.ndarray:
    """The automatic size (lanes,) from the first slope k1; takes one evaluation."""
    norm = _ErrorNorm(set_, y0)
    d0, d1 = norm(y0), norm(k1)
    h0 = np.where((d0 < 1e-5) | (d1 < 1e-5), 1e-6, 0.01 * d0 / d1)
    h0 = np.minimum(h0, span)
    h0 = np.where(h0 > 0, h0, 0.0)
    step = torch.from_numpy(sign * h0).to(device=y0.device, dtype=y0.dtype)[:, None]
    later = set_.times(set_.t[0] + sign * h0, set_.t[0] + np.zeros(len(y0)), sign, clock, y0.device)
    d2 = norm(field(later, y0 + step * k1) - k1) / h0
    d2 = np.where(np.isfinite(d2), d2, 0.0)
    dm = np.maximum(d1, d2)
    power = 1.0 / (set_.tableau.embedded_order + 1)
    h1 = np.where(dm <= 1e-15, np.maximum(1e-6, h0 * 1e-3), (0.01 / np.maximum(dm, 1e-300)) ** power)
    return np.minimum(100.0 * h0, h1)
