"""Continuous normalising flows trained by likelihood: nats of unseen data, and the f-evaluations that a density takes.

    python benchmarks/flows_cnf.py [--sets moons wine checkerboard breast_cancer] [--seeds 0 1 2] [--iterations 200]
                                   [--variants exact "exact, ER" ...] [--json]

The field is a perceptron of (x, t) with two layers of 64 tanh units; Adam at 5e-3 falling along a cosine, batches of
128, Tsit5 with steps of each sample's own at a tolerance of 1e-3 in training, and of 1e-5 for the figures.  "moons" and
"checkerboard" draw new points for ever; of the tables, scikit-learn's wine (178 x 13) and breast cancer (569 x 30),
standardised by the training rows, a fifth is kept for the figures.  Variants: the exact trace or Hutchinson's in
training, with and without the error regulariser ("er_mean" times 100).  The figures are with the exact trace: mean
negative log density, nats, and evaluations a sample; means over the seeds.  Seconds are of training, on one thread.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from figures.save import parsed

import stepsmith as ss
from stepsmith.train import flows

SETS = ("moons", "checkerboard", "wine", "breast_cancer")
#: name -> (trace in training, strength of "er_mean", 0 for none)
VARIANTS: dict[str, tuple[str, float]] = {
    "exact": ("exact", 0.0),
    "exact, ER": ("exact", 100.0),
    "Hutchinson": ("hutchinson", 0.0),
    "Hutchinson, ER": ("hutchinson", 100.0),
}
Draw = Callable[[int, torch.Generator], torch.Tensor]


class Field(torch.nn.Module):
    """x (B, size), t (B,) -> (B, size)."""

    def __init__(self, size: int, width: int = 64) -> None:
        super().__init__()
        self.net = torch.nn.Sequential(
            torch.nn.Linear(size + 1, width), torch.nn.Tanh(), torch.nn.Linear(width, width), torch.nn.Tanh(),
            torch.nn.Linear(width, size),
        )  # fmt: skip

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return self.net(torch.cat([x, t.to(x.dtype)[:, None]], 1))


def data(name: str) -> tuple[Draw, torch.Tensor]:
    """Draws for training, and points for the figures (m, size) float32."""
    if name in flows.TASKS:
        found = flows.data(name)
        return (lambda n, g: found.draw(n, g)[0]), found.unseen[:512]
    from sklearn import datasets

    x = torch.from_numpy(getattr(datasets, f"load_{name}")().data).float()
    x = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))]
    kept = len(x) // 5
    seen, unseen = x[kept:], x[:kept]
    mean, deviation = seen.mean(0), seen.std(0)
    seen, unseen = (seen - mean) / deviation, (unseen - mean) / deviation
    return (lambda n, g: seen[torch.randint(0, len(seen), (n,), generator=g)]), unseen


def trained(name: str, trace: str, strength: float, seed: int, iterations: int) -> dict[str, float]:
    """Nats and evaluations of one training run."""
    draw, unseen = data(name)
    torch.manual_seed(seed)
    field = Field(unseen.shape[1])
    more: dict[str, Any] = {"regulariser": "er_mean", "strength": strength} if strength else {}
    flow = ss.flows.CNF(field, trace=trace, rtol=1e-3, atol=1e-3, **more)
    optimiser = torch.optim.Adam(field.parameters(), lr=5e-3)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, iterations)
    generator, began = torch.Generator().manual_seed(seed), time.perf_counter()
    nfe = []
    for _ in range(iterations):
        out = flow(draw(128, generator), generator)
        loss = -out.log_prob.mean()
        optimiser.zero_grad()
        (out.total(loss) if strength else loss).backward()
        torch.nn.utils.clip_grad_norm_(field.parameters(), 10.0)
        optimiser.step()
        rate.step()
        nfe.append(out.nfe)
    seconds = time.perf_counter() - began
    with torch.no_grad():
        found = ss.flows.CNF(field, rtol=1e-5, atol=1e-5).eval()(unseen)
        loose = ss.flows.CNF(field, rtol=1e-3, atol=1e-3).eval()(unseen)
    return {
        "nats": -float(found.log_prob.mean()), "nfe": found.nfe, "nfe at 1e-3": loose.nfe,
        "nfe in training": float(np.mean(nfe)), "seconds": seconds,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=["moons", "wine"], choices=SETS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--json", action="store_true")
    args = parsed(parser)
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for name in args.sets:
        for variant in args.variants:
            trace, strength = VARIANTS[variant]
            runs = []
            for seed in args.seeds:
                runs.append(trained(name, trace, strength, seed, args.iterations))
                print(f"{name}, {variant}, seed {seed}: {runs[-1]}", file=sys.stderr, flush=True)
            rows.append({"set": name, "variant": variant, "runs": runs})
    if args.json:
        print(json.dumps({"iterations": args.iterations, "rows": rows}, indent=1))
        return
    head = "| set | training | nats | evaluations at 1e-5 | at 1e-3 | in training | seconds |"
    print(head + "\n|---|---|---|---|---|---|---|")
    for row in rows:
        mean = {key: np.mean([run[key] for run in row["runs"]]) for key in row["runs"][0]}
        low, high = (f([run["nats"] for run in row["runs"]]) for f in (min, max))
        print(
            f"| {row['set']} | {row['variant']} | {mean['nats']:.2f} ({low:.2f} to {high:.2f}) | {mean['nfe']:.1f} "
            f"| {mean['nfe at 1e-3']:.1f} | {mean['nfe in training']:.1f} | {mean['seconds']:.0f} |"
        )


if __name__ == "__main__":
    main()
