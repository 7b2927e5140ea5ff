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
EXTRAS = {"demo": "demo", "sweep": "sweep"}  # by command; "train" is that of all others


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
        code = _fail(str(error) if "pip install" in str(error) else f"{error}: {_brought_by(args)}")
    except (KeyboardInterrupt, typer.Abort):
        print("stepsmith: interrupted", file=sys.stderr)
        code = 130
    sys.exit(code if isinstance(code, int) else 0)


def _brought_by(args: list[str]) -> str:
    """What to install where a command misses a library and nothing has said which extra brings it."""
    extra = next((EXTRAS[word] for word in args[:1] if word in EXTRAS), "train")
    return f"install what brings it, pip install 'stepsmith[{extra}]'"


def _fail(message: str) -> int:
    text = " ".join("".join(c if c.isprintable() else " " if c.isspace() else ascii(c)[1:-1] for c in message).split())
    print("stepsmith: " + (text if len(text) <= LONGEST else f"{text[:LONGEST]}..."), file=sys.stderr)
    return 2
