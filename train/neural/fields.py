"""Controllers on the fields that training runs met: matched-error work, an instance being kept weights and a batch of
subjects.

As in training, the batch is one system with one step size.  The error is the largest over the output times of

    rms(y - y_ref) / rms(y_ref)        over the batch and all components,

the reference DOP853 at 1e-13, checked by a run at 1e-11.  Tolerances and error levels below were fixed on published
laws: fields fresh from the initialisation end with errors of 1e-5 at the loosest tolerance, trained ones of pbcseq with
1e-8 at 1e-9.

Warm: the solve begins with the first step that suited another batch of the same weights, as in the middle of a training
run under `NeuralODE(warm_start=True)`: that batch is solved again and again, outside the count, until the size stays
within half a per cent.  The size found at one tolerance, scaled by tol^(1/k) with k of the error estimate's h^k, is
where the search at the next begins.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ... import neural
from ...controllers.laws import registry
from ...integrators.core import options as checks
from ...integrators.core.tolerance_scale import unscaled
from ...integrators.engine.costs import NONE, Costs
from ...integrators.methods.places import ALIASES
from ...integrators.methods.tableaus import NAMES as TABLEAUS
from ...integrators.methods.tableaus import get as get_tableau
from ...integrators.problems.families import tolerance_grid
from ..config.settings import MOST_INSTANCES, choice
from ..evaluate.curves import Array, error_levels
from ..evaluate.splits import Sweep
from ..run.threads import torch_threads
from ..tune.search import Tuned, check_laws, check_search, tune_splits
from .folder import read_config
from .tasks import build

TOLERANCES = tolerance_grid(1.0, 1e-10, 21)
LEVELS = (1e-8, 1e-5)
REFERENCE = (1e-13, 1e-11)
SETTLED, MOST_WARMING = 0.005, 60
#: attempts a solve may make, whatever is asked for, by the order of the method (300 for others): laws take some tens at
#: order 5, and what a search tries must not hold it up
MOST_STEPS = {2: 10_000, 3: 3_000}


@dataclass(frozen=True)
class FieldBand:
    """Name and error levels of a set of fields."""

    name: str
    levels: tuple[float, float] = LEVELS

    @property
    def error_levels(self) -> Array:
        """Error levels of the band, eight a decade, ascending."""
        return error_levels(self.levels[1], self.levels[0])[::-1]


@dataclass(frozen=True, eq=False)
class Instance:
    """A field and a batch of problems on it.

    field     the module
    y0, t     initial states (B, n) and output times (T,)
    ref       (T - 1, B, n) the reference behind the start
    before    y0 and t of another batch, for warm starts
    """

    name: str
    field: Any
    y0: torch.Tensor
    t: torch.Tensor
    ref: torch.Tensor
    before: tuple[torch.Tensor, torch.Tensor]

    def solve(
        self,
        controller: Any,
        method: str,
        tol: float,
        first_step: float | None = None,
        other: bool = False,
        **options: Any,
    ) -> Any:
        """One solve of the batch, or of the other one, without gradient, at `tol` itself: the controller's tolerance
        scale is taken off."""
        controller = unscaled(controller)
        y0, t = self.before if other else (self.y0, self.t)
        with torch.no_grad():
            return neural.odeint(
                self.field, y0, t, method, controller, rtol=tol, atol=tol, adjoint="none", per_sample=False,
                heuristics=False,
                first_step=first_step, **options,
            )  # fmt: skip

    def warmed(
        self, controller: Any, method: str, tol: float, guess: float | None = None, **options: Any
    ) -> float | None:
        """The first step that warm starts on the other batch come to, from `guess` on; None where they fail.

        options: further arguments of odeint.
        """
        size = self._settled(controller, method, tol, guess, **options)
        # what fails from a guess may do without
        return self._settled(controller, method, tol, None, **options) if size is None and guess is not None else size

    def _settled(self, controller: Any, method: str, tol: float, size: float | None, **options: Any) -> float | None:
        for _ in range(MOST_WARMING):
            found = self.solve(controller, method, tol, size, other=True, **options)
            new = float(found.stats.first_step[0])
            if not (found.success and new > 0):
                return None
            if size is not None and abs(new - size) <= SETTLED * size:
                return new
            size = new
        return size

    def error(self, y: torch.Tensor) -> float:
        """Of a solution y (T, B, n); inf where it is not finite."""
        size = self.ref.square().mean((1, 2)).sqrt()
        off = (y[1:] - self.ref).square().mean((1, 2)).sqrt()
        worst = float((off / size).max())
        return worst if np.isfinite(worst) else np.inf


def instances(
    folder: str | Path, part: str = "test", batch: int = 64, batches: int = 1, seed: int = 0
) -> list[Instance]:
    """The fields of a finished run's kept weights, each with some batches of subjects.

    part       "train", "validation" or "test"
    batch      subjects a batch
    batches    how many batches every field has
    seed       what draws the subjects

    A warm start comes from a batch drawn beside them; no subject is in two batches of the same weights, so that batches
    are smaller where there are not enough subjects.  Raises ValueError where the folder is no finished run that keeps
    weights, ran in float32 (its reference would be round-off), where its field belongs to the subjects (neural
    controlled equations), where there are too few subjects, and where a reference fails its self-check.
    """
    from safetensors.torch import load_file

    folder = Path(folder)
    files = sorted((folder / "weights").glob("*.safetensors"))
    if not (folder / "config.json").is_file() or not files:
        raise ValueError(f"{folder}: no run that keeps weights; train with [train] keep = [0, ...]")
    config = read_config(folder / "config.json")
    if config.train.dtype != "float64":
        raise ValueError(f"{folder}: ran in {config.train.dtype}, whose round-off is no reference; train in float64")
    if sorted(set(config.train.keep)) != [int(file.stem) for file in files]:
        raise ValueError(f"{folder}: has not kept all the weights that its config asks for; finish the run")
    rng, out = np.random.default_rng(seed), []
    task = build(config)
    if hasattr(task, "controlled"):
        raise ValueError(
            f"{folder}: the field of {config.task['name']!r} belongs to its subjects, and cannot be solved for others"
        )
    for file in files:
        task.model.load_state_dict(load_file(file))
        rows = task.split.part(part)
        size = min(batch, len(rows) // (batches + 1))
        if size < 1:
            raise ValueError(
                f"{folder}: {len(rows)} {part} subjects do not make {batches} batches and one for warm starts"
            )
        drawn = rng.permutation(rows)
        problems = []
        with torch.no_grad():
            for k in range(batches + 1):
                y0, t, _ = task.start(torch.from_numpy(np.sort(drawn[k * size : (k + 1) * size])), None)
                problems.append((y0.detach().contiguous(), t))
        field = copy.deepcopy(task.field)
        for k in range(batches):
            name = f"{config.name}-s{config.seed}, epoch {int(file.stem)}, batch {k}"
            out.append(_with_reference(name, field, problems[k], problems[-1]))
    return out


def _with_reference(
    name: str, field: Any, problem: tuple[torch.Tensor, torch.Tensor], before: tuple[torch.Tensor, torch.Tensor]
) -> Instance:
    blank = Instance(name, field, *problem, problem[0], before)
    tight, loose = (blank.solve(registry.get("pi34"), "dop853", tol).y for tol in REFERENCE)
    found = Instance(name, field, *problem, tight[1:], before)
    apart = found.error(loose)
    if not apart <= LEVELS[0] / 100:
        raise ValueError(f"{name}: the reference fails its self-check, {apart:.1e} apart")
    return found


@dataclass(frozen=True, eq=False)
class FieldSplit:
    """Instances as a split that tuner and comparison can run controllers on.

    warm: begin with a size that suited another batch, as the module says.  even: `odeint`'s even_steps.  knobs: the
    tolerances (K,).

    whole: run every tolerance.  Otherwise an instance's tolerances, from the loosest to the tightest, end with a run
    that reaches the tightest level, as did the one before, for more work than the first of them, for no error level
    asks for more; or with the second failure in a row after a success, the fifth without one.  Runs that are not made
    repeat the last one's error, work and attempts, with `nfev` 0: work at the error levels is the whole sweep's, other
    figures are not.
    """

    family: FieldBand
    method: str
    seed: int
    instances: Sequence[Instance]
    warm: bool = False
    even: bool = False
    knobs: tuple[float, ...] = TOLERANCES
    whole: bool = True
    failed: tuple[int, ...] = ()
    costs: Costs = NONE

    @property
    def ids(self) -> np.ndarray:
        """(B,) numbers of the instances."""
        return np.arange(len(self.instances))

    @property
    def tolerances(self) -> Array:
        """Relative and absolute tolerances, decreasing."""
        return np.array(self.knobs)

    def sweep(
        self, controller: Any, rtols: Array | None = None, max_steps: int = 10_000, threads: int | None = None
    ) -> Sweep:
        """A controller on every instance at every tolerance.  threads: has no say here, torch's own number has.

        Raises ValueError for tolerances that do not decrease, where the order matters.
        """
        tols = self.tolerances if rtols is None else np.asarray(rtols, dtype=float)
        if not self.whole and (np.diff(tols) >= 0).any():
            raise ValueError("tolerances must decrease where whole=False ends them at the tightest error level")
        shape = (len(self.instances), len(tols))
        err, nfev, work, attempts, rejected = (np.zeros(shape) for _ in range(5))
        tableau = get_tableau(self.method)
        options: dict[str, Any] = {
            "max_steps": min(max_steps, MOST_STEPS.get(tableau.order, 300)),
            "even_steps": self.even,
        }
        root = 1.0 / (tableau.embedded_order + 1)
        for i, instance in enumerate(self.instances):
            size, reached, lost, over = None, -1, 0, False
            for k, tol in enumerate(tols):
                if over and not self.whole:
                    for table in (err, work, attempts, rejected):
                        table[i, k] = table[i, k - 1]
                    continue
                if self.warm:
                    guess: float | None = None if size is None else size * (tol / tols[k - 1]) ** root
                    size = instance.warmed(controller, self.method, tol, guess, **options)
                sol = instance.solve(controller, self.method, tol, size, **options)
                err[i, k] = instance.error(sol.y) if sol.success else np.inf
                s = sol.stats
                nfev[i, k] = work[i, k] = s.nfev
                attempts[i, k], rejected[i, k] = s.naccept + s.nreject, s.nreject
                # the first of those in a row that reach the tightest level
                reached = (k if reached < 0 else reached) if err[i, k] <= self.family.levels[0] else -1
                lost = 0 if sol.success else lost + 1
                over = (0 <= reached < k and work[i, k] > work[i, reached]) or lost >= (2 if lost <= k else 5)
        return Sweep(err, nfev, work, attempts, rejected)


def tune_fields(
    train: Sequence[str | Path], validation: Sequence[str | Path], method: str = "tsit5", n: int = 1,
    evaluations: int = 300,
    seed: int = 0, *, batch: int = 32, warm: bool = False, even: bool = False, n_validation: int = 1,
    progress: bool = True, **options: Any,
) -> Tuned:  # fmt: skip
    """Tune the general linear law on the fields that training runs met, each run counting the same.

    train           folders of the runs, whose training subjects are searched on
    validation      folders of other runs, whose validation subjects the law is chosen on
    n, n_validation    batches at every kept set of weights
    batch           subjects a batch
    warm, even      for solves with `NeuralODE(warm_start=True)`, with `even_steps=True`
    options         `restarts`, `sigma` and `start` of `tune.tune`

    One numeric thread is used, as in training.  Raises ValueError where a run stands on both sides.
    """
    checks.check_names("tune_fields()", options, ("restarts", "sigma", "start"))
    for name, folders in (("train", train), ("validation", validation)):
        if isinstance(folders, (str, Path)) or not folders:
            raise checks.refuse(name, "a list of run folders", folders)
    for name, value in (("n", n), ("n_validation", n_validation), ("batch", batch)):
        checks.count(name, value, 1, MOST_INSTANCES)
    for name, value in (("warm", warm), ("even", even)):
        checks.flag(name, value)
    search = {"restarts": 4, "sigma": 0.08, "start": None, **options}
    check_search(evaluations, seed, search["restarts"], search["sigma"], search["start"], progress)
    method = pair("method", method)
    check_laws(method, evaluations, search["start"])
    both = {Path(f).resolve() for f in train} & {Path(f).resolve() for f in validation}
    if both:
        raise ValueError(
            f"{both.pop()} is a training and a validation run: the law would be chosen on the fields it was searched on"
        )
    with torch_threads(1):
        splits: list[list[FieldSplit]] = []
        for folders, part, count in ((train, "train", n), (validation, "validation", n_validation)):
            found = [(folder, instances(folder, part, batch, count, seed)) for folder in folders]
            splits.append([
                FieldSplit(FieldBand(run_name(folder)), method, seed, fields, warm, even, TOLERANCES, False)
                for folder, fields in found
            ])
        name = "+".join(split.family.name for split in splits[0])
        tuned = tune_splits(name, splits[0], splits[1], evaluations, seed, progress=progress, **options)
    tuned.facts["fields"] = {
        "train": [str(folder) for folder in train],
        "validation": [str(folder) for folder in validation],
        "warm": warm,
        "even": even,
        "batch": batch,
        "n": n,
    }
    return tuned


def pair(name: str, value: Any) -> str:
    """The rule of an option that names an explicit pair, by its first name or an alias: the first name."""
    found: str = choice(*TABLEAUS, *ALIASES)(name, value)
    return ALIASES.get(found, found)


def run_name(folder: str | Path) -> str:
    """Name, seed and tolerance of a run, as one word."""
    folder = Path(folder)
    config = read_config(folder / "config.json")
    return f"{config.name}-s{config.seed}-tol{config.solver.tolerance:g}"
