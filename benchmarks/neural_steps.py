"""steps="auto" against plain steps, warm starts and even steps: f-evaluations of a training's solves, and their errors.

    python benchmarks/neural_steps.py [--solves 200]

A small tanh field that changes a little from solve to solve, as under an optimiser, dopri5, one step size for a batch
of 5 states of 3 features.  Evaluations are sums over all solves, in units of those of plain steps, and "from 40" leaves
the first 40 solves out; the error is the largest of the last solve, against one at a tolerance of 1e-12.
"""

from __future__ import annotations

import argparse
import math
import os
import warnings

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from figures.save import parsed

import stepsmith as ss

F64 = torch.float64
WAYS: dict[str, dict] = {
    "plain": {},
    "warm": {"warm_start": True},
    "warm, even": {"warm_start": True, "even_steps": True},
    "auto": {"steps": "auto"},
}


class Field(torch.nn.Module):
    """A network, and a part that dies away `fast`; `drift` changes it by some tenths of a per cent."""

    def __init__(self, dtype: torch.dtype, fast: float) -> None:
        super().__init__()
        torch.manual_seed(1)
        layers = torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)
        self.net, self.fast, self.k = torch.nn.Sequential(*layers).to(dtype), fast, 0
        with torch.no_grad():
            for p in self.net.parameters():
                p.mul_(2.0)

    def forward(self, t, y):
        return self.net(y) - self.fast * torch.exp(-0.4 * self.fast * t) * y

    def drift(self) -> None:
        self.k += 1
        with torch.no_grad():
            self.net[0].weight.mul_(1.0 + 0.003 * math.sin(0.1 * self.k))


#: end time, tolerance, dtype, rate of the part that dies away, and whether the batch changes in size
TRAININGS = {
    "smooth, short": (0.5, 1e-5, F64, 0.0, False),
    "smooth, longer": (2.0, 1e-5, F64, 0.0, False),
    "growing sizes": (1.0, 1e-3, F64, 150.0, False),
    "many steps": (14.0, 1e-9, F64, 0.0, False),
    "changing batches": (0.5, 1e-5, F64, 0.0, True),
    "float32 at 1e-7": (0.5, 1e-7, torch.float32, 0.0, False),
}


def train(name: str, solves: int, options: dict) -> tuple[list[int], float]:
    """Evaluations of every solve, and the error of the last one."""
    end, tol, dtype, fast, changing = TRAININGS[name]
    ode = ss.neural.NeuralODE(Field(dtype, fast), "dopri5", rtol=tol, atol=tol, **options)
    t, draw, calls = torch.tensor([0.0, end], dtype=F64), torch.Generator().manual_seed(3), []
    states, y = torch.randn(5, 3, dtype=dtype, generator=torch.Generator().manual_seed(2)), torch.empty(0)
    with torch.no_grad():
        for k in range(solves):
            y0 = states * torch.exp(torch.randn((), generator=draw, dtype=dtype)) if changing else states
            out = ode(y0, t)
            calls.append(out.solution.stats.nfev)
            if k == solves - 1:
                exact = ss.neural.odeint(ode.func.double(), y0.double(), t, "dopri5", rtol=1e-12, atol=1e-12).y
                y = (out.y - exact).abs().max()
            ode.func.drift()
    return calls, float(y)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--solves", type=int, default=200)
    args = parsed(parser)
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", "rtol = 1e-07 is near")
    print("| training | way | f-evaluations a solve | of plain | from 40 | error |")
    print("|---|---|---|---|---|---|")
    for name in TRAININGS:
        plain: list[int] = []
        for way, options in WAYS.items():
            calls, error = train(name, args.solves, options)
            plain = plain or calls
            ratio, later = sum(calls) / sum(plain), sum(calls[40:]) / sum(plain[40:])
            mean = sum(calls) / len(calls)
            print(f"| {name} | {way} | {mean:.1f} | {ratio:.3f} | {later:.3f} | {error:.1e} |", flush=True)


if __name__ == "__main__":
    main()
