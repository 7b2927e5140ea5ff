"""The records in a folder: what a leaderboard is made of, read with errors that name the file.

Only `record.json` files count, at <folder>/<protocol>/<row>/s<seed>/record.json.  A folder holds records of one version
of each protocol, measured on the same instances, and of one training budget; anything else is an error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..run.runfiles import RunError, read_json
from .evaluation import SCHEMA
from .instance_file import BenchError

FILE = "record.json"
_KEYS = {"schema", "protocol", "digest", "row", "seed", "submission", "ratio", "instances", "versions", "no_reference"}


@dataclass(frozen=True)
class Asked:
    """What records that stand beside each other have in common: protocol, its digest, env steps of training."""

    protocol: str
    digest: str
    env_steps: int


@dataclass(frozen=True)
class Table:
    """All records of a folder.

    protocols    names, sorted
    rows         names, sorted
    seeds        (S,) training seeds, the same for every row of every protocol
    records      by (protocol, row, seed)
    """

    protocols: tuple[str, ...]
    rows: tuple[str, ...]
    seeds: tuple[int, ...]
    records: dict[tuple[str, str, int], dict[str, Any]]

    def ratios(self, row: str) -> np.ndarray:
        """(seeds, protocols) work ratios of a row; one that is not finite is inf."""
        return np.array([[_ratio(self.records[p, row, s]) for p in self.protocols] for s in self.seeds])

    def uncharged(self, row: str) -> np.ndarray:
        """The same without the charge for lost instances (`uncharged`); NaN where nothing is left."""
        return np.array([[uncharged(self.records[p, row, s])[0] for p in self.protocols] for s in self.seeds])


def _ratio(record: dict[str, Any]) -> float:
    value = record["ratio"]["ratio"]
    return math.inf if value is None else float(value)


def uncharged(record: dict[str, Any]) -> tuple[float, int, int]:
    """A record's ratio over the instances that neither side lost (NaN where there are none), how many the submission
    lost, and how many the law lost; an instance that both lost counts on both sides.
    """
    each = record["instances"].values()
    logs = [v["log_ratio"] for v in each if not v["lost"] and not v["lost_by_law"] and v["log_ratio"] is not None]
    ratio = math.exp(sum(logs) / len(logs)) if logs else math.nan
    return ratio, sum(bool(v["lost"]) for v in each), sum(bool(v["lost_by_law"]) for v in each)


def read(path: Path) -> dict[str, Any]:
    """A record; BenchError naming the file where it is none, or one of another version of the program."""
    try:
        record = read_json(path)
    except RunError as error:
        raise BenchError(str(error)) from None
    if missing := sorted(_KEYS - set(record)):
        raise BenchError(f"{path}: not a record of the benchmark: {', '.join(missing)} is missing")
    if record["schema"] != SCHEMA:
        raise BenchError(f"{path}: a record of schema {record['schema']!r}, this program reads {SCHEMA}")
    try:
        good = _sound(record)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        good = False
    if not good:
        raise BenchError(f"{path}: damaged or changed by hand: its parts do not fit each other; measure again")
    return record


def _sound(record: dict[str, Any]) -> bool:
    """Whether a record's parts have the types that a table needs, and its figure is that of its instances."""
    logs = [float(v["log_ratio"]) for v in record["instances"].values() if v["log_ratio"] is not None]
    value = record["ratio"]["ratio"]
    figure = value is None if not logs else value is not None and math.isclose(
        float(value), math.exp(sum(logs) / len(logs)), rel_tol=1e-6
    )  # fmt: skip
    training = record.get("training", {"asked": 0})
    curve = all(len(p) == 2 and float(p[0]) >= 0.0 for p in training.get("curve", ()))
    texts = all(isinstance(record[k], str) for k in ("protocol", "digest", "row"))
    sizes = (record["seed"], training["asked"], len(record["no_reference"]), len(record["versions"].items()))
    return figure and curve and texts and all(type(v) is int for v in sizes)


