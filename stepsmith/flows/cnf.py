"""Continuous normalising flows: the log density of data under a flow, solved along with it.

With dx/dt = v(x, t) the log density along a path falls by the divergence of v (R. Chen et al., Neural Ordinary
Differential Equations, NeurIPS 2018, theorem 1), so that from data at t1 to the base's law at t0

    log p(x) = log p_base(x(t0)) + integral from t1 to t0 of div v(x(t), t) dt.

The divergence is exact, one vector-Jacobian product a dimension, or Hutchinson's estimate e' J e with one e for the
whole solve of a sample (W. Grathwohl et al., FFJORD, ICLR 2019), which is unbiased and costs one product a probe.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from .. import neural
from ..integrators.core import options
from .model import Model, check_values

Tensor = torch.Tensor
TRACES = ("exact", "hutchinson")


@dataclass(frozen=True)
class LogDensity:
    """What a CNF gives.

    log_prob    (B,) in x's dtype, nats; NaN for samples whose solve failed, where that raises nothing.
    z           (B, *features), the states at the base's time.
    penalty     0-d, the regulariser's, not multiplied by any strength; zero in eval mode.
    nfe         evaluations of the velocity with its divergence that a sample needed, the mean.
    nfe_per_sample
                (B,) int64.
    success, message
                whether every solve reached the base's time, and one line about it.
    """

    log_prob: Tensor
    z: Tensor
    penalty: Tensor
    nfe: float
    nfe_per_sample: Tensor
    success: bool
    message: str
    _output: neural.NeuralOutput = field(repr=False)

    def total(self, loss: Tensor) -> Tensor:
        """loss + lambda * penalty by the flow's strength; see `neural.NeuralOutput.total`."""
        return self._output.total(loss)


class _Augmented(torch.nn.Module):
    """The slope of (x, log p) packed as (B, D + 1)."""

    def __init__(self, velocity: Callable[[Tensor, Tensor], Tensor], trace: str) -> None:
        super().__init__()
        self.velocity, self.trace = velocity, trace
        self.shape: tuple[int, ...] = ()
        self.probes: Tensor | None = None  # (n, B, *features) of the solve in progress

    def forward(self, t: Tensor, packed: Tensor) -> Tensor:
        kept = torch.is_grad_enabled()
        with torch.enable_grad():
            x = packed[:, :-1].reshape(len(packed), *self.shape)
            x = x if x.requires_grad else x.detach().requires_grad_()
            v = self.velocity(x, t.reshape(-1).expand(len(packed)))
            if not isinstance(v, Tensor) or v.shape != x.shape:
                got = tuple(v.shape) if isinstance(v, Tensor) else type(v).__name__
                raise ValueError(f"velocity must return x's shape {tuple(x.shape)}, got {got}")
            trace = self._divergence(x, v, kept)
            if trace is None:
                self._check_flat(x, v, t)
                trace = v.new_zeros(len(v))
        out = torch.cat([v.reshape(len(v), -1), trace[:, None]], 1)
        return out if kept else out.detach()

    def _divergence(self, x: Tensor, v: Tensor, kept: bool) -> Tensor | None:
        """div v (B,) at every sample, with a graph where `kept`; None where v has no graph that leads to x."""
        if not v.requires_grad:
            return None
        if self.trace == "hutchinson":
            assert self.probes is not None
            total = v.new_zeros(len(v))
            for probe in self.probes:
                product = _pulled(v, x, probe, kept)
                if product is None:
                    return None
                total = total + (product * probe).flatten(1).sum(1)
            return total / len(self.probes)
        flat = v.flatten(1)
        total = flat.new_zeros(len(flat))
        for j in range(flat.shape[1]):
            unit = torch.zeros_like(flat)
            unit[:, j] = 1.0
            product = _pulled(v, x, unit.reshape(v.shape), kept)
            if product is None:
                return None
            total = total + product.flatten(1)[:, j]
        return total

    def _check_flat(self, x: Tensor, v: Tensor, t: Tensor) -> None:
        """ValueError where a velocity that has no graph leading to x depends on x all the same: its divergence would
        be taken for zero."""
        moved = x.detach() + (1.0 + x.detach().abs())
        if not torch.equal(self.velocity(moved, t.reshape(-1).expand(len(x))), v):
            raise ValueError(
                "velocity must be differentiable in x for its divergence, and was computed without a graph: take away "
                "torch.no_grad, torch.inference_mode or detach"
            )


def _pulled(v: Tensor, x: Tensor, weight: Tensor, kept: bool) -> Tensor | None:
    """weight' J, (B, *features); None where v's graph does not lead to x."""
    return torch.autograd.grad(v, x, weight, create_graph=kept, retain_graph=True, allow_unused=True)[0]


