"""The command that finds a solver for a person's own problem: `fit`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ..config import reading
from .arguments import Cluster, Json, Seed, Wide, app
from .show import say, table

#: columns that a narrow table leaves out, the last one first
FIT_MORE = ("rtol", "f-evaluations", "error (9 of 10)")


@app.command("fit")
def fit(
    family: Annotated[str, typer.Argument(help="Problem family: a name, file.py:NAME or package.module:NAME.")],
    error: Annotated[
        float | None, typer.Option(help="Relative error that nine of ten instances may have (default: the family's).")
    ] = None,
    minutes: Annotated[float, typer.Option(help="What the search may take; the last measurements come on top.")] = 10.0,
    controller: Annotated[
        list[str] | None, typer.Option("--controller", "-c", help="A controller to try as well. Repeatable.")
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help="What you use now: scipy:METHOD[,RTOL[,ATOL]], for instance scipy:LSODA,1e-6.")
    ] = None,
    n: Annotated[int | None, typer.Option(help="Test instances (default 48).", min=2)] = None,
    seed: Seed = 0,
    cluster: Cluster = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the results (default: fits/<family>).")] = None,
    wide: Wide = False,
    as_json: Json = False,
) -> None:
    """Find the method, law, tolerance and controller that reach an error on a family in the least time."""
    from ..fit import fit as run
    from ..machines import cluster as workers

    reading.folder("--out", out)
    with workers(cluster) as executor:
        found = run(
            family, error, minutes, controllers=controller or [], baseline=baseline, out=out, seed=seed, n=n,
            executor=executor,
        )  # fmt: skip
    if as_json:
        print(json.dumps(found.to_json(), indent=2, allow_nan=False))
        return
    head, *rows = found.table()
    table(f"{found.family.name}: at an error of {found.error:.0e}, test instances", head, rows, wide, FIT_MORE)
    say(found.sentence, wide)
    print(found.folder / "recommended.toml")
