"""What the tests of regularisers' plans share: a field with parameters, times, options of a local step, generators."""

import torch

from torch_fields import F64

T = torch.tensor([0.0, 0.4, 1.0], dtype=F64)
#: options with which a local regulariser needs nothing of the main solve
LOCAL = {"step": "automatic", "method": "dopri5", "rtol": 1e-2, "atol": 1e-2}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


class Field(torch.nn.Module):
    """A network times a factor that depends on time."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, t, y):
        return self.net(y) * (1 + 0.3 * torch.sin(t))


def with_torchdiffeq(plan):
    from torchdiffeq import odeint as solve

    return solve(plan.func, plan.y0, plan.t, rtol=1e-9, atol=1e-10, method="dopri5")
