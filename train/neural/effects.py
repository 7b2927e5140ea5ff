"""What regularisers and controllers do to training: tasks x variants x tolerances x seeds, one run folder each.

    name = "effects"
    seeds = [0, 1, 2]
    tolerances = [1e-3, 1e-5, 1e-8]
    baseline = "vanilla"                 # the variant that the others are compared with

    [tasks.mnist5k]                      # what follows `config` is merged into it
    config = "neural_mnist5k"
    train = {epochs = 30}

    [variants.vanilla]                   # nothing merged

    [variants.er]                        # merged into every task's config
    regulariser = {name = "er_mean", strength = {kind = "exponential", l0 = 100.0, l1 = 10.0}}

    [variants.er.at.pbcseq]              # then this, at one task
    regulariser = {strength = {l0 = 1000.0, l1 = 100.0}}

    [variants.steer]
    only = ["mnist5k"]                   # tasks (all, where it is not said)
    regulariser = {name = "steer", options = {b = 0.5}}

    [variants.tuned]                     # a controller that reaches the same error at another tolerance
    solver = {controller = "law.json"}
    tolerance = {"1e-3" = 4e-3, "1e-5" = 6e-5, "1e-8" = 5e-8}

A run that has ended, well or not, is not run again; one that was interrupted goes on from its last epoch.  Runs are
ordered by seed, then tolerance, task and variant, and `part = (i, n)` takes every n-th group of variants from the i-th
on: n processes with n parts share the work, and what is compared with each other runs one after the other in one
process, on a machine in the same state.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...integrators.core import options
from ...integrators.core.names import unknown
from ..config import config as configs
from ..config import reading, settings
from ..run.runfiles import read_json, read_log, write_json
from .config import NeuralConfig, from_dict
from .folder import read_config
from .loop import Diverged, schedule, train
from .tasks import check

_SEEDS = settings.many(settings.seed, "seeds")
_tables = settings.mapping
#: rules of the comparison's keys, all of which it needs, and of what a variant has beside what is merged into a config
RULES: settings.Rules = {
    "name": settings.run_name, "seeds": _SEEDS,
    "tolerances": settings.many(settings.number(above=0.0, high=1.0), "tolerances"),
    "baseline": settings.text, "tasks": _tables, "variants": _tables,
}  # fmt: skip
KEYS = tuple(RULES)
_NAMES = settings.many(settings.text, "names of tasks", distinct=True)


@dataclass(frozen=True)
class Unit:
    """One run: names of task and variant, tolerance, seed, and its whole config."""

    task: str
    variant: str
    tolerance: float
    seed: int
    config: NeuralConfig

    @property
    def folder(self) -> Path:
        """Relative to the comparison's."""
        return Path(self.task) / self.variant / f"tol{self.tolerance:g}-s{self.seed}"


@dataclass(frozen=True)
class Spec:
    """A comparison.

    name        of the comparison
    baseline    the variant that the others are compared with
    groups      its runs in order; those of a group are compared with each other
    """

    name: str
    baseline: str
    groups: tuple[tuple[Unit, ...], ...]

    @property
    def units(self) -> tuple[Unit, ...]:
        """All runs, in order."""
        return tuple(unit for group in self.groups for unit in group)


