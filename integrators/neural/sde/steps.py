"""Steps of a given size, equal ones between the output times: no estimate, no controller, and the graph as it comes."""

from __future__ import annotations

import numpy as np
import torch

from ...kernels.layout import BAD_START, MAX_STEPS, NON_FINITE, SUCCESS
from ..grid import Grid
from ..totals import Pass
from .attempt import attempt
from .plan import Plan, Taken

Tensor = torch.Tensor


def fixed_pass(plan: Plan, y0: Tensor, noises: int) -> Taken:
    """Solve from y0 (samples, width) by steps of at most `plan.step_size`."""
    assert plan.step_size is not None  # the caller's condition
    samples, y, size = len(y0), y0, plan.step_size
    everyone = np.ones(samples, dtype=bool)
    counts = np.maximum(np.ceil(np.diff(plan.t) / size * (1.0 - 1e-10)), 1.0)
    outputs, at = [y0], torch.zeros(samples, noises, dtype=torch.float64, device=y0.device)
    paths, bad, steps = [at], False, 0
    for a, b, count in zip(plan.t[:-1], plan.t[1:], counts, strict=True):
        times = a + (b - a) * np.arange(count + 1) / count
        times[-1] = b
        for t, end in zip(times[:-1], times[1:], strict=True):
            bad = steps >= plan.max_steps
            if bad:
                break
            w, levy = plan.source.increment(np.full(samples, t), np.full(samples, end), everyone)
            plan.source.accept(everyone)
            step = plan.step(np.full(samples, t), np.full(samples, end - t), w, levy, y)
            y, at, steps = attempt(plan.method, plan.f, plan.g, step, y, estimate=False).y1, at + w, steps + 1
        outputs.append(torch.full_like(y, torch.nan) if bad else y)
        paths.append(torch.full_like(at, torch.nan) if bad else at)
    whole = torch.stack(outputs)
    finite = torch.isfinite(whole.detach()).all(2).cpu().numpy()
    status = np.where(finite.all(0), SUCCESS, MAX_STEPS if bad else NON_FINITE)
    status = np.where(torch.isfinite(y0.detach()).all(1).cpu().numpy(), status, BAD_START)
    last = np.maximum(np.where(finite.all(0), len(plan.t), finite.argmin(0)) - 1, 0)
    return Taken(
        _account(plan, status, last, steps, whole),
        whole,
        torch.stack(paths),
        None,
        None,
        None,
        None,
        np.full(samples, steps * plan.method.ng_plain),
    )


def _account(plan: Plan, status: np.ndarray, last: np.ndarray, steps: int, y: Tensor) -> Pass:
    """What is known of the steps; status, last (samples,): how they ended, and their last good output."""
    lanes = len(status)
    empty, zero = np.zeros((0, lanes)), np.zeros(lanes, dtype=np.int64)
    rows = torch.from_numpy(last).to(y.device)
    return Pass(
        grid=Grid(empty, empty, empty, empty, None, zero),
        status=status,
        t_last=plan.t[last],
        y_last=y.detach()[rows, torch.arange(y.shape[1], device=y.device)],
        naccept=np.full(lanes, steps),
        nreject=zero,
        nfallback=zero,
        nfev=np.full(lanes, steps * plan.method.nf_plain),
        start_ok=status != BAD_START,
        h_next=np.full(lanes, np.nan),
        h_first=np.full(lanes, np.nan),
        y=None,
    )
