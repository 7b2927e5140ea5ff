"""A run's folder: what was asked, what made it, what came out."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ...integrators import problems
from ...integrators.problems import suites
from ...integrators.problems.fingerprint import fingerprint
from ..config.resolved import resolved
from ..config.settings import SDE_ID
from .checkpoint import Checkpoint, digest
from .lock import held
from .provenance import changes, provenance
from .runfiles import RunError, append_log, plain, put, read_json, read_log, say, write_json

#: what a run writes before its first step; taken away again where it is refused before that
FIRST = ("config.json", "resolved.json", "provenance.json", "costs.json")


def check_free(path: Path, resume: bool, same: Callable[[Path], bool]) -> None:
    """ValueError where a run cannot begin, or cannot go on, in the folder `path`.

    same: whether the config.json that is there asks for the same run.
    """
    there = path / "config.json"
    if resume and not there.exists():
        raise ValueError(f"{path}: there is no run to resume")
    if resume and not same(there):
        raise ValueError(
            f"{path}: the run there has another config; resume with the same one, or choose another --out"
        )
    if not resume and there.exists():
        raise ValueError(f"{path} already holds a run: resume it, or choose another --out")


def own_family(asked: Mapping[str, Any]) -> str | None:
    """The key of what a family of a caller's own computes (`problems.fingerprint`); None for one that ships, a suite,
    and a config without a family.
    """
    env = asked.get("env")
    if not isinstance(env, Mapping) or env.get("id") == SDE_ID:  # its families ship
        return None
    name = suites.called(env["family"]) if "family" in env else None
    if name is None or suites.is_suite(name) or problems.ships(name):
        return None
    return fingerprint(problems.family(name))


class RunDir:
    """The folder of a run, `runs/<name>-<algorithm>-s<seed>` or `out`:

    config.json               as given
    resolved.json             with every default filled in
    provenance.json           versions and commit
    costs.json                implicit methods: measured costs of linear algebra
    log.jsonl                 JSON by the line, a line a validation; null stands for what is no finite number
    checkpoint.npz            the last state, and checkpoint.previous.npz the one before it
    controller.safetensors    the controller that was best on validation; of Regularization-v0 strength.safetensors, and
                              of other environments whose actions are no step sizes policy.zip, a file of SB3's own
    tensorboard/              events

    A config that names what does not exist leaves no folder behind.
    """

    def __init__(self, config: Any, out: str | Path | None, resume: bool, whole: dict[str, Any] | None = None) -> None:
        """config: a `Config`, or another with name, algorithm, seed and as_dict, and then `whole`: what resolved.json
        is to hold.
        """
        self.path = folder_of(config, out)
        asked = plain(config.as_dict())
        check_free(self.path, resume, lambda file: plain(read_json(file)) == asked)
        whole = resolved(config) if whole is None else whole
        self.path.mkdir(parents=True, exist_ok=True)
        self.start = time.time()
        self.checkpoint = Checkpoint(self.path, digest(asked))
        family = own_family(asked)
        if resume:
            if family != (before := self.read("provenance.json").get("family", family)):
                raise RunError(
                    f"{self.path}: the family has changed since this run began (its key was {before}, and is "
                    f"{family}): begin another run with --out"
                )
            mend_log(self.path / "log.jsonl")
            if other := changes(self.read("provenance.json")):
                say(f"{self.path}: begun with other versions, its numbers may differ from an unbroken run's: {other}")
        else:
            self.write("resolved.json", whole)
            self.write("provenance.json", provenance() | ({} if family is None else {"family": family}))
            self.write("config.json", asked)  # the last: where it stands the others do

    def write(self, name: str, data: Any) -> None:
        """Write JSON, whole or not at all."""
        write_json(self.path / name, data)

    def read(self, name: str) -> dict[str, Any]:
        """JSON that `write` wrote; RunError that names the file where it is damaged."""
        return read_json(self.path / name)

    def restored(self) -> Any:
        """The last checkpoint's state.

        None where there is none: the run then begins again, which is said, with an empty log.
        """
        state = self.checkpoint.load()
        if state is None:
            say(f"{self.path} holds no checkpoint: the run begins again from its start")
            if (self.path / "log.jsonl").exists():
                put(self.path / "log.jsonl", lambda f: None)
        return state

    def log(self, **values: Any) -> None:
        """Append one line to log.jsonl."""
        append_log(self.path / "log.jsonl", {"seconds": round(time.time() - self.start, 2), **values})

    def costs(self) -> dict[str, dict[str, float]]:
        """Costs of linear algebra that the run was begun with, by family: a resumed run charges the same."""
        return self.read("costs.json") if (self.path / "costs.json").exists() else {}

    def due(self, every: int) -> int:
        """Env steps at which the next validation is due: where an unbroken run would have made it."""
        steps = [entry["env_steps"] for entry in self.logged()]
        return steps[-1] + every if steps else 0

    def logged(self) -> list[dict[str, Any]]:
        """Whole lines of log.jsonl; a last one that an interruption cut short does not count."""
        return read_log(self.path / "log.jsonl")[0]

    @property
    def best(self) -> float:
        """Least validation ratio logged so far; inf before the first."""
        return least(self.logged())

    @property
    def controller(self) -> Path:
        """Path of the exported controller."""
        return self.path / "controller.safetensors"

    @property
    def strength(self) -> Path:
        """Path of the exported strength of a regulariser."""
        return self.path / "strength.safetensors"

    @property
    def policy(self) -> Path:
        """Path of the policy in Stable-Baselines3's own file, of environments whose policies are exported as nothing
        else."""
        return self.path / "policy.zip"


def folder_of(config: Any, out: str | Path | None) -> Path:
    """Where a run goes."""
    return Path(out) if out else Path("runs") / f"{config.name}-{config.algorithm}-s{config.seed}"


@contextlib.contextmanager
def opened(config: Any, out: str | Path | None) -> Iterator[Path]:
    """The run's folder, held by this process for as long as it runs (`lock.held`)."""
    path = folder_of(config, out)
    with held(path, FIRST):
        yield path


def least(rows: list[dict[str, Any]]) -> float:
    """Least validation figure of log rows; inf where there is none."""
    try:
        return min((float(row["validation"]) for row in rows if row["validation"] is not None), default=float("inf"))
    except (KeyError, TypeError, ValueError):
        raise RunError("log.jsonl holds lines that are no validations of a run") from None


def mend_log(path: Path) -> None:
    """Take away a last line that an interruption cut short, with a word."""
    rows, size = read_log(path)
    if path.exists() and path.stat().st_size > size:
        say(f"{path}: its last line was cut short and is left out ({len(rows)} lines stay)")
        with path.open("r+b") as f:
            f.truncate(size)
