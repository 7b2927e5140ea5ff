"""The folder of a neural run: config, provenance, log, checkpoint, model, scores."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..run.checkpoint import Checkpoint, digest
from ..run.lock import held
from ..run.provenance import changes, provenance
from ..run.rundir import check_free
from ..run.runfiles import RunError, append_log, put, read_json, read_log, say, write_json
from .config import NeuralConfig, from_dict

FIRST = ("config.json", "provenance.json", "state.json")


class NeuralRun:
    """The folder of a neural run, `runs/<name>-s<seed>` or `out`:

    config.json, provenance.json    what was asked, and what made it
    log.jsonl, log.csv              a row an evaluation
    checkpoint.pt                   the state after the last finished epoch (read with weights_only: no code runs)
    checkpoint.previous.pt          the one before, which is taken, with a word, where the last one is damaged
    model.safetensors               the model at the end
    weights/00005.safetensors       the model after epoch 5, where the config keeps it
    scores.npz                      the test items' scores at the end: `rows` (n,) subjects, `scores` (n,)
    state.json                      "status" ("running", "finished" or "diverged"), "message" and, at the end, "epoch":
                                    the checkpoint's
    tensorboard/, training.png
    """

    def __init__(self, config: NeuralConfig, out: str | Path | None, resume: bool) -> None:
        self.path = folder_of(config, out)
        check_free(self.path, resume, lambda file: read_config(file) == config)
        self.path.mkdir(parents=True, exist_ok=True)
        self.rows: list[dict[str, Any]] = []
        mark = digest(config.as_dict())
        self.checkpoint = Checkpoint(
            self.path, name="checkpoint.pt",
            write=lambda f, state: _write_state(f, {**state, "run": mark}), read=lambda path: _read_state(path, mark),
        )  # fmt: skip
        self.state("running", "", None)
        if not resume:
            self.write("provenance.json", {**provenance(), "threads": config.train.threads, "load": _load()})
            self.write("config.json", config.as_dict())  # the last: where it stands the others do
        elif other := changes(read_json(self.path / "provenance.json")):
            say(f"{self.path}: begun with other versions, its numbers may differ from an unbroken run's: {other}")

    def write(self, name: str, data: Any) -> None:
        """Write JSON, whole or not at all."""
        write_json(self.path / name, data)

    def state(self, status: str, message: str, epoch: int | None) -> None:
        """Say where the run stands."""
        self.write("state.json", {"status": status, "message": message, "epoch": epoch})

    def log(self, row: dict[str, Any]) -> None:
        """Append a row to both logs."""
        self.rows.append(row)
        append_log(self.path / "log.jsonl", row)
        self._csv()

    def save(self, state: dict[str, Any]) -> None:
        """Write the checkpoint, all of it or nothing; the one before it stays."""
        self.checkpoint.save(state)

    def load(self) -> dict[str, Any] | None:
        """The checkpoint; None, which is said, where the run had not finished an epoch.

        Rows of the log that come after the checkpoint are taken away.
        """
        log = self.path / "log.jsonl"
        rows, _ = read_log(log)
        for i, row in enumerate(rows):
            epoch = row.get("epoch")
            if isinstance(epoch, bool) or not isinstance(epoch, int):
                raise RunError(f"{log}, line {i + 1}: damaged, it names no epoch; mend or remove the line to go on")
        state = self.checkpoint.load()
        if state is None:
            say(f"{self.path} holds no checkpoint: the run begins again from its start")
        last = -1 if state is None else int(state["epoch"])
        self.rows = [row for row in rows if row["epoch"] <= last]
        text = "".join(json.dumps(row, allow_nan=False) + "\n" for row in self.rows)
        put(log, lambda f: f.write(text.encode()))
        if self.rows:
            self._csv()
        return state

    def finish(self, model: torch.nn.Module, rows: np.ndarray, scores: np.ndarray) -> None:
        """Write the model and the test items' scores."""
        _save_model(model, self.path / "model.safetensors")
        put(self.path / "scores.npz", lambda f: np.savez(f, rows=rows, scores=scores))

    def keep(self, model: torch.nn.Module, epoch: int) -> None:
        """Write the model as it is after `epoch`."""
        (self.path / "weights").mkdir(exist_ok=True)
        _save_model(model, self.path / "weights" / f"{epoch:05d}.safetensors")

    def _csv(self) -> None:
        text = io.StringIO(newline="")
        # rows of an earlier version lack columns
        writer = csv.DictWriter(text, list(dict.fromkeys(name for row in reversed(self.rows) for name in row)))
        writer.writeheader()
        writer.writerows(self.rows)
        put(self.path / "log.csv", lambda f: f.write(text.getvalue().encode()))


def folder_of(config: NeuralConfig, out: str | Path | None) -> Path:
    """Where a run goes."""
    return Path(out) if out else Path("runs") / f"{config.name}-s{config.seed}"


@contextlib.contextmanager
def opened(config: NeuralConfig, out: str | Path | None) -> Iterator[Path]:
    """The run's folder, held by this process for as long as it runs (`lock.held`)."""
    path = folder_of(config, out)
    with held(path, FIRST):
        yield path


def read_config(path: Path) -> NeuralConfig:
    """The config of a run folder's config.json; keys that came later have the values they stand for."""
    return from_dict(read_json(path))


def _write_state(f: Any, state: dict[str, Any]) -> None:
    data = io.BytesIO()  # torch's own writer words a full disk in its own way
    torch.save(state, data)
    f.write(data.getbuffer())


def _read_state(path: Path, mark: str) -> dict[str, Any]:
    """The state in a file of torch's.

    ValueError and torch's own errors where it is none, is not whole, or is not that of the run `mark`.
    """
    if not path.stat().st_size:
        raise ValueError("the file is empty")
    with zipfile.ZipFile(path) as archive:  # torch does not look at the checksums
        if (bad := archive.testzip()) is not None:
            raise ValueError(f"it is damaged: {bad} does not have its checksum")
    state = torch.load(path, weights_only=True, map_location="cpu")
    if not isinstance(state, dict) or "epoch" not in state:
        raise ValueError("it is no checkpoint of a neural run")
    if state.pop("run", None) != mark:
        raise ValueError("it belongs to another run, or to one of an earlier version, which did not say")
    return state


def _save_model(model: torch.nn.Module, path: Path) -> None:
    from safetensors.torch import save

    data = save({k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()})
    put(path, lambda f: f.write(data))


def _load() -> list[float]:
    """Load averages of the machine over 1, 5 and 15 minutes; empty where there are none."""
    try:
        return [round(x, 2) for x in os.getloadavg()]
    except OSError:
        return []
