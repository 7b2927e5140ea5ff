"""What commands print: tables, and numbers as JSON can hold them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any


def console() -> Any:
    from rich.console import Console

    # a pipe has no width of its own: tables stay whole
    return Console() if sys.stdout.isatty() else Console(width=200)


def table(title: str, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    from rich.table import Table

    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    print(title)
    console().print(table)
