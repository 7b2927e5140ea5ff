"""`stepsmith sweep`: many training runs over a space of settings, the next ones chosen by what the earlier ones gave
(Optuna).

A sweep file is a training config (`train.config`) with one more table:

    [sweep]
    trials = 20
    seeds = 2                    # training runs a trial, from the config's seed on; a trial's figure is their mean
    sampler = "tpe"              # tpe, random or grid (grid: every combination; choices only)
    prune = true                 # stop a trial whose first run is worse than the others' median at the same validation

    [sweep.parameters]           # keys of the config by dotted name
    "train.learning_rate" = {low = 1e-5, high = 1e-3, log = true}
    "train.n_epochs" = {low = 2, high = 10}         # whole numbers
    "policy.hidden" = [[8], [16], [16, 16]]         # choices

Every training run is an ordinary run folder, `trial-007/s0`, made by a process of its own (`run.apart`).  The figure of
a run is the best validation in its log.  `sweep.journal` is Optuna's storage (`optuna-dashboard` reads it),
`sweep.json` the summary.  A sweep that was interrupted goes on where it stopped, runs from their last checkpoint;
`trials` may grow between, nothing else may change.  Trial n is drawn from a seed of its own, so stopping and going on
draws the same settings, and so do trials that are run side by side.

Akiba et al. 2019, Optuna, doi 10.1145/3292500.3330701; Bergstra et al. 2011, Algorithms for hyper-parameter
optimization (TPE).
"""

from __future__ import annotations

import dataclasses
import math
import time
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...integrators.core.errors import OptionError
from ...integrators.engine.spread import checked
from ..config import reading, settings
from ..run.apart import Failed, train_all, train_apart
from ..run.lock import held
from ..run.progress import Progress
from ..run.runfiles import RunFailed, plain, read_json, write_json
from .sweep_space import Space, load, with_values

HOPELESS = 3  # failures with no success before that end a sweep


@dataclass(frozen=True)
class Trial:
    """One trial of a sweep: one draw of the parameters, trained with every seed.

    state         "complete", "pruned" or "failed"
    value         mean over the runs of the best validation; of a pruned trial the best so far, of a failed one None
    parameters    by dotted name
    runs          best validation by seed
    folder        relative to the sweep's
    error         the last line of what a failed run said
    """

    number: int
    state: str
    value: float | None
    parameters: dict[str, Any]
    runs: dict[str, float]
    folder: str
    seconds: float
    error: str


@dataclass(frozen=True)
class Result:
    """A sweep's trials in the order of their numbers, and the folder that holds them."""

    path: Path
    name: str
    trials: tuple[Trial, ...]

    @property
    def best(self) -> Trial:
        """The complete trial with the smallest value."""
        return min((t for t in self.trials if t.state == "complete"), key=lambda t: float(t.value or 0.0))

    def to_json(self) -> dict[str, Any]:
        """Plain data: name, best, trials."""
        return {"name": self.name, "best": self.best.number, "trials": [vars(t) for t in self.trials]}

    def rows(self) -> list[tuple[str, ...]]:
        """Cells of a table, the best first: number, state, value, one column a parameter, folder."""
        order = sorted(self.trials, key=lambda t: (t.state != "complete", math.inf if t.value is None else t.value))
        return [_row(t) for t in order]


def _row(t: Trial) -> tuple[str, ...]:
    value = "" if t.value is None else f"{t.value:.4f}"
    drawn = (f"{v:.4g}" if isinstance(v, float) else str(v) for v in t.parameters.values())
    return (str(t.number), t.state, value, *drawn, t.folder)


