"""What a trained strength observes of a training run: ratios and logarithms, no loss or penalty as it stands.

All are of windows of iterations: loss, penalty and nfev are means over the last one, 0 marks the first window, which
goes without a penalty, and - the window before the last.  grad is log ||d loss|| - log ||d penalty|| at the last
measurement, scale its running mean, cosine that of the two gradients, and level the logarithm of the ratio that is in
force, `OFF` for none.  Each is clipped to [-BOUND, BOUND].

`stepsmith/Regularization-v0` and a training loop observe by the same formulas: a value is an array (lanes,) there, and
a number here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

Array = np.ndarray

BOUND = 5.0
#: log10 of a ratio at and below which there is no penalty
OFF = -2.0
#: log10 of the largest ratio
MOST = 1.0
#: the ratio that trainings of a strength begin with
FIRST_RATIO = 0.1
#: the least number that a logarithm is taken of
TINY = 1e-12


class Values(Protocol):
    """Numbers by name; each an array (lanes,), or a number."""

    def __getitem__(self, name: str) -> Any: ...


def log_ratio(a: Any, b: Any, unit: float = 1.0) -> Array:
    """unit log10(a / b); `BOUND` where it is NaN, for a loss that is NaN is as bad as the worst."""
    with np.errstate(invalid="ignore"):
        found = unit * np.log10(np.maximum(a, TINY) / np.maximum(b, TINY))
    return np.where(np.isnan(found), BOUND, found)


def ratio_of(action: Any) -> Array:
    """log10 of the ratio that an action in [-1, 1] sets: none at -1, 10^-1/2 at 0, 10 at 1."""
    return 0.5 * (OFF + MOST) + 0.5 * (MOST - OFF) * np.asarray(action, np.float64)


def action_of(ratio: float) -> float:
    """The action in [-1, 1] that sets this ratio, for `ratio_of` gives its logarithm: -1 for none.

    ValueError for a ratio that is negative or not finite.
    """
    if not 0.0 <= ratio < np.inf:
        raise ValueError(f"a ratio of gradients must be at least 0, and finite, got {ratio!r}")
    middle, half = 0.5 * (OFF + MOST), 0.5 * (MOST - OFF)
    return float(np.clip((np.log10(max(ratio, TINY)) - middle) / half, -1.0, 1.0))


#: name -> formula
OBSERVED: dict[str, Callable[[Values], Array]] = {
    "log10 loss / loss0": lambda v: log_ratio(v["loss"], v["loss0"]),
    "10 log10 loss / loss-": lambda v: log_ratio(v["loss"], v["loss_before"], 10.0),
    "log2 nfev / nfev0": lambda v: log_ratio(v["nfev"], v["nfev0"], 1.0 / np.log10(2.0)),
    "log10 penalty / penalty0": lambda v: log_ratio(v["error"], v["error0"]),
    "log10 ratio of gradients in force": lambda v: np.where(
        v["level_e"] > OFF, v["level_e"] + (v["scale_e"] - v["grad_e"]) / np.log(10.0), OFF
    ),
    "cosine of the gradients of loss and E": lambda v: np.asarray(v["cosine"], np.float64),
    "log10 ratio of E": lambda v: np.asarray(v["level_e"], np.float64),
}


def bounded(rows: list[Array]) -> Array:
    """(lanes, len(rows)) float32 in [-BOUND, BOUND], from one array (lanes,) a feature."""
    return np.clip(np.nan_to_num(np.stack(rows, -1)), -BOUND, BOUND).astype(np.float32)


def observed(values: Mapping[str, float], names: tuple[str, ...]) -> Array:
    """(len(names),) float32: the features of one training run, in their order."""
    return bounded([OBSERVED[name](values) for name in names])
