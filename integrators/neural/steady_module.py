"""`SteadyState`: a deep equilibrium layer as one torch module, with a start that is learned along.

    loss = task_loss(head(out.z)) + 0.01 * out.penalty,    out = layer(x)

Where the solve begins decides how long it takes, not where it ends.  With start="skip" a second module predicts the
steady state, z0 = skip(x); with "skip_reg" f itself does, z0 = f(0, x).  The penalty is the mean over samples and
components of |z - z0|, as in the released code of the paper: its gradient flows into both, so that the prediction
learns the steady state, and f learns one that is easy to predict.  The paper writes a norm and the factor 0.01.

A. Pal, A. Edelman, C. Rackauckas, Continuous Deep Equilibrium Models: Training Neural ODEs Faster by Integrating Them
to Infinity, arXiv:2201.12240 (Skip DEQ and Skip Regularized DEQ).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils import _pytree as tree

from ..core import options
from ..methods.tableaus import ExplicitTableau
from .graphs import outside_graphs
from .steady import SteadySolution, find
from .steady_field import check_func, lent_places, samples_of
from .steady_options import checked

Tensor = torch.Tensor
STARTS = ("zeros", "skip", "skip_reg")


@dataclass(frozen=True)
class SteadyOutput:
    """What a SteadyState gives.

    z           (B, *features), or (D,): the steady states.
    penalty     0-d, of z's dtype, the mean of |z - z0| over the samples that arrived, not multiplied by any strength;
                zero with start="zeros", in eval mode, and without gradients.
    solution    the SteadySolution, whose `stats.nfev` counts the solve alone.
    mask        (B,) bool: which samples have arrived.
    nfev        calls of func on the way, with the one that start="skip_reg" begins with.
    """

    z: Tensor
    penalty: Tensor
    solution: SteadySolution
    mask: Tensor
    nfev: int


class SteadyState(torch.nn.Module):
    """z with func(z, x) = z, as a layer: `steady_state` of the module's options.

    Parameters
        func        func(z, x) -> a tensor like z, as for `steady_state`.  The parameters of a Module become this one's.
        start       "zeros": z0 = 0.  "skip": z0 = skip(x).  "skip_reg": z0 = func(0, x), one call of func more.
        skip        with start="skip" only: a module or function, skip(x) -> z0.
        features    with the other two: the shape of a sample's z, a number or several, z0 then being (B, *features)
                    with the B samples of x.  None: z is like x, which must be a tensor.
        tol, rtol, atol, max_steps, method, controller, solver_rtol, solver_atol, first_step, compact, gradient,
        gradient_tol, gradient_max_iter, on_failure, resolve
                    as for `steady_state`.

    A call, layer(x) -> SteadyOutput, has gradients in x, in func, and through the penalty in skip.  It raises and warns
    as `steady_state` does.  The constructor raises ValueError (TypeError for a controller) for whatever that would
    refuse, and where start, skip and features do not go together.
    """

    @options.named
    def __init__(
        self,
        func: Callable[[Tensor, Any], Tensor],
        start: str = "zeros",
        skip: Callable[[Any], Tensor] | None = None,
        features: int | Sequence[int] | None = None,
        *,
        tol: float = 1e-3,
        rtol: float | None = None,
        atol: float | None = None,
        max_steps: int = 1000,
        method: str | ExplicitTableau = "tsit5",
        controller: Any = "pi34",
        solver_rtol: float = 0.1,
        solver_atol: float = 0.1,
        first_step: float = 1.0,
        compact: bool = False,
        gradient: str = "gmres",
        gradient_tol: float = 1e-5,
        gradient_max_iter: int = 200,
        on_failure: str = "raise",
        resolve: Callable[[str], object] | None = None,
    ) -> None:
        given = dict(locals())
        for name in ("self", "func", "start", "skip", "features", "tol", "__class__"):
            del given[name]
        super().__init__()
        check_func(func, 2)
        self.start = options.choice("start", start, STARTS)
        if (skip is not None) != (start == "skip"):
            missing = "needs skip=, a module that predicts z from x" if start == "skip" else "has no use for skip="
            raise ValueError(f'start="{start}" {missing}')
        if skip is not None and not callable(skip):
            raise ValueError(f"skip must be callable as skip(x), got {type(skip).__name__}")
        if features is not None and start == "skip":
            raise ValueError('features belongs to start="zeros" and "skip_reg": here skip(x) has the shape of z')
        self.features = _features(features)
        self.options = checked(tol, **given, public="SteadyState")
        self.func, self.skip = func, skip

    @outside_graphs
    def forward(self, x: Any) -> SteadyOutput:
        """The steady states for the input x, a tensor or collection of tensors with the samples first."""
        z0 = self._begin(x)
        solution = find(self.func, z0.detach(), x, self.options)
        z, mask = solution.z, solution.mask
        penalty = z.new_zeros(())
        if self.start != "zeros" and self.training and torch.is_grad_enabled() and bool(mask.any()):
            if not solution.success:
                z0 = self._begin(samples_of(x, lent_places(mask)))
            penalty = (z[mask] - z0[mask]).abs().mean() if z.dim() > 1 else (z - z0).abs().mean()
        return SteadyOutput(z, penalty, solution, mask, solution.stats.nfev + (self.start == "skip_reg"))

    def _begin(self, x: Any) -> Tensor:
        """z0 for the input x, with its gradient."""
        if self.start == "skip":
            assert self.skip is not None
            z0 = self.skip(x)
        else:
            z0 = self._zeros(x)
            if self.start == "skip_reg":
                z0 = self.func(z0, x)
        if not isinstance(z0, Tensor):
            who = "skip must return a tensor" if self.start == "skip" else "func must return a tensor like z"
            raise ValueError(f"{who}, got {type(z0).__name__}")
        return z0

    def _zeros(self, x: Any) -> Tensor:
        """z = 0 for the input x."""
        parts = [part for part in tree.tree_leaves(x) if isinstance(part, Tensor)]
        if not parts:
            raise ValueError(f"x must be a tensor or a collection of tensors, got {type(x).__name__}")
        like = next((part for part in parts if part.is_floating_point()), None)
        if like is None:
            raise ValueError("x holds no float tensor, and z is to have its dtype: pass one")
        if self.features is not None:
            return like.new_zeros((len(like), *self.features))
        if not isinstance(x, Tensor):
            raise ValueError(f"features says what shape a sample's z has, which x, a {type(x).__name__}, does not")
        return torch.zeros_like(x)

    def __deepcopy__(self, memo: dict[int, Any]) -> SteadyState:
        # controllers are immutable, and not all of them can be copied
        memo[id(self.options)] = self.options
        twin = self.__class__.__new__(self.__class__)
        memo[id(self)] = twin
        twin.__dict__ = copy.deepcopy(self.__dict__, memo)
        return twin

    def extra_repr(self) -> str:
        asked = self.options
        return (
            f"start={self.start!r}, rtol={asked.rtol:g}, atol={asked.atol:g}, method={asked.tableau.name!r}, "
            f"gradient={asked.gradient!r}"
        )


def _features(value: Any) -> tuple[int, ...] | None:
    """The shape of a sample's z as a tuple; None where it is that of x."""
    if value is None:
        return None
    several = isinstance(value, (tuple, list)) and len(value) > 0
    return tuple(options.count("features", n) for n in (value if several else (value,)))
