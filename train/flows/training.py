"""Training of a task's network, in a run folder that can be resumed, and reading of what came out."""

from __future__ import annotations

import io
import json
import time
import zipfile
from pathlib import Path
from typing import Any

import torch

from ... import flows
from ...integrators.core import options
from ..run.checkpoint import Checkpoint, digest
from ..run.lock import held
from ..run.progress import Progress
from ..run.provenance import provenance
from ..run.rundir import check_free
from ..run.runfiles import RunError, append_log, put, read_json, write_json
from ..run.threads import torch_threads
from .config import FlowConfig, from_dict
from .data import data
from .losses import loss, predicts
from .nets import Perceptron

Tensor = torch.Tensor
FIRST = ("config.json", "provenance.json")
EVERY = 500  # iterations between two checkpoints and rows of the log


def build(config: FlowConfig) -> Perceptron:
    """The network of a config with the weights of its seed."""
    full = config.full
    found = data(full.task)
    classes = found.classes if full.conditional else 0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(full.seed)
        process = flows.from_dict({"name": full.process})
        return Perceptron(process, found.size, full.width or 0, full.layers or 0, classes)


def train(config: FlowConfig, out: str | Path | None = None, resume: bool = False, progress: bool = True) -> Path:
    """Train by a config; returns the run folder, `out` or runs/flow-<name>-s<seed>:

    config.json, provenance.json    what was asked, and what made it
    log.jsonl                       a row every 500 iterations: iteration, loss (mean since the last row), seconds
    checkpoint.pt                   the state after the last row, and checkpoint.previous.pt the one before it
    model.safetensors               the mean of the weights, with the config beside it

    resume: go on from the last checkpoint, to the same numbers.  ValueError where the folder already holds a run, or
    none that could be resumed, and where the loss is not finite.
    """
    path = Path(out) if out else Path("runs") / f"flow-{config.name}-s{config.seed}"
    asked = config.as_dict()
    with torch_threads(1), held(path, FIRST):
        check_free(path, resume, lambda file: read_json(file) == asked)
        if not resume:
            write_json(path / "provenance.json", provenance())
            write_json(path / "config.json", asked)
        return _Training(config.full, path, digest(asked)).run(progress)


