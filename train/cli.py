"""The command line: `stepsmith demo | train | kernel | tune | compare | export | inspect | list | sweep`.

Bad input ends in one line on standard error and exit code 2.  Tables and JSON go to standard output, progress to standard error.
Every command imports what it needs when it runs, so that `--help` answers at once.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from ..integrators.core.errors import shown
from ..integrators.core.names import unknown
from . import reading
from .settings import LARGEST_SEED, MOST_INSTANCES

app = typer.Typer(
    name="stepsmith", help="Train, compare and use step-size controllers for ODE solvers.", add_completion=False,
    pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip

Seed = Annotated[int, typer.Option(help="Seed of everything random.", min=0, max=LARGEST_SEED)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")]
Method = Annotated[str | None, typer.Option(help="Integration method (default: the family's).")]
# what a wrong command line raises: click's exception, which newer versions of typer carry inside them
_USAGE: Any = typer.BadParameter.__mro__[2]
LONGEST = 2000  # characters of an error message
KINDS = ("laws", "methods", "families", "envs", "zoo", "tuned", "rewards", "features", "configs")


def main(args: list[str] | None = None) -> None:
    """Run the program with `args` (default: sys.argv) and exit."""
    args = sys.argv[1:] if args is None else args
    try:
        code = typer.main.get_command(app).main(args or ["--help"], prog_name="stepsmith", standalone_mode=False)
    except _USAGE as error:
        code = _fail(error.format_message())
    except OSError as error:
        code = _fail(f"{shown(error.filename, 200)}: {error.strerror}" if error.filename and error.strerror else str(error))
    except ValueError as error:
        code = _fail(str(error))
    except MemoryError as error:
        code = _fail(f"not enough memory for what was asked for: {error}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("stepsmith"):
            raise
        known = "pip install" in str(error)
        code = _fail(str(error) if known else f"{error}: install what brings it, for instance pip install 'stepsmith[train]'")
    except (KeyboardInterrupt, typer.Abort):
        print("stepsmith: interrupted", file=sys.stderr)
        code = 130
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str) -> int:
    text = " ".join("".join(c if c.isprintable() else " " if c.isspace() else ascii(c)[1:-1] for c in message).split())
    print("stepsmith: " + (text if len(text) <= LONGEST else f"{text[:LONGEST]}..."), file=sys.stderr)
    return 2


def _exists(module: str) -> bool:
    return find_spec(f".{module}", __package__) is not None


if _exists("demo"):

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
    config: Annotated[Path, typer.Argument(help="Config file, or the name of one that ships (see `stepsmith list configs`).")],
    seed: Annotated[
        int | None, typer.Option(help="Seed, in the place of the config's.", min=0, max=LARGEST_SEED)
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder (default: runs/<name>\\[-<algorithm>]-s<seed>).")] = None,
    resume: Annotated[bool, typer.Option(help="Go on from the last checkpoint.")] = False,
) -> None:
    """Train a controller (PPO, SAC, DQN or an evolution strategy) or, by a config with a \\[task], a neural ODE."""
    from .run import train as run

    print(run(config, seed, out, resume))


@app.command("kernel")
def kernel(
    family: Annotated[str, typer.Argument(help="Problem family, whose published instance is taken.")],
    method: Method = None,
    controller: Annotated[str, typer.Option("--controller", "-c", help="A law, a zoo name, or the path of a file.")] = "pi34",
    lanes: Annotated[bool, typer.Option("--lanes", help="The loop of an ensemble, many trajectories side by side.")] = False,
) -> None:
    """Print the generated module that solves a problem, with its rows explained: the loop that really runs."""
    from ..controllers import resolve
    from ..integrators import problems
    from ..integrators.engine.shown import kernel_text

    problem = problems.make(family)
    method = problems.family(family).method if method is None else method
    print(kernel_text(problem, method, resolve.controller(controller, family, method), lanes))


@app.command("tune")
def tune(
    family: Annotated[str, typer.Argument(help="Problem family, a suite of families, or folders of neural training runs, a,b,c.")],
    method: Method = None,
    n: Annotated[
        int | None, typer.Option(help="Training instances (default 64; of a suite, 8 a family).", min=1, max=MOST_INSTANCES)
    ] = None,
    evaluations: Annotated[
        int, typer.Option(help="Candidate laws, each solved on every instance at every tolerance.", min=1)
    ] = 2000,
    seed: Seed = 0,
    restarts: Annotated[
        int, typer.Option(help="Searches from published laws, before a last one around the best.", min=1)
    ] = 4,
    n_validation: Annotated[
        int | None, typer.Option(help="Validation instances (default 100; of a suite, 12 a family).", min=1, max=MOST_INSTANCES)
    ] = None,
    start: Annotated[
        Path | None, typer.Option(help="File of a tuned law to go on from.", exists=True, dir_okay=False)
    ] = None,
    validation: Annotated[
        str | None, typer.Option(help="Of training runs: other runs to choose the law on, a,b,c.")
    ] = None,
    warm: Annotated[bool, typer.Option(help="Of training runs: tune for solves with a warm start.")] = False,
    even: Annotated[bool, typer.Option(help="Of training runs: tune for solves with even steps.")] = False,
    batch: Annotated[
        int | None, typer.Option(help="Of training runs: subjects that share a step (default 32).", min=1, max=MOST_INSTANCES)
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="File of the law (default: where `--controller tuned` finds it).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Search the classical laws' coefficients for a family, or for the fields that neural training runs met.

    `compare` and controller "tuned" use the result; of training runs (n batches a kept set of weights, default 1) the file is
    the controller.
    """
    from ..controllers.tuned import read
    from .tune import tune as run

    reading.file("--out", out)
    if start is not None:
        reading.json(start)
    first = None if start is None else read(start)[0]
    if all(_is_run(folder) for folder in family.split(",")):
        from .neural_tasks.fields import tune_fields

        if out is None or validation is None:
            raise ValueError("of training runs: --validation must name other runs to choose the law on, and --out where it is to go")
        options: dict[str, Any] = {"restarts": restarts, "start": first, "n_validation": n_validation or 1, "warm": warm, "even": even}
        options["batch"] = batch or 32
        result = tune_fields(family.split(","), validation.split(","), method or "tsit5", n or 1, evaluations, seed, **options)
    elif warm or even or validation or batch is not None:
        raise ValueError(f"--warm, --even, --batch and --validation belong to folders of training runs, and {family!r} is none")
    else:
        result = run(family, method, n, evaluations, seed, restarts=restarts, start=first, n_validation=n_validation)
    path = result.save(out)
    if as_json:
        print(json.dumps({**result.facts, "law": _finite(result.law.as_dict()), "file": str(path)}, indent=2, allow_nan=False))
        return
    rows = [(name, f"{ratio:.3f}") for name, ratio in result.ratios.items()]
    _table(f"{family}, {result.facts['method']}: work at equal error on the validation split", ("law", "ratio"), rows[:12])
    print(f"chosen: {result.chosen} (base {result.base}), {result.facts['budget']['evaluations']} candidates\n{path}")


