"""What commands print: tables that fit a terminal of 100 columns, and lines.

In a terminal what is longer is wrapped at its width; a file or a pipe has no width, and gets every row as one line.
`--wide` prints all columns, and wraps nothing.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence
from typing import Any

#: columns that a table takes at most, unless it is asked to be wide
FIT = 100
UNBOUND = 100_000
INDENT = " " * 17  # of what is wrapped of a line "name         text"


def console(wide: bool = False) -> Any:
    """Rich's console for tables and sentences on standard output: nothing in them is markup."""
    return console_of(sys.stdout, wide)


def console_of(stream: Any, wide: bool = False) -> Any:
    """The same for another stream."""
    from rich.console import Console

    class Piped(Console):
        """A console that lets the command say how it ends where the reader of its stream is gone."""

        def on_broken_pipe(self) -> None:
            raise  # the BrokenPipeError that it is called for; rich would exit with code 1

    plain: dict[str, Any] = {"file": stream, "markup": False, "emoji": False}
    return Piped(**plain) if stream.isatty() and not wide else Piped(width=UNBOUND, **plain)


def table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], wide: bool = False, more: Sequence[str] = ()
) -> None:
    """Print a table.

    more: columns that are left out, the last one first, where the table is wider than `FIT` columns; a line below says
    which.  wide: print them all.
    """
    from rich.table import Table

    left_out = [] if wide else _left_out(columns, rows, more)
    shown = [i for i, name in enumerate(columns) if name not in left_out]
    made = Table(box=None, pad_edge=False)
    for k, i in enumerate(shown):
        made.add_column(columns[i], no_wrap=k == 0)
    for row in rows:
        made.add_row(*(row[i] for i in shown))
    say(title, wide)
    console(wide).print(made)
    if left_out:
        say(f"left out, --wide shows them: {', '.join(left_out)}")


def _left_out(columns: Sequence[str], rows: Sequence[Sequence[str]], more: Sequence[str]) -> list[str]:
    widths = {name: max(len(name), *(len(row[i]) for row in rows), 0) for i, name in enumerate(columns)}
    out: list[str] = []
    for name in reversed(more):
        kept = [width for column, width in widths.items() if column not in out]
        if sum(kept) + 2 * (len(kept) - 1) <= FIT:
            break
        out.insert(0, name)
    return out


def say(text: str, wide: bool = False) -> None:
    """Print a sentence, in a terminal wrapped at words."""
    from rich.text import Text

    console(wide).print(Text(text))


def lines(text: str, wide: bool = False) -> None:
    """Print lines "name         text"; what a terminal has no room for goes on indented below."""
    if wide or not sys.stdout.isatty():
        print(text)
        return
    width = min(FIT, console().width)
    for line in text.splitlines():
        print(textwrap.fill(
            line, width, subsequent_indent=INDENT, break_on_hyphens=False, drop_whitespace=True,
            replace_whitespace=False,
        ))  # fmt: skip
