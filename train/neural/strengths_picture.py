"""Strengths of regularisers over training, a picture a task and tolerance: what was asked, what it did, what it cost.

Six panels over the epochs: strength, ratio in force, mean E h, mean S h, f-evaluations of a training solve and the
validation metric, whose axis fits what comes after a quarter of training.  A variant is a colour; of several seeds each
is a thin line, and their mean a thick one, geometric on a logarithmic axis.  A row of the log holds means over the
iterations since the row before it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..evaluate.picture_style import INK, QUIET, bare
from ..run.runfiles import read_log
from .effects import Spec, Unit, collect
from .effects_picture import COLOURS
from .picture import NAMES

Floats = NDArray[np.float64]
#: columns of a panel, its title, and whether its axis is logarithmic; the metric's panel comes last
PANELS = (
    ("strength", "strength: factor of the penalty", True),
    ("ratio", "ratio: the penalty's pull over the task's", True),
    ("er_mean", "mean E h of the steps", True),
    ("sr_mean", "mean S h of the steps", True),
    ("work", "f-evaluations of a training solve", False),
)
#: of the first ten variants, and of those whose colour is there again
DASHES = ("-", "--", ":")
#: where an axis spans less than a factor of four
FINE = (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0)


@dataclass(frozen=True)
class Course:
    """One run: variant and whether it ended well, its metric, and (n,) epochs with (n,) numbers a column, NaN where the
    log has none."""

    variant: str
    finished: bool
    metric: str
    epochs: Floats
    columns: dict[str, Floats]


def pictures(spec: Spec, out: str | Path) -> list[Path]:
    """Draw strengths-<task>-tol<tolerance>.png into `out` for every task and tolerance with a run that has ended and
    has a regulariser; returns their paths."""
    ended = {(r["task"], r["variant"], r["tolerance"], r["seed"]): r for r in collect(spec, out)}
    units: dict[tuple[str, float], list[Unit]] = {}
    for unit in spec.units:
        if (unit.task, unit.variant, unit.tolerance, unit.seed) in ended:
            units.setdefault((unit.task, unit.tolerance), []).append(unit)
    drawn = []
    for (task, tolerance), mine in units.items():
        if any(unit.config.regulariser is not None for unit in mine):
            statuses = [ended[u.task, u.variant, u.tolerance, u.seed]["status"] for u in mine]
            courses = [course(u, Path(out) / u.folder, s == "finished") for u, s in zip(mine, statuses, strict=True)]
            variants = sorted(dict.fromkeys(u.variant for u in spec.units), key=lambda name: name != spec.baseline)
            path = Path(out) / f"strengths-{task}-tol{tolerance:g}.png"
            drawn.append(picture(courses, path, f"{task}, tolerance {tolerance:g}", variants))
    return drawn


def course(unit: Unit, folder: Path, finished: bool) -> Course:
    """The log of a run.

    Logs of earlier versions lack three columns.  The ratio is then known where it is a constant of the config, and the
    mean E h or S h where it is the penalty.
    """
    rows, _ = read_log(folder / "log.jsonl")
    reg = unit.config.regulariser
    known: dict[str, float] = {}
    same = ""
    if reg is not None and reg.strength.get("kind") == "ratio" and "value" in reg.strength:
        known["ratio"] = float(reg.strength["value"])
    if reg is not None and reg.name in ("er_mean", "sr_mean") and not reg.plus:
        same = reg.name
    columns: dict[str, list[float]] = {name: [] for name in (*(panel[0] for panel in PANELS), "validation")}
    for row in rows:
        trained = row.get("loss") is not None
        for name in ("strength", "ratio", "er_mean", "sr_mean"):
            value = row.get(name)
            if trained and name not in row:
                value = row.get("penalty") if name == same else known.get(name)
            columns[name].append(_number(value))
        columns["work"].append(_number(row.get("nfev")) + _number(row.get("nfev_replay")))
        columns["validation"].append(_number(row.get("validation")))
    epochs = np.array([row["epoch"] for row in rows], dtype=np.float64)
    metric = str(rows[-1]["metric"]) if rows else ""
    return Course(unit.variant, finished, metric, epochs, {k: np.array(v) for k, v in columns.items()})


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def picture(courses: Sequence[Course], path: str | Path, title: str, variants: Sequence[str]) -> Path:
    """Draw runs of one task and tolerance into `path` (.png, .svg, .pdf) and return it; ValueError without a row.

    variants: names in the order of their colours, the baseline first.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    courses = [c for c in courses if len(c.epochs)]
    if not courses:
        raise ValueError("no run has a row in its log: there is nothing to draw")
    metric = courses[0].metric
    quality = (f"validation {NAMES.get(metric, metric)}", metric == "mse")
    fig = Figure(figsize=(15.0, 8.4), facecolor="white", dpi=130)
    FigureCanvasAgg(fig)
    panels = fig.subplots(2, 3, sharex=True).ravel()
    for axes, (name, text, log) in zip(panels, (*PANELS, ("validation", *quality)), strict=True):
        for v, variant in enumerate(variants):
            _lines(axes, [c for c in courses if c.variant == variant], name, v, log)
        if name == "validation":
            _look_at_the_end(axes, courses, log)
        _frame(axes, text, log)
    for axes in panels[3:]:
        axes.set_xlabel("epoch", color=INK)
        axes.xaxis.get_major_locator().set_params(integer=True)
    _legend(fig, [(v, name) for v, name in enumerate(variants) if any(c.variant == name for c in courses)])
    several = " (thin lines: seeds, thick ones: their mean)" if len(courses) > len({c.variant for c in courses}) else ""
    fig.suptitle(title + several, x=0.01, ha="left", color=INK, fontsize=12)
    fig.savefig(path)
    return Path(path)


