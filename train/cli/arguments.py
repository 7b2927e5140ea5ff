"""The program itself, and the arguments that several of its commands take."""

from __future__ import annotations

from typing import Annotated

import typer

from ... import __version__
from ..config.settings import LARGEST_SEED

app = typer.Typer(
    name="stepsmith", help="Train, compare and use step-size controllers for ODE solvers.", add_completion=False,
    pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip


def _version(wanted: bool) -> None:
    if wanted:
        print(f"stepsmith {__version__}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Train, compare and use step-size controllers for ODE solvers."""


Seed = Annotated[int, typer.Option(help="Seed of everything random.", min=0, max=LARGEST_SEED)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")]
Method = Annotated[str | None, typer.Option(help="Integration method (default: the family's).")]
Cluster = Annotated[
    str | None,
    typer.Option(help="Workers that share the work: processes:N, ray, ray://HOST:PORT or ray://auto (default: none)."),
]
