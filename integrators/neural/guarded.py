"""The gradient of steps per sample from the adaptive pass itself: its graph, and a guard before what that leads to.

In an attempt of many lanes some are rejected, and some have arrived.  What becomes of those is not selected
(`torch.where`), so that their gradient is zero, and they add exactly nothing to the gradient of what func closes over,
unless one of func's derivatives is infinite or NaN where they stood: sqrt at 0, a rational function at its pole, an
exponential that overflowed on the way.  Zero times infinity is NaN, and in a sum over the batch it would reach all.

So the solve is one node, `Guarded`.  Its backward takes the gradient through the graph of the pass, and looks at it
before it is handed on.  Where all of it is finite it is right, since backward passes are linear: what began as zero and
is no NaN is zero.  Where some of it is not, the recorded steps are taken again without the lanes that rest (`replay`),
and whatever that gives is the gradient.

There is no such graph, and the solve is replayed as a whole, where

- a lane starts, or has an attempt, that is not finite: its derivatives would hardly be;
- func uses a tensor with a graph of its own, made outside of the solve: a node cannot hand that gradient on.

Second derivatives, and a second backward pass through a solve, take the steps again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .behind import Foreign, casts_in_force, leaves_behind, newest, pairs_of, through, under, unhooked
from .direct import direct
from .field import Field
from .recompute import Gate, check_versions
from .replay import Replay
from .settings import Settings
from .totals import Pass

Tensor = torch.Tensor
#: takes the recorded steps of a pass again from y0 (lanes, width), with gradient
Again = Callable[[Pass, Tensor], Replay]


@dataclass
class _Task:
    """What the node needs.

    again     takes the recorded steps again from y0.
    start     where the graph begins, and `outs`, the results that it leads to: empty when it is spent.
    settled   no lane was rejected or rested: the gradient needs no look.
    leaves    the tensors that func closes over and that require a gradient, and `versions`, their counts of writes.
    casts     the autocast settings of the forward pass.
    keep      the next graph is kept for further backward passes.
    """

    again: Callable[[Tensor], Replay]
    start: Tensor
    outs: list[Tensor]
    settled: bool
    leaves: list[Tensor]
    versions: list[int]
    casts: list[dict[str, Any]]
    keep: bool = False


def guarded(field: Field, set_: Settings, y0: Tensor, again: Again) -> tuple[Pass, Replay]:
    """Solve from y0 (lanes, width) with steps per lane and with gradient; `again`: what makes it where the graph does
    not."""
    start, since = y0.detach().requires_grad_(y0.requires_grad), newest()
    done, found = direct(field, set_, start, since=since)
    done.y = None
    if found is None:
        return done, again(done, y0)
    outs = _outs(found)
    try:
        leaves = [x for x in leaves_behind(outs, since) if x is not start]
    except Foreign:
        return done, again(done, y0)
    if not any(x.requires_grad for x in outs):
        return done, found
    task = _Task(
        lambda y: again(done, y),
        start,
        outs,
        not done.nreject.any() and bool((done.naccept == done.naccept.max()).all()),
        leaves,
        [x._version for x in leaves],
        casts_in_force(y0.device),
    )
    results = iter(Guarded.apply(task, y0, *leaves))
    y, err, stiff = (None if x is None else next(results) for x in (found.y, found.err, found.stiff))
    assert y is not None
    return done, Replay(y, err, stiff)


def _outs(found: Replay) -> list[Tensor]:
    return [x for x in (found.y, found.err, found.stiff) if x is not None]


class Guarded(torch.autograd.Function):
    """The node of a solve; its results were computed before."""

    @staticmethod
    def forward(ctx, task: _Task, y0: Tensor, *leaves: Tensor):
        ctx.task = task
        ctx.save_for_backward(y0)
        ctx.set_materialize_grads(False)
        results = tuple(x.detach() for x in task.outs)
        ctx.mark_non_differentiable(*(x for x, out in zip(results, task.outs, strict=True) if not out.requires_grad))
        return results

    @staticmethod
    def backward(ctx, *g: Tensor | None):
        task, (y0,) = ctx.task, ctx.saved_tensors
        if all(x is None for x in g):
            return (None,) * (2 + len(task.leaves))
        with unhooked(task.leaves):
            if torch.is_grad_enabled():
                return None, *_differentiable(task, y0, g)
            grads = through(pairs_of(task.outs, g), [task.start, *task.leaves], keep=task.keep) if task.outs else None
            if not task.keep:
                task.outs = []
            if grads is None or not (task.settled or _finite(grads)):
                grads = _anew(task, y0, g)
        return None, *grads


def _finite(grads: Sequence[Tensor | None]) -> bool:
    """Whether the gradients are finite; False where that cannot be seen, of a batch of them (`is_grads_batched`)."""
    some = [x for x in grads if x is not None]
    try:
        return bool(torch.stack([x.sum().abs().to(some[0].device, torch.float64) for x in some]).isfinite().all())
    except RuntimeError:
        return False


def _anew(task: _Task, y0: Tensor, g: Sequence[Tensor | None]) -> list[Tensor | None]:
    """The gradient through the steps, taken again; from the second time on their graph is kept."""
    check_versions(task.leaves, task.versions)
    task.start = y0.detach().requires_grad_(y0.requires_grad)
    with torch.enable_grad(), under(task.casts):
        outs = _outs(task.again(task.start))
    task.keep, task.settled = True, True
    task.outs = outs
    return through(pairs_of(outs, g), [task.start, *task.leaves], keep=True)


def _differentiable(task: _Task, y0: Tensor, g: Sequence[Tensor | None]) -> list[Tensor | None]:
    """The gradient as one that can be differentiated again; the gate holds back what would run on behind y0."""
    check_versions(task.leaves, task.versions)
    gate = [False]
    start = Gate.apply(y0, gate)
    with under(task.casts):
        outs = _outs(task.again(start))
    grads = through(pairs_of(outs, g), [start, *task.leaves], create_graph=True)
    gate[0] = True
    return grads
