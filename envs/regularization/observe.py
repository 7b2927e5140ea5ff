"""What is observed of a training, one row a lane: ratios and logarithms, no loss, weight or clock as it stands.

held is the loss on held-out rows, nfev and steps are means of a training solve over the last decision's iterations, E h
and S h means over its steps; 0 marks the warm-up before the first decision, - the decision before this one, best the
least so far.  Each is clipped to [-BOUND, BOUND]; a ratio with a loss or an estimate that is NaN is BOUND.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .trainings import OFF, Trainings

BOUND = 5.0


def _log(a: np.ndarray, b: np.ndarray, unit: float = 1.0) -> np.ndarray:
    tiny = 1e-12
    found = unit * np.log10(np.maximum(a, tiny) / np.maximum(b, tiny))
    return np.where(np.isnan(found), BOUND, found)  # a loss that is NaN is as bad as the worst


_ONE = np.ones(())
#: name -> formula
FEATURES: dict[str, Callable[[Trainings, int], np.ndarray]] = {
    "log10 loss / loss0": lambda t, n: _log(t["loss"], t["loss0"]),
    "10 log10 loss / loss-": lambda t, n: _log(t["loss"], t["loss_before"], 10.0),
    "log10 held / held0": lambda t, n: _log(t["held"], t["held0"]),
    "10 log10 held / held-": lambda t, n: _log(t["held"], t["held_before"], 10.0),
    "10 log10 held / best held": lambda t, n: _log(t["held"], t["held_best"], 10.0),
    "log2 nfev / nfev0": lambda t, n: _log(t["nfev"], t["nfev0"], 1.0 / np.log10(2.0)),
    "log2 steps / steps0": lambda t, n: _log(t["steps"], t["steps0"], 1.0 / np.log10(2.0)),
    "rejected share": lambda t, n: t["reject"],
    "2 + log10 mean E h": lambda t, n: 2.0 + _log(t["error"], _ONE),
    "log10 mean S h": lambda t, n: _log(t["stiff"], _ONE),
    "log10 ratio of gradients in force": lambda t, n: np.where(
        t["level_e"] > OFF, t["level_e"] + (t["scale_e"] - t["grad_e"]) / np.log(10.0), OFF
    ),
    "cosine of the gradients of loss and E": lambda t, n: t["cosine"],
    "progress": lambda t, n: t["decision"] / n,
    "log10 ratio of E": lambda t, n: t["level_e"],
    "log10 ratio of S": lambda t, n: t["level_s"],
    "log10 of the tolerance's factor": lambda t, n: t["level_t"],
    "5 + log10 tolerance": lambda t, n: 5.0 + np.log10(t.lanes.tolerance.numpy()),
}


#: those that need no held-out rows
OF_TRAINING = tuple(name for name in FEATURES if "held" not in name)


def observe(trainings: Trainings, decisions: int, names: tuple[str, ...] = tuple(FEATURES)) -> np.ndarray:
    """(lanes, len(names)) float32 in [-BOUND, BOUND], of a training of so many decisions."""
    rows = [np.broadcast_to(FEATURES[name](trainings, decisions), len(trainings.block)) for name in names]
    return np.clip(np.nan_to_num(np.stack(rows, 1)), -BOUND, BOUND).astype(np.float32)
