"""The work-precision picture of a comparison.

Left: work against error, one point a tolerance (geometric means over the runs that finished; a hollow point
says that some did not).  Right: the ratio on every instance, at equal error, with its mean and interval.
Colours are Okabe and Ito's, told apart with any colour vision; lines carry their names.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .curves import Array
from .headline import Comparison
from .metric import Row, Runs
from .report import NAMES, by_ratio, headline_sentence, interval_text, measured_in

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

LEARNED, DENOMINATOR, TUNED, HOST, ORACLE, CONSTANT, OTHER = (
    "#0072B2", "#1A1A1A", "#D55E00", "#CC79A7", "#009E73", "#8C6D1F", "#B4BAC2",
)  # fmt: skip
INK, QUIET, RULE = "#1F2328", "#6B7280", "#E5E7EB"
MAX_SHOWN = 12
MADE_BY = ("stepsmith", "numpy", "numba", "cpu")


def picture(comparison: Comparison, path: str | Path, measure: str = "work") -> Path:
    """Draw the comparison into `path` (its suffix names the format: .png, .svg, .pdf) and return it.

    `measure`: "nfev", "work", "wall" or "single".  Controllers without it are left out; ValueError if none has it.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    c = comparison
    shown = _shown(c, measure)
    fig = Canvas(figsize=(13.0, max(5.6, 2.2 + 0.5 * len(shown))), facecolor="white", dpi=140)
    FigureCanvasAgg(fig)
    inch = 1 / fig.get_figheight()
    grid = fig.add_gridspec(
        1,
        2,
        width_ratios=(1.2, 1),
        left=0.055,
        right=0.985,
        top=1 - 1.2 * inch,
        bottom=0.85 * inch,
        wspace=0.1,
    )
    _curves(fig.add_subplot(grid[0]), c, shown, measure)
    _distributions(fig.add_subplot(grid[1]), c, shown, measure)
    _heading(fig, c, inch)
    path = Path(path)
    fig.savefig(path, facecolor="white")
    return path


def _heading(fig: Canvas, c: Comparison, inch: float) -> None:
    title = fig.text(
        0.018, 1 - 0.36 * inch, headline_sentence(c), fontsize=15, fontweight="bold", color=INK, va="center"
    )
    width = title.get_window_extent().width / fig.bbox.width
    title.set_fontsize(15 * min(1.0, 0.965 / width))
    about = f"{c.family} · {c.method} · error: {c.error} · {c.instances} test instances, seed {c.seed}"
    fig.text(0.018, 1 - 0.68 * inch, about, fontsize=10.5, color=QUIET, va="center")
    made = [f"{k} {v}".removeprefix("cpu ") for k, v in c.versions.items() if k in MADE_BY]
    made.append(f"commit {c.commit[:12] if c.commit else 'unknown'}")
    fig.text(0.018, 0.17 * inch, "  ·  ".join(made), fontsize=7.5, color=QUIET, va="center")


def _shown(c: Comparison, measure: str) -> list[Row]:
    """The rows that are drawn by name, best first; where there are many, the plain classical laws give way."""
    rows = by_ratio(c, measure)
    if not rows:
        raise ValueError(f"no controller was measured in {measure!r}")
    plain = [r.name for r in rows if r.kind == "classical" and r.name != c.against]
    dropped = set(plain[max(0, MAX_SHOWN - (len(rows) - len(plain))) :])
    return [r for r in rows if r.name not in dropped]


def _label(row: Row, c: Comparison) -> str:
    """The name of a row, and on how many instances it stands where the controller was not run on all."""
    w = row.work["work"]
    n = c.instances if w is None else len(w.log_ratio)
    return row.name if n == c.instances else f"{row.name} ({n} of {c.instances})"


def _style(row: Row, c: Comparison) -> tuple[str, float, str, int]:
    """How a row is drawn: (colour, line width, dash, drawing order)."""
    if row.kind == "learned":
        return LEARNED, 2.8, "-", 6
    if row.name == c.against:
        return DENOMINATOR, 2.2, "-", 5
    look = {"tuned": (TUNED, "-"), "host": (HOST, "-"), "oracle": (ORACLE, "--"), "constant": (CONSTANT, ":")}
    colour, dash = look.get(row.kind, (OTHER, "-"))
    return colour, 1.7 if row.kind in look else 1.0, dash, 4 if row.kind in look else 2


