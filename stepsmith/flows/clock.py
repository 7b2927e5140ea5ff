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
    """Where samples are: x (B, ...), t (B,), and what the last step left; `step` counts the steps of N = `steps`."""

    x: Tensor
    t: Tensor
    span: tuple[float, float]
    steps: int
    first_norm: Tensor
    step: int = 0
    h: Tensor | None = None
    slope: Tensor | None = None

    @classmethod
    def start(cls, x: Tensor, span: tuple[float, float], steps: int) -> Walk:
        """At the noise x (B, ...)."""
        return cls(x, torch.full((len(x),), span[0], dtype=x.dtype, device=x.device), span, steps, norm(x))

    def go(self, u: Tensor, action: Tensor) -> None:
        """One step of AB2, the first of Euler, along the velocity u at (x, t), to the time that `action` (B,) asks
        for."""
        end = self.span[1]
        t = next_time(self.t, action, end, self.steps - self.step)
        h = t - self.t
        move = u
        if self.slope is not None and self.h is not None:
            move = u + wide(h / self.h / 2, u) * (u - self.slope)
        self.x = self.x + wide(h, u) * move
        self.t, self.h, self.slope = t, h, u
        self.step += 1


def norm(x: Tensor) -> Tensor:
    """Root mean square of every sample, (B,)."""
    return x.flatten(1).square().mean(1).sqrt()


def wide(values: Tensor, like: Tensor) -> Tensor:
    """values (B,) in a shape that multiplies samples (B, ...)."""
    return values.reshape(-1, *[1] * (like.dim() - 1))


def next_time(t: Tensor, action: Tensor, end: float, left: int) -> Tensor:
    """The time after the next step, of those t (B,) with `left` steps to go.

    action 0 divides what is left of the way evenly; the last step goes to the end exactly.
    """
    if left == 1:
        return torch.full_like(t, end)
    odds = torch.exp(SCALE * action.clamp(-1.0, 1.0)) / (left - 1)
    return t + (end - t) * (odds / (1 + odds))


def observe(walk: Walk, u: Tensor) -> Tensor:
    """(B, 7): `FEATURES` of every sample, with the velocity u at (x, t)."""
    begin, end = walk.span
    size, speed = norm(walk.x), norm(u)
    one = torch.ones_like(size)
    found: list[Tensor] = [
        (walk.t - begin) / (end - begin),
        one * (walk.step / walk.steps),
        _zero(one),
        _log(speed * abs(end - begin), size),
        _zero(one),
        _zero(one),
        _log(size, walk.first_norm),
    ]
    if walk.slope is not None and walk.h is not None:
        last = norm(walk.slope)
        found[2] = _log(walk.h.abs(), one * abs(end - begin) / walk.steps)
        found[4] = _log(norm(u - walk.slope), speed)
        found[5] = (u * walk.slope).flatten(1).mean(1) / (speed * last + TINY)
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


def _zero(one: Tensor) -> Tensor:
    return torch.zeros_like(one)
