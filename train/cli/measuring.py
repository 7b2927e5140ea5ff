"""Commands that search a law and measure controllers: `tune`, `compare`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ...controllers.laws import tuned as files
from ...controllers.laws.values import json_values
from ..config import reading
from ..config.settings import MOST_INSTANCES
from .arguments import Cluster, Json, Method, Seed, Wide, app
from .show import console, table

#: laws that are shown of a search
SHOWN = 12

Start = Annotated[Path | None, typer.Option(help="File of a tuned law to go on from.", exists=True, dir_okay=False)]
TuneInstances = Annotated[
    int | None,
    typer.Option(help="Training instances (default 64; of a suite, 8 a family).", min=1, max=MOST_INSTANCES),
]
ValidationInstances = Annotated[
    int | None,
    typer.Option(help="Validation instances (default 100; of a suite, 12 a family).", min=1, max=MOST_INSTANCES),
]
Subjects = Annotated[
    int | None,
    typer.Option(help="Of training runs: subjects that share a step (default 32).", min=1, max=MOST_INSTANCES),
]


Controllers = Annotated[
    list[str] | None,
    typer.Option(
        "--controller",
        "-c",
        help="Name or path; a,b,c are training seeds of one. Repeatable. Default: the zoo's of the family; none: none.",
    ),  # fmt: skip
]
CompareInstances = Annotated[
    int | None,
    typer.Option(help="Test instances (default 200; of a suite, 24 a family).", min=2, max=MOST_INSTANCES),
]
OracleInstances = Annotated[
    int,
    typer.Option(help="Small instances on which the best step sequences are searched.", min=0, max=MOST_INSTANCES),
]


@app.command("tune")
def tune(
    family: Annotated[
        str, typer.Argument(help="Problem family, a suite of families, or folders of neural training runs, a,b,c.")
    ],
    method: Method = None,
    n: TuneInstances = None,
    evaluations: Annotated[
        int, typer.Option(help="Candidate laws, each solved on every instance at every tolerance.", min=1)
    ] = 2000,
    seed: Seed = 0,
    restarts: Annotated[
        int, typer.Option(help="Searches from published laws, before a last one around the best.", min=1)
    ] = 4,
    n_validation: ValidationInstances = None,
    start: Start = None,
    validation: Annotated[
        str | None, typer.Option(help="Of training runs: other runs to choose the law on, a,b,c.")
    ] = None,
    warm: Annotated[bool, typer.Option(help="Of training runs: tune for solves with a warm start.")] = False,
    even: Annotated[bool, typer.Option(help="Of training runs: tune for solves with even steps.")] = False,
    batch: Subjects = None,
    budget_of: Annotated[
        str | None,
        typer.Option(help="Learned controller (name, file, run folder): search on as many instances and attempts."),
    ] = None,
    cluster: Cluster = None,
    out: Annotated[
        Path | None, typer.Option(help="File of the law (default: where `--controller tuned` finds it).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Search the classical laws' coefficients for a family, or for the fields that neural training runs met.

    `compare` and controller "tuned" use the result.

    Of training runs (n batches a kept set of weights, default 1) the file is the controller.
    """
    from ..tune.unfinished import saving

    reading.file("--out", out)
    first = _start(start)
    if budget_of is not None and all(_is_run(folder) for folder in family.split(",")):
        raise ValueError("--budget-of belongs to a family or a suite, not to folders of training runs")
    if cluster is not None and all(_is_run(folder) for folder in family.split(",")):
        raise ValueError("--cluster belongs to a family or a suite: a law for training runs is searched in one process")
    runs = all(_is_run(folder) for folder in family.split(","))
    if runs and (out is None or validation is None):
        raise ValueError(
            "of training runs: --validation must name other runs to choose the law on, and --out where it is to go"
        )
    if not runs and (warm or even or validation or batch is not None):
        raise ValueError(
            f"--warm, --even, --batch and --validation belong to folders of training runs, and {family!r} is none"
        )
    with saving(lambda lowest: _unfinished(lowest, out)):
        if runs:
            from ..neural.fields import tune_fields

            result = tune_fields(
                family.split(","), str(validation).split(","), method or "tsit5", n or 1, evaluations, seed,
                batch=batch or 32, warm=warm, even=even, n_validation=n_validation or 1, restarts=restarts, start=first,
            )  # fmt: skip
        else:
            from ..machines import cluster as workers
            from ..tune.search import tune as run

            with workers(cluster) as executor:
                result = run(
                    family, method, n, evaluations, seed, restarts=restarts, start=first, n_validation=n_validation,
                    budget_of=budget_of, executor=executor,
                )  # fmt: skip
    _show_tuned(family, result, result.save(out), as_json)


