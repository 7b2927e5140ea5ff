"""Reverse SDEs of generative models: what adaptive steps save over equal ones, along the same Brownian paths.

    python benchmarks/reverse_sde.py [--models RUN ...] [--samples 256] [--seeds 0 1 2] [--json]

A solver of the reverse SDE has no error of its own but along a given path. So every solver here gets the same path of
every sample (`brownian="tree"`), and its error is the RMS distance of its samples to those of `sra1` at tolerance 1e-4,
over the RMS size of these. Rows: Euler and Maruyama's method on 8 ... 1024 equal steps; the pair of "Gotta Go Fast" (A.
Jolicoeur-Martineau et al., arXiv:2105.14080) and `sra1` with its difference estimate, at tolerances 1 ... 1e-3, with
steps of each sample's own and with one clock, under PI34. Evaluations are those of the network, the mean over the
samples. A figure is the evaluations over those of Euler and Maruyama's method, at the errors that both reach (geometric
mean over 17 levels in the overlap); it is printed with the range of errors that it stands for.

The models are an exact mixture of Gaussians under VP, and the run folders of `python -m stepsmith.train.flows`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

import stepsmith as ss
from stepsmith.flows import adaptive, grids
from stepsmith.flows.sampling import scaled
from stepsmith.train import flows

EQUAL = "euler_maruyama"
TOLERANCES = (1.0, 0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3)
STEPS = (8, 16, 32, 64, 128, 256, 512, 1024)
#: rows with chosen steps: options of `sdeint`
CHOSEN = {
    "gotta_go_fast": {"method": "gotta_go_fast", "per_sample": True},
    "gotta_go_fast, one clock": {"method": "gotta_go_fast", "per_sample": False},
    "sra1": {"method": "sra1", "estimate": "difference", "per_sample": True},
    "sra1, one clock": {"method": "sra1", "estimate": "difference", "per_sample": False},
}


def exact_mixture() -> ss.flows.Model:
    """Eight narrow Gaussians on a ring, under VP."""
    angle = torch.arange(8) * (2.0 * torch.pi / 8.0)
    means = 1.5 * torch.stack([angle.cos(), angle.sin()], 1)
    return ss.flows.mixture(means, [0.1] * 8, process=ss.flows.VP())


class Paths:
    """A model's reverse SDE from one noise along one Brownian path a sample."""

    def __init__(self, model: ss.flows.Model, samples: int, width: int, seed: int) -> None:
        self.times = grids.times("uniform", 2, model, None, finite=True)
        noise = torch.randn(samples, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        exact = isinstance(model, ss.flows.Mixture)
        self.start = scaled(model, noise if exact else noise.float(), self.times[0])
        self.fields, self.seed = adaptive.reverse_equation(model, self.times), seed
        self.span = (self.times - self.times[0]).abs()
        self.exact = self.solve(method="sra1", estimate="difference", rtol=1e-4, atol=1e-4)[0]

    def solve(self, **options: Any) -> tuple[torch.Tensor, float]:
        """Samples, and evaluations of the network for one of them."""
        with torch.no_grad():
            sol = ss.neural.sdeint(
                *self.fields, self.start, self.span, noise="additive", brownian="tree", adjoint="none",
                heuristics=False, seed=self.seed, max_steps=100_000, **options,
            )  # fmt: skip
        return sol.y[-1].double(), float(np.mean(sol.stats.nfev_per_sample))

    def row(self, **options: Any) -> tuple[float, float]:
        """Error, and evaluations."""
        y, count = self.solve(**options)
        return float(((y - self.exact).square().mean() / self.exact.square().mean()).sqrt()), count

    def curves(self) -> dict[str, np.ndarray]:
        """Name -> (k, 2): errors and evaluations, from loose to tight."""
        length = float(self.span[-1])
        found = {EQUAL: [self.row(method=EQUAL, step_size=length / n) for n in STEPS]}
        for name, options in CHOSEN.items():
            found[name] = [self.row(rtol=tol, atol=tol, controller="pi34", **options) for tol in TOLERANCES]
        return {name: np.array(rows) for name, rows in found.items()}


def ratio(own: np.ndarray, equal: np.ndarray) -> tuple[float, float, float]:
    """Evaluations over those of equal steps, and the least and largest error that it is a mean over."""
    low, high = (f(g(own[:, 0]), g(equal[:, 0])) for f, g in ((max, np.min), (min, np.max)))
    if not low < high:
        return float("nan"), low, high
    levels = np.linspace(np.log(low), np.log(high), 17)
    logs = [np.interp(levels, *_monotone(curve)) for curve in (own, equal)]
    return float(np.exp((logs[0] - logs[1]).mean())), low, high


def _monotone(curve: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logs of errors, increasing, and of the evaluations with which the error is that or less."""
    order = np.argsort(curve[:, 0])
    return np.log(curve[order, 0]), np.log(np.minimum.accumulate(curve[order, 1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="*", default=[], help="run folders; the exact mixture comes first always")
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="of noise and paths")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    for name in ("mixture", *args.models):
        model = exact_mixture() if name == "mixture" else flows.load(name)
        width = 64 if "digits" in name else 2
        runs = [Paths(model, args.samples, width, seed).curves() for seed in args.seeds]
        mean = {row: np.exp(np.mean([np.log(run[row]) for run in runs], axis=0)) for row in runs[0]}
        label = Path(name).name
        found[label] = {row: curve.tolist() for row, curve in mean.items()}
        if args.json:
            continue
        for row in CHOSEN:
            value, low, high = ratio(mean[row], mean[EQUAL])
            text = " ".join(f"{100 * e:.2g}:{n:.0f}" for e, n in mean[row])
            print(f"{label} | {row} | {value:.2f} | {100 * low:.2g} to {100 * high:.2g} % | {text}", flush=True)
        print(f"{label} | {EQUAL} | 1 | | " + " ".join(f"{100 * e:.2g}:{n:.0f}" for e, n in mean[EQUAL]), flush=True)
    if args.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
