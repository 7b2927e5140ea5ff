"""Twenty fields as people who train neural differential equations have them: ten as they are initialised, ten trained.

A trained field has learnt on a fixed grid (the classical fourth-order rule), so that no adaptive solver has shaped it.
Every field is made from a seed, and a trained one is kept in a folder once it is there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn

Tensor = torch.Tensor
BATCH = 64


class Net(nn.Module):
    """y' = net(g(y)), or of (g(y), t) with `timed`; weights of the linear layers are multiplied by `gain`."""

    def __init__(
        self,
        widths: tuple[int, ...],
        act: Callable[[], nn.Module] = nn.Tanh,
        gain: float = 1.0,
        timed: bool = False,
        cubed: bool = False,
    ) -> None:
        super().__init__()
        self.timed, self.cubed = timed, cubed
        sizes = (widths[0] + timed, *widths[1:])
        layers: list[nn.Module] = []
        for n, m in zip(sizes, sizes[1:], strict=False):
            layers += [nn.Linear(n, m), act()]
        self.net = nn.Sequential(*layers[:-1])
        with torch.no_grad():
            for layer in self.net:
                if isinstance(layer, nn.Linear):
                    layer.weight.mul_(gain)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        z = y**3 if self.cubed else y
        if self.timed:
            z = torch.cat([z, torch.ones_like(z[..., :1]) * t], -1)
        return self.net(z)


