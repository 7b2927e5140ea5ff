"""torchdiffeq's ODE-net on MNIST-5k, trained through diffrax, with its own steps or with ours.

    python benchmarks/foreign/diffrax_mnist.py [--controller pi34] [--seed 0] [--quick] [--out FILE]

The model and the training of torchdiffeq_mnist.py in equinox and single precision, for three epochs since it takes
longer.  A solve is of one batch, whose images share their steps, as in torchdiffeq.  Evaluations are those of the
batch, forwards, in training, from diffrax's counts; diffrax repeats them in the backward pass, which it does not count.
Compiling is timed apart.
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
    seed: int, controller: str | None, rtol: float, atol: float, task: str = "mnist", quick: bool = False
) -> dict[str, Any]:
    images, labels, test_images, test_labels, rows, per_epoch = data.images(seed, quick, epochs=3)
    model = jax_nets.ImageNet(jax.random.key(seed))

    sizes: Any = diffrax.PIDController(rtol, atol)
    ours = controller is not None
    if ours:
        sizes = cell.chosen(controller).for_diffrax(rtol, atol, even_steps=True)

    def solve(field: Any, y0: Any, dt0: Any) -> tuple[Any, Any]:
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, y, _: field(t, y)), diffrax.Dopri5(), 0.0, 1.0, dt0, y0,
            saveat=diffrax.SaveAt(t1=True, controller_state=ours), stepsize_controller=sizes,
        )  # fmt: skip
        told = {"stats": diffrax_runs.counts(solution)}
        if ours:
            told["first"] = sizes.first_size(solution.controller_state)
        return solution.ys[-1], told

    def scores_of(model: Any, x: Any, dt0: Any) -> tuple[Any, Any]:
        y, told = solve(jax.vmap(model.field, in_axes=(None, 0)), jax.vmap(model.features)(x), dt0)
        return jax.vmap(model.scores)(y), told

    def loss_of(model: Any, dt0: Any, x: Any, label: Any) -> tuple[Any, Any]:
        scores, told = scores_of(model, x, dt0)
        return -jnp.take_along_axis(jax.nn.log_softmax(scores), label[:, None], axis=1).mean(), told

    @eqx.filter_jit
    def step(model: Any, momentum: Any, dt0: Any, x: Any, label: Any) -> Any:
        (loss, told), gradients = eqx.filter_value_and_grad(loss_of, has_aux=True)(model, dt0, x, label)
        return *jax_nets.sgd(model, gradients, momentum), loss, told

    batches = [(jnp.asarray(images[r]), jnp.asarray(labels[r])) for r in rows]
    model, clock, losses, counted = diffrax_runs.trained(step, model, jax_nets.zeros(model), batches, ours)

    classes = eqx.filter_jit(lambda x: scores_of(model, x, None)[0].argmax(1))
    right = sum(
        int((classes(jnp.asarray(test_images[i : i + 250])) == test_labels[i : i + 250]).sum())
        for i in range(0, len(test_images), 250)
    )
    return cell.report(
        clock, losses, per_epoch, **counted, quality=right / len(test_labels), quality_name="test accuracy"
    )


if __name__ == "__main__":
    cell.main("diffrax", ("mnist",), train, (1e-3, 1e-3), __doc__)
