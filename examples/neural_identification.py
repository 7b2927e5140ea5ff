"""When not to regularise: an oscillator's frequency from noisy data, where the way between the times is the answer.

    python examples/neural_identification.py [--quick]
"""

import sys

import torch

import stepsmith as ss


def oscillator(p: torch.Tensor):
    """x' = v, v' = -omega^2 x - 2 delta v with p = (omega, delta)."""
    return lambda t, y: torch.stack([y[:, 1], -(p[0] ** 2) * y[:, 0] - 2 * p[1] * y[:, 1]], 1)


def identify(name: str | None, strength: float, seed: int, iterations: int) -> float:
    """The estimate of omega = 3 from eight trajectories seen eleven times each with noise .05."""
    generator = torch.Generator().manual_seed(seed)
    t, y0 = torch.arange(11).double() / 5, torch.randn(8, 2, dtype=torch.float64, generator=generator)
    clean = ss.neural.odeint(oscillator(torch.tensor([3.0, 0.1], dtype=torch.float64)), y0, t, rtol=1e-9, atol=1e-9).y
    seen = clean + 0.05 * torch.randn(clean.shape, dtype=torch.float64, generator=generator)
    p = torch.tensor([2.9, 0.15], dtype=torch.float64, requires_grad=True)
    ode = ss.neural.NeuralODE(oscillator(p), rtol=1e-4, atol=1e-4, regulariser=name)
    optimiser = torch.optim.Adam([p], lr=0.05)
    for k in range(iterations):
        optimiser.param_groups[0]["lr"] = 0.05 * 0.92**k
        out = ode(y0, t)
        optimiser.zero_grad()
        ((out.y - seen).square().mean() + strength * out.penalty).backward()
        optimiser.step()
    return p[0].item()


if __name__ == "__main__":
    for name, strength in ((None, 0.0), ("er_mean", 10.0), ("kinetic", 0.01)):
        found = torch.tensor([identify(name, strength, seed, 2 if "--quick" in sys.argv else 40) for seed in range(4)])
        omega = f"omega {found.mean():.4f} +- {found.std() / 2:.4f}  (truth 3)"
        print(f"{name or 'none':8} strength {strength:<5}  {omega}")
