"""The left half of a comparison's picture: work against error, with a name at the end of every line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .curves import Array
from .headline import Comparison
from .metric import Row, Runs
from .picture_style import INK, LEARNED, OTHER, QUIET, bare, label, style
from .report import by_ratio, measured_in

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: how far beyond the error levels that are compared the lines are drawn, as a factor of the error
BEYOND = 2.0
#: pixels between the end of a line's range and its name, and around names
ROOM = 14.0


@dataclass(frozen=True)
class _End:
    """The accurate end of a line, and the name that stands there."""

    error: float
    work: float
    name: str
    colour: str
    bold: bool


def family_curve(r: Runs, measure: str) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Geometric means of error and work over finished runs, and whether all finished: (T,) by error."""
    done = np.isfinite(r.err)
    some = done.any(axis=0)
    count = np.maximum(done.sum(axis=0), 1)
    err = np.where(done, np.maximum(r.err, 1e-16), 1.0)
    e = np.exp(np.log(err).sum(axis=0) / count)
    w = np.exp(np.where(done, np.log(r.work[measure]), 0.0).sum(axis=0) / count)
    order = np.argsort(e[some])
    return e[some][order], w[some][order], np.asarray(done.all(axis=0))[some][order]


def draw_curves(ax: Axes, c: Comparison, shown: Sequence[Row], measure: str) -> None:
    """Work against error, one point a tolerance; a hollow point says that some runs did not finish.

    A bound that stands on other instances than the curves is left out: it would lie where no curve could.
    """
    by_name = {r.name: r for r in c.runs}
    names = {r.name for r in shown}
    rest = [r for r in by_ratio(c, measure) if r.name not in names]
    low, high = c.levels.min() / BEYOND, c.levels.max() * BEYOND
    ends: list[_End] = []
    plain = 0
    for row in (*rest, *shown):
        if row.kind == "oracle" and len(by_name[row.name].ids) != c.instances:
            continue
        e, w, whole = family_curve(by_name[row.name], measure)
        look = style(row, c, measure)
        end = _line(ax, e, w, whole, (low, high), look)
        if end is None:
            continue
        if look[3] > 2:
            ends.append(_End(*end, label(row, c), look[0], look[3] > 4))
        else:
            plain += 1
    ax.set(xscale="log", yscale="log", xlim=(high, low))
    lo, hi = c.levels.min(), c.levels.max()
    ax.axvspan(lo, hi, color=LEARNED, alpha=0.055, lw=0, zorder=0)
    ax.text(
        math.sqrt(lo * hi), 0.015, "accuracies compared", transform=ax.get_xaxis_transform(), ha="center",
        va="bottom", fontsize=8.5, color=LEARNED, alpha=0.75,
    )  # fmt: skip
    if measure == "work" and measured_in(c) == "f-evaluations":
        measure = "nfev"
    unit = {"nfev": "evaluations of the equations", "work": "weighted work"}.get(measure, "seconds")
    ax.set_xlabel("error  (geometric mean; more accurate to the right)", color=QUIET, fontsize=10)
    ax.set_title(f"What a problem costs: {unit}", loc="left", fontsize=11.5, color=INK, pad=9)
    bare(ax, "both")
    if plain:
        ax.plot([], [], color=OTHER, lw=2.5, label=f"{plain} other published laws")
        ax.legend(loc="upper left", frameon=False, fontsize=9, labelcolor=QUIET, handlelength=1.2)
    _names(ax, ends, low, high)
    # below the names there is no error to be read off
    decades = range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
    ticks = [10.0**k for k in decades]
    if len(ticks) > 1:
        ax.set_xticks(ticks)
    else:
        ax.set_xticks([high, low], [f"{t:.0e}" for t in (high, low)])
    ax.set_xticks([], minor=True)


def _line(
    ax: Axes, e: Array, w: Array, whole: NDArray[np.bool_], reach: tuple[float, float], look: Any
) -> tuple[float, float] | None:
    """Draw one curve within `reach`; its accurate end, None where nothing of it lies there."""
    colour, width, dash, order = look
    inside = (e >= reach[0]) & (e <= reach[1])
    if not inside.any():
        return None
    # lines that go on are cut at one error, so that their ends lie one above the other in the order of the lines
    cut = [x for x in reach if e[0] < x < e[-1]]
    x = np.sort(np.concatenate([e[inside], cut]))
    y = np.exp(np.interp(np.log(x), np.log(e), np.log(w)))
    ax.plot(x, y, dash, color=colour, lw=width, zorder=order, solid_capstyle="round", solid_joinstyle="round")
    size = 24 if order > 4 else 12 if order > 2 else 5
    full, hollow = inside & whole, inside & ~whole
    ax.scatter(e[full], w[full], s=size, color=colour, zorder=order + 0.1, lw=0)
    ax.scatter(e[hollow], w[hollow], s=size, facecolor="white", edgecolor=colour, lw=1, zorder=order + 0.2)
    return float(x[0]), float(y[0])


def _names(ax: Axes, ends: Sequence[_End], low: float, high: float) -> None:
    """The names, in a column inside the axes right of the lines, each beside its line's end."""
    if not ends:
        return
    ends = sorted(ends, key=lambda end: (end.work, end.name))
    texts = [
        ax.text(0.0, 0.0, end.name, transform=ax.transAxes, va="center", ha="left", fontsize=9.5, color=end.colour,
                fontweight="bold" if end.bold else "normal", zorder=9)
        for end in ends
    ]  # fmt: skip
    boxes = [text.get_window_extent() for text in texts]
    wide, tall = max(box.width for box in boxes) + 2.0 * ROOM, max(box.height for box in boxes)
    area = ax.get_window_extent()
    # the lines get what the names leave of the width
    share = wide / (area.width - wide)
    ax.set_xlim(high, low * (low / high) ** share)
    column = 1.0 - (wide - ROOM) / area.width
    y0, y1 = ax.get_ylim()
    wanted = [math.log(end.work / y0) / math.log(y1 / y0) for end in ends]
    margin = 0.75 * tall / area.height
    places = apart(wanted, 1.12 * tall / area.height, margin, 1.0 - margin)
    for text, end, place in zip(texts, ends, places, strict=True):
        text.set_position((column, place))
        ax.annotate(
            "", xy=(end.error, end.work), xytext=(column - 2.0 / area.width, place), textcoords="axes fraction",
            zorder=8, arrowprops={"arrowstyle": "-", "color": end.colour, "lw": 0.7, "alpha": 0.5, "shrinkA": 0,
                                  "shrinkB": 2},
        )  # fmt: skip


def apart(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places as near to the wanted ones (ascending) as it goes, at least `gap` apart and within [low, high].

    Where they do not fit there they are as far apart as they can be.
    """
    n = len(wanted)
    gap = min(gap, (high - low) / max(n - 1, 1))
    groups: list[list[float]] = []  # places less their distance from the first, in groups that share a mean
    for i, p in enumerate(wanted):
        groups.append([p - i * gap])
        while len(groups) > 1 and np.mean(groups[-2]) >= np.mean(groups[-1]):
            groups[-2:] = [groups[-2] + groups[-1]]
    free = [float(np.mean(group)) for group in groups for _ in group]
    return [min(max(p, low), high - (n - 1) * gap) + i * gap for i, p in enumerate(free)]
