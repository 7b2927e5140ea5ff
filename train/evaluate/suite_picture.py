"""The picture of a comparison on a suite: one line a family, its ratio with the interval, unseen families apart."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .suite_report import SuiteReport

LEARNED, BEST, INK, QUIET, RULE = "#0072B2", "#D55E00", "#1F2328", "#6B7280", "#E5E7EB"


def picture(report: SuiteReport, path: str | Path) -> Path:
    """Draw `report` into `path` (.png, .svg, .pdf) and return the path.

    Filled marks are the learned controller's weighted work over that of the suite's law, hollow ones over that of the
    law which is best on the family.  ValueError where there is no learned controller.
    """
    if report.controller is None or not report.rows:
        raise ValueError("there is no learned controller to draw")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    rows = sorted(report.rows, key=lambda r: (r.unseen, r.work["work"].figure.ratio if r.work["work"] else 1.0))
    fig = Canvas(figsize=(9.0, 2.2 + 0.36 * len(rows)), layout="constrained")
    FigureCanvasAgg(fig)
    ax = fig.add_subplot()
    for i, r in enumerate(rows):
        y = -i - 0.6 * r.unseen
        w = r.work["work"]
        if w is not None:
            f = w.figure
            ax.plot([f.low, f.high], [y, y], color=LEARNED, lw=2.4, solid_capstyle="round", zorder=3)
            label = f"against {report.against}, the best law over the suite" if i == 0 else None
            ax.scatter([f.ratio], [y], s=44, color=LEARNED, zorder=4, label=label)
        ax.scatter([r.against_best.ratio], [y - 0.22], s=26, facecolor="white", edgecolor=BEST, lw=1.4, zorder=4,
                   label="against the best law in the table for this family" if i == 0 else None)  # fmt: skip
        name = r.family + (" (unseen)" if r.unseen else "")
        ax.text(-0.015, y, name, transform=ax.get_yaxis_transform(), ha="right", va="center", color=INK, fontsize=10)
    suite = report.figures["work"]
    ax.axvspan(suite.low, suite.high, color=LEARNED, alpha=0.12, lw=0)
    ax.axvline(suite.ratio, color=LEARNED, lw=1.2, ls="--")
    ax.axvline(1.0, color=INK, lw=1)
    ax.set_xscale("log")
    ticks = [0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.5, 2.0]
    ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
    ax.minorticks_off()
    ax.set_yticks([])
    less = f"{abs(100.0 * (1.0 - suite.ratio)):.0f} % {'less' if suite.ratio < 1.0 else 'more'} work than"
    fig.suptitle(
        f'The step-size controller "{report.controller}" needs '
        f"{less if suite.verdict in ('cheaper', 'dearer') else 'as much work (a tie) as'} "
        f"{report.against} for the same accuracy",
        x=0.01, ha="left", fontsize=12.5, fontweight="bold", color=INK,
    )  # fmt: skip
    ax.set_title(
        f"weighted work at equal error over the {sum(not r.unseen for r in report.rows)} families of {report.suite}: "
        f"{suite.ratio:.2f} [{suite.low:.2f}, {suite.high:.2f}]",
        loc="left", fontsize=10, color=QUIET,
    )  # fmt: skip
    about = "ratio to the law (below 1: cheaper; a bar that holds 1 is a tie: no difference can be told)"
    ax.set_xlabel(about, color=QUIET)
    ax.grid(axis="x", color=RULE, lw=0.8)
    ax.set_axisbelow(True)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    fig.legend(loc="outside lower center", ncols=2, fontsize=8.5, frameon=False)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(path, dpi=150)
    return path
