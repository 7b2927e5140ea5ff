"""Pictures of an episode: the orbit (or the state over time) on the left, the history of step sizes on the right."""

from __future__ import annotations

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

WIDTH, HEIGHT, DPI = 960, 480, 100
# Okabe & Ito's colours, told apart by everyone
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
INK, FAINT, REJECTED = "#333333", "#dddddd", "#D55E00"
MOST_COMPONENTS = 8


def draw(
    nbody: tuple[int, int] | None, trace: np.ndarray, label: str = "step size", unit: str = "attempts"
) -> np.ndarray:
    """RGB array (480, 960, 3), uint8.

    nbody: (bodies, dimension) or None.  trace (attempts + 1, 3 + n): before each attempt the time, the size of the
    attempt to come (any sign) and 1.0 where the attempt before was accepted, then the state.  label, unit: what the
    right panel shows and counts.  Raises ValueError on a trace of another shape.
    """
    trace = np.asarray(trace, dtype=np.float64)
    if trace.ndim != 2 or trace.shape[0] < 1 or trace.shape[1] < 4:
        raise ValueError(f"trace must have shape (attempts + 1, 3 + n), got {trace.shape}")
    t, y = trace[:, 0], trace[:, 3:]
    size, accepted = np.abs(trace[:-1, 1]), trace[1:, 2] == 1.0
    figure = Figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    left, right = figure.subplots(
        1, 2, gridspec_kw={"left": 0.075, "right": 0.985, "bottom": 0.13, "top": 0.9, "wspace": 0.22}
    )
    keep = np.concatenate([[True], accepted])  # states between which the trajectory moved
    solution(left, nbody, t[keep], y[keep])
    sizes(right, t[:-1], size, accepted, f"{label}: {len(size)} {unit}")
    for axes in (left, right):
        dress(axes)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()


def solution(axes, nbody: tuple[int, int] | None, t: np.ndarray, y: np.ndarray) -> None:
    """The states y (k, n) at the times t (k,): orbits of bodies in the plane or in space, else components over time."""
    if nbody is not None and nbody[1] >= 2:
        _orbit(axes, nbody, y)
    else:
        _components(axes, t, y)


def dress(axes) -> None:
    """Ticks, grid and frame of a panel."""
    axes.tick_params(which="both", colors=INK, labelsize=9)
    axes.grid(True, color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _limits(axes, x: np.ndarray, y: np.ndarray) -> None:
    """Equal scales around what was visited, without the far flights of single bodies."""
    lo = np.array([np.percentile(v, 1) for v in (x, y)])
    hi = np.array([np.percentile(v, 99) for v in (x, y)])
    lo, hi = np.minimum(lo, [x[-1].min(), y[-1].min()]), np.maximum(hi, [x[-1].max(), y[-1].max()])
    half = max(0.58 * float((hi - lo).max()), 1e-12)
    centre = (lo + hi) / 2
    axes.set_xlim(centre[0] - half, centre[0] + half)
    axes.set_ylim(centre[1] - half, centre[1] + half)
    axes.set_aspect("equal", adjustable="box")


def _orbit(axes, nbody: tuple[int, int], y: np.ndarray) -> None:
    bodies, dim = nbody
    y = y[np.isfinite(y).all(axis=1)]
    if len(y) == 0:
        return
    x = y[:, : bodies * dim].reshape(len(y), bodies, dim)
    for b in range(bodies):
        colour = COLOURS[b % len(COLOURS)]
        axes.plot(x[:, b, 0], x[:, b, 1], color=colour, linewidth=1.1, alpha=0.75, solid_joinstyle="round")
        axes.plot(x[0, b, 0], x[0, b, 1], "o", markersize=5, markerfacecolor="white", markeredgecolor=colour)
        axes.plot(x[-1, b, 0], x[-1, b, 1], "o", markersize=7, color=colour)
    _limits(axes, x[:, :, 0], x[:, :, 1])
    axes.set_title("orbits: ○ start, ● now" if len(y) > 1 else "orbits", fontsize=10, color=INK, loc="left")
    axes.set_xlabel("x", fontsize=9, color=INK)
    axes.set_ylabel("y", fontsize=9, color=INK)


def _components(axes, t: np.ndarray, y: np.ndarray) -> None:
    count = min(y.shape[1], MOST_COMPONENTS)
    for i in range(count):
        axes.plot(
            t,
            y[:, i],
            color=COLOURS[i],
            linewidth=1.1,
            marker="." if len(t) < 60 else None,
            markersize=4,
            label=f"y[{i}]",
        )
    more = f" (first {count} of {y.shape[1]})" if count < y.shape[1] else ""
    axes.set_title("state" + more, fontsize=10, color=INK, loc="left")
    axes.set_xlabel("t", fontsize=9, color=INK)
    axes.legend(loc="upper left", fontsize=8, frameon=False, ncols=4)
    axes.margins(y=0.12)


def sizes(axes, t: np.ndarray, size: np.ndarray, accepted: np.ndarray, title: str) -> None:
    """A positive quantity of attempts on a logarithmic axis, for instance their step sizes, over the time t before
    them.

    t, size, accepted: (attempts,).  Those that are not positive and finite are left out.
    """
    good = np.isfinite(size) & (size > 0)
    t, size, accepted = t[good], size[good], accepted[good]
    axes.set_yscale("log")
    mark = 4.0 if len(t) < 150 else 2.5
    if accepted.any():
        axes.plot(
            t[accepted],
            size[accepted],
            color=COLOURS[0],
            linewidth=0.9,
            marker="o",
            markersize=mark / 1.4,
            label="accepted",
        )
    if (~accepted).any():
        axes.plot(
            t[~accepted],
            size[~accepted],
            "x",
            color=REJECTED,
            markersize=mark + 1.5,
            markeredgewidth=1.2,
            label="rejected",
        )
    share = f", {(~accepted).sum()} rejected" if (~accepted).any() else ""
    axes.set_title(title + share, fontsize=10, color=INK, loc="left")
    axes.set_xlabel("t", fontsize=9, color=INK)
    if accepted.any() and (~accepted).any():
        axes.legend(loc="lower left", fontsize=8, frameon=False)