def check_same(path: Path, record: dict[str, Any], asked: Asked) -> None:
    """BenchError where a record is not of the protocol's version, or not of the budget, that is asked for."""
    if record["protocol"] != asked.protocol or record["digest"] != asked.digest:
        raise BenchError(
            f"{path}: measured under {record['protocol']} with digest {record['digest'][:12]}..., not under "
            f"{asked.protocol} with {asked.digest[:12]}...: take another folder, or measure again"
        )
    steps = record.get("training", {}).get("asked")
    if steps is not None and steps != asked.env_steps:
        raise BenchError(
            f"{path}: its budget was {steps:,} env steps, not {asked.env_steps:,}: take another folder, or the same "
            f"--steps"
        )


def table(folder: str | Path, partial: bool = False) -> Table:
    """All records of a folder.

    partial: leave out rows that some protocol or some seed is missing of, instead of an error.

    BenchError where there are none; where two were measured under different versions of a protocol or with different
    budgets; where one lies in the wrong folder; and where the training seeds of a row are not complete.
    """
    root = Path(folder)
    paths = sorted(root.glob(f"*/*/s*/{FILE}"))
    if not paths:
        raise BenchError(f"{root}: no records of the benchmark (<protocol>/<row>/s<seed>/{FILE})")
    records: dict[tuple[str, str, int], dict[str, Any]] = {}
    first: dict[str, tuple[Path, dict[str, Any]]] = {}
    for path in paths:
        record = read(path)
        key = record["protocol"], record["row"], record["seed"]
        if key != (path.parts[-4], path.parts[-3], _seed(path.parts[-2])):
            raise BenchError(f"{path}: holds a record of {key[0]} {key[1]} s{key[2]}, which belongs elsewhere")
        there, known = first.setdefault(record["protocol"], (path, record))
        if known["digest"] != record["digest"] or set(known["instances"]) != set(record["instances"]):
            raise BenchError(
                f"{path} and {there} were measured on different versions of {record['protocol']} (digests "
                f"{record['digest'][:12]}... and {known['digest'][:12]}...): a table takes one"
            )
        records[key] = record
    _check_budgets(records, root)
    protocols = tuple(sorted({p for p, _, _ in records}))
    rows, seeds = _complete(records, protocols, partial, root)
    kept = {k: r for k, r in records.items() if k[1] in rows and k[2] in seeds}
    return Table(protocols, rows, seeds, kept)


def _seed(name: str) -> int:
    return int(name[1:]) if name[1:].isdigit() else -1


def _check_budgets(records: dict[tuple[str, str, int], dict[str, Any]], root: Path) -> None:
    """BenchError where two records of a protocol were trained with different budgets."""
    found: dict[str, int] = {}
    for (protocol, row, seed), record in records.items():
        steps = record.get("training", {}).get("asked")
        if steps is not None and found.setdefault(protocol, steps) != steps:
            raise BenchError(
                f"{root}: {protocol} {row} s{seed} had a budget of {steps:,} env steps, others {found[protocol]:,}: "
                f"a table takes one"
            )


def _complete(
    records: dict[tuple[str, str, int], dict[str, Any]], protocols: tuple[str, ...], partial: bool, root: Path
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Rows, and the seeds that all of them have; BenchError, unless `partial`, naming cells that are missing."""
    rows = sorted({r for _, r, _ in records})
    seeds = sorted({s for _, _, s in records})
    if partial:  # a row with more seeds than the others has no say in which seeds a row must have
        having = {s: sum(all((p, r, s) in records for p in protocols) for r in rows) for s in seeds}
        seeds = [s for s in seeds if having[s] > 0 and 2 * having[s] >= max(having.values())]
    missing = [(p, r, s) for p in protocols for r in rows for s in seeds if (p, r, s) not in records]
    if missing and not partial:
        told = ", ".join(f"{p} {r} s{s}" for p, r, s in missing[:6])
        more = f" and {len(missing) - 6} more" if len(missing) > 6 else ""
        raise BenchError(
            f"{root}: {len(missing)} cells are missing: {told}{more}; finish them with `stepsmith bench run` or "
            f"`stepsmith bench evaluate`, or leave incomplete rows out with --partial"
        )
    whole = tuple(r for r in rows if r not in {row for _, row, _ in missing})
    if not whole:
        raise BenchError(f"{root}: no row has all seeds of all protocols yet")
    return whole, tuple(seeds)
