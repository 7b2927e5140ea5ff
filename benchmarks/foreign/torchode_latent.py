"""torchdiffeq's latent ODE on noisy spirals or on patients, trained through torchode, with its own steps or with ours.

    python benchmarks/foreign/torchode_latent.py --task spirals|pbcseq [--controller pi34] [--seed 0] [--quick]

The model, the training and the tolerances of torchdiffeq_latent.py.  Every subject has its own steps, and its own
times: a patient is solved from enrolment to the last visit.  A call of the field is for the whole batch until the last
subject has arrived: evaluations are those calls, in training.  Accepted and rejected attempts are a subject's, the mean
over the batch.
"""

from __future__ import annotations

from typing import Any

import cell
import data
import torch
import torch_nets
import torchode
import torchode_solve


def tensors(visits: data.Visits) -> Any:
    return data.Visits(*(torch.tensor(x) for x in visits.__dict__.values()))


def train(
    seed: int, controller: str | None, rtol: float, atol: float, task: str = "spirals", quick: bool = False
) -> dict[str, Any]:
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    series = data.series(task, seed, quick)
    model = torch_nets.LatentODE(series.train.inputs.shape[2], series.train.values.shape[2])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    term = torchode.ODETerm(model.field)
    step = torchode.Dopri5(term=term)
    adjoint = torchode.AutoDiffAdjoint(step, torchode.IntegralController(atol, rtol, term=term))
    if controller is not None:
        sizes = cell.chosen(controller).for_torchode(atol, rtol, term=term, warm_start=True, even_steps=True)
        adjoint = sizes.solver(step)
    solver = torchode_solve.Solver(adjoint)

    def solve(z0: torch.Tensor, visits: Any) -> torch.Tensor:
        return solver(z0, visits.times[:, 0], visits.times[:, -1], visits.times).ys

    clock, losses = cell.Clock(), []
    for rows in series.batches:
        visits = tensors(series.train.rows(rows))
        with clock:
            optimizer.zero_grad()
            loss = model.loss(visits, solve, series.noise)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())

    counted = {"evaluations": model.field.calls, "backward": 0, **solver.attempts()}
    error = model.held_out_error(tensors(series.held_out), solve)
    return cell.report(
        clock, losses, series.per_epoch, **counted, quality=error, quality_name="held-out mean squared error"
    )


if __name__ == "__main__":
    cell.main("torchode", ("spirals", "pbcseq"), train, (1e-7, 1e-9), __doc__)
