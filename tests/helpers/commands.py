"""The table of the page on the command line, from the program: `python tests/helpers/commands.py` writes it there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from stepsmith.train.cli import app

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "command_line.md"
ROWS = re.compile(r"(?:^\| `stepsmith .*\n)+", re.MULTILINE)


def rows(group: Any = None, before: str = "") -> Iterator[str]:
    """One row a command: how it is called, what it does, its options."""
    for name, command in (group or typer.main.get_command(app)).commands.items():
        if hasattr(command, "commands"):
            yield from rows(command, f"{before}{name} ")
            continue
        given = [p for p in command.params if p.param_type_name == "argument"]
        arguments = [(p.metavar or p.name.upper()).strip("[]") for p in given]
        options = [max(p.opts, key=len) for p in command.params if p.param_type_name == "option"]
        shown = " ".join(f"`{option}`" for option in options if option != "--help")
        called = " ".join(["stepsmith", before + name, *arguments])
        yield f"| `{called}` | {command.get_short_help_str(400)} | {shown} |"


if __name__ == "__main__":
    table = "".join(f"{row}\n" for row in rows())
    PAGE.write_text(ROWS.sub(lambda _: table, PAGE.read_text(encoding="utf-8")), encoding="utf-8")