@app.command("compare")
def compare(
    family: Annotated[str, typer.Argument(help="Problem family, or a suite of families.")],
    method: Method = None,
    controller: Annotated[
        list[str] | None, typer.Option("--controller", "-c", help="Name or path; a,b,c are training seeds of one. Repeatable.")
    ] = None,
    seed: Seed = 0,
    n: Annotated[
        int | None, typer.Option(help="Test instances (default 200; of a suite, 24 a family).", min=2, max=MOST_INSTANCES)
    ] = None,
    headline: Annotated[
        str | None, typer.Option(help="Learned controller of the headline (default: the first).")
    ] = None,
    wall: Annotated[bool, typer.Option(help="Time the solves as well.")] = True,
    repeats: Annotated[int, typer.Option(help="Rounds of timing; the least counts.", min=1)] = 5,
    oracle: Annotated[
        int, typer.Option(help="Small instances on which the best step sequences are searched.", min=0, max=MOST_INSTANCES)
    ] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder for the JSON object and the picture.")] = None,
    as_json: Json = False,
) -> None:
    """Compare controllers with the best classical laws by matched-error work."""
    from ..integrators.problems import suites
    from .compare import compare as run
    from .suite_compare import compare_suite as run_suite

    reading.folder("--out", out)
    for name in ",".join(controller or []).split(","):
        if name.endswith(".json"):
            reading.json(name)
    given = [c.split(",") if "," in c else c for c in controller or []]
    report: Any
    if suites.is_suite(family):
        if headline is not None or oracle:
            raise ValueError("--headline and --oracle belong to a family; a suite is compared with one learned controller")
        report = run_suite(family, given, seed, n or 24, method=method, wall=wall, repeats=repeats)
        name = report.method
    else:
        report = run(family, method, given, seed, n or 200, headline=headline, wall=wall, repeats=repeats, oracle=oracle)
        name = report.comparison.method
    text = json.dumps(report.to_json(), indent=2, allow_nan=False)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        stem = f"{family}-{name}"
        (out / f"{stem}.json").write_text(text + "\n")
        # of a suite without a learned controller there is nothing to draw
        picture = report.plot(out / f"{stem}.png") if not suites.is_suite(family) or report.controller else None
    if as_json:
        print(text)
        return
    _console().print(report.table())
    if out is not None:
        print(out / f"{stem}.json", *([picture] if picture else []), sep="\n")


