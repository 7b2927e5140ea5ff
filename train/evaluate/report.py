"""A comparison for people: the headline as one sentence, and the tables of the terminal.

`picture.py` draws it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from .curves import LOST_RATIO
from .headline import Comparison
from .metric import MEASURES, Figure, Row, WorkRatio

NAMES = {"nfev": "f-evaluations", "work": "weighted work", "wall": "clock, lanes", "single": "clock, single"}
#: columns of one tolerance for the whole family, and what is said of them
TOLERANCES = ("one tol., mean err", "one tol., 90 % err")
ONE = "one tol.: one tolerance for the family"
#: the column that stands beside charged ones, and what is said of them
WITHOUT, LEFT_OUT = "not charged", "not charged (--wide, and the notes)"
CHARGED = f"charged: an instance that one side loses counts at least {LOST_RATIO:g} to 1 in work and clocks"
#: how a clock is called in a sentence
SPOKEN = {"wall": "time in lanes", "single": "time of single solves"}


def render(comparison: Comparison, wide: bool = True) -> Group:
    """The headline, the ratios, the tails and the notes, as one rich renderable.

    wide: all columns; else those that fit into 100 of a terminal's: work, clocks, and who loses.
    """
    c = comparison
    parts: list[Any] = [
        Text(headline_sentence(c), style="bold"),
        Text(second_sentence(c)),
        "",
        *_ratios(c, wide),
        "",
        *_tails(c, wide),
        "",
    ]
    parts += [Text(f"  {note}", style="dim") for note in (*lost_lines(c), *c.notes)]
    return Group(*parts)


def lost_lines(comparison: Comparison) -> list[str]:
    """Sentences on lost instances: who lost which, and what the figure is without a charge for them."""
    said = []
    for row in comparison.rows:
        w = _work(row)
        lost = [
            f"{what} on instances {', '.join(str(i) for i in ids)}"
            for ids, what in (
                (w.lost, "does not reach the levels"),
                (w.lost_by_denominator, f"reaches the levels and {comparison.against} does not"),
                (w.lost_by_both, f"does not reach the levels, nor does {comparison.against},"),
            )
            if ids
        ]
        if lost:
            without = f": {interval_text(w.uncharged)} without a charge" if w.lost or w.lost_by_denominator else ""
            said.append(f"{row.name} {'; '.join(lost)}{without}")
    return said


def as_text(renderable: Any, width: int) -> str:
    """Anything that rich can print, as plain text of so many columns."""
    console = Console(width=width, color_system=None, markup=False, emoji=False)
    with console.capture() as text:
        console.print(renderable)
    return text.get()


def print_report(comparison: Comparison, console: Console | None = None) -> None:
    """Print `render(comparison)`."""
    (console or Console(markup=False, emoji=False)).print(render(comparison))


def headline_sentence(comparison: Comparison) -> str:
    """One plain sentence: what the learned controller costs, and whether that is a gain."""
    c = comparison
    if c.controller is None:
        return f"{c.family}, {c.method}: no learned controller; every law against {c.against}"
    work = c.row(c.controller).work
    w = _work(c.row(c.controller))
    # each figure with its own verdict: fewer evaluations need not mean less time
    said = [f"{interval_text(w.figure)} of the {measured_in(c)} ({w.figure.verdict})"]
    if w.lost or w.lost_by_denominator:
        said[0] += f", {interval_text(w.uncharged)} without the instances that one of them lost"
    for m, spoken in SPOKEN.items():
        if (timed := work.get(m)) is not None:
            whose = "" if c.base(m) == c.against else f"{c.base(m)}'s "
            said.append(f"{interval_text(timed.figure)} of {whose or 'the '}{spoken} ({timed.figure.verdict})")
    return f"{c.controller} against {c.against} at equal error: {', '.join(said)}"


def plain_sentence(comparison: Comparison) -> str:
    """What came out, for somebody who knows nothing of step sizes."""
    c = comparison
    if c.controller is None:
        return f"What {len(c.rows)} rules for the step size cost for the same accuracy, beside {c.against}"
    work = c.row(c.controller).work
    unit = "evaluations of the equations" if measured_in(c) == NAMES["nfev"] else "work"
    first = _in_words(_work(c.row(c.controller)).figure, unit, "as many" if unit != "work" else "as much")
    said = f'For the same accuracy the step-size controller "{c.controller}" needs {first} {c.against}'
    for m, spoken in (("wall", "time"), ("single", "time one by one")):
        if (w := work.get(m)) is not None:
            said += f", {_in_words(w.figure, spoken, 'as much')} {c.base(m)}"
    return said


def _in_words(f: Figure, unit: str, equal: str) -> str:
    """A ratio as "12 % fewer evaluations than", or that it is a tie, or not known."""
    if math.isnan(f.ratio):
        return f"an unknown share of {unit} beside"
    less = "less" if equal == "as much" else "fewer"
    if f.verdict in ("cheaper", "dearer"):
        if f.ratio >= 2.0:
            return f"{f.ratio:.1f} times the {unit} of"
        return f"{abs(100.0 * (1.0 - f.ratio)):.0f} % {less if f.ratio < 1.0 else 'more'} {unit} than"
    return f"{equal} {unit} (a tie) as" if not math.isnan(f.low) else f"about {f.ratio:.2f} times the {unit} of"


def measured_in(comparison: Comparison) -> str:
    """Name of the first work measure: f-evaluations, unless there is linear algebra to weigh."""
    same = all(r.work["work"] is r.work["nfev"] for r in comparison.rows)
    return NAMES["nfev" if same else "work"]


def second_sentence(comparison: Comparison) -> str:
    """The other figure of the measure: one tolerance for the whole family; empty without a learned controller."""
    if comparison.controller is None:
        return ""
    matched = _work(comparison.row(comparison.controller)).matched
    mean, most = (interval_text(matched[s]) for s in ("gmean", "q90"))
    return f"with one tolerance for the family: {mean} at equal mean error, {most} at equal 90 % error"


def _ratios(c: Comparison, wide: bool) -> list[Any]:
    """The table of ratios between what stands above and below it."""
    title = f"{c.family}, {c.method}: work at equal error ({c.error}), ratio to {c.against}, "
    below = "mean ratio [95 % interval]; below 1 is cheaper"
    measures = [m for m in MEASURES if m not in SPOKEN or m in c.clocks]
    if wide:
        below += f"; {ONE}"
    else:  # f-evaluations and weighted work are the same where there is no linear algebra
        drop = "work" if measured_in(c) == NAMES["nfev"] else "nfev"
        measures = [m for m in measures if m != drop]
        below += f"; left out, --wide shows them: {NAMES[drop]}, {ONE}"
    charged = any(w.lost or w.lost_by_denominator for w in (_work(row) for row in c.rows))
    below += f"\n{CHARGED}" if charged else ""
    beside = charged and (wide or len(c.clocks) < 2)  # there is room for it
    below += f"; {WITHOUT if beside else LEFT_OUT}: work over the instances that nobody lost" if charged else ""
    table = Table(box=SIMPLE, pad_edge=False)
    table.add_column("controller", no_wrap=True)
    for name in (*(NAMES[m] for m in measures), *([WITHOUT] if beside else []), *(TOLERANCES if wide else ())):
        table.add_column(name, justify="right")
    table.add_column("loses on", justify="right")
    for row in by_ratio(c):
        table.add_row(_name(row, c), *_ratio_cells(row, measures, wide, beside))
        if row.here is not None:
            same = Text(f"  {row.here.name} on the same {len(_work(row).instances)} instances", style="italic")
            table.add_row(same, *_ratio_cells(row.here, measures, wide, beside))
    return [Text(f"{title}{c.instances} instances, seed {c.seed}", "italic"), table, Text(below + _to(c), "dim italic")]


def _ratio_cells(row: Row, measures: Sequence[str], wide: bool, beside: bool) -> list[Text]:
    """A row's figures in the table of ratios; "-" where a measure is missing.  beside: the one without charges too."""
    first = _work(row)
    cells = [_cell(w.figure) if w is not None else Text("-") for w in (row.work.get(m) for m in measures)]
    matched = [_cell(first.matched[s]) for s in ("gmean", "q90")] if wide else []
    without = [_cell(first.uncharged)] if beside else []
    return [*cells, *without, *matched, Text(f"{100 * first.share_lost:.1f} %")]


