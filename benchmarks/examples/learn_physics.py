"""torchdiffeq's learn_physics.py: forces, radius and loss of speed of a bouncing ball, learnt from its path.

    python benchmarks/examples/learn_physics.py --library torchdiffeq|stepsmith [--seed 0] [--iterations 100]

As there: float64, the first 300 points of the path of bouncing_ball.py, odeint_event and odeint at 1e-8 and 1e-8 with
dopri5, the relative error, Adam at .1 with a cosine to zero.  Reduced: 100 iterations for 1000.  The quality is the
error of the learnt force, relative to the gravity.
"""

from __future__ import annotations

import math
from typing import Any

import bouncing_ball
import frame
import torch
from bouncing_ball import ACCURATE, LIFT
from torch import Tensor, nn

MOST = 20
#: seconds after the last observation from which on there is an event in any case
AFTER = 1e-7
State = tuple[Tensor, Tensor, Tensor]


class Force(frame.Field):
    """A constant force, bounded by `scale`.  state: (position, velocity, root of the radius), each (1,)."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.scale = nn.Linear(1, 1), nn.Parameter(torch.tensor(10.0))

    def forward(self, t: Tensor, state: State) -> State:
        self.calls += 1
        _, velocity, root = state
        return velocity, torch.tanh(self.net(torch.zeros_like(velocity))) * self.scale, torch.zeros_like(root)


class Model(nn.Module):
    def __init__(self, ode: Any) -> None:
        super().__init__()
        self.ode, self.force, self.loss_of_speed = ode, Force(), nn.Linear(1, 1)
        self.position = nn.Parameter(torch.tensor([10.0]))
        self.velocity = nn.Parameter(torch.tensor([0.0]))
        self.root = nn.Parameter(torch.rand(1))

    def forward(self, times: Tensor) -> Tensor:
        """Positions (T,) at the times (T,)."""
        end = times[-1]

        def height(t: Tensor, state: State) -> Tensor:
            return torch.zeros_like(t) if t > end + AFTER else state[0] - state[2] ** 2

        t, state = torch.tensor([0.0]), (self.position, self.velocity, self.root)
        found = [state[0][None]]
        for bounce in range(MOST):
            if t >= end:
                break
            until, states = end, None
            if bounce < MOST - 1:
                until, states = self.ode.odeint_event(
                    self.force, state, t, event_fn=height, method="dopri5", **ACCURATE
                )
            at = torch.cat([t.reshape(-1), times[(times > t) & (times <= until)]])
            found.append(self.ode.odeint(self.force, state, at, **ACCURATE)[0][1:])
            if until < end:
                position, velocity, root = (part[-1] for part in states)
                velocity = -torch.sigmoid(self.loss_of_speed(torch.ones_like(velocity))) * velocity
                state = position + LIFT * velocity, velocity, root
            t = until
        return torch.cat(found)[:, 0]


def train(ode: Any, seed: int, iterations: int) -> frame.Trained:
    torch.set_default_dtype(torch.float64)
    ball = bouncing_ball.Ball(ode)
    with torch.no_grad():
        times, truth = (x[:300] for x in ball.path(4))
    model, rate = Model(ode), 0.1
    optimizer, meter = torch.optim.Adam(model.parameters(), lr=rate), frame.Meter(model.force)
    for i in range(iterations):
        with meter:
            optimizer.zero_grad()
            loss = ((model(times) - truth) / (truth + 1e-3)).abs().mean()
            meter.backward(loss)
            optimizer.param_groups[0]["lr"] = rate * 0.5 * (1.0 + math.cos(math.pi * i / iterations))
            optimizer.step()
    learnt = float((torch.tanh(model.force.net.bias) * model.force.scale).detach())
    gravity = float(ball.gravity.detach())
    return meter, abs(learnt + gravity) / gravity, "relative error of the force"


if __name__ == "__main__":
    frame.main(train, 100, __doc__)
