"""A run's folder: what was asked, what made it, what came out."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from .provenance import provenance
from .resolved import resolved


class RunDir:
    """`runs/<name>-<algorithm>-s<seed>` or `out`: config.json as given, resolved.json with every default filled in, provenance.json,
    costs.json (implicit methods: measured costs of linear algebra), log.jsonl, controller.safetensors, tensorboard events.  A config that
    names what does not exist leaves no folder behind."""

    def __init__(self, config: Any, out: str | Path | None, resume: bool, whole: dict[str, Any] | None = None) -> None:
        """config: a `Config`, or another with name, algorithm, seed and as_dict, and then `whole`: what resolved.json is to hold."""
        self.path = Path(out) if out else Path("runs") / f"{config.name}-{config.algorithm}-s{config.seed}"
        if resume and not (self.path / "config.json").exists():
            raise ValueError(f"{self.path}: there is no run to resume")
        if resume and json.loads((self.path / "config.json").read_text()) != config.as_dict():
            raise ValueError(f"{self.path}: the run there has another config; resume with the same one, or choose another --out")
        if not resume and (self.path / "config.json").exists():
            raise ValueError(f"{self.path} already holds a run: resume it, or choose another --out")
        whole = resolved(config) if whole is None else whole
        self.path.mkdir(parents=True, exist_ok=True)
        self.start = time.time()
        if not resume:
            self.write("config.json", config.as_dict())
            self.write("resolved.json", whole)
            self.write("provenance.json", provenance())

    def write(self, name: str, data: Any) -> None:
        """Write JSON."""
        (self.path / name).write_text(json.dumps(data, indent=1) + "\n")

    def read(self, name: str) -> dict[str, Any]:
        """JSON that `write` wrote."""
        return json.loads((self.path / name).read_text())

    def log(self, **values: Any) -> None:
        """Append one line to log.jsonl."""
        with (self.path / "log.jsonl").open("a+") as f:
            f.seek(0)
            if (text := f.read()) and not text.endswith("\n"):
                f.truncate(text.rfind("\n") + 1)  # what an interruption cut short
            f.write(json.dumps({"seconds": round(time.time() - self.start, 2), **values}) + "\n")

    def costs(self) -> dict[str, dict[str, float]]:
        """Costs of linear algebra that the run was begun with, by family: a resumed run charges the same."""
        path = self.path / "costs.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def due(self, every: int) -> int:
        """Env steps at which the next validation is due: where an unbroken run would have made it."""
        steps = [entry["env_steps"] for entry in self._logged()]
        return steps[-1] + every if steps else 0

    def _logged(self) -> list[dict[str, Any]]:
        """Whole lines of log.jsonl; a last one that an interruption cut short does not count."""
        log = self.path / "log.jsonl"
        lines = log.read_text().splitlines(keepends=True) if log.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    @property
    def best(self) -> float:
        """Least validation ratio logged so far; inf before the first."""
        found = [float(entry["validation"]) for entry in self._logged()]
        return min((v for v in found if v == v), default=float("inf"))

    @property
    def controller(self) -> Path:
        """Path of the exported controller."""
        return self.path / "controller.safetensors"
