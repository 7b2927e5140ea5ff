"""A clock: a small network that gives each sample, or each batch, its next time from what it sees of the way so far.

`policy` trains one and `stepsmith/Sampler-v0` is where; both, and a schedule that holds one, compute what is here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

Tensor = torch.Tensor

#: what is observed before a step, in order.  u, u-: the velocities here and at the last step; h-: the size of that
#: step; T: the length of the whole way.  At the first step what needs u- is zero.
FEATURES = (
    "share of the way", "share of the steps", "log h- / uniform", "log |u| T / |x|", "log |u - u-| / |u|",
    "cosine of u and u-", "log |x| / |x_0|",
)  # fmt: skip
#: what is observed lies within
BOUND = 5.0
#: an action of 1 makes the odds of the next step's share of what is left e^SCALE times those of an even step
SCALE = 1.5
TINY = 1e-12


@dataclass
class Walk:
    """Where samples are, each at a step of its own: x (B, ...), t (B,), `step` (B,) int64 of N = `steps`, and what the
    last step left, its size h (B,) and its velocity `slope` (B, ...), which mean nothing at step 0."""

    x: Tensor
    t: Tensor
    step: Tensor
    h: Tensor
    slope: Tensor
    first_norm: Tensor
    span: tuple[float, float]
    steps: int

    @classmethod
    def start(cls, x: Tensor, span: tuple[float, float], steps: int) -> Walk:
        """At the noise x (B, ...)."""
        t = torch.full((len(x),), span[0], dtype=x.dtype, device=x.device)
        step = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        return cls(x, t, step, torch.ones_like(t), torch.zeros_like(x), norm(x), span, steps)

    def go(self, u: Tensor, action: Tensor) -> None:
        """One step of AB2, the first of Euler, along the velocity u at (x, t), to the time that `action` (B,) asks
        for."""
        t = next_time(self.t, action, self.span[1], self.steps - self.step)
        h = t - self.t
        lean = torch.where(self.step > 0, h / self.h / 2, torch.zeros_like(h))
        self.x = self.x + wide(h, u) * (u + wide(lean, u) * (u - self.slope))
        self.t, self.h, self.slope, self.step = t, h, u, self.step + 1


def norm(x: Tensor) -> Tensor:
    """Root mean square of every sample, (B,)."""
    return x.flatten(1).square().mean(1).sqrt()


def wide(values: Tensor, like: Tensor) -> Tensor:
    """values (B,) in a shape that multiplies samples (B, ...)."""
    return values.reshape(-1, *[1] * (like.dim() - 1))


def next_time(t: Tensor, action: Tensor, end: float, left: Tensor) -> Tensor:
    """The time after the next step, of those t (B,) with `left` (B,) steps to go.

    action 0 divides what is left of the way evenly; the last step goes to the end exactly.
    """
    odds = torch.exp(SCALE * action.clamp(-1.0, 1.0)) / (left - 1).clamp(min=1)
    return torch.where(left > 1, t + (end - t) * (odds / (1 + odds)), torch.full_like(t, end))


def observe(walk: Walk, u: Tensor) -> Tensor:
    """(B, 7): `FEATURES` of every sample, with the velocity u at (x, t)."""
    begin, end = walk.span
    size, speed, last = norm(walk.x), norm(u), norm(walk.slope)
    even = torch.full_like(size, abs(end - begin) / walk.steps)
    later = (walk.step > 0).to(size.dtype)
    found = [
        (walk.t - begin) / (end - begin),
        walk.step.to(size.dtype) / walk.steps,
        later * _log(walk.h.abs(), even),
        _log(speed * abs(end - begin), size),
        later * _log(norm(u - walk.slope), speed),
        later * (u * walk.slope).flatten(1).mean(1) / (speed * last + TINY),
        _log(size, walk.first_norm),
    ]
    return torch.nan_to_num(torch.stack(found, 1), 0.0, BOUND, -BOUND).clamp(-BOUND, BOUND)


def sample(field: Any, x: Tensor, span: tuple[float, float], steps: int, network: Any) -> tuple[Tensor, Tensor]:
    """The samples, and their times (steps + 1, B), of a clock that a `Network` is.

    field: velocity(x, t) of x (B, ...) and t (B,).
    """
    walk, call = Walk.start(x, span, steps), network.on(x)
    times = [walk.t]
    for _ in range(steps):
        u = field(walk.x, walk.t)
        seen = observe(walk, u)
        if network.shared:
            seen = seen.mean(0, keepdim=True).expand_as(seen)
        walk.go(u, call(seen)[:, 0])
        times.append(walk.t)
    return walk.x, torch.stack(times)


def _log(a: Tensor, b: Tensor) -> Tensor:
    return torch.log((a + TINY) / (b + TINY))
