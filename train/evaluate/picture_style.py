"""How the rows of a comparison are drawn: colours, widths, names.  Colours are Okabe and Ito's, told apart with any
colour vision.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .headline import Comparison
from .metric import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Text

LEARNED, DENOMINATOR, TUNED, HOST, ORACLE, CONSTANT, OTHER = (
    "#0072B2", "#1A1A1A", "#D55E00", "#CC79A7", "#009E73", "#8C6D1F", "#B4BAC2",
)  # fmt: skip
INK, QUIET, RULE = "#1F2328", "#6B7280", "#E5E7EB"


def label(row: Row, c: Comparison) -> str:
    """The name of a row, and on how many instances it stands where the controller was not run on all."""
    w = row.work["work"]
    n = c.instances if w is None else len(w.log_ratio)
    return row.name if n == c.instances else f"{row.name} ({n} of {c.instances})"


def style(row: Row, c: Comparison, measure: str) -> tuple[str, float, str, int]:
    """How a row is drawn: (colour, line width, dash, drawing order)."""
    if row.kind == "learned":
        return LEARNED, 2.8, "-", 6
    if row.name == c.base(measure):
        return DENOMINATOR, 2.2, "-", 5
    look = {"tuned": (TUNED, "-"), "host": (HOST, "-"), "oracle": (ORACLE, "--"), "constant": (CONSTANT, ":")}
    colour, dash = look.get(row.kind, (OTHER, "-"))
    return colour, 1.7 if row.kind in look else 1.0, dash, 4 if row.kind in look else 2


def bare(ax: Axes, grid: str) -> None:
    """Leave the upper and the right frame out, and draw a light grid."""
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color("#9AA1AB")
    ax.tick_params(which="both", colors=QUIET, labelsize=9)
    ax.grid(axis=grid, color=RULE, lw=0.7, zorder=0)  # type: ignore[arg-type]
    ax.set_axisbelow(True)


def fit(text: Text, width: float) -> None:
    """Make a text small enough for `width` pixels."""
    for _ in range(4):  # letters are hinted: widths do not follow the size exactly
        wide = text.get_window_extent().width
        if wide <= width:
            return
        text.set_fontsize(0.995 * float(text.get_fontsize()) * width / wide)
