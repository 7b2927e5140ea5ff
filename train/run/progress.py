"""Progress on standard error, with named figures beside it: a bar in a terminal, lines of text in a file or a pipe."""

from __future__ import annotations

import sys
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

#: seconds between two lines: the first, the share of the time so far, and the most
LEAST, SHARE, MOST = 2.0, 0.05, 60.0


class Progress:
    """Progress over `total` units of work, which are called `unit`; `enabled=False` shows nothing."""

    def __init__(self, title: str, total: int, unit: str, enabled: bool = True) -> None:
        self.done = 0.0
        self._shown: Any = None
        if not enabled or sys.stderr is None:  # a program without a console has none
            return
        console = Console(file=sys.stderr, markup=False, emoji=False)
        drawn = console.is_jupyter or (sys.stderr.isatty() and not console.is_dumb_terminal)
        self._shown = _Bar(title, total, unit, console) if drawn else _Lines(title, total, unit)

    def update(self, done: float, note: str = "", **figures: float) -> None:
        """Set how many units are done so far, and what is shown beside them: a note in words, and figures."""
        self.done = done
        if self._shown is None:
            return
        shown = [note] if note else []
        shown += [
            f"{name} {value:.3f}" for name, value in figures.items() if value == value and abs(value) != float("inf")
        ]
        self._shown.show(done, shown)

    def advance(self, by: float = 1.0) -> None:
        """Count `by` more units as done."""
        self.update(self.done + by)

    def close(self) -> None:
        """Stop showing."""
        if self._shown is not None:
            self._shown.close()


class _Bar:
    """A bar that is drawn anew in its place."""

    def __init__(self, title: str, total: int, unit: str, console: Console) -> None:
        self._bar = RichProgress(
            TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(),
            TextColumn("{task.fields[note]}", markup=False), TimeElapsedColumn(), TimeRemainingColumn(),
            console=console, transient=False, refresh_per_second=4,
        )  # fmt: skip
        self._task = self._bar.add_task(f"{title} ({unit})", total=total, note="")
        self._bar.start()

    def show(self, done: float, notes: list[str]) -> None:
        self._bar.update(self._task, completed=done, note="  ".join(notes))

    def close(self) -> None:
        self._bar.stop()


class _Lines:
    """A line now and then, each of them out at once: at the beginning, ever more seldom, and at the end."""

    def __init__(self, title: str, total: int, unit: str) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.began = self.told = time.monotonic()
        self.last: tuple[float, list[str]] = (0.0, [])
        # the first report: what lies before it is compilation, and the part that a resumed run had done already
        self.first: tuple[float, float] | None = None
        self._say()

    def show(self, done: float, notes: list[str]) -> None:
        self.last, now = (done, notes), time.monotonic()
        self.first = self.first or (done, now)
        if now - self.told >= min(MOST, max(LEAST, SHARE * (now - self.began))):
            self.told = now
            self._say()

    def close(self) -> None:
        if self.first is not None and self.said != self.last:
            self._say()

    def _say(self) -> None:
        self.said = self.last
        (done, notes), now = self.last, time.monotonic()
        said = [f"{self.title}: {done:,.0f} of {max(self.total, done):,.0f} {self.unit}", *notes]
        if self.first is not None:
            said.append(f"{_clock(now - self.began)} so far")
            before, then = self.first
            if before < done < self.total:
                said.append(f"{_clock((now - then) * (self.total - done) / (done - before))} left")
        print(", ".join(said), file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
