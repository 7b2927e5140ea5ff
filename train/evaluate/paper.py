"""Controllers in the set-up of the three-body paper (arXiv:2502.12809): Hermite PEC, 300 calls of 0.1 yr.

A call takes whole steps until its end time is passed, starts from a fresh evaluation of the forces and is closed by
another, so work is steps + 2 a call.  A controller's memory outlives the call, and so does its next size in units of
AMUSE's time scale, which is computed anew from the fresh forces: for AMUSE's criterion that is what AMUSE does.  Error:
the largest |E/E0 - 1| at the ends of the calls.  The knob is the accuracy parameter of the criterion; the grid and the
band of errors are the family's.

`calls` runs a controller on a batch, `sweep` over a grid; `PaperFitness` is what `evolution.evolve` minimises; `play`
runs a policy in `ThreeBodyPaper-v0`, and `at_points` compares one run an instance with curves.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...controllers.laws import registry
from ...controllers.learned.decision import Decision
from ...controllers.learned.network import Learned
from ...envs.three_body_paper import PaperCore
from ...integrators import methods
from ...integrators.core import options, record
from ...integrators.engine.solve import slots_of
from ...integrators.kernels.build import Kernel, aligned, build
from ...integrators.kernels.layout import N_STATS, SUCCESS
from ...integrators.problems.nbody.three_body_paper import FAMILY
from ...integrators.problems.problem import Batch
from ..algorithms.evolution import Fitness, Settings, evolve
from ..config import settings as rules
from ..run.progress import Progress
from ..run.provenance import provenance
from . import curves
from .curves import Array
from .paper_driver import driver_source

#: calls of a run, their length in years, and lanes of a kernel
CALLS, LENGTH, WIDTH = 300, 0.1, 8
METHOD = "hermite4_pec"
#: a controller may look at the time left, which never cuts a step short here: this part of the span
BEYOND = 1.1
WORST = 10.0  # energy error that a failed run counts as in training
FEATURES = ("log_h_tau", "log_tau_ratio", "log_ratio_1", "log_ratio_2", "log_left")

_KERNELS: dict[tuple, Kernel] = {}


def _kernel(batch: Batch, controller: Any) -> Kernel:
    slots = slots_of(controller) | {record.TAU_AMUSE}
    key = (controller.key, controller.known, controller.n_state, slots)
    if key not in _KERNELS:
        parts = methods.get(METHOD).parts(batch, slots)
        _KERNELS[key] = build(parts, batch.n, batch.m, controller, WIDTH, driver_source)
    return _KERNELS[key]


@dataclass(frozen=True)
class Outcome:
    """What came out of one run an instance, arrays (B,), or of a sweep, arrays (B, K).

    largest    the largest |E/E0 - 1| at the ends of the calls
    last       the one at the end of the last call
    nfev       force evaluations
    seconds    in the kernel, of the whole batch; of a sweep (K,)
    """

    largest: Array
    last: Array
    nfev: Array
    seconds: Any


def calls(batch: Batch, controller: Any, count: int = CALLS, max_steps: int = 1_000_000) -> Outcome:
    """Run a controller on every instance through `count` calls.

    A run that fails (more than max_steps steps, a step below what time resolves, a state that is no number) has errors
    inf.
    """
    kernel, b = _kernel(batch, controller), len(batch)
    marks = np.full((b, count, batch.n), np.nan)
    yend, stat, one = np.empty((b, batch.n)), np.empty((b, N_STATS)), np.ones(b)
    args = (batch.y0, batch.p, batch.t0, one * (BEYOND * count * LENGTH), one, np.ones((b, batch.n)), one * np.nan)
    rest = (np.empty((1, 0)), np.empty((b, 0, batch.n)), float(max_steps), LENGTH, count, 0, b)
    keep, params, block = np.zeros((controller.n_state + 2, WIDTH)), controller.params, aligned(kernel.layout.size)
    start = time.perf_counter()
    kernel.module.run_calls(block, params, *args, *rest, keep, marks, yend, stat)
    seconds = time.perf_counter() - start
    times = np.tile(LENGTH * np.arange(1, count + 1), (b, 1))
    with np.errstate(all="ignore"):
        error = np.abs(
            batch.invariant("energy", times, marks) / batch.invariant("energy", batch.t0, batch.y0)[:, None] - 1.0
        )
    fine = (stat[:, 0] == SUCCESS) & np.isfinite(error).all(axis=1)
    return Outcome(np.where(fine, error.max(axis=1), np.inf), np.where(fine, error[:, -1], np.inf), stat[:, 3], seconds)


def sweep(batch: Batch, at: Callable[[float], Any], knob: Array) -> Outcome:
    """`calls` of `at(value)` for every value of the knob."""
    return joined([calls(batch, at(float(v))) for v in knob])


def joined(runs: Sequence[Outcome]) -> Outcome:
    """Runs at several values of the knob as one sweep."""
    columns = (np.stack([getattr(r, name) for r in runs], axis=-1) for name in ("largest", "last", "nfev", "seconds"))
    return Outcome(*columns)


def with_mu(learned: Learned, mu: float) -> Learned:
    """A controller on AMUSE's criterion at another accuracy parameter."""
    return learned.replace(decision=learned.decision.replace(law=registry.get("amuse", mu=mu)))


