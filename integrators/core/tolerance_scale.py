"""A controller's tolerance scale s: where a person asks for rtol and atol, the solver works at s rtol and s atol.

Controllers that save work at equal error may make another error than a law at the same tolerance.  The scale, which is
set where their errors can be measured, takes that difference away, so that a person who puts such a controller in the
place of a law goes on asking for the tolerance that they know.  Every scaled error that the controller sees is divided
by s, and the tolerance in its record is s rtol: what the solver does is what it does for a controller without a scale
at s rtol, s atol.

Laws and decisions have none, which is a scale of 1.
"""

from __future__ import annotations

from typing import Any

from . import options

#: what a scale may be: a controller whose error is further from a law's is no replacement of that law
LEAST, MOST = 1e-4, 1e4


def checked(value: Any) -> float:
    """`value` as a scale; OptionError where it is no number from `LEAST` to `MOST`."""
    return float(options.number("tolerance_scale", value, LEAST, MOST))


def of(controller: Any) -> float:
    """The controller's scale; 1 where it has none, and OptionError where it has one that is out of range."""
    scale = getattr(controller, "tolerance_scale", 1.0)
    return 1.0 if scale == 1.0 else checked(scale)


def said(scale: float) -> str:
    """What a message says behind a tolerance that was multiplied by a controller's scale."""
    return "" if scale == 1.0 else f" (the one asked for times the controller's tolerance_scale, {scale:g})"


def unscaled(controller: Any) -> Any:
    """The controller without its scale: what comparisons at equal error and searches over tolerances run.

    These choose tolerances themselves, and a scale would only shift the ones that they meant.
    """
    return controller if of(controller) == 1.0 else controller.unscaled()
