"""The benchmark for reinforcement learning: `bench run`, `bench evaluate`, `bench table`, `bench list`."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated

import typer

from ..config import reading
from .arguments import PLAIN, Json, Wide, app
from .show import table

bench = typer.Typer(
    help="A frozen benchmark: train and measure rows, evaluate a submission, make the leaderboard.",
    no_args_is_help=True, **PLAIN,
)  # fmt: skip
app.add_typer(bench, name="bench")

COLUMNS = ("protocol", "row", "seed", "ratio", "verdict", "without charges", "lost", "lost by the law")
Name = Annotated[str, typer.Argument(help="Protocol or suite (see `stepsmith bench list`).")]


@bench.command("run")
def run(
    protocol: Name,
    out: Annotated[Path, typer.Option(help="Folder of runs and records; an interrupted call goes on there.")],
    algos: Annotated[str | None, typer.Option(help="Rows, separated by commas (default: all).")] = None,
    seeds: Annotated[int | None, typer.Option(help="Training seeds (default: the protocol's).", min=1)] = None,
    steps: Annotated[
        int | None, typer.Option(help="Env steps of a training run, in place of the protocol's: for trials.", min=1)
    ] = None,
    leaderboard: Annotated[bool, typer.Option(help="Make the leaderboard at the end.")] = True,
) -> None:
    """Train and measure all rows with all seeds; finished cells are skipped."""
    from ..bench.cells import run as start
    from ..bench.tables import leaderboard as made

    start(protocol, out, algos=None if algos is None else algos.split(","), seeds=seeds, steps=steps)
    if leaderboard:
        text, files = made(out, partial=True)
        print(text)
        print(*files, sep="\n")


@bench.command("evaluate")
def evaluate(
    protocol: Name,
    submission: Annotated[
        str, typer.Argument(help="Controller (path or name) or file.py:NAME; a,b,c are training seeds of one.")
    ],
    name: Annotated[str | None, typer.Option(help="Name of the row (default: the controller's).")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder that the record goes to.")] = None,
    clock: Annotated[bool, typer.Option(help="Time a controller's solves as well.")] = False,
    wide: Wide = False,
    as_json: Json = False,
) -> None:
    """Measure a submission on a protocol's test instances."""
    from ..bench.submitting import submit

    reading.folder("--out", out)
    found = submit(protocol, submission.split(","), name, out, clock=clock)
    if as_json:
        print(json.dumps(found, indent=2, allow_nan=False))
        return
    rows = [(r["protocol"], r["row"], str(r["seed"]), *_said(r)) for r in found]
    table("work at equal error over the protocol's law", COLUMNS, rows, wide, ("seed", "lost", "lost by the law"))


@bench.command("table")
def make_table(
    folder: Annotated[Path, typer.Argument(help="Folder of `bench run` and `bench evaluate`.")],
    partial: Annotated[bool, typer.Option("--partial", help="Leave incomplete rows out.")] = False,
) -> None:
    """Make the leaderboard (Markdown, JSON, picture) from a folder's records alone."""
    from ..bench.tables import leaderboard

    text, files = leaderboard(folder, partial)
    print(text)
    print(*files, sep="\n")


@bench.command("list")
def show(wide: Wide = False) -> None:
    """Name all protocols and suites, with their digests."""
    from ..bench.protocol import load, members, names

    rows = []
    for name in names():
        parts = members(name)
        if parts == (name,):
            p = load(name)
            sizes = ", ".join(f"{p.size(s)} {s}" for s in ("train", "validation", "test"))
            rows.append((name, p.doc, f"{p.env_steps:,}", p.digest[:12], sizes))
        else:
            rows.append((name, " + ".join(parts), "", "", ""))
    table("protocols", ("name", "what", "env steps", "digest", "instances"), rows, wide, ("instances",))


def _said(record: dict) -> tuple[str, ...]:
    """Ratio with its interval, verdict, ratio over the instances that nobody lost, how many either side lost."""
    from ..bench.records import uncharged

    r = record["ratio"]
    cells = ["inf" if v is None else f"{v:.3f}" for v in (r["ratio"], r["low"], r["high"])]
    fair, lost, by_law = uncharged(record)
    of = f"of {len(record['instances'])}"
    told = "none left" if math.isnan(fair) else f"{fair:.3f}"
    return f"{cells[0]} [{cells[1]}, {cells[2]}]", record["verdict"], told, f"{lost} {of}", f"{by_law} {of}"
