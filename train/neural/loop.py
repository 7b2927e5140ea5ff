"""`stepsmith train` for a neural differential equation: one config, one run folder.

    loss = task loss + strength(k) * penalty        at iteration k = 0, 1, 2, ...

An epoch goes once through the training subjects in a new order.  Order, latent samples and what regularisers draw come
from three generators of the config's seed, so that a variant with a regulariser that draws has the baseline's order and
samples.  Their states stand in the checkpoint: a run that was interrupted goes on from its last finished epoch to the
same numbers.  A solve that fails, or a loss that is not finite, ends the run (`Diverged`) with the state saved.  Under
on_failure = "mask" a training solve of which some samples reach the end goes on with these, and the others have no part
in the task loss.

A row of the log, with means over the iterations since the last row where nothing else is said:

    epoch, iteration                    both finished
    loss, penalty, strength             task loss; penalty not multiplied by the strength
    ratio                               the strength in units of the gradients, where it measures them: how hard the
                                        penalty pulls over how hard the task does
    er_mean, sr_mean                    mean E h and S h of a training solve's steps, where it keeps E and S, as with a
                                        regulariser
    nfev, naccept, nreject              of a training solve's adaptive pass
    nfev_replay                         f-evaluations of its replay or adjoint, where there is one
    field_calls                         evaluations of the field in training so far, a regulariser's steps and the
                                        validation losses that a strength responds to included
    validation, test                    metric of the task
    test_nfev, test_naccept, test_nreject   of a solve of the test subjects, mean over its batches
    train_s, train_cpu_s                seconds of training so far by the clock and of the process, evaluations excluded
    predict_s                           seconds by the clock of all solves of the test subjects
"""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ... import neural
from ...integrators.neural.strength import Strength
from ..run.board import OURS, Board
from ..run.progress import Progress
from ..run.runfiles import RunFailed
from ..run.threads import torch_threads
from .config import NeuralConfig, take_direction
from .folder import NeuralRun, opened
from .observed import NAMES, log_stiffness, observed
from .tasks import Task, build, check


class Diverged(RunFailed):
    """Training ended: a solve failed or the loss is not finite.  The run folder holds the last finished epoch."""


def train(
    config: NeuralConfig,
    seed: int | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    progress: bool = True,
) -> Path:
    """Train by a config; returns the run folder (`folder.NeuralRun` says what is in it).

    seed overrides the config's; out: run folder (default runs/<name>-s<seed>); resume: go on from the last finished
    epoch. Raises ValueError on a bad config or a folder that already holds a run, Diverged where training cannot go on.
    """
    cfg = config if seed is None else dataclasses.replace(config, seed=seed)
    check(cfg)  # before data is read
    schedule(cfg, 1)
    with torch_threads(cfg.train.threads), opened(cfg, out) as path:
        return _Training(cfg, path, resume).run(progress)


def evaluate(task: Task, rows: np.ndarray, batch: int) -> tuple[np.ndarray, dict[str, float]]:
    """Scores (n,) of subjects `rows`, and nfev, naccept, nreject (means over solves of `batch` subjects) and seconds.

    No gradient, no regulariser, no random draw.  Raises Diverged where a solve fails.
    """
    task.model.eval()
    scores, counts = [], []
    began = time.perf_counter()
    with torch.no_grad():
        for chunk in torch.from_numpy(rows).split(batch):
            prediction, out = task.solve(chunk, None)
            if not out.solution.success:
                raise Diverged(f"the solve of an evaluation failed: {out.solution.message}")
            scores.append(task.score(prediction, chunk))
            s = out.solution.stats
            counts.append((s.nfev, s.naccept, s.nreject))
    seconds = time.perf_counter() - began
    mean = np.mean(counts, axis=0)
    task.model.train()
    names = ("nfev", "naccept", "nreject")
    return torch.cat(scores).double().cpu().numpy(), {
        **{n: float(m) for n, m in zip(names, mean, strict=True)},
        "seconds": seconds,
    }


def schedule(config: NeuralConfig, iterations: int, higher_is_better: bool | None = None) -> Strength | None:
    """The strength of the config's regulariser over so many iterations; None without a regulariser.

    higher_is_better: of the task's metric (None: not known yet).  ValueError where it is none, or says the contrary.
    """
    if config.regulariser is None:
        return None
    given: dict[str, Any] = copy.deepcopy(config.regulariser.strength)
    if "kind" not in given:
        raise ValueError(f"[regulariser] strength must have a kind: {', '.join(neural.strength.KINDS)}")
    inner: dict[str, Any] = given["of"] if isinstance(given.get("of"), dict) else given
    if inner.get("kind") in ("exponential", "linear"):
        inner.setdefault("n", iterations)
    if higher_is_better is not None:
        take_direction(inner, higher_is_better)
    return neural.strength.make(**given)


