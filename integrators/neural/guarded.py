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

Second derivatives (create_graph=True) take the steps again.  A backward pass with retain_graph=True keeps the graph for
the next one, and without it the graph goes.

Steps that are taken again ask func again.  Where it gives other numbers than in the solve, because what it closes over
has changed since or because it draws, there is no gradient to be had, and that is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .behind import Foreign, casts_in_force, leaves_behind, newest, pairs_of, through, under, unhooked
from .direct import direct
from .field import Field
from .recompute import check_versions
from .replay import Replay
from .settings import Settings
from .totals import Pass

Tensor = torch.Tensor
#: whether the backward pass under way keeps its graph; where torch does not tell, a next one takes the steps again
_KEPT: Callable[[], bool] = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", lambda: False)
#: takes the recorded steps of a pass again from y0 (lanes, width), with gradient
Again = Callable[[Pass, Tensor], Replay]


@dataclass
class _Task:
    """What the node needs.

    again     takes the recorded steps again from y0.
    start     where the graph begins, and `outs`, the results that it leads to: empty when it is spent.
    gate      of `start`.
    values    the results without graph, and `marks`, their counts of writes.
    settled   no lane was rejected or rested: the gradient needs no look.
    leaves    the tensors that func closes over and that require a gradient, and `versions`, their counts of writes.
    casts     the autocast settings of the forward pass.
    """

    again: Callable[[Tensor], Replay]
    start: Tensor
    gate: _Gate
    outs: list[Tensor]
    values: list[Tensor]
    marks: list[int]
    settled: bool
    leaves: list[Tensor]
    versions: list[int]
    casts: list[dict[str, Any]]


@dataclass
class _Gate:
    """closed: whether the gradient of a pass through the steps is on its way, which ends at their start; `outer`, the
    number of the backward pass that asked for it."""

    closed: bool = False
    outer: int = -1


class _Start(torch.autograd.Function):
    """The identity, at which a pass through the steps ends.  Any other gradient, such as that of a number that func has
    handed out, goes on to y0."""

    @staticmethod
    def forward(ctx, y0: Tensor, gate: _Gate):
        ctx.gate = gate
        return y0.clone()

    @staticmethod
    def backward(ctx, g: Tensor):
        ends = ctx.gate.closed and torch._C._current_graph_task_id() != ctx.gate.outer
        return None if ends else g, None


def guarded(field: Field, set_: Settings, y0: Tensor, again: Again) -> tuple[Pass, Replay]:
    """Solve from y0 (lanes, width) with steps per lane and with gradient; `again`: what makes it where the graph does
    not."""
    gate, since = _Gate(), newest()
    start = _begun(y0, gate)
    done, found = direct(field, set_, start, since=since)
    done.y = None
    if found is None:
        return done, again(done, y0)
    outs = _outs(found)
    try:
        leaves = leaves_behind(outs, since, start.grad_fn)
    except Foreign:
        return done, again(done, y0)
    if not any(x.requires_grad for x in outs):
        return done, found
    task = _Task(
        lambda y: again(done, y),
        start,
        gate,
        outs,
        [x.detach() for x in outs],
        [x._version for x in outs],
        not done.nreject.any() and bool((done.naccept == done.naccept.max()).all()),
        leaves,
        [x._version for x in leaves],
        casts_in_force(y0.device),
    )
    results = iter(Guarded.apply(task, y0, *leaves))
    y, err, stiff = (None if x is None else next(results) for x in (found.y, found.err, found.stiff))
    assert y is not None
    return done, Replay(y, err, stiff)


def _begun(y0: Tensor, gate: _Gate) -> Tensor:
    """y0 behind the gate, with a graph of its own that no foreign node is in."""
    with torch.enable_grad():
        return _Start.apply(y0, gate) if y0.requires_grad else y0.detach()


def _outs(found: Replay) -> list[Tensor]:
    return [x for x in (found.y, found.err, found.stiff) if x is not None]


