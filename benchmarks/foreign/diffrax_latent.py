"""torchdiffeq's latent ODE on noisy spirals or on patients, trained through diffrax, with its own steps or with ours.

    python benchmarks/foreign/diffrax_latent.py --task spirals|pbcseq [--controller pi34] [--seed 0] [--quick]

The model, the training and the tolerances of torchdiffeq_latent.py, in equinox and single precision.  As in diffrax's
own latent ODE a solve is of one subject, under `jax.vmap`: every subject has its own steps and its own times, and the
batch goes on until the last one has arrived.  Evaluations are those of the batch, forwards, in training, from diffrax's
counts; diffrax repeats them in the backward pass, which it does not count.  Accepted and rejected attempts are a
subject's, the mean over the batch.  Compiling is timed apart.
"""

from __future__ import annotations

from typing import Any

import cell
import data
import diffrax
import diffrax_runs
import equinox as eqx
import jax
import jax.numpy as jnp
import jax_nets


def train(
    seed: int, controller: str | None, rtol: float, atol: float, task: str = "spirals", quick: bool = False
) -> dict[str, Any]:
    series = data.series(task, seed, quick)
    key, *keys = jax.random.split(jax.random.key(seed), len(series.batches) + 1)
    model = jax_nets.LatentODE(series.train.inputs.shape[2], series.train.values.shape[2], key)

    sizes: Any = diffrax.PIDController(rtol, atol)
    ours = controller is not None
    if ours:
        sizes = cell.chosen(controller).for_diffrax(rtol, atol, even_steps=True)

    def solve(field: Any, z0: Any, times: Any, dt0: Any) -> tuple[Any, Any]:
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, z, _: field(t, z)), diffrax.Dopri5(), times[0], times[-1], dt0, z0,
            saveat=diffrax.SaveAt(ts=times, controller_state=ours), stepsize_controller=sizes,
        )  # fmt: skip
        told = {"stats": diffrax_runs.counts(solution)}
        if ours:
            told["first"] = sizes.first_size(solution.controller_state)
        return solution.ys, told

    def loss_of(model: Any, dt0: Any, visits: dict[str, Any], key: Any) -> tuple[Any, Any]:
        def one(visits: dict[str, Any], key: Any) -> tuple[Any, Any]:
            found = data.Visits(**visits)
            return model.loss(found, lambda z0, v: solve(model.field, z0, v.times, dt0), series.noise, key)

        losses, told = jax.vmap(one)(visits, jax.random.split(key, len(visits["times"])))
        if ours:  # the shortest, for whoever comes next
            told["first"] = jnp.nanmin(told["first"])
        return losses.mean(), told

    @eqx.filter_jit
    def step(model: Any, state: Any, dt0: Any, visits: dict[str, Any], key: Any) -> Any:
        (loss, told), gradients = eqx.filter_value_and_grad(loss_of, has_aux=True)(model, dt0, visits, key)
        return *jax_nets.adam(model, gradients, state), loss, told

    def arrays(visits: data.Visits) -> dict[str, Any]:
        return {name: jnp.asarray(value) for name, value in visits.__dict__.items()}

    batches = [
        (arrays(series.train.rows(rows)), k) for rows, k in zip(series.batches, keys, strict=True)
    ] if task != "spirals" else [(arrays(series.train), k) for k in keys]  # fmt: skip
    state = jax_nets.zeros(model), jax_nets.zeros(model), jnp.zeros((), int)
    model, clock, losses, counted = diffrax_runs.trained(step, model, state, batches, ours)

    @eqx.filter_jit
    @jax.vmap
    def predicted(visits: dict[str, Any]) -> Any:
        found = data.Visits(**visits)
        z, _ = solve(model.field, model.encode(found)[0], found.times, None)
        return jax.vmap(model.decode)(z)

    off = (predicted(arrays(series.held_out)) - series.held_out.values) * series.held_out.mask
    error = float((off**2).sum() / series.held_out.mask.sum())
    return cell.report(
        clock, losses, series.per_epoch, **counted, quality=error, quality_name="held-out mean squared error"
    )


if __name__ == "__main__":
    cell.main("diffrax", ("spirals", "pbcseq"), train, (1e-7, 1e-9), __doc__)
