"""torchdiffeq's latent ODE on noisy spirals or on patients, trained through torchdiffeq, with its own steps or ours.

    python benchmarks/foreign/torchdiffeq_latent.py --task spirals|pbcseq [--controller pi34] [--alone] [--seed 0] ...

torchdiffeq's example latent_ode.py: 200 iterations on all of 1000 spirals, or 20 epochs on batches of 16 patients,
whose visits are merged into one grid of times for each batch.  The call is the example's, with torchdiffeq's default
tolerances 1e-7 and 1e-9 and gradients through the solver.  Evaluations are calls of the field in training, each for a
whole batch.
"""

from __future__ import annotations

from typing import Any

import cell
import data
import torch
import torch_nets
from torchdiffeq import odeint


def tensors(visits: data.Visits) -> Any:
    """`visits` in tensors, with the times merged into one grid."""
    grid, where = visits.merged()
    found = data.Visits(*(torch.tensor(x) for x in visits.__dict__.values()))
    return found, torch.from_numpy(grid), torch.from_numpy(where)


def train(
    seed: int,
    controller: str | None,
    rtol: float,
    atol: float,
    task: str = "spirals",
    quick: bool = False,
    alone: bool = False,
) -> dict[str, Any]:
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    series = data.series(task, seed, quick)
    model = torch_nets.LatentODE(series.train.inputs.shape[2], series.train.values.shape[2])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

    method = "dopri5"
    if controller is not None:
        method = cell.chosen(controller).for_torchdiffeq("dopri5", warm_start=not alone, even_steps=not alone)

    clock, losses = cell.Clock(), []
    for rows in series.batches:
        visits, grid, where = tensors(series.train.rows(rows))
        with clock:
            optimizer.zero_grad()
            loss = model.loss(visits, solver(model.field, grid, where, rtol, atol, method), series.noise)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())

    field = model.field
    counted = {"evaluations": field.calls, "backward": 0, "accepted": field.accepted, "rejected": field.rejected}
    visits, grid, where = tensors(series.held_out)
    error = model.held_out_error(visits, solver(field, grid, where, rtol, atol, method))
    apart = torch_nets.solve_errors(field, model.encode(visits)[0][:64], grid, rtol, atol, method)
    return cell.report(
        clock, losses, series.per_epoch, **counted, **apart, quality=error, quality_name="held-out mean squared error"
    )


def solver(
    field: torch.nn.Module, grid: torch.Tensor, where: torch.Tensor, rtol: float, atol: float, method: str
) -> torch_nets.Solve:
    def solve(z0: torch.Tensor, visits: Any) -> torch.Tensor:
        z = odeint(field, z0, grid, rtol=rtol, atol=atol, method=method).permute(1, 0, 2)
        return z if where.shape[1] == len(grid) else z.gather(1, where[:, :, None].expand(-1, -1, z.shape[2]))

    return solve


if __name__ == "__main__":
    cell.main("torchdiffeq", ("spirals", "pbcseq"), train, (1e-7, 1e-9), __doc__)
