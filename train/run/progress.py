"""A progress bar on standard error, with named figures beside it."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress


class Progress:
    """A bar over `total` units of work, which are called `unit`; `enabled=False` shows nothing."""

    def __init__(self, title: str, total: int, unit: str, enabled: bool = True) -> None:
        self.done = 0.0
        self._bar = RichProgress(
            TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(), TimeRemainingColumn(),
            console=Console(file=sys.stderr), disable=not enabled, transient=False, refresh_per_second=4,
        )  # fmt: skip
        self._task = self._bar.add_task(f"{title} ({unit})", total=total, note="")
        self._bar.start()

    def update(self, done: float, note: str = "", **figures: float) -> None:
        """Set how many units are done so far, and what is shown beside them: a note in words, and figures."""
        self.done = done
        shown = [note] if note else []
        shown += [
            f"{name} {value:.3f}" for name, value in figures.items() if value == value and abs(value) != float("inf")
        ]
        self._bar.update(self._task, completed=done, note="  ".join(shown))

    def advance(self, by: float = 1.0) -> None:
        """Count `by` more units as done."""
        self.update(self.done + by)

    def close(self) -> None:
        """Stop drawing."""
        self._bar.stop()
