"""`stepsmith bench evaluate`: a submission, by all its training seeds, on a protocol or on every one of a suite."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...integrators.core import options
from ..config import reading, settings
from ..run.runfiles import write_json
from . import rows
from .cells import Cell
from .evaluation import evaluate
from .instance_file import BenchError
from .protocol import Protocol, load, members
from .records import FILE


def submit(
    protocol: str, submissions: Sequence[Any], name: str | None = None, out: str | Path | None = None, *,
    clock: bool = False,
) -> list[dict[str, Any]]:
    """Measure a submission; returns its records, and writes them into the folder `out` beside those of `bench run`.

    submissions    its training seeds 0, 1, ..., each as `evaluate` takes it
    name           of the row; default that of the first
    clock          time the solves too

    BenchError where there is no submission, where a row of the protocol's own has that name, and where the folder holds
    another record in the place of one of these; with a name, before anything is measured.
    """
    if isinstance(submissions, (str, bytes)) or not submissions:
        raise options.refuse("submissions", "a list of at least one controller or policy", submissions)
    if name is not None:
        settings.run_name("name", name)
    reading.folder("out", out)
    if name is not None:
        for each in members(protocol):
            for seed in range(len(submissions)):
                _place(load(each), name, seed, out)
    found = []
    for each in members(protocol):
        given = load(each)
        row = name
        for seed, submission in enumerate(submissions):
            record = evaluate(submission, given, name=row, seed=seed, clock=clock)
            row = record["row"]
            if (path := _place(given, row, seed, out)) is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_json(path, record)
            found.append(record)
    return found


def _place(protocol: Protocol, row: str, seed: int, out: str | Path | None) -> Path | None:
    """Where a record goes; None without a folder.  A controller's file may name it anything, so that the name is
    checked here.
    """
    if out is None:
        return None
    settings.run_name("name", row)
    if row in rows.row_names(protocol):
        raise BenchError(f"{row} is a row of {protocol.name} itself, which `bench run` makes: choose another --name")
    path = Cell(protocol.name, row, seed).folder(Path(out)) / FILE
    if path.exists():
        raise BenchError(f"{path} is there already: choose another --name or --out, or remove it")
    return path
