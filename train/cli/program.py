"""The command line: `stepsmith demo | fit | train | tune | compare | rescale | enjoy | export | distill | inspect |
list | kernel | sweep | effects | bench`.

Bad input ends in one line on standard error; exit codes are those of `run.ending`.  Tables and JSON go to standard
output, progress to standard error.  Every command imports what it needs when it runs, so that `--help` answers at once.
"""

from __future__ import annotations

import sys
from typing import Any

import typer

from ..run import ending
from ..run.interrupted import Kept
from . import (  # noqa: F401 (a command is registered where it is defined)
    benching,
    distilling,
    fitting,
    measuring,
    rescaling,
    showing,
    training,
)
from .arguments import app

#: the commands in the order of the help
ORDER = (
    "demo", "fit", "train", "tune", "compare", "rescale", "enjoy", "export", "distill", "inspect", "list", "kernel",
    "sweep", "effects",
)  # fmt: skip
app.registered_commands.sort(key=lambda command: ORDER.index(str(command.name)))

# what a wrong command line raises: click's exception, which newer versions of typer carry inside them
_USAGE: Any = typer.BadParameter.__mro__[2]
#: extra of the package that brings what a command may miss; "train" is that of all others
EXTRAS = {"demo": "demo", "sweep": "sweep"}
#: commands that go on where they were interrupted, and what they take to do so
GOES_ON: dict[str, tuple[str, ...]] = {
    "train": ("--resume",), "fit": (), "sweep": (), "effects": (), "bench": (), "tune": (),
}  # fmt: skip


def main(args: list[str] | None = None) -> None:
    """Run the program with `args` (default: sys.argv) and exit."""
    given = sys.argv[1:] if args is None else args
    extra = next((EXTRAS[word] for word in given[:1] if word in EXTRAS), "train")
    code = ending.code_of(lambda: _run(given), lambda kept: _again(given, kept), extra)
    if args is None:  # the process is this program's own
        ending.leave(code)
    sys.exit(code)


def _run(args: list[str]) -> Any:
    program = typer.main.get_command(app)
    # not program.main, which makes exit codes of its own of interruptions and closed pipes
    try:
        with program.make_context("stepsmith", args or ["--help"]) as context:
            return program.invoke(context)
    except _USAGE as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # a group of commands alone, as `stepsmith bench`
            print(error.format_message())
            return 0
        return ending.fail(error.format_message())
    except typer.Exit as stop:  # --help and --version
        return stop.exit_code


def _again(args: list[str], kept: tuple[Kept, ...]) -> str:
    """The command that goes on after an interruption, or begins anew."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    program = ["python", "-m", "stepsmith"] if spec is not None and spec.name == "stepsmith.__main__" else ["stepsmith"]
    name = args[0] if args else ""
    if name not in GOES_ON or not any(one.resumes for one in kept):
        return f"begin anew with: {ending.command(program, args)}"
    more = (*GOES_ON[name], *(option for one in kept for option in one.options))
    return f"go on with: {ending.command(program, args, more)}"
