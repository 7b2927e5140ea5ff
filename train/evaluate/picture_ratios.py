"""The right half of a comparison's picture: the ratio on every instance, its mean and its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from .curves import Array
from .headline import Comparison
from .metric import NO_GAIN, Row
from .picture_style import INK, LEARNED, OTHER, QUIET, RULE, bare, fit, label, style
from .report import NAMES, interval_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def lines(shown: Sequence[Row]) -> list[Row]:
    """The rows as they are drawn: below a bound the headline's controller on the bound's instances."""
    out = []
    for row in shown:
        out.append(row)
        if row.here is not None:
            out.append(replace(row.here, name=f"{row.here.name}, on the instances of {row.name}"))
    return out


def draw_ratios(ax: Axes, c: Comparison, shown: Sequence[Row], measure: str) -> None:
    """One line a row: every instance a dot, the mean a tick, its 95 % interval a bar."""
    logs = [w.known for r in shown if (w := r.work[measure]) is not None]
    quantile = float(np.quantile(np.abs(np.concatenate(logs)), 0.985))
    reach = min(max(1.25 * quantile, math.log(1.25)), math.log(6))
    ax.set(xscale="log", xlim=(math.exp(-reach), math.exp(reach)), ylim=(len(shown) - 0.45, -0.55))
    ax.axvspan(math.exp(-reach), 1, color=LEARNED, alpha=0.055, lw=0, zorder=0)
    ax.axvline(1, color=INK, lw=1, zorder=1)
    for k, row in enumerate(shown):
        _row(ax, c, row, k, measure, reach)
        if k:
            ax.axhline(k - 0.5, color=RULE, lw=0.8, zorder=1)
    ticks = [t for t in (0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.5, 2, 3, 5) if abs(math.log(t)) < 0.97 * reach]
    if reach > math.log(1.6):
        ticks = [t for t in ticks if t not in (0.8, 0.9, 1.1, 1.2)]
    ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
    ax.set_yticks([])
    ax.minorticks_off()
    about = f"← cheaper     {NAMES[measure]}, ratio to {c.base(measure)}     dearer →"
    fit(ax.set_xlabel(about, color=QUIET, fontsize=10), ax.get_window_extent().width)
    title = "Dot: a problem; bar: 95 % interval of the mean; a bar that holds 1: a tie"
    fit(ax.set_title(title, loc="left", fontsize=11.5, color=INK, pad=9), ax.get_window_extent().width)
    bare(ax, "x")
    ax.spines["left"].set_visible(False)


def _row(ax: Axes, c: Comparison, row: Row, k: int, measure: str, reach: float) -> None:
    """Line k of the picture."""
    if (w := row.work[measure]) is None:
        return
    colour = style(row, c, measure)[0]
    colour = "#7A828E" if colour == OTHER else colour
    weight = "bold" if row.kind == "learned" or row.name == c.base(measure) else "normal"
    said = "what the others are measured against"
    if row.name != c.base(measure):
        f = w.figure
        tie = f.verdict == NO_GAIN and not math.isnan(f.low)
        said = interval_text(f) + (", a tie" if tie else "")
        x = np.clip(w.known, -0.995 * reach, 0.995 * reach)
        ax.scatter(np.exp(x), k + 0.12 + 0.26 * _swarm(x, reach), s=8, color=colour, alpha=0.32, lw=0, zorder=2)
        if not math.isnan(f.low):
            ax.plot([f.low, f.high], [k + 0.12] * 2, color="white", lw=7, alpha=0.8, zorder=3)
            ax.plot([f.low, f.high], [k + 0.12] * 2, color=colour, lw=4, zorder=4)
        ax.plot([f.ratio] * 2, [k - 0.1, k + 0.34], color="white", lw=4.5, zorder=5)
        ax.plot([f.ratio] * 2, [k - 0.1, k + 0.34], color=colour, lw=2.4, zorder=6)
    texts = [
        ax.text(
            x_text, k - 0.29, text, transform=ax.get_yaxis_transform(), ha=side, va="center",
            fontsize=9.5, color=colour, fontweight=weight, zorder=7,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.6},
        )
        for text, x_text, side in ((label(row, c), 0.015, "left"), (said, 0.985, "right"))
    ]  # fmt: skip
    room, wide = 0.93 * ax.get_window_extent().width, [t.get_window_extent().width for t in texts]
    for text, width in zip(texts, wide, strict=True):
        fit(text, width * min(1.0, room / sum(wide)))


def _swarm(x: Array, reach: float) -> Array:
    """Vertical places in [-1, 1] that fan equal values out, without chance."""
    cell = np.floor((x + reach) / (2 * reach) * 110).astype(int)
    place = np.zeros(len(x))
    for b in np.unique(cell):
        at = np.flatnonzero(cell == b)
        ranks = np.arange(len(at))
        place[at] = np.where(ranks % 2 == 1, 1, -1) * ((ranks + 1) // 2)
    return place / max(4.0, float(np.abs(place).max(initial=0)))
