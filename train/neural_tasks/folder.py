"""The folder of a neural run: config, provenance, log, checkpoint, model, scores."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..provenance import provenance
from .config import NeuralConfig, from_dict


class NeuralRun:
    """`runs/<name>-s<seed>` or `out`:

    config.json, provenance.json      what was asked, what made it
    log.jsonl, log.csv                a row an evaluation
    checkpoint.pt                     the state after the last finished epoch (read with weights_only: no code runs)
    model.safetensors                 the model at the end
    weights/00005.safetensors         the model after epoch 5, where the config keeps it
    scores.npz                        the test items' scores at the end: `rows` (n,) subjects, `scores` (n,)
    state.json                        {"status": "running" | "finished" | "diverged", "message", "epoch": the checkpoint's, at the end}
    tensorboard/, training.png
    """

    def __init__(self, config: NeuralConfig, out: str | Path | None, resume: bool) -> None:
        self.path = Path(out) if out else Path("runs") / f"{config.name}-s{config.seed}"
        there = self.path / "config.json"
        if resume and not there.exists():
            raise ValueError(f"{self.path}: there is no run to resume")
        if resume and read_config(there) != config:
            raise ValueError(f"{self.path}: the run there has another config; resume with the same one, or choose another --out")
        if not resume and there.exists():
            raise ValueError(f"{self.path} already holds a run: resume it, or choose another --out")
        self.path.mkdir(parents=True, exist_ok=True)
        self.rows: list[dict[str, Any]] = []
        if not resume:
            self.write("config.json", config.as_dict())
            self.write("provenance.json", {**provenance(), "threads": config.train.threads, "load": _load()})
        self.state("running", "", None)

    def write(self, name: str, data: Any) -> None:
        """Write JSON."""
        (self.path / name).write_text(json.dumps(data, indent=1) + "\n")

    def state(self, status: str, message: str, epoch: int | None) -> None:
        """Say where the run stands."""
        self.write("state.json", {"status": status, "message": message, "epoch": epoch})

    def log(self, row: dict[str, Any]) -> None:
        """Append a row to both logs."""
        self.rows.append(row)
        with (self.path / "log.jsonl").open("a") as f:
            f.write(json.dumps(row) + "\n")
        self._csv()

    def save(self, state: dict[str, Any]) -> None:
        """Write the checkpoint, all of it or nothing."""
        temporary = self.path / "checkpoint.tmp"
        torch.save(state, temporary)
        os.replace(temporary, self.path / "checkpoint.pt")

    def load(self) -> dict[str, Any] | None:
        """The checkpoint, or None where the run had not finished an epoch; rows of the log behind it are taken away."""
        path = self.path / "checkpoint.pt"
        state = torch.load(path, weights_only=True, map_location="cpu") if path.exists() else None
        epoch = -1 if state is None else int(state["epoch"])
        log = self.path / "log.jsonl"
        lines = log.read_text().splitlines(keepends=True) if log.exists() else []
        rows = [json.loads(line) for line in lines if line.endswith("\n")]
        self.rows = [row for row in rows if row["epoch"] <= epoch]
        log.write_text("".join(json.dumps(row) + "\n" for row in self.rows))
        if self.rows:
            self._csv()
        return state

    def finish(self, model: torch.nn.Module, rows: np.ndarray, scores: np.ndarray) -> None:
        """Write the model and the test items' scores."""
        _save_model(model, self.path / "model.safetensors")
        np.savez(self.path / "scores.npz", rows=rows, scores=scores)

    def keep(self, model: torch.nn.Module, epoch: int) -> None:
        """Write the model as it is after `epoch`."""
        (self.path / "weights").mkdir(exist_ok=True)
        _save_model(model, self.path / "weights" / f"{epoch:05d}.safetensors")

    def _csv(self) -> None:
        with (self.path / "log.csv").open("w", newline="") as f:
            writer = csv.DictWriter(f, list(self.rows[0]))
            writer.writeheader()
            writer.writerows(self.rows)


def read_config(path: Path) -> NeuralConfig:
    """The config of a run folder's config.json; keys that came later have the values they stand for."""
    return from_dict(json.loads(path.read_text()))


def _save_model(model: torch.nn.Module, path: Path) -> None:
    from safetensors.torch import save_file

    save_file({k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}, str(path))


def _load() -> list[float]:
    """Load averages of the machine over 1, 5 and 15 minutes; empty where there are none."""
    try:
        return [round(x, 2) for x in os.getloadavg()]
    except OSError:
        return []
