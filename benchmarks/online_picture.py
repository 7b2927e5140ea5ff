"""The picture of `benchmarks/online.py`: cumulative regrets, and costs over those of the best fixed arm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

# Okabe and Ito's colours, told apart with any colour vision
COLOURS = {
    "Tsallis-INF": "#0072B2", "Tsallis-INF, importance": "#56B4E9", "epsilon-greedy": "#CC79A7", "ChebCB": "#D55E00",
    "the best arm of each instance": "#009E73", "best fixed arm": "#1A1A1A",
}  # fmt: skip
INK, QUIET, RULE = "#1F2328", "#6B7280", "#E5E7EB"


Curves = dict[str, np.ndarray]


def draw(path: str, regrets: Curves, panels: dict[str, tuple[Curves, np.ndarray]]) -> Path:
    """regrets: cumulative, (seeds, T), of the first sequence by bandit.  panels: of further sequences by title, the
    costs by bandit and those of the best fixed arm, (seeds, T)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    fig = Figure(figsize=(5.0 * (1 + len(panels)), 4.4), facecolor="white", layout="constrained")
    FigureCanvasAgg(fig)
    axes = fig.subplots(1, 1 + len(panels))
    for name, colour in COLOURS.items():
        rounds = np.arange(1, regrets[name].shape[1] + 1)
        band(axes[0], rounds, regrets[name] / 1e3, colour, name)
    axes[0].set_title("SOR: cumulative regret against the best fixed arm", loc="left", fontsize=11, color=INK)
    axes[0].set(xlabel="linear system", ylabel="thousands of iterations")
    axes[0].legend(fontsize=8, frameon=False)
    for ax, (title, (costs, best)) in zip(axes[1:], panels.items(), strict=True):
        for name, colour in COLOURS.items():
            if name in costs:
                rounds = np.arange(WINDOW, best.shape[1] + 1)
                band(ax, rounds, rolling(costs[name]) / rolling(best), colour, name)
        ax.axhline(1.1, color=QUIET, lw=1.0, ls="--")
        ax.annotate("10 %", (best.shape[1], 1.1), ha="right", va="bottom", fontsize=8, color=QUIET)
        ax.axhline(1.0, color=COLOURS["best fixed arm"], lw=1.0)
        ax.set_ylim(0.85, 1.9)
        ax.set_title(title, loc="left", fontsize=11, color=INK)
        ax.set(xlabel="solve", ylabel=f"cost of {WINDOW} solves over the best fixed arm's")
    for ax in axes:
        ax.grid(color=RULE, lw=0.7)
        ax.set_axisbelow(True)
        ax.tick_params(labelsize=8.5, colors=QUIET)
        for side in ("top", "right"):
            ax.spines[side].set_visible(False)
    fig.savefig(path, dpi=120, facecolor="white")
    return Path(path)


#: solves in a rolling mean
WINDOW = 100


def rolling(values: np.ndarray) -> np.ndarray:
    """Means over `WINDOW` rounds, (seeds, T - WINDOW + 1)."""
    sums = np.cumsum(np.pad(values, ((0, 0), (1, 0))), axis=1)
    return (sums[:, WINDOW:] - sums[:, :-WINDOW]) / WINDOW


def band(ax: Any, x: np.ndarray, y: np.ndarray, colour: str, name: str) -> None:
    """The mean over the seeds and their range."""
    ax.fill_between(x, y.min(axis=0), y.max(axis=0), color=colour, alpha=0.12, lw=0)
    ax.plot(x, y.mean(axis=0), color=colour, lw=1.8, label=name)
