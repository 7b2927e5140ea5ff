"""What is measured on a trial step: the scaled error E and the stiffness estimate S, with and without gradient.

    E = rms( e / (atol + rtol max(|y|, |y1|)) ),   or   rms( e / max(atol, rtol max(|y'|, |y'_before|)) )

for methods whose scale is "max" (`methods/sde/gotta_go_fast.py`), and S = ||k_j - k_i|| / ||H0_j - H0_i|| / s with the
size s of the method's region of stability.  With one step for the whole batch the norms run over the batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ...core import record as rec
from ...methods.sde import SDEMethod
from ..estimates import ScaledError, safe_norm
from .attempt import Trial

Tensor = torch.Tensor


@dataclass(frozen=True)
class Scale:
    """How errors are scaled: the method, the tolerances, and whether all rows have one step (`coupled`)."""

    method: SDEMethod
    rtol: float
    atol: float
    coupled: bool

    def lanes(self, x: Tensor) -> Tensor:
        """x (rows, width) as (lanes, numbers of a lane)."""
        return x.reshape(1, -1) if self.coupled else x

    def size(self, trial: Trial, y: Tensor, before: Tensor) -> Tensor:
        """What the components of the estimate are divided by, (rows, width); arguments as for `error`."""
        if self.method.scale == "max":
            size = (torch.maximum(trial.other.abs(), before.abs()) * self.rtol).clamp(min=self.atol)
        else:
            size = torch.maximum(y.abs(), trial.y1.abs()) * self.rtol + self.atol
        return size.clamp(min=torch.finfo(y.dtype).tiny)

    def error(self, trial: Trial, y: Tensor, before: Tensor) -> Tensor:
        """E of a trial from y, (lanes,), differentiable.  before: `Trial.other` of the last accepted step (rows,
        width)."""
        assert trial.error is not None  # asked for
        e = self.lanes(trial.error)
        if self.method.scale == "max":
            return safe_norm(e / self.lanes(self.size(trial, y, before)), mean=True)
        return ScaledError.apply(e, self.lanes(y), self.lanes(trial.y1), self.rtol, self.atol)

    def stiffness(self, trial: Trial, region: bool = True) -> Tensor:
        """S of a trial, (lanes,), differentiable, 0 where the stage states coincide; region: divided by s."""
        assert trial.pair is not None and self.method.stiffness is not None  # asked for
        dk, dy = (safe_norm(self.lanes(x)) for x in trial.pair)
        positive = dy > 0
        found = torch.where(positive, dk / torch.where(positive, dy, 1.0), 0.0)
        return found / self.method.stiffness[2] if region else found


def measure(
    scale: Scale, trial: Trial, y: Tensor, before: Tensor, h: np.ndarray, slots: frozenset[int]
) -> dict[int, np.ndarray]:
    """Record slots ERR and FINITE, and those of HS, YNORM, ENORM in `slots`, each (lanes,) float64; one transfer.

    h: sizes (lanes,).  HS is h times the stiffness estimate without its division by s, as other methods report it.
    """
    assert trial.error is not None  # asked for
    error = scale.error(trial, y, before)
    # the largest number: infinite or NaN where one is, which the norm, made zero at zero by selection, does not show
    largest = scale.lanes(trial.y1).abs().amax(1) + scale.lanes(trial.error).abs().amax(1)
    found = {rec.ERR: error, rec.FINITE: largest}
    if rec.ENORM in slots or rec.YNORM in slots:
        size = scale.size(trial, y, before)
        found[rec.ENORM] = torch.linalg.vector_norm(scale.lanes(trial.error / size), ord=torch.inf, dim=1)
        found[rec.YNORM] = safe_norm(scale.lanes(y / size), mean=True)
    if rec.HS in slots and trial.pair is not None:
        found[rec.HS] = scale.stiffness(trial, region=False)
    out = dict(zip(found, torch.stack(list(found.values())).double().cpu().numpy(), strict=True))
    finite = np.isfinite(out[rec.ERR]) & np.isfinite(out[rec.FINITE])
    out[rec.FINITE], err = finite.astype(np.float64), np.where(finite, out[rec.ERR], np.nan)
    out[rec.ERR] = err
    if rec.ENORM in out:
        with np.errstate(all="ignore"):
            out[rec.ENORM] = np.where(err > 0, out[rec.ENORM] / err, 1.0)
    if rec.HS in out:
        out[rec.HS] = out[rec.HS] * h
    return out
