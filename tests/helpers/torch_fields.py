"""The torch solver with names resolved, and fields and states to try it on."""

import torch

from stepsmith.controllers.laws import registry
from stepsmith.integrators.neural import odeint as raw_odeint

torch.set_num_threads(1)
F64 = torch.float64


def odeint(func, y0, t, method="tsit5", controller="pi34", **options):
    return raw_odeint(func, y0, torch.as_tensor(t), method, controller, resolve=registry.get, **options)


def mlp(dim=3, hidden=8, scale=2.0, dtype=F64):
    torch.manual_seed(1)
    net = torch.nn.Sequential(torch.nn.Linear(dim, hidden), torch.nn.Tanh(), torch.nn.Linear(hidden, dim)).to(dtype)
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(scale)
    return net


def field_of(net):
    return lambda t, y: net(y) * (1 + 0.3 * torch.sin(t))


def state(batch=5, dim=3, dtype=F64):
    return torch.randn(batch, dim, dtype=dtype, generator=torch.Generator().manual_seed(2))


def vdp(t, y):
    x, v = y[:, :1], y[:, 1:]
    return torch.cat([v, 4.0 * (1 - x * x) * v - x], 1)
