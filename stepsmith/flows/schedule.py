"""A learned sampler of a few steps: its times, its coefficients, what it was trained on and what made it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..integrators.core import options
from ..integrators.core.reading import line
from . import clock
from .linear import Rows, run
from .model import Model
from .network import Network
from .processes import from_dict
from .samples import Counter, Samples
from .sampling import scaled

Tensor = torch.Tensor

#: most evaluations, and the largest size of a coefficient or a time
MOST, LARGEST = 1000, 1e6
#: how far a time may lie outside the span of its process, by round-off
NEAR = 1e-9


@dataclass(frozen=True, eq=False)
class Schedule:
    """N evaluations u_i of a model's velocity at (x_i, t_i), from noise x_0 to the sample x_N.

        x_{i+1} = a_i x_0 + c_i x_i + sum_{j <= i} b_ij u_j

    kind        what learned it, such as "bns".
    times       (N+1,) t_0 ... t_N, in the time of the process; t_N is that of the sample.
    start       (N,) a.
    state       (N,) c.
    slopes      (N, N) b, zero above the diagonal.
    process     {"name": ..., its parameters}: what x and t mean.
    span        (first, last) time of the process, where noise and data are.
    network     of a kind that has one: a correction that is added to every step, or a clock that sets the times itself,
                with the rule of AB2; None otherwise.
    trained_on  facts of the model.
    provenance  what made it: seed, evaluations and seconds of the training, versions.
    measured    errors that were measured.

    Arrays are float64.  ValueError for shapes that do not fit, and numbers that are not finite or out of bounds.
    """

    kind: str
    times: np.ndarray
    start: np.ndarray
    state: np.ndarray
    slopes: np.ndarray
    process: Mapping[str, Any]
    span: tuple[float, float]
    network: Network | None = None
    trained_on: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    measured: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        put = object.__setattr__
        for name in ("times", "start", "state", "slopes"):
            array = np.array(getattr(self, name), np.float64)
            array.setflags(write=False)
            put(self, name, array)
        put(self, "span", tuple(float(x) for x in self.span))
        n = len(self.start)
        if not 1 <= n <= MOST:
            raise ValueError(f"a schedule must have 1 to {MOST} evaluations, got {n}")
        for name, shape in (("times", (n + 1,)), ("start", (n,)), ("state", (n,)), ("slopes", (n, n))):
            array = getattr(self, name)
            if array.shape != shape:
                raise ValueError(f"{name} of a schedule must have shape {shape}, got {array.shape}")
            if not (np.abs(array) <= LARGEST).all():
                raise ValueError(f"{name} of a schedule must be finite numbers of at most {LARGEST:g} in size")
        if np.triu(self.slopes, 1).any():
            raise ValueError("slopes of a schedule must be zero above the diagonal: no step knows a later velocity")
        self._check_span()
        if self.network is not None and self.network.role == "clock" and self.network.inputs != len(clock.FEATURES):
            raise ValueError(f"a clock must have {len(clock.FEATURES)} inputs, got {self.network.inputs}")

    def _check_span(self) -> None:
        if len(self.span) != 2 or not all(abs(x) <= LARGEST for x in self.span) or self.span[0] == self.span[1]:
            raise ValueError(f"span of a schedule must be two different times, got {self.span}")
        process = from_dict(dict(self.process))
        process.check(self.span, "span of a schedule")
        if (self.span[1] - self.span[0]) * process.towards_data <= 0.0:
            raise ValueError(f"span of a schedule must run from noise to data, in the time of {process}: {self.span}")
        low, high = min(self.span), max(self.span)
        room = NEAR * (high - low)
        if not ((self.times >= low - room) & (self.times <= high + room)).all():
            raise ValueError(f"times of a schedule must lie in the span {self.span} of its process, got {self.times}")

    @classmethod
    def of(cls, kind: str, rows: Rows, **facts: Any) -> Schedule:
        """From rows of torch tensors."""
        times, start, state, slopes = (
            part.detach().cpu().numpy() for part in (rows.times, rows.start, rows.state, rows.slopes)
        )
        return cls(kind, times, start, state, slopes, **facts)

    @property
    def evaluations(self) -> int:
        """N: of the velocity, for one sample."""
        return len(self.start)

    @property
    def rows(self) -> Rows:
        """The same numbers as torch tensors."""
        return Rows(*(torch.tensor(getattr(self, name)) for name in ("times", "start", "state", "slopes")))

    def sample(self, model: Model, noise: Tensor, trajectory: bool = False) -> Samples:
        """Samples of a model of the same process from standard normal noise (B, ...): `ss.flows.sample(schedule=)`.

        ValueError for a model of another process, or whose noise levels are others.  A schedule with a clock has times
        of each sample's own, and keeps no trajectory: OptionError.
        """
        self.check(model)
        counter = Counter(model.net)
        with torch.no_grad():
            x = scaled(model, noise, self.span[0])
            y, states, times = self.follow(model.with_net(counter).velocity, x, trajectory)
        good = torch.isfinite(y).flatten(1).all(1)
        done = bool(good.all())
        y = torch.where(good.reshape(-1, *[1] * (y.ndim - 1)), y, torch.full_like(y, torch.nan))
        return Samples(
            y=y, nfe=counter.calls, t=times, trajectory=torch.stack(states) if trajectory else None, success=done,
            message="done" if done else f"{int((~good).sum())} of {len(y)} samples are not finite", denoised=False,
            failed=~good, nfe_per_sample=torch.full((len(y),), counter.calls, dtype=torch.int64),
            naccept=len(y) * self.evaluations, nreject=0,
        )  # fmt: skip

    def check(self, model: Model) -> None:
        """ValueError unless the model is one of the schedule's process."""
        if model.process.as_dict() != dict(self.process):
            raise ValueError(
                f"this schedule is for the process {dict(self.process)}, and the model's is {model.process.as_dict()}: "
                "see it in that process with model.as_process(...), or learn a schedule for it"
            )

    def follow(self, velocity: Any, x: Tensor, keep: bool = False) -> tuple[Tensor, list[Tensor], Tensor]:
        """The samples from states x (B, ...) at the beginning, the N + 1 states where `keep` says so, and the times: N
        + 1, or the two ends where a clock sets each sample's own.

        velocity(x, t): t of shape (), or with a clock (B,).
        """
        if self.network is None:
            y, states, _ = run(velocity, x, self.rows, keep)
            return y, states, torch.tensor(self.times)
        if self.network.role == "clock":
            if keep:
                raise options.OptionError("a schedule with a clock keeps no trajectory: each sample has its times")
            y, _ = clock.sample(velocity, x, self.span, self.evaluations, self.network)
            return y, [], torch.tensor(self.span, dtype=torch.float64)
        corrected = Corrected(self.network, self.span, x)
        y, states, _ = run(velocity, x, self.rows, True, corrected)
        return y, states if keep else [], torch.tensor(self.times)

    def sigmas(self, scheduler: str = "euler", **options_: float) -> np.ndarray:
        """The noise levels at which the model is evaluated, for `scheduler.set_timesteps(sigmas=...)` of diffusers: of
        "edm" as `torch.from_numpy(schedule.sigmas("edm"))`.

        See `hand_over.sigmas`.
        """
        from .hand_over import sigmas

        return sigmas(self, scheduler, **options_)

    def timesteps(self, scheduler: str = "flow", **options_: Any) -> np.ndarray:
        """The same as time steps of diffusers, for `scheduler.set_timesteps(timesteps=...)`: `hand_over.timesteps`."""
        from .hand_over import timesteps

        return timesteps(self, scheduler, **options_)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write it to a file whose name ends in .safetensors; returns the path."""
        from .schedule_file import save

        return save(self, path)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Schedule:
        """Read a file that `save` wrote.  ValueError naming what is wrong with any other."""
        from .schedule_file import load

        return load(path)

    def describe(self) -> str:
        """What it is, in plain text: what `stepsmith inspect` prints."""
        lines = [
            f"{line(self.kind)}: learned sampler, {self.evaluations} evaluations",
            f"process      {line(json.dumps(dict(self.process)))}, from {self.span[0]:g} to {self.span[1]:g}",
        ]
        if self.network is None or self.network.role != "clock":
            lines.append("times        " + " ".join(f"{t:.6g}" for t in self.times))
        if self.network is not None:
            widths = "-".join(map(str, [self.network.inputs, *(len(b) for _, b, _ in self.network.layers)]))
            lines.append(f"network      {widths}, {self.network.role}")
        parts = (("trained on", self.trained_on), ("provenance", self.provenance), ("measured", self.measured))
        for title, part in parts:
            lines += [
                f"{title:<12} {line(k)}: {line(v if isinstance(v, str) else json.dumps(v))}" for k, v in part.items()
            ]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<Schedule {self.kind}, {self.evaluations} evaluations, {self.process.get('name')}>"


class Corrected:
    """What a correction adds to the end of a step, of samples like x (B, ...): see `Network`."""

    def __init__(self, network: Network, span: Sequence[float], x: Tensor, call: Any = None) -> None:
        """call: what is trained in the place of the network's layers."""
        size = x[0].numel()
        if network.inputs != 2 * size + 1 or network.outputs != size:
            raise options.OptionError(
                f"this schedule's correction is for samples of {network.outputs} numbers, got {size}"
            )
        self.call, self.order, self.span = call or network.on(x), network.order, span

    def __call__(self, x: Tensor, u: Tensor, t: Any, end: Any) -> Tensor:
        t, end = float(t), float(end)
        share = (t - self.span[0]) / (self.span[1] - self.span[0])
        seen = torch.cat([x.flatten(1), u.flatten(1), x.new_full((len(x), 1), share)], 1)
        return (end - t) ** self.order * self.call(seen).reshape(x.shape)
