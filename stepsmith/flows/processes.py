"""Noising processes x_t = a(t) x_data + s(t) z, with z standard normal: the four that are in common use.

    FlowMatching   a = t, s = 1 - t                             t from 0 (noise) to 1 (data)
    VP             a = exp(-B/2), s = sqrt(1 - exp(-B))         t from 1 (noise) to t_min (data)
    VE             a = 1, s = sigma_min (sigma_max/sigma_min)^t t from 1 (noise) to 0 (data)
    EDM            a = 1, s = t                                 t from sigma_max (noise) to sigma_min (data)

with B(t) = beta_min t + (beta_max - beta_min) t^2 / 2.  Here `log_snr` is log(a/s), half the logarithm of the ratio of
powers (DPM-Solver's lambda), and sigma is s/a, the noise a unit of signal.

Sources: Y. Lipman et al., Flow Matching for Generative Modeling, ICLR 2023 (x_1 is data); Y. Song et al., Score-Based
Generative Modeling through Stochastic Differential Equations, ICLR 2021, section 3.4 and appendix C (VP, VE); T. Karras
et al., Elucidating the Design Space of Diffusion-Based Generative Models, NeurIPS 2022, table 1 (EDM).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch

from ..integrators.core import options

Tensor = torch.Tensor


def as_time(t: Any, name: str = "t") -> Tensor:
    """`t`, a number or a tensor, in float64; a tensor keeps its graph.  OptionError, with `name`, for what is no
    number."""
    if isinstance(t, Tensor):
        return t.to(torch.float64)
    try:
        return torch.tensor(t, dtype=torch.float64)
    except (TypeError, ValueError):
        raise options.refuse(name, "a number, or a tensor of numbers", t) from None


@dataclass(frozen=True)
class Process:
    """What the four processes share.  Every function takes a time, a number or a tensor of any shape, and returns a
    float64 tensor of its shape, through which gradients pass."""

    name: ClassVar[str] = ""

    @property
    def t_noise(self) -> float:
        """The time at which a sampler begins, at (nearly) pure noise."""
        raise NotImplementedError

    @property
    def t_data(self) -> float:
        """The last time for which a network is trained, at the data's end."""
        raise NotImplementedError

    @property
    def domain(self) -> tuple[float, float]:
        """The least and the largest time at which the formulas hold."""
        return 0.0, 1.0

    def a(self, t: Any) -> Tensor:
        """The scale of the signal."""
        raise NotImplementedError

    def s(self, t: Any) -> Tensor:
        """The standard deviation of the noise."""
        raise NotImplementedError

    def da(self, t: Any) -> Tensor:
        """The derivative of `a`."""
        raise NotImplementedError

    def ds(self, t: Any) -> Tensor:
        """The derivative of `s`."""
        raise NotImplementedError

    def log_snr(self, t: Any) -> Tensor:
        """log(a/s): from -inf, pure noise, to inf, pure signal."""
        raise NotImplementedError

    def time(self, log_snr: Any) -> Tensor:
        """The time at which `log_snr` has this value."""
        raise NotImplementedError

    def dlog_snr(self, t: Any) -> Tensor:
        """The derivative of `log_snr`: (a' s - a s') / (a s)."""
        return self.wronskian(t) / (self.a(t) * self.s(t))

    def wronskian(self, t: Any) -> Tensor:
        """a' s - a s', which is positive where time runs towards the data, and negative where it runs towards noise."""
        return self.da(t) * self.s(t) - self.a(t) * self.ds(t)

    def sigma(self, t: Any) -> Tensor:
        """s/a, the noise a unit of signal."""
        return torch.exp(-self.log_snr(t))

    def time_of_sigma(self, sigma: Any) -> Tensor:
        """The time at which the noise a unit of signal is `sigma`."""
        return self.time(-torch.log(as_time(sigma)))

    @property
    def towards_data(self) -> float:
        """The sign of dt on the way from noise to data."""
        return math.copysign(1.0, self.t_data - self.t_noise)

    @property
    def sigmas(self) -> tuple[float, float]:
        """sigma at the data's end and at the noise's end, (least, largest); (0, inf) for flow matching."""
        return float(self.sigma(self.t_data)), float(self.sigma(self.t_noise))

    @property
    def ends_clean(self) -> bool:
        """Whether no noise is left at `t_data`."""
        return float(self.s(self.t_data)) == 0.0

    def check(self, t: Any, name: str = "t") -> None:
        """ValueError where a time is not finite or lies outside of `domain`."""
        times = as_time(t).detach()
        low, high = self.domain
        slack = 1e-6 * max(abs(low), abs(high))  # float32 times of a solver end this near
        inside = (times >= low - slack) & (times <= high + slack)
        if not bool(inside.all()):
            wrong = float(times[~inside].flatten()[0])
            raise ValueError(f"{name} must be from {low:g} to {high:g}, the times of {self}, got {wrong:g}")

    def inside(self, t: Any, name: str = "t") -> Tensor:
        """`t` as float64 within `domain`, its round-off beyond an end taken off; ValueError as of `check`."""
        self.check(t, name)
        return as_time(t).clamp(*self.domain)

    def as_dict(self) -> dict[str, Any]:
        """The name and the parameters as plain data, for a file; `from_dict` reads it."""
        return {"name": self.name, **asdict(self)}


