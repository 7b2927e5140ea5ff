"""`stepsmith bench evaluate`: a submission, by all its training seeds, on a protocol or on every one of a suite."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...integrators.core import options
from ..config import reading, settings
from ..run.runfiles import write_json
from .cells import Cell
from .evaluation import evaluate
from .instance_file import BenchError
from .protocol import load, members
from .records import FILE


def submit(
    protocol: str, submissions: Sequence[Any], name: str | None = None, out: str | Path | None = None, *,
    clock: bool = False,
) -> list[dict[str, Any]]:
    """Measure a submission; returns its records, and writes them into the folder `out` beside those of `bench run`.

    submissions    its training seeds 0, 1, ..., each as `evaluate` takes it
    name           of the row; default that of the first
    clock          time the solves too

    BenchError where there is no submission, and where the folder holds another record in the place of one of these.
    """
    if not submissions:
        raise options.refuse("submissions", "at least one controller or policy", list(submissions))
    if name is not None:
        settings.run_name("name", name)
    reading.folder("out", out)
    found = []
    for each in members(protocol):
        given = load(each)
        row = name
        for seed, submission in enumerate(submissions):
            record = evaluate(submission, given, name=row, seed=seed, clock=clock)
            row = record["row"]
            if out is not None:
                path = Cell(each, row, seed).folder(Path(out)) / FILE
                if path.exists():
                    raise BenchError(f"{path} is there already: choose another --name or --out, or remove it")
                path.parent.mkdir(parents=True, exist_ok=True)
                write_json(path, record)
            found.append(record)
    return found
