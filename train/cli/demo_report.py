"""What `stepsmith demo` says: steps, short tables, and how it ended.

The whole table goes to a file; the terminal gets the rows that matter: learned controllers, the denominator, the tuned
law, the hosts' defaults, a constant step, and the best published laws.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ..evaluate.headline import Comparison
from ..evaluate.metric import Row
from ..evaluate.report import as_text, by_ratio, headline_sentence, interval_text, render
from ..run.runfiles import read_log
from .show import console_of

BEST = 3
TABLE_WIDTH = 200
SHOWN_HOSTS = ("torchdiffeq", "torchdiffeq itself", "scipy", "diffrax")


def sentences(comparison: Comparison) -> list[str]:
    """One honest sentence for every learned controller, the headline's first."""
    learned = [r.name for r in comparison.rows if r.kind == "learned"]
    learned.sort(key=lambda name: name != comparison.controller)
    return [headline_sentence(replace(comparison, controller=name)) for name in learned]


def line_sentences(trained: Sequence[Any]) -> list[str]:
    """One sentence for every training through torchdiffeq beside the first, which is torchdiffeq's own."""
    first, said = trained[0], []
    for t in trained[1:]:
        told = []
        for of, ratio in (("f-evaluations", t.evaluations / first.evaluations), ("time", t.seconds / first.seconds)):
            told.append(f"{ratio:.2f} of the {of} ({'cheaper' if ratio < 1.0 else 'dearer'})")
        points = 100 * (t.accuracy - first.accuracy)
        quality = "the same accuracy" if points == 0.0 else f"{points:+.1f} points of accuracy"
        said.append(f"{t.name}: {', '.join(told)}, {quality}, {t.error:.2f} of the error")
    return said


def exact_rows(comparison: Comparison) -> str:
    """The whole report, every row, as plain text."""
    lines = as_text(render(comparison), TABLE_WIDTH).splitlines()
    return "\n".join(line.rstrip() for line in lines) + "\n"


def chosen(comparison: Comparison) -> list[Row]:
    """The rows for the terminal, the cheapest first."""
    rows = by_ratio(comparison)
    best = {r.name for r in [r for r in rows if r.kind == "classical" and r.name != comparison.against][:BEST]}

    def wanted(r: Row) -> bool:
        named = r.name == comparison.against or r.name in best or r.name in SHOWN_HOSTS
        return named or r.kind in ("learned", "tuned", "constant", "oracle")

    return [r for r in rows if wanted(r)]


def short_table(comparison: Comparison) -> Table:
    """Ratios of `chosen` rows.  Weighted work gets its own column where it is not the f-evaluations."""
    c = comparison
    rows = chosen(c)
    algebra = any(r.work.get("work") is not r.work["nfev"] for r in rows)
    timed = any(r.work.get("wall") is not None for r in rows)
    about = f"work at equal error ({c.error}), ratio to {c.against}, {c.instances} instances, seed {c.seed}"
    below = "mean ratio [95 % interval], below 1 is cheaper"
    table = Table(
        title=f"{c.family}, {c.method}: {about}",
        caption=below if algebra else f"{below}; weighted work is f-evaluations: no linear algebra",
        title_justify="left", caption_justify="left", title_style="", caption_style="dim", box=None, pad_edge=False,
        padding=(0, 2, 0, 0),
    )  # fmt: skip
    columns = ["f-evaluations", *(["weighted work"] if algebra else []), *(["clock, lanes"] if timed else [])]
    table.add_column("controller", no_wrap=True, header_style="dim")
    for name in (*columns, "worst", "loses on"):
        table.add_column(name, justify="right", header_style="dim", no_wrap=True)
    for row in rows:
        first = row.work["nfev"]
        assert first is not None  # every Runs has "nfev"
        table.add_row(
            _name(row, c), *_cells(row, algebra, timed), f"{first.worst:.2f}", f"{100 * first.share_lost:.0f} %"
        )
    return table


def _figure(value: float | None) -> str:
    """A figure of the log, in which null stands for what is no number."""
    return "-" if value is None else f"{value:.3f}"


def _cells(row: Row, algebra: bool, timed: bool) -> list[Text]:
    """A row's figures as coloured text; "-" where a measure is missing."""
    measures = ["nfev", *(["work"] if algebra else []), *(["wall"] if timed else [])]
    works = [row.work.get(m) for m in measures]
    figures = [None if w is None else w.figure for w in works]
    colour = {"cheaper": "green", "dearer": "red"}
    return [Text("-", "dim") if f is None else Text(interval_text(f), colour.get(f.verdict, "")) for f in figures]


def _name(row: Row, c: Comparison) -> Text:
    if row.name == c.against:
        return Text(row.name, "bold") + Text("  denominator", "dim")
    return Text(row.name, "bold cyan" if row.kind == "learned" else "") + Text(f"  {row.kind}", "dim")


