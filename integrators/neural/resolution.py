"""The least relative tolerance that a dtype resolves.

An error estimate is a difference of slopes that agree to nearly all their digits.  Of a state y it cannot be known to
better than a few ulp, and once `rtol |y|` is of that size the estimate is round-off: it says nothing of the step, and a
controller that is driven by it takes small steps for no gain, since the result is as inaccurate as round-off makes it.
On twenty fields in float32 the error of a solve by dopri5 hardly falls below an rtol of `FLOOR` ulp, and the work goes
on growing (`benchmarks/equal_tolerance.py --floor`).  Smaller tolerances are therefore worked at that one.
Methods of order below `HIGH` get there by many small steps, whose estimates are smaller differences and whose errors
add up: their floor is half an ulp, the round-off of a number.
"""

from __future__ import annotations

import warnings
from dataclasses import replace

import torch

from ..core import tolerance_scale
from ..core.errors import outside
from . import autocast
from .adjoint import CONTINUOUS
from .checks import SolverOptions

Tensor = torch.Tensor
#: the least rtol, in ulp of the state's dtype (`torch.finfo(dtype).eps`), of methods of an order from `HIGH` on
FLOOR, HIGH = 2.0, 5


def floor(dtype: torch.dtype, order: int) -> float:
    """The least rtol that is worked at with states of this dtype by a method of this order."""
    return (FLOOR if order >= HIGH else min(FLOOR, 0.5)) * torch.finfo(dtype).eps


def each_floored(
    each: tuple[Tensor, Tensor] | None, dtype: torch.dtype, order: int, scale: float = 1.0
) -> tuple[Tensor, Tensor] | None:
    """Tolerances rtol, atol of components with rtol raised to the floor; a UserWarning where one that was asked for
    was.  Where all are, `floored` has said so."""
    if each is None:
        return None
    least = floor(dtype, order)
    low = each[0][(each[0] > 0.0) & (each[0] < least)]
    if len(low) and float(each[0].max()) >= least:
        warn_of_floor(float(low.min()), dtype, order, scale)
    return each[0].clamp(min=least), each[1]


def floored(asked: SolverOptions, dtype: torch.dtype, order: int, scale: float = 1.0) -> SolverOptions:
    """The options with rtol and back_rtol raised to the floor; a UserWarning where one that was asked for was.

    order: of the method.  scale: what the tolerances asked for were multiplied by.  With rtol = 0, where an absolute
    error is asked for, only the floor is added: it is what the dtype resolves.
    """
    least = floor(dtype, order)
    if asked.rtol >= least and asked.back_rtol >= least:
        return asked
    if asked.rtol < least:
        warn_of_floor(asked.rtol, dtype, order, scale)
    elif asked.adjoint in CONTINUOUS and asked.back_rtol > 0.0:
        warn_of_floor(asked.back_rtol, dtype, order, scale, "adjoint_rtol")
    return replace(asked, rtol=max(asked.rtol, least), back_rtol=max(asked.back_rtol, least))


def warn_of_floor(rtol: float, dtype: torch.dtype, order: int, scale: float = 1.0, name: str = "rtol") -> None:
    """UserWarning that `rtol`, the tolerance of this name asked for times `scale`, is raised to the floor."""
    least = floor(dtype, order)
    warnings.warn(
        f"{name} = {rtol:g}{tolerance_scale.said(scale)} is below what {dtype} resolves: steps are chosen at "
        f"rtol = {least:.2g} ({least / torch.finfo(dtype).eps:g} ulp), below which the error is round-off and the "
        "result no more accurate; float64 resolves smaller ones",
        stacklevel=outside(),
    )


def warn_of_half(rtol: float, device: torch.device, scale: float = 1.0) -> None:
    """UserWarning where func's slopes, in half precision under autocast, are off by more than rtol allows."""
    half = autocast.half_of(device)
    if half is not None and 8 * rtol < torch.finfo(half).eps:
        warnings.warn(
            f"func runs in {half} under autocast, whose round-off sets the step size at rtol = {rtol:g}"
            f"{tolerance_scale.said(scale)}: use an rtol of {torch.finfo(half).eps / 8:.1g} or more, or solve outside "
            "of autocast",
            stacklevel=outside(),
        )
