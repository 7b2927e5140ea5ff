"""Steps of a given size, equal ones between the output times: no estimate, no controller, and the graph as it comes.

Where samples turned infinite, and gradients are wanted, the same steps are taken once more for the graph, in which a
sample takes a good sample's steps in the place of its own from its first bad one on, and what comes of them is dropped:
of the bad step itself a zero gradient times an infinite derivative would be NaN.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from ...kernels.layout import BAD_START, MAX_STEPS, NON_FINITE, SUCCESS
from ..grid import Grid
from ..totals import Pass
from .attempt import Step, attempt
from .plan import Plan, Taken

Tensor = torch.Tensor


def fixed_pass(plan: Plan, again: Plan, y0: Tensor, noises: int) -> Taken:
    """Solve from y0 (samples, width) by steps of at most `plan.step_size`.

    again: the plan whose drift and diffusion are called where the steps are taken once more.
    """
    assert plan.step_size is not None  # the caller's condition
    samples, y, size = len(y0), y0, plan.step_size
    everyone = np.ones(samples, dtype=bool)
    counts = np.maximum(np.ceil(np.diff(plan.t) / size * (1.0 - 1e-10)), 1.0)
    outputs, at = [y0], torch.zeros(samples, noises, dtype=torch.float64, device=y0.device)
    paths, bad, steps = [at], False, 0
    moves: list[tuple[Step, Tensor] | None] = []  # a step with a gradient and its end, and None where an output is
    began, before = y0, 1  # the state that the first of them begins at, and the outputs before it
    for a, b, count in zip(plan.t[:-1], plan.t[1:], counts, strict=True):
        most = int(min(count, plan.max_steps - steps + 1))  # no more than are taken
        times = a + (b - a) * np.arange(most + 1) / count
        times[-1] = b if most == count else times[-1]
        for t, end in zip(times[:-1], times[1:], strict=True):
            bad = steps >= plan.max_steps
            if bad:
                break
            w, levy = plan.source.increment(np.full(samples, t), np.full(samples, end), everyone)
            plan.source.accept(everyone)
            step = plan.step(np.full(samples, t), np.full(samples, end - t), w, levy, y)
            start, y = y, attempt(plan.method, plan.f, plan.g, step, y, estimate=False).y1
            at, steps = at + w, steps + 1
            if y.requires_grad:
                if not moves:
                    began, before = start, len(outputs)
                moves.append((step, y.detach()))
        if moves:
            moves.append(None)
        outputs.append(torch.full_like(y, torch.nan) if bad else y)
        paths.append(torch.full_like(at, torch.nan) if bad else at)
    whole = torch.stack(outputs)
    finite = torch.isfinite(whole.detach()).all(2).cpu().numpy()
    held = torch.isfinite(y.detach()).all(1).cpu().numpy()  # what has turned infinite stays so
    status = np.where(finite.all(0), SUCCESS, np.where(held, MAX_STEPS, NON_FINITE))
    status = np.where(torch.isfinite(y0.detach()).all(1).cpu().numpy(), status, BAD_START)
    last = np.maximum(np.where(finite.all(0), len(plan.t), finite.argmin(0)) - 1, 0)
    if moves and not held.all():
        whole = _again(again, began, outputs[:before], whole.detach(), moves)
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


def _again(
    plan: Plan, y: Tensor, outputs: list[Tensor], found: Tensor, moves: list[tuple[Step, Tensor] | None]
) -> Tensor:
    """`found` (T, samples, width) with the gradient of what is finite in it.

    y (samples, width): where the first of `moves` begins; outputs: those before it.
    """
    everyone = torch.arange(len(y), device=y.device)
    live = torch.isfinite(y.detach()).all(1)
    for move in moves:
        if move is None:
            there = found[len(outputs)]  # NaN where the steps did not suffice
            outputs.append(torch.where((live & torch.isfinite(there).all(1))[:, None], y, there))
            continue
        step, end = move
        live = live & torch.isfinite(end).all(1)
        if live.any():
            whose = torch.where(live, everyone, int(live.int().argmax()))
            start = torch.where(live[:, None], y, y.detach()[whose])
            same = replace(step, w=step.w[whose], levy=None if step.levy is None else step.levy[whose])
            y = torch.where(live[:, None], attempt(plan.method, plan.f, plan.g, same, start, estimate=False).y1, y)
    return torch.stack(outputs)


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
