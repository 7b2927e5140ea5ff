"""The command `stepsmith distill`: a closed form out of a network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..config import reading
from .arguments import Seed, app


@app.command("distill")
def distill(
    controller: Annotated[str, typer.Argument(help="Controller file, or a name of the zoo.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Controller file to write (.safetensors).")],
    family: Annotated[
        str | None, typer.Option(help="Family on whose training instances it is imitated (default: its own).")
    ] = None,
    method: Annotated[str | None, typer.Option(help="Method (default: the one that it was trained with).")] = None,
    features: Annotated[
        str | None,
        typer.Option(help="Features, by commas, products too: log_err,log_left,log_err*log_left (default: its)."),
    ] = None,
    seed: Seed = 0,
) -> None:
    """Write a closed form that imitates a controller's network, and print it as a formula."""
    from ...controllers import resolve
    from ...controllers.file import describe, save
    from ..closed.distilled import distilled

    reading.file("--out", out)
    teacher: Any = resolve.controller(controller)
    names = None if features is None else tuple(name.strip() for name in features.split(","))
    found = distilled(teacher, family, method, names, seed=seed)
    save(found.controller, out)
    print(describe(found.controller))
    for action, share in zip(found.controller.decision.actions, found.explained.tolist(), strict=True):
        print(f"explained    {share:.3f} of the variance of the teacher's {action.name}")
    print(out)