@dataclass(frozen=True)
class FlowMatching(Process):
    """Straight paths from noise at t = 0 to data at t = 1, the rectified flow: x_t = t x_data + (1 - t) z."""

    name: ClassVar[str] = "flow_matching"

    @property
    def t_noise(self) -> float:
        return 0.0

    @property
    def t_data(self) -> float:
        return 1.0

    def a(self, t: Any) -> Tensor:
        return as_time(t)

    def s(self, t: Any) -> Tensor:
        return 1.0 - as_time(t)

    def da(self, t: Any) -> Tensor:
        return torch.ones_like(as_time(t))

    def ds(self, t: Any) -> Tensor:
        return -torch.ones_like(as_time(t))

    def wronskian(self, t: Any) -> Tensor:
        return torch.ones_like(as_time(t))

    def log_snr(self, t: Any) -> Tensor:
        time = as_time(t)
        return torch.log(time) - torch.log1p(-time)

    def time(self, log_snr: Any) -> Tensor:
        return torch.sigmoid(as_time(log_snr))


@dataclass(frozen=True)
class VP(Process):
    """The variance-preserving process with a linear beta(t): a^2 + s^2 = 1.

    beta_min, beta_max: beta at t = 0 and t = 1.  t_min: the last time of training and sampling, where some noise is
    left; at t = 0 there is none, and the derivative of s is infinite.
    """

    name: ClassVar[str] = "vp"
    beta_min: float = 0.1
    beta_max: float = 20.0
    t_min: float = 1e-3

    def __post_init__(self) -> None:
        options.positive("beta_min", self.beta_min)
        options.number("beta_max", self.beta_max, above=self.beta_min)
        options.number("t_min", self.t_min, above=0.0, below=1.0)

    @property
    def t_noise(self) -> float:
        return 1.0

    @property
    def t_data(self) -> float:
        return self.t_min

    def _integral(self, t: Any) -> Tensor:
        time = as_time(t)
        return time * (self.beta_min + 0.5 * (self.beta_max - self.beta_min) * time)

    def _beta(self, t: Any) -> Tensor:
        return self.beta_min + (self.beta_max - self.beta_min) * as_time(t)

    def a(self, t: Any) -> Tensor:
        return torch.exp(-0.5 * self._integral(t))

    def s(self, t: Any) -> Tensor:
        return torch.sqrt(-torch.expm1(-self._integral(t)))

    def da(self, t: Any) -> Tensor:
        return -0.5 * self._beta(t) * self.a(t)

    def ds(self, t: Any) -> Tensor:
        return 0.5 * self._beta(t) * torch.exp(-self._integral(t)) / self.s(t)

    def wronskian(self, t: Any) -> Tensor:
        return -0.5 * self._beta(t) * self.a(t) / self.s(t)

    def log_snr(self, t: Any) -> Tensor:
        return -0.5 * torch.log(torch.expm1(self._integral(t)))

    def time(self, log_snr: Any) -> Tensor:
        integral = torch.nn.functional.softplus(-2.0 * as_time(log_snr), threshold=700.0)
        root = torch.sqrt(self.beta_min**2 + 2.0 * (self.beta_max - self.beta_min) * integral)
        return 2.0 * integral / (self.beta_min + root)


