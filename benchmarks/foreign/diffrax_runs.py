"""What both diffrax scripts share: the loop over batches, with compiling apart, and the count of what a solve did.

It is imported by the scripts beside it and has no command of its own.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import cell
import jax.numpy as jnp
import numpy as np


def trained(
    step: Any, model: Any, state: Any, batches: Iterable[tuple[Any, ...]], ours: bool
) -> tuple[Any, cell.Clock, list[float], dict[str, Any]]:
    """Run `step(model, state, dt0, *batch)` over the batches; it returns model, state, loss and `told` of the solves.

    step  compiled by equinox.filter_jit
    told  a dictionary: "stats", diffrax's counts for each sample, and with our controllers "first", the dt0 of the
          next iteration
    ours  whether the controller is ours: dt0 is NaN in the first iteration, which means to choose it; else None
          throughout

    Returns the model, the clock of the iterations without compiling, the losses, and what was counted: evaluations are
    those of the whole batch until its last sample has arrived.
    """
    clock, losses, compiled = cell.Clock(), [], None
    dt0 = jnp.array(jnp.nan, jnp.float32) if ours else None
    compiling, evaluations, accepted, rejected = 0.0, 0, 0.0, 0.0
    for batch in batches:
        if compiled is None:
            began = time.perf_counter()
            compiled = step.lower(model, state, dt0, *batch).compile()
            compiling = time.perf_counter() - began
        chosen = ours and bool(jnp.isnan(dt0))
        with clock:
            model, state, loss, told = compiled(model, state, dt0, *batch)
            dt0 = told.get("first")
            losses.append(float(loss))
        stats = {name: np.asarray(value) for name, value in told["stats"].items()}
        # six an attempt; one before the first, and two more where our controller chooses the first size itself
        evaluations += 6 * int(stats["num_steps"].max()) + (3 if chosen else 1)
        accepted += float(stats["num_accepted_steps"].mean())
        rejected += float(stats["num_rejected_steps"].mean())
    counted = {
        "evaluations": evaluations, "backward": None, "accepted": round(accepted, 1), "rejected": round(rejected, 1),
        "seconds_compile": compiling,
    }  # fmt: skip
    return model, clock, losses, counted


def counts(solution: Any) -> dict[str, Any]:
    """Of a solve, what `trained` adds up."""
    return {name: solution.stats[name] for name in ("num_steps", "num_accepted_steps", "num_rejected_steps")}
