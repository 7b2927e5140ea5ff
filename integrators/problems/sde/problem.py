"""A stochastic differential equation as a problem: dX = f(t, X; p) dt + g(t, X; p) dW, X(t0) = y0."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...core.errors import OptionError, refuse
from ...core.options import choice
from ...methods.sde import INTERPRETATIONS, NOISES
from ..problem import Problem
from ..states import array_of

Exact = Callable[..., np.ndarray]


@dataclass(frozen=True, eq=False)
class SDEProblem:
    """One stochastic differential equation with its start, dX = f dt + g dW.

    drift       `drift(t, y, p, dy)`, writes f in place, or `drift(t, y, p)`, returns it: all forms that `ss.Problem`
                takes for its rhs.  Plain Python that is compiled.
    diffusion   `diffusion(t, y, p, g)`, likewise: g (n,), the shape of y, whatever the kind of noise.
    y0          (n,) float64; a number is a state of one component.
    t_span      (t0, t1), finite, t1 >= t0.
    p           (m,) float64 parameters, or a mapping of names to numbers.
    noise       "diagonal": dX_i = f_i dt + g_i dW_i, a Brownian motion for each component; "scalar": dX_i = f_i dt +
                g_i dW, one for all; "additive": like diagonal, and g depends on t alone.
    interpretation  "ito", "stratonovich", or None: what the method solves.  A method that contradicts it is refused.
    exact       `exact(t, w, h, y0, p)`, the solution at times t (k,) as a function of the Brownian motion there, or
                None.  w (..., k, d): W_t - W_t0 of the d Brownian motions; h (..., k, d): their space-time Levy areas
                over [t0, t], so that int_t0^t W_s - W_t0 ds = (t - t0)(w/2 + h); gives (..., k, n).
    name        a label.  family: name of the family it was drawn from, or None.
    compiled    as for `ss.Problem`.

    Raises ValueError, naming the field, on wrong shapes, dtypes and values that are not finite.
    """

    drift: Callable[..., Any]
    diffusion: Callable[..., Any]
    y0: Any
    t_span: Any
    p: Any = ()
    noise: str = "diagonal"
    interpretation: str | None = None
    exact: Exact | None = None
    name: str = "user"
    family: str | None = None
    compiled: Any = True

    def __post_init__(self) -> None:
        choice("noise", self.noise, NOISES)
        if self.interpretation is not None:
            choice("interpretation", self.interpretation, INTERPRETATIONS)
        if self.exact is not None and not callable(self.exact):
            raise refuse("exact", "a function exact(t, w, h, y0, p) or None", self.exact)
        y0 = np.atleast_1d(array_of("y0", self.y0))
        if y0.ndim > 1 or np.iscomplexobj(y0):
            raise ValueError(f"y0 must be one-dimensional and real, got shape {y0.shape}")
        parts = {}
        for role in ("drift", "diffusion"):
            fn = getattr(self, role)
            if not callable(fn):
                raise ValueError(f"{role} must be a function {role}(t, y, p, out), got {type(fn).__name__}")
            try:
                parts[role] = Problem(fn, y0, self.t_span, self.p, name=self.name, compiled=self.compiled)
            except ValueError as error:
                raise told(error, role) from None
        one = parts["drift"]
        if one.t_span[1] < one.t_span[0]:
            raise ValueError(f"t_span must run forward in time, got {one.t_span}")
        for key, value in (("y0", one.y0), ("t_span", one.t_span), ("p", one.p), ("parts", parts)):
            object.__setattr__(self, key, value)

    @property
    def n(self) -> int:
        """Dimension of the state."""
        return self.y0.size

    @property
    def m(self) -> int:
        """Number of parameters."""
        return self.p.size

    @property
    def motions(self) -> int:
        """Number of independent Brownian motions."""
        return 1 if self.noise == "scalar" else self.n

    def part(self, role: str) -> Problem:
        """The ordinary problem whose right-hand side is the "drift" or the "diffusion"."""
        return vars(self)["parts"][role]


def told(error: Exception, role: str) -> ValueError:
    """An error about a right-hand side, as one about the "drift" or the "diffusion"."""
    text = str(error)
    told_text = text.replace("right-hand side", role)
    if text == told_text:
        return ValueError(text)
    return OptionError(told_text) if isinstance(error, OptionError) else ValueError(told_text)
