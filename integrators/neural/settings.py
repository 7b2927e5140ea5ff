"""What an adaptive pass is asked for: method, controller, times, tolerances, and what else the caller wants of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..methods.explicit.tableau import ExplicitTableau
from .clock import Clock
from .hooks import NO_HOOKS, Hooks
from .stops import Stops


@dataclass(frozen=True)
class Settings:
    """The settings of one solve; every option has been checked.

    tableau       the method's coefficients.
    controller    an object of the controller contract.
    t             (T,) float64, strictly monotone: the start, the output times and the end; or (T, lanes), those of
                  every lane, which may run in different directions.
    rtol, atol    tolerances of the scaled error.
    first_step    size of the first attempt, positive: one number, one a lane (NaN where it is not known), or None for
                  the automatic choice.
    start         what the automatic choice is multiplied by.
    slopes        the slopes at the outputs are wanted, of a pass with gradient.
    max_steps     attempts that a lane may make.
    between       that number is of attempts between two outputs.
    compact       lanes that are done leave the batch.
    heuristics    the error and stiffness estimates E and S of the accepted steps are wanted.
    graph         which of E and S are wanted with gradient: "", "E", "S" or "ES".
    even          steps are equal ones up to the end time (`adaptive`).
    clock         decides on the dtype of the times that func receives; a solve and its replay share one object.  None:
                  a new one.
    watch_draws   warn where func draws random numbers in every call.
    check_start   None, or what is called once before the first attempt with four arguments: the slope at the start as a
                  function of y, y0, its slope, and which lanes (lanes,) are finite there.
    hooks         what else the caller hangs into the pass.
    stops         times at which steps must end; None: only at the end.
    event         ends a lane's solve where its event is (`events`); None: nothing does.
    """

    tableau: ExplicitTableau
    controller: Any
    t: np.ndarray
    rtol: float
    atol: float
    first_step: float | np.ndarray | None
    max_steps: int
    compact: bool
    heuristics: bool
    graph: str = ""
    even: bool = False
    clock: Clock | None = None
    watch_draws: bool = False
    check_start: Callable[..., None] | None = None
    hooks: Hooks = NO_HOOKS
    start: float = 1.0
    slopes: bool = False
    stops: Stops | None = None
    event: Any = None
    between: bool = False

    @property
    def sign(self) -> np.ndarray:
        """The direction of time, 1.0 forwards and -1.0 backwards: 0-d, or (lanes,) where lanes have their own times."""
        return np.where(self.t[-1] > self.t[0], 1.0, -1.0)

    def times(self, t: np.ndarray, start: np.ndarray, sign: np.ndarray, clock: Clock, device: Any) -> torch.Tensor:
        """Times t of steps that begin at `start` in the direction `sign`, each (lanes,), as func receives them."""
        found = clock.times(t, device)
        return found if self.stops is None else self.stops.inside(found, start, sign)
