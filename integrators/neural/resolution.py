"""The least relative tolerance that a dtype resolves.

An error estimate is a difference of slopes that agree to nearly all their digits.  Of a state y it cannot be known to
better than a few ulp, and once `rtol |y|` is of that size the estimate is round-off: it says nothing of the step, and a
controller that is driven by it takes small steps for no gain, since the result is as inaccurate as round-off makes it.
On twenty fields in float32 the error of a solve stops falling at an rtol of some `FLOOR` ulp, and the work goes on
growing (`benchmarks/equal_tolerance.py --floor`).  Smaller tolerances are therefore worked at that one.
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
#: the least rtol, in ulp of the state's dtype (`torch.finfo(dtype).eps`)
FLOOR = 4.0


def floor(dtype: torch.dtype) -> float:
    """The least rtol that is worked at with states of this dtype."""
    return FLOOR * torch.finfo(dtype).eps


def floored(asked: SolverOptions, dtype: torch.dtype, scale: float = 1.0) -> SolverOptions:
    """The options with rtol and back_rtol raised to the floor; a UserWarning where one that was asked for was.

    scale: what the tolerances asked for were multiplied by.  With rtol = 0, where an absolute error is asked for, only
    the floor is added: it is what the dtype resolves.
    """
    least = floor(dtype)
    if asked.rtol >= least and asked.back_rtol >= least:
        return asked
    if asked.rtol < least:
        warn_of_floor(asked.rtol, dtype, scale)
    elif asked.adjoint in CONTINUOUS and asked.back_rtol > 0.0:
        warn_of_floor(asked.back_rtol, dtype, scale, "adjoint_rtol")
    return replace(asked, rtol=max(asked.rtol, least), back_rtol=max(asked.back_rtol, least))


def warn_of_floor(rtol: float, dtype: torch.dtype, scale: float = 1.0, name: str = "rtol") -> None:
    """UserWarning that `rtol`, the tolerance of this name asked for times `scale`, is raised to the floor."""
    warnings.warn(
        f"{name} = {rtol:g}{tolerance_scale.said(scale)} is below what {dtype} resolves: steps are chosen at "
        f"rtol = {floor(dtype):.2g} ({FLOOR:g} ulp), under which the error would be round-off and the result no more "
        "accurate; float64 resolves smaller ones",
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