def optimiser(config: NeuralConfig, model: torch.nn.Module) -> torch.optim.Optimizer:
    """The config's optimiser over all of the model's parameters."""
    t = config.train
    if t.optimiser == "momentum":
        return torch.optim.SGD(model.parameters(), lr=t.learning_rate, momentum=t.momentum)
    return {"adam": torch.optim.Adam, "adamax": torch.optim.Adamax}[t.optimiser](model.parameters(), lr=t.learning_rate)


class _Training:
    """A run at work: task, optimiser, generators, and what has been counted since the last row of the log."""

    def __init__(self, config: NeuralConfig, out: str | Path | None, resume: bool) -> None:
        self.config = config
        self.task = build(config)
        self.rows = torch.from_numpy(self.task.split.train)
        self.batches = -(-len(self.rows) // config.train.batch)
        self.strength = schedule(config, config.train.epochs * self.batches, self.task.higher_is_better)
        self.optimiser = optimiser(config, self.task.model)
        # the field, and what is before and behind the solve
        own = list(self.task.field.parameters())
        rest = [p for p in self.task.model.parameters() if all(p is not q for q in own)]
        self.groups = [group for group in (own, rest) if group]
        self.folder = NeuralRun(config, out, resume)
        self.order, self.noise = (torch.Generator().manual_seed(2 * config.seed + i) for i in range(2))
        # a seed that is no other run's order or noise
        self.draws = torch.Generator().manual_seed(2**40 + config.seed)
        self.epoch = self.iteration = self.saved = 0
        self.seconds = self.cpu_seconds = 0.0
        self.tally = dict.fromkeys(NAMES, 0.0)
        self.counted = 0
        if resume and (state := self.folder.load()) is not None:
            self._restore(state)

    def run(self, progress: bool) -> Path:
        cfg, total = self.config.train, self.config.train.epochs
        bar = Progress(f"{self.config.name} s{self.config.seed}", total, "epochs", progress)
        board = Board(self.folder.path, self.epoch or None)
        try:
            if self.epoch == 0:
                self._save()
            if not self.folder.rows:
                self._record(board)
            while self.epoch < total:
                self._train_epoch()
                if self.epoch % cfg.evaluate_every == 0 or self.epoch == total:
                    self._record(board)
                self._save()
                row = self.folder.rows[-1]
                shown = {"loss": row["loss"], "test": row["test"], "nfe": row["test_nfev"]}
                bar.update(self.epoch, **{name: value for name, value in shown.items() if value is not None})
            self._finish()
        except Diverged as error:
            message = f"{self.config.name}, seed {self.config.seed}, after {self.iteration} iterations: {error}"
            self.folder.state("diverged", message, self.saved)
            raise Diverged(f"{message}; {self.folder.path} holds the state after epoch {self.saved}") from None
        finally:
            bar.close()
            board.close()
        return self.folder.path

    def _save(self) -> None:
        if self.epoch in self.config.train.keep:
            self.folder.keep(self.task.model, self.epoch)
        self.folder.save(self._state())
        self.saved = self.epoch

    def _train_epoch(self) -> None:
        began, began_cpu = time.perf_counter(), time.process_time()
        for rows in self._shuffled():
            self._step(rows)
            self.iteration += 1
        self.seconds += time.perf_counter() - began
        self.cpu_seconds += time.process_time() - began_cpu
        self.epoch += 1

    def _shuffled(self) -> Iterator[torch.Tensor]:
        order = torch.randperm(len(self.rows), generator=self.order)
        yield from self.rows[order].split(self.config.train.batch)

    def _step(self, rows: torch.Tensor) -> None:
        prediction, out = self.task.solve(rows, self.noise, self.draws)
        if not out.solution.success:
            if self.task.ode.on_failure != "mask" or not bool(out.mask.any()):
                raise Diverged(f"a solve failed: {out.solution.message}")
            prediction, rows = self.task.part(prediction, out.mask), rows[out.mask.cpu()]
        loss = self.task.loss(prediction, rows, self.epoch)
        if not math.isfinite(loss.item()):
            raise Diverged(f"the loss is {loss.item():g}, the penalty {out.penalty.item():g}")
        total = loss
        if self.strength is not None:
            context = log_stiffness(out)
            total = self.strength.total(loss, out.penalty, self.groups, nfev=out.solution.stats.nfev, context=context)
            if self.strength.due:
                self._respond(loss, out.penalty)
        self.optimiser.zero_grad()
        total.backward()
        settings = self.config.train
        if settings.decay > 0:
            for p in self.task.model.parameters():
                if p.grad is not None:
                    p.grad.div_(1 + settings.decay * (self.iteration + 1))
        if settings.schedule == "cosine":
            share = self.iteration / (settings.epochs * self.batches)
            for group in self.optimiser.param_groups:
                group["lr"] = settings.learning_rate * 0.5 * (1 + math.cos(math.pi * share))
        self.optimiser.step()
        for name, value in observed(loss, out, self.strength).items():
            self.tally[name] += value
        self.counted += 1

    def _respond(self, loss: torch.Tensor, penalty: torch.Tensor) -> None:
        """Let the strength respond to the loss of a batch of the validation subjects, each in its turn."""
        assert self.strength is not None
        known = torch.from_numpy(self.task.split.validation)
        size = min(self.config.train.batch, len(known))
        rows = known[(self.iteration * size + torch.arange(size)) % len(known)]
        self.task.model.eval()
        prediction, out = self.task.solve(rows, None)
        self.task.model.train()
        if not out.solution.success:
            raise Diverged(f"the solve of a validation loss failed: {out.solution.message}")
        validation = self.task.loss(prediction, rows, self.epoch)
        self.strength.respond(validation, loss, penalty, self.groups)

    def _record(self, board: Any) -> None:
        """Evaluate, log, and begin new means."""
        calls = self.task.field.calls
        valid, _ = evaluate(self.task, self.task.split.validation, self.config.train.batch)
        test, counts = evaluate(self.task, self.task.split.test, self.config.train.batch)
        self.task.field.calls = calls
        score = float(valid.mean())
        if not math.isfinite(score):
            raise Diverged(f"the validation {self.task.metric} is {score:g}")
        if self.strength is not None and self.counted:
            # a strength that takes a score is told one, others a loss
            self.strength.report(score if self.strength.higher_is_better == self.task.higher_is_better else -score)
        means = {name: value / self.counted if self.counted else math.nan for name, value in self.tally.items()}
        row: dict[str, Any] = {
            "epoch": self.epoch,
            "iteration": self.iteration,
            **{k: _json(v) for k, v in means.items()},
        }
        row |= {
            "field_calls": calls,
            "metric": self.task.metric,
            "validation": score,
            "test": float(test.mean()),
        }
        row |= {f"test_{name}": counts[name] for name in ("nfev", "naccept", "nreject")}
        row |= {
            "train_s": round(self.seconds, 3),
            "train_cpu_s": round(self.cpu_seconds, 3),
            "predict_s": round(counts["seconds"], 4),
        }
        self.folder.log(row)
        rate = self.optimiser.param_groups[0]["lr"]
        theirs = {"train/loss": row["loss"], "train/learning_rate": rate, "time/total_timesteps": self.iteration}
        ours = {f"{OURS}/{k}": v for k, v in row.items() if k not in ("epoch", "iteration", "loss")}
        board.add(self.epoch, {**theirs, **ours})
        self.tally, self.counted = dict.fromkeys(NAMES, 0.0), 0

    def _finish(self) -> None:
        from .picture import picture

        rows = self.task.split.test
        scores, _ = evaluate(self.task, rows, self.config.train.batch)
        self.folder.finish(self.task.model, rows, scores)
        picture(self.folder.rows, self.folder.path / "training.png", self.config.name, self.task.higher_is_better)
        self.folder.state("finished", "", self.epoch)

    def _state(self) -> dict[str, Any]:
        return {
            "model": self.task.model.state_dict(), "optimiser": self.optimiser.state_dict(),
            "order": self.order.get_state(), "noise": self.noise.get_state(), "draws": self.draws.get_state(),
            "epoch": self.epoch, "iteration": self.iteration, "seconds": self.seconds, "cpu_seconds": self.cpu_seconds,
            "calls": self.task.field.calls,
            "tally": self.tally, "counted": self.counted,
            "strength": None if self.strength is None else self.strength.state_dict(),
        }  # fmt: skip

    def _restore(self, state: dict[str, Any]) -> None:
        if "noise" not in state:
            raise ValueError(
                f"{self.folder.path}: its checkpoint is an earlier version's, with "
                "one generator for all draws; begin it anew"
            )
        try:
            self._take(state)
        except (KeyError, TypeError, AttributeError, RuntimeError, ValueError) as error:
            told = " ".join(str(error).split())[:160]
            path = self.folder.checkpoint.path
            raise ValueError(f"{path}: its state does not fit the run ({type(error).__name__}: {told})") from None

    def _take(self, state: dict[str, Any]) -> None:
        self.task.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.order.set_state(state["order"])
        self.noise.set_state(state["noise"])
        self.draws.set_state(state["draws"])
        self.epoch, self.iteration = state["epoch"], state["iteration"]
        self.seconds, self.cpu_seconds = state["seconds"], state["cpu_seconds"]
        self.task.field.calls, self.counted = state["calls"], state["counted"]
        unknown = math.nan if self.counted else 0.0  # of columns that an earlier version did not count
        self.tally = dict.fromkeys(NAMES, unknown) | state["tally"]
        if self.strength is not None:
            self.strength.load_state_dict(state["strength"])
        self.saved = self.epoch


def _json(x: float) -> float | None:
    return x if math.isfinite(x) else None
