"""Fields, states and comparisons for tests of NeuralODE with states of several parts."""

import torch
from torch.utils import _pytree as tree

from torch_fields import F64, mlp, state


class Pair(torch.nn.Module):
    """A field of {"x": (B, 3), "p": (B,)}; p is driven by x."""

    def __init__(self):
        super().__init__()
        self.net = mlp()

    def forward(self, t, s):
        x = self.net(s["x"])
        return {"p": x.square().sum(-1) * torch.cos(s["p"]), "x": x}


class Field(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net = mlp()

    def forward(self, t, y):
        return self.net(y)


def pair():
    x = state().requires_grad_()
    return {"x": x, "p": torch.linspace(0.1, 0.5, 5, dtype=F64).requires_grad_()}


def total(states):
    return sum(part.square().sum() for part in tree.tree_leaves(states))


def seeded():
    return torch.Generator().manual_seed(5)


def close(found, expected, tol=1e-12):
    for a, b in zip(tree.tree_leaves(found), tree.tree_leaves(expected), strict=True):
        torch.testing.assert_close(a, b, rtol=tol, atol=tol)


class Largest(torch.nn.Module):
    """An error norm."""

    def forward(self, s):
        return max(part.abs().max() for part in tree.tree_leaves(s))
