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

from ...integrators.core import options
from ..linear import Rows, adams, run
from . import solver_search
from .gradient import logits_of, monotone, train
from .task import Task

Tensor = torch.Tensor
#: of the least squares, a share of the largest singular value
CUT = 1e-7


def rows_of(times: Tensor, weights: Tensor, start: Tensor, excess: Tensor) -> Rows:
    """Rows of weights (N, N) as `solver_search.rows_of` has them, a (N,), and what their sums exceed one by (N,)."""
    held = solver_search.rows_of(times, weights)
    steps = times[1:] - times[:-1]
    return Rows(times, start, held.state, held.slopes + torch.diag(steps * excess))


def fit(
    task: Task, rate: float = 0.01, iterations: int = 400, fit_last: bool = True, loss: str = "end"
) -> tuple[Rows, dict[str, Any]]:
    """The rows, and facts for the provenance.

    loss: "path", that of `solver_search`, or "end", the logarithm of the mean square error of the samples.
    """
    fit_last = options.flag("fit_last", fit_last)
    measure = solver_search.path_error if options.choice("loss", loss, ("path", "end")) == "path" else None
    times, n = task.times(), task.steps
    logits = logits_of(times)
    weights = adams(times, 2).slopes / (times[1:] - times[:-1])[:, None]
    start, excess = torch.zeros(n, dtype=torch.float64), torch.zeros(n, dtype=torch.float64)
    found, facts = train(
        task,
        [logits, weights, start, excess],
        lambda: rows_of(monotone(logits, task.span), weights, start, excess),
        rate=rate,
        iterations=iterations,
        loss=measure,
        polish=(lambda rows: last_row(task, rows)) if fit_last else None,
    )
    return found, {"rate": rate, "fit_last": fit_last, "loss": loss, **facts}


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