def _unfinished(lowest: Any, out: Path | None) -> Path:
    """Where the best law of an interrupted search goes: beside the file that the search was to write."""
    name = Path(files.file_name(lowest.name, lowest.method)) if out is None else out
    return name.with_name(f"{name.stem}.unfinished.json")


def _start(file: Path | None) -> Any:
    """The law of a file to go on from; None without one."""
    from ...controllers.laws.tuned import read

    if file is None:
        return None
    reading.json(file)
    return read(file)[0]


def _show_tuned(family: str, result: Any, path: Path, as_json: bool) -> None:
    if as_json:
        found = {**result.facts, "law": json_values(result.law.as_dict()), "file": str(path)}
        print(json.dumps(found, indent=2, allow_nan=False))
        return
    title = f"{family}, {result.facts['method']}: work at equal error on the validation split"
    rows = [(name, f"{ratio:.3f}") for name, ratio in result.ratios.items()]
    table(title, ("law", "ratio"), rows[:SHOWN])
    print(f"chosen: {result.chosen} (base {result.base}), {result.facts['budget']['evaluations']} candidates\n{path}")


@app.command("compare")
def compare(
    family: Annotated[str, typer.Argument(help="Problem family (a name, or file.py:NAME), or a suite of families.")],
    method: Method = None,
    controller: Controllers = None,
    seed: Seed = 0,
    n: CompareInstances = None,
    headline: Annotated[
        str | None, typer.Option(help="Learned controller of the headline (default: the first).")
    ] = None,
    wall: Annotated[bool, typer.Option(help="Time ensembles as well.")] = True,
    single: Annotated[
        bool | None, typer.Option(help="Time single solves as well (default: as --wall; of a suite not).")
    ] = None,
    repeats: Annotated[int, typer.Option(help="Rounds of timing; one has no interval.", min=1)] = 5,
    oracle: OracleInstances = 0,
    cluster: Cluster = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the JSON object and the picture.")] = None,
    wide: Wide = False,
    as_json: Json = False,
) -> None:
    """Compare controllers with the best classical laws by matched-error work."""
    from ...integrators.problems import suites
    from ..evaluate.compare import compare as run
    from ..evaluate.suite_compare import compare_suite as run_suite
    from ..machines import cluster as workers

    reading.folder("--out", out)
    for name in ",".join(controller or []).split(","):
        if name.endswith(".json"):
            reading.json(name)
    given: Any = None if controller is None else [c.split(",") if "," in c else c for c in controller if c != "none"]
    family = suites.called(family)
    report: Any
    if suites.is_suite(family):
        if headline is not None or oracle:
            raise ValueError(
                "--headline and --oracle belong to a family; a suite is compared with one learned controller"
            )
        with workers(cluster) as executor:
            report = run_suite(
                family, given, seed, n or 24, method=method, wall=wall, single=bool(single), repeats=repeats,
                executor=executor,
            )  # fmt: skip
        name, drawn = report.method, report.controller is not None  # without one there is nothing to draw
    else:
        with workers(cluster) as executor:
            report = run(
                family, method, given, seed, n or 200, headline=headline, wall=wall, single=single, repeats=repeats,
                oracle=oracle, executor=executor,
            )  # fmt: skip
        name, drawn = report.comparison.method, True
    text = json.dumps(report.to_json(), indent=2, allow_nan=False)
    files = [] if out is None else _write(report, text, out, f"{family}-{name}", drawn)
    if as_json:
        print(text)
        return
    console(wide).print(report.table(wide))
    if files:
        print(*files, sep="\n")


def _write(report: Any, text: str, out: Path, stem: str, drawn: bool) -> list[Path]:
    """Write the JSON object and, where there is one, the picture; returns their paths."""
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{stem}.json").write_text(text + "\n")
    return [out / f"{stem}.json", *([report.plot(out / f"{stem}.png")] if drawn else [])]


def _is_run(folder: str) -> bool:
    try:
        return (Path(folder) / "config.json").is_file()
    except (OSError, ValueError):  # no name of a file at all
        return False
