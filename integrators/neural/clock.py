"""The dtype of the times that func receives.

Times and step sizes are float64 in the solver.  func gets t in y's dtype, as in torchdiffeq, so that `torch.cat` with y
and layers fit. With float32 states that rounds t to some 7 digits: at t = 1e9 to multiples of 64, and the stages of a
step of size 1 would all be at one time.  A func whose slope depends on t must not be given such times, and one that
does not depend on it must not be bothered:

    h < 64 ulp(t)        func gets t in float64 from there on
    h < 2^17 ulp(t)      f(t + ulp, y) is compared with f(t, y): where h times the difference exceeds the tolerance,
                         likewise; looked at again when h / ulp(t) has halved

A func that cannot work with such t (a layer that takes t next to y) keeps times in y's dtype, unless the whole span is
shorter than 64 ulp: then the error says what to do (`field`).  Before every step of fewer than 64 ulp, a tiny first one
or a short last one for instance, its slope is then compared as above, and a difference that is too large brings a
warning, once.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import torch

from ..core.errors import outside

Tensor = torch.Tensor
Slope = Callable[[Tensor, Tensor], Tensor]
#: ratios of ulp(t) to h from which on times are float64, and from which on the slope is asked
COARSE, DOUBTFUL = 1.0 / 64.0, 1.0 / 2.0**17


class Clock:
    """One solve's decision on the dtype of the times that func gets.

    dtype   of the state.
    t, h    (lanes,) or numbers: where the solve begins, and the largest step that it can take.  None: not known.

    Attributes
        wide    times are float64 while the state is not.
        narrow  func has failed with times in float64; `warned`: that was warned of.
        seen    the ratio ulp(t) / h from which on the slope is asked next.
        calls   evaluations that only looked at func.
    """

    def __init__(
        self, dtype: torch.dtype, t: np.ndarray | float | None = None, h: np.ndarray | float | None = None
    ) -> None:
        self.dtype = dtype
        self.eps = torch.finfo(dtype).eps if dtype != torch.float64 else 0.0
        self.seen = DOUBTFUL
        self.calls = 0
        self.narrow = self.warned = False
        self.wide = False
        if self.eps > 0.0 and t is not None and h is not None:
            self.wide = bool((self.eps * np.abs(t) > COARSE * np.abs(h)).any())

    @property
    def watches(self) -> bool:
        """Whether `look` has anything to decide."""
        return self.eps > 0.0 and not self.wide

    @property
    def time_dtype(self) -> torch.dtype:
        """The dtype of the times that func gets."""
        return torch.float64 if self.wide else self.dtype

    def times(self, t: np.ndarray, device: torch.device) -> Tensor:
        """t (lanes,) as func receives it."""
        return torch.from_numpy(t).to(device=device, dtype=self.time_dtype)

    def look(
        self,
        slope: Slope,
        t: np.ndarray,
        h: np.ndarray,
        run: np.ndarray,
        y: Tensor,
        k1: Tensor,
        tol: tuple[float, float],
    ) -> Tensor:
        """Decide before a step of signed size h (lanes,) from (t, y), of the lanes `run` (lanes,), with tolerances
        `tol`.

        Returns the first slope: k1, or a new one where times are float64 from now on.
        """
        size, unit = np.abs(h), self.eps * np.abs(t)
        if not (run & (unit > self.seen * size)).any():
            return k1
        with np.errstate(all="ignore"):
            ratio = np.where(run & (size > 0.0), unit / size, 0.0)
        worst = float(ratio.max())
        # after steps that hardly move, larger ones are to be asked about again
        self.seen = 2.0 * worst if worst <= COARSE else DOUBTFUL
        later = self._a_little_later(t, np.where(h < 0.0, -1.0, 1.0), y.device)
        asked = run & (ratio >= DOUBTFUL)
        if worst <= COARSE or self.narrow:
            if not self._moves(slope, later, size, asked, y, k1, tol):
                return k1
            if self.narrow:
                return self._doubt(t, k1)
        try:
            return self.begin(slope, t, y)
        except (ValueError, TypeError, RuntimeError):
            self.wide, self.narrow = False, True
        if worst > COARSE and not self._moves(slope, later, size, asked, y, k1, tol):
            return k1
        return self._doubt(t, k1)

    def begin(self, slope: Slope, t: np.ndarray, y: Tensor) -> Tensor:
        """The slope at t in float64, as times are from now on."""
        self.wide = True
        self.calls += 1
        return slope(self.times(t, y.device), y)

    def settle(self, slope: Slope, t: np.ndarray, y: Tensor) -> Tensor:
        """The slope at t, in float64 if times are that and func can take it.

        If func cannot, the slope is that of t in y's dtype, and so are the times from then on.
        """
        if self.wide:
            try:
                return slope(self.times(t, y.device), y)
            except (ValueError, TypeError, RuntimeError):
                self.wide, self.narrow = False, True
        return slope(self.times(t, y.device), y)

    def _doubt(self, t: np.ndarray, k1: Tensor) -> Tensor:
        if not self.warned:
            self.warned = True
            warnings.warn(
                f"{self.dtype} does not resolve func's slope in time at t = {float(t.reshape(-1)[0]):.10g}, and func "
                "fails with a float64 t: results may be less accurate than the tolerances ask for. Count t from a "
                "nearer origin, make y0 and func float64, or let func cast what it computes from t to y.dtype",
                stacklevel=outside(),
            )
        return k1

    def _a_little_later(self, t: np.ndarray, sign: np.ndarray, device: torch.device) -> Tensor:
        """The next times after t in the directions `sign`, each (lanes,), in the state's dtype."""
        here = torch.from_numpy(t).to(device=device, dtype=self.dtype)
        return torch.nextafter(here, torch.from_numpy(sign * np.inf).to(here))

    def _moves(
        self,
        slope: Slope,
        later: Tensor,
        size: np.ndarray,
        asked: np.ndarray,
        y: Tensor,
        k1: Tensor,
        tol: tuple[float, float],
    ) -> bool:
        """Whether the slope of a lane in `asked` changes so much until `later` that a step of `size` misses `tol`."""
        self.calls += 1
        moved = torch.from_numpy(size).to(y)[:, None] * (slope(later, y) - k1).detach()
        reach = torch.maximum(y.detach().abs(), (torch.from_numpy(size).to(y)[:, None] * k1.detach()).abs())
        scale = tol[1] + max(tol[0], 32 * self.eps) * reach
        off = (moved / scale.clamp(min=torch.finfo(y.dtype).tiny)).square().mean(1).sqrt().cpu().numpy()
        return bool((off[asked] > 1.0).any())
