"""Steps that are kept as their start alone and taken again in the backward pass, without a graph in between.

A graph of steps costs a node an operation, some 1.4 kB each, whatever the size of the state: for one small sample that
is nearly all of it, and a scheme that keeps the nodes and drops their tensors (`torch.utils.checkpoint`) saves nothing.
Here a stretch of steps is one node, `Stretch`.  Its backward takes the stretch's blocks from the last to the first:
each is taken again with a graph, from a state that is found by taking the steps before it once more, without one.
Which states are kept meanwhile is the binomial schedule of A. Griewank and A. Walther, Algorithm 799: revolve, ACM TOMS
26 (2000) 19-45: with s states kept and every block advanced at most r times, (s + r)! / (s! r!) blocks can be reversed.

What func closes over is found in the graph of every block as the block is first taken: its leaves are inputs of the
node, and get their gradient through it.  Where func uses a tensor that is computed outside of the solve (of a
hypernetwork, for instance) the block's graph leads to a node that is older than the block; such a gradient cannot be
handed on from here, and all blocks go through `torch.utils.checkpoint`, which can, for the memory of the nodes.

Random draws and autocast are repeated as they were.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from .behind import casts_in_force, leaves_behind, newest, nodes, pairs_of, through, under, unhooked
from .rows import GeneratorState, generator_state, restore, same_state

Tensor = torch.Tensor
#: what a run of steps gives: state and slope at their end, E and S of the steps (steps, lanes), and output values
Results = tuple[Tensor, Tensor | None, Tensor | None, Tensor | None, list[Tensor]]
#: takes the steps first..last-1 from a state and its slope
Run = Callable[[int, int, Tensor, Tensor | None], Results]


@dataclass
class Task:
    """A stretch of steps, and all that is needed to take it again.

    run           takes steps of the stretch.
    start, stop   its steps are start..stop-1.
    block         the number of steps whose graph may exist at a time.
    slots         the number of states that may be kept while the stretch is reversed, besides its start.
    planned       the step that each output value belongs to, in order.
    leaves        the tensors that func closes over and that require a gradient, and `versions`, their counts of writes.
    draws         for blocks in which func drew random numbers: the generators' state before, by the block's first step.
    casts         the autocast settings of the forward pass.
    results       the results on their way into the node, and `alive`, which of them have a gradient.
    """

    run: Run
    start: int
    stop: int
    block: int
    slots: int
    planned: list[int]
    leaves: dict[int, Tensor] = field(default_factory=dict)
    versions: list[int] = field(default_factory=list)
    draws: dict[int, GeneratorState] = field(default_factory=dict)
    casts: list[dict[str, Any]] = field(default_factory=list)
    results: list[Tensor | None] = field(default_factory=list)
    alive: list[bool] = field(default_factory=list)

    def firsts(self) -> list[int]:
        """The first steps of the blocks, and the stretch's end."""
        return [*range(self.start, self.stop, self.block), self.stop]

    @contextlib.contextmanager
    def as_before(self, first: int, device: torch.device) -> Iterator[None]:
        """The block that begins with step `first` is taken again under what was in force the first time."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(under(self.casts))
            state = self.draws.get(first)
            if state is not None:
                stack.callback(restore, generator_state(device))
                restore(state)
            yield


def taken(task: Task, y: Tensor, k1: Tensor | None) -> Results:
    """The task's results from y and k1, with a gradient that costs no graph.  Raises Foreign where there can be none
    (see above); errors of func are raised as they are."""
    task.casts = casts_in_force(y.device)
    parts: list[Results] = []
    alive: list[tuple[list[bool], list[bool]]] = []
    at, slope = y.detach().requires_grad_(y.requires_grad), k1
    if k1 is not None:
        slope = k1.detach().requires_grad_(k1.requires_grad)
    for first, last in zip(task.firsts(), task.firsts()[1:], strict=False):
        before, since = generator_state(y.device), newest()
        # the graph of this run is looked at and let go: the caller's hooks for what a graph saves are not to see it
        with torch.autograd.graph.saved_tensors_hooks(torch.Tensor.detach, _as_it_is):
            out = task.run(first, last, at, slope)
        if not same_state(before, generator_state(y.device)):
            task.draws[first] = before
        leaves = leaves_behind([x for x in (*out[:4], *out[4]) if x is not None], since)
        task.leaves.update({id(x): x for x in leaves if x is not at and x is not slope})
        parts.append(_cut(out))
        alive.append(([x is not None and x.requires_grad for x in out[:4]], [x.requires_grad for x in out[4]]))
        at = out[0].detach().requires_grad_(out[0].requires_grad)
        slope = None if out[1] is None else out[1].detach().requires_grad_(out[1].requires_grad)
    task.versions = [x._version for x in task.leaves.values()]
    fixed = zip(*(a for a, _ in alive), strict=True)
    task.alive = [any(x) for x in fixed] + [x for _, values in alive for x in values]
    return _attached(task, y, k1, _joined(parts))


def _as_it_is(x: Tensor) -> Tensor:
    """What was saved, which torch gives its place in the graph again; saved as it was, it would hold its own node."""
    return x


def _joined(parts: list[Results]) -> list[Tensor | None]:
    """The results of blocks as those of all of them: y, k1, E, S and the output values."""
    rows = zip(*(part[2:4] for part in parts), strict=True)
    joined = [None if column[0] is None else torch.cat(column) for column in rows]
    return [*parts[-1][:2], *joined, *(value for part in parts for value in part[4])]


def _cut(out: Results) -> Results:
    k1, err, stiff = (None if x is None else x.detach() for x in out[1:4])
    return out[0].detach(), k1, err, stiff, [value.detach() for value in out[4]]


def _attached(task: Task, y: Tensor, k1: Tensor | None, results: list) -> Results:
    """The results with the gradient of the node that stands for the stretch."""
    if any(task.alive):
        task.results = results
        results = list(Stretch.apply(task, y, k1, *task.leaves.values()))
        task.results = []  # they lead to the node, and the node to the task
    return results[0], results[1], results[2], results[3], results[4:]


class Stretch(torch.autograd.Function):
    """The node of a stretch of steps; its results were computed before."""

    @staticmethod
    def forward(ctx, task: Task, y: Tensor, k1: Tensor | None, *leaves: Tensor):
        ctx.task = task
        ctx.save_for_backward(y, k1)
        ctx.set_materialize_grads(False)
        both = zip(task.results, task.alive, strict=True)
        ctx.mark_non_differentiable(*(x for x, alive in both if x is not None and not alive))
        return tuple(task.results)

    @staticmethod
    def backward(ctx, *g: Tensor | None):
        task, (y, k1) = ctx.task, ctx.saved_tensors
        leaves = list(task.leaves.values())
        if all(x is None for x in g):
            return (None,) * (3 + len(leaves))
        check_versions(leaves, task.versions)
        if torch.is_grad_enabled():
            return None, *_differentiable(task, y, k1, g)
        sweep = Sweep(task, leaves, g)
        first, last = 0, len(task.firsts()) - 1
        with unhooked(leaves):
            sweep.reverse(first, last, y, k1, task.slots + 1, ctx.needs_input_grad[1:3])
        return None, sweep.g_y, sweep.g_k1, *sweep.found


def check_versions(leaves: Sequence[Tensor], versions: list[int]) -> None:
    """RuntimeError where the `leaves` that func uses were written to since their counts of writes were `versions`."""
    if [x._version for x in leaves] != versions:
        raise RuntimeError(
            "a tensor that func uses was modified in place between the solve and its backward pass, which takes "
            "the steps again with it: call backward() before the optimiser's step"
        )


def check_known(outs: Sequence[Tensor | None], leaves: Sequence[Tensor]) -> None:
    """RuntimeError where results that were taken again lead to a parameter that is none of the `leaves` of the first
    time, whose gradient would be lost.

    Other leaves may be func's own: those that it makes in every call, to differentiate in them.
    """
    known = {id(x) for x in leaves}
    for node in nodes([x for x in outs if x is not None]):
        leaf = getattr(node, "variable", None)
        if isinstance(leaf, torch.nn.Parameter) and id(leaf) not in known:
            raise RuntimeError(
                f"func uses other parameters in the backward pass, one of shape {tuple(leaf.shape)}, than in the "
                "solve, whose own would get no gradient: make func a torch.nn.Module that has all modules it uses as "
                "its submodules"
            )


class Sweep:
    """The backward pass of a stretch without second derivatives.

    g_y, g_k1   gradient in state and slope where the sweep has arrived.
    found       gradient in the leaves so far, None for none.
    """

    def __init__(self, task: Task, leaves: list[Tensor], g: Sequence[Tensor | None]) -> None:
        self.task, self.leaves, self.firsts = task, leaves, task.firsts()
        self.g_y, self.g_k1, self.g_err, self.g_stiff, *self.g_values = g
        self.found: list[Tensor | None] = [None] * len(leaves)

    def reverse(
        self, first: int, last: int, y: Tensor, k1: Tensor | None, kept: int, needs: tuple[bool, ...] = (True, True)
    ) -> None:
        """Reverse the blocks first..last-1 from the state at the start of the first; `kept` counts states that may be
        held, that one included.  needs: whether a gradient in y and in k1 is wanted."""
        while last - first > 1:
            middle = last - 1 if kept == 1 else first + split(last - first, kept)
            y_middle, k1_middle = self._advance(first, middle, y, k1)
            self.reverse(middle, last, y_middle, k1_middle, max(kept - 1, 1))
            last = middle
        self._block(first, y, k1, needs)

    def _advance(self, first: int, last: int, y: Tensor, k1: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """State and slope at the start of block `last`, without a graph."""
        with torch.no_grad():
            for i in range(first, last):
                with self.task.as_before(self.firsts[i], y.device):
                    y, k1, *_ = self.task.run(self.firsts[i], self.firsts[i + 1], y, k1)
        return y.detach(), None if k1 is None else k1.detach()

    def _block(self, i: int, y: Tensor, k1: Tensor | None, needs: tuple[bool, ...]) -> None:
        """Take block i with a graph, and the gradient through it."""
        task, a, b = self.task, self.firsts[i], self.firsts[i + 1]
        y, k1 = y.detach().requires_grad_(needs[0]), None if k1 is None else k1.detach().requires_grad_(needs[1])
        with torch.enable_grad(), task.as_before(a, y.device):
            out = task.run(a, b, y, k1)
        check_known([*out[:4], *out[4]], self.leaves)
        rows = slice(a - task.start, b - task.start)
        given = [self.g_y, self.g_k1, *(None if g is None else g[rows] for g in (self.g_err, self.g_stiff))]
        given += [g for g, step in zip(self.g_values, task.planned, strict=True) if a <= step < b]
        pairs = pairs_of([*out[:4], *out[4]], given)
        grads = through(pairs, [y, k1, *self.leaves])
        self.g_y, self.g_k1 = grads[:2]
        for j, grad in enumerate(grads[2:]):
            known = self.found[j]
            if grad is not None:
                self.found[j] = grad.clone() if known is None else known.add_(grad)


def split(blocks: int, kept: int) -> int:
    """How many of `blocks` > 1 to advance to the next state to keep, where `kept` > 1 may be held, the first included.

    With r the least number for which blocks <= beta(kept, r) = (kept + r)! / (kept! r!), any number of at most
    beta(kept, r - 1) that leaves at least beta(kept - 1, r - 1) behind the new state gives the fewest advances.
    """
    repeats = 1
    while math.comb(kept + repeats, kept) < blocks:
        repeats += 1
    return max(1, min(math.comb(kept + repeats - 1, kept), blocks - math.comb(kept + repeats - 2, kept - 1)))


# -- second derivatives ------------------------------------------------------------------------------------------------


class Gate(torch.autograd.Function):
    """The identity, through which a gradient passes while the gate is open."""

    @staticmethod
    def forward(ctx, x: Tensor, gate: list[bool]):
        ctx.gate = gate
        return x.view_as(x)

    @staticmethod
    def backward(ctx, g: Tensor):
        return (g if ctx.gate[0] else None), None


def _differentiable(
    task: Task, y: Tensor, k1: Tensor | None, g: Sequence[Tensor | None]
) -> tuple[Tensor | None, ...]:
    """The gradient in y, k1 and the leaves as one that can be differentiated again.

    The whole stretch is taken with its graph, behind gates that hold back what would run on to earlier stretches: the
    leaves' gradient is that of this stretch alone.
    """
    gate = [False]
    at, slope = Gate.apply(y, gate), None if k1 is None else Gate.apply(k1, gate)
    parts: list[Results] = []
    for first, last in zip(task.firsts(), task.firsts()[1:], strict=False):
        with task.as_before(first, y.device):
            start = parts[-1][:2] if parts else (at, slope)
            parts.append(task.run(first, last, *start))
    joined, leaves = _joined(parts), list(task.leaves.values())
    starts = [x for x in (y, k1) if x is not None]
    before = [node.variable for node in nodes(starts) if hasattr(node, "variable")]
    check_known(joined, [*leaves, *starts, *before])
    pairs = pairs_of(joined, g)
    with unhooked(leaves):
        grads = through(pairs, [at, slope, *leaves], create_graph=True)
    gate[0] = True
    return tuple(grads)