@dataclass(frozen=True)
class VE(Process):
    """The variance-exploding process with a geometric sigma(t).

    sigma_min, sigma_max: the noise at t = 0 and t = 1, in units of the data.
    """

    name: ClassVar[str] = "ve"
    sigma_min: float = 0.01
    sigma_max: float = 50.0

    def __post_init__(self) -> None:
        options.positive("sigma_min", self.sigma_min)
        options.number("sigma_max", self.sigma_max, above=self.sigma_min)

    @property
    def t_noise(self) -> float:
        return 1.0

    @property
    def t_data(self) -> float:
        return 0.0

    @property
    def _rate(self) -> float:
        return math.log(self.sigma_max / self.sigma_min)

    def a(self, t: Any) -> Tensor:
        return torch.ones_like(as_time(t))

    def s(self, t: Any) -> Tensor:
        return self.sigma_min * torch.exp(self._rate * as_time(t))

    def da(self, t: Any) -> Tensor:
        return torch.zeros_like(as_time(t))

    def ds(self, t: Any) -> Tensor:
        return self._rate * self.s(t)

    def log_snr(self, t: Any) -> Tensor:
        return -math.log(self.sigma_min) - self._rate * as_time(t)

    def time(self, log_snr: Any) -> Tensor:
        return (-math.log(self.sigma_min) - as_time(log_snr)) / self._rate


@dataclass(frozen=True)
class EDM(Process):
    """Karras's process: no scaling, and the time is the noise itself.

    sigma_min, sigma_max: the range of training and sampling, in units of the data; t = 0 is the clean end.
    """

    name: ClassVar[str] = "edm"
    sigma_min: float = 0.002
    sigma_max: float = 80.0

    def __post_init__(self) -> None:
        options.positive("sigma_min", self.sigma_min)
        options.number("sigma_max", self.sigma_max, above=self.sigma_min)

    @property
    def t_noise(self) -> float:
        return self.sigma_max

    @property
    def t_data(self) -> float:
        return self.sigma_min

    @property
    def domain(self) -> tuple[float, float]:
        return 0.0, self.sigma_max

    def a(self, t: Any) -> Tensor:
        return torch.ones_like(as_time(t))

    def s(self, t: Any) -> Tensor:
        return as_time(t)

    def da(self, t: Any) -> Tensor:
        return torch.zeros_like(as_time(t))

    def ds(self, t: Any) -> Tensor:
        return torch.ones_like(as_time(t))

    def log_snr(self, t: Any) -> Tensor:
        return -torch.log(as_time(t))

    def time(self, log_snr: Any) -> Tensor:
        return torch.exp(-as_time(log_snr))


PROCESSES: dict[str, type[Process]] = {kind.name: kind for kind in (FlowMatching, VP, VE, EDM)}


def from_dict(data: dict[str, Any]) -> Process:
    """The process that `Process.as_dict` has written; OptionError for a name or a parameter that there is not."""
    kind = PROCESSES[options.choice("process", data.get("name"), PROCESSES)]
    given = {key: value for key, value in data.items() if key != "name"}
    options.check_names(f"process {kind.name!r}", given, kind.__dataclass_fields__)
    return kind(**given)