def sweep(
    config: str | Path, out: str | Path | None = None, seed: int | None = None, progress: bool = True,
    executor: Executor | None = None,
) -> Result:  # fmt: skip
    """Run, or go on with, the sweep of a file; a folder belongs to one process at a time.

    seed overrides the config's; out: sweep folder (default runs/<name>-<algorithm>-sweep).  executor: its workers share
    the trials, to the same draws and figures: of samplers "random" and "grid" all of them, of "tpe", which draws a
    trial from the results of those before, the seeds of one trial.  The folder must be on a disk that they share.

    Raises ValueError on a bad file, on a folder that holds another sweep, where every trial fails, and for an executor
    with `prune = true`, or with "tpe" and one seed; ModuleNotFoundError without Optuna.
    """
    executor = checked(executor)
    reading.folder("out", out)
    if seed is not None:
        settings.seed("seed", seed)
    space = load(config)
    if seed is not None:
        space = dataclasses.replace(space, base={**space.base, "seed": seed})
    cfg = space.config
    if executor is not None and space.prune:
        raise OptionError(
            "sweep.prune = true stops a trial by what the trials before it gave, one after the other: set it to false "
            "to share trials out (executor, --cluster)"
        )
    if executor is not None and space.sampler == "tpe" and space.seeds == 1:
        raise OptionError(
            'sweep.sampler = "tpe" draws each trial from the results of those before, one after the other: with seeds '
            '= 1 there is nothing to share out (executor, --cluster); take "random" or "grid", or more seeds'
        )
    try:
        import optuna
        from optuna.storages.journal import JournalFileBackend
    except ModuleNotFoundError:
        raise ModuleNotFoundError("sweeps need Optuna: pip install 'stepsmith[sweep]'", name="optuna") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = Path(out) if out else Path("runs") / f"{cfg.name}-{cfg.algorithm}-sweep"
    asked = {
        "base": space.base,
        "parameters": dict(space.parameters),
        "seeds": space.seeds,
        "sampler": space.sampler,
        "prune": space.prune,
    }
    with held(path):
        return _sweep(space, cfg, path, plain(asked), optuna, JournalFileBackend, progress, executor)


def _sweep(
    space: Space, cfg: Any, path: Path, asked: dict[str, Any], optuna: Any, backend: Any, progress: bool,
    executor: Executor | None,
) -> Result:  # fmt: skip
    given = path / "config.json"
    if given.exists() and read_json(given) != asked:
        raise ValueError(
            f"{path}: the folder holds another sweep or run; go on with the same file and seed, or choose another --out"
        )
    write_json(given, asked)
    (path / "sweep.journal.lock").unlink(missing_ok=True)  # a killed sweep's; the folder is ours
    storage = optuna.storages.JournalStorage(backend(str(path / "sweep.journal")))
    # the first run of five trials is needed for a median; a run's first validation is hardly trained
    pruner = (
        optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=1) if space.prune else optuna.pruners.NopPruner()
    )
    study = optuna.create_study(
        storage=storage, study_name=cfg.name, pruner=pruner, direction="minimize", load_if_exists=True
    )
    _take_up(study, optuna)
    bar = Progress(f"sweep {cfg.name}", space.count, "trials", progress)
    try:
        while (done := len(_trials(study))) < space.count:
            bar.update(done, best=_best(study))
            if executor is None:
                _run(study, optuna, space, path, done)
            else:
                # what is hopeless is seen by the first ones
                most = 1 if space.sampler == "tpe" else HOPELESS - done if done < HOPELESS else space.count - done
                _run_together(study, optuna, space, path, range(done, min(done + most, space.count)), executor)
            trials = _trials(study)
            _write(path, cfg.name, trials)
            if len(trials) >= min(HOPELESS, space.count) and all(t.state == "failed" for t in trials):
                raise RunFailed(
                    f"{cfg.name}: all of the first {len(trials)} trials failed: {trials[-1].error} (see {path})"
                )
        bar.update(done, best=_best(study))
    finally:
        bar.close()
    trials = _trials(study)
    if not any(t.state == "complete" for t in trials):
        raise RunFailed(f"{path}: no trial of this sweep is complete")
    _write(path, cfg.name, trials)
    return Result(path, cfg.name, tuple(trials))


def _take_up(study: Any, optuna: Any) -> None:
    """Close the trials that were running when the last process ended, and queue them again, with their folders and
    finished runs.
    """
    for old in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        study.enqueue_trial(
            old.params, user_attrs={**old.user_attrs, "folder": old.user_attrs.get("folder", f"trial-{old.number:03d}")}
        )
        study._storage.set_trial_user_attr(old._trial_id, "replaced", True)
        study._storage.set_trial_state_values(old._trial_id, optuna.trial.TrialState.FAIL)


def _asked(study: Any, optuna: Any, space: Space, number: int) -> tuple[Any, dict[str, Any], str]:
    """Trial `number` as Optuna draws it, or one that waits, its settings and its folder."""
    # a sampler that starts anew for every trial draws the same after an interruption
    study.sampler = (optuna.samplers.TPESampler if space.sampler == "tpe" else optuna.samplers.RandomSampler)(
        seed=(space.config.seed * 100_003 + number) % 2**32
    )
    waiting = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.WAITING,))
    if space.sampler == "grid" and not waiting:
        study.enqueue_trial(space.point(number))
    trial = study.ask()
    values = space.suggest(trial)
    folder = trial.user_attrs.get("folder", f"trial-{trial.number:03d}")
    trial.set_user_attr("folder", folder)
    return trial, values, folder


def _seeds(space: Space) -> list[int]:
    return [int(space.base.get("seed", 0)) + i for i in range(space.seeds)]