def load(path: str | Path, seeds: Sequence[int] | None = None) -> Spec:
    """Read a comparison's file, with `seeds` in place of its own.

    ValueError naming what is missing, is unknown or does not fit.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"{path}: there is no such comparison file")
    if seeds:
        _SEEDS("seed", list(seeds))
    data = reading.toml(path)
    return from_tables({**data, "seeds": list(seeds)} if seeds else data)


def from_tables(data: dict[str, Any]) -> Spec:
    """As `load`, from parsed TOML."""
    for key in data:
        if key not in KEYS:
            raise unknown("key of the comparison", key, KEYS)
    for key in KEYS:
        if not isinstance(data.get(key), (int, float)) and not data.get(key):
            raise ValueError(f"comparison: {key} is missing or empty")
    data = {key: RULES[key](f"comparison: {key}", value) for key, value in data.items()}
    tasks, variants = data["tasks"], data["variants"]
    for kind, tables in (("tasks", tasks), ("variants", variants)):
        for name, given in tables.items():
            settings.run_name(f"comparison: name of [{kind}.{name}]", name)
            _merge(f"comparison: [{kind}.{name}]", given)
    if data["baseline"] not in variants:
        raise unknown("baseline variant", data["baseline"], variants)
    for name, variant in variants.items():
        at = _tables(f"comparison: [variants.{name}] at", variant.get("at", {}))
        only = _NAMES(f"comparison: [variants.{name}] only", variant["only"]) if "only" in variant else []
        for task in (*at, *only):
            if task not in tasks:
                raise unknown(f"task of variant {name!r}", task, tasks)
        for task, given in at.items():
            _merge(f"comparison: [variants.{name}.at.{task}]", given)
    bases = {}
    for name, given in tasks.items():
        if "config" not in given:
            raise ValueError(f"comparison: [tasks.{name}] must name its config")
        bases[name] = merged(configs.read(given["config"]), {k: v for k, v in given.items() if k != "config"})
    groups = []
    for seed in data["seeds"]:
        for tolerance in data["tolerances"]:
            for task, base in bases.items():
                group = []
                for name, variant in variants.items():
                    if task not in variant.get("only", tasks):
                        continue
                    whole = merged(base, {k: v for k, v in variant.items() if k not in ("at", "only")})
                    whole = merged(whole, variant.get("at", {}).get(task, {}))
                    own = _tolerance(whole.pop("tolerance", tolerance), tolerance, name, len(data["tolerances"]))
                    whole = merged(whole, {"name": f"{task}-{name}", "seed": seed, "solver": {"tolerance": own}})
                    group.append(Unit(task, name, float(tolerance), seed, _resolved(whole, task, name)))
                groups.append(tuple(group))
    return Spec(str(data["name"]), str(data["baseline"]), tuple(groups))


def _merge(where: str, given: Any) -> None:
    """OptionError where a table cannot be merged into a config.

    That is where it is none, where it has a number in the place of a table, or where it names the run itself.
    """
    for key, value in _tables(where, given).items():
        if key in ("task", "solver", "regulariser", "train"):
            _tables(f"{where} {key}", value)
        elif key in ("name", "seed"):
            raise options.OptionError(f"{where} has no {key}: task, variant and seeds of the comparison name its runs")


def _tolerance(given: Any, tolerance: float, variant: str, count: int) -> float:
    """A variant's own tolerance in the place of the comparison's `tolerance`.

    given: a table from the comparison's tolerances to the variant's, or a number where there is one tolerance.
    """
    if given != tolerance and not isinstance(given, dict) and count > 1:
        raise ValueError(
            f"comparison: variant {variant!r}: tolerance must be a table with one of its own for each of the {count}"
        )
    what = f"comparison: variant {variant!r}: tolerance"
    try:
        table = {float(key): value for key, value in given.items()} if isinstance(given, dict) else {tolerance: given}
    except ValueError:
        raise options.OptionError(
            f"{what} must hold numbers, and be named by some, got {options.shown(given)}"
        ) from None
    if tolerance not in table:
        raise ValueError(
            f"comparison: variant {variant!r} has no tolerance for {tolerance:g}; it has {', '.join(given)}"
        )
    return options.number(what, table[tolerance], above=0.0, high=1.0)


def _resolved(whole: dict[str, Any], task: str, variant: str) -> NeuralConfig:
    """The config of a table with every name in it looked up; ValueError naming task, variant and key."""
    try:
        config = from_dict(whole)
        check(config)
        try:
            schedule(config, 1)
        except ValueError as error:
            raise ValueError(f"[regulariser] strength: {error}") from None
    except ValueError as error:
        raise ValueError(f"comparison: variant {variant!r}, task {task!r}: {error}") from None
    return config


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`base` with `over` laid upon it, table by table.

    A strength of another kind and a regulariser of another name begin afresh.
    """
    out = dict(base)
    for key, value in over.items():
        old = out.get(key)
        fresh = (
            isinstance(value, dict)
            and isinstance(old, dict)
            and any(value.get(k, old.get(k)) != old.get(k) for k in ("kind", "name"))
        )
        out[key] = merged(old, value) if isinstance(value, dict) and isinstance(old, dict) and not fresh else value
    return out


def run(spec: Spec, out: str | Path, part: tuple[int, int] = (0, 1), progress: bool = True) -> list[dict[str, Any]]:
    """Run what is missing of a part, (i, n) with 0 <= i < n; returns the rows of the part, in order.

    Raises ValueError where a folder holds a run by another config.
    """
    index, parts = part
    if not 0 <= index < parts:
        raise ValueError(f"part must be i/n with 0 <= i < n, got {index}/{parts}")
    return [_run(unit, Path(out) / unit.folder, progress) for group in spec.groups[index::parts] for unit in group]


def collect(spec: Spec, out: str | Path) -> list[dict[str, Any]]:
    """Rows of all runs that have ended, in order."""
    found = (_result(unit, Path(out) / unit.folder) for unit in spec.units)
    return [row for row in found if row is not None]


def _run(unit: Unit, folder: Path, progress: bool) -> dict[str, Any]:
    row = _result(unit, folder)
    if row is not None:
        return row
    try:
        train(unit.config, out=folder, resume=(folder / "config.json").exists(), progress=progress)
    except Diverged as error:
        status, message = "diverged", str(error)
    else:
        status, message = "finished", ""
    log, _ = read_log(folder / "log.jsonl")
    last = log[-1] if log else {}
    row = {"task": unit.task, "variant": unit.variant, "tolerance": unit.tolerance, "seed": unit.seed, "status": status}
    row |= {
        "own_tolerance": unit.config.solver.tolerance,
        "message": message,
        "load": round(os.getloadavg()[0], 2),
        **last,
    }
    write_json(folder / "result.json", row)
    return row


def _result(unit: Unit, folder: Path) -> dict[str, Any] | None:
    """The row of a run that has ended, None where it has not."""
    path = folder / "result.json"
    if not path.exists():
        return None
    if read_config(folder / "config.json") != unit.config:
        raise ValueError(f"{folder}: the run there has another config; choose another --out")
    return read_json(path)


def parse_part(text: str) -> tuple[int, int]:
    """"2/4" -> (2, 4); ValueError for anything else."""
    pieces: Sequence[str] = text.split("/")
    if (
        len(pieces) != 2
        or not all(p.isdecimal() and len(p) < 10 for p in pieces)
        or not int(pieces[0]) < int(pieces[1])
    ):
        raise options.refuse("part", "i/n with 0 <= i < n, for instance 0/2", text)
    return int(pieces[0]), int(pieces[1])
