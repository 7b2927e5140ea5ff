"""Optimal control through a solver of few steps: what the controller costs on the true pendulum.

    python benchmarks/hypersolver_control.py [--seeds 0 1 2] [--json FILE]

A pendulum with friction is swung up and held by a torque u of at most 5: q'' = 9.81 sin q - .2 q' + u, with q = 0
upright.  A network sees (cos q, sin q, q') at the beginning of every step and holds its torque during the step.  It is
trained by gradients through the solver: the cost is the mean over the steps of q^2 about upright (as 2 - 2 cos q), .1
q'^2 and .001 u^2, where the first two at the end weigh ten steps more.  Each row trains the same network, from the same
weights and starts, through another solver with steps of .15 over 3 time units; "fine" is the classical method of order
4 with 5 steps in the place of each.  The hypersolver is Euler's method with a correction that was fitted before, on
random states and torques (`stepsmith.flows.Hypersolver` on the state with u beside it, whose derivative is zero).

Columns: evaluations of the field in a rollout; the error of the final state on unseen starts under random torques, in
per cent of its RMS; the cost that training saw and the one on the true pendulum, the "fine" one, from unseen starts;
seconds of training, without those of the hypersolver's fit.  Setting after M. Poli et al., "Neural Solvers for Fast and
Accurate Numerical Optimal Control", ICLR 2022, whose hypersolvers are of this kind.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import stepsmith as ss

Tensor = torch.Tensor
STEP, STEPS, SUB, MOST = 0.15, 20, 5, 5.0
ROWS = ("euler", "hypersolver", "midpoint", "fine")
PER_STEP = {"euler": 1, "hypersolver": 1, "midpoint": 2, "fine": 4 * SUB}


def pendulum(t: Any, x: Tensor) -> Tensor:
    """The derivative of (q, q', u), (B, 3)."""
    q, v, u = x.unbind(1)
    return torch.stack([v, 9.81 * torch.sin(q) - 0.2 * v + u, torch.zeros_like(u)], 1)


def fine(x: Tensor) -> Tensor:
    """The state after one held torque, by SUB steps of the classical method of order 4."""
    h = STEP / SUB
    for _ in range(SUB):
        k1 = pendulum(0, x)
        k2 = pendulum(0, x + h / 2 * k1)
        k3 = pendulum(0, x + h / 2 * k2)
        x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + pendulum(0, x + h * k3))
    return x


def starts(n: int, generator: torch.Generator) -> Tensor:
    """States (n, 2): anywhere on the circle, with small speeds."""
    angle = (2 * torch.rand(n, generator=generator) - 1) * torch.pi
    return torch.stack([angle, torch.randn(n, generator=generator)], 1)


def fitted(seed: int) -> ss.flows.Hypersolver:
    """Euler's method with a correction fitted on random states and torques."""
    draws = torch.Generator().manual_seed(seed)
    n = 20_000
    angle = (2 * torch.rand(n, generator=draws) - 1) * 2 * torch.pi
    torque = (2 * torch.rand(n, generator=draws) - 1) * MOST
    x = torch.stack([angle, 4 * torch.randn(n, generator=draws), torque], 1)
    torch.manual_seed(seed)
    solver = ss.flows.Hypersolver(3, "euler", width=64, depth=2)
    solver.fit(pendulum, x, torch.tensor([0.0, STEP]), iterations=6000, seed=seed)
    return solver.requires_grad_(False)


def solvers(seed: int) -> dict[str, Callable[[Tensor], Tensor]]:
    """name -> the state after one held torque."""
    hyper, euler, midpoint = fitted(seed), ss.flows.Hypersolver(3, "euler"), ss.flows.Hypersolver(3, "midpoint")
    return {
        "euler": lambda x: euler.step(pendulum, 0.0, x, STEP),
        "hypersolver": lambda x: hyper.step(pendulum, 0.0, x, STEP),
        "midpoint": lambda x: midpoint.step(pendulum, 0.0, x, STEP),
        "fine": fine,
    }


def controller(seed: int) -> torch.nn.Module:
    """(cos q, sin q, q') -> torque."""
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Linear(3, 64), torch.nn.Tanh(), torch.nn.Linear(64, 64), torch.nn.Tanh(), torch.nn.Linear(64, 1)
    )


def cost(net: torch.nn.Module, step: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The mean cost from x (B, 2) under a controller."""
    total = torch.zeros(())
    for _ in range(STEPS):
        q, v = x.unbind(1)
        u = MOST * torch.tanh(net(torch.stack([q.cos(), q.sin(), v / 4], 1)))[:, 0]
        x = step(torch.cat([x, u[:, None]], 1))[:, :2]
        total = total + (2 - 2 * x[:, 0].cos() + 0.1 * x[:, 1] ** 2 + 0.001 * u**2).mean() / STEPS
    return total + 10 * (2 - 2 * x[:, 0].cos() + 0.1 * x[:, 1] ** 2).mean() / STEPS


def measured(seed: int, iterations: int = 600) -> list[dict[str, Any]]:
    """A row for each solver."""
    rows, made = [], solvers(seed)
    unseen = starts(1024, torch.Generator().manual_seed(2**40 + seed))
    torques = (2 * torch.rand((STEPS, 1024), generator=torch.Generator().manual_seed(2**41 + seed)) - 1) * MOST
    for name in ROWS:
        net, draws, began = controller(seed), torch.Generator().manual_seed(seed), time.perf_counter()
        adam = torch.optim.Adam(net.parameters(), lr=3e-3)
        rate = torch.optim.lr_scheduler.CosineAnnealingLR(adam, iterations)
        for _ in range(iterations):
            loss = cost(net, made[name], starts(128, draws))
            adam.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            adam.step()
            rate.step()
        seconds = time.perf_counter() - began
        with torch.no_grad():
            x, wanted = unseen, unseen
            for u in torques:
                x = made[name](torch.cat([x, u[:, None]], 1))[:, :2]
                wanted = fine(torch.cat([wanted, u[:, None]], 1))[:, :2]
            error = 100 * float((x - wanted).square().mean().sqrt() / wanted.square().mean().sqrt())
            seen, true = float(cost(net, made[name], unseen)), float(cost(net, fine, unseen))
        rows.append({
            "solver": name, "seed": seed, "evaluations": STEPS * PER_STEP[name], "error": error, "seen": seen,
            "true": true, "seconds": seconds,
        })  # fmt: skip
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: means over the seeds, with the least and the largest."""
    lines = ["| solver | evaluations | error of a rollout, % | cost seen | cost on the pendulum | training, s |"]
    lines.append("|---|---|---|---|---|---|")
    for name in ROWS:
        own = [row for row in rows if row["solver"] == name]
        cells = [str(own[0]["evaluations"])]
        for key in ("error", "seen", "true", "seconds"):
            values = [row[key] for row in own]
            spread = f" ({min(values):.3g}-{max(values):.3g})" if len(values) > 1 else ""
            cells.append(f"{sum(values) / len(values):.3g}{spread}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--json", metavar="FILE", help="write the rows there")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = [row for seed in given.seeds for row in measured(seed)]
    if given.json:
        Path(given.json).write_text(json.dumps(rows, indent=1))
    print(table(rows))


if __name__ == "__main__":
    main()
