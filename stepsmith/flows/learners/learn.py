"""`learn`: one entry to every learner of a sampler of a few steps."""

from __future__ import annotations

import importlib
import inspect
import platform
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from ...integrators.core import options
from ...integrators.core.errors import outside
from ..model import Model
from ..schedule import MOST, Schedule
from .shapes import shape_of
from .task import Task, to_stderr

#: kind -> what it is, in one line; each is a module of this package with a function `fit`
KINDS = {
    "grid": "times by gradients through the sampler",
    "dp": "times by dynamic programming on a fine solver's way (GITS)",
    "ays": "times with the least bound on the KL divergence (Align Your Steps)",
    "evolution": "times by evolution (AutoDiffusion)",
    "bespoke": "midpoint rule in a scaled state and a warped time (Bespoke solvers)",
    "bns": "times and free coefficients (non-stationary solvers)",
    "solver_search": "times and weights that sum to one (differentiable solver search)",
    "usf": "a method for every step, by search with a learned predictor (unified sampling)",
    "hypersolver": "a network that corrects every step",
    "policy": "a network that chooses every step from what it sees, by reinforcement learning",
}


def learn(
    model: Model,
    kind: str = "bns",
    steps: int = 8,
    seed: int = 0,
    n_train: int = 2048,
    minutes: float | None = None,
    *,
    shape: Any = None,
    n_validate: int = 512,
    batch: int = 256,
    dtype: torch.dtype = torch.float32,
    device: Any = None,
    progress: bool | Callable[[str], None] = False,
    **given: Any,
) -> Schedule:
    """Learn a sampler of a frozen model: few evaluations that end where a fine solver ends.

    model       a `Model`; its weights are not changed.
    kind        one of `KINDS`; other options are those of its module's `fit`, such as iterations, rate or solver.
    steps       evaluations of the model for one sample, 2 to 1000.
    seed        of the noise and of all draws: the same seed, the same numbers.  Noise for a test needs another seed: in
                float64 that of torch.manual_seed(4 seed) is what is trained on here.
    n_train     samples of noise to train on; n_validate: to choose the best iterate by; batch: of an iteration.
    minutes     that the training may take, None for as long as its iterations last.
    shape       of one sample, such as (64,); None where the model knows it (a mixture, or an attribute `shape`).
    dtype, device   of the samples: torch.float32 or torch.float64.
    progress    whether lines on standard error say how it goes, or a function that is given each line.

    Returns a `Schedule` whose `measured` has the error in per cent of the samples' RMS on the validation noise, and
    that of AB2 on the base grid; `provenance` has the seconds and the evaluations of the training.  UserWarning where
    the first is the larger one.  OptionError for options that do not fit; ValueError where the model's samples are not
    finite.
    """
    if not isinstance(model, Model):
        raise options.refuse("model", "a flows.Model", model)
    kind, steps = options.choice("kind", kind, KINDS), options.count("steps", steps, 2, MOST)
    fit = importlib.import_module(f".{kind}", __package__).fit
    own = [name for name in inspect.signature(fit).parameters if name != "task"]
    options.check_names(f"kind {kind!r}", given, [*own, *COMMON])
    for name in {"iterations", "width"} & given.keys():
        options.count(name, given[name])
    if "rate" in given:
        options.positive("rate", given["rate"])
    if not isinstance(dtype, torch.dtype) or dtype not in (torch.float32, torch.float64):
        raise options.refuse("dtype", "torch.float32 or torch.float64", dtype)
    if device is not None:
        try:
            torch.empty(0, device=device)
        except (RuntimeError, TypeError, ValueError):
            raise options.refuse("device", "a device of torch's that is here, such as 'cpu', or None", device) from None
    minutes = options.positive("minutes", minutes, none=True)
    seed, n_train = options.count("seed", seed, 0), options.count("n_train", n_train)
    n_validate, batch = options.count("n_validate", n_validate), options.count("batch", batch)
    report = progress if callable(progress) else to_stderr if options.flag("progress", progress) else None
    task = Task(
        model, steps, shape_of(model, shape), seed=seed, n_train=n_train, n_validate=n_validate, batch=batch,
        seconds=None if minutes is None else 60 * minutes, dtype=dtype, device=device, report=report,
    )  # fmt: skip
    rows, facts, *network = fit(task, **given)
    cost = {"seconds": round(task.elapsed, 2), "evaluations": task.evaluations}
    made = Schedule.of(
        kind, rows, process=model.process.as_dict(), span=task.span, network=network[0] if network else None,
        trained_on={"shape": list(task.shape), "predicts": model.predicts, "dtype": str(dtype).removeprefix("torch.")},
        provenance={
            "seed": seed, "n_train": n_train, "n_validate": n_validate, **facts, **cost, "torch": torch.__version__,
            "python": platform.python_version(), "threads": torch.get_num_threads(),
        },
    )  # fmt: skip
    error = task.error(lambda x: made.follow(model.velocity, x)[0])
    measured = {"error_percent": error, "ab2_percent": task.error_of(task.start())}
    task.say(f"{error:.3f} % on the validation noise, AB2 on the base grid {measured['ab2_percent']:.3f}")
    if error > measured["ab2_percent"]:
        warnings.warn(
            f"the learned sampler (kind={kind!r}) errs more than AB2 on the base grid, {error:.3g} % against "
            f"{measured['ab2_percent']:.3g} % of the samples' RMS on the validation noise: use that (method='ab2'), or "
            "kind='bns'",
            stacklevel=outside(),
        )
    finite = {key: value for key, value in measured.items() if value < float("inf")}
    return replace(made, measured=finite)


#: options of every kind
COMMON = tuple(p.name for p in inspect.signature(learn).parameters.values() if p.kind is not p.VAR_KEYWORD)
