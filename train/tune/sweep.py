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

Every training run is an ordinary run folder, `trial-007/s0`, made by a process of its own: what it leaves behind cannot
touch the next, it can be stopped, and it ends with the sweep, whatever ends that (it watches a pipe that the sweep
holds open).  The figure of a run is the best validation in its log.  `sweep.journal` is Optuna's storage
(`optuna-dashboard` reads it), `sweep.json` the summary.  A sweep that was interrupted goes on where it stopped, runs
from their last checkpoint; `trials` may grow between, nothing else may change.  Trial n is drawn from a seed of its
own, so stopping and going on draws the same settings.

Akiba et al. 2019, Optuna, doi 10.1145/3292500.3330701; Bergstra et al. 2011, Algorithms for hyper-parameter
optimization (TPE).
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config import config as configs
from ..config import reading, settings
from ..run.lock import held, wait_free
from ..run.progress import Progress
from ..run.runfiles import plain, read_json, read_log, write_json
from .sweep_space import Space, load, with_values

POLL = 0.2  # seconds between looks at a run's log
HOPELESS = 3  # failures with no success before that end a sweep
ORPHAN = 30.0  # seconds that a trainer whose sweep was killed has to end


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


def sweep(config: str | Path, out: str | Path | None = None, seed: int | None = None, progress: bool = True) -> Result:
    """Run, or go on with, the sweep of a file; a folder belongs to one process at a time.

    seed overrides the config's; out: sweep folder (default runs/<name>-<algorithm>-sweep).  Raises ValueError on a bad
    file, on a folder that holds another sweep, and where every trial fails; ModuleNotFoundError without Optuna.
    """
    reading.folder("out", out)
    if seed is not None:
        settings.seed("seed", seed)
    space = load(config)
    if seed is not None:
        space = dataclasses.replace(space, base={**space.base, "seed": seed})
    cfg = space.config
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
        return _sweep(space, cfg, path, plain(asked), optuna, JournalFileBackend, progress)


def _sweep(
    space: Space, cfg: Any, path: Path, asked: dict[str, Any], optuna: Any, backend: Any, progress: bool
) -> Result:
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
            # a sampler that starts anew for every trial draws the same after an interruption
            study.sampler = (optuna.samplers.TPESampler if space.sampler == "tpe" else optuna.samplers.RandomSampler)(
                seed=(cfg.seed * 100_003 + done) % 2**32)  # fmt: skip
            if space.sampler == "grid" and not study.get_trials(
                deepcopy=False, states=(optuna.trial.TrialState.WAITING,)
            ):
                study.enqueue_trial(space.point(done))
            _run(study, optuna, space, path, progress)
            trials = _trials(study)
            _write(path, cfg.name, trials)
            if len(trials) >= min(HOPELESS, space.count) and all(t.state == "failed" for t in trials):
                raise ValueError(
                    f"{cfg.name}: all of the first {len(trials)} trials failed: {trials[-1].error} (see {path})"
                )
        bar.update(done, best=_best(study))
    finally:
        bar.close()
    trials = _trials(study)
    if not any(t.state == "complete" for t in trials):
        raise ValueError(f"{path}: no trial of this sweep is complete")
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


def _run(study: Any, optuna: Any, space: Space, path: Path, progress: bool) -> None:
    """One trial: its runs, one after the other, and what Optuna is told."""
    state = optuna.trial.TrialState
    trial = study.ask()
    values = space.suggest(trial)
    folder = trial.user_attrs.get("folder", f"trial-{trial.number:03d}")
    trial.set_user_attr("folder", folder)
    start, figures = time.time(), []
    try:
        for i in range(space.seeds):
            seed = int(space.base.get("seed", 0)) + i
            figure = trial.user_attrs.get(f"run {seed}")
            if figure is None:
                data = {**with_values(space.base, values), "seed": seed}
                figure = _train(data, path / folder / f"s{seed}", trial if space.prune and i == 0 else None)
                trial.set_user_attr(f"run {seed}", figure)
            figures.append(figure)
    except optuna.TrialPruned:
        trial.set_user_attr("seconds", time.time() - start)
        study.tell(trial, state=state.PRUNED)
    except _Failed as error:
        trial.set_user_attr("seconds", time.time() - start)
        trial.set_user_attr("error", str(error))
        study.tell(trial, state=state.FAIL)
    else:
        trial.set_user_attr("seconds", time.time() - start)
        study.tell(trial, sum(figures) / len(figures))


class _Failed(Exception):
    """A run that ended without a figure."""


def _train(data: dict[str, Any], folder: Path, trial: Any | None) -> float:
    """Train once in a process of its own; returns the best validation.

    Validations go to `trial` as they come, which may end the run by TrialPruned.  `_Failed` where there is no figure.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    wait_free(folder, ORPHAN)  # of a sweep that was killed a moment ago
    said = folder.with_suffix(".log")
    with said.open("a") as f:
        command = [sys.executable, "-c", f"from {__name__} import _child; _child()", str(folder)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=f, stderr=f, text=True)
    feed: Any = process.stdin
    try:
        with contextlib.suppress(BrokenPipeError):  # it died at once: its log says why
            feed.write(json.dumps(data) + "\n")
            feed.flush()  # and it stays open: the trainer ends when it is closed
        seen = 0
        while process.poll() is None:
            time.sleep(POLL)
            if trial is not None:
                seen = _report(trial, _validations(folder), seen)
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait()
        with contextlib.suppress(BrokenPipeError):
            feed.close()
    found = _validations(folder)
    if process.returncode != 0 or not found:
        lines = said.read_text().strip().splitlines()
        raise _Failed(lines[-1] if lines else f"exit code {process.returncode}")
    return min(found)


def _report(trial: Any, found: list[float], seen: int) -> int:
    import optuna

    for step in range(seen, len(found)):
        trial.report(min(found[: step + 1]), step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return len(found)


def _validations(folder: Path) -> list[float]:
    """Validation figures in a run's log so far; a line that is being written is left for the next look."""
    found = [row.get("validation") for row in read_log(folder / "log.jsonl")[0]]
    return [float(v) for v in found if v is not None and math.isfinite(v)]


def _child() -> None:
    """Train in this process: the config comes on standard input, the folder is the argument.

    The run goes on from the folder's checkpoint where it holds one.
    """
    from ..run.run import train

    folder = Path(sys.argv[1])
    data = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_the_sweep, daemon=True).start()
    train(configs.from_dict(data), out=folder, resume=(folder / "config.json").exists(), progress=False)


def _end_with_the_sweep() -> None:
    """End this process when the pipe's other end is closed, as that of a killed process is too.

    That may be at any moment: files are put in place whole.
    """
    while os.read(0, 4096):
        pass
    os._exit(1)


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
