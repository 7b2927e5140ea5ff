"""The picture of a fit: work against error on validation instances, with the wanted error marked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..evaluate.picture_style import INK, QUIET, RULE

if TYPE_CHECKING:
    from .report import Fit


def picture(fit: Fit, path: str | Path) -> Path:
    """Draw the recommended candidate's work-precision curve and the table's rows into `path` (.png, .svg, .pdf)."""
    from matplotlib.figure import Figure

    path = Path(path)
    figure = Figure(figsize=(7.0, 4.4), layout="constrained")
    axes = figure.add_subplot()
    c = fit.chosen
    err = np.quantile(c.sweep.err, 0.9, axis=0, method="higher")
    ok = np.isfinite(err) & (err > 0)
    axes.plot(
        err[ok],
        c.sweep.nfev.mean(axis=0)[ok],
        "o-",
        color=INK,
        lw=1.6,
        ms=4,
        label=f"{c.method} under {c.name}, recommended",
    )
    for row in fit.rows[1:]:
        axes.plot([row.error], [row.nfev], "s", color=QUIET, ms=5)
        axes.annotate(
            f"{row.method} {row.controller}",
            (row.error, row.nfev),
            (4, 3),
            textcoords="offset points",
            fontsize=7,
            color=QUIET,
        )
    axes.axvline(fit.error, color=RULE, lw=1.0)
    axes.annotate(
        f"{fit.error:.0e} wanted", (fit.error, 0.02), (3, 0), ("data", "axes fraction"), "offset points", fontsize=8
    )
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="error that nine of ten instances have at most",
        ylabel="f-evaluations a solve",
    )
    axes.set_title(f"{fit.family.name}: work against error", loc="left", fontsize=10)
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=150)
    return path
