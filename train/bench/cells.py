"""`stepsmith bench run`: all rows of a protocol or a suite, trained with several seeds and measured; goes on where it
was interrupted.

A cell is a protocol, a row and a seed.  It has a folder, <out>/<protocol>/<row>/s<seed>, with the training run in
`run` and, once it is finished, `record.json`: what was measured, and the run's learning curve.  A finished cell is
skipped; a training run that was interrupted goes on from its last checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...integrators.core import options
from ...integrators.core.names import unknown
from ..config import reading
from ..run.interrupted import Kept, keeping
from ..run.lock import held
from ..run.run import train
from ..run.runfiles import RunFailed, read_log, say, write_json
from . import rows
from .evaluation import evaluate
from .instance_file import BenchError
from .protocol import Protocol, load, members
from .records import FILE, Asked, check_same, read

MOST_SEEDS = 1000
#: env steps of the smallest training run
LEAST_STEPS = 1024


class NoController(BenchError, RunFailed):
    """A training run has kept no controller."""


@dataclass(frozen=True)
class Cell:
    """One protocol, one row, one training seed."""

    protocol: str
    row: str
    seed: int

    def folder(self, out: Path) -> Path:
        """Where it goes."""
        return out / self.protocol / self.row / f"s{self.seed}"

    def __str__(self) -> str:
        return f"{self.protocol} {self.row} s{self.seed}"


@options.named
def run(
    protocol: str,
    out: str | Path,
    *,
    algos: Sequence[str] | None = None,
    seeds: int | None = None,
    steps: int | None = None,
    progress: bool = True,
) -> list[Path]:
    """Train and measure every cell that is not finished; returns the records' paths.

    protocol    a protocol or a suite
    out         the folder; it belongs to one process at a time
    algos       rows by name; default all of the protocol's
    seeds       training seeds 0 to seeds - 1; default the protocol's
    steps       env steps of a training run, in the place of the protocol's: for trials, the table says so

    ValueError naming the nearest for unknown names; BenchError where the folder holds records of another version of a
    protocol, or of another budget.
    """
    names = members(protocol)
    protocols = {name: load(name) for name in names}
    cells = _cells(protocols, algos, seeds)
    if steps is not None:
        options.count("steps", steps, LEAST_STEPS)
    options.flag("progress", progress)
    reading.folder("out", out)
    folder = Path(out)
    for cell in cells:  # what was asked for must be known to be sound before the first of them trains
        if cell.row not in rows.FIXED:
            rows.config(protocols[cell.protocol], cell.row, cell.seed, steps)
    with held(folder), keeping(lambda: _kept(folder, cells)):
        return _run(protocols, cells, folder, steps, progress)


def _kept(folder: Path, cells: list[Cell]) -> Kept:
    """What an interrupted run left."""
    done = sum((cell.folder(folder) / FILE).exists() for cell in cells)
    return Kept(str(folder), f"{done} of {len(cells)} cells are finished", True)


def _run(
    protocols: dict[str, Protocol], cells: list[Cell], folder: Path, steps: int | None, progress: bool
) -> list[Path]:
    asked = {name: Asked(name, p.digest, p.env_steps if steps is None else steps) for name, p in protocols.items()}
    done = [c for c in cells if _finished(c, folder, asked[c.protocol])]
    if progress and done:
        say(f"bench: {len(done)} of {len(cells)} cells are finished already")
    left, spent, empty = [c for c in cells if c not in done], 0.0, []
    for number, cell in enumerate(left, 1):
        began = time.perf_counter()
        try:
            record = _cell(protocols[cell.protocol], cell, folder, asked[cell.protocol], progress)
        except NoController as error:  # the other cells have their turn all the same
            empty.append(cell)
            say(f"bench: {error}")
            continue
        spent += (seconds := time.perf_counter() - began)
        if progress:
            minutes = spent / number * (len(left) - number) / 60.0
            ratio = record["ratio"]["ratio"]
            say(
                f"bench: {cell}: ratio {'inf' if ratio is None else f'{ratio:.3f}'}, {seconds:.0f} s; "
                f"{len(done) + number} of {len(cells)} cells, about {minutes:.0f} min left"
            )
    if empty:
        raise NoController(
            f"{len(empty)} training runs kept no controller ({', '.join(map(str, empty[:6]))}): all else is done; "
            "leave their rows out of the table with --partial"
        )
    return [c.folder(folder) / FILE for c in cells]


def _cells(protocols: dict[str, Protocol], algos: Sequence[str] | None, seeds: int | None) -> list[Cell]:
    """What is to be run, seed by seed, so that an interrupted run has whole sets of rows."""
    if isinstance(algos, str):
        algos = algos.split(",")
    if algos is not None and not algos:
        raise options.refuse("algos", "names of rows, separated by commas", algos)
    if seeds is not None:
        options.count("seeds", seeds, 1, MOST_SEEDS)
    found = []
    for name, protocol in protocols.items():
        known = rows.row_names(protocol)
        for row in algos or ():
            if row not in known:
                raise unknown(f"row of {name}", row, known)
        count = protocol.seeds if seeds is None else seeds
        found += [Cell(name, row, seed) for seed in range(count) for row in algos or known]
    return found


def _finished(cell: Cell, folder: Path, asked: Asked) -> bool:
    path = cell.folder(folder) / FILE
    if not path.exists():
        return False
    check_same(path, read(path), asked)
    return True


def _cell(protocol: Protocol, cell: Cell, folder: Path, asked: Asked, progress: bool) -> dict[str, Any]:
    """Train, where the row is trained, and measure; returns the record that was written."""
    where = cell.folder(folder)
    where.mkdir(parents=True, exist_ok=True)
    facts: dict[str, Any] = {"asked": asked.env_steps, "curve": []}
    spent = time.process_time()
    if cell.row in rows.FIXED:
        submission: Any = rows.fixed(protocol, cell.row, cell.seed)
    else:
        config = rows.config(protocol, cell.row, cell.seed, asked.env_steps)
        began, resume = time.perf_counter(), (where / "run" / "config.json").exists()
        submission = train(config, out=where / "run", resume=resume, progress=progress)
        if not Path(submission).exists():
            raise NoController(f"{cell}: the training run kept no controller: no validation gave a finite figure")
        log = read_log(where / "run" / "log.jsonl")[0]
        facts |= {
            "algorithm": config.algorithm, "env_steps": log[-1]["env_steps"] if log else 0,
            "seconds": round(time.perf_counter() - began, 2), "resumed": resume,
            "curve": [[row["env_steps"], row["validation"]] for row in log],
        }  # fmt: skip
    record = evaluate(submission, protocol, name=cell.row, seed=cell.seed)
    record["submission"]["source"] = "trained" if cell.row not in rows.FIXED else cell.row
    record["training"] = {**facts, "cpu_seconds": round(time.process_time() - spent, 2)}
    write_json(where / FILE, record)
    return record
