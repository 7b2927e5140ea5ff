"""Methods for stochastic differential equations by name: coefficients and descriptions, without torch and Numba.

Adding one: a file that defines `METHOD` (`method.SDEMethod`), and its name in `NAMES`.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

from ...core import options
from ...core.errors import OptionError, refuse
from ...core.names import unknown
from .method import ESTIMATES, INTERPRETATIONS, NOISES, SELDOM, SDEMethod

__all__ = ["ESTIMATES", "INTERPRETATIONS", "NAMES", "NOISES", "SELDOM", "SDEMethod", "check", "get"]

NAMES = (
    "euler_maruyama", "euler_heun", "milstein_ito", "milstein_stratonovich", "stochastic_heun", "sriw1", "sosri",
    "sra1", "gotta_go_fast",
)  # fmt: skip


def get(name: Any, estimate: Any = "published") -> SDEMethod:
    """The method called `name`, with the error estimate of `ESTIMATES`; ValueError naming the nearest where there is
    none."""
    if not isinstance(name, str):
        raise refuse("method", f"the name of a method for SDEs ({', '.join(NAMES)})", name)
    if name not in NAMES:
        raise unknown("method for SDEs", name, NAMES)
    return _read(name, options.choice("estimate", estimate, ESTIMATES))


@functools.cache
def _read(name: str, estimate: str) -> SDEMethod:
    method: SDEMethod = importlib.import_module(f".{name}", __name__).METHOD
    return method.against_embedded() if estimate == "difference" else method


def check(method: SDEMethod, noise: Any, interpretation: Any, adaptive: bool) -> None:
    """OptionError where a method does not go with the kind of noise, with the meaning of g dW that the caller expects
    (`interpretation`, None: the method's own), or with adaptive steps."""
    for option, value, known in (("noise", noise, NOISES), ("interpretation", interpretation, INTERPRETATIONS)):
        if option == "interpretation" and value is None:
            continue
        if not isinstance(value, str):
            raise refuse(option, f"one of {', '.join(repr(k) for k in known)}", value)
        if value not in known:
            raise OptionError(str(unknown(option, value, known)))
    if noise not in method.noises:
        others = ", ".join(name for name in NAMES if noise in get(name).noises)
        raise OptionError(f"method {method.name!r} takes {' or '.join(method.noises)} noise, not {noise}: use {others}")
    if interpretation not in (None, method.interpretation) and noise != "additive":
        others = ", ".join(
            name for name in NAMES if noise in get(name).noises and get(name).interpretation == interpretation
        )
        raise OptionError(
            f"method {method.name!r} solves {method.interpretation.capitalize()} equations, and interpretation="
            f"{interpretation!r} was asked for: use {others}"
        )
    if adaptive and noise not in method.adaptive:
        raise OptionError(
            f"adaptive steps by {method.name!r} may converge to a wrong solution with {noise} noise: take fixed ones "
            "(step_size=), or another method (sosri or milstein_ito for Ito equations), or noise='additive' where the "
            "diffusion does not depend on the state"
        )
