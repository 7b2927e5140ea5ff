"""The pictures of `benchmarks/samplers.py`: paths in two dimensions, grids, and digits at 4, 8 and 16 evaluations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import stepsmith as ss

INK, QUIET, RULE = "#1F2328", "#6B7280", "#E5E7EB"
# Okabe and Ito's colours, told apart with any colour vision
COLOURS = {"uniform": "#0072B2", "cosine": "#009E73", "edm": "#D55E00", "log_snr": "#CC79A7"}
BUDGETS = (4, 8, 16)
SHOWN = (("ddim", "uniform"), ("heun", "uniform"), ("ab2", "uniform"), ("dpmpp_2m", "uniform"))
TWICE = ("heun", "midpoint")

Noise = Callable[[int, int, int], torch.Tensor]


def figure(width: float, height: float, rows: int, columns: int, **more: Any) -> tuple[Any, np.ndarray]:
    """A figure and its axes (rows, columns)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    fig = Figure(figsize=(width, height), facecolor="white", layout="constrained")
    FigureCanvasAgg(fig)
    return fig, fig.subplots(rows, columns, squeeze=False, **more)


def steps(method: str, evaluations: int) -> int:
    """Steps of a method for so many evaluations."""
    return evaluations // 2 if method in TWICE else evaluations


def draw(folder: Path, board: ss.flows.Model, digits: ss.flows.Model, noise: Noise) -> list[Path]:
    """Draw all three into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    return [
        paths(folder / "samplers_paths.png", board, noise),
        grids(folder / "samplers_grids.png"),
        images(folder / "samplers_digits.png", digits, noise),
    ]


def paths(path: Path, model: ss.flows.Model, noise: Noise) -> Path:
    """Samples of the checkerboard by method (rows) and evaluations (columns), with the steps of some of them."""
    fig, axes = figure(10.4, 2.75 * len(SHOWN), len(SHOWN), len(BUDGETS) + 1, sharex=True, sharey=True)
    z = noise(3000, 2, 0)
    best = ss.flows.fine(model, z)
    few = noise(12, 2, 5)
    for row, (method, grid) in zip(axes, SHOWN, strict=True):
        for ax, n in zip(row, BUDGETS, strict=False):
            out = ss.flows.sample(model, z, method, steps(method, n), grid)
            error = ss.flows.paired_error(out.y, best)
            ax.scatter(*out.y.T.numpy(), s=0.8, color=QUIET, alpha=0.5, linewidths=0)
            way = ss.flows.sample(model, few, method, steps(method, n), grid, trajectory=True).trajectory
            assert way is not None
            for k in range(len(few)):
                ax.plot(*way[:, k].T.numpy(), color="#0072B2", lw=0.9, marker="o", ms=1.8)
            ax.set_title(f"{method}, {n} evaluations: {error:.1f} %", fontsize=9, color=INK, loc="left")
        ax = row[-1]
        times = torch.linspace(0, 1, 60, dtype=torch.float64)
        way = ss.flows.sample(model, few, "tsit5", grid=times, rtol=1e-5, atol=1e-5, trajectory=True).trajectory
        assert way is not None
        ax.scatter(*best.T.numpy(), s=0.8, color=QUIET, alpha=0.5, linewidths=0)
        for k in range(len(few)):
            ax.plot(*way[:, k].T.numpy(), color="#1A1A1A", lw=0.9)
        ax.set_title("fine solution", fontsize=9, color=INK, loc="left")
    for ax in axes.flat:
        ax.set(xlim=(-3.0, 3.0), ylim=(-3.0, 3.0), aspect="equal")
        ax.tick_params(labelsize=7, colors=QUIET)
        for side in ("top", "right"):
            ax.spines[side].set_visible(False)
    fig.savefig(path, dpi=110, facecolor="white", bbox_inches="tight")
    return path


def grids(path: Path) -> Path:
    """The times of every grid with 8 steps: in the time of flow matching, and in sigma."""
    fig, axes = figure(9.0, 2.9, 1, 2)
    process = ss.flows.FlowMatching()
    for k, name in enumerate(ss.flows.GRIDS):
        t = ss.flows.times(name, 8, process)
        sigma = process.sigma(t[1:-1])
        for ax, values in zip(axes[0], (t, sigma), strict=True):
            ax.plot(values.numpy(), np.full(len(values), -k), color=RULE, lw=1.0, zorder=1)
            ax.scatter(values.numpy(), np.full(len(values), -k), s=34, color=COLOURS[name], zorder=2)
    axes[0, 0].set_xlabel("t of flow matching: noise at 0, data at 1", fontsize=9, color=INK)
    axes[0, 1].set(xscale="log")
    axes[0, 1].invert_xaxis()
    axes[0, 1].set_xlabel("sigma = s/a at the inner times: noise at the left", fontsize=9, color=INK)
    for ax in axes[0]:
        ax.set_yticks([-k for k in range(len(ss.flows.GRIDS))], ss.flows.GRIDS, fontsize=9, color=INK)
        ax.set_ylim(-len(ss.flows.GRIDS) + 0.4, 0.6)
        ax.tick_params(axis="x", labelsize=8, colors=QUIET)
        ax.tick_params(axis="y", length=0)
        for side in ("top", "right", "left"):
            ax.spines[side].set_visible(False)
    fig.savefig(path, dpi=120, facecolor="white")
    return path


def images(path: Path, model: ss.flows.Model, noise: Noise) -> Path:
    """Twelve digits from the same noise by method and evaluations, with the fine solution at the top."""
    z = noise(12, 64, 11)
    rows: list[tuple[str, torch.Tensor]] = [("fine solution", ss.flows.fine(model, z))]
    for method, grid in SHOWN:
        for n in BUDGETS:
            rows.append((f"{method}, {n}", ss.flows.sample(model, z, method, steps(method, n), grid).y))
    fig, axes = figure(8.6, 0.58 * len(rows), 1, 1)
    ax, lines, labels = axes[0, 0], [], []
    for name, y in rows:
        tiles = np.pad(y.reshape(-1, 8, 8).numpy(), ((0, 0), (1, 1), (1, 1)), constant_values=-1.0)
        lines.append(np.concatenate(list(tiles), 1))
        error = "" if name == "fine solution" else f":  {ss.flows.paired_error(y, rows[0][1]):.1f} %"
        labels.append(f"{name}{error}")
    ax.imshow(np.concatenate(lines, 0), cmap="gray_r", vmin=-1, vmax=1, aspect="equal")
    ax.set_yticks(10 * np.arange(len(rows)) + 4.5, labels, fontsize=9, color=INK)
    for k in range(1, len(rows), len(BUDGETS)):
        ax.axhline(10 * k - 0.5, color=RULE, lw=1.0)
    ax.set_xticks([])
    ax.tick_params(length=0)
    for side in ax.spines.values():
        side.set_visible(False)
    fig.savefig(path, dpi=110, facecolor="white", bbox_inches="tight")
    return path