def _family_curve(r: Runs, measure: str) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Geometric means of error and work over finished runs, and whether all finished: (T,) by error."""
    done = np.isfinite(r.err)
    some = done.any(axis=0)
    count = np.maximum(done.sum(axis=0), 1)
    err = np.where(done, np.maximum(r.err, 1e-16), 1.0)
    e = np.exp(np.log(err).sum(axis=0) / count)
    w = np.exp(np.where(done, np.log(r.work[measure]), 0.0).sum(axis=0) / count)
    order = np.argsort(e[some])
    return e[some][order], w[some][order], np.asarray(done.all(axis=0))[some][order]


def _curves(ax: Axes, c: Comparison, shown: Sequence[Row], measure: str) -> None:
    by_name = {r.name: r for r in c.runs}
    names = {r.name for r in shown}
    rest = [r for r in by_ratio(c, measure) if r.name not in names]
    lo, hi = c.levels.min(), c.levels.max()
    ends: list[tuple[float, float, str, str, bool]] = []
    plain = 0
    for row in (*rest, *shown):
        e, w, whole = _family_curve(by_name[row.name], measure)
        near = (e > lo / 30) & (e < hi * 30)
        e, w, whole = e[near], w[near], whole[near]
        if e.size == 0:
            continue
        colour, width, dash, order = _style(row, c)
        ax.plot(
            e, w, dash, color=colour, lw=width, zorder=order, solid_capstyle="round", solid_joinstyle="round"
        )
        size = 24 if order > 4 else 12 if order > 2 else 5
        ax.scatter(e[whole], w[whole], s=size, color=colour, zorder=order + 0.1, lw=0)
        ax.scatter(
            e[~whole], w[~whole], s=size, facecolor="white", edgecolor=colour, lw=1, zorder=order + 0.2
        )
        if order > 2:
            ends.append((float(e[0]), float(w[0]), _label(row, c), colour, order > 4))
        else:
            plain += 1
    ax.set(xscale="log", yscale="log")
    ax.invert_xaxis()
    ax.axvspan(lo, hi, color="#0072B2", alpha=0.055, lw=0, zorder=0)
    ax.text(
        lo * 1.15, 0.015, "error levels compared", transform=ax.get_xaxis_transform(), ha="right",
        va="bottom", fontsize=8.5, color=LEARNED, alpha=0.75,
    )  # fmt: skip
    if measure == "work" and measured_in(c) == "f-evaluations":
        measure = "nfev"
    unit = {"nfev": "right-hand-side evaluations", "work": "weighted work"}.get(measure, "seconds")
    ax.set_xlabel("error  (geometric mean; more accurate to the right)", color=QUIET, fontsize=10)
    ax.set_title(f"Work: {unit} an instance", loc="left", fontsize=11.5, color=INK, pad=9)
    _bare(ax, "both")
    if plain:
        ax.plot([], [], color=OTHER, lw=2.5, label=f"{plain} other published laws")
        ax.legend(loc="upper left", frameon=False, fontsize=9, labelcolor=QUIET, handlelength=1.2)
    _end_labels(ax, ends)


def _end_labels(ax: Axes, ends: list[tuple[float, float, str, str, bool]]) -> None:
    """Names at the accurate ends of the lines, in a column right of them, pushed apart until none overlap."""
    if not ends:
        return
    x0, x1 = (math.log10(v) for v in ax.get_xlim())
    ax.set_xlim(10**x0, 10 ** (x1 - 0.2 * (x0 - x1)))  # room for the names
    y0, y1 = ax.get_ylim()
    height = math.log(y1 / y0)
    ends = sorted(ends, key=lambda v: v[1])
    pos = [math.log(v[1] / y0) / height for v in ends]
    gap = 0.036
    for _ in range(200):
        for i in range(len(pos) - 1):
            if (short := gap - (pos[i + 1] - pos[i])) > 1e-6:
                pos[i] -= short / 2
                pos[i + 1] += short / 2
        shift = max(0.0, 0.02 - pos[0]) - max(0.0, pos[-1] - 0.97)
        pos = [p + shift for p in pos]
    left, right = (math.log10(v) for v in ax.get_xlim())
    column = max((left - math.log10(v[0])) / (left - right) for v in ends) + 0.035
    for (x, y, name, colour, bold), p in zip(ends, pos, strict=True):
        ax.annotate(
            name, xy=(x, y), xytext=(column, p), textcoords="axes fraction", va="center", ha="left",
            fontsize=9.5, color=colour, fontweight="bold" if bold else "normal", zorder=9,
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.7, "alpha": 0.5, "shrinkB": 3},
        )  # fmt: skip


def _distributions(ax: Axes, c: Comparison, shown: Sequence[Row], measure: str) -> None:
    logs = [w.known for r in shown if (w := r.work[measure]) is not None]
    quantile = float(np.quantile(np.abs(np.concatenate(logs)), 0.985))
    reach = min(max(1.25 * quantile, math.log(1.25)), math.log(6))
    ax.set(xscale="log", xlim=(math.exp(-reach), math.exp(reach)), ylim=(len(shown) - 0.45, -0.55))
    ax.axvspan(math.exp(-reach), 1, color=LEARNED, alpha=0.055, lw=0, zorder=0)
    ax.axvline(1, color=INK, lw=1, zorder=1)
    for k, row in enumerate(shown):
        if (w := row.work[measure]) is None:
            continue
        colour = _style(row, c)[0]
        colour = "#7A828E" if colour == OTHER else colour
        weight = "bold" if row.kind == "learned" or row.name == c.against else "normal"
        said = "denominator"
        if row.name != c.against:
            said = interval_text(w.figure)
            x = np.clip(w.known, -0.995 * reach, 0.995 * reach)
            ax.scatter(
                np.exp(x), k + 0.12 + 0.26 * _swarm(x, reach), s=8, color=colour, alpha=0.32, lw=0, zorder=2
            )
            if not math.isnan(w.figure.low):
                ax.plot(
                    [w.figure.low, w.figure.high], [k + 0.12] * 2, color="white", lw=7, alpha=0.8, zorder=3
                )
                ax.plot([w.figure.low, w.figure.high], [k + 0.12] * 2, color=colour, lw=4, zorder=4)
            ax.plot([w.figure.ratio] * 2, [k - 0.1, k + 0.34], color="white", lw=4.5, zorder=5)
            ax.plot([w.figure.ratio] * 2, [k - 0.1, k + 0.34], color=colour, lw=2.4, zorder=6)
        for text, x_text, side in ((_label(row, c), 0.015, "left"), (said, 0.985, "right")):
            ax.text(
                x_text, k - 0.29, text, transform=ax.get_yaxis_transform(), ha=side, va="center",
                fontsize=9.5, color=colour, fontweight=weight, zorder=7,
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.6},
            )  # fmt: skip
        if k:
            ax.axhline(k - 0.5, color=RULE, lw=0.8, zorder=1)
    ticks = [
        t
        for t in (0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.5, 2, 3, 5)
        if abs(math.log(t)) < 0.97 * reach
    ]
    if reach > math.log(1.6):
        ticks = [t for t in ticks if t not in (0.8, 0.9, 1.1, 1.2)]
    ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
    ax.set_yticks([])
    ax.minorticks_off()
    ax.set_xlabel(
        f"← cheaper     {NAMES[measure]}, ratio to {c.against}     dearer →", color=QUIET, fontsize=10
    )
    title = "Each dot one instance; tick: mean, bar: 95 % interval"
    ax.set_title(title, loc="left", fontsize=11.5, color=INK, pad=9)
    _bare(ax, "x")
    ax.spines["left"].set_visible(False)


def _swarm(x: Array, reach: float) -> Array:
    """Vertical places in [-1, 1] that fan equal values out, without chance."""
    cell = np.floor((x + reach) / (2 * reach) * 110).astype(int)
    place = np.zeros(len(x))
    for b in np.unique(cell):
        at = np.flatnonzero(cell == b)
        ranks = np.arange(len(at))
        place[at] = np.where(ranks % 2 == 1, 1, -1) * ((ranks + 1) // 2)
    return place / max(4.0, float(np.abs(place).max(initial=0)))


def _bare(ax: Axes, grid: str) -> None:
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color("#9AA1AB")
    ax.tick_params(which="both", colors=QUIET, labelsize=9)
    ax.grid(axis=grid, color=RULE, lw=0.7, zorder=0)  # type: ignore[arg-type]
    ax.set_axisbelow(True)
