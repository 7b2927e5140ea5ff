"""torchdiffeq's bouncing_ball.py: the times of ten bounces of a ball, differentiated, and its path between them.

    python benchmarks/examples/bouncing_ball.py --library torchdiffeq|stepsmith [--seed 0] [--iterations 10]

As there: a state of three parts in float64, odeint_event at 1e-8 and 1e-8 up to every bounce, the gradient of the tenth
bounce's time, central differences of it in five parameters, and the path with 50 points a second by odeint at 1e-8 and
1e-8.  Every iteration has another ball.  The quality is the largest error of a component of the gradient, relative to
the gradient of the formula for the bounce's time.
"""

from __future__ import annotations

from typing import Any

import frame
import torch
from torch import Tensor, nn

ACCURATE = {"rtol": 1e-8, "atol": 1e-8}
#: what the ball is lifted by after a bounce, so that the event is not met again at once
LIFT = 1e-7
State = tuple[Tensor, Tensor, Tensor]


class Ball(frame.Field):
    """A ball falls freely and bounces at its radius, where it loses a part of its speed.

    state: (position, velocity, logarithm of the radius), each (1,).
    """

    def __init__(self, ode: Any, radius: float = 0.2, gravity: float = 9.8) -> None:
        super().__init__()
        self.ode = ode
        given = {"gravity": gravity, "begin": 0.0, "position": 10.0, "velocity": 0.0, "absorption": 0.2}
        for name, value in given.items():
            setattr(self, name, nn.Parameter(torch.tensor([value], dtype=torch.float64)))
        self.log_radius = nn.Parameter(torch.tensor([radius], dtype=torch.float64).log())

    def forward(self, t: Tensor, state: State) -> State:
        self.calls += 1
        return state[1], -self.gravity, torch.zeros_like(state[2])

    def height(self, t: Tensor, state: State) -> Tensor:
        """Of the lowest point, which is zero at a bounce."""
        return state[0] - torch.exp(state[2])

    def start(self) -> tuple[Tensor, State]:
        return self.begin, (self.position, self.velocity, self.log_radius)

    def bounced(self, states: State) -> State:
        """The state after the bounce at the end of `states`."""
        position, velocity, log_radius = (part[-1] for part in states)
        return position + LIFT, -velocity * (1.0 - self.absorption), log_radius

    def bounces(self, count: int) -> list[Tensor]:
        """The times of the first bounces, 0-d each."""
        (t, state), times = self.start(), []
        for _ in range(count):
            t, states = self.ode.odeint_event(
                self, state, t, event_fn=self.height, odeint_interface=self.ode.odeint, **ACCURATE
            )
            times.append(t)
            state = self.bounced(states)
        return times

    def path(self, count: int) -> tuple[Tensor, Tensor]:
        """Times and positions (N,), 50 a second, up to the last of `count` bounces."""
        t, state = self.start()
        times, positions = [t.reshape(-1)], [state[0]]
        for end in self.bounces(count):
            inner = torch.linspace(t.item(), end.item(), int(50.0 * (end - t).item()), dtype=torch.float64)
            at = torch.cat([t.reshape(-1), inner[1:-1], end.reshape(-1)])
            states = self.ode.odeint(self, state, at, **ACCURATE)
            times.append(at[1:])
            positions.append(states[0][1:, 0])
            t, state = end, self.bounced(states)
        return torch.cat(times), torch.cat(positions)

    def exact(self, count: int) -> Tensor:
        """The time of a bounce by the formula of free fall, (1,)."""
        t, (above, velocity) = self.begin, (self.position - torch.exp(self.log_radius), self.velocity)
        for _ in range(count):
            speed = torch.sqrt(velocity**2 + 2.0 * self.gravity * above)
            t = t + (velocity + speed) / self.gravity
            above, velocity = torch.full_like(above, LIFT), speed * (1.0 - self.absorption)
        return t


def differences(ball: Ball, names: tuple[str, ...], count: int) -> list[float]:
    """Central differences of the last bounce's time in the parameters of these names."""
    found = []
    for name in names:
        parameter = getattr(ball, name)
        middle, times = parameter.data, []
        for step in (1e-3, -1e-3):
            parameter.data = middle + step
            times.append(float(ball.bounces(count)[-1].detach()))
        parameter.data = middle
        found.append((times[0] - times[1]) / 2e-3)
    return found


def train(ode: Any, seed: int, iterations: int) -> frame.Trained:
    count, names, worst = 10, ("position", "velocity", "begin", "gravity", "log_radius"), 0.0
    balls = [Ball(ode, float(0.2 + 0.2 * torch.rand(1)), float(8.0 + 4.0 * torch.rand(1))) for _ in range(iterations)]
    meter = frame.Meter(*balls)
    for ball in balls:
        with meter:
            meter.backward(ball.bounces(count)[-1])
            for by, value in zip(names, differences(ball, names, count), strict=True):
                if abs(float(getattr(ball, by).grad) - value) > 1e-3:
                    raise RuntimeError(f"the gradient in {by} is not that of central differences")
            ball.path(count)
        parameters = list(ball.parameters())
        exact = torch.cat(torch.autograd.grad(ball.exact(count), parameters))
        off = torch.cat([p.grad for p in parameters]) - exact  # type: ignore[misc]
        worst = max(worst, float(off.abs().max() / exact.abs().max()))
    return meter, worst, "worst relative error of the gradient"


if __name__ == "__main__":
    frame.main(train, 10, __doc__)