class _OfModel(torch.nn.Module):
    """A model's velocity as a module that has the network's parameters."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model
        self.net = model.net if isinstance(model.net, torch.nn.Module) else None

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.model.velocity(x, t)


def _ends(model: Model | None, t: Any) -> tuple[float, float]:
    """(data's time, base's time), checked."""
    if t is None:
        ends = (1.0, 0.0) if model is None else (model.process.t_data, model.process.t_noise)
    else:
        ends = tuple(options.number("t", end) for end in t) if isinstance(t, (tuple, list)) else ()
    if len(ends) != 2 or ends[0] == ends[1]:
        raise options.refuse("t", "two different times, the data's and the base's", t)
    for end in ends if model is not None else ():
        assert model is not None
        model.process.check(end)
        if model.singular(end):
            raise options.OptionError(
                f"t must not hold {end:g}, where a network that predicts {model.predicts} has no velocity"
            )
    return ends


class CNF(torch.nn.Module):
    """A flow whose log density can be had, and trained by.

    velocity    velocity(x, t) -> dx/dt of x's shape, x (B, *features), t (B,); a Module, whose parameters become this
                one's, a function, or a `Model`.
    t           (data's time, base's time); None: (1, 0), and of a Model its process's ends.
    trace       "exact" or "hutchinson".
    probes      Hutchinson's, how many; each is a row of random signs.
    base        base(z) -> (B,) log density, nats; None: the normal law of mean zero, whose standard deviation is 1, and
                of a Model s at the base's time.
    method, controller, rtol, atol, max_steps, on_failure
                as for `neural.NeuralODE`, which solves.
    per_sample  whether every sample has steps of its own.
    regulariser, strength
                as for `neural.NeuralODE`, such as "er_mean" and 10.0: what training adds to the loss by `out.total`.

    Gradients go through the accepted steps.  OptionError for what does not fit.
    """

    @options.named
    def __init__(
        self,
        velocity: Any,
        t: tuple[float, float] | None = None,
        trace: str = "exact",
        probes: int = 1,
        base: Callable[[Tensor], Tensor] | None = None,
        method: str = "tsit5",
        controller: Any = "pi34",
        rtol: Any = 1e-5,
        atol: Any = 1e-5,
        per_sample: bool = True,
        regulariser: Any = None,
        strength: Any = None,
        max_steps: int = 10_000,
        on_failure: str = "raise",
    ) -> None:
        super().__init__()
        if not callable(velocity) and not isinstance(velocity, Model):
            raise options.refuse("velocity", "a function velocity(x, t) or a flows.Model", velocity)
        model = velocity if isinstance(velocity, Model) else None
        if base is not None and not callable(base):
            raise options.refuse("base", "a function base(z) or None", base)
        self.ends, self.deviation, self.base = _ends(model, t), 1.0, base
        if model is not None:
            velocity = _OfModel(model)
            self.deviation = float(model.process.s(self.ends[1]))
            if base is None and self.deviation == 0.0:
                raise options.OptionError("base must be given where the process has no noise at the base's time")
        self.trace = options.choice("trace", trace, TRACES)
        self.probes = options.count("probes", probes)
        self.ode = neural.NeuralODE(
            _Augmented(velocity, self.trace), method, controller, rtol, atol, regulariser=regulariser,
            strength=strength, per_sample=options.flag("per_sample", per_sample), max_steps=max_steps,
            on_failure=on_failure,
        )  # fmt: skip

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> LogDensity:
        """The log density of x (B, *features), float32 or float64.  generator: draws Hutchinson's probes; None:
        torch's own.  RuntimeError where a solve fails, unless `on_failure` says otherwise."""
        check_values(x)
        slope = self._slope
        slope.shape = tuple(x.shape[1:])
        if self.trace == "hutchinson":
            signs = torch.randint(0, 2, (self.probes, *x.shape), generator=generator)
            slope.probes = (2 * signs - 1).to(x.dtype).to(x.device)
        start = torch.cat([x.flatten(1), x.new_zeros(len(x), 1)], 1)
        times = torch.tensor(self.ends, dtype=torch.float64)
        out = self.ode(start, times)
        z = out.y[-1][:, :-1].reshape(x.shape)
        log_prob = self._base(z) + out.y[-1][:, -1]
        stats = out.solution.stats
        nfe = torch.as_tensor(stats.nfev_per_sample).expand(len(x)).to(torch.int64)
        return LogDensity(
            log_prob, z, out.penalty, float(nfe.double().mean()), nfe, out.solution.success, out.solution.message, out
        )

    def log_prob(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The log density (B,) of x alone."""
        return self(x, generator).log_prob

    def sample(self, z: Tensor) -> Tensor:
        """Data from draws z (B, *features) of the base's law, without gradient."""
        check_values(z)
        velocity, given = self.velocity, self.ode.options

        def slope(t: Tensor, x: Tensor) -> Tensor:
            return velocity(x, t.reshape(-1).expand(len(x)))

        times = torch.tensor(self.ends[::-1], dtype=torch.float64)
        with torch.no_grad():
            sol = neural.odeint(
                slope, z, times, method=given["method"], controller=given["controller"], rtol=given["rtol"],
                atol=given["atol"], adjoint="none", per_sample=self.ode.per_sample, max_steps=given["max_steps"],
            )  # fmt: skip
        if not sol.success:
            raise RuntimeError(sol.message)
        return sol.y[-1]

    @property
    def velocity(self) -> Callable[[Tensor, Tensor], Tensor]:
        """The velocity, as a function or a Module of (x, t)."""
        return self._slope.velocity

    @property
    def _slope(self) -> _Augmented:
        assert isinstance(self.ode.func, _Augmented)  # as it was made
        return self.ode.func

    def _base(self, z: Tensor) -> Tensor:
        """The base's log density (B,)."""
        if self.base is not None:
            found = self.base(z)
            if not isinstance(found, Tensor) or found.shape != z.shape[:1]:
                got = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
                raise ValueError(f"base must return a log density a sample {tuple(z.shape[:1])}, got {got}")
            return found.to(z.dtype)
        flat = z.flatten(1) / self.deviation
        each = -0.5 * flat.square() - 0.5 * math.log(2.0 * math.pi) - math.log(self.deviation)
        return each.sum(1)
