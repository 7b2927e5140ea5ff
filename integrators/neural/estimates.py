"""What is measured on a step: its error and stiffness estimates, with and without gradient, and the other numbers of
the record.

With err = sum_i e_i (h k_i) the method's error estimate, and (k, g)_i, (k, g)_j its pair of stages at c = 1,

    E = rms( err / (atol + rtol max(|y|, |y1|)) ),    S = ||k_j - k_i|| / ||g_j - g_i||.

Coefficients and the combination of two estimates (DOP853): `integrators/methods/explicit/tableau.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ..core import record as rec
from .hooks import NO_HOOKS, Hooks
from .step import Step, Stepper

Tensor = torch.Tensor


def measure(
    stepper: Stepper,
    step: Step,
    rtol: float,
    atol: float,
    slots: frozenset[int],
    hooks: Hooks = NO_HOOKS,
) -> dict[int, np.ndarray]:
    """Record slots ERR, FINITE and those of HS, CURV, YNORM, ENORM in `slots`, each (lanes,) float64; one transfer.

    `step` is the last attempt of `stepper`, whose buffer holds its slopes.  hooks: may bring a norm, and
    tolerances of the components.
    """
    tableau, stages, norm = stepper.tableau, stepper.tableau.stages, torch.linalg.vector_norm
    size = torch.maximum(step.y.abs(), step.y1.abs())
    top = size.amax(1)
    if tableau.fsal and stepper.err_floats[0][-1] == 0.0:
        # the last slope is in no estimate, and it must be finite too: the next step starts from it
        assert step.k_end is not None  # FSAL
        top = top + step.k_end.abs().amax(1)
    relative, absolute = hooks.each or (rtol, atol)
    scale = size.mul_(relative).add_(absolute)
    if atol < 1e-30:
        # a component that is zero throughout has no error, and no scale either
        scale.clamp_(min=torch.finfo(stepper.dtype).tiny)
    root = stepper.width**0.5

    def mean(ratio: Tensor) -> Tensor:
        return norm(ratio, dim=1) / root if hooks.norm is None else hooks.norm(ratio).to(top)

    shape = (stepper.lanes, stepper.width)
    ratios = [torch.mv(stepper.heads[stages], e).view(shape).div_(scale) for e in stepper.err_coef]
    found = {rec.FINITE: top, rec.ERR: _combined([mean(r) for r in ratios])}
    if rec.ENORM in slots:
        found[rec.ENORM] = norm(ratios[0], ord=torch.inf, dim=1)
    if rec.YNORM in slots:
        found[rec.YNORM] = mean(step.y / scale)
    if rec.HS in slots and step.g_pair is not None:
        i, j = stepper.pair
        dk, dg = norm(stepper.rows[j] - stepper.rows[i], dim=1), norm(step.y1 - step.g_pair, dim=1)
        found[rec.HS] = torch.where(dg > 0, dk / dg, 0.0)
    if rec.CURV in slots and tableau.fsal:
        first, last = stepper.rows[0], stepper.rows[stages - 1]
        den = norm(first, dim=1) + norm(last, dim=1)
        found[rec.CURV] = torch.where(den > 0, norm(last - first, dim=1) / den, 0.0)
    out = dict(zip(found, torch.stack(list(found.values())).double().cpu().numpy(), strict=True))
    err = out[rec.ERR]
    out[rec.FINITE] = (np.isfinite(err) & np.isfinite(out[rec.FINITE])).astype(np.float64)
    if rec.ENORM in slots:
        with np.errstate(all="ignore"):
            out[rec.ENORM] = np.where(err > 0, out[rec.ENORM] / err, 1.0)
    return out


def _combined(norms: list[Tensor]) -> Tensor:
    """Scaled error from the rms norms of the estimates; Hairer's combination where there are two."""
    if len(norms) == 1:
        return norms[0]
    s5, s3 = norms
    den = s5 * s5 + 0.01 * s3 * s3
    return torch.where(den == 0, 0.0, s5 * s5 / torch.where(den == 0, 1.0, den).sqrt())


def safe_norm(x: Tensor, mean: bool = False) -> Tensor:
    """Euclidean (or rms) norm of each row, (lanes,), whose gradient at zero is zero: selected before and after the
    root."""
    ss = (x * x).mean(1) if mean else (x * x).sum(1)
    positive = ss > 0
    return torch.where(positive, torch.where(positive, ss, 1.0).sqrt(), 0.0)


