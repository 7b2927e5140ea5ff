"""Non-stationary solvers with free coefficients: all of x_{i+1} = a_i x_0 + c_i x_i + sum_j b_ij u_j, and the times.

With c_i = 1 kept, which loses nothing since x_i is itself a sum of x_0 and the u_j, a_i, b_ij and the steps of the grid
are trained from AB2 on the base grid through the N evaluations.  Where `fit_last` says so the last row is then fitted
to the samples by least squares, which has one exact answer since the error is linear in it.

Source: N. Shaul et al., "Bespoke Non-Stationary Solvers
for Fast Sampling of Diffusion and Flow Models", ICML 2024, arXiv:2403.01329.
"""

from __future__ import annotations

from typing import Any

import torch

from ..linear import Rows, adams, run
from .gradient import logits_of, monotone, train
from .task import Task

Tensor = torch.Tensor
#: of the least squares, a share of the largest singular value
CUT = 1e-7


def fit(task: Task, rate: float = 0.005, iterations: int = 400, fit_last: bool = True) -> tuple[Rows, dict[str, Any]]:
    """The rows, and facts for the provenance."""
    n = task.steps
    logits = logits_of(task.times())
    first = adams(task.times(), 2)
    # in units of an even step, so that all numbers are about 1
    unit = (task.span[1] - task.span[0]) / n
    start, slopes = torch.zeros(n, dtype=torch.float64), (first.slopes / unit).clone()
    below = torch.tril(torch.ones(n, n, dtype=torch.float64))

    def build() -> Rows:
        return Rows(monotone(logits, task.span), start, torch.ones(n, dtype=torch.float64), slopes * below * unit)

    found, facts = train(
        task, [logits, start, slopes], build, rate=rate, iterations=iterations,
        polish=(lambda rows: last_row(task, rows)) if fit_last else None,
    )  # fmt: skip
    return found, {"rate": rate, "fit_last": fit_last, **facts}


@torch.no_grad()
def last_row(task: Task, rows: Rows) -> Rows:
    """The same rows with the last one fitted to the training samples by least squares."""
    x = task.training
    _, states, slopes = run(task.field, x, rows, keep=True)
    columns = torch.stack([x, *slopes], -1).double().reshape(-1, rows.evaluations + 1)
    wanted = (task.target - states[-2]).double().reshape(-1, 1)
    numbers = torch.linalg.lstsq(columns, wanted, rcond=CUT, driver="gelsd").solution[:, 0]
    if not torch.isfinite(numbers).all():
        return rows
    new = rows.detached()
    new.start[-1], new.slopes[-1] = numbers[0], numbers[1:]
    new.state[-1] = 1.0
    return new
