"""Commands that train: `demo`, `train`, `export`, `sweep`, `effects`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ..config import reading
from ..config.settings import LARGEST_SEED
from .arguments import Cluster, Json, Seed, Wide, app
from .show import table

ALGO = (
    "Algorithm, in the place of the config's: ppo, time_aware_ppo, sac, td3, ddpg, dqn, es or closed_form. [train] is "
    "then that of the algorithm's shipped config."
)


@app.command("demo")
def demo(
    seed: Seed = 0,
    out: Annotated[Path | None, typer.Option(help="Folder of everything written (default: out/demo).")] = None,
    as_json: Json = False,
    quick: Annotated[bool, typer.Option("--quick", help="Tiny budgets: the way, not a result.")] = False,
) -> None:
    """Train a controller live, compare it with the best classical law, and put it into a neural ODE."""
    from . import demo as module

    module.demo(seed=seed, out=out, json=as_json, quick=quick)


@app.command("train")
def train(
    config: Annotated[
        Path, typer.Argument(help="Config file, or the name of one that ships (see `stepsmith list configs`).")
    ],
    seed: Annotated[
        int | None, typer.Option(help="Seed, in the place of the config's.", min=0, max=LARGEST_SEED)
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder (default: runs/<name>[-<algorithm>]-s<seed>).")] = None,
    resume: Annotated[bool, typer.Option(help="Go on from the last checkpoint.")] = False,
    algo: Annotated[str | None, typer.Option(help=ALGO)] = None,
    change: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Setting, in the place of the config's: train.total_steps=5000, env.family=mine.py:FAMILY, name=mine. "
            "Repeatable.",
        ),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(help="Train so many seeds, from the first one on, each in a folder of its own.", min=1)
    ] = None,
    cluster: Cluster = None,
) -> None:
    """Train a controller (PPO, SAC, TD3, DDPG, DQN, an evolution strategy or the search of a closed form) or, by a
    config with a [task], a neural ODE.
    """
    from ..machines import cluster as workers
    from ..run.run import train as run
    from ..run.seeds import first_seeds, train_seeds

    with workers(cluster) as executor:
        if seeds is None:
            print(run(config, seed, out, resume, algo=algo, changes=change or (), executor=executor))
            return
        several = first_seeds(config, seed, seeds)
        done = train_seeds(config, several, out, resume, algo=algo, changes=change or (), executor=executor)
        print(*done, sep="\n")


@app.command("export")
def export(
    run: Annotated[
        Path,
        typer.Argument(help="Run folder of `stepsmith train`; with --to also a controller file, a zoo name or a law."),
    ],
    out: Annotated[Path, typer.Option(help="File to write: .safetensors, or .h, .py, .onnx by --to.")],
    to: Annotated[
        str | None,
        typer.Option(help="Source that needs nothing of this package: c (header), python (file) or onnx (network)."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="With --to c or python: what it is called there (default: its own name).")
    ] = None,
) -> None:
    """Write a run's best controller as one file, or any controller as C, Python or ONNX."""
    from ..run import run as module
    from .exporting import write

    reading.file("--out", out)
    if to is None:
        if name is not None:
            raise ValueError("--name goes with --to: a controller file keeps the name that the controller has")
        print(module.export(run, out))
        return
    print(write(str(run), out, to, name))


@app.command("sweep")
def sweep(
    config: Annotated[Path, typer.Argument(help="Sweep file: a training config with a [sweep] table.")],
    seed: Annotated[
        int | None, typer.Option(help="Seed, in the place of the config's.", min=0, max=LARGEST_SEED)
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Sweep folder (default: runs/<name>-<algorithm>-sweep).")] = None,
    cluster: Cluster = None,
    wide: Wide = False,
    as_json: Json = False,
) -> None:
    """Train many times over a space of settings; goes on where an earlier call was interrupted."""
    from ..machines import cluster as workers
    from ..tune.sweep import sweep as run

    with workers(cluster) as executor:
        result = run(config, out, seed, executor=executor)
    if as_json:
        print(json.dumps(result.to_json(), indent=2, allow_nan=False))
        return
    names = tuple(result.best.parameters)
    table(
        f"{result.name}: best validation of each trial",
        ("trial", "state", "validation", *names, "folder"),
        result.rows(),
        wide, names,
    )  # fmt: skip
    print(f"best: {result.path / result.best.folder}\n{result.path / 'sweep.json'}")


@app.command("effects")
def effects(
    comparison: Annotated[Path, typer.Argument(help="File naming tasks, variants, tolerances and seeds.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the runs (default: runs/<name>).")] = None,
    part: Annotated[str, typer.Option(help="i/n: every n-th group of runs from the i-th on, for n processes.")] = "0/1",
    seed: Annotated[
        list[int] | None,
        typer.Option(help="Training seed, in place of the file's. Repeatable.", min=0, max=LARGEST_SEED),
    ] = None,
    run: Annotated[bool, typer.Option(help="Run what is missing; --no-run: the table of what is there.")] = True,
    wide: Wide = False,
    as_json: Json = False,
) -> None:
    """Train neural ODEs with and without regularisers or controllers, and compare quality, f-evaluations and time."""
    from ..neural import effects as module
    from ..neural.effects_picture import picture
    from ..neural.effects_table import COLUMNS, MORE, summary, texts
    from ..neural.strengths_picture import pictures

    spec = module.load(comparison, seed)
    out = out or Path("runs") / spec.name
    reading.folder("--out", out)
    share = module.parse_part(part)
    if run:
        module.run(spec, out, share)
    rows = summary(spec, out)
    if any(row["seeds"] for row in rows):
        picture(rows, out / "effects.png", spec.baseline)
        pictures(spec, out)
    if as_json:
        print(json.dumps({"table": rows, "runs": module.collect(spec, out)}, indent=2, allow_nan=False))
    else:
        table(f"{spec.name}: against {spec.baseline}", COLUMNS, texts(rows), wide, MORE)