class PaperFitness(Fitness):
    """Work of a controller against AMUSE's criterion on training draws, to first order: a fitness for
    `evolution.evolve`.

    Mean over instances and over five accuracy parameters of  log w - log w_0 + g_k (log e - log e_0),  w, e its work
    and error, w_0, e_0 those of the criterion there, g_k = -d log w_0/d log e_0 of its curve of geometric means: what
    it costs to make up for the error.  One run's error scatters by a decade here (close encounters are chaotic); this
    uses every run, an envelope only the luckiest.
    """

    def __init__(self, settings: Settings, pool_size: int = 256, seed: int = 0) -> None:
        rules.instances("pool_size", pool_size)
        rules.seed("seed", seed)
        self.settings, self.attempts = settings, 0
        self.batch = FAMILY.split("train", pool_size, seed)
        self.mus = np.array(FAMILY.etas)[2:11:2]
        base = sweep(self.batch, lambda mu: registry.get("amuse", mu=mu), self.mus)
        self.cost = base.nfev
        self.base_error, self.base_work = np.log(np.minimum(base.largest, WORST)), np.log(self.cost)
        self.pick = np.flatnonzero(self.cost.sum(axis=1) <= settings.dearest)
        if self.pick.size == 0:
            raise ValueError(f"no training instance costs the criterion at most {settings.dearest:g} force evaluations")
        e, w = (v[self.pick].mean(axis=0) for v in (self.base_error, self.base_work))
        self.exchange = -np.gradient(w, e)

    def draw(self, rng: np.random.Generator) -> None:
        """Draw the instances of the coming generations."""
        chosen = rng.permutation(self.pick)[: self.settings.instances]
        # longest runs first, as they would otherwise end alone
        self.instances = chosen[np.argsort(-self.cost[chosen].sum(axis=1), kind="stable")]

    def __call__(self, controller: Learned, threads: int | None = None) -> float:
        chosen = self.instances
        batch, total = self.batch[chosen], 0.0
        for k, mu in enumerate(self.mus):
            run = calls(batch, with_mu(controller, mu), max_steps=self.settings.max_steps)
            self.attempts += int(run.nfev.sum())
            dearer = np.log(run.nfev) - self.base_work[chosen, k]
            worse = np.log(np.clip(run.largest, curves.ERR_FLOOR, WORST)) - self.base_error[chosen, k]
            total += float(np.mean(dearer + self.exchange[k] * worse))
        return total / len(self.mus)


def train_residual(seed: int, settings: Settings, hidden: tuple[int, ...] = (8,), progress: bool = True) -> Learned:
    """A residual on AMUSE's criterion by evolution strategy; returns the strategy's last mean."""
    if not isinstance(settings, Settings):
        raise options.refuse("settings", "the Settings of an evolution strategy", settings)
    rules.seed("seed", seed)
    hidden = rules.hidden("hidden", hidden)
    options.flag("progress", progress)
    fitness = PaperFitness(settings)
    rng = np.random.default_rng([seed, 5])
    learned = Learned.random(Decision(FEATURES, "amuse", n_act=1), hidden, rng, scale=0.1)
    bar = Progress("es three-body-paper", settings.generations, "generations", progress)
    try:
        for generation, _, cost, mean in evolve(learned, fitness, seed):  # noqa: B007 (the last mean is the result)
            bar.update(generation, fitness=cost)
    finally:
        bar.close()
    facts = {
        "algorithm": "es", "method": METHOD, "seed": seed, "env_steps": fitness.attempts,
        "generation": settings.generations, **provenance(),
    }  # fmt: skip
    return mean.replace(name="three-body-paper", family=FAMILY.name, provenance=facts)


def play(core: PaperCore, act: Callable[[Array], Array]) -> dict[str, Array]:
    """Play one episode of every lane; returns the columns of its statistics, and "largest", the largest |dE| at a
    decision's end.

    act: the policy, from observations (lanes, n_obs) float32 to actions (lanes,).  Lanes that end early keep the
    statistics of their first episode.
    """
    obs = core.reset()
    out = {name: np.full(core.lanes, np.nan) for name in core.columns}
    largest, open_ = np.zeros(core.lanes), np.ones(core.lanes, np.bool_)
    while open_.any():
        core.step(np.asarray(act(obs)))
        ended = core.terminated | core.truncated
        # where an episode has just ended the row belongs to the next one, and the statistics hold the error
        error = np.where(ended, core.stats[:, core.columns.index("error")], core.rows("EREL")[0])
        largest = np.where(open_, np.maximum(largest, error), largest)
        for i, name in enumerate(core.columns):
            out[name] = np.where(ended & open_, core.stats[:, i], out[name])
        open_ &= ~ended
        obs = core.obs
    return {**out, "largest": largest}


def at_points(err: Array, work: Array, base_err: Array, base_work: Array) -> Array:
    """log of the work of one run an instance over a curve's work at the error that the run reached, (B,).

    err, work (B,), base_err, base_work (B, K).  A failed run is charged `curves.LOST_RATIO`, as is one looser than
    everything on the curve; one more accurate than the curve counts 0: no credit where the curve says nothing.
    """
    out = np.empty(len(err))
    for i, (e, w) in enumerate(zip(err, work, strict=True)):
        if not np.isfinite(e) or e > np.max(base_err[i], where=np.isfinite(base_err[i]), initial=0.0):
            out[i] = np.log(curves.LOST_RATIO)
            continue
        base = float(curves.log_work_at(base_err[i], base_work[i], [e])[0])
        out[i] = np.log(w) - base if np.isfinite(base) else 0.0
    return out


def at_family(err: Array, work: Array, base_err: Array, base_work: Array, statistic: str) -> float:
    """As `at_points` with one number for all instances: log of the mean work over the curve's at the family's error.

    statistic: "gmean" or "q90", as `curves.family_statistic`.  NaN where the curve does not reach that error.
    """
    level = float(curves.family_statistic(err[:, None], statistic)[0])
    if not np.isfinite(level):
        return float("nan")
    base = curves.log_work_at(curves.family_statistic(base_err, statistic), base_work.mean(axis=0), [level])
    return float(np.log(work.mean()) - base[0])
