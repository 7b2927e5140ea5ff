"""What a host in torch measures of an attempt for a controller, from tensors (lanes, width): norms and stage estimates.

The formulas are those of the engine, `integrators/neural/estimates.py`.  A host whose state has another shape, or one
step for a whole batch, views it as (1, width).
"""

from __future__ import annotations

from typing import Any

import torch

from ...integrators.core import record as rec

Tensor = torch.Tensor


def norms(slots: frozenset[int], error: Tensor, y: Tensor, scale: Tensor) -> dict[int, Tensor]:
    """Those of YNORM, rms(y/scale), and ENORM, max over rms of the scaled error (1 where it is 0), that are in `slots`.

    error, y, scale: (lanes, width) of the error estimate, the state at the start of the step and the error's scale,
    atol + rtol max(|y|, |y1|).  Returns a tensor (lanes,) a slot.
    """
    found = {}
    if rec.YNORM in slots:
        found[rec.YNORM] = rms(y / scale)
    if rec.ENORM in slots:
        ratio = error / scale
        most, mean = torch.linalg.vector_norm(ratio, ord=torch.inf, dim=1), rms(ratio)
        found[rec.ENORM] = torch.where(mean > 0, most / torch.where(mean > 0, mean, 1.0), 1.0)
    return found


def curvature(first: Tensor, last: Tensor) -> Tensor:
    """CURV (lanes,): ||f1 - f0|| / (||f0|| + ||f1||) of the slopes (lanes, width) at both ends; 0 where both are 0."""
    norm = torch.linalg.vector_norm
    size = norm(first, dim=1) + norm(last, dim=1)
    return torch.where(size > 0, norm(last - first, dim=1) / torch.where(size > 0, size, 1.0), 0.0)


def stiffness(h: Tensor, slopes: tuple[Tensor, Tensor], states: tuple[Tensor, Tensor]) -> Tensor:
    """HS (lanes,): |h| ||k_j - k_i|| / ||g_j - g_i|| of two stages at the end of the step; 0 where the states coincide.

    h: 0-d or (lanes,).  slopes: k_i, k_j.  states: g_i, g_j.  All (lanes, width).
    """
    norm = torch.linalg.vector_norm
    dk, dg = norm(slopes[1] - slopes[0], dim=1), norm(states[1] - states[0], dim=1)
    return torch.where(dg > 0, h.abs() * dk / torch.where(dg > 0, dg, 1.0), 0.0)


def rms(x: Tensor) -> Tensor:
    """Root mean square of each row of x (lanes, width), as (lanes,)."""
    return torch.linalg.vector_norm(x, dim=1) / x.shape[1] ** 0.5


def geometric_mean(tolerance: Any) -> float:
    """RTOL of a host whose relative tolerance is a number, or differs from component to component: zeros are left out.

    tolerance: a number or a tensor.  0 where no entry is positive.
    """
    values = torch.as_tensor(tolerance, dtype=torch.float64).flatten()
    if len(values) == 1:
        return float(values)
    positive = values[values > 0]
    return float(positive.log().mean().exp()) if len(positive) else 0.0