class Guarded(torch.autograd.Function):
    """The node of a solve; its results were computed before."""

    @staticmethod
    def forward(ctx, task: _Task, y0: Tensor, *leaves: Tensor):
        ctx.task = task
        ctx.save_for_backward(y0)
        ctx.set_materialize_grads(False)
        # others than those that the task keeps: these lead to the node, and the node to the task
        results = tuple(x.detach() for x in task.values)
        ctx.mark_non_differentiable(*(x for x, out in zip(results, task.outs, strict=True) if not out.requires_grad))
        return results

    @staticmethod
    def backward(ctx, *g: Tensor | None):
        task, (y0,) = ctx.task, ctx.saved_tensors
        if all(x is None for x in g):
            return (None,) * (2 + len(task.leaves))
        keep = _KEPT()
        with unhooked(task.leaves):
            if torch.is_grad_enabled():
                return None, *_differentiable(task, y0, g)
            grads = _pulled(task, g) if task.outs else None
            if grads is None or not (task.settled or _finite(grads)):
                task.outs, task.start, task.gate = _taken_again(task, y0)
                task.settled = True
                grads = _pulled(task, g)
        if not keep:
            # the graph lives on where func has handed something of it out
            task.outs = []
        return None, *grads


def _pulled(task: _Task, g: Sequence[Tensor | None]) -> list[Tensor | None]:
    """The gradient through the graph of the steps, in their start and the leaves; the graph stays."""
    return _through(task.outs, task.start, task.gate, task.leaves, g)


def _through(
    outs: list[Tensor], start: Tensor, gate: _Gate, leaves: list[Tensor], g: Sequence[Tensor | None], more: bool = False
) -> list[Tensor | None]:
    """The gradient of `outs` in the start and the leaves; the graph stays.  more: it can be differentiated again."""
    gate.closed, gate.outer = True, torch._C._current_graph_task_id()
    try:
        return through(pairs_of(outs, g), [start, *leaves], create_graph=more, keep=True)
    finally:
        gate.closed = False


def _finite(grads: Sequence[Tensor | None]) -> bool:
    """Whether the gradients are finite; False where that cannot be seen, of a batch of them (`is_grads_batched`)."""
    some = [x for x in grads if x is not None]
    try:
        return bool(torch.stack([x.sum().abs().to(some[0].device, torch.float64) for x in some]).isfinite().all())
    except RuntimeError:
        return False


def _taken_again(task: _Task, y0: Tensor) -> tuple[list[Tensor], Tensor, _Gate]:
    """The results of the steps, taken again without the lanes that rest, their start and its gate; RuntimeError where
    func is another one now."""
    check_versions(task.leaves, task.versions)
    gate = _Gate()
    start = _begun(y0, gate)
    with torch.enable_grad(), under(task.casts):
        since = newest()
        outs = _outs(task.again(start))
    for now, then, mark in zip(outs, task.values, task.marks, strict=True):
        if then._version == mark and not _alike(now.detach(), then):
            raise _changed("func gave other numbers than in the solve")
    try:
        behind = leaves_behind(outs, since, start.grad_fn)
    except Foreign:
        raise _changed("func uses a tensor that was made after the solve") from None
    known = {id(x) for x in task.leaves}
    if any(x.requires_grad and id(x) not in known for x in behind):
        raise _changed("func uses other parameters than in the solve")
    return outs, start, gate


def _alike(now: Tensor, then: Tensor) -> bool:
    """Whether two results are the same but for round-off that has grown on the way; what is no number alike too."""
    same = (now == then) | (now.isnan() & then.isnan())
    size = torch.nan_to_num(then, 0.0, 0.0, 0.0).abs().max() if then.numel() else 0.0
    return bool((same | ((now - then).abs() <= 30 * torch.finfo(then.dtype).eps ** 0.5 * size)).all())


def _changed(what: str) -> RuntimeError:
    return RuntimeError(
        f"this backward pass takes the steps of the solve again, and {what}: go back before what func uses is changed, "
        'or pass checkpoint="auto", which keeps a graph of the steps'
    )


def _differentiable(task: _Task, y0: Tensor, g: Sequence[Tensor | None]) -> list[Tensor | None]:
    """The gradient as one that can be differentiated again, through a graph of its own: that of the solve is one node
    of what it belongs to."""
    outs, start, gate = _taken_again(task, y0)
    return _through(outs, start, gate, task.leaves, g, more=True)
