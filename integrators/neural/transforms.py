"""torch.func.grad, vjp and jacrev around a solve.

A solve chooses its steps by values, which these transforms show one level below the tensors that they hand around.  So
the whole solve is one node, `_Solve`, whose forward runs below all of them on plain tensors and keeps the plain graph;
its backward, `_Pull`, goes through that graph, and `_Twice` differentiates it once more.  The inputs of the node are
y0, t, and the tensors of the modules that func uses, `functional_call`'s in the places of the module's own.

vmap hides the values, and jvp and jacfwd ask for a forward mode that no solve has: both are refused.
"""

from __future__ import annotations

import contextlib
import dataclasses
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as tree

from .behind import nodes
from .graphs import transforming
from .held import places_of, put

Tensor = torch.Tensor
#: solves from y0 and t with adjoint_params
Call = Callable[[Any, Any, Any], Any]


def through(call: Call, functions: Sequence[Any], y0: Any, t: Any, params: Any = None) -> Any:
    """call(y0, t, params) under transforms of torch.func; a dataclass of tensors.

    functions: what uses parameters of modules.  Raises RuntimeError for transforms that a solve does not go through,
    and where the functions use tensors with a gradient that are in none of y0, t, params and modules.
    """
    refuse_others()
    params = None if params is None else tuple(params)
    places = places_of(f for f in functions if f is not None)
    tensors: dict[int, Tensor] = {}
    for x in (*tree.tree_leaves(y0), t, *(params or ()), *(x for _, _, x in places)):
        if isinstance(x, Tensor):
            tensors[id(x)] = x
    grad = torch.is_grad_enabled()
    wanted = [grad and x.requires_grad for x in tensors.values()]
    problem = _Problem(call, y0, t, params, places, list(tensors), wanted, grad)
    found = _Solve.apply(problem, *tensors.values())
    result = _replaced(problem.result, dict(zip(problem.names, found, strict=False)))
    problem.result = None
    return result


def refuse_others() -> None:
    """RuntimeError under a transform that a solve does not go through."""
    for name in transforming():
        if name != "Grad":
            raise RuntimeError(
                f"torch.func's {name.lower()} cannot transform a solve, whose steps are chosen by values: pass a batch "
                "as the batch axis of y0 in the place of vmap, use grad, vjp or jacrev in the place of jvp and jacfwd, "
                'or stepsmith.neural.torchdiffeq.odeint with an explicit method on a grid, such as "rk4"'
            )


