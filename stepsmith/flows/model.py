"""A network and what it predicts: velocity, denoised data, noise and score, each from any other, in any process.

With x = a x_data + s z, D = E[x_data | x], eps = E[z | x] and w = a' s - a s', the velocity of the probability flow is
u = a' D + s' eps, and

    D = (s u - s' x) / w = (x - s eps) / a,     eps = (a' x - a u) / w = (x - a D) / s,     score = -eps / s.

Between two processes a state changes by one factor: at times of equal log-SNR, x_other = x a_other/a, and D and eps
stay what they are (T. Karras et al., NeurIPS 2022, section 2; own derivation of the rest, tested against exact Gaussian
mixtures).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from ..integrators.core import options
from .processes import Process, as_time

Tensor = torch.Tensor
PREDICTIONS = ("velocity", "denoised", "noise", "score")


class Model:
    """A network of a noising process, asked for what is needed.

    net         net(x, t) -> the prediction: x (B, *features), t (B,) in x's dtype, the answer of x's shape.  Classes or
                prompts are given by a closure.
    process     the process that it was trained on.
    predicts    "velocity" (dx/dt of the probability flow in the process's own t), "denoised", "noise" or "score".

    The four methods take x (B, *features), float32 or float64, and t, a number, or a tensor () or (B,), and return a
    tensor of x's shape and dtype.  ValueError for a t outside of the process's domain and for an answer of another
    shape.
    """

    def __init__(self, net: Callable[[Tensor, Tensor], Tensor], process: Process, predicts: str = "velocity") -> None:
        if not callable(net):
            raise options.refuse("net", "a function net(x, t)", net)
        if not isinstance(process, Process):
            raise options.refuse("process", "a process, such as FlowMatching()", process)
        self.net = net
        self.process = process
        self.predicts = options.choice("predicts", predicts, PREDICTIONS)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(process={self.process}, predicts={self.predicts!r})"

    def velocity(self, x: Tensor, t: Any) -> Tensor:
        """dx/dt of the probability flow, in the direction of the process's own time."""
        return self._as("velocity", x, t)

    def denoised(self, x: Tensor, t: Any) -> Tensor:
        """The mean of the data given x, Tweedie's estimate."""
        return self._as("denoised", x, t)

    def noise(self, x: Tensor, t: Any) -> Tensor:
        """The mean of the standard normal noise given x."""
        return self._as("noise", x, t)

    def score(self, x: Tensor, t: Any) -> Tensor:
        """The gradient of the log density of x at time t; infinite where no noise is left."""
        return self._as("score", x, t)

    def predictions(self, x: Tensor, t: Any) -> tuple[Tensor, Tensor]:
        """(denoised, noise) from one evaluation of the network."""
        raw, time = self._evaluated(x, t)
        return self._changed("denoised", raw, x, time), self._changed("noise", raw, x, time)

    def singular(self, t: float) -> bool:
        """Whether the velocity cannot be had at time t: from denoised data where there is no noise, from noise or score
        where there is no signal, and where a' or s' is infinite (VP at t = 0)."""
        if not math.isfinite(float(self.process.wronskian(t))):
            return True
        if self.predicts == "velocity":
            return False
        return float((self.process.s if self.predicts == "denoised" else self.process.a)(t)) == 0.0

    @property
    def sigmas(self) -> tuple[float, float]:
        """The least and the largest s/a that the network was trained for and that the process reaches."""
        return self.process.sigmas

    def as_process(self, other: Process) -> Model:
        """The same model in the time and the state of another process: its four methods then take `other`'s x and t."""
        return self if other == self.process else Changed(self, other)

    def with_net(self, net: Callable[[Tensor, Tensor], Tensor]) -> Model:
        """The same model of another function, such as one that counts its calls."""
        return Model(net, self.process, self.predicts)

    def _evaluated(self, x: Tensor, t: Any) -> tuple[Tensor, Tensor]:
        """The network's answer, and t as a float64 tensor () or (B,)."""
        check_state(x)
        time = as_time(t).to(x.device)
        if time.shape not in ((), x.shape[:1]):
            raise ValueError(
                f"t must be a number or of shape {tuple(x.shape[:1])}, one a sample, got {tuple(time.shape)}"
            )
        time = self.process.inside(time)
        raw = self.net(x, time.to(x.dtype).expand(x.shape[0]))
        if not isinstance(raw, Tensor) or raw.shape != x.shape:
            got = tuple(raw.shape) if isinstance(raw, Tensor) else type(raw).__name__
            raise ValueError(f"net must return a tensor of x's shape {tuple(x.shape)}, got {got}")
        return raw.to(x.dtype), time

    def _as(self, kind: str, x: Tensor, t: Any) -> Tensor:
        raw, time = self._evaluated(x, t)
        return self._changed(kind, raw, x, time)

    def _changed(self, kind: str, raw: Tensor, x: Tensor, time: Tensor) -> Tensor:
        """The prediction `kind` from the network's own."""
        if kind == self.predicts:
            return raw
        p = self.process

        def by(number: Tensor, state: Tensor) -> Tensor:
            return broadcast(number, state) * state

        a, s = p.a(time), p.s(time)
        if self.predicts == "velocity":
            da, ds, w = p.da(time), p.ds(time), p.wronskian(time)
            if kind == "denoised":
                return by(s / w, raw) - by(ds / w, x)
            noise = by(da / w, x) - by(a / w, raw)
            return noise if kind == "noise" else -by(1.0 / s, noise)
        if self.predicts == "denoised":
            if kind == "velocity":
                return by(p.ds(time) / s, x) + by(p.wronskian(time) / s, raw)
            noise = by(1.0 / s, x - by(a, raw))
            return noise if kind == "noise" else -by(1.0 / s, noise)
        noise = raw if self.predicts == "noise" else -by(s, raw)
        if kind == "velocity":
            return by(p.da(time) / a, x) - by(p.wronskian(time) / a, noise)
        if kind == "denoised":
            return by(1.0 / a, x - by(s, noise))
        return noise if kind == "noise" else -by(1.0 / s, noise)


class Changed(Model):
    """A model seen in another process; made by `Model.as_process`."""

    def __init__(self, base: Model, process: Process) -> None:
        super().__init__(base.net, process, base.predicts)
        self.base = base

    def as_process(self, other: Process) -> Model:
        return self.base.as_process(other)

    def with_net(self, net: Callable[[Tensor, Tensor], Tensor]) -> Model:
        return Changed(self.base.with_net(net), self.process)

    def singular(self, t: float) -> bool:
        """As for every model: denoised data and noise are the base's, at the base's time."""
        there = float(self._own(as_time(t))[0])
        return self.base.singular(there) or not math.isfinite(float(self.process.wronskian(t)))

    @property
    def sigmas(self) -> tuple[float, float]:
        own, base = self.process.sigmas, self.base.sigmas
        return max(own[0], base[0]), min(own[1], base[1])

    def _own(self, time: Tensor) -> tuple[Tensor, Tensor]:
        """The base's time at `time`, and the factor x / x_base.

        The factor is a ratio of lengths of (a, s), which is one of a's and of s's alike, and never 0/0.
        """
        own, base = self.process, self.base.process
        there = base.time(own.log_snr(time))
        return there, torch.hypot(own.a(time), own.s(time)) / torch.hypot(base.a(there), base.s(there))

    def _as(self, kind: str, x: Tensor, t: Any) -> Tensor:
        denoised, noise = self.predictions(x, t)
        p = self.process
        time = p.inside(t).to(x.device)
        if kind == "velocity":
            return broadcast(p.da(time), x) * denoised + broadcast(p.ds(time), x) * noise
        if kind == "denoised":
            return denoised
        return noise if kind == "noise" else -noise / broadcast(p.s(time), x)

    def predictions(self, x: Tensor, t: Any) -> tuple[Tensor, Tensor]:
        check_state(x)
        time = self.process.inside(t).to(x.device)
        there, factor = self._own(time)
        low, high = self.base.process.domain
        slack = 1e-6 * max(abs(low), abs(high))
        inside = (there.detach() >= low - slack) & (there.detach() <= high + slack)
        if not bool(inside.all()):
            wrong = float(time.detach()[~inside].flatten()[0])
            raise ValueError(
                f"t = {wrong:g} of {self.process} has sigma = {float(self.process.sigma(wrong)):g}, which is outside "
                f"of what {self.base.process} reaches: choose a process with a narrower range of sigma"
            )
        return self.base.predictions(x / broadcast(factor, x), there)


def broadcast(number: Tensor, state: Tensor) -> Tensor:
    """`number`, () or (B,), in the state's dtype and shaped to multiply a state (B, *features)."""
    number = number.to(state.dtype)
    return number if number.ndim == 0 else number.reshape(-1, *[1] * (state.ndim - 1))


def check_values(x: Any) -> None:
    """ValueError where x is no state that holds numbers: as `check_state`, and where it is empty, sparse or meta."""
    check_state(x)
    if x.numel() == 0 or x.is_meta or x.layout is not torch.strided:
        what = "empty" if x.numel() == 0 else "on the device meta" if x.is_meta else f"of layout {x.layout}"
        raise ValueError(f"x must hold numbers (B, *features), and is {what}, shape {tuple(x.shape)}")


def check_state(x: Any) -> None:
    """ValueError where x is no state (B, *features) of float32 or float64."""
    if not isinstance(x, Tensor) or x.ndim < 2 or x.dtype not in (torch.float32, torch.float64):
        got = f"{tuple(x.shape)} of {x.dtype}" if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"x must be a tensor (B, *features) of float32 or float64, got {got}")
