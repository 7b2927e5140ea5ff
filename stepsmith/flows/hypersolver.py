"""Hypersolvers: a network that learns what a step of a cheap method leaves out.

The residual of a method of order p, whose step is x + h psi(t, x), along a true solution is

    R(t) = [x(t + h) - x(t) - h psi(t, x(t))] / h^(p+1)

which has a limit as h goes to zero: of Euler's method half the second derivative.  A network g(t, x, f) is fitted to R
along solutions of a fine solver, and the step becomes x + h psi + h^(p+1) g.  It costs one evaluation of g, which pays
where f is dearer than g.

Source: M. Poli, S. Massaroli, A. Yamashita, H. Asama, J. Park, "Hypersolvers: Toward Fast Continuous-Depth Models",
NeurIPS 2020, arXiv:2007.09601, sections 2 and 3; torchdyn's `hyper.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from ..integrators.core import options
from ..neural import odeint
from .network import dense

Tensor = torch.Tensor
Func = Callable[[Any, Tensor], Tensor]


def _euler(func: Func, t: Any, y: Tensor, h: Any, slope: Tensor) -> Tensor:
    return slope


def _midpoint(func: Func, t: Any, y: Tensor, h: Any, slope: Tensor) -> Tensor:
    return func(t + h / 2, y + h / 2 * slope)


def _heun(func: Func, t: Any, y: Tensor, h: Any, slope: Tensor) -> Tensor:
    return (slope + func(t + h, y + h * slope)) / 2


#: base method -> its order, and psi from f at the beginning of the step
BASES: dict[str, tuple[int, Callable[..., Tensor]]] = {
    "euler": (1, _euler), "midpoint": (2, _midpoint), "heun": (2, _heun),
}  # fmt: skip


def residual(start: Tensor, end: Tensor, psi: Tensor, h: Any, order: int) -> Tensor:
    """R of a step from `start` to `end`, the true states, of a method of this order with the slope psi."""
    return (end - start - h * psi) / h ** (order + 1)


class Hypersolver(torch.nn.Module):
    """A fixed-step solver of y' = func(t, y) with a learned correction, zero until it is fitted.

    size    numbers of a state (B, size).
    base    "euler", "midpoint" or "heun".
    width, depth   of the network: `depth` hidden layers of `width` with tanh.
    """

    def __init__(self, size: int, base: str = "euler", width: int = 64, depth: int = 2) -> None:
        super().__init__()
        self.size, self.base = options.count("size", size), options.choice("base", base, BASES)
        hidden = [options.count("width", width)] * options.count("depth", depth)
        self.order, self.psi = BASES[self.base]
        self.net = dense([2 * self.size + 1, *hidden, self.size], torch.nn.Tanh)

    def correction(self, t: Any, y: Tensor, slope: Tensor) -> Tensor:
        """g (B, size) at time t, with f there."""
        return self.net(torch.cat([y, slope, torch.as_tensor(t).to(y).expand(len(y), 1)], 1))

    def step(self, func: Func, t: Any, y: Tensor, h: Any) -> Tensor:
        """The state after a step of h."""
        slope = func(t, y)
        return y + h * self.psi(func, t, y, h, slope) + h ** (self.order + 1) * self.correction(t, y, slope)

    def integrate(self, func: Func, y0: Tensor, t: Tensor) -> Tensor:
        """States (T, B, size) at times t (T,), a step from each to the next."""
        states = [y0]
        for i in range(len(t) - 1):
            states.append(self.step(func, t[i], states[-1], t[i + 1] - t[i]))
        return torch.stack(states)

    def residuals(self, func: Func, t: Tensor, path: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """R (T-1, B, size) along true states `path` (T, B, size), and f and t at the beginnings of the steps."""
        slopes, found = [], []
        for i in range(len(t) - 1):
            h = t[i + 1] - t[i]
            slopes.append(func(t[i], path[i]))
            psi = self.psi(func, t[i], path[i], h, slopes[-1])
            found.append(residual(path[i], path[i + 1], psi, h, self.order))
        return torch.stack(found), torch.stack(slopes), t[:-1]

    @options.named
    def fit(
        self, func: Func, y0: Tensor, t: Tensor, iterations: int = 500, rate: float = 3e-3, batch: int = 256,
        seed: int = 0, rtol: float = 1e-6, atol: float = 1e-8,
    ) -> list[float]:  # fmt: skip
        """Fit the correction to R along solutions from y0 (B, size) at times t (T,); returns the losses.

        The true states are those of `ss.neural.odeint` with dopri5 at rtol and atol.  Adam with a rate that falls by a
        cosine, on batches of single steps.  ValueError where these states or their residuals are not finite.
        """
        iterations = options.count("iterations", iterations)
        with torch.no_grad():
            path = odeint(func, y0, t, method="dopri5", rtol=rtol, atol=atol).y
            wanted, slopes, begins = self.residuals(func, t, path)
        if not torch.isfinite(wanted).all():
            raise ValueError("the residuals along the solution are not finite")
        seen = [part.reshape(-1, self.size) for part in (path[:-1], slopes, wanted)]
        moments = begins[:, None].expand(-1, len(y0)).reshape(-1, 1)
        draws = torch.Generator().manual_seed(options.count("seed", seed, 0))
        adam, losses = torch.optim.Adam(self.net.parameters(), lr=options.positive("rate", rate)), []
        for i in range(iterations):
            for group in adam.param_groups:
                group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * i / iterations)) + rate * 0.01
            picked = torch.randint(len(moments), (min(batch, len(moments)),), generator=draws)
            guess = self.net(torch.cat([seen[0][picked], seen[1][picked], moments[picked].to(y0)], 1))
            loss = (guess - seen[2][picked]).square().mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
            losses.append(float(loss.detach()))
        return losses
