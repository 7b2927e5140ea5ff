"""The strength by implicit differentiation of a validation loss.

Where training has come to rest, d (training loss + lambda penalty) / d w = 0, and the weights follow the strength by
the implicit function theorem: d w / d log lambda = - lambda H^-1 d penalty / d w, with H the Hessian of the training
loss with its penalty.  The derivative of the validation loss in log lambda is therefore

    - lambda <H^-1 v, d penalty / d w>,      v = d validation loss / d w,

and the inverse is a truncated Neumann series,

    H^-1 v  ~  p = alpha sum_{j <= terms} (1 - alpha H)^j v,

with one Hessian-vector product a term.  At terms = 1, p = alpha (v + (v - alpha H v)).  The series converges where
alpha is less than 2 over the largest eigenvalue of H and there is no negative one; cut short, its remainder in an
eigenvector with eigenvalue h is the share (1 - alpha h)^(terms + 1).  Training has seldom come to rest where this is
used; the formula is then that of a strength whose effect is seen over about (terms + 1) steps of gradient descent with
rate alpha.

Source: J. Lorraine, P. Vicol, D. Duvenaud, "Optimizing Millions of Hyperparameters by Implicit Differentiation",
AISTATS 2020, arXiv:1911.02590, theorem 1 and algorithms 1 to 3.  The products differentiate the solve twice, which
adjoint="discrete" with an explicit method allows, the sizes of the steps being held as in every gradient.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import torch

from ...integrators.core import options
from ...integrators.core.errors import outside
from ...integrators.neural.strength.groups import Parameters, groups_of
from .responding import Responding, common, with_graph

Tensor = torch.Tensor


class Hypergradient(Responding):
    """See the module's text.  gradient: the last derivative of a validation loss in log lambda (None: none yet)."""

    kind = "hypergradient"
    remembered = (*Responding.remembered, "gradient")
    optional = ("gradient",)

    def __init__(self, numbers: dict[str, Any]) -> None:
        super().__init__(numbers)
        self.gradient: float | None = None

    def gradients(
        self,
        validation_loss: Tensor,
        training_loss: Tensor | None,
        penalty: Tensor | None,
        parameters: Parameters | None,
    ) -> tuple[float, ...] | None:
        """In l, or None, with a warning, where alpha is too large for the curvature along v.

        training_loss    0-d, without its penalty.
        penalty          0-d, not multiplied by any strength; both with their graphs, so before their backward().
        parameters       a Module, tensors, an optimiser, or groups of tensors.

        ValueError where one of them is missing, where the validation loss does not depend on the parameters, and where
        there are no second derivatives.
        """
        for name, found in (("training_loss", training_loss), ("penalty", penalty), ("parameters", parameters)):
            if found is None:
                raise ValueError(
                    f"a hypergradient needs {name}: respond(validation_loss, training_loss, penalty, parameters)"
                )
        loss, size = with_graph("the training loss", training_loss), with_graph("the penalty", penalty)
        weights = [x for group in groups_of(parameters) for x in group]
        alpha, lam = self.numbers["alpha"], self.level
        try:
            reached = torch.autograd.grad(validation_loss, weights, retain_graph=True, allow_unused=True)
            if all(g is None for g in reached):
                raise ValueError(
                    "the validation loss does not depend on these parameters: compute it with the model that holds them"
                )
            v, toward = filled(reached, weights), first(size, weights)
            slope = torch.autograd.grad(loss + lam * size, weights, create_graph=True, allow_unused=True)
            term, total = v, v
            for j in range(self.numbers["terms"]):
                bent = product(slope, term, weights)
                if j == 0 and math.inf > alpha * dot(v, bent) >= 2.0 * dot(v, v) > 0.0:
                    warnings.warn(
                        f"alpha={alpha:g} is too large for the curvature of the training loss, so that this validation "
                        f"loss is left out: pass an alpha below {2.0 * dot(v, v) / dot(v, bent):.2g}",
                        stacklevel=outside(),
                    )
                    return None
                term = [a - alpha * b for a, b in zip(term, bent, strict=True)]
                total = [a + b for a, b in zip(total, term, strict=True)]
        except RuntimeError as error:
            told = str(error).splitlines()[0]
            raise ValueError(
                f"there are no second derivatives of the training loss and its penalty to be had ({told}): solve with "
                'adjoint="discrete" and an explicit method, and call respond() before backward()'
            ) from error
        self.gradient = -alpha * lam * dot(total, toward)
        return (self.gradient,)


def first(loss: Tensor, weights: list[Tensor]) -> list[Tensor]:
    """d loss / d weights, zero where it does not depend on them; the graph is kept."""
    return filled(torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True), weights)


def filled(found: tuple[Tensor | None, ...], weights: list[Tensor]) -> list[Tensor]:
    """Gradients without their graph, zero where there is none."""
    return [torch.zeros_like(w) if g is None else g.detach() for w, g in zip(weights, found, strict=True)]


def product(slope: tuple[Tensor | None, ...], v: list[Tensor], weights: list[Tensor]) -> list[Tensor]:
    """H v, with H the derivative of `slope`, which has its graph; the graph is kept."""
    parts = [(s * x).sum() for s, x in zip(slope, v, strict=True) if s is not None and s.requires_grad]
    if not parts:  # the loss is linear in the weights
        return [torch.zeros_like(w) for w in weights]
    return first(torch.stack(parts).sum(), weights)


def dot(a: list[Tensor], b: list[Tensor]) -> float:
    """<a, b>, in float64."""
    return sum(float((x.double() * y.double()).sum()) for x, y in zip(a, b, strict=True))


def hypergradient(
    start: float = 0.1,
    *,
    alpha: float = 0.1,
    terms: int = 1,
    rate: float = 0.05,
    every: int = 10,
    warm_up: int = 100,
    low: float = 1e-3,
    high: float = 10.0,
) -> Hypergradient:
    """The strength that is best for a validation loss, by implicit differentiation; see the module's text.

    start, low, high  the first strength, the least, the largest: positive.
    alpha             of the Neumann series: at most 2 over the largest eigenvalue of the training loss's Hessian, such
                      as the learning rate of gradient descent that trains it.
    terms             of the series after its first, a Hessian-vector product each; 0 takes alpha for the inverse.
    rate              of Adam's steps of the logarithm of the strength.
    every             iterations from one response to the next; `due` says when.
    warm_up           iterations before the first.

    Needs `respond(validation_loss, training_loss, penalty, parameters)`, before `backward()`.  The strength is in ratio
    units inside `ratio(hypergradient())`, and raw by itself.  ValueError for what is out of range.
    """
    return Hypergradient(
        {
            **common(start, rate, every, warm_up, low, high),
            "alpha": options.positive("alpha", alpha),
            "terms": options.count("terms", terms, low=0),
        }
    )