class Sine(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sin(x)


class Gru(nn.Module):
    """The continuous gated unit of E. De Brouwer et al., GRU-ODE-Bayes, NeurIPS 2019, without input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.r, self.z, self.g = (nn.Linear(width, width) for _ in range(3))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        r, z = torch.sigmoid(self.r(y)), torch.sigmoid(self.z(y))
        return 4.0 * (1 - z) * (torch.tanh(self.g(r * y)) - y)


class Flow(nn.Module):
    """A continuous normalising flow on the plane: (x, log p)' = (v(t, x), -div v), v a net of (x, t)."""

    def __init__(self, width: int, gain: float = 1.0) -> None:
        super().__init__()
        self.v = Net((2, width, width, 2), nn.Tanh, gain, timed=True)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        with torch.enable_grad():
            x = y[:, :2] if y.requires_grad else y[:, :2].detach().requires_grad_()
            v = self.v(t, x)
            div = sum(torch.autograd.grad(v[:, i].sum(), x, create_graph=True)[0][:, i] for i in range(2))
        out = torch.cat([v, -div[:, None]], 1)
        return out if y.requires_grad or self.training else out.detach()


@dataclass(frozen=True)
class Case:
    """A field (float32 module), its starts (BATCH, D) and its output times (T,)."""

    name: str
    field: nn.Module
    y0: Tensor
    t: Tensor


def _rk4(field: nn.Module, y: Tensor, t: Tensor, each: int) -> Tensor:
    """States (T, B, D) at t by `each` classical Runge-Kutta steps between two times."""
    out = [y]
    for a, b in zip(t, t[1:], strict=False):
        h = (b - a) / each
        for i in range(each):
            s = a + i * h
            k1 = field(s, y)
            k2 = field(s + h / 2, y + h / 2 * k1)
            k3 = field(s + h / 2, y + h / 2 * k2)
            k4 = field(s + h, y + h * k3)
            y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        out.append(y)
    return torch.stack(out)


def _fit(parameters, loss: Callable[[int], Tensor], steps: int, lr: float = 3e-3) -> None:
    optimiser = torch.optim.Adam(list(parameters), lr)
    for k in range(steps):
        optimiser.zero_grad()
        loss(k).backward()
        optimiser.step()


def _physics(system: Callable[[Tensor, Tensor], Tensor], net: Net, y0: Tensor, t: Tensor) -> Net:
    """A net that has learnt the trajectories of a system, from pieces of five output times."""
    with torch.no_grad():
        true = _rk4(system, y0.double(), t.double(), 20).float()

    def loss(k: int) -> Tensor:
        i = k % (len(t) - 4)
        return (_rk4(net, true[i], t[i : i + 5], 2) - true[i : i + 5]).abs().mean()

    _fit(net.parameters(), loss, 400)
    return net


def _classes(net: nn.Module, x: Tensor, labels: Tensor, classes: int, t: Tensor) -> None:
    head = nn.Linear(x.shape[1], classes)

    def loss(k: int) -> Tensor:
        rows = torch.randint(0, len(x), (128,))
        return nn.functional.cross_entropy(head(_rk4(net, x[rows], t, 6)[-1]), labels[rows])

    _fit([*net.parameters(), *head.parameters()], loss, 250)


def _annuli(n: int) -> tuple[Tensor, Tensor]:
    labels = torch.arange(n) % 2
    radius = torch.where(labels == 0, 0.5 * torch.rand(n), 1.0 + 0.5 * torch.rand(n))
    angle = 2 * math.pi * torch.rand(n)
    return torch.stack([radius * angle.cos(), radius * angle.sin()], 1), labels


def _moons(n: int) -> tuple[Tensor, Tensor]:
    labels = torch.arange(n) % 2
    angle, side = math.pi * torch.rand(n), 1.0 - 2.0 * labels
    x = torch.stack([angle.cos() + labels - 0.5, side * angle.sin() + 0.5 * labels - 0.25], 1)
    return x + 0.08 * torch.randn(n, 2), labels


def _untrained() -> dict[str, Callable[[], Case]]:
    def case(name: str, make: Callable[[], nn.Module], dim: int, end: float, outputs: int = 2) -> Case:
        return Case(name, make(), torch.randn(BATCH, dim), torch.linspace(0.0, end, outputs))

    entries = {
        "tanh 2-64-2": (lambda: Net((2, 64, 2)), 2, 1.0, 5),
        "tanh 2-64-2, gain 3": (lambda: Net((2, 64, 2), gain=3.0), 2, 2.0, 5),
        "tanh 8-64-64-8, timed": (lambda: Net((8, 64, 64, 8), gain=2.0, timed=True), 8, 1.0, 2),
        "softplus 16-64-16": (lambda: Net((16, 64, 16), nn.Softplus, 1.5), 16, 1.0, 2),
        "sine 4-32-32-4": (lambda: Net((4, 32, 32, 4), Sine, 2.5), 4, 2.0, 10),
        "elu 32-128-32": (lambda: Net((32, 128, 32), nn.ELU, 2.0), 32, 1.0, 2),
        "cubed 2-50-2": (lambda: Net((2, 50, 2), cubed=True), 2, 5.0, 20),
        "relu 16-100-16": (lambda: Net((16, 100, 16), nn.ReLU, 1.5), 16, 1.0, 2),
        "gru 16": (lambda: Gru(16), 16, 3.0, 10),
    }
    found = {name: (lambda name=name, e=entry: case(name, *e)) for name, entry in entries.items()}

    def flow() -> Case:
        y0 = torch.cat([torch.randn(BATCH, 2), torch.zeros(BATCH, 1)], 1)
        return Case("flow 2-32-32-2", Flow(32, 2.0), y0, torch.tensor([0.0, 1.0]))

    return {**found, "flow 2-32-32-2": flow}


def _systems() -> dict[str, Callable[[], tuple]]:
    def spiral(t: Tensor, y: Tensor) -> Tensor:
        return y**3 @ torch.tensor([[-0.1, 2.0], [-2.0, -0.1]], dtype=y.dtype)

    def pendulum(t: Tensor, y: Tensor) -> Tensor:
        return torch.stack([y[:, 1], -4.0 * torch.sin(y[:, 0]) - 0.1 * y[:, 1]], 1)

    def prey(t: Tensor, y: Tensor) -> Tensor:
        """Lotka-Volterra in the logarithms."""
        u, v = y.exp().unbind(1)
        return torch.stack([1.5 - v, u - 1.5], 1)

    def van_der_pol(t: Tensor, y: Tensor) -> Tensor:
        return torch.stack([y[:, 1], 2.0 * (1 - y[:, 0] ** 2) * y[:, 1] - y[:, 0]], 1)

    def duffing(t: Tensor, y: Tensor) -> Tensor:
        return torch.stack([y[:, 1], y[:, 0] - y[:, 0] ** 3 - 0.2 * y[:, 1] + 0.3 * torch.cos(1.2 * t)], 1)

    def physics(name, system, net, scale, end, outputs):
        def make():
            y0, t = scale * torch.randn(BATCH, 2), torch.linspace(0.0, end, outputs)
            return Case(name, _physics(system, net(), y0, t), y0, t)

        return make

    return {
        "trained: spiral": physics("trained: spiral", spiral, lambda: Net((2, 50, 2), cubed=True), 1.0, 5.0, 40),
        "trained: pendulum": physics("trained: pendulum", pendulum, lambda: Net((2, 64, 64, 2)), 1.0, 5.0, 40),
        "trained: prey": physics("trained: prey", prey, lambda: Net((2, 64, 2), nn.Softplus), 0.6, 6.0, 40),
        "trained: van der Pol": physics(
            "trained: van der Pol", van_der_pol, lambda: Net((2, 64, 64, 2), nn.ELU), 1.0, 4.0, 40
        ),
        "trained: Duffing": physics(
            "trained: Duffing", duffing, lambda: Net((2, 64, 64, 2), timed=True), 1.0, 5.0, 40
        ),
    }


def _learners() -> dict[str, Callable[[], Case]]:
    unit = torch.tensor([0.0, 1.0])

    def moons() -> Case:
        x, labels = _moons(1024)
        x = torch.cat([x, torch.zeros(len(x), 2)], 1)
        net = Net((4, 64, 64, 4))
        _classes(net, x, labels, 2, unit)
        return Case("trained: moons", net, x[:BATCH], unit)

    def annuli() -> Case:
        x, labels = _annuli(1024)
        net = Net((2, 32, 32, 2), nn.Softplus, timed=True)
        _classes(net, x, labels, 2, unit)
        return Case("trained: annuli", net, x[:BATCH], unit)

    def digits() -> Case:
        pixels, target = load_digits(return_X_y=True)
        x, labels = torch.tensor(pixels, dtype=torch.float32) / 16.0, torch.tensor(target)
        net = Net((64, 100, 64), timed=True)
        _classes(net, x, labels, 10, unit)
        return Case("trained: digits", net, x[-BATCH:], unit)

    def circles() -> Case:
        """A flow that carries two circles to a normal distribution, from the end to the start as in training."""
        flow = Flow(32)

        def loss(k: int) -> Tensor:
            x, labels = _annuli(256)
            x = x / x.norm(dim=1, keepdim=True) * (0.6 + 0.8 * labels[:, None]) + 0.05 * torch.randn(256, 2)
            y0 = torch.cat([x, torch.zeros(256, 1)], 1).requires_grad_()
            end = _rk4(flow, y0, unit.flip(0), 6)[-1]
            return (end[:, 2] + 0.5 * end[:, :2].square().sum(1)).mean()

        _fit(flow.parameters(), loss, 250)
        flow.eval()
        x, _ = _annuli(BATCH)
        return Case("trained: flow", flow, torch.cat([x, torch.zeros(BATCH, 1)], 1), unit.flip(0))

    def latent() -> Case:
        """A latent field behind a decoder, fitted to spirals that are observed in noise."""
        t = torch.linspace(0.0, 3.0, 20)
        phase = 2 * math.pi * torch.rand(BATCH, 1)
        radius, angle = 0.5 + 0.5 * t, phase + 2.0 * t
        seen = torch.stack([radius * angle.cos(), radius * angle.sin()], -1) + 0.05 * torch.randn(BATCH, 20, 2)
        net, decoder = Net((4, 20, 20, 4), nn.ELU), nn.Sequential(nn.Linear(4, 20), nn.ReLU(), nn.Linear(20, 2))
        z0 = nn.Parameter(0.1 * torch.randn(BATCH, 4))

        def loss(k: int) -> Tensor:
            return (decoder(_rk4(net, z0, t, 1)).transpose(0, 1) - seen).square().mean()

        _fit([*net.parameters(), *decoder.parameters(), z0], loss, 400, 1e-2)
        return Case("trained: latent", net, z0.detach(), t)

    return {
        "trained: moons": moons,
        "trained: annuli": annuli,
        "trained: digits": digits,
        "trained: flow": circles,
        "trained: latent": latent,
    }


def makers() -> dict[str, Callable[[], Case]]:
    """What makes each field, by name."""
    return {**_untrained(), **_systems(), **_learners()}


def file_of(folder: Path, name: str) -> Path:
    """Where a field is kept."""
    return folder / (name.replace(": ", "-").replace(", ", "-").replace(" ", "-") + ".pt")


def cases(folder: Path, names: list[str] | None = None) -> list[Case]:
    """The fields of these names (None: all), made or read from `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for seed, (name, make) in enumerate(makers().items()):
        if names is not None and name not in names:
            continue
        path = file_of(folder, name)
        if path.exists():
            found.append(torch.load(path, weights_only=False))
            continue
        torch.manual_seed(seed)
        case = make()
        case.field.requires_grad_(False).eval()
        torch.save(case, path)
        found.append(case)
    return found
