"""The picture of a tuner: the running mean of its costs, and how often each arm was played."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...integrators.core.errors import OptionError
from .files import report

if TYPE_CHECKING:
    from .online import Tuner

# Okabe and Ito's colours, told apart with any colour vision
BLUE, ORANGE, INK, QUIET, RULE = "#0072B2", "#D55E00", "#1F2328", "#6B7280", "#E5E7EB"
#: arms that have a bar each; those that were played least are one bar
MOST_BARS = 24


def draw(tuner: Tuner, path: str | os.PathLike[str]) -> Path:
    """Draw into `path` (.png, .svg or .pdf) and return it; OptionError where no round has a cost."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    found = report(tuner)
    if found["mean_cost"] is None:
        raise OptionError("there is nothing to draw: no round of this tuner has a cost yet")
    cost = np.array([one[1] for one in tuner.history])
    known = ~np.isnan(cost)
    rows = sorted(found["arms"], key=lambda row: row["plays"])[-MOST_BARS:]
    fig = Figure(figsize=(11.0, max(3.6, 1.4 + 0.24 * len(rows))), facecolor="white", layout="constrained")
    FigureCanvasAgg(fig)
    left, right = fig.subplots(1, 2)
    rounds = np.arange(1, len(cost) + 1)[known]
    left.plot(rounds, cost[known], ".", color="#9AA1AB", ms=3, zorder=1, label="a solve")
    left.plot(rounds, np.cumsum(cost[known]) / np.arange(1, known.sum() + 1), color=BLUE, lw=2.0, label="mean so far")
    left.set(xlabel="solve", ylabel="cost")
    left.legend(fontsize=8.5, frameon=False)
    left.set_title("cost of a solve", loc="left", fontsize=11, color=INK)
    best = None if found["best"] is None else found["arms"][found["best"]]["arm"]
    names = [row["arm"] for row in rows]
    right.barh(names, [row["plays"] for row in rows], color=[ORANGE if name == best else BLUE for name in names])
    right.set_xlabel("plays")
    left_out = len(found["arms"]) - len(rows)
    tail = f"; {left_out} arms that were played least are left out" if left_out else ""
    right.set_title(f"plays of the arms (orange: cheapest so far{tail})", loc="left", fontsize=11, color=INK)
    for ax in (left, right):
        ax.grid(color=RULE, lw=0.7)
        ax.set_axisbelow(True)
        ax.tick_params(labelsize=8.5, colors=QUIET)
        for side in ("top", "right"):
            ax.spines[side].set_visible(False)
    path = Path(path)
    fig.savefig(path, dpi=130, facecolor="white")
    return path