def _run(study: Any, optuna: Any, space: Space, path: Path, number: int) -> None:
    """One trial: its runs, one after the other, and what Optuna is told."""
    state = optuna.trial.TrialState
    trial, values, folder = _asked(study, optuna, space, number)
    start, figures = time.time(), []
    try:
        for i, seed in enumerate(_seeds(space)):
            figure = trial.user_attrs.get(f"run {seed}")
            if figure is None:
                data = {**with_values(space.base, values), "seed": seed}
                figure = _train(data, path / folder / f"s{seed}", trial if space.prune and i == 0 else None)
                trial.set_user_attr(f"run {seed}", figure)
            figures.append(figure)
    except optuna.TrialPruned:
        trial.set_user_attr("seconds", time.time() - start)
        study.tell(trial, state=state.PRUNED)
    except Failed as error:
        _failed(study, optuna, trial, start, str(error))
    else:
        trial.set_user_attr("seconds", time.time() - start)
        study.tell(trial, sum(figures) / len(figures))


def _failed(study: Any, optuna: Any, trial: Any, start: float, why: str) -> None:
    trial.set_user_attr("seconds", time.time() - start)
    trial.set_user_attr("error", why)
    study.tell(trial, state=optuna.trial.TrialState.FAIL)


def _run_together(study: Any, optuna: Any, space: Space, path: Path, numbers: range, executor: Executor) -> None:
    """Several trials: their runs side by side, and what Optuna is told once all runs of a trial are through."""
    trials = [_asked(study, optuna, space, number) for number in numbers]
    start, seeds = time.time(), _seeds(space)
    where = [(k, seed) for k in range(len(trials)) for seed in seeds]
    found: dict[tuple[int, int], tuple[float | None, str]] = {
        (k, seed): (trials[k][0].user_attrs[f"run {seed}"], "")
        for k, seed in where
        if f"run {seed}" in trials[k][0].user_attrs
    }
    open_ = [place for place in where if place not in found]
    told: set[int] = set()

    def tell(k: int) -> None:
        """Tell Optuna of trial k, if that can be done: as `_run` does, which stops at the first run that fails."""
        if k in told or any((k, seed) not in found for seed in seeds):
            return
        told.add(k)
        trial, figures = trials[k][0], []
        for seed in seeds:
            figure, why = found[k, seed]
            if figure is None:
                _failed(study, optuna, trial, start, why)
                return
            trial.set_user_attr(f"run {seed}", figure)
            figures.append(figure)
        trial.set_user_attr("seconds", time.time() - start)
        study.tell(trial, sum(figures) / len(figures))

    def taken(i: int, answer: tuple[float | None, str]) -> None:
        found[open_[i]] = answer
        tell(open_[i][0])

    for k in range(len(trials)):
        tell(k)
    runs = [
        ({**with_values(space.base, trials[k][1]), "seed": seed}, path / trials[k][2] / f"s{seed}") for k, seed in open_
    ]
    train_all(runs, executor, taken)


def _train(data: dict[str, Any], folder: Path, trial: Any | None) -> float:
    """The best validation of a run, which goes to `trial` as it comes, and may end the run by TrialPruned."""
    seen = 0

    def watch(found: list[float]) -> None:
        nonlocal seen
        seen = _report(trial, found, seen)

    return train_apart(data, folder, None if trial is None else watch)


def _report(trial: Any, found: list[float], seen: int) -> int:
    import optuna

    for step in range(seen, len(found)):
        trial.report(min(found[: step + 1]), step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return len(found)


def _trials(study: Any) -> list[Trial]:
    names = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
    done = [t for t in study.get_trials(deepcopy=False) if t.state.name in names and not t.user_attrs.get("replaced")]
    out = []
    for i, t in enumerate(done):
        value = t.value if t.state.name == "COMPLETE" else min(t.intermediate_values.values(), default=None)
        runs = {k[4:]: v for k, v in t.user_attrs.items() if k.startswith("run ")}
        out.append(Trial(i, names[t.state.name], value, dict(t.params), runs, t.user_attrs["folder"],
                         round(t.user_attrs.get("seconds", 0.0), 2), t.user_attrs.get("error", "")))  # fmt: skip
    return out


def _best(study: Any) -> float:
    return min((t.value for t in _trials(study) if t.state == "complete" and t.value is not None), default=math.inf)


def _write(path: Path, name: str, trials: list[Trial]) -> None:
    complete = [t for t in trials if t.state == "complete"]
    data = (
        Result(path, name, tuple(trials)).to_json()
        if complete
        else {"name": name, "best": None, "trials": [vars(t) for t in trials]}
    )
    write_json(path / "sweep.json", data)
