"""What a learned controller's training was given, so that a law's search can be given the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...controllers import resolve
from ...integrators.core.errors import OptionError
from ..run.runfiles import read_json, read_log


@dataclass(frozen=True)
class Training:
    """The budget of a training.

    name        of the controller or the run folder
    attempts    attempted steps of the solver (`env_steps`), None where it is not known
    instances   training instances, of a suite a family (`pool_size`), None where it is not known
    """

    name: str
    attempts: int | None
    instances: int | None

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"name": self.name, "env_steps": self.attempts, "pool_size": self.instances}


def training_of(given: Any) -> Training:
    """The training of a controller: an object, a name of the zoo, a file, or a run folder.

    Of a folder it is that of the whole run, of a controller that of the checkpoint which was kept.  Raises OptionError
    where a name or file is none of a learned controller, or where it does not say how many attempts were made.
    """
    if isinstance(given, (str, Path)) and (Path(given) / "config.json").is_file():
        found = _of_run(Path(given))
    else:
        controller = resolve.controller(str(given)) if isinstance(given, (str, Path)) else given
        found = of_provenance(str(controller.name), getattr(controller, "provenance", {}))
    if found.attempts is None:
        raise OptionError(f"budget_of: {found.name!r} does not say what its training was given (no env_steps)")
    return found


def of_provenance(name: str, provenance: Mapping[str, Any]) -> Training:
    """What a controller's provenance says of it."""
    attempts, instances = provenance.get("env_steps"), provenance.get("pool_size")
    return Training(name, None if attempts is None else int(attempts), None if instances is None else int(instances))


def _of_run(folder: Path) -> Training:
    rows, _ = read_log(folder / "log.jsonl")
    steps = [int(row["env_steps"]) for row in rows if "env_steps" in row]
    told = folder / "resolved.json"
    env = read_json(told if told.is_file() else folder / "config.json").get("env", {})
    size = env.get("pool_size")
    return Training(str(folder), max(steps, default=None), None if size is None else int(size))


def shortfalls(facts: Mapping[str, Any], training: Training) -> list[str]:
    """Sentences on what a tuned law's search was given less of than a controller's training.

    facts: of the tuned law's file.  Earlier files do not say how many attempts a search made; it made at least one a
    solve.
    """
    budget: Mapping[str, Any] = facts.get("budget", {})
    out: list[str] = []
    if not budget:  # no law was tuned
        return out
    attempts = budget.get("attempts")
    if training.attempts is not None and not budget.get("stopped_improving", False):
        if attempts is not None and attempts < training.attempts:
            out.append(f"{attempts:,} attempted steps, {training.name} {training.attempts:,}")
        elif attempts is None and budget.get("solves", 0) < training.attempts:
            out.append(f"an unknown number of attempted steps, {training.name} {training.attempts:,}")
    instances = facts.get("train", {}).get("instances")
    if training.instances is not None and instances is not None:
        drawn = instances + facts["train"].get("reference_failures", 0)
        if drawn < training.instances:
            out.append(f"{drawn} training instances, {training.name} {training.instances}")
    return [f"the tuned law was given less than the learned one: {said}" for said in out]
