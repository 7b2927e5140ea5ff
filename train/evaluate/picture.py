"""The work-precision picture of a comparison.

Left: work against error, one point a tolerance (`picture_curves`).  Right: the ratio on every instance, at equal error,
with its mean and interval (`picture_ratios`).  The title says in a plain sentence what came out; the figures stand
below it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .headline import Comparison
from .metric import Row
from .picture_curves import draw_curves
from .picture_ratios import draw_ratios, lines
from .picture_style import INK, QUIET, fit
from .report import by_ratio, headline_sentence, plain_sentence

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

MAX_SHOWN = 12
MADE_BY = ("stepsmith", "numpy", "numba", "cpu")


def picture(comparison: Comparison, path: str | Path, measure: str = "work") -> Path:
    """Draw the comparison into `path` (its suffix names the format: .png, .svg, .pdf) and return it.

    `measure`: "nfev", "work", "wall" or "single".  Controllers without it are left out; ValueError if none has it.
    """
    path = Path(path)
    canvas(comparison, measure).savefig(path, facecolor="white")
    return path


def canvas(comparison: Comparison, measure: str = "work") -> Canvas:
    """The picture as a Matplotlib figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    c = comparison
    shown = _shown(c, measure)
    drawn = lines(shown)
    fig = Canvas(figsize=(13.0, max(5.6, 2.2 + 0.5 * len(drawn))), facecolor="white", dpi=140)
    FigureCanvasAgg(fig)
    inch = 1 / fig.get_figheight()
    grid = fig.add_gridspec(
        1,
        2,
        width_ratios=(1.2, 1),
        left=0.055,
        right=0.985,
        top=1 - 1.5 * inch,
        bottom=0.85 * inch,
        wspace=0.06,
    )
    draw_curves(fig.add_subplot(grid[0]), c, shown, measure)
    draw_ratios(fig.add_subplot(grid[1]), c, drawn, measure)
    _heading(fig, c, inch)
    return fig


def _heading(fig: Canvas, c: Comparison, inch: float) -> None:
    """The plain sentence, the figures, what was compared, and below what made it."""
    about = f"{c.family} · {c.method} · error: {c.error} · {c.instances} test instances, seed {c.seed}"
    for text, down, size, weight, colour in (
        (plain_sentence(c), 0.36, 15.0, "bold", INK),
        (headline_sentence(c), 0.70, 10.5, "normal", INK),
        (about, 0.98, 10.5, "normal", QUIET),
    ):
        said = fig.text(0.018, 1 - down * inch, text, fontsize=size, fontweight=weight, color=colour, va="center")
        fit(said, 0.965 * fig.bbox.width)
    made = [f"{k} {v}".removeprefix("cpu ") for k, v in c.versions.items() if k in MADE_BY]
    made.append(f"commit {c.commit[:12] if c.commit else 'unknown'}")
    fig.text(0.018, 0.17 * inch, "  ·  ".join(made), fontsize=7.5, color=QUIET, va="center")


def _shown(c: Comparison, measure: str) -> list[Row]:
    """The rows that are drawn by name, best first; where there are many, the plain classical laws give way."""
    rows = by_ratio(c, measure)
    if not rows:
        raise ValueError(f"no controller was measured in {measure!r}")
    plain = [r.name for r in rows if r.kind == "classical" and r.name != c.base(measure)]
    dropped = set(plain[max(0, MAX_SHOWN - (len(rows) - len(plain))) :])
    return [r for r in rows if r.name not in dropped]
