"""Pictures and films of `enjoy.Watched`: solution, step sizes and scaled errors of both controllers, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...envs import render
from .enjoy import Seen, Watched

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PICTURES, FILMS = (".png", ".svg", ".pdf"), (".mp4", ".gif")
FRAMES, FPS, HOLD = 72, 18, 18  # frames that the time grows over, frames a second, frames of the whole at the end
SIZE, DPI = (12.0, 9.6), 100


def check(path: str | Path) -> Path:
    """The path of a picture or film; ValueError for another suffix, and for a film that nothing here can write.

    To be called before anything is solved.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (*PICTURES, *FILMS):
        raise ValueError(
            f"--out must end in {', '.join(PICTURES)} (a picture), .mp4 or .gif (a film), got {path.name!r}"
        )
    if suffix == ".mp4" and not _has_ffmpeg():
        raise ValueError(
            "an .mp4 needs ffmpeg, which is not on the path: pip install 'stepsmith[video]' brings it; .gif and .png "
            "need nothing"
        )
    return path


def _has_ffmpeg() -> bool:
    import matplotlib as mpl
    from matplotlib.animation import writers

    if writers.is_available("ffmpeg"):
        return True
    try:
        from imageio_ffmpeg import get_ffmpeg_exe
    except ModuleNotFoundError:
        return False
    mpl.rcParams["animation.ffmpeg_path"] = get_ffmpeg_exe()
    return bool(writers.is_available("ffmpeg"))


def draw(watched: Watched, path: str | Path) -> Path:
    """Write the picture or film, by the suffix of `path`, and return its path."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    path = check(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=SIZE, dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    panels = _panels(figure, watched)
    if path.suffix.lower() in PICTURES:
        figure.savefig(path, facecolor="white")
    else:
        _film(figure, panels, watched, path)
    return path


def title(watched: Watched) -> str:
    """What the two did, as a sentence."""
    a, b = watched.learned, watched.law
    return (
        f"On instance {watched.instance} of {watched.family}, {a.name} takes {a.counts['nfev']:,} evaluations of f, "
        f"and the law that it is built on {b.counts['nfev']:,}"
    )


def _panels(figure: Figure, watched: Watched, limits: list[Any] | None = None, share: float = 1.0) -> list[Axes]:
    """Draw up to the share `share` of the span; limits: those of the panels of the whole picture."""
    figure.clear()
    axes = figure.subplots(
        3, 2,
        gridspec_kw={"left": 0.07, "right": 0.985, "bottom": 0.055, "top": 0.812, "hspace": 0.34, "wspace": 0.14,
                     "height_ratios": (1.7, 1.0, 1.0)},
    )  # fmt: skip
    for column, seen in enumerate((watched.learned, watched.law)):
        _column([row[column] for row in axes], seen, watched, share)
    for row in axes[1:] if watched.nbody is None else axes:
        _level(row)
    for panel in (panels := list(axes.ravel())):
        render.dress(panel)
    if limits is not None:
        for panel, (x, y) in zip(panels, limits, strict=True):
            panel.set_xlim(x)
            panel.set_ylim(y)
    _heading(figure, watched)
    return panels


def _column(panels: list[Axes], seen: Seen, watched: Watched, share: float) -> None:
    t0, t1 = float(seen.t[0]), float(seen.at[0] if len(seen.t) < 2 else seen.t[-1])
    now = t0 + share * (t1 - t0)
    until, tried = np.abs(seen.t - t0) <= abs(now - t0), np.abs(seen.at - t0) <= abs(now - t0)
    until[0] = True
    render.solution(panels[0], watched.nbody, seen.t[until], seen.y[until])
    left = panels[1].get_position().x0
    panels[0].figure.text(left, 0.872, seen.name, fontsize=11, fontweight="bold", color=render.INK, va="center")
    panels[0].figure.text(left, 0.849, _summary(seen), fontsize=10, color=render.INK, va="center")
    at, accepted = seen.at[tried], seen.accepted[tried]
    render.sizes(panels[1], at, seen.size[tried], accepted, f"step size: {len(at)} attempts")
    render.sizes(panels[2], at, seen.scaled[tried], accepted, "scaled error of each attempt (line: the tolerance)")
    panels[2].axhline(1.0, color=render.INK, linewidth=0.9, linestyle="--", zorder=1)
    for panel in panels[1:]:
        panel.margins(y=0.08)
        if (legend := panel.get_legend()) is not None:
            legend.remove()  # the heading has one for all of them


def _summary(seen: Seen) -> str:
    error = "did not reach the end" if np.isinf(seen.error) else f"error {seen.error:.2g}"
    return f"{seen.counts['nfev']:,} evaluations of f, {seen.counts['nreject']:,} rejected, {error}"


def _level(row: Any) -> None:
    """Equal limits in a row of panels, so that they can be compared by eye."""
    for get, put in (("get_xlim", "set_xlim"), ("get_ylim", "set_ylim")):
        ends = np.array([getattr(panel, get)() for panel in row])
        for panel in row:
            getattr(panel, put)(ends[:, 0].min(), ends[:, 1].max())


def _heading(figure: Figure, watched: Watched) -> None:
    from matplotlib.lines import Line2D

    main = figure.text(0.02, 0.972, title(watched), fontsize=14, fontweight="bold", color=render.INK, va="center")
    width = main.get_window_extent().width / figure.bbox.width
    main.set_fontsize(14 * min(1.0, 0.96 / width))
    doubt = "  ·  the reference failed its self-check: errors are doubtful" if watched.doubtful else ""
    about = f"{watched.method}, rtol {watched.rtol:.2g} for both, test split of seed {watched.seed}{doubt}"
    note = "At one tolerance the errors differ: stepsmith compare says what is cheaper at equal error."
    figure.text(0.02, 0.938, about, fontsize=10, color="#6B7280", va="center")
    figure.text(0.02, 0.911, note, fontsize=10, color="#6B7280", va="center")
    marks = [
        Line2D([], [], color=render.COLOURS[0], linewidth=0.9, marker="o", markersize=4, label="accepted attempt"),
        Line2D([], [], color=render.REJECTED, linewidth=0, marker="x", markersize=5.5, label="rejected attempt"),
    ]
    figure.legend(handles=marks, loc="center right", bbox_to_anchor=(0.99, 0.924), frameon=False, fontsize=9.5)


def _film(figure: Figure, panels: list[Axes], watched: Watched, path: Path) -> None:
    from matplotlib.animation import FFMpegWriter, PillowWriter

    limits = [(panel.get_xlim(), panel.get_ylim()) for panel in panels]
    writer = FFMpegWriter(fps=FPS) if path.suffix.lower() == ".mp4" else PillowWriter(fps=FPS)
    with writer.saving(figure, str(path), DPI):
        for share in np.linspace(0.0, 1.0, FRAMES + 1)[1:]:
            _panels(figure, watched, limits, float(share))
            writer.grab_frame()
        for _ in range(HOLD):
            writer.grab_frame()
