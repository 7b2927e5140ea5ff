"""A flow that pulls two spirals apart: only its end counts, so a regulariser may choose a way with fewer evaluations.

    python examples/neural_regularised.py [--quick]
"""

import sys

import torch

import stepsmith as ss


def train(x: torch.Tensor, label: torch.Tensor, iterations: int, regulariser: str | None) -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(2, 32), torch.nn.Tanh(), torch.nn.Linear(32, 2)).double()
    head = torch.nn.Linear(2, 2).double()
    # A regulariser is one more argument here, and its penalty one more term in the loss below.
    ode = ss.neural.NeuralODE(lambda t, y: net(y), rtol=1e-5, atol=1e-5, regulariser=regulariser)
    strength = ss.neural.strength.exponential(100.0, 10.0, iterations)
    optimiser = torch.optim.Adam([*net.parameters(), *head.parameters()], lr=0.03)
    for k in range(iterations):
        out = ode(x, [0.0, 1.0])
        loss = torch.nn.functional.cross_entropy(head(out.y[-1]), label) + strength(k) * out.penalty
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    out = ode.eval()(x, [0.0, 1.0])
    right = (head(out.y[-1]).argmax(1) == label).double().mean().item()
    print(f"{regulariser or 'none':14}  f-evaluations {out.solution.stats.nfev:3}  accuracy {right:.3f}")


if __name__ == "__main__":
    label = torch.arange(128) % 2
    radius = torch.linspace(0.3, 2.3, 128, dtype=torch.float64)
    angle = 2.0 * radius + torch.pi * label
    for name in (None, "er_mean", "local_unbiased"):
        spirals = torch.stack([radius * angle.cos(), radius * angle.sin()], 1)
        train(spirals, label, 2 if "--quick" in sys.argv else 100, name)
