"""The program itself, and the arguments that several of its commands take."""

from __future__ import annotations

from typing import Annotated, Any

import typer
import typer.core

from ... import __version__
from ..config.settings import LARGEST_SEED


class Whole(typer.core.TyperGroup):
    """A group of commands whose help says of each, in whole sentences, what it does."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands."""
        rows = [(name, self.commands[name].get_short_help_str(400)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


#: help without rich: its panels cut long words off, and take what stands in brackets for markup
PLAIN: dict[str, Any] = {
    "cls": Whole,
    "pretty_exceptions_enable": False, "rich_markup_mode": None,
    "context_settings": {"help_option_names": ["-h", "--help"], "max_content_width": 100},
}  # fmt: skip

app = typer.Typer(
    name="stepsmith", help="Train, compare and use step-size controllers for ODE solvers.", add_completion=False,
    **PLAIN,
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
Wide = Annotated[bool, typer.Option("--wide", help="All columns, and nothing wrapped at the terminal's width.")]
Method = Annotated[str | None, typer.Option(help="Integration method (default: the family's).")]
Cluster = Annotated[
    str | None,
    typer.Option(help="Workers that share the work: processes:N, ray, ray://HOST:PORT or ray://auto (default: none)."),
]
