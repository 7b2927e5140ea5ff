"""The command that sets a controller's tolerance scale: `rescale`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ..config import reading
from ..config.settings import MOST_INSTANCES
from .arguments import Json, Method, Seed, Wide, app
from .show import table


@app.command("rescale")
def rescale(
    controller: Annotated[str, typer.Argument(help="Controller file or zoo name.")],
    family: Annotated[
        str | None, typer.Option(help="Problem family, a name or file.py:NAME (default: what it was trained on).")
    ] = None,
    method: Method = None,
    against: Annotated[
        str | None, typer.Option(help="Law whose error it is to make (default: the method's, pi34 of explicit ones).")
    ] = None,
    tolerance: Annotated[
        list[float] | None, typer.Option("--tolerance", "-t", help="Relative tolerance, repeatable (1e-4, 1e-6, 1e-8).")
    ] = None,
    n: Annotated[int, typer.Option(help="Validation instances.", min=2, max=MOST_INSTANCES)] = 100,
    seed: Seed = 0,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write (default: NAME-rescaled.safetensors).")
    ] = None,
    wide: Wide = False,
    as_json: Json = False,
) -> None:
    """Set a controller's tolerance scale, so that at the tolerance you know its error is that of the law you know.

    Writes a new controller file, in which solvers work at that many times the tolerances asked for.
    """
    from ...controllers.file import load_learned, save
    from ...controllers.hub import is_hub
    from ...integrators import problems
    from ...policies.tolerance_scale import TOLERANCES, matched_scale
    from ..run.provenance import provenance

    learned = load_learned(controller)
    if out is not None and out.suffix != ".safetensors":
        raise ValueError(f"--out must end in .safetensors, got {out.name!r}")
    stem = learned.name if is_hub(controller) else Path(controller).stem
    out = Path(f"{stem}-rescaled.safetensors") if out is None else out
    reading.file("--out", out)
    if family is None and learned.family not in problems.names():
        raise ValueError(f"{controller} was trained on {learned.family or 'nothing it names'}: --family must name one")
    name, fam = family or learned.family, problems.family(problems.named(family or learned.family))
    chosen = method or learned.trained_method or fam.method
    found = matched_scale(learned, fam, chosen, against, tuple(tolerance or TOLERANCES), n, seed)
    command = f"stepsmith rescale {controller} --family {name} --method {chosen} --against {found.against} --n {n}"
    command += f" --seed {seed}" + "".join(f" -t {r:g}" for r in tolerance or ())
    made = {"command": command, **provenance()}
    path = save(found.applied(learned, **made), out)
    if as_json:
        print(json.dumps({**found.facts(), **made, "file": str(path)}, indent=2, allow_nan=False))
        return
    _show(found, path, wide)


def _show(found: Any, path: Path, wide: bool) -> None:
    title = (
        f"{found.family}, {found.method}: geometric-mean errors of {found.instances} validation instances, "
        f"{found.against} and the controller at {found.scale:g} times the tolerance"
    )
    columns = ("rtol", found.against, "unscaled", "scaled", f"scaled/{found.against}", "at 90 %", "failed", "set by it")
    rows = [
        (
            f"{v.rtol:.0e}", f"{v.law:.2e}", f"{v.before:.2e}", f"{v.after:.2e}", f"{v.mismatch:.2f}",
            f"{v.tail:.2f}",
            f"{v.law_failed}, {v.failed}", "yes" if v.used else "no: references",
        )
        for v in found.levels
    ]  # fmt: skip
    table(title, columns, rows, wide, ("failed", "at 90 %", "unscaled"))
    print(f"tolerance_scale {found.scale:g}\n{path}")
