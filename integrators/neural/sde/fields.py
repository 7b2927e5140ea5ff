"""Drift and diffusion as the solver calls them, and what is looked at before a solve: a diffusion that is not what the
noise or the method takes it for would give a wrong solution without a word."""

from __future__ import annotations

import warnings
from typing import Any

import torch

from ...core.errors import outside
from ..field import Field, check_callable
from ..rows import check_rows
from .attempt import Start

Tensor = torch.Tensor


class Coefficient(Field):
    """`name`(t, y) over rows, of y's shape, with errors that say which of the two fields they mean."""

    def __init__(self, name: str, func: Any, shape: tuple[int, ...], coupled: bool) -> None:
        checked(name, func)
        super().__init__(func, shape, coupled)
        self.name = name

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        try:
            return super().__call__(t, y)
        except ValueError as error:
            raise ValueError(str(error).replace("func", self.name)) from error


def checked(name: str, func: Any) -> None:
    """ValueError where `func`, the field `name`, cannot be called with t and y."""
    try:
        check_callable(func)
    except ValueError as error:
        raise ValueError(str(error).replace("func", name)) from error


def look(
    f: Coefficient,
    g: Coefficient,
    t: Tensor,
    later: Tensor,
    y: Tensor,
    start: Start,
    ok: Tensor,
    noise: str,
    method: str,
) -> None:
    """ValueError where rows depend on each other (with steps per sample), where additive noise depends on the state,
    and where milstein_stratonovich meets a g_i that depends on other components.

    t (lanes,), y (rows, width): the start; start: drift and diffusion there; later (lanes,): a time within the span; ok
    (rows,): rows that are finite.
    """
    if not f.coupled and len(y) > 1:
        for field, k in ((f, start[0]), (g, start[1])):
            check_rows(field.func, lambda x, field=field: field(t, x), y, k.detach(), ok)  # type: ignore[misc]
    with torch.no_grad():
        g0 = start[1].detach()
        # at the start a diffusion may be zero, or not yet depend on the state: one that grows with time
        if noise == "additive" and (
            _differs(g(t, _moved(y)), g0, ok) or _differs(g(later, _moved(y)), g(later, y), ok)
        ):
            raise ValueError(
                'the diffusion depends on the state, which noise="additive" says it does not: use noise="diagonal"'
            )
        if noise == "diagonal" and method == "milstein_stratonovich" and mixes(g, later, y, g(later, y), ok):
            raise ValueError(
                "a component of the diffusion depends on other components of the state, which "
                "milstein_stratonovich would take for another equation: use stochastic_heun or euler_heun"
            )


def mixes(g: Coefficient, t: Tensor, y: Tensor, g0: Tensor, ok: Tensor) -> bool:
    """Whether components of the diffusion depend on other components of the state; arguments as for `look`, and g0 its
    value at t.  Two components differ in a digit of their numbers: for every binary digit those that have it are moved
    while the others are looked at, and the other way round."""
    place = torch.arange(y.shape[1], device=y.device)
    with torch.no_grad():
        for digit in range((y.shape[1] - 1).bit_length()):
            some = ((place >> digit) & 1 == 0)[None]
            for keep in (some, ~some):
                found = g(t, torch.where(keep, y, _moved(y)))
                if _differs(torch.where(keep, found, g0), g0, ok):
                    return True
    return False


def _moved(y: Tensor) -> Tensor:
    """Another state, all components of which differ from those of y."""
    return y + 0.25 * y.abs() + 0.5


def warn_of_mixing(method: str) -> None:
    """UserWarning that rejections spoil the limit of a method for noise that commutes.  The text has no numbers of the
    solve, so that Python shows it once a line of code and not once an iteration."""
    warnings.warn(
        "components of the diffusion depend on other components of the state, and more than one attempt in twenty was "
        f"rejected: steps by {method} that are chosen by the noise in them may then converge to a wrong solution, "
        "however small the tolerance. Use stochastic_heun or euler_heun on the Stratonovich equation, or fixed steps "
        "(step_size=), or a controller that is seldom rejected",
        stacklevel=outside(),
    )


def _differs(a: Tensor, b: Tensor, ok: Tensor) -> bool:
    """Whether rows that are finite differ by more than round-off."""
    off = (a - b).abs() > 64 * torch.finfo(b.dtype).eps * b.abs().amax().nan_to_num(0.0, 0.0, 0.0)
    return bool((off & ok[:, None] & torch.isfinite(a) & torch.isfinite(b)).any())