def scaled_error(step: Step, errors: list[Tensor], rtol: float, atol: float, hooks: Hooks = NO_HOOKS) -> Tensor:
    """E of the step, (lanes,), differentiable; scale and estimates both carry gradient.  `hooks` as for `measure`."""
    relative, absolute = hooks.each or (rtol, atol)
    if hooks.norm is None:
        return _combined([ScaledError.apply(e, step.y, step.y1, relative, absolute) for e in errors])
    return _combined([_own_norm(hooks.norm, e, step, relative, absolute) for e in errors])


def _own_norm(norm: Callable[[Tensor], Tensor], e: Tensor, step: Step, rtol: Any, atol: Any) -> Tensor:
    """A norm of e over its scale, (lanes,), differentiable; zero, without gradient, where e is zero."""
    ratio = _ratio(e, step.y, step.y1, rtol, atol)[0]
    some = (ratio != 0).any(1)
    found = norm(torch.where(some[:, None], ratio, torch.ones_like(ratio)))
    return torch.where(some, found.to(e), 0.0)


class ScaledError(torch.autograd.Function):
    """rms_i( e_i / (atol + rtol max(|y_i|, |y1_i|)) ) of each row, with a backward in a few passes over the state.
    rtol, atol: numbers, or tensors (width,).

    With r_i = e_i / sc_i and E = (sum_i r_i^2 / n)^(1/2):  dE/de_i = r_i / (n E sc_i),  dE/dsc_i = -r_i dE/de_i; where
    E = 0, zero. Where both ends are equally large the scale's derivative goes to y1.
    """

    @staticmethod
    def forward(ctx, e: Tensor, y: Tensor, y1: Tensor, rtol: Any, atol: Any) -> Tensor:
        ctx.rtol, ctx.atol = rtol, atol
        err, *kept = _ratios(e, y, y1, rtol, atol)
        ctx.save_for_backward(e, y, y1, err, *kept)
        return err

    @staticmethod
    def backward(ctx, g: Tensor):
        e, y, y1, err, ratio, scale, larger, first = ctx.saved_tensors
        if torch.is_grad_enabled():  # to be differentiated again
            err, ratio, scale, larger, first = _ratios(e, y, y1, ctx.rtol, ctx.atol)
        positive = err > 0
        weight = torch.where(positive, g / torch.where(positive, err, 1.0), 0.0) / e.shape[1]
        if not bool((weight != 0).all()):
            # zero times a ratio that is not finite would be NaN: finished lanes bring zero gradients
            ratio = torch.where((weight != 0)[:, None], ratio, 0.0)
        ge = ratio * weight[:, None] / scale
        gl = ge * ratio * larger.sign() * -ctx.rtol
        gy = torch.where(first, gl, 0.0)
        return ge, gy, gl - gy, None, None


def _ratios(
    e: Tensor, y: Tensor, y1: Tensor, rtol: Any, atol: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """E (lanes,); e over its scale, that scale, the end that sets it (lanes, width), and whether that is y."""
    ratio, *rest = _ratio(e, y, y1, rtol, atol)
    return safe_norm(ratio, mean=True), ratio, *rest  # type: ignore[return-value]  # five of them


def _ratio(e: Tensor, y: Tensor, y1: Tensor, rtol: Any, atol: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What `_ratios` gives but for E."""
    first = y.abs() > y1.abs()
    larger = torch.where(first, y, y1)
    scale = larger.abs() * rtol + atol
    if isinstance(atol, Tensor) or atol == 0:
        scale = torch.where(scale > 0, scale, 1.0)
    return e / scale, scale, larger, first


def stiffness(step: Step, pair: tuple[int, int] | None) -> Tensor:
    """S = ||k_j - k_i|| / ||g_j - g_i|| of the step, (lanes,), differentiable; 0 where the stage states coincide."""
    assert pair is not None and step.g_pair is not None  # kept for every method with a pair
    i, j = pair
    dk, dg = safe_norm(step.ks[j] - step.ks[i]), safe_norm(step.y1 - step.g_pair)
    positive = dg > 0
    return torch.where(positive, dk / torch.where(positive, dg, 1.0), 0.0)
