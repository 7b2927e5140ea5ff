"""The table of a comparison as a picture: a row of panels a task, a group of marks a tolerance, a colour a variant."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..evaluate.picture_style import INK, QUIET, RULE

#: of variants in order, the baseline first: grey, then colours that differ in lightness too
COLOURS = ("#8a8f98", "#0b6e99", "#d9822b", "#5b8c2a", "#a23b72", "#2f3e8f", "#c9a227", "#7a4b2a", "#3aa6a0", "#c44536")
#: of the first ten variants, and of those whose colour is there a second time
HATCHES, MARKS = ("", "////"), ("o", "D")


def picture(table: Sequence[dict[str, Any]], path: str | Path, baseline: str) -> Path:
    """Draw `effects_table.summary` into `path` (.png, .svg, .pdf) and return it; ValueError without a finished run."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    rows = [row for row in table if row["seeds"]]
    if not rows:
        raise ValueError("no run has ended yet: there is nothing to draw")
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    tolerances = sorted({row["tolerance"] for row in rows}, reverse=True)
    variants = sorted(dict.fromkeys(row["variant"] for row in rows), key=lambda name: name != baseline)
    fig = Figure(figsize=(16, 1.0 + 3.1 * len(tasks)), facecolor="white", dpi=130)
    FigureCanvasAgg(fig)
    panels = fig.subplots(len(tasks), 4, squeeze=False)
    for line, task in zip(panels, tasks, strict=True):
        mine = [row for row in rows if row["task"] == task]
        _marks(line, mine, variants, tolerances, baseline)
        _frame(line, task, baseline, _unit(mine), tolerances)
    for axes in panels[-1]:
        axes.set_xlabel("tolerance", color=INK)
    n = len(COLOURS)
    marks = [
        Patch(facecolor=COLOURS[v % n], hatch=HATCHES[v // n % 2], edgecolor="white") for v in range(len(variants))
    ]
    fig.legend(
        marks, variants, loc="lower center", ncols=min(len(variants), 5), frameon=False, labelcolor=INK, fontsize=9
    )
    fig.tight_layout(rect=(0, 0.05 + 0.035 * ((len(variants) - 1) // 5), 1, 1))
    fig.savefig(path)
    return Path(path)


def _marks(
    line: Any, rows: Sequence[dict[str, Any]], variants: Sequence[str], tolerances: Sequence[float], baseline: str
) -> None:
    """Draw the rows of one task into its four panels."""
    wide = 0.8 / len(variants)
    for v, name in enumerate(variants):
        colour, again = COLOURS[v % len(COLOURS)], v // len(COLOURS) % 2
        for row in (r for r in rows if r["variant"] == name):
            x = tolerances.index(row["tolerance"]) + (v - (len(variants) - 1) / 2) * wide
            line[0].bar(x, row["nfe"], 0.9 * wide, color=colour, hatch=HATCHES[again], edgecolor="white")
            if row["difference"] is not None:
                middle, low, high = (100 * row[k] for k in ("difference", "low", "high"))
                line[1].errorbar(
                    x, middle, [[middle - low], [high - middle]], fmt=MARKS[again], ms=4, lw=1.4, color=colour
                )
            for axes, key in ((line[2], "training_nfe_ratio"), (line[3], "training_cpu_ratio")):
                if row[key] is not None and name != baseline:
                    axes.plot(x, row[key], MARKS[again], ms=5, color=colour)


def _unit(rows: Sequence[dict[str, Any]]) -> str:
    """What the differences of one task are measured in."""
    compared = [row for row in rows if row["difference"] is not None]
    return "points" if not compared or compared[-1]["metric"] == "accuracy" else "per cent"


def _frame(line: Any, task: str, baseline: str, unit: str, tolerances: Sequence[float]) -> None:
    """Titles, axes and lines of reference of one task's panels."""
    worse = "below 0 is worse" if unit == "points" else "above 0 is worse"
    titles = (
        f"{task}: f-evaluations of a test solve",
        f"quality less {baseline}'s, {unit} ({worse})",
        f"f-evaluations of training over {baseline}'s",
        f"CPU time of training over {baseline}'s",
    )
    line[1].axhline(0, color=QUIET, lw=1)
    for axes in line[2:]:
        axes.axhline(1, color=QUIET, lw=1)
        axes.set_ylim(0, max(1.2, axes.get_ylim()[1]))
    for axes, title in zip(line, titles, strict=True):
        axes.set_title(title, loc="left", fontsize=10, color=INK)
        axes.set_xticks(np.arange(len(tolerances)), [f"{t:g}" for t in tolerances])
        axes.set_xlim(-0.6, len(tolerances) - 0.4)
        axes.grid(color=RULE, lw=0.8, axis="y")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(QUIET)
        axes.tick_params(colors=QUIET)