def _to(c: Comparison) -> str:
    """What the columns of the clocks are ratios to, where that is another law."""
    other = [f"{NAMES[m]}: ratio to {law}" for m, law in c.clocks.items() if law != c.against]
    return "".join(f"; {said}" for said in other)


def _tails(c: Comparison, wide: bool) -> list[Any]:
    below = "not reached: instances with less than 80 % of the error levels that the other reaches; "
    below += "charged, in the worst ratios too"
    below += "" if wide else "; left out, --wide shows it: slope"
    table = Table(box=SIMPLE, pad_edge=False)
    table.add_column("controller", no_wrap=True)
    for name in ("worst 1 %", "worst", "not reached", "rejected", "failed runs", *(["slope (ideal)"] if wide else [])):
        table.add_column(name, justify="right")
    for row in by_ratio(c):
        first = _work(row)
        ideal = "" if math.isnan(row.ideal_slope) else f" ({row.ideal_slope:.2f})"
        table.add_row(
            _name(row, c),
            f"{first.worst_1pct:.2f}",
            f"{first.worst:.2f}",
            str(len(first.lost)),
            "-" if math.isnan(row.rejected_share) else f"{100 * row.rejected_share:.1f} %",
            f"{row.failures} of {row.runs}",
            *(["-" if math.isnan(row.slope) else f"{row.slope:.2f}{ideal}"] if wide else []),
        )
    return [Text(f"Tails, {measured_in(c)}", "italic"), table, Text(below, "dim italic")]


def by_ratio(c: Comparison, measure: str = "work") -> list[Row]:
    """Rows that have the measure, the cheapest first."""
    ratio = {r.name: w.figure.ratio for r in c.rows if (w := r.work.get(measure)) is not None}
    return sorted((r for r in c.rows if r.name in ratio), key=lambda r: ratio[r.name])


def _work(row: Row) -> WorkRatio:
    w = row.work["work"]
    assert w is not None  # every Runs has "work"
    return w


def _name(row: Row, c: Comparison) -> Text:
    style = "bold blue" if row.kind == "learned" else "bold" if row.name == c.against else ""
    return Text(row.name, style=style) + Text(f"  {row.kind}", style="dim")


def interval_text(f: Figure) -> str:
    """The figure as "0.68 [0.64, 0.72]", or what of it is defined."""
    if math.isnan(f.ratio):
        return "not defined"
    if math.isnan(f.low):
        return f"{f.ratio:.2f}"
    return f"{f.ratio:.2f} [{f.low:.2f}, {f.high:.2f}]"


def _cell(f: Figure) -> Text:
    return Text(interval_text(f), style={"cheaper": "green", "dearer": "red"}.get(f.verdict, ""))
