"""A gradient through a batch of neural ODEs: time a right-hand side, beside torchdiffeq and torchode.

    python benchmarks/neural_speed.py [--rounds 9] [--field small|mnist|all] [--dtype float32|float64|all] [--stiff]

Batch 512, dopri5, the same tolerances, gradients in y0 and all weights.  Fields: 2-64-2 tanh, and the 784-100-784 tanh
field of the MNIST papers.  Every evaluation of the field is counted, those of replays and backward solves too, by a
counter in the field itself. CPU time of one thread; the contestants take turns within a round, beginning with another
one each round; medians over the rounds, and ratios are medians of the ratios within a round.  Ours runs under
torchdiffeq's law, so that a batch takes the same steps; torchode has its own, which differs little.

"gradient" is the time of one forward and backward pass; "per f" divides it by the evaluations.  With --stiff: one
sample of 512 is forty times as fast as the others; what per-sample steps cost with and without it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
import torchdiffeq
import torchode
from figures.save import parsed

import stepsmith as ss

BATCH = 512
SIZES = {"small": (2, 64, 2, 4.0, 1e-6), "mnist": (784, 100, 784, 1.0, 1e-5)}


class Field(torch.nn.Module):
    """tanh field that counts its calls and rows."""

    def __init__(self, name: str, dtype: torch.dtype) -> None:
        super().__init__()
        n, hidden, _, self.end, self.tol = SIZES[name]
        torch.manual_seed(0)
        self.one, self.two = torch.nn.Linear(n, hidden, dtype=dtype), torch.nn.Linear(hidden, n, dtype=dtype)
        with torch.no_grad():
            for p in self.parameters():
                p.mul_(3.0)
        self.y0 = torch.randn(BATCH, n, dtype=dtype)
        self.calls = self.rows = 0

    def forward(self, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.rows += len(y)
        return torch.tanh(self.two(torch.tanh(self.one(y))))


def ours(field: Field, **options) -> Callable[[torch.Tensor], torch.Tensor]:
    t = torch.tensor([0.0, field.end], dtype=torch.float64)
    options = {"heuristics": False, **options}
    return lambda y0: ss.neural.odeint(
        field, y0, t, "dopri5", "torchdiffeq", rtol=field.tol, atol=field.tol, **options
    ).y[-1]


def theirs(field: Field, solve) -> Callable[[torch.Tensor], torch.Tensor]:
    t = torch.tensor([0.0, field.end], dtype=field.y0.dtype)
    return lambda y0: solve(field, y0, t, rtol=field.tol, atol=field.tol, method="dopri5")[-1]


def by_torchode(field: Field) -> Callable[[torch.Tensor], torch.Tensor]:
    term = torchode.ODETerm(field)
    law = torchode.IntegralController(atol=field.tol, rtol=field.tol, term=term)
    solver = torchode.AutoDiffAdjoint(torchode.Dopri5(term=term), law)
    t = torch.tensor([0.0, field.end], dtype=field.y0.dtype).repeat(BATCH, 1)
    return lambda y0: solver.solve(torchode.InitialValueProblem(y0=y0, t_eval=t)).ys[:, -1]


def contestants(field: Field) -> dict[str, Callable[[torch.Tensor], torch.Tensor]]:
    return {
        "torchdiffeq odeint": theirs(field, torchdiffeq.odeint),
        "torchode AutoDiff": by_torchode(field),
        "ours, batch": ours(field, per_sample=False),
        "ours, batch, with E and S": ours(field, per_sample=False, heuristics=True),
        "ours, batch, checkpoints": ours(field, per_sample=False, checkpoint_every=4),
        "ours, per sample": ours(field),
        "ours, per sample, compact": ours(field, compact=True),
        "torchdiffeq odeint_adjoint": theirs(field, torchdiffeq.odeint_adjoint),
        "ours, batch, backsolve": ours(field, per_sample=False, adjoint="backsolve"),
        "ours, batch, interpolating": ours(field, per_sample=False, adjoint="interpolating"),
        "ours, per sample, backsolve": ours(field, adjoint="backsolve"),
        "ours, per sample, interpolating": ours(field, adjoint="interpolating"),
    }


def gradient(field: Field, run: Callable[[torch.Tensor], torch.Tensor]) -> tuple[float, int]:
    """CPU seconds and evaluations of one forward and backward pass."""
    y0 = field.y0.clone().requires_grad_()
    field.zero_grad()
    field.calls = field.rows = 0
    began = time.process_time()
    run(y0).square().mean().backward()
    return time.process_time() - began, field.calls


def table(name: str, dtype: torch.dtype, rounds: int) -> None:
    field = Field(name, dtype)
    runs = contestants(field)
    times: dict[str, list[float]] = {who: [] for who in runs}
    counts = {who: gradient(field, run)[1] for who, run in runs.items()}
    for i in range(rounds):
        order = list(runs)[i % len(runs) :] + list(runs)[: i % len(runs)]
        for who in order:
            times[who].append(gradient(field, runs[who])[0])
    print(f"\n{name} field, {str(dtype)[6:]}, batch {BATCH}, tolerance {field.tol:g}, {rounds} rounds")
    print("| | evaluations | gradient ms | per f us | per f, over the faster plain one | gradient, over it |")
    print("|---|---|---|---|---|---|")
    plain = ("torchdiffeq odeint", "torchode AutoDiff")
    each = {who: [s / counts[who] for s in times[who]] for who in runs}
    best = min(plain, key=lambda who: statistics.median(each[who]))
    quick = min(plain, key=lambda who: statistics.median(times[who]))
    for who in runs:
        per_f = statistics.median(a / b for a, b in zip(each[who], each[best], strict=True))
        whole = statistics.median(a / b for a, b in zip(times[who], times[quick], strict=True))
        print(
            f"| {who} | {counts[who]} | {statistics.median(times[who]) * 1e3:.1f} | "
            f"{statistics.median(each[who]) * 1e6:.0f} | "
            f"{per_f:.2f} | {whole:.2f} |"
        )


class Rated(torch.nn.Module):
    """The field times a rate of each sample's own, which travels as its last feature."""

    def __init__(self, field: Field, rates: torch.Tensor) -> None:
        super().__init__()
        self.field, self.end, self.tol = field, field.end, field.tol
        self.y0 = torch.cat([field.y0[: len(rates)], rates[:, None]], 1)
        self.calls = self.rows = 0

    def forward(self, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.rows += len(y)
        return torch.cat([y[:, -1:] * self.field(t, y[:, :-1]), torch.zeros_like(y[:, -1:])], 1)


def stiff_table(name: str, dtype: torch.dtype, rounds: int) -> None:
    rates = torch.ones(BATCH, dtype=dtype)
    field, mixed = Field(name, dtype), rates.clone()
    mixed[0] = 40.0
    runs: dict[str, tuple] = {}
    for compact in (False, True):
        for what, rate in (("512 alike", rates), ("one of 512 fast", mixed), ("that one alone", mixed[:1])):
            rated = Rated(field, rate)
            runs[f"{what}, compact={compact}"] = rated, ours(rated, compact=compact)
    times: dict[str, list[float]] = {who: [] for who in runs}
    rows = {}
    for i in range(rounds + 1):
        order = list(runs)[i % len(runs) :] + list(runs)[: i % len(runs)]
        for who in order:
            rated, run = runs[who]
            spent, _ = gradient(rated, run)
            rows[who] = rated.rows
            if i:
                times[who].append(spent)
    print(f"\n{name} field, {str(dtype)[6:]}, per-sample steps, one sample 40 times as fast, {rounds} rounds")
    print("| | rows evaluated | gradient ms |")
    print("|---|---|---|")
    for who in runs:
        print(f"| {who} | {rows[who]} | {statistics.median(times[who]) * 1e3:.1f} |")
    for compact in (False, True):
        alike, one, alone = (
            times[f"{what}, compact={compact}"] for what in ("512 alike", "one of 512 fast", "that one alone")
        )
        ratio = statistics.median(b / (a + c) for a, b, c in zip(alike, one, alone, strict=True))
        print(f"compact={compact}: with the fast one, over (without it + it alone): {ratio:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--field", choices=[*SIZES, "all"], default="all")
    parser.add_argument("--dtype", choices=["float32", "float64", "all"], default="all")
    parser.add_argument("--stiff", action="store_true", help="the table of one fast sample instead")
    args = parsed(parser)
    torch.set_num_threads(1)
    print("load of the machine:", " ".join(f"{x:.1f}" for x in os.getloadavg()), "on", os.cpu_count(), "cores")
    for name in SIZES if args.field == "all" else [args.field]:
        for dtype in ("float32", "float64") if args.dtype == "all" else [args.dtype]:
            (stiff_table if args.stiff else table)(name, getattr(torch, dtype), args.rounds)


if __name__ == "__main__":
    main()
