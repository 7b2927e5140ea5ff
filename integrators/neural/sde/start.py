"""The size of the first attempt: Hairer's choice with what the noise does in it added to the drift.

With the norm of a sample's error, d0 = ||y||, and at the start d1 the larger of ||f + 3 g|| and ||f - 3 g||,

    h0 = d0/(100 d1),    d2 = ||f(t + h0, y + h0 f) - f||/h0,    h1 = (1/(100 max(d1, d2)))^(1/(p + 1/2)),

and the size is the smaller of 100 h0 and h1; p is the strong order.

E. Hairer, S. P. Norsett, G. Wanner, Solving Ordinary Differential Equations I, 1993, section II.4; the noise's part is
that of StochasticDiffEq.jl.
"""

from __future__ import annotations

import numpy as np
import torch

from .attempt import Field, Start
from .estimates import Scale

Tensor = torch.Tensor


def first_size(f: Field, t: Tensor, y: Tensor, start: Start, scale: Scale, order: float, span: float) -> np.ndarray:
    """The first size (lanes,).  order: p + 1/2.  One evaluation of the drift."""
    weight = (y.abs() * scale.rtol + scale.atol).clamp(min=torch.finfo(y.dtype).tiny)

    def norm(x: Tensor) -> np.ndarray:
        rows = scale.lanes(x / weight)
        found = torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64) / rows.shape[1] ** 0.5
        return found.cpu().numpy()

    f0, g0 = start
    with np.errstate(all="ignore"):
        d0, d1 = norm(y), np.maximum(norm(f0 + 3.0 * g0), norm(f0 - 3.0 * g0))
        h0 = np.minimum(np.where((d0 < 1e-5) | (d1 < 1e-5), 1e-6 * max(span, 1e-300), 0.01 * d0 / d1), span)
        h0 = np.where(h0 > 0.0, h0, 1e-6 * span)
        size = torch.from_numpy(h0).to(device=y.device, dtype=y.dtype)
        d2 = norm(f(t + size, y + size[:, None] * f0) - f0) / h0
        top = np.maximum(d1, np.where(np.isfinite(d2), d2, 0.0))
        h1 = np.where(top <= 1e-15, np.maximum(1e-6, h0 * 1e-3), (0.01 / np.maximum(top, 1e-300)) ** (1.0 / order))
    return np.minimum(np.minimum(100.0 * h0, h1), span)
