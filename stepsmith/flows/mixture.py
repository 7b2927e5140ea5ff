"""Gaussian mixtures as models: exact velocity, denoised data, noise, score and log density at every time.

Of data sum_k w_k N(m_k, S_k) with diagonal S_k, x_t has the density sum_k w_k N(a m_k, a^2 S_k + s^2), and with the
responsibilities r_k(x, t) of its parts

    u = sum_k r_k [a' m_k + (a a' S_k + s s') / (a^2 S_k + s^2) (x - a m_k)].
"""

from __future__ import annotations

import math
from typing import Any

import torch

from ..integrators.core import options
from .model import Model
from .processes import Process, as_time

Tensor = torch.Tensor


class Mixture(Model):
    """The exact model of a Gaussian mixture; see `mixture`."""

    def __init__(self, means: Tensor, variances: Tensor, log_weights: Tensor, process: Process) -> None:
        super().__init__(self._velocity, process, "velocity")
        self.means, self.variances, self.log_weights = means, variances, log_weights

    def _parts(self, x: Tensor, time: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(log w_k N(x), x - a m_k, the variances), with the parts on axis 1: (B, K), (B, K, D), (B or 1, K, D)."""
        if x.ndim != 2 or x.shape[1] != self.means.shape[1]:
            raise ValueError(f"x must be of shape (B, {self.means.shape[1]}) for this mixture, got {tuple(x.shape)}")
        a, s = self.process.a(time).reshape(-1, 1, 1), self.process.s(time).reshape(-1, 1, 1)
        variances = a**2 * self.variances + s**2
        away = x.to(torch.float64)[:, None, :] - a * self.means
        logs = -0.5 * (away**2 / variances + torch.log(2.0 * math.pi * variances)).sum(-1)
        return logs + self.log_weights, away, variances

    def _velocity(self, x: Tensor, t: Tensor) -> Tensor:
        time = as_time(t)
        logs, away, variances = self._parts(x, time)
        a, s, da, ds = (
            f(time).reshape(-1, 1, 1) for f in (self.process.a, self.process.s, self.process.da, self.process.ds)
        )
        slopes = da * self.means + (a * da * self.variances + s * ds) / variances * away
        return (torch.softmax(logs, 1)[:, :, None] * slopes).sum(1).to(x.dtype)

    def log_density(self, x: Tensor, t: Any) -> Tensor:
        """The log density (B,) of x (B, D) at time t, float64, in nats."""
        self.process.check(t)
        return torch.logsumexp(self._parts(x, as_time(t))[0], 1)

    def draw(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n draws of the data, (n, D) float64."""
        parts = torch.multinomial(self.log_weights.exp(), n, replacement=True, generator=generator)
        z = torch.randn(n, self.means.shape[1], dtype=torch.float64, generator=generator)
        return self.means[parts] + self.variances[parts].sqrt() * z


def mixture(means: Any, scales: Any, weights: Any = None, process: Process | None = None) -> Mixture:
    """The exact model of data from a Gaussian mixture, predicting velocity: a test's network.

    means (K, D); scales (K,) or (K, D), positive standard deviations; weights (K,), positive, of any sum, None for
    equal ones; process: None for flow matching.  OptionError for other shapes or values.
    """
    from .processes import FlowMatching

    centres = torch.as_tensor(means, dtype=torch.float64)
    if centres.ndim != 2 or not bool(torch.isfinite(centres).all()):
        raise options.refuse("means", "finite numbers of shape (K, D)", means)
    k, d = centres.shape
    widths = torch.as_tensor(scales, dtype=torch.float64)
    if widths.shape not in ((k,), (k, d)) or not bool((widths > 0).all()) or not bool(torch.isfinite(widths).all()):
        raise options.refuse("scales", f"positive finite numbers of shape ({k},) or ({k}, {d})", scales)
    parts = torch.ones(k, dtype=torch.float64) if weights is None else torch.as_tensor(weights, dtype=torch.float64)
    if parts.shape != (k,) or not bool((parts > 0).all()) or not bool(torch.isfinite(parts).all()):
        raise options.refuse("weights", f"positive finite numbers of shape ({k},)", weights)
    spread = widths[:, None].expand(k, d) if widths.ndim == 1 else widths
    return Mixture(centres, spread**2, torch.log(parts / parts.sum()), process or FlowMatching())