def _colour(ratio: float) -> str:
    """Green where something is cheaper, red where it is dearer, by more than a hundredth."""
    return "green" if ratio < 0.99 else "red" if ratio > 1.01 else ""


class Teller:
    """Tells the story on standard output, or on standard error where standard output is for the JSON object."""

    def __init__(self, json: bool) -> None:
        self.console = console_of(sys.stderr if json else sys.stdout)

    def say(self, *what: Any) -> None:
        """Print anything that rich can print, a line each."""
        for line in what:
            self.console.print(line, highlight=False, soft_wrap=isinstance(line, Text))

    def title(self, quick: bool) -> None:
        """What the demo is; quick: that its figures mean nothing."""
        about = "a step-size controller, trained on real orbits, measured at equal error, used from one file"
        said = Text("Stepsmith  ", "bold cyan") + Text(about)
        if quick:
            said += Text("\n--quick: tiny budgets that show the way; the figures mean nothing", "yellow")
        self.say(Panel(said, border_style="cyan", expand=False))

    def step(self, number: int, name: str, about: str) -> None:
        """A step begins."""
        # progress bars go to standard error: whatever was said before them must be out
        self.say("", Text(f"{number}  {name}", "bold") + Text(f"   {about}", "dim"))
        self.console.file.flush()

    def trained(self, folder: Path) -> None:
        """The run's validations, from its log."""
        log, _ = read_log(folder / "log.jsonl")
        shown = log[:: max(1, len(log) // 6)]
        course = "  ".join(f"{r['env_steps'] / 1e6:.2g}M {_figure(r['validation'])}" for r in shown)
        self.say(Text(f"validation ratio by env steps   {course}   best {_figure(log[-1]['best'])}"))

    def table(self, comparison: Comparison, paths: Mapping[str, Path]) -> None:
        """The rows that matter, the notes, and where the others are."""
        self.say(short_table(comparison), *(Text(f"  {note}", "dim") for note in comparison.notes))
        left = len(comparison.rows) - len(chosen(comparison))
        self.say(Text(f"  {left} more laws, tails and failures: {paths['table']}", "dim"))

    def file(self, path: Path, one: Mapping[str, Any]) -> None:
        """The exported file, how it is used, and the figures of one solve with it."""
        call = f'ss.solve(problem, method="tsit5", controller="{path}", rtol={one["rtol"]:g})'
        steps = f"{one['naccept']} steps, {one['nreject']} rejected, {one['nfallback']} left to the law"
        drift = f"energy drift {one['energy_drift']:.1e}"
        self.say(Text(f"{path}  ({path.stat().st_size:,} bytes)"), Text(call, "cyan"))
        self.say(Text(f"three_body, instance {one['instance']}: {one['nfev']} f-evaluations, {steps}; {drift}"))

    def field(self, trained: Any) -> None:
        """How well the neural ODE classifies, and what its training took."""
        share = f"{100 * trained.accuracy:.1f} % of {len(trained.labels)} held-out digits"
        self.say(Text(f"{share}, {trained.nfev} evaluations of the field in training, {trained.seconds:.1f} s"))

    def lines(self, trained: Sequence[Any]) -> None:
        """What each training through torchdiffeq took, over the first one, which is torchdiffeq's own; errors over
        those of torchdiffeq's default on the same field.
        """
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column("method", no_wrap=True, header_style="dim")
        for name in ("f-evaluations", "ratio", "seconds", "ratio", "error", "accuracy"):
            table.add_column(name, justify="right", header_style="dim", no_wrap=True)
        first = trained[0]
        for t in trained:
            work, wall = t.evaluations / first.evaluations, t.seconds / first.seconds
            table.add_row(
                t.name, f"{t.evaluations:,}", Text(f"{work:.3f}", _colour(work)), f"{t.seconds:.1f}",
                Text(f"{wall:.3f}", _colour(wall)), f"{t.error:.2f}", f"{100 * t.accuracy:.1f} %",
            )  # fmt: skip
        self.say(table)

    def end(
        self, said: Mapping[str, list[str]], file: Path, paths: Mapping[str, Mapping[str, Path]], seconds: float
    ) -> None:
        """What came out, and where the files are."""
        lines = Text()
        titles = {
            "torchdiffeq": "your script of torchdiffeq with one line more, against itself without it",
            "three_body": "held-out orbits", "field": "trained neural ODE",
        }  # fmt: skip
        for key, title in titles.items():
            lines += Text(f"{title}\n", "bold")
            for sentence in said[key]:
                lines += Text(f"  {sentence}\n")
        for title, path in (
            ("controller", file), ("picture", paths["three_body"]["picture"]), ("picture", paths["field"]["picture"]),
            ("tables", f"{paths['three_body']['table']}, {paths['field']['table']}"),
        ):  # fmt: skip
            lines += Text(f"{title:11}", "dim") + Text(f"{path}\n")
        self.say("", Panel(lines + Text(f"{seconds:.0f} s", "dim"), title="done", border_style="cyan", expand=False))
