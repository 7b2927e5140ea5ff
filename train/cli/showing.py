"""Commands that show what there is: `kernel`, `inspect`, `list`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ...controllers.laws.values import json_values
from ...integrators.core.names import unknown
from ..config import reading
from .arguments import Json, Method, Seed, Wide, app
from .show import lines, table

KINDS = (
    "laws", "methods", "families", "envs", "zoo", "tuned", "rewards", "features", "actions", "configs", "rules",
    "sde-methods", "sde-families",
)  # fmt: skip


@app.command("kernel")
def kernel(
    family: Annotated[str, typer.Argument(help="Problem family, whose published instance is taken.")],
    method: Method = None,
    controller: Annotated[
        str | None,
        typer.Option("--controller", "-c", help="A law, a zoo name, or the path of a file; default the method's law."),
    ] = None,
    lanes: Annotated[
        bool, typer.Option("--lanes", help="The loop of an ensemble, many trajectories side by side.")
    ] = False,
) -> None:
    """Print the generated module that solves a problem, with its rows explained: the loop that really runs."""
    from ...controllers import resolve
    from ...integrators import methods, problems
    from ...integrators.engine.shown import kernel_text

    family = problems.named(family)
    problem = problems.make(family)
    method = problems.family(family).method if method is None else method
    controller = methods.get(method).own_law() if controller is None else controller
    print(kernel_text(problem, method, resolve.controller(controller, family, method), lanes))


@app.command("inspect")
def inspect(
    file: Annotated[str, typer.Argument(help="Controller file, tuned law (.json) or zoo name.")],
    wide: Wide = False,
    as_json: Json = False,
) -> None:
    """Say what is in a controller file, or in that of a learned sampler: what it decides by, provenance, measured
    figures."""
    if file.endswith(".json"):
        from ...controllers.laws.tuned import read

        reading.json(file)  # what is no JSON file at all
        law, facts = read(file)
        if as_json:
            print(json.dumps({**facts, "law": json_values(law.as_dict())}, indent=2, allow_nan=False))
            return
        title = f"{facts.get('family')}, {facts.get('method')}: tuned law, base {facts.get('base')}"
        table(title, ("coefficient", "value"), [(k, f"{v:.6g}") for k, v in law.values.items()], wide)
        return
    from ...controllers.file import describe, document, is_sampler, load_controller
    from ...controllers.learned.network import Learned

    if is_sampler(file):
        from ...flows import schedule_file

        schedule = schedule_file.load(file)
        if as_json:
            print(json.dumps(schedule_file.document(schedule), indent=2))
        else:
            lines(schedule.describe(), wide)
        return
    controller = load_controller(file)
    if not isinstance(controller, Learned):
        from ...controllers.strengths import policy_file

        network = policy_file.read(file)
        if as_json:
            print(json.dumps(policy_file.document(network), indent=2))
        else:
            lines(policy_file.describe(network), wide)
        return
    if as_json:
        print(json.dumps(document(controller), indent=2))
    else:
        lines(describe(controller), wide)


@app.command("enjoy")
def enjoy(
    run: Annotated[str, typer.Argument(help="Run folder of `stepsmith train`, controller file, or zoo name.")],
    family: Annotated[
        str | None, typer.Option(help="Problem family (default: the one that the controller was trained on).")
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="Integration method (default: the one that the controller was trained with).")
    ] = None,
    instance: Annotated[int, typer.Option(help="Number of the instance of the test split.", min=0)] = 0,
    seed: Seed = 0,
    rtol: Annotated[
        float | None, typer.Option(help="Relative tolerance (default: the middle one of the family's).")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Picture (.png, .svg, .pdf) or film (.gif, .mp4); default out/enjoy/<what>.png."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Watch a controller on one instance, beside the law that it is built on: solution, step sizes, errors, work."""
    from ..evaluate import enjoy as watching
    from ..evaluate import enjoy_picture

    reading.file("--out", out)
    if out is not None:
        enjoy_picture.check(out)
    controller = watching.load(run)
    seen = watching.watch(controller, family, method, instance, seed, rtol)
    if out is None:
        out = Path("out/enjoy") / f"{seen.family}-{seen.method}-{instance}.png"
    path = enjoy_picture.draw(seen, out)
    if as_json:
        print(json.dumps({**seen.to_json(), "picture": str(path)}, indent=2, allow_nan=False))
        return
    table(enjoy_picture.title(seen), watching.COLUMNS, watching.cells(seen))
    print(path)


@app.command("list")
def list_(
    kind: Annotated[str, typer.Argument(help=", ".join(KINDS))],
    wide: Wide = False,
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
        table(kind, ("name", ""), rows, wide)
