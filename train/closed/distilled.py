"""A closed form out of a network, on a family's training instances."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ...controllers.learned.network import Learned
from ...envs.ode import make_core
from ...integrators.core import options
from ...integrators.problems.families import Family
from ...policies.distill import Imitation, imitate
from ..config import settings
from ..run.provenance import provenance


def distilled(
    teacher: Learned, family: str | Family | None = None, method: str | None = None, features: Any = None, *,
    rounds: int = 3, steps: int = 400, lanes: int = 64, pool_size: int = 128, seed: int = 0,
    rtol: tuple[float, float] | None = None,
) -> Imitation:  # fmt: skip
    """`policies.distill.imitate` of a controller on training instances of a family.

    teacher            a learned controller
    family, method     default: those that it was trained on and with
    features           of the closed form, products among them; None: the teacher's
    rounds, steps      as `imitate` has them
    lanes              trajectories side by side
    pool_size, seed    how many instances, and what draws them
    rtol               (loose, tight) range of tolerances; None: those at which errors lie about the family's band

    Raises OptionError for values out of range, ValueError for unknown names, and where no family is known.
    """
    if not isinstance(teacher, Learned):
        raise options.refuse("teacher", "a learned controller", teacher)
    options.count("lanes", lanes)
    settings.seed("seed", seed)
    if not (family or teacher.family):
        raise options.OptionError(f"{teacher.name} says no family that it was trained on: name one")
    chosen = teacher.trained_method if method is None else method

    def make(decision: Any) -> Any:
        core = make_core(
            lanes, True, family or teacher.family, chosen, decision, pool_size=pool_size, pool_seed=seed, rtol=rtol,
            band=rtol is None,
        )  # fmt: skip
        core.seed(np.random.default_rng([seed, 17]).integers(0, 2**63, lanes, dtype=np.uint64))
        return core

    found = imitate(teacher, make, features, rounds=rounds, steps=steps)
    facts = {**found.controller.provenance, "algorithm": "distilled", **provenance()}
    facts["imitation"] = {
        "family": str(getattr(family, "name", family) or teacher.family), "rounds": rounds, "steps": steps,
        "lanes": lanes, "pool_size": pool_size, "seed": seed,
    }  # fmt: skip
    if facts.get("env_steps") is not None:  # the teacher's training, and the attempts that were imitated
        facts["env_steps"] = int(facts["env_steps"]) + rounds * steps * lanes
    return replace(found, controller=found.controller.replace(provenance=facts))