class _Training:
    """A run at work."""

    def __init__(self, config: FlowConfig, path: Path, mark: str) -> None:
        self.config, self.path = config, path
        self.data = data(config.task)
        self.net = build(config)
        self.mean = {name: value.detach().clone() for name, value in self.net.state_dict().items()}
        self.total = config.iterations or 0
        self.optimiser = torch.optim.Adam(self.net.parameters(), lr=config.learning_rate or 0.0)
        self.rate = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimiser, self.total)
        self.generator = torch.Generator().manual_seed(2**41 + config.seed)
        self.iteration, self.seconds = 0, 0.0
        self.checkpoint = Checkpoint(
            path, name="checkpoint.pt",
            write=lambda f, state: _write(f, {**state, "run": mark}), read=lambda file: _read(file, mark),
        )  # fmt: skip
        if (state := self.checkpoint.load()) is not None:
            self._restore(state)

    def run(self, progress: bool) -> Path:
        bar = Progress(f"{self.config.name} s{self.config.seed}", self.total, "iterations", progress)
        try:
            while self.iteration < self.total:
                mean = self._some()
                append_log(
                    self.path / "log.jsonl", {"iteration": self.iteration, "loss": mean, "seconds": self.seconds}
                )
                self.checkpoint.save(self._state())
                bar.update(self.iteration, loss=mean)
        finally:
            bar.close()
        save_model(self.path / "model.safetensors", self.config, self.mean)
        return self.path

    def _some(self) -> float:
        """Iterations up to the next row of the log; the mean of their losses."""
        began, total, n = time.perf_counter(), 0.0, 0
        while self.iteration < self.total and (n == 0 or self.iteration % EVERY):
            items, labels = self.data.draw(self.config.batch or 0, self.generator)
            told = labels if self.config.conditional else None
            value = loss(self.net, self.net.process, items, told, self.generator)
            if not bool(torch.isfinite(value)):
                raise RunError(f"{self.path}: the loss is not finite after {self.iteration} iterations")
            self.optimiser.zero_grad()
            value.backward()
            torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
            self.optimiser.step()
            self.rate.step()
            self.iteration += 1
            decay = min(self.config.average, self.iteration / (self.iteration + 10.0))
            for name, value_ in self.net.state_dict().items():
                self.mean[name].lerp_(value_, 1.0 - decay)
            total, n = total + float(value.detach()), n + 1
        self.seconds += time.perf_counter() - began
        return total / n

    def _state(self) -> dict[str, Any]:
        return {
            "iteration": self.iteration, "seconds": self.seconds, "net": self.net.state_dict(), "mean": self.mean,
            "optimiser": self.optimiser.state_dict(), "rate": self.rate.state_dict(),
            "generator": self.generator.get_state(),
        }  # fmt: skip

    def _restore(self, state: dict[str, Any]) -> None:
        self.iteration, self.seconds, self.mean = state["iteration"], state["seconds"], state["mean"]
        self.net.load_state_dict(state["net"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.rate.load_state_dict(state["rate"])
        self.generator.set_state(state["generator"])


def _write(f: Any, state: dict[str, Any]) -> None:
    held_ = io.BytesIO()
    torch.save(state, held_)
    f.write(held_.getbuffer())


def _read(path: Path, mark: str) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        if (bad := archive.testzip()) is not None:
            raise ValueError(f"it is damaged: {bad} does not have its checksum")
    state = torch.load(path, weights_only=True, map_location="cpu")
    if state.pop("run", None) != mark:
        raise ValueError("it belongs to another run")
    return state


def save_model(path: Path, config: FlowConfig, weights: dict[str, Tensor]) -> None:
    """Write weights and config as one safetensors file."""
    from safetensors.torch import save

    tensors = {name: value.detach().contiguous() for name, value in weights.items()}
    text = {"stepsmith_flow": json.dumps(config.as_dict()), "provenance": json.dumps(provenance())}
    put(path, lambda f: f.write(save(tensors, text)))


def load(path: str | Path, labels: Any = None) -> flows.Model:
    """The model of a run folder or of its model.safetensors, without gradients in its weights.

    labels: of a conditional model the classes, one for all samples or (B,) int64.  ValueError where the file holds no
    such model, or classes are missing, not wanted or not there.
    """
    from safetensors import SafetensorError, safe_open

    file = Path(path)
    file = file / "model.safetensors" if file.is_dir() else file
    try:
        with safe_open(str(file), "pt") as opened:
            text = (opened.metadata() or {}).get("stepsmith_flow")
            if text is None:
                raise ValueError(f"{file} holds no model of stepsmith.train.flows")
            weights = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (it is no mapping)
    except SafetensorError as error:
        raise ValueError(f"{file} is no safetensors file: {error}") from None
    config = from_dict(json.loads(text))
    net = build(config)
    net.load_state_dict(weights)
    net.requires_grad_(False).eval()
    told = _classes(net, labels)
    ask = net if told is None else lambda x, t: net(x, t, told)
    return flows.Model(ask, net.process, predicts(net.process))


def _classes(net: Perceptron, labels: Any) -> Tensor | None:
    """`labels`, checked."""
    if not net.classes:
        if labels is not None:
            raise options.OptionError("labels must be None of a model that is not conditional")
        return None
    told = torch.as_tensor(-1 if labels is None else labels)
    if told.is_floating_point() or told.ndim > 1 or bool(((told < 0) | (told >= net.classes)).any()):
        raise options.refuse("labels", f"whole numbers from 0 to {net.classes - 1}, one or (B,)", labels)
    return told
