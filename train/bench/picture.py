"""The picture of a leaderboard: learning curves by protocol, the interquartile means, and the performance profiles.

All of it is drawn from the records: a record holds its run's validations.  Colours are Okabe and Ito's.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .aggregate import profile
from .records import Table
from .tables import by_iqm

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D1F", "#6B7280")
LAW, INK, QUIET, RULE = "#1A1A1A", "#1F2328", "#6B7280", "#E5E7EB"
#: rows whose name alone says too little
NAMES = {"zero": "zero (the law unchanged)"}
#: ratios beyond this are drawn at it: the rest would be a thin line otherwise
LARGEST = 2.0


def draw(table: Table, path: str | Path) -> Path:
    """Draw the leaderboard into `path` (.png, .svg, .pdf) and return the path."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    count = len(table.protocols)
    width = max(2 * count, 4)
    fig = Figure(figsize=(max(4.6 * count, 11.5), 8.2), facecolor="white", layout="constrained")
    FigureCanvasAgg(fig)
    grid = fig.add_gridspec(2, width)
    colours = _colours(table)
    for k, protocol in enumerate(table.protocols):
        share = width // count
        _learning(fig.add_subplot(grid[0, k * share : (k + 1) * share]), table, protocol, colours, k == 0)
    _intervals(fig.add_subplot(grid[1, : width // 2]), table, colours)
    _profiles(fig.add_subplot(grid[1, width // 2 :]), table, colours)
    fig.suptitle(
        f"How much work a trained step-size controller needs for the same error, against the best classical law "
        f"({len(table.seeds)} training seeds)", fontsize=12.5, color=INK,
    )  # fmt: skip
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(path, dpi=130, facecolor="white")
    return path


def _colours(table: Table) -> dict[str, str]:
    """A colour a row, the same in every panel; the law's is black."""
    others = [row for row in table.rows if row != "zero"]
    return {"zero": LAW, **{row: COLOURS[i % len(COLOURS)] for i, row in enumerate(others)}}


def _learning(ax: Axes, table: Table, protocol: str, colours: dict[str, str], first: bool) -> None:
    """Validation ratio over env steps: the mean over the seeds, and their range."""
    for row in table.rows:
        curves = [table.records[protocol, row, s].get("training", {}).get("curve", []) for s in table.seeds]
        if not all(curves):
            continue
        x, y = _together(curves)
        ax.fill_between(x, y.min(axis=0), y.max(axis=0), color=colours[row], alpha=0.13, lw=0)
        ax.plot(x, y.mean(axis=0), color=colours[row], lw=1.8, label=row)
    ax.axhline(1.0, color=LAW, lw=1.0)
    ax.set_yscale("log")
    _ratio_ticks(ax.yaxis, *ax.get_ylim())
    asked = max(table.records[key].get("training", {}).get("asked", 0) for key in table.records if key[0] == protocol)
    if asked:  # a generation of the evolution strategy may end a little beyond
        ax.set_xlim(0, 1.03 * asked)
    ax.set_title(protocol, loc="left", fontsize=11, color=INK)
    ax.set_xlabel("env steps", color=QUIET)
    if first:
        ax.set_ylabel("work ratio on validation instances", color=QUIET)
        if ax.get_legend_handles_labels()[0]:
            ax.legend(fontsize=8.5, frameon=False, ncols=2)
    _quiet(ax)


def _together(curves: list[list[list[Any]]]) -> tuple[np.ndarray, np.ndarray]:
    """Curves of [env steps, ratio] on the steps that all of them cover: x (K,), y (seeds, K); null is `LARGEST`."""
    low, high = max(c[0][0] for c in curves), min(c[-1][0] for c in curves)
    x = np.linspace(low, max(high, low + 1), 64)
    y = [
        np.interp(x, [p[0] for p in c], [LARGEST if p[1] is None else min(float(p[1]), LARGEST) for p in c])
        for c in curves
    ]
    return x, np.array(y)


def _intervals(ax: Axes, table: Table, colours: dict[str, str]) -> None:
    """The interquartile means with their intervals, the cheapest on top."""
    ordered = by_iqm(table)
    for i, (row, found) in enumerate(ordered):
        e = found["iqm"]
        value, low, high = (min(v, LARGEST) if np.isfinite(v) else LARGEST for v in (e.value, e.low, e.high))
        if len(table.seeds) > 1:
            ax.plot([low, high], [-i, -i], color=colours[row], lw=5, alpha=0.45, solid_capstyle="butt")
        ax.plot([value], [-i], "|", color=colours[row], ms=15, mew=2.4)
    ax.set_yticks(-np.arange(len(ordered)), [row for row, _ in ordered])
    ax.set_ylim(-len(ordered) + 0.4, 0.6)
    ax.axvline(1.0, color=LAW, lw=1.0)
    ax.set_xscale("log")
    _ratio_ticks(ax.xaxis, *ax.get_xlim())
    told = ", 95 % interval" if len(table.seeds) > 1 else ""
    ax.set_title(f"interquartile mean of all runs{told}", loc="left", fontsize=11, color=INK)
    ax.set_xlabel(f"work ratio on test instances (left of 1: cheaper; {LARGEST:g}: or more)", color=QUIET)
    _quiet(ax)


def _profiles(ax: Axes, table: Table, colours: dict[str, str]) -> None:
    """The share of runs whose ratio is at most x."""
    every = np.concatenate([table.ratios(row).ravel() for row in table.rows])
    low = min(0.95, float(every.min()) * 0.98)
    high = min(LARGEST, max(1.1, float(every[np.isfinite(every)].max()) * 1.02))
    x = np.geomspace(low, high, 200)
    for row, _ in by_iqm(table):
        value, below, above = profile(table.ratios(row), x, resamples=400)
        ax.fill_between(x, below, above, color=colours[row], alpha=0.1, lw=0, step="post")
        ax.step(x, value, where="post", color=colours[row], lw=1.8, label=NAMES.get(row, row))
    ax.axvline(1.0, color=LAW, lw=1.0)
    ax.set_xscale("log")
    _ratio_ticks(ax.xaxis, low, high)
    ax.set_xlim(low, high)
    ax.set_ylim(-0.02, 1.02)
    ax.set_title("share of runs at or below a work ratio", loc="left", fontsize=11, color=INK)
    ax.set_xlabel("work ratio on test instances", color=QUIET)
    ax.legend(fontsize=8.5, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    _quiet(ax)


def _ratio_ticks(axis: Any, low: float, high: float) -> None:
    """Plain numbers on a logarithmic axis, as many as have room; 1 is always among them."""
    every = (1.0, 0.5, 2.0, 0.8, 0.9, 0.7, 0.6, 1.2, 1.5, 0.95, 1.1, 1.05, 0.85, 0.75, 1.3, 1.02, 0.98, 0.2, 0.1)
    room = 0.07 * np.log(high / low)
    ticks: list[float] = []
    for t in every:
        if low <= t <= high and all(abs(np.log(t / other)) > room for other in ticks):
            ticks.append(t)
    axis.set_ticks(ticks, labels=[f"{t:g}" for t in ticks])
    axis.set_ticks([], minor=True)


def _quiet(ax: Axes) -> None:
    ax.grid(color=RULE, lw=0.8)
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
