"""A run as a picture: f-evaluations and quality over training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..evaluate.picture_style import DENOMINATOR, INK, LEARNED, QUIET, RULE, TUNED

NAMES = {"accuracy": "accuracy", "mse": "mean squared error"}


def picture(rows: Sequence[dict[str, Any]], path: str | Path, title: str, higher_is_better: bool) -> Path:
    """Draw a run's log into `path` (.png, .svg, .pdf) and return it; ValueError without rows."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator

    if not rows:
        raise ValueError("there is no evaluation to draw")
    fig = Figure(figsize=(8.0, 6.4), facecolor="white", dpi=140)
    FigureCanvasAgg(fig)
    above, below = fig.subplots(2, 1, sharex=True)
    epochs = [r["epoch"] for r in rows]
    trained = [r for r in rows if r["nfev"] is not None]
    at = [r["epoch"] for r in trained]
    above.plot(epochs, [r["test_nfev"] for r in rows], color=LEARNED, lw=2, label="test solve")
    above.plot(at, [r["nfev"] for r in trained], color=TUNED, lw=1.2, label="training solve, adaptive pass")
    if any(r["nfev_replay"] for r in trained):
        above.plot(
            at,
            [r["nfev_replay"] for r in trained],
            color=TUNED,
            lw=1.2,
            ls=":",
            label="training solve, replay or adjoint",
        )
    above.set_ylabel("f-evaluations", color=INK)
    above.set_ylim(bottom=0)
    metric = str(rows[-1]["metric"])
    below.plot(epochs, [r["test"] for r in rows], color=LEARNED, lw=2, label="test")
    below.plot(epochs, [r["validation"] for r in rows], color=DENOMINATOR, lw=1.0, ls="--", label="validation")
    below.set_ylabel(NAMES.get(metric, metric), color=INK)
    if not higher_is_better:
        below.set_yscale("log")
        below.yaxis.set_minor_locator(LogLocator(subs=(1.5, 2, 3, 5, 7)))
        for which in (below.yaxis.set_major_formatter, below.yaxis.set_minor_formatter):
            which(FuncFormatter(lambda value, place: f"{value:g}"))
    below.set_xlabel("epoch", color=INK)
    below.xaxis.get_major_locator().set_params(integer=True)
    for axes in (above, below):
        axes.grid(color=RULE, lw=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(QUIET)
        axes.tick_params(colors=QUIET)
        axes.legend(frameon=False, labelcolor=INK, fontsize=9)
    last = rows[-1]
    work = f"{last['test_nfev']:.0f} f-evaluations at test, {last['test_nreject']:g} rejections"
    above.set_title(f"{title}: {work}, {metric} {last['test']:.4g}", loc="left", fontsize=11, color=INK)
    fig.tight_layout()
    fig.savefig(path)
    return Path(path)
