"""What `monitor` finds in a solve: numbers of every sample, and whether gradients through it can be used.

Gradients explode where the log of the growth exceeds -log(eps) / 2, that is

    exponent T > log(1 / sqrt(eps)),        growth^2 > 1 / eps,

eps being the rounding unit of the state's dtype: a growth of 6.7e7 in float64, and of 2.9e3 in float32.  The square of
the growth is how the gradient's variance over the starts grows, exp(2 lambda T) (Metz et al.), and where it exceeds
1 / eps a sum over samples keeps nothing of those with ordinary gradients.  What rounding does to a state on the way has
by then cost half of its digits, and the gradient, which depends on the states, as many.  The solver's tolerance is no
part of the rule: adjoint="discrete" differentiates the steps taken, whatever their error.

They vanish where the growth is below eps: added to a gradient of ordinary size, what comes from the start is lost.

L. Metz, C. D. Freeman, S. S. Schoenholz, T. Kachman, Gradients are not all you need, 2021 (arXiv:2111.05803).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from .failures import numbers as numbered


@dataclass(frozen=True)
class Spectrum:
    """What `monitor` has found.  Arrays are float64 and bool, on the CPU; B = 1 where the state is one system.

    times       (times,) or (times, B), where `radius` was taken.
    radius      (times, B): estimates of the largest |eigenvalue| of df/dy there, 1/time; NaN behind a failure.
    exponent    (B,), 1/time: the finite-time Lyapunov exponent, log_growth / span; NaN for a sample that is not ok.
    log_growth  (B,): log of the factor by which a gradient grows from the last time to the first; -inf where it is
                zero.
    span        (B,): length of the solve.
    stiffness   (B,): the largest h S of the accepted steps, or None where the method has no S.
    ok          (B,) bool: the sample was solved to its end, and its gradient is finite.
    reasons     why others are not, a sample each: index -> text.
    nfev        calls of func by the monitor, those of a plain solve (`nfev_plain`) included.
    vjps        vector-Jacobian products of func, those of a backward pass counted as the calls of its solve, rejected
                attempts included: an upper bound.
    dtype       of the state.
    """

    times: np.ndarray
    radius: np.ndarray
    exponent: np.ndarray
    log_growth: np.ndarray
    span: np.ndarray
    stiffness: np.ndarray | None
    ok: np.ndarray
    reasons: dict[int, str]
    nfev: int
    nfev_plain: int
    vjps: int
    dtype: torch.dtype

    @property
    def growth(self) -> np.ndarray:
        """(B,): exp(log_growth), inf where that exceeds float64."""
        with np.errstate(over="ignore"):
            return np.exp(self.log_growth)

    @property
    def limit(self) -> float:
        """The log_growth beyond which gradients explode, log(1 / sqrt(eps))."""
        return -0.5 * float(np.log(torch.finfo(self.dtype).eps))

    @property
    def explodes(self) -> np.ndarray:
        """(B,) bool: growth > 1 / sqrt(eps).  False for a sample that is not ok, of which nothing is known."""
        return self.ok & (self.log_growth > self.limit)

    @property
    def vanishes(self) -> np.ndarray:
        """(B,) bool: growth < eps.  False for a sample that is not ok."""
        return self.ok & (self.log_growth < -2.0 * self.limit)

    @property
    def segment(self) -> np.ndarray:
        """(B,): the longest span over which gradients do not explode, log(1 / sqrt(eps)) / exponent; inf where the
        exponent is not positive, NaN for a sample that is not ok."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.exponent > 0, self.limit / self.exponent, np.where(self.ok, np.inf, np.nan))

    @property
    def cost(self) -> float:
        """nfev + vjps in units of the calls of func in a plain solve."""
        return (self.nfev + self.vjps) / self.nfev_plain

    @property
    def message(self) -> str:
        """The verdict in a few sentences: how many samples, how much, what to do instead."""
        some = [text for text in (self._exploding(), self._vanishing(), self._failed()) if text]
        if some:
            return ". ".join(some)
        return f"gradients can be used: growth {self.growth.min():.2g} to {self.growth.max():.2g}"

    def numbers(self) -> dict[str, float]:
        """Plain numbers for a log: means of exponent and log_growth over the samples that are ok, the largest of each,
        the largest radius and stiffness (where the method has it), the shares of samples that explode, vanish and
        failed, and the counts.  NaN where no sample is ok."""
        found = {
            "exponent": _mean(self.exponent[self.ok]),
            "exponent_max": _largest(self.exponent[self.ok]),
            "log_growth": _mean(self.log_growth[self.ok]),
            "log_growth_max": _largest(self.log_growth[self.ok]),
            "radius": _largest(self.radius[np.isfinite(self.radius)]),
        }
        if self.stiffness is not None:
            found["stiffness"] = _largest(self.stiffness[np.isfinite(self.stiffness)])
        shares = {"explodes": self.explodes, "vanishes": self.vanishes, "failed": ~self.ok}
        found |= {name: float(which.mean()) for name, which in shares.items()}
        return found | {"nfev": float(self.nfev), "vjps": float(self.vjps), "cost": self.cost}

    def __str__(self) -> str:
        return f"{self.message} (cost: {self.cost:.1f} plain solves)"

    def _exploding(self) -> str:
        which = self.explodes
        if not which.any():
            return ""
        worst = int(np.argmax(np.where(which, self.exponent, -np.inf)))
        return (
            f"gradients explode for {_share(which)}: the exponent is up to {self.exponent[worst]:.3g}, a growth of "
            f"{_power(self.log_growth[worst])} over a span of {self.span[worst]:.4g}, and {self._kind} carries "
            f"{np.exp(self.limit):.2g}. What to use instead: spans of at most {self.segment[worst]:.3g}, with multiple "
            "shooting or with truncated backpropagation (which is biased); evolution strategies or likelihood-ratio "
            "gradients, which differentiate nothing; for long averages least-squares shadowing. Gradient clipping "
            "bounds the step and does not cure the direction"
        )

    def _vanishing(self) -> str:
        which = self.vanishes
        if not which.any():
            return ""
        least = int(np.argmin(np.where(which, self.log_growth, np.inf)))
        return (
            f"gradients vanish for {_share(which)}: the exponent is down to {self.exponent[least]:.3g}, a growth of "
            f"{_power(self.log_growth[least])} over a span of {self.span[least]:.4g}, so that a loss at the end says "
            "nothing of the start. What helps: a loss at earlier times too, or a shorter span"
        )

    def _failed(self) -> str:
        which = np.flatnonzero(~self.ok)
        if not len(which):
            return ""
        return (
            f"nothing is known of {_share(~self.ok)}, {numbered(which)}: {self.reasons[int(which[0])]} (the first of "
            "them)"
        )

    @property
    def _kind(self) -> str:
        return str(self.dtype).removeprefix("torch.")


def _share(which: np.ndarray) -> str:
    return f"{int(which.sum())} of {len(which)} samples"


def _power(log: float) -> str:
    """exp(log) as a power of ten, which may be beyond float64."""
    return "0" if log == -np.inf else f"10^{log / np.log(10.0):.1f}"


def _mean(x: np.ndarray) -> float:
    return float(x.mean()) if len(x) else float("nan")


def _largest(x: np.ndarray) -> float:
    return float(x.max()) if len(x) else float("nan")
