"""Two spirals that a small flow with a linear layer behind it tells apart, split in two halves."""

import torch

import stepsmith as ss


class Field(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))

    def forward(self, t, y):
        return self.net(y)


class Spirals:
    """A 2-8-2 field, `head` behind it, and batches of 16 for training and for validation.

    out(rows)    loss (0-d), and what the module returned, for "train" or "validation".
    """

    def __init__(self, head=None, regulariser="er_mean", **solver):
        torch.manual_seed(0)
        self.net = Field().double()
        self.ode = ss.neural.NeuralODE(self.net, rtol=1e-3, atol=1e-3, regulariser=regulariser, **solver)
        self.head = torch.nn.Linear(2, 2).double() if head is None else head
        self.optimiser = torch.optim.Adam([*self.net.parameters(), *self.head.parameters()], lr=0.02)
        radius = torch.linspace(0.3, 2.3, 32, dtype=torch.float64)
        label = torch.arange(32) % 2
        angle = 2.0 * radius + torch.pi * label
        x = torch.stack([radius * angle.cos(), radius * angle.sin()], 1)
        half = torch.arange(32) // 2 % 2 == 0
        self.data = {"train": (x[half], label[half]), "validation": (x[~half], label[~half])}

    @property
    def parameters(self):
        return [*self.net.parameters(), *self.head.parameters()]

    def out(self, rows):
        x, label = self.data[rows]
        out = self.ode(x, [0.0, 1.0])
        return torch.nn.functional.cross_entropy(self.head(out.y[-1]), label), out

    def step(self, total):
        self.optimiser.zero_grad()
        total.backward()
        self.optimiser.step()