class _Problem:
    """What a node solves, and what is left of it.

    keys, wanted   the inputs' names, and which of them want a gradient.
    result         what the call gave.
    names, outs    the names of the tensors in it that have a gradient, and these, with their graph.
    leaves         the inputs that want a gradient, as that graph has them.
    """

    def __init__(
        self, call: Call, y0: Any, t: Any, params: Any, places: Any, keys: list[int], wanted: list[bool], grad: bool
    ) -> None:
        self.call, self.given, self.places = call, (y0, t, params), places
        self.keys, self.wanted, self.grad = keys, wanted, grad
        self.result: Any = None
        self.names: list[int] = []
        self.outs: list[Tensor] = []
        self.leaves: list[Tensor] = []

    def solve(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Solve with plain tensors as inputs; the outputs without their graph."""
        own = [x.detach().requires_grad_(w) for x, w in zip(tensors, self.wanted, strict=True)]
        self.leaves = [x for x in own if x.requires_grad]
        plain = dict(zip(self.keys, own, strict=True))
        y0, t, params = tree.tree_map(lambda x: plain.get(id(x), x), self.given)
        places = [(owner, name, plain.get(id(x), x)) for owner, name, x in self.places]
        since, watch = _newest(), _Watch()
        with torch.set_grad_enabled(self.grad), put(places), _hooks_allowed(), watch:
            self.result = self.call(y0, t, params)
        found = {id(x): x for x in _tensors(self.result) if x.requires_grad}
        self.names, self.outs = list(found), list(found.values())
        self._check_graph(since, watch)
        return tuple(x.detach() for x in self.outs) or (torch.zeros(()),)

    def _check_graph(self, since: int, watch: _Watch) -> None:
        known = {id(x) for x in self.leaves}
        for node in nodes(self.outs):
            leaf = getattr(node, "variable", None)
            if leaf is not None:
                outside = id(leaf) not in known and not watch.has_made(leaf)
            else:
                outside = node._sequence_nr() <= since
            if outside:
                raise _foreign()

    def pulled(self, given: Sequence[Tensor], create_graph: bool = False) -> tuple[Tensor, ...]:
        """The gradient in the leaves, `given` those in the outputs."""
        if not self.outs:
            return tuple(torch.zeros_like(x) for x in self.leaves)
        with _hooks_allowed():
            return _gradient(self.outs, self.leaves, given, create_graph)


@contextlib.contextmanager
def _hooks_allowed() -> Iterator[None]:
    """A block in which graphs may have hooks for what they save, as checkpoints need.  torch forbids them within its
    transforms, and what runs here runs below these."""
    state = torch._C._autograd
    before = state._saved_tensors_hooks_get_disabled_error_message()
    state._saved_tensors_hooks_enable()
    try:
        yield
    finally:
        if before is not None:
            state._saved_tensors_hooks_disable(before)


def _gradient(outs: Any, inputs: Any, given: Any, create_graph: bool = False) -> tuple[Tensor, ...]:
    """The gradient in `inputs` through a graph that stays; zero where there is none."""
    return torch.autograd.grad(
        outs, inputs, given, retain_graph=True, create_graph=create_graph, allow_unused=True, materialize_grads=True
    )


class _Watch(TorchFunctionMode):
    """Refuses tensors of a transform, which a plain solve must not meet: their gradient would be lost.  Remembers the
    leaves that are made meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.made: dict[int, Any] = {}

    def has_made(self, leaf: Tensor) -> bool:
        """Whether this leaf was made under the watch."""
        made = self.made.get(id(leaf))
        return made is not None and made() is leaf

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        if any(isinstance(x, Tensor) and _wrapped(x) for x in tree.tree_leaves((args, given))):
            if transforming():
                raise RuntimeError(
                    "func or a regulariser uses torch.func itself, which a solve within a transform of torch.func "
                    "cannot do: use torch.autograd.grad in the place of either of them"
                )
            raise _foreign()
        found = func(*args, **given)
        if func is torch.Tensor.requires_grad_:
            self.made[id(found)] = weakref.ref(found)
        return found


def _foreign() -> RuntimeError:
    return RuntimeError(
        "within a transform of torch.func a solve has its gradient in y0, t and the parameters of modules, and func "
        "uses another tensor that requires one: make func a torch.nn.Module and pass its parameters by "
        "torch.func.functional_call, or detach what needs no gradient"
    )


def _wrapped(x: Tensor) -> bool:
    """Whether a transform has wrapped this tensor."""
    return bool(torch._C._functorch.is_functorch_wrapped_tensor(x))


def _newest() -> int:
    """The number of a node made now; nodes made later in this thread have larger ones."""
    with torch.enable_grad():
        return torch.zeros((), requires_grad=True).clone().grad_fn._sequence_nr()  # type: ignore[union-attr]


def _parts(x: Any) -> dict[Any, Any] | None:
    """The parts of a dataclass or collection by name; None for anything else."""
    if dataclasses.is_dataclass(x) and not isinstance(x, type):
        return {f.name: getattr(x, f.name) for f in dataclasses.fields(x)}
    if isinstance(x, dict):
        return dict(x)
    return dict(enumerate(x)) if isinstance(x, (tuple, list)) else None


def _tensors(x: Any) -> Iterator[Tensor]:
    """The tensors in a dataclass or collection."""
    if isinstance(x, Tensor):
        yield x
    for part in (_parts(x) or {}).values():
        yield from _tensors(part)


def _replaced(x: Any, others: dict[int, Tensor]) -> Any:
    """A dataclass or collection with other tensors in the places of those with these names; what has none of them is
    the same object."""
    if isinstance(x, Tensor):
        return others.get(id(x), x)
    parts = _parts(x) or {}
    new = {name: _replaced(part, others) for name, part in parts.items()}
    changed = {name: part for name, part in new.items() if part is not parts[name]}
    if not changed:
        return x
    if dataclasses.is_dataclass(x):
        return dataclasses.replace(x, **changed)  # type: ignore[type-var]  # an object, as `_parts` says
    if isinstance(x, dict):
        return type(x)(new)
    return type(x)(*new.values()) if hasattr(x, "_fields") else type(x)(new.values())


class _Solve(torch.autograd.Function):
    """A solve, as a function of its inputs."""

    @staticmethod
    def forward(problem: _Problem, *tensors: Tensor) -> tuple[Tensor, ...]:
        return problem.solve(tensors)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.problem = inputs[0]
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, *g: Tensor) -> Any:
        problem, inputs = ctx.problem, ctx.saved_tensors
        wanted = [x for x, w in zip(inputs, problem.wanted, strict=True) if w]
        found = iter(_Pull.apply(problem, len(g), *g, *wanted))
        return None, *(next(found) if w else None for w in problem.wanted)


class _Each(torch.autograd.Function):
    """A function of tensors whose vmap is one call after the other: each is a backward pass of its own."""

    @classmethod
    def vmap(cls, info: Any, dims: Any, *args: Any) -> Any:
        rows = [
            cls.apply(*(x if d is None else x.select(d, i) for x, d in zip(args, dims, strict=True)))
            for i in range(info.batch_size)
        ]
        return tuple(torch.stack(column) for column in zip(*rows, strict=True)), (0,) * len(rows[0])


class _Pull(_Each):
    """The gradient in the leaves, as a function of that in the outputs (the first n tensors) and of the leaves."""

    @staticmethod
    def forward(problem: _Problem, n: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        return problem.pulled(tensors[:n])

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.problem, ctx.n = inputs[:2]
        ctx.save_for_backward(*inputs[2:])

    @staticmethod
    def backward(ctx: Any, *g: Tensor) -> Any:
        return None, None, *_Twice.apply(ctx.problem, ctx.n, len(g), *ctx.saved_tensors, *g)


class _Twice(_Each):
    """The gradient of `_Pull`, `g` (the last m tensors) that in its results."""

    @staticmethod
    def forward(problem: _Problem, n: int, m: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        with torch.enable_grad(), _hooks_allowed():
            given = [x.detach().requires_grad_() for x in tensors[:n]]
            first = problem.pulled(given, create_graph=True)
            inputs = [*given, *problem.leaves]
            both = [(x, g) for x, g in zip(first, tensors[-m:], strict=True) if x.requires_grad]
            if not both:
                return tuple(torch.zeros_like(x) for x in inputs)
            outs, g = zip(*both, strict=True)
            return _gradient(outs, inputs, g)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *g: Tensor) -> Any:
        raise RuntimeError("within transforms of torch.func a solve has first and second derivatives, no third ones")