@app.command("export")
def export(
    run: Annotated[Path, typer.Argument(help="Run folder of `stepsmith train`.")],
    out: Annotated[Path, typer.Option(help="Controller file to write (.safetensors).")],
) -> None:
    """Write a run's best controller as one file."""
    from .run import export as write

    reading.file("--out", out)
    print(write(run, out))


@app.command("inspect")
def inspect(
    file: Annotated[str, typer.Argument(help="Controller file, tuned law (.json) or zoo name.")],
    as_json: Json = False,
) -> None:
    """Say what is in a controller file: network, base law, observation, provenance, measured figures."""
    if file.endswith(".json"):
        from ..controllers.tuned import read

        reading.json(file)  # what is no JSON file at all
        law, facts = read(file)
        if as_json:
            print(json.dumps({**facts, "law": _finite(law.as_dict())}, indent=2, allow_nan=False))
            return
        title = f"{facts.get('family')}, {facts.get('method')}: tuned law, base {facts.get('base')}"
        _table(title, ("coefficient", "value"), [(k, f"{v:.6g}") for k, v in law.values.items()])
        return
    from ..controllers.file import describe, document, load_controller

    controller = load_controller(file)
    print(json.dumps(document(controller), indent=2) if as_json else describe(controller))


@app.command("list")
def list_(
    kind: Annotated[str, typer.Argument(help=", ".join(KINDS))],
    as_json: Json = False,
) -> None:
    """List what there is, by kind, with a line on each."""
    if kind not in KINDS:
        raise unknown("kind", kind, KINDS)
    from .listing import LISTS

    rows = LISTS[kind]()
    if as_json:
        print(json.dumps([{"name": name, "doc": doc} for name, doc in rows], indent=2))
    else:
        _table(kind, ("name", ""), rows)


@app.command("sweep")
def sweep(
    config: Annotated[Path, typer.Argument(help="Sweep file: a training config with a \\[sweep] table.")],
    seed: Annotated[
        int | None, typer.Option(help="Seed, in the place of the config's.", min=0, max=LARGEST_SEED)
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Sweep folder (default: runs/<name>-<algorithm>-sweep).")] = None,
    as_json: Json = False,
) -> None:
    """Train many times over a space of settings; goes on where an earlier call was interrupted."""
    from .sweep import sweep as run

    result = run(config, out, seed)
    if as_json:
        print(json.dumps(result.to_json(), indent=2, allow_nan=False))
        return
    names = tuple(result.best.parameters)
    _table(f"{result.name}: best validation of each trial", ("trial", "state", "validation", *names, "folder"), result.rows())
    print(f"best: {result.path / result.best.folder}\n{result.path / 'sweep.json'}")


@app.command("effects")
def effects(
    comparison: Annotated[Path, typer.Argument(help="File naming tasks, variants, tolerances and seeds.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the runs (default: runs/<name>).")] = None,
    part: Annotated[str, typer.Option(help="i/n: every n-th group of runs from the i-th on, for n processes.")] = "0/1",
    seed: Annotated[
        list[int] | None, typer.Option(help="Training seed, in place of the file's. Repeatable.", min=0, max=LARGEST_SEED)
    ] = None,
    run: Annotated[bool, typer.Option(help="Run what is missing; --no-run: the table of what is there.")] = True,
    as_json: Json = False,
) -> None:
    """Train neural ODEs with and without regularisers or controllers, and compare quality, f-evaluations and time."""
    from .neural_tasks import effects as module
    from .neural_tasks.effects_picture import picture
    from .neural_tasks.effects_table import COLUMNS, summary, texts

    spec = module.load(comparison, seed)
    out = out or Path("runs") / spec.name
    reading.folder("--out", out)
    share = module.parse_part(part)
    if run:
        module.run(spec, out, share)
    table = summary(spec, out)
    if any(row["seeds"] for row in table):
        picture(table, out / "effects.png", spec.baseline)
    if as_json:
        print(json.dumps({"table": table, "runs": module.collect(spec, out)}, indent=2, allow_nan=False))
    else:
        _table(f"{spec.name}: against {spec.baseline}", COLUMNS, texts(table))


def _is_run(folder: str) -> bool:
    try:
        return (Path(folder) / "config.json").is_file()
    except (OSError, ValueError):  # no name of a file at all
        return False


def _console() -> Any:
    from rich.console import Console

    # a pipe has no width of its own: tables stay whole
    return Console() if sys.stdout.isatty() else Console(width=200)


def _table(title: str, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    from rich.table import Table

    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    print(title)
    _console().print(table)


def _finite(values: dict[str, float]) -> dict[str, Any]:
    """JSON has no infinity: "inf" in its place."""
    return {k: v if math.isfinite(v) else repr(v) for k, v in values.items()}
