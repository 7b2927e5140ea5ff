"""The command line: `stepsmith demo | fit | train | tune | compare | rescale | enjoy | export | distill | inspect |
list | kernel | sweep | effects | bench`.

Bad input ends in one line on standard error and exit code 2.  Tables and JSON go to standard output, progress to
standard error. Every command imports what it needs when it runs, so that `--help` answers at once.
"""

from __future__ import annotations

import sys
from typing import Any

import typer

from ...integrators.core.errors import shown
from ...integrators.engine.spread import PartLost
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
LONGEST = 2000  # characters of an error message
INTERRUPTED = 130  # exit code after Ctrl-C, as shells have it
#: how to take up again what was interrupted
GOES_ON = {
    "train": ("the same command with --resume goes on from the last checkpoint",),
    "fit": ("the same command goes on where it was",),
    "sweep": ("the same command goes on where it was",),
}


def main(args: list[str] | None = None) -> None:
    """Run the program with `args` (default: sys.argv) and exit."""
    args = sys.argv[1:] if args is None else args
    try:
        code = typer.main.get_command(app).main(args or ["--help"], prog_name="stepsmith", standalone_mode=False)
    except _USAGE as error:
        code = _fail(error.format_message())
    except OSError as error:
        code = _fail(
            f"{shown(error.filename, 200)}: {error.strerror}" if error.filename and error.strerror else str(error)
        )
    except ValueError as error:
        code = _fail("; ".join([str(error), *getattr(error, "__notes__", ())]))
    except PartLost as error:
        code = _fail(str(error))
    except MemoryError as error:
        code = _fail(f"not enough memory for what was asked for: {error}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("stepsmith"):
            raise
        known = "pip install" in str(error)
        code = _fail(
            str(error) if known else f"{error}: install what brings it, for instance pip install 'stepsmith[train]'"
        )
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    if code == INTERRUPTED:  # newer versions of typer make this code of a KeyboardInterrupt, without a word
        print("; ".join(("stepsmith: interrupted", *GOES_ON.get(args[0] if args else "", ()))), file=sys.stderr)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str) -> int:
    text = " ".join("".join(c if c.isprintable() else " " if c.isspace() else ascii(c)[1:-1] for c in message).split())
    print("stepsmith: " + (text if len(text) <= LONGEST else f"{text[:LONGEST]}..."), file=sys.stderr)
    return 2