def _lines(axes: Any, runs: Sequence[Course], name: str, v: int, log: bool) -> None:
    """Draw one variant's column, the v-th one's; a run that diverged ends in a cross."""
    table = np.full((len(runs), max((len(c.epochs) for c in runs), default=0)), np.nan)
    for values, c in zip(table, runs, strict=True):
        found = c.columns[name]
        values[: len(found)] = np.where(found > 0, found, np.nan) if log else found
        last = np.flatnonzero(np.isfinite(values))
        if not c.finished and len(last):
            axes.plot(c.epochs[last[-1]], values[last[-1]], "x", color=COLOURS[v % len(COLOURS)], ms=8, mew=2)
    if not np.isfinite(table).any():
        return
    epochs = max((c.epochs for c in runs), key=len)
    look = {"color": COLOURS[v % len(COLOURS)], "ls": DASHES[v // len(COLOURS) % len(DASHES)]}
    if len(runs) > 1:
        for values in table:
            axes.plot(epochs, values, lw=0.7, alpha=0.55, **look)
    # where all seeds have a number; of logarithms on a logarithmic axis
    mean = np.exp(np.log(table).mean(0)) if log else table.mean(0)
    axes.plot(epochs, mean, lw=2.0, marker="o" if len(epochs) <= 30 else "", ms=3.5, **look)


def _look_at_the_end(axes: Any, courses: Sequence[Course], log: bool) -> None:
    """Limits of the metric's axis: all numbers after a quarter of training, of which the beginning has other ones."""
    late = [c.columns["validation"][c.epochs >= 0.25 * max(c.epochs[-1] for c in courses)] for c in courses]
    values = np.concatenate(late)
    if len(values):
        low, high = float(values.min()), float(values.max())
        room = max(0.08 * (high - low), 0.01 * abs(high)) or 0.1
        axes.set_ylim(low / (1 + room / high) if log else low - room, high + room)


def _frame(axes: Any, text: str, log: bool) -> None:
    """Title, scale and numbers of a panel; a panel without a line says so."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_title(text, loc="left", fontsize=11, color=INK)
    bare(axes, "both")
    if not axes.lines:
        axes.text(0.5, 0.5, "not in these logs", ha="center", va="center", transform=axes.transAxes, color=QUIET)
        axes.set_yticks([])
    elif log:
        axes.set_yscale("log")
        low, high = axes.get_ylim()
        wide = high / low > 1000
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0) if high / low > 4 else FINE))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:g}"))


def _legend(fig: Any, named: Sequence[tuple[int, str]]) -> None:
    """The variants' names below the panels, and room for them."""
    from matplotlib.lines import Line2D

    n = len(COLOURS)
    marks = [Line2D([], [], color=COLOURS[v % n], ls=DASHES[v // n % len(DASHES)], lw=2.5) for v, _ in named]
    names = [name for _, name in named]
    columns = min(len(names), 6)
    fig.legend(marks, names, loc="lower center", ncols=columns, frameon=False, labelcolor=INK, fontsize=11)
    fig.tight_layout(rect=(0, 0.015 + 0.03 * -(-len(names) // columns), 1, 0.965), h_pad=1.5)
