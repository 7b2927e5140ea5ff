"""Deep equilibrium layers on MNIST-5k: evaluations of a forward solve, test accuracy and training time by the start.

    python benchmarks/steady_state.py [--seeds 0 1 2] [--epochs 10] [--strengths 0.01 10] [--method tsit5]

An image is brought to u = W x of 64 numbers, its state z of 64 numbers settles at z = f(z, u) = tanh(V tanh(Q z + u)),
and a linear layer classifies z.  The rows:

    zeros       steady_state from z0 = 0, the plain deep equilibrium model
    skip        from z0 = g(u), a layer that is trained by a strength times the penalty; one row a strength
    skip_reg    from z0 = f(0, u), likewise
    node        dz/dt = f - z from 0 over [0, 1], a plain neural ODE, differentiated through its steps
    unrolled    the same over [0, 8], in which a constant f is approached by e^-8: near the equilibrium

All are trained by Adam at batches of 100, a step size that falls to zero and weight decay, and solved at rtol = atol =
0.005, the tolerance of the paper's experiments on MNIST, by one method.  A table has the mean over seeds with the least
and the largest: calls of func in a solve of a test batch of 100 (the slowest sample decides), evaluations that a sample
needed itself, test accuracy, CPU seconds of training, forward and backward, and products of a backward linear solve in
the last epoch.

A. Pal, A. Edelman, C. Rackauckas, Continuous Deep Equilibrium Models: Training Neural ODEs Faster by Integrating Them
to Infinity, arXiv:2201.12240.
"""

from __future__ import annotations

import argparse
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from figures.save import parsed

import stepsmith as ss
from stepsmith.train.data.mnist import mnist5k

MODES = ("zeros", "skip", "skip_reg", "node", "unrolled")
TOL, BATCH, WIDTH = 5e-3, 100, 64
SPANS = {"node": 1.0, "unrolled": 8.0}


class Cell(torch.nn.Module):
    """f(z, u) = tanh(V tanh(Q z + u)); begins as a contraction."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.v = torch.nn.Linear(WIDTH, WIDTH, bias=False), torch.nn.Linear(WIDTH, WIDTH)

    def forward(self, z: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.v(torch.tanh(self.q(z) + u)))


class Model(torch.nn.Module):
    """Images to classes, by the mode of the module's docstring."""

    def __init__(self, mode: str, method: str) -> None:
        super().__init__()
        self.mode, self.method = mode, method
        self.first, self.cell, self.last = torch.nn.Linear(784, WIDTH), Cell(), torch.nn.Linear(WIDTH, 10)
        skip = None
        if mode == "skip":
            skip = torch.nn.Sequential(torch.nn.Tanh(), torch.nn.Linear(WIDTH, WIDTH), torch.nn.Tanh())
        if mode not in SPANS:
            self.layer = ss.neural.SteadyState(
                self.cell, mode, skip, tol=TOL, method=method, on_failure="mask", compact=True
            )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, int, float, object]:
        """Class scores, the penalty, calls of func, the mean of the samples' own evaluations, and the solve's stats."""
        u = self.first(x)
        if self.mode not in SPANS:
            out = self.layer(u)
            stats = out.solution.stats
            calls, own = out.nfev - stats.nfev_check, float(stats.nfev_per_sample.mean()) + (self.mode == "skip_reg")
            return self.last(out.z), out.penalty, calls, own, stats
        times = torch.tensor([0.0, SPANS[self.mode]])
        sol = ss.neural.odeint(
            lambda t, z: self.cell(z, u) - z, torch.zeros_like(u), times, self.method, "pi34", TOL, TOL,
            heuristics=False,
        )  # fmt: skip
        stats = sol.stats
        score = self.last(sol.y[-1])
        return score, score.new_zeros(()), stats.nfev - stats.nfev_check, float(stats.nfev_per_sample.mean()), stats


def run(mode: str, strength: float, seed: int, args: argparse.Namespace) -> list[float]:
    """The columns of one training run."""
    torch.manual_seed(seed)
    data = mnist5k()
    x, labels = torch.tensor(data.x, dtype=torch.float32), torch.tensor(data.labels)
    train, test = (torch.tensor(data.split.part(name)) for name in ("train", "test"))
    model = Model(mode, args.method)
    optimiser = torch.optim.Adam(model.parameters(), 2e-3, weight_decay=1e-3)
    steps = args.epochs * -(-len(train) // BATCH)
    falling = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda k: 1.0 - k / steps)
    seconds, products = 0.0, []
    for epoch in range(args.epochs):
        for rows in torch.randperm(len(train)).split(BATCH):
            picked, began = train[rows], time.process_time()
            score, penalty, *_, stats = model(x[picked])
            loss = torch.nn.functional.cross_entropy(score, labels[picked]) + strength * penalty
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            falling.step()
            seconds += time.process_time() - began
            if epoch == args.epochs - 1 and mode not in SPANS:
                products.append(stats.linear_iterations)
    model.eval()
    calls, own, right = [], [], 0
    with torch.no_grad():
        for picked in test.split(BATCH):
            score, _, called, needed, _ = model(x[picked])
            calls.append(called)
            own.append(needed)
            right += int((score.argmax(1) == labels[picked]).sum())
    accuracy = 100.0 * right / len(test)
    return [np.mean(calls), np.mean(own), accuracy, seconds, np.mean(products) if products else np.nan]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--strengths", type=float, nargs="+", default=[0.01, 10.0])
    parser.add_argument("--method", default="tsit5")
    parser.add_argument("--modes", nargs="+", default=list(MODES), choices=MODES)
    args = parsed(parser)
    torch.set_num_threads(1)
    print("| start | calls | evaluations a sample | test accuracy, % | CPU seconds | backward products |")
    print("|" + "---|" * 6)
    for mode in args.modes:
        for strength in args.strengths if mode.startswith("skip") else (0.0,):
            table = np.array([run(mode, strength, seed, args) for seed in args.seeds])
            shown = [
                "-" if np.isnan(column).any() else f"{column.mean():.1f} [{column.min():.1f}, {column.max():.1f}]"
                for column in table.T
            ]
            name = f"{mode}, {strength:g}" if strength else mode
            print(f"| {name} | {' | '.join(shown)} |", flush=True)


if __name__ == "__main__":
    main()
